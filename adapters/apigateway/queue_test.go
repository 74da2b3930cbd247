package apigateway_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	services "github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/pipeline"
)

// The way it is on AWS: from a Pusher through a FIFO queue, with redeliveries,
// to a Deliverer, to clients. What cannot be delivered the first time comes
// again, and in the order of its instrument.
func TestThroughSQS(t *testing.T) {
	server := services.ForTest(t, services.Fauxqs)
	client := sqs.New(sqs.Options{BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("push.fifo"), Attributes: map[string]string{"FifoQueue": "true"}})
	require.NoError(t, err)
	s := newStand(t, options{sender: &apigateway.SQS{Client: client, URL: *made.QueueUrl}})

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
	seen := map[string]int{}
	work := context.Background() // what was received is finished
	wg.Go(func() {               // the push function
		for {
			got, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: made.QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5,
				MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameMessageGroupId}})
			if ctx.Err() != nil {
				return
			}
			if !assert.NoError(t, err) {
				return
			}
			failed := map[string]bool{} // groups: what comes after one that failed fails, too
			for _, m := range got.Messages {
				group := m.Attributes["MessageGroupId"]
				lost := failed[group]
				// Every third message's first delivery is lost before, or after, it
				// was posted.
				deliver := !lost
				if !lost {
					if seen[*m.MessageId]++; seen[*m.MessageId] == 1 && len(seen)%3 == 0 {
						lost, deliver = true, len(seen)%2 == 0
					}
				}
				if deliver {
					assert.NoError(t, s.deliverer.Deliver(work, *m.Body))
				}
				if failed[group] = lost; lost {
					_, err = client.ChangeMessageVisibility(work, &sqs.ChangeMessageVisibilityInput{QueueUrl: made.QueueUrl, ReceiptHandle: m.ReceiptHandle})
				} else {
					_, err = client.DeleteMessage(work, &sqs.DeleteMessageInput{QueueUrl: made.QueueUrl, ReceiptHandle: m.ReceiptHandle})
				}
				assert.NoError(t, err)
			}
		}
	})

	const items = 12
	books := []*reader{{s.subscribe(pipeline.ChannelBook, 1, 0), 1}, {s.subscribe(pipeline.ChannelBook, 2, 0), 2}}
	for pos := range pipeline.Position(items) {
		for inst := exchange.InstrumentID(1); inst <= 2; inst++ {
			m := tell(pipeline.ChannelBook, inst, 0, uint64(pos), uint64(pos)+1, "")
			require.NoError(t, s.Push(ctx, inst, pos+1, []pipeline.Push{m}))
			again, err := apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: &apigateway.SQS{Client: client, URL: *made.QueueUrl}, Table: apigateway.NewMemoryTable()})
			require.NoError(t, err)
			require.NoError(t, again.Push(ctx, inst, pos+1, []pipeline.Push{m}), "another process pushes the same: the queue drops it")
		}
	}
	for _, c := range books {
		for last := 0.0; last < items; {
			m := c.must()
			assert.Equal(t, symbolOf(c.inst), m["symbol"])
			seq := m["seq"].(float64)
			require.LessOrEqual(t, m["prev_seq"].(float64), last, "a gap: %s", fmt.Sprint(m))
			last = max(last, seq)
		}
	}
}

// reader is a client and the instrument it reads.
type reader struct {
	*client
	inst exchange.InstrumentID
}
