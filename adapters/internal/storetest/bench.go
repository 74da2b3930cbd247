package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// What an order does: it is held for, and with 255 others it is journaled,
// settled and recorded. Every second one takes the one before it.
const (
	perBatch      = 256
	callers       = 256 // that hold at the same time
	benchAccounts = 1000
	base          = exchange.AssetID(1)
	quote         = exchange.AssetID(2)
	benchInst     = exchange.InstrumentID(1)
	benchPrice    = 100
)

// Benchmark measures stores through their ports, in orders a second and in time
// of processors, which says more on a machine that does other work as well.
func Benchmark(b *testing.B, open func(b *testing.B) Store) {
	bench := func(name string, f func(b *testing.B, w *work)) {
		b.Run(name, func(b *testing.B) {
			w := newWork(b, open(b))
			defer w.close()
			f(b, w)
			b.ReportMetric(float64(w.cpu.Nanoseconds())/float64(b.N), "cpu-ns/order")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/order")
		})
	}
	bench("Hold", func(b *testing.B, w *work) {
		w.start()
		w.hold(0, b.N)
		w.stop()
	})
	bench("Append", func(b *testing.B, w *work) {
		batches := w.batches(b.N)
		w.start()
		w.append(batches)
		w.stop()
	})
	bench("Settle", func(b *testing.B, w *work) {
		w.hold(0, roundUp(b.N))
		items := w.append(w.batches(b.N))
		w.start()
		for _, c := range items {
			w.check(w.Balances().Settle(w.ctx, c, benchSettlement(c)))
		}
		w.stop()
	})
	bench("Record", func(b *testing.B, w *work) {
		items := w.append(w.batches(b.N))
		w.start()
		for _, c := range items {
			w.check(w.TradeStore().Record(w.ctx, c, benchRecord(c)))
		}
		w.stop()
	})
	// All of them, each a batch behind the one before, as services do.
	bench("All", func(b *testing.B, w *work) {
		batches := w.batches(b.N)
		w.start()
		w.all(batches)
		w.stop()
	})
}

type work struct {
	Store
	b   *testing.B
	ctx context.Context
	log *pipeline.Log
	at  pipeline.Head
	cpu time.Duration // of what is measured, by all threads
}

func (w *work) start() {
	w.cpu = cpuTime()
	w.b.ResetTimer()
}

func (w *work) stop() {
	w.b.StopTimer()
	w.cpu = cpuTime() - w.cpu
}

func newWork(b *testing.B, s Store) *work {
	w := &work{Store: s, b: b, ctx: b.Context(), log: pipeline.NewLog(s.Journal())}
	for acct := range exchange.AccountID(benchAccounts) {
		for asset := base; asset <= quote; asset++ {
			id := exchange.CommandID{1: byte(asset), 15: 1}
			binary.BigEndian.PutUint64(id[4:], uint64(acct))
			w.check(s.Balances().Deposit(w.ctx, pipeline.Transfer{ID: id, Account: acct + 1, Asset: asset, Amount: 1 << 50}))
			if w.b.Failed() {
				return w
			}
		}
	}
	return w
}

func (w *work) check(err error) {
	if err != nil {
		w.b.Error(err)
		panic(err)
	}
}

func (w *work) close() { w.check(w.Close()) }

func roundUp(n int) int { return (n + perBatch - 1) / perBatch * perBatch }

// benchID is spread as hashes are.
func benchID(n int) (id exchange.CommandID) {
	x := uint64(n)*0x9e3779b97f4a7c15 + 1
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	binary.LittleEndian.PutUint64(id[:], x^x>>32)
	binary.LittleEndian.PutUint64(id[8:], uint64(n))
	return id
}

func account(n int) exchange.AccountID { return exchange.AccountID(n*7919%benchAccounts + 1) }

