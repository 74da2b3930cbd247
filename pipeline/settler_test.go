package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// books are the funds of a venue whose engine has none, beside an engine that
// keeps them itself and gets the same commands.
type books struct {
	*scribe
	d        *drawer
	balances *memory.Balances
	settler  *pipeline.Settler
	ledger   *exchange.Engine
	holding  []exchange.AccountID // all that ever were
	transfer int
}

func newBooks(t *rapid.T) *books {
	in := scribeInstrument(t, 1)
	b := &books{scribe: newScribe(t, in, exchange.FundsHeld), balances: memory.NewBalances(memory.BalancesConfig{EndedSpan: 1 << 60})}
	b.d = &drawer{pick: func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "") }, s: b.scribe, now: 1000}
	b.restart()
	var err error
	b.ledger, err = exchange.NewEngine(scribeConfig(exchange.FundsLedger, in))
	require.NoError(t, err)
	for acct := exchange.AccountID(1); acct <= drawnAccounts; acct++ {
		for _, asset := range b.assets() {
			b.deposit(acct, asset, 40_000)
		}
	}
	return b
}

func (b *books) assets() []exchange.AssetID {
	return []exchange.AssetID{b.in.Base().ID, b.in.Quote().ID}
}

// restart begins with a Settler that knows nothing.
func (b *books) restart() {
	var err error
	var balances pipeline.Balances = b.balances
	if b.d.pick(2) == 1 {
		balances = &several{b.balances, b.d.pick}
	}
	b.settler, err = pipeline.NewSettler(pipeline.SettlerConfig{Instruments: []*exchange.Instrument{b.in}, Log: pipeline.NewLog(b.journal), Balances: balances})
	require.NoError(b.t, err)
}

// several is a Balances that books as many items at once as it likes.
type several struct {
	*memory.Balances
	pick func(n int) int
}

// SettleAll implements pipeline.SettlerOfMany.
func (s *several) SettleAll(ctx context.Context, items []pipeline.Committed, settlements []*pipeline.Settlement) (int, error) {
	n := 1 + s.pick(len(items))
	for i := range n {
		if err := s.Settle(ctx, items[i], settlements[i]); err != nil {
			return i, err
		}
	}
	return n, nil
}

func (b *books) knows(acct exchange.AccountID) {
	if !slices.Contains(b.holding, acct) {
		b.holding = append(b.holding, acct)
	}
}

func (b *books) deposit(acct exchange.AccountID, asset exchange.AssetID, n exchange.Amount) {
	b.knows(acct)
	b.transfer++
	require.NoError(b.t, b.balances.Deposit(context.Background(), pipeline.Transfer{ID: scribeID(1_000_000 + b.transfer), Account: acct, Asset: asset, Amount: n, Time: b.d.now}))
	b.ledgerApply(exchange.Deposit(acct, asset, n))
}

// ledgerApply applies what must be taken.
func (b *books) ledgerApply(c exchange.Command) {
	events := b.ledger.Apply(nil, &c)
	reason, refused := exchange.Rejected(events)
	require.False(b.t, refused, "%v: %+v", reason, c)
}

