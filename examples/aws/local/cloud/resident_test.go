//go:build unix

package cloud

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/castlecloud/exchange/examples/aws/internal/build"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/stretchr/testify/require"
)

// resident is a service in a process of its own.
type resident struct {
	t     testing.TB
	name  string
	log   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended, with err
	err   error
}

// startResident starts a service of the cloud.
func startResident(t testing.TB, c *Cloud, program, service, name string, env map[string]string) *resident {
	t.Helper()
	r := &resident{t: t, name: name, log: filepath.Join(c.cfg.Dir, LogDir, name+".log"), ended: make(chan struct{})}
	out, err := os.Create(r.log)
	require.NoError(t, err)
	r.cmd = exec.Command(program, service, "-health", "127.0.0.1:0")
	r.cmd.Stdout, r.cmd.Stderr = out, out
	for _, vars := range []map[string]string{c.Environment(config.ServiceVarsOf(service)), env} {
		for k, v := range vars {
			r.cmd.Env = append(r.cmd.Env, k+"="+v)
		}
	}
	require.NoError(t, r.cmd.Start())
	go func() {
		r.err = r.cmd.Wait()
		_ = out.Close()
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
	})
	return r
}

// engine starts one of the engines.
func startEngine(t testing.TB, c *Cloud, program string, n, of int, name string) *resident {
	t.Helper()
	return startResident(t, c, program, "matching-engine", name, map[string]string{"ENGINE": strconv.Itoa(n), "ENGINES": strconv.Itoa(of)})
}

// listens finds in a service's log where its probes are.
var listens = regexp.MustCompile(`"health":"(127\.0\.0\.1:\d+)"`)

// ask returns what a probe answers.
func (r *resident) ask(path string) (status int, body string) {
	said, _ := os.ReadFile(r.log)
	health := listens.FindSubmatch(said)
	if health == nil {
		return 0, "it does not listen yet"
	}
	answer, err := http.Get("http://" + string(health[1]) + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	data, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(data)
}

func (r *resident) awaitReady() {
	r.t.Helper()
	var said string
	require.Eventually(r.t, func() bool {
		status, body := r.ask("/readyz")
		said = body
		return status == http.StatusOK
	}, patience, 20*time.Millisecond, "%s: %s; log: %s", r.name, &said, r.log)
	status, body := r.ask("/livez")
	require.Equal(r.t, http.StatusOK, status, "%s: %s", r.name, body)
}

func (r *resident) signal(s syscall.Signal) { require.NoError(r.t, r.cmd.Process.Signal(s), r.name) }

// drain ends the process as an orchestrator does, and returns how long it took.
func (r *resident) drain() time.Duration {
	r.t.Helper()
	begin := time.Now()
	r.signal(syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatalf("%s has not ended %v after SIGTERM; log: %s", r.name, patience, r.log)
	}
	require.NoError(r.t, r.err, "%s; log: %s", r.name, r.log)
	return time.Since(begin)
}

// sum adds up a metric that the process has printed.
func (r *resident) sum(metric string) (n int) {
	data, err := os.ReadFile(r.log)
	require.NoError(r.t, err)
	for _, m := range regexp.MustCompile(`"`+metric+`":(\d+)`).FindAllSubmatch(data, -1) {
		v, _ := strconv.Atoi(string(m[1]))
		n += v
	}
	return n
}

// serviceProgram compiles package service.
func serviceProgram(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, build.Compile(context.Background(), dir, "", "github.com/castlecloud/exchange/examples/aws/service"))
	return filepath.Join(dir, "service")
}

func serviceNames() (names []string) {
	for _, s := range config.Services {
		names = append(names, s.Name)
	}
	return names
}

// TestResident runs every service as a process that stays, several engines by
// shard, and trades. One engine is killed, one is told to end while another has
// its shards already, and one is stopped in the middle, replaced, and goes on
// as a zombie. Nothing accepted is lost, nothing is twice, every journal
// replays.
func TestResident(t *testing.T) {
	seed := *faultsSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay: go test ./examples/aws/local/cloud -run '^TestResident$' -v -faults.seed=%d", seed)
	program := serviceProgram(t)
	const engines = 3
	c := startCloud(t, Config{Resident: serviceNames(), Shards: 2 * engines, Visibility: 2 * time.Second, DemoAccounts: 6})
	all := map[string]*resident{}
	for _, s := range config.Services {
		if s.Name != "matching-engine" {
			all[s.Name] = startResident(t, c, program, s.Name, s.Name, nil)
		}
	}
	engine := func(n int, name string) *resident {
		all[name] = startEngine(t, c, program, n, engines, name)
		return all[name]
	}
	first := [engines]*resident{engine(0, "engine-0"), engine(1, "engine-1"), engine(2, "engine-2")}
	for _, r := range all {
		r.awaitReady()
	}

	tr := newTraffic(t, c, seed)
	tr.watch(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var trading sync.WaitGroup
	trading.Go(func() { tr.trade(ctx, 50) })
	stopTrading := sync.OnceFunc(func() { cancel(); trading.Wait() })
	defer stopTrading()
	begin := time.Now()
	after := func(accepted int) {
		defer func() { t.Logf("%v: %d accepted", time.Since(begin).Round(time.Millisecond), accepted) }()
		t.Helper()
		require.Eventually(t, func() bool { _, n, _ := tr.figures(); return n >= accepted }, patience, 10*time.Millisecond)
	}
	after(80)
	first[0].signal(syscall.SIGKILL)
	<-first[0].ended
	delete(all, "engine-0")
	engine(0, "engine-0-again")
	after(160)
	engine(1, "engine-1-again").awaitReady() // two at once
	after(200)
	drained := first[1].drain()
	delete(all, "engine-1")
	after(260)
	first[2].signal(syscall.SIGSTOP)
	engine(2, "engine-2-again")
	after(360)
	first[2].signal(syscall.SIGCONT) // a zombie
	after(440)
	stopTrading()
	for _, r := range all {
		r.awaitReady()
	}
	tr.cancelEverything(t)
	found := inspect(t, c, tr, patience)
	for _, v := range found.violations {
		t.Error(v)
	}
	t.Logf("%v: inspected", time.Since(begin).Round(time.Millisecond))
	var ending sync.WaitGroup
	for _, r := range all {
		ending.Go(func() { r.drain() })
	}
	ending.Wait()
	fenced, loads := 0, 0
	for _, r := range all {
		fenced += r.sum("matching_fenced")
		loads += r.sum("matching_loads")
	}
	sent, accepted, unanswered := tr.figures()
	t.Logf("requests: %d sent, %d accepted, %d never answered; journal: %d items, %d commands, %d orders, %d trades; %d appends fenced, %d loads; drained in %v",
		sent, accepted, unanswered, found.items, found.commands, found.orders, found.trades, fenced, loads, drained.Round(time.Millisecond))
	require.NotZero(t, found.trades, "nothing traded: the test shows nothing")
	require.NotZero(t, all["engine-0-again"].sum("matching_commands"), "the shards of the engine that was killed were not taken over")
	require.NotZero(t, all["engine-1-again"].sum("matching_commands"))
	require.NotZero(t, all["engine-2-again"].sum("matching_commands"))
}
