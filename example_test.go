package exchange_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/shopspring/decimal"

	"github.com/castlecloud/exchange"
)

// exampleInstrument is BTC-USD with a tick of a cent and a lot of 0.0001 BTC.
func exampleInstrument() *exchange.Instrument {
	inst, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD",
		Base:     exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote:    exchange.Asset{ID: 2, Code: "USD", Scale: 6},
		Tick:     decimal.RequireFromString("0.01"),
		Lot:      decimal.RequireFromString("0.0001"),
		TakerFee: decimal.RequireFromString("0.002"),
	})
	if err != nil {
		log.Fatal(err)
	}
	return inst
}

func exampleEngine(funds exchange.Funds) (*exchange.Engine, *exchange.Instrument) {
	inst := exampleInstrument()
	engine, err := exchange.NewEngine(exchange.Config{Funds: funds, Instruments: []*exchange.Instrument{inst}})
	if err != nil {
		log.Fatal(err)
	}
	return engine, inst
}

func exampleMatcher() *exchange.Matcher {
	matcher, err := exchange.NewMatcher(exampleInstrument(), exchange.MatcherConfig{})
	if err != nil {
		log.Fatal(err)
	}
	return matcher
}

// Two orders meet: the trade prints at the price of the one that rested.
func ExampleEngine() {
	engine, inst := exampleEngine(exchange.FundsNone)
	var events []exchange.Event
	for _, cmd := range []exchange.Command{
		exchange.LimitOrder(inst.ID(), 1, exchange.Sell, 6_400_000, 5_000),
		exchange.LimitOrder(inst.ID(), 2, exchange.Buy, 6_400_100, 8_000),
	} {
		events = engine.Apply(events[:0], &cmd)
		for i := range events {
			ev := &events[i]
			fmt.Println(ev.Seq, ev.Kind, ev.Side, inst.PriceDecimal(ev.Price), inst.QtyDecimal(ev.Qty))
		}
	}
	// Output:
	// 1 accepted sell 64000 0.5
	// 2 accepted buy 64001 0.8
	// 3 traded buy 64000 0.5
}

// With FundsLedger the engine owns the accounts: it holds, settles and
// releases.
func ExampleEngine_Balance() {
	engine, inst := exampleEngine(exchange.FundsLedger)
	usd := inst.Quote()
	deposit, err := usd.Amount(decimal.NewFromInt(1000))
	if err != nil {
		log.Fatal(err)
	}
	show := func() {
		b := engine.Balance(7, usd.ID)
		fmt.Println(usd.Decimal(b.Available), "available,", usd.Decimal(b.Held), "held")
	}
	for _, cmd := range []exchange.Command{
		exchange.Deposit(7, usd.ID, deposit),
		exchange.LimitOrder(inst.ID(), 7, exchange.Buy, 5_000_000, 100), // 0.01 BTC at 50000, fee 0.2 %
		exchange.Cancel(inst.ID(), 7, 1),
	} {
		engine.Apply(nil, &cmd)
		show()
	}
	// Output:
	// 1000 available, 0 held
	// 499 available, 501 held
	// 1000 available, 0 held
}

// A snapshot and the commands after it make the engine again.
func ExampleEngine_Restore() {
	engine, inst := exampleEngine(exchange.FundsNone)
	bid := exchange.LimitOrder(inst.ID(), 1, exchange.Buy, 6_390_000, 1_000)
	engine.Apply(nil, &bid)
	snapshot := engine.AppendSnapshot(nil)

	restored, _ := exampleEngine(exchange.FundsNone)
	if err := restored.Restore(snapshot); err != nil {
		log.Fatal(err)
	}
	ask := exchange.LimitOrder(inst.ID(), 2, exchange.Sell, 6_390_000, 400)
	engine.Apply(nil, &ask)
	restored.Apply(nil, &ask)
	fmt.Println("same state:", engine.Hash() == restored.Hash())

	snapshot[20] ^= 1
	fmt.Println("damaged:", errors.Is(restored.Restore(snapshot), exchange.ErrSnapshotDamaged))
	// Output:
	// same state: true
	// damaged: true
}

