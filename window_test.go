package exchange

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWindowWraps runs the dedup window across the wraps of its numbers, of 10
// bits in the heads and of 32 bits in the chains, beside a map (DEDUP-002).
func TestWindowWraps(t *testing.T) {
	for name, start := range map[string]uint32{
		"from nothing": 0,
		"31 bits":      1<<31 - 3000,
		"32 bits":      1<<32 - 3000,
	} {
		t.Run(name, func(t *testing.T) {
			const count = 500
			w := window{added: start}
			w.configure(1<<62, count)
			w.reserve(2000)
			id := func(i int) (id CommandID) {
				binary.BigEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15)
				return id
			}
			for i := 1; i <= 10_000; i++ {
				next := id(i)
				_, known := w.find(next.hash(), &next)
				require.False(t, known, "id %d before it came", i)
				w.remember(next.hash(), &next, Time(i))
				if i%3 == 0 { // an order lives for a while, some longer than its id is remembered
					w.bind(w.added-1, ref(i%2000+1))
				}
				for _, back := range []int{0, 1, 7, count / 2, count - 1, count, count + 1, 2 * count} {
					old := i - back
					if old < 1 {
						continue
					}
					oldID := id(old)
					number, known := w.find(oldID.hash(), &oldID)
					require.Equal(t, back < count, known, "id %d, %d back", old, back)
					if !known {
						continue
					}
					order := w.orderOf(number)
					if old%3 == 0 {
						require.Equal(t, ref(old%2000+1), order)
					} else {
						require.Zero(t, order)
					}
				}
				if end := i - 1500; end > 0 && end%3 == 0 {
					ended := id(end)
					w.unbind(&ended, ref(end%2000+1))
				}
			}
			require.Equal(t, count, w.n)
			require.Equal(t, Time(10_000-count), w.bar)
			require.Equal(t, 1000/3, w.outlived.n, "orders that live on without their id")
		})
	}
}

// TestIndexAgainstMap holds the hash index against a map, collisions and all.
func TestIndexAgainstMap(t *testing.T) {
	var x index
	want := map[ref]uint32{}
	state := uint32(1)
	random := func(n uint32) uint32 {
		state = state*1664525 + 1013904223
		return state >> 8 % n
	}
	for i := range 200_000 {
		r := ref(random(400) + 1)
		if h, there := want[r]; there {
			x.remove(h, r)
			delete(want, r)
		} else {
			h := random(60) * 0x01000193 // few hashes: long runs
			x.put(h, r)
			want[r] = h
		}
		if i%97 != 0 {
			continue
		}
		require.Equal(t, len(want), x.n)
		found := map[ref]uint32{}
		for h := range uint32(60) {
			h *= 0x01000193
			at := h
			for r := x.next(h, &at); r != 0; r = x.next(h, &at) {
				found[r] = h
			}
		}
		require.Equal(t, want, found)
	}
}
