package exchangetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// TestTradeStore runs TradeStoreCases.
func TestTradeStore(t *testing.T, open Open[pipeline.TradeStore]) { Run(t, TradeStoreCases, open) }

// TestDurableTradeStore runs DurableTradeStoreCases.
func TestDurableTradeStore(t *testing.T, h Durable[pipeline.TradeStore]) {
	Run(t, DurableTradeStoreCases, h)
}

// TradeStoreCases is what every pipeline.TradeStore does.
var TradeStoreCases = []Case[Open[pipeline.TradeStore]]{
	{"empty", tradesEmpty},
	{"orders and trades come back as they were recorded", tradesRoundTrip},
	{"an order is as the last item left it", tradesUpdate},
	{"an item is recorded once", tradesOnce},
	{"a gap and what is not committed are refused", tradesGuards},
	{"orders that were rejected have no id", tradesRejected},
	{"a client's id is the account's, and the newest counts", tradesClientID},
	{"instruments are apart", tradesInstruments},
	{"orders of one time are told apart by their command", tradesTies},
	{"a trade with itself is one fill", tradesSelf},
	{"candles of a minute", tradesCandles},
	{"candles of longer intervals", tradesLongCandles},
	{"limits and intervals are checked", tradesBounds},
	{"a big item", tradesBig},
	{"every query agrees with a plain model", tradesModel},
	{"an item recorded at the same time counts once", tradesRace},
	{"an item is seen whole or not at all", tradesReader},
	{"no slice is kept", tradesKeepsNoSlice},
	{"what is returned belongs to the caller", tradesReturnsCopies},
}

// DurableTradeStoreCases is what every pipeline.TradeStore does that survives.
var DurableTradeStoreCases = []Case[Durable[pipeline.TradeStore]]{
	{"everything recorded survives", durableTrades},
}

// fullOrder is an order with every field set.
func fullOrder(inst exchange.InstrumentID, n int) pipeline.OrderRecord {
	return pipeline.OrderRecord{CommandID: IDOf(n), ClientID: fmt.Sprintf("client %d \"<ü>'", n), Instrument: inst, OrderID: exchange.OrderID(n), Account: 1<<64 - 1,
		Side: exchange.Sell, Type: exchange.TakeProfitLimit, TimeInForce: exchange.GTD, SelfTrade: exchange.Decrement, PostOnly: exchange.PostOnlySlide, Hidden: true,
		Status: pipeline.OrderPending, Reason: exchange.ReasonUser + 7, Price: exchange.MaxPrice, StopPrice: exchange.MaxPrice - 1, OrderQty: exchange.MaxQty,
		CumQty: exchange.MaxQty - 1, LeavesQty: 1, DisplayQty: 2, Funds: exchange.MaxHeld, Notional: 1<<63 - 1, Fee: -1 << 62, Expire: 1<<63 - 1,
		Created: exchange.Time(n), Updated: 1<<63 - 2, Seq: 1<<64 - 1}
}

func fullTrade(inst exchange.InstrumentID, n int) pipeline.Trade {
	return pipeline.Trade{Instrument: inst, ID: exchange.TradeID(n), Seq: 1<<64 - 1, Time: exchange.Time(n), Price: exchange.MaxPrice, Qty: exchange.MaxQty, Amount: exchange.MaxAmount, Side: exchange.Sell,
		Taker: pipeline.Party{CommandID: IDOf(1), OrderID: 1<<64 - 1, Account: 1<<64 - 1, Fee: 1<<63 - 1},
		Maker: pipeline.Party{CommandID: IDOf(2), OrderID: 2, Account: 2, Fee: -1 << 63}}
}

// order is a small order of an account.
func order(inst exchange.InstrumentID, acct exchange.AccountID, n int, created exchange.Time) pipeline.OrderRecord {
	return pipeline.OrderRecord{CommandID: IDOf(n), Instrument: inst, OrderID: exchange.OrderID(n), Account: acct, Side: exchange.Buy, Type: exchange.Limit,
		TimeInForce: exchange.GTC, Status: pipeline.OrderOpen, Price: 100, OrderQty: 5, LeavesQty: 5, Created: created, Updated: created, Seq: uint64(n)}
}

