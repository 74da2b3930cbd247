package prom

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newMetrics(t *testing.T) *Metrics {
	t.Helper()
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: 3, Symbol: "BTC-USD", Base: exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6}, Tick: decimal.RequireFromString("0.01"), Lot: decimal.RequireFromString("0.0001")})
	require.NoError(t, err)
	return New([]*exchange.Instrument{in})
}

func scrape(m *Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := newMetrics(t)
	m.Count("orders", 3, 2)
	m.Count("orders", 3, 3)
	m.Count("orders", 0, 1)
	m.Count("orders", 3, -7) // no counter goes down
	m.Count("orders", 9, 1)  // not an instrument of the venue
	m.Gauge("depth", 3, 7)
	m.Gauge("depth", 3, 5)
	m.Observe("latency", 3, 3*time.Millisecond)
	text := scrape(m)
	for _, line := range []string{
		`exchange_orders_total{instrument="BTC-USD"} 5`, `exchange_orders_total{instrument=""} 1`, `exchange_depth{instrument="BTC-USD"} 5`,
		`exchange_latency_seconds_bucket{instrument="BTC-USD",le="0.0025"} 0`, `exchange_latency_seconds_bucket{instrument="BTC-USD",le="0.005"} 1`,
		`exchange_latency_seconds_count{instrument="BTC-USD"} 1`, "go_goroutines ",
	} {
		assert.Contains(t, text, line)
	}
	assert.Equal(t, 2, strings.Count(text, "exchange_orders_total{"))
}

// One name may be counted and observed; too many, or wrong ones, do no harm.
func TestMetricsBounds(t *testing.T) {
	m := newMetrics(t)
	m.Count("same", 0, 1)
	m.Observe("same", 0, time.Second)
	for i := range MaxNames + 10 {
		m.Gauge(fmt.Sprintf("gauge_%d", i), 0, 1)
	}
	assert.Len(t, m.vectors, MaxNames)
	text := scrape(m)
	assert.Contains(t, text, `exchange_gauge_253{instrument=""} 1`)
	assert.NotContains(t, text, "exchange_gauge_254")
	m.Gauge("gauge_260", 0, 1)
	m.Count("gauge_261", 0, 1)
	m.Observe("gauge_262", 0, 1)
}

func TestMetricsConcurrently(t *testing.T) {
	m := newMetrics(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				m.Count(fmt.Sprintf("n%d", i%10), 3, 1)
				m.Observe("d", 3, time.Duration(i))
			}
		})
	}
	wg.Wait()
	text := scrape(m)
	assert.Contains(t, text, `exchange_n7_total{instrument="BTC-USD"} 800`)
	assert.Contains(t, text, `exchange_d_seconds_count{instrument="BTC-USD"} 8000`)
}
