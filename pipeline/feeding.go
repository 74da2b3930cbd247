package pipeline

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/castlecloud/exchange"
)

// feeding makes the messages of one item.
type feeding struct {
	*feedState
	b        *Batch
	seq      uint64
	time     string
	messages []Push
}

func (f *feeding) header(ch Channel, seq, prev uint64) FeedHeader {
	return FeedHeader{Type: "update", Channel: ch, Symbol: f.in.Symbol(), Seq: seq, PrevSeq: prev, Time: f.time}
}

// add adds a message, which has the header h.
func (f *feeding) add(h FeedHeader, acct exchange.AccountID, msg any) error {
	data, err := json.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encoding for %s: %w", h.Channel, err)
	}
	f.messages = append(f.messages, Push{Channel: h.Channel, Instrument: f.in.ID(), Account: acct, Seq: h.Seq, PrevSeq: h.PrevSeq, Data: data})
	return nil
}

func (f *feeding) public(ctx context.Context, item *tracked) error {
	if f.listening(ChannelBook, 0) {
		msg := FeedBook{FeedHeader: f.header(ChannelBook, f.seq, f.b.FirstSeq()-1), Bids: []FeedLevel{}, Asks: []FeedLevel{}, Checksum: f.b.Checksum}
		for i := range f.b.Levels {
			l := &f.b.Levels[i]
			if l.Side == exchange.Buy {
				msg.Bids = append(msg.Bids, f.write.level(&l.Level))
			} else {
				msg.Asks = append(msg.Asks, f.write.level(&l.Level))
			}
		}
		if err := f.add(msg.FeedHeader, 0, &msg); err != nil {
			return err
		}
	}
	if n := len(item.Trades); n > 0 {
		prev, err := f.before(ctx, &item.Trades[0])
		if err != nil {
			return err
		}
		if err := f.trades(item.Trades, prev); err != nil {
			return err
		}
		f.lastTrade = item.Trades[n-1]
	}
	if f.day.advance(f.b.LastTime()) { // not before the candles were told
		f.tickerDue = true
	}
	if !f.tickerDue || f.day.price == 0 {
		return nil
	}
	f.tickerDue = false
	if f.listening(ChannelTicker, 0) {
		msg := f.day.ticker(f.write)
		msg.FeedHeader = f.header(ChannelTicker, f.seq, 0)
		return f.add(msg.FeedHeader, 0, &msg)
	}
	return nil
}

// before returns the Seq of the trade before one.
func (f *feeding) before(ctx context.Context, t *Trade) (uint64, error) {
	switch {
	case t.ID == 1:
		return 0, nil
	case f.lastTrade.ID == t.ID-1:
		return f.lastTrade.Seq, nil
	}
	trades, err := f.store.Trades(ctx, TradeQuery{Instrument: f.in.ID(), Before: t.ID, Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("reading the trade before %d: %w", t.ID, err)
	}
	if len(trades) == 1 && trades[0].ID == t.ID-1 {
		return trades[0].Seq, nil
	}
	return f.b.FirstSeq() - 1, nil // nobody knows: at most this
}

func (f *feeding) trades(trades []Trade, prev uint64) error {
	seq := trades[len(trades)-1].Seq
	if f.listening(ChannelTrades, 0) {
		msg := FeedTrades{FeedHeader: f.header(ChannelTrades, seq, prev), Trades: make([]FeedTrade, len(trades))}
		for i := range trades {
			msg.Trades[i] = f.write.trade(&trades[i])
		}
		if err := f.add(msg.FeedHeader, 0, &msg); err != nil {
			return err
		}
	}
	if !f.listening(ChannelCandles, 0) {
		return nil
	}
	msg := FeedCandles{FeedHeader: f.header(ChannelCandles, seq, prev), Candles: []FeedCandle{}}
	for i := range f.day.candles[f.day.changed:] {
		msg.Candles = append(msg.Candles, f.write.candle(&f.day.candles[f.day.changed+i]))
	}
	return f.add(msg.FeedHeader, 0, &msg)
}

// private makes a message for each account that the item concerns, whether or
// not it is sent: the sequence is the same.
func (f *feeding) private(item *tracked, pos Position) error {
	var mine []*FeedOrders
	var accounts []exchange.AccountID
	// of returns what an account hears, nil when nobody listens.
	of := func(acct exchange.AccountID) *FeedOrders {
		ch := f.chain(acct, pos, f.seq)
		if ch == nil {
			return nil
		}
		if ch.mine == undecided {
			ch.mine = unheard
			if f.listening(ChannelOrders, acct) {
				ch.mine = len(mine)
				mine = append(mine, &FeedOrders{FeedHeader: f.header(ChannelOrders, f.seq, ch.prev), Orders: []FeedOrder{}})
				accounts = append(accounts, acct)
			}
		}
		if ch.mine == unheard {
			return nil
		}
		return mine[ch.mine]
	}
	for i := range item.Orders {
		if msg := of(item.Orders[i].Account); msg != nil {
			msg.Orders = append(msg.Orders, f.write.order(f.in, &item.Orders[i]))
		}
	}
	for i := range item.Trades {
		t := &item.Trades[i]
		if msg := of(t.Taker.Account); msg != nil {
			msg.Fills = append(msg.Fills, f.write.fill(f.in, t, true))
		}
		if msg := of(t.Maker.Account); msg != nil {
			msg.Fills = append(msg.Fills, f.write.fill(f.in, t, false))
		}
	}
	for i := range item.refusals {
		r := &item.refusals[i]
		if msg := of(r.account); msg != nil {
			msg.Refusals = append(msg.Refusals, r.feed(f.in))
		}
	}
	for i, msg := range mine {
		if err := f.add(msg.FeedHeader, accounts[i], msg); err != nil {
			return err
		}
	}
	return nil
}

func (r *refusal) feed(in *exchange.Instrument) FeedRefusal {
	out := FeedRefusal{CommandID: hex.EncodeToString(r.id[:]), Code: ReasonCode(r.reason), Reason: r.reason.String()}
	if r.kind != exchange.KindVoid {
		out.Command = r.kind.String()
	}
	if r.order != 0 {
		out.OrderID = OrderIDText(in.Symbol(), r.order)
	}
	return out
}
