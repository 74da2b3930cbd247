// Command trade-recorder brings what was committed to the trade store and to
// the archive.
package main

import (
	"context"

	"github.com/castlecloud/exchange/adapters/parquet"
	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
)

func main() {
	wire.Start("trade-recorder", func(ctx context.Context, e *wire.Env) (any, error) {
		r, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{
			Instruments: e.Instruments(), Log: e.Log(), Trades: e.Trades(ctx), Archive: e.Archive(), TradesFormat: parquet.Trades{},
			Metrics: e.Metrics, Logger: e.Logger,
		})
		if err != nil {
			return nil, err
		}
		return e.Notices(r.Handle), nil
	})
}
