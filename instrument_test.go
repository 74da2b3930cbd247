package exchange_test

import (
	"errors"
	"math/big"
	"runtime"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
)

// plainSpec is an instrument with a cent tick and a milli lot.
func plainSpec() exchange.InstrumentSpec {
	return exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD",
		Base:  exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6},
		Tick:  dec("0.01"), Lot: dec("0.001"),
	}
}

func newInstrument(t require.TestingT, change func(s *exchange.InstrumentSpec)) *exchange.Instrument {
	spec := plainSpec()
	if change != nil {
		change(&spec)
	}
	in, err := exchange.NewInstrument(spec)
	require.NoError(t, err)
	return in
}

// requireField asserts that err is a *FieldError that names all it should.
func requireField(t require.TestingT, err error, field string, reason exchange.Reason) {
	var fe *exchange.FieldError
	require.ErrorAs(t, err, &fe)
	assert.Equal(t, field, fe.Field)
	assert.ErrorIs(t, err, reason)
	assert.NotEmpty(t, fe.Value)
	assert.NotEmpty(t, fe.Rule)
	assert.LessOrEqual(t, len(fe.Value), 2*exchange.MaxDecimalLen, "the value is shortened")
	assert.Equal(t, fe.Field+" "+fe.Value+": "+fe.Rule, err.Error())
}

// NUM-001: numbers that a float or a rounding division got wrong elsewhere.
func TestConversions(t *testing.T) {
	for _, tc := range []struct {
		step, text string
		steps      int64
	}{
		{"0.001", "0.043", 43}, // 0.043 / 0.001 is 42.99999999999999 in floats
		{"0.0001", "2.2504", 22504},
		{"0.01", "17.77", 1777},
		{"0.01", "1.15", 115}, // 114.99999999999999
		{"0.01", "4.35", 435}, // 434.99999999999994
		{"0.1", "0.3", 3},     // 2.9999999999999996
		{"0.1", "0.7", 7},     // 6.999999999999999
		{"0.00000001", "0.29", 29_000_000},
		{"0.00000001", "64000.00000001", 6_400_000_000_001},
		{"0.01", "9007199254740993.01", 900_719_925_474_099_301}, // beyond 2^53
		{"0.05", "1.15", 23},
		{"0.25", "1000000.75", 4_000_003},
		{"3", "21", 7},
		{"0.07", "0.49", 7},
		{"1", "1", 1},
		{"0.1", "1152921504606846976", 0}, // 2^60 × 10 steps: too many
		{"1", "1152921504606846976", 1 << 60},
		{"0.1", "5.000000", 50},
		{"0.1", "0005.0", 50},
		{"0.000000000000000001", "0.000000000000000007", 7},
	} {
		t.Run(tc.text+" by "+tc.step, func(t *testing.T) {
			scale := -dec(tc.step).Exponent()
			in := newInstrument(t, func(s *exchange.InstrumentSpec) {
				s.Base.Scale, s.Quote.Scale, s.Tick, s.Lot = 0, scale, dec(tc.step), dec("1")
			})
			p, err := in.ParsePrice(tc.text)
			if tc.steps == 0 {
				requireField(t, err, "Price", exchange.OutOfRange)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, exchange.Price(tc.steps), p)
			assert.True(t, in.PriceDecimal(p).Equal(dec(tc.text)))

			in = newInstrument(t, func(s *exchange.InstrumentSpec) {
				s.Base.Scale, s.Quote.Scale, s.Tick, s.Lot = scale, scale, dec("1"), dec(tc.step)
			})
			q, err := in.ParseQty(tc.text)
			if in.BaseAmount(1) > exchange.MaxAmount/exchange.Amount(tc.steps) {
				requireField(t, err, "Qty", exchange.OutOfRange)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, exchange.Qty(tc.steps), q)
			assert.True(t, in.QtyDecimal(q).Equal(dec(tc.text)))
		})
	}
}

