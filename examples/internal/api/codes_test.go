package api

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the table of codes in the README")

// Every reason that has a name has a code, no two the same.
func TestEveryReasonHasACode(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range apiCodes {
		assert.Regexp(t, `^[a-z][a-z_]*[a-z]$`, c.code)
		assert.False(t, seen[c.code], "%s twice", c.code)
		seen[c.code] = true
		assert.Equal(t, c.status, problem(c.code, "x").status)
	}
	for r := exchange.Reason(1); r < exchange.ReasonUser; r++ {
		code := pipeline.ReasonCode(r)
		if strings.HasPrefix(r.String(), "reason ") { // it has no name
			assert.Equal(t, "refused", code, "%d", r)
			continue
		}
		assert.Regexp(t, `^[a-z][a-z_]*[a-z]$`, code)
		assert.False(t, seen[code], "%s twice", code)
		seen[code] = true
	}
	assert.False(t, seen["refused"])
	assert.Equal(t, "", pipeline.ReasonCode(0))
	assert.Equal(t, "refused", pipeline.ReasonCode(exchange.ReasonUser))
	assert.Equal(t, "off_tick", pipeline.ReasonCode(exchange.OffTick))
}

// table is the part of the README that says what each code means.
func table() string {
	var b strings.Builder
	b.WriteString("| code | status | |\n|---|---|---|\n")
	for _, c := range apiCodes {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", c.code, c.status, c.means)
	}
	b.WriteString("\nWhat the engine and the checks before it say: with status 400 when the request shows it by itself, else as `code` and `reason` in the\n" +
		"answer to the command, of the order, and in the feed. Codes are for programs, reasons for people.\n\n| code | reason |\n|---|---|\n")
	for r := exchange.Reason(1); r < exchange.ReasonUser; r++ {
		if code := pipeline.ReasonCode(r); code != "refused" {
			fmt.Fprintf(&b, "| `%s` | %s |\n", code, r)
		}
	}
	return b.String()
}

func TestCodesInREADME(t *testing.T) {
	const file, from, to = "../../exchange/README.md", "### Codes\n", "\n## WebSocket\n"
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(data), from)
	require.True(t, ok)
	got, after, ok := strings.Cut(rest, to)
	require.True(t, ok)
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(before+from+table()+to+after), 0o644))
		return
	}
	assert.Equal(t, table(), got, "go test ./examples/internal/api -rewrite")
}

// What nobody foresaw is logged, and the client learns nothing of it.
func TestUnforeseenError(t *testing.T) {
	var log strings.Builder
	a := &api{cfg: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	w := httptest.NewRecorder()
	writeError(w, a.asError(httptest.NewRequest("GET", "/orders", nil), errors.New("disk 7 is on fire")))
	assert.Equal(t, 500, w.Code)
	assert.Contains(t, w.Body.String(), `"code":"internal"`)
	assert.NotContains(t, w.Body.String(), "fire")
	assert.Contains(t, log.String(), "disk 7 is on fire")
}

// pending are consumers that have not got anywhere.
type pending struct{ progress.Positions }

func (pending) Stages(context.Context, exchange.InstrumentID) (committed, recorded, settled progress.Point, err error) {
	return progress.Point{Position: 7, Seq: 9}, progress.Point{}, progress.Point{}, nil
}

// A venue that stands still says so to whoever watches it.
func TestHealth(t *testing.T) {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: 1, Symbol: "BTC-USD", Base: exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6}, Tick: decimal.New(1, -2), Lot: decimal.New(1, -4)})
	require.NoError(t, err)
	var failing error
	h := New(Config{Instruments: []*exchange.Instrument{in}, Board: pending{}, Pushed: func(exchange.InstrumentID) pipeline.Position { return 3 },
		Healthy: func() error { return failing }, Now: time.Now, Metrics: memory.NewMetrics(), Logger: slog.New(slog.DiscardHandler)})
	for _, tc := range []struct {
		failing error
		code    int
		status  string
	}{{nil, 200, "ok"}, {errors.New("the disk is full"), 503, "failing"}} {
		failing = tc.failing
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
		assert.Equal(t, tc.code, w.Code)
		assert.JSONEq(t, `{"status":"`+tc.status+`","instruments":[{"symbol":"BTC-USD","committed":7,"recorded":0,"settled":0,"pushed":3,"seq":9}]}`, w.Body.String())
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(10, func() time.Time { return now })
	take := func(acct exchange.AccountID) (n int) {
		for l.allow(acct) {
			n++
		}
		return n
	}
	assert.Equal(t, 20, take(1), "twice the rate at once")
	assert.Equal(t, 20, take(2), "each for itself")
	assert.Equal(t, 200, take(0), "all who have no account")
	now = now.Add(time.Second)
	assert.Equal(t, 10, take(1))
	now = now.Add(90 * time.Millisecond)
	assert.Zero(t, take(1))
	now = now.Add(11 * time.Millisecond)
	assert.Equal(t, 1, take(1))

	for acct := exchange.AccountID(3); len(l.buckets) < MaxBuckets; acct++ {
		require.True(t, l.allow(acct))
	}
	assert.Equal(t, 20, take(1e6), "one too many: the shared bucket")
	assert.Zero(t, take(1e6+1))
	assert.Len(t, l.buckets, MaxBuckets)
	now = now.Add(time.Hour)
	assert.Equal(t, 20, take(1e6), "those that fell idle have made room")
	assert.Len(t, l.buckets, 2)
}
