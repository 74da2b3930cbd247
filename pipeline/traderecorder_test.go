package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

type flawedTrades struct {
	*memory.TradeStore
	flaw
}

func (s *flawedTrades) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	return s.do("Record", func() error { return s.TradeStore.Record(ctx, c, r) })
}

func (s *flawedTrades) Recorded(ctx context.Context, inst exchange.InstrumentID) (pos pipeline.Position, err error) {
	err = s.do("Recorded", func() error { pos, err = s.TradeStore.Recorded(ctx, inst); return err })
	return pos, err
}

func (s *flawedTrades) OrderByCommand(ctx context.Context, id exchange.CommandID) (o pipeline.OrderRecord, err error) {
	err = s.do("OrderByCommand", func() error { o, err = s.TradeStore.OrderByCommand(ctx, id); return err })
	return o, err
}

type flawedArchive struct {
	*memory.Archive
	flaw
}

func (a *flawedArchive) Put(ctx context.Context, name string, data []byte) error {
	return a.do("Put "+name[:4], func() error { return a.Archive.Put(ctx, name, data) })
}

func (a *flawedArchive) List(ctx context.Context, prefix, after string, limit int) (names []string, err error) {
	err = a.do("List", func() error { names, err = a.Archive.List(ctx, prefix, after, limit); return err })
	return names, err
}

// registry is a TradeRecorder beside a scribe.
type registry struct {
	*scribe
	trades   *flawedTrades
	archive  *flawedArchive
	metrics  *memory.Metrics
	cfg      pipeline.TradeRecorderConfig
	recorder *pipeline.TradeRecorder
}

func newRegistry(t require.TestingT, every, tracked int) *registry {
	r := &registry{scribe: newScribe(t, scribeInstrument(t, 1), exchange.FundsHeld), trades: &flawedTrades{TradeStore: memory.NewTradeStore()},
		archive: &flawedArchive{Archive: memory.NewArchive()}, metrics: memory.NewMetrics()}
	r.cfg = pipeline.TradeRecorderConfig{Instruments: []*exchange.Instrument{r.in}, Trades: r.trades, Archive: r.archive,
		ArchiveEvery: every, TrackedOrders: tracked, Metrics: r.metrics}
	r.restart()
	return r
}

func (r *registry) restart() {
	r.cfg.Log = pipeline.NewLog(r.journal)
	var err error
	r.recorder, err = pipeline.NewTradeRecorder(r.cfg)
	require.NoError(r.t, err)
}

func (r *registry) handle() error { return r.recorder.Handle(context.Background(), r.notice()) }

// found returns an order of the store.
func (r *registry) found(id exchange.CommandID) pipeline.OrderRecord {
	o, err := r.trades.TradeStore.OrderByCommand(context.Background(), id)
	require.NoError(r.t, err)
	return o
}

// chronicle is what the journal says of orders, found by looking through all of
// it for each.
type chronicle struct {
	in    *exchange.Instrument
	items []pipeline.Committed
}

func (ch *chronicle) each(f func(e *pipeline.Entry, ev *exchange.Event)) {
	for _, c := range ch.items {
		b := c.Batch()
		for i := range b.Entries {
			for j := range b.Entries[i].Events {
				if ev := &b.Entries[i].Events[j]; ev.Instrument == ch.in.ID() {
					f(&b.Entries[i], ev)
				}
			}
		}
	}
}

