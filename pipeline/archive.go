package pipeline

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
)

// What an Archive keeps of an instrument, for good:
//
//	journal/SYMBOL.ID/YYYY/MM/DD/FIRST-LAST.jnl   journal items, with their commands and events
//	trades/SYMBOL.ID/YYYY/MM/DD/FIRST-LAST.csv    the public trades of those items, or in another TradesFormat
//
// FIRST and LAST are the positions it covers, in 20 digits; the day is that of
// the first item. Names sort as positions do. In SYMBOL a byte that no object
// name may have is '_'; the instrument's id keeps two apart. A file ends at a
// position that ArchiveEvery divides, or before it as soon as its items have
// ArchiveBytes; so whoever writes it, however often, writes the same.
//
// A .jnl is gzip of archiveMagic, the instrument's id and FIRST (each a uvarint),
// and for each item: the length of its data (uvarint), its hash (32 bytes), the
// data as the journal has it (AppendBatch), and the CRC-32 (Castagnoli, little
// endian) of all these bytes. Hashes chain the items within and across files.
const (
	// DefaultArchiveEvery is the default of TradeRecorderConfig.ArchiveEvery.
	DefaultArchiveEvery = 1024
	// MaxArchiveEvery is the most positions a file covers.
	MaxArchiveEvery = 1 << 16
	// ArchiveBytes is how much data ends a file.
	ArchiveBytes = 32 << 20

	archiveMagic = "exchange journal 1\n"
)

// ArchivedTrade is what an archive has of a trade: what the public knows.
type ArchivedTrade struct {
	ID     exchange.TradeID
	Time   exchange.Time
	Price  exchange.Price
	Qty    exchange.Qty
	Amount exchange.Amount // notional
	Side   exchange.Side   // the taker's
}

// TradesFormat is how the trades of an archive file are written, instead of as
// comma-separated values. It must be safe for concurrent use.
type TradesFormat interface {
	// Extension is how the object's name ends, with its dot.
	Extension() string
	// Encode returns an instrument's trades as an object's bytes: the same for
	// the same trades. It keeps no slice.
	Encode(in *exchange.Instrument, trades []ArchivedTrade) ([]byte, error)
	// Decode reads what Encode wrote, also another release of it;
	// ErrEncoding when data is something else.
	Decode(in *exchange.Instrument, data []byte) ([]ArchivedTrade, error)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// archiver collects an instrument's items into the file that is being made. It
// is used under the turn of its instrument.
type archiver struct {
	in      *exchange.Instrument
	store   Archive
	every   Position
	format  TradesFormat // nil: CSV
	maximum int          // ArchiveBytes, less in tests

	known bool
	done  Position     // archived up to here
	file  *archiveFile // nil, or what comes after done
}

func newArchiver(in *exchange.Instrument, store Archive, every int, format TradesFormat) *archiver {
	return &archiver{in: in, store: store, every: Position(every), format: format, maximum: ArchiveBytes}
}

// archived returns the position up to which whole files have been written.
func (a *archiver) archived(ctx context.Context) (Position, error) {
	if !a.known {
		done, err := ArchivedTo(ctx, a.store, a.in)
		if err != nil {
			return 0, err
		}
		a.done, a.known = done, true
	}
	return a.done, nil
}

// start returns the last position that needs not be read again. A file that is
// full but could not be written is written now.
func (a *archiver) start(ctx context.Context) (Position, error) {
	done, err := a.archived(ctx)
	switch {
	case err != nil:
		return 0, err
	case a.file == nil:
		return done, nil
	}
	last := a.file.last()
	return last, a.write(ctx)
}

// add takes the next item, and writes the file when that fills it.
func (a *archiver) add(ctx context.Context, c Committed) error {
	if a.file == nil {
		a.file = newArchiveFile(a.in, c, a.format == nil)
	}
	a.file.add(a.in, c)
	return a.write(ctx)
}

// write writes the file if it is full. The journal's object comes last: it
// says that both are there.
func (a *archiver) write(ctx context.Context) error {
	f := a.file
	if f.last()%a.every != 0 && f.bytes < a.maximum {
		return nil
	}
	if err := a.writeTrades(ctx); err != nil {
		return err
	}
	name, data := f.name("journal", a.in, ".jnl"), f.close()
	err := a.store.Put(ctx, name, data)
	if errors.Is(err, ErrConflict) {
		// Another release of Go may have compressed the same in another way.
		err = a.sameItems(ctx, name, err)
	}
	if err != nil {
		return fmt.Errorf("archiving %s: %w", name, err)
	}
	a.done, a.file = f.last(), nil
	return nil
}

func (a *archiver) writeTrades(ctx context.Context) error {
	f := a.file
	extension, data := ".csv", f.csv
	if a.format != nil {
		var err error
		extension = a.format.Extension()
		if data, err = a.format.Encode(a.in, f.trades); err != nil {
			return fmt.Errorf("encoding the trades of items %d to %d: %w", f.first, f.last(), err)
		}
	}
	name := f.name("trades", a.in, extension)
	err := a.store.Put(ctx, name, data)
	if errors.Is(err, ErrConflict) && a.format != nil {
		// Another release may have written the same in another way.
		there, errGet := a.store.Get(ctx, name)
		if errGet == nil {
			var trades []ArchivedTrade
			if trades, errGet = a.format.Decode(a.in, there); errGet == nil && slices.Equal(trades, f.trades) {
				return nil
			}
		}
		err = errors.Join(err, errGet)
	}
	if err != nil {
		return fmt.Errorf("archiving %s: %w", name, err)
	}
	return nil
}

// sameItems returns conflict unless the archive's object has the file's items.
func (a *archiver) sameItems(ctx context.Context, name string, conflict error) error {
	data, err := a.store.Get(ctx, name)
	if err != nil {
		return errors.Join(conflict, err)
	}
	items, err := decodeArchive(a.in, data)
	switch {
	case err != nil:
		return errors.Join(conflict, err)
	case items[0].Position != a.file.first || items[len(items)-1].Head != a.file.head:
		return conflict // the hash is that of all items before, too
	}
	return nil
}

// archiveFile is a file of the archive that is being made.
type archiveFile struct {
	first  Position
	head   Head // of its last item
	day    string
	bytes  int // of data
	packed bytes.Buffer
	packer *gzip.Writer // nil when closed
	record []byte
	trades []ArchivedTrade // for a TradesFormat
	csv    []byte          // without one
	write  *numberTexts    // for csv
}

// packers are closed and may be used again: each is most of a megabyte.
var packers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // no error: it is a level
	return w
}}

