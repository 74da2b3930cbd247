package apigateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/coder/websocket"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	standin "github.com/castlecloud/exchange/adapters/standin/websocket"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// instruments are those of the suite.
var instruments = func() []*exchange.Instrument {
	var out []*exchange.Instrument
	for i, id := range []exchange.InstrumentID{1, 2, 3, 4, 5, 6, 0xffff} {
		in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: id, Symbol: symbolOf(id),
			Base:  exchange.Asset{ID: exchange.AssetID(i + 2), Code: fmt.Sprintf("B%d", id), Scale: 8},
			Quote: exchange.Asset{ID: 1, Code: "USD", Scale: 6}, Tick: decimal.New(1, -2), Lot: decimal.New(1, -4)})
		if err != nil {
			panic(err)
		}
		out = append(out, in)
	}
	return out
}()

func symbolOf(id exchange.InstrumentID) string { return fmt.Sprintf("B%d-USD", id) }

const patience = time.Minute

// stand is the whole way, from Pusher to clients.
type stand struct {
	t       testing.TB
	table   apigateway.Table
	gateway *standin.Server
	url     string
	*apigateway.Sessions
	*apigateway.Pusher
	deliverer *apigateway.Deliverer
	metrics   *memory.Metrics
	asked     *queue // SnapshotRequests

	mu    sync.Mutex
	now   time.Time // zero: the clock
	fault func(method, id string) standin.Fault
	hangs string
}

// queue is a Sender that keeps what it gets.
type queue struct {
	mu   sync.Mutex
	all  []apigateway.Envelope
	fail error
}

func (q *queue) Send(_ context.Context, envelopes []apigateway.Envelope) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return q.fail
	}
	q.all = append(q.all, envelopes...)
	return nil
}

// refuse lets every Send fail; nil: none any more.
func (q *queue) refuse(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail = why
}

// take returns the bodies, and empties the queue.
func (q *queue) take() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var bodies []string
	for i := range q.all {
		bodies = append(bodies, q.all[i].Body)
	}
	q.all = nil
	return bodies
}

// options change a stand before it is made.
type options struct {
	table  apigateway.Table
	sender apigateway.Sender // nil: Direct
	merge  int
	buffer int
	// timeout is the Deliverer's for the connection stand.hangs, and for no
	// other: no slow machine reaches what those have.
	timeout time.Duration
}

func newStand(t testing.TB, o options) *stand {
	s := &stand{t: t, table: o.table, metrics: memory.NewMetrics(), asked: &queue{}}
	if s.table == nil {
		s.table = apigateway.NewMemoryTable()
	}
	s.gateway = standin.New(standin.Config{Handle: s.handle, Buffer: o.buffer, Fault: func(method, id string) standin.Fault {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.fault == nil {
			return standin.Fault{}
		}
		return s.fault(method, id)
	}})
	server := httptest.NewUnstartedServer(s.gateway)
	server.Listener = small{server.Listener}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(s.gateway.Close)
	s.url = server.URL
	client := api.New(api.Options{BaseEndpoint: aws.String(server.URL + "/stage"), Region: "eu-central-1", HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""), RetryMaxAttempts: 2})
	posting := apigateway.Posting(client)
	if o.timeout == 0 {
		o.timeout = patience
	} else {
		posting = &unhurried{posting, s}
	}
	var err error
	s.deliverer, err = apigateway.NewDeliverer(apigateway.DelivererConfig{Instruments: instruments, Table: s.table, API: posting, Merge: o.merge,
		Timeout: o.timeout, Now: s.clock, Metrics: s.metrics})
	require.NoError(t, err)
	if o.sender == nil {
		direct := apigateway.NewDirect(s.deliverer)
		t.Cleanup(direct.Close)
		o.sender = direct
	}
	s.Pusher, err = apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: o.sender, Table: s.table, Metrics: s.metrics})
	require.NoError(t, err)
	s.Sessions, err = apigateway.NewSessions(apigateway.SessionsConfig{Instruments: instruments, Table: s.table, Verify: s.verify, Ask: s.asked, Now: s.clock})
	require.NoError(t, err)
	return s
}

