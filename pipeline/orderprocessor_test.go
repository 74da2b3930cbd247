package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

var (
	usd = exchange.Asset{ID: 1, Code: "USD", Scale: 4}
	btc = exchange.Asset{ID: 2, Code: "BTC", Scale: 6}
	eth = exchange.Asset{ID: 3, Code: "ETH", Scale: 6}
)

// newInstrument returns an instrument with ticks of 0.1 USD and lots of 0.001,
// of which one at the other is one atom of USD.
func newInstrument(id exchange.InstrumentID, symbol string, base exchange.Asset, change func(*exchange.InstrumentSpec)) *exchange.Instrument {
	spec := exchange.InstrumentSpec{ID: id, Symbol: symbol, Base: base, Quote: usd,
		Tick: decimal.RequireFromString("0.1"), Lot: decimal.RequireFromString("0.001"),
		MakerFee: decimal.RequireFromString("0.001"), TakerFee: decimal.RequireFromString("0.002")}
	if change != nil {
		change(&spec)
	}
	in, err := exchange.NewInstrument(spec)
	if err != nil {
		panic(err)
	}
	return in
}

var (
	btcUSD = newInstrument(1, "BTC-USD", btc, nil)
	ethUSD = newInstrument(2, "ETH.X-USD", eth, nil) // a dot in a symbol is no end of it
)

// desk is an OrderProcessor with its RiskChecker over package memory.
type desk struct {
	*pipeline.OrderProcessor
	risk     *pipeline.RiskChecker
	balances *memory.Balances
	queue    *memory.Queue
	books    *memory.BookStore
	metrics  *memory.Metrics
	logged   *strings.Builder
}

// newDesk returns a desk; change may put others in the place of its ports.
func newDesk(t require.TestingT, change func(*pipeline.RiskCheckerConfig)) *desk {
	d := &desk{balances: memory.NewBalances(memory.BalancesConfig{}), queue: memory.NewQueue(memory.QueueConfig{}),
		books: memory.NewBookStore(), metrics: memory.NewMetrics(), logged: &strings.Builder{}}
	logger := slog.New(slog.NewTextHandler(d.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	instruments := []*exchange.Instrument{btcUSD, ethUSD}
	cfg := pipeline.RiskCheckerConfig{Instruments: instruments, Balances: d.balances, Queue: d.queue, Orders: memory.NewTradeStore(),
		Books: d.books, Metrics: d.metrics, Logger: logger}
	if change != nil {
		change(&cfg)
	}
	var err error
	d.risk, err = pipeline.NewRiskChecker(cfg)
	require.NoError(t, err)
	d.OrderProcessor, err = pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: cfg.Instruments, Risk: d.risk, Metrics: d.metrics, Logger: logger})
	require.NoError(t, err)
	return d
}

const (
	alice  = exchange.AccountID(770077)
	bob    = exchange.AccountID(880088)
	start  = exchange.Time(1_700_000_000_000_000_000) // 2023-11-14T22:13:20Z
	second = exchange.Time(time.Second)
)

// limitOrder is a request that nothing is wrong with.
func limitOrder() pipeline.Request {
	return pipeline.Request{Kind: pipeline.RequestNew, Account: alice, Time: start, Key: "my-1", Symbol: "BTC-USD",
		Side: "buy", Type: "limit", Price: "100.5", Size: "0.250"}
}

func request(kind string, change func(*pipeline.Request)) pipeline.Request {
	r := pipeline.Request{Kind: kind, Account: alice, Time: start, Key: "my-2", Symbol: "BTC-USD"}
	switch kind {
	case pipeline.RequestNew:
		r = limitOrder()
	case pipeline.RequestCancelAll:
	default:
		r.OrigClientID = "my-1"
	}
	if kind == pipeline.RequestReduce || kind == pipeline.RequestAmend || kind == pipeline.RequestReplace {
		r.Size = "0.1"
	}
	if change != nil {
		change(&r)
	}
	return r
}

