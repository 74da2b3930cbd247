package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/castlecloud/exchange"
)

// Committed is a journal item that a journal has confirmed. Only a Log makes
// one, after a successful append or a read; the zero value is refused with
// ErrNotCommitted wherever a Committed is asked for. It is a small value: copy
// it. What it points to is shared and never changed.
type Committed struct{ item *committedItem }

type committedItem struct {
	batch *Batch
	head  Head
	data  []byte
}

// Check returns ErrNotCommitted for the zero value.
func (c Committed) Check() error {
	if c.item == nil {
		return ErrNotCommitted
	}
	return nil
}

// Batch returns the contents, which must not be changed.
func (c Committed) Batch() *Batch { return c.item.batch }

// Instrument returns whose journal it is from.
func (c Committed) Instrument() exchange.InstrumentID { return c.item.batch.Instrument }

// Head returns the item's position and running hash.
func (c Committed) Head() Head { return c.item.head }

// Position returns the item's position.
func (c Committed) Position() Position { return c.item.head.Position }

// Data returns the item's encoding, which must not be changed.
func (c Committed) Data() []byte { return c.item.data }

// How much of an instrument's journal a Log keeps, so that the consumers of a
// process do not read back what it has just written or read: the latest items, as long
// as there are not more of them and not more bytes of Data. Decoded, an item
// takes some four times its Data.
const (
	DefaultLogCache  = 64
	MaxLogCacheBytes = 8 << 20
)

// Log is the way to a Journal. It encodes batches, chains their hashes,
// resolves doubtful answers by reading back, and mints Committed. It is safe
// for concurrent use, as the Journal is.
type Log struct {
	journal Journal
	mu      sync.Mutex
	recent  map[exchange.InstrumentID]*ring
}

// ring holds the latest items of an instrument without a gap, by position
// modulo its length.
type ring struct {
	items [DefaultLogCache]Committed
	last  Position // of the newest
	n     Position // how many there are
	size  int      // bytes of their Data
}

func (r *ring) at(pos Position) *Committed { return &r.items[pos%DefaultLogCache] }

// get returns the item at a position, if it is there.
func (r *ring) get(pos Position) (Committed, bool) {
	if pos > r.last || pos+r.n <= r.last {
		return Committed{}, false
	}
	return *r.at(pos), true
}

// keep adds an item. One that is older than the newest is left out; one that
// does not follow it replaces them all.
func (r *ring) keep(c Committed) {
	pos, size := c.Position(), len(c.Data())
	if pos <= r.last {
		return
	}
	if pos != r.last+1 {
		*r = ring{}
	}
	for r.n > 0 && (r.n == DefaultLogCache || r.size+size > MaxLogCacheBytes) {
		oldest := r.at(r.last + 1 - r.n)
		r.size -= len(oldest.Data())
		*oldest = Committed{}
		r.n--
	}
	r.last = pos
	if size <= MaxLogCacheBytes {
		*r.at(pos) = c
		r.n++
		r.size += size
	}
}

// NewLog returns a Log over a journal.
func NewLog(j Journal) *Log {
	return &Log{journal: j, recent: map[exchange.InstrumentID]*ring{}}
}

// Journal returns what the Log is over, for what needs no Committed.
func (l *Log) Journal() Journal { return l.journal }

// HashOf returns the running hash of an item with these contents.
func HashOf(before Hash, data []byte) Hash {
	h := sha256.New()
	h.Write(before[:])
	h.Write(data)
	return Hash(h.Sum(nil))
}

// Append commits b as the item after the one at head at. b belongs to the Log
// from then on. ErrFenced: somebody else has appended, and nothing of b counts.
// Any other error leaves it open whether b counts: forget what was computed and
// load again. Whether a lost answer was a yes is found out by reading back.
func (l *Log) Append(ctx context.Context, at Head, b *Batch) (Committed, error) {
	return l.append(ctx, at, b, AppendBatch(nil, b))
}

