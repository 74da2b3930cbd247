package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// house is a venue in memory with all its services, run by a Resident. Its
// hooks fail what the services call.
type house struct {
	t           testing.TB
	instruments []*exchange.Instrument
	hooks       *hooks
	bus         *memory.Bus
	queue       *memory.Queue
	journal     *memory.Journal
	books       *memory.BookStore
	balances    *memory.Balances
	trades      *memory.TradeStore
	archive     *memory.Archive
	pusher      *memory.Pusher
	publisher   *memory.Publisher
	metrics     *memory.Metrics
	waits       *waits
	cfg         pipeline.ResidentConfig
}

// waits remembers how long a Backoff waited, and waits next to not at all but
// for the time between the sweeper's passes.
type waits struct {
	mu   sync.Mutex
	seen []time.Duration
}

const sweepEvery = 5 * time.Millisecond

func (w *waits) wait(ctx context.Context, d time.Duration) {
	if d != sweepEvery {
		w.mu.Lock()
		w.seen = append(w.seen, d)
		w.mu.Unlock()
		d = min(d, 100*time.Microsecond)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (w *waits) all() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Duration(nil), w.seen...)
}

func wallClock() exchange.Time { return exchange.Time(time.Now().UnixNano()) }

// must returns v, or fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newHouse(t testing.TB) *house {
	h := &house{t: t, instruments: []*exchange.Instrument{standInstrument(t, 1), standInstrument(t, 2)}, hooks: &hooks{}, bus: memory.NewBus(memory.BusConfig{RetryFirst: time.Millisecond}),
		queue: memory.NewQueue(memory.QueueConfig{}), journal: memory.NewJournal(), books: memory.NewBookStore(), balances: memory.NewBalances(memory.BalancesConfig{}),
		trades: memory.NewTradeStore(), archive: memory.NewArchive(), pusher: memory.NewPusher(), publisher: memory.NewPublisher(), metrics: memory.NewMetrics(), waits: &waits{}}
	log := pipeline.NewLog(&hookedJournal{h.journal, h.hooks})
	queue, books := &hookedQueue{h.queue, h.hooks}, &hookedBooks{h.books, h.hooks}
	risk := must(pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: h.instruments, Balances: h.balances, Queue: queue, Orders: h.trades, Books: h.books}))
	processor := must(pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: h.instruments, Risk: risk}))
	engine := must(pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: h.instruments, Log: log, Books: books, Publisher: h.publisher, Now: wallClock, Metrics: h.metrics}))
	market := must(pipeline.NewMarketData(pipeline.MarketDataConfig{Instruments: h.instruments, Log: log, Pusher: h.pusher, Trades: h.trades}))
	recorder := must(pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: h.instruments, Log: log, Trades: h.trades, Archive: h.archive, ArchiveEvery: 16}))
	settler := must(pipeline.NewSettler(pipeline.SettlerConfig{Instruments: h.instruments, Log: log, Balances: h.balances, Pusher: h.pusher}))
	// Whatever a service does may fail at its door.
	at := func(name string, handle func(context.Context, pipeline.Notice) error) func(context.Context, pipeline.Notice) error {
		return func(ctx context.Context, n pipeline.Notice) error {
			return hooked(h.hooks, fmt.Sprintf("%s %d", name, n.Instrument), func() error { return handle(ctx, n) })
		}
	}
	h.cfg = pipeline.ResidentConfig{
		Instruments: h.instruments, Log: log, Requests: h.bus, RequestWorkers: 2, Queue: queue, MatchWorkers: 1, Now: wallClock, Metrics: h.metrics,
		Process: func(ctx context.Context, req *pipeline.Request) error {
			return hooked(h.hooks, "Process", func() error { return processor.Handle(ctx, req) })
		},
		Match: func(ctx context.Context, inst exchange.InstrumentID, msgs []pipeline.QueueMessage) (done int, err error) {
			err = hooked(h.hooks, fmt.Sprintf("Match %d", inst), func() error {
				done, err = engine.Handle(ctx, inst, msgs)
				return err
			})
			return done, err
		},
		Consumers: []pipeline.ResidentConsumer{
			{Consumer: pipeline.Consumer{Name: "market data", Recorded: h.pusher.Pushed, Handle: at("MarketData", market.Handle)}, Notices: h.publisher.Subscribe(), Latency: pipeline.MetricPushedAfter},
			{Consumer: pipeline.Consumer{Name: "trade recorder", Recorded: h.trades.Recorded, Handle: at("TradeRecorder", recorder.Handle)}, Notices: h.publisher.Subscribe(), Latency: pipeline.MetricRecordedAfter},
			{Consumer: pipeline.Consumer{Name: "settler", Recorded: h.balances.Settled, Handle: at("Settler", settler.Handle)}, Notices: h.publisher.Subscribe(), Latency: pipeline.MetricSettledAfter},
		},
		Sweeper: pipeline.SweeperConfig{Instruments: h.instruments, Log: log, Publisher: h.publisher, Queue: queue, Balances: h.balances, Archived: recorder.Archived, Now: wallClock,
			OrphanAfter: exchange.Time(time.Hour), TimeEvery: exchange.Time(time.Hour)},
		SweepEvery: sweepEvery,
		Backoff:    pipeline.Backoff{First: 2 * time.Second, Most: 10 * time.Second, Jitter: func() float64 { return 0.5 }, Wait: h.waits.wait},
	}
	for acct := exchange.AccountID(1); acct <= 4; acct++ {
		for _, asset := range []exchange.AssetID{1, 11, 12} {
			h.deposit(acct, asset, 1<<50)
		}
	}
	return h
}

