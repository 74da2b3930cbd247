package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// loaded runs the program and returns what it printed and its exit status.
func loaded(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), status
}

// number returns the number that the first group of a pattern finds.
func number(t *testing.T, text, pattern string) float64 {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.NotNil(t, found, "%s is not in\n%s", pattern, text)
	n, err := strconv.ParseFloat(found[1], 64)
	require.NoError(t, err)
	return n
}

func TestRun(t *testing.T) {
	v := newFakeVenue(t)
	out, errs, status := loaded(t, "-url", v.URL, "-rate", "400", "-duration", "1s", "-open", "20", "-seed", "7", "-symbols", "BTC-USD")
	require.Equal(t, 0, status, errs)
	assert.Empty(t, errs, "no progress but on a terminal")
	assert.Contains(t, out, "2 accounts, 1 instruments, seed 7\n")
	assert.Contains(t, out, "refused by the engine: none\nerrors: none\n")
	assert.Equal(t, 400.0, number(t, out, `orders (\d+) sent of 400/s`))
	for _, stage := range []string{"sent", "accepted"} {
		assert.Equal(t, 400.0, number(t, out, `(?m)^`+stage+` +(\d+) `))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	assert.Len(t, v.orders, 400)
	assert.InDelta(t, 100, v.trades, 40, "a quarter of the orders take")
	for _, stage := range []string{"matched", "pushed"} {
		assert.EqualValues(t, v.trades, number(t, out, `(?m)^`+stage+` +(\d+) `))
	}
	assert.Empty(t, v.resting, "what rests is canceled at the end")
	assert.Equal(t, 400-v.trades, v.canceled)
	assert.LessOrEqual(t, v.mostOpen, 20+mostConns+1, "what rests is bounded by -open and what is on its way")
	for _, o := range v.orders {
		price, size := decimal.RequireFromString(o.Price), decimal.RequireFromString(o.Size)
		assert.Equal(t, "BTC-USD", o.Symbol)
		assert.True(t, price.Sub(decimal.RequireFromString("10000")).Abs().LessThanOrEqual(decimal.RequireFromString("0.31")), o.Price)
		assert.True(t, price.Mul(size).GreaterThanOrEqual(decimal.NewFromInt(10)), "%s x %s is below the least notional", price, size)
		assert.True(t, size.Mod(decimal.RequireFromString("0.0001")).IsZero(), o.Size)
	}
}

// Latency counts from when an order was due. A venue that does not answer for
// a while makes all that are due meanwhile late, not only the few that were on
// their way.
func TestNoCoordinatedOmission(t *testing.T) {
	v := newFakeVenue(t)
	const stall = 400 * time.Millisecond
	over := make(chan struct{})
	v.before = func(n int) string {
		if n == 100 {
			time.AfterFunc(stall, func() { close(over) })
		}
		if n >= 100 {
			<-over
		}
		return ""
	}
	out, errs, status := loaded(t, "-url", v.URL, "-rate", "500", "-duration", "1s", "-conns", "2", "-symbols", "BTC-USD")
	require.Equal(t, 0, status, errs)
	assert.Equal(t, 500.0, number(t, out, `(?m)^accepted +(\d+) `), "those that are never sent, where everything is slow, count as well")
	// 200 orders are due within the stall, evenly, and are answered after it.
	assert.GreaterOrEqual(t, number(t, out, `(?m)^accepted +\d+ +[\d.]+ +([\d.]+)`), stall.Seconds()*1000/4, "p90 in\n%s", out)
	assert.GreaterOrEqual(t, number(t, out, `(?m)^accepted .* ([\d.]+)$`), stall.Seconds()*1000*0.9, "max in\n%s", out)
	assert.GreaterOrEqual(t, number(t, out, `(?m)^sent .* ([\d.]+)$`), stall.Seconds()*1000*0.5, "lateness of sending in\n%s", out)
}

// What is never sent because the venue is stuck counts as late too.
func TestNeverSent(t *testing.T) {
	v := newFakeVenue(t)
	over := make(chan struct{})
	var once sync.Once
	v.before = func(n int) string { <-over; return "" }
	l := newLoad(t, v, 1)
	l.patience = 100 * time.Millisecond
	l.show = func(r *results, _ time.Duration) {
		if _, _, _, _, failed := r.counts(); failed > 0 {
			once.Do(func() { close(over) })
		}
	}
	res, _, err := l.run(t.Context(), 100, 300*time.Millisecond)
	require.NoError(t, err)
	assert.EqualValues(t, 30, res.latency[stageAccepted].TotalCount(), "every order that was due is measured")
	assert.EqualValues(t, 30, res.sent+res.errors["never_sent"])
	assert.GreaterOrEqual(t, res.errors["never_sent"], int64(25), "one connection, and one job that waits for it")
	assert.GreaterOrEqual(t, res.percentile(stageAccepted, 50), 100*time.Millisecond)
}

// newLoad returns a load on a fake venue, without its sockets.
func newLoad(t *testing.T, v *fakeVenue, conns int) *load {
	c, err := client.New(v.URL, conns, answerWait)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	m := &market{symbol: "BTC-USD", weight: 1, mid: decimal.NewFromInt(10000), tick: decimal.NewFromInt(1), unit: decimal.NewFromInt(1)}
	return &load{client: c, accounts: []account{{"1", "token-1"}}, flow: newFlow(1, []*market{m}, 1, "t"), conns: conns, mostOpen: 1000,
		patience: defaultPatience, join: newJoiner(), open: newOpenOrders(), show: func(*results, time.Duration) {}}
}

func TestErrorsAreCounted(t *testing.T) {
	v := newFakeVenue(t)
	v.before = func(n int) string {
		if n%4 == 1 {
			return "overloaded"
		}
		return ""
	}
	v.reject = func(n int) string {
		if n%4 == 2 {
			return "insufficient_funds"
		}
		return ""
	}
	out, errs, status := loaded(t, "-url", v.URL, "-rate", "200", "-duration", "500ms")
	require.Equal(t, 0, status, errs)
	assert.Contains(t, out, "refused by the engine: insufficient_funds 25\nerrors: 503:overloaded 25\n")
	assert.Contains(t, out, "75 accepted")
}

// An interrupt ends the load; what there is is printed, and what rests is
// canceled.
func TestInterrupted(t *testing.T) {
	v := newFakeVenue(t)
	ctx, interrupt := context.WithCancel(t.Context())
	v.before = func(n int) string {
		if n == 50 {
			interrupt()
		}
		return ""
	}
	var out, errs bytes.Buffer
	assert.Equal(t, 1, run(ctx, []string{"-url", v.URL, "-rate", "200", "-duration", "1h"}, &out, &errs))
	assert.Contains(t, errs.String(), context.Canceled.Error())
	assert.GreaterOrEqual(t, number(t, out.String(), `orders (\d+) sent of 200/s`), 50.0)
	assert.Less(t, number(t, out.String(), `/s in ([\d.]+)s`), time.Hour.Seconds(), "how long it did take")
	v.mu.Lock()
	defer v.mu.Unlock()
	assert.Empty(t, v.resting)
}

// A trade that the public never hears of is an error, and ends the wait for
// it.
func TestTradesThatAreNotPushed(t *testing.T) {
	v := newFakeVenue(t)
	v.mute = true
	l := newLoad(t, v, 8)
	l.patience = 200 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ready, lost := make(chan struct{}), make(chan error, 1)
	go func() { lost <- l.listen(ctx, ready) }()
	<-ready
	res, _, err := l.run(ctx, 100, time.Second)
	require.NoError(t, err)
	assert.Positive(t, res.traded)
	assert.Equal(t, res.traded, res.errors["trade_never_pushed"])
	assert.Zero(t, res.latency[stagePushed].TotalCount())
	cancel()
	assert.ErrorIs(t, <-lost, context.Canceled)
}

// A socket that is lost is opened again; when that fails too often the run
// ends with what happened.
func TestLostFeed(t *testing.T) {
	v := newFakeVenue(t)
	l := newLoad(t, v, 8)
	ready, lost := make(chan struct{}), make(chan error, 1)
	go func() { lost <- l.listen(t.Context(), ready) }()
	<-ready
	sockets := func() int {
		v.mu.Lock()
		defer v.mu.Unlock()
		return len(v.sockets)
	}
	require.Eventually(t, func() bool { return sockets() == 2 }, 30*time.Second, time.Millisecond)
	v.hangUp()
	require.Eventually(t, func() bool {
		_, _, _, _, failed := l.join.res.counts()
		return failed == 2 && sockets() == 2
	}, 30*time.Second, time.Millisecond)
	l.join.res.mu.Lock()
	assert.Equal(t, map[string]int64{"feed_lost": 2}, l.join.res.errors)
	l.join.res.mu.Unlock()
	v.Listener.Close()
	v.hangUp()
	assert.ErrorIs(t, <-lost, client.ErrNoAnswer)
}

func TestNoVenue(t *testing.T) {
	const url = "http://127.0.0.1:1" // a free port might be somebody's a moment later
	out, errs, status := loaded(t, "-url", url)
	assert.Equal(t, 1, status)
	assert.Empty(t, out)
	assert.Contains(t, errs, "loadgen: no venue at "+url+", start one with: go run ./examples/exchange")
}

func TestNoPrice(t *testing.T) {
	v := newFakeVenue(t)
	v.empty = true
	_, errs, status := loaded(t, "-url", v.URL, "-duration", "100ms")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "BTC-USD has no price yet")
	_, errs, status = loaded(t, "-url", v.URL, "-duration", "100ms", "-mid", "BTC-USD=10000,ETH-USD=300")
	assert.Equal(t, 0, status, errs)
}

