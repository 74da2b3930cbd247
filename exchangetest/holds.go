package exchangetest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

func holdOnce(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7, 8), t.Context()
	h := pipeline.Hold{ID: IDOf(1), Account: 7, Instrument: instB, Asset: btc, Amount: 30, Time: 1<<62 + 1, NewOrder: true,
		GainAsset: usd, Gain: exchange.MaxHeld, WorstPrice: exchange.MaxPrice, Request: [16]byte{1, 15: 255}}
	for range 3 {
		require.NoError(t, b.Hold(ctx, h))
		has(t, b, 7, btc, 70, 30)
		has(t, b, 7, usd, 100, 0)
		holdIs(t, b, h, pipeline.HoldPlaced, 30)
		require.Equal(t, int64(1), accountOf(t, b, 7).OpenOrders)
	}
	noHold(t, b, 8, h.ID)
	amend := pipeline.Hold{ID: IDOf(2), Account: 7, Instrument: instB, Asset: btc, Amount: 70, Time: -5}
	require.NoError(t, b.Hold(ctx, amend), "all that is left")
	has(t, b, 7, btc, 0, 100)
	holdIs(t, b, amend, pipeline.HoldPlaced, 70)
	require.Equal(t, int64(1), accountOf(t, b, 7).OpenOrders, "an amend is no order")
	has(t, b, 8, btc, 100, 0)
}

func holdConflict(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	h := pipeline.Hold{ID: IDOf(1), Account: 7, Instrument: instA, Asset: usd, Amount: 30, Time: 10, NewOrder: true, GainAsset: btc, Gain: 5, WorstPrice: 7, Request: [16]byte{1}}
	require.NoError(t, b.Hold(ctx, h))
	for _, c := range []struct {
		name   string
		change func(h *pipeline.Hold)
	}{
		{"Instrument", func(h *pipeline.Hold) { h.Instrument = instB }}, {"Asset", func(h *pipeline.Hold) { h.Asset = btc }},
		{"Amount", func(h *pipeline.Hold) { h.Amount-- }}, {"Time", func(h *pipeline.Hold) { h.Time++ }}, {"NewOrder", func(h *pipeline.Hold) { h.NewOrder = false }},
		{"GainAsset", func(h *pipeline.Hold) { h.GainAsset = 9 }}, {"Gain", func(h *pipeline.Hold) { h.Gain = 0 }},
		{"WorstPrice", func(h *pipeline.Hold) { h.WorstPrice = 8 }}, {"Request", func(h *pipeline.Hold) { h.Request = [16]byte{2} }},
	} {
		other := h
		c.change(&other)
		require.ErrorIs(t, b.Hold(ctx, other), pipeline.ErrConflict, "another %s", c.name)
		holdIs(t, b, h, pipeline.HoldPlaced, 30)
		has(t, b, 7, usd, 70, 30)
		has(t, b, 7, btc, 100, 0)
	}
}

func holdEdges(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := open(t), t.Context()
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: IDOf(1), Account: 7, Asset: usd, Amount: 1<<63 - 1}))
	require.ErrorIs(t, b.Hold(ctx, holdOf(1, 7, exchange.MaxHeld+1)), exchange.InvalidHeld)
	require.ErrorIs(t, b.Hold(ctx, holdOf(1, 7, -1)), exchange.InvalidHeld)
	require.ErrorIs(t, b.Hold(ctx, holdOf(1, 7, -1<<63)), exchange.InvalidHeld)
	require.ErrorIs(t, b.Hold(ctx, pipeline.Hold{Account: 7, Asset: usd, Amount: 1}), pipeline.ErrInvalid, "a zero ID")
	has(t, b, 7, usd, 1<<63-1, 0)
	require.NoError(t, b.Hold(ctx, holdOf(1, 7, exchange.MaxHeld)))
	has(t, b, 7, usd, 1<<63-1-exchange.MaxHeld, exchange.MaxHeld)
	nothing := holdOf(2, 7, 0)
	require.NoError(t, b.Hold(ctx, nothing))
	holdIs(t, b, nothing, pipeline.HoldPlaced, 0)
	poor := holdOf(3, 8, 0)
	poor.Asset = btc
	require.NoError(t, b.Hold(ctx, poor), "nothing, of an account that has nothing")
	holdIs(t, b, poor, pipeline.HoldPlaced, 0)
	require.ErrorIs(t, b.Hold(ctx, holdOf(4, 9, 1)), exchange.InsufficientFunds, "an account that nobody has named")
	noHold(t, b, 9, IDOf(4))
}

