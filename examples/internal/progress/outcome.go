package progress

import (
	"hash/maphash"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Status says what came of a command, as the API spells it.
type Status string

// What a command may lead to.
const (
	Open     Status = "open"
	Pending  Status = "pending" // waits for its trigger
	Filled   Status = "filled"
	Expired  Status = "expired"
	Canceled Status = "canceled" // the order, also by the cancel that was asked for
	Amended  Status = "amended"
	Rejected Status = "rejected" // the command changed nothing
	// Accepted is no outcome: the bus has the request, and what comes of it is
	// told by the feed and by reads (examples/aws).
	Accepted Status = "accepted"
)

// Outcome is what came of one command, as of the journal item it is in.
type Outcome struct {
	Command    exchange.CommandID
	Instrument exchange.InstrumentID
	Position   pipeline.Position
	Time       exchange.Time
	OrderID    exchange.OrderID // 0: the command was refused and named none
	Status     Status
	Reason     exchange.Reason // of Rejected, Canceled, Expired
	Orders     int64           // how many a mass cancel ended
	contents   uint64          // 0: not known
}

// Same reports whether cmd asks for what the outcome's command asked for. It
// is true when that is not known: a void that ends an abandoned hold has no
// contents.
func (o *Outcome) Same(cmd *exchange.Command) bool {
	return o.contents == 0 || o.contents == contentsOf(cmd)
}

var contentsSeed = maphash.MakeSeed()

// contentsOf is a hash of what the client decides. The time is another with
// each try; what is held, and the worst price of an order without a limit, are
// for the venue to say; a refusal is a void of the same contents. The kind is
// in the id already.
func contentsOf(cmd *exchange.Command) uint64 {
	c := *cmd
	c.Kind, c.Time, c.Held, c.Value = 0, 0, 0, 0
	switch c.Type {
	case exchange.Limit, exchange.StopLimit, exchange.TakeProfitLimit, 0: // 0: an amend
	default:
		c.Price, c.PriceIsDistance = 0, false
	}
	return maphash.Comparable(contentsSeed, c) | 1 // never 0
}

// outcomeOf reads what came of an entry's command off its events.
func outcomeOf(e *pipeline.Entry, pos pipeline.Position) Outcome {
	cmd := &e.Command
	o := Outcome{Command: cmd.ID, Instrument: cmd.Instrument, Position: pos, Time: cmd.Time}
	if cmd.Kind != exchange.KindVoid || cmd.Type != 0 || cmd.OrderID != 0 || cmd.OrigID != (exchange.CommandID{}) {
		o.contents = contentsOf(cmd)
	}
	for i := range e.Events {
		ev := &e.Events[i]
		if ev.Kind == exchange.EventRejected {
			o.OrderID, o.Status, o.Reason = ev.OrderID, Rejected, ev.Reason
			continue
		}
		switch cmd.Kind {
		case exchange.KindNewOrder, exchange.KindReplace:
			o.ofOrder(ev)
		case exchange.KindCancel, exchange.KindReduce, exchange.KindAmend:
			o.ofChange(ev)
		case exchange.KindMassCancel:
			if ev.Kind == exchange.EventMassCanceled {
				o.Status, o.Orders = Canceled, int64(ev.Qty)
			}
		}
	}
	return o
}

// ofOrder follows the order that the command made.
func (o *Outcome) ofOrder(ev *exchange.Event) {
	taker := ev.ID == o.Command
	switch {
	case ev.Kind == exchange.EventAccepted && taker:
		o.OrderID, o.Status = ev.OrderID, Open
		switch ev.Type {
		case exchange.Stop, exchange.StopLimit, exchange.TakeProfit, exchange.TakeProfitLimit:
			o.Status = Pending
		}
	case ev.Kind == exchange.EventTriggered && taker:
		o.Status = Open
	case ev.Kind == exchange.EventTrade && taker && ev.LeavesQty == 0,
		ev.Kind == exchange.EventTrade && ev.MakerID == o.Command && ev.MakerLeavesQty == 0:
		o.Status = Filled // an order by funds alone is canceled next
	case ev.Kind == exchange.EventCanceled && taker:
		o.Status, o.Reason = Canceled, ev.Reason
	case ev.Kind == exchange.EventExpired && taker:
		o.Status, o.Reason = Expired, ev.Reason
	}
}

// ofChange follows a command that names an order. Its own effect comes first;
// what the changed order then trades is the order's story.
func (o *Outcome) ofChange(ev *exchange.Event) {
	if o.Status != "" || ev.MakerID != o.Command {
		return
	}
	switch ev.Kind {
	case exchange.EventAmended:
		o.OrderID, o.Status = ev.OrderID, Amended
	case exchange.EventCanceled:
		o.OrderID, o.Status, o.Reason = ev.OrderID, Canceled, ev.Reason
	}
}
