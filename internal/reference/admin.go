package reference

import (
	"math"
	"math/big"

	"github.com/castlecloud/exchange"
)

// chosen lists the books a command means, by id.
func (e *Engine) chosen() []*book {
	var books []*book
	for _, id := range e.ids {
		if e.cmd.Instrument == 0 || e.cmd.Instrument == id {
			books = append(books, e.books[id])
		}
	}
	return books
}

// endAll ends the live orders that match, by instrument and OrderID.
func (e *Engine) endAll(kind exchange.EventKind, reason exchange.Reason, match func(o *order) bool) exchange.Qty {
	var n exchange.Qty
	for _, b := range e.chosen() {
		for _, o := range b.byID() {
			if match(o) {
				e.end(b, o, kind, reason, 0, 0)
				n++
			}
		}
	}
	return n
}

// massCancel is MASS-001.
func (e *Engine) massCancel() exchange.Reason {
	cmd := e.cmd
	if cmd.Side > exchange.Sell {
		return exchange.InvalidSide
	}
	n := e.endAll(exchange.EventCanceled, exchange.ByMassCancel, func(o *order) bool {
		return (cmd.Account == 0 || o.Account == cmd.Account) && (cmd.Side == 0 || o.Side == cmd.Side)
	})
	e.answer(exchange.Event{Kind: exchange.EventMassCanceled, Account: cmd.Account, Side: cmd.Side, Qty: n})
	return 0
}

// kill is KILL-001.
func (e *Engine) kill() exchange.Reason {
	cmd := e.cmd
	if cmd.Account != 0 {
		if !e.hasRoom(cmd.Account) {
			return exchange.TooManyAccounts
		}
		e.account(cmd.Account) // CMD-007
	}
	e.kills[pair{cmd.Instrument, cmd.Account}] = true
	n := e.endAll(exchange.EventCanceled, exchange.ByKillSwitch, func(o *order) bool {
		return cmd.Account == 0 || o.Account == cmd.Account
	})
	e.answer(exchange.Event{Kind: exchange.EventKilled, Account: cmd.Account, Qty: n})
	return 0
}

// advanceTime is TIME-003.
func (e *Engine) advanceTime() exchange.Reason {
	switch {
	case e.cmd.Time == 0:
		return exchange.InvalidTime
	case e.cmd.Time < e.clock:
		return exchange.TimeBackwards
	}
	e.answer(exchange.Event{Kind: exchange.EventTimeAdvanced})
	return 0
}

// void is VOID-001.
func (e *Engine) void() exchange.Reason {
	if e.cmd.ID == (exchange.CommandID{}) {
		return exchange.InvalidID
	}
	if reason := e.checkHeld(e.cmd); reason != 0 {
		return reason
	}
	if e.cmd.Value < 0 || e.cmd.Value > 65_535 {
		return exchange.InvalidValue
	}
	if e.cmd.Value > 0 {
		return exchange.Reason(e.cmd.Value)
	}
	return exchange.Voided
}

// endDay is TIME-004.
func (e *Engine) endDay() exchange.Reason {
	n := e.endAll(exchange.EventExpired, exchange.ByEndOfDay, func(o *order) bool { return o.TimeInForce == exchange.Day })
	e.answer(exchange.Event{Kind: exchange.EventDayEnded, Qty: n})
	return 0
}

// setReferencePrice and setLastPrice are ADMIN-001.
func (e *Engine) setReferencePrice() exchange.Reason {
	if e.cmd.Price < 0 || e.cmd.Price > exchange.MaxPrice {
		return exchange.InvalidPrice
	}
	e.books[e.cmd.Instrument].ref = e.cmd.Price
	e.answer(exchange.Event{Kind: exchange.EventReferencePriceSet, Price: e.cmd.Price})
	return 0
}

func (e *Engine) setLastPrice() exchange.Reason {
	if e.cmd.Price < 1 || e.cmd.Price > exchange.MaxPrice {
		return exchange.InvalidPrice
	}
	b := e.books[e.cmd.Instrument]
	b.last = e.cmd.Price
	e.answer(exchange.Event{Kind: exchange.EventLastPriceSet, Price: e.cmd.Price})
	if b.state == exchange.InstrumentTrading {
		b.elect()
		e.runQueue(b)
	}
	return 0
}

