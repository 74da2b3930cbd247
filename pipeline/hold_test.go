package pipeline_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// What amends and replaces are held for, against the real engine.

// floor is an engine with an order of alice that others trade with.
type floor struct {
	in     *exchange.Instrument
	engine *exchange.Engine
	id     exchange.OrderID
}

const plenty = exchange.Amount(1) << 50

// newFloor enters an order of alice. Its hold is what the engine keeps of
// plenty.
func newFloor(t require.TestingT, in *exchange.Instrument, cmd exchange.Command) *floor {
	f := &floor{in: in, engine: heldEngine(t, in)}
	f.id = f.enter(t, cmd)
	return f
}

func (f *floor) enter(t require.TestingT, cmd exchange.Command) exchange.OrderID {
	if cmd.Held == 0 {
		cmd.Held = plenty
	}
	events := f.engine.Apply(nil, &cmd)
	requireAccepted(t, events)
	return events[0].OrderID
}

// fill lets bob trade qty lots with alice's order.
func (f *floor) fill(t require.TestingT, qty exchange.Qty) {
	if qty == 0 {
		return
	}
	o, ok := f.order()
	require.True(t, ok)
	if o.Pending {
		return
	}
	c := exchange.LimitOrder(f.in.ID(), bob, o.Side.Opposite(), o.Price, qty)
	c.TimeInForce = exchange.IOC
	f.enter(t, c)
}

func (f *floor) order() (exchange.Order, bool) { return f.engine.Book(f.in.ID()).Order(f.id) }

// record is what the TradeStore says of alice's order. budget is what it came
// with.
func (f *floor) record(t require.TestingT, typ exchange.OrderType, budget exchange.Amount) pipeline.OrderRecord {
	o, ok := f.order()
	require.True(t, ok)
	status := pipeline.OrderOpen
	if o.Pending {
		status = pipeline.OrderPending
	}
	return pipeline.OrderRecord{CommandID: exchange.CommandID{1}, Instrument: f.in.ID(), OrderID: o.ID, Account: alice, Side: o.Side, Type: typ, Status: status,
		Price: o.Price, StopPrice: o.StopPrice, OrderQty: o.OrderQty, CumQty: o.CumQty, LeavesQty: o.LeavesQty, Funds: budget}
}

// missing returns what a change needs beyond what the order has; 0 for one that
// ends the order.
func (f *floor) missing(t require.TestingT, cmd *exchange.Command, rate exchange.FeeRate) exchange.Amount {
	o, ok := f.order()
	require.True(t, ok)
	terms := exchange.Terms{Side: o.Side, Price: cmd.Price, LeavesQty: cmd.Qty - o.CumQty, Funds: o.Funds, MakerFee: o.MakerFee, TakerFee: o.TakerFee, FeeRemainder: o.FeeRemainder}
	if cmd.Price == 0 {
		terms.Price = o.Price
	}
	if cmd.Qty == 0 {
		terms.LeavesQty = o.LeavesQty
	}
	if cmd.Kind == exchange.KindReplace {
		terms.FeeRemainder, terms.MakerFee, terms.TakerFee = 0, rate, rate
		if cmd.Qty != 0 {
			terms.LeavesQty = cmd.Qty
		}
	}
	need, ok := f.in.Need(&terms)
	require.True(t, ok)
	return max(0, need-o.Held)
}

// changeDesk is a riskDesk for one instrument with rich accounts.
func changeDesk(t require.TestingT, in *exchange.Instrument) *riskDesk {
	d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) { cfg.Instruments = []*exchange.Instrument{in} })
	d.deposit(t, alice, usd.ID, plenty)
	d.deposit(t, alice, btc.ID, plenty)
	return d
}

var changes uint64

