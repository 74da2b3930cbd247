package bots

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// market takes requests as the pipeline does, and keeps account of which
// orders may be open: all that were accepted and not canceled.
type market struct {
	t         *testing.T
	processor *pipeline.OrderProcessor
	open      map[exchange.CommandID]exchange.Command
	most      int
	requests  []string
	takes     map[exchange.Side]int
	fail      error
	failures  int
}

func instruments(t *testing.T) []*exchange.Instrument {
	t.Helper()
	btc, usd, eth := exchange.Asset{ID: 1, Code: "BTC", Scale: 8}, exchange.Asset{ID: 2, Code: "USD", Scale: 6}, exchange.Asset{ID: 3, Code: "ETH", Scale: 8}
	var out []*exchange.Instrument
	for _, s := range []exchange.InstrumentSpec{
		{ID: 1, Symbol: "BTC-USD", Base: btc, Quote: usd, Tick: decimal.New(1, -2), Lot: decimal.New(1, -4)},
		{ID: 2, Symbol: "ETH-BTC", Base: eth, Quote: btc, Tick: decimal.New(1, -5), Lot: decimal.New(1, -3)},
	} {
		in, err := exchange.NewInstrument(s)
		require.NoError(t, err)
		out = append(out, in)
	}
	return out
}

func newMarket(t *testing.T) *market {
	t.Helper()
	in := instruments(t)
	store, books, balances := memory.NewTradeStore(), memory.NewBookStore(), memory.NewBalances(memory.BalancesConfig{})
	risk, err := pipeline.NewRiskChecker(pipeline.RiskCheckerConfig{Instruments: in, Balances: balances, Queue: memory.NewQueue(memory.QueueConfig{}), Orders: store, Books: books})
	require.NoError(t, err)
	p, err := pipeline.NewOrderProcessor(pipeline.OrderProcessorConfig{Instruments: in, Risk: risk})
	require.NoError(t, err)
	return &market{t: t, processor: p, open: map[exchange.CommandID]exchange.Command{}, takes: map[exchange.Side]int{}}
}

func (m *market) submit(_ context.Context, req *pipeline.Request) ([]progress.Outcome, error) {
	req.Time = 1
	msg, err := m.processor.Prepare(req)
	require.NoError(m.t, err, "a bot sends what no one can take: %+v", req)
	key := req.Key
	req.Key = ""
	m.requests = append(m.requests, fmt.Sprintf("%+v", *req))
	req.Key = key
	c := msg.Command
	if m.fail != nil {
		m.failures++
	}
	switch c.Kind {
	case exchange.KindNewOrder:
		if c.Type == exchange.Limit { // it counts as open, also when nobody knows
			m.open[c.ID] = c
			m.most = max(m.most, len(m.open))
		} else {
			m.takes[c.Side]++
		}
	case exchange.KindCancel:
		if m.fail == nil {
			delete(m.open, c.OrigID)
		}
	case exchange.KindMassCancel:
		assert.Zero(m.t, c.Instrument)
	default:
		m.t.Fatalf("a bot sends %v", c.Kind)
	}
	return []progress.Outcome{{Command: c.ID, OrderID: 1, Status: progress.Open}}, m.fail
}

func newBots(t *testing.T, m *market, seed uint64) *Bots {
	t.Helper()
	return New(Config{
		Submit: m.submit, Instruments: instruments(t), Values: map[exchange.AssetID]float64{1: 64000, 2: 1, 3: 3200},
		Makers: []exchange.AccountID{101, 102}, Takers: []exchange.AccountID{104}, Store: memory.NewTradeStore(),
		Balances: memory.NewBalances(memory.BalancesConfig{}), Seed: seed, Now: func() time.Time { return time.Unix(1, 0) }, Logger: slog.New(slog.DiscardHandler),
	})
}

