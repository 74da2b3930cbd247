package sharded_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/sharded"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

func over(n int, wrap func(i int, s pipeline.TradeStore) pipeline.TradeStore) *sharded.TradeStore {
	shards := make([]pipeline.TradeStore, n)
	for i := range shards {
		shards[i] = wrap(i, memory.NewTradeStore())
	}
	s, err := sharded.NewTradeStore(shards)
	if err != nil {
		panic(err)
	}
	return s
}

func plain(_ int, s pipeline.TradeStore) pipeline.TradeStore { return s }

func TestSuite(t *testing.T) {
	for _, n := range []int{1, 2, 3, 16} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			exchangetest.TestTradeStore(t, func(testing.TB) pipeline.TradeStore { return over(n, plain) })
		})
	}
}

func TestBounds(t *testing.T) {
	for _, n := range []int{0, sharded.MaxShards + 1} {
		_, err := sharded.NewTradeStore(make([]pipeline.TradeStore, n))
		assert.ErrorContains(t, err, "expected 1 to 256")
	}
	_, err := sharded.NewTradeStore([]pipeline.TradeStore{memory.NewTradeStore(), nil})
	assert.EqualError(t, err, "sharded: store 1 is nil")
}

var errDown = errors.New("down")

// failing fails the calls that down says.
type failing struct {
	pipeline.TradeStore
	down func() bool
}

func (f *failing) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if f.down() {
		return errDown
	}
	return f.TradeStore.Record(ctx, c, r)
}

func (f *failing) OrderByCommand(ctx context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	if f.down() {
		return pipeline.OrderRecord{}, errDown
	}
	return f.TradeStore.OrderByCommand(ctx, id)
}

func record(c pipeline.Committed, accounts exchange.AccountID) *pipeline.Record {
	r := &pipeline.Record{}
	for a := exchange.AccountID(1); a <= accounts; a++ {
		r.Orders = append(r.Orders, pipeline.OrderRecord{CommandID: exchange.CommandID{byte(c.Position()), byte(a)}, Instrument: c.Instrument(), OrderID: exchange.OrderID(uint64(c.Position())*100 + uint64(a)),
			Account: a, Side: exchange.Buy, Type: exchange.Limit, TimeInForce: exchange.GTC, Status: pipeline.OrderOpen, Price: 1, OrderQty: 1, LeavesQty: 1, Created: exchange.Time(c.Position())})
		r.Trades = append(r.Trades, pipeline.Trade{Instrument: c.Instrument(), ID: exchange.TradeID(uint64(c.Position())*100 + uint64(a)), Time: exchange.Time(c.Position()), Price: 5, Qty: 1,
			Side: exchange.Buy, Taker: pipeline.Party{Account: a}, Maker: pipeline.Party{Account: a + 1}})
	}
	return r
}

// Whichever shard is down while an item is recorded: the item comes again, and
// then everything of it is there once, whatever the first try had left behind.
func TestAShardIsDown(t *testing.T) {
	const shards, accounts = 4, 9
	for down := range shards {
		var now atomic.Bool // the shards are asked at the same time
		s := over(shards, func(i int, s pipeline.TradeStore) pipeline.TradeStore {
			return &failing{s, func() bool { return now.Load() && i == down }}
		})
		items := exchangetest.Commit(t, 7, 2)
		ctx := t.Context()
		require.NoError(t, s.Record(ctx, items[0], record(items[0], accounts)))
		now.Store(true)
		err := s.Record(ctx, items[1], record(items[1], accounts))
		require.ErrorIs(t, err, errDown)
		require.ErrorContains(t, err, fmt.Sprintf("shard %d: ", down))
		pos, err := s.Recorded(ctx, 7)
		require.NoError(t, err)
		assert.EqualValues(t, 1, pos)
		// What is there is found; what is nowhere may be in the one that is down.
		_, err = s.OrderByCommand(ctx, exchange.CommandID{9})
		assert.ErrorIs(t, err, errDown)
		now.Store(false)
		_, err = s.OrderByCommand(ctx, exchange.CommandID{9})
		assert.ErrorIs(t, err, pipeline.ErrNotFound)
		for range 2 {
			require.NoError(t, s.Record(ctx, items[1], record(items[1], accounts)))
		}
		trades, err := s.Trades(ctx, pipeline.TradeQuery{Instrument: 7, Limit: 100})
		require.NoError(t, err)
		assert.Len(t, trades, 2*accounts)
		for a := exchange.AccountID(1); a <= accounts; a++ {
			orders, err := s.Orders(ctx, pipeline.OrderQuery{Account: a, Limit: 100})
			require.NoError(t, err)
			assert.Len(t, orders, 2, a)
			fills, err := s.Fills(ctx, pipeline.FillQuery{Account: a, Limit: 100})
			require.NoError(t, err)
			want := 4 // as taker and as maker, of two items
			if a == 1 {
				want = 2 // nobody's maker
			}
			assert.Len(t, fills, want, a)
		}
	}
}

// Accounts that are given out one after another spread evenly.
func TestSpread(t *testing.T) {
	const shards, accounts = 8, 8000
	counts := make([]int, shards)
	s := over(shards, func(i int, s pipeline.TradeStore) pipeline.TradeStore { return &counting{s, &counts[i]} })
	for a := exchange.AccountID(1); a <= accounts; a++ {
		_, err := s.Orders(t.Context(), pipeline.OrderQuery{Account: a, Limit: 1})
		require.NoError(t, err)
	}
	for i, n := range counts {
		assert.InDelta(t, accounts/shards, n, accounts/shards/5, "shard %d", i)
	}
}

type counting struct {
	pipeline.TradeStore
	orders *int
}

func (c *counting) Orders(ctx context.Context, q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
	*c.orders++
	return c.TradeStore.Orders(ctx, q)
}
