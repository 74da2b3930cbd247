package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

// outcome is what came of a case, in the case's own ids.
type outcome struct {
	inst *exchange.Instrument
	book *exchange.Book
	ids  map[exchange.OrderID]text

	trades    []string
	filled    map[text]decimal.Decimal
	canceled  map[text]decimal.Decimal // quantity that was open when an order ended unfilled
	total     decimal.Decimal
	cancelled []ending
	rejected  []ending
	expired   []ending
}

// ending says that something ended an order, or refused a step that named it.
type ending struct {
	id       text
	also     text // another name a case may use for the same, or ""
	optional bool // a case may leave it out
}

func newOutcome(inst *exchange.Instrument, book *exchange.Book) *outcome {
	return &outcome{
		inst: inst, book: book, ids: make(map[exchange.OrderID]text),
		filled: make(map[text]decimal.Decimal), canceled: make(map[text]decimal.Decimal),
	}
}

func (o *outcome) note(ev *exchange.Event) {
	id := o.ids[ev.OrderID]
	qty := o.inst.QtyDecimal(ev.Qty)
	switch ev.Kind {
	case exchange.EventTrade:
		maker := o.ids[ev.MakerOrderID]
		o.trades = append(o.trades, tradeLine(string(maker), string(id), o.inst.PriceDecimal(ev.Price).String(), qty.String()))
		o.total = o.total.Add(qty)
		o.filled[id] = o.filled[id].Add(qty)
		o.filled[maker] = o.filled[maker].Add(qty)
	case exchange.EventCanceled:
		o.canceled[id] = o.canceled[id].Add(qty)
		o.noteCanceled(id, ev.Reason)
	case exchange.EventExpired:
		o.canceled[id] = o.canceled[id].Add(qty)
		o.expired = append(o.expired, ending{id: id})
	}
}

// noteCanceled files a cancel. An order that was replaced lives on under
// another id, so a case need not list it; a post-only order that would take
// when triggered is rejected then, as the cases say it.
func (o *outcome) noteCanceled(id text, reason exchange.Reason) {
	if reason == exchange.PostOnlyOnTrigger {
		o.rejected = append(o.rejected, ending{id: id})
	}
	optional := reason == exchange.PostOnlyOnTrigger || reason == exchange.ByReplace
	o.cancelled = append(o.cancelled, ending{id: id, optional: optional})
}

// refuse notes a step that was refused. A case may name a refused replace by
// either of its ids.
func (o *outcome) refuse(s *step) {
	if s.ID != "" {
		o.rejected = append(o.rejected, ending{id: s.ID, also: s.NewID})
	}
}

// check lists the expectations that do not hold, one line each.
func (o *outcome) check(want *expect) []string {
	var faults []string
	same := func(what string, expected, came []string) {
		if !slices.Equal(expected, came) {
			faults = append(faults, fmt.Sprintf("%s: expected %s, came %s", what, list(expected), list(came)))
		}
	}
	if want.Trades != nil {
		expected, came := tradeLines(*want.Trades), slices.Clone(o.trades)
		if want.UnorderedTrades {
			slices.Sort(expected)
			slices.Sort(came)
		}
		same("trades", expected, came)
	}
	o.checkBook("book", want.Book, o.wholeSide, same)
	o.checkBook("visible_book", want.VisibleBook, o.visibleSide, same)
	for _, ended := range []struct {
		what     string
		expected *[]text
		came     []ending
	}{{"cancelled", want.Cancelled, o.cancelled}, {"rejected", want.Rejected, o.rejected}, {"expired", want.Expired, o.expired}} {
		if ended.expected != nil && !matches(*ended.expected, ended.came) {
			same(ended.what, sorted(*ended.expected), sorted(required(ended.came)))
		}
	}
	if want.PendingStops != nil {
		same("pending_stops", sorted(*want.PendingStops), sorted(o.pending()))
	}
	for _, price := range keys(want.Queue) {
		same("queue at "+string(price), strs(want.Queue[price]), strs(o.queue(canonical(price))))
	}
	quantities := func(what string, expected map[text]text, came func(text) decimal.Decimal) {
		for _, id := range keys(expected) {
			same(what+" of "+string(id), []string{canonical(expected[id])}, []string{came(id).String()})
		}
	}
	quantities("remaining_cancelled", want.RemainingCancelled, func(id text) decimal.Decimal { return o.canceled[id] })
	quantities("filled", want.Filled, func(id text) decimal.Decimal { return o.filled[id] })
	quantities("orders", want.Orders, o.open)
	if want.TotalTraded != "" {
		same("total_traded", []string{canonical(want.TotalTraded)}, []string{o.total.String()})
	}
	return faults
}

