// Package bolt keeps a venue's journal with its snapshots, its balances and
// its trade store in one bolt file (go.etcd.io/bbolt).
//
//	store, err := bolt.Open("venue.db", bolt.Options{})
//	...
//	defer store.Close()
//	log := pipeline.NewLog(store.Journal())
//
// # What it promises
//
// A call that has returned nil is on disk, in a transaction of bolt that was
// synced: it survives the process (kill -9) and the machine, at any moment.
// MarkPublished alone goes along with a later transaction, as its contract
// allows. Concurrent calls, of all three stores, are merged into one
// transaction; none waits for another one's failure, because each checks before
// it changes anything. When the disk refuses a transaction nobody knows what is
// on it: that call and all later ones fail until the file is opened again.
//
// Queries of journal and trade store run in read transactions beside the
// writer; those for orders and fills begin between two transactions that record
// orders. Balances are kept in memory as well (bounded as in package memory, by
// Options.Balances), and are read in turn with the writes, so that nobody sees
// what is not yet on disk.
//
// The trade store and the archive of trades grow for good; nothing of them is
// forgotten. What Trim removes is used again, but the file does not shrink.
//
// # The file
//
// One process at a time can open it. Its first bucket names the format and its
// version; a file of another program, or of a later version, is refused
// (ErrFormat) and left as it is. Numbers in keys are big endian, so that keys
// sort as they do, times with the sign turned; values are varints in the order
// of the structs' fields, as in the source. The buckets:
//
//	format      "name", "version"
//	heads       instrument -> head, number of items removed by Trim
//	items       instrument, position -> hash, data
//	published   instrument -> position
//	snapshots   instrument -> head, size
//	chunks      instrument, number -> 1 MiB of a snapshot
//	balances    table, key -> row, as package adapters/internal/ledger writes them
//	recorded    instrument -> position, number of the last order
//	orders      number -> order
//	command     command id -> number of the order
//	order       instrument, order id -> number
//	client      account, client's id -> number of the newest order
//	account     account, instrument, created, command id -> number
//	live        the same, of live orders alone
//	trades      instrument, trade id -> trade
//	fills       account, instrument, time, trade id -> nothing
//	candles     instrument, interval, start -> candle of one minute, hour or day
//	changes     number -> rows for command, client, account, live and fills that are not there yet
//
// A disk keeps as many bytes as it is used for: an order that rests and is
// filled takes about 600 of them, with what it leaves in the journal.
package bolt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/group"
	"github.com/castlecloud/exchange/adapters/internal/ledger"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// ErrFormat says that a file is not one of this package, or of a later
// version.
var ErrFormat = errors.New("not a file of this format")

// ErrLocked says that another process has the file.
var ErrLocked = errors.New("in use by another process")

// ErrClosed says that the store was closed.
var ErrClosed = group.ErrClosed

// What the format bucket says.
const (
	formatName    = "github.com/castlecloud/exchange/adapters/bolt"
	formatVersion = 2
)

// DefaultLockTimeout is how long Open waits for another process to close the
// file.
const DefaultLockTimeout = time.Second

// Options are settings of a Store. The zero value is fine.
type Options struct {
	// Balances bounds what is kept of accounts, holds and transfers.
	Balances memory.BalancesConfig
	// LockTimeout is how long Open waits for the file, 0: DefaultLockTimeout.
	LockTimeout time.Duration
	// Pending is how many rows of indexes are kept in memory before they are
	// written where they belong, 0: DefaultPending, at most MaxPending. An order
	// has about four. More of them cost memory and the time to open the file, and
	// save writing.
	Pending int
}

// The buckets. The names are part of the format.
type bucket int

const (
	bucketFormat bucket = iota
	bucketHeads
	bucketItems
	bucketPublished
	bucketSnapshots
	bucketChunks
	bucketBalances
	bucketRecorded
	bucketOrders
	bucketCommand
	bucketOrder
	bucketClient
	bucketAccount
	bucketLive
	bucketTrades
	bucketFills
	bucketCandles
	bucketChanges
	buckets // how many
)

var bucketNames = [buckets]string{"format", "heads", "items", "published", "snapshots", "chunks", "balances", "recorded", "orders", "command", "order",
	"client", "account", "live", "trades", "fills", "candles", "changes"}

const packed = 0.9

// Store is an open file.
type Store struct {
	db        *bbolt.DB
	committer *group.Committer
	ledger    *ledger.Ledger
	pending   pending
	tx        *tx // of the group that is running; the committer's own
	beginErr  error

	mu        sync.Mutex // guards what follows
	published map[exchange.InstrumentID]mark

	close    sync.Once
	closeErr error
}

