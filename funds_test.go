package exchange_test

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
)

// numbered returns the id of the n-th command.
func numbered(n int) (id exchange.CommandID) {
	binary.LittleEndian.PutUint64(id[:], uint64(n))
	return id
}

func fundsName(mode exchange.Funds) string {
	return [...]string{"", "none", "ledger", "held"}[mode]
}

// TestFundsHeld: whoever keeps the funds outside and reads events alone has at
// every event just what the order needs, never pays out of an empty hold, and
// has none left when all orders are gone: FUNDS-001, FUNDS-002, FUNDS-003,
// FUNDS-004, FUNDS-005, FUNDS-006, FUNDS-007, FUNDS-010, FEE-001. Some commands
// get lost once they are held for; a void releases that, and no order comes
// to life without a hold, however late it arrives: VOID-002, VOID-004.
func TestFundsHeld(t *testing.T) {
	checkRandom(t, 150, func(pick picker) string {
		insts := modelInstruments(t)
		e := newModelEngine(t, insts, exchange.FundsHeld)
		s, f := newSettler(insts), newFollower(insts)
		g := newGenerator(pick, exchange.FundsHeld, false)
		g.book = e.Book
		var sent, lost []exchange.Command
		step := func(i int, cmd exchange.Command) string {
			if d := heldStep(e, s, f, &cmd, lost); d != "" {
				return fmt.Sprintf("command %d, %+v: %s", i, cmd, d)
			}
			return ""
		}
		steps := 50 + pick(300)
		for i := range steps {
			var cmd exchange.Command
			switch {
			case len(sent) > 0 && g.one(20):
				cmd = sent[pick(len(sent))] // to the letter, with its hold
			case len(sent) > 0 && g.one(30):
				cmd = voidOf(sent[pick(len(sent))], g.now)
			case len(lost) > 0 && g.one(10): // arrives after all, or is given up and may arrive then
				j := pick(len(lost))
				cmd = lost[j]
				sent, lost = append(sent, cmd), slices.Delete(lost, j, j+1)
				if !g.one(4) {
					cmd = voidOf(cmd, g.now)
				}
			default:
				cmd = g.command()
				if g.one(40) {
					g.spoil(&cmd)
				}
				g.now += exchange.Time(pick(6))
				cmd.Time, cmd.ID = g.now, numbered(i+1)
				if g.one(10) {
					cmd.Time -= exchange.Time(pick(150))
				}
				if asset, known := heldAsset(e, &cmd); known && g.one(15) {
					s.hold(&cmd, asset)
					lost = append(lost, cmd)
					continue
				}
				sent = append(sent, cmd)
			}
			if d := step(i, cmd); d != "" {
				return d
			}
		}
		for len(lost) > 0 {
			cmd := voidOf(lost[0], g.now)
			lost = lost[1:]
			if d := step(steps, cmd); d != "" {
				return d
			}
		}
		for _, cmd := range []exchange.Command{exchange.LiftKill(0, 0), exchange.LiftKill(1, 0), exchange.LiftKill(3, 0),
			exchange.MassCancel(1, 0), exchange.MassCancel(3, 0), exchange.MassCancel(0, 0)} {
			if d := step(steps, cmd); d != "" {
				return d
			}
		}
		if len(s.holds) != 0 {
			return fmt.Sprintf("FUNDS-005: stranded: %v", s.holds)
		}
		return ""
	})
}

// voidOf returns the void that stands for a command.
func voidOf(cmd exchange.Command, now exchange.Time) exchange.Command {
	void := exchange.Void(cmd.Instrument, cmd.Account, cmd.ID)
	if void.Time = now; bringsHeld(cmd.Kind) {
		void.Held = cmd.Held
	}
	return void
}

// heldAsset returns what a command has to be held for in; known is false when
// it means an order that is not there.
func heldAsset(e *exchange.Engine, cmd *exchange.Command) (asset exchange.AssetID, known bool) {
	b := e.Book(cmd.Instrument)
	if b == nil {
		return 0, false
	}
	side, known := cmd.Side, true
	if cmd.Kind != exchange.KindNewOrder {
		var o exchange.Order
		if o, known = b.Order(cmd.OrderID); !known {
			o, known = b.OrderByCommand(cmd.OrigID)
		}
		side = o.Side
	}
	if side == exchange.Sell {
		return b.Instrument().Base().ID, known
	}
	return b.Instrument().Quote().ID, known
}

