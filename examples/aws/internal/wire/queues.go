package wire

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// groupAttribute is where SQS says which group a message of a FIFO queue is of.
const groupAttribute = "MessageGroupId"

// Batches handles the messages of an SQS event, those of a group in order, the
// groups side by side. handle returns how many of its records are done; the
// others are reported, so that they come again, in their old order, and hidden
// for RetryAfter only: until the queue's visibility timeout is over, which is six
// times the function's timeout, their instrument would stand still for minutes.
func (e *Env) Batches(handle func(ctx context.Context, group string, records []events.SQSMessage) (done int, err error)) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	client := sqs.NewFromConfig(e.sdk())
	return func(ctx context.Context, ev events.SQSEvent) (events.SQSEventResponse, error) {
		var order []string
		groups := map[string][]events.SQSMessage{}
		for _, r := range ev.Records {
			g := r.Attributes[groupAttribute]
			if g == "" {
				g = r.MessageId // a standard queue: each for itself
			}
			if groups[g] == nil {
				order = append(order, g)
			}
			groups[g] = append(groups[g], r)
		}
		failed := make([][]events.SQSBatchItemFailure, len(order))
		var working sync.WaitGroup
		for i, g := range order {
			working.Go(func() {
				done, err := handle(ctx, g, groups[g])
				if err != nil {
					e.Logger.ErrorContext(ctx, "messages come again", "group", g, "done", done, "of", len(groups[g]), "error", err)
				}
				e.hide(ctx, client, groups[g][done:])
				for _, r := range groups[g][done:] {
					failed[i] = append(failed[i], events.SQSBatchItemFailure{ItemIdentifier: r.MessageId})
				}
			})
		}
		working.Wait()
		out := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
		for _, f := range failed {
			out.BatchItemFailures = append(out.BatchItemFailures, f...)
		}
		return out, nil
	}
}

// maxRetry bounds RetryAfter.
const maxRetry = 30 * time.Second

// RetryAfter returns when a message that failed comes again: after 1 s, then
// twice as long each time, up to 30 s. received is its ApproximateReceiveCount.
func RetryAfter(received string) time.Duration {
	n, err := strconv.Atoi(received)
	if err != nil || n < 1 {
		n = 1
	}
	return min(time.Second<<min(n-1, 10), maxRetry)
}

// hide lets messages of a group that failed come again after RetryAfter. An event
// that a service made of what it received has no source; the service hides them
// itself. What is not hidden comes again later.
func (e *Env) hide(ctx context.Context, client *sqs.Client, failed []events.SQSMessage) {
	if len(failed) == 0 || failed[0].EventSourceARN == "" {
		return
	}
	url, err := queueURL(failed[0].EventSourceARN)
	after := int32(RetryAfter(failed[0].Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]) / time.Second)
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(failed)) // a batch has 10 messages at most, and so has a call
	for i := range failed {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &failed[i].ReceiptHandle, VisibilityTimeout: after}
	}
	if err == nil {
		var out *sqs.ChangeMessageVisibilityBatchOutput
		if out, err = client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: entries}); err == nil && len(out.Failed) > 0 {
			err = fmt.Errorf("%d of %d: %s", len(out.Failed), len(failed), aws.ToString(out.Failed[0].Message))
		}
	}
	if err != nil {
		e.Logger.WarnContext(ctx, "messages come again only after the queue's visibility timeout", "messages", len(failed), "error", err)
	}
}

// queueURL returns the URL of the queue of an ARN.
func queueURL(arn string) (string, error) {
	p := strings.Split(arn, ":") // arn:PARTITION:sqs:REGION:ACCOUNT:NAME
	if len(p) != 6 || p[2] != "sqs" {
		return "", fmt.Errorf("event source %.200q: expected the ARN of a queue", arn)
	}
	domain := "amazonaws.com"
	if p[1] == "aws-cn" {
		domain += ".cn"
	}
	return "https://sqs." + p[3] + "." + domain + "/" + p[4] + "/" + p[5], nil
}

// Each makes a handler of Batches of what deals with one message at a time.
func Each(handle func(ctx context.Context, record *events.SQSMessage) error) func(context.Context, string, []events.SQSMessage) (int, error) {
	return func(ctx context.Context, _ string, records []events.SQSMessage) (int, error) {
		for i := range records {
			if err := handle(ctx, &records[i]); err != nil {
				return i, err
			}
		}
		return len(records), nil
	}
}

var errMixed = errors.New("a group has notices of several instruments")

// follow hands a group's notices to a consumer: the last one says it all.
func follow(ctx context.Context, notices []pipeline.Notice, handle func(context.Context, pipeline.Notice) error) error {
	if len(notices) == 0 {
		return nil
	}
	last := notices[0]
	for _, n := range notices {
		if n.Instrument != last.Instrument {
			return errMixed
		}
		last.Position = max(last.Position, n.Position)
	}
	return handle(ctx, last)
}

// shardOf returns which of n shards an instrument is of, as the adapters' queue
// and publisher have it.
func shardOf(inst exchange.InstrumentID, n int) int { return int(uint64(inst) % uint64(n)) }
