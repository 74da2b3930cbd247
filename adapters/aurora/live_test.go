//go:build live

package aurora_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// TestLive runs the suite on a real cluster, a schema a case, which it drops.
// EXCHANGE_AURORA_URL is its writer endpoint with a role that may create
// schemas, EXCHANGE_AURORA_READER_URL the reader's.
func TestLive(t *testing.T) {
	writer, reader := os.Getenv("EXCHANGE_AURORA_URL"), os.Getenv("EXCHANGE_AURORA_READER_URL")
	if writer == "" || reader == "" {
		t.Fatal("EXCHANGE_AURORA_URL and EXCHANGE_AURORA_READER_URL are needed")
	}
	n := 0
	open := func(t testing.TB) *aurora.Store {
		n++
		schema := fmt.Sprintf("exchange_live_%d_%d", time.Now().Unix(), n)
		on(t, writer, "CREATE SCHEMA "+schema)
		t.Cleanup(func() { dropSchema(t, writer, schema) })
		url := with(t, writer, "search_path", schema)
		require.NoError(t, aurora.Migrate(t.Context(), url))
		s, err := aurora.Open(t.Context(), aurora.Config{URL: url, ReaderURL: with(t, reader, "search_path", schema)})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	t.Run("suite", func(t *testing.T) {
		exchangetest.TestTradeStore(t, func(t testing.TB) pipeline.TradeStore { return open(t) })
	})
	t.Run("the reader follows", func(t *testing.T) {
		s := open(t)
		require.NoError(t, s.Record(t.Context(), exchangetest.Commit(t, inst, 1)[0], one(1)))
		began := time.Now()
		require.Eventually(t, func() bool {
			trades, err := s.Reader().Trades(t.Context(), pipeline.TradeQuery{Instrument: inst, Limit: 1})
			return err == nil && len(trades) == 1
		}, 30*time.Second, time.Millisecond)
		t.Logf("the reader was %v behind", time.Since(began))
	})
	// Start a failover (aws rds failover-db-cluster) while this runs, for which it
	// is asked with EXCHANGE_AURORA_FAILOVER=1.
	if os.Getenv("EXCHANGE_AURORA_FAILOVER") == "1" {
		t.Run("a failover", func(t *testing.T) {
			s := open(t)
			const items = 900
			c := exchangetest.Commit(t, inst, items)
			var worst time.Duration
			for i, end := 0, time.Now().Add(2*time.Minute); i < items && time.Now().Before(end); i++ {
				began := time.Now()
				require.NoError(t, s.Record(t.Context(), c[i], one(i+1)))
				worst = max(worst, time.Since(began))
				once(t, s, i+1)
			}
			t.Logf("the longest Record took %v", worst)
		})
	}
	require.True(t, strings.Contains(writer, "sslmode=verify"), "a real cluster is reached with verified certificates alone")
}

func dropSchema(t testing.TB, url, schema string) {
	ctx := context.Background() // the test's own has ended
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
	require.NoError(t, err)
}