// send holds something for a command, and gives it to both engines. While the
// ledger applies it, the account has just what is held.
func (b *books) send(m pipeline.Message, again bool) {
	c := &m.Command
	var side exchange.Side
	switch c.Kind {
	case exchange.KindNewOrder:
		side = c.Side
	case exchange.KindAmend, exchange.KindReplace:
		o, ok := b.engine.Book(b.in.ID()).Order(c.OrderID)
		if !ok {
			o, _ = b.engine.Book(b.in.ID()).OrderByCommand(c.OrigID)
		}
		side = o.Side
	}
	asset := b.in.Base().ID
	if side == exchange.Buy {
		asset = b.in.Quote().ID
	}
	mine := c.Instrument == b.in.ID() // a spoiled command of stream 0 may be an order; nothing is held for it
	funded := mine && (c.Kind == exchange.KindNewOrder || c.Kind == exchange.KindAmend || c.Kind == exchange.KindReplace)
	if funded && slices.ContainsFunc(b.orders(), func(o exchange.Order) bool { return o.Expire != 0 && o.Expire <= c.Time }) {
		// What expires by the command itself would pay for it in the ledger.
		b.d.n++
		first := exchange.AdvanceTime(b.in.ID(), c.Time)
		first.ID, first.Time = scribeID(b.d.n), c.Time
		b.send(pipeline.Message{Command: first}, true)
	}
	if (funded || mine && c.Kind == exchange.KindVoid && c.Value == 0) && !again && c.Account != 0 {
		b.knows(c.Account)
		a, err := b.balances.Account(context.Background(), c.Account)
		require.NoError(b.t, err)
		c.Held = b.amount(assetOf(a, asset).Available)
		require.NoError(b.t, b.balances.Hold(context.Background(), pipeline.Hold{ID: c.ID, Account: c.Account, Instrument: b.in.ID(),
			Asset: asset, Amount: c.Held, Time: c.Time, NewOrder: c.Kind != exchange.KindAmend}))
	}
	if !again {
		b.d.sent = append(b.d.sent, m)
	}
	events := b.apply(m)

	spare := exchange.Amount(0)
	if funded && c.Account != 0 {
		spare = b.ledger.Balance(c.Account, asset).Available - c.Held
	}
	if spare > 0 {
		b.ledgerApply(exchange.Withdraw(c.Account, asset, spare))
	}
	lc := *c
	lc.Held = 0
	ledgered := b.ledger.Apply(nil, &lc)
	if spare > 0 {
		b.ledgerApply(exchange.Deposit(c.Account, asset, spare))
	}
	require.Equal(b.t, story(ledgered), story(events), "%+v", *c)
}

func (b *books) amount(available exchange.Amount) exchange.Amount {
	available = min(available, exchange.MaxHeld)
	switch b.d.pick(6) {
	case 0:
		return 0
	case 1:
		return exchange.Amount(b.d.pick(int(available) + 1))
	case 2:
		return min(available, exchange.Amount(b.d.pick(3000)))
	}
	return available
}

// story is what happened, without what only one mode of funds tells.
func story(events []exchange.Event) (out []string) {
	for _, ev := range events {
		if ev.Instrument == 0 {
			ev.Seq = 0 // only one of them has had deposits
		}
		out = append(out, fmt.Sprintf("%d %v %v %d %d/%d %d@%d fee %d/%d leaves %d/%d", ev.Seq, ev.Kind, ev.Reason, ev.Account,
			ev.OrderID, ev.MakerOrderID, ev.Qty, ev.Price, ev.Fee, ev.MakerFee, ev.LeavesQty, ev.MakerLeavesQty))
	}
	return out
}

func assetOf(a pipeline.Account, asset exchange.AssetID) exchange.Balance {
	for _, b := range a.Balances {
		if b.Asset == asset {
			return b.Balance
		}
	}
	return exchange.Balance{}
}

// settle books what is committed, sometimes by a new Settler, sometimes told
// twice, and looks whether all agree.
func (b *books) settle() {
	b.commit()
	if b.head.Position == 0 {
		return
	}
	if b.d.one(4) {
		b.restart()
	}
	n := b.notice()
	require.NoError(b.t, b.settler.Handle(context.Background(), n))
	if b.d.one(3) {
		n.Position = pipeline.Position(1 + b.d.pick(int(n.Position)))
		b.restart()
		require.NoError(b.t, b.settler.Handle(context.Background(), n))
		for _, c := range b.items()[n.Position-1:] { // to the letter
			require.NoError(b.t, b.balances.Settle(context.Background(), c, pipeline.Settle(b.in, c.Batch())))
		}
	}
	b.agree()
}