func TestTokensFile(t *testing.T) {
	v := newFakeVenue(t)
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("token-8\ntoken-9\n"), 0o600))
	out, errs, status := loaded(t, "-url", v.URL, "-duration", "100ms", "-tokens", file)
	assert.Equal(t, 0, status, errs)
	assert.Contains(t, out, "2 accounts")
	_, errs, status = loaded(t, "-url", v.URL, "-tokens", file, "-accounts", "3")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "-accounts 3: expected at most 2, the number of tokens in "+file)
}

func TestBadFlags(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"-rate 0", "-rate 0: expected more than 0"},
		{"-rate NaN", "-rate NaN: expected more than 0"},
		{"-rate 1000001", "expected more than 0 and at most 1000000"},
		{"-duration 1ms", "-duration 1ms: expected 100ms to 24h"},
		{"-accounts -1", "-accounts -1: expected 0 or more"},
		{"-open 0", "-open 0: expected 1 to 1000000"},
		{"-conns 401", "-conns 401: expected 1 to 400"},
		{"-svg x.svg", "-svg: expected a -sweep as well"},
		{"-sweep 1,x", `"x": expected rising rates above 0`},
		{"-sweep 2,1", `"1": expected rising rates above 0`},
		{"-symbols =2", `"=2": expected SYMBOL=NUMBER`},
		{"-symbols A,A", `"A": expected SYMBOL=NUMBER, each symbol once`},
		{"-mid A", `"A": expected SYMBOL=NUMBER`},
		{"-mid A=-1", `"A=-1": expected SYMBOL=NUMBER`},
		{"what", `["what"]: expected flags only`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			_, errs, status := loaded(t, strings.Fields(tc.args)...)
			assert.Equal(t, 2, status)
			assert.Contains(t, errs, tc.want)
		})
	}
	for _, tc := range []struct{ url, want string }{
		{"ftp://127.0.0.1", "expected an address such as"},
		{"http://192.168.0.1:80", "expected a loopback address"},
		{"http://example.com", "expected a loopback address"},
	} {
		_, errs, status := loaded(t, "-url", tc.url)
		assert.Equal(t, 1, status)
		assert.Contains(t, errs, tc.want)
	}
	v := newFakeVenue(t)
	_, errs, status := loaded(t, "-url", v.URL, "-symbols", "X-Y")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "-symbols X-Y: expected one of BTC-USD, ETH-USD")
}

