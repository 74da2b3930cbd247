//go:build live

package eventbridge_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/config"
	awseventbridge "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// The suite over EventBridge itself. EXCHANGE_LIVE_BUS names a bus that has a
// rule with eventbridge.Pattern, whose target is the standard queue at
// EXCHANGE_LIVE_QUEUE_URL, with a visibility timeout of a second.
func TestLiveBus(t *testing.T) {
	name, url := os.Getenv("EXCHANGE_LIVE_BUS"), os.Getenv("EXCHANGE_LIVE_QUEUE_URL")
	if name == "" || url == "" {
		exchangetest.Skip(t, exchangetest.LiveAbsent)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	queue := awssqs.NewFromConfig(cfg)
	exchangetest.TestBus(t, exchangetest.BusHarness{
		Open: func(t testing.TB, handle func(context.Context, *pipeline.Request) error) pipeline.EventBus {
			b, err := eventbridge.NewBus(awseventbridge.NewFromConfig(cfg), eventbridge.Config{BusName: name})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			t.Cleanup(func() { cancel(); <-ended })
			go func() {
				defer close(ended)
				for ctx.Err() == nil {
					answer, err := queue.ReceiveMessage(ctx, &awssqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
					if err != nil {
						continue // ctx has ended, or the next call tells
					}
					for i := range answer.Messages {
						var e events.EventBridgeEvent
						if json.Unmarshal([]byte(*answer.Messages[i].Body), &e) != nil {
							continue
						}
						req, err := eventbridge.Decode(&e)
						if err == nil && handle(ctx, req) == nil {
							_, _ = queue.DeleteMessage(ctx, &awssqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: answer.Messages[i].ReceiptHandle}) // else it comes again
						}
					}
				}
			}()
			return b
		},
		Patience: 5 * time.Minute,
	})
}
