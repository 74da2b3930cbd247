package progress

import (
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func instrument(t *testing.T, id exchange.InstrumentID) *exchange.Instrument {
	t.Helper()
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: id, Symbol: "BTC-USD", Base: exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6}, Tick: decimal.New(1, -2), Lot: decimal.New(1, -4)})
	require.NoError(t, err)
	return in
}

// venue applies commands, each an entry of its own, with ids 1, 2, 3 ...
type venue struct {
	engine *exchange.Engine
	n      byte
}

func newVenue(t *testing.T) *venue {
	t.Helper()
	e, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsNone, Instruments: []*exchange.Instrument{instrument(t, 1)}})
	require.NoError(t, err)
	return &venue{engine: e}
}

func (v *venue) apply(c exchange.Command) pipeline.Entry {
	v.n++
	c.ID, c.Time = exchange.CommandID{v.n}, exchange.Time(v.n)
	return pipeline.Entry{Message: pipeline.Message{Command: c}, Events: v.engine.Apply(nil, &c)}
}

func TestOutcomeOf(t *testing.T) {
	const inst, alice, bob = 1, 1, 2
	with := func(c exchange.Command, change func(*exchange.Command)) exchange.Command {
		change(&c)
		return c
	}
	for _, tc := range []struct {
		name   string
		before []exchange.Command
		cmd    exchange.Command
		want   Outcome
	}{
		{"rests", nil, exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5), Outcome{OrderID: 1, Status: Open}},
		{"waits", nil, exchange.StopOrder(inst, alice, exchange.Buy, 100, 5), Outcome{OrderID: 1, Status: Pending}},
		{"waits for a limit", nil, exchange.TakeProfitLimitOrder(inst, alice, exchange.Buy, 100, 100, 5), Outcome{OrderID: 1, Status: Pending}},
		{"refused", nil, exchange.LimitOrder(inst, alice, exchange.Buy, 100, 0), Outcome{Status: Rejected, Reason: exchange.QtyBelowMin}},
		{"filled", []exchange.Command{exchange.LimitOrder(inst, bob, exchange.Sell, 100, 5)},
			exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5), Outcome{OrderID: 2, Status: Filled}},
		{"filled in part", []exchange.Command{exchange.LimitOrder(inst, bob, exchange.Sell, 100, 5)},
			exchange.LimitOrder(inst, alice, exchange.Buy, 100, 6), Outcome{OrderID: 2, Status: Open}},
		{"nothing to take", nil, exchange.MarketOrder(inst, alice, exchange.Buy, 5), Outcome{OrderID: 1, Status: Canceled, Reason: exchange.ImmediateRemainder}},
		{"remainder", []exchange.Command{exchange.LimitOrder(inst, bob, exchange.Sell, 100, 5)},
			exchange.MarketOrder(inst, alice, exchange.Buy, 6), Outcome{OrderID: 2, Status: Canceled, Reason: exchange.ImmediateRemainder}},
		{"by funds", []exchange.Command{exchange.LimitOrder(inst, bob, exchange.Sell, 100, 5)},
			exchange.MarketOrderByFunds(inst, alice, 100), Outcome{OrderID: 2, Status: Canceled, Reason: exchange.FundsExhausted}},
		{"triggered at once", []exchange.Command{exchange.LimitOrder(inst, bob, exchange.Sell, 100, 1), exchange.LimitOrder(inst, alice, exchange.Buy, 100, 1)},
			exchange.StopLimitOrder(inst, alice, exchange.Buy, 100, 100, 5), Outcome{OrderID: 3, Status: Open}},
		{"filled as a maker, by the stop it triggered", []exchange.Command{
			exchange.LimitOrder(inst, bob, exchange.Sell, 100, 1), exchange.StopOrder(inst, bob, exchange.Sell, 100, 2)},
			exchange.LimitOrder(inst, alice, exchange.Buy, 100, 3), Outcome{OrderID: 3, Status: Filled}},
		{"canceled by itself", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Sell, 100, 1)},
			with(exchange.LimitOrder(inst, alice, exchange.Buy, 100, 3), func(c *exchange.Command) { c.SelfTrade = exchange.CancelNewest }),
			Outcome{OrderID: 2, Status: Canceled, Reason: exchange.BySelfTrade}},
		{"cancel", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5)},
			exchange.Cancel(inst, alice, 1), Outcome{OrderID: 1, Status: Canceled, Reason: exchange.ByRequest}},
		{"cancel of another's", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5)},
			exchange.Cancel(inst, bob, 1), Outcome{OrderID: 1, Status: Rejected, Reason: exchange.UnknownOrder}},
		{"cancel while another expires", []exchange.Command{
			with(exchange.LimitOrder(inst, alice, exchange.Buy, 99, 5), func(c *exchange.Command) { c.TimeInForce, c.Expire = exchange.GTD, 3 }),
			exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5)},
			exchange.Cancel(inst, alice, 2), Outcome{OrderID: 2, Status: Canceled, Reason: exchange.ByRequest}},
		{"amend", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5)},
			exchange.Amend(inst, alice, 1, 0, 4), Outcome{OrderID: 1, Status: Amended}},
		{"amend that trades", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5), exchange.LimitOrder(inst, bob, exchange.Sell, 101, 5)},
			exchange.Amend(inst, alice, 1, 101, 5), Outcome{OrderID: 1, Status: Amended}},
		{"amend to nothing", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5), exchange.LimitOrder(inst, bob, exchange.Sell, 100, 3)},
			exchange.Amend(inst, alice, 1, 0, 2), Outcome{OrderID: 1, Status: Canceled, Reason: exchange.ByAmend}},
		{"reduce", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5)},
			exchange.Reduce(inst, alice, 1, 4), Outcome{OrderID: 1, Status: Amended}},
		{"replace", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5)},
			exchange.Replace(inst, alice, 1, 101, 5), Outcome{OrderID: 2, Status: Open}},
		{"cancel all", []exchange.Command{exchange.LimitOrder(inst, alice, exchange.Buy, 100, 5), exchange.LimitOrder(inst, alice, exchange.Buy, 99, 5)},
			exchange.MassCancel(inst, alice), Outcome{Status: Canceled, Orders: 2}},
		{"cancel nothing", nil, exchange.MassCancel(inst, alice), Outcome{Status: Canceled}},
		{"void", nil, with(exchange.Void(inst, alice, exchange.CommandID{}), func(c *exchange.Command) { c.Value = int64(exchange.InsufficientFunds) }),
			Outcome{Status: Rejected, Reason: exchange.InsufficientFunds}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVenue(t)
			for _, c := range tc.before {
				v.apply(c)
			}
			e := v.apply(tc.cmd)
			got := outcomeOf(&e, 9)
			assert.True(t, got.Same(&e.Command))
			tc.want.Command, tc.want.Instrument, tc.want.Position, tc.want.Time, tc.want.contents = e.Command.ID, 1, 9, e.Command.Time, got.contents
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestSame(t *testing.T) {
	v := newVenue(t)
	first := exchange.LimitOrder(1, 1, exchange.Buy, 100, 5)
	market := exchange.MarketOrder(1, 1, exchange.Buy, 5)
	cancel := exchange.Cancel(1, 1, 7)
	for _, tc := range []struct {
		name   string
		sent   exchange.Command
		change func(*exchange.Command)
		same   bool
	}{
		{"nothing", first, func(*exchange.Command) {}, true},
		{"time", first, func(c *exchange.Command) { c.Time = 99 }, true},
		{"held", first, func(c *exchange.Command) { c.Held = 99 }, true},
		{"refused before the engine", first, func(c *exchange.Command) { c.Kind, c.Value = exchange.KindVoid, 37 }, true},
		{"price", first, func(c *exchange.Command) { c.Price = 99 }, false},
		{"size", first, func(c *exchange.Command) { c.Qty = 99 }, false},
		{"side", first, func(c *exchange.Command) { c.Side = exchange.Sell }, false},
		{"time in force", first, func(c *exchange.Command) { c.TimeInForce = exchange.IOC }, false},
		{"type", first, func(c *exchange.Command) { c.Type = exchange.Market }, false},
		{"worst price", market, func(c *exchange.Command) { c.Price = 99 }, true},
		{"size of a market order", market, func(c *exchange.Command) { c.Qty = 99 }, false},
		{"another order", cancel, func(c *exchange.Command) { c.OrderID = 8 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := v.apply(tc.sent)
			changed := e.Command
			tc.change(&changed)
			o := outcomeOf(&e, 1)
			assert.Equal(t, tc.same, o.Same(&changed))
			o = outcomeOf(&pipeline.Entry{Message: pipeline.Message{Command: changed}, Events: e.Events}, 1)
			assert.Equal(t, tc.same, o.Same(&e.Command), "the other way round")
		})
	}
	abandoned := v.apply(exchange.Void(1, 1, exchange.CommandID{}))
	o := outcomeOf(&abandoned, 1)
	assert.True(t, o.Same(&first), "nobody knows what it was")
}
