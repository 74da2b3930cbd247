package memory

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
	"github.com/castlecloud/exchange/pipeline"
)

// Defaults of a BalancesConfig.
const (
	DefaultAccounts     = 1 << 20
	DefaultHolds        = 1 << 22
	DefaultEnded        = 1 << 18
	DefaultEndedSpan    = exchange.Time(30 * 60 * 1e9)
	DefaultTransfers    = 1 << 18
	DefaultSpanning     = 1 << 12
	DefaultSpanningSeen = 1 << 16
)

// BalancesConfig bounds a Balances. The zero value is fine.
type BalancesConfig struct {
	MaxAccounts int // then TooManyAccounts, but for those that Settle names
	MaxHolds    int // that have not ended; then ErrFull
	// Holds that have ended are forgotten, the first that ended first, when
	// there are more than MaxEnded of them, or when their Time lies more than
	// EndedSpan before the latest of any Hold. Both should exceed what the
	// engines remember of command ids (exchange.Config), or late orders are
	// refused here that an engine would take.
	MaxEnded  int
	EndedSpan exchange.Time // ns
	// Of transfers the latest MaxTransfers are remembered.
	MaxTransfers int
	MaxSpanning  int // recorded and not forgotten; then ErrFull
	// MaxSpanningSeen is how many ids of spanning commands are remembered.
	MaxSpanningSeen int
}

// Balances is a pipeline.Balances.
type Balances struct {
	cfg      BalancesConfig
	mu       sync.Mutex
	accounts map[exchange.AccountID]*account
	totals   map[exchange.AssetID]exchange.Amount // deposits less withdrawals
	venue    map[exchange.InstrumentID][]pipeline.AssetBalance
	settled  map[exchange.InstrumentID]pipeline.Position

	holds     map[holdKey]*hold
	unended   int                  // holds that have not ended
	placed    *btree.BTreeG[*hold] // those that are HoldPlaced, by age
	ended     deque[holdKey]       // as they ended
	forgotten exchange.Time        // the latest Time of a hold that was forgotten
	now       exchange.Time        // the latest Time of a Hold

	transfers         map[exchange.CommandID]transfer
	transferOrder     deque[exchange.CommandID]
	forgottenTransfer exchange.Time

	spanning  []exchange.Command
	spans     map[exchange.CommandID]exchange.Command
	spanOrder deque[exchange.CommandID]
}

type account struct {
	state       exchange.AccountState
	killed      bool
	limits      pipeline.AccountLimits
	openOrders  int64
	windowStart exchange.Time
	messages    int64                   // in the window that began then; 0: none began
	balances    []pipeline.AssetBalance // by asset
	version     uint64                  // counts their changes
	settled     map[exchange.InstrumentID]pipeline.Position
}

type holdKey struct {
	account exchange.AccountID
	id      exchange.CommandID
}

type hold struct {
	as        pipeline.Hold    // as it was placed, or made
	asset     exchange.AssetID // as.Asset, unless nothing was placed
	newOrder  bool             // counted among the account's open orders
	state     pipeline.HoldState
	remaining exchange.Amount
}

type transfer struct {
	pipeline.Transfer
	withdrawal bool
}

// NewBalances returns a Balances that knows no account.
func NewBalances(cfg BalancesConfig) *Balances {
	cfg.MaxAccounts = setting(cfg.MaxAccounts, DefaultAccounts)
	cfg.MaxHolds = setting(cfg.MaxHolds, DefaultHolds)
	cfg.MaxEnded = setting(cfg.MaxEnded, DefaultEnded)
	cfg.EndedSpan = setting(cfg.EndedSpan, DefaultEndedSpan)
	cfg.MaxTransfers = setting(cfg.MaxTransfers, DefaultTransfers)
	cfg.MaxSpanning = setting(cfg.MaxSpanning, DefaultSpanning)
	cfg.MaxSpanningSeen = setting(cfg.MaxSpanningSeen, DefaultSpanningSeen)
	return &Balances{
		cfg:      cfg,
		accounts: map[exchange.AccountID]*account{},
		totals:   map[exchange.AssetID]exchange.Amount{},
		venue:    map[exchange.InstrumentID][]pipeline.AssetBalance{},
		settled:  map[exchange.InstrumentID]pipeline.Position{},
		holds:    map[holdKey]*hold{},
		placed: btree.NewBTreeGOptions(func(a, b *hold) bool {
			return cmp.Or(cmp.Compare(a.as.Time, b.as.Time), bytes.Compare(a.as.ID[:], b.as.ID[:]), cmp.Compare(a.as.Account, b.as.Account)) < 0
		}, btree.Options{NoLocks: true}),
		forgotten:         math.MinInt64,
		now:               math.MinInt64,
		transfers:         map[exchange.CommandID]transfer{},
		forgottenTransfer: math.MinInt64,
		spans:             map[exchange.CommandID]exchange.Command{},
	}
}

