package dynamodb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// kinds are the errors a Balances may give; two are the same when they match
// the same of these.
var kinds = []error{
	pipeline.ErrNotFound, pipeline.ErrGap, pipeline.ErrConflict, pipeline.ErrHoldEnded, pipeline.ErrInvalid,
	exchange.UnknownAccount, exchange.InvalidFunds, exchange.InvalidHeld, exchange.AccountNotActive, exchange.KillSwitchEngaged, exchange.MessageRate,
	exchange.MaxOpenOrders, exchange.MaxPosition, exchange.InsufficientFunds, exchange.AmountOverflow,
}

func kind(err error) string {
	if err == nil {
		return "none"
	}
	for _, k := range kinds {
		if errors.Is(err, k) {
			return k.Error()
		}
	}
	return "another: " + err.Error()
}

// It does what package memory does, whatever happens to its requests.
func TestAgreesWithMemory(t *testing.T) {
	t.Parallel()
	newClient(t, nil) // skips without the program
	rapid.Check(t, func(rt *rapid.T) {
		_, table := newTables(t)
		w := &wire{}
		d := &differ{wire: w, want: memory.NewBalances(memory.BalancesConfig{}), got: newBalances(t, table, w), heads: map[exchange.InstrumentID]pipeline.Position{}}
		if rapid.Bool().Draw(rt, "funded") { // or little would happen
			for n := range 4 {
				d.same(rt, func(b pipeline.Balances) error {
					return b.Deposit(context.Background(), pipeline.Transfer{ID: id(200 + n), Account: exchange.AccountID(n/2 + 1), Asset: exchange.AssetID(n%2 + 1), Amount: 100})
				})
			}
		}
		rt.Repeat(map[string]func(*rapid.T){"transfer": d.transfer, "hold": d.hold, "settle": d.settle, "limits": d.limits, "span": d.span, "forget": d.forget})
		d.check(rt)
	})
}

type differ struct {
	wire  *wire
	want  *memory.Balances
	got   *dynamodb.Balances
	heads map[exchange.InstrumentID]pipeline.Position
	now   exchange.Time
	calm  bool // message rates are counted, and a refusal counts again when it is tried again
}

// same makes a call of both, under a fault.
func (d *differ) same(rt *rapid.T, call func(pipeline.Balances) error) {
	if f := fault(rapid.IntRange(0, 8).Draw(rt, "fault")); f <= broken && !d.calm {
		d.wire.set("", rapid.IntRange(1, 3).Draw(rt, "request"), f)
	}
	want, got := call(d.want), call(d.got)
	require.Equal(rt, kind(want), kind(got), "memory: %v, DynamoDB: %v", want, got)
}

var (
	accounts = rapid.SampledFrom([]exchange.AccountID{1, 1, 1, 2, 2, 3})
	assets   = rapid.Map(rapid.Uint32Range(1, 2), func(n uint32) exchange.AssetID { return exchange.AssetID(n) })
	ids      = rapid.IntRange(1, 6)
	amounts  = rapid.Map(rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(-2, 120), rapid.SampledFrom([]int64{1<<63 - 1, 1 << 62, 1<<62 + 1})), func(n int64) exchange.Amount { return exchange.Amount(n) })
)

// holdID returns an id that no other account has: hashes never are the same.
func holdID(acct exchange.AccountID, n int) exchange.CommandID { return id(n + 10*int(acct)) }

func (d *differ) time(rt *rapid.T) exchange.Time {
	d.now += exchange.Time(rapid.Int64Range(0, 8).Draw(rt, "elapsed"))
	return d.now - exchange.Time(rapid.Int64Range(0, 12).Draw(rt, "late"))
}

func (d *differ) transfer(rt *rapid.T) {
	tr := pipeline.Transfer{ID: id(ids.Draw(rt, "id")), Account: accounts.Draw(rt, "account"), Asset: assets.Draw(rt, "asset"), Amount: amounts.Draw(rt, "amount"), Time: d.time(rt)}
	withdraw := rapid.Bool().Draw(rt, "withdraw")
	for range rapid.IntRange(1, 2).Draw(rt, "times") {
		d.same(rt, func(b pipeline.Balances) error {
			if withdraw {
				return b.Withdraw(context.Background(), tr)
			}
			return b.Deposit(context.Background(), tr)
		})
	}
}

