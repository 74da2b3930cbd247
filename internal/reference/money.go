package reference

import (
	"math/big"

	"github.com/castlecloud/exchange"
)

var million = big.NewInt(exchange.FeeRateUnit)

func amount(n *big.Int) exchange.Amount {
	must(n.IsInt64(), "amount %s does not fit", n)
	return exchange.Amount(n.Int64())
}

func bigInt[T ~int64 | ~int32](n T) *big.Int { return big.NewInt(int64(n)) }

func sum(terms ...*big.Int) *big.Int {
	total := new(big.Int)
	for _, n := range terms {
		total.Add(total, n)
	}
	return total
}

func neg(n *big.Int) *big.Int { return new(big.Int).Neg(n) }

func smaller(x, y *big.Int) *big.Int {
	if x.Cmp(y) < 0 {
		return x
	}
	return y
}

// notional is price × quantity in quote atoms.
func (b *book) notional(p exchange.Price, q exchange.Qty) *big.Int {
	n := new(big.Int).Mul(bigInt(p), bigInt(q))
	return n.Mul(n, b.tickLot)
}

func (b *book) baseAmount(q exchange.Qty) *big.Int { return new(big.Int).Mul(bigInt(q), b.lotBase) }

// roundUp is FEE-001: a fee in millionths to atoms.
func roundUp(millionths *big.Int) *big.Int {
	down, rest := new(big.Int).DivMod(millionths, million, new(big.Int)) // rounds down: rest >= 0
	if rest.Sign() > 0 {
		down.Add(down, big.NewInt(1))
	}
	return down
}

// addsFee is what notional n at a rate adds to the order's fee, and the exact
// fee after it.
func (e *Engine) addsFee(o *order, rate exchange.FeeRate, n *big.Int) (added, exact *big.Int) {
	if e.cfg.Funds == FundsNone {
		return new(big.Int), o.fee
	}
	exact = sum(o.fee, new(big.Int).Mul(bigInt(rate), n))
	return sum(roundUp(exact), neg(roundUp(o.fee))), exact
}

// growth is FEE-002.
func (e *Engine) growth(o *order, n *big.Int) *big.Int {
	added, _ := e.addsFee(o, max(o.MakerFee, o.TakerFee, 0), n)
	return added
}

// need is FUNDS-001.
func (e *Engine) need(b *book, o *order) *big.Int {
	switch {
	case e.cfg.Funds == FundsNone || o.done || o.noLiquidity:
		return new(big.Int)
	case o.Side == exchange.Sell:
		return b.baseAmount(o.LeavesQty)
	case o.budget && (o.byFunds && o.room == 0 || !o.byFunds && o.LeavesQty == 0):
		return new(big.Int) // nothing left to buy
	case o.budget:
		return bigInt(o.Funds)
	}
	n := b.notional(o.Price, o.LeavesQty)
	return sum(n, e.growth(o, n))
}

// asset is what an order gives away.
func (b *book) asset(o *order) exchange.AssetID {
	if o.Side == exchange.Sell {
		return b.inst.Base().ID
	}
	return b.inst.Quote().ID
}

// release is FUNDS-002: it lets go what is held beyond the need.
func (e *Engine) release(b *book, o *order) exchange.Amount {
	need := amount(e.need(b, o))
	r := o.Held - need
	must(r >= 0 || e.cfg.Faults != None, "order %d holds %d and needs %d", o.ID, o.Held, need)
	e.unhold(b, o, bigInt(r))
	e.credit(o.Account, b.asset(o), bigInt(r))
	return r
}

// unhold takes n out of the order's hold.
func (e *Engine) unhold(b *book, o *order, n *big.Int) {
	o.Held = amount(sum(bigInt(o.Held), neg(n)))
	if e.cfg.Funds == FundsLedger {
		add(e.account(o.Account).held, b.asset(o), neg(n))
	}
}

// hold puts n, taken from the available amount, into the order's hold.
func (e *Engine) hold(b *book, o *order, n *big.Int) {
	e.credit(o.Account, b.asset(o), neg(n))
	e.unhold(b, o, neg(n))
}

// credit adds n to the available amount, when the accounts are kept here.
func (e *Engine) credit(acct exchange.AccountID, asset exchange.AssetID, n *big.Int) {
	if e.cfg.Funds == FundsLedger {
		add(e.account(acct).available, asset, n)
	}
}

func add(to map[exchange.AssetID]*big.Int, asset exchange.AssetID, n *big.Int) {
	old := to[asset]
	if old == nil {
		old = new(big.Int)
	}
	to[asset] = sum(old, n)
}

func (e *Engine) available(acct exchange.AccountID, asset exchange.AssetID) *big.Int {
	if a := e.accounts[acct]; a != nil && a.available[asset] != nil {
		return a.available[asset]
	}
	return new(big.Int)
}

