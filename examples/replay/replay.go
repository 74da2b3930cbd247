package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
)

// trade is what the result keeps of a trade; orders are named as in the file.
type trade struct {
	taker, maker exchange.CommandID
	price        exchange.Price
	qty          exchange.Qty
}

// result is what came of a replay.
type result struct {
	rejected  map[exchange.Reason]int
	trades    []trade
	latencies []time.Duration // one a command, sorted
	elapsed   time.Duration   // their sum
}

// replay applies the commands one by one and takes the time of each. What it
// does between them is not measured.
func replay(engine *exchange.Engine, commands []exchange.Command, funds *funder, bar *progress) *result {
	res := &result{rejected: make(map[exchange.Reason]int), latencies: make([]time.Duration, len(commands))}
	events := make([]exchange.Event, 0, 1024)
	for i := range commands {
		funds.before(&commands[i])
		start := time.Now()
		events = engine.Apply(events[:0], &commands[i])
		res.latencies[i] = time.Since(start)
		res.elapsed += res.latencies[i]
		res.note(events)
		funds.after(events)
		bar.show(i + 1)
	}
	bar.clear()
	slices.Sort(res.latencies)
	return res
}

func (r *result) note(events []exchange.Event) {
	if reason, ok := exchange.Rejected(events); ok {
		r.rejected[reason]++
	}
	for i := range events {
		if ev := &events[i]; ev.Kind == exchange.EventTrade {
			r.trades = append(r.trades, trade{taker: ev.ID, maker: ev.MakerID, price: ev.Price, qty: ev.Qty})
		}
	}
}

// percentile returns the latency that the given share of all commands, in
// thousandths, did not exceed.
func (r *result) percentile(thousandths int) time.Duration {
	n := len(r.latencies)
	if n == 0 {
		return 0
	}
	rank := (n*thousandths + 999) / 1000
	return r.latencies[max(rank, 1)-1]
}

// clockCost returns what reading the clock twice adds to each latency.
func clockCost() time.Duration {
	cost := make([]time.Duration, 1001)
	for i := range cost {
		start := time.Now()
		cost[i] = time.Since(start)
	}
	slices.Sort(cost)
	return cost[len(cost)/2]
}

// progress is a bar on a terminal; nil, which shows nothing, elsewhere.
type progress struct {
	w           io.Writer
	total, step int
}

const barWidth = 40

func newProgress(w io.Writer, total int) *progress {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return &progress{w: w, total: total, step: max(total/barWidth, 1)}
}

func (p *progress) show(done int) {
	if p == nil || done%p.step != 0 {
		return
	}
	n := barWidth * done / p.total
	fmt.Fprintf(p.w, "\r[%s%s] %3d %%", strings.Repeat("=", n), strings.Repeat(" ", barWidth-n), 100*done/p.total)
}

// clear leaves the line empty for what comes after.
func (p *progress) clear() {
	if p != nil {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", barWidth+8))
	}
}