// mark is a published mark, and what of it the file has.
type mark struct{ now, stored pipeline.Position }

// Open opens a file, which it makes when it is not there.
func Open(path string, opts Options) (*Store, error) {
	s, err := open(path, opts)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return s, nil
}

func open(path string, opts Options) (*Store, error) {
	if opts.Pending < 0 || opts.Pending > MaxPending {
		return nil, fmt.Errorf("%w: Pending is %d, expected 0 to %d", pipeline.ErrInvalid, opts.Pending, MaxPending)
	}
	if opts.LockTimeout == 0 {
		opts.LockTimeout = DefaultLockTimeout
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, opts); err != nil {
			return nil, err
		}
	}
	db, err := openFile(path, opts)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, published: map[exchange.InstrumentID]mark{}, pending: pending{most: cmp.Or(opts.Pending, DefaultPending)}}
	s.ledger = ledger.New(opts.Balances, s.do)
	if err := db.View(s.load); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.committer = group.New(s.commit)
	return s, nil
}

func openFile(path string, opts Options) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: opts.LockTimeout,
		// The list of free pages is found again by reading the file, rather than
		// written with every transaction.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w, waited %v", ErrLocked, opts.LockTimeout)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fmt.Errorf("%w: bolt says: %w", ErrFormat, err)
	}
	return db, err
}