// NUM-001: what is no number, or none on the grid.
func TestRefusedNumbers(t *testing.T) {
	long := strings.Repeat("1", 1<<20)
	for _, tc := range []struct {
		text          string
		reason        exchange.Reason // of a price, tick 0.05
		fee, notADeci bool
	}{
		{text: "0", reason: exchange.OutOfRange, fee: true},
		{text: "0.00", reason: exchange.OutOfRange, fee: true},
		{text: "-0", reason: exchange.OutOfRange, fee: true},
		{text: "-0.05", reason: exchange.OutOfRange, fee: true},
		{text: "-1152921504606846976", reason: exchange.OutOfRange},
		{text: "0.04", reason: exchange.OffTick, fee: true},
		{text: "0.051", reason: exchange.OffTick, fee: true},
		{text: "0.0500000000000000000000000000000000000000001", reason: exchange.OffTick},
		{text: "57646075230342348.85", reason: exchange.OutOfRange},  // 2^60 + 1 ticks
		{text: "461168601842738790.4", reason: exchange.OutOfRange},  // 2^63 ticks
		{text: "922337203685477580.8", reason: exchange.OutOfRange},  // 2^64 ticks
		{text: "922337203685477580.85", reason: exchange.OutOfRange}, // 2^64 + 1 ticks: one, when it wraps
		{text: strings.Repeat("9", exchange.MaxDecimalLen), reason: exchange.OutOfRange},
		{text: strings.Repeat("9", exchange.MaxDecimalLen+1), notADeci: true},
		{text: long, notADeci: true},
		{text: "0." + long, notADeci: true},
		{text: "", notADeci: true},
		{text: "-", notADeci: true},
		{text: ".", notADeci: true},
		{text: ".5", notADeci: true},
		{text: "5.", notADeci: true},
		{text: "+5", notADeci: true},
		{text: "--5", notADeci: true},
		{text: "5-", notADeci: true},
		{text: " 5", notADeci: true},
		{text: "5\n", notADeci: true},
		{text: "5\x00", notADeci: true},
		{text: "1,000", notADeci: true},
		{text: "1_000", notADeci: true},
		{text: "1.2.3", notADeci: true},
		{text: "1e3", notADeci: true},
		{text: "1E3", notADeci: true},
		{text: "1e999999999", notADeci: true},
		{text: "1e-999999999", notADeci: true},
		{text: "0x10", notADeci: true},
		{text: "NaN", notADeci: true},
		{text: "nan", notADeci: true},
		{text: "Inf", notADeci: true},
		{text: "-Infinity", notADeci: true},
		{text: "٣", notADeci: true}, // a digit, but not of ours
		{text: "５", notADeci: true},
		{text: "\xff", notADeci: true},
		{text: "null", notADeci: true},
		{text: `"5"`, notADeci: true},
	} {
		t.Run(tc.text[:min(len(tc.text), 70)], func(t *testing.T) {
			in := newInstrument(t, func(s *exchange.InstrumentSpec) {
				s.Tick, s.Lot, s.Quote.Scale, s.Base.Scale = dec("0.05"), dec("0.05"), 4, 2
			})
			_, err := exchange.ParseDecimal("Stop", tc.text)
			p, perr := in.ParsePrice(tc.text)
			q, qerr := in.ParseQty(tc.text)
			assert.Zero(t, p)
			assert.Zero(t, q)
			if tc.notADeci {
				requireField(t, err, "Stop", exchange.InvalidNumber)
				requireField(t, perr, "Price", exchange.InvalidNumber)
				requireField(t, qerr, "Qty", exchange.InvalidNumber)
				return
			}
			require.NoError(t, err)
			requireField(t, perr, "Price", tc.reason)
			off := tc.reason
			if off == exchange.OffTick {
				off = exchange.OffLot
			}
			requireField(t, qerr, "Qty", off)
		})
	}
}

// NUM-001: a decimal whose digits would fill the memory is refused for the
// price of a look at it.
func TestHugeDecimals(t *testing.T) {
	wide := new(big.Int).Lsh(big.NewInt(1), 1<<20)
	huge := []decimal.Decimal{
		decimal.New(1, 1<<30), decimal.New(1, -1<<30), decimal.New(-1, 1<<30), decimal.New(1, 1<<31-1), decimal.New(1, -1<<31),
		decimal.New(5, 65), decimal.New(5, -65), decimal.NewFromBigInt(wide, 0), decimal.NewFromBigInt(wide, -1<<20), decimal.New(0, 1<<30),
		decimal.New(0, -1<<30),
	}
	in := newInstrument(t, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, d := range huge {
		_, err := in.Price(d)
		requireField(t, err, "Price", exchange.OutOfRange)
		_, err = in.Qty(d)
		requireField(t, err, "Qty", exchange.OutOfRange)
		_, err = in.Quote().Amount(d)
		requireField(t, err, "Amount", exchange.OutOfRange)
		_, err = exchange.ParseFeeRate("TakerFee", d)
		requireField(t, err, "TakerFee", exchange.OutOfRange)
		for _, f := range decimalFields {
			spec := plainSpec()
			*f.at(&spec) = d
			_, err := exchange.NewInstrument(spec)
			requireField(t, err, f.name, exchange.OutOfRange)
		}
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
}

// decimalFields are the fields of a specification that are decimals.
var decimalFields = []struct {
	name string
	at   func(s *exchange.InstrumentSpec) *decimal.Decimal
}{
	{"Tick", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.Tick }},
	{"Lot", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.Lot }},
	{"MinPrice", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.MinPrice }},
	{"MaxPrice", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.MaxPrice }},
	{"MinQty", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.MinQty }},
	{"MaxQty", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.MaxQty }},
	{"MinNotional", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.MinNotional }},
	{"MaxNotional", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.MaxNotional }},
	{"MakerFee", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.MakerFee }},
	{"TakerFee", func(s *exchange.InstrumentSpec) *decimal.Decimal { return &s.TakerFee }},
}

