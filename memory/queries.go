package memory

import (
	"context"
	"fmt"
	"math"
	"sort"

	"github.com/tidwall/btree"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

const (
	minute = exchange.Time(60 * 1e9)
	day    = 24 * 60 * minute
)

// OrderByCommand implements pipeline.TradeStore.
func (s *TradeStore) OrderByCommand(_ context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if o := s.orders[id]; o != nil {
		return o.OrderRecord, nil
	}
	return pipeline.OrderRecord{}, fmt.Errorf("order of command %x: %w", id, pipeline.ErrNotFound)
}

// OrderByID implements pipeline.TradeStore.
func (s *TradeStore) OrderByID(_ context.Context, inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if in := s.instruments[inst]; in != nil && in.orders[id] != nil {
		return in.orders[id].OrderRecord, nil
	}
	return pipeline.OrderRecord{}, fmt.Errorf("order %d of instrument %d: %w", id, inst, pipeline.ErrNotFound)
}

// OrderByClientID implements pipeline.TradeStore.
func (s *TradeStore) OrderByClientID(_ context.Context, acct exchange.AccountID, clientID string) (pipeline.OrderRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if o := s.clientIDs[clientKey{acct, clientID}]; o != nil {
		return o.OrderRecord, nil
	}
	return pipeline.OrderRecord{}, fmt.Errorf("order by its client's id: %w", pipeline.ErrNotFound)
}

// Orders implements pipeline.TradeStore.
func (s *TradeStore) Orders(_ context.Context, q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var sources []source[pipeline.OrderRecord]
	for _, p := range s.parts(q.Account, q.Instrument) {
		tree := p.all
		if q.LiveOnly {
			tree = p.live
		}
		it := tree.Iter()
		defer it.Release()
		next := downFrom(&it, q.Before)
		sources = append(sources, source[pipeline.OrderRecord]{head: next(), next: next})
	}
	return merge(sources, compareOrders, q.Limit), nil
}

// downFrom returns a function that yields what lies before a record, nil: what
// lies anywhere, from the newest to the oldest, and then nil.
func downFrom(it *btree.IterG[*storedOrder], before *pipeline.OrderRecord) func() *pipeline.OrderRecord {
	var at bool
	switch {
	case before == nil:
		at = it.Last()
	case it.Seek(&storedOrder{OrderRecord: *before}): // the first at or after it
		at = it.Prev()
	default:
		at = it.Last()
	}
	return func() *pipeline.OrderRecord {
		if !at {
			return nil
		}
		o := &it.Item().OrderRecord
		at = it.Prev()
		return o
	}
}

// source yields values from the newest to the oldest; head is nil at the end.
type source[T any] struct {
	head *T
	next func() *T
}

// merge returns the newest values of all sources, newest first, at most limit.
func merge[T any](sources []source[T], compare func(a, b *T) int, limit int) []T {
	var out []T
	for len(out) < limit {
		newest := -1
		for i := range sources {
			if sources[i].head != nil && (newest < 0 || compare(sources[i].head, sources[newest].head) > 0) {
				newest = i
			}
		}
		if newest < 0 {
			break
		}
		out = append(out, *sources[newest].head)
		sources[newest].head = sources[newest].next()
	}
	return out
}

// Trades implements pipeline.TradeStore.
func (s *TradeStore) Trades(_ context.Context, q pipeline.TradeQuery) ([]pipeline.Trade, error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("trades: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	in := s.instruments[q.Instrument]
	if in == nil {
		return nil, nil
	}
	n := in.trades.len()
	if q.Before != 0 {
		n = sort.Search(n, func(i int) bool { return (*in.trades.at(i)).ID >= q.Before })
	}
	var out []pipeline.Trade
	for i := n - 1; i >= 0 && len(out) < q.Limit; i-- {
		t := *in.trades.at(i)
		if q.Since != 0 && t.Time < q.Since {
			break // an instrument's time never goes back
		}
		out = append(out, *t)
	}
	return out, nil
}

// Fills implements pipeline.TradeStore.
func (s *TradeStore) Fills(_ context.Context, q pipeline.FillQuery) ([]pipeline.Trade, error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("fills: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var sources []source[pipeline.Trade]
	for _, p := range s.parts(q.Account, q.Instrument) {
		n := p.fills.len()
		if q.Before != nil {
			n = sort.Search(n, func(i int) bool { return compareFills(*p.fills.at(i), q.Before) >= 0 })
		}
		next := func() *pipeline.Trade {
			if n--; n < 0 {
				return nil
			}
			return *p.fills.at(n)
		}
		sources = append(sources, source[pipeline.Trade]{head: next(), next: next})
	}
	return merge(sources, compareFills, q.Limit), nil
}

// recordCandle adds a trade to the candle of its minute.
func (in *traderInstrument) recordCandle(t *pipeline.Trade, most int) {
	c := pipeline.Candle{Start: startOf(t.Time, minute), Open: t.Price, High: t.Price, Low: t.Price, Close: t.Price, Volume: t.Qty, Trades: 1}
	if n := in.candles.len(); n > 0 && in.candles.at(n-1).Start >= c.Start { // an instrument's time never goes back
		addCandle(in.candles.at(n-1), &c)
		return
	}
	in.candles.push(c)
	if in.candles.len() > most {
		in.candles.drop(1)
	}
}

// Candles implements pipeline.TradeStore. A volume beyond 2^63-1 stays there.
func (s *TradeStore) Candles(_ context.Context, q pipeline.CandleQuery) ([]pipeline.Candle, error) {
	if err := checkLimit(q.Limit); err != nil {
		return nil, fmt.Errorf("candles: %w", err)
	}
	if q.Interval < minute || q.Interval%minute != 0 || day%q.Interval != 0 {
		return nil, fmt.Errorf("candles: %w: an interval of %d ns, expected a multiple of one minute that divides a day", pipeline.ErrInvalid, q.Interval)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	in := s.instruments[q.Instrument]
	if in == nil {
		return nil, nil
	}
	var out []pipeline.Candle
	for i := in.candles.len() - 1; i >= 0; i-- {
		c := *in.candles.at(i)
		c.Start = startOf(c.Start, q.Interval)
		switch n := len(out); {
		case c.Start < q.From:
			return out, nil
		case q.Before != 0 && c.Start >= q.Before:
			continue
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

// startOf returns where the interval begins that t lies in.
func startOf(t, interval exchange.Time) exchange.Time {
	start := t - t%interval
	if start > t {
		start -= interval
	}
	return start
}

// addCandle adds what traded later to c.
func addCandle(c, later *pipeline.Candle) {
	c.High, c.Low, c.Close = max(c.High, later.High), min(c.Low, later.Low), later.Close
	c.Trades += later.Trades
	if c.Volume > math.MaxInt64-later.Volume {
		c.Volume = math.MaxInt64
	} else {
		c.Volume += later.Volume
	}
}
