package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/castlecloud/exchange"
)

// DefaultTrackedOrders is how many live orders of an instrument a tracker
// keeps at hand; others are read from the TradeStore when something happens to
// them.
const DefaultTrackedOrders = 1 << 16

// tracker turns the events of an instrument into order states and trades. It
// keeps the live orders it has seen, and reads those it does not know from a
// TradeStore, which may be ahead of it: an event that an order has in it
// already changes nothing. It is used under the turn of its instrument.
type tracker struct {
	in    *exchange.Instrument
	store TradeStore
	max   int
	// orders are the live ones at hand. An order that is not here is in the
	// store as it is: forget sees to that.
	orders map[exchange.OrderID]*trackedOrder
	age    []exchange.OrderID // as they came to orders; some have left
	spare  []*trackedOrder
	at     Position // the last item taken
	item   tracked  // what it gave
	broken bool     // taking the one after it has failed
	// touched are the live orders of the item, and those that ended in it;
	// named are the ids of all, once somebody has asked.
	touched []*trackedOrder
	named   map[exchange.CommandID]bool
	// ended remembers the latest ids of orders that ended or were refused, for
	// when the store is behind; nil when it never is.
	ended     map[exchange.CommandID]bool
	endedRing []exchange.CommandID
	endedNext int
}

// maxEnded is how many orders that ended are remembered while the store is
// behind. With more than that in between, an old command that comes again looks
// like a new one that is refused.
const maxEnded = 1 << 16

type trackedOrder struct {
	OrderRecord
	at Position // the last item that touched it
}

// tracked is what one item did. It is valid until the next one.
type tracked struct {
	Record
	refusals []refusal
}

// refusal is a refused command that made no order.
type refusal struct {
	account exchange.AccountID
	id      exchange.CommandID
	kind    exchange.CommandKind
	order   exchange.OrderID // 0: unknown
	reason  exchange.Reason
}

func newTracker(in *exchange.Instrument, store TradeStore, most int) *tracker {
	return &tracker{in: in, store: store, max: most, orders: map[exchange.OrderID]*trackedOrder{}}
}

// reset forgets everything; the next item is the one after at.
func (t *tracker) reset(at Position) {
	clear(t.orders)
	t.age, t.touched, t.item = t.age[:0], t.touched[:0], tracked{}
	t.at, t.broken = at, false
	clear(t.ended)
	t.endedRing, t.endedNext = t.endedRing[:0], 0
}

// remember notes that an order ended or was refused.
func (t *tracker) remember(id exchange.CommandID) {
	switch {
	case t.ended == nil || t.ended[id]:
		return
	case len(t.endedRing) < maxEnded:
		t.endedRing = append(t.endedRing, id)
	default:
		delete(t.ended, t.endedRing[t.endedNext])
		t.endedRing[t.endedNext] = id
		t.endedNext = (t.endedNext + 1) % maxEnded
	}
	t.ended[id] = true
}

// take applies the next item, or the last one again. After an error the
// tracker must be reset.
func (t *tracker) take(ctx context.Context, c Committed) (*tracked, error) {
	if c.Position() == t.at {
		return &t.item, nil
	}
	if c.Position() != t.at+1 {
		return nil, fmt.Errorf("following orders: %w: item %d after item %d", ErrGap, c.Position(), t.at)
	}
	t.touched, t.named, t.item = t.touched[:0], nil, tracked{}
	t.broken = true
	b := c.Batch()
	for i := range b.Entries {
		e := &b.Entries[i]
		var old *trackedOrder // that a replace has ended
		for j := range e.Events {
			ev := &e.Events[j]
			if !b.tells(ev) {
				continue
			}
			o, err := t.event(ctx, c.Position(), e, ev, old)
			if err != nil {
				return nil, fmt.Errorf("following order %d: %w", ev.OrderID, err)
			}
			if ev.Kind == exchange.EventCanceled && ev.Reason == exchange.ByReplace {
				old = o
			}
		}
	}
	t.at, t.broken = c.Position(), false
	for i := range t.item.Orders { // so far those that were refused
		t.remember(t.item.Orders[i].CommandID)
	}
	for _, o := range t.touched {
		t.item.Orders = append(t.item.Orders, o.OrderRecord)
		if !o.Status.Live() {
			t.remember(o.CommandID)
			delete(t.orders, o.OrderID)
			t.spare = append(t.spare, o)
		}
	}
	t.tidy()
	return &t.item, nil
}

