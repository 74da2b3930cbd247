// Package reference is the exchange written down a second time, from
// docs/rules alone, as plainly as possible: sorted slices, maps, big integers,
// and a copy of everything where a rule asks what would happen. It gives the
// same events as the engine, field by field, and is what the engine is
// compared with. It is slow.
package reference

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

// The modes of funds, numbered as in package exchange.
const (
	FundsNone   = 1
	FundsLedger = 2
	FundsHeld   = 3
)

// What the Config's zero values stand for.
const (
	defaultDedupSpan   = exchange.Time(15 * 60 * 1_000_000_000)
	defaultDedupCount  = 65_536
	defaultMaxOrders   = 1 << 26
	defaultMaxAccounts = 1 << 24
	maxIcebergParts    = 1000
	defaultPosition    = 1 << 61
)

// Config is what an Engine is made from.
type Config struct {
	Funds       uint8 // ignored by a Matcher, which keeps none
	Instruments []*exchange.Instrument
	DedupSpan   exchange.Time
	DedupCount  int
	MaxOrders   int
	MaxAccounts int
	Faults      Fault
	Matcher     bool // the rules of a Matcher that stands alone: ADMIN-006
}

// Engine is the state of an exchange.
type Engine struct {
	cfg      Config
	clock    exchange.Time
	ids      []exchange.InstrumentID // ascending
	books    map[exchange.InstrumentID]*book
	streams  map[exchange.InstrumentID]*stream
	accounts map[exchange.AccountID]*account
	limits   map[limitKey]int64
	kills    map[pair]bool

	cmd *exchange.Command // being applied
	out []exchange.Event  // its events so far
}

type pair struct {
	inst exchange.InstrumentID
	acct exchange.AccountID
}

type limitKey struct {
	kind exchange.LimitKind
	pair
}

// stream is a sequence with its dedup window.
type stream struct {
	seq   uint64
	seen  []seenID      // oldest first
	floor exchange.Time // highest Time of an id forgotten because of the count
}

type seenID struct {
	id exchange.CommandID
	at exchange.Time
}

// account is what is known of an account.
type account struct {
	available, held map[exchange.AssetID]*big.Int
	net             map[exchange.InstrumentID]exchange.Qty
	state           exchange.AccountState
	windowOpen      bool
	windowStart     exchange.Time
	messages        int64
}

// book is an instrument.
type book struct {
	inst    *exchange.Instrument
	id      exchange.InstrumentID
	sides   [3][]*order // by Side, in priority order
	waiting []*order    // for their trigger, in order of arrival
	queue   []*order    // elected, in order of election
	live    map[exchange.OrderID]*order

	lastOrder exchange.OrderID
	lastTrade exchange.TradeID
	last, ref exchange.Price // 0: none
	state     exchange.InstrumentState

	makerFee, takerFee exchange.FeeRate
	rebates            bool // a rate is or was negative

	minPrice, maxPrice       exchange.Price
	maxPriceGiven            bool
	minQty, maxQty           exchange.Qty
	minNotional, maxNotional exchange.Amount
	tickLot, lotBase         *big.Int
}

// order is a live order.
type order struct {
	exchange.Order
	minQty      exchange.Qty
	shown       exchange.Qty // of an iceberg in the book
	byFunds     bool         // a market order without Qty
	room        exchange.Qty // what such an order may still buy
	budget      bool         // Funds bound it
	asLimit     bool         // has a limit price: by its type, or repriced
	noLiquidity bool         // the empty book ends it: it needs nothing
	done        bool
	fee         *big.Int // exact fee so far, in millionths
}

