// Command trade-recorder brings what was committed to the trade store and to
// the archive.
package main

import "github.com/castlecloud/exchange/examples/aws/internal/wire"

func main() { wire.Start("trade-recorder", wire.TradeRecorder) }
