package ledger

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Hold implements pipeline.Balances.
func (l *Ledger) Hold(ctx context.Context, h pipeline.Hold) error {
	if err := l.do(ctx, func() error { return l.hold(&h) }); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	return nil
}

func (l *Ledger) hold(h *pipeline.Hold) error {
	if h.ID == (exchange.CommandID{}) {
		return fmt.Errorf("%w: ID is zero", pipeline.ErrInvalid)
	}
	if known := l.lookup(h.Account, h.ID); known != nil {
		switch {
		case known.state == pipeline.HoldEnded:
			return pipeline.ErrHoldEnded
		case known.as != *h:
			return fmt.Errorf("%w: hold %x", pipeline.ErrConflict, h.ID)
		}
		return nil
	}
	switch {
	case h.Account == 0:
		return exchange.UnknownAccount
	case h.Amount < 0 || h.Amount > exchange.MaxHeld:
		return exchange.InvalidHeld
	case h.Time <= l.marks.forgotten:
		return exchange.StaleCommand
	case l.unended >= l.cfg.MaxHolds:
		return fmt.Errorf("%w: %d holds", pipeline.ErrFull, l.unended)
	}
	a := l.accounts[h.Account]
	if err := l.check(a, h); err != nil {
		return err
	}
	if a == nil {
		var err error
		if a, err = l.account(h.Account); err != nil {
			return err
		}
	}
	if h.Amount > 0 { // so it has a balance
		have := balance(&a.balances, h.Asset)
		have.Available -= h.Amount
		have.Held += h.Amount
		a.version++
	}
	if h.NewOrder {
		a.openOrders++
	}
	l.touch(a)
	at := l.makeHold(hold{as: *h, asset: h.Asset, newOrder: h.NewOrder, state: pipeline.HoldPlaced, remaining: h.Amount})
	l.placed.Set(l.placedAt(at))
	if h.Time > l.marks.now {
		l.marks.now = h.Time
		l.dirty.marks = true
	}
	l.forget()
	return nil
}

// check is what an account, which may be nil, says to a hold.
func (l *Ledger) check(a *account, h *pipeline.Hold) error {
	if a != nil {
		switch {
		case a.state > exchange.AccountActive:
			return exchange.AccountNotActive
		case a.killed:
			return exchange.KillSwitchEngaged
		case !l.count(a, h.Time):
			return exchange.MessageRate
		case h.NewOrder && a.limits.MaxOpenOrders > 0 && a.openOrders >= a.limits.MaxOpenOrders:
			return exchange.MaxOpenOrders
		case a.overHolding(h):
			return exchange.MaxPosition
		}
	}
	if have := a.of(h.Asset); have.Available < h.Amount || have.Held > math.MaxInt64-h.Amount {
		return exchange.InsufficientFunds
	}
	return nil
}

// count counts a message of an account, unless that is one too many.
func (l *Ledger) count(a *account, now exchange.Time) bool {
	if a.limits.MaxMessages == 0 || a.limits.MessageWindow == 0 {
		if a.messages != 0 {
			a.messages = 0
			l.touch(a)
		}
		return true
	}
	// Without a sign the difference of any two times fits.
	if a.messages == 0 || now > a.windowStart && uint64(now)-uint64(a.windowStart) >= uint64(a.limits.MessageWindow) {
		a.windowStart, a.messages = now, 0
	}
	if a.messages >= a.limits.MaxMessages {
		return false
	}
	a.messages++
	l.touch(a)
	return true
}

// overHolding reports whether what the order brings is too much.
func (a *account) overHolding(h *pipeline.Hold) bool {
	if a.limits.MaxHolding == 0 || h.Gain <= 0 {
		return false
	}
	have := a.of(h.GainAsset)
	// One after the other, so that nothing overflows.
	room := a.limits.MaxHolding
	for _, n := range [...]exchange.Amount{have.Available, have.Held, h.Gain} {
		if n > room {
			return true
		}
		room -= n
	}
	return false
}

// lookup returns a hold, or nil. It is valid until the next is made.
func (l *Ledger) lookup(acct exchange.AccountID, id exchange.CommandID) *hold {
	if at, ok := l.byID[holdKey{acct, id}]; ok {
		return &l.holds[at]
	}
	return nil
}

// makeHold adds a hold that has not ended.
func (l *Ledger) makeHold(h hold) slot {
	h.serial = l.nextSerial()
	at := l.place(h)
	l.unended++
	l.touchHold(at)
	return at
}

// place finds room for a hold.
func (l *Ledger) place(h hold) slot {
	at := slot(len(l.holds))
	if n := len(l.free); n > 0 {
		at, l.free = l.free[n-1], l.free[:n-1]
		l.holds[at] = h
	} else {
		l.holds = append(l.holds, h)
	}
	l.byID[holdKey{h.as.Account, h.as.ID}] = at
	return at
}

func (l *Ledger) placedAt(at slot) placedAt {
	as := &l.holds[at].as
	return placedAt{as.Time, holdKey{as.Account, as.ID}, at}
}

