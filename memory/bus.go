package memory

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/castlecloud/exchange/pipeline"
)

// Defaults of a BusConfig.
const (
	DefaultBusRequests = 1 << 16
	DefaultRetryFirst  = 10 * time.Millisecond
	DefaultRetryMost   = time.Second
)

// BusConfig says how a Bus behaves. The zero value is fine.
type BusConfig struct {
	Now         func() time.Time // nil: time.Now
	MaxRequests int              // waiting, being handled or to be retried; then ErrFull
	// A request whose handler failed is delivered again after RetryFirst,
	// then after twice as long each time, at most RetryMost.
	RetryFirst, RetryMost time.Duration
}

// Bus is a pipeline.EventBus. Whoever handles requests takes them with Serve,
// or with Receive (or TryReceive) and Done.
type Bus struct {
	cfg     BusConfig
	mu      sync.Mutex
	bell    bell
	waiting deque[BusDelivery]
	failed  retries
	taken   map[uint64]struct{}
	last    uint64
}

// BusDelivery is a request that somebody handles, until it is passed to Done.
type BusDelivery struct {
	Request *pipeline.Request // the receiver's own
	Attempt int               // 1 the first time
	id      uint64
	kept    pipeline.Request
	due     time.Time
}

// NewBus returns an empty bus.
func NewBus(cfg BusConfig) *Bus {
	cfg.Now = clock(cfg.Now)
	cfg.MaxRequests = setting(cfg.MaxRequests, DefaultBusRequests)
	cfg.RetryFirst = setting(cfg.RetryFirst, DefaultRetryFirst)
	cfg.RetryMost = setting(cfg.RetryMost, DefaultRetryMost)
	return &Bus{cfg: cfg, taken: map[uint64]struct{}{}}
}

// Put implements pipeline.EventBus.
func (b *Bus) Put(_ context.Context, req *pipeline.Request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.len(); n >= b.cfg.MaxRequests {
		return fmt.Errorf("putting a request: %w: %d requests wait", pipeline.ErrFull, n)
	}
	b.last++
	b.waiting.push(BusDelivery{kept: *req, id: b.last})
	b.bell.ring()
	return nil
}

func (b *Bus) len() int { return b.waiting.len() + len(b.failed) + len(b.taken) }

// Len returns how many requests are waiting or being handled.
func (b *Bus) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.len()
}

// TryReceive takes a request that is due; ok is false when there is none.
func (b *Bus) TryReceive() (d BusDelivery, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.take()
}

func (b *Bus) take() (d BusDelivery, ok bool) {
	switch {
	case len(b.failed) > 0 && !b.cfg.Now().Before(b.failed[0].due):
		d = heap.Pop(&b.failed).(BusDelivery)
	case b.waiting.len() > 0:
		d = b.waiting.pop()
	default:
		return d, false
	}
	b.taken[d.id] = struct{}{}
	d.Attempt++
	req := d.kept
	d.Request = &req
	return d, true
}

// Receive waits until a request is due, or ctx ends (its error).
func (b *Bus) Receive(ctx context.Context) (BusDelivery, error) {
	err := ctx.Err()
	for err == nil {
		b.mu.Lock()
		d, ok := b.take()
		if ok {
			b.mu.Unlock()
			return d, nil
		}
		rung, wait := b.bell.hear(), time.Duration(0)
		if len(b.failed) > 0 {
			wait = max(1, b.failed[0].due.Sub(b.cfg.Now()))
		}
		b.mu.Unlock()
		err = await(ctx, rung, wait)
	}
	return BusDelivery{}, fmt.Errorf("receiving a request: %w", err)
}

// Done ends a delivery: with a nil error the request is gone, otherwise it is
// delivered again. Only the first Done of a delivery counts.
func (b *Bus) Done(d BusDelivery, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.taken[d.id]; !ok {
		return
	}
	delete(b.taken, d.id)
	if err == nil {
		return
	}
	wait := b.cfg.RetryFirst
	for i := 1; i < d.Attempt && wait < b.cfg.RetryMost; i++ {
		wait *= 2
	}
	d.due, d.Request = b.cfg.Now().Add(min(wait, b.cfg.RetryMost)), nil
	heap.Push(&b.failed, d)
	b.bell.ring() // who waits may have to wake earlier
}

// Serve hands requests to handle, one at a time, until ctx ends, and returns
// its error. Call it from as many goroutines as should work at once.
func (b *Bus) Serve(ctx context.Context, handle func(context.Context, *pipeline.Request) error) error {
	for {
		d, err := b.Receive(ctx)
		if err != nil {
			return err
		}
		b.Done(d, handle(ctx, d.Request))
	}
}

// retries is a heap by (due, id).
type retries []BusDelivery

func (r retries) Len() int { return len(r) }
func (r retries) Less(i, j int) bool {
	if !r[i].due.Equal(r[j].due) {
		return r[i].due.Before(r[j].due)
	}
	return r[i].id < r[j].id
}
func (r retries) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(v any)   { *r = append(*r, v.(BusDelivery)) }
func (r *retries) Pop() any {
	old := *r
	v := old[len(old)-1]
	old[len(old)-1] = BusDelivery{}
	*r = old[:len(old)-1]
	return v
}
