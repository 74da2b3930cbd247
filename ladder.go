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
// A level is found by its price in a hash table. The next level is found by
// occupancy: coordinates are cut into regions of 2^18, and in a region three
// layers of 64-bit words say what is there, so that counting trailing zeros
// finds it, however far away it is.
type ladder struct {
	sign    int64 // +1: low is best, -1: high is best
	best    ref   // the best level, 0: none
	bestX   int64 // its coordinate, noLevel: none
	book    *Book
	buckets []ref // levels by hash of their coordinate, chained
	shift   uint8 // of a hash, so that a bucket's index is left
	levels  int
	recent  [recentRegions]*region // by key modulo recentRegions; nil: unknown
	regions []*region              // by key
	empty   int                    // how many regions are empty
}

// noLevel lies beyond every coordinate and every limit.
const noLevel = math.MaxInt64

const (
	wordBits   = 6
	wordSize   = 1 << wordBits
	regionBits = 3 * wordBits
	// recentRegions saves the search among up to so many neighbours.
	recentRegions = 64
	// emptyRegionsMax bounds the empty regions that are kept, so that an order
	// that comes and goes where nothing else is does not build one each time.
	emptyRegionsMax = 16
)

// region says which of 2^18 coordinates are occupied: a bit of top for each word of
// mid that is not zero, and so on down.
type region struct {
	key  int64 // its coordinates >> regionBits
	top  uint64
	mid  [wordSize]uint64
	leaf [wordSize * wordSize]uint64
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
	chain   ref    // the next level of its bucket
}

func (l *ladder) init(b *Book, sign int64) {
	l.book, l.sign, l.bestX = b, sign, noLevel
}

// x returns the coordinate of a price.
func (l *ladder) x(p Price) int64 { return int64(p) * l.sign }

// bucketsPerLevel keeps most buckets empty or single: a chain costs a
// mispredicted branch, an empty bucket four bytes.
const bucketsPerLevel = 4

// bucket returns where a coordinate's chain begins. The golden ratio's high
// bits spread neighbouring prices so evenly that hardly two meet.
func (l *ladder) bucket(x int64) *ref {
	return &l.buckets[uint64(x)*0x9e3779b97f4a7c15>>(l.shift&63)&uint64(len(l.buckets)-1)]
}

// at returns the level of a coordinate, 0 when there is none.
func (l *ladder) at(x int64) ref {
	r := ref(0)
	if len(l.buckets) > 0 {
		price := Price(x * l.sign)
		for r = *l.bucket(x); r != 0; {
			lv := l.book.levels.at(r)
			if lv.price == price {
				break
			}
			r = lv.chain
		}
	}
	return r
}

// grow doubles the buckets.
func (l *ladder) grow() {
	old := l.buckets
	l.buckets = make([]ref, max(indexMinSlots, 2*len(old)))
	l.shift = uint8(64 - bits.TrailingZeros(uint(len(l.buckets))))
	for _, r := range old {
		for r != 0 {
			lv := l.book.levels.at(r)
			b := l.bucket(l.x(lv.price))
			r, lv.chain, *b = lv.chain, *b, r
		}
	}
}

// level returns the level of a price, made when it is not there.
func (l *ladder) level(p Price) (ref, *level) {
	x := l.x(p)
	if x == l.bestX {
		return l.best, l.book.levels.at(l.best)
	}
	if (l.levels+1)*bucketsPerLevel > len(l.buckets) {
		l.grow()
	}
	bucket := l.bucket(x)
	for r := *bucket; r != 0; {
		lv := l.book.levels.at(r)
		if lv.price == p {
			return r, lv
		}
		r = lv.chain
	}
	rg := l.region(x >> regionBits)
	i, j := words(x)
	if rg.top == 0 {
		l.empty--
	}
	rg.top |= 1 << i
	rg.mid[i] |= 1 << (j & (wordSize - 1))
	rg.leaf[j] |= 1 << (x & (wordSize - 1))
	r := l.book.levels.alloc()
	lv := l.book.levels.at(r)
	lv.price, lv.total, lv.visible, lv.head, lv.tail, lv.orders, lv.shown = p, 0, 0, 0, 0, 0, 0
	lv.chain, *bucket = *bucket, r
	l.levels++
	if x < l.bestX {
		l.best, l.bestX = r, x
	}
	return r, lv
}

