package memory

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Journal is a pipeline.Journal. Its items go away by Trim only.
type Journal struct {
	mu   sync.RWMutex
	logs map[exchange.InstrumentID]*journalLog
}

// journalLog is the journal of one instrument.
type journalLog struct {
	head      pipeline.Head
	items     []pipeline.Item // the last of them is at head
	snapshot  pipeline.Snapshot
	published pipeline.Position
}

// NewJournal returns an empty journal.
func NewJournal() *Journal {
	return &Journal{logs: map[exchange.InstrumentID]*journalLog{}}
}

// log returns the journal of an instrument. Under the lock.
func (j *Journal) log(inst exchange.InstrumentID) *journalLog {
	l := j.logs[inst]
	if l == nil {
		l = &journalLog{}
		j.logs[inst] = l
	}
	return l
}

// look returns the journal of an instrument for reading. Under the lock.
func (j *Journal) look(inst exchange.InstrumentID) *journalLog {
	if l := j.logs[inst]; l != nil {
		return l
	}
	return &journalLog{}
}

// Append implements pipeline.Journal.
func (j *Journal) Append(_ context.Context, inst exchange.InstrumentID, item pipeline.Item) error {
	if err := checkInstrument(inst); err != nil {
		return err
	}
	if n := len(item.Data); n == 0 || n > pipeline.MaxItemBytes {
		return fmt.Errorf("journal of instrument %d: %w: an item of %d bytes, expected 1 to %d", inst, pipeline.ErrTooLarge, n, pipeline.MaxItemBytes)
	}
	item.Data = bytes.Clone(item.Data)
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.log(inst)
	if item.Position != l.head.Position+1 {
		return fmt.Errorf("journal of instrument %d: %w: item %d does not follow %d", inst, pipeline.ErrFenced, item.Position, l.head.Position)
	}
	l.items = append(l.items, item)
	l.head = item.Head
	return nil
}

// Read implements pipeline.Journal.
func (j *Journal) Read(_ context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	if limit < 1 || limit > pipeline.MaxReadItems {
		return nil, fmt.Errorf("journal of instrument %d: %w: limit %d, expected 1 to %d", inst, pipeline.ErrInvalid, limit, pipeline.MaxReadItems)
	}
	if from < 1 {
		return nil, fmt.Errorf("journal of instrument %d: %w: position 0, expected at least 1", inst, pipeline.ErrInvalid)
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	l := j.look(inst)
	first := l.head.Position - pipeline.Position(len(l.items)) + 1
	if from < first {
		return nil, fmt.Errorf("journal of instrument %d: %w: item %d, the first is %d", inst, pipeline.ErrTrimmed, from, first)
	}
	if from > l.head.Position {
		return nil, nil
	}
	found := l.items[from-first:]
	found = found[:min(limit, len(found))]
	out := make([]pipeline.Item, len(found))
	for i := range found {
		out[i] = pipeline.Item{Head: found[i].Head, Data: bytes.Clone(found[i].Data)}
	}
	return out, nil
}

// Head implements pipeline.Journal.
func (j *Journal) Head(_ context.Context, inst exchange.InstrumentID) (pipeline.Head, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.look(inst).head, nil
}

// SaveSnapshot implements pipeline.Journal.
func (j *Journal) SaveSnapshot(_ context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
	if err := checkInstrument(inst); err != nil {
		return err
	}
	if n := len(snap.Data); n > pipeline.MaxSnapshotBytes {
		return fmt.Errorf("journal of instrument %d: %w: a snapshot of %d bytes, expected at most %d", inst, pipeline.ErrTooLarge, n, pipeline.MaxSnapshotBytes)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.log(inst)
	if l.snapshot.Data == nil || snap.Position > l.snapshot.Position {
		l.snapshot = pipeline.Snapshot{Head: snap.Head, Data: kept(snap.Data)}
	}
	return nil
}

// LoadSnapshot implements pipeline.Journal.
func (j *Journal) LoadSnapshot(_ context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	snap := j.look(inst).snapshot
	if snap.Data == nil {
		return pipeline.Snapshot{}, fmt.Errorf("snapshot of instrument %d: %w", inst, pipeline.ErrNotFound)
	}
	snap.Data = bytes.Clone(snap.Data)
	return snap, nil
}

// MarkPublished implements pipeline.Journal.
func (j *Journal) MarkPublished(_ context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	if err := checkInstrument(inst); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.log(inst)
	l.published = max(l.published, pos)
	return nil
}

// Published implements pipeline.Journal.
func (j *Journal) Published(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.look(inst).published, nil
}

// Trim implements pipeline.Journal.
func (j *Journal) Trim(_ context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.look(inst)
	if pos > l.snapshot.Position || pos > l.head.Position {
		return fmt.Errorf("journal of instrument %d: %w: trimming up to %d, expected at most the snapshot at %d and the head at %d", inst, pipeline.ErrInvalid, pos, l.snapshot.Position, l.head.Position)
	}
	trimmed := l.head.Position - pipeline.Position(len(l.items))
	if pos > trimmed {
		// Into a slice of its own, so that what was trimmed is freed.
		l.items = append([]pipeline.Item(nil), l.items[pos-trimmed:]...)
	}
	return nil
}

// kept returns a copy of data that is not nil.
func kept(data []byte) []byte { return append([]byte{}, data...) }

// checkInstrument bounds how many instruments anything here can hold.
func checkInstrument(inst exchange.InstrumentID) error {
	if inst < 1 || inst > exchange.MaxID {
		return fmt.Errorf("%w: instrument %d, expected 1 to %d", pipeline.ErrInvalid, inst, exchange.MaxID)
	}
	return nil
}
