// Package bots is a small market: makers who quote both sides of every
// instrument and takers who trade with them, around prices that walk at
// random. They are ordinary accounts, and send ordinary requests.
package bots

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
)

// What the market looks like.
const (
	// Levels is how many orders a maker keeps on each side of an instrument.
	Levels = 6
	// spread is how far apart a maker's levels are, and half of what lies
	// between its best two, as a share of the price.
	spread = 0.0004
	// volatility is the standard deviation of one step of the walk, reversion
	// how much of the way back to where it began it goes in one.
	volatility = 0.0003
	reversion  = 0.0002
	// takes is the share of steps in which somebody takes.
	takes = 0.2
	// worth is what an order is worth at most, in the unit of Values.
	worth = 20_000.0
)

// DefaultRate is how many steps are made a second.
const DefaultRate = 10

// Config says who trades what.
type Config struct {
	Submit      func(ctx context.Context, req *pipeline.Request) ([]progress.Outcome, error)
	Instruments []*exchange.Instrument
	Values      map[exchange.AssetID]float64 // what each asset is worth in the beginning, in any common unit
	Makers      []exchange.AccountID
	Takers      []exchange.AccountID
	Store       pipeline.TradeStore // prices go on from the last trades
	Balances    pipeline.Balances   // takers sell what they have too much of
	Endowment   map[exchange.AssetID]exchange.Amount
	Rate        float64 // steps a second, 0: DefaultRate
	Seed        uint64
	Now         func() time.Time
	Logger      *slog.Logger
}

// slot is one place for one order of a maker: at any time at most one is
// there, so the number of orders is bounded by that of the slots.
type slot struct {
	maker exchange.AccountID
	in    *exchange.Instrument
	side  exchange.Side
	level int
	key   string // the client's id of the one that was put there last, "" for none
}

// Bots are the market. They are not safe for concurrent use.
type Bots struct {
	cfg    Config
	rng    *rand.Rand
	values map[exchange.AssetID]float64
	slots  []*slot
	run    string // no key of an earlier run comes again
	n      int
}

// New returns bots that have done nothing yet.
func New(cfg Config) *Bots {
	if cfg.Rate == 0 {
		cfg.Rate = DefaultRate
	}
	b := &Bots{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0)), values: map[exchange.AssetID]float64{},
		run: strconv.FormatInt(cfg.Now().UnixNano(), 36)}
	for id, v := range cfg.Values {
		b.values[id] = v
	}
	for _, in := range cfg.Instruments {
		for level := range Levels {
			for _, maker := range cfg.Makers {
				for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
					b.slots = append(b.slots, &slot{maker: maker, in: in, side: side, level: level})
				}
			}
		}
	}
	return b
}