// The whole command, field by field, of each kind of request.
func TestPrepare(t *testing.T) {
	type req = pipeline.Request
	at := func(text string) exchange.Time {
		tm, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		return exchange.Time(tm.UnixNano())
	}
	of := func(kind exchange.CommandKind, key string) exchange.CommandID {
		return pipeline.CommandIDOf(alice, 1, kind, key)
	}
	order := func(typ exchange.OrderType, change func(*exchange.Command)) exchange.Command {
		c := exchange.Command{Kind: exchange.KindNewOrder, Type: typ, Side: exchange.Buy, TimeInForce: exchange.GTC, SelfTrade: exchange.CancelNewest,
			Instrument: 1, Account: alice, Time: start, ID: of(exchange.KindNewOrder, "my-1"), Qty: 250}
		if change != nil {
			change(&c)
		}
		return c
	}
	named := func(c exchange.Command, kind exchange.CommandKind, key string) exchange.Command {
		c.Time, c.ID = start, of(kind, key)
		return c
	}
	byKey := func(c exchange.Command) exchange.Command {
		c.OrigID = of(exchange.KindNewOrder, "my-1")
		return c
	}
	for _, tc := range []struct {
		name string
		req  req
		want exchange.Command
	}{
		{"limit", limitOrder(), order(exchange.Limit, func(c *exchange.Command) { c.Price = 1005 })},
		{"limit with everything", request("new", func(r *req) {
			r.Side, r.TimeInForce, r.ExpireTime, r.PostOnly = "SELL", "gtd", "2030-01-31T12:00:00.000000001+02:00", "Slide"
			r.SelfTrade, r.DisplaySize = "Decrement", "0.05"
		}), order(exchange.Limit, func(c *exchange.Command) {
			c.Price, c.Side, c.TimeInForce, c.Expire, c.PostOnly = 1005, exchange.Sell, exchange.GTD, at("2030-01-31T10:00:00.000000001Z"), exchange.PostOnlySlide
			c.SelfTrade, c.DisplayQty = exchange.Decrement, 50
		})},
		{"hidden, least size", request("new", func(r *req) { r.Hidden, r.MinSize, r.TimeInForce = true, "0.25", "day" }),
			order(exchange.Limit, func(c *exchange.Command) {
				c.Price, c.Hidden, c.MinQty, c.TimeInForce = 1005, true, 250, exchange.Day
			})},
		{"iceberg of the most parts", request("new", func(r *req) { r.Size, r.DisplaySize = "1000", "1" }),
			order(exchange.Limit, func(c *exchange.Command) { c.Price, c.Qty, c.DisplayQty = 1005, 1_000_000, 1000 })},
		{"post-only that is refused", request("new", func(r *req) { r.PostOnly = "reject" }),
			order(exchange.Limit, func(c *exchange.Command) { c.Price, c.PostOnly = 1005, exchange.PostOnlyReject })},
		{"self-trade allowed", request("new", func(r *req) { r.SelfTrade = "none" }),
			order(exchange.Limit, func(c *exchange.Command) { c.Price, c.SelfTrade = 1005, 0 })},
		{"self-trade cancels the oldest", request("new", func(r *req) { r.SelfTrade = "cancel_oldest" }),
			order(exchange.Limit, func(c *exchange.Command) { c.Price, c.SelfTrade = 1005, exchange.CancelOldest })},
		{"self-trade cancels both", request("new", func(r *req) { r.SelfTrade = "cancel_both" }),
			order(exchange.Limit, func(c *exchange.Command) { c.Price, c.SelfTrade = 1005, exchange.CancelBoth })},
		{"fill or kill", request("new", func(r *req) { r.TimeInForce = "FOK" }),
			order(exchange.Limit, func(c *exchange.Command) { c.Price, c.TimeInForce = 1005, exchange.FOK })},
		{"market", request("new", func(r *req) { r.Type, r.Price = "market", "" }),
			order(exchange.Market, func(c *exchange.Command) { c.TimeInForce = exchange.IOC })},
		{"market with a worst price", request("new", func(r *req) { r.Type, r.TimeInForce = "Market", "fok" }),
			order(exchange.Market, func(c *exchange.Command) { c.TimeInForce, c.Price = exchange.FOK, 1005 })},
		{"market by funds", request("new", func(r *req) { r.Type, r.Price, r.Size, r.Funds = "market", "", "", "12.3456" }),
			order(exchange.Market, func(c *exchange.Command) { c.TimeInForce, c.Qty, c.Funds = exchange.IOC, 0, 123456 })},
		{"market by funds, at least some", request("new", func(r *req) { r.Type, r.Price, r.Size, r.Funds, r.MinSize = "market", "", "", "1", "7" }),
			order(exchange.Market, func(c *exchange.Command) {
				c.TimeInForce, c.Qty, c.Funds, c.MinQty = exchange.IOC, 0, 10000, 7000
			})},
		{"market by funds and size", request("new", func(r *req) { r.Type, r.Price, r.Funds = "market", "", "1" }),
			order(exchange.Market, func(c *exchange.Command) { c.TimeInForce, c.Funds = exchange.IOC, 10000 })},
		{"market to limit", request("new", func(r *req) { r.Type, r.Price = "market_to_limit", "" }), order(exchange.MarketToLimit, nil)},
		{"stop", request("new", func(r *req) { r.Type, r.Price, r.StopPrice, r.TimeInForce = "stop", "", "99", "IOC" }),
			order(exchange.Stop, func(c *exchange.Command) { c.StopPrice, c.TimeInForce = 990, exchange.IOC })},
		{"stop limit", request("new", func(r *req) { r.Type, r.StopPrice = "stop_limit", "99" }),
			order(exchange.StopLimit, func(c *exchange.Command) { c.StopPrice, c.Price = 990, 1005 })},
		{"take profit", request("new", func(r *req) { r.Type, r.StopPrice, r.Funds = "take_profit", "99", "30" }),
			order(exchange.TakeProfit, func(c *exchange.Command) { c.StopPrice, c.Price, c.Funds = 990, 1005, 300000 })},
		{"take profit limit", request("new", func(r *req) { r.Type, r.StopPrice, r.PostOnly = "TAKE_PROFIT_LIMIT", "99", "slide" }),
			order(exchange.TakeProfitLimit, func(c *exchange.Command) { c.StopPrice, c.Price, c.PostOnly = 990, 1005, exchange.PostOnlySlide })},

		{"cancel by key", request("cancel", nil), byKey(named(exchange.Cancel(1, alice, 0), exchange.KindCancel, "my-2"))},
		{"cancel by id", request("cancel", func(r *req) { r.OrigClientID, r.OrderID = "", "BTC-USD.17" }),
			named(exchange.Cancel(1, alice, 17), exchange.KindCancel, "my-2")},
		{"the id says the symbol", request("cancel", func(r *req) { r.Symbol, r.OrigClientID, r.OrderID = "", "", "ETH.X-USD.18446744073709551615" }),
			func() exchange.Command {
				c := exchange.Cancel(2, alice, 1<<64-1)
				c.Time, c.ID = start, pipeline.CommandIDOf(alice, 2, exchange.KindCancel, "my-2")
				return c
			}()},
		{"reduce", request("reduce", nil), byKey(named(exchange.Reduce(1, alice, 0, 100), exchange.KindReduce, "my-2"))},
		{"amend the size", request("amend", nil), byKey(named(exchange.Amend(1, alice, 0, 0, 100), exchange.KindAmend, "my-2"))},
		{"amend the price", request("amend", func(r *req) { r.Size, r.Price = "", "7.7" }),
			byKey(named(exchange.Amend(1, alice, 0, 77, 0), exchange.KindAmend, "my-2"))},
		{"amend the trigger", request("amend", func(r *req) { r.Size, r.StopPrice = "", "7.7" }), func() exchange.Command {
			c := byKey(named(exchange.Amend(1, alice, 0, 0, 0), exchange.KindAmend, "my-2"))
			c.StopPrice = 77
			return c
		}()},
		// A replace makes an order, which its key names as that of a new one would.
		{"replace", request("replace", func(r *req) { r.Price, r.StopPrice = "7.7", "8" }), func() exchange.Command {
			c := byKey(named(exchange.Replace(1, alice, 0, 77, 100), exchange.KindNewOrder, "my-2"))
			c.StopPrice = 80
			return c
		}()},
		{"replace as it was", request("replace", func(r *req) { r.Size = "" }), byKey(named(exchange.Replace(1, alice, 0, 0, 0), exchange.KindNewOrder, "my-2"))},
		{"cancel all", request("cancel_all", nil), named(exchange.MassCancel(1, alice), exchange.KindMassCancel, "my-2")},
		{"cancel all of a side", request("cancel_all", func(r *req) { r.Side = "sell" }), func() exchange.Command {
			c := named(exchange.MassCancel(1, alice), exchange.KindMassCancel, "my-2")
			c.Side = exchange.Sell
			return c
		}()},
		{"cancel all, everywhere", request("cancel_all", func(r *req) { r.Symbol = "" }), func() exchange.Command {
			c := exchange.MassCancel(0, alice)
			c.Time, c.ID = start, pipeline.CommandIDOf(alice, 0, exchange.KindMassCancel, "my-2")
			return c
		}()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, nil)
			was := tc.req
			got, err := d.Prepare(&tc.req)
			require.NoError(t, err)
			assert.Equal(t, pipeline.Message{Command: tc.want, ClientID: tc.req.Key}, got)
			assert.Equal(t, was, tc.req, "the request is as it was")
			again, err := d.Prepare(&tc.req)
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

// An order is named by the key it was entered with, whether by a new or a
// replace; nothing else shares that name.
func TestOrderIsNamedByItsKey(t *testing.T) {
	d := newDesk(t, nil)
	id := func(kind, key, symbol string, acct exchange.AccountID) exchange.CommandID {
		r := request(kind, func(r *pipeline.Request) { r.Key, r.Symbol, r.Account = key, symbol, acct })
		m, err := d.Prepare(&r)
		require.NoError(t, err)
		return m.Command.ID
	}
	cancel := request("cancel", func(r *pipeline.Request) { r.OrigClientID = "k" })
	m, err := d.Prepare(&cancel)
	require.NoError(t, err)
	assert.Equal(t, id("new", "k", "BTC-USD", alice), m.Command.OrigID)
	assert.Equal(t, id("replace", "k", "BTC-USD", alice), m.Command.OrigID)
	seen := map[exchange.CommandID]string{}
	for _, name := range [][]string{{"new", "k", "BTC-USD"}, {"new", "k2", "BTC-USD"}, {"new", "k", "ETH.X-USD"}, {"cancel", "k", "BTC-USD"},
		{"reduce", "k", "BTC-USD"}, {"amend", "k", "BTC-USD"}, {"cancel_all", "k", "BTC-USD"}} {
		for _, acct := range []exchange.AccountID{alice, bob} {
			got, what := id(name[0], name[1], name[2], acct), fmt.Sprint(name, acct)
			assert.Empty(t, seen[got], "%s has the same id", what)
			seen[got] = what
		}
	}
}

// Every field of each kind, refused with its name, its value, what was
// expected, and a reason.
func TestPrepareRefuses(t *testing.T) {
	type req = pipeline.Request
	long := strings.Repeat("x", pipeline.MaxFieldBytes+1)
	for _, tc := range []struct {
		name   string
		kind   string
		change func(*req)
		field  string
		value  string
		reason exchange.Reason
		rule   string // part of it
	}{
		{"unknown kind", "new", func(r *req) { r.Kind = "buy" }, "kind", `"buy"`, exchange.InvalidKind, "expected new, cancel"},
		{"no kind", "new", func(r *req) { r.Kind = "" }, "kind", `""`, exchange.InvalidKind, "expected new, cancel"},
		{"capital kind", "new", func(r *req) { r.Kind = "NEW" }, "kind", `"NEW"`, exchange.InvalidKind, "expected new"},
		{"no account", "new", func(r *req) { r.Account = 0 }, "account", `"0"`, exchange.UnknownAccount, "above 0"},
		{"no time", "new", func(r *req) { r.Time = 0 }, "time", `"0"`, exchange.InvalidTime, "above 0"},
		{"time below 0", "cancel", func(r *req) { r.Time = -5 }, "time", `"-5"`, exchange.InvalidTime, "above 0"},
		{"no key", "cancel", func(r *req) { r.Key = "" }, "key", `""`, exchange.InvalidID, "1 to 64"},
		{"a long key", "new", func(r *req) { r.Key = long }, "key", `"` + long[:64] + `..."`, exchange.InvalidID, "1 to 64"},
		{"a space in the key", "new", func(r *req) { r.Key = "a b" }, "key", `"a b"`, exchange.InvalidID, "! to ~"},
		{"a key beyond ASCII", "new", func(r *req) { r.Key = "ä" }, "key", `"ä"`, exchange.InvalidID, "! to ~"},
		{"a line in the key", "new", func(r *req) { r.Key = "a\nb" }, "key", `"a\nb"`, exchange.InvalidID, "! to ~"},

		{"no symbol", "new", func(r *req) { r.Symbol = "" }, "symbol", `""`, exchange.UnknownInstrument, "an instrument"},
		{"unknown symbol", "new", func(r *req) { r.Symbol = "DOGE-USD" }, "symbol", `"DOGE-USD"`, exchange.UnknownInstrument, "listed"},
		{"small symbol", "cancel_all", func(r *req) { r.Symbol = "btc-usd" }, "symbol", `"btc-usd"`, exchange.UnknownInstrument, "listed"},
		{"no symbol for a key", "cancel", func(r *req) { r.Symbol = "" }, "symbol", `""`, exchange.UnknownInstrument, "an instrument"},

		{"no side", "new", func(r *req) { r.Side = "" }, "side", `""`, exchange.InvalidSide, "expected buy or sell"},
		{"unknown side", "new", func(r *req) { r.Side = "bid" }, "side", `"bid"`, exchange.InvalidSide, "expected buy or sell"},
		{"a side that folds", "new", func(r *req) { r.Side = "ſell" }, "side", `"ſell"`, exchange.InvalidSide, "expected buy or sell"},
		{"unknown side of all", "cancel_all", func(r *req) { r.Side = "both" }, "side", `"both"`, exchange.InvalidSide, "expected buy or sell"},
		{"no type", "new", func(r *req) { r.Type = "" }, "type", `""`, exchange.InvalidOrderType, "limit, market, market_to_limit, stop"},
		{"unknown type", "new", func(r *req) { r.Type = "stop-limit" }, "type", `"stop-limit"`, exchange.InvalidOrderType, "stop_limit, take_profit or take_profit_limit"},
		{"unknown time in force", "new", func(r *req) { r.TimeInForce = "GTX" }, "time_in_force", `"GTX"`, exchange.InvalidTimeInForce, "GTC, DAY, GTD, IOC or FOK"},
		{"market that rests", "new", func(r *req) { r.Type, r.TimeInForce = "market", "GTC" }, "time_in_force", `"GTC"`, exchange.InvalidTimeInForce, "IOC or FOK"},
		{"funds alone, all of it", "new", func(r *req) { r.Type, r.Size, r.Funds, r.TimeInForce = "market", "", "5", "FOK" }, "time_in_force", `"FOK"`, exchange.InvalidTimeInForce, "IOC"},

		{"no price", "new", func(r *req) { r.Price = "" }, "price", `""`, exchange.InvalidPrice, "type limit"},
		{"no price of a stop limit", "new", func(r *req) { r.Price, r.Type, r.StopPrice = "", "stop_limit", "5" }, "price", `""`, exchange.InvalidPrice, "type stop_limit"},
		{"no price of a take profit limit", "new", func(r *req) { r.Price, r.Type, r.StopPrice = "", "take_profit_limit", "5" }, "price", `""`, exchange.InvalidPrice, "type take_profit_limit"},
		{"price off the tick", "new", func(r *req) { r.Price = "100.55" }, "price", `100.55`, exchange.OffTick, "multiple of 0.1"},
		{"price of zero", "new", func(r *req) { r.Price = "0" }, "price", `0`, exchange.OutOfRange, "more than zero"},
		{"price below zero", "amend", func(r *req) { r.Price = "-1" }, "price", `-1`, exchange.OutOfRange, "more than zero"},
		{"price out of range", "new", func(r *req) { r.Price = "999999999999999999999" }, "price", `999999999999999999999`, exchange.OutOfRange, "at most"},
		{"price that is no number", "replace", func(r *req) { r.Price = "1e3" }, "price", `"1e3"`, exchange.InvalidNumber, "plain decimal"},
		{"price with a space", "new", func(r *req) { r.Price = " 1" }, "price", `" 1"`, exchange.InvalidNumber, "plain decimal"},
		{"a worst price off the tick", "new", func(r *req) { r.Type, r.Price = "market", "1.01" }, "price", `1.01`, exchange.OffTick, "multiple"},

		{"stop price of a limit", "new", func(r *req) { r.StopPrice = "5" }, "stop_price", `"5"`, exchange.InvalidStopPrice, "none for type limit"},
		{"stop price of a market", "new", func(r *req) { r.Type, r.StopPrice = "market", "5" }, "stop_price", `"5"`, exchange.InvalidStopPrice, "none for type market"},
		{"stop price of a market to limit", "new", func(r *req) { r.Type, r.StopPrice = "market_to_limit", "5" }, "stop_price", `"5"`, exchange.InvalidStopPrice, "none"},
		{"no stop price", "new", func(r *req) { r.Type = "stop" }, "stop_price", `""`, exchange.InvalidStopPrice, "one for type stop"},
		{"no stop price to take profit", "new", func(r *req) { r.Type = "take_profit" }, "stop_price", `""`, exchange.InvalidStopPrice, "one for type take_profit"},
		{"stop price off the tick", "new", func(r *req) { r.Type, r.StopPrice = "stop", "5.01" }, "stop_price", `5.01`, exchange.OffTick, "multiple of 0.1"},
		{"amended stop price off the tick", "amend", func(r *req) { r.StopPrice = "5.01" }, "stop_price", `5.01`, exchange.OffTick, "multiple of 0.1"},

		{"no size", "new", func(r *req) { r.Size = "" }, "size", `""`, exchange.InvalidQty, "type limit"},
		{"no size to sell", "new", func(r *req) { r.Type, r.Side, r.Size = "market", "sell", "" }, "size", `""`, exchange.InvalidQty, "a sell"},
		{"neither size nor funds", "new", func(r *req) { r.Type, r.Size = "market", "" }, "size", `""`, exchange.InvalidQty, "size or funds"},
		{"a stop by funds alone", "new", func(r *req) { r.Type, r.StopPrice, r.Size, r.Funds = "stop", "5", "", "5" }, "size", `""`, exchange.InvalidQty, "type stop"},
		{"size off the lot", "new", func(r *req) { r.Size = "0.0001" }, "size", `0.0001`, exchange.OffLot, "multiple of 0.001"},
		{"size of zero", "reduce", func(r *req) { r.Size = "0" }, "size", `0`, exchange.OutOfRange, "more than zero"},
		{"nothing to reduce by", "reduce", func(r *req) { r.Size = "" }, "size", `""`, exchange.InvalidNumber, "plain decimal"},
		{"size out of range", "amend", func(r *req) { r.Size = "9999999999999999" }, "size", `9999999999999999`, exchange.OutOfRange, "at most"},
		{"nothing to amend", "amend", func(r *req) { r.Size = "" }, "size", `""`, exchange.NothingToAmend, "price, size or stop_price"},

		{"funds to sell", "new", func(r *req) { r.Type, r.Side, r.Funds = "market", "sell", "5" }, "funds", `"5"`, exchange.InvalidFunds, "a sell"},
		{"funds with a limit", "new", func(r *req) { r.Funds = "5" }, "funds", `"5"`, exchange.InvalidFunds, "type limit"},
		{"funds of zero", "new", func(r *req) { r.Type, r.Funds = "market", "0" }, "funds", `"0"`, exchange.OutOfRange, "more than zero"},
		{"funds below zero", "new", func(r *req) { r.Type, r.Funds = "market", "-1" }, "funds", `"-1"`, exchange.OutOfRange, "more than zero"},
		{"funds off the scale", "new", func(r *req) { r.Type, r.Funds = "market", "0.00001" }, "funds", `0.00001`, exchange.OffScale, "4 decimals"},
		{"more funds than an order may have", "new", func(r *req) { r.Type, r.Funds = "market", "115292150460684.6977" }, "funds", `"115292150460684.6977"`, exchange.OutOfRange, "at most 115292150460684.6976"},
		{"funds that do not fit", "new", func(r *req) { r.Type, r.Funds = "market", "99999999999999999999" }, "funds", `99999999999999999999`, exchange.OutOfRange, "64 bits"},
		{"funds that are no number", "new", func(r *req) { r.Type, r.Funds = "market", "NaN" }, "funds", `"NaN"`, exchange.InvalidNumber, "plain decimal"},

		{"shown off the lot", "new", func(r *req) { r.DisplaySize = "0.0001" }, "display_size", `0.0001`, exchange.OffLot, "multiple"},
		{"shown more than there is", "new", func(r *req) { r.DisplaySize = "0.251" }, "display_size", `"0.251"`, exchange.InvalidDisplayQty, "at most size, 0.250"},
		{"shown of what never rests", "new", func(r *req) { r.DisplaySize, r.TimeInForce = "0.1", "IOC" }, "display_size", `"0.1"`, exchange.InvalidDisplayQty, "never rests"},
		{"shown of a market order", "new", func(r *req) { r.DisplaySize, r.Type = "0.1", "market" }, "display_size", `"0.1"`, exchange.InvalidDisplayQty, "without a limit price"},
		{"shown and hidden", "new", func(r *req) { r.DisplaySize, r.Hidden = "0.1", true }, "display_size", `"0.1"`, exchange.InvalidDisplayQty, "hidden"},
		{"too many parts", "new", func(r *req) { r.Size, r.DisplaySize = "1000.001", "1" }, "display_size", `"1"`, exchange.IcebergParts, "1/1000"},
		{"hidden that never rests", "new", func(r *req) { r.Hidden, r.TimeInForce = true, "FOK" }, "hidden", `"true"`, exchange.InvalidHidden, "never rests"},
		{"post-only that never rests", "new", func(r *req) { r.PostOnly, r.TimeInForce = "slide", "IOC" }, "post_only", `"slide"`, exchange.InvalidPostOnly, "never rests"},
		{"post-only market", "new", func(r *req) { r.PostOnly, r.Type = "reject", "market_to_limit" }, "post_only", `"reject"`, exchange.InvalidPostOnly, "without a limit price"},
		{"unknown post-only", "new", func(r *req) { r.PostOnly = "true" }, "post_only", `"true"`, exchange.InvalidPostOnly, "reject or slide"},
		{"unknown self-trade prevention", "new", func(r *req) { r.SelfTrade = "dc" }, "self_trade_prevention", `"dc"`, exchange.InvalidSelfTrade, "cancel_newest, cancel_oldest, cancel_both, decrement or none"},
		{"least above all", "new", func(r *req) { r.MinSize = "0.251" }, "min_size", `"0.251"`, exchange.InvalidMinQty, "at most size, 0.250"},
		{"least off the lot", "new", func(r *req) { r.MinSize = "x" }, "min_size", `"x"`, exchange.InvalidNumber, "plain decimal"},
		{"least of a post-only", "new", func(r *req) { r.MinSize, r.PostOnly = "0.1", "slide" }, "min_size", `"0.1"`, exchange.InvalidMinQty, "post-only"},

		{"no end of a GTD", "new", func(r *req) { r.TimeInForce = "GTD" }, "expire_time", `""`, exchange.InvalidExpire, "such as"},
		{"an end of a GTC", "new", func(r *req) { r.ExpireTime = "2030-01-31T12:00:00Z" }, "expire_time", `"2030-01-31T12:00:00Z"`, exchange.InvalidExpire, "GTD"},
		{"an end without a zone", "new", func(r *req) { r.TimeInForce, r.ExpireTime = "GTD", "2030-01-31T12:00:00" }, "expire_time", `"2030-01-31T12:00:00"`, exchange.InvalidExpire, "such as"},
		{"an end with half an hour", "new", func(r *req) { r.TimeInForce, r.ExpireTime = "GTD", "2030-01-31T1:00:00Z" }, "expire_time", `"2030-01-31T1:00:00Z"`, exchange.InvalidExpire, "such as"},
		{"an end with a comma", "new", func(r *req) { r.TimeInForce, r.ExpireTime = "GTD", "2030-01-31T01:00:00,5Z" }, "expire_time", `"2030-01-31T01:00:00,5Z"`, exchange.InvalidExpire, "such as"},
		{"an end beyond 64 bits", "new", func(r *req) { r.TimeInForce, r.ExpireTime = "GTD", "2262-01-01T00:00:00Z" }, "expire_time", `"2262-01-01T00:00:00Z"`, exchange.InvalidExpire, "such as"},
		{"an end before all time", "new", func(r *req) { r.TimeInForce, r.ExpireTime = "GTD", "0001-01-01T00:00:00Z" }, "expire_time", `"0001-01-01T00:00:00Z"`, exchange.InvalidExpire, "such as"},
		{"an end that is now", "new", func(r *req) { r.TimeInForce, r.ExpireTime = "GTD", "2023-11-14T22:13:20Z" }, "expire_time", `"2023-11-14T22:13:20Z"`, exchange.InvalidExpire, "yet to come"},

		{"no order", "cancel", func(r *req) { r.OrigClientID = "" }, "client_order_id", `""`, exchange.UnknownOrder, "an order_id, or 1 to 64"},
		{"an order in vain", "cancel", func(r *req) { r.OrigClientID = "a b" }, "client_order_id", `"a b"`, exchange.UnknownOrder, "! to ~"},
		{"two orders", "reduce", func(r *req) { r.OrderID = "BTC-USD.1" }, "client_order_id", `"my-1"`, exchange.UnknownOrder, "none beside order_id"},
		{"an order of another symbol", "amend", func(r *req) { r.OrderID, r.OrigClientID = "ETH.X-USD.1", "" }, "order_id", `"ETH.X-USD.1"`, exchange.UnknownOrder, `symbol "BTC-USD"`},
		{"an order of an unknown symbol", "amend", func(r *req) { r.OrderID, r.OrigClientID, r.Symbol = "DOGE.1", "", "" }, "order_id", `"DOGE.1"`, exchange.UnknownInstrument, "listed"},
		{"a number alone", "replace", func(r *req) { r.OrderID, r.OrigClientID = "17", "" }, "order_id", `"17"`, exchange.UnknownOrder, "SYMBOL.number"},
		{"order 0", "cancel", func(r *req) { r.OrderID, r.OrigClientID = "BTC-USD.0", "" }, "order_id", `"BTC-USD.0"`, exchange.UnknownOrder, "SYMBOL.number"},
		{"an order with a zero before", "cancel", func(r *req) { r.OrderID, r.OrigClientID = "BTC-USD.017", "" }, "order_id", `"BTC-USD.017"`, exchange.UnknownOrder, "SYMBOL.number"},
		{"an order beyond 64 bits", "cancel", func(r *req) { r.OrderID, r.OrigClientID = "BTC-USD.18446744073709551616", "" }, "order_id", `"BTC-USD.18446744073709551616"`, exchange.UnknownOrder, "SYMBOL.number"},
		{"no number", "cancel", func(r *req) { r.OrderID, r.OrigClientID = "BTC-USD.", "" }, "order_id", `"BTC-USD."`, exchange.UnknownOrder, "SYMBOL.number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := request(tc.kind, tc.change)
			m, err := newDesk(t, nil).Prepare(&r)
			requireField(t, err, tc.field)
			var fe *exchange.FieldError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, tc.value, fe.Value)
			assert.Contains(t, fe.Rule, tc.rule)
			assert.ErrorIs(t, err, tc.reason)
			assert.Zero(t, m)
		})
	}
}

