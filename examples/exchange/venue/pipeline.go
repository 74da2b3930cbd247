package venue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/files"
	"github.com/castlecloud/exchange/examples/exchange/internal/edge"
	"github.com/castlecloud/exchange/examples/exchange/internal/hub"
	"github.com/castlecloud/exchange/examples/exchange/internal/progress"
	"github.com/castlecloud/exchange/examples/exchange/internal/view"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// What the book shows.
const (
	depthLevels = pipeline.MaxDepthLevels
	depthOrders = 1000
)

func now() exchange.Time { return exchange.Time(time.Now().UnixNano()) }

// startPipeline opens the stores and runs the services on them.
func (v *Venue) startPipeline(ctx context.Context, instruments []*exchange.Instrument) (*parts, error) {
	journal, balances, trades := pipeline.Journal(memory.NewJournal()), pipeline.Balances(memory.NewBalances(memory.BalancesConfig{})), pipeline.TradeStore(memory.NewTradeStore())
	archive, err := files.Open(filepath.Join(v.cfg.Dir, ArchiveDir))
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	log := pipeline.NewLog(journal)
	board := progress.NewBoard(v.trace)
	if err := board.Load(ctx, log, trades, balances, instruments); err != nil {
		return nil, err
	}
	p := &parts{board: board, trades: board.TradeStore(trades), balances: board.Balances(balances), books: memory.NewBookStore()}
	p.snapshots = &view.Snapshots{Board: board, Store: p.trades, Books: p.books, Balances: p.balances, Instruments: instruments, Now: time.Now}
	v.hub = hub.New(hub.Config{
		Instruments: instruments, Snapshots: p.snapshots, Verify: v.keys.Verify, Now: time.Now, Metrics: v.metrics, Logger: v.log, Limits: v.cfg.Feed,
		Pushed: func(inst exchange.InstrumentID, pos pipeline.Position) {
			board.Pushed(context.Background(), log, inst, pos)
		},
	})
	v.closeLater(func() error { v.hub.Close(); return nil })
	for _, in := range instruments {
		v.hub.Start(in.ID(), board.Committed(in.ID()).Seq)
	}

	bus, queue, publisher := memory.NewBus(memory.BusConfig{}), memory.NewQueue(memory.QueueConfig{}), memory.NewPublisher()
	sent := board.CommandQueue(queue)
	risk, err := pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: instruments, Balances: p.balances, Queue: sent, Orders: p.trades,
		Books: p.books, Metrics: v.metrics, Logger: v.log})
	if err != nil {
		return nil, err
	}
	processor, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: instruments, Risk: risk, Metrics: v.metrics, Logger: v.log})
	if err != nil {
		return nil, err
	}
	engine, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: instruments, Log: log, Books: p.books,
		Publisher: board.Publisher(publisher), Metrics: v.metrics, Logger: v.log, Now: now, DepthLevels: depthLevels, DepthOrders: depthOrders})
	if err != nil {
		return nil, err
	}
	market, err := pipeline.NewMarketData(pipeline.MarketDataConfig{Instruments: instruments, Log: log, Pusher: v.hub, Trades: p.trades, Metrics: v.metrics, Logger: v.log})
	if err != nil {
		return nil, err
	}
	recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: instruments, Log: log, Trades: p.trades, Archive: archive, Metrics: v.metrics, Logger: v.log})
	if err != nil {
		return nil, err
	}
	settler, err := pipeline.NewSettler(pipeline.SettlerConfig{Instruments: instruments, Log: log, Balances: p.balances, Pusher: v.hub, Metrics: v.metrics, Logger: v.log})
	if err != nil {
		return nil, err
	}
	v.run(func(ctx context.Context) { _ = bus.Serve(ctx, processor.Handle) })
	v.run(func(ctx context.Context) {
		for {
			d, err := queue.Receive(ctx, pipeline.MaxReceive)
			if err != nil {
				return
			}
			done, err := engine.Handle(ctx, d.Instrument, d.Messages)
			if err != nil {
				v.log.Error("matching", "error", err)
			}
			if err := queue.Ack(ctx, d, done); err != nil && !errors.Is(err, pipeline.ErrNotFound) {
				v.log.Error("acknowledging", "error", err)
			}
		}
	})
	for _, handle := range []func(context.Context, pipeline.Notice) error{market.Handle, recorder.Handle, settler.Handle} {
		sub := publisher.Subscribe()
		v.run(func(ctx context.Context) {
			for {
				n, err := sub.Next(ctx)
				if err != nil {
					return
				}
				if err := handle(ctx, n); err != nil {
					v.log.Error("following the journal", "error", err)
					sub.Notify(n)
				}
			}
		})
	}
	p.healthy = func() error { return nil }
	p.edge = edge.New(edge.Config{Instruments: instruments, Prepare: processor.Prepare, Bus: bus, Board: board, Store: p.trades, Balances: p.balances,
		Trace: v.trace, Now: time.Now, Wait: v.cfg.Wait})
	return p, nil
}
