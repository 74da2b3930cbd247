package cloud

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/castlecloud/exchange/adapters/standin/dynamo"
)

// DynamoRequest is one request to DynamoDB.
type DynamoRequest struct {
	Function  string // who sent it, without its shard
	Operation string // PutItem ...
	Table     string // the first it names
}

// ProxyFault is what goes wrong with one request to DynamoDB. The zero value:
// nothing.
type ProxyFault struct {
	Throttle bool          // it is refused: ProvisionedThroughputExceededException
	Lose     bool          // it has its effect, and the answer is lost
	Delay    time.Duration // before it is passed on
}

// dynamoProxy stands between the functions and DynamoDB Local.
type dynamoProxy struct {
	next  http.Handler
	fault func(DynamoRequest) ProxyFault
}

const throttled = `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"throttled on demand"}`

func (p *dynamoProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// DynamoDB_20120810.PutItem
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDynamo))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f := p.fault(DynamoRequest{functionOf(r.UserAgent()), operation, tableOfRequest(body)})
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case f.Throttle:
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.Header().Set("Content-Length", strconv.Itoa(len(throttled)))
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(throttled))
	case f.Lose:
		p.next.ServeHTTP(&lost{header: http.Header{}}, r)
		panic(http.ErrAbortHandler) // which ends the connection without an answer
	default:
		p.next.ServeHTTP(w, r)
	}
}

// functionOf returns the AWS_SDK_UA_APP_ID of a request.
func functionOf(agent string) string {
	_, app, _ := strings.Cut(agent, "app/")
	app, _, _ = strings.Cut(app, " ")
	return app
}

// maxDynamo is the most bytes of a request, as AWS has it.
const maxDynamo = 16 << 20

// tableNamed finds the table in a request's body.
var tableNamed = regexp.MustCompile(`"(?:TableName":|RequestItems":\{)"([^"]+)"`)

func tableOfRequest(body []byte) string {
	if found := tableNamed.FindSubmatch(body); found != nil {
		return string(found[1])
	}
	return ""
}

// lost takes an answer to nowhere.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header            { return l.header }
func (l *lost) WriteHeader(int)                {}
func (l *lost) Write(data []byte) (int, error) { return len(data), nil }

// startDynamoDB starts the stand-in of this process, unless DynamoDB Local runs.
func (c *Cloud) startDynamoDB() error {
	if !c.cfg.OwnDynamoDB {
		c.parts.dynamoURL = c.parts.dynamo.URL()
		return nil
	}
	l, err := listen("")
	if err != nil {
		return err
	}
	c.parts.dynamoURL = "http://" + l.Addr().String()
	c.serve(l, dynamo.New())
	return nil
}

// startProxy puts the proxy in front of DynamoDB, if there are faults for it.
func (c *Cloud) startProxy() error {
	if c.cfg.Faults.DynamoDB == nil {
		return nil
	}
	to, err := url.Parse(c.parts.dynamoURL)
	if err != nil {
		return err
	}
	next := httputil.NewSingleHostReverseProxy(to)
	next.Transport = &http.Transport{MaxIdleConnsPerHost: 128, DisableCompression: true}
	next.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusServiceUnavailable) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.parts.proxyURL = "http://" + l.Addr().String()
	srv := &http.Server{Handler: &dynamoProxy{next, c.cfg.Faults.DynamoDB}, ReadHeaderTimeout: 5 * time.Second}
	c.run(func(ctx context.Context) {
		go func() { <-ctx.Done(); _ = srv.Close() }()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("the proxy of DynamoDB", "error", err)
		}
	})
	return nil
}
