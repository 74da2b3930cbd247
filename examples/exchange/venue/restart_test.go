package venue

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A venue that was closed and started again shows the same to everybody and
// goes on where it was.
func TestRestart(t *testing.T) {
	s := start(t, Config{Bots: true, BotRate: 500, Seed: 3})
	alice, bob := s.as(1), s.as(2)
	for i := range 20 {
		alice.limit("buy", fmt.Sprintf("%d", 60000+i), "0.1")
		bob.place("symbol", "ETH-USD", "type", "limit", "side", "sell", "price", fmt.Sprintf("%d", 3500+i), "size", "0.1")
	}
	first := alice.limit("buy", "61000", "0.1")
	alice.limit("buy", "61000", "0.1")
	alice.place("symbol", "BTC-USD", "type", "stop_limit", "side", "sell", "stop_price", "10000", "price", "10000", "size", "1")
	require.Eventually(t, func() bool { // the bots have traded
		r := s.get("/products/BTC-USD/trades?limit=10")
		return strings.Count(string(r.body), "trade_id") == 10
	}, patience, 10*time.Millisecond)

	s.cfg.Bots = false
	s.reopen() // the bots' orders stay
	view := func() (out []string) {
		for acct := exchange.AccountID(1); acct <= 2; acct++ {
			a := s.as(acct)
			out = append(out, fmt.Sprint(a.orders("", 1000), a.fills("", 1000), a.balances()))
		}
		for _, symbol := range []string{"BTC-USD", "ETH-USD", "ETH-BTC"} {
			for _, path := range []string{"/book?level=3&limit=1000", "/trades?limit=1000", "/candles?limit=1000"} {
				var body map[string]any
				s.get("/products/"+symbol+path).into(200, &body)
				delete(body, "seq") // the time goes on
				delete(body, "time")
				data, err := json.Marshal(body)
				require.NoError(t, err)
				out = append(out, symbol+path+": "+string(data))
			}
		}
		return out
	}
	before := view()
	require.NotContains(t, before[2], `"bids":[]`)
	for range 3 {
		s.reopen()
		require.Equal(t, before, view())
	}

	alice = s.as(1)
	s.as(3).place("symbol", "BTC-USD", "type", "limit", "side", "sell", "price", "61000", "size", "15", "time_in_force", "IOC")
	assert.Equal(t, "filled", alice.order(first.OrderID).Status)
	alice.limit("buy", "61000", "0.1")
	assert.Greater(t, len(alice.orders("", 1000)), 23)
}

// Money is neither made nor lost, whatever is traded, refused and canceled.
func TestConservation(t *testing.T) {
	s := start(t, Config{Bots: true, BotRate: 500, Seed: 4})
	alice := s.as(1)
	for i := range 40 {
		side := []string{"buy", "sell"}[i%2]
		alice.place("symbol", "BTC-USD", "type", "market", "side", side, "size", fmt.Sprintf("0.%02d", i+1))
		alice.limit(side, []string{"63000", "65000"}[i%2], "0.1")
	}
	s.cfg.Bots = false
	s.reopen()
	total := map[exchange.AssetID]exchange.Amount{}
	for _, in := range mustInstruments(t) {
		fees, err := s.v.parts.balances.Venue(t.Context(), in.ID())
		require.NoError(t, err)
		for _, b := range fees {
			total[b.Asset] += b.Available + b.Held
		}
	}
	want := map[exchange.AssetID]exchange.Amount{}
	add := func(acct exchange.AccountID, units map[exchange.AssetID]int64) {
		began, err := atoms(units)
		require.NoError(t, err)
		for asset, n := range began {
			want[asset] += n
		}
		a, err := s.v.parts.balances.Account(t.Context(), acct)
		require.NoError(t, err)
		for _, b := range a.Balances {
			assert.GreaterOrEqual(t, b.Available, exchange.Amount(0))
			assert.GreaterOrEqual(t, b.Held, exchange.Amount(0))
			total[b.Asset] += b.Available + b.Held
		}
	}
	for acct := exchange.AccountID(1); acct <= DefaultDemoAccounts; acct++ {
		add(acct, demoFunds)
	}
	for _, acct := range append(append([]exchange.AccountID(nil), makers...), takers...) {
		add(acct, botFunds)
	}
	assert.Equal(t, want, total)
}

