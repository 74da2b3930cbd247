package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/sns"
	"github.com/castlecloud/exchange/pipeline"
)

// notices returns those of records, and the time of the last event they tell
// of, 0 when they tell of none; what is no notice is logged and done, as it would
// hold up its group for ever.
func (e *Env) notices(ctx context.Context, records []events.SQSMessage) (out []pipeline.Notice, last exchange.Time) {
	for i := range records {
		m, err := sns.Decode(records[i].Body)
		if err != nil {
			e.Logger.ErrorContext(ctx, "a message that is no notice is dropped", "message", records[i].MessageId, "error", err)
			continue
		}
		out = append(out, m.Notice())
		for _, item := range m.Items {
			for i := range item.Events {
				last = max(last, item.Events[i].Time)
			}
		}
	}
	return out, last
}

// latency is what a consumer measures: from a command's time until what came of
// it was dealt with.
var latency = map[string]string{"market-data": pipeline.MetricPushedAfter, "trade-recorder": pipeline.MetricRecordedAfter, "settler": pipeline.MetricSettledAfter}

// follow hands records that are notices to a consumer, and measures.
func (e *Env) follow(ctx context.Context, records []events.SQSMessage, handle func(context.Context, pipeline.Notice) error) error {
	notices, last := e.notices(ctx, records)
	if err := follow(ctx, notices, handle); err != nil {
		return err
	}
	if name := latency[e.Config.Function]; name != "" && last > 0 {
		e.Metrics.Observe(name, notices[0].Instrument, time.Duration(Now()-last))
	}
	return nil
}

// Notices handles the events of a consumer's queue: of each instrument the last
// notice says it all.
func (e *Env) Notices(handle func(context.Context, pipeline.Notice) error) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return e.Batches(func(ctx context.Context, _ string, records []events.SQSMessage) (int, error) {
		if err := e.follow(ctx, records, handle); err != nil {
			return 0, err
		}
		return len(records), nil
	})
}

// Feed handles the events of market-data's queue: notices, and between them
// the requests of new subscribers, each in its place.
func (e *Env) Feed(handle func(context.Context, pipeline.Notice) error, pusher *apigateway.Pusher, snapshot apigateway.Snapshot) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return e.Batches(func(ctx context.Context, _ string, records []events.SQSMessage) (int, error) {
		done := 0
		for i := range records {
			ask, ok := apigateway.ParseSnapshotRequest(records[i].Body)
			if !ok {
				continue
			}
			if err := e.follow(ctx, records[done:i], handle); err != nil {
				return done, err
			}
			done = i
			if err := pusher.Answer(ctx, ask, snapshot); err != nil {
				return done, err
			}
			done = i + 1
		}
		if err := e.follow(ctx, records[done:], handle); err != nil {
			return done, err
		}
		return len(records), nil
	})
}

// shardedPublisher publishes to the topic of an instrument's shard.
type shardedPublisher []pipeline.Publisher

// Publish implements pipeline.Publisher.
func (p shardedPublisher) Publish(ctx context.Context, items []pipeline.Committed) error {
	if len(items) == 0 {
		return nil
	}
	if err := items[0].Check(); err != nil {
		return err
	}
	return p[shardOf(items[0].Instrument(), len(p))].Publish(ctx, items)
}

// Requests handles the events of order-processor: the rule's own, or those of
// its queue.
func (e *Env) Requests(handle func(context.Context, *pipeline.Request) error) func(context.Context, json.RawMessage) (any, error) {
	one := func(ctx context.Context, data []byte) error {
		var ev events.EventBridgeEvent
		if err := json.Unmarshal(data, &ev); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}
		req, err := eventbridge.Decode(&ev)
		if errors.Is(err, eventbridge.ErrEvent) { // it will be none next time
			e.Logger.ErrorContext(ctx, "an event that is no request is dropped", "event", ev.ID, "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		e.Metrics.Observe(pipeline.MetricRequestAge, 0, time.Duration(Now()-req.Time))
		if err := handle(ctx, req); err != nil {
			e.Metrics.Count(pipeline.MetricRequestFailed, 0, 1)
			return err
		}
		e.Metrics.Observe(pipeline.MetricProcessed, 0, time.Duration(Now()-req.Time))
		return nil
	}
	queue := e.Batches(Each(func(ctx context.Context, r *events.SQSMessage) error { return one(ctx, []byte(r.Body)) }))
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		if ev, ok, err := queueEvent(raw); ok || err != nil {
			if err != nil {
				return nil, err
			}
			return queue(ctx, ev)
		}
		return nil, one(ctx, raw)
	}
}
