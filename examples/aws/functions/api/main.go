// Command api is the REST API: it reads from the stores, and puts what is to be
// done on the event bus.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
)

func main() {
	wire.Start("api", func(ctx context.Context, e *wire.Env) (any, error) {
		h, err := e.API(wire.APIConfig{Bus: e.Bus(), Log: e.Log(), Trades: e.Reader(ctx), Books: e.Books(), Balances: e.Balances()})
		return wire.ServeREST(h), err
	})
}
