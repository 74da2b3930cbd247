package cloud

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/standin/websocket"
	"github.com/castlecloud/exchange/examples/aws/local/lambda"
	"github.com/castlecloud/exchange/pipeline"
)

// The gateway's bounds. AWS takes bodies of 10 MB; the function takes 8 KiB.
const (
	maxBody        = 1 << 20
	maxHeader      = 16 << 10
	authorizerTTL  = 5 * time.Minute // for which the authorizer's answer is kept, API Gateway's default
	maxAuthorized  = 10_000          // answers kept
	gatewayTimeout = 29 * time.Second
	throttlePause  = 20 * time.Millisecond
)

// invoker runs functions: lambda.Server.
type invoker interface {
	Invoke(ctx context.Context, name string, event []byte) ([]byte, error)
}

// gateway stands in for API Gateway: the REST API, with its authorizer, and
// what a WebSocket API calls.
type gateway struct {
	functions invoker
	hosts     []string     // the Host headers that are answered
	page      http.Handler // the page and the demo login
	sockets   *websocket.Server
	bus       *eventbridge.Bus // where POST /orders goes; nil: through the api function
	// room has something in it for each environment of api that a request may
	// have: there are fewer than an account of AWS has, and requests wait for
	// one rather than being refused.
	room chan struct{}

	mu         sync.Mutex
	authorized map[string]authorization // by token
}

type authorization struct {
	context map[string]any
	until   time.Time
}

// ServeHTTP sorts what comes to the one address that a client knows: on AWS
// CloudFront does, in front of the bucket of the page and of two APIs.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case !slices.Contains(g.hosts, r.Host):
		refuse(w, http.StatusMisdirectedRequest, "wrong_host", "expected one of "+strings.Join(g.hosts, ", "))
	case path == "/ws":
		g.sockets.ServeHTTP(w, r)
	case slices.ContainsFunc([]string{"/orders", "/fills", "/balances"}, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }):
		g.rest(w, r, true)
	case path == "/products" || strings.HasPrefix(path, "/products/") || path == "/time" || path == "/health" || path == "/openapi.yaml":
		g.rest(w, r, false)
	default:
		g.page.ServeHTTP(w, r)
	}
}

// refuse is a gateway response: it has the form of the API's own.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": message})
}

// rest invokes the api function for a request.
func (g *gateway) rest(w http.ResponseWriter, r *http.Request, private bool) {
	entered := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), gatewayTimeout)
	defer cancel()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("expected at most %d bytes", maxBody))
		return
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	ev := events.APIGatewayProxyRequest{
		Resource: "/{proxy+}", Path: r.URL.EscapedPath(), HTTPMethod: r.Method, Body: string(body),
		Headers: map[string]string{}, MultiValueHeaders: r.Header.Clone(), MultiValueQueryStringParameters: r.URL.Query(),
		RequestContext: events.APIGatewayProxyRequestContext{
			Stage: "local", HTTPMethod: r.Method, RequestTimeEpoch: entered.UnixMilli(), Identity: events.APIGatewayRequestIdentity{SourceIP: host},
		},
	}
	ev.MultiValueHeaders["Host"] = []string{r.Host}
	for name, values := range ev.MultiValueHeaders {
		ev.Headers[name] = values[len(values)-1]
	}
	if private {
		if ev.RequestContext.Authorizer, err = g.authorize(ctx, &ev); err != nil {
			g.failed(w, err)
			return
		}
	}
	if g.bus != nil && r.Method == http.MethodPost && r.URL.Path == "/orders" {
		g.direct(ctx, w, &ev)
		return
	}
	var out events.APIGatewayProxyResponse
	select {
	case g.room <- struct{}{}:
		err = g.call(ctx, "api", ev, &out)
		<-g.room
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		g.failed(w, err)
		return
	}
	for name, values := range out.MultiValueHeaders {
		w.Header()[name] = values
	}
	w.WriteHeader(out.StatusCode)
	_, _ = io.WriteString(w, out.Body)
}

// direct puts a new order on the bus, as Terraform's new_order.vtl does: account
// and time are not the body's. Whatever is wrong with the order is found behind
// the bus.
func (g *gateway) direct(ctx context.Context, w http.ResponseWriter, ev *events.APIGatewayProxyRequest) {
	var req pipeline.Request // has the fields that a body has
	if err := json.Unmarshal([]byte(ev.Body), &req); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_field", "expected a JSON object")
		return
	}
	acct, err := strconv.ParseUint(fmt.Sprint(ev.RequestContext.Authorizer["account"]), 10, 64)
	if err != nil {
		g.failed(w, fmt.Errorf("the authorizer names no account: %w", err))
		return
	}
	id := rand.Text()
	req.Kind, req.Account, req.Time = pipeline.RequestNew, exchange.AccountID(acct), exchange.Time(ev.RequestContext.RequestTimeEpoch)*exchange.Time(time.Millisecond)
	req.Key, req.OrigClientID, req.OrderID = cmp.Or(req.OrigClientID, id), "", ""
	if err := g.bus.Put(ctx, &req); err != nil {
		refuse(w, http.StatusServiceUnavailable, "unavailable", "the bus has not taken it: send it again with the same client_order_id")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]string{"request_id": id, "status": "received"})
}

