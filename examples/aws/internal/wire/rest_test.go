package wire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/api"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The gateway's event arrives as the request that a client sent.
func TestServeREST(t *testing.T) {
	var got *http.Request
	var body []byte
	serve := ServeREST(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-One", "1")
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot) // the first counts
		_, _ = w.Write([]byte("ok"))
	}))
	ev := events.APIGatewayProxyRequest{
		HTTPMethod: "POST", Path: "/orders/client%3Aa%2Fb", Body: "e30=", IsBase64Encoded: true,
		MultiValueHeaders:               map[string][]string{"Host": {"venue"}, "x-two": {"a", "b"}},
		MultiValueQueryStringParameters: map[string][]string{"limit": {"3"}, "a b": {"c&d"}},
	}
	ev.RequestContext.RequestTimeEpoch = 1_700_000_000_123
	ev.RequestContext.Authorizer = map[string]any{"account": "7"}
	out, err := serve(t.Context(), ev)
	require.NoError(t, err)
	assert.Equal(t, http.StatusAccepted, out.StatusCode)
	assert.Equal(t, "ok", out.Body)
	assert.Equal(t, []string{"1"}, out.MultiValueHeaders["X-One"])
	assert.Equal(t, "/orders/client:a/b", got.URL.Path)
	assert.Equal(t, "/orders/client%3Aa%2Fb", got.URL.EscapedPath())
	assert.Equal(t, "c&d", got.URL.Query().Get("a b"))
	assert.Equal(t, []string{"a", "b"}, got.Header.Values("X-Two"))
	assert.Equal(t, "venue", got.Host)
	assert.Equal(t, "{}", string(body))
	assert.Equal(t, exchange.AccountID(7), Caller(got))
	at, ok := Entered(got.Context())
	assert.True(t, ok)
	assert.Equal(t, exchange.Time(1_700_000_000_123_000_000), at)

	ev.HTTPMethod, ev.IsBase64Encoded = "HEAD", false
	out, err = serve(t.Context(), ev)
	require.NoError(t, err)
	assert.Empty(t, out.Body)
	for _, authorizer := range []map[string]any{nil, {"account": 7}, {"account": "x"}, {"account": "-1"}} {
		ev.RequestContext.Authorizer = authorizer
		_, err = serve(t.Context(), ev)
		require.NoError(t, err)
		assert.Zero(t, Caller(got), "%v", authorizer)
	}
	ev.Body, ev.IsBase64Encoded = "!", true
	_, err = serve(t.Context(), ev)
	assert.ErrorContains(t, err, "body of a request")
}

// restStand is the REST API in front of a bus.
type restStand struct {
	serve func(context.Context, events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error)
	sent  []*pipeline.Request
	full  error
}

func (s *restStand) Put(_ context.Context, req *pipeline.Request) error {
	if s.full == nil {
		s.sent = append(s.sent, req)
	}
	return s.full
}

func newRestStand(t *testing.T) *restStand {
	s := &restStand{}
	instruments := testInstruments(t)
	prepare, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: instruments, Risk: nowhere{}})
	require.NoError(t, err)
	log := pipeline.NewLog(memory.NewJournal())
	trades, balances := memory.NewTradeStore(), memory.NewBalances(memory.BalancesConfig{})
	s.serve = ServeREST(restAPI(instruments, &Edge{instruments, prepare.Prepare, s}, &Positions{log, trades, balances}, trades, memory.NewBookStore(), balances, memory.NewMetrics(), slog.New(slog.DiscardHandler)))
	return s
}

func (s *restStand) call(t *testing.T, method, path, account, body string) (int, map[string]any) {
	t.Helper()
	ev := events.APIGatewayProxyRequest{HTTPMethod: method, Path: path, Body: body, MultiValueHeaders: map[string][]string{}}
	ev.RequestContext.RequestTimeEpoch = 1_700_000_000_123
	if account != "" {
		ev.RequestContext.Authorizer = map[string]any{"account": account}
	}
	out, err := s.serve(t.Context(), ev)
	require.NoError(t, err)
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(out.Body), &answer), out.Body)
	return out.StatusCode, answer
}

