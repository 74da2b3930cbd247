//go:build !race

package exchange_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/workload"
)

// A warm engine allocates nothing, and what it keeps is bounded. The race
// detector allocates, so these tests are built without it.

// warmEngine sends commands to an engine or a matcher whose slabs, tables and
// slices have seen the most they will see.
type warmEngine struct {
	engine workload.Applier
	book   *exchange.Book
	inst   *exchange.Instrument
	ids    bool // commands carry CommandIDs and Times
	held   bool // commands carry what FundsHeld asks for

	cmd    exchange.Command
	events []exchange.Event
	sent   uint64
	now    exchange.Time
	// refused is the reason of the last command that was refused: warm paths
	// are to be measured, not refusals.
	refused exchange.Reason
}

const (
	allocStart      exchange.Time = 1_700_000_000_000_000_000
	allocDedupCount               = exchange.DefaultDedupCount
)

func allocInstrument(t testing.TB) *exchange.Instrument {
	t.Helper()
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD",
		Base:  exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6},
		Tick:  decimal.New(1, -2), Lot: decimal.New(1, -4),
		MakerFee: decimal.New(1, -3), TakerFee: decimal.New(2, -3),
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// newWarmEngine returns an engine (funds 0: a matcher) with 1,000 orders on
// 200 prices, none of them between 900 and 1,100, and with a full dedup window
// when commands carry ids.
func newWarmEngine(t testing.TB, funds exchange.Funds, ids bool) *warmEngine {
	t.Helper()
	w := &warmEngine{inst: allocInstrument(t), ids: ids, held: funds == exchange.FundsHeld, now: allocStart,
		events: make([]exchange.Event, 0, 256)}
	if funds == 0 {
		m := newMatcher(t, w.inst, exchange.MatcherConfig{})
		w.engine, w.book = m, m.Book()
	} else {
		e, err := exchange.NewEngine(exchange.Config{Funds: funds, Instruments: []*exchange.Instrument{w.inst}})
		if err != nil {
			t.Fatal(err)
		}
		w.engine, w.book = e, e.Book(1)
	}
	if funds == exchange.FundsLedger {
		for account := exchange.AccountID(1); account <= 10; account++ {
			w.send(exchange.Deposit(account, 1, 1<<58))
			w.send(exchange.Deposit(account, 2, 1<<58))
		}
	}
	for i := range 1_000 {
		px := exchange.Price(i % 100)
		w.send(exchange.LimitOrder(1, 1, exchange.Buy, 900-px, 10))
		w.send(exchange.LimitOrder(1, 2, exchange.Sell, 1_100+px, 10))
	}
	if w.refused != 0 {
		t.Fatalf("setting up: %v", w.refused)
	}
	if ids {
		for range allocDedupCount {
			w.send(exchange.Cancel(1, 1, 1<<60)) // refused, and remembered
		}
		w.refused = 0
	}
	return w
}

