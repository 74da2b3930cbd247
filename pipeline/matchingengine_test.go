package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMatchingEngineConfig(t *testing.T) {
	s := newStand(t)
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
	s := newStand(t)
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
			s := newStand(t)
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
	s := newStand(t)
	s.cfg.BatchCommands = 3
	commands := s.simple(10)
	s.hooks.set(once("Append", 3, false))
	done, err := s.engine().Handle(context.Background(), 1, messages(t, commands))
	require.ErrorIs(t, err, errInjected)
	assert.Equal(t, 6, done)
	s.sameAs(commands[:6])
	// The same, and the publisher is down too: nothing is done.
	s = newStand(t)
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
	s := newStand(t)
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
	s := newStand(t)
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
	s := newStand(t)
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

// An instrument whose journal fails stops; the others go on.
func TestMatchingEngineIsolation(t *testing.T) {
	s := newStand(t)
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

// A batch takes no further command once it has its size, and encodes what it
// says.
func TestMatchingEngineBatchBytes(t *testing.T) {
	s := newStand(t)
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
	s := newStand(t)
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
	s := newStand(t)
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
