package reference

import (
	"math"
	"math/big"

	"github.com/castlecloud/exchange"
)

func limited(t exchange.OrderType) bool {
	return t == exchange.Limit || t == exchange.StopLimit || t == exchange.TakeProfitLimit
}

func triggered(t exchange.OrderType) bool {
	return t >= exchange.Stop && t <= exchange.TakeProfitLimit
}

func immediate(t exchange.TimeInForce) bool { return t == exchange.IOC || t == exchange.FOK }

// mayEnter is CMD-005 and CMD-006 for new, amend and replace.
func (e *Engine) mayEnter() exchange.Reason {
	cmd := e.cmd
	if cmd.Account == 0 {
		return exchange.UnknownAccount
	}
	switch {
	case e.books[cmd.Instrument].state != exchange.InstrumentTrading:
		return exchange.InstrumentNotTrading
	case e.kills[pair{cmd.Instrument, 0}]:
		return exchange.KillSwitchEngaged
	case !e.hasRoom(cmd.Account):
		return exchange.TooManyAccounts
	}
	a := e.account(cmd.Account) // CMD-007
	switch {
	case a.state != exchange.AccountActive:
		return exchange.AccountNotActive
	case e.kills[pair{0, cmd.Account}], e.kills[pair{cmd.Instrument, cmd.Account}], e.kills[pair{0, 0}]:
		return exchange.KillSwitchEngaged
	case !e.messageAllowed(cmd.Account):
		return exchange.MessageRate
	}
	return 0
}

// mayLeave is CMD-005 and CMD-006 for cancel and reduce.
func (e *Engine) mayLeave() exchange.Reason {
	cmd := e.cmd
	if cmd.Account == 0 {
		return exchange.UnknownAccount
	}
	a := e.accounts[cmd.Account]
	switch {
	case e.books[cmd.Instrument].state == exchange.InstrumentHalted:
		return exchange.InstrumentNotTrading
	case a != nil && a.state == exchange.AccountSuspended:
		return exchange.AccountNotActive
	}
	return 0
}

func (e *Engine) newOrder() exchange.Reason {
	if reason := e.mayEnter(); reason != 0 {
		return reason
	}
	b := e.books[e.cmd.Instrument]
	o, reason := e.check(b, e.cmd, nil)
	if reason != 0 {
		return reason
	}
	released, _ := e.fund(b, o)
	e.enter(b, o, released)
	return 0
}

// check makes the checks of a new order, in the order of docs/rules/orders.md,
// and builds it. old is the order it replaces, or nil.
func (e *Engine) check(b *book, c *exchange.Command, old *order) (*order, exchange.Reason) {
	price := c.Price
	for _, step := range []func() exchange.Reason{
		func() exchange.Reason { return checkKinds(c, e.clock) },
		func() exchange.Reason { return e.checkPrice(b, c) },
		func() (reason exchange.Reason) {
			if c.Type == exchange.Limit && c.PostOnly != 0 {
				price, reason = e.postOnly(b, c.Side, c.PostOnly, price)
			}
			return reason
		},
		func() exchange.Reason { return e.checkSizes(b, c) },
		func() exchange.Reason { return e.checkNotional(b, c, price) },
		func() exchange.Reason { return e.checkBookFull(b, c.Side, c.Qty, old) },
		func() exchange.Reason { return e.checkCollar(b, price, price != 0 && !c.PriceIsDistance) },
		func() exchange.Reason { return e.checkOpenOrders(b, c, old) },
	} {
		if reason := step(); reason != 0 {
			return nil, reason
		}
	}
	o := &order{minQty: c.MinQty, budget: c.Funds > 0, asLimit: limited(c.Type), fee: new(big.Int)}
	o.byFunds = c.Type == exchange.Market && c.Qty == 0
	o.Order = exchange.Order{CommandID: c.ID, Account: c.Account, Instrument: b.id, Group: c.Group, Side: c.Side, Type: c.Type,
		TimeInForce: c.TimeInForce, SelfTrade: c.SelfTrade, PostOnly: c.PostOnly, Hidden: c.Hidden, Price: price,
		StopPrice: c.StopPrice, OrderQty: c.Qty, LeavesQty: c.Qty, DisplayQty: c.DisplayQty, Expire: c.Expire,
		Funds: c.Funds, MakerFee: b.makerFee, TakerFee: b.takerFee}
	if e.cfg.Funds == FundsNone { // no fees
		o.MakerFee, o.TakerFee = 0, 0
	}
	if !o.asLimit {
		o.Price = e.worstPrice(b, c)
	}
	o.noLiquidity = b.best(c.Side.Opposite()) == nil && (c.PriceIsDistance || c.Type == exchange.MarketToLimit)
	if reason := e.checkPosition(b, o, old); reason != 0 {
		return nil, reason
	}
	var held exchange.Amount
	if old != nil {
		held = old.Held
	}
	return o, e.fundsCheck(b, o, held)
}

