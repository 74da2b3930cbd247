package exchangetest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// brokenBalances is a memory.Balances with some methods replaced.
type brokenBalances struct {
	pipeline.Balances
	mu       sync.Mutex // for what a fake remembers
	n        int        // of fresh ids
	deposit  func(t pipeline.Transfer) error
	withdraw func(t pipeline.Transfer) error
	hold     func(h pipeline.Hold) error
	holdByID func(acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, error)
	placed   func(before exchange.Time, after *pipeline.HoldRecord, limit int) ([]pipeline.HoldRecord, error)
	settle   func(c pipeline.Committed, s *pipeline.Settlement) error
	account  func(id exchange.AccountID) (pipeline.Account, error)
	venue    func(inst exchange.InstrumentID) ([]pipeline.AssetBalance, error)
	limits   func(id exchange.AccountID, limits pipeline.AccountLimits) error
	span     func(cmd exchange.Command) error
	spanning func(limit int) ([]exchange.Command, error)
}

func (b *brokenBalances) Deposit(ctx context.Context, t pipeline.Transfer) error {
	if b.deposit != nil {
		return b.deposit(t)
	}
	return b.Balances.Deposit(ctx, t)
}

func (b *brokenBalances) Withdraw(ctx context.Context, t pipeline.Transfer) error {
	if b.withdraw != nil {
		return b.withdraw(t)
	}
	return b.Balances.Withdraw(ctx, t)
}

func (b *brokenBalances) Hold(ctx context.Context, h pipeline.Hold) error {
	if b.hold != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.hold(h)
	}
	return b.Balances.Hold(ctx, h)
}

func (b *brokenBalances) HoldByID(ctx context.Context, acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, error) {
	if b.holdByID != nil {
		return b.holdByID(acct, id)
	}
	return b.Balances.HoldByID(ctx, acct, id)
}

func (b *brokenBalances) Placed(ctx context.Context, before exchange.Time, after *pipeline.HoldRecord, limit int) ([]pipeline.HoldRecord, error) {
	if b.placed != nil {
		return b.placed(before, after, limit)
	}
	return b.Balances.Placed(ctx, before, after, limit)
}

func (b *brokenBalances) Settle(ctx context.Context, c pipeline.Committed, s *pipeline.Settlement) error {
	if b.settle != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.settle(c, s)
	}
	return b.Balances.Settle(ctx, c, s)
}

func (b *brokenBalances) Account(ctx context.Context, id exchange.AccountID) (pipeline.Account, error) {
	if b.account != nil {
		return b.account(id)
	}
	return b.Balances.Account(ctx, id)
}

func (b *brokenBalances) Venue(ctx context.Context, inst exchange.InstrumentID) ([]pipeline.AssetBalance, error) {
	if b.venue != nil {
		return b.venue(inst)
	}
	return b.Balances.Venue(ctx, inst)
}

func (b *brokenBalances) SetLimits(ctx context.Context, id exchange.AccountID, limits pipeline.AccountLimits) error {
	if b.limits != nil {
		return b.limits(id, limits)
	}
	return b.Balances.SetLimits(ctx, id, limits)
}

func (b *brokenBalances) Span(ctx context.Context, cmd exchange.Command) error {
	if b.span != nil {
		return b.span(cmd)
	}
	return b.Balances.Span(ctx, cmd)
}

func (b *brokenBalances) Spanning(ctx context.Context, limit int) ([]exchange.Command, error) {
	if b.spanning != nil {
		return b.spanning(limit)
	}
	return b.Balances.Spanning(ctx, limit)
}

// fresh returns an id that nothing has.
func (b *brokenBalances) fresh() (id exchange.CommandID) {
	b.n++
	id[15] = 1
	binary.BigEndian.PutUint64(id[:], uint64(b.n))
	return id
}

func breakBalances(how func(b *brokenBalances)) exchangetest.Open[pipeline.Balances] {
	return func(testing.TB) pipeline.Balances {
		b := &brokenBalances{Balances: memory.NewBalances(memory.BalancesConfig{})}
		how(b)
		return b
	}
}

// known is what a store has of a hold's id.
func (b *brokenBalances) known(acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, bool) {
	h, err := b.Balances.HoldByID(bg, acct, id)
	return h, err == nil
}

