package memory

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/castlecloud/exchange"
)

// MaxSeries is how many pairs of name and instrument a Metrics keeps; those
// that come later are not counted.
const MaxSeries = 1 << 16

// Metrics is a pipeline.Metrics that can be read.
type Metrics struct {
	mu     sync.RWMutex
	series map[seriesKey]*series
}

type seriesKey struct {
	name string
	inst exchange.InstrumentID
}

type series struct {
	count, sum, most atomic.Int64
	gauge            atomic.Uint64
}

// Measured is what a Metrics has of one name and instrument.
type Measured struct {
	Name       string
	Instrument exchange.InstrumentID
	Count      int64         // the sum of Count, or how many were observed
	Gauge      float64       // the latest
	Total      time.Duration // of what was observed
	Longest    time.Duration
}

// NewMetrics returns a Metrics with nothing measured.
func NewMetrics() *Metrics { return &Metrics{series: map[seriesKey]*series{}} }

func (m *Metrics) of(name string, inst exchange.InstrumentID) *series {
	key := seriesKey{name, inst}
	m.mu.RLock()
	s := m.series[key]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s = m.series[key]; s == nil {
		s = &series{}
		if len(m.series) < MaxSeries {
			m.series[key] = s
		}
	}
	return s
}

// Count implements pipeline.Metrics.
func (m *Metrics) Count(name string, inst exchange.InstrumentID, n int64) {
	m.of(name, inst).count.Add(n)
}

// Gauge implements pipeline.Metrics.
func (m *Metrics) Gauge(name string, inst exchange.InstrumentID, v float64) {
	m.of(name, inst).gauge.Store(math.Float64bits(v))
}

// Observe implements pipeline.Metrics.
func (m *Metrics) Observe(name string, inst exchange.InstrumentID, d time.Duration) {
	s := m.of(name, inst)
	s.count.Add(1)
	s.sum.Add(int64(d))
	for old := s.most.Load(); int64(d) > old && !s.most.CompareAndSwap(old, int64(d)); {
		old = s.most.Load()
	}
}

// Read returns what was measured under a name; zero when nothing was.
func (m *Metrics) Read(name string, inst exchange.InstrumentID) Measured {
	m.mu.RLock()
	s := m.series[seriesKey{name, inst}]
	m.mu.RUnlock()
	if s == nil {
		return Measured{Name: name, Instrument: inst}
	}
	return Measured{Name: name, Instrument: inst, Count: s.count.Load(), Gauge: math.Float64frombits(s.gauge.Load()),
		Total: time.Duration(s.sum.Load()), Longest: time.Duration(s.most.Load())}
}

// All returns everything that was measured, by name and instrument.
func (m *Metrics) All() []Measured {
	m.mu.RLock()
	keys := make([]seriesKey, 0, len(m.series))
	for key := range m.series {
		keys = append(keys, key)
	}
	m.mu.RUnlock()
	slices.SortFunc(keys, func(a, b seriesKey) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.inst, b.inst))
	})
	all := make([]Measured, len(keys))
	for i, key := range keys {
		all[i] = m.Read(key.name, key.inst)
	}
	return all
}