// wrong makes everything about an account wrong that refuses a hold, and the
// hold that is refused for all of it.
func wrong(t testing.TB, b pipeline.Balances) pipeline.Hold {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxOpenOrders: 1, MaxMessages: 1, MessageWindow: 1000, MaxHolding: 100}))
	require.NoError(t, b.Hold(ctx, holdOf(1000, 7, 1)))
	require.NoError(t, b.Span(ctx, exchange.Command{Kind: exchange.KindKill, Account: 7, ID: IDOf(1001)}))
	require.NoError(t, b.Span(ctx, exchange.Command{Kind: exchange.KindAccountState, Account: 7, ID: IDOf(1002), AccountState: exchange.AccountSuspended}))
	h := holdOf(2000, 0, exchange.MaxHeld+1)
	h.GainAsset, h.Gain = btc, 1 // deposited: 100
	return h
}

func holdRefusals(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	h := wrong(t, b)
	limits := pipeline.AccountLimits{MaxOpenOrders: 1, MaxMessages: 1, MessageWindow: 1000, MaxHolding: 100}
	for _, step := range []struct {
		want error
		mend func() error // what makes the next reason count
	}{
		{exchange.UnknownAccount, func() error { h.Account = 7; return nil }},
		{exchange.InvalidHeld, func() error { h.Amount = 100; return nil }},
		{exchange.AccountNotActive, func() error {
			return b.Span(ctx, exchange.Command{Kind: exchange.KindAccountState, Account: 7, ID: IDOf(1), AccountState: exchange.AccountCancelOnly})
		}},
		{exchange.AccountNotActive, func() error {
			return b.Span(ctx, exchange.Command{Kind: exchange.KindAccountState, Account: 7, ID: IDOf(2), AccountState: exchange.AccountActive})
		}},
		{exchange.KillSwitchEngaged, func() error {
			return b.Span(ctx, exchange.Command{Kind: exchange.KindLiftKill, Account: 7, ID: IDOf(3)})
		}},
		{exchange.MessageRate, func() error { limits.MaxMessages = 0; return b.SetLimits(ctx, 7, limits) }},
		{exchange.MaxOpenOrders, func() error { limits.MaxOpenOrders = 2; return b.SetLimits(ctx, 7, limits) }},
		{exchange.MaxPosition, func() error { limits.MaxHolding = 101; return b.SetLimits(ctx, 7, limits) }},
		{exchange.InsufficientFunds, func() error { h.Amount = 99; return nil }},
	} {
		require.ErrorIs(t, b.Hold(ctx, h), step.want)
		has(t, b, 7, usd, 99, 1)
		noHold(t, b, 7, h.ID)
		require.NoError(t, step.mend(), "after %v", step.want)
	}
	require.NoError(t, b.Hold(ctx, h))
	has(t, b, 7, usd, 0, 100)
}

func holdRefusedLeavesNothing(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	before := accountOf(t, b, 7)
	for range 2 {
		require.ErrorIs(t, b.Hold(ctx, holdOf(1, 7, 101)), exchange.InsufficientFunds)
		require.Equal(t, before, accountOf(t, b, 7))
		noHold(t, b, 7, IDOf(1))
	}
	placed, err := b.Placed(ctx, 1<<62, nil, 9)
	require.NoError(t, err)
	require.Empty(t, placed)
	// So it may come again with other contents, and when there are funds.
	require.NoError(t, b.Hold(ctx, holdOf(1, 7, 100)))
	holdIs(t, b, holdOf(1, 7, 100), pipeline.HoldPlaced, 100)
}

func holdRepeatedAnyway(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	h := holdOf(1, 7, 60)
	require.NoError(t, b.Hold(ctx, h))
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxOpenOrders: 1, MaxMessages: 1, MessageWindow: 1 << 60, MaxHolding: 1}))
	require.ErrorIs(t, b.Hold(ctx, holdOf(2, 7, 1)), exchange.MaxOpenOrders)
	require.NoError(t, b.Hold(ctx, h), "limits reached")
	require.NoError(t, b.Span(ctx, exchange.Command{Kind: exchange.KindKill, Account: 7, ID: IDOf(10)}))
	require.NoError(t, b.Hold(ctx, h), "killed")
	require.NoError(t, b.Span(ctx, exchange.Command{Kind: exchange.KindAccountState, Account: 7, ID: IDOf(11), AccountState: exchange.AccountSuspended}))
	require.NoError(t, b.Hold(ctx, h), "suspended")
	has(t, b, 7, usd, 40, 60)
	require.Equal(t, int64(1), accountOf(t, b, 7).OpenOrders)
}

