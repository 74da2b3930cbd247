package bolt

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/btree"
	"go.etcd.io/bbolt"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// Rows of an index lie wherever command ids and accounts fall. If each were
// written there at once, nearly every one would make a page of the file dirty,
// which is written whole; that was most of what an order cost. So a change of an
// index goes to memory and, in the same transaction, to the end of bucket
// "changes"; to its index it goes later, together with its neighbours: what is
// in memory is moved in the order of keys, round after round, a stretch with
// every transaction that brings more. The changes that a whole round has moved
// are removed; those that are left are what memory has when the file is opened.

// Bounds of what the indexes do not have yet.
const (
	DefaultPending = 1 << 16 // rows, some 20 MB
	MaxPending     = 1 << 24
	// logRow is how many bytes of changes are one row of bucket "changes". Bolt
	// writes the last few rows of a bucket again with the next.
	logRow = 8 << 10
	// logBytes bounds bucket "changes" to so many bytes for each row that may be
	// in memory, 16 MB in all, where the same rows change over and over. It is
	// read when the file is opened, in a fraction of a second.
	logBytes = 256
)

// change is what becomes of a row.
type change struct {
	value string
	gone  bool
}

// changes are the latest by bucket and key.
type changes = btree.Map[string, change]

// commands are rows of index command. They are read by whole keys alone and
// never change, and most of what is looked for in indexes is there: so they are
// in a table of hashes. It is cut by the first byte of the id, so that a round
// need not sort it whole.
type commands struct {
	parts [1 << 8]map[exchange.CommandID]number
	n     int
}

// number returns the number of the order of a command, 0 when it is not there.
func (c *commands) number(id exchange.CommandID) number { return c.parts[id[0]][id] }

func (c *commands) add(id exchange.CommandID, n number) {
	part := c.parts[id[0]]
	if part == nil {
		part = map[exchange.CommandID]number{}
		c.parts[id[0]] = part
	}
	before := len(part)
	part[id] = n
	c.n += len(part) - before
}

func (c *commands) remove(id exchange.CommandID) {
	delete(c.parts[id[0]], id)
	c.n--
}

// pending is what the indexes do not have yet.
type pending struct {
	most int // rows

	// mu is held from a group's first change until it is committed, and while a
	// reader begins: so readers find in rows what the file they read lacks.
	mu       sync.Mutex
	rows     changes  // of all indexes but command
	commands commands // of index command
	failed   error    // of a commit: rows may have what the file has not

	// The rest belongs to who writes.
	part    int                  // the first of commands that the round has not begun with
	ids     []exchange.CommandID // of the one before, those that the round has not moved
	next    string               // the first of rows that the round has not moved
	round   uint64               // the round will have moved all rows of bucket "changes" up to it
	moved   uint64               // all up to it have been moved
	removed uint64               // all up to it are gone from the file
	last    uint64               // the last one there is
	bytes   int                  // in those that are there
}

// rowKey returns the key of an index's row in changes.
func rowKey(b bucket, key []byte) string {
	var buf [64]byte
	return string(append(append(buf[:0], byte(b)), key...))
}

// find returns the value of a row, nil when there is none. It is valid as
// bolt's are.
func (t *tx) find(b bucket, key []byte) []byte {
	if c, ok := t.rows.Get(rowKey(b, key)); ok {
		if c.gone {
			return nil
		}
		return []byte(c.value)
	}
	return t.get(b, key)
}

// number returns the number that an index has under a key.
func (t *tx) number(index bucket, key []byte) (number, bool, error) {
	value := t.find(index, key)
	if value == nil {
		return 0, false, nil
	}
	n, err := readNumber(value)
	return n, true, err
}

// command returns the number of the order of a command.
func (t *tx) command(id exchange.CommandID) (number, bool, error) {
	n := t.asked
	if t.pending != nil {
		n = t.pending.commands.number(id)
	}
	if n != 0 {
		return n, true, nil
	}
	value := t.get(bucketCommand, id[:])
	if value == nil {
		return 0, false, nil
	}
	n, err := readNumber(value)
	return n, true, err
}

