package pipeline

import (
	"math/bits"
	"strconv"
	"time"

	"github.com/shopspring/decimal"

	"github.com/castlecloud/exchange"
)

// numberTexts writes an instrument's numbers as Instrument and Asset convert
// them and decimal.Decimal prints them, without making a Decimal of each.
type numberTexts struct {
	price, qty  stepText
	base, quote stepText
}

func newNumberTexts(in *exchange.Instrument) *numberTexts {
	spec := in.Spec()
	return &numberTexts{price: newStepText(spec.Tick), qty: newStepText(spec.Lot),
		base: assetText(spec.Base), quote: assetText(spec.Quote)}
}

func assetText(a exchange.Asset) stepText { return newStepText(decimal.New(1, -a.Scale)) }

// stepText writes multiples of a step.
type stepText struct {
	step  decimal.Decimal
	coef  uint64 // step is coef × 10^exp; 0: it is not so short
	exp   int
	whole bool // exp is not below 0
}

func newStepText(step decimal.Decimal) stepText {
	s := stepText{step: step, exp: int(step.Exponent()), whole: step.Exponent() >= 0}
	if c := step.Coefficient(); c.IsUint64() && s.exp >= -64 && s.exp <= 64 {
		s.coef = c.Uint64()
	}
	return s
}

func (s *stepText) text(n int64) string {
	var buf [48]byte
	return string(s.append(buf[:0], n))
}

func (s *stepText) append(dst []byte, n int64) []byte {
	abs := uint64(n)
	if n < 0 {
		abs = -abs
	}
	over, product := bits.Mul64(abs, s.coef)
	if s.coef == 0 || over != 0 {
		return append(dst, s.step.Mul(decimal.NewFromInt(n)).String()...)
	}
	if n < 0 && product != 0 {
		dst = append(dst, '-')
	}
	had := len(dst)
	dst = strconv.AppendUint(dst, product, 10)
	if s.whole {
		for i := 0; i < s.exp && product != 0; i++ {
			dst = append(dst, '0')
		}
		return dst
	}
	places := -s.exp
	// At least one digit before the point.
	for missing := places + 1 - (len(dst) - had); missing > 0; missing-- {
		dst = append(dst, 0)
		copy(dst[had+1:], dst[had:])
		dst[had] = '0'
	}
	end := len(dst)
	for end > len(dst)-places && dst[end-1] == '0' {
		end--
	}
	point := len(dst) - places
	if end == point {
		return dst[:point]
	}
	dst = append(dst[:end], 0)
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}

// appendTime appends a time as TimeText writes it.
func appendTime(dst []byte, t exchange.Time) []byte {
	return time.Unix(0, int64(t)).UTC().AppendFormat(dst, time.RFC3339Nano)
}

// TimeText returns a time as the feed and the REST API write it: RFC 3339 in
// UTC with up to nine decimals, "" for 0, which is none.
func TimeText(t exchange.Time) string {
	if t == 0 {
		return ""
	}
	return string(appendTime(nil, t))
}
