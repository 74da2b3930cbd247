package apigateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi/types"
	"golang.org/x/sync/errgroup"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of a Deliverer.
const (
	// FrameBytes is the most that is posted at once; what is longer is cut.
	FrameBytes      = 32 << 10
	DefaultParallel = 32
	MaxParallel     = 1024
	DefaultTimeout  = 2 * time.Second
	DefaultMerge    = 1
	// knownTopics is of how many topics a Deliverer remembers who has
	// subscribed; with one more it forgets them all.
	knownTopics = 1 << 12
)

// Posting is what a Deliverer needs of API Gateway:
// *apigatewaymanagementapi.Client has it. Its BaseEndpoint is that of the
// stage, https://ID.execute-api.REGION.amazonaws.com/STAGE, and its retries
// count within DelivererConfig.Timeout.
type Posting interface {
	PostToConnection(ctx context.Context, in *api.PostToConnectionInput, options ...func(*api.Options)) (*api.PostToConnectionOutput, error)
	DeleteConnection(ctx context.Context, in *api.DeleteConnectionInput, options ...func(*api.Options)) (*api.DeleteConnectionOutput, error)
}

// DelivererConfig is what a Deliverer is made of. Table and API are mandatory.
type DelivererConfig struct {
	Instruments []*exchange.Instrument // for Sweep, which names symbols
	Table       Table
	API         Posting
	// Parallel is how many connections are posted to at the same time, of all
	// calls of Deliver together when one is made after the other; 0:
	// DefaultParallel, at most MaxParallel.
	Parallel int
	// Timeout is how long a connection may take for one message, retries
	// included; then it is closed. 0: DefaultTimeout.
	Timeout time.Duration
	// Merge is how many messages of one topic in one call of Deliver are
	// posted as they are; when there are more they become one. 0: DefaultMerge.
	Merge   int
	Now     func() time.Time // nil: time.Now
	Metrics pipeline.Metrics
	Logger  *slog.Logger
}

// Deliverer brings queue messages to the connections that have subscribed. It
// is safe for concurrent use; what is of one group comes in one call at a time.
type Deliverer struct {
	cfg     DelivererConfig
	symbols map[exchange.InstrumentID]string

	mu    sync.Mutex
	known map[Topic]known
}

// known is who has subscribed to a topic, as of a version.
type known struct {
	version     uint64
	at          time.Time // when the version was read
	subscribers []Subscriber
}

