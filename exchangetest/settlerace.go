package exchangetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

func settleBig(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	const n = 1000
	c := Commit(t, instA, 2)
	make := func(delta exchange.Amount) *pipeline.Settlement {
		s := &pipeline.Settlement{Fees: []pipeline.AssetChange{{Asset: usd, Available: -n * delta}}}
		for i := range n {
			s.Accounts = append(s.Accounts, pipeline.AccountSettlement{Account: exchange.AccountID(i + 1), Assets: []pipeline.AssetChange{{Asset: usd, Available: delta - 2, Held: 2}},
				Holds: []pipeline.HoldChange{{ID: IDOf(2*i + 1), Asset: usd, Delta: 1, NewOrder: true}, {ID: IDOf(2*i + 2), Asset: usd, Delta: 1, NewOrder: true}}})
		}
		return s
	}
	for range 2 {
		require.NoError(t, b.Settle(ctx, c[0], make(10)))
	}
	require.NoError(t, b.Settle(ctx, c[1], make(3)))
	for _, acct := range []exchange.AccountID{1, 2, 500, n} {
		has(t, b, acct, usd, 9, 4)
		require.Equal(t, int64(2), accountOf(t, b, acct).OpenOrders)
	}
	venueIs(t, b, instA, fee(usd, -13*n))
	settledIs(t, b, instA, 2)
}

// settleEach settles items in order, as several consumers at once would; one
// that somebody else was faster with, or that is not its turn, is no fault.
func settleEach(b pipeline.Balances, t testing.TB, inst exchange.InstrumentID, c []pipeline.Committed, s func(i int) *pipeline.Settlement) error {
	for i := range c {
		for {
			err := b.Settle(t.Context(), c[i], s(i))
			if err == nil {
				break
			}
			pos, readErr := b.Settled(t.Context(), inst)
			if readErr != nil || int(pos) <= i {
				return errors.Join(err, readErr)
			}
		}
	}
	return nil
}

func settleRace(t testing.TB, open Open[pipeline.Balances]) {
	b := deposited(t, open, 100, 7)
	const n = 20
	c := Commit(t, instA, n)
	require.NoError(t, b.Hold(t.Context(), holdOf(1, 7, 100)))
	errs := together(6, func(int) error {
		return settleEach(b, t, instA, c, func(i int) *pipeline.Settlement { return spent(7, 1, -5, i == n-1) })
	})
	require.NoError(t, errors.Join(errs...))
	has(t, b, 7, usd, 0, 0)
	venueIs(t, b, instA, fee(usd, 100))
	settledIs(t, b, instA, n)
}

