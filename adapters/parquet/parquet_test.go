package parquet_test

import (
	"bytes"
	"context"
	"math/big"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	reader "github.com/parquet-go/parquet-go"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/parquet"
	"github.com/castlecloud/exchange/adapters/s3"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

func instrument(t testing.TB, id exchange.InstrumentID, tick, lot string, quote int32) *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: id, Symbol: "BTC-USD", Base: exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: quote}, Tick: decimal.RequireFromString(tick), Lot: decimal.RequireFromString(lot)})
	require.NoError(t, err)
	return in
}

// What a reader that knows nothing of us sees: the schema, and each number as
// Instrument converts it.
func TestReadersSeeDecimals(t *testing.T) {
	for _, in := range []*exchange.Instrument{instrument(t, 1, "0.01", "0.0001", 6), instrument(t, 2, "0.25", "1", 2), instrument(t, 3, "10", "0.00000001", 8)} {
		trades := []pipeline.ArchivedTrade{
			{ID: 1, Time: 1_600_000_000_123_456_789, Price: 6400001, Qty: 5, Amount: 123456789, Side: exchange.Buy},
			{ID: 1<<63 - 1, Time: 1<<63 - 1, Price: 1, Qty: 1<<62 - 1, Amount: 1<<63 - 1, Side: exchange.Sell},
		}
		data, err := parquet.Trades{}.Encode(in, trades)
		require.NoError(t, err)
		f, err := reader.OpenFile(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		var columns []string
		for _, c := range f.Root().Columns() {
			columns = append(columns, c.Name()+" "+c.Type().String())
			assert.True(t, c.Required(), c.Name())
		}
		decimals := func(scale int32) string { return "DECIMAL(38," + decimal.NewFromInt32(scale).String() + ")" }
		tick, lot := max(0, -in.Spec().Tick.Exponent()), max(0, -in.Spec().Lot.Exponent())
		assert.Equal(t, []string{"symbol STRING", "trade_id INT(64,true)", "time TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)", "time_ns INT(64,true)",
			"price " + decimals(tick), "size " + decimals(lot), "notional " + decimals(in.Quote().Scale), "taker_side STRING"}, columns)
		rows := make([]reader.Row, 3)
		r := f.RowGroups()[0].Rows()
		n, _ := r.ReadRows(rows) // io.EOF with the last
		require.NoError(t, r.Close())
		require.Equal(t, len(trades), n)
		for i, trade := range trades {
			number := func(c int, scale int32) string {
				return decimal.NewFromBigInt(new(big.Int).SetBytes(rows[i][c].ByteArray()), -scale).String()
			}
			assert.Equal(t, in.PriceDecimal(trade.Price).String(), number(4, tick))
			assert.Equal(t, in.QtyDecimal(trade.Qty).String(), number(5, lot))
			assert.Equal(t, decimal.New(int64(trade.Amount), -in.Quote().Scale).String(), number(6, in.Quote().Scale))
			assert.Equal(t, int64(trade.Time)/1000, rows[i][2].Int64())
			assert.Equal(t, []string{"BTC-USD", []string{"buy", "sell"}[i]}, []string{string(rows[i][0].ByteArray()), string(rows[i][7].ByteArray())})
		}
		got, err := parquet.Trades{}.Decode(in, data)
		require.NoError(t, err)
		assert.Equal(t, trades, got)
	}
}

func drawn(n int) []pipeline.ArchivedTrade {
	pick := rand.New(rand.NewPCG(1, 2))
	trades := make([]pipeline.ArchivedTrade, n)
	for i := range trades {
		trades[i] = pipeline.ArchivedTrade{ID: exchange.TradeID(i + 1), Time: exchange.Time(i) * 1e9, Price: exchange.Price(pick.Int64N(1e7) + 1),
			Qty: exchange.Qty(pick.Int64N(1e9) + 1), Amount: exchange.Amount(pick.Int64N(1e15)), Side: exchange.Side(pick.IntN(2) + 1)}
	}
	return trades
}

// The same trades give the same bytes, and those give the same trades: none,
// one, and more than go through at a time.
func TestRoundTrip(t *testing.T) {
	in := instrument(t, 1, "0.01", "0.0001", 6)
	for _, n := range []int{0, 1, 1023, 1024, 1025, 10_000} {
		trades := drawn(n)
		data, err := parquet.Trades{}.Encode(in, trades)
		require.NoError(t, err)
		again, err := parquet.Trades{}.Encode(in, drawn(n))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, again), "%d trades", n)
		got, err := parquet.Trades{}.Decode(in, data)
		require.NoError(t, err)
		require.Len(t, got, n)
		for i := range got {
			require.Equal(t, trades[i], got[i])
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	in := instrument(t, 1, "0.01", "0.0001", 6)
	data, err := parquet.Trades{}.Encode(in, drawn(100))
	require.NoError(t, err)
	for _, other := range []*exchange.Instrument{instrument(t, 2, "0.01", "0.0001", 6), instrument(t, 1, "0.001", "0.001", 6), instrument(t, 1, "0.03", "0.0001", 6)} {
		_, err := parquet.Trades{}.Decode(other, data)
		assert.ErrorIs(t, err, pipeline.ErrEncoding)
	}
	for _, bad := range [][]byte{nil, []byte("PAR1"), data[:len(data)/2], data[4:]} {
		_, err := parquet.Trades{}.Decode(in, bad)
		assert.ErrorIs(t, err, pipeline.ErrEncoding)
	}
	for i := 0; i < len(data); i += 41 { // whatever byte is damaged, it does not panic
		spoilt := bytes.Clone(data)
		spoilt[i] ^= 0x55
		_, _ = parquet.Trades{}.Decode(in, spoilt)
	}
	_, err = parquet.Trades{}.Encode(in, []pipeline.ArchivedTrade{{ID: 1, Price: -1, Side: exchange.Buy}})
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = parquet.Trades{}.Encode(in, []pipeline.ArchivedTrade{{ID: 1 << 63, Side: exchange.Buy}})
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
}

// A journal is archived in S3, its trades as Parquet, and read back: the replay
// gives the same engine, the objects the same trades; whoever archives again
// writes nothing new.
func TestArchiveInS3(t *testing.T) {
	ctx := context.Background()
	in := instrument(t, 1, "0.01", "0.0001", 6)
	server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(server.Close)
	client := awss3.New(awss3.Options{BaseEndpoint: aws.String(server.URL), UsePathStyle: true, Region: "eu-central-1",
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	_, err := client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("archive")})
	require.NoError(t, err)
	archive, err := s3.NewArchive(client, s3.Config{Bucket: "archive", Prefix: "venue/"})
	require.NoError(t, err)

	cfg := exchange.Config{Instruments: []*exchange.Instrument{in}, Funds: exchange.FundsNone}
	engine, err := exchange.NewEngine(cfg)
	require.NoError(t, err)
	journal := memory.NewJournal()
	log := pipeline.NewLog(journal)
	var head pipeline.Head
	var want []pipeline.ArchivedTrade
	const items = 40
	for i := range items {
		b := &pipeline.Batch{Instrument: 1, Rules: pipeline.CurrentRules}
		for j := range 4 {
			n := i*4 + j + 1
			side := exchange.Side(n%2 + 1)
			c := exchange.LimitOrder(1, exchange.AccountID(n%3+1), side, exchange.Price(6400000+n%7), exchange.Qty(1+n%5))
			c.ID, c.Time = exchange.CommandID{byte(n >> 8), byte(n), 1}, exchange.Time(1_600_000_000_000_000_000+n)
			e := pipeline.Entry{Message: pipeline.Message{Command: c}, Events: engine.Apply(nil, &c)}
			for k := range e.Events {
				if ev := &e.Events[k]; ev.Kind == exchange.EventTrade {
					want = append(want, pipeline.ArchivedTrade{ID: ev.TradeID, Time: ev.Time, Price: ev.Price, Qty: ev.Qty, Amount: ev.Amount, Side: ev.Side})
				}
			}
			b.Entries = append(b.Entries, e)
		}
		c, err := log.Append(ctx, head, b)
		require.NoError(t, err)
		head = c.Head()
	}
	require.NotEmpty(t, want)
	record := func() {
		t.Helper()
		recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: cfg.Instruments, Log: pipeline.NewLog(journal),
			Trades: memory.NewTradeStore(), Archive: hidden{archive}, ArchiveEvery: 8, TradesFormat: parquet.Trades{}})
		require.NoError(t, err)
		require.NoError(t, recorder.Handle(ctx, pipeline.Notice{Instrument: 1, Position: items}))
	}
	record()
	names, err := archive.List(ctx, "", "", 100)
	require.NoError(t, err)
	require.Len(t, names, 2*items/8)
	assert.Equal(t, "trades/BTC-USD.1/2020/09/13/00000000000000000001-00000000000000000008.parquet", names[items/8])
	record() // which finds everything there

	// What is there may come from another release, that packs in another way.
	object, err := archive.Get(ctx, names[items/8])
	require.NoError(t, err)
	first, err := parquet.Trades{}.Decode(in, object)
	require.NoError(t, err)
	require.NotEqual(t, object, other(t, in, first))
	elsewhere := memory.NewArchive()
	require.NoError(t, elsewhere.Put(ctx, names[items/8], other(t, in, first)))
	rec, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: cfg.Instruments, Log: log, Trades: memory.NewTradeStore(),
		Archive: elsewhere, ArchiveEvery: 8, TradesFormat: parquet.Trades{}})
	require.NoError(t, err)
	require.NoError(t, rec.Handle(ctx, pipeline.Notice{Instrument: 1, Position: 8}))
	elsewhere = memory.NewArchive()
	require.NoError(t, elsewhere.Put(ctx, names[items/8], other(t, in, first[1:])))
	rec, err = pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: cfg.Instruments, Log: log, Trades: memory.NewTradeStore(),
		Archive: elsewhere, ArchiveEvery: 8, TradesFormat: parquet.Trades{}})
	require.NoError(t, err)
	require.ErrorIs(t, rec.Handle(ctx, pipeline.Notice{Instrument: 1, Position: 8}), pipeline.ErrConflict, "other trades")

	var got []pipeline.ArchivedTrade
	for _, name := range names {
		if strings.HasPrefix(name, "trades/") {
			data, err := archive.Get(ctx, name)
			require.NoError(t, err)
			trades, err := parquet.Trades{}.Decode(in, data)
			require.NoError(t, err)
			got = append(got, trades...)
		}
	}
	assert.Equal(t, want, got)

	replay, err := exchange.NewEngine(cfg)
	require.NoError(t, err)
	for from := pipeline.Position(1); ; {
		page, err := pipeline.ReadArchive(ctx, archive, in, from, 7) // across the files
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, item := range page {
			b, err := pipeline.DecodeBatch(item.Data)
			require.NoError(t, err)
			for i := range b.Entries {
				require.Equal(t, b.Entries[i].Events, replay.Apply(nil, &b.Entries[i].Command))
			}
			from = item.Position + 1
		}
	}
	assert.Equal(t, engine.Hash(), replay.Hash())
}

// hidden lists nothing, so that everything is put again.
type hidden struct{ pipeline.Archive }

func (hidden) List(context.Context, string, string, int) ([]string, error) { return nil, nil }

// other is the same as Encode writes, compressed in another way.
func other(t *testing.T, in *exchange.Instrument, trades []pipeline.ArchivedTrade) []byte {
	data, err := parquet.Trades{}.Encode(in, trades)
	require.NoError(t, err)
	f, err := reader.OpenFile(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	var out bytes.Buffer
	w := reader.NewWriter(&out, f.Schema(), reader.CreatedBy("another", "2", "x"), reader.KeyValueMetadata("instrument", "1"))
	_, err = w.WriteRowGroup(f.RowGroups()[0])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}