func benchHold(n int) pipeline.Hold {
	h := pipeline.Hold{ID: benchID(n), Account: account(n), Instrument: benchInst, Asset: base, Amount: 1, Time: exchange.Time(n + 1), NewOrder: true, GainAsset: quote, Gain: benchPrice}
	if n%2 == 1 {
		h.Asset, h.Amount, h.GainAsset, h.Gain = quote, benchPrice, base, 1
	}
	return h
}

// hold holds for orders from to from+n-1, as many at a time as there are
// callers.
func (w *work) hold(from, n int) {
	var next atomic.Int64
	done := make(chan error, callers)
	for range callers {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					done <- nil
					return
				}
				if err := w.Balances().Hold(w.ctx, benchHold(from+i)); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range callers {
		w.check(<-done)
	}
}

// batches makes the journal items of at least n orders.
func (w *work) batches(n int) []*pipeline.Batch {
	out := make([]*pipeline.Batch, 0, n/perBatch+1)
	for from := 0; from < n; from += perBatch {
		b := &pipeline.Batch{Instrument: benchInst, Rules: pipeline.CurrentRules, Entries: make([]pipeline.Entry, perBatch)}
		for i := range b.Entries {
			n := from + i
			side := exchange.Sell
			if n%2 == 1 {
				side = exchange.Buy
			}
			cmd := exchange.LimitOrder(benchInst, account(n), side, benchPrice, 1)
			cmd.ID, cmd.Time, cmd.Held = benchID(n), exchange.Time(n+1), 1
			e := &b.Entries[i]
			e.Message = pipeline.Message{Command: cmd, ClientID: fmt.Sprintf("client-%012d", n)}
			e.Events = []exchange.Event{{Kind: exchange.EventAccepted, Command: cmd.Kind, Side: side, Type: cmd.Type, TimeInForce: cmd.TimeInForce, Instrument: benchInst,
				Seq: uint64(2 * n), Time: cmd.Time, ID: cmd.ID, Account: cmd.Account, OrderID: exchange.OrderID(n + 1), Price: benchPrice, Qty: 1, LeavesQty: 1}}
			if n%2 == 1 {
				e.Events = append(e.Events, exchange.Event{Kind: exchange.EventTrade, Command: cmd.Kind, Side: side, Instrument: benchInst, Seq: uint64(2*n + 1), Time: cmd.Time,
					ID: cmd.ID, Account: cmd.Account, OrderID: exchange.OrderID(n + 1), MakerID: benchID(n - 1), MakerAccount: account(n - 1), MakerOrderID: exchange.OrderID(n),
					TradeID: exchange.TradeID(n/2 + 1), Price: benchPrice, Qty: 1, Amount: benchPrice})
			}
		}
		out = append(out, b)
	}
	return out
}

func (w *work) append(batches []*pipeline.Batch) []pipeline.Committed {
	out := make([]pipeline.Committed, len(batches))
	for i, b := range batches {
		c, err := w.log.Append(w.ctx, w.at, b)
		w.check(err)
		w.check(w.Journal().MarkPublished(w.ctx, benchInst, c.Position()))
		out[i], w.at = c, c.Head()
	}
	return out
}

// benchSettlement is what pipeline.Settle would make of a batch.
func benchSettlement(c pipeline.Committed) *pipeline.Settlement {
	sums := map[exchange.AccountID]*pipeline.AccountSettlement{}
	sum := func(acct exchange.AccountID) *pipeline.AccountSettlement {
		if sums[acct] == nil {
			sums[acct] = &pipeline.AccountSettlement{Account: acct, Assets: []pipeline.AssetChange{{Asset: base}, {Asset: quote}}}
		}
		return sums[acct]
	}
	entries := c.Batch().Entries
	for i := 0; i < len(entries); i += 2 {
		sell, buy := &entries[i].Command, &entries[i+1].Command
		s := sum(sell.Account)
		s.Assets[0].Held--
		s.Assets[1].Available += benchPrice
		s.Holds = append(s.Holds, pipeline.HoldChange{ID: sell.ID, Asset: base, Delta: -1, Ended: true, NewOrder: true})
		s = sum(buy.Account)
		s.Assets[0].Available++
		s.Assets[1].Held -= benchPrice
		s.Holds = append(s.Holds, pipeline.HoldChange{ID: buy.ID, Asset: quote, Delta: -benchPrice, Ended: true, NewOrder: true})
	}
	out := &pipeline.Settlement{}
	for acct := exchange.AccountID(1); acct <= benchAccounts; acct++ {
		if s := sums[acct]; s != nil {
			sortHolds(s.Holds)
			out.Accounts = append(out.Accounts, *s)
		}
	}
	return out
}