// held returns a change as the RiskChecker sends it, given what is known of
// the order.
func (d *riskDesk) held(t require.TestingT, cmd exchange.Command, o pipeline.OrderRecord) exchange.Command {
	d.orders.orders = []pipeline.OrderRecord{o}
	changes++
	cmd.ID, cmd.Time = pipeline.CommandIDOf(alice, 1, cmd.Kind, fmt.Sprint(changes)), start
	require.NoError(t, d.risk.Handle(context.Background(), pipeline.Message{Command: cmd}))
	sent := d.sent.take(t)
	require.Len(t, sent, 1)
	h, err := d.balances.HoldByID(context.Background(), alice, cmd.ID)
	require.NoError(t, err)
	require.Equal(t, sent[0].Command.Held, h.Amount)
	require.False(t, h.NewOrder, "the order it changes is counted already")
	want := cmd
	want.Held = h.Amount
	require.Equal(t, want, sent[0].Command)
	return sent[0].Command
}

// feesOf is btcUSD with other fees; an atom of notional is a tick of a lot, so
// that fees of a few atoms are rounded all the time.
func feesOf(maker, taker string) *exchange.Instrument {
	return newInstrument(1, "BTC-USD", btc, func(s *exchange.InstrumentSpec) {
		s.MakerFee, s.TakerFee = decimal.RequireFromString(maker), decimal.RequireFromString(taker)
	})
}

// Every small change of every small buy, with every number of fills before the
// look at the order and between the look and the change: the hold is always
// enough, and at the worst number of fills hardly more than enough.
func TestFurtherHoldIsEnoughAndLittleMore(t *testing.T) {
	in := feesOf("0.0013", "0.0027")
	const rate = 2700
	d := changeDesk(t, in)
	prices := []exchange.Price{0, 1, 299, 300, 301, 777}
	cases := 0
	for qty := exchange.Qty(1); qty <= 4; qty++ {
		for seen := exchange.Qty(0); seen < qty; seen++ {
			for _, price := range prices {
				for total := exchange.Qty(0); total <= 6; total++ {
					for _, kind := range []exchange.CommandKind{exchange.KindAmend, exchange.KindReplace} {
						if kind == exchange.KindAmend && price == 0 && total == 0 {
							continue
						}
						cmd := exchange.Command{Kind: kind, Instrument: 1, Account: alice, OrderID: 1, Price: price, Qty: total}
						worst := exchange.Amount(0)
						var sent exchange.Command
						for then := seen; then < qty; then++ {
							what := fmt.Sprintf("%s of %d@300 to %d@%d, %d filled, seen when %d were", kind, qty, total, price, then, seen)
							f := newFloor(t, in, exchange.LimitOrder(1, alice, exchange.Buy, 300, qty))
							for range seen {
								f.fill(t, 1)
							}
							if then == seen {
								sent = d.held(t, cmd, f.record(t, exchange.Limit, 0))
							}
							f.fill(t, then-seen)
							if o, _ := f.order(); kind == exchange.KindReplace || total == 0 || total > o.CumQty {
								worst = max(worst, f.missing(t, &cmd, rate))
							}
							requireAccepted(t, f.engine.Apply(nil, &sent))
							require.GreaterOrEqual(t, sent.Held, worst, what)
							cases++
						}
						// Fees, rounded up.
						require.LessOrEqual(t, sent.Held, worst+2, "%s of %d@300 to %d@%d, %d seen", kind, qty, total, price, seen)
					}
				}
			}
		}
	}
	assert.Greater(t, cases, 1000)
}

// Random orders of every kind that can rest or wait, filled at random as taker
// and maker, changed at random: the engine never refuses for want of funds.
func TestFurtherHoldCoversFillsOnTheWay(t *testing.T) {
	checked := 0
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			checked += furtherHold(t)
		}
	})
	assert.Greater(t, checked, 500, "few changes came to a check of funds: the test tests little")
}

