package ledger_test

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
	"github.com/castlecloud/exchange/adapters/internal/ledger"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// kinds are the errors a ledger may give; two are the same when they match the
// same of these.
var kinds = []error{
	pipeline.ErrNotCommitted, pipeline.ErrNotFound, pipeline.ErrGap, pipeline.ErrConflict, pipeline.ErrHoldEnded, pipeline.ErrFull, pipeline.ErrInvalid,
	exchange.UnknownAccount, exchange.InvalidFunds, exchange.InvalidHeld, exchange.AccountNotActive, exchange.KillSwitchEngaged, exchange.MessageRate,
	exchange.MaxOpenOrders, exchange.MaxPosition, exchange.InsufficientFunds, exchange.AmountOverflow, exchange.StaleCommand, exchange.TooManyAccounts,
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

// kept is a ledger with a store, which is a map.
type kept struct {
	*ledger.Ledger
	cfg  memory.BalancesConfig
	rows map[string][]byte
	// grouped is how many calls will go into one group.
	grouped int
}

func newKept(cfg memory.BalancesConfig) *kept {
	k := &kept{cfg: cfg, rows: map[string][]byte{}}
	k.Ledger = ledger.New(cfg, k.do)
	return k
}

// do makes every call a group of its own, unless a longer one was begun.
func (k *kept) do(_ context.Context, f func() error) error {
	err := f()
	if k.grouped == 0 {
		k.flush()
	}
	return err
}

func rowKey(t ledger.Table, key []byte) string { return string(append([]byte{byte(t)}, key...)) }

func (k *kept) flush() {
	k.Flush(func(t ledger.Table, key, value []byte) {
		if value == nil {
			delete(k.rows, rowKey(t, key))
		} else {
			k.rows[rowKey(t, key)] = bytes.Clone(value)
		}
	})
	k.Committed()
}

// restart replaces the ledger by what its rows say.
func (k *kept) restart() error {
	k.Ledger = ledger.New(k.cfg, k.do)
	for key, value := range k.rows { // in any order
		if err := k.Load(ledger.Table(key[0]), []byte(key[1:]), value); err != nil {
			return err
		}
	}
	k.Ready()
	return nil
}

// all returns the rows that All puts.
func (k *kept) all() map[string][]byte {
	out := map[string][]byte{}
	k.All(func(t ledger.Table, key, value []byte) { out[rowKey(t, key)] = bytes.Clone(value) })
	return out
}

const maxID = 6

// holdID returns an id that no other account has: hashes never are the same.
func holdID(acct exchange.AccountID, n int) exchange.CommandID {
	if n == 0 {
		return exchange.CommandID{}
	}
	return id(n + 10*int(acct))
}

func id(n int) exchange.CommandID { return exchange.CommandID{15: byte(n), 0: byte(n * 37)} }

// The ledger does what package memory does, also when it was put down and
// brought back from its rows at any moment.
func TestAgreesWithMemory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := memory.BalancesConfig{MaxHolds: 6, MaxEnded: 3, EndedSpan: 40, MaxTransfers: 4, MaxSpanning: 2, MaxSpanningSeen: 1000}
		d := &differ{rt: rt, want: memory.NewBalances(cfg), got: newKept(cfg), log: pipeline.NewLog(memory.NewJournal()), heads: map[exchange.InstrumentID]pipeline.Head{}}
		// Most runs have funds to begin with, or little would happen.
		if rapid.Bool().Draw(rt, "funded") {
			for acct := range exchange.AccountID(2) {
				for asset := range exchange.AssetID(2) {
					n := int(acct)*2 + int(asset)
					d.same(func(b pipeline.Balances) error {
						return b.Deposit(t.Context(), pipeline.Transfer{ID: id(200 + n), Account: acct + 1, Asset: asset + 1, Amount: 100})
					})
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"transfer": d.transfer, "hold": d.hold, "again": d.again, "settle": d.settle, "limits": d.limits, "span": d.span, "forget": d.forget,
			"group": func(rt *rapid.T) { d.got.grouped = rapid.IntRange(1, 6).Draw(rt, "calls") }, "restart": d.restart, "": d.check,
		})
	})
}

type differ struct {
	rt    *rapid.T
	want  *memory.Balances
	got   *kept
	log   *pipeline.Log
	heads map[exchange.InstrumentID]pipeline.Head
	last  pipeline.Hold
	now   exchange.Time
}

