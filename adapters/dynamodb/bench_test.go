package dynamodb_test

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// requests counts what goes over a wire.
func requests() (*wire, *atomic.Int64) {
	var n atomic.Int64
	return &wire{rule: func(string) fault { n.Add(1); return none }}, &n
}

// BenchmarkHold places holds of 64 accounts, 16 at a time. What it measures is
// DynamoDB Local; requests are what it says of AWS.
func BenchmarkHold(b *testing.B) {
	const accounts = 64
	_, table := newTables(b)
	w, n := requests()
	store, ctx := newBalances(b, table, w), b.Context()
	for acct := range accounts {
		require.NoError(b, store.Deposit(ctx, pipeline.Transfer{ID: id(acct + 1), Account: exchange.AccountID(acct + 1), Asset: 1, Amount: 1 << 50}))
	}
	var next atomic.Int64
	n.Store(0)
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(next.Add(1))
			if err := store.Hold(ctx, hold(i, exchange.AccountID(i%accounts+1), 1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(n.Load())/float64(b.N), "requests/op")
}

// BenchmarkSettle settles items of 32 accounts with two filled orders each.
func BenchmarkSettle(b *testing.B) {
	const accounts, orders = 32, 2
	_, table := newTables(b)
	w, n := requests()
	store, ctx := newBalances(b, table, w), b.Context()
	s := &pipeline.Settlement{}
	for acct := range accounts {
		require.NoError(b, store.Deposit(ctx, pipeline.Transfer{ID: id(acct + 1), Account: exchange.AccountID(acct + 1), Asset: 1, Amount: 1 << 50}))
	}
	items := exchangetest.Commit(b, 1, 2*b.N)
	var took int
	n.Store(0)
	b.ResetTimer()
	for i, c := range items {
		*s = pipeline.Settlement{}
		for acct := range accounts {
			a := pipeline.AccountSettlement{Account: exchange.AccountID(acct + 1), Assets: []pipeline.AssetChange{{Asset: 1, Available: -orders, Held: orders}}}
			delta, ended := exchange.Amount(1), false
			if i%2 == 1 {
				a.Assets[0], delta, ended = pipeline.AssetChange{Asset: 1, Available: orders, Held: -orders}, -1, true
			}
			for o := range orders {
				a.Holds = append(a.Holds, pipeline.HoldChange{ID: id(((i/2)*accounts+acct)*orders + o + 1), Asset: 1, Delta: delta, Ended: ended, NewOrder: true})
			}
			slices.SortFunc(a.Holds, func(x, y pipeline.HoldChange) int { return bytes.Compare(x.ID[:], y.ID[:]) })
			s.Accounts = append(s.Accounts, a)
		}
		if i%2 == 0 { // opened, which is not what is measured
			b.StopTimer()
			before := n.Load()
			require.NoError(b, store.Settle(ctx, c, s))
			n.Store(before)
			b.StartTimer()
			continue
		}
		require.NoError(b, store.Settle(ctx, c, s))
		took++
	}
	b.ReportMetric(float64(n.Load())/float64(took), "requests/op")
	b.ReportMetric(accounts*orders, "orders/op")
}

// BenchmarkAppend appends items of 10 KB.
func BenchmarkAppend(b *testing.B) {
	table, _ := newTables(b)
	w, n := requests()
	j, at := newJournal(b, table, w), pipeline.Head{}
	data := filled(10<<10, 1)
	n.Store(0)
	b.ResetTimer()
	for range b.N {
		it := follow(at, data)
		require.NoError(b, j.Append(b.Context(), 1, it))
		at = it.Head
	}
	b.ReportMetric(float64(n.Load())/float64(b.N), "requests/op")
}
