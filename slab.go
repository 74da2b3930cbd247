package exchange

import (
	"encoding/binary"
	"math/bits"
)

// ref is an index into a slab. 0 is none.
type ref = uint32

// Slabs grow by whole chunks and never move what they hold: growing costs no
// copy, a pointer into a slab stays good, and a chunk without pointers is
// never scanned by the garbage collector.
const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

// slab hands out values of T by reference. Freed ones are reused last in,
// first out, so that the warm ones are used again.
type slab[T any] struct {
	chunks []*[chunkSize]T
	unused []ref
	next   ref // lowest reference never handed out
}

// alloc returns a reference to a value in the state it was freed in: zero
// when it is new.
func (s *slab[T]) alloc() ref {
	if n := len(s.unused); n > 0 {
		r := s.unused[n-1]
		s.unused = s.unused[:n-1]
		return r
	}
	return s.extend()
}

// extend returns a reference that was never handed out.
//
//go:noinline
func (s *slab[T]) extend() ref {
	if s.next == 0 {
		s.next = 1 // 0 stands for none
	}
	if int(s.next>>chunkBits) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkSize]T))
	}
	s.next++
	return s.next - 1
}

func (s *slab[T]) free(r ref) { s.unused = append(s.unused, r) }

// made returns the highest reference handed out, 0 when there is none.
func (s *slab[T]) made() ref { return max(s.next, 1) - 1 }

func (s *slab[T]) at(r ref) *T { return &s.chunks[r>>chunkBits][r&(chunkSize-1)] }

// index is a hash table from 32-bit hashes to references; the caller compares
// keys. Each slot holds the hash above the reference, so that growing and
// removing need no key. It is never iterated, so its order never shows.
type index struct {
	slots []uint64
	n     int
}

const (
	indexMinSlots = 16
	// A small table is kept an eighth full, so that most questions about what
	// is not there end at the first slot; a large one half full.
	indexSparseSlots = 1 << 13
)

// next returns the next reference stored under hash h and 0 when there is
// none. *at begins as h and is moved on.
func (x *index) next(h uint32, at *uint32) ref {
	if len(x.slots) == 0 {
		return 0
	}
	mask := uint32(len(x.slots) - 1)
	for {
		s := x.slots[*at&mask]
		if s == 0 {
			return 0
		}
		*at++
		if uint32(s>>32) == h {
			return ref(s)
		}
	}
}

// put adds r under h, which the caller knows is not there yet.
func (x *index) put(h uint32, r ref) {
	if room := len(x.slots) - 2*(x.n+1); room < 0 || room < 6*(x.n+1) && len(x.slots) < indexSparseSlots {
		x.grow()
	}
	x.n++
	x.place(uint64(h)<<32 | uint64(r))
}

func (x *index) place(s uint64) {
	mask := uint32(len(x.slots) - 1)
	i := uint32(s>>32) & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]uint64, max(indexMinSlots, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			x.place(s)
		}
	}
}

// remove takes r, which is there, from under h, and moves back what had to
// step aside for it.
func (x *index) remove(h uint32, r ref) {
	mask := uint32(len(x.slots) - 1)
	want := uint64(h)<<32 | uint64(r)
	i := h & mask
	for x.slots[i] != want {
		i = (i + 1) & mask
	}
	x.n--
	for j := i; ; {
		j = (j + 1) & mask
		s := x.slots[j]
		if s == 0 {
			break
		}
		// s may fill the gap unless its home lies after the gap.
		if (j-uint32(s>>32))&mask >= (j-i)&mask {
			x.slots[i] = s
			i = j
		}
	}
	x.slots[i] = 0
}

// mix spreads a 64-bit key over 32 bits (the finalizer of MurmurHash3).
func mix(k uint64) uint32 {
	k ^= k >> 33
	k *= 0xff51afd7ed558ccd
	k ^= k >> 33
	k *= 0xc4ceb9fe1a85ec53
	return uint32(k >> 32)
}

// halves returns the id as two numbers.
func (id *CommandID) halves() (lo, hi uint64) {
	return binary.LittleEndian.Uint64(id[:8]), binary.LittleEndian.Uint64(id[8:])
}

