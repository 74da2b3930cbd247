package apigateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	standin "github.com/castlecloud/exchange/adapters/standin/websocket"
	"github.com/castlecloud/exchange/pipeline"
)

// tell is an update of a channel with a Seq and the one before it.
func tell(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID, prev, seq uint64, more string) pipeline.Push {
	data := fmt.Sprintf(`{"type":"update","channel":%q,"symbol":%q,"seq":%d,"prev_seq":%d,"time":"t%d"%s}`, channel, symbolOf(inst), seq, prev, seq, more)
	return pipeline.Push{Channel: channel, Instrument: inst, Account: acct, Seq: seq, PrevSeq: prev, Data: []byte(data)}
}

// queued is a stand whose envelopes wait until deliver is called.
func queued(t *testing.T) (*stand, *queue) {
	q := &queue{}
	return newStand(t, options{sender: q}), q
}

func (s *stand) deliver(q *queue) error {
	return s.deliverer.Deliver(context.Background(), q.take()...)
}

func (s *stand) push(pos pipeline.Position, messages ...pipeline.Push) {
	s.t.Helper()
	require.NoError(s.t, s.Push(context.Background(), messages[0].Instrument, pos, messages))
}

// ended waits until the connection is closed and returns how.
func (c *client) ended() websocket.StatusCode {
	for {
		if _, err := c.next(); err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				return closed.Code
			}
			return -1
		}
	}
}

// connected waits until the table has n connections.
func (s *stand) connected(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		page, err := s.table.Connections(context.Background(), "", 100)
		return err == nil && len(page) == n
	}, patience, time.Millisecond)
}

func TestGoneConnectionsAreRemoved(t *testing.T) {
	s, q := queued(t)
	here, gone := s.subscribe(pipeline.ChannelTrades, 1, 0), s.subscribe(pipeline.ChannelTrades, 1, 0)
	// API Gateway forgot to say that it is gone, or $disconnect failed.
	require.NoError(t, s.table.Connect(context.Background(), "ghost", apigateway.Identity{}))
	require.NoError(t, s.table.Subscribe(context.Background(), "ghost", []apigateway.Topic{{Channel: pipeline.ChannelTrades, Instrument: 1}}, 10))
	s.connected(3)
	require.NoError(t, gone.ws.CloseNow())
	s.push(1, tell(pipeline.ChannelTrades, 1, 0, 0, 1, ""))
	require.NoError(t, s.deliver(q))
	assert.EqualValues(t, 1, here.must()["seq"])
	s.connected(1)
	assert.GreaterOrEqual(t, s.metrics.Read(apigateway.MetricGone, 0).Count, int64(1))
	subs, err := s.table.Subscribers(context.Background(), apigateway.Topic{Channel: pipeline.ChannelTrades, Instrument: 1})
	require.NoError(t, err)
	assert.Len(t, subs, 1)
}

// A connection that takes nothing is closed, and nobody else waits.
func TestSlowConnectionsAreClosed(t *testing.T) {
	for name, fault := range map[string]standin.Fault{"throttled": {Status: 429}, "hangs": {Hang: true}, "fails": {Status: 500}} {
		t.Run(name, func(t *testing.T) {
			q := &queue{}
			o := options{sender: q}
			if fault.Hang {
				o.timeout = 100 * time.Millisecond
			}
			s := newStand(t, o)
			slow := s.subscribe(pipeline.ChannelTrades, 1, 0)
			id := s.gateway.Connections()[0]
			others := []*client{s.subscribe(pipeline.ChannelTrades, 1, 0), s.subscribe(pipeline.ChannelTrades, 1, 0)}
			s.set(func(s *stand) {
				s.hangs = id
				s.fault = func(method, conn string) standin.Fault {
					if method == "POST" && conn == id {
						return fault
					}
					return standin.Fault{}
				}
			})
			s.push(1, tell(pipeline.ChannelTrades, 1, 0, 0, 1, ""))
			require.NoError(t, s.deliver(q))
			for _, c := range others {
				assert.EqualValues(t, 1, c.must()["seq"])
			}
			assert.Equal(t, websocket.StatusNormalClosure, slow.ended())
			s.connected(2)
			assert.EqualValues(t, 1, s.metrics.Read(apigateway.MetricDropped, 0).Count)
		})
	}
}

