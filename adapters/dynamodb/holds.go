package dynamodb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// hold is a hold's item.
type hold struct {
	as        pipeline.Hold    // as it was placed, or made
	asset     exchange.AssetID // as.Asset, unless nothing was placed
	newOrder  bool             // counted among the account's open orders
	state     pipeline.HoldState
	remaining exchange.Amount
	revision  uint64 // of the item; 0: there is none
	last      effect
}

// effect is what the last journal item did to a hold, so that an account that
// is booked in several steps can be finished by whoever comes next.
type effect struct {
	inst     exchange.InstrumentID
	pos      pipeline.Position
	opened   int64           // open orders it added to the account's
	released exchange.Amount // it gave back, because the command was refused
}

// readHold reads a hold that is there.
func readHold(it item) (*hold, error) {
	f := fields{item: it}
	h := &hold{asset: exchange.AssetID(f.uint("asset", 32)), newOrder: f.bool("counted"), state: pipeline.HoldState(f.uint("state", 8)), remaining: exchange.Amount(f.int("remaining")), revision: f.uint("r", 64),
		last: effect{exchange.InstrumentID(f.uint("lastInstrument", 32)), pipeline.Position(f.uint("lastPosition", 64)), f.int("lastOpened"), exchange.Amount(f.int("lastReleased"))},
		as: pipeline.Hold{Instrument: exchange.InstrumentID(f.uint("instrument", 32)), Asset: exchange.AssetID(f.uint("placedAsset", 32)), Amount: exchange.Amount(f.int("amount")),
			Time: exchange.Time(f.int("time")), NewOrder: f.bool("newOrder"), GainAsset: exchange.AssetID(f.uint("gainAsset", 32)), Gain: exchange.Amount(f.int("gain")), WorstPrice: exchange.Price(f.int("worstPrice"))}}
	if f.item["request"] != nil {
		f.exactly("request", h.as.Request[:])
	}
	sort := f.text(SortKey)
	id, acct, _ := strings.Cut(sort, "#")
	n, err := strconv.ParseUint(acct, 10, 64)
	h.as.Account = exchange.AccountID(n)
	if b, hexErr := hex.DecodeString(id); hexErr != nil || err != nil || copy(h.as.ID[:], b) != len(h.as.ID) {
		f.fault(SortKey, errors.Join(hexErr, err))
	}
	if h.revision == 0 || h.state < pipeline.HoldPlaced || h.state > pipeline.HoldEnded {
		f.fault("state", fmt.Errorf("state %d, revision %d", h.state, h.revision))
	}
	if f.err != nil {
		return nil, fmt.Errorf("hold %s: %w", id, f.err)
	}
	return h, nil
}

// writeHold writes a hold unless it has changed since it was read.
func (b *Balances) writeHold(h *hold) types.TransactWriteItem {
	it := holdKey(h.as.Account, &h.as.ID).item()
	it["r"] = unum(h.revision + 1)
	setU(it, "state", uint8(h.state))
	setU(it, "asset", h.asset)
	setBool(it, "counted", h.newOrder)
	set(it, "remaining", h.remaining)
	setU(it, "lastInstrument", h.last.inst)
	setU(it, "lastPosition", h.last.pos)
	set(it, "lastOpened", h.last.opened)
	set(it, "lastReleased", h.last.released)
	setU(it, "instrument", h.as.Instrument)
	setU(it, "placedAsset", h.as.Asset)
	set(it, "amount", h.as.Amount)
	set(it, "time", h.as.Time)
	setBool(it, "newOrder", h.as.NewOrder)
	setU(it, "gainAsset", h.as.GainAsset)
	set(it, "gain", h.as.Gain)
	set(it, "worstPrice", h.as.WorstPrice)
	if h.as.Request != [16]byte{} {
		it["request"] = bin(h.as.Request[:])
	}
	switch h.state {
	case pipeline.HoldPlaced:
		it[PlacedKey] = str(placedKey(h.as.Time, h.as.Account, &h.as.ID))
	case pipeline.HoldEnded:
		it[TTLAttribute] = b.expires(h.as.Time, b.cfg.RememberHolds)
	}
	return b.putRevision(it, h.revision)
}

func (h *hold) record() pipeline.HoldRecord {
	r := pipeline.HoldRecord{Hold: h.as, State: h.state, Remaining: h.remaining}
	r.Asset, r.NewOrder = h.asset, h.newOrder
	return r
}

