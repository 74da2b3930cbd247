package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// A request that comes again finds its hold, and the command is the same,
// whatever the book, the order it means, or its client's clock look like by
// now.
func TestRequestComesAgain(t *testing.T) {
	ctx := context.Background()
	later := func(r *pipeline.Request) { r.Time += 5 * second }
	known := func(d *riskDesk, cum exchange.Qty) {
		d.orders.orders = []pipeline.OrderRecord{{CommandID: pipeline.CommandIDOf(alice, 1, exchange.KindNewOrder, "my-1"), Instrument: 1, Account: alice,
			Side: exchange.Buy, Type: exchange.Limit, Status: pipeline.OrderOpen, Price: 1000, OrderQty: 60, CumQty: cum, LeavesQty: 60 - cum}}
	}
	for _, tc := range []struct {
		name  string
		req   pipeline.Request
		moves func(*riskDesk)
	}{
		{"limit", limitOrder(), nil},
		{"market buy", request("new", func(r *pipeline.Request) { r.Type, r.Price = "market", "" }), func(d *riskDesk) { d.book.show(1500, 2000) }},
		{"market buy, book gone", request("new", func(r *pipeline.Request) { r.Type, r.Price = "market", "" }), func(d *riskDesk) { d.book.fail(pipeline.ErrNotFound) }},
		{"market buy, offers gone", request("new", func(r *pipeline.Request) { r.Type, r.Price = "market", "" }), func(d *riskDesk) { d.book.show(1500, 0) }},
		{"market sell", request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Side = "market", "", "sell" }), func(d *riskDesk) { d.book.show(500, 600) }},
		{"market buy by funds", request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Size, r.Funds = "market", "", "", "5" }),
			func(d *riskDesk) { d.book.show(500, 600) }},
		{"amend", request("amend", nil), func(d *riskDesk) { known(d, 40) }},
		{"amend, order gone", request("amend", nil), func(d *riskDesk) { d.orders.orders = nil }},
		{"replace", request("replace", nil), func(d *riskDesk) { known(d, 59) }},
		{"account stopped", limitOrder(), func(d *riskDesk) {
			stop := exchange.SetAccountState(alice, exchange.AccountSuspended)
			stop.ID = exchange.CommandID{7}
			require.NoError(t, d.balances.Span(ctx, stop))
		}},
		{"account without means", limitOrder(), func(d *riskDesk) {
			require.NoError(t, d.balances.Withdraw(ctx, pipeline.Transfer{ID: exchange.CommandID{8}, Account: alice, Asset: usd.ID,
				Amount: d.balance(t, alice, usd.ID).Available, Time: start}))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newRiskDesk(t, nil)
			known(d, 10)
			first := d.handle(t, tc.req)
			require.Len(t, first, 1)
			hold, err := d.balances.HoldByID(ctx, alice, first[0].Command.ID)
			require.NoError(t, err)
			if tc.moves != nil {
				tc.moves(d)
			}
			usdThen := d.balance(t, alice, usd.ID)
			for _, r := range []pipeline.Request{tc.req, request("new", func(r *pipeline.Request) { *r = tc.req; later(r) })} {
				assert.Equal(t, first, d.handle(t, r))
			}
			again, err := d.balances.HoldByID(ctx, alice, first[0].Command.ID)
			require.NoError(t, err)
			assert.Equal(t, hold, again)
			assert.Equal(t, usdThen, d.balance(t, alice, usd.ID))
			assert.Zero(t, d.metrics.Read(pipeline.MetricConflicts, 1).Count)
		})
	}
}

