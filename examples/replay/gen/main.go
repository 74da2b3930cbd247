// Command gen writes the sample that replay has built in: a made-up day of
// one instrument, the same on every run and machine.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
)

const rows = 2000

func main() {
	out := flag.String("o", "sample.csv", "write to this `file`")
	flag.Parse()
	var buf bytes.Buffer
	writeSample(&buf)
	if err := os.WriteFile(*out, buf.Bytes(), 0o644); err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}

// random is splitmix64: the sample must not change with Go's own generators.
type random uint64

// below returns a number from 0 to n-1.
func (r *random) below(n int) int {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

func (r *random) chance(percent int) bool { return r.below(100) < percent }

// market is what the generator knows. It keeps no book: an order it takes for
// alive may have traded, so some changes come too late, as in real life.
type market struct {
	random
	w     io.Writer
	mid   int   // in ticks of 0.01
	time  int64 // nanoseconds
	next  int   // id of the next order
	alive []int
}

func writeSample(w io.Writer) {
	fmt.Fprintln(w, "op,id,side,type,tif,price,qty,account,stop,display,min_qty,post_only,stp,expire,time")
	m := &market{random: 1, w: w, mid: 64_000_00, next: 1}
	for range rows {
		m.time += int64(1_000_000 + m.below(200_000_000))
		m.mid += m.below(41) - 20
		switch n := m.below(100); {
		case n < 60 || len(m.alive) < 20:
			m.add()
		case n < 90:
			m.cancel()
		case n < 95:
			m.row(fields{"op": "reduce", "id": m.anOrder(), "qty": m.qty(5)})
		default:
			m.row(fields{"op": "amend", "id": m.anOrder(), "price": money(m.mid + m.below(2001) - 1000)})
		}
	}
}

// fields are the cells of a row that are not empty.
type fields map[string]any

func (m *market) row(f fields) {
	f["time"] = m.time
	for i, name := range []string{"op", "id", "side", "type", "tif", "price", "qty", "account", "stop", "display", "min_qty", "post_only", "stp", "expire", "time"} {
		if i > 0 {
			fmt.Fprint(m.w, ",")
		}
		if value, ok := f[name]; ok {
			fmt.Fprint(m.w, value)
		}
	}
	fmt.Fprintln(m.w)
}

// recent picks one of the newest orders that may be alive: those are changed
// most, and the old ones far from the middle stay.
func (m *market) recent() int { return len(m.alive) - 1 - m.below(min(len(m.alive), 40)) }

func (m *market) anOrder() int { return m.alive[m.recent()] }

func (m *market) cancel() {
	i := m.recent()
	m.row(fields{"op": "cancel", "id": m.alive[i]})
	m.alive = slices.Delete(m.alive, i, i+1)
}

// add writes a new order: mostly limit orders about the middle, and now and
// then one of every other kind.
func (m *market) add() {
	// sign points away from the middle: down for a buy, up for a sell.
	side, sign := "buy", -1
	if m.chance(50) {
		side, sign = "sell", 1
	}
	away := money(m.mid + sign*m.distance())
	across := money(m.mid - sign*m.below(800))
	f := fields{"op": "add", "id": m.next, "side": side, "type": "limit", "tif": "GTC", "price": away, "qty": m.qty(100), "account": fmt.Sprintf("acct-%d", 1+m.below(20))}
	m.next++
	switch n := m.below(100); {
	case n < 66: // an ordinary order
	case n < 72:
		f["price"], f["tif"] = across, "IOC"
	case n < 74:
		f["price"], f["tif"] = across, "FOK"
	case n < 76:
		f["price"], f["tif"], f["min_qty"] = across, "IOC", "0.05"
	case n < 79:
		f["type"], f["tif"], f["price"] = "market", "IOC", ""
	case n < 81:
		f["type"], f["price"] = "market-to-limit", ""
	case n < 84:
		f["qty"], f["display"] = m.qty(400), "0.1"
	case n < 88:
		f["price"], f["post_only"] = across, "slide"
	case n < 90:
		f["price"], f["post_only"] = across, "true"
	case n < 92:
		f["tif"] = "Day"
	case n < 94:
		f["tif"], f["expire"] = "GTD", m.time+int64(20_000_000_000)
	case n < 96: // a stop triggers on the far side: up for a buy
		f["type"], f["price"], f["stop"] = "stop", "", money(m.mid-sign*(500+m.below(1500)))
	case n < 98:
		stop := m.mid - sign*(500+m.below(1500))
		f["type"], f["price"], f["stop"] = "stop-limit", money(stop-sign*300), money(stop)
	case n < 99:
		f["type"], f["price"], f["stop"] = "take-profit", "", away
	default:
		f["type"], f["stop"] = "take-profit-limit", away
	}
	if m.chance(30) {
		f["stp"] = []string{"cancel-newest", "cancel-oldest", "cancel-both", "decrement"}[m.below(4)]
	}
	m.row(f)
	if f["price"] == away {
		m.alive = append(m.alive, f["id"].(int)) // the others rarely live long
	}
}

// distance from the middle in ticks: most orders are near it.
func (m *market) distance() int {
	near := 20 + m.below(300)
	if m.chance(40) {
		near += m.below(5000)
	}
	return near
}

func money(ticks int) string { return fmt.Sprintf("%d.%02d", ticks/100, ticks%100) }

// qty is 0.01 to most hundredths, with some decimals more.
func (m *market) qty(most int) string {
	hundredths := 1 + m.below(most)
	return fmt.Sprintf("%d.%02d%04d", hundredths/100, hundredths%100, m.below(10_000))
}
