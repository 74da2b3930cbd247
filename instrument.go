package exchange

import (
	"fmt"
	"math/big"
	"math/bits"
	"strings"

	"github.com/shopspring/decimal"
)

// Price is a number of ticks of an instrument. A valid order price is at
// least 1.
type Price int64

// Qty is a number of lots of an instrument. A valid order quantity is at
// least 1.
type Qty int64

// Amount is a number of atoms of an asset: an amount of an asset with scale s
// is Amount × 10^-s.
type Amount int64

// Time is a point in time in nanoseconds since 1970-01-01T00:00:00Z. The
// package never reads a clock: time arrives in commands.
type Time int64

// AssetID names an asset. Valid ids are 1 to MaxID.
type AssetID uint32

// InstrumentID names an instrument. Valid ids are 1 to MaxID; 0 stands for
// the engine as a whole.
type InstrumentID uint32

// AccountID names an account. Account 0 is the venue's own: it collects fees
// and cannot trade.
type AccountID uint64

// FeeRate is a fee in millionths of a trade's notional. A negative rate is a
// rebate. Valid rates lie strictly between -FeeRateUnit and FeeRateUnit.
type FeeRate int32

// Bounds of numbers and texts. They keep every product of the engine inside
// 64 bits; docs/rules/instruments.md says why each is enough.
const (
	// MaxID is the highest AssetID and InstrumentID.
	MaxID = 1<<16 - 1
	// FeeRateUnit is the number of FeeRate steps in 100 %.
	FeeRateUnit = 1_000_000
	// MaxScale is the largest number of decimals of an asset.
	MaxScale = 18
	// MaxAmount bounds the notional of one order and the base amount of one
	// order, in atoms.
	MaxAmount Amount = 1 << 60
	// MaxHeld bounds what is held for one command, in atoms.
	MaxHeld Amount = 1 << 62
	// MaxPrice and MaxQty bound what an instrument may allow.
	MaxPrice Price = 1 << 60
	MaxQty   Qty   = 1 << 60
	// MaxDecimalLen is the length of the longest decimal text that
	// ParseDecimal reads, in bytes.
	MaxDecimalLen = 64
	// MaxSymbolLen is the length of the longest symbol or asset code, in bytes.
	MaxSymbolLen = 32
)

// Bounds on a decimal.Decimal that comes in, so that no arithmetic on it can
// be made slow: a text such as 1e999999999 is four bytes of work for the
// sender and gigabytes for the receiver.
const (
	maxDecimalExponent = 64
	maxDecimalBits     = 256
)

// FieldError says which field of an input was refused, with what value, and
// which rule it broke. It unwraps to a Reason, so that
// errors.Is(err, exchange.OffTick) works.
type FieldError struct {
	Field  string // the field's name, as in InstrumentSpec
	Value  string // the refused value, shortened when it is very long
	Rule   string // what was expected
	Reason Reason // the same rule as a code
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s %s: %s", e.Field, e.Value, e.Rule)
}

// Unwrap returns the Reason.
func (e *FieldError) Unwrap() error { return e.Reason }

func fieldError(field string, value any, reason Reason, rule string, args ...any) error {
	var text string
	if d, ok := value.(decimal.Decimal); ok {
		text = decimalText(d)
	} else {
		text = fmt.Sprint(value)
	}
	if len(text) > MaxDecimalLen {
		text = text[:MaxDecimalLen] + "..."
	}
	return &FieldError{Field: field, Value: text, Rule: fmt.Sprintf(rule, args...), Reason: reason}
}

// decimalText prints d without ever expanding a huge exponent.
func decimalText(d decimal.Decimal) string {
	if !plainDecimal(d) {
		coef := "coefficient"
		if c := d.Coefficient(); c.BitLen() <= maxDecimalBits {
			coef = c.String()
		}
		return fmt.Sprintf("%se%d", coef, d.Exponent())
	}
	return d.String()
}

