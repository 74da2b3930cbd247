package main

import (
	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

// The one instrument of a replay and its assets.
const (
	instrumentID exchange.InstrumentID = 1
	baseID       exchange.AssetID      = 1
	quoteID      exchange.AssetID      = 2
)

// newInstrument makes an instrument of the given steps, without fees. The
// assets have just the decimals the steps need. highest bounds the prices, 0
// leaves them unbounded.
func newInstrument(opt options, highest exchange.Price) (*exchange.Instrument, error) {
	return exchange.NewInstrument(exchange.InstrumentSpec{
		ID: instrumentID, Symbol: "REPLAY",
		Base:     exchange.Asset{ID: baseID, Code: "BASE", Scale: decimals(opt.lot)},
		Quote:    exchange.Asset{ID: quoteID, Code: "QUOTE", Scale: decimals(opt.tick.Mul(opt.lot))},
		Tick:     opt.tick,
		Lot:      opt.lot,
		MaxPrice: opt.tick.Mul(decimal.NewFromInt(int64(highest))),
	})
}

// decimals counts the digits behind the point, trailing zeros left out.
func decimals(d decimal.Decimal) int32 {
	var n int32
	for !d.Equal(d.Truncate(n)) {
		n++
	}
	return n
}

// newEngine makes the engine of a replay.
func newEngine(inst *exchange.Instrument, flow *flow, risk bool) (*exchange.Engine, error) {
	cfg := exchange.Config{
		Funds:       exchange.FundsNone,
		Instruments: []*exchange.Instrument{inst},
		// Every id of the file stays known, however long the file is.
		DedupCount: max(exchange.DefaultDedupCount, len(flow.commands)),
	}
	if risk {
		cfg.Funds = exchange.FundsLedger
	}
	return exchange.NewEngine(cfg)
}

// funder sees to it that no order is refused for want of funds: it deposits
// what a command can need just before it, and withdraws what is free after
// it, so that no more is in the engine than the open orders hold. All orders
// of a long file together could need more than 63 bits. nil does nothing.
type funder struct {
	engine *exchange.Engine
	inst   *exchange.Instrument
	worst  exchange.Price // of a market buy
	events []exchange.Event
}

// before deposits what a new or amended order can need.
func (f *funder) before(cmd *exchange.Command) {
	if f == nil {
		return
	}
	side, price, qty := cmd.Side, cmd.Price, cmd.Qty
	switch cmd.Kind {
	case exchange.KindNewOrder:
	case exchange.KindAmend:
		order, ok := f.engine.Book(instrumentID).OrderByCommand(cmd.OrigID)
		if !ok {
			return
		}
		side = order.Side
		if price == 0 {
			price = order.Price
		}
		if qty == 0 {
			qty = order.OrderQty
		}
	default:
		return
	}
	if side == exchange.Sell {
		f.apply(exchange.Deposit(cmd.Account, baseID, f.inst.BaseAmount(qty)))
		return
	}
	if price == 0 {
		price = f.worst
	}
	if notional, ok := f.inst.Notional(price, qty); ok { // else the order is too large anyway
		f.apply(exchange.Deposit(cmd.Account, quoteID, notional))
	}
}

// after withdraws what a command left free, from everyone it touched.
func (f *funder) after(events []exchange.Event) {
	if f == nil {
		return
	}
	for i := range events {
		f.withdraw(events[i].Account)
		if events[i].Kind == exchange.EventTrade {
			f.withdraw(events[i].MakerAccount)
		}
	}
}

func (f *funder) withdraw(acct exchange.AccountID) {
	for _, asset := range [...]exchange.AssetID{baseID, quoteID} {
		if free := f.engine.Balance(acct, asset).Available; free > 0 {
			f.apply(exchange.Withdraw(acct, asset, free))
		}
	}
}

// apply leaves a refusal to show in the order that then lacks the funds.
func (f *funder) apply(cmd exchange.Command) {
	f.events = f.engine.Apply(f.events[:0], &cmd)
}
