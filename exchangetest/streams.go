package exchangetest

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Streams draws what a venue gets when everybody behaves: 1 to most commands
// of some instruments, each with an ID of its own, in rising time. Orders as
// Orders draws them; cancels, reductions, amends and replaces of orders that
// the same account has sent before, which may have ended since; mass cancels,
// the time, and ends of the day. What is rejected is rejected for what the
// book is like by then, never for its shape.
func Streams(insts []*exchange.Instrument, most int) *rapid.Generator[[]exchange.Command] {
	return rapid.Custom(func(t *rapid.T) []exchange.Command { return drawStream(t, insts, most, false) })
}

// HostileStreams is Streams in which every fourth command is something else:
// one of HostileCommands, one from earlier on again, as it was or with other
// contents, a change of somebody else's order, or one from the past.
func HostileStreams(insts []*exchange.Instrument, most int) *rapid.Generator[[]exchange.Command] {
	return rapid.Custom(func(t *rapid.T) []exchange.Command { return drawStream(t, insts, most, true) })
}

func drawStream(t *rapid.T, insts []*exchange.Instrument, most int, withHostile bool) []exchange.Command {
	s := stream{now: second}
	for _, in := range insts {
		s.grids = append(s.grids, gridOf(in))
	}
	hostiles := HostileCommands(insts...)
	for n := rapid.IntRange(1, most).Draw(t, "commands"); len(s.out) < n; {
		s.now += exchange.Time(rapid.IntRange(0, second).Draw(t, "time passes"))
		if !withHostile || !oneIn(t, 4, "hostile") {
			s.out = append(s.out, s.next(t))
			continue
		}
		switch what := rapid.IntRange(0, 4).Draw(t, "what"); {
		case what == 0 || len(s.out) == 0:
			c := hostiles.Draw(t, "hostile command")
			if !oneIn(t, 4, "at its own time") { // a far one makes all that follow stale
				c.Time = s.now
			}
			s.out = append(s.out, c)
		default:
			c := s.out[rapid.IntRange(0, len(s.out)-1).Draw(t, "again")]
			switch what {
			case 2:
				c.Qty, c.Price = c.Qty+1, c.Price+1
			case 3:
				c.Account++
				c.ID = s.id()
			case 4:
				c.ID = s.id()
				c.Time = max(0, c.Time-exchange.Time(rapid.IntRange(0, 100*second).Draw(t, "from the past")))
			}
			s.out = append(s.out, c)
		}
	}
	return s.out
}

type stream struct {
	grids  []grid
	now    exchange.Time
	out    []exchange.Command
	orders []int // of out
	given  int   // ids
}

func (s *stream) id() exchange.CommandID {
	s.given++
	return IDOf(s.given)
}

func (s *stream) next(t *rapid.T) exchange.Command {
	g := &s.grids[rapid.IntRange(0, len(s.grids)-1).Draw(t, "instrument")]
	inst := g.in.ID()
	var c exchange.Command
	switch what := rapid.IntRange(0, 99).Draw(t, "what"); {
	case what < 65 || len(s.orders) == 0:
		c = g.order(t, s.now)
		s.orders = append(s.orders, len(s.out))
	case what < 93:
		c = s.change(t)
	case what < 96:
		c = exchange.AdvanceTime(inst, s.now)
	case what < 98:
		c = exchange.MassCancel(inst, account(t))
	default:
		c = exchange.EndDay(inst)
	}
	c.ID, c.Time = s.id(), s.now
	return c
}

// change draws a change of an order that was sent, mostly of a late one. A
// replace makes an order too.
func (s *stream) change(t *rapid.T) exchange.Command {
	back := rapid.IntRange(1, min(len(s.orders), 12)).Draw(t, "back")
	old := s.out[s.orders[len(s.orders)-back]]
	var g *grid
	for i := range s.grids {
		if s.grids[i].in.ID() == old.Instrument {
			g = &s.grids[i]
		}
	}
	c := exchange.Cancel(old.Instrument, old.Account, 0)
	c.OrigID = old.ID
	switch what := rapid.IntRange(0, 3).Draw(t, "change"); what {
	case 1:
		c.Kind, c.Qty = exchange.KindReduce, exchange.Qty(rapid.IntRange(1, 30).Draw(t, "by"))
	case 2, 3:
		if c.Kind = exchange.KindAmend; what == 3 {
			c.Kind = exchange.KindReplace
			s.orders = append(s.orders, len(s.out))
		}
		c.Price = g.price(t, "new price")
		c.Qty = g.qty(t, c.Price)
	}
	return c
}

// Requests draws what clients of a venue ask for, as text: new orders as
// Orders draws them, and cancels, reductions, amends, replaces and cancels of
// all. An OrderProcessor that knows the instrument takes each of them. Key is
// one of a few dozen, so that some come again.
func Requests(in *exchange.Instrument) *rapid.Generator[pipeline.Request] {
	g := gridOf(in)
	return rapid.Custom(func(t *rapid.T) pipeline.Request { return g.request(t) })
}

// noon is when requests of Requests are made, in 2026.
const noon exchange.Time = 1_782_648_000 * second

