package exchangetest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// soon is how long a case waits for what a broken port never brings.
const soon = 300 * time.Millisecond

// brokenQueue is a memory.Queue with some methods replaced, on a clock that
// Expire moves.
type brokenQueue struct {
	*memory.Queue
	mu      sync.Mutex // for what a fake remembers, and for the clock
	now     time.Time
	send    func(messages []pipeline.QueueMessage) error
	receive func(ctx context.Context, limit int) (pipeline.Delivery, error)
	ack     func(d pipeline.Delivery, done int) error
}

func (q *brokenQueue) Send(ctx context.Context, messages []pipeline.QueueMessage) error {
	if q.send != nil {
		return q.send(messages)
	}
	return q.Queue.Send(ctx, messages)
}

func (q *brokenQueue) Receive(ctx context.Context, limit int) (pipeline.Delivery, error) {
	if q.receive != nil {
		return q.receive(ctx, limit)
	}
	return q.Queue.Receive(ctx, limit)
}

func (q *brokenQueue) Ack(ctx context.Context, d pipeline.Delivery, done int) error {
	if q.ack != nil {
		return q.ack(d, done)
	}
	return q.Queue.Ack(ctx, d, done)
}

func (q *brokenQueue) clock() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.now
}

func breakQueue(how func(q *brokenQueue)) exchangetest.QueueHarness {
	return exchangetest.QueueHarness{
		Open: func(testing.TB) pipeline.CommandQueue {
			q := &brokenQueue{now: time.Unix(1, 0)}
			q.Queue = memory.NewQueue(memory.QueueConfig{Now: q.clock})
			how(q)
			return q
		},
		Expire: func(_ testing.TB, q pipeline.CommandQueue) {
			b := q.(*brokenQueue)
			b.mu.Lock()
			defer b.mu.Unlock()
			b.now = b.now.Add(memory.DefaultVisibility)
		},
		Patience: soon,
	}
}

// received changes what a queue hands out.
func received(change func(d *pipeline.Delivery)) exchangetest.QueueHarness {
	return breakQueue(func(q *brokenQueue) {
		q.receive = func(ctx context.Context, limit int) (pipeline.Delivery, error) {
			d, err := q.Queue.Receive(ctx, limit)
			change(&d)
			return d, err
		}
	})
}

// atOnce acknowledges what it hands out, before anybody has worked on it.
func atOnce(q *brokenQueue) {
	q.receive = func(ctx context.Context, limit int) (pipeline.Delivery, error) {
		d, err := q.Queue.Receive(ctx, limit)
		if err == nil {
			err = q.Queue.Ack(ctx, d, len(d.Messages))
		}
		return d, err
	}
	q.ack = func(pipeline.Delivery, int) error { return nil }
}

// acked changes what a queue is told.
func acked(ack func(q *memory.Queue, d pipeline.Delivery, done int) error) exchangetest.QueueHarness {
	return breakQueue(func(q *brokenQueue) {
		q.ack = func(d pipeline.Delivery, done int) error { return ack(q.Queue, d, done) }
	})
}

