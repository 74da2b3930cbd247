package exchange_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
)

// kinds plays lines and returns the kinds and orders of the last one's events.
func kinds(t *testing.T, lines ...string) string {
	s := newStage(t, nil)
	for _, line := range lines {
		s.must(line)
	}
	var out []string
	for _, ev := range s.events {
		out = append(out, fmt.Sprintf("%s %d", ev.Kind, ev.OrderID))
	}
	return strings.Join(out, ", ")
}

// EVENT-001, named cases; transcripts show the contents.
func TestOrderOfEvents(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		lines      []string
	}{
		{"an order that rests", "accepted 1", []string{"a1 buy 5@100"}},
		{"an order that trades and rests", "accepted 3, traded 3, traded 3", []string{"a1 sell 2@100", "a2 sell 2@101", "a3 buy 5@101"}},
		{"a maker's next slice follows its trade", "accepted 3, traded 3, replenished 1, traded 3, traded 3",
			[]string{"a1 sell 4@100 show=2", "a2 sell 1@100", "a3 buy 4@100"}},
		{"a remainder is canceled last", "accepted 2, traded 2, canceled 2", []string{"a1 sell 2@100", "a3 buy 5@100 ioc"}},
		{"a remainder is repriced last", "accepted 2, traded 2, repriced 2", []string{"a1 sell 2@100", "a3 buy 5 mtl"}},
		{"a prevented match is followed by whom it ends, the maker first", "accepted 2, self-trade prevented 2, canceled 1, canceled 2",
			[]string{"a1 sell 2@100", "a1 buy 5@100 stp=both"}},
		{"a decremented slice is followed by the next, then the taker's end", "accepted 2, self-trade prevented 2, replenished 1, canceled 2",
			[]string{"a1 sell 4@100 show=2", "a1 buy 2@100 stp=decrement"}},
		{"the elected come after the aggressor has ended", "accepted 4, traded 4, canceled 4, triggered 2, canceled 2",
			[]string{"a1 sell 2@100", "a2 buy 1@50 stop=100 ioc", "a3 buy 1@50", "a3 buy 5@100 ioc"}},
		{"a trigger already met", "accepted 1, triggered 1", []string{"last 100", "a1 buy 1@50 stop=100"}},
		{"a replace", "canceled 1, accepted 3, traded 3", []string{"a1 buy 2@100", "a2 sell 1@101", "a1 replace #1 @101"}},
		{"an amend that takes", "amended 1, traded 1", []string{"a1 buy 2@100", "a2 sell 1@101", "a1 amend #1 @101"}},
		{"an amend that ends", "canceled 1", []string{"a1 buy 2@100", "a2 sell 1@100", "a1 amend #1 1"}},
		{"a mass cancel", "canceled 1, canceled 2, mass canceled 0", []string{"a1 buy 2@100", "a2 buy 2@101", "masscancel"}},
		{"a kill", "canceled 1, canceled 2, killed 0", []string{"a1 buy 2@100", "a2 buy 2@101", "kill"}},
		{"the end of the day", "expired 1, day ended 0", []string{"a1 buy 2@100 day", "endday"}},
		{"time", "expired 1, time advanced 0", []string{"a1 buy 2@100 gtd=5", "time 5"}},
		{"a last price", "last price set 0, triggered 1", []string{"a1 buy 2@50 stop=100", "last 100"}},
		{"trading resumes", "instrument state set 0, triggered 1", []string{"a1 buy 2@50 stop=100", "state halted", "last 100", "state trading"}},
		{"what expires comes before everything", "expired 1, accepted 2", []string{"a1 buy 2@100 gtd=5", "a2 buy 2@100 at=5"}},
		{"EVENT-002: a rejection is last", "expired 1, rejected 0", []string{"a1 buy 2@100 gtd=5", "a2 buy 0@100 at=5"}},
		{"EVENT-002: a duplicate is alone", "duplicate 0", []string{"a1 buy 2@100 gtd=5 id=x", "a2 buy 2@100 at=5 id=x"}},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, kinds(t, tc.lines...)) })
	}
}

