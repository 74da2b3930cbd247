package pipeline_test

import (
	"context"
	"errors"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filled returns a stand whose journal has the commands, one an item, without
// any snapshot.
func filled(t *testing.T, commands func(s *stand) []exchange.Command) *stand {
	s := newStand(t)
	s.cfg.BatchCommands = 1
	s.deliver(s.engine(), messages(t, commands(s)), 100)
	return s
}

// at returns an engine's snapshot after the first n items of a stand's journal.
func (s *stand) at(n int) (pipeline.Committed, []byte) {
	e := s.plain()
	items := s.items()
	for _, c := range items[:n] {
		for i := range c.Batch().Entries {
			e.Apply(nil, &c.Batch().Entries[i].Command)
		}
	}
	return items[n-1], e.AppendSnapshot(nil)
}

func (s *stand) saveBook(of *stand, n int) {
	c, data := of.at(n)
	require.NoError(s.t, s.books.SaveBook(context.Background(), c, data))
}

func (s *stand) saveSnapshot(of *stand, n int) {
	c, data := of.at(n)
	require.NoError(s.t, s.journal.SaveSnapshot(context.Background(), 1, pipeline.Snapshot{Head: c.Head(), Data: data}))
}

// Which snapshot an engine begins with, and what is thrown away.
func TestLoadChooses(t *testing.T) {
	simple := func(s *stand) []exchange.Command { return s.simple(20) }
	other := func(s *stand) []exchange.Command { return s.simple(21)[1:] }
	for _, tc := range []struct {
		name      string
		prepare   func(t *testing.T, s *stand)
		replayed  int64
		discarded int64
	}{
		{"nothing but the journal", func(*testing.T, *stand) {}, 20, 0},
		{"a book", func(t *testing.T, s *stand) { s.saveBook(s, 15) }, 5, 0},
		{"a book at the head", func(t *testing.T, s *stand) { s.saveBook(s, 20) }, 0, 0},
		{"a durable snapshot", func(t *testing.T, s *stand) { s.saveSnapshot(s, 12) }, 8, 0},
		{"both, the book newer", func(t *testing.T, s *stand) { s.saveBook(s, 15); s.saveSnapshot(s, 12) }, 5, 0},
		{"both, the book rolled back", func(t *testing.T, s *stand) { s.saveBook(s, 3); s.saveSnapshot(s, 12) }, 8, 0},
		{"a book ahead of the journal", func(t *testing.T, s *stand) {
			s.saveBook(filled(t, func(s *stand) []exchange.Command { return s.simple(25) }), 25)
			s.saveSnapshot(s, 12)
		}, 8, 1},
		{"a book of another history", func(t *testing.T, s *stand) { s.saveBook(filled(t, other), 15) }, 20, 1},
		{"a book of another history, at the head", func(t *testing.T, s *stand) { s.saveBook(filled(t, other), 20) }, 20, 1},
		{"a damaged book", func(t *testing.T, s *stand) {
			c, data := s.at(15)
			data[100] ^= 1
			require.NoError(t, s.books.SaveBook(context.Background(), c, data))
		}, 20, 1},
		{"a book of another config", func(t *testing.T, s *stand) {
			s2 := newStand(t)
			s2.journal, s2.cfg.MaxOrders = s.journal, 77
			s.saveBook(s2, 15)
		}, 20, 1},
		{"a damaged durable snapshot", func(t *testing.T, s *stand) {
			c, data := s.at(15)
			data[100] ^= 1
			require.NoError(t, s.journal.SaveSnapshot(context.Background(), 1, pipeline.Snapshot{Head: c.Head(), Data: data}))
		}, 20, 1},
		{"a trimmed journal", func(t *testing.T, s *stand) {
			s.saveSnapshot(s, 12)
			require.NoError(t, s.journal.Trim(context.Background(), 1, 12))
		}, 8, 0},
		{"a journal trimmed to its head", func(t *testing.T, s *stand) {
			s.saveSnapshot(s, 20)
			require.NoError(t, s.journal.Trim(context.Background(), 1, 20))
		}, 0, 0},
		{"a book older than what was trimmed", func(t *testing.T, s *stand) {
			s.saveBook(s, 3)
			s.saveSnapshot(s, 12)
			require.NoError(t, s.journal.Trim(context.Background(), 1, 12))
		}, 8, 0},
		{"a trimmed journal and a book ahead", func(t *testing.T, s *stand) {
			s.saveBook(filled(t, func(s *stand) []exchange.Command { return s.simple(25) }), 25)
			s.saveSnapshot(s, 12)
			require.NoError(t, s.journal.Trim(context.Background(), 1, 12))
		}, 8, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := filled(t, simple)
			want := s.plain()
			for _, e := range s.entries() {
				want.Apply(nil, &e.Command)
			}
			head, err := s.journal.Head(context.Background(), 1)
			require.NoError(t, err)
			tc.prepare(t, s)
			e, at := s.load(s.books)
			assert.Equal(t, want.Hash(), e.Hash())
			assert.Equal(t, head, at)
			// A matching engine goes on from there, and counts.
			s.metrics = memory.NewMetrics()
			s.cfg.Metrics = s.metrics
			next := s.limitOrder(50, 1, exchange.Buy, 9_000, 1)
			s.deliver(s.engine(), []pipeline.QueueMessage{message(t, next)}, 1)
			assert.Equal(t, tc.replayed, s.metrics.Read(pipeline.MetricReplayed, 1).Count)
			assert.Equal(t, tc.discarded, s.metrics.Read(pipeline.MetricBookDiscarded, 1).Count)
			want.Apply(nil, &next)
			e, at = s.load(s.books)
			assert.Equal(t, want.Hash(), e.Hash())
			assert.Equal(t, head.Position+1, at.Position)
		})
	}
}

