package exchange

import "math/bits"

// plan is what the checks of a new order found out.
type plan struct {
	price       Price // limit price after a slide; of market types the worst price, 0: none
	qty         Qty   // of a market order by funds alone: the most it may buy
	noLiquidity bool  // the empty opposite book ends it (ORDER-015, MATCH-008)
	need        Amount
	seat        ref
	moved       Amount // of a replaced order's hold
	release     Amount // of the command's hold, in FundsHeld
}

// newOrder checks, accepts and runs an order.
func (m *Matcher) newOrder(cmd *Command) Reason {
	var p plan
	if reason := m.gate(cmd, &p.seat); reason != 0 {
		return reason
	}
	if reason := m.check(cmd, &p, nil, 0); reason != 0 {
		return reason
	}
	m.accept(cmd, &p)
	return 0
}

// gate checks who and when (CMD-005, CMD-006) for messages that add or change.
func (m *Matcher) gate(cmd *Command, seat *ref) Reason {
	switch {
	case cmd.Account == 0:
		return UnknownAccount
	case m.state != InstrumentTrading:
		return InstrumentNotTrading
	case m.killed:
		return KillSwitchEngaged
	case m.risk != nil:
		return m.risk.gate(m, cmd.Account, seat)
	}
	return 0
}

// check runs the checks of docs/rules/orders.md in their order. old is the
// order that is replaced, held what is held for it; nil and 0 for a new one.
func (m *Matcher) check(cmd *Command, p *plan, old *node, held Amount) Reason {
	in := m.book.inst
	maxQty, maxNotional := m.maxima(p.seat)
	n, ok := in.notional(cmd.Price, cmd.Qty)
	if cmd.plain() && cmd.Price >= m.minPrice && cmd.Price <= m.maxPrice && cmd.Qty >= in.minQty && cmd.Qty <= maxQty &&
		ok && n >= in.minNotional && n <= maxNotional {
		p.price = cmd.Price // nothing of ORDER-001 to ORDER-013 can be wrong
	} else if reason := m.checkOrder(cmd, p); reason != 0 {
		return reason
	}
	if reason := m.checkRoom(cmd, old); reason != 0 {
		return reason
	}
	if !cmd.Type.limited() {
		m.worstPrice(cmd, p)
	}
	if m.collared() {
		absolute := p.price
		if !cmd.Type.limited() && (cmd.Price == 0 || cmd.PriceIsDistance) {
			absolute = 0
		}
		if reason := m.checkCollar(absolute); reason != 0 {
			return reason
		}
	}
	if m.risk != nil {
		return m.risk.checkNew(m, cmd, p, old, held)
	}
	if p.qty == 0 {
		p.qty = in.maxQty
	}
	return 0
}

// plain reports whether a command is a limit order without anything special,
// which most are: then only its numbers need checks.
func (c *Command) plain() bool {
	return c.Type == Limit && c.Side.valid() && c.SelfTrade.valid() &&
		(c.TimeInForce-1 < 2 || c.TimeInForce-IOC < 2) && // GTC, Day, IOC or FOK
		!c.Hidden && !c.PriceIsDistance && c.PostOnly == 0 &&
		int64(c.StopPrice)|int64(c.DisplayQty)|int64(c.MinQty)|int64(c.Funds)|int64(c.Held)|int64(c.Expire) == 0
}

// checkOrder is ORDER-001 to ORDER-013.
func (m *Matcher) checkOrder(cmd *Command, p *plan) Reason {
	if reason := m.checkShape(cmd); reason != 0 {
		return reason
	}
	if reason := m.checkPrice(cmd, p); reason != 0 {
		return reason
	}
	return m.checkQty(cmd, p)
}

