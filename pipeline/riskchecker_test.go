package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// sentQueue is a CommandQueue that keeps all it was sent, duplicates included.
type sentQueue struct {
	pipeline.CommandQueue
	mu   sync.Mutex
	sent []pipeline.QueueMessage
}

func (q *sentQueue) Send(_ context.Context, messages []pipeline.QueueMessage) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent = append(q.sent, messages...)
	return nil
}

// take returns what was sent, checked to be on its way to the right queue
// under the right id, and forgets it.
func (q *sentQueue) take(t require.TestingT) []pipeline.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []pipeline.Message
	for _, qm := range q.sent {
		m, err := pipeline.DecodeMessage(qm.Body)
		require.NoError(t, err)
		require.Equal(t, m.Command.Instrument, qm.Instrument)
		require.Equal(t, m.Command.ID, qm.DedupID)
		out = append(out, m)
	}
	q.sent = nil
	return out
}

// seenBook is a BookStore that shows one depth, or fails.
type seenBook struct {
	pipeline.BookStore
	mu    sync.Mutex
	depth *pipeline.Depth
	err   error
}

func (b *seenBook) Depth(context.Context, exchange.InstrumentID) (*pipeline.Depth, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.depth, b.err
}

func (b *seenBook) show(bid, ask exchange.Price) {
	d := &pipeline.Depth{}
	if bid > 0 {
		d.Bids = []exchange.Level{{Price: bid, Qty: 1, Orders: 1}, {Price: bid - 1, Qty: 1, Orders: 1}}
	}
	if ask > 0 {
		d.Asks = []exchange.Level{{Price: ask, Qty: 1, Orders: 1}, {Price: ask + 1, Qty: 1, Orders: 1}}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.depth, b.err = d, nil
}

func (b *seenBook) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.depth, b.err = nil, err
}

// seenOrders is a TradeStore that knows some orders, or fails.
type seenOrders struct {
	pipeline.TradeStore
	orders []pipeline.OrderRecord
	err    error
	mu     sync.Mutex // for asked; the rest is set while nobody asks
	asked  int
}

func (s *seenOrders) find(is func(*pipeline.OrderRecord) bool) (pipeline.OrderRecord, error) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	if s.err != nil {
		return pipeline.OrderRecord{}, s.err
	}
	for i := range s.orders {
		if is(&s.orders[i]) {
			return s.orders[i], nil
		}
	}
	return pipeline.OrderRecord{}, fmt.Errorf("an order: %w", pipeline.ErrNotFound)
}

func (s *seenOrders) OrderByCommand(_ context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	return s.find(func(o *pipeline.OrderRecord) bool { return o.CommandID == id })
}

func (s *seenOrders) OrderByID(_ context.Context, inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
	return s.find(func(o *pipeline.OrderRecord) bool { return o.Instrument == inst && o.OrderID == id })
}

// riskDesk is a desk whose surroundings a test decides.
type riskDesk struct {
	*desk
	sent   *sentQueue
	book   *seenBook
	orders *seenOrders
}

// newRiskDesk returns a desk of accounts with 1,000 USD and 10 BTC each, and a
// book of 99.0 to 101.0.
func newRiskDesk(t require.TestingT, change func(*pipeline.RiskCheckerConfig)) *riskDesk {
	d := &riskDesk{sent: &sentQueue{}, book: &seenBook{}, orders: &seenOrders{}}
	d.desk = newDesk(t, func(cfg *pipeline.RiskCheckerConfig) {
		cfg.Queue, cfg.Books, cfg.Orders = d.sent, d.book, d.orders
		if change != nil {
			change(cfg)
		}
	})
	d.book.show(990, 1010)
	for _, acct := range []exchange.AccountID{alice, bob} {
		d.deposit(t, acct, usd.ID, 1_000_0000)
		d.deposit(t, acct, btc.ID, 10_000_000)
	}
	return d
}

var deposits byte

