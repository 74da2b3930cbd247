package exchange

// wait lets a stop or take-profit order wait for its trigger, or act at once
// when the last price meets it already (STOP-002).
func (m *Matcher) wait(r ref, n *node) {
	b := &m.book
	n.flags |= flagPending
	stop := b.extras.at(n.extra).stop
	l := b.triggers(n.side, n.typ())
	if n.flags&flagListed == 0 {
		b.list(r, n)
	}
	if b.last != 0 && l.x(stop) <= l.x(b.last) {
		m.elected = append(m.elected, r)
		return
	}
	b.append(l, r, n, stop)
}

// elect appends to the queue what a price triggers: by a rise, lowest trigger
// first, then by a fall, highest first, each in time order (STOP-003).
func (m *Matcher) elect(px Price) {
	b := &m.book
	for _, l := range [...]*ladder{&b.rise, &b.fall} {
		for l.bestX <= l.x(px) {
			r := b.levels.at(l.best).head
			b.unlink(l, r, b.node(r))
			m.elected = append(m.elected, r)
		}
	}
}

// runElected lets triggered orders act, first in, first out, until none is
// left; their trades may append more (STOP-004).
func (m *Matcher) runElected() {
	for i := 0; i < len(m.elected); i++ {
		m.trigger(m.elected[i])
	}
	m.elected = m.elected[:0]
}

func (m *Matcher) trigger(r ref) {
	b := &m.book
	n := b.node(r)
	x := b.extras.at(n.extra)
	n.flags &^= flagPending
	price, reason := x.limit, Reason(0)
	if mode := n.postOnly(); mode != 0 {
		price, reason = m.postOnlyPrice(n.side, mode, price)
		if reason != 0 || price != x.limit && m.aboveMaxNotional(n, price, n.qty) {
			price, reason = x.limit, PostOnlyOnTrigger
		}
	}
	ev := m.event(m.core, EventTriggered)
	m.describe(ev, r, n)
	ev.Type, ev.Price, ev.StopPrice, ev.OrderQty, ev.LeavesQty = n.typ(), price, x.stop, n.qty, n.leaves
	if m.risk != nil && price != x.limit {
		ev.Release = m.risk.cover(m, r, n, price)
	}
	if reason != 0 {
		m.end(r, n, EventCanceled, reason, price)
		return
	}
	m.enter(r, price)
}

// slice is an order of a level in a dry run.
type slice struct {
	own     bool
	shown   Qty
	reserve Qty
	display Qty
}

// dryRun returns how much of an aggressor the very match would trade, looking
// no further than want (MATCH-006). It changes nothing.
func (m *Matcher) dryRun(r ref, n *node, limit int64, want Qty) Qty {
	b := &m.book
	d := dryRun{m: m, n: n, left: n.leaves, rem: n.feeRem}
	if n.flags&flagBudget != 0 {
		d.budget, d.funds = true, b.extras.at(n.extra).funds
		d.rate = max(b.tail(r, n).takerFee, 0) // MATCH-011: a rebate buys nothing
	}
	opp := b.ladder(n.side.Opposite())
	for lr, x := opp.best, opp.bestX; lr != 0 && x <= limit && d.left > 0 && d.traded < want && !d.stopped; lr, x = opp.after(x) {
		lv := b.levels.at(lr)
		if n.flags&flagSelfTrade == 0 {
			d.take(lv.price, lv.total)
			continue
		}
		d.level(lv)
	}
	return d.traded
}

type dryRun struct {
	m       *Matcher
	n       *node
	left    Qty // of the aggressor
	traded  Qty
	stopped bool
	budget  bool
	funds   Amount
	rate    FeeRate
	rem     int32
}

// bounded cuts a quantity at px to what is left and what the budget buys.
func (d *dryRun) bounded(px Price, q Qty) Qty {
	q = min(q, d.left)
	if d.budget {
		q = min(q, affordable(d.m.book.inst, px, d.funds, d.rate, d.rem))
	}
	return q
}

// take trades up to q lots at px. What the budget cuts ends the run: no
// further price is lower.
func (d *dryRun) take(px Price, q Qty) {
	want := min(q, d.left)
	q = d.bounded(px, q)
	d.stopped = q < want
	d.left -= q
	d.traded += q
	if d.budget {
		n := Amount(px) * Amount(q) * d.m.book.inst.tickLot
		var fee Amount
		fee, d.rem = feeStep(d.rate, n, d.rem)
		d.funds -= n + fee
	}
}

// level trades a level in which there may be orders of the aggressor's own.
func (d *dryRun) level(lv *level) {
	b := &d.m.book
	var own, before Qty // own open quantity; what is shown before the first own
	found := false
	for mr := lv.head; mr != 0; mr = b.link(mr).next {
		mk := b.node(mr)
		if d.m.sameOwner(d.n, mk) {
			found = true
			own += mk.leaves
		} else if !found {
			before += b.shown(mk)
		}
	}
	switch mode := d.n.selfTrade(); {
	case !found:
		d.take(lv.price, lv.total)
	case mode == CancelOldest:
		d.take(lv.price, lv.total-own)
	case mode == Decrement:
		d.roundRobin(lv)
	default: // the first own order ends it; an iceberg before it is gone round to once
		d.take(lv.price, before)
		d.stopped = true
	}
}

// decrement takes up to q lots off without a trade. What it leaves of the
// budget, which loses no fee, may buy more.
func (d *dryRun) decrement(px Price, q Qty) {
	for q > 0 && d.left > 0 && !d.stopped {
		part := d.bounded(px, q)
		d.stopped = part == 0
		d.left -= part
		q -= part
		if d.budget {
			d.funds -= Amount(px) * Amount(part) * d.m.book.inst.tickLot
		}
	}
}

// roundRobin goes round a level slice by slice: with Decrement it matters
// whose slice comes when.
func (d *dryRun) roundRobin(lv *level) {
	b := &d.m.book
	queue := d.m.slices[:0]
	for mr := lv.head; mr != 0; mr = b.link(mr).next {
		mk := b.node(mr)
		s := slice{own: d.m.sameOwner(d.n, mk), shown: b.shown(mk)}
		if s.reserve = mk.leaves - s.shown; s.reserve > 0 {
			s.display = b.extras.at(mk.extra).display
		}
		queue = append(queue, s)
	}
	for i := 0; i < len(queue) && d.left > 0 && !d.stopped; i++ {
		s := queue[i]
		if s.own {
			d.decrement(lv.price, s.shown)
		} else {
			d.take(lv.price, s.shown)
		}
		if s.reserve > 0 {
			s.shown = min(s.display, s.reserve)
			s.reserve -= s.shown
			queue = append(queue, s)
		}
	}
	d.m.slices = queue[:0]
}
