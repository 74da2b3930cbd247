package exchangetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// spent settles a hold of usd: what it loses goes to the venue.
func spent(acct exchange.AccountID, id int, delta exchange.Amount, ended bool) *pipeline.Settlement {
	return &pipeline.Settlement{
		Accounts: []pipeline.AccountSettlement{{Account: acct, Assets: []pipeline.AssetChange{{Asset: usd, Held: delta}},
			Holds: []pipeline.HoldChange{{ID: IDOf(id), Asset: usd, Delta: delta, Ended: ended, NewOrder: true}}}},
		Fees: []pipeline.AssetChange{{Asset: usd, Available: -delta}},
	}
}

// refused settles commands that were refused.
func refused(acct exchange.AccountID, ids ...int) *pipeline.Settlement {
	a := pipeline.AccountSettlement{Account: acct}
	for _, id := range ids {
		a.Refused = append(a.Refused, IDOf(id))
	}
	return &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{a}}
}

// traded settles a trade: account 7 buys 5 btc of account 8 for 50 usd, of
// which the venue gets 2; both orders are filled, the buyer's held 3 too much.
func traded(buy, sell int) *pipeline.Settlement {
	return &pipeline.Settlement{
		Accounts: []pipeline.AccountSettlement{
			{Account: 7, Assets: []pipeline.AssetChange{{Asset: usd, Available: 3, Held: -53}, {Asset: btc, Available: 5}},
				Holds: []pipeline.HoldChange{{ID: IDOf(buy), Asset: usd, Delta: -53, Ended: true, NewOrder: true}}},
			{Account: 8, Assets: []pipeline.AssetChange{{Asset: usd, Available: 48}, {Asset: btc, Held: -5}},
				Holds: []pipeline.HoldChange{{ID: IDOf(sell), Asset: btc, Delta: -5, Ended: true, NewOrder: true}}},
		},
		Fees: []pipeline.AssetChange{{Asset: usd, Available: 2}},
	}
}

// both opens a Balances in which accounts 7 and 8 have 100 of each asset, and
// holds for the orders of traded(1, 2).
func both(t testing.TB, open Open[pipeline.Balances]) pipeline.Balances {
	t.Helper()
	b := deposited(t, open, 100, 7, 8)
	sell := holdOf(2, 8, 5)
	sell.Asset = btc
	require.NoError(t, b.Hold(t.Context(), holdOf(1, 7, 53)))
	require.NoError(t, b.Hold(t.Context(), sell))
	return b
}

func settledIs(t testing.TB, b pipeline.Balances, inst exchange.InstrumentID, want pipeline.Position) {
	t.Helper()
	got, err := b.Settled(t.Context(), inst)
	require.NoError(t, err)
	require.Equal(t, want, got, "settled of instrument %d", inst)
}

func venueIs(t testing.TB, b pipeline.Balances, inst exchange.InstrumentID, want ...pipeline.AssetBalance) {
	t.Helper()
	got, err := b.Venue(t.Context(), inst)
	require.NoError(t, err)
	require.Equal(t, append([]pipeline.AssetBalance{}, want...), append([]pipeline.AssetBalance{}, got...), "fees of instrument %d", inst)
}

func fee(asset exchange.AssetID, n exchange.Amount) pipeline.AssetBalance {
	return pipeline.AssetBalance{Asset: asset, Balance: exchange.Balance{Available: n}}
}

// tradedIs checks that traded(1, 2) was booked, once.
func tradedIs(t testing.TB, b pipeline.Balances) {
	t.Helper()
	has(t, b, 7, usd, 50, 0)
	has(t, b, 7, btc, 105, 0)
	has(t, b, 8, usd, 148, 0)
	has(t, b, 8, btc, 95, 0)
	venueIs(t, b, instA, fee(usd, 2))
	require.Zero(t, accountOf(t, b, 7).OpenOrders)
	require.Zero(t, accountOf(t, b, 8).OpenOrders)
}

