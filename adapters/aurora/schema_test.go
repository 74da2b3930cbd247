package aurora_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

func TestMigrate(t *testing.T) {
	url := newURL(t)
	_, err := aurora.Open(t.Context(), aurora.Config{URL: url})
	require.ErrorIs(t, err, aurora.ErrSchema, "nobody has called Migrate")

	errs := make(chan error)
	for range 4 {
		go func() { errs <- aurora.Migrate(t.Context(), with(t, url, "pool_max_conns", "2")) }()
	}
	for range 4 {
		require.NoError(t, <-errs, "at the same time")
	}
	require.NoError(t, aurora.Migrate(t.Context(), url), "again")
	require.Equal(t, []string{"1"}, on(t, url, "SELECT count(*) FROM trade_store_schema WHERE version_id > 0"), "each was applied once")

	files, err := os.ReadDir("migrations")
	require.NoError(t, err)
	newest := files[len(files)-1].Name()
	require.True(t, strings.HasPrefix(newest, fmt.Sprintf("%05d_", aurora.SchemaVersion)), "the release needs the newest migration, %s", newest)

	s := openAt(t, aurora.Config{URL: url})
	require.NoError(t, s.Record(t.Context(), exchangetest.Commit(t, inst, 1)[0], one(1)))
	require.NoError(t, aurora.Migrate(t.Context(), url), "with something in it")
	once(t, s, 1)

	on(t, url, "DELETE FROM trade_store_schema WHERE version_id = 1")
	_, err = aurora.Open(t.Context(), aurora.Config{URL: url})
	require.ErrorIs(t, err, aurora.ErrSchema, "an old one")
	require.ErrorContains(t, err, "version 0")

	require.Error(t, aurora.Migrate(t.Context(), "postgres://postgres:hidden@"+server.Addr+"/nowhere?sslmode=disable"))
	for _, bad := range []string{"", "postgres://u:hidden@[", with(t, url, "sslmode", "perhaps")} {
		_, err := aurora.Open(t.Context(), aurora.Config{URL: bad})
		require.ErrorIs(t, err, pipeline.ErrInvalid, bad)
		require.NotContains(t, err.Error(), "hidden")
	}
	_, err = aurora.Open(t.Context(), aurora.Config{URL: url, ReaderURL: "postgres://u:hidden@["})
	require.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = aurora.Open(t.Context(), aurora.Config{URL: url, RetryFor: -1})
	require.ErrorIs(t, err, pipeline.ErrInvalid)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "repeated")
	_, err = s.Recorded(t.Context(), inst)
	require.ErrorIs(t, err, aurora.ErrClosed)
}

