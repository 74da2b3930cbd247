// Command sweeper does, on a schedule, what nobody else does: it publishes what
// a crash left behind, wakes consumers, brings the time, voids holds without an
// order, and trims the journal.
package main

import "github.com/castlecloud/exchange/examples/aws/internal/wire"

func main() { wire.Start("sweeper", wire.Sweeper) }
