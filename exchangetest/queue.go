package exchangetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// QueueHarness is how a pipeline.CommandQueue is tested.
type QueueHarness struct {
	Open Open[pipeline.CommandQueue]
	// Expire lets so much time pass that the queue gives up waiting for every
	// delivery that was not acknowledged.
	Expire          func(t testing.TB, q pipeline.CommandQueue)
	Patience, Quiet time.Duration // 0: DefaultPatience, DefaultQuiet
}

// TestQueue runs QueueCases.
func TestQueue(t *testing.T, h QueueHarness) { Run(t, QueueCases, h) }

// QueueCases is what every pipeline.CommandQueue does.
var QueueCases = []Case[QueueHarness]{
	{"messages of an instrument arrive in order, as they were sent", queueOrder},
	{"what is sent is checked", queueSendBounds},
	{"a thousand messages of the largest size", queueLargest},
	{"a receive's limit is checked and kept", queueReceiveBounds},
	{"a receive ends with its context", queueContext},
	{"a receive waits for a message", queueWaits},
	{"one delivery of an instrument at a time", queueExclusive},
	{"what was acknowledged is gone", queueAcked},
	{"what was not acknowledged comes again in its old order", queuePartly},
	{"a delivery that is given back comes again", queueNothingDone},
	{"a wrong acknowledgement changes nothing", queueAckBounds},
	{"a delivery that nobody acknowledges comes again", queueExpires},
	{"a late acknowledgement is refused and changes nothing", queueLateAck},
	{"an acknowledgement may be repeated", queueAckAgain},
	{"a send may be repeated", queueSendAgain},
	{"no slice is kept", queueKeepsNoSlice},
	{"what is returned belongs to the caller", queueReturnsCopies},
	{"many senders and receivers", queueConcurrent},
}

// message makes message n of an instrument; ids differ between instruments.
func message(inst exchange.InstrumentID, n int) pipeline.QueueMessage {
	return pipeline.QueueMessage{Instrument: inst, DedupID: IDOf(int(inst)<<32 | n + 1), Body: fmt.Appendf(nil, "message %d of instrument %d \x00\xff", n, inst)}
}

func messages(inst exchange.InstrumentID, from, to int) []pipeline.QueueMessage {
	var out []pipeline.QueueMessage
	for n := from; n < to; n++ {
		out = append(out, message(inst, n))
	}
	return out
}

func (h QueueHarness) receive(t testing.TB, q pipeline.CommandQueue, limit int) pipeline.Delivery {
	t.Helper()
	d, err := q.Receive(within(t, orDefault(h.Patience, DefaultPatience)), limit)
	require.NoError(t, err, "receiving")
	require.NotEmpty(t, d.Messages, "a delivery without messages")
	require.LessOrEqual(t, len(d.Messages), limit, "messages of a delivery")
	for _, m := range d.Messages {
		require.Equal(t, d.Instrument, m.Instrument, "a message of another instrument than its delivery")
	}
	return d
}

func (h QueueHarness) receiveNothing(t testing.TB, q pipeline.CommandQueue) {
	t.Helper()
	d, err := q.Receive(within(t, orDefault(h.Quiet, DefaultQuiet)), pipeline.MaxReceive)
	require.ErrorIs(t, err, context.DeadlineExceeded, "received %d messages of instrument %d", len(d.Messages), d.Instrument)
}

// expect receives and acknowledges exactly want of one instrument, which may
// come in several deliveries.
func (h QueueHarness) expect(t testing.TB, q pipeline.CommandQueue, want []pipeline.QueueMessage) {
	t.Helper()
	for len(want) > 0 {
		d := h.receive(t, q, pipeline.MaxReceive)
		require.LessOrEqual(t, len(d.Messages), len(want), "messages that were not sent, or came twice")
		require.Equal(t, want[:len(d.Messages)], d.Messages)
		require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
		want = want[len(d.Messages):]
	}
}

