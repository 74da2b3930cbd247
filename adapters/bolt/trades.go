package bolt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

type tradeStore struct{ *Store }

// number names an order row; it rises with the time of recording.
type number uint64

func numberKey(n number) []byte { return rows.Key64(nil, n) }

func readNumber(value []byte) (number, error) {
	r := rows.Read(value)
	return number(r.Key64()), r.End()
}

// compareOrders is the order of pages, the oldest first.
func compareOrders(a, b *pipeline.OrderRecord) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), bytes.Compare(a.CommandID[:], b.CommandID[:]))
}

func orderKey(inst exchange.InstrumentID, id exchange.OrderID) []byte {
	return rows.Key64(rows.Key32(make([]byte, 0, 12), inst), id)
}

func clientKey(acct exchange.AccountID, clientID string) []byte {
	return append(rows.Key64(make([]byte, 0, 8+len(clientID)), acct), clientID...)
}

// partKey is what the keys of an account in an instrument begin with.
func partKey(acct exchange.AccountID, inst exchange.InstrumentID) []byte {
	return rows.Key32(rows.Key64(make([]byte, 0, 40), acct), inst)
}

func pageKey(o *pipeline.OrderRecord) []byte {
	return append(rows.KeyTime(partKey(o.Account, o.Instrument), o.Created), o.CommandID[:]...)
}

func tradeKey(inst exchange.InstrumentID, id exchange.TradeID) []byte {
	return rows.Key64(rows.Key32(make([]byte, 0, 12), inst), id)
}

func fillKey(acct exchange.AccountID, t *pipeline.Trade) []byte {
	return rows.Key64(rows.KeyTime(partKey(acct, t.Instrument), t.Time), t.ID)
}

func appendOrder(b []byte, o *pipeline.OrderRecord) []byte {
	b = rows.ID(b, &o.CommandID)
	b = rows.String(b, o.ClientID)
	b = rows.Uint(b, o.Instrument)
	b = rows.Uint(b, o.OrderID)
	b = rows.Uint(b, o.Account)
	b = rows.Uint(b, o.Side)
	b = rows.Uint(b, o.Type)
	b = rows.Uint(b, o.TimeInForce)
	b = rows.Uint(b, o.SelfTrade)
	b = rows.Uint(b, o.PostOnly)
	b = rows.Bool(b, o.Hidden)
	b = rows.Uint(b, o.Status)
	b = rows.Uint(b, o.Reason)
	b = rows.Int(b, o.Price)
	b = rows.Int(b, o.StopPrice)
	b = rows.Int(b, o.OrderQty)
	b = rows.Int(b, o.CumQty)
	b = rows.Int(b, o.LeavesQty)
	b = rows.Int(b, o.DisplayQty)
	b = rows.Int(b, o.Funds)
	b = rows.Int(b, o.Notional)
	b = rows.Int(b, o.Fee)
	b = rows.Int(b, o.Expire)
	b = rows.Int(b, o.Created)
	b = rows.Int(b, o.Updated)
	return rows.Uint(b, o.Seq)
}

func decodeOrder(value []byte) (o pipeline.OrderRecord, err error) {
	r := rows.Read(value)
	o.CommandID = r.ID()
	o.ClientID = r.String()
	o.Instrument = exchange.InstrumentID(r.Uint32())
	o.OrderID = exchange.OrderID(r.Uint64())
	o.Account = exchange.AccountID(r.Uint64())
	o.Side = exchange.Side(r.Uint8())
	o.Type = exchange.OrderType(r.Uint8())
	o.TimeInForce = exchange.TimeInForce(r.Uint8())
	o.SelfTrade = exchange.SelfTradePrevention(r.Uint8())
	o.PostOnly = exchange.PostOnly(r.Uint8())
	o.Hidden = r.Bool()
	o.Status = pipeline.OrderStatus(r.Uint8())
	o.Reason = exchange.Reason(r.Uint16())
	o.Price = exchange.Price(r.Int())
	o.StopPrice = exchange.Price(r.Int())
	o.OrderQty = exchange.Qty(r.Int())
	o.CumQty = exchange.Qty(r.Int())
	o.LeavesQty = exchange.Qty(r.Int())
	o.DisplayQty = exchange.Qty(r.Int())
	o.Funds = exchange.Amount(r.Int())
	o.Notional = exchange.Amount(r.Int())
	o.Fee = exchange.Amount(r.Int())
	o.Expire = exchange.Time(r.Int())
	o.Created = exchange.Time(r.Int())
	o.Updated = exchange.Time(r.Int())
	o.Seq = r.Uint64()
	return o, r.End()
}

