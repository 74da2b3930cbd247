package venue

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange/examples/exchange/internal/hub"
	"github.com/coder/websocket"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listener is a client of the feed that follows the README's rules.
type listener struct {
	t  *testing.T
	ws *websocket.Conn
}

// event is any message of the feed.
type event struct {
	Type, Channel, Symbol, Code string
	Resumed                     bool
	Seq                         uint64
	PrevSeq                     uint64 `json:"prev_seq"`
	Bids, Asks                  []level
	Checksum                    uint32
	Trades                      []struct {
		ID                string `json:"trade_id"`
		Price, Size, Side string
	}
	Candles  []struct{ Start, Close, Volume string }
	Orders   []order
	Fills    []fill
	Refusals []struct {
		CommandID       string `json:"command_id"`
		Command, Reason string
	}
	Balances []struct{ Asset, Available, Held string }
	Price    string
	Volume   string `json:"volume_24h"`
	Seqs     map[string]uint64
}

func (s *stand) listen() *listener {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, strings.Replace(s.v.URL(), "http", "ws", 1)+"/ws", nil)
	require.NoError(s.t, err)
	ws.SetReadLimit(4 << 20)
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	return &listener{s.t, ws}
}

func (l *listener) send(text string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(l.t, l.ws.Write(ctx, websocket.MessageText, []byte(text)))
}

func (l *listener) read() (e event, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := l.ws.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	return e, err
}

// next returns the next message but heartbeats.
func (l *listener) next() event {
	l.t.Helper()
	for {
		e, err := l.read()
		require.NoError(l.t, err)
		if e.Type != "heartbeat" {
			return e
		}
	}
}

func (l *listener) expect(kind string) event {
	l.t.Helper()
	e := l.next()
	require.Equal(l.t, kind, e.Type, "%+v", e)
	return e
}

func (l *listener) subscribe(channel, symbol string) event {
	l.t.Helper()
	l.send(fmt.Sprintf(`{"op":"subscribe","channel":%q,"symbol":%q}`, channel, symbol))
	l.expect("subscribed")
	e := l.expect("snapshot")
	require.Equal(l.t, []string{channel, symbol}, []string{e.Channel, e.Symbol})
	return e
}

func (l *listener) login(a *as) {
	l.t.Helper()
	l.send(fmt.Sprintf(`{"op":"auth","token":%q}`, a.token))
	l.expect("authenticated")
}

// ladder is a book as a client keeps it.
type ladder struct {
	seq        uint64
	bids, asks map[string]level
}

// apply follows the rules of the README; false is a gap.
func (b *ladder) apply(e *event) bool {
	switch {
	case e.Type == "snapshot":
		*b = ladder{e.Seq, map[string]level{}, map[string]level{}}
	case e.Seq <= b.seq:
		return true
	case e.PrevSeq > b.seq:
		return false
	}
	b.seq = e.Seq
	for _, side := range []struct {
		levels []level
		into   map[string]level
	}{{e.Bids, b.bids}, {e.Asks, b.asks}} {
		for _, l := range side.levels {
			if l.Size == "0" {
				delete(side.into, l.Price)
			} else {
				side.into[l.Price] = l
			}
		}
	}
	return true
}

func sorted(levels map[string]level, best int) []level {
	out := []level{}
	for _, l := range levels {
		out = append(out, l)
	}
	slices.SortFunc(out, func(x, y level) int {
		return best * decimal.RequireFromString(x.Price).Cmp(decimal.RequireFromString(y.Price))
	})
	return out
}

func (b *ladder) checksum() uint32 {
	bids, asks := sorted(b.bids, -1), sorted(b.asks, 1)
	var text strings.Builder
	for i := range 10 {
		for _, side := range [][]level{bids, asks} {
			if i < len(side) {
				text.WriteString(side[i].Price + ":" + side[i].Size + ":")
			}
		}
	}
	return crc32.ChecksumIEEE([]byte(text.String()))
}

