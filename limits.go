package exchange

import (
	"math"

	"github.com/tidwall/btree"
)

// noLimit is what a limit resolves to where none is set.
const noLimit = math.MaxInt64

type limitKey struct {
	instrument InstrumentID
	account    AccountID
	kind       LimitKind
}

type limit struct {
	limitKey
	value int64
}

// newLimits returns an empty table. Its order makes snapshots canonical; it is
// not on the path of orders, which read the resolved values of their seat.
func newLimits() *btree.BTreeG[limit] {
	return btree.NewBTreeGOptions(func(a, b limit) bool {
		switch {
		case a.instrument != b.instrument:
			return a.instrument < b.instrument
		case a.account != b.account:
			return a.account < b.account
		}
		return a.kind < b.kind
	}, btree.Options{NoLocks: true})
}

// checkLimit is ADMIN-005 but for the order of price limits.
func checkLimit(cmd *Command) Reason {
	allowed := false
	most := int64(math.MaxInt64)
	switch cmd.Limit {
	case LimitOpenOrders:
		allowed, most = true, math.MaxInt32
	case LimitPosition:
		allowed, most = true, int64(maxPosition)
	case LimitOrderQty:
		allowed, most = true, int64(MaxQty)
	case LimitOrderNotional:
		allowed, most = cmd.Instrument != 0, int64(MaxAmount)
	case LimitMessages:
		allowed, most = cmd.Instrument == 0, math.MaxInt32
	case LimitMessageWindow:
		allowed = cmd.Instrument == 0
	case LimitMinPrice, LimitMaxPrice:
		allowed, most = cmd.Instrument != 0 && cmd.Account == 0, int64(MaxPrice)
	case LimitCollarUp:
		allowed, most = cmd.Instrument != 0 && cmd.Account == 0, 1000*FeeRateUnit
	case LimitCollarDown:
		allowed, most = cmd.Instrument != 0 && cmd.Account == 0, FeeRateUnit
	}
	positive := cmd.Limit == LimitMessageWindow || cmd.Limit == LimitMinPrice || cmd.Limit == LimitMaxPrice
	switch {
	case !allowed:
		return InvalidLimit
	case cmd.Value > most || positive && cmd.Value == 0:
		return InvalidValue
	}
	return 0
}

// ofBook reports whether a limit belongs to the instrument's own rules.
func (k LimitKind) ofBook() bool { return k >= LimitMinPrice && k <= LimitCollarDown }

// setBookLimit sets a price limit or a collar.
func (m *Matcher) setBookLimit(cmd *Command) Reason {
	v := max(cmd.Value, -1)
	low, high, limited := m.minPrice, m.maxPrice, m.priceLimited
	switch cmd.Limit {
	case LimitCollarUp:
		m.collarUp = v
	case LimitCollarDown:
		m.collarDown = v
	case LimitMinPrice:
		if low = Price(v); v < 0 {
			low = m.book.inst.minPrice
		}
	case LimitMaxPrice:
		if high, limited = Price(v), true; v < 0 {
			high, limited = m.book.inst.maxPrice, m.book.inst.maxPriceGiven
		}
	}
	if low > high {
		return InvalidValue
	}
	m.minPrice, m.maxPrice, m.priceLimited = low, high, limited
	return 0
}

// setLimit stores a limit of accounts and resolves anew whom it concerns.
func (k *risk) setLimit(cmd *Command) Reason {
	if cmd.Account != 0 && k.openAccount(cmd.Account) == 0 {
		return TooManyAccounts
	}
	l := limit{limitKey{cmd.Instrument, cmd.Account, cmd.Limit}, cmd.Value}
	if cmd.Value < 0 {
		k.limits.Delete(l)
	} else {
		k.limits.Set(l)
	}
	k.resolve(cmd.Instrument, cmd.Account)
	return 0
}

// resolve works out anew what the seats of an instrument (0: all) and a known
// account (0: all) remember of limits, states and kill switches.
func (k *risk) resolve(inst InstrumentID, acct AccountID) {
	if acct != 0 {
		k.resolveAccount(k.accounts.at(k.account(acct)))
	} else {
		for r := ref(1); r <= k.accounts.made(); r++ {
			k.resolveAccount(k.accounts.at(r))
		}
	}
	for _, m := range k.engine.markets {
		if m == nil || inst != 0 && m.id != inst {
			continue
		}
		if acct != 0 {
			if r, s := m.seats.find(acct); r != 0 {
				k.resolveSeat(m, s)
			}
			continue
		}
		for r := ref(1); r <= m.seats.made(); r++ {
			k.resolveSeat(m, m.seats.at(r))
		}
	}
}

// tightest is RISK-007 for one kind.
func (k *risk) tightest(inst InstrumentID, acct AccountID, kind LimitKind) int64 {
	value := int64(noLimit)
	for _, key := range [...]limitKey{{inst, acct, kind}, {0, acct, kind}, {inst, 0, kind}, {0, 0, kind}} {
		if l, ok := k.limits.Get(limit{limitKey: key}); ok {
			value = min(value, l.value)
		}
	}
	return value
}

func (k *risk) resolveSeat(m *Matcher, s *seat) {
	s.maxOrders = int32(min(math.MaxInt32, k.tightest(m.id, s.account, LimitOpenOrders)))
	s.maxPosition = min(maxPosition, Qty(k.tightest(m.id, s.account, LimitPosition)))
	s.maxQty = Qty(k.tightest(m.id, s.account, LimitOrderQty))
	s.maxNotional = Amount(k.tightest(m.id, s.account, LimitOrderNotional))
	s.sized = s.maxQty != noLimit || s.maxNotional != noLimit
	a := k.accounts.at(s.acct)
	s.watched = k.killed || a.killed || s.killed || a.state != AccountActive || a.limited()
}

func (k *risk) resolveAccount(a *account) {
	a.maxMessages = k.tightest(0, a.id, LimitMessages)
	a.window = 0
	for _, acct := range [...]AccountID{0, a.id} { // the account's own counts
		if l, ok := k.limits.Get(limit{limitKey: limitKey{0, acct, LimitMessageWindow}}); ok {
			a.window = Time(l.value)
		}
	}
}