// New makes an Engine.
func New(cfg Config) *Engine {
	if cfg.Matcher {
		cfg.Funds = FundsNone
	}
	if cfg.DedupSpan == 0 {
		cfg.DedupSpan = defaultDedupSpan
	}
	if cfg.DedupCount == 0 {
		cfg.DedupCount = defaultDedupCount
	}
	if cfg.MaxOrders == 0 {
		cfg.MaxOrders = defaultMaxOrders
	}
	if cfg.MaxAccounts == 0 {
		cfg.MaxAccounts = defaultMaxAccounts
	}
	e := &Engine{
		cfg:      cfg,
		books:    map[exchange.InstrumentID]*book{},
		streams:  map[exchange.InstrumentID]*stream{0: {}},
		accounts: map[exchange.AccountID]*account{},
		limits:   map[limitKey]int64{},
		kills:    map[pair]bool{},
	}
	for _, inst := range cfg.Instruments {
		e.books[inst.ID()] = newBook(inst)
		e.streams[inst.ID()] = &stream{}
	}
	e.ids = slices.Sorted(maps.Keys(e.books))
	if cfg.Matcher { // ADMIN-006: one stream
		e.streams[0] = e.streams[e.ids[0]]
	}
	return e
}

func newBook(inst *exchange.Instrument) *book {
	spec := inst.Spec()
	steps := func(d, step decimal.Decimal, unset int64) int64 {
		if d.IsZero() {
			return unset
		}
		return d.Div(step).BigInt().Int64()
	}
	atom := decimal.New(1, -spec.Quote.Scale)
	rate := func(d decimal.Decimal) exchange.FeeRate {
		r, err := exchange.ParseFeeRate("fee", d)
		must(err == nil, "fee rate: %v", err)
		return r
	}
	tickLot, ok := inst.Notional(1, 1)
	must(ok, "tick × lot too large")
	lotBase := inst.BaseAmount(1)
	most := int64(exchange.MaxAmount / lotBase)
	b := &book{
		inst:          inst,
		id:            inst.ID(),
		live:          map[exchange.OrderID]*order{},
		state:         exchange.InstrumentTrading,
		makerFee:      rate(spec.MakerFee),
		takerFee:      rate(spec.TakerFee),
		minPrice:      exchange.Price(steps(spec.MinPrice, spec.Tick, 1)),
		maxPrice:      exchange.Price(steps(spec.MaxPrice, spec.Tick, int64(exchange.MaxPrice))),
		maxPriceGiven: !spec.MaxPrice.IsZero(),
		minQty:        exchange.Qty(steps(spec.MinQty, spec.Lot, 1)),
		maxQty:        exchange.Qty(steps(spec.MaxQty, spec.Lot, most)),
		minNotional:   exchange.Amount(steps(spec.MinNotional, atom, 0)),
		maxNotional:   exchange.Amount(steps(spec.MaxNotional, atom, int64(exchange.MaxAmount))),
		tickLot:       big.NewInt(int64(tickLot)),
		lotBase:       big.NewInt(int64(lotBase)),
	}
	b.rebates = b.makerFee < 0 || b.takerFee < 0
	return b
}

func must(ok bool, format string, args ...any) {
	if !ok {
		panic("reference: " + fmt.Sprintf(format, args...))
	}
}

// Apply applies cmd and appends its events to dst.
func (e *Engine) Apply(dst []exchange.Event, cmd *exchange.Command) []exchange.Event {
	c := *cmd
	if e.cfg.Matcher && c.Instrument == 0 { // ADMIN-006: its instrument is all it has
		c.Instrument = e.ids[0]
	}
	e.cmd, e.out = &c, nil
	e.apply()
	return append(dst, e.out...)
}

// apply is CMD-001.
func (e *Engine) apply() {
	cmd := e.cmd
	switch {
	case !e.kindKnown():
		e.reject(exchange.InvalidKind)
		return
	case cmd.Time < 0:
		e.reject(exchange.InvalidTime)
		return
	case !e.instrumentFits():
		e.reject(exchange.UnknownInstrument)
		return
	}
	s := e.streams[cmd.Instrument]
	e.forget(s)
	if cmd.ID != (exchange.CommandID{}) {
		if e.duplicate(s) {
			inst := cmd.Instrument
			if e.cfg.Matcher {
				inst = e.ids[0]
			}
			e.out = append(e.out, exchange.Event{Kind: exchange.EventDuplicate, Command: cmd.Kind, Instrument: inst,
				Time: e.clock, ID: cmd.ID, Account: cmd.Account, Reason: exchange.DuplicateCommand})
			return
		}
		if cmd.Time != 0 && (cmd.Time < e.clock-e.cfg.DedupSpan || cmd.Time <= s.floor) {
			e.reject(exchange.StaleCommand)
			return
		}
	}
	if cmd.Time > e.clock {
		e.clock = cmd.Time
		e.expireDue()
	}
	if reason := e.perform(); reason != 0 {
		e.reject(reason)
	}
	if cmd.ID != (exchange.CommandID{}) {
		e.remember(s)
	}
}

