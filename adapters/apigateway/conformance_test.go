package apigateway_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// The suite, over real WebSockets, the SDK's client and the stand-in's
// management API. Direct delivers what waits together in one call: Merge is
// high, because the suite's messages are none of the feed's, and the buffer has
// room for what the suite pushes before it reads.
func harness(table func(t testing.TB) apigateway.Table) exchangetest.PusherHarness {
	var stands sync.Map
	return exchangetest.PusherHarness{
		Open: func(t testing.TB) pipeline.Pusher {
			s := newStand(t, options{table: table(t), merge: 1 << 20, buffer: 256})
			stands.Store(s.Pusher, s)
			return s.Pusher
		},
		Subscribe: func(t testing.TB, p pipeline.Pusher, channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) func(context.Context) (pipeline.Push, error) {
			s, _ := stands.Load(p)
			c := s.(*stand).subscribe(channel, inst, acct)
			return func(ctx context.Context) (pipeline.Push, error) {
				data, err := c.read(ctx)
				if err != nil {
					return pipeline.Push{}, err
				}
				m := pipeline.Push{Channel: channel, Instrument: inst, Account: acct, Data: data}
				var h pipeline.FeedHeader
				if err := json.Unmarshal(data, &h); err != nil {
					return pipeline.Push{}, err
				}
				if m.Seq = h.Seq; !(channel == pipeline.ChannelBalances) {
					m.PrevSeq = h.Seq - 1 // the suite's messages do not have it in Data
				}
				return m, nil
			}
		},
		Patience: patience,
	}
}

func TestPusher(t *testing.T) {
	exchangetest.TestPusher(t, harness(func(testing.TB) apigateway.Table { return apigateway.NewMemoryTable() }))
}