// Another request under a used key is dropped: nothing is sent, the first
// one's hold is untouched.
func TestConflict(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(*pipeline.Request){
		"price":             func(r *pipeline.Request) { r.Price = "100.6" },
		"size":              func(r *pipeline.Request) { r.Size = "0.251" },
		"time in force":     func(r *pipeline.Request) { r.TimeInForce = "IOC" },
		"type":              func(r *pipeline.Request) { r.Type = "market" },
		"least size":        func(r *pipeline.Request) { r.MinSize = "0.001" },
		"self-trade":        func(r *pipeline.Request) { r.SelfTrade = "none" },
		"a replace instead": func(r *pipeline.Request) { *r = request("replace", func(r *pipeline.Request) { r.Key = "my-1" }) },
		"price and time":    func(r *pipeline.Request) { r.Price, r.Time = "100.6", r.Time+second },
		"no price, no book": func(r *pipeline.Request) { r.Type, r.Price = "market_to_limit", "" },
	} {
		for _, side := range []string{"buy", "sell"} { // a sell is held for with the same at every price
			t.Run(name+" "+side, func(t *testing.T) {
				d := newRiskDesk(t, nil)
				first := request("new", func(r *pipeline.Request) { r.Side = side })
				cmd := d.one(t, first)
				hold, err := d.balances.HoldByID(ctx, alice, cmd.ID)
				require.NoError(t, err)
				d.book.fail(pipeline.ErrNotFound)

				other := first
				change(&other)
				assert.Empty(t, d.handle(t, other))
				again, err := d.balances.HoldByID(ctx, alice, cmd.ID)
				require.NoError(t, err)
				assert.Equal(t, hold, again)
				assert.EqualValues(t, 1, d.metrics.Read(pipeline.MetricConflicts, 1).Count)
				assert.Contains(t, d.logged.String(), fmt.Sprintf("%x", cmd.ID))
				assert.NotContains(t, d.logged.String(), "770077")
				assert.Equal(t, cmd, d.one(t, first), "the first is what it was")
			})
		}
	}
}

// settler settles what an engine makes of messages, and keeps the events.
type settler struct {
	log    *pipeline.Log
	head   pipeline.Head
	events []exchange.Event // duplicates left out
}

func (s *settler) settle(t require.TestingT, b pipeline.Balances, e *exchange.Engine, messages ...pipeline.Message) {
	if s.log == nil {
		s.log = pipeline.NewLog(memory.NewJournal())
	}
	batch := &pipeline.Batch{Instrument: 1, Rules: pipeline.CurrentRules}
	for i := range messages {
		events := e.Apply(nil, &messages[i].Command)
		if reason, _ := exchange.Rejected(events); reason != exchange.DuplicateCommand {
			batch.Entries = append(batch.Entries, pipeline.Entry{Message: messages[i], Events: events})
			s.events = append(s.events, events...)
		}
	}
	c, err := s.log.Append(context.Background(), s.head, batch)
	require.NoError(t, err)
	s.head = c.Head()
	require.NoError(t, b.Settle(context.Background(), c, pipeline.Settle(btcUSD, batch)))
}

// A request whose hold has ended is never held for again, and nothing is sent.
func TestHoldEnded(t *testing.T) {
	d := newRiskDesk(t, nil)
	var s settler
	before := d.balance(t, alice, usd.ID)
	r := request("new", func(r *pipeline.Request) { r.TimeInForce = "IOC" })
	s.settle(t, d.balances, heldEngine(t, btcUSD), d.handle(t, r)...)
	for range 2 {
		assert.Empty(t, d.handle(t, r))
	}
	r.Time += second
	assert.Empty(t, d.handle(t, r))
	noPrice := request("new", func(r *pipeline.Request) { r.Type, r.Price = "market", "" })
	d.book.fail(pipeline.ErrNotFound)
	assert.Empty(t, d.handle(t, noPrice), "nor when it would be refused for something else")
	assert.Equal(t, before, d.balance(t, alice, usd.ID))
	assert.EqualValues(t, 4, d.metrics.Read(pipeline.MetricRepeated, 1).Count)
}

// A refused request is delivered again when the reason is gone. Whichever of
// refusal and order the engine sees first counts, and nothing stays held.
func TestRefusedThenHeld(t *testing.T) {
	big := request("new", func(r *pipeline.Request) { r.Size = "100" })
	given := func(t *testing.T) (*riskDesk, pipeline.Message) {
		d := newRiskDesk(t, nil)
		refusal := d.handle(t, big)
		require.Equal(t, exchange.KindVoid, refusal[0].Command.Kind)
		return d, refusal[0]
	}
	const much = 1_000_000_0000
	t.Run("delivered before the refusal is settled", func(t *testing.T) {
		d, refusal := given(t)
		var s settler
		e := heldEngine(t, btcUSD)
		d.deposit(t, alice, usd.ID, much)
		before := d.balance(t, alice, usd.ID)
		order := d.handle(t, big)
		require.Equal(t, exchange.KindNewOrder, order[0].Command.Kind)
		require.Positive(t, d.balance(t, alice, usd.ID).Held)
		s.settle(t, d.balances, e, refusal, order[0])
		assert.Equal(t, before, d.balance(t, alice, usd.ID), "the hold of what came second is given back")
		assert.Empty(t, d.handle(t, big))
	})
	t.Run("delivered after the refusal is settled", func(t *testing.T) {
		d, refusal := given(t)
		var s settler
		s.settle(t, d.balances, heldEngine(t, btcUSD), refusal)
		d.deposit(t, alice, usd.ID, much)
		before := d.balance(t, alice, usd.ID)
		assert.Empty(t, d.handle(t, big))
		assert.Equal(t, before, d.balance(t, alice, usd.ID))
	})
	t.Run("the order overtakes the refusal", func(t *testing.T) {
		d, refusal := given(t)
		var s settler
		e := heldEngine(t, btcUSD)
		d.deposit(t, alice, usd.ID, much)
		order := d.handle(t, big)
		s.settle(t, d.balances, e, order[0], refusal)
		o, live := e.Book(1).Order(1)
		require.True(t, live)
		assert.Equal(t, o.Held, d.balance(t, alice, usd.ID).Held)
	})
}