// checkShape is ORDER-001 to ORDER-004.
func (m *Matcher) checkShape(cmd *Command) Reason {
	switch {
	case !cmd.Side.valid():
		return InvalidSide
	case !cmd.Type.valid():
		return InvalidOrderType
	case !cmd.TimeInForce.valid():
		return InvalidTimeInForce
	case !cmd.SelfTrade.valid():
		return InvalidSelfTrade
	}
	if cmd.PostOnly != 0 && (!cmd.PostOnly.valid() || !cmd.canRestLimited()) {
		return InvalidPostOnly
	}
	if cmd.Hidden && !cmd.canRestLimited() {
		return InvalidHidden
	}
	if cmd.TimeInForce == GTD && cmd.Expire <= m.now || cmd.TimeInForce != GTD && cmd.Expire != 0 {
		return InvalidExpire
	}
	return 0
}

// canRestLimited reports whether an order has a limit price of its own and
// may rest at it.
func (c *Command) canRestLimited() bool { return c.Type.limited() && !c.TimeInForce.immediate() }

// checkPrice is ORDER-005 to ORDER-007.
func (m *Matcher) checkPrice(cmd *Command, p *plan) Reason {
	switch {
	case cmd.PriceIsDistance:
		if cmd.Type != Market && cmd.Type != MarketToLimit || cmd.Price < 0 || cmd.Price > MaxPrice {
			return InvalidPrice
		}
	case cmd.Price != 0 || cmd.Type.limited():
		if reason := m.checkLimits(cmd.Price); reason != 0 {
			return reason
		}
		p.price = cmd.Price
	}
	if cmd.PostOnly != 0 && cmd.Type == Limit {
		var reason Reason
		if p.price, reason = m.postOnlyPrice(cmd.Side, cmd.PostOnly, p.price); reason != 0 {
			return reason
		}
	}
	if cmd.Type.triggered() {
		if m.checkLimits(cmd.StopPrice) != 0 {
			return InvalidStopPrice
		}
	} else if cmd.StopPrice != 0 {
		return InvalidStopPrice
	}
	return 0
}

func (m *Matcher) checkLimits(p Price) Reason {
	if p < m.minPrice {
		return PriceBelowMin
	}
	if p > m.maxPrice {
		return PriceAboveMax
	}
	return 0
}

// postOnlyPrice returns the price a post-only order may rest at (ORDER-006).
func (m *Matcher) postOnlyPrice(side Side, mode PostOnly, price Price) (Price, Reason) {
	opp := m.book.ladder(side.Opposite())
	if opp.best == 0 || opp.bestX > opp.x(price) {
		return price, 0
	}
	if mode == PostOnlyReject {
		return 0, PostOnlyWouldTake
	}
	price = Price((opp.bestX - 1) * opp.sign) // one tick off the opposite best
	return price, m.checkLimits(price)
}

// checkQty is ORDER-008 to ORDER-013.
func (m *Matcher) checkQty(cmd *Command, p *plan) Reason {
	in := m.book.inst
	maxQty, maxNotional := m.maxima(p.seat)
	if cmd.Funds != 0 {
		switch {
		case cmd.Funds < 0 || cmd.Side != Buy || cmd.Type.limited():
			return InvalidFunds
		case cmd.Funds > maxNotional:
			return NotionalAboveMax
		case cmd.Funds < in.minNotional:
			return NotionalBelowMin
		}
	}
	if cmd.Qty == 0 && cmd.Funds > 0 && cmd.Type == Market {
		if cmd.TimeInForce == FOK {
			return InvalidTimeInForce
		}
	} else if cmd.Qty < in.minQty {
		return QtyBelowMin
	} else if cmd.Qty > maxQty {
		return QtyAboveMax
	}
	if cmd.DisplayQty != 0 {
		if cmd.DisplayQty < 0 || cmd.DisplayQty > cmd.Qty || !cmd.canRestLimited() || cmd.Hidden {
			return InvalidDisplayQty
		}
		if tooManyParts(cmd.Qty, cmd.DisplayQty) {
			return IcebergParts
		}
	}
	if cmd.MinQty != 0 {
		most := cmd.Qty
		if most == 0 {
			most = maxQty
		}
		if cmd.MinQty < 0 || cmd.MinQty > most || cmd.PostOnly != 0 {
			return InvalidMinQty
		}
	}
	if reason := m.checkHeld(cmd); reason != 0 {
		return reason
	}
	if cmd.Type.limited() {
		return checkNotional(in, p.price, cmd.Qty, in.minNotional, maxNotional)
	}
	if cmd.Side == Buy && p.price != 0 && cmd.Qty > 0 {
		return checkNotional(in, p.price, cmd.Qty, 0, maxNotional)
	}
	return 0
}

