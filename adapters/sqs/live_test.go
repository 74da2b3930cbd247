//go:build live

package sqs_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// live returns a client of the account that the environment names. The queues
// it makes are removed.
func live(t *testing.T) (*awssqs.Client, func(t testing.TB) string) {
	t.Helper()
	if os.Getenv("EXCHANGE_LIVE") != "1" {
		exchangetest.Skip(t, exchangetest.LiveAbsent)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	client := awssqs.NewFromConfig(cfg)
	return client, func(t testing.TB) string {
		made, err := client.CreateQueue(t.Context(), &awssqs.CreateQueueInput{QueueName: aws.String("exchange-test-" + time.Now().UTC().Format("150405.000000000")[7:] + ".fifo"), Attributes: map[string]string{"FifoQueue": "true"}})
		require.NoError(t, err)
		t.Cleanup(func() {
			_, err := client.DeleteQueue(context.Background(), &awssqs.DeleteQueueInput{QueueUrl: made.QueueUrl})
			require.NoError(t, err)
		})
		return *made.QueueUrl
	}
}

func TestLiveQueue(t *testing.T) {
	client, queue := live(t)
	exchangetest.TestQueue(t, exchangetest.QueueHarness{
		Open: func(t testing.TB) pipeline.CommandQueue {
			return open(t, client, sqs.Config{QueueURLs: []string{queue(t)}})
		},
		Expire:   func(t testing.TB, q pipeline.CommandQueue) { q.(*sqs.Queue).Expire(t) },
		Patience: time.Minute, Quiet: time.Second,
	})
}

// SQS itself refuses the receipt of a message that has come again, and hands
// out a group's messages together and in order.
func TestLiveLateReceipt(t *testing.T) {
	client, queue := live(t)
	url := queue(t)
	q := open(t, client, sqs.Config{QueueURLs: []string{url}})
	var sent []pipeline.QueueMessage
	for n := range 10 {
		sent = append(sent, msg(1, n+1))
	}
	require.NoError(t, q.Send(t.Context(), sent))
	first, err := client.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, VisibilityTimeout: 1, WaitTimeSeconds: 5})
	require.NoError(t, err)
	require.NotEmpty(t, first.Messages)
	d, err := q.Receive(t.Context(), 10) // once they are visible again
	require.NoError(t, err)
	require.Equal(t, sent[:len(d.Messages)], d.Messages)
	_, err = client.DeleteMessage(t.Context(), &awssqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: first.Messages[0].ReceiptHandle})
	require.Error(t, err, "a receipt that has expired was taken")
	require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
}