// grammar checks the events of one command against EVENT-001 and EVENT-002,
// and over all commands that an order is spoken of only while it lives and
// ends once: EVENT-004.
type grammar struct {
	events []exchange.Event
	at     int
	live   map[orderKey]bool
	ended  map[orderKey]bool
	// byFunds are live market orders by funds alone: they have no open quantity
	// to use up, so only a cancel ends them.
	byFunds map[orderKey]bool
}

type orderKey struct {
	inst exchange.InstrumentID
	id   exchange.OrderID
}

// next takes the next event when it is of that kind.
func (g *grammar) next(kind exchange.EventKind) *exchange.Event {
	if g.at < len(g.events) && g.events[g.at].Kind == kind {
		g.at++
		return &g.events[g.at-1]
	}
	return nil
}

func (g *grammar) end(inst exchange.InstrumentID, id exchange.OrderID) error {
	k := orderKey{inst, id}
	if !g.live[k] {
		return fmt.Errorf("order %v ends and does not live", k)
	}
	delete(g.live, k)
	g.ended[k] = true
	return nil
}

// command checks the events of one command.
func (g *grammar) command(cmd *exchange.Command, events []exchange.Event) (err error) {
	g.events, g.at = events, 0
	fail := func(e error) { err = errors.Join(err, e) }
	if g.next(exchange.EventDuplicate) != nil {
		return g.done()
	}
	if cmd.Kind != exchange.KindEndDay {
		for ev := g.next(exchange.EventExpired); ev != nil; ev = g.next(exchange.EventExpired) {
			fail(g.end(ev.Instrument, ev.OrderID))
		}
	}
	if g.next(exchange.EventRejected) != nil {
		return errors.Join(err, g.done())
	}
	switch cmd.Kind {
	case exchange.KindNewOrder, exchange.KindReplace:
		if ev := g.next(exchange.EventCanceled); ev != nil {
			if cmd.Kind != exchange.KindReplace || ev.Reason != exchange.ByReplace {
				fail(errors.New("canceled before it is accepted"))
			}
			fail(g.end(ev.Instrument, ev.OrderID))
		}
		ev := g.next(exchange.EventAccepted)
		if ev == nil {
			return errors.Join(err, errors.New("neither accepted nor rejected"))
		}
		k := orderKey{ev.Instrument, ev.OrderID}
		if g.live[k] || g.ended[k] {
			fail(fmt.Errorf("order id %v again", k))
		}
		g.live[k] = true
		g.byFunds[k] = ev.Qty == 0
		fail(g.act(k))
	case exchange.KindAmend, exchange.KindReduce, exchange.KindCancel:
		if ev := g.next(exchange.EventCanceled); ev != nil {
			fail(g.end(ev.Instrument, ev.OrderID))
		} else if ev := g.next(exchange.EventAmended); ev != nil {
			fail(g.act(orderKey{ev.Instrument, ev.OrderID}))
		}
	case exchange.KindMassCancel, exchange.KindKill, exchange.KindEndDay:
		last := map[exchange.CommandKind]exchange.EventKind{exchange.KindMassCancel: exchange.EventMassCanceled,
			exchange.KindKill: exchange.EventKilled, exchange.KindEndDay: exchange.EventDayEnded}[cmd.Kind]
		n := 0
		for g.at < len(events) && (events[g.at].Kind == exchange.EventCanceled || events[g.at].Kind == exchange.EventExpired) {
			if cmd.Kind != exchange.KindEndDay || events[g.at].Reason == exchange.ByEndOfDay {
				n++
			}
			fail(g.end(events[g.at].Instrument, events[g.at].OrderID))
			g.at++
		}
		if ev := g.next(last); ev == nil || int(ev.Qty) != n {
			fail(fmt.Errorf("%d orders ended, then %+v", n, ev))
		}
	default:
		g.at++ // says what was set
	}
	for ev := g.next(exchange.EventTriggered); ev != nil; ev = g.next(exchange.EventTriggered) {
		fail(g.act(orderKey{ev.Instrument, ev.OrderID}))
	}
	return errors.Join(err, g.done())
}

