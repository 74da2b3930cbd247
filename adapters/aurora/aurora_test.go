package aurora_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// One PostgreSQL serves all tests, a schema each.
var (
	server  *standin.Server
	missing error
	schemas atomic.Int64
)

// patience is how long a test waits for what must come.
const patience = time.Minute

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "aurora-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL does not run as root
		panic(err)
	}
	server, missing = standin.Postgres(context.Background(), dir)
	if missing != nil && !errors.Is(missing, standin.ErrMissing) {
		panic(missing)
	}
	if server != nil {
		defer func() { _ = server.Stop() }()
		// What the tests kill is the server, not the machine: what is written
		// survives that without a sync, and the tests are faster.
		exec(context.Background(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
	}
	return m.Run()
}

// exec runs statements before there is a test.
func exec(ctx context.Context, statements ...string) {
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		panic(err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			panic(err)
		}
	}
}

// newURL makes a schema and returns the URL whose tables lie in it.
func newURL(t testing.TB) string {
	t.Helper()
	if missing != nil {
		exchangetest.Skip(t, exchangetest.Reason(missing.Error()))
	}
	name := fmt.Sprintf("test_%d", schemas.Add(1))
	admin(t, "CREATE SCHEMA "+name)
	return with(t, server.URL(), "search_path", name)
}

// with sets a parameter of a URL.
func with(t testing.TB, raw, name, value string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// admin runs statements as the superuser and returns the first column of what
// the last one gives.
func admin(t testing.TB, statements ...string) []string {
	t.Helper()
	return on(t, server.URL(), statements...)
}

func on(t testing.TB, url string, statements ...string) (out []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for _, sql := range statements {
		rows, err := conn.Query(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, sql)
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			values, err := row.Values()
			return fmt.Sprint(values[0]), err
		})
		require.NoError(t, err, sql)
	}
	return out
}

// openAt opens a store in a schema that is migrated first.
func openAt(t testing.TB, cfg aurora.Config) *aurora.Store {
	t.Helper()
	require.NoError(t, aurora.Migrate(t.Context(), cfg.URL))
	s, err := aurora.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func openNew(t testing.TB) *aurora.Store { return openAt(t, aurora.Config{URL: newURL(t)}) }

func TestTradeStore(t *testing.T) {
	exchangetest.TestTradeStore(t, func(t testing.TB) pipeline.TradeStore { return openNew(t) })
}

func TestDurableTradeStore(t *testing.T) {
	var url string
	killed := false
	exchangetest.TestDurableTradeStore(t, exchangetest.Durable[pipeline.TradeStore]{
		Open: func(t testing.TB) pipeline.TradeStore {
			url = newURL(t)
			return openAt(t, aurora.Config{URL: url})
		},
		// The first time the server is killed, later the store is closed.
		Reopen: func(t testing.TB, s pipeline.TradeStore) pipeline.TradeStore {
			if !killed {
				killed = true
				require.NoError(t, server.Kill())
				require.NoError(t, server.Restart(t.Context()))
			}
			require.NoError(t, s.(*aurora.Store).Close())
			return openAt(t, aurora.Config{URL: url})
		},
	})
}
