package exchangetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// TestBalances runs BalancesCases.
func TestBalances(t *testing.T, open Open[pipeline.Balances]) { Run(t, BalancesCases, open) }

// TestDurableBalances runs DurableBalancesCases.
func TestDurableBalances(t *testing.T, h Durable[pipeline.Balances]) { Run(t, DurableBalancesCases, h) }

// BalancesCases is what every pipeline.Balances does.
var BalancesCases = []Case[Open[pipeline.Balances]]{
	{"an account that nobody has named", balancesEmpty},
	{"a deposit is booked once", depositOnce},
	{"what cannot be deposited", depositRefused},
	{"the total of an asset stays within 63 bits", depositOverflow},
	{"a withdrawal takes what is available", withdrawals},
	{"a hold sets funds aside once", holdOnce},
	{"the id of a hold with other contents is a conflict", holdConflict},
	{"a hold of nothing, of the most, and beyond", holdEdges},
	{"why a hold is refused, in order", holdRefusals},
	{"a refused hold leaves nothing behind", holdRefusedLeavesNothing},
	{"a known hold is there whatever the account's state", holdRepeatedAnyway},
	{"messages are counted in windows of their time", holdMessages},
	{"orders that are open or on their way are counted", holdOpenOrders},
	{"what an order may bring an account to", holdHolding},
	{"funds are never held twice", holdRace},
	{"a hold placed many times at once is one", holdSameRace},
	{"limits of open orders hold at the same time", holdLimitRace},
	{"a deposit made many times at once is one", depositRace},
	{"placed holds are listed by age, in pages", placedPages},
	{"limits are kept and checked", limitsKept},
	{"a spanning command is recorded with what it does", spanEffects},
	{"a spanning command happens once, also when forgotten", spanOnce},
	{"what spans nothing is refused", spanRefused},
	{"spanning commands are listed by age until forgotten", spanList},
	{"the version rises with every change of balances", versionRises},
	{"a settlement moves funds once", settleOnce},
	{"a gap and what is not committed are not settled", settleGuards},
	{"instruments are settled apart", settleInstruments},
	{"a settlement at fault is not booked", settleCheck},
	{"nothing goes below zero, nor past 63 bits", settleBounds},
	{"a settlement may be mended where it was not booked", settlePartly},
	{"holds open, are spent and end", settleHolds},
	{"an ended hold is never placed again", settleEnded},
	{"a hold that is not known is made", settleMakes},
	{"orders are counted until their hold ends", settleCounts},
	{"what ends or has ended is consistent", settleInconsistent},
	{"the hold of a refused command is given back", settleRefused},
	{"a command refused before its hold is never held for", settleRefusedUnknown},
	{"a refused command whose hold has ended changes nothing", settleRefusedEnded},
	{"fees are the venue's, which may go below zero", settleFees},
	{"a settlement of a thousand accounts", settleBig},
	{"an item settled many times at once is booked once", settleRace},
	{"holds, settlements and transfers at the same time conserve", settleConserves},
	{"no slice is kept", settleKeepsNoSlice},
	{"what is returned belongs to the caller", balancesReturnsCopies},
}

// DurableBalancesCases is what every pipeline.Balances does that survives.
var DurableBalancesCases = []Case[Durable[pipeline.Balances]]{
	{"everything confirmed survives", durableBalances},
	{"what was done once is not done again", durableBalancesOnce},
}

const (
	usd exchange.AssetID = 1
	btc exchange.AssetID = exchange.MaxID
)

// deposited opens a Balances in which accounts have so much of usd and btc.
func deposited(t testing.TB, open Open[pipeline.Balances], n exchange.Amount, accounts ...exchange.AccountID) pipeline.Balances {
	t.Helper()
	b := open(t)
	for _, acct := range accounts {
		for _, asset := range []exchange.AssetID{usd, btc} {
			require.NoError(t, b.Deposit(t.Context(), pipeline.Transfer{ID: IDOf(int(acct)<<20 | int(asset)), Account: acct, Asset: asset, Amount: n, Time: 1}))
		}
	}
	return b
}

