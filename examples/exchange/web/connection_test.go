package web_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wire is what lies between a browser and the venue: it can be cut.
type wire struct {
	url      string
	listener *cuttable
}

type cuttable struct {
	net.Listener
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func (l *cuttable) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if !l.cut {
			l.conns[c] = true
			l.mu.Unlock()
			return c, nil
		}
		l.mu.Unlock()
		_ = c.Close()
	}
}

// set cuts the wire, with everything on it, or mends it.
func (l *cuttable) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for c := range l.conns {
		_ = c.Close()
		delete(l.conns, c)
	}
}

func newWire(t *testing.T, venue string) *wire {
	t.Helper()
	target, err := url.Parse(venue)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
			if r.Out.Header.Get("Origin") != "" {
				r.Out.Header.Set("Origin", target.Scheme+"://"+target.Host)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewUnstartedServer(proxy)
	l := &cuttable{Listener: server.Listener, conns: map[net.Conn]bool{}}
	server.Listener = l
	server.Start()
	t.Cleanup(func() {
		l.set(true)
		server.Close()
	})
	return &wire{url: server.URL, listener: l}
}

// client is somebody who uses the API, not the page.
type client struct {
	t     *testing.T
	url   string
	token string
}

func newClient(t *testing.T, venue, account string) *client {
	c := &client{t: t, url: strings.TrimSuffix(venue, "/")}
	var answer struct{ Token string }
	c.call("POST", "/demo/login", map[string]string{"account": account}, &answer)
	c.token = answer.Token
	return c
}

func (c *client) call(method, path string, body, answer any) {
	c.t.Helper()
	data, err := json.Marshal(body)
	require.NoError(c.t, err)
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(string(data)))
	require.NoError(c.t, err)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	require.Less(c.t, resp.StatusCode, 300, "%s %s", method, path)
	require.NoError(c.t, json.NewDecoder(resp.Body).Decode(answer))
}

func (c *client) limit(symbol, side, price, size string) {
	c.t.Helper()
	var answer struct{ Status string }
	c.call("POST", "/orders", map[string]string{"symbol": symbol, "side": side, "type": "limit", "price": price, "size": size}, &answer)
	require.Contains(c.t, []string{"open", "filled"}, answer.Status)
}

// wireBook is a book as the API gives it.
type wireBook struct {
	Seq        uint64
	Bids, Asks []struct{ Price, Size string }
}

// sameBook waits until the page has the very book the venue has.
func (p *page) sameBook(c *client, symbol string) {
	p.t.Helper()
	var book wireBook
	c.call("GET", "/products/"+symbol+"/book?level=2&limit=1000", nil, &book)
	text := func(levels []struct{ Price, Size string }) string {
		var b strings.Builder
		for _, l := range levels {
			fmt.Fprintf(&b, "%s:%s:", l.Price, l.Size)
		}
		return b.String()
	}
	p.waitFor(fmt.Sprintf(`(() => { const text = (side) => side.map(l => l.text).join(''); const b = exchange.state.book;
		return b.ready && text(b.bids) === %s && text(b.asks) === %s; })()`, quote(text(book.Bids)), quote(text(book.Asks))))
}

