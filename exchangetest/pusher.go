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

// PusherHarness is how a pipeline.Pusher is tested.
type PusherHarness struct {
	Open Open[pipeline.Pusher]
	// Subscribe connects a client to a channel of an instrument (0 for
	// ChannelBalances) and, when it is private, an account, as the account's
	// own. The function waits for its next message, or until ctx ends (any
	// error). What a client gets that is no Push (a snapshot, a heartbeat) is
	// left out.
	Subscribe       func(t testing.TB, p pipeline.Pusher, channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) func(context.Context) (pipeline.Push, error)
	Patience, Quiet time.Duration // 0: DefaultPatience, DefaultQuiet
}

// TestPusher runs PusherCases.
func TestPusher(t *testing.T, h PusherHarness) { Run(t, PusherCases, h) }

// PusherCases is what every pipeline.Pusher does.
var PusherCases = []Case[PusherHarness]{
	{"messages arrive in order, as they were pushed", pusherRoundTrip},
	{"only who subscribed gets a message", pusherApart},
	{"an item is pushed once", pusherOnce},
	{"the position is of one instrument", pusherPositions},
	{"nobody waits for a slow client", pusherSlow},
	{"instruments are pushed at the same time", pusherConcurrent},
	{"of balances the highest Seq counts", pusherNotify},
	{"no slice is kept", pusherKeepsNoSlice},
}

func pushOf(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID, seq uint64) pipeline.Push {
	return pipeline.Push{Channel: channel, Instrument: inst, Account: acct, Seq: seq, PrevSeq: seq - 1, Data: fmt.Appendf(nil, `{"channel":%q,"account":%d,"seq":%d}`, channel, acct, seq)}
}

// gets checks the next messages of a client.
func (h PusherHarness) gets(t testing.TB, next func(context.Context) (pipeline.Push, error), want ...pipeline.Push) {
	t.Helper()
	ctx := within(t, orDefault(h.Patience, DefaultPatience))
	for i := range want {
		got, err := next(ctx)
		require.NoError(t, err, "waiting for message %d of %d", i+1, len(want))
		require.Equal(t, want[i], got, "message %d of %d", i+1, len(want))
	}
}

func (h PusherHarness) getsNothing(t testing.TB, next func(context.Context) (pipeline.Push, error)) {
	t.Helper()
	got, err := next(within(t, orDefault(h.Quiet, DefaultQuiet)))
	require.Error(t, err, "a message that was not for this client: %s", got.Data)
}

func pusherRoundTrip(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	pos, err := p.Pushed(t.Context(), instA)
	require.NoError(t, err)
	require.Zero(t, pos)
	next := h.Subscribe(t, p, pipeline.ChannelTrades, instA, 0)
	var all []pipeline.Push
	for pos := pipeline.Position(1); pos <= 20; pos++ {
		var messages []pipeline.Push
		for range pos % 4 { // items without messages too
			messages = append(messages, pushOf(pipeline.ChannelTrades, instA, 0, uint64(len(all)+1)))
			all = append(all, messages[len(messages)-1])
		}
		require.NoError(t, p.Push(t.Context(), instA, pos, messages))
		got, err := p.Pushed(t.Context(), instA)
		require.NoError(t, err)
		require.Equal(t, pos, got, "pushed")
	}
	h.gets(t, next, all...)
}

func pusherApart(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	sub := func(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) func(context.Context) (pipeline.Push, error) {
		return h.Subscribe(t, p, channel, inst, acct)
	}
	tradesA, tradesB, bookA := sub(pipeline.ChannelTrades, instA, 0), sub(pipeline.ChannelTrades, instB, 0), sub(pipeline.ChannelBook, instA, 0)
	orders7, orders8, orders7B := sub(pipeline.ChannelOrders, instA, 7), sub(pipeline.ChannelOrders, instA, 8), sub(pipeline.ChannelOrders, instB, 7)
	require.NoError(t, p.Push(t.Context(), instA, 1, []pipeline.Push{
		pushOf(pipeline.ChannelOrders, instA, 7, 1), pushOf(pipeline.ChannelTrades, instA, 0, 1), pushOf(pipeline.ChannelOrders, instA, 9, 1)}))
	h.gets(t, orders7, pushOf(pipeline.ChannelOrders, instA, 7, 1))
	h.gets(t, tradesA, pushOf(pipeline.ChannelTrades, instA, 0, 1))
	for _, next := range []func(context.Context) (pipeline.Push, error){tradesA, tradesB, bookA, orders7, orders8, orders7B} {
		h.getsNothing(t, next)
	}
}

