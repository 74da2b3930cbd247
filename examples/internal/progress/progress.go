// Package progress knows how far everything is: what came of each command,
// once the journal has it, and which position the consumers have reached. The
// API waits on it before it answers, so that 202 means journaled and a read
// sees what was answered before.
package progress

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// MaxOutcomes is how many commands' outcomes are kept, the latest ones; it is
// twice the engine's own window of ids.
const MaxOutcomes = 1 << 17

// Point is a place in an instrument's journal: an item and its last event.
type Point struct {
	Position pipeline.Position
	Seq      uint64
}

// Board holds what is known. It is safe for concurrent use.
type Board struct {
	trace *Trace
	now   func() time.Time

	mu       sync.Mutex
	outcomes map[exchange.CommandID]*Outcome
	order    []exchange.CommandID // a ring of MaxOutcomes, oldest at next once it is full
	next     int
	waiting  map[exchange.CommandID][]*Waiter

	committed, recorded, settled gate
}

// NewBoard returns an empty board; trace may be nil.
func NewBoard(trace *Trace, now func() time.Time) *Board {
	return &Board{
		trace: trace, now: now, outcomes: map[exchange.CommandID]*Outcome{}, waiting: map[exchange.CommandID][]*Waiter{},
		committed: newGate(now), recorded: newGate(now), settled: newGate(now),
	}
}

// Load reads what the journal already has, and the archive what was removed
// from it: how far the consumers are, and the outcomes of the latest commands,
// so that a request repeated after a restart is answered as before it.
func (b *Board) Load(ctx context.Context, log *pipeline.Log, archive pipeline.Archive, store pipeline.TradeStore, balances pipeline.Balances, instruments []*exchange.Instrument) error {
	most := MaxOutcomes / max(1, len(instruments))
	for _, in := range instruments {
		if err := b.load(ctx, log, archive, store, balances, in, most); err != nil {
			return fmt.Errorf("reading where %s stands: %w", in.Symbol(), err)
		}
	}
	return nil
}

func (b *Board) load(ctx context.Context, log *pipeline.Log, archive pipeline.Archive, store pipeline.TradeStore, balances pipeline.Balances, in *exchange.Instrument, most int) error {
	inst := in.ID()
	head, err := log.Journal().Head(ctx, inst)
	if err != nil {
		return err
	}
	recorded, err := store.Recorded(ctx, inst)
	if err != nil {
		return err
	}
	settled, err := balances.Settled(ctx, inst)
	if err != nil {
		return err
	}
	var blocks [][]placed // the newest first
	size := pipeline.Position(loadBlock)
	for end, commands := head.Position, 0; end > 0 && commands < most; {
		from := end - min(end, size) + 1
		block, err := readBatches(ctx, log, archive, in, from, int(end-from)+1)
		if errors.Is(err, pipeline.ErrNotFound) {
			if size == 1 {
				break // somebody has removed the archive: older outcomes are gone
			}
			size = 1 // up to the first that is there
			continue
		}
		if err != nil {
			return err
		}
		blocks = append(blocks, block)
		for _, p := range block {
			commands += len(p.batch.Entries)
		}
		end = from - 1
	}
	for i := len(blocks) - 1; i >= 0; i-- {
		for _, p := range blocks[i] {
			b.note(p.batch, p.at)
		}
	}
	for _, g := range []struct {
		gate gate
		pos  pipeline.Position
	}{{b.committed, head.Position}, {b.recorded, recorded}, {b.settled, settled}} {
		items, err := log.Read(ctx, inst, max(1, g.pos), 1)
		if err != nil && !errors.Is(err, pipeline.ErrTrimmed) {
			return err
		}
		// Without the item its last event is not known until the next one.
		p := Point{Position: g.pos}
		if g.pos > 0 && len(items) > 0 {
			p.Seq = items[0].Batch().LastSeq()
		}
		g.gate.advance(inst, p)
	}
	return nil
}

// loadBlock is how many journal items Load reads at once.
const loadBlock = 128

// placed is the contents of a journal item and where it is.
type placed struct {
	at    pipeline.Position
	batch *pipeline.Batch
}

