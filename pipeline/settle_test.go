package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// settled writes a settlement in words; holds are named by their commands'
// numbers.
func settled(s *pipeline.Settlement) string {
	var lines []string
	for _, a := range s.Accounts {
		line := fmt.Sprintf("account %d:", a.Account)
		for _, c := range a.Assets {
			line += fmt.Sprintf(" asset %d %+d %+d held;", c.Asset, c.Available, c.Held)
		}
		for _, h := range a.Holds {
			line += fmt.Sprintf(" hold %d of %d %+d", h.ID[15], h.Asset, h.Delta)
			if h.NewOrder {
				line += " order"
			}
			if h.Ended {
				line += " ended"
			}
			line += ";"
		}
		for _, id := range a.Refused {
			line += fmt.Sprintf(" refused %d;", id[15])
		}
		lines = append(lines, line)
	}
	for _, c := range s.Fees {
		lines = append(lines, fmt.Sprintf("fees: asset %d %+d", c.Asset, c.Available))
	}
	return strings.Join(lines, "\n")
}

// plainID orders commands by their numbers.
func plainID(n byte) (id exchange.CommandID) {
	id[15] = n
	return id
}

// FUNDS-003 to FUNDS-007 case by case. A lot is 1 atom of asset 1, a tick times
// a lot 1 atom of asset 100; the maker's fee is -1.25 %, the taker's 3.3 %.
func TestSettle(t *testing.T) {
	const in exchange.InstrumentID = 1
	buy := func(acct exchange.AccountID, px exchange.Price, qty exchange.Qty, held exchange.Amount) exchange.Command {
		c := exchange.LimitOrder(in, acct, exchange.Buy, px, qty)
		c.Held = held
		return c
	}
	sell := func(acct exchange.AccountID, px exchange.Price, qty exchange.Qty) exchange.Command {
		c := exchange.LimitOrder(in, acct, exchange.Sell, px, qty)
		c.Held = exchange.Amount(qty)
		return c
	}
	with := func(c exchange.Command, f func(c *exchange.Command)) exchange.Command {
		f(&c)
		return c
	}
	held := func(n exchange.Amount) func(c *exchange.Command) {
		return func(c *exchange.Command) { c.Held = n }
	}
	for _, tc := range []struct {
		name   string
		before []exchange.Command // ids 1, 2 ...
		batch  []exchange.Command // the ids after; Time -1: the first one's id and time again
		want   string
	}{
		{"an order keeps what it needs", nil, []exchange.Command{buy(1, 100, 5, 600)},
			"account 1: asset 100 +83 -83 held; hold 1 of 100 -83 order;"},
		{"a trade", []exchange.Command{sell(1, 100, 5)}, []exchange.Command{buy(2, 110, 3, 400)},
			// 300 + 10 of 341 are paid, all the rest is released.
			"account 1: asset 1 +0 -3 held; asset 100 +303 +0 held; hold 1 of 1 -3;\n" +
				"account 2: asset 1 +3 +0 held; asset 100 +90 -400 held; hold 2 of 100 -400 order ended;\n" +
				"fees: asset 100 +7"},
		{"a taker that sells", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{sell(2, 90, 5)},
			"account 1: asset 1 +5 +0 held; asset 100 +23 -517 held; hold 1 of 100 -517 order ended;\n" +
				"account 2: asset 1 +0 -5 held; asset 100 +483 +0 held; hold 2 of 1 -5 order ended;\n" +
				"fees: asset 100 +11"},
		{"with itself", nil, []exchange.Command{sell(1, 100, 5), buy(1, 100, 5, 517)},
			"account 1: asset 1 +5 -5 held; asset 100 +506 -517 held; hold 1 of 1 -5 order ended; hold 2 of 100 -517 order ended;\n" +
				"fees: asset 100 +11"},
		{"an order refused", nil, []exchange.Command{buy(1, 0, 5, 600), with(buy(2, 100, 5, 10), func(*exchange.Command) {})},
			"account 1: refused 1;\naccount 2: refused 2;"},
		{"a cancel refused holds nothing", nil, []exchange.Command{exchange.Cancel(in, 1, 7)}, ""},
		{"an orphan's void", nil, []exchange.Command{with(exchange.Void(in, 1, plainID(1)), held(50))}, "account 1: refused 1;"},
		{"a void in the stead of a refused command", nil,
			[]exchange.Command{with(exchange.Void(in, 1, plainID(1)), func(c *exchange.Command) { c.Value = int64(exchange.InsufficientFunds) })},
			"account 1: refused 1;"},
		{"a market order by funds ends by its cancel", []exchange.Command{sell(1, 100, 5)},
			[]exchange.Command{with(exchange.MarketOrderByFunds(in, 2, 250), held(260))},
			"account 1: asset 1 +0 -2 held; asset 100 +202 +0 held; hold 1 of 1 -2;\n" +
				"account 2: asset 1 +2 +0 held; asset 100 +53 -260 held; hold 2 of 100 -260 order ended;\n" +
				"fees: asset 100 +5"},
		{"an amend that needs more", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{with(exchange.Amend(in, 1, 1, 0, 7), held(300))},
			"account 1: asset 100 +93 -93 held; hold 1 of 100 +207; hold 2 of 100 -300 ended;"},
		{"an amend that needs less", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{with(exchange.Amend(in, 1, 1, 0, 3), held(7))},
			"account 1: asset 100 +214 -214 held; hold 1 of 100 -207; hold 2 of 100 -7 ended;"},
		{"an amend without a hold ends it all the same", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{exchange.Amend(in, 1, 1, 0, 3)},
			"account 1: asset 100 +207 -207 held; hold 1 of 100 -207; hold 2 of 100 +0 ended;"},
		{"an amend to nothing", []exchange.Command{buy(1, 100, 5, 517), sell(2, 100, 3)}, []exchange.Command{with(exchange.Amend(in, 1, 1, 0, 2), held(9))},
			"account 1: asset 100 +215 -215 held; hold 1 of 100 -206 order ended; hold 3 of 100 -9 ended;"},
		{"an amend refused", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{with(exchange.Amend(in, 1, 1, 0, 7), held(3))},
			"account 1: refused 2;"},
		{"a reduce", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{exchange.Reduce(in, 1, 1, 2)},
			"account 1: asset 100 +207 -207 held; hold 1 of 100 -207;"},
		{"a replace with a hold of its own", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{with(exchange.Replace(in, 1, 1, 0, 7), held(300))},
			"account 1: asset 100 +93 -93 held; hold 1 of 100 -517 order ended; hold 2 of 100 +424 order;"},
		{"a replace without", []exchange.Command{buy(1, 100, 5, 517)}, []exchange.Command{exchange.Replace(in, 1, 1, 0, 2)},
			"account 1: asset 100 +310 -310 held; hold 1 of 100 -517 order ended; hold 2 of 100 +207 order;"},
		{"two orders kept from each other", []exchange.Command{sell(1, 100, 5)},
			[]exchange.Command{with(buy(1, 100, 3, 310), func(c *exchange.Command) { c.SelfTrade = exchange.Decrement })},
			"account 1: asset 1 +3 -3 held; asset 100 +310 -310 held; hold 1 of 1 -3; hold 2 of 100 -310 order ended;"},
		{"an order that ended comes again, stale, in one batch", nil,
			[]exchange.Command{with(buy(1, 100, 5, 517), func(c *exchange.Command) { c.TimeInForce = exchange.IOC }),
				exchange.AdvanceTime(in, 5000), with(buy(1, 100, 5, 517), func(c *exchange.Command) { c.Time = -1 })},
			"account 1: asset 100 +517 -517 held; hold 1 of 100 -517 order ended;"},
		{"an order that ended comes again, stale", []exchange.Command{with(buy(1, 100, 5, 517), func(c *exchange.Command) { c.TimeInForce = exchange.IOC })},
			[]exchange.Command{exchange.AdvanceTime(in, 5000), with(buy(1, 100, 5, 517), func(c *exchange.Command) { c.Time = -1 })},
			"account 1: refused 1;"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScribe(t, scribeInstrument(t, in), exchange.FundsHeld)
			for i, c := range append(tc.before, tc.batch...) {
				if i == len(tc.before) {
					s.commit()
				}
				switch {
				case c.Time == -1:
					c.ID, c.Time = plainID(1), 1000
				default:
					c.ID, c.Time = plainID(byte(i+1)), max(c.Time, 1000)
				}
				s.apply(pipeline.Message{Command: c})
			}
			c, ok := s.commit()
			require.True(t, ok)
			got := pipeline.Settle(s.in, c.Batch())
			require.NoError(t, got.Check())
			assert.Equal(t, tc.want, settled(got))
		})
	}
}