func appendTrade(b []byte, t *pipeline.Trade) []byte {
	b = rows.Uint(b, t.Instrument)
	b = rows.Uint(b, t.ID)
	b = rows.Uint(b, t.Seq)
	b = rows.Int(b, t.Time)
	b = rows.Int(b, t.Price)
	b = rows.Int(b, t.Qty)
	b = rows.Int(b, t.Amount)
	b = rows.Uint(b, t.Side)
	for _, p := range [...]*pipeline.Party{&t.Taker, &t.Maker} {
		b = rows.ID(b, &p.CommandID)
		b = rows.Uint(b, p.OrderID)
		b = rows.Uint(b, p.Account)
		b = rows.Int(b, p.Fee)
	}
	return b
}

func decodeTrade(value []byte) (t pipeline.Trade, err error) {
	r := rows.Read(value)
	t.Instrument = exchange.InstrumentID(r.Uint32())
	t.ID = exchange.TradeID(r.Uint64())
	t.Seq = r.Uint64()
	t.Time = exchange.Time(r.Int())
	t.Price = exchange.Price(r.Int())
	t.Qty = exchange.Qty(r.Int())
	t.Amount = exchange.Amount(r.Int())
	t.Side = exchange.Side(r.Uint8())
	for _, p := range [...]*pipeline.Party{&t.Taker, &t.Maker} {
		p.CommandID = r.ID()
		p.OrderID = exchange.OrderID(r.Uint64())
		p.Account = exchange.AccountID(r.Uint64())
		p.Fee = exchange.Amount(r.Int())
	}
	return t, r.End()
}

// Record implements pipeline.TradeStore. ErrInvalid: an order or a trade of
// another instrument, or a trade whose ID is not above the one before.
// ErrTooLarge: a client's id longer than MaxClientIDBytes.
func (s tradeStore) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if err := s.record(ctx, c, r); err != nil {
		return fmt.Errorf("recording item %d of instrument %d: %w", c.Position(), c.Instrument(), err)
	}
	return nil
}

func (s tradeStore) record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	inst := c.Instrument()
	// Whatever needs no transaction is done before it.
	invalid := checkOrders(inst, r.Orders)
	var buf []byte
	orders, trades := make([][]byte, len(r.Orders)), make([][]byte, len(r.Trades))
	row := func(from int) []byte { return buf[from:len(buf):len(buf)] }
	for i := range r.Orders {
		from := len(buf)
		buf = appendOrder(buf, &r.Orders[i])
		orders[i] = row(from)
	}
	for i := range r.Trades {
		from := len(buf)
		buf = appendTrade(buf, &r.Trades[i])
		trades[i] = row(from)
	}
	return s.update(ctx, func(t *tx) error {
		recorded, err := t.recorded(inst)
		if err != nil {
			return err
		}
		switch pos := c.Position(); {
		case pos <= recorded:
			return nil
		case pos > recorded+1:
			return fmt.Errorf("%w: recorded up to %d", pipeline.ErrGap, recorded)
		case invalid != nil:
			return invalid
		}
		if err := t.checkTrades(inst, r.Trades); err != nil {
			return err
		}
		if err := t.recordOrders(r.Orders, orders); err != nil {
			t.fail(err)
			return err
		}
		if err := t.recordTrades(inst, r.Trades, trades); err != nil {
			t.fail(err)
			return err
		}
		t.put(bucketRecorded, headKey(inst), rows.Uint(nil, c.Position()))
		return nil
	})
}