func tooManyParts(qty, display Qty) bool { return (qty-1)/display >= MaxIcebergParts }

// maxima returns the largest quantity and notional of one order.
func (m *Matcher) maxima(seat ref) (Qty, Amount) {
	in := m.book.inst
	if m.risk == nil {
		return in.maxQty, in.maxNotional
	}
	s := m.seats.at(seat)
	if !s.sized {
		return in.maxQty, in.maxNotional
	}
	return min(in.maxQty, s.maxQty), min(in.maxNotional, s.maxNotional)
}

func (m *Matcher) aboveMaxNotional(node *node, price Price, qty Qty) bool {
	_, most := m.maxima(node.seat)
	n, ok := m.book.inst.notional(price, qty)
	return !ok || n > most
}

func checkNotional(in *Instrument, price Price, qty Qty, least, most Amount) Reason {
	n, ok := in.notional(price, qty)
	switch {
	case ok && n < least:
		return NotionalBelowMin
	case !ok || n > most:
		return NotionalAboveMax
	}
	return 0
}

func (m *Matcher) checkHeld(cmd *Command) Reason {
	if cmd.Held != 0 && (cmd.Held < 0 || cmd.Held > MaxHeld || m.risk == nil || m.risk.mode != FundsHeld) {
		return InvalidHeld
	}
	return 0
}

// checkRoom is ORDER-014.
func (m *Matcher) checkRoom(cmd *Command, old *node) Reason {
	live, open := m.book.live, m.book.open[cmd.Side]
	if old != nil {
		live, open = live-1, open-old.leaves
	}
	if live >= m.maxOrders || open+cmd.Qty < 0 {
		return BookFull
	}
	return 0
}

// worstPrice is ORDER-015.
func (m *Matcher) worstPrice(cmd *Command, p *plan) {
	opp := m.book.ladder(cmd.Side.Opposite())
	p.noLiquidity = opp.best == 0 && (cmd.PriceIsDistance || cmd.Type == MarketToLimit)
	if cmd.Price != 0 && !cmd.PriceIsDistance || cmd.PriceIsDistance && opp.best == 0 {
		return
	}
	low, high := m.collar()
	edge, given := max(low, m.minPrice), true
	if cmd.Side == Buy {
		edge, given = min(high, m.maxPrice), m.priceLimited || m.collarUp >= 0
	}
	switch {
	case cmd.PriceIsDistance:
		best := m.book.levels.at(opp.best).price
		if cmd.Side == Buy {
			p.price = max(min(best+cmd.Price, edge), 1)
		} else {
			p.price = max(best-cmd.Price, edge)
		}
	case given:
		p.price = edge
	}
}

// collar returns the lowest and the highest price the collar allows; 0 and
// MaxPrice where it does not bound, or has no reference price.
func (m *Matcher) collar() (low, high Price) {
	ref := m.book.reference
	low, high = 0, MaxPrice
	if ref == 0 {
		return low, high
	}
	if m.collarDown >= 0 {
		low = ref - millionths(ref, m.collarDown)
	}
	if m.collarUp >= 0 {
		high = min(MaxPrice, ref+millionths(ref, m.collarUp))
	}
	return low, high
}

// millionths returns p × n / 1,000,000 rounded down, at most MaxPrice.
func millionths(p Price, n int64) Price {
	hi, lo := bits.Mul64(uint64(p), uint64(n))
	if hi >= FeeRateUnit {
		return MaxPrice
	}
	quo, _ := bits.Div64(hi, lo, FeeRateUnit)
	return Price(min(quo, uint64(MaxPrice)))
}

