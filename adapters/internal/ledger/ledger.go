// Package ledger is the pipeline.Balances of the stores of this module: a
// state machine in memory that says, after each group of calls, which rows of
// it have changed. A store keeps the rows and brings them back.
//
// Everything in it is bounded, by the settings of memory.BalancesConfig, which
// mean here what they mean there.
package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// Do runs a function alone among all that are run for a ledger, and returns its
// error after the rows it changed, and those changed before, are durable. Any
// other error means that nobody knows.
type Do func(ctx context.Context, f func() error) error

// Ledger is a pipeline.Balances. Load, Ready, Changed, Flush, Committed and All
// belong to the store: they run where the functions of Do run.
type Ledger struct {
	cfg memory.BalancesConfig
	do  Do

	accounts map[exchange.AccountID]*account
	totals   map[exchange.AssetID]exchange.Amount // deposits less withdrawals
	venue    map[exchange.InstrumentID][]pipeline.AssetBalance
	settled  map[exchange.InstrumentID]pipeline.Position
	marks    marks

	// Holds lie in a slab without pointers, so that the garbage collector has
	// nothing to look at.
	holds   []hold
	free    []slot
	byID    map[holdKey]slot
	unended int                     // holds that have not ended
	placed  *btree.BTreeG[placedAt] // those that are HoldPlaced
	ended   queue[slot]             // as they ended

	transfers     map[exchange.CommandID]*transfer
	transferOrder queue[*transfer]

	spans     map[exchange.CommandID]*span
	spanOrder queue[*span] // all that are remembered
	spanning  []*span      // those that were not forgotten

	dirty changes
	seen  seen
}

// seen is what is durable of that which is read most: reading it waits for
// nobody.
type seen struct {
	mu       sync.RWMutex
	accounts map[exchange.AccountID]pipeline.Account
	venue    map[exchange.InstrumentID][]pipeline.AssetBalance
	settled  map[exchange.InstrumentID]pipeline.Position
}

// marks are numbers of which there is one each.
type marks struct {
	now               exchange.Time // the latest Time of a Hold
	forgotten         exchange.Time // the latest Time of a hold that was forgotten
	forgottenTransfer exchange.Time // the latest Time of a transfer that was forgotten
	serial            uint64        // of the last row that has one
}

type account struct {
	id          exchange.AccountID
	state       exchange.AccountState
	killed      bool
	limits      pipeline.AccountLimits
	openOrders  int64
	windowStart exchange.Time
	messages    int64                   // in the window that began then; 0: none began
	balances    []pipeline.AssetBalance // by asset
	version     uint64                  // counts their changes
	dirty       bool
}

type slot uint32

type holdKey struct {
	account exchange.AccountID
	id      exchange.CommandID
}

type hold struct {
	as        pipeline.Hold // as it was placed, or made
	remaining exchange.Amount
	serial    uint64           // names its row, rises with age
	ending    uint64           // rises in the order in which holds end
	asset     exchange.AssetID // as.Asset, unless nothing was placed
	state     pipeline.HoldState
	newOrder  bool // counted among the account's open orders
	dirty     bool
}

type placedAt struct {
	time exchange.Time
	key  holdKey
	at   slot
}

type transfer struct {
	pipeline.Transfer
	withdrawal bool
	serial     uint64
}

type span struct {
	exchange.Command
	done   bool // forgotten: sent to every instrument
	serial uint64
	dirty  bool
}

// New returns an empty Ledger.
func New(cfg memory.BalancesConfig, do Do) *Ledger {
	cfg.MaxAccounts = cmp.Or(cfg.MaxAccounts, memory.DefaultAccounts)
	cfg.MaxHolds = cmp.Or(cfg.MaxHolds, memory.DefaultHolds)
	cfg.MaxEnded = cmp.Or(cfg.MaxEnded, memory.DefaultEnded)
	cfg.EndedSpan = cmp.Or(cfg.EndedSpan, memory.DefaultEndedSpan)
	cfg.MaxTransfers = cmp.Or(cfg.MaxTransfers, memory.DefaultTransfers)
	cfg.MaxSpanning = cmp.Or(cfg.MaxSpanning, memory.DefaultSpanning)
	cfg.MaxSpanningSeen = cmp.Or(cfg.MaxSpanningSeen, memory.DefaultSpanningSeen)
	return &Ledger{
		cfg:      cfg,
		do:       do,
		accounts: map[exchange.AccountID]*account{},
		totals:   map[exchange.AssetID]exchange.Amount{},
		venue:    map[exchange.InstrumentID][]pipeline.AssetBalance{},
		settled:  map[exchange.InstrumentID]pipeline.Position{},
		marks:    marks{now: math.MinInt64, forgotten: math.MinInt64, forgottenTransfer: math.MinInt64},
		byID:     map[holdKey]slot{},
		placed: btree.NewBTreeGOptions(func(a, b placedAt) bool {
			return cmp.Or(cmp.Compare(a.time, b.time), bytes.Compare(a.key.id[:], b.key.id[:]), cmp.Compare(a.key.account, b.key.account)) < 0
		}, btree.Options{NoLocks: true}),
		transfers: map[exchange.CommandID]*transfer{},
		spans:     map[exchange.CommandID]*span{},
		dirty:     changes{marks: true},
		seen: seen{accounts: map[exchange.AccountID]pipeline.Account{}, venue: map[exchange.InstrumentID][]pipeline.AssetBalance{},
			settled: map[exchange.InstrumentID]pipeline.Position{}},
	}
}

