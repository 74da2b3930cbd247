package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// What every consumer does with notices, shown on the Settler; and what the
// Settler does with a Pusher.

var errFlaw = errors.New("flawed")

// flaw fails the calls it is set to fail: before they have their effect, or
// after.
type flaw struct {
	mu     sync.Mutex
	at     map[string]bool // "Settle" or "Settle after": every call fails
	called map[string]int
}

func (f *flaw) set(ops ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = map[string]bool{}
	for _, op := range ops {
		f.at[op] = true
	}
}

func (f *flaw) calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.called[op]
}

func (f *flaw) do(op string, call func() error) error {
	f.mu.Lock()
	if f.called == nil {
		f.called = map[string]int{}
	}
	f.called[op]++
	before, after := f.at[op], f.at[op+" after"]
	f.mu.Unlock()
	if before {
		return errFlaw
	}
	if err := call(); err != nil || !after {
		return err
	}
	return errFlaw
}

type flawedBalances struct {
	*memory.Balances
	flaw
	settling func(c pipeline.Committed) // nil, or called before
}

func (b *flawedBalances) Settle(ctx context.Context, c pipeline.Committed, s *pipeline.Settlement) error {
	if b.settling != nil {
		b.settling(c)
	}
	return b.do("Settle", func() error { return b.Balances.Settle(ctx, c, s) })
}

func (b *flawedBalances) Settled(ctx context.Context, inst exchange.InstrumentID) (pos pipeline.Position, err error) {
	err = b.do("Settled", func() error { pos, err = b.Balances.Settled(ctx, inst); return err })
	return pos, err
}

func (b *flawedBalances) Account(ctx context.Context, id exchange.AccountID) (a pipeline.Account, err error) {
	err = b.do("Account", func() error { a, err = b.Balances.Account(ctx, id); return err })
	return a, err
}

type flawedPusher struct {
	*memory.Pusher
	flaw
}

func (p *flawedPusher) Push(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
	return p.do("Push", func() error { return p.Pusher.Push(ctx, inst, pos, messages) })
}

func (p *flawedPusher) Notify(ctx context.Context, messages []pipeline.Push) error {
	return p.do("Notify", func() error { return p.Pusher.Notify(ctx, messages) })
}

// followed is a Settler beside a scribe.
type followed struct {
	*scribe
	balances *flawedBalances
	pusher   *flawedPusher
	metrics  *memory.Metrics
	settler  *pipeline.Settler
	n        byte
}

func newFollowed(t *testing.T, pushes bool) *followed {
	f := &followed{scribe: newScribe(t, scribeInstrument(t, 1), exchange.FundsHeld), metrics: memory.NewMetrics(),
		balances: &flawedBalances{Balances: memory.NewBalances(memory.BalancesConfig{})}}
	if pushes {
		f.pusher = &flawedPusher{Pusher: memory.NewPusher()}
	}
	for acct := exchange.AccountID(1); acct <= 2; acct++ {
		for _, asset := range []exchange.AssetID{1, 100} {
			f.n++
			require.NoError(t, f.balances.Deposit(context.Background(), pipeline.Transfer{ID: plainID(f.n), Account: acct, Asset: asset, Amount: 100_000, Time: 1}))
		}
	}
	f.restart()
	return f
}

func (f *followed) restart() {
	cfg := pipeline.SettlerConfig{Instruments: []*exchange.Instrument{f.in}, Log: f.log, Balances: f.balances, Metrics: f.metrics}
	if f.pusher != nil {
		cfg.Pusher = f.pusher
	}
	var err error
	f.settler, err = pipeline.NewSettler(cfg)
	require.NoError(f.t, err)
}

// order holds for a limit order of account 1 to buy a lot at 100 and commits it.
func (f *followed) order() {
	f.n++
	c := exchange.LimitOrder(f.in.ID(), 1, exchange.Buy, 90, 1)
	c.ID, c.Time, c.Held = plainID(f.n), 1000, 93
	require.NoError(f.t, f.balances.Hold(context.Background(), pipeline.Hold{ID: c.ID, Account: 1, Instrument: 1, Asset: 100, Amount: c.Held, Time: c.Time, NewOrder: true}))
	f.each(pipeline.Message{Command: c})
}

