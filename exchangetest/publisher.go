package exchangetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// PublisherHarness is how a pipeline.Publisher is tested.
type PublisherHarness struct {
	// Open makes a publisher with so many consumers. Each of the functions
	// waits for that consumer's next notice, or until ctx ends (any error).
	Open            func(t testing.TB, consumers int) (pipeline.Publisher, []func(context.Context) (pipeline.Notice, error))
	Patience, Quiet time.Duration // 0: DefaultPatience, DefaultQuiet
}

// TestPublisher runs PublisherCases.
func TestPublisher(t *testing.T, h PublisherHarness) { Run(t, PublisherCases, h) }

// PublisherCases is what every pipeline.Publisher does.
var PublisherCases = []Case[PublisherHarness]{
	{"every consumer hears of the last item", publisherNotices},
	{"instruments are apart", publisherInstruments},
	{"it may be repeated", publisherRepeats},
	{"what is not committed is refused", publisherNotCommitted},
	{"items of two instruments or out of order are refused", publisherInvalid},
	{"nobody waits for a consumer", publisherSlow},
	{"the latest is heard of when many publish", publisherRace},
	{"no slice is kept", publisherKeepsNoSlice},
}

// hears waits until a consumer hears of an instrument's item at pos or later,
// and never of one beyond last.
func (h PublisherHarness) hears(t testing.TB, next func(context.Context) (pipeline.Notice, error), inst exchange.InstrumentID, pos, last pipeline.Position) {
	t.Helper()
	ctx := within(t, orDefault(h.Patience, DefaultPatience))
	for {
		n, err := next(ctx)
		require.NoError(t, err, "waiting for item %d of instrument %d", pos, inst)
		if n.Instrument != inst {
			continue
		}
		require.LessOrEqual(t, n.Position, last, "a notice of what was not published")
		if n.Position >= pos {
			return
		}
	}
}

// hearsNothing checks that no notice comes.
func (h PublisherHarness) hearsNothing(t testing.TB, next func(context.Context) (pipeline.Notice, error)) {
	t.Helper()
	n, err := next(within(t, orDefault(h.Quiet, DefaultQuiet)))
	require.Error(t, err, "a notice of item %d of instrument %d, of which none was published", n.Position, n.Instrument)
}

func publisherNotices(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 3)
	c := Commit(t, instA, 20)
	for _, end := range []int{1, 2, 10, 11, 20} {
		require.NoError(t, p.Publish(t.Context(), c[:end]))
		for i := range next {
			h.hears(t, next[i], instA, pipeline.Position(end), pipeline.Position(end))
		}
	}
	// Each from where the last call ended, as the mark has it.
	c = Commit(t, instB, 6)
	for i := range c {
		require.NoError(t, p.Publish(t.Context(), c[i:i+1]))
	}
	for i := range next {
		h.hears(t, next[i], instB, 6, 6)
	}
}

func publisherInstruments(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 1)
	a, b := Commit(t, instA, 9), Commit(t, instB, 2)
	require.NoError(t, p.Publish(t.Context(), a))
	require.NoError(t, p.Publish(t.Context(), b))
	want := map[exchange.InstrumentID]pipeline.Position{instA: 9, instB: 2}
	ctx := within(t, orDefault(h.Patience, DefaultPatience))
	for len(want) > 0 {
		n, err := next[0](ctx)
		require.NoError(t, err, "waiting for %v", want)
		last := pipeline.Position(9)
		if n.Instrument == instB {
			last = 2
		}
		require.LessOrEqual(t, n.Position, last, "of instrument %d", n.Instrument)
		if n.Position == last {
			delete(want, n.Instrument)
		}
	}
}

func publisherRepeats(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 1)
	c := Commit(t, instA, 3)
	for range 3 {
		require.NoError(t, p.Publish(t.Context(), c))
		h.hears(t, next[0], instA, 3, 3)
	}
	require.NoError(t, p.Publish(t.Context(), c[:1]), "what was published before")
	require.NoError(t, p.Publish(t.Context(), c[1:]))
	h.hears(t, next[0], instA, 3, 3)
}

func publisherNotCommitted(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 1)
	c := Commit(t, instA, 3)
	for zero := range c {
		items := append([]pipeline.Committed(nil), c...)
		items[zero] = pipeline.Committed{}
		require.ErrorIs(t, p.Publish(t.Context(), items), pipeline.ErrNotCommitted, "item %d is zero", zero)
	}
	require.ErrorIs(t, p.Publish(t.Context(), make([]pipeline.Committed, 1)), pipeline.ErrNotCommitted)
	h.hearsNothing(t, next[0])
}

func publisherInvalid(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 1)
	a, b := Commit(t, instA, 3), Commit(t, instB, 3)
	for _, items := range [][]pipeline.Committed{{a[0], b[1]}, {a[1], a[0]}, {a[0], a[0]}, {a[0], a[2], a[1]}, {a[0], a[1], b[2]}} {
		require.ErrorIs(t, p.Publish(t.Context(), items), pipeline.ErrInvalid)
	}
	h.hearsNothing(t, next[0])
}

func publisherSlow(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 2)
	const n = 2000
	c := Commit(t, instA, n)
	ctx := within(t, orDefault(h.Patience, DefaultPatience))
	for i := 0; i < n; i += 4 {
		require.NoError(t, p.Publish(ctx, c[i:i+4]), "while nobody reads")
	}
	for i := range next {
		h.hears(t, next[i], instA, n, n)
	}
}

func publisherRace(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 2)
	const n = 40
	a, b := Commit(t, instA, n), Commit(t, instB, n)
	errs := together(8, func(i int) error {
		c := a
		if i%2 == 1 {
			c = b
		}
		for at := range c {
			if err := p.Publish(t.Context(), c[:at+1]); err != nil {
				return fmt.Errorf("publishing %d items: %w", at+1, err)
			}
		}
		return nil
	})
	require.NoError(t, errors.Join(errs...))
	for i := range next {
		want := map[exchange.InstrumentID]bool{instA: true, instB: true}
		ctx := within(t, orDefault(h.Patience, DefaultPatience))
		for len(want) > 0 {
			got, err := next[i](ctx)
			require.NoError(t, err, "waiting for the last item of %v", want)
			if got.Position == n {
				delete(want, got.Instrument)
			}
		}
	}
}

func publisherKeepsNoSlice(t testing.TB, h PublisherHarness) {
	p, next := h.Open(t, 1)
	a, b := Commit(t, instA, 5), Commit(t, instB, 5)
	items := append([]pipeline.Committed(nil), a...)
	require.NoError(t, p.Publish(t.Context(), items))
	copy(items, b)
	n, err := next[0](within(t, orDefault(h.Patience, DefaultPatience)))
	require.NoError(t, err)
	require.Equal(t, instA, n.Instrument)
}