func furtherHold(t *rapid.T) (checked int) {
	fees := rapid.SampledFrom([][2]string{{"0", "0"}, {"0.001", "0.002"}, {"-0.0007", "0.0031"}, {"0.0499", "0.0013"}, {"-0.01", "-0.002"}, {"0.9", "0.3"}}).Draw(t, "fees")
	in := feesOf(fees[0], fees[1])
	price := func(name string) exchange.Price { return exchange.Price(rapid.IntRange(1, 900).Draw(t, name)) }
	lots := func(name string, least, most exchange.Qty) exchange.Qty {
		return exchange.Qty(rapid.IntRange(int(least), int(most)).Draw(t, name))
	}
	side := rapid.SampledFrom([]exchange.Side{exchange.Buy, exchange.Buy, exchange.Sell}).Draw(t, "side")
	px, qty := price("price"), lots("qty", 1, 40)

	// The order, and what it trades with as it enters.
	typ := rapid.SampledFrom([]exchange.OrderType{exchange.Limit, exchange.Limit, exchange.Limit, exchange.MarketToLimit, exchange.StopLimit, exchange.Stop, exchange.TakeProfit}).Draw(t, "type")
	e := &floor{in: in, engine: heldEngine(t, in)}
	if n := lots("there", 0, qty-1); n > 0 || typ == exchange.MarketToLimit {
		e.enter(t, exchange.LimitOrder(1, bob, side.Opposite(), px, max(n, 1)))
	}
	cmd := exchange.LimitOrder(1, alice, side, px, qty)
	budget := exchange.Amount(0)
	switch cmd.Type = typ; typ {
	case exchange.MarketToLimit:
		if side == exchange.Buy && rapid.Bool().Draw(t, "by budget") {
			// Enough for all of it, so that it rests.
			budget, cmd.Price = 2*exchange.Amount(px)*exchange.Amount(qty)+2, 0
		}
	case exchange.Stop, exchange.StopLimit, exchange.TakeProfit:
		cmd.StopPrice = price("stop")
		if side == exchange.Buy && typ != exchange.StopLimit && rapid.Bool().Draw(t, "by budget") {
			budget, cmd.Price = exchange.Amount(lots("budget", 1, 20_000)), 0
		}
	case exchange.Limit:
		if rapid.IntRange(0, 3).Draw(t, "iceberg") == 0 {
			cmd.DisplayQty = lots("shown", 1, qty)
		} else {
			cmd.PostOnly = rapid.SampledFrom([]exchange.PostOnly{0, 0, exchange.PostOnlySlide}).Draw(t, "post-only")
		}
		if cmd.PostOnly != 0 && px < 2 {
			cmd.PostOnly = 0 // it cannot slide below 1
		}
	}
	cmd.Funds = budget
	e.id = e.enter(t, cmd)
	o, live := e.order()
	if !live {
		return 0 // filled on entry
	}
	for range rapid.IntRange(0, 3).Draw(t, "fills before") {
		if o, live = e.order(); live && o.LeavesQty > 1 {
			e.fill(t, lots("fill", 1, o.LeavesQty-1))
		}
	}
	seen := e.record(t, typ, budget)

	change := exchange.Command{Kind: rapid.SampledFrom([]exchange.CommandKind{exchange.KindAmend, exchange.KindReplace}).Draw(t, "kind"),
		Instrument: 1, Account: alice, OrderID: e.id}
	if rapid.Bool().Draw(t, "new price") {
		change.Price = price("to")
	}
	if rapid.Bool().Draw(t, "new qty") || change.Price == 0 && change.Kind == exchange.KindAmend {
		change.Qty = lots("total", 1, 60)
	}
	d := changeDesk(t, in)
	sent := d.held(t, change, seen)

	// What happens on the way.
	for range rapid.IntRange(0, 4).Draw(t, "fills on the way") {
		if o, live = e.order(); live {
			e.fill(t, lots("fill", 1, o.LeavesQty))
		}
	}
	if _, live = e.order(); live {
		checked = 1
	}
	reason, _ := exchange.Rejected(e.engine.Apply(nil, &sent))
	require.NotEqual(t, exchange.InsufficientFunds, reason, "%+v of %+v", sent, seen)

	return checked
}