// One that cannot be closed either stays in the table, and everything is
// delivered again: nobody is connected and hears nothing.
func TestNobodyIsLeftInSilence(t *testing.T) {
	s, q := queued(t)
	c := s.subscribe(pipeline.ChannelTrades, 1, 0)
	s.set(func(s *stand) { s.fault = func(string, string) standin.Fault { return standin.Fault{Status: 403} } })
	s.push(1, tell(pipeline.ChannelTrades, 1, 0, 0, 1, ""))
	bodies := q.take()
	require.ErrorContains(t, s.deliverer.Deliver(context.Background(), bodies...), "closing a connection")
	s.connected(1)
	s.set(func(s *stand) { s.fault = nil })
	require.NoError(t, s.deliverer.Deliver(context.Background(), bodies...))
	assert.EqualValues(t, 1, c.must()["seq"])
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, s.deliverer.Deliver(ctx, bodies...), context.Canceled)
	s.connected(1)
	assert.ErrorIs(t, s.deliverer.Deliver(context.Background(), bodies[0], "{"), pipeline.ErrEncoding)
	assert.ErrorIs(t, s.deliverer.Deliver(context.Background(), "zz"), pipeline.ErrEncoding)
	assert.ErrorIs(t, s.deliverer.Deliver(context.Background(), `{"pushes":[{"channel":"x","data":{}}]}`), pipeline.ErrEncoding)
}

// What waits together is one message of each topic.
func TestConflation(t *testing.T) {
	s, q := queued(t)
	book, trades, ticker := s.subscribe(pipeline.ChannelBook, 1, 0), s.subscribe(pipeline.ChannelTrades, 1, 0), s.subscribe(pipeline.ChannelTicker, 1, 0)
	candles, orders := s.subscribe(pipeline.ChannelCandles, 1, 0), s.subscribe(pipeline.ChannelOrders, 1, 7)
	level := func(price, size string) string {
		return fmt.Sprintf(`{"price":%q,"size":%q,"orders":1}`, price, size)
	}
	for i, item := range []struct{ bids, asks, trade, candle, order string }{
		{level("10", "1") + "," + level("9", "2"), level("11", "1"), `{"trade_id":"1"}`, `{"start":"a","open":"1"},{"start":"b","open":"2"}`, `{"command_id":"x","status":"open"},{"command_id":"y","status":"open"}`},
		{level("10", "0"), "", `{"trade_id":"2"},{"trade_id":"3"}`, `{"start":"b","open":"3"}`, `{"command_id":"x","status":"filled"}`},
		{level("9", "5"), level("12", "7"), `{"trade_id":"4"}`, `{"start":"c","open":"4"}`, `{"command_id":"z","status":"open"}`},
	} {
		prev, seq := uint64(i*10), uint64(i*10+10)
		s.push(pipeline.Position(i+1),
			tell(pipeline.ChannelBook, 1, 0, prev, seq, fmt.Sprintf(`,"bids":[%s],"asks":[%s],"checksum":%d`, item.bids, item.asks, i+1)),
			tell(pipeline.ChannelTrades, 1, 0, prev, seq, fmt.Sprintf(`,"trades":[%s]`, item.trade)),
			tell(pipeline.ChannelCandles, 1, 0, prev, seq, fmt.Sprintf(`,"candles":[%s]`, item.candle)),
			tell(pipeline.ChannelTicker, 1, 0, 0, seq, fmt.Sprintf(`,"price":"%d"`, i)),
			tell(pipeline.ChannelOrders, 1, 7, prev, seq, fmt.Sprintf(`,"orders":[%s],"fills":[{"trade_id":"%d"}]`, item.order, i+1)))
	}
	require.NoError(t, s.deliver(q))
	get := func(c *client, into any) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		data, err := c.read(ctx)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, into))
	}
	var b pipeline.FeedBook
	get(book, &b)
	assert.Equal(t, pipeline.FeedBook{
		FeedHeader: pipeline.FeedHeader{Type: "update", Channel: pipeline.ChannelBook, Symbol: "B1-USD", Seq: 30, PrevSeq: 0, Time: "t30"},
		Bids:       []pipeline.FeedLevel{{Price: "10", Size: "0", Orders: 1}, {Price: "9", Size: "5", Orders: 1}},
		Asks:       []pipeline.FeedLevel{{Price: "11", Size: "1", Orders: 1}, {Price: "12", Size: "7", Orders: 1}}, Checksum: 3,
	}, b)
	var tr pipeline.FeedTrades
	get(trades, &tr)
	var ids []exchange.TradeID
	for _, one := range tr.Trades {
		ids = append(ids, one.ID)
	}
	assert.Equal(t, []exchange.TradeID{1, 2, 3, 4}, ids)
	assert.Equal(t, []uint64{0, 30}, []uint64{tr.PrevSeq, tr.Seq})
	var tick pipeline.FeedTicker
	get(ticker, &tick)
	assert.Equal(t, "2", tick.Price)
	var ca pipeline.FeedCandles
	get(candles, &ca)
	var opens string
	for _, one := range ca.Candles {
		opens += one.Start + one.Open
	}
	assert.Equal(t, "a1b3c4", opens)
	var o pipeline.FeedOrders
	get(orders, &o)
	var states string
	for _, one := range o.Orders {
		states += one.CommandID + one.Status + " "
	}
	assert.Equal(t, "yopen xfilled zopen ", states)
	assert.Len(t, o.Fills, 3)
	assert.EqualValues(t, 10, s.metrics.Read(apigateway.MetricMerged, 1).Count)
	assert.EqualValues(t, 5, s.metrics.Read(apigateway.MetricPosts, 1).Count)

	// A hole stays a hole, and what is no update stays what it is.
	s.push(4, tell(pipeline.ChannelBook, 1, 0, 30, 40, ""))
	s.push(5, tell(pipeline.ChannelBook, 1, 0, 41, 50, ""))
	broken := tell(pipeline.ChannelBook, 1, 0, 50, 60, "")
	broken.Data = []byte(`{"type":"error","code":"unavailable","channel":"book"}`)
	s.push(6, broken)
	require.NoError(t, s.deliver(q))
	assert.EqualValues(t, 40, book.must()["seq"])
	assert.EqualValues(t, 41, book.must()["prev_seq"])
	assert.Equal(t, "unavailable", book.must()["code"])
}