// checkKinds is ORDER-001 to ORDER-004.
func checkKinds(c *exchange.Command, clock exchange.Time) exchange.Reason {
	resting := limited(c.Type) && !immediate(c.TimeInForce)
	switch {
	case c.Side != exchange.Buy && c.Side != exchange.Sell:
		return exchange.InvalidSide
	case c.Type < exchange.Limit || c.Type > exchange.TakeProfitLimit:
		return exchange.InvalidOrderType
	case c.TimeInForce < exchange.GTC || c.TimeInForce > exchange.FOK:
		return exchange.InvalidTimeInForce
	case c.SelfTrade > exchange.Decrement:
		return exchange.InvalidSelfTrade
	case c.PostOnly > exchange.PostOnlySlide || c.PostOnly != 0 && !resting:
		return exchange.InvalidPostOnly
	case c.Hidden && !resting:
		return exchange.InvalidHidden
	case c.TimeInForce == exchange.GTD && c.Expire <= clock, c.TimeInForce != exchange.GTD && c.Expire != 0:
		return exchange.InvalidExpire
	}
	return 0
}

func (e *Engine) insidePriceLimits(b *book, p exchange.Price) exchange.Reason {
	low, high := e.priceLimits(b)
	switch {
	case p < low:
		return exchange.PriceBelowMin
	case p > high:
		return exchange.PriceAboveMax
	}
	return 0
}

// checkPrice is ORDER-005.
func (e *Engine) checkPrice(b *book, c *exchange.Command) exchange.Reason {
	switch {
	case c.PriceIsDistance:
		if c.Type != exchange.Market && c.Type != exchange.MarketToLimit || c.Price < 0 || c.Price > exchange.MaxPrice {
			return exchange.InvalidPrice
		}
	case limited(c.Type) || c.Price != 0:
		return e.insidePriceLimits(b, c.Price)
	}
	return 0
}

// crosses reports whether an order of that side and price would take, and the
// price of the first it would take.
func (b *book) crosses(side exchange.Side, p exchange.Price) (exchange.Price, bool) {
	best := b.best(side.Opposite())
	if best == nil || !within(side, best.Price, p) {
		return 0, false
	}
	return best.Price, true
}

// within reports whether an order bound by a price (0: not at all) trades at p.
func within(side exchange.Side, p, bound exchange.Price) bool {
	return bound == 0 || side == exchange.Buy && p <= bound || side == exchange.Sell && p >= bound
}

// postOnly is ORDER-006: the price a post-only order gets.
func (e *Engine) postOnly(b *book, side exchange.Side, mode exchange.PostOnly, p exchange.Price) (exchange.Price, exchange.Reason) {
	best, takes := b.crosses(side, p)
	if !takes {
		return p, 0
	}
	if mode == exchange.PostOnlyReject {
		return 0, exchange.PostOnlyWouldTake
	}
	if side == exchange.Buy {
		p = best - 1
	} else {
		p = best + 1
	}
	return p, e.insidePriceLimits(b, p)
}