func queueOrder(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	var want [2][]pipeline.QueueMessage
	insts := [2]exchange.InstrumentID{instA, instB}
	for n := 0; n < 60; n += 3 {
		var mixed []pipeline.QueueMessage
		for i := range 3 {
			mixed = append(mixed, message(instA, n+i), message(instB, n+i))
		}
		require.NoError(t, q.Send(t.Context(), mixed))
	}
	for i, inst := range insts {
		want[i] = messages(inst, 0, 60)
	}
	for len(want[0])+len(want[1]) > 0 {
		d := h.receive(t, q, 7)
		i := slices.Index(insts[:], d.Instrument)
		require.GreaterOrEqual(t, i, 0, "a delivery of instrument %d", d.Instrument)
		require.LessOrEqual(t, len(d.Messages), len(want[i]))
		require.Equal(t, want[i][:len(d.Messages)], d.Messages)
		want[i] = want[i][len(d.Messages):]
		require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
	}
	h.receiveNothing(t, q)
}

func queueSendBounds(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.ErrorIs(t, q.Send(t.Context(), nil), pipeline.ErrInvalid, "no messages")
	require.ErrorIs(t, q.Send(t.Context(), []pipeline.QueueMessage{}), pipeline.ErrInvalid, "no messages")
	require.ErrorIs(t, q.Send(t.Context(), messages(instA, 0, pipeline.MaxSendMessages+1)), pipeline.ErrInvalid, "too many messages")
	large := message(instA, 1)
	large.Body = noise(1, pipeline.MaxMessageBytes+1)
	require.ErrorIs(t, q.Send(t.Context(), []pipeline.QueueMessage{large}), pipeline.ErrTooLarge)
	h.receiveNothing(t, q)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 1)))
	h.expect(t, q, messages(instA, 0, 1))
}

func queueLargest(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	want := messages(instA, 0, pipeline.MaxSendMessages)
	for i := range want {
		want[i].Body = noise(uint64(i), pipeline.MaxMessageBytes)
	}
	require.NoError(t, q.Send(t.Context(), want))
	h.expect(t, q, want)
	h.receiveNothing(t, q)
}

func queueReceiveBounds(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 9)))
	for _, limit := range []int{0, -1, pipeline.MaxReceive + 1} {
		_, err := q.Receive(t.Context(), limit)
		require.ErrorIs(t, err, pipeline.ErrInvalid, "limit %d", limit)
	}
	want := messages(instA, 0, 9)
	for _, limit := range []int{1, 3, 1, 2} {
		d := h.receive(t, q, limit)
		require.Equal(t, want[:len(d.Messages)], d.Messages)
		require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
		want = want[len(d.Messages):]
	}
	h.expect(t, q, want)
}

func queueContext(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	h.receiveNothing(t, q)
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	go func() {
		_, err := q.Receive(ctx, 1)
		waits <- err
	}()
	cancel()
	select {
	case err := <-waits:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(orDefault(h.Patience, DefaultPatience)):
		require.Fail(t, "a receive does not end with its context")
	}
	// Who did not wait long enough has lost nothing.
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 3)))
	h.expect(t, q, messages(instA, 0, 3))
}

func queueWaits(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	got := make(chan pipeline.Delivery, 1)
	errs := make(chan error, 1)
	ctx := within(t, orDefault(h.Patience, DefaultPatience))
	go func() {
		d, err := q.Receive(ctx, 10)
		got <- d
		errs <- err
	}()
	h.receiveNothing(t, q) // time enough for the other to wait
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 1)))
	d := <-got
	require.NoError(t, <-errs)
	require.Equal(t, messages(instA, 0, 1), d.Messages)
	require.NoError(t, q.Ack(t.Context(), d, 1))
}

func queueExclusive(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 4)))
	d := h.receive(t, q, 2)
	h.receiveNothing(t, q)
	require.NoError(t, q.Send(t.Context(), messages(instA, 4, 6)))
	h.receiveNothing(t, q)
	require.NoError(t, q.Send(t.Context(), messages(instB, 0, 2)))
	h.expect(t, q, messages(instB, 0, 2))
	h.receiveNothing(t, q)
	require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
	h.expect(t, q, messages(instA, len(d.Messages), 6))
}

func queueAcked(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 5)))
	h.expect(t, q, messages(instA, 0, 5))
	h.receiveNothing(t, q)
	h.Expire(t, q)
	h.receiveNothing(t, q)
	require.NoError(t, q.Send(t.Context(), messages(instA, 5, 6)))
	h.expect(t, q, messages(instA, 5, 6))
}