// trade is a small trade between two accounts.
func trade(inst exchange.InstrumentID, id int, at exchange.Time, px exchange.Price, qty exchange.Qty, taker, maker exchange.AccountID) pipeline.Trade {
	return pipeline.Trade{Instrument: inst, ID: exchange.TradeID(id), Seq: uint64(id), Time: at, Price: px, Qty: qty, Amount: exchange.Amount(px) * exchange.Amount(qty), Side: exchange.Buy,
		Taker: pipeline.Party{CommandID: IDOf(2 * id), OrderID: exchange.OrderID(2 * id), Account: taker},
		Maker: pipeline.Party{CommandID: IDOf(2*id + 1), OrderID: exchange.OrderID(2*id + 1), Account: maker}}
}

// record records items, one record each, from position 1 on.
func record(t testing.TB, s pipeline.TradeStore, inst exchange.InstrumentID, records ...pipeline.Record) []pipeline.Committed {
	t.Helper()
	c := Commit(t, inst, len(records))
	for i := range records {
		require.NoError(t, s.Record(t.Context(), c[i], &records[i]), "recording item %d", i+1)
	}
	return c
}

func recordedIs(t testing.TB, s pipeline.TradeStore, inst exchange.InstrumentID, want pipeline.Position) {
	t.Helper()
	got, err := s.Recorded(t.Context(), inst)
	require.NoError(t, err)
	require.Equal(t, want, got, "recorded of instrument %d", inst)
}

// orderIs checks an order by each of its keys.
func orderIs(t testing.TB, s pipeline.TradeStore, want pipeline.OrderRecord) {
	t.Helper()
	got, err := s.OrderByCommand(t.Context(), want.CommandID)
	require.NoError(t, err, "by command")
	require.Equal(t, want, got, "by command")
	if want.OrderID != 0 {
		got, err = s.OrderByID(t.Context(), want.Instrument, want.OrderID)
		require.NoError(t, err, "by id")
		require.Equal(t, want, got, "by id")
	}
	if want.ClientID != "" {
		got, err = s.OrderByClientID(t.Context(), want.Account, want.ClientID)
		require.NoError(t, err, "by the client's id")
		require.Equal(t, want, got, "by the client's id")
	}
}

func ordersAre(t testing.TB, s pipeline.TradeStore, q pipeline.OrderQuery, want ...pipeline.OrderRecord) {
	t.Helper()
	got, err := s.Orders(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, append([]pipeline.OrderRecord(nil), want...), append([]pipeline.OrderRecord(nil), got...), "orders of %+v", q)
}

func tradesAre(t testing.TB, s pipeline.TradeStore, q pipeline.TradeQuery, want ...pipeline.Trade) {
	t.Helper()
	got, err := s.Trades(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, append([]pipeline.Trade(nil), want...), append([]pipeline.Trade(nil), got...), "trades of %+v", q)
}

func fillsAre(t testing.TB, s pipeline.TradeStore, q pipeline.FillQuery, want ...pipeline.Trade) {
	t.Helper()
	got, err := s.Fills(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, append([]pipeline.Trade(nil), want...), append([]pipeline.Trade(nil), got...), "fills of %+v", q)
}

func candlesAre(t testing.TB, s pipeline.TradeStore, q pipeline.CandleQuery, want ...pipeline.Candle) {
	t.Helper()
	got, err := s.Candles(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, append([]pipeline.Candle(nil), want...), append([]pipeline.Candle(nil), got...), "candles of %+v", q)
}

func tradesEmpty(t testing.TB, open Open[pipeline.TradeStore]) {
	s, ctx := open(t), t.Context()
	recordedIs(t, s, instA, 0)
	_, err := s.OrderByCommand(ctx, IDOf(1))
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	_, err = s.OrderByID(ctx, instA, 1)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	_, err = s.OrderByClientID(ctx, 1, "x")
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	ordersAre(t, s, pipeline.OrderQuery{Account: 1, Limit: 1})
	tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 1})
	fillsAre(t, s, pipeline.FillQuery{Account: 1, Limit: 1})
	candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: minute, Limit: 1})
}