// event applies one event and returns the order it is about, if any.
func (t *tracker) event(ctx context.Context, pos Position, e *Entry, ev *exchange.Event, old *trackedOrder) (*trackedOrder, error) {
	switch ev.Kind {
	case exchange.EventAccepted:
		if ev.ID == (exchange.CommandID{}) {
			return nil, nil // nothing to name it by: the pipeline sends none
		}
		return t.accept(pos, e, ev, old), nil
	case exchange.EventRejected:
		return nil, t.reject(ctx, e, ev)
	case exchange.EventTrade:
		t.item.Trades = append(t.item.Trades, tradeOf(ev))
	case exchange.EventSelfTradePrevented, exchange.EventCanceled, exchange.EventExpired, exchange.EventAmended,
		exchange.EventTriggered, exchange.EventRepriced:
	default:
		return nil, nil
	}
	o, err := t.find(ctx, pos, ev.ID, ev.OrderID)
	if err != nil {
		return nil, err
	}
	if o != nil && ev.Seq > o.Seq {
		o.change(ev)
		o.Seq, o.Updated = ev.Seq, ev.Time
	}
	if ev.Kind != exchange.EventTrade && ev.Kind != exchange.EventSelfTradePrevented {
		return o, nil
	}
	maker, err := t.find(ctx, pos, ev.MakerID, ev.MakerOrderID)
	if err != nil {
		return nil, err
	}
	if maker != nil && ev.Seq > maker.Seq {
		maker.changeMaker(ev)
		maker.Seq, maker.Updated = ev.Seq, ev.Time
	}
	return o, nil
}

// find returns an order that an event is about, nil for one without a name.
func (t *tracker) find(ctx context.Context, pos Position, id exchange.CommandID, order exchange.OrderID) (*trackedOrder, error) {
	if id == (exchange.CommandID{}) {
		return nil, nil
	}
	o := t.orders[order]
	if o == nil {
		rec, err := t.store.OrderByCommand(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("reading it: %w", err)
		}
		if rec.Instrument != t.in.ID() || rec.OrderID != order {
			return nil, fmt.Errorf("reading it: %w: its command made order %d of instrument %d", ErrConflict, rec.OrderID, rec.Instrument)
		}
		o = t.add(order)
		o.OrderRecord = rec
	}
	t.touch(o, pos)
	return o, nil
}

func (t *tracker) touch(o *trackedOrder, pos Position) {
	if o.at != pos {
		o.at = pos
		t.touched = append(t.touched, o)
		if t.named != nil {
			t.named[o.CommandID] = true
		}
	}
}

func (t *tracker) add(id exchange.OrderID) *trackedOrder {
	var o *trackedOrder
	if n := len(t.spare); n > 0 {
		o, t.spare = t.spare[n-1], t.spare[:n-1]
		*o = trackedOrder{}
	} else {
		o = &trackedOrder{}
	}
	t.orders[id] = o
	t.age = append(t.age, id)
	return o
}

func (t *tracker) accept(pos Position, e *Entry, ev *exchange.Event, old *trackedOrder) *trackedOrder {
	cmd := &e.Command
	o := t.add(ev.OrderID)
	o.OrderRecord = orderOf(e, ev)
	o.Side, o.Type, o.TimeInForce, o.PostOnly, o.Hidden = ev.Side, ev.Type, ev.TimeInForce, ev.PostOnly, ev.Hidden
	o.OrderID, o.Price, o.StopPrice, o.DisplayQty = ev.OrderID, ev.Price, ev.StopPrice, ev.DisplayQty
	o.OrderQty, o.LeavesQty = ev.OrderQty, ev.LeavesQty
	o.Status = OrderOpen
	waits := ev.Type >= exchange.Stop
	if waits {
		o.Status = OrderPending
	}
	if cmd.Kind == exchange.KindReplace { // REPLACE-001
		o.SelfTrade, o.Expire, o.Funds = 0, 0, 0
		if old != nil {
			o.SelfTrade, o.Expire = old.SelfTrade, old.Expire
			if waits {
				o.Funds = old.Funds
			}
		}
	}
	t.touch(o, pos)
	return o
}

// orderOf is what a command says of the order it is about to make.
func orderOf(e *Entry, ev *exchange.Event) OrderRecord {
	cmd := &e.Command
	created := cmd.Time
	if created == 0 {
		created = ev.Time
	}
	return OrderRecord{CommandID: ev.ID, ClientID: e.ClientID, Instrument: ev.Instrument, Account: ev.Account,
		Side: cmd.Side, Type: cmd.Type, TimeInForce: cmd.TimeInForce, SelfTrade: cmd.SelfTrade, PostOnly: cmd.PostOnly, Hidden: cmd.Hidden,
		Price: cmd.Price, StopPrice: cmd.StopPrice, OrderQty: cmd.Qty, DisplayQty: cmd.DisplayQty, Funds: cmd.Funds, Expire: cmd.Expire,
		Created: created, Updated: ev.Time, Seq: ev.Seq}
}

// reject notes a refused command: as an order when it would have made one. A
// void that names no order stands for a new one; whoever sends a void in the
// stead of a command it has refused leaves the command's other fields as they
// are, so that the client finds in the order what it sent.
func (t *tracker) reject(ctx context.Context, e *Entry, ev *exchange.Event) error {
	cmd := &e.Command
	if ev.Account == 0 || ev.ID == (exchange.CommandID{}) {
		return nil
	}
	order := cmd.Kind == exchange.KindNewOrder || cmd.Kind == exchange.KindVoid && cmd.OrderID == 0 && cmd.OrigID == (exchange.CommandID{})
	if order && (cmd.Kind == exchange.KindVoid || ev.Reason == exchange.StaleCommand || cmd.Time == 0) {
		// It may be one that the engine has forgotten (FUNDS-003): what became
		// of the first is what became of the order.
		known, err := t.knows(ctx, ev)
		if err != nil {
			return err
		}
		order = !known
	}
	if !order {
		t.item.refusals = append(t.item.refusals, refusal{account: ev.Account, id: ev.ID, kind: cmd.Kind, order: cmd.OrderID, reason: ev.Reason})
		return nil
	}
	rec := orderOf(e, ev)
	rec.Status, rec.Reason = OrderRejected, ev.Reason
	t.item.Orders = append(t.item.Orders, rec)
	if t.named != nil {
		t.named[rec.CommandID] = true
	}
	return nil
}