func (d *desk) deposit(t require.TestingT, acct exchange.AccountID, asset exchange.AssetID, n exchange.Amount) {
	id := pipeline.CommandIDOf(acct, 0, exchange.KindDeposit, fmt.Sprint(asset, n, deposits))
	deposits++
	require.NoError(t, d.balances.Deposit(context.Background(), pipeline.Transfer{ID: id, Account: acct, Asset: asset, Amount: n, Time: start}))
}

func (d *desk) balance(t require.TestingT, acct exchange.AccountID, asset exchange.AssetID) exchange.Balance {
	a, err := d.balances.Account(context.Background(), acct)
	require.NoError(t, err)
	for _, b := range a.Balances {
		if b.Asset == asset {
			return b.Balance
		}
	}
	return exchange.Balance{}
}

// handle handles a request, and returns what was sent.
func (d *riskDesk) handle(t require.TestingT, r pipeline.Request) []pipeline.Message {
	require.NoError(t, d.Handle(context.Background(), &r))
	return d.sent.take(t)
}

// one handles a request that becomes one command.
func (d *riskDesk) one(t require.TestingT, r pipeline.Request) exchange.Command {
	sent := d.handle(t, r)
	require.Len(t, sent, 1)
	require.Equal(t, r.Key, sent[0].ClientID)
	return sent[0].Command
}

func heldEngine(t require.TestingT, in *exchange.Instrument) *exchange.Engine {
	e, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsHeld, Instruments: []*exchange.Instrument{in}})
	require.NoError(t, err)
	return e
}

// newBook returns an engine with one lot at a bid and an ask, of bob; 0: none.
func newBook(t require.TestingT, bid, ask exchange.Price) *exchange.Engine {
	e := heldEngine(t, btcUSD)
	for _, c := range []exchange.Command{exchange.LimitOrder(1, bob, exchange.Buy, bid, 1), exchange.LimitOrder(1, bob, exchange.Sell, ask, 1)} {
		if c.Price != 0 {
			c.Held = 1 << 40
			requireAccepted(t, e.Apply(nil, &c))
		}
	}
	return e
}

func requireAccepted(t require.TestingT, events []exchange.Event) {
	reason, refused := exchange.Rejected(events)
	require.False(t, refused, "refused: %v", reason)
}