func (h *house) deposit(acct exchange.AccountID, asset exchange.AssetID, n exchange.Amount) {
	id := pipeline.CommandIDOf(acct, 0, exchange.KindDeposit, fmt.Sprint(asset))
	require.NoError(h.t, h.balances.Deposit(context.Background(), pipeline.Transfer{ID: id, Account: acct, Asset: asset, Amount: n, Time: wallClock()}))
}

// start runs the venue; what it returns ends it and waits until it has ended.
func (h *house) start() func() {
	end, ended := h.run()
	return func() { end(); <-ended }
}

// run runs the venue until end is called; ended is closed when it has ended.
func (h *house) run() (end func(), ended <-chan struct{}) {
	r, err := pipeline.NewResident(h.cfg)
	require.NoError(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	return cancel, done
}

// order puts the n-th order on the bus: buys and sells at few prices.
func (h *house) order(n int, inst exchange.InstrumentID) {
	side := "buy"
	if n%2 == 0 {
		side = "sell"
	}
	req := pipeline.Request{Kind: pipeline.RequestNew, Account: exchange.AccountID(1 + n%4), Time: wallClock(), Key: fmt.Sprintf("order-%d", n),
		Symbol: h.instruments[inst-1].Symbol(), Side: side, Type: "limit", Price: decimal.New(int64(10_000+n%3), -2).String(), Size: "0.5"}
	require.NoError(h.t, h.bus.Put(context.Background(), &req))
}

// settledUp reports whether n commands are journaled and every consumer is at
// the head of an instrument.
func (h *house) settledUp(inst exchange.InstrumentID, n int) bool {
	ctx := context.Background()
	count := 0
	for _, c := range must(pipeline.NewLog(h.journal).Read(ctx, inst, 1, pipeline.MaxReadItems)) {
		for i := range c.Batch().Entries {
			if c.Batch().Entries[i].Command.Kind == exchange.KindNewOrder {
				count++
			}
		}
	}
	head := must(h.journal.Head(ctx, inst)) // of all that were counted, or more
	return count == n && must(h.pusher.Pushed(ctx, inst)) == head.Position && must(h.trades.Recorded(ctx, inst)) == head.Position &&
		must(h.balances.Settled(ctx, inst)) == head.Position
}

func (h *house) eventually(what string, ok func() bool) {
	require.Eventually(h.t, ok, time.Minute, time.Millisecond, what)
}

func TestResidentConfig(t *testing.T) {
	h := newHouse(t)
	for _, tc := range []struct {
		change func(*pipeline.ResidentConfig)
		want   string
	}{
		{func(c *pipeline.ResidentConfig) { c.Instruments = nil }, "Instruments is missing"},
		{func(c *pipeline.ResidentConfig) { c.Instruments = []*exchange.Instrument{nil} }, "Instruments[0] is nil"},
		{func(c *pipeline.ResidentConfig) { c.Requests = nil }, "Requests is missing"},
		{func(c *pipeline.ResidentConfig) { c.Process = nil }, "Process is missing"},
		{func(c *pipeline.ResidentConfig) { c.Queue = nil }, "Queue is missing"},
		{func(c *pipeline.ResidentConfig) { c.Match = nil }, "Match is missing"},
		{func(c *pipeline.ResidentConfig) { c.Now = nil }, "Now is missing"},
		{func(c *pipeline.ResidentConfig) { c.Consumers = []pipeline.ResidentConsumer{{}} }, "Consumers[0] (): Recorded, Handle or Notices is missing"},
		{func(c *pipeline.ResidentConfig) { c.RequestWorkers = pipeline.MaxWorkers + 1 }, "RequestWorkers 4097: expected 0 to 4096"},
		{func(c *pipeline.ResidentConfig) { c.MatchWorkers = -1 }, "MatchWorkers -1: expected 0 to 4096"},
		{func(c *pipeline.ResidentConfig) { c.SweepEvery = -1 }, "SweepEvery -1ns"},
		{func(c *pipeline.ResidentConfig) { c.DrainTimeout = -1 }, "DrainTimeout -1ns"},
		{func(c *pipeline.ResidentConfig) { c.Sweeper.Now = nil }, "sweeper: invalid argument: Now is missing"},
	} {
		cfg := h.cfg
		tc.change(&cfg)
		_, err := pipeline.NewResident(cfg)
		require.ErrorIs(t, err, pipeline.ErrInvalid)
		require.ErrorContains(t, err, tc.want)
	}
	h.cfg.Sweeper.Log, h.cfg.Sweeper.Now = nil, nil // no sweeper
	h.cfg.RequestWorkers = pipeline.MaxWorkers
	_, err := pipeline.NewResident(h.cfg)
	require.NoError(t, err)
}

// Requests go all the way, and when the end comes nothing is left running.
func TestResidentRuns(t *testing.T) {
	before := runtime.NumGoroutine()
	h := newHouse(t)
	stop := h.start()
	for n := range 400 {
		h.order(n, exchange.InstrumentID(1+n/2%2))
	}
	h.eventually("400 orders", func() bool { return h.settledUp(1, 200) && h.settledUp(2, 200) })
	for _, name := range []string{pipeline.MetricPushedAfter, pipeline.MetricRecordedAfter, pipeline.MetricSettledAfter} { // measured after the item is dealt with
		h.eventually(name, func() bool { return h.metrics.Read(name, 1).Count > 0 })
	}
	stop()
	assert.Zero(t, h.bus.Len())
	assert.Zero(t, h.queue.Len())
	trades, err := h.trades.Trades(context.Background(), pipeline.TradeQuery{Instrument: 1, Limit: 1})
	require.NoError(t, err)
	assert.NotEmpty(t, trades)
	for _, name := range []string{pipeline.MetricRequestAge, pipeline.MetricProcessed} {
		assert.EqualValues(t, 400, h.metrics.Read(name, 0).Count, name)
	}
	for _, name := range []string{pipeline.MetricQueueAge, pipeline.MetricCommitted, pipeline.MetricPublished, pipeline.MetricPushedAfter, pipeline.MetricRecordedAfter, pipeline.MetricSettledAfter} {
		assert.Positive(t, h.metrics.Read(name, 1).Count, name)
		assert.Less(t, h.metrics.Read(name, 1).Longest, time.Minute, name)
	}
	assert.Empty(t, h.waits.all(), "nothing failed")
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		require.True(t, time.Now().Before(deadline), "%d goroutines, there were %d", runtime.NumGoroutine(), before)
	}
	// Run may be called again.
	stop = h.start()
	h.order(400, 1)
	h.eventually("one more", func() bool { return h.settledUp(1, 201) })
	stop()
}