// act is what an aggressor does: trades and prevented matches, then its end.
func (g *grammar) act(taker orderKey) (err error) {
	fail := func(e error) { err = errors.Join(err, e) }
	if !g.live[taker] {
		fail(fmt.Errorf("order %v acts and does not live", taker))
	}
	for {
		if ev := g.next(exchange.EventTrade); ev != nil {
			if ev.OrderID != taker.id || !g.live[orderKey{taker.inst, ev.MakerOrderID}] || !g.live[taker] {
				fail(fmt.Errorf("trade %+v of %v", ev, taker))
			}
			if ev.MakerLeavesQty == 0 {
				fail(g.end(taker.inst, ev.MakerOrderID))
			} else if r := g.next(exchange.EventReplenished); r != nil && r.OrderID != ev.MakerOrderID {
				fail(fmt.Errorf("order %d is replenished after a trade with %d", r.OrderID, ev.MakerOrderID))
			}
			if ev.LeavesQty == 0 && !g.byFunds[taker] {
				fail(g.end(taker.inst, taker.id))
			}
			continue
		}
		ev := g.next(exchange.EventSelfTradePrevented)
		if ev == nil {
			break
		}
		if g.at < len(g.events) && g.events[g.at].OrderID == ev.MakerOrderID && g.next(exchange.EventReplenished) == nil &&
			g.next(exchange.EventCanceled) != nil {
			fail(g.end(taker.inst, ev.MakerOrderID))
		}
	}
	if ev := g.next(exchange.EventCanceled); ev != nil {
		fail(g.end(ev.Instrument, ev.OrderID))
		if ev.OrderID != taker.id {
			fail(fmt.Errorf("order %d is canceled while %d acts", ev.OrderID, taker.id))
		}
	} else {
		g.next(exchange.EventRepriced)
	}
	return err
}

func (g *grammar) done() error {
	if g.at != len(g.events) {
		return fmt.Errorf("event %d has no place there: %+v", g.at, g.events[min(g.at, len(g.events)-1)])
	}
	return nil
}

// TestGrammarOfEvents holds long streams of hostile commands against EVENT-001,
// EVENT-002 and EVENT-004; at the end the orders that have not ended are those
// in the book. EVENT-003: sequences, order ids and trade ids are dense.
func TestGrammarOfEvents(t *testing.T) {
	const runs, steps = 25, 600
	for _, mode := range modelModes {
		t.Run(mode.name, func(t *testing.T) {
			for seed := uint64(1); seed <= runs; seed++ {
				rng := rand.New(rand.NewPCG(seed, 2))
				s := newSystem(t, mode.mode, mode.alone, 0)
				gen := newGenerator(rng.IntN, mode.mode, mode.alone)
				g := grammar{live: map[orderKey]bool{}, ended: map[orderKey]bool{}, byFunds: map[orderKey]bool{}}
				cmds := s.fund()
				for range steps {
					cmds = append(cmds, gen.next())
				}
				seq, orders, trades := map[exchange.InstrumentID]uint64{}, map[exchange.InstrumentID]exchange.OrderID{}, map[exchange.InstrumentID]exchange.TradeID{}
				for i := range cmds {
					events := s.apply.Apply(nil, &cmds[i])
					require.NoError(t, g.command(&cmds[i], events), "seed %d, command %d: %+v\n%+v", seed, i, cmds[i], events)
					for _, ev := range events {
						if ev.Kind == exchange.EventDuplicate {
							require.Zero(t, ev.Seq)
							continue
						}
						seq[ev.Instrument]++
						require.Equal(t, seq[ev.Instrument], ev.Seq)
						switch ev.Kind {
						case exchange.EventAccepted:
							orders[ev.Instrument]++
							require.Equal(t, orders[ev.Instrument], ev.OrderID)
						case exchange.EventTrade:
							trades[ev.Instrument]++
							require.Equal(t, trades[ev.Instrument], ev.TradeID)
						}
					}
				}
				live := 0
				for _, in := range s.insts {
					live += s.book(in.ID()).Len()
				}
				require.Len(t, g.live, live, "seed %d", seed)
			}
		})
	}
}