func settleOnce(t testing.TB, open Open[pipeline.Balances]) {
	b, c := both(t, open), Commit(t, instA, 2)
	for range 3 {
		require.NoError(t, b.Settle(t.Context(), c[0], traded(1, 2)))
		settledIs(t, b, instA, 1)
		tradedIs(t, b)
	}
	require.NoError(t, b.Settle(t.Context(), c[1], &pipeline.Settlement{}), "an item that moves nothing")
	settledIs(t, b, instA, 2)
	require.NoError(t, b.Settle(t.Context(), c[0], spent(7, 9, 0, false)), "other contents at a position that was settled")
	noHold(t, b, 7, IDOf(9))
	tradedIs(t, b)
}

func settleGuards(t testing.TB, open Open[pipeline.Balances]) {
	b, c := both(t, open), Commit(t, instA, 3)
	nothing := func() {
		t.Helper()
		has(t, b, 7, usd, 47, 53)
		has(t, b, 8, btc, 95, 5)
		venueIs(t, b, instA)
	}
	require.ErrorIs(t, b.Settle(t.Context(), pipeline.Committed{}, traded(1, 2)), pipeline.ErrNotCommitted)
	require.ErrorIs(t, b.Settle(t.Context(), c[1], traded(1, 2)), pipeline.ErrGap)
	settledIs(t, b, instA, 0)
	nothing()
	require.NoError(t, b.Settle(t.Context(), c[0], &pipeline.Settlement{}))
	require.ErrorIs(t, b.Settle(t.Context(), c[2], traded(1, 2)), pipeline.ErrGap)
	settledIs(t, b, instA, 1)
	nothing()
	require.NoError(t, b.Settle(t.Context(), c[1], traded(1, 2)))
	tradedIs(t, b)
}

func settleInstruments(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	a, other := Commit(t, instA, 3), Commit(t, instB, 1)
	require.NoError(t, b.Hold(ctx, holdOf(1, 7, 30)))
	for _, c := range a {
		require.NoError(t, b.Settle(ctx, c, spent(7, 1, -5, false)))
	}
	require.NoError(t, b.Settle(ctx, other[0], spent(7, 1, -7, false)), "the first item of another instrument")
	settledIs(t, b, instA, 3)
	settledIs(t, b, instB, 1)
	has(t, b, 7, usd, 70, 8)
	venueIs(t, b, instA, fee(usd, 15))
	venueIs(t, b, instB, fee(usd, 7))
}

func settleCheck(t testing.TB, open Open[pipeline.Balances]) {
	b, c := both(t, open), Commit(t, instA, 1)
	for i, fault := range []func(s *pipeline.Settlement){
		func(s *pipeline.Settlement) { s.Fees[0].Available++ },
		func(s *pipeline.Settlement) { s.Fees = nil },
		func(s *pipeline.Settlement) { s.Fees[0].Held = 1 },
		func(s *pipeline.Settlement) { s.Fees = append(s.Fees, pipeline.AssetChange{Asset: usd}) },
		func(s *pipeline.Settlement) { s.Accounts[0].Assets[1].Available-- },
		func(s *pipeline.Settlement) { s.Accounts[0].Assets[0].Held++; s.Fees[0].Available-- },
		func(s *pipeline.Settlement) { s.Accounts[0].Holds[0].Delta++ },
		func(s *pipeline.Settlement) { s.Accounts[0].Holds = nil },
		func(s *pipeline.Settlement) { s.Accounts[0].Holds[0].Asset = btc },
		func(s *pipeline.Settlement) { s.Accounts[0].Holds[0].ID = exchange.CommandID{} },
		func(s *pipeline.Settlement) {
			s.Accounts[0].Holds = append(s.Accounts[0].Holds, pipeline.HoldChange{ID: IDOf(1), Asset: usd})
		},
		func(s *pipeline.Settlement) { s.Accounts[0].Account = 0 },
		func(s *pipeline.Settlement) { s.Accounts[0].Account = 8 },
		func(s *pipeline.Settlement) { slices.Reverse(s.Accounts) },
		func(s *pipeline.Settlement) { slices.Reverse(s.Accounts[1].Assets) },
		func(s *pipeline.Settlement) { s.Accounts[1].Refused = []exchange.CommandID{IDOf(2)} },
		func(s *pipeline.Settlement) { s.Accounts[1].Refused = []exchange.CommandID{IDOf(4), IDOf(3)} },
	} {
		s := traded(1, 2)
		fault(s)
		require.ErrorIs(t, b.Settle(t.Context(), c[0], s), pipeline.ErrInvalid, "fault %d: %+v", i, s)
		settledIs(t, b, instA, 0)
		has(t, b, 7, usd, 47, 53)
		has(t, b, 7, btc, 100, 0)
		has(t, b, 8, usd, 100, 0)
		has(t, b, 8, btc, 95, 5)
		venueIs(t, b, instA)
		holdIs(t, b, holdOf(1, 7, 53), pipeline.HoldPlaced, 53)
	}
	require.NoError(t, b.Settle(t.Context(), c[0], traded(1, 2)))
	tradedIs(t, b)
}

