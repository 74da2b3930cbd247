package pipeline_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// forgetfulPusher is a Pusher that can lose how far it was.
type forgetfulPusher struct {
	flawedPusher
	lost bool
}

func (p *forgetfulPusher) Push(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
	p.lost = false
	return p.flawedPusher.Push(ctx, inst, pos, messages)
}

func (p *forgetfulPusher) Pushed(ctx context.Context, inst exchange.InstrumentID) (pos pipeline.Position, err error) {
	if p.lost {
		return 0, nil
	}
	return p.Pusher.Pushed(ctx, inst)
}

// everybody is a Pusher that does not know who listens.
type everybody struct{ pipeline.Pusher }

// screen is a MarketData and a TradeRecorder beside a scribe, and a client of
// each channel who keeps to the rules.
type screen struct {
	*registry
	pusher  *forgetfulPusher
	mdcfg   pipeline.MarketDataConfig
	md      *pipeline.MarketData
	sub     *memory.PushSubscription
	book    [3]map[string]pipeline.FeedLevel
	sum     uint32
	seqs    map[string]uint64 // by channel and account: the last
	trades  []pipeline.FeedTrade
	candles map[string]pipeline.FeedCandle
	ticker  pipeline.FeedTicker
	orders  map[string]pipeline.FeedOrder // by command
	owners  map[string]exchange.AccountID
	fills   map[string]int // how often
	refused map[string]int
	gaps    []string
}

func newScreen(t require.TestingT, every, tracked int) *screen {
	x := &screen{registry: newRegistry(t, every, tracked), pusher: &forgetfulPusher{flawedPusher: flawedPusher{Pusher: memory.NewPusher()}},
		seqs: map[string]uint64{}, candles: map[string]pipeline.FeedCandle{}, orders: map[string]pipeline.FeedOrder{},
		owners: map[string]exchange.AccountID{}, fills: map[string]int{}, refused: map[string]int{}}
	for side := range x.book {
		x.book[side] = map[string]pipeline.FeedLevel{}
	}
	x.sub = x.pusher.Subscribe("", 0, 0)
	x.mdcfg = pipeline.MarketDataConfig{Instruments: []*exchange.Instrument{x.in}, Pusher: x.pusher, Trades: x.registry.trades,
		TrackedOrders: tracked, Metrics: x.metrics}
	x.watch()
	return x
}

// watch begins with a MarketData that knows nothing.
func (x *screen) watch() {
	x.mdcfg.Log = pipeline.NewLog(x.journal)
	var err error
	x.md, err = pipeline.NewMarketData(x.mdcfg)
	require.NoError(x.t, err)
}

func (x *screen) push() error { return x.md.Handle(context.Background(), x.notice()) }

// hear lets the client take what has arrived.
func (x *screen) hear() {
	for _, m := range heard(x.t, x.sub) {
		key := fmt.Sprintf("%s %d", m.Channel, m.Account)
		var h pipeline.FeedHeader
		require.NoError(x.t, json.Unmarshal(m.Data, &h))
		require.Equal(x.t, pipeline.FeedHeader{Type: "update", Channel: m.Channel, Symbol: x.in.Symbol(), Seq: m.Seq, PrevSeq: m.PrevSeq, Time: h.Time}, h)
		require.Equal(x.t, x.in.ID(), m.Instrument)
		require.Equal(x.t, m.Channel == pipeline.ChannelOrders, m.Account != 0)
		require.Less(x.t, m.PrevSeq, m.Seq)
		last := x.seqs[key]
		if m.Seq <= last {
			continue
		}
		if m.PrevSeq > last {
			x.gaps = append(x.gaps, fmt.Sprintf("%s: %d after %d, had %d", key, m.Seq, m.PrevSeq, last))
		}
		x.seqs[key] = m.Seq
		x.understand(&m)
	}
}

