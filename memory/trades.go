package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// What a TradeStore keeps. It forgets the oldest beyond that.
const (
	MaxDoneOrders = 1 << 18 // orders that are no longer live, as they were done
	MaxTrades     = 1 << 17 // of one instrument
	MaxCandles    = 43_200  // minutes of one instrument in which something traded: at least 30 days
)

// TradeStore is a pipeline.TradeStore.
type TradeStore struct {
	maxDone, maxTrades, maxCandles int

	mu          sync.RWMutex
	orders      map[exchange.CommandID]*storedOrder
	clientIDs   map[clientKey]*storedOrder
	accounts    map[exchange.AccountID]*traderAccount
	instruments map[exchange.InstrumentID]*traderInstrument
	done        deque[*storedOrder] // as they were done
}

type storedOrder struct {
	pipeline.OrderRecord
	queued bool // in TradeStore.done
}

type clientKey struct {
	account exchange.AccountID
	id      string
}

// traderInstrument is what is known of an instrument.
type traderInstrument struct {
	recorded pipeline.Position
	orders   map[exchange.OrderID]*storedOrder
	trades   deque[*pipeline.Trade] // by ID
	candles  deque[pipeline.Candle] // of minutes, by Start
}

// traderAccount is what is known of an account.
type traderAccount struct {
	instruments []*traderPart // by instrument
}

// traderPart is what is known of an account in an instrument.
type traderPart struct {
	inst      exchange.InstrumentID
	all, live *btree.BTreeG[*storedOrder] // by (Created, CommandID)
	fills     deque[*pipeline.Trade]      // by ID
}

// NewTradeStore returns an empty store.
func NewTradeStore() *TradeStore {
	return &TradeStore{
		maxDone: MaxDoneOrders, maxTrades: MaxTrades, maxCandles: MaxCandles,
		orders:      map[exchange.CommandID]*storedOrder{},
		clientIDs:   map[clientKey]*storedOrder{},
		accounts:    map[exchange.AccountID]*traderAccount{},
		instruments: map[exchange.InstrumentID]*traderInstrument{},
	}
}

// compareOrders is the order of pages, the oldest first.
func compareOrders(a, b *pipeline.OrderRecord) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), bytes.Compare(a.CommandID[:], b.CommandID[:]))
}

// compareFills is the order of an account's trades, the oldest first.
func compareFills(a, b *pipeline.Trade) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Instrument, b.Instrument), cmp.Compare(a.ID, b.ID))
}

func newOrderTree() *btree.BTreeG[*storedOrder] {
	return btree.NewBTreeGOptions(func(a, b *storedOrder) bool {
		return compareOrders(&a.OrderRecord, &b.OrderRecord) < 0
	}, btree.Options{NoLocks: true})
}

// part returns what is known of an account in an instrument, which it makes.
func (s *TradeStore) part(acct exchange.AccountID, inst exchange.InstrumentID) *traderPart {
	a := s.accounts[acct]
	if a == nil {
		a = &traderAccount{}
		s.accounts[acct] = a
	}
	i, ok := slices.BinarySearchFunc(a.instruments, inst, func(p *traderPart, inst exchange.InstrumentID) int { return cmp.Compare(p.inst, inst) })
	if !ok {
		a.instruments = slices.Insert(a.instruments, i, &traderPart{inst: inst, all: newOrderTree(), live: newOrderTree()})
	}
	return a.instruments[i]
}

// parts returns what is known of an account in an instrument, 0: in all.
func (s *TradeStore) parts(acct exchange.AccountID, inst exchange.InstrumentID) []*traderPart {
	a := s.accounts[acct]
	switch {
	case a == nil:
		return nil
	case inst == 0:
		return a.instruments
	}
	for _, p := range a.instruments {
		if p.inst == inst {
			return []*traderPart{p}
		}
	}
	return nil
}

// Record implements pipeline.TradeStore. ErrInvalid: an order or a trade of
// another instrument, or a trade whose ID is not above the one before.
func (s *TradeStore) Record(_ context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.record(c, r); err != nil {
		return fmt.Errorf("recording item %d of instrument %d: %w", c.Position(), c.Instrument(), err)
	}
	return nil
}

