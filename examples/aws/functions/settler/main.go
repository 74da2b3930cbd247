// Command settler brings what was committed to the balances, and tells the
// accounts.
package main

import "github.com/castlecloud/exchange/examples/aws/internal/wire"

func main() { wire.Start("settler", wire.Settler) }
