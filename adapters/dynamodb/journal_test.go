package dynamodb_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

const inst = 65535 // the longest key

func reads(t testing.TB, j *dynamodb.Journal, want ...pipeline.Item) {
	t.Helper()
	var got []pipeline.Item
	for len(got) < len(want) {
		more, err := j.Read(t.Context(), inst, want[len(got)].Position, pipeline.MaxReadItems)
		require.NoError(t, err)
		require.NotEmpty(t, more)
		got = append(got, more...)
	}
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Head, got[i].Head)
		require.True(t, bytes.Equal(want[i].Data, got[i].Data), "item %d", want[i].Position)
	}
}

// What fits into one item lies in one; what is a byte longer is cut.
func TestSplitsAtTheEdge(t *testing.T) {
	t.Parallel()
	table, _ := newTables(t)
	j := newJournal(t, table, nil)
	var at pipeline.Head
	var items []pipeline.Item
	parts := 0
	for i, c := range []struct{ size, parts int }{{1, 0}, {dynamodb.MaxInline, 0}, {dynamodb.MaxInline + 1, 2}, {2 * dynamodb.MaxInline, 2}, {2*dynamodb.MaxInline + 1, 3}} {
		it := follow(at, filled(c.size, byte(i+1)))
		require.NoError(t, j.Append(t.Context(), inst, it), "%d bytes", c.size)
		items, at = append(items, it), it.Head
		parts += c.parts
		require.Equal(t, parts, count(t, table, "part#"), "parts after an item of %d bytes", c.size)
	}
	reads(t, j, items...)
	for i, size := range []int{0, dynamodb.MaxInline, dynamodb.MaxInline + 1, 3} {
		snap := pipeline.Snapshot{Head: items[i].Head, Data: filled(size, 7)}
		require.NoError(t, j.SaveSnapshot(t.Context(), inst, snap), "a snapshot of %d bytes", size)
		got, err := j.LoadSnapshot(t.Context(), inst)
		require.NoError(t, err)
		require.Equal(t, snap.Head, got.Head)
		require.True(t, bytes.Equal(snap.Data, got.Data), "a snapshot of %d bytes", size)
		require.Equal(t, parts+2*(size/(dynamodb.MaxInline+1)), count(t, table, "part#"), "with a snapshot of %d bytes: those of the one before are gone", size)
	}
	require.NoError(t, j.Trim(t.Context(), inst, 4))
	require.Equal(t, 3, count(t, table, "part#"), "after Trim those of the last item are left")
	reads(t, j, items[4])
}

// Of writers that race with large items one wins each position, and nothing of
// the others is left.
func TestFencedPartsAreRemoved(t *testing.T) {
	t.Parallel()
	table, _ := newTables(t)
	const writers, positions = 3, 4
	var at pipeline.Head
	for range positions {
		items := make([]pipeline.Item, writers)
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			j := newJournal(t, table, nil)
			items[i] = follow(at, filled(dynamodb.MaxInline+1+i, byte(i)))
			wg.Go(func() { errs[i] = j.Append(t.Context(), inst, items[i]) })
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			if err != nil {
				require.ErrorIs(t, err, pipeline.ErrFenced)
				continue
			}
			require.Negative(t, won, "two have won position %d", at.Position+1)
			won = i
		}
		require.GreaterOrEqual(t, won, 0, "nobody has won position %d", at.Position+1)
		reads(t, newJournal(t, table, nil), items[won])
		at = items[won].Head
	}
	require.Equal(t, 2*positions, count(t, table, "part#"))
}

