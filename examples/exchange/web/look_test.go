package web_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/castlecloud/exchange/examples/exchange/web"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// How the page looks: on a phone, in light and dark, and while things move.

// poor lists texts whose contrast to what is behind them is below 4.5 to 1
// (WCAG 2.2, 1.4.3). What is disabled does not count.
const poor = `(() => {
	const channels = (text) => text.match(/[\d.]+/g).map(Number);
	const over = ([r, g, b, a = 1], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
	const behind = (e) => {
		const layers = [];
		for (let at = e; at; at = at.parentElement) layers.push(channels(getComputedStyle(at).backgroundColor));
		return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255]);
	};
	const luminance = (c) => c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05); };
	const out = [];
	for (const e of document.querySelectorAll('body *')) {
		const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
		if (!own || !e.checkVisibility() || e.closest(':disabled, option, script, .visually-hidden')) continue;
		const grounds = [behind(e)];
		const bar = e.closest('.lv')?.querySelector('.bar');
		if (bar) grounds.push(channels(getComputedStyle(bar).backgroundColor).slice(0, 3));
		const ink = over(channels(getComputedStyle(e).color), grounds[0]);
		for (const ground of grounds) {
			const c = contrast(ink, ground);
			if (c < 4.5) out.push(e.textContent.trim().slice(0, 30) + ' (' + (e.id || e.className || e.tagName) + '): ' + c.toFixed(2));
		}
	}
	return out;
})()`

// wide lists what reaches beyond the sides of the screen.
const wide = `[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.visually-hidden, thead, .skip') && !e.matches('.arrow'))
	.filter(e => { const r = e.getBoundingClientRect(); return r.width > 0 && (r.right > innerWidth + 0.5 || r.left < -0.5); })
	.map(e => (e.id || e.className || e.tagName) + ' ' + JSON.stringify(e.getBoundingClientRect()))
	.slice(0, 3).concat(document.documentElement.scrollWidth > innerWidth ? ['the page scrolls sideways'] : [])`

// TestSchemes: everything can be read in light and in dark, which follow the
// system until somebody chooses.
func TestSchemes(t *testing.T) {
	v := startVenue(t, withoutBots)
	s := desk
	s.dark = true
	p := open(t, "ann", v.URL(), s)
	p.ready()
	p.login("4")
	for _, o := range [][3]string{{"sell", "64000", "0.5"}, {"sell", "64001", "0.7"}, {"buy", "63999", "0.5"}, {"buy", "64000", "0.1"}, {"buy", "10000", "99999999"}} {
		p.order(o[0], o[1], o[2])
		p.waitFor(`/^(Not sent|Refused|Buy|Sell)/.test(document.querySelector('#outcome').textContent)`)
	}
	p.options()
	theme := func() string { return evaluate[string](p, `document.documentElement.dataset.theme`) }
	check := func(want string) {
		t.Helper()
		p.waitFor(fmt.Sprintf(`document.documentElement.dataset.theme === %s`, quote(want)))
		for _, tab := range []string{"open", "fills", "history"} {
			p.click("#tab-" + tab)
			assert.Empty(t, evaluate[[]string](p, poor), "%s, %s", want, tab)
		}
		p.click("#conn")
		assert.Empty(t, evaluate[[]string](p, poor), "%s, connection", want)
		p.shot(want + "-connection")
		p.click("#d-conn [data-close]")
		p.shot(want)
	}
	check("dark")
	p.scheme(false)
	check("light")
	p.click("#theme")
	assert.Equal(t, "dark", theme())
	assert.Equal(t, "Colours: dark", evaluate[string](p, `document.querySelector('#theme').ariaLabel`))
	p.do(chromedp.Reload())
	p.ready()
	assert.Equal(t, "dark", theme(), "what was chosen lasts")
	p.click("#theme")
	assert.Equal(t, "light", theme())
	p.scheme(true) // the system's again was chosen, so it follows the system
	p.waitFor(`document.documentElement.dataset.theme === 'dark'`)
}

