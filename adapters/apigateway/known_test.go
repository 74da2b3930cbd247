package apigateway_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/pipeline"
)

// counted counts how often who has subscribed is read.
type counted struct {
	apigateway.Table
	n atomic.Int64
}

func (c *counted) Subscribers(ctx context.Context, t apigateway.Topic) ([]apigateway.Subscriber, error) {
	c.n.Add(1)
	return c.Table.Subscribers(ctx, t)
}

// posts notes who was posted to; connections are posted to side by side.
type posts struct {
	mu sync.Mutex
	to []string
}

func (p *posts) PostToConnection(_ context.Context, in *api.PostToConnectionInput, _ ...func(*api.Options)) (*api.PostToConnectionOutput, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = append(p.to, aws.ToString(in.ConnectionId))
	return &api.PostToConnectionOutput{}, nil
}

func (p *posts) DeleteConnection(context.Context, *api.DeleteConnectionInput, ...func(*api.Options)) (*api.DeleteConnectionOutput, error) {
	return &api.DeleteConnectionOutput{}, nil
}

// Who has subscribed is read again when that has changed, and not else; whoever
// comes gets the next message, and whoever has left gets none.
func TestSubscribersAreRemembered(t *testing.T) {
	t.Parallel()
	ctx, table, to := t.Context(), &counted{Table: apigateway.NewMemoryTable()}, &posts{}
	sent := &queue{}
	p, err := apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: sent, Table: table})
	require.NoError(t, err)
	d, err := apigateway.NewDeliverer(apigateway.DelivererConfig{Instruments: instruments, Table: table, API: to})
	require.NoError(t, err)
	pos := pipeline.Position(0)
	deliver := func() []string {
		pos++
		data, err := json.Marshal(pipeline.FeedTrades{FeedHeader: pipeline.FeedHeader{Type: "update"}})
		require.NoError(t, err)
		require.NoError(t, p.Push(ctx, 1, pos, []pipeline.Push{{Channel: pipeline.ChannelBook, Instrument: 1, Seq: uint64(pos), PrevSeq: uint64(pos - 1), Data: data}}))
		to.to = nil
		require.NoError(t, d.Deliver(ctx, sent.take()...))
		return to.to
	}
	require.Empty(t, deliver())
	require.Zero(t, table.n.Load(), "nobody is there to be read")
	for _, id := range []string{"a", "b"} {
		require.NoError(t, table.Connect(ctx, id, apigateway.Identity{Account: 7}))
	}
	require.NoError(t, table.Subscribe(ctx, "a", []apigateway.Topic{bookA}, 9))
	for range 3 {
		require.Equal(t, []string{"a"}, deliver())
	}
	require.EqualValues(t, 1, table.n.Load())
	require.NoError(t, table.Subscribe(ctx, "b", []apigateway.Topic{bookA}, 9))
	require.ElementsMatch(t, []string{"a", "b"}, deliver())
	require.NoError(t, table.Remove(ctx, "a"))
	require.Equal(t, []string{"b"}, deliver())
	_, err = table.Unsubscribe(ctx, "b", []apigateway.Topic{bookA})
	require.NoError(t, err)
	require.Empty(t, deliver())

	listening, err := p.BalanceListeners(ctx, []exchange.AccountID{7, 8})
	require.NoError(t, err)
	require.Empty(t, listening)
	require.NoError(t, table.Subscribe(ctx, "b", []apigateway.Topic{balance7}, 9))
	listening, err = p.BalanceListeners(ctx, []exchange.AccountID{8, 7})
	require.NoError(t, err)
	require.Equal(t, []exchange.AccountID{7}, listening)
}
