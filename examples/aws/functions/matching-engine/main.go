// Command matching-engine takes commands from its shard's queue, matches,
// commits to the journal, saves the book and publishes.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
)

func main() {
	wire.Start("matching-engine", func(_ context.Context, e *wire.Env) (any, error) {
		m, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{
			Instruments: e.Instruments(), Log: e.Log(), Books: e.Books(), Publisher: e.Publisher(), Now: wire.Now,
			DayEnd: e.Config.DayEnd, BookEvery: wire.BookEvery, DepthLevels: wire.DepthLevels, DepthOrders: wire.DepthOrders,
			Metrics: e.Metrics, Logger: e.Logger,
		})
		if err != nil {
			return nil, err
		}
		return e.Commands(m.Handle), nil
	})
}
