package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/pipeline"
)

func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, bolt.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func openNew(t testing.TB) *bolt.Store { return open(t, filepath.Join(t.TempDir(), "venue.db")) }

func id(n int) exchange.CommandID {
	return exchange.CommandID{byte(n * 37), byte(n >> 8), 14: byte(n >> 8), 15: byte(n)}
}

// item is what follows at.
func item(at pipeline.Head, data string) pipeline.Item {
	return pipeline.Item{Head: pipeline.Head{Position: at.Position + 1, Hash: pipeline.HashOf(at.Hash, []byte(data))}, Data: []byte(data)}
}

func TestFileIsItsOwn(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "venue.db")
	s := open(t, path)
	require.NoError(t, s.Balances().Deposit(ctx, pipeline.Transfer{ID: id(1), Account: 1, Asset: 1, Amount: 10}))

	_, err := bolt.Open(path, bolt.Options{LockTimeout: 10 * time.Millisecond})
	require.ErrorIs(t, err, bolt.ErrLocked)
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "waited 10ms", "the setting counts")

	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "repeated")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	require.NoError(t, err)
	require.Equal(t, []string{path}, left, "no other file is left")

	for name, err := range map[string]error{
		"Deposit":  s.Balances().Deposit(ctx, pipeline.Transfer{ID: id(2), Account: 1, Asset: 1, Amount: 10}),
		"Append":   s.Journal().Append(ctx, 1, item(pipeline.Head{}, "x")),
		"Head":     second(s.Journal().Head(ctx, 1)),
		"Recorded": second(s.TradeStore().Recorded(ctx, 1)),
	} {
		assert.ErrorIs(t, err, bolt.ErrClosed, name)
	}
	a, err := open(t, path).Balances().Account(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, exchange.Amount(10), a.Balances[0].Available)
}

func second[T any](_ T, err error) error { return err }

