package bolt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"

	"go.etcd.io/bbolt"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// above returns a key behind all that begin with prefix: no key is longer than
// a part and what follows it.
func above(prefix []byte) []byte {
	return append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, 32)...)
}

// before returns the last row below a bound, if it begins with prefix.
func before(c *bbolt.Cursor, prefix, bound []byte) (key, value []byte) {
	if key, _ = c.Seek(bound); key == nil {
		key, value = c.Last()
	} else {
		key, value = c.Prev()
	}
	if !bytes.HasPrefix(key, prefix) {
		return nil, nil
	}
	return key, value
}

// merge calls yield with the rows of all sources, the last by compare first,
// until it says false.
func merge(sources []*source, compare func(a, b []byte) int, yield func(key, value []byte) (bool, error)) error {
	for {
		var last *source
		for _, s := range sources {
			if s.key != nil && (last == nil || compare(s.key, last.key) > 0) {
				last = s
			}
		}
		if last == nil {
			return nil
		}
		if more, err := yield(last.key, last.value); err != nil || !more {
			return err
		}
		last.next()
	}
}

// parts returns the instruments of an account that a bucket has rows of.
func (t *tx) parts(b bucket, acct exchange.AccountID, inst exchange.InstrumentID) []exchange.InstrumentID {
	if inst != 0 {
		return []exchange.InstrumentID{inst}
	}
	var out []exchange.InstrumentID
	prefix := rows.Key64(nil, acct)
	for next := partKey(acct, 0); ; {
		key := t.firstFrom(b, next)
		if !bytes.HasPrefix(key, prefix) {
			return out
		}
		r := rows.Read(key[len(prefix):])
		inst := exchange.InstrumentID(r.Key32())
		out = append(out, inst)
		next = above(partKey(acct, inst))
	}
}

func checkLimit(limit int) error {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	return nil
}