func accountOf(t testing.TB, b pipeline.Balances, id exchange.AccountID) pipeline.Account {
	t.Helper()
	a, err := b.Account(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, id, a.ID)
	for i := range a.Balances {
		require.True(t, i == 0 || a.Balances[i-1].Asset < a.Balances[i].Asset, "balances by asset: %v", a.Balances)
	}
	return a
}

// has checks what an account has of an asset.
func has(t testing.TB, b pipeline.Balances, acct exchange.AccountID, asset exchange.AssetID, available, held exchange.Amount) {
	t.Helper()
	got := balanceIn(accountOf(t, b, acct).Balances, asset)
	require.Equal(t, exchange.Balance{Available: available, Held: held}, got, "asset %d of account %d", asset, acct)
}

func balanceIn(balances []pipeline.AssetBalance, asset exchange.AssetID) exchange.Balance {
	for _, have := range balances {
		if have.Asset == asset {
			return have.Balance
		}
	}
	return exchange.Balance{}
}

// holdOf makes a hold of usd.
func holdOf(id int, acct exchange.AccountID, amount exchange.Amount) pipeline.Hold {
	return pipeline.Hold{ID: IDOf(id), Account: acct, Instrument: instA, Asset: usd, Amount: amount, Time: 1000, NewOrder: true}
}

// holdIs checks a hold as it stands.
func holdIs(t testing.TB, b pipeline.Balances, h pipeline.Hold, state pipeline.HoldState, remaining exchange.Amount) {
	t.Helper()
	got, err := b.HoldByID(t.Context(), h.Account, h.ID)
	require.NoError(t, err, "hold %x", h.ID)
	require.Equal(t, pipeline.HoldRecord{Hold: h, State: state, Remaining: remaining}, got)
}

func noHold(t testing.TB, b pipeline.Balances, acct exchange.AccountID, id exchange.CommandID) {
	t.Helper()
	_, err := b.HoldByID(t.Context(), acct, id)
	require.ErrorIs(t, err, pipeline.ErrNotFound, "hold %x of account %d", id, acct)
}

func balancesEmpty(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	require.Equal(t, pipeline.Account{ID: 7}, accountOf(t, b, 7))
	noHold(t, b, 7, IDOf(1))
	placed, err := b.Placed(ctx, 1<<62, nil, 1)
	require.NoError(t, err)
	require.Empty(t, placed)
	pos, err := b.Settled(ctx, instA)
	require.NoError(t, err)
	require.Zero(t, pos)
	fees, err := b.Venue(ctx, instA)
	require.NoError(t, err)
	require.Empty(t, fees)
	spanning, err := b.Spanning(ctx, 1)
	require.NoError(t, err)
	require.Empty(t, spanning)
	require.NoError(t, b.Forget(ctx, IDOf(1)))
}

func depositOnce(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	d := pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: 100, Time: 5}
	for range 3 {
		require.NoError(t, b.Deposit(ctx, d))
		has(t, b, 7, usd, 100, 0)
	}
	for i, change := range []func(d *pipeline.Transfer){
		func(d *pipeline.Transfer) { d.Account = 8 }, func(d *pipeline.Transfer) { d.Asset = btc },
		func(d *pipeline.Transfer) { d.Amount++ }, func(d *pipeline.Transfer) { d.Time++ },
	} {
		other := d
		change(&other)
		require.ErrorIs(t, b.Deposit(ctx, other), pipeline.ErrConflict, "change %d: %+v", i, other)
	}
	require.ErrorIs(t, b.Withdraw(ctx, d), pipeline.ErrConflict, "a withdrawal of the same id")
	has(t, b, 7, usd, 100, 0)
	has(t, b, 7, btc, 0, 0)
	has(t, b, 8, usd, 0, 0)
	d.ID = IDOf(2)
	require.NoError(t, b.Deposit(ctx, d), "the same again under an id of its own")
	has(t, b, 7, usd, 200, 0)
	d.ID, d.Asset = IDOf(3), btc
	require.NoError(t, b.Deposit(ctx, d))
	has(t, b, 7, usd, 200, 0)
	has(t, b, 7, btc, 100, 0)
}

