package join

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Calls that come while a batch runs are the next one, in their order, at most
// so many; each gets its own error.
func TestJoins(t *testing.T) {
	t.Parallel()
	entered, release := make(chan []int), make(chan struct{})
	b := New(3, 1, func(_ context.Context, calls []int) []error {
		entered <- calls
		<-release
		out := make([]error, len(calls))
		for i, n := range calls {
			out[i] = fmt.Errorf("of %d", n)
		}
		return out
	})
	errs := make([]chan error, 6)
	call := func(n int) {
		errs[n] = make(chan error, 1)
		go func() { errs[n] <- b.Do(t.Context(), n) }()
	}
	call(0)
	require.Equal(t, []int{0}, <-entered)
	for n := 1; n < 6; n++ {
		call(n)
		require.Eventually(t, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.waiting) == n
		}, time.Minute, time.Millisecond)
	}
	release <- struct{}{}
	require.Equal(t, []int{1, 2, 3}, <-entered)
	release <- struct{}{}
	require.Equal(t, []int{4, 5}, <-entered)
	release <- struct{}{}
	for n := range errs {
		require.EqualError(t, <-errs[n], fmt.Sprintf("of %d", n))
	}
	require.Eventually(t, func() bool { // it rests
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.running == 0
	}, time.Minute, time.Millisecond)
}

// Who stops waiting stops nobody else, and nothing that is under way.
func TestOneStopsWaiting(t *testing.T) {
	t.Parallel()
	entered, release := make(chan context.Context), make(chan struct{})
	b := New(10, 1, func(ctx context.Context, calls []int) []error {
		entered <- ctx
		<-release
		return make([]error, len(calls))
	})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { gone <- b.Do(ctx, 1) }()
	running := <-entered
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	require.NoError(t, running.Err())
	stays := make(chan error)
	go func() { stays <- b.Do(t.Context(), 2) }()
	release <- struct{}{}
	<-entered
	release <- struct{}{}
	require.NoError(t, <-stays)
}

func TestNamed(t *testing.T) {
	errs, err := []error{ErrUnanswered, ErrUnanswered, nil}, errors.New("refused")
	for id, of := range map[string]error{"0": nil, "2": err, "3": err, "-1": err, "x": err, "": err} {
		Named(errs, &id, of)
	}
	Named(errs, nil, err)
	require.Equal(t, []error{nil, ErrUnanswered, err}, errs)
}