func (f *followed) orders(n int) {
	for range n {
		f.order()
	}
}

func (f *followed) settledTo() pipeline.Position {
	pos, err := f.balances.Balances.Settled(context.Background(), 1)
	require.NoError(f.t, err)
	return pos
}

func (f *followed) at(pos pipeline.Position) pipeline.Notice {
	return pipeline.Notice{Instrument: 1, Position: pos}
}

func TestConsumerIgnoresWhatIsDone(t *testing.T) {
	f := newFollowed(t, false)
	f.orders(5)
	ctx := context.Background()
	require.NoError(t, f.settler.Handle(ctx, f.at(2)))
	assert.Equal(t, pipeline.Position(5), f.settledTo(), "up to the head, whatever the notice says")
	for _, pos := range []pipeline.Position{1, 5, 3, 5} {
		require.NoError(t, f.settler.Handle(ctx, f.at(pos)))
	}
	assert.Equal(t, 5, f.balances.calls("Settle"))
	assert.Equal(t, 1, f.balances.calls("Settled"), "asked once")
	assert.Equal(t, 5.0, f.metrics.Read(pipeline.MetricSettledPosition, 1).Gauge)
	f.restart()
	require.NoError(t, f.settler.Handle(ctx, f.at(4)))
	assert.Equal(t, 5, f.balances.calls("Settle"), "the store knows how far it is")
}

// One page of the journal after the other, also far beyond what a Log keeps.
func TestConsumerReadsInPages(t *testing.T) {
	f := newFollowed(t, false)
	const n = 2*pipeline.DefaultLogCache + 3
	f.orders(n)
	f.log = pipeline.NewLog(f.journal)
	f.restart()
	require.NoError(t, f.settler.Handle(context.Background(), f.at(1)))
	assert.Equal(t, pipeline.Position(n), f.settledTo())
}

