package cloud

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// clockTick is the unit of processor times in /proc, which Linux fixes for
// every architecture that Go knows.
const clockTick = 10 * time.Millisecond

// processorTimes returns what this process and all below it have used since
// they began, by program; nil where there is no /proc. What has ended counts
// with its parent, when that has waited for it.
func processorTimes() map[string]time.Duration {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(stats) == 0 {
		return nil
	}
	type process struct {
		name   string
		parent int
		used   time.Duration
	}
	all := map[int]process{}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid ... utime stime
		text := string(data)
		from, to := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		fields := strings.Fields(text[to+1:])
		number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
		pid, _ := strconv.Atoi(strings.TrimSpace(text[:from]))
		all[pid] = process{text[from+1 : to], number(1), time.Duration(number(11)+number(12)) * clockTick}
	}
	out := map[string]time.Duration{}
	for pid, p := range all {
		for up := pid; up > 1; up = all[up].parent {
			if up == os.Getpid() {
				if pid == up {
					p.name = "this process: clients, gateway, bus, queue pollers"
				}
				out[p.name] += p.used
				break
			}
		}
	}
	return out
}

// processorTable says how much of the processor n orders took.
func processorTable(before, after map[string]time.Duration, n int) string {
	for name := range after {
		after[name] -= before[name]
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ms of processor time an order\t\t")
	var sum time.Duration
	for _, name := range slices.SortedFunc(maps.Keys(after), func(a, b string) int { return int(after[b] - after[a]) }) {
		sum += after[name]
		fmt.Fprintf(w, "%s\t%.2f\t\n", name, perOrder(after[name], n))
	}
	fmt.Fprintf(w, "all\t%.2f\t\n", perOrder(sum, n))
	_ = w.Flush()
	return b.String()
}

// perOrder is in ms.
func perOrder(d time.Duration, n int) float64 { return d.Seconds() * 1000 / float64(n) }
