package workload

import "github.com/castlecloud/exchange"

const (
	instrumentID = 1
	// The most orders an aggressor wants to meet.
	sweep = 10
	// Commands are a microsecond of command time apart.
	startTime exchange.Time = 1_700_000_000_000_000_000
	timeStep  exchange.Time = 1_000
)

// generator writes one stream. Market, accounts and ids each have their own
// random numbers, so that options change nothing but what they say.
type generator struct {
	shape     shape
	options   Options
	stream    *Stream
	book      book
	center    exchange.Price
	distances distances
	commands  int // written so far

	market, accounts, ids random
}

func generate(o Options, s shape) *Stream {
	if o.Commands == 0 {
		o.Commands = 1_000_000
	}
	if o.Accounts == 0 {
		o.Accounts = 1_000
	}
	g := &generator{shape: s, options: o, center: s.center}
	g.stream = &Stream{Name: s.name, Instrument: instrument()}
	g.stream.Deposits = deposits(g.stream.Instrument, o.Accounts)
	for i, r := range [...]*random{&g.market, &g.accounts, &g.ids} {
		*r = random(o.Seed*3 + uint64(i))
		*r = random(r.next())
	}
	if !s.uniform {
		g.distances = newDistances(s.reach)
	}

	prefill := make([]exchange.Command, 0, s.resting+s.warm)
	for range s.resting {
		prefill = append(prefill, g.add())
	}
	for range s.warm {
		prefill = append(prefill, g.next())
	}
	g.stream.Prefill, g.stream.Trades = prefill, 0
	g.stream.Resting, g.stream.Levels = len(g.book.live), g.book.levels()
	g.stream.Commands = make([]exchange.Command, o.Commands)
	for i := range g.stream.Commands {
		g.center = s.along(i, o.Commands)
		g.stream.Commands[i] = g.next()
	}
	return g.stream
}

// along returns the price that command i of n is to be near.
func (s shape) along(i, n int) exchange.Price {
	legs := len(s.path) - 1
	if legs == 0 {
		return s.center * exchange.Price(s.path[0]) / 1000
	}
	leg, within := i*legs/n, i*legs%n
	from, to := s.path[leg], s.path[leg+1]
	perMille := from*int64(n) + (to-from)*int64(within) // × n
	return s.center * exchange.Price(perMille) / exchange.Price(1000*n)
}

// next writes the next command of the workload.
func (g *generator) next() exchange.Command {
	if cmd, ok := g.follow(); ok {
		return cmd
	}
	r := g.market.below(100)
	switch {
	case r < g.shape.aggressive:
		side := g.market.side()
		if best, _, ok := g.book.best(side.Opposite()); ok {
			return g.take(side, g.limit(side, best), min(g.market.qty(), g.book.leaves(side.Opposite(), sweep)))
		}
	case r < g.shape.aggressive+g.shape.amends && len(g.book.live) > 0:
		return g.amend(g.draw())
	}
	// Adds and cancels hold the balance: as likely at the working size, only
	// one of them a twentieth off it.
	resting, band := g.shape.resting, max(g.shape.resting/20, 1)
	if g.market.below(2*band) < resting+band-len(g.book.live) {
		return g.add()
	}
	return g.cancel(g.draw())
}

// follow takes what stands in the way of a price that has moved.
func (g *generator) follow() (exchange.Command, bool) {
	for _, side := range [...]exchange.Side{exchange.Buy, exchange.Sell} {
		best, _, ok := g.book.best(side.Opposite())
		behind := side == exchange.Buy && best < g.center || side == exchange.Sell && best > g.center
		if ok && behind && g.market.percent(50) {
			return g.take(side, g.center, g.book.leaves(side.Opposite(), sweep)), true
		}
	}
	return exchange.Command{}, false
}

// limit returns the worst price of an aggressor: by turns the best one, so
// that it may be left with a remainder, and one a twentieth of the book's
// reach beyond.
func (g *generator) limit(side exchange.Side, best exchange.Price) exchange.Price {
	switch {
	case g.market.percent(50):
		return best
	case side == exchange.Buy:
		return best + g.shape.reach/20
	}
	return max(best-g.shape.reach/20, 1)
}

