package hub

import (
	"fmt"
	"testing"
	"time"

	"github.com/castlecloud/exchange/pipeline"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stuck waits until the hub's writer to a client that does not read is stuck
// with one message, and the queue is empty.
func (s *stand) stuck(c *client) {
	s.t.Helper()
	s.push(pipeline.ChannelTrades, 1, 0, 0)
	require.Eventually(s.t, func() bool { return s.queued() == 0 }, patience, time.Millisecond)
}

// queued is how much waits in the one connection of the stand.
func (s *stand) queued() (n int) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for c := range s.hub.conns {
		c.mu.Lock()
		n += len(c.queue)
		c.mu.Unlock()
	}
	return n
}

// A reader who falls behind by one message too many loses what was queued, is
// told so, and gets a fresh snapshot; what was never thrown away still comes.
func TestSlowReaderIsConflated(t *testing.T) {
	const pad = 1000
	const size = pad + len(`{"type":"update","channel":"book","symbol":"BTC-USD","seq":1,"prev_seq":0,"account":0,"pad":""}`)
	for _, tc := range []struct {
		name   string
		limits Limits
		pad    int
	}{
		{"by messages", Limits{QueueMessages: 5}, 0},
		{"by bytes", Limits{QueueBytes: 5 * size}, pad},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t, tc.limits)
			c := s.dial()
			c.subscribe("trades", "BTC-USD")
			c.subscribe("book", "BTC-USD")
			c.subscribe("book", "ETH-USD")
			s.stuck(c)
			for range 5 {
				s.push(pipeline.ChannelBook, 1, 0, tc.pad)
			}
			require.Equal(t, 5, s.queued())
			s.push(pipeline.ChannelBook, 2, 0, tc.pad) // one too many
			require.Equal(t, 2, s.queued(), "a snapshot of each")
			assert.EqualValues(t, 1, s.count(MetricConflated))
			s.push(pipeline.ChannelBook, 1, 0, tc.pad) // the snapshot will have it
			require.Equal(t, 2, s.queued())

			assert.Equal(t, "trades", c.expect("update").Channel)
			for _, want := range []struct {
				symbol string
				seq    uint64
			}{{"BTC-USD", 6}, {"ETH-USD", 1}} {
				gap := c.expect("gap")
				assert.Equal(t, []string{"book", want.symbol, pipeline.FeedSlowReader}, []string{gap.Channel, gap.Symbol, gap.Code})
				snap := c.expect("snapshot")
				assert.Equal(t, []any{want.symbol, want.seq}, []any{snap.Symbol, snap.Seq})
			}
			s.push(pipeline.ChannelBook, 1, 0, 0)
			s.push(pipeline.ChannelTrades, 1, 0, 0)
			assert.EqualValues(t, 7, c.expect("update").Seq)
			assert.Equal(t, "trades", c.expect("update").Channel)
		})
	}
}

// Of what is whole in every message only the latest waits.
func TestTickerIsReplaced(t *testing.T) {
	s := newStand(t, Limits{QueueMessages: 5})
	c := s.dial()
	c.subscribe("trades", "BTC-USD")
	c.subscribe("ticker", "BTC-USD")
	s.stuck(c)
	for i := range 100 {
		s.push(pipeline.ChannelTicker, 1, 0, i)
	}
	require.Equal(t, 1, s.queued())
	c.expect("update")
	m := c.expect("update")
	assert.EqualValues(t, 100, m.Seq)
	assert.Len(t, m.Pad, 99)
	assert.Zero(t, s.count(MetricConflated))
	s.hub.mu.Lock()
	for conn := range s.hub.conns {
		assert.Zero(t, conn.bytes)
	}
	s.hub.mu.Unlock()
}

func TestSlowReaderIsDropped(t *testing.T) {
	s := newStand(t, Limits{QueueMessages: 2, Conflations: 3})
	slow := s.dial()
	slow.subscribe("trades", "BTC-USD")
	slow.subscribe("book", "BTC-USD")
	fast := s.dial()
	fast.subscribe("book", "ETH-USD")
	conflate := func() {
		s.stuck(slow)
		for range 3 {
			s.push(pipeline.ChannelBook, 1, 0, 0)
		}
	}
	conflate()
	assert.Equal(t, "trades", slow.expect("update").Channel)
	slow.expect("gap")
	slow.expect("snapshot")
	s.advance(ConflationSpan - 1)
	conflate()
	slow.expect("update")
	slow.expect("gap")
	slow.expect("snapshot")
	s.advance(1) // the first does not count any more
	conflate()
	slow.expect("update")
	slow.expect("gap")
	slow.expect("snapshot")
	s.advance(ConflationSpan - 2)
	conflate() // the third within the span
	code, reason := slow.closed()
	assert.Equal(t, websocket.StatusPolicyViolation, code)
	assert.Equal(t, pipeline.FeedSlowReader, reason)
	assert.EqualValues(t, 1, s.count(MetricDropped))
	s.push(pipeline.ChannelBook, 2, 0, 0)
	assert.EqualValues(t, 1, fast.expect("update").Seq, "nobody else is concerned")
}

