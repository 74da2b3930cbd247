package pipeline_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// write commits n items of drawn commands; the same seed gives the same.
func (r *registry) write(seed uint64, n int) {
	d := &drawer{pick: rand.New(rand.NewPCG(seed, 1)).IntN, s: r.scribe, now: 1_000_000_000, n: int(seed) * 1_000_000}
	for end := r.head.Position + pipeline.Position(n); r.head.Position < end; r.commit() {
		for range 1 + d.pick(4) {
			m, again := d.message()
			m.Command.Held = 60_000
			if !again {
				d.sent = append(d.sent, m)
			}
			r.apply(m)
		}
	}
}

func (r *registry) names(prefix string) []string {
	names, err := r.archive.Archive.List(context.Background(), prefix, "", pipeline.MaxQueryRows)
	require.NoError(r.t, err)
	return names
}

func (r *registry) archived() pipeline.Position {
	pos, err := r.recorder.Archived(context.Background(), 1)
	require.NoError(r.t, err)
	return pos
}

// read reads the archive and compares it with the journal.
func (r *registry) read(want int) {
	got, err := pipeline.ReadArchive(context.Background(), r.archive, r.in, 1, 1<<30)
	require.NoError(r.t, err)
	require.Len(r.t, got, want)
	for i, c := range r.items()[:want] {
		require.Equal(r.t, pipeline.Item{Head: c.Head(), Data: c.Data()}, got[i])
	}
}

func TestArchive(t *testing.T) {
	ctx := context.Background()
	r := newRegistry(t, 8, 100)
	assert.Zero(t, r.archived())
	r.write(1, 7)
	require.NoError(t, r.handle())
	assert.Empty(t, r.names(""), "no file is full")
	assert.Zero(t, r.archived())
	r.write(2, 14)
	require.NoError(t, r.handle())
	assert.Equal(t, []string{
		"journal/B1-USD.1/1970/01/01/00000000000000000001-00000000000000000008.jnl",
		"journal/B1-USD.1/1970/01/01/00000000000000000009-00000000000000000016.jnl",
		"trades/B1-USD.1/1970/01/01/00000000000000000001-00000000000000000008.csv",
		"trades/B1-USD.1/1970/01/01/00000000000000000009-00000000000000000016.csv",
	}, r.names(""))
	assert.Equal(t, pipeline.Position(16), r.archived())
	assert.Equal(t, 16.0, r.metrics.Read(pipeline.MetricArchivedPosition, 1).Gauge)
	r.read(16)
	for _, tc := range []struct {
		from  pipeline.Position
		limit int
		want  []pipeline.Position
	}{{1, 2, []pipeline.Position{1, 2}}, {7, 4, []pipeline.Position{7, 8, 9, 10}}, {16, 9, []pipeline.Position{16}}, {17, 1, nil}} {
		got, err := pipeline.ReadArchive(ctx, r.archive, r.in, tc.from, tc.limit)
		require.NoError(t, err)
		var positions []pipeline.Position
		for _, it := range got {
			positions = append(positions, it.Position)
		}
		assert.Equal(t, tc.want, positions)
	}
	_, err := pipeline.ReadArchive(ctx, r.archive, r.in, 0, 1)
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = pipeline.ReadArchive(ctx, r.archive, r.in, 1, 0)
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
}

// What the archive gives back makes the same engine.
func TestArchiveReplays(t *testing.T) {
	r := newRegistry(t, 16, 100)
	r.write(3, 64)
	require.NoError(t, r.handle())
	items, err := pipeline.ReadArchive(context.Background(), r.archive, r.in, 1, 64)
	require.NoError(t, err)
	require.Len(t, items, 64)
	e, err := exchange.NewEngine(scribeConfig(exchange.FundsHeld, r.in))
	require.NoError(t, err)
	for _, it := range items {
		b, err := pipeline.DecodeBatch(it.Data)
		require.NoError(t, err)
		for i := range b.Entries {
			require.Equal(t, b.Entries[i].Events, e.Apply(nil, &b.Entries[i].Command))
		}
	}
	assert.Equal(t, r.engine.Hash(), e.Hash())
}