// What is held for each type of order: enough, and not an atom more than the
// engine wants.
func TestHoldOfNewOrders(t *testing.T) {
	type req = pipeline.Request
	quote := func(price, qty int64) exchange.Amount { // with a fee of 0.2 %, rounded up
		return exchange.Amount(price*qty + (price*qty*2+999)/1000)
	}
	for _, tc := range []struct {
		name   string
		change func(*req)
		asset  exchange.AssetID
		amount exchange.Amount
		worst  exchange.Price // chosen by the RiskChecker
		gain   exchange.Amount
	}{
		{"limit buy", nil, usd.ID, quote(1005, 250), 0, 250_000},
		{"limit sell", func(r *req) { r.Side = "sell" }, btc.ID, 250_000, 0, 0},
		{"one lot at one tick", func(r *req) { r.Price, r.Size = "0.1", "0.001" }, usd.ID, 2, 0, 1000},
		{"post-only that slides", func(r *req) { r.PostOnly, r.Price = "slide", "200" }, usd.ID, quote(2000, 250), 0, 250_000},
		{"market buy", func(r *req) { r.Type, r.Price = "market", "" }, usd.ID, quote(1061, 250), 1061, 250_000},  // 1010 × 1.05 = 1060.5
		{"market sell", func(r *req) { r.Type, r.Price, r.Side = "market", "", "sell" }, btc.ID, 250_000, 940, 0}, // 990 × 0.95 = 940.5
		{"market buy with a worst price", func(r *req) { r.Type = "market" }, usd.ID, quote(1005, 250), 0, 250_000},
		{"market sell with a worst price", func(r *req) { r.Type, r.Side = "market", "sell" }, btc.ID, 250_000, 0, 0},
		{"market by funds", func(r *req) { r.Type, r.Price, r.Size, r.Funds = "market", "", "", "12.3456" }, usd.ID, 123456, 0, 122_000}, // 123456 / 1010 = 122.2
		{"market by funds within a price", func(r *req) { r.Type, r.Size, r.Funds = "market", "", "12.3456" }, usd.ID, 123456, 0, 0},
		{"market by funds and size", func(r *req) { r.Type, r.Price, r.Funds = "market", "", "30" }, usd.ID, 300000, 0, 250_000},
		{"market to limit buy", func(r *req) { r.Type, r.Price = "market_to_limit", "" }, usd.ID, quote(1061, 250), 1061, 250_000},
		{"market to limit sell", func(r *req) { r.Type, r.Price, r.Side = "market_to_limit", "", "sell" }, btc.ID, 250_000, 940, 0},
		{"stop buy", func(r *req) { r.Type, r.Price, r.StopPrice = "stop", "", "120" }, usd.ID, quote(1260, 250), 1260, 250_000},
		{"stop sell", func(r *req) { r.Type, r.Price, r.StopPrice, r.Side = "stop", "", "80.3", "sell" }, btc.ID, 250_000, 762, 0}, // 762.85
		{"stop buy by funds", func(r *req) { r.Type, r.Price, r.StopPrice, r.Funds = "stop", "", "120", "30" }, usd.ID, 300000, 0, 250_000},
		{"stop with a worst price", func(r *req) { r.Type, r.StopPrice = "stop", "120" }, usd.ID, quote(1005, 250), 0, 250_000},
		{"stop limit", func(r *req) { r.Type, r.StopPrice = "stop_limit", "120" }, usd.ID, quote(1005, 250), 0, 250_000},
		{"take profit buy", func(r *req) { r.Type, r.Price, r.StopPrice = "take_profit", "", "80" }, usd.ID, quote(840, 250), 840, 250_000},
		{"take profit limit sell", func(r *req) { r.Type, r.StopPrice, r.Side = "take_profit_limit", "120", "sell" }, btc.ID, 250_000, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newRiskDesk(t, nil)
			r := request("new", tc.change)
			prepared, err := d.Prepare(&r)
			require.NoError(t, err)
			cmd := d.one(t, r)

			want := prepared.Command
			want.Held = tc.amount
			if tc.worst != 0 {
				want.Price = tc.worst
			}
			assert.Equal(t, want, cmd)
			h, err := d.balances.HoldByID(context.Background(), alice, cmd.ID)
			require.NoError(t, err)
			wantHold := pipeline.Hold{ID: cmd.ID, Account: alice, Instrument: 1, Asset: tc.asset, Amount: tc.amount, Time: start, NewOrder: true,
				WorstPrice: tc.worst, Request: h.Request}
			if tc.asset == usd.ID {
				wantHold.GainAsset, wantHold.Gain = btc.ID, tc.gain
			}
			assert.Equal(t, pipeline.HoldRecord{Hold: wantHold, State: pipeline.HoldPlaced, Remaining: tc.amount}, h)
			assert.NotZero(t, h.Request)
			assert.Equal(t, tc.amount, d.balance(t, alice, tc.asset).Held)
			assert.EqualValues(t, 1, d.metrics.Read(pipeline.MetricAdmitted, 1).Count)

			if cmd.Funds == 0 {
				short := cmd
				short.Held--
				reason, _ := exchange.Rejected(newBook(t, 990, 1010).Apply(nil, &short))
				if cmd.PostOnly == 0 { // which slid to where it needs less
					assert.Equal(t, exchange.InsufficientFunds, reason, "with an atom less")
				}
			}
			requireAccepted(t, newBook(t, 990, 1010).Apply(nil, &cmd))
		})
	}
}

