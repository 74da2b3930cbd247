package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// commits mints items for tests.
type commits struct {
	log   *pipeline.Log
	heads map[exchange.InstrumentID]pipeline.Head
}

func newCommits() *commits {
	return &commits{pipeline.NewLog(memory.NewJournal()), map[exchange.InstrumentID]pipeline.Head{}}
}

func (c *commits) next(t require.TestingT, inst exchange.InstrumentID) pipeline.Committed {
	out, err := c.log.Append(context.Background(), c.heads[inst], &pipeline.Batch{Instrument: inst})
	require.NoError(t, err)
	c.heads[inst] = out.Head()
	return out
}

// The trade store does what package memory's does, also when the file was
// closed and opened at any moment.
func TestTradeStoreAgreesWithMemory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		require.NoError(rt, err)
		d := &tradeDiffer{path: filepath.Join(dir, "venue.db"), want: memory.NewTradeStore(), commits: newCommits(),
			now: map[exchange.InstrumentID]exchange.Time{}, trades: map[exchange.InstrumentID]exchange.TradeID{}}
		d.open(rt)
		defer func() { require.NoError(rt, d.store.Close()) }()
		rt.Repeat(map[string]func(*rapid.T){"record": d.record, "query": d.query, "restart": d.restart})
		d.query(rt)
	})
}

type tradeDiffer struct {
	path    string
	want    *memory.TradeStore
	store   *bolt.Store
	got     pipeline.TradeStore
	commits *commits
	now     map[exchange.InstrumentID]exchange.Time
	trades  map[exchange.InstrumentID]exchange.TradeID
	last    pipeline.Committed
	lastOf  pipeline.Record
}

func (d *tradeDiffer) open(rt *rapid.T) {
	var err error
	d.store, err = bolt.Open(d.path, bolt.Options{Pending: rapid.SampledFrom([]int{1, 2, 5, 20, 100}).Draw(rt, "pending")})
	require.NoError(rt, err)
	d.store.Unsynced()
	d.got = d.store.TradeStore()
}

func (d *tradeDiffer) restart(rt *rapid.T) {
	require.NoError(rt, d.store.Close())
	d.open(rt)
}

var (
	instruments = rapid.Map(rapid.Uint32Range(1, 3), func(n uint32) exchange.InstrumentID { return exchange.InstrumentID(n) })
	accounts    = rapid.Map(rapid.Uint64Range(1, 3), func(n uint64) exchange.AccountID { return exchange.AccountID(n) })
	clientIDs   = rapid.SampledFrom([]string{"", "a", "b", "ab", strings.Repeat("c", pipeline.MaxClientIDBytes)})
	numbers     = rapid.OneOf(rapid.Int64Range(0, 9), rapid.Just(int64(math.MaxInt64)))
)

func order(rt *rapid.T, inst exchange.InstrumentID, now exchange.Time) pipeline.OrderRecord {
	n := func(name string) int64 { return numbers.Draw(rt, name) }
	o := pipeline.OrderRecord{
		CommandID: id(rapid.IntRange(1, 12).Draw(rt, "command")), ClientID: clientIDs.Draw(rt, "client"), Instrument: inst,
		OrderID: exchange.OrderID(rapid.Uint64Range(0, 9).Draw(rt, "order")), Account: accounts.Draw(rt, "account"),
		Side: exchange.Buy, Type: exchange.Limit, TimeInForce: exchange.GTC, SelfTrade: 1, PostOnly: 2, Hidden: rapid.Bool().Draw(rt, "hidden"),
		Status: pipeline.OrderStatus(rapid.Uint8Range(1, 6).Draw(rt, "status")), Reason: exchange.Reason(n("reason") % 100),
		Price: exchange.Price(n("price")), StopPrice: 1, OrderQty: 2, CumQty: 3, LeavesQty: exchange.Qty(n("leaves")), DisplayQty: 4, Funds: 5,
		Notional: exchange.Amount(n("notional")), Fee: -6, Expire: 7, Created: exchange.Time(rapid.Int64Range(-3, 3).Draw(rt, "created")), Updated: now, Seq: 8,
	}
	if o.OrderID != 0 { // no two commands have one
		o.OrderID += exchange.OrderID(o.CommandID[15]) * 10
	}
	if rapid.Bool().Draw(rt, "usual") {
		// As a venue makes them: what names an order never changes.
		k := o.CommandID[15]
		o.OrderID, o.Account, o.Created, o.ClientID = exchange.OrderID(int(k)*10), exchange.AccountID(k%3+1), exchange.Time(k/2), fmt.Sprint("client", k%4)
	}
	return o
}