// fail keeps a transaction from counting: what it has found is damaged.
func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *tx) recorded(inst exchange.InstrumentID) (pipeline.Position, error) {
	value := t.get(bucketRecorded, headKey(inst))
	if value == nil {
		return 0, nil
	}
	r := rows.Read(value)
	return pipeline.Position(r.Uint64()), r.End()
}

func checkOrders(inst exchange.InstrumentID, orders []pipeline.OrderRecord) error {
	for i := range orders {
		o := &orders[i]
		if o.Instrument != inst {
			return fmt.Errorf("%w: Orders[%d] is of instrument %d", pipeline.ErrInvalid, i, o.Instrument)
		}
		if n := len(o.ClientID); n > pipeline.MaxClientIDBytes {
			return fmt.Errorf("%w: ClientID of Orders[%d] has %d bytes, expected at most %d", pipeline.ErrTooLarge, i, n, pipeline.MaxClientIDBytes)
		}
	}
	return nil
}

func (t *tx) checkTrades(inst exchange.InstrumentID, trades []pipeline.Trade) error {
	if len(trades) == 0 {
		return nil
	}
	prefix := headKey(inst)
	var last exchange.TradeID
	if key, _ := before(t.bucket(bucketTrades).Cursor(), prefix, above(prefix)); key != nil {
		r := rows.Read(key[len(prefix):])
		if last = exchange.TradeID(r.Key64()); r.End() != nil {
			return fmt.Errorf("trades: %w", rows.ErrDamaged)
		}
	}
	for i := range trades {
		if tr := &trades[i]; tr.Instrument != inst || tr.ID <= last {
			return fmt.Errorf("%w: Trades[%d] is %d of instrument %d, expected one after %d", pipeline.ErrInvalid, i, tr.ID, tr.Instrument, last)
		}
		last = trades[i].ID
	}
	return nil
}

// lastNumberKey is where the number of the last order is: in the place of an
// instrument that there never is.
var lastNumberKey = headKey(0)

func (t *tx) recordOrders(orders []pipeline.OrderRecord, values [][]byte) error {
	if len(orders) == 0 {
		return nil
	}
	var last number
	if value := t.get(bucketRecorded, lastNumberKey); value != nil {
		var err error
		if last, err = readNumber(value); err != nil {
			return fmt.Errorf("number of the last order: %w", err)
		}
	}
	first := last
	for i := range orders {
		if err := t.recordOrder(&orders[i], values[i], &last); err != nil {
			return fmt.Errorf("order of command %x: %w", orders[i].CommandID, err)
		}
	}
	if last != first {
		t.put(bucketRecorded, lastNumberKey, numberKey(last))
	}
	return nil
}

func (t *tx) recordOrder(o *pipeline.OrderRecord, value []byte, last *number) error {
	n, known, err := t.command(o.CommandID)
	if err != nil {
		return err
	}
	linked, wasLive := false, false
	if known {
		old, err := t.order(n)
		if err != nil {
			return err
		}
		linked = old.Account == o.Account && old.Instrument == o.Instrument && old.Created == o.Created && old.OrderID == o.OrderID && old.ClientID == o.ClientID
		wasLive = linked && old.Status.Live()
		if !linked { // it is found by other keys from now on
			if err := t.forget(&old, n); err != nil {
				return err
			}
		}
	} else {
		*last++
		n = *last
		t.setCommand(o.CommandID, n)
	}
	key, page := numberKey(n), pageKey(o)
	t.put(bucketOrders, key, value)
	if !linked {
		t.set(bucketAccount, page, key)
		if o.OrderID != 0 {
			t.put(bucketOrder, orderKey(o.Instrument, o.OrderID), key)
		}
		if err := t.linkClient(o, n); err != nil {
			return err
		}
	}
	switch live := o.Status.Live(); {
	case live && !wasLive:
		t.set(bucketLive, page, key)
	case !live && wasLive:
		t.remove(bucketLive, page)
	}
	return nil
}

// linkClient makes an order the one of its client's id, unless that has come
// again since.
func (t *tx) linkClient(o *pipeline.OrderRecord, n number) error {
	if o.ClientID == "" {
		return nil
	}
	at := clientKey(o.Account, o.ClientID)
	known, found, err := t.number(bucketClient, at)
	if err != nil {
		return err
	}
	if found {
		other, err := t.order(known)
		if err != nil {
			return err
		}
		if compareOrders(&other, o) > 0 {
			return nil
		}
	}
	t.set(bucketClient, at, numberKey(n))
	return nil
}

