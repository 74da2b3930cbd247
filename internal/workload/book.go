package workload

import (
	"container/list"

	"github.com/tidwall/btree"

	"github.com/castlecloud/exchange"
)

// book is the generator's own, slow and plain: it knows which orders live, so
// that cancels and amends can mean them.
type book struct {
	bids, asks btree.Map[exchange.Price, *list.List] // first come first in a list
	live       []*order                              // in no order, to draw from
	lastID     exchange.OrderID
}

type order struct {
	id       exchange.OrderID
	account  exchange.AccountID
	side     exchange.Side
	price    exchange.Price
	orderQty exchange.Qty
	leaves   exchange.Qty
	at       int // its index in live
	place    *list.Element
}

func (b *book) side(s exchange.Side) *btree.Map[exchange.Price, *list.List] {
	if s == exchange.Buy {
		return &b.bids
	}
	return &b.asks
}

func (b *book) best(s exchange.Side) (exchange.Price, *list.List, bool) {
	if s == exchange.Buy {
		return b.bids.Max()
	}
	return b.asks.Min()
}

func (b *book) levels() int { return b.bids.Len() + b.asks.Len() }

// add rests a new order, which meets nothing.
func (b *book) add(o *order) {
	b.lastID++
	o.id, o.at = b.lastID, len(b.live)
	b.live = append(b.live, o)
	b.rest(o)
}

func (b *book) rest(o *order) {
	level, ok := b.side(o.side).Get(o.price)
	if !ok {
		level = list.New()
		b.side(o.side).Set(o.price, level)
	}
	o.place = level.PushBack(o)
}

func (b *book) unlink(o *order) {
	level, _ := b.side(o.side).Get(o.price)
	level.Remove(o.place)
	if level.Len() == 0 {
		b.side(o.side).Delete(o.price)
	}
}

func (b *book) remove(o *order) {
	b.unlink(o)
	last := b.live[len(b.live)-1]
	last.at, b.live[o.at] = o.at, last
	b.live = b.live[:len(b.live)-1]
}

// move rests an order at the back of another price.
func (b *book) move(o *order, price exchange.Price) {
	b.unlink(o)
	o.price = price
	b.rest(o)
}

// take lets an aggressor of a side trade up to a price, and calls meet with
// every order it meets. The aggressor never rests but uses an id.
func (b *book) take(side exchange.Side, limit exchange.Price, qty exchange.Qty, meet func(o *order)) {
	b.lastID++
	for qty > 0 {
		price, level, ok := b.best(side.Opposite())
		if !ok || side == exchange.Buy && price > limit || side == exchange.Sell && price < limit {
			return
		}
		o := level.Front().Value.(*order)
		traded := min(qty, o.leaves)
		qty -= traded
		o.leaves -= traded
		meet(o)
		if o.leaves == 0 {
			b.remove(o)
		}
	}
}

// leaves returns the open quantity of the first n orders of a side.
func (b *book) leaves(side exchange.Side, n int) (sum exchange.Qty) {
	count := func(_ exchange.Price, level *list.List) bool {
		for e := level.Front(); e != nil && n > 0; e, n = e.Next(), n-1 {
			sum += e.Value.(*order).leaves
		}
		return n > 0
	}
	if side == exchange.Buy {
		b.bids.Reverse(count)
	} else {
		b.asks.Scan(count)
	}
	return sum
}