func (s *TradeStore) record(c pipeline.Committed, r *pipeline.Record) error {
	inst := c.Instrument()
	in := s.instruments[inst]
	if in == nil {
		in = &traderInstrument{orders: map[exchange.OrderID]*storedOrder{}}
		s.instruments[inst] = in
	}
	switch {
	case c.Position() <= in.recorded:
		return nil
	case c.Position() > in.recorded+1:
		return fmt.Errorf("%w: recorded up to %d", pipeline.ErrGap, in.recorded)
	}
	if err := in.check(inst, r); err != nil {
		return err
	}
	for i := range r.Orders {
		s.recordOrder(in, &r.Orders[i])
	}
	for i := range r.Trades {
		s.recordTrade(in, &r.Trades[i])
	}
	in.recorded = c.Position()
	for s.done.len() > s.maxDone {
		s.forgetOrder(s.done.pop())
	}
	return nil
}

func (in *traderInstrument) check(inst exchange.InstrumentID, r *pipeline.Record) error {
	for i := range r.Orders {
		if r.Orders[i].Instrument != inst {
			return fmt.Errorf("%w: Orders[%d] is of instrument %d", pipeline.ErrInvalid, i, r.Orders[i].Instrument)
		}
	}
	last := exchange.TradeID(0)
	if n := in.trades.len(); n > 0 {
		last = (*in.trades.at(n - 1)).ID
	}
	for i := range r.Trades {
		t := &r.Trades[i]
		if t.Instrument != inst || t.ID <= last {
			return fmt.Errorf("%w: Trades[%d] is %d of instrument %d, expected one after %d", pipeline.ErrInvalid, i, t.ID, t.Instrument, last)
		}
		last = t.ID
	}
	return nil
}

func (s *TradeStore) recordOrder(in *traderInstrument, r *pipeline.OrderRecord) {
	o := s.orders[r.CommandID]
	if o == nil {
		o = &storedOrder{}
		s.orders[r.CommandID] = o
	} else if o.Account != r.Account || o.Instrument != r.Instrument || o.Created != r.Created || o.OrderID != r.OrderID || o.ClientID != r.ClientID {
		s.unlink(o) // it is found by other keys from now on
	}
	p := s.part(r.Account, r.Instrument)
	wasLive := o.Status.Live()
	o.OrderRecord = *r
	p.all.Set(o)
	if r.Status.Live() {
		p.live.Set(o)
	} else {
		if wasLive {
			p.live.Delete(o)
		}
		if !o.queued {
			o.queued = true
			s.done.push(o)
		}
	}
	if r.OrderID != 0 {
		in.orders[r.OrderID] = o
	}
	if r.ClientID != "" {
		key := clientKey{r.Account, r.ClientID}
		if old := s.clientIDs[key]; old == nil || compareOrders(&old.OrderRecord, r) < 0 {
			s.clientIDs[key] = o
		}
	}
}

// unlink takes an order out of everything but s.orders.
func (s *TradeStore) unlink(o *storedOrder) {
	p := s.part(o.Account, o.Instrument)
	p.all.Delete(o)
	p.live.Delete(o)
	if in := s.instruments[o.Instrument]; in.orders[o.OrderID] == o {
		delete(in.orders, o.OrderID)
	}
	if key := (clientKey{o.Account, o.ClientID}); s.clientIDs[key] == o {
		delete(s.clientIDs, key)
	}
}

func (s *TradeStore) forgetOrder(o *storedOrder) {
	o.queued = false
	if !o.Status.Live() {
		s.unlink(o)
		delete(s.orders, o.CommandID)
	}
}

func (s *TradeStore) recordTrade(in *traderInstrument, r *pipeline.Trade) {
	t := new(pipeline.Trade)
	*t = *r
	in.trades.push(t)
	s.part(t.Taker.Account, t.Instrument).fills.push(t)
	if t.Maker.Account != t.Taker.Account {
		s.part(t.Maker.Account, t.Instrument).fills.push(t)
	}
	in.recordCandle(t, s.maxCandles)
	if in.trades.len() > s.maxTrades {
		old := in.trades.pop() // of both parties the oldest in this instrument
		s.part(old.Taker.Account, old.Instrument).fills.drop(1)
		if old.Maker.Account != old.Taker.Account {
			s.part(old.Maker.Account, old.Instrument).fills.drop(1)
		}
	}
}

// Recorded implements pipeline.TradeStore.
func (s *TradeStore) Recorded(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if in := s.instruments[inst]; in != nil {
		return in.recorded, nil
	}
	return 0, nil
}