// An account that cannot pay for the worst is held for with what is needed as
// things are, and the engine takes that when nothing was filled.
func TestReplaceWithoutMeansForTheWorst(t *testing.T) {
	in := feesOf("0.001", "0.002")
	for _, tc := range []struct {
		name  string
		side  exchange.Side
		price exchange.Price
		qty   exchange.Qty
		least exchange.Amount
	}{
		{"the same again", exchange.Buy, 1000, 60, 1}, // rounding, if the fee was rounded before
		{"cheaper", exchange.Buy, 999, 60, 0},
		{"dearer", exchange.Buy, 1001, 60, 60 + 1 + 1},
		{"more of it", exchange.Buy, 1000, 61, 1000 + 2 + 1},
		{"less of it", exchange.Buy, 1000, 59, 0},
		{"the same sell", exchange.Sell, 1000, 60, 0},
		{"more to sell", exchange.Sell, 900, 61, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFloor(t, in, exchange.LimitOrder(1, alice, tc.side, 1000, 60))
			for _, short := range []exchange.Amount{0, 1} {
				d := newRiskDesk(t, func(cfg *pipeline.RiskCheckerConfig) { cfg.Instruments = []*exchange.Instrument{in} })
				d.orders.orders = []pipeline.OrderRecord{f.record(t, exchange.Limit, 0)}
				asset := usd.ID
				if tc.side == exchange.Sell {
					asset = btc.ID
				}
				left := tc.least - short
				if left < 0 {
					continue
				}
				require.NoError(t, d.balances.Withdraw(context.Background(), pipeline.Transfer{ID: exchange.CommandID{8}, Account: alice, Asset: asset,
					Amount: d.balance(t, alice, asset).Available - left, Time: start}))
				cmd := exchange.Replace(1, alice, f.id, tc.price, tc.qty)
				cmd.ID, cmd.Time = exchange.CommandID{5}, start
				require.NoError(t, d.risk.Handle(context.Background(), pipeline.Message{Command: cmd}))
				sent := d.sent.take(t)[0].Command
				if short > 0 {
					assert.Equal(t, exchange.KindVoid, sent.Kind)
					assert.EqualValues(t, exchange.InsufficientFunds, sent.Value)
					continue
				}
				assert.Equal(t, tc.least, sent.Held)
				after := newFloor(t, in, exchange.LimitOrder(1, alice, tc.side, 1000, 60))
				requireAccepted(t, after.engine.Apply(nil, &sent))

				filled := newFloor(t, in, exchange.LimitOrder(1, alice, tc.side, 1000, 60))
				filled.fill(t, 30)
				reason, _ := exchange.Rejected(filled.engine.Apply(nil, &sent))
				assert.Equal(t, exchange.InsufficientFunds, reason, "half of the old hold is spent")
				_, live := filled.order()
				assert.True(t, live, "the old order stays")
			}
		})
	}
}