func sortHolds(holds []pipeline.HoldChange) {
	slices.SortFunc(holds, func(a, b pipeline.HoldChange) int { return bytes.Compare(a.ID[:], b.ID[:]) })
}

// benchRecord is what a TradeRecorder would make of a batch.
func benchRecord(c pipeline.Committed) *pipeline.Record {
	out := &pipeline.Record{}
	entries := c.Batch().Entries
	for i := range entries {
		cmd := &entries[i].Command
		ev := &entries[i].Events[0]
		out.Orders = append(out.Orders, pipeline.OrderRecord{CommandID: cmd.ID, ClientID: entries[i].ClientID, Instrument: benchInst, OrderID: ev.OrderID, Account: cmd.Account, Side: cmd.Side,
			Type: cmd.Type, TimeInForce: cmd.TimeInForce, Status: pipeline.OrderFilled, Price: benchPrice, OrderQty: 1, CumQty: 1, Notional: benchPrice, Created: cmd.Time, Updated: cmd.Time, Seq: ev.Seq})
		if len(entries[i].Events) > 1 {
			tr := &entries[i].Events[1]
			out.Trades = append(out.Trades, pipeline.Trade{Instrument: benchInst, ID: tr.TradeID, Seq: tr.Seq, Time: tr.Time, Price: benchPrice, Qty: 1, Amount: benchPrice, Side: exchange.Buy,
				Taker: pipeline.Party{CommandID: tr.ID, OrderID: tr.OrderID, Account: tr.Account}, Maker: pipeline.Party{CommandID: tr.MakerID, OrderID: tr.MakerOrderID, Account: tr.MakerAccount}})
		}
	}
	return out
}

// all holds for, journals, settles and records, each stage in a goroutine of
// its own.
func (w *work) all(batches []*pipeline.Batch) {
	const ahead = 8 // batches between two stages
	held := make(chan *pipeline.Batch, ahead)
	toSettle, toRecord := make(chan pipeline.Committed, ahead), make(chan pipeline.Committed, ahead)
	go func() {
		for i, b := range batches {
			w.hold(i*perBatch, perBatch)
			held <- b
		}
		close(held)
	}()
	go func() {
		for b := range held {
			c := w.append([]*pipeline.Batch{b})[0]
			toSettle <- c
			toRecord <- c
		}
		close(toSettle)
		close(toRecord)
	}()
	done := make(chan error)
	go func() {
		var err error
		for c := range toSettle {
			if err == nil {
				err = w.Balances().Settle(w.ctx, c, benchSettlement(c))
			}
		}
		done <- err
	}()
	go func() {
		var err error
		for c := range toRecord {
			if err == nil {
				err = w.TradeStore().Record(w.ctx, c, benchRecord(c))
			}
		}
		done <- err
	}()
	w.check(<-done)
	w.check(<-done)
}

// Memory is the stores of package memory, to compare with.
type Memory struct {
	journal  *memory.Journal
	balances *memory.Balances
	trades   *memory.TradeStore
}

// NewMemory returns empty stores.
func NewMemory() *Memory {
	return &Memory{memory.NewJournal(), memory.NewBalances(memory.BalancesConfig{}), memory.NewTradeStore()}
}

func (m *Memory) Journal() pipeline.Journal       { return m.journal }
func (m *Memory) Balances() pipeline.Balances     { return m.balances }
func (m *Memory) TradeStore() pipeline.TradeStore { return m.trades }
func (m *Memory) Close() error                    { return nil }
