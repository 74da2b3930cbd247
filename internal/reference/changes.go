package reference

import (
	"math"
	"math/big"

	"github.com/castlecloud/exchange"
)

// find is CMD-005: the order a command means.
func (e *Engine) find() (*book, *order) {
	cmd := e.cmd
	b := e.books[cmd.Instrument]
	o := b.live[cmd.OrderID]
	if cmd.OrderID == 0 {
		o = b.byCommand(cmd.OrigID)
	}
	if o == nil || o.Account != cmd.Account {
		return b, nil
	}
	return b, o
}

// remove takes an order out of wherever it is.
func (b *book) remove(o *order) {
	b.sides[o.Side] = without(b.sides[o.Side], o)
	b.waiting = without(b.waiting, o)
	delete(b.live, o.ID)
}

// end ends an order with quantity open. makerRelease and moved are about what
// the command holds and what goes to a replacing order.
func (e *Engine) end(b *book, o *order, kind exchange.EventKind, reason exchange.Reason, makerRelease, moved exchange.Amount) {
	b.remove(o)
	o.done = true
	var by exchange.CommandID // the command, when it named the order
	switch reason {
	case exchange.ByRequest, exchange.ByReduce, exchange.ByAmend, exchange.ByReplace:
		by = e.cmd.ID
	}
	e.emit(b.id, exchange.Event{Kind: kind, ID: o.CommandID, Account: o.Account, OrderID: o.ID, Side: o.Side, Reason: reason,
		Price: o.Price, Qty: o.LeavesQty, OrderQty: o.OrderQty, Release: e.release(b, o), MakerRelease: makerRelease, Amount: moved, MakerID: by})
}

// cancel is CANCEL-001.
func (e *Engine) cancel() exchange.Reason {
	if reason := e.mayLeave(); reason != 0 {
		return reason
	}
	b, o := e.find()
	if o == nil {
		return exchange.UnknownOrder
	}
	e.end(b, o, exchange.EventCanceled, exchange.ByRequest, 0, 0)
	if e.cfg.Faults == CancelDropsLevel {
		var rest []*order
		for _, other := range b.sides[o.Side] {
			if other.Price != o.Price {
				rest = append(rest, other)
			}
		}
		b.sides[o.Side] = rest
	}
	return 0
}

// reduce is REDUCE-001.
func (e *Engine) reduce() exchange.Reason {
	if reason := e.mayLeave(); reason != 0 {
		return reason
	}
	b, o := e.find()
	by := e.cmd.Qty
	switch {
	case o == nil:
		return exchange.UnknownOrder
	case by <= 0:
		return exchange.InvalidQty
	case e.cfg.Faults == UnsignedUnderflow && by > o.LeavesQty:
		o.LeavesQty = exchange.Qty(uint32(o.LeavesQty - by))
		o.OrderQty = o.CumQty + o.LeavesQty
	case by >= o.LeavesQty:
		e.end(b, o, exchange.EventCanceled, exchange.ByReduce, 0, 0)
		return 0
	default:
		o.LeavesQty -= by
		o.OrderQty -= by
	}
	o.shown = min(o.shown, o.LeavesQty)
	e.emitAmended(b, o, exchange.Event{Reason: exchange.ByReduce, Qty: by, Release: e.release(b, o)})
	return 0
}

// emitAmended completes and emits ev.
func (e *Engine) emitAmended(b *book, o *order, ev exchange.Event) {
	ev.Kind, ev.MakerID = exchange.EventAmended, e.cmd.ID
	ev.ID, ev.Account, ev.OrderID, ev.Side = o.CommandID, o.Account, o.ID, o.Side
	ev.Price, ev.StopPrice, ev.OrderQty, ev.LeavesQty = o.Price, o.StopPrice, o.OrderQty, o.LeavesQty
	e.emit(b.id, ev)
}

// checkAmend is AMEND-001.
func (e *Engine) checkAmend(b *book, o *order) exchange.Reason {
	cmd := e.cmd
	switch {
	case cmd.Price < 0:
		return exchange.InvalidPrice
	case cmd.Qty < 0:
		return exchange.InvalidQty
	case cmd.StopPrice < 0:
		return exchange.InvalidStopPrice
	case cmd.Price == 0 && cmd.Qty == 0 && cmd.StopPrice == 0:
		return exchange.NothingToAmend
	}
	if reason := e.checkHeld(cmd); reason != 0 {
		return reason
	}
	if cmd.StopPrice != 0 && (!o.Pending || e.insidePriceLimits(b, cmd.StopPrice) != 0) {
		return exchange.InvalidStopPrice
	}
	if cmd.Price != 0 {
		return e.insidePriceLimits(b, cmd.Price)
	}
	return 0
}

