package exchange_test

import (
	"fmt"

	"github.com/castlecloud/exchange"
)

// settler is the one who keeps the funds outside in FundsHeld. It knows the
// commands it sent, with what it held for each, and otherwise events alone. A
// hold is named by the id of the command it was made for.
type settler struct {
	insts map[exchange.InstrumentID]*exchange.Instrument
	holds map[exchange.CommandID]*hold // those that are not empty
	known map[exchange.CommandID]bool  // every id ever held for
	free  map[exchange.AccountID]map[exchange.AssetID]exchange.Amount
	wrong string // what could not be done, first
}

type hold struct {
	account exchange.AccountID
	asset   exchange.AssetID
	amount  exchange.Amount
}

func newSettler(insts []*exchange.Instrument) *settler {
	s := &settler{insts: map[exchange.InstrumentID]*exchange.Instrument{}, holds: map[exchange.CommandID]*hold{},
		known: map[exchange.CommandID]bool{}, free: map[exchange.AccountID]map[exchange.AssetID]exchange.Amount{}}
	for _, in := range insts {
		s.insts[in.ID()] = in
	}
	return s
}

// hold sets aside what a command brings, before it is sent. An id is held for
// once only, however often the command is sent.
func (s *settler) hold(cmd *exchange.Command, asset exchange.AssetID) {
	if s.known[cmd.ID] || !bringsHeld(cmd.Kind) {
		return
	}
	s.known[cmd.ID] = true
	s.credit(cmd.Account, asset, -max(cmd.Held, 0))
	s.put(cmd.ID, cmd.Account, asset, max(cmd.Held, 0))
}

// bringsHeld reports whether commands of a kind are held for; a void is for the
// command it stands for.
func bringsHeld(kind exchange.CommandKind) bool {
	switch kind {
	case exchange.KindNewOrder, exchange.KindAmend, exchange.KindReplace, exchange.KindVoid:
		return true
	}
	return false
}

func (s *settler) put(id exchange.CommandID, account exchange.AccountID, asset exchange.AssetID, n exchange.Amount) {
	if n == 0 {
		return
	}
	if s.holds[id] == nil {
		s.holds[id] = &hold{account: account, asset: asset}
	}
	s.holds[id].amount += n
}

// take takes from a hold, which must have it.
func (s *settler) take(id exchange.CommandID, n exchange.Amount) {
	if n == 0 {
		return
	}
	h := s.holds[id]
	if h == nil || n < 0 || h.amount < n {
		s.fail("hold %x: %+v has no %d", id[:4], h, n)
		return
	}
	if h.amount -= n; h.amount == 0 {
		delete(s.holds, id)
	}
}

func (s *settler) release(id exchange.CommandID, n exchange.Amount) {
	if h := s.holds[id]; h != nil {
		s.credit(h.account, h.asset, n)
	}
	s.take(id, n)
}

func (s *settler) credit(account exchange.AccountID, asset exchange.AssetID, n exchange.Amount) {
	if s.free[account] == nil {
		s.free[account] = map[exchange.AssetID]exchange.Amount{}
	}
	s.free[account][asset] += n
}

func (s *settler) fail(format string, args ...any) {
	if s.wrong == "" {
		s.wrong = fmt.Sprintf(format, args...)
	}
}

func (s *settler) handle(ev *exchange.Event) {
	switch ev.Kind {
	case exchange.EventRejected:
		// A command that comes again when it has been forgotten is refused
		// again; its hold has ended.
		if s.holds[ev.ID] != nil {
			s.release(ev.ID, ev.Release)
		}
	case exchange.EventTrade:
		s.settle(ev)
	case exchange.EventCanceled:
		if h := s.holds[ev.ID]; ev.Amount != 0 && h != nil { // to the replacing order
			s.put(ev.MakerID, h.account, h.asset, ev.Amount)
			s.take(ev.ID, ev.Amount)
		}
		s.release(ev.ID, ev.Release)
		s.release(ev.MakerID, ev.MakerRelease)
	case exchange.EventAmended:
		if h := s.holds[ev.MakerID]; ev.Amount != 0 && h != nil { // from the amend to the order
			s.put(ev.ID, h.account, h.asset, ev.Amount)
			s.take(ev.MakerID, ev.Amount)
		}
		s.release(ev.ID, ev.Release)
		s.release(ev.MakerID, ev.MakerRelease)
	case exchange.EventSelfTradePrevented:
		s.release(ev.ID, ev.Release)
		s.release(ev.MakerID, ev.MakerRelease)
	case exchange.EventAccepted, exchange.EventExpired, exchange.EventTriggered, exchange.EventRepriced:
		s.release(ev.ID, ev.Release)
	}
}

// settle is FUNDS-004.
func (s *settler) settle(ev *exchange.Event) {
	in := s.insts[ev.Instrument]
	buyer, seller := ev.ID, ev.MakerID
	buyAccount, sellAccount := ev.Account, ev.MakerAccount
	buyFee, sellFee := ev.Fee, ev.MakerFee
	buyRelease, sellRelease := ev.Release, ev.MakerRelease
	if ev.Side == exchange.Sell {
		buyer, seller, buyAccount, sellAccount = seller, buyer, sellAccount, buyAccount
		buyFee, sellFee, buyRelease, sellRelease = sellFee, buyFee, sellRelease, buyRelease
	}
	base := in.BaseAmount(ev.Qty)
	// A buyer's rebate goes into its hold: FUNDS-004.
	s.take(buyer, ev.Amount+buyFee)
	s.take(seller, base)
	s.credit(buyAccount, in.Base().ID, base)
	s.credit(sellAccount, in.Quote().ID, ev.Amount-sellFee)
	s.credit(0, in.Quote().ID, buyFee+sellFee)
	s.release(buyer, buyRelease)
	s.release(seller, sellRelease)
}