// What fails for a while is tried again, with growing waits, and everything
// arrives; what fails for one instrument does not touch the other.
func TestResidentRetries(t *testing.T) {
	for _, tc := range []struct {
		op     string
		metric string
		inst   exchange.InstrumentID
		grows  bool // the waits
	}{
		{"Match 1", pipeline.MetricMatchFailed, 1, true},
		{"MarketData 1", pipeline.MetricConsumerFailed, 1, true},
		{"TradeRecorder 1", pipeline.MetricConsumerFailed, 1, true},
		{"Settler 1", pipeline.MetricConsumerFailed, 1, true},
		{"Receive", pipeline.MetricQueueFailed, 0, true},
		{"Ack", pipeline.MetricQueueFailed, 1, false},
		{"Process", pipeline.MetricRequestFailed, 0, false}, // the bus has waits of its own
	} {
		t.Run(tc.op, func(t *testing.T) {
			h := newHouse(t)
			if tc.op == "Ack" { // until the queue gives up waiting
				h.queue = memory.NewQueue(memory.QueueConfig{Visibility: 100 * time.Millisecond}) // longer than matching takes, also where everything is slow
				h.cfg.Queue.(*hookedQueue).Queue = h.queue
			}
			const fails = 5
			var failed atomic.Int64 // several goroutines take requests
			h.hooks.set(func(op string, after bool) error {
				if op != tc.op || after || failed.Add(1) > fails {
					return nil
				}
				return errInjected
			})
			other := tc.inst == 1 && tc.op != "Ack"
			if other { // the instrument that does not fail is done first
				failing := always(tc.op)
				h.hooks.set(failing)
			}
			stop := h.start()
			for n := range 20 {
				h.order(n, exchange.InstrumentID(1+n/2%2))
			}
			if other {
				h.eventually("the other instrument", func() bool { return h.settledUp(2, 10) })
				h.eventually("growing waits", func() bool { return len(h.waits.all()) > fails })
				assert.False(t, h.settledUp(1, 10))
				h.hooks.set(nil)
			}
			h.eventually("everything", func() bool { return h.settledUp(1, 10) && h.settledUp(2, 10) && h.queue.Len() == 0 && h.bus.Len() == 0 })
			stop()
			count := int64(0)
			for inst := range exchange.InstrumentID(3) {
				count += h.metrics.Read(tc.metric, inst).Count
			}
			assert.GreaterOrEqual(t, count, int64(fails))
			if tc.grows {
				// Half of 2, 4, 8, 10, 10 ... seconds, and half of the other half.
				want := []time.Duration{1500 * time.Millisecond, 3 * time.Second, 6 * time.Second, 7500 * time.Millisecond, 7500 * time.Millisecond}
				assert.Equal(t, want, h.waits.all()[:5])
			}
		})
	}
}

