package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

// The one instrument of a case and its assets.
const (
	instrumentID exchange.InstrumentID = 1
	baseID       exchange.AssetID      = 1
	quoteID      exchange.AssetID      = 2
)

// player takes the steps of a case to an engine and notes what comes of them.
type player struct {
	inst   *exchange.Instrument
	engine *exchange.Engine
	events []exchange.Event
	out    *outcome

	accounts map[string]exchange.AccountID
	orders   map[text]order // the newest accepted order of each id
}

type order struct {
	id      exchange.OrderID
	account exchange.AccountID
}

// ops are the steps the engine can take.
var ops = map[string]func(*player, *step) error{
	"add":         (*player).add,
	"amend":       (*player).amend,
	"reduce":      (*player).reduce,
	"cancel":      (*player).cancel,
	"replace":     (*player).replace,
	"mass_cancel": (*player).massCancel,
	"time":        (*player).advanceTime,
}

// errRefused says that no command can carry a number of the step: it is off
// the grid, negative, too large or no number. The step counts as rejected.
var errRefused = errors.New("refused at the decimal edge")

// play runs a case. An error means that the case itself makes no sense.
func play(c *testCase) (*outcome, error) {
	p, err := newPlayer(&c.Instrument)
	if err != nil {
		return nil, fmt.Errorf("instrument: %w", err)
	}
	for i := range c.Steps {
		s := &c.Steps[i]
		switch err := ops[s.Op](p, s); {
		case errors.Is(err, errRefused):
			p.out.refuse(s)
		case err != nil:
			return nil, fmt.Errorf("step %d, %s: %w", i+1, s.Op, err)
		}
	}
	return p.out, nil
}

func newPlayer(in *instrument) (*player, error) {
	inst, err := newInstrument(in)
	if err != nil {
		return nil, err
	}
	engine, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsNone, Instruments: []*exchange.Instrument{inst}})
	if err != nil {
		return nil, err
	}
	p := &player{
		inst: inst, engine: engine, out: newOutcome(inst, engine.Book(instrumentID)),
		accounts: make(map[string]exchange.AccountID), orders: make(map[text]order),
	}
	if in.RefPrice != "" {
		px, err := inst.ParsePrice(string(in.RefPrice))
		if err != nil {
			return nil, fmt.Errorf("ref_price: %w", err)
		}
		p.apply(&step{}, exchange.SetReferencePrice(instrumentID, px))
	}
	if in.Last != "" {
		px, err := inst.ParsePrice(string(in.Last))
		if err != nil {
			return nil, fmt.Errorf("last: %w", err)
		}
		p.apply(&step{}, exchange.SetLastPrice(instrumentID, px))
	}
	return p, nil
}

