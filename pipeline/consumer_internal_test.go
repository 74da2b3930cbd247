package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/castlecloud/exchange"
)

func internalInstrument(t require.TestingT) *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD", Base: exchange.Asset{ID: 1, Code: "BTC", Scale: 8}, Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6},
		Tick: decimal.RequireFromString("0.01"), Lot: decimal.RequireFromString("0.0001"),
	})
	require.NoError(t, err)
	return in
}

// A number's text is the decimal's, whatever the step.
func TestStepText(t *testing.T) {
	for _, tc := range []struct {
		coef int64
		exp  int32
		n    int64
		want string
	}{
		{1, -2, 6_400_000, "64000"}, {1, -2, 6_400_010, "64000.1"}, {1, -2, 5, "0.05"}, {1, -2, -5, "-0.05"}, {1, -2, 0, "0"},
		{25, -3, 3, "0.075"}, {5, 0, -7, "-35"}, {1, 2, 3, "300"}, {1, 2, 0, "0"}, {1, -18, math.MaxInt64, "9.223372036854775807"},
		{1, -8, math.MinInt64, "-92233720368.54775808"}, {10, -1, 7, "7"},
	} {
		step := newStepText(decimal.New(tc.coef, tc.exp))
		assert.Equal(t, tc.want, step.text(tc.n))
	}
	rapid.Check(t, func(rt *rapid.T) {
		d := decimal.New(rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, math.MaxInt64)).Draw(rt, "coefficient"),
			int32(rapid.IntRange(-70, 70).Draw(rt, "exponent")))
		if rapid.Bool().Draw(rt, "long") { // more than 64 bits
			d = d.Mul(decimal.New(math.MaxInt64, 0))
		}
		n := rapid.OneOf(rapid.Int64Range(-1000, 1000), rapid.Int64()).Draw(rt, "n")
		step := newStepText(d)
		assert.Equal(rt, d.Mul(decimal.NewFromInt(n)).String(), step.text(n), "%d × %s", n, d)
		assert.Equal(rt, "x"+step.text(n), string(step.append([]byte("x"), n)))
	})
}

func TestTimeText(t *testing.T) {
	for at, want := range map[exchange.Time]string{0: "", 1: "1970-01-01T00:00:00.000000001Z", 1_600_000_000_120_000_000: "2020-09-13T12:26:40.12Z",
		math.MaxInt64: "2262-04-11T23:47:16.854775807Z"} {
		assert.Equal(t, want, TimeText(at))
	}
}

// A window of 1,440 minutes, whatever trades when: the sums kept are those of
// the candles.
func TestDayWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var d dayWindow
		now := exchange.Time(rapid.Int64Range(0, 1e15).Draw(rt, "begin"))
		var trades []Trade
		for i := range rapid.IntRange(1, 60).Draw(rt, "items") {
			now += exchange.Time(rapid.OneOf(rapid.Int64Range(0, 3e9), rapid.Int64Range(0, 200e9), rapid.Int64Range(0, 90_000e9)).Draw(rt, "later"))
			d.unchanged()
			for range rapid.IntRange(0, 3).Draw(rt, "trades") {
				tr := Trade{ID: exchange.TradeID(len(trades) + 1), Time: now, Price: exchange.Price(rapid.IntRange(1, 9).Draw(rt, "price")), Qty: 2}
				trades = append(trades, tr)
				d.add(&tr)
				d.add(&tr) // twice is once
				require.Less(rt, d.changed, len(d.candles))
				require.Equal(rt, now-now%minute, d.candles[len(d.candles)-1].Start)
			}
			d.advance(now)
			kept := dayWindow{price: d.price}
			for _, tr := range trades {
				if tr.Time >= now-now%minute-1439*minute {
					kept.add(&tr)
				}
			}
			require.Equal(rt, append([]Candle{}, kept.candles...), append([]Candle{}, d.candles...), "item %d", i)
			high, low, volume := d.price, d.price, exchange.Qty(0)
			for j, c := range kept.candles {
				if j == 0 {
					high, low = c.High, c.Low
				}
				high, low, volume = max(high, c.High), min(low, c.Low), volume+c.Volume
			}
			require.Equal(rt, [...]int64{int64(high), int64(low), int64(volume)}, [...]int64{int64(d.high), int64(d.low), int64(d.volume)})
		}
	})
}

