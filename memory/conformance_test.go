package memory_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

func TestJournal(t *testing.T) {
	exchangetest.TestJournal(t, func(testing.TB) pipeline.Journal { return memory.NewJournal() })
}

func TestBookStore(t *testing.T) {
	exchangetest.TestBookStore(t, func(testing.TB) pipeline.BookStore { return memory.NewBookStore() })
}

func TestBalances(t *testing.T) {
	exchangetest.TestBalances(t, func(testing.TB) pipeline.Balances { return memory.NewBalances(memory.BalancesConfig{}) })
}

func TestTradeStore(t *testing.T) {
	exchangetest.TestTradeStore(t, func(testing.TB) pipeline.TradeStore { return memory.NewTradeStore() })
}

func TestArchive(t *testing.T) {
	exchangetest.TestArchive(t, func(testing.TB) pipeline.Archive { return memory.NewArchive() })
}

func TestBus(t *testing.T) {
	exchangetest.TestBus(t, exchangetest.BusHarness{
		Open: func(t testing.TB, handle func(context.Context, *pipeline.Request) error) pipeline.EventBus {
			b := memory.NewBus(memory.BusConfig{RetryFirst: time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { _ = b.Serve(ctx, handle) }) // ends with ctx
			}
			t.Cleanup(func() { cancel(); wg.Wait() })
			return b
		},
	})
}

func TestPublisher(t *testing.T) {
	exchangetest.TestPublisher(t, exchangetest.PublisherHarness{
		Open: func(_ testing.TB, consumers int) (pipeline.Publisher, []func(context.Context) (pipeline.Notice, error)) {
			p := memory.NewPublisher()
			next := make([]func(context.Context) (pipeline.Notice, error), consumers)
			for i := range next {
				next[i] = p.Subscribe().Next
			}
			return p, next
		},
	})
}

func TestPusher(t *testing.T) {
	exchangetest.TestPusher(t, exchangetest.PusherHarness{
		Open: func(testing.TB) pipeline.Pusher { return memory.NewPusher() },
		Subscribe: func(_ testing.TB, p pipeline.Pusher, channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) func(context.Context) (pipeline.Push, error) {
			return p.(*memory.Pusher).Subscribe(channel, inst, acct).Next
		},
	})
}

func TestMetrics(t *testing.T) {
	exchangetest.TestMetrics(t, exchangetest.MetricsHarness{
		Open: func(testing.TB) pipeline.Metrics { return memory.NewMetrics() },
		Counted: func(_ testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) int64 {
			return m.(*memory.Metrics).Read(name, inst).Count
		},
		Gauged: func(_ testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) float64 {
			return m.(*memory.Metrics).Read(name, inst).Gauge
		},
	})
}

// hands is a clock that is moved by hand.
type hands struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hands) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hands) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func TestQueue(t *testing.T) {
	clocks := map[pipeline.CommandQueue]*hands{}
	exchangetest.TestQueue(t, exchangetest.QueueHarness{
		Open: func(testing.TB) pipeline.CommandQueue {
			clock := &hands{now: time.Unix(1, 0)}
			q := memory.NewQueue(memory.QueueConfig{Now: clock.Now})
			clocks[q] = clock
			return q
		},
		Expire: func(_ testing.TB, q pipeline.CommandQueue) { clocks[q].move(memory.DefaultVisibility) },
	})
}
