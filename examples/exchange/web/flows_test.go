package web_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What people do with the page, against a real venue without bots, so that
// every figure is known.

// login signs in to a demo account by clicking.
func (p *page) login(account string) {
	p.t.Helper()
	p.click("#account")
	p.click(fmt.Sprintf("#login-accounts [data-account=%q]", account))
	p.waitFor(`!document.querySelector('dialog[open]') && exchange.feed.authed && exchange.state.balances.size > 0`)
}

// ready waits until the page shows the market.
func (p *page) ready() {
	p.t.Helper()
	p.waitFor(`globalThis.exchange?.state.book.ready && exchange.feed.state === 'live'`)
}

// order fills in the ticket, and sends it.
func (p *page) order(side, price, size string) {
	p.t.Helper()
	p.click(".side." + side + " span")
	p.fill("#ticket-price", price)
	p.fill("#ticket-size", size)
	p.click("#submit")
}

// options opens the part of the ticket that is folded in.
func (p *page) options() {
	p.t.Helper()
	if !evaluate[bool](p, `document.querySelector('#more').open`) {
		p.click("#more summary")
	}
}

// level is what a side of the page's ladder shows at a price, "" for nothing.
func (p *page) level(side, price string) string {
	p.t.Helper()
	return evaluate[string](p, fmt.Sprintf(`[...document.querySelectorAll('#%s .lv')].filter(e => e.querySelector('.px').textContent === %s).map(e => e.querySelector('.sz').textContent).join()`, side, quote(price)))
}

// waitLevel waits until a side of the ladder shows a size at a price, "" for no such level.
func (p *page) waitLevel(side, price, size string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`[...document.querySelectorAll('#%s .lv')].filter(e => e.querySelector('.px').textContent === %s).map(e => e.querySelector('.sz').textContent).join() === %s`, side, quote(price), quote(size)))
}

// clickLevel clicks on a price in the ladder.
func (p *page) clickLevel(side, price string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`[...document.querySelectorAll('#%s .lv .px')].some(e => e.textContent === %s)`, side, quote(price)))
	p.do(chromedp.Click(chromedp.JSPath(fmt.Sprintf(`[...document.querySelectorAll('#%s .lv')].find(e => e.querySelector('.px').textContent === %s)`, side, quote(price)))))
}

// balance waits until the page shows what the account has of an asset.
func (p *page) balance(asset, available, held string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`[...document.querySelectorAll('#balances tr')].some(r => [...r.children].map(c => c.textContent).join() === %s)`, quote(asset+","+available+","+held)))
}

// rows is the text of the rows of a table.
func (p *page) rows(body string) []string {
	p.t.Helper()
	return evaluate[[]string](p, fmt.Sprintf(`[...document.querySelectorAll('%s tr:not([hidden])')].map(r => [...r.children].map(c => c.textContent.trim()).join(' / '))`, body))
}

// waitRow waits until the first row of a table contains a text.
func (p *page) waitRow(body, part string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`[...document.querySelector('%s tr:not([hidden])').children].map(c => c.textContent.trim()).join(' / ').includes(%s)`, body, quote(part)))
}

