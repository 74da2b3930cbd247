package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

const (
	chunkBytes = 1 << 20 // of a snapshot; part of the format
	// rowBytes is how much of a journal item is in one row, as bolt writes the
	// last rows of a bucket again with the next one; part of the format.
	rowBytes  = 8 << 10
	trimItems = 1000 // that Trim removes in one transaction
	readBytes = 16 << 20
)

type journal struct{ *Store }

// head is what is known of an instrument's journal.
type head struct {
	pipeline.Head
	trimmed pipeline.Position // the last that was removed
}

func headKey(inst exchange.InstrumentID) []byte { return rows.Key32(nil, inst) }

func itemKey(inst exchange.InstrumentID, pos pipeline.Position, n int) []byte {
	return rows.Key32(rows.Key64(rows.Key32(make([]byte, 0, 16), inst), pos), uint32(n))
}

// putItem writes an item: its hash, its size and its data, cut into rows.
func (t *tx) putItem(inst exchange.InstrumentID, pos pipeline.Position, value []byte) {
	for n := 0; len(value) > 0; n++ {
		part := value[:min(rowBytes, len(value))]
		t.put(bucketItems, itemKey(inst, pos, n), part)
		value = value[len(part):]
	}
}

// itemHead reads where the rows of an item begin: its hash, the size of its
// data, and how many bytes stand before that.
func (t *tx) itemHead(inst exchange.InstrumentID, pos pipeline.Position) (h pipeline.Head, size, before int, err error) {
	value := t.get(bucketItems, itemKey(inst, pos, 0))
	r := rows.Read(value)
	h.Position = pos
	copy(h.Hash[:], r.Bytes(len(h.Hash)))
	size = int(r.Uint(pipeline.MaxItemBytes))
	before = len(rows.Uint(h.Hash[:], uint64(size)))
	if size == 0 || len(value) != min(rowBytes, before+size) {
		err = fmt.Errorf("item %d: %w", pos, rows.ErrDamaged)
	}
	return h, size, before, err
}

// item reads an item.
func (t *tx) item(inst exchange.InstrumentID, pos pipeline.Position) (pipeline.Item, error) {
	h, size, before, err := t.itemHead(inst, pos)
	if err != nil {
		return pipeline.Item{}, err
	}
	item := pipeline.Item{Head: h, Data: make([]byte, 0, size)}
	c := t.bucket(bucketItems).Cursor()
	key, part := c.Seek(itemKey(inst, pos, 0))
	part = part[before:]
	for n := 0; len(item.Data) < size; n++ {
		if len(part) == 0 || len(part) > size-len(item.Data) || !bytes.Equal(key, itemKey(inst, pos, n)) {
			return item, fmt.Errorf("row %d of item %d: %w", n, pos, rows.ErrDamaged)
		}
		item.Data = append(item.Data, part...)
		key, part = c.Next()
	}
	return item, nil
}

// removeItem removes an item.
func (t *tx) removeItem(inst exchange.InstrumentID, pos pipeline.Position) error {
	_, size, before, err := t.itemHead(inst, pos)
	if err != nil {
		return err
	}
	for n := 0; n*rowBytes < before+size; n++ {
		t.delete(bucketItems, itemKey(inst, pos, n))
	}
	return nil
}

func (t *tx) head(inst exchange.InstrumentID) (h head, err error) {
	value := t.get(bucketHeads, headKey(inst))
	if value == nil {
		return h, nil
	}
	r := rows.Read(value)
	h.Position = pipeline.Position(r.Uint64())
	copy(h.Hash[:], r.Bytes(len(h.Hash)))
	h.trimmed = pipeline.Position(r.Uint64())
	return h, r.End()
}

func (t *tx) putHead(inst exchange.InstrumentID, h head) {
	value := rows.Uint(make([]byte, 0, 52), h.Position)
	value = append(value, h.Hash[:]...)
	t.put(bucketHeads, headKey(inst), rows.Uint(value, h.trimmed))
}

// checkInstrument bounds how many instruments a file can have.
func checkInstrument(inst exchange.InstrumentID) error {
	if inst < 1 || inst > exchange.MaxID {
		return fmt.Errorf("%w: instrument %d, expected 1 to %d", pipeline.ErrInvalid, inst, exchange.MaxID)
	}
	return nil
}

