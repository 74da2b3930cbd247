package workload

import "github.com/castlecloud/exchange"

// Applier is an exchange.Engine or an exchange.Matcher.
type Applier interface {
	Apply(dst []exchange.Event, cmd *exchange.Command) []exchange.Event
}

// Engine returns an engine for the stream's instrument that the stream's
// Commands can be applied to.
func (s *Stream) Engine(cfg exchange.Config) *exchange.Engine {
	cfg.Instruments = []*exchange.Instrument{s.Instrument}
	e, err := exchange.NewEngine(cfg)
	if err != nil {
		panic(err) // the instrument is a constant and the rest of cfg the caller's own
	}
	if cfg.Funds == exchange.FundsLedger {
		Apply(nil, e, s.Deposits)
	}
	Apply(nil, e, s.Prefill)
	return e
}

// Matcher returns a matcher that the stream's Commands can be applied to.
func (s *Stream) Matcher(cfg exchange.MatcherConfig) *exchange.Matcher {
	m, err := exchange.NewMatcher(s.Instrument, cfg)
	if err != nil {
		panic(err) // as in Engine
	}
	Apply(nil, m, s.Prefill)
	return m
}

// Apply applies commands and drops their events, as fast as it goes: the call
// is direct, and the events of every command are built in the same slice. That
// slice is returned to be given again.
func Apply(events []exchange.Event, a Applier, commands []exchange.Command) []exchange.Event {
	switch a := a.(type) {
	case *exchange.Matcher:
		for i := range commands {
			events = a.Apply(events[:0], &commands[i])
		}
	case *exchange.Engine:
		for i := range commands {
			events = a.Apply(events[:0], &commands[i])
		}
	default:
		for i := range commands {
			events = a.Apply(events[:0], &commands[i])
		}
	}
	return events
}

// Outcome is what commands led to. Sum stands for all trades: who traded with
// whom, at what price, how much, in which order.
type Outcome struct {
	Rejected, Trades int
	Sum              uint64
}

// Look applies commands and looks at their events.
func Look(a Applier, commands []exchange.Command) (o Outcome) {
	var events []exchange.Event
	for i := range commands {
		events = a.Apply(events[:0], &commands[i])
		if _, ok := exchange.Rejected(events); ok {
			o.Rejected++
		}
		for j := range events {
			if ev := &events[j]; ev.Kind == exchange.EventTrade {
				o.Trades++
				for _, x := range [...]uint64{uint64(ev.OrderID), uint64(ev.MakerOrderID), uint64(ev.Price), uint64(ev.Qty)} {
					o.Sum = (o.Sum ^ x) * 0x100000001b3 // FNV-1a
				}
			}
		}
	}
	return o
}
