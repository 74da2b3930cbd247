package web_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/exchange/web"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/chromedp/chromedp"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The modules of the page, one by one, in the browser.

// modules opens a page that has the modules and nothing else.
func modules(t *testing.T) *page {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(web.Files()))
	mux.HandleFunc("/blank", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>modules</title><link rel="icon" href="icon.svg"><p id="announce"></p>`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return open(t, "modules", server.URL+"/blank", desk)
}

func TestFiles(t *testing.T) {
	local := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from '([^']+)'`)
	elsewhere := regexp.MustCompile(`https?://[^\s'"]+`)
	seen := 0
	require.NoError(t, fs.WalkDir(web.Files(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		data, err := fs.ReadFile(web.Files(), name)
		if err != nil {
			return err
		}
		text := string(data)
		for _, m := range local.FindAllStringSubmatch(text, -1) {
			target := path.Join(path.Dir(name), m[1]+m[2])
			_, err := fs.Stat(web.Files(), target)
			assert.NoError(t, err, "%s names %s", name, m[0])
		}
		for _, found := range elsewhere.FindAllString(text, -1) {
			assert.Equal(t, "http://www.w3.org/2000/svg", found, "%s names another host", name)
		}
		if strings.HasSuffix(name, ".html") {
			assert.NotRegexp(t, `<[^>]+\s(?:style|on[a-z]+)=`, text, "%s: inline code or style, which the policy refuses", name)
			assert.NotRegexp(t, `<script(?:\s[^>]*)?>[^<]`, text, "%s: an inline script", name)
		}
		assert.NotContains(t, text, "innerHTML", name)
		return nil
	}))
	assert.Greater(t, seen, 10)
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} {
		assert.Contains(t, web.Policy, directive)
	}
	assert.NotContains(t, web.Policy, "unsafe")
}

func TestDecimal(t *testing.T) {
	p := modules(t)
	for _, tc := range []struct{ expression, want string }{
		{`String(d.parse('62000.5', 2))`, "6200050"},
		{`String(d.parse('0.043', 18))`, "43000000000000000"},
		{`String(d.parse('1.230', 2))`, "123"}, // zeros at the end are no decimals
		{`String(d.parse('1.234', 2))`, "null"},
		{`String(d.parse('1e5', 2))`, "null"},
		{`String(d.parse('', 2))`, "null"},
		{`String(d.parse('.5', 2))`, "null"},
		{`String(d.parse('-0.05', 2))`, "-5"},
		{`String(d.parse('+1', 2))`, "null"},
		{`String(d.parse('9007199254740993', 0))`, "9007199254740993"}, // beyond what a float can count
		{`d.format(5n, 2)`, "0.05"},
		{`d.format(-5n, 2)`, "-0.05"},
		{`d.format(9007199254740993n, 8)`, "90071992.54740993"},
		{`d.format(1500000n, 6, 0)`, "1.5"},
		{`d.format(1000000n, 6, 0)`, "1"},
		{`d.format(1000000n, 6, 2)`, "1.00"},
		{`d.format(12n, 0)`, "12"},
		{`d.group('1234567.8901')`, "1,234,567.8901"},
		{`d.group('123')`, "123"},
		{`d.group('-1234')`, "-1,234"},
		{`d.pad('1234.5', 2)`, "1,234.50"},
		{`d.pad('0.12345678', 2)`, "0.12345678"},
		{`String(d.scaleOf('0.010'))`, "2"},
		{`String(d.scaleOf('100'))`, "0"},
		{`String(d.rescale(1001n, 3, 2))`, "100"},
		{`String(d.rescale(1001n, 3, 2, true))`, "101"},
		{`String(d.rescale(1000n, 3, 2, true))`, "100"},
		{`String(d.rescale(-1001n, 3, 2))`, "-101"},
		{`String(d.rescale(5n, 0, 3))`, "5000"},
		{`String(d.ratio(1n, 4n))`, "0.25"},
		{`String(d.ratio(5n, 4n))`, "1"},
		{`String(d.ratio(1n, 0n))`, "0"},
		{`d.change(10000n, 10123n)`, "+1.23%"},
		{`d.change(10000n, 9900n)`, "-1.00%"},
		{`d.change(10000n, 10000n)`, "0.00%"},
		{`d.change(0n, 1n)`, ""},
		{`String(d.isZero('0.000'))`, "true"},
		{`String(d.isZero(''))`, "true"},
		{`String(d.isZero('0.001'))`, "false"},
		{`String(d.isZero('10'))`, "false"},
	} {
		got := evaluate[string](p, fmt.Sprintf(`import('/js/decimal.js').then(d => %s)`, tc.expression))
		assert.Equal(t, tc.want, got, tc.expression)
	}
}