// A file of somebody else is refused and stays as it is.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	ours := filepath.Join(dir, "ours")
	require.NoError(t, open(t, ours).Close())
	good, err := os.ReadFile(ours)
	require.NoError(t, err)

	edited := func(name string, edit func(*bbolt.Tx) error) []byte {
		path := filepath.Join(dir, "edited")
		if name != "foreign" {
			require.NoError(t, os.WriteFile(path, good, 0o600))
		}
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(edit))
		require.NoError(t, db.Close())
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.Remove(path))
		return data
	}
	put := func(key, value string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket([]byte("format")).Put([]byte(key), []byte(value)) }
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"text":       {bytes.Repeat([]byte("no bolt file. "), 10_000), "not a file of this format: bolt says: invalid database"},
		"short":      {[]byte("x"), "not a file of this format: bolt says"},
		"foreign":    {edited("foreign", func(tx *bbolt.Tx) error { return second(tx.CreateBucket([]byte("their"))) }), "a bolt file of another program"},
		"other name": {edited("other name", put("name", "another")), "a bolt file of another program"},
		"newer":      {edited("newer", put("version", "3")), "it is of version 3, this release reads version 2"},
		"incomplete": {edited("incomplete", func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("fills")) }), "bucket fills is missing"},
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, c.data, 0o600))
		_, err := bolt.Open(path, bolt.Options{})
		assert.ErrorIs(t, err, bolt.ErrFormat, name)
		assert.ErrorContains(t, err, "opening "+path+": ", name)
		assert.ErrorContains(t, err, c.want, name)
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(c.data, now), "%s: the file was changed", name)
	}
	_, err = bolt.Open(filepath.Join(dir, "no", "such", "directory"), bolt.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Calls of one group do not share their failures, and what fails changes
// nothing.
func TestFailuresAreApart(t *testing.T) {
	ctx := context.Background()
	s := openNew(t)
	const accounts, tries = 20, 30
	for acct := range accounts {
		require.NoError(t, s.Balances().Deposit(ctx, pipeline.Transfer{ID: id(acct + 1), Account: exchange.AccountID(acct + 1), Asset: 1, Amount: 10}))
	}
	// Every account tries to hold 1 of 10 30 times; beside it everybody appends
	// at the same positions.
	var wg sync.WaitGroup
	held := make([]int, accounts)
	for acct := range accounts {
		wg.Go(func() {
			for n := range tries {
				err := s.Balances().Hold(ctx, pipeline.Hold{ID: id(1000*acct + n + 1), Account: exchange.AccountID(acct + 1), Instrument: 1, Asset: 1, Amount: 1})
				if err == nil {
					held[acct]++
				} else if !errors.Is(err, exchange.InsufficientFunds) {
					t.Errorf("holding: %v", err)
				}
			}
		})
	}
	var appended [4]int
	for writer := range appended {
		wg.Go(func() {
			for at := (pipeline.Head{}); at.Position < 50; {
				err := s.Journal().Append(ctx, 1, item(at, "item"))
				if err == nil {
					appended[writer]++
				} else if !errors.Is(err, pipeline.ErrFenced) {
					t.Errorf("appending: %v", err)
				}
				if at, err = s.Journal().Head(ctx, 1); err != nil {
					t.Errorf("head: %v", err)
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range appended {
		total += n
	}
	require.Equal(t, 50, total, "appends that succeeded")
	for acct, n := range held {
		require.Equal(t, 10, n, "holds of account %d", acct+1)
		a, err := s.Balances().Account(ctx, exchange.AccountID(acct+1))
		require.NoError(t, err)
		require.Equal(t, exchange.Balance{Held: 10}, a.Balances[0].Balance)
	}
}

// The published mark is stored with the next item, and by Close.
func TestPublishedMark(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "venue.db")
	s := open(t, path)
	first := item(pipeline.Head{}, "1")
	require.NoError(t, s.Journal().Append(ctx, 1, first))
	require.NoError(t, s.Journal().MarkPublished(ctx, 1, 1))
	require.NoError(t, s.Journal().Append(ctx, 1, item(first.Head, "2")))
	require.NoError(t, s.Journal().MarkPublished(ctx, 2, 7))
	require.NoError(t, s.Close())
	s = open(t, path)
	for inst, want := range map[exchange.InstrumentID]pipeline.Position{1: 1, 2: 7, 3: 0} {
		got, err := s.Journal().Published(ctx, inst)
		require.NoError(t, err)
		require.Equal(t, want, got, "instrument %d", inst)
	}
}

// Trim removes more than fits into one transaction, and the space is used
// again.
func TestTrimGivesSpaceBack(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "venue.db")
	s := open(t, path)
	s.Unsynced()
	j := s.Journal()
	var at pipeline.Head
	size := func() int64 {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Size()
	}
	data := string(bytes.Repeat([]byte("data "), 1000))
	fill := func() {
		var wg sync.WaitGroup
		items := make([]pipeline.Item, 1100) // more than Trim removes at once
		for i := range items {
			items[i] = item(at, data)
			at = items[i].Head
		}
		// One writer; snapshots beside it, which have their own place.
		wg.Go(func() {
			for n := range pipeline.Position(3) {
				assert.NoError(t, j.SaveSnapshot(ctx, 2, pipeline.Snapshot{Head: pipeline.Head{Position: at.Position + n}, Data: []byte(data)}))
			}
		})
		for _, it := range items {
			require.NoError(t, j.Append(ctx, 1, it))
		}
		wg.Wait()
	}
	fill()
	full := size()
	for range 2 {
		require.NoError(t, j.SaveSnapshot(ctx, 1, pipeline.Snapshot{Head: at, Data: []byte("s")}))
		require.NoError(t, j.Trim(ctx, 1, at.Position))
		require.NoError(t, j.Trim(ctx, 1, at.Position), "repeated")
		_, err := j.Read(ctx, 1, at.Position, 1)
		require.ErrorIs(t, err, pipeline.ErrTrimmed)
		fill()
	}
	require.LessOrEqual(t, size(), full*3/2)
}

// Read gives large items in small portions.
func TestReadIsBounded(t *testing.T) {
	ctx := context.Background()
	s := openNew(t)
	var at pipeline.Head
	data := string(make([]byte, 6<<20))
	for range 5 {
		it := item(at, data)
		require.NoError(t, s.Journal().Append(ctx, 1, it))
		at = it.Head
	}
	items, err := s.Journal().Read(ctx, 1, 1, 10)
	require.NoError(t, err)
	require.Len(t, items, 3, "16 MiB are passed in the third")
	items, err = s.Journal().Read(ctx, 1, 4, 10)
	require.NoError(t, err)
	require.Len(t, items, 2)
}
