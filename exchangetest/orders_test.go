package exchangetest_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

func exampleInstrument() *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: 1, Symbol: "BTC-USD", Base: exchange.Asset{ID: 1, Code: "BTC", Scale: 8}, Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6},
		Tick: decimal.New(1, -2), Lot: decimal.New(1, -4)})
	if err != nil {
		panic(err)
	}
	return in
}

// A property of your own: whatever comes, the quantity that was traded is the
// same on both sides. In a test you would begin with rapid.Check(t, func(t
// *rapid.T) {...}) and Draw(t, "commands"), so that a failure is made small;
// here the streams are three fixed ones.
func ExampleHostileStreams() {
	in := exampleInstrument()
	streams := exchangetest.HostileStreams([]*exchange.Instrument{in}, 200)
	for seed := range 3 {
		book, err := exchange.NewMatcher(in, exchange.MatcherConfig{})
		if err != nil {
			panic(err)
		}
		traded := map[exchange.OrderID]exchange.Qty{}
		for _, cmd := range streams.Example(seed) {
			for _, ev := range book.Apply(nil, &cmd) {
				if ev.Kind == exchange.EventTrade {
					traded[ev.OrderID] += ev.Qty
					traded[ev.MakerOrderID] += ev.Qty
				}
			}
		}
		var sum exchange.Qty
		for _, qty := range traded {
			sum += qty
		}
		fmt.Println(sum%2 == 0)
	}
	// Output:
	// true
	// true
	// true
}

func ExampleOrders() {
	in := exampleInstrument()
	orders := exchangetest.Orders(in)
	for seed := range 100 {
		book, err := exchange.NewMatcher(in, exchange.MatcherConfig{})
		if err != nil {
			panic(err)
		}
		cmd := orders.Example(seed)
		if reason, rejected := exchange.Rejected(book.Apply(nil, &cmd)); rejected {
			fmt.Println(cmd, reason)
		}
	}
	fmt.Println("all were accepted")
	// Output: all were accepted
}

func newBook(t require.TestingT, insts ...*exchange.Instrument) *exchange.Engine {
	e, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsNone, Instruments: insts})
	require.NoError(t, err)
	return e
}

// Every order is accepted, and everything an order may have comes.
func TestOrders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := exchangetest.Instruments().Draw(t, "instrument")
		for range 5 {
			c := exchangetest.Orders(in).Draw(t, "order")
			if reason, rejected := exchange.Rejected(newBook(t, in).Apply(nil, &c)); rejected {
				t.Fatalf("%+v of %+v is rejected: %v", c, in.Spec(), reason)
			}
		}
	})
	seen := map[string]int{}
	orders := exchangetest.Orders(exampleInstrument())
	for seed := range 2000 {
		c := orders.Example(seed)
		for _, name := range []string{fmt.Sprint("type ", c.Type), fmt.Sprint("time in force ", c.TimeInForce), fmt.Sprint("post-only ", c.PostOnly), fmt.Sprint("self-trade ", c.SelfTrade)} {
			seen[name]++
		}
		for name, is := range map[string]bool{"hidden": c.Hidden, "iceberg": c.DisplayQty > 0, "least quantity": c.MinQty > 0, "budget": c.Funds > 0,
			"by funds alone": c.Funds > 0 && c.Qty == 0, "distance": c.PriceIsDistance, "worst price": c.Type == exchange.Market && c.Price > 0 && !c.PriceIsDistance} {
			if is {
				seen[name]++
			}
		}
	}
	assert.Len(t, seen, 7+5+3+5+7, "%v", seen)
}

// ofTheBook are the reasons for which a well-formed command may be rejected.
var ofTheBook = []exchange.Reason{exchange.UnknownOrder, exchange.PostOnlyWouldTake, exchange.PriceBelowMin, exchange.PriceAboveMax, exchange.NothingToAmend,
	exchange.NotionalBelowMin, exchange.NotionalAboveMax, exchange.IcebergParts, exchange.InvalidMinQty, exchange.InvalidDisplayQty, exchange.InvalidFunds, exchange.InvalidExpire}

func twoInstruments(t *rapid.T) []*exchange.Instrument {
	return rapid.SliceOfNDistinct(exchangetest.Instruments(), 2, 2, (*exchange.Instrument).ID).Draw(t, "instruments")
}