func TestConsumerErrors(t *testing.T) {
	ctx := context.Background()
	t.Run("unknown instrument", func(t *testing.T) {
		f := newFollowed(t, false)
		assert.ErrorIs(t, f.settler.Handle(ctx, pipeline.Notice{Instrument: 7, Position: 1}), exchange.UnknownInstrument)
	})
	t.Run("a notice of what the journal does not have", func(t *testing.T) {
		f := newFollowed(t, false)
		f.orders(2)
		err := f.settler.Handle(ctx, f.at(3))
		assert.ErrorIs(t, err, pipeline.ErrNotFound)
		assert.ErrorContains(t, err, "the journal ends at 2, before the 3")
		assert.Equal(t, pipeline.Position(2), f.settledTo())
	})
	t.Run("the store does not say how far it is", func(t *testing.T) {
		f := newFollowed(t, false)
		f.order()
		f.balances.set("Settled")
		assert.ErrorIs(t, f.settler.Handle(ctx, f.notice()), errFlaw)
		f.balances.set()
		assert.NoError(t, f.settler.Handle(ctx, f.notice()))
		assert.Equal(t, pipeline.Position(1), f.settledTo())
	})
	t.Run("an effect fails, and is done with the next notice, whatever that says", func(t *testing.T) {
		f := newFollowed(t, false)
		f.orders(2)
		require.NoError(t, f.settler.Handle(ctx, f.notice()))
		f.orders(2)
		f.balances.set("Settle")
		err := f.settler.Handle(ctx, f.notice())
		assert.ErrorIs(t, err, errFlaw)
		assert.ErrorContains(t, err, "settler: instrument 1: item 3: booking")
		assert.Equal(t, pipeline.Position(2), f.settledTo())
		f.balances.set()
		assert.NoError(t, f.settler.Handle(ctx, f.at(1)))
		assert.Equal(t, pipeline.Position(4), f.settledTo())
	})
	t.Run("an effect whose answer is lost happens once", func(t *testing.T) {
		f := newFollowed(t, false)
		f.orders(2)
		f.balances.set("Settle after")
		assert.ErrorIs(t, f.settler.Handle(ctx, f.notice()), errFlaw)
		assert.Equal(t, pipeline.Position(1), f.settledTo())
		assert.ErrorIs(t, f.settler.Handle(ctx, f.notice()), errFlaw)
		f.balances.set()
		assert.NoError(t, f.settler.Handle(ctx, f.notice()))
		assert.Equal(t, pipeline.Position(2), f.settledTo())
		assert.Equal(t, 2, f.balances.calls("Settle"))
	})
	t.Run("what is next was trimmed", func(t *testing.T) {
		f := newFollowed(t, false)
		f.orders(3)
		require.NoError(t, f.journal.SaveSnapshot(ctx, 1, pipeline.Snapshot{Head: f.items()[1].Head(), Data: []byte("x")}))
		require.NoError(t, f.journal.Trim(ctx, 1, 2))
		f.log = pipeline.NewLog(f.journal)
		f.restart()
		err := f.settler.Handle(ctx, f.notice())
		assert.ErrorIs(t, err, pipeline.ErrTrimmed)
		assert.ErrorContains(t, err, "item 1, which is next, was removed from the journal")
		assert.Zero(t, f.settledTo())
	})
	t.Run("a damaged item stops what comes after it, not what comes before", func(t *testing.T) {
		f := newFollowed(t, false)
		f.orders(2)
		require.NoError(t, f.journal.Append(ctx, 1, pipeline.Item{Head: pipeline.Head{Position: 3, Hash: pipeline.Hash{1}}, Data: []byte("x")}))
		f.log = pipeline.NewLog(f.journal)
		f.restart()
		assert.ErrorIs(t, f.settler.Handle(ctx, f.at(3)), pipeline.ErrEncoding)
		assert.Equal(t, pipeline.Position(2), f.settledTo())
	})
	t.Run("nothing is made of nothing", func(t *testing.T) {
		f := newFollowed(t, false)
		ins := []*exchange.Instrument{f.in}
		for name, cfg := range map[string]pipeline.SettlerConfig{
			"Instruments is empty":    {Log: f.log, Balances: f.balances},
			"Instruments has a nil":   {Instruments: []*exchange.Instrument{nil}, Log: f.log, Balances: f.balances},
			"no Log":                  {Instruments: ins, Balances: f.balances},
			"settler: .* no Balances": {Instruments: ins, Log: f.log},
		} {
			_, err := pipeline.NewSettler(cfg)
			assert.ErrorIs(t, err, pipeline.ErrInvalid, name)
			assert.Regexp(t, name, err)
		}
	})
}

// However many notices come at once, of one instrument one is worked on; one
// that waits leaves when its context ends.
func TestConsumerTakesTurns(t *testing.T) {
	f := newFollowed(t, false)
	f.orders(20)
	ctx := context.Background()
	var working, most atomic.Int32
	first, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.balances.settling = func(pipeline.Committed) {
		most.Store(max(most.Load(), working.Add(1)))
		once.Do(func() { close(first); <-goOn })
		working.Add(-1)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { assert.NoError(t, f.settler.Handle(ctx, f.at(pipeline.Position(i+1)))) })
	}
	<-first
	ended, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, f.settler.Handle(ended, f.notice()), context.Canceled)
	close(goOn)
	wg.Wait()
	assert.Equal(t, int32(1), most.Load())
	assert.Equal(t, 20, f.balances.calls("Settle"), "each once")
	assert.Equal(t, pipeline.Position(20), f.settledTo())
}

// A context that ends in the middle ends the work between two items.
func TestConsumerStops(t *testing.T) {
	f := newFollowed(t, false)
	f.orders(2 * pipeline.DefaultLogCache)
	ctx, cancel := context.WithCancel(context.Background())
	f.balances.settling = func(pipeline.Committed) { cancel() }
	assert.ErrorIs(t, f.settler.Handle(ctx, f.notice()), context.Canceled)
	assert.Less(t, f.settledTo(), f.head.Position)
	require.NoError(t, f.settler.Handle(context.Background(), f.at(1)))
	assert.Equal(t, f.head.Position, f.settledTo())
}

// heard takes what a subscription has got.
func heard(t require.TestingT, s *memory.PushSubscription) (all []pipeline.Push) {
	for {
		m, ok, err := s.TryNext()
		require.NoError(t, err)
		if !ok {
			return all
		}
		all = append(all, m)
	}
}

