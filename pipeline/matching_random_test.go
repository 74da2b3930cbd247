package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/require"
)

// commandStream draws commands of all kinds about a few prices, so that they
// meet: most are sensible, some are not.
type commandStream struct {
	s    *stand
	pick func(n int) int
	n    int
	sent []exchange.Command
}

func (g *commandStream) one(of int) bool { return g.pick(of) == 0 }

func (g *commandStream) next() exchange.Command {
	if len(g.sent) > 0 && g.one(25) {
		return g.sent[g.pick(len(g.sent))] // again
	}
	g.n++
	c := g.draw()
	c.ID, c.Time = commandID(g.n), g.s.now-1_000_000_000+exchange.Time(g.n*1000)
	if g.one(15) {
		c.Time -= exchange.Time(g.pick(5000))
	}
	if c.Kind == exchange.KindNewOrder || c.Kind == exchange.KindAmend || c.Kind == exchange.KindReplace {
		if c.Held = exchange.Amount(1_000_000_000); g.one(10) {
			c.Held = exchange.Amount(g.pick(1_000_000))
		}
	}
	g.sent = append(g.sent, c)
	return c
}

func (g *commandStream) draw() exchange.Command {
	const inst = 1
	acct := exchange.AccountID(1 + g.pick(4))
	side := exchange.Side(1 + g.pick(2))
	px, stop := exchange.Price(995+g.pick(11)), exchange.Price(995+g.pick(11))
	qty := exchange.Qty(1 + g.pick(12))
	named := func(c exchange.Command) exchange.Command {
		if g.one(2) {
			c.OrderID = exchange.OrderID(1 + g.pick(g.n+1))
		} else {
			c.OrigID = commandID(max(1, g.n-g.pick(20)))
		}
		return c
	}
	var c exchange.Command
	switch k := g.pick(100); {
	case k < 45:
		c = exchange.LimitOrder(inst, acct, side, px, qty)
	case k < 50:
		c = exchange.MarketToLimitOrder(inst, acct, side, qty)
		c.Price = px
	case k < 56:
		c = exchange.MarketOrder(inst, acct, side, qty)
		c.Price = px
	case k < 64:
		c = exchange.StopLimitOrder(inst, acct, side, stop, px, qty)
	case k < 74:
		return named(exchange.Cancel(inst, acct, 0))
	case k < 78:
		return named(exchange.Reduce(inst, acct, 0, qty))
	case k < 88:
		return named(exchange.Amend(inst, acct, 0, px, qty))
	case k < 93:
		return named(exchange.Replace(inst, acct, 0, px, qty))
	case k < 94:
		return exchange.MassCancel(inst, acct)
	case k < 95:
		return exchange.EndDay(inst)
	case k < 96:
		return exchange.AdvanceTime(inst, 0)
	case k < 97:
		return exchange.SetLastPrice(inst, px)
	case k < 98:
		return exchange.Void(inst, acct, exchange.CommandID{})
	case k < 99:
		c = exchange.Command{Kind: exchange.KindAccountState, Account: acct, AccountState: exchange.AccountActive}
		return c // of the venue as a whole
	default:
		return exchange.Command{Kind: exchange.CommandKind(g.pick(256)), Instrument: exchange.InstrumentID(g.pick(3)), Account: acct}
	}
	g.decorate(&c)
	return c
}

func (g *commandStream) decorate(c *exchange.Command) {
	switch g.pick(8) {
	case 0:
		c.TimeInForce = exchange.IOC
	case 1:
		c.TimeInForce = exchange.Day
	case 2:
		c.TimeInForce, c.Expire = exchange.GTD, g.s.now-1_000_000_000+exchange.Time((g.n+g.pick(40))*1000)
	}
	if g.one(3) {
		c.SelfTrade = exchange.SelfTradePrevention(g.pick(5))
	}
	if c.Type == exchange.Limit && c.TimeInForce != exchange.IOC {
		switch g.pick(6) {
		case 0:
			c.Hidden = true
		case 1:
			c.DisplayQty = exchange.Qty(1 + g.pick(int(c.Qty)))
		case 2:
			c.PostOnly = exchange.PostOnly(1 + g.pick(2))
		}
	}
}