// fidgetyTrades is a TradeStore in which something trades between two looks.
type fidgetyTrades struct {
	TradeStore
	times int
	id    exchange.TradeID
}

func (s *fidgetyTrades) Trades(context.Context, TradeQuery) ([]Trade, error) {
	if s.times > 0 {
		s.times--
		s.id++
	}
	return []Trade{{ID: s.id, Price: exchange.Price(s.id), Qty: 3, Time: minute}}, nil
}

func (s *fidgetyTrades) Candles(_ context.Context, q CandleQuery) ([]Candle, error) {
	return []Candle{{Start: minute, Open: 1, High: exchange.Price(s.id), Low: 1, Close: exchange.Price(s.id), Volume: 3 * exchange.Qty(s.id), Trades: int64(s.id)}}, nil
}

// The candles and the last trade in them belong together, or are not taken.
func TestDayWindowLoad(t *testing.T) {
	var d dayWindow
	require.NoError(t, d.load(context.Background(), &fidgetyTrades{times: loadTries}, 1, 0))
	assert.Equal(t, exchange.TradeID(loadTries), d.upTo)
	assert.Equal(t, int64(loadTries), d.candles[0].Trades)
	assert.Equal(t, exchange.Qty(3*loadTries), d.volume)
	assert.ErrorContains(t, d.load(context.Background(), &fidgetyTrades{times: loadTries + 1}, 1, 0), "trades came in between 16 times")
}

// Of more accounts than MaxFeedChains the oldest is forgotten that has been
// silent since; what is said of it then is that it is not known.
func TestFeedChainsAreBounded(t *testing.T) {
	m := &feedState{chains: map[exchange.AccountID]*chain{}}
	pos := Position(0)
	heard := func(acct exchange.AccountID) *chain {
		pos++
		ch := m.chain(acct, pos, uint64(pos)*10)
		m.forgetChains()
		return ch
	}
	for acct := range exchange.AccountID(MaxFeedChains) {
		heard(acct + 1)
	}
	require.Len(t, m.chains, MaxFeedChains)
	assert.Zero(t, m.floor, "all are known")
	assert.Equal(t, uint64(10), heard(1).prev)
	heard(MaxFeedChains + 1)
	require.Len(t, m.chains, MaxFeedChains)
	require.Len(t, m.chainAge, MaxFeedChains)
	assert.NotNil(t, m.chains[1], "it was heard again")
	assert.Nil(t, m.chains[2])
	assert.Equal(t, uint64(20), m.floor)
	assert.Equal(t, uint64(20), heard(2).prev, "at least this")
	assert.Nil(t, m.chain(0, pos, 1), "the venue's own account hears nothing")
}

// What the tracker remembers of orders that ended is bounded.
func TestTrackerRemembers(t *testing.T) {
	tr := newTracker(internalInstrument(t), nil, 1)
	id := func(n int) (id exchange.CommandID) {
		copy(id[:], fmt.Sprintf("%016d", n))
		return id
	}
	tr.remember(id(0)) // nothing, when the store is never behind
	tr.ended = map[exchange.CommandID]bool{}
	for n := range maxEnded {
		tr.remember(id(n))
		tr.remember(id(n))
	}
	assert.Len(t, tr.ended, maxEnded)
	assert.True(t, tr.ended[id(0)])
	tr.remember(id(maxEnded))
	assert.Len(t, tr.ended, maxEnded)
	assert.False(t, tr.ended[id(0)], "the oldest went")
	assert.True(t, tr.ended[id(1)] && tr.ended[id(maxEnded)])
	tr.reset(7)
	assert.Empty(t, tr.ended)
	_, err := tr.take(context.Background(), Committed{&committedItem{batch: &Batch{Instrument: 1}, head: Head{Position: 9}}})
	assert.ErrorIs(t, err, ErrGap)
}

