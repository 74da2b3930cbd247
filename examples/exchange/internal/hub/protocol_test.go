package hub

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMessagesThatAreWrong(t *testing.T) {
	s := newStand(t, Limits{MessageRate: 1000})
	c := s.dial()
	for _, tc := range []struct{ name, send, code string }{
		{"nothing", ``, pipeline.FeedInvalidMessage},
		{"no JSON", `{`, pipeline.FeedInvalidMessage},
		{"no object", `[]`, pipeline.FeedInvalidMessage},
		{"null", `null`, pipeline.FeedInvalidMessage},
		{"two objects", `{"op":"ping"}{"op":"ping"}`, pipeline.FeedInvalidMessage},
		{"unknown field", `{"op":"ping","x":1}`, pipeline.FeedInvalidMessage},
		{"wrong type", `{"op":1}`, pipeline.FeedInvalidMessage},
		{"negative seq", `{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":-1}`, pipeline.FeedInvalidMessage},
		{"seq a text", `{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":"1"}`, pipeline.FeedInvalidMessage},
		{"no op", `{}`, pipeline.FeedInvalidMessage},
		{"unknown op", `{"op":"dance"}`, pipeline.FeedInvalidMessage},
		{"deep", strings.Repeat(`{"op":`, 500), pipeline.FeedInvalidMessage},
		{"no channel", `{"op":"subscribe","symbol":"BTC-USD"}`, pipeline.FeedUnknownChannel},
		{"unknown channel", `{"op":"subscribe","channel":"x","symbol":"BTC-USD"}`, pipeline.FeedUnknownChannel},
		{"no symbol", `{"op":"subscribe","channel":"book"}`, pipeline.FeedUnknownSymbol},
		{"unknown symbol", `{"op":"subscribe","channel":"book","symbol":"X"}`, pipeline.FeedUnknownSymbol},
		{"orders without auth", `{"op":"subscribe","channel":"orders","symbol":"BTC-USD"}`, pipeline.FeedUnauthorized},
		{"balances without auth", `{"op":"subscribe","channel":"balances"}`, pipeline.FeedUnauthorized},
		{"not subscribed", `{"op":"unsubscribe","channel":"book","symbol":"BTC-USD"}`, pipeline.FeedNotSubscribed},
		{"no token", `{"op":"auth"}`, pipeline.FeedUnauthorized},
		{"bad token", `{"op":"auth","token":"x"}`, pipeline.FeedUnauthorized},
		{"old token", `{"op":"auth","token":"expired"}`, pipeline.FeedTokenExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.send(tc.send)
			m := c.expect("error")
			assert.Equal(t, tc.code, m.Code, m.Message)
			assert.NotEmpty(t, m.Message)
		})
	}
	c.send(`{"op":"ping"}`)
	assert.Equal(t, "2026-01-02T03:04:05Z", c.expect("pong").Time, "the connection is still good")

	c.login(7)
	c.send(`{"op":"subscribe","channel":"orders","symbol":"X"}`)
	assert.Equal(t, pipeline.FeedUnknownSymbol, c.expect("error").Code)
	c.send(`{"op":"subscribe","channel":"balances","symbol":"BTC-USD"}`)
	assert.Equal(t, pipeline.FeedUnknownSymbol, c.expect("error").Code)
	c.send(`{"op":"subscribe","channel":"orders","seq":1}`)
	assert.Equal(t, pipeline.FeedInvalidMessage, c.expect("error").Code)
	c.send(`{"op":"auth","token":"account 8"}`)
	assert.Equal(t, pipeline.FeedUnauthorized, c.expect("error").Code, "another account on the same connection")
	c.send(`{"op":"auth","token":"account 7"}`)
	assert.Equal(t, "2026-01-02T04:04:05Z", c.expect("authenticated").ExpiresAt, "the same account, a fresh token")
}

