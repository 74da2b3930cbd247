//go:build live

package sns_test

import (
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/exchangetest"
)

// The suite on topics of the account that the environment names. What it makes
// it removes.
func TestLivePublisher(t *testing.T) {
	if os.Getenv("EXCHANGE_LIVE") != "1" {
		exchangetest.Skip(t, exchangetest.LiveAbsent)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	s := stand{awssns.NewFromConfig(cfg), awssqs.NewFromConfig(cfg)}
	for name, fifo := range map[string]bool{"fifo": true, "standard": false} {
		t.Run(name, func(t *testing.T) {
			h := s.harness(fifo, fifo)
			h.Patience, h.Quiet = 5*time.Minute, 2*time.Second
			exchangetest.TestPublisher(t, h)
		})
	}
}

// A subscription may filter by kind of event.
func TestLiveFilter(t *testing.T) {
	if os.Getenv("EXCHANGE_LIVE") != "1" {
		exchangetest.Skip(t, exchangetest.LiveAbsent)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	s := stand{awssns.NewFromConfig(cfg), awssqs.NewFromConfig(cfg)}
	arn, urls := s.topic(t, true, true, 1, `{"kinds":["traded"]}`)
	p := s.publisher(t, arn)
	require.NoError(t, p.Publish(t.Context(), exchangetest.Commit(t, 8, 1)))
	require.NoError(t, p.Publish(t.Context(), commit(t, 9, 1)))
	n, err := s.notices(t, urls[0]).Next(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 9, n.Instrument)
}
