package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	crashKills = flag.Int("crash.kills", 20, "how often TestKilledVenueLosesNothing kills the venue")
	crashSeed  = flag.Uint64("crash.seed", 1, "of the orders and the moments of TestKilledVenueLosesNothing")
)

// How the venue is killed: some time after the load has begun to be answered,
// so that orders are on their way in every stage.
const (
	crashSoonest = 100 * time.Millisecond
	crashLatest  = 900 * time.Millisecond
	crashClients = 20 // requests at once
	crashWait    = 30 * time.Second
)

// The venue is killed (kill -9) in the middle of load and started again on its
// data, over and over. Whatever was answered with 202 is still there, and
// answered the same when it is sent again; no money is lost; every sequence
// goes on; nothing stays held without an order.
func TestKilledVenueLosesNothing(t *testing.T) {
	t.Logf("to repeat: go test -run %s ./examples/exchange -crash.seed=%d", t.Name(), *crashSeed)
	binary, dir := build(t, "."), filepath.Join(t.TempDir(), "data")
	c := newCrowd(*crashSeed)
	deposits := map[string]decimal.Decimal{"USD": decimal.NewFromInt(1_000_000), "BTC": decimal.NewFromInt(20), "ETH": decimal.NewFromInt(300)}
	began := time.Now()
	again := 0
	for kill := 1; kill <= *crashKills; kill++ {
		p := startVenue(t, binary, dir)
		c.signIn(t, p)
		if kill == 1 {
			c.checkBalances(t, deposits)
		}
		again += c.sendAgain(t)
		c.trade(t, p, crashSoonest+time.Duration(c.rng.Int64N(int64(crashLatest-crashSoonest))))
		b := openBooks(t, dir, c.accounts)
		assert.Equal(t, c.deposited(t, b, deposits), b.total(t), "after kill %d: assets", kill)
		b.close(t)
		require.False(t, t.Failed())
	}
	p := startVenue(t, binary, dir)
	c.signIn(t, p)
	again += c.sendAgain(t)
	p.stop(t)

	b := openBooks(t, dir, c.accounts)
	defer b.close(t)
	b.finish(t)
	assert.Equal(t, c.deposited(t, b, deposits), b.total(t), "assets")
	trades := b.checkFinished(t, c.acked)
	assert.Greater(t, len(c.acked), 20**crashKills, "the load was none")
	assert.Greater(t, trades, *crashKills, "the load did not trade")
	t.Logf("%d kills in %.0fs, %d commands answered with 202, %d of them sent again, %d without an answer, %d trades, 0 violations",
		*crashKills, time.Since(began).Seconds(), len(c.acked), again, c.doubtful, trades)
}

// build builds the program in a directory.
func build(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "program")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// process is the venue as a process of its own.
type process struct {
	cmd    *exec.Cmd
	url    string
	meter  string // where the metrics are
	client *client.Client
	errs   bytes.Buffer // what it logged
}

// startVenue starts the venue and waits until it works.
func startVenue(t *testing.T, binary, dir string, args ...string) *process {
	t.Helper()
	args = append([]string{"-listen", "127.0.0.1:0", "-metrics", "off", "-data", dir, "-bots=false", "-rate", "1000000", "-log", "warn"}, args...)
	p := &process{cmd: exec.Command(binary, args...)}
	p.cmd.Stderr = &p.errs
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() && p.errs.Len() > 0 {
			t.Logf("the venue, process %d, logged:\n%s", p.cmd.Process.Pid, p.errs.Bytes())
		}
	})
	timer := time.AfterFunc(crashWait, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C"); {
		switch words := strings.Fields(lines.Text()); {
		case len(words) == 2 && words[0] == "page":
			p.url = strings.TrimSuffix(words[1], "/")
		case len(words) == 2 && words[0] == "metrics":
			p.meter = words[1]
		}
	}
	require.NotEmpty(t, p.url, "the venue did not say where it is: %s", &p.errs)
	p.client, err = client.New(p.url, crashClients, crashWait)
	require.NoError(t, err)
	t.Cleanup(p.client.Close)
	require.NoError(t, p.client.Health(t.Context()), "the venue is not healthy after its start")
	return p
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	err := p.cmd.Wait()
	require.Equal(t, -1, p.cmd.ProcessState.ExitCode(), "the venue ended before it was killed: %v", err)
}