// A Matcher is one order book without accounts and risk.
func ExampleMatcher() {
	matcher, err := exchange.NewMatcher(exampleInstrument(), exchange.MatcherConfig{})
	if err != nil {
		log.Fatal(err)
	}
	for _, cmd := range []exchange.Command{
		exchange.LimitOrder(1, 1, exchange.Sell, 6_400_000, 300),
		exchange.LimitOrder(1, 2, exchange.Sell, 6_400_000, 300),
		exchange.MarketOrder(1, 3, exchange.Buy, 400),
	} {
		for _, ev := range matcher.Apply(nil, &cmd) {
			if ev.Kind == exchange.EventTrade {
				fmt.Println("account", ev.Account, "takes", ev.Qty, "from account", ev.MakerAccount)
			}
		}
	}
	best, _ := matcher.Book().Best(exchange.Sell)
	fmt.Println(best.Qty, "left at", best.Price)
	// Output:
	// account 3 takes 300 from account 1
	// account 3 takes 100 from account 2
	// 200 left at 6400000
}

// Texts and decimals become integers at the edge, or are refused.
func ExampleInstrument() {
	inst := exampleInstrument()
	price, err := inst.ParsePrice("64000.25")
	fmt.Println(price, err)
	qty, err := inst.ParseQty("0.043")
	fmt.Println(qty, err)
	notional, _ := inst.Notional(price, qty)
	fmt.Println(inst.Quote().Decimal(notional), inst.Quote().Code)

	_, err = inst.ParsePrice("64000.255")
	fmt.Println(err)
	var field *exchange.FieldError
	fmt.Println(errors.As(err, &field), field.Field, errors.Is(err, exchange.OffTick))
	_, err = inst.ParseQty("1e9")
	fmt.Println(err)
	// Output:
	// 6400025 <nil>
	// 430 <nil>
	// 2752.01075 USD
	// Price 64000.255: expected a multiple of 0.01
	// true Price true
	// Qty "1e9": expected a plain decimal number such as 12.50
}

// Need says what must be held for an order: every mode of funds uses it.
func ExampleInstrument_Need() {
	inst := exampleInstrument()
	fee, err := exchange.ParseFeeRate("TakerFee", inst.Spec().TakerFee)
	if err != nil {
		log.Fatal(err)
	}
	need, ok := inst.Need(&exchange.Terms{Side: exchange.Buy, Price: 5_000_000, LeavesQty: 100, TakerFee: fee})
	fmt.Println(inst.Quote().Decimal(need), inst.Quote().Code, ok)
	need, ok = inst.Need(&exchange.Terms{Side: exchange.Sell, Price: 5_000_000, LeavesQty: 100, TakerFee: fee})
	fmt.Println(inst.Base().Decimal(need), inst.Base().Code, ok)
	// Output:
	// 501 USD true
	// 0.01 BTC true
}

// Constructors take what is mandatory; the rest is set on the value.
func ExampleCommand() {
	iceberg := exchange.LimitOrder(1, 7, exchange.Sell, 6_400_000, 5_000)
	iceberg.DisplayQty = 500
	iceberg.PostOnly = exchange.PostOnlySlide
	iceberg.TimeInForce, iceberg.Expire = exchange.GTD, 1_700_000_060_000_000_000
	iceberg.ID = exchange.CommandID{0xa1} // a hash or a random number, kept when it is sent again
	iceberg.Time = 1_700_000_000_000_000_000

	stop := exchange.StopOrder(1, 7, exchange.Sell, 6_300_000, 5_000)
	stop.Price = 6_250_000 // no worse than this, once triggered

	budget := exchange.MarketOrderByFunds(1, 8, 1_000_000_000) // 1000 USD, the fee included
	budget.SelfTrade = exchange.CancelNewest

	for _, c := range []exchange.Command{iceberg, stop, budget} {
		fmt.Println(c.Kind, c.Side, c.Type, c.TimeInForce, c.Price, c.StopPrice, c.Qty, c.Funds)
	}
	// Output:
	// new order sell limit GTD 6400000 0 5000 0
	// new order sell stop GTC 6250000 6300000 5000 0
	// new order buy market IOC 0 0 0 1000000000
}

