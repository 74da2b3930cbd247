package pipeline

import (
	"slices"

	"github.com/castlecloud/exchange"
)

// publicBook knows the book as the public has been told of it, and finds out
// what a batch has changed of it. Levels that were touched but look as before
// are left out: who hides an order must not be given away by it.
type publicBook struct {
	book    *exchange.Book
	known   map[levelKey]visible
	touched []levelKey

	bids, asks []exchange.Level // the best of them, as of checksum
	checksum   uint32
	scratch    []exchange.Level
}

// levelKey is side and price as one number: bids before asks, by price.
type levelKey uint64

const levelPriceBits = 61

func keyOf(side exchange.Side, price exchange.Price) levelKey {
	return levelKey(side-exchange.Buy)<<levelPriceBits | levelKey(price)
}

func (k levelKey) side() exchange.Side   { return exchange.Buy + exchange.Side(k>>levelPriceBits) }
func (k levelKey) price() exchange.Price { return exchange.Price(k & (1<<levelPriceBits - 1)) }

// visible is what is seen of a level.
type visible struct {
	qty    exchange.Qty
	orders int
}

// newPublicBook begins with a book as it is.
func newPublicBook(book *exchange.Book) *publicBook {
	p := &publicBook{book: book, known: map[levelKey]visible{}}
	for _, side := range [...]exchange.Side{exchange.Buy, exchange.Sell} {
		p.scratch = book.Levels(p.scratch[:0], side, 0)
		for _, lv := range p.scratch {
			p.known[keyOf(side, lv.Price)] = visible{lv.Qty, lv.Orders}
		}
	}
	p.sum()
	return p
}

// touch notes the levels that events may have changed, and returns how many of
// the events are trades.
func (p *publicBook) touch(events []exchange.Event) (trades int64) {
	for i := range events {
		switch ev := &events[i]; ev.Kind {
		case exchange.EventAccepted, exchange.EventCanceled, exchange.EventExpired, exchange.EventAmended,
			exchange.EventTriggered, exchange.EventReplenished, exchange.EventRepriced:
			p.touchLevel(ev.Side, ev.Price)
		case exchange.EventTrade:
			trades++
			p.touchLevel(ev.Side.Opposite(), ev.Price)
		case exchange.EventSelfTradePrevented:
			p.touchLevel(ev.Side.Opposite(), ev.Price)
		}
	}
	return trades
}

// touchLevel notes one level; prices below 1 are none.
func (p *publicBook) touchLevel(side exchange.Side, price exchange.Price) {
	if price < 1 {
		return
	}
	key := keyOf(side, price)
	if n := len(p.touched); n == 0 || p.touched[n-1] != key {
		p.touched = append(p.touched, key)
	}
}

// changes returns the levels that differ from what was known, and knows them
// from then on.
func (p *publicBook) changes() []LevelChange {
	slices.Sort(p.touched)
	p.touched = slices.Compact(p.touched)
	// Those that changed move to the front.
	n := 0
	for _, key := range p.touched {
		lv, _ := p.book.Level(key.side(), key.price())
		now := visible{lv.Qty, lv.Orders}
		if p.known[key] == now {
			continue
		}
		if now == (visible{}) {
			delete(p.known, key)
		} else {
			p.known[key] = now
		}
		p.touched[n] = key
		n++
	}
	if n == 0 {
		p.touched = p.touched[:0]
		return nil
	}
	changed := make([]LevelChange, n)
	for i, key := range p.touched[:n] {
		now := p.known[key]
		changed[i] = LevelChange{Side: key.side(), Level: exchange.Level{Price: key.price(), Qty: now.qty, Orders: now.orders}}
	}
	p.touched = p.touched[:0]
	return changed
}

// sum returns BookChecksum of the book as it is.
func (p *publicBook) sum() uint32 {
	same := true
	best := func(had *[]exchange.Level, side exchange.Side) {
		p.scratch = p.book.Levels(p.scratch[:0], side, ChecksumLevels)
		if same = same && slices.EqualFunc(*had, p.scratch, func(a, b exchange.Level) bool { return a.Price == b.Price && a.Qty == b.Qty }); !same {
			*had = append((*had)[:0], p.scratch...)
		}
	}
	best(&p.bids, exchange.Buy)
	best(&p.asks, exchange.Sell)
	if !same || p.checksum == 0 {
		p.checksum = BookChecksum(p.book.Instrument(), p.bids, p.asks)
	}
	return p.checksum
}
