package main_test

import (
	"context"
	"encoding/hex"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/bolt"
	"github.com/castlecloud/exchange/adapters/files"
	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// books are a venue's data as they lie in its directory, while it does not
// run.
type books struct {
	*bolt.Store
	archive     pipeline.Archive
	log         *pipeline.Log
	instruments []*exchange.Instrument
	accounts    []exchange.AccountID
}

func openBooks(t testing.TB, dir string, accounts []exchange.AccountID) *books {
	t.Helper()
	store, err := bolt.Open(filepath.Join(dir, venue.DatabaseFile), bolt.Options{LockTimeout: 10 * time.Second})
	require.NoError(t, err)
	archive, err := files.Open(filepath.Join(dir, venue.ArchiveDir))
	require.NoError(t, err)
	instruments, err := venue.Instruments()
	require.NoError(t, err)
	return &books{store, archive, pipeline.NewLog(store.Journal()), instruments, accounts}
}

// total returns what all accounts and the venue have together, of each asset.
func (b *books) total(t testing.TB) map[exchange.AssetID]exchange.Amount {
	t.Helper()
	all := map[exchange.AssetID]exchange.Amount{}
	add := func(list []pipeline.AssetBalance) {
		for _, x := range list {
			all[x.Asset] += x.Available + x.Held
		}
	}
	for _, acct := range b.accounts {
		a, err := b.Balances().Account(t.Context(), acct)
		require.NoError(t, err)
		for _, x := range a.Balances {
			assert.True(t, x.Available >= 0 && x.Held >= 0, "account %d: %+v", acct, x)
		}
		add(a.Balances)
	}
	for _, in := range b.instruments {
		fees, err := b.Balances().Venue(t.Context(), in.ID())
		require.NoError(t, err)
		add(fees)
	}
	return all
}

// history is what an instrument's journal says, from its first item on.
type history struct {
	head     pipeline.Head
	commands map[exchange.CommandID]bool // those that have an outcome
	trades   exchange.TradeID            // the last one
	archived pipeline.Position
}

// history reads the archive, then the journal, and looks that items, events and
// trades follow each other without a gap.
func (b *books) history(t testing.TB, in *exchange.Instrument) history {
	t.Helper()
	h := history{commands: map[exchange.CommandID]bool{}}
	var seq uint64
	take := func(data []byte, head pipeline.Head, batch *pipeline.Batch) {
		require.Equal(t, h.head.Position+1, head.Position, "%s: an item is missing", in.Symbol())
		require.Equal(t, pipeline.HashOf(h.head.Hash, data), head.Hash, "%s: item %d", in.Symbol(), head.Position)
		h.head = head
		for i := range batch.Entries {
			e := &batch.Entries[i]
			require.NotEmpty(t, e.Events, "%s: item %d: a command without outcome", in.Symbol(), head.Position)
			require.False(t, h.commands[e.Command.ID] && e.Command.ID != (exchange.CommandID{}), "%s: command %x has two outcomes", in.Symbol(), e.Command.ID)
			h.commands[e.Command.ID] = true
			for k := range e.Events {
				seq++
				require.Equal(t, seq, e.Events[k].Seq, "%s: item %d", in.Symbol(), head.Position)
				if e.Events[k].Kind == exchange.EventTrade {
					h.trades++
					require.Equal(t, h.trades, e.Events[k].TradeID, "%s: item %d", in.Symbol(), head.Position)
				}
			}
		}
	}
	const page = 256
	for {
		items, err := pipeline.ReadArchive(t.Context(), b.archive, in, h.head.Position+1, page)
		require.NoError(t, err)
		for i := range items {
			batch, err := pipeline.DecodeBatch(items[i].Data)
			require.NoError(t, err)
			take(items[i].Data, items[i].Head, batch)
		}
		if len(items) < page {
			break
		}
	}
	h.archived = h.head.Position
	for {
		items, err := b.log.Read(t.Context(), in.ID(), h.head.Position+1, page)
		require.NoError(t, err)
		for _, c := range items {
			take(c.Data(), c.Head(), c.Batch())
		}
		if len(items) < page {
			break
		}
	}
	head, err := b.Journal().Head(t.Context(), in.ID())
	require.NoError(t, err)
	require.Equal(t, head, h.head, in.Symbol())
	return h
}

// liveOrders returns an account's orders that are still open.
func (b *books) liveOrders(t testing.TB, acct exchange.AccountID) []pipeline.OrderRecord {
	t.Helper()
	var all []pipeline.OrderRecord
	q := pipeline.OrderQuery{Account: acct, LiveOnly: true, Limit: pipeline.MaxQueryRows}
	for {
		page, err := b.TradeStore().Orders(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page...)
		if len(page) < q.Limit {
			return all
		}
		q.Before = &all[len(all)-1]
	}
}

// finish does what the venue would still do if it ran on: the consumers read
// the journal to its end, and the sweeper ends the holds whose commands were
// lost with the process, which it would do once they are old enough.
func (b *books) finish(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	now := func() exchange.Time { return exchange.Time(time.Now().UnixNano()) }
	queue, publisher, store := memory.NewQueue(memory.QueueConfig{}), memory.NewPublisher(), memory.NewBookStore()
	engine, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: b.instruments, Log: b.log, Books: store, Publisher: publisher, Now: now})
	require.NoError(t, err)
	recorder, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: b.instruments, Log: b.log, Trades: b.TradeStore(), Archive: b.archive})
	require.NoError(t, err)
	settler, err := pipeline.NewSettler(pipeline.SettlerConfig{Instruments: b.instruments, Log: b.log, Balances: b.Balances()})
	require.NoError(t, err)
	sweeper, err := pipeline.NewSweeper(pipeline.SweeperConfig{Instruments: b.instruments, Log: b.log, Publisher: publisher, Queue: queue, Balances: b.Balances(),
		Consumers: []pipeline.Consumer{
			{Name: "recorder", Recorded: b.TradeStore().Recorded, Handle: recorder.Handle},
			{Name: "settler", Recorded: b.Balances().Settled, Handle: settler.Handle},
		}, OrphanAfter: 1, Now: now})
	require.NoError(t, err)
	for range 2 { // the second pass lets the consumers read what the first led to
		require.NoError(t, sweeper.Handle(ctx))
		for {
			d, ok := queue.TryReceive(pipeline.MaxReceive)
			if !ok {
				break
			}
			done, err := engine.Handle(ctx, d.Instrument, d.Messages)
			require.NoError(t, err)
			require.NoError(t, queue.Ack(ctx, d, done))
		}
	}
	for _, in := range b.instruments {
		head, err := b.Journal().Head(ctx, in.ID())
		require.NoError(t, err)
		for _, c := range []interface {
			Handle(context.Context, pipeline.Notice) error
		}{recorder, settler} {
			require.NoError(t, c.Handle(ctx, pipeline.Notice{Instrument: in.ID(), Position: head.Position}))
		}
	}
}