// The protection is rounded to the worse and stays within the instrument's
// price limits, which here are 95.0 and 105.0.
func TestMarketProtection(t *testing.T) {
	narrow := newInstrument(1, "BTC-USD", btc, func(s *exchange.InstrumentSpec) {
		s.MinPrice, s.MaxPrice = decimal.RequireFromString("95"), decimal.RequireFromString("105")
	})
	market := func(side string) pipeline.Request {
		return request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Side, r.Size = "market", "", side, "0.001" })
	}
	for _, tc := range []struct {
		name         string
		share        int64
		in           *exchange.Instrument
		bid, ask     exchange.Price
		below, above exchange.Price
	}{
		{"5 % unless set", 0, btcUSD, 1000, 2000, 950, 2100},
		{"the least", 1, btcUSD, 1000, 2000, 999, 2001},
		{"the least at the lowest price", 1, btcUSD, 1, 1, 1, 2},
		{"all of it", pipeline.MaxMarketProtection, btcUSD, 1000, 2000, 1, 4000},
		{"exact shares are not rounded", 100_000, btcUSD, 1000, 2000, 900, 2200},
		{"within the price limits", 100_000, narrow, 1000, 1000, 950, 1050},
		{"just within the price limits", 49_000, narrow, 1000, 1000, 951, 1049},
		{"at the highest price", 50_000, btcUSD, exchange.MaxPrice, exchange.MaxPrice, exchange.MaxPrice - exchange.MaxPrice/20 - 1, exchange.MaxPrice},
		{"at the highest price, all of it", pipeline.MaxMarketProtection, btcUSD, exchange.MaxPrice, exchange.MaxPrice, 1, exchange.MaxPrice},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) {
				cfg.MarketProtection, cfg.Instruments = tc.share, []*exchange.Instrument{tc.in}
			})
			d.book.show(tc.bid, tc.ask)
			d.deposit(t, bob, usd.ID, 1<<62)
			assert.Equal(t, tc.below, d.one(t, market("sell")).Price)
			buy := market("buy")
			buy.Account = bob
			assert.Equal(t, tc.above, d.one(t, buy).Price)
		})
	}
}

// An order too large for anybody is held for with 0 and left to the engine,
// which knows what is wrong with it.
func TestHugeOrdersAreTheEnginesToRefuse(t *testing.T) {
	d := newRiskDesk(t, nil)
	for i, r := range []pipeline.Request{
		request("new", func(r *pipeline.Request) { r.Price, r.Size = "100000000000000000", "1000000" }),
		request("new", func(r *pipeline.Request) { r.Price, r.Size = "115292150460684697.6", "0.002" }),
	} {
		r.Key = fmt.Sprint(i)
		cmd := d.one(t, r)
		assert.Zero(t, cmd.Held)
		reason, _ := exchange.Rejected(heldEngine(t, btcUSD).Apply(nil, &cmd))
		assert.Equal(t, exchange.NotionalAboveMax, reason)
	}
	// Commands that no Prepare makes must not make it count wrong either.
	for i, c := range []exchange.Command{
		exchange.LimitOrder(1, alice, exchange.Sell, 1, math.MaxInt64),
		exchange.LimitOrder(1, alice, exchange.Buy, -1, 5),
		exchange.LimitOrder(1, alice, exchange.Buy, 1, math.MinInt64),
		exchange.MarketOrderByFunds(1, alice, -5),
	} {
		c.ID, c.Time = exchange.CommandID{1, byte(i)}, start
		require.NoError(t, d.risk.Handle(context.Background(), pipeline.Message{Command: c}))
		sent := d.sent.take(t)
		require.Len(t, sent, 1)
		assert.Zero(t, sent[0].Command.Held)
		_, refused := exchange.Rejected(heldEngine(t, btcUSD).Apply(nil, &sent[0].Command))
		assert.True(t, refused)
	}
}

// With rates of the venue above the instrument's own, which only MaxFee knows
// of, the engine takes the order; without it does not.
func TestMaxFee(t *testing.T) {
	for _, most := range []exchange.FeeRate{0, 5000} {
		d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) { cfg.MaxFee = most })
		e := heldEngine(t, btcUSD)
		fees := exchange.SetFees(1, 4000, 5000)
		requireAccepted(t, e.Apply(nil, &fees))
		cmd := d.one(t, limitOrder())
		reason, refused := exchange.Rejected(e.Apply(nil, &cmd))
		assert.Equal(t, most == 0, refused)
		if refused {
			assert.Equal(t, exchange.InsufficientFunds, reason)
		}
	}
}