// NewDeliverer returns a Deliverer; an error when something is missing or out
// of its bounds.
func NewDeliverer(cfg DelivererConfig) (*Deliverer, error) {
	if cfg.Parallel == 0 {
		cfg.Parallel = DefaultParallel
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Merge == 0 {
		cfg.Merge = DefaultMerge
	}
	switch {
	case cfg.Table == nil || cfg.API == nil:
		return nil, fmt.Errorf("deliverer: %w: Table and API are needed", pipeline.ErrInvalid)
	case cfg.Parallel < 1 || cfg.Parallel > MaxParallel:
		return nil, fmt.Errorf("deliverer: %w: Parallel %d, expected 1 to %d", pipeline.ErrInvalid, cfg.Parallel, MaxParallel)
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("deliverer: %w: Timeout %v, expected more than 0", pipeline.ErrInvalid, cfg.Timeout)
	case cfg.Merge < 0:
		return nil, fmt.Errorf("deliverer: %w: Merge %d, expected 1 or more", pipeline.ErrInvalid, cfg.Merge)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Metrics, cfg.Logger = orNoMetrics(cfg.Metrics), orNoLogger(cfg.Logger)
	d := &Deliverer{cfg: cfg, symbols: map[exchange.InstrumentID]string{}, known: map[Topic]known{}}
	for _, in := range cfg.Instruments {
		d.symbols[in.ID()] = in.Symbol()
	}
	return d, nil
}

// Deliver posts what is in the bodies of envelopes, of one group and in order,
// to the connections it is for. After an error everything is to be delivered
// again: clients ignore what they have. pipeline.ErrEncoding: a body that is
// none; nothing was posted.
func (d *Deliverer) Deliver(ctx context.Context, bodies ...string) error {
	start := d.cfg.Now()
	var pushes []push
	for i, body := range bodies {
		more, err := decode(body)
		if err != nil {
			return fmt.Errorf("delivering message %d of %d: %w", i+1, len(bodies), err)
		}
		pushes = append(pushes, more...)
	}
	if len(pushes) == 0 {
		return nil
	}
	inst := pushes[0].Instrument
	out := merge(pushes, d.cfg.Merge)
	d.cfg.Metrics.Count(MetricMerged, inst, int64(len(pushes)-len(out)))
	mail, err := d.address(ctx, out)
	if err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(d.cfg.Parallel)
	var posted atomic.Int64
	for id, mine := range mail {
		group.Go(func() error {
			n, err := d.post(gctx, id, mine)
			posted.Add(int64(n))
			return err
		})
	}
	err = group.Wait()
	d.cfg.Metrics.Count(MetricPosts, inst, posted.Load())
	if err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	d.cfg.Metrics.Observe(MetricPosted, inst, d.cfg.Now().Sub(start))
	return nil
}

// address finds out what each connection gets, in order.
func (d *Deliverer) address(ctx context.Context, out []push) (map[string][]*push, error) {
	topics, err := d.subscribers(ctx, out)
	if err != nil {
		return nil, err
	}
	now := d.cfg.Now()
	mail := map[string][]*push{}
	for i := range out {
		p := &out[i]
		if p.To != "" {
			mail[p.To] = append(mail[p.To], p)
			continue
		}
		for _, s := range topics[p.topic()] {
			if !s.Expires.IsZero() && !now.Before(s.Expires) {
				d.cfg.Metrics.Count(MetricExpired, p.Instrument, 1)
				continue
			}
			mail[s.Connection] = append(mail[s.Connection], p)
		}
	}
	return mail, nil
}

// subscribers returns who has subscribed to the topics of pushes. Who that is
// is read again when the topic's version has changed.
func (d *Deliverer) subscribers(ctx context.Context, out []push) (map[Topic][]Subscriber, error) {
	topics := map[Topic][]Subscriber{}
	var ask []Topic
	for i := range out {
		t := out[i].topic()
		if _, ok := topics[t]; out[i].To == "" && !ok {
			topics[t], ask = nil, append(ask, t)
		}
	}
	if len(ask) == 0 {
		return topics, nil
	}
	now := time.Now()
	versions, err := d.cfg.Table.Versions(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("asking who has subscribed: %w", err)
	}
	found := make([]known, len(ask))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(d.cfg.Parallel)
	d.mu.Lock()
	for i, t := range ask {
		found[i] = d.known[t]
		if versions[i] == 0 { // nobody
			found[i] = known{}
		} else if k := &found[i]; k.version != versions[i] || now.Sub(k.at) > MaxKnown {
			group.Go(func() error {
				subs, err := d.cfg.Table.Subscribers(gctx, t)
				if err != nil {
					return fmt.Errorf("asking who has subscribed: %w", err)
				}
				*k = known{versions[i], now, subs}
				return nil
			})
		}
	}
	d.mu.Unlock()
	if err := group.Wait(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, t := range ask {
		topics[t] = found[i].subscribers
		if found[i].version == 0 {
			continue
		}
		if len(d.known) >= knownTopics {
			clear(d.known)
		}
		if had := d.known[t]; !had.at.After(found[i].at) {
			d.known[t] = found[i]
		}
	}
	return topics, nil
}

// leave forgets a connection that is gone, which no version tells of.
func (d *Deliverer) leave(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t, k := range d.known {
		if i := slices.IndexFunc(k.subscribers, func(s Subscriber) bool { return s.Connection == id }); i >= 0 {
			k.subscribers = slices.Delete(slices.Clone(k.subscribers), i, i+1) // others may be reading it
			d.known[t] = k
		}
	}
}

// post sends messages to a connection, one after the other, and returns how
// many it took. One that is gone, or takes too long, is none any more.
func (d *Deliverer) post(ctx context.Context, id string, messages []*push) (n int, err error) {
	for _, p := range messages {
		kind := "u"
		if p.To != "" {
			kind = "s"
		}
		parts, err := pipeline.CutFeed(p.Data, fmt.Sprintf("%s.%s.%d", kind, p.topic(), p.Seq), FrameBytes)
		if err != nil {
			return n, err
		}
		for _, part := range parts {
			limited, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
			_, err := d.cfg.API.PostToConnection(limited, &api.PostToConnectionInput{ConnectionId: aws.String(id), Data: part})
			cancel()
			if err != nil {
				return n, d.failed(ctx, id, err)
			}
		}
		n++
	}
	return n, nil
}

// failed is called after a post that failed. Whatever the reason is, the
// connection has missed something: it must end.
func (d *Deliverer) failed(ctx context.Context, id string, why error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("posting: %w", ctx.Err()) // all of it, not this one
	}
	var gone *types.GoneException
	if errors.As(why, &gone) {
		d.cfg.Metrics.Count(MetricGone, 0, 1)
	} else {
		d.cfg.Metrics.Count(MetricDropped, 0, 1)
		d.cfg.Logger.WarnContext(ctx, "a connection that takes nothing is closed", "error", why)
		_, err := d.cfg.API.DeleteConnection(ctx, &api.DeleteConnectionInput{ConnectionId: aws.String(id)})
		if err != nil && !errors.As(err, &gone) {
			return fmt.Errorf("closing a connection that took no message: %w: %w", why, err)
		}
	}
	d.leave(id)
	if err := d.cfg.Table.Remove(ctx, id); err != nil {
		return fmt.Errorf("removing a connection that is gone: %w", err)
	}
	return nil
}

// Sweep sends every connection a heartbeat, ends the private subscriptions of
// tokens that have ended, and removes connections that are gone without a
// word. Run it on a schedule, once a minute or so. It goes on after an error of
// one connection, and returns them all.
func (d *Deliverer) Sweep(ctx context.Context) error {
	var errs []error
	after := ""
	for {
		page, err := d.cfg.Table.Connections(ctx, after, pipeline.MaxQueryRows)
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("sweeping: %w", err))...)
		}
		if len(page) == 0 {
			return errors.Join(errs...)
		}
		after = page[len(page)-1].ID
		var group errgroup.Group
		group.SetLimit(d.cfg.Parallel)
		failed := make(chan error, len(page))
		for i := range page {
			group.Go(func() error {
				failed <- d.sweep(ctx, &page[i])
				return nil
			})
		}
		_ = group.Wait() // they return none
		close(failed)
		for err := range failed {
			if err != nil {
				errs = append(errs, fmt.Errorf("sweeping: %w", err))
			}
		}
	}
}

func (d *Deliverer) sweep(ctx context.Context, c *Connection) error {
	now := d.cfg.Now()
	var messages []*push
	say := func(data []byte) { messages = append(messages, &push{To: c.ID, Data: data}) }
	beat := pipeline.FeedHeartbeat{Type: "heartbeat", Time: timeText(now), Seqs: map[string]uint64{}, Subscriptions: []pipeline.FeedSubscription{}}
	var private []Topic
	over := !c.Expires.IsZero() && !now.Before(c.Expires)
	for _, t := range c.Topics {
		if over && t.Channel.Private() {
			private = append(private, t)
		} else {
			beat.Subscriptions = append(beat.Subscriptions, pipeline.FeedSubscription{Channel: t.Channel, Symbol: d.symbols[t.Instrument]})
		}
	}
	if len(private) > 0 {
		if _, err := d.cfg.Table.Unsubscribe(ctx, c.ID, private); err != nil {
			return err
		}
		say(encodeReply(pipeline.FeedErrorReply(pipeline.FeedTokenExpired, "the token has ended, authenticate again", "", "")))
	}
	say(encodeReply(beat))
	_, err := d.post(ctx, c.ID, messages)
	return err
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
