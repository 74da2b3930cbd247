package exchange

import (
	"math"
	"math/bits"
	"slices"
	"sort"
)

// A ladder holds the price levels of one side, or the trigger prices of
// waiting orders, best first. Where a level stands is its coordinate: the
// price where low is best, minus the price where high is best, so that best
// is always lowest.
//
// Coordinates are cut into regions of 2^18. In a region three layers of
// 64-bit words say what is occupied: one word for the region, 64 below it,
// and one in each page of 64 level slots. The next level is found by counting
// trailing zeros, however far away it is.
type ladder struct {
	sign    int64 // +1: low is best, -1: high is best
	best    ref   // the best level, 0: none
	bestX   int64 // its coordinate, noLevel: none
	regions []*region
	current int // the region used last
	empty   int // how many regions are empty
	book    *Book
}

// noLevel lies beyond every coordinate and every limit.
const noLevel = math.MaxInt64

const (
	wordBits   = 6
	regionBits = 3 * wordBits
	// emptyRegionsMax bounds the empty regions that are kept, so that an order
	// that comes and goes where nothing else is does not build one each time.
	emptyRegionsMax = 16
)

type region struct {
	key   int64 // its coordinates >> regionBits
	top   uint64
	mid   [64]uint64
	pages [64 * 64]ref
}

type page struct {
	used   uint64
	levels [64]ref
}

// level is one price: its quantities and the queue of its orders.
type level struct {
	price   Price
	total   Qty    // open quantity
	visible Qty    // the part the public sees
	head    ref    // first in time
	tail    ref    // last in time
	orders  uint32 // all
	shown   uint32 // those that are not hidden
}

func (l *ladder) init(b *Book, sign int64) {
	l.book, l.sign, l.bestX = b, sign, noLevel
}

// x returns the coordinate of a price.
func (l *ladder) x(p Price) int64 { return int64(p) * l.sign }

// find returns where the region with the key is, or belongs. It changes
// nothing, so that readers may call it side by side.
func (l *ladder) find(key int64) (at int, found bool) {
	at = l.current
	if at >= len(l.regions) || l.regions[at].key != key {
		at = sort.Search(len(l.regions), func(i int) bool { return l.regions[i].key >= key })
	}
	return at, at < len(l.regions) && l.regions[at].key == key
}

// level returns the level of a price, made when it is not there.
func (l *ladder) level(p Price) ref {
	x := l.x(p)
	if x == l.bestX {
		return l.best
	}
	i, found := l.find(x >> regionBits)
	l.current = i
	if !found {
		l.addRegion(i, x>>regionBits)
	}
	rg := l.regions[i]
	slot := int(x>>wordBits) & (64*64 - 1)
	pg := rg.pages[slot]
	if pg == 0 {
		pg = l.book.pages.alloc()
		rg.pages[slot] = pg
		if rg.top == 0 {
			l.empty--
		}
		rg.top |= 1 << (slot >> wordBits)
		rg.mid[slot>>wordBits] |= 1 << (slot & 63)
	}
	p64 := l.book.pages.at(pg)
	at := int(x) & 63
	if r := p64.levels[at]; r != 0 {
		return r
	}
	r := l.book.levels.alloc()
	*l.book.levels.at(r) = level{price: p}
	p64.levels[at] = r
	p64.used |= 1 << at
	if x < l.bestX {
		l.best, l.bestX = r, x
	}
	return r
}

// remove takes away a level without orders.
func (l *ladder) remove(r ref) {
	x := l.x(l.book.levels.at(r).price)
	l.current, _ = l.find(x >> regionBits)
	rg := l.regions[l.current]
	slot := int(x>>wordBits) & (64*64 - 1)
	p64 := l.book.pages.at(rg.pages[slot])
	at := int(x) & 63
	p64.levels[at] = 0
	p64.used &^= 1 << at
	l.book.levels.free(r)
	if x == l.bestX {
		l.best, l.bestX = l.after(x)
	}
	if p64.used != 0 {
		return
	}
	l.book.pages.free(rg.pages[slot])
	rg.pages[slot] = 0
	rg.mid[slot>>wordBits] &^= 1 << (slot & 63)
	if rg.mid[slot>>wordBits] == 0 {
		rg.top &^= 1 << (slot >> wordBits)
		if rg.top == 0 {
			l.emptied()
		}
	}
}

// after returns the level next to coordinate x, further from the best, and
// its coordinate; 0 and noLevel when there is none.
func (l *ladder) after(x int64) (ref, int64) {
	i, found := l.find(x >> regionBits)
	if found {
		rg := l.regions[i]
		slot := int(x>>wordBits) & (64*64 - 1)
		if pg := rg.pages[slot]; pg != 0 {
			if at := above(l.book.pages.at(pg).used, int(x)&63); at < 64 {
				return l.at(rg, slot, at)
			}
		}
		if j := above(rg.mid[slot>>wordBits], slot&63); j < 64 {
			return l.first(rg, slot&^63|j)
		}
		if j := above(rg.top, slot>>wordBits); j < 64 {
			return l.first(rg, j<<wordBits|bits.TrailingZeros64(rg.mid[j]))
		}
		i++
	}
	for ; i < len(l.regions); i++ {
		if rg := l.regions[i]; rg.top != 0 {
			j := bits.TrailingZeros64(rg.top)
			return l.first(rg, j<<wordBits|bits.TrailingZeros64(rg.mid[j]))
		}
	}
	return 0, noLevel
}

func (l *ladder) first(rg *region, slot int) (ref, int64) {
	return l.at(rg, slot, bits.TrailingZeros64(l.book.pages.at(rg.pages[slot]).used))
}

func (l *ladder) at(rg *region, slot, at int) (ref, int64) {
	return l.book.pages.at(rg.pages[slot]).levels[at], rg.key<<regionBits | int64(slot)<<wordBits | int64(at)
}

// above returns the lowest set bit of w above bit i, 64 when there is none.
func above(w uint64, i int) int {
	return bits.TrailingZeros64(w & (^uint64(1) << i))
}

func (l *ladder) addRegion(i int, key int64) {
	l.regions = slices.Insert(l.regions, i, &region{key: key})
	l.empty++
}

// emptied drops the empty regions when there are too many.
func (l *ladder) emptied() {
	if l.empty++; l.empty <= emptyRegionsMax {
		return
	}
	kept := l.regions[:0]
	for _, rg := range l.regions {
		if rg.top != 0 {
			kept = append(kept, rg)
		}
	}
	clear(l.regions[len(kept):])
	l.regions, l.current, l.empty = kept, 0, 0
}