// Run trades until ctx ends.
func (b *Bots) Run(ctx context.Context) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / b.cfg.Rate))
	defer tick.Stop()
	for step := b.begin; ; step = b.step {
		if err := step(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Logger.Warn("bots", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// begin takes up where the last run ended: prices from the last trades, and no
// orders of which nobody knows.
func (b *Bots) begin(ctx context.Context) error {
	for _, in := range b.cfg.Instruments {
		last, err := b.cfg.Store.Trades(ctx, pipeline.TradeQuery{Instrument: in.ID(), Limit: 1})
		if err != nil {
			return fmt.Errorf("reading the last price of %s: %w", in.Symbol(), err)
		}
		if len(last) > 0 {
			b.values[in.Base().ID] = in.PriceDecimal(last[0].Price).InexactFloat64() * b.values[in.Quote().ID]
		}
	}
	var failed error
	for _, acct := range append(append([]exchange.AccountID(nil), b.cfg.Makers...), b.cfg.Takers...) {
		_, err := b.submit(ctx, &pipeline.Request{Kind: pipeline.RequestCancelAll, Account: acct})
		failed = errors.Join(failed, err)
	}
	for _, s := range b.slots {
		failed = errors.Join(failed, b.quote(ctx, s))
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// step moves prices, and then one maker or taker.
func (b *Bots) step(ctx context.Context) error {
	for _, in := range b.cfg.Instruments { // in a fixed order, so that a seed is a run
		b.walk(in.Base().ID)
	}
	if len(b.cfg.Takers) > 0 && b.rng.Float64() < takes {
		return b.take(ctx)
	}
	return b.quote(ctx, b.slots[b.rng.IntN(len(b.slots))])
}

func (b *Bots) walk(asset exchange.AssetID) {
	v := b.values[asset]
	b.values[asset] = v*math.Exp(volatility*b.rng.NormFloat64()) + reversion*(b.cfg.Values[asset]-v)
}

// fair is what the bots think an instrument is worth.
func (b *Bots) fair(in *exchange.Instrument) float64 {
	return b.values[in.Base().ID] / b.values[in.Quote().ID]
}

// quote replaces the order of a slot.
func (b *Bots) quote(ctx context.Context, s *slot) error {
	if s.key != "" { // it may have been filled long ago, which does no harm
		cancel := &pipeline.Request{Kind: pipeline.RequestCancel, Account: s.maker, Symbol: s.in.Symbol(), OrigClientID: s.key}
		if _, err := b.submit(ctx, cancel); err != nil {
			return err
		}
	}
	away := spread * (0.5 + float64(s.level) + b.rng.Float64())
	if s.side == exchange.Buy {
		away = -away
	}
	order := &pipeline.Request{
		Kind: pipeline.RequestNew, Account: s.maker, Symbol: s.in.Symbol(), Side: pipeline.SideText(s.side), Type: "limit", PostOnly: "slide",
		Price: b.price(s.in, b.fair(s.in)*(1+away)), Size: b.size(s.in),
	}
	_, err := b.submit(ctx, order)
	s.key = order.Key // also after an error: nobody knows what came of it
	return err
}

// take lets a taker trade at the market.
func (b *Bots) take(ctx context.Context) error {
	in := b.cfg.Instruments[b.rng.IntN(len(b.cfg.Instruments))]
	acct := b.cfg.Takers[b.rng.IntN(len(b.cfg.Takers))]
	side, err := b.side(ctx, acct, in)
	if err != nil {
		return err
	}
	_, err = b.submit(ctx, &pipeline.Request{Kind: pipeline.RequestNew, Account: acct, Symbol: in.Symbol(), Side: pipeline.SideText(side),
		Type: "market", Size: b.size(in)})
	return err
}

// side draws a side: the more of the base a taker has, compared with what it
// had in the beginning, the more likely it sells, so that it never runs dry.
func (b *Bots) side(ctx context.Context, acct exchange.AccountID, in *exchange.Instrument) (exchange.Side, error) {
	a, err := b.cfg.Balances.Account(ctx, acct)
	if err != nil {
		return 0, fmt.Errorf("reading a balance: %w", err)
	}
	had := float64(b.cfg.Endowment[in.Base().ID])
	has := 0.0
	for _, x := range a.Balances {
		if x.Asset == in.Base().ID {
			has = float64(x.Available) + float64(x.Held)
		}
	}
	sell := 0.5
	if had > 0 {
		sell = min(0.9, max(0.1, 0.5*has/had))
	}
	if b.rng.Float64() < sell {
		return exchange.Sell, nil
	}
	return exchange.Buy, nil
}

func (b *Bots) price(in *exchange.Instrument, p float64) string {
	tick := in.Spec().Tick
	ticks := math.Round(p / tick.InexactFloat64())
	return tick.Mul(decimal.NewFromInt(int64(max(1, ticks)))).String()
}

// size draws a size: small ones often, large ones seldom.
func (b *Bots) size(in *exchange.Instrument) string {
	lot := in.Spec().Lot
	u := b.rng.Float64()
	lots := math.Round(worth * (0.01 + u*u*u) / b.values[in.Base().ID] / lot.InexactFloat64())
	return lot.Mul(decimal.NewFromInt(int64(max(1, lots)))).String()
}

// submit sends a request under a new key.
func (b *Bots) submit(ctx context.Context, req *pipeline.Request) ([]progress.Outcome, error) {
	b.n++
	req.Key = "bot-" + b.run + "-" + strconv.Itoa(b.n)
	out, err := b.cfg.Submit(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", req.Kind, req.Symbol, err)
	}
	return out, nil
}