// agree compares what Balances has with the engine that keeps the funds.
func (b *books) agree() {
	ctx := context.Background()
	settled, err := b.balances.Settled(ctx, b.in.ID())
	require.NoError(b.t, err)
	require.Equal(b.t, b.head.Position, settled)
	open := map[exchange.AccountID]int64{}
	for _, o := range b.orders() {
		open[o.Account]++
		h, err := b.balances.HoldByID(ctx, o.Account, o.CommandID)
		require.NoError(b.t, err, "%+v", o)
		require.Equal(b.t, pipeline.HoldOpen, h.State)
		require.Equal(b.t, o.Held, h.Remaining, "%+v", o)
	}
	for _, acct := range b.holding {
		a, err := b.balances.Account(ctx, acct)
		require.NoError(b.t, err)
		require.Equal(b.t, open[acct], a.OpenOrders, "open orders of account %d", acct)
		for _, asset := range b.assets() {
			require.Equal(b.t, b.ledger.Balance(acct, asset), assetOf(a, asset), "asset %d of account %d", asset, acct)
		}
	}
	fees, err := b.balances.Venue(ctx, b.in.ID())
	require.NoError(b.t, err)
	require.Equal(b.t, b.ledger.Balance(0, b.in.Quote().ID), assetOf(pipeline.Account{Balances: fees}, b.in.Quote().ID), "fees")
	placed, err := b.balances.Placed(ctx, 1<<60, nil, pipeline.MaxQueryRows)
	require.NoError(b.t, err)
	require.Empty(b.t, placed, "every hold was decided on")
}

// TestSettlerAgreesWithLedger: funds that are held and settled outside are at
// every journal item what an engine has that keeps them itself: FUNDS-002,
// FUNDS-003, FUNDS-004, FUNDS-005, FUNDS-006, FUNDS-007, FUNDS-010, EVENT-004.
func TestSettlerAgreesWithLedger(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBooks(rt)
		for range 10 + b.d.pick(150) {
			switch {
			case b.d.one(12):
				b.deposit(b.d.account(), b.assets()[b.d.pick(2)], exchange.Amount(1+b.d.pick(9000)))
			default:
				b.send(b.d.message())
			}
			if b.d.one(4) {
				b.commit()
			}
			if b.d.one(12) {
				b.settle()
			}
		}
		for _, c := range []exchange.Command{exchange.LiftKill(1, 0), exchange.MassCancel(1, 0)} {
			c.Time = b.d.now
			b.d.n++
			c.ID = scribeID(b.d.n)
			b.send(pipeline.Message{Command: c}, false)
		}
		b.settle()
		require.Empty(rt, b.orders())
		for _, acct := range b.holding {
			a, err := b.balances.Account(context.Background(), acct)
			require.NoError(rt, err)
			for _, asset := range b.assets() {
				require.Zero(rt, assetOf(a, asset).Held, "account %d", acct)
			}
		}
	})
}

// choosy is a Pusher that says whose balances somebody listens to.
type choosy struct {
	pipeline.Pusher
	listens exchange.AccountID
	heard   []exchange.AccountID
}

func (c *choosy) BalanceListeners(context.Context, []exchange.AccountID) ([]exchange.AccountID, error) {
	return []exchange.AccountID{c.listens}, nil
}

func (c *choosy) Notify(_ context.Context, messages []pipeline.Push) error {
	for i := range messages {
		c.heard = append(c.heard, messages[i].Account)
	}
	return nil
}

// Balances are pushed to those who listen, as the Pusher says.
func TestBalancesForListeners(t *testing.T) {
	to := &choosy{listens: 2}
	feed := pipeline.NewBalanceFeed([]*exchange.Instrument{scribeInstrument(t, 1)}, memory.NewBalances(memory.BalancesConfig{}), to)
	require.NoError(t, feed.Push(t.Context(), 1, 1, 2, 3))
	require.Equal(t, []exchange.AccountID{2}, to.heard)
}
