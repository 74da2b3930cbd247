package exchange_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/castlecloud/exchange"
)

// What an accepted instrument lets happen at its edges fits 64 bits.

// pickOf draws one of some values.
func pickOf[T any](pick picker, of ...T) T { return of[pick(len(of))] }

// near draws a power of two up to 2^most, or something close to it.
func near(pick picker, most int) int64 {
	return max(1, int64(1)<<pick(most+1)+int64(pick(5)-2))
}

// extremeSpec draws a specification with anything from the finest to the
// coarsest grid; many are refused.
func extremeSpec(pick picker) exchange.InstrumentSpec {
	s := exchange.InstrumentSpec{ID: 1, Symbol: "X",
		Base:  exchange.Asset{ID: 1, Code: "B", Scale: pickOf[int32](pick, 0, 1, 8, 18)},
		Quote: exchange.Asset{ID: 2, Code: "Q", Scale: pickOf[int32](pick, 0, 2, 9, 18)},
	}
	tickLot := decimal.New(pickOf(pick, 1, 1, 1, 3, 1_000_000, near(pick, 60), 1<<60), -s.Quote.Scale)
	// A tick is tickLot / lot: with a lot of 2^k atoms that is tickLot × 5^k × 10^-k.
	k := pickOf(pick, 0, 0, 1, 3, pick(20), 20)
	lotBase, inverse := decimal.NewFromInt(1<<k), decimal.NewFromBigInt(new(big.Int).Exp(big.NewInt(5), big.NewInt(int64(k)), nil), int32(-k))
	s.Lot = lotBase.Mul(decimal.New(1, -s.Base.Scale))
	s.Tick = tickLot.Mul(inverse).Mul(decimal.New(1, s.Base.Scale))
	if pick(3) == 0 {
		s.MaxPrice = s.Tick.Mul(decimal.NewFromInt(near(pick, 60)))
	}
	if pick(3) == 0 {
		s.MaxQty = s.Lot.Mul(decimal.NewFromInt(near(pick, 60)))
	}
	if pick(3) == 0 {
		s.MaxNotional = decimal.New(near(pick, 60), -s.Quote.Scale)
	}
	rate := func() decimal.Decimal {
		return decimal.New(pickOf[int64](pick, 0, 1, -1, 1000, -250, 999_999, -999_999, int64(pick(1_999_999)-999_999)), -6)
	}
	s.MakerFee, s.TakerFee = rate(), rate()
	return s
}

// extremes draws commands at the edges of an instrument.
type extremes struct {
	pick picker
	mode exchange.Funds
	in   *exchange.Instrument
	px   exchange.Price // around which orders meet
	sent int
}

func (g *extremes) price() exchange.Price {
	return max(1, min(exchange.MaxPrice, g.px+exchange.Price(g.pick(3)-1)))
}

// qty draws the largest quantity that price allows, or one that divides it,
// or one beyond.
func (g *extremes) qty(px exchange.Price) exchange.Qty {
	tickLot, _ := g.in.Notional(1, 1)
	most := new(big.Int).Mul(big.NewInt(int64(px)), big.NewInt(int64(tickLot)))
	most.Quo(big.NewInt(int64(exchange.MaxAmount)), most)
	base := int64(exchange.MaxAmount / g.in.BaseAmount(1))
	if !most.IsInt64() || most.Int64() > base {
		most.SetInt64(base)
	}
	q := most.Int64()
	switch g.pick(6) {
	case 0:
		q++
	case 1:
		q = q/3 + 1
	case 2:
		q = near(g.pick, 60)
	case 3:
		q -= int64(g.pick(3))
	}
	return exchange.Qty(max(1, q))
}

func (g *extremes) amount() exchange.Amount { return exchange.Amount(near(g.pick, 62)) }

