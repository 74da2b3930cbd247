package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

// report prints everything but the book. The lines that differ from run to
// run begin with elapsed, commands per second and latency.
func report(w io.Writer, inst *exchange.Instrument, r *result) {
	line := func(name string, value any) { fmt.Fprintf(w, "%-33s %v\n", name, value) }
	commands, rejected := len(r.latencies), 0
	for _, n := range r.rejected {
		rejected += n
	}
	traded := decimal.Zero
	for i := range r.trades {
		traded = traded.Add(inst.QtyDecimal(r.trades[i].qty))
	}
	line("commands", commands)
	line("accepted", commands-rejected)
	line("rejected", rejected)
	for _, reason := range mostFrequent(r.rejected) {
		line("  "+reason.String(), r.rejected[reason])
	}
	line("trades", len(r.trades))
	line("traded quantity", traded)
	line("elapsed", r.elapsed)
	rate := 0.0
	if r.elapsed > 0 {
		rate = float64(commands) / r.elapsed.Seconds()
	}
	line("commands per second", fmt.Sprintf("%.0f", rate))
	line("latency", fmt.Sprintf("p50 %v, p99 %v, p99.9 %v, max %v a command; about %v of each is the clock's own",
		r.percentile(500), r.percentile(990), r.percentile(999), r.percentile(1000), clockCost()))
}

// mostFrequent sorts reasons by how often they came, then by their number.
func mostFrequent(counts map[exchange.Reason]int) []exchange.Reason {
	reasons := make([]exchange.Reason, 0, len(counts))
	for reason := range counts {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b exchange.Reason) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return int(a) - int(b)
	})
	return reasons
}

// printDepth prints the best levels, bids on the left and asks on the right.
func printDepth(w io.Writer, inst *exchange.Instrument, book *exchange.Book, levels int) {
	if levels == 0 {
		return // Levels would take that for all of them
	}
	bids := book.Levels(nil, exchange.Buy, levels)
	asks := book.Levels(nil, exchange.Sell, levels)
	ticks, lots := decimals(inst.Spec().Tick), decimals(inst.Spec().Lot)
	cells := func(side []exchange.Level, i int) (orders, qty, price string) {
		if i >= len(side) {
			return "", "", ""
		}
		l := side[i]
		return fmt.Sprint(l.Orders), inst.QtyDecimal(l.Qty).StringFixed(lots), inst.PriceDecimal(l.Price).StringFixed(ticks)
	}
	fmt.Fprintf(w, "\n%8s %18s %14s | %-14s %-18s %s\n", "orders", "bid qty", "bid", "ask", "ask qty", "orders")
	for i := range max(len(bids), len(asks)) {
		bidOrders, bidQty, bid := cells(bids, i)
		askOrders, askQty, ask := cells(asks, i)
		fmt.Fprintf(w, "%8s %18s %14s | %-14s %-18s %s\n", bidOrders, bidQty, bid, ask, askQty, askOrders)
	}
}
