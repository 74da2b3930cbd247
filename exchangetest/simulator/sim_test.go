package simulator_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/castlecloud/exchange/exchangetest/simulator"
)

var (
	seed     = flag.Uint64("seed", 0, "run this schedule alone, and print its steps when it fails; 0: many")
	from     = flag.Uint64("sim.from", 1, "the first of many seeds")
	requests = flag.Int("sim.requests", 0, "client requests of a schedule; 0: the default")
)

// explain says how to run a schedule again.
func explain(seed uint64) string {
	return fmt.Sprintf("run it again: go test ./exchangetest/simulator -run Sim -seed=%d", seed)
}

// runOne runs one schedule and prints its last steps when it fails.
func runOne(t *testing.T, seed uint64) {
	t.Helper()
	report, err := simulator.Run(simulator.Config{Seed: seed, Requests: *requests, Trace: true})
	if err != nil {
		const most = 200
		t.Fatalf("%v\n%s\n%s", err, strings.Join(report.Trace[max(0, len(report.Trace)-most):], "\n"), explain(seed))
	}
	t.Logf("seed %d: %d steps, %d commands in %d journal items, %d trades, faults %v", seed, report.Steps, report.Commands, report.Items, report.Trades, report.Faults)
}

// TestSim runs a few schedules under the race detector; TestNoRaceSim runs many.
func TestSim(t *testing.T) {
	if *seed != 0 {
		runOne(t, *seed)
		return
	}
	for s := *from; s < *from+20; s++ {
		runOne(t, s)
	}
}

// TestSimRepeats: a seed is a schedule.
func TestSimRepeats(t *testing.T) {
	one, err1 := simulator.Run(simulator.Config{Seed: 7, Trace: true})
	two, err2 := simulator.Run(simulator.Config{Seed: 7, Trace: true})
	if fmt.Sprint(one, err1) != fmt.Sprint(two, err2) {
		t.Errorf("one seed gives two schedules: %d and %d steps, %v and %v", one.Steps, two.Steps, err1, err2)
	}
}
