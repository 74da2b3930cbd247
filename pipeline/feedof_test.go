package pipeline_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// What stores have as clients see it; ticks are 0.1, lots 0.01, atoms of the
// quote 0.001.
func TestFeedOf(t *testing.T) {
	in := scribeInstrument(t, 1)
	r := pipeline.OrderRecord{CommandID: plainID(255), ClientID: "mine", Instrument: 1, OrderID: 7, Account: 3, Side: exchange.Sell,
		Type: exchange.TakeProfitLimit, TimeInForce: exchange.Day, SelfTrade: exchange.CancelBoth, PostOnly: exchange.PostOnlySlide, Hidden: true,
		Status: pipeline.OrderPending, Reason: exchange.ByRequest, Price: 101, StopPrice: 99, OrderQty: 30, CumQty: 10, LeavesQty: 20,
		DisplayQty: 5, Funds: 1234, Notional: 1010, Fee: -3, Expire: 4, Created: 1, Updated: 2, Seq: 9}
	assert.Equal(t, pipeline.FeedOrder{ID: "B1-USD.7", CommandID: "000000000000000000000000000000ff", ClientOrderID: "mine", Symbol: "B1-USD", Side: "sell",
		Type: "take_profit_limit", TimeInForce: "DAY", Status: "pending", Code: "requested", Reason: "requested", Price: "10.1", StopPrice: "9.9", Size: "0.3",
		Funds: "1.234", DisplaySize: "0.05", Filled: "0.1", Remaining: "0.2", Cost: "1.01", Fee: "-0.003", PostOnly: "slide", Hidden: true,
		SelfTrade: "cancel_both", ExpireTime: "1970-01-01T00:00:00.000000004Z", Created: "1970-01-01T00:00:00.000000001Z",
		Updated: "1970-01-01T00:00:00.000000002Z"}, pipeline.FeedOrderOf(in, &r))
	assert.Equal(t, pipeline.FeedOrder{CommandID: "00000000000000000000000000000000", Symbol: "B1-USD", Status: "rejected", Filled: "0", Remaining: "0",
		Cost: "0", Fee: "0"}, pipeline.FeedOrderOf(in, &pipeline.OrderRecord{Status: pipeline.OrderRejected}))
	for status, want := range map[pipeline.OrderStatus]string{0: "invalid", pipeline.OrderOpen: "open", pipeline.OrderFilled: "filled",
		pipeline.OrderCanceled: "canceled", pipeline.OrderExpired: "expired", 7: "invalid"} {
		assert.Equal(t, want, status.String())
	}

	tr := pipeline.Trade{Instrument: 1, ID: 5, Seq: 8, Time: 3, Price: 101, Qty: 2, Amount: 202, Side: exchange.Sell,
		Taker: pipeline.Party{OrderID: 2, Account: 1, Fee: 7}, Maker: pipeline.Party{OrderID: 1, Account: 2, Fee: -2}}
	const at = "1970-01-01T00:00:00.000000003Z"
	assert.Equal(t, pipeline.FeedTrade{ID: 5, Price: "10.1", Size: "0.02", Side: "sell", Time: at}, pipeline.FeedTradeOf(in, &tr))
	taker := pipeline.FeedFill{TradeID: 5, Symbol: "B1-USD", OrderID: "B1-USD.2", Side: "sell", Price: "10.1", Size: "0.02", Fee: "0.007", Liquidity: "taker", Time: at}
	maker := pipeline.FeedFill{TradeID: 5, Symbol: "B1-USD", OrderID: "B1-USD.1", Side: "buy", Price: "10.1", Size: "0.02", Fee: "-0.002", Liquidity: "maker", Time: at}
	assert.Equal(t, []pipeline.FeedFill{taker}, pipeline.FeedFillsOf(in, &tr, 1))
	assert.Equal(t, []pipeline.FeedFill{maker}, pipeline.FeedFillsOf(in, &tr, 2))
	assert.Empty(t, pipeline.FeedFillsOf(in, &tr, 3))
	tr.Maker.Account = 1
	assert.Equal(t, []pipeline.FeedFill{taker, maker}, pipeline.FeedFillsOf(in, &tr, 1))

	candle := pipeline.Candle{Start: 60e9, Open: 100, High: 103, Low: 99, Close: 102, Volume: 12, Trades: 3}
	assert.Equal(t, pipeline.FeedCandle{Start: "1970-01-01T00:01:00Z", Open: "10", High: "10.3", Low: "9.9", Close: "10.2", Volume: "0.12", Trades: 3},
		pipeline.FeedCandleOf(in, &candle))
	assert.Equal(t, "1970-01-01T00:00:00Z", pipeline.FeedCandleOf(in, &pipeline.Candle{}).Start, "a minute like any other")

	older := pipeline.Candle{Start: 0, Open: 98, High: 99, Low: 97, Close: 98, Volume: 5, Trades: 1}
	assert.Equal(t, pipeline.FeedTicker{Price: "10.1", Size: "0.02", Open: "9.8", High: "10.3", Low: "9.7", Volume: "0.17"},
		pipeline.FeedTickerOf(in, &tr, []pipeline.Candle{candle, older}))
	assert.Equal(t, pipeline.FeedTicker{Price: "10.1", Size: "0.02", Open: "10.1", High: "10.1", Low: "10.1", Volume: "0"}, pipeline.FeedTickerOf(in, &tr, nil))

	bids := []exchange.Level{{Price: 100, Qty: 5, Orders: 2}, {Price: 99, Qty: 1, Orders: 1}}
	d := pipeline.Depth{Instrument: 1, Seq: 44, Time: 3, Bids: bids}
	want := pipeline.FeedBook{FeedHeader: pipeline.FeedHeader{Type: "snapshot", Channel: pipeline.ChannelBook, Symbol: "B1-USD", Seq: 44, Time: at},
		Bids: []pipeline.FeedLevel{{Price: "10", Size: "0.05", Orders: 2}, {Price: "9.9", Size: "0.01", Orders: 1}}, Asks: []pipeline.FeedLevel{},
		Checksum: pipeline.BookChecksum(in, bids, nil)}
	assert.Equal(t, want, pipeline.FeedBookOf(in, &d, 0))
	want.Bids = want.Bids[:1]
	assert.Equal(t, want, pipeline.FeedBookOf(in, &d, 1), "the checksum is that of the whole book")
}

