package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/castlecloud/exchange"
)

// What a client and its connection say to each other besides the feed's own
// messages: one protocol, whatever brings it to the client.

// Codes of errors and closings of a feed. They are part of the API.
const (
	FeedInvalidMessage       = "invalid_message"
	FeedUnknownChannel       = "unknown_channel"
	FeedUnknownSymbol        = "unknown_symbol"
	FeedUnauthorized         = "unauthorized"
	FeedTokenExpired         = "token_expired"
	FeedNotSubscribed        = "not_subscribed"
	FeedTooManySubscriptions = "too_many_subscriptions"
	FeedRateLimited          = "rate_limited"
	FeedSlowReader           = "slow_reader"
	FeedUnavailable          = "unavailable"
	FeedGoingAway            = "going_away"
)

// FeedRequest is a message of the client.
type FeedRequest struct {
	Op      string  `json:"op"` // auth, subscribe, unsubscribe, ping
	Channel Channel `json:"channel"`
	Symbol  string  `json:"symbol"`
	Seq     *uint64 `json:"seq"` // subscribe: the last one seen, to go on from
	Token   string  `json:"token"`
}

// FeedReply is a message of the connection's own.
type FeedReply struct {
	Type      string  `json:"type"` // authenticated, subscribed, unsubscribed, pong, gap, error
	Channel   Channel `json:"channel,omitempty"`
	Symbol    string  `json:"symbol,omitempty"`
	Resumed   bool    `json:"resumed,omitempty"`
	Code      string  `json:"code,omitempty"`
	Message   string  `json:"message,omitempty"`
	Time      string  `json:"time,omitempty"`
	ExpiresAt string  `json:"expires_at,omitempty"`
}

// FeedHeartbeat says that the connection lives, and how far everything is that
// it is subscribed to.
type FeedHeartbeat struct {
	Type          string             `json:"type"` // heartbeat
	Time          string             `json:"time"`
	Seqs          map[string]uint64  `json:"seqs"` // by symbol: how far the feed is
	Subscriptions []FeedSubscription `json:"subscriptions"`
}

// FeedSubscription is one subscription. Seq is that of the last message sent;
// 0: not known.
type FeedSubscription struct {
	Channel Channel `json:"channel"`
	Symbol  string  `json:"symbol,omitempty"`
	Seq     uint64  `json:"seq"`
}

// FeedPart is a piece of a message that is too long for one. The message is the
// Data of all parts with its ID, put together in order; nothing of it counts
// before all are there. Parts of one message come in order.
type FeedPart struct {
	Type  string `json:"type"` // part
	ID    string `json:"id"`   // no two messages of a connection have the same at a time
	Part  int    `json:"part"` // 1 to Parts
	Parts int    `json:"parts"`
	Data  string `json:"data"`
}

// ErrFeedRequest is what ParseFeedRequest returns besides its words.
var ErrFeedRequest = errors.New("no message of the feed")

// ParseFeedRequest reads a client's message: one JSON object without unknown
// members. Its fields are not looked at.
func ParseFeedRequest(data []byte) (FeedRequest, error) {
	var req FeedRequest
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(&req)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the message")
		}
	}
	if err != nil {
		return FeedRequest{}, fmt.Errorf("%w: %w", ErrFeedRequest, err)
	}
	return req, nil
}

// Private reports whether only an account's own connections get a channel.
func (c Channel) Private() bool { return c == ChannelOrders || c == ChannelBalances }

// Valid reports whether c is a channel.
func (c Channel) Valid() bool {
	switch c {
	case ChannelBook, ChannelTrades, ChannelTicker, ChannelCandles, ChannelOrders, ChannelBalances:
		return true
	}
	return false
}

// Whole reports whether every message of a channel says everything, so that
// only the latest counts.
func (c Channel) Whole() bool { return c == ChannelTicker || c == ChannelBalances }

// FeedErrorReply returns what a client is told of an error.
func FeedErrorReply(code, message string, channel Channel, symbol string) FeedReply {
	return FeedReply{Type: "error", Code: code, Message: message, Channel: channel, Symbol: symbol}
}

// MinFeedPart is the least that CutFeed is asked for, in bytes.
const MinFeedPart = 512

// CutFeed returns a message as it is when it has at most limit bytes, else as
// FeedParts of at most limit bytes each (MinFeedPart or more). The message is
// JSON, so that it is text; id is at most 128 bytes.
func CutFeed(message []byte, id string, limit int) ([][]byte, error) {
	switch {
	case limit < MinFeedPart:
		return nil, fmt.Errorf("cutting a message: %w: limit %d, expected %d or more", ErrInvalid, limit, MinFeedPart)
	case len(message) <= limit:
		return [][]byte{message}, nil
	case len(id) > 128:
		return nil, fmt.Errorf("cutting a message: %w: id of %d bytes, expected at most 128", ErrInvalid, len(id))
	case !utf8.Valid(message):
		return nil, fmt.Errorf("cutting a message: %w: it is no text", ErrInvalid)
	}
	part := FeedPart{Type: "part", ID: id, Part: 1 << 30, Parts: 1 << 30}
	room := limit - len(encodeFeed(&part))
	var texts []string
	for rest := message; len(rest) > 0; {
		n, cost := 0, 0
		for n < len(rest) {
			r, size := utf8.DecodeRune(rest[n:])
			c := size
			switch {
			case r == '"' || r == '\\':
				c = 2
			case r < ' ' || r == '\u2028' || r == '\u2029' || r == 0x7f:
				c = 6
			}
			if cost+c > room {
				break
			}
			n, cost = n+size, cost+c
		}
		if n == 0 { // the id leaves no room, which its bound rules out
			return nil, fmt.Errorf("cutting a message: %w: no room in %d bytes", ErrInvalid, limit)
		}
		texts = append(texts, string(rest[:n]))
		rest = rest[n:]
	}
	out := make([][]byte, len(texts))
	for i, text := range texts {
		out[i] = encodeFeed(&FeedPart{Type: "part", ID: id, Part: i + 1, Parts: len(texts), Data: text})
	}
	return out, nil
}