func (d *differ) same(call func(pipeline.Balances) error) {
	want, got := call(d.want), call(d.got)
	require.Equal(d.rt, kind(want), kind(got), "memory: %v, ledger: %v", want, got)
}

var (
	accounts = rapid.SampledFrom([]uint64{0, 1, 1, 1, 2, 2, 3})
	assets   = rapid.Uint32Range(1, 2)
	ids      = rapid.IntRange(0, maxID)
	amounts  = rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(-2, 120), rapid.SampledFrom([]int64{1<<63 - 1, 1 << 62, 1<<62 + 1}))
)

func (d *differ) time(rt *rapid.T) exchange.Time {
	d.now += exchange.Time(rapid.Int64Range(0, 8).Draw(rt, "elapsed"))
	return d.now - exchange.Time(rapid.Int64Range(0, 12).Draw(rt, "late"))
}

func (d *differ) transfer(rt *rapid.T) {
	tr := pipeline.Transfer{ID: id(ids.Draw(rt, "id")), Account: exchange.AccountID(accounts.Draw(rt, "account")), Asset: exchange.AssetID(assets.Draw(rt, "asset")),
		Amount: exchange.Amount(amounts.Draw(rt, "amount")), Time: d.time(rt)}
	if rapid.Bool().Draw(rt, "withdraw") {
		d.same(func(b pipeline.Balances) error { return b.Withdraw(context.Background(), tr) })
		return
	}
	d.same(func(b pipeline.Balances) error { return b.Deposit(context.Background(), tr) })
}

func (d *differ) hold(rt *rapid.T) {
	acct := exchange.AccountID(accounts.Draw(rt, "account"))
	d.last = pipeline.Hold{ID: holdID(acct, ids.Draw(rt, "id")), Account: acct, Instrument: 7, Asset: exchange.AssetID(assets.Draw(rt, "asset")),
		Amount: exchange.Amount(amounts.Draw(rt, "amount")), Time: d.time(rt), NewOrder: rapid.Bool().Draw(rt, "new"),
		GainAsset: exchange.AssetID(assets.Draw(rt, "gain asset")), Gain: exchange.Amount(amounts.Draw(rt, "gain")),
		WorstPrice: exchange.Price(rapid.Int64Range(0, 2).Draw(rt, "worst")), Request: [16]byte{byte(ids.Draw(rt, "request"))}}
	d.again(rt)
}

func (d *differ) again(*rapid.T) {
	d.same(func(b pipeline.Balances) error { return b.Hold(context.Background(), d.last) })
}

// settle books an item, now and then one that is wrong.
func (d *differ) settle(rt *rapid.T) {
	inst := exchange.InstrumentID(rapid.Uint32Range(7, 8).Draw(rt, "instrument"))
	batch := &pipeline.Batch{Instrument: inst}
	if rapid.Bool().Draw(rt, "timed") {
		batch.Entries = []pipeline.Entry{{Events: []exchange.Event{{Seq: 1, Time: d.time(rt)}}}}
	}
	c, err := d.log.Append(context.Background(), d.heads[inst], batch)
	require.NoError(rt, err)
	s := &pipeline.Settlement{}
	sums := map[exchange.AssetID]exchange.Amount{}
	for acct := exchange.AccountID(1); acct <= 3; acct++ {
		if rapid.Bool().Draw(rt, "named") {
			s.Accounts = append(s.Accounts, d.entry(rt, acct, sums))
		}
	}
	for _, asset := range slices.Sorted(maps.Keys(sums)) {
		s.Fees = append(s.Fees, pipeline.AssetChange{Asset: asset, Available: -sums[asset]})
	}
	if rapid.IntRange(0, 20).Draw(rt, "unsound") == 0 {
		s.Fees = append(s.Fees, pipeline.AssetChange{Asset: 9, Available: 1})
	}
	if err := d.got.Settle(context.Background(), c, s); err != nil && len(s.Accounts) > 1 {
		// Here memory would book some accounts; the ledger books none.
		require.ErrorIs(rt, err, pipeline.ErrInvalid)
	} else {
		wanted := d.want.Settle(context.Background(), c, s)
		require.Equal(rt, kind(wanted), kind(err), "memory: %v, ledger: %v", wanted, err)
		if err == nil {
			d.heads[inst] = c.Head()
			d.same(func(b pipeline.Balances) error { return b.Settle(context.Background(), c, s) })
			return
		}
	}
	// The item is not settled, so another must take its place.
	d.log = pipeline.NewLog(memory.NewJournal())
	for inst, head := range d.heads {
		var at pipeline.Head
		for at.Position < head.Position {
			c, err := d.log.Append(context.Background(), at, &pipeline.Batch{Instrument: inst})
			require.NoError(rt, err)
			at = c.Head()
		}
		d.heads[inst] = at
	}
}