func requireField(t *testing.T, err error, field string) {
	t.Helper()
	var fe *exchange.FieldError
	require.ErrorAs(t, err, &fe)
	require.Equal(t, field, fe.Field, "%v", err)
	require.NotEmpty(t, fe.Value, "%v", err)
	require.NotEmpty(t, fe.Rule, "%v", err)
	require.NotZero(t, fe.Reason, "%v", err)
}

// textFields are the texts of a request that only some kinds have, by their
// JSON names.
func textFields() map[string]int {
	out := map[string]int{}
	typ := reflect.TypeFor[pipeline.Request]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.String && name != "kind" && name != "key" {
			out[name] = i
		}
	}
	return out
}

// Which kinds may have a field; a field that is new must be added here, and
// will be found unchecked if it is not.
func TestPrepareRefusesFieldsOfOtherKinds(t *testing.T) {
	all := []string{"new", "cancel", "reduce", "amend", "replace", "cancel_all"}
	change := []string{"cancel", "reduce", "amend", "replace"}
	allowed := map[string][]string{
		"symbol": all, "side": {"new", "cancel_all"}, "type": {"new"}, "time_in_force": {"new"}, "price": {"new", "amend", "replace"},
		"size": {"new", "reduce", "amend", "replace"}, "funds": {"new"}, "stop_price": {"new", "amend", "replace"}, "display_size": {"new"},
		"min_size": {"new"}, "expire_time": {"new"}, "post_only": {"new"}, "self_trade_prevention": {"new"},
		"order_id": change, "client_order_id": change,
	}
	valid := map[string]string{"symbol": "BTC-USD", "side": "buy", "type": "limit", "time_in_force": "GTC", "price": "1", "size": "1", "funds": "1",
		"stop_price": "1", "display_size": "1", "min_size": "1", "expire_time": "2030-01-01T00:00:00Z", "post_only": "slide",
		"self_trade_prevention": "none", "order_id": "BTC-USD.1", "client_order_id": "k"}
	d := newDesk(t, nil)
	for name, i := range textFields() {
		require.Contains(t, allowed, name, "a field this test does not know")
		for _, kind := range all {
			may := false
			for _, k := range allowed[name] {
				may = may || k == kind
			}
			set := func(text string) error {
				r := request(kind, nil)
				reflect.ValueOf(&r).Elem().Field(i).SetString(text)
				_, err := d.Prepare(&r)
				return err
			}
			long := strings.Repeat("9", pipeline.MaxFieldBytes+1)
			err := set(long)
			requireField(t, err, name)
			assert.ErrorContains(t, err, "at most 64 bytes", "%s of %s", name, kind)
			assert.Less(t, len(err.Error()), 200, "the error does not repeat what is absurdly long")
			if err = set(valid[name]); !may {
				requireField(t, err, name)
				assert.ErrorContains(t, err, "none in a request of this kind", "%s of %s", name, kind)
			} else if err != nil {
				assert.NotContains(t, err.Error(), "of this kind", "%s of %s", name, kind)
			}
			// At the bound only what is inside counts.
			if err = set(long[1:]); may {
				assert.NotContains(t, fmt.Sprint(err), "at most 64 bytes", "%s of %s", name, kind)
			}
		}
	}
	for _, kind := range all[1:] {
		r := request(kind, func(r *pipeline.Request) { r.Hidden = true })
		_, err := d.Prepare(&r)
		requireField(t, err, "hidden")
	}
}