// A smaller quantity keeps the place in the queue, any other change loses it.
func ExampleAmend() {
	matcher := exampleMatcher()
	for _, cmd := range []exchange.Command{
		exchange.LimitOrder(1, 1, exchange.Buy, 6_390_000, 500),
		exchange.LimitOrder(1, 2, exchange.Buy, 6_390_000, 500),
		exchange.Amend(1, 1, 1, 0, 300),
		exchange.Amend(1, 1, 1, 0, 400),
	} {
		for _, ev := range matcher.Apply(nil, &cmd) {
			if ev.Kind == exchange.EventAmended {
				orders, ahead, _ := matcher.Book().QueuePosition(1)
				fmt.Println("total", ev.OrderQty, "lost its place:", ev.LostPlace, "orders ahead:", orders, "lots ahead:", ahead)
			}
		}
	}
	// Output:
	// total 300 lost its place: false orders ahead: 0 lots ahead: 0
	// total 400 lost its place: true orders ahead: 1 lots ahead: 500
}

// A refusal is an event. Its reason is an error.
func ExampleRejected() {
	engine, inst := exampleEngine(exchange.FundsLedger)
	cmd := exchange.LimitOrder(inst.ID(), 1, exchange.Buy, 6_400_000, 100)
	reason, rejected := exchange.Rejected(engine.Apply(nil, &cmd))
	fmt.Println(rejected, reason, errors.Is(reason, exchange.InsufficientFunds))
	// Output:
	// true insufficient funds true
}

// The book is read by level, by order, and by place in the queue, into the
// caller's slices.
func ExampleBook() {
	matcher := exampleMatcher()
	iceberg := exchange.LimitOrder(1, 3, exchange.Sell, 6_400_100, 900)
	iceberg.DisplayQty = 100
	for _, cmd := range []exchange.Command{
		exchange.LimitOrder(1, 1, exchange.Sell, 6_400_000, 500),
		exchange.LimitOrder(1, 2, exchange.Sell, 6_400_100, 200),
		iceberg,
	} {
		matcher.Apply(nil, &cmd)
	}
	book := matcher.Book()
	for _, level := range book.Levels(nil, exchange.Sell, 10) {
		fmt.Println("level", level.Price, level.Qty, level.Orders)
	}
	for _, o := range book.Orders(nil, exchange.Sell, 0) {
		fmt.Println("order", o.ID, o.Price, o.ShownQty, "of", o.LeavesQty)
	}
	orders, ahead, _ := book.QueuePosition(3)
	fmt.Println(orders, "order with", ahead, "lots before order 3")
	// Output:
	// level 6400000 500 1
	// level 6400100 300 2
	// order 1 6400000 500 of 500
	// order 2 6400100 200 of 200
	// order 3 6400100 100 of 900
	// 1 order with 200 lots before order 3
}

// After a command only the prices its events name need to be read again.
func ExampleBook_Level() {
	matcher := exampleMatcher()
	var events []exchange.Event
	for _, cmd := range []exchange.Command{
		exchange.LimitOrder(1, 1, exchange.Sell, 6_400_000, 500),
		exchange.LimitOrder(1, 2, exchange.Sell, 6_400_100, 200),
		exchange.LimitOrder(1, 3, exchange.Buy, 6_400_100, 600),
	} {
		events = matcher.Apply(events[:0], &cmd)
	}
	for _, ev := range events {
		if ev.Kind == exchange.EventTrade {
			level, ok := matcher.Book().Level(ev.Side.Opposite(), ev.Price)
			fmt.Println(ev.Price, level.Qty, level.Orders, ok)
		}
	}
	// Output:
	// 6400000 0 0 false
	// 6400100 100 1 true
}

// A void releases what is held for an order that got lost on the way, and
// keeps the order out should it come after all.
func ExampleVoid() {
	engine, inst := exampleEngine(exchange.FundsHeld)
	order := exchange.LimitOrder(inst.ID(), 1, exchange.Buy, 5_000_000, 100)
	order.ID, order.Held, order.Time = exchange.CommandID{1}, 501_000_000, 1_700_000_000_000_000_000

	void := exchange.Void(inst.ID(), order.Account, order.ID)
	void.Held, void.Time = order.Held, order.Time+60_000_000_000 // a minute later
	for _, cmd := range []exchange.Command{void, order, void} {
		for _, ev := range engine.Apply(nil, &cmd) {
			fmt.Println(ev.Kind, ev.Reason, ev.Release)
		}
	}
	// Output:
	// rejected voided 501000000
	// duplicate duplicate command 0
	// duplicate duplicate command 0
}

