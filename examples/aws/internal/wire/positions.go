package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/pipeline"
)

// Positions asks the stores how far an instrument is.
type Positions struct {
	Log      *pipeline.Log
	Trades   pipeline.TradeStore
	Balances pipeline.Balances
}

var _ progress.Positions = (*Positions)(nil)

// How often a store is asked again that is behind, and how many items are
// looked at for an event.
const (
	askFirst  = 5 * time.Millisecond
	askMost   = 80 * time.Millisecond
	seqLookup = 64
)

// Recorded implements progress.Positions.
func (p *Positions) Recorded(ctx context.Context, inst exchange.InstrumentID) (progress.Point, error) {
	return p.reach(ctx, inst, "recorded", p.Trades.Recorded)
}

// Settled implements progress.Positions.
func (p *Positions) Settled(ctx context.Context, inst exchange.InstrumentID) (progress.Point, error) {
	return p.reach(ctx, inst, "settled", p.Balances.Settled)
}

// reach waits until a store has what is in the journal now.
func (p *Positions) reach(ctx context.Context, inst exchange.InstrumentID, what string, at func(context.Context, exchange.InstrumentID) (pipeline.Position, error)) (progress.Point, error) {
	head, err := p.Log.Journal().Head(ctx, inst)
	if err != nil || head.Position == 0 {
		return progress.Point{}, err
	}
	for pause := askFirst; ; pause = min(2*pause, askMost) {
		pos, err := at(ctx, inst)
		if err != nil {
			return progress.Point{}, err
		}
		if pos >= head.Position {
			seq, err := p.seq(ctx, inst, pos)
			return progress.Point{Position: pos, Seq: seq}, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return progress.Point{}, fmt.Errorf("waiting until item %d of instrument %d is %s: %w", head.Position, inst, what, ctx.Err())
		}
	}
}

// seq returns the number of the last event up to an item; 0 when it is no
// longer in the journal.
func (p *Positions) seq(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) (uint64, error) {
	for i := 0; i < seqLookup && pos > 0; i, pos = i+1, pos-1 {
		items, err := p.Log.Read(ctx, inst, pos, 1)
		if errors.Is(err, pipeline.ErrTrimmed) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if len(items) > 0 {
			if seq := items[0].Batch().LastSeq(); seq != 0 {
				return seq, nil
			}
		}
	}
	return 0, nil
}

// Stages implements progress.Positions.
func (p *Positions) Stages(ctx context.Context, inst exchange.InstrumentID) (committed, recorded, settled progress.Point, err error) {
	head, err := p.Log.Journal().Head(ctx, inst)
	if err == nil {
		committed.Position = head.Position
		recorded.Position, err = p.Trades.Recorded(ctx, inst)
	}
	if err == nil {
		settled.Position, err = p.Balances.Settled(ctx, inst)
	}
	if err == nil {
		committed.Seq, err = p.seq(ctx, inst, head.Position)
	}
	return committed, recorded, settled, err
}