// remove takes away a level without orders.
func (l *ladder) remove(r ref, lv *level) {
	x := l.x(lv.price)
	at := l.bucket(x)
	for *at != r {
		at = &l.book.levels.at(*at).chain
	}
	*at = lv.chain
	l.levels--
	l.book.levels.free(r)
	rg := l.region(x >> regionBits)
	i, j := words(x)
	if rg.leaf[j] &^= 1 << (x & (wordSize - 1)); rg.leaf[j] == 0 {
		if rg.mid[i] &^= 1 << (j & (wordSize - 1)); rg.mid[i] == 0 {
			rg.top &^= 1 << i
		}
	}
	if x == l.bestX {
		l.best, l.bestX = l.after(x)
	}
	if rg.top == 0 {
		l.emptied()
	}
}

// words returns where in mid and in leaf the bits of a coordinate are.
func words(x int64) (mid, leaf int) {
	return int(x>>(2*wordBits)) & (wordSize - 1), int(x>>wordBits) & (wordSize*wordSize - 1)
}

// after returns the level next to coordinate x, further from the best, and
// its coordinate; 0 and noLevel when there is none. It changes nothing, so
// that readers may call it side by side.
func (l *ladder) after(x int64) (ref, int64) {
	next := l.search(x)
	if next == noLevel {
		return 0, noLevel
	}
	return l.at(next), next
}

// search returns the first occupied coordinate above x.
func (l *ladder) search(x int64) int64 {
	key := x >> regionBits
	rg := l.recent[key&(recentRegions-1)]
	if rg == nil || rg.key != key {
		i, found := l.find(key)
		if !found {
			return l.searchFrom(i)
		}
		rg = l.regions[i]
	}
	i, j := words(x)
	if at := above(rg.leaf[j], int(x)&(wordSize-1)); at < wordSize {
		return x&^(wordSize-1) | int64(at)
	}
	if at := above(rg.mid[i], j&(wordSize-1)); at < wordSize {
		return rg.first(j&^(wordSize-1) | at)
	}
	if at := above(rg.top, i); at < wordSize {
		return rg.first(at<<wordBits | bits.TrailingZeros64(rg.mid[at]))
	}
	i, _ = l.find(key)
	return l.searchFrom(i + 1)
}

// searchFrom returns the first occupied coordinate in the regions from i on.
func (l *ladder) searchFrom(i int) int64 {
	for ; i < len(l.regions); i++ {
		if rg := l.regions[i]; rg.top != 0 {
			at := bits.TrailingZeros64(rg.top)
			return rg.first(at<<wordBits | bits.TrailingZeros64(rg.mid[at]))
		}
	}
	return noLevel
}

// first returns the first occupied coordinate in word j, which is not zero.
func (rg *region) first(j int) int64 {
	return rg.key<<regionBits | int64(j)<<wordBits | int64(bits.TrailingZeros64(rg.leaf[j]))
}

// above returns the lowest set bit of w above bit i, 64 when there is none.
func above(w uint64, i int) int {
	return bits.TrailingZeros64(w & (^uint64(1) << i))
}

// find returns where the region with the key is, or belongs.
func (l *ladder) find(key int64) (i int, found bool) {
	i = sort.Search(len(l.regions), func(i int) bool { return l.regions[i].key >= key })
	return i, i < len(l.regions) && l.regions[i].key == key
}

// region returns the region with the key, made when it is not there.
func (l *ladder) region(key int64) *region {
	if rg := l.recent[key&(recentRegions-1)]; rg != nil && rg.key == key {
		return rg
	}
	i, found := l.find(key)
	if !found {
		l.regions = slices.Insert(l.regions, i, &region{key: key})
		l.empty++
	}
	l.recent[key&(recentRegions-1)] = l.regions[i]
	return l.regions[i]
}

// emptied drops the empty regions when there are too many.
func (l *ladder) emptied() {
	if l.empty++; l.empty <= emptyRegionsMax {
		return
	}
	l.regions = slices.DeleteFunc(l.regions, func(rg *region) bool { return rg.top == 0 })
	l.recent, l.empty = [recentRegions]*region{}, 0
}
