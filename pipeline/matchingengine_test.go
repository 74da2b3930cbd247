package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMatchingEngineConfig(t *testing.T) {
	s := standOf(t)
	log := pipeline.NewLog(s.journal)
	for _, tc := range []struct {
		name   string
		change func(*pipeline.MatchingEngineConfig)
		want   string
	}{
		{"no instruments", func(c *pipeline.MatchingEngineConfig) { c.Instruments = nil }, "Instruments is missing"},
		{"nil instrument", func(c *pipeline.MatchingEngineConfig) { c.Instruments = []*exchange.Instrument{nil} }, "Instruments[0] is nil"},
		{"an instrument twice", func(c *pipeline.MatchingEngineConfig) { c.Instruments = []*exchange.Instrument{s.in, s.in} }, "id 1 twice"},
		{"no log", func(c *pipeline.MatchingEngineConfig) { c.Log = nil }, "Log is missing"},
		{"no books", func(c *pipeline.MatchingEngineConfig) { c.Books = nil }, "Books is missing"},
		{"no publisher", func(c *pipeline.MatchingEngineConfig) { c.Publisher = nil }, "Publisher is missing"},
		{"no clock", func(c *pipeline.MatchingEngineConfig) { c.Now = nil }, "Now is missing"},
		{"batch commands", func(c *pipeline.MatchingEngineConfig) { c.BatchCommands = pipeline.MaxBatchCommands + 1 }, "BatchCommands 65537: expected 0 to 65536"},
		{"batch bytes", func(c *pipeline.MatchingEngineConfig) { c.BatchBytes = pipeline.MaxBatchBytes + 1 }, "BatchBytes 4194305: expected 0 to 4194304"},
		{"book every", func(c *pipeline.MatchingEngineConfig) { c.BookEvery = -1 }, "BookEvery -1: expected 0"},
		{"snapshot every", func(c *pipeline.MatchingEngineConfig) { c.SnapshotEvery = -1 }, "SnapshotEvery -1: expected 0"},
		{"depth levels", func(c *pipeline.MatchingEngineConfig) { c.DepthLevels = pipeline.MaxDepthLevels + 1 }, "DepthLevels 1001: expected 0 to 1000"},
		{"depth orders", func(c *pipeline.MatchingEngineConfig) { c.DepthOrders = pipeline.MaxDepthOrders + 1 }, "DepthOrders 65537: expected 0 to 65536"},
		{"day end", func(c *pipeline.MatchingEngineConfig) { c.DayEnd = exchange.Time(24 * time.Hour) }, "DayEnd 86400000000000: expected 0 to 86399999999999"},
		{"before day end", func(c *pipeline.MatchingEngineConfig) { c.DayEnd = -1 }, "DayEnd -1: expected 0"},
		{"iceberg parts", func(c *pipeline.MatchingEngineConfig) { c.IcebergParts = exchange.MaxIcebergParts + 1 }, "IcebergParts 1001: expected 0 to 1000"},
		{"more events than fit", func(c *pipeline.MatchingEngineConfig) { c.IcebergParts = 1000 }, "MaxOrders 65536: expected at most 765 with IcebergParts 1000"},
		{"dedup count", func(c *pipeline.MatchingEngineConfig) { c.DedupCount = -1 }, "DedupCount -1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := s.cfg
			cfg.Log = log
			tc.change(&cfg)
			_, err := pipeline.NewMatchingEngine(cfg)
			require.ErrorContains(t, err, tc.want)
			assert.True(t, errors.Is(err, pipeline.ErrInvalid) || errors.Is(err, exchange.ErrConfig))
		})
	}
	for _, change := range []func(*pipeline.MatchingEngineConfig){ // the edges that are allowed
		func(c *pipeline.MatchingEngineConfig) {
			c.BatchCommands, c.BatchBytes, c.DepthLevels, c.DepthOrders = pipeline.MaxBatchCommands, pipeline.MaxBatchBytes, pipeline.MaxDepthLevels, pipeline.MaxDepthOrders
		},
		func(c *pipeline.MatchingEngineConfig) { c.DayEnd = exchange.Time(24*time.Hour) - 1 },
		func(c *pipeline.MatchingEngineConfig) { c.IcebergParts, c.MaxOrders = 1000, 765 },
	} {
		cfg := s.cfg
		cfg.Log = log
		change(&cfg)
		_, err := pipeline.NewMatchingEngine(cfg)
		assert.NoError(t, err)
	}
	m := s.engine()
	_, err := m.Handle(context.Background(), 2, nil)
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	assert.ErrorContains(t, err, "instrument 2 is not among its own")
}

