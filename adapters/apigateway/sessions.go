package apigateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of a Sessions.
const (
	// RequestBytes is how long a client's message is at most.
	RequestBytes         = 4 << 10
	DefaultSubscriptions = 32
)

// ErrTokenExpired is what SessionsConfig.Verify returns of a token that was
// good and has ended.
var ErrTokenExpired = errors.New("the token has ended")

// SessionsConfig is what a Sessions is made of. Instruments, Table, Verify and
// Ask are mandatory.
type SessionsConfig struct {
	Instruments []*exchange.Instrument
	Table       Table
	// Verify checks a token. Its error is told to nobody.
	Verify func(token string) (Identity, error)
	// Ask is the queue that MarketData's notices come by: it takes the
	// SnapshotRequests.
	Ask Sender
	// Subscriptions is how many topics a connection may have; 0:
	// DefaultSubscriptions, or twice as many as there are instruments if that
	// is more; at most MaxSubscriptions.
	Subscriptions int
	Now           func() time.Time // nil: time.Now
	Logger        *slog.Logger
}

// Sessions answers clients. It is safe for concurrent use.
type Sessions struct{ cfg SessionsConfig }

// NewSessions returns a Sessions; an error when something is missing or out of
// its bounds.
func NewSessions(cfg SessionsConfig) (*Sessions, error) {
	if cfg.Subscriptions == 0 {
		cfg.Subscriptions = min(max(DefaultSubscriptions, 2*len(cfg.Instruments)), MaxSubscriptions)
	}
	switch {
	case len(cfg.Instruments) == 0 || cfg.Table == nil || cfg.Verify == nil || cfg.Ask == nil:
		return nil, fmt.Errorf("sessions: %w: Instruments, Table, Verify and Ask are needed", pipeline.ErrInvalid)
	case cfg.Subscriptions < 1 || cfg.Subscriptions > MaxSubscriptions:
		return nil, fmt.Errorf("sessions: %w: Subscriptions %d, expected 1 to %d", pipeline.ErrInvalid, cfg.Subscriptions, MaxSubscriptions)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = orNoLogger(cfg.Logger)
	return &Sessions{cfg}, nil
}

// Connect is for $connect. who is what an authorizer has found, zero when there
// is none or the client did not say. An error refuses the connection.
func (s *Sessions) Connect(ctx context.Context, connection string, who Identity) error {
	if err := s.cfg.Table.Connect(ctx, connection, who); err != nil {
		return fmt.Errorf("taking a connection: %w", err)
	}
	return nil
}

// Disconnect is for $disconnect. It may be repeated.
func (s *Sessions) Disconnect(ctx context.Context, connection string) error {
	if err := s.cfg.Table.Remove(ctx, connection); err != nil {
		return fmt.Errorf("removing a connection: %w", err)
	}
	return nil
}

// Message is for every other route. It returns the answer for the client, one
// JSON text, which the route's response carries; with an error there is none.
// pipeline.ErrNotFound: the connection is not known; it is being closed.
func (s *Sessions) Message(ctx context.Context, connection string, data []byte) ([]byte, error) {
	if len(data) > RequestBytes {
		return answer(pipeline.FeedErrorReply(pipeline.FeedInvalidMessage, fmt.Sprintf("%d bytes, expected at most %d", len(data), RequestBytes), "", ""), nil)
	}
	req, err := pipeline.ParseFeedRequest(data)
	if err != nil {
		return answer(pipeline.FeedErrorReply(pipeline.FeedInvalidMessage, err.Error(), "", ""), nil)
	}
	switch req.Op {
	case "ping":
		return answer(pipeline.FeedReply{Type: "pong", Time: timeText(s.cfg.Now())}, nil)
	case "auth":
		return answer(s.authenticate(ctx, connection, req.Token))
	case "subscribe":
		return answer(s.subscribe(ctx, connection, &req))
	case "unsubscribe":
		return answer(s.unsubscribe(ctx, connection, &req))
	}
	return answer(pipeline.FeedErrorReply(pipeline.FeedInvalidMessage, "op: expected auth, subscribe, unsubscribe or ping", "", ""), nil)
}

func answer(reply pipeline.FeedReply, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("answering a client: %w", err)
	}
	return encodeReply(reply), nil
}