func (f *archiveFile) last() Position { return f.head.Position }

func newArchiveFile(in *exchange.Instrument, c Committed, csv bool) *archiveFile {
	f := &archiveFile{first: c.Position(), day: dayPath(c.Batch().LastTime())}
	if csv {
		f.write, f.csv = newNumberTexts(in), []byte("trade_id,time,price,size,notional,taker_side\n")
	}
	// Speed counts: everything that is journaled goes through here.
	f.packer = packers.Get().(*gzip.Writer)
	f.packer.Reset(&f.packed)
	head := binary.AppendUvarint([]byte(archiveMagic), uint64(in.ID()))
	f.pack(binary.AppendUvarint(head, uint64(f.first)))
	return f
}

// pack compresses into memory, which cannot fail.
func (f *archiveFile) pack(data []byte) { _, _ = f.packer.Write(data) }

func (f *archiveFile) add(in *exchange.Instrument, c Committed) {
	f.head = c.Head()
	f.bytes += len(c.Data())
	r := binary.AppendUvarint(f.record[:0], uint64(len(c.Data())))
	r = append(r, f.head.Hash[:]...)
	sum := crc32.Update(crc32.Checksum(r, castagnoli), castagnoli, c.Data())
	f.pack(r)
	f.pack(c.Data())
	f.pack(binary.LittleEndian.AppendUint32(r[:0], sum))
	f.record = r[:0]
	b := c.Batch()
	for i := range b.Entries {
		for j := range b.Entries[i].Events {
			if ev := &b.Entries[i].Events[j]; ev.Kind == exchange.EventTrade && b.tells(ev) {
				f.trade(ev)
			}
		}
	}
}