// order returns the order of a number.
func (t *tx) order(n number) (pipeline.OrderRecord, error) {
	return decodeOrder(t.get(bucketOrders, numberKey(n)))
}

// setCommand, set and remove change indexes in time: the first adds a command
// that is not there, the second changes a row, the third removes one.
func (t *tx) setCommand(id exchange.CommandID, n number) {
	t.logChange(rowKey(bucketCommand, id[:]), change{value: string(numberKey(n))})
	t.pending.commands.add(id, n)
}

func (t *tx) set(b bucket, key, value []byte) { t.change(b, key, change{value: string(value)}) }
func (t *tx) remove(b bucket, key []byte)     { t.change(b, key, change{gone: true}) }

func (t *tx) change(b bucket, key []byte, c change) {
	row := rowKey(b, key)
	t.logChange(row, c)
	t.rows.Set(row, c)
}

// logChange is called before a change is made.
func (t *tx) logChange(row string, c change) {
	if t.changed == 0 {
		t.pending.mu.Lock()
	}
	t.changed++
	t.log = rows.String(t.log, row)
	t.log = rows.String(rows.Bool(t.log, c.gone), c.value)
	if len(t.log) >= logRow {
		t.flushLog()
	}
}

// flushLog writes what the log has as the next row of bucket "changes".
func (t *tx) flushLog() {
	t.pending.last++
	t.pending.bytes += len(t.log)
	t.logged++
	t.put(bucketChanges, rows.Key64(nil, t.pending.last), t.log)
	t.log = nil // the bucket has it until the end
}

func (p *pending) len() int { return p.rows.Len() + p.commands.n }

// write writes the changes of a group, and moves others to where they belong.
func (p *pending) write(t *tx) {
	if len(t.log) > 0 {
		t.flushLog()
	}
	left := p.len() - p.most
	if p.bytes > p.most*logBytes {
		left = max(left, t.changed)
	}
	// After opening a file there may be more than there should be: twice as many
	// as have come are moved until that is over.
	for left = min(left, 2*t.changed, p.len()); left > 0; {
		left -= p.move(t, left)
	}
	for n := 2 * t.logged; n > 0 && p.removed < p.moved; n-- {
		p.removed++
		key := rows.Key64(nil, p.removed)
		p.bytes -= len(t.get(bucketChanges, key))
		t.delete(bucketChanges, key)
	}
}

// move moves the next n rows, or those up to the end of the round, and returns
// how many these were.
func (p *pending) move(t *tx, n int) int {
	moved := p.moveCommands(t, n)
	if n -= moved; n == 0 {
		return moved
	}
	type row struct {
		key string
		change
	}
	stretch, more := make([]row, 0, n), false
	p.rows.Ascend(p.next, func(key string, c change) bool {
		if more = len(stretch) == n; more {
			p.next = key
			return false
		}
		stretch = append(stretch, row{key, c})
		return true
	})
	for _, r := range stretch {
		p.rows.Delete(r.key)
		if b, key := bucket(r.key[0]), []byte(r.key[1:]); r.gone {
			t.delete(b, key)
		} else {
			t.put(b, key, []byte(r.value))
		}
	}
	if !more { // the round is over; the next one begins with all that has come
		p.part, p.next, p.moved, p.round = 0, "", p.round, p.last
	}
	return moved + len(stretch)
}

// moveCommands moves the next n rows of index command, with which a round
// begins, or those that are left of it, and returns how many these were.
func (p *pending) moveCommands(t *tx, n int) int {
	moved := 0
	for moved < n {
		if len(p.ids) == 0 {
			if p.part == len(p.commands.parts) {
				break
			}
			p.ids = slices.SortedFunc(maps.Keys(p.commands.parts[p.part]), func(a, b exchange.CommandID) int { return bytes.Compare(a[:], b[:]) })
			p.part++
			continue
		}
		id := &p.ids[0]
		t.put(bucketCommand, id[:], numberKey(p.commands.number(*id)))
		p.commands.remove(*id)
		p.ids = p.ids[1:]
		moved++
	}
	return moved
}