func wrap(inst exchange.InstrumentID, err error) error {
	if err != nil {
		return fmt.Errorf("journal of instrument %d: %w", inst, err)
	}
	return nil
}

// Append implements pipeline.Journal.
func (j journal) Append(ctx context.Context, inst exchange.InstrumentID, item pipeline.Item) error {
	if err := checkInstrument(inst); err != nil {
		return wrap(inst, err)
	}
	if n := len(item.Data); n == 0 || n > pipeline.MaxItemBytes {
		return wrap(inst, fmt.Errorf("%w: an item of %d bytes, expected 1 to %d", pipeline.ErrTooLarge, n, pipeline.MaxItemBytes))
	}
	value := append(make([]byte, 0, len(item.Hash)+len(item.Data)+binary.MaxVarintLen64), item.Hash[:]...)
	value = append(rows.Uint(value, uint64(len(item.Data))), item.Data...)
	return wrap(inst, j.update(ctx, func(t *tx) error {
		h, err := t.head(inst)
		if err != nil {
			return err
		}
		if item.Position != h.Position+1 {
			return fmt.Errorf("%w: item %d does not follow %d", pipeline.ErrFenced, item.Position, h.Position)
		}
		t.putItem(inst, item.Position, value)
		h.Head = item.Head
		t.putHead(inst, h)
		j.storeMark(t, inst)
		return nil
	}))
}

// Read implements pipeline.Journal. It returns fewer items than it may when
// they are large, so that one call takes no more memory than readBytes and one
// item.
func (j journal) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) (items []pipeline.Item, err error) {
	if limit < 1 || limit > pipeline.MaxReadItems {
		return nil, wrap(inst, fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxReadItems))
	}
	if from < 1 {
		return nil, wrap(inst, fmt.Errorf("%w: position 0, expected at least 1", pipeline.ErrInvalid))
	}
	err = j.view(ctx, func(t *tx) error {
		h, err := t.head(inst)
		if err != nil {
			return err
		}
		if from <= h.trimmed {
			return fmt.Errorf("%w: item %d, the first is %d", pipeline.ErrTrimmed, from, h.trimmed+1)
		}
		room := readBytes
		for pos := from; pos <= h.Position && len(items) < limit && (room > 0 || len(items) == 0); pos++ {
			item, err := t.item(inst, pos)
			if err != nil {
				return err
			}
			items = append(items, item)
			room -= len(item.Data)
		}
		return nil
	})
	if err != nil {
		return nil, wrap(inst, err)
	}
	return items, nil
}

// Head implements pipeline.Journal.
func (j journal) Head(ctx context.Context, inst exchange.InstrumentID) (h pipeline.Head, err error) {
	err = j.view(ctx, func(t *tx) error {
		found, err := t.head(inst)
		h = found.Head
		return err
	})
	return h, wrap(inst, err)
}

// snapshotHead returns where the snapshot was taken and its size; ok is false
// when there is none.
func (t *tx) snapshotHead(inst exchange.InstrumentID) (h pipeline.Head, size int, ok bool, err error) {
	value := t.get(bucketSnapshots, headKey(inst))
	if value == nil {
		return h, 0, false, nil
	}
	r := rows.Read(value)
	h.Position = pipeline.Position(r.Uint64())
	copy(h.Hash[:], r.Bytes(len(h.Hash)))
	size = int(r.Uint(pipeline.MaxSnapshotBytes))
	return h, size, true, r.End()
}

func chunkKey(inst exchange.InstrumentID, n int) []byte {
	return rows.Key32(rows.Key32(make([]byte, 0, 8), inst), uint32(n))
}

// SaveSnapshot implements pipeline.Journal.
func (j journal) SaveSnapshot(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
	if err := checkInstrument(inst); err != nil {
		return wrap(inst, err)
	}
	if n := len(snap.Data); n > pipeline.MaxSnapshotBytes {
		return wrap(inst, fmt.Errorf("%w: a snapshot of %d bytes, expected at most %d", pipeline.ErrTooLarge, n, pipeline.MaxSnapshotBytes))
	}
	return wrap(inst, j.update(ctx, func(t *tx) error {
		old, size, ok, err := t.snapshotHead(inst)
		if err != nil {
			return err
		}
		if ok && old.Position >= snap.Position {
			return nil
		}
		value := rows.Uint(nil, snap.Position)
		value = append(value, snap.Hash[:]...)
		t.put(bucketSnapshots, headKey(inst), rows.Uint(value, uint64(len(snap.Data))))
		n, data := 0, snap.Data
		for ; len(data) > 0; n++ {
			part := data[:min(chunkBytes, len(data))]
			t.put(bucketChunks, chunkKey(inst, n), part) // the caller's until the transaction ends
			data = data[len(part):]
		}
		for ; n*chunkBytes < size; n++ {
			t.delete(bucketChunks, chunkKey(inst, n))
		}
		return nil
	}))
}