func plainDecimal(d decimal.Decimal) bool {
	return d.Exponent() >= -maxDecimalExponent && d.Exponent() <= maxDecimalExponent &&
		d.Coefficient().BitLen() <= maxDecimalBits
}

// ParseDecimal reads a decimal number in plain notation, such as "-12.50".
// It refuses texts longer than MaxDecimalLen, exponents, spaces, and anything
// that is not a number; field names the input in the error.
func ParseDecimal(field, text string) (decimal.Decimal, error) {
	if len(text) > MaxDecimalLen {
		return decimal.Decimal{}, fieldError(field, text, InvalidNumber, "longer than %d characters", MaxDecimalLen)
	}
	digits := strings.TrimPrefix(text, "-")
	whole, frac, dot := strings.Cut(digits, ".")
	if !allDigits(whole) || whole == "" || dot && (frac == "" || !allDigits(frac)) {
		return decimal.Decimal{}, fieldError(field, fmt.Sprintf("%q", text), InvalidNumber, "expected a plain decimal number such as 12.50")
	}
	d, err := decimal.NewFromString(text)
	if err != nil {
		return decimal.Decimal{}, fieldError(field, fmt.Sprintf("%q", text), InvalidNumber, "%v", err)
	}
	return d, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// steps returns d / step as an integer, or the reason why it is none:
// stepsOffGrid when d is no multiple of step, stepsTooLarge when it does not fit.
func steps(d, step decimal.Decimal) (int64, stepsResult) {
	if !plainDecimal(d) {
		return 0, stepsTooLarge
	}
	exp := min(d.Exponent(), step.Exponent())
	num := scaled(d, exp)
	quo, rem := new(big.Int).QuoRem(num, scaled(step, exp), new(big.Int))
	if rem.Sign() != 0 {
		return 0, stepsOffGrid
	}
	if !quo.IsInt64() {
		return 0, stepsTooLarge
	}
	return quo.Int64(), stepsExact
}

type stepsResult int

const (
	stepsExact stepsResult = iota + 1
	stepsOffGrid
	stepsTooLarge
)

// scaled returns d / 10^exp for exp <= d.Exponent().
func scaled(d decimal.Decimal, exp int32) *big.Int {
	pow := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Exponent()-exp)), nil)
	return pow.Mul(pow, d.Coefficient())
}

// An Asset is something accounts hold: a currency, a coin, a share.
type Asset struct {
	ID    AssetID
	Code  string // such as "USD"; 1 to MaxSymbolLen bytes
	Scale int32  // decimals: an Amount is a multiple of 10^-Scale; 0 to MaxScale
}

func (a Asset) unit() decimal.Decimal { return decimal.New(1, -a.Scale) }

// Amount converts a decimal number of the asset to atoms. It refuses a number
// with more decimals than the asset has, and one that does not fit.
func (a Asset) Amount(d decimal.Decimal) (Amount, error) {
	n, how := steps(d, a.unit())
	switch how {
	case stepsOffGrid:
		return 0, fieldError("Amount", d, OffScale, "%s has %d decimals", a.Code, a.Scale)
	case stepsTooLarge:
		return 0, fieldError("Amount", d, OutOfRange, "does not fit into 64 bits of 10^-%d %s", a.Scale, a.Code)
	}
	return Amount(n), nil
}

// Decimal converts atoms to a decimal number of the asset, exactly.
func (a Asset) Decimal(n Amount) decimal.Decimal { return decimal.New(int64(n), -a.Scale) }

func (a Asset) validate(field string) error {
	switch {
	case a.ID < 1 || a.ID > MaxID:
		return fieldError(field+".ID", a.ID, OutOfRange, "expected 1 to %d", MaxID)
	case a.Code == "" || len(a.Code) > MaxSymbolLen:
		return fieldError(field+".Code", fmt.Sprintf("%q", a.Code), OutOfRange, "expected 1 to %d bytes", MaxSymbolLen)
	case a.Scale < 0 || a.Scale > MaxScale:
		return fieldError(field+".Scale", a.Scale, OutOfRange, "expected 0 to %d", MaxScale)
	}
	return nil
}

