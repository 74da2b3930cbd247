package sqs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Expire lets the time of every delivery that is worked on be up, at SQS and
// here, as it is when nobody extends it.
func (q *Queue) Expire(t testing.TB) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.out {
		d.mu.Lock()
		if time.Now().Before(d.deadline) {
			_, err := q.changeVisibility(t.Context(), d.url, d.handles, 0)
			require.NoError(t, err)
			d.deadline = time.Now()
		}
		d.mu.Unlock()
	}
}
