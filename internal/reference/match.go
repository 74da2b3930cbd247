package reference

import (
	"slices"

	"github.com/castlecloud/exchange"
)

// stop says why an aggressor trades no further.
type stop int

const (
	filled    stop = iota // nothing is left to trade
	bookEnd               // the opposite side ends, or goes on beyond its price
	fundsEnd              // its funds buy no further lot
	prevented             // self-trade prevention ended it
	stranded              // as prevented, but for the fault it is not ended
)

// left is what the order may still trade.
func (o *order) left() exchange.Qty {
	if o.byFunds {
		return o.room
	}
	return o.LeavesQty
}

// part is what a maker offers at its place in the queue.
func (o *order) part() exchange.Qty {
	if o.DisplayQty != 0 {
		return o.shown
	}
	return o.LeavesQty
}

// insert puts an order into its side, behind all of its price.
func (e *Engine) insert(b *book, o *order) {
	side := b.sides[o.Side]
	i := slices.IndexFunc(side, func(x *order) bool {
		if e.cfg.Faults == UnstableTime && x.Price == o.Price {
			return true
		}
		return o.Side == exchange.Buy && x.Price < o.Price || o.Side == exchange.Sell && x.Price > o.Price
	})
	if i < 0 {
		i = len(side)
	}
	b.sides[o.Side] = slices.Insert(side, i, o)
}

// rest puts what is left of an aggressor into the book.
func (e *Engine) rest(b *book, o *order) {
	o.minQty = 0
	o.shown = min(o.DisplayQty, o.LeavesQty)
	e.insert(b, o)
}

// replenish is MATCH-009: the next slice, at the back.
func (e *Engine) replenish(b *book, o *order) {
	b.sides[o.Side] = without(b.sides[o.Side], o)
	o.shown = min(o.DisplayQty, o.LeavesQty)
	e.insert(b, o)
	e.emit(b.id, exchange.Event{Kind: exchange.EventReplenished, ID: o.CommandID, Account: o.Account, OrderID: o.ID, Side: o.Side,
		Price: o.Price, Qty: o.shown, LeavesQty: o.LeavesQty})
}

// act lets an order that is in no queue enter the market.
func (e *Engine) act(b *book, t *order) {
	cancel := func(reason exchange.Reason) { e.end(b, t, exchange.EventCanceled, reason, 0, 0) }
	if t.noLiquidity {
		cancel(exchange.NoLiquidity)
		return
	}
	bound := t.Price
	toLimit := t.Type == exchange.MarketToLimit && !t.asLimit
	if toLimit { // MATCH-008
		best := b.best(t.Side.Opposite())
		if best == nil || !within(t.Side, best.Price, bound) {
			cancel(exchange.NoLiquidity)
			return
		}
		bound = best.Price
		if e.notionalLimits(b, t.Account, bound, t.LeavesQty, false) != 0 {
			cancel(exchange.NotionalAboveMax)
			return
		}
	}
	if reason := e.dryRun(b, t, bound); reason != 0 {
		cancel(reason)
		return
	}
	_, why := e.match(b, t, bound)
	rests := (t.asLimit || toLimit) && !immediate(t.TimeInForce)
	switch {
	case why == prevented, why == filled && !t.byFunds:
	case why == fundsEnd:
		cancel(exchange.FundsExhausted)
	case !rests:
		cancel(exchange.ImmediateRemainder)
	case !toLimit:
		e.rest(b, t)
	default:
		n := b.notional(bound, t.LeavesQty)
		if t.budget && sum(n, e.growth(t, n)).Cmp(bigInt(t.Funds)) > 0 {
			cancel(exchange.FundsExhausted)
			return
		}
		t.Type, t.Price, t.asLimit, t.budget, t.Funds = exchange.Limit, bound, true, false, 0
		e.emit(b.id, exchange.Event{Kind: exchange.EventRepriced, ID: t.CommandID, Account: t.Account, OrderID: t.ID, Side: t.Side,
			Price: t.Price, LeavesQty: t.LeavesQty, Release: e.release(b, t)})
		e.rest(b, t)
	}
}

