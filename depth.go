package exchange

import "slices"

// Level is one price of the public book (L2): the visible quantity and the
// number of visible orders. Hidden orders and hidden parts are left out.
type Level struct {
	Price  Price
	Qty    Qty
	Orders int
}

// Instrument returns the instrument the book is of.
func (b *Book) Instrument() *Instrument { return b.inst }

// Len returns the number of live orders, waiting ones included.
func (b *Book) Len() int { return b.live }

// LastPrice returns the last trade price; ok is false before there is one.
func (b *Book) LastPrice() (p Price, ok bool) { return b.last, b.last != 0 }

// ReferencePrice returns the reference price; ok is false without one.
func (b *Book) ReferencePrice() (p Price, ok bool) { return b.reference, b.reference != 0 }

// Best returns the best visible level of a side; ok is false without one.
func (b *Book) Best(side Side) (lv Level, ok bool) {
	var one [1]Level
	got := b.Levels(one[:0], side, 1)
	if len(got) == 0 {
		return Level{}, false
	}
	return got[0], true
}

// Level returns the visible level at a price, as Levels has it; ok is false
// when there is nothing visible. It takes the same time wherever the price is.
func (b *Book) Level(side Side, price Price) (lv Level, ok bool) {
	if !side.valid() {
		return Level{}, false
	}
	l := b.ladder(side)
	r := l.at(l.x(price))
	if r == 0 || b.levels.at(r).shown == 0 {
		return Level{}, false
	}
	return b.levels.at(r).public(), true
}

// public returns what the public sees of a level.
func (lv *level) public() Level {
	return Level{Price: lv.price, Qty: lv.visible, Orders: int(lv.shown)}
}

// Levels appends the visible levels of a side to dst, best first, at most
// limit of them (all when limit is 0 or less).
func (b *Book) Levels(dst []Level, side Side, limit int) []Level {
	if !side.valid() {
		return dst
	}
	l := b.ladder(side)
	had := len(dst)
	for r, x := l.best, l.bestX; r != 0; r, x = l.after(x) {
		lv := b.levels.at(r)
		if lv.shown == 0 {
			continue
		}
		dst = append(dst, lv.public())
		if len(dst)-had == limit {
			break
		}
	}
	return dst
}

// Orders appends the resting orders of a side to dst (L3), in the order in
// which they would trade, at most limit of them (all when limit is 0 or
// less). Hidden orders are among them, for the venue's own use: a public feed
// leaves out those with Hidden set and shows ShownQty of the others.
func (b *Book) Orders(dst []Order, side Side, limit int) []Order {
	if !side.valid() {
		return dst
	}
	return b.walk(dst, b.ladder(side), limit)
}

func (b *Book) walk(dst []Order, l *ladder, limit int) []Order {
	had := len(dst)
	for lr, x := l.best, l.bestX; lr != 0; lr, x = l.after(x) {
		for r := b.levels.at(lr).head; r != 0; {
			n := b.node(r)
			dst = append(dst, Order{})
			b.fill(&dst[len(dst)-1], r, n)
			if len(dst)-had == limit {
				return dst
			}
			r = b.link(r).next
		}
	}
	return dst
}

// Pending appends the orders that wait for their trigger to dst, by OrderID.
func (b *Book) Pending(dst []Order) []Order {
	had := len(dst)
	dst = b.walk(dst, &b.rise, 0)
	dst = b.walk(dst, &b.fall, 0)
	slices.SortFunc(dst[had:], func(x, y Order) int {
		if x.ID < y.ID {
			return -1
		}
		return 1
	})
	return dst
}

// Order returns a live order by its id.
func (b *Book) Order(id OrderID) (o Order, ok bool) {
	r := b.ids.get(id)
	if r == 0 {
		return Order{}, false
	}
	b.fill(&o, r, b.node(r))
	return o, true
}

// OrderByCommand returns the live order that a command created.
func (b *Book) OrderByCommand(id CommandID) (o Order, ok bool) {
	r := b.named(&id)
	if r == 0 {
		return Order{}, false
	}
	b.fill(&o, r, b.node(r))
	return o, true
}

// QueuePosition tells how many orders, and how much open quantity (hidden
// parts included), stand before an order at its price. ok is false when it
// does not rest in the book. It takes time in the number of those orders.
func (b *Book) QueuePosition(id OrderID) (orders int, ahead Qty, ok bool) {
	r := b.ids.get(id)
	if r == 0 || b.node(r).flags&flagPending != 0 {
		return 0, 0, false
	}
	for p := b.link(r).prev; p != 0; p = b.link(p).prev {
		orders++
		ahead += b.node(p).leaves
	}
	return orders, ahead, true
}

// fill describes an order that is in a queue.
func (b *Book) fill(o *Order, r ref, n *node) {
	t := b.tail(r, n)
	*o = Order{
		ID: n.id, CommandID: t.cmd, Account: n.account, Instrument: b.inst.ID(), Group: n.group,
		Side: n.side, Type: n.typ(), TimeInForce: n.tif(), SelfTrade: n.selfTrade(), PostOnly: n.postOnly(),
		Hidden: n.flags&flagHidden != 0, Pending: n.flags&flagPending != 0,
		Price: b.levels.at(n.level).price, OrderQty: n.qty, CumQty: n.qty - n.leaves, LeavesQty: n.leaves,
		Held: n.held, MakerFee: t.makerFee, TakerFee: t.takerFee, FeeRemainder: n.feeRem,
	}
	if !o.Hidden && !o.Pending {
		o.ShownQty = b.shown(n)
	}
	if n.extra != 0 {
		x := b.extras.at(n.extra)
		o.DisplayQty, o.Funds, o.Expire = x.display, x.funds, x.expire
		if o.Pending {
			o.StopPrice, o.Price = x.stop, x.limit
		}
	}
}