// total is what there is of an asset, holds included: always 0, as nothing was
// paid in.
func (s *settler) total(asset exchange.AssetID) exchange.Amount {
	n := exchange.Amount(0)
	for _, assets := range s.free {
		n += assets[asset]
	}
	for _, h := range s.holds {
		if h.asset == asset {
			n += h.amount
		}
	}
	return n
}

// follower knows of every live order what the events said of it, and so what
// must be held for it.
type follower struct {
	insts  map[exchange.InstrumentID]*exchange.Instrument
	orders map[followedKey]*followed
	rates  map[exchange.InstrumentID][2]exchange.FeeRate // maker, taker
	moved  exchange.Amount                               // the funds of an order that is being replaced
	cmd    *exchange.Command
}

type followedKey struct {
	inst exchange.InstrumentID
	id   exchange.OrderID
}

type followed struct {
	id     exchange.CommandID
	terms  exchange.Terms
	all    bool  // by funds alone: it may buy any quantity
	exact  int64 // the fee so far, in millionths
	booked exchange.Amount
}

func newFollower(insts []*exchange.Instrument) *follower {
	f := &follower{insts: map[exchange.InstrumentID]*exchange.Instrument{}, orders: map[followedKey]*followed{},
		rates: map[exchange.InstrumentID][2]exchange.FeeRate{}}
	for _, in := range insts {
		maker, _ := exchange.ParseFeeRate("", in.Spec().MakerFee)
		taker, _ := exchange.ParseFeeRate("", in.Spec().TakerFee)
		f.insts[in.ID()], f.rates[in.ID()] = in, [2]exchange.FeeRate{maker, taker}
	}
	return f
}

// handle returns what is wrong with an event: a fee, or a hold that is not the
// need.
func (f *follower) handle(ev *exchange.Event, held func(id exchange.CommandID) exchange.Amount) string {
	key, makerKey := followedKey{ev.Instrument, ev.OrderID}, followedKey{ev.Instrument, ev.MakerOrderID}
	o, maker := f.orders[key], f.orders[makerKey]
	in := f.insts[ev.Instrument]
	switch ev.Kind {
	case exchange.EventAccepted:
		rates := f.rates[ev.Instrument]
		o = &followed{id: ev.ID, terms: exchange.Terms{Side: ev.Side, Price: ev.Price, LeavesQty: ev.LeavesQty,
			Funds: f.cmd.Funds, MakerFee: rates[0], TakerFee: rates[1]}}
		if ev.Command == exchange.KindReplace {
			o.terms.Funds = f.moved
		}
		o.all = ev.Qty == 0
		f.orders[key] = o
		if held(ev.ID) == 0 {
			return "" // the empty book ends it: FUNDS-001
		}
	case exchange.EventTrade:
		if d := o.trade(ev, o.terms.TakerFee, ev.Fee, ev.LeavesQty); d != "" {
			return d
		}
		if d := maker.trade(ev, maker.terms.MakerFee, ev.MakerFee, ev.MakerLeavesQty); d != "" {
			return d
		}
	case exchange.EventSelfTradePrevented:
		o.terms.LeavesQty, maker.terms.LeavesQty = ev.LeavesQty, ev.MakerLeavesQty
		if o.terms.Funds > 0 {
			n, _ := in.Notional(ev.Price, ev.Qty)
			o.terms.Funds -= n
		}
	case exchange.EventAmended:
		o.terms.Price, o.terms.LeavesQty = ev.Price, ev.LeavesQty
	case exchange.EventTriggered:
		o.terms.Price = ev.Price
	case exchange.EventRepriced:
		o.terms.Price, o.terms.Funds = ev.Price, 0
	case exchange.EventCanceled, exchange.EventExpired:
		f.moved = o.terms.Funds
		delete(f.orders, key)
		if n := held(ev.ID); n != 0 {
			return fmt.Sprintf("FUNDS-002: an order that ended holds %d", n)
		}
		return ""
	case exchange.EventFeesSet:
		f.rates[ev.Instrument] = [2]exchange.FeeRate{ev.MakerRate, ev.TakerRate}
	}
	for _, o := range []*followed{o, maker} {
		if o == nil {
			continue
		}
		o.terms.FeeRemainder = int32(int64(o.booked)*exchange.FeeRateUnit - o.exact)
		need := o.terms.Funds
		if o.all {
			if held(o.id) == 0 {
				continue // it has bought all it may
			}
		} else {
			need, _ = in.Need(&o.terms)
		}
		if n := held(o.id); n != need {
			return fmt.Sprintf("FUNDS-002: %d held, need %d", n, need)
		}
	}
	return ""
}

// trade books a trade of the order and checks its fee (FEE-001).
func (o *followed) trade(ev *exchange.Event, rate exchange.FeeRate, fee exchange.Amount, leaves exchange.Qty) string {
	o.exact += int64(rate) * int64(ev.Amount)
	up := exchange.Amount(o.exact / exchange.FeeRateUnit)
	if int64(up)*exchange.FeeRateUnit < o.exact {
		up++
	}
	if fee != up-o.booked {
		return fmt.Sprintf("FEE-001: fee %d, expected %d", fee, up-o.booked)
	}
	o.booked, o.terms.LeavesQty = up, leaves
	if o.terms.Funds > 0 {
		o.terms.Funds -= ev.Amount + max(fee, 0) // MATCH-011: a rebate buys nothing
	}
	return ""
}