func (e *Engine) kindKnown() bool {
	cmd := e.cmd
	if cmd.Kind < exchange.KindNewOrder || cmd.Kind > exchange.KindVoid {
		return false
	}
	if !e.cfg.Matcher {
		return true
	}
	switch cmd.Kind { // ADMIN-006
	case exchange.KindDeposit, exchange.KindWithdraw, exchange.KindAccountState:
		return false
	case exchange.KindKill, exchange.KindLiftKill:
		return cmd.Account == 0
	case exchange.KindLimit:
		return cmd.Limit >= exchange.LimitMinPrice && cmd.Limit <= exchange.LimitCollarDown
	}
	return true
}

// instrumentFits is CMD-002.
func (e *Engine) instrumentFits() bool {
	_, known := e.books[e.cmd.Instrument]
	switch e.cmd.Kind {
	case exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill, exchange.KindAdvanceTime, exchange.KindEndDay, exchange.KindLimit:
		return known || e.cmd.Instrument == 0
	case exchange.KindDeposit, exchange.KindWithdraw, exchange.KindAccountState:
		return e.cmd.Instrument == 0
	}
	return known
}

// duplicate is DEDUP-001.
func (e *Engine) duplicate(s *stream) bool {
	for _, seen := range s.seen {
		if seen.id == e.cmd.ID {
			return true
		}
	}
	b := e.books[e.cmd.Instrument]
	if e.cfg.Matcher {
		b = e.books[e.ids[0]]
	}
	return b != nil && e.cfg.Faults != DuplicateLiveID && b.byCommand(e.cmd.ID) != nil
}

// remember and forget are DEDUP-002.
func (e *Engine) remember(s *stream) {
	s.seen = append(s.seen, seenID{e.cmd.ID, e.cmd.Time})
	e.forget(s)
	for len(s.seen) > e.cfg.DedupCount {
		s.floor = max(s.floor, s.seen[0].at)
		s.seen = s.seen[1:]
	}
	e.forget(s)
}

func (e *Engine) forget(s *stream) {
	for len(s.seen) > 0 && s.seen[0].at < e.clock-e.cfg.DedupSpan {
		s.seen = s.seen[1:]
	}
}

// emit appends ev to the events, as the next of an instrument's stream.
func (e *Engine) emit(inst exchange.InstrumentID, ev exchange.Event) {
	if e.cfg.Matcher {
		inst = e.ids[0]
	}
	s := e.streams[inst]
	s.seq++
	ev.Command, ev.Instrument, ev.Seq, ev.Time = e.cmd.Kind, inst, s.seq, e.clock
	e.out = append(e.out, ev)
}

// answer emits the event that is about the command, not an order.
func (e *Engine) answer(ev exchange.Event) {
	ev.ID = e.cmd.ID
	e.emit(e.cmd.Instrument, ev)
}

// reject is CMD-003.
func (e *Engine) reject(reason exchange.Reason) {
	cmd := e.cmd
	ev := exchange.Event{Kind: exchange.EventRejected, Reason: reason, ID: cmd.ID, Account: cmd.Account}
	switch cmd.Kind {
	case exchange.KindCancel, exchange.KindReduce, exchange.KindAmend, exchange.KindReplace:
		ev.OrderID = cmd.OrderID
	}
	ev.Release = e.commandHeld()
	inst := cmd.Instrument
	if _, known := e.streams[inst]; !known {
		inst = 0
	}
	e.emit(inst, ev)
}

