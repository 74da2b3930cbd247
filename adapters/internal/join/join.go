// Package join makes one call of several that are made at the same time.
package join

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
)

// ErrUnanswered is the error of a call that the answer to its batch does not
// name.
var ErrUnanswered = errors.New("the answer does not name it")

// Named notes what the answer to a batch says of the call whose id is its index.
// An id that is none of them, or nil, is ignored.
func Named(errs []error, id *string, err error) {
	if id == nil {
		return
	}
	if i, convErr := strconv.Atoi(*id); convErr == nil && i >= 0 && i < len(errs) {
		errs[i] = err
	}
}

// Batcher joins calls. While a batch runs those that come wait for the next
// one; a call that is alone waits for nobody. Make one with New. It is safe for
// concurrent use, and has no goroutine while nobody calls.
type Batcher[C any] struct {
	most, batches int
	run           func(ctx context.Context, calls []C) []error

	mu      sync.Mutex
	running int
	waiting []*call[C]
}

type call[C any] struct {
	ctx  context.Context
	what C
	done chan error // has room for the answer
}

// New returns a Batcher. run gets up to most calls, and returns the error of
// each; at most so many batches run at a time. Its context is not canceled: who
// calls may stop waiting, and the others do not.
func New[C any](most, batches int, run func(ctx context.Context, calls []C) []error) *Batcher[C] {
	return &Batcher[C]{most: most, batches: batches, run: run}
}

// Do makes a call together with others, and returns its error, or that of ctx,
// and then nobody knows what has become of it.
func (b *Batcher[C]) Do(ctx context.Context, what C) error {
	mine := &call[C]{ctx, what, make(chan error, 1)}
	b.mu.Lock()
	b.waiting = append(b.waiting, mine)
	lead := b.running < b.batches
	if lead {
		b.running++
	}
	b.mu.Unlock()
	if lead {
		go b.lead()
	}
	select {
	case err := <-mine.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lead runs batches until nobody waits.
func (b *Batcher[C]) lead() {
	for {
		// Who has been started together with the first gets here, too.
		runtime.Gosched()
		b.mu.Lock()
		n := min(len(b.waiting), b.most)
		batch := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		if n == 0 {
			b.waiting = nil
			b.running--
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		calls := make([]C, n)
		for i := range batch {
			calls[i] = batch[i].what
		}
		for i, err := range b.run(context.WithoutCancel(batch[0].ctx), calls) {
			batch[i].done <- err
		}
	}
}