// What no engine can begin with stops the instrument, loudly.
func TestLoadRefuses(t *testing.T) {
	ctx := context.Background()
	simple := func(s *stand) []exchange.Command { return s.simple(20) }
	// tampered returns a journal with the items of another, the last of them
	// changed, with hashes that fit.
	tampered := func(t *testing.T, s *stand, change func(*pipeline.Batch)) *memory.Journal {
		j := memory.NewJournal()
		log, at := pipeline.NewLog(j), pipeline.Head{}
		items := s.items()
		for i, c := range items {
			b, err := pipeline.DecodeBatch(c.Data())
			require.NoError(t, err)
			if i == len(items)-1 {
				change(b)
			}
			next, err := log.Append(ctx, at, b)
			require.NoError(t, err)
			at = next.Head()
		}
		return j
	}
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, s *stand)
		want    error
	}{
		{"another event", func(t *testing.T, s *stand) {
			s.journal = tampered(t, s, func(b *pipeline.Batch) { b.Entries[0].Events[0].Qty++ })
		}, pipeline.ErrDiverged},
		{"an event too few", func(t *testing.T, s *stand) {
			s.journal = tampered(t, s, func(b *pipeline.Batch) { b.Entries[0].Events = b.Entries[0].Events[1:] })
		}, pipeline.ErrDiverged},
		{"an event too many", func(t *testing.T, s *stand) {
			s.journal = tampered(t, s, func(b *pipeline.Batch) { b.Entries[0].Events = append(b.Entries[0].Events, b.Entries[0].Events[0]) })
		}, pipeline.ErrDiverged},
		{"another command", func(t *testing.T, s *stand) {
			s.journal = tampered(t, s, func(b *pipeline.Batch) { b.Entries[0].Command.Qty++ })
		}, pipeline.ErrDiverged},
		{"rules of a later version", func(t *testing.T, s *stand) {
			s.journal = tampered(t, s, func(b *pipeline.Batch) { b.Rules++ })
		}, pipeline.ErrRules},
		{"a durable snapshot ahead of the journal", func(t *testing.T, s *stand) {
			s.saveSnapshot(filled(t, func(s *stand) []exchange.Command { return s.simple(25) }), 25)
		}, pipeline.ErrDiverged},
		{"a durable snapshot of another history", func(t *testing.T, s *stand) {
			s.saveSnapshot(filled(t, func(s *stand) []exchange.Command { return s.simple(21)[1:] }), 15)
		}, pipeline.ErrDiverged},
		{"a trimmed journal whose snapshot is damaged", func(t *testing.T, s *stand) {
			c, data := s.at(15)
			data[100] ^= 1
			require.NoError(t, s.journal.SaveSnapshot(ctx, 1, pipeline.Snapshot{Head: c.Head(), Data: data}))
			require.NoError(t, s.journal.Trim(ctx, 1, 15))
		}, pipeline.ErrTrimmed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := filled(t, simple)
			tc.prepare(t, s)
			_, _, err := pipeline.LoadEngine(ctx, pipeline.NewLog(s.journal), s.books, s.in, exchange.Config{})
			require.ErrorIs(t, err, tc.want)
			assert.ErrorContains(t, err, "loading instrument 1")
			s.cfg.Metrics = memory.NewMetrics()
			m := s.engine()
			for range 2 { // and it stays so
				done, err := m.Handle(ctx, 1, messages(t, []exchange.Command{s.limitOrder(50, 1, exchange.Buy, 9_000, 1)}))
				require.ErrorIs(t, err, tc.want)
				require.Zero(t, done)
			}
			if diverged := s.cfg.Metrics.(*memory.Metrics).Read(pipeline.MetricDiverged, 1).Count; tc.want == pipeline.ErrDiverged {
				assert.EqualValues(t, 2, diverged)
			} else {
				assert.Zero(t, diverged)
			}
			head, err := s.journal.Head(ctx, 1)
			require.NoError(t, err)
			assert.EqualValues(t, 20, head.Position, "nothing was added")
		})
	}
}

