package exchange_test

import (
	"encoding/binary"

	"github.com/castlecloud/exchange"
)

// picker chooses a number in [0, n): rapid, which shrinks, or a seeded
// generator, which is fast.
type picker func(n int) int

// generator draws hostile command streams: mostly sensible orders close to
// each other, with every field at and beyond its edges now and then.
type generator struct {
	pick   picker
	mode   exchange.Funds
	alone  bool // for a Matcher
	now    exchange.Time
	orders map[exchange.InstrumentID]int // how many ids may exist
	sent   []exchange.Command
	// book, when set, is of the engine that gets the commands, so that changes
	// find an order to change.
	book func(id exchange.InstrumentID) *exchange.Book
	undo []exchange.Command // what lets refused orders in again
}

func newGenerator(p picker, mode exchange.Funds, alone bool) *generator {
	return &generator{pick: p, mode: mode, alone: alone, now: 1000, orders: map[exchange.InstrumentID]int{}}
}

func (g *generator) one(of int) bool { return g.pick(of) == 0 }

func (g *generator) instrument() exchange.InstrumentID {
	if g.alone {
		return 1
	}
	return exchange.InstrumentID([]int{1, 1, 1, 1, 1, 3, 3, 3}[g.pick(8)])
}

func (g *generator) account() exchange.AccountID { return exchange.AccountID(1 + g.pick(4)) }

func (g *generator) price() exchange.Price { return exchange.Price(95 + g.pick(11)) }

func (g *generator) id() (id exchange.CommandID) {
	binary.LittleEndian.PutUint64(id[:], uint64(1+g.pick(400)))
	return id
}

// next draws a command.
func (g *generator) next() exchange.Command {
	if len(g.sent) > 0 && g.one(60) {
		return g.sent[g.pick(len(g.sent))] // again, to the letter
	}
	c := g.command()
	if !g.one(3) {
		c.ID = g.id()
	}
	switch g.pick(12) {
	case 0:
		c.Time = 0
	case 1:
		c.Time = g.now - exchange.Time(g.pick(150))
	default:
		if g.one(2) {
			g.now += exchange.Time(g.pick(12))
		}
		c.Time = g.now
	}
	if g.one(40) {
		g.spoil(&c)
	}
	g.sent = append(g.sent, c)
	return c
}

func (g *generator) command() exchange.Command {
	if n := len(g.undo); n > 0 && g.one(12) {
		c := g.undo[n-1]
		g.undo = g.undo[:n-1]
		return c
	}
	switch n := g.pick(100); {
	case n < 58:
		return g.order()
	case n < 84:
		return g.change()
	default:
		return g.admin()
	}
}

func (g *generator) order() exchange.Command {
	inst, acct := g.instrument(), g.account()
	side := exchange.Side(1 + g.pick(2))
	qty := exchange.Qty(1 + g.pick(20))
	px, stop := g.price(), g.price()
	g.orders[inst]++
	var c exchange.Command
	switch n := g.pick(20); {
	case n < 11:
		c = exchange.LimitOrder(inst, acct, side, px, qty)
	case n < 13:
		c = exchange.MarketOrder(inst, acct, side, qty)
	case n < 14:
		c = exchange.MarketOrderByFunds(inst, acct, exchange.Amount(1+g.pick(60_000)))
	case n < 15:
		c = exchange.MarketToLimitOrder(inst, acct, side, qty)
	case n < 16:
		c = exchange.StopOrder(inst, acct, side, stop, qty)
	case n < 18:
		c = exchange.StopLimitOrder(inst, acct, side, stop, px, qty)
	case n < 19:
		c = exchange.TakeProfitOrder(inst, acct, side, stop, qty)
	default:
		c = exchange.TakeProfitLimitOrder(inst, acct, side, stop, px, qty)
	}
	g.decorate(&c)
	if g.mode == exchange.FundsHeld {
		c.Held = exchange.Amount(g.pick(60_000))
	}
	return c
}