func (g *generator) draw() *order { return g.book.live[g.market.below(len(g.book.live))] }

func (g *generator) add() exchange.Command {
	side := g.market.side()
	o := &order{account: g.account(), side: side, price: g.place(side), leaves: g.market.qty()}
	o.orderQty = o.leaves
	g.book.add(o)
	return g.finish(exchange.LimitOrder(instrumentID, o.account, side, o.price, o.leaves))
}

// place draws a price for an order that is to rest.
func (g *generator) place(side exchange.Side) exchange.Price {
	var distance exchange.Price
	if g.shape.uniform {
		distance = 1 + exchange.Price(g.market.below(int(g.shape.reach)))
	} else {
		distance = g.distances.draw(&g.market)
	}
	best, _, ok := g.book.best(side.Opposite())
	price := g.center + distance
	if side == exchange.Buy {
		price = g.center - distance
	}
	switch {
	case ok && side == exchange.Buy:
		price = min(price, best-1)
	case ok && side == exchange.Sell:
		price = max(price, best+1)
	}
	return max(price, 1)
}

func (g *generator) cancel(o *order) exchange.Command {
	g.book.remove(o)
	return g.finish(exchange.Cancel(instrumentID, o.account, o.id))
}

// amend takes quantity off an order, which keeps its place, or moves it to
// another price, each half of the time.
func (g *generator) amend(o *order) exchange.Command {
	if o.leaves > 1 && g.market.percent(50) {
		off := 1 + exchange.Qty(g.market.below(int(o.leaves-1)))
		o.orderQty -= off
		o.leaves -= off
		return g.finish(exchange.Amend(instrumentID, o.account, o.id, 0, o.orderQty))
	}
	if price := g.place(o.side); price != o.price { // the same price keeps the place
		g.book.move(o, price)
	}
	cmd := exchange.Amend(instrumentID, o.account, o.id, o.price, 0)
	if g.options.Held {
		cmd.Held = g.held(o.side, o.price, o.leaves)
	}
	return g.finish(cmd)
}

// take writes an aggressor: by turns an IOC limit order and a market order
// with a worst price.
func (g *generator) take(side exchange.Side, limit exchange.Price, qty exchange.Qty) exchange.Command {
	account := g.account()
	met := 0
	g.book.take(side, limit, qty, func(o *order) {
		f := fill{command: g.commands, order: o.id, full: o.leaves == 0}
		if met++; met == 1 {
			g.stream.fills.first = append(g.stream.fills.first, f)
		} else if f.full {
			g.stream.fills.more = append(g.stream.fills.more, f)
		}
	})
	g.stream.Trades += met
	cmd := exchange.LimitOrder(instrumentID, account, side, limit, qty)
	cmd.TimeInForce = exchange.IOC
	if g.market.percent(50) {
		cmd = exchange.MarketOrder(instrumentID, account, side, qty)
		cmd.Price = limit
	}
	return g.finish(cmd)
}

func (g *generator) account() exchange.AccountID {
	return exchange.AccountID(1 + g.accounts.below(g.options.Accounts))
}

// finish adds what the options ask for.
func (g *generator) finish(cmd exchange.Command) exchange.Command {
	if g.options.IDs {
		cmd.ID = g.ids.commandID()
		cmd.Time = startTime + exchange.Time(g.commands)*timeStep
	}
	if g.options.Held && cmd.Kind == exchange.KindNewOrder {
		cmd.Held = g.held(cmd.Side, cmd.Price, cmd.Qty)
	}
	g.commands++
	return cmd
}

// held returns more than an order needs: what is too much is released at once.
func (g *generator) held(side exchange.Side, price exchange.Price, qty exchange.Qty) exchange.Amount {
	if side == exchange.Sell {
		return g.stream.Instrument.BaseAmount(qty)
	}
	notional, _ := g.stream.Instrument.Notional(price, qty)
	return notional + notional/100 + 1
}