// What is not looked up or not found is held for with 0.
func TestChangesHeldForWithNothing(t *testing.T) {
	in := feesOf("0.001", "0.002")
	id := exchange.CommandID{1}
	seen := pipeline.OrderRecord{CommandID: id, OrderID: 1, Instrument: 1, Account: alice, Side: exchange.Buy, Type: exchange.Limit, Status: pipeline.OrderOpen,
		Price: 100, OrderQty: 10, LeavesQty: 10}
	amend := exchange.Amend(1, alice, 1, 200, 20)
	byKey := amend
	byKey.OrderID, byKey.OrigID = 0, id
	for _, tc := range []struct {
		name   string
		cmd    exchange.Command
		change func(*pipeline.OrderRecord)
		want   exchange.Amount
		asked  int
	}{
		{"as it should be", amend, nil, 3006, 1},
		{"by key", byKey, nil, 3006, 1},
		{"another order", exchange.Amend(1, alice, 2, 200, 20), nil, 0, 1},
		{"another's", amend, func(o *pipeline.OrderRecord) { o.Account = bob }, 0, 1},
		{"of another instrument", byKey, func(o *pipeline.OrderRecord) { o.Instrument = 2 }, 0, 1},
		{"filled", amend, func(o *pipeline.OrderRecord) { o.Status = pipeline.OrderFilled }, 0, 1},
		{"canceled", amend, func(o *pipeline.OrderRecord) { o.Status = pipeline.OrderCanceled }, 0, 1},
		{"waiting", amend, func(o *pipeline.OrderRecord) { o.Status, o.Type = pipeline.OrderPending, exchange.StopLimit }, 3006, 1},
		{"waiting with a budget", amend, func(o *pipeline.OrderRecord) { o.Status, o.Type, o.Funds = pipeline.OrderPending, exchange.Stop, 5000 }, 0, 1},
		{"resting after a budget", amend, func(o *pipeline.OrderRecord) { o.Type, o.Funds = exchange.MarketToLimit, 5000 }, 3006, 1},
		{"a trigger alone", func() exchange.Command { c := exchange.Amend(1, alice, 1, 0, 0); c.StopPrice = 7; return c }(), nil, 0, 0},
		{"to less than is filled", exchange.Amend(1, alice, 1, 200, 5), func(o *pipeline.OrderRecord) { o.CumQty, o.LeavesQty = 5, 5 }, 0, 1},
		{"to more than there can be", exchange.Amend(1, alice, 1, 200, exchange.MaxQty), nil, 0, 1},
		{"to a price there cannot be", exchange.Amend(1, alice, 1, exchange.MaxPrice, 10), nil, 0, 1},
		{"replace by more than there can be", exchange.Replace(1, alice, 1, 200, exchange.MaxQty), nil, 0, 1},
		{"replace at a price below 0", exchange.Replace(1, alice, 1, -5, 10), nil, 0, 1},
		{"amend to a quantity below 0", exchange.Amend(1, alice, 1, 0, -5), nil, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := changeDesk(t, in)
			o := seen
			if tc.change != nil {
				tc.change(&o)
			}
			assert.Equal(t, tc.want, d.held(t, tc.cmd, o).Held)
			assert.Equal(t, tc.asked, d.orders.asked)
		})
	}
}

// What a change brings more of counts for the limit on an asset, as with a new
// order.
func TestChangesGain(t *testing.T) {
	in := feesOf("0", "0")
	seen := pipeline.OrderRecord{OrderID: 1, Instrument: 1, Account: alice, Side: exchange.Buy, Type: exchange.Limit, Status: pipeline.OrderOpen,
		Price: 100, OrderQty: 10, CumQty: 4, LeavesQty: 6}
	for _, tc := range []struct {
		cmd  exchange.Command
		side exchange.Side
		want exchange.Amount
	}{
		{exchange.Amend(1, alice, 1, 0, 12), exchange.Buy, 2000},
		{exchange.Amend(1, alice, 1, 0, 9), exchange.Buy, 0},
		{exchange.Amend(1, alice, 1, 200, 0), exchange.Buy, 0},
		{exchange.Replace(1, alice, 1, 0, 9), exchange.Buy, 3000},
		{exchange.Replace(1, alice, 1, 0, 0), exchange.Buy, 0},
		{exchange.Amend(1, alice, 1, 0, 12), exchange.Sell, 0},
	} {
		d := changeDesk(t, in)
		o := seen
		o.Side = tc.side
		cmd := d.held(t, tc.cmd, o)
		h, err := d.balances.HoldByID(context.Background(), alice, cmd.ID)
		require.NoError(t, err)
		assert.Equal(t, tc.want, h.Gain, "%+v", tc.cmd)
		if tc.side == exchange.Buy {
			assert.Equal(t, usd.ID, h.Asset)
			assert.Equal(t, btc.ID, h.GainAsset)
		} else {
			assert.Equal(t, btc.ID, h.Asset)
		}
	}
}