func (x *screen) understand(m *pipeline.Push) {
	into := func(v any) { require.NoError(x.t, json.Unmarshal(m.Data, v)) }
	switch m.Channel {
	case pipeline.ChannelBook:
		var msg pipeline.FeedBook
		into(&msg)
		for i, levels := range [][]pipeline.FeedLevel{msg.Bids, msg.Asks} {
			for _, l := range levels {
				if l.Size == "0" {
					delete(x.book[i+1], l.Price)
				} else {
					x.book[i+1][l.Price] = l
				}
			}
		}
		x.sum = msg.Checksum
	case pipeline.ChannelTrades:
		var msg pipeline.FeedTrades
		into(&msg)
		x.trades = append(x.trades, msg.Trades...)
	case pipeline.ChannelCandles:
		var msg pipeline.FeedCandles
		into(&msg)
		for _, c := range msg.Candles {
			x.candles[c.Start] = c
		}
	case pipeline.ChannelTicker:
		x.ticker = pipeline.FeedTicker{}
		into(&x.ticker)
	case pipeline.ChannelOrders:
		var msg pipeline.FeedOrders
		into(&msg)
		for _, o := range msg.Orders {
			x.orders[o.CommandID], x.owners[o.CommandID] = o, m.Account
		}
		for _, f := range msg.Fills {
			x.fills[fmt.Sprintf("%d %+v", m.Account, f)]++
		}
		for _, r := range msg.Refusals {
			x.refused[fmt.Sprintf("%d %+v", m.Account, r)]++
		}
	}
}

// sees compares what the client has with the book.
func (x *screen) sees() {
	book := x.engine.Book(1)
	var best [3][]exchange.Level
	for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
		best[side] = book.Levels(nil, side, 0)
		want := map[string]pipeline.FeedLevel{}
		for _, l := range best[side] {
			px := x.in.PriceDecimal(l.Price).String()
			want[px] = pipeline.FeedLevel{Price: px, Size: x.in.QtyDecimal(l.Qty).String(), Orders: l.Orders}
		}
		require.Equal(x.t, want, x.book[side])
	}
	require.Equal(x.t, pipeline.BookChecksum(x.in, best[exchange.Buy], best[exchange.Sell]), x.sum)
}

// knows compares what the client has with the journal.
func (x *screen) knows() {
	ch := &chronicle{x.in, x.items()}
	day := newDay()
	var trades []pipeline.FeedTrade
	fills, refused := map[string]int{}, map[string]int{}
	ch.each(func(e *pipeline.Entry, ev *exchange.Event) {
		switch ev.Kind {
		case exchange.EventTrade:
			price, size, at := x.in.PriceDecimal(ev.Price).String(), x.in.QtyDecimal(ev.Qty).String(), pipeline.TimeText(ev.Time)
			trades = append(trades, pipeline.FeedTrade{ID: ev.TradeID, Price: price, Size: size, Side: ev.Side.String(), Time: at})
			fill := func(acct exchange.AccountID, order exchange.OrderID, side exchange.Side, fee exchange.Amount, liquidity string) {
				fills[fmt.Sprintf("%d %+v", acct, pipeline.FeedFill{TradeID: ev.TradeID, Symbol: x.in.Symbol(), OrderID: fmt.Sprintf("%s.%d", x.in.Symbol(), order),
					Side: side.String(), Price: price, Size: size, Fee: x.in.Quote().Decimal(fee).String(), Liquidity: liquidity, Time: at})]++
			}
			fill(ev.Account, ev.OrderID, ev.Side, ev.Fee, "taker")
			fill(ev.MakerAccount, ev.MakerOrderID, ev.Side.Opposite(), ev.MakerFee, "maker")
			day.trade(ev)
		case exchange.EventRejected:
			c := &e.Command
			again := (c.Kind == exchange.KindNewOrder || c.Kind == exchange.KindVoid && c.OrderID == 0) && ch.order(ev.ID).Seq == ev.Seq
			if ev.Account != 0 && !again {
				r := pipeline.FeedRefusal{CommandID: hex.EncodeToString(ev.ID[:]), Command: c.Kind.String(), Code: pipeline.ReasonCode(ev.Reason), Reason: ev.Reason.String()}
				if c.Kind == exchange.KindVoid {
					r.Command = ""
				}
				if c.OrderID != 0 {
					r.OrderID = fmt.Sprintf("%s.%d", x.in.Symbol(), c.OrderID)
				}
				refused[fmt.Sprintf("%d %+v", ev.Account, r)]++
			}
		}
	})
	require.Equal(x.t, trades, x.trades)
	require.Equal(x.t, fills, x.fills)
	require.Equal(x.t, refused, x.refused)
	ids := ch.made()
	require.Len(x.t, x.orders, len(ids))
	for _, id := range ids {
		o := ch.order(id)
		require.Equal(x.t, pipeline.FeedOrderOf(x.in, &o), x.orders[hex.EncodeToString(id[:])])
		require.Equal(x.t, o.Account, x.owners[hex.EncodeToString(id[:])])
	}
	want := map[string]pipeline.FeedCandle{}
	for _, c := range day.candles {
		want[pipeline.TimeText(c.Start)] = pipeline.FeedCandleOf(x.in, &c)
	}
	delete(want, "") // the first minute of 1970 is called something else
	delete(x.candles, "1970-01-01T00:00:00Z")
	require.Equal(x.t, want, x.candles)
	if len(trades) > 0 {
		last := ch.items[0]
		for _, c := range ch.items {
			if c.Batch().LastSeq() != 0 { // else nothing is pushed
				last = c
			}
		}
		x.ticker.FeedHeader = pipeline.FeedHeader{}
		require.Equal(x.t, day.ticker(x.in, last.Batch().LastTime()), x.ticker)
	}
}