// bookStep is a message of the book channel and what the book is after it.
type bookStep struct {
	Message    pipeline.FeedBook    `json:"message"`
	Bids, Asks []pipeline.FeedLevel // expected, best first
}

// TestBook lets the page's book follow a random one of the core's types, and
// compares every level and every checksum.
func TestBook(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 1))
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD", Base: exchange.Asset{ID: 1, Code: "BTC", Scale: 8}, Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 8},
		Tick: decimal.RequireFromString("0.05"), Lot: decimal.RequireFromString("0.001"),
		MinQty: decimal.RequireFromString("0.001"), MaxQty: decimal.RequireFromString("1000"), MaxPrice: decimal.RequireFromString("100000"),
	})
	require.NoError(t, err)
	levels := [2]map[exchange.Price]exchange.Qty{{}, {}} // bids, asks
	sorted := func(side int) []exchange.Level {
		var out []exchange.Level
		for px, qty := range levels[side] {
			out = append(out, exchange.Level{Price: px, Qty: qty, Orders: 1})
		}
		slices.SortFunc(out, func(a, b exchange.Level) int {
			if side == 0 { // bids: the highest first
				a, b = b, a
			}
			return cmp.Compare(a.Price, b.Price)
		})
		return out
	}
	wire := func(ls []exchange.Level) []pipeline.FeedLevel {
		out := []pipeline.FeedLevel{}
		for _, l := range ls {
			out = append(out, pipeline.FeedLevel{Price: in.PriceDecimal(l.Price).String(), Size: in.QtyDecimal(l.Qty).String(), Orders: l.Orders})
		}
		return out
	}
	var steps []bookStep
	for i := range 300 {
		msg := pipeline.FeedBook{FeedHeader: pipeline.FeedHeader{Type: "update", Channel: pipeline.ChannelBook, Seq: uint64(i + 1), PrevSeq: uint64(i)}}
		changes := [2][]exchange.Level{}
		for range 1 + rng.IntN(4) {
			side, px := rng.IntN(2), exchange.Price(rng.Int64N(30))
			if side == 0 {
				px = 2000 - px
			} else {
				px += 2001
			}
			if qty := exchange.Qty(rng.Int64N(3) * rng.Int64N(5000)); qty == 0 {
				delete(levels[side], px)
				changes[side] = append(changes[side], exchange.Level{Price: px})
			} else {
				levels[side][px] = qty
				changes[side] = append(changes[side], exchange.Level{Price: px, Qty: qty, Orders: 1})
			}
		}
		msg.Bids, msg.Asks = wire(changes[0]), wire(changes[1])
		if i%50 == 0 {
			msg.Type, msg.Bids, msg.Asks = "snapshot", wire(sorted(0)), wire(sorted(1))
		}
		msg.Checksum = pipeline.BookChecksum(in, sorted(0), sorted(1))
		steps = append(steps, bookStep{msg, wire(sorted(0)), wire(sorted(1))})
	}
	data, err := json.Marshal(steps)
	require.NoError(t, err)
	p := modules(t)
	got := evaluate[string](p, `Promise.all([import('/js/book.js'), import('/js/decimal.js')]).then(([b, d]) => {
		const book = new b.Book(2, 3);
		const plain = (side) => JSON.stringify(side.map(l => [d.format(l.price, 2, 0), d.format(l.size, 3, 0), l.orders]));
		const want = (side) => JSON.stringify(side.map(l => [l.price, l.size, l.orders]));
		for (const [i, step] of `+string(data)+`.entries()) {
			if (!book.apply(step.message)) return 'the checksum differs after step ' + i;
			if (plain(book.bids) !== want(step.Bids)) return 'bids after step ' + i + ': ' + plain(book.bids) + ' instead of ' + want(step.Bids);
			if (plain(book.asks) !== want(step.Asks)) return 'asks after step ' + i;
		}
		const wrong = {type: 'update', bids: [{price: '1', size: '1', orders: 1}], asks: [], checksum: 12345};
		return book.apply(wrong) ? 'a wrong checksum was taken' : 'ok';
	})`)
	assert.Equal(t, "ok", got)
}