// gapped gives no item from a position on, though its head says that there are
// some.
type gapped struct {
	pipeline.Journal
	from pipeline.Position
}

func (j *gapped) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	if from >= j.from {
		return nil, nil
	}
	return j.Journal.Read(ctx, inst, from, min(limit, int(j.from-from)))
}

// A journal that does not give what it says it has is not taken at its word.
func TestLoadGap(t *testing.T) {
	s := filled(t, func(s *stand) []exchange.Command { return s.simple(20) })
	log := pipeline.NewLog(&gapped{s.journal, 10})
	_, _, err := pipeline.LoadEngine(context.Background(), log, s.books, s.in, exchange.Config{})
	require.ErrorIs(t, err, pipeline.ErrGap)
	require.ErrorIs(t, pipeline.PublishPending(context.Background(), pipeline.NewLog(&unpublished{&gapped{s.journal, 10}}), s.published, 1), pipeline.ErrGap)
}

// More items than a page.
func TestLoadPages(t *testing.T) {
	s := filled(t, func(s *stand) []exchange.Command { return s.simple(150) })
	e, head := s.load(nil)
	assert.EqualValues(t, 150, head.Position)
	want := s.plain()
	for _, c := range s.simple(150) {
		want.Apply(nil, &c)
	}
	assert.Equal(t, want.Hash(), e.Hash())
}

// unpublished is a journal whose mark was lost.
type unpublished struct{ pipeline.Journal }

func (j *unpublished) Published(context.Context, exchange.InstrumentID) (pipeline.Position, error) {
	return 0, nil
}

func TestPublishPending(t *testing.T) {
	ctx := context.Background()
	s := filled(t, func(s *stand) []exchange.Command { return s.simple(100) })
	again := func(j pipeline.Journal, hit func(string, bool) error) ([]pipeline.Position, error) {
		s.published.got = map[exchange.InstrumentID][]pipeline.Position{}
		s.hooks.set(hit)
		defer s.hooks.set(nil)
		err := pipeline.PublishPending(ctx, pipeline.NewLog(j), s.published, 1)
		return s.published.all(1), err
	}
	got, err := again(s.journal, nil)
	require.NoError(t, err)
	assert.Empty(t, got, "all is published")
	got, err = again(&unpublished{s.journal}, nil)
	require.NoError(t, err)
	assert.Len(t, got, 100, "in more than one page")
	// A publisher that fails on the second page: the mark is that of the first.
	marks := &marks{Journal: s.journal}
	_, err = again(marks, once("Publish", 2, false))
	require.ErrorIs(t, err, errInjected)
	assert.Equal(t, []pipeline.Position{32}, marks.set)
	_, err = again(marks, always("Publish"))
	require.ErrorIs(t, err, errInjected)
	assert.Equal(t, []pipeline.Position{32}, marks.set)
	for _, op := range []string{"Published", "Head", "Read", "MarkPublished"} {
		_, err = again(&hookedJournal{&unpublished{s.journal}, s.hooks}, always(op))
		require.ErrorIs(t, err, errInjected, op)
		require.ErrorContains(t, err, "instrument 1", op)
	}
	// The mark was lost, and what it should stand at is trimmed: everybody has
	// read that, and hears of the rest.
	s.saveSnapshot(s, 60)
	require.NoError(t, s.journal.Trim(ctx, 1, 60))
	got, err = again(&unpublished{s.journal}, nil)
	require.NoError(t, err)
	assert.Equal(t, []pipeline.Position{100}, got)
	s2 := filled(t, func(s *stand) []exchange.Command { return s.simple(5) })
	s2.saveSnapshot(s2, 5)
	require.NoError(t, s2.journal.Trim(ctx, 1, 5))
	s2.published.got = map[exchange.InstrumentID][]pipeline.Position{}
	require.NoError(t, pipeline.PublishPending(ctx, pipeline.NewLog(&unpublished{s2.journal}), s2.published, 1))
	assert.Empty(t, s2.published.all(1))
	// An instrument nobody has heard of.
	require.NoError(t, pipeline.PublishPending(ctx, pipeline.NewLog(s.journal), s.published, 9))
}

