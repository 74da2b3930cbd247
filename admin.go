package exchange

// What a kind of command needs of its Instrument (CMD-002).
type needs uint8

const (
	needsInstrument needs = iota + 1
	mayHaveInstrument
	needsNone
)

func (k CommandKind) valid() bool { return k >= KindNewOrder && k <= KindVoid }

// aboutOrder reports whether a command makes, changes or ends one order.
func (k CommandKind) aboutOrder() bool { return k-KindNewOrder <= KindReplace-KindNewOrder }

func (k CommandKind) needs() needs {
	switch k {
	case KindMassCancel, KindKill, KindLiftKill, KindAdvanceTime, KindEndDay, KindLimit:
		return mayHaveInstrument
	case KindDeposit, KindWithdraw, KindAccountState:
		return needsNone
	}
	return needsInstrument
}

// matcherAlone reports whether a Matcher without an Engine knows the command
// (ADMIN-006).
func (k CommandKind) matcherAlone(cmd *Command) bool {
	switch k {
	case KindDeposit, KindWithdraw, KindAccountState:
		return false
	case KindKill, KindLiftKill:
		return cmd.Account == 0
	case KindLimit:
		return cmd.Limit.ofBook()
	}
	return true
}

// advanceTime says that the clock moved; it has moved before (CMD-001).
func (m *Matcher) advanceTime(cmd *Command, before Time) Reason {
	if reason := checkTime(cmd, before); reason != 0 {
		return reason
	}
	m.event(m.core, EventTimeAdvanced).ID = cmd.ID
	return 0
}

// void uses up its id, as every command does: what is left is to say so
// (VOID-001).
func (m *Matcher) void(cmd *Command) Reason {
	if cmd.ID == (CommandID{}) {
		return InvalidID
	}
	if reason := m.checkHeld(cmd); reason != 0 {
		return reason
	}
	switch {
	case cmd.Value == 0:
		return Voided
	case cmd.Value < 0 || cmd.Value > maxReason:
		return InvalidValue
	}
	return Reason(cmd.Value) // VOID-005
}

// checkTime is TIME-003.
func checkTime(cmd *Command, before Time) Reason {
	switch {
	case cmd.Time == 0:
		return InvalidTime
	case cmd.Time < before:
		return TimeBackwards
	}
	return 0
}

func (m *Matcher) endDay(cmd *Command) { dayEnded(m.core, &m.stream, cmd, m.endDayOrders()) }

func dayEnded(c *core, s *stream, cmd *Command, n Qty) {
	ev := s.event(c, EventDayEnded)
	ev.ID, ev.Qty = cmd.ID, n
}

// kill engages or lifts the kill switch of the instrument, or of an account in
// it (KILL-001).
func (m *Matcher) kill(cmd *Command) Reason {
	on, kind := cmd.Kind == KindKill, EventKillLifted
	if cmd.Account == 0 {
		m.killed = on
	} else if r, _ := m.seats.find(cmd.Account); r != 0 || on {
		if r = m.risk.openSeat(m, cmd.Account); r == 0 {
			return TooManyAccounts
		}
		m.seats.at(r).killed = on
		m.risk.resolve(m.id, cmd.Account)
	}
	n := Qty(0)
	if on {
		n, kind = m.cancelAll(cmd.Account, 0, ByKillSwitch), EventKilled
	}
	killed(m.core, &m.stream, cmd, kind, n)
	return 0
}

func killed(c *core, s *stream, cmd *Command, kind EventKind, n Qty) {
	ev := s.event(c, kind)
	ev.ID, ev.Account, ev.Qty = cmd.ID, cmd.Account, n
}

// administer carries out what sets the instrument's own state.
func (m *Matcher) administer(cmd *Command) Reason {
	switch cmd.Kind {
	case KindReferencePrice:
		if cmd.Price < 0 || cmd.Price > MaxPrice {
			return InvalidPrice
		}
		m.book.reference = cmd.Price
		ev := m.event(m.core, EventReferencePriceSet)
		ev.ID, ev.Price = cmd.ID, cmd.Price
	case KindLastPrice:
		if cmd.Price < 1 || cmd.Price > MaxPrice {
			return InvalidPrice
		}
		m.book.last = cmd.Price
		ev := m.event(m.core, EventLastPriceSet)
		ev.ID, ev.Price = cmd.ID, cmd.Price
		m.electLast()
	case KindFees:
		if !validRate(cmd.MakerFee) || !validRate(cmd.TakerFee) {
			return InvalidFee
		}
		m.makerFee, m.takerFee = cmd.MakerFee, cmd.TakerFee
		m.rebates = m.rebates || m.makerFee < 0 || m.takerFee < 0
		ev := m.event(m.core, EventFeesSet)
		ev.ID, ev.MakerRate, ev.TakerRate = cmd.ID, cmd.MakerFee, cmd.TakerFee
	case KindInstrumentState:
		if cmd.InstrumentState < InstrumentTrading || cmd.InstrumentState > InstrumentHalted {
			return InvalidState
		}
		m.state = cmd.InstrumentState
		ev := m.event(m.core, EventInstrumentStateSet)
		ev.ID, ev.InstrumentState = cmd.ID, cmd.InstrumentState
		m.electLast()
	case KindLimit:
		return m.limit(cmd)
	}
	return 0
}

func validRate(r FeeRate) bool { return r > -FeeRateUnit && r < FeeRateUnit }

// electLast triggers what the last price meets, while the instrument trades
// (ADMIN-001, ADMIN-002).
func (m *Matcher) electLast() {
	if m.state == InstrumentTrading && m.book.last != 0 {
		m.elect(m.book.last)
		m.runElected()
	}
}

func (m *Matcher) limit(cmd *Command) Reason {
	reason := checkLimit(cmd)
	if reason == 0 {
		if cmd.Limit.ofBook() {
			reason = m.setBookLimit(cmd)
		} else {
			reason = m.risk.setLimit(cmd)
		}
	}
	if reason == 0 {
		limitSet(m.core, &m.stream, cmd)
	}
	return reason
}

func limitSet(c *core, s *stream, cmd *Command) {
	ev := s.event(c, EventLimitSet)
	ev.ID, ev.Account, ev.Limit, ev.Value = cmd.ID, cmd.Account, cmd.Limit, cmd.Value
}
