package progress

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const patience = 20 * time.Second

// journal appends batches of commands that are all refused.
type journal struct {
	t    *testing.T
	log  *pipeline.Log
	head map[exchange.InstrumentID]pipeline.Head
	seq  map[exchange.InstrumentID]uint64
}

func newJournal(t *testing.T) *journal {
	return &journal{t: t, log: pipeline.NewLog(memory.NewJournal()), head: map[exchange.InstrumentID]pipeline.Head{}, seq: map[exchange.InstrumentID]uint64{}}
}

func idOf(n int) (id exchange.CommandID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

func (j *journal) append(inst exchange.InstrumentID, ids ...int) pipeline.Committed {
	j.t.Helper()
	b := &pipeline.Batch{Instrument: inst, Rules: pipeline.CurrentRules}
	for _, n := range ids {
		j.seq[inst]++
		cmd := exchange.Cancel(inst, 1, 1)
		cmd.ID = idOf(n)
		b.Entries = append(b.Entries, pipeline.Entry{Message: pipeline.Message{Command: cmd},
			Events: []exchange.Event{{Kind: exchange.EventRejected, Instrument: inst, Seq: j.seq[inst], ID: cmd.ID, Reason: exchange.UnknownOrder}}})
	}
	c, err := j.log.Append(context.Background(), j.head[inst], b)
	require.NoError(j.t, err)
	j.head[inst] = c.Head()
	return c
}

func waitCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestWaiters(t *testing.T) {
	j, b := newJournal(t), NewBoard(nil, time.Now)
	pub := b.Publisher(memory.NewPublisher())
	first, again, other, gone := b.Expect(idOf(1)), b.Expect(idOf(1)), b.Expect(idOf(2)), b.Expect(idOf(1))
	gone.End()
	_, ok := first.Known()
	assert.False(t, ok)
	c := j.append(1, 1)
	require.NoError(t, pub.Publish(context.Background(), []pipeline.Committed{c}))
	for _, w := range []*Waiter{first, again, b.Expect(idOf(1))} {
		o, err := w.Wait(waitCtx(t))
		require.NoError(t, err)
		assert.Equal(t, []any{idOf(1), Rejected, exchange.UnknownOrder, pipeline.Position(1)}, []any{o.Command, o.Status, o.Reason, o.Position})
		_, ok := w.Known()
		assert.True(t, ok)
		w.End()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := other.Wait(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	other.End()
	other.End()
	assert.Empty(t, b.waiting, "who gives up leaves nothing behind")
	require.NoError(t, pub.Publish(context.Background(), []pipeline.Committed{c}), "published twice")
	assert.Len(t, b.outcomes, 1)
	assert.ErrorIs(t, pub.Publish(context.Background(), []pipeline.Committed{{}}), pipeline.ErrNotCommitted)
}

func TestOutcomesAreBounded(t *testing.T) {
	b := NewBoard(nil, time.Now)
	for n := 1; n <= MaxOutcomes+2; n++ {
		b.keep(Outcome{Command: idOf(n), Status: Open})
	}
	assert.Len(t, b.outcomes, MaxOutcomes)
	assert.Len(t, b.order, MaxOutcomes)
	for n, want := range map[int]bool{1: false, 2: false, 3: true, MaxOutcomes + 2: true} {
		w := b.Expect(idOf(n))
		_, known := w.Known()
		assert.Equal(t, want, known, n)
		w.End()
	}
}

// Reads wait until the stores have what was committed when they began, and no
// longer.
func TestGates(t *testing.T) {
	j, b := newJournal(t), NewBoard(nil, time.Now)
	pub := b.Publisher(memory.NewPublisher())
	trades, balances := b.TradeStore(memory.NewTradeStore()), b.Balances(memory.NewBalances(memory.BalancesConfig{}))
	ctx := waitCtx(t)
	p, err := b.Recorded(ctx, 1)
	require.NoError(t, err)
	assert.Zero(t, p, "nothing is committed")

	one, two := j.append(1, 1, 2), j.append(1, 3)
	require.NoError(t, pub.Publish(ctx, []pipeline.Committed{one, two}))
	assert.Equal(t, Point{2, 3}, b.Committed(1))
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = b.Recorded(short, 1)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	type result struct {
		Point
		err error
	}
	recorded, settled := make(chan result, 1), make(chan result, 1)
	go func() { p, err := b.Recorded(ctx, 1); recorded <- result{p, err} }()
	go func() { p, err := b.Settled(ctx, 1); settled <- result{p, err} }()
	for _, c := range []pipeline.Committed{one, two} {
		assert.Empty(t, recorded)
		require.NoError(t, trades.Record(ctx, c, &pipeline.Record{}))
	}
	assert.Equal(t, result{Point{2, 3}, nil}, <-recorded)
	for _, c := range []pipeline.Committed{one, two} {
		assert.Empty(t, settled)
		require.NoError(t, balances.Settle(ctx, c, &pipeline.Settlement{}))
	}
	assert.Equal(t, result{Point{2, 3}, nil}, <-settled)
	_, err = b.Recorded(ctx, 2)
	assert.NoError(t, err, "each instrument for itself")
	assert.ErrorIs(t, trades.Record(ctx, pipeline.Committed{}, &pipeline.Record{}), pipeline.ErrNotCommitted)
	committed, rec, set, _ := b.Stages(t.Context(), 1)
	assert.Equal(t, []Point{{2, 3}, {2, 3}, {2, 3}}, []Point{committed, rec, set})
}

// A new process knows what the journal has.
func TestLoad(t *testing.T) {
	j := newJournal(t)
	trades, balances := memory.NewTradeStore(), memory.NewBalances(memory.BalancesConfig{})
	ctx := context.Background()
	in := []*exchange.Instrument{instrument(t, 1), instrument(t, 2)}
	b := NewBoard(nil, time.Now)
	require.NoError(t, b.Load(ctx, j.log, memory.NewArchive(), trades, balances, in), "an empty journal")
	assert.Zero(t, b.Committed(1))

	n := 0
	for range 3*loadBlock + 1 {
		n += 2
		c := j.append(1, n-1, n)
		require.NoError(t, trades.Record(ctx, c, &pipeline.Record{}))
		if n <= 20 {
			require.NoError(t, balances.Settle(ctx, c, &pipeline.Settlement{}))
		}
	}
	b = NewBoard(nil, time.Now)
	log := pipeline.NewLog(j.log.Journal())
	require.NoError(t, b.Load(ctx, log, memory.NewArchive(), trades, balances, in))
	assert.Len(t, b.outcomes, n)
	committed, recorded, settled, _ := b.Stages(t.Context(), 1)
	last := Point{pipeline.Position(n / 2), uint64(n)}
	assert.Equal(t, []Point{last, last, {10, 20}}, []Point{committed, recorded, settled})

	// What was trimmed is in the archive.
	archive := memory.NewArchive()
	recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: in, Log: log, Trades: memory.NewTradeStore(), Archive: archive, ArchiveEvery: 7})
	require.NoError(t, err)
	require.NoError(t, recorder.Handle(ctx, pipeline.Notice{Instrument: 1, Position: 3*loadBlock + 1}))
	require.NoError(t, log.Journal().SaveSnapshot(ctx, 1, pipeline.Snapshot{Head: j.head[1], Data: []byte("x")}))
	require.NoError(t, log.Journal().Trim(ctx, 1, 2*loadBlock))
	b = NewBoard(nil, time.Now)
	require.NoError(t, b.Load(ctx, pipeline.NewLog(log.Journal()), archive, trades, balances, in))
	assert.Len(t, b.outcomes, n)
	again := b.Expect(idOf(1))
	first, ok := again.Known()
	assert.True(t, ok)
	assert.EqualValues(t, 1, first.Position)
	again.End()

	// Without the archive it is not known any more; what is there is.
	b = NewBoard(nil, time.Now)
	require.NoError(t, b.Load(ctx, pipeline.NewLog(log.Journal()), memory.NewArchive(), trades, balances, in))
	assert.Len(t, b.outcomes, n-4*loadBlock)
	assert.Contains(t, b.outcomes, idOf(n))
	assert.NotContains(t, b.outcomes, idOf(1))
	_, _, settled, _ = b.Stages(t.Context(), 1)
	assert.Equal(t, Point{10, 0}, settled, "its item is gone")
}

func TestStalled(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewBoard(nil, func() time.Time { return now })
	commit := func() Point {
		p := Point{Position: b.Committed(1).Position + 1}
		b.commit(1, p)
		return p
	}
	now = now.Add(time.Hour)
	assert.NoError(t, b.Stalled(1), "there is no journal")
	p := commit()
	assert.NoError(t, b.Stalled(1), "the consumers had nothing to do before")
	now = now.Add(StallAfter)
	assert.NoError(t, b.Stalled(1))
	now = now.Add(1)
	assert.ErrorContains(t, b.Stalled(1), "the journal")
	commit()
	assert.ErrorContains(t, b.Stalled(1), "the trade store")
	b.recorded.advance(1, p)
	assert.ErrorContains(t, b.Stalled(1), "the balances")
	b.settled.advance(1, p)
	assert.NoError(t, b.Stalled(1), "behind, but they move")
	now = now.Add(StallAfter + 1)
	p = commit()
	assert.ErrorContains(t, b.Stalled(1), "the trade store")
	b.recorded.advance(1, p)
	b.settled.advance(1, p)
	assert.NoError(t, b.Stalled(1))
}

func TestTrace(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	tr := NewTrace(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), func() time.Time { return now })
	b := NewBoard(tr, time.Now)
	j := newJournal(t)
	tr.Mark(idOf(1), StageReceived)
	now = now.Add(time.Millisecond)
	body, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: exchange.Command{ID: idOf(1), Instrument: 1}})
	require.NoError(t, err)
	require.NoError(t, b.CommandQueue(memory.NewQueue(memory.QueueConfig{})).Send(context.Background(), []pipeline.QueueMessage{{Instrument: 1, Body: body}}))
	now = now.Add(time.Millisecond)
	c := j.append(1, 1)
	require.NoError(t, b.Publisher(memory.NewPublisher()).Publish(context.Background(), []pipeline.Committed{c, c}[:1]))
	now = now.Add(time.Millisecond)
	tr.Mark(idOf(1), StageAnswered)
	require.NoError(t, b.TradeStore(memory.NewTradeStore()).Record(context.Background(), c, &pipeline.Record{}))
	require.NoError(t, b.Balances(memory.NewBalances(memory.BalancesConfig{})).Settle(context.Background(), c, &pipeline.Settlement{}))
	b.Pushed(context.Background(), j.log, 1, 1)
	tr.Mark(idOf(1), StageCommitted) // again: the first time counts
	var got []string
	for _, h := range tr.Hops(idOf(1)) {
		got = append(got, string(h.Stage)+" "+h.Took.String())
	}
	assert.Equal(t, []string{"received 0s", "queued 1ms", "committed 2ms", "answered 3ms", "recorded 3ms", "settled 3ms", "pushed 3ms"}, got)
	assert.Equal(t, 7, strings.Count(out.String(), "msg=hop command_id=00000000000000010000000000000000"), out.String())
	assert.Contains(t, out.String(), "stage=committed took=2ms")

	tr.Mark(exchange.CommandID{}, StageReceived)
	for n := 2; n <= MaxTraces+1; n++ {
		tr.Mark(idOf(n), StageReceived)
	}
	assert.Len(t, tr.hops, MaxTraces)
	assert.Nil(t, tr.Hops(idOf(1)), "the oldest is forgotten")
	assert.Len(t, tr.Hops(idOf(2)), 1)
	var none *Trace
	none.Mark(idOf(1), StageReceived)
	assert.Nil(t, none.Hops(idOf(1)))
}