func depositRefused(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 10, 7), t.Context()
	for _, c := range []struct {
		d    pipeline.Transfer
		want error
	}{
		{pipeline.Transfer{Account: 7, Asset: usd, Amount: 1}, pipeline.ErrInvalid},
		{pipeline.Transfer{ID: IDOf(1), Asset: usd, Amount: 1}, exchange.UnknownAccount},
		{pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd}, exchange.InvalidFunds},
		{pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: -1}, exchange.InvalidFunds},
		{pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: -1 << 63}, exchange.InvalidFunds},
	} {
		require.ErrorIs(t, b.Deposit(ctx, c.d), c.want, "deposit of %+v", c.d)
		require.ErrorIs(t, b.Withdraw(ctx, c.d), c.want, "withdrawal of %+v", c.d)
	}
	has(t, b, 7, usd, 10, 0)
}

func depositOverflow(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	const most = exchange.Amount(1<<63 - 1)
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: most - 10}))
	require.ErrorIs(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(2), Account: 7, Asset: usd, Amount: 11}), exchange.AmountOverflow)
	require.ErrorIs(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(3), Account: 8, Asset: usd, Amount: most}), exchange.AmountOverflow, "of another account")
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(4), Account: 8, Asset: usd, Amount: 10}), "up to the total")
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(5), Account: 8, Asset: btc, Amount: most}), "of another asset")
	has(t, b, 7, usd, most-10, 0)
	has(t, b, 8, usd, 10, 0)
	require.NoError(t, b.Withdraw(ctx, pipeline.Transfer{ID: IDOf(6), Account: 7, Asset: usd, Amount: 100}))
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(7), Account: 8, Asset: usd, Amount: 100}), "in place of what was withdrawn")
	require.ErrorIs(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(8), Account: 9, Asset: usd, Amount: 1}), exchange.AmountOverflow)
}

func withdrawals(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	w := pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: 60, Time: 5}
	for range 3 {
		require.NoError(t, b.Withdraw(ctx, w))
		has(t, b, 7, usd, 40, 0)
	}
	require.ErrorIs(t, b.Deposit(ctx, w), pipeline.ErrConflict, "a deposit of the same id")
	w.Amount++
	require.ErrorIs(t, b.Withdraw(ctx, w), pipeline.ErrConflict)
	require.NoError(t, b.Hold(ctx, holdOf(9, 7, 10)))
	w.ID, w.Amount = IDOf(2), 31
	require.ErrorIs(t, b.Withdraw(ctx, w), exchange.InsufficientFunds, "what is held is not available")
	has(t, b, 7, usd, 30, 10)
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(3), Account: 7, Asset: usd, Amount: 1}))
	require.NoError(t, b.Withdraw(ctx, w), "the refusal is not remembered")
	has(t, b, 7, usd, 0, 10)
	require.ErrorIs(t, b.Withdraw(ctx, pipeline.Transfer{ID: IDOf(4), Account: 8, Asset: usd, Amount: 1}), exchange.InsufficientFunds, "an account that has nothing")
}

func depositRace(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	for n := 1; n <= 5; n++ {
		errs := together(8, func(int) error {
			return b.Deposit(ctx, pipeline.Transfer{ID: IDOf(n), Account: 7, Asset: usd, Amount: 10})
		})
		require.NoError(t, errors.Join(errs...))
		has(t, b, 7, usd, exchange.Amount(10*n), 0)
	}
	errs := together(8, func(int) error {
		return b.Withdraw(ctx, pipeline.Transfer{ID: IDOf(100), Account: 7, Asset: usd, Amount: 20})
	})
	require.NoError(t, errors.Join(errs...))
	has(t, b, 7, usd, 30, 0)
	// Different ones of the last that is there: none gets what another has.
	errs = together(8, func(i int) error {
		return b.Withdraw(ctx, pipeline.Transfer{ID: IDOf(200 + i), Account: 7, Asset: usd, Amount: 20})
	})
	require.Equal(t, 1, succeeded(t, errs, exchange.InsufficientFunds))
}

