// Package parquet writes the trades of an archive as Apache Parquet, for
// analysts: a pipeline.TradesFormat.
//
//	recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{..., TradesFormat: parquet.Trades{}})
//
// # The columns
//
//	symbol       STRING                     the instrument's
//	trade_id     INT64
//	time         TIMESTAMP(MICROS, UTC)     to the microsecond, which every reader knows
//	time_ns      INT64                      ns since 1970, exact
//	price        DECIMAL(38, s)             s: the decimals of a tick
//	size         DECIMAL(38, s)             s: the decimals of a lot
//	notional     DECIMAL(38, s)             s: the decimals of the quote asset
//	taker_side   STRING                     buy or sell
//
// A reader gets right prices without knowing ticks: DuckDB and Athena show
// DECIMALs as they are. All columns are required; pages are compressed with
// Snappy; an object has one row group, and in its metadata "instrument" (the
// id). One query reads the files of many instruments of one scale; over
// different scales cast the decimals.
//
// The same trades give the same bytes, with the same release of the library
// that packs them. With another one Decode tells that they are the same trades.
package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/shopspring/decimal"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// MaxTrades is how many trades an object has at most.
const MaxTrades = 8 << 20

const precision = 38 // what 16 bytes hold

// Trades is the format. The zero value is ready; it is safe for concurrent use.
type Trades struct{}

var _ pipeline.TradesFormat = Trades{}

// Extension implements pipeline.TradesFormat.
func (Trades) Extension() string { return ".parquet" }

// scaling turns a count of steps into a DECIMAL: n × times, with so many
// decimals.
type scaling struct {
	times uint64
	scale int
}

func scalingOf(what string, step decimal.Decimal) (scaling, error) {
	s := scaling{scale: max(0, int(-step.Exponent()))}
	times := step.Shift(int32(s.scale)).BigInt()
	if !times.IsUint64() || times.Sign() == 0 || s.scale > precision {
		return s, fmt.Errorf("parquet: %w: %s %s, expected at most %d digits", pipeline.ErrInvalid, what, step, precision)
	}
	s.times = times.Uint64()
	return s, nil
}

// maxHigh is the high half of 10^38, the first number that has too many digits.
const maxHigh = 0x4b3b4ca85a86c47a

// put appends n as 16 bytes, big-endian. Nothing traded is below zero.
func (s scaling) put(dst []byte, n int64) ([]byte, error) {
	high, low := bits.Mul64(uint64(n), s.times)
	if n < 0 || high >= maxHigh {
		return dst, fmt.Errorf("parquet: %w: %d steps", pipeline.ErrInvalid, n)
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, high), low), nil
}

// get reads what put wrote.
func (s scaling) get(data []byte) (int64, error) {
	if len(data) != 16 {
		return 0, fmt.Errorf("parquet: %w: a number of %d bytes", pipeline.ErrEncoding, len(data))
	}
	high, low := binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])
	if high >= s.times {
		return 0, fmt.Errorf("parquet: %w: a number out of range", pipeline.ErrEncoding)
	}
	n, rest := bits.Div64(high, low, s.times)
	if rest != 0 || n > 1<<63-1 {
		return 0, fmt.Errorf("parquet: %w: a number that is no whole count of steps", pipeline.ErrEncoding)
	}
	return int64(n), nil
}

// layout is what the objects of an instrument look like.
type layout struct {
	price, size, notional scaling
	schema                *parquet.Schema
}

// The columns, in their order.
const (
	colSymbol = iota
	colID
	colTime
	colNanos
	colPrice
	colSize
	colNotional
	colSide
	columns
)

// ordered is a group whose fields keep their order.
type ordered struct {
	parquet.Group
	names []string
}

func (o ordered) Fields() []parquet.Field {
	fields := make([]parquet.Field, len(o.names))
	for _, f := range o.Group.Fields() {
		for i, name := range o.names {
			if f.Name() == name {
				fields[i] = f
			}
		}
	}
	return fields
}

func layoutOf(in *exchange.Instrument) (*layout, error) {
	spec := in.Spec()
	l := &layout{}
	var errs [3]error
	l.price, errs[0] = scalingOf("Tick", spec.Tick)
	l.size, errs[1] = scalingOf("Lot", spec.Lot)
	l.notional, errs[2] = scalingOf("the atom of Quote", decimal.New(1, -in.Quote().Scale))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	number := func(s scaling) parquet.Node {
		return parquet.Decimal(s.scale, precision, parquet.FixedLenByteArrayType(16))
	}
	text := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.RLEDictionary) }
	names := []string{"symbol", "trade_id", "time", "time_ns", "price", "size", "notional", "taker_side"}
	nodes := []parquet.Node{text(), parquet.Leaf(parquet.Int64Type), parquet.Timestamp(parquet.Microsecond), parquet.Leaf(parquet.Int64Type),
		number(l.price), number(l.size), number(l.notional), text()}
	group := parquet.Group{}
	for i, name := range names {
		group[name] = parquet.Compressed(parquet.Required(nodes[i]), &parquet.Snappy)
	}
	l.schema = parquet.NewSchema("trades", ordered{group, names})
	return l, nil
}