// However long they trade: valid requests only, both sides, prices that stay
// about where they were, no more orders than there are slots.
func TestBots(t *testing.T) {
	m := newMarket(t)
	b := newBots(t, m, 7)
	ctx := context.Background()
	require.NoError(t, b.begin(ctx))
	slots := 2 * 2 * 2 * Levels
	assert.Len(t, m.open, slots, "a full book from the start")
	for range 5_000 {
		require.NoError(t, b.step(ctx))
	}
	assert.LessOrEqual(t, m.most, slots)
	assert.InDelta(t, 5_000*takes, m.takes[exchange.Buy]+m.takes[exchange.Sell], 150)
	assert.Greater(t, m.takes[exchange.Buy], 200)
	assert.Greater(t, m.takes[exchange.Sell], 200)
	for asset, v := range b.cfg.Values {
		assert.InEpsilon(t, v, b.values[asset], 0.5, "asset %d", asset)
	}
	best := map[exchange.InstrumentID]map[exchange.Side]exchange.Price{1: {}, 2: {}}
	for _, c := range m.open {
		side := best[c.Instrument]
		if p, ok := side[c.Side]; !ok || c.Side == exchange.Buy && c.Price > p || c.Side == exchange.Sell && c.Price < p {
			side[c.Side] = c.Price
		}
	}
	for id, side := range best {
		require.Len(t, side, 2, "instrument %d has both sides", id)
	}
}

func TestSeedIsARun(t *testing.T) {
	run := func(seed uint64) []string {
		m := newMarket(t)
		b := newBots(t, m, seed)
		require.NoError(t, b.begin(context.Background()))
		for range 500 {
			require.NoError(t, b.step(context.Background()))
		}
		return m.requests
	}
	first := run(1)
	assert.Equal(t, first, run(1))
	assert.NotEqual(t, first, run(2))
}

// What cannot be sent now is sent later, and no order is lost sight of.
func TestBotsOutlastFailures(t *testing.T) {
	m := newMarket(t)
	b := newBots(t, m, 7)
	require.NoError(t, b.begin(context.Background()))
	m.fail = errors.New("nobody answers")
	for range 200 {
		require.ErrorIs(t, b.step(context.Background()), m.fail)
	}
	slots := 2 * 2 * 2 * Levels
	assert.Len(t, m.open, slots, "nothing new while the old one may be there")
	m.fail = nil
	for range 200 {
		require.NoError(t, b.step(context.Background()))
	}
	assert.LessOrEqual(t, m.most, slots)

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b.cfg.Rate = 1e6
	n := m.failures
	m.fail = errors.New("again")
	b.cfg.Submit = func(ctx context.Context, req *pipeline.Request) ([]progress.Outcome, error) {
		if m.failures > n+500 {
			cancel()
		}
		return m.submit(ctx, req)
	}
	go func() { b.Run(ctx); close(done) }()
	<-done
	assert.Greater(t, m.failures, n+500)
}

// A taker who has nothing left of an asset buys it back.
func TestTakersComeBack(t *testing.T) {
	m := newMarket(t)
	b := newBots(t, m, 7)
	balances := memory.NewBalances(memory.BalancesConfig{})
	b.cfg.Balances, b.cfg.Endowment = balances, map[exchange.AssetID]exchange.Amount{1: 1000}
	sells := func(acct exchange.AccountID) (n int) {
		for range 1000 {
			side, err := b.side(context.Background(), acct, b.cfg.Instruments[0])
			require.NoError(t, err)
			if side == exchange.Sell {
				n++
			}
		}
		return n
	}
	give := func(acct exchange.AccountID, n exchange.Amount) exchange.AccountID {
		require.NoError(t, balances.Deposit(context.Background(), pipeline.Transfer{ID: exchange.CommandID{byte(acct)}, Account: acct, Asset: 1, Amount: n, Time: 1}))
		return acct
	}
	assert.InDelta(t, 100, sells(4), 50, "none")
	assert.InDelta(t, 500, sells(give(1, 1000)), 80, "as in the beginning")
	assert.InDelta(t, 900, sells(give(2, 5000)), 50, "far too much")
}
