package edge

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world is what the edge sees; put says what the bus does.
type world struct {
	pipeline.TradeStore
	pipeline.Balances
	order, hold error
	state       pipeline.HoldState
	put         func(*pipeline.Request) error
	puts        int
}

func (w *world) OrderByCommand(context.Context, exchange.CommandID) (pipeline.OrderRecord, error) {
	return pipeline.OrderRecord{}, w.order
}

func (w *world) HoldByID(context.Context, exchange.AccountID, exchange.CommandID) (pipeline.HoldRecord, error) {
	return pipeline.HoldRecord{State: w.state}, w.hold
}

func (w *world) Put(_ context.Context, req *pipeline.Request) error {
	w.puts++
	if w.put == nil {
		return nil
	}
	return w.put(req)
}

func TestKeysUsedLongAgo(t *testing.T) {
	down := errors.New("the disk is gone")
	for _, tc := range []struct {
		name string
		kind exchange.CommandKind
		w    world
		want error
		puts int
	}{
		{"a new order", exchange.KindNewOrder, world{order: pipeline.ErrNotFound}, context.DeadlineExceeded, 1},
		{"an order of old", exchange.KindNewOrder, world{}, ErrReused, 0},
		{"an order nobody can look for", exchange.KindNewOrder, world{order: down}, down, 0},
		{"an amend", exchange.KindAmend, world{hold: pipeline.ErrNotFound}, context.DeadlineExceeded, 1},
		{"an amend under way", exchange.KindAmend, world{state: pipeline.HoldPlaced}, context.DeadlineExceeded, 1},
		{"an amend of old", exchange.KindAmend, world{state: pipeline.HoldEnded}, ErrReused, 0},
		{"an amend nobody can look for", exchange.KindAmend, world{hold: down}, down, 0},
		{"a cancel", exchange.KindCancel, world{order: down, hold: down}, context.DeadlineExceeded, 1},
		{"no room", exchange.KindCancel, world{put: func(*pipeline.Request) error { return pipeline.ErrFull }}, pipeline.ErrFull, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &tc.w
			e := New(Config{Bus: w, Store: w, Balances: w, Board: progress.NewBoard(nil, time.Now), Now: time.Now, Wait: time.Nanosecond,
				Prepare: func(*pipeline.Request) (pipeline.Message, error) {
					return pipeline.Message{Command: exchange.Command{Kind: tc.kind, Instrument: 1, ID: exchange.CommandID{1}}}, nil
				}})
			_, err := e.Submit(context.Background(), &pipeline.Request{})
			require.ErrorIs(t, err, tc.want)
			assert.Equal(t, tc.puts, w.puts)
			var timeout *TimeoutError
			if errors.As(err, &timeout) {
				assert.Equal(t, exchange.CommandID{1}, timeout.Command)
			}
		})
	}
}

// The outcome is that of the journal, and a key that belongs to another
// command by then is refused.
func TestSubmitWaits(t *testing.T) {
	log := pipeline.NewLog(memory.NewJournal())
	board := progress.NewBoard(nil, time.Now)
	publisher := board.Publisher(memory.NewPublisher())
	head := pipeline.Head{}
	w := &world{}
	commit := func(c exchange.Command) error {
		b := &pipeline.Batch{Instrument: 1, Rules: pipeline.CurrentRules, Entries: []pipeline.Entry{{Message: pipeline.Message{Command: c},
			Events: []exchange.Event{{Kind: exchange.EventCanceled, Instrument: 1, Seq: 1, MakerID: c.ID, OrderID: c.OrderID, Reason: exchange.ByRequest}}}}}
		item, err := log.Append(context.Background(), head, b)
		if err != nil {
			return err
		}
		head = item.Head()
		return publisher.Publish(context.Background(), []pipeline.Committed{item})
	}
	var cmd exchange.Command
	e := New(Config{Bus: w, Store: w, Balances: w, Board: board, Now: time.Now,
		Prepare: func(*pipeline.Request) (pipeline.Message, error) { return pipeline.Message{Command: cmd}, nil }})

	cmd = exchange.Cancel(1, 7, 5)
	cmd.ID = exchange.CommandID{1}
	w.put = func(req *pipeline.Request) error {
		assert.NotZero(t, req.Time)
		return commit(cmd)
	}
	out, err := e.Submit(context.Background(), &pipeline.Request{})
	require.NoError(t, err)
	assert.Equal(t, []any{progress.Canceled, exchange.OrderID(5)}, []any{out[0].Status, out[0].OrderID})
	again, err := e.Submit(context.Background(), &pipeline.Request{})
	require.NoError(t, err)
	assert.Equal(t, out, again)
	assert.Equal(t, 1, w.puts, "answered without the pipeline")

	cmd.OrderID = 6
	_, err = e.Submit(context.Background(), &pipeline.Request{})
	assert.ErrorIs(t, err, ErrReused, "another order under the same key")

	cmd.ID = exchange.CommandID{2}
	w.put = func(*pipeline.Request) error { // somebody else was first with it
		other := cmd
		other.OrderID = 9
		return commit(other)
	}
	_, err = e.Submit(context.Background(), &pipeline.Request{})
	assert.ErrorIs(t, err, ErrReused)

	refused := &exchange.FieldError{Field: "price"}
	e.cfg.Prepare = func(*pipeline.Request) (pipeline.Message, error) { return pipeline.Message{}, refused }
	_, err = e.Submit(context.Background(), &pipeline.Request{})
	assert.Equal(t, refused, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	cmd.ID = exchange.CommandID{3}
	e.cfg.Prepare = func(*pipeline.Request) (pipeline.Message, error) { return pipeline.Message{Command: cmd}, nil }
	w.put = nil
	_, err = e.Submit(ctx, &pipeline.Request{})
	assert.ErrorIs(t, err, context.Canceled, "the client has gone")
}

func TestNewKey(t *testing.T) {
	assert.Regexp(t, `^[0-9a-f]{32}$`, NewKey())
	assert.NotEqual(t, NewKey(), NewKey())
}