func mustInstruments(t *testing.T) []*exchange.Instrument {
	t.Helper()
	in, err := Instruments()
	require.NoError(t, err)
	return in
}

// call hands a request to the handler without a network.
func (s *stand) call(method, path, body, token string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, s.v.URL()+"/", strings.NewReader(body))
	req.URL.Path, req.URL.RawQuery, _ = strings.Cut(path, "?")
	req.RemoteAddr = "127.0.0.1:9"
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.v.handler.ServeHTTP(w, req)
	return w
}

// proper fails unless an answer is one that the API may give to nonsense.
func proper(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if w.Code < 400 {
		return
	}
	var e struct{ Code, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code == "" || e.Message == "" {
		t.Fatalf("status %d without code and message: %s", w.Code, w.Body)
	}
}

// Whatever is sent as an order, or as a change of one, is taken or refused, and
// never a fault of the venue.
func FuzzOrders(f *testing.F) {
	for _, body := range []string{
		``, `null`, `{}`, `[]`, `{"symbol":"BTC-USD","side":"buy","type":"limit","price":"60000","size":"0.1"}`,
		`{"symbol":"BTC-USD","side":"buy","type":"market","funds":"100"}`,
		`{"symbol":"ETH-BTC","side":"sell","type":"stop_limit","price":"0.05","stop_price":"0.04","size":"1","client_order_id":"a"}`,
		`{"symbol":"BTC-USD","side":"sell","type":"limit","price":"1e400","size":"-0"}`,
		`{"symbol":"BTC-USD","side":"buy","type":"limit","price":"60000","size":"0.1","time_in_force":"GTD","expire_time":"9999-12-31T23:59:59Z"}`,
		`{"symbol":"BTC-USD","side":"buy","type":"limit","price":"60000","size":"1","display_size":"0.0001"}`,
		`{"price":"` + strings.Repeat("9", 64) + `"}`, `{"price":"1","size":"2"}`, "{\"symbol\":\"\x00\"}", `{"symbol":"BTC-USD"}{}`,
		strings.Repeat(`[`, 8000), `{"SYMBOL":"BTC-USD","Side":"BUY","type":"Limit","price":"1","size":"1"}`,
	} {
		f.Add(body)
	}
	s := fuzzStand(f)
	f.Fuzz(func(t *testing.T, body string) {
		token, err := s.v.Token(1)
		require.NoError(t, err)
		proper(t, s.call("POST", "/orders", body, token))
		proper(t, s.call("PATCH", "/orders/BTC-USD.1", body, token))
		proper(t, s.call("POST", "/demo/login", body, ""))
	})
}

// FuzzPaths is the same for what stands in addresses.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{"/", "/orders", "/orders?limit=1&cursor=1-00", "/orders/client:%2e", "/orders/BTC-USD.18446744073709551615", "/../..",
		"/products/BTC-USD/book?level=3&limit=1000", "/products/BTC-USD/candles?interval=1d&before=0001-01-01T00:00:00Z", "/fills?cursor=-1-1-1",
		"/orders?cursor=9223372036854775807-ffffffffffffffffffffffffffffffff", "/products/\x00", "/js/../app.css", "/products/BTC-USD/trades?before=9223372036854775808"} {
		f.Add(path)
	}
	s := fuzzStand(f)
	f.Fuzz(func(t *testing.T, path string) {
		token, err := s.v.Token(1)
		require.NoError(t, err)
		if !strings.HasPrefix(path, "/") || path == "/ws" || strings.HasPrefix(path, "/ws?") {
			return
		}
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			w := s.call(method, path, "", token)
			if w.Code >= 300 && w.Code < 400 {
				continue // the way to the same path, written plainly
			}
			proper(t, w)
		}
	})
}

// fuzzStand is a venue for a fuzz target; it lives as long as the process.
func fuzzStand(f *testing.F) *stand {
	f.Helper()
	v, err := Start(context.Background(), Config{Dir: f.TempDir(), Rate: 1e6})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = v.Close() })
	return &stand{v: v}
}
