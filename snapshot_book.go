package exchange

import (
	"fmt"
	"math"
)

// identity is what must agree between a snapshot and the instrument it is
// restored into.
func (in *Instrument) identity() string {
	s := &in.spec
	text := fmt.Sprint(s.ID, " ", s.Symbol, " ", s.Base, " ", s.Quote)
	for _, d := range []fmt.Stringer{s.Tick, s.Lot, s.MinPrice, s.MaxPrice, s.MinQty, s.MaxQty, s.MinNotional, s.MaxNotional, s.MakerFee, s.TakerFee} {
		text += " " + d.String()
	}
	return text
}

func (m *Matcher) encode(w *encoder) {
	b := &m.book
	identity := b.inst.identity()
	w.u16(uint16(len(identity)))
	w.buf = append(w.buf, identity...)
	w.i64(int64(m.maxOrders))
	m.stream.encode(w, m.now)
	w.u8(uint8(m.state))
	w.bool(m.killed)
	w.i64(int64(m.minPrice))
	w.i64(int64(m.maxPrice))
	w.bool(m.priceLimited)
	w.i64(m.collarUp)
	w.i64(m.collarDown)
	w.u32(uint32(m.makerFee))
	w.u32(uint32(m.takerFee))
	w.bool(m.rebates)
	w.u64(uint64(m.nextOrder))
	w.u64(uint64(m.nextTrade))
	w.i64(int64(b.last))
	w.i64(int64(b.reference))
	w.u64(uint64(m.seats.made()))
	for i := ref(1); i <= m.seats.made(); i++ {
		s := m.seats.at(i)
		w.u64(uint64(s.account))
		w.bool(s.killed)
		w.i64(int64(s.net))
	}
	for _, l := range b.ladders() {
		count := len(w.buf)
		w.u64(0)
		n := uint64(0)
		b.each(l, func(r ref, nd *node) {
			b.encodeOrder(w, r, nd)
			n++
		})
		for i := range 8 {
			w.buf[count+i] = byte(n >> (8 * i))
		}
	}
}

// each calls yield with the orders of a ladder, best first, in time order.
func (b *Book) each(l *ladder, yield func(r ref, n *node)) {
	for lr, x := l.best, l.bestX; lr != 0; lr, x = l.after(x) {
		for r := b.levels.at(lr).head; r != 0; {
			next := b.link(r).next
			yield(r, b.node(r))
			r = next
		}
	}
}

// maxOrderID bounds the memory that a forged snapshot makes the index of ids
// ask for, to 32 MiB; a million orders a second take two years to come so far.
const maxOrderID = 1 << 46

// orderBytes is the least a resting order takes.
const orderBytes = 2 + 1 + 1 + 8 + 8 + 4 + 4 + 8 + 8 + 8 + 8 + 4 + 16 + 4 + 4 + 1

func (b *Book) encodeOrder(w *encoder, r ref, n *node) {
	t := b.tail(r, n)
	w.u16(uint16(n.flags))
	w.u8(n.kind)
	w.u8(uint8(n.side))
	w.u64(uint64(n.id))
	w.u64(uint64(n.account))
	w.u32(uint32(n.seat))
	w.u32(n.group)
	w.i64(int64(b.levels.at(n.level).price))
	w.i64(int64(n.leaves))
	w.i64(int64(n.qty))
	w.i64(int64(n.held))
	w.u32(uint32(n.feeRem))
	w.id(&t.cmd)
	w.u32(uint32(t.makerFee))
	w.u32(uint32(t.takerFee))
	w.bool(n.extra != 0)
	if n.extra == 0 {
		return
	}
	x := b.extras.at(n.extra)
	for _, v := range [...]int64{int64(x.display), int64(x.shown), int64(x.stop), int64(x.limit), int64(x.funds), int64(x.minQty), int64(x.expire)} {
		w.i64(v)
	}
}

func (m *Matcher) decode(r *decoder) error {
	b := &m.book
	n := int(r.u16())
	if len(r.buf) < n {
		r.fail("ends too early")
		return r.finish()
	}
	var err error
	foreign(&err, "instrument", string(r.take(n)), b.inst.identity())
	foreign(&err, "MaxOrders", r.i64(), int64(m.maxOrders))
	if err != nil {
		return err
	}
	if err := m.stream.decode(r, m.now); err != nil {
		return err
	}
	m.state, m.killed = InstrumentState(r.u8()), r.bool()
	r.check(m.state >= InstrumentTrading && m.state <= InstrumentHalted, "an instrument has no known state")
	m.minPrice = Price(r.within(1, int64(MaxPrice), "a price limit is out of range"))
	m.maxPrice = Price(r.within(int64(m.minPrice), int64(MaxPrice), "a price limit is out of range"))
	m.priceLimited = r.bool()
	m.collarUp = r.within(-1, 1000*FeeRateUnit, "a collar is out of range")
	m.collarDown = r.within(-1, FeeRateUnit, "a collar is out of range")
	m.makerFee, m.takerFee, m.rebates = r.rate(), r.rate(), r.bool()
	r.check(m.rebates || m.makerFee >= 0 && m.takerFee >= 0, "a rebate was never paid")
	m.nextOrder = OrderID(r.within(1, maxOrderID+1, "an order id is out of range"))
	m.nextTrade = TradeID(r.within(1, math.MaxInt64, "a trade id is out of range"))
	b.last = Price(r.within(0, int64(MaxPrice), "the last price is out of range"))
	b.reference = Price(r.within(0, int64(MaxPrice), "the reference price is out of range"))
	m.decodeSeats(r)
	for _, l := range b.ladders() {
		at := int64(math.MinInt64)
		for range r.count(orderBytes) {
			if at = m.decodeOrder(r, l, at); r.bad != "" {
				return r.finish()
			}
		}
	}
	if b.sides[Buy].best != 0 && b.sides[Sell].best != 0 {
		r.check(-b.sides[Buy].bestX < b.sides[Sell].bestX, "the book is crossed")
	}
	if r.bad != "" {
		return r.finish()
	}
	return nil
}

