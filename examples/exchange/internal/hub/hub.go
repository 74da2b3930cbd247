// Package hub brings the feed to connected clients over WebSocket: it is the
// venue's Pusher. Nothing that a client does, or leaves undone, makes Push
// wait. The protocol is described in the README of examples/exchange.
package hub

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/examples/internal/view"
	"github.com/castlecloud/exchange/pipeline"
)

// Limits are the bounds of a Hub. A field that is zero has its default.
type Limits struct {
	Connections   int           // 256
	Subscriptions int           // of a connection, 32
	MessageBytes  int64         // of a client's message, 4 KiB
	MessageRate   float64       // of a client's messages a second, 20, with twice as many at once
	QueueMessages int           // waiting for one connection, 1,024
	QueueBytes    int           // the same in bytes, 1 MiB
	Conflations   int           // within ConflationSpan until a slow reader is dropped, 8
	WriteTimeout  time.Duration // of one message, 10 s
	Heartbeat     time.Duration // 5 s
	Ping          time.Duration // between pings, 15 s
	PongTimeout   time.Duration // 30 s
	RingMessages  int           // kept of each stream for resuming, 512
	RingBytes     int           // the same in bytes: 1 MiB of a public stream, an eighth of it of a private one
	IdleStreams   int           // private streams of an instrument kept without subscribers, 64
}

// ConflationSpan is the time in which conflations are counted.
const ConflationSpan = time.Minute

// SnapshotTimeout bounds how long a snapshot waits for the stores to catch up
// with the journal.
const SnapshotTimeout = 10 * time.Second

func (l Limits) withDefaults() Limits {
	setInt(&l.Connections, 256)
	setInt(&l.Subscriptions, 32)
	setInt(&l.MessageBytes, 4<<10)
	setInt(&l.MessageRate, 20)
	setInt(&l.QueueMessages, 1024)
	setInt(&l.QueueBytes, 1<<20)
	setInt(&l.Conflations, 8)
	setInt(&l.WriteTimeout, 10*time.Second)
	setInt(&l.Heartbeat, 5*time.Second)
	setInt(&l.Ping, 15*time.Second)
	setInt(&l.PongTimeout, 30*time.Second)
	setInt(&l.RingMessages, 512)
	setInt(&l.RingBytes, 1<<20)
	setInt(&l.IdleStreams, 64)
	return l
}