// TestTwoUsersTrade: two people in two browsers, by clicking.
func TestTwoUsersTrade(t *testing.T) {
	v := startVenue(t, withoutBots)
	ann := open(t, "ann", v.URL(), desk)
	ben := open(t, "ben", v.URL(), desk)
	for _, p := range []*page{ann, ben} {
		p.ready()
		p.waitText("#ladder-empty", "Nobody is quoting")
		p.waitText("#tape-empty", "No trades yet")
	}
	ann.login("1")
	ben.login("2")
	ann.balance("USD", "1,000,000.00", "0.00")

	ann.order("sell", "64000.00", "0.5")
	ann.waitText("#outcome", "Sell 0.5 BTC, limit 64,000.00: open.")
	ann.waitFor(`document.querySelectorAll('#open-orders tr').length === 1`)
	ann.waitFor(`document.querySelector('#asks .lv.own .px')?.textContent === '64,000.00'`)
	ann.balance("BTC", "19.50", "0.50")

	ben.waitLevel("asks", "64,000.00", "0.5000")
	ben.clickLevel("asks", "64,000.00")
	assert.Equal(t, "64000.00", evaluate[string](ben, `document.querySelector('#ticket-price').value`), "a click in the ladder takes the price")
	ben.fill("#ticket-size", "0.2")
	ben.waitText("#s-total", "12,800.00 USD")
	ben.waitText("#s-fee", "12.80 USD")
	ben.click("#submit")
	ben.waitText("#outcome", "Buy 0.2 BTC, limit 64,000.00: filled.")

	for _, p := range []*page{ann, ben} {
		p.waitLevel("asks", "64,000.00", "0.3000")
		p.waitFor(`exchange.state.trades.length === 1`)
		p.waitText("#t-last", "64,000.00")
		p.waitText("title", "64,000.00 BTC-USD")
		p.waitRow("#tape", "bought at 64,000.00 / 0.2000")
	}
	// Maker 0.05 %, taker 0.1 %.
	ann.waitText("#notices", "Sold 0.2 BTC at 64000.")
	ann.balance("USD", "1,012,793.60", "0.00")
	ann.balance("BTC", "19.50", "0.30")
	ben.balance("USD", "987,187.20", "0.00")
	ben.balance("BTC", "20.20", "0.00")
	ann.waitFor(`document.querySelector('#open-orders [data-cell="filled"]').textContent === '0.2000'`)
	ann.shot("resting")
	ben.click("#tab-fills")
	ben.waitFor(`document.querySelectorAll('#fills tr').length === 1`)
	ben.waitRow("#fills", "BTC-USD / Buy / 64,000.00 / 0.2000 / 12.80 USD / Taker")
	ben.click("#tab-history")
	ben.waitRow("#history", "Filled")
	ann.click("#tab-fills")
	ann.waitRow("#fills", "BTC-USD / Sell / 64,000.00 / 0.2000 / 6.40 USD / Maker")
	ben.shot("filled")

	// Who was signed in stays so when the page is loaded anew, and knows
	// everything again.
	ben.do(chromedp.Reload())
	ben.ready()
	ben.balance("BTC", "20.20", "0.00")
	ben.waitFor(`document.querySelectorAll('#fills tr').length === 1 && document.querySelectorAll('#history tr').length === 1`)
	ben.waitText("#account-name", "Account 2")
	// With the next minute another candle begins, in which nothing is traded.
	ben.waitFor(`exchange.state.minutes.length === 1 && document.querySelector('#candles').getAttribute('aria-label').includes(
		'close 64000.00, volume ' + (Date.now() - exchange.state.minutes[0].start < 60000 ? '0.2.' : '0.'))`)
	ben.waitFor(`document.querySelector('#depth').getAttribute('aria-label').includes('0.3 BTC for sale up to 64000.00')`)

	// Signing out leaves nothing behind.
	ben.click("#account")
	ben.click("#logout")
	ben.waitText("#account-name", "Sign in")
	ben.waitFor(`document.querySelectorAll('#balances tr, #fills tr, #history tr').length === 0`)
	ben.waitText("#submit", "Sign in to trade")
	assert.Equal(t, 0, evaluate[int](ben, `sessionStorage.getItem('exchange.account') === null ? 0 : 1`))
}

// TestCancelAndAmend: own orders are changed and taken back.
func TestCancelAndAmend(t *testing.T) {
	v := startVenue(t, withoutBots)
	ann := open(t, "ann", v.URL(), desk)
	ben := open(t, "ben", v.URL(), desk)
	ann.ready()
	ben.ready()
	ann.login("1")
	ann.order("buy", "60000", "1")
	ann.waitText("#outcome", "open.")
	ann.balance("USD", "939,940.00", "60,060.00") // with the fee, 0.1 % at most

	ann.click(`#open-orders [data-act="amend"]`)
	ann.waitFor(`document.querySelector('#d-amend').open`)
	ann.fill("#amend-size", "0.40005")
	ann.click(`#amend [type="submit"]`)
	ann.waitText("#e-amend-size", "In steps of 0.0001.")
	ann.fill("#amend-size", "0.4")
	ann.fill("#amend-price", "60500.5")
	ann.shot("amend")
	ann.click(`#amend [type="submit"]`)
	ann.waitFor(`!document.querySelector('#d-amend').open`)
	ann.waitFor(`document.querySelector('#open-orders [data-cell="size"]').textContent === '0.4000'`)
	ben.waitLevel("bids", "60,500.50", "0.4000")
	ben.waitLevel("bids", "60,000.00", "")

	ann.click(`#open-orders [data-act="cancel"]`)
	ann.waitFor(`document.querySelectorAll('#open-orders tr').length === 0`)
	ben.waitLevel("bids", "60,500.50", "")
	ann.balance("USD", "1,000,000.00", "0.00")
	ann.click("#tab-history")
	ann.waitRow("#history", "Canceled")
	ann.click("#tab-open")
	ann.waitFor(`document.querySelector('#open-empty').checkVisibility() && document.querySelector('#cancel-all').disabled`)

	for _, price := range []string{"59000", "59001", "59002"} {
		ann.order("buy", price, "0.1")
		ann.waitLevel("bids", "59,00"+price[4:]+".00", "0.1000")
	}
	ann.click("#cancel-all")
	ann.waitText("#confirm-what", "3 open orders")
	ann.click("#confirm-yes")
	ann.waitFor(`document.querySelectorAll('#open-orders tr').length === 0`)
	ann.waitText("#notices", "All orders canceled.")
	ann.balance("USD", "1,000,000.00", "0.00")
	ben.waitFor(`exchange.state.book.bids.length === 0`)
}