// NUM-001, NUM-002, NUM-003: an instrument that cannot keep the bounds is
// refused, and the error says which field.
func TestNewInstrument(t *testing.T) {
	type spec = exchange.InstrumentSpec
	for _, tc := range []struct {
		name   string
		change func(s *spec)
		field  string // "": accepted
		reason exchange.Reason
	}{
		{"plain", func(s *spec) {}, "", 0},
		{"id 0", func(s *spec) { s.ID = 0 }, "ID", exchange.OutOfRange},
		{"highest id", func(s *spec) { s.ID = exchange.MaxID }, "", 0},
		{"id too high", func(s *spec) { s.ID = exchange.MaxID + 1 }, "ID", exchange.OutOfRange},
		{"no symbol", func(s *spec) { s.Symbol = "" }, "Symbol", exchange.OutOfRange},
		{"longest symbol", func(s *spec) { s.Symbol = strings.Repeat("x", exchange.MaxSymbolLen) }, "", 0},
		{"symbol too long", func(s *spec) { s.Symbol = strings.Repeat("x", exchange.MaxSymbolLen+1) }, "Symbol", exchange.OutOfRange},
		{"base id 0", func(s *spec) { s.Base.ID = 0 }, "Base.ID", exchange.OutOfRange},
		{"base id too high", func(s *spec) { s.Base.ID = exchange.MaxID + 1 }, "Base.ID", exchange.OutOfRange},
		{"quote id 0", func(s *spec) { s.Quote.ID = 0 }, "Quote.ID", exchange.OutOfRange},
		{"one asset", func(s *spec) { s.Quote.ID = s.Base.ID }, "Quote.ID", exchange.OutOfRange},
		{"no code", func(s *spec) { s.Base.Code = "" }, "Base.Code", exchange.OutOfRange},
		{"code too long", func(s *spec) { s.Quote.Code = strings.Repeat("x", 33) }, "Quote.Code", exchange.OutOfRange},
		{"negative scale", func(s *spec) { s.Base.Scale = -1 }, "Base.Scale", exchange.OutOfRange},
		{"scale too large", func(s *spec) { s.Quote.Scale = exchange.MaxScale + 1 }, "Quote.Scale", exchange.OutOfRange},
		{"no tick", func(s *spec) { s.Tick = decimal.Decimal{} }, "Tick", exchange.OutOfRange},
		{"negative tick", func(s *spec) { s.Tick = dec("-0.01") }, "Tick", exchange.OutOfRange},
		{"no lot", func(s *spec) { s.Lot = decimal.Decimal{} }, "Lot", exchange.OutOfRange},
		{"negative lot", func(s *spec) { s.Lot = dec("-1") }, "Lot", exchange.OutOfRange},
		{"lot finer than the base asset", func(s *spec) { s.Lot = dec("0.000000001") }, "Lot", exchange.OffScale},
		{"lot between base atoms", func(s *spec) { s.Lot = dec("0.000000015") }, "Lot", exchange.OffScale},
		{"tick × lot finer than the quote asset", func(s *spec) { s.Lot = dec("0.00001") }, "Tick", exchange.OffScale},
		{"lot too large", func(s *spec) { s.Lot, s.Base.Scale = dec("2"), 18 }, "Lot", exchange.OffScale},
		{"tick × lot too large", func(s *spec) { s.Tick, s.Quote.Scale = dec("2000"), 18 }, "Tick", exchange.OffScale},
		{"minimum price off the tick", func(s *spec) { s.MinPrice = dec("0.015") }, "MinPrice", exchange.OffTick},
		{"maximum price off the tick", func(s *spec) { s.MaxPrice = dec("100.001") }, "MaxPrice", exchange.OffTick},
		{"negative minimum price", func(s *spec) { s.MinPrice = dec("-0.01") }, "MinPrice", exchange.OutOfRange},
		{"price limits crossed", func(s *spec) { s.MinPrice, s.MaxPrice = dec("2"), dec("1") }, "MaxPrice", exchange.OutOfRange},
		{"price limits equal", func(s *spec) { s.MinPrice, s.MaxPrice = dec("2"), dec("2") }, "", 0},
		{"minimum quantity off the lot", func(s *spec) { s.MinQty = dec("0.0015") }, "MinQty", exchange.OffLot},
		{"maximum quantity off the lot", func(s *spec) { s.MaxQty = dec("0.0005") }, "MaxQty", exchange.OffLot},
		{"negative maximum quantity", func(s *spec) { s.MaxQty = dec("-1") }, "MaxQty", exchange.OutOfRange},
		{"quantity limits crossed", func(s *spec) { s.MinQty, s.MaxQty = dec("2"), dec("1") }, "MaxQty", exchange.OutOfRange},
		{"quantity beyond 2^60 atoms", func(s *spec) { s.MaxQty = dec("11529215046.069") }, "MaxQty", exchange.OutOfRange},
		{"largest quantity", func(s *spec) { s.MaxQty = dec("11529215046.068") }, "", 0},
		{"minimum notional off the scale", func(s *spec) { s.MinNotional = dec("0.0000001") }, "MinNotional", exchange.OffScale},
		{"maximum notional off the scale", func(s *spec) { s.MaxNotional = dec("1.0000001") }, "MaxNotional", exchange.OffScale},
		{"negative minimum notional", func(s *spec) { s.MinNotional = dec("-1") }, "MinNotional", exchange.OutOfRange},
		{"notional limits crossed", func(s *spec) { s.MinNotional, s.MaxNotional = dec("2"), dec("1") }, "MaxNotional", exchange.OutOfRange},
		{"notional beyond 2^60 atoms", func(s *spec) { s.MaxNotional = dec("1152921504606.846977") }, "MaxNotional", exchange.OutOfRange},
		{"largest notional", func(s *spec) { s.MaxNotional = dec("1152921504606.846976") }, "", 0},
		{"no order fits", func(s *spec) { s.MinPrice, s.MinQty, s.MaxNotional = dec("10"), dec("1"), dec("9.999999") }, "MaxNotional", exchange.OutOfRange},
		{"one order fits", func(s *spec) { s.MinPrice, s.MinQty, s.MaxNotional = dec("10"), dec("1"), dec("10") }, "", 0},
		{"extremes that do not fit together", func(s *spec) { s.MaxPrice, s.MaxQty = dec("1000000"), dec("1152922") }, "MaxQty", exchange.OutOfRange},
		{"extremes that fit", func(s *spec) { s.MaxPrice, s.MaxQty = dec("1000000"), dec("1152921") }, "", 0},
		{"extremes cut by the notional", func(s *spec) { s.MaxPrice, s.MaxQty, s.MaxNotional = dec("1000000"), dec("1152922"), dec("5") }, "", 0},
		{"fee of 100 %", func(s *spec) { s.TakerFee = dec("1") }, "TakerFee", exchange.OutOfRange},
		{"largest fee", func(s *spec) { s.TakerFee = dec("0.999999") }, "", 0},
		{"rebate of 100 %", func(s *spec) { s.MakerFee = dec("-1") }, "MakerFee", exchange.OutOfRange},
		{"largest rebate", func(s *spec) { s.MakerFee = dec("-0.999999") }, "", 0},
		{"fee too fine", func(s *spec) { s.MakerFee = dec("0.0000001") }, "MakerFee", exchange.OffScale},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := plainSpec()
			tc.change(&spec)
			in, err := exchange.NewInstrument(spec)
			if tc.field != "" {
				assert.Nil(t, in)
				requireField(t, err, tc.field, tc.reason)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, spec, in.Spec())
			assert.Equal(t, spec.ID, in.ID())
			assert.Equal(t, spec.Symbol, in.Symbol())
			assert.Equal(t, spec.Base, in.Base())
			assert.Equal(t, spec.Quote, in.Quote())
		})
	}
}