// checkSizes is ORDER-007 to ORDER-012.
func (e *Engine) checkSizes(b *book, c *exchange.Command) exchange.Reason {
	if triggered(c.Type) && e.insidePriceLimits(b, c.StopPrice) != 0 || !triggered(c.Type) && c.StopPrice != 0 {
		return exchange.InvalidStopPrice
	}
	budgets := c.Side == exchange.Buy && !limited(c.Type)
	switch {
	case c.Funds < 0 || c.Funds > 0 && !budgets:
		return exchange.InvalidFunds
	case c.Funds > e.maxNotional(b, c.Account):
		return exchange.NotionalAboveMax
	case c.Funds > 0 && c.Funds < b.minNotional:
		return exchange.NotionalBelowMin
	}
	most := c.Qty
	if c.Type == exchange.Market && c.Funds > 0 && c.Qty == 0 {
		if c.TimeInForce == exchange.FOK {
			return exchange.InvalidTimeInForce
		}
		most = e.maxQty(b, c.Account)
	} else if reason := e.checkQty(b, c.Account, c.Qty); reason != 0 {
		return reason
	}
	if c.DisplayQty != 0 {
		if c.DisplayQty < 0 || c.DisplayQty > c.Qty || !limited(c.Type) || c.Hidden || immediate(c.TimeInForce) {
			return exchange.InvalidDisplayQty
		}
		if parts(c.Qty, c.DisplayQty) > maxIcebergParts {
			return exchange.IcebergParts
		}
	}
	if c.MinQty < 0 || c.MinQty > most || c.MinQty > 0 && c.PostOnly != 0 {
		return exchange.InvalidMinQty
	}
	return e.checkHeld(c)
}

func (e *Engine) checkQty(b *book, acct exchange.AccountID, q exchange.Qty) exchange.Reason {
	switch {
	case q < b.minQty:
		return exchange.QtyBelowMin
	case q > e.maxQty(b, acct):
		return exchange.QtyAboveMax
	}
	return 0
}

// parts is q / display, rounded up.
func parts(q, display exchange.Qty) exchange.Qty { return (q-1)/display + 1 }

// checkHeld is ORDER-012.
func (e *Engine) checkHeld(c *exchange.Command) exchange.Reason {
	if c.Held < 0 || c.Held > 1<<62 || c.Held > 0 && e.cfg.Funds != FundsHeld {
		return exchange.InvalidHeld
	}
	return 0
}

// checkNotional is ORDER-013.
func (e *Engine) checkNotional(b *book, c *exchange.Command, p exchange.Price) exchange.Reason {
	switch {
	case limited(c.Type):
		return e.notionalLimits(b, c.Account, p, c.Qty, true)
	case c.Side == exchange.Buy && p > 0 && !c.PriceIsDistance && c.Qty > 0:
		return e.notionalLimits(b, c.Account, p, c.Qty, false)
	}
	return 0
}

func (e *Engine) notionalLimits(b *book, acct exchange.AccountID, p exchange.Price, q exchange.Qty, both bool) exchange.Reason {
	n := b.notional(p, q)
	switch {
	case both && n.Cmp(bigInt(b.minNotional)) < 0:
		return exchange.NotionalBelowMin
	case n.Cmp(bigInt(e.maxNotional(b, acct))) > 0:
		return exchange.NotionalAboveMax
	}
	return 0
}

// open is the open quantity of the live orders of a side but skip, of an
// account or (0) of everyone.
func (b *book) open(side exchange.Side, acct exchange.AccountID, skip *order) *big.Int {
	total := new(big.Int)
	for _, o := range b.live {
		if o != skip && o.Side == side && (acct == 0 || o.Account == acct) {
			total.Add(total, bigInt(o.LeavesQty))
		}
	}
	return total
}

// checkBookFull is ORDER-014 for an order of a quantity, in the stead of old.
func (e *Engine) checkBookFull(b *book, side exchange.Side, q exchange.Qty, old *order) exchange.Reason {
	orders := len(b.live) + 1
	if old != nil {
		orders--
	}
	if orders > e.cfg.MaxOrders || sum(b.open(side, 0, old), bigInt(q)).Cmp(big.NewInt(math.MaxInt64)) > 0 {
		return exchange.BookFull
	}
	return 0
}

// collar returns the bounds of RISK-001, 0 where there is none.
func (e *Engine) collar(b *book) (low, high exchange.Price, set bool) {
	bound := func(kind exchange.LimitKind, sign int64) exchange.Price {
		rate, ok := e.limits[limitKey{kind, pair{b.id, 0}}]
		if !ok {
			return 0
		}
		set = true
		far := new(big.Int).Mul(bigInt(b.ref), big.NewInt(rate))
		far.Quo(far, million)
		far.Mul(far, big.NewInt(sign))
		p := smaller(sum(bigInt(b.ref), far), bigInt(exchange.MaxPrice))
		return max(exchange.Price(p.Int64()), 1)
	}
	return bound(exchange.LimitCollarDown, -1), bound(exchange.LimitCollarUp, 1), set
}

