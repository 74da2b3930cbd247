package aurora

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// query runs one statement and returns its rows. One statement sees one state
// of the database: items whole or not at all.
func query[T any](ctx context.Context, s tradeStore, pool *pgxpool.Pool, scan pgx.RowToFunc[T], sql string, args ...any) (out []T, err error) {
	err = s.attempts(ctx, pool, func(ctx context.Context) error {
		rows, err := pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scan)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkLimit(limit int) error {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	return nil
}

// Recorded implements pipeline.TradeStore. It asks the writer.
func (s tradeStore) Recorded(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	found, err := query(ctx, s, s.writer, pgx.RowTo[int64], "SELECT position FROM cursors WHERE instrument = $1", int64(inst))
	if err != nil {
		return 0, fmt.Errorf("cursor of instrument %d: %w", inst, err)
	}
	if len(found) == 0 {
		return 0, nil
	}
	return pipeline.Position(found[0]), nil
}

var selectOrders = "SELECT " + orderColumns.names() + " FROM orders WHERE "

// order reads one order from the writer: who asks for one has often just
// written it. The search goes from the newest partition on.
func (s tradeStore) order(ctx context.Context, where string, args ...any) (pipeline.OrderRecord, error) {
	found, err := query(ctx, s, s.writer, scanOrder, selectOrders+where+" LIMIT 1", args...)
	switch {
	case err != nil:
		return pipeline.OrderRecord{}, err
	case len(found) == 0:
		return pipeline.OrderRecord{}, pipeline.ErrNotFound
	}
	return found[0], nil
}

const (
	whereCommand = "command_id = $1 ORDER BY created DESC"
	whereOrder   = "instrument = $1 AND order_id = $2 AND order_id <> 0 ORDER BY created DESC"
	whereClient  = "account = $1 AND client_id = $2 AND client_id <> '' ORDER BY created DESC, command_id DESC"
)

// OrderByCommand implements pipeline.TradeStore. It asks the writer.
func (s tradeStore) OrderByCommand(ctx context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	o, err := s.order(ctx, whereCommand, [16]byte(id))
	if err != nil {
		return o, fmt.Errorf("order of command %x: %w", id, err)
	}
	return o, nil
}

// OrderByID implements pipeline.TradeStore. It asks the writer.
func (s tradeStore) OrderByID(ctx context.Context, inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
	o, err := s.order(ctx, whereOrder, int64(inst), int64(id))
	if err != nil {
		return o, fmt.Errorf("order %d of instrument %d: %w", id, inst, err)
	}
	return o, nil
}

// OrderByClientID implements pipeline.TradeStore. It asks the writer.
func (s tradeStore) OrderByClientID(ctx context.Context, acct exchange.AccountID, clientID string) (pipeline.OrderRecord, error) {
	o, err := pipeline.OrderRecord{}, error(pipeline.ErrNotFound)
	if isText(clientID) { // no other was recorded, and the server would refuse to look
		o, err = s.order(ctx, whereClient, int64(acct), clientID)
	}
	if err != nil {
		return o, fmt.Errorf("order by its client's id: %w", err)
	}
	return o, nil
}

// The newest of an account, below (created, command id) $2 and $3. The bound on
// created alone is what partitions are chosen by.
const (
	whereOrders = "account = $1 AND created <= $2 AND (created, command_id) < ($2, $3)"
	orderOrders = " ORDER BY created DESC, command_id DESC LIMIT $4"
	ofLive      = " AND status IN (1, 2)"
	ofOrdersIn  = " AND instrument = $5"
)

// Orders implements pipeline.TradeStore.
func (s tradeStore) Orders(ctx context.Context, q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	sql, args := ordersQuery(q)
	out, err := query(ctx, s, s.pages, scanOrder, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	return out, nil
}

func ordersQuery(q pipeline.OrderQuery) (string, []any) {
	created, id := exchange.Time(math.MaxInt64), exchange.CommandID(bytes.Repeat([]byte{0xff}, 16)) // nothing is created then
	if q.Before != nil {
		created, id = q.Before.Created, q.Before.CommandID
	}
	sql, args := selectOrders+whereOrders, []any{int64(q.Account), int64(created), [16]byte(id), q.Limit}
	if q.LiveOnly {
		sql += ofLive
	}
	if q.Instrument != 0 {
		sql += ofOrdersIn
		args = append(args, int64(q.Instrument))
	}
	return sql + orderOrders, args
}

var selectTrades = "SELECT " + tradeColumns.names() + " FROM trades WHERE "

// The bound on time is that of a partition; within one it holds for every row.
const whereTrades = "instrument = $1 AND id <= $2 AND time >= $3 ORDER BY id DESC LIMIT $4"

// Trades implements pipeline.TradeStore.
func (s tradeStore) Trades(ctx context.Context, q pipeline.TradeQuery) ([]pipeline.Trade, error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("trades: %w", err)
	}
	sql, args := tradesQuery(q)
	out, err := query(ctx, s, s.pages, scanTrade, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("trades: %w", err)
	}
	if q.Since != 0 {
		for i := range out {
			if out[i].Time < q.Since { // an instrument's time never goes back
				return out[:i], nil
			}
		}
	}
	return out, nil
}

func tradesQuery(q pipeline.TradeQuery) (string, []any) {
	last, since := MaxTradeID, exchange.Time(math.MinInt64)
	if q.Before != 0 {
		last = min(q.Before-1, MaxTradeID)
	}
	if q.Since != 0 {
		since = monthOf(q.Since).floor()
	}
	return selectTrades + whereTrades, []any{int64(q.Instrument), int64(last), int64(since), q.Limit}
}

// The newest of an account, up to (time, instrument, id) $2, $3 and $4; or of
// an account in an instrument, up to (time, id) $2 and $3. A trade with itself
// is found among those taken.
var (
	selectFills   = fills("time <= $2 AND (time, instrument, id) <= ($2, $3, $4)", "ORDER BY time DESC, instrument DESC, id DESC LIMIT $5")
	selectFillsIn = fills("instrument = $4 AND time <= $2 AND (time, id) <= ($2, $3)", "ORDER BY time DESC, id DESC LIMIT $5")
)

func fills(where, order string) string {
	of := func(party string) string { return "(" + selectTrades + party + "_account = $1 AND " + where }
	return of("taker") + " " + order + ") UNION ALL " + of("maker") + " AND taker_account <> $1 " + order + ") " + order
}

// Fills implements pipeline.TradeStore.
func (s tradeStore) Fills(ctx context.Context, q pipeline.FillQuery) ([]pipeline.Trade, error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("fills: %w", err)
	}
	sql, args := fillsQuery(q)
	out, err := query(ctx, s, s.pages, scanTrade, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("fills: %w", err)
	}
	return out, nil
}

func fillsQuery(q pipeline.FillQuery) (string, []any) {
	at, inst, id := exchange.Time(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64)
	if q.Before != nil {
		at, inst, id = q.Before.Time, int64(q.Before.Instrument), int64(min(q.Before.ID, MaxTradeID))-1
		if q.Before.ID > MaxTradeID {
			id++ // there is none of that id, and all others are below it
		}
	}
	if q.Instrument == 0 {
		return selectFills, []any{int64(q.Account), int64(at), inst, id, q.Limit}
	}
	if q.Before != nil {
		switch cmp.Compare(q.Instrument, q.Before.Instrument) { // of one time those of lower instruments come before
		case -1:
			id = math.MaxInt64
		case 1:
			id = 0
		}
	}
	return selectFillsIn, []any{int64(q.Account), int64(at), id, int64(q.Instrument), q.Limit}
}

// Of one width, from start $3 to start $4, the newest.
var selectCandles = "SELECT " + candleColumns.names() + " FROM candles WHERE instrument = $1 AND width = $2 AND start BETWEEN $3 AND $4 ORDER BY start DESC LIMIT $5"

// Candles implements pipeline.TradeStore. A volume beyond 2^63-1 stays there.
func (s tradeStore) Candles(ctx context.Context, q pipeline.CandleQuery) (out []pipeline.Candle, err error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("candles: %w", err)
	}
	if q.Interval < minute || q.Interval%minute != 0 || day%q.Interval != 0 {
		return nil, fmt.Errorf("candles: %w: an interval of %d ns, expected a multiple of one minute that divides a day", pipeline.ErrInvalid, q.Interval)
	}
	sql, args := candlesQuery(q)
	parts, err := query(ctx, s, s.pages, scanCandle, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("candles: %w", err)
	}
	for i := range parts {
		c := parts[i]
		c.Start = startOf(c.Start, q.Interval)
		n := len(out)
		switch {
		case c.Start < q.From || q.Before != 0 && c.Start >= q.Before:
		case n > 0 && out[n-1].Start == c.Start:
			addCandle(&c, &out[n-1])
			out[n-1] = c
		case n == q.Limit:
			return out, nil
		default:
			out = append(out, c)
		}
	}
	return out, nil
}

// candlesQuery asks for as many candles as Limit intervals have at most, of the
// widest that are kept and fit.
func candlesQuery(q pipeline.CandleQuery) (string, []any) {
	kept := minute
	for _, w := range candleWidths {
		if q.Interval%w == 0 {
			kept = w
		}
	}
	last := exchange.Time(math.MaxInt64)
	if q.Before != 0 {
		last = startOf(max(q.Before, math.MinInt64+q.Interval)-1, q.Interval) // the last interval that begins before it
		last += min(q.Interval-1, math.MaxInt64-last)
	}
	rows := int64(q.Limit) * int64(q.Interval/kept)
	return selectCandles, []any{int64(q.Instrument), int64(kept), int64(q.From), int64(last), rows}
}
