package exchangetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// TestJournal runs JournalCases.
func TestJournal(t *testing.T, open Open[pipeline.Journal]) { Run(t, JournalCases, open) }

// TestDurableJournal runs DurableJournalCases.
func TestDurableJournal(t *testing.T, h Durable[pipeline.Journal]) { Run(t, DurableJournalCases, h) }

// JournalCases is what every pipeline.Journal does.
var JournalCases = []Case[Open[pipeline.Journal]]{
	{"empty", journalEmpty},
	{"items come back as they were appended", journalRoundTrip},
	{"an item at another position is fenced and not written", journalFenced},
	{"an item without data or beyond the bound is refused", journalSizes},
	{"items above the limits of stores", journalBig},
	{"reads begin anywhere and stop at their limit", journalReads},
	{"a read's position and limit are checked", journalReadBounds},
	{"instruments are apart", journalInstruments},
	{"of two appends at one position one succeeds", journalRace},
	{"a reader sees no gap while items are appended", journalReader},
	{"no slice is kept", journalKeepsNoSlice},
	{"what is returned belongs to the caller", journalReturnsCopies},
	{"the newest snapshot stays", journalSnapshots},
	{"a snapshot above the limits of stores", journalBigSnapshot},
	{"the published mark never goes back", journalPublished},
	{"trimmed items are gone, the rest and the head stay", journalTrim},
	{"what lies above the snapshot is not trimmed", journalTrimBounds},
	{"a journal trimmed to its head goes on", journalTrimAll},
	{"a Log over it commits, reads back and is fenced", journalLog},
}

// DurableJournalCases is what every pipeline.Journal does that survives.
var DurableJournalCases = []Case[Durable[pipeline.Journal]]{
	{"items, snapshot and trim survive", durableJournal},
	{"a writer of before is fenced", durableJournalFence},
}

const (
	instA exchange.InstrumentID = 1
	instB exchange.InstrumentID = exchange.MaxID
)

// chain makes items that follow at.
func chain(at pipeline.Head, data ...[]byte) []pipeline.Item {
	items := make([]pipeline.Item, len(data))
	for i := range data {
		at = pipeline.Head{Position: at.Position + 1, Hash: pipeline.HashOf(at.Hash, data[i])}
		items[i] = pipeline.Item{Head: at, Data: data[i]}
	}
	return items
}

// texts makes the data of n items.
func texts(n int) [][]byte {
	data := make([][]byte, n)
	for i := range data {
		data[i] = fmt.Appendf(nil, "item %d", i+1)
	}
	return data
}

// filled appends items, of which the caller keeps a copy.
func filled(t testing.TB, j pipeline.Journal, inst exchange.InstrumentID, items []pipeline.Item) {
	t.Helper()
	for _, item := range items {
		require.NoError(t, j.Append(t.Context(), inst, item), "appending item %d", item.Position)
	}
}

// holds checks that the journal has exactly items, which begin at from.
func holds(t testing.TB, j pipeline.Journal, inst exchange.InstrumentID, from pipeline.Position, items []pipeline.Item) {
	t.Helper()
	head, err := j.Head(t.Context(), inst)
	require.NoError(t, err)
	if len(items) > 0 {
		require.Equal(t, items[len(items)-1].Head, head, "head")
	} else if from == 1 {
		require.Zero(t, head, "head")
	}
	for len(items) > 0 {
		got, err := j.Read(t.Context(), inst, from, pipeline.MaxReadItems)
		require.NoError(t, err, "reading from %d", from)
		require.NotEmpty(t, got, "reading from %d", from)
		require.LessOrEqual(t, len(got), len(items), "items from %d", from)
		for i := range got {
			require.Equal(t, items[i].Head, got[i].Head, "head of item %d", from)
			require.True(t, bytes.Equal(items[i].Data, got[i].Data), "data of item %d", from)
			from++
		}
		items = items[len(got):]
	}
	got, err := j.Read(t.Context(), inst, from, 1)
	require.NoError(t, err)
	require.Empty(t, got, "items from %d, behind the last", from)
}

func journalEmpty(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	head, err := j.Head(ctx, instA)
	require.NoError(t, err)
	require.Zero(t, head)
	items, err := j.Read(ctx, instA, 1, 1)
	require.NoError(t, err)
	require.Empty(t, items)
	pos, err := j.Published(ctx, instA)
	require.NoError(t, err)
	require.Zero(t, pos)
	_, err = j.LoadSnapshot(ctx, instA)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
}

