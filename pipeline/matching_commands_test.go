package pipeline_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is no command of the instrument is journaled as refused, once, however
// often it comes, and releases what it held.
func TestMatchingEngineMalformed(t *testing.T) {
	s := newStand(t)
	s.cfg.IcebergParts, s.cfg.MaxOrders = 3, 100
	other := s.limitOrder(1, 7, exchange.Buy, 100, 1)
	other.Instrument = 2
	foreign := message(t, other)
	foreign.Instrument = 1
	noID := s.limitOrder(0, 7, exchange.Buy, 100, 1)
	noID.ID = exchange.CommandID{}
	noTime, before := s.limitOrder(3, 7, exchange.Buy, 100, 1), s.limitOrder(4, 7, exchange.Buy, 100, 1)
	noTime.Time, before.Time = 0, -5
	unknown := s.limitOrder(5, 7, exchange.Buy, 100, 1)
	unknown.Kind = exchange.KindVoid + 1
	deposit := exchange.Command{Kind: exchange.KindDeposit, Instrument: 1, Account: 7, ID: commandID(6), Time: s.now}
	everywhere := exchange.Cancel(0, 7, 1)
	everywhere.ID, everywhere.Time = commandID(7), s.now
	tooMany := s.limitOrder(8, 7, exchange.Buy, 100, 10)
	tooMany.DisplayQty = 3
	stray := message(t, s.limitOrder(9, 7, exchange.Buy, 100, 1))
	stray.Instrument = 2
	for _, tc := range []struct {
		name    string
		msg     pipeline.QueueMessage
		reason  exchange.Reason
		id      exchange.CommandID // zero: made of the body
		account exchange.AccountID
		release exchange.Amount
	}{
		{"garbage", pipeline.QueueMessage{Instrument: 1, Body: []byte("garbage")}, exchange.InvalidKind, exchange.CommandID{}, 0, 0},
		{"nothing", pipeline.QueueMessage{Instrument: 1}, exchange.InvalidKind, exchange.CommandID{}, 0, 0},
		{"another instrument's", foreign, exchange.UnknownInstrument, exchange.CommandID{}, 0, 0},
		{"in another instrument's queue", stray, exchange.UnknownInstrument, exchange.CommandID{}, 0, 0},
		{"no id", message(t, noID), exchange.InvalidID, exchange.CommandID{}, 0, 0},
		{"no time", message(t, noTime), exchange.InvalidTime, noTime.ID, 7, noTime.Held},
		{"a time before all time", message(t, before), exchange.InvalidTime, before.ID, 7, before.Held},
		{"an unknown kind", message(t, unknown), exchange.InvalidKind, unknown.ID, 7, unknown.Held},
		{"a kind without instrument", message(t, deposit), exchange.UnknownInstrument, deposit.ID, 7, 0},
		{"a kind that needs one", func() pipeline.QueueMessage {
			m := message(t, everywhere)
			m.Instrument = 1
			return m
		}(), exchange.UnknownInstrument, everywhere.ID, 7, 0},
		{"an iceberg of too many parts", message(t, tooMany), exchange.IcebergParts, tooMany.ID, 7, tooMany.Held},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.t = t
			had := len(s.entries())
			m := s.engine()
			for range 3 {
				done, err := m.Handle(context.Background(), 1, []pipeline.QueueMessage{tc.msg, tc.msg})
				require.NoError(t, err)
				require.Equal(t, 2, done)
				s.now += 1000
			}
			entries := s.entries()
			require.Len(t, entries, had+1, "journaled once")
			e := entries[had]
			id := tc.id
			if id == (exchange.CommandID{}) {
				id = pipeline.CommandIDOf(0, 1, 0, string(tc.msg.Body))
			}
			require.Len(t, e.Events, 1)
			ev := e.Events[0]
			assert.Equal(t, exchange.EventRejected, ev.Kind)
			assert.Equal(t, tc.reason, ev.Reason)
			assert.Equal(t, id, ev.ID)
			assert.Equal(t, tc.account, ev.Account)
			assert.Equal(t, tc.release, ev.Release)
			assert.EqualValues(t, 1, ev.Instrument)
			assert.EqualValues(t, had+1, ev.Seq, "in the instrument's own sequence")
		})
	}
	s.load(nil) // and replays
}

// Every kind of the core is known to refuse.
func TestMatchingEngineKnowsAllKinds(t *testing.T) {
	assert.True(t, strings.HasPrefix((exchange.KindVoid+1).String(), "invalid"), "a kind beyond void: MatchingEngine must let it pass")
}

