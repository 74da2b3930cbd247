package bolt_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// look counts a bucket's rows in the file of a store that is closed.
func look(t testing.TB, path, bucket string) (n int) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket([]byte(bucket)).Stats().KeyN
		return nil
	}))
	return n
}

func restingOrder(n int) pipeline.OrderRecord {
	return pipeline.OrderRecord{CommandID: id(n), ClientID: fmt.Sprintf("c-%d", n), Instrument: 1, OrderID: exchange.OrderID(n), Account: exchange.AccountID(n%10 + 1),
		Side: exchange.Buy, Type: exchange.Limit, Status: pipeline.OrderOpen, Price: 1, OrderQty: 1, LeavesQty: 1, Created: exchange.Time(n), Updated: exchange.Time(n), Seq: uint64(n)}
}

// Rows of indexes are in memory up to the bound and no further, the rest is in
// the buckets; what tells of them is removed in time; and the file is whole
// whatever the bound is when it is opened again.
func TestPendingIsBounded(t *testing.T) {
	ctx := t.Context()
	const items, each, most = 100, 40, 640
	path := filepath.Join(t.TempDir(), "venue.db")
	s, err := bolt.Open(path, bolt.Options{Pending: most})
	require.NoError(t, err)
	s.Unsynced()
	at, n := newCommits(), 0
	record := func() {
		var r pipeline.Record
		for range each {
			n++
			r.Orders = append(r.Orders, restingOrder(n))
		}
		require.NoError(t, s.TradeStore().Record(ctx, at.next(t, 1), &r))
	}
	indexed := func() int {
		return look(t, path, "command") + look(t, path, "client") + look(t, path, "account") + look(t, path, "live")
	}
	for range items {
		record()
	}
	require.NoError(t, s.Close())
	require.Equal(t, 4*n-most, indexed(), "of one order four indexes have a row")
	// An item's changes fit into a row. Two rounds go by before it is removed,
	// each of at most twice what is in memory.
	require.LessOrEqual(t, look(t, path, "changes"), 2*2*most/(4*each)+1)

	for _, most := range []int{1, 10, 10_000} {
		s, err = bolt.Open(path, bolt.Options{Pending: most})
		require.NoError(t, err)
		s.Unsynced()
		for _, n := range []int{1, n / 2, n} {
			o, err := s.TradeStore().OrderByCommand(ctx, id(n))
			require.NoError(t, err)
			require.Equal(t, restingOrder(n), o)
		}
		live, err := s.TradeStore().Orders(ctx, pipeline.OrderQuery{Account: 1, LiveOnly: true, Limit: pipeline.MaxQueryRows})
		require.NoError(t, err)
		require.Equal(t, n/10, len(live))
		for range 20 { // each moves twice as much as it brings, at most
			record()
		}
		require.NoError(t, s.Close())
		if most < n {
			require.Equal(t, 4*n-most, indexed())
		}
	}
}

// The same rows changing over and over fill nothing.
func TestChangesAreBounded(t *testing.T) {
	const most = 16
	path := filepath.Join(t.TempDir(), "venue.db")
	s, err := bolt.Open(path, bolt.Options{Pending: most})
	require.NoError(t, err)
	s.Unsynced()
	at := newCommits()
	for n := range 200 {
		o := restingOrder(1)
		if n%2 == 1 {
			o.Status, o.LeavesQty = pipeline.OrderCanceled, 0
		}
		require.NoError(t, s.TradeStore().Record(t.Context(), at.next(t, 1), &pipeline.Record{Orders: []pipeline.OrderRecord{o}}))
	}
	require.NoError(t, s.Close())
	const bytes = 40 // of a change, at least
	assert.LessOrEqual(t, look(t, path, "changes"), most*bolt.LogBytes/bytes+4)
}

// A file whose changes are damaged is refused.
func TestDamagedChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "venue.db")
	s := open(t, path)
	at := newCommits()
	for n := 1; n <= 3; n++ {
		require.NoError(t, s.TradeStore().Record(t.Context(), at.next(t, 1), &pipeline.Record{Orders: []pipeline.OrderRecord{restingOrder(n)}}))
	}
	require.NoError(t, s.Close())
	key := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	edit := func(f func(b *bbolt.Bucket) error) {
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error { return f(tx.Bucket([]byte("changes"))) }))
		require.NoError(t, db.Close())
	}
	var second []byte
	edit(func(b *bbolt.Bucket) error { second = append(second, b.Get(key(2))...); return nil })
	// A change of index command: bytes of the id, whether it is gone, bytes of
	// the number and their last.
	command := func(id, gone, size int, last byte) []byte {
		row := append([]byte{byte(1 + id), bolt.BucketCommand}, make([]byte, id)...)
		row = append(append(row, byte(gone), byte(size)), make([]byte, size)...)
		if size > 0 {
			row[len(row)-1] = last
		}
		return row
	}
	for name, value := range map[string][]byte{
		"missing":           nil,
		"cut":               second[:len(second)-1],
		"longer":            append(second[:len(second):len(second)], 0xff),
		"no row's name":     {0, 0, 0},
		"a bucket of items": append([]byte{2, 2, 'x'}, 0, 0),
		"a command's id":    command(15, 0, 8, 1),
		"a command gone":    command(16, 1, 0, 0),
		"a short number":    command(16, 0, 7, 1),
		"order 0":           command(16, 0, 8, 0),
	} {
		edit(func(b *bbolt.Bucket) error {
			if value == nil {
				return b.Delete(key(2))
			}
			return b.Put(key(2), value)
		})
		_, err := bolt.Open(path, bolt.Options{})
		require.ErrorIs(t, err, rows.ErrDamaged, name)
		require.ErrorContains(t, err, "reading changes of indexes", name)
	}
	edit(func(b *bbolt.Bucket) error { return b.Put(key(2), command(16, 0, 8, 1)) }) // but for those nothing is wrong with it
	require.NoError(t, open(t, path).Close())
	edit(func(b *bbolt.Bucket) error { return b.Put(key(2), second) })
	_, err := open(t, path).TradeStore().OrderByCommand(t.Context(), id(2))
	require.NoError(t, err)
}