func journalRoundTrip(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	items := chain(pipeline.Head{}, []byte{0}, []byte("second"), bytes.Repeat([]byte{0xff, 0}, 5000), []byte("fourth"))
	for i := range items {
		filled(t, j, instA, items[i:i+1])
		holds(t, j, instA, 1, items[:i+1])
	}
}

func journalFenced(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	items := chain(pipeline.Head{}, texts(3)...)
	fenced := func(pos pipeline.Position, have []pipeline.Item) {
		t.Helper()
		item := pipeline.Item{Head: pipeline.Head{Position: pos, Hash: pipeline.Hash{7}}, Data: []byte("of another writer")}
		require.ErrorIs(t, j.Append(t.Context(), instA, item), pipeline.ErrFenced, "position %d after %d items", pos, len(have))
		holds(t, j, instA, 1, have)
	}
	fenced(0, nil)
	fenced(2, nil)
	filled(t, j, instA, items)
	for _, pos := range []pipeline.Position{0, 1, 2, 3, 5, 1 << 40} {
		fenced(pos, items)
	}
	require.ErrorIs(t, j.Append(t.Context(), instA, items[2]), pipeline.ErrFenced, "the last item again")
	holds(t, j, instA, 1, items)
	filled(t, j, instA, chain(items[2].Head, []byte("fourth")))
}

func journalSizes(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	for _, data := range [][]byte{nil, {}, huge(t, pipeline.MaxItemBytes+1)} {
		item := pipeline.Item{Head: pipeline.Head{Position: 1, Hash: pipeline.Hash{1}}, Data: data}
		require.ErrorIs(t, j.Append(t.Context(), instA, item), pipeline.ErrTooLarge, "%d bytes", len(data))
		holds(t, j, instA, 1, nil)
	}
	items := chain(pipeline.Head{}, []byte{1})
	filled(t, j, instA, items)
	holds(t, j, instA, 1, items)
}

func journalBig(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	items := chain(pipeline.Head{}, []byte("small"), noise(1, bigSize), noise(2, 400<<10), noise(3, 400<<10+1), []byte("small again"), noise(4, 3*bigSize+1))
	filled(t, j, instA, items)
	holds(t, j, instA, 1, items)
	holds(t, j, instA, 4, items[3:])
	// A big item that is fenced leaves nothing behind either.
	require.ErrorIs(t, j.Append(t.Context(), instA, pipeline.Item{Head: items[1].Head, Data: noise(5, bigSize)}), pipeline.ErrFenced)
	holds(t, j, instA, 1, items)
	filled(t, j, instA, chain(items[len(items)-1].Head, noise(6, bigSize)))
}

func journalReads(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	const n = pipeline.MaxReadItems + 5
	items := chain(pipeline.Head{}, texts(n)...)
	filled(t, j, instA, items)
	holds(t, j, instA, 1, items)
	for _, from := range []pipeline.Position{1, 2, 500, n - 1, n} {
		for _, limit := range []int{1, 2, 7, pipeline.MaxReadItems} {
			got, err := j.Read(t.Context(), instA, from, limit)
			require.NoError(t, err)
			require.NotEmpty(t, got, "from %d, limit %d", from, limit)
			require.LessOrEqual(t, len(got), limit, "from %d", from)
			for i := range got {
				require.Equal(t, items[int(from)-1+i], got[i], "from %d, limit %d: item %d of the answer", from, limit, i)
			}
		}
	}
}

func journalReadBounds(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	items := chain(pipeline.Head{}, texts(3)...)
	filled(t, j, instA, items)
	for _, limit := range []int{0, -1, pipeline.MaxReadItems + 1} {
		_, err := j.Read(t.Context(), instA, 1, limit)
		require.ErrorIs(t, err, pipeline.ErrInvalid, "limit %d", limit)
	}
	_, err := j.Read(t.Context(), instA, 0, 1)
	require.ErrorIs(t, err, pipeline.ErrInvalid, "position 0")
	for _, from := range []pipeline.Position{4, 5, 1 << 60} {
		got, err := j.Read(t.Context(), instA, from, 10)
		require.NoError(t, err, "from %d", from)
		require.Empty(t, got, "from %d", from)
	}
}

