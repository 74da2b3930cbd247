package memory

import (
	"container/list"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Defaults of a QueueConfig.
const (
	DefaultVisibility    = 30 * time.Second
	DefaultQueueMessages = 1 << 16
	DefaultDedupSpan     = 5 * time.Minute // as SQS has it
	DefaultDedupCount    = 1 << 16
)

// QueueConfig says how a Queue behaves. The zero value is fine.
type QueueConfig struct {
	Now         func() time.Time // nil: time.Now
	Visibility  time.Duration    // how long a delivery may stay unacknowledged
	MaxMessages int              // of one instrument, waiting or delivered; then ErrFull
	// DedupSpan and DedupCount bound what is remembered of DedupIDs. A message
	// whose id was sent to its instrument within them is taken and dropped,
	// even when the first one was acknowledged long ago; the zero id is never
	// remembered.
	DedupSpan  time.Duration
	DedupCount int
}

// Queue is a pipeline.CommandQueue. Instruments take turns.
type Queue struct {
	cfg     QueueConfig
	mu      sync.Mutex
	bell    bell
	groups  map[exchange.InstrumentID]*queueGroup
	ready   deque[*queueGroup] // those with messages and no delivery
	flying  list.List          // of *queueGroup, those with a delivery, by deadline
	receipt uint64
	sent    map[dedupKey]struct{}
	window  deque[dedupEntry]
	length  int
}

// queueGroup is the queue of one instrument.
type queueGroup struct {
	inst     exchange.InstrumentID
	messages deque[pipeline.QueueMessage]
	out      int           // how many from the front are delivered, 0: none
	flight   *list.Element // nil: none
	receipt  uint64        // of the delivery
	deadline time.Time
	acked    uint64 // the last receipt that was acknowledged
}

type dedupKey struct {
	inst exchange.InstrumentID
	id   exchange.CommandID
}

type dedupEntry struct {
	dedupKey
	at time.Time
}

// NewQueue returns an empty queue.
func NewQueue(cfg QueueConfig) *Queue {
	cfg.Now = clock(cfg.Now)
	cfg.Visibility = setting(cfg.Visibility, DefaultVisibility)
	cfg.MaxMessages = setting(cfg.MaxMessages, DefaultQueueMessages)
	cfg.DedupSpan = setting(cfg.DedupSpan, DefaultDedupSpan)
	cfg.DedupCount = setting(cfg.DedupCount, DefaultDedupCount)
	return &Queue{cfg: cfg, groups: map[exchange.InstrumentID]*queueGroup{}, sent: map[dedupKey]struct{}{}}
}

// Send implements pipeline.CommandQueue. Arguments are checked before anything
// is sent; on ErrFull the messages before the one that found no room were sent.
func (q *Queue) Send(_ context.Context, messages []pipeline.QueueMessage) error {
	if n := len(messages); n < 1 || n > pipeline.MaxSendMessages {
		return fmt.Errorf("sending: %w: %d messages, expected 1 to %d", pipeline.ErrInvalid, n, pipeline.MaxSendMessages)
	}
	size := 0
	for i := range messages {
		if err := checkInstrument(messages[i].Instrument); err != nil {
			return fmt.Errorf("sending message %d: %w", i, err)
		}
		n := len(messages[i].Body)
		if n > pipeline.MaxMessageBytes {
			return fmt.Errorf("sending message %d: %w: a body of %d bytes, expected at most %d", i, pipeline.ErrTooLarge, n, pipeline.MaxMessageBytes)
		}
		size += n
	}
	bodies := make([]byte, 0, size)
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	q.forget(now)
	for i := range messages {
		m := messages[i]
		key := dedupKey{m.Instrument, m.DedupID}
		if _, seen := q.sent[key]; seen {
			continue
		}
		g := q.groups[m.Instrument]
		if g == nil {
			g = &queueGroup{inst: m.Instrument}
			q.groups[m.Instrument] = g
		}
		if g.messages.len() >= q.cfg.MaxMessages {
			return fmt.Errorf("sending message %d to instrument %d: %w: %d messages wait", i, m.Instrument, pipeline.ErrFull, g.messages.len())
		}
		at := len(bodies)
		bodies = append(bodies, m.Body...)
		m.Body = bodies[at:len(bodies):len(bodies)]
		g.messages.push(m)
		q.length++
		if m.DedupID != (exchange.CommandID{}) {
			q.remember(dedupEntry{key, now})
		}
		if g.flight == nil && g.messages.len() == 1 {
			q.offer(g)
		}
	}
	return nil
}

func (q *Queue) remember(e dedupEntry) {
	if q.window.len() >= q.cfg.DedupCount {
		delete(q.sent, q.window.at(0).dedupKey)
		q.window.drop(1)
	}
	q.sent[e.dedupKey] = struct{}{}
	q.window.push(e)
}

func (q *Queue) forget(now time.Time) {
	for q.window.len() > 0 && now.Sub(q.window.at(0).at) >= q.cfg.DedupSpan {
		delete(q.sent, q.window.pop().dedupKey)
	}
}

// offer lets g be received, after those that are ready already.
func (q *Queue) offer(g *queueGroup) {
	q.ready.push(g)
	q.bell.ring()
}

// land ends the delivery of g.
func (q *Queue) land(g *queueGroup) {
	q.flying.Remove(g.flight)
	g.flight, g.out = nil, 0
	if g.messages.len() > 0 {
		q.offer(g)
	}
}

// expire ends the deliveries that took too long.
func (q *Queue) expire(now time.Time) {
	for e := q.flying.Front(); e != nil && !now.Before(e.Value.(*queueGroup).deadline); e = q.flying.Front() {
		q.land(e.Value.(*queueGroup))
	}
}

// TryReceive is Receive without waiting: ok is false when there is nothing. A
// limit outside 1 to MaxReceive counts as the nearest inside.
func (q *Queue) TryReceive(limit int) (d pipeline.Delivery, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.take(min(max(limit, 1), pipeline.MaxReceive))
}

// Receive implements pipeline.CommandQueue.
func (q *Queue) Receive(ctx context.Context, limit int) (pipeline.Delivery, error) {
	if limit < 1 || limit > pipeline.MaxReceive {
		return pipeline.Delivery{}, fmt.Errorf("receiving: %w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxReceive)
	}
	err := ctx.Err()
	for err == nil {
		q.mu.Lock()
		d, ok := q.take(limit)
		if ok {
			q.mu.Unlock()
			return d, nil
		}
		rung, wait := q.bell.hear(), time.Duration(0)
		if e := q.flying.Front(); e != nil {
			wait = max(1, e.Value.(*queueGroup).deadline.Sub(q.cfg.Now()))
		}
		q.mu.Unlock()
		err = await(ctx, rung, wait)
	}
	return pipeline.Delivery{}, fmt.Errorf("receiving: %w", err)
}

func (q *Queue) take(limit int) (pipeline.Delivery, bool) {
	now := q.cfg.Now()
	q.expire(now)
	if q.ready.len() == 0 {
		return pipeline.Delivery{}, false
	}
	g := q.ready.pop()
	q.receipt++
	g.out, g.receipt, g.deadline = min(limit, g.messages.len()), q.receipt, now.Add(q.cfg.Visibility)
	g.flight = q.flying.PushBack(g)
	d := pipeline.Delivery{Instrument: g.inst, Messages: make([]pipeline.QueueMessage, g.out), Receipt: strconv.FormatUint(g.receipt, 10)}
	size := 0
	for i := range d.Messages {
		size += len(g.messages.at(i).Body)
	}
	bodies := make([]byte, 0, size)
	for i := range d.Messages {
		m := *g.messages.at(i)
		at := len(bodies)
		bodies = append(bodies, m.Body...)
		m.Body = bodies[at:len(bodies):len(bodies)]
		d.Messages[i] = m
	}
	return d, true
}

// Ack implements pipeline.CommandQueue. Repeated for the last delivery of an
// instrument that was acknowledged it does nothing.
func (q *Queue) Ack(_ context.Context, d pipeline.Delivery, done int) error {
	receipt, err := strconv.ParseUint(d.Receipt, 10, 64)
	if err != nil || receipt == 0 {
		return fmt.Errorf("acknowledging: %w: receipt %.40q", pipeline.ErrNotFound, d.Receipt)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(q.cfg.Now())
	g := q.groups[d.Instrument]
	switch {
	case g != nil && receipt == g.acked:
		return nil
	case g == nil || g.flight == nil || receipt != g.receipt:
		return fmt.Errorf("acknowledging a delivery of instrument %d: %w: receipt %d", d.Instrument, pipeline.ErrNotFound, receipt)
	case done < 0 || done > g.out:
		return fmt.Errorf("acknowledging a delivery of instrument %d: %w: %d messages, expected 0 to %d", d.Instrument, pipeline.ErrInvalid, done, g.out)
	}
	g.messages.drop(done)
	q.length -= done
	g.acked = receipt
	q.land(g)
	return nil
}

// Len returns how many messages were sent and not yet acknowledged.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length
}
