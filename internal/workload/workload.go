// Package workload makes the streams of commands that the engine's speed is
// measured on, and the bare loop it is measured against. A stream follows
// from its seed alone: it holds no float, no clock and no map order, so every
// machine measures the same commands.
package workload

import (
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/castlecloud/exchange"
)

// Options are what may be chosen of a stream. None of them but Seed and
// Commands changes what is traded: with and without ids, accounts and holds it
// is the same market.
type Options struct {
	Seed     uint64
	Commands int  // commands to measure; 0: 1,000,000
	Accounts int  // accounts that trade, 1 to Accounts; 0: 1,000
	IDs      bool // every command carries a random CommandID and a Time, later than the last one's
	Held     bool // commands carry a sufficient Held, for FundsHeld
}

// A Stream is a workload: an instrument, the commands that bring an engine of
// it to its working state, and the commands to measure. Every order is
// accepted, every cancel and amend meets a live order, and order ids are those
// the engine gives: 1, 2, 3 ... from the start of Prefill.
type Stream struct {
	Name       string
	Instrument *exchange.Instrument
	Deposits   []exchange.Command // enough for every account, for FundsLedger
	Prefill    []exchange.Command // orders up to the working size, then as many commands of the workload as Warm
	Commands   []exchange.Command

	Resting, Levels int // orders and prices of the book when Commands begins
	Trades          int // trades of Commands, by the generator's own book

	fills fills // for the bare loop
}

// fills say which orders aggressors fill, so that the bare loop needs no
// matching of its own to keep the same orders as an engine.
type fills struct {
	first []fill // per aggressor, Prefill included, the first order it meets
	more  []fill // orders an aggressor fills in full beyond the first
}

type fill struct {
	command int // index in Prefill followed by Commands
	order   exchange.OrderID
	full    bool
}

// A shape is a market: where its prices are and what happens in it.
type shape struct {
	name       string
	center     exchange.Price // where the price begins
	path       []int64        // per mille of center that the price passes through, evenly spaced over Commands
	reach      exchange.Price // how far from the price orders are placed, in ticks
	uniform    bool           // orders are spread evenly over reach; otherwise twice as far is half as likely
	resting    int            // orders in the book, kept steady
	warm       int            // commands of the workload before those that are measured
	aggressive int            // percent of the commands that take
	amends     int            // percent of the commands that amend
}

const (
	centerPrice = 100_000
	// Longer than the full dedup window, so that it is full from the first
	// measured command on.
	warm = 80_000
)

// Mixed is the workload most rows of the speed table are about: 10,000 orders
// on 500 prices, a tenth of the commands take, a tenth amend, the rest adds and
// cancels.
func Mixed(o Options) *Stream {
	return generate(o, shape{name: "mixed", center: centerPrice, path: []int64{1000}, reach: 250,
		resting: 10_000, warm: warm, aggressive: 10, amends: 10})
}

// The five scenarios: how the price moves while the commands are measured. The
// wilder it is the thinner and wider the book.
var scenarios = [...]shape{
	{name: "still", path: []int64{1000}, reach: 250, resting: 10_000},
	{name: "normal", path: []int64{1000, 1010, 995, 1005, 1000}, reach: 250, resting: 10_000},
	{name: "25 % swing", path: []int64{1000, 750, 1000}, reach: 1_000, resting: 5_000},
	{name: "40 % swing", path: []int64{1000, 600, 1000}, reach: 5_000, resting: 2_000},
	{name: "crash", path: []int64{1000, 400, 550}, reach: 20_000, uniform: true, resting: 400},
}

// Scenarios is the number of scenarios.
const Scenarios = len(scenarios)

// Scenario returns one of the five: a still market, a normal day, a price that
// falls by 25 % and comes back, one that falls by 40 % and comes back, and a
// crash by 60 % with 400 orders spread over tens of thousands of ticks.
func Scenario(i int, o Options) *Stream {
	s := scenarios[i]
	s.center, s.warm, s.aggressive, s.amends = centerPrice, warm, 10, 10
	o.Seed += uint64(i+1) << 32 // a still market is Mixed with other numbers
	return generate(o, s)
}

// ScenarioName returns the name of a scenario.
func ScenarioName(i int) string { return scenarios[i].name }

// Deep is a book of a million orders on 10,000 prices: cancels, drawn evenly
// from all of them, and as many adds.
func Deep(o Options) *Stream {
	return generate(o, shape{name: "deep", center: centerPrice, path: []int64{1000}, reach: 5_000,
		resting: 1_000_000, warm: warm})
}

// Wide is a book of 10,000 orders spread evenly over eight million ticks, so
// that hardly two share a price and the next price is far away.
func Wide(o Options) *Stream {
	return generate(o, shape{name: "wide", center: 8_000_000, path: []int64{1000}, reach: 4_000_000, uniform: true,
		resting: 10_000, warm: warm, aggressive: 10, amends: 10})
}

// instrument has one quote atom per tick and lot and fees of 0.1 and 0.2 %.
func instrument() *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD",
		Base:  exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6},
		Tick:  decimal.New(1, -2), Lot: decimal.New(1, -4),
		MakerFee: decimal.New(1, -3), TakerFee: decimal.New(2, -3),
	})
	if err != nil {
		panic(fmt.Sprintf("workload: %v", err)) // the specification is a constant
	}
	return in
}

// deposits give every account more than it can lose, and all of them together
// less than an asset may have.
func deposits(in *exchange.Instrument, accounts int) []exchange.Command {
	each := exchange.Amount(1<<61) / exchange.Amount(max(accounts, 1_000))
	out := make([]exchange.Command, 0, 2*accounts)
	for a := range accounts {
		account := exchange.AccountID(a + 1)
		out = append(out, exchange.Deposit(account, in.Base().ID, each), exchange.Deposit(account, in.Quote().ID, each))
	}
	return out
}
