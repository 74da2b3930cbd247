package reference

import (
	"maps"
	"math/big"
	"slices"

	"github.com/castlecloud/exchange"
)

// Clone returns an engine of its own with the same state. It stands for a
// snapshot that is restored.
func (e *Engine) Clone() *Engine {
	c := e.copy()
	for _, b := range c.books {
		switch e.cfg.Faults {
		case RestoreForgetsTriggers:
			b.waiting = nil
		case RestoreForgetsExpiry:
			for _, o := range b.live {
				o.Expire = 0
			}
		case RestoreForgetsTradeID:
			b.lastTrade = 0
		}
	}
	return c
}

func (e *Engine) copy() *Engine {
	c := *e
	c.out = nil
	c.books = map[exchange.InstrumentID]*book{}
	for id, b := range e.books {
		c.books[id] = b.copy()
	}
	c.streams = map[exchange.InstrumentID]*stream{}
	for id, s := range e.streams {
		// Clipped, so that neither appends where the other reads.
		c.streams[id] = &stream{s.seq, slices.Clip(s.seen), s.floor}
		s.seen = slices.Clip(s.seen)
	}
	if c.cfg.Matcher { // one stream by two names
		c.streams[0] = c.streams[c.ids[0]]
	}
	c.accounts = map[exchange.AccountID]*account{}
	for id, a := range e.accounts {
		d := *a
		d.available, d.held, d.net = copyAmounts(a.available), copyAmounts(a.held), maps.Clone(a.net)
		c.accounts[id] = &d
	}
	c.limits, c.kills = maps.Clone(e.limits), maps.Clone(e.kills)
	return &c
}

// copyAmounts copies the map; the numbers in it are never changed in place.
func copyAmounts(from map[exchange.AssetID]*big.Int) map[exchange.AssetID]*big.Int {
	return maps.Clone(from)
}

func (b *book) copy() *book {
	c := *b
	c.live = map[exchange.OrderID]*order{}
	for id, o := range b.live {
		d := *o // its fee is never changed in place
		c.live[id] = &d
	}
	list := func(orders []*order) []*order {
		var copies []*order
		for _, o := range orders {
			copies = append(copies, c.live[o.ID])
		}
		return copies
	}
	for side := range c.sides {
		c.sides[side] = list(b.sides[side])
	}
	c.waiting, c.queue = list(b.waiting), list(b.queue)
	return &c
}
