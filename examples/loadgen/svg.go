package main

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// The picture's measures, in pixels.
const (
	svgWidth, svgHeight      = 820, 460
	svgLeft, svgRight        = 70, 190
	svgTop, svgBottom        = 50, 50
	svgPlotWide, svgPlotHigh = svgWidth - svgLeft - svgRight, svgHeight - svgTop - svgBottom
)

// line is one curve.
type line struct {
	name, color, dash string
	of                func(p *point) time.Duration
}

var lines = []line{
	{"accepted p50", "#1b6ac9", "", func(p *point) time.Duration { return p.accepted[0] }},
	{"accepted p99", "#b3261e", "", func(p *point) time.Duration { return p.accepted[1] }},
	{"accepted p99.9", "#7a4fb5", "", func(p *point) time.Duration { return p.accepted[2] }},
	{"pushed p50", "#1b6ac9", "5 4", func(p *point) time.Duration { return p.pushed[0] }},
	{"pushed p99", "#b3261e", "5 4", func(p *point) time.Duration { return p.pushed[1] }},
	{"pushed p99.9", "#7a4fb5", "5 4", func(p *point) time.Duration { return p.pushed[2] }},
}

// drawLatency returns an SVG of latency, by powers of ten, against rate. There
// is at least one point; they are by rate.
func drawLatency(points []point) []byte {
	low, high := math.Inf(1), ms(sweepLimit)*1.5
	for i := range points {
		for _, l := range lines {
			if v := ms(l.of(&points[i])); v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	bottom := math.Floor(math.Log10(min(low, 1)))
	top := math.Ceil(math.Log10(high))
	most := points[len(points)-1].rate
	x := func(rate float64) float64 { return svgLeft + rate/most*svgPlotWide }
	y := func(ms float64) float64 {
		return svgTop + (top-math.Log10(max(ms, math.Pow(10, bottom))))/(top-bottom)*svgPlotHigh
	}

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n", svgWidth, svgHeight, svgWidth, svgHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", svgWidth, svgHeight)
	text := func(x, y float64, anchor, color, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, color, s)
	}
	rule := func(x1, y1, x2, y2 float64, color, dash string) {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-dasharray="%s"/>`+"\n", x1, y1, x2, y2, color, dash)
	}
	text(svgLeft, 28, "start", "#1a1a1a", "Latency from the moment an order was due, ms, against orders a second")
	for p := bottom; p <= top; p++ {
		v := math.Pow(10, p)
		rule(svgLeft, y(v), svgLeft+svgPlotWide, y(v), "#d5d5d5", "none")
		text(svgLeft-8, y(v)+4, "end", "#444444", fmt.Sprintf("%g", v))
	}
	step := niceStep(most)
	for rate := 0.0; rate <= most; rate += step {
		rule(x(rate), svgTop+svgPlotHigh, x(rate), svgTop+svgPlotHigh+5, "#444444", "none")
		text(x(rate), svgTop+svgPlotHigh+22, "middle", "#444444", fmt.Sprintf("%.0f", rate))
	}
	rule(svgLeft, y(ms(sweepLimit)), svgLeft+svgPlotWide, y(ms(sweepLimit)), "#b3261e", "2 3")
	for i, l := range lines {
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s" points="`, l.color, orNone(l.dash))
		for k := range points {
			if v := ms(l.of(&points[k])); v > 0 {
				fmt.Fprintf(&b, "%.1f,%.1f ", x(points[k].rate), y(v))
			}
		}
		b.WriteString(`"/>` + "\n")
		at := float64(svgTop + 20*i)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n",
			svgWidth-svgRight+20, at, svgWidth-svgRight+50, at, l.color, orNone(l.dash))
		text(svgWidth-svgRight+58, at+4, "start", "#1a1a1a", l.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func orNone(dash string) string {
	if dash == "" {
		return "none"
	}
	return dash
}

// niceStep returns 1, 2 or 5 times a power of ten, so that five to ten of them
// make up most.
func niceStep(most float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(most)))
	switch {
	case most/step < 2:
		return step / 5
	case most/step < 5:
		return step / 2
	}
	return step
}