// TestDispatch shows that a handler has the events one by one and in order,
// and may call the engine again with another slice.
func TestDispatch(t *testing.T) {
	s := newStage(t, nil)
	s.must("a1 sell 2@100")
	s.must("a2 sell 2@101")
	cmd, err := parseCommand(strings.Fields("a3 buy 3@101"))
	require.NoError(t, err)
	events := s.engine.Apply(nil, &cmd)
	want := append([]exchange.Event(nil), events...)

	var seen []exchange.Event
	var again []exchange.Event
	exchange.Dispatch(events, exchange.HandlerFunc(func(ev *exchange.Event) {
		seen = append(seen, *ev)
		if ev.Kind == exchange.EventTrade { // hit back at once
			order := exchange.LimitOrder(ev.Instrument, ev.Account, exchange.Sell, ev.Price, 1)
			again = s.engine.Apply(again, &order)
		}
	}))
	assert.Equal(t, want, seen)
	assert.Equal(t, want, events, "the events of the caller are its own")
	require.Len(t, again, 2)
	assert.Equal(t, exchange.EventAccepted, again[0].Kind)
	assert.Equal(t, want[len(want)-1].Seq+1, again[0].Seq, "the state had changed before the first event was handed out")
	assert.Equal(t, exchange.OrderID(4), again[0].OrderID)

	calls := 0
	exchange.Dispatch(nil, exchange.HandlerFunc(func(*exchange.Event) { calls++ }))
	assert.Zero(t, calls)
}

// TestDispatchMayChange shows that the event a handler has is the caller's own.
func TestDispatchMayChange(t *testing.T) {
	events := []exchange.Event{{Seq: 1}, {Seq: 2}}
	exchange.Dispatch(events, exchange.HandlerFunc(func(ev *exchange.Event) { ev.Seq += 10 }))
	assert.Equal(t, []exchange.Event{{Seq: 11}, {Seq: 12}}, events)
}

// TestRejected: EVENT-002.
func TestRejected(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events []exchange.Event
		reason exchange.Reason
		ok     bool
	}{
		{"no events", nil, 0, false},
		{"accepted", []exchange.Event{{Kind: exchange.EventAccepted}}, 0, false},
		{"canceled", []exchange.Event{{Kind: exchange.EventAccepted}, {Kind: exchange.EventCanceled, Reason: exchange.FillOrKill}}, 0, false},
		{"rejected", []exchange.Event{{Kind: exchange.EventRejected, Reason: exchange.BookFull}}, exchange.BookFull, true},
		{"rejected after an expiry", []exchange.Event{{Kind: exchange.EventExpired, Reason: exchange.ByExpire},
			{Kind: exchange.EventRejected, Reason: exchange.InvalidQty}}, exchange.InvalidQty, true},
		{"duplicate", []exchange.Event{{Kind: exchange.EventDuplicate, Reason: exchange.DuplicateCommand}}, exchange.DuplicateCommand, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reason, ok := exchange.Rejected(tc.events)
			assert.Equal(t, tc.reason, reason)
			assert.Equal(t, tc.ok, ok)
		})
	}
}

// TestApplyAppends shows that the events before are left alone.
func TestApplyAppends(t *testing.T) {
	s := newStage(t, nil)
	mark := exchange.Event{Seq: 99}
	for _, room := range []int{1, 2, 64} {
		dst := append(make([]exchange.Event, 0, room), mark)
		cmd := exchange.LimitOrder(1, 1, exchange.Buy, 100, 1)
		got := s.engine.Apply(dst, &cmd)
		require.Len(t, got, 2)
		assert.Equal(t, mark, got[0])
		assert.Equal(t, exchange.EventAccepted, got[1].Kind)
	}
}

