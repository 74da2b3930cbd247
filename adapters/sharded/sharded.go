// Package sharded spreads a TradeStore over several: orders and fills by
// account, the public tape and candles by instrument.
//
// It is for a venue whose orders and trades one database cannot take. A shard
// has everything of its accounts, so that what a client asks for is asked of one
// shard; an order that is named without its account is looked for in all.
//
// Which shard an account or an instrument belongs to depends on how many there
// are, and is part of the data: to have more, fill new stores from the journal
// or its archive.
package sharded

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// MaxShards bounds how many stores there are.
const MaxShards = 256

// TradeStore is a pipeline.TradeStore over others. It is safe for concurrent
// use when they are.
type TradeStore struct {
	shards []pipeline.TradeStore
}

var _ pipeline.TradeStore = (*TradeStore)(nil)

// NewTradeStore returns a TradeStore over 1 to MaxShards stores, whose order is
// part of the data. It keeps the slice.
func NewTradeStore(shards []pipeline.TradeStore) (*TradeStore, error) {
	if len(shards) < 1 || len(shards) > MaxShards {
		return nil, fmt.Errorf("sharded: %d stores: expected 1 to %d", len(shards), MaxShards)
	}
	for i, s := range shards {
		if s == nil {
			return nil, fmt.Errorf("sharded: store %d is nil", i)
		}
	}
	return &TradeStore{shards}, nil
}

// of spreads numbers evenly, also those that are given out one after another or
// in steps: the finalizer of SplitMix64. It must not change.
func (s *TradeStore) of(n uint64) int {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	n ^= n >> 31
	return int(n % uint64(len(s.shards)))
}

func (s *TradeStore) account(acct exchange.AccountID) int { return s.of(uint64(acct)) }

// tape returns the shard that has all trades of an instrument, and says how far
// it is recorded. Numbers of instruments and of accounts are spread apart.
func (s *TradeStore) tape(inst exchange.InstrumentID) int { return s.of(^uint64(inst)) }

// Record records each shard's part, and the tape's last: so the others are never
// behind it, and what is recorded is what the tape says. After an error or a
// crash in between, the same item comes again and is passed over where it is.
func (s *TradeStore) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("sharded: %w", err)
	}
	tape := s.tape(c.Instrument())
	parts := make([]pipeline.Record, len(s.shards))
	for i := range r.Orders {
		p := &parts[s.account(r.Orders[i].Account)]
		p.Orders = append(p.Orders, r.Orders[i])
	}
	for i := range r.Trades {
		t := &r.Trades[i]
		taker, maker := s.account(t.Taker.Account), s.account(t.Maker.Account)
		parts[tape].Trades = append(parts[tape].Trades, *t)
		if taker != tape {
			parts[taker].Trades = append(parts[taker].Trades, *t)
		}
		if maker != tape && maker != taker {
			parts[maker].Trades = append(parts[maker].Trades, *t)
		}
	}
	group, inner := errgroup.WithContext(ctx)
	for i := range s.shards {
		if i != tape {
			group.Go(func() error { return wrap(i, s.shards[i].Record(inner, c, &parts[i])) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return wrap(tape, s.shards[tape].Record(ctx, c, &parts[tape]))
}

func wrap(shard int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("shard %d: %w", shard, err)
}

// Recorded returns how far the tape is.
func (s *TradeStore) Recorded(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	return s.shards[s.tape(inst)].Recorded(ctx, inst)
}

// anywhere asks all shards for an order at once. One that answers is enough;
// without one, an error of any is an error, as the order may be there.
func (s *TradeStore) anywhere(ask func(pipeline.TradeStore) (pipeline.OrderRecord, error)) (pipeline.OrderRecord, error) {
	type answer struct {
		order pipeline.OrderRecord
		err   error
	}
	answers := make(chan answer, len(s.shards)) // with room, so that nobody waits for who does not listen any more
	for _, shard := range s.shards {
		go func() {
			order, err := ask(shard)
			answers <- answer{order, err}
		}()
	}
	err := pipeline.ErrNotFound
	for range s.shards {
		switch a := <-answers; {
		case a.err == nil:
			return a.order, nil
		case !errors.Is(a.err, pipeline.ErrNotFound):
			err = a.err
		}
	}
	return pipeline.OrderRecord{}, err
}

// OrderByCommand asks every shard.
func (s *TradeStore) OrderByCommand(ctx context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	return s.anywhere(func(shard pipeline.TradeStore) (pipeline.OrderRecord, error) { return shard.OrderByCommand(ctx, id) })
}

// OrderByID asks every shard.
func (s *TradeStore) OrderByID(ctx context.Context, inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
	return s.anywhere(func(shard pipeline.TradeStore) (pipeline.OrderRecord, error) { return shard.OrderByID(ctx, inst, id) })
}

// OrderByClientID asks the account's shard.
func (s *TradeStore) OrderByClientID(ctx context.Context, acct exchange.AccountID, clientID string) (pipeline.OrderRecord, error) {
	return s.shards[s.account(acct)].OrderByClientID(ctx, acct, clientID)
}

// Orders asks the account's shard.
func (s *TradeStore) Orders(ctx context.Context, q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
	return s.shards[s.account(q.Account)].Orders(ctx, q)
}

// Trades asks the instrument's shard.
func (s *TradeStore) Trades(ctx context.Context, q pipeline.TradeQuery) ([]pipeline.Trade, error) {
	return s.shards[s.tape(q.Instrument)].Trades(ctx, q)
}

// Fills asks the account's shard.
func (s *TradeStore) Fills(ctx context.Context, q pipeline.FillQuery) ([]pipeline.Trade, error) {
	return s.shards[s.account(q.Account)].Fills(ctx, q)
}

// Candles asks the instrument's shard.
func (s *TradeStore) Candles(ctx context.Context, q pipeline.CandleQuery) ([]pipeline.Candle, error) {
	return s.shards[s.tape(q.Instrument)].Candles(ctx, q)
}
