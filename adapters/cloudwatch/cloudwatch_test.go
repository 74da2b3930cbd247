package cloudwatch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/cloudwatch"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// sample is a metric as CloudWatch reads it from a line.
type sample struct {
	name, unit, instrument string
	values                 []float64
}

// parse reads lines as the specification of the embedded metric format has it,
// and fails at what it forbids.
func parse(t testing.TB, out []byte) []sample {
	t.Helper()
	var samples []sample
	for line := range bytes.Lines(out) {
		require.Less(t, len(line), 256<<10, "a line's length")
		var root map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(line, &root), "%s", line)
		require.Equal(t, countKeys(t, line), len(root), "two members of one name: %s", line)
		var meta struct {
			Timestamp         *int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		}
		dec := json.NewDecoder(bytes.NewReader(root["_aws"]))
		dec.DisallowUnknownFields()
		require.NoError(t, dec.Decode(&meta), "%s", line)
		require.NotNil(t, meta.Timestamp)
		require.Len(t, meta.CloudWatchMetrics, 1)
		set := meta.CloudWatchMetrics[0]
		require.NotEmpty(t, set.Namespace)
		require.NotNil(t, set.Dimensions[0])
		if len(set.Dimensions[0]) == 0 {
			require.Len(t, set.Dimensions, 1)
		} else { // and all instruments together
			require.Equal(t, [][]string{{"instrument"}, {}}, set.Dimensions)
		}
		require.LessOrEqual(t, len(set.Metrics), 100)
		require.NotEmpty(t, set.Metrics)
		instrument := ""
		for _, d := range set.Dimensions[0] {
			require.Equal(t, "instrument", d, "the only dimension")
			require.NoError(t, json.Unmarshal(root[d], &instrument), "a dimension is a text")
			require.NotEmpty(t, strings.TrimSpace(instrument))
		}
		for _, m := range set.Metrics {
			require.Contains(t, []string{"Count", "None", "Milliseconds"}, m.Unit)
			raw := root[m.Name]
			var values []float64
			if json.Unmarshal(raw, &values) != nil {
				var one float64
				require.NoError(t, json.Unmarshal(raw, &one), "%s of %s", m.Name, line)
				values = []float64{one}
			}
			require.NotEmpty(t, values)
			require.LessOrEqual(t, len(values), 100)
			samples = append(samples, sample{m.Name, m.Unit, instrument, values})
		}
	}
	return samples
}

// countKeys counts the members of the outermost object.
func countKeys(t testing.TB, line []byte) (n int) {
	dec := json.NewDecoder(bytes.NewReader(line))
	_, err := dec.Token()
	require.NoError(t, err)
	for dec.More() {
		var skip json.RawMessage
		_, err := dec.Token()
		require.NoError(t, err)
		require.NoError(t, dec.Decode(&skip))
		n++
	}
	return n
}

// sink is a Metrics and what it has written.
type sink struct {
	*cloudwatch.Metrics
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func newSink(t testing.TB, cfg cloudwatch.Config) *sink {
	s := &sink{}
	cfg.Output = s
	var err error
	s.Metrics, err = cloudwatch.New(cfg)
	require.NoError(t, err)
	return s
}

func (s *sink) flushed(t testing.TB) []sample {
	t.Helper()
	require.NoError(t, s.Flush())
	s.mu.Lock()
	defer s.mu.Unlock()
	return parse(t, s.out.Bytes())
}

func TestMetrics(t *testing.T) {
	exchangetest.TestMetrics(t, exchangetest.MetricsHarness{
		Open: func(t testing.TB) pipeline.Metrics { return newSink(t, cloudwatch.Config{}) },
		Counted: func(t testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) int64 {
			n := 0.0
			for _, s := range m.(*sink).flushed(t) {
				if s.name == name && s.instrument == text(inst) {
					if s.unit == "Milliseconds" {
						n += float64(len(s.values))
					} else {
						n += s.values[0]
					}
				}
			}
			return int64(n)
		},
		Gauged: func(t testing.TB, m pipeline.Metrics, name string, inst exchange.InstrumentID) float64 {
			v := math.NaN()
			for _, s := range m.(*sink).flushed(t) {
				if s.name == name && s.instrument == text(inst) {
					v = s.values[0]
				}
			}
			return v
		},
	})
}

func text(inst exchange.InstrumentID) string {
	if inst == 0 {
		return ""
	}
	return fmt.Sprint(inst)
}

func instrument(t *testing.T, id exchange.InstrumentID, symbol string) *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{ID: id, Symbol: symbol, Base: exchange.Asset{ID: 1, Code: "B", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "U", Scale: 6}, Tick: decimal.New(1, -2), Lot: decimal.New(1, -4)})
	require.NoError(t, err)
	return in
}