func settleBounds(t testing.TB, open Open[pipeline.Balances]) {
	b, c := both(t, open), Commit(t, instA, 1)
	move := func(a pipeline.AccountSettlement, fees ...pipeline.AssetChange) *pipeline.Settlement {
		return &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{a}, Fees: fees}
	}
	for i, s := range []*pipeline.Settlement{
		move(pipeline.AccountSettlement{Account: 7, Assets: []pipeline.AssetChange{{Asset: usd, Available: -48}}}, pipeline.AssetChange{Asset: usd, Available: 48}),
		move(pipeline.AccountSettlement{Account: 9, Assets: []pipeline.AssetChange{{Asset: usd, Available: -1}}}, pipeline.AssetChange{Asset: usd, Available: 1}),
		spent(7, 1, -54, false), // the hold, and what is held
		spent(7, 77, -1, false), // a hold that is not known, but what is held would do
		move(pipeline.AccountSettlement{Account: 7, Assets: []pipeline.AssetChange{{Asset: usd, Available: 1<<63 - 1}}}, pipeline.AssetChange{Asset: usd, Available: -1<<63 + 1}),
		// One hold more than it has, another less: together as much as is held.
		{Accounts: []pipeline.AccountSettlement{{Account: 7, Assets: []pipeline.AssetChange{{Asset: usd, Available: 0}},
			Holds: []pipeline.HoldChange{{ID: IDOf(1), Asset: usd, Delta: 1}, {ID: IDOf(3), Asset: usd, Delta: -1}}}}},
		// The first asset would do, the second not: nothing of the account.
		{Accounts: []pipeline.AccountSettlement{{Account: 7, Assets: []pipeline.AssetChange{{Asset: usd, Available: 5}, {Asset: btc, Available: -101}}}},
			Fees: []pipeline.AssetChange{{Asset: usd, Available: -5}, {Asset: btc, Available: 101}}},
	} {
		require.ErrorIs(t, b.Settle(t.Context(), c[0], s), pipeline.ErrInvalid, "settlement %d: %+v", i, s)
		settledIs(t, b, instA, 0)
		has(t, b, 7, usd, 47, 53)
		has(t, b, 7, btc, 100, 0)
		has(t, b, 9, usd, 0, 0)
		holdIs(t, b, holdOf(1, 7, 53), pipeline.HoldPlaced, 53)
		noHold(t, b, 7, IDOf(3))
		venueIs(t, b, instA)
	}
	require.NoError(t, b.Settle(t.Context(), c[0], traded(1, 2)))
	tradedIs(t, b)
}

func settlePartly(t testing.TB, open Open[pipeline.Balances]) {
	b, c := both(t, open), Commit(t, instA, 1)
	s := traded(1, 2)
	s.Accounts[1].Assets[1].Held, s.Accounts[1].Holds[0].Delta, s.Accounts[0].Assets[1].Available = -6, -6, 6 // 8 has not so much
	require.ErrorIs(t, b.Settle(t.Context(), c[0], s), pipeline.ErrInvalid)
	settledIs(t, b, instA, 0)
	has(t, b, 8, usd, 100, 0)
	has(t, b, 8, btc, 95, 5)
	// Account 7 may have been booked, then it is not booked again.
	before := accountOf(t, b, 7)
	s.Accounts[1].Assets[1] = pipeline.AssetChange{Asset: btc, Available: -1, Held: -5}
	s.Accounts[1].Holds[0].Delta = -5
	require.NoError(t, b.Settle(t.Context(), c[0], s), "after %+v", before)
	has(t, b, 7, usd, 50, 0)
	has(t, b, 7, btc, 106, 0)
	has(t, b, 8, usd, 148, 0)
	has(t, b, 8, btc, 94, 0)
	venueIs(t, b, instA, fee(usd, 2))
	settledIs(t, b, instA, 1)
}

