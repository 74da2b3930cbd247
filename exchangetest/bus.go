package exchangetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/pipeline"
)

// BusHarness is how a pipeline.EventBus is tested.
type BusHarness struct {
	// Open makes a bus that delivers to handle until the test ends, one at a
	// time or many.
	Open     func(t testing.TB, handle func(context.Context, *pipeline.Request) error) pipeline.EventBus
	Patience time.Duration // 0: DefaultPatience
}

// TestBus runs BusCases.
func TestBus(t *testing.T, h BusHarness) { Run(t, BusCases, h) }

// BusCases is what every pipeline.EventBus does.
var BusCases = []Case[BusHarness]{
	{"requests arrive as they were put", busRoundTrip},
	{"a request whose handler fails comes again", busRetries},
	{"a request that fails holds up no other", busFailing},
	{"it may be repeated", busRepeats},
	{"requests put at the same time all arrive", busConcurrent},
	{"the caller's request is not kept", busKeepsNothing},
}

// handled collects requests by key.
type handled struct {
	mu    sync.Mutex
	byKey map[string][]pipeline.Request
	wake  chan struct{}
}

func newHandled() *handled {
	return &handled{byKey: map[string][]pipeline.Request{}, wake: make(chan struct{}, 1)}
}

// add keeps a copy of a request and returns how often its key has come.
func (h *handled) add(req *pipeline.Request) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byKey[req.Key] = append(h.byKey[req.Key], *req)
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return len(h.byKey[req.Key])
}

func (h *handled) times(key string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.byKey[key])
}

// of returns what has come under a key.
func (h *handled) of(key string) []pipeline.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.byKey[key])
}

// await waits until done.
func (h *handled) await(t testing.TB, patience time.Duration, what string, done func() bool) {
	t.Helper()
	ctx := within(t, orDefault(patience, DefaultPatience))
	for !done() {
		select {
		case <-h.wake:
		case <-ctx.Done():
			require.Fail(t, "waited in vain", what)
		}
	}
}

func fullRequest(key string) pipeline.Request {
	return pipeline.Request{Kind: pipeline.RequestNew, Account: 1<<64 - 1, Time: 1<<63 - 1, Key: key,
		Symbol: "BTC-USD", Side: "buy", Type: "limit", TimeInForce: "GTD", Price: "1.50", Size: "2", Funds: "3.0", StopPrice: "4", DisplaySize: "5",
		MinSize: "6", ExpireTime: "2026-01-02T03:04:05.678Z", PostOnly: "slide", SelfTrade: "decrement", Hidden: true,
		OrderID: "BTC-USD.7", OrigClientID: "\"<ü>\\\u2028\x7f"}
}

func busRoundTrip(t testing.TB, h BusHarness) {
	got := newHandled()
	b := h.Open(t, func(_ context.Context, req *pipeline.Request) error { got.add(req); return nil })
	want := []pipeline.Request{fullRequest("full"), {Kind: pipeline.RequestCancelAll, Account: 1, Key: "little"}}
	for i := range 300 {
		want = append(want, pipeline.Request{Kind: pipeline.RequestCancel, Account: 2, Time: 3, Key: fmt.Sprint(i), OrderID: fmt.Sprint(i)})
	}
	for i := range want {
		require.NoError(t, b.Put(t.Context(), &want[i]))
	}
	for i := range want {
		got.await(t, h.Patience, "request "+want[i].Key, func() bool { return got.times(want[i].Key) > 0 })
		require.Equal(t, want[i], got.of(want[i].Key)[0])
	}
}

var errBusy = errors.New("busy")

func busRetries(t testing.TB, h BusHarness) {
	got := newHandled()
	b := h.Open(t, func(_ context.Context, req *pipeline.Request) error {
		n := got.add(req)
		*req = pipeline.Request{} // what a handler does to its request stays with it
		if n < 3 {
			return errBusy
		}
		return nil
	})
	want := fullRequest("stubborn")
	require.NoError(t, b.Put(t.Context(), &want))
	got.await(t, h.Patience, "the third delivery", func() bool { return got.times("stubborn") >= 3 })
	for _, req := range got.of("stubborn") {
		require.Equal(t, want, req)
	}
}

func busFailing(t testing.TB, h BusHarness) {
	got := newHandled()
	b := h.Open(t, func(_ context.Context, req *pipeline.Request) error {
		got.add(req)
		if req.Kind == pipeline.RequestAmend {
			return errBusy
		}
		return nil
	})
	for i := range 20 {
		req := pipeline.Request{Kind: pipeline.RequestCancel, Account: 1, Key: fmt.Sprint("good ", i)}
		if i%4 == 0 {
			req.Kind, req.Key = pipeline.RequestAmend, fmt.Sprint("bad ", i)
		}
		require.NoError(t, b.Put(t.Context(), &req))
	}
	for i := range 20 {
		if i%4 != 0 {
			key := fmt.Sprint("good ", i)
			got.await(t, h.Patience, key, func() bool { return got.times(key) > 0 })
		}
	}
}

func busRepeats(t testing.TB, h BusHarness) {
	got := newHandled()
	b := h.Open(t, func(_ context.Context, req *pipeline.Request) error { got.add(req); return nil })
	req := fullRequest("again")
	for range 3 {
		require.NoError(t, b.Put(t.Context(), &req))
	}
	got.await(t, h.Patience, "the request", func() bool { return got.times("again") > 0 })
	require.NoError(t, b.Put(t.Context(), &req))
}

func busConcurrent(t testing.TB, h BusHarness) {
	got := newHandled()
	b := h.Open(t, func(_ context.Context, req *pipeline.Request) error { got.add(req); return nil })
	const senders, each = 8, 50
	errs := together(senders, func(s int) error {
		for i := range each {
			if err := b.Put(t.Context(), &pipeline.Request{Kind: pipeline.RequestCancel, Account: 1, Key: fmt.Sprint(s, "/", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, errors.Join(errs...))
	for s := range senders {
		for i := range each {
			key := fmt.Sprint(s, "/", i)
			got.await(t, h.Patience, "request "+key, func() bool { return got.times(key) > 0 })
		}
	}
}

func busKeepsNothing(t testing.TB, h BusHarness) {
	got, gate := newHandled(), make(chan struct{})
	b := h.Open(t, func(ctx context.Context, req *pipeline.Request) error {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
		got.add(req)
		return nil
	})
	req := fullRequest("mine")
	require.NoError(t, b.Put(t.Context(), &req))
	req.Key, req.Price = "yours", "9"
	close(gate)
	got.await(t, h.Patience, "the request", func() bool { return got.times("mine")+got.times("yours") > 0 })
	require.Zero(t, got.times("yours"))
	for _, req := range got.of("mine") { // which may come more than once
		require.Equal(t, fullRequest("mine"), req)
	}
}
