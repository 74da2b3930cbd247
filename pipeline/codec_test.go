package pipeline_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// extremes sets a field of a record, which is an integer, a boolean or an id,
// to each of its values at the edge that are not zero.
func extremes(field reflect.Value, try func(what string)) {
	set := func(v reflect.Value) {
		field.Set(v.Convert(field.Type()))
		try(fmt.Sprint(field.Interface()))
	}
	switch field.Kind() {
	case reflect.Bool:
		set(reflect.ValueOf(true))
	case reflect.Int32, reflect.Int64:
		most := int64(math.MaxInt64) >> (64 - field.Type().Bits())
		for _, v := range []int64{1, -1, 63, 64, -64, -65, most, -most - 1} {
			set(reflect.ValueOf(v))
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		for _, v := range []uint64{1, 127, 128, math.MaxUint64 >> (64 - field.Type().Bits())} {
			set(reflect.ValueOf(v))
		}
	case reflect.Array:
		set(reflect.ValueOf(exchange.CommandID{15: 1}))
		set(reflect.ValueOf(exchange.CommandID(bytes.Repeat([]byte{0xff}, 16))))
	default:
		panic("a kind of field this test does not know: " + field.Kind().String())
	}
	field.SetZero()
}

// Every field of a Command and of an Event survives, alone and with all
// others; one that the codec does not know of fails here.
func TestCodecCoversEveryField(t *testing.T) {
	t.Run("Command", func(t *testing.T) {
		all := pipeline.Message{ClientID: "all"}
		one := pipeline.Message{}
		for i := range reflect.TypeOf(one.Command).NumField() {
			name := reflect.TypeOf(one.Command).Field(i).Name
			extremes(reflect.ValueOf(&one.Command).Elem().Field(i), func(what string) {
				messageRoundTrip(t, name+" "+what, &one)
				reflect.ValueOf(&all.Command).Elem().Field(i).Set(reflect.ValueOf(&one.Command).Elem().Field(i))
			})
		}
		messageRoundTrip(t, "all", &all)
	})
	t.Run("Event", func(t *testing.T) {
		var one, all exchange.Event
		trip := func(what string, ev *exchange.Event) {
			b := &pipeline.Batch{Instrument: 1, Entries: []pipeline.Entry{{Events: []exchange.Event{*ev}}}}
			batchRoundTrip(t, what, b)
		}
		for i := range reflect.TypeOf(one).NumField() {
			name := reflect.TypeOf(one).Field(i).Name
			extremes(reflect.ValueOf(&one).Elem().Field(i), func(what string) {
				trip(name+" "+what, &one)
				reflect.ValueOf(&all).Elem().Field(i).Set(reflect.ValueOf(&one).Elem().Field(i))
			})
		}
		trip("all", &all)
	})
}

func messageRoundTrip(t *testing.T, what string, m *pipeline.Message) {
	t.Helper()
	data, err := pipeline.AppendMessage([]byte("before"), m)
	require.NoError(t, err, what)
	require.Equal(t, "before", string(data[:6]), "what was there stays")
	got, err := pipeline.DecodeMessage(data[6:])
	require.NoError(t, err, what)
	require.Equal(t, *m, got, what)
}

func batchRoundTrip(t *testing.T, what string, b *pipeline.Batch) {
	t.Helper()
	data := pipeline.AppendBatch([]byte("before"), b)
	require.Equal(t, "before", string(data[:6]), "what was there stays")
	got, err := pipeline.DecodeBatch(data[6:])
	require.NoError(t, err, what)
	require.Equal(t, b, got, what)
}

// richBatch has everything a batch can have.
func richBatch() *pipeline.Batch {
	id := exchange.CommandID{1, 2, 3}
	buy := exchange.LimitOrder(7, 42, exchange.Buy, 100, 5)
	buy.ID, buy.Time, buy.Held = id, 1_700_000_000_000_000_000, 12345
	return &pipeline.Batch{
		Instrument: exchange.MaxID, Rules: pipeline.CurrentRules,
		Entries: []pipeline.Entry{
			{Message: pipeline.Message{Command: buy, ClientID: strings.Repeat("k", pipeline.MaxClientIDBytes)}, Events: []exchange.Event{
				{Kind: exchange.EventAccepted, Instrument: 7, Seq: 1, ID: id, Account: 42, OrderID: 1, Price: 100, Qty: 5},
				{Kind: exchange.EventTrade, Instrument: 7, Seq: 2, ID: id, MakerID: exchange.CommandID{9}, MakerFee: -3, Amount: 500},
			}},
			{Message: pipeline.Message{Command: exchange.Cancel(7, 42, 1)}},
		},
		Levels: []pipeline.LevelChange{
			{Side: exchange.Buy, Level: exchange.Level{Price: 100, Qty: 5, Orders: 1}},
			{Side: exchange.Sell, Level: exchange.Level{Price: 101}},
		},
		Checksum: 0xdeadbeef,
	}
}

func TestBatchRoundTrip(t *testing.T) {
	for name, b := range map[string]*pipeline.Batch{
		"empty": {}, "rich": richBatch(),
		"an entry without events": {Instrument: 1, Entries: make([]pipeline.Entry, 1)},
		"levels alone":            {Instrument: 1, Levels: make([]pipeline.LevelChange, 3)},
		"the largest rules":       {Rules: math.MaxUint16, Instrument: math.MaxUint32, Checksum: math.MaxUint32},
	} {
		batchRoundTrip(t, name, b)
	}
	empty := &pipeline.Batch{Entries: []pipeline.Entry{}, Levels: []pipeline.LevelChange{}}
	assert.Equal(t, pipeline.AppendBatch(nil, &pipeline.Batch{}), pipeline.AppendBatch(nil, empty), "no entries are no entries")
}

// The bytes are those of the first release: a change of them makes journals
// unreadable.
func TestEncodingsStayAsTheyAre(t *testing.T) {
	m := pipeline.Message{Command: exchange.LimitOrder(7, 42, exchange.Buy, 100, 5), ClientID: "mine"}
	m.Command.ID, m.Command.Time = exchange.CommandID{0xab, 15: 0xcd}, 1_000_000
	data, err := pipeline.AppendMessage(nil, &m)
	require.NoError(t, err)
	assert.Equal(t, "01"+"0fc8290000000000"+"01"+"01"+"01"+"01"+"07"+"2a"+"80897a"+"ab0000000000000000000000000000cd"+"c801"+"0a"+"046d696e65", hex.EncodeToString(data))

	b := &pipeline.Batch{Instrument: 7, Rules: 1, Checksum: 0x01020304,
		Entries: []pipeline.Entry{{Message: pipeline.Message{Command: exchange.Cancel(7, 42, 9)},
			Events: []exchange.Event{{Kind: exchange.EventCanceled, Seq: 3, Release: -1}}}},
		Levels: []pipeline.LevelChange{{Side: exchange.Sell, Level: exchange.Level{Price: 101, Orders: 2}}}}
	assert.Equal(t, "01"+"0100"+"07"+"01"+
		"0148020000000000"+"02"+"07"+"2a"+"09"+"00"+"01"+
		"0140000002000000"+"05"+"03"+"01"+
		"01"+"0b00000000000000"+"02"+"ca01"+"04"+"04030201", hex.EncodeToString(pipeline.AppendBatch(nil, b)))
}

func TestClientIDBound(t *testing.T) {
	m := pipeline.Message{ClientID: strings.Repeat("x", pipeline.MaxClientIDBytes)}
	messageRoundTrip(t, "the longest", &m)
	m.ClientID += "x"
	before := []byte("before")
	got, err := pipeline.AppendMessage(before, &m)
	assert.ErrorIs(t, err, pipeline.ErrTooLarge)
	assert.Equal(t, before, got, "nothing was appended")
	assert.Panics(t, func() { pipeline.AppendBatch(nil, &pipeline.Batch{Entries: []pipeline.Entry{{Message: m}}}) })
}

// Bytes that are no encoding, each one step away from one that is.
func TestDecodeRefuses(t *testing.T) {
	message := func(change func(b []byte) []byte) []byte {
		m := pipeline.Message{Command: exchange.Cancel(7, 42, 300), ClientID: "mine"}
		m.Command.ID = exchange.CommandID{1}
		data, err := pipeline.AppendMessage(nil, &m)
		require.NoError(t, err)
		return change(data)
	}
	const kind, order = 9, 9 + 1 + 1 + 1 + 16 // where those fields lie
	for name, data := range map[string][]byte{
		"nothing":                  {},
		"a later version":          message(func(b []byte) []byte { b[0]++; return b }),
		"version 0":                message(func(b []byte) []byte { b[0] = 0; return b }),
		"the version alone":        message(func(b []byte) []byte { return b[:1] }),
		"cut in the mask":          message(func(b []byte) []byte { return b[:5] }),
		"cut in a field":           message(func(b []byte) []byte { return b[:kind+2] }),
		"cut in the id":            message(func(b []byte) []byte { return b[:order-1] }),
		"cut in the client id":     message(func(b []byte) []byte { return b[:len(b)-1] }),
		"one byte more":            message(func(b []byte) []byte { return append(b, 0) }),
		"a field of later":         message(func(b []byte) []byte { b[8] |= 0x80; return append(b, 1) }),
		"a mask beyond all fields": message(func(b []byte) []byte { b[8] |= 0x80; return b }),
		"a zero that is written":   message(func(b []byte) []byte { b[kind] = 0; return b }),
		"a zero id":                message(func(b []byte) []byte { clear(b[order-16 : order]); return b }),
		"a kind beyond a byte":     message(func(b []byte) []byte { return slices.Replace(b, kind, kind+1, 0x80, 0x02) }),
		"a number with a zero on":  message(func(b []byte) []byte { return slices.Replace(b, kind, kind+1, 0x82, 0x00) }),
		"a number without end":     message(func(b []byte) []byte { return slices.Replace(b, kind, kind+1, bytes.Repeat([]byte{0xff}, 11)...) }),
		"a rate beyond 32 bits":    {1, 0, 0, 0, 0x10, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0},
		"a long client id":         message(func(b []byte) []byte { return append(slices.Replace(b, len(b)-5, len(b)-4, 65), make([]byte, 61)...) }),
	} {
		_, err := pipeline.DecodeMessage(data)
		assert.ErrorIs(t, err, pipeline.ErrEncoding, name)
	}

	rich := pipeline.AppendBatch(nil, richBatch())
	for n := range rich {
		_, err := pipeline.DecodeBatch(rich[:n])
		require.ErrorIs(t, err, pipeline.ErrEncoding, "the first %d of %d bytes", n, len(rich))
	}
	for name, data := range map[string][]byte{
		"one byte more":     append(slices.Clone(rich), 0),
		"a later version":   append([]byte{rich[0] + 1}, rich[1:]...),
		"a wide instrument": {1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0, 0, 0, 0, 0},
		// Counts far above what follows must be refused before anything is made.
		"many entries": {1, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0},
		"many levels":  {1, 1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0},
	} {
		_, err := pipeline.DecodeBatch(data)
		assert.ErrorIs(t, err, pipeline.ErrEncoding, name)
	}
}

// What is accepted is what would be written: there is one encoding of a value.
func FuzzDecodeMessage(f *testing.F) {
	for _, m := range []pipeline.Message{{}, richBatch().Entries[0].Message, {Command: exchange.MassCancel(0, 1), ClientID: "c"}} {
		data, err := pipeline.AppendMessage(nil, &m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := pipeline.DecodeMessage(data)
		if err != nil {
			require.ErrorIs(t, err, pipeline.ErrEncoding)
			require.Zero(t, m, "nothing comes with an error")
			return
		}
		again, err := pipeline.AppendMessage(nil, &m)
		require.NoError(t, err)
		require.Equal(t, data, again)
	})
}

func FuzzDecodeBatch(f *testing.F) {
	for _, b := range []*pipeline.Batch{{}, richBatch(), {Instrument: 1, Levels: make([]pipeline.LevelChange, 2)}} {
		f.Add(pipeline.AppendBatch(nil, b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := pipeline.DecodeBatch(data)
		if err != nil {
			require.ErrorIs(t, err, pipeline.ErrEncoding)
			require.Nil(t, b, "nothing comes with an error")
			return
		}
		require.Equal(t, data, pipeline.AppendBatch(nil, b))
	})
}