// newInstrument makes an instrument whose assets have just the decimals that
// its tick and lot need.
func newInstrument(in *instrument) (*exchange.Instrument, error) {
	tick, err := exchange.ParseDecimal("tick", string(in.Tick))
	if err != nil {
		return nil, err
	}
	lot, err := exchange.ParseDecimal("lot", string(in.Lot))
	if err != nil {
		return nil, err
	}
	return exchange.NewInstrument(exchange.InstrumentSpec{
		ID: instrumentID, Symbol: "CASE", Tick: tick, Lot: lot,
		Base:  exchange.Asset{ID: baseID, Code: "BASE", Scale: decimals(lot)},
		Quote: exchange.Asset{ID: quoteID, Code: "QUOTE", Scale: decimals(tick.Mul(lot))},
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

func (p *player) add(s *step) error {
	side, ok := bookSides[s.Side]
	switch {
	case s.ID == "":
		return errors.New("id is missing")
	case !ok:
		return fmt.Errorf("side %q: expected buy or sell", s.Side)
	}
	expire, err := timeOf("expire", s.Expire)
	if err != nil {
		return err
	}
	n := numbers{inst: p.inst}
	cmd := exchange.Command{
		Kind: exchange.KindNewOrder, ID: commandID(s.ID), Account: p.accountOf(s), Side: side, Type: orderTypes[s.Type],
		TimeInForce: timesInForce[s.timeInForce()], SelfTrade: selfTrades[s.STP], PostOnly: postOnlys[s.PostOnly], Hidden: s.Hidden,
		Price: n.price(s.Price), StopPrice: n.price(s.Stop), Qty: n.qty(s.Qty),
		DisplayQty: n.qty(s.Display), MinQty: n.qty(s.MinQty), Expire: expire,
	}
	if s.MaxSlippage != "" {
		cmd.PriceIsDistance, cmd.Price = true, n.ticksWithin(s.MaxSlippage)
	}
	if n.refused {
		return errRefused
	}
	return p.apply(s, cmd)
}

func (p *player) amend(s *step) error {
	cmd, err := p.change(s, exchange.KindAmend)
	if err != nil {
		return err
	}
	if s.QtyMeans == "leaves" {
		// An order that is unknown is refused whatever the total.
		o, _ := p.engine.Book(instrumentID).Order(cmd.OrderID)
		cmd.Qty += o.CumQty
	}
	if s.Qty != "" && cmd.Qty == 0 {
		// A total of zero is at or below what is executed, which ends the
		// order; in an amend command zero would keep the old one.
		cmd.Kind, cmd.Price, cmd.StopPrice = exchange.KindCancel, 0, 0
	}
	return p.apply(s, cmd)
}

func (p *player) reduce(s *step) error {
	cmd, err := p.change(s, exchange.KindReduce)
	if err != nil {
		return err
	}
	return p.apply(s, cmd)
}

func (p *player) cancel(s *step) error {
	cmd, err := p.change(&step{ID: s.ID, User: s.User}, exchange.KindCancel)
	if err != nil {
		return err
	}
	return p.apply(s, cmd)
}

func (p *player) replace(s *step) error {
	cmd, err := p.change(s, exchange.KindReplace)
	if err != nil {
		return err
	}
	if s.Qty != "" && cmd.Qty == 0 {
		return errRefused // in the command it would take the old quantity
	}
	if s.NewID != "" && s.NewID != s.ID {
		cmd.ID = commandID(s.NewID)
	}
	return p.apply(s, cmd)
}

// change makes a command that means the order a step names. An id that was
// never accepted is passed on as it is, for the engine to refuse.
func (p *player) change(s *step, kind exchange.CommandKind) (exchange.Command, error) {
	if s.ID == "" {
		return exchange.Command{}, errors.New("id is missing")
	}
	if s.QtyMeans != "" && s.QtyMeans != "total" && s.QtyMeans != "leaves" {
		return exchange.Command{}, fmt.Errorf("qty_means %q: expected total or leaves", s.QtyMeans)
	}
	n := numbers{inst: p.inst}
	cmd := exchange.Command{Kind: kind, Account: p.accountOf(s), Price: n.price(s.Price), StopPrice: n.price(s.Stop), Qty: n.qty(s.Qty)}
	// Zero in a command keeps the old price, which is not what it says here.
	if n.refused || s.Price != "" && cmd.Price == 0 || s.Stop != "" && cmd.StopPrice == 0 {
		return exchange.Command{}, errRefused
	}
	if o, ok := p.orders[s.ID]; ok {
		cmd.OrderID = o.id
	} else {
		cmd.OrigID = commandID(s.ID)
	}
	return cmd, nil
}

func (p *player) massCancel(s *step) error {
	cmd := exchange.Command{Kind: exchange.KindMassCancel}
	if s.User != "" {
		cmd.Account = p.account("user " + string(s.User))
	}
	if s.Side != "" {
		side, ok := bookSides[s.Side]
		if !ok {
			return fmt.Errorf("side %q: expected buy or sell", s.Side)
		}
		cmd.Side = side
	}
	return p.apply(s, cmd)
}

func (p *player) advanceTime(s *step) error {
	now, err := timeOf("now", s.Now)
	if err != nil {
		return err
	}
	return p.apply(&step{}, exchange.AdvanceTime(instrumentID, now))
}

// apply runs a command and notes its events. The order it creates, if any, is
// from then on what the step's id means.
func (p *player) apply(s *step, cmd exchange.Command) error {
	cmd.Instrument = instrumentID
	if s.At != "" {
		at, err := timeOf("at", s.At)
		if err != nil {
			return err
		}
		cmd.Time = at
	}
	p.events = p.engine.Apply(p.events[:0], &cmd)
	for i := range p.events {
		ev := &p.events[i]
		if ev.Kind == exchange.EventAccepted {
			p.orders[s.newest()] = order{ev.OrderID, ev.Account}
			p.out.ids[ev.OrderID] = s.newest()
		}
		p.out.note(ev)
	}
	if _, refused := exchange.Rejected(p.events); refused {
		p.out.refuse(s)
	}
	return nil
}

// newest is the id of the order that the step creates.
func (s *step) newest() text {
	if s.NewID != "" {
		return s.NewID
	}
	return s.ID
}

// accountOf returns the account a step acts for: its user's, else that of the
// order it changes, else one that belongs to this id alone.
func (p *player) accountOf(s *step) exchange.AccountID {
	if s.User != "" {
		return p.account("user " + string(s.User))
	}
	if o, ok := p.orders[s.ID]; ok && s.Op != "add" {
		return o.account
	}
	return p.account("order " + string(s.ID))
}

// account numbers accounts from 1 as they come.
func (p *player) account(name string) exchange.AccountID {
	id, ok := p.accounts[name]
	if !ok {
		id = exchange.AccountID(len(p.accounts) + 1)
		p.accounts[name] = id
	}
	return id
}

// commandID derives the engine's id from the case's, so that the engine sees
// an id that comes twice.
func commandID(id text) exchange.CommandID {
	sum := sha256.Sum256([]byte(id))
	return exchange.CommandID(sum[:16])
}

func timeOf(field string, t text) (exchange.Time, error) {
	if t == "" && field == "expire" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %q: expected a whole number", field, t)
	}
	return exchange.Time(n), nil
}

// timeInForce returns the step's, or what goes without saying.
func (s *step) timeInForce() string {
	switch {
	case s.TIF != "":
		return strings.ToUpper(s.TIF)
	case s.Type == "market":
		return "IOC"
	}
	return "GTC"
}

// numbers converts decimals to steps of the instrument. Absent and zero are 0,
// which the engine judges; what has no such number is refused.
type numbers struct {
	inst    *exchange.Instrument
	refused bool
}

func (n *numbers) price(t text) exchange.Price { return convert(n, t, n.inst.Price) }
func (n *numbers) qty(t text) exchange.Qty     { return convert(n, t, n.inst.Qty) }

func convert[T exchange.Price | exchange.Qty](n *numbers, t text, to func(decimal.Decimal) (T, error)) T {
	d, ok := n.decimal(t)
	if !ok || d.IsZero() {
		return 0
	}
	value, err := to(d)
	n.refused = n.refused || err != nil
	return value
}

// ticksWithin returns how many whole ticks a distance holds.
func (n *numbers) ticksWithin(t text) exchange.Price {
	d, ok := n.decimal(t)
	if !ok || d.Sign() < 0 {
		n.refused = true
		return 0
	}
	ticks, _ := d.QuoRem(n.inst.Spec().Tick, 0)
	most := decimal.NewFromInt(int64(exchange.MaxPrice))
	return exchange.Price(decimal.Min(ticks, most).IntPart())
}

func (n *numbers) decimal(t text) (d decimal.Decimal, ok bool) {
	if t == "" {
		return d, false
	}
	d, err := exchange.ParseDecimal("number", string(t))
	n.refused = n.refused || err != nil
	return d, err == nil
}
