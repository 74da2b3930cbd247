package exchange

import "slices"

// find returns the live order a command means, 0 when the account has none
// (CMD-005).
func (m *Matcher) find(cmd *Command) (ref, *node) {
	var r ref
	if cmd.OrderID != 0 {
		r = m.book.ids.get(cmd.OrderID)
	} else if cmd.OrigID != (CommandID{}) {
		r = m.book.named(&cmd.OrigID)
	}
	if r == 0 {
		return 0, nil
	}
	n := m.book.node(r)
	if n.account != cmd.Account {
		return 0, nil
	}
	return r, n
}

// gateCancel is CMD-006 for cancel and reduce.
func (m *Matcher) gateCancel(cmd *Command) Reason {
	switch {
	case cmd.Account == 0:
		return UnknownAccount
	case m.state == InstrumentHalted:
		return InstrumentNotTrading
	case m.risk != nil:
		return m.risk.gateCancel(cmd.Account)
	}
	return 0
}

func (m *Matcher) cancel(cmd *Command) Reason {
	if reason := m.gateCancel(cmd); reason != 0 {
		return reason
	}
	r, n := m.find(cmd)
	if r == 0 {
		return UnknownOrder
	}
	m.cancelLive(r, n, EventCanceled, ByRequest).MakerID = cmd.ID
	return 0
}

// cancelBy ends an order because a command about it asked for that, and
// releases what the command itself held (FUNDS-007).
func (m *Matcher) cancelBy(cmd *Command, r ref, n *node, reason Reason) {
	ev := m.cancelLive(r, n, EventCanceled, reason)
	ev.MakerID, ev.MakerRelease = cmd.ID, m.brought(cmd)
}

func (m *Matcher) reduce(cmd *Command) Reason {
	if reason := m.gateCancel(cmd); reason != 0 {
		return reason
	}
	r, n := m.find(cmd)
	switch {
	case r == 0:
		return UnknownOrder
	case cmd.Qty <= 0:
		return InvalidQty
	case cmd.Qty >= n.leaves:
		m.cancelBy(cmd, r, n, ByReduce)
		return 0
	}
	price := m.priceOf(n)
	m.takeOff(r, n, cmd.Qty)
	m.amended(cmd, r, n, price, ByReduce, cmd.Qty)
	return 0
}

// takeOff lowers an order's quantity where it stands; the hidden part of an
// iceberg goes first.
func (m *Matcher) takeOff(r ref, n *node, q Qty) {
	b := &m.book
	shown := b.shown(n)
	m.resize(r, n, -q)
	lv := b.levels.at(n.level)
	lv.total -= q
	if n.flags&flagIceberg != 0 {
		x := b.extras.at(n.extra)
		x.shown = min(x.shown, n.leaves)
	}
	if n.flags&flagHidden == 0 {
		lv.visible -= shown - b.shown(n)
	}
}

// resize changes an order's quantity and what counts it.
func (m *Matcher) resize(r ref, n *node, by Qty) {
	n.qty += by
	n.leaves += by
	m.book.open[n.side] += by
	if m.risk != nil {
		m.seats.at(n.seat).open[n.side.index()] += by
	}
}

// amended says that an order was changed, and brings its hold to its need
// (FUNDS-005). less is what was taken off its total.
func (m *Matcher) amended(cmd *Command, r ref, n *node, price Price, reason Reason, less Qty) *Event {
	ev := m.event(m.core, EventAmended)
	m.describe(ev, r, n)
	ev.MakerID, ev.Reason, ev.Price, ev.Qty, ev.OrderQty, ev.LeavesQty = cmd.ID, reason, price, less, n.qty, n.leaves
	if n.flags&flagPending != 0 {
		ev.StopPrice = m.book.extras.at(n.extra).stop
	}
	if m.risk != nil {
		m.risk.recover(m, cmd, ev, r, n, price)
	}
	return ev
}

// recover brings an amended order's hold to its need.
func (k *risk) recover(m *Matcher, cmd *Command, ev *Event, r ref, n *node, price Price) {
	if k.mode == FundsNone {
		return
	}
	brought := m.brought(cmd)
	t := m.book.tail(r, n)
	n.held += brought
	excess := m.excess(n, t, price)
	if k.mode == FundsLedger {
		k.give(m, n, excess) // below zero: it takes
		ev.Release = max(excess, 0)
		return
	}
	n.held -= excess
	ev.MakerRelease = min(excess, brought)
	ev.Release = excess - ev.MakerRelease
	ev.Amount = brought - ev.MakerRelease
}

// change is an amend as it will be.
type change struct {
	price, old Price
	stop       Price
	total      Qty
	lost       bool // the place
}

