// Package cloudwatch is a pipeline.Metrics that writes CloudWatch's embedded
// metric format: lines of JSON on the standard output, from which CloudWatch
// Logs makes metrics. No call leaves the process.
//
// # What is written
//
// Nothing until Flush, which a function calls at the end of each invocation and
// a daemon once a minute or so: then one line for each instrument that was
// measured, with all its metrics, and one for what has no instrument. Counts are
// summed, of a gauge the latest value is written, of durations all, in
// milliseconds, up to maxValues; when a duration has as many they are written at
// once.
//
//	{"time":"...","level":"INFO","msg":"metrics","_aws":{"Timestamp":1700000000000,"CloudWatchMetrics":[{"Namespace":"Exchange",
//	"Dimensions":[["instrument"],[]],"Metrics":[{"Name":"matching_commands","Unit":"Count"}]}]},"instrument":"BTC-USD","matching_commands":7}
//
// The only dimension is "instrument", its symbol; an account never is one. What
// is measured of an instrument counts for all of them together as well, without
// a dimension, as an alarm cannot search. Each pair of metric and dimension is a
// custom metric that AWS charges for: there are as many as instruments times
// names, at most MaxSeries, and one more a name.
//
// # What this relies on AWS for
//
// The output goes to CloudWatch Logs line by line (Lambda does that; the awslogs
// driver and the agent, too), and nothing is put before or behind the JSON. A
// line is below 256 KB. Logs may extract a line twice, so counts are at least
// what was counted. What was measured after the last Flush is lost when the
// process ends.
//
// # What the suite does not prove here
//
// It parses the lines by the published specification. Whether CloudWatch makes
// metrics of them is tested under the build tag live.
package cloudwatch

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds.
const (
	// MaxSeries is how many pairs of name and instrument are kept between two
	// flushes; what comes further is counted in MetricLost only.
	MaxSeries = 4096
	maxValues = 100 // of one metric in a line: the format's
	maxInLine = 100 // metrics of a directive: the format's
	// MaxNamespace is how long a namespace is at most, in bytes.
	MaxNamespace = 255
	// DefaultNamespace is the default of Config.Namespace.
	DefaultNamespace = "Exchange"
)

// MetricLost counts measurements for which there was no room.
const MetricLost = "metrics_lost"

// Config is what a Metrics is made of; nothing is mandatory.
type Config struct {
	Namespace   string                 // "": DefaultNamespace; what CloudWatch allows
	Instruments []*exchange.Instrument // whose symbols are the dimension; others have their number
	Output      io.Writer              // nil: os.Stdout
	Now         func() time.Time       // nil: time.Now
}

// Metrics implements pipeline.Metrics. It is safe for concurrent use.
type Metrics struct {
	cfg     Config
	symbols map[exchange.InstrumentID]string
	log     *slog.Logger

	mu     sync.Mutex
	series map[exchange.InstrumentID]map[string]*series
	n      int   // of series
	lost   int64 // measurements without room
	failed error // the first write that failed since the last Flush
}

var _ pipeline.Metrics = (*Metrics)(nil)

// series is what was measured under a name since the last flush.
type series struct {
	unit   string
	sum    int64
	gauge  float64
	values []float64
}

// The units of the format.
const (
	unitCount = "Count"
	unitNone  = "None"
	unitTime  = "Milliseconds"
)

// New returns a Metrics; an error when cfg is none.
func New(cfg Config) (*Metrics, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if len(cfg.Namespace) > MaxNamespace || strings.HasPrefix(cfg.Namespace, "AWS/") || strings.ContainsFunc(cfg.Namespace, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_/#:", r))
	}) {
		return nil, fmt.Errorf("metrics: %w: Namespace %q, expected at most %d of letters, digits and .-_/#:, not AWS/", pipeline.ErrInvalid, cfg.Namespace, MaxNamespace)
	}
	if cfg.Output == nil {
		cfg.Output = os.Stdout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m := &Metrics{cfg: cfg, symbols: map[exchange.InstrumentID]string{}, series: map[exchange.InstrumentID]map[string]*series{}}
	for _, in := range cfg.Instruments {
		m.symbols[in.ID()] = dimension(in)
	}
	m.log = slog.New(slog.NewJSONHandler(&keeper{m}, nil))
	return m, nil
}

