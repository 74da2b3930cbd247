package apigateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of a Pusher.
const (
	// DefaultMarkEvery is the default of PusherConfig.MarkEvery.
	DefaultMarkEvery = 16
	// MaxNotified is of how many accounts a Pusher knows what it sent them by
	// Notify; with one more it forgets all, and may send something again.
	MaxNotified = 1 << 16
)

// The names of what a Pusher and a Deliverer measure.
const (
	MetricEnvelopes  = "push_envelopes"   // count: handed to the Sender
	MetricUnsendable = "push_unsendable"  // count: messages too large for the queue; subscribers are told to ask again
	MetricPosts      = "push_posts"       // count: messages that a connection took
	MetricMerged     = "push_merged"      // count: messages that went into a later one
	MetricGone       = "push_gone"        // count: connections found gone
	MetricDropped    = "push_slow_closed" // count: connections closed because they took nothing
	MetricExpired    = "push_expired"     // count: messages not sent because the token had ended
	MetricPosted     = "push_latency"     // duration: of delivering a batch
)

// PusherConfig is what a Pusher is made of. Instruments, Sender and Table are
// mandatory.
type PusherConfig struct {
	Instruments []*exchange.Instrument
	Sender      Sender
	Table       Table // only Pushed, SetPushed and Versions are called
	// MarkEvery is after how many journal items the Table is told how far it
	// is; 0: DefaultMarkEvery. As many are pushed again after a restart, which
	// clients ignore.
	MarkEvery int
	Now       func() time.Time // nil: time.Now
	Metrics   pipeline.Metrics
	Logger    *slog.Logger
}

// Pusher implements pipeline.Pusher: it makes queue messages of what is pushed.
// It is safe for concurrent use.
type Pusher struct {
	cfg     PusherConfig
	markets map[exchange.InstrumentID]*market

	mu       sync.Mutex
	notified map[exchange.AccountID]uint64 // the last Seq
}

var (
	_ pipeline.Pusher           = (*Pusher)(nil)
	_ pipeline.BalanceListeners = (*Pusher)(nil)
)

// market is how far an instrument is.
type market struct {
	in     *exchange.Instrument
	mu     sync.Mutex // held over a Push
	known  bool
	pushed pipeline.Position
	marked pipeline.Position // what the table has
}

