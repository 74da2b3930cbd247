package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/castlecloud/exchange"
)

// Defaults and bounds of a MatchingEngineConfig.
const (
	DefaultBatchCommands = MaxReceive
	DefaultBatchBytes    = 256 << 10
	DefaultBookEvery     = 256
	DefaultSnapshotEvery = 1024
	DefaultDepthLevels   = 100
	DefaultIcebergParts  = 10

	MaxBatchCommands = 1 << 16
	MaxBatchBytes    = 4 << 20
	MaxDepthOrders   = 1 << 16
)

// maxFences is how often one Handle begins anew because another writer was
// there. Two that are awake take turns; who loses that often gives way.
const maxFences = 8

// What one command may add to a journal item, in bytes, at most. One order,
// resting or waiting, may be part of it
//   - as a maker, slice by slice: in each step either its slice or the
//     aggressor is used up, with a trade (or a prevented one), and a
//     replenishment or a cancel;
//   - as an aggressor, once: triggered, one step more than its makers have
//     slices, and what became of it, a cancel or a new price;
//   - with two levels that look other than before.
//
// So an order is good for IcebergParts × stepBytes + onceBytes, and MaxOrders
// of them, with the command itself and its own event in commandBytes, must fit
// into MaxItemBytes. A test encodes the largest events.
const (
	tradeBytes     = 200 // EventTrade, EventSelfTradePrevented
	endBytes       = 150 // EventCanceled, EventExpired, EventReplenished, EventRepriced, EventAmended less its prices
	triggeredBytes = 120
	levelBytes     = 40
	stepBytes      = tradeBytes + endBytes
	onceBytes      = triggeredBytes + tradeBytes + endBytes + 2*levelBytes
	commandBytes   = 4 << 10
)

// MatchingEngineConfig says what a MatchingEngine works with. Instruments, Log,
// Books, Publisher and Now are mandatory; a number that is zero stands for its
// default.
type MatchingEngineConfig struct {
	Instruments []*exchange.Instrument
	Log         *Log
	Books       BookStore
	Publisher   Publisher
	Metrics     Metrics      // nil: none
	Logger      *slog.Logger // nil: none
	// Now is the wall clock. It may be called concurrently. A command whose
	// Time is ahead of it is applied at Now, so that a request with a clock
	// that runs ahead does not take everybody along.
	Now func() exchange.Time

	// These are part of the state of each instrument's engine: a snapshot of an
	// engine with others is of no use (exchange.Config).
	DedupSpan   exchange.Time
	DedupCount  int
	MaxOrders   int // 0: DefaultMaxOrders
	MaxAccounts int
	// Check is exchange.Config.Check: a pure function of its arguments.
	Check func(e *exchange.Engine, cmd *exchange.Command) exchange.Reason

	// IcebergParts is the most slices an iceberg may have, 1 to
	// exchange.MaxIcebergParts; an order with more is refused with
	// exchange.IcebergParts. With MaxOrders it bounds the events of one
	// command.
	IcebergParts int
	// DayEnd is when a trading day ends, in ns after 00:00 UTC, below 24 hours.
	// The first command whose Time is at or after it ends the Day orders
	// before it is applied itself; on a quiet book that is the time the Sweeper
	// brings.
	DayEnd exchange.Time

	BatchCommands int // commands of a journal item, 1 to MaxBatchCommands
	BatchBytes    int // an item takes no further command once it has this size, 1 to MaxBatchBytes
	BookEvery     int // journal items between two books saved to the book store
	SnapshotEvery int // journal items between two durable snapshots
	DepthLevels   int // levels of a side in Depth, 1 to MaxDepthLevels
	DepthOrders   int // orders looked at for a side of Depth, hidden ones, which are left out, counted; 0: none are given
}

// MatchingEngine applies commands to the order books of its instruments,
// commits them to the journal, and publishes what was committed.
//
// For each instrument it keeps an engine that is good at one position of the
// journal: whatever leaves the position in doubt (another writer, an answer
// that is lost) makes it forget the engine and load it again. So any number of
// MatchingEngines may serve the same instruments, in any number of processes;
// all but one at a time lose their work, never their correctness.
type MatchingEngine struct {
	cfg     MatchingEngineConfig
	markets map[exchange.InstrumentID]*market
}