// A record that is larger than a row of changes is several.
func TestLargeRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "venue.db")
	s := open(t, path)
	var r pipeline.Record
	const orders = 1000
	for n := 1; n <= orders; n++ {
		r.Orders = append(r.Orders, restingOrder(n))
	}
	require.NoError(t, s.TradeStore().Record(t.Context(), newCommits().next(t, 1), &r))
	require.NoError(t, s.Close())
	assert.Greater(t, look(t, path, "changes"), orders*4*20/bolt.LogRow)
	s = open(t, path)
	for n := 1; n <= orders; n++ {
		o, err := s.TradeStore().OrderByClientID(t.Context(), exchange.AccountID(n%10+1), fmt.Sprintf("c-%d", n))
		require.NoError(t, err)
		require.Equal(t, id(n), o.CommandID)
	}
}

// Items are cut into rows, whole at every edge, and a row that is missing or
// too long is told.
func TestItemsOfSeveralRows(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "venue.db")
	s := open(t, path)
	const before = 32 + 2 // hash, and the size of some thousand bytes
	sizes := []int{1, bolt.RowBytes - before - 1, bolt.RowBytes - before, bolt.RowBytes - before + 1, 2*bolt.RowBytes - before, 2*bolt.RowBytes - before + 1, 5 * bolt.RowBytes}
	var at pipeline.Head
	var want []pipeline.Item
	rowsOf := 0
	for i, n := range sizes {
		data := make([]byte, n)
		for j := range data {
			data[j] = byte(i + j/251)
		}
		it := item(at, string(data))
		require.NoError(t, s.Journal().Append(ctx, 1, it))
		want, at = append(want, it), it.Head
		rowsOf += (before + n + bolt.RowBytes - 1) / bolt.RowBytes
	}
	got, err := s.Journal().Read(ctx, 1, 1, 100)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, s.Close())
	require.Equal(t, rowsOf, look(t, path, "items"))

	last := append(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, 1), uint64(len(sizes))), 0, 0, 0, 3)
	edit := func(f func(b *bbolt.Bucket) error) {
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error { return f(tx.Bucket([]byte("items"))) }))
		require.NoError(t, db.Close())
	}
	var row []byte
	edit(func(b *bbolt.Bucket) error { row = append(row, b.Get(last)...); return b.Delete(last) })
	s = open(t, path)
	_, err = s.Journal().Read(ctx, 1, 1, 100)
	require.ErrorIs(t, err, rows.ErrDamaged)
	require.ErrorContains(t, err, "row 3 of item 7")
	require.NoError(t, s.Close())
	edit(func(b *bbolt.Bucket) error { return b.Put(last, append(row, make([]byte, 3*bolt.RowBytes)...)) })
	s = open(t, path)
	_, err = s.Journal().Read(ctx, 1, 1, 100)
	require.ErrorIs(t, err, rows.ErrDamaged)
	require.NoError(t, s.Close())
	edit(func(b *bbolt.Bucket) error { return b.Put(last, row) })
	s = open(t, path)
	require.NoError(t, s.Journal().SaveSnapshot(ctx, 1, pipeline.Snapshot{Head: at, Data: []byte("s")}))
	require.NoError(t, s.Journal().Trim(ctx, 1, at.Position))
	require.NoError(t, s.Close())
	require.Zero(t, look(t, path, "items"))
}

func TestPendingOption(t *testing.T) {
	path := filepath.Join(t.TempDir(), "venue.db")
	for _, n := range []int{-1, bolt.MaxPending + 1} {
		_, err := bolt.Open(path, bolt.Options{Pending: n})
		require.ErrorIs(t, err, pipeline.ErrInvalid)
		require.ErrorContains(t, err, fmt.Sprintf("Pending is %d, expected 0 to %d", n, bolt.MaxPending))
	}
	s, err := bolt.Open(path, bolt.Options{Pending: bolt.MaxPending})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
