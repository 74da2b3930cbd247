// Command settler brings what was committed to the balances, and tells the
// accounts.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
)

func main() {
	wire.Start("settler", func(_ context.Context, e *wire.Env) (any, error) {
		s, err := pipeline.NewSettler(pipeline.SettlerConfig{
			Instruments: e.Instruments(), Log: e.Log(), Balances: e.Balances(), Pusher: e.Pusher(), Metrics: e.Metrics, Logger: e.Logger,
		})
		if err != nil {
			return nil, err
		}
		return e.Notices(s.Handle), nil
	})
}