// order returns an order as it is at the end: how it was made, then what the
// last event of each sort says.
func (ch *chronicle) order(id exchange.CommandID) (o pipeline.OrderRecord) {
	var replaced exchange.CommandID
	ch.each(func(e *pipeline.Entry, ev *exchange.Event) {
		taker, maker := ev.ID == id, ev.MakerID == id
		switch {
		case ev.Kind == exchange.EventRejected && taker && e.Command.Kind != exchange.KindReplace && e.Command.Kind != exchange.KindAmend:
			if o.CommandID == id {
				return // it came again
			}
			c := &e.Command
			o = pipeline.OrderRecord{CommandID: id, ClientID: e.ClientID, Instrument: 1, Account: c.Account, Side: c.Side, Type: c.Type,
				TimeInForce: c.TimeInForce, SelfTrade: c.SelfTrade, PostOnly: c.PostOnly, Hidden: c.Hidden, Status: pipeline.OrderRejected,
				Reason: ev.Reason, Price: c.Price, StopPrice: c.StopPrice, OrderQty: c.Qty, DisplayQty: c.DisplayQty, Funds: c.Funds,
				Expire: c.Expire, Created: c.Time}
		case ev.Kind == exchange.EventAccepted && taker:
			c := &e.Command
			o = pipeline.OrderRecord{CommandID: id, ClientID: e.ClientID, Instrument: 1, OrderID: ev.OrderID, Account: ev.Account,
				Side: ev.Side, Type: ev.Type, TimeInForce: ev.TimeInForce, PostOnly: ev.PostOnly, Hidden: ev.Hidden, Status: pipeline.OrderOpen,
				Price: ev.Price, StopPrice: ev.StopPrice, OrderQty: ev.OrderQty, LeavesQty: ev.LeavesQty, DisplayQty: ev.DisplayQty, Created: c.Time}
			if ev.Type == exchange.Stop || ev.Type == exchange.StopLimit || ev.Type == exchange.TakeProfit || ev.Type == exchange.TakeProfitLimit {
				o.Status = pipeline.OrderPending
			}
			if c.Kind == exchange.KindReplace {
				old := ch.order(replaced)
				o.SelfTrade, o.Expire = old.SelfTrade, old.Expire
				if o.Status == pipeline.OrderPending {
					o.Funds = old.Funds
				}
			} else {
				o.SelfTrade, o.Expire, o.Funds = c.SelfTrade, c.Expire, c.Funds
			}
		case ev.Kind == exchange.EventCanceled && ev.Reason == exchange.ByReplace && maker:
			replaced = ev.ID
			return
		case ev.Kind == exchange.EventTrade && (taker || maker):
			o.CumQty += ev.Qty
			o.Notional += ev.Amount
			if taker {
				o.Fee, o.LeavesQty = o.Fee+ev.Fee, ev.LeavesQty
			} else {
				o.Fee, o.LeavesQty = o.Fee+ev.MakerFee, ev.MakerLeavesQty
			}
			if o.LeavesQty == 0 && o.OrderQty != 0 {
				o.Status = pipeline.OrderFilled
			}
		case ev.Kind == exchange.EventSelfTradePrevented && taker:
			o.LeavesQty = ev.LeavesQty
			if o.OrderQty != 0 {
				o.OrderQty = o.CumQty + o.LeavesQty
			}
		case ev.Kind == exchange.EventSelfTradePrevented && maker:
			o.LeavesQty = ev.MakerLeavesQty
			o.OrderQty = o.CumQty + o.LeavesQty
		case ev.Kind == exchange.EventCanceled && taker:
			o.Status, o.Reason, o.LeavesQty, o.OrderQty = pipeline.OrderCanceled, ev.Reason, 0, ev.OrderQty
		case ev.Kind == exchange.EventExpired && taker:
			o.Status, o.Reason, o.LeavesQty, o.OrderQty = pipeline.OrderExpired, ev.Reason, 0, ev.OrderQty
		case ev.Kind == exchange.EventAmended && taker:
			o.Price, o.OrderQty, o.LeavesQty = ev.Price, ev.OrderQty, ev.LeavesQty
			if o.Status == pipeline.OrderPending {
				o.StopPrice = ev.StopPrice
			}
		case ev.Kind == exchange.EventTriggered && taker:
			o.Price, o.Status = ev.Price, pipeline.OrderOpen
		case ev.Kind == exchange.EventRepriced && taker:
			o.Price = ev.Price
		default:
			return
		}
		o.Seq, o.Updated = ev.Seq, ev.Time
	})
	return o
}

// made returns the ids of all orders, and of those that were refused.
func (ch *chronicle) made() (ids []exchange.CommandID) {
	ch.each(func(e *pipeline.Entry, ev *exchange.Event) {
		refused := ev.Kind == exchange.EventRejected && ev.Account != 0 && (e.Command.Kind == exchange.KindNewOrder ||
			e.Command.Kind == exchange.KindVoid && e.Command.OrderID == 0)
		if (ev.Kind == exchange.EventAccepted || refused) && !slices.Contains(ids, ev.ID) {
			ids = append(ids, ev.ID)
		}
	})
	return ids
}