// checkCollar is RISK-001. absolute: p is a price to check.
func (e *Engine) checkCollar(b *book, p exchange.Price, absolute bool) exchange.Reason {
	low, high, set := e.collar(b)
	switch {
	case !set:
		return 0
	case b.ref == 0:
		return exchange.NoReferencePrice
	case absolute && (low != 0 && p < low || high != 0 && p > high):
		return exchange.OutsideCollar
	}
	return 0
}

// worstPrice is ORDER-015.
func (e *Engine) worstPrice(b *book, c *exchange.Command) exchange.Price {
	low, high := e.priceLimits(b)
	collarLow, collarHigh, _ := e.collar(b)
	low = max(low, collarLow)
	if collarHigh != 0 {
		high = min(high, collarHigh)
	}
	best := b.best(c.Side.Opposite())
	switch {
	case c.PriceIsDistance && best == nil:
		return 0
	case c.PriceIsDistance && c.Side == exchange.Buy:
		return min(best.Price+c.Price, high)
	case c.PriceIsDistance:
		return max(best.Price-c.Price, low)
	case c.Price != 0:
		return c.Price
	case c.Side == exchange.Sell:
		return low
	case collarHigh != 0 || e.maxPriceGiven(b):
		return high
	}
	return 0
}

// checkOpenOrders is RISK-002.
func (e *Engine) checkOpenOrders(b *book, c *exchange.Command, old *order) exchange.Reason {
	most, set := e.limit(exchange.LimitOpenOrders, b.id, c.Account)
	if !set || old != nil || c.Type == exchange.Market || immediate(c.TimeInForce) && !triggered(c.Type) {
		return 0
	}
	if int64(e.Position(c.Account, b.id).Orders) >= most {
		return exchange.MaxOpenOrders
	}
	return 0
}

// positionRoom is RISK-003: what an account may add to its orders of a side.
func (e *Engine) positionRoom(b *book, acct exchange.AccountID, side exchange.Side, skip *order) *big.Int {
	most, set := e.limit(exchange.LimitPosition, b.id, acct)
	if !set {
		most = defaultPosition
	}
	var net exchange.Qty
	if a := e.accounts[acct]; a != nil {
		net = a.net[b.id]
	}
	if side == exchange.Sell {
		net = -net
	}
	return sum(big.NewInt(most), neg(bigInt(net)), neg(b.open(side, acct, skip)))
}

func (e *Engine) checkPosition(b *book, o, old *order) exchange.Reason {
	room := bigInt(e.maxQty(b, o.Account))
	if !e.cfg.Matcher {
		left := e.positionRoom(b, o.Account, o.Side, old)
		if left.Cmp(bigInt(o.LeavesQty)) < 0 {
			return exchange.MaxPosition
		}
		room = smaller(room, left)
	}
	if !o.byFunds {
		return 0
	}
	if room.Sign() <= 0 {
		return exchange.MaxPosition
	}
	o.room = exchange.Qty(room.Int64())
	return 0
}

// enter makes a checked and funded order live and lets it act.
func (e *Engine) enter(b *book, o *order, released exchange.Amount) {
	b.lastOrder++
	o.ID = b.lastOrder
	b.live[o.ID] = o
	e.emit(b.id, exchange.Event{Kind: exchange.EventAccepted, ID: o.CommandID, Account: o.Account, OrderID: o.ID, Side: o.Side,
		Type: o.Type, TimeInForce: o.TimeInForce, PostOnly: o.PostOnly, Hidden: o.Hidden, Price: o.Price, StopPrice: o.StopPrice,
		Qty: o.OrderQty, OrderQty: o.OrderQty, LeavesQty: o.LeavesQty, DisplayQty: o.DisplayQty, Release: released})
	if triggered(o.Type) {
		o.Pending = true
		b.wait(o)
	} else {
		e.act(b, o)
	}
	e.runQueue(b)
}