func tradesRoundTrip(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	a, b := fullOrder(instA, 1), pipeline.OrderRecord{CommandID: IDOf(2), Instrument: instA, OrderID: 2, Account: 2, Status: pipeline.OrderFilled}
	full, little := fullTrade(instA, 1), pipeline.Trade{Instrument: instA, ID: 2, Taker: pipeline.Party{Account: 2}, Maker: pipeline.Party{Account: 3}}
	little.Time = full.Time
	record(t, s, instA, pipeline.Record{Orders: []pipeline.OrderRecord{a, b}, Trades: []pipeline.Trade{full, little}}, pipeline.Record{})
	recordedIs(t, s, instA, 2)
	orderIs(t, s, a)
	orderIs(t, s, b)
	ordersAre(t, s, pipeline.OrderQuery{Account: a.Account, Limit: 9}, a)
	tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 9}, little, full)
	fillsAre(t, s, pipeline.FillQuery{Account: full.Taker.Account, Limit: 9}, full)
	fillsAre(t, s, pipeline.FillQuery{Account: 2, Limit: 9}, little, full)
	fillsAre(t, s, pipeline.FillQuery{Account: 3, Limit: 9}, little)
}

func tradesUpdate(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	o := order(instA, 7, 1, 10)
	o.ClientID = "mine"
	c := Commit(t, instA, 4)
	for i, status := range []pipeline.OrderStatus{pipeline.OrderPending, pipeline.OrderOpen, pipeline.OrderOpen, pipeline.OrderFilled} {
		o.Status, o.CumQty, o.LeavesQty, o.Updated, o.Seq = status, exchange.Qty(i), exchange.Qty(5-i), exchange.Time(10+i), uint64(i+1)
		require.NoError(t, s.Record(t.Context(), c[i], &pipeline.Record{Orders: []pipeline.OrderRecord{o}}))
		orderIs(t, s, o)
		ordersAre(t, s, pipeline.OrderQuery{Account: 7, Limit: 9}, o)
		if status.Live() {
			ordersAre(t, s, pipeline.OrderQuery{Account: 7, LiveOnly: true, Limit: 9}, o)
		} else {
			ordersAre(t, s, pipeline.OrderQuery{Account: 7, LiveOnly: true, Limit: 9})
		}
	}
}

func tradesOnce(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	first := order(instA, 7, 1, 10)
	filled := first
	filled.Status, filled.CumQty, filled.LeavesQty = pipeline.OrderFilled, 5, 0
	tr := trade(instA, 1, minute, 100, 5, 7, 8)
	records := []pipeline.Record{{Orders: []pipeline.OrderRecord{first}}, {Orders: []pipeline.OrderRecord{filled}, Trades: []pipeline.Trade{tr}}}
	c := record(t, s, instA, records...)
	for range 2 {
		for i := range records { // again, the old one too, which would take the order back
			require.NoError(t, s.Record(t.Context(), c[i], &records[i]))
		}
		other := pipeline.Record{Orders: []pipeline.OrderRecord{order(instA, 7, 9, 10)}}
		require.NoError(t, s.Record(t.Context(), c[1], &other), "other contents at a position that was recorded")
		recordedIs(t, s, instA, 2)
		orderIs(t, s, filled)
		ordersAre(t, s, pipeline.OrderQuery{Account: 7, Limit: 9}, filled)
		tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 9}, tr)
		fillsAre(t, s, pipeline.FillQuery{Account: 7, Limit: 9}, tr)
		candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: minute, Limit: 9},
			pipeline.Candle{Start: minute, Open: 100, High: 100, Low: 100, Close: 100, Volume: 5, Trades: 1})
	}
}