// send applies a command and returns the id of the order it created, if any.
func (w *warmEngine) send(cmd exchange.Command) exchange.OrderID {
	w.cmd = cmd
	if w.ids {
		w.sent++
		w.now++
		w.cmd.Time = max(w.now, cmd.Time)
		binary.LittleEndian.PutUint64(w.cmd.ID[:], w.sent*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(w.cmd.ID[8:], w.sent)
	}
	if w.held {
		w.cmd.Held = w.need(&w.cmd)
	}
	w.events = w.engine.Apply(w.events[:0], &w.cmd)
	if reason, ok := exchange.Rejected(w.events); ok {
		w.refused = reason
	}
	for i := range w.events {
		if w.events[i].Kind == exchange.EventAccepted {
			return w.events[i].OrderID
		}
	}
	return 0
}

// need returns more than enough for a command.
func (w *warmEngine) need(cmd *exchange.Command) exchange.Amount {
	switch cmd.Kind {
	case exchange.KindNewOrder, exchange.KindAmend, exchange.KindReplace, exchange.KindVoid:
		return 1 << 50
	}
	return 0
}

// allocCases are cycles: each leaves the book as it found it.
var allocCases = []struct {
	name  string
	cycle func(w *warmEngine)
}{
	{"add and cancel", func(w *warmEngine) {
		w.send(exchange.Cancel(1, 3, w.send(exchange.LimitOrder(1, 3, exchange.Buy, 950, 10))))
	}},
	{"add and cancel far away", func(w *warmEngine) {
		w.send(exchange.Cancel(1, 3, w.send(exchange.LimitOrder(1, 3, exchange.Sell, 50_000_000, 10))))
	}},
	{"amend keeping the place", func(w *warmEngine) {
		id := w.send(exchange.LimitOrder(1, 3, exchange.Buy, 950, 10))
		w.send(exchange.Amend(1, 3, id, 0, 6))
		w.send(exchange.Reduce(1, 3, id, 2))
		w.send(exchange.Cancel(1, 3, id))
	}},
	{"amend losing the place", func(w *warmEngine) {
		id := w.send(exchange.LimitOrder(1, 3, exchange.Buy, 950, 10))
		w.send(exchange.Amend(1, 3, id, 951, 0))
		w.send(exchange.Amend(1, 3, id, 0, 12))
		w.send(exchange.Cancel(1, 3, id))
	}},
	{"replace", func(w *warmEngine) {
		id := w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_050, 10))
		w.send(exchange.Cancel(1, 3, w.send(exchange.Replace(1, 3, id, 1_049, 8))))
	}},
	{"full match", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 10))
		w.send(exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 10))
		w.send(exchange.LimitOrder(1, 3, exchange.Buy, 1_000, 10))
		w.send(exchange.LimitOrder(1, 4, exchange.Sell, 1_000, 10))
	}},
	{"partial match", func(w *warmEngine) {
		id := w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 10))
		w.send(exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 4))
		w.send(exchange.Cancel(1, 3, id))
	}},
	{"match and rest", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 4))
		w.send(exchange.Cancel(1, 4, w.send(exchange.LimitOrder(1, 4, exchange.Buy, 1_001, 10))))
	}},
	{"sweep of twenty prices", func(w *warmEngine) {
		for i := range exchange.Price(20) {
			w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000+i, 1))
		}
		w.send(exchange.LimitOrder(1, 4, exchange.Buy, 1_020, 20))
	}},
	{"market", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 10))
		cmd := exchange.MarketOrder(1, 4, exchange.Buy, 10)
		cmd.Price = 1_010
		w.send(cmd)
	}},
	{"market by funds", func(w *warmEngine) {
		id := w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 10))
		w.send(exchange.MarketOrderByFunds(1, 4, 5_500))
		w.send(exchange.Cancel(1, 3, id))
	}},
	{"market-to-limit", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 4))
		cmd := exchange.MarketToLimitOrder(1, 4, exchange.Buy, 10)
		cmd.Price = 1_010
		w.send(exchange.Cancel(1, 4, w.send(cmd)))
	}},
	{"IOC", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 4))
		w.sendAs(exchange.IOC, exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 10))
	}},
	{"FOK, killed and filled", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 4))
		w.sendAs(exchange.FOK, exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 10))
		w.sendAs(exchange.FOK, exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 4))
	}},
	{"FOK against icebergs", func(w *warmEngine) {
		w.iceberg(3, 1_000, 9, 2)
		w.iceberg(3, 1_000, 9, 4)
		w.sendAs(exchange.FOK, exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 19))
		w.sendAs(exchange.FOK, exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 18))
	}},
	{"minimum quantity", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 4))
		cmd := exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 10)
		cmd.MinQty = 5
		w.send(cmd)
		cmd.MinQty, cmd.Qty = 4, 4
		w.send(cmd)
	}},
	{"iceberg sweep", func(w *warmEngine) {
		w.iceberg(3, 1_000, 10, 2)
		w.iceberg(5, 1_000, 10, 3)
		w.send(exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 20))
	}},
	{"hidden", func(w *warmEngine) {
		cmd := exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 10)
		cmd.Hidden = true
		w.send(cmd)
		w.send(exchange.LimitOrder(1, 4, exchange.Buy, 1_000, 10))
	}},
	{"post-only slide", func(w *warmEngine) {
		cmd := exchange.LimitOrder(1, 3, exchange.Buy, 1_200, 10)
		cmd.PostOnly = exchange.PostOnlySlide
		w.send(exchange.Cancel(1, 3, w.send(cmd)))
	}},
	{"self-trade prevention", func(w *warmEngine) {
		for mode := exchange.CancelNewest; mode <= exchange.Decrement; mode++ {
			id := w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000, 10))
			cmd := exchange.LimitOrder(1, 3, exchange.Buy, 1_000, 10)
			cmd.SelfTrade, cmd.TimeInForce = mode, exchange.IOC
			w.send(cmd)
			if mode == exchange.CancelNewest {
				w.send(exchange.Cancel(1, 3, id))
			}
		}
	}},
	{"stop trigger", func(w *warmEngine) {
		w.send(exchange.SetLastPrice(1, 1_000))
		cmd := exchange.StopOrder(1, 5, exchange.Buy, 1_010, 5)
		cmd.Price = 1_050
		w.send(cmd)
		w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_010, 10))
		w.send(exchange.LimitOrder(1, 4, exchange.Buy, 1_010, 5))
	}},
	{"stop-limit trigger and cancel", func(w *warmEngine) {
		w.send(exchange.SetLastPrice(1, 1_000))
		id := w.send(exchange.StopLimitOrder(1, 5, exchange.Sell, 990, 985, 5))
		w.send(exchange.SetLastPrice(1, 990))
		w.send(exchange.Cancel(1, 5, id))
		w.send(exchange.Cancel(1, 5, w.send(exchange.TakeProfitLimitOrder(1, 5, exchange.Buy, 900, 905, 5))))
	}},
	{"GTD add and cancel", func(w *warmEngine) {
		w.send(exchange.Cancel(1, 3, w.gtd(1_000_000_000)))
	}},
	{"GTD expiry", func(w *warmEngine) {
		w.gtd(10)
		w.now += 20
		w.send(exchange.AdvanceTime(1, w.now))
	}},
	{"mass cancel", func(w *warmEngine) {
		for i := range exchange.Price(20) {
			w.send(exchange.LimitOrder(1, 3, exchange.Sell, 1_000+i, 1))
		}
		w.send(exchange.MassCancel(1, 3))
	}},
	{"reference price", func(w *warmEngine) {
		w.send(exchange.SetReferencePrice(1, 1_000))
	}},
	{"void", func(w *warmEngine) {
		w.send(exchange.Void(1, 3, exchange.CommandID{}))
		w.refused = 0
	}},
	{"refusal", func(w *warmEngine) {
		w.send(exchange.LimitOrder(1, 3, exchange.Buy, 0, 10))
		w.send(exchange.Cancel(1, 3, 1<<60))
		w.refused = 0
	}},
}

