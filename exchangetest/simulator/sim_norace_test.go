//go:build !race

package simulator_test

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castlecloud/exchange/exchangetest/simulator"
)

var simTime = flag.Duration("sim.time", time.Minute, "how long TestNoRaceSim runs schedules")

// TestNoRaceSim runs schedules for -sim.time and prints what they covered.
func TestNoRaceSim(t *testing.T) {
	if *seed != 0 {
		runOne(t, *seed)
		return
	}
	// Schedules are short lives: most of what they leave behind is gone at once.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var (
		next     = atomic.Uint64{}
		mu       sync.Mutex
		total    simulator.Report
		runs     int
		deadline = time.Now().Add(*simTime)
		began    = time.Now()
		workers  sync.WaitGroup
	)
	next.Store(*from)
	total.Faults, total.Points = map[string]int{}, map[string]bool{}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for time.Now().Before(deadline) && !t.Failed() {
				s := next.Add(1) - 1
				report, err := simulator.Run(simulator.Config{Seed: s, Requests: *requests})
				if err != nil {
					t.Errorf("%v\n%s", err, explain(s))
				}
				mu.Lock()
				runs++
				add(&total, &report)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	t.Logf("%d schedules from seed %d in %s\n%s", runs, *from, time.Since(began).Round(time.Second), table(&total))
	if total.Trades == 0 || len(total.Faults) == 0 {
		t.Error("nothing traded, or no fault was injected: the schedules show nothing")
	}
}

func add(total, r *simulator.Report) {
	total.Commands += r.Commands
	total.Trades += r.Trades
	total.Items += r.Items
	total.Steps += r.Steps
	for kind, n := range r.Faults {
		total.Faults[kind] += n
	}
	for point, crashed := range r.Points {
		total.Points[point] = total.Points[point] || crashed
	}
}

func table(r *simulator.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d commands, %d journal items, %d trades, %d steps\n", r.Commands, r.Items, r.Trades, r.Steps)
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(&b, "%-38s %9d\n", kind, r.Faults[kind])
	}
	covered := 0
	var missed []string
	for _, point := range slices.Sorted(maps.Keys(r.Points)) {
		if r.Points[point] {
			covered++
		} else {
			missed = append(missed, point)
		}
	}
	fmt.Fprintf(&b, "crash points covered: %d of %d", covered, len(r.Points))
	if len(missed) > 0 {
		fmt.Fprintf(&b, "; not: %s", strings.Join(missed, ", "))
	}
	return b.String()
}

// TestNoRaceSimPlanted: every planted bug is found, and how soon.
func TestNoRaceSimPlanted(t *testing.T) {
	const most = 500 // schedules of one bug
	var b strings.Builder
	for _, bug := range simulator.Bugs() {
		found := ""
		n := uint64(0)
		for found == "" && n < most {
			n++
			if _, err := simulator.Run(simulator.Config{Seed: n, Plant: bug}); err != nil {
				found = err.Error()
			}
		}
		if found == "" {
			t.Errorf("%s: not found in %d schedules", bug, most)
		}
		fmt.Fprintf(&b, "%-32s %4d  %.150s\n", bug, n, found)
	}
	t.Logf("planted bug, schedules until it was found, and as what\n%s", b.String())
}