// One who takes no message at all is gone once the write has taken too long.
func TestWriteTimeout(t *testing.T) {
	s := newStand(t, Limits{WriteTimeout: time.Millisecond, Heartbeat: time.Millisecond})
	s.dial()
	require.Eventually(t, func() bool { return s.hub.Connections() == 0 }, patience, time.Millisecond)
	assert.EqualValues(t, 1, s.count(MetricDropped))
}

func TestPingTimeout(t *testing.T) {
	s := newStand(t, Limits{Ping: time.Millisecond, PongTimeout: time.Millisecond})
	s.dial() // reads nothing, so answers nothing
	require.Eventually(t, func() bool { return s.hub.Connections() == 0 }, patience, time.Millisecond)
	assert.EqualValues(t, 1, s.count(MetricDropped))
}

// One who asks and never reads the answers is dropped as well.
func TestUnreadAnswers(t *testing.T) {
	s := newStand(t, Limits{QueueMessages: 3, MessageRate: 1000})
	c := s.dial()
	for range 5 { // one is being written, three wait
		c.send(`{"op":"ping"}`)
	}
	require.Eventually(t, func() bool { return s.count(MetricDropped) == 1 }, patience, time.Millisecond)
	code, reason := c.closed()
	assert.Equal(t, websocket.StatusPolicyViolation, code)
	assert.Equal(t, pipeline.FeedSlowReader, reason)
}

func TestResume(t *testing.T) {
	s := newStand(t, Limits{RingMessages: 4})
	resume := func(c *client, seq uint64) message {
		c.send(fmt.Sprintf(`{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":%d}`, seq))
		return c.expect("subscribed")
	}
	c := s.dial()
	assert.True(t, resume(c, 0).Resumed, "nothing has been pushed, nothing is missed")
	for range 10 {
		s.push(pipeline.ChannelBook, 1, 0, 0)
		c.expect("update")
	}
	for _, tc := range []struct {
		seq     uint64
		resumed bool
	}{{10, true}, {9, true}, {6, true}, {5, false}, {0, false}, {11, false}, {1 << 63, false}} {
		c := s.dial()
		got := resume(c, tc.seq)
		require.Equal(t, tc.resumed, got.Resumed, "from %d", tc.seq)
		if !tc.resumed {
			assert.EqualValues(t, 10, c.expect("snapshot").Seq)
		}
		for want := tc.seq + 1; tc.resumed && want <= 10; want++ {
			assert.Equal(t, want, c.expect("update").Seq)
		}
		c.send(`{"op":"ping"}`)
		c.expect("pong")
	}
	c = s.dial()
	resume(c, 10)
	s.push(pipeline.ChannelBook, 1, 0, 0)
	m := c.expect("update")
	assert.Equal(t, []uint64{11, 10}, []uint64{m.Seq, m.PrevSeq})
}

// An account's messages are kept for a while after it has gone; before it came
// nobody kept them.
func TestResumePrivate(t *testing.T) {
	s := newStand(t, Limits{IdleStreams: 1})
	resume := func(acct int, seq uint64) (*client, bool) {
		c := s.dial()
		c.login(acct)
		c.send(fmt.Sprintf(`{"op":"subscribe","channel":"orders","symbol":"BTC-USD","seq":%d}`, seq))
		return c, c.expect("subscribed").Resumed
	}
	leave := func(c *client) {
		before := s.hub.Connections()
		_ = c.ws.Close(websocket.StatusNormalClosure, "") // whether or not it has the answer in time
		require.Eventually(t, func() bool { return s.hub.Connections() == before-1 }, patience, time.Millisecond)
	}
	s.push(pipeline.ChannelOrders, 1, 7, 0)
	c, ok := resume(7, 1)
	require.False(t, ok, "what came before is not known")
	assert.EqualValues(t, 1, c.expect("snapshot").Seq)
	s.push(pipeline.ChannelOrders, 1, 7, 0)
	assert.EqualValues(t, 2, c.expect("update").Seq)
	leave(c)
	assert.True(t, s.hub.Listening(pipeline.ChannelOrders, 1, 7))
	s.push(pipeline.ChannelOrders, 1, 7, 0)
	c, ok = resume(7, 2)
	require.True(t, ok)
	assert.EqualValues(t, 3, c.expect("update").Seq)
	leave(c)
	c, _ = resume(8, 0)
	c.expect("snapshot")
	leave(c)
	assert.False(t, s.hub.Listening(pipeline.ChannelOrders, 1, 7), "one idle stream is kept")
	assert.True(t, s.hub.Listening(pipeline.ChannelOrders, 1, 8))
	_, ok = resume(7, 3)
	assert.False(t, ok)
}