// TestPhone: every view fits a small screen, and a trade can be made on it.
func TestPhone(t *testing.T) {
	v := startVenue(t, withoutBots)
	other := open(t, "ben", v.URL(), desk)
	other.ready()
	other.login("2")
	other.order("sell", "64000", "0.5")
	other.waitText("#outcome", "open.")

	p := open(t, "ann", v.URL(), phone)
	p.ready()
	p.login("1")
	view := func(name string) {
		t.Helper()
		p.click(fmt.Sprintf(`.views [data-view=%q]`, name))
		p.waitFor(fmt.Sprintf(`document.querySelector('.views [aria-current]').dataset.view === %s`, quote(name)))
		assert.Empty(t, evaluate[[]string](p, wide), name)
		p.shot(name)
	}
	view("book")
	p.clickLevel("asks", "64,000.00")
	p.waitFor(`document.body.dataset.view === 'trade'`) // the price is in the ticket, and the ticket is in view
	assert.Equal(t, "64000.00", evaluate[string](p, `document.querySelector('#ticket-price').value`))
	p.fill("#ticket-size", "0.2")
	p.click("#submit")
	p.waitText("#outcome", "filled.")
	view("trade")
	p.order("buy", "63000.5", "0.1234")
	p.waitText("#outcome", "open.")
	view("market")
	view("orders")
	p.waitFor(`document.querySelectorAll('#open-orders tr').length === 1`)
	assert.Empty(t, evaluate[[]string](p, wide), "orders")
	p.click(`#open-orders [data-act="cancel"]`)
	p.waitFor(`document.querySelectorAll('#open-orders tr').length === 0`)
	p.click("#tab-fills")
	assert.Empty(t, evaluate[[]string](p, wide), "fills")
	p.click("#tab-history")
	p.waitFor(`document.querySelectorAll('#history tr').length === 2`)
	assert.Empty(t, evaluate[[]string](p, wide), "history")
	p.shot("history")
	p.click("#account")
	p.waitFor(`document.querySelectorAll('#login-accounts button').length > 0`)
	assert.Empty(t, evaluate[[]string](p, wide), "sign-in")
	p.shot("sign-in")
}

// TestSizes: nothing reaches beyond the screen on anything between.
func TestSizes(t *testing.T) {
	v := startVenue(t, withoutBots)
	p := open(t, "ann", v.URL(), desk)
	p.ready()
	p.login("1")
	for _, width := range []int64{320, 360, 390, 480, 800, 801, 820, 980, 981, 1180, 1181, 1440, 2200} {
		p.do(chromedp.EmulateViewport(width, 900))
		p.waitFor(fmt.Sprintf(`innerWidth === %d`, width))
		assert.Empty(t, evaluate[[]string](p, wide), "%d pixels", width)
		for _, view := range []string{"book", "trade", "orders", "market"} {
			if width > 800 {
				break // all at once
			}
			p.click(fmt.Sprintf(`.views [data-view=%q]`, view))
			assert.Empty(t, evaluate[[]string](p, wide), "%d pixels, %s", width, view)
		}
	}
	p.do(chromedp.EmulateViewport(820, 1100))
	p.shot("tablet")
	p.do(chromedp.EmulateViewport(1366, 640)) // low: the ticket keeps its height, the page scrolls
	p.waitFor(`innerHeight === 640 && document.documentElement.scrollHeight > 640`)
	assert.True(t, evaluate[bool](p, `(() => { const t = document.querySelector('.p-ticket'); return t.scrollHeight <= t.clientHeight + 1; })()`), "the ticket is squeezed")
	p.shot("low")
}

// TestRoles: what a screen reader is told. Every control has a name, every
// reference leads somewhere, and the messages are live.
func TestRoles(t *testing.T) {
	v := startVenue(t, withoutBots)
	p := open(t, "ann", v.URL(), desk)
	p.ready()
	resp, err := http.Get(v.URL())
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, web.Policy, resp.Header.Get("Content-Security-Policy"))
	nameless := evaluate[[]string](p, `[...document.querySelectorAll('button, input, select, canvas, [role="grid"], [role="tabpanel"], dialog')]
		.filter(e => !(e.ariaLabel || e.labels?.length || e.textContent.trim() && e.matches('button') || e.getAttribute('aria-labelledby')))
		.map(e => e.outerHTML)`)
	assert.Empty(t, nameless)
	broken := evaluate[[]string](p, `[...document.querySelectorAll('[aria-labelledby], [aria-describedby], [aria-controls], label[for]')]
		.flatMap(e => ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for'].map(a => e.getAttribute(a)).filter(Boolean))
		.filter(id => !document.getElementById(id))`)
	assert.Empty(t, broken)
	twice := evaluate[[]string](p, `[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i)`)
	assert.Empty(t, twice)
	for _, selector := range []string{"#outcome", "#notices", "#announce"} {
		assert.Equal(t, "polite", evaluate[string](p, fmt.Sprintf(`document.querySelector(%s).getAttribute('aria-live')`, quote(selector))), selector)
	}
	// What the keyboard list promises is what the controls tell.
	require.Equal(t, 1, evaluate[int](p, `[...document.querySelectorAll('#asks .lv, #bids .lv')].filter(e => e.tabIndex === 0).length`), "the ladder is one stop")
}

