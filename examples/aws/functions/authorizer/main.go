// Command authorizer is the Lambda authorizer of the REST API and of the
// WebSocket API's $connect: it checks the venue's tokens.
package main

import (
	"context"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
)

func main() {
	wire.Start("authorizer", func(_ context.Context, e *wire.Env) (any, error) {
		return wire.Authorize(e.Verifier().Verify), nil
	})
}