func (d *tradeDiffer) record(rt *rapid.T) {
	inst := instruments.Draw(rt, "instrument")
	d.now[inst] += exchange.Time(rapid.SampledFrom([]int64{0, 1, 7e9, 60e9, 600e9, 5000e9, 90_000e9}).Draw(rt, "elapsed"))
	r := pipeline.Record{}
	seen := map[exchange.CommandID]bool{}
	for range rapid.IntRange(0, 4).Draw(rt, "orders") {
		if o := order(rt, inst, d.now[inst]); !seen[o.CommandID] {
			seen[o.CommandID] = true
			r.Orders = append(r.Orders, o)
		}
	}
	next := d.trades[inst]
	for range rapid.IntRange(0, 3).Draw(rt, "trades") {
		next += exchange.TradeID(rapid.Uint64Range(1, 2).Draw(rt, "step"))
		party := func(name string) pipeline.Party {
			return pipeline.Party{CommandID: id(int(next)), OrderID: 1, Account: accounts.Draw(rt, name), Fee: exchange.Amount(numbers.Draw(rt, "fee"))}
		}
		r.Trades = append(r.Trades, pipeline.Trade{Instrument: inst, ID: next, Seq: uint64(next), Time: d.now[inst], Price: exchange.Price(numbers.Draw(rt, "price")),
			Qty: exchange.Qty(numbers.Draw(rt, "qty")), Amount: 3, Side: exchange.Sell, Taker: party("taker"), Maker: party("maker")})
	}
	c := d.commits.next(rt, inst)
	switch rapid.IntRange(0, 8).Draw(rt, "fault") {
	case 0: // one too early
		d.same(rt, d.commits.next(rt, inst), &r)
		d.commits.log = pipeline.NewLog(memory.NewJournal())
		heads := d.commits.heads
		d.commits.heads = map[exchange.InstrumentID]pipeline.Head{}
		for inst, head := range heads {
			recorded, err := d.want.Recorded(context.Background(), inst)
			require.NoError(rt, err)
			require.LessOrEqual(rt, recorded, head.Position)
			for range recorded {
				d.commits.next(rt, inst)
			}
		}
		return
	case 1: // one of the past again, with other contents
		d.same(rt, d.last, &r)
	case 2:
		d.same(rt, pipeline.Committed{}, &r)
	case 3:
		bad := pipeline.Record{Orders: r.Orders, Trades: append(r.Trades[:len(r.Trades):len(r.Trades)], pipeline.Trade{Instrument: inst, ID: d.trades[inst]})}
		d.same(rt, c, &bad)
		bad = pipeline.Record{Orders: append(r.Orders[:len(r.Orders):len(r.Orders)], pipeline.OrderRecord{Instrument: inst + 1})}
		d.same(rt, c, &bad)
	}
	d.same(rt, c, &r)
	d.trades[inst], d.last, d.lastOf = next, c, r
	d.same(rt, c, &r)
}

func (d *tradeDiffer) same(rt *rapid.T, c pipeline.Committed, r *pipeline.Record) {
	want, got := d.want.Record(context.Background(), c, r), d.got.Record(context.Background(), c, r)
	for _, kind := range []error{nil, pipeline.ErrGap, pipeline.ErrInvalid, pipeline.ErrNotCommitted} {
		if errors.Is(want, kind) {
			require.ErrorIs(rt, got, kind)
			return
		}
	}
	require.NoError(rt, want)
	require.NoError(rt, got)
}