// TestLively: while a market of bots moves, the page keeps up: nothing is lost,
// nothing jumps, nothing is drawn twice in a frame, and nothing grows.
func TestLively(t *testing.T) {
	v := startVenue(t, withBots)
	s := desk
	s.scale = 2
	p := open(t, "ann", v.URL(), s)
	p.ready()
	p.login("1")
	p.waitFor(`exchange.state.book.bids.length >= 8 && exchange.state.book.asks.length >= 8 && exchange.state.trades.length >= 10`)
	p.waitFor(`document.querySelectorAll('#asks .lv:not(.off)').length >= 8`)
	p.run(`globalThis.seen = {shifted: [], frames: 0, painted: exchange.painting.frames, messages: exchange.feed.stats.messages};
		new PerformanceObserver((list) => { for (const e of list.getEntries()) { if (e.hadRecentInput) continue; seen.shifted.push(...e.sources.map(s => s.node?.parentElement?.id + ' ' + (s.node?.outerHTML ?? s.node?.textContent).slice(0, 80))); } }).observe({type: 'layout-shift'});
		(function count() { seen.frames++; requestAnimationFrame(count); })();`)
	p.waitFor(`exchange.feed.stats.messages >= seen.messages + 150 && exchange.state.trades.length >= 20`)
	assert.Empty(t, evaluate[[]string](p, `seen.shifted`), "the layout shifts")
	assert.LessOrEqual(t, evaluate[int](p, `exchange.painting.frames - seen.painted - seen.frames`), 1, "drawn more than once a frame")
	assert.Equal(t, "0 0 ok", evaluate[string](p, `[exchange.feed.stats.gaps, exchange.feed.stats.reconnects, exchange.state.checksum].join(' ')`))
	assert.LessOrEqual(t, evaluate[int](p, `Math.max(exchange.state.trades.length, document.querySelectorAll('#tape tr').length, document.querySelectorAll('.lv').length)`), 120)
	for _, id := range []string{"candles", "depth"} {
		assert.Equal(t, "sharp", evaluate[string](p, fmt.Sprintf(`(() => { const c = document.getElementById(%s); const r = c.getBoundingClientRect();
			return Math.abs(c.width - r.width * devicePixelRatio) < 1 && Math.abs(c.height - r.height * devicePixelRatio) < 1 ? 'sharp' : [c.width, r.width].join(); })()`, quote(id))), id)
		assert.Greater(t, evaluate[int](p, fmt.Sprintf(`(() => { const c = document.getElementById(%s);
			return new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size; })()`, quote(id))), 5, "%s: nothing is drawn", id)
	}
	// A direction is a shape, not a colour alone.
	arrows := evaluate[[]string](p, `[...document.querySelectorAll('#tape tr:not([hidden])')].map(r => { const a = r.querySelector('.arrow');
		return r.children[0].className + ' ' + getComputedStyle(a, '::before').content; })`)
	require.NotEmpty(t, arrows)
	for _, a := range arrows {
		assert.Contains(t, []string{`up "▲"`, `down "▼"`}, a)
	}
	p.shot("market")
	for _, minutes := range []string{"5", "15", "60", "1"} {
		p.click(fmt.Sprintf(`#intervals [data-minutes=%q]`, minutes))
		p.waitFor(fmt.Sprintf(`document.querySelector('#candles').getAttribute('aria-label').includes(', %s minute candles')`, minutes))
	}
	p.run(`document.querySelector('#candles').focus()`)
	p.keys(kb.ArrowLeft)
	p.waitFor(`/^\d\d:\d\d: open [\d.]+, high/.test(document.querySelector('#announce').textContent)`)
	p.choose("#group", "5000") // steps of 50.00
	p.waitFor(`[...document.querySelectorAll('.lv:not(.off) .px')].every(e => /[05]0\.00$/.test(e.textContent))`)
}

// TestPicture: the page as the README shows it, a market with somebody in the
// middle of it. EXCHANGE_VENUE names a venue that runs already, and has a
// longer past to show.
func TestPicture(t *testing.T) {
	address := os.Getenv("EXCHANGE_VENUE")
	if address == "" {
		address = startVenue(t, withBots).URL()
	}
	p := open(t, "ann", address, desk)
	p.ready()
	p.login("3")
	p.waitFor(`exchange.state.trades.length > 0`)
	place := func(side, away, size, outcome string) {
		t.Helper()
		price := evaluate[string](p, `(Number(exchange.state.trades.at(-1).price) * (1 + `+away+`)).toFixed(2)`)
		p.order(side, price, size)
		p.waitFor(`/^(Buy|Sell) ` + size + ` .*` + outcome + `/.test(document.querySelector('#outcome').textContent)`)
	}
	place("buy", "0.02", "0.0213", "")
	place("sell", "-0.02", "0.0107", "")
	place("buy", "-0.008", "0.4", "(open|filled)")
	place("buy", "-0.004", "0.25", "(open|filled)")
	place("sell", "0.006", "0.4", "(open|filled)")
	place("sell", "0.003", "0.15", "(open|filled)")
	p.click(".side.buy span")
	p.fill("#ticket-size", "0.5")
	p.run(`document.querySelectorAll('.notice button').forEach(b => b.click()); document.activeElement.blur()`)
	p.waitFor(`document.querySelectorAll('#open-orders tr, #fills tr').length > 0`)
	p.shot("venue")
}