func (g *extremes) next() exchange.Command {
	acct, side, px := exchange.AccountID(1+g.pick(3)), exchange.Side(1+g.pick(2)), g.price()
	id := exchange.OrderID(1 + g.pick(g.sent+1))
	var c exchange.Command
	switch n := g.pick(30); {
	case n < 14:
		c = exchange.LimitOrder(1, acct, side, px, g.qty(px))
		if n == 0 {
			c.DisplayQty = max(1, c.Qty/exchange.Qty(1+g.pick(20)))
		}
	case n < 16:
		c = exchange.MarketOrder(1, acct, side, g.qty(px))
	case n < 18:
		c = exchange.MarketOrderByFunds(1, acct, exchange.Amount(near(g.pick, 60)))
	case n < 19:
		c = exchange.MarketToLimitOrder(1, acct, side, g.qty(px))
	case n < 20:
		c = exchange.StopLimitOrder(1, acct, side, g.price(), px, g.qty(px))
	case n < 22:
		return exchange.Reduce(1, acct, id, exchange.Qty(near(g.pick, 60)))
	case n < 25:
		c = exchange.Amend(1, acct, id, g.price(), g.qty(px))
	case n < 27:
		c = exchange.Replace(1, acct, id, g.price(), g.qty(px))
	case n < 28:
		return exchange.SetFees(1, exchange.FeeRate(g.pick(1_999_999)-999_999), exchange.FeeRate(g.pick(1_999_999)-999_999))
	case n < 29:
		return exchange.Cancel(1, acct, id)
	default:
		if g.pick(2) == 0 {
			return exchange.Withdraw(acct, exchange.AssetID(1+g.pick(2)), g.amount())
		}
		return exchange.Deposit(acct, exchange.AssetID(1+g.pick(2)), g.amount())
	}
	g.sent++
	if g.pick(4) == 0 {
		c.SelfTrade = exchange.SelfTradePrevention(g.pick(5))
	}
	if g.mode == exchange.FundsHeld {
		c.Held = pickOf(g.pick, 0, g.amount(), 1<<61, 1<<61, exchange.MaxHeld, 1<<63-1)
	}
	return c
}

// TestExtremes: nothing an accepted instrument lets happen wraps. The
// reference, which counts in big integers, must agree on every event and
// balance; the amounts of every event are also computed here once more.
// NUM-003, NUM-004, FUNDS-008, FUNDS-009.
func TestExtremes(t *testing.T) {
	for _, mode := range []exchange.Funds{exchange.FundsLedger, exchange.FundsHeld} {
		t.Run(fundsName(mode), func(t *testing.T) {
			accepted, trades, large := 0, 0, 0
			eachSeed(t, 1500, func(seed uint64) string {
				pick := rand.New(rand.NewPCG(seed, 2)).IntN
				in, err := exchange.NewInstrument(extremeSpec(pick))
				if err != nil {
					return ""
				}
				accepted++
				s := newSystemOf(t, mode, false, 0, []*exchange.Instrument{in})
				g := &extremes{pick: pick, mode: mode, in: in, px: exchange.Price(near(pick, pickOf(pick, 10, 60)))}
				var cmds []exchange.Command
				for range 40 {
					cmds = append(cmds, g.next())
				}
				if mode == exchange.FundsLedger {
					rich := pickOf(pick, g.amount(), 1<<59, 1<<60, 1<<61, 1<<61)
					for acct := exchange.AccountID(1); acct <= 3; acct++ {
						cmds = append([]exchange.Command{exchange.Deposit(acct, 1, rich), exchange.Deposit(acct, 2, rich)}, cmds...)
					}
				}
				for i, c := range cmds {
					if d := s.step(c); d != "" {
						return fmt.Sprintf("%+v\ncommand %d: %s", in.Spec(), i, d)
					}
					for i := range s.got {
						if d := amountsFit(in, &s.got[i]); d != "" {
							return fmt.Sprintf("%+v\n%s: %+v", in.Spec(), d, s.got[i])
						}
						if s.got[i].Kind == exchange.EventTrade {
							trades++
						}
						if s.got[i].Amount >= 1<<58 {
							large++
						}
					}
				}
				return ""
			})
			t.Logf("%d instruments accepted, %d trades, %d amounts from 2^58 on", accepted, trades, large)
			if *modelSeed == 0 && (accepted < 100 || trades < 500 || large < 100) {
				t.Error("the extremes were hardly reached")
			}
		})
	}
}

// amountsFit checks the amounts of an event with big integers.
func amountsFit(in *exchange.Instrument, ev *exchange.Event) string {
	for _, n := range []exchange.Amount{ev.Amount, ev.Release, ev.MakerRelease} {
		if n < 0 {
			return "an amount is below zero"
		}
	}
	if ev.Kind != exchange.EventTrade {
		return ""
	}
	tickLot, _ := in.Notional(1, 1)
	want := big.NewInt(int64(ev.Price))
	want.Mul(want, big.NewInt(int64(ev.Qty))).Mul(want, big.NewInt(int64(tickLot)))
	switch {
	case want.Cmp(big.NewInt(int64(ev.Amount))) != 0 || ev.Amount > exchange.MaxAmount:
		return "NUM-003: the notional is not price × quantity"
	case ev.Fee > ev.Amount || ev.Fee < -ev.Amount-1 || ev.MakerFee > ev.Amount+1 || ev.MakerFee < -ev.Amount-1:
		return "a fee exceeds the notional"
	}
	return ""
}
