// Command market-data makes the feed of what was committed, and the snapshots
// that subscribers begin with, and puts both into the push queue.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
)

func main() {
	wire.Start("market-data", func(ctx context.Context, e *wire.Env) (any, error) {
		log, trades, pusher := e.Log(), e.Trades(ctx), e.Pusher()
		d, err := pipeline.NewMarketData(pipeline.MarketDataConfig{
			Instruments: e.Instruments(), Log: log, Pusher: pusher, Trades: trades, Metrics: e.Metrics, Logger: e.Logger,
		})
		if err != nil {
			return nil, err
		}
		return e.Feed(d.Handle, pusher, e.Snapshots(log, trades, e.Books(), e.Balances())), nil
	})
}
