// Package websocket stands in for an API Gateway WebSocket API on one machine:
// for tests, and for running the AWS functions without AWS.
//
// It takes real WebSocket connections, calls a handler for $connect,
// $disconnect and each message (by its route), sends back what the handler
// returns, and speaks the management API, so that the AWS SDK's client of it
// works with the server's address as BaseEndpoint:
//
//	POST   /@connections/{id}   sends a message: 200, 410 gone, 413 too large, 429 the client takes nothing
//	GET    /@connections/{id}   says when it connected and was active
//	DELETE /@connections/{id}   closes it: 204, 410
//
// It does not check signatures, and knows no stages: any path that ends in
// /@connections/{id} is the management API, any other is a client. It can
// misbehave on demand: see Fault.
package websocket

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// The quotas of API Gateway.
const (
	FrameBytes   = 32 << 10  // of a posted message; more is 413
	MessageBytes = 128 << 10 // of a client's message; more closes with 1009
	MaxAge       = 2 * time.Hour
	MaxIdle      = 10 * time.Minute
	// DefaultBuffer is the default of Config.Buffer.
	DefaultBuffer = 64
)

// The kinds of Event, as API Gateway names them.
const (
	Connect    = "CONNECT"
	Message    = "MESSAGE"
	Disconnect = "DISCONNECT"
)

// Event is what the handler is called with.
type Event struct {
	Kind         string
	RouteKey     string // $connect, $disconnect, or what Config.Route says; $default
	ConnectionID string
	ConnectedAt  time.Time
	Body         string // of a Message
	// Of a Connect.
	Query  url.Values
	Header http.Header
	// Authorizer is what the handler returned with the Connect.
	Authorizer map[string]any
}

// Response is the handler's answer. A Connect is refused by a Status other than
// 200 (0 is 200). Body goes back to the client, if there is one.
type Response struct {
	Status     int
	Body       string
	Authorizer map[string]any // of a Connect: comes with the later events
}

// Fault is how a call goes wrong. The zero Fault is none.
type Fault struct {
	Delay  time.Duration // wait before anything else
	Status int           // answer so and do nothing else: 410, 429, 500
	Lose   bool          // answer 200 and send nothing
	Hang   bool          // answer nothing until the caller goes away
	Cut    bool          // break the connection of the client, without a word
}

// Config is what a Server is made of. Handle is mandatory.
type Config struct {
	// Handle is called for each event, of one connection one at a time but
	// for a Disconnect. It must be safe for concurrent use. An error is an
	// internal error to the client, or refuses a Connect.
	Handle func(ctx context.Context, e Event) (Response, error)
	// Route selects the route of a client's message; nil: always $default.
	Route func(body string) string
	// Buffer is how many messages wait for a client; with one more a post is
	// 429. 0: DefaultBuffer.
	Buffer int
	// MaxAge and MaxIdle end a connection; 0: the quotas.
	MaxAge, MaxIdle time.Duration
	// Fault is asked before each call of the management API, with its method
	// and connection; nil: no faults.
	Fault func(method, connection string) Fault
}

// Server is an http.Handler. It is safe for concurrent use. Close it.
type Server struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	conns  map[string]*conn
	closed bool
}

type conn struct {
	id     string
	ws     *websocket.Conn
	ctx    context.Context // ends when the connection is to be closed, with the reason
	cancel context.CancelCauseFunc
	io     context.Context // of reads: ending it (cut) tears the connection down at once
	cut    context.CancelFunc
	out    chan []byte
	since  time.Time

	mu     sync.Mutex
	active time.Time
}

// New returns a Server without connections.
func New(cfg Config) *Server {
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = MaxAge
	}
	if cfg.MaxIdle == 0 {
		cfg.MaxIdle = MaxIdle
	}
	if cfg.Route == nil {
		cfg.Route = func(string) string { return "$default" }
	}
	if cfg.Fault == nil {
		cfg.Fault = func(string, string) Fault { return Fault{} }
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{cfg: cfg, ctx: ctx, cancel: cancel, conns: map[string]*conn{}}
}

// Close ends every connection and waits until all are gone.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

// Connections returns the ids of those who are connected.
func (s *Server) Connections() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id := range s.conns {
		ids = append(ids, id)
	}
	return ids
}

// Cut breaks a connection without a word, as a network would.
func (s *Server) Cut(id string) {
	if c := s.find(id); c != nil {
		c.cancel(nil)
	}
}

func (s *Server) find(id string) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// ServeHTTP takes a client or a call of the management API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if i := strings.LastIndex(path, "/@connections/"); i >= 0 {
		id, err := url.PathUnescape(path[i+len("/@connections/"):])
		if err != nil {
			http.Error(w, "the connection id cannot be read", http.StatusBadRequest)
			return
		}
		s.manage(w, r, id)
		return
	}
	s.serve(w, r)
}

