package exchange

import (
	"errors"
	"fmt"
	"math"
)

// MaxIcebergParts is the largest number of slices of an iceberg: its open
// quantity over its DisplayQty, rounded up. It bounds the trades that one
// resting order can cause.
const MaxIcebergParts = 1000

// unlimited lies beyond every coordinate of a level and before noLevel.
const unlimited = noLevel - 1

// MatcherConfig holds the settings of a Matcher, those of Config that are about
// one instrument; the zero value is good.
type MatcherConfig struct {
	DedupSpan  Time // how long a command id is remembered, in ns; 0: DefaultDedupSpan
	DedupCount int  // how many ids, 1 to MaxDedupCount; 0: DefaultDedupCount
	MaxOrders  int  // live orders, 1 to MaxOrdersMax; 0: DefaultMaxOrders
}

func (cfg *MatcherConfig) validate() error {
	return errors.Join(
		within("DedupSpan", int64(cfg.DedupSpan), math.MaxInt64),
		within("DedupCount", int64(cfg.DedupCount), MaxDedupCount),
		within("MaxOrders", int64(cfg.MaxOrders), MaxOrdersMax),
	)
}

// within checks a setting that has a default for 0.
func within(field string, v, most int64) error {
	if v < 0 || v > most {
		return fmt.Errorf("%w: %s %d: expected 0 to %d", ErrConfig, field, v, most)
	}
	return nil
}

// Matcher is the order book of one instrument with price-time matching, and
// without accounts, funds or limits per account: the Engine without its risk
// checks. It is not safe for concurrent use.
type Matcher struct {
	*core
	stream
	book Book

	state              InstrumentState
	killed             bool
	minPrice, maxPrice Price
	priceLimited       bool  // maxPrice was given by someone
	collarUp           int64 // millionths, -1: none
	collarDown         int64
	makerFee, takerFee FeeRate
	rebates            bool // a fee is or was negative

	nextOrder OrderID
	nextTrade TradeID
	maxOrders int

	elected []ref   // triggered orders whose turn has not come
	scratch []ref   // for mass cancels
	next    Command // what a command stands for: a replace for a new order
	slices  []slice // for dry runs

	config MatcherConfig

	risk  *risk // nil for a Matcher alone
	seats seats
}

// NewMatcher returns an empty book for the instrument. An error matches
// ErrConfig.
func NewMatcher(inst *Instrument, cfg MatcherConfig) (*Matcher, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if inst == nil {
		return nil, missing("Instrument")
	}
	m := &Matcher{core: &core{}}
	m.init(inst, cfg)
	return m, nil
}

// missing refuses a nil instrument.
func missing(field string) error {
	return fmt.Errorf("%w: %s nil: expected an instrument", ErrConfig, field)
}

func (m *Matcher) init(inst *Instrument, cfg MatcherConfig) {
	m.config, m.stream.id = cfg, inst.ID()
	m.stream.window.configure(cfg.DedupSpan, cfg.DedupCount)
	m.maxOrders = DefaultMaxOrders
	if cfg.MaxOrders > 0 {
		m.maxOrders = cfg.MaxOrders
	}
	m.book.init(inst, &m.stream.window)
	m.state = InstrumentTrading
	m.minPrice, m.maxPrice, m.priceLimited = inst.minPrice, inst.maxPrice, inst.maxPriceGiven
	m.collarUp, m.collarDown = -1, -1
	m.makerFee, m.takerFee = inst.makerFee, inst.takerFee
	m.rebates = m.makerFee < 0 || m.takerFee < 0
	m.nextOrder, m.nextTrade = 1, 1
}

// Apply applies a command and appends its events to dst. cmd is neither kept
// nor changed. It never fails: a refusal is an event (CMD-004).
func (m *Matcher) Apply(dst []Event, cmd *Command) []Event {
	m.out, m.kind = dst, cmd.Kind
	m.applyAlone(cmd)
	dst, m.out = m.out, nil
	return dst
}

func (m *Matcher) applyAlone(cmd *Command) {
	if !cmd.Kind.aboutOrder() || cmd.Instrument != m.id || cmd.Time < 0 {
		if cmd = m.examine(cmd); cmd == nil {
			return
		}
	}
	if !cmd.ID.zero() && !m.begin(m.core, cmd, &m.book) {
		return
	}
	before := m.now
	if cmd.Time > m.now {
		m.now = cmd.Time
		m.expire()
	}
	m.apply(cmd, before)
}