// A client that begins with a snapshot and applies every update has the book,
// whatever bots and others do, and through lost connections.
func TestBookFromFeed(t *testing.T) {
	s := start(t, Config{Bots: true, BotRate: 300, Seed: 5})
	var b ladder
	l := s.listen()
	first := l.subscribe("book", "BTC-USD")
	require.True(t, b.apply(&first))
	resumed, checked := 0, 0
	for n := 0; checked < 300; n++ {
		e, err := l.read()
		if err != nil || n%100 == 99 { // the connection is lost, or so it seems
			if err == nil {
				s.v.Disconnect()
				for err == nil {
					_, err = l.read()
				}
			}
			l = s.listen()
			l.send(fmt.Sprintf(`{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":%d}`, b.seq))
			if l.expect("subscribed").Resumed {
				resumed++
			}
			continue
		}
		if e.Channel != "book" || e.Type == "subscribed" {
			continue
		}
		require.True(t, b.apply(&e), "a gap: %+v after %d", e, b.seq)
		if e.Checksum != 0 {
			require.Equal(t, e.Checksum, b.checksum(), "after %d", b.seq)
			checked++
		}
	}
	assert.Positive(t, resumed)

	// The REST book of some moment is the one of the feed at that sequence.
	var rest book
	s.get("/products/BTC-USD/book?limit=1000").into(200, &rest)
	for b.seq < rest.Seq {
		e := l.next()
		require.True(t, b.apply(&e))
	}
	for b.seq != rest.Seq { // the feed was ahead: ask again
		s.get("/products/BTC-USD/book?limit=1000").into(200, &rest)
		for b.seq < rest.Seq {
			e := l.next()
			require.True(t, b.apply(&e))
		}
	}
	assert.Equal(t, rest.Bids, sorted(b.bids, -1))
	assert.Equal(t, rest.Asks, sorted(b.asks, 1))
}

func TestFeedOfTrades(t *testing.T) {
	s := start(t, Config{})
	alice, bob := s.as(1), s.as(2)
	alice.limit("sell", "60000", "1")
	bob.limit("buy", "60000", "0.1")
	l := s.listen()
	assert.Equal(t, "1", l.subscribe("trades", "BTC-USD").Trades[0].ID)
	assert.Equal(t, "60000", l.subscribe("ticker", "BTC-USD").Price)
	candles := l.subscribe("candles", "BTC-USD").Candles
	assert.Equal(t, "0.1", candles[len(candles)-1].Volume)
	bob.limit("buy", "60000", "0.2")
	got := map[string]event{}
	for len(got) < 3 {
		e := l.expect("update")
		got[e.Channel] = e
	}
	assert.Len(t, got["trades"].Trades, 1)
	assert.Equal(t, []string{"2", "60000", "0.2", "buy"}, []string{got["trades"].Trades[0].ID, got["trades"].Trades[0].Price, got["trades"].Trades[0].Size, got["trades"].Trades[0].Side})
	assert.Equal(t, []string{"60000", "0.3"}, []string{got["ticker"].Price, got["ticker"].Volume})
	var raw map[string]any
	s.get("/products/BTC-USD/ticker").into(200, &raw)
	assert.Equal(t, []any{"60000", "0.3"}, []any{raw["price"], raw["volume_24h"]})
}

