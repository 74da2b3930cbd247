// Command websocket answers the clients of the WebSocket API: connect,
// disconnect, auth, subscribe, unsubscribe and ping.
package main

import (
	"context"

	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/examples/aws/internal/wire"
)

func main() {
	wire.Start("websocket", func(_ context.Context, e *wire.Env) (any, error) {
		s, err := apigateway.NewSessions(apigateway.SessionsConfig{
			Instruments: e.Instruments(), Table: e.Connections(), Verify: wire.Identity(e.Verifier()), Ask: e.MarketData(), Logger: e.Logger,
		})
		if err != nil {
			return nil, err
		}
		return e.Sockets(s), nil
	})
}