// heldStep holds for a command, applies it, settles its events and compares
// the holds with the engine's; those of lost commands are not the engine's.
func heldStep(e *exchange.Engine, s *settler, f *follower, cmd *exchange.Command, lost []exchange.Command) string {
	asset, _ := heldAsset(e, cmd)
	s.hold(cmd, asset)
	f.cmd = cmd
	held := func(id exchange.CommandID) exchange.Amount {
		if h := s.holds[id]; h != nil {
			return h.amount
		}
		return 0
	}
	events := e.Apply(nil, cmd)
	for i := range events {
		s.handle(&events[i])
		if s.wrong != "" {
			return fmt.Sprintf("%s\nevent %+v", s.wrong, events[i])
		}
		if d := f.handle(&events[i], held); d != "" {
			return fmt.Sprintf("%s\nevent %+v", d, events[i])
		}
	}
	live := 0
	for _, in := range s.insts {
		for _, o := range liveOrders(e.Book(in.ID())) {
			live++
			if h := s.holds[o.CommandID]; h == nil || h.amount != o.Held || h.account != o.Account {
				return fmt.Sprintf("outside %+v, inside %+v", h, o)
			}
		}
	}
	for i := range lost {
		if s.holds[lost[i].ID] != nil {
			live++
		}
	}
	if live != len(s.holds) {
		return fmt.Sprintf("%d holds for %d live orders and lost commands", len(s.holds), live)
	}
	for _, asset := range []exchange.AssetID{0, 1, 2, 5} {
		if n := s.total(asset); n != 0 {
			return fmt.Sprintf("FUNDS-010: asset %d: %d from nowhere", asset, n)
		}
	}
	return ""
}

func liveOrders(b *exchange.Book) []exchange.Order {
	return b.Pending(b.Orders(b.Orders(nil, exchange.Buy, 0), exchange.Sell, 0))
}

// TestFundsLedger: after every command what an account holds is what its
// orders need, no account but the venue's is below zero, and every asset is
// what was deposited less what was withdrawn; when all orders are gone nothing
// is held: FUNDS-001, FUNDS-002, FUNDS-005, FUNDS-008, FUNDS-010.
func TestFundsLedger(t *testing.T) {
	checkRandom(t, 100, func(pick picker) string {
		s := &system{mode: exchange.FundsLedger, insts: modelInstruments(t)}
		s.engine = newModelEngine(t, s.insts, exchange.FundsLedger)
		paidIn := map[exchange.AssetID]exchange.Amount{}
		step := func(cmd exchange.Command) string {
			for _, ev := range s.engine.Apply(nil, &cmd) {
				switch ev.Kind {
				case exchange.EventDeposited:
					paidIn[ev.Asset] += ev.Amount
				case exchange.EventWithdrawn:
					paidIn[ev.Asset] -= ev.Amount
				}
			}
			for _, asset := range modelAssets {
				total := exchange.Amount(0)
				for _, acct := range drawnAccounts {
					b := s.engine.Balance(acct, asset)
					total += b.Available + b.Held
				}
				if total != paidIn[asset] {
					return fmt.Sprintf("FUNDS-010: %d of asset %d, paid in %d", total, asset, paidIn[asset])
				}
			}
			return s.holdsFit()
		}
		cmds := stream(t, pick, exchange.FundsLedger, false, 50+pick(300))
		for i, cmd := range append(cmds, exchange.MassCancel(0, 0)) {
			if d := step(cmd); d != "" {
				return fmt.Sprintf("command %d, %+v: %s", i, cmd, d)
			}
		}
		for _, acct := range drawnAccounts {
			for _, asset := range modelAssets {
				if b := s.engine.Balance(acct, asset); b.Held != 0 {
					return fmt.Sprintf("FUNDS-005: account %d still holds %d of asset %d", acct, b.Held, asset)
				}
			}
		}
		return ""
	})
}

// drawnAccounts are those a generator draws, spoiled ones included.
var drawnAccounts = func() []exchange.AccountID {
	accounts := []exchange.AccountID{0, 1, 2, 3, 4}
	for _, v := range wild[4:] {
		accounts = append(accounts, exchange.AccountID(v))
	}
	return append(accounts, 1<<64-1)
}()

// fill is a part of an order that trades at a price.
type fill struct {
	px  exchange.Price
	qty exchange.Qty
}

// split cuts a fill into random parts.
func (f fill) split(rt *rapid.T) []fill {
	var parts []fill
	for f.qty > 0 {
		q := exchange.Qty(rapid.IntRange(1, int(f.qty)).Draw(rt, "part"))
		parts = append(parts, fill{f.px, q})
		f.qty -= q
	}
	return parts
}

// TestFeeSplit: an order that takes some fills and makes others pays one fee
// for it all, rounded up once, in however many parts they come; rebates too:
// FEE-001, FEE-002.
func TestFeeSplit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := func(name string) exchange.FeeRate {
			return exchange.FeeRate(rapid.OneOf(rapid.IntRange(-999_999, 999_999), rapid.IntRange(-1500, 1500), rapid.Just(0)).Draw(rt, name))
		}
		maker, taker := rate("maker rate"), rate("taker rate")
		side := exchange.Side(rapid.IntRange(1, 2).Draw(rt, "side"))
		var takes, makes []fill
		total := exchange.Qty(0)
		worst := exchange.Price(500)
		for i := range rapid.IntRange(0, 4).Draw(rt, "levels") {
			px := worst + exchange.Price(i-4) // what it takes is better than its limit
			if side == exchange.Sell {
				px = worst - exchange.Price(i-4)
			}
			takes = append(takes, fill{px, exchange.Qty(rapid.IntRange(1, 40).Draw(rt, "qty"))})
			total += takes[i].qty
		}
		if q := rapid.IntRange(0, 40).Draw(rt, "rests"); q > 0 {
			makes = append(makes, fill{worst, exchange.Qty(q)})
			total += exchange.Qty(q)
		}
		if total == 0 {
			return
		}
		want := exactFee(taker, takes)
		want.Add(want, exactFee(maker, makes))
		whole := feePaid(rt, side, maker, taker, worst, total, takes, makes)
		var takeParts, makeParts []fill
		for _, f := range takes {
			takeParts = append(takeParts, f.split(rt)...)
		}
		for _, f := range makes {
			makeParts = append(makeParts, f.split(rt)...)
		}
		parts := feePaid(rt, side, maker, taker, worst, total, takeParts, makeParts)
		require.Equal(rt, whole, parts, "the number of fills changed the fee")
		require.Equal(rt, ceilMillion(want).Int64(), int64(whole))
	})
}