// endHold ends a hold with nothing remaining. The account is nil only when the
// hold is of no order.
func (l *Ledger) endHold(a *account, at slot) {
	h := &l.holds[at]
	if h.state == pipeline.HoldPlaced {
		l.placed.Delete(l.placedAt(at))
	}
	h.state = pipeline.HoldEnded
	h.ending = l.nextSerial()
	l.unended--
	if h.newOrder {
		a.openOrders--
		l.touch(a)
	}
	l.ended.push(at)
	l.touchHold(at)
}

// forget removes holds that ended too long ago, or are too many.
func (l *Ledger) forget() {
	for l.ended.len() > 0 {
		at := l.ended.front()
		h := &l.holds[at]
		now, span := l.marks.now, l.cfg.EndedSpan
		if old := now > math.MinInt64+span && h.as.Time < now-span; !old && l.ended.len() <= l.cfg.MaxEnded {
			return
		}
		l.ended.pop()
		l.marks.forgotten = max(l.marks.forgotten, h.as.Time)
		l.dirty.marks = true
		l.dirty.gone(Holds, h.serial)
		delete(l.byID, holdKey{h.as.Account, h.as.ID})
		// A dirty one stays in the list of changes, which finds it gone.
		*h = hold{dirty: h.dirty}
		l.free = append(l.free, at)
	}
}

// HoldByID implements pipeline.Balances.
func (l *Ledger) HoldByID(ctx context.Context, acct exchange.AccountID, id exchange.CommandID) (out pipeline.HoldRecord, err error) {
	err = l.do(ctx, func() error {
		h := l.lookup(acct, id)
		if h == nil {
			return pipeline.ErrNotFound
		}
		out = h.record()
		return nil
	})
	if err != nil {
		return pipeline.HoldRecord{}, fmt.Errorf("hold %x: %w", id, err)
	}
	return out, nil
}

func (h *hold) record() pipeline.HoldRecord {
	r := pipeline.HoldRecord{Hold: h.as, State: h.state, Remaining: h.remaining}
	r.Asset, r.NewOrder = h.asset, h.newOrder
	return r
}

