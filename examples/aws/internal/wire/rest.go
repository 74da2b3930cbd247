package wire

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/edge"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/pipeline"
)

// ServeREST answers the proxy events of an API Gateway REST API with an
// http.Handler. Caller and Entered tell the handler what the gateway knows of
// the request.
func ServeREST(h http.Handler) func(context.Context, events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
	return func(ctx context.Context, ev events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
		r, err := requestOf(ctx, &ev)
		if err != nil {
			return events.APIGatewayProxyResponse{}, err
		}
		w := &answer{header: http.Header{}}
		h.ServeHTTP(w, r)
		if w.status == 0 {
			w.status = http.StatusOK
		}
		if r.Method == http.MethodHead {
			w.body.Reset()
		}
		return events.APIGatewayProxyResponse{StatusCode: w.status, MultiValueHeaders: w.header, Body: w.body.String()}, nil
	}
}

type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(data []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(data)
}

func requestOf(ctx context.Context, ev *events.APIGatewayProxyRequest) (*http.Request, error) {
	body := []byte(ev.Body)
	if ev.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(ev.Body); err != nil {
			return nil, fmt.Errorf("body of a request: %w", err)
		}
	}
	u, err := url.ParseRequestURI(ev.Path)
	if err != nil {
		u = &url.URL{Path: ev.Path}
	}
	u.RawQuery = url.Values(ev.MultiValueQueryStringParameters).Encode()
	ctx = context.WithValue(ctx, contextKey{}, gatewayContext{account: accountOf(ev.RequestContext.Authorizer), entered: ev.RequestContext.RequestTimeEpoch})
	r, err := http.NewRequestWithContext(ctx, ev.HTTPMethod, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	for name, values := range ev.MultiValueHeaders {
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
	r.Host = r.Header.Get("Host")
	r.RemoteAddr = ev.RequestContext.Identity.SourceIP + ":0"
	return r, nil
}

type contextKey struct{}

// gatewayContext is what API Gateway says of a request.
type gatewayContext struct {
	account exchange.AccountID
	entered int64 // ms
}

// authorizerAccount and authorizerExpires are what the authorizer tells the
// functions behind it.
const (
	authorizerAccount = "account" // decimal
	authorizerExpires = "expires" // s since 1970, decimal
)

// accountOf reads the account that the authorizer has found, 0 when there is
// none. The gateway makes texts of what an authorizer says.
func accountOf(authorizer map[string]any) exchange.AccountID {
	text, _ := authorizer[authorizerAccount].(string)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return exchange.AccountID(n)
}

// Caller returns the account that the authorizer has found; 0: none.
func Caller(r *http.Request) exchange.AccountID {
	g, _ := r.Context().Value(contextKey{}).(gatewayContext)
	return g.account
}

// Entered returns when the request entered the gateway, in its milliseconds: a
// request that is tried again keeps its time.
func Entered(ctx context.Context) (exchange.Time, bool) {
	g, ok := ctx.Value(contextKey{}).(gatewayContext)
	return exchange.Time(g.entered) * exchange.Time(time.Millisecond), ok && g.entered > 0
}

// Edge puts requests on the bus and says that they were accepted: what comes
// of them, nobody knows yet.
type Edge struct {
	Instruments []*exchange.Instrument
	Prepare     func(*pipeline.Request) (pipeline.Message, error) // checks what can be checked now
	Bus         pipeline.EventBus
}

// Submit implements api.Edge. The time of the request is that of the gateway.
func (e *Edge) Submit(ctx context.Context, req *pipeline.Request) ([]progress.Outcome, error) {
	var ok bool
	if req.Time, ok = Entered(ctx); !ok {
		return nil, errors.New("the gateway did not say when the request entered")
	}
	msg, err := e.Prepare(req)
	if err != nil {
		return nil, err
	}
	cmds, err := edge.Parts(&msg.Command, e.Instruments)
	if err != nil {
		return nil, err
	}
	if err := e.Bus.Put(ctx, req); err != nil {
		return nil, fmt.Errorf("putting a request on the bus: %w", err)
	}
	out := make([]progress.Outcome, len(cmds))
	for i := range cmds {
		out[i] = progress.Outcome{Command: cmds[i].ID, Instrument: cmds[i].Instrument, Time: req.Time, Status: progress.Accepted}
	}
	return out, nil
}
