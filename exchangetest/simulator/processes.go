package simulator

import (
	"context"
	"fmt"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// The names of the processes, in crash points and traces.
const (
	marketDataName = "market data"
	recorderName   = "trade recorder"
	settlerName    = "settler"
	sweeperName    = "sweeper"
)

var consumerNames = []string{marketDataName, recorderName, settlerName}

// Settings that make rare things common: small batches, small windows, files
// of a few items.
const (
	batchCommands = 8
	receiveLimit  = 10
	bookEvery     = 3
	snapshotEvery = 7
	archiveEvery  = 8
	dedupCount    = 4096
	maxOrders     = 4096
	trimEvery     = 10
	timeEvery     = time.Second
)

func (w *world) startProcesses() error {
	w.processes = []*process{
		{name: "order processor A", start: w.startProcessor},
		{name: "order processor B", start: w.startProcessor},
		{name: "matching engine A", start: w.startEngine},
		{name: "matching engine B", start: w.startEngine},
		{name: marketDataName, start: w.startMarketData},
		{name: recorderName, start: w.startRecorder},
		{name: settlerName, start: w.startSettler},
		{name: sweeperName, start: w.startSweeper},
	}
	for _, p := range w.processes {
		if err := p.start(p); err != nil {
			return fmt.Errorf("starting %s: %w", p.name, err)
		}
	}
	return nil
}

func (w *world) newProcessor(bal pipeline.Balances, q pipeline.CommandQueue, orders pipeline.TradeStore, bs pipeline.BookStore) (*pipeline.OrderProcessor, error) {
	risk, err := pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: w.insts, Balances: bal, Queue: q, Orders: orders, Books: bs, Logger: w.logger})
	if err != nil {
		return nil, err
	}
	return pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: w.insts, Risk: risk, Logger: w.logger})
}

// startProcessor is the OrderProcessor with its RiskChecker.
func (w *world) startProcessor(p *process) error {
	processor, err := w.newProcessor(&balances{w, p}, &queue{w, p}, &tradeStore{w, p}, &books{w, p})
	if err != nil {
		return err
	}
	p.act = func(ctx context.Context) (bool, error) {
		it := w.bus.take(w)
		if it == nil {
			return false, nil
		}
		it.due = w.now + redelivery // for whoever comes after us if we die
		req := it.req
		if err := processor.Handle(ctx, &req); err != nil {
			return true, fmt.Errorf("request %s: %w", req.Key, err)
		}
		w.bus.done(it)
		return true, nil
	}
	return nil
}

func (w *world) startEngine(p *process) error {
	engine, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{
		Instruments: w.insts, Log: pipeline.NewLog(&journal{w, p}), Books: &books{w, p}, Publisher: &publisher{w, p}, Logger: w.logger,
		Now:        func() exchange.Time { return w.now },
		DedupCount: dedupCount, MaxOrders: maxOrders, BatchCommands: batchCommands,
		BookEvery: bookEvery, SnapshotEvery: snapshotEvery,
	})
	if err != nil {
		return err
	}
	acks := &queue{w, p}
	p.act = func(ctx context.Context) (bool, error) {
		limit := receiveLimit
		if w.chance("partial batch", w.plan.partial) {
			limit = 1
		}
		d, ok := w.queue.TryReceive(limit)
		if !ok {
			return false, nil
		}
		w.planted.deliver(d.Messages)
		if w.chance("paused until the queue gave up", w.plan.nest/4) {
			w.now += visibility + 1
			w.work(ctx)
		}
		done, err := engine.Handle(ctx, d.Instrument, d.Messages)
		if done > 0 && w.chance("partial acknowledgement", w.plan.partial) {
			done = w.pick(done)
		}
		if done < 0 || done > len(d.Messages) {
			w.violated("%s says it did %d of %d messages", p.name, done, len(d.Messages))
			return true, nil
		}
		ackErr := acks.Ack(ctx, d, done)
		if err == nil && ackErr != nil && w.faulty {
			err = ackErr // in calm times a zombie's late one is no failure
		}
		return true, err
	}
	return nil
}

// consumer lets a service handle the notices that wait for it.
func (w *world) consumer(p *process, handle func(context.Context, pipeline.Notice) error) {
	p.act = func(ctx context.Context) (bool, error) {
		n := w.wire.take(p.name)
		if n == nil {
			return false, nil
		}
		n.due = w.now + redelivery
		if err := handle(ctx, n.Notice); err != nil {
			return true, err
		}
		w.wire.done(p.name, n)
		return true, nil
	}
}

func (w *world) newMarketData(p *process) (*pipeline.MarketData, error) {
	return pipeline.NewMarketData(pipeline.MarketDataConfig{Instruments: w.insts, Log: pipeline.NewLog(&journal{w, p}),
		Pusher: &pusher{w, p}, Trades: &tradeStore{w, p}, Logger: w.logger})
}

func (w *world) startMarketData(p *process) error {
	s, err := w.newMarketData(p)
	if err != nil {
		return err
	}
	w.consumer(p, s.Handle)
	return nil
}

func (w *world) newRecorder(p *process) (*pipeline.TradeRecorder, error) {
	return pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: w.insts, Log: pipeline.NewLog(&journal{w, p}),
		Trades: &tradeStore{w, p}, Archive: &archive{w, p}, ArchiveEvery: archiveEvery, Logger: w.logger})
}

func (w *world) startRecorder(p *process) error {
	s, err := w.newRecorder(p)
	if err != nil {
		return err
	}
	w.consumer(p, s.Handle)
	return nil
}

func (w *world) newSettler(p *process) (*pipeline.Settler, error) {
	return pipeline.NewSettler(pipeline.SettlerConfig{Instruments: w.insts, Log: pipeline.NewLog(&journal{w, p}), Balances: &balances{w, p}, Pusher: &pusher{w, p}, Logger: w.logger})
}

func (w *world) startSettler(p *process) error {
	s, err := w.newSettler(p)
	if err != nil {
		return err
	}
	w.consumer(p, s.Handle)
	return nil
}

// startSweeper is the Sweeper, which wakes a consumer by a notice.
func (w *world) startSweeper(p *process) error {
	wake := func(consumer string) func(context.Context, pipeline.Notice) error {
		return func(_ context.Context, n pipeline.Notice) error {
			return w.call(p, "wake", true, func() error {
				w.wire.notices[consumer] = append(w.wire.notices[consumer], &noticed{n, w.now})
				return nil
			})
		}
	}
	files := &archive{w, p}
	s, err := pipeline.NewSweeper(pipeline.SweeperConfig{
		Instruments: w.insts, Log: pipeline.NewLog(&journal{w, p}), Publisher: &publisher{w, p}, Queue: &queue{w, p}, Balances: &balances{w, p},
		Consumers: []pipeline.Consumer{
			{Name: marketDataName, Recorded: (&pusher{w, p}).Pushed, Handle: wake(marketDataName)},
			{Name: recorderName, Recorded: (&tradeStore{w, p}).Recorded, Handle: wake(recorderName)},
			{Name: settlerName, Recorded: (&balances{w, p}).Settled, Handle: wake(settlerName)},
		},
		Archived: func(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
			return pipeline.ArchivedTo(ctx, files, w.instrumentOf(inst))
		},
		Now: func() exchange.Time { return w.now }, TimeEvery: exchange.Time(timeEvery), OrphanAfter: orphanAfter, TrimEvery: trimEvery,
		Logger: w.logger,
	})
	if err != nil {
		return err
	}
	p.act = func(ctx context.Context) (bool, error) { return true, s.Handle(ctx) }
	return nil
}
