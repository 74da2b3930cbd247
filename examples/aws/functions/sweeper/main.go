// Command sweeper does, on a schedule, what nobody else does: it publishes what
// a crash left behind, wakes consumers, brings the time, voids holds without an
// order, and trims the journal.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
)

func main() {
	wire.Start("sweeper", func(ctx context.Context, e *wire.Env) (any, error) {
		log, publisher := e.Log(), e.Publisher()
		s, err := pipeline.NewSweeper(pipeline.SweeperConfig{
			Instruments: e.Instruments(), Log: log, Publisher: publisher, Queue: e.Queue(), Balances: e.Balances(),
			Consumers: e.Consumers(ctx, log, publisher), Archived: e.Archived(), Now: wire.Now, Metrics: e.Metrics, Logger: e.Logger,
		})
		if err != nil {
			return nil, err
		}
		return s.Sweep, nil
	})
}
