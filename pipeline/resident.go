package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/castlecloud/exchange"
)

// Defaults and bounds of a ResidentConfig.
const (
	DefaultRequestWorkers = 16
	DefaultSweepEvery     = time.Second
	DefaultDrainTimeout   = 10 * time.Second

	MaxWorkers = 1 << 12 // of one kind
)

// RequestSource is the end of an EventBus where requests come out.
type RequestSource interface {
	// Serve hands requests to handle, one at a time, until ctx ends, and
	// returns its error. A request whose handler failed it hands out again
	// later. It is called by as many goroutines as shall work at once.
	Serve(ctx context.Context, handle func(ctx context.Context, req *Request) error) error
}

// NoticeSource is where one consumer's notices come out of a Publisher.
type NoticeSource interface {
	// Next waits for a notice, or until ctx ends (its error). It is called by
	// one goroutine.
	Next(ctx context.Context) (Notice, error)
}

// ResidentConsumer is a consumer that Resident runs.
type ResidentConsumer struct {
	Consumer
	Notices NoticeSource
	// Latency is the name of the metric of how long after a command's Time the
	// consumer was done with its journal item; "": none.
	Latency string
}

// ResidentConfig says what a Resident runs. Instruments, Requests, Process,
// Queue, Match and Now are mandatory; a number that is zero stands for its
// default.
type ResidentConfig struct {
	Instruments []*exchange.Instrument
	Log         *Log // for Latency; nil: none is measured

	Requests       RequestSource
	Process        func(ctx context.Context, req *Request) error // OrderProcessor.Handle
	RequestWorkers int                                           // 1 to MaxWorkers

	Queue        CommandQueue
	Match        func(ctx context.Context, inst exchange.InstrumentID, msgs []QueueMessage) (int, error) // MatchingEngine.Handle
	MatchWorkers int                                                                                     // 1 to MaxWorkers; 0: one per instrument

	Consumers []ResidentConsumer

	// Sweeper is what the sweeper works with; its Consumers are set by
	// Resident, and what it leaves out of Metrics and Logger. Its Log is nil:
	// there is no sweeper.
	Sweeper    SweeperConfig
	SweepEvery time.Duration

	// DrainTimeout is how long what is in hand may take once the end has come;
	// then its context ends too.
	DrainTimeout time.Duration
	Backoff      Backoff

	Now     func() exchange.Time // may be called concurrently
	Metrics Metrics
	Logger  *slog.Logger
}

// Resident runs the services of a venue in one process: what takes requests
// from the bus, what takes commands from the queue, what follows the journal,
// and the sweeper. Each instrument waits for itself alone, whatever fails.
type Resident struct {
	cfg     ResidentConfig
	sweeper *Sweeper // nil: none
	follow  []*follower
	failed  map[exchange.InstrumentID]*atomic.Int32 // how often in a row matching has failed
}

// NewResident checks the settings. Nothing runs yet.
func NewResident(cfg ResidentConfig) (*Resident, error) {
	cfg.Metrics, cfg.Logger = metricsOrNone(cfg.Metrics), loggerOrNone(cfg.Logger)
	cfg.Backoff.complete()
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("resident: %w", err)
	}
	r := &Resident{cfg: cfg, failed: map[exchange.InstrumentID]*atomic.Int32{}}
	for _, in := range cfg.Instruments {
		r.failed[in.ID()] = &atomic.Int32{}
	}
	for i := range cfg.Consumers {
		r.follow = append(r.follow, newFollower(&r.cfg, &r.cfg.Consumers[i]))
	}
	if cfg.Sweeper.Log == nil {
		return r, nil
	}
	sweeping := cfg.Sweeper
	sweeping.Consumers = nil
	if sweeping.Metrics == nil {
		sweeping.Metrics = cfg.Metrics
	}
	if sweeping.Logger == nil {
		sweeping.Logger = cfg.Logger
	}
	for _, f := range r.follow {
		c := f.consumer.Consumer
		c.Handle = f.wake
		sweeping.Consumers = append(sweeping.Consumers, c)
	}
	var err error
	if r.sweeper, err = NewSweeper(sweeping); err != nil {
		return nil, fmt.Errorf("resident: %w", err)
	}
	return r, nil
}