// A message beyond a frame comes in parts, one beyond a queue's message is
// packed, and one beyond that makes the client ask again.
func TestLongMessages(t *testing.T) {
	q := &queue{}
	s := newStand(t, options{sender: q, merge: 100})
	c := s.subscribe(pipeline.ChannelTrades, 1, 0)
	seq := uint64(0)
	long := func(text string) pipeline.Push {
		seq++
		return tell(pipeline.ChannelTrades, 1, 0, seq-1, seq, fmt.Sprintf(`,"pad":%q`, text))
	}
	for _, text := range []string{strings.Repeat(`"\é`, 1), strings.Repeat(`"quoted" ü `, apigateway.FrameBytes/8), strings.Repeat("packs well ", apigateway.EnvelopeBytes/5)} {
		m := long(text)
		s.push(pipeline.Position(seq), m)
		bodies := q.take()
		require.Len(t, bodies, 1)
		require.LessOrEqual(t, len(bodies[0]), apigateway.EnvelopeBytes)
		require.NoError(t, s.deliverer.Deliver(context.Background(), bodies...))
		assert.Equal(t, text, c.must()["pad"])
	}
	// Two that fit one by one travel apart.
	s.push(4, long(noise(apigateway.EnvelopeBytes/2)), long(noise(apigateway.EnvelopeBytes/2)), long(noise(apigateway.EnvelopeBytes/2)))
	bodies := q.take()
	require.Greater(t, len(bodies), 1)
	for _, body := range bodies {
		require.LessOrEqual(t, len(body), apigateway.EnvelopeBytes)
		require.NoError(t, s.deliverer.Deliver(context.Background(), body))
	}
	for i := range 3 {
		assert.EqualValues(t, 4+i, c.must()["seq"])
	}
	s.push(5, long(noise(2*apigateway.EnvelopeBytes)))
	require.NoError(t, s.deliver(q))
	assert.Equal(t, map[string]any{"type": "error", "code": "unavailable", "channel": "trades", "symbol": "B1-USD", "message": "no snapshot can be had now, subscribe again later"}, c.must())
	assert.EqualValues(t, 1, s.metrics.Read(apigateway.MetricUnsendable, 1).Count)
}

