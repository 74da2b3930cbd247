package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type hookedQueue struct {
	*memory.Queue
	h *hooks
}

func (q *hookedQueue) Send(ctx context.Context, messages []pipeline.QueueMessage) error {
	return hooked(q.h, fmt.Sprintf("Send %d", messages[0].Instrument), func() error { return q.Queue.Send(ctx, messages) })
}

func (q *hookedQueue) Receive(ctx context.Context, limit int) (d pipeline.Delivery, err error) {
	err = hooked(q.h, "Receive", func() error {
		d, err = q.Queue.Receive(ctx, limit)
		return err
	})
	return d, err
}

func (q *hookedQueue) Ack(ctx context.Context, d pipeline.Delivery, done int) error {
	return hooked(q.h, "Ack", func() error { return q.Queue.Ack(ctx, d, done) })
}

type hookedBalances struct {
	pipeline.Balances
	h *hooks
}

func (b *hookedBalances) Placed(ctx context.Context, before exchange.Time, after *pipeline.HoldRecord, limit int) (holds []pipeline.HoldRecord, err error) {
	err = hooked(b.h, "Placed", func() error {
		holds, err = b.Balances.Placed(ctx, before, after, limit)
		return err
	})
	return holds, err
}

func (b *hookedBalances) Spanning(ctx context.Context, limit int) (commands []exchange.Command, err error) {
	err = hooked(b.h, "Spanning", func() error {
		commands, err = b.Balances.Spanning(ctx, limit)
		return err
	})
	return commands, err
}

func (b *hookedBalances) Forget(ctx context.Context, id exchange.CommandID) error {
	return hooked(b.h, "Forget", func() error { return b.Balances.Forget(ctx, id) })
}

// swept is a stand with a sweeper, a queue and balances; two instruments.
type sweptStand struct {
	*stand
	queue    *memory.Queue
	taken    map[exchange.InstrumentID][]exchange.Command // from the queue
	balances *memory.Balances
	recorded pipeline.Position // how far the consumer is
	woken    []pipeline.Notice
	archived pipeline.Position
	sweeper  *pipeline.Sweeper
	matching *pipeline.MatchingEngine
}