func limitsKept(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	limits := pipeline.AccountLimits{MaxOpenOrders: 1<<63 - 1, MaxMessages: 2, MessageWindow: 1<<63 - 1, MaxHolding: 4}
	require.NoError(t, b.SetLimits(ctx, 7, limits))
	require.Equal(t, limits, accountOf(t, b, 7).Limits)
	require.Zero(t, accountOf(t, b, 8).Limits)
	require.ErrorIs(t, b.SetLimits(ctx, 0, limits), exchange.UnknownAccount)
	for _, bad := range []pipeline.AccountLimits{{MaxOpenOrders: -1}, {MaxMessages: -1}, {MessageWindow: -1}, {MaxHolding: -1}} {
		require.ErrorIs(t, b.SetLimits(ctx, 7, bad), pipeline.ErrInvalid, "%+v", bad)
	}
	require.Equal(t, limits, accountOf(t, b, 7).Limits)
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{}))
	require.Zero(t, accountOf(t, b, 7).Limits)
}

func spanOf(kind exchange.CommandKind, acct exchange.AccountID, id int, state exchange.AccountState) exchange.Command {
	return exchange.Command{Kind: kind, Account: acct, ID: IDOf(id), AccountState: state, Time: exchange.Time(id)}
}

func spanEffects(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	for i, step := range []struct {
		kind   exchange.CommandKind
		state  exchange.AccountState // given
		killed bool                  // afterwards
		is     exchange.AccountState
	}{
		{exchange.KindMassCancel, 0, false, 0},
		{exchange.KindKill, 0, true, 0},
		{exchange.KindMassCancel, 0, true, 0},
		{exchange.KindAccountState, exchange.AccountCancelOnly, true, exchange.AccountCancelOnly},
		{exchange.KindLiftKill, 0, false, exchange.AccountCancelOnly},
		{exchange.KindAccountState, exchange.AccountSuspended, false, exchange.AccountSuspended},
		{exchange.KindLiftKill, 0, false, exchange.AccountSuspended},
		{exchange.KindAccountState, exchange.AccountActive, false, exchange.AccountActive},
	} {
		require.NoError(t, b.Span(ctx, spanOf(step.kind, 7, i+1, step.state)))
		got := accountOf(t, b, 7)
		require.Equal(t, step.killed, got.Killed, "after step %d", i)
		require.Equal(t, step.is, got.State, "after step %d", i)
		require.Equal(t, pipeline.Account{ID: 8}, accountOf(t, b, 8))
	}
}

func spanOnce(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	kill, lift := spanOf(exchange.KindKill, 7, 1, 0), spanOf(exchange.KindLiftKill, 7, 2, 0)
	require.NoError(t, b.Span(ctx, kill))
	require.NoError(t, b.Span(ctx, kill))
	require.NoError(t, b.Span(ctx, lift))
	require.NoError(t, b.Span(ctx, kill), "again, after what came later")
	require.False(t, accountOf(t, b, 7).Killed)
	other := kill
	other.Kind = exchange.KindMassCancel
	require.ErrorIs(t, b.Span(ctx, other), pipeline.ErrConflict)
	other = kill
	other.Account = 8
	require.ErrorIs(t, b.Span(ctx, other), pipeline.ErrConflict)
	list, err := b.Spanning(ctx, 9)
	require.NoError(t, err)
	require.Equal(t, []exchange.Command{kill, lift}, list)
	require.NoError(t, b.Forget(ctx, kill.ID))
	require.NoError(t, b.Forget(ctx, kill.ID))
	require.NoError(t, b.Span(ctx, kill), "again, after it was forgotten")
	require.False(t, accountOf(t, b, 7).Killed)
	list, err = b.Spanning(ctx, 9)
	require.NoError(t, err)
	require.Equal(t, []exchange.Command{lift}, list)
	errs := together(8, func(int) error { return b.Span(ctx, spanOf(exchange.KindKill, 7, 3, 0)) })
	require.NoError(t, errors.Join(errs...))
	list, err = b.Spanning(ctx, 9)
	require.NoError(t, err)
	require.Equal(t, []exchange.Command{lift, spanOf(exchange.KindKill, 7, 3, 0)}, list)
}