// create makes a file under another name and gives it its own when it is
// complete, so that no crash leaves half of one.
func create(path string, opts Options) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	db, err := openFile(f.Name(), opts)
	if err != nil {
		return err
	}
	err = db.Update(func(t *bbolt.Tx) error {
		for _, name := range bucketNames {
			if _, err := t.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		b := t.Bucket([]byte(bucketNames[bucketFormat]))
		return errors.Join(b.Put([]byte("name"), []byte(formatName)), b.Put([]byte("version"), []byte(strconv.Itoa(formatVersion))))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	// Unlike a rename this fails when somebody else was faster.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // has no such thing
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load checks the format and reads what is kept in memory.
func (s *Store) load(t *bbolt.Tx) error {
	format := t.Bucket([]byte(bucketNames[bucketFormat]))
	if format == nil || string(format.Get([]byte("name"))) != formatName {
		return fmt.Errorf("%w: a bolt file of another program", ErrFormat)
	}
	if v := string(format.Get([]byte("version"))); v != strconv.Itoa(formatVersion) {
		return fmt.Errorf("%w: it is of version %s, this release reads version %d", ErrFormat, v, formatVersion)
	}
	for _, name := range bucketNames {
		if t.Bucket([]byte(name)) == nil {
			return fmt.Errorf("%w: bucket %s is missing", ErrFormat, name)
		}
	}
	r := &tx{bolt: t}
	err := r.bucket(bucketBalances).ForEach(func(key, value []byte) error {
		return s.ledger.Load(ledger.Table(key[0]), key[1:], value)
	})
	if err != nil {
		return fmt.Errorf("reading balances: %w", err)
	}
	s.ledger.Ready()
	if err := s.pending.load(r); err != nil {
		return fmt.Errorf("reading changes of indexes: %w", err)
	}
	return r.bucket(bucketPublished).ForEach(func(key, value []byte) error {
		inst, pos, err := decodeMark(key, value)
		s.published[inst] = mark{pos, pos}
		return err
	})
}

// Journal returns the journal of this file.
func (s *Store) Journal() pipeline.Journal { return journal{s} }

// Balances returns the balances of this file.
func (s *Store) Balances() pipeline.Balances { return s.ledger }

// TradeStore returns the trade store of this file.
func (s *Store) TradeStore() pipeline.TradeStore { return tradeStore{s} }

// Close waits for the calls that are running and closes the file. Later calls
// fail with ErrClosed. It may be repeated.
func (s *Store) Close() error {
	s.close.Do(func() {
		err := s.update(context.Background(), func(t *tx) error {
			s.storeMarks(t)
			return nil
		})
		if stopped := s.committer.Close(); stopped != nil {
			err = stopped
		}
		s.closeErr = errors.Join(err, s.db.Close())
	})
	if s.closeErr != nil {
		return fmt.Errorf("closing the store: %w", s.closeErr)
	}
	return nil
}

// tx is a transaction.
type tx struct {
	bolt    *bbolt.Tx
	buckets [buckets]*bbolt.Bucket // those that were used
	err     error                  // the first there was; nothing of the transaction counts then
	cursors [buckets]*bbolt.Cursor // those that were used
	rows    *changes               // of indexes, that the buckets do not have; nil where indexes are not read
	asked   number                 // what bucket "command" does not have of the command that is looked for; 0: nothing
	// Of a transaction that writes:
	pending *pending
	changed int    // changes that are pending now
	log     []byte // those that are in no row of bucket "changes"
	logged  int    // rows of it
}

// bucket returns a bucket; load has seen that all are there.
func (t *tx) bucket(b bucket) *bbolt.Bucket {
	if t.buckets[b] == nil {
		t.buckets[b] = t.bolt.Bucket([]byte(bucketNames[b]))
		// Those that grow at the end are packed more tightly than those that
		// grow everywhere.
		switch b {
		case bucketItems, bucketOrders, bucketOrder, bucketTrades, bucketChanges:
			t.buckets[b].FillPercent = packed
		}
	}
	return t.buckets[b]
}

func (t *tx) get(b bucket, key []byte) []byte {
	c := t.cursors[b]
	if c == nil { // bolt would make one each time
		c = t.bucket(b).Cursor()
		t.cursors[b] = c
	}
	if found, value := c.Seek(key); bytes.Equal(found, key) {
		return value
	}
	return nil
}

// put keeps value until the transaction ends.
func (t *tx) put(b bucket, key, value []byte) {
	if err := t.bucket(b).Put(key, value); err != nil && t.err == nil {
		t.err = fmt.Errorf("bucket %s: %w", bucketNames[b], err)
	}
}

func (t *tx) delete(b bucket, key []byte) {
	if err := t.bucket(b).Delete(key); err != nil && t.err == nil {
		t.err = fmt.Errorf("bucket %s: %w", bucketNames[b], err)
	}
}

// do runs f in turn with all that writes, and returns when what it did and saw
// is durable.
func (s *Store) do(ctx context.Context, f func() error) error { return s.committer.Do(ctx, f) }

// update runs f in a write transaction, which it shares with others: it checks
// before it changes anything, because its error takes nothing back. What it
// has read is valid until it returns.
func (s *Store) update(ctx context.Context, f func(t *tx) error) error {
	return s.do(ctx, func() error {
		t, err := s.begin()
		if err != nil {
			return err
		}
		return f(t)
	})
}

// begin returns the transaction of the group that is running.
func (s *Store) begin() (*tx, error) {
	if s.tx != nil || s.beginErr != nil {
		return s.tx, s.beginErr
	}
	t, err := s.db.Begin(true)
	if err != nil {
		s.beginErr = err // commit tells everybody
		return nil, err
	}
	s.tx = &tx{bolt: t, rows: &s.pending.rows, pending: &s.pending}
	return s.tx, nil
}

// commit ends a group.
func (s *Store) commit() error {
	if s.ledger.Changed() {
		if t, err := s.begin(); err == nil {
			var key []byte
			s.ledger.Flush(func(table ledger.Table, k, value []byte) {
				key = append(append(key[:0], byte(table)), k...)
				if value == nil {
					t.delete(bucketBalances, key)
				} else {
					t.put(bucketBalances, key, value)
				}
			})
		}
	}
	t := s.tx
	s.tx = nil
	switch {
	case s.beginErr != nil:
		return s.beginErr
	case t == nil:
		return nil // nothing but reads
	}
	err := s.end(t)
	if t.changed > 0 {
		s.pending.failed = err
		s.pending.mu.Unlock()
	}
	if err == nil {
		s.ledger.Committed()
	}
	return err
}

// end ends a transaction.
func (s *Store) end(t *tx) error {
	if t.changed > 0 && t.err == nil {
		s.pending.write(t)
	}
	if t.err != nil {
		return errors.Join(t.err, t.bolt.Rollback())
	}
	return t.bolt.Commit()
}

// view runs f in a read transaction. What f reads is valid until it returns.
func (s *Store) view(ctx context.Context, f func(t *tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return known(s.db.View(func(t *bbolt.Tx) error { return f(&tx{bolt: t}) }))
}

// viewIndexes is view for who reads indexes, of index command that of one id
// alone. It waits for a transaction that changes them.
func (s *Store) viewIndexes(ctx context.Context, id exchange.CommandID, f func(t *tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := s.beginRead(id)
	if err != nil {
		return known(err)
	}
	return errors.Join(f(t), t.bolt.Rollback())
}

func (s *Store) beginRead(id exchange.CommandID) (*tx, error) {
	s.pending.mu.Lock()
	defer s.pending.mu.Unlock()
	if s.pending.failed != nil {
		return nil, s.pending.failed
	}
	t, err := s.db.Begin(false)
	if err != nil {
		return nil, err
	}
	return &tx{bolt: t, rows: s.pending.rows.Copy(), asked: s.pending.commands.number(id)}, nil
}

// known gives bolt's error of a closed file its name here.
func known(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}
