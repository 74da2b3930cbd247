//go:build live

package apigateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	api "github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// A deployed WebSocket API whose routes call a Sessions:
//
//	EXCHANGE_LIVE_WS_URL        wss://ID.execute-api.REGION.amazonaws.com/STAGE
//	EXCHANGE_LIVE_WS_ENDPOINT   https://ID.execute-api.REGION.amazonaws.com/STAGE
//	EXCHANGE_LIVE_WS_TABLE      its table of connections; no one else is connected
func live(t *testing.T) (*apigateway.DynamoTable, *apigateway.Deliverer, *memory.Metrics, *websocket.Conn) {
	for _, name := range []string{"EXCHANGE_LIVE_WS_URL", "EXCHANGE_LIVE_WS_ENDPOINT", "EXCHANGE_LIVE_WS_TABLE"} {
		require.NotEmpty(t, os.Getenv(name), "%s names the API to test with", name)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	client := api.NewFromConfig(cfg, func(o *api.Options) { o.BaseEndpoint = aws.String(os.Getenv("EXCHANGE_LIVE_WS_ENDPOINT")) })
	table := apigateway.NewDynamoTable(dynamodb.NewFromConfig(cfg), os.Getenv("EXCHANGE_LIVE_WS_TABLE"))
	metrics := memory.NewMetrics()
	d, err := apigateway.NewDeliverer(apigateway.DelivererConfig{Instruments: instruments, Table: table, API: client, Merge: 1 << 20, Timeout: time.Minute, Metrics: metrics})
	require.NoError(t, err)
	ws, _, err := websocket.Dial(t.Context(), os.Getenv("EXCHANGE_LIVE_WS_URL"), nil)
	require.NoError(t, err)
	ws.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return table, d, metrics, ws
}

// What is posted one after the other arrives in order, also what needs parts;
// and a connection that has ended answers 410, so that it leaves the table.
func TestLiveOrderAndGone(t *testing.T) {
	table, d, metrics, ws := live(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	page, err := table.Connections(ctx, "", 2)
	require.NoError(t, err)
	require.Len(t, page, 1, "connections in the table")
	id := page[0].ID
	require.NoError(t, table.Subscribe(ctx, id, []apigateway.Topic{{Channel: pipeline.ChannelTrades, Instrument: 1}}, 10))
	q := &queue{}
	p, err := apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: q, Table: apigateway.NewMemoryTable()})
	require.NoError(t, err)
	const n = 500
	for seq := uint64(1); seq <= n; seq++ {
		pad := ""
		if seq%50 == 0 {
			pad = strings.Repeat("x", 100<<10)
		}
		require.NoError(t, p.Push(ctx, 1, pipeline.Position(seq), []pipeline.Push{tell(pipeline.ChannelTrades, 1, 0, seq-1, seq, fmt.Sprintf(`,"pad":%q`, pad))}))
	}
	delivered := make(chan error, 1)
	go func() { delivered <- d.Deliver(ctx, q.take()...) }()
	c := &client{t: t, ws: ws}
	for seq := uint64(1); seq <= n; seq++ {
		data, err := c.read(ctx)
		require.NoError(t, err)
		var h pipeline.FeedHeader
		require.NoError(t, json.Unmarshal(data, &h))
		require.Equal(t, seq, h.Seq)
	}
	require.NoError(t, <-delivered)

	require.NoError(t, ws.CloseNow())
	for start, seq := time.Now(), uint64(n); metrics.Read(apigateway.MetricGone, 0).Count == 0; {
		page, err := table.Connections(ctx, "", 2)
		require.NoError(t, err)
		if len(page) == 0 {
			t.Logf("$disconnect came %v after the connection broke", time.Since(start))
			return
		}
		seq++
		require.NoError(t, p.Push(ctx, 1, pipeline.Position(seq), []pipeline.Push{tell(pipeline.ChannelTrades, 1, 0, seq-1, seq, "")}))
		require.NoError(t, d.Deliver(ctx, q.take()...))
	}
}