// queue is a queue of values, first in, first out.
type queue[T any] struct {
	items []T
	first int
}

func (q *queue[T]) len() int { return len(q.items) - q.first }

func (q *queue[T]) front() T { return q.items[q.first] }

func (q *queue[T]) push(v T) {
	if q.first > len(q.items)/2 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.first]
	q.items[q.first] = zero
	q.first++
	return v
}

func (l *Ledger) nextSerial() uint64 {
	l.marks.serial++
	l.dirty.marks = true
	return l.marks.serial
}

// account returns an account, which it makes while there is room.
func (l *Ledger) account(id exchange.AccountID) (*account, error) {
	switch a := l.accounts[id]; {
	case a != nil:
		return a, nil
	case len(l.accounts) >= l.cfg.MaxAccounts:
		return nil, exchange.TooManyAccounts
	}
	return l.open(id), nil
}

func (l *Ledger) open(id exchange.AccountID) *account {
	a := &account{id: id}
	l.accounts[id] = a
	l.touch(a)
	return a
}

// find returns where the balance of an asset is, or belongs.
func find(balances []pipeline.AssetBalance, asset exchange.AssetID) (int, bool) {
	for i := range balances { // an account has few
		if balances[i].Asset >= asset {
			return i, balances[i].Asset == asset
		}
	}
	return len(balances), false
}

// balance returns the balance of an asset, which it makes.
func balance(balances *[]pipeline.AssetBalance, asset exchange.AssetID) *pipeline.AssetBalance {
	i, ok := find(*balances, asset)
	if !ok {
		*balances = slices.Insert(*balances, i, pipeline.AssetBalance{Asset: asset})
	}
	return &(*balances)[i]
}

// of returns the balance of an asset; a may be nil.
func (a *account) of(asset exchange.AssetID) exchange.Balance {
	if a != nil {
		if i, ok := find(a.balances, asset); ok {
			return a.balances[i].Balance
		}
	}
	return exchange.Balance{}
}

// Deposit implements pipeline.Balances.
func (l *Ledger) Deposit(ctx context.Context, t pipeline.Transfer) error {
	if err := l.do(ctx, func() error { return l.transfer(transfer{Transfer: t}) }); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	return nil
}

// Withdraw implements pipeline.Balances.
func (l *Ledger) Withdraw(ctx context.Context, t pipeline.Transfer) error {
	if err := l.do(ctx, func() error { return l.transfer(transfer{Transfer: t, withdrawal: true}) }); err != nil {
		return fmt.Errorf("withdrawal: %w", err)
	}
	return nil
}

func (l *Ledger) transfer(t transfer) error {
	switch {
	case t.ID == exchange.CommandID{}:
		return fmt.Errorf("%w: ID is zero", pipeline.ErrInvalid)
	case t.Account == 0:
		return exchange.UnknownAccount
	case t.Amount < 1:
		return exchange.InvalidFunds
	}
	if known := l.transfers[t.ID]; known != nil {
		if known.Transfer != t.Transfer || known.withdrawal != t.withdrawal {
			return fmt.Errorf("%w: transfer %x", pipeline.ErrConflict, t.ID)
		}
		return nil
	}
	if t.Time <= l.marks.forgottenTransfer {
		return exchange.StaleCommand
	}
	now, delta := l.accounts[t.Account].of(t.Asset).Available, t.Amount
	switch {
	case t.withdrawal && now < t.Amount:
		return exchange.InsufficientFunds
	case t.withdrawal:
		delta = -t.Amount
	case l.totals[t.Asset] > math.MaxInt64-t.Amount || now > math.MaxInt64-t.Amount:
		// The second happens when rebates of the venue have brought the account
		// more than there is in total.
		return exchange.AmountOverflow
	}
	a, err := l.account(t.Account)
	if err != nil {
		return err
	}
	balance(&a.balances, t.Asset).Available += delta
	a.version++
	l.touch(a)
	l.totals[t.Asset] += delta
	l.dirty.total(t.Asset)
	if l.transferOrder.len() >= l.cfg.MaxTransfers {
		old := l.transferOrder.pop()
		delete(l.transfers, old.ID)
		l.marks.forgottenTransfer = max(l.marks.forgottenTransfer, old.Time)
		l.dirty.gone(Transfers, old.serial)
	}
	t.serial = l.nextSerial()
	l.transfers[t.ID] = &t
	l.transferOrder.push(&t)
	l.dirty.transfers = append(l.dirty.transfers, &t)
	return nil
}