func (w *warmEngine) sendAs(tif exchange.TimeInForce, cmd exchange.Command) {
	cmd.TimeInForce = tif
	w.send(cmd)
}

func (w *warmEngine) iceberg(account exchange.AccountID, px exchange.Price, qty, display exchange.Qty) {
	cmd := exchange.LimitOrder(1, account, exchange.Sell, px, qty)
	cmd.DisplayQty = display
	w.send(cmd)
}

func (w *warmEngine) gtd(in exchange.Time) exchange.OrderID {
	cmd := exchange.LimitOrder(1, 3, exchange.Buy, 950, 10)
	cmd.TimeInForce, cmd.Expire = exchange.GTD, w.now+in
	return w.send(cmd)
}

// allocations returns how often cycle allocates in a thousand turns, once it
// is warm. One turn at a time would hide what is allocated now and then.
func allocations(cycle func()) float64 {
	thousand := func() {
		for range 1_000 {
			cycle()
		}
	}
	thousand()
	return testing.AllocsPerRun(5, thousand)
}

func TestNoRaceAllocations(t *testing.T) {
	for _, mode := range []struct {
		name  string
		funds exchange.Funds
	}{{"matcher", 0}, {"none", exchange.FundsNone}, {"ledger", exchange.FundsLedger}, {"held", exchange.FundsHeld}} {
		for _, ids := range []bool{false, true} {
			w := newWarmEngine(t, mode.funds, ids)
			orders := w.book.Len()
			for _, c := range allocCases {
				t.Run(fmt.Sprintf("%s/ids=%v/%s", mode.name, ids, c.name), func(t *testing.T) {
					if n := allocations(func() { c.cycle(w) }); n != 0 {
						t.Errorf("%v allocations in a thousand turns", n)
					}
					if w.refused != 0 || w.book.Len() != orders {
						t.Errorf("the cycle is wrong: refused %v, %d orders, want %d", w.refused, w.book.Len(), orders)
					}
				})
			}
		}
	}
}

// The mixed workload as a whole, in every mode: slabs grow a little as the
// book's extremes do, by whole chunks.
func TestNoRaceAllocationsMixed(t *testing.T) {
	o := workload.Options{Seed: 1, Commands: 200_000, IDs: true}
	s := workload.Mixed(o)
	o.Held = true
	held := workload.Mixed(o)
	for _, c := range []struct {
		name   string
		stream *workload.Stream
		engine workload.Applier
	}{
		{"matcher", s, s.Matcher(exchange.MatcherConfig{})},
		{"none", s, s.Engine(exchange.Config{Funds: exchange.FundsNone})},
		{"ledger", s, s.Engine(exchange.Config{Funds: exchange.FundsLedger})},
		{"held", held, held.Engine(exchange.Config{Funds: exchange.FundsHeld})},
	} {
		var before, after runtime.MemStats
		events := make([]exchange.Event, 0, 256)
		runtime.ReadMemStats(&before)
		workload.Apply(events, c.engine, c.stream.Commands)
		runtime.ReadMemStats(&after)
		if n := after.Mallocs - before.Mallocs; n > uint64(len(s.Commands)/1_000) {
			t.Errorf("%s: %d allocations in %d commands", c.name, n, len(s.Commands))
		}
	}
}