// InstrumentSpec describes an instrument in decimals. ID, Symbol, Base,
// Quote, Tick and Lot are mandatory; a limit that is left zero is the widest
// that is safe, a fee that is left zero is none.
type InstrumentSpec struct {
	ID     InstrumentID
	Symbol string // such as "BTC-USD"; 1 to MaxSymbolLen bytes
	Base   Asset  // what is bought and sold
	Quote  Asset  // what it is paid with

	Tick decimal.Decimal // price step, in quote per base
	Lot  decimal.Decimal // quantity step, in base

	MinPrice, MaxPrice       decimal.Decimal // of a limit price, inclusive
	MinQty, MaxQty           decimal.Decimal // of an order, inclusive
	MinNotional, MaxNotional decimal.Decimal // of price × quantity, in quote, inclusive

	MakerFee, TakerFee decimal.Decimal // as a share of the notional: 0.001 is 0.1 %
}

// An Instrument is a validated InstrumentSpec: the same numbers as integers.
// It never changes and may be used concurrently.
type Instrument struct {
	spec    InstrumentSpec
	tickLot Amount // quote atoms of one tick × one lot
	lotBase Amount // base atoms of one lot

	minPrice, maxPrice       Price
	minQty, maxQty           Qty
	minNotional, maxNotional Amount
	maxPriceGiven            bool
	makerFee, takerFee       FeeRate
}

// NewInstrument validates spec. It refuses, with a *FieldError, anything off
// its grid or out of range, and an instrument whose largest order could pass
// MaxAmount in either asset.
func NewInstrument(spec InstrumentSpec) (*Instrument, error) {
	in := &Instrument{spec: spec}
	if spec.ID < 1 || spec.ID > MaxID {
		return nil, fieldError("ID", spec.ID, OutOfRange, "expected 1 to %d", MaxID)
	}
	if spec.Symbol == "" || len(spec.Symbol) > MaxSymbolLen {
		return nil, fieldError("Symbol", fmt.Sprintf("%q", spec.Symbol), OutOfRange, "expected 1 to %d bytes", MaxSymbolLen)
	}
	if err := spec.Base.validate("Base"); err != nil {
		return nil, err
	}
	if err := spec.Quote.validate("Quote"); err != nil {
		return nil, err
	}
	if spec.Base.ID == spec.Quote.ID {
		return nil, fieldError("Quote.ID", spec.Quote.ID, OutOfRange, "expected another asset than Base")
	}
	if err := in.setGrid(); err != nil {
		return nil, err
	}
	if err := in.setLimits(); err != nil {
		return nil, err
	}
	var err error
	if in.makerFee, err = ParseFeeRate("MakerFee", spec.MakerFee); err != nil {
		return nil, err
	}
	if in.takerFee, err = ParseFeeRate("TakerFee", spec.TakerFee); err != nil {
		return nil, err
	}
	return in, nil
}

func (in *Instrument) setGrid() error {
	s := &in.spec
	for _, f := range [...]struct {
		name  string
		value decimal.Decimal
	}{{"Tick", s.Tick}, {"Lot", s.Lot}} {
		if !plainDecimal(f.value) || f.value.Sign() <= 0 {
			return fieldError(f.name, f.value, OutOfRange, "expected a positive number of at most %d digits", maxDecimalExponent)
		}
	}
	lot, how := steps(s.Lot, s.Base.unit())
	if how != stepsExact || lot > int64(MaxAmount) {
		return fieldError("Lot", s.Lot, OffScale, "expected a multiple of 10^-%d %s below 2^60 of them", s.Base.Scale, s.Base.Code)
	}
	// A trade moves a whole number of quote atoms, so that nothing is ever
	// rounded but the fee.
	tickLot, how := steps(s.Tick.Mul(s.Lot), s.Quote.unit())
	if how != stepsExact || tickLot > int64(MaxAmount) {
		return fieldError("Tick", s.Tick, OffScale, "Tick × Lot must be a multiple of 10^-%d %s below 2^60 of them", s.Quote.Scale, s.Quote.Code)
	}
	in.lotBase, in.tickLot = Amount(lot), Amount(tickLot)
	return nil
}