// The trades of the archive are those of the journal, and tell nothing of who
// traded.
func TestArchiveTrades(t *testing.T) {
	r := newRegistry(t, 1, 100)
	sell := exchange.LimitOrder(1, 1, exchange.Sell, 101, 7)
	sell.ID, sell.Held, sell.Time = plainID(1), 7, 1_600_000_000_123_456_789
	buy := exchange.LimitOrder(1, 2, exchange.Buy, 110, 5)
	buy.ID, buy.Held, buy.Time = plainID(2), 600, 1_600_000_000_123_456_789
	rest := buy
	rest.ID = plainID(3)
	r.apply(pipeline.Message{Command: sell})
	r.apply(pipeline.Message{Command: buy})
	r.apply(pipeline.Message{Command: rest})
	r.commit()
	require.NoError(t, r.handle())
	data, err := r.archive.Get(context.Background(), "trades/B1-USD.1/2020/09/13/00000000000000000001-00000000000000000001.csv")
	require.NoError(t, err)
	assert.Equal(t, `trade_id,time,price,size,notional,taker_side
1,2020-09-13T12:26:40.123456789Z,10.1,0.05,0.505,buy
2,2020-09-13T12:26:40.123456789Z,10.1,0.02,0.202,buy
`, string(data))
}

// Whoever archives, and however often it begins again, with whatever failures:
// the same objects.
func TestArchiveIsWrittenOnce(t *testing.T) {
	whole := newRegistry(t, 8, 100)
	whole.write(4, 40)
	require.NoError(t, whole.handle())
	for _, op := range []string{"Put jour", "Put jour after", "Put trad", "Put trad after", "List"} {
		t.Run(op, func(t *testing.T) {
			r := newRegistry(t, 8, 100)
			r.journal = whole.journal
			r.head = whole.head
			r.restart()
			rng := rand.New(rand.NewPCG(5, 5))
			for pos := pipeline.Position(1); pos <= 40; pos++ {
				if rng.IntN(3) == 0 {
					r.archive.set(op)
				}
				if rng.IntN(4) == 0 {
					r.restart()
				}
				_ = r.recorder.Handle(context.Background(), pipeline.Notice{Instrument: 1, Position: pos})
				r.archive.set()
			}
			require.NoError(t, r.handle())
			require.Equal(t, whole.names(""), r.names(""))
			for _, name := range r.names("") {
				want, err := whole.archive.Get(context.Background(), name)
				require.NoError(t, err)
				got, err := r.archive.Get(context.Background(), name)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(want, got), name)
			}
			r.read(40)
		})
	}
}

// An archive that fails holds up no recording, and a trade store that fails no
// archiving.
func TestArchiveFailsAlone(t *testing.T) {
	r := newRegistry(t, 4, 100)
	r.write(6, 12)
	r.archive.set("Put jour")
	assert.ErrorIs(t, r.handle(), errFlaw)
	recorded, err := r.trades.TradeStore.Recorded(context.Background(), 1)
	require.NoError(t, err)
	assert.Equal(t, pipeline.Position(12), recorded)
	assert.Zero(t, r.archived())
	r.archive.set()
	r.trades.set("Record")
	r.write(7, 4)
	assert.ErrorIs(t, r.handle(), errFlaw)
	assert.Equal(t, pipeline.Position(16), r.archived())
	_, err = r.recorder.Archived(context.Background(), 9)
	assert.ErrorIs(t, err, exchange.UnknownInstrument)
}

// Another number of positions a file goes on where the last one ended.
func TestArchiveEveryChanges(t *testing.T) {
	r := newRegistry(t, 8, 100)
	r.write(8, 20)
	require.NoError(t, r.handle())
	r.cfg.ArchiveEvery = 5
	r.restart()
	require.NoError(t, r.handle())
	var ranges []string
	for _, name := range r.names("journal/") {
		ranges = append(ranges, strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".jnl"))
	}
	assert.Equal(t, []string{"00000000000000000001-00000000000000000008", "00000000000000000009-00000000000000000016",
		"00000000000000000017-00000000000000000020"}, ranges)
	assert.Equal(t, pipeline.Position(20), r.archived())
	r.read(20)
}