func (id *CommandID) zero() bool {
	lo, hi := id.halves()
	return lo|hi == 0
}

func (id *CommandID) hash() uint32 {
	lo, hi := id.halves()
	return mix(lo ^ bits.RotateLeft64(hi, 32)*0x9e3779b97f4a7c15)
}

// idIndex finds an order by its dense OrderID: root, directory, page. A page
// whose orders are all done is freed, so a few long-lived orders among many
// millions of ids cost a page each.
type idIndex struct {
	dirs   []*idDir // nil where all orders are done
	newest *idPage  // the page of the ids given last, nil: unknown
	number OrderID  // its ids >> idPageBits
	unused []*idPage
}

const (
	idPageBits = 12
	idPageSize = 1 << idPageBits
	idDirBits  = 2 * idPageBits
	// idUnusedMax bounds the freed pages kept for reuse.
	idUnusedMax = 64
)

type idDir struct {
	live  int
	pages [idPageSize]*idPage
}

type idPage struct {
	live int
	refs [idPageSize]ref
}

func (x *idIndex) page(id OrderID) *idPage {
	if d := id >> idDirBits; d < OrderID(len(x.dirs)) && x.dirs[d] != nil {
		return x.dirs[d].pages[id>>idPageBits&(idPageSize-1)]
	}
	return nil
}

func (x *idIndex) get(id OrderID) ref {
	if p := x.page(id); p != nil {
		return p.refs[id&(idPageSize-1)]
	}
	return 0
}

func (x *idIndex) put(id OrderID, r ref) {
	p := x.newest
	if p == nil || x.number != id>>idPageBits {
		p = x.openPage(id)
	}
	p.refs[id&(idPageSize-1)] = r
	p.live++
}

// openPage returns the page of an id, made when it is not there.
func (x *idIndex) openPage(id OrderID) *idPage {
	if x.newest = x.page(id); x.newest == nil {
		x.newest = x.addPage(id)
	}
	x.number = id >> idPageBits
	return x.newest
}

func (x *idIndex) addPage(id OrderID) *idPage {
	d := int(id >> idDirBits)
	for len(x.dirs) <= d {
		x.dirs = append(x.dirs, nil)
	}
	if x.dirs[d] == nil {
		x.dirs[d] = new(idDir)
	}
	var p *idPage
	if n := len(x.unused); n > 0 {
		p, x.unused = x.unused[n-1], x.unused[:n-1]
	} else {
		p = new(idPage)
	}
	x.dirs[d].pages[id>>idPageBits&(idPageSize-1)] = p
	x.dirs[d].live++
	return p
}

func (x *idIndex) remove(id OrderID) { x.take(x.page(id), id) }

// take removes an id from its page.
func (x *idIndex) take(p *idPage, id OrderID) {
	p.refs[id&(idPageSize-1)] = 0
	if p.live--; p.live == 0 {
		x.emptied(p, id)
	}
}

// emptied drops the page of an id, whose orders are all done.
func (x *idIndex) emptied(p *idPage, id OrderID) {
	if x.newest == p {
		x.newest = nil
	}
	dir := x.dirs[id>>idDirBits]
	dir.pages[id>>idPageBits&(idPageSize-1)] = nil
	if len(x.unused) < idUnusedMax {
		x.unused = append(x.unused, p) // all of its refs are zero again
	}
	// The newest directory stays: the next ids fall into it.
	if dir.live--; dir.live == 0 && int(id>>idDirBits) < len(x.dirs)-1 {
		x.dirs[id>>idDirBits] = nil
	}
}

// descend calls yield with the references from the highest id to the lowest
// until it returns false.
func (x *idIndex) descend(yield func(ref) bool) {
	for d := len(x.dirs) - 1; d >= 0; d-- {
		if x.dirs[d] == nil {
			continue
		}
		for i := idPageSize - 1; i >= 0; i-- {
			p := x.dirs[d].pages[i]
			if p == nil {
				continue
			}
			for j := idPageSize - 1; j >= 0; j-- {
				if r := p.refs[j]; r != 0 && !yield(r) {
					return
				}
			}
		}
	}
}