// The same seed draws the same orders.
func TestFlowIsReproducible(t *testing.T) {
	draw := func(seed uint64) (orders []client.NewOrder, accounts []int, takers, buys, heavy int) {
		one := decimal.NewFromInt(1)
		f := newFlow(seed, []*market{{symbol: "A", weight: 3, mid: decimal.NewFromInt(1000), tick: one, unit: one}, {symbol: "B", weight: 1, mid: decimal.NewFromInt(500), tick: one, unit: one}}, 4, "x")
		for range 4000 {
			d := f.next()
			orders, accounts = append(orders, d.body), append(accounts, d.account)
			if d.takes {
				takers++
			}
			if d.body.Side == "buy" {
				buys++
			}
			if d.body.Symbol == "A" {
				heavy++
			}
		}
		return orders, accounts, takers, buys, heavy
	}
	orders, accounts, takers, buys, heavy := draw(5)
	again, sameAccounts, _, _, _ := draw(5)
	other, _, _, _, _ := draw(6)
	assert.Equal(t, orders, again)
	assert.Equal(t, accounts, sameAccounts)
	assert.NotEqual(t, orders, other)
	assert.InDelta(t, 1000, takers, 120)
	assert.InDelta(t, 2000, buys, 150)
	assert.InDelta(t, 3000, heavy, 120)
}

