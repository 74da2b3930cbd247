package wire

import (
	"context"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/parquet"
	"github.com/castlecloud/exchange/pipeline"
)

// The services that a process that stays runs as well as a function.

// OrderProcessor is the Build of order-processor.
func OrderProcessor(ctx context.Context, e *Env) (any, error) {
	risk, err := e.Risk(ctx)
	if err != nil {
		return nil, err
	}
	p, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{
		Instruments: e.Instruments(), Risk: risk, Metrics: e.Metrics, Logger: e.Logger,
	})
	if err != nil {
		return nil, err
	}
	return e.Requests(p.Handle), nil
}

// MatchingEngine is the Build of matching-engine.
func MatchingEngine(_ context.Context, e *Env) (any, error) {
	m, err := e.Engine(e.Instruments())
	if err != nil {
		return nil, err
	}
	return e.Commands(m.Handle), nil
}

// Engine returns a matching engine of some of the instruments.
func (e *Env) Engine(instruments []*exchange.Instrument) (*pipeline.MatchingEngine, error) {
	return pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{
		Instruments: instruments, Log: e.Log(), Books: e.Books(), Publisher: e.Publisher(), Now: Now,
		DayEnd: e.Config.DayEnd, BookEvery: BookEvery, DepthLevels: DepthLevels, DepthOrders: DepthOrders,
		Metrics: e.Metrics, Logger: e.Logger,
	})
}

// MarketData is the Build of market-data.
func MarketData(ctx context.Context, e *Env) (any, error) {
	log, trades, pusher := e.Log(), e.Trades(ctx), e.Pusher()
	d, err := pipeline.NewMarketData(pipeline.MarketDataConfig{
		Instruments: e.Instruments(), Log: log, Pusher: pusher, Trades: trades, Metrics: e.Metrics, Logger: e.Logger,
	})
	if err != nil {
		return nil, err
	}
	return e.Feed(d.Handle, pusher, e.Snapshots(log, trades, e.Books(), e.Balances())), nil
}

// TradeRecorder is the Build of trade-recorder.
func TradeRecorder(ctx context.Context, e *Env) (any, error) {
	r, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{
		Instruments: e.Instruments(), Log: e.Log(), Trades: e.Trades(ctx), Archive: e.Archive(), TradesFormat: parquet.Trades{},
		Metrics: e.Metrics, Logger: e.Logger,
	})
	if err != nil {
		return nil, err
	}
	return e.Notices(r.Handle), nil
}

// Settler is the Build of settler.
func Settler(_ context.Context, e *Env) (any, error) {
	s, err := pipeline.NewSettler(pipeline.SettlerConfig{
		Instruments: e.Instruments(), Log: e.Log(), Balances: e.Balances(), Pusher: e.Pusher(), Metrics: e.Metrics, Logger: e.Logger,
	})
	if err != nil {
		return nil, err
	}
	return e.Notices(s.Handle), nil
}

// Sweeper is the Build of sweeper.
func Sweeper(ctx context.Context, e *Env) (any, error) {
	log, publisher := e.Log(), e.Publisher()
	s, err := pipeline.NewSweeper(pipeline.SweeperConfig{
		Instruments: e.Instruments(), Log: log, Publisher: publisher, Queue: e.Queue(), Balances: e.Balances(),
		Consumers: e.Consumers(ctx, log, publisher), Archived: e.Archived(), Now: Now, Metrics: e.Metrics, Logger: e.Logger,
	})
	if err != nil {
		return nil, err
	}
	return s.Handle, nil
}