// dryRun is MATCH-006 and MATCH-007: it runs the match on a copy.
func (e *Engine) dryRun(b *book, t *order, bound exchange.Price) exchange.Reason {
	if t.TimeInForce != exchange.FOK && t.minQty == 0 {
		return 0
	}
	scratch := e.copy()
	taker := scratch.books[b.id].live[t.ID]
	if e.cfg.Faults == FOKIgnoresSelfTrade {
		taker.SelfTrade = 0
	}
	traded, _ := scratch.match(scratch.books[b.id], taker, bound)
	switch {
	case t.TimeInForce == exchange.FOK && traded < t.LeavesQty:
		return exchange.FillOrKill
	case traded > 0 && traded < t.minQty:
		return exchange.MinQtyNotMet
	}
	return 0
}

// match trades t against the opposite side, up to a price bound (0: none). It
// returns the quantity traded.
func (e *Engine) match(b *book, t *order, bound exchange.Price) (traded exchange.Qty, why stop) {
	for t.left() > 0 {
		m := b.best(t.Side.Opposite())
		if m == nil || !within(t.Side, m.Price, bound) {
			return traded, bookEnd
		}
		own := t.SelfTrade != 0 && (t.Account == m.Account || t.Group != 0 && t.Group == m.Group)
		q := e.affordable(b, t, m.Price, min(t.left(), m.part()))
		if q == 0 {
			return traded, fundsEnd
		}
		if own {
			if why := e.prevent(b, t, m, q); why != filled {
				return traded, why
			}
			continue
		}
		e.trade(b, t, m, q)
		traded += q
	}
	return traded, filled
}

// trade is one trade of q.
func (e *Engine) trade(b *book, t, m *order, q exchange.Qty) {
	p := m.Price
	if e.cfg.Faults == TradeAtTakerPrice && t.asLimit {
		p = t.Price
	}
	takerFee, makerFee := e.settle(b, t, m, p, q)
	for _, o := range []*order{t, m} {
		o.CumQty += q
		if o.byFunds {
			o.room -= q
			o.OrderQty = o.CumQty
		} else {
			o.LeavesQty -= q
			o.done = o.LeavesQty == 0
		}
		if o.done {
			b.remove(o)
		}
		if !e.cfg.Matcher {
			net := e.account(o.Account).net
			if o.Side == exchange.Buy {
				net[b.id] += q
			} else {
				net[b.id] -= q
			}
		}
	}
	m.shown -= min(q, m.shown)
	b.lastTrade++
	b.last = p
	e.emit(b.id, exchange.Event{Kind: exchange.EventTrade, Side: t.Side, TradeID: b.lastTrade, Price: p, Qty: q,
		Amount: amount(b.notional(p, q)),
		ID:     t.CommandID, Account: t.Account, OrderID: t.ID, LeavesQty: t.LeavesQty, Fee: amount(takerFee), Release: e.release(b, t),
		MakerID: m.CommandID, MakerAccount: m.Account, MakerOrderID: m.ID, MakerLeavesQty: m.LeavesQty, MakerFee: amount(makerFee),
		MakerRelease: e.release(b, m)})
	if !m.done && m.DisplayQty != 0 && m.shown == 0 {
		e.replenish(b, m)
	}
	b.elect()
}