// Every field of a request is read: another value gives another command or an
// error.
func TestPrepareReadsEveryField(t *testing.T) {
	d := newDesk(t, nil)
	base := map[string]pipeline.Request{}
	for _, kind := range []string{"new", "cancel", "reduce", "amend", "replace", "cancel_all"} {
		base[kind] = request(kind, nil)
	}
	typ := reflect.TypeFor[pipeline.Request]()
	for i := range typ.NumField() {
		changed := 0
		for kind, was := range base {
			r := was
			switch f := reflect.ValueOf(&r).Elem().Field(i); f.Kind() {
			case reflect.String:
				f.SetString(map[bool]string{true: "7", false: "8"}[f.String() != "7"])
			case reflect.Bool:
				f.SetBool(!f.Bool())
			case reflect.Int64:
				f.SetInt(f.Int() + 1)
			case reflect.Uint64:
				f.SetUint(f.Uint() + 1)
			default:
				t.Fatalf("a kind of field this test does not know: %s", f.Kind())
			}
			first, err := d.Prepare(&was)
			require.NoError(t, err, kind)
			if second, err := d.Prepare(&r); err != nil || first != second {
				changed++
			}
		}
		assert.Equal(t, len(base), changed, "%s can change without a consequence", typ.Field(i).Name)
	}
}