// TestDroppedConnection: the network fails while others trade. The page says
// so, comes back by itself, and has then missed nothing.
func TestDroppedConnection(t *testing.T) {
	v := startVenue(t, withoutBots)
	between := newWire(t, v.URL())
	s := desk
	s.allowed = []string{"WebSocket connection to", "Failed to load resource"} // the browser's own words for a failed network
	p := open(t, "ann", between.url, s)
	p.ready()
	p.login("1")
	other := newClient(t, v.URL(), "2")
	other.limit("BTC-USD", "sell", "64000", "0.5")
	other.limit("BTC-USD", "buy", "63000", "0.5")
	p.order("buy", "63500", "0.2")
	p.waitText("#outcome", "open.")
	p.sameBook(other, "BTC-USD")
	p.run(`globalThis.posted = []; const real = fetch; globalThis.fetch = (url, o) => { if (o.method === 'POST') posted.push(JSON.parse(o.body).client_order_id); return real(url, o); }`)
	last := evaluate[int](p, `exchange.feed.subs.get('book|BTC-USD').streams.get('BTC-USD').last`)

	for round, why := range []string{"resumed", "again"} {
		between.listener.set(true)
		p.waitText("#conn-word", "Offline")
		p.waitText("#f-state", "offline, next try in")
		p.waitFor(`document.body.dataset.live === 'false'`)
		p.waitText("#announce", "The connection was lost")
		p.waitFor(`document.querySelector('#old').checkVisibility()`)
		if round == 0 {
			p.shot("offline")
		}
		// Meanwhile the market moves, also against ann's order.
		for i := range 3 {
			other.limit("BTC-USD", "sell", fmt.Sprintf("%d", 64100+100*round+i), "0.1")
			other.limit("BTC-USD", "buy", fmt.Sprintf("%d", 62900-100*round-i), "0.1")
		}
		other.limit("BTC-USD", "sell", "63500", "0.1")
		p.click("#submit") // the same again: an order nobody gets
		p.waitText("#outcome", "The venue has not answered. Nobody knows yet whether it took effect. Send it again: it will not be placed twice.")

		between.listener.set(false)
		p.waitText("#conn-word", "Live")
		p.waitText("#announce", "Connected again")
		p.waitFor(`!document.querySelector('#old').checkVisibility()`)
		p.sameBook(other, "BTC-USD")
		p.waitText("#f-checksum", "matches")
		p.waitFor(fmt.Sprintf(`exchange.feed.stats.reconnects >= %d`, round+1))
		assert.Equal(t, 0, evaluate[int](p, `exchange.feed.stats.gaps`), why)
		now := evaluate[int](p, `exchange.feed.subs.get('book|BTC-USD').streams.get('BTC-USD').last`)
		assert.Greater(t, now, last)
		last = now
		p.waitFor(fmt.Sprintf(`exchange.state.trades.length === %d && exchange.state.fills.length === %[1]d`, round+1))
		p.click("#submit")
		p.waitText("#outcome", "open.")
		assert.Equal(t, fmt.Sprintf("%d %d", 2*(round+1), round+1), evaluate[string](p, `posted.length + ' ' + new Set(posted).size`), "sent again under the same id, or a new order under the old one")
		// The new one is to be canceled, and the feed may tell of it after the answer.
		p.waitFor(fmt.Sprintf(`document.querySelectorAll('#open-orders tr').length === %d && document.querySelector('#open-orders tr:first-child [data-cell="filled"]').textContent === '0.0000'`, 2-round))
		p.click(`#open-orders tr:first-child [data-act="cancel"]`)
		p.waitFor(fmt.Sprintf(`document.querySelectorAll('#open-orders tr').length === %d`, 1-round))
	}
	p.balance("USD", "987,293.65", "0.00") // two fills of 0.1 at 63,500 as maker, and nothing held
	p.shot("recovered")

	// The venue was away when the page was loaded: it keeps trying.
	between.listener.set(true)
	p.waitText("#conn-word", "Offline")
	between.listener.set(false)
	p.waitText("#conn-word", "Live")
	p.do(chromedp.Reload())
	p.ready()
	p.sameBook(other, "BTC-USD")
}

// TestEndedSignIn: a token that is no longer good signs out, with a reason.
func TestEndedSignIn(t *testing.T) {
	v := startVenue(t, withoutBots)
	s := desk
	s.allowed = []string{"Failed to load resource"} // 401
	p := open(t, "ann", v.URL(), s)
	p.ready()
	p.login("1")
	p.run(`sessionStorage.setItem('exchange.account', JSON.stringify({id: '1', name: 'Account 1', token: 'not.a.token'}))`)
	p.do(chromedp.Reload())
	p.ready()
	p.waitText("#notices", "Signed out.")
	p.waitText("#account-name", "Sign in")
	p.waitText("#submit", "Sign in to trade")
}

// TestPastedToken: a venue without demo accounts takes a token instead.
func TestPastedToken(t *testing.T) {
	v, err := venue.Start(t.Context(), venue.Config{Dir: t.TempDir(), Metrics: "off", NoDemoLogin: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, v.Close()) })
	s := desk
	s.allowed = []string{"Failed to load resource"} // 404 for the demo accounts
	p := open(t, "ann", v.URL(), s)
	p.ready()
	p.click("#account")
	p.waitFor(`document.activeElement.id === 'login-token'`)
	p.keys("nonsense" + kb.Enter)
	p.waitText("#login-error", "That is no token of an account.")
	token, err := v.Token(3)
	require.NoError(t, err)
	p.fill("#login-token", token)
	p.click("#login-send")
	p.waitText("#account-name", "Account 3")
	p.balance("BTC", "20.00", "0.00")
}