// NUM-001: fee rates are exact and strictly between -100 % and 100 %.
func TestParseFeeRate(t *testing.T) {
	for text, want := range map[string]exchange.FeeRate{"0": 0, "0.001": 1000, "-0.00025": -250, "0.0250": 25_000, "0.999999": 999_999, "-0.999999": -999_999} {
		got, err := exchange.ParseFeeRate("Fee", dec(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, reason := range map[string]exchange.Reason{"1": exchange.OutOfRange, "-1": exchange.OutOfRange, "2": exchange.OutOfRange,
		"0.0000001": exchange.OffScale, "0.0000005": exchange.OffScale, "4294.967297": exchange.OutOfRange, "18446744073709.551617": exchange.OutOfRange} {
		_, err := exchange.ParseFeeRate("Fee", dec(text))
		requireField(t, err, "Fee", reason)
	}
}

// NUM-001: amounts of an asset are exact both ways, from the smallest int64 to
// the largest.
func TestAmounts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := exchange.Asset{ID: 1, Code: "X", Scale: rapid.Int32Range(0, exchange.MaxScale).Draw(rt, "scale")}
		n := exchange.Amount(rapid.Int64().Draw(rt, "amount"))
		got, err := a.Amount(a.Decimal(n))
		require.NoError(rt, err)
		require.Equal(rt, n, got)
		_, err = a.Amount(a.Decimal(n).Add(decimal.New(1, -a.Scale-1)))
		requireField(rt, err, "Amount", exchange.OffScale)
		beyond := decimal.NewFromBigInt(new(big.Int).Lsh(big.NewInt(1), 63), -a.Scale)
		_, err = a.Amount(beyond)
		requireField(rt, err, "Amount", exchange.OutOfRange)
	})
}

