package simulator

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// Settings of the simulated outside, in ns of virtual time.
const (
	visibility  = exchange.Time(30 * time.Second) // until a queue gives up on whoever took a message
	queueDedup  = exchange.Time(5 * time.Second)  // how long the queue knows a deduplication id
	orphanAfter = exchange.Time(2 * time.Minute)  // when a hold without an order is ended
	redelivery  = exchange.Time(time.Second)      // at most, of a request or a notice
	throttling  = 200 * time.Millisecond          // at most, of a port
)

// bus carries requests in any order, at least once.
type bus struct{ items []*busItem }

type busItem struct {
	req pipeline.Request
	due exchange.Time
}

func (b *bus) put(req pipeline.Request, due exchange.Time) {
	b.items = append(b.items, &busItem{req, due})
}

// take returns a request that is due, which stays on the bus until it is done.
func (b *bus) take(w *world) *busItem {
	if len(b.items) == 0 {
		return nil
	}
	if it := b.items[w.pick(len(b.items))]; it.due <= w.now {
		return it
	}
	return nil
}

func (b *bus) done(it *busItem) {
	if i := slices.Index(b.items, it); i >= 0 {
		b.items = slices.Delete(b.items, i, i+1)
	}
}

// wire is what lies between the matching engine and the consumers, and between
// MarketData and the clients.
type wire struct {
	w       *world
	notices map[string][]*noticed // by consumer
	pushed  map[exchange.InstrumentID]pipeline.Position
	feeds   map[exchange.InstrumentID]*feed
	funds   map[exchange.AccountID]pipeline.Push // the last of ChannelBalances
	older   []savedBook                          // what a rolled-back book store may come back with
}

type noticed struct {
	pipeline.Notice
	due exchange.Time
}

type savedBook struct {
	c    pipeline.Committed
	data []byte
}

const maxOlder = 64

func (x *wire) init(w *world) {
	x.w = w
	x.notices = map[string][]*noticed{}
	x.pushed = map[exchange.InstrumentID]pipeline.Position{}
	x.funds = map[exchange.AccountID]pipeline.Push{}
	x.feeds = map[exchange.InstrumentID]*feed{}
	for _, in := range w.insts {
		x.feeds[in.ID()] = newFeed(in)
	}
}

// rollBack replaces the book store by one of earlier, as after a failover.
func (x *wire) rollBack(ctx context.Context) {
	fresh := memory.NewBookStore()
	for range 2 {
		if len(x.older) == 0 {
			break
		}
		s := x.older[x.w.pick(len(x.older))]
		if err := fresh.SaveBook(ctx, s.c, s.data); err != nil {
			x.w.violated("rolling the book store back: %w", err)
		}
	}
	x.w.books = fresh
}

func (x *wire) saved(c pipeline.Committed, data []byte) {
	if len(x.older) == maxOlder {
		x.older = slices.Delete(x.older, 0, maxOlder/2)
	}
	x.older = append(x.older, savedBook{c, bytes.Clone(data)})
}

// notify brings a notice to every consumer, now or later, once or twice, or
// not at all.
func (x *wire) notify(n pipeline.Notice) {
	for _, consumer := range consumerNames {
		copies := 1
		switch {
		case x.w.chance("notice dropped", x.w.plan.drop):
			copies = 0
		case x.w.chance("notice repeated", x.w.plan.repeat):
			copies = 2
		}
		for range copies {
			due := x.w.now
			if x.w.chance("notice delayed", x.w.plan.delay) {
				due += exchange.Time(x.w.pick(int(redelivery)))
			}
			x.notices[consumer] = append(x.notices[consumer], &noticed{n, due})
		}
	}
}

// take returns a notice that is due for a consumer; it stays until it is done.
func (x *wire) take(consumer string) *noticed {
	waiting := x.notices[consumer]
	if len(waiting) == 0 {
		return nil
	}
	if n := waiting[x.w.pick(len(waiting))]; n.due <= x.w.now {
		return n
	}
	return nil
}