// trade adds a trade with what the public knows of it.
func (f *archiveFile) trade(ev *exchange.Event) {
	if f.write == nil {
		f.trades = append(f.trades, ArchivedTrade{ev.TradeID, ev.Time, ev.Price, ev.Qty, ev.Amount, ev.Side})
		return
	}
	t := strconv.AppendUint(f.csv, uint64(ev.TradeID), 10)
	t = appendTime(append(t, ','), ev.Time)
	t = f.write.price.append(append(t, ','), int64(ev.Price))
	t = f.write.qty.append(append(t, ','), int64(ev.Qty))
	t = f.write.quote.append(append(t, ','), int64(ev.Amount))
	t = append(t, ',')
	t = append(t, SideText(ev.Side)...)
	f.csv = append(t, '\n')
}

// close ends the compression and returns the file's bytes.
func (f *archiveFile) close() []byte {
	if f.packer != nil {
		_ = f.packer.Close() // into memory
		packers.Put(f.packer)
		f.packer = nil
	}
	return f.packed.Bytes()
}

func (f *archiveFile) name(kind string, in *exchange.Instrument, ext string) string {
	return fmt.Sprintf("%s%s/%020d-%020d%s", archivePrefix(kind, in), f.day, f.first, f.last(), ext)
}

// archivePrefix is what the names of an instrument's objects begin with.
func archivePrefix(kind string, in *exchange.Instrument) string {
	symbol := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, in.Symbol())
	return fmt.Sprintf("%s/%s.%d/", kind, symbol, in.ID())
}

func dayPath(t exchange.Time) string { return time.Unix(0, int64(t)).UTC().Format("2006/01/02") }

// days is how many days an exchange.Time can tell apart, from 1970 on.
const days = 1<<63/86_400_000_000_000 + 1

// rangeOf reads the positions in the name of a journal object.
func rangeOf(name string) (first, last Position, err error) {
	base, ok := strings.CutSuffix(name[strings.LastIndexByte(name, '/')+1:], ".jnl")
	from, to, dash := strings.Cut(base, "-")
	a, errA := strconv.ParseUint(from, 10, 64)
	b, errB := strconv.ParseUint(to, 10, 64)
	if !ok || !dash || errA != nil || errB != nil || a == 0 || a > b {
		return 0, 0, fmt.Errorf("%w: archive object %q, expected FIRST-LAST.jnl", ErrEncoding, name)
	}
	return Position(a), Position(b), nil
}

// seekArchive returns the name after which the object with a position comes,
// if there is one: among those of the day the name is of.
func seekArchive(ctx context.Context, a Archive, in *exchange.Instrument, pos Position) (string, error) {
	prefix := archivePrefix("journal", in)
	after := func(day int64) string { return prefix + dayPath(exchange.Time(day*24*int64(time.Hour))) }
	low, high := int64(0), int64(days) // the day lies in [low, high)
	for high-low > 1 {
		day := low + (high-low)/2
		names, err := a.List(ctx, prefix, after(day), 1)
		if err != nil {
			return "", fmt.Errorf("listing %s: %w", prefix, err)
		}
		late := len(names) == 0
		if !late {
			first, _, err := rangeOf(names[0])
			if err != nil {
				return "", err
			}
			late = first > pos
		}
		if late {
			high = day
		} else {
			low = day
		}
	}
	return after(low), nil
}

// eachArchived calls f with the names of journal objects that come after a
// name, in order, until f says that it has enough.
func eachArchived(ctx context.Context, a Archive, in *exchange.Instrument, after string, f func(name string, first, last Position) (bool, error)) error {
	prefix := archivePrefix("journal", in)
	for {
		names, err := a.List(ctx, prefix, after, MaxQueryRows)
		if err != nil {
			return fmt.Errorf("listing %s: %w", prefix, err)
		}
		for _, name := range names {
			first, last, err := rangeOf(name)
			if err != nil {
				return err
			}
			if more, err := f(name, first, last); err != nil || !more {
				return err
			}
		}
		if len(names) < MaxQueryRows {
			return nil
		}
		after = names[len(names)-1]
	}
}