func TestSweepSearch(t *testing.T) {
	// p99 passes the limit at 3300.
	var tried []float64
	measure := func(rate float64) (point, error) {
		tried = append(tried, rate)
		p := point{rate: rate}
		p.accepted = [3]time.Duration{time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond}
		if rate >= 3300 {
			p.accepted[1] = 150 * time.Millisecond
		}
		return p, nil
	}
	points, err := search([]float64{1000, 2000, 4000, 8000}, measure)
	require.NoError(t, err)
	assert.Equal(t, []float64{1000, 2000, 4000, 3000, 3500, 3250}, tried)
	assert.Equal(t, "p99 of accepted passes 100 ms at 3500 orders a second (150 ms); at 3250 it is 20.0 ms", verdict(points))

	var table strings.Builder
	printSweep(&table, points[4:])
	assert.Equal(t, ""+
		"                            accepted, ms                    pushed, ms\n"+
		"orders/s         p50       p99     p99.9       p50       p99     p99.9\n"+
		"3500            1.00       150      30.0      0.00      0.00      0.00\n"+
		"4000            1.00       150      30.0      0.00      0.00      0.00\n", table.String())

	points, err = search([]float64{1000, 2000}, measure)
	require.NoError(t, err)
	assert.Equal(t, "p99 of accepted stays below 100 ms: at 2000 orders a second it is 20.0 ms", verdict(points))

	points, err = search([]float64{4000, 8000}, measure)
	require.NoError(t, err)
	assert.Equal(t, "p99 of accepted passes 100 ms at 4000 orders a second (150 ms)", verdict(points))

	broken := errors.New("broken")
	_, err = search([]float64{1}, func(float64) (point, error) { return point{}, broken })
	assert.ErrorIs(t, err, broken)
}

func TestSweepDraws(t *testing.T) {
	v := newFakeVenue(t)
	file := filepath.Join(t.TempDir(), "latency.svg")
	out, errs, status := loaded(t, "-url", v.URL, "-sweep", "50,100", "-duration", "300ms", "-svg", file)
	require.Equal(t, 0, status, errs)
	assert.Contains(t, out, "\n50 orders a second\n")
	assert.Contains(t, out, "picture: "+file)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	// On a busy machine even these rates may pass the limit.
	checkPicture(t, data, len(regexp.MustCompile(`(?m)^\d+ orders a second$`).FindAllString(out, -1)))
}

// checkPicture reads an SVG and looks that every line has all its points
// inside the plot, and that time rises upwards.
func checkPicture(t *testing.T, data []byte, points int) {
	t.Helper()
	lines := 0
	for dec := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "polyline" {
			continue
		}
		lines++
		for _, attr := range start.Attr {
			if attr.Name.Local != "points" {
				continue
			}
			pairs := strings.Fields(attr.Value)
			assert.Len(t, pairs, points)
			for _, pair := range pairs {
				x, y, _ := strings.Cut(pair, ",")
				px, errX := strconv.ParseFloat(x, 64)
				py, errY := strconv.ParseFloat(y, 64)
				require.NoError(t, errors.Join(errX, errY))
				assert.True(t, px >= svgLeft && px <= svgLeft+svgPlotWide && py >= svgTop && py <= svgTop+svgPlotHigh, pair)
			}
		}
	}
	assert.Equal(t, len(lineNames()), lines)
}

func lineNames() (names []string) {
	for _, l := range lines {
		names = append(names, l.name)
	}
	return names
}

