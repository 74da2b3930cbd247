package cloud

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/adapters/standin/eventbus"
	"github.com/castlecloud/exchange/adapters/standin/websocket"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/aws/local/lambda"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/stretchr/testify/require"
)

var (
	faultsTime = flag.Duration("faults.time", 15*time.Second, "how long TestFaults trades while everything fails")
	faultsSeed = flag.Uint64("faults.seed", 0, "of TestFaults; 0: another one each time")
	faultsRate = flag.Float64("faults.rate", 25, "requests a second of TestFaults")
)

// patience bounds every wait for what must come.
const patience = 3 * time.Minute

// chaos decides what goes wrong, and counts it. The seed decides the order of
// its decisions; which call meets which is the schedulers'.
type chaos struct {
	mu     sync.Mutex
	rng    *rand.Rand
	counts map[string]int
	calm   atomic.Bool // nothing goes wrong any more
}

func newChaos(seed uint64) *chaos {
	return &chaos{rng: rand.New(rand.NewPCG(seed, 1)), counts: map[string]int{}}
}

// happens reports whether a fault of a kind happens, one time in n.
func (c *chaos) happens(kind string, n int) bool {
	if c.calm.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rng.IntN(n) != 0 {
		return false
	}
	c.counts[kind]++
	return true
}

func (c *chaos) count(kind string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[kind] += n
}

// missing returns a fault that must happen and has not, "" when all have.
func (c *chaos) missing() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kind := range []string{"function killed in the middle", "batch delivered twice", "Redis flushed", "Redis restarted", "PostgreSQL restarted", "DynamoDB throttled", "SNS later than later events"} {
		if c.counts[kind] == 0 {
			return kind
		}
	}
	return ""
}

func (c *chaos) upTo(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.rng.Int64N(int64(d)))
}

// faults are those of the parts.
func (c *chaos) faults() Faults {
	return Faults{
		Zombie: true,
		Invocation: func(function string) (f lambda.Fault) {
			// The gateway's own functions fail more seldom: a client would only
			// send again.
			often := 1
			if slices.Contains([]string{"api", "authorizer", "websocket"}, function) {
				often = 5
			}
			switch {
			case c.happens("function throttled", 40*often):
				f.Throttle = true
			case c.happens("function killed in the middle", 60*often):
				f.Crash, f.After = true, c.upTo(20*time.Millisecond)
			case c.happens("function timed out", 300*often):
				f.TimeOut, f.After = true, c.upTo(50*time.Millisecond)
			case c.happens("batch delivered twice", 30*often):
				f.Twice = true
			case c.happens("answer of a function lost", 60*often):
				f.Lose = true
			case c.happens("function delayed", 20*often):
				f.Delay = c.upTo(200 * time.Millisecond)
			}
			return f
		},
		Late: func(string) time.Duration {
			if c.happens("SNS later than later events", 20) {
				return 50*time.Millisecond + c.upTo(time.Second)
			}
			return 0
		},
		DynamoDB: func(DynamoRequest) (f ProxyFault) {
			switch {
			case c.happens("DynamoDB throttled", 30):
				f.Throttle = true
			case c.happens("answer of DynamoDB lost", 200):
				f.Lose = true
			case c.happens("DynamoDB slow", 50):
				f.Delay = c.upTo(50 * time.Millisecond)
			}
			return f
		},
		Post: func(method, _ string) (f websocket.Fault) {
			switch {
			case c.happens("push dropped", 100):
				f.Lose = true
			case c.happens("push failed", 200):
				f.Status = 500
			case c.happens("client cut off", 400):
				f.Cut = true
			}
			return f
		},
	}
}