func (in *Instrument) setLimits() error {
	s := &in.spec
	read := func(name string, d, step decimal.Decimal, unset, most int64, off Reason) (int64, error) {
		if plainDecimal(d) && d.IsZero() {
			return unset, nil
		}
		n, how := steps(d, step)
		switch {
		case how == stepsOffGrid:
			return 0, fieldError(name, d, off, "expected a multiple of %s", step)
		case how == stepsTooLarge || n < 1 || n > most:
			return 0, fieldError(name, d, OutOfRange, "expected 1 to %d steps of %s", most, step)
		}
		return n, nil
	}
	mostQty := int64(MaxAmount / in.lotBase)
	var n [6]int64
	for i, f := range [...]struct {
		name    string
		value   decimal.Decimal
		step    decimal.Decimal
		unset   int64
		highest int64
		off     Reason
	}{
		{"MinPrice", s.MinPrice, s.Tick, 1, int64(MaxPrice), OffTick},
		{"MaxPrice", s.MaxPrice, s.Tick, int64(MaxPrice), int64(MaxPrice), OffTick},
		{"MinQty", s.MinQty, s.Lot, 1, mostQty, OffLot},
		{"MaxQty", s.MaxQty, s.Lot, mostQty, mostQty, OffLot},
		{"MinNotional", s.MinNotional, s.Quote.unit(), 0, int64(MaxAmount), OffScale},
		{"MaxNotional", s.MaxNotional, s.Quote.unit(), int64(MaxAmount), int64(MaxAmount), OffScale},
	} {
		var err error
		if n[i], err = read(f.name, f.value, f.step, f.unset, f.highest, f.off); err != nil {
			return err
		}
	}
	in.minPrice, in.maxPrice = Price(n[0]), Price(n[1])
	in.minQty, in.maxQty = Qty(n[2]), Qty(n[3])
	in.minNotional, in.maxNotional = Amount(n[4]), Amount(n[5])
	in.maxPriceGiven = !s.MaxPrice.IsZero()
	for i, name := range [...]string{"MaxPrice", "MaxQty", "MaxNotional"} {
		if n[2*i] > n[2*i+1] {
			return fieldError(name, n[2*i+1], OutOfRange, "below its minimum, %d", n[2*i])
		}
	}
	if least, ok := in.notional(in.minPrice, in.minQty); !ok || least > in.maxNotional {
		return fieldError("MaxNotional", in.maxNotional, OutOfRange, "the smallest order, MinPrice × MinQty, exceeds it")
	}
	// Explicit extremes are a promise that such an order can be traded, so
	// they must fit together; defaults are cut by MaxNotional order by order.
	if in.maxPriceGiven && !s.MaxQty.IsZero() && s.MaxNotional.IsZero() {
		if _, ok := in.notional(in.maxPrice, in.maxQty); !ok {
			return fieldError("MaxQty", s.MaxQty, OutOfRange, "MaxPrice × MaxQty exceeds 2^60 atoms of %s; lower one of them or set MaxNotional", s.Quote.Code)
		}
	}
	return nil
}

// ParseFeeRate converts a share of the notional (0.001 is 0.1 %) to a
// FeeRate. It refuses more than six decimals and anything not strictly
// between -1 and 1.
func ParseFeeRate(field string, d decimal.Decimal) (FeeRate, error) {
	n, how := steps(d, decimal.New(1, -6))
	if how == stepsOffGrid {
		return 0, fieldError(field, d, OffScale, "expected at most 6 decimals")
	}
	if how == stepsTooLarge || n <= -FeeRateUnit || n >= FeeRateUnit {
		return 0, fieldError(field, d, OutOfRange, "expected more than -1 and less than 1")
	}
	return FeeRate(n), nil
}