func TestSnapshotThenUpdates(t *testing.T) {
	s := newStand(t, Limits{})
	s.push(pipeline.ChannelBook, 1, 0, 0)
	c := s.dial()
	assert.EqualValues(t, 1, c.subscribe("book", "BTC-USD").Seq)
	for want := uint64(2); want < 5; want++ {
		s.push(pipeline.ChannelBook, 1, 0, 0)
		s.push(pipeline.ChannelBook, 2, 0, 0)   // another instrument
		s.push(pipeline.ChannelTrades, 1, 0, 0) // another channel
		m := c.expect("update")
		assert.Equal(t, []any{"book", "BTC-USD", want, want - 1}, []any{m.Channel, m.Symbol, m.Seq, m.PrevSeq})
	}
	c.send(`{"op":"unsubscribe","channel":"book","symbol":"BTC-USD"}`)
	c.expect("unsubscribed")
	s.push(pipeline.ChannelBook, 1, 0, 0)
	c.send(`{"op":"ping"}`)
	c.expect("pong")
	assert.EqualValues(t, 5, c.subscribe("book", "BTC-USD").Seq, "and once more")
}

// What is pushed while the snapshot is made comes after it, without what the
// snapshot has.
func TestPushWhileSnapshotIsMade(t *testing.T) {
	s := newStand(t, Limits{})
	s.delay = make(chan struct{})
	c := s.dial()
	c.send(`{"op":"subscribe","channel":"book","symbol":"BTC-USD"}`)
	c.expect("subscribed")
	require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.made == 1 }, patience, time.Millisecond)
	for range 3 {
		s.push(pipeline.ChannelBook, 1, 0, 0) // queued, and in the snapshot
	}
	close(s.delay)
	assert.EqualValues(t, 3, c.expect("snapshot").Seq)
	s.push(pipeline.ChannelBook, 1, 0, 0)
	m := c.expect("update")
	assert.EqualValues(t, []uint64{4, 3}, []uint64{m.Seq, m.PrevSeq})
}

func TestNoSnapshotToBeHad(t *testing.T) {
	s := newStand(t, Limits{})
	s.fail = errors.New("the store is down")
	c := s.dial()
	c.send(`{"op":"subscribe","channel":"book","symbol":"BTC-USD"}`)
	c.expect("subscribed")
	m := c.expect("error")
	assert.Equal(t, []string{pipeline.FeedUnavailable, "book", "BTC-USD"}, []string{m.Code, m.Channel, m.Symbol})
	s.push(pipeline.ChannelBook, 1, 0, 0)
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	assert.EqualValues(t, 1, c.subscribe("book", "BTC-USD").Seq)
}

func TestPrivateChannels(t *testing.T) {
	s := newStand(t, Limits{})
	alice, bob := s.dial(), s.dial()
	alice.login(7)
	bob.login(8)
	alice.send(`{"op":"subscribe","channel":"orders"}`)
	assert.Empty(t, alice.expect("subscribed").Symbol)
	for _, symbol := range []string{"BTC-USD", "ETH-USD"} {
		m := alice.expect("snapshot")
		assert.Equal(t, []any{"orders", symbol, uint64(7)}, []any{m.Channel, m.Symbol, m.Account})
	}
	bob.subscribe("orders", "ETH-USD")
	assert.True(t, s.hub.Listening(pipeline.ChannelOrders, 1, 7))
	assert.False(t, s.hub.Listening(pipeline.ChannelOrders, 1, 8))
	assert.True(t, s.hub.Listening(pipeline.ChannelOrders, 2, 8))
	assert.False(t, s.hub.Listening(pipeline.ChannelBalances, 0, 7))
	assert.False(t, s.hub.Listening(pipeline.ChannelOrders, 3, 7), "no such instrument")

	s.push(pipeline.ChannelOrders, 2, 7, 0)
	s.push(pipeline.ChannelOrders, 2, 8, 0)
	s.push(pipeline.ChannelOrders, 2, 9, 0)
	m := alice.expect("update")
	assert.EqualValues(t, []any{"ETH-USD", uint64(7)}, []any{m.Symbol, m.Account})
	m = bob.expect("update")
	assert.EqualValues(t, 8, m.Account)
	for _, c := range []*client{alice, bob} {
		c.send(`{"op":"ping"}`)
		c.expect("pong") // and nothing of anybody else's
	}
	alice.send(`{"op":"unsubscribe","channel":"orders"}`)
	alice.expect("unsubscribed")
	alice.send(`{"op":"unsubscribe","channel":"orders","symbol":"BTC-USD"}`)
	assert.Equal(t, pipeline.FeedNotSubscribed, alice.expect("error").Code)
}

