package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The stages that latencies are measured of, each from the moment an order was
// due to be sent, whenever it was sent.
const (
	stageSent     = 0 // the load generator's own lateness
	stageAccepted = 1 // the 202 was read: the order is in the journal
	stageMatched  = 2 // an order that takes: its fill came over its owner's socket
	stagePushed   = 3 // that trade came over the public socket, as a browser gets it
	stages        = 4
)

var stageNames = [stages]string{"sent", "accepted", "matched", "pushed"}

// What a histogram tells apart: from a microsecond to longest, three digits.
const (
	longest = 10 * time.Minute
	digits  = 3
)

// percentiles are those that are printed.
var percentiles = []struct {
	name string
	p    float64
}{{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}}

// results collects what one run at one rate measures. It is safe for
// concurrent use.
type results struct {
	mu       sync.Mutex
	latency  [stages]*hdrhistogram.Histogram
	sent     int64            // orders
	accepted int64            // 202, whatever came of them
	cancels  int64            // 202
	traded   int64            // orders that took, and did trade
	outcomes map[string]int64 // of 202 that say so: a refusal by the engine
	errors   map[string]int64
}

func newResults() *results {
	r := &results{outcomes: map[string]int64{}, errors: map[string]int64{}}
	for i := range r.latency {
		r.latency[i] = hdrhistogram.New(1, longest.Microseconds(), digits)
	}
	return r
}

func (r *results) observe(stage int, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Within its range, so that there is no error.
	_ = r.latency[stage].RecordValue(min(max(d.Microseconds(), 1), longest.Microseconds()))
}

func (r *results) count(n *int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

func (r *results) fail(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[code]++
}

func (r *results) refused(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[code]++
}

// percentile returns a percentile of a stage, 0 without measurements.
func (r *results) percentile(stage int, p float64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.latency[stage].ValueAtQuantile(p)) * time.Microsecond
}

// counts returns a copy of the counters.
func (r *results) counts() (sent, accepted, cancels, traded, failed int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.errors {
		failed += n
	}
	return r.sent, r.accepted, r.cancels, r.traded, failed
}

// print writes the table of latencies and what else there is to say.
func (r *results) print(w io.Writer, rate float64, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(w, "%-10s%10s", "ms", "count")
	for _, p := range percentiles {
		fmt.Fprintf(w, "%10s", p.name)
	}
	fmt.Fprintf(w, "%10s\n", "max")
	for i, h := range r.latency {
		fmt.Fprintf(w, "%-10s%10d", stageNames[i], h.TotalCount())
		for _, p := range percentiles {
			fmt.Fprintf(w, "%10s", millis(h.ValueAtQuantile(p.p)))
		}
		fmt.Fprintf(w, "%10s\n", millis(h.Max()))
	}
	fmt.Fprintf(w, "orders %d sent of %.0f/s in %.1fs, %d accepted (%.0f/s), %d took and traded, %d cancels\n",
		r.sent, rate, took.Seconds(), r.accepted, float64(r.accepted)/took.Seconds(), r.traded, r.cancels)
	printCounts(w, "refused by the engine", r.outcomes)
	printCounts(w, "errors", r.errors)
}

func printCounts(w io.Writer, what string, counts map[string]int64) {
	if len(counts) == 0 {
		fmt.Fprintf(w, "%s: none\n", what)
		return
	}
	codes := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	var parts []string
	for _, code := range codes {
		parts = append(parts, fmt.Sprintf("%s %d", code, counts[code]))
	}
	fmt.Fprintf(w, "%s: %s\n", what, strings.Join(parts, ", "))
}

// millis writes microseconds as milliseconds, with as many digits as help.
func millis(us int64) string {
	ms := float64(us) / 1000
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}