func TestBrokenQueues(t *testing.T) {
	bodies := func(q *brokenQueue, of func(m *pipeline.QueueMessage) []byte) {
		q.receive = func(ctx context.Context, limit int) (pipeline.Delivery, error) {
			d, err := q.Queue.Receive(ctx, limit)
			for i := range d.Messages {
				d.Messages[i].Body = of(&d.Messages[i])
			}
			return d, err
		}
	}
	mustFail(t, exchangetest.QueueCases, []broken[exchangetest.QueueHarness]{
		{"reorders", received(func(d *pipeline.Delivery) { slices.Reverse(d.Messages) }), "messages of an instrument arrive in order, as they were sent"},
		{"duplicates", breakQueue(func(q *brokenQueue) {
			q.send = func(messages []pipeline.QueueMessage) error {
				again := slices.Clone(messages)
				for i := range again { // a queue that does not know that it has them
					again[i].DedupID[15] = 1
				}
				return errors.Join(q.Queue.Send(bg, messages), q.Queue.Send(bg, again))
			}
			bodies(q, func(m *pipeline.QueueMessage) []byte { m.DedupID[15] = 0; return m.Body })
		}), "messages of an instrument arrive in order, as they were sent"},
		{"drops every seventh message", breakQueue(func(q *brokenQueue) {
			n := 0
			q.send = func(messages []pipeline.QueueMessage) error {
				return q.Queue.Send(bg, slices.DeleteFunc(slices.Clone(messages), func(pipeline.QueueMessage) bool { n++; return n%7 == 0 }))
			}
		}), "messages of an instrument arrive in order, as they were sent"},
		{"drops what is too large and says yes", breakQueue(func(q *brokenQueue) {
			q.send = func(messages []pipeline.QueueMessage) error {
				if err := q.Queue.Send(bg, messages); !errors.Is(err, pipeline.ErrTooLarge) {
					return err
				}
				return nil
			}
		}), "what is sent is checked"},
		{"takes no more than 256 KB at once", breakQueue(func(q *brokenQueue) {
			q.send = func(messages []pipeline.QueueMessage) error {
				size := 0
				for i := range messages {
					size += len(messages[i].Body)
				}
				if size > 256<<10 {
					return pipeline.ErrTooLarge
				}
				return q.Queue.Send(bg, messages)
			}
		}), "a thousand messages of the largest size"},
		{"takes any limit", breakQueue(func(q *brokenQueue) {
			q.receive = func(ctx context.Context, limit int) (pipeline.Delivery, error) {
				return q.Queue.Receive(ctx, min(max(limit, 1), pipeline.MaxReceive))
			}
		}), "a receive's limit is checked and kept"},
		{"hands out an empty delivery when the context ends", breakQueue(func(q *brokenQueue) {
			q.receive = func(ctx context.Context, limit int) (pipeline.Delivery, error) {
				d, err := q.Queue.Receive(ctx, limit)
				if ctx.Err() != nil {
					err = nil
				}
				return d, err
			}
		}), "a receive ends with its context"},
		{"does not wake who waits", breakQueue(func(q *brokenQueue) {
			q.receive = func(ctx context.Context, limit int) (pipeline.Delivery, error) {
				if d, ok := q.TryReceive(limit); ok {
					return d, nil
				}
				<-ctx.Done()
				return pipeline.Delivery{}, ctx.Err()
			}
		}), "a receive waits for a message"},
		{"lets two work on an instrument", breakQueue(atOnce), "one delivery of an instrument at a time"},
		{"loses an acknowledgement", acked(func(*memory.Queue, pipeline.Delivery, int) error { return nil }), "what was acknowledged is gone"},
		{"takes a part for all", acked(func(q *memory.Queue, d pipeline.Delivery, done int) error {
			if done > 0 {
				done = len(d.Messages)
			}
			return q.Ack(bg, d, done)
		}), "what was not acknowledged comes again in its old order"},
		{"takes nothing for all", acked(func(q *memory.Queue, d pipeline.Delivery, done int) error {
			if done == 0 {
				done = len(d.Messages)
			}
			return q.Ack(bg, d, done)
		}), "a delivery that is given back comes again"},
		{"takes any count", acked(func(q *memory.Queue, d pipeline.Delivery, done int) error {
			return q.Ack(bg, d, min(max(done, 0), len(d.Messages)))
		}), "a wrong acknowledgement changes nothing"},
		{"takes any receipt", acked(func(q *memory.Queue, d pipeline.Delivery, done int) error {
			if err := q.Ack(bg, d, done); !errors.Is(err, pipeline.ErrNotFound) {
				return err
			}
			return nil
		}), "a wrong acknowledgement changes nothing"},
		{"forgets what it has handed out", breakQueue(atOnce), "a delivery that nobody acknowledges comes again"},
		{"says yes to a late acknowledgement", acked(func(q *memory.Queue, d pipeline.Delivery, done int) error {
			if err := q.Ack(bg, d, done); !errors.Is(err, pipeline.ErrNotFound) {
				return err
			}
			return nil
		}), "a late acknowledgement is refused and changes nothing"},
		{"takes a repeated acknowledgement for the next delivery's", breakQueue(func(q *brokenQueue) {
			now := map[exchange.InstrumentID]pipeline.Delivery{}
			q.receive = func(ctx context.Context, limit int) (pipeline.Delivery, error) {
				d, err := q.Queue.Receive(ctx, limit)
				if err == nil {
					now[d.Instrument] = d
				}
				return d, err
			}
			q.ack = func(d pipeline.Delivery, done int) error { return q.Queue.Ack(bg, now[d.Instrument], done) }
		}), "an acknowledgement may be repeated"},
		{"refuses what it has seen", breakQueue(func(q *brokenQueue) {
			seen := map[exchange.CommandID]bool{}
			q.send = func(messages []pipeline.QueueMessage) error {
				if seen[messages[0].DedupID] {
					return pipeline.ErrConflict
				}
				seen[messages[0].DedupID] = true
				return q.Queue.Send(bg, messages)
			}
		}), "a send may be repeated"},
		{"keeps the caller's slice", breakQueue(func(q *brokenQueue) {
			kept := map[exchange.CommandID][]byte{}
			q.send = func(messages []pipeline.QueueMessage) error {
				for _, m := range messages {
					kept[m.DedupID] = m.Body
				}
				return q.Queue.Send(bg, messages)
			}
			bodies(q, func(m *pipeline.QueueMessage) []byte { return kept[m.DedupID] })
		}), "no slice is kept"},
		{"hands out its own slices", breakQueue(func(q *brokenQueue) {
			own := map[exchange.CommandID][]byte{}
			bodies(q, func(m *pipeline.QueueMessage) []byte {
				if own[m.DedupID] == nil {
					own[m.DedupID] = m.Body
				}
				return own[m.DedupID]
			})
		}), "what is returned belongs to the caller"},
		{"takes every delivery for done", breakQueue(atOnce), "many senders and receivers"},
	})
}