// Without a notice a consumer is behind until the sweeper wakes it.
func TestResidentSweeperWakes(t *testing.T) {
	h := newHouse(t)
	deaf := memory.NewPublisher().Subscribe()
	for i := range h.cfg.Consumers {
		h.cfg.Consumers[i].Notices = deaf
	}
	stop := h.start()
	for n := range 10 {
		h.order(n, 1)
	}
	h.eventually("woken", func() bool { return h.settledUp(1, 10) })
	stop()
	assert.Positive(t, h.metrics.Read(pipeline.MetricWoken, 1).Count)
}

// noNotices fails a few times, and then has a notice of an instrument that
// nobody knows.
type noNotices struct {
	mu    sync.Mutex
	calls int
}

func (s *noNotices) Next(ctx context.Context) (pipeline.Notice, error) {
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.mu.Unlock()
	switch {
	case n < 4:
		return pipeline.Notice{}, errInjected
	case n == 4:
		return pipeline.Notice{Instrument: 9, Position: 1}, nil
	}
	<-ctx.Done()
	return pipeline.Notice{}, ctx.Err()
}

func TestResidentNoticesFail(t *testing.T) {
	h := newHouse(t)
	s := &noNotices{}
	h.cfg.Consumers = h.cfg.Consumers[:1]
	h.cfg.Consumers[0].Notices = s
	stop := h.start()
	h.eventually("four failures", func() bool { return len(h.waits.all()) == 4 })
	stop()
	assert.EqualValues(t, 4, h.metrics.Read(pipeline.MetricConsumerFailed, 0).Count)
}