// serve takes a client and serves it until it ends.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		http.Error(w, "closed", http.StatusServiceUnavailable)
		return
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	now := time.Now()
	c := &conn{id: rand.Text()[:15] + "=", out: make(chan []byte, s.cfg.Buffer), since: now, active: now}
	base := Event{ConnectionID: c.id, ConnectedAt: now}
	first := base
	first.Kind, first.RouteKey, first.Query, first.Header = Connect, "$connect", r.URL.Query(), r.Header.Clone()
	answer, err := s.cfg.Handle(s.ctx, first)
	switch {
	case err != nil:
		http.Error(w, `{"message":"Internal server error"}`, http.StatusBadGateway)
		return
	case answer.Status != 0 && answer.Status != http.StatusOK:
		http.Error(w, `{"message":"Forbidden"}`, answer.Status)
		return
	}
	base.Authorizer = answer.Authorizer
	gone := base
	gone.Kind, gone.RouteKey = Disconnect, "$disconnect"
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	c.io, c.cut = context.WithCancel(context.Background())
	defer c.cut()
	// From here on it may be posted to: the client may know its id as soon as
	// it is taken.
	s.mu.Lock()
	s.conns[c.id] = c
	s.mu.Unlock()
	// API Gateway does not look at the origin; the handler may.
	c.ws, err = websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	var wg sync.WaitGroup
	if err == nil {
		c.ws.SetReadLimit(MessageBytes)
		wg.Go(func() { s.write(c) })
		s.read(c, base)
	}
	c.cancel(nil)
	s.mu.Lock()
	delete(s.conns, c.id)
	s.mu.Unlock()
	wg.Wait()
	_, _ = s.cfg.Handle(context.WithoutCancel(s.ctx), gone) // best effort, as on AWS
}

// read handles the client's messages until the connection ends.
func (s *Server) read(c *conn, base Event) {
	oldest := time.AfterFunc(s.cfg.MaxAge, func() { c.close(websocket.StatusGoingAway, "Going away") })
	defer oldest.Stop()
	idle := time.AfterFunc(s.cfg.MaxIdle, func() { c.close(websocket.StatusGoingAway, "Idle") })
	defer idle.Stop()
	for {
		_, data, err := c.ws.Read(c.io)
		if err != nil {
			c.cancel(err)
			return
		}
		idle.Reset(s.cfg.MaxIdle)
		c.mu.Lock()
		c.active = time.Now()
		c.mu.Unlock()
		e := base
		e.Kind, e.Body, e.RouteKey = Message, string(data), s.cfg.Route(string(data))
		answer, err := s.cfg.Handle(c.ctx, e)
		body := answer.Body
		if err != nil || answer.Status >= http.StatusInternalServerError {
			body = `{"message":"Internal server error","connectionId":"` + c.id + `"}`
		}
		if body == "" {
			continue
		}
		select {
		case c.out <- []byte(body):
		case <-c.ctx.Done():
		}
	}
}

// write sends what waits, and closes the connection in the end.
func (s *Server) write(c *conn) {
	defer c.cut()
	for {
		select {
		case data := <-c.out:
			if err := c.ws.Write(c.ctx, websocket.MessageText, data); err != nil {
				c.cancel(err)
			}
		case <-c.ctx.Done():
			var why closing
			if errors.As(context.Cause(c.ctx), &why) {
				_ = c.ws.Close(why.status, why.reason) // the client may be gone
			} else {
				_ = c.ws.CloseNow()
			}
			return
		}
	}
}

type closing struct {
	status websocket.StatusCode
	reason string
}

func (c closing) Error() string { return c.reason }

func (c *conn) close(status websocket.StatusCode, reason string) { c.cancel(closing{status, reason}) }

// manage is the management API.
func (s *Server) manage(w http.ResponseWriter, r *http.Request, id string) {
	fail := func(status int, kind string) {
		w.Header().Set("X-Amzn-ErrorType", kind)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"message":"`+kind+`"}`)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MessageBytes+1))
	if err != nil {
		fail(http.StatusBadRequest, "BadRequestException")
		return
	}
	f := s.cfg.Fault(r.Method, id)
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
		}
	}
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
		return
	case f.Cut:
		s.Cut(id)
	}
	switch f.Status {
	case 0:
	case http.StatusGone:
		fail(f.Status, "GoneException")
		return
	case http.StatusTooManyRequests:
		fail(f.Status, "LimitExceededException")
		return
	case http.StatusForbidden:
		fail(f.Status, "ForbiddenException")
		return
	default:
		fail(f.Status, "InternalServerException")
		return
	}
	if f.Lose {
		w.WriteHeader(http.StatusOK)
		return
	}
	c := s.find(id)
	if c == nil {
		fail(http.StatusGone, "GoneException")
		return
	}
	switch r.Method {
	case http.MethodPost:
		if len(body) > FrameBytes {
			fail(http.StatusRequestEntityTooLarge, "PayloadTooLargeException")
			return
		}
		select {
		case c.out <- body:
			w.WriteHeader(http.StatusOK)
		default:
			fail(http.StatusTooManyRequests, "LimitExceededException")
		}
	case http.MethodGet:
		c.mu.Lock()
		active := c.active
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"connectedAt": c.since.UTC().Format(time.RFC3339), "lastActiveAt": active.UTC().Format(time.RFC3339),
			"identity": map[string]string{"sourceIp": "127.0.0.1", "userAgent": ""},
		})
	case http.MethodDelete:
		c.close(websocket.StatusNormalClosure, "Connection closed by the API")
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(http.StatusMethodNotAllowed, "MethodNotAllowedException")
	}
}
