package memory

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Hold implements pipeline.Balances. ErrFull: there are MaxHolds.
func (b *Balances) Hold(_ context.Context, h pipeline.Hold) error {
	if err := b.hold(&h); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	return nil
}

func (b *Balances) hold(h *pipeline.Hold) error {
	if h.ID == (exchange.CommandID{}) {
		return fmt.Errorf("%w: ID is zero", pipeline.ErrInvalid)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := holdKey{h.Account, h.ID}
	if known := b.holds[key]; known != nil {
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
	case h.Time <= b.forgotten:
		return exchange.StaleCommand
	case b.unended >= b.cfg.MaxHolds:
		return fmt.Errorf("%w: %d holds", pipeline.ErrFull, b.unended)
	}
	if err := b.check(h); err != nil {
		return err
	}
	a, err := b.account(h.Account)
	if err != nil {
		return err
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
	mine := &hold{as: *h, asset: h.Asset, newOrder: h.NewOrder, state: pipeline.HoldPlaced, remaining: h.Amount}
	b.holds[key] = mine
	b.placed.Set(mine)
	b.unended++
	b.now = max(b.now, h.Time)
	b.forget()
	return nil
}

// check is what an account, which may not exist, says to a hold.
func (b *Balances) check(h *pipeline.Hold) error {
	a := b.accounts[h.Account]
	if a != nil {
		switch {
		case a.state > exchange.AccountActive:
			return exchange.AccountNotActive
		case a.killed:
			return exchange.KillSwitchEngaged
		case !a.count(h.Time):
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

// count counts a message, unless that is one too many.
func (a *account) count(now exchange.Time) bool {
	if a.limits.MaxMessages == 0 || a.limits.MessageWindow == 0 {
		a.messages = 0
		return true
	}
	// In 64 bits without a sign no difference of two times overflows.
	if a.messages == 0 || now > a.windowStart && uint64(now)-uint64(a.windowStart) >= uint64(a.limits.MessageWindow) {
		a.windowStart, a.messages = now, 0
	}
	if a.messages >= a.limits.MaxMessages {
		return false
	}
	a.messages++
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

// forget removes holds that ended too long ago, or are too many.
func (b *Balances) forget() {
	for b.ended.len() > 0 {
		key := *b.ended.at(0)
		h := b.holds[key]
		if old := b.now > math.MinInt64+b.cfg.EndedSpan && h.as.Time < b.now-b.cfg.EndedSpan; !old && b.ended.len() <= b.cfg.MaxEnded {
			return
		}
		b.forgotten = max(b.forgotten, h.as.Time)
		delete(b.holds, key)
		b.ended.drop(1)
	}
}

// HoldByID implements pipeline.Balances.
func (b *Balances) HoldByID(_ context.Context, acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holds[holdKey{acct, id}]
	if h == nil {
		return pipeline.HoldRecord{}, fmt.Errorf("hold %x: %w", id, pipeline.ErrNotFound)
	}
	return h.record(), nil
}

func (h *hold) record() pipeline.HoldRecord {
	r := pipeline.HoldRecord{Hold: h.as, State: h.state, Remaining: h.remaining}
	r.Asset, r.NewOrder = h.asset, h.newOrder
	return r
}

// Placed implements pipeline.Balances.
func (b *Balances) Placed(_ context.Context, before exchange.Time, after *pipeline.HoldRecord, limit int) ([]pipeline.HoldRecord, error) {
	if err := checkLimit(limit); err != nil {
		return nil, fmt.Errorf("reading placed holds: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []pipeline.HoldRecord
	from := &hold{as: pipeline.Hold{Time: math.MinInt64}}
	if after != nil {
		from.as = after.Hold
	}
	b.placed.Ascend(from, func(h *hold) bool {
		if h.as.Time >= before || len(out) == limit {
			return false
		}
		if after == nil || h.as.ID != after.ID {
			out = append(out, h.record())
		}
		return true
	})
	return out, nil
}

// Settle implements pipeline.Balances.
func (b *Balances) Settle(_ context.Context, c pipeline.Committed, s *pipeline.Settlement) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	if err := b.settle(c, s); err != nil {
		return fmt.Errorf("settling item %d of instrument %d: %w", c.Position(), c.Instrument(), err)
	}
	return nil
}

func (b *Balances) settle(c pipeline.Committed, s *pipeline.Settlement) error {
	inst, pos := c.Instrument(), c.Position()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch settled := b.settled[inst]; {
	case pos <= settled:
		return nil
	case pos > settled+1:
		return fmt.Errorf("%w: settled up to %d", pipeline.ErrGap, settled)
	}
	if err := s.Check(); err != nil {
		return err
	}
	venue := slices.Clone(b.venue[inst])
	for i := range s.Fees {
		f, delta := balance(&venue, s.Fees[i].Asset), s.Fees[i].Available
		if sum := f.Available + delta; (sum > f.Available) != (delta > 0) {
			return fmt.Errorf("%w: fees of asset %d: %d %+d", pipeline.ErrInvalid, f.Asset, f.Available, delta)
		}
		f.Available += delta
	}
	for i := range s.Accounts {
		if err := b.settleAccount(c, &s.Accounts[i]); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	b.venue[inst] = venue
	b.settled[inst] = pos
	b.forget()
	return nil
}

// settleAccount books what an item does to an account, once, all or nothing.
func (b *Balances) settleAccount(c pipeline.Committed, s *pipeline.AccountSettlement) error {
	inst, pos := c.Instrument(), c.Position()
	a := b.accounts[s.Account]
	if a == nil && len(s.Assets)+len(s.Holds) > 0 {
		a = b.open(s.Account) // settling refuses nobody
	}
	if a != nil && a.settled[inst] >= pos {
		return nil
	}
	for i := range s.Assets {
		ch := &s.Assets[i]
		have := a.of(ch.Asset)
		if !fits(have.Available, ch.Available) || !fits(have.Held, ch.Held) {
			return fmt.Errorf("%w: asset %d: available %d %+d, held %d %+d", pipeline.ErrInvalid, ch.Asset, have.Available, ch.Available, have.Held, ch.Held)
		}
	}
	for i := range s.Holds {
		if err := b.holds[holdKey{s.Account, s.Holds[i].ID}].takes(&s.Holds[i]); err != nil {
			return err
		}
	}
	for i := range s.Assets {
		ch := &s.Assets[i]
		have := balance(&a.balances, ch.Asset)
		have.Available += ch.Available
		have.Held += ch.Held
		a.version++
	}
	for i := range s.Holds {
		b.settleHold(c, s.Account, a, &s.Holds[i])
	}
	for i := range s.Refused {
		b.settleRefused(c, s.Account, a, s.Refused[i])
	}
	if a != nil {
		a.settled[inst] = pos
	}
	return nil
}

// fits reports whether n + delta lies between 0 and 2^63-1; n does.
func fits(n, delta exchange.Amount) bool {
	return delta <= math.MaxInt64-n && n+delta >= 0
}

// takes reports what is wrong with a change of a hold, which may not exist.
func (h *hold) takes(ch *pipeline.HoldChange) error {
	var remaining exchange.Amount
	if h != nil {
		switch {
		case h.state == pipeline.HoldEnded && ch.Delta != 0:
			return fmt.Errorf("%w: hold %x has ended, and should change by %d", pipeline.ErrInvalid, ch.ID, ch.Delta)
		case h.asset != ch.Asset && (h.as.Amount != 0 || h.remaining != 0):
			return fmt.Errorf("%w: hold %x is of asset %d, expected %d", pipeline.ErrInvalid, ch.ID, h.asset, ch.Asset)
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

func (b *Balances) settleHold(c pipeline.Committed, acct exchange.AccountID, a *account, ch *pipeline.HoldChange) {
	h := b.holds[holdKey{acct, ch.ID}]
	if h == nil {
		h = b.makeHold(c, acct, ch.ID)
		h.asset, h.as.Asset = ch.Asset, ch.Asset
	}
	if h.state == pipeline.HoldEnded {
		return
	}
	if h.state == pipeline.HoldPlaced {
		b.placed.Delete(h)
		h.state = pipeline.HoldOpen
	}
	if ch.NewOrder && !h.newOrder {
		h.newOrder = true
		a.openOrders++
	}
	h.asset = ch.Asset
	h.remaining += ch.Delta
	if ch.Ended {
		b.endHold(a, h)
	}
}

// makeHold makes a hold that nobody has placed.
func (b *Balances) makeHold(c pipeline.Committed, acct exchange.AccountID, id exchange.CommandID) *hold {
	h := &hold{as: pipeline.Hold{ID: id, Account: acct, Instrument: c.Instrument(), Time: timeOf(c)}, state: pipeline.HoldOpen}
	b.holds[holdKey{acct, id}] = h
	b.unended++
	return h
}

// endHold ends a hold with nothing remaining. The account may be nil when the
// hold is of no order.
func (b *Balances) endHold(a *account, h *hold) {
	if h.state == pipeline.HoldPlaced {
		b.placed.Delete(h)
	}
	h.state = pipeline.HoldEnded
	b.unended--
	if h.newOrder {
		a.openOrders--
	}
	b.ended.push(holdKey{h.as.Account, h.as.ID})
}

// settleRefused ends the hold of a command that was refused. The account is
// nil when it never had anything.
func (b *Balances) settleRefused(c pipeline.Committed, acct exchange.AccountID, a *account, id exchange.CommandID) {
	h := b.holds[holdKey{acct, id}]
	switch {
	case h == nil:
		h = b.makeHold(c, acct, id)
	case h.state == pipeline.HoldEnded:
		return
	}
	if h.remaining > 0 {
		have := balance(&a.balances, h.asset)
		have.Held -= h.remaining
		have.Available += h.remaining
		h.remaining = 0
		a.version++
	}
	b.endHold(a, h)
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
func (b *Balances) Settled(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settled[inst], nil
}
