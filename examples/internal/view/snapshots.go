// Package view makes what clients see of a whole channel: the first message of
// a subscription, from the stores.
package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/pipeline"
)

// How much a snapshot has.
const (
	SnapshotTrades  = 50
	SnapshotCandles = 200
	SnapshotOrders  = pipeline.MaxQueryRows
)

// Snapshots makes the first message of a subscription from the stores.
type Snapshots struct {
	Board       progress.Positions
	Store       pipeline.TradeStore
	Books       pipeline.BookStore
	Balances    pipeline.Balances
	Instruments []*exchange.Instrument
	Now         func() time.Time
}

// Snapshot is a channel's state as one message, and the sequence number of
// the last event in it.
type Snapshot struct {
	Seq  uint64
	Data []byte
}

// Snapshot makes the first message of a channel. It has at least everything
// that was committed when it was asked for. in is nil for ChannelBalances,
// acct 0 for a public channel.
func (s *Snapshots) Snapshot(ctx context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (Snapshot, error) {
	snap, message, err := s.message(ctx, channel, in, acct)
	if err != nil {
		return Snapshot{}, fmt.Errorf("making a snapshot of %s: %w", channel, err)
	}
	snap.Data, err = json.Marshal(message)
	return snap, err
}

func (s *Snapshots) message(ctx context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (Snapshot, any, error) {
	switch channel {
	case pipeline.ChannelBook: // the engine saves it before it publishes
		d, err := Depth(ctx, s.Books, in)
		if err != nil {
			return Snapshot{}, nil, err
		}
		return Snapshot{Seq: d.Seq}, pipeline.FeedBookOf(in, d, 0), nil
	case pipeline.ChannelBalances:
		for _, in := range s.Instruments {
			if _, err := s.Board.Settled(ctx, in.ID()); err != nil {
				return Snapshot{}, nil, err
			}
		}
		account, err := s.Balances.Account(ctx, acct)
		if err != nil {
			return Snapshot{}, nil, err
		}
		out := pipeline.FeedBalancesOf(pipeline.AssetsOf(s.Instruments), &account, s.now())
		out.Type = "snapshot"
		return Snapshot{Seq: account.Version}, out, nil
	}
	at, err := s.Board.Recorded(ctx, in.ID())
	if err != nil {
		return Snapshot{}, nil, err
	}
	message, err := s.recorded(ctx, channel, in, acct, at.Seq)
	return Snapshot{Seq: at.Seq}, message, err
}

// recorded makes what comes from the trade store, which has everything up to
// seq and may have more: a client gets that twice, and no harm is done.
func (s *Snapshots) recorded(ctx context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID, seq uint64) (any, error) {
	head := header(channel, in, seq, s.now())
	switch channel {
	case pipeline.ChannelTrades:
		trades, err := s.Store.Trades(ctx, pipeline.TradeQuery{Instrument: in.ID(), Limit: SnapshotTrades})
		if err != nil {
			return nil, err
		}
		out := pipeline.FeedTrades{FeedHeader: head, Trades: []pipeline.FeedTrade{}}
		for i := range slices.Backward(trades) {
			if trades[i].Seq <= seq || seq == 0 {
				out.Trades = append(out.Trades, pipeline.FeedTradeOf(in, &trades[i]))
			}
		}
		return out, nil
	case pipeline.ChannelCandles:
		candles, err := s.Store.Candles(ctx, pipeline.CandleQuery{Instrument: in.ID(), Interval: exchange.Time(time.Minute), Limit: SnapshotCandles})
		if err != nil {
			return nil, err
		}
		out := pipeline.FeedCandles{FeedHeader: head, Candles: []pipeline.FeedCandle{}}
		for i := range slices.Backward(candles) {
			out.Candles = append(out.Candles, pipeline.FeedCandleOf(in, &candles[i]))
		}
		return out, nil
	case pipeline.ChannelTicker:
		return s.ticker(ctx, in, head)
	case pipeline.ChannelOrders:
		orders, err := s.Store.Orders(ctx, pipeline.OrderQuery{Account: acct, Instrument: in.ID(), LiveOnly: true, Limit: SnapshotOrders})
		if err != nil {
			return nil, err
		}
		out := pipeline.FeedOrders{FeedHeader: head, Orders: []pipeline.FeedOrder{}}
		for i := range orders {
			out.Orders = append(out.Orders, pipeline.FeedOrderOf(in, &orders[i]))
		}
		return out, nil
	}
	return nil, fmt.Errorf("channel %q: %w", channel, pipeline.ErrInvalid)
}

func (s *Snapshots) now() exchange.Time { return exchange.Time(s.Now().UnixNano()) }

func header(channel pipeline.Channel, in *exchange.Instrument, seq uint64, at exchange.Time) pipeline.FeedHeader {
	return pipeline.FeedHeader{Type: "snapshot", Channel: channel, Symbol: in.Symbol(), Seq: seq, Time: pipeline.TimeText(at)}
}

// Depth returns an instrument's public book, an empty one when nothing has
// happened yet.
func Depth(ctx context.Context, books pipeline.BookStore, in *exchange.Instrument) (*pipeline.Depth, error) {
	d, err := books.Depth(ctx, in.ID())
	if errors.Is(err, pipeline.ErrNotFound) {
		return &pipeline.Depth{Instrument: in.ID()}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the book of %s: %w", in.Symbol(), err)
	}
	return d, nil
}