func (m *Matcher) amend(cmd *Command) Reason {
	var seat ref
	if reason := m.gate(cmd, &seat); reason != 0 {
		return reason
	}
	r, n := m.find(cmd)
	if r == 0 {
		return UnknownOrder
	}
	c := change{old: m.priceOf(n), total: n.qty}
	c.price = c.old
	if reason := m.checkAmend(cmd, n, &c); reason != 0 {
		return reason
	}
	if cmd.Qty != 0 {
		if c.total = cmd.Qty; c.total <= n.qty-n.leaves {
			m.cancelBy(cmd, r, n, ByAmend)
			return 0
		}
	}
	if reason := m.checkAmended(cmd, r, n, &c, seat); reason != 0 {
		return reason
	}
	m.change(cmd, r, n, &c)
	m.runElected()
	return 0
}

// checkAmend is AMEND-001.
func (m *Matcher) checkAmend(cmd *Command, n *node, c *change) Reason {
	switch {
	case cmd.Price < 0:
		return InvalidPrice
	case cmd.Qty < 0:
		return InvalidQty
	case cmd.StopPrice < 0:
		return InvalidStopPrice
	case cmd.Price == 0 && cmd.Qty == 0 && cmd.StopPrice == 0:
		return NothingToAmend
	}
	if reason := m.checkHeld(cmd); reason != 0 {
		return reason
	}
	if n.flags&flagPending != 0 {
		c.stop = m.book.extras.at(n.extra).stop
	}
	if cmd.StopPrice != 0 {
		if n.flags&flagPending == 0 || m.checkLimits(cmd.StopPrice) != 0 {
			return InvalidStopPrice
		}
	}
	if cmd.Price != 0 {
		return m.checkLimits(cmd.Price)
	}
	return 0
}

// checkAmended is AMEND-003.
func (m *Matcher) checkAmended(cmd *Command, r ref, n *node, c *change, seat ref) Reason {
	in := m.book.inst
	maxQty, maxNotional := m.maxima(seat)
	if cmd.Qty != 0 {
		switch {
		case c.total < in.minQty:
			return QtyBelowMin
		case c.total > maxQty:
			return QtyAboveMax
		case n.flags&flagIceberg != 0 && tooManyParts(c.total-(n.qty-n.leaves), m.book.extras.at(n.extra).display):
			return IcebergParts
		}
	}
	if cmd.Price != 0 {
		c.price = cmd.Price
	}
	waits := n.flags&flagPending != 0
	if mode := n.postOnly(); mode != 0 && !waits && c.price != c.old {
		var reason Reason
		if c.price, reason = m.postOnlyPrice(n.side, mode, c.price); reason != 0 {
			return reason
		}
	}
	reason := Reason(0)
	if n.typ().limited() {
		reason = checkNotional(in, c.price, c.total, in.minNotional, maxNotional)
	} else if n.side == Buy && c.price != 0 {
		reason = checkNotional(in, c.price, c.total, 0, maxNotional)
	}
	if reason != 0 {
		return reason
	}
	added := c.total - n.qty
	if added > 0 && m.book.open[n.side]+added < 0 {
		return BookFull
	}
	if cmd.Price != 0 && m.collared() {
		if reason := m.checkCollar(c.price); reason != 0 {
			return reason
		}
	}
	c.lost = c.price != c.old || added > 0 || cmd.StopPrice != 0 && cmd.StopPrice != c.stop
	if m.risk == nil {
		return 0
	}
	if added > 0 && added > m.seats.at(seat).room(n.side) {
		return MaxPosition
	}
	if reason := m.risk.userCheck(cmd); reason != 0 {
		return reason
	}
	return m.risk.checkAmended(m, cmd, r, n, c)
}

// checkAmended is FUNDS-005.
func (k *risk) checkAmended(m *Matcher, cmd *Command, r ref, n *node, c *change) Reason {
	if k.mode == FundsNone {
		return 0
	}
	if k.rebatesTooLarge(m) {
		return AmountOverflow
	}
	t := m.book.tail(r, n)
	terms := Terms{Side: n.side, Price: c.price, LeavesQty: n.leaves + c.total - n.qty,
		MakerFee: t.makerFee, TakerFee: t.takerFee, FeeRemainder: n.feeRem}
	if n.flags&flagBudget != 0 {
		terms.Funds = m.book.extras.at(n.extra).funds
	}
	need, ok := m.book.inst.Need(&terms)
	have := n.held + m.brought(cmd)
	if k.mode == FundsLedger {
		have += k.paying(m, n.seat, n.side).Available
	}
	if !ok || need > have || have < 0 {
		return InsufficientFunds
	}
	return 0
}

// change carries out an amend that has passed its checks (AMEND-004,
// AMEND-005).
func (m *Matcher) change(cmd *Command, r ref, n *node, c *change) {
	b := &m.book
	less := max(n.qty-c.total, 0)
	if !c.lost {
		m.takeOff(r, n, less)
		m.amended(cmd, r, n, c.price, ByRequest, less)
		return
	}
	waits := n.flags&flagPending != 0
	b.unlink(b.ladderOf(n), r, n)
	m.resize(r, n, c.total-n.qty)
	if waits {
		x := b.extras.at(n.extra)
		x.limit = c.price
		if cmd.StopPrice != 0 {
			x.stop = cmd.StopPrice
		}
	}
	m.amended(cmd, r, n, c.price, ByRequest, less).LostPlace = true
	if waits {
		m.wait(r, n)
	} else {
		m.enter(r, c.price)
	}
}