// setInstrumentState is ADMIN-002.
func (e *Engine) setInstrumentState() exchange.Reason {
	state := e.cmd.InstrumentState
	if state < exchange.InstrumentTrading || state > exchange.InstrumentHalted {
		return exchange.InvalidState
	}
	b := e.books[e.cmd.Instrument]
	b.state = state
	e.answer(exchange.Event{Kind: exchange.EventInstrumentStateSet, InstrumentState: state})
	if state == exchange.InstrumentTrading {
		b.elect()
		e.runQueue(b)
	}
	return 0
}

// setAccountState is ADMIN-003.
func (e *Engine) setAccountState() exchange.Reason {
	cmd := e.cmd
	if cmd.Account == 0 {
		return exchange.UnknownAccount
	}
	if cmd.AccountState < exchange.AccountActive || cmd.AccountState > exchange.AccountSuspended {
		return exchange.InvalidState
	}
	if !e.hasRoom(cmd.Account) {
		return exchange.TooManyAccounts
	}
	e.account(cmd.Account).state = cmd.AccountState
	e.answer(exchange.Event{Kind: exchange.EventAccountStateSet, Account: cmd.Account, AccountState: cmd.AccountState})
	return 0
}

// setFees is ADMIN-004.
func (e *Engine) setFees() exchange.Reason {
	cmd := e.cmd
	for _, rate := range []exchange.FeeRate{cmd.MakerFee, cmd.TakerFee} {
		if rate <= -exchange.FeeRateUnit || rate >= exchange.FeeRateUnit {
			return exchange.InvalidFee
		}
	}
	b := e.books[cmd.Instrument]
	b.makerFee, b.takerFee = cmd.MakerFee, cmd.TakerFee
	b.rebates = b.rebates || cmd.MakerFee < 0 || cmd.TakerFee < 0
	e.answer(exchange.Event{Kind: exchange.EventFeesSet, MakerRate: cmd.MakerFee, TakerRate: cmd.TakerFee})
	return 0
}

// setLimit is ADMIN-005.
func (e *Engine) setLimit() exchange.Reason {
	cmd := e.cmd
	allowed := false
	least, most := int64(0), int64(0)
	switch cmd.Limit {
	case exchange.LimitOpenOrders:
		allowed, most = true, math.MaxInt32
	case exchange.LimitPosition:
		allowed, most = true, 1<<61
	case exchange.LimitOrderQty:
		allowed, most = true, 1<<60
	case exchange.LimitOrderNotional:
		allowed, most = cmd.Instrument != 0, 1<<60
	case exchange.LimitMessages:
		allowed, most = cmd.Instrument == 0, math.MaxInt32
	case exchange.LimitMessageWindow:
		allowed, least, most = cmd.Instrument == 0, 1, math.MaxInt64
	case exchange.LimitMinPrice, exchange.LimitMaxPrice:
		allowed, least, most = cmd.Instrument != 0 && cmd.Account == 0, 1, int64(exchange.MaxPrice)
	case exchange.LimitCollarUp:
		allowed, most = cmd.Instrument != 0 && cmd.Account == 0, 1_000_000_000
	case exchange.LimitCollarDown:
		allowed, most = cmd.Instrument != 0 && cmd.Account == 0, 1_000_000
	}
	if !allowed {
		return exchange.InvalidLimit
	}
	if cmd.Value >= 0 && (cmd.Value < least || cmd.Value > most) {
		return exchange.InvalidValue
	}
	key := limitKey{cmd.Limit, pair{cmd.Instrument, cmd.Account}}
	old, had := e.limits[key]
	set := func(value int64, on bool) {
		if on {
			e.limits[key] = value
		} else {
			delete(e.limits, key)
		}
	}
	set(cmd.Value, cmd.Value >= 0)
	if b := e.books[cmd.Instrument]; b != nil {
		if low, high := e.priceLimits(b); low > high {
			set(old, had)
			return exchange.InvalidValue
		}
	}
	if cmd.Account != 0 {
		if !e.hasRoom(cmd.Account) {
			set(old, had)
			return exchange.TooManyAccounts
		}
		e.account(cmd.Account)
	}
	e.answer(exchange.Event{Kind: exchange.EventLimitSet, Account: cmd.Account, Limit: cmd.Limit, Value: cmd.Value})
	return 0
}