func TestFeedBalancesOf(t *testing.T) {
	assets := pipeline.AssetsOf([]*exchange.Instrument{scribeInstrument(t, 1), scribeInstrument(t, 2)})
	require.Len(t, assets, 3)
	a := pipeline.Account{ID: 5, Version: 9, Balances: []pipeline.AssetBalance{
		{Asset: 2, Balance: exchange.Balance{Available: 150, Held: 7}}, {Asset: 50}, {Asset: 100, Balance: exchange.Balance{Available: 1, Held: 0}}}}
	assert.Equal(t, pipeline.FeedBalances{FeedHeader: pipeline.FeedHeader{Type: "update", Channel: pipeline.ChannelBalances, Seq: 9, Time: "1970-01-01T00:00:00.000000003Z"},
		Balances: []pipeline.FeedBalance{{Asset: "B2", Available: "1.5", Held: "0.07"}, {Asset: "USD", Available: "0.001", Held: "0"}}},
		pipeline.FeedBalancesOf(assets, &a, 3))
}

// A deposit has no journal item: whoever books it pushes what it has come to.
func TestBalanceFeed(t *testing.T) {
	ctx := context.Background()
	balances, pusher := memory.NewBalances(memory.BalancesConfig{}), memory.NewPusher()
	feed := pipeline.NewBalanceFeed([]*exchange.Instrument{scribeInstrument(t, 1)}, balances, pusher)
	sub := pusher.Subscribe(pipeline.ChannelBalances, 0, 1)
	deposit := func(n byte) {
		require.NoError(t, balances.Deposit(ctx, pipeline.Transfer{ID: plainID(n), Account: 1, Asset: 1, Amount: 100, Time: 1}))
	}
	deposit(1)
	require.NoError(t, feed.Push(ctx, 1, 1, 2))
	require.NoError(t, feed.Push(ctx, 1, 1))
	got := heard(t, sub)
	require.Len(t, got, 1, "nothing new is nothing")
	deposit(2)
	require.NoError(t, feed.Push(ctx, 1, 1))
	more := heard(t, sub)
	require.Len(t, more, 1)
	assert.Greater(t, more[0].Seq, got[0].Seq)
	assert.Contains(t, string(more[0].Data), `{"asset":"B1","available":"2","held":"0"}`)
}