func (g *grid) request(t *rapid.T) pipeline.Request {
	key := func(label string) string {
		return fmt.Sprint("client-", rapid.IntRange(0, 30).Draw(t, label))
	}
	r := pipeline.Request{Account: account(t), Time: noon + exchange.Time(rapid.IntRange(0, 3600*second).Draw(t, "time")), Key: key("key"), Symbol: g.in.Symbol(),
		Kind: oneOf(t, "kind", pipeline.RequestNew, pipeline.RequestNew, pipeline.RequestNew, pipeline.RequestCancel, pipeline.RequestReduce, pipeline.RequestAmend, pipeline.RequestReplace, pipeline.RequestCancelAll)}
	switch r.Kind {
	case pipeline.RequestNew:
		g.newRequest(t, &r)
		return r
	case pipeline.RequestCancelAll:
		r.Side = oneOf(t, "side", "", "buy", "sell")
		return r
	}
	if rapid.Bool().Draw(t, "by order id") {
		r.OrderID = pipeline.OrderIDText(r.Symbol, exchange.OrderID(rapid.IntRange(1, 50).Draw(t, "order")))
	} else {
		r.OrigClientID = key("order's key")
	}
	if r.Kind != pipeline.RequestCancel {
		p := g.price(t, "price")
		r.Size = g.in.QtyDecimal(g.qty(t, p)).String()
		if r.Kind != pipeline.RequestReduce {
			r.Price = g.in.PriceDecimal(p).String()
		}
	}
	return r
}

func (g *grid) newRequest(t *rapid.T, r *pipeline.Request) {
	c := g.order(t, r.Time)
	if c.PriceIsDistance { // the edge has no such thing
		c.Price = 0
	}
	if c.Type == exchange.Market && c.TimeInForce != exchange.FOK {
		c.TimeInForce, c.Expire = exchange.IOC, 0
	}
	r.Side, r.Type, r.TimeInForce = pipeline.SideText(c.Side), pipeline.OrderTypeText(c.Type), pipeline.TimeInForceText(c.TimeInForce)
	r.SelfTrade, r.PostOnly, r.Hidden = pipeline.SelfTradeText(c.SelfTrade), pipeline.PostOnlyText(c.PostOnly), c.Hidden
	for _, p := range []struct {
		text  *string
		value exchange.Price
	}{{&r.Price, c.Price}, {&r.StopPrice, c.StopPrice}} {
		if p.value != 0 {
			*p.text = g.in.PriceDecimal(p.value).String()
		}
	}
	for _, q := range []struct {
		text  *string
		value exchange.Qty
	}{{&r.Size, c.Qty}, {&r.DisplaySize, c.DisplayQty}, {&r.MinSize, c.MinQty}} {
		if q.value != 0 {
			*q.text = g.in.QtyDecimal(q.value).String()
		}
	}
	if c.Funds != 0 {
		r.Funds = g.in.Quote().Decimal(c.Funds).String()
	}
	if c.Expire != 0 {
		r.ExpireTime = time.Unix(0, int64(c.Expire)).UTC().Format(time.RFC3339Nano)
	}
}

// HostileRequests draws requests of Requests in which one to three fields are
// spoiled: texts that are no number, or a number that is no price, huge, off
// the grid, in another notation; names that there are not; control characters
// and bytes that are no UTF-8; fields where they do not belong. Each is refused
// with the field's name, or it happened to be right.
func HostileRequests(in *exchange.Instrument) *rapid.Generator[pipeline.Request] {
	g := gridOf(in)
	return rapid.Custom(func(t *rapid.T) pipeline.Request {
		r := g.request(t)
		fields := []*string{&r.Kind, &r.Key, &r.Symbol, &r.Side, &r.Type, &r.TimeInForce, &r.Price, &r.Size, &r.Funds, &r.StopPrice, &r.DisplaySize, &r.MinSize,
			&r.ExpireTime, &r.PostOnly, &r.SelfTrade, &r.OrderID, &r.OrigClientID}
		for range rapid.IntRange(1, 3).Draw(t, "spoiled fields") {
			*oneOf(t, "field", fields...) = hostileText(t)
		}
		if oneIn(t, 8, "without an account") {
			r.Account = 0
		}
		if oneIn(t, 8, "at an impossible time") {
			r.Time = oneOf(t, "time", exchange.Time(0), -1, 1<<63-1, -1<<63)
		}
		return r
	})
}

func hostileText(t *rapid.T) string {
	if rapid.Bool().Draw(t, "any text") {
		return rapid.String().Draw(t, "text")
	}
	return oneOf(t, "text", "", " ", "0", "-0", "-1", "0.0000000000000000001", "1e9", "1e999999999", "Infinity", "NaN", "0x10", "1_000", "1,5", "+1", ".5", "5.", "٣", "１",
		"115292150460684.6976", strings.Repeat("9", 64), strings.Repeat("9", 65), strings.Repeat("x", 5000), "\x00", "\xff\xfe", "\u202e", "<script>", "'; drop table orders; --",
		"buy", "limit", "GTC", "GTD", "slide", "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "X.1", "B1-Q.0", "B1-Q.18446744073709551616")
}