// total is what all accounts have together of an asset, and all but account 0.
func (e *Engine) total(asset exchange.AssetID) (all, others *big.Int) {
	all, others = new(big.Int), new(big.Int)
	for id, a := range e.accounts {
		for _, n := range []*big.Int{a.available[asset], a.held[asset]} {
			if n == nil {
				continue
			}
			all.Add(all, n)
			if id != 0 {
				others.Add(others, n)
			}
		}
	}
	return all, others
}

// settle is FUNDS-004: it pays for q of a trade and returns the fees.
func (e *Engine) settle(b *book, taker, maker *order, p exchange.Price, q exchange.Qty) (takerFee, makerFee *big.Int) {
	n := b.notional(p, q)
	takerFee, taker.fee = e.addsFee(taker, taker.TakerFee, n)
	makerFee, maker.fee = e.addsFee(maker, maker.MakerFee, n)
	for _, side := range []struct {
		o   *order
		fee *big.Int
	}{{taker, takerFee}, {maker, makerFee}} {
		o := side.o
		if o.budget {
			spent := sum(n, side.fee)
			if side.fee.Sign() < 0 { // MATCH-011: a rebate is not spent
				spent = n
			}
			o.Funds = amount(sum(bigInt(o.Funds), neg(spent)))
		}
		if e.cfg.Funds == FundsNone {
			continue
		}
		if o.Side == exchange.Buy {
			e.unhold(b, o, sum(n, side.fee))
			e.credit(o.Account, b.inst.Base().ID, b.baseAmount(q))
		} else {
			e.unhold(b, o, b.baseAmount(q))
			e.credit(o.Account, b.inst.Quote().ID, sum(n, neg(side.fee)))
		}
		e.credit(0, b.inst.Quote().ID, side.fee)
	}
	return takerFee, makerFee
}

// affordable is MATCH-011: the largest quantity up to most that the order's
// funds buy at p; a rebate buys nothing.
func (e *Engine) affordable(b *book, o *order, p exchange.Price, most exchange.Qty) exchange.Qty {
	if !o.budget {
		return most
	}
	funds := bigInt(o.Funds)
	low, high := exchange.Qty(0), most // low is affordable
	for low < high {
		q := low + (high-low+1)/2
		n := b.notional(p, q)
		fee, _ := e.addsFee(o, max(o.TakerFee, 0), n)
		if sum(n, fee).Cmp(funds) <= 0 {
			low = q
		} else {
			high = q - 1
		}
	}
	return low
}

// fundsCheck is RISK-005 for an order that needs need, of which old is held
// already.
func (e *Engine) fundsCheck(b *book, o *order, old exchange.Amount) exchange.Reason {
	if e.cfg.Funds == FundsNone {
		return 0
	}
	if e.cfg.Funds == FundsLedger && b.rebates {
		if _, others := e.total(b.inst.Quote().ID); others.Cmp(big.NewInt(1<<61)) > 0 { // FUNDS-009
			return exchange.AmountOverflow
		}
	}
	if o.Side == exchange.Buy && !o.budget && o.Price == 0 && !o.noLiquidity {
		return exchange.WorstPriceRequired
	}
	need := e.need(b, o)
	if o.Side == exchange.Buy && !o.budget && !o.noLiquidity && b.notional(o.Price, o.LeavesQty).Cmp(bigInt(exchange.MaxAmount)) > 0 {
		return exchange.InsufficientFunds
	}
	have := bigInt(old)
	if e.cfg.Funds == FundsLedger {
		have.Add(have, e.available(o.Account, b.asset(o)))
	} else {
		have.Add(have, bigInt(e.cmd.Held))
	}
	if have.Cmp(need) < 0 {
		return exchange.InsufficientFunds
	}
	return 0
}

// fund brings a new or amended order from what it holds, of its own or of the
// order it replaces, to what it needs, which fundsCheck has found possible. It
// returns what is released: of the command's own hold, and of the order's.
func (e *Engine) fund(b *book, o *order) (ofCommand, ofOrder exchange.Amount) {
	need, old, brought := e.need(b, o), bigInt(o.Held), bigInt(e.commandHeld())
	switch e.cfg.Funds {
	case FundsLedger:
		e.hold(b, o, sum(need, neg(old)))
		if need.Cmp(old) < 0 {
			return 0, amount(sum(old, neg(need)))
		}
	case FundsHeld:
		excess := sum(old, brought, neg(need))
		fromCommand := smaller(excess, brought)
		o.Held = amount(need)
		return amount(fromCommand), amount(sum(excess, neg(fromCommand)))
	}
	return 0, 0
}