func (r *decoder) rate() FeeRate {
	v := FeeRate(r.u32())
	r.check(validRate(v), "a fee rate is out of range")
	return v
}

func (m *Matcher) decodeSeats(r *decoder) {
	b, n := &m.book, r.count(8+1+8)
	r.check(m.risk != nil || n == 0, "a matcher alone has accounts")
	for range n {
		id, killed := AccountID(r.u64()), r.bool()
		net := Qty(r.within(-int64(maxPosition), int64(maxPosition), "a position is out of range"))
		had, _ := m.seats.find(id)
		r.check(m.risk == nil || m.risk.account(id) != 0 && had == 0, "a seat is of an unknown account or comes twice")
		if r.bad != "" {
			return
		}
		if in := &b.inst.spec; m.risk.mode == FundsLedger {
			r.check(m.risk.balance(id, in.Base.ID) != 0 && m.risk.balance(id, in.Quote.ID) != 0, "an account lacks a balance")
		}
		if r.bad != "" {
			return
		}
		s := m.seats.at(m.risk.openSeat(m, id))
		s.killed, s.net = killed, net
	}
}

// decodeOrder reads one order into a ladder. at is the coordinate of the one
// before it, which it may not precede.
func (m *Matcher) decodeOrder(r *decoder, l *ladder, at int64) int64 {
	b := &m.book
	slot := b.alloc()
	n := b.node(slot)
	*n = node{flags: orderFlags(r.u16()), kind: r.u8(), side: Side(r.u8()), id: OrderID(r.u64()), account: AccountID(r.u64())}
	t := &tail{} // of an order that says it has none, it must be zero
	if n.flags&flagTail != 0 {
		t = b.tail(slot, n)
	}
	n.seat, n.group = ref(r.u32()), r.u32()
	price := Price(r.within(1, int64(MaxPrice), "a price is out of range"))
	n.leaves = Qty(r.within(1, int64(MaxQty), "a quantity is out of range"))
	n.qty = Qty(r.within(int64(n.leaves), int64(MaxQty), "a quantity is out of range"))
	n.held = Amount(r.within(0, 2*int64(MaxAmount), "a hold is out of range"))
	n.feeRem = int32(r.u32())
	t.cmd, t.makerFee, t.takerFee = r.id(), r.rate(), r.rate()
	var x extra
	if special := r.bool(); special {
		x = extra{display: Qty(r.i64()), shown: Qty(r.i64()), stop: Price(r.i64()), limit: Price(r.i64()), funds: Amount(r.i64()),
			minQty: Qty(r.i64()), expire: Time(r.i64())}
		m.auditExtra(r, n, &x)
		n.extra = b.extras.alloc()
		*b.extras.at(n.extra) = x
	} else {
		r.check(n.flags&(flagIceberg|flagPending|flagBudget) == 0 && n.tif() != GTD, "an order lacks its special fields")
	}
	m.auditOrder(r, n, t, &x, l, price)
	r.check(l.x(price) >= at, "orders are not in order")
	if r.bad != "" {
		return at
	}
	b.append(l, slot, n, price)
	b.relist(slot, n, t)
	b.live++
	b.open[n.side] += n.leaves
	r.check(b.open[n.side] >= 0 && b.live <= m.maxOrders, "more open than a book may have")
	if m.risk != nil {
		s := m.seats.at(n.seat)
		s.orders++
		s.open[n.side.index()] += n.leaves
		r.check(s.open[n.side.index()] >= 0 && s.open[n.side.index()] <= 2*maxPosition, "more open than an account may have")
	}
	return l.x(price)
}