var errDesk = errors.New("the connection broke")

// faults lets the n-th call of any port fail, before it has its effect or
// after, when the answer is lost.
type faults struct {
	left  int // calls until one fails; below 1: none
	after bool
	hit   bool
}

func call[T any](f *faults, effect func() (T, error)) (T, error) {
	f.left--
	fails := f.left == 0
	f.hit = f.hit || fails
	var zero T
	if fails && !f.after {
		return zero, errDesk
	}
	v, err := effect()
	if fails {
		return zero, errDesk
	}
	return v, err
}

func do(f *faults, effect func() error) error {
	_, err := call(f, func() (struct{}, error) { return struct{}{}, effect() })
	return err
}

type faultyBalances struct {
	pipeline.Balances
	f *faults
}

func (b *faultyBalances) Hold(ctx context.Context, h pipeline.Hold) error {
	return do(b.f, func() error { return b.Balances.Hold(ctx, h) })
}

func (b *faultyBalances) HoldByID(ctx context.Context, acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, error) {
	return call(b.f, func() (pipeline.HoldRecord, error) { return b.Balances.HoldByID(ctx, acct, id) })
}

func (b *faultyBalances) Span(ctx context.Context, cmd exchange.Command) error {
	return do(b.f, func() error { return b.Balances.Span(ctx, cmd) })
}

func (b *faultyBalances) Forget(ctx context.Context, id exchange.CommandID) error {
	return do(b.f, func() error { return b.Balances.Forget(ctx, id) })
}

type faultyQueue struct {
	pipeline.CommandQueue
	f *faults
}

func (q *faultyQueue) Send(ctx context.Context, messages []pipeline.QueueMessage) error {
	return do(q.f, func() error { return q.CommandQueue.Send(ctx, messages) })
}

type faultyOrders struct {
	pipeline.TradeStore
	f *faults
}

func (s *faultyOrders) OrderByCommand(ctx context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	return call(s.f, func() (pipeline.OrderRecord, error) { return s.TradeStore.OrderByCommand(ctx, id) })
}