// When the end comes what is in hand is finished, and nothing more is taken;
// what takes too long loses its context.
func TestResidentDrains(t *testing.T) {
	for _, op := range []string{"Process", "Match 1", "Settler 1"} {
		t.Run(op, func(t *testing.T) {
			h := newHouse(t)
			h.cfg.RequestWorkers = 1 // another one may be about to take the next request
			entered, leave := make(chan struct{}), make(chan struct{})
			var once sync.Once
			h.hooks.set(func(o string, after bool) error {
				if o == op && !after {
					once.Do(func() { close(entered); <-leave })
				}
				return nil
			})
			end, ended := h.run()
			h.order(0, 1)
			<-entered
			end()
			if op == "Process" {
				h.order(1, 1)
			}
			select {
			case <-ended:
				t.Fatal("it has not waited for what is in hand")
			case <-time.After(20 * time.Millisecond):
			}
			close(leave)
			<-ended
			ctx := context.Background()
			switch op {
			case "Process":
				assert.Equal(t, 1, h.queue.Len(), "the order was sent on")
				assert.Equal(t, 1, h.bus.Len(), "and the next one not taken")
			case "Match 1":
				assert.EqualValues(t, 1, must(h.journal.Head(ctx, 1)).Position)
				assert.EqualValues(t, 1, must(h.journal.Published(ctx, 1)))
			case "Settler 1":
				assert.EqualValues(t, 1, must(h.balances.Settled(ctx, 1)))
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		h := newHouse(t)
		h.cfg.DrainTimeout = 10 * time.Millisecond
		entered := make(chan struct{})
		h.cfg.Process = func(ctx context.Context, _ *pipeline.Request) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		}
		stop := h.start()
		h.order(0, 1)
		<-entered
		stop()
		assert.Equal(t, 1, h.bus.Len(), "it comes again")
	})
}

// A bus that stops handing out does not stop the rest.
type brokenBus struct{}

func (brokenBus) Serve(context.Context, func(context.Context, *pipeline.Request) error) error {
	return errors.New("broken")
}

func TestResidentBusStops(t *testing.T) {
	h := newHouse(t)
	h.cfg.Requests = brokenBus{}
	stop := h.start()
	c := exchange.AdvanceTime(1, wallClock())
	c.ID = commandID(1)
	require.NoError(t, h.queue.Send(context.Background(), []pipeline.QueueMessage{message(t, c)}))
	h.eventually("matched", func() bool { return must(h.journal.Head(context.Background(), 1)).Position == 1 })
	stop()
}

// BenchmarkResident is an order's whole way through a venue in memory, from the
// bus until it is pushed, recorded and booked, in ns an order.
func BenchmarkResident(b *testing.B) {
	h := newHouse(b)
	h.cfg.MatchWorkers, h.cfg.SweepEvery, h.cfg.Backoff = 2, time.Second, pipeline.Backoff{}
	const accounts = 64
	for acct := exchange.AccountID(5); acct <= accounts; acct++ { // those before have theirs
		for _, asset := range []exchange.AssetID{1, 11, 12} {
			h.deposit(acct, asset, 1<<50)
		}
	}
	requests := make([]pipeline.Request, b.N)
	for n := range requests {
		side, inst := "buy", n/2%2
		if n%2 == 0 {
			side = "sell"
		}
		requests[n] = pipeline.Request{Kind: pipeline.RequestNew, Account: exchange.AccountID(1 + n*7919%accounts), Key: fmt.Sprintf("order-%d", n),
			Symbol: h.instruments[inst].Symbol(), Side: side, Type: "limit", Price: decimal.New(int64(10_000+n*31%200-100), -2).String(), Size: "0.5"}
	}
	stop := h.start()
	b.ReportAllocs()
	b.ResetTimer()
	for n := range requests {
		requests[n].Time = wallClock()
		for errors.Is(h.bus.Put(context.Background(), &requests[n]), pipeline.ErrFull) {
			runtime.Gosched()
		}
	}
	ctx := context.Background()
	for h.bus.Len() > 0 || h.queue.Len() > 0 {
		runtime.Gosched()
	}
	for _, in := range h.instruments {
		head := must(h.journal.Head(ctx, in.ID())).Position
		for must(h.pusher.Pushed(ctx, in.ID())) < head || must(h.trades.Recorded(ctx, in.ID())) < head || must(h.balances.Settled(ctx, in.ID())) < head {
			runtime.Gosched()
		}
	}
	b.StopTimer()
	stop()
	orders := int64(0)
	for _, in := range h.instruments {
		orders += h.metrics.Read(pipeline.MetricCommands, in.ID()).Count
	}
	require.GreaterOrEqual(b, orders, int64(b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
}