// Recorded implements pipeline.TradeStore.
func (s tradeStore) Recorded(ctx context.Context, inst exchange.InstrumentID) (pos pipeline.Position, err error) {
	if inst == 0 {
		return 0, nil // its place is taken
	}
	err = s.view(ctx, func(t *tx) error {
		pos, err = t.recorded(inst)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cursor of instrument %d: %w", inst, err)
	}
	return pos, nil
}

// order reads the order whose number find finds, with what viewIndexes gives.
func (s tradeStore) order(ctx context.Context, id exchange.CommandID, find func(t *tx) (number, bool, error)) (o pipeline.OrderRecord, err error) {
	err = s.viewIndexes(ctx, id, func(t *tx) error {
		n, found, err := find(t)
		if err == nil && !found {
			err = pipeline.ErrNotFound
		}
		if err == nil {
			o, err = t.order(n)
		}
		return err
	})
	return o, err
}

// OrderByCommand implements pipeline.TradeStore.
func (s tradeStore) OrderByCommand(ctx context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	o, err := s.order(ctx, id, func(t *tx) (number, bool, error) { return t.command(id) })
	if err != nil {
		return o, fmt.Errorf("order of command %x: %w", id, err)
	}
	return o, nil
}

// OrderByID implements pipeline.TradeStore.
func (s tradeStore) OrderByID(ctx context.Context, inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
	o, err := s.order(ctx, exchange.CommandID{}, func(t *tx) (number, bool, error) { return t.number(bucketOrder, orderKey(inst, id)) })
	if err != nil {
		return o, fmt.Errorf("order %d of instrument %d: %w", id, inst, err)
	}
	return o, nil
}

// OrderByClientID implements pipeline.TradeStore.
func (s tradeStore) OrderByClientID(ctx context.Context, acct exchange.AccountID, clientID string) (pipeline.OrderRecord, error) {
	o, err := s.order(ctx, exchange.CommandID{}, func(t *tx) (number, bool, error) { return t.number(bucketClient, clientKey(acct, clientID)) })
	if err != nil {
		return o, fmt.Errorf("order by its client's id: %w", err)
	}
	return o, nil
}

// Orders implements pipeline.TradeStore.
func (s tradeStore) Orders(ctx context.Context, q pipeline.OrderQuery) (out []pipeline.OrderRecord, err error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	index := bucketAccount
	if q.LiveOnly {
		index = bucketLive
	}
	err = s.viewIndexes(ctx, exchange.CommandID{}, func(t *tx) error {
		var sources []*source
		for _, inst := range t.parts(index, q.Account, q.Instrument) {
			prefix := partKey(q.Account, inst)
			bound := above(prefix)
			if q.Before != nil {
				bound = append(rows.KeyTime(bytes.Clone(prefix), q.Before.Created), q.Before.CommandID[:]...)
			}
			sources = append(sources, t.source(index, prefix, bound))
		}
		const part = 12
		byAge := func(a, b []byte) int { return bytes.Compare(a[part:], b[part:]) }
		return merge(sources, byAge, func(_, number []byte) (bool, error) {
			o, err := decodeOrder(t.get(bucketOrders, number))
			if err != nil {
				return false, err
			}
			out = append(out, o)
			return len(out) < q.Limit, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	return out, nil
}

// Trades implements pipeline.TradeStore.
func (s tradeStore) Trades(ctx context.Context, q pipeline.TradeQuery) (out []pipeline.Trade, err error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("trades: %w", err)
	}
	err = s.view(ctx, func(t *tx) error {
		prefix := headKey(q.Instrument)
		bound := above(prefix)
		if q.Before != 0 {
			bound = tradeKey(q.Instrument, q.Before)
		}
		for src := t.source(bucketTrades, prefix, bound); src.key != nil && len(out) < q.Limit; src.next() {
			tr, err := decodeTrade(src.value)
			if err != nil {
				return err
			}
			if q.Since != 0 && tr.Time < q.Since {
				break // an instrument's time never goes back
			}
			out = append(out, tr)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("trades: %w", err)
	}
	return out, nil
}

// Fills implements pipeline.TradeStore.
func (s tradeStore) Fills(ctx context.Context, q pipeline.FillQuery) (out []pipeline.Trade, err error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("fills: %w", err)
	}
	err = s.viewIndexes(ctx, exchange.CommandID{}, func(t *tx) error {
		var sources []*source
		for _, inst := range t.parts(bucketFills, q.Account, q.Instrument) {
			prefix := partKey(q.Account, inst)
			bound := above(prefix)
			if q.Before != nil {
				// Of one time those of lower instruments come before.
				at := rows.KeyTime(bytes.Clone(prefix), q.Before.Time)
				switch cmp.Compare(inst, q.Before.Instrument) {
				case -1:
					bound = above(at)
				case 0:
					bound = rows.Key64(at, q.Before.ID)
				case 1:
					bound = at
				}
			}
			sources = append(sources, t.source(bucketFills, prefix, bound))
		}
		const inst, time, id = 8, 12, 20
		byAge := func(a, b []byte) int {
			return cmp.Or(bytes.Compare(a[time:id], b[time:id]), bytes.Compare(a[inst:time], b[inst:time]), bytes.Compare(a[id:], b[id:]))
		}
		return merge(sources, byAge, func(key, _ []byte) (bool, error) {
			tr, err := decodeTrade(t.get(bucketTrades, append(bytes.Clone(key[inst:time]), key[id:]...)))
			if err != nil {
				return false, err
			}
			out = append(out, tr)
			return len(out) < q.Limit, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("fills: %w", err)
	}
	return out, nil
}

// Candles implements pipeline.TradeStore.
func (s tradeStore) Candles(ctx context.Context, q pipeline.CandleQuery) (out []pipeline.Candle, err error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("candles: %w", err)
	}
	if q.Interval < minute || q.Interval%minute != 0 || day%q.Interval != 0 {
		return nil, fmt.Errorf("candles: %w: an interval of %d ns, expected a multiple of one minute that divides a day", pipeline.ErrInvalid, q.Interval)
	}
	kept := minute
	for _, interval := range candleIntervals {
		if q.Interval%interval == 0 {
			kept = interval
		}
	}
	err = s.view(ctx, func(t *tx) error {
		prefix := rows.KeyTime(headKey(q.Instrument), kept)
		bound := above(prefix)
		if q.Before != 0 && q.Before < math.MaxInt64-q.Interval {
			bound = candleKey(q.Instrument, kept, q.Before+q.Interval) // some too many are passed over
		}
		for src := t.source(bucketCandles, prefix, bound); src.key != nil; src.next() {
			r := rows.Read(src.key[len(prefix):])
			c, err := decodeCandle(startOf(r.KeyTime(), q.Interval), src.value)
			if err != nil {
				return err
			}
			switch n := len(out); {
			case c.Start < q.From:
				return nil
			case q.Before != 0 && c.Start >= q.Before:
			case n > 0 && out[n-1].Start == c.Start:
				addCandle(&c, &out[n-1])
				out[n-1] = c
			case n == q.Limit:
				return nil
			default:
				out = append(out, c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("candles: %w", err)
	}
	return out, nil
}
