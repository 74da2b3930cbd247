package pipeline

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait before something that failed is tried again.
type Backoff struct {
	First, Most time.Duration // before the first try again, twice as long each time, at most
	// Jitter returns numbers of at least 0 and below 1; it spreads each wait
	// over the upper half of it. nil: random ones. It may be called
	// concurrently.
	Jitter func() float64
	// Wait waits for d, or until ctx ends. nil: as the clock goes. It may be
	// called concurrently.
	Wait func(ctx context.Context, d time.Duration)
}

// Defaults of a Backoff.
const (
	DefaultBackoffFirst = 20 * time.Millisecond
	DefaultBackoffMost  = 5 * time.Second
)

// complete fills in what was left zero.
func (b *Backoff) complete() {
	if b.First <= 0 {
		b.First = DefaultBackoffFirst
	}
	if b.Most <= 0 {
		b.Most = DefaultBackoffMost
	}
	if b.Jitter == nil {
		b.Jitter = rand.Float64
	}
	if b.Wait == nil {
		b.Wait = waitFor
	}
}

// delay returns the wait before the n-th try again, counted from 1.
func (b *Backoff) delay(n int) time.Duration {
	d := min(b.First, b.Most)
	for ; n > 1 && d < b.Most; n-- {
		d = min(2*d, b.Most)
	}
	return d/2 + time.Duration(b.Jitter()*float64(d-d/2))
}

func waitFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
