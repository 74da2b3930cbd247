// Package prom takes the venue's measurements with Prometheus.
package prom

import (
	"net/http"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Namespace stands before every name.
const Namespace = "exchange"

// MaxNames bounds how many names are taken; a name is a constant of the
// program, so more of them are a fault, and are left out.
const MaxNames = 256

// buckets are the latencies told apart, in seconds: 50 microseconds to 10
// seconds.
var buckets = []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10}

// Metrics is a pipeline.Metrics. The instrument's symbol is the only label.
type Metrics struct {
	registry *prometheus.Registry
	symbols  map[exchange.InstrumentID]string

	mu         sync.RWMutex
	counters   map[series]prometheus.Counter
	gauges     map[series]prometheus.Gauge
	histograms map[series]prometheus.Observer
	vectors    map[string]any
}

var _ pipeline.Metrics = (*Metrics)(nil)

type series struct {
	name string
	inst exchange.InstrumentID
}

// New returns metrics for some instruments, those of the Go runtime and the
// process among them.
func New(instruments []*exchange.Instrument) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), symbols: map[exchange.InstrumentID]string{}, counters: map[series]prometheus.Counter{},
		gauges: map[series]prometheus.Gauge{}, histograms: map[series]prometheus.Observer{}, vectors: map[string]any{},
	}
	for _, in := range instruments {
		m.symbols[in.ID()] = in.Symbol()
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves what was measured, for Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Count implements pipeline.Metrics: a counter, exchange_NAME_total.
func (m *Metrics) Count(name string, inst exchange.InstrumentID, n int64) {
	if c := find(m, m.counters, series{name, inst}, func(label []string) prometheus.Counter {
		v := vector(m, "count "+name, func() *prometheus.CounterVec {
			return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Namespace, Name: name + "_total", Help: name + ", counted."}, label0)
		})
		if v == nil {
			return nil
		}
		return v.WithLabelValues(label...)
	}); c != nil && n > 0 {
		c.Add(float64(n))
	}
}

// Gauge implements pipeline.Metrics: a gauge, exchange_NAME.
func (m *Metrics) Gauge(name string, inst exchange.InstrumentID, v float64) {
	if g := find(m, m.gauges, series{name, inst}, func(label []string) prometheus.Gauge {
		v := vector(m, "gauge "+name, func() *prometheus.GaugeVec {
			return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: name + ", as it is."}, label0)
		})
		if v == nil {
			return nil
		}
		return v.WithLabelValues(label...)
	}); g != nil {
		g.Set(v)
	}
}

// Observe implements pipeline.Metrics: a histogram, exchange_NAME_seconds.
func (m *Metrics) Observe(name string, inst exchange.InstrumentID, d time.Duration) {
	if h := find(m, m.histograms, series{name, inst}, func(label []string) prometheus.Observer {
		v := vector(m, "observe "+name, func() *prometheus.HistogramVec {
			return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: Namespace, Name: name + "_seconds", Help: name + ", in seconds.", Buckets: buckets}, label0)
		})
		if v == nil {
			return nil
		}
		return v.WithLabelValues(label...)
	}); h != nil {
		h.Observe(d.Seconds())
	}
}

var label0 = []string{"instrument"}

// find returns a series, made on its first use.
func find[T comparable](m *Metrics, known map[series]T, key series, mk func(label []string) T) T {
	m.mu.RLock()
	v, ok := known[key]
	m.mu.RUnlock()
	if ok {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := known[key]; ok {
		return v
	}
	symbol, ok := m.symbols[key.inst]
	var none T
	if !ok && key.inst != 0 {
		return none // no instrument of the venue, and no label for it
	}
	if v = mk([]string{symbol}); v != none {
		known[key] = v
	}
	return v
}

// vector returns the vector of a name, made on its first use; nil for one name
// too many, or one that Prometheus does not take.
func vector[T prometheus.Collector](m *Metrics, name string, mk func() T) T {
	if v, ok := m.vectors[name]; ok {
		return v.(T)
	}
	var none T
	if len(m.vectors) >= MaxNames {
		return none
	}
	v := mk()
	if m.registry.Register(v) != nil {
		return none
	}
	m.vectors[name] = v
	return v
}