// Rows lie in the partition of their month, to the nanosecond; partitions are
// made ahead, by need, and by several at once; there is no default one.
func TestPartitions(t *testing.T) {
	url := newURL(t)
	s := openAt(t, aurora.Config{URL: url})
	march := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	times := []int64{math.MinInt64, -1, 0, march - 1, march, march + 1, time.Date(2028, 2, 29, 23, 59, 59, 999999999, time.UTC).UnixNano(), math.MaxInt64 - 1}
	want := []string{"1677_09", "1969_12", "1970_01", "2026_02", "2026_03", "2026_03", "2028_02", "2262_04"}
	c := exchangetest.Commit(t, inst, len(times)+3)
	for i, at := range times {
		o := order(i + 1)
		o.Created = exchange.Time(at)
		require.NoError(t, s.Record(t.Context(), c[i], &pipeline.Record{Orders: []pipeline.OrderRecord{o}, Trades: []pipeline.Trade{trade(i+1, exchange.Time(at))}}), want[i])
	}
	for table, key := range map[string]string{"orders": "order_id", "trades": "id"} {
		got := on(t, url, "SELECT tableoid::regclass FROM "+table+" ORDER BY "+key)
		for i := range want {
			require.Equal(t, table+"_"+want[i], got[i], "time %d", times[i])
		}
		ahead := on(t, url, "SELECT count(*) FROM pg_inherits WHERE inhparent = '"+table+"'::regclass AND inhrelid IN ('"+table+"_2026_04'::regclass, '"+table+"_2028_03'::regclass)")
		require.Equal(t, []string{"2"}, ahead, "the month behind is made ahead")
		require.Equal(t, []string{"0"}, on(t, url, "SELECT partdefid FROM pg_partitioned_table WHERE partrelid = '"+table+"'::regclass"), "no default partition")
		require.Equal(t, []string{"2"}, on(t, url, "SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = '"+table+"'::regclass AND (pg_get_expr(relpartbound, oid) LIKE '%MINVALUE%' OR pg_get_expr(relpartbound, oid) LIKE '%MAXVALUE%')"), "the first and the last month have no end")
	}
	orders, err := s.Orders(t.Context(), pipeline.OrderQuery{Account: 1001, Limit: 99})
	require.NoError(t, err)
	require.Len(t, orders, len(times))
	require.True(t, slices.IsSortedFunc(orders, func(a, b pipeline.OrderRecord) int { return -int(a.OrderID) + int(b.OrderID) }), "the newest first, over all partitions")
	// Pages that begin on either side of a boundary.
	for i := range orders {
		page, err := s.Orders(t.Context(), pipeline.OrderQuery{Account: 1001, Before: &orders[i], Limit: 2})
		require.NoError(t, err)
		require.Equal(t, append([]pipeline.OrderRecord{}, orders[i+1:min(len(orders), i+3)]...), append([]pipeline.OrderRecord{}, page...))
	}
	trades, err := s.Trades(t.Context(), pipeline.TradeQuery{Instrument: inst, Since: exchange.Time(march), Limit: 99})
	require.NoError(t, err)
	require.Len(t, trades, 4, "since the month began")
	trades, err = s.Trades(t.Context(), pipeline.TradeQuery{Instrument: inst, Since: exchange.Time(march - 1), Limit: 99})
	require.NoError(t, err)
	require.Len(t, trades, 5)

	// One that was dropped, as an operator does with old ones, is made again by
	// who needs it; the others' time goes on.
	on(t, url, "DROP TABLE orders_1970_01")
	late := order(3)
	late.Status = pipeline.OrderCanceled
	late.Created = 0
	n := len(times)
	require.NoError(t, s.Record(t.Context(), c[n], &pipeline.Record{Orders: []pipeline.OrderRecord{late}}))
	got, err := s.OrderByCommand(t.Context(), late.CommandID)
	require.NoError(t, err)
	require.Equal(t, late, got)

	// One that was detached keeps its name: that is refused, nothing is lost.
	on(t, url, "ALTER TABLE orders DETACH PARTITION orders_1970_01")
	brief := openAt(t, aurora.Config{URL: url, RetryFor: 200 * time.Millisecond})
	require.ErrorContains(t, brief.Record(t.Context(), c[n+1], &pipeline.Record{Orders: []pipeline.OrderRecord{late}}), "orders_1970_01")
	at, err := s.Recorded(t.Context(), inst)
	require.NoError(t, err)
	require.Equal(t, pipeline.Position(n+1), at)
	on(t, url, "ALTER TABLE orders_1970_01 RENAME TO kept")
	require.NoError(t, s.Record(t.Context(), c[n+1], &pipeline.Record{Orders: []pipeline.OrderRecord{late}}))

	// Many processes at the turn of a month.
	errs := make(chan error)
	for i := range 6 {
		go func() {
			other, err := aurora.Open(t.Context(), aurora.Config{URL: url})
			if err == nil {
				defer other.Close()
				o := order(1)
				o.CommandID[0], o.Instrument, o.Created = 1, exchange.InstrumentID(100+i), exchange.Time(time.Date(2031, 5, 1, 0, 0, 0, i, time.UTC).UnixNano())
				err = other.Record(t.Context(), exchangetest.Commit(t, o.Instrument, 1)[0], &pipeline.Record{Orders: []pipeline.OrderRecord{o}})
			}
			errs <- err
		}()
	}
	for range 6 {
		require.NoError(t, <-errs)
	}

	for _, months := range []int{0, -1, 121} {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "SELECT add_partitions('2040-01-15', $1)", months)
		require.ErrorContains(t, err, "expected 1 to 120")
		require.NoError(t, conn.Close(t.Context()))
	}
	kiritimati := "SET TimeZone = 'Pacific/Kiritimati'" // where months begin 14 hours earlier
	require.Equal(t, []string{"4"}, on(t, url, kiritimati, "SELECT add_partitions('2040-01-15', 2)"))
	require.Equal(t, []string{"0"}, on(t, url, "SELECT add_partitions('2040-01-15', 2)"), "they are there")
	first := fmt.Sprint(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	require.Contains(t, on(t, url, "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'orders_2040_01'::regclass")[0], "FROM ('"+first+"')")
	require.Equal(t, []string{"0"}, on(t, url, "SELECT add_partitions('2262-04-30', 120)"), "no time lies behind this month")
}