// An amend or replace must not make what a new order may not be.
func TestMatchingEngineIcebergChanges(t *testing.T) {
	s := newStand(t)
	s.cfg.IcebergParts, s.cfg.MaxOrders = 3, 100
	iceberg := s.limitOrder(1, 7, exchange.Buy, 100, 9)
	iceberg.DisplayQty = 3
	amend := func(n int, acct exchange.AccountID, total exchange.Qty) exchange.Command {
		c := exchange.Amend(1, acct, 0, 0, total)
		c.ID, c.OrigID, c.Time, c.Held = commandID(n), iceberg.ID, s.now, 1_000_000_000
		return c
	}
	replace := func(n int, qty exchange.Qty) exchange.Command {
		c := exchange.Replace(1, 7, 1, 0, qty)
		c.ID, c.Time, c.Held = commandID(n), s.now, 1_000_000_000
		return c
	}
	sell := s.limitOrder(9, 8, exchange.Sell, 100, 2)
	sell.Time = s.now
	commands := []exchange.Command{iceberg, amend(2, 7, 10), amend(3, 8, 10), sell, amend(4, 7, 11), amend(5, 7, 12), replace(6, 10), replace(7, 0)}
	done, err := s.engine().Handle(context.Background(), 1, messages(t, commands))
	require.NoError(t, err)
	require.Equal(t, len(commands), done)
	var got []string
	for _, e := range s.entries() {
		last := e.Events[len(e.Events)-1]
		got = append(got, e.Command.Kind.String()+": "+last.Kind.String()+" "+last.Reason.String())
	}
	assert.Equal(t, []string{"new order: accepted reason 0", "void: rejected too many iceberg parts", "amend: rejected unknown order", "new order: traded reason 0",
		"amend: amended requested", "void: rejected too many iceberg parts", "void: rejected too many iceberg parts", "replace: accepted reason 0"}, got)
	s.load(nil)
}

// A panic in Apply costs that command, whose hold is released, and no other.
func TestMatchingEnginePanic(t *testing.T) {
	s := newStand(t)
	var log bytes.Buffer
	s.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s.cfg.BatchCommands = 5
	s.cfg.Check = func(_ *exchange.Engine, cmd *exchange.Command) exchange.Reason {
		if cmd.Price == 9_990 {
			var none []int
			_ = none[cmd.Qty]
		}
		return 0
	}
	commands := s.simple(20)
	for _, i := range []int{0, 7, 16, 17} {
		commands[i] = s.limitOrder(i+1, 12345678, exchange.Buy, 9_990, 7)
	}
	s.deliver(s.engine(), messages(t, commands), 20)
	want := slices.Clone(commands)
	for i := range want {
		if want[i].Price == 9_990 {
			want[i].Kind, want[i].Value = exchange.KindVoid, int64(exchange.Voided)
		}
	}
	s.sameAs(want)
	s.deliver(s.engine(), messages(t, commands), 20) // again: duplicates
	s.sameAs(want)
	e := s.entries()[7]
	assert.Equal(t, exchange.Voided, e.Events[0].Reason)
	assert.Equal(t, commands[7].Held, e.Events[0].Release)
	assert.EqualValues(t, 4, s.metrics.Read(pipeline.MetricPanics, 1).Count)
	assert.Contains(t, log.String(), "index out of range")
	assert.Contains(t, log.String(), "TestMatchingEnginePanic")
	assert.NotContains(t, log.String(), "12345678", "an account")
	// Without the fault a replay agrees, for the journal says what was refused.
	s.cfg.Check = nil
	s.load(nil)
}

// A replay that panics is one that does not give the events the journal has:
// nothing is voided then, the instrument stops.
func TestMatchingEnginePanicInReplay(t *testing.T) {
	s := newStand(t)
	order := message(t, s.limitOrder(1, 1, exchange.Buy, 10_000, 1))
	s.deliver(s.engine(), []pipeline.QueueMessage{order}, 1)
	s.cfg.Check = func(*exchange.Engine, *exchange.Command) exchange.Reason { panic(errInjected) }
	m := s.engine()
	for range 2 {
		done, err := m.Handle(context.Background(), 1, []pipeline.QueueMessage{order})
		require.ErrorIs(t, err, pipeline.ErrDiverged)
		require.ErrorIs(t, err, pipeline.ErrPanicked)
		require.Zero(t, done)
	}
	assert.Len(t, s.entries(), 1)
	assert.EqualValues(t, 2, s.metrics.Read(pipeline.MetricDiverged, 1).Count)
	s.cfg.Check = nil // when the fault is mended it goes on
	s.deliver(s.engine(), []pipeline.QueueMessage{order}, 1)
}

