package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/castlecloud/exchange"
)

const (
	minute = exchange.Time(time.Minute)
	// dayMinutes is how many minutes the ticker looks back, the current one
	// included.
	dayMinutes = 24 * 60
)

// windowStart returns where the first of the minutes begins.
func windowStart(now exchange.Time) exchange.Time {
	return now - now%minute - (dayMinutes-1)*minute
}

// dayWindow is what traded in the last 24 hours, by minute.
type dayWindow struct {
	candles   []Candle // by Start
	high, low exchange.Price
	volume    exchange.Qty
	price     exchange.Price // of the last trade, 0: none
	qty       exchange.Qty
	upTo      exchange.TradeID // the last trade that is in it
	changed   int              // the candles from here on changed with the last item
}

// order sorts candles that came in any order.
func (d *dayWindow) order() {
	slices.SortFunc(d.candles, func(a, b Candle) int { return cmp.Compare(a.Start, b.Start) })
	d.unchanged()
}

// sum brings high, low and volume in line with the candles.
func (d *dayWindow) sum() {
	d.high, d.low, d.volume = d.price, d.price, 0
	for i := range d.candles {
		c := &d.candles[i]
		if i == 0 {
			d.high, d.low = c.High, c.Low
		}
		d.high, d.low, d.volume = max(d.high, c.High), min(d.low, c.Low), d.volume+c.Volume
	}
}

// unchanged begins an item.
func (d *dayWindow) unchanged() { d.changed = len(d.candles) }

// advance drops what is older than 24 hours, and reports whether anything was.
func (d *dayWindow) advance(now exchange.Time) bool {
	first := windowStart(now)
	drop := 0
	for drop < len(d.candles) && d.candles[drop].Start < first {
		drop++
	}
	if drop == 0 {
		return false
	}
	d.candles = append(d.candles[:0], d.candles[drop:]...)
	d.unchanged()
	d.sum()
	return true
}

// add counts a trade in, unless it is in it.
func (d *dayWindow) add(t *Trade) {
	start := t.Time - t.Time%minute
	at := len(d.candles)
	for at > 0 && d.candles[at-1].Start >= start { // nearly always the last
		at--
	}
	d.changed = min(d.changed, at)
	if t.ID <= d.upTo {
		return
	}
	d.upTo, d.price, d.qty = t.ID, t.Price, t.Qty
	if at == len(d.candles) {
		d.candles = append(d.candles, Candle{Start: start, Open: t.Price, High: t.Price, Low: t.Price})
	}
	c := &d.candles[at]
	c.High, c.Low, c.Close = max(c.High, t.Price), min(c.Low, t.Price), t.Price
	c.Volume += t.Qty
	c.Trades++
	if len(d.candles) == 1 && c.Trades == 1 {
		d.sum()
		return
	}
	d.high, d.low, d.volume = max(d.high, t.Price), min(d.low, t.Price), d.volume+t.Qty
}

func (d *dayWindow) ticker(w *numberTexts) FeedTicker {
	open := d.price
	if len(d.candles) > 0 {
		open = d.candles[0].Open
	}
	return FeedTicker{Price: w.price.text(int64(d.price)), Size: w.qty.text(int64(d.qty)), Open: w.price.text(int64(open)),
		High: w.price.text(int64(d.high)), Low: w.price.text(int64(d.low)), Volume: w.qty.text(int64(d.volume))}
}

// loadTries is how often the candles are read again because a trade came in
// between.
const loadTries = 16

// load reads what a TradeStore has from 24 hours before now on: the candles, and
// which trade is the last in them. The store may be ahead of now; 0 stands for
// the time of its last trade.
func (d *dayWindow) load(ctx context.Context, store TradeStore, inst exchange.InstrumentID, now exchange.Time) error {
	before, err := newestTrade(ctx, store, inst)
	if err != nil {
		return err
	}
	for range loadTries {
		*d = dayWindow{}
		if now == 0 {
			now = before.Time
		}
		q := CandleQuery{Instrument: inst, Interval: minute, From: max(0, windowStart(now)), Limit: MaxQueryRows}
		for {
			page, err := store.Candles(ctx, q)
			if err != nil {
				return fmt.Errorf("reading candles: %w", err)
			}
			d.candles = append(d.candles, page...)
			if len(page) < q.Limit || len(d.candles) >= 2*dayMinutes {
				break
			}
			q.Before = page[len(page)-1].Start
		}
		after, err := newestTrade(ctx, store, inst)
		if err != nil {
			return err
		}
		if after.ID == before.ID {
			d.upTo, d.price, d.qty = after.ID, after.Price, after.Qty
			d.order()
			d.sum()
			return nil
		}
		before = after
	}
	return fmt.Errorf("reading candles: trades came in between %d times", loadTries)
}

// newestTrade returns the last trade that a store has, zero when it has none.
func newestTrade(ctx context.Context, store TradeStore, inst exchange.InstrumentID) (Trade, error) {
	trades, err := store.Trades(ctx, TradeQuery{Instrument: inst, Limit: 1})
	if err != nil {
		return Trade{}, fmt.Errorf("reading the last trade: %w", err)
	}
	if len(trades) == 0 {
		return Trade{}, nil
	}
	return trades[0], nil
}
