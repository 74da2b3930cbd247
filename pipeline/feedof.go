package pipeline

import (
	"encoding/hex"

	"github.com/castlecloud/exchange"
)

// What stores and events have, as clients see it: the same in the feed and in
// the REST API.

// String returns the status as the feed and the REST API write it.
func (s OrderStatus) String() string {
	switch s {
	case OrderOpen:
		return "open"
	case OrderPending:
		return "pending"
	case OrderFilled:
		return "filled"
	case OrderCanceled:
		return "canceled"
	case OrderExpired:
		return "expired"
	case OrderRejected:
		return "rejected"
	}
	return "invalid"
}

// FeedOrderOf returns an order as its owner sees it. What is not set is "".
func FeedOrderOf(in *exchange.Instrument, r *OrderRecord) FeedOrder {
	return newNumberTexts(in).order(in, r)
}

func (w *numberTexts) order(in *exchange.Instrument, r *OrderRecord) FeedOrder {
	o := FeedOrder{
		CommandID: hex.EncodeToString(r.CommandID[:]), ClientOrderID: r.ClientID, Symbol: in.Symbol(),
		Side: SideText(r.Side), Type: OrderTypeText(r.Type), TimeInForce: TimeInForceText(r.TimeInForce), Status: r.Status.String(),
		Filled: w.qty.text(int64(r.CumQty)), Remaining: w.qty.text(int64(r.LeavesQty)),
		Cost: w.quote.text(int64(r.Notional)), Fee: w.quote.text(int64(r.Fee)),
		PostOnly: PostOnlyText(r.PostOnly), Hidden: r.Hidden,
		ExpireTime: TimeText(r.Expire), Created: TimeText(r.Created), Updated: TimeText(r.Updated),
	}
	if r.OrderID != 0 {
		o.ID = OrderIDText(in.Symbol(), r.OrderID)
	}
	if r.Reason != 0 {
		o.Code, o.Reason = ReasonCode(r.Reason), r.Reason.String()
	}
	if r.SelfTrade != 0 {
		o.SelfTrade = SelfTradeText(r.SelfTrade)
	}
	for _, f := range [...]struct {
		to   *string
		text *stepText
		n    int64
	}{
		{&o.Price, &w.price, int64(r.Price)}, {&o.StopPrice, &w.price, int64(r.StopPrice)},
		{&o.Size, &w.qty, int64(r.OrderQty)}, {&o.DisplaySize, &w.qty, int64(r.DisplayQty)}, {&o.Funds, &w.quote, int64(r.Funds)},
	} {
		if f.n != 0 {
			*f.to = f.text.text(f.n)
		}
	}
	return o
}

// FeedTradeOf returns a trade as everybody sees it.
func FeedTradeOf(in *exchange.Instrument, t *Trade) FeedTrade { return newNumberTexts(in).trade(t) }

func (w *numberTexts) trade(t *Trade) FeedTrade {
	return FeedTrade{ID: t.ID, Price: w.price.text(int64(t.Price)), Size: w.qty.text(int64(t.Qty)), Side: SideText(t.Side), Time: TimeText(t.Time)}
}

// FeedFillsOf returns an account's sides of a trade: none, one, or both when it
// traded with itself, the taker's first.
func FeedFillsOf(in *exchange.Instrument, t *Trade, acct exchange.AccountID) []FeedFill {
	w := newNumberTexts(in)
	var out []FeedFill
	if t.Taker.Account == acct {
		out = append(out, w.fill(in, t, true))
	}
	if t.Maker.Account == acct {
		out = append(out, w.fill(in, t, false))
	}
	return out
}