// Every refusal known here goes to the journal: it uses up the id, says why,
// and keeps what was asked for.
func TestRefusals(t *testing.T) {
	ctx := context.Background()
	marketOrder := func(r *pipeline.Request) { r.Type, r.Price = "market", "" }
	limits := func(l pipeline.AccountLimits) func(*testing.T, *riskDesk) {
		return func(t *testing.T, d *riskDesk) { require.NoError(t, d.balances.SetLimits(ctx, alice, l)) }
	}
	state := func(c exchange.Command) func(*testing.T, *riskDesk) {
		return func(t *testing.T, d *riskDesk) {
			c.ID = exchange.CommandID{7}
			require.NoError(t, d.balances.Span(ctx, c))
		}
	}
	for _, tc := range []struct {
		reason exchange.Reason
		req    pipeline.Request
		given  func(*testing.T, *riskDesk)
	}{
		{exchange.InsufficientFunds, request("new", func(r *pipeline.Request) { r.Size = "1000" }), nil},
		{exchange.InsufficientFunds, request("new", func(r *pipeline.Request) { r.Side, r.Size = "sell", "1000" }), nil},
		{exchange.NoReferencePrice, request("new", marketOrder), func(_ *testing.T, d *riskDesk) { d.book.fail(pipeline.ErrNotFound) }},
		{exchange.NoReferencePrice, request("new", marketOrder), func(_ *testing.T, d *riskDesk) { d.book.fail(errors.New("connection reset")) }},
		{exchange.NoLiquidity, request("new", marketOrder), func(_ *testing.T, d *riskDesk) { d.book.show(990, 0) }},
		{exchange.NoLiquidity, request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Side = "market_to_limit", "", "sell" }),
			func(_ *testing.T, d *riskDesk) { d.book.show(0, 1010) }},
		{exchange.AccountNotActive, limitOrder(), state(exchange.SetAccountState(alice, exchange.AccountCancelOnly))},
		{exchange.KillSwitchEngaged, limitOrder(), state(exchange.Kill(0, alice))},
		{exchange.AccountNotActive, request("amend", nil), state(exchange.SetAccountState(alice, exchange.AccountSuspended))},
		{exchange.KillSwitchEngaged, request("replace", nil), state(exchange.Kill(0, alice))},
		{exchange.MaxPosition, limitOrder(), limits(pipeline.AccountLimits{MaxHolding: 10_000_000 + 249_999})},
		{exchange.MaxPosition, request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Size, r.Funds = "market", "", "", "25.25" }),
			limits(pipeline.AccountLimits{MaxHolding: 10_000_000 + 249_999})}, // buys 0.25 at 101.0
		{exchange.MaxOpenOrders, limitOrder(), func(t *testing.T, d *riskDesk) {
			limits(pipeline.AccountLimits{MaxOpenOrders: 1})(t, d)
			d.one(t, request("new", func(r *pipeline.Request) { r.Key = "before" }))
		}},
		{exchange.MessageRate, request("amend", nil), func(t *testing.T, d *riskDesk) {
			limits(pipeline.AccountLimits{MaxMessages: 1, MessageWindow: second})(t, d)
			d.one(t, request("new", func(r *pipeline.Request) { r.Key = "before" }))
		}},
	} {
		t.Run(fmt.Sprint(tc.req.Kind, " ", tc.reason), func(t *testing.T) {
			d := newRiskDesk(t, nil)
			if tc.given != nil {
				tc.given(t, d)
			}
			usdBefore, btcBefore := d.balance(t, alice, usd.ID), d.balance(t, alice, btc.ID)
			want, err := d.Prepare(&tc.req)
			require.NoError(t, err)
			cmd := d.one(t, tc.req)
			want.Command.Kind, want.Command.Value = exchange.KindVoid, int64(tc.reason)
			assert.Equal(t, want.Command, cmd, "all but the kind and the reason is as it was asked for")
			assert.Equal(t, usdBefore, d.balance(t, alice, usd.ID))
			assert.Equal(t, btcBefore, d.balance(t, alice, btc.ID))
			assert.EqualValues(t, 1, d.metrics.Read(pipeline.MetricRefused, 1).Count)
			assert.NotContains(t, d.logged.String(), "770077")

			e := heldEngine(t, btcUSD)
			events := e.Apply(nil, &cmd)
			require.Len(t, events, 1)
			assert.Equal(t, exchange.EventRejected, events[0].Kind)
			assert.Equal(t, tc.reason, events[0].Reason)
			assert.Equal(t, want.Command.ID, events[0].ID)
			assert.Equal(t, alice, events[0].Account)
			assert.Zero(t, events[0].Release)
			late := want.Command
			late.Kind, late.Value, late.Held = exchange.KindNewOrder, 0, 1<<40
			reason, _ := exchange.Rejected(e.Apply(nil, &late))
			assert.Equal(t, exchange.DuplicateCommand, reason, "the id is used up")
		})
	}
}