// some receives until a delivery has at least n messages: a queue may hand
// out fewer than there are. Those of too small a delivery are given back.
func (h QueueHarness) some(t testing.TB, q pipeline.CommandQueue, n int) pipeline.Delivery {
	t.Helper()
	for range 100 {
		d := h.receive(t, q, pipeline.MaxReceive)
		if len(d.Messages) >= n {
			return d
		}
		require.NoError(t, q.Ack(t.Context(), d, 0))
	}
	require.Fail(t, "never so many messages", "%d", n)
	return pipeline.Delivery{}
}

func queuePartly(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	const n = 5
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, n)))
	for first := 0; first < n-1; first++ {
		d := h.some(t, q, 2)
		require.Equal(t, messages(instA, first, first+len(d.Messages)), d.Messages)
		require.NoError(t, q.Ack(t.Context(), d, 1))
		if first == 1 { // what is sent later stays behind what comes again
			require.NoError(t, q.Send(t.Context(), messages(instA, n, n+1)))
		}
	}
	h.expect(t, q, messages(instA, n-1, n+1))
	h.receiveNothing(t, q)
}

func queueNothingDone(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 4)))
	for range 3 {
		d := h.receive(t, q, 10)
		require.Equal(t, messages(instA, 0, len(d.Messages)), d.Messages)
		require.NoError(t, q.Ack(t.Context(), d, 0))
	}
	h.expect(t, q, messages(instA, 0, 4))
}

func queueAckBounds(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 3)))
	d := h.receive(t, q, 2)
	for _, done := range []int{-1, len(d.Messages) + 1, 1 << 30} {
		require.ErrorIs(t, q.Ack(t.Context(), d, done), pipeline.ErrInvalid, "%d of %d messages done", done, len(d.Messages))
	}
	for _, wrong := range []pipeline.Delivery{
		{Instrument: instA, Messages: d.Messages, Receipt: "no receipt"},
		{Instrument: instA, Messages: d.Messages},
	} {
		require.Error(t, q.Ack(t.Context(), wrong, 1), "receipt %q", wrong.Receipt)
	}
	h.receiveNothing(t, q)
	require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
	h.expect(t, q, messages(instA, len(d.Messages), 3))
}

func queueExpires(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), append(messages(instA, 0, 4), messages(instB, 0, 1)...)))
	first, second := h.receive(t, q, 3), h.receive(t, q, 3)
	require.NotEqual(t, first.Instrument, second.Instrument)
	h.receiveNothing(t, q)
	for range 2 {
		h.Expire(t, q)
		got := map[exchange.InstrumentID]pipeline.Delivery{}
		for range 2 {
			d := h.receive(t, q, 3)
			got[d.Instrument] = d
			require.Equal(t, messages(d.Instrument, 0, len(d.Messages)), d.Messages)
		}
		require.Len(t, got, 2, "instruments that came again")
	}
	h.Expire(t, q)
	for a, b := 0, 0; a < 4 || b < 1; {
		d := h.receive(t, q, pipeline.MaxReceive)
		from := &a
		if d.Instrument == instB {
			from = &b
		}
		require.Equal(t, messages(d.Instrument, *from, *from+len(d.Messages)), d.Messages)
		*from += len(d.Messages)
		require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
	}
}

func queueLateAck(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 3)))
	late := h.receive(t, q, 10)
	h.Expire(t, q)
	require.ErrorIs(t, q.Ack(t.Context(), late, len(late.Messages)), pipeline.ErrNotFound, "after the queue gave up")
	d := h.receive(t, q, 10)
	require.Equal(t, messages(instA, 0, len(d.Messages)), d.Messages)
	require.ErrorIs(t, q.Ack(t.Context(), late, 1), pipeline.ErrNotFound, "while another works on them")
	h.receiveNothing(t, q) // the other still does
	require.NoError(t, q.Ack(t.Context(), d, 1))
	require.ErrorIs(t, q.Ack(t.Context(), late, 1), pipeline.ErrNotFound, "after another is done")
	h.expect(t, q, messages(instA, 1, 3))
}