func TestBalances(t *testing.T) {
	s := newStand(t, Limits{})
	c := s.dial()
	c.login(7)
	m := c.subscribe("balances", "")
	assert.EqualValues(t, []any{"", uint64(7)}, []any{m.Symbol, m.Account})
	assert.True(t, s.hub.Listening(pipeline.ChannelBalances, 0, 7))
	s.push(pipeline.ChannelBalances, 0, 7, 0)
	s.push(pipeline.ChannelBalances, 0, 8, 0)
	assert.EqualValues(t, 1, c.expect("update").Seq)
	// An older message than the last is dropped.
	require.NoError(t, s.hub.Notify(context.Background(), []pipeline.Push{{Channel: pipeline.ChannelBalances, Account: 7, Seq: 1, Data: []byte("{}")}}))
	s.push(pipeline.ChannelBalances, 0, 7, 0)
	assert.EqualValues(t, 2, c.expect("update").Seq)
	assert.ErrorIs(t, s.hub.Notify(context.Background(), []pipeline.Push{{Instrument: 1}}), pipeline.ErrInvalid)
}

func TestTokenEnds(t *testing.T) {
	s := newStand(t, Limits{Heartbeat: time.Millisecond})
	c := s.dial()
	c.login(7)
	c.subscribe("orders", "BTC-USD")
	c.subscribe("book", "BTC-USD")
	s.advance(time.Hour - 1)
	s.push(pipeline.ChannelOrders, 1, 7, 0)
	c.expect("update")
	s.advance(1)
	assert.Equal(t, pipeline.FeedTokenExpired, c.expect("error").Code)
	s.push(pipeline.ChannelOrders, 1, 7, 0)
	s.push(pipeline.ChannelBook, 1, 0, 0)
	assert.Equal(t, "book", c.expect("update").Channel, "what is public goes on")
	c.send(`{"op":"subscribe","channel":"orders","symbol":"BTC-USD"}`)
	assert.Equal(t, pipeline.FeedUnauthorized, c.expect("error").Code)
	c.login(8)
	c.subscribe("orders", "BTC-USD")
}

func TestHeartbeat(t *testing.T) {
	s := newStand(t, Limits{Heartbeat: time.Millisecond})
	c := s.dial()
	c.subscribe("trades", "BTC-USD")
	c.subscribe("book", "BTC-USD")
	s.push(pipeline.ChannelBook, 1, 0, 0)
	s.push(pipeline.ChannelBook, 1, 0, 0)
	for range 2 {
		c.expect("update")
	}
	require.Eventually(t, func() bool {
		m, err := c.read()
		require.NoError(t, err)
		return m.Type == "heartbeat" && assert.ObjectsAreEqual(map[string]uint64{"BTC-USD": 2}, m.Seqs) &&
			assert.ObjectsAreEqual([]pipeline.FeedSubscription{{Channel: "book", Symbol: "BTC-USD", Seq: 2}, {Channel: "trades", Symbol: "BTC-USD", Seq: 0}}, m.Subscriptions)
	}, patience, time.Microsecond)
}

