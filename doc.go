// Package exchange is an exchange core: it keeps order books, matches orders
// by price and time, checks risk, keeps funds, and says what happened in
// events. It is a deterministic state machine without clock, randomness,
// goroutines and I/O: the same commands give the same events, byte for byte,
// on every machine.
//
// # The smallest loop
//
//	engine, err := exchange.NewEngine(exchange.Config{
//		Funds:       exchange.FundsNone,
//		Instruments: []*exchange.Instrument{inst},
//	})
//	var events []exchange.Event
//	for cmd := range commands { // one goroutine, in order
//		events = engine.Apply(events[:0], &cmd)
//		// journal cmd and events, then publish events
//	}
//
// An [Engine] has many instruments, accounts, limits and one of three modes of
// funds. A [Matcher] is one instrument without any of that. Both take a
// [Command], which constructors such as [LimitOrder] make, and append
// [Event] values to the caller's slice. [Dispatch] hands them to a [Handler].
// [Book] reads: best, depth by level, by order and by place in the queue.
//
// # The caller's duties
//
//  1. Apply from one goroutine at a time. Reads may run side by side, but not
//     beside Apply.
//  2. Stamp Command.Time once, where the request enters the venue, and keep it
//     when the request is sent again. Bring the time on quiet books with
//     [AdvanceTime].
//  3. Give every request its own CommandID and keep it when the request is
//     sent again. It should be spread evenly, such as a hash. Without one
//     nothing protects from applying a request twice.
//  4. Set Command.Account from whom you have authenticated, never from what
//     they sent.
//  5. Write a command and its events down before you tell anybody: state that
//     is not in a journal is lost with the process. A journal of commands and
//     a snapshot now and then ([Engine.AppendSnapshot], [Engine.Restore])
//     bring it back; [Engine.Hash] compares.
//  6. In FundsHeld, settle and release what the events say, each once. A hold
//     is named by the ID of its command; a rejection of a late resend may
//     name one that has ended, which is then released no more. When a command
//     that was held for does not arrive, send a [Void] in its stead.
//
// A refusal is no error: Apply is total, and every command, however wrong,
// gives at least one event. [Rejected] finds the [Reason].
//
// # Numbers
//
// Inside there are only integers: [Price] in ticks, [Qty] in lots, [Amount] in
// atoms of an asset. [Instrument] converts from and to decimal.Decimal and
// refuses what is off the grid. Nothing ever wraps, rounds or clamps but the
// fee, which is rounded up once per order (docs/rules/instruments.md,
// docs/rules/funds.md).
//
// # Order of events
//
// The events of one command come in this order: orders that expired by its
// time; the acceptance (for a replace the cancel before it; for an amend the
// change); trades in match order, each followed by a replenished iceberg or,
// for a prevented self-trade, by whom it ended; what became of the rest; and
// then, for each stop that the trades triggered, in turn, the same again. A
// rejection is the only event beside what expired. Every event carries its
// instrument's own dense sequence; what concerns no instrument has stream 0.
//
// # Determinism
//
// The package uses no float, no map iteration, no time, no randomness and no
// goroutine; a test of the repository enforces it. Two engines of the same
// [Config] that have applied the same commands have the same [Engine.Hash],
// also when one of them was restored from a snapshot on the way.
//
// # Words
//
// They are the field's, as in FIX and ITCH; docs/fix.md of the repository has
// FIX's tags and values beside them. An aggressor or taker is the order that
// trades on entry, a maker the one that rests. Leaves is the open quantity,
// Cum the executed one. A tick is the step of the price, a lot the step of the
// quantity. The last price is that of the last trade; the reference price is
// what the collar is measured from. To hold is to set funds aside for an
// order, to release is to give them back, to settle is to move what was traded.
//
// The rules, numbered, are in docs/rules of the repository; every one is cited
// by a test.
package exchange
