package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
)

// The smallest venue: every port in memory, every service in this process.
func Example() {
	fail := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	btc, usd := exchange.Asset{ID: 1, Code: "BTC", Scale: 8}, exchange.Asset{ID: 2, Code: "USD", Scale: 6}
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: 1, Symbol: "BTC-USD", Base: btc, Quote: usd,
		Tick: decimal.New(1, -2), Lot: decimal.New(1, -4), MaxPrice: decimal.New(1_000_000, 0), MaxQty: decimal.New(1000, 0)})
	fail(err)
	listed := []*exchange.Instrument{in}
	now := func() exchange.Time { return exchange.Time(time.Now().UnixNano()) }

	// The ports: everything outside.
	bus, queue, publisher := memory.NewBus(memory.BusConfig{}), memory.NewQueue(memory.QueueConfig{}), memory.NewPublisher()
	log, books, balances := pipeline.NewLog(memory.NewJournal()), memory.NewBookStore(), memory.NewBalances(memory.BalancesConfig{})
	trades, archive, pusher := memory.NewTradeStore(), memory.NewArchive(), memory.NewPusher()

	// The services, each with the ports it needs.
	risk, err := pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: listed, Balances: balances, Queue: queue, Orders: trades, Books: books})
	fail(err)
	processor, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: listed, Risk: risk})
	fail(err)
	engine, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: listed, Log: log, Books: books, Publisher: publisher, Now: now})
	fail(err)
	market, err := pipeline.NewMarketData(pipeline.MarketDataConfig{Instruments: listed, Log: log, Pusher: pusher, Trades: trades})
	fail(err)
	recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: listed, Log: log, Trades: trades, Archive: archive})
	fail(err)
	settler, err := pipeline.NewSettler(pipeline.SettlerConfig{Instruments: listed, Log: log, Balances: balances, Pusher: pusher})
	fail(err)

	// Resident runs them until its context ends.
	resident, err := pipeline.NewResident(pipeline.ResidentConfig{
		Instruments: listed, Requests: bus, Process: processor.Handle, Queue: queue, Match: engine.Handle, Now: now,
		Consumers: []pipeline.ResidentConsumer{
			{Consumer: pipeline.Consumer{Name: "market data", Recorded: pusher.Pushed, Handle: market.Handle}, Notices: publisher.Subscribe()},
			{Consumer: pipeline.Consumer{Name: "trade recorder", Recorded: trades.Recorded, Handle: recorder.Handle}, Notices: publisher.Subscribe()},
			{Consumer: pipeline.Consumer{Name: "settler", Recorded: balances.Settled, Handle: settler.Handle}, Notices: publisher.Subscribe()},
		},
		Sweeper: pipeline.SweeperConfig{Instruments: listed, Log: log, Publisher: publisher, Queue: queue, Balances: balances, Archived: recorder.Archived, Now: now},
	})
	fail(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); resident.Run(ctx) }()

	// Two accounts with funds, who listen to what happens.
	const alice, bob = 1, 2
	deposit := func(acct exchange.AccountID, a exchange.Asset, units int64) {
		n, err := a.Amount(decimal.NewFromInt(units))
		fail(err)
		fail(balances.Deposit(ctx, pipeline.Transfer{ID: pipeline.CommandIDOf(acct, 0, exchange.KindDeposit, "first"), Account: acct, Asset: a.ID, Amount: n, Time: now()}))
	}
	deposit(alice, btc, 2)
	deposit(bob, usd, 100_000)
	book, tape, funds := pusher.Subscribe(pipeline.ChannelBook, in.ID(), 0), pusher.Subscribe(pipeline.ChannelTrades, in.ID(), 0), pusher.Subscribe(pipeline.ChannelBalances, 0, bob)
	next := func(from *memory.PushSubscription, message any) {
		m, err := from.Next(ctx)
		fail(err)
		fail(json.Unmarshal(m.Data, message))
	}

	// Alice offers one, Bob buys a quarter of it.
	order := func(acct exchange.AccountID, key, side, size string) {
		fail(bus.Put(ctx, &pipeline.Request{Kind: pipeline.RequestNew, Account: acct, Time: now(), Key: key, Symbol: "BTC-USD", Side: side, Type: "limit", Price: "64000", Size: size}))
	}
	order(alice, "a-1", "sell", "1")
	var levels pipeline.FeedBook
	next(book, &levels)
	fmt.Println("offered:", levels.Asks[0].Size, "at", levels.Asks[0].Price)
	order(bob, "b-1", "buy", "0.25")
	var traded pipeline.FeedTrades
	next(tape, &traded)
	fmt.Println("traded:", traded.Trades[0].Size, "at", traded.Trades[0].Price)
	var has pipeline.FeedBalances
	next(funds, &has)
	for _, b := range has.Balances {
		fmt.Println("Bob has:", b.Available, b.Asset)
	}
	cancel()
	<-ended
	// Output:
	// offered: 1 at 64000
	// traded: 0.25 at 64000
	// Bob has: 0.25 BTC
	// Bob has: 84000 USD
}