// Balances are pushed once they are booked, whole, to those who listen.
func TestSettlerPushesBalances(t *testing.T) {
	f := newFollowed(t, true)
	ctx := context.Background()
	sub := f.pusher.Subscribe(pipeline.ChannelBalances, 0, 1)
	f.order()
	require.NoError(t, f.settler.Handle(ctx, f.notice()))
	got := heard(t, sub)
	require.Len(t, got, 1)
	a, err := f.balances.Balances.Account(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, pipeline.Push{Channel: pipeline.ChannelBalances, Account: 1, Seq: a.Version, Data: got[0].Data}, got[0])
	assert.Equal(t, `{"type":"update","channel":"balances","seq":`+text(a.Version)+`,"prev_seq":0,"time":"1970-01-01T00:00:00.000001Z","balances":[`+
		`{"asset":"B1","available":"1000","held":"0"},{"asset":"USD","available":"99.907","held":"0.093"}]}`, string(got[0].Data))

	f.n++
	c := exchange.LimitOrder(1, 2, exchange.Sell, 110, 1) // account 2 has nobody who listens
	c.ID, c.Time, c.Held = plainID(f.n), 1000, 1
	require.NoError(t, f.balances.Hold(ctx, pipeline.Hold{ID: c.ID, Account: 2, Instrument: 1, Asset: 1, Amount: 1, Time: 1000, NewOrder: true}))
	f.each(pipeline.Message{Command: c})
	read := f.balances.calls("Account")
	require.NoError(t, f.settler.Handle(ctx, f.notice()))
	assert.Empty(t, heard(t, sub))
	assert.Equal(t, read, f.balances.calls("Account"), "not even read")
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// What a Pusher, or reading the account, fails to bring now comes later,
// without holding up what is booked.
func TestSettlerPushesLater(t *testing.T) {
	ctx := context.Background()
	for _, op := range []string{"Notify", "Account"} {
		t.Run(op, func(t *testing.T) {
			f := newFollowed(t, true)
			sub := f.pusher.Subscribe(pipeline.ChannelBalances, 0, 1)
			f.pusher.set(op)
			f.balances.set(op)
			f.orders(3)
			assert.ErrorIs(t, f.settler.Handle(ctx, f.notice()), errFlaw)
			assert.Equal(t, pipeline.Position(3), f.settledTo())
			assert.Empty(t, heard(t, sub))
			assert.Positive(t, f.metrics.Read(pipeline.MetricBalancesUntold, 1).Count)
			f.pusher.set()
			f.balances.set()
			require.NoError(t, f.settler.Handle(ctx, f.at(1)), "an old notice is reason enough")
			got := heard(t, sub)
			require.Len(t, got, 1)
			assert.Contains(t, string(got[0].Data), `"held":"0.279"`)
			require.NoError(t, f.settler.Handle(ctx, f.at(1)))
			assert.Empty(t, heard(t, sub), "told once")
		})
	}
}

// A Settler that died after booking and before pushing: the next one pushes.
func TestSettlerPushesAfterCrash(t *testing.T) {
	f := newFollowed(t, true)
	ctx := context.Background()
	sub := f.pusher.Subscribe(pipeline.ChannelBalances, 0, 1)
	f.orders(2)
	for _, c := range f.items() {
		require.NoError(t, f.balances.Balances.Settle(ctx, c, pipeline.Settle(f.in, c.Batch())))
	}
	require.NoError(t, f.settler.Handle(ctx, f.at(1)))
	got := heard(t, sub)
	require.Len(t, got, 1)
	assert.Contains(t, string(got[0].Data), `"held":"0.186"`)

	// The same when the item is no more in the journal, which is long ago.
	require.NoError(t, f.journal.SaveSnapshot(ctx, 1, pipeline.Snapshot{Head: f.head, Data: []byte("x")}))
	require.NoError(t, f.journal.Trim(ctx, 1, 2))
	f.log = pipeline.NewLog(f.journal)
	f.restart()
	require.NoError(t, f.settler.Handle(ctx, f.at(1)))
	assert.Empty(t, heard(t, sub))
}