// yesTo is a store that takes a refusal of a hold for a yes, having done
// nothing.
func yesTo(reason error) exchangetest.Open[pipeline.Balances] {
	return breakBalances(func(b *brokenBalances) {
		b.hold = func(h pipeline.Hold) error {
			if err := b.Balances.Hold(bg, h); !errors.Is(err, reason) {
				return err
			}
			return nil
		}
	})
}

// forgetsTransfers books a transfer whenever it comes.
func forgetsTransfers(b *brokenBalances) {
	again := func(book func(context.Context, pipeline.Transfer) error) func(t pipeline.Transfer) error {
		return func(t pipeline.Transfer) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if t.ID != (exchange.CommandID{}) {
				t.ID = b.fresh()
			}
			return book(bg, t)
		}
	}
	b.deposit, b.withdraw = again(b.Balances.Deposit), again(b.Balances.Withdraw)
}

// holdsAgain sets funds aside whenever a hold comes.
func holdsAgain(b *brokenBalances) {
	b.hold = func(h pipeline.Hold) error {
		if _, known := b.known(h.Account, h.ID); known {
			h.ID = b.fresh()
		}
		return b.Balances.Hold(bg, h)
	}
}

// everythingAnOrder counts an amend's hold among the orders.
func everythingAnOrder(b *brokenBalances) {
	b.hold = func(h pipeline.Hold) error {
		h.NewOrder = true
		return b.Balances.Hold(bg, h)
	}
}

// settledAs is a store that settles something else than it is given.
func settledAs(change func(b *brokenBalances, c pipeline.Committed, s *pipeline.Settlement)) exchangetest.Open[pipeline.Balances] {
	return breakBalances(func(b *brokenBalances) {
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			mine := &pipeline.Settlement{Accounts: slices.Clone(s.Accounts), Fees: s.Fees}
			change(b, c, mine)
			return b.Balances.Settle(bg, c, mine)
		}
	})
}

// settlesAgain brings every account something whenever an item comes again.
func settlesAgain(b *brokenBalances) {
	b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
		if at, _ := b.Balances.Settled(bg, c.Instrument()); c.Check() == nil && c.Position() <= at {
			for _, a := range s.Accounts {
				if err := b.Balances.Deposit(bg, pipeline.Transfer{ID: b.fresh(), Account: a.Account, Asset: 1, Amount: 1}); err != nil {
					return err
				}
			}
		}
		return b.Balances.Settle(bg, c, s)
	}
}

// believes is a store that says yes to a settlement that cannot be.
func believes(b *brokenBalances) {
	b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
		if err := b.Balances.Settle(bg, c, s); !errors.Is(err, pipeline.ErrInvalid) {
			return err
		}
		return nil
	}
}

// eachRefused calls f with each command of a settlement that was refused, and
// leaves those out of it that f says.
func eachRefused(s *pipeline.Settlement, out func(acct exchange.AccountID, id exchange.CommandID) bool) {
	for i := range s.Accounts {
		a := &s.Accounts[i]
		a.Refused = slices.DeleteFunc(slices.Clone(a.Refused), func(id exchange.CommandID) bool { return out(a.Account, id) })
	}
}

func TestBrokenBalances(t *testing.T) {
	mustFail(t, exchangetest.BalancesCases, slices.Concat(brokenAccounts, brokenHolds, brokenSettlements))
}

