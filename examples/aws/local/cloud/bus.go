package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/standin/eventbus"
	"github.com/castlecloud/exchange/examples/aws/local/lambda"
)

// startBus starts the event bus, with the one rule there is: requests go to
// their queue.
func (c *Cloud) startBus(requests string) error {
	client := sqs.NewFromConfig(sdk(c.parts.fauxqs.URL()))
	c.bus = eventbus.New(eventbus.Config{})
	c.closeLater(func() error { c.bus.Close(); return nil })
	err := c.bus.AddRule(eventbus.Rule{Bus: busName, Pattern: eventbridge.Pattern, Target: eventbus.Together(lambda.MaxBatch, func(ctx context.Context, events []json.RawMessage) []error {
		return enqueue(ctx, client, requests, events)
	})})
	if err != nil {
		return fmt.Errorf("the event bus: %w", err)
	}
	l, err := listen("")
	if err != nil {
		return err
	}
	c.parts.events = "http://" + l.Addr().String()
	c.serve(l, c.bus)
	return nil
}

// enqueue puts events into a queue, and returns what has become of each.
func enqueue(ctx context.Context, client *sqs.Client, queue string, events []json.RawMessage) []error {
	in := &sqs.SendMessageBatchInput{QueueUrl: &queue}
	for i, event := range events {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(string(event))})
	}
	out, err := client.SendMessageBatch(ctx, in)
	errs := slices.Repeat([]error{err}, len(events))
	if err == nil {
		for i := range out.Failed {
			f := &out.Failed[i]
			if n, err := strconv.Atoi(aws.ToString(f.Id)); err == nil && n >= 0 && n < len(errs) {
				errs[n] = fmt.Errorf("%s: %s", aws.ToString(f.Code), aws.ToString(f.Message))
			}
		}
	}
	return errs
}