// breakParts breaks what no call can be blamed for, one thing after the other,
// until ctx ends.
func (c *chaos) breakParts(ctx context.Context, t *testing.T, cloud *Cloud) {
	victims := []string{"order-processor", "risk-checker", "push", "sweeper"}
	for shard := range cloud.cfg.Shards {
		for _, f := range []string{"matching-engine", "zombie", "market-data", "trade-recorder", "settler"} {
			victims = append(victims, ShardName(f, shard))
		}
	}
	turns := []string{"Redis flushed", "Redis restarted", "PostgreSQL restarted", "function killed"}
	for i := 0; ; i++ {
		timer := time.NewTimer(500*time.Millisecond + c.upTo(time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		var err error
		switch kind := turns[i%len(turns)]; kind {
		case "Redis flushed":
			if err = flushRedis(cloud.parts.redis.Addr); err == nil {
				c.count(kind, 1)
			}
		case "Redis restarted":
			err = c.restart(ctx, kind, cloud.parts.redis)
		case "PostgreSQL restarted":
			err = c.restart(ctx, kind, cloud.parts.postgres)
		default:
			victim := victims[int(c.upTo(time.Duration(len(victims))))]
			c.count("function killed while it worked", cloud.lambda.Kill(victim))
			c.count("function killed", 1)
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("breaking a part: %v", err)
		}
	}
}

// restart kills a server and starts it again. It is finished also when ctx has
// ended meanwhile.
func (c *chaos) restart(ctx context.Context, kind string, s *standin.Server) error {
	if err := s.Kill(); err != nil {
		return err
	}
	c.count(kind, 1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return s.Restart(ctx)
}

func flushRedis(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("FLUSHALL\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 16)
	n, err := conn.Read(answer)
	if err == nil && !strings.HasPrefix(string(answer[:n]), "+OK") {
		err = errors.New(string(answer[:n]))
	}
	return err
}

// startCloud starts a cloud for a test, in a directory that PostgreSQL's user
// can enter, or skips the test by name when something is not installed.
func startCloud(t testing.TB, cfg Config) *Cloud {
	t.Helper()
	var err error
	cfg.Dir, err = os.MkdirTemp("", "exchange-cloud-")
	require.NoError(t, err)
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(cfg.Dir)
		}
	})
	require.NoError(t, os.Chmod(cfg.Dir, 0o755))
	cfg.Binaries = binaries(t)
	c, err := Start(t.Context(), cfg)
	if errors.Is(err, standin.ErrMissing) {
		exchangetest.Skip(t, exchangetest.Reason(err.Error()))
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		if t.Failed() {
			t.Logf("what the functions printed: %s", filepath.Join(cfg.Dir, LogDir))
		}
	})
	return c
}

// TestFaults trades while everything fails that may fail on AWS, and then looks
// whether anything was lost, or counted twice.
func TestFaults(t *testing.T) {
	seed := *faultsSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay: go test ./examples/aws/local/cloud -run '^TestFaults$' -v -faults.seed=%d -faults.time=%v -faults.rate=%v", seed, *faultsTime, *faultsRate)
	ch := newChaos(seed)
	ch.calm.Store(true) // until everything is up
	c := startCloud(t, Config{Faults: ch.faults(), Visibility: 2 * time.Second, SweepEvery: 500 * time.Millisecond, DemoAccounts: 6})

	tr := newTraffic(t, c, seed)
	tr.watch(t)
	ch.calm.Store(false)
	// Requests come twice, out of order, or are refused.
	busFaults := eventbus.Faults{Seed: seed, Refuse: 0.02, Throttle: 0.02, Duplicate: 0.05, Delay: 100 * time.Millisecond}
	c.bus.SetFaults(busFaults)
	ctx, cancel := context.WithTimeout(t.Context(), *faultsTime+patience)
	defer cancel()
	var breaking sync.WaitGroup
	breaking.Go(func() { ch.breakParts(ctx, t, c) })
	breaking.Go(func() { // long enough, also where everything is slow, for each fault to happen
		defer cancel()
		end := time.After(*faultsTime)
		for over := false; !over || ch.missing() != ""; {
			select {
			case <-end:
				over = true
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	})
	tr.trade(ctx, *faultsRate)
	breaking.Wait()
	ch.calm.Store(true)
	c.bus.SetFaults(eventbus.Faults{})

	tr.cancelEverything(t)
	found := inspect(t, c, tr, patience)
	var text strings.Builder
	ch.mu.Lock()
	for _, kind := range slices.Sorted(maps.Keys(ch.counts)) {
		fmt.Fprintf(&text, "  %6d  %s\n", ch.counts[kind], kind)
	}
	ch.mu.Unlock()
	sent, accepted, unanswered := tr.figures()
	t.Logf("faults:\n%s          event bus: %+v\nrequests: %d sent, %d accepted, %d never answered\njournal:  %d items, %d commands, %d orders, %d trades\nclients:  %d gaps, %d reconnects\nviolations: %d",
		&text, busFaults, sent, accepted, unanswered, found.items, found.commands, found.orders, found.trades, tr.gaps.Load(), tr.redials.Load(), len(found.violations))
	for _, v := range found.violations {
		t.Error(v)
	}
	require.NotZero(t, found.trades, "nothing traded: the test shows nothing")
	require.Empty(t, ch.missing(), "this never happened")
	// None of these checks may be one that cannot fail.
	planted := plant(t, c, tr)
	for _, v := range inspect(t, c, tr, 3*time.Second).violations {
		planted = slices.DeleteFunc(planted, func(p string) bool { return strings.Contains(v, p) })
	}
	require.Empty(t, planted, "planted, and not found")
}

// binaries compiles the functions once for all tests of the package.
var compiled struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if compiled.dir != "" {
		_ = os.RemoveAll(compiled.dir)
	}
	os.Exit(code)
}

func functionNames() []string {
	var names []string
	for _, f := range config.Functions {
		names = append(names, f.Name)
	}
	return names
}