// expected is what the matching engine makes of a message, said again in other
// words; of a duplicate nothing comes of it anyway.
func (g *commandStream) expected(c exchange.Command, body []byte, parts int, book *exchange.Book) exchange.Command {
	if c.Instrument > 1 {
		v := exchange.Void(1, 0, pipeline.CommandIDOf(0, 1, 0, string(body)))
		v.Time, v.Value = g.s.now, int64(exchange.UnknownInstrument)
		return v
	}
	reason := exchange.Reason(0)
	venueWide := []exchange.CommandKind{exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill, exchange.KindAdvanceTime,
		exchange.KindEndDay, exchange.KindLimit}
	never := []exchange.CommandKind{exchange.KindDeposit, exchange.KindWithdraw, exchange.KindAccountState}
	switch {
	case c.Kind == 0 || c.Kind > exchange.KindVoid:
		reason = exchange.InvalidKind
	case slices.Contains(never, c.Kind):
		if c.Instrument != 0 {
			reason = exchange.UnknownInstrument
		}
	case c.Instrument == 0 && !slices.Contains(venueWide, c.Kind):
		reason = exchange.UnknownInstrument
	case c.Kind == exchange.KindNewOrder && c.DisplayQty > 0 && int(c.Qty+c.DisplayQty-1)/int(c.DisplayQty) > parts:
		reason = exchange.IcebergParts
	case c.Kind == exchange.KindAmend || c.Kind == exchange.KindReplace:
		o, ok := book.Order(c.OrderID)
		if c.OrderID == 0 {
			o, ok = book.OrderByCommand(c.OrigID)
		}
		if !ok || o.Account != c.Account || o.DisplayQty == 0 {
			break
		}
		leaves := c.Qty
		if c.Kind == exchange.KindAmend {
			leaves -= o.CumQty
		} else if leaves == 0 {
			leaves = o.LeavesQty
		}
		if leaves > 0 && int(leaves+o.DisplayQty-1)/int(o.DisplayQty) > parts {
			reason = exchange.IcebergParts
		}
	}
	if reason != 0 {
		c.Kind, c.Instrument, c.Value = exchange.KindVoid, 1, int64(reason)
	}
	return c
}

// publicBook is what a client has from the levels of the batches.
type clientBook map[exchange.Side]map[exchange.Price]exchange.Level

func (b clientBook) apply(t require.TestingT, changes []pipeline.LevelChange) {
	for i, l := range changes {
		if i > 0 {
			p := changes[i-1]
			require.True(t, p.Side < l.Side || p.Side == l.Side && p.Price < l.Price, "levels in order")
		}
		require.NotEqual(t, b[l.Side][l.Price], l.Level, "a level that did not change says who hides")
		if l.Qty == 0 {
			require.Contains(t, b[l.Side], l.Price, "a level is gone that was never there")
			require.Zero(t, l.Orders)
			delete(b[l.Side], l.Price)
		} else {
			b[l.Side][l.Price] = l.Level
		}
	}
}

func (b clientBook) side(s exchange.Side) (levels []exchange.Level) {
	for _, l := range b[s] {
		levels = append(levels, l)
	}
	slices.SortFunc(levels, func(x, y exchange.Level) int {
		if s == exchange.Buy {
			x, y = y, x
		}
		return int(x.Price - y.Price)
	})
	return levels
}