// forget takes an order out of all indexes but that of commands.
func (t *tx) forget(o *pipeline.OrderRecord, n number) error {
	page := pageKey(o)
	t.remove(bucketAccount, page)
	t.remove(bucketLive, page)
	if at := orderKey(o.Instrument, o.OrderID); bytes.Equal(t.get(bucketOrder, at), numberKey(n)) {
		t.delete(bucketOrder, at)
	}
	at := clientKey(o.Account, o.ClientID)
	known, found, err := t.number(bucketClient, at)
	if found && known == n {
		t.remove(bucketClient, at)
	}
	return err
}

func (t *tx) recordTrades(inst exchange.InstrumentID, trades []pipeline.Trade, values [][]byte) error {
	candles := map[string]*pipeline.Candle{}
	for i := range trades {
		tr := &trades[i]
		t.put(bucketTrades, tradeKey(inst, tr.ID), values[i])
		t.set(bucketFills, fillKey(tr.Taker.Account, tr), nil)
		if tr.Maker.Account != tr.Taker.Account {
			t.set(bucketFills, fillKey(tr.Maker.Account, tr), nil)
		}
		for _, interval := range candleIntervals {
			c := pipeline.Candle{Start: startOf(tr.Time, interval), Open: tr.Price, High: tr.Price, Low: tr.Price, Close: tr.Price, Volume: tr.Qty, Trades: 1}
			key := candleKey(inst, interval, c.Start)
			sum := candles[string(key)]
			if sum == nil {
				sum = &pipeline.Candle{}
				if value := t.get(bucketCandles, key); value != nil {
					var err error
					if *sum, err = decodeCandle(c.Start, value); err != nil {
						return err
					}
				}
				candles[string(key)] = sum
			}
			addCandle(sum, &c)
		}
	}
	for key, c := range candles {
		t.put(bucketCandles, []byte(key), appendCandle(nil, c))
	}
	return nil
}

// candleIntervals are those that are kept: a longer one is the sum of some.
var candleIntervals = [...]exchange.Time{minute, hour, day}

const (
	minute = exchange.Time(60 * 1e9)
	hour   = 60 * minute
	day    = 24 * hour
)

// startOf returns where the interval begins that t lies in.
func startOf(t, interval exchange.Time) exchange.Time {
	start := t - t%interval
	if start > t {
		start -= interval
	}
	return start
}

// addCandle adds what traded later to c, which may be zero. A volume beyond
// 2^63-1 stays there.
func addCandle(c, later *pipeline.Candle) {
	if c.Trades == 0 {
		*c = *later
		return
	}
	c.High, c.Low, c.Close = max(c.High, later.High), min(c.Low, later.Low), later.Close
	c.Trades += later.Trades
	if c.Volume > math.MaxInt64-later.Volume {
		c.Volume = math.MaxInt64
	} else {
		c.Volume += later.Volume
	}
}

func candleKey(inst exchange.InstrumentID, interval, start exchange.Time) []byte {
	return rows.KeyTime(rows.KeyTime(rows.Key32(make([]byte, 0, 20), inst), interval), start)
}

func appendCandle(b []byte, c *pipeline.Candle) []byte {
	b = rows.Int(b, c.Open)
	b = rows.Int(b, c.High)
	b = rows.Int(b, c.Low)
	b = rows.Int(b, c.Close)
	b = rows.Int(b, c.Volume)
	return rows.Int(b, exchange.Qty(c.Trades))
}

func decodeCandle(start exchange.Time, value []byte) (pipeline.Candle, error) {
	r := rows.Read(value)
	c := pipeline.Candle{Start: start, Open: exchange.Price(r.Int()), High: exchange.Price(r.Int()), Low: exchange.Price(r.Int()), Close: exchange.Price(r.Int()),
		Volume: exchange.Qty(r.Int()), Trades: r.Int()}
	return c, r.End()
}