// What Prepare makes of any request is a command the engine answers for no
// other reason than the market's, or an error of a field of the request.
func TestPreparedIsWellFormed(t *testing.T) {
	d := newDesk(t, nil)
	names := map[string]bool{"kind": true, "account": true, "time": true, "key": true, "hidden": true}
	for name := range textFields() {
		names[name] = true
	}
	shape := []exchange.Reason{exchange.InvalidKind, exchange.UnknownInstrument, exchange.UnknownAccount, exchange.InvalidTime, exchange.InvalidSide,
		exchange.InvalidOrderType, exchange.InvalidTimeInForce, exchange.InvalidSelfTrade, exchange.InvalidPostOnly, exchange.InvalidHidden,
		exchange.InvalidExpire, exchange.InvalidPrice, exchange.InvalidStopPrice, exchange.InvalidQty, exchange.InvalidDisplayQty,
		exchange.InvalidMinQty, exchange.InvalidFunds, exchange.IcebergParts, exchange.NothingToAmend, exchange.NotionalBelowMin}
	accepted := 0
	check := func(t *rapid.T) {
		r := anyRequest(t)
		m, err := d.Prepare(&r)
		if err != nil {
			var fe *exchange.FieldError
			require.ErrorAs(t, err, &fe)
			require.True(t, names[fe.Field], "%v names no field of a request", err)
			return
		}
		require.NotZero(t, m.Command.ID)
		require.LessOrEqual(t, len(m.ClientID), pipeline.MaxClientIDBytes)
		body, err := pipeline.AppendMessage(nil, &m)
		require.NoError(t, err)
		require.LessOrEqual(t, len(body), pipeline.MaxMessageBytes)
		if m.Command.Instrument == 0 {
			return
		}
		accepted++
		engine, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsNone, Instruments: []*exchange.Instrument{btcUSD, ethUSD}})
		require.NoError(t, err)
		if reason, refused := exchange.Rejected(engine.Apply(nil, &m.Command)); refused {
			require.NotContains(t, shape, reason, "%+v of %+v", m, r)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			check(t)
		}
	})
	require.Greater(t, accepted, 100, "few requests were valid: the test tests little")
}

