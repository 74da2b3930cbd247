package exchangetest

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// A tradeModel is a TradeStore in the plainest way: everything in one slice,
// searched from end to end.
type tradeModel struct {
	orders []pipeline.OrderRecord
	trades []pipeline.Trade
}

func newerOrder(a, b pipeline.OrderRecord) int {
	return -cmp.Or(cmp.Compare(a.Created, b.Created), bytes.Compare(a.CommandID[:], b.CommandID[:]))
}

func newerFill(a, b pipeline.Trade) int {
	return -cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Instrument, b.Instrument), cmp.Compare(a.ID, b.ID))
}

func (m *tradeModel) record(r pipeline.Record) {
	for _, o := range r.Orders {
		if i := slices.IndexFunc(m.orders, func(have pipeline.OrderRecord) bool { return have.CommandID == o.CommandID }); i >= 0 {
			m.orders[i] = o
		} else {
			m.orders = append(m.orders, o)
		}
	}
	m.trades = append(m.trades, r.Trades...)
}

// page returns those of all that keep says, in order, at most limit.
func page[T any](all []T, order func(a, b T) int, limit int, keep func(T) bool) []T {
	var out []T
	for _, v := range all {
		if keep(v) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, order)
	return slices.Clip(out[:min(limit, len(out))])
}

func (m *tradeModel) queryOrders(q pipeline.OrderQuery) []pipeline.OrderRecord {
	return page(m.orders, newerOrder, q.Limit, func(o pipeline.OrderRecord) bool {
		return o.Account == q.Account && (q.Instrument == 0 || o.Instrument == q.Instrument) && (!q.LiveOnly || o.Status.Live()) && (q.Before == nil || newerOrder(*q.Before, o) < 0)
	})
}

func (m *tradeModel) queryTrades(q pipeline.TradeQuery) []pipeline.Trade {
	return page(m.trades, func(a, b pipeline.Trade) int { return cmp.Compare(b.ID, a.ID) }, q.Limit, func(t pipeline.Trade) bool {
		return t.Instrument == q.Instrument && (q.Before == 0 || t.ID < q.Before) && (q.Since == 0 || t.Time >= q.Since)
	})
}

func (m *tradeModel) queryFills(q pipeline.FillQuery) []pipeline.Trade {
	return page(m.trades, newerFill, q.Limit, func(t pipeline.Trade) bool {
		return (t.Taker.Account == q.Account || t.Maker.Account == q.Account) && (q.Instrument == 0 || t.Instrument == q.Instrument) && (q.Before == nil || newerFill(*q.Before, t) < 0)
	})
}

// modelSeeds are the runs of tradesModel. A failure names its seed: leave only
// that one here to repeat it.
var modelSeeds = []uint64{1, 2, 3}

func tradesModel(t testing.TB, open Open[pipeline.TradeStore]) {
	for _, seed := range modelSeeds {
		modelRun(t, open(t), seed)
	}
}

func modelRun(t testing.TB, s pipeline.TradeStore, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	m := &tradeModel{}
	insts := []exchange.InstrumentID{instA, 2, instB}
	const items = 40
	committed := map[exchange.InstrumentID][]pipeline.Committed{}
	done := map[exchange.InstrumentID]int{}
	for _, inst := range insts {
		committed[inst] = Commit(t, inst, items)
	}
	var now exchange.Time
	ids, tradeIDs := 0, map[exchange.InstrumentID]int{}
	account := func() exchange.AccountID { return exchange.AccountID(1 + r.IntN(4)) }
	for step := range items * len(insts) {
		inst := insts[step%len(insts)]
		if r.IntN(3) > 0 {
			now += exchange.Time(r.IntN(3))
		}
		var rec pipeline.Record
		for range r.IntN(4) {
			ids++
			o := order(inst, account(), ids*7919%1000, now-exchange.Time(r.IntN(4)))
			o.CommandID = IDOf(ids * 7919 % 100_003)
			o.OrderID = exchange.OrderID(ids)
			rec.Orders = append(rec.Orders, o)
		}
		for _, o := range m.orders { // what becomes of orders that were there
			if o.Instrument == inst && o.Status.Live() && r.IntN(4) == 0 && !slices.ContainsFunc(rec.Orders, func(n pipeline.OrderRecord) bool { return n.CommandID == o.CommandID }) {
				o.Status = []pipeline.OrderStatus{pipeline.OrderOpen, pipeline.OrderFilled, pipeline.OrderCanceled, pipeline.OrderExpired}[r.IntN(4)]
				o.Updated = now
				rec.Orders = append(rec.Orders, o)
			}
		}
		for range r.IntN(4) {
			tradeIDs[inst]++
			rec.Trades = append(rec.Trades, trade(inst, tradeIDs[inst], now, exchange.Price(90+r.IntN(20)), exchange.Qty(1+r.IntN(9)), account(), account()))
		}
		require.NoError(t, s.Record(t.Context(), committed[inst][done[inst]], &rec), "seed %d, step %d", seed, step)
		done[inst]++
		m.record(rec)
		for range 3 {
			what := fmt.Sprintf("seed %d, step %d", seed, step)
			limit := []int{1, 2, 5, 50, pipeline.MaxQueryRows}[r.IntN(5)]
			oq := pipeline.OrderQuery{Account: account(), LiveOnly: r.IntN(2) == 0, Limit: limit}
			fq := pipeline.FillQuery{Account: account(), Limit: limit}
			tq := pipeline.TradeQuery{Instrument: insts[r.IntN(3)], Limit: limit}
			if r.IntN(2) == 0 {
				oq.Instrument, fq.Instrument = insts[r.IntN(3)], insts[r.IntN(3)]
			}
			if len(m.orders) > 0 && r.IntN(2) == 0 { // also one that the query itself does not give
				oq.Before = &m.orders[r.IntN(len(m.orders))]
			}
			if len(m.trades) > 0 && r.IntN(2) == 0 {
				fq.Before = &m.trades[r.IntN(len(m.trades))]
				tq.Before = exchange.TradeID(1 + r.IntN(tradeIDs[insts[0]]+2))
			}
			if r.IntN(3) == 0 {
				tq.Since = exchange.Time(r.Int64N(int64(now) + 2))
			}
			ordersAre(tagged{t, what}, s, oq, m.queryOrders(oq)...)
			fillsAre(tagged{t, what}, s, fq, m.queryFills(fq)...)
			tradesAre(tagged{t, what}, s, tq, m.queryTrades(tq)...)
		}
	}
}

// tagged says with every failure where it happened.
type tagged struct {
	testing.TB
	what string
}

func (t tagged) Errorf(format string, args ...any) {
	t.TB.Helper()
	t.TB.Errorf("%s: %s", t.what, fmt.Sprintf(format, args...))
}