// account returns an account, which it makes while there is room.
func (b *Balances) account(id exchange.AccountID) (*account, error) {
	switch a := b.accounts[id]; {
	case a != nil:
		return a, nil
	case len(b.accounts) >= b.cfg.MaxAccounts:
		return nil, exchange.TooManyAccounts
	}
	return b.open(id), nil
}

func (b *Balances) open(id exchange.AccountID) *account {
	a := &account{settled: map[exchange.InstrumentID]pipeline.Position{}}
	b.accounts[id] = a
	return a
}

// find returns where the balance of an asset is, or belongs.
func find(balances []pipeline.AssetBalance, asset exchange.AssetID) (int, bool) {
	for i := range balances { // accounts have few
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

// of returns the balance of an asset, zero when there is none.
func (a *account) of(asset exchange.AssetID) exchange.Balance {
	if a != nil {
		if i, ok := find(a.balances, asset); ok {
			return a.balances[i].Balance
		}
	}
	return exchange.Balance{}
}

// Deposit implements pipeline.Balances. Of an account more than MaxAccounts it
// is TooManyAccounts.
func (b *Balances) Deposit(_ context.Context, t pipeline.Transfer) error {
	if err := b.transfer(transfer{t, false}); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	return nil
}

// Withdraw implements pipeline.Balances.
func (b *Balances) Withdraw(_ context.Context, t pipeline.Transfer) error {
	if err := b.transfer(transfer{t, true}); err != nil {
		return fmt.Errorf("withdrawal: %w", err)
	}
	return nil
}

func (b *Balances) transfer(t transfer) error {
	switch {
	case t.ID == exchange.CommandID{}:
		return fmt.Errorf("%w: ID is zero", pipeline.ErrInvalid)
	case t.Account == 0:
		return exchange.UnknownAccount
	case t.Amount < 1:
		return exchange.InvalidFunds
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.transfers[t.ID]; ok {
		if known != t {
			return fmt.Errorf("%w: transfer %x", pipeline.ErrConflict, t.ID)
		}
		return nil
	}
	if t.Time <= b.forgottenTransfer {
		return exchange.StaleCommand
	}
	if t.withdrawal {
		a := b.accounts[t.Account]
		if a.of(t.Asset).Available < t.Amount {
			return exchange.InsufficientFunds
		}
		balance(&a.balances, t.Asset).Available -= t.Amount
		a.version++
		b.totals[t.Asset] -= t.Amount
	} else {
		// An account may have more than the total, which rebates of the venue
		// have brought it.
		now := b.accounts[t.Account].of(t.Asset)
		if b.totals[t.Asset] > math.MaxInt64-t.Amount || now.Available > math.MaxInt64-t.Amount {
			return exchange.AmountOverflow
		}
		a, err := b.account(t.Account)
		if err != nil {
			return err
		}
		balance(&a.balances, t.Asset).Available += t.Amount
		a.version++
		b.totals[t.Asset] += t.Amount
	}
	if b.transferOrder.len() >= b.cfg.MaxTransfers {
		old := b.transferOrder.pop()
		b.forgottenTransfer = max(b.forgottenTransfer, b.transfers[old].Time)
		delete(b.transfers, old)
	}
	b.transfers[t.ID] = t
	b.transferOrder.push(t.ID)
	return nil
}

// Account implements pipeline.Balances.
func (b *Balances) Account(_ context.Context, id exchange.AccountID) (pipeline.Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := pipeline.Account{ID: id}
	if a := b.accounts[id]; a != nil {
		out.State, out.Killed, out.Limits, out.OpenOrders = a.state, a.killed, a.limits, a.openOrders
		out.Version = a.version
		out.Balances = slices.Clone(a.balances)
	}
	return out, nil
}

// Venue implements pipeline.Balances.
func (b *Balances) Venue(_ context.Context, inst exchange.InstrumentID) ([]pipeline.AssetBalance, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.venue[inst]), nil
}

// SetLimits implements pipeline.Balances.
func (b *Balances) SetLimits(_ context.Context, id exchange.AccountID, limits pipeline.AccountLimits) error {
	switch {
	case id == 0:
		return fmt.Errorf("setting limits: %w", exchange.UnknownAccount)
	case limits.MaxOpenOrders < 0 || limits.MaxMessages < 0 || limits.MessageWindow < 0 || limits.MaxHolding < 0:
		return fmt.Errorf("setting limits: %w: %+v, expected nothing below 0", pipeline.ErrInvalid, limits)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a, err := b.account(id)
	if err != nil {
		return fmt.Errorf("setting limits: %w", err)
	}
	a.limits = limits
	return nil
}

// Span implements pipeline.Balances.
func (b *Balances) Span(_ context.Context, cmd exchange.Command) error {
	if err := checkSpan(&cmd); err != nil {
		return fmt.Errorf("recording a spanning command: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if known, ok := b.spans[cmd.ID]; ok {
		if known != cmd {
			return fmt.Errorf("recording a spanning command: %w: %x", pipeline.ErrConflict, cmd.ID)
		}
		return nil
	}
	if n := len(b.spanning); n >= b.cfg.MaxSpanning {
		return fmt.Errorf("recording a spanning command: %w: %d are recorded", pipeline.ErrFull, n)
	}
	a, err := b.account(cmd.Account)
	if err != nil {
		return fmt.Errorf("recording a spanning command: %w", err)
	}
	switch cmd.Kind {
	case exchange.KindKill:
		a.killed = true
	case exchange.KindLiftKill:
		a.killed = false
	case exchange.KindAccountState:
		a.state = cmd.AccountState
	}
	if b.spanOrder.len() >= b.cfg.MaxSpanningSeen {
		delete(b.spans, b.spanOrder.pop())
	}
	b.spans[cmd.ID] = cmd
	b.spanOrder.push(cmd.ID)
	b.spanning = append(b.spanning, cmd)
	return nil
}

func checkSpan(cmd *exchange.Command) error {
	switch cmd.Kind {
	case exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill:
	case exchange.KindAccountState:
		if cmd.AccountState < exchange.AccountActive || cmd.AccountState > exchange.AccountSuspended {
			return fmt.Errorf("%w: AccountState %d, expected 1 to 3", pipeline.ErrInvalid, cmd.AccountState)
		}
	default:
		return fmt.Errorf("%w: Kind is %v, expected mass cancel, kill, lift kill or account state", pipeline.ErrInvalid, cmd.Kind)
	}
	if cmd.ID == (exchange.CommandID{}) || cmd.Account == 0 {
		return fmt.Errorf("%w: ID and Account must not be zero", pipeline.ErrInvalid)
	}
	return nil
}

// Spanning implements pipeline.Balances.
func (b *Balances) Spanning(_ context.Context, limit int) ([]exchange.Command, error) {
	if err := checkLimit(limit); err != nil {
		return nil, fmt.Errorf("reading spanning commands: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.spanning[:min(limit, len(b.spanning))]), nil
}

// Forget implements pipeline.Balances.
func (b *Balances) Forget(_ context.Context, id exchange.CommandID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spanning = slices.DeleteFunc(b.spanning, func(cmd exchange.Command) bool { return cmd.ID == id })
	return nil
}

// checkLimit checks the limit of a query.
func checkLimit(limit int) error {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	return nil
}