func tradesGuards(t testing.TB, open Open[pipeline.TradeStore]) {
	s, c := open(t), Commit(t, instA, 4)
	r := func(n int) *pipeline.Record {
		return &pipeline.Record{Orders: []pipeline.OrderRecord{order(instA, 7, n, 10)}}
	}
	require.ErrorIs(t, s.Record(t.Context(), pipeline.Committed{}, r(1)), pipeline.ErrNotCommitted)
	require.ErrorIs(t, s.Record(t.Context(), c[1], r(1)), pipeline.ErrGap)
	ordersAre(t, s, pipeline.OrderQuery{Account: 7, Limit: 9})
	recordedIs(t, s, instA, 0)
	require.NoError(t, s.Record(t.Context(), c[0], r(1)))
	for _, i := range []int{2, 3} {
		require.ErrorIs(t, s.Record(t.Context(), c[i], r(2)), pipeline.ErrGap)
	}
	recordedIs(t, s, instA, 1)
	ordersAre(t, s, pipeline.OrderQuery{Account: 7, Limit: 9}, order(instA, 7, 1, 10))
	require.NoError(t, s.Record(t.Context(), c[1], r(2)))
	recordedIs(t, s, instA, 2)
}

func tradesRejected(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	var rejected []pipeline.OrderRecord
	for n := 1; n <= 3; n++ {
		o := order(instA, 7, n, exchange.Time(n))
		o.OrderID, o.Status, o.Reason, o.ClientID = 0, pipeline.OrderRejected, exchange.InsufficientFunds, fmt.Sprint("client ", n)
		rejected = append(rejected, o)
	}
	record(t, s, instA, pipeline.Record{Orders: rejected})
	for _, o := range rejected {
		orderIs(t, s, o)
	}
	_, err := s.OrderByID(t.Context(), instA, 0)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	slices.Reverse(rejected)
	ordersAre(t, s, pipeline.OrderQuery{Account: 7, Limit: 9}, rejected...)
	ordersAre(t, s, pipeline.OrderQuery{Account: 7, LiveOnly: true, Limit: 9})
}

func tradesClientID(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	make := func(inst exchange.InstrumentID, acct exchange.AccountID, n int, created exchange.Time) pipeline.OrderRecord {
		o := order(inst, acct, n, created)
		o.ClientID = "mine"
		return o
	}
	first, later, other := make(instA, 7, 1, 10), make(instA, 7, 2, 20), make(instA, 8, 3, 15)
	record(t, s, instA, pipeline.Record{Orders: []pipeline.OrderRecord{first, other}})
	orderIs(t, s, first)
	orderIs(t, s, other)
	c := Commit(t, instA, 3)
	require.NoError(t, s.Record(t.Context(), c[1], &pipeline.Record{Orders: []pipeline.OrderRecord{later}}))
	orderIs(t, s, later)
	first.Status = pipeline.OrderCanceled // a change of the older one does not make it the newest
	require.NoError(t, s.Record(t.Context(), c[2], &pipeline.Record{Orders: []pipeline.OrderRecord{first}}))
	orderIs(t, s, later)
	orderIs(t, s, other)
	elsewhere := make(instB, 7, 9, 5) // older than both, in another instrument
	record(t, s, instB, pipeline.Record{Orders: []pipeline.OrderRecord{elsewhere}})
	orderIs(t, s, later)
	got, err := s.OrderByCommand(t.Context(), first.CommandID)
	require.NoError(t, err)
	require.Equal(t, first, got)
	nameless := order(instB, 9, 10, 1)
	c = Commit(t, instB, 2)
	require.NoError(t, s.Record(t.Context(), c[1], &pipeline.Record{Orders: []pipeline.OrderRecord{nameless}}))
	_, err = s.OrderByClientID(t.Context(), 9, "")
	require.ErrorIs(t, err, pipeline.ErrNotFound)
}

