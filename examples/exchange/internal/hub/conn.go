package hub

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/coder/websocket"
	"golang.org/x/time/rate"
)

// sub is one subscription of one connection to one stream.
type sub struct {
	conn   *conn
	market *market
	key    streamKey

	// The rest is guarded by conn.mu.
	live    bool   // pushes are queued; false while a snapshot is due
	ended   bool   // what is still queued of it is not sent
	seq     uint64 // of what was sent last
	waiting *item  // a message in the queue that the next one replaces
}

// item is something to be sent: a message of the connection's own (data), a
// push of a subscription, or a snapshot that is to be made when its turn
// comes.
type item struct {
	data     []byte
	sub      *sub
	push     *pipeline.Push
	snapshot bool
	gap      bool // before the snapshot: say that something was thrown away
}

// conn is one client. One goroutine reads, one writes, one pings; whoever
// pushes only ever adds to the queue.
type conn struct {
	hub     *Hub
	ws      *websocket.Conn
	ctx     context.Context // ends when the connection is to be closed, with the reason
	cancel  context.CancelCauseFunc
	io      context.Context // of reads and writes: ending it (cut) tears the connection down at once
	cut     context.CancelFunc
	bell    chan struct{} // there is something in the queue
	dropped sync.Once

	mu        sync.Mutex
	queue     []*item
	bytes     int
	subs      map[subKey]*sub
	identity  auth.Identity
	conflated []time.Time // the latest, at most limits.Conflations
}

type subKey struct {
	market *market
	key    streamKey
}

// closing is why a connection is closed.
type closing struct {
	status websocket.StatusCode
	reason string
}

func (c closing) Error() string { return c.reason }

// ServeHTTP takes a WebSocket connection and serves it until it ends.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(h.ctx)
	defer cancel(nil)
	io, cut := context.WithCancel(context.Background())
	defer cut()
	c := &conn{hub: h, ctx: ctx, cancel: cancel, io: io, cut: cut, bell: make(chan struct{}, 1), subs: map[subKey]*sub{}}
	if !h.enter(c) {
		h.cfg.Metrics.Count(MetricRefused, 0, 1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(errorMessage("too_many_connections", "no room for another connection, try again later", "", ""))
		return
	}
	defer h.leave(c)
	// The default options refuse a browser's request from another origin.
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	c.ws = ws
	ws.SetReadLimit(h.limits.MessageBytes)
	var wg sync.WaitGroup
	wg.Go(c.write)
	wg.Go(c.ping)
	c.read()
	wg.Wait()
}

// close ends the connection, once, for a reason the client is told.
func (c *conn) close(status websocket.StatusCode, reason string) {
	c.cancel(closing{status, reason})
}

// read handles the client's messages until the connection ends.
func (c *conn) read() {
	limit := rate.NewLimiter(rate.Limit(c.hub.limits.MessageRate), int(2*c.hub.limits.MessageRate))
	for {
		kind, data, err := c.ws.Read(c.io)
		if err != nil {
			if errors.Is(err, websocket.ErrMessageTooBig) {
				c.close(websocket.StatusMessageTooBig, "message_too_big")
			}
			c.cancel(nil)
			return
		}
		switch {
		case !limit.AllowN(c.hub.cfg.Now(), 1):
			c.close(websocket.StatusPolicyViolation, pipeline.FeedRateLimited)
		case kind != websocket.MessageText:
			c.close(websocket.StatusUnsupportedData, pipeline.FeedInvalidMessage)
		default:
			c.handle(data)
		}
	}
}

// ping finds clients that are gone, or do not read.
func (c *conn) ping() {
	tick := time.NewTicker(c.hub.limits.Ping)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(c.io, c.hub.limits.PongTimeout)
		err := c.ws.Ping(ctx)
		late := errors.Is(ctx.Err(), context.DeadlineExceeded)
		cancel()
		if err != nil {
			if late {
				c.drop()
			}
			return
		}
	}
}