// Placed implements pipeline.Balances.
func (l *Ledger) Placed(ctx context.Context, before exchange.Time, after *pipeline.HoldRecord, limit int) (out []pipeline.HoldRecord, err error) {
	err = l.do(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		from := placedAt{time: math.MinInt64}
		if after != nil {
			from = placedAt{time: after.Time, key: holdKey{after.Account, after.ID}}
		}
		l.placed.Ascend(from, func(p placedAt) bool {
			switch {
			case p.time >= before || len(out) == limit:
				return false
			case after == nil || p.key != from.key:
				out = append(out, l.holds[p.at].record())
			}
			return true
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading placed holds: %w", err)
	}
	return out, nil
}

// Settle implements pipeline.Balances. It books the whole item or nothing of
// it, which is more than is asked for.
func (l *Ledger) Settle(ctx context.Context, c pipeline.Committed, s *pipeline.Settlement) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	if err := l.do(ctx, func() error { return l.settle(c, s) }); err != nil {
		return fmt.Errorf("settling item %d of instrument %d: %w", c.Position(), c.Instrument(), err)
	}
	return nil
}

func (l *Ledger) settle(c pipeline.Committed, s *pipeline.Settlement) error {
	inst, pos := c.Instrument(), c.Position()
	switch settled := l.settled[inst]; {
	case pos <= settled:
		return nil
	case pos > settled+1:
		return fmt.Errorf("%w: settled up to %d", pipeline.ErrGap, settled)
	}
	if err := s.Check(); err != nil {
		return err
	}
	for i := range s.Accounts {
		if err := l.takes(&s.Accounts[i]); err != nil {
			return fmt.Errorf("account %d of the settlement: %w", i, err)
		}
	}
	if err := l.takeFees(inst, s.Fees); err != nil {
		return err
	}
	for i := range s.Accounts {
		l.settleAccount(c, &s.Accounts[i])
	}
	l.settled[inst] = pos
	l.dirty.settle(inst)
	l.forget()
	return nil
}

// fits reports whether n + delta lies between 0 and 2^63-1; n does.
func fits(n, delta exchange.Amount) bool {
	return delta <= math.MaxInt64-n && n+delta >= 0
}

// takes reports what is wrong with what an item does to an account.
func (l *Ledger) takes(s *pipeline.AccountSettlement) error {
	a := l.accounts[s.Account]
	for i := range s.Assets {
		ch, have := &s.Assets[i], a.of(s.Assets[i].Asset)
		if !fits(have.Available, ch.Available) || !fits(have.Held, ch.Held) {
			return fmt.Errorf("%w: asset %d: available %d %+d, held %d %+d", pipeline.ErrInvalid, ch.Asset, have.Available, ch.Available, have.Held, ch.Held)
		}
	}
	for i := range s.Holds {
		if err := l.lookup(s.Account, s.Holds[i].ID).takes(&s.Holds[i]); err != nil {
			return err
		}
	}
	return nil
}

// takes reports what is wrong with a change of a hold, which may be nil.
func (h *hold) takes(ch *pipeline.HoldChange) error {
	var remaining exchange.Amount
	if h != nil {
		switch {
		case h.state == pipeline.HoldEnded && ch.Delta != 0:
			return fmt.Errorf("%w: hold %x has ended, and should change by %d", pipeline.ErrInvalid, ch.ID, ch.Delta)
		case h.asset != ch.Asset && (h.as.Amount != 0 || h.remaining != 0):
			return fmt.Errorf("%w: hold %x is of asset %d, and should change in %d", pipeline.ErrInvalid, ch.ID, h.asset, ch.Asset)
		}
		remaining = h.remaining
	}
	switch {
	case !fits(remaining, ch.Delta):
		return fmt.Errorf("%w: hold %x: %d remaining %+d", pipeline.ErrInvalid, ch.ID, remaining, ch.Delta)
	case ch.Ended && remaining+ch.Delta != 0:
		return fmt.Errorf("%w: hold %x ends with %d remaining", pipeline.ErrInvalid, ch.ID, remaining+ch.Delta)
	}
	return nil
}

// takeFees adds what the venue has earned or paid, all or nothing.
func (l *Ledger) takeFees(inst exchange.InstrumentID, fees []pipeline.AssetChange) error {
	if len(fees) == 0 {
		return nil
	}
	venue := slices.Clone(l.venue[inst])
	for i := range fees {
		f, delta := balance(&venue, fees[i].Asset), fees[i].Available
		sum := f.Available + delta
		if delta != 0 && (sum > f.Available) != (delta > 0) {
			return fmt.Errorf("%w: fees of asset %d: %d %+d", pipeline.ErrInvalid, f.Asset, f.Available, delta)
		}
		f.Available = sum
	}
	l.venue[inst] = venue
	l.dirty.fees(inst)
	return nil
}

// settleAccount books what an item does to an account, which takes it.
func (l *Ledger) settleAccount(c pipeline.Committed, s *pipeline.AccountSettlement) {
	a := l.accounts[s.Account]
	if a == nil && len(s.Assets)+len(s.Holds) > 0 {
		a = l.open(s.Account) // settling refuses nobody
	}
	for i := range s.Assets {
		ch := &s.Assets[i]
		have := balance(&a.balances, ch.Asset)
		have.Available += ch.Available
		have.Held += ch.Held
		a.version++
		l.touch(a)
	}
	for i := range s.Holds {
		l.settleHold(c, a, &s.Holds[i])
	}
	for _, id := range s.Refused {
		l.settleRefused(c, s.Account, a, id)
	}
}

func (l *Ledger) settleHold(c pipeline.Committed, a *account, ch *pipeline.HoldChange) {
	at, ok := l.byID[holdKey{a.id, ch.ID}]
	if !ok {
		at = l.makeHold(unplaced(c, a.id, ch.ID, ch.Asset))
	}
	h := &l.holds[at]
	if h.state == pipeline.HoldEnded {
		return
	}
	l.touchHold(at)
	if h.state == pipeline.HoldPlaced {
		l.placed.Delete(l.placedAt(at))
		h.state = pipeline.HoldOpen
	}
	if ch.NewOrder && !h.newOrder {
		h.newOrder = true
		a.openOrders++
		l.touch(a)
	}
	h.asset = ch.Asset
	h.remaining += ch.Delta
	if ch.Ended {
		l.endHold(a, at)
	}
}

// settleRefused ends the hold of a command that was refused. The account is
// nil when it never had anything.
func (l *Ledger) settleRefused(c pipeline.Committed, acct exchange.AccountID, a *account, id exchange.CommandID) {
	at, ok := l.byID[holdKey{acct, id}]
	if !ok {
		at = l.makeHold(unplaced(c, acct, id, 0))
	}
	h := &l.holds[at]
	if h.state == pipeline.HoldEnded {
		return
	}
	if h.remaining > 0 {
		have := balance(&a.balances, h.asset)
		have.Held -= h.remaining
		have.Available += h.remaining
		h.remaining = 0
		a.version++
		l.touch(a)
	}
	l.endHold(a, at)
}

// unplaced is a hold that a settlement makes.
func unplaced(c pipeline.Committed, acct exchange.AccountID, id exchange.CommandID, asset exchange.AssetID) hold {
	as := pipeline.Hold{ID: id, Account: acct, Instrument: c.Instrument(), Asset: asset, Time: timeOf(c)}
	return hold{as: as, asset: asset, state: pipeline.HoldOpen}
}

// timeOf returns the time of an item: that of its last event.
func timeOf(c pipeline.Committed) exchange.Time {
	entries := c.Batch().Entries
	for i := len(entries) - 1; i >= 0; i-- {
		if n := len(entries[i].Events); n > 0 {
			return entries[i].Events[n-1].Time
		}
	}
	return 0
}

// Settled implements pipeline.Balances.
func (l *Ledger) Settled(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	l.seen.mu.RLock()
	defer l.seen.mu.RUnlock()
	return l.seen.settled[inst], nil
}