func (d *tradeDiffer) query(rt *rapid.T) {
	ctx := context.Background()
	read := func(what string, f func(s pipeline.TradeStore) (any, error)) {
		want, err1 := f(d.want)
		got, err2 := f(d.got)
		require.Equal(rt, err1 == nil, err2 == nil, "%s: memory: %v, bolt: %v", what, err1, err2)
		if err1 != nil {
			require.Equal(rt, errors.Is(err1, pipeline.ErrNotFound), errors.Is(err2, pipeline.ErrNotFound), "%s: %v, %v", what, err1, err2)
			require.Equal(rt, errors.Is(err1, pipeline.ErrInvalid), errors.Is(err2, pipeline.ErrInvalid), "%s: %v, %v", what, err1, err2)
		}
		require.Equal(rt, fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got), what)
	}
	for n := range 13 {
		read("by command", func(s pipeline.TradeStore) (any, error) { return s.OrderByCommand(ctx, id(n)) })
	}
	limits := rapid.OneOf(rapid.IntRange(1, 4), rapid.SampledFrom([]int{0, -1, pipeline.MaxQueryRows, pipeline.MaxQueryRows + 1}))
	limit := limits.Draw(rt, "limit")
	digit := exchange.OrderID(rapid.Uint64Range(1, 9).Draw(rt, "last digit")) // of ids that are not as a venue makes them
	for inst := range exchange.InstrumentID(4) {
		read("recorded", func(s pipeline.TradeStore) (any, error) { return s.Recorded(ctx, inst) })
		for n := exchange.OrderID(0); n < 130; n += 10 {
			read("by id", func(s pipeline.TradeStore) (any, error) { return s.OrderByID(ctx, inst, n) })
			read("by id", func(s pipeline.TradeStore) (any, error) { return s.OrderByID(ctx, inst, n+digit) })
		}
		since, before := exchange.Time(rapid.Int64Range(0, 100e9).Draw(rt, "since")), exchange.TradeID(rapid.Uint64Range(0, 9).Draw(rt, "before"))
		read("trades", func(s pipeline.TradeStore) (any, error) {
			return s.Trades(ctx, pipeline.TradeQuery{Instrument: inst, Before: before, Since: since, Limit: limit})
		})
		q := pipeline.CandleQuery{Instrument: inst, Interval: exchange.Time(rapid.SampledFrom([]int64{1, 5, 60, 120, 1440, 7, 0}).Draw(rt, "minutes") * 60e9), Limit: limit}
		if rapid.Bool().Draw(rt, "bounded") {
			q.From, q.Before = exchange.Time(rapid.Int64Range(0, 1e13).Draw(rt, "from")), exchange.Time(rapid.Int64Range(0, 1e14).Draw(rt, "before"))
		}
		read(fmt.Sprintf("candles %+v", q), func(s pipeline.TradeStore) (any, error) { return s.Candles(ctx, q) })
	}
	for acct := range exchange.AccountID(5) {
		for _, clientID := range []string{"", "a", "b", "ab", "client0", "client1"} {
			read("by client id", func(s pipeline.TradeStore) (any, error) { return s.OrderByClientID(ctx, acct, clientID) })
		}
		for inst := range exchange.InstrumentID(4) {
			for _, live := range []bool{false, true} {
				q := pipeline.OrderQuery{Account: acct, Instrument: inst, LiveOnly: live, Limit: limit}
				for {
					read(fmt.Sprintf("orders %+v", q), func(s pipeline.TradeStore) (any, error) { return s.Orders(ctx, q) })
					page, _ := d.got.Orders(ctx, q)
					if len(page) == 0 {
						break
					}
					q.Before = &page[len(page)-1]
				}
			}
			q := pipeline.FillQuery{Account: acct, Instrument: inst, Limit: limit}
			for {
				read(fmt.Sprintf("fills %+v", q), func(s pipeline.TradeStore) (any, error) { return s.Fills(ctx, q) })
				page, _ := d.got.Fills(ctx, q)
				if len(page) == 0 {
					break
				}
				q.Before = &page[len(page)-1]
			}
		}
	}
}

func TestRecordRefusesLongClientID(t *testing.T) {
	s := openNew(t)
	c := newCommits().next(t, 1)
	long := &pipeline.Record{Orders: []pipeline.OrderRecord{{Instrument: 1, CommandID: id(1), ClientID: strings.Repeat("x", pipeline.MaxClientIDBytes+1)}}}
	require.ErrorIs(t, s.TradeStore().Record(t.Context(), c, long), pipeline.ErrTooLarge)
	long.Orders[0].ClientID = long.Orders[0].ClientID[1:]
	require.NoError(t, s.TradeStore().Record(t.Context(), c, long))
	o, err := s.TradeStore().OrderByClientID(t.Context(), 0, long.Orders[0].ClientID)
	require.NoError(t, err)
	require.Equal(t, long.Orders[0], o)
}