func (d *differ) hold(rt *rapid.T) {
	acct := accounts.Draw(rt, "account")
	h := pipeline.Hold{ID: holdID(acct, ids.Draw(rt, "id")), Account: acct, Instrument: 7, Asset: assets.Draw(rt, "asset"), Amount: amounts.Draw(rt, "amount"), Time: d.time(rt),
		NewOrder: rapid.Bool().Draw(rt, "new"), GainAsset: assets.Draw(rt, "gain asset"), Gain: amounts.Draw(rt, "gain"), Request: [16]byte{byte(ids.Draw(rt, "request"))}}
	for range rapid.IntRange(1, 2).Draw(rt, "times") {
		d.same(rt, func(b pipeline.Balances) error { return b.Hold(context.Background(), h) })
	}
}

// settle books an item, now and then one that is wrong.
func (d *differ) settle(rt *rapid.T) {
	inst := exchange.InstrumentID(rapid.Uint32Range(7, 8).Draw(rt, "instrument"))
	log := pipeline.NewLog(memory.NewJournal())
	var c pipeline.Committed
	for pos := range d.heads[inst] + 1 {
		var at pipeline.Head
		if pos > 0 {
			at = c.Head()
		}
		var err error
		c, err = log.Append(context.Background(), at, &pipeline.Batch{Instrument: inst, Entries: []pipeline.Entry{{Events: []exchange.Event{{Seq: 1, Time: d.now}}}}})
		require.NoError(rt, err)
	}
	s := &pipeline.Settlement{}
	sums := map[exchange.AssetID]exchange.Amount{}
	for acct := exchange.AccountID(1); acct <= 3; acct++ {
		// Of several accounts some may be booked when one is wrong, other ones
		// here than there: an item that may be wrong names one.
		if len(s.Accounts) == 0 && rapid.Bool().Draw(rt, "named") {
			s.Accounts = append(s.Accounts, d.entry(rt, acct, sums))
		}
	}
	for _, asset := range slices.Sorted(maps.Keys(sums)) {
		s.Fees = append(s.Fees, pipeline.AssetChange{Asset: asset, Available: -sums[asset]})
	}
	before := d.heads[inst]
	for range rapid.IntRange(1, 2).Draw(rt, "times") {
		d.same(rt, func(b pipeline.Balances) error { return b.Settle(context.Background(), c, s) })
	}
	settled, err := d.want.Settled(context.Background(), inst)
	require.NoError(rt, err)
	d.heads[inst] = settled
	require.LessOrEqual(rt, settled, before+1)
}