func (g *generator) decorate(c *exchange.Command) {
	limited := hasLimit(c.Type)
	if !limited && g.one(2) {
		c.Price = g.price()
		if g.one(3) && (c.Type == exchange.Market || c.Type == exchange.MarketToLimit) {
			c.PriceIsDistance, c.Price = true, exchange.Price(g.pick(5))
		}
	}
	if !limited && c.Side == exchange.Buy && c.Funds == 0 && g.one(3) {
		c.Funds = exchange.Amount(1 + g.pick(60_000))
	}
	switch g.pick(12) {
	case 0, 1:
		c.TimeInForce = exchange.IOC
	case 2:
		c.TimeInForce = exchange.FOK
	case 3:
		c.TimeInForce = exchange.Day
	case 4, 5:
		c.TimeInForce, c.Expire = exchange.GTD, g.now+exchange.Time(1+g.pick(60))
	}
	if c.TimeInForce == exchange.IOC || c.TimeInForce == exchange.FOK {
		limited = limited && g.one(12) // those below want an order that may rest
	}
	if g.one(2) {
		c.SelfTrade = exchange.SelfTradePrevention(g.pick(5))
	}
	if g.one(4) {
		c.Group = uint32(g.pick(3))
	}
	if g.one(8) {
		c.MinQty = exchange.Qty(1 + g.pick(int(max(c.Qty, 1))))
	}
	if limited && g.one(3) {
		c.DisplayQty = exchange.Qty(1 + g.pick(int(c.Qty)))
	}
	if limited && g.one(100) {
		c.Qty, c.DisplayQty = exchange.Qty(999+g.pick(4)), 1
	}
	if limited && g.one(8) {
		c.Hidden = true
	}
	if limited && g.one(6) {
		c.PostOnly = exchange.PostOnly(1 + g.pick(2))
	}
}

func hasLimit(t exchange.OrderType) bool {
	return t == exchange.Limit || t == exchange.StopLimit || t == exchange.TakeProfitLimit
}

func (g *generator) change() exchange.Command {
	inst, acct := g.instrument(), g.account()
	id := exchange.OrderID(1 + g.pick(g.orders[inst]+1))
	if !g.one(4) { // a recent one
		id = exchange.OrderID(max(1, g.orders[inst]-g.pick(12)))
	}
	px, qty := exchange.Price(0), exchange.Qty(0)
	if g.one(2) {
		px = g.price()
	}
	if !g.one(3) {
		qty = exchange.Qty(g.pick(25))
	}
	if g.book != nil && !g.one(5) {
		if live := liveOrders(g.book(inst)); len(live) > 0 {
			o := live[g.pick(len(live))]
			id, acct = o.ID, o.Account
			if qty > 0 && g.one(2) { // close to what it has
				qty = max(0, o.OrderQty+exchange.Qty(g.pick(7)-4))
			}
		}
	}
	var c exchange.Command
	switch n := g.pick(20); {
	case n < 6:
		c = exchange.Cancel(inst, acct, id)
	case n < 9:
		c = exchange.Reduce(inst, acct, id, qty)
	case n < 16:
		c = exchange.Amend(inst, acct, id, px, qty)
	default:
		c = exchange.Replace(inst, acct, id, px, qty)
		g.orders[inst]++
	}
	if g.one(6) {
		c.OrderID, c.OrigID = 0, g.id()
		if g.book != nil {
			if o, ok := g.book(inst).Order(id); ok {
				c.OrigID = o.CommandID
			}
		}
	}
	if (c.Kind == exchange.KindAmend || c.Kind == exchange.KindReplace) && g.one(4) {
		c.StopPrice = g.price()
	}
	if g.mode == exchange.FundsHeld && g.one(2) {
		c.Held = exchange.Amount(g.pick(60_000))
	}
	return c
}

func (g *generator) admin() exchange.Command {
	inst, acct := g.instrument(), g.account()
	if !g.alone && g.one(3) {
		inst = 0
	}
	if g.one(3) {
		acct = 0
	}
	switch g.pick(20) {
	case 0:
		c := exchange.MassCancel(inst, acct)
		c.Side = exchange.Side(g.pick(3))
		return c
	case 1:
		if !g.one(4) {
			return exchange.LiftKill(inst, acct)
		}
		g.undo = append(g.undo, exchange.LiftKill(inst, acct))
		return exchange.Kill(inst, acct)
	case 2, 3:
		return exchange.LiftKill(inst, acct)
	case 4:
		return exchange.AdvanceTime(inst, g.now)
	case 5:
		return exchange.EndDay(inst)
	case 6:
		return exchange.SetReferencePrice(g.instrument(), exchange.Price(g.pick(4)*34))
	case 7:
		return exchange.SetLastPrice(g.instrument(), g.price())
	case 8, 9, 10, 11, 12:
		asset := []exchange.AssetID{1, 2, 5}[g.pick(3)]
		n := exchange.Amount(1 + g.pick(100_000))
		if g.one(40) {
			n = []exchange.Amount{1 << 61, 1 << 62, 1<<63 - 1}[g.pick(3)]
		}
		if g.one(4) {
			return exchange.Withdraw(acct, asset, n)
		}
		return exchange.Deposit(acct, asset, n)
	case 13, 14:
		return g.limit(inst, acct)
	case 15:
		if g.one(10) {
			return exchange.SetFees(g.instrument(), exchange.FeeRateUnit*exchange.FeeRate(g.pick(3)-1), exchange.FeeRateUnit*exchange.FeeRate(g.pick(3)-1))
		}
		return exchange.SetFees(g.instrument(), exchange.FeeRate(g.pick(60_000)-20_000), exchange.FeeRate(g.pick(60_000)-10_000))
	case 16:
		state := exchange.AccountActive
		if g.one(4) {
			state = exchange.AccountState(g.pick(4))
			g.undo = append(g.undo, exchange.SetAccountState(acct, exchange.AccountActive))
		}
		return exchange.SetAccountState(acct, state)
	case 17:
		state := exchange.InstrumentTrading
		inst := g.instrument()
		if g.one(4) {
			state = exchange.InstrumentState(g.pick(4))
			g.undo = append(g.undo, exchange.SetInstrumentState(inst, exchange.InstrumentTrading))
		}
		return exchange.SetInstrumentState(inst, state)
	case 18:
		c := exchange.Void(g.instrument(), acct, exchange.CommandID{}) // next gives it one, mostly
		c.Value = []int64{0, 0, int64(exchange.InsufficientFunds), 1<<16 - 1, 1 << 16, -1}[g.pick(6)]
		if g.mode == exchange.FundsHeld || g.one(8) {
			c.Held = exchange.Amount(g.pick(60_000))
		}
		return c
	default:
		return exchange.AdvanceTime(inst, g.now)
	}
}

