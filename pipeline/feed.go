package pipeline

import (
	"hash/crc32"

	"github.com/castlecloud/exchange"
)

// Channel is what a client subscribes to.
type Channel string

// The channels. ChannelOrders and ChannelBalances are private: they carry an
// account, and only its own connections get them.
const (
	ChannelBook     Channel = "book"
	ChannelTrades   Channel = "trades"
	ChannelTicker   Channel = "ticker"
	ChannelCandles  Channel = "candles"
	ChannelOrders   Channel = "orders"
	ChannelBalances Channel = "balances"
)

// What MarketData and the Settler push, as JSON. All numbers of price, size and
// money are decimal strings; times are RFC 3339 with nanoseconds.
//
// Seq and PrevSeq are those of the Push that carries a message. A client whose
// last Seq is at or above a message's Seq ignores it; one whose last Seq is
// below PrevSeq has missed something and subscribes again; else the message is
// the next. A snapshot counts from its own Seq. What Seq is:
//
//   - book: the Seq of the last event of the journal item; PrevSeq is that of
//     the first less one. Every item sends one, also when no level changed, so
//     that PrevSeq is always the Seq of the message before.
//   - trades, candles: the Seq of the last trade in the item; PrevSeq is that of
//     the trade before the first. Items without a trade send none.
//   - orders: the Seq of the last event of the item; PrevSeq is the Seq of the
//     account's message before, in the same instrument. Where MarketData does
//     not know that one, because it was before a restart, it is the Seq from
//     which on it knows all; a client from before may then subscribe again for
//     nothing.
//   - ticker: the Seq of the last event of the item. Balances: Account.Version.
//     In both every message says everything, and PrevSeq is 0.

// FeedHeader is in every message.
type FeedHeader struct {
	Type    string  `json:"type"` // "snapshot" or "update"
	Channel Channel `json:"channel"`
	Symbol  string  `json:"symbol,omitempty"`
	Seq     uint64  `json:"seq"`
	PrevSeq uint64  `json:"prev_seq"`
	Time    string  `json:"time"`
}

// FeedLevel is price, size (0: the level is gone) and number of orders.
type FeedLevel struct {
	Price  string `json:"price"`
	Size   string `json:"size"`
	Orders int    `json:"orders"`
}

// FeedBook is a message of ChannelBook: the levels that changed, or in a
// snapshot all that are shown, best first.
type FeedBook struct {
	FeedHeader
	Bids     []FeedLevel `json:"bids"`
	Asks     []FeedLevel `json:"asks"`
	Checksum uint32      `json:"checksum,omitempty"` // BookChecksum; 0: not given
}

// FeedTrade is one public trade.
type FeedTrade struct {
	ID    exchange.TradeID `json:"trade_id,string"`
	Price string           `json:"price"`
	Size  string           `json:"size"`
	Side  string           `json:"side"` // the taker's
	Time  string           `json:"time"`
}

// FeedTrades is a message of ChannelTrades.
type FeedTrades struct {
	FeedHeader
	Trades []FeedTrade `json:"trades"`
}

// FeedTicker is a message of ChannelTicker: the last trade, and what traded in
// the 1,440 minutes up to the one it is sent in. It is sent for every item with
// a trade, when minutes with trades have left the 24 hours, and after a restart.
type FeedTicker struct {
	FeedHeader
	Price  string `json:"price"` // of the last trade
	Size   string `json:"size"`
	Open   string `json:"open_24h"`
	High   string `json:"high_24h"`
	Low    string `json:"low_24h"`
	Volume string `json:"volume_24h"` // in base
}

// FeedCandle is one candle; Start is where its interval begins.
type FeedCandle struct {
	Start  string `json:"start"`
	Open   string `json:"open"`
	High   string `json:"high"`
	Low    string `json:"low"`
	Close  string `json:"close"`
	Volume string `json:"volume"`
	Trades int    `json:"trades"`
}

// FeedCandles is a message of ChannelCandles: the candles of one minute that
// changed. Longer ones are sums of these.
type FeedCandles struct {
	FeedHeader
	Candles []FeedCandle `json:"candles"`
}

