// Command risk-checker admits the commands that order-processor invokes it
// with.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
)

func main() {
	wire.Start("risk-checker", func(ctx context.Context, e *wire.Env) (any, error) {
		risk, err := e.RiskChecker(ctx)
		if err != nil {
			return nil, err
		}
		return wire.Admit(risk), nil
	})
}
