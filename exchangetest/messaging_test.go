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

type handler = func(context.Context, *pipeline.Request) error

// brokenBus is a memory.Bus whose Put, or whose way to the handler, is another.
type brokenBus struct {
	*memory.Bus
	put     func(req *pipeline.Request) error
	deliver func(handle handler) handler
}

func (b *brokenBus) Put(ctx context.Context, req *pipeline.Request) error {
	if b.put != nil {
		return b.put(req)
	}
	return b.Bus.Put(ctx, req)
}

func breakBus(how func(b *brokenBus)) exchangetest.BusHarness {
	return exchangetest.BusHarness{Patience: soon, Open: func(t testing.TB, handle func(context.Context, *pipeline.Request) error) pipeline.EventBus {
		b := &brokenBus{Bus: memory.NewBus(memory.BusConfig{RetryFirst: time.Millisecond})}
		how(b)
		if b.deliver != nil {
			handle = b.deliver(handle)
		}
		ctx, stop := context.WithCancel(t.Context())
		var served sync.WaitGroup
		served.Go(func() { _ = b.Serve(ctx, handle) }) // ends with ctx
		t.Cleanup(func() { stop(); served.Wait() })
		return b
	}}
}

// delivered is a bus that brings requests to their handler in another way, one
// at a time.
func delivered(way func(handle handler) handler) exchangetest.BusHarness {
	return breakBus(func(b *brokenBus) { b.deliver = way })
}

// dropping is a bus that loses every nth request and says yes.
func dropping(nth int) exchangetest.BusHarness {
	return breakBus(func(b *brokenBus) {
		var mu sync.Mutex
		n := 0
		b.put = func(req *pipeline.Request) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n%nth == 0 {
				return nil
			}
			return b.Bus.Put(bg, req)
		}
	})
}

func TestBrokenBuses(t *testing.T) {
	mustFail(t, exchangetest.BusCases, []broken[exchangetest.BusHarness]{
		{"drops every hundredth request", dropping(100), "requests arrive as they were put"},
		{"forgets a field", delivered(func(handle handler) handler {
			return func(ctx context.Context, req *pipeline.Request) error { req.ExpireTime = ""; return handle(ctx, req) }
		}), "requests arrive as they were put"},
		{"delivers once", delivered(func(handle handler) handler {
			return func(ctx context.Context, req *pipeline.Request) error { _ = handle(ctx, req); return nil }
		}), "a request whose handler fails comes again"},
		{"delivers again what the handler left of it", delivered(func(handle handler) handler {
			left := map[string]*pipeline.Request{}
			return func(ctx context.Context, req *pipeline.Request) error {
				if left[req.Key] == nil {
					left[req.Key] = req
				}
				return handle(ctx, left[req.Key])
			}
		}), "a request whose handler fails comes again"},
		{"stops at the first that fails", delivered(func(handle handler) handler {
			stuck := ""
			return func(ctx context.Context, req *pipeline.Request) error {
				if stuck != "" && stuck != req.Key {
					return errors.New("one before it has failed")
				}
				key := req.Key
				err := handle(ctx, req)
				if stuck = ""; err != nil {
					stuck = key
				}
				return err
			}
		}), "a request that fails holds up no other"},
		{"refuses what it has", breakBus(func(b *brokenBus) {
			seen := map[string]bool{}
			b.put = func(req *pipeline.Request) error {
				if seen[req.Key] {
					return pipeline.ErrConflict
				}
				seen[req.Key] = true
				return b.Bus.Put(bg, req)
			}
		}), "it may be repeated"},
		{"drops when many put", dropping(100), "requests put at the same time all arrive"},
		{"keeps the caller's request", breakBus(func(b *brokenBus) {
			var kept *pipeline.Request
			b.put = func(req *pipeline.Request) error { kept = req; return b.Bus.Put(bg, req) }
			b.deliver = func(handle handler) handler {
				return func(ctx context.Context, _ *pipeline.Request) error { return handle(ctx, kept) }
			}
		}), "the caller's request is not kept"},
	})
}

