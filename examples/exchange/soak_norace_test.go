//go:build !race

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	soakTime = flag.Duration("soak.time", 8*time.Second, "how long TestNoRaceSoak puts load on the venue; what it uses is judged from "+soakJudged.String()+" on")
	soakRate = flag.Int("soak.rate", 200, "orders a second of TestNoRaceSoak")
)

// What memory may do. The tables that the venue remembers commands and orders in
// (65,536 an instrument in the engine and in the trade recorder, 131,072 in front
// of them) are full after some four minutes at the 1,000 orders a second of make
// soak; from then on nothing grows but what is on disk. So the second half of ten
// minutes is compared with the first.
const (
	soakJudged  = 8 * time.Minute // a shorter run is not judged by the allowance
	soakSamples = 120
	// soakAllowance is what the most of the second half may be of the most of
	// the first, soakSlack what it may be above that.
	soakAllowance = 1.15
	soakSlack     = 16 << 20
	// soakGoroutines is what there may be at any time: those of the services,
	// and some for each of 128 connections and 11 sockets of the load.
	soakGoroutines = 1000
)

// usage is what a venue uses at a moment.
type usage struct {
	at         time.Duration
	heap       int64 // bytes at which the collector runs next: twice what lives
	anonymous  int64 // resident memory that is no file; 0: not known here
	resident   int64 // with the pages of the database that are in memory
	goroutines int64
	files      int64 // bytes on disk
	cpu        float64
}

// The venue under load for -soak.time, as a program of its own. make soak does
// it for ten minutes, and it fails when memory goes on growing. A short run
// looks that nothing is refused and that goroutines are bounded;
// TestNoRaceFlatMemory shows in seconds, with small bounds, that memory is.
func TestNoRaceSoak(t *testing.T) {
	exchangeProgram, loadProgram, dir := build(t, "."), build(t, "../loadgen"), filepath.Join(t.TempDir(), "data")
	p := startVenue(t, exchangeProgram, dir, "-bots=true", "-metrics", "127.0.0.1:0")
	ctx, stop := context.WithTimeout(t.Context(), *soakTime+time.Minute)
	defer stop()
	load := exec.CommandContext(ctx, loadProgram, "-url", p.url, "-rate", strconv.Itoa(*soakRate), "-duration", soakTime.String(), "-mid", "BTC-USD=64000,ETH-USD=3200,ETH-BTC=0.05")
	var report, errs bytes.Buffer
	load.Stdout, load.Stderr = &report, &errs
	require.NoError(t, load.Start())
	ended := make(chan error, 1)
	go func() { ended <- load.Wait() }()

	t.Logf("%8s %12s %12s %12s %10s %12s %8s", "s", "heap MB", "anonymous MB", "resident MB", "goroutines", "on disk MB", "cores")
	var samples []usage
	began, last := time.Now(), usage{}
	every := time.NewTicker(max(*soakTime/soakSamples, 250*time.Millisecond))
	defer every.Stop()
	for running := true; running; {
		select {
		case err := <-ended:
			require.NoError(t, err, "%s", &errs)
			running = false
		case <-every.C:
			u := measure(t, p, dir, time.Since(began))
			t.Logf("%8.1f %12.1f %12.1f %12.1f %10d %12.1f %8.2f", u.at.Seconds(), mega(u.heap), mega(u.anonymous), mega(u.resident), u.goroutines, mega(u.files), (u.cpu-last.cpu)/(u.at-last.at).Seconds())
			samples, last = append(samples, u), u
		}
	}
	t.Logf("\n%s", &report)
	assert.Contains(t, report.String(), "errors: none\n")
	assert.Contains(t, report.String(), "refused by the engine: none\n")
	require.Greater(t, len(samples), 3)
	for _, u := range samples {
		assert.Less(t, u.goroutines, int64(soakGoroutines))
	}
	if *soakTime >= soakJudged {
		for _, complaint := range judge(samples) {
			t.Error(complaint)
		}
	}
	p.stop(t)
}

