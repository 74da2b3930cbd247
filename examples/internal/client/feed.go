package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/castlecloud/exchange/pipeline"
	"github.com/coder/websocket"
)

// MaxFeedBytes is the longest message of the feed that is read.
const MaxFeedBytes = 16 << 20

// Feed is a connection to the venue's WebSocket. One goroutine may read and
// another write.
type Feed struct {
	conn  *websocket.Conn
	buf   bytes.Buffer
	parts pipeline.FeedJoiner
}

// Dial opens a connection to the feed.
func (c *Client) Dial(ctx context.Context) (*Feed, error) {
	conn, _, err := websocket.Dial(ctx, c.base+"/ws", &websocket.DialOptions{HTTPClient: c.feed})
	if err != nil {
		return nil, fmt.Errorf("opening the feed: %w: %w", ErrNoAnswer, err)
	}
	conn.SetReadLimit(MaxFeedBytes)
	return &Feed{conn: conn}, nil
}

// Close ends the connection; a Read that waits returns an error.
func (f *Feed) Close() { _ = f.conn.CloseNow() }

// Message is the head of every message of the feed, and what the venue says of
// a connection's own.
type Message struct {
	Type    string           `json:"type"`
	Channel pipeline.Channel `json:"channel"`
	Symbol  string           `json:"symbol"`
	Code    string           `json:"code"`
	Message string           `json:"message"`
}

// Send sends one message: {"op": ...}.
func (f *Feed) Send(ctx context.Context, message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding a message to the feed: %w", err)
	}
	if err := f.conn.Write(ctx, websocket.MessageText, data); err != nil {
		return fmt.Errorf("writing to the feed: %w", err)
	}
	return nil
}

// Auth says who is reading, and waits until the venue has agreed. Call it
// before anything is subscribed to.
func (f *Feed) Auth(ctx context.Context, token string) error {
	return f.ask(ctx, map[string]string{"op": "auth", "token": token}, "authenticated")
}

// Subscribe asks for a channel, of one symbol or, for a private one, of all
// (""), and waits for the answer. Messages of other subscriptions that come
// before it are lost: do it before they matter.
func (f *Feed) Subscribe(ctx context.Context, channel pipeline.Channel, symbol string) error {
	return f.ask(ctx, map[string]string{"op": "subscribe", "channel": string(channel), "symbol": symbol}, "subscribed")
}

func (f *Feed) ask(ctx context.Context, message map[string]string, want string) error {
	if err := f.Send(ctx, message); err != nil {
		return err
	}
	for {
		data, err := f.Read(ctx)
		if err != nil {
			return err
		}
		var m Message
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("reading the feed: %w", err)
		}
		switch m.Type {
		case want:
			return nil
		case "error":
			return fmt.Errorf("the feed refused %s %s %s: %s: %s", message["op"], message["channel"], message["symbol"], m.Code, m.Message)
		}
	}
}

// Read waits for a message. It is good until the next Read.
func (f *Feed) Read(ctx context.Context) ([]byte, error) {
	for {
		_, r, err := f.conn.Reader(ctx)
		if err == nil {
			f.buf.Reset()
			_, err = f.buf.ReadFrom(r)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the feed: %w", err)
		}
		data, err := f.parts.Join(f.buf.Bytes())
		if err != nil {
			return nil, fmt.Errorf("reading the feed: %w", err)
		}
		if data != nil {
			return data, nil
		}
	}
}