// deafPusher takes no balances until it is told to.
type deafPusher struct {
	Pusher
	hears bool
	got   int
}

func (p *deafPusher) Notify(_ context.Context, messages []Push) error {
	if !p.hears {
		return errors.New("deaf")
	}
	p.got += len(messages)
	return nil
}

type freeBalances struct {
	Balances
	at Position
}

func (b *freeBalances) Settle(_ context.Context, c Committed, _ *Settlement) error {
	b.at = c.Position()
	return nil
}

func (b *freeBalances) Settled(context.Context, exchange.InstrumentID) (Position, error) {
	return b.at, nil
}

func (b *freeBalances) Account(_ context.Context, id exchange.AccountID) (Account, error) {
	return Account{ID: id, Version: 1}, nil
}

// A Settler remembers MaxUntold accounts that a Pusher would not hear of.
func TestSettlerUntold(t *testing.T) {
	in := internalInstrument(t)
	b := &Batch{Instrument: 1, Entries: []Entry{{Events: make([]exchange.Event, MaxUntold+1)}}}
	for i := range b.Entries[0].Events {
		b.Entries[0].Events[i] = exchange.Event{Kind: exchange.EventAccepted, Instrument: 1, Seq: uint64(i + 1), Time: 1, ID: exchange.CommandID{1},
			Account: exchange.AccountID(i + 1), OrderID: exchange.OrderID(i + 1), Side: exchange.Buy}
	}
	c := Committed{&committedItem{batch: b, head: Head{Position: 1}}}
	p := &deafPusher{}
	s, err := NewSettler(SettlerConfig{Instruments: []*exchange.Instrument{in}, Log: NewLog(nil), Balances: &freeBalances{}, Pusher: p})
	require.NoError(t, err)
	require.NoError(t, s.settle(context.Background(), c))
	assert.Len(t, s.untold[1].accounts, MaxUntold)
	assert.ErrorContains(t, s.tell(context.Background(), 1), "pushing the balances of 16384 accounts")
	p.hears = true
	require.NoError(t, s.tell(context.Background(), 1))
	assert.Equal(t, MaxUntold, p.got)
	assert.Empty(t, s.untold[1].accounts)
}

// Events of the venue as a whole have another sequence.
func TestBatchSeqs(t *testing.T) {
	ev := func(inst exchange.InstrumentID, seq uint64) exchange.Event {
		return exchange.Event{Kind: exchange.EventTimeAdvanced, Instrument: inst, Seq: seq, Time: exchange.Time(seq)}
	}
	for _, tc := range []struct {
		events      [][]exchange.Event
		first, last uint64
		time        exchange.Time
	}{
		{nil, 0, 0, 0},
		{[][]exchange.Event{{}}, 0, 0, 0},
		{[][]exchange.Event{{ev(0, 77)}}, 0, 0, 77},
		{[][]exchange.Event{{ev(0, 77)}, {ev(3, 5), ev(3, 6)}, {ev(3, 7), ev(0, 78)}, {}}, 5, 7, 78},
		{[][]exchange.Event{{ev(3, 0)}, {ev(3, 5)}, {ev(3, 0)}}, 5, 5, 0}, // a duplicate has none
	} {
		b := Batch{Instrument: 3}
		for _, events := range tc.events {
			b.Entries = append(b.Entries, Entry{Events: events})
		}
		assert.Equal(t, [...]uint64{tc.first, tc.last}, [...]uint64{b.FirstSeq(), b.LastSeq()}, "%+v", tc.events)
		assert.Equal(t, tc.time, b.LastTime())
	}
}