// What a line looks like, byte for byte but for slog's own time.
func TestLine(t *testing.T) {
	s := newSink(t, cloudwatch.Config{Namespace: "Venue", Instruments: []*exchange.Instrument{instrument(t, 1, "BTC-USD"), instrument(t, 2, "ü")},
		Now: func() time.Time { return time.UnixMilli(1_700_000_000_123) }})
	s.Count(pipeline.MetricCommands, 1, 7)
	s.Observe(pipeline.MetricCommitted, 1, 1500*time.Microsecond)
	s.Observe(pipeline.MetricCommitted, 1, 2*time.Second)
	s.Gauge(pipeline.MetricOpenOrders, 1, 3)
	s.Count(pipeline.MetricVoids, 0, 1)
	s.Count(pipeline.MetricVoids, 2, 1)
	s.flushed(t)
	var lines []string
	for line := range strings.Lines(s.out.String()) {
		_, rest, ok := strings.Cut(line, `"level"`)
		require.True(t, ok)
		lines = append(lines, rest)
	}
	assert.Equal(t, []string{
		`:"INFO","msg":"metrics","_aws":{"Timestamp":1700000000123,"CloudWatchMetrics":[{"Namespace":"Venue","Dimensions":[[]],"Metrics":[{"Name":"sweeper_voids","Unit":"Count"}]}]},"sweeper_voids":1}` + "\n",
		`:"INFO","msg":"metrics","_aws":{"Timestamp":1700000000123,"CloudWatchMetrics":[{"Namespace":"Venue","Dimensions":[["instrument"],[]],"Metrics":[{"Name":"matching_commands","Unit":"Count"},{"Name":"matching_committed","Unit":"Milliseconds"},{"Name":"matching_open_orders","Unit":"None"}]}]},"instrument":"BTC-USD","matching_commands":7,"matching_committed":[1.5,2000],"matching_open_orders":3}` + "\n",
		`:"INFO","msg":"metrics","_aws":{"Timestamp":1700000000123,"CloudWatchMetrics":[{"Namespace":"Venue","Dimensions":[["instrument"],[]],"Metrics":[{"Name":"sweeper_voids","Unit":"Count"}]}]},"instrument":"2","sweeper_voids":1}` + "\n",
	}, lines)
	before := s.out.Len()
	require.NoError(t, s.Flush())
	assert.Equal(t, before, s.out.Len(), "nothing measured, nothing written")
}

// Every bound: values and metrics of a line, series, names, numbers.
func TestBounds(t *testing.T) {
	s := newSink(t, cloudwatch.Config{})
	for i := range 250 {
		s.Observe("d", 1, time.Duration(i)*time.Millisecond)
	}
	var all []float64
	for _, one := range s.flushed(t) {
		all = append(all, one.values...)
	}
	require.Len(t, all, 250)
	assert.Equal(t, 249.0, all[249])

	s = newSink(t, cloudwatch.Config{})
	for i := range cloudwatch.MaxSeries + 5 {
		s.Count(fmt.Sprintf("n%04d", i), 1, 1)
	}
	s.Count("n0000", 1, 1)           // there already
	s.Gauge("n0000", 1, 1)           // another kind: lost
	s.Gauge("n0001", 1, math.NaN())  // no number: lost
	s.Gauge("n0001", 1, math.Inf(1)) // lost
	s.Count("_aws", 1, 1)            // lost
	for _, name := range []string{"instrument", "time", "level", "msg"} {
		s.Count(name, 1, 1) // lost
	}
	s.Observe("", 1, 1) // lost
	samples := s.flushed(t)
	require.Len(t, samples, cloudwatch.MaxSeries+1)
	got := map[string]float64{}
	for _, one := range samples {
		got[one.name] = one.values[0]
	}
	assert.Equal(t, 2.0, got["n0000"])
	assert.Equal(t, 14.0, got[cloudwatch.MetricLost])
	s.out.Reset()
	s.Count("again", 1, 1)
	assert.Len(t, s.flushed(t), 1, "after a flush there is room")
}

// broken is an output that takes nothing.
type broken struct{ io.Writer }

var errBroken = errors.New("broken pipe")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestFailures(t *testing.T) {
	m, err := cloudwatch.New(cloudwatch.Config{Output: broken{}})
	require.NoError(t, err)
	m.Count("n", 1, 1)
	assert.ErrorIs(t, m.Flush(), errBroken)
	assert.NoError(t, m.Flush(), "it is not written again")
	for _, ns := range []string{"AWS/Lambda", "a b", "ü", strings.Repeat("x", cloudwatch.MaxNamespace+1)} {
		_, err := cloudwatch.New(cloudwatch.Config{Namespace: ns})
		assert.ErrorIs(t, err, pipeline.ErrInvalid, ns)
	}
	_, err = cloudwatch.New(cloudwatch.Config{Namespace: strings.Repeat("x", cloudwatch.MaxNamespace)})
	assert.NoError(t, err)
}