func holdMessages(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7, 8), t.Context()
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxMessages: 3, MessageWindow: 100}))
	id := 0
	at := func(now exchange.Time, amount exchange.Amount, want error) {
		t.Helper()
		id++
		h := holdOf(id, 7, amount)
		h.Time, h.NewOrder = now, id%2 == 0 // an amend counts as well
		if want == nil {
			require.NoError(t, b.Hold(ctx, h), "at %d", now)
		} else {
			require.ErrorIs(t, b.Hold(ctx, h), want, "at %d", now)
		}
	}
	at(1000, 1, nil) // the window: 1000 to 1099
	again := holdOf(1, 7, 1)
	again.NewOrder = false
	require.NoError(t, b.Hold(ctx, again), "a repeat is no further message")
	at(1050, 1000, exchange.InsufficientFunds) // counts
	at(1099, 1, nil)
	at(1099, 1, exchange.MessageRate) // does not count, nor begin a window
	at(990, 1, exchange.MessageRate)  // that comes late is of the same window
	at(1100, 1, nil)                  // the next: 1100 to 1199
	at(1199, 1, nil)
	at(1101, 0, nil)
	at(1199, 0, exchange.MessageRate)
	at(1250, 0, nil) // begins where the message is: 1250 to 1349
	at(1349, 0, nil)
	at(1349, 0, nil)
	at(1349, 0, exchange.MessageRate)
	other := holdOf(100, 8, 1)
	require.NoError(t, b.Hold(ctx, other), "another account")
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxMessages: 3}))
	for range 5 {
		at(1349, 0, nil) // no window: no limit
	}
}

func holdOpenOrders(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxOpenOrders: 2}))
	require.NoError(t, b.Hold(ctx, holdOf(1, 7, 1)))
	require.NoError(t, b.Hold(ctx, holdOf(2, 7, 0)))
	require.ErrorIs(t, b.Hold(ctx, holdOf(3, 7, 1)), exchange.MaxOpenOrders)
	amend := holdOf(4, 7, 1)
	amend.NewOrder = false
	require.NoError(t, b.Hold(ctx, amend), "an amend makes no order")
	require.Equal(t, int64(2), accountOf(t, b, 7).OpenOrders)
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{}))
	require.NoError(t, b.Hold(ctx, holdOf(3, 7, 1)), "0 is no limit")
	require.Equal(t, int64(3), accountOf(t, b, 7).OpenOrders)
}

func holdHolding(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxHolding: 150}))
	sell := holdOf(1, 7, 40) // so that 40 of the 100 btc are held
	sell.Asset, sell.GainAsset, sell.Gain = btc, usd, 50
	require.NoError(t, b.Hold(ctx, sell))
	buy := holdOf(2, 7, 1)
	buy.GainAsset, buy.Gain = btc, 51
	require.ErrorIs(t, b.Hold(ctx, buy), exchange.MaxPosition, "available + held + gain")
	buy.Gain = 1<<63 - 1
	require.ErrorIs(t, b.Hold(ctx, buy), exchange.MaxPosition)
	buy.Gain = 50
	require.NoError(t, b.Hold(ctx, buy))
	buy.ID = IDOf(3)
	require.NoError(t, b.Hold(ctx, buy), "what other orders may bring is not counted")
	buy.ID, buy.Gain = IDOf(4), 0
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxHolding: 1}))
	require.NoError(t, b.Hold(ctx, buy), "no gain, nothing to check")
	buy.ID, buy.GainAsset, buy.Gain = IDOf(5), 5, 2
	require.ErrorIs(t, b.Hold(ctx, buy), exchange.MaxPosition, "of an asset the account never had")
}

func holdRace(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	errs := together(24, func(i int) error { return b.Hold(ctx, holdOf(i+1, 7, 10)) })
	require.Equal(t, 10, succeeded(t, errs, exchange.InsufficientFunds), "holds of 10 out of 100")
	has(t, b, 7, usd, 0, 100)
	for i, err := range errs {
		if err == nil {
			holdIs(t, b, holdOf(i+1, 7, 10), pipeline.HoldPlaced, 10)
		} else {
			noHold(t, b, 7, IDOf(i+1))
		}
	}
	errs = together(8, func(i int) error {
		if i%2 == 0 {
			h := holdOf(100+i, 7, 60)
			h.Asset = btc
			return b.Hold(ctx, h)
		}
		return b.Withdraw(ctx, pipeline.Transfer{ID: IDOf(100 + i), Account: 7, Asset: btc, Amount: 60})
	})
	require.Equal(t, 1, succeeded(t, errs, exchange.InsufficientFunds), "holds and withdrawals of 60 out of 100")
}

