package exchangetest

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// Case is one requirement on a port. H is what makes the port, or a struct
// with further things the case needs.
type Case[H any] struct {
	Name string
	Run  func(t testing.TB, h H)
}

// Open makes a port, empty, for the time of a test.
type Open[P any] func(t testing.TB) P

// Durable is how a port that survives a restart is tested.
type Durable[P any] struct {
	Open Open[P]
	// Reopen closes a port and opens it again on the same data, or opens it
	// again after no more than a crash.
	Reopen func(t testing.TB, p P) P
}

// Run runs each case as a subtest.
func Run[H any](t *testing.T, cases []Case[H], h H) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, h) })
	}
}

// How long a case waits, unless its harness says otherwise.
const (
	DefaultPatience = time.Minute           // for what must come
	DefaultQuiet    = 20 * time.Millisecond // to see that nothing comes
)

func orDefault(d, unset time.Duration) time.Duration {
	if d == 0 {
		return unset
	}
	return d
}

// within returns a context that ends after d, or with the test.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Commit returns n journal items of an instrument, at positions 1 to n, as a
// Log mints them. Item i brings the time i. Ports that take a Committed are
// tested with them.
func Commit(t testing.TB, inst exchange.InstrumentID, n int) []pipeline.Committed {
	t.Helper()
	log := pipeline.NewLog(memory.NewJournal())
	items := make([]pipeline.Committed, n)
	var head pipeline.Head
	for i := range items {
		now := exchange.Time(i + 1)
		b := &pipeline.Batch{Instrument: inst, Rules: pipeline.CurrentRules, Entries: []pipeline.Entry{{
			Message: pipeline.Message{Command: exchange.AdvanceTime(inst, now)},
			Events:  []exchange.Event{{Kind: exchange.EventTimeAdvanced, Command: exchange.KindAdvanceTime, Instrument: inst, Seq: uint64(i + 1), Time: now}},
		}}}
		c, err := log.Append(t.Context(), head, b)
		require.NoError(t, err, "committing an item to test with")
		items[i], head = c, c.Head()
	}
	return items
}

// IDOf returns a command id made from a number, for tests.
func IDOf(n int) (id exchange.CommandID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

// noise returns n bytes that no compression shortens and no other seed gives.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// spoil overwrites data, which whoever kept it will notice.
func spoil(data []byte) {
	for i := range data {
		data[i] += 101 // not back to what it was when done twice
	}
}

// together calls f(0) to f(n-1) at the same time and returns what each
// returned.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// succeeded counts the errors that are nil, and fails unless every other one
// is want.
func succeeded(t testing.TB, errs []error, want error) int {
	t.Helper()
	n := 0
	for i, err := range errs {
		if err == nil {
			n++
		} else {
			require.ErrorIs(t, err, want, "call %d of %d at the same time", i, len(errs))
		}
	}
	return n
}

// bigSize is more than an item of any store that has a limit on items.
const bigSize = 1 << 20