func (s *Sessions) authenticate(ctx context.Context, connection, token string) (pipeline.FeedReply, error) {
	who, err := s.cfg.Verify(token)
	switch {
	case errors.Is(err, ErrTokenExpired):
		return pipeline.FeedErrorReply(pipeline.FeedTokenExpired, "the token has ended", "", ""), nil
	case err != nil || who.Account == 0:
		return pipeline.FeedErrorReply(pipeline.FeedUnauthorized, "no token of this venue", "", ""), nil
	}
	err = s.cfg.Table.Identify(ctx, connection, who)
	if errors.Is(err, pipeline.ErrConflict) {
		return pipeline.FeedErrorReply(pipeline.FeedUnauthorized, "the connection belongs to another account, open a new one", "", ""), nil
	}
	reply := pipeline.FeedReply{Type: "authenticated"}
	if !who.Expires.IsZero() {
		reply.ExpiresAt = timeText(who.Expires)
	}
	return reply, err
}

// account returns who a connection belongs to now.
func (s *Sessions) account(ctx context.Context, connection string) (exchange.AccountID, error) {
	c, err := s.cfg.Table.Connection(ctx, connection)
	if err != nil || !c.Expires.IsZero() && !s.cfg.Now().Before(c.Expires) {
		return 0, err
	}
	return c.Account, nil
}

// topics returns what a request is about, or the reply it is answered with.
func (s *Sessions) topics(ctx context.Context, connection string, req *pipeline.FeedRequest) ([]Topic, *pipeline.FeedReply, error) {
	var acct exchange.AccountID
	if req.Channel.Private() {
		var err error
		if acct, err = s.account(ctx, connection); err != nil {
			return nil, nil, err
		}
	}
	to, refused := pipeline.FeedTargetOf(req, acct, s.cfg.Instruments)
	if refused != nil {
		return nil, refused, nil
	}
	if to.Channel == pipeline.ChannelBalances {
		return []Topic{{to.Channel, 0, to.Account}}, nil, nil
	}
	topics := make([]Topic, len(to.Instruments))
	for i, in := range to.Instruments {
		topics[i] = Topic{to.Channel, in.ID(), to.Account}
	}
	return topics, nil, nil
}

func (s *Sessions) subscribe(ctx context.Context, connection string, req *pipeline.FeedRequest) (pipeline.FeedReply, error) {
	topics, refused, err := s.topics(ctx, connection, req)
	if err != nil || refused != nil {
		return orZero(refused), err
	}
	err = s.cfg.Table.Subscribe(ctx, connection, topics, s.cfg.Subscriptions)
	switch {
	case errors.Is(err, pipeline.ErrFull):
		return pipeline.FeedErrorReply(pipeline.FeedTooManySubscriptions, "unsubscribe from something first", req.Channel, req.Symbol), nil
	case err != nil:
		return pipeline.FeedReply{}, err
	}
	envelopes := make([]Envelope, len(topics))
	for i, t := range topics {
		envelopes[i] = SnapshotRequest{ID: newID(), Connection: connection, Channel: t.Channel, Instrument: t.Instrument, Account: t.Account}.Envelope()
	}
	if err := s.cfg.Ask.Send(ctx, envelopes); err != nil {
		s.cfg.Logger.WarnContext(ctx, "a snapshot could not be asked for", "channel", req.Channel, "symbol", req.Symbol, "error", err)
		if _, err := s.cfg.Table.Unsubscribe(ctx, connection, topics); err != nil {
			return pipeline.FeedReply{}, err
		}
		return pipeline.FeedErrorReply(pipeline.FeedUnavailable, "no snapshot can be had now, subscribe again later", req.Channel, req.Symbol), nil
	}
	return pipeline.FeedReply{Type: "subscribed", Channel: req.Channel, Symbol: req.Symbol}, nil
}

func (s *Sessions) unsubscribe(ctx context.Context, connection string, req *pipeline.FeedRequest) (pipeline.FeedReply, error) {
	topics, refused, err := s.topics(ctx, connection, req)
	if err != nil || refused != nil {
		return orZero(refused), err
	}
	n, err := s.cfg.Table.Unsubscribe(ctx, connection, topics)
	if err == nil && n == 0 {
		return pipeline.FeedErrorReply(pipeline.FeedNotSubscribed, "there is no such subscription", req.Channel, req.Symbol), nil
	}
	return pipeline.FeedReply{Type: "unsubscribed", Channel: req.Channel, Symbol: req.Symbol}, err
}

func orZero(r *pipeline.FeedReply) pipeline.FeedReply {
	if r == nil {
		return pipeline.FeedReply{}
	}
	return *r
}