// names checks the names of an enum: those of first to last are given and
// differ, those beside them are not.
func names[E interface {
	~uint8 | ~uint16
	fmt.Stringer
}](t *testing.T, first, last E) {
	seen := map[string]E{}
	for v := first; v <= last; v++ {
		name := v.String()
		assert.NotEmpty(t, name, "%T %d", v, uint(v))
		assert.NotContains(t, name, "invalid", "%T %d", v, uint(v))
		assert.NotContains(t, seen, name, "%T %d", v, uint(v))
		seen[name] = v
	}
	for _, v := range []E{first - 1, last + 1, ^E(0)} {
		assert.Contains(t, v.String(), "invalid", "%T %d", v, uint(v))
	}
}

func TestNamesOfEnums(t *testing.T) {
	names(t, exchange.KindNewOrder, exchange.KindVoid)
	names(t, exchange.EventAccepted, exchange.EventInstrumentStateSet)
	names(t, exchange.Buy, exchange.Sell)
	names(t, exchange.Limit, exchange.TakeProfitLimit)
	names(t, exchange.GTC, exchange.FOK)
	names(t, exchange.SelfTradePrevention(0), exchange.Decrement)
	names(t, exchange.PostOnly(0), exchange.PostOnlySlide)
	names(t, exchange.LimitOpenOrders, exchange.LimitCollarDown)
	names(t, exchange.AccountActive, exchange.AccountSuspended)
	names(t, exchange.InstrumentTrading, exchange.InstrumentHalted)
	names(t, exchange.FundsNone, exchange.FundsHeld)
	assert.Equal(t, "none", exchange.SelfTradePrevention(0).String())
}

// TestReasons shows that reasons have names of their own and are errors.
func TestReasons(t *testing.T) {
	seen := map[string]exchange.Reason{}
	named := 0
	for r := exchange.Reason(0); r <= exchange.ReasonUser+1; r++ {
		name := r.String()
		assert.Equal(t, name, r.Error())
		assert.NotContains(t, seen, name)
		seen[name] = r
		valid := r >= exchange.InvalidKind && r <= exchange.InvalidID || r >= exchange.ByRequest && r <= exchange.ByEndOfDay
		assert.Equal(t, !valid, strings.HasPrefix(name, "reason "), "%d: %q", uint(r), name)
		assert.Equal(t, strings.ToLower(name), name)
		if valid {
			named++
		}
	}
	assert.Equal(t, 72, named)

	s := newStage(t, []string{"ledger"})
	reason, refused := exchange.Rejected(s.must("a1 buy 1@100"))
	require.True(t, refused)
	var err error = reason
	assert.ErrorIs(t, err, exchange.InsufficientFunds)
	assert.ErrorIs(t, fmt.Errorf("order 7: %w", err), exchange.InsufficientFunds)
	assert.NotErrorIs(t, err, exchange.BookFull)
	var as exchange.Reason
	assert.True(t, errors.As(fmt.Errorf("order 7: %w", err), &as))
	assert.Equal(t, exchange.InsufficientFunds, as)
}

// TestVoidReason: VOID-005.
func TestVoidReason(t *testing.T) {
	for value, want := range map[int64]exchange.Reason{
		0: exchange.Voided, 1: exchange.InvalidKind, int64(exchange.MessageRate): exchange.MessageRate, 1<<16 - 1: 1<<16 - 1,
		1 << 16: exchange.InvalidValue, -1: exchange.InvalidValue, math.MaxInt64: exchange.InvalidValue, math.MinInt64: exchange.InvalidValue,
	} {
		e := smallEngine(t, exchange.FundsHeld)
		cmd := exchange.Void(1, 1, exchange.CommandID{1})
		cmd.Value, cmd.Held = value, 7
		got := e.Apply(nil, &cmd)
		if reason, bad := exchange.Rejected(got); !bad || reason != want || got[0].Release != 7 {
			t.Errorf("a void with Value %d gives %+v, expected a rejection for %s that releases 7", value, got, want)
		}
		if reason, _ := exchange.Rejected(e.Apply(nil, &cmd)); reason != exchange.DuplicateCommand {
			t.Errorf("a void with Value %d leaves its id unused: %s", value, reason)
		}
	}
}
