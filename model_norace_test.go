//go:build !race

package exchange_test

import (
	"flag"
	"testing"
)

var modelRuns = flag.Int("model.runs", 150, "runs of TestNoRaceModelRandom")

// TestNoRaceModelRandom is TestModel with long runs from a plain generator. The
// core has one goroutine, and shorter runs of it are raced.
func TestNoRaceModelRandom(t *testing.T) {
	for _, mode := range modelModes {
		t.Run(mode.name, func(t *testing.T) {
			eachSeed(t, *modelRuns, func(seed uint64) string {
				return randomRun(t, mode.mode, mode.alone, seed, 400, 0)
			})
		})
	}
}