func tradesInstruments(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	a, b := order(instA, 7, 1, 10), order(instB, 7, 1, 20)
	b.CommandID = IDOf(2)
	ta, tb := trade(instA, 1, 5*minute, 100, 1, 7, 8), trade(instB, 1, 3*minute, 200, 2, 8, 7)
	record(t, s, instA, pipeline.Record{Orders: []pipeline.OrderRecord{a}, Trades: []pipeline.Trade{ta}}, pipeline.Record{})
	recordedIs(t, s, instA, 2)
	recordedIs(t, s, instB, 0)
	record(t, s, instB, pipeline.Record{Orders: []pipeline.OrderRecord{b}, Trades: []pipeline.Trade{tb}})
	orderIs(t, s, a)
	orderIs(t, s, b)
	tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 9}, ta)
	tradesAre(t, s, pipeline.TradeQuery{Instrument: instB, Limit: 9}, tb)
	fillsAre(t, s, pipeline.FillQuery{Account: 7, Limit: 9}, ta, tb)
	fillsAre(t, s, pipeline.FillQuery{Account: 7, Instrument: instB, Limit: 9}, tb)
	ordersAre(t, s, pipeline.OrderQuery{Account: 7, Limit: 9}, b, a)
	ordersAre(t, s, pipeline.OrderQuery{Account: 7, Instrument: instA, Limit: 9}, a)
	candlesAre(t, s, pipeline.CandleQuery{Instrument: instB, Interval: minute, Limit: 9},
		pipeline.Candle{Start: 3 * minute, Open: 200, High: 200, Low: 200, Close: 200, Volume: 2, Trades: 1})
}

func tradesTies(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	var all []pipeline.OrderRecord
	for _, n := range []int{5, 300, 2, 70_000, 1} { // the id is compared byte by byte, of the largest first
		all = append(all, order(instA, 7, n, 10))
	}
	record(t, s, instA, pipeline.Record{Orders: all})
	slices.SortFunc(all, func(a, b pipeline.OrderRecord) int { return slices.Compare(b.CommandID[:], a.CommandID[:]) })
	ordersAre(t, s, pipeline.OrderQuery{Account: 7, Limit: 9}, all...)
	for i := range all {
		ordersAre(t, s, pipeline.OrderQuery{Account: 7, Before: &all[i], Limit: 9}, all[i+1:]...)
	}
}

func tradesSelf(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	self, other := trade(instA, 1, 10, 100, 1, 7, 7), trade(instA, 2, 10, 100, 1, 7, 8)
	record(t, s, instA, pipeline.Record{Trades: []pipeline.Trade{self, other}})
	fillsAre(t, s, pipeline.FillQuery{Account: 7, Limit: 9}, other, self)
	fillsAre(t, s, pipeline.FillQuery{Account: 8, Limit: 9}, other)
	fillsAre(t, s, pipeline.FillQuery{Account: 9, Limit: 9})
}

const (
	minute exchange.Time = 60 * 1e9
	day                  = 24 * 60 * minute
)

func tradesCandles(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	record(t, s, instA,
		pipeline.Record{Trades: []pipeline.Trade{trade(instA, 1, 10*minute, 100, 1, 7, 8), trade(instA, 2, 11*minute-1, 90, 2, 7, 8), trade(instA, 3, 11*minute, 80, 4, 7, 8)}},
		pipeline.Record{Trades: []pipeline.Trade{trade(instA, 4, 11*minute+1, 120, 8, 7, 8), trade(instA, 5, 11*minute+2, 110, 16, 7, 8), trade(instA, 6, 13*minute, 70, 32, 7, 8)}})
	ten := pipeline.Candle{Start: 10 * minute, Open: 100, High: 100, Low: 90, Close: 90, Volume: 3, Trades: 2}
	eleven := pipeline.Candle{Start: 11 * minute, Open: 80, High: 120, Low: 80, Close: 110, Volume: 28, Trades: 3}
	thirteen := pipeline.Candle{Start: 13 * minute, Open: 70, High: 70, Low: 70, Close: 70, Volume: 32, Trades: 1}
	q := func(from, before exchange.Time, limit int) pipeline.CandleQuery {
		return pipeline.CandleQuery{Instrument: instA, Interval: minute, From: from, Before: before, Limit: limit}
	}
	candlesAre(t, s, q(0, 0, 9), thirteen, eleven, ten)
	candlesAre(t, s, q(0, 0, 2), thirteen, eleven)
	candlesAre(t, s, q(11*minute, 0, 9), thirteen, eleven)
	candlesAre(t, s, q(11*minute+1, 0, 9), thirteen)
	candlesAre(t, s, q(0, 13*minute, 9), eleven, ten)
	candlesAre(t, s, q(0, 13*minute+1, 9), thirteen, eleven, ten)
	candlesAre(t, s, q(11*minute, 13*minute, 9), eleven)
	candlesAre(t, s, q(12*minute, 13*minute, 9))
	candlesAre(t, s, q(14*minute, 0, 9))
}