// Days part the names; what is looked for is found among many days and files.
func TestArchiveOfManyDays(t *testing.T) {
	r := newRegistry(t, 1, 100)
	const day = exchange.Time(24 * 60 * 60 * 1e9)
	times := []exchange.Time{1, day - 1, day, day, 400 * day, 20_000 * day, 20_000*day + 5, 1<<63 - 1}
	for i, at := range times {
		c := exchange.AdvanceTime(1, at)
		c.ID = plainID(byte(i + 1))
		r.each(pipeline.Message{Command: c})
		r.restart()
		require.NoError(t, r.handle())
		require.Equal(t, r.head.Position, r.archived())
	}
	var days []string
	for _, name := range r.names("journal/") {
		days = append(days, name[len("journal/B1-USD.1/"):][:10])
	}
	assert.Equal(t, []string{"1970/01/01", "1970/01/01", "1970/01/02", "1970/01/02", "1971/02/05", "2024/10/04", "2024/10/04", "2262/04/11"}, days)
	for from := range times {
		got, err := pipeline.ReadArchive(context.Background(), r.archive, r.in, pipeline.Position(from+1), 100)
		require.NoError(t, err)
		require.Len(t, got, len(times)-from)
		require.Equal(t, pipeline.Position(from+1), got[0].Position)
	}
}

// More files a day than List gives at once.
func TestArchiveOfManyFiles(t *testing.T) {
	r := newRegistry(t, 1, 100)
	const n = pipeline.MaxQueryRows + 5
	for i := range n {
		c := exchange.AdvanceTime(1, exchange.Time(i+1))
		c.ID = scribeID(i + 1)
		r.each(pipeline.Message{Command: c})
	}
	require.NoError(t, r.handle())
	r.restart()
	assert.Equal(t, pipeline.Position(n), r.archived())
	r.read(n)
}

// A symbol may have bytes that no object name has.
func TestArchiveSymbol(t *testing.T) {
	spec := scribeInstrument(t, 1).Spec()
	spec.Symbol = "B/ü .x"
	in, err := exchange.NewInstrument(spec)
	require.NoError(t, err)
	r := newRegistry(t, 1, 100)
	r.cfg.Instruments = []*exchange.Instrument{in}
	r.restart()
	r.write(9, 1)
	require.NoError(t, r.handle())
	assert.Equal(t, []string{"journal/B____x.1/1970/01/01/00000000000000000001-00000000000000000001.jnl"}, r.names("journal/"))
}

// tampered returns an archive whose only journal object is changed.
func (r *registry) tampered(change func(raw []byte) []byte) *memory.Archive {
	ctx := context.Background()
	name := r.names("journal/")[0]
	data, err := r.archive.Get(ctx, name)
	require.NoError(r.t, err)
	unpacked, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(r.t, err)
	raw, err := io.ReadAll(unpacked)
	require.NoError(r.t, err)
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err = w.Write(change(raw))
	require.NoError(r.t, err)
	require.NoError(r.t, w.Close())
	a := memory.NewArchive()
	require.NoError(r.t, a.Put(ctx, name, out.Bytes()))
	return a
}

func TestArchiveDamage(t *testing.T) {
	ctx := context.Background()
	r := newRegistry(t, 3, 100)
	r.write(10, 3)
	require.NoError(t, r.handle())
	read := func(a pipeline.Archive) error {
		_, err := pipeline.ReadArchive(ctx, a, r.in, 1, 10)
		return err
	}
	var size int
	require.NoError(t, read(r.tampered(func(raw []byte) []byte { size = len(raw); return raw })), "packed in another way")
	for i := range size { // any byte, also of the lengths and checksums
		assert.ErrorIs(t, read(r.tampered(func(raw []byte) []byte { raw[i] ^= 1 << (i % 8); return raw })), pipeline.ErrEncoding, "byte %d", i)
		if i%7 == 0 {
			assert.ErrorIs(t, read(r.tampered(func(raw []byte) []byte { return raw[:i] })), pipeline.ErrEncoding, "cut at %d", i)
		}
	}
	assert.ErrorIs(t, read(r.tampered(func(raw []byte) []byte { return append(raw, 0) })), pipeline.ErrEncoding)
	name := r.names("journal/")[0]
	put := func(name string, data []byte) *memory.Archive {
		a := memory.NewArchive()
		require.NoError(t, a.Put(ctx, name, data))
		return a
	}
	data, err := r.archive.Get(ctx, name)
	require.NoError(t, err)
	assert.ErrorIs(t, read(put(name, data[:len(data)/2])), pipeline.ErrEncoding)
	assert.ErrorIs(t, read(put(name, []byte("no gzip"))), pipeline.ErrEncoding)
	assert.ErrorIs(t, read(put(strings.Replace(name, "3.jnl", "4.jnl", 1), data)), pipeline.ErrEncoding, "another range")
	for _, other := range []string{"x.jnl", "1-2.txt", "0-1.jnl", "2-1.jnl", "1.jnl", "1-x.jnl"} {
		assert.ErrorIs(t, read(put("journal/B1-USD.1/1970/01/01/"+other, data)), pipeline.ErrEncoding, other)
	}
	assert.ErrorIs(t, read(put(strings.ReplaceAll(strings.Replace(name, "3.jnl", "4.jnl", 1), "01-", "02-"), data)), pipeline.ErrNotFound, "the first is missing")
	other := scribeInstrument(t, 2)
	_, err = pipeline.ReadArchive(ctx, put(strings.Replace(name, "B1-USD.1", "B2-USD.2", 1), data), other, 1, 10)
	assert.ErrorIs(t, err, pipeline.ErrEncoding, "another instrument's")
}

