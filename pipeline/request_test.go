package pipeline_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

func TestOrderIDText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		symbol := rapid.StringMatching(`[A-Z.0-9-]{1,32}`).Draw(t, "symbol")
		id := rapid.Uint64Range(1, 1<<64-1).Draw(t, "id")
		gotSymbol, gotID, ok := pipeline.ParseOrderID(pipeline.OrderIDText(symbol, exchange.OrderID(id)))
		require.True(t, ok)
		require.Equal(t, symbol, gotSymbol)
		require.EqualValues(t, id, gotID)
	})
	for _, text := range []string{"", ".", ".1", "A", "A.", "A.0", "A.01", "A.+1", "A.-1", "A.1 ", "A. 1", "A.1_0", "A.0x1", "A.18446744073709551616"} {
		_, _, ok := pipeline.ParseOrderID(text)
		assert.False(t, ok, "%q", text)
	}
	longest := pipeline.OrderIDText(strings.Repeat("S", exchange.MaxSymbolLen), 1<<64-1)
	assert.LessOrEqual(t, len(longest), pipeline.MaxFieldBytes)
}

// The texts of enums are those of the feed and are read back, in any case.
func TestTexts(t *testing.T) {
	read := func(change func(*pipeline.Request)) exchange.Command {
		r := request("new", change)
		m, err := newDesk(t, nil).Prepare(&r)
		require.NoError(t, err)
		return m.Command
	}
	for _, fold := range []func(string) string{strings.ToLower, strings.ToUpper} {
		for _, v := range []exchange.Side{exchange.Buy, exchange.Sell} {
			assert.Equal(t, v, read(func(r *pipeline.Request) { r.Side = fold(pipeline.SideText(v)) }).Side)
		}
		for v := exchange.Limit; v <= exchange.TakeProfitLimit; v++ {
			assert.Equal(t, v, read(func(r *pipeline.Request) {
				if r.Type = fold(pipeline.OrderTypeText(v)); v >= exchange.Stop {
					r.StopPrice = "5"
				}
			}).Type)
		}
		for v := exchange.GTC; v <= exchange.FOK; v++ {
			assert.Equal(t, v, read(func(r *pipeline.Request) {
				if r.TimeInForce = fold(pipeline.TimeInForceText(v)); v == exchange.GTD {
					r.ExpireTime = "2030-01-01T00:00:00Z"
				}
			}).TimeInForce)
		}
		for v := exchange.SelfTradePrevention(0); v <= exchange.Decrement; v++ {
			assert.Equal(t, v, read(func(r *pipeline.Request) { r.SelfTrade = fold(pipeline.SelfTradeText(v)) }).SelfTrade)
		}
		for _, v := range []exchange.PostOnly{exchange.PostOnlyReject, exchange.PostOnlySlide} {
			assert.Equal(t, v, read(func(r *pipeline.Request) { r.PostOnly = fold(pipeline.PostOnlyText(v)) }).PostOnly)
		}
	}
	assert.Empty(t, pipeline.SideText(0))
	assert.Empty(t, pipeline.OrderTypeText(99))
	assert.Empty(t, pipeline.PostOnlyText(0))
}

