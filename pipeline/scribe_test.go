package pipeline_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// What the tests of the consumers have in common: a scribe, who commits what an
// engine says, and drawn commands.

// scribe applies commands to the engine of one instrument and commits them.
type scribe struct {
	t       require.TestingT
	in      *exchange.Instrument
	engine  *exchange.Engine
	journal *memory.Journal
	log     *pipeline.Log
	head    pipeline.Head
	entries []pipeline.Entry // applied, not committed
	before  [3][]exchange.Level
}

const (
	scribeDedupCount = 60
	scribeDedupSpan  = 120
)

// scribeInstrument has small numbers and fees that round, with a rebate.
func scribeInstrument(t require.TestingT, id exchange.InstrumentID) *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: id, Symbol: fmt.Sprintf("B%d-USD", id), Base: exchange.Asset{ID: exchange.AssetID(id), Code: fmt.Sprintf("B%d", id), Scale: 2},
		Quote: exchange.Asset{ID: 100, Code: "USD", Scale: 3},
		Tick:  decimal.RequireFromString("0.1"), Lot: decimal.RequireFromString("0.01"),
		MinPrice: decimal.RequireFromString("8"), MaxPrice: decimal.RequireFromString("12"), MaxQty: decimal.RequireFromString("0.6"),
		MakerFee: decimal.RequireFromString("-0.0125"), TakerFee: decimal.RequireFromString("0.033"),
	})
	require.NoError(t, err)
	return in
}

func scribeConfig(mode exchange.Funds, in *exchange.Instrument) exchange.Config {
	return exchange.Config{Funds: mode, Instruments: []*exchange.Instrument{in}, DedupCount: scribeDedupCount, DedupSpan: scribeDedupSpan, MaxOrders: 18}
}

func newScribe(t require.TestingT, in *exchange.Instrument, mode exchange.Funds) *scribe {
	e, err := exchange.NewEngine(scribeConfig(mode, in))
	require.NoError(t, err)
	j := memory.NewJournal()
	return &scribe{t: t, in: in, engine: e, journal: j, log: pipeline.NewLog(j)}
}

// apply applies a command and keeps it for the next batch, unless it was a
// duplicate.
func (s *scribe) apply(m pipeline.Message) []exchange.Event {
	events := s.engine.Apply(nil, &m.Command)
	if events[0].Kind != exchange.EventDuplicate {
		s.entries = append(s.entries, pipeline.Entry{Message: m, Events: events})
	}
	return events
}

// commit commits what was applied; ok is false when that is nothing.
func (s *scribe) commit() (c pipeline.Committed, ok bool) {
	if len(s.entries) == 0 {
		return c, false
	}
	b := &pipeline.Batch{Instrument: s.in.ID(), Rules: pipeline.CurrentRules, Entries: s.entries}
	for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
		after := s.engine.Book(s.in.ID()).Levels(nil, side, 0)
		b.Levels = append(b.Levels, changedLevels(side, s.before[side], after)...)
		s.before[side] = after
	}
	b.Checksum = pipeline.BookChecksum(s.in, s.before[exchange.Buy], s.before[exchange.Sell])
	c, err := s.log.Append(context.Background(), s.head, b)
	require.NoError(s.t, err)
	s.head, s.entries = c.Head(), nil
	return c, true
}

// book commits each message as an item of its own.
func (s *scribe) each(messages ...pipeline.Message) {
	for _, m := range messages {
		s.apply(m)
		s.commit()
	}
}

func (s *scribe) notice() pipeline.Notice {
	return pipeline.Notice{Instrument: s.in.ID(), Position: s.head.Position}
}

// items returns the whole journal, read by a Log that has nothing at hand.
func (s *scribe) items() []pipeline.Committed {
	var all []pipeline.Committed
	log := pipeline.NewLog(s.journal)
	for {
		items, err := log.Read(context.Background(), s.in.ID(), pipeline.Position(len(all)+1), pipeline.MaxReadItems)
		require.NoError(s.t, err)
		if len(items) == 0 {
			return all
		}
		all = append(all, items...)
	}
}

// orders returns the live orders.
func (s *scribe) orders() []exchange.Order {
	b := s.engine.Book(s.in.ID())
	return b.Pending(b.Orders(b.Orders(nil, exchange.Buy, 0), exchange.Sell, 0))
}