// tape is a Handler that prints trades.
type tape struct{ inst *exchange.Instrument }

func (t tape) HandleEvent(ev *exchange.Event) {
	if ev.Kind == exchange.EventTrade {
		fmt.Println("trade", ev.TradeID, t.inst.QtyDecimal(ev.Qty), "at", t.inst.PriceDecimal(ev.Price))
	}
}

// Those who like listeners dispatch events to them.
func ExampleDispatch() {
	engine, inst := exampleEngine(exchange.FundsNone)
	for _, cmd := range []exchange.Command{
		exchange.LimitOrder(inst.ID(), 1, exchange.Buy, 6_390_000, 500),
		exchange.LimitOrder(inst.ID(), 2, exchange.Sell, 6_390_000, 200),
	} {
		events := engine.Apply(nil, &cmd)
		exchange.Dispatch(events, tape{inst})
		exchange.Dispatch(events, exchange.HandlerFunc(func(ev *exchange.Event) { fmt.Println(ev.Kind) }))
	}
	// Output:
	// accepted
	// trade 1 0.02 at 63900
	// accepted
	// traded
}

// A check of one's own has a reason of one's own.
func ExampleConfig_check() {
	const tooQuiet = exchange.ReasonUser + 1
	engine, err := exchange.NewEngine(exchange.Config{
		Funds:       exchange.FundsNone,
		Instruments: []*exchange.Instrument{exampleInstrument()},
		Check: func(e *exchange.Engine, cmd *exchange.Command) exchange.Reason {
			if _, ok := e.Book(cmd.Instrument).Best(cmd.Side.Opposite()); !ok && cmd.Type == exchange.Market {
				return tooQuiet
			}
			return 0
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	cmd := exchange.MarketOrder(1, 1, exchange.Buy, 100)
	reason, rejected := exchange.Rejected(engine.Apply(nil, &cmd))
	fmt.Println(rejected, errors.Is(reason, tooQuiet))
	// Output:
	// true true
}

// With FundsHeld somebody else keeps the funds: a command brings what is held
// for it under its id, and the events say what to settle and to release.
func ExampleFunds_held() {
	engine, inst := exampleEngine(exchange.FundsHeld)
	usd, btc := inst.Quote(), inst.Base()
	holds := map[exchange.CommandID]exchange.Amount{}
	send := func(id byte, cmd exchange.Command, held exchange.Amount) {
		cmd.ID, cmd.Held = exchange.CommandID{id}, held
		holds[cmd.ID] = held
		for _, ev := range engine.Apply(nil, &cmd) {
			if ev.Kind == exchange.EventTrade { // here the taker sells
				holds[ev.ID] -= inst.BaseAmount(ev.Qty)
				holds[ev.MakerID] -= ev.Amount + ev.MakerFee
				fmt.Println("pay the seller", usd.Decimal(ev.Amount-ev.Fee), usd.Code, "and the buyer", btc.Decimal(inst.BaseAmount(ev.Qty)), btc.Code)
			}
			if ev.Release > 0 {
				holds[ev.ID] -= ev.Release
				fmt.Println(ev.Kind, "releases", ev.Release, "of hold", ev.ID[0])
			}
			if ev.MakerRelease > 0 {
				holds[ev.MakerID] -= ev.MakerRelease
				fmt.Println(ev.Kind, "releases", ev.MakerRelease, "of hold", ev.MakerID[0])
			}
		}
	}
	send(1, exchange.LimitOrder(inst.ID(), 1, exchange.Buy, 5_000_000, 100), 600_000_000) // needs 501 USD
	send(2, exchange.LimitOrder(inst.ID(), 2, exchange.Sell, 5_000_000, 60), 600_000)
	send(3, exchange.Cancel(inst.ID(), 1, 1), 0)
	fmt.Println(holds[exchange.CommandID{1}], holds[exchange.CommandID{2}], "left in hold")
	// Output:
	// accepted releases 99000000 of hold 1
	// pay the seller 299.4 USD and the buyer 0.006 BTC
	// traded releases 600000 of hold 1
	// canceled releases 200400000 of hold 1
	// 0 0 left in hold
}