// FeedOrder is an order as its owner sees it; the REST API gives the same.
type FeedOrder struct {
	ID            string `json:"id"`         // SYMBOL.number; "" for one that was rejected
	CommandID     string `json:"command_id"` // hexadecimal
	ClientOrderID string `json:"client_order_id,omitempty"`
	Symbol        string `json:"symbol"`
	Side          string `json:"side"`
	Type          string `json:"type"`
	TimeInForce   string `json:"time_in_force"`
	Status        string `json:"status"`         // open, pending, filled, canceled, expired, rejected
	Code          string `json:"code,omitempty"` // ReasonCode, of what Reason says in words
	Reason        string `json:"reason,omitempty"`
	Price         string `json:"price,omitempty"`
	StopPrice     string `json:"stop_price,omitempty"`
	Size          string `json:"size,omitempty"`
	Funds         string `json:"funds,omitempty"`
	DisplaySize   string `json:"display_size,omitempty"`
	Filled        string `json:"filled"`
	Remaining     string `json:"remaining"`
	Cost          string `json:"cost"` // executed notional
	Fee           string `json:"fee"`
	PostOnly      string `json:"post_only,omitempty"`
	Hidden        bool   `json:"hidden,omitempty"`
	SelfTrade     string `json:"self_trade_prevention,omitempty"`
	ExpireTime    string `json:"expire_time,omitempty"`
	Created       string `json:"created_at"`
	Updated       string `json:"updated_at"`
}

// FeedFill is one side of a trade as its owner sees it.
type FeedFill struct {
	TradeID   exchange.TradeID `json:"trade_id,string"`
	Symbol    string           `json:"symbol"`
	OrderID   string           `json:"order_id"`
	Side      string           `json:"side"`
	Price     string           `json:"price"`
	Size      string           `json:"size"`
	Fee       string           `json:"fee"`
	Liquidity string           `json:"liquidity"` // "maker" or "taker"
	Time      string           `json:"time"`
}

// FeedRefusal is the outcome of a command that was refused and made no order:
// a cancel, an amend.
type FeedRefusal struct {
	CommandID string `json:"command_id"`
	Command   string `json:"command"` // its kind; "" when it was refused in front of the engine
	OrderID   string `json:"order_id,omitempty"`
	Code      string `json:"code"` // ReasonCode
	Reason    string `json:"reason"`
}

// FeedOrders is a message of ChannelOrders: what one journal item did to an
// account's orders in an instrument. Orders are as they are after it, or later:
// what comes again after a restart may show what came of them since.
type FeedOrders struct {
	FeedHeader
	Orders   []FeedOrder   `json:"orders"`
	Fills    []FeedFill    `json:"fills,omitempty"`
	Refusals []FeedRefusal `json:"refusals,omitempty"`
}

// FeedBalance is what an account has of an asset.
type FeedBalance struct {
	Asset     string `json:"asset"`
	Available string `json:"available"`
	Held      string `json:"held"`
}

// FeedBalances is a message of ChannelBalances: everything an account has, once
// what changed it is booked. Seq is Account.Version, so a client that keeps the
// message with the highest Seq never goes back.
type FeedBalances struct {
	FeedHeader
	Balances []FeedBalance `json:"balances"`
}

// ChecksumLevels is how many levels of each side BookChecksum looks at.
const ChecksumLevels = 10

// BookChecksum is the CRC-32 (IEEE) of the best levels of a book as text: for
// each of the first ten places the bid's "price:size:" and then the ask's, as
// the feed writes them, leaving out what is not there. A client that gets
// another number from its own book subscribes again. Levels are best first.
func BookChecksum(in *exchange.Instrument, bids, asks []exchange.Level) uint32 {
	var text []byte
	add := func(levels []exchange.Level, i int) {
		if i < len(levels) {
			text = append(text, in.PriceDecimal(levels[i].Price).String()...)
			text = append(text, ':')
			text = append(text, in.QtyDecimal(levels[i].Qty).String()...)
			text = append(text, ':')
		}
	}
	for i := range ChecksumLevels {
		add(bids, i)
		add(asks, i)
	}
	return crc32.ChecksumIEEE(text)
}