// anyRequest draws requests most of which are valid, or nearly.
func anyRequest(t *rapid.T) pipeline.Request {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	opt := func(name string, of ...string) string {
		if rapid.IntRange(0, 3).Draw(t, name+"?") > 0 {
			return ""
		}
		return pick(name, of...)
	}
	number := []string{"1", "0.5", "100.5", "2.25", "0", "-1", "1e3", "7", "1000", "115292150460684.6976"}
	r := pipeline.Request{Account: exchange.AccountID(rapid.IntRange(0, 40).Draw(t, "account")), Time: start,
		Kind: pick("kind", "new", "new", "new", "cancel", "reduce", "amend", "replace", "cancel_all", "sell"),
		Key:  pick("key", "a", "b", "c", "", "a b"), Symbol: pick("symbol", "BTC-USD", "BTC-USD", "BTC-USD", "ETH.X-USD", "", "X")}
	switch r.Kind {
	case "new":
		r.Side, r.Type = pick("side", "buy", "sell", "BUY", "x"), pick("type", "limit", "market", "market_to_limit", "stop", "stop_limit", "take_profit", "take_profit_limit", "x")
		r.Size = pick("size", append(number, "")...)
		if strings.Contains(r.Type, "limit") && r.Type != "market_to_limit" || rapid.Bool().Draw(t, "priced") {
			r.Price = pick("price", number...)
		}
		if strings.HasPrefix(r.Type, "stop") || strings.HasPrefix(r.Type, "take") {
			r.StopPrice = pick("stop", number...)
		}
		r.TimeInForce = opt("tif", "GTC", "DAY", "GTD", "IOC", "FOK", "x")
		if r.TimeInForce == "GTD" {
			r.ExpireTime = pick("expire", "2030-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "soon")
		}
		r.Funds, r.DisplaySize, r.MinSize = opt("funds", number...), opt("display", number...), opt("min", number...)
		r.PostOnly, r.SelfTrade = opt("post", "reject", "slide", "x"), opt("stp", "none", "decrement", "cancel_both", "x")
		r.Hidden = rapid.IntRange(0, 5).Draw(t, "hidden") == 0
	case "cancel_all":
		r.Side = opt("side", "buy", "sell", "x")
	default:
		if rapid.Bool().Draw(t, "by id") {
			r.OrderID = pick("order", "BTC-USD.1", "ETH.X-USD.7", "X.1", "7")
		} else {
			r.OrigClientID = pick("orig", "a", "b", "")
		}
		if r.Kind != "cancel" {
			r.Size = pick("size", append(number, "")...)
		}
		if r.Kind == "amend" || r.Kind == "replace" {
			r.Price, r.StopPrice = opt("price", number...), opt("stop", number...)
		}
	}
	return r
}

func TestNewOrderProcessorChecks(t *testing.T) {
	risk := newDesk(t, nil).risk
	for name, cfg := range map[string]pipeline.OrderProcessorConfig{
		"no risk checker":  {Instruments: []*exchange.Instrument{btcUSD}},
		"no instruments":   {Risk: risk},
		"a nil instrument": {Risk: risk, Instruments: []*exchange.Instrument{nil}},
		"one twice":        {Risk: risk, Instruments: []*exchange.Instrument{btcUSD, btcUSD}},
		"a symbol twice":   {Risk: risk, Instruments: []*exchange.Instrument{btcUSD, newInstrument(9, "BTC-USD", eth, nil)}},
	} {
		_, err := pipeline.NewOrderProcessor(cfg)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, name)
	}
}

// An invalid request is done for good: counted, and logged without whose it is
// and what they sent.
func TestHandleInvalidRequest(t *testing.T) {
	d := newDesk(t, nil)
	r := request("new", func(r *pipeline.Request) { r.Price = "31415.9265" })
	require.NoError(t, d.Handle(context.Background(), &r))
	assert.EqualValues(t, 1, d.metrics.Read(pipeline.MetricInvalid, 0).Count)
	assert.Contains(t, d.logged.String(), "field=price")
	assert.Contains(t, d.logged.String(), "multiple of 0.1")
	for _, secret := range []string{"770077", "31415", "my-1"} {
		assert.NotContains(t, d.logged.String(), secret)
	}
	_, ok := d.queue.TryReceive(1)
	assert.False(t, ok, "nothing was sent")
}
