// Command order-processor makes commands of the requests of the event bus, and
// has them admitted: by the function risk-checker, or by itself.
package main

import "github.com/castlecloud/exchange/examples/aws/internal/wire"

func main() { wire.Start("order-processor", wire.OrderProcessor) }