// TestRefusedOrders: the page says what is wrong before it sends, and why the
// venue refuses after it has.
func TestRefusedOrders(t *testing.T) {
	v := startVenue(t, withoutBots)
	p := open(t, "ann", v.URL(), desk)
	p.ready()
	p.login("1")

	p.order("buy", "60000.001", "0.5")
	p.waitText("#outcome", "Not sent. In steps of 0.01.")
	assert.Equal(t, "In steps of 0.01.", p.text("#e-price"))
	assert.Equal(t, "ticket-price true e-price", evaluate[string](p, `[document.activeElement.id, document.activeElement.getAttribute('aria-invalid'), document.activeElement.getAttribute('aria-describedby')].join(' ')`))
	p.shot("before-it-is-sent")

	p.order("buy", "64000", "100")
	p.waitText("#s-available", "(too little)")
	p.waitText("#outcome", "Refused: Insufficient funds. What is available does not cover the order and its fee.")
	p.shot("insufficient-funds")

	p.order("sell", "64000", "0.5")
	p.waitText("#outcome", "open.")
	p.options()
	p.choose("#ticket-post", "reject")
	p.order("buy", "64000", "0.1")
	p.waitText("#outcome", "Refused: Post-only order would take.")
	p.choose("#ticket-post", "")
	p.order("buy", "64000", "0.1")
	p.waitText("#outcome", "canceled, self-trade prevention") // the newest, unless something else is chosen
	p.choose("#ticket-tif", "FOK")
	p.order("buy", "64000", "0.9")
	p.waitText("#outcome", "canceled, fill or kill")

	p.click("#tab-history")
	p.waitFor(`document.querySelectorAll('#history tr').length === 4`)
	history := p.rows("#history")
	assert.Contains(t, history[0], "Canceled: fill or kill.")
	assert.Contains(t, history[1], "Canceled: self-trade prevention.")
	assert.Contains(t, history[2], "Refused: post-only order would take.")
	assert.Contains(t, history[3], "Refused: insufficient funds.")
	p.shot("history")
	p.balance("USD", "1,000,000.00", "0.00") // nothing of it is still held
}

