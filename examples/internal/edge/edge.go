// Package edge is where requests enter the pipeline: they are checked, put on
// the bus, and answered once the journal has what came of them. The REST API
// and the bots both come this way.
package edge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/pipeline"
)

// DefaultWait is how long Submit waits for the journal.
const DefaultWait = 10 * time.Second

// ErrReused says that the request's key belongs to another command: one with
// other contents, or one so old that its outcome is no longer known here.
var ErrReused = errors.New("the key belongs to another command")

// TimeoutError says that nobody knows yet what comes of a command. The same
// request with the same key may be sent again.
type TimeoutError struct {
	Command exchange.CommandID
	cause   error
}

func (e *TimeoutError) Error() string { return fmt.Sprintf("command %x: %v", e.Command, e.cause) }

// Unwrap returns what ended the wait.
func (e *TimeoutError) Unwrap() error { return e.cause }

// Config says what an Edge works with.
type Config struct {
	Instruments []*exchange.Instrument
	Prepare     func(req *pipeline.Request) (pipeline.Message, error)
	Bus         pipeline.EventBus
	Board       *progress.Board
	Store       pipeline.TradeStore
	Balances    pipeline.Balances
	Trace       *progress.Trace // may be nil
	Now         func() time.Time
	Wait        time.Duration // 0: DefaultWait
}

// Edge takes requests. It is safe for concurrent use.
type Edge struct{ cfg Config }

// New returns an Edge.
func New(cfg Config) *Edge {
	if cfg.Wait == 0 {
		cfg.Wait = DefaultWait
	}
	return &Edge{cfg}
}

// NewKey makes an idempotency key for a request that came without one.
func NewKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Submit sends a request, whose Time it sets, and returns what came of it once
// that is in the journal: of one that spans instruments what came of each of
// its parts, by instrument, else one outcome. A request that was sent before is
// answered as it was then. Errors: *exchange.FieldError when the request is
// wrong in itself, ErrReused, pipeline.ErrFull, *TimeoutError.
func (e *Edge) Submit(ctx context.Context, req *pipeline.Request) ([]progress.Outcome, error) {
	req.Time = exchange.Time(e.cfg.Now().UnixNano())
	msg, err := e.cfg.Prepare(req)
	if err != nil {
		return nil, err
	}
	cmds, err := Parts(&msg.Command, e.cfg.Instruments)
	if err != nil {
		return nil, err
	}
	waiters := make([]*progress.Waiter, len(cmds))
	known := 0
	for i := range cmds {
		e.cfg.Trace.Mark(cmds[i].ID, progress.StageReceived)
		waiters[i] = e.cfg.Board.Expect(cmds[i].ID)
		defer waiters[i].End()
		if _, ok := waiters[i].Known(); ok {
			known++
		}
	}
	if known < len(cmds) {
		if err := e.send(ctx, req, &msg.Command, waiters[0]); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Wait)
	defer cancel()
	out := make([]progress.Outcome, len(cmds))
	for i := range cmds {
		if out[i], err = waiters[i].Wait(ctx); err != nil {
			return nil, &TimeoutError{cmds[i].ID, err}
		}
		if !out[i].Same(&cmds[i]) {
			return nil, fmt.Errorf("command %x: %w", cmds[i].ID, ErrReused)
		}
		e.cfg.Trace.Mark(cmds[i].ID, progress.StageAnswered)
	}
	return out, nil
}

// Parts returns the commands that a command becomes: of one that spans
// instruments one each, else itself.
func Parts(cmd *exchange.Command, instruments []*exchange.Instrument) ([]exchange.Command, error) {
	if cmd.Instrument != 0 {
		return []exchange.Command{*cmd}, nil
	}
	var out []exchange.Command
	for _, q := range pipeline.SpanCommands(*cmd, instruments) {
		m, err := pipeline.DecodeMessage(q.Body)
		if err != nil {
			return nil, fmt.Errorf("reading a part of command %x: %w", cmd.ID, err)
		}
		out = append(out, m.Command)
	}
	return out, nil
}

func (e *Edge) send(ctx context.Context, req *pipeline.Request, cmd *exchange.Command, w *progress.Waiter) error {
	used, err := e.used(ctx, cmd)
	if err != nil {
		return err
	}
	if used {
		if _, known := w.Known(); known {
			return nil // it was on its way a moment ago
		}
		return fmt.Errorf("command %x: %w", cmd.ID, ErrReused)
	}
	return e.cfg.Bus.Put(ctx, req)
}

// used reports whether a command had its effect so long ago that the board has
// forgotten: sent again it would come to nothing, and nobody would hear of it.
func (e *Edge) used(ctx context.Context, cmd *exchange.Command) (bool, error) {
	switch cmd.Kind {
	case exchange.KindNewOrder:
		_, err := e.cfg.Store.OrderByCommand(ctx, cmd.ID)
		if errors.Is(err, pipeline.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	case exchange.KindAmend, exchange.KindReplace:
		h, err := e.cfg.Balances.HoldByID(ctx, cmd.Account, cmd.ID)
		if errors.Is(err, pipeline.ErrNotFound) {
			return false, nil
		}
		return err == nil && h.State == pipeline.HoldEnded, err
	}
	return false, nil
}
