package websocket_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi/types"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	standin "github.com/castlecloud/exchange/adapters/standin/websocket"
)

// gateway is a Server, what its handler was called with, and the SDK's client.
type gateway struct {
	t *testing.T
	*standin.Server
	url    string
	client *api.Client
	events chan standin.Event

	mu    sync.Mutex
	fault standin.Fault
	hung  chan struct{} // has something in it after a call has been left hanging
}

const patience = time.Minute

func start(t *testing.T, cfg standin.Config) *gateway {
	g := &gateway{t: t, events: make(chan standin.Event, 100), hung: make(chan struct{}, 1)}
	if cfg.Handle == nil {
		cfg.Handle = func(_ context.Context, e standin.Event) (standin.Response, error) {
			g.events <- e
			switch {
			case e.Kind == standin.Connect:
				return standin.Response{Authorizer: map[string]any{"account": "7"}}, nil
			case e.Body == "fail":
				return standin.Response{}, errors.New("failed")
			case e.Body == "quiet":
				return standin.Response{}, nil
			}
			return standin.Response{Body: "echo " + e.Body}, nil
		}
	}
	cfg.Fault = func(string, string) standin.Fault {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.fault.Hang {
			g.hung <- struct{}{}
		}
		return g.fault
	}
	g.Server = standin.New(cfg)
	server := httptest.NewServer(g.Server)
	t.Cleanup(server.Close)
	t.Cleanup(g.Server.Close)
	g.url = server.URL
	g.client = api.New(api.Options{BaseEndpoint: aws.String(server.URL + "/stage"), Region: "eu-central-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	return g
}

func (g *gateway) dial() (*websocket.Conn, string) {
	g.t.Helper()
	ws, _, err := websocket.Dial(g.t.Context(), g.url+"/stage?x=1", nil)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { _ = ws.CloseNow() })
	return ws, g.event(standin.Connect).ConnectionID
}

func (g *gateway) event(kind string) standin.Event {
	g.t.Helper()
	select {
	case e := <-g.events:
		require.Equal(g.t, kind, e.Kind)
		return e
	case <-time.After(patience):
		require.Fail(g.t, "no event", kind)
		return standin.Event{}
	}
}

func (g *gateway) post(id, text string) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	_, err := g.client.PostToConnection(ctx, &api.PostToConnectionInput{ConnectionId: aws.String(id), Data: []byte(text)})
	return err
}

func (g *gateway) set(f standin.Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = f
}

func read(t *testing.T, ws *websocket.Conn) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, data, err := ws.Read(ctx)
	return string(data), err
}

func TestConversation(t *testing.T) {
	g := start(t, standin.Config{Route: func(body string) string {
		if body == "quiet" {
			return "special"
		}
		return "$default"
	}})
	ws, _, err := websocket.Dial(t.Context(), g.url+"/stage?x=1", nil)
	require.NoError(t, err)
	connect := g.event(standin.Connect)
	id := connect.ConnectionID
	assert.Equal(t, "$connect", connect.RouteKey)
	assert.Equal(t, "1", connect.Query.Get("x"))
	assert.Equal(t, []string{id}, g.Connections())
	for _, step := range []struct{ say, route, want string }{
		{"hello", "$default", "echo hello"}, {"quiet", "special", ""}, {"again", "$default", "echo again"},
		{"fail", "$default", `{"message":"Internal server error","connectionId":"` + id + `"}`},
	} {
		require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte(step.say)))
		e := g.event(standin.Message)
		assert.Equal(t, []any{step.say, step.route, id, "7"}, []any{e.Body, e.RouteKey, e.ConnectionID, e.Authorizer["account"]})
		if step.want != "" {
			got, err := read(t, ws)
			require.NoError(t, err)
			assert.Equal(t, step.want, got)
		}
	}
	require.NoError(t, g.post(id, "pushed"))
	got, err := read(t, ws)
	require.NoError(t, err)
	assert.Equal(t, "pushed", got)
	about, err := g.client.GetConnection(t.Context(), &api.GetConnectionInput{ConnectionId: aws.String(id)})
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), *about.ConnectedAt, patience)
	_ = ws.Close(websocket.StatusNormalClosure, "") // it waits for the answer for some seconds, and no longer
	assert.Equal(t, id, g.event(standin.Disconnect).ConnectionID)
	var gone *types.GoneException
	require.ErrorAs(t, g.post(id, "late"), &gone)
	_, err = g.client.DeleteConnection(t.Context(), &api.DeleteConnectionInput{ConnectionId: aws.String(id)})
	require.ErrorAs(t, err, &gone)
	_, err = g.client.GetConnection(t.Context(), &api.GetConnectionInput{ConnectionId: aws.String(id)})
	require.ErrorAs(t, err, &gone)
}