func (cfg *ResidentConfig) complete() error {
	for _, given := range [...]struct {
		field string
		ok    bool
	}{{"Instruments", len(cfg.Instruments) > 0}, {"Requests", cfg.Requests != nil}, {"Process", cfg.Process != nil},
		{"Queue", cfg.Queue != nil}, {"Match", cfg.Match != nil}, {"Now", cfg.Now != nil}} {
		if !given.ok {
			return fmt.Errorf("%w: %s is missing", ErrInvalid, given.field)
		}
	}
	for i, in := range cfg.Instruments {
		if in == nil {
			return fmt.Errorf("%w: Instruments[%d] is nil", ErrInvalid, i)
		}
	}
	for i := range cfg.Consumers {
		if c := &cfg.Consumers[i]; c.Handle == nil || c.Recorded == nil || c.Notices == nil {
			return fmt.Errorf("%w: Consumers[%d] (%s): Recorded, Handle or Notices is missing", ErrInvalid, i, c.Name)
		}
	}
	for _, n := range [...]struct {
		field string
		v     *int
		unset int
	}{{"RequestWorkers", &cfg.RequestWorkers, DefaultRequestWorkers}, {"MatchWorkers", &cfg.MatchWorkers, min(len(cfg.Instruments), MaxWorkers)}} {
		if *n.v < 0 || *n.v > MaxWorkers {
			return fmt.Errorf("%w: %s %d: expected 0 to %d", ErrInvalid, n.field, *n.v, MaxWorkers)
		}
		if *n.v == 0 {
			*n.v = n.unset
		}
	}
	if cfg.SweepEvery < 0 || cfg.DrainTimeout < 0 {
		return fmt.Errorf("%w: SweepEvery %v, DrainTimeout %v: expected 0 or more", ErrInvalid, cfg.SweepEvery, cfg.DrainTimeout)
	}
	if cfg.SweepEvery == 0 {
		cfg.SweepEvery = DefaultSweepEvery
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = DefaultDrainTimeout
	}
	return nil
}

// Run runs everything until ctx ends; then it takes nothing more, finishes what
// is in hand, and returns when the last goroutine has ended. It may be called
// again after that, by one at a time. A queue gets back unacknowledged what
// could not be done.
func (r *Resident) Run(ctx context.Context) {
	// What is in hand outlives ctx, for a while.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-ended:
			return
		}
		timer := time.NewTimer(r.cfg.DrainTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-ended:
		}
	})
	defer watch.Wait()
	defer close(ended)
	var running sync.WaitGroup
	for range r.cfg.RequestWorkers {
		running.Go(func() { r.takeRequests(ctx, work) })
	}
	for range r.cfg.MatchWorkers {
		running.Go(func() { r.takeCommands(ctx, work, &running) })
	}
	for _, f := range r.follow {
		f.run(ctx, work, &running)
	}
	if r.sweeper != nil {
		running.Go(func() { r.sweep(ctx, work) })
	}
	running.Wait()
}

// takeRequests processes requests until ctx ends. The bus hands out again what
// has failed.
func (r *Resident) takeRequests(ctx, work context.Context) {
	err := r.cfg.Requests.Serve(ctx, func(_ context.Context, req *Request) error {
		met := r.cfg.Metrics
		met.Observe(MetricRequestAge, 0, time.Duration(r.cfg.Now()-req.Time))
		err := r.cfg.Process(work, req)
		if err != nil {
			met.Count(MetricRequestFailed, 0, 1)
			r.cfg.Logger.WarnContext(work, "a request has failed and comes again", "kind", req.Kind, "error", err)
			return err
		}
		met.Observe(MetricProcessed, 0, time.Duration(r.cfg.Now()-req.Time))
		return nil
	})
	if ctx.Err() == nil {
		r.cfg.Logger.Error("the bus has stopped handing out requests", "error", err)
	}
}

// takeCommands lets the matching engine work on what the queue has until ctx
// ends. Of an instrument that fails the rest is given back later, when it has
// waited, so that the worker is free for others meanwhile.
func (r *Resident) takeCommands(ctx, work context.Context, running *sync.WaitGroup) {
	for failures := 0; ; {
		d, err := r.cfg.Queue.Receive(ctx, MaxReceive)
		if ctx.Err() != nil && err != nil {
			return
		}
		if err != nil {
			failures++
			r.cfg.Metrics.Count(MetricQueueFailed, 0, 1)
			r.cfg.Logger.Error("receiving from the queue", "error", err)
			r.cfg.Backoff.Wait(ctx, r.cfg.Backoff.delay(failures))
			continue
		}
		failures = 0
		done, err := r.cfg.Match(work, d.Instrument, d.Messages)
		failed := r.failed[d.Instrument]
		if failed == nil {
			failed = &atomic.Int32{} // Match has refused an instrument that is not among its own
		}
		if err == nil {
			failed.Store(0)
			r.ack(work, d, done)
			continue
		}
		n := int(failed.Add(1))
		r.cfg.Metrics.Count(MetricMatchFailed, d.Instrument, 1)
		r.cfg.Logger.Error("matching", "instrument", d.Instrument, "failures", n, "error", err)
		running.Go(func() {
			r.cfg.Backoff.Wait(ctx, r.cfg.Backoff.delay(n))
			r.ack(work, d, done)
		})
	}
}

