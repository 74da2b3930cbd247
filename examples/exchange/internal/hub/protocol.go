package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sort"
	"time"

	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/pipeline"
)

// request is a message of the client.
type request struct {
	Op      string           `json:"op"`
	Channel pipeline.Channel `json:"channel"`
	Symbol  string           `json:"symbol"`
	Seq     *uint64          `json:"seq"`
	Token   string           `json:"token"`
}

// reply is a message of the connection's own.
type reply struct {
	Type      string           `json:"type"`
	Channel   pipeline.Channel `json:"channel,omitempty"`
	Symbol    string           `json:"symbol,omitempty"`
	Resumed   bool             `json:"resumed,omitempty"`
	Code      string           `json:"code,omitempty"`
	Message   string           `json:"message,omitempty"`
	Time      string           `json:"time,omitempty"`
	ExpiresAt string           `json:"expires_at,omitempty"`
}

// beat is the heartbeat.
type beat struct {
	Type          string            `json:"type"`
	Time          string            `json:"time"`
	Seqs          map[string]uint64 `json:"seqs"`
	Subscriptions []beatSub         `json:"subscriptions"`
}

type beatSub struct {
	Channel pipeline.Channel `json:"channel"`
	Symbol  string           `json:"symbol,omitempty"`
	Seq     uint64           `json:"seq"`
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of texts and numbers
	}
	return data
}

func errorMessage(code, message string, channel pipeline.Channel, symbol string) []byte {
	return encode(reply{Type: "error", Code: code, Message: message, Channel: channel, Symbol: symbol})
}

func gapMessage(s *sub) []byte {
	return encode(reply{Type: "gap", Channel: s.key.channel, Symbol: s.market.symbol(), Code: CodeSlowReader})
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// handle answers one message of the client.
func (c *conn) handle(data []byte) {
	var req request
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(&req)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the message")
		}
	}
	if err != nil {
		c.say(errorMessage(CodeInvalidMessage, err.Error(), "", ""))
		return
	}
	switch req.Op {
	case "auth":
		c.authenticate(req.Token)
	case "subscribe", "unsubscribe":
		c.subscription(&req)
	case "ping":
		c.say(encode(reply{Type: "pong", Time: timeText(c.hub.cfg.Now())}))
	default:
		c.say(errorMessage(CodeInvalidMessage, "op: expected auth, subscribe, unsubscribe or ping", "", ""))
	}
}

func (c *conn) authenticate(token string) {
	id, err := c.hub.cfg.Verify(token)
	c.mu.Lock()
	had := c.identity.Account
	c.mu.Unlock()
	switch {
	case errors.Is(err, auth.ErrExpired):
		c.say(errorMessage(CodeTokenExpired, "the token has ended", "", ""))
		return
	case err != nil:
		c.say(errorMessage(CodeUnauthorized, "no token of this venue", "", ""))
		return
	case had != 0 && had != id.Account:
		c.say(errorMessage(CodeUnauthorized, "the connection belongs to another account, open a new one", "", ""))
		return
	}
	c.mu.Lock()
	c.identity = id
	c.mu.Unlock()
	c.say(encode(reply{Type: "authenticated", ExpiresAt: timeText(id.Expires)}))
}

// subscription subscribes or unsubscribes.
func (c *conn) subscription(req *request) {
	fail := func(code, message string) { c.say(errorMessage(code, message, req.Channel, req.Symbol)) }
	key := streamKey{channel: req.Channel}
	switch {
	case isPrivate(req.Channel):
		if key.account = c.account(); key.account == 0 {
			fail(CodeUnauthorized, "authenticate first")
			return
		}
	case !isPublic(req.Channel):
		fail(CodeUnknownChannel, "channel: expected book, trades, ticker, candles, orders or balances")
		return
	}
	markets := c.hub.ordered
	m := c.hub.symbols[req.Symbol]
	switch {
	case req.Channel == pipeline.ChannelBalances && req.Symbol != "":
		fail(CodeUnknownSymbol, "symbol: balances are of the account, expected none")
		return
	case req.Channel == pipeline.ChannelBalances:
		markets = []*market{c.hub.markets[0]}
	case m != nil:
		markets = []*market{m}
	case req.Symbol != "" || req.Channel != pipeline.ChannelOrders:
		fail(CodeUnknownSymbol, "symbol: expected that of a product")
		return
	}
	if req.Op == "unsubscribe" {
		subs := c.dropSubs(func(s *sub) bool {
			return s.key == key && (req.Symbol == "" || s.market == markets[0])
		})
		for _, s := range subs {
			s.market.remove(s)
		}
		if len(subs) == 0 {
			fail(CodeNotSubscribed, "there is no such subscription")
			return
		}
		c.say(encode(reply{Type: "unsubscribed", Channel: req.Channel, Symbol: req.Symbol}))
		return
	}
	if req.Seq != nil && len(markets) > 1 {
		fail(CodeInvalidMessage, "seq: it belongs to one symbol, and symbol says none")
		return
	}
	subs, old, ok := c.makeSubs(key, markets)
	if !ok {
		fail(CodeTooManySubscriptions, "unsubscribe from something first")
		return
	}
	for _, s := range old {
		s.market.remove(s)
	}
	for i, s := range subs {
		s.market.join(s, req.Seq, func(resumed bool) {
			if i == 0 {
				c.say(encode(reply{Type: "subscribed", Channel: req.Channel, Symbol: req.Symbol, Resumed: resumed}))
			}
		})
	}
}

// makeSubs adds subscriptions to the connection. One that was there already is
// old: it ends, and the new one begins afresh.
func (c *conn) makeSubs(key streamKey, markets []*market) (subs, old []*sub, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range markets {
		if s := c.subs[subKey{m, key}]; s != nil {
			old = append(old, s)
		}
	}
	if len(c.subs)-len(old)+len(markets) > c.hub.limits.Subscriptions {
		return nil, nil, false
	}
	for _, s := range old {
		s.ended = true
	}
	for _, m := range markets {
		s := &sub{conn: c, market: m, key: key}
		c.subs[subKey{m, key}] = s
		subs = append(subs, s)
	}
	return subs, old, true
}

// heartbeat says how far everything is that the connection is subscribed to.
func (c *conn) heartbeat() []byte {
	b := beat{Type: "heartbeat", Time: timeText(c.hub.cfg.Now()), Seqs: map[string]uint64{}, Subscriptions: []beatSub{}}
	c.mu.Lock()
	for _, s := range c.subs {
		if s.market.in != nil {
			b.Seqs[s.market.symbol()] = 0
		}
		b.Subscriptions = append(b.Subscriptions, beatSub{s.key.channel, s.market.symbol(), s.seq})
	}
	c.mu.Unlock()
	for symbol := range b.Seqs {
		b.Seqs[symbol] = c.hub.symbols[symbol].highest()
	}
	sort.Slice(b.Subscriptions, func(i, j int) bool {
		x, y := b.Subscriptions[i], b.Subscriptions[j]
		return x.Channel < y.Channel || x.Channel == y.Channel && x.Symbol < y.Symbol
	})
	return encode(b)
}