// ArchivedTo returns the position up to which an archive has an instrument's
// journal, 0 when it has nothing of it. It costs some twenty calls of List.
func ArchivedTo(ctx context.Context, a Archive, in *exchange.Instrument) (Position, error) {
	after, err := seekArchive(ctx, a, in, 1<<64-1)
	if err != nil {
		return 0, fmt.Errorf("looking for the end of the archive: %w", err)
	}
	var end Position
	err = eachArchived(ctx, a, in, after, func(_ string, _, last Position) (bool, error) {
		end = max(end, last)
		return true, nil
	})
	if err != nil {
		return 0, fmt.Errorf("looking for the end of the archive: %w", err)
	}
	return end, nil
}

// ReadArchive returns an instrument's archived journal items from position from
// (1 or more) on, in order and without a gap, at most limit (1 or more): what a
// Journal once gave, checked by their checksums and by the chain of their
// hashes. None is no error: the archive ends before from. DecodeBatch reads
// what is in an item.
func ReadArchive(ctx context.Context, a Archive, in *exchange.Instrument, from Position, limit int) ([]Item, error) {
	if from < 1 || limit < 1 {
		return nil, fmt.Errorf("reading the archive: %w: from %d, limit %d, expected 1 or more", ErrInvalid, from, limit)
	}
	after, err := seekArchive(ctx, a, in, from)
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	var out []Item
	next := from
	err = eachArchived(ctx, a, in, after, func(name string, first, last Position) (bool, error) {
		switch {
		case last < next:
			return true, nil
		case first > next:
			return false, fmt.Errorf("%w: item %d is not in the archive, which goes on with %q", ErrNotFound, next, name)
		}
		data, err := a.Get(ctx, name)
		if err != nil {
			return false, fmt.Errorf("object %q: %w", name, err)
		}
		items, err := decodeArchive(in, data)
		if err == nil && (items[0].Position != first || items[len(items)-1].Position != last) {
			err = fmt.Errorf("%w: it has other items than its name says", ErrEncoding)
		}
		if err == nil && len(out) > 0 && HashOf(out[len(out)-1].Hash, items[next-first].Data) != items[next-first].Hash {
			err = fmt.Errorf("%w: the hash of item %d does not follow from the one before", ErrEncoding, next)
		}
		if err != nil {
			return false, fmt.Errorf("object %q: %w", name, err)
		}
		items = items[next-first:]
		out = append(out, items[:min(len(items), limit-len(out))]...)
		next = last + 1
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	return out, nil
}

// decodeArchive reads a .jnl object; ErrEncoding unless it is whole and of the
// instrument. It has at least one item.
func decodeArchive(in *exchange.Instrument, data []byte) ([]Item, error) {
	unpacker, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	const most = ArchiveBytes + MaxItemBytes + MaxArchiveEvery*64 // what a file can have
	raw, err := io.ReadAll(io.LimitReader(unpacker, most+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	if len(raw) > most || !bytes.HasPrefix(raw, []byte(archiveMagic)) {
		return nil, fmt.Errorf("%w: no journal file of this version", ErrEncoding)
	}
	r := reader{buf: raw[len(archiveMagic):]}
	inst, first := r.varint(), Position(r.varint())
	if r.bad || inst != uint64(in.ID()) || first == 0 {
		return nil, fmt.Errorf("%w: the journal of instrument %d from %d, expected instrument %d", ErrEncoding, inst, first, in.ID())
	}
	var items []Item
	for len(r.buf) > 0 {
		start := r.buf
		size := r.varint()
		it := Item{Head: Head{Position: first + Position(len(items))}}
		copy(it.Hash[:], r.take(len(it.Hash)))
		if size > uint64(len(r.buf)) {
			r.bad = true
		} else {
			it.Data = r.take(int(size))
		}
		covered := start[:len(start)-len(r.buf)]
		sum := r.take(4)
		switch {
		case r.bad || binary.LittleEndian.Uint32(sum) != crc32.Checksum(covered, castagnoli):
			return nil, fmt.Errorf("%w: item %d is damaged", ErrEncoding, it.Position)
		case len(items) > 0 && HashOf(items[len(items)-1].Hash, it.Data) != it.Hash:
			return nil, fmt.Errorf("%w: the hash of item %d does not follow from the one before", ErrEncoding, it.Position)
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%w: a journal file without items", ErrEncoding)
	}
	return items, nil
}
