package exchangetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// MetricsHarness is how a pipeline.Metrics is tested.
type MetricsHarness struct {
	Open Open[pipeline.Metrics]
	// Counted returns the sum of what was counted, or how often was observed,
	// under a name of the pipeline for an instrument.
	Counted func(t testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) int64
	// Gauged returns the latest value of a gauge.
	Gauged func(t testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) float64
}

// TestMetrics runs MetricsCases.
func TestMetrics(t *testing.T, h MetricsHarness) { Run(t, MetricsCases, h) }

// MetricsCases is what every pipeline.Metrics does.
var MetricsCases = []Case[MetricsHarness]{
	{"what is measured can be read", metricsRead},
	{"nothing is lost when many measure", metricsConcurrent},
}

func metricsRead(t testing.TB, h MetricsHarness) {
	m := h.Open(t)
	m.Count(pipeline.MetricCommands, instA, 3)
	m.Count(pipeline.MetricCommands, instA, 4)
	m.Count(pipeline.MetricCommands, instB, 5)
	m.Count(pipeline.MetricTrades, 0, 6)
	m.Gauge(pipeline.MetricOpenOrders, instA, 7.5)
	m.Gauge(pipeline.MetricOpenOrders, instA, -2.25)
	m.Observe(pipeline.MetricCommitted, instA, time.Millisecond)
	m.Observe(pipeline.MetricCommitted, instA, 0)
	m.Observe(pipeline.MetricCommitted, instA, time.Hour)
	for _, want := range []struct {
		name string
		inst exchange.InstrumentID
		n    int64
	}{{pipeline.MetricCommands, instA, 7}, {pipeline.MetricCommands, instB, 5}, {pipeline.MetricTrades, 0, 6}, {pipeline.MetricCommitted, instA, 3}} {
		require.Equal(t, want.n, h.Counted(t, m, want.name, want.inst), "%s of instrument %d", want.name, want.inst)
	}
	require.Equal(t, -2.25, h.Gauged(t, m, pipeline.MetricOpenOrders, instA))
}

func metricsConcurrent(t testing.TB, h MetricsHarness) {
	m := h.Open(t)
	const workers, each = 8, 500
	for i, err := range together(workers, func(i int) error {
		for n := range each {
			m.Count(pipeline.MetricCommands, instA, 1)
			m.Count(pipeline.MetricTrades, exchange.InstrumentID(1+n%50), 1)
			m.Gauge(pipeline.MetricOpenOrders, instA, float64(n))
			m.Observe(pipeline.MetricCommitted, instA, time.Duration(n))
		}
		return nil
	}) {
		require.NoError(t, err, fmt.Sprint("worker ", i))
	}
	require.Equal(t, int64(workers*each), h.Counted(t, m, pipeline.MetricCommands, instA))
	require.Equal(t, int64(workers*each), h.Counted(t, m, pipeline.MetricCommitted, instA))
	require.Equal(t, int64(workers*each/50), h.Counted(t, m, pipeline.MetricTrades, 50))
	require.Equal(t, float64(each-1), h.Gauged(t, m, pipeline.MetricOpenOrders, instA))
}