// day counts trades by the minute, all of them.
type day struct {
	candles []pipeline.Candle
	last    exchange.Event
}

func newDay() *day { return &day{} }

func (d *day) trade(ev *exchange.Event) {
	start := ev.Time - ev.Time%60e9
	if n := len(d.candles); n == 0 || d.candles[n-1].Start != start {
		d.candles = append(d.candles, pipeline.Candle{Start: start, Open: ev.Price, High: ev.Price, Low: ev.Price})
	}
	c := &d.candles[len(d.candles)-1]
	c.High, c.Low, c.Close, c.Volume, c.Trades = max(c.High, ev.Price), min(c.Low, ev.Price), ev.Price, c.Volume+ev.Qty, c.Trades+1
	d.last = *ev
}

func (d *day) ticker(in *exchange.Instrument, now exchange.Time) pipeline.FeedTicker {
	open, high, low, volume := d.last.Price, d.last.Price, d.last.Price, exchange.Qty(0)
	first := true
	for _, c := range d.candles {
		if c.Start <= now-now%60e9-24*3600e9 {
			continue
		}
		if first {
			open, high, low, first = c.Open, c.High, c.Low, false
		}
		high, low, volume = max(high, c.High), min(low, c.Low), volume+c.Volume
	}
	px := func(p exchange.Price) string { return in.PriceDecimal(p).String() }
	return pipeline.FeedTicker{Price: px(d.last.Price), Size: in.QtyDecimal(d.last.Qty).String(), Open: px(open), High: px(high), Low: px(low),
		Volume: in.QtyDecimal(volume).String()}
}

// TestMarketDataTellsEverything: a client who keeps to the rules has after
// every item the book with its checksum, and in the end every trade, order,
// fill, refusal and candle, each once, without ever missing anything; through
// restarts, a Pusher that fails or forgets, and a trade store that is ahead or
// behind.
func TestMarketDataTellsEverything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }
		x := newScreen(rt, 1000, 20)
		if pick(2) == 0 {
			x.mdcfg.Pusher = everybody{x.pusher}
			x.watch()
		}
		d := &drawer{pick: pick, s: x.scribe, now: 1000 + exchange.Time(pick(3))*86_400e9}
		for range 10 + pick(120) {
			m, again := d.message()
			if !again {
				m.Command.Held = exchange.Amount(pick(60_000))
				d.sent = append(d.sent, m)
			}
			x.apply(m)
			if d.one(15) {
				d.now += exchange.Time(1+pick(40)) * 20e9
			}
			if d.one(40) {
				d.now += exchange.Time(1+pick(30)) * 3600e9
			}
			if d.one(4) {
				x.commit()
			}
			switch {
			case d.one(6) && x.head.Position > 0:
				x.commit()
				require.NoError(rt, x.push())
				x.hear()
				x.sees()
			case d.one(8) && x.head.Position > 0:
				x.commit()
				require.NoError(rt, x.handle())
			case d.one(12):
				x.watch()
			case d.one(20):
				x.pusher.lost = true
				x.watch()
			case d.one(12) && x.head.Position > 0:
				x.pusher.set([]string{"Push", "Push after"}[pick(2)])
				x.registry.trades.set([]string{"", "OrderByCommand", "Recorded"}[pick(3)])
				x.commit()
				_ = x.push()
				x.pusher.set()
				x.registry.trades.set()
			}
		}
		x.commit()
		if x.head.Position == 0 {
			return
		}
		require.NoError(rt, x.push())
		x.hear()
		x.sees()
		x.knows()
		if x.head.Position <= pipeline.DefaultLogCache { // else who was silent for long may be asked to look again
			require.Empty(rt, x.gaps, "nothing was missed")
		}
	})
}

