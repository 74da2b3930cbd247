// Command push takes what is for clients from its queue and posts it to their
// connections. It is the one function outside the VPC, and reaches nothing but
// its queue, the table of connections and the WebSocket API.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
)

func main() {
	wire.Start("push", func(_ context.Context, e *wire.Env) (any, error) {
		return e.Push(e.Deliverer()), nil
	})
}