func TestMatchingEngineApplies(t *testing.T) {
	s := standOf(t)
	s.cfg.BatchCommands, s.cfg.BookEvery, s.cfg.SnapshotEvery = 10, 2, 3
	commands := s.simple(64)
	m := s.engine()
	done, err := m.Handle(context.Background(), 1, messages(t, commands))
	require.NoError(t, err)
	assert.Equal(t, 64, done)
	s.sameAs(commands)
	assert.Len(t, s.items(), 7, "batches of 10")
	for _, e := range s.entries() {
		assert.Equal(t, "c", e.ClientID)
	}
	assert.EqualValues(t, 64, s.metrics.Read(pipeline.MetricCommands, 1).Count)
	assert.EqualValues(t, 7, s.metrics.Read(pipeline.MetricBatches, 1).Count)
	assert.Positive(t, s.metrics.Read(pipeline.MetricTrades, 1).Count)
	// Once more: nothing but duplicates.
	done, err = m.Handle(context.Background(), 1, messages(t, commands))
	require.NoError(t, err)
	assert.Equal(t, 64, done)
	s.sameAs(commands)
	assert.EqualValues(t, 64, s.metrics.Read(pipeline.MetricDuplicates, 1).Count)
	assert.EqualValues(t, 1, s.metrics.Read(pipeline.MetricLoads, 1).Count)
	// And nothing at all.
	done, err = m.Handle(context.Background(), 1, nil)
	require.NoError(t, err)
	assert.Zero(t, done)
}

// A queue may deliver again, the journal may say no or say nothing, whoever
// publishes may be down: what is in the journal is what one engine makes of
// the commands, and everything in it is published.
func TestMatchingEngineFailures(t *testing.T) {
	for _, tc := range []struct {
		name  string
		hit   func(string, bool) error
		fails int // calls of Handle that return an error
	}{
		{"head unreadable", once("Head", 1, false), 1},
		{"durable snapshot unreadable", once("LoadSnapshot", 1, false), 1},
		{"published mark unreadable", once("Published", 1, false), 1},
		{"first append refused", once("Append", 1, false), 1},
		{"append refused", once("Append", 3, false), 1},
		{"append's answer lost", once("Append", 3, true), 0},
		{"append's answer lost, and no reading back", func() func(string, bool) error {
			lost, read := once("Append", 3, true), false
			return func(op string, after bool) error {
				if err := lost(op, after); err != nil {
					read = true
					return err
				}
				if op == "Read" && read {
					read = false
					return errInjected
				}
				return nil
			}
		}(), 1},
		{"publisher down", once("Publish", 1, false), 1},
		{"publisher's answer lost", once("Publish", 2, true), 1},
		{"mark not kept", once("MarkPublished", 1, false), 1},
		{"mark's answer lost", once("MarkPublished", 2, true), 1},
		{"depth not saved", always("SaveDepth"), 0},
		{"book not saved", always("SaveBook"), 0},
		{"book unreadable", always("LoadBook"), 0},
		{"durable snapshot not saved", always("SaveSnapshot"), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := standOf(t)
			s.cfg.BatchCommands, s.cfg.BookEvery, s.cfg.SnapshotEvery = 3, 2, 3
			commands := s.simple(40)
			msgs := messages(t, commands)
			s.hooks.set(tc.hit)
			m, fails, perItem := s.engine(), 0, s.cfg.BatchCommands
			for at := 0; at < len(msgs); {
				n := min(9, len(msgs)-at)
				done, err := m.Handle(context.Background(), 1, msgs[at:at+n])
				if err != nil {
					require.ErrorIs(t, err, errInjected)
					require.ErrorContains(t, err, "instrument 1")
					fails++
				} else {
					require.Equal(t, n, done)
				}
				at += done
				require.GreaterOrEqual(t, perItem*len(s.published.all(1)), at, "done, but not published")
			}
			assert.Equal(t, tc.fails, fails)
			s.sameAs(commands)
		})
	}
}