func newSwept(t *testing.T, change func(*pipeline.SweeperConfig)) *sweptStand {
	s := &sweptStand{stand: newStand(t), taken: map[exchange.InstrumentID][]exchange.Command{}}
	s.balances = memory.NewBalances(memory.BalancesConfig{})
	s.queue = memory.NewQueue(memory.QueueConfig{Now: func() time.Time { return time.Unix(0, int64(s.now)) }})
	s.cfg.Instruments = []*exchange.Instrument{s.in, standInstrument(t, 2)}
	cfg := pipeline.SweeperConfig{
		Instruments: s.cfg.Instruments, Log: pipeline.NewLog(&hookedJournal{s.journal, s.hooks}), Publisher: s.published,
		Queue: &hookedQueue{s.queue, s.hooks}, Balances: &hookedBalances{s.balances, s.hooks},
		Consumers: []pipeline.Consumer{{Name: "consumer",
			Recorded: func(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
				if inst != 1 {
					return 0, nil
				}
				return s.recorded, s.hooks.at("Recorded", false)
			},
			Handle: func(_ context.Context, n pipeline.Notice) error {
				s.woken = append(s.woken, n)
				return s.hooks.at("Handle", false)
			},
		}},
		Archived: func(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
			return s.archived, s.hooks.at("Archived", false)
		},
		Now: func() exchange.Time { return s.now }, Metrics: s.metrics, TrimEvery: 1,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	s.sweeper, err = pipeline.NewSweeper(cfg)
	require.NoError(t, err)
	s.matching = s.engine()
	return s
}

func (s *sweptStand) sweep() { require.NoError(s.t, s.sweeper.Handle(context.Background())) }

// sent takes everything from the queue, and returns what was sent to an
// instrument since it was asked last.
func (s *sweptStand) sent(inst exchange.InstrumentID) []exchange.Command {
	for {
		d, ok := s.queue.TryReceive(pipeline.MaxReceive)
		if !ok {
			break
		}
		require.NoError(s.t, s.queue.Ack(context.Background(), d, len(d.Messages)))
		for _, q := range d.Messages {
			m, err := pipeline.DecodeMessage(q.Body)
			require.NoError(s.t, err)
			require.Equal(s.t, d.Instrument, m.Command.Instrument)
			require.Equal(s.t, m.Command.Kind == exchange.KindVoid, q.DedupID != m.Command.ID, "a queue must not take a void for its order")
			s.taken[d.Instrument] = append(s.taken[d.Instrument], m.Command)
		}
	}
	got := s.taken[inst]
	delete(s.taken, inst)
	return got
}

// match lets the matching engine take everything from the queue.
func (s *sweptStand) match() {
	for {
		d, ok := s.queue.TryReceive(pipeline.MaxReceive)
		if !ok {
			return
		}
		done, err := s.matching.Handle(context.Background(), d.Instrument, d.Messages)
		require.NoError(s.t, err)
		require.NoError(s.t, s.queue.Ack(context.Background(), d, done))
	}
}

func TestSweeperConfig(t *testing.T) {
	for _, tc := range []struct {
		change func(*pipeline.SweeperConfig)
		want   string
	}{
		{func(c *pipeline.SweeperConfig) { c.Instruments = nil }, "Instruments is missing"},
		{func(c *pipeline.SweeperConfig) { c.Instruments = []*exchange.Instrument{nil} }, "Instruments[0] is nil"},
		{func(c *pipeline.SweeperConfig) { c.Log = nil }, "Log is missing"},
		{func(c *pipeline.SweeperConfig) { c.Publisher = nil }, "Publisher is missing"},
		{func(c *pipeline.SweeperConfig) { c.Queue = nil }, "Queue is missing"},
		{func(c *pipeline.SweeperConfig) { c.Balances = nil }, "Balances is missing"},
		{func(c *pipeline.SweeperConfig) { c.Now = nil }, "Now is missing"},
		{func(c *pipeline.SweeperConfig) { c.Consumers = []pipeline.Consumer{{Name: "x"}} }, "Consumers[0] (x): Recorded or Handle is missing"},
		{func(c *pipeline.SweeperConfig) { c.TimeEvery = -1 }, "TimeEvery -1"},
		{func(c *pipeline.SweeperConfig) { c.OrphanAfter = -1 }, "OrphanAfter -1"},
		{func(c *pipeline.SweeperConfig) { c.TrimEvery = -1 }, "TrimEvery -1"},
	} {
		s := newSwept(t, func(c *pipeline.SweeperConfig) {
			bad := *c
			tc.change(&bad)
			_, err := pipeline.NewSweeper(bad)
			require.ErrorIs(t, err, pipeline.ErrInvalid)
			require.ErrorContains(t, err, tc.want)
		})
		s.sweep()
	}
}

// The time comes to an instrument on which nothing happens, and with it what
// time does: orders expire, days end.
func TestSweeperBringsTime(t *testing.T) {
	s := newSwept(t, nil)
	s.sweep()
	assert.Empty(t, s.sent(1), "nothing can expire in an empty journal")
	gtd, day := s.limitOrder(1, 1, exchange.Buy, 10_000, 1), s.limitOrder(2, 1, exchange.Buy, 10_000, 1)
	gtd.TimeInForce, gtd.Expire = exchange.GTD, s.now+exchange.Time(3*time.Second)
	day.TimeInForce = exchange.Day
	s.deliver(s.matching, messages(t, []exchange.Command{gtd, day}), 2)
	s.now += pipeline.DefaultTimeEvery / 2
	s.sweep()
	assert.Empty(t, s.sent(1), "it has just heard of the time")
	s.now += pipeline.DefaultTimeEvery
	s.sweep()
	sent := s.sent(1)
	require.Len(t, sent, 1)
	assert.Equal(t, exchange.KindAdvanceTime, sent[0].Kind)
	assert.Equal(t, s.now, sent[0].Time)
	assert.Empty(t, s.sent(2))
	// What it does not take it gets less and less often.
	count := 0
	for range 600 { // ten minutes
		s.now += pipeline.DefaultTimeEvery
		s.sweep()
		count += len(s.sent(1))
	}
	assert.InDelta(t, 600/60+5, count, 3)
	// When it takes it again, it gets it as before, and orders expire.
	for range 70 {
		s.now += pipeline.DefaultTimeEvery
		s.sweep()
		s.match()
	}
	e, _ := s.load(nil)
	assert.Equal(t, 1, e.Book(1).Len(), "the GTD order has expired")
	had := len(s.items())
	for range 5 {
		s.now += pipeline.DefaultTimeEvery
		s.sweep()
		s.match()
	}
	assert.Len(t, s.items(), had+5)
	s.now += exchange.Time(24 * time.Hour)
	s.sweep()
	s.match()
	e, _ = s.load(nil)
	assert.Zero(t, e.Book(1).Len(), "and so has the Day order")
	s.checkJournal()
}

func (s *sweptStand) hold(n int, inst exchange.InstrumentID, amount exchange.Amount) pipeline.Hold {
	h := pipeline.Hold{ID: commandID(n), Account: 7, Instrument: inst, Asset: 1, Amount: amount, Time: s.now, NewOrder: true}
	require.NoError(s.t, s.balances.Hold(context.Background(), h))
	return h
}

func (s *sweptStand) deposit(amount exchange.Amount) {
	require.NoError(s.t, s.balances.Deposit(context.Background(), pipeline.Transfer{ID: commandID(1 << 30), Account: 7, Asset: 1, Amount: amount, Time: s.now}))
}

// A hold without an order is voided; the order, should it come after all, is a
// duplicate.
func TestSweeperVoidsOrphans(t *testing.T) {
	ctx := context.Background()
	s := newSwept(t, nil)
	s.deposit(1_000_000_000)
	order := s.limitOrder(1, 7, exchange.Buy, 10_000, 1)
	s.hold(1, 1, order.Held)
	s.now += pipeline.DefaultOrphanAfter
	s.sweep()
	assert.Empty(t, s.sent(1), "it may still come")
	s.now += pipeline.DefaultOrphanAfter/4 + 1
	s.sweep()
	s.match()
	entries := s.entries()
	require.Len(t, entries, 1)
	assert.Equal(t, exchange.KindVoid, entries[0].Command.Kind)
	assert.Equal(t, exchange.Voided, entries[0].Events[0].Reason)
	assert.Equal(t, order.Held, entries[0].Events[0].Release)
	settler, err := pipeline.NewSettler(pipeline.SettlerConfig{Instruments: s.cfg.Instruments, Log: pipeline.NewLog(s.journal), Balances: s.balances})
	require.NoError(t, err)
	require.NoError(t, settler.Handle(ctx, pipeline.Notice{Instrument: 1, Position: 1}))
	acct, err := s.balances.Account(ctx, 7)
	require.NoError(t, err)
	assert.Equal(t, exchange.Balance{Available: 1_000_000_000}, acct.Balances[0].Balance)
	s.deliver(s.matching, messages(t, []exchange.Command{order}), 1)
	assert.Len(t, s.entries(), 1, "a duplicate")
	for range 10 { // and nothing is voided again
		s.now += pipeline.DefaultOrphanAfter
		s.sweep()
		for _, c := range s.sent(1) {
			assert.Equal(t, exchange.KindAdvanceTime, c.Kind)
		}
	}
	assert.EqualValues(t, 1, s.metrics.Read(pipeline.MetricVoids, 1).Count)
}

// However many holds there are, and though the queue of one instrument is full.
func TestSweeperVoidsMany(t *testing.T) {
	s := newSwept(t, nil)
	s.deposit(1_000_000)
	const each = 1500
	for n := range each {
		s.hold(1+n, 1, 1)
	}
	for n := range each {
		s.hold(10_001+n, 2, 1)
	}
	s.hold(20_000, 9, 1) // an instrument that is not the sweeper's
	s.now += pipeline.DefaultOrphanAfter + 1
	s.hooks.set(always("Send 1"))
	err := s.sweeper.Handle(context.Background())
	require.ErrorIs(t, err, errInjected)
	require.ErrorContains(t, err, "voiding holds: instrument 1")
	assert.Len(t, s.sent(2), each)
	s.hooks.set(nil)
	s.now += pipeline.DefaultOrphanAfter
	s.sweep()
	assert.Len(t, s.sent(1), each)
}

// A look at holds goes on where the last one ended.
func TestSweeperVoidsGoOn(t *testing.T) {
	s := newSwept(t, nil)
	s.deposit(1_000_000)
	const all = pipeline.MaxVoidPages*pipeline.MaxQueryRows + 10
	for n := range all {
		s.hold(1+n, 1, 1)
	}
	s.now += pipeline.DefaultOrphanAfter + 1
	s.sweep()
	assert.Len(t, s.sent(1), all-10)
	s.sweep()
	assert.Len(t, s.sent(1), 10)
	s.sweep()
	assert.Empty(t, s.sent(1))
}

// What spans instruments is sent to all of them, and only then crossed off.
func TestSweeperResendsSpanning(t *testing.T) {
	ctx := context.Background()
	s := newSwept(t, nil)
	kill := exchange.Kill(0, 7)
	kill.ID, kill.Time = commandID(1), s.now
	require.NoError(t, s.balances.Span(ctx, kill))
	s.hooks.set(once("Send 1", 1, true))
	require.ErrorContains(t, s.sweeper.Handle(ctx), "sending spanning commands: kill")
	left, err := s.balances.Spanning(ctx, 10)
	require.NoError(t, err)
	assert.Len(t, left, 1)
	s.hooks.set(once("Forget", 1, false))
	require.ErrorIs(t, s.sweeper.Handle(ctx), errInjected)
	s.sweep()
	left, err = s.balances.Spanning(ctx, 10)
	require.NoError(t, err)
	assert.Empty(t, left)
	s.match()
	e, _ := s.load(nil)
	order := s.limitOrder(2, 7, exchange.Buy, 10_000, 1)
	reason, _ := exchange.Rejected(e.Apply(nil, &order))
	assert.Equal(t, exchange.KillSwitchEngaged, reason)
	head, err := s.journal.Head(ctx, 2)
	require.NoError(t, err)
	assert.EqualValues(t, 1, head.Position, "the other instrument heard of it too")
}

// What is committed and not published is published, and who is behind is woken.
func TestSweeperPublishesAndWakes(t *testing.T) {
	s := newSwept(t, nil)
	s.hooks.set(always("Publish"))
	_, err := s.matching.Handle(context.Background(), 1, messages(t, s.simple(3)))
	require.ErrorIs(t, err, errInjected)
	s.hooks.set(nil)
	s.sweep()
	assert.Len(t, s.published.all(1), 1)
	assert.Equal(t, []pipeline.Notice{{Instrument: 1, Position: 1}}, s.woken)
	s.recorded = 1
	s.sweep()
	assert.Len(t, s.woken, 1, "it is there")
	assert.EqualValues(t, 1, s.metrics.Read(pipeline.MetricWoken, 1).Count)
}

// The journal is trimmed below a durable snapshot, the archive, the mark and
// every consumer: whatever is lowest.
func TestSweeperTrims(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name                          string
		recorded, archived, snapshot  pipeline.Position
		unpublished, keeps, noArchive bool
		want                          pipeline.Position
	}{
		{"everybody is there", 10, 10, 10, false, false, false, 10},
		{"a consumer is behind", 4, 10, 10, false, false, false, 4},
		{"a consumer has not begun", 0, 10, 10, false, false, false, 0},
		{"the archive is behind", 10, 5, 10, false, false, false, 5},
		{"nothing is archived", 10, 0, 10, false, false, false, 0},
		{"the snapshot is behind", 10, 10, 6, false, false, false, 6},
		{"no snapshot", 10, 10, 0, false, false, false, 0},
		{"the mark is lost", 10, 10, 10, true, false, false, 0},
		{"no archive at all", 10, 10, 10, false, false, true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSwept(t, func(c *pipeline.SweeperConfig) {
				if tc.noArchive {
					c.Archived = nil
				}
			})
			s.cfg.BatchCommands = 1
			s.deliver(s.engine(), messages(t, s.simple(10)), 10)
			if tc.snapshot > 0 {
				s.saveSnapshot(s.stand, int(tc.snapshot))
			}
			s.recorded, s.archived = tc.recorded, tc.archived
			if tc.unpublished {
				s.hooks.set(func(op string, after bool) error {
					if op == "Published" && after {
						return errInjected
					}
					return nil
				})
				require.ErrorIs(t, s.sweeper.Handle(ctx), errInjected)
				s.hooks.set(nil)
			} else {
				s.sweep()
			}
			_, err := s.journal.Read(ctx, 1, max(tc.want, 1), 1)
			if tc.want > 0 {
				assert.ErrorIs(t, err, pipeline.ErrTrimmed)
			} else {
				assert.NoError(t, err)
			}
			items, err := s.journal.Read(ctx, 1, tc.want+1, 10)
			require.NoError(t, err)
			assert.Len(t, items, 10-int(tc.want))
			if tc.want > 0 {
				assert.EqualValues(t, tc.want, s.metrics.Read(pipeline.MetricTrimmed, 1).Gauge)
			}
			// Whoever begins anew finds what it needs.
			s.deliver(s.engine(), messages(t, []exchange.Command{s.limitOrder(50, 1, exchange.Buy, 9_000, 1)}), 1)
		})
	}
}