// NewMatchingEngine checks the settings. It loads nothing yet.
func NewMatchingEngine(cfg MatchingEngineConfig) (*MatchingEngine, error) {
	cfg.Metrics, cfg.Logger = metricsOrNone(cfg.Metrics), loggerOrNone(cfg.Logger)
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("matching engine: %w", err)
	}
	m := &MatchingEngine{cfg: cfg, markets: map[exchange.InstrumentID]*market{}}
	for _, in := range cfg.Instruments {
		if m.markets[in.ID()] != nil {
			return nil, fmt.Errorf("matching engine: %w: Instruments: id %d twice", ErrInvalid, in.ID())
		}
		engine := engineConfig(in, exchange.Config{DedupSpan: cfg.DedupSpan, DedupCount: cfg.DedupCount, MaxOrders: cfg.MaxOrders,
			MaxAccounts: cfg.MaxAccounts, Check: cfg.Check})
		if _, err := exchange.NewEngine(engine); err != nil {
			return nil, fmt.Errorf("matching engine: instrument %d: %w", in.ID(), err)
		}
		m.markets[in.ID()] = &market{cfg: &m.cfg, in: in, id: in.ID(), config: engine, turn: make(chan struct{}, 1)}
	}
	return m, nil
}

// complete checks the settings and fills in what was left zero.
func (cfg *MatchingEngineConfig) complete() error {
	for _, given := range [...]struct {
		field string
		ok    bool
	}{{"Instruments", len(cfg.Instruments) > 0}, {"Log", cfg.Log != nil}, {"Books", cfg.Books != nil},
		{"Publisher", cfg.Publisher != nil}, {"Now", cfg.Now != nil}} {
		if !given.ok {
			return fmt.Errorf("%w: %s is missing", ErrInvalid, given.field)
		}
	}
	for i, in := range cfg.Instruments {
		if in == nil {
			return fmt.Errorf("%w: Instruments[%d] is nil", ErrInvalid, i)
		}
	}
	for _, n := range [...]struct {
		field string
		v     *int
		unset int
		most  int
	}{
		{"MaxOrders", &cfg.MaxOrders, DefaultMaxOrders, exchange.MaxOrdersMax},
		{"IcebergParts", &cfg.IcebergParts, DefaultIcebergParts, exchange.MaxIcebergParts},
		{"BatchCommands", &cfg.BatchCommands, DefaultBatchCommands, MaxBatchCommands},
		{"BatchBytes", &cfg.BatchBytes, DefaultBatchBytes, MaxBatchBytes},
		{"BookEvery", &cfg.BookEvery, DefaultBookEvery, 1 << 30},
		{"SnapshotEvery", &cfg.SnapshotEvery, DefaultSnapshotEvery, 1 << 30},
		{"DepthLevels", &cfg.DepthLevels, DefaultDepthLevels, MaxDepthLevels},
		{"DepthOrders", &cfg.DepthOrders, 0, MaxDepthOrders},
	} {
		if *n.v < 0 || *n.v > n.most {
			return fmt.Errorf("%w: %s %d: expected 0 to %d", ErrInvalid, n.field, *n.v, n.most)
		}
		if *n.v == 0 {
			*n.v = n.unset
		}
	}
	if cfg.DayEnd < 0 || cfg.DayEnd >= day {
		return fmt.Errorf("%w: DayEnd %d: expected 0 to %d", ErrInvalid, cfg.DayEnd, day-1)
	}
	if most := (MaxItemBytes - commandBytes) / (cfg.IcebergParts*stepBytes + onceBytes); cfg.MaxOrders > most {
		return fmt.Errorf("%w: MaxOrders %d: expected at most %d with IcebergParts %d, so that the events of one command fit into a journal item",
			ErrInvalid, cfg.MaxOrders, most, cfg.IcebergParts)
	}
	return nil
}

