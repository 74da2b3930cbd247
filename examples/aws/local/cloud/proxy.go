package cloud

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"
)

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
	fault func(operation string) ProxyFault
}

const throttled = `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"throttled on demand"}`

func (p *dynamoProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// DynamoDB_20120810.PutItem
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	f := p.fault(operation)
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

// lost takes an answer to nowhere.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header            { return l.header }
func (l *lost) WriteHeader(int)                {}
func (l *lost) Write(data []byte) (int, error) { return len(data), nil }

// startProxy puts the proxy in front of DynamoDB, if there are faults for it.
func (c *Cloud) startProxy() error {
	if c.cfg.Faults.DynamoDB == nil {
		return nil
	}
	to, err := url.Parse(c.parts.dynamo.URL())
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
	c.parts.dynamoURL = "http://" + l.Addr().String()
	srv := &http.Server{Handler: &dynamoProxy{next, c.cfg.Faults.DynamoDB}, ReadHeaderTimeout: 5 * time.Second}
	c.run(func(ctx context.Context) {
		go func() { <-ctx.Done(); _ = srv.Close() }()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("the proxy of DynamoDB", "error", err)
		}
	})
	return nil
}