// examine looks closer at a command that is not plainly for this book. It
// returns the command to apply, nil when it has refused it.
func (m *Matcher) examine(cmd *Command) *Command {
	if cmd.Instrument == 0 { // all it has
		m.next = *cmd
		m.next.Instrument = m.id
		cmd = &m.next
	}
	reason := Reason(0)
	switch {
	case !cmd.Kind.valid() || !cmd.Kind.aboutOrder() && !cmd.Kind.matcherAlone(cmd):
		reason = InvalidKind
	case cmd.Time < 0:
		reason = InvalidTime
	case cmd.Instrument != m.id:
		reason = UnknownInstrument
	}
	if reason != 0 {
		m.reject(m.core, cmd, reason)
		return nil
	}
	return cmd
}

// apply applies a command of this instrument that has passed the steps up to
// the clock (CMD-001). before is the clock as it was.
func (m *Matcher) apply(cmd *Command, before Time) {
	var reason Reason
	switch cmd.Kind {
	case KindNewOrder:
		if !m.addPlain(cmd) {
			reason = m.newOrder(cmd)
		}
	case KindCancel:
		if !m.cancelPlain(cmd) {
			reason = m.cancel(cmd)
		}
	case KindReduce:
		reason = m.reduce(cmd)
	case KindAmend:
		if !m.amendPlain(cmd) {
			reason = m.amend(cmd)
		}
	case KindReplace:
		reason = m.replace(cmd)
	case KindMassCancel:
		reason = m.massCancel(cmd)
	case KindKill, KindLiftKill:
		reason = m.kill(cmd)
	case KindAdvanceTime:
		reason = m.advanceTime(cmd, before)
	case KindEndDay:
		m.endDay(cmd)
	case KindVoid:
		reason = m.void(cmd)
	default:
		reason = m.administer(cmd)
	}
	if reason != 0 {
		m.reject(m.core, cmd, reason)
	}
}

// enter brings an accepted or triggered order to the market: it trades what
// it can and rests, waits or ends. price is its limit or worst price, 0: none.
func (m *Matcher) enter(r ref, price Price) {
	b := &m.book
	n := b.node(r)
	typ, opp := n.typ(), b.ladder(n.side.Opposite())
	limit := int64(unlimited)
	if price != 0 {
		limit = opp.x(price)
	}
	at := price // where it rests
	if typ == MarketToLimit {
		if opp.best == 0 || opp.bestX > limit {
			m.end(r, n, EventCanceled, NoLiquidity, price)
			return
		}
		limit, at = opp.bestX, b.levels.at(opp.best).price
		if m.aboveMaxNotional(n, at, n.leaves) {
			m.end(r, n, EventCanceled, NotionalAboveMax, price)
			return
		}
	}
	if n.tif() == FOK && m.dryRun(r, n, limit, n.leaves) < n.leaves {
		m.end(r, n, EventCanceled, FillOrKill, price)
		return
	}
	if n.extra != 0 {
		if x := b.extras.at(n.extra); x.minQty > 0 {
			least := x.minQty
			x.minQty = 0
			if got := m.dryRun(r, n, limit, least); got > 0 && got < least {
				m.end(r, n, EventCanceled, MinQtyNotMet, price)
				return
			}
		}
	}
	var stopped Reason
	if opp.bestX <= limit {
		stopped = m.sweep(r, n, opp, limit, price)
	}
	m.finish(r, n, price, at, stopped)
}

// finish decides what becomes of an aggressor after its trades: price is its
// limit or worst price, at is where it rests.
func (m *Matcher) finish(r ref, n *node, price, at Price, stopped Reason) {
	switch typ := n.typ(); {
	case n.leaves == 0 && stopped == 0 && n.flags&flagUnsized == 0:
		m.drop(r, n) // filled: its last trade said so
	case stopped != 0:
		m.end(r, n, EventCanceled, stopped, price)
	case n.tif().immediate() || !typ.limited() && typ != MarketToLimit:
		m.end(r, n, EventCanceled, ImmediateRemainder, price)
	case typ == MarketToLimit:
		m.reprice(r, n, price, at)
	default:
		m.rest(r, n, at)
	}
}

// rest puts what is left of an order at the back of its price.
func (m *Matcher) rest(r ref, n *node, price Price) {
	if n.flags&flagIceberg != 0 {
		x := m.book.extras.at(n.extra)
		x.shown = min(x.display, n.leaves)
	}
	m.book.append(m.book.ladder(n.side), r, n, price)
	if n.flags&flagListed == 0 {
		m.book.list(r, n)
	}
}

