//go:build live

package dynamodb_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// These run against the account and region that the environment names, and cost
// money:
//
//	go test -tags live -run TestLive -timeout 3h ./dynamodb
//
// They make tables named exchange-live-..., and delete them.

func liveClient(t testing.TB) *ddb.Client {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(&http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 4 * dynamodb.MaxParallel}}))
	require.NoError(t, err)
	return ddb.NewFromConfig(cfg)
}

func liveTables(t testing.TB, c *ddb.Client) (journal, balances string) {
	t.Helper()
	run := fmt.Sprintf("exchange-live-%d", time.Now().UnixNano())
	journal, balances = run+"-journal", run+"-balances"
	require.NoError(t, dynamodb.CreateTables(t.Context(), c, journal, balances))
	t.Cleanup(func() {
		for _, name := range []string{journal, balances} {
			if _, err := c.DeleteTable(context.Background(), &ddb.DeleteTableInput{TableName: aws.String(name)}); err != nil {
				t.Errorf("table %s is left: %v", name, err)
			}
		}
	})
	return journal, balances
}

// The suites, on replicated tables. Their times lie in 1970, so that what has
// ended expires then: AWS leaves alone what expired more than five years ago.
func TestLiveSuites(t *testing.T) {
	c := liveClient(t)
	var table string
	journal := func(t testing.TB) pipeline.Journal {
		j, err := dynamodb.NewJournal(c, dynamodb.JournalConfig{Table: table})
		require.NoError(t, err)
		return j
	}
	balances := func(t testing.TB) pipeline.Balances {
		b, err := dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: table, Now: epoch})
		require.NoError(t, err)
		return b
	}
	journals := exchangetest.Durable[pipeline.Journal]{
		Open:   func(t testing.TB) pipeline.Journal { table, _ = liveTables(t, c); return journal(t) },
		Reopen: func(t testing.TB, _ pipeline.Journal) pipeline.Journal { return journal(t) },
	}
	accounts := exchangetest.Durable[pipeline.Balances]{
		Open:   func(t testing.TB) pipeline.Balances { _, table = liveTables(t, c); return balances(t) },
		Reopen: func(t testing.TB, _ pipeline.Balances) pipeline.Balances { return balances(t) },
	}
	t.Run("Journal", func(t *testing.T) { exchangetest.TestJournal(t, journals.Open) })
	t.Run("DurableJournal", func(t *testing.T) { exchangetest.TestDurableJournal(t, journals) })
	t.Run("Balances", func(t *testing.T) { exchangetest.TestBalances(t, accounts.Open) })
	t.Run("DurableBalances", func(t *testing.T) { exchangetest.TestDurableBalances(t, accounts) })
}

// One instrument takes more than its partition does: it is throttled, which
// delays and loses nothing.
func TestLiveThrottledJournal(t *testing.T) {
	c := liveClient(t)
	table, _ := liveTables(t, c)
	j, err := dynamodb.NewJournal(c, dynamodb.JournalConfig{Table: table})
	require.NoError(t, err)
	var items []pipeline.Item
	var at pipeline.Head
	began := time.Now()
	for n := 0; time.Since(began) < time.Minute; n++ {
		it := follow(at, filled(300<<10, byte(n)))
		require.NoError(t, j.Append(t.Context(), inst, it))
		items, at = append(items, it), it.Head
	}
	t.Logf("%d items of 300 KB in a minute: %.0f KB a second", len(items), float64(len(items)*300)/time.Since(began).Seconds())
	reads(t, j, items...)
}

// Processes that meet at one account conserve its funds, with real conflicts.
func TestLiveContention(t *testing.T) {
	c := liveClient(t)
	_, table := liveTables(t, c)
	open := func() *dynamodb.Balances {
		b, err := dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: table, Now: epoch})
		require.NoError(t, err)
		return b
	}
	require.NoError(t, open().Deposit(t.Context(), pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 200}))
	var wg sync.WaitGroup
	for p := range 4 {
		b := open()
		wg.Go(func() {
			for n := range 50 {
				if err := b.Hold(t.Context(), hold(1000*p+n+10, 7, 1)); err != nil {
					t.Errorf("process %d: %v", p, err)
				}
			}
		})
	}
	wg.Wait()
	has(t, open(), 7, 0, 200, 200)
	require.ErrorIs(t, open().Hold(t.Context(), hold(9999, 7, 1)), exchange.InsufficientFunds)
}

// What is to be remembered for a while is still there when its time has not
// come.
func TestLiveTimeToLive(t *testing.T) {
	c := liveClient(t)
	_, table := liveTables(t, c)
	b, err := dynamodb.NewBalances(c, dynamodb.BalancesConfig{Table: table})
	require.NoError(t, err)
	deposit := pipeline.Transfer{ID: id(1), Account: 7, Asset: 1, Amount: 1, Time: exchange.Time(time.Now().UnixNano())}
	require.NoError(t, b.Deposit(t.Context(), deposit))
	require.Eventually(t, func() bool {
		ttl, err := c.DescribeTimeToLive(t.Context(), &ddb.DescribeTimeToLiveInput{TableName: aws.String(table)})
		return err == nil && ttl.TimeToLiveDescription.TimeToLiveStatus == types.TimeToLiveStatusEnabled
	}, time.Hour, 10*time.Second)
	require.NoError(t, b.Deposit(t.Context(), deposit))
	has(t, b, 7, 1, 0, 0)
}