func (g *gateway) call(ctx context.Context, function string, event, out any) error {
	data, err := json.Marshal(event)
	if err != nil {
		return err
	}
	answer, err := g.functions.Invoke(ctx, function, data)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

var errUnauthorized = errors.New("unauthorized")

// failed answers for a function that did not.
func (g *gateway) failed(w http.ResponseWriter, err error) {
	var failed *lambda.FunctionError
	switch {
	case errors.Is(err, errUnauthorized):
		w.Header().Set("WWW-Authenticate", `Bearer realm="exchange"`)
		refuse(w, http.StatusUnauthorized, "unauthorized", "expected a header Authorization: Bearer and a token of this venue")
	case errors.Is(err, lambda.ErrThrottled):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "rate_limited", "too many requests, try again in a moment")
	case errors.As(err, &failed) && failed.Type == lambda.TypeTimeout, errors.Is(err, context.DeadlineExceeded):
		refuse(w, http.StatusGatewayTimeout, "timeout", "nobody knows what came of it: send it again with the same client_order_id or Idempotency-Key")
	default:
		refuse(w, http.StatusBadGateway, "internal", "a function of the venue has failed: send it again with the same client_order_id or Idempotency-Key")
	}
}

// authorize returns what the authorizer says of a request, or errUnauthorized.
func (g *gateway) authorize(ctx context.Context, ev *events.APIGatewayProxyRequest) (map[string]any, error) {
	token := ev.Headers["Authorization"]
	if token == "" {
		return nil, errUnauthorized // its identity source is missing: it is not asked
	}
	now := time.Now()
	g.mu.Lock()
	known, ok := g.authorized[token]
	g.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.context, nil
	}
	said, err := g.ask(ctx, map[string]any{
		"type": "REQUEST", "methodArn": "arn:aws:execute-api:local:000000000000:rest/local/" + ev.HTTPMethod + ev.Path,
		"headers": ev.Headers, "path": ev.Path, "httpMethod": ev.HTTPMethod, "requestContext": map[string]string{"stage": "local"},
	})
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.authorized) >= maxAuthorized {
		clear(g.authorized)
	}
	g.authorized[token] = authorization{said, now.Add(authorizerTTL)}
	return said, nil
}

// ask invokes the authorizer.
func (g *gateway) ask(ctx context.Context, event map[string]any) (map[string]any, error) {
	var out events.APIGatewayCustomAuthorizerResponse
	err := g.call(ctx, "authorizer", event, &out)
	var failed *lambda.FunctionError
	if errors.As(err, &failed) && failed.Message == "Unauthorized" {
		return nil, errUnauthorized
	}
	if err != nil {
		return nil, err
	}
	if s := out.PolicyDocument.Statement; len(s) != 1 || s[0].Effect != "Allow" {
		return nil, errUnauthorized
	}
	for name, value := range out.Context {
		out.Context[name] = fmt.Sprint(value) // as the gateway does
	}
	return out.Context, nil
}

// socket is what the WebSocket API does with an event.
func (g *gateway) socket(ctx context.Context, e websocket.Event) (websocket.Response, error) {
	ev := events.APIGatewayWebsocketProxyRequest{
		Body: e.Body,
		RequestContext: events.APIGatewayWebsocketProxyRequestContext{
			EventType: e.Kind, RouteKey: e.RouteKey, ConnectionID: e.ConnectionID, Stage: "local",
			ConnectedAt: e.ConnectedAt.UnixMilli(), RequestTimeEpoch: time.Now().UnixMilli(), Authorizer: e.Authorizer,
		},
	}
	var said map[string]any
	if e.Kind == websocket.Connect {
		headers, query := map[string]string{}, map[string]string{}
		for name := range e.Header {
			headers[name] = e.Header.Get(name)
		}
		for name := range e.Query {
			query[name] = e.Query.Get(name)
		}
		var err error
		said, err = g.ask(ctx, map[string]any{
			"type": "REQUEST", "methodArn": "arn:aws:execute-api:local:000000000000:ws/local/$connect", "headers": headers,
			"queryStringParameters": query, "requestContext": map[string]string{"connectionId": e.ConnectionID, "eventType": "CONNECT", "routeKey": "$connect"},
		})
		if errors.Is(err, errUnauthorized) {
			return websocket.Response{Status: http.StatusUnauthorized}, nil
		}
		if err != nil {
			return websocket.Response{}, err
		}
		ev.RequestContext.Authorizer = said
	}
	// A client hears nothing of a message that is throttled, and may wait for its
	// answer for ever: here the gateway waits instead, which has fewer
	// environments to choose from than an account of AWS.
	var out events.APIGatewayProxyResponse
	ctx, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	err := g.call(ctx, "websocket", ev, &out)
	for errors.Is(err, lambda.ErrThrottled) {
		select {
		case <-time.After(throttlePause):
			err = g.call(ctx, "websocket", ev, &out)
		case <-ctx.Done():
			return websocket.Response{}, err
		}
	}
	return websocket.Response{Status: out.StatusCode, Body: out.Body, Authorizer: said}, err
}