// ack acknowledges a delivery. When that fails the messages come again, and are
// duplicates then.
func (r *Resident) ack(ctx context.Context, d Delivery, done int) {
	if err := r.cfg.Queue.Ack(ctx, d, done); err != nil {
		r.cfg.Metrics.Count(MetricQueueFailed, d.Instrument, 1)
		r.cfg.Logger.WarnContext(ctx, "acknowledging", "instrument", d.Instrument, "error", err)
	}
}

// sweep makes a pass of the sweeper now and then.
func (r *Resident) sweep(ctx, work context.Context) {
	for ctx.Err() == nil {
		if err := r.sweeper.Handle(work); err != nil {
			r.cfg.Logger.Warn("the sweeper's pass", "error", err)
		}
		r.cfg.Backoff.Wait(ctx, r.cfg.SweepEvery)
	}
}

// follower lets a consumer follow the journal: a goroutine for its notices, and
// one for each instrument.
type follower struct {
	cfg      *ResidentConfig
	consumer *ResidentConsumer
	due      map[exchange.InstrumentID]*mailbox
}

// mailbox holds the latest notice of an instrument.
type mailbox struct {
	mu   sync.Mutex
	pos  Position
	full chan struct{} // has something in it while pos waits
}

func (m *mailbox) put(pos Position) {
	m.mu.Lock()
	m.pos = max(m.pos, pos)
	m.mu.Unlock()
	select {
	case m.full <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pos
}

func newFollower(cfg *ResidentConfig, c *ResidentConsumer) *follower {
	f := &follower{cfg: cfg, consumer: c, due: map[exchange.InstrumentID]*mailbox{}}
	for _, in := range cfg.Instruments {
		f.due[in.ID()] = &mailbox{full: make(chan struct{}, 1)}
	}
	return f
}

// wake tells the follower of a notice and does not wait.
func (f *follower) wake(_ context.Context, n Notice) error {
	if m := f.due[n.Instrument]; m != nil {
		m.put(n.Position)
		return nil
	}
	return fmt.Errorf("%w: a notice of instrument %d, which is not among its own", ErrInvalid, n.Instrument)
}

func (f *follower) run(ctx, work context.Context, running *sync.WaitGroup) {
	for inst, m := range f.due {
		running.Go(func() { f.handle(ctx, work, inst, m) })
	}
	running.Go(func() {
		for failures := 0; ; {
			n, err := f.consumer.Notices.Next(ctx)
			if ctx.Err() != nil && err != nil {
				return
			}
			if err == nil {
				err = f.wake(ctx, n)
			}
			if err == nil {
				failures = 0
				continue
			}
			failures++
			f.failed(0, failures, err)
			f.cfg.Backoff.Wait(ctx, f.cfg.Backoff.delay(failures))
		}
	})
}

func (f *follower) failed(inst exchange.InstrumentID, failures int, err error) {
	f.cfg.Metrics.Count(MetricConsumerFailed, inst, 1)
	f.cfg.Logger.Error("following the journal", "consumer", f.consumer.Name, "instrument", inst, "failures", failures, "error", err)
}

// handle lets the consumer handle the notices of one instrument until ctx
// ends, each until it succeeds.
func (f *follower) handle(ctx, work context.Context, inst exchange.InstrumentID, m *mailbox) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.full:
		}
		for failures := 0; ctx.Err() == nil; {
			n := Notice{Instrument: inst, Position: m.take()}
			err := f.consumer.Handle(work, n)
			if err == nil {
				f.observe(work, n)
				break
			}
			failures++
			f.failed(inst, failures, err)
			f.cfg.Backoff.Wait(ctx, f.cfg.Backoff.delay(failures))
		}
	}
}

// observe measures how long after its command an item was dealt with.
func (f *follower) observe(ctx context.Context, n Notice) {
	if f.cfg.Log == nil || f.consumer.Latency == "" {
		return
	}
	c, ok := f.cfg.Log.recentItem(n.Instrument, n.Position)
	if !ok {
		return
	}
	if at := c.Batch().LastTime(); at > 0 {
		f.cfg.Metrics.Observe(f.consumer.Latency, n.Instrument, time.Duration(f.cfg.Now()-at))
	}
}
