package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

//go:embed data.json
var published []byte

// month is what a month's bill is for, in seconds.
const month = 30 * 24 * 3600

// model is the data file: what hops take, what limits there are, what it costs.
type model struct {
	Region    string
	Hops      []hop
	Intervals []interval
	Limits    []limit
	HotPair   struct {
		Batch          int
		Cycle          []string
		ContainerCycle []string `json:"container_cycle"`
		Source         string
	} `json:"hot_pair"`
	Prices struct {
		Source      string
		PerMillion  map[string]float64 `json:"per_million"`
		GBSecond    float64            `json:"lambda_gb_second"`
		NodeHour    float64            `json:"node_hour"`
		ClusterHour float64            `json:"cluster_hour"`
		ACUHour     float64            `json:"acu_hour"`
	}
	Order struct {
		Note         string
		APIGateway   float64 `json:"api gateway"`
		EventBridge  float64 `json:"eventbridge"`
		Writes       float64 `json:"dynamodb write unit"`
		Reads        float64 `json:"dynamodb read unit"`
		Pushes       float64 `json:"websocket message"`
		JournalBatch float64 `json:"journal_batch"`
		Lambda       use
		Containers   use
	}
}

// hop is one step of the way: quantiles of its latency in milliseconds.
type hop struct {
	Name, Kind, Source string
	MS                 map[string]float64

	ps, logs []float64 // the quantiles, rising, and the logarithms of their latencies
}

type interval struct {
	Name, Way string
	Hops      []string
}

// limit is what a component does a second; Orders is how many orders one of
// them carries.
type limit struct {
	Name, Grows, Source string
	PerSecond           float64 `json:"per_second"`
	Orders              float64
}

// use is what one order uses of compute and messages.
type use struct {
	Calls         float64
	GBSeconds     float64 `json:"gb_seconds"`
	SQSCalls      float64 `json:"sqs calls"`
	SNSMessages   float64 `json:"sns messages"`
	OrdersPerNode float64 `json:"orders_per_node"`
	LeastNodes    float64 `json:"least_nodes"`
}

// read returns the model of a data file.
func read(data []byte) (*model, error) {
	var m model
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("data file: %w", err)
	}
	for i := range m.Hops {
		if err := m.Hops[i].prepare(); err != nil {
			return nil, err
		}
	}
	for _, in := range m.Intervals {
		if err := m.known(in.Name, in.Hops); err != nil {
			return nil, err
		}
	}
	for _, l := range m.Limits {
		if l.PerSecond <= 0 || l.Orders <= 0 || l.Source == "" {
			return nil, fmt.Errorf("limit %q: expected per_second and orders above 0, and a source", l.Name)
		}
	}
	if m.HotPair.Batch < 1 {
		return nil, fmt.Errorf("hot_pair: batch %d: expected at least 1", m.HotPair.Batch)
	}
	if err := m.known("hot_pair", m.HotPair.Cycle); err != nil {
		return nil, err
	}
	return &m, m.known("hot_pair", m.HotPair.ContainerCycle)
}

func (m *model) known(what string, hops []string) error {
	for _, name := range hops {
		if m.hop(name) == nil {
			return fmt.Errorf("%s: there is no hop %q", what, name)
		}
	}
	return nil
}