// Account implements pipeline.Balances.
func (l *Ledger) Account(_ context.Context, id exchange.AccountID) (pipeline.Account, error) {
	l.seen.mu.RLock()
	defer l.seen.mu.RUnlock()
	out := l.seen.accounts[id]
	out.ID = id
	out.Balances = slices.Clone(out.Balances)
	return out, nil
}

// view returns the account as it is read.
func (a *account) view() pipeline.Account {
	return pipeline.Account{ID: a.id, State: a.state, Killed: a.killed, Limits: a.limits, OpenOrders: a.openOrders, Version: a.version, Balances: slices.Clone(a.balances)}
}

// Venue implements pipeline.Balances.
func (l *Ledger) Venue(_ context.Context, inst exchange.InstrumentID) ([]pipeline.AssetBalance, error) {
	l.seen.mu.RLock()
	defer l.seen.mu.RUnlock()
	return slices.Clone(l.seen.venue[inst]), nil
}

// SetLimits implements pipeline.Balances.
func (l *Ledger) SetLimits(ctx context.Context, id exchange.AccountID, limits pipeline.AccountLimits) error {
	err := l.do(ctx, func() error {
		switch {
		case id == 0:
			return exchange.UnknownAccount
		case limits.MaxOpenOrders < 0 || limits.MaxMessages < 0 || limits.MessageWindow < 0 || limits.MaxHolding < 0:
			return fmt.Errorf("%w: %+v, expected nothing below 0", pipeline.ErrInvalid, limits)
		}
		a, err := l.account(id)
		if err != nil {
			return err
		}
		a.limits = limits
		l.touch(a)
		return nil
	})
	if err != nil {
		return fmt.Errorf("setting limits: %w", err)
	}
	return nil
}

// Span implements pipeline.Balances.
func (l *Ledger) Span(ctx context.Context, cmd exchange.Command) error {
	if err := l.do(ctx, func() error { return l.span(&cmd) }); err != nil {
		return fmt.Errorf("recording a spanning command: %w", err)
	}
	return nil
}

func (l *Ledger) span(cmd *exchange.Command) error {
	switch cmd.Kind {
	case exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill:
	case exchange.KindAccountState:
		if cmd.AccountState < exchange.AccountActive || cmd.AccountState > exchange.AccountSuspended {
			return fmt.Errorf("%w: AccountState is %d, expected 1 to 3", pipeline.ErrInvalid, cmd.AccountState)
		}
	default:
		return fmt.Errorf("%w: Kind is %v, expected one that spans instruments", pipeline.ErrInvalid, cmd.Kind)
	}
	if cmd.ID == (exchange.CommandID{}) || cmd.Account == 0 {
		return fmt.Errorf("%w: ID or Account is zero", pipeline.ErrInvalid)
	}
	if known := l.spans[cmd.ID]; known != nil {
		if known.Command != *cmd {
			return fmt.Errorf("%w: %x", pipeline.ErrConflict, cmd.ID)
		}
		return nil
	}
	if n := len(l.spanning); n >= l.cfg.MaxSpanning {
		return fmt.Errorf("%w: %d are recorded", pipeline.ErrFull, n)
	}
	a, err := l.account(cmd.Account)
	if err != nil {
		return err
	}
	switch cmd.Kind {
	case exchange.KindKill:
		a.killed = true
	case exchange.KindLiftKill:
		a.killed = false
	case exchange.KindAccountState:
		a.state = cmd.AccountState
	}
	l.touch(a)
	s := &span{Command: *cmd, serial: l.nextSerial()}
	l.spans[s.ID] = s
	l.spanOrder.push(s)
	l.spanning = append(l.spanning, s)
	l.touchSpan(s)
	if l.spanOrder.len() > l.cfg.MaxSpanningSeen {
		l.forgetSpan()
	}
	return nil
}

// forgetSpan forgets the oldest spanning command that was sent; one that was
// not must not be lost.
func (l *Ledger) forgetSpan() {
	for range l.spanOrder.len() {
		s := l.spanOrder.pop()
		if s.done {
			delete(l.spans, s.ID)
			l.dirty.gone(Spans, s.serial)
			return
		}
		l.spanOrder.push(s)
	}
}

// Spanning implements pipeline.Balances.
func (l *Ledger) Spanning(ctx context.Context, limit int) (out []exchange.Command, err error) {
	err = l.do(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		for _, s := range l.spanning[:min(limit, len(l.spanning))] {
			out = append(out, s.Command)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading spanning commands: %w", err)
	}
	return out, nil
}

// Forget implements pipeline.Balances.
func (l *Ledger) Forget(ctx context.Context, id exchange.CommandID) error {
	err := l.do(ctx, func() error {
		for i, s := range l.spanning {
			if s.ID == id {
				l.spanning = slices.Delete(l.spanning, i, i+1)
				s.done = true
				l.touchSpan(s)
				break
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forgetting a spanning command: %w", err)
	}
	return nil
}

// checkLimit checks the limit of a query.
func checkLimit(limit int) error {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	return nil
}