// A cancel that overtakes its order is refused, and the order lives; in the
// right order the order is gone.
func TestMatchingEngineOvertaking(t *testing.T) {
	for _, overtakes := range []bool{true, false} {
		s := newStand(t)
		order := s.limitOrder(1, 1, exchange.Buy, 10_000, 5)
		cancel := exchange.Cancel(1, 1, 0)
		cancel.ID, cancel.OrigID, cancel.Time = commandID(2), order.ID, order.Time+1
		sent := []exchange.Command{order, cancel}
		if overtakes {
			slices.Reverse(sent)
		}
		s.deliver(s.engine(), messages(t, sent), 10)
		s.deliver(s.engine(), messages(t, sent), 10) // again, to a fresh engine
		s.sameAs(sent)
		e, _ := s.load(s.books)
		_, lives := e.Book(1).OrderByCommand(order.ID)
		assert.Equal(t, overtakes, lives)
		reason, refused := exchange.Rejected(s.entries()[0].Events)
		assert.Equal(t, overtakes, refused)
		if overtakes {
			assert.Equal(t, exchange.UnknownOrder, reason)
		}
	}
}

// A Time ahead of the clock is lowered to it; one behind is left alone.
func TestMatchingEngineLowersTime(t *testing.T) {
	s := newStand(t)
	ahead, behind := s.limitOrder(1, 1, exchange.Buy, 10_000, 1), s.limitOrder(2, 1, exchange.Buy, 10_000, 1)
	ahead.Time, behind.Time = s.now+exchange.Time(time.Hour), s.now-5
	s.deliver(s.engine(), messages(t, []exchange.Command{ahead, behind}), 10)
	entries := s.entries()
	assert.Equal(t, s.now, entries[0].Command.Time)
	assert.Equal(t, s.now, entries[0].Events[0].Time)
	assert.Equal(t, s.now-5, entries[1].Command.Time)
	ahead.Time = s.now
	s.sameAs([]exchange.Command{ahead, behind})
}

// The first command of a new day ends the old one, once.
func TestMatchingEngineDayEnd(t *testing.T) {
	const day = exchange.Time(24 * time.Hour)
	s := newStand(t)
	s.cfg.BatchCommands, s.cfg.DedupSpan = 2, 20*day
	end := s.now - s.now%day + s.cfg.DayEnd
	dayOrder := func(n int, at exchange.Time) exchange.Command {
		c := s.limitOrder(n, 1, exchange.Buy, 10_000, 1)
		c.TimeInForce, c.Time = exchange.Day, at
		return c
	}
	advance := exchange.AdvanceTime(1, end+3*day+5)
	advance.ID = commandID(9)
	sent := []exchange.Command{dayOrder(1, end-2), dayOrder(2, end-1), dayOrder(3, end), dayOrder(4, end-1), dayOrder(5, end+1), dayOrder(6, end+day-1), advance, dayOrder(7, end+3*day+6)}
	s.now = end + 10*day
	m := s.engine()
	for range 2 {
		s.deliver(m, messages(t, sent), 3)
		m = s.engine()
	}
	var got []string
	for _, e := range s.entries() {
		got = append(got, e.Command.Kind.String())
	}
	assert.Equal(t, []string{"new order", "new order", "end day", "new order", "new order", "new order", "new order", "end day", "advance time", "new order"}, got)
	entries := s.entries()
	assert.Equal(t, end, entries[2].Command.Time)
	assert.EqualValues(t, 2, entries[2].Events[2].Qty, "orders ended")
	assert.Equal(t, end+3*day, entries[7].Command.Time, "one end for all days that passed")
	for _, c := range s.items() {
		assert.LessOrEqual(t, len(c.Batch().Entries), 2)
	}
	e, _ := s.load(nil)
	assert.Equal(t, 1, e.Book(1).Len())
	// A command that has taken the day's end's own id cannot keep the day from
	// ending for ever, or the engine from going on.
	s = newStand(t)
	taken := exchange.Void(1, 1, entries[2].Command.ID)
	taken.Time = end - 1
	late := dayOrder(2, end+1)
	s.now = end + day
	s.deliver(s.engine(), messages(t, []exchange.Command{dayOrder(1, end-2), taken, late}), 3)
	assert.Len(t, s.entries(), 3)
}