// The snapshot is looked at no more often than asked.
func TestSweeperTrimsNowAndThen(t *testing.T) {
	s := newSwept(t, func(c *pipeline.SweeperConfig) { c.TrimEvery = 5 })
	s.cfg.BatchCommands = 1
	looks := 0
	s.hooks.set(func(op string, after bool) error {
		if op == "LoadSnapshot" && !after {
			looks++
		}
		return nil
	})
	m := s.engine()
	for n := 1; n <= 20; n++ {
		s.deliver(m, messages(t, []exchange.Command{s.limitOrder(n, 1, exchange.Buy, 9_000, 1)}), 1)
		if n == 3 {
			looks = 0 // the engine's own
		}
		s.recorded = pipeline.Position(n)
		s.archived = 10
		s.sweep()
	}
	assert.Equal(t, 3, looks, "at 6, 11 and 16")
}

// Every step fails on its own.
func TestSweeperFailures(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct{ op, want string }{
		{"Published", "publishing what is pending"},
		{"Publish", "publishing what is pending"},
		{"Head", "reading the head of instrument 1"},
		{"Recorded", "waking consumers of instrument 1: asking the consumer how far it is"},
		{"Handle", "waking consumers of instrument 1: the consumer"},
		{"Read", "bringing the time of instrument 1"},
		{"Archived", "trimming the journal of instrument 1: asking how far it is archived"},
		{"LoadSnapshot", "trimming the journal of instrument 1: looking for the durable snapshot"},
		{"Trim", "trimming the journal of instrument 1"},
		{"Send 1", "bringing the time of instrument 1"},
		{"Placed", "voiding holds: looking for holds"},
		{"Spanning", "sending spanning commands"},
	} {
		t.Run(tc.op, func(t *testing.T) {
			s := newSwept(t, nil)
			s.cfg.BatchCommands = 1
			s.hooks.set(always("Publish"))
			_, err := s.engine().Handle(ctx, 1, messages(t, s.simple(3)))
			require.ErrorIs(t, err, errInjected)
			s.saveSnapshot(s.stand, 2)
			require.NoError(t, s.journal.MarkPublished(ctx, 1, 2))
			s.recorded, s.archived = 2, 2
			s.deposit(1_000_000)
			s.hold(100, 2, 5)
			kill := exchange.Kill(0, 7)
			kill.ID, kill.Time = commandID(1), s.now
			require.NoError(t, s.balances.Span(ctx, kill))
			s.now += 2 * pipeline.DefaultOrphanAfter
			s.hooks.set(func(op string, after bool) error {
				if op == tc.op && !after {
					return errInjected
				}
				return nil
			})
			err = s.sweeper.Handle(ctx)
			require.ErrorIs(t, err, errInjected)
			require.ErrorContains(t, err, "sweeping: ")
			require.ErrorContains(t, err, tc.want)
			assert.Positive(t, s.metrics.Read(pipeline.MetricSweepFailed, 0).Count)
			// What else there was to do is done.
			of := func(ops ...string) bool {
				for _, op := range ops {
					if op == tc.op {
						return true
					}
				}
				return false
			}
			if !of("Published", "Publish", "Read", "Head") {
				assert.NotEmpty(t, s.published.all(1))
			}
			if !of("Head", "Recorded") {
				assert.NotEmpty(t, s.woken)
			}
			kinds := map[exchange.CommandKind]int{}
			for _, inst := range []exchange.InstrumentID{1, 2} {
				for _, c := range s.sent(inst) {
					kinds[c.Kind]++
				}
			}
			if !of("Head", "Read", "Send 1") {
				assert.Equal(t, 1, kinds[exchange.KindAdvanceTime])
			}
			if !of("Placed") {
				assert.Equal(t, 1, kinds[exchange.KindVoid])
			}
			if !of("Spanning", "Send 1") {
				assert.Equal(t, 2, kinds[exchange.KindKill])
			}
			// And the next pass does the rest.
			s.hooks.set(nil)
			s.now += pipeline.DefaultOrphanAfter
			s.sweep()
			if _, err := s.journal.Read(ctx, 1, 2, 1); !of("Archived") {
				assert.ErrorIs(t, err, pipeline.ErrTrimmed)
			}
			assert.Len(t, s.published.all(1), 1)
		})
	}
}

// A pass waits for the one before no longer than its context lives, and ends
// with it.
func TestSweeperEnds(t *testing.T) {
	s := newSwept(t, nil)
	s.deliver(s.engine(), messages(t, s.simple(3)), 3)
	ctx, cancel := context.WithCancel(context.Background())
	entered, leave := make(chan struct{}), make(chan struct{})
	s.hooks.set(func(op string, after bool) error {
		if op == "Recorded" {
			close(entered)
			<-leave
		}
		return nil
	})
	first := make(chan error)
	go func() { first <- s.sweeper.Handle(ctx) }()
	<-entered
	cancel()
	require.ErrorIs(t, s.sweeper.Handle(ctx), context.Canceled)
	close(leave)
	err := <-first
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "the pass ended early")
}
