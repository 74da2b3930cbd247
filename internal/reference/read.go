package reference

import (
	"maps"
	"math/big"
	"slices"

	"github.com/castlecloud/exchange"
)

// Level, Balance and Position are those of package exchange.
type (
	Level struct {
		Price  exchange.Price
		Qty    exchange.Qty
		Orders int
	}
	Balance  struct{ Available, Held exchange.Amount }
	Position struct {
		Net, OpenBuy, OpenSell exchange.Qty
		Orders                 int
	}
)

// Clock returns the highest Time applied.
func (e *Engine) Clock() exchange.Time { return e.clock }

// Seq returns the last sequence of a stream, 0 when there is none.
func (e *Engine) Seq(inst exchange.InstrumentID) uint64 {
	if s := e.streams[inst]; s != nil {
		return s.seq
	}
	return 0
}

// Len returns the number of live orders.
func (e *Engine) Len(inst exchange.InstrumentID) int { return len(e.books[inst].live) }

// LastPrice returns the price stops are triggered by.
func (e *Engine) LastPrice(inst exchange.InstrumentID) (exchange.Price, bool) {
	p := e.books[inst].last
	return p, p != 0
}

// ReferencePrice returns the price collars are measured from.
func (e *Engine) ReferencePrice(inst exchange.InstrumentID) (exchange.Price, bool) {
	p := e.books[inst].ref
	return p, p != 0
}

// view is the order as users see it.
func (o *order) view() exchange.Order {
	v := o.Order
	v.FeeRemainder = int32(sum(new(big.Int).Mul(roundUp(o.fee), million), neg(o.fee)).Int64())
	switch {
	case o.Pending || o.Hidden:
		v.ShownQty = 0
	default:
		v.ShownQty = o.part()
	}
	return v
}

// Orders returns the orders of a side in priority order, hidden ones included.
func (e *Engine) Orders(inst exchange.InstrumentID, side exchange.Side) []exchange.Order {
	var views []exchange.Order
	for _, o := range e.books[inst].sides[side] {
		views = append(views, o.view())
	}
	return views
}

// Pending returns the orders that wait for their trigger, by OrderID.
func (e *Engine) Pending(inst exchange.InstrumentID) []exchange.Order {
	var views []exchange.Order
	for _, o := range e.books[inst].waiting {
		views = append(views, o.view())
	}
	slices.SortFunc(views, func(x, y exchange.Order) int { return int(int64(x.ID) - int64(y.ID)) })
	return views
}

// Levels returns the public depth of a side, best first.
func (e *Engine) Levels(inst exchange.InstrumentID, side exchange.Side) []Level {
	var levels []Level
	for _, o := range e.books[inst].sides[side] {
		if o.Hidden {
			continue
		}
		n := len(levels)
		split := e.cfg.Faults == PriceTwoLevels && n > 0 && levels[n-1].Orders == 1
		if n == 0 || levels[n-1].Price != o.Price || split {
			levels = append(levels, Level{Price: o.Price})
			n++
		}
		levels[n-1].Qty += o.part()
		levels[n-1].Orders++
	}
	if e.cfg.Faults == DepthInMapOrder {
		byPrice := map[exchange.Price]Level{}
		for _, level := range levels {
			byPrice[level.Price] = level
		}
		return slices.Collect(maps.Values(byPrice))
	}
	return levels
}

// Balance returns what an account has of an asset.
func (e *Engine) Balance(acct exchange.AccountID, asset exchange.AssetID) Balance {
	a := e.accounts[acct]
	if a == nil {
		return Balance{}
	}
	read := func(from map[exchange.AssetID]*big.Int) exchange.Amount {
		if n := from[asset]; n != nil {
			return amount(n)
		}
		return 0
	}
	return Balance{Available: read(a.available), Held: read(a.held)}
}

// Position returns an account's position in an instrument.
func (e *Engine) Position(acct exchange.AccountID, inst exchange.InstrumentID) Position {
	var p Position
	if a := e.accounts[acct]; a != nil {
		p.Net = a.net[inst]
	}
	for _, o := range e.books[inst].live {
		if o.Account != acct {
			continue
		}
		p.Orders++
		if o.Side == exchange.Buy {
			p.OpenBuy += o.LeavesQty
		} else {
			p.OpenSell += o.LeavesQty
		}
	}
	return p
}