// What a writer left that died among its parts goes away with Trim.
func TestTrimRemovesWhatTheDeadLeft(t *testing.T) {
	t.Parallel()
	table, _ := newTables(t)
	w := &wire{}
	w.rule = func() func(string) fault {
		puts := 0
		return func(op string) fault {
			if op != "PutItem" {
				return none
			}
			if puts++; puts > 3 {
				return unsent
			}
			return none
		}
	}()
	require.Error(t, newJournal(t, table, w).Append(t.Context(), inst, follow(pipeline.Head{}, filled(9*dynamodb.MaxInline, 1))))
	require.Positive(t, count(t, table, "part#"))
	j := newJournal(t, table, nil)
	it := follow(pipeline.Head{}, []byte("another"))
	require.NoError(t, j.Append(t.Context(), inst, it))
	require.NoError(t, j.SaveSnapshot(t.Context(), inst, pipeline.Snapshot{Head: it.Head, Data: []byte("s")}))

	// A Trim that ends early is finished by the next.
	w.rule = nil
	for n, done := 1, false; !done; n++ {
		w.set("BatchWriteItem", n, unsent)
		ctx, cancel := context.WithCancel(t.Context())
		rule := w.rule
		w.rule = func(op string) fault {
			f := rule(op)
			if f != none {
				cancel() // so that it is not tried again
			}
			return f
		}
		done = newJournal(t, table, w).Trim(ctx, inst, 1) == nil
		cancel()
	}
	_, err := j.Read(t.Context(), inst, 1, 1)
	require.ErrorIs(t, err, pipeline.ErrTrimmed)
	require.Zero(t, count(t, table, "part#"))
	for _, item := range all(t, table) {
		require.NotContains(t, text(item[dynamodb.SortKey]), "upload")
		require.NotContains(t, text(item[dynamodb.SortKey]), "item")
	}
}

// Whatever happens to a request, an item is there once, and Append says so.
func TestJournalFaults(t *testing.T) {
	t.Parallel()
	table, _ := newTables(t)
	w := &wire{}
	j, ctx := newJournal(t, table, w), t.Context()
	var at pipeline.Head
	for _, f := range []fault{unsent, lost, throttled, broken} {
		for _, size := range []int{10, dynamodb.MaxInline + 1} {
			for _, op := range []string{"TransactWriteItems", "PutItem", "GetItem"} {
				it := follow(at, filled(size, byte(f)))
				w.set(op, 1, f)
				require.NoError(t, j.Append(ctx, inst, it), "fault %d of %s, %d bytes", f, op, size)
				at = it.Head
				w.set("Query", 1, f)
				reads(t, j, it)
			}
		}
		for n, op := range []string{"PutItem", "GetItem", "BatchWriteItem"} {
			snap := pipeline.Snapshot{Head: pipeline.Head{Position: at.Position + pipeline.Position(n) - 4}, Data: filled(dynamodb.MaxInline+1, byte(f))}
			w.set(op, 1+n%2, f)
			require.NoError(t, j.SaveSnapshot(ctx, inst, snap))
			w.set("GetItem", 1, f)
			got, err := j.LoadSnapshot(ctx, inst)
			require.NoError(t, err)
			require.Equal(t, snap, got)
		}
		w.set("UpdateItem", 1, f)
		require.NoError(t, j.MarkPublished(ctx, inst, at.Position))
		w.set("GetItem", 1, f)
		mark, err := j.Published(ctx, inst)
		require.NoError(t, err)
		require.Equal(t, at.Position, mark)
		for n, op := range []string{"GetItem", "UpdateItem", "BatchWriteItem"} {
			w.set(op, 1, f)
			require.NoError(t, j.Trim(ctx, inst, at.Position-4+pipeline.Position(n)))
		}
	}
	require.Equal(t, 6, count(t, table, "part#"), "of two items that were not trimmed, and the snapshot")
	// The answer to a stale writer is lost: it is still told.
	w.set("TransactWriteItems", 1, lost)
	require.ErrorIs(t, j.Append(ctx, inst, follow(pipeline.Head{Position: at.Position - 1}, []byte("stale"))), pipeline.ErrFenced)
}

// A lost answer is found out when the token is no longer known: the item says
// who wrote it.
func TestAppendWithoutTheToken(t *testing.T) {
	table, _ := newTables(t)
	w := &wire{}
	j, tries := newJournal(t, table, w), 0
	w.request = func(op string, body []byte) []byte {
		if op != "TransactWriteItems" {
			return body
		}
		tries++
		return regexp.MustCompile(`"ClientRequestToken":"[^"]*"`).ReplaceAll(body, fmt.Appendf(nil, `"ClientRequestToken":"%s-%d"`, table, tries))
	}
	w.set("TransactWriteItems", 1, lost)
	it := follow(pipeline.Head{}, []byte("mine"))
	require.NoError(t, j.Append(t.Context(), inst, it))
	require.Equal(t, 2, tries)
	reads(t, j, it)
	w.rule = func(op string) fault {
		assert.NotEqual(t, "PutItem", op, "a part of what is fenced anyway")
		return none
	}
	require.ErrorIs(t, j.Append(t.Context(), inst, pipeline.Item{Head: it.Head, Data: filled(dynamodb.MaxInline+1, 1)}), pipeline.ErrFenced)
	w.rule = nil
	require.ErrorIs(t, j.Append(t.Context(), inst, it), pipeline.ErrFenced, "the same item by another call is not the same")
}

