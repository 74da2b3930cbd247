package dynamodb_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// asked counts what is asked of a server, by operation, under a wire's rules.
type asked struct {
	mu sync.Mutex
	n  map[string]int
}

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	a.mu.Lock()
	a.n[operation]++
	a.mu.Unlock()
	return transport.RoundTrip(r)
}

func (a *asked) take() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.n
	a.n = map[string]int{}
	return n
}

func newAsked(t testing.TB) (*asked, *dynamodb.Balances) {
	a := &asked{n: map[string]int{}}
	_, table := newTables(t)
	client := newClient(t, nil, func(o *ddb.Options) { o.HTTPClient = &http.Client{Transport: a} })
	b, err := dynamodb.NewBalances(client, dynamodb.BalancesConfig{Table: table, Now: epoch})
	require.NoError(t, err)
	for acct := range exchange.AccountID(9) {
		require.NoError(t, b.Deposit(t.Context(), pipeline.Transfer{ID: id(900 + int(acct)), Account: acct + 1, Asset: 1, Amount: 100}))
	}
	a.take()
	return a, b
}

// A hold that nothing speaks against is one request, and several at a time are
// fewer than one each. One that is refused keeps no other from being placed.
func TestHoldsTogether(t *testing.T) {
	t.Parallel()
	a, b := newAsked(t)
	ctx := t.Context()
	require.NoError(t, b.Hold(ctx, hold(1, 1, 10)))
	require.Equal(t, map[string]int{"TransactWriteItems": 1}, a.take())
	require.NoError(t, b.Hold(ctx, hold(1, 1, 10)), "again")
	require.ErrorIs(t, b.Hold(ctx, hold(2, 1, 91)), exchange.InsufficientFunds)
	require.NoError(t, b.SetLimits(ctx, 2, pipeline.AccountLimits{MaxOpenOrders: 1}))
	a.take()
	// Accounts 3 to 8 have one each; 2 has a limit of one; 9 asks for too much;
	// two of account 3 are more than it has.
	holds := []pipeline.Hold{hold(20, 2, 1), hold(21, 2, 1), hold(90, 9, 101), hold(30, 3, 60), hold(31, 3, 60)}
	for acct := 4; acct < 9; acct++ {
		holds = append(holds, hold(10*acct, exchange.AccountID(acct), 5))
	}
	for i := range holds {
		holds[i].NewOrder = true
	}
	errs := make([]error, len(holds))
	var placing sync.WaitGroup
	for i := range holds {
		placing.Go(func() { errs[i] = b.Hold(ctx, holds[i]) })
	}
	placing.Wait()
	refused := map[exchange.AccountID]int{}
	for i, err := range errs {
		if err != nil {
			refused[holds[i].Account]++
		}
	}
	require.Equal(t, map[exchange.AccountID]int{2: 1, 3: 1, 9: 1}, refused, "%v", errs)
	has(t, b, 2, 99, 1, 1)
	has(t, b, 3, 40, 60, 1)
	has(t, b, 9, 100, 0, 0)
	for acct := exchange.AccountID(4); acct < 9; acct++ {
		has(t, b, acct, 95, 5, 1)
	}
}

// Items that follow each other are booked in two requests, as one after the
// other; what is wrong with one of them keeps nothing before it from being
// booked.
func TestSettleAll(t *testing.T) {
	t.Parallel()
	a, b := newAsked(t)
	ctx, items := t.Context(), exchangetest.Commit(t, 1, 6)
	require.NoError(t, b.Hold(ctx, hold(1, 1, 50)))
	require.NoError(t, b.Hold(ctx, hold(2, 2, 50)))
	a.take()
	steps := []*pipeline.Settlement{spend(1, 1, -10, false), spend(2, 2, -20, false), spend(1, 1, -15, false), spend(2, 2, -30, true)}
	done, err := b.SettleAll(ctx, items[:4], steps)
	require.NoError(t, err)
	require.Equal(t, 4, done)
	require.Equal(t, map[string]int{"BatchGetItem": 1, "TransactWriteItems": 1}, a.take())
	check := func(settled pipeline.Position) {
		t.Helper()
		at, err := b.Settled(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, settled, at)
		one, err := b.HoldByID(ctx, 1, id(1))
		require.NoError(t, err)
		require.EqualValues(t, 25, one.Remaining)
		two, err := b.HoldByID(ctx, 2, id(2))
		require.NoError(t, err)
		require.Equal(t, pipeline.HoldEnded, two.State)
		venue, err := b.Venue(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, []pipeline.AssetBalance{{Asset: 1, Balance: exchange.Balance{Available: 75}}}, venue)
	}
	check(4)
	done, err = b.SettleAll(ctx, items[2:4], steps[2:4])
	require.NoError(t, err, "again")
	require.Equal(t, 2, done)
	check(4)
	_, err = b.SettleAll(ctx, items[5:], steps[:1])
	require.ErrorIs(t, err, pipeline.ErrGap)
	_, err = b.SettleAll(ctx, []pipeline.Committed{items[4], items[3]}, steps[:2])
	require.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = b.SettleAll(ctx, make([]pipeline.Committed, 1), steps[:1])
	require.ErrorIs(t, err, pipeline.ErrNotCommitted)
	// The second takes more of the hold than there is.
	done, err = b.SettleAll(ctx, items[4:], []*pipeline.Settlement{{}, spend(1, 1, -26, false)})
	require.ErrorIs(t, err, pipeline.ErrInvalid)
	require.Equal(t, 1, done)
	check(5)
}

// Items of several instruments that are appended at the same time go into
// fewer transactions, and one that is fenced keeps no other out.
func TestAppendsTogether(t *testing.T) {
	t.Parallel()
	table, _ := newTables(t)
	j, ctx := newJournal(t, table, nil), context.Background()
	require.NoError(t, j.Append(ctx, 3, pipeline.Item{Head: pipeline.Head{Position: 1}, Data: []byte("there")}))
	errs := make([]error, 8)
	var appending sync.WaitGroup
	for i := range errs {
		appending.Go(func() {
			errs[i] = j.Append(ctx, exchange.InstrumentID(i+1), pipeline.Item{Head: pipeline.Head{Position: 1}, Data: []byte{byte(i)}})
		})
	}
	appending.Wait()
	for i, err := range errs {
		if i == 2 {
			require.ErrorIs(t, err, pipeline.ErrFenced)
			continue
		}
		require.NoError(t, err)
		got, err := j.Read(ctx, exchange.InstrumentID(i+1), 1, 10)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.True(t, bytes.Equal(got[0].Data, []byte{byte(i)}))
	}
}