// stop asks the process to end, and waits until it has.
func (p *process) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	timer := time.AfterFunc(crashWait, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	require.NoError(t, p.cmd.Wait(), "%s", &p.errs)
}

// command is a request that was answered with 202.
type command struct {
	token  string
	method string
	path   string
	key    string // Idempotency-Key, or the client_order_id of an order
	body   []byte
	got    client.Receipt
}

// crowd are the demo accounts, trading at random.
type crowd struct {
	rng      *rand.Rand
	accounts []exchange.AccountID
	client   *client.Client // of the process that runs
	tokens   []string

	mu       sync.Mutex
	n        int             // keys given
	recent   []command       // answered by the process that runs
	acked    map[string]bool // by command id: answered ever
	doubtful int             // without an answer
}

func newCrowd(seed uint64) *crowd {
	c := &crowd{rng: rand.New(rand.NewPCG(seed, 0)), acked: map[string]bool{}}
	for acct := exchange.AccountID(1); acct <= venue.DefaultDemoAccounts; acct++ {
		c.accounts = append(c.accounts, acct)
	}
	return c
}

func (c *crowd) signIn(t *testing.T, p *process) {
	t.Helper()
	c.client, c.tokens = p.client, nil
	for _, acct := range c.accounts {
		token, err := p.client.Login(t.Context(), strconv.FormatUint(uint64(acct), 10))
		require.NoError(t, err)
		c.tokens = append(c.tokens, token)
	}
}

// checkBalances looks that every account has this much of each asset.
func (c *crowd) checkBalances(t *testing.T, want map[string]decimal.Decimal) {
	t.Helper()
	for _, token := range c.tokens {
		balances, err := c.client.Balances(t.Context(), token)
		require.NoError(t, err)
		require.Len(t, balances, len(want))
		for _, b := range balances {
			require.True(t, want[b.Asset].Equal(decimal.RequireFromString(b.Available)), "%+v", b)
			require.Equal(t, "0", b.Held)
		}
	}
}

// deposited returns what all accounts were given, in atoms.
func (c *crowd) deposited(t *testing.T, b *books, each map[string]decimal.Decimal) map[exchange.AssetID]exchange.Amount {
	t.Helper()
	all := map[exchange.AssetID]exchange.Amount{}
	for _, in := range b.instruments {
		for _, asset := range []exchange.Asset{in.Base(), in.Quote()} {
			n, err := asset.Amount(each[asset.Code])
			require.NoError(t, err)
			all[asset.ID] = n * exchange.Amount(len(c.accounts))
		}
	}
	return all
}

// trade sends requests from many clients at once, and kills the venue a while
// after it has answered two for each.
func (c *crowd) trade(t *testing.T, p *process, killAfter time.Duration) {
	t.Helper()
	c.recent = nil
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	begun := make(chan struct{})
	answered := 0
	var clients sync.WaitGroup
	for i := range crashClients {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), uint64(i)))
		clients.Go(func() {
			var mine []own
			for ctx.Err() == nil {
				cmd := c.draw(rng, mine)
				err := c.send(ctx, &cmd)
				var refused *client.Error
				switch {
				case err == nil:
					c.mu.Lock()
					if answered++; answered == 2*crashClients {
						close(begun)
					}
					c.mu.Unlock()
					if cmd.method == http.MethodPost && cmd.got.OrderID != "" {
						mine = append(mine, own{cmd.token, cmd.got.OrderID})
					}
				case errors.As(err, &refused) && refused.Status == http.StatusGatewayTimeout: // nobody knows yet
					c.mu.Lock()
					c.doubtful++
					c.mu.Unlock()
				case errors.As(err, &refused):
					if ctx.Err() == nil {
						t.Errorf("%s %s: %v", cmd.method, cmd.path, err)
						return
					}
				default: // the venue is gone, or the answer is
					c.mu.Lock()
					c.doubtful++
					c.mu.Unlock()
					return
				}
			}
		})
	}
	select {
	case <-begun:
	case <-time.After(2 * crashWait):
		t.Error("next to nothing was answered")
	}
	timer := time.NewTimer(killAfter)
	defer timer.Stop()
	<-timer.C
	p.kill(t)
	stop()
	clients.Wait()
}