// Objects of another release that say the same are as good; others are not.
func TestArchiveConflict(t *testing.T) {
	ctx := context.Background()
	r := newRegistry(t, 3, 100)
	r.write(11, 3)
	require.NoError(t, r.handle())
	r.archive.Archive = r.tampered(func(raw []byte) []byte { return raw }) // and no trades
	r.cfg.Archive = &hiddenArchive{r.archive}
	r.restart()
	require.NoError(t, r.handle())
	assert.Equal(t, pipeline.Position(3), r.recorderArchived())
	assert.Len(t, r.names("trades/"), 1)

	q := newRegistry(t, 3, 100)
	q.write(12, 3) // another journal
	require.NoError(t, q.handle())
	q.archive.Archive = r.archive.Archive
	q.cfg.Archive = &hiddenArchive{q.archive}
	q.restart()
	assert.ErrorIs(t, q.handle(), pipeline.ErrConflict)
	_, err := pipeline.ReadArchive(ctx, q.archive, q.in, 1, 10)
	assert.NoError(t, err, "it is what it was")
}

// hiddenArchive lists nothing, so that everything is put again.
type hiddenArchive struct{ pipeline.Archive }

func (hiddenArchive) List(context.Context, string, string, int) ([]string, error) { return nil, nil }

func (r *registry) recorderArchived() pipeline.Position {
	pos, err := r.recorder.Archived(context.Background(), 1)
	require.NoError(r.t, err)
	return pos
}

// Items whose hashes do not follow from each other are not given out, in one
// file or in two.
func TestArchiveChain(t *testing.T) {
	ctx := context.Background()
	a, b := newRegistry(t, 2, 100), newRegistry(t, 2, 100)
	a.write(13, 4)
	b.write(14, 4)
	require.NoError(t, a.handle())
	require.NoError(t, b.handle())
	mixed := memory.NewArchive()
	for i, r := range []*registry{a, b} {
		name := r.names("journal/")[i]
		data, err := r.archive.Get(ctx, name)
		require.NoError(t, err)
		require.NoError(t, mixed.Put(ctx, name, data))
	}
	_, err := pipeline.ReadArchive(ctx, mixed, a.in, 1, 4)
	assert.ErrorIs(t, err, pipeline.ErrEncoding)
	assert.ErrorContains(t, err, "does not follow")
	got, err := pipeline.ReadArchive(ctx, mixed, a.in, 3, 4)
	require.NoError(t, err, "each by itself is whole")
	assert.Len(t, got, 2)
}

// A file ends early when its items are large: with the one that reaches
// ArchiveBytes.
func TestArchiveBytes(t *testing.T) {
	r := newRegistry(t, pipeline.MaxArchiveEvery, 100)
	size, ends := 0, pipeline.Position(0)
	for n := 0; ends == 0; n++ {
		b := &pipeline.Batch{Instrument: 1, Rules: pipeline.CurrentRules, Entries: make([]pipeline.Entry, 40_000)}
		for i := range b.Entries {
			b.Entries[i].Command = exchange.Cancel(1, 1, exchange.OrderID(n*40_000+i+1))
			b.Entries[i].ClientID = strings.Repeat("x", pipeline.MaxClientIDBytes)
		}
		c, err := r.log.Append(context.Background(), r.head, b)
		require.NoError(t, err)
		r.head = c.Head()
		if size += len(c.Data()); size >= pipeline.ArchiveBytes {
			ends = c.Position()
		}
	}
	require.NoError(t, r.recorder.Handle(context.Background(), pipeline.Notice{Instrument: 1, Position: ends - 1}))
	assert.Equal(t, ends, r.archived())
	require.Len(t, r.names("journal/"), 1)
	r.write(15, 1)
	require.NoError(t, r.handle())
	assert.Equal(t, ends, r.archived(), "the next file is not full")
}