// Large snapshots lie in objects, and those that a newer one replaces go, where
// that can be done.
func TestSnapshotsInObjects(t *testing.T) {
	table, _ := newTables(t)
	archive := &objects{Archive: memory.NewArchive(), deleted: map[string]bool{}}
	ctx := t.Context()
	j, err := dynamodb.NewJournal(newClient(t, nil), dynamodb.JournalConfig{Table: table, Objects: archive})
	require.NoError(t, err)
	for pos := pipeline.Position(1); pos <= 3; pos++ {
		snap := pipeline.Snapshot{Head: pipeline.Head{Position: pos}, Data: filled(dynamodb.MaxInline+int(pos), byte(pos))}
		require.NoError(t, j.SaveSnapshot(ctx, inst, snap))
		require.NoError(t, j.SaveSnapshot(ctx, inst, snap), "again")
		snap.Position--
		require.NoError(t, j.SaveSnapshot(ctx, inst, snap), "an older one")
		snap.Position++
		got, err := j.LoadSnapshot(ctx, inst)
		require.NoError(t, err)
		require.Equal(t, snap, got)
		names, err := archive.List(ctx, "snapshots/", "", 10)
		require.NoError(t, err)
		require.Len(t, names, int(pos))
		require.Len(t, archive.deleted, int(pos)-1)
	}
	require.Zero(t, count(t, table, "part#"))
	small := pipeline.Snapshot{Head: pipeline.Head{Position: 4}, Data: []byte("small")}
	_, err = newJournal(t, table, nil).LoadSnapshot(ctx, inst)
	require.ErrorIs(t, err, pipeline.ErrInvalid, "without the objects")
	require.NoError(t, j.SaveSnapshot(ctx, inst, small))
	require.Len(t, archive.deleted, 3)
	got, err := newJournal(t, table, nil).LoadSnapshot(ctx, inst)
	require.NoError(t, err)
	require.Equal(t, small, got)
}

type objects struct {
	*memory.Archive
	deleted map[string]bool
}

func (o *objects) Delete(_ context.Context, name string) error {
	o.deleted[name] = true
	return nil
}

// Items that are none of ours, or cut short, are refused by name.
func TestDamagedJournal(t *testing.T) {
	table, _ := newTables(t)
	j, ctx, c := newJournal(t, table, nil), t.Context(), newClient(t, nil)
	require.NoError(t, j.Append(ctx, inst, follow(pipeline.Head{}, filled(dynamodb.MaxInline+1, 1))))
	var record, part map[string]types.AttributeValue
	for _, it := range all(t, table) {
		switch sort := text(it[dynamodb.SortKey]); {
		case sort == "part":
			part = it
		case sort == fmt.Sprintf("item#%020d", 1):
			record = it
		}
	}
	put := func(it map[string]types.AttributeValue, name string, v types.AttributeValue) func() {
		old := it[name]
		set := func(v types.AttributeValue) {
			it[name] = v
			_, err := c.PutItem(ctx, &ddb.PutItemInput{TableName: aws.String(table), Item: it})
			require.NoError(t, err)
		}
		set(v)
		return func() { set(old) }
	}
	for name, mend := range map[string]func() func(){
		"h":    func() func() { return put(record, "h", &types.AttributeValueMemberB{Value: []byte{1}}) },
		"size": func() func() { return put(record, "size", &types.AttributeValueMemberN{Value: "-5"}) },
		"item": func() func() { return put(part, "d", &types.AttributeValueMemberB{Value: []byte{1, 2}}) },
	} {
		undo := mend()
		_, err := j.Read(ctx, inst, 1, 1)
		require.ErrorIs(t, err, rows.ErrDamaged, name)
		require.ErrorContains(t, err, name)
		undo()
		_, err = j.Read(ctx, inst, 1, 1)
		require.NoError(t, err)
	}
}
