package hub

import (
	"encoding/json"
	"errors"
	"sort"
	"time"

	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/pipeline"
)

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of texts and numbers
	}
	return data
}

func errorMessage(code, message string, channel pipeline.Channel, symbol string) []byte {
	return encode(pipeline.FeedErrorReply(code, message, channel, symbol))
}

func gapMessage(s *sub) []byte {
	return encode(pipeline.FeedReply{Type: "gap", Channel: s.key.channel, Symbol: s.market.symbol(), Code: pipeline.FeedSlowReader})
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// handle answers one message of the client.
func (c *conn) handle(data []byte) {
	req, err := pipeline.ParseFeedRequest(data)
	if err != nil {
		c.say(errorMessage(pipeline.FeedInvalidMessage, err.Error(), "", ""))
		return
	}
	switch req.Op {
	case "auth":
		c.authenticate(req.Token)
	case "subscribe", "unsubscribe":
		c.subscription(&req)
	case "ping":
		c.say(encode(pipeline.FeedReply{Type: "pong", Time: timeText(c.hub.cfg.Now())}))
	default:
		c.say(errorMessage(pipeline.FeedInvalidMessage, "op: expected auth, subscribe, unsubscribe or ping", "", ""))
	}
}

func (c *conn) authenticate(token string) {
	id, err := c.hub.cfg.Verify(token)
	c.mu.Lock()
	had := c.identity.Account
	c.mu.Unlock()
	switch {
	case errors.Is(err, auth.ErrExpired):
		c.say(errorMessage(pipeline.FeedTokenExpired, "the token has ended", "", ""))
		return
	case err != nil:
		c.say(errorMessage(pipeline.FeedUnauthorized, "no token of this venue", "", ""))
		return
	case had != 0 && had != id.Account:
		c.say(errorMessage(pipeline.FeedUnauthorized, "the connection belongs to another account, open a new one", "", ""))
		return
	}
	c.mu.Lock()
	c.identity = id
	c.mu.Unlock()
	c.say(encode(pipeline.FeedReply{Type: "authenticated", ExpiresAt: timeText(id.Expires)}))
}

// subscription subscribes or unsubscribes.
func (c *conn) subscription(req *pipeline.FeedRequest) {
	fail := func(code, message string) { c.say(errorMessage(code, message, req.Channel, req.Symbol)) }
	to, refused := pipeline.FeedTargetOf(req, c.account(), c.hub.cfg.Instruments)
	if refused != nil {
		c.say(encode(*refused))
		return
	}
	key := streamKey{to.Channel, to.Account}
	markets := []*market{c.hub.markets[0]}
	if to.Channel != pipeline.ChannelBalances {
		markets = markets[:0]
		for _, in := range to.Instruments {
			markets = append(markets, c.hub.markets[in.ID()])
		}
	}
	if req.Op == "unsubscribe" {
		subs := c.dropSubs(func(s *sub) bool {
			return s.key == key && (req.Symbol == "" || s.market == markets[0])
		})
		for _, s := range subs {
			s.market.remove(s)
		}
		if len(subs) == 0 {
			fail(pipeline.FeedNotSubscribed, "there is no such subscription")
			return
		}
		c.say(encode(pipeline.FeedReply{Type: "unsubscribed", Channel: req.Channel, Symbol: req.Symbol}))
		return
	}
	subs, old, ok := c.makeSubs(key, markets)
	if !ok {
		fail(pipeline.FeedTooManySubscriptions, "unsubscribe from something first")
		return
	}
	for _, s := range old {
		s.market.remove(s)
	}
	for i, s := range subs {
		s.market.join(s, req.Seq, func(resumed bool) {
			if i == 0 {
				c.say(encode(pipeline.FeedReply{Type: "subscribed", Channel: req.Channel, Symbol: req.Symbol, Resumed: resumed}))
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
	b := pipeline.FeedHeartbeat{Type: "heartbeat", Time: timeText(c.hub.cfg.Now()), Seqs: map[string]uint64{}, Subscriptions: []pipeline.FeedSubscription{}}
	c.mu.Lock()
	for _, s := range c.subs {
		if s.market.in != nil {
			b.Seqs[s.market.symbol()] = 0
		}
		b.Subscriptions = append(b.Subscriptions, pipeline.FeedSubscription{Channel: s.key.channel, Symbol: s.market.symbol(), Seq: s.seq})
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