func (o *outcome) checkBook(what string, want *sides, side func(exchange.Side) []string, same func(string, []string, []string)) {
	if want == nil {
		return
	}
	if want.Bids != nil {
		same(what+" bids", levelLines(*want.Bids), side(exchange.Buy))
	}
	if want.Asks != nil {
		same(what+" asks", levelLines(*want.Asks), side(exchange.Sell))
	}
}

// wholeSide is a side of the book with hidden orders; of an iceberg only the
// shown part counts.
func (o *outcome) wholeSide(side exchange.Side) []string {
	var levels []exchange.Level
	for _, order := range o.book.Orders(nil, side, 0) {
		if n := len(levels); n == 0 || levels[n-1].Price != order.Price {
			levels = append(levels, exchange.Level{Price: order.Price})
		}
		level := &levels[len(levels)-1]
		level.Orders++
		if order.Hidden {
			level.Qty += order.LeavesQty
		} else {
			level.Qty += order.ShownQty
		}
	}
	return o.lines(levels)
}

// visibleSide is a side of the book as the public sees it.
func (o *outcome) visibleSide(side exchange.Side) []string {
	return o.lines(o.book.Levels(nil, side, 0))
}

func (o *outcome) lines(levels []exchange.Level) []string {
	lines := make([]string, len(levels))
	for i, l := range levels {
		lines[i] = levelLine(o.inst.PriceDecimal(l.Price).String(), o.inst.QtyDecimal(l.Qty).String(), fmt.Sprint(l.Orders))
	}
	return lines
}

func (o *outcome) pending() []text {
	var ids []text
	for _, order := range o.book.Pending(nil) {
		ids = append(ids, o.ids[order.ID])
	}
	return ids
}

// queue lists the orders at a price in the order they would trade.
func (o *outcome) queue(price string) []text {
	var ids []text
	for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
		for _, order := range o.book.Orders(nil, side, 0) {
			if o.inst.PriceDecimal(order.Price).String() == price {
				ids = append(ids, o.ids[order.ID])
			}
		}
	}
	return ids
}

// open is the open quantity of what an id means now, 0 when it has ended.
func (o *outcome) open(id text) decimal.Decimal {
	var leaves exchange.Qty
	for orderID, name := range o.ids {
		if order, live := o.book.Order(orderID); live && name == id {
			leaves += order.LeavesQty
		}
	}
	return o.inst.QtyDecimal(leaves)
}

// matches reports whether the expected ids are the ones that ended.
func matches(expected []text, came []ending) bool {
	for _, id := range expected {
		if !slices.ContainsFunc(came, func(e ending) bool { return e.id == id || e.also != "" && e.also == id }) {
			return false
		}
	}
	for _, e := range came {
		if !e.optional && !slices.Contains(expected, e.id) && (e.also == "" || !slices.Contains(expected, e.also)) {
			return false
		}
	}
	return true
}

func required(endings []ending) []text {
	var ids []text
	for _, e := range endings {
		if !e.optional {
			ids = append(ids, e.id)
		}
	}
	return ids
}

func tradeLine(maker, taker, price, qty string) string {
	return fmt.Sprintf("maker %s taker %s %s at %s", maker, taker, qty, price)
}

func tradeLines(rows []tradeRow) []string {
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = tradeLine(string(r.Maker), string(r.Taker), canonical(r.Price), canonical(r.Qty))
	}
	return lines
}

func levelLine(price, qty, orders string) string {
	return fmt.Sprintf("%s at %s in %s", qty, price, orders)
}

func levelLines(rows []levelRow) []string {
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = levelLine(canonical(r.price), canonical(r.qty), canonical(r.orders))
	}
	return lines
}

// canonical writes equal numbers the same: 5.50 as 5.5.
func canonical(t text) string {
	d, err := exchange.ParseDecimal("number", string(t))
	if err != nil {
		return string(t)
	}
	return d.String()
}

func strs(ids []text) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// sorted makes a set comparable: each id once.
func sorted(ids []text) []string {
	out := strs(ids)
	slices.Sort(out)
	return slices.Compact(out)
}

func keys[V any](m map[text]V) []text { return slices.Sorted(maps.Keys(m)) }

func list(items []string) string { return "[" + strings.Join(items, ", ") + "]" }
