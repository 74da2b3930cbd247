package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func runs(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	var stdout, stderr strings.Builder
	status = run(args, &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

func TestReport(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "capacity.svg")
	args := []string{"-samples", "20000", "-svg", svg}
	status, out, errs := runs(t, args...)
	require.Zero(t, status, errs)
	for _, want := range []string{"request to the client", "One hot pair:", "DynamoDB writes of one journal partition", "Dollars a month", "50000"} {
		assert.Contains(t, out, want)
	}
	_, again, _ := runs(t, args...)
	assert.Equal(t, out, again, "the seed decides everything")
	_, other, _ := runs(t, append(args, "-seed", "2")...)
	assert.NotEqual(t, out, other)
	picture, err := os.Open(svg)
	require.NoError(t, err)
	defer picture.Close()
	dec, texts := xml.NewDecoder(picture), 0
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "text" {
			texts++
		}
	}
	assert.Greater(t, texts, 20)
}

// CAPACITY.md has the figures that the program prints.
func TestDocument(t *testing.T) {
	status, out, errs := runs(t)
	require.Zero(t, status, errs)
	data, err := os.ReadFile("../aws/CAPACITY.md")
	require.NoError(t, err)
	doc, n := string(data), 0
	grouped := func(digits string) string {
		if len(digits) > 3 {
			return digits[:len(digits)-3] + "," + digits[len(digits)-3:]
		}
		return digits
	}
	for _, m := range regexp.MustCompile(`(?m)^.+?  +functions +(\d+) +(\d+) +\d+ +\d+ +[\d.]+ %$`).FindAllStringSubmatch(out, -1) {
		n++
		assert.Contains(t, doc, "| "+grouped(m[1])+" ms | "+grouped(m[2])+" ms |", m[0])
	}
	pair := regexp.MustCompile(`One hot pair: (\d+) orders a second with functions, (\d+) with containers`).FindStringSubmatch(out)
	require.NotNil(t, pair)
	assert.Contains(t, doc, "**"+pair[1]+" a second with functions**")
	assert.Contains(t, doc, "**"+pair[2]+" a second with containers**")
	for _, m := range regexp.MustCompile(`(?m)^(?:pairs of equal load|DynamoDB writes of one|Aurora, trades).*? (\d+) +(\d+) +(\d+)$`).FindAllStringSubmatch(out, -1) {
		n++
		assert.Contains(t, doc, "| "+m[1]+" | "+m[2]+" | "+m[3]+" |", m[0])
	}
	assert.Equal(t, 10, n, out)
}

// A hop drawn by itself has the quantiles it was published with, and a sum's
// p99 lies between the sum of the p50s and that of the p99s.
func TestQuantiles(t *testing.T) {
	m, err := read(published)
	require.NoError(t, err)
	for i := range m.Hops {
		h := &m.Hops[i]
		for j, p := range h.ps {
			want := h.MS[map[float64]string{0.1: "0.1", 0.5: "0.5", 0.9: "0.9", 0.99: "0.99"}[p]]
			assert.InEpsilon(t, want, h.at(p), 1e-9, "%s %v", h.Name, p)
			if j < 3 {
				assert.InEpsilon(t, want, quantile(m.sample([]string{h.Name}, 200_000, rand.New(rand.NewPCG(1, 0))), p), 0.05, "%s %v", h.Name, p)
			}
		}
		assert.LessOrEqual(t, h.at(1-1e-12), 3.0001*h.at(0.99), h.Name)
	}
	for _, in := range m.Intervals {
		p99 := quantile(m.sample(in.Hops, 50_000, rand.New(rand.NewPCG(1, 0))), 0.99)
		assert.Greater(t, p99, m.sumOf(in.Hops, 0.5), in.Name)
		assert.Less(t, p99, m.sumOf(in.Hops, 0.99), in.Name)
	}
}

func TestLimitsAndCosts(t *testing.T) {
	l := limit{PerSecond: 1000, Orders: 0.5}
	assert.EqualValues(t, 1, l.need(500))
	assert.EqualValues(t, 2, l.need(501))
	m, err := read(published)
	require.NoError(t, err)
	one, ten := m.cost(&m.Order.Lambda, 1000), m.cost(&m.Order.Lambda, 10000)
	assert.InEpsilon(t, 10*one.Messages, ten.Messages, 1e-9)
	assert.Less(t, m.cost(&m.Order.Containers, 50000).Compute, m.cost(&m.Order.Lambda, 50000).Compute)
	assert.Greater(t, m.cost(&m.Order.Containers, 1).Compute, m.cost(&m.Order.Lambda, 1).Compute, "nodes cost also where nothing happens")
	// Ten a batch, 100 ms each time.
	m.Hops = append(m.Hops, hop{Name: "flat", Kind: "estimate", Source: "test", MS: map[string]float64{"0.1": 100, "0.5": 100, "0.99": 100}})
	require.NoError(t, m.Hops[len(m.Hops)-1].prepare())
	assert.InEpsilon(t, 100, m.hotPair([]string{"flat"}, 1000, rand.New(rand.NewPCG(1, 0))), 1e-9)
}

func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-rates", "0"}, `"0": expected rates from 1 to`},
		{[]string{"-rates", "5,x"}, `"x": expected rates`},
		{[]string{"-samples", "999"}, "expected 1000 to"},
		{[]string{"-nonsense"}, "flag provided but not defined"},
		{[]string{"extra"}, "no arguments"},
	} {
		status, _, errs := runs(t, c.args...)
		assert.Equal(t, 2, status, c.args)
		assert.Contains(t, errs, c.want)
	}
	file := filepath.Join(t.TempDir(), "data.json")
	spoiled := func(how func(m map[string]any)) {
		var m map[string]any
		require.NoError(t, json.Unmarshal(published, &m))
		how(m)
		data, err := json.Marshal(m)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, data, 0o600))
	}
	first := func(m map[string]any, list string) map[string]any { return m[list].([]any)[0].(map[string]any) }
	for want, how := range map[string]func(m map[string]any){
		`unknown field "hop"`:                func(m map[string]any) { m["hop"] = 1 },
		`hop "api gateway": quantile "1.5"`:  func(m map[string]any) { first(m, "hops")["ms"].(map[string]any)["1.5"] = 1 },
		`hop "api gateway": 7 ms at 0.99`:    func(m map[string]any) { first(m, "hops")["ms"].(map[string]any)["0.99"] = 7 },
		`expected kind measured or estimate`: func(m map[string]any) { first(m, "hops")["source"] = "" },
		`there is no hop "teleport"`:         func(m map[string]any) { first(m, "intervals")["hops"] = []string{"teleport"} },
		`limit "API Gateway requests`:        func(m map[string]any) { first(m, "limits")["per_second"] = 0 },
		`batch 0: expected at least 1`:       func(m map[string]any) { m["hot_pair"].(map[string]any)["batch"] = 0 },
	} {
		spoiled(how)
		status, _, errs := runs(t, "-data", file)
		assert.Equal(t, 1, status, want)
		assert.Contains(t, errs, want)
	}
	status, _, errs := runs(t, "-data", filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "no such file")
}