// limit is RISK-007: the tightest of the limits that apply.
func (e *Engine) limit(kind exchange.LimitKind, inst exchange.InstrumentID, acct exchange.AccountID) (int64, bool) {
	tightest, found := int64(math.MaxInt64), false
	for _, p := range []pair{{0, 0}, {0, acct}, {inst, 0}, {inst, acct}} {
		if value, ok := e.limits[limitKey{kind, p}]; ok {
			tightest, found = min(tightest, value), true
		}
	}
	return tightest, found
}

func (e *Engine) priceLimits(b *book) (low, high exchange.Price) {
	low, high = b.minPrice, b.maxPrice
	if value, ok := e.limits[limitKey{exchange.LimitMinPrice, pair{b.id, 0}}]; ok {
		low = exchange.Price(value)
	}
	if value, ok := e.limits[limitKey{exchange.LimitMaxPrice, pair{b.id, 0}}]; ok {
		high = exchange.Price(value)
	}
	return low, high
}

// maxPriceGiven is about the price limit of ORDER-015.
func (e *Engine) maxPriceGiven(b *book) bool {
	_, byLimit := e.limits[limitKey{exchange.LimitMaxPrice, pair{b.id, 0}}]
	return b.maxPriceGiven || byLimit
}

func (e *Engine) maxQty(b *book, acct exchange.AccountID) exchange.Qty {
	value, _ := e.limit(exchange.LimitOrderQty, b.id, acct)
	return min(b.maxQty, exchange.Qty(value))
}

func (e *Engine) maxNotional(b *book, acct exchange.AccountID) exchange.Amount {
	value, _ := e.limit(exchange.LimitOrderNotional, b.id, acct)
	return min(b.maxNotional, exchange.Amount(value))
}

// messageAllowed is RISK-006.
func (e *Engine) messageAllowed(acct exchange.AccountID) bool {
	most, limited := e.limit(exchange.LimitMessages, 0, acct)
	window, windowed := e.limits[limitKey{exchange.LimitMessageWindow, pair{0, acct}}]
	if !windowed {
		window, windowed = e.limits[limitKey{exchange.LimitMessageWindow, pair{0, 0}}]
	}
	if e.cfg.Matcher || !limited || !windowed {
		return true
	}
	var sent int64
	a, known := e.accounts[acct]
	open := known && a.windowOpen && int64(e.clock-a.windowStart) < window
	if open {
		sent = a.messages
	}
	if sent >= most {
		return false
	}
	a = e.account(acct)
	if !open {
		a.windowOpen, a.windowStart = true, e.clock
	}
	a.messages = sent + 1
	return true
}

// moveFunds is FUNDS-008.
func (e *Engine) moveFunds() exchange.Reason {
	cmd := e.cmd
	if e.cfg.Funds != FundsLedger {
		return exchange.FundsNotKept
	}
	known := false
	for _, b := range e.books {
		known = known || cmd.Asset == b.inst.Base().ID || cmd.Asset == b.inst.Quote().ID
	}
	if !known {
		return exchange.UnknownAsset
	}
	if cmd.Funds <= 0 {
		return exchange.InvalidFunds
	}
	n := big.NewInt(int64(cmd.Funds))
	if cmd.Kind == exchange.KindWithdraw {
		if e.available(cmd.Account, cmd.Asset).Cmp(n) < 0 {
			return exchange.InsufficientFunds
		}
		e.credit(cmd.Account, cmd.Asset, new(big.Int).Neg(n))
		e.answer(exchange.Event{Kind: exchange.EventWithdrawn, Account: cmd.Account, Asset: cmd.Asset, Amount: cmd.Funds})
		return 0
	}
	most := big.NewInt(math.MaxInt64)
	all, others := e.total(cmd.Asset)
	all.Add(all, n)
	if cmd.Account != 0 {
		others.Add(others, n)
	}
	if all.Cmp(most) > 0 || others.Cmp(most) > 0 {
		return exchange.AmountOverflow
	}
	if !e.hasRoom(cmd.Account) {
		return exchange.TooManyAccounts
	}
	e.credit(cmd.Account, cmd.Asset, n)
	e.answer(exchange.Event{Kind: exchange.EventDeposited, Account: cmd.Account, Asset: cmd.Asset, Amount: cmd.Funds})
	return 0
}
