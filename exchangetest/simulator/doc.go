// Package simulator runs the whole pipeline of package pipeline, every service
// and every port, in one goroutine on a virtual clock, with faults drawn from
// a seed, and checks afterwards that nothing was lost, doubled or invented.
//
// The services are the real ones and the ports those of package memory, as a
// store that survives crashes. Between the two stands a fault injector: any
// call of a port may fail before it took effect or after, may be the last thing
// its process does, and may find that other processes did something in the
// meantime: so two matching engines run on the same instruments, each now and
// then a zombie of the other. Queues repeat, delay and reorder what they may;
// the book store forgets, or comes back older.
//
// After the given number of client requests the faults stop, everything must
// drain, and then (checks.go): assets are conserved; no balance and no hold is
// negative; what is held is what open orders need; every accepted request has
// exactly one effect; every trade is exactly once in the trade store, in the
// archive, in the balances and in the feed; sequences are dense; events are
// those of the slow reference; the depth feed rebuilds the book; a replayed
// journal gives the same hash.
//
// One seed is one schedule, always the same. `make sim` runs many; TestSim
// prints how to run one again.
package simulator