func TestDelete(t *testing.T) {
	g := start(t, standin.Config{})
	ws, id := g.dial()
	_, err := g.client.DeleteConnection(t.Context(), &api.DeleteConnectionInput{ConnectionId: aws.String(id)})
	require.NoError(t, err)
	_, err = read(t, ws)
	assert.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
	g.event(standin.Disconnect)
	ws, id = g.dial()
	g.Cut(id)
	_, err = read(t, ws)
	assert.Equal(t, websocket.StatusCode(-1), websocket.CloseStatus(err), "no word")
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
	g.event(standin.Disconnect)
}

// The quotas: of a post, of a client's message, of what waits, of time.
func TestQuotas(t *testing.T) {
	g := start(t, standin.Config{})
	ws, id := g.dial()
	ws.SetReadLimit(standin.FrameBytes)
	require.NoError(t, g.post(id, strings.Repeat("x", standin.FrameBytes)))
	got, err := read(t, ws)
	require.NoError(t, err)
	assert.Len(t, got, standin.FrameBytes)
	var large *types.PayloadTooLargeException
	require.ErrorAs(t, g.post(id, strings.Repeat("x", standin.FrameBytes+1)), &large)
	require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat("x", standin.MessageBytes+1))))
	_, err = read(t, ws)
	assert.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err))
	g.event(standin.Disconnect)

	for name, cfg := range map[string]standin.Config{"age": {MaxAge: time.Millisecond}, "idle": {MaxIdle: time.Millisecond}} {
		g := start(t, cfg)
		ws, _ := g.dial()
		_, err := read(t, ws)
		assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err), name)
		g.event(standin.Disconnect)
	}

	g = start(t, standin.Config{Buffer: 4})
	_, id = g.dial() // who reads nothing
	var limit *types.LimitExceededException
	for {
		if err := g.post(id, strings.Repeat("x", standin.FrameBytes)); err != nil {
			require.ErrorAs(t, err, &limit)
			break
		}
	}
}

func TestFaults(t *testing.T) {
	g := start(t, standin.Config{})
	ws, id := g.dial()
	var gone *types.GoneException
	var limit *types.LimitExceededException
	var forbidden *types.ForbiddenException
	g.set(standin.Fault{Status: 410})
	assert.ErrorAs(t, g.post(id, "x"), &gone)
	g.set(standin.Fault{Status: 429, Delay: time.Millisecond})
	assert.ErrorAs(t, g.post(id, "x"), &limit)
	g.set(standin.Fault{Status: 403})
	assert.ErrorAs(t, g.post(id, "x"), &forbidden)
	g.set(standin.Fault{Status: 500})
	assert.ErrorContains(t, g.post(id, "x"), "500")
	g.set(standin.Fault{Lose: true})
	assert.NoError(t, g.post(id, "lost"))
	g.set(standin.Fault{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-g.hung // or it could arrive when there are no faults any more
		cancel()
	}()
	_, err := g.client.PostToConnection(ctx, &api.PostToConnectionInput{ConnectionId: aws.String(id), Data: []byte("x")})
	assert.ErrorIs(t, err, context.Canceled)
	g.set(standin.Fault{})
	require.NoError(t, g.post(id, "the first that comes"))
	got, err := read(t, ws)
	require.NoError(t, err)
	assert.Equal(t, "the first that comes", got)
	g.set(standin.Fault{Cut: true})
	_ = g.post(id, "x") // the connection may be gone already, or about to be
	_, err = read(t, ws)
	for err == nil {
		_, err = read(t, ws)
	}
	g.event(standin.Disconnect)
}

// A handler may refuse a connection, or fail.
func TestRefused(t *testing.T) {
	for want, answer := range map[int]func() (standin.Response, error){
		http.StatusUnauthorized: func() (standin.Response, error) { return standin.Response{Status: http.StatusUnauthorized}, nil },
		http.StatusBadGateway:   func() (standin.Response, error) { return standin.Response{}, errors.New("failed") },
	} {
		g := start(t, standin.Config{Handle: func(context.Context, standin.Event) (standin.Response, error) { return answer() }})
		_, res, err := websocket.Dial(t.Context(), g.url, nil)
		require.Error(t, err)
		assert.Equal(t, want, res.StatusCode)
		assert.Empty(t, g.Connections())
	}
}