// own is an order of a client's.
type own struct{ token, id string }

// draw makes a request: mostly an order around one price, sometimes a cancel or
// an amend of one of the client's own.
func (c *crowd) draw(rng *rand.Rand, mine []own) command {
	c.mu.Lock()
	c.n++
	key := "crash-" + strconv.Itoa(c.n)
	c.mu.Unlock()
	cmd := command{key: key}
	if len(mine) > 0 && rng.IntN(4) == 0 {
		order := mine[rng.IntN(len(mine))]
		cmd.token, cmd.path = order.token, "/orders/"+order.id
		if cmd.method = http.MethodDelete; rng.IntN(3) == 0 {
			cmd.method = http.MethodPatch
			cmd.body = []byte(fmt.Sprintf(`{"size":"0.%03d"}`, 1+rng.IntN(60)))
		}
		return cmd
	}
	market := []struct {
		symbol string
		price  int64
		scale  int32
	}{{"BTC-USD", 64000_00, 2}, {"ETH-USD", 3200_00, 2}, {"ETH-BTC", 5000, 5}}[rng.IntN(3)]
	o := client.NewOrder{ClientOrderID: key, Symbol: market.symbol, Side: "buy", Type: "limit", Size: fmt.Sprintf("0.%03d", 10+rng.IntN(50)), SelfTrade: "cancel_oldest"}
	price := market.price - 10 + rng.Int64N(16)
	if rng.IntN(2) == 0 {
		o.Side, price = "sell", market.price+10-rng.Int64N(16)
	}
	if rng.IntN(4) == 0 {
		o.TimeInForce = "IOC"
	}
	o.Price = decimal.New(price, -market.scale).String()
	body, err := json.Marshal(o)
	if err != nil {
		panic(err) // a struct of texts
	}
	cmd.token, cmd.method, cmd.path, cmd.body = c.tokens[rng.IntN(len(c.tokens))], http.MethodPost, "/orders", body
	return cmd
}

// send sends a request and notes its 202.
func (c *crowd) send(ctx context.Context, cmd *command) error {
	key := cmd.key
	if cmd.method == http.MethodPost {
		key = ""
	}
	if err := c.client.Call(ctx, cmd.method, cmd.path, cmd.token, key, cmd.body, &cmd.got); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent = append(c.recent, *cmd)
	c.acked[cmd.got.CommandID] = true
	return nil
}

// sendAgain repeats what the killed process has answered: the answer must be
// the same, and each order known. It returns how many there were.
func (c *crowd) sendAgain(t *testing.T) int {
	t.Helper()
	sem := make(chan struct{}, crashClients)
	var all sync.WaitGroup
	for i := range c.recent {
		sem <- struct{}{}
		all.Go(func() {
			defer func() { <-sem }()
			cmd := c.recent[i]
			key := cmd.key
			if cmd.method == http.MethodPost {
				key = ""
				o, err := c.client.Order(t.Context(), cmd.token, "client:"+cmd.key)
				if assert.NoError(t, err, "order %s, which was answered with 202", cmd.key) {
					assert.Equal(t, cmd.got.CommandID, o.CommandID)
				}
			}
			var got client.Receipt
			var late *client.Error
			err := c.client.Call(t.Context(), cmd.method, cmd.path, cmd.token, key, cmd.body, &got)
			for tries := 0; tries < 5 && errors.As(err, &late) && late.Status == http.StatusGatewayTimeout; tries++ { // nobody knows yet
				err = c.client.Call(t.Context(), cmd.method, cmd.path, cmd.token, key, cmd.body, &got)
			}
			if assert.NoError(t, err, "%s %s again", cmd.method, cmd.path) {
				assert.Equal(t, cmd.got, got, "%s %s again", cmd.method, cmd.path)
			}
		})
	}
	all.Wait()
	return len(c.recent)
}
