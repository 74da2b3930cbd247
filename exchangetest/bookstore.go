package exchangetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// TestBookStore runs BookStoreCases.
func TestBookStore(t *testing.T, open Open[pipeline.BookStore]) { Run(t, BookStoreCases, open) }

// BookStoreCases is what every pipeline.BookStore does.
var BookStoreCases = []Case[Open[pipeline.BookStore]]{
	{"empty", bookEmpty},
	{"the newest book stays", bookNewest},
	{"a book above the limits of stores, and one beyond the bound", bookBig},
	{"what is not committed is refused", bookNotCommitted},
	{"a depth comes back as it was saved", depthRoundTrip},
	{"the newest depth stays", depthNewest},
	{"a depth's instrument and levels are checked", depthBounds},
	{"instruments are apart", bookInstruments},
	{"a book saved at the same time as newer ones never wins", bookRace},
	{"no slice is kept", bookKeepsNoSlice},
	{"what is returned belongs to the caller", bookReturnsCopies},
}

// bookIs checks which book a store has.
func bookIs(t testing.TB, s pipeline.BookStore, c pipeline.Committed, data []byte) {
	t.Helper()
	got, err := s.LoadBook(t.Context(), c.Instrument())
	require.NoError(t, err)
	require.Equal(t, c.Head(), got.Head, "head of the book")
	require.True(t, bytes.Equal(data, got.Data), "data of the book: %d bytes, want %d", len(got.Data), len(data))
}

// depthIs checks which depth a store has; no levels may be nil or empty.
func depthIs(t testing.TB, s pipeline.BookStore, want *pipeline.Depth) {
	t.Helper()
	got, err := s.Depth(t.Context(), want.Instrument)
	require.NoError(t, err)
	plain := func(d *pipeline.Depth) pipeline.Depth {
		c := *d
		c.Bids, c.Asks = append([]exchange.Level{}, d.Bids...), append([]exchange.Level{}, d.Asks...)
		c.BidOrders, c.AskOrders = append([]pipeline.BookOrder{}, d.BidOrders...), append([]pipeline.BookOrder{}, d.AskOrders...)
		return c
	}
	require.Equal(t, plain(want), plain(got))
}

// depthOf makes a depth with levels on each side.
func depthOf(inst exchange.InstrumentID, seq uint64, levels int) *pipeline.Depth {
	d := &pipeline.Depth{Instrument: inst, Seq: seq, Time: exchange.Time(seq) * 1e9, LastPrice: exchange.MaxPrice}
	for i := range levels {
		up := exchange.Price(5000 + i)
		d.Bids = append(d.Bids, exchange.Level{Price: exchange.Price(4999 - i), Qty: exchange.MaxQty - exchange.Qty(i), Orders: i + 1})
		d.Asks = append(d.Asks, exchange.Level{Price: up, Qty: exchange.Qty(i + 1), Orders: 1})
		d.BidOrders = append(d.BidOrders, pipeline.BookOrder{ID: 1<<63 + exchange.OrderID(i), Price: exchange.Price(4999 - i), Qty: 1})
		d.AskOrders = append(d.AskOrders, pipeline.BookOrder{ID: exchange.OrderID(i + 1), Price: up, Qty: exchange.MaxQty})
	}
	return d
}

func bookEmpty(t testing.TB, open Open[pipeline.BookStore]) {
	s := open(t)
	_, err := s.LoadBook(t.Context(), instA)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	_, err = s.Depth(t.Context(), instA)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
}

func bookNewest(t testing.TB, open Open[pipeline.BookStore]) {
	s, c := open(t), Commit(t, instA, 9)
	newest := 0
	for _, i := range []int{1, 1, 4, 2, 0, 8, 7, 8} {
		require.NoError(t, s.SaveBook(t.Context(), c[i], fmt.Append(nil, "book ", i)))
		newest = max(newest, i)
		bookIs(t, s, c[newest], fmt.Append(nil, "book ", newest))
	}
}

func bookBig(t testing.TB, open Open[pipeline.BookStore]) {
	s, c := open(t), Commit(t, instA, 4)
	for i, size := range []int{3*bigSize + 1, 10, 400<<10 + 1} {
		data := noise(uint64(i), size)
		require.NoError(t, s.SaveBook(t.Context(), c[i], data))
		bookIs(t, s, c[i], data)
	}
	require.ErrorIs(t, s.SaveBook(t.Context(), c[3], huge(t, pipeline.MaxSnapshotBytes+1)), pipeline.ErrTooLarge)
	bookIs(t, s, c[2], noise(2, 400<<10+1))
}

func bookNotCommitted(t testing.TB, open Open[pipeline.BookStore]) {
	s := open(t)
	require.ErrorIs(t, s.SaveBook(t.Context(), pipeline.Committed{}, []byte("book")), pipeline.ErrNotCommitted)
	require.ErrorIs(t, s.SaveDepth(t.Context(), pipeline.Committed{}, depthOf(instA, 1, 1)), pipeline.ErrNotCommitted)
	bookEmpty(t, func(testing.TB) pipeline.BookStore { return s })
}

func depthRoundTrip(t testing.TB, open Open[pipeline.BookStore]) {
	s, c := open(t), Commit(t, instA, 1)
	without := depthOf(instA, 2, 3) // L3 is not always given
	without.BidOrders, without.AskOrders = nil, nil
	oneSide := depthOf(instA, 3, 2)
	oneSide.Bids, oneSide.AskOrders, oneSide.LastPrice = nil, nil, 0
	for _, d := range []*pipeline.Depth{{Instrument: instA, Seq: 1}, without, oneSide, depthOf(instA, 1<<63, pipeline.MaxDepthLevels)} {
		require.NoError(t, s.SaveDepth(t.Context(), c[0], d))
		depthIs(t, s, d)
	}
}