// exactFee is the fee of fills in millionths; a tick × a lot is 10 atoms.
func exactFee(rate exchange.FeeRate, fills []fill) *big.Int {
	n := new(big.Int)
	for _, f := range fills {
		n.Add(n, big.NewInt(int64(f.px)*int64(f.qty)*10))
	}
	return n.Mul(n, big.NewInt(int64(rate)))
}

func ceilMillion(n *big.Int) *big.Int {
	quo, rem := new(big.Int).DivMod(n, big.NewInt(exchange.FeeRateUnit), new(big.Int))
	if rem.Sign() > 0 {
		quo.Add(quo, big.NewInt(1))
	}
	return quo
}

// feePaid runs an order that takes and then makes fills, one maker or taker
// each, and returns the fee it paid.
func feePaid(rt *rapid.T, side exchange.Side, maker, taker exchange.FeeRate, px exchange.Price, qty exchange.Qty, takes, makes []fill) exchange.Amount {
	in := newInstrument(rt, nil)
	e, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsLedger, Instruments: []*exchange.Instrument{in}})
	require.NoError(rt, err)
	apply := func(c exchange.Command) []exchange.Event {
		events := e.Apply(nil, &c)
		reason, bad := exchange.Rejected(events)
		require.False(rt, bad, "%v: %+v", reason, c)
		return events
	}
	for acct := exchange.AccountID(1); acct <= 2; acct++ {
		apply(exchange.Deposit(acct, 1, 1<<40))
		apply(exchange.Deposit(acct, 2, 1<<40))
	}
	apply(exchange.SetFees(1, maker, taker))
	for _, f := range takes {
		apply(exchange.LimitOrder(1, 2, side.Opposite(), f.px, f.qty))
	}
	fee := exchange.Amount(0)
	events := apply(exchange.LimitOrder(1, 1, side, px, qty))
	for i := range events {
		fee += events[i].Fee
	}
	for _, f := range makes {
		for _, ev := range apply(exchange.LimitOrder(1, 2, side.Opposite(), f.px, f.qty)) {
			fee += ev.MakerFee
		}
	}
	require.Zero(rt, e.Balance(1, 1).Held+e.Balance(1, 2).Held, "filled, so nothing is held")
	require.Zero(rt, e.Book(1).Len())
	return fee
}

// TestNeedCoversEveryFill: what Need says before a fill pays for the fill with
// its fee and for what Need says after it, whatever fills of whatever role
// come: FUNDS-001, FUNDS-002, FEE-002.
func TestNeedCoversEveryFill(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := newInstrument(rt, nil)
		rates := rapid.IntRange(-999_999, 999_999)
		maker, taker := exchange.FeeRate(rates.Draw(rt, "maker")), exchange.FeeRate(rates.Draw(rt, "taker"))
		o := followed{terms: exchange.Terms{Side: exchange.Buy, Price: exchange.Price(rapid.IntRange(1, 1_000_000).Draw(rt, "price")),
			LeavesQty: exchange.Qty(rapid.IntRange(1, 1000).Draw(rt, "qty")), MakerFee: maker, TakerFee: taker}}
		for o.terms.LeavesQty > 0 {
			before, ok := in.Need(&o.terms)
			require.True(rt, ok)
			q := exchange.Qty(rapid.IntRange(1, int(o.terms.LeavesQty)).Draw(rt, "fill"))
			px := exchange.Price(rapid.IntRange(1, int(o.terms.Price)).Draw(rt, "at"))
			n, _ := in.Notional(px, q)
			rate := taker
			if rapid.Bool().Draw(rt, "maker") {
				rate = maker
			}
			booked := o.booked
			o.exact += int64(rate) * int64(n)
			o.booked = exchange.Amount(ceilMillion(big.NewInt(o.exact)).Int64())
			o.terms.LeavesQty -= q
			o.terms.FeeRemainder = int32(int64(o.booked)*exchange.FeeRateUnit - o.exact)
			after, ok := in.Need(&o.terms)
			require.True(rt, ok)
			require.GreaterOrEqual(rt, before, n+o.booked-booked+after)
		}
	})
}