// brokenPublisher is a memory.Publisher whose Publish, or whose way to the
// consumers, is another.
type brokenPublisher struct {
	*memory.Publisher
	publish func(ctx context.Context, items []pipeline.Committed) error
	notice  func(consumer int, next notices) notices
}

type notices = func(context.Context) (pipeline.Notice, error)

func (p *brokenPublisher) Publish(ctx context.Context, items []pipeline.Committed) error {
	if p.publish != nil {
		return p.publish(ctx, items)
	}
	return p.Publisher.Publish(ctx, items)
}

func breakPublisher(how func(p *brokenPublisher)) exchangetest.PublisherHarness {
	return exchangetest.PublisherHarness{Patience: soon, Open: func(_ testing.TB, consumers int) (pipeline.Publisher, []func(context.Context) (pipeline.Notice, error)) {
		p := &brokenPublisher{Publisher: memory.NewPublisher()}
		how(p)
		var next []notices
		for i := range consumers {
			n := p.Subscribe().Next
			if p.notice != nil {
				n = p.notice(i, n)
			}
			next = append(next, n)
		}
		return p, next
	}}
}

// published is a publisher that does something else with items.
func published(publish func(p *memory.Publisher, items []pipeline.Committed) error) exchangetest.PublisherHarness {
	return breakPublisher(func(p *brokenPublisher) {
		p.publish = func(_ context.Context, items []pipeline.Committed) error { return publish(p.Publisher, items) }
	})
}