func depthNewest(t testing.TB, open Open[pipeline.BookStore]) {
	s, c := open(t), Commit(t, instA, 1)
	newest := 0
	for _, seq := range []int{5, 5, 7, 6, 1, 20, 9, 20} {
		newest = max(newest, seq)
		require.NoError(t, s.SaveDepth(t.Context(), c[0], depthOf(instA, uint64(seq), seq)))
		depthIs(t, s, depthOf(instA, uint64(newest), newest))
	}
}

func depthBounds(t testing.TB, open Open[pipeline.BookStore]) {
	s, c := open(t), Commit(t, instA, 1)
	require.NoError(t, s.SaveDepth(t.Context(), c[0], depthOf(instA, 1, 1)))
	require.ErrorIs(t, s.SaveDepth(t.Context(), c[0], depthOf(instB, 2, 1)), pipeline.ErrInvalid, "another instrument's")
	_, err := s.Depth(t.Context(), instB)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
		d := depthOf(instA, 3, pipeline.MaxDepthLevels+1)
		d.BidOrders, d.AskOrders = nil, nil
		if side == exchange.Buy {
			d.Asks = nil
		} else {
			d.Bids = nil
		}
		require.ErrorIs(t, s.SaveDepth(t.Context(), c[0], d), pipeline.ErrTooLarge, "%d levels to %v", pipeline.MaxDepthLevels+1, side)
	}
	depthIs(t, s, depthOf(instA, 1, 1))
}

func bookInstruments(t testing.TB, open Open[pipeline.BookStore]) {
	s, a, b := open(t), Commit(t, instA, 2), Commit(t, instB, 1)
	require.NoError(t, s.SaveBook(t.Context(), a[1], []byte("a")))
	require.NoError(t, s.SaveDepth(t.Context(), a[1], depthOf(instA, 9, 1)))
	_, err := s.LoadBook(t.Context(), instB)
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	require.NoError(t, s.SaveBook(t.Context(), b[0], []byte("b")))
	require.NoError(t, s.SaveDepth(t.Context(), b[0], depthOf(instB, 2, 3)))
	bookIs(t, s, a[1], []byte("a"))
	bookIs(t, s, b[0], []byte("b"))
	depthIs(t, s, depthOf(instA, 9, 1))
	depthIs(t, s, depthOf(instB, 2, 3))
}

func bookRace(t testing.TB, open Open[pipeline.BookStore]) {
	s := open(t)
	const n = 24
	c := Commit(t, instA, n)
	errs := together(n+2, func(i int) error {
		if i < n {
			return errors.Join(
				s.SaveBook(t.Context(), c[i], fmt.Append(nil, "book ", i)),
				s.SaveDepth(t.Context(), c[i], depthOf(instA, uint64(i+1), 2)))
		}
		var last pipeline.Position // a reader: what it sees never goes back
		var seq uint64
		for range 200 {
			if snap, err := s.LoadBook(t.Context(), instA); err == nil {
				if snap.Position < last || string(snap.Data) != fmt.Sprint("book ", snap.Position-1) {
					return fmt.Errorf("book %d with data %q after book %d", snap.Position, snap.Data, last)
				}
				last = snap.Position
			}
			if d, err := s.Depth(t.Context(), instA); err == nil {
				if d.Seq < seq || d.Time != exchange.Time(d.Seq)*1e9 {
					return fmt.Errorf("depth %d of time %d after depth %d", d.Seq, d.Time, seq)
				}
				seq = d.Seq
			}
		}
		return nil
	})
	require.NoError(t, errors.Join(errs...))
	bookIs(t, s, c[n-1], fmt.Append(nil, "book ", n-1))
	depthIs(t, s, depthOf(instA, n, 2))
}

func bookKeepsNoSlice(t testing.TB, open Open[pipeline.BookStore]) {
	s, c := open(t), Commit(t, instA, 1)
	data, d := noise(1, 100), depthOf(instA, 1, 3)
	require.NoError(t, s.SaveBook(t.Context(), c[0], data))
	require.NoError(t, s.SaveDepth(t.Context(), c[0], d))
	spoil(data)
	spoilDepth(d)
	bookIs(t, s, c[0], noise(1, 100))
	depthIs(t, s, depthOf(instA, 1, 3))
}

func bookReturnsCopies(t testing.TB, open Open[pipeline.BookStore]) {
	s, c := open(t), Commit(t, instA, 1)
	require.NoError(t, s.SaveBook(t.Context(), c[0], noise(1, 100)))
	require.NoError(t, s.SaveDepth(t.Context(), c[0], depthOf(instA, 1, 3)))
	for range 2 {
		snap, err := s.LoadBook(t.Context(), instA)
		require.NoError(t, err)
		spoil(snap.Data)
		d, err := s.Depth(t.Context(), instA)
		require.NoError(t, err)
		spoilDepth(d)
	}
	bookIs(t, s, c[0], noise(1, 100))
	depthIs(t, s, depthOf(instA, 1, 3))
}

func spoilDepth(d *pipeline.Depth) {
	d.Seq, d.LastPrice = 77, 77
	d.Bids[0], d.Asks[1] = exchange.Level{}, exchange.Level{}
	d.BidOrders[2], d.AskOrders[0] = pipeline.BookOrder{}, pipeline.BookOrder{}
}