func (w *numberTexts) fill(in *exchange.Instrument, t *Trade, taker bool) FeedFill {
	p, side, liquidity := &t.Taker, t.Side, "taker"
	if !taker {
		p, side, liquidity = &t.Maker, t.Side.Opposite(), "maker"
	}
	return FeedFill{TradeID: t.ID, Symbol: in.Symbol(), OrderID: OrderIDText(in.Symbol(), p.OrderID), Side: SideText(side),
		Price: w.price.text(int64(t.Price)), Size: w.qty.text(int64(t.Qty)), Fee: w.quote.text(int64(p.Fee)),
		Liquidity: liquidity, Time: TimeText(t.Time)}
}

// FeedCandleOf returns a candle.
func FeedCandleOf(in *exchange.Instrument, c *Candle) FeedCandle { return newNumberTexts(in).candle(c) }

func (w *numberTexts) candle(c *Candle) FeedCandle {
	return FeedCandle{Start: string(appendTime(nil, c.Start)), Open: w.price.text(int64(c.Open)), High: w.price.text(int64(c.High)),
		Low: w.price.text(int64(c.Low)), Close: w.price.text(int64(c.Close)), Volume: w.qty.text(int64(c.Volume)), Trades: int(c.Trades)}
}

// FeedBookOf returns a depth as a snapshot for ChannelBook: the first levels of
// each side, at most limit of them (0 or less: all).
func FeedBookOf(in *exchange.Instrument, d *Depth, limit int) FeedBook {
	w := newNumberTexts(in)
	return FeedBook{
		FeedHeader: FeedHeader{Type: "snapshot", Channel: ChannelBook, Symbol: in.Symbol(), Seq: d.Seq, Time: TimeText(d.Time)},
		Bids:       w.levels(d.Bids, limit), Asks: w.levels(d.Asks, limit), Checksum: BookChecksum(in, d.Bids, d.Asks),
	}
}

func (w *numberTexts) levels(levels []exchange.Level, limit int) []FeedLevel {
	if limit > 0 {
		levels = levels[:min(limit, len(levels))]
	}
	out := make([]FeedLevel, len(levels))
	for i := range levels {
		out[i] = w.level(&levels[i])
	}
	return out
}

func (w *numberTexts) level(l *exchange.Level) FeedLevel {
	return FeedLevel{Price: w.price.text(int64(l.Price)), Size: w.qty.text(int64(l.Qty)), Orders: l.Orders}
}

// FeedTickerOf returns an instrument's last trade and what its candles come to,
// which are those of the last 24 hours in any order. Without a header: it is
// the same for the feed and the REST API, whose header only the feed has.
func FeedTickerOf(in *exchange.Instrument, last *Trade, candles []Candle) FeedTicker {
	d := dayWindow{price: last.Price, qty: last.Qty}
	d.candles = append(d.candles, candles...)
	d.order()
	d.sum()
	return d.ticker(newNumberTexts(in))
}

// FeedBalancesOf returns what an account has as a message of ChannelBalances:
// "update", with a.Version as its sequence. Assets that are not in assets are
// left out: no instrument of the venue has them.
func FeedBalancesOf(assets map[exchange.AssetID]exchange.Asset, a *Account, now exchange.Time) FeedBalances {
	out := FeedBalances{FeedHeader: FeedHeader{Type: "update", Channel: ChannelBalances, Seq: a.Version, Time: TimeText(now)}, Balances: []FeedBalance{}}
	for i := range a.Balances {
		b := &a.Balances[i]
		if asset, ok := assets[b.Asset]; ok {
			w := assetText(asset)
			out.Balances = append(out.Balances, FeedBalance{Asset: asset.Code, Available: w.text(int64(b.Available)), Held: w.text(int64(b.Held))})
		}
	}
	return out
}

// AssetsOf returns the assets of some instruments by their ids.
func AssetsOf(instruments []*exchange.Instrument) map[exchange.AssetID]exchange.Asset {
	out := map[exchange.AssetID]exchange.Asset{}
	for _, in := range instruments {
		out[in.Base().ID], out[in.Quote().ID] = in.Base(), in.Quote()
	}
	return out
}