func tradesLongCandles(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	var trades []pipeline.Trade
	for n, at := range []exchange.Time{4 * minute, 5*minute - 1, 5 * minute, 7 * minute, 9*minute + 59e9, 20 * minute, day - 1, day, 3*day + 5*minute} {
		trades = append(trades, trade(instA, n+1, at, exchange.Price(100+(n*7)%10), exchange.Qty(1<<n), 7, 8))
	}
	record(t, s, instA, pipeline.Record{Trades: trades[:3]}, pipeline.Record{Trades: trades[3:]})
	for _, minutes := range []exchange.Time{1, 2, 3, 5, 15, 60, 240, 720, 1440} {
		interval := minutes * minute
		var want []pipeline.Candle
		for _, tr := range trades {
			start := tr.Time / interval * interval
			if len(want) == 0 || want[0].Start != start {
				want = slices.Insert(want, 0, pipeline.Candle{Start: start, Open: tr.Price, Low: tr.Price})
			}
			c := &want[0]
			c.High, c.Low, c.Close, c.Volume, c.Trades = max(c.High, tr.Price), min(c.Low, tr.Price), tr.Price, c.Volume+tr.Qty, c.Trades+1
		}
		candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: interval, Limit: 99}, want...)
		candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: interval, Limit: 1}, want[0])
		last := want[len(want)-1] // From and Before are about where an interval starts, not about its trades
		candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: interval, Before: last.Start + 1, Limit: 99}, last)
		candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: interval, From: want[0].Start, Limit: 99}, want[0])
	}
}

func tradesBounds(t testing.TB, open Open[pipeline.TradeStore]) {
	s, ctx := open(t), t.Context()
	record(t, s, instA, pipeline.Record{Orders: []pipeline.OrderRecord{order(instA, 7, 1, 10)}, Trades: []pipeline.Trade{trade(instA, 1, 10, 100, 1, 7, 8)}})
	for _, limit := range []int{0, -1, pipeline.MaxQueryRows + 1} {
		_, err := s.Orders(ctx, pipeline.OrderQuery{Account: 7, Limit: limit})
		require.ErrorIs(t, err, pipeline.ErrInvalid, "orders, limit %d", limit)
		_, err = s.Trades(ctx, pipeline.TradeQuery{Instrument: instA, Limit: limit})
		require.ErrorIs(t, err, pipeline.ErrInvalid, "trades, limit %d", limit)
		_, err = s.Fills(ctx, pipeline.FillQuery{Account: 7, Limit: limit})
		require.ErrorIs(t, err, pipeline.ErrInvalid, "fills, limit %d", limit)
		_, err = s.Candles(ctx, pipeline.CandleQuery{Instrument: instA, Interval: minute, Limit: limit})
		require.ErrorIs(t, err, pipeline.ErrInvalid, "candles, limit %d", limit)
	}
	for _, interval := range []exchange.Time{0, -minute, 1, minute - 1, minute + 1, 7 * minute, day + minute, 2 * day, 1<<63 - 1} {
		_, err := s.Candles(ctx, pipeline.CandleQuery{Instrument: instA, Interval: interval, Limit: 1})
		require.ErrorIs(t, err, pipeline.ErrInvalid, "an interval of %d ns", interval)
	}
}

