package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// someBatch is a batch that can be told from others; its client ids make it of
// some size.
func someBatch(n, size int) *pipeline.Batch {
	b := &pipeline.Batch{Instrument: 1, Rules: pipeline.CurrentRules, Checksum: uint32(n)}
	for i := 0; i*pipeline.MaxClientIDBytes < size; i++ {
		b.Entries = append(b.Entries, pipeline.Entry{Message: pipeline.Message{ClientID: string(bytes.Repeat([]byte{'c'}, pipeline.MaxClientIDBytes))}})
	}
	return b
}

// counting is a journal that counts reads.
type counting struct {
	pipeline.Journal
	reads int
}

func (j *counting) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	j.reads++
	return j.Journal.Read(ctx, inst, from, limit)
}

// A Log gives what it has just written without asking the journal, as long as
// there is room for it.
func TestLogCache(t *testing.T) {
	ctx := context.Background()
	j := &counting{Journal: memory.NewJournal()}
	log, at := pipeline.NewLog(j), pipeline.Head{}
	add := func(size int) {
		c, err := log.Append(ctx, at, someBatch(int(at.Position+1), size))
		require.NoError(t, err)
		at = c.Head()
	}
	cached := func(from pipeline.Position) bool {
		j.reads = 0
		items, err := log.Read(ctx, 1, from, 1)
		require.NoError(t, err)
		require.Len(t, items, 1)
		require.Equal(t, from, items[0].Position())
		require.EqualValues(t, from, items[0].Batch().Checksum)
		require.Equal(t, pipeline.AppendBatch(nil, items[0].Batch()), items[0].Data())
		return j.reads == 0
	}
	for range pipeline.DefaultLogCache {
		add(0)
	}
	assert.True(t, cached(1))
	add(0)
	assert.False(t, cached(1))
	assert.True(t, cached(2))
	items, err := log.Read(ctx, 1, 2, pipeline.MaxReadItems)
	require.NoError(t, err)
	assert.Len(t, items, pipeline.DefaultLogCache)
	none, err := log.Read(ctx, 1, at.Position+1, 1)
	require.NoError(t, err)
	assert.Empty(t, none)
	none, err = log.Read(ctx, 2, 1, 1)
	require.NoError(t, err)
	assert.Empty(t, none)
	// Another Log has added items that this one has not seen.
	log2 := pipeline.NewLog(j)
	for range 3 {
		c, err := log2.Append(ctx, at, someBatch(int(at.Position+1), 0))
		require.NoError(t, err)
		at = c.Head()
	}
	assert.False(t, cached(at.Position))
	assert.True(t, cached(at.Position), "what was read is kept, too")
	add(0)
	assert.True(t, cached(at.Position))
	assert.True(t, cached(at.Position-1))
	assert.False(t, cached(at.Position-4), "only what has no gap")
}

// What comes of an append whose answer is lost, wrong, or no.
func TestLogAppend(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name string
		hit  func(string, bool) error
		want error // nil: committed
		have pipeline.Position
	}{
		{"yes", nil, nil, 1},
		{"no", once("Append", 1, false), errInjected, 0},
		{"the answer is lost", once("Append", 1, true), nil, 1},
		{"it says fenced, but it was our own first try", func(op string, after bool) error {
			if op == "Append" && after {
				return pipeline.ErrFenced
			}
			return nil
		}, nil, 1},
		{"fenced, and the read fails", func(op string, after bool) error {
			if op == "Append" && !after {
				return pipeline.ErrFenced
			}
			return always("Read")(op, after)
		}, pipeline.ErrFenced, 0},
		{"the answer and the read are lost", func(op string, after bool) error {
			if op == "Append" && after || op == "Read" && !after {
				return errInjected
			}
			return nil
		}, errInjected, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, j := &hooks{}, memory.NewJournal()
			h.set(tc.hit)
			c, err := pipeline.NewLog(&hookedJournal{j, h}).Append(ctx, pipeline.Head{}, someBatch(1, 0))
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
				require.ErrorIs(t, c.Check(), pipeline.ErrNotCommitted)
			} else {
				require.NoError(t, err)
				require.EqualValues(t, 1, c.Position())
			}
			head, err := j.Head(ctx, 1)
			require.NoError(t, err)
			assert.Equal(t, tc.have, head.Position)
		})
	}
	t.Run("somebody else was there", func(t *testing.T) {
		h, j := &hooks{}, memory.NewJournal()
		_, err := pipeline.NewLog(j).Append(ctx, pipeline.Head{}, someBatch(1, 0))
		require.NoError(t, err)
		for _, hit := range []func(string, bool) error{nil, always("Append")} { // also when all it gets is an error
			h.set(hit)
			_, err = pipeline.NewLog(&hookedJournal{j, h}).Append(ctx, pipeline.Head{}, someBatch(2, 0))
			require.ErrorIs(t, err, pipeline.ErrFenced)
		}
		_, err = pipeline.NewLog(j).Append(ctx, pipeline.Head{}, someBatch(1, 0))
		require.NoError(t, err, "the very same item is there")
	})
}

// alter changes what a journal gives back.
type alter struct {
	pipeline.Journal
	change func([]pipeline.Item)
}

func (j *alter) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	items, err := j.Journal.Read(ctx, inst, from, limit)
	j.change(items)
	return items, err
}

// A Log does not believe a journal that gives back something else.
func TestLogReadChecks(t *testing.T) {
	ctx := context.Background()
	j, at := memory.NewJournal(), pipeline.Head{}
	for n := range 5 {
		c, err := pipeline.NewLog(j).Append(ctx, at, someBatch(n, 100))
		require.NoError(t, err)
		at = c.Head()
	}
	for i, tc := range []struct {
		change func([]pipeline.Item)
		good   int
		want   string
	}{
		{func(items []pipeline.Item) { items[2].Data = items[2].Data[1:] }, 2, "item 3 of instrument 1: invalid encoding"},
		{func(items []pipeline.Item) { items[3].Data[len(items[3].Data)-1] ^= 1 }, 3, "item 4 of instrument 1: invalid encoding: its hash"},
		{func(items []pipeline.Item) { items[1].Hash[0] ^= 1 }, 1, "item 2 of instrument 1: invalid encoding: its hash"},
		{func(items []pipeline.Item) { items[1].Position = 7 }, 1, "it says position 7"},
		{func(items []pipeline.Item) {
			other := someBatch(0, 0)
			other.Instrument = 2
			items[0].Data = pipeline.AppendBatch(nil, other)
		}, 0, "it is of instrument 2"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			items, err := pipeline.NewLog(&alter{j, tc.change}).Read(ctx, 1, 1, 10)
			require.ErrorIs(t, err, pipeline.ErrEncoding)
			assert.ErrorContains(t, err, tc.want)
			assert.Len(t, items, tc.good, "those before it are good")
		})
	}
	for _, limit := range []int{0, -1, pipeline.MaxReadItems + 1} {
		_, err := pipeline.NewLog(j).Read(ctx, 1, 1, limit)
		require.ErrorIs(t, err, pipeline.ErrInvalid)
	}
	items, err := pipeline.NewLog(j).Read(ctx, 1, 1, pipeline.MaxReadItems)
	require.NoError(t, err)
	assert.Len(t, items, 5)
	_, err = pipeline.NewLog(j).Read(ctx, 1, 0, 1)
	require.ErrorIs(t, err, pipeline.ErrInvalid)
}
