// Command matching-engine takes commands from its shard's queue, matches,
// commits to the journal, saves the book and publishes.
package main

import "github.com/castlecloud/exchange/examples/aws/internal/wire"

func main() { wire.Start("matching-engine", wire.MatchingEngine) }
