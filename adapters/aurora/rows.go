package aurora

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// column is a column of a table whose rows are Ts. A statement takes the values
// of many rows as one array a column.
type column[T any] struct {
	name, sqlType string
	values        func(rows []T) any
}

type columns[T any] []column[T]

// col makes a column from the function that reads a row's value.
func col[T, V any](name, sqlType string, value func(row *T) V) column[T] {
	return column[T]{name, sqlType, func(rows []T) any {
		out := make([]V, len(rows))
		for i := range rows {
			out[i] = value(&rows[i])
		}
		return out
	}}
}

// each returns what f makes of every column, separated by commas.
func (cs columns[T]) each(f func(i int, c *column[T]) string) string {
	var out []string
	for i := range cs {
		if s := f(i, &cs[i]); s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

func (cs columns[T]) names() string {
	return cs.each(func(_ int, c *column[T]) string { return c.name })
}

// arrays returns the parameters of values, from a number on.
func (cs columns[T]) arrays(from int) string {
	return cs.each(func(i int, c *column[T]) string { return fmt.Sprintf("$%d::%s[]", from+i, c.sqlType) })
}

// updates returns what an upsert sets: all but the key.
func (cs columns[T]) updates(key ...string) string {
	return cs.each(func(_ int, c *column[T]) string {
		if slices.Contains(key, c.name) {
			return ""
		}
		return c.name + " = excluded." + c.name
	})
}

func (cs columns[T]) values(rows []T) []any {
	out := make([]any, len(cs))
	for i := range cs {
		out[i] = cs[i].values(rows)
	}
	return out
}

const (
	uuid     = "uuid"
	text     = "text"
	bigint   = "bigint"
	integer  = "integer"
	smallint = "smallint"
	boolean  = "boolean"
)

// The order of scanOrder.
var orderColumns = columns[pipeline.OrderRecord]{
	col("command_id", uuid, func(o *pipeline.OrderRecord) [16]byte { return o.CommandID }),
	col("client_id", text, func(o *pipeline.OrderRecord) string { return o.ClientID }),
	col("instrument", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Instrument) }),
	col("order_id", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.OrderID) }),
	col("account", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Account) }),
	col("side", smallint, func(o *pipeline.OrderRecord) int16 { return int16(o.Side) }),
	col("type", smallint, func(o *pipeline.OrderRecord) int16 { return int16(o.Type) }),
	col("time_in_force", smallint, func(o *pipeline.OrderRecord) int16 { return int16(o.TimeInForce) }),
	col("self_trade", smallint, func(o *pipeline.OrderRecord) int16 { return int16(o.SelfTrade) }),
	col("post_only", smallint, func(o *pipeline.OrderRecord) int16 { return int16(o.PostOnly) }),
	col("hidden", boolean, func(o *pipeline.OrderRecord) bool { return o.Hidden }),
	col("status", smallint, func(o *pipeline.OrderRecord) int16 { return int16(o.Status) }),
	col("reason", integer, func(o *pipeline.OrderRecord) int32 { return int32(o.Reason) }),
	col("price", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Price) }),
	col("stop_price", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.StopPrice) }),
	col("order_qty", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.OrderQty) }),
	col("cum_qty", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.CumQty) }),
	col("leaves_qty", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.LeavesQty) }),
	col("display_qty", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.DisplayQty) }),
	col("funds", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Funds) }),
	col("notional", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Notional) }),
	col("fee", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Fee) }),
	col("expire", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Expire) }),
	col("created", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Created) }),
	col("updated", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Updated) }),
	col("seq", bigint, func(o *pipeline.OrderRecord) int64 { return int64(o.Seq) }),
}

func scanOrder(row pgx.CollectableRow) (o pipeline.OrderRecord, err error) {
	var inst, id, acct, seq int64
	var side, kind, tif, self, post, status int16
	var reason int32
	err = row.Scan((*[16]byte)(&o.CommandID), &o.ClientID, &inst, &id, &acct, &side, &kind, &tif, &self, &post, &o.Hidden, &status, &reason,
		(*int64)(&o.Price), (*int64)(&o.StopPrice), (*int64)(&o.OrderQty), (*int64)(&o.CumQty), (*int64)(&o.LeavesQty), (*int64)(&o.DisplayQty),
		(*int64)(&o.Funds), (*int64)(&o.Notional), (*int64)(&o.Fee), (*int64)(&o.Expire), (*int64)(&o.Created), (*int64)(&o.Updated), &seq)
	o.Instrument, o.OrderID, o.Account, o.Seq = exchange.InstrumentID(inst), exchange.OrderID(id), exchange.AccountID(acct), uint64(seq)
	o.Side, o.Type, o.TimeInForce, o.SelfTrade = exchange.Side(side), exchange.OrderType(kind), exchange.TimeInForce(tif), exchange.SelfTradePrevention(self)
	o.PostOnly, o.Status, o.Reason = exchange.PostOnly(post), pipeline.OrderStatus(status), exchange.Reason(reason)
	return o, err
}