// TestTradeRecorderKnowsEveryOrder: whatever comes, in whatever batches, with
// next to no orders at hand, through restarts and repeats, the store has every
// order as the journal and the book have it, and every trade once.
func TestTradeRecorderKnowsEveryOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }
		r := newRegistry(rt, 1+pick(9), 1+pick(12))
		d := &drawer{pick: pick, s: r.scribe, now: 1000}
		for range 10 + pick(150) {
			m, again := d.message()
			if !again {
				m.Command.Held = exchange.Amount(pick(60_000))
				d.sent = append(d.sent, m)
			}
			r.apply(m)
			if d.one(4) {
				r.commit()
			}
			switch {
			case d.one(10):
				r.commit()
				require.NoError(rt, r.handle())
			case d.one(20):
				r.restart()
			case d.one(20):
				r.trades.set([]string{"Record", "Record after", "Recorded", "OrderByCommand"}[pick(4)])
				r.commit()
				_ = r.handle()
				r.trades.set()
			}
		}
		r.commit()
		if r.head.Position == 0 {
			return
		}
		require.NoError(rt, r.recorder.Handle(context.Background(), r.notice()))
		ch := &chronicle{r.in, r.items()}
		for _, id := range ch.made() {
			require.Equal(rt, ch.order(id), r.found(id))
		}
		for _, o := range r.orders() {
			got := r.found(o.CommandID)
			require.True(rt, got.Status.Live())
			require.Equal(rt, [...]any{o.ID, o.Account, o.Side, o.Price, o.OrderQty, o.CumQty, o.LeavesQty, o.DisplayQty, o.Expire, o.SelfTrade, o.Pending},
				[...]any{got.OrderID, got.Account, got.Side, got.Price, got.OrderQty, got.CumQty, got.LeavesQty, got.DisplayQty, got.Expire, got.SelfTrade, got.Status == pipeline.OrderPending})
		}
		r.everyTradeOnce(rt, ch)
	})
}

func (r *registry) everyTradeOnce(t require.TestingT, ch *chronicle) {
	var want []pipeline.Trade
	ch.each(func(_ *pipeline.Entry, ev *exchange.Event) {
		if ev.Kind == exchange.EventTrade {
			want = append(want, pipeline.Trade{Instrument: 1, ID: ev.TradeID, Seq: ev.Seq, Time: ev.Time, Price: ev.Price, Qty: ev.Qty, Amount: ev.Amount,
				Side:  ev.Side,
				Taker: pipeline.Party{CommandID: ev.ID, OrderID: ev.OrderID, Account: ev.Account, Fee: ev.Fee},
				Maker: pipeline.Party{CommandID: ev.MakerID, OrderID: ev.MakerOrderID, Account: ev.MakerAccount, Fee: ev.MakerFee}})
		}
	})
	got, err := r.trades.Trades(context.Background(), pipeline.TradeQuery{Instrument: 1, Limit: pipeline.MaxQueryRows})
	require.NoError(t, err)
	slices.Reverse(got)
	require.Equal(t, len(want), len(got))
	for i := range want {
		require.Equal(t, want[i], got[i])
	}
}

func TestTradeRecorderConfig(t *testing.T) {
	r := newRegistry(t, 1, 1)
	for name, change := range map[string]func(c *pipeline.TradeRecorderConfig){
		"Instruments is empty":                    func(c *pipeline.TradeRecorderConfig) { c.Instruments = nil },
		"no Log":                                  func(c *pipeline.TradeRecorderConfig) { c.Log = nil },
		"Trades and Archive":                      func(c *pipeline.TradeRecorderConfig) { c.Trades = nil },
		"Trades and Archive are":                  func(c *pipeline.TradeRecorderConfig) { c.Archive = nil },
		"ArchiveEvery -1, expected 1 to 65536":    func(c *pipeline.TradeRecorderConfig) { c.ArchiveEvery = -1 },
		"ArchiveEvery 65537, expected 1 to 65536": func(c *pipeline.TradeRecorderConfig) { c.ArchiveEvery = pipeline.MaxArchiveEvery + 1 },
		"TrackedOrders -1, expected 1 or more":    func(c *pipeline.TradeRecorderConfig) { c.TrackedOrders = -1 },
	} {
		cfg := r.cfg
		change(&cfg)
		_, err := pipeline.NewTradeRecorder(cfg)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, name)
		assert.ErrorContains(t, err, name)
	}
	cfg := r.cfg
	cfg.ArchiveEvery, cfg.TrackedOrders = pipeline.MaxArchiveEvery, 0
	_, err := pipeline.NewTradeRecorder(cfg)
	assert.NoError(t, err)
}

