// Package api is the venue's REST API: HTTP in, requests of the pipeline out.
// openapi.yaml describes it.
package api

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/examples/internal/view"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of the API.
const (
	MaxBodyBytes   = 8 << 10
	MaxHeaderBytes = 16 << 10
	DefaultRows    = 50
	// DefaultRate is the requests a second of one account; twice as many may
	// come at once. All requests without an account together have AnonymousRate
	// times that.
	DefaultRate   = 200
	AnonymousRate = 10
	// CatchUp bounds how long a read waits for the stores to have what was
	// answered before.
	CatchUp = 10 * time.Second
)

// The names of what the API measures.
const (
	MetricRequests = "http_requests"      // count
	MetricRefused  = "http_refused"       // count: answered with a status of 400 or above
	MetricFaults   = "http_faults"        // count: answered with 500 or above
	MetricTook     = "http_request"       // duration
	MetricSubmit   = "http_order_request" // duration: of requests that go through the pipeline
)

//go:embed openapi.yaml
var openAPI []byte

// Config says what the API works with.
type Config struct {
	Instruments []*exchange.Instrument
	Edge        Edge
	Board       progress.Positions
	Store       pipeline.TradeStore
	Books       pipeline.BookStore
	Balances    pipeline.Balances
	Snapshots   *view.Snapshots
	// Verify says whose token it is. Caller, when it is not nil, is asked
	// instead: something in front has looked at the token (0: there was none).
	Verify     func(token string) (auth.Identity, error)
	Caller     func(r *http.Request) exchange.AccountID
	Keys       *auth.Keys           // makes the tokens of Demo
	Demo       []exchange.AccountID // accounts anybody on this machine may log in to; nil: none
	Feed       http.Handler         // the WebSocket; nil: it is served elsewhere
	Page       fs.FS                // what is served at /; nil: nothing
	PagePolicy string               // its Content-Security-Policy
	// Accepts: requests are answered as soon as they are on their way, with
	// the status accepted. Then a path with an order's id is taken at its word,
	// and the engine looks whether there is such an order of the account.
	Accepts bool
	Pushed  func(inst exchange.InstrumentID) pipeline.Position
	Healthy func() error // nil error: everything runs
	Hosts   []string     // the Host headers that are answered, port included; nil: any
	Rate    float64      // 0: DefaultRate
	Now     func() time.Time
	Metrics pipeline.Metrics
	Logger  *slog.Logger
}

// Edge takes requests and says what came of them: an edge.Edge where that can
// be waited for. Errors: *exchange.FieldError when the request is wrong in
// itself, edge.ErrReused, pipeline.ErrFull, *edge.TimeoutError.
type Edge interface {
	Submit(ctx context.Context, req *pipeline.Request) ([]progress.Outcome, error)
}

type api struct {
	cfg     Config
	symbols map[string]*exchange.Instrument
	ids     map[exchange.InstrumentID]*exchange.Instrument
	assets  map[exchange.AssetID]exchange.Asset
	limits  *limiter
	origin  http.CrossOriginProtection
}

// New returns the handler of everything the venue serves to clients.
func New(cfg Config) http.Handler {
	if cfg.Rate == 0 {
		cfg.Rate = DefaultRate
	}
	a := &api{cfg: cfg, symbols: map[string]*exchange.Instrument{}, ids: map[exchange.InstrumentID]*exchange.Instrument{},
		assets: pipeline.AssetsOf(cfg.Instruments), limits: newLimiter(cfg.Rate, cfg.Now)}
	for _, in := range cfg.Instruments {
		a.symbols[in.Symbol()], a.ids[in.ID()] = in, in
	}
	mux := http.NewServeMux()
	a.routes(mux)
	return a.guard(mux)
}

func (a *api) routes(mux *http.ServeMux) {
	route := func(path string, m methods) { mux.Handle(path, a.serve(m)) }
	route("/orders", methods{"GET": a.private(a.listOrders), "POST": a.private(a.newOrder), "DELETE": a.private(a.cancelAll)})
	route("/orders/{id}", methods{"GET": a.private(a.order), "PATCH": a.private(a.amend), "DELETE": a.private(a.cancel)})
	route("/fills", methods{"GET": a.private(a.fills)})
	route("/balances", methods{"GET": a.private(a.balances)})
	route("/products", methods{"GET": a.public(a.products)})
	route("/products/{symbol}", methods{"GET": a.public(a.product)})
	route("/products/{symbol}/book", methods{"GET": a.public(a.book)})
	route("/products/{symbol}/ticker", methods{"GET": a.public(a.ticker)})
	route("/products/{symbol}/trades", methods{"GET": a.public(a.trades)})
	route("/products/{symbol}/candles", methods{"GET": a.public(a.candles)})
	route("/time", methods{"GET": a.public(a.time)})
	route("/health", methods{"GET": a.public(a.health)})
	route("/openapi.yaml", methods{"GET": a.public(a.document)})
	if len(a.cfg.Demo) > 0 {
		route("/demo/accounts", methods{"GET": a.public(a.demoAccounts)})
		route("/demo/login", methods{"POST": a.public(a.demoLogin)})
	}
	if a.cfg.Feed != nil {
		mux.Handle("/ws", a.cfg.Feed)
	}
	page := a.serve(methods{"GET": a.page})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if a.file(r) == "" { // with any method
			writeError(w, problem(codeNotFound, "there is nothing here"))
			return
		}
		page.ServeHTTP(w, r)
	})
}