func TestGroupedLevels(t *testing.T) {
	p := modules(t)
	got := evaluate[string](p, `import('/js/book.js').then(({grouped}) => {
		const side = (...l) => l.map(([price, size]) => ({price: BigInt(price), size: BigInt(size), orders: 1}));
		const show = (l) => l.map(x => x.price + ':' + x.size + ':' + x.total + ':' + x.orders).join(' ');
		return [
			show(grouped(side([101, 5], [104, 1], [110, 2], [111, 9]), 10n, 2, true)),
			show(grouped(side([109, 5], [101, 1], [100, 2], [99, 9]), 10n, 9, false)),
			show(grouped(side([109, 5], [101, 1]), 1n, 1, false)),
			show(grouped([], 10n, 3, true)),
		].join(' | ');
	})`)
	assert.Equal(t, "110:8:8:3 120:9:17:1 | 100:8:8:3 90:9:17:1 | 109:5:5:1 | ", got)
}

func TestCandleSums(t *testing.T) {
	p := modules(t)
	got := evaluate[string](p, `import('/js/candles.js').then(({sum, fill}) => {
		const c = (start, open, high, low, close, volume, trades) => ({start, open: BigInt(open), high: BigInt(high), low: BigInt(low), close: BigInt(close), volume: BigInt(volume), trades});
		const show = (l) => l.map(x => x ? [x.start, x.open, x.high, x.low, x.close, x.volume].join(',') : '-').join(' ');
		const minutes = [c(7, 10, 12, 9, 11, 1, 1), c(8, 11, 11, 5, 6, 2, 1), c(10, 6, 20, 6, 20, 3, 2)];
		return [
			show(sum(minutes, 5)),
			show(sum(minutes, 5, [c(0, 1, 2, 1, 2, 9, 4), c(5, 8, 12, 5, 6, 7, 9)])), // the older one of the meeting interval saw more
			show(sum(minutes, 5, [c(5, 8, 12, 5, 6, 7, 1)])),
			show(sum([], 5, [c(0, 1, 2, 1, 2, 9, 4)])),
			show(fill(sum(minutes, 5), 5, 20, 4)),
			show(fill(sum(minutes, 5), 5, 20, 2)),
			show(fill([], 5, 20, 2)),
		].join(' | ');
	})`)
	assert.Equal(t, "5,10,12,5,6,3 10,6,20,6,20,3 | 0,1,2,1,2,9 5,8,12,5,6,7 10,6,20,6,20,3 | 5,10,12,5,6,3 10,6,20,6,20,3 | 0,1,2,1,2,9 | "+
		"5,10,12,5,6,3 10,6,20,6,20,3 15,20,20,20,20,0 20,20,20,20,20,0 | 15,20,20,20,20,0 20,20,20,20,20,0 | - -", got)
}