// A store that has nothing of an order that an event is about, or another
// order under its id, is not believed.
func TestTradeRecorderUnknownOrder(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name   string
		record pipeline.Record
		want   error
	}{
		{"nothing", pipeline.Record{}, pipeline.ErrNotFound},
		{"another", pipeline.Record{Orders: []pipeline.OrderRecord{{CommandID: plainID(1), Instrument: 1, OrderID: 9, Account: 1}}}, pipeline.ErrConflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRegistry(t, 1000, 10)
			sell := exchange.LimitOrder(1, 1, exchange.Sell, 100, 2)
			sell.ID, sell.Held, sell.Time = plainID(1), 2, 1000
			cancel := exchange.Cancel(1, 1, 1)
			cancel.ID, cancel.Time = plainID(2), 1000
			r.each(pipeline.Message{Command: sell}, pipeline.Message{Command: cancel})
			require.NoError(t, r.trades.TradeStore.Record(ctx, r.items()[0], &tc.record))
			err := r.handle()
			assert.ErrorIs(t, err, tc.want)
			assert.ErrorContains(t, err, "trade recorder: instrument 1: item 2: following order 1")
		})
	}
}

// A command that was refused is an order when it would have made one; it never
// takes the place of the order that once had its id.
func TestTradeRecorderRefusals(t *testing.T) {
	order := func(n byte, change func(c *exchange.Command)) pipeline.Message {
		c := exchange.LimitOrder(1, 1, exchange.Buy, 100, 5)
		c.ID, c.Time, c.Held = plainID(n), 1000, 600
		if change != nil {
			change(&c)
		}
		return pipeline.Message{Command: c, ClientID: fmt.Sprintf("c%d", n)}
	}
	void := func(n byte, change func(c *exchange.Command)) pipeline.Message {
		return order(n, func(c *exchange.Command) {
			c.Kind, c.Held, c.Value = exchange.KindVoid, 0, int64(exchange.InsufficientFunds)
			if change != nil {
				change(c)
			}
		})
	}
	later := pipeline.Message{Command: exchange.AdvanceTime(1, 5000)}
	later.Command.ID = plainID(99)
	ioc := func(c *exchange.Command) { c.TimeInForce = exchange.IOC }
	for _, tc := range []struct {
		name    string
		batches [][]pipeline.Message
		want    string // of the order with id 1: status, reason, client's id
	}{
		{"an order", [][]pipeline.Message{{order(1, func(c *exchange.Command) { c.Qty = 0 })}}, "rejected, quantity below minimum, c1, 0@100"},
		{"an order refused before the engine", [][]pipeline.Message{{void(1, nil)}}, "rejected, insufficient funds, c1, 5@100"},
		{"an order that ended and came again", [][]pipeline.Message{{order(1, ioc)}, {later, order(1, ioc)}}, "canceled, immediate remainder, c1, 5@100"},
		{"in one batch", [][]pipeline.Message{{order(1, ioc), later, order(1, ioc)}}, "canceled, immediate remainder, c1, 5@100"},
		{"an order that was refused and came again", [][]pipeline.Message{{void(1, nil), later, void(1, nil)}, {void(1, nil)}}, "rejected, insufficient funds, c1, 5@100"},
		{"a late void of an order that lived", [][]pipeline.Message{{order(1, ioc)}, {later, void(1, func(c *exchange.Command) { c.Time = 5000 })}}, "canceled, immediate remainder, c1, 5@100"},
		{"a void of an amend makes no order", [][]pipeline.Message{{void(1, func(c *exchange.Command) { c.OrderID = 7 })}}, ""},
		{"nor does an amend, or a void for nobody", [][]pipeline.Message{
			{order(1, func(c *exchange.Command) { c.Kind, c.OrderID = exchange.KindAmend, 7 })},
			{void(2, func(c *exchange.Command) { c.ID, c.Account = plainID(1), 0 })}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRegistry(t, 1000, 10)
			for _, batch := range tc.batches {
				for _, m := range batch {
					r.apply(m)
				}
				r.commit()
				require.NoError(t, r.handle())
				r.restart()
			}
			o, err := r.trades.TradeStore.OrderByCommand(context.Background(), plainID(1))
			if tc.want == "" {
				assert.ErrorIs(t, err, pipeline.ErrNotFound)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, fmt.Sprintf("%v, %v, %s, %d@%d", o.Status, o.Reason, o.ClientID, o.OrderQty, o.Price))
		})
	}
}
