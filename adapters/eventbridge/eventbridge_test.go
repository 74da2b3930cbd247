package eventbridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awseventbridge "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/standin/eventbus"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// serve starts a local bus whose rule hands requests to handle.
func serve(t testing.TB, handle func(context.Context, *pipeline.Request) error) (*eventbus.Bus, *eventbridge.Bus) {
	t.Helper()
	local := eventbus.New(eventbus.Config{RetryFirst: time.Millisecond})
	t.Cleanup(local.Close)
	require.NoError(t, local.AddRule(eventbus.Rule{Bus: "exchange", Pattern: eventbridge.Pattern, Target: func(ctx context.Context, event json.RawMessage) error {
		var e events.EventBridgeEvent
		if err := json.Unmarshal(event, &e); err != nil {
			return err
		}
		req, err := eventbridge.Decode(&e)
		if err != nil {
			return err
		}
		return handle(ctx, req)
	}}))
	server := httptest.NewServer(local)
	t.Cleanup(server.Close)
	b, err := eventbridge.NewBus(awseventbridge.New(awseventbridge.Options{Region: "us-east-1", BaseEndpoint: aws.String(server.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")}), eventbridge.Config{BusName: "exchange"})
	require.NoError(t, err)
	return local, b
}

// The suite, on a bus that behaves, and on one that repeats and reorders.
func TestBus(t *testing.T) {
	for name, faults := range map[string]eventbus.Faults{"quiet": {}, "wild": {Seed: 1, Duplicate: 0.5, Delay: 5 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			exchangetest.TestBus(t, exchangetest.BusHarness{
				Open: func(t testing.TB, handle func(context.Context, *pipeline.Request) error) pipeline.EventBus {
					local, b := serve(t, handle)
					local.SetFaults(faults)
					return b
				},
				Patience: time.Minute,
			})
		})
	}
}

func request(i int) *pipeline.Request {
	return &pipeline.Request{Kind: pipeline.RequestCancel, Account: 1, Time: 2, Key: fmt.Sprint("key-", i), OrderID: "BTC-USD.7"}
}

// Entries fail one by one; those that were taken arrive, the others do not.
func TestPutAll(t *testing.T) {
	var arrived atomic.Int64
	done := make(chan struct{}, 100)
	local, b := serve(t, func(context.Context, *pipeline.Request) error { arrived.Add(1); done <- struct{}{}; return nil })
	local.SetFaults(eventbus.Faults{Seed: 3, Refuse: 0.5})
	var reqs []*pipeline.Request
	for i := range 25 {
		reqs = append(reqs, request(i))
	}
	reqs[4] = &pipeline.Request{Key: strings.Repeat("x", pipeline.MaxRequestBytes)}
	errs := b.PutAll(t.Context(), reqs)
	require.Len(t, errs, 25)
	require.ErrorIs(t, errs[4], pipeline.ErrTooLarge)
	taken := 0
	for i, err := range errs {
		if err == nil {
			taken++
		} else if i != 4 {
			require.ErrorContains(t, err, "InternalFailure: refused")
			require.NotErrorIs(t, err, pipeline.ErrFull)
		}
	}
	require.Greater(t, taken, 0)
	require.Less(t, taken, 24)
	for range taken {
		<-done
	}
	local.Close()
	require.EqualValues(t, taken, arrived.Load())
	require.ErrorContains(t, b.Put(t.Context(), request(1)), "InternalFailure", "the bus is closed")
	require.Empty(t, b.PutAll(t.Context(), nil))
}

func TestThrottled(t *testing.T) {
	local, b := serve(t, func(context.Context, *pipeline.Request) error { return nil })
	local.SetFaults(eventbus.Faults{Throttle: 1})
	require.ErrorIs(t, b.Put(t.Context(), request(1)), pipeline.ErrFull)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Put(ctx, request(1)), context.Canceled)
}

func TestDecode(t *testing.T) {
	detail, err := pipeline.EncodeRequest(request(1))
	require.NoError(t, err)
	good := events.EventBridgeEvent{Source: eventbridge.Source, DetailType: eventbridge.DetailType, Detail: detail}
	req, err := eventbridge.Decode(&good)
	require.NoError(t, err)
	require.Equal(t, request(1), req)
	for _, change := range []func(*events.EventBridgeEvent){
		func(e *events.EventBridgeEvent) { e.Source = "aws.ec2" },
		func(e *events.EventBridgeEvent) { e.DetailType = "Other" },
		func(e *events.EventBridgeEvent) { e.Detail = json.RawMessage(`{"no":"field"}`) },
		func(e *events.EventBridgeEvent) { e.Detail = nil },
	} {
		bad := good
		change(&bad)
		_, err := eventbridge.Decode(&bad)
		require.ErrorIs(t, err, eventbridge.ErrEvent)
	}
}

func TestConfig(t *testing.T) {
	for _, name := range []string{"", "a bus", strings.Repeat("x", 1601)} {
		_, err := eventbridge.NewBus(&awseventbridge.Client{}, eventbridge.Config{BusName: name})
		require.ErrorIs(t, err, pipeline.ErrInvalid)
		require.ErrorContains(t, err, "BusName")
	}
	_, err := eventbridge.NewBus(nil, eventbridge.Config{BusName: "a"})
	require.ErrorIs(t, err, pipeline.ErrInvalid)
}
