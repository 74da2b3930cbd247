// Command market-data makes the feed of what was committed, and the snapshots
// that subscribers begin with, and puts both into the push queue.
package main

import "github.com/castlecloud/exchange/examples/aws/internal/wire"

func main() { wire.Start("market-data", wire.MarketData) }