// What is worth a try is refused for nothing: stops need no depth, a limit on
// what an account has is no limit on sells, funds need no liquidity.
func TestNotRefused(t *testing.T) {
	d := newRiskDesk(t, nil)
	d.book.fail(errors.New("connection reset"))
	require.NoError(t, d.balances.SetLimits(context.Background(), alice, pipeline.AccountLimits{MaxHolding: 10_000_000 + 250_000}))
	for i, r := range []pipeline.Request{
		request("new", func(r *pipeline.Request) { r.Type, r.Price, r.StopPrice = "stop", "", "90" }),
		request("new", func(r *pipeline.Request) { r.Type, r.Price, r.Size, r.Funds = "market", "", "", "5" }),
		request("new", func(r *pipeline.Request) { r.Type, r.Side, r.Size = "market", "sell", "1" }),
		request("new", func(r *pipeline.Request) { r.Side, r.Size, r.Price = "sell", "1", "100000" }),
		limitOrder(),
	} {
		r.Key = fmt.Sprint(i)
		assert.Equal(t, exchange.KindNewOrder, d.one(t, r).Kind, r)
	}
}

// Cancels and what else holds nothing ask nobody: they work when Balances, the
// store of orders and the books are down, and for accounts that are stopped.
func TestCancelsAlwaysGoThrough(t *testing.T) {
	d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) {
		cfg.Balances, cfg.Orders, cfg.Books = downBalances{}, downOrders{}, downBooks{}
	})
	for _, kind := range []string{"cancel", "reduce", "cancel_all"} {
		r := request(kind, nil)
		want, err := d.Prepare(&r)
		require.NoError(t, err)
		assert.Equal(t, want.Command, d.one(t, r))
	}
	day := exchange.EndDay(1)
	day.ID = exchange.CommandID{5}
	require.NoError(t, d.risk.Handle(context.Background(), pipeline.Message{Command: day}))
	assert.Equal(t, []pipeline.Message{{Command: day}}, d.sent.take(t))
}

// Ports that panic when they are asked anything.
type (
	downBalances struct{ pipeline.Balances }
	downOrders   struct{ pipeline.TradeStore }
	downBooks    struct{ pipeline.BookStore }
)