func TestBrokenPublishers(t *testing.T) {
	mustFail(t, exchangetest.PublisherCases, []broken[exchangetest.PublisherHarness]{
		{"tells one consumer", breakPublisher(func(p *brokenPublisher) {
			p.notice = func(consumer int, next notices) notices {
				if consumer == 0 {
					return next
				}
				return func(ctx context.Context) (pipeline.Notice, error) { <-ctx.Done(); return pipeline.Notice{}, ctx.Err() }
			}
		}), "every consumer hears of the last item"},
		{"runs ahead", breakPublisher(func(p *brokenPublisher) {
			p.notice = func(_ int, next notices) notices {
				return func(ctx context.Context) (pipeline.Notice, error) {
					n, err := next(ctx)
					n.Position++
					return n, err
				}
			}
		}), "every consumer hears of the last item"},
		{"keeps one position for all instruments", breakPublisher(func(p *brokenPublisher) {
			p.notice = func(_ int, next notices) notices {
				var most pipeline.Position
				return func(ctx context.Context) (pipeline.Notice, error) {
					n, err := next(ctx)
					most = max(most, n.Position)
					n.Position = most
					return n, err
				}
			}
		}), "instruments are apart"},
		{"says nothing of what it has published before", func() exchangetest.PublisherHarness {
			done := map[pipeline.Position]bool{}
			return published(func(p *memory.Publisher, items []pipeline.Committed) error {
				if last := items[len(items)-1].Position(); done[last] {
					return nil
				} else {
					done[last] = true
				}
				return p.Publish(bg, items)
			})
		}(), "it may be repeated"},
		{"leaves out what is not committed", published(func(p *memory.Publisher, items []pipeline.Committed) error {
			return p.Publish(bg, slices.DeleteFunc(slices.Clone(items), func(c pipeline.Committed) bool { return c.Check() != nil }))
		}), "what is not committed is refused"},
		{"publishes each item by itself", published(func(p *memory.Publisher, items []pipeline.Committed) error {
			for i := range items {
				if err := p.Publish(bg, items[i:i+1]); err != nil {
					return err
				}
			}
			return nil
		}), "items of two instruments or out of order are refused"},
		{"waits for its consumers", breakPublisher(func(p *brokenPublisher) {
			room := make(chan struct{}, 16)
			p.publish = func(ctx context.Context, items []pipeline.Committed) error {
				select {
				case room <- struct{}{}:
					return p.Publisher.Publish(ctx, items)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}), "nobody waits for a consumer"},
		{"has room for 32 items", published(func(p *memory.Publisher, items []pipeline.Committed) error {
			return p.Publish(bg, items[:min(len(items), 32)])
		}), "the latest is heard of when many publish"},
		{"keeps the caller's slice", breakPublisher(func(p *brokenPublisher) {
			var kept []pipeline.Committed
			p.publish = func(ctx context.Context, items []pipeline.Committed) error {
				kept = items
				return p.Publisher.Publish(ctx, items)
			}
			p.notice = func(_ int, next notices) notices {
				return func(ctx context.Context) (pipeline.Notice, error) {
					n, err := next(ctx)
					n.Instrument = kept[len(kept)-1].Instrument()
					return n, err
				}
			}
		}), "no slice is kept"},
	})
}

// brokenPusher is a memory.Pusher with some methods replaced, and another way
// to the clients.
type brokenPusher struct {
	*memory.Pusher
	push   func(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error
	pushed func(inst exchange.InstrumentID) (pipeline.Position, error)
	notify func(messages []pipeline.Push) error
	before func() // a client looks for a message
}

func (p *brokenPusher) Push(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
	if p.push != nil {
		return p.push(ctx, inst, pos, messages)
	}
	return p.Pusher.Push(ctx, inst, pos, messages)
}

func (p *brokenPusher) Pushed(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	if p.pushed != nil {
		return p.pushed(inst)
	}
	return p.Pusher.Pushed(ctx, inst)
}

func (p *brokenPusher) Notify(ctx context.Context, messages []pipeline.Push) error {
	if p.notify != nil {
		return p.notify(messages)
	}
	return p.Pusher.Notify(ctx, messages)
}

func breakPusher(how func(p *brokenPusher)) exchangetest.PusherHarness {
	return exchangetest.PusherHarness{Patience: soon,
		Open: func(testing.TB) pipeline.Pusher {
			p := &brokenPusher{Pusher: memory.NewPusher()}
			how(p)
			return p
		},
		Subscribe: func(_ testing.TB, p pipeline.Pusher, channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) func(context.Context) (pipeline.Push, error) {
			b := p.(*brokenPusher)
			next := b.Subscribe(channel, inst, acct).Next
			return func(ctx context.Context) (pipeline.Push, error) {
				if b.before != nil {
					b.before()
				}
				return next(ctx)
			}
		},
	}
}

// onePosition keeps one position for all instruments.
func onePosition(p *brokenPusher) {
	var mu sync.Mutex
	var at pipeline.Position
	p.push = func(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
		mu.Lock()
		defer mu.Unlock()
		if pos <= at {
			return nil
		}
		at = pos
		return p.Pusher.Push(ctx, inst, pos, messages)
	}
	p.pushed = func(exchange.InstrumentID) (pipeline.Position, error) {
		mu.Lock()
		defer mu.Unlock()
		return at, nil
	}
}

func TestBrokenPushers(t *testing.T) {
	mustFail(t, exchangetest.PusherCases, []broken[exchangetest.PusherHarness]{
		{"reorders", breakPusher(func(p *brokenPusher) {
			p.push = func(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
				messages = slices.Clone(messages)
				slices.Reverse(messages)
				return p.Pusher.Push(ctx, inst, pos, messages)
			}
		}), "messages arrive in order, as they were pushed"},
		{"passes over items without messages", breakPusher(func(p *brokenPusher) {
			p.push = func(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
				if len(messages) == 0 {
					return nil
				}
				return p.Pusher.Push(ctx, inst, pos, messages)
			}
		}), "messages arrive in order, as they were pushed"},
		{"shows an account another one's orders", breakPusher(func(p *brokenPusher) {
			p.push = func(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
				for _, m := range slices.Clone(messages) {
					if m.Account != 0 {
						m.Account = 8
						messages = append(messages, m)
					}
				}
				return p.Pusher.Push(ctx, inst, pos, messages)
			}
		}), "only who subscribed gets a message"},
		{"pushes again what comes again", breakPusher(func(p *brokenPusher) {
			var n, at pipeline.Position
			p.push = func(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
				n, at = n+1, max(at, pos)
				return p.Pusher.Push(ctx, inst, n, messages)
			}
			p.pushed = func(exchange.InstrumentID) (pipeline.Position, error) { return at, nil }
		}), "an item is pushed once"},
		{"forgets its position", breakPusher(func(p *brokenPusher) {
			p.pushed = func(exchange.InstrumentID) (pipeline.Position, error) { return 0, nil }
		}), "an item is pushed once"},
		{"keeps one position for all instruments", breakPusher(onePosition), "the position is of one instrument"},
		{"waits for its clients", breakPusher(func(p *brokenPusher) {
			room := make(chan struct{}, 16)
			p.before = func() { <-room }
			p.push = func(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
				select {
				case room <- struct{}{}:
					return p.Pusher.Push(ctx, inst, pos, messages)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}), "nobody waits for a slow client"},
		{"loses what is pushed at the same time", breakPusher(onePosition), "instruments are pushed at the same time"},
		{"keeps the first balances of an account", breakPusher(func(p *brokenPusher) {
			seen := map[exchange.AccountID]bool{}
			p.notify = func(messages []pipeline.Push) error {
				return p.Pusher.Notify(bg, slices.DeleteFunc(slices.Clone(messages), func(m pipeline.Push) bool {
					had := seen[m.Account]
					seen[m.Account] = true
					return had
				}))
			}
		}), "of balances the highest Seq counts"},
		{"sends balances that are older", breakPusher(func(p *brokenPusher) {
			n := pipeline.Position(0)
			p.notify = func(messages []pipeline.Push) error { // as what it pushes
				n++
				return p.Pusher.Push(bg, exchange.MaxID, n, messages)
			}
		}), "of balances the highest Seq counts"},
		{"keeps the caller's slice", breakPusher(func(p *brokenPusher) {
			kept := map[pipeline.Position][]pipeline.Push{}
			p.push = func(_ context.Context, _ exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
				kept[pos] = messages
				return nil
			}
			p.before = func() { // writes only now
				for pos := pipeline.Position(1); kept[pos] != nil; pos++ {
					_ = p.Pusher.Push(bg, 1, pos, kept[pos])
				}
			}
		}), "no slice is kept"},
	})
}

// brokenMetrics is a memory.Metrics that counts otherwise.
type brokenMetrics struct {
	*memory.Metrics
	count func(name string, inst exchange.InstrumentID, n int64)
}

func (m *brokenMetrics) Count(name string, inst exchange.InstrumentID, n int64) {
	m.count(name, inst, n)
}

func breakMetrics(how func(m *brokenMetrics)) exchangetest.MetricsHarness {
	return exchangetest.MetricsHarness{
		Open: func(testing.TB) pipeline.Metrics {
			m := &brokenMetrics{Metrics: memory.NewMetrics()}
			how(m)
			return m
		},
		Counted: func(_ testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) int64 {
			return m.(*brokenMetrics).Read(name, inst).Count
		},
		Gauged: func(_ testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) float64 {
			return m.(*brokenMetrics).Read(name, inst).Gauge
		},
	}
}

func TestBrokenMetrics(t *testing.T) {
	mustFail(t, exchangetest.MetricsCases, []broken[exchangetest.MetricsHarness]{
		{"counts all instruments as one", breakMetrics(func(m *brokenMetrics) {
			m.count = func(name string, _ exchange.InstrumentID, n int64) { m.Metrics.Count(name, 1, n) }
		}), "what is measured can be read"},
		{"loses every hundredth", breakMetrics(func(m *brokenMetrics) {
			var mu sync.Mutex
			calls := 0
			m.count = func(name string, inst exchange.InstrumentID, n int64) {
				mu.Lock()
				defer mu.Unlock()
				if calls++; calls%100 != 0 {
					m.Metrics.Count(name, inst, n)
				}
			}
		}), "nothing is lost when many measure"},
	})
}
