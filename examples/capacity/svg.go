package main

import (
	"fmt"
	"html"
	"strings"
)

// bar is an interval's latency in milliseconds.
type bar struct {
	name, way string
	p50, p99  float64
}

// draw returns a picture of the intervals: p50 dark, up to p99 light, and the
// line at 100 ms.
func draw(bars []bar) string {
	const left, width, step = 360, 520, 34
	most := 100.0
	for _, b := range bars {
		most = max(most, b.p99)
	}
	x := func(ms float64) float64 { return left + ms/most*width }
	height := 40 + step*len(bars)
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"><rect width="100%%" height="100%%" fill="#fff"/>`, left+width+90, height)
	for i, b := range bars {
		y := 10 + step*i
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text><text x="%d" y="%d" text-anchor="end" fill="#777">%s</text>`,
			left-8, y+11, html.EscapeString(b.name), left-8, y+24, html.EscapeString(b.way))
		fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%.1f" height="16" fill="#9ec5e8"/><rect x="%d" y="%d" width="%.1f" height="16" fill="#1f5f99"/><text x="%.1f" y="%d">%.0f, %.0f ms</text>`,
			left, y+2, x(b.p99)-left, left, y+2, x(b.p50)-left, x(b.p99)+6, y+14, b.p50, b.p99)
	}
	fmt.Fprintf(&s, `<line x1="%[1]f" x2="%[1]f" y1="4" y2="%[2]d" stroke="#b00" stroke-dasharray="4 3"/><text x="%[1]f" y="%[3]d" text-anchor="middle" fill="#b00">100 ms</text></svg>`+"\n", x(100), height-22, height-8)
	return s.String()
}