func (x *wire) done(consumer string, n *noticed) {
	if i := slices.Index(x.notices[consumer], n); i >= 0 {
		x.notices[consumer] = slices.Delete(x.notices[consumer], i, i+1)
	}
}

// due makes everything that waits for its time due, for draining.
func (x *wire) due() {
	for _, consumer := range consumerNames {
		for _, n := range x.notices[consumer] {
			n.due = min(n.due, x.w.now)
		}
	}
	for _, it := range x.w.bus.items {
		it.due = min(it.due, x.w.now)
	}
}

// notified keeps the newest balances of an account.
func (x *wire) notified(m *pipeline.Push) {
	if m.Seq > x.funds[m.Account].Seq {
		x.funds[m.Account] = *m
	}
}

// publisher is the Publisher of one process.
type publisher struct {
	w *world
	p *process
}

// Publish checks that what is published is in the journal, there and then.
func (x *publisher) Publish(ctx context.Context, items []pipeline.Committed) error {
	return x.w.call(x.p, "Publish", true, func() error {
		for _, c := range items {
			if err := c.Check(); err != nil {
				return err
			}
			got, err := x.w.journal.Read(ctx, c.Instrument(), c.Position(), 1)
			if err != nil || len(got) != 1 || got[0].Hash != c.Head().Hash {
				x.w.violated("item %d of instrument %d is published, but the journal does not have it", c.Position(), c.Instrument())
			}
		}
		if len(items) > 0 {
			last := items[len(items)-1]
			x.w.wire.notify(pipeline.Notice{Instrument: last.Instrument(), Position: last.Position()})
		}
		return nil
	})
}

// pusher is the Pusher of one process: it hands messages to a client that
// listens to everything.
type pusher struct {
	w *world
	p *process
}

func (x *pusher) Push(_ context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
	return x.w.call(x.p, "Push", true, func() error {
		if pos <= x.w.wire.pushed[inst] {
			return nil
		}
		for i := range messages {
			if err := x.w.wire.feeds[inst].receive(x.w, &messages[i]); err != nil {
				x.w.violated("the feed of instrument %d: %w", inst, err)
			}
		}
		x.w.wire.pushed[inst] = pos
		return nil
	})
}

func (x *pusher) Pushed(_ context.Context, inst exchange.InstrumentID) (pos pipeline.Position, err error) {
	err = x.w.call(x.p, "Pushed", false, func() error {
		pos = x.w.wire.pushed[inst]
		return nil
	})
	return pos, err
}

// queue is the CommandQueue of one process.
type queue struct {
	w *world
	p *process
}

func (x *queue) Send(ctx context.Context, messages []pipeline.QueueMessage) error {
	return x.w.call(x.p, "Queue.Send", true, func() error {
		if err := x.w.queue.Send(ctx, messages); err != nil {
			return err
		}
		if x.w.chance("message sent twice", x.w.plan.repeat) {
			again := slices.Clone(messages)
			for i := range again { // past the queue's own memory
				again[i].DedupID[0] ^= 0xff
			}
			return x.w.queue.Send(ctx, again)
		}
		return nil
	})
}

// Receive is not used: a process takes a delivery without waiting.
func (x *queue) Receive(context.Context, int) (pipeline.Delivery, error) {
	return pipeline.Delivery{}, fmt.Errorf("%w: the simulator does not wait", pipeline.ErrInvalid)
}

func (x *queue) Ack(ctx context.Context, d pipeline.Delivery, done int) error {
	return x.w.call(x.p, "Queue.Ack", true, func() error { return x.w.queue.Ack(ctx, d, done) })
}

// Notify takes the balances that a settler pushes. Of one account only a
// higher Seq counts.
func (x *pusher) Notify(_ context.Context, messages []pipeline.Push) error {
	return x.w.call(x.p, "Notify", true, func() error {
		for i := range messages {
			x.w.wire.notified(&messages[i])
		}
		return nil
	})
}