// auditOrder refuses what no history of commands leads to and what the engine
// relies on.
func (m *Matcher) auditOrder(r *decoder, n *node, t *tail, x *extra, l *ladder, price Price) {
	b := &m.book
	r.check(n.side.valid() && n.typ().valid() && n.tif().valid() && n.selfTrade().valid() && n.postOnly().valid(), "an order has no known kind")
	r.check(n.flags < 1<<(flagPostOnlyShift+2) && n.flags&flagListed != 0 && n.flags&flagUnsized == 0, "an order has unknown flags")
	r.check(n.id >= 1 && n.id < m.nextOrder && b.ids.get(n.id) == 0, "an order id is out of range or comes twice")
	r.check(t.cmd == (CommandID{}) || b.named(&t.cmd) == 0, "an order's command comes twice")
	r.check((n.flags&flagNamed != 0) == (t.cmd != CommandID{}) && n.flags&(flagNamed|flagTail) != flagNamed, "an order is not named as it says")
	r.check(n.flags&flagTail != 0 || *t == tail{} && !m.keepsFunds(), "an order lacks its hold")
	r.check(n.feeRem >= 0 && n.feeRem < FeeRateUnit, "a fee remainder is out of range")
	if r.bad != "" {
		return
	}
	r.check(n.flags&(flagHidden|flagIceberg) != flagHidden|flagIceberg, "an order is hidden and an iceberg")
	r.check(n.flags&(flagHidden|flagIceberg|flagPostOnly) == 0 || n.typ().limited() && !n.tif().immediate(), "an order cannot rest as it should")
	r.check(n.flags&flagBudget == 0 || n.side == Buy && !n.typ().limited(), "an order has a budget that cannot")
	if m.keepsFunds() {
		r.check(m.rebates || t.makerFee >= 0 && t.takerFee >= 0, "a rebate was never paid")
		r.check(n.flags&(flagPending|flagBudget) != flagPending || n.side == Sell || x.limit != 0, "an order has no worst price")
	} else {
		r.check(t.makerFee == 0 && t.takerFee == 0 && n.feeRem == 0, "an order has fees where there are none")
	}
	_, ok := b.inst.notional(price, n.leaves)
	if waits := n.flags&flagPending != 0; waits {
		r.check(n.typ().triggered() && l == b.triggers(n.side, n.typ()) && price == x.stop, "an order waits in the wrong place")
		r.check(x.limit != 0 || !n.typ().limited(), "a limit order has no limit")
		_, ok = b.inst.notional(x.limit, n.leaves)
		ok = ok || !n.typ().limited() && (n.side == Sell || m.risk == nil || m.risk.mode == FundsNone || n.flags&flagBudget != 0)
	} else {
		r.check(n.typ().limited() && !n.tif().immediate() && l == b.ladder(n.side), "an order rests in the wrong place")
		r.check(n.flags&flagBudget == 0, "a resting order has a budget")
	}
	r.check(ok && n.leaves <= Qty(MaxAmount/b.inst.lotBase), "an order is too large")
	if m.risk == nil {
		r.check(n.seat == 0 && n.held == 0, "a matcher alone has accounts")
		return
	}
	r.check(n.seat >= 1 && n.seat <= m.seats.made() && m.seats.at(max(1, min(n.seat, m.seats.made()))).account == n.account, "an order is of an unknown account")
	want := Amount(0)
	if m.keepsFunds() {
		worst := price
		if n.flags&flagPending != 0 {
			worst = x.limit
		}
		terms := Terms{Side: n.side, Price: worst, LeavesQty: n.leaves, MakerFee: t.makerFee, TakerFee: t.takerFee, FeeRemainder: n.feeRem}
		if n.flags&flagBudget != 0 {
			terms.Funds = x.funds
		}
		want, _ = b.inst.Need(&terms)
	}
	r.check(n.held == want, "a hold is not what its order needs")
}

// auditExtra checks the special fields of an order.
func (m *Matcher) auditExtra(r *decoder, n *node, x *extra) {
	within := func(v, most int64) bool { return v >= 0 && v <= most }
	r.check(within(int64(x.display), int64(MaxQty)) && within(int64(x.shown), int64(n.leaves)) &&
		within(int64(x.stop), int64(MaxPrice)) && within(int64(x.limit), int64(MaxPrice)) &&
		within(int64(x.funds), int64(MaxAmount)) && within(int64(x.minQty), int64(MaxQty)) && x.expire >= 0, "a special field is out of range")
	waits := n.flags&flagPending != 0
	if n.flags&flagIceberg != 0 {
		r.check(x.display >= 1 && (waits && x.shown == 0 || !waits && x.shown >= 1 && x.shown <= x.display), "an iceberg shows what it cannot")
		r.check(x.display < 1 || !tooManyParts(n.leaves, x.display), "an iceberg has too many parts")
	} else {
		r.check(x.display == 0 && x.shown == 0, "an order shows slices that is no iceberg")
	}
	r.check((n.flags&flagBudget != 0) == (x.funds > 0), "a budget is missing or left over")
	r.check(waits || x.minQty == 0, "a resting order has a minimum quantity")
	r.check(n.tif() == GTD && x.expire > m.now || n.tif() != GTD && x.expire == 0, "an order should have expired")
}
