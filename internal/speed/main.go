// Command speed prints the speed table of the README as Markdown:
//
//	go run ./internal/speed
//
// Every row compares an engine with the bare loop of internal/workload on the
// same commands, in one run and by turns: bare, engine, bare, engine ... A pass
// is timed in chunks. Nanoseconds are the median of all chunks of all passes;
// the ratio is the median of the ratios of a chunk and the same chunk of the
// bare pass before, so that neither a machine that gets slower on the way nor
// another process that takes its turn changes much. Single commands are timed
// in passes of their own. It judges nothing: the goals stand beside the
// numbers.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/workload"
)

func main() {
	pairs := flag.Int("pairs", 9, "pairs of passes per row, at least 7")
	commands := flag.Int("commands", 1_000_000, "commands per pass")
	seed := flag.Uint64("seed", 1, "seed of the workloads")
	only := flag.String("only", "", "only the rows whose names contain this")
	flag.Parse()
	m := meter{pairs: max(*pairs, 7)}
	o := workload.Options{Seed: *seed, Commands: *commands}

	fmt.Printf("%s, %s/%s, GOMAXPROCS %d, %s. Reading the clock takes %d ns, which the percentiles include.\n\n",
		processor(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), runtime.Version(), clockOverhead())
	fmt.Println("| what | ns per command | bare loop | ratio | goal | p50 | p99 | p99.9 | allocations per command | trades |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows(o) {
		if strings.Contains(r.name, *only) {
			fmt.Println(m.measure(r))
		}
	}
	if *only == "" {
		fmt.Println()
		printMemory(o)
	}
	if m.differ {
		fmt.Println("\nThe trades of engines that were given the same commands differ: that is a bug.")
		os.Exit(1)
	}
}

// row is one line of the table: an engine on a workload.
type row struct {
	name   string
	goal   string
	stream func() *workload.Stream
	engine func(s *workload.Stream) workload.Applier
}

func rows(o workload.Options) []row {
	matcher := func(s *workload.Stream) workload.Applier { return s.Matcher(exchange.MatcherConfig{}) }
	engine := func(funds exchange.Funds) func(*workload.Stream) workload.Applier {
		return func(s *workload.Stream) workload.Applier { return s.Engine(exchange.Config{Funds: funds}) }
	}
	// The workload made last is kept for the rows that share it.
	var last *workload.Stream
	var lastKey string
	keep := func(key string, generate func() *workload.Stream) func() *workload.Stream {
		return func() *workload.Stream {
			if key != lastKey {
				last = nil // two at once are hundreds of megabytes
				last, lastKey = generate(), key
			}
			return last
		}
	}
	withIDs := o
	withIDs.IDs = true
	mixed := keep("mixed", func() *workload.Stream { return workload.Mixed(o) })
	deep := keep("deep", func() *workload.Stream { return workload.Deep(o) })
	wide := keep("wide", func() *workload.Stream { return workload.Wide(o) })
	all := []row{
		{"mixed, matching alone", "1.75", mixed, matcher},
		{"mixed, engine without funds", "", mixed, engine(exchange.FundsNone)},
		{"mixed, risk and ledger", "3", mixed, engine(exchange.FundsLedger)},
		{"mixed, risk, ledger and a full window of 65,536 ids", "4",
			keep("ids", func() *workload.Stream { return workload.Mixed(withIDs) }), engine(exchange.FundsLedger)},
		{"deep: 1,000,000 orders, matching alone", "1.75", deep, matcher},
		{"wide: 8,000,000 ticks, matching alone", "1.75", wide, matcher},
	}
	for i := range workload.Scenarios {
		name := workload.ScenarioName(i)
		all = append(all, row{name + ", matching alone", "",
			keep(name, func() *workload.Stream { return workload.Scenario(i, o) }), matcher})
	}
	return all
}

// meter measures rows.
type meter struct {
	pairs  int
	sums   map[*workload.Stream]workload.Outcome // of the matcher, by workload
	differ bool
}

func (m *meter) measure(r row) string {
	s := r.stream()
	var bare, own, ratios []float64
	var allocs float64
	for range m.pairs {
		a := barePass(s)
		b, mallocs := enginePass(s, r.engine(s))
		bare, own, allocs = append(bare, a...), append(own, b...), mallocs
	}
	for i := range own {
		ratios = append(ratios, own[i]/bare[i])
	}
	p := percentiles(s, r.engine)
	outcome := m.check(s, r.engine(s))
	return fmt.Sprintf("| %s | %.1f | %.1f | %.2f | %s | %s | %s | %s | %.4f | %d |",
		r.name, median(own), median(bare), median(ratios), r.goal, p[0], p[1], p[2], allocs, outcome.Trades)
}