func journalInstruments(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	a, b := chain(pipeline.Head{}, texts(4)...), chain(pipeline.Head{}, []byte("other"), []byte("instrument"))
	filled(t, j, instA, a)
	holds(t, j, instB, 1, nil)
	filled(t, j, instB, b)
	require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: a[1].Head, Data: []byte("a")}))
	require.NoError(t, j.MarkPublished(ctx, instA, 3))
	require.NoError(t, j.Trim(ctx, instA, 2))
	holds(t, j, instA, 3, a[2:])
	holds(t, j, instB, 1, b)
	_, err := j.LoadSnapshot(ctx, instB)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	pos, err := j.Published(ctx, instB)
	require.NoError(t, err)
	require.Zero(t, pos)
}

func journalRace(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	var head pipeline.Head
	for range 20 {
		offers := make([]pipeline.Item, 8)
		for i := range offers {
			size := 20
			if i%2 == 1 && head.Position < 5 {
				size = 500 << 10 // in parts, where parts there are
			}
			offers[i] = chain(head, noise(uint64(head.Position)<<8|uint64(i), size))[0]
		}
		errs := together(len(offers), func(i int) error { return j.Append(t.Context(), instA, offers[i]) })
		require.Equal(t, 1, succeeded(t, errs, pipeline.ErrFenced), "appends that succeeded at position %d", head.Position+1)
		for i, err := range errs {
			if err == nil {
				head = offers[i].Head
				holds(t, j, instA, head.Position, offers[i:i+1])
			}
		}
	}
}

func journalReader(t testing.TB, open Open[pipeline.Journal]) {
	j := open(t)
	items := chain(pipeline.Head{}, texts(200)...)
	var appended atomic.Int64
	errs := together(3, func(i int) error {
		if i == 0 {
			for _, item := range items {
				if err := j.Append(t.Context(), instA, item); err != nil {
					appended.Store(int64(len(items))) // so that the readers stop
					return err
				}
				appended.Add(1)
			}
			return nil
		}
		for known := 0; known < len(items); {
			known = int(appended.Load())
			head, err := j.Head(t.Context(), instA)
			if err != nil {
				return err
			}
			if int(head.Position) < known {
				return fmt.Errorf("head is %d after %d items were appended", head.Position, known)
			}
			got, err := j.Read(t.Context(), instA, 1, pipeline.MaxReadItems)
			if err != nil {
				return err
			}
			if known > 0 && len(got) == 0 {
				return fmt.Errorf("nothing to read after %d items were appended", known)
			}
			for i := range got {
				if got[i].Head != items[i].Head || !bytes.Equal(got[i].Data, items[i].Data) {
					return fmt.Errorf("item %d is not what was appended", i+1)
				}
			}
		}
		return nil
	})
	require.NoError(t, errors.Join(errs...))
	holds(t, j, instA, 1, items)
}

func journalKeepsNoSlice(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	items := chain(pipeline.Head{}, noise(1, 100), noise(2, bigSize))
	for _, item := range items {
		mine := bytes.Clone(item.Data)
		require.NoError(t, j.Append(ctx, instA, pipeline.Item{Head: item.Head, Data: mine}))
		spoil(mine)
	}
	holds(t, j, instA, 1, items)
	mine := []byte("snapshot")
	require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: items[0].Head, Data: mine}))
	spoil(mine)
	snap, err := j.LoadSnapshot(ctx, instA)
	require.NoError(t, err)
	require.Equal(t, "snapshot", string(snap.Data))
}

func journalReturnsCopies(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	items := chain(pipeline.Head{}, texts(3)...)
	filled(t, j, instA, items)
	require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: items[0].Head, Data: []byte("snapshot")}))
	got, err := j.Read(ctx, instA, 1, 3)
	require.NoError(t, err)
	for i := range got {
		_ = append(got[i].Data, "and what lies behind"...)
		spoil(got[i].Data)
		got[i].Head = pipeline.Head{}
	}
	snap, err := j.LoadSnapshot(ctx, instA)
	require.NoError(t, err)
	spoil(snap.Data)
	holds(t, j, instA, 1, items)
	snap, err = j.LoadSnapshot(ctx, instA)
	require.NoError(t, err)
	require.Equal(t, pipeline.Snapshot{Head: items[0].Head, Data: []byte("snapshot")}, snap)
}

