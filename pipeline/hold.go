package pipeline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"github.com/castlecloud/exchange"
)

// terms is what the RiskChecker knows of an instrument.
type terms struct {
	in       *exchange.Instrument
	rate     exchange.FeeRate // the highest an order pays, 0 for a rebate
	minPrice exchange.Price
	maxPrice exchange.Price
	mostQty  exchange.Qty // of any order
	share    int64        // market protection, in millionths
}

func newTerms(in *exchange.Instrument, least exchange.FeeRate, share int64) (*terms, error) {
	spec := in.Spec()
	t := &terms{in: in, rate: max(least, 0), minPrice: 1, maxPrice: exchange.MaxPrice, mostQty: exchange.Qty(exchange.MaxAmount / in.BaseAmount(1)), share: share}
	maker, err := exchange.ParseFeeRate("MakerFee", spec.MakerFee)
	if err != nil {
		return nil, err
	}
	taker, err := exchange.ParseFeeRate("TakerFee", spec.TakerFee)
	if err != nil {
		return nil, err
	}
	t.rate = max(t.rate, maker, taker)
	if !spec.MinPrice.IsZero() {
		if t.minPrice, err = in.Price(spec.MinPrice); err != nil {
			return nil, err
		}
	}
	if !spec.MaxPrice.IsZero() {
		if t.maxPrice, err = in.Price(spec.MaxPrice); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// need returns what must be held for an order; 0 for one that is too large for
// any account, which the engine refuses whatever is held for it.
func (t *terms) need(side exchange.Side, price exchange.Price, qty exchange.Qty) exchange.Amount {
	if qty > t.mostQty || price < 0 {
		return 0
	}
	n, _ := t.in.Need(&exchange.Terms{Side: side, Price: price, LeavesQty: qty, MakerFee: t.rate, TakerFee: t.rate})
	return n
}

// base returns the base atoms of a quantity, 0 for one that is negative or too
// large for any order.
func (t *terms) base(qty exchange.Qty) exchange.Amount {
	if qty < 0 || qty > t.mostQty {
		return 0
	}
	return t.in.BaseAmount(qty)
}

// protected returns the worst price of an order that came without: from, moved
// against it by the protection's share, rounded to the worse, within the
// instrument's price limits.
func (t *terms) protected(side exchange.Side, from exchange.Price) exchange.Price {
	hi, lo := bits.Mul64(uint64(from), uint64(t.share))
	lo, carry := bits.Add64(lo, exchange.FeeRateUnit-1, 0)
	move, _ := bits.Div64(hi+carry, lo, exchange.FeeRateUnit) // share is at most 100 %, so no more than from
	if side == exchange.Buy {
		return min(from+exchange.Price(move), t.maxPrice)
	}
	return max(from-exchange.Price(move), t.minPrice)
}

// growth returns by how much the need of a buy grows with its price and open
// quantity, its fee included. Fees are rounded up once per order, and rounding
// up a difference gives no less than the difference of what was rounded up.
func (t *terms) growth(price exchange.Price, qty exchange.Qty, oldPrice exchange.Price, oldQty exchange.Qty) exchange.Amount {
	now, ok := t.in.Notional(price, qty)
	was, _ := t.in.Notional(oldPrice, oldQty)
	if !ok || now <= was {
		return 0
	}
	return now - was + t.fee(now-was)
}

// fee returns the fee of a notional, rounded up.
func (t *terms) fee(n exchange.Amount) exchange.Amount {
	const unit = exchange.FeeRateUnit
	rate := exchange.Amount(t.rate)
	return n/unit*rate + (n%unit*rate+unit-1)/unit
}

// further returns what a change of an order may need beyond what the order has:
// most, whatever is filled on the way, and least, when nothing is. gain is by
// how many lots the order grows. o is as it was when somebody looked; it may
// have been filled further since, but not been changed otherwise.
func (t *terms) further(cmd *exchange.Command, o *OrderRecord) (most, least exchange.Amount, gain exchange.Qty) {
	price, qty := cmd.Price, cmd.Qty
	if price == 0 {
		price = o.Price
	}
	if o.Funds > 0 && (o.Type == exchange.Stop || o.Type == exchange.TakeProfit) {
		return 0, 0, max(0, qty-o.OrderQty) // what it needs is its budget
	}
	if cmd.Kind == exchange.KindReplace {
		return t.replacing(price, qty, o)
	}
	if qty == 0 {
		qty = o.OrderQty
	}
	if qty > t.mostQty || qty <= o.CumQty { // refused, or canceled by it
		return 0, 0, 0
	}
	gain = max(0, qty-o.OrderQty)
	if o.Side == exchange.Sell {
		most = t.base(gain)
		return most, most, gain
	}
	// The need of both falls in a straight line with what is filled, so the
	// difference is largest at one end: now, or when one lot is left of either.
	least = t.growth(price, qty-o.CumQty, o.Price, o.LeavesQty)
	filled := min(qty, o.OrderQty) - 1
	return max(least, t.growth(price, qty-filled, o.Price, o.OrderQty-filled)), least, gain
}

// replacing is further for a replace. The new order is a whole one, to which
// the old order's hold brings what is left of it then: at least for one lot.
func (t *terms) replacing(price exchange.Price, qty exchange.Qty, o *OrderRecord) (most, least exchange.Amount, gain exchange.Qty) {
	asked := qty != 0
	if !asked {
		qty = o.LeavesQty
	}
	if qty > t.mostQty {
		return 0, 0, 0
	}
	gain = max(0, qty-o.LeavesQty)
	if o.Side == exchange.Sell {
		most, least = t.base(qty-1), t.base(gain)
	} else {
		most, least = t.renewed(price, qty, o.Price, 1), t.renewed(price, qty, o.Price, o.LeavesQty)
	}
	if !asked { // both shrink with what is filled
		return least, least, gain
	}
	return max(most, least), least, gain
}

// renewed is growth when the fee starts anew: the old order's may have been
// rounded up before, the new one's is rounded up once more.
func (t *terms) renewed(price exchange.Price, qty exchange.Qty, oldPrice exchange.Price, oldQty exchange.Qty) exchange.Amount {
	now, ok := t.in.Notional(price, qty)
	was, _ := t.in.Notional(oldPrice, oldQty)
	if !ok || now < was || t.rate == 0 {
		return t.growth(price, qty, oldPrice, oldQty)
	}
	return t.growth(price, qty, oldPrice, oldQty) + 1
}

// plan is what the RiskChecker holds for a command.
type plan struct {
	Hold
	least   exchange.Amount // with less the engine would surely refuse; at most Amount
	refused exchange.Reason // 0: none
}

// plan works out what must be held for a command. An error is the ports'.
func (c *RiskChecker) plan(ctx context.Context, t *terms, m *Message) (plan, error) {
	cmd := &m.Command
	request, err := digestOf(m)
	if err != nil {
		return plan{}, err
	}
	p := plan{Hold: Hold{ID: cmd.ID, Account: cmd.Account, Instrument: cmd.Instrument, Asset: t.in.Quote().ID,
		Time: cmd.Time, NewOrder: cmd.Kind == exchange.KindNewOrder, Request: request}}
	if cmd.Kind == exchange.KindNewOrder {
		err = c.planOrder(ctx, t, cmd, &p)
	} else {
		err = c.planChange(ctx, t, cmd, &p)
	}
	return p, err
}

// digestOf returns what tells one request from another: everything but when it
// was sent.
func digestOf(m *Message) ([16]byte, error) {
	asked := *m
	asked.Command.Time, asked.Command.Held = 0, 0
	var room [256]byte
	data, err := AppendMessage(room[:0], &asked)
	if err != nil {
		return [16]byte{}, err
	}
	sum := sha256.Sum256(data)
	return [16]byte(sum[:16]), nil
}

func (c *RiskChecker) planOrder(ctx context.Context, t *terms, cmd *exchange.Command, p *plan) error {
	if cmd.Side == exchange.Sell {
		p.Asset = t.in.Base().ID
	} else {
		p.GainAsset, p.Gain = t.in.Base().ID, t.base(cmd.Qty)
	}
	price := cmd.Price
	if budget := cmd.Side == exchange.Buy && cmd.Funds > 0; price == 0 && !limited(cmd.Type) {
		from := cmd.StopPrice
		// Where from is not the command's own it comes from the book. A budget
		// bounds what an order costs, but not what it brings.
		if !waits(cmd.Type) && (!budget || cmd.Qty == 0) {
			var err error
			if from, p.refused, err = c.oppositeBest(ctx, t, cmd.Side); err != nil {
				return err
			}
		}
		switch {
		case !budget && p.refused == 0:
			price = t.protected(cmd.Side, from)
			p.WorstPrice = price
		case budget:
			p.refused = 0
		}
		if budget && cmd.Qty == 0 && from > 0 {
			p.Gain = t.bought(cmd.Funds, from)
		}
	}
	if cmd.Side == exchange.Buy && cmd.Funds > 0 {
		p.Amount = cmd.Funds
	} else {
		p.Amount = t.need(cmd.Side, price, cmd.Qty)
	}
	p.least = p.Amount
	return nil
}

// bought returns the base atoms that funds buy at a price, at most what an
// order may be.
func (t *terms) bought(funds exchange.Amount, at exchange.Price) exchange.Amount {
	one, ok := t.in.Notional(at, 1)
	if !ok {
		return 0
	}
	return t.in.BaseAmount(min(exchange.Qty(funds/one), t.mostQty))
}

// oppositeBest returns the best price an order could trade at, as the book was
// last seen, or why there is none. A book store that fails is as good as one
// that knows nothing: whoever sends a market order wants an answer now.
func (c *RiskChecker) oppositeBest(ctx context.Context, t *terms, side exchange.Side) (exchange.Price, exchange.Reason, error) {
	d, err := c.books.Depth(ctx, t.in.ID())
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, 0, fmt.Errorf("reading the depth of instrument %d: %w", t.in.ID(), err)
	case err != nil:
		if !errors.Is(err, ErrNotFound) {
			c.metrics.Count(MetricDepthFailed, t.in.ID(), 1)
			c.logger.WarnContext(ctx, "no depth: orders without a price are refused", "instrument", t.in.ID(), "error", err)
		}
		return 0, exchange.NoReferencePrice, nil
	}
	levels := d.Asks
	if side == exchange.Sell {
		levels = d.Bids
	}
	if len(levels) == 0 {
		return 0, exchange.NoLiquidity, nil
	}
	return levels[0].Price, 0, nil
}

// planChange is for an amend or replace. When nobody knows the order, or it has
// ended, nothing is held, and the engine says what it makes of it.
func (c *RiskChecker) planChange(ctx context.Context, t *terms, cmd *exchange.Command, p *plan) error {
	if cmd.Price == 0 && cmd.Qty == 0 && cmd.Kind == exchange.KindAmend {
		return nil // a trigger price costs nothing
	}
	var o OrderRecord
	var err error
	if cmd.OrderID != 0 {
		o, err = c.orders.OrderByID(ctx, cmd.Instrument, cmd.OrderID)
	} else {
		o, err = c.orders.OrderByCommand(ctx, cmd.OrigID)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("looking up the order that command %x means: %w", cmd.ID, err)
	case o.Account != cmd.Account || o.Instrument != cmd.Instrument || !o.Status.Live() || cmd.Price < 0 || cmd.Qty < 0:
		return nil
	}
	most, least, gain := t.further(cmd, &o)
	p.Amount, p.least = most, least
	if o.Side == exchange.Sell {
		p.Asset = t.in.Base().ID
	} else {
		p.GainAsset, p.Gain = t.in.Base().ID, t.base(gain)
	}
	return nil
}
