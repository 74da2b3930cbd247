package cloud

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// screen is what a program prints; open is closed when it says how to stop it.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	once sync.Once
	open chan struct{}
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(data)
	if strings.Contains(s.text.String(), "Ctrl-C stops it.") {
		s.once.Do(func() { close(s.open) })
	}
	return len(data), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// The program comes up, says what runs where, takes an order to the book, and
// leaves nothing behind.
func TestRun(t *testing.T) {
	functions := binaries(t) // before TMPDIR changes: they outlive this test
	dir, err := os.MkdirTemp("", "exchange-run-")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	t.Setenv("TMPDIR", dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &screen{open: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, []string{"-binaries", functions, "-listen", "127.0.0.1:0", "-risk-in-process", "-shards", "1"}, out, io.Discard)
	}()
	select {
	case <-out.open:
	case err := <-done:
		if errors.Is(err, standin.ErrMissing) {
			exchangetest.Skip(t, exchangetest.Reason(err.Error()))
		}
		t.Fatalf("it ended: %v\n%s", err, out)
	}
	addresses := regexp.MustCompile(`\w+://\S*127\.0\.0\.1:\d+`).FindAllString(out.String(), -1)
	require.Len(t, addresses, 11, "ten parts, and loadgen's: %s", out)
	c, err := client.New(addresses[0], 4, patience)
	require.NoError(t, err)
	defer c.Close()
	accounts, err := c.Accounts(ctx)
	require.NoError(t, err)
	assert.Len(t, accounts, DefaultDemoAccounts)
	token, err := c.Login(ctx, accounts[0])
	require.NoError(t, err)
	receipt, err := c.Place(ctx, token, &client.NewOrder{ClientOrderID: "a", Symbol: "SOL-USD", Side: "buy", Type: "limit", Price: "150", Size: "1"})
	require.NoError(t, err)
	assert.Equal(t, "accepted", receipt.Status)
	require.Eventually(t, func() bool {
		top, err := c.Top(ctx, "SOL-USD")
		return err == nil && len(top.Bids) == 1 && top.Bids[0].Price == "150"
	}, patience, 50*time.Millisecond, "it is in the book")
	require.Eventually(t, func() bool {
		o, err := c.Order(ctx, token, "client:a")
		return err == nil && o.Status == "open"
	}, patience, 50*time.Millisecond, "it is recorded")

	stop()
	require.NoError(t, <-done)
	for _, address := range addresses {
		_, host, _ := strings.Cut(address, "://")
		host = host[strings.LastIndex(host, "@")+1:]
		require.Eventually(t, func() bool { // another program may have taken the port, for a while
			conn, err := net.Dial("tcp", host)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		}, patience, 50*time.Millisecond, "%s still listens", address)
	}
	left, err := filepath.Glob(filepath.Join(dir, "exchange-aws-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"what"}, {"-listen", "0.0.0.0:0"}, {"-shards", "17"}, {"-demo-accounts", "101"}, {"-sweep", "-1s"}} {
		assert.Error(t, Run(t.Context(), append([]string{"-binaries", "/nowhere"}, args...), io.Discard, io.Discard), "%v", args)
	}
}