func (m *Matcher) collared() bool { return m.collarUp >= 0 || m.collarDown >= 0 }

// checkCollar is RISK-001; price 0 is none.
func (m *Matcher) checkCollar(price Price) Reason {
	if m.book.reference == 0 {
		return NoReferencePrice
	}
	low, high := m.collar()
	if price != 0 && (price < low || price > high) {
		return OutsideCollar
	}
	return 0
}

// accept gives an order its id and a slot, says so, and lets it act.
func (m *Matcher) accept(cmd *Command, p *plan) {
	b := &m.book
	r := b.alloc()
	n := b.node(r)
	qty := cmd.Qty
	flags := orderFlags(cmd.SelfTrade) | orderFlags(cmd.PostOnly)<<flagPostOnlyShift
	if cmd.Hidden {
		flags |= flagHidden
	}
	if cmd.Funds > 0 {
		flags |= flagBudget
		if qty == 0 {
			flags |= flagUnsized
			qty = p.qty
		}
	}
	// Field by field, here and in events: a literal is built elsewhere and
	// copied.
	n.held, n.level, n.extra, n.id, n.account, n.leaves, n.qty = p.need, 0, 0, m.nextOrder, cmd.Account, qty, qty
	n.seat, n.group, n.feeRem, n.side, n.kind = p.seat, cmd.Group, 0, cmd.Side, kindOf(cmd.Type, cmd.TimeInForce)
	named := cmd.ID != (CommandID{})
	if named {
		flags |= flagNamed
	}
	if keeps := m.keepsFunds(); keeps || named {
		flags |= flagTail
		n.flags = flags
		t := b.tail(r, n)
		t.cmd, t.makerFee, t.takerFee = cmd.ID, 0, 0
		if keeps {
			t.makerFee, t.takerFee = m.makerFee, m.takerFee
		}
	}
	n.flags = flags
	m.nextOrder++
	b.live++
	if cmd.DisplayQty != 0 || cmd.MinQty != 0 || cmd.Funds != 0 || cmd.TimeInForce == GTD || cmd.Type.triggered() {
		n.extra = b.extras.alloc()
		x := b.extras.at(n.extra)
		*x = extra{}
		x.display, x.stop, x.limit, x.funds = cmd.DisplayQty, cmd.StopPrice, p.price, cmd.Funds
		x.minQty, x.expire = cmd.MinQty, cmd.Expire
		if cmd.DisplayQty != 0 {
			n.flags |= flagIceberg
		}
	}
	b.open[n.side] += cmd.Qty
	if m.risk != nil {
		m.risk.accepted(m, n, cmd.Qty, p)
	}
	ev := m.event(m.core, EventAccepted)
	ev.Side, ev.Type, ev.TimeInForce, ev.PostOnly, ev.Hidden = n.side, cmd.Type, cmd.TimeInForce, cmd.PostOnly, cmd.Hidden
	ev.ID, ev.Account, ev.OrderID = cmd.ID, n.account, n.id
	ev.Price, ev.StopPrice, ev.DisplayQty = p.price, cmd.StopPrice, cmd.DisplayQty
	ev.Qty, ev.OrderQty, ev.LeavesQty = cmd.Qty, cmd.Qty, cmd.Qty
	ev.Release = p.release
	switch {
	case cmd.Type.triggered():
		m.wait(r, n)
	case p.noLiquidity:
		m.end(r, n, EventCanceled, NoLiquidity, p.price)
	case cmd.Type == Limit && n.extra == 0 && !cmd.TimeInForce.immediate() && m.passive(n.side, p.price):
		// The commonest case, for speed: nothing to look at before it rests.
		b.append(b.ladder(n.side), r, n, p.price)
		b.list(r, n)
		return
	default:
		m.enter(r, p.price)
	}
	if len(m.elected) > 0 {
		m.runElected()
	}
}

// passive reports whether a limit price does not meet the opposite best.
func (m *Matcher) passive(side Side, price Price) bool {
	opp := m.book.ladder(side.Opposite())
	return opp.bestX > opp.x(price)
}
