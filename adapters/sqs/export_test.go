package sqs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/pipeline"
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

// AwaitDeadline waits until the time of a delivery is up here, too: SQS's clock
// began before its answer came.
func (q *Queue) AwaitDeadline(d pipeline.Delivery) {
	q.mu.Lock()
	own := q.out[d.Receipt]
	q.mu.Unlock()
	if own == nil {
		return // it is forgotten already
	}
	own.mu.Lock()
	deadline := own.deadline
	own.mu.Unlock()
	<-time.After(time.Until(deadline))
}