func TestFeedOfOwn(t *testing.T) {
	s := start(t, Config{})
	alice, bob := s.as(1), s.as(2)
	rests := alice.limit("buy", "60000", "0.5")
	mine, theirs := s.listen(), s.listen()
	mine.login(alice)
	theirs.login(bob)
	snap := mine.subscribe("orders", "BTC-USD")
	require.Len(t, snap.Orders, 1)
	assert.Equal(t, alice.order(rests.OrderID), snap.Orders[0], "the feed and the API show the same")
	assert.Empty(t, theirs.subscribe("orders", "BTC-USD").Orders)
	balances := map[string]string{}
	keep := func(e event) {
		for _, b := range e.Balances {
			balances[b.Asset] = b.Available + " " + b.Held
		}
	}
	keep(mine.subscribe("balances", ""))
	assert.Equal(t, alice.balances(), balances)

	takes := bob.limit("sell", "60000", "0.2")
	e := theirs.expect("update")
	assert.Equal(t, []string{takes.OrderID}, ids(e.Orders))
	require.Len(t, e.Fills, 1)
	assert.Equal(t, "taker", e.Fills[0].Liquidity)
	assert.Equal(t, bob.fills("", 10), e.Fills)
	filled := false
	for want := alice.balances(); !filled || fmt.Sprint(want) != fmt.Sprint(balances); {
		e := mine.expect("update")
		keep(e)
		if e.Channel == "orders" {
			filled = true
			assert.Equal(t, []order{alice.order(rests.OrderID)}, e.Orders)
			assert.Equal(t, alice.fills("", 10), e.Fills)
		}
	}

	var refused ack
	alice.do("DELETE", "/orders/"+rests.OrderID, "").into(202, &refused)
	require.Equal(t, "canceled", refused.Status)
	alice.do("DELETE", "/orders/"+rests.OrderID, "").into(202, &refused)
	for {
		e := mine.expect("update")
		if len(e.Refusals) > 0 {
			assert.Equal(t, []string{refused.CommandID, "cancel", "unknown order"}, []string{e.Refusals[0].CommandID, e.Refusals[0].Command, e.Refusals[0].Reason})
			break
		}
	}
}

// Whoever was subscribed when the venue went down goes on with the next one:
// from where it was, when nothing came in between, else with a snapshot.
func TestFeedAfterRestart(t *testing.T) {
	s := start(t, Config{Feed: hub.Limits{Heartbeat: 10 * time.Millisecond}})
	alice := s.as(1)
	alice.limit("buy", "60000", "0.5")
	var l *listener
	var before event
	for tries := 1; ; tries++ {
		was := s.listen()
		before = was.subscribe("book", "BTC-USD")
		closed := make(chan websocket.StatusCode, 1)
		go func() {
			for {
				if _, err := was.read(); err != nil {
					closed <- websocket.CloseStatus(err)
					return
				}
			}
		}()
		s.reopen()
		assert.Equal(t, websocket.StatusGoingAway, <-closed)
		l = s.listen()
		l.send(fmt.Sprintf(`{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":%d}`, before.Seq))
		if l.expect("subscribed").Resumed {
			break
		}
		// Where everything is slow, the sweeper may have brought the time.
		require.Less(t, tries, 20, "it never goes on from where it was")
	}
	alice = s.as(1)
	l.send(`{"op":"unsubscribe","channel":"book","symbol":"BTC-USD"}`)
	for l.next().Type != "unsubscribed" {
	}
	l.send(fmt.Sprintf(`{"op":"subscribe","channel":"book","symbol":"BTC-USD","seq":%d}`, before.Seq-1))
	assert.False(t, l.expect("subscribed").Resumed)
	after := l.expect("snapshot")
	assert.Greater(t, after.Seq, before.Seq)
	assert.Equal(t, before.Bids, after.Bids)
	alice.limit("buy", "59000", "0.5")
	var b ladder
	require.True(t, b.apply(&after))
	for len(b.bids) < 2 {
		e := l.expect("update")
		require.True(t, b.apply(&e), "%+v", e)
	}
	for {
		e, err := l.read()
		require.NoError(t, err)
		if e.Type == "heartbeat" {
			assert.GreaterOrEqual(t, e.Seqs["BTC-USD"], b.seq)
			break
		}
	}
}

func TestFeedRefusesOtherOrigins(t *testing.T) {
	s := start(t, Config{})
	url := strings.Replace(s.v.URL(), "http", "ws", 1) + "/ws"
	for name, options := range map[string]*websocket.DialOptions{
		"another origin": {HTTPHeader: map[string][]string{"Origin": {"http://elsewhere.example"}}},
		"another host":   {Host: "elsewhere.example", HTTPHeader: map[string][]string{"Origin": {"http://elsewhere.example"}}},
	} {
		_, resp, err := websocket.Dial(context.Background(), url, options)
		require.Error(t, err, name)
		assert.Contains(t, []int{403, 421}, resp.StatusCode, name)
	}
	ws, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPHeader: map[string][]string{"Origin": {s.v.URL()}}})
	require.NoError(t, err)
	require.NoError(t, ws.CloseNow())
}