// prevent is STP-002 to STP-005. It returns filled when t goes on.
func (e *Engine) prevent(b *book, t, m *order, q exchange.Qty) stop {
	mode := t.SelfTrade
	ev := exchange.Event{Kind: exchange.EventSelfTradePrevented, Side: t.Side, Price: m.Price,
		ID: t.CommandID, Account: t.Account, OrderID: t.ID, MakerID: m.CommandID, MakerAccount: m.Account, MakerOrderID: m.ID}
	endMaker := mode == exchange.CancelOldest || mode == exchange.CancelBoth
	endTaker := mode == exchange.CancelNewest || mode == exchange.CancelBoth
	if mode == exchange.Decrement {
		ev.Qty = q
		for _, o := range []*order{t, m} {
			if o.byFunds {
				o.room -= q
			} else {
				o.LeavesQty -= q
				o.OrderQty -= q
			}
		}
		m.shown -= min(q, m.shown)
		if t.budget {
			t.Funds -= amount(b.notional(m.Price, q))
		}
		ev.Release, ev.MakerRelease = e.release(b, t), e.release(b, m)
		endMaker, endTaker = m.LeavesQty == 0, t.left() == 0
	}
	ev.LeavesQty, ev.MakerLeavesQty = t.LeavesQty, m.LeavesQty
	e.emit(b.id, ev)
	switch {
	case endMaker:
		e.end(b, m, exchange.EventCanceled, exchange.BySelfTrade, 0, 0)
	case mode == exchange.Decrement && m.DisplayQty != 0 && m.shown == 0:
		if e.cfg.Faults == DecrementStrandsHidden {
			b.sides[m.Side] = without(b.sides[m.Side], m)
		} else {
			e.replenish(b, m)
		}
	}
	switch {
	case endTaker && mode == exchange.CancelNewest && e.cfg.Faults == SelfTradeResidualRests:
		return stranded
	case endTaker:
		e.end(b, t, exchange.EventCanceled, exchange.BySelfTrade, 0, 0)
		return prevented
	}
	return filled
}

// risesTo reports whether a rise triggers the order, rather than a fall.
func (o *order) risesTo() bool {
	return (o.Type == exchange.Stop || o.Type == exchange.StopLimit) == (o.Side == exchange.Buy)
}

// met is STOP-001.
func (b *book) met(o *order) bool {
	return b.last != 0 && (o.risesTo() && b.last >= o.StopPrice || !o.risesTo() && b.last <= o.StopPrice)
}

// wait is STOP-002: the order waits behind all others, or is elected.
func (b *book) wait(o *order) {
	if b.met(o) {
		b.queue = append(b.queue, o)
	} else {
		b.waiting = append(b.waiting, o)
	}
}

// elect is STOP-003.
func (b *book) elect() {
	var risen, fallen []*order
	for _, o := range b.waiting {
		switch {
		case !b.met(o):
		case o.risesTo():
			risen = append(risen, o)
		default:
			fallen = append(fallen, o)
		}
	}
	slices.SortStableFunc(risen, func(x, y *order) int { return int(min(max(x.StopPrice-y.StopPrice, -1), 1)) })
	slices.SortStableFunc(fallen, func(x, y *order) int { return int(min(max(y.StopPrice-x.StopPrice, -1), 1)) })
	for _, o := range append(risen, fallen...) {
		b.waiting = without(b.waiting, o)
		b.queue = append(b.queue, o)
	}
}

// runQueue is STOP-004.
func (e *Engine) runQueue(b *book) {
	first := len(b.queue)
	for n := 0; len(b.queue) > 0; n++ {
		if e.cfg.Faults == StopCascadeOnce && n == first {
			b.waiting = append(b.waiting, b.queue...)
			b.queue = nil
			return
		}
		o := b.queue[0]
		b.queue = b.queue[1:]
		e.trigger(b, o)
	}
}

// trigger is STOP-006 and STOP-007.
func (e *Engine) trigger(b *book, o *order) {
	refused := false
	if o.PostOnly != 0 {
		p, reason := e.postOnly(b, o.Side, o.PostOnly, o.Price)
		if reason == 0 && p != o.Price {
			reason = e.notionalLimits(b, o.Account, p, o.OrderQty, false)
		}
		if refused = reason != 0; !refused {
			o.Price = p
		}
	}
	stopPrice := o.StopPrice
	o.Pending, o.StopPrice = false, 0
	e.emit(b.id, exchange.Event{Kind: exchange.EventTriggered, ID: o.CommandID, Account: o.Account, OrderID: o.ID, Side: o.Side,
		Type: o.Type, Price: o.Price, StopPrice: stopPrice, OrderQty: o.OrderQty, LeavesQty: o.LeavesQty, Release: e.release(b, o)})
	if refused {
		e.end(b, o, exchange.EventCanceled, exchange.PostOnlyOnTrigger, 0, 0)
		return
	}
	e.act(b, o)
}
