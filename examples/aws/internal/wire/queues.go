package wire

import (
	"context"
	"errors"
	"sync"

	"github.com/aws/aws-lambda-go/events"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// groupAttribute is where SQS says which group a message of a FIFO queue is of.
const groupAttribute = "MessageGroupId"

// Batches handles the messages of an SQS event, those of a group in order, the
// groups side by side. handle returns how many of its records are done; the
// others are reported, so that they come again, in their old order.
func (e *Env) Batches(handle func(ctx context.Context, group string, records []events.SQSMessage) (done int, err error)) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
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