// TestCheckOrder goes through the rules of the ticket.
func TestCheckOrder(t *testing.T) {
	p := modules(t)
	const setUp = `const product = {symbol: 'BTC-USD', base: 'BTC', quote: 'USD', priceScale: 2, sizeScale: 4, quoteScale: 6, tick: 5n, lot: 10n,
			minPrice: 100n, maxPrice: 10000000n, minSize: 10n, maxSize: 1000000n, minNotional: 5000000n, maxNotional: 1000000000000n, takerFee: 1000n, makerFee: 500n};
		const base = {side: 'buy', type: 'limit', price: '100.05', stop_price: '', size: '0.5', size_in: 'size', time_in_force: 'GTC', post_only: '',
			expire_time: '', display_size: '', min_size: '', self_trade_prevention: '', hidden: false};`
	check := func(fields string) string {
		return evaluate[string](p, `import('/js/check.js').then(({checkOrder}) => {`+setUp+`
			const {order, errors} = checkOrder({...base, ...`+fields+`}, product, Date.parse('2026-01-01T00:00:00Z'));
			delete order.symbol;
			return Object.keys(errors).length ? JSON.stringify(errors) : JSON.stringify(order); })`)
	}
	for _, tc := range []struct{ name, fields, want string }{
		{"plain limit", `{}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"GTC"}`},
		{"off the tick", `{price: '100.03'}`, `{"price":"In steps of 0.05."}`},
		{"too many decimals", `{price: '100.051'}`, `{"price":"In steps of 0.05."}`},
		{"no number", `{price: '1e3'}`, `{"price":"Digits and at most one point, such as 12.50."}`},
		{"comma", `{size: '0,5'}`, `{"size":"Digits and at most one point, such as 12.50."}`},
		{"empty", `{price: ' ', size: ''}`, `{"price":"Enter a price.","size":"Enter a size."}`},
		{"zero", `{size: '0'}`, `{"size":"Enter a size above zero."}`},
		{"off the lot", `{size: '0.0005'}`, `{"size":"In steps of 0.001."}`},
		{"price too low", `{price: '0.95'}`, `{"price":"At least 1."}`},
		{"price too high", `{price: '100000.05'}`, `{"price":"At most 100,000."}`},
		{"size too large", `{size: '100.001'}`, `{"size":"At most 100."}`},
		{"worth too little", `{size: '0.001'}`, `{"size":"Worth at least 5 USD."}`},
		{"worth too much", `{price: '99999', size: '100'}`, `{"size":"Worth at most 1,000,000 USD."}`},
		{"market", `{type: 'market', price: ''}`, `{"side":"buy","type":"market","size":"0.5000","time_in_force":"IOC"}`},
		{"market, bounded", `{type: 'market', time_in_force: 'FOK'}`, `{"side":"buy","type":"market","price":"100.05","size":"0.5000","time_in_force":"FOK"}`},
		{"market by funds", `{type: 'market', price: '', size_in: 'funds', size: '250.5'}`, `{"side":"buy","type":"market","funds":"250.5","time_in_force":"IOC"}`},
		{"funds are for buys", `{type: 'market', side: 'sell', price: '', size_in: 'funds'}`, `{"side":"sell","type":"market","size":"0.5000","time_in_force":"IOC"}`},
		{"stop without trigger", `{type: 'stop', price: ''}`, `{"stop_price":"Enter a stop price."}`},
		{"stop limit", `{type: 'stop_limit', stop_price: '101'}`, `{"side":"buy","type":"stop_limit","stop_price":"101.00","price":"100.05","size":"0.5000","time_in_force":"GTC"}`},
		{"a limit has no trigger", `{stop_price: '101'}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"GTC"}`},
		{"until nothing", `{time_in_force: 'GTD'}`, `{"expire_time":"Enter until when."}`},
		{"until the past", `{time_in_force: 'GTD', expire_time: '2025-01-01T00:00'}`, `{"expire_time":"That time has passed."}`},
		{"post only", `{post_only: 'slide'}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"GTC","post_only":"slide"}`},
		{"post only is nothing for IOC", `{post_only: 'slide', time_in_force: 'IOC'}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"IOC"}`},
		{"iceberg", `{display_size: '0.1'}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"GTC","display_size":"0.1000"}`},
		{"iceberg larger than itself", `{display_size: '0.6'}`, `{"display_size":"At most 0.5."}`},
		{"hidden shows nothing", `{display_size: '0.1', hidden: true}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"GTC","hidden":true}`},
		{"at least", `{min_size: '0.2'}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"GTC","min_size":"0.2000"}`},
		{"self-trade prevention", `{self_trade_prevention: 'decrement'}`, `{"side":"buy","type":"limit","price":"100.05","size":"0.5000","time_in_force":"GTC","self_trade_prevention":"decrement"}`},
	} {
		assert.JSONEq(t, tc.want, check(tc.fields), tc.name)
	}
	got := evaluate[string](p, `import('/js/check.js').then(({walk, affordable, feeUp, inQuote}) => {`+setUp+`
		const levels = [{price: 10000n, size: 5000n}, {price: 11000n, size: 20000n}];
		const w = walk(levels, 10000n);
		return [w.cost, w.filled, walk(levels, 99999n).filled, affordable(50050000n, product, 10000n, []), affordable(60000000n, product, null, levels),
			feeUp(1001n, 1000n), feeUp(1000n, 1000n), feeUp(1000n, -5n), inQuote(1234567891n, product, 2)].join(' ');
	})`)
	assert.Equal(t, "105000000 10000 25000 5000 5900 2 1 0 1,234.57", got)
}