// What behaves is rejected for the book alone, trades, and has ids of its own.
func TestStreams(t *testing.T) {
	trades, accepted, rejected := 0, 0, map[exchange.Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		insts := twoInstruments(t)
		e := newBook(t, insts...)
		ids := map[exchange.CommandID]bool{}
		var now exchange.Time
		for _, c := range exchangetest.Streams(insts, 60).Draw(t, "stream") {
			require.False(t, ids[c.ID], "an id comes again")
			ids[c.ID] = true
			require.GreaterOrEqual(t, c.Time, now)
			now = c.Time
			events := e.Apply(nil, &c)
			for i := range events {
				switch events[i].Kind {
				case exchange.EventTrade:
					trades++
				case exchange.EventAccepted:
					accepted++
				}
			}
			if reason, is := exchange.Rejected(events); is {
				rejected[reason]++
				require.Contains(t, ofTheBook, reason, "%+v", c)
			}
		}
	})
	t.Logf("%d accepted, %d trades, rejected: %v", accepted, trades, rejected)
	assert.Greater(t, trades, accepted/20, "few trades")
}

// However hostile: an event for each command, twice the same engine, and a
// snapshot of it that can be restored.
func TestHostileStreams(t *testing.T) {
	duplicates, reasons := 0, map[exchange.Reason]bool{}
	rapid.Check(t, func(t *rapid.T) {
		insts := twoInstruments(t)
		one, two := newBook(t, insts...), newBook(t, insts...)
		for _, c := range exchangetest.HostileStreams(insts, 60).Draw(t, "stream") {
			events := one.Apply(nil, &c)
			require.NotEmpty(t, events, "%+v", c)
			require.Equal(t, events, two.Apply(nil, &c))
			if reason, is := exchange.Rejected(events); is {
				reasons[reason] = true
			}
			if events[len(events)-1].Kind == exchange.EventDuplicate {
				duplicates++
			}
		}
		require.Equal(t, one.Hash(), two.Hash())
	})
	assert.Positive(t, duplicates)
	t.Logf("%d duplicates, %d reasons", duplicates, len(reasons))
	assert.Greater(t, len(reasons), 10, "%v", reasons)
}

// prepare is what an OrderProcessor makes of a request.
func prepare(t require.TestingT, in *exchange.Instrument) func(req *pipeline.Request) (pipeline.Message, error) {
	risk, err := pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: []*exchange.Instrument{in}, Balances: memory.NewBalances(memory.BalancesConfig{}),
		Queue: memory.NewQueue(memory.QueueConfig{}), Orders: memory.NewTradeStore(), Books: memory.NewBookStore()})
	require.NoError(t, err)
	p, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: []*exchange.Instrument{in}, Risk: risk})
	require.NoError(t, err)
	return p.Prepare
}

// Every request becomes a command, and every kind of request comes.
func TestRequests(t *testing.T) {
	kinds := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		in := exchangetest.Instruments().Draw(t, "instrument")
		prepared := prepare(t, in)
		for range 5 {
			req := exchangetest.Requests(in).Draw(t, "request")
			m, err := prepared(&req)
			require.NoError(t, err, "%+v of %+v", req, in.Spec())
			kinds[req.Kind]++
			if req.Kind == pipeline.RequestNew {
				reason, rejected := exchange.Rejected(newBook(t, in).Apply(nil, &m.Command))
				require.False(t, rejected, "%+v of %+v: %v", req, in.Spec(), reason)
			}
		}
	})
	assert.Len(t, kinds, 6)
}

// A spoiled request is refused by the name of a field, for many fields.
func TestHostileRequests(t *testing.T) {
	var fields []string
	rapid.Check(t, func(t *rapid.T) {
		in := exchangetest.Instruments().Draw(t, "instrument")
		prepared := prepare(t, in)
		for range 5 {
			req := exchangetest.HostileRequests(in).Draw(t, "request")
			if _, err := prepared(&req); err != nil {
				var fe *exchange.FieldError
				require.True(t, errors.As(err, &fe), "%+v: %v", req, err)
				require.NotEmpty(t, fe.Field)
				fields = append(fields, fe.Field)
			}
		}
	})
	slices.Sort(fields)
	assert.Greater(t, len(slices.Compact(fields)), 10)
}