// check replays the workload once more to look at its trades, which must be
// those of the generator and of a matcher alone.
func (m *meter) check(s *workload.Stream, a workload.Applier) workload.Outcome {
	if _, ok := m.sums[s]; !ok {
		m.sums = map[*workload.Stream]workload.Outcome{s: workload.Look(s.Matcher(exchange.MatcherConfig{}), s.Commands)}
	}
	got := workload.Look(a, s.Commands)
	if got != m.sums[s] || got.Trades != s.Trades || got.Rejected != 0 {
		m.differ = true
	}
	return got
}

// barePass returns the bare loop's nanoseconds per command, chunk by chunk.
func barePass(s *workload.Stream) (ns []float64) {
	bare := workload.NewBare(s)
	runtime.GC()
	for chunk := range slices.Chunk(s.Commands, workload.Chunk) {
		begin := time.Now()
		bare.Run(chunk)
		ns = append(ns, float64(time.Since(begin).Nanoseconds())/float64(len(chunk)))
		bare.Sweep()
	}
	return ns
}

// enginePass returns the engine's nanoseconds per command, chunk by chunk, and
// its allocations per command.
func enginePass(s *workload.Stream, a workload.Applier) (ns []float64, allocs float64) {
	ns = make([]float64, 0, len(s.Commands)/workload.Chunk+1)
	events := make([]exchange.Event, 0, 64)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for chunk := range slices.Chunk(s.Commands, workload.Chunk) {
		begin := time.Now()
		events = workload.Apply(events, a, chunk)
		ns = append(ns, float64(time.Since(begin).Nanoseconds())/float64(len(chunk)))
	}
	runtime.ReadMemStats(&after)
	return ns, float64(after.Mallocs-before.Mallocs) / float64(len(s.Commands))
}

// percentiles times every command by itself and returns the 50th, 99th and
// 99.9th: each the median of three passes.
func percentiles(s *workload.Stream, engine func(*workload.Stream) workload.Applier) (p [3]time.Duration) {
	const passes = 3
	var of [3][]time.Duration
	took := make([]time.Duration, len(s.Commands))
	events := make([]exchange.Event, 0, 64)
	for range passes {
		a := engine(s)
		runtime.GC()
		start := time.Now()
		last := time.Since(start)
		for i := range s.Commands {
			events = a.Apply(events[:0], &s.Commands[i])
			now := time.Since(start)
			took[i], last = now-last, now
		}
		slices.Sort(took)
		for i, perMille := range [...]int{500, 990, 999} {
			of[i] = append(of[i], took[len(took)*perMille/1000])
		}
	}
	for i := range of {
		p[i] = median(of[i])
	}
	return p
}

// clockOverhead returns the nanoseconds that timing nothing takes.
func clockOverhead() int64 {
	took := make([]time.Duration, 1_000_000)
	start := time.Now()
	last := time.Since(start)
	for i := range took {
		now := time.Since(start)
		took[i], last = now-last, now
	}
	return median(took).Nanoseconds()
}

func median[T float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// printMemory measures a million resting orders: what one costs, and how long
// a snapshot of them takes.
func printMemory(o workload.Options) {
	o.IDs, o.Commands = true, 1
	s := workload.Deep(o)
	cfg := exchange.Config{Funds: exchange.FundsLedger, DedupCount: 1}
	before := heap()
	e := s.Engine(cfg)
	after := heap()
	orders := e.Book(s.Instrument.ID()).Len()

	begin := time.Now()
	snapshot := e.AppendSnapshot(nil)
	wrote := time.Since(begin)

	cfg.Instruments = []*exchange.Instrument{s.Instrument}
	restored, err := exchange.NewEngine(cfg)
	if err != nil {
		panic(err) // s.Engine made one of the same configuration
	}
	runtime.GC()
	begin = time.Now()
	err = restored.Restore(snapshot)
	read := time.Since(begin)
	if err != nil || restored.Hash() != e.Hash() {
		fmt.Printf("The snapshot does not restore: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("| a million resting orders, with ids and holds of 1,000 accounts | | goal |")
	fmt.Println("|---|---|---|")
	fmt.Printf("| memory per order | %.1f bytes | 128 bytes |\n", float64(after-before)/float64(orders))
	fmt.Printf("| writing a snapshot of %.0f MB | %d ms | 1 s |\n", float64(len(snapshot))/1e6, wrote.Milliseconds())
	fmt.Printf("| restoring it | %d ms | 1 s |\n", read.Milliseconds())
	runtime.KeepAlive(e)
	runtime.KeepAlive(s)
}

// heap returns the bytes of live objects.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one found to be unused is gone after the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// processor names the machine's processor, where the system tells.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "unnamed processor"
}