func TestMarketDataConfig(t *testing.T) {
	x := newScreen(t, 1000, 20)
	for name, change := range map[string]func(c *pipeline.MarketDataConfig){
		"Instruments is empty":                 func(c *pipeline.MarketDataConfig) { c.Instruments = nil },
		"no Log":                               func(c *pipeline.MarketDataConfig) { c.Log = nil },
		"Pusher and Trades":                    func(c *pipeline.MarketDataConfig) { c.Pusher = nil },
		"Pusher and Trades are":                func(c *pipeline.MarketDataConfig) { c.Trades = nil },
		"TrackedOrders -1, expected 1 or more": func(c *pipeline.MarketDataConfig) { c.TrackedOrders = -1 },
	} {
		cfg := x.mdcfg
		change(&cfg)
		_, err := pipeline.NewMarketData(cfg)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, name)
		assert.ErrorContains(t, err, name)
	}
}

// order commits a limit order as an item of its own.
func (x *screen) order(n byte, acct exchange.AccountID, side exchange.Side, px exchange.Price, qty exchange.Qty, change ...func(c *exchange.Command)) {
	c := exchange.LimitOrder(1, acct, side, px, qty)
	c.ID, c.Held, c.Time = plainID(n), 60_000, 1_600_000_000e9
	for _, f := range change {
		f(&c)
	}
	x.each(pipeline.Message{Command: c, ClientID: fmt.Sprintf("c%d", n)})
}

func bare(kind exchange.CommandKind, id exchange.OrderID) func(c *exchange.Command) {
	return func(c *exchange.Command) {
		*c = exchange.Command{Kind: kind, Instrument: 1, Account: c.Account, ID: c.ID, Time: c.Time, OrderID: id}
	}
}