func settleHolds(t testing.TB, open Open[pipeline.Balances]) {
	b, c := deposited(t, open, 100, 7), Commit(t, instA, 5)
	h, untouched := holdOf(1, 7, 30), holdOf(2, 7, 10)
	require.NoError(t, b.Hold(t.Context(), h))
	require.NoError(t, b.Hold(t.Context(), untouched))
	holdIs(t, b, h, pipeline.HoldPlaced, 30)
	for i, step := range []struct {
		delta     exchange.Amount
		ended     bool
		state     pipeline.HoldState
		remaining exchange.Amount
	}{{0, false, pipeline.HoldOpen, 30}, {-10, false, pipeline.HoldOpen, 20}, {5, false, pipeline.HoldOpen, 25}, {-25, false, pipeline.HoldOpen, 0}, {0, true, pipeline.HoldEnded, 0}} {
		s := spent(7, 1, step.delta, step.ended)
		if step.delta > 0 { // from what is available
			s.Accounts[0].Assets[0].Available, s.Fees = -step.delta, nil
		}
		require.NoError(t, b.Settle(t.Context(), c[i], s), "step %d", i)
		holdIs(t, b, h, step.state, step.remaining)
		holdIs(t, b, untouched, pipeline.HoldPlaced, 10)
	}
	has(t, b, 7, usd, 55, 10)
	require.NoError(t, b.Hold(t.Context(), untouched), "the other is as it was")
}

func settleEnded(t testing.TB, open Open[pipeline.Balances]) {
	b, c := deposited(t, open, 100, 7), Commit(t, instA, 2)
	h := holdOf(1, 7, 30)
	require.NoError(t, b.Hold(t.Context(), h))
	require.NoError(t, b.Settle(t.Context(), c[0], spent(7, 1, -10, false)))
	require.NoError(t, b.Hold(t.Context(), h), "again, while it is open")
	holdIs(t, b, h, pipeline.HoldOpen, 20)
	require.NoError(t, b.Settle(t.Context(), c[1], spent(7, 1, -20, true)))
	for range 3 {
		require.ErrorIs(t, b.Hold(t.Context(), h), pipeline.ErrHoldEnded)
		has(t, b, 7, usd, 70, 0)
		holdIs(t, b, h, pipeline.HoldEnded, 0)
		require.Zero(t, accountOf(t, b, 7).OpenOrders)
	}
	placed, err := b.Placed(t.Context(), 1<<62, nil, 9)
	require.NoError(t, err)
	require.Empty(t, placed)
}

func settleMakes(t testing.TB, open Open[pipeline.Balances]) {
	b, c := deposited(t, open, 100, 7), Commit(t, instA, 3)
	require.NoError(t, b.Hold(t.Context(), holdOf(1, 7, 30)))
	// A replace without a hold of its own takes over 20, and 10 are released.
	require.NoError(t, b.Settle(t.Context(), c[0], &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{{
		Account: 7, Assets: []pipeline.AssetChange{{Asset: usd, Available: 10, Held: -10}},
		Holds: []pipeline.HoldChange{{ID: IDOf(1), Asset: usd, Delta: -30, Ended: true, NewOrder: true}, {ID: IDOf(2), Asset: usd, Delta: 20, NewOrder: true}}}}}))
	has(t, b, 7, usd, 80, 20)
	require.Equal(t, int64(1), accountOf(t, b, 7).OpenOrders)
	made, err := b.HoldByID(t.Context(), 7, IDOf(2))
	require.NoError(t, err)
	require.Equal(t, pipeline.HoldOpen, made.State)
	require.Equal(t, exchange.Amount(20), made.Remaining)
	require.Equal(t, exchange.AccountID(7), made.Account)
	require.Equal(t, IDOf(2), made.ID)
	require.Equal(t, usd, made.Asset)
	require.Error(t, b.Hold(t.Context(), holdOf(2, 7, 30)), "a hold of the id that was made")
	has(t, b, 7, usd, 80, 20)
	require.NoError(t, b.Settle(t.Context(), c[1], spent(7, 2, -20, true)))
	require.Zero(t, accountOf(t, b, 7).OpenOrders)
	require.ErrorIs(t, b.Hold(t.Context(), holdOf(2, 7, 30)), pipeline.ErrHoldEnded)
	// Made and ended by one item.
	require.NoError(t, b.Settle(t.Context(), c[2], spent(7, 3, 0, true)))
	require.ErrorIs(t, b.Hold(t.Context(), holdOf(3, 7, 30)), pipeline.ErrHoldEnded)
	require.Zero(t, accountOf(t, b, 7).OpenOrders)
}

