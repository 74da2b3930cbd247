package exchangetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/pipeline"
)

// TestArchive runs ArchiveCases.
func TestArchive(t *testing.T, open Open[pipeline.Archive]) { Run(t, ArchiveCases, open) }

// TestDurableArchive runs DurableArchiveCases.
func TestDurableArchive(t *testing.T, h Durable[pipeline.Archive]) { Run(t, DurableArchiveCases, h) }

// ArchiveCases is what every pipeline.Archive does.
var ArchiveCases = []Case[Open[pipeline.Archive]]{
	{"empty", archiveEmpty},
	{"objects come back as they were written", archiveRoundTrip},
	{"an object is written once", archiveOnce},
	{"names are checked", archiveNames},
	{"objects above the limits of stores, and one beyond the bound", archiveBig},
	{"names are listed in order, by prefix, in pages", archiveList},
	{"of two objects at one name one is written", archiveRace},
	{"no slice is kept", archiveKeepsNoSlice},
	{"what is returned belongs to the caller", archiveReturnsCopies},
}

// DurableArchiveCases is what every pipeline.Archive does that survives.
var DurableArchiveCases = []Case[Durable[pipeline.Archive]]{
	{"objects survive", durableArchive},
}

func objectIs(t testing.TB, a pipeline.Archive, name string, want []byte) {
	t.Helper()
	got, err := a.Get(t.Context(), name)
	require.NoError(t, err, name)
	require.True(t, bytes.Equal(want, got), "object %q: %d bytes, want %d", name, len(got), len(want))
}

func archiveEmpty(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	_, err := a.Get(t.Context(), "nothing")
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	names, err := a.List(t.Context(), "", "", 1)
	require.NoError(t, err)
	require.Empty(t, names)
}

func archiveRoundTrip(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	objects := map[string][]byte{"a": []byte("one"), "a.b": []byte("two"), "dir/a": {0, 1, 2, 255}, "dir/sub/empty": {}, "A": []byte("upper")}
	for _, name := range []string{"a", "a.b", "dir/a", "dir/sub/empty", "A"} {
		require.NoError(t, a.Put(t.Context(), name, objects[name]), name)
	}
	for _, name := range []string{"a", "a.b", "dir/a", "dir/sub/empty", "A"} {
		objectIs(t, a, name, objects[name])
	}
	for _, name := range []string{"b", "dir", "dir/sub", "dir/", "a/", "dir/a/b"} {
		_, err := a.Get(t.Context(), name)
		require.Error(t, err, name)
	}
	_, err := a.Get(t.Context(), "dir/sub")
	require.ErrorIs(t, err, pipeline.ErrNotFound)
}

func archiveOnce(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	require.NoError(t, a.Put(t.Context(), "one", []byte("data")))
	require.NoError(t, a.Put(t.Context(), "one", []byte("data")), "again")
	for _, other := range []string{"datb", "dat", "data ", ""} {
		require.ErrorIs(t, a.Put(t.Context(), "one", []byte(other)), pipeline.ErrConflict, "%q over %q", other, "data")
		objectIs(t, a, "one", []byte("data"))
	}
	require.NoError(t, a.Put(t.Context(), "two", nil))
	require.NoError(t, a.Put(t.Context(), "two", []byte{}))
	require.ErrorIs(t, a.Put(t.Context(), "two", []byte("x")), pipeline.ErrConflict)
}

func archiveNames(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	for _, name := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a/..", "a b", "a\\b", "a\x00", "ä", "a*", "a:b",
		"a\n", strings.Repeat("n", pipeline.MaxNameBytes+1), strings.Repeat("n/", pipeline.MaxNameBytes/2) + "n"} {
		require.ErrorIs(t, a.Put(t.Context(), name, []byte("data")), pipeline.ErrInvalid, "name %q", name)
	}
	archiveEmpty(t, func(testing.TB) pipeline.Archive { return a })
	for _, name := range []string{"a", "...", "..a", "a..", ".hidden/-_.", "0/9", "azAZ09._-", strings.Repeat("n", 200) + "/" + strings.Repeat("m", pipeline.MaxNameBytes-201),
		strings.Repeat("n/", pipeline.MaxNameBytes/2-1) + "nn"} {
		require.NoError(t, a.Put(t.Context(), name, []byte(name)), "name %q", name)
		objectIs(t, a, name, []byte(name))
	}
}