// marks is a journal whose mark stays at 0, and remembers where it was set.
type marks struct {
	pipeline.Journal
	set []pipeline.Position
}

func (j *marks) Published(context.Context, exchange.InstrumentID) (pipeline.Position, error) {
	return 0, nil
}

func (j *marks) MarkPublished(_ context.Context, _ exchange.InstrumentID, pos pipeline.Position) error {
	j.set = append(j.set, pos)
	return nil
}

func TestCommitted(t *testing.T) {
	var zero pipeline.Committed
	require.ErrorIs(t, zero.Check(), pipeline.ErrNotCommitted)
	ctx := context.Background()
	books, publisher := memory.NewBookStore(), memory.NewPublisher()
	assert.ErrorIs(t, books.SaveBook(ctx, zero, nil), pipeline.ErrNotCommitted)
	assert.ErrorIs(t, books.SaveDepth(ctx, zero, &pipeline.Depth{}), pipeline.ErrNotCommitted)
	assert.ErrorIs(t, publisher.Publish(ctx, []pipeline.Committed{zero}), pipeline.ErrNotCommitted)
	s := filled(t, func(s *stand) []exchange.Command { return s.simple(1) })
	c := s.items()[0]
	require.NoError(t, c.Check())
	assert.EqualValues(t, 1, c.Instrument())
	assert.EqualValues(t, 1, c.Position())
	assert.Equal(t, pipeline.HashOf(pipeline.Hash{}, c.Data()), c.Head().Hash)
	assert.True(t, errors.Is(books.SaveDepth(ctx, c, &pipeline.Depth{Instrument: 2}), pipeline.ErrInvalid))
}

// Load is what the first message would have waited for, and a book store that
// was lost has book and depth again.
func TestMatchingEngineLoad(t *testing.T) {
	ctx := context.Background()
	for _, snapshot := range []int{0, 12, 20} { // 20: at the head
		s := filled(t, func(s *stand) []exchange.Command { return s.simple(20) })
		if snapshot > 0 {
			s.saveSnapshot(s, snapshot)
		}
		s.books, s.cfg.BookEvery = memory.NewBookStore(), 1
		s.cfg.Books = &hookedBooks{s.books, s.hooks}
		m := s.engine()
		s.hooks.set(always("Head"))
		require.ErrorIs(t, m.Load(ctx, 1), errInjected)
		s.hooks.set(nil)
		require.NoError(t, m.Load(ctx, 1))
		book, err := s.books.LoadBook(ctx, 1)
		require.NoError(t, err, "snapshot at %d", snapshot)
		_, want := s.at(20)
		assert.Equal(t, want, book.Data)
		assert.EqualValues(t, 20, book.Position)
		_, err = s.books.Depth(ctx, 1)
		require.NoError(t, err)
		s.hooks.set(func(op string, _ bool) error { t.Errorf("%s, and it is loaded", op); return nil })
		require.NoError(t, m.Load(ctx, 1))
	}
	// The item at the head is gone: there is a snapshot of it and no proof for
	// a book store.
	s := filled(t, func(s *stand) []exchange.Command { return s.simple(20) })
	s.saveSnapshot(s, 20)
	require.NoError(t, s.journal.Trim(ctx, 1, 20))
	s.books, s.cfg.BookEvery = memory.NewBookStore(), 1
	s.cfg.Books = &hookedBooks{s.books, s.hooks}
	require.NoError(t, s.engine().Load(ctx, 1))
	_, err := s.books.LoadBook(ctx, 1)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	require.ErrorIs(t, s.engine().Load(ctx, 2), pipeline.ErrInvalid)
}