func settleCounts(t testing.TB, open Open[pipeline.Balances]) {
	b, c := deposited(t, open, 100, 7), Commit(t, instA, 6)
	counts := func(want int64) {
		t.Helper()
		require.Equal(t, want, accountOf(t, b, 7).OpenOrders, "open orders")
	}
	amend := holdOf(2, 7, 10)
	amend.NewOrder = false
	require.NoError(t, b.Hold(t.Context(), holdOf(1, 7, 10)))
	require.NoError(t, b.Hold(t.Context(), amend))
	counts(1)
	require.NoError(t, b.Settle(t.Context(), c[0], spent(7, 1, 0, false)))
	counts(1)
	amended := spent(7, 2, -10, true) // the amend's hold ends: no order has
	amended.Accounts[0].Holds[0].NewOrder = false
	require.NoError(t, b.Settle(t.Context(), c[1], amended))
	counts(1)
	require.NoError(t, b.Settle(t.Context(), c[2], spent(7, 1, -10, true)))
	counts(0)
	replace := holdOf(3, 7, 10) // placed for a replace: it counts from when it is the order's
	replace.NewOrder = false
	require.NoError(t, b.Hold(t.Context(), replace))
	counts(0)
	require.NoError(t, b.Settle(t.Context(), c[3], spent(7, 3, -1, false)))
	counts(1)
	require.NoError(t, b.Settle(t.Context(), c[4], spent(7, 3, -1, false)))
	counts(1)
	require.NoError(t, b.Settle(t.Context(), c[5], spent(7, 3, -8, true)))
	counts(0)
}

func settleInconsistent(t testing.TB, open Open[pipeline.Balances]) {
	b, c := deposited(t, open, 100, 7), Commit(t, instA, 3)
	require.NoError(t, b.Hold(t.Context(), holdOf(1, 7, 30)))
	require.NoError(t, b.Hold(t.Context(), holdOf(2, 7, 30)))
	require.ErrorIs(t, b.Settle(t.Context(), c[0], spent(7, 1, -29, true)), pipeline.ErrInvalid, "something of a hold that ends")
	has(t, b, 7, usd, 40, 60)
	holdIs(t, b, holdOf(1, 7, 30), pipeline.HoldPlaced, 30)
	require.NoError(t, b.Settle(t.Context(), c[0], spent(7, 1, -30, true)))
	for _, delta := range []exchange.Amount{1, -1} {
		s := spent(7, 1, delta, false)
		s.Accounts[0].Assets[0].Available, s.Fees = -delta, nil
		require.ErrorIs(t, b.Settle(t.Context(), c[1], s), pipeline.ErrInvalid, "a hold that has ended, by %d", delta)
		has(t, b, 7, usd, 40, 30)
		settledIs(t, b, instA, 1)
	}
	require.NoError(t, b.Settle(t.Context(), c[1], spent(7, 1, 0, true)), "named again without a change")
	holdIs(t, b, holdOf(1, 7, 30), pipeline.HoldEnded, 0)
	has(t, b, 7, usd, 40, 30)
}

