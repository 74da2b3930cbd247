// Package aurora keeps trades and orders in PostgreSQL, 14 or later: a
// pipeline.TradeStore. On AWS it is Aurora PostgreSQL.
//
//	err := aurora.Migrate(ctx, adminURL) // once per release, before it starts
//	...
//	store, err := aurora.Open(ctx, aurora.Config{
//		URL:       "postgres://recorder@venue.cluster-abc.us-east-1.rds.amazonaws.com/venue?sslmode=verify-full&sslrootcert=/etc/rds-ca.pem",
//		ReaderURL: "postgres://recorder@venue.cluster-ro-abc.us-east-1.rds.amazonaws.com/venue?sslmode=verify-full&sslrootcert=/etc/rds-ca.pem",
//		BeforeConnect: func(ctx context.Context, c *pgx.ConnConfig) (err error) {
//			c.Password, err = secret.Current(ctx) // rotates; or a token of IAM
//			return err
//		},
//	})
//	...
//	defer store.Close()
//
// # What it promises
//
// A Record is one transaction and, past the first of a connection, one round
// trip: it moves the instrument's cursor, which it locks, writes orders and
// trades from arrays, adds to the candles, and commits. So an item is recorded
// whole or not at all, and once, whoever else records it at the same time. When
// the answer to a commit is lost, the next attempt finds the cursor moved, if
// need be after waiting for the transaction that still runs, and is done.
//
// Calls go on through a failover: connections that break or are refused,
// servers that shut down, start up or have become a reader, and transactions
// that got in each other's way are tried again, with growing pauses, for
// Config.RetryFor. No connection of the writer's pool is taken that leads to a
// reader. All other errors come back at once. Errors name no account, and show
// no row of the database.
//
// # Writer and reader
//
// Store reads everything from the writer, as the services of the pipeline need
// it: a TradeRecorder reads the orders it has written, MarketData expects
// candles up to what Recorded says. Store.Reader is for people who look at
// lists: its pages come from the reader endpoint, and lag, on Aurora mostly
// below 100 ms. An order or a trade just made may be missing there, and two
// pages may come from replicas of different age.
//
// # The schema
//
//	cursors   how far each instrument is recorded
//	orders    by (command id, created), in partitions by created
//	trades    by (instrument, id, time), in partitions by time
//	candles   of a minute, an hour and a day, by (instrument, width, start)
//
// Times are Unix nanoseconds, as in the pipeline: a timestamptz has no more than
// microseconds. For reading by hand: to_timestamp(time / 1e9). Unsigned numbers
// are the bigint of the same bits.
//
// orders and trades have a partition for each calendar month (UTC), named
// orders_2026_03. A month rather than a day, because a search by id asks, from
// the newest on, each partition until it has found, and locks all of them with
// their indexes (7 locks for each of orders): with years of days the lock table
// of a default server would be full. Give max_locks_per_transaction room: with
// 24 months kept, 64 of the default serve 38 queries at the same moment.
//
// Record makes the partitions of the months it has rows in, when it meets one
// for the first time, each with that of the month behind it; add_partitions(date,
// months) makes more, by hand or by pg_cron. There is no default partition: rows
// would gather there unseen and stand in the way of the one that is due. To
// remove old months, detach or drop the partitions. A detached one must be
// renamed or moved to another schema: an order of that month that changes, such
// as one that is good till cancelled, makes the partition anew, and where the
// name is taken Record fails with the name, and nothing is recorded until it is
// free. Candles are kept for good.
//
// A role that records, and makes no tables, needs:
//
//	GRANT USAGE ON SCHEMA ... TO recorder;
//	GRANT SELECT ON trade_store_schema TO recorder;
//	GRANT SELECT, INSERT, UPDATE ON cursors, orders, trades, candles TO recorder;
//	GRANT EXECUTE ON FUNCTION add_partitions(date, integer), advance(bigint, bigint, bigint, bigint) TO recorder;
//
// # What it relies on
//
// On Aurora it relies on a commit that was confirmed surviving the loss of the
// writer, on row locks and READ COMMITTED being PostgreSQL's, on the cluster
// endpoint leading to the writer within Config.RetryFor after a failover, and on
// synchronous_commit being on, as it is by default. The tests run on a plain
// PostgreSQL that they kill, make read-only and cut off. They cannot show how
// long a failover takes, how far readers lag, that RDS' certificates and IAM's
// tokens are accepted, or what RDS Proxy makes of prepared statements (it pins
// the session; default_query_exec_mode=exec in the URL does without). Tests under
// the build tag live are for a real cluster.
package aurora
