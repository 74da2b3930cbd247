package cloud

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	awseventbridge "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/standin/eventbus"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onlyAuthorizer is functions of which the authorizer alone answers: account 7.
type onlyAuthorizer struct{ t *testing.T }

func (f onlyAuthorizer) Invoke(_ context.Context, name string, _ []byte) ([]byte, error) {
	assert.Equal(f.t, "authorizer", name, "an order needs no other function")
	return json.Marshal(events.APIGatewayCustomAuthorizerResponse{Context: map[string]any{"account": "7"},
		PolicyDocument: events.APIGatewayCustomAuthorizerPolicy{Statement: []events.IAMPolicyStatement{{Effect: "Allow"}}}})
}

// A new order goes to the bus with the account of its token and the time it
// came, whatever its body says, and is 503 when the bus does not take it.
func TestDirect(t *testing.T) {
	standin := eventbus.New(eventbus.Config{})
	t.Cleanup(standin.Close)
	put := make(chan json.RawMessage, 1)
	require.NoError(t, standin.AddRule(eventbus.Rule{Bus: busName, Pattern: eventbridge.Pattern, Target: func(_ context.Context, event json.RawMessage) error {
		put <- event
		return nil
	}}))
	server := httptest.NewServer(standin)
	t.Cleanup(server.Close)
	client := sdk(server.URL)
	client.RetryMaxAttempts = 1
	bus, err := eventbridge.NewBus(awseventbridge.NewFromConfig(client), eventbridge.Config{BusName: busName})
	require.NoError(t, err)
	g := &gateway{functions: onlyAuthorizer{t}, hosts: []string{"venue"}, bus: bus, authorized: map[string]authorization{}}
	post := func(body string) (int, map[string]string) {
		r := httptest.NewRequest(http.MethodPost, "http://venue/orders", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		var answer map[string]string
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
		return w.Code, answer
	}
	taken := func() *pipeline.Request {
		var event events.EventBridgeEvent
		require.NoError(t, json.Unmarshal(<-put, &event))
		req, err := eventbridge.Decode(&event)
		require.NoError(t, err)
		return req
	}

	before := exchange.Time(time.Now().Truncate(time.Millisecond).UnixNano())
	status, answer := post(`{"client_order_id":"mine","symbol":"BTC-USD","side":"buy","price":"1","size":"2","hidden":true,"kind":"cancel","account":8,"time":1,"key":"other","order_id":"BTC-USD.1"}`)
	assert.Equal(t, 202, status)
	assert.Equal(t, "received", answer["status"])
	req := taken()
	assert.WithinRange(t, time.Unix(0, int64(req.Time)), time.Unix(0, int64(before)), time.Now())
	req.Time = 0
	assert.Equal(t, &pipeline.Request{Kind: pipeline.RequestNew, Account: 7, Key: "mine", Symbol: "BTC-USD", Side: "buy", Price: "1", Size: "2", Hidden: true}, req)

	_, answer = post(`{"symbol":"BTC-USD"}`)
	assert.Equal(t, answer["request_id"], taken().Key, "without a client_order_id the request's name is its key")
	status, answer = post(`[]`)
	assert.Equal(t, 400, status)
	assert.Equal(t, "invalid_field", answer["code"])

	server.Close()
	status, answer = post(`{"symbol":"BTC-USD"}`)
	assert.Equal(t, 503, status)
	assert.Equal(t, "unavailable", answer["code"])
}