// 202 means that the bus has it. Account and time are the gateway's.
func TestRESTAccepts(t *testing.T) {
	s := newRestStand(t)
	const order = `{"client_order_id":"a","symbol":"BTC-USD","side":"buy","type":"limit","price":"100","size":"1"}`
	status, answer := s.call(t, "POST", "/orders", "7", order)
	require.Equal(t, http.StatusAccepted, status, answer)
	assert.Equal(t, "accepted", answer["status"])
	assert.Equal(t, "a", answer["client_order_id"])
	assert.Len(t, answer["command_id"], 32)
	require.Len(t, s.sent, 1)
	assert.Equal(t, exchange.AccountID(7), s.sent[0].Account)
	assert.Equal(t, exchange.Time(1_700_000_000_123_000_000), s.sent[0].Time)

	status, answer = s.call(t, "DELETE", "/orders/BTC-USD.17", "7", "")
	require.Equal(t, http.StatusAccepted, status, answer)
	assert.Equal(t, "BTC-USD.17", s.sent[1].OrderID, "the engine knows whether there is one")
	status, answer = s.call(t, "PATCH", "/orders/BTC-USD.17", "7", `{"size":"2"}`)
	require.Equal(t, http.StatusAccepted, status, answer)
	status, answer = s.call(t, "DELETE", "/orders", "7", "")
	require.Equal(t, http.StatusAccepted, status, answer)
	commands := answer["commands"].([]any)
	assert.Len(t, commands, 10, "one for each instrument")
	assert.NotContains(t, commands[0], "canceled", "nobody knows yet")

	for _, tc := range []struct {
		method, path, account, body string
		status                      int
		code                        string
	}{
		{"POST", "/orders", "", order, 401, "unauthorized"},
		{"POST", "/orders", "7", `{"account":8}`, 400, "invalid_json"},
		{"POST", "/orders", "7", `{"symbol":"BTC-USD","side":"buy","type":"limit","price":"0.001","size":"1"}`, 400, "off_tick"},
		{"DELETE", "/orders/client:none", "7", "", 404, "not_found"},
		{"GET", "/orders/BTC-USD.17", "7", "", 404, "not_found"},
		{"GET", "/nothing", "", "", 404, "not_found"},
	} {
		status, answer := s.call(t, tc.method, tc.path, tc.account, tc.body)
		assert.Equal(t, tc.status, status, "%+v: %v", tc, answer)
		assert.Equal(t, tc.code, answer["code"], "%+v", tc)
	}
	assert.Len(t, s.sent, 4)
	s.full = pipeline.ErrFull
	status, answer = s.call(t, "POST", "/orders", "7", order)
	assert.Equal(t, 503, status)
	assert.Equal(t, "overloaded", answer["code"])
	_, answer = s.call(t, "GET", "/balances", "7", "")
	assert.Contains(t, answer, "balances")
	_, answer = s.call(t, "GET", "/health", "", "")
	assert.Equal(t, "ok", answer["status"])
}

func TestAuthorize(t *testing.T) {
	verify := func(token string) (auth.Identity, error) {
		if token != "good" {
			return auth.Identity{}, errors.New("bad")
		}
		return auth.Identity{Account: 7, Expires: time.Unix(1000, 0)}, nil
	}
	type event struct {
		name, header, query, connection string
		account                         string
		refused                         bool
	}
	for _, e := range []event{
		{"REST", "Bearer good", "", "", "7", false},
		{"REST, small letters", "bearer good", "", "", "7", false},
		{"REST, another token", "Bearer bad", "", "", "", true},
		{"REST, another scheme", "Basic good", "", "", "", true},
		{"REST, none", "", "", "", "", true},
		{"REST, in the address", "", "good", "", "", true},
		{"connect", "Bearer good", "", "c", "7", false},
		{"connect, in the address", "", "good", "c", "7", false},
		{"connect as nobody", "", "", "c", "", false},
		{"connect, another token", "", "bad", "c", "", true},
	} {
		t.Run(e.name, func(t *testing.T) {
			ev := AuthorizerEvent{MethodARN: "arn:aws:execute-api:r:1:api/live/GET/orders", Headers: map[string]string{}, QueryStringParameters: map[string]string{"token": e.query}}
			ev.RequestContext.ConnectionID = e.connection
			if e.header != "" {
				ev.Headers["authorization"] = e.header
			}
			out, err := Authorize(verify)(t.Context(), ev)
			if e.refused {
				require.EqualError(t, err, "Unauthorized", "the text that API Gateway knows")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{"arn:aws:execute-api:r:1:api/live/*"}, out.PolicyDocument.Statement[0].Resource)
			if e.account == "" {
				assert.Empty(t, out.Context)
			} else {
				assert.Equal(t, map[string]any{"account": "7", "expires": "1000"}, out.Context)
				assert.Equal(t, exchange.AccountID(7), accountOf(out.Context))
			}
		})
	}
}

var _ api.Edge = (*Edge)(nil)
