package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// sweepLimit is what p99 of accepted may be; a sweep looks for the rate where
// it is passed, to within a tenth.
const (
	sweepLimit = 100 * time.Millisecond
	sweepClose = 1.1
)

// point is one rate of a sweep.
type point struct {
	rate     float64
	accepted [3]time.Duration // p50, p99, p99.9
	pushed   [3]time.Duration
}

var pointPercentiles = [3]float64{50, 99, 99.9}

func (p *point) passes() bool { return p.accepted[1] > sweepLimit }

// sweep tries the rates, one after the other, until p99 of accepted passes the
// limit; then it halves the gap between that rate and the one before until
// they are close.
func (l *load) sweep(ctx context.Context, opt options, stdout io.Writer) error {
	points, err := search(opt.sweep, func(rate float64) (point, error) {
		fmt.Fprintf(stdout, "\n%.0f orders a second\n", rate)
		res, took, err := l.run(ctx, rate, opt.duration)
		l.show(nil, 0)
		res.print(stdout, rate, took)
		p := point{rate: rate}
		for i, q := range pointPercentiles {
			p.accepted[i], p.pushed[i] = res.percentile(stageAccepted, q), res.percentile(stagePushed, q)
		}
		return p, err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout)
	printSweep(stdout, points)
	fmt.Fprintln(stdout, verdict(points))
	if opt.svg == "" {
		return nil
	}
	if err := os.WriteFile(opt.svg, drawLatency(points), 0o644); err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	fmt.Fprintf(stdout, "picture: %s\n", opt.svg)
	return nil
}

// printSweep writes one line for each rate.
func printSweep(w io.Writer, points []point) {
	fmt.Fprintf(w, "%-10s%30s%30s\n%-10s", "", "accepted, ms", "pushed, ms", "orders/s")
	for range 2 {
		fmt.Fprintf(w, "%10s%10s%10s", "p50", "p99", "p99.9")
	}
	fmt.Fprintln(w)
	for i := range points {
		p := &points[i]
		fmt.Fprintf(w, "%-10.0f", p.rate)
		for _, d := range append(p.accepted[:], p.pushed[:]...) {
			fmt.Fprintf(w, "%10s", millis(d.Microseconds()))
		}
		fmt.Fprintln(w)
	}
}

// search measures at the rates and returns the points by rate.
func search(rates []float64, measure func(rate float64) (point, error)) ([]point, error) {
	var points []point
	try := func(rate float64) (passes bool, err error) {
		p, err := measure(rate)
		if err == nil {
			points = append(points, p)
		}
		return p.passes(), err
	}
	low, high := 0.0, 0.0
	for _, rate := range rates {
		passes, err := try(rate)
		if err != nil {
			return nil, err
		}
		if passes {
			high = rate
			break
		}
		low = rate
	}
	for low > 0 && high > low*sweepClose {
		middle := (low + high) / 2
		passes, err := try(middle)
		if err != nil {
			return nil, err
		}
		if passes {
			high = middle
		} else {
			low = middle
		}
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.rate, b.rate) })
	return points, nil
}

// verdict says where the limit is passed. Points are by rate.
func verdict(points []point) string {
	for i := range points {
		if !points[i].passes() {
			continue
		}
		text := fmt.Sprintf("p99 of accepted passes %d ms at %.0f orders a second (%s ms)", sweepLimit.Milliseconds(), points[i].rate, millis(points[i].accepted[1].Microseconds()))
		if i > 0 {
			text += fmt.Sprintf("; at %.0f it is %s ms", points[i-1].rate, millis(points[i-1].accepted[1].Microseconds()))
		}
		return text
	}
	last := points[len(points)-1]
	return fmt.Sprintf("p99 of accepted stays below %d ms: at %.0f orders a second it is %s ms", sweepLimit.Milliseconds(), last.rate, millis(last.accepted[1].Microseconds()))
}