// digits draws the text of a decimal.
func digits(rt *rapid.T, most int) string {
	return rapid.StringMatching(`-?(0|[1-9][0-9]{0,`+string(rune('0'+most))+`})(\.[0-9]{1,9})?`).Draw(rt, "digits")
}

// NUM-001: a price is accepted exactly when exact arithmetic says that it is
// a positive whole number of ticks no greater than MaxPrice, and comes out as
// it went in.
func TestPriceProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tick := decimal.New(rapid.Int64Range(1, 5000).Draw(rt, "tick"), rapid.Int32Range(-9, 3).Draw(rt, "exponent"))
		in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: 1, Symbol: "X", Base: exchange.Asset{ID: 1, Code: "B"},
			Quote: exchange.Asset{ID: 2, Code: "Q", Scale: 9}, Tick: tick, Lot: dec("1")})
		require.NoError(rt, err)
		text := digits(rt, 9)
		if rapid.Bool().Draw(rt, "on the grid") {
			text = tick.Mul(decimal.NewFromInt(rapid.Int64Range(-2, 1<<60+2).Draw(rt, "ticks"))).String()
		}
		value, ok := new(big.Rat).SetString(text)
		require.True(rt, ok)
		want := value.Quo(value, tick.Rat())
		p, err := in.ParsePrice(text)
		switch {
		case !want.IsInt():
			requireField(rt, err, "Price", exchange.OffTick)
		case want.Sign() <= 0 || want.Num().Cmp(big.NewInt(int64(exchange.MaxPrice))) > 0:
			requireField(rt, err, "Price", exchange.OutOfRange)
		default:
			require.NoError(rt, err)
			require.Equal(rt, want.Num().Int64(), int64(p))
			require.True(rt, in.PriceDecimal(p).Equal(dec(text)))
			back, err := in.ParsePrice(in.PriceDecimal(p).String())
			require.NoError(rt, err)
			require.Equal(rt, p, back)
		}
	})
}

// NUM-003: Notional is the exact product, or refuses.
func TestNotional(t *testing.T) {
	in := newInstrument(t, nil) // a tick × a lot is 10 atoms
	for _, tc := range []struct {
		p  exchange.Price
		q  exchange.Qty
		n  exchange.Amount
		ok bool
	}{
		{0, 0, 0, true}, {1, 1, 10, true}, {-1, 1, 0, false}, {1, -1, 0, false}, {-1, -1, 0, false},
		{exchange.MaxPrice / 10, 1, exchange.MaxAmount / 10 * 10, true}, {exchange.MaxPrice/10 + 1, 1, 0, false},
		{exchange.MaxPrice, exchange.MaxQty, 0, false}, {1 << 62, 1 << 62, 0, false}, {1<<63 - 1, 1<<63 - 1, 0, false},
		{1 << 32, 1 << 32, 0, false}, {1 << 61, 4, 0, false}, // products that wrap to 0
	} {
		n, ok := in.Notional(tc.p, tc.q)
		assert.Equal(t, tc.n, n, "%d × %d", tc.p, tc.q)
		assert.Equal(t, tc.ok, ok, "%d × %d", tc.p, tc.q)
	}
}

// A FieldError can be told apart by its reason alone.
func TestFieldErrorIs(t *testing.T) {
	_, err := newInstrument(t, nil).ParsePrice("0.015")
	assert.True(t, errors.Is(err, exchange.OffTick))
	assert.False(t, errors.Is(err, exchange.OffLot))
	assert.EqualError(t, err, "Price 0.015: expected a multiple of 0.01")
}
