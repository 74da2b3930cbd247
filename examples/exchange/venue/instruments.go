package venue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
)

// The assets and what is traded. They are part of the data: to change one,
// begin with an empty directory.
var (
	btc = exchange.Asset{ID: 1, Code: "BTC", Scale: 8}
	usd = exchange.Asset{ID: 2, Code: "USD", Scale: 6}
	eth = exchange.Asset{ID: 3, Code: "ETH", Scale: 8}
)

// Instruments returns the venue's instruments.
func Instruments() ([]*exchange.Instrument, error) {
	dec := decimal.RequireFromString
	var out []*exchange.Instrument
	for _, spec := range []exchange.InstrumentSpec{
		{ID: 1, Symbol: "BTC-USD", Base: btc, Quote: usd, Tick: dec("0.01"), Lot: dec("0.0001"), MaxPrice: dec("10000000"), MaxQty: dec("1000"), MinNotional: dec("1")},
		{ID: 2, Symbol: "ETH-USD", Base: eth, Quote: usd, Tick: dec("0.01"), Lot: dec("0.0001"), MaxPrice: dec("1000000"), MaxQty: dec("10000"), MinNotional: dec("1")},
		{ID: 3, Symbol: "ETH-BTC", Base: eth, Quote: btc, Tick: dec("0.00001"), Lot: dec("0.001"), MaxPrice: dec("100"), MaxQty: dec("10000"), MinNotional: dec("0.0001")},
	} {
		spec.MakerFee, spec.TakerFee = dec("0.0005"), dec("0.001")
		in, err := exchange.NewInstrument(spec)
		if err != nil {
			return nil, fmt.Errorf("instrument %s: %w", spec.Symbol, err)
		}
		out = append(out, in)
	}
	return out, nil
}

// values are what the assets are worth in USD when the market begins.
var values = map[exchange.AssetID]float64{btc.ID: 64_000, eth.ID: 3_200, usd.ID: 1}

// The accounts of the bots.
var (
	makers = []exchange.AccountID{101, 102, 103}
	takers = []exchange.AccountID{104, 105}
)

// Bounds on demo accounts: 1 to MaxDemoAccounts, so that those of the bots come
// after them.
const (
	DefaultDemoAccounts = 10
	MaxDemoAccounts     = 100
)

// Whole units of what each account begins with.
var (
	demoFunds = map[exchange.AssetID]int64{btc.ID: 20, eth.ID: 300, usd.ID: 1_000_000}
	botFunds  = map[exchange.AssetID]int64{btc.ID: 100_000, eth.ID: 1_000_000, usd.ID: 1_000_000_000}
)

// atoms converts whole units of the assets.
func atoms(units map[exchange.AssetID]int64) (map[exchange.AssetID]exchange.Amount, error) {
	out := map[exchange.AssetID]exchange.Amount{}
	for _, a := range []exchange.Asset{btc, usd, eth} {
		n, err := a.Amount(decimal.NewFromInt(units[a.ID]))
		if err != nil {
			return nil, err
		}
		out[a.ID] = n
	}
	return out, nil
}

// endowed is when every account got what it begins with: always the same, so
// that it happens once in the life of a directory.
var endowed = exchange.Time(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())

// endow gives an account what it begins with, unless it has had it.
func endow(ctx context.Context, b pipeline.Balances, acct exchange.AccountID, funds map[exchange.AssetID]exchange.Amount) error {
	for _, a := range []exchange.Asset{btc, usd, eth} {
		t := pipeline.Transfer{ID: pipeline.CommandIDOf(acct, 0, exchange.KindDeposit, "endowment "+a.Code), Account: acct, Asset: a.ID, Amount: funds[a.ID], Time: endowed}
		err := b.Deposit(ctx, t)
		if err != nil && !errors.Is(err, exchange.StaleCommand) { // stale: it was so long ago that it is forgotten
			return fmt.Errorf("giving account %d its first %s: %w", acct, a.Code, err)
		}
	}
	return nil
}
