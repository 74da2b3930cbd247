package dynamodb

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Settle implements pipeline.Balances. Whatever fits into one transaction,
// accounts, fees and position, is booked in one; otherwise accounts first, MaxParallel at a time,
// then the fees with the position, as when others keep changing one of them. An
// account with more than 99 holds in one
// item takes several transactions, its holds first: until the last of them a
// reader may see a hold that has ended whose funds are still held. A call that
// ends early is finished by the next one.
func (b *Balances) Settle(ctx context.Context, c pipeline.Committed, s *pipeline.Settlement) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	if done, _ := b.settleTogether(ctx, []pipeline.Committed{c}, []*pipeline.Settlement{s}); done == 1 {
		return nil
	}
	if err := b.settle(ctx, c, s); err != nil {
		return fmt.Errorf("settling item %d of instrument %d: %w", c.Position(), c.Instrument(), err)
	}
	return nil
}

func (b *Balances) settle(ctx context.Context, c pipeline.Committed, s *pipeline.Settlement) error {
	inst, pos := c.Instrument(), c.Position()
	it, err := b.get(ctx, venueKey(inst))
	if err != nil {
		return err
	}
	f := fields{item: it}
	settled := pipeline.Position(f.uint("p", 64))
	fees := readBalances(&f)
	switch {
	case f.err != nil:
		return f.err
	case pos <= settled:
		return nil
	case pos > settled+1:
		return fmt.Errorf("%w: settled up to %d", pipeline.ErrGap, settled)
	}
	if err := s.Check(); err != nil {
		return err
	}
	if _, err := addFees(fees, s.Fees); err != nil {
		return err
	}
	err = each(ctx, len(s.Accounts), func(ctx context.Context, i int) error {
		a := &s.Accounts[i]
		err := b.alone(ctx, a.Account, func() error {
			return retry(ctx, func() error { return b.settleAccount(ctx, c, a) })
		})
		if err != nil {
			return fmt.Errorf("account %d of the settlement: %w", i, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.settleVenue(ctx, inst, pos, s.Fees)
}

// addFees returns what fees come to with those of one item. It may change have.
func addFees(have []pipeline.AssetBalance, fees []pipeline.AssetChange) ([]pipeline.AssetBalance, error) {
	for i := range fees {
		ch := &fees[i]
		at, ok := find(have, ch.Asset)
		if !ok {
			have = slices.Insert(have, at, pipeline.AssetBalance{Asset: ch.Asset})
		}
		was := have[at].Available
		have[at].Available += ch.Available
		if ch.Available != 0 && (have[at].Available > was) != (ch.Available > 0) {
			return have, fmt.Errorf("%w: fees of asset %d: %d %+d", pipeline.ErrInvalid, ch.Asset, was, ch.Available)
		}
	}
	return have, nil
}

// venueUpdate books fees and moves the position from one to another.
func (b *Balances) venueUpdate(inst exchange.InstrumentID, before, pos pipeline.Position, fees []pipeline.AssetChange) *types.Update {
	set, add, condition := "SET p = :p", "", "p = :before"
	names, values := map[string]string{}, item{":p": unum(pos)}
	if before == 0 {
		condition = "attribute_not_exists(p)"
	} else {
		values[":before"] = unum(before)
	}
	for i := range fees {
		if fees[i].Available != 0 {
			name, value := fmt.Sprintf("#%d", i), fmt.Sprintf(":%d", i)
			names[name], values[value] = numbered(prefixAvailable, fees[i].Asset), num(fees[i].Available)
			add += "," + name + " " + value
		}
	}
	if add != "" {
		set += " ADD " + add[1:]
	}
	if len(names) == 0 {
		names = nil
	}
	return &types.Update{TableName: aws.String(b.table), Key: venueKey(inst).item(), UpdateExpression: aws.String(set),
		ConditionExpression: aws.String(condition), ExpressionAttributeNames: names, ExpressionAttributeValues: values}
}

// settleVenue books the fees and moves the position, in one write.
func (b *Balances) settleVenue(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, fees []pipeline.AssetChange) error {
	u := b.venueUpdate(inst, pos-1, pos, fees)
	met, err := b.update(ctx, venueKey(inst), *u.UpdateExpression, *u.ConditionExpression, u.ExpressionAttributeNames, u.ExpressionAttributeValues)
	if err != nil || met {
		return err
	}
	// Another Settler has the same item, or the answer of a try was lost.
	now, err := b.Settled(ctx, inst)
	if err == nil && now < pos {
		err = fmt.Errorf("%w: settled up to %d", ErrContended, now)
	}
	return err
}

// settleAccount books what an item does to an account, once.
func (b *Balances) settleAccount(ctx context.Context, c pipeline.Committed, s *pipeline.AccountSettlement) error {
	mine := accountKey(s.Account)
	keys := append([]key{mine}, holdKeys(s)...)
	got, err := b.getAll(ctx, keys)
	if err != nil {
		return err
	}
	a, err := readAccount(s.Account, got[mine])
	if err != nil || a.settled[c.Instrument()] >= c.Position() {
		return err
	}
	w := settling{account: a, inst: c.Instrument(), pos: c.Position(), now: timeOf(c), got: got}
	if err := w.book(s, keys[1:]); err != nil {
		return err
	}
	writes := make([]types.TransactWriteItem, 0, len(w.changed)+1)
	for _, h := range w.changed {
		writes = append(writes, b.writeHold(h))
	}
	for len(writes) >= maxTransaction {
		if err := b.write(ctx, newToken(), writes[:maxTransaction]...); err != nil {
			return err
		}
		writes = writes[maxTransaction:]
	}
	return b.write(ctx, newToken(), append(slices.Clip(writes), b.writeAccount(a))...)
}

// holdKeys are the keys of what an item names: Holds, then Refused.
func holdKeys(s *pipeline.AccountSettlement) []key {
	keys := make([]key, 0, len(s.Holds)+len(s.Refused))
	for i := range s.Holds {
		keys = append(keys, holdKey(s.Account, &s.Holds[i].ID))
	}
	for i := range s.Refused {
		keys = append(keys, holdKey(s.Account, &s.Refused[i]))
	}
	return keys
}

// settling works out what an item makes of an account and its holds.
type settling struct {
	*account
	inst    exchange.InstrumentID
	pos     pipeline.Position
	now     exchange.Time // of the item
	got     map[key]item
	holds   map[key]*hold // those that were looked at
	changed []*hold       // to be written, each once
}

// book changes the account and collects the holds that change. An error leaves
// nothing that counts.
func (w *settling) book(s *pipeline.AccountSettlement, holds []key) error {
	for i := range s.Assets {
		if err := w.takes(s.Assets[i].Asset, s.Assets[i].Available, s.Assets[i].Held); err != nil {
			return err
		}
	}
	for i := range s.Assets {
		w.add(s.Assets[i].Asset, s.Assets[i].Available, s.Assets[i].Held)
	}
	for i := range s.Holds {
		h, err := w.find(holds[i], s.Holds[i].ID, s.Holds[i].Asset)
		if err == nil {
			err = w.change(h, &s.Holds[i])
		}
		if err != nil {
			return err
		}
	}
	for i := range s.Refused {
		h, err := w.find(holds[len(s.Holds)+i], s.Refused[i], 0)
		if err == nil {
			err = w.refuse(h)
		}
		if err != nil {
			return err
		}
	}
	w.settled[w.inst] = w.pos
	return nil
}

// find returns a hold, which it makes when nobody has placed it.
func (w *settling) find(k key, id exchange.CommandID, asset exchange.AssetID) (*hold, error) {
	if h := w.holds[k]; h != nil {
		return h, nil
	}
	as := pipeline.Hold{ID: id, Account: w.id, Instrument: w.inst, Asset: asset, Time: w.now}
	h := &hold{as: as, asset: asset, state: pipeline.HoldOpen}
	if it := w.got[k]; it != nil {
		var err error
		if h, err = readHold(it); err != nil {
			return nil, err
		}
	}
	if w.holds == nil {
		w.holds = map[key]*hold{}
	}
	w.holds[k] = h
	return h, nil
}

// booked reports whether this item has changed the hold already.
func (w *settling) booked(h *hold) bool { return h.last.inst == w.inst && h.last.pos == w.pos }

func (w *settling) change(h *hold, ch *pipeline.HoldChange) error {
	if w.booked(h) {
		w.openOrders += h.last.opened
		return nil
	}
	switch {
	case h.state == pipeline.HoldEnded && ch.Delta != 0:
		return fmt.Errorf("%w: hold %x has ended, and should change by %d", pipeline.ErrInvalid, ch.ID, ch.Delta)
	case h.asset != ch.Asset && (h.as.Amount != 0 || h.remaining != 0):
		return fmt.Errorf("%w: hold %x is of asset %d, and should change in %d", pipeline.ErrInvalid, ch.ID, h.asset, ch.Asset)
	case !fits(h.remaining, ch.Delta):
		return fmt.Errorf("%w: hold %x: %d remaining %+d", pipeline.ErrInvalid, ch.ID, h.remaining, ch.Delta)
	case ch.Ended && h.remaining+ch.Delta != 0:
		return fmt.Errorf("%w: hold %x ends with %d remaining", pipeline.ErrInvalid, ch.ID, h.remaining+ch.Delta)
	case h.state == pipeline.HoldEnded:
		return nil
	}
	h.state, h.asset = pipeline.HoldOpen, ch.Asset
	h.remaining += ch.Delta
	var opened int64
	if ch.NewOrder && !h.newOrder {
		h.newOrder = true
		opened++
	}
	w.done(h, ch.Ended, opened, 0)
	return nil
}

// refuse ends the hold of a command that was refused.
func (w *settling) refuse(h *hold) error {
	switch {
	case w.booked(h):
		w.openOrders += h.last.opened
		return w.release(h, h.last.released)
	case h.state == pipeline.HoldEnded:
		return nil
	}
	if err := w.release(h, h.remaining); err != nil {
		return err
	}
	released := h.remaining
	h.remaining = 0
	w.done(h, true, 0, released)
	return nil
}

func (w *settling) release(h *hold, n exchange.Amount) error {
	if n == 0 {
		return nil
	}
	if err := w.takes(h.asset, n, -n); err != nil {
		return err
	}
	w.add(h.asset, n, -n)
	return nil
}

// done notes that a hold changes.
func (w *settling) done(h *hold, ended bool, opened int64, released exchange.Amount) {
	if ended {
		h.state = pipeline.HoldEnded
		if h.newOrder {
			opened--
		}
	}
	w.openOrders += opened
	h.last = effect{w.inst, w.pos, opened, released}
	if !slices.Contains(w.changed, h) {
		w.changed = append(w.changed, h)
	}
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
func (b *Balances) Settled(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	it, err := b.get(ctx, venueKey(inst), "p")
	f := fields{item: it}
	pos := pipeline.Position(f.uint("p", 64))
	if err == nil {
		err = f.err
	}
	if err != nil {
		return 0, fmt.Errorf("instrument %d: %w", inst, err)
	}
	return pos, nil
}