var brokenAccounts = []broken[exchangetest.Open[pipeline.Balances]]{
	{"does not know who has nothing", breakBalances(func(b *brokenBalances) {
		b.account = func(id exchange.AccountID) (pipeline.Account, error) {
			a, err := b.Balances.Account(bg, id)
			if a.Version == 0 {
				err = pipeline.ErrNotFound
			}
			return a, err
		}
	}), "an account that nobody has named"},
	{"duplicates a deposit", breakBalances(forgetsTransfers), "a deposit is booked once"},
	{"takes a deposit of less than nothing", breakBalances(func(b *brokenBalances) {
		b.deposit = func(t pipeline.Transfer) error {
			if t.Amount < 0 {
				return nil
			}
			return b.Balances.Deposit(bg, t)
		}
	}), "what cannot be deposited"},
	{"drops what does not fit", breakBalances(func(b *brokenBalances) {
		b.deposit = func(t pipeline.Transfer) error {
			if err := b.Balances.Deposit(bg, t); !errors.Is(err, exchange.AmountOverflow) {
				return err
			}
			return nil
		}
	}), "the total of an asset stays within 63 bits"},
	{"pays out what is held", breakBalances(func(b *brokenBalances) {
		b.withdraw = func(t pipeline.Transfer) error {
			if err := b.Balances.Withdraw(bg, t); !errors.Is(err, exchange.InsufficientFunds) {
				return err
			}
			return nil
		}
	}), "a withdrawal takes what is available"},
	{"duplicates a deposit that many make", breakBalances(forgetsTransfers), "a deposit made many times at once is one"},
	{"takes limits below 0", breakBalances(func(b *brokenBalances) {
		b.limits = func(id exchange.AccountID, limits pipeline.AccountLimits) error {
			if err := b.Balances.SetLimits(bg, id, limits); !errors.Is(err, pipeline.ErrInvalid) {
				return err
			}
			return nil
		}
	}), "limits are kept and checked"},
	{"drops the lifting of a kill switch", breakBalances(func(b *brokenBalances) {
		b.span = func(cmd exchange.Command) error {
			if cmd.Kind == exchange.KindLiftKill {
				return nil
			}
			return b.Balances.Span(bg, cmd)
		}
	}), "a spanning command is recorded with what it does"},
	{"does again what was forgotten", breakBalances(func(b *brokenBalances) {
		b.span = func(cmd exchange.Command) error {
			list, _ := b.Balances.Spanning(bg, pipeline.MaxQueryRows)
			if !slices.ContainsFunc(list, func(c exchange.Command) bool { return c.ID == cmd.ID }) {
				cmd.ID = b.fresh()
			}
			return b.Balances.Span(bg, cmd)
		}
	}), "a spanning command happens once, also when forgotten"},
	{"spans with any command", breakBalances(func(b *brokenBalances) {
		b.span = func(cmd exchange.Command) error {
			if err := b.Balances.Span(bg, cmd); !errors.Is(err, pipeline.ErrInvalid) {
				return err
			}
			return nil
		}
	}), "what spans nothing is refused"},
	{"reorders spanning commands by id", breakBalances(func(b *brokenBalances) {
		b.spanning = func(limit int) ([]exchange.Command, error) {
			list, err := b.Balances.Spanning(bg, limit)
			slices.SortFunc(list, func(a, b exchange.Command) int { return slices.Compare(a.ID[:], b.ID[:]) })
			return list, err
		}
	}), "spanning commands are listed by age until forgotten"},
	{"counts no versions", breakBalances(func(b *brokenBalances) {
		b.account = func(id exchange.AccountID) (pipeline.Account, error) {
			a, err := b.Balances.Account(bg, id)
			a.Version = min(a.Version, 1)
			return a, err
		}
	}), "the version rises with every change of balances"},
	{"hands out its own slices", breakBalances(func(b *brokenBalances) {
		own := map[exchange.AccountID]pipeline.Account{}
		b.account = func(id exchange.AccountID) (_ pipeline.Account, err error) {
			if _, ok := own[id]; !ok {
				own[id], err = b.Balances.Account(bg, id)
			}
			return own[id], err
		}
	}), "what is returned belongs to the caller"},
}

var brokenHolds = []broken[exchangetest.Open[pipeline.Balances]]{
	{"duplicates a hold", breakBalances(holdsAgain), "a hold sets funds aside once"},
	{"knows a hold by its id alone", yesTo(pipeline.ErrConflict), "the id of a hold with other contents is a conflict"},
	{"refuses to hold nothing", breakBalances(func(b *brokenBalances) {
		b.hold = func(h pipeline.Hold) error {
			if h.Amount == 0 {
				return exchange.InvalidHeld
			}
			return b.Balances.Hold(bg, h)
		}
	}), "a hold of nothing, of the most, and beyond"},
	{"looks at the funds first", breakBalances(func(b *brokenBalances) {
		b.hold = func(h pipeline.Hold) error {
			a, _ := b.Balances.Account(bg, h.Account)
			for _, have := range a.Balances {
				if have.Asset == h.Asset && have.Available < h.Amount {
					return exchange.InsufficientFunds
				}
			}
			return b.Balances.Hold(bg, h)
		}
	}), "why a hold is refused, in order"},
	{"remembers what it has refused", breakBalances(func(b *brokenBalances) {
		had := map[exchange.CommandID]bool{}
		b.hold = func(h pipeline.Hold) error {
			if had[h.ID] {
				return pipeline.ErrHoldEnded
			}
			err := b.Balances.Hold(bg, h)
			had[h.ID] = err != nil
			return err
		}
	}), "a refused hold leaves nothing behind"},
	{"checks again what it has held", breakBalances(func(b *brokenBalances) {
		b.hold = func(h pipeline.Hold) error {
			if a, _ := b.Balances.Account(bg, h.Account); a.Killed {
				return exchange.KillSwitchEngaged
			}
			return b.Balances.Hold(bg, h)
		}
	}), "a known hold is there whatever the account's state"},
	{"counts no messages", yesTo(exchange.MessageRate), "messages are counted in windows of their time"},
	{"counts an amend among the orders", breakBalances(everythingAnOrder), "orders that are open or on their way are counted"},
	{"has no limit of holdings", yesTo(exchange.MaxPosition), "what an order may bring an account to"},
	{"says yes to whoever comes at the same time", yesTo(exchange.InsufficientFunds), "funds are never held twice"},
	{"holds for each of many that are one", breakBalances(holdsAgain), "a hold placed many times at once is one"},
	{"lets more orders in at the same time", yesTo(exchange.MaxOpenOrders), "limits of open orders hold at the same time"},
	{"begins a page with the last of the one before", breakBalances(func(b *brokenBalances) {
		b.placed = func(before exchange.Time, after *pipeline.HoldRecord, limit int) ([]pipeline.HoldRecord, error) {
			list, err := b.Balances.Placed(bg, before, after, limit)
			if after != nil && len(list) > 0 && len(list) < limit {
				list = slices.Insert(list, 0, *after)
			}
			return list, err
		}
	}), "placed holds are listed by age, in pages"},
}