// Spec returns what the instrument was made from.
func (in *Instrument) Spec() InstrumentSpec { return in.spec }

// ID returns the instrument's id.
func (in *Instrument) ID() InstrumentID { return in.spec.ID }

// Symbol returns the instrument's name.
func (in *Instrument) Symbol() string { return in.spec.Symbol }

// Base returns the asset that is bought and sold.
func (in *Instrument) Base() Asset { return in.spec.Base }

// Quote returns the asset prices are in.
func (in *Instrument) Quote() Asset { return in.spec.Quote }

// Price converts a decimal price to ticks. Off the tick, zero, negative and
// too large prices are refused with a *FieldError. The instrument's price
// limits are not checked here: they may be changed by command.
func (in *Instrument) Price(d decimal.Decimal) (Price, error) {
	n, err := in.onGrid("Price", d, in.spec.Tick, int64(MaxPrice), OffTick)
	return Price(n), err
}

// Qty converts a decimal quantity to lots. Off the lot, zero, negative and
// too large quantities are refused with a *FieldError.
func (in *Instrument) Qty(d decimal.Decimal) (Qty, error) {
	n, err := in.onGrid("Qty", d, in.spec.Lot, int64(MaxAmount/in.lotBase), OffLot)
	return Qty(n), err
}

func (in *Instrument) onGrid(field string, d, step decimal.Decimal, most int64, off Reason) (int64, error) {
	n, how := steps(d, step)
	switch {
	case how == stepsOffGrid:
		return 0, fieldError(field, d, off, "expected a multiple of %s", step)
	case how == stepsTooLarge || n > most:
		return 0, fieldError(field, d, OutOfRange, "expected at most %d steps of %s", most, step)
	case n < 1:
		return 0, fieldError(field, d, OutOfRange, "expected more than zero")
	}
	return n, nil
}

// ParsePrice reads a decimal text as a price in ticks.
func (in *Instrument) ParsePrice(text string) (Price, error) {
	d, err := ParseDecimal("Price", text)
	if err != nil {
		return 0, err
	}
	return in.Price(d)
}

// ParseQty reads a decimal text as a quantity in lots.
func (in *Instrument) ParseQty(text string) (Qty, error) {
	d, err := ParseDecimal("Qty", text)
	if err != nil {
		return 0, err
	}
	return in.Qty(d)
}

// PriceDecimal converts ticks to a decimal price, exactly.
func (in *Instrument) PriceDecimal(p Price) decimal.Decimal {
	return in.spec.Tick.Mul(decimal.NewFromInt(int64(p)))
}

// QtyDecimal converts lots to a decimal quantity, exactly.
func (in *Instrument) QtyDecimal(q Qty) decimal.Decimal {
	return in.spec.Lot.Mul(decimal.NewFromInt(int64(q)))
}

// BaseAmount returns the base atoms of q lots. q must not exceed the
// instrument's maximum quantity.
func (in *Instrument) BaseAmount(q Qty) Amount { return Amount(q) * in.lotBase }

// Notional returns price × quantity in quote atoms. ok is false when it
// exceeds MaxAmount or an argument is negative; then the amount is zero.
func (in *Instrument) Notional(p Price, q Qty) (n Amount, ok bool) {
	if p < 0 || q < 0 {
		return 0, false
	}
	return in.notional(p, q)
}

func (in *Instrument) notional(p Price, q Qty) (Amount, bool) {
	hi, lo := bits.Mul64(uint64(p), uint64(q))
	hi2, lo := bits.Mul64(lo, uint64(in.tickLot))
	if hi|hi2 != 0 || lo > uint64(MaxAmount) {
		return 0, false
	}
	return Amount(lo), true
}