// reprice turns what is left of a market-to-limit order into a limit order
// (MATCH-008).
func (m *Matcher) reprice(r ref, n *node, price, at Price) {
	if n.flags&flagBudget != 0 {
		t := m.book.tail(r, n)
		need, ok := m.book.inst.Need(&Terms{Side: Buy, Price: at, LeavesQty: n.leaves,
			MakerFee: t.makerFee, TakerFee: t.takerFee, FeeRemainder: n.feeRem})
		if !ok || need > m.book.extras.at(n.extra).funds {
			m.end(r, n, EventCanceled, FundsExhausted, price)
			return
		}
		n.flags &^= flagBudget
		m.book.extras.at(n.extra).funds = 0
	}
	n.kind = kindOf(Limit, n.tif())
	ev := m.event(m.core, EventRepriced)
	m.describe(ev, r, n)
	ev.Price, ev.LeavesQty = at, n.leaves
	if m.risk != nil {
		ev.Release = m.risk.cover(m, r, n, at)
	}
	m.rest(r, n, at)
}

// describe fills in whose order an event is about.
func (m *Matcher) describe(ev *Event, r ref, n *node) {
	ev.Account, ev.OrderID, ev.Side = n.account, n.id, n.side
	if n.flags&flagNamed != 0 {
		ev.ID = m.book.tail(r, n).cmd
	}
}

// sweep trades an aggressor against the opposite side, best price first, as
// far as limit (a coordinate). It returns why it stopped short with quantity
// and prices left, else 0.
func (m *Matcher) sweep(r ref, n *node, opp *ladder, limit int64, price Price) Reason {
	b := &m.book
	for n.leaves > 0 && opp.bestX <= limit {
		lv := b.levels.at(opp.best)
		mr := lv.head
		mk := b.node(mr)
		q := min(n.leaves, b.shown(mk))
		own := n.flags&flagSelfTrade != 0 && m.sameOwner(n, mk)
		if n.flags&flagBudget != 0 {
			q = min(q, affordable(b.inst, lv.price, b.extras.at(n.extra).funds, b.tail(r, n).takerFee, n.feeRem))
			if q == 0 {
				return FundsExhausted
			}
		}
		if own {
			if m.prevent(r, n, mr, mk, lv, q, price) {
				return BySelfTrade
			}
			continue
		}
		m.trade(r, n, mr, mk, lv, q, price)
	}
	return 0
}

// trade is where a trade is made: q lots between the aggressor r and the
// first order of the opposite best level, at that level's price (MATCH-002).
func (m *Matcher) trade(r ref, n *node, mr ref, mk *node, lv *level, q Qty, price Price) {
	b := &m.book
	px := lv.price
	b.takeBoth(n, mk, lv, q)
	ev := m.event(m.core, EventTrade)
	t, mt := b.tail(r, n), b.tail(mr, mk)
	ev.Side, ev.ID, ev.Account, ev.OrderID = n.side, t.cmd, n.account, n.id
	ev.MakerID, ev.MakerAccount, ev.MakerOrderID, ev.MakerLeavesQty = mt.cmd, mk.account, mk.id, mk.leaves
	if n.flags&flagUnsized == 0 {
		ev.LeavesQty = n.leaves
	}
	ev.TradeID, ev.Price, ev.Qty = m.nextTrade, px, q
	m.nextTrade++
	ev.Amount = Amount(px) * Amount(q) * b.inst.tickLot // NUM-003: within 2^60
	if m.risk != nil {
		m.risk.trade(m, ev, n, t, mk, mt, price)
	}
	if n.flags&flagBudget != 0 && !m.keepsFunds() {
		b.extras.at(n.extra).funds -= ev.Amount
	}
	b.last = px
	if b.rise.bestX <= int64(px) || b.fall.bestX <= -int64(px) {
		m.elect(px)
	}
	m.afterFill(mr, mk, q)
}

// afterFill settles what becomes of a maker that lost q lots: it is done, or
// an iceberg shows its next slice at the back (MATCH-009), or it keeps its
// place.
func (m *Matcher) afterFill(mr ref, mk *node, q Qty) {
	b := &m.book
	if mk.flags&flagIceberg != 0 {
		b.extras.at(mk.extra).shown -= q
	}
	if mk.leaves == 0 {
		b.unlink(b.ladder(mk.side), mr, mk)
		m.drop(mr, mk)
		return
	}
	if mk.flags&flagIceberg == 0 {
		return
	}
	x := b.extras.at(mk.extra)
	if x.shown > 0 {
		return
	}
	x.shown = min(x.display, mk.leaves)
	lv := b.levels.at(mk.level)
	lv.visible += x.shown
	b.toBack(mr, mk)
	ev := m.event(m.core, EventReplenished)
	m.describe(ev, mr, mk)
	ev.Price, ev.Qty, ev.LeavesQty = lv.price, x.shown, mk.leaves
}