var brokenSettlements = []broken[exchangetest.Open[pipeline.Balances]]{
	{"settles without id", breakBalances(settlesAgain), "a settlement moves funds once"},
	{"says yes to what is not committed", breakBalances(func(b *brokenBalances) {
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			if c.Check() != nil {
				return nil
			}
			return b.Balances.Settle(bg, c, s)
		}
	}), "a gap and what is not committed are not settled"},
	{"takes a gap for settled", breakBalances(func(b *brokenBalances) {
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			if err := b.Balances.Settle(bg, c, s); !errors.Is(err, pipeline.ErrGap) {
				return err
			}
			return nil
		}
	}), "a gap and what is not committed are not settled"},
	{"keeps one position for all instruments", breakBalances(func(b *brokenBalances) {
		var at pipeline.Position
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			if c.Check() == nil && c.Position() <= at {
				return nil
			}
			at = c.Position()
			return b.Balances.Settle(bg, c, s)
		}
	}), "instruments are settled apart"},
	{"drops a settlement at fault", breakBalances(believes), "a settlement at fault is not booked"},
	{"drops what would go below zero", breakBalances(believes), "nothing goes below zero, nor past 63 bits"},
	{"moves on past what it has refused", breakBalances(func(b *brokenBalances) {
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			err := b.Balances.Settle(bg, c, s)
			if errors.Is(err, pipeline.ErrInvalid) {
				err = errors.Join(err, b.Balances.Settle(bg, c, &pipeline.Settlement{}))
			}
			return err
		}
	}), "a settlement may be mended where it was not booked"},
	{"keeps a hold placed", breakBalances(func(b *brokenBalances) {
		b.holdByID = func(acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, error) {
			h, err := b.Balances.HoldByID(bg, acct, id)
			h.State = pipeline.HoldPlaced
			return h, err
		}
	}), "holds open, are spent and end"},
	{"forgets a hold that has ended", breakBalances(func(b *brokenBalances) {
		b.hold = func(h pipeline.Hold) error {
			if known, ok := b.known(h.Account, h.ID); ok && known.State == pipeline.HoldEnded {
				h.ID = b.fresh()
			}
			return b.Balances.Hold(bg, h)
		}
	}), "an ended hold is never placed again"},
	{"changes only holds that it has placed", breakBalances(func(b *brokenBalances) {
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			for _, a := range s.Accounts {
				for _, h := range a.Holds {
					if _, ok := b.known(a.Account, h.ID); !ok {
						return pipeline.ErrNotFound
					}
				}
			}
			return b.Balances.Settle(bg, c, s)
		}
	}), "a hold that is not known is made"},
	{"counts an amend among the orders until it ends", breakBalances(everythingAnOrder), "orders are counted until their hold ends"},
	{"drops what does not fit a hold", breakBalances(believes), "what ends or has ended is consistent"},
	{"keeps what was held for a refused command", settledAs(func(_ *brokenBalances, _ pipeline.Committed, s *pipeline.Settlement) {
		eachRefused(s, func(exchange.AccountID, exchange.CommandID) bool { return true })
	}), "the hold of a refused command is given back"},
	{"forgets a refused command that it does not know", settledAs(func(b *brokenBalances, _ pipeline.Committed, s *pipeline.Settlement) {
		eachRefused(s, func(acct exchange.AccountID, id exchange.CommandID) bool {
			_, known := b.known(acct, id)
			return !known
		})
	}), "a command refused before its hold is never held for"},
	{"gives back what was spent", settledAs(func(b *brokenBalances, c pipeline.Committed, s *pipeline.Settlement) {
		eachRefused(s, func(acct exchange.AccountID, id exchange.CommandID) bool {
			if h, _ := b.known(acct, id); h.State == pipeline.HoldEnded {
				_ = b.Balances.Deposit(bg, pipeline.Transfer{ID: b.fresh(), Account: acct, Asset: h.Asset, Amount: h.Amount})
			}
			return false
		})
	}), "a refused command whose hold has ended changes nothing"},
	{"pays no rebates out of nothing", breakBalances(func(b *brokenBalances) {
		b.venue = func(inst exchange.InstrumentID) ([]pipeline.AssetBalance, error) {
			list, err := b.Balances.Venue(bg, inst)
			for i := range list {
				list[i].Available = max(list[i].Available, 0)
			}
			return list, err
		}
	}), "fees are the venue's, which may go below zero"},
	{"has room for a hundred accounts", breakBalances(func(b *brokenBalances) {
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			if len(s.Accounts) > 100 {
				return pipeline.ErrTooLarge
			}
			return b.Balances.Settle(bg, c, s)
		}
	}), "a settlement of a thousand accounts"},
	{"books what each of many brings", breakBalances(settlesAgain), "an item settled many times at once is booked once"},
	{"drops every tenth deposit", breakBalances(func(b *brokenBalances) {
		n := 0
		b.deposit = func(t pipeline.Transfer) error {
			if n++; n%10 == 0 {
				return nil
			}
			return b.Balances.Deposit(bg, t)
		}
	}), "holds, settlements and transfers at the same time conserve"},
	{"keeps the caller's settlement", breakBalances(func(b *brokenBalances) {
		var flush func()
		b.settle = func(c pipeline.Committed, s *pipeline.Settlement) error {
			flush = func() { _ = b.Balances.Settle(bg, c, s) }
			return nil
		}
		b.account = func(id exchange.AccountID) (pipeline.Account, error) { // books only now
			if flush != nil {
				flush()
			}
			return b.Balances.Account(bg, id)
		}
	}), "no slice is kept"},
}