func (m *model) hop(name string) *hop {
	i := slices.IndexFunc(m.Hops, func(h hop) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Hops[i]
}

func (h *hop) prepare() error {
	if h.Kind != "measured" && h.Kind != "estimate" || h.Source == "" {
		return fmt.Errorf("hop %q: expected kind measured or estimate, and a source", h.Name)
	}
	for text := range h.MS {
		p, err := strconv.ParseFloat(text, 64)
		if err != nil || p <= 0 || p >= 1 {
			return fmt.Errorf("hop %q: quantile %q: expected one between 0 and 1", h.Name, text)
		}
		h.ps = append(h.ps, p)
	}
	slices.Sort(h.ps)
	for _, p := range h.ps {
		ms := h.MS[strconv.FormatFloat(p, 'f', -1, 64)]
		if ms <= 0 || len(h.logs) > 0 && math.Log(ms) < h.logs[len(h.logs)-1] {
			return fmt.Errorf("hop %q: %v ms at %v: expected above 0 and rising", h.Name, ms, p)
		}
		h.logs = append(h.logs, math.Log(ms))
	}
	if len(h.ps) < 3 || h.ps[len(h.ps)-1] < 0.99 {
		return fmt.Errorf("hop %q: expected three quantiles or more, up to 0.99", h.Name)
	}
	return nil
}

// at returns the latency at a quantile in milliseconds: between two published
// ones a straight line of the logarithm over the normal quantile, and beyond the
// last one the line goes on, up to three times it.
func (h *hop) at(p float64) float64 {
	i, _ := slices.BinarySearch(h.ps, p)
	i = min(max(i, 1), len(h.ps)-1)
	z, z0, z1 := normal(p), normal(h.ps[i-1]), normal(h.ps[i])
	log := h.logs[i-1] + (h.logs[i]-h.logs[i-1])*(z-z0)/(z1-z0)
	return math.Exp(min(log, h.logs[len(h.logs)-1]+math.Log(3)))
}

// normal returns the standard normal quantile.
func normal(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// sample returns n sums of the hops' latencies, drawn independently, sorted.
func (m *model) sample(hops []string, n int, rng *rand.Rand) []float64 {
	sums := make([]float64, n)
	for _, name := range hops {
		h := m.hop(name)
		for i := range sums {
			sums[i] += h.at(max(rng.Float64(), 1e-9))
		}
	}
	slices.Sort(sums)
	return sums
}

// quantile returns that of sorted values.
func quantile(sorted []float64, p float64) float64 {
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// sumOf adds the hops' latencies at one quantile, which is not that quantile of
// the sum.
func (m *model) sumOf(hops []string, p float64) (ms float64) {
	for _, name := range hops {
		ms += m.hop(name).at(p)
	}
	return ms
}

// hotPair returns the orders a second that one pair does: a batch at a time, the
// next one when the last one is done.
func (m *model) hotPair(cycle []string, n int, rng *rand.Rand) float64 {
	var sum float64
	for _, ms := range m.sample(cycle, n, rng) {
		sum += ms
	}
	return float64(m.HotPair.Batch) * 1000 / (sum / float64(n))
}

// need returns how many of a limited thing a rate takes.
func (l *limit) need(rate float64) float64 { return math.Ceil(rate / (l.PerSecond * l.Orders)) }

// cost is a month's bill in dollars at a rate that never rests, by item.
type cost struct {
	Messages, Compute, Storage float64
}

func (c cost) total() float64 { return c.Messages + c.Compute + c.Storage }

func (m *model) cost(u *use, rate float64) cost {
	p, o := m.Prices.PerMillion, &m.Order
	orders := rate * month / 1e6 // millions a month
	c := cost{
		Messages: orders * (o.APIGateway*p["api gateway"] + o.EventBridge*p["eventbridge"] + u.SQSCalls*p["sqs call"] + u.SNSMessages*p["sns message"] + o.Pushes*p["websocket message"]),
		Compute:  orders * (u.Calls*p["lambda call"] + u.GBSeconds*1e6*m.Prices.GBSecond),
		Storage:  orders*(o.Writes*p["dynamodb write unit"]+o.Reads*p["dynamodb read unit"]) + m.Prices.ACUHour*(2+rate/500)*month/3600,
	}
	if u.OrdersPerNode > 0 {
		nodes := max(u.LeastNodes, math.Ceil(rate/u.OrdersPerNode))
		c.Compute += (nodes*m.Prices.NodeHour + m.Prices.ClusterHour) * month / 3600
	}
	return c
}