// checkAmended is AMEND-003: the checks of what o shall become, funds left
// out. It slides the price.
func (e *Engine) checkAmended(b *book, o, new *order) exchange.Reason {
	cmd := e.cmd
	if cmd.Qty != 0 {
		if reason := e.checkQty(b, o.Account, cmd.Qty); reason != 0 {
			return reason
		}
		if o.DisplayQty != 0 && parts(new.LeavesQty, o.DisplayQty) > maxIcebergParts {
			return exchange.IcebergParts
		}
	}
	if !o.Pending && o.PostOnly != 0 && new.Price != o.Price {
		var reason exchange.Reason
		if new.Price, reason = e.postOnly(b, o.Side, o.PostOnly, new.Price); reason != 0 {
			return reason
		}
	}
	if new.asLimit || new.Side == exchange.Buy && new.Price != 0 {
		if reason := e.notionalLimits(b, o.Account, new.Price, new.OrderQty, new.asLimit); reason != 0 {
			return reason
		}
	}
	added := new.OrderQty - o.OrderQty
	if added > 0 && sum(b.open(o.Side, 0, nil), bigInt(added)).Cmp(big.NewInt(math.MaxInt64)) > 0 {
		return exchange.BookFull
	}
	if cmd.Price != 0 {
		if reason := e.checkCollar(b, new.Price, true); reason != 0 {
			return reason
		}
	}
	if added > 0 && !e.cfg.Matcher && e.positionRoom(b, o.Account, o.Side, nil).Cmp(bigInt(added)) < 0 {
		return exchange.MaxPosition
	}
	return 0
}

// amend is AMEND-001 to AMEND-006.
func (e *Engine) amend() exchange.Reason {
	if reason := e.mayEnter(); reason != 0 {
		return reason
	}
	cmd := e.cmd
	b, o := e.find()
	if o == nil {
		return exchange.UnknownOrder
	}
	if reason := e.checkAmend(b, o); reason != 0 {
		return reason
	}
	if cmd.Qty != 0 && cmd.Qty <= o.CumQty { // AMEND-002
		e.end(b, o, exchange.EventCanceled, exchange.ByAmend, e.commandHeld(), 0)
		return 0
	}
	amended := *o
	if cmd.Price != 0 {
		amended.Price = cmd.Price
	}
	if cmd.Qty != 0 {
		amended.OrderQty = cmd.Qty
		amended.LeavesQty = cmd.Qty - o.CumQty
	}
	if cmd.StopPrice != 0 {
		amended.StopPrice = cmd.StopPrice
	}
	if reason := e.checkAmended(b, o, &amended); reason != 0 {
		return reason
	}
	if reason := e.fundsCheck(b, &amended, o.Held); reason != 0 {
		return reason
	}
	lost := amended.Price != o.Price || amended.StopPrice != o.StopPrice || amended.OrderQty > o.OrderQty
	takenOff := max(o.OrderQty-amended.OrderQty, 0)
	*o = amended
	o.shown = min(o.shown, o.LeavesQty)
	brought := e.commandHeld()
	ofCommand, ofOrder := e.fund(b, o)
	e.emitAmended(b, o, exchange.Event{Reason: exchange.ByRequest, Qty: takenOff, LostPlace: lost,
		Release: ofOrder, MakerRelease: ofCommand, Amount: brought - ofCommand})
	if !lost {
		return 0
	}
	if o.Pending {
		b.waiting = without(b.waiting, o)
		b.wait(o)
	} else {
		b.sides[o.Side] = without(b.sides[o.Side], o)
		e.act(b, o)
	}
	e.runQueue(b)
	return 0
}

// replace is REPLACE-001 to REPLACE-003.
func (e *Engine) replace() exchange.Reason {
	if reason := e.mayEnter(); reason != 0 {
		return reason
	}
	cmd := e.cmd
	b, old := e.find()
	if old == nil {
		return exchange.UnknownOrder
	}
	c := exchange.Command{Kind: cmd.Kind, Side: old.Side, Type: old.Type, TimeInForce: old.TimeInForce, SelfTrade: old.SelfTrade,
		PostOnly: old.PostOnly, Hidden: old.Hidden, Instrument: cmd.Instrument, Group: old.Group, Account: old.Account, ID: cmd.ID,
		Price: old.Price, StopPrice: old.StopPrice, Qty: old.LeavesQty, Funds: old.Funds, Held: cmd.Held, Expire: old.Expire}
	if !old.Pending {
		c.Type = exchange.Limit
	}
	if cmd.Price != 0 {
		c.Price = cmd.Price
	}
	if cmd.Qty != 0 {
		c.Qty = cmd.Qty
	}
	if cmd.StopPrice != 0 {
		c.StopPrice = cmd.StopPrice
	}
	c.DisplayQty = min(old.DisplayQty, c.Qty)
	o, reason := e.check(b, &c, old)
	if reason != 0 {
		return reason
	}
	held := old.Held
	o.Held, old.Held = old.Held, 0
	ofCommand, ofOrder := e.fund(b, o)
	old.Held = ofOrder // what does not move is released with the old order
	if e.cfg.Funds == FundsLedger {
		e.credit(old.Account, b.asset(old), neg(bigInt(ofOrder)))
		add(e.account(old.Account).held, b.asset(old), bigInt(ofOrder))
	}
	e.end(b, old, exchange.EventCanceled, exchange.ByReplace, 0, held-ofOrder)
	e.enter(b, o, ofCommand)
	return 0
}