func spanRefused(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	for kind := range exchange.CommandKind(30) {
		switch kind {
		case exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill:
			require.ErrorIs(t, b.Span(ctx, spanOf(kind, 0, 1, 0)), pipeline.ErrInvalid, "%v of account 0", kind)
			cmd := spanOf(kind, 7, 1, 0)
			cmd.ID = exchange.CommandID{}
			require.ErrorIs(t, b.Span(ctx, cmd), pipeline.ErrInvalid, "%v without an ID", kind)
		case exchange.KindAccountState:
			for _, state := range []exchange.AccountState{0, 4, 255} {
				require.ErrorIs(t, b.Span(ctx, spanOf(kind, 7, 1, state)), pipeline.ErrInvalid, "state %d", state)
			}
		default:
			require.ErrorIs(t, b.Span(ctx, spanOf(kind, 7, 1, 1)), pipeline.ErrInvalid, "%v", kind)
		}
	}
	list, err := b.Spanning(ctx, 9)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Equal(t, pipeline.Account{ID: 7}, accountOf(t, b, 7))
}

func spanList(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	full := exchange.MassCancel(0, 7)
	full.ID, full.Time, full.Side, full.Group, full.Value = IDOf(99), 1<<62, exchange.Sell, 1<<32-1, -1
	want := []exchange.Command{full}
	for _, id := range []int{5, 3, 9, 1} { // as they were recorded, not by id
		want = append(want, spanOf(exchange.KindMassCancel, exchange.AccountID(id), id, 0))
	}
	for i := range want {
		require.NoError(t, b.Span(ctx, want[i]))
	}
	list := func(limit int, want ...exchange.Command) {
		t.Helper()
		got, err := b.Spanning(ctx, limit)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	list(pipeline.MaxQueryRows, want...)
	list(2, want[:2]...)
	require.NoError(t, b.Forget(ctx, want[1].ID))
	require.NoError(t, b.Forget(ctx, want[3].ID))
	list(9, want[0], want[2], want[4])
	for _, limit := range []int{0, -1, pipeline.MaxQueryRows + 1} {
		_, err := b.Spanning(ctx, limit)
		require.ErrorIs(t, err, pipeline.ErrInvalid, "limit %d", limit)
	}
}

func versionRises(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	c := Commit(t, instA, 3)
	last := accountOf(t, b, 7).Version
	require.Zero(t, last)
	for i, change := range []func() error{
		func() error {
			return b.Deposit(ctx, pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: 100})
		},
		func() error {
			return b.Withdraw(ctx, pipeline.Transfer{ID: IDOf(2), Account: 7, Asset: usd, Amount: 10})
		},
		func() error { return b.Hold(ctx, holdOf(3, 7, 10)) },
		func() error { return b.Hold(ctx, holdOf(4, 7, 10)) },
		func() error { return b.Settle(ctx, c[0], spent(7, 3, -4, false)) },
		func() error { return b.Settle(ctx, c[1], spent(7, 3, -6, true)) },
		func() error { return b.Settle(ctx, c[2], refused(7, 4)) },
	} {
		require.NoError(t, change(), "change %d", i)
		now := accountOf(t, b, 7).Version
		require.Greater(t, now, last, "version after change %d", i)
		last = now
	}
	has(t, b, 7, usd, 80, 0)
	require.Zero(t, accountOf(t, b, 8).Version)
	for i, err := range together(4, func(i int) error {
		var last uint64
		for n := range 20 {
			if err := b.Deposit(ctx, pipeline.Transfer{ID: IDOf(100 + 100*i + n), Account: 7, Asset: usd, Amount: 1}); err != nil {
				return err
			}
			a, err := b.Account(ctx, 7)
			if err != nil {
				return err
			}
			if a.Version <= last {
				return fmt.Errorf("version %d after %d", a.Version, last)
			}
			last = a.Version
		}
		return nil
	}) {
		require.NoError(t, err, "writer %d", i)
	}
}
