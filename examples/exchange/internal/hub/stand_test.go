package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/examples/internal/view"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/coder/websocket"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// stand is a hub behind a server whose connections hold no bytes: what a
// client does not read, the hub has not written.
type stand struct {
	t       *testing.T
	hub     *Hub
	server  *httptest.Server
	network *network
	metrics *memory.Metrics
	mu      sync.Mutex
	at      time.Time
	delay   chan struct{} // when not nil, snapshots wait for it
	fail    error
	made    int // snapshots
	pos     map[exchange.InstrumentID]pipeline.Position
	last    map[string]uint64 // Seq of what was pushed last, which is what snapshots say
}

func newStand(t *testing.T, limits Limits) *stand {
	t.Helper()
	s := &stand{t: t, at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), metrics: memory.NewMetrics(),
		pos: map[exchange.InstrumentID]pipeline.Position{}, last: map[string]uint64{}}
	var instruments []*exchange.Instrument
	for i, symbol := range []string{"BTC-USD", "ETH-USD"} {
		in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: exchange.InstrumentID(i + 1), Symbol: symbol,
			Base: exchange.Asset{ID: exchange.AssetID(i + 1), Code: "B", Scale: 8}, Quote: exchange.Asset{ID: 9, Code: "Q", Scale: 8},
			Tick: decimal.New(1, -2), Lot: decimal.New(1, -4)})
		require.NoError(t, err)
		instruments = append(instruments, in)
	}
	s.hub = New(Config{Instruments: instruments, Snapshots: s, Verify: s.verify, Now: s.now, Metrics: s.metrics,
		Logger: slog.New(slog.DiscardHandler), Limits: limits})
	for _, in := range instruments {
		s.hub.Start(in.ID(), 0, 0)
	}
	s.network = &network{conns: make(chan net.Conn), done: make(chan struct{})}
	s.server = httptest.NewUnstartedServer(s.hub)
	s.server.Listener.Close()
	s.server.Listener = s.network
	s.server.Start()
	t.Cleanup(func() {
		s.hub.Close()
		s.server.Close()
	})
	return s
}

func (s *stand) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *stand) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

// verify takes tokens such as "account 7".
func (s *stand) verify(token string) (auth.Identity, error) {
	var acct exchange.AccountID
	if token == "expired" {
		return auth.Identity{}, auth.ErrExpired
	}
	if _, err := fmt.Sscanf(token, "account %d", &acct); err != nil {
		return auth.Identity{}, auth.ErrInvalid
	}
	return auth.Identity{Account: acct, Expires: s.now().Add(time.Hour)}, nil
}

// Snapshot implements Snapshots.
func (s *stand) Snapshot(ctx context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (view.Snapshot, error) {
	s.mu.Lock()
	delay, err := s.delay, s.fail
	s.made++
	s.mu.Unlock()
	if delay != nil {
		select {
		case <-delay:
		case <-ctx.Done():
			return view.Snapshot{}, ctx.Err()
		}
	}
	if err != nil {
		return view.Snapshot{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	symbol := ""
	if in != nil {
		symbol = in.Symbol()
	}
	seq := s.last[key(channel, symbol, acct)]
	return view.Snapshot{Seq: seq, Data: []byte(fmt.Sprintf(`{"type":"snapshot","channel":%q,"symbol":%q,"seq":%d,"account":%d}`, channel, symbol, seq, acct))}, nil
}

func key(channel pipeline.Channel, symbol string, acct exchange.AccountID) string {
	return fmt.Sprint(channel, symbol, acct)
}

// push pushes one message of some channel, with pad more bytes, and returns
// its Seq.
func (s *stand) push(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID, pad int) uint64 {
	s.mu.Lock()
	symbol := ""
	if inst != 0 {
		symbol = s.hub.markets[inst].symbol()
	}
	k := key(channel, symbol, acct)
	prev := s.last[k]
	seq := prev + 1
	s.last[k] = seq
	s.pos[inst]++
	pos := s.pos[inst]
	s.mu.Unlock()
	data := fmt.Sprintf(`{"type":"update","channel":%q,"symbol":%q,"seq":%d,"prev_seq":%d,"account":%d,"pad":"%0*d"}`, channel, symbol, seq, prev, acct, pad, 0)
	p := []pipeline.Push{{Channel: channel, Instrument: inst, Account: acct, Seq: seq, PrevSeq: prev, Data: []byte(data)}}
	if inst == 0 {
		require.NoError(s.t, s.hub.Notify(context.Background(), p))
	} else {
		require.NoError(s.t, s.hub.Push(context.Background(), inst, pos, p))
	}
	return seq
}

// message is any message of the hub.
type message struct {
	Type, Channel, Symbol, Code, Message, Time, Pad string
	Seq                                             uint64
	PrevSeq                                         uint64 `json:"prev_seq"`
	Account                                         uint64
	Resumed                                         bool
	ExpiresAt                                       string `json:"expires_at"`
	Seqs                                            map[string]uint64
	Subscriptions                                   []pipeline.FeedSubscription
}

type client struct {
	t  *testing.T
	ws *websocket.Conn
}

func (s *stand) dial() *client {
	s.t.Helper()
	c, _, err := s.tryDial(nil)
	require.NoError(s.t, err)
	return c
}

func (s *stand) tryDial(header http.Header) (*client, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "ws://venue/ws", &websocket.DialOptions{HTTPHeader: header,
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: s.network.dial}}})
	if err != nil {
		return nil, resp, err
	}
	ws.SetReadLimit(1 << 22)
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{s.t, ws}, resp, nil
}

func (c *client) send(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(c.t, c.ws.Write(ctx, websocket.MessageText, []byte(text)))
}

func (c *client) read() (message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var m message
	_, data, err := c.ws.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

// next returns the next message but heartbeats.
func (c *client) next() message {
	c.t.Helper()
	for {
		m, err := c.read()
		require.NoError(c.t, err)
		if m.Type != "heartbeat" {
			return m
		}
	}
}

// expect reads a message and checks what kind it is.
func (c *client) expect(kind string) message {
	c.t.Helper()
	m := c.next()
	require.Equal(c.t, kind, m.Type, "%+v", m)
	return m
}

// closed reads until the connection is closed and returns why.
func (c *client) closed() (websocket.StatusCode, string) {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			var ce websocket.CloseError
			require.ErrorAs(c.t, err, &ce)
			return ce.Code, ce.Reason
		}
	}
}

// subscribe subscribes and reads the answer and the snapshot.
func (c *client) subscribe(channel, symbol string) message {
	c.t.Helper()
	c.send(fmt.Sprintf(`{"op":"subscribe","channel":%q,"symbol":%q}`, channel, symbol))
	m := c.expect("subscribed")
	require.Equal(c.t, channel, m.Channel)
	require.False(c.t, m.Resumed)
	return c.expect("snapshot")
}

func (c *client) login(acct int) {
	c.t.Helper()
	c.send(fmt.Sprintf(`{"op":"auth","token":"account %d"}`, acct))
	c.expect("authenticated")
}

// network is a listener whose connections are pipes.
type network struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.conns <- server:
		return client, nil
	case <-n.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.done) })
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// count returns a counter of the hub.
func (s *stand) count(name string) int64 { return s.metrics.Read(name, 0).Count }
