package cloud

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/standin/eventbus"
)

// startBus starts the event bus, with the one rule there is: requests go to
// their queue.
func (c *Cloud) startBus(requests string) error {
	client := sqs.NewFromConfig(sdk(c.parts.fauxqs.URL()))
	c.bus = eventbus.New(eventbus.Config{})
	c.closeLater(func() error { c.bus.Close(); return nil })
	err := c.bus.AddRule(eventbus.Rule{Bus: busName, Pattern: eventbridge.Pattern, Target: func(ctx context.Context, event json.RawMessage) error {
		_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &requests, MessageBody: aws.String(string(event))})
		return err
	}})
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