// checkFinished looks at everything once nothing is on its way: consumers are
// at the end of the journal, what is held is what open orders hold, and the
// engine, the trade store and the journal agree on orders and trades. acked are
// ids of commands, in hexadecimal, that were answered with 202.
func (b *books) checkFinished(t testing.TB, acked map[string]bool) (trades int) {
	t.Helper()
	ctx := t.Context()
	live := map[exchange.InstrumentID]int{}
	for _, acct := range b.accounts {
		a, err := b.Balances().Account(ctx, acct)
		require.NoError(t, err)
		held := map[exchange.AssetID]exchange.Amount{}
		orders := b.liveOrders(t, acct)
		for i := range orders {
			live[orders[i].Instrument]++
			hold, err := b.Balances().HoldByID(ctx, acct, orders[i].CommandID)
			require.NoError(t, err, "order %x has no hold", orders[i].CommandID)
			assert.Equal(t, pipeline.HoldOpen, hold.State)
			held[hold.Asset] += hold.Remaining
		}
		assert.EqualValues(t, len(orders), a.OpenOrders, "account %d", acct)
		for _, x := range a.Balances {
			assert.Equal(t, held[x.Asset], x.Held, "account %d holds asset %d for no order", acct, x.Asset)
		}
	}
	placed, err := b.Balances().Placed(ctx, math.MaxInt64, nil, 1)
	require.NoError(t, err)
	assert.Empty(t, placed, "a hold whose command never came")
	missing := map[string]bool{}
	for id := range acked {
		missing[id] = true
	}
	for _, in := range b.instruments {
		h := b.history(t, in)
		for id := range h.commands {
			delete(missing, hex.EncodeToString(id[:]))
		}
		trades += int(h.trades)
		recorded, err := b.TradeStore().Recorded(ctx, in.ID())
		require.NoError(t, err)
		settled, err := b.Balances().Settled(ctx, in.ID())
		require.NoError(t, err)
		assert.Equal(t, h.head.Position, recorded, in.Symbol())
		assert.Equal(t, h.head.Position, settled, in.Symbol())
		assert.Equal(t, h.trades, b.countTrades(t, in), "%s: trades of the trade store", in.Symbol())
		engine, head, err := pipeline.LoadEngine(ctx, b.log, nil, in, exchange.Config{})
		require.NoError(t, err)
		assert.Equal(t, h.head, head)
		assert.Equal(t, live[in.ID()], engine.Book(in.ID()).Len(), "%s: open orders", in.Symbol())
	}
	assert.Empty(t, missing, "commands that were answered with 202 and are not in the journal")
	return trades
}

// countTrades counts the trades of the trade store, which must be dense.
func (b *books) countTrades(t testing.TB, in *exchange.Instrument) (n exchange.TradeID) {
	t.Helper()
	q := pipeline.TradeQuery{Instrument: in.ID(), Limit: pipeline.MaxQueryRows}
	var newest exchange.TradeID
	for {
		page, err := b.TradeStore().Trades(t.Context(), q)
		require.NoError(t, err)
		for i := range page {
			if newest == 0 {
				newest = page[i].ID
			}
			n++
			require.Equal(t, newest-n+1, page[i].ID, "%s: a trade is missing", in.Symbol())
		}
		if len(page) < q.Limit {
			return n
		}
		q.Before = page[len(page)-1].ID
	}
}

// close is Close, and checks that nothing failed.
func (b *books) close(t testing.TB) {
	t.Helper()
	require.NoError(t, b.Close())
}
