package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeQueue gives what it has in one receive, then nothing until ctx ends or
// more is put, and remembers what it is told.
type fakeQueue struct {
	give    chan []types.Message
	mu      sync.Mutex
	removed []string
	hidden  map[string][]int32
	changed chan struct{}
	fails   int // receives that fail first
}

func newFakeQueue() *fakeQueue {
	return &fakeQueue{give: make(chan []types.Message, 10), hidden: map[string][]int32{}, changed: make(chan struct{}, 1000)}
}

func (q *fakeQueue) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	q.mu.Lock()
	fails := q.fails > 0
	q.fails--
	q.mu.Unlock()
	if fails {
		return nil, errors.New("down")
	}
	if in.MaxNumberOfMessages != 10 || in.VisibilityTimeout != 3 {
		return nil, errors.New("asked otherwise")
	}
	select {
	case m := <-q.give:
		return &sqs.ReceiveMessageOutput{Messages: m}, nil
	case <-time.After(10 * time.Millisecond): // the poll's end
		return &sqs.ReceiveMessageOutput{}, nil
	}
}

func (q *fakeQueue) DeleteMessageBatch(_ context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range in.Entries {
		q.removed = append(q.removed, *e.ReceiptHandle)
	}
	q.changed <- struct{}{}
	return &sqs.DeleteMessageBatchOutput{}, nil
}

func (q *fakeQueue) ChangeMessageVisibilityBatch(_ context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range in.Entries {
		q.hidden[*e.ReceiptHandle] = append(q.hidden[*e.ReceiptHandle], e.VisibilityTimeout)
	}
	q.changed <- struct{}{}
	return &sqs.ChangeMessageVisibilityBatchOutput{}, nil
}

func (q *fakeQueue) until(t *testing.T, ok func() bool) {
	t.Helper()
	for {
		q.mu.Lock()
		done := ok()
		q.mu.Unlock()
		if done {
			return
		}
		select {
		case <-q.changed:
		case <-time.After(20 * time.Second):
			q.mu.Lock()
			t.Fatalf("it does not come: removed %q, hidden %v", q.removed, q.hidden)
		}
	}
}

func message(id, group string, received int) types.Message {
	return types.Message{MessageId: aws.String(id), ReceiptHandle: aws.String(id), Body: aws.String("body " + id),
		Attributes: map[string]string{"MessageGroupId": group, "ApproximateReceiveCount": strconv.Itoa(received)}}
}

func (q *fakeQueue) source(handle func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)) *source {
	return &source{client: q, url: "queue", visibility: 3 * time.Second, handle: handle, log: slog.New(slog.DiscardHandler), beat: func() {}}
}

// Groups do not wait for each other; what is done is removed, what failed and
// what follows it comes again; what is in hand at the end is done.
func TestSource(t *testing.T) {
	q := newFakeQueue()
	q.fails = 1
	slow := make(chan struct{})
	s := q.source(func(_ context.Context, ev events.SQSEvent) (out events.SQSEventResponse, err error) {
		switch ev.Records[0].Attributes["MessageGroupId"] {
		case "1": // the second one fails
			for _, r := range ev.Records[1:] {
				out.BatchItemFailures = append(out.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: r.MessageId})
			}
		case "2":
			return out, errors.New("all of it fails")
		case "3":
			<-slow
		}
		return out, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx, t.Context()) })
	q.give <- []types.Message{message("a1", "1", 1), message("c1", "3", 1), message("b1", "2", 4), message("a2", "1", 3), message("a3", "1", 1), message("d1", "4", 1)}
	// Where everything is slow they are kept hidden before, and c1 is all the time.
	last := func() map[string]int32 {
		out := map[string]int32{}
		for id, hidden := range q.hidden {
			if out[id] = hidden[len(hidden)-1]; id == "c1" {
				delete(out, id)
			}
		}
		return out
	}
	q.until(t, func() bool {
		return len(q.removed) == 2 && maps.Equal(map[string]int32{"a2": 4, "a3": 4, "b1": 8}, last()) // a group comes again together, and later each time
	})
	assert.ElementsMatch(t, []string{"a1", "d1"}, q.removed, "the group that is slow holds up no other")
	cancel()
	close(slow)
	running.Wait()
	assert.ElementsMatch(t, []string{"a1", "d1", "c1"}, q.removed, "what was in hand at the end is done")
}

// What is worked on stays hidden.
func TestSourceKeepsHidden(t *testing.T) {
	q := newFakeQueue()
	extended := make(chan struct{})
	s := q.source(func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
		<-extended
		return events.SQSEventResponse{}, nil
	})
	var running sync.WaitGroup
	running.Go(func() { s.deliver(t.Context(), []types.Message{message("a", "1", 1)}) })
	q.until(t, func() bool { return len(q.hidden["a"]) >= 1 })
	close(extended)
	running.Wait()
	assert.EqualValues(t, 3, q.hidden["a"][0])
	assert.Equal(t, []string{"a"}, q.removed)
}

// More than fits in hand stays in the queue.
func TestSourceIsBounded(t *testing.T) {
	q := newFakeQueue()
	began, release := make(chan string, 100), make(chan struct{})
	s := q.source(func(_ context.Context, ev events.SQSEvent) (events.SQSEventResponse, error) {
		began <- ev.Records[0].MessageId
		<-release
		return events.SQSEventResponse{}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx, t.Context()) })
	for i := range maxGroups / batch {
		var ten []types.Message
		for j := range batch {
			id := strconv.Itoa(batch*i + j)
			ten = append(ten, message(id, id, 1))
		}
		q.give <- ten
	}
	for range maxGroups {
		<-began
	}
	q.give <- []types.Message{message("more", "more", 1)}
	assert.Len(t, q.give, 1, "nobody takes it")
	close(release)
	assert.Equal(t, "more", <-began)
	cancel()
	running.Wait()
}

func TestWatch(t *testing.T) {
	w := newWatch()
	now := time.Unix(1_800_000_000, 0)
	w.now = func() time.Time { return now }
	ctx := t.Context()
	assert.NoError(t, w.alive(ctx))
	assert.ErrorContains(t, w.isReady(ctx), "starting")
	beat := w.loop("a queue")
	var down error
	w.ready(func(context.Context) error { return down })
	require.NoError(t, w.isReady(ctx))
	down = errors.New("journal: down")
	assert.ErrorIs(t, w.isReady(ctx), down)
	now = now.Add(staleAfter)
	assert.NoError(t, w.alive(ctx))
	now = now.Add(time.Second)
	assert.ErrorContains(t, w.alive(ctx), "the loop of a queue has not gone round for 1m31s")
	beat()
	assert.NoError(t, w.alive(ctx))
	down = nil
	w.drain()
	assert.ErrorContains(t, w.isReady(ctx), "draining")
}

func TestRunRefuses(t *testing.T) {
	none := func(string) string { return "" }
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "expected the name of a service"},
		{[]string{"-health", ":0"}, "expected the name of a service"},
		{[]string{"push"}, `there is no service "push"`},
		{[]string{"settler", "more"}, `unexpected "more"`},
		{[]string{"settler"}, "SETTLER_QUEUES is missing"},
	} {
		assert.ErrorContains(t, run(t.Context(), tc.args, none), tc.want)
	}
}
