// Package pipeline is everything between a client and the order book: the
// interfaces to the outside (ports.go), and the services of a trading venue,
// which know nothing of where they run.
//
//	client -> EventBus -> OrderProcessor -> RiskChecker -> CommandQueue -> MatchingEngine
//	MatchingEngine: replay, Apply, append to the Journal = commit, save the book, publish
//	        -> MarketData -> Pusher    -> TradeRecorder -> TradeStore, Archive    -> Settler -> Balances
//
// # What each guarantee rests on
//
// Nothing is published, saved or settled before it is durable: those calls
// take a Committed, which only a Log makes, after the journal has confirmed an
// item or given it back.
//
// One writer: an item is appended at a known position, and the journal refuses
// it when another has been there (ErrFenced).
//
// Once: a command's id is remembered by the engine, in state that the journal
// rebuilds; every consumer keeps its position in the same store, and in the
// same step, as its effect.
//
// Nothing is lost: a message is acknowledged only after its events are
// published; the Sweeper publishes what a crash left behind, wakes consumers
// that are behind, and ends holds whose command never arrived.
package pipeline