// A failure in the middle of a Handle: what was committed before it is
// published, and done.
func TestMatchingEngineDoneBeforeFailure(t *testing.T) {
	s := standOf(t)
	s.cfg.BatchCommands = 3
	commands := s.simple(10)
	s.hooks.set(once("Append", 3, false))
	done, err := s.engine().Handle(context.Background(), 1, messages(t, commands))
	require.ErrorIs(t, err, errInjected)
	assert.Equal(t, 6, done)
	s.sameAs(commands[:6])
	// The same, and the publisher is down too: nothing is done.
	s = standOf(t)
	s.cfg.BatchCommands = 3
	append3, publish := once("Append", 3, false), always("Publish")
	s.hooks.set(func(op string, after bool) error { return errors.Join(append3(op, after), publish(op, after)) })
	m := s.engine()
	done, err = m.Handle(context.Background(), 1, messages(t, commands))
	require.ErrorIs(t, err, errInjected)
	assert.Zero(t, done)
	assert.Empty(t, s.published.all(1))
	// The same messages again: duplicates at first, whose events are published
	// now.
	s.hooks.set(nil)
	done, err = m.Handle(context.Background(), 1, messages(t, commands[:6]))
	require.NoError(t, err)
	assert.Equal(t, 6, done)
	s.sameAs(commands[:6])
}