// commandHeld is what the command itself brings.
func (e *Engine) commandHeld() exchange.Amount {
	if e.cfg.Funds != FundsHeld {
		return 0
	}
	switch e.cmd.Kind {
	case exchange.KindNewOrder, exchange.KindAmend, exchange.KindReplace, exchange.KindVoid:
		return max(e.cmd.Held, 0)
	}
	return 0
}

// expireDue is TIME-002.
func (e *Engine) expireDue() {
	for _, id := range e.ids {
		b := e.books[id]
		var due []*order
		for _, o := range b.byID() {
			if o.Expire != 0 && o.Expire <= e.clock {
				due = append(due, o)
			}
		}
		slices.SortStableFunc(due, func(x, y *order) int { return int(min(max(x.Expire-y.Expire, -1), 1)) })
		for _, o := range due {
			e.end(b, o, exchange.EventExpired, exchange.ByExpire, 0, 0)
		}
	}
}

// perform does what a kind of command does, or says why not.
func (e *Engine) perform() exchange.Reason {
	switch e.cmd.Kind {
	case exchange.KindNewOrder:
		return e.newOrder()
	case exchange.KindCancel:
		return e.cancel()
	case exchange.KindReduce:
		return e.reduce()
	case exchange.KindAmend:
		return e.amend()
	case exchange.KindReplace:
		return e.replace()
	case exchange.KindMassCancel:
		return e.massCancel()
	case exchange.KindKill:
		return e.kill()
	case exchange.KindLiftKill:
		delete(e.kills, pair{e.cmd.Instrument, e.cmd.Account})
		e.answer(exchange.Event{Kind: exchange.EventKillLifted, Account: e.cmd.Account})
		return 0
	case exchange.KindAdvanceTime:
		return e.advanceTime()
	case exchange.KindEndDay:
		return e.endDay()
	case exchange.KindReferencePrice:
		return e.setReferencePrice()
	case exchange.KindLastPrice:
		return e.setLastPrice()
	case exchange.KindDeposit, exchange.KindWithdraw:
		return e.moveFunds()
	case exchange.KindLimit:
		return e.setLimit()
	case exchange.KindFees:
		return e.setFees()
	case exchange.KindAccountState:
		return e.setAccountState()
	case exchange.KindVoid:
		return e.void()
	}
	return e.setInstrumentState()
}

// byID lists the live orders by OrderID.
func (b *book) byID() []*order {
	var all []*order
	for _, id := range slices.Sorted(maps.Keys(b.live)) {
		all = append(all, b.live[id])
	}
	return all
}

func (b *book) byCommand(id exchange.CommandID) *order {
	if id == (exchange.CommandID{}) {
		return nil
	}
	var found *order
	for _, o := range b.live {
		if o.CommandID == id && (found == nil || o.ID < found.ID) {
			found = o
		}
	}
	return found
}

// best returns the first order of a side.
func (b *book) best(side exchange.Side) *order {
	if len(b.sides[side]) == 0 {
		return nil
	}
	return b.sides[side][0]
}

func without(orders []*order, o *order) []*order {
	return slices.DeleteFunc(orders, func(x *order) bool { return x == o })
}

// account returns the account, made when it is new.
func (e *Engine) account(id exchange.AccountID) *account {
	a := e.accounts[id]
	if a == nil {
		a = &account{available: map[exchange.AssetID]*big.Int{}, held: map[exchange.AssetID]*big.Int{},
			net: map[exchange.InstrumentID]exchange.Qty{}, state: exchange.AccountActive}
		e.accounts[id] = a
	}
	return a
}

// hasRoom reports whether an account is known or may become so.
func (e *Engine) hasRoom(id exchange.AccountID) bool {
	if _, known := e.accounts[id]; known || id == 0 || e.cfg.Matcher {
		return true
	}
	known := len(e.accounts)
	if _, venue := e.accounts[0]; venue {
		known--
	}
	return known < e.cfg.MaxAccounts
}