func mega(n int64) float64 { return float64(n) / (1 << 20) }

// judge compares what was used in the second half with the first.
func judge(samples []usage) (complaints []string) {
	for _, what := range []struct {
		name string
		of   func(u *usage) int64
	}{
		{"heap", func(u *usage) int64 { return u.heap }},
		{"anonymous memory", func(u *usage) int64 { return u.anonymous }},
	} {
		var first, second int64
		for i := range samples {
			if n := what.of(&samples[i]); i < len(samples)/2 {
				first = max(first, n)
			} else {
				second = max(second, n)
			}
		}
		if float64(second) > soakAllowance*float64(first)+soakSlack {
			complaints = append(complaints, fmt.Sprintf("%s grows: %.1f MB at most in the first half, %.1f MB in the second", what.name, mega(first), mega(second)))
		}
	}
	return complaints
}

// What grows by more than the allowance is found, and what fills up at first is
// not.
func TestNoRaceSoakJudge(t *testing.T) {
	run := func(heap func(i int) int64) []string {
		var samples []usage
		for i := range 100 {
			samples = append(samples, usage{heap: heap(i) << 20})
		}
		return judge(samples)
	}
	assert.Empty(t, run(func(i int) int64 { return 100 + min(int64(i), 40) }))
	assert.Empty(t, run(func(i int) int64 { return 100 + int64(i%20) }))
	assert.Empty(t, run(func(i int) int64 { return 200 - int64(i) }))
	assert.Equal(t, []string{"heap grows: 149.0 MB at most in the first half, 199.0 MB in the second"}, run(func(i int) int64 { return 100 + int64(i) }))
}

// With small bounds on what is remembered of commands, and a book that stays as
// deep as it is, the services and their stores use as much memory after 20,000
// orders as after 8,000. What was kept of each command, 32,000 in all, would be
// found from some 160 bytes on.
func TestNoRaceFlatMemory(t *testing.T) {
	const (
		rounds = 10
		orders = 2000 // of a round
		slack  = 3 << 20
	)
	h := newHouse(t, onBolt(1024), bounds{commands: 1024, items: 8, flight: 256})
	reqs := orderFlow(h.instruments, rounds*orders, 1)
	before := live()
	var used []int64 // after each round
	for i := range rounds {
		h.process(t, reqs[i*len(reqs)/rounds:(i+1)*len(reqs)/rounds])
		assert.Zero(t, h.bus.Len())
		require.Eventually(t, func() bool { return h.queue.Len() == 0 }, time.Minute, time.Millisecond)
		used = append(used, live()-before)
	}
	t.Logf("bytes in use after %d orders each: %d", orders, used)
	early, late := slices.Max(used[2:4]), slices.Max(used[8:])
	assert.Less(t, late, early+slack, "after %d orders each: %d", orders, used)
}

// live returns how many bytes are in use.
func live() int64 {
	runtime.GC()
	runtime.GC() // what the first one found in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// measure asks the venue's metrics, the system and the disk.
func measure(t *testing.T, p *process, dir string, at time.Duration) usage {
	t.Helper()
	resp, err := http.Get(p.meter)
	require.NoError(t, err)
	defer resp.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			values[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	u := usage{at: at, heap: int64(values["go_memstats_next_gc_bytes"]), resident: int64(values["process_resident_memory_bytes"]),
		goroutines: int64(values["go_goroutines"]), cpu: values["process_cpu_seconds_total"]}
	require.Positive(t, u.heap)
	require.Positive(t, u.goroutines)
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)); err == nil { // Linux
		if found := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status); found != nil {
			u.anonymous, err = strconv.ParseInt(string(found[1]), 10, 64)
			require.NoError(t, err)
			u.anonymous <<= 10
		}
	}
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			u.files += info.Size()
		}
		return nil // it may have got its final name meanwhile
	}))
	require.FileExists(t, filepath.Join(dir, venue.DatabaseFile))
	return u
}
