package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/shopspring/decimal"
)

// What the orders are like. A quarter of them take: each finds an order of
// about its size, so that half of all orders trade. The others rest, and
// those that nobody takes are canceled, the oldest first, once there are more
// than -open.
const (
	takers    = 0.25 // of all orders
	deepest   = 10   // ticks from the mid to the farthest order that rests
	reach     = 3 * deepest
	mostLots  = 5 // an order's size is 1 to mostLots times the least the instrument allows
	selfTrade = "cancel_oldest"
)

// market is an instrument that orders are sent to.
type market struct {
	symbol string
	weight float64 // its share of the orders
	mid    decimal.Decimal
	tick   decimal.Decimal
	unit   decimal.Decimal // the least size
}

// newMarket takes the middle of the book for the price to trade around, or the
// last trade's, or the one given on the command line.
func newMarket(ctx context.Context, c *client.Client, p *client.Product, weight float64, mids map[string]decimal.Decimal) (*market, error) {
	m := &market{symbol: p.Symbol, weight: weight}
	var lot, least, notional decimal.Decimal
	for _, n := range []struct {
		field, text string
		into        *decimal.Decimal
	}{{"tick_size", p.TickSize, &m.tick}, {"size_step", p.SizeStep, &lot}, {"min_size", p.MinSize, &least}, {"min_notional", p.MinNotional, &notional}} {
		if n.text == "" {
			continue
		}
		d, err := decimal.NewFromString(n.text)
		if err != nil || d.Sign() < 0 {
			return nil, fmt.Errorf("product %s: %s: %q: expected a decimal", p.Symbol, n.field, n.text)
		}
		*n.into = d
	}
	if m.tick.Sign() <= 0 || lot.Sign() <= 0 {
		return nil, fmt.Errorf("product %s: tick_size %q, size_step %q: expected more than zero", p.Symbol, p.TickSize, p.SizeStep)
	}
	mid, err := findMid(ctx, c, p.Symbol, mids)
	if err != nil {
		return nil, err
	}
	m.mid = roundTo(mid, m.tick)
	lowest := m.mid.Sub(m.tick.Mul(decimal.NewFromInt(reach)))
	if lowest.Sign() <= 0 {
		return nil, fmt.Errorf("%s: a price of %s: expected more than %d times tick_size, %s", p.Symbol, mid, reach, m.tick)
	}
	m.unit = decimal.Max(least, lot)
	if need := notional.DivRound(lowest, 16); need.GreaterThan(m.unit) {
		m.unit = need
	}
	m.unit = m.unit.Div(lot).Ceil().Mul(lot)
	return m, nil
}

func findMid(ctx context.Context, c *client.Client, symbol string, mids map[string]decimal.Decimal) (decimal.Decimal, error) {
	if mid, ok := mids[symbol]; ok {
		return mid, nil
	}
	top, err := c.Top(ctx, symbol)
	if err != nil {
		return decimal.Decimal{}, fmt.Errorf("reading the book of %s: %w", symbol, err)
	}
	last, err := c.Last(ctx, symbol)
	if err != nil {
		return decimal.Decimal{}, fmt.Errorf("reading the last price of %s: %w", symbol, err)
	}
	if len(top.Bids) > 0 && len(top.Asks) > 0 {
		bid, bidErr := decimal.NewFromString(top.Bids[0].Price)
		ask, askErr := decimal.NewFromString(top.Asks[0].Price)
		if bidErr == nil && askErr == nil {
			return bid.Add(ask).Div(decimal.NewFromInt(2)), nil
		}
	}
	if mid, err := decimal.NewFromString(last); err == nil && mid.Sign() > 0 {
		return mid, nil
	}
	return decimal.Decimal{}, fmt.Errorf("%s has no price yet: nothing rests on both sides, and nothing has traded: give one with -mid %s=PRICE", symbol, symbol)
}

// roundTo returns the multiple of step nearest to d.
func roundTo(d, step decimal.Decimal) decimal.Decimal { return d.Div(step).Round(0).Mul(step) }

// draft is an order before anybody sends it.
type draft struct {
	market  *market
	account int // index
	takes   bool
	body    client.NewOrder
}

// flow draws orders. The same seed, accounts and markets give the same ones,
// but for their client_order_id.
type flow struct {
	rng      *rand.Rand
	markets  []*market
	accounts int
	prefix   string // of every client_order_id
	n        int
}

func newFlow(seed uint64, markets []*market, accounts int, prefix string) *flow {
	return &flow{rng: rand.New(rand.NewPCG(seed, 0)), markets: markets, accounts: accounts, prefix: prefix}
}

// next draws an order.
func (f *flow) next() *draft {
	f.n++
	m := f.market()
	d := &draft{market: m, account: f.rng.IntN(f.accounts), takes: f.rng.Float64() < takers}
	side, sign := "buy", int64(-1)
	if f.rng.IntN(2) == 0 {
		side, sign = "sell", 1
	}
	away := 1 + f.rng.Int64N(deepest) // on the order's own side of the mid
	if d.takes {
		away = -reach
	}
	d.body = client.NewOrder{
		ClientOrderID: fmt.Sprintf("%s-%d", f.prefix, f.n), Symbol: m.symbol, Side: side, Type: "limit", TimeInForce: "GTC",
		Price: m.mid.Add(m.tick.Mul(decimal.NewFromInt(sign * away))).String(),
		Size:  m.unit.Mul(decimal.NewFromInt(1 + f.rng.Int64N(mostLots))).String(),
	}
	if d.takes {
		d.body.TimeInForce, d.body.SelfTrade = "IOC", selfTrade
	}
	return d
}

func (f *flow) market() *market {
	total := 0.0
	for _, m := range f.markets {
		total += m.weight
	}
	at := f.rng.Float64() * total
	for _, m := range f.markets {
		if at -= m.weight; at < 0 {
			return m
		}
	}
	return f.markets[len(f.markets)-1]
}

// parsePairs reads SYMBOL=NUMBER,SYMBOL=NUMBER; each number is above zero. A
// symbol without one has 1, where that is allowed.
func parsePairs(text string, bare bool) (symbols []string, numbers map[string]decimal.Decimal, err error) {
	numbers = map[string]decimal.Decimal{}
	for part := range strings.SplitSeq(text, ",") {
		symbol, number, given := strings.Cut(strings.TrimSpace(part), "=")
		d := decimal.NewFromInt(1)
		if given {
			d, err = decimal.NewFromString(number)
		}
		if _, twice := numbers[symbol]; symbol == "" || twice || err != nil || d.Sign() <= 0 || !given && !bare {
			return nil, nil, fmt.Errorf("%q: expected SYMBOL=NUMBER, each symbol once, numbers above zero", part)
		}
		symbols, numbers[symbol] = append(symbols, symbol), d
	}
	return symbols, numbers, nil
}