// The messages to the letter.
func TestFeedMessages(t *testing.T) {
	x := newScreen(t, 1000, 20)
	x.order(1, 1, exchange.Sell, 101, 7, func(c *exchange.Command) { c.DisplayQty, c.SelfTrade = 5, exchange.CancelOldest })
	x.order(2, 2, exchange.Buy, 102, 2)
	x.order(3, 2, 0, 0, 0, bare(exchange.KindCancel, 9))
	x.order(4, 2, exchange.Buy, 80, 3, func(c *exchange.Command) {
		c.Type, c.StopPrice, c.TimeInForce, c.Expire = exchange.StopLimit, 110, exchange.GTD, 1_600_000_060e9
	})
	x.order(5, 2, exchange.Buy, 0, 0, func(c *exchange.Command) { c.Type, c.TimeInForce, c.Funds = exchange.Market, exchange.IOC, 210 })
	x.order(6, 0, 0, 0, 0, bare(exchange.KindAdvanceTime, 0), func(c *exchange.Command) { c.Time = 1_600_090_000e9 })
	require.NoError(t, x.push())
	var got []string
	for _, m := range heard(t, x.sub) {
		got = append(got, fmt.Sprintf("%s %d %d<%d %s", m.Channel, m.Account, m.PrevSeq, m.Seq, m.Data))
	}
	const at, later = `"time":"2020-09-13T12:26:40Z"`, `"time":"2020-09-14T13:26:40Z"`
	head := func(channel string, seq, prev int, at string) string {
		return fmt.Sprintf(`{"type":"update","channel":%q,"symbol":"B1-USD","seq":%d,"prev_seq":%d,%s,`, channel, seq, prev, at)
	}
	const sell = `"command_id":"00000000000000000000000000000001","client_order_id":"c1","symbol":"B1-USD","side":"sell","type":"limit","time_in_force":"GTC",`
	const sold = `"self_trade_prevention":"cancel_oldest","created_at":"2020-09-13T12:26:40Z","updated_at":"2020-09-13T12:26:40Z"}`
	assert.Equal(t, []string{
		`book 0 0<1 ` + head("book", 1, 0, at) + `"bids":[],"asks":[{"price":"10.1","size":"0.05","orders":1}],"checksum":` + sum(t, x, nil, 101, 5) + `}`,
		`orders 1 0<1 ` + head("orders", 1, 0, at) + `"orders":[{"id":"B1-USD.1",` + sell + `"status":"open","price":"10.1","size":"0.07","display_size":"0.05",` +
			`"filled":"0","remaining":"0.07","cost":"0","fee":"0",` + sold + `]}`,

		`book 0 1<3 ` + head("book", 3, 1, at) + `"bids":[],"asks":[{"price":"10.1","size":"0.03","orders":1}],"checksum":` + sum(t, x, nil, 101, 3) + `}`,
		`trades 0 0<3 ` + head("trades", 3, 0, at) + `"trades":[{"trade_id":"1","price":"10.1","size":"0.02","side":"buy",` + at + `}]}`,
		`candles 0 0<3 ` + head("candles", 3, 0, at) + `"candles":[{"start":"2020-09-13T12:26:00Z","open":"10.1","high":"10.1","low":"10.1","close":"10.1","volume":"0.02","trades":1}]}`,
		`ticker 0 0<3 ` + head("ticker", 3, 0, at) + `"price":"10.1","size":"0.02","open_24h":"10.1","high_24h":"10.1","low_24h":"10.1","volume_24h":"0.02"}`,
		`orders 2 0<3 ` + head("orders", 3, 0, at) + `"orders":[{"id":"B1-USD.2","command_id":"00000000000000000000000000000002","client_order_id":"c2","symbol":"B1-USD",` +
			`"side":"buy","type":"limit","time_in_force":"GTC","status":"filled","price":"10.2","size":"0.02","filled":"0.02","remaining":"0","cost":"0.202","fee":"0.007",` +
			`"created_at":"2020-09-13T12:26:40Z","updated_at":"2020-09-13T12:26:40Z"}],` +
			`"fills":[{"trade_id":"1","symbol":"B1-USD","order_id":"B1-USD.2","side":"buy","price":"10.1","size":"0.02","fee":"0.007","liquidity":"taker",` + at + `}]}`,
		`orders 1 1<3 ` + head("orders", 3, 1, at) + `"orders":[{"id":"B1-USD.1",` + sell + `"status":"open","price":"10.1","size":"0.07","display_size":"0.05",` +
			`"filled":"0.02","remaining":"0.05","cost":"0.202","fee":"-0.002",` + sold + `],` +
			`"fills":[{"trade_id":"1","symbol":"B1-USD","order_id":"B1-USD.1","side":"sell","price":"10.1","size":"0.02","fee":"-0.002","liquidity":"maker",` + at + `}]}`,

		`book 0 3<4 ` + head("book", 4, 3, at) + `"bids":[],"asks":[],"checksum":` + sum(t, x, nil, 101, 3) + `}`,
		`orders 2 3<4 ` + head("orders", 4, 3, at) + `"orders":[],"refusals":[{"command_id":"00000000000000000000000000000003","command":"cancel","order_id":"B1-USD.9","code":"unknown_order","reason":"unknown order"}]}`,

		`book 0 4<5 ` + head("book", 5, 4, at) + `"bids":[],"asks":[],"checksum":` + sum(t, x, nil, 101, 3) + `}`,
		`orders 2 4<5 ` + head("orders", 5, 4, at) + `"orders":[{"id":"B1-USD.3","command_id":"00000000000000000000000000000004","client_order_id":"c4","symbol":"B1-USD",` +
			`"side":"buy","type":"stop_limit","time_in_force":"GTD","status":"pending","price":"8","stop_price":"11","size":"0.03","filled":"0","remaining":"0.03","cost":"0","fee":"0",` +
			`"expire_time":"2020-09-13T12:27:40Z","created_at":"2020-09-13T12:26:40Z","updated_at":"2020-09-13T12:26:40Z"}]}`,

		`book 0 5<8 ` + head("book", 8, 5, at) + `"bids":[],"asks":[{"price":"10.1","size":"0.01","orders":1}],"checksum":` + sum(t, x, nil, 101, 1) + `}`,
		`trades 0 3<7 ` + head("trades", 7, 3, at) + `"trades":[{"trade_id":"2","price":"10.1","size":"0.02","side":"buy",` + at + `}]}`,
		`candles 0 3<7 ` + head("candles", 7, 3, at) + `"candles":[{"start":"2020-09-13T12:26:00Z","open":"10.1","high":"10.1","low":"10.1","close":"10.1","volume":"0.04","trades":2}]}`,
		`ticker 0 0<8 ` + head("ticker", 8, 0, at) + `"price":"10.1","size":"0.02","open_24h":"10.1","high_24h":"10.1","low_24h":"10.1","volume_24h":"0.04"}`,
		`orders 2 5<8 ` + head("orders", 8, 5, at) + `"orders":[{"id":"B1-USD.4","command_id":"00000000000000000000000000000005","client_order_id":"c5","symbol":"B1-USD",` +
			`"side":"buy","type":"market","time_in_force":"IOC","status":"canceled","code":"funds_exhausted","reason":"funds exhausted","price":"12","size":"0.02","funds":"0.21",` +
			`"filled":"0.02","remaining":"0","cost":"0.202","fee":"0.007","created_at":"2020-09-13T12:26:40Z","updated_at":"2020-09-13T12:26:40Z"}],` +
			`"fills":[{"trade_id":"2","symbol":"B1-USD","order_id":"B1-USD.4","side":"buy","price":"10.1","size":"0.02","fee":"0.007","liquidity":"taker",` + at + `}]}`,
		`orders 1 3<8 ` + head("orders", 8, 3, at) + `"orders":[{"id":"B1-USD.1",` + sell + `"status":"open","price":"10.1","size":"0.07","display_size":"0.05",` +
			`"filled":"0.04","remaining":"0.03","cost":"0.404","fee":"-0.005",` + sold + `],` +
			`"fills":[{"trade_id":"2","symbol":"B1-USD","order_id":"B1-USD.1","side":"sell","price":"10.1","size":"0.02","fee":"-0.003","liquidity":"maker",` + at + `}]}`,

		`book 0 8<10 ` + head("book", 10, 8, later) + `"bids":[],"asks":[],"checksum":` + sum(t, x, nil, 101, 1) + `}`,
		`ticker 0 0<10 ` + head("ticker", 10, 0, later) + `"price":"10.1","size":"0.02","open_24h":"10.1","high_24h":"10.1","low_24h":"10.1","volume_24h":"0"}`,
		`orders 2 8<10 ` + head("orders", 10, 8, later) + `"orders":[{"id":"B1-USD.3","command_id":"00000000000000000000000000000004","client_order_id":"c4","symbol":"B1-USD",` +
			`"side":"buy","type":"stop_limit","time_in_force":"GTD","status":"expired","code":"expired","reason":"expired","price":"8","stop_price":"11","size":"0.03","filled":"0","remaining":"0","cost":"0","fee":"0",` +
			`"expire_time":"2020-09-13T12:27:40Z","created_at":"2020-09-13T12:26:40Z","updated_at":"2020-09-14T13:26:40Z"}]}`,
	}, got)
}