func tradesBig(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	const n = 2500
	var r pipeline.Record
	for i := range n {
		o := order(instA, 7, i+1, exchange.Time(i))
		o.ClientID = fmt.Sprintf("%064d", i)
		r.Orders = append(r.Orders, o)
		r.Trades = append(r.Trades, trade(instA, i+1, exchange.Time(i), 100, 1, 7, exchange.AccountID(1000+i)))
	}
	record(t, s, instA, r)
	recordedIs(t, s, instA, 1)
	slices.Reverse(r.Orders)
	slices.Reverse(r.Trades)
	for at := 0; at < n; at += pipeline.MaxQueryRows { // in pages
		end := min(n, at+pipeline.MaxQueryRows)
		oq, tq := pipeline.OrderQuery{Account: 7, LiveOnly: true, Limit: pipeline.MaxQueryRows}, pipeline.TradeQuery{Instrument: instA, Limit: pipeline.MaxQueryRows}
		fq := pipeline.FillQuery{Account: 7, Limit: pipeline.MaxQueryRows}
		if at > 0 {
			oq.Before, tq.Before, fq.Before = &r.Orders[at-1], r.Trades[at-1].ID, &r.Trades[at-1]
		}
		ordersAre(t, s, oq, r.Orders[at:end]...)
		tradesAre(t, s, tq, r.Trades[at:end]...)
		fillsAre(t, s, fq, r.Trades[at:end]...)
	}
	orderIs(t, s, r.Orders[n/2])
}

func tradesRace(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	const n = 20
	c := Commit(t, instA, n)
	var want []pipeline.Trade
	for i := range n {
		want = slices.Insert(want, 0, trade(instA, i+1, minute, 100, 1, 7, 8))
	}
	errs := together(6, func(int) error {
		for i := range c {
			r := pipeline.Record{Trades: want[n-1-i : n-i]}
			for {
				err := s.Record(t.Context(), c[i], &r)
				if err == nil {
					break
				}
				// A store may ask who comes at the same time to come again.
				if pos, readErr := s.Recorded(t.Context(), instA); readErr != nil || int(pos) <= i {
					return errors.Join(err, readErr)
				}
			}
		}
		return nil
	})
	require.NoError(t, errors.Join(errs...))
	recordedIs(t, s, instA, n)
	tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 99}, want...)
	candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: minute, Limit: 9},
		pipeline.Candle{Start: minute, Open: 100, High: 100, Low: 100, Close: 100, Volume: n, Trades: n})
}

func tradesReader(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	const n, each = 60, 5
	c := Commit(t, instA, n)
	written := make(chan struct{})
	errs := together(3, func(i int) error {
		if i == 0 {
			defer close(written)
			for at := range c {
				var r pipeline.Record
				for k := range each {
					r.Trades = append(r.Trades, trade(instA, at*each+k+1, 1, 100, 1, 7, 8))
					r.Orders = append(r.Orders, order(instA, 7, at*each+k+1, 1))
				}
				if err := s.Record(t.Context(), c[at], &r); err != nil {
					return err
				}
			}
			return nil
		}
		for last := false; ; {
			before, err1 := s.Recorded(t.Context(), instA)
			trades, err2 := s.Trades(t.Context(), pipeline.TradeQuery{Instrument: instA, Limit: pipeline.MaxQueryRows})
			after, err3 := s.Recorded(t.Context(), instA)
			orders, err4 := s.Orders(t.Context(), pipeline.OrderQuery{Account: 7, Limit: pipeline.MaxQueryRows})
			if err := errors.Join(err1, err2, err3, err4); err != nil {
				return err
			}
			switch {
			case len(trades)%each != 0 || len(orders)%each != 0:
				return fmt.Errorf("part of an item: %d trades, %d orders, %d an item", len(trades), len(orders), each)
			case len(trades) < int(before)*each || len(trades) > int(after)*each:
				return fmt.Errorf("%d trades, recorded %d before and %d after, %d an item", len(trades), before, after, each)
			case last:
				return nil
			}
			select {
			case <-written:
				last = true
			default:
			}
		}
	})
	require.NoError(t, errors.Join(errs...))
}

