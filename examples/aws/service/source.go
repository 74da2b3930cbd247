package main

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
)

// Bounds of a source.
const (
	batch      = 10               // messages of one call, as SQS has it
	pollWait   = 5 * time.Second  // of a call that finds nothing, and so of a drain's first step
	maxGroups  = 4 * batch        // in hand at a time
	maxPause   = 30 * time.Second // after calls that failed: 50 ms, then twice as long each time
	callsLimit = 10 * time.Second // of a call of SQS beside the poll
)

// queue is what a source calls of SQS.
type queue interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
}

// source takes messages from a queue and has them handled, as Lambda's event
// source mapping does for a function: those of a group together, in order, and
// nobody else gets one of the group meanwhile; the groups side by side, none
// waiting for another. What is done is removed; what failed, and what follows it
// in its group, comes again.
type source struct {
	client     queue
	url        string
	visibility time.Duration
	handle     func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)
	log        *slog.Logger
	beat       func() // called each time round
}

// run takes messages until ctx ends, and returns when what it took is done, or
// work ends. A call that is under way when ctx ends is not cut off: what it has
// hidden nobody would know of.
func (s *source) run(ctx, work context.Context) {
	var inHand sync.WaitGroup
	defer inHand.Wait()
	places := make(chan struct{}, maxGroups)
	for failures := 0; ctx.Err() == nil; {
		s.beat()
		for range batch { // as many groups as a call may bring
			places <- struct{}{}
		}
		out, err := s.client.ReceiveMessage(work, &sqs.ReceiveMessageInput{
			QueueUrl: &s.url, MaxNumberOfMessages: batch, WaitTimeSeconds: int32(pollWait / time.Second), VisibilityTimeout: int32(s.visibility / time.Second),
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		})
		var groups [][]types.Message
		if err == nil {
			failures = 0
			groups = groupsOf(out.Messages)
		}
		for range batch - len(groups) {
			<-places
		}
		for _, g := range groups {
			inHand.Go(func() {
				defer func() { <-places }()
				s.deliver(work, g)
			})
		}
		if err != nil {
			failures++
			s.log.WarnContext(ctx, "receiving", "queue", s.url, "failures", failures, "error", err)
			pause(ctx, min(50*time.Millisecond<<min(failures, 10), maxPause))
		}
	}
}

// groupsOf parts messages by group, in order. Those of a standard queue have
// none, and stay together.
func groupsOf(messages []types.Message) (out [][]types.Message) {
	at := map[string]int{}
	for _, m := range messages {
		g := m.Attributes["MessageGroupId"]
		i, ok := at[g]
		if !ok {
			i = len(out)
			at[g] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], m)
	}
	return out
}

// deliver has the messages of a group handled.
func (s *source) deliver(work context.Context, messages []types.Message) {
	ctx, cancel := context.WithTimeout(work, workTimeout)
	defer cancel()
	stop := s.keepHidden(ctx, messages)
	answer, err := s.handle(ctx, event(messages))
	stop()
	failed := map[string]bool{}
	for _, f := range answer.BatchItemFailures {
		failed[f.ItemIdentifier] = true
	}
	var done, again []types.Message
	for _, m := range messages {
		if err != nil || failed[*m.MessageId] {
			again = append(again, m)
		} else {
			done = append(done, m)
		}
	}
	if err != nil {
		s.log.ErrorContext(ctx, "messages come again", "queue", s.url, "messages", len(messages), "error", err)
	}
	// Also when the time was up: what is not removed comes again, and what is
	// not given back comes late.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), callsLimit)
	defer cancel()
	if len(done) > 0 {
		entries := make([]types.DeleteMessageBatchRequestEntry, len(done))
		for i := range done {
			entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: done[i].ReceiptHandle}
		}
		out, err := s.client.DeleteMessageBatch(after, &sqs.DeleteMessageBatchInput{QueueUrl: &s.url, Entries: entries})
		if err != nil || len(out.Failed) > 0 {
			s.log.WarnContext(after, "messages that are done were not removed, and come again", "queue", s.url, "messages", len(done), "error", err)
		}
	}
	if len(again) > 0 {
		s.hide(after, again, wire.RetryAfter(again[0].Attributes["ApproximateReceiveCount"]))
	}
}

// keepHidden extends the visibility of messages until stop is called or ctx
// ends.
func (s *source) keepHidden(ctx context.Context, messages []types.Message) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	tick := time.NewTicker(s.visibility / 3)
	keeping.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.hide(ctx, messages, s.visibility)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); keeping.Wait() }
}

// hide lets messages be hidden for d from now on.
func (s *source) hide(ctx context.Context, messages []types.Message, d time.Duration) {
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(messages))
	for i := range messages {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: messages[i].ReceiptHandle, VisibilityTimeout: int32(d / time.Second)}
	}
	out, err := s.client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &s.url, Entries: entries})
	if ctx.Err() == nil && (err != nil || len(out.Failed) > 0) {
		s.log.WarnContext(ctx, "the visibility of messages was not changed", "queue", s.url, "messages", len(messages), "error", err)
	}
}

// event makes of messages what a function would be invoked with.
func event(messages []types.Message) (out events.SQSEvent) {
	out.Records = make([]events.SQSMessage, len(messages))
	for i := range messages {
		m := &messages[i]
		out.Records[i] = events.SQSMessage{MessageId: aws.ToString(m.MessageId), ReceiptHandle: aws.ToString(m.ReceiptHandle), Body: aws.ToString(m.Body), Attributes: maps.Clone(m.Attributes), EventSource: "aws:sqs"}
	}
	return out
}