func changedLevels(side exchange.Side, before, after []exchange.Level) []pipeline.LevelChange {
	var out []pipeline.LevelChange
	for _, l := range after {
		if !slices.Contains(before, l) {
			out = append(out, pipeline.LevelChange{Side: side, Level: l})
		}
	}
	for _, l := range before {
		if !slices.ContainsFunc(after, func(a exchange.Level) bool { return a.Price == l.Price }) {
			out = append(out, pipeline.LevelChange{Side: side, Level: exchange.Level{Price: l.Price}})
		}
	}
	slices.SortFunc(out, func(a, b pipeline.LevelChange) int { return cmp.Compare(a.Price, b.Price) })
	return out
}

// scribeID returns the id of the n-th command.
func scribeID(n int) (id exchange.CommandID) {
	binary.BigEndian.PutUint64(id[:], uint64(n)*0x9e3779b97f4a7c15) // spread
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// drawer draws commands for a scribe, sensible and hostile ones: close to each
// other in price, all kinds and fields, late, repeated, of the wrong account,
// with values at and beyond every edge.
type drawer struct {
	pick func(n int) int
	s    *scribe
	now  exchange.Time
	n    int // ids given
	sent []pipeline.Message
	undo []exchange.Command // what lets refused orders in again
}

const drawnAccounts = 4

func (d *drawer) one(of int) bool { return d.pick(of) == 0 }

func (d *drawer) account() exchange.AccountID { return exchange.AccountID(1 + d.pick(drawnAccounts)) }

func (d *drawer) price() exchange.Price { return exchange.Price(95 + d.pick(11)) }

// message draws a command; again is set for one that was sent before, to the
// letter.
func (d *drawer) message() (m pipeline.Message, again bool) {
	if len(d.sent) > 0 && d.one(20) {
		return d.sent[d.pick(len(d.sent))], true
	}
	c := d.command()
	if d.one(30) {
		d.spoil(&c)
	}
	d.n++
	c.ID = scribeID(d.n)
	d.now += exchange.Time(d.pick(6))
	c.Time = d.now
	if d.one(10) {
		c.Time = max(1, c.Time-exchange.Time(d.pick(150)))
	}
	m = pipeline.Message{Command: c}
	if d.one(2) {
		m.ClientID = fmt.Sprintf("mine-%d", d.n)
	}
	return m, false
}

func (d *drawer) command() exchange.Command {
	if n := len(d.undo); n > 0 && d.one(10) {
		c := d.undo[n-1]
		d.undo = d.undo[:n-1]
		return c
	}
	switch n := d.pick(100); {
	case n < 60:
		return d.order()
	case n < 88:
		return d.change()
	}
	return d.admin()
}

func (d *drawer) order() exchange.Command {
	inst, acct := d.s.in.ID(), d.account()
	side, qty := exchange.Side(1+d.pick(2)), exchange.Qty(1+d.pick(20))
	px, stop := d.price(), d.price()
	var c exchange.Command
	switch n := d.pick(20); {
	case n < 11:
		c = exchange.LimitOrder(inst, acct, side, px, qty)
	case n < 13:
		c = exchange.MarketOrder(inst, acct, side, qty)
	case n < 14:
		c = exchange.MarketOrderByFunds(inst, acct, exchange.Amount(1+d.pick(60_000)))
	case n < 15:
		c = exchange.MarketToLimitOrder(inst, acct, side, qty)
	case n < 16:
		c = exchange.StopOrder(inst, acct, side, stop, qty)
	case n < 18:
		c = exchange.StopLimitOrder(inst, acct, side, stop, px, qty)
	case n < 19:
		c = exchange.TakeProfitOrder(inst, acct, side, stop, qty)
	default:
		c = exchange.TakeProfitLimitOrder(inst, acct, side, stop, px, qty)
	}
	d.decorate(&c)
	return c
}

func (d *drawer) decorate(c *exchange.Command) {
	limited := c.Type == exchange.Limit || c.Type == exchange.StopLimit || c.Type == exchange.TakeProfitLimit
	if !limited {
		if d.one(2) {
			c.Price = d.price()
			if d.one(3) && c.Type <= exchange.MarketToLimit {
				c.PriceIsDistance, c.Price = true, exchange.Price(d.pick(5))
			}
		}
		if c.Side == exchange.Buy && d.one(3) {
			c.Funds = exchange.Amount(1 + d.pick(60_000))
		}
	}
	switch d.pick(12) {
	case 0, 1:
		c.TimeInForce = exchange.IOC
	case 2:
		c.TimeInForce = exchange.FOK
	case 3:
		c.TimeInForce = exchange.Day
	case 4, 5:
		c.TimeInForce, c.Expire = exchange.GTD, d.now+exchange.Time(1+d.pick(60))
	}
	limited = limited && c.TimeInForce != exchange.IOC && c.TimeInForce != exchange.FOK
	if d.one(2) {
		c.SelfTrade = exchange.SelfTradePrevention(d.pick(5))
	}
	if d.one(4) {
		c.Group = uint32(d.pick(3))
	}
	if d.one(8) {
		c.MinQty = exchange.Qty(1 + d.pick(int(max(c.Qty, 1))))
	}
	if limited && d.one(3) {
		c.DisplayQty = exchange.Qty(1 + d.pick(int(c.Qty)))
	}
	if limited && d.one(8) {
		c.Hidden, c.DisplayQty = true, 0
	}
	if limited && d.one(6) {
		c.PostOnly, c.MinQty = exchange.PostOnly(1+d.pick(2)), 0
	}
}

func (d *drawer) change() exchange.Command {
	inst, acct, id := d.s.in.ID(), d.account(), exchange.OrderID(1+d.pick(200))
	px, qty := exchange.Price(0), exchange.Qty(0)
	if d.one(2) {
		px = d.price()
	}
	if !d.one(3) {
		qty = exchange.Qty(d.pick(25))
	}
	var orig exchange.CommandID
	if live := d.s.orders(); len(live) > 0 && !d.one(8) {
		o := live[d.pick(len(live))]
		id, acct, orig = o.ID, o.Account, o.CommandID
		if qty > 0 && d.one(2) {
			qty = max(0, o.OrderQty+exchange.Qty(d.pick(7)-4))
		}
	}
	var c exchange.Command
	switch n := d.pick(20); {
	case n < 6:
		c = exchange.Cancel(inst, acct, id)
	case n < 9:
		c = exchange.Reduce(inst, acct, id, qty)
	case n < 16:
		c = exchange.Amend(inst, acct, id, px, qty)
	default:
		c = exchange.Replace(inst, acct, id, px, qty)
	}
	if d.one(4) {
		c.OrderID, c.OrigID = 0, orig
	}
	if c.Kind >= exchange.KindAmend && d.one(4) {
		c.StopPrice = d.price()
	}
	return c
}

func (d *drawer) admin() exchange.Command {
	inst, acct := d.s.in.ID(), d.account()
	if d.one(4) {
		acct = 0
	}
	switch d.pick(12) {
	case 0:
		c := exchange.MassCancel(inst, acct)
		c.Side = exchange.Side(d.pick(3))
		return c
	case 1:
		d.undo = append(d.undo, exchange.LiftKill(inst, acct))
		return exchange.Kill(inst, acct)
	case 2:
		return exchange.EndDay(inst)
	case 3:
		return exchange.SetReferencePrice(inst, exchange.Price(d.pick(4)*34))
	case 4, 5:
		return exchange.SetLastPrice(inst, d.price())
	case 6, 7:
		return exchange.SetFees(inst, exchange.FeeRate(d.pick(60_000)-20_000), exchange.FeeRate(d.pick(60_000)-10_000))
	case 8: // of stream 0
		d.undo = append(d.undo, exchange.SetAccountState(acct, exchange.AccountActive))
		return exchange.SetAccountState(acct, exchange.AccountState(1+d.pick(3)))
	case 9:
		d.undo = append(d.undo, exchange.SetInstrumentState(inst, exchange.InstrumentTrading))
		return exchange.SetInstrumentState(inst, exchange.InstrumentState(1+d.pick(3)))
	case 10:
		c := exchange.Void(inst, acct, exchange.CommandID{})
		c.Value = int64(d.pick(60))
		return c
	}
	return exchange.AdvanceTime(inst, d.now)
}

var spoiling = []int64{0, -1, 1, 2, 7, 1 << 60, 1<<60 + 1, 1<<63 - 1, -1 << 63, 255, 65536}

// spoil sets a field to something it should not be.
func (d *drawer) spoil(c *exchange.Command) {
	v := spoiling[d.pick(len(spoiling))]
	switch d.pick(14) {
	case 0:
		c.Kind = exchange.CommandKind(v)
	case 1:
		c.Side = exchange.Side(v)
	case 2:
		c.Type = exchange.OrderType(v)
	case 3:
		c.TimeInForce = exchange.TimeInForce(v)
	case 4:
		c.SelfTrade = exchange.SelfTradePrevention(v)
	case 5:
		c.PostOnly = exchange.PostOnly(v)
	case 6:
		c.Account = exchange.AccountID(v)
	case 7:
		c.Price = exchange.Price(v)
	case 8:
		c.StopPrice = exchange.Price(v)
	case 9:
		c.Qty = exchange.Qty(v)
	case 10:
		c.DisplayQty = exchange.Qty(v)
	case 11:
		c.Funds = exchange.Amount(v)
	case 12:
		c.Expire = exchange.Time(v)
	default:
		c.OrderID = exchange.OrderID(v)
	}
}
