package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// screen is what a program prints; its first whole announcement can be waited
// for.
type screen struct {
	mu   sync.Mutex
	b    bytes.Buffer
	open chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := strings.Contains(s.b.String(), "Ctrl-C")
	s.b.Write(p)
	if !had && strings.Contains(s.b.String(), "Ctrl-C") {
		close(s.open)
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The program says where to go, and there is what it says.
func TestProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	out := &screen{open: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-data", dir, "-listen", "127.0.0.1:0", "-metrics", "127.0.0.1:0", "-bot-rate", "100", "-log", "warn"}, out, io.Discard)
	}()
	select {
	case <-out.open:
	case err := <-done:
		t.Fatalf("it ended: %v\n%s", err, out)
	}
	urls := regexp.MustCompile(`http://127\.0\.0\.1:\d+/[^\s,]*`).FindAllString(out.String(), -1)
	require.Len(t, urls, 4, "page, products, document, metrics: %s", out)
	for _, url := range urls {
		resp, err := http.Get(url)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 200, resp.StatusCode, url)
	}

	var token, errOut bytes.Buffer
	require.NoError(t, run(ctx, []string{"token", "-data", dir, "-account", "2"}, &token, &errOut))
	req, err := http.NewRequest("GET", strings.TrimSuffix(urls[0], "/")+"/balances", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token.String()))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	stop()
	require.NoError(t, <-done)
	assert.Contains(t, out.String(), "stopping")
	assert.FileExists(t, filepath.Join(dir, "exchange.db"))
}

func TestArguments(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		args string
		says string
	}{
		{"-listen 0.0.0.0:8080 -data " + dir, "expected a loopback address"},
		{"-nonsense", "not defined"},
		{"bogus", "the one subcommand is token"},
		{"-bot-rate 0", "-bot-rate 0: expected"},
		{"-bot-rate NaN", "expected"},
		{"-rate -1", "-rate -1: expected"},
		{"-log loud", "-log \"loud\": expected"},
		{"-demo-accounts 101 -data " + dir, "expected 1 to 100"},
		{"token -account 0 -data " + dir, "account 0"},
		{"token -ttl 1ns -data " + dir, "expected 1s to"},
		{"token -ttl 999999h -data " + dir, "expected 1s to"},
		{"token more -data " + dir, "unexpected"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			var out bytes.Buffer
			err := run(context.Background(), strings.Fields(tc.args), &out, io.Discard)
			assert.ErrorContains(t, err, tc.says)
			assert.Empty(t, out.String())
		})
	}
	var help bytes.Buffer
	assert.ErrorIs(t, run(context.Background(), []string{"-h"}, io.Discard, &help), flag.ErrHelp)
	assert.Contains(t, help.String(), "-listen")
}

// Whoever has something else on the port learns how to take another one.
func TestPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, flags := range [][]string{{"-listen", l.Addr().String()}, {"-listen", "127.0.0.1:0", "-metrics", l.Addr().String()}} {
		err := run(context.Background(), append(flags, "-data", t.TempDir(), "-bots=false", "-log", "error"), io.Discard, io.Discard)
		assert.ErrorContains(t, err, l.Addr().String())
		assert.ErrorContains(t, err, flags[len(flags)-2]+" ")
	}
}

// The table of flags in the README is that of the program.
func TestFlagsInREADME(t *testing.T) {
	var help bytes.Buffer
	_ = run(context.Background(), []string{"-h"}, io.Discard, &help)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	flags := func(text, pattern string) (out []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		return out
	}
	assert.ElementsMatch(t, flags(help.String(), `(?m)^  (-[a-z-]+)`), flags(string(readme), "(?m)^\\| `(-[a-z-]+)` \\|"))
}