func settleRefused(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7, 8), t.Context()
	c := Commit(t, instA, 2)
	inBtc := holdOf(2, 7, 20)
	inBtc.Asset = btc
	theirs := holdOf(5, 8, 9)
	for _, h := range []pipeline.Hold{holdOf(1, 7, 30), inBtc, holdOf(3, 7, 0), holdOf(4, 7, 5), theirs} {
		require.NoError(t, b.Hold(ctx, h))
	}
	s := refused(7, 1, 2, 3, 5) // 5 is another account's
	s.Accounts[0].Assets = []pipeline.AssetChange{{Asset: usd, Available: 2, Held: -5}}
	s.Accounts[0].Holds = []pipeline.HoldChange{{ID: IDOf(4), Asset: usd, Delta: -5, Ended: true, NewOrder: true}}
	s.Fees = []pipeline.AssetChange{{Asset: usd, Available: 3}}
	for range 2 {
		require.NoError(t, b.Settle(ctx, c[0], s))
		has(t, b, 7, usd, 97, 0)
		has(t, b, 7, btc, 100, 0)
		require.Zero(t, accountOf(t, b, 7).OpenOrders)
		holdIs(t, b, theirs, pipeline.HoldPlaced, 9)
		has(t, b, 8, usd, 91, 9)
	}
	for _, h := range []pipeline.Hold{holdOf(1, 7, 30), inBtc, holdOf(3, 7, 0)} {
		holdIs(t, b, h, pipeline.HoldEnded, 0)
		require.ErrorIs(t, b.Hold(ctx, h), pipeline.ErrHoldEnded)
	}
	placed, err := b.Placed(ctx, 1<<62, nil, 9)
	require.NoError(t, err)
	require.Len(t, placed, 1)
	require.Equal(t, theirs, placed[0].Hold)
	// An open hold is given back as well.
	require.NoError(t, b.Hold(ctx, holdOf(6, 7, 30)))
	require.NoError(t, b.Settle(ctx, c[1], spent(7, 6, -10, false)))
	more := Commit(t, instA, 3)
	require.NoError(t, b.Settle(ctx, more[2], refused(7, 6)))
	has(t, b, 7, usd, 87, 0)
	require.Zero(t, accountOf(t, b, 7).OpenOrders)
}

func settleRefusedUnknown(t testing.TB, open Open[pipeline.Balances]) {
	b, ctx := deposited(t, open, 100, 7), t.Context()
	c := Commit(t, instA, 1)
	s := &pipeline.Settlement{Accounts: append(refused(7, 1).Accounts, refused(9, 2).Accounts...)} // nobody has named 9
	for range 2 {
		require.NoError(t, b.Settle(ctx, c[0], s))
		settledIs(t, b, instA, 1)
	}
	require.ErrorIs(t, b.Hold(ctx, holdOf(1, 7, 30)), pipeline.ErrHoldEnded)
	require.ErrorIs(t, b.Hold(ctx, holdOf(2, 9, 0)), pipeline.ErrHoldEnded)
	has(t, b, 7, usd, 100, 0)
	require.Zero(t, accountOf(t, b, 7).OpenOrders)
	placed, err := b.Placed(ctx, 1<<62, nil, 9)
	require.NoError(t, err)
	require.Empty(t, placed)
	require.NoError(t, b.Hold(ctx, holdOf(3, 7, 30)), "another")
}

func settleRefusedEnded(t testing.TB, open Open[pipeline.Balances]) {
	b, c := both(t, open), Commit(t, instA, 3)
	require.NoError(t, b.Settle(t.Context(), c[0], traded(1, 2)))
	require.NoError(t, b.Settle(t.Context(), c[1], refused(7, 1)))
	require.NoError(t, b.Settle(t.Context(), c[2], refused(8, 2)))
	settledIs(t, b, instA, 3)
	tradedIs(t, b)
	holdIs(t, b, holdOf(1, 7, 53), pipeline.HoldEnded, 0)
}

func settleFees(t testing.TB, open Open[pipeline.Balances]) {
	b, c := deposited(t, open, 100, 7), Commit(t, instA, 3)
	rebate := func(asset exchange.AssetID, n exchange.Amount) *pipeline.Settlement {
		return &pipeline.Settlement{Accounts: []pipeline.AccountSettlement{{Account: 7, Assets: []pipeline.AssetChange{{Asset: asset, Available: n}}}}, Fees: []pipeline.AssetChange{{Asset: asset, Available: -n}}}
	}
	require.NoError(t, b.Settle(t.Context(), c[0], rebate(btc, 30)))
	venueIs(t, b, instA, fee(btc, -30))
	require.NoError(t, b.Settle(t.Context(), c[1], rebate(usd, -20)))
	venueIs(t, b, instA, fee(usd, 20), fee(btc, -30))
	require.NoError(t, b.Settle(t.Context(), c[2], rebate(usd, 25)))
	venueIs(t, b, instA, fee(usd, -5), fee(btc, -30))
	venueIs(t, b, instB)
	has(t, b, 7, usd, 105, 0)
	has(t, b, 7, btc, 130, 0)
}