func tradesKeepsNoSlice(t testing.TB, open Open[pipeline.TradeStore]) {
	s := open(t)
	o, tr := fullOrder(instA, 1), fullTrade(instA, 1)
	r := pipeline.Record{Orders: []pipeline.OrderRecord{o}, Trades: []pipeline.Trade{tr}}
	record(t, s, instA, r)
	r.Orders[0], r.Trades[0] = order(instA, 3, 3, 3), trade(instA, 3, 3, 3, 3, 3, 3)
	orderIs(t, s, o)
	tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 9}, tr)
	fillsAre(t, s, pipeline.FillQuery{Account: 2, Limit: 9}, tr)
}

func tradesReturnsCopies(t testing.TB, open Open[pipeline.TradeStore]) {
	s, ctx := open(t), t.Context()
	o, tr := fullOrder(instA, 1), fullTrade(instA, 1)
	record(t, s, instA, pipeline.Record{Orders: []pipeline.OrderRecord{o}, Trades: []pipeline.Trade{tr}})
	for range 2 {
		orders, err := s.Orders(ctx, pipeline.OrderQuery{Account: o.Account, Limit: 9})
		require.NoError(t, err)
		require.Equal(t, []pipeline.OrderRecord{o}, orders)
		trades, err := s.Trades(ctx, pipeline.TradeQuery{Instrument: instA, Limit: 9})
		require.NoError(t, err)
		require.Equal(t, []pipeline.Trade{tr}, trades)
		fills, err := s.Fills(ctx, pipeline.FillQuery{Account: 2, Limit: 9})
		require.NoError(t, err)
		require.Equal(t, []pipeline.Trade{tr}, fills)
		candles, err := s.Candles(ctx, pipeline.CandleQuery{Instrument: instA, Interval: minute, Limit: 9})
		require.NoError(t, err)
		require.Equal(t, []pipeline.Candle{{Open: tr.Price, High: tr.Price, Low: tr.Price, Close: tr.Price, Volume: tr.Qty, Trades: 1}}, candles)
		clear(orders)
		clear(trades)
		clear(fills)
		clear(candles)
	}
}

func durableTrades(t testing.TB, h Durable[pipeline.TradeStore]) {
	s := h.Open(t)
	o, done := fullOrder(instA, 1), order(instA, 7, 2, 20)
	done.Status, done.ClientID = pipeline.OrderFilled, "done"
	tr := fullTrade(instA, 1)
	record(t, s, instA, pipeline.Record{Orders: []pipeline.OrderRecord{o}}, pipeline.Record{Orders: []pipeline.OrderRecord{done}, Trades: []pipeline.Trade{tr}})
	c := Commit(t, instA, 3)
	for range 2 {
		s = h.Reopen(t, s)
		recordedIs(t, s, instA, 2)
		orderIs(t, s, o)
		orderIs(t, s, done)
		ordersAre(t, s, pipeline.OrderQuery{Account: o.Account, LiveOnly: true, Limit: 9}, o)
		ordersAre(t, s, pipeline.OrderQuery{Account: 7, LiveOnly: true, Limit: 9})
		tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 9}, tr)
		fillsAre(t, s, pipeline.FillQuery{Account: 2, Limit: 9}, tr)
		candlesAre(t, s, pipeline.CandleQuery{Instrument: instA, Interval: minute, Limit: 9},
			pipeline.Candle{Open: tr.Price, High: tr.Price, Low: tr.Price, Close: tr.Price, Volume: tr.Qty, Trades: 1})
		require.NoError(t, s.Record(t.Context(), c[1], &pipeline.Record{Trades: []pipeline.Trade{trade(instA, 2, 2, 2, 2, 2, 2)}}), "again, after a restart")
		tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 9}, tr)
	}
	next := trade(instA, 2, minute, 50, 1, 7, 8)
	require.NoError(t, s.Record(t.Context(), c[2], &pipeline.Record{Trades: []pipeline.Trade{next}}))
	s = h.Reopen(t, s)
	tradesAre(t, s, pipeline.TradeQuery{Instrument: instA, Limit: 9}, next, tr)
}
