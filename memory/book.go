package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// BookStore is a pipeline.BookStore.
type BookStore struct {
	mu    sync.RWMutex
	books map[exchange.InstrumentID]pipeline.Snapshot
	depth map[exchange.InstrumentID]*pipeline.Depth
}

// NewBookStore returns an empty store.
func NewBookStore() *BookStore {
	return &BookStore{books: map[exchange.InstrumentID]pipeline.Snapshot{}, depth: map[exchange.InstrumentID]*pipeline.Depth{}}
}

// SaveBook implements pipeline.BookStore.
func (s *BookStore) SaveBook(_ context.Context, c pipeline.Committed, data []byte) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("saving a book: %w", err)
	}
	if len(data) > pipeline.MaxSnapshotBytes {
		return fmt.Errorf("saving the book of instrument %d: %w: %d bytes, expected at most %d", c.Instrument(), pipeline.ErrTooLarge, len(data), pipeline.MaxSnapshotBytes)
	}
	data = kept(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.books[c.Instrument()]; !ok || c.Position() >= old.Position {
		s.books[c.Instrument()] = pipeline.Snapshot{Head: c.Head(), Data: data}
	}
	return nil
}

// LoadBook implements pipeline.BookStore.
func (s *BookStore) LoadBook(_ context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap, ok := s.books[inst]
	if !ok {
		return pipeline.Snapshot{}, fmt.Errorf("book of instrument %d: %w", inst, pipeline.ErrNotFound)
	}
	snap.Data = bytes.Clone(snap.Data)
	return snap, nil
}

// SaveDepth implements pipeline.BookStore.
func (s *BookStore) SaveDepth(_ context.Context, c pipeline.Committed, d *pipeline.Depth) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("saving a depth: %w", err)
	}
	if d.Instrument != c.Instrument() {
		return fmt.Errorf("saving the depth of instrument %d: %w: it is of instrument %d", c.Instrument(), pipeline.ErrInvalid, d.Instrument)
	}
	if n := max(len(d.Bids), len(d.Asks)); n > pipeline.MaxDepthLevels {
		return fmt.Errorf("saving the depth of instrument %d: %w: %d levels, expected at most %d a side", d.Instrument, pipeline.ErrTooLarge, n, pipeline.MaxDepthLevels)
	}
	mine := copyDepth(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.depth[d.Instrument]; old == nil || d.Seq >= old.Seq {
		s.depth[d.Instrument] = mine
	}
	return nil
}

// Depth implements pipeline.BookStore.
func (s *BookStore) Depth(_ context.Context, inst exchange.InstrumentID) (*pipeline.Depth, error) {
	s.mu.RLock()
	d := s.depth[inst]
	s.mu.RUnlock()
	if d == nil {
		return nil, fmt.Errorf("depth of instrument %d: %w", inst, pipeline.ErrNotFound)
	}
	return copyDepth(d), nil // what is kept never changes
}

func copyDepth(d *pipeline.Depth) *pipeline.Depth {
	c := *d
	c.Bids, c.Asks = slices.Clone(d.Bids), slices.Clone(d.Asks)
	c.BidOrders, c.AskOrders = slices.Clone(d.BidOrders), slices.Clone(d.AskOrders)
	return &c
}
