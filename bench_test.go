package exchange_test

import (
	"slices"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/workload"
)

// The benchmarks of the core: one iteration is one command of a workload.
// When the workload is used up it begins again with a fresh engine, outside
// the timer. internal/speed makes the table of the README from the same
// workloads, with each engine and the bare loop by turns in one run.

// lastWorkload keeps the stream made last: the testing package calls a
// benchmark several times.
var lastWorkload struct {
	name   string
	stream *workload.Stream
}

func cachedWorkload(name string, ids bool) *workload.Stream {
	c := &lastWorkload
	key := name
	if ids {
		key += " with ids"
	}
	if c.name != key {
		o := workload.Options{Seed: 1, IDs: ids}
		c.name = key
		switch name {
		case "mixed":
			c.stream = workload.Mixed(o)
		case "deep":
			c.stream = workload.Deep(o)
		case "wide":
			c.stream = workload.Wide(o)
		default:
			i := slices.Index(scenarioNames, name)
			c.stream = workload.Scenario(i, o)
		}
	}
	return c.stream
}

var scenarioNames = []string{"still", "normal", "swing25", "swing40", "crash"}

// benchmarkCommands measures what start returns: a function that takes the
// next commands of the stream and one, or nil, to be called between chunks.
func benchmarkCommands(b *testing.B, name string, ids bool, start func(s *workload.Stream) (run func([]exchange.Command), between func())) {
	s := cachedWorkload(name, ids)
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	var took time.Duration
	for left := b.N; left > 0; {
		run, between := start(s)
		commands := s.Commands[:min(left, len(s.Commands))]
		left -= len(commands)
		for chunk := range slices.Chunk(commands, workload.Chunk) {
			b.StartTimer()
			begin := time.Now()
			run(chunk)
			took += time.Since(begin)
			b.StopTimer()
			if between != nil {
				between()
			}
		}
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/cmd")
}

func benchmarkBare(b *testing.B, name string) {
	benchmarkCommands(b, name, false, func(s *workload.Stream) (func([]exchange.Command), func()) {
		bare := workload.NewBare(s)
		return bare.Run, bare.Sweep
	})
}

func applying(a workload.Applier) func([]exchange.Command) {
	events := make([]exchange.Event, 0, 64)
	return func(commands []exchange.Command) { events = workload.Apply(events, a, commands) }
}

func benchmarkMatcher(b *testing.B, name string) {
	benchmarkCommands(b, name, false, func(s *workload.Stream) (func([]exchange.Command), func()) {
		m := s.Matcher(exchange.MatcherConfig{})
		return applying(m), nil
	})
}

func benchmarkEngine(b *testing.B, name string, funds exchange.Funds, ids bool) {
	benchmarkCommands(b, name, ids, func(s *workload.Stream) (func([]exchange.Command), func()) {
		e := s.Engine(exchange.Config{Funds: funds})
		return applying(e), nil
	})
}

func BenchmarkMixed(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchmarkBare(b, "mixed") })
	b.Run("matcher", func(b *testing.B) { benchmarkMatcher(b, "mixed") })
	b.Run("engine", func(b *testing.B) { benchmarkEngine(b, "mixed", exchange.FundsNone, false) })
	b.Run("ledger", func(b *testing.B) { benchmarkEngine(b, "mixed", exchange.FundsLedger, false) })
	b.Run("ledger-dedup", func(b *testing.B) { benchmarkEngine(b, "mixed", exchange.FundsLedger, true) })
}

func BenchmarkScenario(b *testing.B) {
	for _, name := range scenarioNames {
		b.Run(name, func(b *testing.B) { benchmarkMatcher(b, name) })
	}
}

func BenchmarkDeep(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchmarkBare(b, "deep") })
	b.Run("matcher", func(b *testing.B) { benchmarkMatcher(b, "deep") })
}

func BenchmarkWide(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchmarkBare(b, "wide") })
	b.Run("matcher", func(b *testing.B) { benchmarkMatcher(b, "wide") })
}