func TestPicture(t *testing.T) {
	ms := time.Millisecond
	data := drawLatency([]point{
		{rate: 100, accepted: [3]time.Duration{ms, 2 * ms, 3 * ms}, pushed: [3]time.Duration{2 * ms, 4 * ms, 8 * ms}},
		{rate: 900, accepted: [3]time.Duration{ms / 100, 200 * ms, 4000 * ms}, pushed: [3]time.Duration{2 * ms, 300 * ms, 5000 * ms}},
	})
	checkPicture(t, data, 2)
	for _, name := range lineNames() {
		assert.Contains(t, string(data), ">"+name+"</text>")
	}
	assert.Contains(t, string(data), ">800</text>", "rates along the axis")
	assert.Contains(t, string(data), ">10000</text>", "milliseconds by powers of ten")
	for most, step := range map[float64]float64{1: 0.2, 900: 100, 1000: 200, 1999: 200, 2500: 500, 5000: 1000} {
		assert.InDelta(t, step, niceStep(most), 1e-9)
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	show := progressTo(&out)
	r := newResults()
	r.count(&r.sent)
	r.observe(stageAccepted, 2500*time.Microsecond)
	r.fail("x")
	show(r, 3*time.Second)
	show(nil, 0)
	assert.Equal(t, "\r\x1b[K   3s  1 sent  0 accepted  0 traded  accepted p99 2.50 ms  1 errors\r\x1b[K", out.String())
}

// Either socket may be the first to tell of a trade, and trades of others are
// forgotten in time.
func TestJoin(t *testing.T) {
	j, res := newJoiner(), newResults()
	j.into(res)
	due := time.Now()
	at := func(ms int) time.Time { return due.Add(time.Duration(ms) * time.Millisecond) }
	j.expect("a", due)
	j.filled("a", trade{"S", "1"}, at(5))
	select {
	case <-j.settled():
		t.Fatal("the public has not heard of it")
	default:
	}
	bell := j.settled()
	j.public(trade{"S", "1"}, at(7))
	<-bell
	j.expect("b", due)
	j.public(trade{"S", "2"}, at(3))
	j.filled("b", trade{"S", "2"}, at(9))
	<-j.settled()
	assert.Equal(t, 9*time.Millisecond, res.percentile(stageMatched, 100).Round(time.Millisecond))
	assert.Equal(t, 7*time.Millisecond, res.percentile(stagePushed, 100).Round(time.Millisecond))
	assert.Equal(t, 3*time.Millisecond, res.percentile(stagePushed, 1).Round(time.Millisecond))

	j.filled("nobody's", trade{"S", "3"}, at(1))
	j.expect("c", due)
	j.filled("c", trade{"S", "4"}, at(1))
	for i := range mostTrades {
		j.public(trade{"T", strconv.Itoa(i)}, at(1))
	}
	assert.LessOrEqual(t, len(j.trades), mostTrades)
	<-j.settled()
	fills, trades := j.end()
	assert.Zero(t, fills)
	assert.Zero(t, trades, "forgotten, and no longer waited for")

	j.into(res)
	j.expect("d", due)
	j.expect("e", due)
	j.filled("e", trade{"S", "5"}, at(1))
	fills, trades = j.end()
	assert.Equal(t, []int{1, 1}, []int{fills, trades})
	traded := res.traded
	j.filled("d", trade{"S", "6"}, at(1))
	assert.Equal(t, traded, res.traded, "what comes after the end does not count")
}

// The table says of each stage how many were measured, and how long the
// slowest half, tenth, hundredth and so on took at least.
func TestPercentilesAreExact(t *testing.T) {
	res := newResults()
	for ms := range 20_000 {
		res.observe(stageAccepted, time.Duration(ms+1)*time.Millisecond)
	}
	var out strings.Builder
	res.print(&out, 500, time.Second)
	lines := strings.Split(out.String(), "\n")
	assert.Equal(t, []string{"ms", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"}, strings.Fields(lines[0]))
	row := strings.Fields(lines[1+stageAccepted])
	require.Equal(t, []string{"accepted", "20000"}, row[:2])
	for i, want := range []float64{10_000, 18_000, 19_800, 19_980, 19_998, 20_000} {
		got, err := strconv.ParseFloat(row[2+i], 64)
		require.NoError(t, err)
		assert.InEpsilon(t, want, got, 0.0005, lines[0]) // three digits
	}
}
