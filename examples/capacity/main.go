// Command capacity says what the documented architecture can do: latencies from
// published figures by Monte Carlo, limits by component, shards and costs, for
// a few rates. README.md says what it leaves out.
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Bounds of the command line.
const (
	mostSamples = 10_000_000
	mostRate    = 10_000_000
)

type options struct {
	rates   []float64
	samples int
	seed    uint64
	data    string
	svg     string
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process around it. It returns the exit status: 1 for
// files that cannot be used, 2 for a wrong command line.
func run(args []string, stdout, stderr io.Writer) int {
	opt := options{rates: []float64{500, 5000, 50000}}
	flags := flag.NewFlagSet("capacity", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("rates", "orders a `second`, separated by commas (default 500,5000,50000)", func(text string) error {
		opt.rates = nil
		for part := range strings.SplitSeq(text, ",") {
			rate, err := strconv.ParseFloat(part, 64)
			if err != nil || !(rate >= 1 && rate <= mostRate) {
				return fmt.Errorf("%q: expected rates from 1 to %d", part, mostRate)
			}
			opt.rates = append(opt.rates, rate)
		}
		return nil
	})
	flags.IntVar(&opt.samples, "samples", 200_000, "draws of each interval")
	flags.Uint64Var(&opt.seed, "seed", 1, "decides every draw")
	flags.StringVar(&opt.data, "data", "", "data `file` instead of the one that is part of the program")
	flags.StringVar(&opt.svg, "svg", "", "draw the intervals into this `file`")
	if err := flags.Parse(args); err != nil {
		if err == flag.ErrHelp {
			return 0
		}
		return 2
	}
	if opt.samples < 1000 || opt.samples > mostSamples || flags.NArg() > 0 {
		fmt.Fprintf(stderr, "capacity: samples %d and arguments %q: expected 1000 to %d samples and no arguments\n", opt.samples, flags.Args(), mostSamples)
		return 2
	}
	if err := report(opt, stdout); err != nil {
		fmt.Fprintf(stderr, "capacity: %v\n", err)
		return 1
	}
	return 0
}

func report(opt options, w io.Writer) error {
	data := published
	if opt.data != "" {
		var err error
		if data, err = os.ReadFile(opt.data); err != nil {
			return err
		}
	}
	m, err := read(data)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(opt.seed, 0))
	var bars []bar
	fmt.Fprintf(w, "Latency in ms, %d draws, seed %d\n", opt.samples, opt.seed)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "interval\tway\tp50\tp99\tsum of p50s\tsum of p99s\tbelow 100 ms")
	for _, in := range m.Intervals {
		sums := m.sample(in.Hops, opt.samples, rng)
		b := bar{in.Name, in.Way, quantile(sums, 0.5), quantile(sums, 0.99)}
		bars = append(bars, b)
		below := 0
		for below < len(sums) && sums[below] < 100 {
			below++
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f %%\n", b.name, b.way, b.p50, b.p99, m.sumOf(in.Hops, 0.5), m.sumOf(in.Hops, 0.99), 100*float64(below)/float64(len(sums)))
	}
	_ = t.Flush() // to w, whose errors show at the end

	lambda, container := m.hotPair(m.HotPair.Cycle, opt.samples, rng), m.hotPair(m.HotPair.ContainerCycle, opt.samples, rng)
	fmt.Fprintf(w, "\nOne hot pair: %.0f orders a second with functions, %.0f with containers (batches of %d, one in flight)\n", lambda, container, m.HotPair.Batch)

	fmt.Fprint(w, "\nHow many of each, by orders a second\n")
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "limit\torders a second of one\tgrows by")
	for _, rate := range opt.rates {
		fmt.Fprintf(t, "\t%.0f", rate)
	}
	fmt.Fprintln(t)
	for _, l := range m.Limits {
		fmt.Fprintf(t, "%s\t%.0f\t%s", l.Name, l.PerSecond*l.Orders, l.Grows)
		for _, rate := range opt.rates {
			fmt.Fprintf(t, "\t%.0f", l.need(rate))
		}
		fmt.Fprintln(t)
	}
	for _, row := range []struct {
		name string
		each float64
	}{{"pairs of equal load, functions", lambda}, {"pairs of equal load, containers", container}} {
		l := limit{PerSecond: row.each, Orders: 1}
		fmt.Fprintf(t, "%s\t%.0f\tshards", row.name, row.each)
		for _, rate := range opt.rates {
			fmt.Fprintf(t, "\t%.0f", l.need(rate))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()

	fmt.Fprintf(w, "\nDollars a month at that rate day and night, %s\n", m.Region)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "orders a second\tcompute\tmessages\tcompute\tstorage\ttotal")
	for _, rate := range opt.rates {
		for _, c := range []struct {
			name string
			cost cost
		}{{"functions", m.cost(&m.Order.Lambda, rate)}, {"containers", m.cost(&m.Order.Containers, rate)}} {
			fmt.Fprintf(t, "%.0f\t%s\t%.0f\t%.0f\t%.0f\t%.0f\n", rate, c.name, c.cost.Messages, c.cost.Compute, c.cost.Storage, c.cost.total())
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if opt.svg == "" {
		return nil
	}
	return os.WriteFile(opt.svg, []byte(draw(bars)), 0o644)
}