// Hold implements pipeline.Balances. Holds that are placed at the same time go
// into one transaction, as long as none stands in the way. A refusal whose answer was lost, so that
// the call tried again, may be counted as two messages.
func (b *Balances) Hold(ctx context.Context, h pipeline.Hold) error {
	err := func() error {
		switch {
		case h.ID == exchange.CommandID{}:
			return fmt.Errorf("%w: ID is zero", pipeline.ErrInvalid)
		case h.Account == 0:
			return exchange.UnknownAccount
		}
		if err := b.placing.Do(ctx, &h); !errors.Is(err, errApart) {
			return err
		}
		return b.alone(ctx, h.Account, func() error {
			return retry(ctx, func() error { return b.holdOnce(ctx, &h) })
		})
	}()
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	return nil
}

func (b *Balances) holdOnce(ctx context.Context, h *pipeline.Hold) error {
	me, mine := holdKey(h.Account, &h.ID), accountKey(h.Account)
	got, err := b.getAll(ctx, []key{me, mine})
	if err != nil {
		return err
	}
	if got[me] != nil {
		known, err := readHold(got[me])
		switch {
		case err != nil:
			return err
		case known.state == pipeline.HoldEnded:
			return pipeline.ErrHoldEnded
		case known.as != *h:
			return fmt.Errorf("%w: hold %x", pipeline.ErrConflict, h.ID)
		}
		return nil
	}
	switch {
	case h.Amount < 0 || h.Amount > exchange.MaxHeld:
		return b.unless(ctx, me, exchange.InvalidHeld)
	case b.stale(h.Time, b.cfg.RememberHolds):
		return b.unless(ctx, me, exchange.StaleCommand)
	}
	a, err := readAccount(h.Account, got[mine])
	if err != nil {
		return err
	}
	b.noteLimits(a)
	start, messages := a.windowStart, a.messages
	if refusal := a.check(h); refusal != nil {
		if a.windowStart == start && a.messages == messages {
			// The hold may have been placed between the two readings.
			return b.unless(ctx, me, refusal)
		}
		err := b.write(ctx, newToken(), b.writeAccount(a), types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
			TableName: aws.String(b.table), Key: me.item(), ConditionExpression: aws.String(absent)}})
		if err != nil {
			return err
		}
		return refusal
	}
	a.place(h)
	placed := &hold{as: *h, asset: h.Asset, newOrder: h.NewOrder, state: pipeline.HoldPlaced, remaining: h.Amount}
	return b.write(ctx, newToken(), b.writeAccount(a), b.writeHold(placed))
}

// HoldByID implements pipeline.Balances.
func (b *Balances) HoldByID(ctx context.Context, acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, error) {
	it, err := b.get(ctx, holdKey(acct, &id))
	if err == nil && it == nil {
		err = pipeline.ErrNotFound
	}
	if err != nil {
		return pipeline.HoldRecord{}, fmt.Errorf("hold %x: %w", id, err)
	}
	h, err := readHold(it)
	if err != nil {
		return pipeline.HoldRecord{}, err
	}
	return h.record(), nil
}

// Placed implements pipeline.Balances. It asks every partition of holds: it is
// meant for the Sweeper, every minute or so.
func (b *Balances) Placed(ctx context.Context, before exchange.Time, after *pipeline.HoldRecord, limit int) ([]pipeline.HoldRecord, error) {
	if err := checkLimit(limit); err != nil {
		return nil, fmt.Errorf("reading placed holds: %w", err)
	}
	from, to := "0", paddedTime(before) // sorts ahead of all holds of that time
	if after != nil {
		from = placedKey(after.Time, after.Account, &after.ID) + lastDigits
	}
	if from > to {
		return nil, nil
	}
	found := make([][]item, holdBuckets)
	err := each(ctx, holdBuckets, func(ctx context.Context, i int) error {
		return b.query(ctx, holdPartition(i), PlacedIndex, PlacedKey, from, to, limit, func(page []item) (bool, error) {
			found[i] = append(found[i], page...)
			return len(found[i]) < limit, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading placed holds: %w", err)
	}
	type placed struct {
		at string
		item
	}
	var all []placed
	for i := range found {
		for _, it := range found[i] {
			f := fields{item: it}
			all = append(all, placed{f.text(PlacedKey), it})
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return strings.Compare(a.at, b.at) })
	all = all[:min(limit, len(all))]
	out := make([]pipeline.HoldRecord, len(all))
	for i := range all {
		h, err := readHold(all[i].item)
		if err == nil && h.state != pipeline.HoldPlaced {
			err = fmt.Errorf("hold %x: %w: it is in the index, in state %d", h.as.ID, rows.ErrDamaged, h.state)
		}
		if err != nil {
			return nil, fmt.Errorf("reading placed holds: %w", err)
		}
		out[i] = h.record()
	}
	return out, nil
}