// encodeFeed is JSON without the escapes that HTML needs.
func encodeFeed(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // plain structs of texts and numbers
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// Bounds of a FeedJoiner.
const (
	MaxFeedParts    = 1024     // of a message
	MaxFeedJoining  = 16       // messages at a time; with one more the oldest is forgotten
	MaxFeedJoinSize = 16 << 20 // bytes of a message
)

// FeedJoiner puts FeedParts together, for a client. It is not safe for
// concurrent use.
type FeedJoiner struct {
	open []*joining // oldest first
}

type joining struct {
	id    string
	parts int
	next  int
	text  []byte
}

// Join takes a message of the feed and returns what it is: itself, or, of the
// last part, the whole; nil for another part. ErrEncoding: a part that follows
// from none before it; then the message is lost, which shows as a gap.
func (j *FeedJoiner) Join(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte(`{"type":"part",`)) {
		return data, nil
	}
	var p FeedPart
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("joining parts: %w: %w", ErrEncoding, err)
	}
	if p.Parts < 1 || p.Parts > MaxFeedParts || p.Part < 1 || p.Part > p.Parts {
		return nil, fmt.Errorf("joining parts: %w: part %d of %d, expected at most %d", ErrEncoding, p.Part, p.Parts, MaxFeedParts)
	}
	at := -1
	for i, o := range j.open {
		if o.id == p.ID {
			at = i
		}
	}
	if p.Part == 1 { // again, perhaps: it begins afresh
		if at >= 0 {
			j.forget(at)
		}
		if len(j.open) == MaxFeedJoining {
			j.forget(0)
		}
		j.open = append(j.open, &joining{id: p.ID, parts: p.Parts, next: 1})
		at = len(j.open) - 1
	}
	if at < 0 {
		return nil, fmt.Errorf("joining parts: %w: part %d of %q without the one before", ErrEncoding, p.Part, p.ID)
	}
	o := j.open[at]
	if o.parts != p.Parts || o.next != p.Part || len(o.text)+len(p.Data) > MaxFeedJoinSize {
		j.forget(at)
		return nil, fmt.Errorf("joining parts: %w: part %d of %d of %q, expected %d of %d, at most %d bytes in all", ErrEncoding, p.Part, p.Parts, p.ID, o.next, o.parts, MaxFeedJoinSize)
	}
	o.text, o.next = append(o.text, p.Data...), o.next+1
	if o.next <= o.parts {
		return nil, nil
	}
	j.forget(at)
	return o.text, nil
}

func (j *FeedJoiner) forget(i int) { j.open = append(j.open[:i], j.open[i+1:]...) }

// FeedTarget is what a subscription is to: the channel and, of each instrument
// it means, a sequence.
type FeedTarget struct {
	Channel     Channel
	Account     exchange.AccountID     // 0: public
	Instruments []*exchange.Instrument // none for ChannelBalances
}

// FeedTargetOf returns what a request to subscribe or unsubscribe means, of a
// client with an account (0: none), or the error it is answered with.
func FeedTargetOf(req *FeedRequest, acct exchange.AccountID, instruments []*exchange.Instrument) (FeedTarget, *FeedReply) {
	fail := func(code, message string) (FeedTarget, *FeedReply) {
		reply := FeedErrorReply(code, message, req.Channel, req.Symbol)
		return FeedTarget{}, &reply
	}
	to := FeedTarget{Channel: req.Channel}
	switch {
	case !req.Channel.Valid():
		return fail(FeedUnknownChannel, "channel: expected book, trades, ticker, candles, orders or balances")
	case req.Channel.Private() && acct == 0:
		return fail(FeedUnauthorized, "authenticate first")
	case req.Channel.Private():
		to.Account = acct
	}
	if req.Channel == ChannelBalances {
		if req.Symbol != "" {
			return fail(FeedUnknownSymbol, "symbol: balances are of the account, expected none")
		}
		return to, nil
	}
	if req.Symbol == "" && req.Channel == ChannelOrders {
		to.Instruments = instruments
		if req.Seq != nil && len(instruments) > 1 {
			return fail(FeedInvalidMessage, "seq: it belongs to one symbol, and symbol says none")
		}
		return to, nil
	}
	for _, in := range instruments {
		if in.Symbol() == req.Symbol {
			to.Instruments = []*exchange.Instrument{in}
			return to, nil
		}
	}
	return fail(FeedUnknownSymbol, "symbol: expected that of a product")
}
