package exchange_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/castlecloud/exchange"
)

// rebuilder keeps the book of one instrument from its events alone: copy it
// to follow an engine from outside. Between two commands its sides are those
// of Book.Orders, first to trade first.
type rebuilder struct {
	orders map[exchange.OrderID]*rebuilt
	sides  [exchange.Sell + 1][]*rebuilt
}

// rebuilt is a live order.
type rebuilt struct {
	id      exchange.OrderID
	side    exchange.Side
	price   exchange.Price
	leaves  exchange.Qty
	display exchange.Qty // an iceberg's slice, 0: no iceberg
	shown   exchange.Qty // what of leaves is on display
	hidden  bool
}

func newRebuilder() *rebuilder {
	return &rebuilder{orders: map[exchange.OrderID]*rebuilt{}}
}

// HandleEvent makes a rebuilder an exchange.Handler. It wants the events of
// its instrument, without a gap in Seq.
func (b *rebuilder) HandleEvent(ev *exchange.Event) {
	o := b.orders[ev.OrderID]
	switch ev.Kind {
	case exchange.EventAccepted:
		o = &rebuilt{id: ev.OrderID, side: ev.Side, price: ev.Price, leaves: ev.LeavesQty, display: ev.DisplayQty, hidden: ev.Hidden}
		b.orders[o.id] = o
		if ev.Type == exchange.Limit {
			b.toBack(o)
		}
	case exchange.EventTriggered:
		o.price = ev.Price
		if ev.Type == exchange.StopLimit || ev.Type == exchange.TakeProfitLimit {
			b.toBack(o)
		}
	case exchange.EventRepriced:
		o.price = ev.Price
		b.toBack(o)
	case exchange.EventTrade, exchange.EventSelfTradePrevented:
		b.take(o, ev.Qty)
		o.show()
		b.take(b.orders[ev.MakerOrderID], ev.Qty)
	case exchange.EventReplenished:
		b.toBack(o)
	case exchange.EventAmended:
		o.price, o.leaves = ev.Price, ev.LeavesQty
		if at := slices.Index(b.sides[o.side], o); ev.LostPlace && at >= 0 {
			b.toBack(o)
		}
		o.shown = min(o.shown, o.leaves)
	case exchange.EventCanceled, exchange.EventExpired:
		b.remove(o)
		delete(b.orders, o.id)
	}
}

// toBack shows a slice of an order behind all others of its price.
func (b *rebuilder) toBack(o *rebuilt) {
	o.show()
	b.remove(o)
	side := b.sides[o.side]
	at := slices.IndexFunc(side, func(p *rebuilt) bool {
		return o.side == exchange.Buy && p.price < o.price || o.side == exchange.Sell && p.price > o.price
	})
	if at < 0 {
		at = len(side)
	}
	b.sides[o.side] = slices.Insert(side, at, o)
}

func (b *rebuilder) remove(o *rebuilt) {
	b.sides[o.side] = slices.DeleteFunc(b.sides[o.side], func(p *rebuilt) bool { return p == o })
}

// take takes a quantity off an order. An order that a trade leaves nothing is
// done: no other event says so.
func (b *rebuilder) take(o *rebuilt, q exchange.Qty) {
	o.leaves -= q
	o.shown -= q
	if o.leaves == 0 {
		b.remove(o)
	}
}

// show puts as much of an order on display as it may show at once.
func (o *rebuilt) show() {
	o.shown = o.leaves
	if o.display > 0 {
		o.shown = min(o.display, o.leaves)
	}
}

// levels is the public depth (L2) of a side, best first.
func (b *rebuilder) levels(side exchange.Side) []exchange.Level {
	var levels []exchange.Level
	for _, o := range b.sides[side] {
		if o.hidden {
			continue
		}
		if n := len(levels); n == 0 || levels[n-1].Price != o.price {
			levels = append(levels, exchange.Level{Price: o.price})
		}
		lv := &levels[len(levels)-1]
		lv.Qty += o.shown
		lv.Orders++
	}
	return levels
}

// TestRebuild: level 2 and level 3 follow from the events alone, after every
// command: EVENT-005, EVENT-004, MATCH-004, MATCH-009.
func TestRebuild(t *testing.T) {
	for _, mode := range modelModes {
		t.Run(mode.name, func(t *testing.T) {
			checkRandom(t, 80, func(pick picker) string {
				s := newSystem(t, mode.mode, mode.alone, 0)
				rebuilders := map[exchange.InstrumentID]*rebuilder{}
				seqs := map[exchange.InstrumentID]uint64{}
				for _, in := range s.insts {
					rebuilders[in.ID()] = newRebuilder()
				}
				for i, cmd := range stream(t, pick, mode.mode, mode.alone, 50+pick(350)) {
					s.got = s.apply.Apply(s.got[:0], &cmd)
					exchange.Dispatch(s.got, exchange.HandlerFunc(func(ev *exchange.Event) {
						if ev.Kind == exchange.EventDuplicate {
							return
						}
						if seqs[ev.Instrument]++; ev.Seq != seqs[ev.Instrument] {
							t.Fatalf("EVENT-003: seq %d after %d", ev.Seq, seqs[ev.Instrument]-1)
						}
						if b := rebuilders[ev.Instrument]; b != nil {
							b.HandleEvent(ev)
						}
					}))
					for _, in := range s.insts {
						if d := rebuilders[in.ID()].compare(s.book(in.ID())); d != "" {
							return fmt.Sprintf("command %d, %+v: %s", i, cmd, d)
						}
					}
				}
				return ""
			})
		})
	}
}

// compare returns how a rebuilt book differs from the engine's.
func (b *rebuilder) compare(book *exchange.Book) string {
	for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
		if got, want := b.levels(side), book.Levels(nil, side, 0); !slices.Equal(got, want) {
			return fmt.Sprintf("levels %v, expected %v", got, want)
		}
		orders := book.Orders(nil, side, 0)
		if len(orders) != len(b.sides[side]) {
			return fmt.Sprintf("%d orders, expected %d", len(b.sides[side]), len(orders))
		}
		for i, o := range b.sides[side] {
			want := rebuilt{id: orders[i].ID, side: side, price: orders[i].Price, leaves: orders[i].LeavesQty,
				display: orders[i].DisplayQty, shown: orders[i].ShownQty, hidden: orders[i].Hidden}
			if want.hidden {
				want.shown = want.leaves // nothing is, but all of it trades at once
			}
			if *o != want {
				return fmt.Sprintf("order %+v, expected %+v", *o, want)
			}
		}
	}
	return ""
}