// Who records needs no right to create tables, and no more than these.
func TestLeastPrivilege(t *testing.T) {
	url := newURL(t)
	require.NoError(t, aurora.Migrate(t.Context(), url))
	schema := url[strings.LastIndex(url, "test_"):]
	if i := strings.IndexByte(schema, '&'); i >= 0 {
		schema = schema[:i]
	}
	role := "recorder_" + schema
	on(t, url, "CREATE ROLE "+role+" LOGIN", "GRANT USAGE ON SCHEMA "+schema+" TO "+role,
		"GRANT SELECT ON trade_store_schema TO "+role, "GRANT SELECT, INSERT, UPDATE ON cursors, orders, trades, candles TO "+role,
		"GRANT EXECUTE ON FUNCTION add_partitions(date, integer), advance(bigint, bigint, bigint, bigint) TO "+role)
	s, err := aurora.Open(t.Context(), aurora.Config{URL: strings.Replace(url, "postgres@", role+"@", 1)})
	require.NoError(t, err)
	defer s.Close()
	c := exchangetest.Commit(t, inst, 2)
	for i := range c {
		require.NoError(t, s.Record(t.Context(), c[i], one(i+1)))
	}
	once(t, s, 2)
}

// At 100,000 orders and trades the queries that people wait for use indexes
// alone, with the plan for their values and with the one for any, and read
// little more than what they return.
func TestPlans(t *testing.T) {
	url := newURL(t)
	require.NoError(t, aurora.Migrate(t.Context(), url))
	const rows, perMonth = 100_000, 50_000
	start := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	at := func(n string) string { // 20 days of each of two months
		return fmt.Sprintf("%d + (%s / %d) * 2678400000000000 + (%s %% %d) * 34560000000", start.UnixNano(), n, perMonth, n, perMonth)
	}
	on(t, url, "SELECT add_partitions('2026-01-01', 6)",
		fmt.Sprintf(`INSERT INTO orders SELECT lpad(to_hex(n), 32, '0')::uuid, 'client-' || n, n %% 10 + 1, n, n / 10 * 7919 %% 100 + 1, 1, 1, 1, 0, 0, false,
			CASE WHEN n %% 50 = 0 THEN 1 ELSE 3 END, 0, 100, 0, 1, 0, 1, 0, 0, 0, 0, 0, %s, 0, n FROM generate_series(1, %d) n`, at("n"), rows),
		fmt.Sprintf(`INSERT INTO trades SELECT n %% 10 + 1, n, n, %s, 100, 1, 100, 1, lpad(to_hex(n), 32, '0')::uuid, n, n / 10 * 7919 %% 100 + 1, 0,
			lpad(to_hex(n), 32, '0')::uuid, n, n / 10 * 7907 %% 100 + 1, 0 FROM generate_series(1, %d) n`, at("n"), rows),
		fmt.Sprintf(`INSERT INTO candles SELECT n %% 10 + 1, 60000000000, n * 60000000000, 1, 1, 1, 1, 1, 1 FROM generate_series(1, %d) n`, rows/5),
		"ANALYZE orders", "ANALYZE trades", "ANALYZE candles")
	type plan struct {
		name string
		sql  string
		args []any
		most int // pages of 8 KiB
	}
	add := func(name string, most int, sql string, args ...any) plan { return plan{name, sql, args, most} }
	id := exchangetest.IDOf(0)
	id[15], id[14], id[13] = 0x50, 0xc3, 0 // 50,000
	before := pipeline.OrderRecord{Created: exchange.Time(start.UnixNano() + 10*86400e9), CommandID: id}
	fill := pipeline.Trade{Instrument: 5, ID: 50_000, Time: before.Created}
	ordersOf := func(q pipeline.OrderQuery) plan {
		sql, args := aurora.OrdersQuery(q)
		return add(fmt.Sprintf("orders, %d live %t before %t", q.Instrument, q.LiveOnly, q.Before != nil), 150, sql, args...)
	}
	plans := []plan{
		add("by command", 40, aurora.ByCommand, [16]byte(id)),
		add("by id", 40, aurora.ByID, 5, 50_004),
		add("by client's id", 40, aurora.ByClientID, 1, "client-50000"),
		add("cursor", 9, "SELECT position FROM cursors WHERE instrument = $1", 1),
	}
	for _, q := range []pipeline.OrderQuery{{Account: 8, Limit: 50}, {Account: 8, Instrument: 5, Limit: 50}, {Account: 8, LiveOnly: true, Limit: 50}, {Account: 8, Instrument: 5, LiveOnly: true, Limit: 50},
		{Account: 8, Before: &before, Limit: 50}, {Account: 8, Instrument: 5, Before: &before, Limit: 50}} {
		plans = append(plans, ordersOf(q))
	}
	for _, q := range []pipeline.TradeQuery{{Instrument: 5, Limit: 50}, {Instrument: 5, Before: 50_000, Limit: 50}, {Instrument: 5, Since: before.Created, Limit: 50}} {
		sql, args := aurora.TradesQuery(q)
		plans = append(plans, add(fmt.Sprintf("trades before %d since %d", q.Before, q.Since), 120, sql, args...))
	}
	for _, q := range []pipeline.FillQuery{{Account: 8, Limit: 50}, {Account: 8, Instrument: 5, Limit: 50}, {Account: 8, Before: &fill, Limit: 50}, {Account: 8, Instrument: 5, Before: &fill, Limit: 50}} {
		sql, args := aurora.FillsQuery(q)
		plans = append(plans, add(fmt.Sprintf("fills, %d before %t", q.Instrument, q.Before != nil), 300, sql, args...))
	}
	sql, args := aurora.CandlesQuery(pipeline.CandleQuery{Instrument: 5, Interval: 15 * 60e9, Limit: 100})
	plans = append(plans, add("candles", 400, sql, args...))

	scans := regexp.MustCompile(`Seq Scan on (candles|\w+_2026_0[12])`) // those made ahead are empty
	pages := regexp.MustCompile(`Buffers: shared (?:hit=(\d+))?(?: ?read=(\d+))?`)
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		conn, err := pgx.Connect(t.Context(), with(t, url, "plan_cache_mode", mode))
		require.NoError(t, err)
		for _, p := range plans {
			rows, err := conn.Query(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) "+p.sql, p.args...)
			require.NoError(t, err, p.name)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err, p.name)
			text := strings.Join(lines, "\n")
			require.Contains(t, text, "Index", "%s, %s:\n%s", p.name, mode, text)
			require.NotRegexp(t, scans, text, "%s, %s", p.name, mode)
			found := pages.FindStringSubmatch(text) // those of the root hold all others
			var hit, read int
			_, _ = fmt.Sscan(found[1], &hit) // an empty one is 0
			_, _ = fmt.Sscan(found[2], &read)
			require.LessOrEqual(t, hit+read, p.most, "pages of %s, %s:\n%s", p.name, mode, text)
			t.Logf("%s: %s: %d pages", mode, p.name, hit+read)
		}
		require.NoError(t, conn.Close(t.Context()))
	}
}