// sum is the checksum of a book with one level to sell.
func sum(t *testing.T, x *screen, bids []exchange.Level, px exchange.Price, qty exchange.Qty) string {
	t.Helper()
	return fmt.Sprint(pipeline.BookChecksum(x.in, bids, []exchange.Level{{Price: px, Qty: qty, Orders: 1}}))
}

// quiet commits n items in which nothing but the time passes.
func (x *screen) quiet(n int) {
	for range n {
		c := exchange.AdvanceTime(1, 1_600_000_000e9+exchange.Time(x.head.Position))
		c.ID = scribeID(int(x.head.Position) + 1)
		x.each(pipeline.Message{Command: c})
	}
}

// A Pusher that does not know how far it was, or is far behind, gets the latest
// items only; clients see the gap.
func TestMarketDataBeginsLate(t *testing.T) {
	for _, tc := range []struct {
		name    string
		pushed  pipeline.Position
		items   int
		skipped int64
	}{
		{"all that there is", 0, pipeline.MaxFeedCatchUp, 0},
		{"one too many", 0, pipeline.MaxFeedCatchUp + 1, 1},
		{"far behind", 3, pipeline.MaxFeedCatchUp + 13, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newScreen(t, 1000, 20)
			x.quiet(tc.items)
			require.NoError(t, x.pusher.Pusher.Push(context.Background(), 1, tc.pushed, nil))
			require.NoError(t, x.push())
			got := heard(t, x.sub)
			first := int(tc.pushed) + int(tc.skipped)
			require.Len(t, got, tc.items-first)
			assert.Equal(t, uint64(first), got[0].PrevSeq)
			assert.Equal(t, tc.skipped, x.metrics.Read(pipeline.MetricFeedSkipped, 1).Count)
			assert.Equal(t, float64(tc.items), x.metrics.Read(pipeline.MetricPushedPosition, 1).Gauge)
		})
	}
}

