package reference_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/reference"
)

// observe runs a scenario on an engine with the fault, taking it down and
// restoring it before the last command, and returns all there is to see.
func observe(t *testing.T, fault reference.Fault, commands []exchange.Command) []string {
	t.Helper()
	e := reference.New(reference.Config{Funds: reference.FundsNone, Instruments: []*exchange.Instrument{instrument(t, 1)}, DedupCount: 1, Faults: fault})
	last := len(commands) - 1
	var seen []string
	apply := func(commands []exchange.Command) {
		for i := range commands {
			for _, ev := range e.Apply(nil, &commands[i]) {
				seen = append(seen, fmt.Sprintf("%+v", ev))
			}
		}
	}
	apply(commands[:last])
	e = e.Clone()
	for _, side := range []exchange.Side{buy, sell} {
		seen = append(seen, fmt.Sprint(e.Levels(1, side)))
	}
	apply(commands[last:])
	return seen
}

// Every fault shows in a few commands.
func TestFaults(t *testing.T) {
	scenarios := map[reference.Fault][]exchange.Command{
		reference.FOKIgnoresSelfTrade:    {limit(1, sell, 100, 2), limit(1, buy, 100, 2, tif(exchange.FOK), stp(exchange.CancelNewest))},              // MATCH-006
		reference.SelfTradeResidualRests: {limit(1, sell, 100, 1), limit(1, buy, 100, 2, stp(exchange.CancelNewest)), exchange.MassCancel(0, 0)},      // STP-005
		reference.DecrementStrandsHidden: {limit(1, sell, 100, 5, display(2)), limit(1, buy, 100, 2, stp(exchange.Decrement)), limit(2, buy, 100, 1)}, // STP-004
		reference.UnstableTime:           {limit(1, sell, 100, 1), limit(2, sell, 100, 1), limit(3, buy, 100, 1)},                                     // MATCH-001
		reference.StopCascadeOnce: {limit(1, sell, 100, 1), limit(1, sell, 101, 1), limit(1, sell, 102, 1), exchange.StopOrder(1, 2, buy, 100, 1), // STOP-004
			exchange.StopOrder(1, 2, buy, 101, 1), limit(3, buy, 100, 1)},
		reference.TradeAtTakerPrice: {limit(1, sell, 100, 1), limit(2, buy, 101, 1)},                                                   // MATCH-002
		reference.CancelDropsLevel:  {limit(1, sell, 100, 1), limit(2, sell, 100, 1), exchange.Cancel(1, 1, 1), limit(2, buy, 100, 1)}, // CANCEL-001
		reference.UnsignedUnderflow: {limit(1, sell, 100, 3), exchange.Reduce(1, 1, 1, 4)},                                             // REDUCE-001
		reference.PriceTwoLevels:    {limit(1, sell, 100, 1), limit(2, sell, 100, 1), exchange.EndDay(0)},                              // EVENT-005
		reference.DuplicateLiveID: {limit(1, sell, 100, 1, withID(1)), limit(1, sell, 100, 1, withID(2)), // DEDUP-001
			limit(1, sell, 100, 1, withID(1))},
		reference.RestoreForgetsTriggers: {exchange.StopOrder(1, 1, buy, 100, 1), exchange.SetLastPrice(1, 100)}, // STOP-001
		reference.RestoreForgetsExpiry: {limit(1, buy, 1, 1, tif(exchange.GTD), func(c *exchange.Command) { c.Expire = 9 }), // TIME-002
			exchange.AdvanceTime(0, 9)},
		reference.RestoreForgetsTradeID: {limit(1, sell, 100, 2), limit(2, buy, 100, 1), limit(2, buy, 100, 1)}, // EVENT-003
	}
	var many []exchange.Command
	for p := range exchange.Price(50) {
		many = append(many, limit(1, buy, p+1, 1))
	}
	scenarios[reference.DepthInMapOrder] = many
	for _, fault := range reference.Faults() {
		t.Run(fault.String(), func(t *testing.T) {
			commands := scenarios[fault]
			if commands == nil {
				t.Fatal("no scenario")
			}
			right := observe(t, reference.None, commands)
			if !slices.Equal(right, observe(t, reference.None, commands)) {
				t.Fatal("two runs without a fault differ")
			}
			if slices.Equal(right, observe(t, fault, commands)) {
				t.Errorf("not to be seen in\n%q", right)
			}
		})
	}
}