// readBatches returns n items from position from on, from the archive where the
// journal begins later.
func readBatches(ctx context.Context, log *pipeline.Log, archive pipeline.Archive, in *exchange.Instrument, from pipeline.Position, n int) ([]placed, error) {
	var out []placed
	for len(out) < n {
		next := from + pipeline.Position(len(out))
		items, err := log.Read(ctx, in.ID(), next, n-len(out))
		if err != nil && !errors.Is(err, pipeline.ErrTrimmed) {
			return nil, err
		}
		for _, c := range items {
			out = append(out, placed{c.Position(), c.Batch()})
		}
		if err == nil && len(items) > 0 {
			continue
		}
		old, err := pipeline.ReadArchive(ctx, archive, in, next, n-len(out))
		if err != nil {
			return nil, err
		}
		for i := range old {
			batch, err := pipeline.DecodeBatch(old[i].Data)
			if err != nil {
				return nil, fmt.Errorf("item %d of the archive: %w", old[i].Position, err)
			}
			out = append(out, placed{old[i].Position, batch})
		}
		if len(old) == 0 {
			return nil, fmt.Errorf("item %d: %w: neither the journal nor the archive has it", next, pipeline.ErrNotFound)
		}
	}
	return out, nil
}

// Waiter waits for the outcome of one command.
type Waiter struct {
	board *Board
	id    exchange.CommandID
	done  chan struct{}
	got   Outcome
}