func archiveBig(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	for i, size := range []int{400<<10 + 1, 5*bigSize + 3} {
		name := fmt.Sprint("big/", i)
		require.NoError(t, a.Put(t.Context(), name, noise(uint64(i), size)))
		objectIs(t, a, name, noise(uint64(i), size))
	}
	require.ErrorIs(t, a.Put(t.Context(), "huge", huge(t, pipeline.MaxObjectBytes+1)), pipeline.ErrTooLarge)
	_, err := a.Get(t.Context(), "huge")
	require.ErrorIs(t, err, pipeline.ErrNotFound)
}

func archiveList(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	names := []string{"-", "0", "A", "_", "a", "a-", "a.b", "a/", "a/b", "a/b/c", "a/c", "a0", "ab", "b/1", "b/10", "b/2", "z"}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "/") })
	for i := range names {
		require.NoError(t, a.Put(t.Context(), names[(i*5)%len(names)], []byte("x")))
	}
	slices.Sort(names)
	for _, prefix := range []string{"", "a", "a/", "a/b", "b/1", "zz", "A", "b/"} {
		for _, after := range []string{"", "a", "a/b", "a/bb", "b/1", "z", "zz", "0"} {
			for _, limit := range []int{1, 2, pipeline.MaxQueryRows} {
				var want []string
				for _, name := range names {
					if strings.HasPrefix(name, prefix) && name > after && len(want) < limit {
						want = append(want, name)
					}
				}
				got, err := a.List(t.Context(), prefix, after, limit)
				require.NoError(t, err)
				require.Equal(t, want, slices.Clip(append([]string(nil), got...)), "prefix %q, after %q, limit %d", prefix, after, limit)
			}
		}
	}
	for _, limit := range []int{0, -1, pipeline.MaxQueryRows + 1} {
		_, err := a.List(t.Context(), "", "", limit)
		require.ErrorIs(t, err, pipeline.ErrInvalid, "limit %d", limit)
	}
}

func archiveRace(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	for round := range 10 {
		name := fmt.Sprint("race/", round)
		data := func(i int) []byte { return noise(uint64(i), 1000*(i+1)) }
		errs := together(8, func(i int) error { return a.Put(t.Context(), name, data(i)) })
		require.Equal(t, 1, succeeded(t, errs, pipeline.ErrConflict), "objects written to one name")
		objectIs(t, a, name, data(slices.Index(errs, nil)))
	}
	errs := together(8, func(int) error { return a.Put(t.Context(), "same", noise(1, 1000)) })
	require.NoError(t, errors.Join(errs...), "the same bytes at the same time")
	objectIs(t, a, "same", noise(1, 1000))
}

func archiveKeepsNoSlice(t testing.TB, open Open[pipeline.Archive]) {
	a, data := open(t), noise(1, 100)
	require.NoError(t, a.Put(t.Context(), "mine", data))
	spoil(data)
	objectIs(t, a, "mine", noise(1, 100))
}

func archiveReturnsCopies(t testing.TB, open Open[pipeline.Archive]) {
	a := open(t)
	require.NoError(t, a.Put(t.Context(), "mine", noise(1, 100)))
	for range 2 {
		got, err := a.Get(t.Context(), "mine")
		require.NoError(t, err)
		spoil(got)
		names, err := a.List(t.Context(), "", "", 1)
		require.NoError(t, err)
		require.Equal(t, []string{"mine"}, names)
		names[0] = "yours"
	}
	objectIs(t, a, "mine", noise(1, 100))
}

func durableArchive(t testing.TB, h Durable[pipeline.Archive]) {
	a := h.Open(t)
	require.NoError(t, a.Put(t.Context(), "dir/one", noise(1, bigSize)))
	require.NoError(t, a.Put(t.Context(), "two", nil))
	for range 2 {
		a = h.Reopen(t, a)
		objectIs(t, a, "dir/one", noise(1, bigSize))
		objectIs(t, a, "two", nil)
		names, err := a.List(t.Context(), "", "", 10)
		require.NoError(t, err)
		require.Equal(t, []string{"dir/one", "two"}, names)
	}
	require.NoError(t, a.Put(t.Context(), "two", nil))
	require.ErrorIs(t, a.Put(t.Context(), "two", []byte("x")), pipeline.ErrConflict)
}