func setInt[T int | int64 | float64 | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// Snapshots makes snapshots. Each contains at least everything that was
// committed when it was asked for.
type Snapshots interface {
	// in is nil for ChannelBalances, acct 0 for a public channel.
	Snapshot(ctx context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (view.Snapshot, error)
}

// Config says what a Hub works with.
type Config struct {
	Instruments []*exchange.Instrument
	Snapshots   Snapshots
	Verify      func(token string) (auth.Identity, error)
	Now         func() time.Time
	Metrics     pipeline.Metrics
	Logger      *slog.Logger
	Limits      Limits
	// Pushed is called after each item, with no lock held; nil: nothing.
	Pushed func(inst exchange.InstrumentID, pos pipeline.Position)
}

// The names of what a Hub measures.
const (
	MetricConnections = "ws_connections"      // gauge
	MetricMessages    = "ws_messages_sent"    // count
	MetricConflated   = "ws_conflated"        // count: a queue was thrown away for a slow reader
	MetricDropped     = "ws_slow_dropped"     // count: a slow reader was closed
	MetricResumed     = "ws_resumed"          // count: a subscription went on without a snapshot
	MetricSnapshots   = "ws_snapshots"        // count
	MetricRefused     = "ws_connections_full" // count
)

// Hub is the venue's Pusher and an http.Handler. It is safe for concurrent
// use.
type Hub struct {
	cfg     Config
	limits  Limits
	markets map[exchange.InstrumentID]*market // 0: of what belongs to no instrument
	symbols map[string]*market
	ordered []*market

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
	wg     sync.WaitGroup
}

var (
	_ pipeline.Pusher   = (*Hub)(nil)
	_ pipeline.Listener = (*Hub)(nil)
)

// New returns a Hub without connections.
func New(cfg Config) *Hub {
	ctx, cancel := context.WithCancel(context.Background())
	h := &Hub{
		cfg: cfg, limits: cfg.Limits.withDefaults(), ctx: ctx, cancel: cancel, conns: map[*conn]struct{}{},
		markets: map[exchange.InstrumentID]*market{}, symbols: map[string]*market{},
	}
	h.markets[0] = &market{limits: &h.limits, streams: map[streamKey]*stream{}}
	for _, in := range cfg.Instruments {
		m := &market{limits: &h.limits, in: in, streams: map[streamKey]*stream{}}
		h.markets[in.ID()], h.symbols[in.Symbol()] = m, m
		h.ordered = append(h.ordered, m)
	}
	return h
}

// Start tells where an instrument's feed begins: after an item of the journal
// and its last event. Nobody is connected yet, so nobody misses what is before.
// Call it before anything is pushed.
func (h *Hub) Start(inst exchange.InstrumentID, pos pipeline.Position, seq uint64) {
	m := h.markets[inst]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pushed, m.seq = pos, seq
	for _, channel := range publicChannels {
		m.streams[streamKey{channel, 0}] = m.newStream(h.limits.RingBytes)
	}
}

// Close closes every connection and waits until all are gone.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
}

// Disconnect cuts every connection off without a word, as a broken network
// would.
func (h *Hub) Disconnect() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		c.cut()
	}
}

// Push implements pipeline.Pusher.
func (h *Hub) Push(_ context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
	m := h.markets[inst]
	if m == nil || inst == 0 {
		return fmt.Errorf("pushing item %d: %w: instrument %d", pos, pipeline.ErrInvalid, inst)
	}
	for i := range messages {
		if messages[i].Instrument != inst {
			return fmt.Errorf("pushing item %d of instrument %d: %w: message %d is of instrument %d", pos, inst, pipeline.ErrInvalid, i, messages[i].Instrument)
		}
	}
	if m.push(pos, messages) && h.cfg.Pushed != nil {
		h.cfg.Pushed(inst, pos)
	}
	return nil
}

// Pushed implements pipeline.Pusher.
func (h *Hub) Pushed(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	m := h.markets[inst]
	if m == nil {
		return 0, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pushed, nil
}

// Notify implements pipeline.Pusher.
func (h *Hub) Notify(_ context.Context, messages []pipeline.Push) error {
	for i := range messages {
		if messages[i].Instrument != 0 {
			return fmt.Errorf("notifying: %w: message %d is of instrument %d, expected none", pipeline.ErrInvalid, i, messages[i].Instrument)
		}
	}
	m := h.markets[0]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.give(messages)
	return nil
}

// Listening implements pipeline.Listener. It says yes also for some time after
// the last subscriber has gone, so that one who comes back need not begin with
// a snapshot.
func (h *Hub) Listening(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) bool {
	m := h.markets[inst]
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.streams[streamKey{channel, acct}] != nil
}

// Connections returns how many clients are connected.
func (h *Hub) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// enter counts a connection in; false when there is no room.
func (h *Hub) enter(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.conns) >= h.limits.Connections {
		return false
	}
	h.conns[c] = struct{}{}
	h.wg.Add(1)
	h.cfg.Metrics.Gauge(MetricConnections, 0, float64(len(h.conns)))
	return true
}

func (h *Hub) leave(c *conn) {
	for _, s := range c.dropSubs(func(*sub) bool { return true }) {
		s.market.remove(s)
	}
	h.mu.Lock()
	delete(h.conns, c)
	h.cfg.Metrics.Gauge(MetricConnections, 0, float64(len(h.conns)))
	h.mu.Unlock()
	h.wg.Done()
}
