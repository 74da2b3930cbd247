package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// togetherTries is how often several items are tried in one transaction, which
// more can get into the way of, before each account is booked by itself.
const togetherTries = 3

// SettleAll implements pipeline.SettlerOfMany: as many items as fit into one
// transaction are booked in it, an account that several of them change once.
func (b *Balances) SettleAll(ctx context.Context, items []pipeline.Committed, settlements []*pipeline.Settlement) (done int, err error) {
	for i, c := range items {
		if err := c.Check(); err != nil {
			return 0, fmt.Errorf("settling: %w", err)
		}
		if i > 0 && (c.Instrument() != items[0].Instrument() || c.Position() != items[i-1].Position()+1) {
			return 0, fmt.Errorf("settling: %w: item %d of instrument %d after item %d of instrument %d",
				pipeline.ErrInvalid, c.Position(), c.Instrument(), items[i-1].Position(), items[i-1].Instrument())
		}
	}
	for done < len(items) {
		n, err := b.settleTogether(ctx, items[done:], settlements[done:])
		if err == nil && n == 0 { // Settle says what is wrong, or goes another way
			n = 1
			if err = b.settle(ctx, items[done], settlements[done]); err != nil {
				err = fmt.Errorf("settling item %d of instrument %d: %w", items[done].Position(), items[done].Instrument(), err)
			}
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// settleTogether books some of the first items in one transaction, and returns
// how many; 0: they are to be booked one by one, because they are too large, or
// meet others, or are wrong.
func (b *Balances) settleTogether(ctx context.Context, items []pipeline.Committed, settlements []*pipeline.Settlement) (int, error) {
	n, keys, accounts := fitting(items, settlements)
	if n == 0 {
		return 0, nil
	}
	done := 0
	err := b.allAlone(ctx, accounts, func() error {
		for range togetherTries {
			var err error
			if done, err = b.settleOnce(ctx, items[:n], settlements[:n], keys, accounts); err == nil || judge(err) != contended {
				return err
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil { // in doubt, or not to be booked: both are found out one by one
		return 0, nil
	}
	return done, nil
}

// fitting returns how many of the first items one transaction has room for, what
// it reads, and the accounts in order.
func fitting(items []pipeline.Committed, settlements []*pipeline.Settlement) (n int, keys []key, accounts []exchange.AccountID) {
	known := map[key]bool{}
	keys = []key{venueKey(items[0].Instrument())}
	for n < len(items) {
		more := keys
		add := func(k key) {
			if !known[k] {
				known[k] = true
				more = append(more, k)
			}
		}
		with := accounts
		for i := range settlements[n].Accounts {
			a := &settlements[n].Accounts[i]
			if k := accountKey(a.Account); !known[k] {
				add(k)
				with = append(with, a.Account)
			}
			for _, k := range holdKeys(a) {
				add(k)
			}
		}
		if len(more) > maxTransaction {
			break
		}
		keys, accounts = more, with
		n++
	}
	return n, keys, accounts
}

// allAlone runs f when no other call of this process works on any of the
// accounts. Turns are waited for in one order, so that nobody waits in a circle.
func (b *Balances) allAlone(ctx context.Context, accounts []exchange.AccountID, f func() error) error {
	var mine []int
	for _, acct := range accounts {
		mine = append(mine, int(acct%turns))
	}
	slices.Sort(mine)
	for _, i := range slices.Compact(mine) {
		turn := b.turn[i]
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f()
}

// settleOnce reads, works out and writes. Each account takes each item once, by
// its own position.
func (b *Balances) settleOnce(ctx context.Context, items []pipeline.Committed, settlements []*pipeline.Settlement, keys []key, accounts []exchange.AccountID) (int, error) {
	got, err := b.getAll(ctx, keys)
	if err != nil {
		return 0, err
	}
	inst, n := items[0].Instrument(), len(items)
	venue := fields{item: got[keys[0]]}
	settled := pipeline.Position(venue.uint("p", 64))
	have := readBalances(&venue)
	switch {
	case venue.err != nil:
		return 0, venue.err
	case items[n-1].Position() <= settled:
		return n, nil
	case items[0].Position() > settled+1:
		return 0, fmt.Errorf("%w: settled up to %d", pipeline.ErrGap, settled)
	}
	work, read := map[exchange.AccountID]*settling{}, map[exchange.AccountID]*account{}
	for _, acct := range accounts {
		a, err := readAccount(acct, got[accountKey(acct)])
		if err != nil {
			return 0, err
		}
		work[acct], read[acct] = &settling{account: a, inst: inst, got: got}, a.clone()
	}
	var fees []pipeline.AssetBalance
	for i, c := range items {
		if c.Position() <= settled {
			continue
		}
		s := settlements[i]
		err := s.Check()
		if err == nil {
			have, err = addFees(have, s.Fees)
		}
		if err == nil {
			fees, err = addFees(fees, s.Fees)
		}
		if err != nil {
			return 0, err
		}
		for k := range s.Accounts {
			w := work[s.Accounts[k].Account]
			if w.settled[inst] >= c.Position() {
				continue
			}
			w.pos, w.now = c.Position(), timeOf(c)
			if err := w.book(&s.Accounts[k], holdKeys(&s.Accounts[k])); err != nil {
				return 0, err
			}
		}
	}
	changes := make([]pipeline.AssetChange, len(fees))
	for i := range fees {
		changes[i] = pipeline.AssetChange{Asset: fees[i].Asset, Available: fees[i].Available}
	}
	writes := []types.TransactWriteItem{{Update: b.venueUpdate(inst, settled, items[n-1].Position(), changes)}}
	for _, acct := range accounts {
		w := work[acct]
		if w.pos == 0 { // it has all of them
			continue
		}
		writes = append(writes, b.writeDelta(w.since(read[acct], inst)))
		for _, h := range w.changed {
			writes = append(writes, b.writeHold(h))
		}
	}
	if err := b.write(ctx, newToken(), writes...); err != nil {
		return 0, err
	}
	return n, nil
}

const (
	// holdsTogether is how many holds are placed in one transaction at most:
	// each is an item, and its account another.
	holdsTogether = 25
	// holdBatches is how many such transactions a process has on their way.
	holdBatches = 4
	// holdPatience is how long one may take, as it does not end with the call
	// that has begun it.
	holdPatience = 5 * time.Second
)

// errApart says that a hold is to be placed by itself: nobody else was there, or
// it was refused, or repeated, or the transaction with the others has failed.
var errApart = errors.New("to be placed by itself")

// placeAll places holds in one transaction, without reading anything: an id
// that is not known, an account without limits, and funds that suffice are
// conditions. The answer to each is nil or errApart; whatever is not simply
// placed, for whatever reason, is left to holdOnce, which finds out. Holds of an
// account stand or fall together, and the others are tried once more without
// those that fell.
func (b *Balances) placeAll(ctx context.Context, holds []*pipeline.Hold) []error {
	apart := slices.Repeat([]error{errApart}, len(holds))
	ctx, cancel := context.WithTimeout(ctx, holdPatience)
	defer cancel()
	deltas, ids := map[exchange.AccountID]*delta{}, map[key]bool{}
	var accounts []exchange.AccountID
	of := map[exchange.AccountID][]int{}
	for i, h := range holds {
		me := holdKey(h.Account, &h.ID)
		if ids[me] || h.Amount < 0 || h.Amount > exchange.MaxHeld || b.stale(h.Time, b.cfg.RememberHolds) || b.isLimited(h.Account) {
			continue
		}
		d := deltas[h.Account]
		if d == nil {
			d = &delta{account: h.Account, unlimited: true}
			deltas[h.Account], accounts = d, append(accounts, h.Account)
		}
		if d.place(h) {
			ids[me] = true
			of[h.Account] = append(of[h.Account], i)
		}
	}
	for range 2 {
		var writes []types.TransactWriteItem
		var owners []exchange.AccountID // of the writes
		for _, acct := range accounts {
			writes, owners = append(writes, b.writeDelta(deltas[acct])), append(owners, acct)
			for _, i := range of[acct] {
				h := holds[i]
				writes = append(writes, b.writeHold(&hold{as: *h, asset: h.Asset, newOrder: h.NewOrder, state: pipeline.HoldPlaced, remaining: h.Amount}))
				owners = append(owners, acct)
			}
		}
		if len(writes) == 0 {
			return apart
		}
		err := b.allAlone(ctx, accounts, func() error { return b.write(ctx, newToken(), writes...) })
		if err == nil {
			for _, acct := range accounts {
				for _, i := range of[acct] {
					apart[i] = nil
				}
			}
			return apart
		}
		fell := map[exchange.AccountID]bool{}
		for i, acct := range owners {
			if failed(err, i) {
				fell[acct] = true
			}
		}
		if len(fell) == 0 { // in doubt, or throttled, or in conflict
			return apart
		}
		accounts = slices.DeleteFunc(accounts, func(acct exchange.AccountID) bool { return fell[acct] })
	}
	return apart
}

// place adds a hold to a delta; false when the sum is more than any balance.
func (d *delta) place(h *pipeline.Hold) bool {
	at := slices.IndexFunc(d.assets, func(ch pipeline.AssetChange) bool { return ch.Asset == h.Asset })
	if at >= 0 && d.assets[at].Held > math.MaxInt64-h.Amount {
		return false
	}
	if h.Amount > 0 {
		if at < 0 {
			at, d.assets = len(d.assets), append(d.assets, pipeline.AssetChange{Asset: h.Asset})
		}
		d.assets[at].Available -= h.Amount
		d.assets[at].Held += h.Amount
		d.version++
	}
	if h.NewOrder {
		d.openOrders++
	}
	return true
}

// maxLimited is of how many accounts it is remembered that they have limits.
const maxLimited = 1 << 14

// isLimited reports whether an account had limits when its last hold was worked
// out, so that there is no use in trying without reading them.
func (b *Balances) isLimited(acct exchange.AccountID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limits[acct]
}

func (b *Balances) noteLimits(a *account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !a.limited():
		delete(b.limits, a.id)
	case len(b.limits) < maxLimited:
		b.limits[a.id] = true
	}
}