// Every call of every port fails once, before or after its effect; the request
// is delivered again until it is done, in a world that has moved on. In the end
// there is one effect, and what is held is what the engine holds.
func TestCrashBetweenSteps(t *testing.T) {
	ctx := context.Background()
	type outcome struct {
		messages int                                        // the engines took
		events   map[exchange.InstrumentID][]exchange.Event // of those
		account  pipeline.Account
		spanning []exchange.Command
	}
	run := func(t *testing.T, r pipeline.Request, given func(*riskDesk), f *faults) outcome {
		d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) {
			cfg.Balances, cfg.Queue, cfg.Orders = &faultyBalances{cfg.Balances, f}, &faultyQueue{cfg.Queue, f}, &faultyOrders{cfg.Orders, f}
		})
		// The order that changes mean: 60 lots at 100.0 of which 10 are filled.
		maker := exchange.LimitOrder(1, alice, exchange.Buy, 1000, 60)
		maker.ID, maker.Held = pipeline.CommandIDOf(alice, 1, exchange.KindNewOrder, "known"), 60_120
		taker := exchange.LimitOrder(1, bob, exchange.Sell, 1000, 10)
		taker.ID, taker.Held = exchange.CommandID{9}, 10_000
		require.NoError(t, d.balances.Hold(ctx, pipeline.Hold{ID: maker.ID, Account: alice, Asset: usd.ID, Amount: maker.Held, Time: start}))
		require.NoError(t, d.balances.Hold(ctx, pipeline.Hold{ID: taker.ID, Account: bob, Asset: btc.ID, Amount: taker.Held, Time: start}))
		var s settler
		engines := map[exchange.InstrumentID]*exchange.Engine{1: heldEngine(t, btcUSD), 2: heldEngine(t, ethUSD)}
		s.settle(t, d.balances, engines[1], pipeline.Message{Command: maker}, pipeline.Message{Command: taker})
		d.orders.orders = []pipeline.OrderRecord{{CommandID: maker.ID, Instrument: 1, Account: alice, Side: exchange.Buy, Type: exchange.Limit,
			Status: pipeline.OrderOpen, Price: 1000, OrderQty: 60, CumQty: 10, LeavesQty: 50}}
		if given != nil {
			given(d)
		}

		for tries := 0; ; tries++ {
			require.Less(t, tries, 2, "one failure, so the second try succeeds")
			err := d.Handle(ctx, &r)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errDesk)
			d.book.show(1500, 1600)
		}

		got := outcome{events: map[exchange.InstrumentID][]exchange.Event{}}
		for _, m := range d.sent.take(t) {
			inst := m.Command.Instrument
			had := len(s.events)
			if inst == 1 {
				s.settle(t, d.balances, engines[1], m)
			} else if events := engines[2].Apply(nil, &m.Command); events[0].Kind != exchange.EventDuplicate {
				s.events = append(s.events, events...)
			}
			if len(s.events) > had {
				got.messages++
				got.events[inst] = append(got.events[inst], s.events[had:]...)
			}
		}
		var err error
		got.account, err = d.balances.Account(ctx, alice)
		require.NoError(t, err)
		got.account.Version = 0
		got.spanning, err = d.balances.Spanning(ctx, pipeline.MaxQueryRows)
		require.NoError(t, err)

		held := map[exchange.Side]exchange.Amount{}
		live := int64(0)
		orders := engines[1].Book(1).Orders(nil, exchange.Buy, 0)
		orders = engines[1].Book(1).Orders(orders, exchange.Sell, 0)
		for _, o := range engines[1].Book(1).Pending(orders) {
			held[o.Side] += o.Held
			live++
		}
		require.Equal(t, held[exchange.Buy], d.balance(t, alice, usd.ID).Held)
		require.Equal(t, held[exchange.Sell], d.balance(t, alice, btc.ID).Held)
		require.Equal(t, live, got.account.OpenOrders)
		return got
	}
	byKnown := func(kind string, change func(*pipeline.Request)) pipeline.Request {
		return request(kind, func(r *pipeline.Request) {
			r.OrigClientID = "known"
			if change != nil {
				change(r)
			}
		})
	}
	poor := func(left exchange.Amount) func(*riskDesk) {
		return func(d *riskDesk) {
			require.NoError(t, d.balances.Withdraw(ctx, pipeline.Transfer{ID: exchange.CommandID{8}, Account: alice, Asset: usd.ID,
				Amount: d.balance(t, alice, usd.ID).Available - left, Time: start}))
		}
	}
	stop := func(side string) pipeline.Request {
		return request("new", func(r *pipeline.Request) { r.Type, r.Price, r.StopPrice, r.Side = "stop", "", "200", side })
	}
	for _, tc := range []struct {
		name    string
		req     pipeline.Request
		given   func(*riskDesk)
		steps   int                // calls of ports without a failure
		effect  exchange.EventKind // the first event, without a failure
		decided int                // the step that decides what it comes to; 0: the book as it is does not matter
	}{
		{"limit", limitOrder(), nil, 2, exchange.EventAccepted, 0},
		{"stop", stop("buy"), nil, 2, exchange.EventAccepted, 0},
		{"market buy", request("new", func(r *pipeline.Request) { r.Type, r.Price = "market", "" }), nil, 2, exchange.EventAccepted, 1},
		{"market sell", request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Side = "market", "", "sell" }), nil, 2, exchange.EventAccepted, 1},
		{"market to limit", request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Side = "market_to_limit", "", "sell" }), nil, 2, exchange.EventAccepted, 1},
		{"refused by balances", limitOrder(), poor(10), 2, exchange.EventRejected, 0},
		{"refused for want of a book", request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Side = "market", "", "sell" }),
			func(d *riskDesk) { d.book.show(0, 0) }, 2, exchange.EventRejected, 2},
		{"cancel", byKnown("cancel", nil), nil, 1, exchange.EventCanceled, 0},
		{"reduce", byKnown("reduce", func(r *pipeline.Request) { r.Size = "0.001" }), nil, 1, exchange.EventAmended, 0},
		{"amend", byKnown("amend", func(r *pipeline.Request) { r.Price = "110" }), nil, 3, exchange.EventAmended, 0},
		{"replace", byKnown("replace", func(r *pipeline.Request) { r.Price = "110" }), nil, 3, exchange.EventCanceled, 0},
		// 100 lots at 110.0 need 110,220 atoms; the 50 that are left bring 50,100.
		{"replace that can be paid for as things are", byKnown("replace", func(r *pipeline.Request) { r.Price = "110" }), poor(61_000), 4, exchange.EventCanceled, 0},
		{"cancel all of one", request("cancel_all", nil), nil, 1, exchange.EventCanceled, 0},
		{"cancel all of all", request("cancel_all", func(r *pipeline.Request) { r.Symbol = "" }), nil, 3, exchange.EventCanceled, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			calm := &faults{}
			want := run(t, tc.req, tc.given, calm)
			require.Equal(t, tc.steps, -calm.left)
			require.Equal(t, tc.effect, want.events[1][0].Kind)
			require.Empty(t, want.spanning)
			for _, after := range []bool{false, true} {
				for n := 1; n <= tc.steps; n++ {
					f := &faults{left: n, after: after}
					got := run(t, tc.req, tc.given, f)
					require.True(t, f.hit)
					require.Equal(t, want.messages, got.messages, "one effect")
					if n > tc.decided || n == tc.decided && after {
						require.Equal(t, want, got, "call %d of %d failed, after its effect: %v", n, tc.steps, after)
					}
				}
			}
		})
	}
}