// noise is text that cannot be packed well.
func noise(n int) string {
	var b strings.Builder
	for x := uint64(1); b.Len() < n; x = x*6364136223846793005 + 1442695040888963407 {
		fmt.Fprintf(&b, "%c%c%c%c", 'a'+x>>60, 'A'+x>>54&15, 'a'+x>>49&15, 'A'+x>>44&15)
	}
	return b.String()[:n]
}

// A token that ends takes the private subscriptions along, at once.
func TestTokensEnd(t *testing.T) {
	s, q := queued(t)
	s.set(func(s *stand) { s.now = time.Unix(1000, 0) })
	c := s.dial()
	require.Equal(t, "1970-01-01T00:33:20Z", c.ask(`{"op":"auth","token":"7 until 2000"}`)["expires_at"])
	require.Equal(t, "subscribed", c.ask(`{"op":"subscribe","channel":"orders","symbol":"B1-USD"}`)["type"])
	require.Equal(t, "subscribed", c.ask(`{"op":"subscribe","channel":"trades","symbol":"B1-USD"}`)["type"])
	s.set(func(s *stand) { s.now = time.Unix(1999, 0) })
	s.push(1, tell(pipeline.ChannelOrders, 1, 7, 0, 1, ""))
	require.NoError(t, s.deliver(q))
	assert.Equal(t, "orders", c.must()["channel"])
	s.set(func(s *stand) { s.now = time.Unix(2000, 0) })
	s.push(2, tell(pipeline.ChannelOrders, 1, 7, 1, 2, ""), tell(pipeline.ChannelTrades, 1, 0, 0, 2, ""))
	require.NoError(t, s.deliver(q))
	assert.Equal(t, "trades", c.must()["channel"])
	assert.EqualValues(t, 1, s.metrics.Read(apigateway.MetricExpired, 1).Count)
	assert.Equal(t, "token_expired", c.ask(`{"op":"auth","token":"7 until 2000"}`)["code"])
	// Sweep says so and sends a heartbeat; then the client comes with another.
	require.NoError(t, s.deliverer.Sweep(context.Background()))
	assert.Equal(t, "token_expired", c.must()["code"])
	assert.Equal(t, map[string]any{"type": "heartbeat", "time": "1970-01-01T00:33:20Z", "seqs": map[string]any{},
		"subscriptions": []any{map[string]any{"channel": "trades", "symbol": "B1-USD", "seq": 0.0}}}, c.must())
	assert.Equal(t, "unauthorized", c.ask(`{"op":"subscribe","channel":"orders"}`)["code"])
	assert.Equal(t, "authenticated", c.ask(`{"op":"auth","token":"7 until 3000"}`)["type"])
	assert.Equal(t, "subscribed", c.ask(`{"op":"subscribe","channel":"orders"}`)["type"])
	// A token that is renewed in time prolongs what there is.
	assert.Equal(t, "authenticated", c.ask(`{"op":"auth","token":"7 until 4000"}`)["type"])
	s.set(func(s *stand) { s.now = time.Unix(3500, 0) })
	s.push(3, tell(pipeline.ChannelOrders, 1, 7, 2, 3, ""))
	require.NoError(t, s.deliver(q))
	assert.EqualValues(t, 3, c.must()["seq"])
}

// Sweep finds those who are gone, of many pages, and goes on after a failure.
func TestSweep(t *testing.T) {
	s, _ := queued(t)
	ctx := context.Background()
	c := s.dial()
	c.send(`{"op":"ping"}`)
	require.Equal(t, "pong", c.must()["type"])
	for i := range pipeline.MaxQueryRows {
		require.NoError(t, s.table.Connect(ctx, fmt.Sprintf("ghost%04d", i), apigateway.Identity{}))
	}
	s.set(func(s *stand) {
		s.fault = func(_, id string) standin.Fault {
			if id == "ghost0000" {
				return standin.Fault{Status: 403}
			}
			return standin.Fault{}
		}
	})
	require.ErrorContains(t, s.deliverer.Sweep(ctx), "closing a connection")
	assert.Equal(t, "heartbeat", c.must()["type"])
	s.connected(2)
	s.set(func(s *stand) { s.fault = nil })
	require.NoError(t, s.deliverer.Sweep(ctx))
	s.connected(1)
}