// A run of nothing but duplicates publishes what a crash has left.
func TestMatchingEnginePublishesForDuplicates(t *testing.T) {
	s := standOf(t)
	commands := s.simple(5)
	s.hooks.set(always("Publish"))
	done, err := s.engine().Handle(context.Background(), 1, messages(t, commands))
	require.ErrorIs(t, err, errInjected)
	require.Zero(t, done)
	s.hooks.set(nil)
	done, err = s.engine().Handle(context.Background(), 1, messages(t, commands))
	require.NoError(t, err)
	assert.Equal(t, 5, done)
	s.sameAs(commands)
	d, err := s.books.Depth(context.Background(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, s.items()[0].Batch().LastSeq(), d.Seq)
}

// Two engines serve one instrument: each fences the other out, in turn, and
// nothing is lost or done twice.
func TestMatchingEngineZombie(t *testing.T) {
	s := standOf(t)
	commands := s.simple(60)
	msgs := messages(t, commands)
	a, b := s.engine(), s.engine()
	for i := 0; i < len(msgs); i += 4 {
		m := a
		if i%8 == 0 {
			m = b
		}
		from := max(0, i-2) // and some again
		done, err := m.Handle(context.Background(), 1, msgs[from:min(i+4, len(msgs))])
		require.NoError(t, err)
		require.Equal(t, min(i+4, len(msgs))-from, done)
	}
	s.sameAs(commands)
	assert.Positive(t, s.metrics.Read(pipeline.MetricFenced, 1).Count)
	// A zombie whose messages were all done by the other: duplicates, though it
	// does not know yet.
	done, err := a.Handle(context.Background(), 1, msgs)
	require.NoError(t, err)
	require.Len(t, msgs, done)
	s.sameAs(commands)
	// One who is fenced every time gives up.
	s.hooks.set(func(op string, after bool) error {
		if op == "Append" && !after {
			return pipeline.ErrFenced
		}
		return nil
	})
	more := s.limitOrder(100, 1, exchange.Buy, 9_000, 1)
	_, err = a.Handle(context.Background(), 1, []pipeline.QueueMessage{message(t, more)})
	require.ErrorIs(t, err, pipeline.ErrFenced)
	s.hooks.set(nil)
	_, err = a.Handle(context.Background(), 1, []pipeline.QueueMessage{message(t, more)})
	require.NoError(t, err)
	s.sameAs(append(commands, more))
}

// Handle waits for its turn no longer than its context lives.
func TestMatchingEngineTurn(t *testing.T) {
	s := standOf(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.hooks.set(func(op string, after bool) error {
		if op == "Append" && !after {
			close(entered)
			<-leave
		}
		return nil
	})
	m := s.engine()
	first := make(chan error)
	go func() {
		_, err := m.Handle(context.Background(), 1, messages(t, s.simple(1)))
		first <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := m.Handle(ctx, 1, nil)
	require.ErrorIs(t, err, context.Canceled)
	close(leave)
	require.NoError(t, <-first)
}

// What is no command of the instrument is journaled as refused, once, however
// often it comes, and releases what it held.
func TestMatchingEngineMalformed(t *testing.T) {
	s := standOf(t)
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
	s := standOf(t)
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
	s := standOf(t)
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
	s := standOf(t)
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

// An instrument whose journal fails stops; the others go on.
func TestMatchingEngineIsolation(t *testing.T) {
	s := standOf(t)
	second := standInstrument(t, 2)
	s.cfg.Instruments = append(s.cfg.Instruments, second)
	failing := &failingFor{Journal: s.journal, inst: 1}
	cfg := s.cfg
	cfg.Log = pipeline.NewLog(failing)
	m, err := pipeline.NewMatchingEngine(cfg)
	require.NoError(t, err)
	commands := s.simple(4)
	done, err := m.Handle(context.Background(), 1, messages(t, commands))
	require.ErrorIs(t, err, errInjected)
	require.Zero(t, done)
	for i := range commands {
		commands[i].Instrument = 2
	}
	done, err = m.Handle(context.Background(), 2, messages(t, commands))
	require.NoError(t, err)
	assert.Equal(t, 4, done)
	head, err := s.journal.Head(context.Background(), 1)
	require.NoError(t, err)
	assert.Zero(t, head)
}

type failingFor struct {
	pipeline.Journal
	inst exchange.InstrumentID
}

func (j *failingFor) Append(ctx context.Context, inst exchange.InstrumentID, item pipeline.Item) error {
	if inst == j.inst {
		return errInjected
	}
	return j.Journal.Append(ctx, inst, item)
}

// A cancel that overtakes its order is refused, and the order lives; in the
// right order the order is gone.
func TestMatchingEngineOvertaking(t *testing.T) {
	for _, overtakes := range []bool{true, false} {
		s := standOf(t)
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
	s := standOf(t)
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
	s := standOf(t)
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
	s = standOf(t)
	taken := exchange.Void(1, 1, entries[2].Command.ID)
	taken.Time = end - 1
	late := dayOrder(2, end+1)
	s.now = end + day
	s.deliver(s.engine(), messages(t, []exchange.Command{dayOrder(1, end-2), taken, late}), 3)
	assert.Len(t, s.entries(), 3)
}

// A batch takes no further command once it has its size, and encodes what it
// says.
func TestMatchingEngineBatchBytes(t *testing.T) {
	s := standOf(t)
	s.cfg.BatchBytes = 600
	commands := s.simple(100)
	s.deliver(s.engine(), messages(t, commands), 100)
	s.sameAs(commands)
	items := s.items()
	require.Greater(t, len(items), 10)
	for i, c := range items {
		data := pipeline.AppendBatch(nil, c.Batch())
		assert.Equal(t, data, c.Data())
		if i < len(items)-1 {
			assert.Greater(t, len(data), 600)
		}
		assert.Less(t, len(data), 600+1000, "one command more")
	}
}

// One command may exceed the size of a batch: it is alone, and whole.
func TestMatchingEngineLargeCommand(t *testing.T) {
	s := standOf(t)
	s.cfg.BatchBytes = 1000
	var commands []exchange.Command
	for i := 1; i <= 500; i++ {
		commands = append(commands, s.limitOrder(i, 1, exchange.Sell, exchange.Price(10_000+i), 1))
	}
	commands = append(commands, s.limitOrder(501, 2, exchange.Buy, 11_000, 500))
	s.deliver(s.engine(), messages(t, commands), 600)
	s.sameAs(commands)
	items := s.items()
	last := items[len(items)-1]
	require.Len(t, last.Batch().Entries[len(last.Batch().Entries)-1].Events, 501)
	assert.Greater(t, len(last.Data()), 10*s.cfg.BatchBytes)
}

// What the book store gets: depth after every batch, books and durable
// snapshots as often as asked.
func TestMatchingEngineSaves(t *testing.T) {
	s := standOf(t)
	s.cfg.BookEvery, s.cfg.SnapshotEvery, s.cfg.DepthLevels, s.cfg.DepthOrders = 4, 6, 2, 3
	hidden := s.limitOrder(1, 1, exchange.Buy, 10_004, 1)
	hidden.Hidden = true
	m := s.engine()
	s.deliver(m, messages(t, []exchange.Command{hidden}), 1)
	for i := 2; i <= 8; i++ {
		s.deliver(m, messages(t, []exchange.Command{s.limitOrder(i, 1, exchange.Buy, exchange.Price(10_000+i%4), 2)}), 1)
	}
	ctx := context.Background()
	d, err := s.books.Depth(ctx, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 8, d.Seq)
	assert.Equal(t, s.entries()[7].Events[0].Time, d.Time)
	assert.Equal(t, []exchange.Level{{Price: 10_003, Qty: 4, Orders: 2}, {Price: 10_002, Qty: 4, Orders: 2}}, d.Bids)
	assert.Empty(t, d.Asks)
	assert.Equal(t, []pipeline.BookOrder{{ID: 3, Price: 10_003, Qty: 2}, {ID: 7, Price: 10_003, Qty: 2}}, d.BidOrders, "3 looked at, one is hidden")
	assert.NotNil(t, d.AskOrders)
	book, err := s.books.LoadBook(ctx, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 8, book.Position)
	snap, err := s.journal.LoadSnapshot(ctx, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 6, snap.Position)
	assert.Equal(t, s.items()[5].Head(), snap.Head)
}

// BenchmarkMatchingEngine is the matching engine with everything in memory:
// decoding, applying, encoding, the journal, depth, publishing.
func BenchmarkMatchingEngine(b *testing.B) {
	const batch = 500
	s := newStand(b)
	cfg := s.cfg
	cfg.Log, cfg.Books, cfg.Publisher = pipeline.NewLog(&forgetful{Journal: s.journal}), memory.NewBookStore(), memory.NewPublisher()
	m, err := pipeline.NewMatchingEngine(cfg)
	require.NoError(b, err)
	msgs := make([]pipeline.QueueMessage, batch)
	n := 0
	b.ReportAllocs()
	for done := 0; done < b.N; done += batch {
		b.StopTimer()
		for i := range msgs {
			n++
			c := s.limitOrder(n, exchange.AccountID(1+n%50), exchange.Side(1+n%2), exchange.Price(10_000+(n*7919)%200-100), exchange.Qty(1+n%7))
			c.Time = s.now
			if n%3 == 0 { // what would rest too long
				c = exchange.Cancel(1, exchange.AccountID(1+(n-2)%50), 0)
				c.ID, c.OrigID, c.Time = commandID(n), commandID(n-2), s.now
			}
			msgs[i] = message(b, c)
		}
		b.StartTimer()
		got, err := m.Handle(context.Background(), 1, msgs)
		if err != nil || got != batch {
			b.Fatalf("%d done: %v", got, err)
		}
	}
}

// forgetful is a journal that keeps nothing but its head, as a benchmark wants.
type forgetful struct {
	pipeline.Journal
	head pipeline.Head
}

func (j *forgetful) Append(_ context.Context, _ exchange.InstrumentID, item pipeline.Item) error {
	j.head = item.Head
	return nil
}

func (j *forgetful) Head(context.Context, exchange.InstrumentID) (pipeline.Head, error) {
	return j.head, nil
}