// Many deliveries of one request at once, at two times, while the book moves:
// one hold, one effect, and every message says the same.
func TestConcurrentDeliveries(t *testing.T) {
	ctx := context.Background()
	for name, r := range map[string]pipeline.Request{
		"limit":       limitOrder(),
		"market buy":  request("new", func(r *pipeline.Request) { r.Type, r.Price = "market", "" }),
		"market sell": request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Side = "market", "", "sell" }),
	} {
		t.Run(name, func(t *testing.T) {
			d := newRiskDesk(t, nil)
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					mine := r
					mine.Time += exchange.Time(i%2) * second
					d.book.show(900+exchange.Price(i), 1000+exchange.Price(i))
					assert.NoError(t, d.Handle(ctx, &mine))
				})
			}
			wg.Wait()
			sent := d.sent.take(t)
			require.Len(t, sent, 32)
			held := d.balance(t, alice, usd.ID).Held + d.balance(t, alice, btc.ID).Held
			e := newBook(t, 800, 2000)
			accepted := 0
			for _, m := range sent {
				require.Equal(t, held, m.Command.Held)
				if _, refused := exchange.Rejected(e.Apply(nil, &m.Command)); !refused {
					accepted++
				}
			}
			assert.Equal(t, 1, accepted)
			account, err := d.balances.Account(ctx, alice)
			require.NoError(t, err)
			assert.EqualValues(t, 1, account.OpenOrders)
		})
	}
}

// Of two different requests under one key one is taken, whichever.
func TestConcurrentConflict(t *testing.T) {
	for range 50 {
		d := newRiskDesk(t, nil)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				r := request("new", func(r *pipeline.Request) { r.Price = fmt.Sprint(100 + i%2) })
				assert.NoError(t, d.Handle(context.Background(), &r))
			})
		}
		wg.Wait()
		sent := d.sent.take(t)
		require.Len(t, sent, 4)
		for _, m := range sent {
			require.Equal(t, sent[0], m)
		}
		require.Equal(t, sent[0].Command.Held, d.balance(t, alice, usd.ID).Held)
		require.EqualValues(t, 4, d.metrics.Read(pipeline.MetricConflicts, 1).Count)
	}
}

// A command that spans instruments is recorded, sent to each of them under an
// id of its own, and crossed off.
func TestSpan(t *testing.T) {
	ctx := context.Background()
	d := newRiskDesk(t, nil)
	r := request("cancel_all", func(r *pipeline.Request) { r.Symbol, r.Side = "", "sell" })
	want, err := d.Prepare(&r)
	require.NoError(t, err)
	sent := d.handle(t, r)
	require.Len(t, sent, 2)
	ids := map[exchange.CommandID]bool{want.Command.ID: true}
	for i, m := range sent {
		part := want.Command
		part.Instrument, part.ID = exchange.InstrumentID(i+1), m.Command.ID
		assert.Equal(t, pipeline.Message{Command: part}, m)
		ids[m.Command.ID] = true
	}
	assert.Len(t, ids, 3, "ids differ")
	assert.Equal(t, sent, d.handle(t, r), "the same again")
	again := pipeline.SpanCommands(want.Command, []*exchange.Instrument{btcUSD, ethUSD})
	for i := range again {
		assert.Equal(t, sent[i].Command.ID, again[i].DedupID)
	}
	spanning, err := d.balances.Spanning(ctx, 10)
	require.NoError(t, err)
	assert.Empty(t, spanning)

	r.Side = "buy"
	assert.Empty(t, d.handle(t, r), "another one under the key")
	r.Time += second
	assert.Empty(t, d.handle(t, r))
	assert.EqualValues(t, 2, d.metrics.Read(pipeline.MetricConflicts, 0).Count)
}