// Two processes that archive and record the same do it once.
func TestTradeRecordersAtOnce(t *testing.T) {
	r := newRegistry(t, 4, 3)
	r.write(16, 60)
	ctx := context.Background()
	var wg sync.WaitGroup
	for range 3 {
		cfg := r.cfg
		cfg.Log = pipeline.NewLog(r.journal)
		recorder, err := pipeline.NewTradeRecorder(cfg)
		require.NoError(t, err)
		wg.Go(func() {
			for pos := pipeline.Position(1); pos <= 60; pos++ {
				assert.NoError(t, recorder.Handle(ctx, pipeline.Notice{Instrument: 1, Position: pos}))
			}
		})
	}
	wg.Wait()
	ch := &chronicle{r.in, r.items()}
	for _, id := range ch.made() {
		require.Equal(t, ch.order(id), r.found(id))
	}
	r.everyTradeOnce(t, ch)
	r.read(60)
	assert.Len(t, r.names("journal/"), 15)
}

// lines is a TradesFormat: a line for each trade, after one that may differ.
type lines struct{ first string }

func (lines) Extension() string { return ".lines" }

func (f lines) Encode(_ *exchange.Instrument, trades []pipeline.ArchivedTrade) ([]byte, error) {
	if f.first == "broken" {
		return nil, errFlaw
	}
	return fmt.Appendf(nil, "%s\n%v", f.first, trades), nil
}

func (f lines) Decode(_ *exchange.Instrument, data []byte) ([]pipeline.ArchivedTrade, error) {
	_, rest, ok := strings.Cut(string(data), "\n")
	if !ok {
		return nil, pipeline.ErrEncoding
	}
	var trades []pipeline.ArchivedTrade
	for _, word := range strings.Split(strings.Trim(rest, "[]"), "} ") {
		var t pipeline.ArchivedTrade
		if _, err := fmt.Sscanf(strings.Trim(word, "{}"), "%d %d %d %d %d", &t.ID, &t.Time, &t.Price, &t.Qty, &t.Amount); err != nil {
			return nil, pipeline.ErrEncoding
		}
		t.Side = exchange.Buy
		trades = append(trades, t)
	}
	return trades, nil
}

// Trades may be written in another format. What another release of it wrote is
// as good when it has the same trades.
func TestArchiveTradesFormat(t *testing.T) {
	ctx := context.Background()
	r := newRegistry(t, 1, 100)
	sell := exchange.LimitOrder(1, 1, exchange.Sell, 101, 7)
	sell.ID, sell.Held, sell.Time = plainID(1), 7, 1_600_000_000_123_456_789
	buy := exchange.LimitOrder(1, 2, exchange.Buy, 110, 5)
	buy.ID, buy.Held, buy.Time = plainID(2), 600, 1_600_000_000_123_456_789
	r.apply(pipeline.Message{Command: sell})
	r.apply(pipeline.Message{Command: buy})
	r.commit()
	const name = "trades/B1-USD.1/2020/09/13/00000000000000000001-00000000000000000001.lines"
	use := func(first string) error {
		r.cfg.TradesFormat = lines{first}
		r.cfg.Archive = &hiddenArchive{r.archive}
		r.restart()
		return r.handle()
	}
	assert.ErrorIs(t, use("broken"), errFlaw)
	assert.Empty(t, r.names(""))
	require.NoError(t, use("one"))
	data, err := r.archive.Get(ctx, name)
	require.NoError(t, err)
	want := pipeline.ArchivedTrade{ID: 1, Time: 1_600_000_000_123_456_789, Price: 101, Qty: 5, Amount: 505, Side: exchange.Buy}
	got, err := lines{}.Decode(r.in, data)
	require.NoError(t, err)
	assert.Equal(t, []pipeline.ArchivedTrade{want}, got)
	require.NoError(t, use("two"), "the same trades")
	other := memory.NewArchive()
	require.NoError(t, other.Put(ctx, name, []byte("one\n[{1 1 1 1 1 1}]")))
	r.archive.Archive = other
	assert.ErrorIs(t, use("two"), pipeline.ErrConflict)
	other = memory.NewArchive()
	require.NoError(t, other.Put(ctx, name, []byte("x")))
	r.archive.Archive = other
	err = use("two")
	assert.ErrorIs(t, err, pipeline.ErrConflict)
	assert.ErrorIs(t, err, pipeline.ErrEncoding)
}
