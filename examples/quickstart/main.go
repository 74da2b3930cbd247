// Command quickstart is a small exchange at work: an instrument, accounts
// with funds, a book, a trade.
package main

import (
	"fmt"
	"io"
	"log"
	"os"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

const alice, bob, carol exchange.AccountID = 1, 2, 3

func main() { run(os.Stdout) }

func run(w io.Writer) {
	btc := exchange.Asset{ID: 1, Code: "BTC", Scale: 8}
	usd := exchange.Asset{ID: 2, Code: "USD", Scale: 6} // one tick × one lot is 0.000001 USD
	inst := must(exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD", Base: btc, Quote: usd,
		Tick: dec("0.01"), Lot: dec("0.0001"), TakerFee: dec("0.001"),
	}))
	engine := must(exchange.NewEngine(exchange.Config{
		Funds:       exchange.FundsLedger, // the engine keeps the accounts
		Instruments: []*exchange.Instrument{inst},
	}))
	price := func(text string) exchange.Price { return must(inst.ParsePrice(text)) }
	qty := func(text string) exchange.Qty { return must(inst.ParseQty(text)) }

	// Commands go in, events come out. The slice is used again and again, so
	// that Apply has nothing to allocate.
	var events []exchange.Event
	apply := func(cmd exchange.Command) {
		events = engine.Apply(events[:0], &cmd)
		for i := range events {
			printEvent(w, inst, &events[i])
		}
	}

	apply(exchange.Deposit(alice, usd.ID, must(usd.Amount(dec("100000")))))
	apply(exchange.Deposit(bob, btc.ID, must(btc.Amount(dec("2")))))
	apply(exchange.Deposit(carol, btc.ID, must(btc.Amount(dec("1")))))
	apply(exchange.LimitOrder(inst.ID(), bob, exchange.Sell, price("64000.50"), qty("1")))
	apply(exchange.LimitOrder(inst.ID(), carol, exchange.Sell, price("64000.00"), qty("0.5")))
	printBook(w, "book before", engine.Book(inst.ID()))

	apply(exchange.LimitOrder(inst.ID(), alice, exchange.Buy, price("64001.00"), qty("0.8"))) // crosses both
	apply(exchange.LimitOrder(inst.ID(), alice, exchange.Buy, price("63999.00"), qty("0.25")))
	apply(exchange.LimitOrder(inst.ID(), alice, exchange.Buy, price("63999.00"), qty("5"))) // more than she has
	printBook(w, "book after", engine.Book(inst.ID()))

	fmt.Fprintln(w, "balances")
	for acct, name := range []string{"venue", "alice", "bob", "carol"} {
		for _, asset := range []exchange.Asset{btc, usd} {
			b := engine.Balance(exchange.AccountID(acct), asset.ID)
			fmt.Fprintf(w, "  %-5s %s %14s available %12s held\n", name, asset.Code, asset.Decimal(b.Available), asset.Decimal(b.Held))
		}
	}
}

// printEvent prints what a trader would want to hear. A refusal is an event
// like any other: Apply returns no error.
func printEvent(w io.Writer, inst *exchange.Instrument, ev *exchange.Event) {
	switch ev.Kind {
	case exchange.EventAccepted:
		fmt.Fprintf(w, "order %d: account %d wants to %s %s at %s\n", ev.OrderID, ev.Account, ev.Side, inst.QtyDecimal(ev.Qty), inst.PriceDecimal(ev.Price))
	case exchange.EventTrade:
		fmt.Fprintf(w, "trade %d: order %d takes %s from order %d at %s, fee %s USD\n", ev.TradeID, ev.OrderID,
			inst.QtyDecimal(ev.Qty), ev.MakerOrderID, inst.PriceDecimal(ev.Price), inst.Quote().Decimal(ev.Fee))
	case exchange.EventRejected:
		fmt.Fprintf(w, "rejected: account %d: %v\n", ev.Account, ev.Reason)
	}
}

// printBook prints the asks above the bids, the best of each in the middle.
func printBook(w io.Writer, title string, book *exchange.Book) {
	inst := book.Instrument()
	line := func(side string, level exchange.Level) {
		fmt.Fprintf(w, "  %s %s × %s\n", side, inst.PriceDecimal(level.Price).StringFixed(2), inst.QtyDecimal(level.Qty).StringFixed(4))
	}
	fmt.Fprintf(w, "\n%s\n", title)
	asks := book.Levels(nil, exchange.Sell, 0)
	for i := range asks {
		line("ask", asks[len(asks)-1-i])
	}
	for _, level := range book.Levels(nil, exchange.Buy, 0) {
		line("bid", level)
	}
	fmt.Fprintln(w)
}

func dec(text string) decimal.Decimal { return decimal.RequireFromString(text) }

// must is for a program whose every input is written in it.
func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
