package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/castlecloud/exchange"
)

// TradeRecorderConfig is what a TradeRecorder is made of. Instruments, Log,
// Trades and Archive are mandatory.
type TradeRecorderConfig struct {
	Instruments []*exchange.Instrument
	Log         *Log
	Trades      TradeStore
	Archive     Archive
	// ArchiveEvery is how many journal positions a file of the archive covers;
	// 0: DefaultArchiveEvery, at most MaxArchiveEvery. It may change between
	// two runs: what is archived stays, and the next file goes on after it.
	ArchiveEvery int
	// TradesFormat is how the archive's trades are written; nil: as CSV. Parquet
	// is in package adapters/parquet.
	TradesFormat TradesFormat
	// TrackedOrders is how many live orders of an instrument are kept at hand;
	// 0: DefaultTrackedOrders.
	TrackedOrders int
	Metrics       Metrics
	Logger        *slog.Logger
}

// TradeRecorder brings trades and orders to the TradeStore, and the journal
// with its trades to the Archive, each exactly once.
//
// It is safe for concurrent use; of one instrument one call works at a time.
type TradeRecorder struct {
	cfg      TradeRecorderConfig
	record   consumer
	archive  consumer
	trackers map[exchange.InstrumentID]*tracker
	files    map[exchange.InstrumentID]*archiver
}

// NewTradeRecorder returns a TradeRecorder; an error when something is missing
// or out of its bounds.
func NewTradeRecorder(cfg TradeRecorderConfig) (*TradeRecorder, error) {
	const name = "trade recorder"
	if err := checkConsumer(name, cfg.Instruments, cfg.Log); err != nil {
		return nil, err
	}
	if cfg.ArchiveEvery == 0 {
		cfg.ArchiveEvery = DefaultArchiveEvery
	}
	if cfg.TrackedOrders == 0 {
		cfg.TrackedOrders = DefaultTrackedOrders
	}
	switch {
	case cfg.Trades == nil || cfg.Archive == nil:
		return nil, fmt.Errorf("%s: %w: Trades and Archive are needed", name, ErrInvalid)
	case cfg.ArchiveEvery < 1 || cfg.ArchiveEvery > MaxArchiveEvery:
		return nil, fmt.Errorf("%s: %w: ArchiveEvery %d, expected 1 to %d", name, ErrInvalid, cfg.ArchiveEvery, MaxArchiveEvery)
	case cfg.TrackedOrders < 1:
		return nil, fmt.Errorf("%s: %w: TrackedOrders %d, expected 1 or more", name, ErrInvalid, cfg.TrackedOrders)
	}
	cfg.Metrics, cfg.Logger = metricsOrNone(cfg.Metrics), loggerOrNone(cfg.Logger)
	r := &TradeRecorder{cfg: cfg, trackers: map[exchange.InstrumentID]*tracker{}, files: map[exchange.InstrumentID]*archiver{}}
	r.record = newConsumer(name, MetricRecordedPosition, cfg.Instruments, cfg.Log, cfg.Metrics, cfg.Logger)
	r.record.begin, r.record.apply = r.start, r.recordItem
	r.archive = newConsumer("archive", "", cfg.Instruments, cfg.Log, cfg.Metrics, cfg.Logger)
	r.archive.begin = func(ctx context.Context, n Notice) (Position, error) { return r.files[n.Instrument].start(ctx) }
	r.archive.apply = func(ctx context.Context, c Committed) error { return r.files[c.Instrument()].add(ctx, c) }
	r.archive.after = func(_ context.Context, inst exchange.InstrumentID) error {
		cfg.Metrics.Gauge(MetricArchivedPosition, inst, float64(r.files[inst].done))
		return nil
	}
	for _, in := range cfg.Instruments {
		r.trackers[in.ID()] = newTracker(in, cfg.Trades, cfg.TrackedOrders)
		r.files[in.ID()] = newArchiver(in, cfg.Archive, cfg.ArchiveEvery, cfg.TradesFormat)
	}
	return r, nil
}

// Handle records and archives an instrument's journal at least up to n, as far
// as the archive's files are full. It may be repeated and called concurrently;
// an error means that n should be delivered again. An archive that fails keeps
// nothing from being recorded, and the other way round.
func (r *TradeRecorder) Handle(ctx context.Context, n Notice) error {
	return errors.Join(r.record.handle(ctx, n), r.archive.handle(ctx, n))
}

// Archived returns the position up to which an instrument is archived: the
// journal below it may be removed, as far as the archive is concerned. See
// ArchivedTo for processes that have no TradeRecorder.
func (r *TradeRecorder) Archived(ctx context.Context, inst exchange.InstrumentID) (Position, error) {
	t, err := r.archive.enter(ctx, inst)
	if err != nil {
		return 0, err
	}
	defer t.leave()
	return r.files[inst].archived(ctx)
}

func (r *TradeRecorder) start(ctx context.Context, n Notice) (Position, error) {
	at, err := r.cfg.Trades.Recorded(ctx, n.Instrument)
	if err != nil {
		return 0, fmt.Errorf("asking how far it is recorded: %w", err)
	}
	// What was computed before an error is still right, whether or not the
	// store took it.
	if t := r.trackers[n.Instrument]; t.broken || t.at != at && t.at != at+1 {
		t.reset(at)
	}
	return at, nil
}

func (r *TradeRecorder) recordItem(ctx context.Context, c Committed) error {
	t := r.trackers[c.Instrument()]
	item, err := t.take(ctx, c)
	if err != nil {
		return err
	}
	if err := r.cfg.Trades.Record(ctx, c, &item.Record); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if t.full() {
		t.forget(c.Position())
	}
	return nil
}