// Where the journal has been trimmed, the feed goes on with what there is.
func TestMarketDataAfterTrim(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name  string
		trim  pipeline.Position
		heard []uint64 // Seq
	}{{"with the item of the notice", 8, []uint64{10}}, {"or with the next, when that is gone too", 10, nil}} {
		t.Run(tc.name, func(t *testing.T) {
			x := newScreen(t, 1000, 20)
			x.quiet(10)
			require.NoError(t, x.handle())
			require.NoError(t, x.journal.SaveSnapshot(ctx, 1, pipeline.Snapshot{Head: x.head, Data: []byte("x")}))
			require.NoError(t, x.journal.Trim(ctx, 1, tc.trim))
			x.watch()
			require.NoError(t, x.push())
			var seqs []uint64
			for _, m := range heard(t, x.sub) {
				seqs = append(seqs, m.Seq)
			}
			assert.Equal(t, tc.heard, seqs)
			pushed, err := x.pusher.Pusher.Pushed(ctx, 1)
			require.NoError(t, err)
			assert.Equal(t, pipeline.Position(10), pushed)
			x.quiet(1)
			require.NoError(t, x.push())
			assert.Equal(t, uint64(11), heard(t, x.sub)[0].Seq)
		})
	}
}

// Orders that the trade store does not have yet stay at hand, up to twice as
// many as there should be; then the feed waits for it.
func TestMarketDataWaitsForTheTradeStore(t *testing.T) {
	x := newScreen(t, 1000, 4)
	for n := range byte(8) {
		x.order(n+1, 1, exchange.Buy, 90, 1)
	}
	require.NoError(t, x.push())
	x.order(9, 1, exchange.Buy, 90, 1)
	err := x.push()
	assert.ErrorIs(t, err, pipeline.ErrFull)
	assert.ErrorContains(t, err, "the trade store is behind, at item 0: 9 orders since")
	x.order(10, 1, exchange.Sell, 90, 9)
	require.NoError(t, x.handle())
	require.NoError(t, x.push())
	x.hear()
	x.sees()
	x.knows()
	assert.Empty(t, x.gaps)
}

// Without listeners nothing is made but what moves the sequences.
func TestMarketDataMakesWhatIsHeard(t *testing.T) {
	x := newScreen(t, 1000, 20)
	x.sub.Close()
	sub := x.pusher.Subscribe(pipeline.ChannelOrders, 1, 2)
	x.order(1, 1, exchange.Sell, 101, 7)
	x.order(2, 2, exchange.Buy, 102, 2)
	require.NoError(t, x.push())
	assert.Len(t, heard(t, sub), 1)
	assert.Equal(t, int64(1), x.metrics.Read(pipeline.MetricFeedMessages, 1).Count)
	late := x.pusher.Subscribe(pipeline.ChannelOrders, 1, 1)
	trades := x.pusher.Subscribe(pipeline.ChannelTrades, 1, 0)
	x.order(3, 2, exchange.Buy, 102, 2)
	require.NoError(t, x.push())
	got := heard(t, late)
	require.Len(t, got, 1)
	assert.Equal(t, uint64(3), got[0].PrevSeq, "as if all had been sent")
	got = heard(t, trades)
	require.Len(t, got, 1)
	assert.Equal(t, uint64(3), got[0].PrevSeq)
}

// The trades' sequence goes on after a restart, whoever still knows the trade
// before: the store, or the journal.
func TestMarketDataTradesGoOn(t *testing.T) {
	for _, recorded := range []bool{true, false} {
		x := newScreen(t, 1000, 20)
		x.order(1, 1, exchange.Sell, 101, 7)
		x.order(2, 2, exchange.Buy, 102, 2) // trade 1 is event 3
		x.quiet(pipeline.DefaultLogCache + 1)
		if recorded {
			require.NoError(t, x.handle())
		}
		require.NoError(t, x.push())
		x.watch()
		x.order(3, 2, exchange.Buy, 102, 2, func(c *exchange.Command) { c.Time += 1000 })
		sub := x.pusher.Subscribe(pipeline.ChannelTrades, 1, 0)
		require.NoError(t, x.push())
		got := heard(t, sub)
		require.Len(t, got, 1)
		assert.Equal(t, uint64(3), got[0].PrevSeq, "recorded: %v", recorded)
	}
}