// affordable returns how many lots at px a budget buys (MATCH-011). A rebate
// buys nothing: or else a budget of a few atoms could move any amount, and the
// rebates of one command would have no bound (FUNDS-009).
func affordable(inst *Instrument, px Price, funds Amount, rate FeeRate, rem int32) Qty {
	lot, ok := inst.notional(px, 1)
	if !ok {
		return 0
	}
	return Qty(spendable(funds, max(rate, 0), rem) / lot)
}

// keepsFunds reports whether orders have fees and holds.
func (m *Matcher) keepsFunds() bool { return m.risk != nil && m.risk.mode != FundsNone }

func (m *Matcher) sameOwner(n, mk *node) bool {
	return n.account == mk.account || n.group != 0 && n.group == mk.group
}

// prevent keeps the aggressor from trading with mr (STP-002 to STP-004) and
// reports whether that ends the aggressor. q is what they would have traded.
func (m *Matcher) prevent(r ref, n *node, mr ref, mk *node, lv *level, q Qty, price Price) bool {
	b := &m.book
	mode := n.selfTrade()
	ev := m.event(m.core, EventSelfTradePrevented)
	m.describe(ev, r, n)
	ev.MakerID, ev.MakerAccount, ev.MakerOrderID = b.tail(mr, mk).cmd, mk.account, mk.id
	ev.Price = lv.price
	if mode == Decrement {
		ev.Qty = q
		m.decrement(ev, r, n, mr, mk, lv, q, price)
	}
	if n.flags&flagUnsized == 0 {
		ev.LeavesQty = n.leaves
	}
	ev.MakerLeavesQty = mk.leaves
	switch {
	case mode == CancelOldest || mode == CancelBoth || mk.leaves == 0:
		px := lv.price
		b.unlink(b.ladder(mk.side), mr, mk)
		m.end(mr, mk, EventCanceled, BySelfTrade, px)
	case mode == Decrement:
		m.afterFill(mr, mk, q)
	}
	return mode == CancelNewest || mode == CancelBoth || n.leaves == 0
}

func (m *Matcher) decrement(ev *Event, r ref, n *node, mr ref, mk *node, lv *level, q Qty, price Price) {
	b := &m.book
	b.takeBoth(n, mk, lv, q)
	n.qty -= q
	mk.qty -= q
	if mk.leaves == 0 && mk.flags&flagIceberg != 0 {
		b.extras.at(mk.extra).shown -= q
	}
	if n.flags&flagBudget != 0 {
		b.extras.at(n.extra).funds -= Amount(lv.price) * Amount(q) * b.inst.tickLot
	}
	if m.risk != nil {
		ev.Release = m.risk.lessen(m, r, n, q, price)
		ev.MakerRelease = m.risk.lessen(m, mr, mk, q, lv.price)
	}
}

// end ends a live order that is in no queue and returns the event that says
// why. price is its limit or worst price.
func (m *Matcher) end(r ref, n *node, kind EventKind, reason Reason, price Price) *Event {
	ev := m.event(m.core, kind)
	m.describe(ev, r, n)
	ev.Reason, ev.Price = reason, price
	if n.flags&flagUnsized != 0 {
		ev.OrderQty = n.qty - n.leaves
	} else {
		ev.Qty, ev.OrderQty = n.leaves, n.qty
		m.book.open[n.side] -= n.leaves
	}
	if m.risk != nil {
		ev.Release = m.risk.end(m, r, n)
	}
	m.book.release(r, n)
	return ev
}

// drop forgets a filled order.
func (m *Matcher) drop(r ref, n *node) {
	if m.risk != nil {
		m.risk.filled(m, n)
	}
	m.book.release(r, n)
}

// cancelLive ends an order wherever it is.
func (m *Matcher) cancelLive(r ref, n *node, kind EventKind, reason Reason) *Event {
	price := m.priceOf(n)
	m.book.unlink(m.book.ladderOf(n), r, n)
	return m.end(r, n, kind, reason, price)
}

// priceOf returns the limit price of an order in a queue; of a waiting market
// type the worst price, 0: none.
func (m *Matcher) priceOf(n *node) Price {
	if n.flags&flagPending != 0 {
		return m.book.extras.at(n.extra).limit
	}
	return m.book.levels.at(n.level).price
}

// Book returns the order book for reading.
func (m *Matcher) Book() *Book { return &m.book }

// Clock returns the highest Time applied.
func (m *Matcher) Clock() Time { return m.now }

// Seq returns the sequence number of the last event.
func (m *Matcher) Seq() uint64 { return m.seq }
