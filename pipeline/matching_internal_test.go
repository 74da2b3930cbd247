package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/stretchr/testify/assert"
)

// A message whose void panics as well is nobody's to forgive.
func TestForgive(t *testing.T) {
	s := &market{cfg: &MatchingEngineConfig{Metrics: noMetrics{}, Logger: loggerOrNone(nil)}}
	fences := 0
	panicked := newApplyPanic(errors.New("secret"))
	assert.NotContains(t, panicked.Error(), "secret")
	assert.ErrorIs(t, panicked, ErrPanicked)
	assert.True(t, s.forgive(panicked, 3, &fences))
	assert.True(t, s.forgive(panicked, 4, &fences))
	assert.False(t, s.forgive(panicked, 3, &fences))
	for range maxFences {
		assert.True(t, s.forgive(ErrFenced, 0, &fences))
	}
	assert.False(t, s.forgive(ErrFenced, 0, &fences))
	assert.False(t, s.forgive(errors.New("another"), 0, &fences))
	assert.False(t, s.forgive(errors.Join(ErrDiverged, panicked), 5, &fences))
}

// An item no journal takes is refused before anybody looks at it.
func TestLogTooLarge(t *testing.T) {
	_, err := NewLog(nil).append(context.Background(), Head{}, &Batch{Instrument: 1}, make([]byte, MaxItemBytes+1))
	assert.ErrorIs(t, err, ErrTooLarge)
	assert.ErrorContains(t, err, "268435457 bytes, expected at most 268435456")
}

// What a Log keeps is bounded in bytes too.
func TestRingBytes(t *testing.T) {
	var r ring
	add := func(pos Position, size int) {
		r.keep(Committed{&committedItem{batch: &Batch{}, head: Head{Position: pos}, data: make([]byte, size)}})
	}
	has := func() (all []Position) {
		size := 0
		for pos := Position(0); pos < 100; pos++ {
			if c, ok := r.get(pos); ok {
				assert.Equal(t, pos, c.Position())
				size += len(c.Data())
				all = append(all, pos)
			}
		}
		assert.Equal(t, size, r.size)
		assert.LessOrEqual(t, size, MaxLogCacheBytes)
		return all
	}
	assert.Empty(t, has())
	add(1, 10)
	add(2, MaxLogCacheBytes/2)
	add(3, MaxLogCacheBytes/2-10)
	assert.Equal(t, []Position{1, 2, 3}, has())
	add(4, 1)
	assert.Equal(t, []Position{2, 3, 4}, has())
	add(5, MaxLogCacheBytes)
	assert.Equal(t, []Position{5}, has())
	add(6, MaxLogCacheBytes+1)
	assert.Empty(t, has(), "it does not fit, and what was before has a gap then")
	add(7, 1)
	assert.Equal(t, []Position{7}, has())
	add(8, 1)
	add(8, 2)
	add(3, 1)
	assert.Equal(t, []Position{7, 8}, has(), "what is older is left out")
	add(20, 1)
	assert.Equal(t, []Position{20}, has(), "what does not follow takes the place of all")
}

// The bytes that the bound of MaxOrders counts with are those of the largest
// events there can be.
func TestLargestEvents(t *testing.T) {
	id := exchange.CommandID{1}
	const (
		high   = 1<<64 - 1
		time   = 1<<63 - 1
		amount = exchange.MaxHeld
		price  = exchange.MaxPrice
		qty    = exchange.MaxQty
	)
	base := exchange.Event{Command: exchange.KindVoid, Side: exchange.Sell, Instrument: exchange.MaxID, Seq: high, Time: time, ID: id, Account: high, OrderID: high, Price: price}
	of := func(kind exchange.EventKind, fill func(*exchange.Event)) exchange.Event {
		ev := base
		ev.Kind = kind
		fill(&ev)
		return ev
	}
	trade := func(ev *exchange.Event) {
		ev.MakerID, ev.MakerAccount, ev.MakerOrderID, ev.TradeID = id, high, high, high
		ev.Qty, ev.LeavesQty, ev.MakerLeavesQty, ev.Amount, ev.Fee, ev.MakerFee = qty, qty, qty, exchange.MaxAmount, -exchange.MaxAmount, -exchange.MaxAmount
		ev.Release, ev.MakerRelease = amount, amount
	}
	end := func(ev *exchange.Event) {
		ev.Reason, ev.Qty, ev.OrderQty, ev.Amount, ev.Release, ev.MakerRelease, ev.MakerID = 1<<16-1, qty, qty, amount, amount, amount, id
	}
	for _, tc := range []struct {
		ev   exchange.Event
		most int
	}{
		{of(exchange.EventTrade, trade), tradeBytes},
		{of(exchange.EventSelfTradePrevented, trade), tradeBytes},
		{of(exchange.EventCanceled, end), endBytes},
		{of(exchange.EventExpired, end), endBytes},
		{of(exchange.EventReplenished, func(ev *exchange.Event) { ev.Qty, ev.LeavesQty = qty, qty }), endBytes},
		{of(exchange.EventRepriced, func(ev *exchange.Event) { ev.LeavesQty, ev.Release = qty, amount }), endBytes},
		{of(exchange.EventTriggered, func(ev *exchange.Event) {
			ev.Type, ev.StopPrice, ev.OrderQty, ev.LeavesQty, ev.Release = exchange.TakeProfitLimit, price, qty, qty, amount
		}), triggeredBytes},
	} {
		var w writer
		w.event(&tc.ev)
		assert.LessOrEqual(t, len(w.buf), tc.most, tc.ev.Kind)
	}
	var w writer
	w.level(&LevelChange{Side: exchange.Sell, Level: exchange.Level{Price: price, Qty: qty, Orders: exchange.MaxOrdersMax}})
	assert.LessOrEqual(t, len(w.buf), levelBytes)
	// A command with its own event and acceptance, whatever it says.
	e := Entry{Message: Message{ClientID: string(make([]byte, MaxClientIDBytes))}}
	e.Command = exchange.Command{ID: id, Time: time, Account: high, OrderID: high, OrigID: id, Price: -1 << 63, StopPrice: -1 << 63, Qty: -1 << 63, DisplayQty: -1 << 63,
		MinQty: -1 << 63, Funds: -1 << 63, Held: -1 << 63, Expire: -1 << 63, Value: -1 << 63}
	e.Events = []exchange.Event{of(exchange.EventAccepted, trade), of(exchange.EventAmended, end), of(exchange.EventMassCanceled, trade)}
	w = writer{}
	w.entry(&e)
	assert.LessOrEqual(t, len(w.buf), commandBytes)
	// And the defaults fit.
	assert.LessOrEqual(t, DefaultMaxOrders*(DefaultIcebergParts*stepBytes+onceBytes)+commandBytes, MaxItemBytes)
}