// unhurried has a timeout end posts to one connection alone.
type unhurried struct {
	apigateway.Posting
	s *stand
}

func (u *unhurried) PostToConnection(ctx context.Context, in *api.PostToConnectionInput, options ...func(*api.Options)) (*api.PostToConnectionOutput, error) {
	u.s.mu.Lock()
	hangs := u.s.hangs
	u.s.mu.Unlock()
	if *in.ConnectionId != hangs {
		ctx = context.WithoutCancel(ctx)
	}
	return u.Posting.PostToConnection(ctx, in, options...)
}

// small makes the kernel keep little of what a client does not read.
type small struct{ net.Listener }

func (l small) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(4096)
	}
	return c, err
}

func (s *stand) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.IsZero() {
		return time.Now()
	}
	return s.now
}

func (s *stand) set(f func(*stand)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// verify takes "ACCOUNT" and "ACCOUNT until UNIX".
func (s *stand) verify(token string) (apigateway.Identity, error) {
	name, until, _ := strings.Cut(token, " until ")
	acct, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return apigateway.Identity{}, fmt.Errorf("no token: %w", err)
	}
	who := apigateway.Identity{Account: exchange.AccountID(acct)}
	if until != "" {
		sec, err := strconv.ParseInt(until, 10, 64)
		if err != nil {
			return apigateway.Identity{}, err
		}
		if who.Expires = time.Unix(sec, 0); !s.clock().Before(who.Expires) {
			return apigateway.Identity{}, apigateway.ErrTokenExpired
		}
	}
	return who, nil
}

// handle is what the websocket function does.
func (s *stand) handle(ctx context.Context, e standin.Event) (standin.Response, error) {
	switch e.Kind {
	case standin.Connect:
		return standin.Response{}, s.Connect(ctx, e.ConnectionID, apigateway.Identity{})
	case standin.Disconnect:
		return standin.Response{}, s.Disconnect(ctx, e.ConnectionID)
	}
	reply, err := s.Message(ctx, e.ConnectionID, []byte(e.Body))
	return standin.Response{Body: string(reply)}, err
}

// client is a connection. It reads only when it is asked to.
type client struct {
	t      testing.TB
	ws     *websocket.Conn
	joiner pipeline.FeedJoiner
}

func (s *stand) dial() *client {
	s.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	ws, _, err := websocket.Dial(s.t.Context(), s.url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(standin.FrameBytes)
	return &client{t: s.t, ws: ws}
}

func (c *client) send(message string) {
	c.t.Helper()
	require.NoError(c.t, c.ws.Write(c.t.Context(), websocket.MessageText, []byte(message)))
}

// read waits for a message, put together from its parts.
func (c *client) read(ctx context.Context) ([]byte, error) {
	for {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			return nil, err
		}
		whole, err := c.joiner.Join(data)
		if err != nil || whole != nil {
			return whole, err
		}
	}
}

// next is a message, or what ended the connection.
func (c *client) next() (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	data, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(data, &m)
}

// ask sends a message and returns the answer.
func (c *client) ask(message string) map[string]any {
	c.t.Helper()
	c.send(message)
	return c.must()
}

func (c *client) must() map[string]any {
	c.t.Helper()
	m, err := c.next()
	require.NoError(c.t, err)
	return m
}

func (s *stand) subscribe(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) *client {
	s.t.Helper()
	c := s.dial()
	if acct != 0 {
		require.Equal(s.t, "authenticated", c.ask(fmt.Sprintf(`{"op":"auth","token":"%d"}`, acct))["type"])
	}
	symbol := ""
	if inst != 0 {
		symbol = symbolOf(inst)
	}
	require.Equal(s.t, "subscribed", c.ask(fmt.Sprintf(`{"op":"subscribe","channel":%q,"symbol":%q}`, channel, symbol))["type"])
	return c
}