func TestHandleErrors(t *testing.T) {
	ctx := context.Background()
	d := newRiskDesk(t, nil)
	handle := func(change func(*pipeline.Message)) error {
		r := limitOrder()
		m, err := d.Prepare(&r)
		require.NoError(t, err)
		change(&m)
		return d.risk.Handle(ctx, m)
	}
	assert.ErrorIs(t, handle(func(m *pipeline.Message) { m.Command.Instrument = 99 }), pipeline.ErrInvalid)
	assert.ErrorIs(t, handle(func(m *pipeline.Message) { m.Command.Instrument = 0 }), pipeline.ErrInvalid, "a new order spans no instruments")
	assert.ErrorIs(t, handle(func(m *pipeline.Message) { m.Command.ID = exchange.CommandID{} }), pipeline.ErrInvalid)
	assert.ErrorIs(t, handle(func(m *pipeline.Message) { m.ClientID = string(make([]byte, 65)) }), pipeline.ErrTooLarge)
	d.orders.err = errors.New("connection reset")
	amend := request("amend", nil)
	assert.ErrorIs(t, d.Handle(ctx, &amend), d.orders.err, "an order that cannot be looked up is no unknown one")
	assert.Empty(t, d.sent.take(t))
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	d.book.fail(context.Canceled)
	market := request("new", func(r *pipeline.Request) { r.Type, r.Price = "market", "" })
	assert.ErrorIs(t, d.Handle(canceled, &market), context.Canceled, "who stops waiting is not refused")
	assert.Empty(t, d.sent.take(t))
	assert.Zero(t, d.balance(t, alice, usd.ID).Held)
}

func TestNewRiskCheckerChecks(t *testing.T) {
	for name, change := range map[string]func(*pipeline.RiskCheckerConfig){
		"no balances":         func(c *pipeline.RiskCheckerConfig) { c.Balances = nil },
		"no queue":            func(c *pipeline.RiskCheckerConfig) { c.Queue = nil },
		"no orders":           func(c *pipeline.RiskCheckerConfig) { c.Orders = nil },
		"no books":            func(c *pipeline.RiskCheckerConfig) { c.Books = nil },
		"no instruments":      func(c *pipeline.RiskCheckerConfig) { c.Instruments = nil },
		"an instrument twice": func(c *pipeline.RiskCheckerConfig) { c.Instruments = []*exchange.Instrument{btcUSD, btcUSD} },
		"protection below 0":  func(c *pipeline.RiskCheckerConfig) { c.MarketProtection = -1 },
		"too much protection": func(c *pipeline.RiskCheckerConfig) { c.MarketProtection = pipeline.MaxMarketProtection + 1 },
		"a fee below 0":       func(c *pipeline.RiskCheckerConfig) { c.MaxFee = -1 },
		"a fee of all":        func(c *pipeline.RiskCheckerConfig) { c.MaxFee = exchange.FeeRateUnit },
	} {
		cfg := pipeline.RiskCheckerConfig{Instruments: []*exchange.Instrument{btcUSD}, Balances: memory.NewBalances(memory.BalancesConfig{}),
			Queue: &sentQueue{}, Orders: &seenOrders{}, Books: &seenBook{}}
		_, err := pipeline.NewRiskChecker(cfg)
		require.NoError(t, err, "without Metrics and Logger")
		change(&cfg)
		_, err = pipeline.NewRiskChecker(cfg)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, name)
	}
}

// nowhere is a CommandQueue that takes everything.
type nowhere struct{ pipeline.CommandQueue }

func (nowhere) Send(context.Context, []pipeline.QueueMessage) error { return nil }

// BenchmarkHandleNewOrder is a limit order from its text to its hold in memory
// and its encoded command.
func BenchmarkHandleNewOrder(b *testing.B) {
	d := newRiskDesk(b, func(cfg *pipeline.RiskCheckerConfig) { cfg.Queue = nowhere{} })
	d.deposit(b, alice, usd.ID, plenty)
	r := request("new", func(r *pipeline.Request) { r.Price, r.Size = "0.1", "0.001" })
	b.ReportAllocs()
	for i := range b.N {
		r.Key, r.Time = strconv.Itoa(i), start+exchange.Time(i)
		if err := d.Handle(context.Background(), &r); err != nil {
			b.Fatal(err)
		}
	}
	if n := d.metrics.Read(pipeline.MetricAdmitted, 1).Count; n < int64(b.N) {
		b.Fatalf("%d of %d orders were admitted", n, b.N)
	}
}
