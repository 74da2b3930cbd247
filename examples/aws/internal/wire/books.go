package wire

import (
	"context"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// connectAgain is how long a book store that could not be reached is not asked
// again: what does without it must not wait for it with every command.
const connectAgain = time.Second

// lazyBooks is a book store that is connected to with the first call, and again
// after a failure. A process starts without it: losing the book store costs a
// reload, no more. It is safe for concurrent use.
type lazyBooks struct {
	connect func() (pipeline.BookStore, error)
	now     func() time.Time

	mu     sync.Mutex
	store  pipeline.BookStore
	err    error
	failed time.Time
}

func (l *lazyBooks) get() (pipeline.BookStore, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store != nil || l.err != nil && l.now().Sub(l.failed) < connectAgain {
		return l.store, l.err
	}
	if l.store, l.err = l.connect(); l.err != nil {
		l.store, l.failed = nil, l.now()
	}
	return l.store, l.err
}

// SaveBook implements pipeline.BookStore.
func (l *lazyBooks) SaveBook(ctx context.Context, c pipeline.Committed, data []byte) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.SaveBook(ctx, c, data)
}

// LoadBook implements pipeline.BookStore.
func (l *lazyBooks) LoadBook(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	s, err := l.get()
	if err != nil {
		return pipeline.Snapshot{}, err
	}
	return s.LoadBook(ctx, inst)
}

// SaveDepth implements pipeline.BookStore.
func (l *lazyBooks) SaveDepth(ctx context.Context, c pipeline.Committed, d *pipeline.Depth) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.SaveDepth(ctx, c, d)
}

// Depth implements pipeline.BookStore.
func (l *lazyBooks) Depth(ctx context.Context, inst exchange.InstrumentID) (*pipeline.Depth, error) {
	s, err := l.get()
	if err != nil {
		return nil, err
	}
	return s.Depth(ctx, inst)
}