// replace is cancel-replace: all of it, or nothing (REPLACE-002).
func (m *Matcher) replace(cmd *Command) Reason {
	var p plan
	if reason := m.gate(cmd, &p.seat); reason != 0 {
		return reason
	}
	r, n := m.find(cmd)
	if r == 0 {
		return UnknownOrder
	}
	m.successor(cmd, n)
	if reason := m.check(&m.next, &p, n, n.held); reason != 0 {
		return reason
	}
	price := m.priceOf(n)
	m.book.unlink(m.book.ladderOf(n), r, n)
	ev := m.end(r, n, EventCanceled, ByReplace, price)
	ev.MakerID, ev.Amount = cmd.ID, p.moved
	ev.Release -= p.moved
	m.accept(&m.next, &p)
	return 0
}

// successor puts the new order of a replace into next (REPLACE-001).
func (m *Matcher) successor(cmd *Command, n *node) {
	next := order(cmd.Instrument, cmd.Account, n.side, Limit, n.tif())
	next.Kind, next.Time, next.ID, next.OrderID, next.OrigID = cmd.Kind, cmd.Time, cmd.ID, cmd.OrderID, cmd.OrigID
	next.SelfTrade, next.PostOnly, next.Hidden, next.Group = n.selfTrade(), n.postOnly(), n.flags&flagHidden != 0, n.group
	next.Price, next.Qty, next.StopPrice, next.Held = cmd.Price, cmd.Qty, cmd.StopPrice, cmd.Held
	if next.Price == 0 {
		next.Price = m.priceOf(n)
	}
	if next.Qty == 0 {
		next.Qty = n.leaves
	}
	if n.extra != 0 {
		x := m.book.extras.at(n.extra)
		next.DisplayQty, next.Expire = min(x.display, next.Qty), x.expire
		if n.flags&flagPending != 0 {
			next.Type, next.Funds = n.typ(), x.funds
			if next.StopPrice == 0 {
				next.StopPrice = x.stop
			}
		}
	}
	m.next = next
}

// collect puts the live orders that want accepts into scratch, by OrderID; it
// looks for at most limit of them.
func (m *Matcher) collect(limit int, want func(r ref, n *node) bool) []ref {
	m.scratch = m.scratch[:0]
	if limit == 0 {
		return nil
	}
	// From the newest on: those of one account tend to be recent, and its
	// seat knows how many there are.
	m.book.ids.descend(func(r ref) bool {
		if want(r, m.book.node(r)) {
			m.scratch = append(m.scratch, r)
		}
		return len(m.scratch) < limit
	})
	slices.Reverse(m.scratch)
	return m.scratch
}

// cancelAll ends the live orders of an account (0: everyone) and side (0:
// both) and returns how many (MASS-001).
func (m *Matcher) cancelAll(acct AccountID, side Side, reason Reason) Qty {
	limit := m.book.live
	if acct != 0 && m.risk != nil {
		limit = 0
		if r, s := m.seats.find(acct); r != 0 {
			limit = int(s.orders)
		}
	}
	found := m.collect(limit, func(_ ref, n *node) bool {
		return (acct == 0 || n.account == acct) && (side == 0 || n.side == side)
	})
	for _, r := range found {
		m.cancelLive(r, m.book.node(r), EventCanceled, reason)
	}
	return Qty(len(found))
}

func (m *Matcher) massCancel(cmd *Command) Reason {
	if cmd.Side != 0 && !cmd.Side.valid() {
		return InvalidSide
	}
	massCanceled(m.core, &m.stream, cmd, m.cancelAll(cmd.Account, cmd.Side, ByMassCancel))
	return 0
}

func massCanceled(c *core, s *stream, cmd *Command, n Qty) {
	ev := s.event(c, EventMassCanceled)
	ev.ID, ev.Account, ev.Side, ev.Qty = cmd.ID, cmd.Account, cmd.Side, n
}

// endDayOrders expires the Day orders and returns how many (TIME-004).
func (m *Matcher) endDayOrders() Qty {
	found := m.collect(m.book.live, func(_ ref, n *node) bool { return n.tif() == Day })
	for _, r := range found {
		m.cancelLive(r, m.book.node(r), EventExpired, ByEndOfDay)
	}
	return Qty(len(found))
}

// expire ends the GTD orders that are due (TIME-002).
func (m *Matcher) expire() {
	for {
		at, ok := m.book.nextExpiry()
		if !ok || at > m.now {
			return
		}
		r := m.book.expiry[0]
		m.cancelLive(r, m.book.node(r), EventExpired, ByExpire)
	}
}