// TestOrderTypes: everything the ticket offers gets to the venue as it was
// meant.
func TestOrderTypes(t *testing.T) {
	v := startVenue(t, withoutBots)
	ann := open(t, "ann", v.URL(), desk)
	ben := open(t, "ben", v.URL(), desk)
	ann.ready()
	ben.ready()
	ann.login("1")
	ben.login("2")
	ann.order("sell", "64000", "1")
	ann.waitText("#outcome", "open.")
	ann.order("buy", "63000", "1")
	ann.waitText("#outcome", "open.")
	ben.waitLevel("asks", "64,000.00", "1.0000")

	ben.choose("#ticket-type", "market")
	ben.fill("#ticket-price", "")
	ben.click(".side.buy span")
	ben.options()
	ben.choose("#ticket-size-in", "funds")
	ben.waitText("#u-size", "USD")
	ben.fill("#ticket-size", "6406.4") // 0.1 BTC and the fee
	ben.click("#submit")
	ben.waitLevel("asks", "64,000.00", "0.9000")
	ben.waitFor(`exchange.state.trades.length === 1 && document.querySelectorAll('#history tr').length === 1`)
	ben.waitText("#outcome", "Buy for 6,406.4 USD, market: done. What is left to spend buys no further lot.")
	ben.waitRow("#history", "Buy / Market / Market / 0.1000 / 0.1000") // the price that bounds it is none of its own

	ben.choose("#ticket-size-in", "size")
	ben.choose("#ticket-type", "stop_limit")
	ben.click(".side.sell span")
	ben.fill("#ticket-stop", "63000")
	ben.fill("#ticket-price", "62900")
	ben.fill("#ticket-size", "0.25")
	ben.click("#submit")
	ben.waitText("#outcome", "waits for its trigger.")
	ben.waitFor(`document.querySelector('#open-orders [data-cell="state"]').textContent === 'Trigger 63,000.00'`)

	ben.choose("#ticket-type", "limit")
	ben.fill("#ticket-display", "0.1")
	ben.choose("#ticket-tif", "GTD")
	ben.run(`document.querySelector('#ticket-expire').value = '2099-01-01T00:00'`)
	ben.order("sell", "65000", "0.5")
	ben.waitText("#outcome", "open.")
	ben.waitLevel("asks", "65,000.00", "0.1000") // an iceberg shows a slice
	ben.waitFor(`document.querySelectorAll('#open-orders tr').length === 2`)
	ben.waitRow("#open-orders", "Limit, GTD, iceberg")

	ben.fill("#ticket-display", "")
	ben.choose("#ticket-tif", "DAY")
	ben.choose("#ticket-post", "slide")
	ben.order("sell", "62000", "0.1") // crosses the bid: slides to one tick above it
	ben.waitLevel("asks", "63,000.01", "0.1000")
	ben.choose("#ticket-post", "")
	ben.choose("#ticket-tif", "GTC")
	ben.run(`document.querySelector('#ticket-hidden').click()`)
	ben.order("sell", "64500", "0.1")
	ben.waitText("#outcome", "limit 64,500.00: open.")
	ben.waitFor(`document.querySelectorAll('#open-orders tr').length === 4`)
	assert.Empty(t, ben.level("asks", "64,500.00"), "a hidden order is not in the book")
	ben.run(`document.querySelector('#ticket-hidden').click()`)

	// A trade at 63000 triggers the stop, which trades at the bid in turn.
	ben.choose("#ticket-tif", "IOC")
	ben.order("sell", "63000", "0.1")
	ben.waitText("#outcome", "filled.")
	ben.waitLevel("bids", "63,000.00", "0.6500")
	ben.waitFor(`exchange.state.trades.length === 3 && document.querySelectorAll('#open-orders tr').length === 3`)
	ben.shot("orders")

	// Quarters of what is there, once it has come.
	ben.balance("BTC", "19.05", "0.70")
	ben.choose("#ticket-tif", "GTC")
	ben.click(".side.sell span")
	ben.click(`[data-share="50"]`)
	available := evaluate[string](ben, `exchange.state.balances.get('BTC').available`)
	assert.Equal(t, evaluate[string](ben, `import('/js/decimal.js').then(d => d.format(d.parse(`+quote(available)+`, 8) / 20000n, 4))`),
		evaluate[string](ben, `document.querySelector('#ticket-size').value`))
	ben.click(".side.buy span")
	ben.fill("#ticket-price", "50000")
	ben.click(`[data-share="100"]`)
	ben.click("#submit")
	ben.waitText("#outcome", "open.") // the fee fits too
}