// dimension is an instrument's symbol if that may be the value of a dimension
// (printing ASCII that does not begin with a colon), else its number.
func dimension(in *exchange.Instrument) string {
	s := in.Symbol()
	if s == "" || s[0] == ':' || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return strconv.FormatUint(uint64(in.ID()), 10)
	}
	return s
}

// keeper writes to the output and keeps the first error, which slog drops.
type keeper struct{ m *Metrics }

func (k *keeper) Write(line []byte) (int, error) {
	n, err := k.m.cfg.Output.Write(line)
	if err != nil && k.m.failed == nil {
		k.m.failed = err
	}
	return n, err
}

// taken are the members that a line has besides the metrics.
var taken = []string{"_aws", "instrument", slog.TimeKey, slog.LevelKey, slog.MessageKey}

// of returns a series, nil when there is no room or the name stands for
// something else. m.mu is held.
func (m *Metrics) of(name string, inst exchange.InstrumentID, unit string) *series {
	s := m.series[inst][name]
	if s != nil {
		if s.unit != unit {
			m.lost++
			return nil
		}
		return s
	}
	if m.n >= MaxSeries || name == "" || slices.Contains(taken, name) {
		m.lost++
		return nil
	}
	if m.series[inst] == nil {
		m.series[inst] = map[string]*series{}
	}
	s = &series{unit: unit}
	m.series[inst][name] = s
	m.n++
	return s
}

// Count implements pipeline.Metrics.
func (m *Metrics) Count(name string, inst exchange.InstrumentID, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.of(name, inst, unitCount); s != nil {
		s.sum += n
	}
}

// Gauge implements pipeline.Metrics.
func (m *Metrics) Gauge(name string, inst exchange.InstrumentID, v float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v-v != 0 { // infinite, or no number: the format has none
		m.lost++
		return
	}
	if s := m.of(name, inst, unitNone); s != nil {
		s.gauge = v
	}
}

// Observe implements pipeline.Metrics. Every maxValues of a name and instrument
// write a line.
func (m *Metrics) Observe(name string, inst exchange.InstrumentID, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.of(name, inst, unitTime)
	if s == nil {
		return
	}
	if s.values = append(s.values, float64(d)/float64(time.Millisecond)); len(s.values) == maxValues {
		m.line(inst, []string{name}, map[string]*series{name: s})
		s.values = s.values[:0]
	}
}

// Flush writes what was measured since the last one. An error means that the
// output took not all of it; it is not written again, so that nothing counts
// twice.
func (m *Metrics) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost > 0 {
		if m.series[0] == nil {
			m.series[0] = map[string]*series{}
		}
		m.series[0][MetricLost] = &series{unit: unitCount, sum: m.lost}
	}
	for _, inst := range slices.Sorted(maps.Keys(m.series)) {
		all := m.series[inst]
		names := slices.Sorted(maps.Keys(all))
		names = slices.DeleteFunc(names, func(name string) bool { return all[name].unit == unitTime && len(all[name].values) == 0 })
		for chunk := range slices.Chunk(names, maxInLine) {
			m.line(inst, chunk, all)
		}
	}
	clear(m.series)
	m.n, m.lost = 0, 0
	err := m.failed
	m.failed = nil
	if err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}

type directive struct {
	Timestamp         int64
	CloudWatchMetrics []metricSet
}

type metricSet struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []metric
}

type metric struct {
	Name string
	Unit string
}

// line writes some metrics of an instrument. m.mu is held.
func (m *Metrics) line(inst exchange.InstrumentID, names []string, all map[string]*series) {
	set := metricSet{Namespace: m.cfg.Namespace, Dimensions: [][]string{{}}}
	attrs := make([]slog.Attr, 1, len(names)+2)
	if inst != 0 {
		set.Dimensions = [][]string{{"instrument"}, {}}
		attrs = append(attrs, slog.String("instrument", cmp.Or(m.symbols[inst], strconv.FormatUint(uint64(inst), 10))))
	}
	for _, name := range names {
		s := all[name]
		set.Metrics = append(set.Metrics, metric{name, s.unit})
		switch s.unit {
		case unitCount:
			attrs = append(attrs, slog.Int64(name, s.sum))
		case unitNone:
			attrs = append(attrs, slog.Float64(name, s.gauge))
		case unitTime:
			attrs = append(attrs, slog.Any(name, s.values))
		}
	}
	attrs[0] = slog.Any("_aws", directive{m.cfg.Now().UnixMilli(), []metricSet{set}})
	m.log.LogAttrs(context.Background(), slog.LevelInfo, "metrics", attrs...)
}