// knows reports whether there was an order under the id of a refused command
// before.
func (t *tracker) knows(ctx context.Context, ev *exchange.Event) (bool, error) {
	if t.named == nil {
		t.named = map[exchange.CommandID]bool{}
		for _, o := range t.touched {
			t.named[o.CommandID] = true
		}
		for i := range t.item.Orders {
			t.named[t.item.Orders[i].CommandID] = true
		}
	}
	if t.named[ev.ID] || t.ended[ev.ID] {
		return true, nil
	}
	switch rec, err := t.store.OrderByCommand(ctx, ev.ID); {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for what has the id of a refused command: %w", err)
	default:
		return rec.Seq != ev.Seq, nil // else the store has this item already
	}
}

func tradeOf(ev *exchange.Event) Trade {
	return Trade{Instrument: ev.Instrument, ID: ev.TradeID, Seq: ev.Seq, Time: ev.Time, Price: ev.Price, Qty: ev.Qty, Amount: ev.Amount, Side: ev.Side,
		Taker: Party{CommandID: ev.ID, OrderID: ev.OrderID, Account: ev.Account, Fee: ev.Fee},
		Maker: Party{CommandID: ev.MakerID, OrderID: ev.MakerOrderID, Account: ev.MakerAccount, Fee: ev.MakerFee}}
}

// unsized reports whether an order has no quantity, only funds (EVENT-004).
func (o *trackedOrder) unsized() bool { return o.OrderQty == 0 }

// change applies an event that is about the order itself.
func (o *trackedOrder) change(ev *exchange.Event) {
	switch ev.Kind {
	case exchange.EventTrade:
		o.fill(ev, ev.Fee, ev.LeavesQty)
	case exchange.EventSelfTradePrevented:
		o.lose(ev.Qty, ev.LeavesQty)
	case exchange.EventCanceled, exchange.EventExpired:
		o.Status = OrderCanceled
		if ev.Kind == exchange.EventExpired {
			o.Status = OrderExpired
		}
		o.Reason, o.OrderQty, o.LeavesQty = ev.Reason, ev.OrderQty, 0
	case exchange.EventAmended:
		o.Price, o.OrderQty, o.LeavesQty = ev.Price, ev.OrderQty, ev.LeavesQty
		if o.Status == OrderPending {
			o.StopPrice = ev.StopPrice
		}
	case exchange.EventTriggered:
		o.Status, o.Price = OrderOpen, ev.Price
	case exchange.EventRepriced:
		o.Price, o.LeavesQty = ev.Price, ev.LeavesQty
	}
}

// changeMaker applies an event to the maker in it.
func (o *trackedOrder) changeMaker(ev *exchange.Event) {
	if ev.Kind == exchange.EventTrade {
		o.fill(ev, ev.MakerFee, ev.MakerLeavesQty)
	} else {
		o.lose(ev.Qty, ev.MakerLeavesQty)
	}
}

func (o *trackedOrder) fill(ev *exchange.Event, fee exchange.Amount, leaves exchange.Qty) {
	o.CumQty += ev.Qty
	o.Notional += ev.Amount
	o.Fee += fee
	o.LeavesQty = leaves
	if leaves == 0 && !o.unsized() {
		o.Status = OrderFilled
	}
}

// lose takes off what self-trade prevention decrements.
func (o *trackedOrder) lose(qty, leaves exchange.Qty) {
	if !o.unsized() {
		o.OrderQty -= qty
	}
	o.LeavesQty = leaves
}

// full reports whether there are more orders at hand than there should be.
func (t *tracker) full() bool { return len(t.orders) > t.max }

// forget drops the oldest orders until there is room again, but only those
// that the store has as they are: not what was touched after recorded.
func (t *tracker) forget(recorded Position) {
	kept := t.age[:0]
	room := t.max - t.max/8 // so that it is not for the next order again
	for _, id := range t.age {
		o := t.orders[id]
		switch {
		case o == nil: // it ended
		case len(t.orders) > room && o.at <= recorded:
			delete(t.orders, id)
			t.spare = append(t.spare, o)
		default:
			kept = append(kept, id)
		}
	}
	t.age = kept
}

// tidy keeps the list of ages about as long as there are orders, and no more
// spare ones than one item needs.
func (t *tracker) tidy() {
	if len(t.age) > 2*len(t.orders)+readPage {
		t.forget(0)
	}
	if most := max(len(t.touched), readPage); len(t.spare) > most {
		clear(t.spare[most:])
		t.spare = t.spare[:most]
	}
}
