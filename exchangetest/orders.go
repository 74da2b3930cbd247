package exchangetest

import (
	"fmt"
	"math"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
)

// Accounts is how many accounts the generators draw: 1 to Accounts.
const Accounts = 4

// farAway is when GTD orders of Orders expire, in the year 2200; a stream has
// some that expire on the way.
const farAway exchange.Time = 7_258_118_400_000_000_000

// oneIn draws true once in n times; rapid makes it smaller to false.
func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(0, n-1).Draw(t, label) == n-1 }

func oneOf[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

// Instruments draws valid instruments: coarse and fine grids, with and without
// limits of price and quantity, with fees, rebates and neither. The id is 1 to
// exchange.MaxID, the symbol says it. Assets of different scales differ, so
// that any instruments of different ids fit one engine.
func Instruments() *rapid.Generator[*exchange.Instrument] {
	return rapid.Custom(func(t *rapid.T) *exchange.Instrument {
		base, quote := rapid.Int32Range(0, 6).Draw(t, "base scale"), rapid.Int32Range(0, 6).Draw(t, "quote scale")
		lotScale := rapid.Int32Range(0, min(base, quote)).Draw(t, "lot scale")
		tickScale := rapid.Int32Range(0, quote-lotScale).Draw(t, "tick scale")
		id := exchange.InstrumentID(rapid.IntRange(1, exchange.MaxID).Draw(t, "id"))
		spec := exchange.InstrumentSpec{
			ID: id, Symbol: fmt.Sprintf("B%d-Q", id), Base: asset(1, "B", base), Quote: asset(11, "Q", quote),
			Lot: decimal.New(oneOf(t, "lot", int64(1), 2, 5), -lotScale), Tick: decimal.New(oneOf(t, "tick", int64(1), 2, 5, 25), -tickScale),
			MakerFee: decimal.New(oneOf(t, "maker fee", int64(0), 1000, -300), -6), TakerFee: decimal.New(oneOf(t, "taker fee", int64(0), 2000, 333), -6),
		}
		times := func(step decimal.Decimal, n int64) decimal.Decimal { return step.Mul(decimal.NewFromInt(n)) }
		if rapid.Bool().Draw(t, "price limits") {
			spec.MinPrice, spec.MaxPrice = times(spec.Tick, rapid.Int64Range(1, 500).Draw(t, "min price")), times(spec.Tick, rapid.Int64Range(500, 10_000).Draw(t, "max price"))
		}
		if rapid.Bool().Draw(t, "quantity limits") {
			spec.MinQty, spec.MaxQty = times(spec.Lot, rapid.Int64Range(1, 20).Draw(t, "min qty")), times(spec.Lot, rapid.Int64Range(20, 10_000).Draw(t, "max qty"))
		}
		in, err := exchange.NewInstrument(spec)
		if err != nil {
			t.Fatalf("an instrument that should be valid: %v", err)
		}
		return in
	})
}

func asset(id exchange.AssetID, code string, scale int32) exchange.Asset {
	return exchange.Asset{ID: id + exchange.AssetID(scale), Code: fmt.Sprint(code, scale), Scale: scale}
}

// grid is what an order of an instrument keeps to, and the price around which
// generators draw, so that orders meet.
type grid struct {
	in               *exchange.Instrument
	minPrice, middle exchange.Price
	maxPrice         exchange.Price
	minQty, maxQty   exchange.Qty
}

func gridOf(in *exchange.Instrument) grid {
	spec := in.Spec()
	g := grid{in: in, minPrice: 1, maxPrice: 100_000, minQty: 1, maxQty: 1000}
	if p, err := in.Price(spec.MinPrice); err == nil && p > 0 {
		g.minPrice, g.maxPrice = p, p+100_000
	}
	if p, err := in.Price(spec.MaxPrice); err == nil && p > 0 {
		g.maxPrice = p
	}
	if q, err := in.Qty(spec.MinQty); err == nil && q > 0 {
		g.minQty, g.maxQty = q, q+1000
	}
	if q, err := in.Qty(spec.MaxQty); err == nil && q > 0 {
		g.maxQty = q
	}
	g.middle = min(g.minPrice+1000, g.minPrice+(g.maxPrice-g.minPrice)/2)
	return g
}

// price draws one near the middle, seldom one at an edge.
func (g *grid) price(t *rapid.T, label string) exchange.Price {
	switch {
	case oneIn(t, 40, label+" at an edge"):
		return oneOf(t, label, g.minPrice, g.maxPrice)
	default:
		p := g.middle + exchange.Price(rapid.IntRange(-12, 12).Draw(t, label))
		return min(max(p, g.minPrice), g.maxPrice)
	}
}

// qty draws one such that an order at this price has a notional that the
// instrument allows, where there is one.
func (g *grid) qty(t *rapid.T, at exchange.Price) exchange.Qty {
	low, high := g.minQty, min(g.maxQty, g.minQty+99)
	spec := g.in.Spec()
	if unit, ok := g.in.Notional(at, 1); ok && unit > 0 {
		if n, err := g.in.Quote().Amount(spec.MinNotional); err == nil {
			low = min(max(low, exchange.Qty((n+unit-1)/unit)), g.maxQty)
			high = min(max(high, low), g.maxQty)
		}
		if n, err := g.in.Quote().Amount(spec.MaxNotional); err == nil && n > 0 {
			high = max(low, min(high, exchange.Qty(n/unit)))
		}
	}
	if oneIn(t, 30, "qty at an edge") {
		return oneOf(t, "qty", low, high)
	}
	return exchange.Qty(rapid.Int64Range(int64(low), int64(high)).Draw(t, "qty"))
}

// Orders draws new orders of an instrument with everything an order may have,
// in the combinations that docs/rules/orders.md allows: in an empty book, with
// no funds checked, none is rejected. ID and Time are left zero, the accounts
// are 1 to Accounts. Prices lie close together, so that orders trade.
func Orders(in *exchange.Instrument) *rapid.Generator[exchange.Command] {
	g := gridOf(in)
	return rapid.Custom(func(t *rapid.T) exchange.Command { return g.order(t, 0) })
}

// order draws a new order; a GTD one expires after now, 0: far away.
func (g *grid) order(t *rapid.T, now exchange.Time) exchange.Command {
	c := exchange.Command{Kind: exchange.KindNewOrder, Instrument: g.in.ID(), Account: account(t), Side: oneOf(t, "side", exchange.Buy, exchange.Sell),
		Type:      oneOf(t, "type", exchange.Limit, exchange.Limit, exchange.Limit, exchange.Limit, exchange.Market, exchange.MarketToLimit, exchange.Stop, exchange.StopLimit, exchange.TakeProfit, exchange.TakeProfitLimit),
		SelfTrade: oneOf(t, "self-trade prevention", 0, exchange.CancelNewest, exchange.CancelOldest, exchange.CancelBoth, exchange.Decrement), Group: oneOf(t, "group", uint32(0), 0, 0, 1)}
	if c.TimeInForce = oneOf(t, "time in force", exchange.GTC, exchange.GTC, exchange.Day, exchange.GTD, exchange.IOC, exchange.FOK); c.TimeInForce == exchange.GTD {
		if c.Expire = farAway; now != 0 {
			c.Expire = now + 1 + exchange.Time(rapid.IntRange(0, 20*second).Draw(t, "expires after"))
		}
	}
	limited := c.Type == exchange.Limit || c.Type == exchange.StopLimit || c.Type == exchange.TakeProfitLimit
	immediate := c.TimeInForce == exchange.IOC || c.TimeInForce == exchange.FOK
	if limited || oneIn(t, 2, "with a worst price") {
		c.Price = g.price(t, "price")
	}
	at := c.Price
	if c.Type >= exchange.Stop {
		c.StopPrice = g.price(t, "stop price")
	} else if !limited && oneIn(t, 4, "price as distance") {
		c.Price, c.PriceIsDistance = exchange.Price(rapid.IntRange(0, 20).Draw(t, "distance")), true
	}
	c.Qty = g.qty(t, max(at, g.middle))
	if !limited && c.Side == exchange.Buy && oneIn(t, 3, "with a budget") {
		if n, ok := g.in.Notional(max(at, g.middle), c.Qty); ok {
			c.Funds = n
		}
		if c.Funds > 0 && c.Type == exchange.Market && c.TimeInForce != exchange.FOK && rapid.Bool().Draw(t, "by funds alone") {
			c.Qty = 0
		}
	}
	if limited && !immediate {
		c.PostOnly = oneOf(t, "post-only", 0, 0, 0, exchange.PostOnlyReject, exchange.PostOnlySlide)
		switch c.Hidden = oneIn(t, 6, "hidden"); {
		case !c.Hidden && oneIn(t, 5, "iceberg"):
			least := (c.Qty-1)/exchange.MaxIcebergParts + 1
			c.DisplayQty = exchange.Qty(rapid.Int64Range(int64(least), int64(c.Qty)).Draw(t, "display"))
		}
	}
	if c.PostOnly == 0 && c.Qty > 0 && oneIn(t, 6, "with a least quantity") {
		c.MinQty = exchange.Qty(rapid.Int64Range(1, int64(c.Qty)).Draw(t, "least"))
	}
	return c
}

func account(t *rapid.T) exchange.AccountID {
	return exchange.AccountID(rapid.IntRange(1, Accounts).Draw(t, "account"))
}

const second = 1_000_000_000

// HostileCommands draws commands that nobody should send: kinds that there are
// not, enums without a name, numbers at the ends of 64 bits, instruments and
// accounts out of thin air, with now and then a field that is right. An engine
// answers each with an event, and stays as it was.
func HostileCommands(insts ...*exchange.Instrument) *rapid.Generator[exchange.Command] {
	ids := []exchange.InstrumentID{0, 1, exchange.MaxID, exchange.MaxID + 1, math.MaxUint32}
	for _, in := range insts {
		ids = append(ids, in.ID(), in.ID(), in.ID())
	}
	return rapid.Custom(func(t *rapid.T) exchange.Command { return hostile(t, ids) })
}

func hostile(t *rapid.T, ids []exchange.InstrumentID) exchange.Command {
	n := func(label string) int64 {
		if rapid.Bool().Draw(t, label+" of any size") {
			return rapid.Int64().Draw(t, label)
		}
		return oneOf(t, label, int64(0), 0, 0, 1, 1, 10, 1000, -1, 1<<60, 1<<60+1, 1<<62, 1<<62+1, math.MaxInt64, math.MinInt64, math.MinInt64+1)
	}
	small := func(label string) uint8 {
		if oneIn(t, 6, label+" of any size") {
			return rapid.Uint8().Draw(t, label)
		}
		return uint8(rapid.IntRange(0, 5).Draw(t, label))
	}
	c := exchange.Command{
		Kind: exchange.CommandKind(rapid.IntRange(0, 22).Draw(t, "kind")), Side: exchange.Side(small("side")), Type: exchange.OrderType(small("type")),
		TimeInForce: exchange.TimeInForce(small("time in force")), SelfTrade: exchange.SelfTradePrevention(small("self-trade prevention")), PostOnly: exchange.PostOnly(small("post-only")),
		Hidden: rapid.Bool().Draw(t, "hidden"), PriceIsDistance: rapid.Bool().Draw(t, "price as distance"),
		Limit: exchange.LimitKind(rapid.IntRange(0, 12).Draw(t, "limit")), AccountState: exchange.AccountState(small("account state")), InstrumentState: exchange.InstrumentState(small("instrument state")),
		Instrument: oneOf(t, "instrument", ids...), Asset: exchange.AssetID(n("asset")), Group: uint32(n("group")), Account: exchange.AccountID(n("account")),
		Time: exchange.Time(n("time")), OrderID: exchange.OrderID(n("order")), Price: exchange.Price(n("price")), StopPrice: exchange.Price(n("stop price")),
		Qty: exchange.Qty(n("qty")), DisplayQty: exchange.Qty(n("display")), MinQty: exchange.Qty(n("least")), Funds: exchange.Amount(n("funds")), Held: exchange.Amount(n("held")),
		Expire: exchange.Time(n("expire")), Value: n("value"), MakerFee: exchange.FeeRate(n("maker fee")), TakerFee: exchange.FeeRate(n("taker fee")),
	}
	if c.Kind == 21 || c.Kind == 22 {
		c.Kind = exchange.CommandKind(rapid.Uint8().Draw(t, "any kind"))
	}
	for _, id := range []*exchange.CommandID{&c.ID, &c.OrigID} {
		if rapid.Bool().Draw(t, "with an id") {
			*id = IDOf(rapid.IntRange(0, 20).Draw(t, "id"))
		}
	}
	return c
}