// LoadSnapshot implements pipeline.Journal.
func (j journal) LoadSnapshot(ctx context.Context, inst exchange.InstrumentID) (snap pipeline.Snapshot, err error) {
	err = j.view(ctx, func(t *tx) error {
		h, size, ok, err := t.snapshotHead(inst)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("snapshot: %w", pipeline.ErrNotFound)
		}
		snap = pipeline.Snapshot{Head: h, Data: make([]byte, 0, size)}
		for n := 0; len(snap.Data) < size; n++ {
			part := t.get(bucketChunks, chunkKey(inst, n))
			if len(part) != min(chunkBytes, size-len(snap.Data)) {
				return fmt.Errorf("part %d of the snapshot: %w", n, rows.ErrDamaged)
			}
			snap.Data = append(snap.Data, part...)
		}
		return nil
	})
	if err != nil {
		return pipeline.Snapshot{}, wrap(inst, err)
	}
	return snap, nil
}

func decodeMark(key, value []byte) (exchange.InstrumentID, pipeline.Position, error) {
	k, v := rows.Read(key), rows.Read(value)
	inst, pos := exchange.InstrumentID(k.Key32()), pipeline.Position(v.Uint64())
	if k.End() != nil || v.End() != nil {
		return 0, 0, fmt.Errorf("published mark: %w", rows.ErrDamaged)
	}
	return inst, pos, nil
}

// MarkPublished implements pipeline.Journal. The mark is stored with the
// instrument's next item, or by Close.
func (j journal) MarkPublished(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	if err := checkInstrument(inst); err != nil {
		return wrap(inst, err)
	}
	if err := ctx.Err(); err != nil {
		return wrap(inst, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	m := j.published[inst]
	m.now = max(m.now, pos)
	j.published[inst] = m
	return nil
}

// Published implements pipeline.Journal.
func (j journal) Published(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.published[inst].now, nil
}

// storeMark stores an instrument's published mark if it has moved.
func (s *Store) storeMark(t *tx, inst exchange.InstrumentID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.published[inst]; m.stored != m.now {
		t.put(bucketPublished, headKey(inst), rows.Uint(nil, m.now))
		s.published[inst] = mark{m.now, m.now}
	}
}

func (s *Store) storeMarks(t *tx) {
	s.mu.Lock()
	var all []exchange.InstrumentID
	for inst := range s.published {
		all = append(all, inst)
	}
	s.mu.Unlock()
	for _, inst := range all {
		s.storeMark(t, inst)
	}
}

// Trim implements pipeline.Journal.
func (j journal) Trim(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	for done := false; !done; {
		err := j.update(ctx, func(t *tx) (err error) {
			done, err = t.trim(inst, pos)
			return err
		})
		if err != nil {
			return wrap(inst, err)
		}
	}
	return nil
}

// trim removes some of the items up to pos and reports whether that was all.
func (t *tx) trim(inst exchange.InstrumentID, pos pipeline.Position) (bool, error) {
	h, err := t.head(inst)
	if err != nil {
		return false, err
	}
	snap, _, _, err := t.snapshotHead(inst)
	if err != nil {
		return false, err
	}
	if pos > snap.Position || pos > h.Position {
		return false, fmt.Errorf("%w: trimming up to %d, expected at most the snapshot at %d and the head at %d", pipeline.ErrInvalid, pos, snap.Position, h.Position)
	}
	if pos <= h.trimmed {
		return true, nil
	}
	last := min(pos, h.trimmed+trimItems)
	for p := h.trimmed + 1; p <= last; p++ {
		if err := t.removeItem(inst, p); err != nil {
			return false, err
		}
	}
	h.trimmed = last
	t.putHead(inst, h)
	return last == pos, nil
}