func pusherOnce(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	next := h.Subscribe(t, p, pipeline.ChannelTrades, instA, 0)
	for seq := range uint64(3) {
		for range 2 {
			require.NoError(t, p.Push(t.Context(), instA, pipeline.Position(seq+1), []pipeline.Push{pushOf(pipeline.ChannelTrades, instA, 0, seq+1)}))
		}
	}
	require.NoError(t, p.Push(t.Context(), instA, 1, []pipeline.Push{pushOf(pipeline.ChannelTrades, instA, 0, 1)}), "an older item")
	pos, err := p.Pushed(t.Context(), instA)
	require.NoError(t, err)
	require.Equal(t, pipeline.Position(3), pos)
	h.gets(t, next, pushOf(pipeline.ChannelTrades, instA, 0, 1), pushOf(pipeline.ChannelTrades, instA, 0, 2), pushOf(pipeline.ChannelTrades, instA, 0, 3))
	h.getsNothing(t, next)
}

func pusherPositions(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	next := h.Subscribe(t, p, pipeline.ChannelTrades, instB, 0)
	require.NoError(t, p.Push(t.Context(), instA, 9, nil))
	pos, err := p.Pushed(t.Context(), instB)
	require.NoError(t, err)
	require.Zero(t, pos)
	require.NoError(t, p.Push(t.Context(), instB, 1, []pipeline.Push{pushOf(pipeline.ChannelTrades, instB, 0, 1)}))
	h.gets(t, next, pushOf(pipeline.ChannelTrades, instB, 0, 1))
}

func pusherSlow(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	h.Subscribe(t, p, pipeline.ChannelTrades, instA, 0) // nobody reads
	busy := h.Subscribe(t, p, pipeline.ChannelBook, instA, 0)
	ctx := within(t, orDefault(h.Patience, DefaultPatience))
	const n = 20_000
	for seq := uint64(1); seq <= n; seq++ {
		messages := []pipeline.Push{pushOf(pipeline.ChannelTrades, instA, 0, seq)}
		if seq%1000 == 0 {
			messages = append(messages, pushOf(pipeline.ChannelBook, instA, 0, seq))
		}
		require.NoError(t, p.Push(ctx, instA, pipeline.Position(seq), messages), "with a client that does not read")
		if seq%1000 == 0 {
			h.gets(t, busy, pushOf(pipeline.ChannelBook, instA, 0, seq))
		}
	}
}

func pusherConcurrent(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	const n, instruments = 100, 6
	next := make([]func(context.Context) (pipeline.Push, error), instruments)
	for i := range next {
		next[i] = h.Subscribe(t, p, pipeline.ChannelTrades, instA+exchange.InstrumentID(i), 0)
	}
	errs := together(instruments, func(i int) error {
		inst := instA + exchange.InstrumentID(i)
		for pos := pipeline.Position(1); pos <= n; pos++ {
			if err := p.Push(t.Context(), inst, pos, []pipeline.Push{pushOf(pipeline.ChannelTrades, inst, 0, uint64(pos))}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, errors.Join(errs...))
	for i := range next {
		for seq := range uint64(n) {
			h.gets(t, next[i], pushOf(pipeline.ChannelTrades, instA+exchange.InstrumentID(i), 0, seq+1))
		}
	}
}

func pusherNotify(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	seven, eight := h.Subscribe(t, p, pipeline.ChannelBalances, 0, 7), h.Subscribe(t, p, pipeline.ChannelBalances, 0, 8)
	balances := func(acct exchange.AccountID, seq uint64) pipeline.Push {
		m := pushOf(pipeline.ChannelBalances, 0, acct, seq)
		m.PrevSeq = 0
		return m
	}
	require.NoError(t, p.Notify(t.Context(), []pipeline.Push{balances(7, 5), balances(8, 2)}))
	require.NoError(t, p.Notify(t.Context(), []pipeline.Push{balances(7, 5)}), "again")
	require.NoError(t, p.Notify(t.Context(), []pipeline.Push{balances(7, 4), balances(7, 9)}), "one that is older")
	require.NoError(t, p.Notify(t.Context(), []pipeline.Push{balances(8, 3)}))
	h.gets(t, seven, balances(7, 5), balances(7, 9))
	h.gets(t, eight, balances(8, 2), balances(8, 3))
	h.getsNothing(t, seven)
	h.getsNothing(t, eight)
	pos, err := p.Pushed(t.Context(), instA)
	require.NoError(t, err)
	require.Zero(t, pos, "a notification belongs to no item")
}

func pusherKeepsNoSlice(t testing.TB, h PusherHarness) {
	p := h.Open(t)
	next := h.Subscribe(t, p, pipeline.ChannelTrades, instA, 0)
	messages := make([]pipeline.Push, 2)
	for pos := pipeline.Position(1); pos <= 3; pos++ {
		for i := range messages {
			messages[i] = pushOf(pipeline.ChannelTrades, instA, 0, uint64(pos)*2+uint64(i))
		}
		require.NoError(t, p.Push(t.Context(), instA, pos, messages))
	}
	clear(messages)
	for seq := uint64(2); seq < 8; seq++ {
		h.gets(t, next, pushOf(pipeline.ChannelTrades, instA, 0, seq))
	}
}
