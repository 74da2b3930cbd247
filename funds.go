package exchange

import "math/bits"

// Terms are what an order's need for funds depends on.
type Terms struct {
	Side         Side
	Price        Price   // limit or worst price, in ticks
	LeavesQty    Qty     // open quantity, in lots
	Funds        Amount  // what is left of a budget, 0: none
	MakerFee     FeeRate // of the order's entry
	TakerFee     FeeRate
	FeeRemainder int32 // Order.FeeRemainder; 0 for a new order
}

// Need returns what must be held for an order (FUNDS-001): base atoms for a
// sell, quote atoms for a buy. ok is false when it exceeds 2^61 or the price
// times the quantity exceeds MaxAmount; then the amount is zero. Every mode of
// funds uses this function, and so should whoever holds funds for an Engine.
func (in *Instrument) Need(t *Terms) (n Amount, ok bool) {
	switch {
	case t.LeavesQty <= 0:
		return 0, true
	case t.Side == Sell:
		return in.BaseAmount(t.LeavesQty), true
	case t.Funds > 0:
		return t.Funds, true
	}
	if n, ok = in.notional(t.Price, t.LeavesQty); !ok {
		return 0, false
	}
	// The most the fee can still grow (FEE-002).
	fee, _ := feeStep(max(t.MakerFee, t.TakerFee, 0), n, t.FeeRemainder)
	return n + fee, true
}

// feeStep returns what a notional adds to an order's fee (FEE-001). rem is
// what the fee booked so far exceeds the exact one by, in millionths of an
// atom, 0 to FeeRateUnit - 1; so is the new one. n is at most MaxAmount.
func feeStep(rate FeeRate, n Amount, rem int32) (Amount, int32) {
	// rate × n may need 81 bits; the whole units of n need no rounding.
	whole, part := n/FeeRateUnit, n%FeeRateUnit
	exact := Amount(rate)*part - Amount(rem)
	fee := exact / FeeRateUnit // rounds towards zero, so up when negative
	if exact > fee*FeeRateUnit {
		fee++
	}
	return Amount(rate)*whole + fee, int32(fee*FeeRateUnit - exact)
}

// spendable returns the largest notional that, with the fee it adds, is
// within funds. rate is not negative.
func spendable(funds Amount, rate FeeRate, rem int32) Amount {
	// n + ceil((rate·n - rem)/unit) <= funds  <=>  n·(unit + rate) <= funds·unit + rem
	hi, lo := bits.Mul64(uint64(funds), FeeRateUnit)
	lo, carry := bits.Add64(lo, uint64(rem), 0)
	hi += carry
	per := uint64(FeeRateUnit + int64(rate))
	n, _ := bits.Div64(hi, lo, per)
	return Amount(min(n, uint64(MaxAmount)))
}