// handler answers a request, or returns why not.
type handler func(w http.ResponseWriter, r *http.Request) error

// account is a handler that knows who asks.
type accountHandler func(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error

type methods map[string]handler

// serve picks the handler of the method and writes its error.
func (a *api) serve(m methods) http.Handler {
	var allow []string
	for name := range m {
		allow = append(allow, name)
	}
	if m["GET"] != nil {
		allow = append(allow, "HEAD")
	}
	slices.Sort(allow)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Method
		if name == "HEAD" {
			name = "GET" // net/http leaves the body out
		}
		h := m[name]
		if h == nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			writeError(w, problem(codeMethod, "expected %s", strings.Join(allow, ", ")))
			return
		}
		if err := h(w, r); err != nil {
			writeError(w, a.asError(r, err))
		}
	})
}

// public limits the rate of all who need no token.
func (a *api) public(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !a.limits.allow(0) {
			return problem(codeRateLimited, "too many requests, try again in a moment")
		}
		return h(w, r)
	}
}

// private finds out who asks.
func (a *api) private(h accountHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if a.cfg.Caller != nil {
			acct := a.cfg.Caller(r)
			if !a.limits.allow(acct) {
				return problem(codeRateLimited, "too many requests, try again in a moment")
			}
			if acct == 0 {
				return problem(codeUnauthorized, "expected a header Authorization: Bearer and a token")
			}
			return h(w, r, acct)
		}
		scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			if !a.limits.allow(0) {
				return problem(codeRateLimited, "too many requests, try again in a moment")
			}
			return problem(codeUnauthorized, "expected a header Authorization: Bearer and a token")
		}
		id, err := a.cfg.Verify(token)
		if err != nil && !a.limits.allow(0) {
			return problem(codeRateLimited, "too many requests, try again in a moment")
		}
		switch {
		case errors.Is(err, auth.ErrExpired):
			return problem(codeTokenExpired, "the token has ended")
		case err != nil:
			return problem(codeUnauthorized, "no token of this venue")
		case !a.limits.allow(id.Account):
			return problem(codeRateLimited, "too many requests, try again in a moment")
		}
		return h(w, r, id.Account)
	}
}

// guard is what every request goes through first: who is called (a page
// elsewhere must not reach the venue under a name of its own), from where, how
// much is sent, and what the answer is measured by.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := a.cfg.Now()
		rec := &recorder{ResponseWriter: w}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if a.cfg.Hosts != nil && !slices.Contains(a.cfg.Hosts, r.Host) {
			writeError(rec, problem(codeWrongHost, "expected one of %s", strings.Join(a.cfg.Hosts, ", ")))
		} else if a.origin.Check(r) != nil {
			writeError(rec, problem(codeForbidden, "a browser sent it for another origin"))
		} else {
			if r.URL.Path != "/ws" { // which takes the connection over
				r.Body = http.MaxBytesReader(rec, r.Body, MaxBodyBytes)
			}
			next.ServeHTTP(rec, r)
		}
		if r.URL.Path == "/ws" {
			return
		}
		took := a.cfg.Now().Sub(began)
		a.cfg.Metrics.Count(MetricRequests, 0, 1)
		a.cfg.Metrics.Observe(MetricTook, 0, took)
		if rec.status >= 400 {
			a.cfg.Metrics.Count(MetricRefused, 0, 1)
		}
		if rec.status >= 500 {
			a.cfg.Metrics.Count(MetricFaults, 0, 1)
		}
		a.cfg.Logger.Debug("request", "method", r.Method, "route", r.Pattern, "status", rec.status, "took", took)
	})
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(data []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(data)
}

// Unwrap lets the WebSocket take the connection over.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// caughtUp waits until the trade store has what was committed when the
// request came.
func (a *api) caughtUp(r *http.Request, instruments ...*exchange.Instrument) error {
	ctx, cancel := context.WithTimeout(r.Context(), CatchUp)
	defer cancel()
	for _, in := range instruments {
		if _, err := a.cfg.Board.Recorded(ctx, in.ID()); err != nil {
			return err
		}
	}
	return nil
}

func loopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}