func (d *differ) entry(rt *rapid.T, acct exchange.AccountID, sums map[exchange.AssetID]exchange.Amount) pipeline.AccountSettlement {
	s := pipeline.AccountSettlement{Account: acct}
	held := map[exchange.AssetID]exchange.Amount{}
	named := rapid.SliceOfNDistinct(ids, 0, 4, rapid.ID[int]).Draw(rt, "ids")
	sorted := make([]exchange.CommandID, len(named))
	for i, n := range named {
		sorted[i] = holdID(acct, n)
	}
	slices.SortFunc(sorted, func(a, b exchange.CommandID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range sorted {
		if id == (exchange.CommandID{}) {
			continue
		}
		h, err := d.want.HoldByID(context.Background(), acct, id)
		if rapid.IntRange(0, 3).Draw(rt, "refused") == 0 {
			s.Refused = append(s.Refused, id)
			continue
		}
		ch := pipeline.HoldChange{ID: id, Asset: exchange.AssetID(assets.Draw(rt, "asset")), NewOrder: rapid.Bool().Draw(rt, "new")}
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
	acct := exchange.AccountID(accounts.Draw(rt, "account"))
	d.same(func(b pipeline.Balances) error { return b.SetLimits(context.Background(), acct, limits) })
}

func (d *differ) span(rt *rapid.T) {
	cmd := exchange.Command{Kind: rapid.SampledFrom([]exchange.CommandKind{exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill, exchange.KindLiftKill,
		exchange.KindAccountState, exchange.KindAccountState, exchange.KindNewOrder}).Draw(rt, "kind"), ID: id(ids.Draw(rt, "id")), Account: exchange.AccountID(accounts.Draw(rt, "account"))}
	cmd.AccountState = exchange.AccountState(rapid.SampledFrom([]uint8{0, 1, 1, 2, 3, 4}).Draw(rt, "state"))
	d.same(func(b pipeline.Balances) error { return b.Span(context.Background(), cmd) })
}

func (d *differ) forget(rt *rapid.T) {
	n := id(ids.Draw(rt, "id"))
	d.same(func(b pipeline.Balances) error { return b.Forget(context.Background(), n) })
}

func (d *differ) restart(rt *rapid.T) {
	d.got.flush()
	require.False(rt, d.got.Changed(), "after Flush")
	require.Equal(rt, d.got.rows, d.got.all(), "rows that Flush has put, and all")
	require.NoError(rt, d.got.restart())
	require.False(rt, d.got.Changed(), "after a start")
	require.Equal(rt, d.got.rows, d.got.all(), "rows after a start")
}

// check compares whatever can be read.
func (d *differ) check(rt *rapid.T) {
	if d.got.grouped > 0 {
		if d.got.grouped--; d.got.grouped > 0 {
			return // nobody can see it yet
		}
		d.got.flush()
	}
	ctx := context.Background()
	read := func(what string, f func(b pipeline.Balances) (any, error)) {
		want, err1 := f(d.want)
		got, err2 := f(d.got)
		require.Equal(rt, kind(err1), kind(err2), what)
		// As text, to which an empty list and none are the same.
		require.Equal(rt, fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got), what)
	}
	for acct := range exchange.AccountID(5) {
		read(fmt.Sprint("account ", acct), func(b pipeline.Balances) (any, error) { return b.Account(ctx, acct) })
		for n := range maxID + 1 {
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
	for _, limit := range []int{0, 1, 2, 1000, 1001} {
		read("spanning", func(b pipeline.Balances) (any, error) { return b.Spanning(ctx, limit) })
		var after *pipeline.HoldRecord
		for range 8 {
			read("placed", func(b pipeline.Balances) (any, error) { return b.Placed(ctx, d.now-3, after, limit) })
			page, _ := d.got.Placed(ctx, d.now-3, after, limit)
			if len(page) == 0 {
				break
			}
			after = &page[len(page)-1]
		}
	}
}

// Rows that are cut short or of no kind are refused, and none makes Load panic.
func TestLoadRefusesDamage(t *testing.T) {
	ctx := context.Background()
	k := newKept(memory.BalancesConfig{})
	require.NoError(t, k.Deposit(ctx, pipeline.Transfer{ID: id(1), Account: 1, Asset: 1, Amount: 10}))
	require.NoError(t, k.Hold(ctx, pipeline.Hold{ID: id(2), Account: 1, Instrument: 1, Asset: 1, Amount: 3}))
	require.NoError(t, k.Span(ctx, exchange.Command{Kind: exchange.KindKill, ID: id(3), Account: 1}))
	c, err := pipeline.NewLog(memory.NewJournal()).Append(ctx, pipeline.Head{}, &pipeline.Batch{Instrument: 1})
	require.NoError(t, err)
	require.NoError(t, k.Settle(ctx, c, &pipeline.Settlement{
		Accounts: []pipeline.AccountSettlement{{Account: 1, Assets: []pipeline.AssetChange{{Asset: 1, Available: -1}}}}, Fees: []pipeline.AssetChange{{Asset: 1, Available: 1}}}))
	tables := map[byte]bool{}
	for key, value := range k.rows {
		tables[key[0]] = true
		table := ledger.Table(key[0])
		for n := range value {
			if err := ledger.New(k.cfg, k.do).Load(table, []byte(key[1:]), value[:n]); err == nil && (table != ledger.Accounts && table != ledger.Venue || n == len(value)-1) {
				// What an account has is a list, which may be shorter.
				t.Errorf("row of table %d: %d of %d bytes were taken", table, n, len(value))
			}
		}
		if len(key) > 1 {
			require.Error(t, ledger.New(k.cfg, k.do).Load(table, []byte(key[2:]), value), "key of table %d", table)
		}
		require.Error(t, ledger.New(k.cfg, k.do).Load(table, append([]byte(key[1:]), 0), value), "key of table %d", table)
	}
	require.Len(t, tables, len(ledger.Tables), "a row of each table")
	require.ErrorIs(t, ledger.New(k.cfg, k.do).Load(99, nil, nil), rows.ErrDamaged)
}

// What was not sent to every instrument is not forgotten, however many come.
func TestSpanningIsBounded(t *testing.T) {
	ctx := context.Background()
	k := newKept(memory.BalancesConfig{MaxSpanning: 2, MaxSpanningSeen: 4})
	kill := func(n int) exchange.Command { return exchange.Command{Kind: exchange.KindKill, ID: id(n), Account: 1} }
	require.NoError(t, k.Span(ctx, kill(1)))
	for n := 2; n < 50; n++ {
		require.NoError(t, k.Span(ctx, kill(n)))
		require.ErrorIs(t, k.Span(ctx, kill(100)), pipeline.ErrFull)
		require.NoError(t, k.Forget(ctx, id(n)))
		count := 0
		for key := range k.rows {
			if key[0] == byte(ledger.Spans) {
				count++
			}
		}
		require.Equal(t, min(n, 4), count)
	}
	got, err := k.Spanning(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, []exchange.Command{kill(1)}, got)
	require.NoError(t, k.restart())
	require.NoError(t, k.Span(ctx, kill(49)), "repeated")
	got, err = k.Spanning(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, []exchange.Command{kill(1)}, got)
}

func TestAccountsAreBounded(t *testing.T) {
	ctx := context.Background()
	k := newKept(memory.BalancesConfig{MaxAccounts: 2})
	hold := func(acct exchange.AccountID) error {
		return k.Hold(ctx, pipeline.Hold{ID: id(int(acct)), Account: acct, Instrument: 1, Asset: 1})
	}
	require.NoError(t, hold(1))
	require.NoError(t, k.SetLimits(ctx, 2, pipeline.AccountLimits{}))
	for _, err := range []error{hold(3), k.SetLimits(ctx, 3, pipeline.AccountLimits{}), k.Deposit(ctx, pipeline.Transfer{ID: id(9), Account: 3, Asset: 1, Amount: 1}),
		k.Span(ctx, exchange.Command{Kind: exchange.KindKill, ID: id(3), Account: 3})} {
		require.ErrorIs(t, err, exchange.TooManyAccounts)
	}
	require.NoError(t, hold(2))
}