// A crash leaves the record, of which the Sweeper sends what is missing.
func TestSpanSurvivesACrash(t *testing.T) {
	ctx := context.Background()
	d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) { cfg.Queue = &faultyQueue{cfg.Queue, &faults{left: 1}} })
	r := request("cancel_all", func(r *pipeline.Request) { r.Symbol = "" })
	m, err := d.Prepare(&r)
	require.NoError(t, err)
	require.ErrorIs(t, d.Handle(ctx, &r), errDesk)
	spanning, err := d.balances.Spanning(ctx, 10)
	require.NoError(t, err)
	assert.Equal(t, []exchange.Command{m.Command}, spanning)
}

func TestSpanAdministers(t *testing.T) {
	ctx := context.Background()
	d := newRiskDesk(t, nil)
	kill := exchange.Kill(0, alice)
	kill.ID, kill.Time = exchange.CommandID{1}, start
	require.NoError(t, d.risk.Handle(ctx, pipeline.Message{Command: kill}))
	sent := d.sent.take(t)
	require.Len(t, sent, 2)
	for i, m := range sent {
		events := heldEngine(t, []*exchange.Instrument{btcUSD, ethUSD}[i]).Apply(nil, &m.Command)
		assert.Equal(t, exchange.EventKilled, events[len(events)-1].Kind)
	}
	account, err := d.balances.Account(ctx, alice)
	require.NoError(t, err)
	assert.True(t, account.Killed)

	state := exchange.SetAccountState(alice, exchange.AccountSuspended)
	state.ID, state.Time = exchange.CommandID{2}, start
	require.NoError(t, d.risk.Handle(ctx, pipeline.Message{Command: state}))
	assert.Empty(t, d.sent.take(t), "Balances has it, no engine needs it")
	assert.Empty(t, pipeline.SpanCommands(state, []*exchange.Instrument{btcUSD}))
	account, err = d.balances.Account(ctx, alice)
	require.NoError(t, err)
	assert.Equal(t, exchange.AccountSuspended, account.State)
	spanning, err := d.balances.Spanning(ctx, 10)
	require.NoError(t, err)
	assert.Empty(t, spanning)

	// Balances without room for an account refuses; there is nothing to cancel.
	full := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) {
		cfg.Balances = memory.NewBalances(memory.BalancesConfig{MaxAccounts: 1})
		kill := exchange.Kill(0, bob)
		kill.ID = exchange.CommandID{3}
		require.NoError(t, cfg.Balances.Span(ctx, kill))
	})
	assert.Empty(t, full.handle(t, request("cancel_all", func(r *pipeline.Request) { r.Symbol = "" })))
	assert.EqualValues(t, 1, full.metrics.Read(pipeline.MetricRefused, 0).Count)
}

// More instruments than a queue takes messages at a time.
func TestSpanOfManyInstruments(t *testing.T) {
	var many []*exchange.Instrument
	for i := range pipeline.MaxSendMessages + 1 {
		many = append(many, newInstrument(exchange.InstrumentID(i+1), fmt.Sprint("I", i), btc, nil))
	}
	d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) {
		cfg.Instruments = many
		cfg.Queue = &strictQueue{CommandQueue: cfg.Queue}
	})
	sent := d.handle(t, request("cancel_all", func(r *pipeline.Request) { r.Symbol = "" }))
	require.Len(t, sent, len(many))
	for i, m := range sent {
		require.Equal(t, many[i].ID(), m.Command.Instrument)
	}
}

// strictQueue takes no more than a queue must.
type strictQueue struct{ pipeline.CommandQueue }

func (q *strictQueue) Send(ctx context.Context, messages []pipeline.QueueMessage) error {
	if len(messages) < 1 || len(messages) > pipeline.MaxSendMessages {
		return pipeline.ErrInvalid
	}
	return q.CommandQueue.Send(ctx, messages)
}
