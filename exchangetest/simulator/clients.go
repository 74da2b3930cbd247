package simulator

import (
	"context"
	"fmt"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
)

// Two instruments that share an asset, so that an account's funds are asked
// for from both sides at once.
func instruments() ([]*exchange.Instrument, error) {
	usd := exchange.Asset{ID: 1, Code: "USD", Scale: 4}
	var insts []*exchange.Instrument
	for i, code := range []string{"AAA", "BBB"} {
		in, err := exchange.NewInstrument(exchange.InstrumentSpec{
			ID: exchange.InstrumentID(i + 1), Symbol: code + "-USD",
			Base: exchange.Asset{ID: exchange.AssetID(i + 2), Code: code, Scale: 3}, Quote: usd,
			Tick: decimal.New(1, -2), Lot: decimal.New(1, -1),
			MaxPrice: decimal.New(1000, 0), MaxQty: decimal.New(1000, 0),
			MakerFee: decimal.New(1, -3), TakerFee: decimal.New(2, -3),
		})
		if err != nil {
			return nil, err
		}
		insts = append(insts, in)
	}
	return insts, nil
}

const (
	accounts      = 5
	startUSD      = exchange.Amount(500_000_0000) // 500,000 USD
	startBase     = exchange.Amount(5_000_000)    // 5,000
	poor          = exchange.AccountID(accounts)  // has a hundredth of the others
	midPrice      = exchange.Price(10_000)        // ticks
	maxOrderQty   = 50                            // lots
	maxKnown      = 64                            // orders that clients remember
	clientStretch = exchange.Time(20 * time.Millisecond)
)

// clients send requests and remember what they have sent.
type clients struct {
	w        *world
	sent     int
	requests []pipeline.Request // everything put on the bus, once
	known    []known
	deposits map[exchange.AccountID]map[exchange.AssetID]exchange.Amount
}

type known struct {
	key, symbol string
	account     exchange.AccountID
}

func newClients(w *world) *clients {
	c := &clients{w: w, deposits: map[exchange.AccountID]map[exchange.AssetID]exchange.Amount{}}
	for a := exchange.AccountID(1); a <= accounts; a++ {
		c.deposits[a] = map[exchange.AssetID]exchange.Amount{}
		for asset := exchange.AssetID(1); asset <= exchange.AssetID(len(w.insts)+1); asset++ {
			n := startBase
			if asset == 1 {
				n = startUSD
			}
			if a == poor {
				n /= 100
			}
			id := pipeline.CommandIDOf(a, 0, exchange.KindDeposit, fmt.Sprint(asset))
			t := pipeline.Transfer{ID: id, Account: a, Asset: asset, Amount: n, Time: w.now}
			for range 2 { // the second one is the first again
				if err := w.balances.Deposit(context.Background(), t); err != nil {
					w.violated("deposit: %w", err)
				}
			}
			c.deposits[a][asset] = n
		}
	}
	return c
}

func (c *clients) left() bool { return c.sent < c.w.cfg.Requests }

// act sends one request, now and then twice, late, or one of earlier again.
func (c *clients) act(context.Context) {
	w := c.w
	if len(c.requests) > 0 && w.chance("request sent again by its client", w.plan.repeat) {
		w.bus.put(c.requests[w.pick(len(c.requests))], w.now)
		return
	}
	req := c.request()
	c.sent++
	c.requests = append(c.requests, req)
	copies := 1
	if w.chance("request repeated", w.plan.repeat) {
		copies = 2
	}
	for range copies {
		due := w.now
		if w.chance("request delayed", w.plan.delay) {
			due += exchange.Time(w.pick(int(redelivery)))
		}
		w.bus.put(req, due)
	}
}

func (c *clients) request() pipeline.Request {
	w := c.w
	in := w.insts[w.pick(len(w.insts))]
	req := pipeline.Request{
		Account: exchange.AccountID(1 + w.pick(accounts)), Time: w.now, Key: fmt.Sprintf("k%d", c.sent),
		Symbol: in.Symbol(),
	}
	switch n := w.pick(100); {
	case n < 64 || len(c.known) == 0:
		c.order(in, &req)
		if len(c.known) == maxKnown {
			c.known = c.known[1:]
		}
		c.known = append(c.known, known{req.Key, req.Symbol, req.Account})
	case n < 97:
		// Mostly an order of the account's own, sometimes a stranger's.
		k := c.known[w.pick(len(c.known))]
		req.Symbol, req.OrigClientID = k.symbol, k.key
		if w.pick(20) > 0 {
			req.Account = k.account
		}
		switch {
		case n < 80:
			req.Kind = pipeline.RequestCancel
		case n < 89:
			req.Kind = pipeline.RequestAmend
			if w.pick(2) == 0 {
				req.Price = c.price(in)
			}
			if w.pick(3) > 0 || req.Price == "" {
				req.Size = c.size(in)
			}
		case n < 93:
			req.Kind, req.Price, req.Size = pipeline.RequestReplace, c.price(in), c.size(in)
		default:
			req.Kind, req.Size = pipeline.RequestReduce, c.size(in)
		}
	case n < 98:
		req.Kind, req.Key = pipeline.RequestCancelAll, fmt.Sprintf("all%d", c.sent)
		if w.pick(2) == 0 {
			req.Symbol = ""
		}
	default: // nothing that anybody could mean
		req.Kind, req.Side, req.Type, req.Price, req.Size = pipeline.RequestNew, "buy", "limit", "-1.5e3", "0"
	}
	return req
}

func (c *clients) price(in *exchange.Instrument) string {
	return in.PriceDecimal(midPrice + exchange.Price(c.w.pick(41)-20)).String()
}

func (c *clients) size(in *exchange.Instrument) string {
	return in.QtyDecimal(exchange.Qty(1 + c.w.pick(maxOrderQty))).String()
}

func (c *clients) order(in *exchange.Instrument, req *pipeline.Request) {
	w := c.w
	req.Kind, req.Side, req.Type = pipeline.RequestNew, "buy", "limit"
	if w.pick(2) == 0 {
		req.Side = "sell"
	}
	req.Price, req.Size = c.price(in), c.size(in)
	switch w.pick(16) {
	case 0:
		req.TimeInForce = "IOC"
	case 1:
		req.TimeInForce = "FOK"
	case 2:
		req.PostOnly = "reject"
	case 3:
		req.PostOnly = "slide"
	case 4:
		req.DisplaySize = in.QtyDecimal(exchange.Qty(1 + w.pick(5))).String()
		req.Size = in.QtyDecimal(exchange.Qty(10 + w.pick(maxOrderQty))).String()
	case 5:
		req.Hidden = true
	case 6, 7:
		req.Type, req.Price = "market", ""
	case 8:
		if req.Side == "buy" {
			req.Type, req.Price, req.Size, req.Funds = "market", "", "", fmt.Sprint(100+w.pick(2000))
		}
	case 9:
		req.Type, req.StopPrice = "stop_limit", c.price(in)
	case 10:
		req.Type, req.Price, req.StopPrice = "stop", "", c.price(in)
	case 11:
		req.TimeInForce = "GTD"
		req.ExpireTime = time.Unix(0, int64(w.now+1+exchange.Time(w.pick(50))*clientStretch)).UTC().Format(time.RFC3339Nano)
	case 12:
		req.TimeInForce = "DAY"
	case 13:
		req.SelfTrade = []string{"cancel_newest", "cancel_oldest", "cancel_both", "decrement"}[w.pick(4)]
	}
}