func TestClientLimits(t *testing.T) {
	t.Run("subscriptions", func(t *testing.T) {
		s := newStand(t, Limits{Subscriptions: 3})
		c := s.dial()
		c.login(7)
		c.subscribe("book", "BTC-USD")
		c.subscribe("book", "BTC-USD") // afresh, and still one
		c.subscribe("book", "ETH-USD")
		c.send(`{"op":"subscribe","channel":"orders"}`) // two of them
		assert.Equal(t, pipeline.FeedTooManySubscriptions, c.expect("error").Code)
		c.subscribe("trades", "BTC-USD")
		c.send(`{"op":"subscribe","channel":"trades","symbol":"ETH-USD"}`)
		assert.Equal(t, pipeline.FeedTooManySubscriptions, c.expect("error").Code)
	})
	t.Run("message size", func(t *testing.T) {
		s := newStand(t, Limits{MessageBytes: 100})
		c := s.dial()
		c.send(`{"op":"ping"}` + strings.Repeat(" ", 100-len(`{"op":"ping"}`)))
		c.expect("pong")
		c.send(`{"op":"ping"}` + strings.Repeat(" ", 101-len(`{"op":"ping"}`)))
		code, _ := c.closed()
		assert.Equal(t, websocket.StatusMessageTooBig, code)
	})
	t.Run("message rate", func(t *testing.T) {
		s := newStand(t, Limits{MessageRate: 2})
		c := s.dial()
		for range 4 { // the clock stands still
			c.send(`{"op":"ping"}`)
			c.expect("pong")
		}
		s.advance(500 * time.Millisecond)
		c.send(`{"op":"ping"}`)
		c.expect("pong")
		c.send(`{"op":"ping"}`)
		code, reason := c.closed()
		assert.Equal(t, websocket.StatusPolicyViolation, code)
		assert.Equal(t, pipeline.FeedRateLimited, reason)
	})
	t.Run("binary", func(t *testing.T) {
		s := newStand(t, Limits{})
		c := s.dial()
		require.NoError(t, c.ws.Write(context.Background(), websocket.MessageBinary, []byte(`{"op":"ping"}`)))
		code, reason := c.closed()
		assert.Equal(t, websocket.StatusUnsupportedData, code)
		assert.Equal(t, pipeline.FeedInvalidMessage, reason)
	})
	t.Run("connections", func(t *testing.T) {
		s := newStand(t, Limits{Connections: 2})
		a := s.dial()
		s.dial()
		_, resp, err := s.tryDial(nil)
		require.Error(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		assert.Equal(t, "1", resp.Header.Get("Retry-After"))
		_ = a.ws.Close(websocket.StatusNormalClosure, "") // whether or not it has the answer in time
		require.Eventually(t, func() bool { return s.hub.Connections() == 1 }, patience, time.Millisecond)
		s.dial()
	})
	t.Run("origin", func(t *testing.T) {
		s := newStand(t, Limits{})
		_, resp, err := s.tryDial(http.Header{"Origin": {"http://elsewhere"}})
		require.Error(t, err)
		assert.Equal(t, http.StatusForbidden, resp.StatusCode)
		_, _, err = s.tryDial(http.Header{"Origin": {"http://venue"}})
		assert.NoError(t, err)
		require.Eventually(t, func() bool { return s.hub.Connections() == 1 }, patience, time.Millisecond)
	})
}

func TestCloseTellsWhy(t *testing.T) {
	s := newStand(t, Limits{})
	c := s.dial()
	c.subscribe("book", "BTC-USD")
	done := make(chan struct{})
	go func() { s.hub.Close(); close(done) }()
	code, reason := c.closed()
	assert.Equal(t, websocket.StatusGoingAway, code)
	assert.Equal(t, pipeline.FeedGoingAway, reason)
	<-done
	assert.Zero(t, s.hub.Connections())
	_, resp, err := s.tryDial(nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}

func TestDisconnect(t *testing.T) {
	s := newStand(t, Limits{})
	c := s.dial()
	c.subscribe("book", "BTC-USD")
	s.hub.Disconnect()
	_, err := c.read()
	require.Error(t, err)
	require.Eventually(t, func() bool { return s.hub.Connections() == 0 }, patience, time.Millisecond)
	s.dial().subscribe("book", "BTC-USD")
}

func TestPushRefuses(t *testing.T) {
	s := newStand(t, Limits{})
	ctx := context.Background()
	for _, inst := range []int{0, 3} {
		assert.ErrorIs(t, s.hub.Push(ctx, exchange.InstrumentID(inst), 1, nil), pipeline.ErrInvalid)
	}
	assert.ErrorIs(t, s.hub.Push(ctx, 1, 1, []pipeline.Push{{Instrument: 2}}), pipeline.ErrInvalid)
	require.NoError(t, s.hub.Push(ctx, 1, 5, nil))
	require.NoError(t, s.hub.Push(ctx, 1, 4, nil))
	pos, err := s.hub.Pushed(ctx, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 5, pos)
	pos, err = s.hub.Pushed(ctx, 9)
	require.NoError(t, err)
	assert.Zero(t, pos)
}