// append is Append with the encoding of b, which belongs to the Log too.
func (l *Log) append(ctx context.Context, at Head, b *Batch, data []byte) (Committed, error) {
	if len(data) > MaxItemBytes {
		return Committed{}, fmt.Errorf("journal of instrument %d: %w: an item of %d bytes, expected at most %d", b.Instrument, ErrTooLarge, len(data), MaxItemBytes)
	}
	item := Item{Head: Head{at.Position + 1, HashOf(at.Hash, data)}, Data: data}
	if err := l.journal.Append(ctx, b.Instrument, item); err != nil {
		// Also when fenced: a retry below us may have met its own first try.
		got, readErr := l.journal.Read(ctx, b.Instrument, item.Position, 1)
		switch {
		case readErr != nil && errors.Is(err, ErrFenced):
			return Committed{}, err
		case readErr != nil:
			return Committed{}, fmt.Errorf("appending item %d of instrument %d: %w", item.Position, b.Instrument, errors.Join(err, readErr))
		case len(got) == 0:
			return Committed{}, fmt.Errorf("appending item %d of instrument %d: %w", item.Position, b.Instrument, err)
		case got[0].Hash != item.Hash || !bytes.Equal(got[0].Data, data):
			return Committed{}, fmt.Errorf("appending item %d of instrument %d: %w", item.Position, b.Instrument, ErrFenced)
		}
	}
	c := Committed{&committedItem{batch: b, head: item.Head, data: data}}
	l.keep(c)
	return c, nil
}

// Read returns items from position from on, in order and without a gap, at
// most limit (1 to MaxReadItems) and at least one when there is one.
func (l *Log) Read(ctx context.Context, inst exchange.InstrumentID, from Position, limit int) ([]Committed, error) {
	if limit < 1 || limit > MaxReadItems {
		return nil, fmt.Errorf("reading instrument %d: %w: limit %d, expected 1 to %d", inst, ErrInvalid, limit, MaxReadItems)
	}
	if out := l.cached(inst, from, limit); len(out) > 0 {
		return out, nil
	}
	items, err := l.journal.Read(ctx, inst, from, limit)
	if err != nil {
		return nil, fmt.Errorf("reading items of instrument %d from %d: %w", inst, from, err)
	}
	out := make([]Committed, 0, len(items))
	for i := range items {
		b, err := DecodeBatch(items[i].Data)
		if err == nil && b.Instrument != inst {
			err = fmt.Errorf("%w: it is of instrument %d", ErrEncoding, b.Instrument)
		}
		if err == nil && items[i].Position != from+Position(i) {
			err = fmt.Errorf("%w: it says position %d", ErrEncoding, items[i].Position)
		}
		if err == nil && i > 0 && HashOf(items[i-1].Hash, items[i].Data) != items[i].Hash {
			err = fmt.Errorf("%w: its hash does not follow from the one before", ErrEncoding)
		}
		if err != nil {
			return out, fmt.Errorf("item %d of instrument %d: %w", from+Position(i), inst, err)
		}
		out = append(out, Committed{&committedItem{batch: b, head: items[i].Head, data: items[i].Data}})
	}
	l.keep(out...)
	return out, nil
}

func (l *Log) cached(inst exchange.InstrumentID, from Position, limit int) []Committed {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.recent[inst]
	if r == nil {
		return nil
	}
	var out []Committed
	for len(out) < limit {
		c, ok := r.get(from + Position(len(out)))
		if !ok {
			break
		}
		out = append(out, c)
	}
	return out
}

// keep keeps items of one instrument, in order.
func (l *Log) keep(items ...Committed) {
	if len(items) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	inst := items[0].Instrument()
	r := l.recent[inst]
	if r == nil {
		r = &ring{}
		l.recent[inst] = r
	}
	for _, c := range items {
		r.keep(c)
	}
}

// recentItem returns an item that is at hand.
func (l *Log) recentItem(inst exchange.InstrumentID, pos Position) (Committed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.recent[inst]; r != nil {
		return r.get(pos)
	}
	return Committed{}, false
}