func TestNoRaceAllocationsOfReads(t *testing.T) {
	for _, funds := range []exchange.Funds{0, exchange.FundsLedger} {
		w := newWarmEngine(t, funds, true)
		id := w.send(exchange.LimitOrder(1, 3, exchange.Buy, 950, 10))
		w.iceberg(3, 1_050, 10, 2)
		w.send(exchange.SetLastPrice(1, 1_000))
		w.send(exchange.StopLimitOrder(1, 5, exchange.Sell, 990, 985, 5))
		order, ok := w.book.Order(id)
		if !ok || order.CommandID == (exchange.CommandID{}) {
			t.Fatalf("order %d: %+v, %v", id, order, ok)
		}
		levels, orders := make([]exchange.Level, 0, 300), make([]exchange.Order, 0, 3_000)
		b := w.book
		for _, c := range []struct {
			name string
			read func() bool
		}{
			{"Best", func() bool { _, ok := b.Best(exchange.Buy); return ok }},
			{"Level", func() bool { _, ok := b.Level(exchange.Buy, 950); return ok }},
			{"Levels", func() bool { return len(b.Levels(levels[:0], exchange.Sell, 0)) > 100 }},
			{"Levels, ten", func() bool { return len(b.Levels(levels[:0], exchange.Buy, 10)) == 10 }},
			{"Orders", func() bool { return len(b.Orders(orders[:0], exchange.Sell, 0)) > 1_000 }},
			{"Pending", func() bool { return len(b.Pending(orders[:0])) == 1 }},
			{"Order", func() bool { _, ok := b.Order(id); return ok }},
			{"OrderByCommand", func() bool { _, ok := b.OrderByCommand(order.CommandID); return ok }},
			{"QueuePosition", func() bool { _, _, ok := b.QueuePosition(id); return ok }},
			{"LastPrice", func() bool { _, ok := b.LastPrice(); return ok }},
		} {
			if n := testing.AllocsPerRun(100, func() { ok = c.read() }); n != 0 || !ok {
				t.Errorf("funds %d, %s: %v allocations, read what is there: %v", funds, c.name, n, ok)
			}
		}
		if e, ok := w.engine.(*exchange.Engine); ok {
			n := testing.AllocsPerRun(100, func() {
				e.Balance(3, 1)
				e.Position(3, 1)
			})
			if n != 0 {
				t.Errorf("Balance and Position: %v allocations", n)
			}
		}
	}
}

// liveHeap returns the bytes of live objects.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// Memory follows the live orders, not the ids ever given: a hundred million
// ids with ten orders that stay, ten million apart.
func TestNoRaceHundredMillionIDs(t *testing.T) {
	const most = 8 << 20
	before := liveHeap()
	m := newMatcher(t, allocInstrument(t), exchange.MatcherConfig{})
	events := make([]exchange.Event, 0, 16)
	add, cancel := exchange.LimitOrder(1, 1, exchange.Buy, 1_000, 10), exchange.Cancel(1, 1, 0)
	id := exchange.OrderID(0)
	for stays := range 10 {
		add.Price = 900 - exchange.Price(stays)
		events = m.Apply(events[:0], &add)
		id++
		add.Price = 1_000
		for range 10_000_000 - 1 {
			events = m.Apply(events[:0], &add)
			id++
			cancel.OrderID = id
			events = m.Apply(events[:0], &cancel)
		}
		if grown := liveHeap() - before; grown > most {
			t.Fatalf("%d bytes after %d ids, want no more than %d", grown, id, most)
		}
	}
	if events[0].OrderID != 100_000_000 || m.Book().Len() != 10 {
		t.Errorf("last id %d, %d live orders; want 100,000,000 and 10", events[0].OrderID, m.Book().Len())
	}
	for i := range exchange.OrderID(10) {
		if _, ok := m.Book().Order(1 + 10_000_000*i); !ok {
			t.Errorf("order %d is gone", 1+10_000_000*i)
		}
	}
}

// A resting order costs at most 128 bytes, with its CommandID, its hold and
// its share of every table; only the dedup window is left out.
func TestNoRaceBytesPerOrder(t *testing.T) {
	const most = 128
	s := workload.Deep(workload.Options{Seed: 1, Commands: 1, IDs: true})
	before := liveHeap()
	e := s.Engine(exchange.Config{Funds: exchange.FundsLedger, DedupCount: 1})
	grown := liveHeap() - before
	orders := e.Book(1).Len()
	if orders < 990_000 {
		t.Fatalf("%d orders", orders)
	}
	each := grown / int64(orders)
	t.Logf("%d orders: %d bytes each", orders, each)
	if each > most {
		t.Errorf("%d bytes for an order, want no more than %d", each, most)
	}
	runtime.KeepAlive(e)
	runtime.KeepAlive(s)
}