// Handle applies messages of one instrument, in order, and publishes what came
// of them. The first done of them have been dealt with for good, also when
// there is an error, and may be acknowledged; the others are to be delivered
// again. A message that was applied before changes nothing and is done.
// ErrInvalid: the instrument is none of its own. ErrDiverged, ErrRules and
// ErrPanicked stop the instrument, and no other. Handle may be called
// concurrently; an instrument's calls take turns. It keeps no slice.
func (m *MatchingEngine) Handle(ctx context.Context, inst exchange.InstrumentID, msgs []QueueMessage) (done int, err error) {
	s, err := m.enter(ctx, inst)
	if err != nil {
		return 0, err
	}
	defer func() { <-s.turn }()
	if done, err = s.handle(ctx, msgs); err != nil {
		err = fmt.Errorf("matching engine: instrument %d: %w", inst, err)
	}
	return done, err
}

// Load brings an instrument to the head of its journal ahead of its first
// message, which need not wait for it then, and saves depth and, when it is
// due, the book. It writes nothing to the journal but a snapshot that is due,
// and does nothing when the instrument is loaded. Errors and concurrency are
// those of Handle.
func (m *MatchingEngine) Load(ctx context.Context, inst exchange.InstrumentID) error {
	s, err := m.enter(ctx, inst)
	if err != nil {
		return err
	}
	defer func() { <-s.turn }()
	if s.engine != nil {
		return nil
	}
	if err := s.load(ctx); err != nil {
		return fmt.Errorf("matching engine: instrument %d: %w", inst, err)
	}
	if s.head.Position > 0 && s.last.Check() != nil { // a snapshot was taken at the head
		items, err := s.cfg.Log.Read(ctx, inst, s.head.Position, 1)
		if err != nil && !errors.Is(err, ErrTrimmed) {
			return fmt.Errorf("matching engine: instrument %d: reading the item at the head: %w", inst, err)
		}
		if len(items) > 0 && items[0].Head() == s.head {
			s.last = items[0]
			s.saveDepth(ctx, s.last)
		}
	}
	s.save(ctx)
	return nil
}

// enter waits for the turn of an instrument.
func (m *MatchingEngine) enter(ctx context.Context, inst exchange.InstrumentID) (*market, error) {
	s := m.markets[inst]
	if s == nil {
		return nil, fmt.Errorf("matching engine: %w: instrument %d is not among its own", ErrInvalid, inst)
	}
	select {
	case s.turn <- struct{}{}:
		return s, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("matching engine: instrument %d: waiting for the call before: %w", inst, ctx.Err())
	}
}

// handle is Handle, with the market to itself.
func (s *market) handle(ctx context.Context, msgs []QueueMessage) (int, error) {
	done, err := s.run(ctx, msgs)
	if done == 0 && err != nil {
		return 0, err
	}
	marked := s.published
	pubErr := s.publish(ctx)
	if s.published < s.head.Position {
		// Nothing is known to be published that was not before.
		return 0, errors.Join(err, pubErr)
	}
	if s.published > marked && s.first != 0 {
		s.cfg.Metrics.Observe(MetricPublished, s.id, time.Duration(s.cfg.Now()-s.first))
	}
	if err == nil {
		s.save(ctx)
	}
	return done, errors.Join(err, pubErr)
}

// run applies and commits messages until none is left or something fails. The
// first done of them are in the journal, by this run or before.
func (s *market) run(ctx context.Context, msgs []QueueMessage) (done int, err error) {
	s.voids = s.voids[:0]
	for fences := 0; done < len(msgs); {
		n, err := s.step(ctx, msgs, done)
		if err == nil {
			done += n
			continue
		}
		s.drop()
		if !s.forgive(err, done+n, &fences) {
			return done, err
		}
	}
	return done, nil
}

// forgive reports whether a run goes on after an error, which a message is at
// fault for when it is a panic.
func (s *market) forgive(err error, message int, fences *int) bool {
	var panicked *applyPanic
	switch {
	case errors.Is(err, ErrFenced):
		*fences++
		s.cfg.Metrics.Count(MetricFenced, s.id, 1)
		return *fences <= maxFences
	case errors.As(err, &panicked) && !errors.Is(err, ErrDiverged):
		s.cfg.Metrics.Count(MetricPanics, s.id, 1)
		s.cfg.Logger.Error("applying a command panicked: it is voided", "instrument", s.id, "after", s.head.Position, "panic", panicked.Error())
		if s.voided(message) {
			return false
		}
		s.voids = append(s.voids, message)
		return true
	}
	return false
}

