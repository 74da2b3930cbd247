package venue

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange/examples/exchange/web"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBodyLimit(t *testing.T) {
	s := start(t, Config{})
	alice := s.as(1)
	body := object("symbol", "BTC-USD", "side", "buy", "type", "limit", "price", "1000", "size", "1")
	fits := body + strings.Repeat(" ", 8<<10-len(body))
	alice.do("POST", "/orders", fits).into(202, &ack{})
	alice.do("POST", "/orders", fits+" ").fails(413, "body_too_large", "")
	alice.do("PATCH", "/orders/BTC-USD.1", strings.Repeat(" ", 1<<20)).fails(413, "body_too_large", "")
}

func TestRateLimit(t *testing.T) {
	s := start(t, Config{Rate: 0.01}) // one at once, the next a minute and more later
	alice, bob := s.as(1), s.as(2)
	alice.balances()
	r := alice.get("/balances")
	r.fails(429, "rate_limited", "")
	assert.Equal(t, "1", r.header.Get("Retry-After"))
	bob.balances()
	refused := 0
	for range 30 { // all who need no token share ten times as much
		if r := s.get("/time"); r.status == 429 {
			refused++
		}
	}
	assert.GreaterOrEqual(t, refused, 15)
	for range 30 { // and so do those whose token is none
		if r := s.do("GET", "/balances", "", "Authorization", "Bearer x"); r.status == 429 {
			return
		}
	}
	t.Error("whoever guesses tokens is never slowed down")
}

func TestHeaders(t *testing.T) {
	s := start(t, Config{})
	s.router = nil
	r := s.get("/")
	assert.Equal(t, 200, r.status)
	assert.Equal(t, web.Policy, r.header.Get("Content-Security-Policy"))
	assert.Contains(t, r.header.Get("Content-Type"), "text/html")
	assert.Contains(t, string(r.body), "<html")
	assert.Equal(t, 200, s.get("/app.css").status)
	for _, path := range []string{"/", "/time", "/nowhere"} {
		h := s.get(path).header
		assert.Equal(t, []string{"nosniff", "DENY", "no-referrer", "same-origin"},
			[]string{h.Get("X-Content-Type-Options"), h.Get("X-Frame-Options"), h.Get("Referrer-Policy"), h.Get("Cross-Origin-Opener-Policy")}, path)
	}
	assert.Equal(t, "no-store", s.get("/time").header.Get("Cache-Control"))
	for _, path := range []string{"/index.html", "/js", "/js/", "/..%2fweb.go", "/static/index.html"} {
		s.get(path).fails(404, "not_found", "")
		s.do("DELETE", path, "").fails(404, "not_found", "")
	}
	s.do("POST", "/", "").fails(405, "method_not_allowed", "")
}

// Another page, or another name for this machine, gets nowhere.
func TestOtherOrigins(t *testing.T) {
	s := start(t, Config{})
	s.do("GET", "/time", "", "Host", "elsewhere.example").fails(421, "wrong_host", "")
	s.do("POST", "/demo/login", `{"account":"1"}`, "Host", "elsewhere.example").fails(421, "wrong_host", "")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.v.URL(), "http://"))
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]"} {
		assert.Equal(t, 200, s.do("GET", "/time", "", "Host", host+":"+port).status, host)
	}
	s.do("POST", "/demo/login", `{"account":"1"}`, "Origin", "http://elsewhere.example").fails(403, "forbidden", "")
	s.do("POST", "/demo/login", `{"account":"1"}`, "Sec-Fetch-Site", "cross-site").fails(403, "forbidden", "")
	s.do("POST", "/demo/login", `{"account":"1"}`, "Origin", s.v.URL(), "Sec-Fetch-Site", "same-origin").into(200, &struct{}{})
}

func TestDemoLogin(t *testing.T) {
	s := start(t, Config{DemoAccounts: 3})
	var list struct{ Accounts []struct{ Account string } }
	s.get("/demo/accounts").into(200, &list)
	assert.Len(t, list.Accounts, 3)
	var login struct {
		Account, Token string
		ExpiresAt      time.Time `json:"expires_at"`
	}
	s.do("POST", "/demo/login", `{"account":"3"}`).into(200, &login)
	assert.Equal(t, "3", login.Account)
	assert.WithinDuration(t, time.Now().Add(12*time.Hour), login.ExpiresAt, time.Minute)
	a := &as{s, 3, login.Token}
	assert.Equal(t, "1000000 0", a.balances()["USD"])
	for _, body := range []string{`{"account":"4"}`, `{"account":"0"}`, `{"account":"101"}`, `{"account":"-1"}`, `{"account":"x"}`, `{}`} {
		s.do("POST", "/demo/login", body).fails(400, "invalid_field", "account")
	}
	s.do("POST", "/demo/login", `{"account":1}`).fails(400, "invalid_json", "account")

	off := start(t, Config{NoDemoLogin: true})
	off.do("POST", "/demo/login", `{"account":"1"}`).fails(404, "not_found", "")
	off.get("/demo/accounts").fails(404, "not_found", "")
	assert.Equal(t, "1000000 0", off.as(1).balances()["USD"], "there they are")
}

func TestStartRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	taken := start(t, Config{})
	for _, tc := range []struct {
		name string
		cfg  Config
		says string
	}{
		{"no directory", Config{}, "data directory"},
		{"a file for a directory", Config{Dir: file}, "data directory"},
		{"all addresses", Config{Dir: t.TempDir(), Listen: ":0"}, "loopback"},
		{"any address", Config{Dir: t.TempDir(), Listen: "0.0.0.0:0"}, "loopback"},
		{"no port", Config{Dir: t.TempDir(), Listen: "127.0.0.1"}, "host and port"},
		{"taken", Config{Dir: t.TempDir(), Listen: strings.TrimPrefix(taken.v.URL(), "http://")}, "in use"},
		{"metrics for all", Config{Dir: t.TempDir(), Metrics: "0.0.0.0:0"}, "loopback"},
		{"another venue's data", Config{Dir: taken.cfg.Dir}, "in use"},
		{"too many accounts", Config{Dir: t.TempDir(), DemoAccounts: MaxDemoAccounts + 1}, "expected 1 to 100"},
		{"negative accounts", Config{Dir: t.TempDir(), DemoAccounts: -1}, "expected 1 to 100"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := Start(context.Background(), tc.cfg)
			require.ErrorContains(t, err, tc.says)
			assert.Nil(t, v)
		})
	}
	assert.Equal(t, 200, taken.get("/time").status, "the other one is not disturbed")
}

// n connections are served, the next one waits until one of them is gone.
func TestConnectionLimit(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := limitListener(inner, 2)
	accepted := make(chan net.Conn)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
				return
			}
			accepted <- c
		}
	})
	var served []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		if len(served) < 2 {
			served = append(served, <-accepted)
		}
	}
	select {
	case <-accepted:
		t.Fatal("a third one is served")
	default:
	}
	require.NoError(t, served[0].Close())
	assert.Error(t, served[0].Close(), "closed twice, it makes room once")
	third := <-accepted
	require.NoError(t, l.Close())
	wg.Wait()
	require.NoError(t, third.Close())
	require.NoError(t, served[1].Close())
}

func TestMetricsAndTraces(t *testing.T) {
	s := start(t, Config{})
	got := s.as(1).limit("buy", "60000", "0.5")
	s.as(1).balances()
	fetch := func(url string) (int, string) {
		resp, err := http.Get(url)
		require.NoError(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(data)
	}
	wants := []string{`exchange_matching_commands_total{instrument="BTC-USD"} `, `exchange_http_requests_total{instrument=""}`,
		`exchange_matching_committed_seconds_count{instrument="BTC-USD"}`, `exchange_http_order_request_seconds_bucket{instrument="",le="0.01"}`,
		`exchange_settler_position{instrument="BTC-USD"}`}
	var status int
	var text string
	require.Eventually(t, func() bool { // the order is answered before it is settled
		status, text = fetch(s.v.MetricsURL())
		return status == 200 && !slices.ContainsFunc(wants, func(want string) bool { return !strings.Contains(text, want) })
	}, patience, time.Millisecond, "%v", wants)
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "exchange_") {
			assert.Regexp(t, `^exchange_[a-z0-9_]+\{instrument="(|BTC-USD|ETH-USD|ETH-BTC)"(,le="[^"]+")?\} `, line, "the instrument is the only label")
		}
	}
	base := strings.TrimSuffix(s.v.MetricsURL(), "/metrics")
	require.Eventually(t, func() bool {
		status, text = fetch(base + "/traces/" + got.CommandID)
		return status == 200 && strings.Count(text, `"stage"`) == 7
	}, patience, time.Millisecond, "%s", text)
	for _, stage := range []string{"received", "queued", "committed", "answered", "recorded", "settled", "pushed"} {
		assert.Contains(t, text, `"stage":"`+stage+`"`)
	}
	status, _ = fetch(base + "/traces/xyz")
	assert.Equal(t, 400, status)
	status, _ = fetch(base + "/traces/" + strings.Repeat("0", 32))
	assert.Equal(t, 404, status)
	s.get("/metrics").fails(404, "not_found", "")

	none := start(t, Config{Metrics: "off"})
	assert.Empty(t, none.v.MetricsURL())
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The log tells the way of every command, and of nobody who they are.
func TestLog(t *testing.T) {
	var out lockedBuffer
	s := start(t, Config{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), DemoAccounts: 97})
	who := s.as(97)
	got := who.limit("buy", "60000", "0.5", "client_order_id", "my-secret-name")
	who.limit("buy", "60000", "5000")
	who.get("/orders/" + got.OrderID)
	who.get("/orders/client:my-secret-name")
	s.do("POST", "/demo/login", `{"account":"97"}`)
	s.do("GET", "/balances", "", "Authorization", "Bearer abc.def.ghi")
	var text string
	wants := []string{"stage=settled", "msg=hop command_id=" + got.CommandID + " stage=committed took=", "method=POST route=/orders status=202"}
	require.Eventually(t, func() bool {
		text = out.String()
		return !slices.ContainsFunc(wants, func(want string) bool { return !strings.Contains(text, want) })
	}, patience, time.Millisecond, "%v", wants)
	for _, secret := range []string{who.token, "abc.def.ghi", "my-secret-name", "account=97", `account":"97"`} {
		assert.NotContains(t, text, secret)
	}
	assert.NotRegexp(t, `[=" ]97[" \n]`, text, "an account's number")
}