func holdSameRace(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	for n := 1; n <= 5; n++ {
		errs := together(8, func(int) error { return b.Hold(ctx, holdOf(n, 7, 10)) })
		require.NoError(t, errors.Join(errs...))
		has(t, b, 7, usd, exchange.Amount(100-10*n), exchange.Amount(10*n))
		require.Equal(t, int64(n), accountOf(t, b, 7).OpenOrders)
	}
	// With contents of their own one wins.
	errs := together(8, func(i int) error { return b.Hold(ctx, holdOf(9, 7, exchange.Amount(i+1))) })
	require.Equal(t, 1, succeeded(t, errs, pipeline.ErrConflict))
	require.Equal(t, int64(6), accountOf(t, b, 7).OpenOrders)
}

func holdLimitRace(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7, 8), t.Context()
	require.NoError(t, b.SetLimits(ctx, 7, pipeline.AccountLimits{MaxOpenOrders: 4}))
	errs := together(16, func(i int) error { return b.Hold(ctx, holdOf(i+1, 7, 1)) })
	require.Equal(t, 4, succeeded(t, errs, exchange.MaxOpenOrders))
	require.Equal(t, int64(4), accountOf(t, b, 7).OpenOrders)
	require.NoError(t, b.SetLimits(ctx, 8, pipeline.AccountLimits{MaxMessages: 5, MessageWindow: 10}))
	errs = together(16, func(i int) error { return b.Hold(ctx, holdOf(i+1, 8, 1)) })
	require.Equal(t, 5, succeeded(t, errs, exchange.MessageRate))
}

func placedPages(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 1000, 7, 8), t.Context()
	var want []pipeline.HoldRecord
	for _, h := range []struct {
		id   int
		time exchange.Time
		acct exchange.AccountID
	}{{1, 50, 7}, {2, 10, 8}, {3, 30, 7}, {4, 30, 8}, {5, 30, 7}, {6, 70, 7}, {7, 20, 7}} {
		hold := holdOf(h.id, h.acct, 5)
		hold.Time = h.time
		require.NoError(t, b.Hold(ctx, hold))
	}
	for _, id := range []int{2, 7, 3, 4, 5, 1, 6} { // by time, then by id
		acct := exchange.AccountID(7)
		if id == 2 || id == 4 {
			acct = 8
		}
		h := holdOf(id, acct, 5)
		h.Time = map[int]exchange.Time{1: 50, 2: 10, 3: 30, 4: 30, 5: 30, 6: 70, 7: 20}[id]
		want = append(want, pipeline.HoldRecord{Hold: h, State: pipeline.HoldPlaced, Remaining: 5})
	}
	placed := func(before exchange.Time, after *pipeline.HoldRecord, limit int, want ...pipeline.HoldRecord) {
		t.Helper()
		got, err := b.Placed(ctx, before, after, limit)
		require.NoError(t, err)
		require.Equal(t, append([]pipeline.HoldRecord{}, want...), append([]pipeline.HoldRecord{}, got...), "before %d, limit %d", before, limit)
	}
	placed(1000, nil, pipeline.MaxQueryRows, want...)
	placed(70, nil, 9, want[:6]...)
	placed(71, nil, 9, want...)
	placed(10, nil, 9)
	placed(11, nil, 9, want[0])
	placed(30, nil, 9, want[:2]...)
	for limit := 1; limit <= 3; limit++ {
		var after *pipeline.HoldRecord
		for at := 0; at < len(want); at += limit {
			end := min(len(want), at+limit)
			placed(1000, after, limit, want[at:end]...)
			after = &want[end-1]
		}
		placed(1000, after, limit)
	}
	// One that is no longer placed is not listed, and still marks its place.
	id := want[3].ID
	require.NoError(t, b.Settle(ctx, Commit(t, instA, 1)[0], &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{
		{Account: 8, Assets: []pipeline.AssetChange{{Asset: usd, Available: 5, Held: -5}}, Holds: []pipeline.HoldChange{{ID: id, Asset: usd, Delta: -5, Ended: true, NewOrder: true}}}}}))
	placed(1000, nil, 9, append(append([]pipeline.HoldRecord{}, want[:3]...), want[4:]...)...)
	placed(1000, &want[3], 9, want[4:]...)
	for _, limit := range []int{0, -1, pipeline.MaxQueryRows + 1} {
		_, err := b.Placed(ctx, 1000, nil, limit)
		require.ErrorIs(t, err, pipeline.ErrInvalid, "limit %d", limit)
	}
}