func settleConserves(t testing.TB, open Open[pipeline.Balances]) {
	accounts := []exchange.AccountID{7, 8, 9}
	b, ctx := deposited(t, open, 1000, accounts...), t.Context()
	const n = 40
	for _, acct := range accounts {
		require.NoError(t, b.Hold(ctx, holdOf(int(acct), acct, 500)))
	}
	insts := []exchange.InstrumentID{1, 2, 3}
	committed := [][]pipeline.Committed{Commit(t, 1, n), Commit(t, 2, n), Commit(t, 3, n)}
	stop := make(chan struct{})
	errs := together(8, func(i int) error {
		switch {
		case i < 3: // each instrument moves one of usd from each account to the next, and releases one
			err := settleEach(b, t, insts[i], committed[i], func(at int) *pipeline.Settlement {
				s := &pipeline.Settlement{}
				for _, acct := range accounts {
					s.Accounts = append(s.Accounts, pipeline.AccountSettlement{Account: acct, Assets: []pipeline.AssetChange{{Asset: usd, Available: 2, Held: -2}},
						Holds: []pipeline.HoldChange{{ID: IDOf(int(acct)), Asset: usd, Delta: -2, NewOrder: true}}})
				}
				return s
			})
			if i == 0 {
				close(stop)
			}
			return err
		case i < 6: // placing further holds
			for at := range n {
				if err := b.Hold(ctx, holdOf(1000*i+at, accounts[i-3], 3)); err != nil {
					return err
				}
			}
		case i == 6:
			for at := range n {
				tr := pipeline.Transfer{ID: IDOf(100_000 + at), Account: accounts[at%3], Asset: usd, Amount: 1}
				if err := b.Withdraw(ctx, tr); err != nil {
					return err
				}
				tr.ID = IDOf(200_000 + at)
				if err := b.Deposit(ctx, tr); err != nil {
					return err
				}
			}
		default: // a reader never sees an account half way: what is held is what its holds have
			for {
				for _, acct := range accounts {
					a, err := b.Account(ctx, acct)
					if err != nil {
						return err
					}
					if have := balanceIn(a.Balances, usd); have.Available < 0 || have.Held < 0 || have.Available+have.Held < 999 || have.Available+have.Held > 1000 {
						return fmt.Errorf("account %d: %+v", acct, have)
					}
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		}
		return nil
	})
	require.NoError(t, errors.Join(errs...))
	for _, acct := range accounts {
		has(t, b, acct, usd, 1000-500+6*n-3*n, 500-6*n+3*n)
		require.Equal(t, int64(n+1), accountOf(t, b, acct).OpenOrders)
	}
}

func settleKeepsNoSlice(t testing.TB, open Open[pipeline.Balances]) {
	b, c := both(t, open), Commit(t, instA, 2)
	s := traded(1, 2)
	require.NoError(t, b.Settle(t.Context(), c[0], s))
	for i := range s.Accounts {
		clear(s.Accounts[i].Assets)
		clear(s.Accounts[i].Holds)
	}
	clear(s.Accounts)
	s.Fees[0] = pipeline.AssetChange{Asset: btc, Available: 77}
	tradedIs(t, b)
	holdIs(t, b, holdOf(1, 7, 53), pipeline.HoldEnded, 0)
	r := refused(7, 9)
	require.NoError(t, b.Settle(t.Context(), c[1], r))
	r.Accounts[0].Refused[0] = IDOf(10)
	require.ErrorIs(t, b.Hold(t.Context(), holdOf(9, 7, 0)), pipeline.ErrHoldEnded)
	require.NoError(t, b.Hold(t.Context(), holdOf(10, 7, 0)))
}

func balancesReturnsCopies(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := both(t, open), t.Context()
	require.NoError(t, b.Settle(ctx, Commit(t, instA, 1)[0], traded(1, 2)))
	require.NoError(t, b.Hold(ctx, holdOf(3, 7, 1)))
	require.NoError(t, b.Span(ctx, spanOf(exchange.KindMassCancel, 7, 1, 0)))
	for range 2 {
		a := accountOf(t, b, 7)
		require.NotEmpty(t, a.Balances)
		clear(a.Balances)
		fees, err := b.Venue(ctx, instA)
		require.NoError(t, err)
		require.Equal(t, []pipeline.AssetBalance{fee(usd, 2)}, fees)
		clear(fees)
		placed, err := b.Placed(ctx, 1<<62, nil, 9)
		require.NoError(t, err)
		require.Equal(t, []pipeline.HoldRecord{{Hold: holdOf(3, 7, 1), State: pipeline.HoldPlaced, Remaining: 1}}, placed)
		clear(placed)
		spanning, err := b.Spanning(ctx, 9)
		require.NoError(t, err)
		require.Equal(t, []exchange.Command{spanOf(exchange.KindMassCancel, 7, 1, 0)}, spanning)
		clear(spanning)
	}
	has(t, b, 7, usd, 49, 1)
	has(t, b, 7, btc, 105, 0)
}

func durableBalances(t testing.TB, h Durable[pipeline.Balances]) {
	b, ctx := both(t, h.Open), t.Context()
	limits := pipeline.AccountLimits{MaxOpenOrders: 9, MaxMessages: 8, MessageWindow: 7, MaxHolding: 1 << 40}
	require.NoError(t, b.Settle(ctx, Commit(t, instA, 1)[0], traded(1, 2)))
	require.NoError(t, b.SetLimits(ctx, 7, limits))
	placed, open := holdOf(3, 7, 4), holdOf(4, 8, 10)
	require.NoError(t, b.Hold(ctx, placed))
	require.NoError(t, b.Hold(ctx, open))
	require.NoError(t, b.Settle(ctx, Commit(t, instB, 1)[0], spent(8, 4, -1, false)))
	kill, state := spanOf(exchange.KindKill, 7, 1, 0), spanOf(exchange.KindAccountState, 8, 2, exchange.AccountCancelOnly)
	gone := spanOf(exchange.KindMassCancel, 8, 3, 0)
	for _, cmd := range []exchange.Command{kill, gone, state} {
		require.NoError(t, b.Span(ctx, cmd))
	}
	require.NoError(t, b.Forget(ctx, gone.ID))
	before := []pipeline.Account{accountOf(t, b, 7), accountOf(t, b, 8)}
	for range 2 {
		b = h.Reopen(t, b)
		for _, want := range before {
			got := accountOf(t, b, want.ID)
			require.GreaterOrEqual(t, got.Version, want.Version, "the version never goes back")
			got.Version = want.Version
			require.Equal(t, want, got)
		}
		holdIs(t, b, holdOf(1, 7, 53), pipeline.HoldEnded, 0)
		holdIs(t, b, placed, pipeline.HoldPlaced, 4)
		holdIs(t, b, open, pipeline.HoldOpen, 9)
		settledIs(t, b, instA, 1)
		settledIs(t, b, instB, 1)
		venueIs(t, b, instA, fee(usd, 2))
		venueIs(t, b, instB, fee(usd, 1))
		list, err := b.Spanning(ctx, 9)
		require.NoError(t, err)
		require.Equal(t, []exchange.Command{kill, state}, list)
		page, err := b.Placed(ctx, 1<<62, nil, 9)
		require.NoError(t, err)
		require.Equal(t, []pipeline.HoldRecord{{Hold: placed, State: pipeline.HoldPlaced, Remaining: 4}}, page)
	}
}

func durableBalancesOnce(t testing.TB, h Durable[pipeline.Balances]) {
	b, ctx := both(t, h.Open), t.Context()
	c := Commit(t, instA, 2)
	require.NoError(t, b.Settle(ctx, c[0], traded(1, 2)))
	require.NoError(t, b.Settle(ctx, c[1], refused(7, 5)))
	w := pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: 10, Time: 3}
	require.NoError(t, b.Withdraw(ctx, w))
	placed := holdOf(3, 7, 4)
	require.NoError(t, b.Hold(ctx, placed))
	kill, lift := spanOf(exchange.KindKill, 7, 1, 0), spanOf(exchange.KindLiftKill, 7, 2, 0)
	require.NoError(t, errors.Join(b.Span(ctx, kill), b.Span(ctx, lift), b.Forget(ctx, kill.ID)))
	for range 2 {
		b = h.Reopen(t, b)
		require.NoError(t, b.Settle(ctx, c[0], traded(1, 2)))
		require.NoError(t, b.Withdraw(ctx, w))
		require.ErrorIs(t, b.Deposit(ctx, w), pipeline.ErrConflict)
		require.NoError(t, b.Hold(ctx, placed))
		require.ErrorIs(t, b.Hold(ctx, holdOf(1, 7, 53)), pipeline.ErrHoldEnded)
		require.ErrorIs(t, b.Hold(ctx, holdOf(5, 7, 1)), pipeline.ErrHoldEnded, "refused before it was placed")
		require.NoError(t, b.Span(ctx, kill))
		a := accountOf(t, b, 7)
		require.False(t, a.Killed)
		require.Equal(t, int64(1), a.OpenOrders)
		has(t, b, 7, usd, 36, 4)
		has(t, b, 8, usd, 148, 0)
		require.ErrorIs(t, b.Hold(ctx, holdOf(9, 7, 37)), exchange.InsufficientFunds)
	}
	require.ErrorIs(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(99), Account: 9, Asset: usd, Amount: 1<<63 - 190}), exchange.AmountOverflow, "the total of an asset survives")
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(99), Account: 9, Asset: usd, Amount: 1<<63 - 191}))
}