// Expect registers interest in a command. Call it before the command is sent,
// and End when done with it.
func (b *Board) Expect(id exchange.CommandID) *Waiter {
	w := &Waiter{board: b, id: id, done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.outcomes[id]; o != nil {
		w.got = *o
		close(w.done)
		return w
	}
	b.waiting[id] = append(b.waiting[id], w)
	return w
}

// Known returns the outcome when it is there already.
func (w *Waiter) Known() (Outcome, bool) {
	select {
	case <-w.done:
		return w.got, true
	default:
		return Outcome{}, false
	}
}

// Wait returns the outcome, or the error of ctx. An outcome that is there
// already comes first.
func (w *Waiter) Wait(ctx context.Context) (Outcome, error) {
	if o, ok := w.Known(); ok {
		return o, nil
	}
	select {
	case <-w.done:
		return w.got, nil
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("waiting for command %x: %w", w.id, ctx.Err())
	}
}

// End gives the interest up.
func (w *Waiter) End() {
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	list := w.board.waiting[w.id]
	for i := range list {
		if list[i] == w {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(w.board.waiting, w.id)
	} else {
		w.board.waiting[w.id] = list
	}
}

// note takes in a committed item.
func (b *Board) note(batch *pipeline.Batch, at pipeline.Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch.Entries {
		if e := &batch.Entries[i]; e.Command.ID != (exchange.CommandID{}) {
			b.keep(outcomeOf(e, at))
		}
	}
}

func (b *Board) keep(o Outcome) {
	if b.outcomes[o.Command] != nil || o.Status == "" {
		return // published twice, or nothing that anybody asks for
	}
	if len(b.order) < MaxOutcomes {
		b.order = append(b.order, o.Command)
	} else {
		delete(b.outcomes, b.order[b.next])
		b.order[b.next] = o.Command
		b.next = (b.next + 1) % MaxOutcomes
	}
	b.outcomes[o.Command] = &o
	for _, w := range b.waiting[o.Command] {
		w.got = o
		close(w.done)
	}
	delete(b.waiting, o.Command)
}

// Committed returns how far an instrument's journal has come.
func (b *Board) Committed(inst exchange.InstrumentID) Point { return b.committed.get(inst) }

// commit notes a committed item.
func (b *Board) commit(inst exchange.InstrumentID, p Point) {
	old := b.Committed(inst).Position
	for _, g := range []gate{b.recorded, b.settled} {
		g.due(inst, old)
	}
	b.committed.advance(inst, p)
}

// Reach waits until an instrument's journal has come to a position.
func (b *Board) Reach(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	_, err := b.committed.wait(ctx, inst, pos, "committed")
	return err
}

// Recorded waits until the trade store has everything that is committed by
// now, and returns how far it is.
func (b *Board) Recorded(ctx context.Context, inst exchange.InstrumentID) (Point, error) {
	return b.recorded.wait(ctx, inst, b.Committed(inst).Position, "recorded")
}

// Settled is Recorded for the balances.
func (b *Board) Settled(ctx context.Context, inst exchange.InstrumentID) (Point, error) {
	return b.settled.wait(ctx, inst, b.Committed(inst).Position, "settled")
}

// Stages returns how far an instrument's journal, trade store and balances
// are. The Board always knows: the error is nil.
func (b *Board) Stages(_ context.Context, inst exchange.InstrumentID) (committed, recorded, settled Point, err error) {
	return b.committed.get(inst), b.recorded.get(inst), b.settled.get(inst), nil
}

// Positions says how far an instrument is. It is a Board where everything is
// in one process, else what asks the stores.
type Positions interface {
	// Recorded waits until the trade store has what was committed when it was
	// called, and returns how far the store is.
	Recorded(ctx context.Context, inst exchange.InstrumentID) (Point, error)
	// Settled is Recorded for the balances.
	Settled(ctx context.Context, inst exchange.InstrumentID) (Point, error)
	// Stages returns how far the journal and its consumers are, without waiting.
	Stages(ctx context.Context, inst exchange.InstrumentID) (committed, recorded, settled Point, err error)
}

var _ Positions = (*Board)(nil)

// StallAfter is how long an instrument may stand still. The sweeper brings the
// time to quiet ones every second, so that all of them move.
const StallAfter = 15 * time.Second

// Stalled returns an error when an instrument, of which there is a journal, or
// a consumer of it, has stood still for StallAfter.
func (b *Board) Stalled(inst exchange.InstrumentID) error {
	if b.Committed(inst).Position == 0 {
		return nil
	}
	now := b.now()
	for _, g := range []struct {
		gate gate
		what string
	}{{b.committed, "the journal"}, {b.recorded, "the trade store"}, {b.settled, "the balances"}} {
		if since := now.Sub(g.gate.touched(inst)); since > StallAfter {
			return fmt.Errorf("%s of instrument %d: nothing new for %v", g.what, inst, since.Round(time.Second))
		}
	}
	return nil
}

// gate is a position per instrument that only rises and can be waited for.
type gate struct {
	now  func() time.Time
	mu   *sync.Mutex
	at   map[exchange.InstrumentID]Point
	when map[exchange.InstrumentID]time.Time
	bell map[exchange.InstrumentID]chan struct{} // closed at the next advance
}

func newGate(now func() time.Time) gate {
	return gate{now, &sync.Mutex{}, map[exchange.InstrumentID]Point{}, map[exchange.InstrumentID]time.Time{}, map[exchange.InstrumentID]chan struct{}{}}
}

// touched returns when the position rose, or, when it was as far as it could
// be, when there was more.
func (g gate) touched(inst exchange.InstrumentID) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.when[inst]
}

// due notes that from now on there is more than pos.
func (g gate) due(inst exchange.InstrumentID, pos pipeline.Position) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at[inst].Position >= pos {
		g.when[inst] = g.now()
	}
}

func (g gate) get(inst exchange.InstrumentID) Point {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.at[inst]
}

func (g gate) advance(inst exchange.InstrumentID, p Point) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.Position <= g.at[inst].Position {
		return
	}
	g.at[inst], g.when[inst] = p, g.now()
	if bell := g.bell[inst]; bell != nil {
		close(bell)
		delete(g.bell, inst)
	}
}

func (g gate) wait(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, what string) (Point, error) {
	for {
		g.mu.Lock()
		p, bell := g.at[inst], g.bell[inst]
		if p.Position < pos && bell == nil {
			bell = make(chan struct{})
			g.bell[inst] = bell
		}
		g.mu.Unlock()
		if p.Position >= pos {
			return p, nil
		}
		select {
		case <-bell:
		case <-ctx.Done():
			return p, fmt.Errorf("waiting until item %d of instrument %d is %s: %w", pos, inst, what, ctx.Err())
		}
	}
}
