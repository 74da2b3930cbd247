package files_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange/adapters/files"
	"github.com/castlecloud/exchange/pipeline"
)

func open(t *testing.T, dir string) *files.Archive {
	t.Helper()
	a, err := files.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

func TestObjectsAreWrittenOnce(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	a := open(t, dir)
	_, err := a.Get(ctx, "x/y")
	assert.ErrorIs(t, err, pipeline.ErrNotFound)
	data := bytes.Repeat([]byte("0123456789"), 20_000) // more than is compared at a time
	require.NoError(t, a.Put(ctx, "x/y", data))
	require.NoError(t, a.Put(ctx, "x/y", data), "repeated")
	for name, other := range map[string][]byte{
		"shorter": data[:len(data)-1], "longer": append(bytes.Clone(data), 1), "empty": nil,
		"another last byte": append(bytes.Clone(data[:len(data)-1]), 'x'),
	} {
		assert.ErrorIs(t, a.Put(ctx, "x/y", other), pipeline.ErrConflict, name)
	}
	require.NoError(t, a.Put(ctx, "empty", nil))
	require.NoError(t, a.Put(ctx, "empty", []byte{}), "repeated")
	assert.ErrorIs(t, a.Put(ctx, "empty", []byte{0}), pipeline.ErrConflict)
	assert.Empty(t, list(t, filepath.Join(dir, "+temporary")), "left behind")

	b := open(t, dir)
	got, err := b.Get(ctx, "x/y")
	require.NoError(t, err)
	assert.Equal(t, data, got)
	got, err = b.Get(ctx, "empty")
	require.NoError(t, err)
	assert.Empty(t, got)
}

func list(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return entries
}

func TestNamesThatLookAlikeAreApart(t *testing.T) {
	ctx := context.Background()
	a := open(t, t.TempDir())
	long := strings.Repeat("n", pipeline.MaxNameBytes)
	names := []string{"a", "a/b", "a/b/c", "a-b", "a.b", "a.b/c", "a0", "a_", "A", ".a", "..a", "...",
		long, long[:255], long[:128], long[:128] + "/a", long[:128] + "-", long[:254] + "/n", long[:128] + "/" + long[:127]}
	for _, name := range names {
		require.NoError(t, a.Put(ctx, name, []byte(name)), name)
	}
	for _, name := range names {
		got, err := a.Get(ctx, name)
		require.NoError(t, err, name)
		assert.Equal(t, name, string(got))
	}
	slices.Sort(names)
	got, err := a.List(ctx, "", "", pipeline.MaxQueryRows)
	require.NoError(t, err)
	assert.Equal(t, names, got)
}

func TestRefused(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "archive")
	a := open(t, dir)
	for _, name := range []string{"", "/a", "a/", "a//b", ".", "..", "../a", "a/../../b", "a/.", "a+b", "+temporary/1", "a b", "a\x00", "ä",
		strings.Repeat("n", pipeline.MaxNameBytes+1)} {
		assert.ErrorIs(t, a.Put(ctx, name, []byte("x")), pipeline.ErrInvalid, "%q", name)
		_, err := a.Get(ctx, name)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, "%q", name)
	}
	assert.ErrorIs(t, a.Put(ctx, "large", make([]byte, pipeline.MaxObjectBytes+1)), pipeline.ErrTooLarge)
	for _, limit := range []int{-1, 0, pipeline.MaxQueryRows + 1} {
		_, err := a.List(ctx, "", "", limit)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, "limit %d", limit)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, a.Put(ended, "a", nil), context.Canceled)
	_, err := a.List(ended, "", "", 1)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Len(t, list(t, dir), 1, "only the directory of what is being written")
	assert.Len(t, list(t, filepath.Dir(dir)), 1, "nothing beside the archive")

	_, err = files.Open(filepath.Join(dir, "file", "\x00"))
	assert.ErrorContains(t, err, "opening archive")
}

// A link out of the archive is not followed.
func TestNoWayOut(t *testing.T) {
	ctx := context.Background()
	outside, dir := t.TempDir(), t.TempDir()
	a := open(t, dir)
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out+")))
	_, err := a.Get(ctx, "out/secret")
	assert.Error(t, err)
	assert.Error(t, a.Put(ctx, "out/new", []byte("x")))
	assert.Len(t, list(t, outside), 1)
}

func TestOpenRemovesWhatWasNotFinished(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	require.NoError(t, open(t, dir).Put(ctx, "kept", []byte("x")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "+temporary", "17-1"), []byte("half"), 0o600))
	a := open(t, dir)
	assert.Empty(t, list(t, filepath.Join(dir, "+temporary")))
	names, err := a.List(ctx, "", "", 10)
	require.NoError(t, err)
	assert.Equal(t, []string{"kept"}, names)
}

// Of many that put different bytes under one name at once exactly one wins,
// and those with the winner's bytes with it; two archives on one directory
// stand for two processes.
func TestOneWinner(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	archives := []*files.Archive{open(t, dir), open(t, dir)}
	for round := range 20 {
		name := fmt.Sprintf("dir%d/object", round)
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = archives[i%2].Put(ctx, name, []byte{byte(i / 2)}) })
		}
		wg.Wait()
		got, err := archives[0].Get(ctx, name)
		require.NoError(t, err)
		for i, err := range errs {
			if byte(i/2) == got[0] {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, pipeline.ErrConflict)
			}
		}
	}
}

// List agrees with a sorted list of the names.
func TestListAgreesWithModel(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		require.NoError(rt, err)
		a, err := files.Open(dir)
		require.NoError(rt, err)
		defer a.Close()
		part := rapid.SampledFrom([]string{"a", "a-", "a.b", "b", "aa", "Z", "0"})
		name := rapid.Map(rapid.SliceOfN(part, 1, 3), func(p []string) string { return strings.Join(p, "/") })
		names := rapid.SliceOfNDistinct(name, 0, 12, rapid.ID[string]).Draw(rt, "names")
		for _, n := range names {
			require.NoError(rt, a.Put(ctx, n, []byte(n)))
		}
		slices.Sort(names)
		prefix := rapid.OneOf(rapid.Just(""), name, rapid.SampledFrom([]string{"a/", "a", "a/a", "x"})).Draw(rt, "prefix")
		after := rapid.OneOf(rapid.Just(""), name, rapid.SampledFrom([]string{"a/", "a/b/", "zz"})).Draw(rt, "after")
		limit := rapid.IntRange(1, 13).Draw(rt, "limit")
		var want []string
		for _, n := range names {
			if strings.HasPrefix(n, prefix) && n > after && len(want) < limit {
				want = append(want, n)
			}
		}
		got, err := a.List(ctx, prefix, after, limit)
		require.NoError(rt, err)
		require.Equal(rt, want, got)
	})
}

func TestClosed(t *testing.T) {
	a := open(t, t.TempDir())
	require.NoError(t, a.Close())
	err := a.Put(context.Background(), "a", nil)
	assert.Error(t, err)
	assert.False(t, errors.Is(err, pipeline.ErrConflict))
}