// step applies one batch of messages from the given one on, commits it, and
// returns how many messages that were. After a panic it is the number of the
// message, counted from the given one.
func (s *market) step(ctx context.Context, msgs []QueueMessage, from int) (int, error) {
	if s.engine == nil {
		if err := s.load(ctx); err != nil {
			return 0, err
		}
	}
	n, err := s.applyBatch(msgs, from)
	if err != nil || len(s.entries) == 0 {
		return n, err
	}
	b, data := s.batch()
	c, err := s.cfg.Log.append(ctx, s.head, b, data)
	if err != nil {
		return 0, err
	}
	s.committed(ctx, c)
	return n, nil
}

// load brings the engine to the head.
func (s *market) load(ctx context.Context) error {
	l := loader{log: s.cfg.Log, books: s.cfg.Books, in: s.in, cfg: s.config}
	err := l.load(ctx)
	met := s.cfg.Metrics
	met.Count(MetricLoads, s.id, 1)
	met.Count(MetricReplayed, s.id, int64(l.replayed))
	if l.bookError != nil {
		met.Count(MetricBookFailed, s.id, 1)
		s.cfg.Logger.Warn("the book store fails", "instrument", s.id, "error", l.bookError)
	}
	for _, why := range l.discarded {
		met.Count(MetricBookDiscarded, s.id, 1)
		s.cfg.Logger.Warn("a snapshot is of no use", "instrument", s.id, "error", why)
	}
	if errors.Is(err, ErrDiverged) {
		met.Count(MetricDiverged, s.id, 1)
		s.cfg.Logger.Error("the instrument stops", "instrument", s.id, "error", err)
	}
	if err != nil {
		return fmt.Errorf("loading: %w", err)
	}
	mark, err := s.cfg.Log.Journal().Published(ctx, s.id)
	if err != nil {
		return fmt.Errorf("reading the published mark: %w", err)
	}
	s.published = max(s.published, mark)
	s.engine, s.head, s.public = l.engine, l.head, newPublicBook(l.engine.Book(s.id))
	s.bookAt, s.snapshotAt = l.bookAt, l.snapshotAt
	if s.last = l.last; s.last.Check() == nil {
		s.saveDepth(ctx, l.last)
	}
	s.cfg.Logger.Info("loaded", "instrument", s.id, "position", s.head.Position, "replayed", l.replayed)
	return nil
}

// drop forgets the engine: it may be ahead of the journal, or behind.
func (s *market) drop() { s.engine, s.public = nil, nil }

// committed is what follows a commit and may fail without harm.
func (s *market) committed(ctx context.Context, c Committed) {
	s.head = c.Head()
	met, b := s.cfg.Metrics, c.Batch()
	met.Count(MetricCommands, s.id, int64(len(b.Entries)))
	met.Count(MetricTrades, s.id, s.trades)
	met.Count(MetricBatches, s.id, 1)
	met.Count(MetricBatchBytes, s.id, int64(len(c.Data())))
	met.Gauge(MetricPosition, s.id, float64(s.head.Position))
	met.Gauge(MetricOpenOrders, s.id, float64(s.engine.Book(s.id).Len()))
	if s.first != 0 {
		met.Observe(MetricCommitted, s.id, time.Duration(s.cfg.Now()-s.first))
	}
	s.last = c
	s.saveDepth(ctx, c)
}

// publish publishes from the mark to the head.
func (s *market) publish(ctx context.Context) error {
	if s.published >= s.head.Position {
		return nil
	}
	at, err := publishPages(ctx, s.cfg.Log, s.cfg.Publisher, s.id, s.published, s.head.Position)
	if s.published = at; err != nil {
		return err
	}
	if err := s.cfg.Log.Journal().MarkPublished(ctx, s.id, at); err != nil {
		s.cfg.Metrics.Count(MetricMarkFailed, s.id, 1)
		return fmt.Errorf("marking %d as published: %w", at, err)
	}
	return nil
}
