//go:build unix

package main_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/files"
	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The speed of the pipeline without HTTP: every service runs in this process,
// what is stored is synced, and orders go through the bus as fast as they do.
// The clock stops when everything is settled, recorded and pushed.
//
//	go test -run '^$' -bench Throughput -benchtime 200000x -cpuprofile cpu.out ./examples/exchange
//	go tool pprof -tags cpu.out                               # the services' shares
//	go tool pprof -top -tagfocus service=settler cpu.out      # what one of them does
//
// cpu-µs/order is user and system time of the whole process; unlike orders/s
// it hardly depends on what else the machine does.
func BenchmarkThroughput(b *testing.B) {
	for _, s := range stores {
		b.Run(s.name, func(b *testing.B) {
			h := newHouse(b, s.open, bounds{})
			reqs := orderFlow(h.instruments, b.N, fewCancels)
			cpu, began := cpuTime(), time.Now()
			b.ResetTimer()
			h.process(b, reqs)
			b.StopTimer()
			took := time.Since(began)
			cpu = cpuTime() - cpu
			b.ReportMetric(float64(b.N)/took.Seconds(), "orders/s")
			b.ReportMetric(float64(len(reqs))/float64(b.N), "commands/order")
			b.ReportMetric(float64(h.trades())/float64(b.N), "trades/order")
			b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/order")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// What was put through, all of it, has come out everywhere.
func TestEveryServiceInOneProcess(t *testing.T) {
	const orders = 3000
	for _, s := range stores {
		t.Run(s.name, func(t *testing.T) {
			h := newHouse(t, s.open, bounds{})
			reqs := orderFlow(h.instruments, orders, fewCancels)
			h.process(t, reqs)
			for i := range reqs {
				if req := &reqs[i]; req.Kind == pipeline.RequestNew {
					_, err := h.store.OrderByClientID(t.Context(), req.Account, req.Key)
					require.NoError(t, err, req.Key)
				}
			}
			assert.InDelta(t, 0.65*orders, h.trades(), 0.2*orders, "two in five orders take, and find one or two")
			assert.Equal(t, h.deposited, h.total(t))
		})
	}
}

// The load: accounts that trade three instruments around one price.
const (
	houseAccounts = 100
	// houseInFlight is how many commands are between the bus and the journal at
	// most.
	houseInFlight = 16384
	// houseWorkers take requests; so many holds are made durable together.
	houseWorkers = 4096
	houseSeed    = 1
	houseFunds   = exchange.Amount(1e15)
	fewCancels   = 0.25
)

// storage is where a house keeps what must last.
type storage struct {
	journal  pipeline.Journal
	balances pipeline.Balances
	store    pipeline.TradeStore
}

// stores are those that are measured. The one in memory keeps nothing: it
// shows what the services alone cost.
var stores = []struct {
	name string
	open func(t testing.TB, kept memory.BalancesConfig) storage
}{
	{"memory", func(_ testing.TB, kept memory.BalancesConfig) storage {
		return storage{memory.NewJournal(), memory.NewBalances(kept), memory.NewTradeStore()}
	}},
	{"bolt", onBolt(bolt.DefaultPending)},
}

func onBolt(pending int) func(testing.TB, memory.BalancesConfig) storage {
	return func(t testing.TB, kept memory.BalancesConfig) storage {
		s, err := bolt.Open(filepath.Join(t.TempDir(), venue.DatabaseFile), bolt.Options{Balances: kept, Pending: pending})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
		return storage{s.Journal(), s.Balances(), s.TradeStore()}
	}
}

// bounds are how much is kept in memory, 0: the defaults.
type bounds struct {
	commands int // ids of commands, in each place that knows them
	items    int // journal items until the next snapshot, archive file and trim
	flight   int // commands between the bus and the journal; 0: houseInFlight
}

// house is every service of a venue in one process.
type house struct {
	storage
	instruments []*exchange.Instrument
	bus         *memory.Bus
	queue       *memory.Queue
	log         *pipeline.Log
	pusher      heard
	flight      chan struct{}
	deposited   map[exchange.AssetID]exchange.Amount

	mu        sync.Mutex
	published map[exchange.InstrumentID]pipeline.Position
	traded    int
}

// heard is a Pusher with somebody listening to everything, so that every
// message is made; nobody gets them.
type heard struct{ *memory.Pusher }

func (heard) Listening(pipeline.Channel, exchange.InstrumentID, exchange.AccountID) bool { return true }

func houseTime() exchange.Time { return exchange.Time(time.Now().UnixNano()) }

func newHouse(t testing.TB, open func(testing.TB, memory.BalancesConfig) storage, most bounds) *house {
	instruments, err := venue.Instruments()
	require.NoError(t, err)
	most.flight = cmp.Or(most.flight, houseInFlight)
	h := &house{
		storage: open(t, memory.BalancesConfig{MaxEnded: most.commands}), instruments: instruments, bus: memory.NewBus(memory.BusConfig{}), pusher: heard{memory.NewPusher()},
		flight: make(chan struct{}, most.flight), deposited: map[exchange.AssetID]exchange.Amount{}, published: map[exchange.InstrumentID]pipeline.Position{},
	}
	h.log = pipeline.NewLog(h.journal)
	h.deposit(t)
	archive, err := files.Open(t.TempDir())
	require.NoError(t, err)
	books, queue, publisher := memory.NewBookStore(), memory.NewQueue(memory.QueueConfig{DedupCount: most.commands}), memory.NewPublisher()
	h.queue = queue
	risk, err := pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: instruments, Balances: h.balances, Queue: queue, Orders: h.store, Books: books})
	require.NoError(t, err)
	processor, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: instruments, Risk: risk})
	require.NoError(t, err)
	engine, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: instruments, Log: h.log, Books: books,
		Publisher: &counting{publisher, h}, Now: houseTime, DedupCount: most.commands, SnapshotEvery: most.items})
	require.NoError(t, err)
	market, err := pipeline.NewMarketData(pipeline.MarketDataConfig{Instruments: instruments, Log: h.log, Pusher: h.pusher, Trades: h.store})
	require.NoError(t, err)
	recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: instruments, Log: h.log, Trades: h.store, Archive: archive, ArchiveEvery: most.items})
	require.NoError(t, err)
	settler, err := pipeline.NewSettler(pipeline.SettlerConfig{Instruments: instruments, Log: h.log, Balances: h.balances, Pusher: h.pusher})
	require.NoError(t, err)

	consumer := func(name string, at func(context.Context, exchange.InstrumentID) (pipeline.Position, error), handle func(context.Context, pipeline.Notice) error) pipeline.ResidentConsumer {
		labelled := func(ctx context.Context, n pipeline.Notice) (err error) {
			label(name, func() { err = handle(ctx, n) })
			return err
		}
		return pipeline.ResidentConsumer{Consumer: pipeline.Consumer{Name: name, Recorded: at, Handle: labelled}, Notices: publisher.Subscribe()}
	}
	resident, err := pipeline.NewResident(pipeline.ResidentConfig{
		Instruments: instruments, Requests: h.bus, RequestWorkers: houseWorkers, Queue: queue, Now: houseTime,
		Process: func(ctx context.Context, req *pipeline.Request) (err error) {
			label("processor", func() { err = processor.Handle(ctx, req) })
			return err
		},
		Match: func(ctx context.Context, inst exchange.InstrumentID, msgs []pipeline.QueueMessage) (done int, err error) {
			label("matching", func() { done, err = engine.Handle(ctx, inst, msgs) })
			return done, err
		},
		Consumers: []pipeline.ResidentConsumer{
			consumer("settler", h.balances.Settled, settler.Handle),
			consumer("recorder", h.store.Recorded, recorder.Handle),
			consumer("market data", h.pusher.Pushed, market.Handle),
		},
		Sweeper: pipeline.SweeperConfig{Instruments: instruments, Log: h.log, Publisher: publisher, Queue: queue, Balances: h.balances, Archived: recorder.Archived, TrimEvery: most.items, Now: houseTime},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { resident.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return h
}

// label has a CPU profile tell the services apart.
func label(service string, f func()) {
	pprof.Do(context.Background(), pprof.Labels("service", service), func(context.Context) { f() })
}

// deposit gives every account more than it can spend.
func (h *house) deposit(t testing.TB) {
	for _, in := range h.instruments {
		for _, asset := range []exchange.AssetID{in.Base().ID, in.Quote().ID} {
			if h.deposited[asset] != 0 {
				continue
			}
			h.deposited[asset] = houseFunds * houseAccounts
			for acct := exchange.AccountID(1); acct <= houseAccounts; acct++ {
				require.NoError(t, h.balances.Deposit(t.Context(), pipeline.Transfer{
					ID: pipeline.CommandIDOf(acct, 0, exchange.KindDeposit, fmt.Sprint(asset)), Account: acct, Asset: asset, Amount: houseFunds, Time: houseTime()}))
			}
		}
	}
}

// total returns what all accounts and the venue have together.
func (h *house) total(t testing.TB) map[exchange.AssetID]exchange.Amount {
	all := map[exchange.AssetID]exchange.Amount{}
	add := func(list []pipeline.AssetBalance, err error) {
		require.NoError(t, err)
		for _, b := range list {
			all[b.Asset] += b.Available + b.Held
		}
	}
	for acct := exchange.AccountID(1); acct <= houseAccounts; acct++ {
		a, err := h.balances.Account(t.Context(), acct)
		add(a.Balances, err)
	}
	for _, in := range h.instruments {
		add(h.balances.Venue(t.Context(), in.ID()))
	}
	return all
}

// counting is a Publisher that lets further commands in for those that are
// committed.
type counting struct {
	pipeline.Publisher
	house *house
}

func (p *counting) Publish(ctx context.Context, items []pipeline.Committed) error {
	err := p.Publisher.Publish(ctx, items)
	if err == nil {
		for _, c := range items {
			p.house.committed(c)
		}
	}
	return err
}

func (h *house) committed(c pipeline.Committed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.Position() <= h.published[c.Instrument()] {
		return // published twice
	}
	h.published[c.Instrument()] = c.Position()
	entries := c.Batch().Entries
	for i := range entries {
		switch entries[i].Command.Kind {
		case exchange.KindNewOrder, exchange.KindCancel, exchange.KindVoid:
			<-h.flight
		}
		for k := range entries[i].Events {
			if entries[i].Events[k].Kind == exchange.EventTrade {
				h.traded++
			}
		}
	}
}

func (h *house) trades() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.traded
}

// process puts requests on the bus, so many at a time, and waits until
// everything that came of them is settled, recorded and pushed.
func (h *house) process(t testing.TB, reqs []pipeline.Request) {
	for i := range reqs {
		h.flight <- struct{}{}
		reqs[i].Time = houseTime()
		require.NoError(t, h.bus.Put(t.Context(), &reqs[i]))
	}
	for range cap(h.flight) { // all are committed
		h.flight <- struct{}{}
	}
	for range cap(h.flight) {
		<-h.flight
	}
	for _, in := range h.instruments {
		head, err := h.journal.Head(t.Context(), in.ID())
		require.NoError(t, err)
		for name, at := range map[string]func(context.Context, exchange.InstrumentID) (pipeline.Position, error){
			"settled": h.balances.Settled, "recorded": h.store.Recorded, "pushed": h.pusher.Pushed} {
			require.Eventually(t, func() bool {
				pos, err := at(t.Context(), in.ID())
				return err == nil && pos >= head.Position
			}, time.Minute, time.Millisecond, "%s: %s", in.Symbol(), name)
		}
	}
}

// orderFlow draws n new orders, always the same: three in five rest within ten
// ticks of the price, two in five take. Once a thousand have come to rest, the
// oldest of them is canceled as often as cancels says, between 0 and 1, an
// order; with 1 the book stays as deep as it is.
func orderFlow(instruments []*exchange.Instrument, n int, cancels float64) []pipeline.Request {
	const (
		takes = 0.4
		deep  = 1000
		price = 100_000 // ticks
		lots  = 500
	)
	rng := rand.New(rand.NewPCG(houseSeed, 0))
	var out, resting []pipeline.Request
	for i := range n {
		in := instruments[rng.IntN(len(instruments))]
		req := pipeline.Request{Kind: pipeline.RequestNew, Account: exchange.AccountID(1 + rng.IntN(houseAccounts)), Key: "order-" + strconv.Itoa(i),
			Symbol: in.Symbol(), Side: "buy", Type: "limit", TimeInForce: "GTC"}
		away := -(1 + rng.Int64N(10))
		if rng.Float64() < takes {
			away, req.TimeInForce, req.SelfTrade = 30, "IOC", "cancel_oldest"
		}
		if rng.IntN(2) == 0 {
			req.Side, away = "sell", -away
		}
		req.Price = in.PriceDecimal(exchange.Price(price + away)).String()
		req.Size = in.QtyDecimal(exchange.Qty(lots * (1 + rng.Int64N(5)))).String()
		out = append(out, req)
		if req.TimeInForce == "GTC" {
			resting = append(resting, req)
		}
		if len(resting) > deep && rng.Float64() < cancels {
			old := resting[0]
			resting = resting[1:]
			out = append(out, pipeline.Request{Kind: pipeline.RequestCancel, Account: old.Account, Key: "cancel-" + strconv.Itoa(i), Symbol: old.Symbol, OrigClientID: old.Key})
		}
	}
	return out
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