// drop closes a reader who is too slow.
func (c *conn) drop() {
	c.dropped.Do(func() { c.hub.cfg.Metrics.Count(MetricDropped, 0, 1) })
	c.close(websocket.StatusPolicyViolation, pipeline.FeedSlowReader)
}

// write sends what is queued until the connection ends, and then closes it.
func (c *conn) write() {
	beat := time.NewTicker(c.hub.limits.Heartbeat)
	defer beat.Stop()
	for c.ctx.Err() == nil {
		it := c.next()
		if it != nil {
			c.send(it)
		}
		var bell chan struct{}
		if it == nil {
			bell = c.bell
		} else {
			bell = closedBell
		}
		select {
		case <-beat.C:
			c.expire()
			c.transmit(c.heartbeat())
		case <-bell:
		case <-c.ctx.Done():
		}
	}
	var why closing
	if !errors.As(context.Cause(c.ctx), &why) {
		why = closing{websocket.StatusNormalClosure, ""}
		if c.hub.ctx.Err() != nil {
			why = closing{websocket.StatusGoingAway, pipeline.FeedGoingAway}
		}
	}
	// It waits some seconds for the client's answer, and then closes anyway.
	_ = c.ws.Close(why.status, why.reason)
}

var closedBell = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// transmit writes one message; whoever does not take it is too slow.
func (c *conn) transmit(data []byte) {
	ctx, cancel := context.WithTimeout(c.io, c.hub.limits.WriteTimeout)
	defer cancel()
	err := c.ws.Write(ctx, websocket.MessageText, data)
	switch {
	case err == nil:
		c.hub.cfg.Metrics.Count(MetricMessages, 0, 1)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.drop()
	default:
		c.cancel(nil)
	}
}

// next takes the first item off the queue, nil when it is empty.
func (c *conn) next() *item {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil
	}
	it := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	c.bytes -= it.size()
	if it.sub != nil && it.sub.waiting == it {
		it.sub.waiting = nil
	}
	return it
}

func (it *item) size() int {
	if it.push != nil {
		return len(it.push.Data)
	}
	return len(it.data)
}

func (c *conn) send(it *item) {
	switch {
	case it.snapshot:
		c.sendSnapshot(it)
	case it.push != nil:
		c.mu.Lock()
		s := it.sub
		old := s.ended || it.push.Seq <= s.seq
		if !old {
			s.seq = it.push.Seq
		}
		c.mu.Unlock()
		if !old {
			c.transmit(it.push.Data)
		}
	default:
		c.transmit(it.data)
	}
}

func (c *conn) sendSnapshot(it *item) {
	s := it.sub
	c.mu.Lock()
	ended := s.ended
	s.live = true // from here on pushes are queued; those the snapshot has are skipped
	c.mu.Unlock()
	if ended {
		return
	}
	if it.gap {
		c.transmit(gapMessage(s))
	}
	ctx, cancel := context.WithTimeout(c.ctx, SnapshotTimeout)
	defer cancel()
	snap, err := c.hub.cfg.Snapshots.Snapshot(ctx, s.key.channel, s.market.in, s.key.account)
	if err != nil {
		if c.ctx.Err() == nil {
			c.hub.cfg.Logger.Warn("snapshot", "channel", string(s.key.channel), "symbol", s.market.symbol(), "error", err)
			c.unsubscribe([]*sub{s})
			c.transmit(errorMessage(pipeline.FeedUnavailable, "no snapshot can be had now, subscribe again later", s.key.channel, s.market.symbol()))
		}
		return
	}
	c.hub.cfg.Metrics.Count(MetricSnapshots, s.market.id(), 1)
	c.mu.Lock()
	s.seq = snap.Seq
	c.mu.Unlock()
	c.transmit(snap.Data)
}