func queueAckAgain(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 4)))
	again := func(d pipeline.Delivery, done int) {
		t.Helper()
		if err := q.Ack(t.Context(), d, done); err != nil {
			require.ErrorIs(t, err, pipeline.ErrNotFound)
		}
	}
	d := h.receive(t, q, 10)
	require.NoError(t, q.Ack(t.Context(), d, 1))
	again(d, 1)
	next := h.receive(t, q, 10)
	require.Equal(t, messages(instA, 1, 1+len(next.Messages)), next.Messages)
	again(d, 1)
	h.receiveNothing(t, q) // the next delivery stands
	require.NoError(t, q.Ack(t.Context(), next, 1))
	again(next, 1)
	again(d, 1)
	h.expect(t, q, messages(instA, 2, 4))
	h.receiveNothing(t, q)
}

func queueSendAgain(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	for range 2 {
		require.NoError(t, q.Send(t.Context(), messages(instA, 0, 5)))
	}
	require.NoError(t, q.Send(t.Context(), messages(instA, 3, 8)))
	// Each at least once, and first in order; a queue may drop the repeats.
	for next := 0; next < 8; {
		d := h.receive(t, q, pipeline.MaxReceive)
		for _, m := range d.Messages {
			n := slices.IndexFunc(messages(instA, 0, 8), func(want pipeline.QueueMessage) bool { return want.DedupID == m.DedupID })
			require.Equal(t, message(instA, n), m)
			require.LessOrEqual(t, n, next, "message %d before message %d", n, next)
			next = max(next, n+1)
		}
		require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
	}
}

func queueKeepsNoSlice(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	mine := messages(instA, 0, 5)
	require.NoError(t, q.Send(t.Context(), mine))
	for i := range mine {
		spoil(mine[i].Body)
		mine[i] = pipeline.QueueMessage{}
	}
	h.expect(t, q, messages(instA, 0, 5))
}

func queueReturnsCopies(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	require.NoError(t, q.Send(t.Context(), messages(instA, 0, 5)))
	d := h.receive(t, q, 10)
	for i := range d.Messages {
		_ = append(d.Messages[i].Body, "and what lies behind"...)
		if i > 0 {
			require.Equal(t, message(instA, i), d.Messages[i], "after appending to the one before")
		}
	}
	for i := range d.Messages {
		spoil(d.Messages[i].Body)
		d.Messages[i] = pipeline.QueueMessage{}
	}
	require.NoError(t, q.Ack(t.Context(), d, 0))
	h.expect(t, q, messages(instA, 0, 5))
}

func queueConcurrent(t testing.TB, h QueueHarness) {
	q := h.Open(t)
	const instruments, each, receivers = 5, 80, 4
	ctx, cancel := context.WithCancel(within(t, orDefault(h.Patience, DefaultPatience)))
	defer cancel()
	var mu sync.Mutex
	working := map[exchange.InstrumentID]bool{}
	next := map[exchange.InstrumentID]int{}
	left := instruments * each
	take := func() error {
		d, err := q.Receive(ctx, 9)
		if err != nil {
			return err
		}
		mu.Lock()
		busy := working[d.Instrument]
		working[d.Instrument] = true
		mu.Unlock()
		if busy {
			return fmt.Errorf("two work on instrument %d", d.Instrument)
		}
		mu.Lock()
		defer mu.Unlock()
		for i, m := range d.Messages {
			if want := message(d.Instrument, next[d.Instrument]+i); m.DedupID != want.DedupID || string(m.Body) != string(want.Body) {
				return fmt.Errorf("got %q, want %q", m.Body, want.Body)
			}
		}
		done := max(1, len(d.Messages)-1) // the last one mostly comes again
		next[d.Instrument] += done
		left -= done
		working[d.Instrument] = false
		if err := q.Ack(ctx, d, done); err != nil {
			return fmt.Errorf("acknowledging: %w", err)
		}
		if left == 0 {
			cancel()
		}
		return nil
	}
	errs := together(instruments+receivers, func(i int) error {
		if i < instruments {
			inst := instA + exchange.InstrumentID(i)
			for n := 0; n < each; n += 4 {
				if err := q.Send(t.Context(), messages(inst, n, n+4)); err != nil {
					return err
				}
			}
			return nil
		}
		for ctx.Err() == nil {
			if err := take(); err != nil {
				if !errors.Is(err, context.Canceled) {
					cancel()
				}
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	require.Zero(t, left, "messages that never came")
}