// JSON: every field there and back, unknown ones refused, sizes bounded.
func TestRequestJSON(t *testing.T) {
	var r pipeline.Request
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(fmt.Sprintf("<%s & \"%d\">", v.Type().Field(i).Name, i))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int64:
			f.SetInt(-1 << 63)
		case reflect.Uint64:
			f.SetUint(1<<64 - 1)
		default:
			t.Fatalf("a kind of field this test does not know: %s", f.Kind())
		}
	}
	data, err := pipeline.EncodeRequest(&r)
	require.NoError(t, err)
	got, err := pipeline.DecodeRequest(data)
	require.NoError(t, err)
	assert.Equal(t, &r, got)
	var names map[string]any
	require.NoError(t, json.Unmarshal(data, &names))
	assert.Len(t, names, v.NumField(), "every field has a name of its own")

	for name, text := range map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "a text": `"x"`, "cut": `{"kind":"new"`, "two": `{} {}`, "more": `{}x`,
		"an unknown field": `{"kind":"new","leverage":"10"}`, "a number as price": `{"price":100.5}`, "an account below 0": `{"account":-1}`,
		"an account beyond 64 bits": `{"account":18446744073709551616}`, "a time with a point": `{"time":1.5}`, "an account as text": `{"account":"1"}`,
	} {
		_, err := pipeline.DecodeRequest([]byte(text))
		assert.ErrorIs(t, err, pipeline.ErrEncoding, name)
	}

	pad := func(n int) []byte { return []byte(`{"kind":"new"` + strings.Repeat(" ", n-14) + `}`) }
	_, err = pipeline.DecodeRequest(pad(pipeline.MaxRequestBytes))
	assert.NoError(t, err)
	_, err = pipeline.DecodeRequest(pad(pipeline.MaxRequestBytes + 1))
	assert.ErrorIs(t, err, pipeline.ErrTooLarge)
	r = pipeline.Request{}
	empty, err := pipeline.EncodeRequest(&r)
	require.NoError(t, err)
	r.Key = strings.Repeat("k", pipeline.MaxRequestBytes-len(empty))
	_, err = pipeline.EncodeRequest(&r)
	assert.NoError(t, err)
	r.Key += "k"
	_, err = pipeline.EncodeRequest(&r)
	assert.ErrorIs(t, err, pipeline.ErrTooLarge)

	// The longest valid request there can be, every letter of it escaped.
	v = reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(strings.Repeat("9", pipeline.MaxFieldBytes))
		}
	}
	r.Key, r.OrigClientID, r.Symbol = strings.Repeat("<", 64), strings.Repeat("&", 64), strings.Repeat(">", 32)
	r.OrderID, r.Account, r.Time = strings.Repeat(">", 32)+".18446744073709551615", 1<<64-1, 1<<63-1
	_, err = pipeline.EncodeRequest(&r)
	assert.NoError(t, err)
}

// Whatever comes off the bus is refused or handled without a panic, and what
// was understood is understood the same when it is written and read again.
func FuzzDecodeRequest(f *testing.F) {
	for _, kind := range []string{"new", "cancel", "reduce", "amend", "replace", "cancel_all"} {
		r := request(kind, nil)
		data, err := pipeline.EncodeRequest(&r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"kind":"new","account":1,"time":1,"key":"\ud800","symbol":"BTC-USD","side":"BUY","type":"stop","size":"1","stop_price":"2","time_in_force":"gtd","expire_time":"2030-01-01T00:00:00Z"}`))
	d := newDesk(f, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := pipeline.DecodeRequest(data)
		if err != nil {
			require.True(t, errors.Is(err, pipeline.ErrEncoding) || errors.Is(err, pipeline.ErrTooLarge), "%v", err)
			require.Nil(t, r)
			return
		}
		m, prepareErr := d.Prepare(r)
		if prepareErr != nil {
			var fe *exchange.FieldError
			require.ErrorAs(t, prepareErr, &fe)
			require.LessOrEqual(t, len(fe.Value), 6*(pipeline.MaxFieldBytes+3)+2, "an error does not repeat what is too long")
		}
		written, err := pipeline.EncodeRequest(r)
		if err != nil {
			require.ErrorIs(t, err, pipeline.ErrTooLarge)
			require.Error(t, prepareErr, "a valid request is never too long")
			return
		}
		again, err := pipeline.DecodeRequest(written)
		require.NoError(t, err)
		require.Equal(t, r, again)
		m2, err := d.Prepare(again)
		require.Equal(t, prepareErr, err)
		require.Equal(t, m, m2)
		if prepareErr == nil {
			messageRoundTrip(t, "a prepared message", &m)
		}
	})
}