// offer queues a push for a subscription. It never waits.
func (c *conn) offer(s *sub, p *pipeline.Push) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.live || s.ended {
		return
	}
	if s.waiting != nil { // only the latest counts
		c.bytes += len(p.Data) - len(s.waiting.push.Data)
		s.waiting.push = p
		return
	}
	it := &item{sub: s, push: p}
	if s.key.channel.Whole() {
		s.waiting = it
	}
	c.add(it)
}

// say queues a message of the connection's own.
func (c *conn) say(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(&item{data: data})
}

// add queues an item. When there is no room, everything that a snapshot can
// make good is thrown away and snapshots are queued instead.
func (c *conn) add(it *item) {
	if len(c.queue) >= c.hub.limits.QueueMessages || c.bytes+it.size() > c.hub.limits.QueueBytes {
		c.conflate(it.sub)
		if it.push != nil {
			return // the snapshot will have it
		}
		if len(c.queue) >= c.hub.limits.QueueMessages {
			c.drop() // it asks and asks, and never reads the answers
			return
		}
	}
	c.queue = append(c.queue, it)
	c.bytes += it.size()
	c.ring()
}

func (c *conn) ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// conflate throws the queued pushes away and queues snapshots of what they
// belong to, and of one more subscription (nil: none).
func (c *conn) conflate(more *sub) {
	now := c.hub.cfg.Now()
	for len(c.conflated) > 0 && now.Sub(c.conflated[0]) >= ConflationSpan {
		c.conflated = c.conflated[1:]
	}
	c.conflated = append(c.conflated, now)
	c.hub.cfg.Metrics.Count(MetricConflated, 0, 1)
	if len(c.conflated) >= c.hub.limits.Conflations {
		c.drop()
	}
	kept := make([]*item, 0, len(c.queue))
	bytes := 0
	behind := func(s *sub) {
		if s.live && !s.ended {
			s.live, s.waiting = false, nil // a snapshot that waits makes it live again
			kept = append(kept, &item{sub: s, snapshot: true, gap: true})
		}
	}
	for _, it := range c.queue {
		if it.push != nil {
			behind(it.sub)
			continue
		}
		kept = append(kept, it)
		bytes += it.size()
	}
	if more != nil {
		behind(more)
	}
	c.queue, c.bytes = kept, bytes
	c.ring()
}

// resume queues what a subscription has missed. The market's lock is held.
func (c *conn) resume(s *sub, seq uint64, ring []pipeline.Push) {
	c.hub.cfg.Metrics.Count(MetricResumed, s.market.id(), 1)
	c.mu.Lock()
	s.live, s.seq = true, seq
	c.mu.Unlock()
	for i := range ring {
		p := ring[i]
		c.offer(s, &p)
	}
}

func (c *conn) wantSnapshot(s *sub) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(&item{sub: s, snapshot: true})
}

// dropSubs takes subscriptions off the connection; the caller removes them
// from their markets, whose lock comes first.
func (c *conn) dropSubs(which func(*sub) bool) []*sub {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*sub
	for key, s := range c.subs {
		if which(s) {
			s.ended = true
			delete(c.subs, key)
			out = append(out, s)
		}
	}
	return out
}

func (c *conn) unsubscribe(subs []*sub) {
	gone := map[*sub]bool{}
	for _, s := range subs {
		gone[s] = true
	}
	for _, s := range c.dropSubs(func(s *sub) bool { return gone[s] }) {
		s.market.remove(s)
	}
}

// expire ends the private subscriptions of a token that has ended.
func (c *conn) expire() {
	c.mu.Lock()
	over := c.identity.Account != 0 && !c.hub.cfg.Now().Before(c.identity.Expires)
	if over {
		c.identity = auth.Identity{}
	}
	c.mu.Unlock()
	if !over {
		return
	}
	for _, s := range c.dropSubs(func(s *sub) bool { return s.key.account != 0 }) {
		s.market.remove(s)
	}
	c.transmit(errorMessage(pipeline.FeedTokenExpired, "the token has ended, authenticate again", "", ""))
}

func (c *conn) account() exchange.AccountID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity.Account
}