// NewPusher returns a Pusher; an error when something is missing or out of its
// bounds.
func NewPusher(cfg PusherConfig) (*Pusher, error) {
	if cfg.MarkEvery == 0 {
		cfg.MarkEvery = DefaultMarkEvery
	}
	switch {
	case len(cfg.Instruments) == 0 || cfg.Sender == nil || cfg.Table == nil:
		return nil, fmt.Errorf("pusher: %w: Instruments, Sender and Table are needed", pipeline.ErrInvalid)
	case cfg.MarkEvery < 1:
		return nil, fmt.Errorf("pusher: %w: MarkEvery %d, expected 1 or more", pipeline.ErrInvalid, cfg.MarkEvery)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Metrics, cfg.Logger = orNoMetrics(cfg.Metrics), orNoLogger(cfg.Logger)
	p := &Pusher{cfg: cfg, markets: map[exchange.InstrumentID]*market{}, notified: map[exchange.AccountID]uint64{}}
	for _, in := range cfg.Instruments {
		p.markets[in.ID()] = &market{in: in}
	}
	return p, nil
}

// of returns an instrument's market, locked.
func (p *Pusher) of(ctx context.Context, inst exchange.InstrumentID) (*market, error) {
	m := p.markets[inst]
	if m == nil {
		return nil, fmt.Errorf("%w: instrument %d", exchange.UnknownInstrument, inst)
	}
	m.mu.Lock()
	if !m.known {
		pos, err := p.cfg.Table.Pushed(ctx, inst)
		if err != nil {
			m.mu.Unlock()
			return nil, fmt.Errorf("asking how far it is pushed: %w", err)
		}
		m.pushed, m.marked, m.known = pos, pos, true
	}
	return m, nil
}

// Push implements pipeline.Pusher. A message of more than EnvelopeBytes, packed,
// is left out; its subscribers are told to subscribe again.
func (p *Pusher) Push(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
	for i := range messages {
		if messages[i].Instrument != inst {
			return fmt.Errorf("pushing item %d of instrument %d: %w: message %d is of instrument %d", pos, inst, pipeline.ErrInvalid, i, messages[i].Instrument)
		}
	}
	m, err := p.of(ctx, inst)
	if err != nil {
		return fmt.Errorf("pushing item %d: %w", pos, err)
	}
	defer m.mu.Unlock()
	if pos <= m.pushed {
		return nil
	}
	if err := p.send(ctx, group(inst, 0), fmt.Sprintf("%d-%d", inst, pos), pushesOf(messages)); err != nil {
		return fmt.Errorf("pushing item %d of instrument %d: %w", pos, inst, err)
	}
	m.pushed = pos
	if pos >= m.marked+pipeline.Position(p.cfg.MarkEvery) {
		if err := p.cfg.Table.SetPushed(ctx, inst, pos); err != nil { // the next one does it
			p.cfg.Logger.WarnContext(ctx, "how far it is pushed was not kept", "instrument", inst, "position", pos, "error", err)
			return nil
		}
		m.marked = pos
	}
	return nil
}

// Pushed implements pipeline.Pusher.
func (p *Pusher) Pushed(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	m, err := p.of(ctx, inst)
	if err != nil {
		return 0, fmt.Errorf("how far it is pushed: %w", err)
	}
	defer m.mu.Unlock()
	return m.pushed, nil
}

// Flush tells the Table how far every instrument is: call it before the process
// ends.
func (p *Pusher) Flush(ctx context.Context) error {
	var errs []error
	for inst, m := range p.markets {
		m.mu.Lock()
		if m.known && m.marked < m.pushed {
			err := p.cfg.Table.SetPushed(ctx, inst, m.pushed)
			if err == nil {
				m.marked = m.pushed
			}
			errs = append(errs, err)
		}
		m.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Notify implements pipeline.Pusher.
func (p *Pusher) Notify(ctx context.Context, messages []pipeline.Push) error {
	for i := range messages {
		if messages[i].Instrument != 0 || messages[i].Account == 0 {
			return fmt.Errorf("notifying: %w: message %d is of instrument %d, expected none, and an account", pipeline.ErrInvalid, i, messages[i].Instrument)
		}
	}
	var envelopes []Envelope
	var sent []*pipeline.Push
	for i := range messages {
		m := &messages[i]
		p.mu.Lock()
		last, known := p.notified[m.Account]
		p.mu.Unlock()
		if known && m.Seq <= last {
			continue
		}
		more, err := p.envelopes(group(0, m.Account), fmt.Sprintf("balances-%d-%d", m.Account, m.Seq), pushesOf(messages[i:i+1]))
		if err != nil {
			return fmt.Errorf("notifying: %w", err)
		}
		envelopes, sent = append(envelopes, more...), append(sent, m)
	}
	if err := p.sendEnvelopes(ctx, 0, envelopes); err != nil {
		return fmt.Errorf("notifying: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range sent {
		if len(p.notified) >= MaxNotified {
			clear(p.notified)
		}
		p.notified[m.Account] = max(p.notified[m.Account], m.Seq)
	}
	return nil
}

// BalanceListeners implements pipeline.BalanceListeners.
func (p *Pusher) BalanceListeners(ctx context.Context, accounts []exchange.AccountID) ([]exchange.AccountID, error) {
	topics := make([]Topic, len(accounts))
	for i, acct := range accounts {
		topics[i] = Topic{pipeline.ChannelBalances, 0, acct}
	}
	versions, err := p.cfg.Table.Versions(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("asking who listens to balances: %w", err)
	}
	var out []exchange.AccountID
	for i, v := range versions {
		if v != 0 {
			out = append(out, accounts[i])
		}
	}
	return out, nil
}

func pushesOf(messages []pipeline.Push) []push {
	pushes := make([]push, len(messages))
	for i := range messages {
		m := &messages[i]
		pushes[i] = push{Channel: m.Channel, Instrument: m.Instrument, Account: m.Account, Seq: m.Seq, PrevSeq: m.PrevSeq, Data: m.Data}
	}
	return pushes
}

// send puts pushes into as few envelopes as they fit in, and sends them.
func (p *Pusher) send(ctx context.Context, group, id string, pushes []push) error {
	envelopes, err := p.envelopes(group, id, pushes)
	if err != nil || len(pushes) == 0 {
		return err
	}
	return p.sendEnvelopes(ctx, pushes[0].Instrument, envelopes)
}

func (p *Pusher) sendEnvelopes(ctx context.Context, inst exchange.InstrumentID, envelopes []Envelope) error {
	if len(envelopes) == 0 {
		return nil
	}
	if err := p.cfg.Sender.Send(ctx, envelopes); err != nil {
		return err
	}
	p.cfg.Metrics.Count(MetricEnvelopes, inst, int64(len(envelopes)))
	return nil
}

// envelopes puts pushes into as few as they fit in.
func (p *Pusher) envelopes(group, id string, pushes []push) ([]Envelope, error) {
	var envelopes []Envelope
	var fill func(pushes []push) error
	fill = func(pushes []push) error {
		if len(pushes) == 0 {
			return nil
		}
		body, err := encode(pushes)
		switch {
		case err == nil:
			envelopes = append(envelopes, Envelope{Group: group, DedupID: fmt.Sprintf("%s-%d", id, len(envelopes)), Body: body})
			return nil
		case !errors.Is(err, pipeline.ErrTooLarge):
			return err
		case len(pushes) > 1:
			half := len(pushes) / 2
			if err := fill(pushes[:half]); err != nil {
				return err
			}
			return fill(pushes[half:])
		}
		one := pushes[0]
		p.cfg.Metrics.Count(MetricUnsendable, one.Instrument, 1)
		p.cfg.Logger.Warn("a message is too large for the queue", "channel", one.Channel, "instrument", one.Instrument, "bytes", len(one.Data))
		one.Data = p.unavailable(one.topic())
		return fill([]push{one})
	}
	err := fill(pushes)
	return envelopes, err
}

// unavailable is what makes a client subscribe again.
func (p *Pusher) unavailable(t Topic) json.RawMessage {
	symbol := ""
	if m := p.markets[t.Instrument]; m != nil {
		symbol = m.in.Symbol()
	}
	return encodeReply(pipeline.FeedErrorReply(pipeline.FeedUnavailable, "no snapshot can be had now, subscribe again later", t.Channel, symbol))
}

// Snapshot makes the first message of a subscription, with everything that was
// committed when it was asked for, and returns the Seq it counts from. in is
// nil for ChannelBalances, acct 0 for a public channel.
type Snapshot func(ctx context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (seq uint64, data []byte, err error)

// snapshotTries is how often balances that have changed while their snapshot
// was sent are sent again.
const snapshotTries = 4

// Answer sends a snapshot to the connection that asked for it. When none can be
// made the client is told so, and subscribes again. It may be repeated: a client
// takes the last one.
func (p *Pusher) Answer(ctx context.Context, r SnapshotRequest, snapshot Snapshot) error {
	var in *exchange.Instrument
	if r.Channel != pipeline.ChannelBalances {
		m := p.markets[r.Instrument]
		if m == nil {
			return fmt.Errorf("answering with a snapshot: %w: instrument %d", exchange.UnknownInstrument, r.Instrument)
		}
		in = m.in
	}
	sent := uint64(0)
	for try := range snapshotTries {
		seq, data, err := snapshot(ctx, r.Channel, in, r.Account)
		if ctx.Err() != nil {
			return fmt.Errorf("answering with a snapshot: %w", ctx.Err())
		}
		if err != nil {
			p.cfg.Logger.WarnContext(ctx, "snapshot", "channel", r.Channel, "instrument", r.Instrument, "error", err)
			seq, data = 0, p.unavailable(Topic{r.Channel, r.Instrument, r.Account})
		}
		if try > 0 && (err != nil || seq <= sent) {
			return nil // it was the latest
		}
		one := push{Channel: r.Channel, Instrument: r.Instrument, Account: r.Account, Seq: seq, To: r.Connection, Data: data}
		id := fmt.Sprintf("answer-%s-%d", r.ID, try)
		if err := p.send(ctx, group(r.Instrument, r.Account), id, []push{one}); err != nil {
			return fmt.Errorf("answering with a snapshot: %w", err)
		}
		// Nobody holds up the Settler: balances that it has sent since the
		// snapshot was made may lie before it in the queue.
		if err != nil || r.Channel != pipeline.ChannelBalances {
			return nil
		}
		sent = seq
	}
	return nil
}

type noMetrics struct{}

func (noMetrics) Count(string, exchange.InstrumentID, int64)           {}
func (noMetrics) Gauge(string, exchange.InstrumentID, float64)         {}
func (noMetrics) Observe(string, exchange.InstrumentID, time.Duration) {}

func orNoMetrics(m pipeline.Metrics) pipeline.Metrics {
	if m == nil {
		return noMetrics{}
	}
	return m
}

func orNoLogger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

func encodeReply(r any) []byte {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // plain structs of texts and numbers
	}
	return data
}