func journalSnapshots(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	items := chain(pipeline.Head{}, texts(6)...)
	filled(t, j, instA, items)
	at := func(i int, text string) pipeline.Snapshot {
		return pipeline.Snapshot{Head: items[i].Head, Data: []byte(text)}
	}
	is := func(want pipeline.Snapshot) {
		t.Helper()
		got, err := j.LoadSnapshot(ctx, instA)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoError(t, j.SaveSnapshot(ctx, instA, at(2, "third")))
	is(at(2, "third"))
	require.NoError(t, j.SaveSnapshot(ctx, instA, at(2, "third")), "again")
	is(at(2, "third"))
	require.NoError(t, j.SaveSnapshot(ctx, instA, at(1, "second")), "an older one is ignored")
	is(at(2, "third"))
	require.NoError(t, j.SaveSnapshot(ctx, instA, at(5, "sixth")))
	is(at(5, "sixth"))
	errs := together(6, func(i int) error { return j.SaveSnapshot(ctx, instB, at(i, fmt.Sprint(i))) })
	require.NoError(t, errors.Join(errs...))
	got, err := j.LoadSnapshot(ctx, instB)
	require.NoError(t, err)
	require.Equal(t, at(5, "5"), got, "the newest of six at the same time")
}

func journalBigSnapshot(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	items := chain(pipeline.Head{}, texts(3)...)
	filled(t, j, instA, items)
	for i, size := range []int{3 * bigSize, 10, bigSize + 1} {
		want := noise(uint64(i), size)
		require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: items[i].Head, Data: bytes.Clone(want)}))
		got, err := j.LoadSnapshot(ctx, instA)
		require.NoError(t, err)
		require.Equal(t, items[i].Head, got.Head)
		require.True(t, bytes.Equal(want, got.Data), "%d bytes", size)
	}
	err := j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: pipeline.Head{Position: 4}, Data: huge(t, pipeline.MaxSnapshotBytes+1)})
	require.ErrorIs(t, err, pipeline.ErrTooLarge)
	got, err := j.LoadSnapshot(ctx, instA)
	require.NoError(t, err)
	require.Equal(t, items[2].Head, got.Head, "after a refused one")
}

func journalPublished(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	filled(t, j, instA, chain(pipeline.Head{}, texts(9)...))
	for _, step := range []struct{ mark, want pipeline.Position }{{3, 3}, {3, 3}, {2, 3}, {0, 3}, {8, 8}, {9, 9}, {1, 9}} {
		require.NoError(t, j.MarkPublished(ctx, instA, step.mark))
		got, err := j.Published(ctx, instA)
		require.NoError(t, err)
		require.Equal(t, step.want, got, "after marking %d", step.mark)
	}
	filled(t, j, instB, chain(pipeline.Head{}, texts(16)...))
	errs := together(16, func(i int) error { return j.MarkPublished(ctx, instB, pipeline.Position(i+1)) })
	require.NoError(t, errors.Join(errs...))
	got, err := j.Published(ctx, instB)
	require.NoError(t, err)
	require.Equal(t, pipeline.Position(16), got, "after marking 1 to 16 at the same time")
}

func journalTrim(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	data := texts(10)
	data[2], data[6] = noise(1, bigSize), noise(2, bigSize)
	items := chain(pipeline.Head{}, data...)
	filled(t, j, instA, items)
	require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: items[7].Head, Data: []byte("snapshot")}))
	trimmed := pipeline.Position(0)
	for _, pos := range []pipeline.Position{0, 1, 4, 4, 2, 8} { // trimming what is gone is no error
		require.NoError(t, j.Trim(ctx, instA, pos), "up to %d", pos)
		trimmed = max(trimmed, pos)
		holds(t, j, instA, trimmed+1, items[trimmed:])
		for gone := pipeline.Position(1); gone <= trimmed; gone++ {
			_, err := j.Read(ctx, instA, gone, 10)
			require.ErrorIs(t, err, pipeline.ErrTrimmed, "reading from %d after trimming up to %d", gone, pos)
		}
	}
	require.ErrorIs(t, j.Append(ctx, instA, items[0]), pipeline.ErrFenced, "a trimmed position")
	more := chain(items[9].Head, []byte("next"))
	filled(t, j, instA, more)
	holds(t, j, instA, 9, append(items[8:10:10], more...))
}

func journalTrimBounds(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	items := chain(pipeline.Head{}, texts(5)...)
	filled(t, j, instA, items)
	require.ErrorIs(t, j.Trim(ctx, instA, 1), pipeline.ErrInvalid, "without a snapshot")
	holds(t, j, instA, 1, items)
	require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: items[2].Head, Data: []byte("snapshot")}))
	for _, pos := range []pipeline.Position{4, 5, 6, 1 << 40} {
		require.ErrorIs(t, j.Trim(ctx, instA, pos), pipeline.ErrInvalid, "up to %d with a snapshot at 3", pos)
		holds(t, j, instA, 1, items)
	}
	require.NoError(t, j.Trim(ctx, instA, 3))
	holds(t, j, instA, 4, items[3:])
}