// TestInstruments: another instrument is another book, with its own grid.
func TestInstruments(t *testing.T) {
	v := startVenue(t, withoutBots)
	p := open(t, "ann", v.URL(), desk)
	p.ready()
	p.login("3")
	p.order("buy", "60000", "0.5")
	p.waitLevel("bids", "60,000.00", "0.5000")
	p.choose("#symbol", "ETH-BTC")
	p.waitFor(`exchange.state.product.symbol === 'ETH-BTC' && exchange.state.book.ready && exchange.state.book.bids.length === 0`)
	assert.Equal(t, "BTC", p.text(`[data-field="price"] .unit`))
	p.waitText("#submit", "Buy ETH")
	assert.Empty(t, evaluate[string](p, `document.querySelector('#ticket-price').value`), "a price of another instrument is no price here")
	p.order("sell", "0.05", "2")
	p.waitText("#outcome", "open.")
	p.waitFor(`exchange.state.book.asks.length === 1 && document.querySelectorAll('#open-orders tr').length === 2`)
	p.choose("#symbol", "BTC-USD")
	p.waitLevel("bids", "60,000.00", "0.5000")
	p.waitFor(`exchange.feed.stats.gaps === 0`)
	assert.ElementsMatch(t, []string{"book|BTC-USD", "trades|BTC-USD", "ticker|BTC-USD", "candles|BTC-USD", "orders|", "balances|"},
		evaluate[[]string](p, `[...exchange.feed.subs.keys()]`))
}

// TestKeyboardOnly: a whole order and its cancel, without a mouse.
func TestKeyboardOnly(t *testing.T) {
	v := startVenue(t, withoutBots)
	p := open(t, "ann", v.URL(), desk)
	p.ready()
	focused := func() string {
		return evaluate[string](p, `document.activeElement.id || document.activeElement.className`)
	}
	p.keys(kb.Tab)
	assert.Equal(t, "skip", focused(), "the first stop skips to the ticket")
	for range 6 {
		if focused() == "account" {
			break
		}
		p.keys(kb.Tab)
	}
	require.Equal(t, "account", focused())
	p.waitFor(`getComputedStyle(document.activeElement).outlineStyle === 'solid'`) // the focus is seen
	p.keys(kb.Enter)
	p.waitFor(`document.activeElement.dataset.account === '1'`)
	p.keys(kb.Tab)
	p.keys(kb.Enter) // the second account
	p.waitFor(`exchange.state.account?.id === '2' && exchange.feed.authed`)

	p.keys("?")
	p.waitFor(`document.querySelector('#d-help').open`)
	p.shot("help")
	p.keys(kb.Escape)
	p.waitFor(`!document.querySelector('#d-help').open`)

	p.keys("s")
	p.keys("p")
	assert.Equal(t, "ticket-price", focused())
	p.keys("64000")
	p.keys(kb.ArrowUp)
	p.keys(kb.ArrowUp, chromedp.KeyModifiers(chromedp.ModifierShift))
	assert.Equal(t, "64000.11", evaluate[string](p, `document.activeElement.value`))
	p.keys(kb.Escape)
	p.keys("q")
	assert.Equal(t, "ticket-size", focused())
	p.keys("0.75" + kb.Enter)
	p.waitText("#outcome", "Sell 0.75 BTC, limit 64,000.11: open.")
	p.waitLevel("asks", "64,000.11", "0.7500")

	// The ladder: up to the ask, which gives its price.
	p.run(`document.querySelector('#ticket-price').value = ''`)
	p.keys(kb.Escape)
	p.keys("l")
	p.waitFor(`document.activeElement.closest('#bids')`)
	p.keys(kb.ArrowUp)
	p.waitFor(`document.activeElement.closest('#asks')`)
	p.keys(kb.Enter)
	assert.Equal(t, "64000.11", evaluate[string](p, `document.querySelector('#ticket-price').value`))

	// Tabs and intervals by arrows.
	p.run(`document.querySelector('#tab-open').focus()`)
	p.keys(kb.ArrowRight)
	assert.Equal(t, "tab-fills", focused())
	p.waitFor(`document.querySelector('#pane-fills').checkVisibility() && !document.querySelector('#pane-open').checkVisibility()`)

	p.keys("o")
	p.waitFor(`document.activeElement.dataset.act === 'amend'`)
	p.keys(kb.Tab)
	p.keys(kb.Enter)
	p.waitFor(`document.querySelectorAll('#open-orders tr').length === 0`)
	p.waitFor(`document.activeElement.id === 'pane-open'`) // the focus is not lost with the row
	p.waitLevel("asks", "64,000.11", "")

	// Letters can be switched off.
	p.keys("?")
	p.waitFor(`document.querySelector('#d-help').open`)
	p.click("#keys-on")
	p.keys(kb.Escape)
	p.waitFor(`!document.querySelector('#d-help').open`)
	p.run(`document.activeElement.blur()`)
	p.keys("p")
	assert.NotEqual(t, "ticket-price", focused())
}