func TestDurableBalances(t *testing.T) {
	durable := func(reopen func(t testing.TB, b pipeline.Balances) pipeline.Balances) exchangetest.Durable[pipeline.Balances] {
		return exchangetest.Durable[pipeline.Balances]{Open: func(testing.TB) pipeline.Balances { return memory.NewBalances(memory.BalancesConfig{}) }, Reopen: reopen}
	}
	wrapped := func(how func(b *brokenBalances)) exchangetest.Durable[pipeline.Balances] {
		return durable(func(_ testing.TB, b pipeline.Balances) pipeline.Balances {
			next := &brokenBalances{Balances: b}
			how(next)
			return next
		})
	}
	exchangetest.TestDurableBalances(t, durable(func(_ testing.TB, b pipeline.Balances) pipeline.Balances { return b }))
	mustFail(t, exchangetest.DurableBalancesCases, []broken[exchangetest.Durable[pipeline.Balances]]{
		{"forgets everything", durable(func(testing.TB, pipeline.Balances) pipeline.Balances {
			return memory.NewBalances(memory.BalancesConfig{})
		}), "everything confirmed survives"},
		{"forgets spanning commands", wrapped(func(b *brokenBalances) {
			b.spanning = func(int) ([]exchange.Command, error) { return nil, nil }
		}), "everything confirmed survives"},
		{"forgets which transfers it has booked", wrapped(forgetsTransfers), "what was done once is not done again"},
		{"forgets which holds have ended", wrapped(func(b *brokenBalances) {
			b.hold = func(h pipeline.Hold) error {
				if known, ok := b.known(h.Account, h.ID); ok && known.State == pipeline.HoldEnded {
					return nil
				}
				return b.Balances.Hold(bg, h)
			}
		}), "what was done once is not done again"},
	})
}
