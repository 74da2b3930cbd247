package venue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/exchange/internal/hub"
	"github.com/castlecloud/exchange/examples/internal/edge"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/examples/internal/view"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// What the book shows of each side.
const (
	depthLevels = pipeline.MaxDepthLevels
	depthOrders = 1000
)

// parts are what the rest of the venue needs of the pipeline.
type parts struct {
	instruments []*exchange.Instrument
	log         *pipeline.Log
	board       *progress.Board
	trades      pipeline.TradeStore
	balances    pipeline.Balances
	books       pipeline.BookStore
	bus         *memory.Bus
	queue       *memory.Queue
	publisher   *memory.Publisher
	edge        *edge.Edge
	snapshots   *view.Snapshots
}

func now() exchange.Time { return exchange.Time(time.Now().UnixNano()) }

// startPipeline opens the stores and runs the services on them.
func (v *Venue) startPipeline(ctx context.Context, instruments []*exchange.Instrument) (*parts, error) {
	st, err := openStores(v.cfg.Dir)
	if err != nil {
		return nil, err
	}
	v.closeLater(st.close)
	board := progress.NewBoard(v.trace, time.Now)
	p := &parts{
		instruments: instruments, log: pipeline.NewLog(st.journal), board: board,
		trades: board.TradeStore(st.trades), balances: board.Balances(st.balances), books: memory.NewBookStore(),
		bus: memory.NewBus(memory.BusConfig{}), queue: memory.NewQueue(memory.QueueConfig{}), publisher: memory.NewPublisher(),
	}
	if err := board.Load(ctx, p.log, st.archive, st.trades, st.balances, instruments); err != nil {
		return nil, err
	}
	p.snapshots = &view.Snapshots{Board: board, Store: p.trades, Books: p.books, Balances: p.balances, Instruments: instruments, Now: time.Now}
	v.startHub(p)
	resident, processor, err := v.services(p, st.archive)
	if err != nil {
		return nil, err
	}
	v.run(resident.Run)
	p.edge = edge.New(edge.Config{Instruments: instruments, Prepare: processor.Prepare, Bus: p.bus, Board: board, Store: p.trades,
		Balances: p.balances, Trace: v.trace, Now: time.Now, Wait: v.cfg.Wait})
	return p, p.wake(ctx)
}

func (v *Venue) startHub(p *parts) {
	v.hub = hub.New(hub.Config{
		Instruments: p.instruments, Snapshots: p.snapshots, Verify: v.keys.Verify, Now: time.Now, Metrics: v.metrics, Logger: v.log, Limits: v.cfg.Feed,
		Pushed: func(inst exchange.InstrumentID, pos pipeline.Position) {
			p.board.Pushed(context.Background(), p.log, inst, pos)
		},
	})
	for _, in := range p.instruments {
		head := p.board.Committed(in.ID())
		v.hub.Start(in.ID(), head.Position, head.Seq)
	}
	v.closeLater(func() error { v.hub.Close(); return nil })
}

// services makes the services of the pipeline, and what runs them.
func (v *Venue) services(p *parts, archive pipeline.Archive) (*pipeline.Resident, *pipeline.OrderProcessor, error) {
	instruments, met, log := p.instruments, v.metrics, v.log
	queue, publisher := p.board.CommandQueue(p.queue), p.board.Publisher(p.publisher)
	risk, err := pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: instruments, Balances: p.balances, Queue: queue,
		Orders: p.trades, Books: p.books, Metrics: met, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	processor, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: instruments, Risk: risk, Metrics: met, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	engine, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: instruments, Log: p.log, Books: p.books,
		Publisher: publisher, Metrics: met, Logger: log, Now: now, DepthLevels: depthLevels, DepthOrders: depthOrders})
	if err != nil {
		return nil, nil, err
	}
	market, err := pipeline.NewMarketData(pipeline.MarketDataConfig{Instruments: instruments, Log: p.log, Pusher: v.hub, Trades: p.trades, Metrics: met, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: instruments, Log: p.log, Trades: p.trades, Archive: archive, Metrics: met, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	settler, err := pipeline.NewSettler(pipeline.SettlerConfig{Instruments: instruments, Log: p.log, Balances: p.balances, Pusher: v.hub, Metrics: met, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	consumer := func(name, latency string, at func(context.Context, exchange.InstrumentID) (pipeline.Position, error), handle func(context.Context, pipeline.Notice) error) pipeline.ResidentConsumer {
		return pipeline.ResidentConsumer{Consumer: pipeline.Consumer{Name: name, Recorded: at, Handle: handle}, Notices: p.publisher.Subscribe(), Latency: latency}
	}
	resident, err := pipeline.NewResident(pipeline.ResidentConfig{
		Instruments: instruments, Log: p.log, Requests: p.bus, Process: processor.Handle, Queue: p.queue, Match: engine.Handle,
		Consumers: []pipeline.ResidentConsumer{
			consumer("market data", pipeline.MetricPushedAfter, v.hub.Pushed, market.Handle),
			consumer("trade recorder", pipeline.MetricRecordedAfter, p.trades.Recorded, recorder.Handle),
			consumer("settler", pipeline.MetricSettledAfter, p.balances.Settled, settler.Handle),
		},
		Sweeper: pipeline.SweeperConfig{Instruments: instruments, Log: p.log, Publisher: publisher, Queue: queue, Balances: p.balances,
			Archived: recorder.Archived, Now: now, Metrics: met, Logger: log},
		Now: now, Metrics: met, Logger: log,
	})
	return resident, processor, err
}

// wake brings the time to every instrument that has a journal, and waits until
// it is there: the engine is loaded then, and the book to be seen.
func (p *parts) wake(ctx context.Context) error {
	at, heads := now(), map[exchange.InstrumentID]pipeline.Position{}
	for _, in := range p.instruments {
		if heads[in.ID()] = p.board.Committed(in.ID()).Position; heads[in.ID()] == 0 {
			continue
		}
		c := exchange.AdvanceTime(in.ID(), at)
		c.ID = pipeline.CommandIDOf(0, in.ID(), exchange.KindAdvanceTime, "start "+strconv.FormatInt(int64(at), 10))
		body, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: c})
		if err == nil {
			err = p.queue.Send(ctx, []pipeline.QueueMessage{{Instrument: in.ID(), DedupID: c.ID, Body: body}})
		}
		if err != nil {
			return fmt.Errorf("waking %s: %w", in.Symbol(), err)
		}
	}
	for _, in := range p.instruments {
		if head := heads[in.ID()]; head > 0 {
			if err := p.board.Reach(ctx, in.ID(), head+1); err != nil {
				return fmt.Errorf("loading %s: %w", in.Symbol(), err)
			}
		}
	}
	return nil
}

// healthy returns why not.
func (p *parts) healthy() error {
	var failed error
	for _, in := range p.instruments {
		failed = errors.Join(failed, p.board.Stalled(in.ID()))
	}
	return failed
}