func journalTrimAll(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	items := chain(pipeline.Head{}, texts(4)...)
	filled(t, j, instA, items)
	require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: items[3].Head, Data: []byte("snapshot")}))
	require.NoError(t, j.Trim(ctx, instA, 4))
	head, err := j.Head(ctx, instA)
	require.NoError(t, err)
	require.Equal(t, items[3].Head, head)
	got, err := j.Read(ctx, instA, 5, 1)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = j.Read(ctx, instA, 4, 1)
	require.ErrorIs(t, err, pipeline.ErrTrimmed)
	more := chain(items[3].Head, texts(2)...)
	filled(t, j, instA, more)
	holds(t, j, instA, 5, more)
}

func journalLog(t testing.TB, open Open[pipeline.Journal]) {
	j, ctx := open(t), t.Context()
	first, second := pipeline.NewLog(j), pipeline.NewLog(j)
	batch := func(seq uint64) *pipeline.Batch {
		return &pipeline.Batch{Instrument: instA, Rules: pipeline.CurrentRules, Entries: []pipeline.Entry{{
			Message: pipeline.Message{Command: exchange.AdvanceTime(instA, exchange.Time(seq)), ClientID: "mine"},
			Events:  []exchange.Event{{Kind: exchange.EventTimeAdvanced, Instrument: instA, Seq: seq}},
		}}}
	}
	c, err := first.Append(ctx, pipeline.Head{}, batch(1))
	require.NoError(t, err)
	_, err = second.Append(ctx, pipeline.Head{}, batch(2))
	require.ErrorIs(t, err, pipeline.ErrFenced)
	again, err := second.Append(ctx, pipeline.Head{}, batch(1))
	require.NoError(t, err, "the same batch at the same position is a repeat")
	require.Equal(t, c.Head(), again.Head())
	_, err = second.Append(ctx, c.Head(), batch(2))
	require.NoError(t, err)
	items, err := pipeline.NewLog(j).Read(ctx, instA, 1, 10)
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Equal(t, batch(1), items[0].Batch())
	require.Equal(t, batch(2), items[1].Batch())
}

func durableJournal(t testing.TB, h Durable[pipeline.Journal]) {
	j, ctx := h.Open(t), t.Context()
	data := texts(8)
	data[3] = noise(1, bigSize)
	items := chain(pipeline.Head{}, data...)
	filled(t, j, instA, items)
	other := chain(pipeline.Head{}, []byte("other"))
	filled(t, j, instB, other)
	snap := pipeline.Snapshot{Head: items[4].Head, Data: noise(2, bigSize)}
	require.NoError(t, j.SaveSnapshot(ctx, instA, snap))
	require.NoError(t, j.Trim(ctx, instA, 2))
	require.NoError(t, j.MarkPublished(ctx, instA, 7))
	for range 2 {
		j = h.Reopen(t, j)
		holds(t, j, instA, 3, items[2:])
		holds(t, j, instB, 1, other)
		_, err := j.Read(ctx, instA, 2, 1)
		require.ErrorIs(t, err, pipeline.ErrTrimmed)
		got, err := j.LoadSnapshot(ctx, instA)
		require.NoError(t, err)
		require.Equal(t, snap, got)
		mark, err := j.Published(ctx, instA)
		require.NoError(t, err)
		require.LessOrEqual(t, mark, pipeline.Position(7), "the published mark never goes forward")
	}
	more := chain(items[7].Head, []byte("next"))
	filled(t, j, instA, more)
	require.ErrorIs(t, j.Append(ctx, instA, more[0]), pipeline.ErrFenced)
	require.NoError(t, j.SaveSnapshot(ctx, instA, pipeline.Snapshot{Head: items[0].Head, Data: []byte("older")}))
	got, err := j.LoadSnapshot(ctx, instA)
	require.NoError(t, err)
	require.Equal(t, snap, got, "an older snapshot is ignored")
}

func durableJournalFence(t testing.TB, h Durable[pipeline.Journal]) {
	j, ctx := h.Open(t), t.Context()
	items := chain(pipeline.Head{}, texts(3)...)
	filled(t, j, instA, items[:2])
	j = h.Reopen(t, j)
	for _, item := range items[:2] {
		require.ErrorIs(t, j.Append(ctx, instA, item), pipeline.ErrFenced, "item %d again", item.Position)
	}
	filled(t, j, instA, items[2:])
	j = h.Reopen(t, j)
	holds(t, j, instA, 1, items)
}