// The order of scanTrade.
var tradeColumns = columns[pipeline.Trade]{
	col("instrument", bigint, func(t *pipeline.Trade) int64 { return int64(t.Instrument) }),
	col("id", bigint, func(t *pipeline.Trade) int64 { return int64(t.ID) }),
	col("seq", bigint, func(t *pipeline.Trade) int64 { return int64(t.Seq) }),
	col("time", bigint, func(t *pipeline.Trade) int64 { return int64(t.Time) }),
	col("price", bigint, func(t *pipeline.Trade) int64 { return int64(t.Price) }),
	col("qty", bigint, func(t *pipeline.Trade) int64 { return int64(t.Qty) }),
	col("amount", bigint, func(t *pipeline.Trade) int64 { return int64(t.Amount) }),
	col("side", smallint, func(t *pipeline.Trade) int16 { return int16(t.Side) }),
	col("taker_command_id", uuid, func(t *pipeline.Trade) [16]byte { return t.Taker.CommandID }),
	col("taker_order_id", bigint, func(t *pipeline.Trade) int64 { return int64(t.Taker.OrderID) }),
	col("taker_account", bigint, func(t *pipeline.Trade) int64 { return int64(t.Taker.Account) }),
	col("taker_fee", bigint, func(t *pipeline.Trade) int64 { return int64(t.Taker.Fee) }),
	col("maker_command_id", uuid, func(t *pipeline.Trade) [16]byte { return t.Maker.CommandID }),
	col("maker_order_id", bigint, func(t *pipeline.Trade) int64 { return int64(t.Maker.OrderID) }),
	col("maker_account", bigint, func(t *pipeline.Trade) int64 { return int64(t.Maker.Account) }),
	col("maker_fee", bigint, func(t *pipeline.Trade) int64 { return int64(t.Maker.Fee) }),
}

func scanTrade(row pgx.CollectableRow) (t pipeline.Trade, err error) {
	var inst, id, seq, takerOrder, takerAcct, makerOrder, makerAcct int64
	var side int16
	err = row.Scan(&inst, &id, &seq, (*int64)(&t.Time), (*int64)(&t.Price), (*int64)(&t.Qty), (*int64)(&t.Amount), &side,
		(*[16]byte)(&t.Taker.CommandID), &takerOrder, &takerAcct, (*int64)(&t.Taker.Fee), (*[16]byte)(&t.Maker.CommandID), &makerOrder, &makerAcct, (*int64)(&t.Maker.Fee))
	t.Instrument, t.ID, t.Seq, t.Side = exchange.InstrumentID(inst), exchange.TradeID(id), uint64(seq), exchange.Side(side)
	t.Taker.OrderID, t.Taker.Account = exchange.OrderID(takerOrder), exchange.AccountID(takerAcct)
	t.Maker.OrderID, t.Maker.Account = exchange.OrderID(makerOrder), exchange.AccountID(makerAcct)
	return t, err
}

// The order of scanCandle.
var candleColumns = columns[pipeline.Candle]{
	col("start", bigint, func(c *pipeline.Candle) int64 { return int64(c.Start) }),
	col("open", bigint, func(c *pipeline.Candle) int64 { return int64(c.Open) }),
	col("high", bigint, func(c *pipeline.Candle) int64 { return int64(c.High) }),
	col("low", bigint, func(c *pipeline.Candle) int64 { return int64(c.Low) }),
	col("close", bigint, func(c *pipeline.Candle) int64 { return int64(c.Close) }),
	col("volume", bigint, func(c *pipeline.Candle) int64 { return int64(c.Volume) }),
	col("trades", bigint, func(c *pipeline.Candle) int64 { return c.Trades }),
}

func scanCandle(row pgx.CollectableRow) (c pipeline.Candle, err error) {
	err = row.Scan((*int64)(&c.Start), (*int64)(&c.Open), (*int64)(&c.High), (*int64)(&c.Low), (*int64)(&c.Close), (*int64)(&c.Volume), &c.Trades)
	return c, err
}

const (
	minute = exchange.Time(60 * 1e9)
	hour   = 60 * minute
	day    = 24 * hour
)

// candleWidths are those that are kept: any other interval is the sum of some.
var candleWidths = [...]exchange.Time{minute, hour, day}

// startOf returns where the interval begins that t lies in.
func startOf(t, interval exchange.Time) exchange.Time {
	rest := t % interval
	if rest < 0 {
		rest += interval
	}
	return t - rest
}

// candlesOf returns the candles of trades in order, none of a start twice.
func candlesOf(trades []pipeline.Trade, width exchange.Time) []pipeline.Candle {
	var out []pipeline.Candle
	at := map[exchange.Time]int{}
	for i := range trades {
		t := &trades[i]
		c := pipeline.Candle{Start: startOf(t.Time, width), Open: t.Price, High: t.Price, Low: t.Price, Close: t.Price, Volume: t.Qty, Trades: 1}
		if n, ok := at[c.Start]; ok {
			addCandle(&out[n], &c)
		} else {
			at[c.Start] = len(out)
			out = append(out, c)
		}
	}
	return out
}

// addCandle adds what traded later to c. A volume beyond 2^63-1 stays there.
func addCandle(c, later *pipeline.Candle) {
	c.High, c.Low, c.Close = max(c.High, later.High), min(c.Low, later.Low), later.Close
	c.Trades += later.Trades
	if c.Volume > math.MaxInt64-later.Volume {
		c.Volume = math.MaxInt64
	} else {
		c.Volume += later.Volume
	}
}