func (g *generator) limit(inst exchange.InstrumentID, acct exchange.AccountID) exchange.Command {
	kind := exchange.LimitKind(1 + g.pick(10))
	value := int64(-1)
	if kind == exchange.LimitMessages || kind == exchange.LimitMessageWindow {
		if inst = 0; g.one(2) {
			acct = 0
		}
	}
	if g.one(2) {
		value = []int64{int64(g.pick(10)), 30 + int64(g.pick(60)), 5 + int64(g.pick(20)), 10_000 + int64(g.pick(90_000)),
			3 + int64(g.pick(8)), 20 + int64(g.pick(50)), 80 + int64(g.pick(15)), 105 + int64(g.pick(15)),
			int64(g.pick(200_000)), int64(g.pick(200_000))}[kind-1]
	}
	if g.one(30) {
		value = wild[g.pick(len(wild))]
	}
	if kind >= exchange.LimitMinPrice && !g.one(5) {
		inst, acct = g.instrument(), 0
	}
	return exchange.SetLimit(inst, acct, kind, value)
}

// wild is what a field may be spoiled with.
var wild = []int64{0, -1, 1, 2, 7, 1 << 60, 1<<60 + 1, 1<<63 - 1, -1 << 63, 255, 65536}

// spoil sets one field to something it should not be.
func (g *generator) spoil(c *exchange.Command) {
	wild := wild[g.pick(len(wild))]
	switch g.pick(24) {
	case 0:
		c.Kind = exchange.CommandKind(wild)
	case 1:
		c.Side = exchange.Side(wild)
	case 2:
		c.Type = exchange.OrderType(wild)
	case 3:
		c.TimeInForce = exchange.TimeInForce(wild)
	case 4:
		c.SelfTrade = exchange.SelfTradePrevention(wild)
	case 5:
		c.PostOnly = exchange.PostOnly(wild)
	case 6:
		c.Hidden = !c.Hidden
	case 7:
		c.PriceIsDistance = !c.PriceIsDistance
	case 8:
		c.Limit = exchange.LimitKind(wild)
	case 9:
		c.AccountState, c.InstrumentState = exchange.AccountState(wild), exchange.InstrumentState(wild)
	case 10:
		if !g.alone {
			c.Instrument = exchange.InstrumentID(wild)
		}
	case 11:
		c.Asset = exchange.AssetID(wild)
	case 12:
		c.Account = exchange.AccountID(wild)
	case 13:
		c.OrderID = exchange.OrderID(wild)
	case 14:
		c.OrigID = exchange.CommandID{}
	case 15:
		c.Price = exchange.Price(wild)
	case 16:
		c.StopPrice = exchange.Price(wild)
	case 17:
		c.Qty = exchange.Qty(wild)
	case 18:
		c.DisplayQty = exchange.Qty(wild)
	case 19:
		c.MinQty = exchange.Qty(wild)
	case 20:
		c.Funds = exchange.Amount(wild)
	case 21:
		c.Held = exchange.Amount(wild)
	case 22:
		c.Expire = exchange.Time(wild)
	default:
		c.Value, c.MakerFee, c.TakerFee = wild, exchange.FeeRate(wild), exchange.FeeRate(wild)
	}
	if c.Time > 1<<40 {
		c.Time = g.now
	}
}