// checkJournal fails unless every item's levels and checksum are those of the
// book after its commands.
func (s *stand) checkJournal() {
	e := s.plain()
	b := clientBook{exchange.Buy: {}, exchange.Sell: {}}
	var events []exchange.Event
	for _, c := range s.items() {
		batch := c.Batch()
		require.NotEmpty(s.t, batch.Entries)
		require.Equal(s.t, pipeline.CurrentRules, batch.Rules)
		for i := range batch.Entries {
			events = e.Apply(events[:0], &batch.Entries[i].Command)
			require.Equal(s.t, batch.Entries[i].Events, events)
		}
		b.apply(s.t, batch.Levels)
		bids, asks := e.Book(1).Levels(nil, exchange.Buy, 0), e.Book(1).Levels(nil, exchange.Sell, 0)
		require.Equal(s.t, bids, b.side(exchange.Buy))
		require.Equal(s.t, asks, b.side(exchange.Sell))
		require.Equal(s.t, pipeline.BookChecksum(s.in, bids, asks), batch.Checksum)
	}
}

// schedule runs commands through one or two matching engines, in batches of
// any size, with failures and crashes at any call, and messages that come
// again.
func (g *commandStream) schedule(commands int) {
	s := g.s
	s.cfg.BatchCommands, s.cfg.BatchBytes, s.cfg.BookEvery, s.cfg.SnapshotEvery = 1+g.pick(12), 200+g.pick(4000), 1+g.pick(5), 1+g.pick(9)
	s.cfg.IcebergParts, s.cfg.MaxOrders = 4, 1000
	harm := g.pick(8) // in hundredths of the calls
	type crash struct{}
	calm := false
	s.hooks.set(func(op string, after bool) error {
		if calm || g.pick(100) >= harm {
			return nil
		}
		if g.one(3) {
			panic(crash{})
		}
		return fmt.Errorf("%s: %w", op, errInjected)
	})
	want := s.plain() // to know what is expected
	var expected []exchange.Command
	var msgs []pipeline.QueueMessage
	var events []exchange.Event
	for range commands {
		c := g.next()
		m := message(s.t, c)
		m.Instrument = 1
		e := g.expected(c, m.Body, s.cfg.IcebergParts, want.Book(1))
		events = want.Apply(events[:0], &e)
		msgs, expected = append(msgs, m), append(expected, e)
	}
	engines := []*pipeline.MatchingEngine{s.engine(), s.engine()}
	handle := func(i int, msgs []pipeline.QueueMessage) (done int) {
		defer func() {
			if v := recover(); v != nil {
				if _, ok := v.(crash); !ok {
					panic(v)
				}
				done, engines[i] = 0, s.engine()
			}
		}()
		done, err := engines[i].Handle(context.Background(), 1, msgs)
		if err != nil {
			require.ErrorIs(s.t, err, errInjected)
		} else {
			require.Len(s.t, msgs, done)
		}
		return done
	}
	for at := 0; at < len(msgs); {
		from := at
		if g.one(6) {
			from = max(0, at-g.pick(10)) // some again
		}
		i := 0
		if g.one(8) {
			i = 1 // the zombie wakes up
		}
		done := handle(i, msgs[from:min(len(msgs), at+1+g.pick(20))])
		if done > 0 && g.one(8) {
			done = g.pick(done) // the acknowledgement did not get through
		}
		at = max(at, from+done)
		if g.one(30) {
			s.books = memory.NewBookStore() // lost
			s.cfg.Books = &hookedBooks{s.books, s.hooks}
			engines[0] = s.engine()
		}
	}
	calm = true
	done, err := s.engine().Handle(context.Background(), 1, msgs[len(msgs)-1:])
	require.NoError(s.t, err)
	require.Equal(s.t, 1, done)
	s.sameAs(expected)
	s.checkJournal()
}

// seeds runs schedules that are not made smaller when they fail.
func seeds(t *testing.T, name string, n uint64, commands int) {
	for seed := range n {
		rng := rand.New(rand.NewPCG(seed, 1))
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("again: go test ./pipeline -run '%s/^%d$'", name, seed)
				}
			}()
			g := &commandStream{s: newStand(t), pick: rng.IntN}
			g.schedule(commands)
		})
	}
}

// However batches are cut and whatever fails, the journal is what one engine
// makes of the commands, and the levels in it make the book.
func TestMatchingEngineSeeds(t *testing.T) { seeds(t, "TestMatchingEngineSeeds", 3, 200) }
