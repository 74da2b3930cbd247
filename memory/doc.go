// Package memory has every port of package pipeline in this process: the
// reference for all other implementations, and what tests, simulations and a
// venue without storage run on. Nothing survives the process.
//
// All types are safe for concurrent use and start no goroutine. Those that wait
// (Queue, Bus, Subscription, PushSubscription) also have a way to take what is
// there without waiting, and take the time from a function they are given, so
// that a single goroutine with a clock of its own can drive a whole venue.
//
// Everything is bounded, by a constant or by a setting whose zero stands for a
// constant. What is full either refuses (ErrFull) or forgets the oldest; each
// type says which.
package memory

import (
	"context"
	"time"
)

// setting returns v, or its default when it is zero.
func setting[T comparable](v, unset T) T {
	var zero T
	if v == zero {
		return unset
	}
	return v
}

func clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

// bell wakes everybody who waits. It is used under the lock of what it belongs
// to, and costs nothing while nobody waits.
type bell struct {
	waiting int
	rung    chan struct{}
}

// ring wakes all who wait.
func (b *bell) ring() {
	if b.waiting > 0 {
		close(b.rung)
		b.waiting, b.rung = 0, nil
	}
}

// hear returns a channel that the next ring closes.
func (b *bell) hear() <-chan struct{} {
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	b.waiting++
	return b.rung
}

// await waits until rung is closed, after has passed (when it is positive), or
// ctx ends. It returns the error of ctx, also when that has ended at the same
// moment: whoever has been told to stop takes nothing more.
func await(ctx context.Context, rung <-chan struct{}, after time.Duration) error {
	var due <-chan time.Time
	if after > 0 {
		timer := time.NewTimer(after)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-rung:
	case <-due:
	}
	return ctx.Err()
}

// deque is a queue of values, first in, first out. Its memory follows what is
// in it.
type deque[T any] struct {
	items []T
	first int
}

func (d *deque[T]) len() int { return len(d.items) - d.first }

// at returns the i-th value from the front.
func (d *deque[T]) at(i int) *T { return &d.items[d.first+i] }

func (d *deque[T]) push(v T) {
	if d.first > 0 && len(d.items) == cap(d.items) && d.first >= len(d.items)/2 {
		d.compact()
	}
	d.items = append(d.items, v)
}

func (d *deque[T]) pop() T {
	v := d.items[d.first]
	d.drop(1)
	return v
}

// drop removes n values from the front.
func (d *deque[T]) drop(n int) {
	clear(d.items[d.first : d.first+n])
	d.first += n
	if d.first == len(d.items) {
		d.items, d.first = d.items[:0], 0
	}
	if cap(d.items) > dequeKeeps && cap(d.items) > 4*d.len() {
		d.items, d.first = append(make([]T, 0, max(dequeKeeps, 2*d.len())), d.items[d.first:]...), 0
	}
}

// dequeKeeps is the capacity below which an empty deque gives none back.
const dequeKeeps = 64

func (d *deque[T]) compact() {
	n := copy(d.items, d.items[d.first:])
	clear(d.items[n:])
	d.items, d.first = d.items[:n], 0
}
