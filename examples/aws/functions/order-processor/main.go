// Command order-processor makes commands of the requests of the event bus, and
// has them admitted: by the function risk-checker, or by itself.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
)

func main() {
	wire.Start("order-processor", func(ctx context.Context, e *wire.Env) (any, error) {
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
	})
}