// load reads what the indexes of a file do not have.
func (p *pending) load(t *tx) error {
	first := true
	err := t.bucket(bucketChanges).ForEach(func(key, value []byte) error {
		k := rows.Read(key)
		n := k.Key64()
		if err := k.End(); err != nil {
			return err
		}
		if first {
			p.removed, p.last, first = n-1, n-1, false
		}
		if p.last++; n != p.last {
			return fmt.Errorf("%w: row %d follows %d", rows.ErrDamaged, n, p.last-1)
		}
		p.bytes += len(value)
		for r := rows.Read(value); ; {
			if !r.More() {
				return r.End()
			}
			row := r.String()
			c := change{gone: r.Bool(), value: r.String()}
			if row == "" || !bucket(row[0]).deferred() {
				return fmt.Errorf("%w: row %d", rows.ErrDamaged, n)
			}
			if bucket(row[0]) != bucketCommand {
				p.rows.Set(row, c)
				continue
			}
			order, err := readNumber([]byte(c.value))
			if len(row) != 1+len(exchange.CommandID{}) || c.gone || order == 0 || err != nil {
				return fmt.Errorf("%w: row %d", rows.ErrDamaged, n)
			}
			p.commands.add(exchange.CommandID([]byte(row[1:])), order)
		}
	})
	p.round, p.moved = p.last, p.removed
	return err
}

// deferred reports whether a bucket's rows are pending before they are in it.
func (b bucket) deferred() bool {
	switch b {
	case bucketCommand, bucketClient, bucketAccount, bucketLive, bucketFills:
		return true
	}
	return false
}

// firstFrom returns the first key of an index at or above one, of a row that is
// there or was there: nil when there is none.
func (t *tx) firstFrom(b bucket, from []byte) []byte {
	key, _ := t.bucket(b).Cursor().Seek(from)
	t.rows.Ascend(rowKey(b, from), func(row string, _ change) bool {
		if mine := []byte(row[1:]); bucket(row[0]) == b && (key == nil || bytes.Compare(mine, key) < 0) {
			key = mine
		}
		return false
	})
	return key
}

// source yields the rows of a part from the last to the first, those of an index
// as they will be when nothing is pending.
type source struct {
	key, value []byte // the row it is at; key is nil at the end
	prefix     []byte

	cursor             *bbolt.Cursor
	fileKey, fileValue []byte // the bucket's next row; nil: none
	changes            btree.MapIter[string, change]
	rowPrefix          string
	rowKey             []byte // of the next change; nil: none
}

func (t *tx) source(b bucket, prefix, bound []byte) *source {
	s := &source{cursor: t.bucket(b).Cursor(), prefix: prefix}
	s.fileKey, s.fileValue = before(s.cursor, prefix, bound)
	if t.rows != nil {
		s.changes, s.rowPrefix = t.rows.Iter(), rowKey(b, prefix)
		if s.changes.Seek(rowKey(b, bound)) {
			s.at(s.changes.Prev())
		} else {
			s.at(s.changes.Last())
		}
	}
	s.next()
	return s
}

// at notes the change that the iterator is at, if it is at one.
func (s *source) at(ok bool) {
	s.rowKey = nil
	if ok && strings.HasPrefix(s.changes.Key(), s.rowPrefix) {
		s.rowKey = []byte(s.changes.Key()[1:])
	}
}

func (s *source) next() {
	for {
		newer := bytes.Compare(s.rowKey, s.fileKey) // below 0 when there is no change
		if newer <= 0 && s.fileKey != nil {
			s.key, s.value = s.fileKey, s.fileValue
			if s.fileKey, s.fileValue = s.cursor.Prev(); !bytes.HasPrefix(s.fileKey, s.prefix) {
				s.fileKey, s.fileValue = nil, nil
			}
			if newer < 0 {
				return
			}
		}
		if s.rowKey == nil {
			s.key, s.value = nil, nil
			return
		}
		c := s.changes.Value()
		s.key, s.value = s.rowKey, []byte(c.value)
		s.at(s.changes.Prev())
		if !c.gone {
			return
		}
	}
}