// TestOnePaintAFrame: however often something changes between two frames, it
// is drawn once.
func TestOnePaintAFrame(t *testing.T) {
	p := modules(t)
	got := evaluate[string](p, `import('/js/dom.js').then(async ({painter, painting, touch}) => {
		const frame = () => new Promise(requestAnimationFrame);
		let drawn = 0;
		painter('a', () => drawn++);
		for (let i = 0; i < 1000; i++) touch('a');
		const before = drawn;
		await frame(); await frame();
		const after = drawn;
		await frame(); await frame();
		return [before, after, drawn, painting.frames].join(' ');
	})`)
	assert.Equal(t, "0 1 1 1", got)
}

// TestFeed drives the feed with a socket of its own: resume, gaps, checksum,
// heartbeat, backoff, accounts.
func TestFeed(t *testing.T) {
	p := modules(t)
	const setUp = `const sockets = [];
		globalThis.WebSocket = class extends EventTarget {
			static OPEN = 1;
			constructor(url) { super(); this.sent = []; this.readyState = 0; sockets.push(this); }
			send(text) { this.sent.push(text); }
			close() { if (this.readyState === 3) return; this.readyState = 3; this.dispatchEvent(new Event('close')); }
			open() { this.readyState = 1; this.dispatchEvent(new Event('open')); }
			say(msg) { this.dispatchEvent(new MessageEvent('message', {data: JSON.stringify(msg)})); }
			asked() { const out = this.sent.filter(s => !s.includes('ping')).map(s => JSON.parse(s)).map(m => m.op + ' ' + (m.channel ?? m.token) + (m.symbol ? ' ' + m.symbol : '') + (m.seq !== undefined ? ' ' + m.seq : '')); this.sent = []; return out.join(', '); }
		};
		const waits = [];
		const heard = [];
		const later = globalThis.setTimeout;
		globalThis.setTimeout = (f, ms) => { if (ms < 9000) { waits.push([f, ms]); return -1; } return later(f, ms); };
		let fits = true;
		const states = [];
		const feed = new Feed('ws://x/ws', {onState: (s) => states.push(s), onMessage: (m) => { heard.push(m.type + m.seq); return fits; }, onAuth: (ok) => heard.push('auth ' + ok), onError: (e) => heard.push('error ' + e.code), onChange() {}});
		const take = () => heard.splice(0).join(' ');
		const book = (type, seq, prev_seq) => ({type, channel: 'book', symbol: 'A', seq, prev_seq});
		feed.subscribe('book', 'A');
		feed.start();
		let s = sockets[0];
		const out = [];`
	run := func(script string) string {
		return evaluate[string](p, `import('/js/feed.js').then(({Feed}) => {`+setUp+script+`; return out.join(' | '); })`)
	}
	for _, tc := range []struct{ name, script, want string }{
		{"in order", `s.open(); out.push(s.asked()); s.say(book('snapshot', 5, 0)); s.say(book('update', 7, 5)); s.say(book('update', 9, 7)); out.push(take(), s.asked())`,
			"subscribe book A | snapshot5 update7 update9 | "},
		{"old ones are ignored", `s.open(); s.say(book('update', 4, 3)); s.say(book('snapshot', 5, 0)); s.say(book('update', 5, 3)); s.say(book('update', 7, 5)); s.say(book('update', 7, 5)); out.push(take(), feed.stats.gaps)`,
			"snapshot5 update7 | 0"},
		{"a snapshot newer than the update before it", `s.open(); s.say(book('snapshot', 6, 0)); s.say(book('update', 9, 4)); out.push(take(), feed.stats.gaps)`,
			"snapshot6 update9 | 0"},
		{"a gap", `s.open(); s.asked(); s.say(book('snapshot', 5, 0)); s.say(book('update', 9, 7)); out.push(s.asked(), take()); s.say(book('update', 11, 9)); out.push(take()); s.say(book('snapshot', 12, 0)); s.say(book('update', 13, 12)); out.push(take(), feed.stats.gaps)`,
			"subscribe book A | snapshot5 |  | snapshot12 update13 | 1"},
		{"two gaps in a row wait", `s.open(); s.asked(); s.say(book('snapshot', 5, 0)); s.say(book('update', 9, 7)); s.say(book('snapshot', 9, 0)); s.asked(); s.say(book('update', 12, 11)); out.push(s.asked(), waits.length); waits[0][0](); out.push(s.asked(), waits[0][1] > 500 && waits[0][1] <= 1000)`,
			" | 1 | subscribe book A | true"},
		{"the contents do not fit", `s.open(); s.asked(); s.say(book('snapshot', 5, 0)); fits = false; s.say(book('update', 7, 5)); out.push(s.asked(), feed.stats.gaps); s.say(book('snapshot', 8, 0)); out.push(s.asked(), feed.stats.gaps)`,
			"subscribe book A | 1 |  | 1"},
		{"the heartbeat knows more", `s.open(); s.asked(); s.say(book('snapshot', 5, 0)); s.say({type: 'heartbeat', subscriptions: [{channel: 'book', symbol: 'A', seq: 5}]}); out.push(s.asked()); s.say({type: 'heartbeat', subscriptions: [{channel: 'book', symbol: 'A', seq: 6}]}); out.push(s.asked(), feed.stats.gaps)`,
			" | subscribe book A | 1"},
		{"the venue threw something away", `s.open(); s.asked(); s.say(book('snapshot', 5, 0)); s.say({type: 'gap', channel: 'book', symbol: 'A', code: 'slow_reader'}); s.say(book('update', 9, 5)); s.say(book('snapshot', 9, 0)); out.push(s.asked(), take(), feed.stats.gaps)`,
			" | snapshot5 snapshot9 | 1"},
		{"it comes back and resumes", `s.open(); s.say(book('snapshot', 5, 0)); s.say(book('update', 7, 5)); s.close(); out.push(waits[0][1] >= 125 && waits[0][1] <= 250); waits[0][0](); s = sockets[1]; s.open(); out.push(s.asked()); s.say(book('update', 9, 7)); out.push(take(), feed.stats.gaps, feed.stats.reconnects, states.join(' '))`,
			"true | subscribe book A 7 | snapshot5 update7 update9 | 0 | 1 | connecting live waiting connecting live"},
		{"after a gap it does not resume", `s.open(); s.say(book('snapshot', 5, 0)); s.say(book('update', 9, 7)); s.close(); waits[0][0](); s = sockets[1]; s.open(); out.push(s.asked())`,
			"subscribe book A"},
		{"it backs off", `for (let i = 0; i < 8; i++) { sockets.at(-1).close(); waits.at(-1)[0](); } const ms = waits.map(w => w[1]); out.push(ms[2] >= 500 && ms[2] <= 1000, ms.at(-1) >= 4000 && ms.at(-1) <= 8000)`,
			"true | true"},
		{"opened and closed at once it backs off too", `for (let i = 0; i < 4; i++) { sockets.at(-1).open(); sockets.at(-1).close(); waits.at(-1)[0](); } out.push(waits[3][1] >= 1000)`,
			"true"},
		{"an account", `s.open(); s.asked(); feed.signIn('t'); out.push(s.asked()); feed.subscribe('orders'); out.push(s.asked()); s.say({type: 'authenticated'}); out.push(s.asked(), take())`,
			"auth t |  | subscribe orders | auth true"},
		{"an account after a reconnect", `s.open(); feed.signIn('t'); s.say({type: 'authenticated'}); feed.subscribe('orders'); s.close(); waits[0][0](); s = sockets[1]; s.open(); out.push(s.asked()); s.say({type: 'authenticated'}); out.push(s.asked())`,
			"auth t, subscribe book A | subscribe orders"},
		{"signing out takes a new connection", `s.open(); feed.signIn('t'); s.say({type: 'authenticated'}); feed.subscribe('orders'); feed.signIn(''); out.push(sockets.length, s.readyState); s = sockets[1]; s.open(); out.push(s.asked(), feed.stats.reconnects)`,
			"2 | 3 | subscribe book A | 0"},
		{"the token has ended", `s.open(); feed.signIn('t'); s.say({type: 'error', code: 'token_expired', message: 'x'}); out.push(take())`,
			"auth false"},
		{"every instrument has its sequence", `s.open(); feed.signIn('t'); s.say({type: 'authenticated'}); feed.subscribe('orders'); take(); const o = (type, symbol, seq, prev_seq) => ({type, channel: 'orders', symbol, seq, prev_seq}); s.say(o('snapshot', 'A', 100, 0)); s.say(o('snapshot', 'B', 5, 0)); s.say(o('update', 'B', 6, 5)); s.say(o('update', 'A', 101, 100)); out.push(take(), feed.stats.gaps)`,
			"snapshot100 snapshot5 update6 update101 | 0"},
		{"other complaints are told", `s.open(); s.say({type: 'error', code: 'unknown_symbol', channel: 'book', symbol: 'A'}); out.push(take())`,
			"error unknown_symbol"},
		{"a message in parts", `s.open(); const t = JSON.stringify(book('snapshot', 5, 0)); const part = (id, part, data) => s.say({type: 'part', id, part, parts: 3, data}); part('a', 1, t.slice(0, 9)); part('b', 2, 'lost'); part('a', 2, t.slice(9, 20)); out.push(take()); part('a', 3, t.slice(20)); s.say(book('update', 7, 5)); part('a', 3, 'again'); part('c', 1, 'x'); part('c', 3, 'y'); out.push(take(), feed.stats.gaps)`,
			" | snapshot5 update7 | 0"},
		{"no snapshot to be had now", `s.open(); s.asked(); s.say({type: 'error', code: 'unavailable', channel: 'book', symbol: 'A'}); out.push(take()); waits[0][0](); out.push(s.asked())`,
			" | subscribe book A"},
	} {
		assert.Equal(t, tc.want, run(tc.script), tc.name)
		p.do(chromedp.Reload())
	}
}
