package view

import (
	"context"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

const (
	minute     = exchange.Time(time.Minute)
	dayMinutes = 24 * 60
)

// Ticker returns an instrument's last trade and its last 24 hours, with what
// was committed when it was asked for. Before the first trade the texts but the
// volume are empty.
func (s *Snapshots) Ticker(ctx context.Context, in *exchange.Instrument) (pipeline.FeedTicker, error) {
	at, err := s.Board.Recorded(ctx, in.ID())
	if err != nil {
		return pipeline.FeedTicker{}, err
	}
	return s.ticker(ctx, in, header(pipeline.ChannelTicker, in, at.Seq, s.now()))
}

func (s *Snapshots) ticker(ctx context.Context, in *exchange.Instrument, head pipeline.FeedHeader) (pipeline.FeedTicker, error) {
	now := s.now()
	last, err := s.Store.Trades(ctx, pipeline.TradeQuery{Instrument: in.ID(), Limit: 1})
	if err != nil || len(last) == 0 {
		return pipeline.FeedTicker{FeedHeader: head, Volume: "0"}, err
	}
	var candles []pipeline.Candle
	q := pipeline.CandleQuery{Instrument: in.ID(), Interval: minute, From: now - now%minute - (dayMinutes-1)*minute, Limit: pipeline.MaxQueryRows}
	for {
		page, err := s.Store.Candles(ctx, q)
		if err != nil {
			return pipeline.FeedTicker{}, err
		}
		candles = append(candles, page...)
		if len(page) < q.Limit {
			break
		}
		q.Before = page[len(page)-1].Start
	}
	out := pipeline.FeedTickerOf(in, &last[0], candles)
	out.FeedHeader = head
	return out, nil
}