func (d *differ) entry(rt *rapid.T, acct exchange.AccountID, sums map[exchange.AssetID]exchange.Amount) pipeline.AccountSettlement {
	s := pipeline.AccountSettlement{Account: acct}
	held := map[exchange.AssetID]exchange.Amount{}
	var sorted []exchange.CommandID
	for _, n := range rapid.SliceOfNDistinct(ids, 0, 4, rapid.ID[int]).Draw(rt, "ids") {
		sorted = append(sorted, holdID(acct, n))
	}
	slices.SortFunc(sorted, func(a, b exchange.CommandID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range sorted {
		if rapid.IntRange(0, 3).Draw(rt, "refused") == 0 {
			s.Refused = append(s.Refused, id)
			continue
		}
		h, err := d.want.HoldByID(context.Background(), acct, id)
		ch := pipeline.HoldChange{ID: id, Asset: assets.Draw(rt, "asset"), NewOrder: rapid.Bool().Draw(rt, "new")}
		if err == nil {
			ch.Asset = h.Asset
		}
		switch rapid.IntRange(0, 3).Draw(rt, "change") {
		case 0: // ends
			ch.Delta, ch.Ended = -h.Remaining, true
		case 1: // partly spent
			ch.Delta = -h.Remaining / 2
		case 2: // something that may be wrong
			ch.Delta, ch.Ended = exchange.Amount(rapid.Int64Range(-40, 40).Draw(rt, "delta")), rapid.Bool().Draw(rt, "ended")
		}
		held[ch.Asset] += ch.Delta
		s.Holds = append(s.Holds, ch)
	}
	for asset := exchange.AssetID(1); asset <= 2; asset++ {
		ch := pipeline.AssetChange{Asset: asset, Held: held[asset]}
		if rapid.Bool().Draw(rt, "paid") {
			ch.Available = -held[asset] + exchange.Amount(rapid.Int64Range(-10, 20).Draw(rt, "paid"))
		}
		if ch.Held != 0 || ch.Available != 0 {
			s.Assets = append(s.Assets, ch)
			sums[asset] += ch.Held + ch.Available
		}
	}
	return s
}

func (d *differ) limits(rt *rapid.T) {
	limits := pipeline.AccountLimits{MaxOpenOrders: rapid.Int64Range(-1, 3).Draw(rt, "orders"), MaxMessages: rapid.Int64Range(0, 3).Draw(rt, "messages"),
		MessageWindow: exchange.Time(rapid.Int64Range(0, 20).Draw(rt, "window")), MaxHolding: exchange.Amount(rapid.SampledFrom([]int64{0, 0, 50, 150}).Draw(rt, "holding"))}
	d.calm = d.calm || limits.MaxMessages > 0
	acct := accounts.Draw(rt, "account")
	d.same(rt, func(b pipeline.Balances) error { return b.SetLimits(context.Background(), acct, limits) })
}

func (d *differ) span(rt *rapid.T) {
	cmd := exchange.Command{Kind: rapid.SampledFrom([]exchange.CommandKind{exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill, exchange.KindLiftKill,
		exchange.KindAccountState, exchange.KindAccountState, exchange.KindNewOrder}).Draw(rt, "kind"), ID: id(ids.Draw(rt, "id")), Account: accounts.Draw(rt, "account")}
	cmd.AccountState = exchange.AccountState(rapid.SampledFrom([]uint8{0, 1, 1, 2, 3, 4}).Draw(rt, "state"))
	d.same(rt, func(b pipeline.Balances) error { return b.Span(context.Background(), cmd) })
}

func (d *differ) forget(rt *rapid.T) {
	n := id(ids.Draw(rt, "id"))
	d.same(rt, func(b pipeline.Balances) error { return b.Forget(context.Background(), n) })
}

// check compares whatever can be read.
func (d *differ) check(rt *rapid.T) {
	ctx := context.Background()
	read := func(what string, f func(b pipeline.Balances) (any, error)) {
		want, err1 := f(d.want)
		got, err2 := f(d.got)
		require.Equal(rt, kind(err1), kind(err2), what)
		// As text, to which an empty list and none are the same.
		require.Equal(rt, fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got), what)
	}
	for acct := exchange.AccountID(1); acct <= 4; acct++ {
		read(fmt.Sprint("account ", acct), func(b pipeline.Balances) (any, error) { return b.Account(ctx, acct) })
		for n := range 7 {
			read("hold", func(b pipeline.Balances) (any, error) { return b.HoldByID(ctx, acct, holdID(acct, n)) })
		}
	}
	for inst := exchange.InstrumentID(7); inst <= 8; inst++ {
		read("settled", func(b pipeline.Balances) (any, error) { return b.Settled(ctx, inst) })
		read("venue", func(b pipeline.Balances) (any, error) {
			v, err := b.Venue(ctx, inst)
			return slices.DeleteFunc(v, func(v pipeline.AssetBalance) bool { return v.Balance == exchange.Balance{} }), err
		})
	}
	for _, limit := range []int{1, 2, 1000} {
		read("spanning", func(b pipeline.Balances) (any, error) { return b.Spanning(ctx, limit) })
		read("placed", func(b pipeline.Balances) (any, error) { return b.Placed(ctx, d.now-3, nil, limit) })
	}
}