// Encode implements pipeline.TradesFormat.
func (Trades) Encode(in *exchange.Instrument, trades []pipeline.ArchivedTrade) ([]byte, error) {
	if len(trades) > MaxTrades {
		return nil, fmt.Errorf("parquet: %w: %d trades, expected at most %d", pipeline.ErrTooLarge, len(trades), MaxTrades)
	}
	l, err := layoutOf(in)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := parquet.NewWriter(&out, l.schema, parquet.CreatedBy("exchange", "1", "parquet"), parquet.MaxRowsPerRowGroup(MaxTrades),
		parquet.KeyValueMetadata("instrument", strconv.FormatUint(uint64(in.ID()), 10)))
	symbol := []byte(in.Symbol())
	rows := make([]parquet.Row, 0, 1024)
	var numbers []byte
	flush := func() error {
		_, err := w.WriteRows(rows)
		rows, numbers = rows[:0], nil // the values point into it
		return err
	}
	for i := range trades {
		t := &trades[i]
		if numbers == nil {
			numbers = make([]byte, 0, cap(rows)*3*16)
		}
		at := len(numbers)
		for _, n := range [...]struct {
			scaling
			n int64
		}{{l.price, int64(t.Price)}, {l.size, int64(t.Qty)}, {l.notional, int64(t.Amount)}} {
			if numbers, err = n.put(numbers, n.n); err != nil {
				return nil, fmt.Errorf("trade %d: %w", t.ID, err)
			}
		}
		if t.ID > 1<<63-1 {
			return nil, fmt.Errorf("parquet: %w: trade id %d", pipeline.ErrInvalid, t.ID)
		}
		number := func(i int) parquet.Value { return parquet.FixedLenByteArrayValue(numbers[at+i*16 : at+i*16+16]) }
		row := parquet.Row{
			parquet.ByteArrayValue(symbol), parquet.Int64Value(int64(t.ID)), parquet.Int64Value(micros(t.Time)), parquet.Int64Value(int64(t.Time)),
			number(0), number(1), number(2), parquet.ByteArrayValue([]byte(pipeline.SideText(t.Side))),
		}
		for c := range row {
			row[c] = row[c].Level(0, 0, c)
		}
		if rows = append(rows, row); len(rows) == cap(rows) {
			if err := flush(); err != nil {
				return nil, fmt.Errorf("parquet: %w", err)
			}
		}
	}
	if err := flush(); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	return out.Bytes(), nil
}

// micros rounds down, also before 1970.
func micros(t exchange.Time) int64 {
	us := int64(t) / 1000
	if int64(t)%1000 < 0 {
		us--
	}
	return us
}

// Decode implements pipeline.TradesFormat. pipeline.ErrEncoding unless data is
// what Encode makes for the instrument.
func (Trades) Decode(in *exchange.Instrument, data []byte) (trades []pipeline.ArchivedTrade, err error) {
	l, err := layoutOf(in)
	if err != nil {
		return nil, err
	}
	defer func() {
		// The library panics at some damaged files.
		if p := recover(); p != nil {
			trades, err = nil, fmt.Errorf("parquet: %w: %v", pipeline.ErrEncoding, p)
		}
	}()
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("parquet: %w: %w", pipeline.ErrEncoding, err)
	}
	id, _ := f.Lookup("instrument")
	switch {
	case f.Schema().String() != l.schema.String():
		return nil, fmt.Errorf("parquet: %w: the columns are %s, expected %s", pipeline.ErrEncoding, f.Schema(), l.schema)
	case id != strconv.FormatUint(uint64(in.ID()), 10):
		return nil, fmt.Errorf("parquet: %w: of instrument %q, expected %d", pipeline.ErrEncoding, id, in.ID())
	case f.NumRows() > MaxTrades:
		return nil, fmt.Errorf("parquet: %w: %d trades, expected at most %d", pipeline.ErrTooLarge, f.NumRows(), MaxTrades)
	}
	rows := make([]parquet.Row, 256)
	for _, group := range f.RowGroups() {
		r := group.Rows()
		for {
			n, err := r.ReadRows(rows)
			for _, row := range rows[:n] {
				t, bad := l.trade(in, row)
				if bad != nil {
					return nil, errors.Join(bad, r.Close())
				}
				trades = append(trades, t)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("parquet: %w: %w", pipeline.ErrEncoding, err), r.Close())
			}
		}
		if err := r.Close(); err != nil {
			return nil, fmt.Errorf("parquet: %w: %w", pipeline.ErrEncoding, err)
		}
	}
	return trades, nil
}

func (l *layout) trade(in *exchange.Instrument, row parquet.Row) (t pipeline.ArchivedTrade, err error) {
	if len(row) != columns {
		return t, fmt.Errorf("parquet: %w: a row of %d values", pipeline.ErrEncoding, len(row))
	}
	price, errPrice := l.price.get(row[colPrice].ByteArray())
	size, errSize := l.size.get(row[colSize].ByteArray())
	notional, errNotional := l.notional.get(row[colNotional].ByteArray())
	if err := errors.Join(errPrice, errSize, errNotional); err != nil {
		return t, err
	}
	t = pipeline.ArchivedTrade{ID: exchange.TradeID(row[colID].Int64()), Time: exchange.Time(row[colNanos].Int64()),
		Price: exchange.Price(price), Qty: exchange.Qty(size), Amount: exchange.Amount(notional)}
	switch string(row[colSide].ByteArray()) {
	case pipeline.SideText(exchange.Buy):
		t.Side = exchange.Buy
	case pipeline.SideText(exchange.Sell):
		t.Side = exchange.Sell
	default:
		return t, fmt.Errorf("parquet: %w: trade %d has taker_side %q", pipeline.ErrEncoding, t.ID, row[colSide].ByteArray())
	}
	if string(row[colSymbol].ByteArray()) != in.Symbol() || row[colTime].Int64() != micros(t.Time) {
		return t, fmt.Errorf("parquet: %w: trade %d contradicts itself", pipeline.ErrEncoding, t.ID)
	}
	return t, nil
}
