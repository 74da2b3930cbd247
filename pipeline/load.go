package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/castlecloud/exchange"
)

// Errors of loading an engine. Both stop the instrument until somebody has
// looked: trying again changes nothing.
var (
	// ErrDiverged says that a journal contradicts the engine or itself: a
	// replay gave other events than it has, or its own snapshot is of another
	// history.
	ErrDiverged = errors.New("diverged: the journal does not say what the engine does")
	// ErrRules says that a journal item was made under matching rules of a
	// version this release does not know.
	ErrRules = errors.New("unknown version of the matching rules")
)

// DefaultMaxOrders is how many live orders an instrument has at most where an
// exchange.Config or a MatchingEngineConfig leaves MaxOrders zero.
const DefaultMaxOrders = 1 << 16

// replayPage is how many journal items a replay reads at once. It bounds the
// memory of a replay, whose items are some 256 KiB each, four times that
// decoded.
const replayPage = 32

// LoadEngine returns an engine as it is at the head of an instrument's journal,
// and that head. It begins with the newest of the book store's snapshot and the
// journal's whose position and running hash the journal confirms, and replays
// what follows, comparing every event (ErrDiverged, ErrRules). books may be
// nil. Funds and Instruments of cfg are set by LoadEngine; the rest must be as
// it was when the journal was written, MaxOrders 0 being DefaultMaxOrders.
// Nothing is written anywhere.
func LoadEngine(ctx context.Context, log *Log, books BookStore, in *exchange.Instrument, cfg exchange.Config) (*exchange.Engine, Head, error) {
	l := loader{log: log, books: books, in: in, cfg: engineConfig(in, cfg)}
	if err := l.load(ctx); err != nil {
		return nil, Head{}, fmt.Errorf("loading instrument %d: %w", in.ID(), err)
	}
	return l.engine, l.head, nil
}

// engineConfig completes the settings of an instrument's engine.
func engineConfig(in *exchange.Instrument, cfg exchange.Config) exchange.Config {
	cfg.Funds, cfg.Instruments = exchange.FundsHeld, []*exchange.Instrument{in}
	if cfg.MaxOrders == 0 {
		cfg.MaxOrders = DefaultMaxOrders
	}
	return cfg
}

// loader brings an engine to the head of its journal.
type loader struct {
	log   *Log
	books BookStore
	in    *exchange.Instrument
	cfg   exchange.Config

	engine     *exchange.Engine
	head       Head
	last       Committed // the item at head, zero when it was not read
	bookAt     Position  // of the book store's snapshot, 0 when it is of no use
	snapshotAt Position  // of the journal's

	replayed  int     // items
	discarded []error // why a snapshot was not used
	bookError error   // why the book store gave none
	events    []exchange.Event
}

// errUnconfirmed says that a journal has another item where a snapshot was
// taken, or none.
var errUnconfirmed = errors.New("the journal does not confirm it")

// A candidate is a snapshot an engine may begin with.
type candidate struct {
	Snapshot
	of string
}

func (l *loader) load(ctx context.Context) error {
	candidates, err := l.candidates(ctx)
	if err != nil {
		return err
	}
	// After the snapshots: what is beyond the head then was never in the
	// journal, or is no longer.
	end, err := l.log.Journal().Head(ctx, l.in.ID())
	if err != nil {
		return fmt.Errorf("reading the head: %w", err)
	}
	for i := range candidates {
		c := &candidates[i]
		err := l.from(ctx, c, end)
		if err == nil {
			for _, c := range candidates[i:] { // the older one may be good too
				*l.at(&c) = c.Position
			}
			return nil
		}
		if c.of == ofJournal && errors.Is(err, errUnconfirmed) {
			err = fmt.Errorf("%w: %w", ErrDiverged, err) // replaying less would only hide it
		}
		if !discards(err) {
			return fmt.Errorf("beginning with the snapshot of the %s at %d: %w", c.of, c.Position, err)
		}
		l.discarded = append(l.discarded, fmt.Errorf("snapshot of the %s at %d: %w", c.of, c.Position, err))
	}
	if err := l.from(ctx, &candidate{}, end); err != nil {
		return fmt.Errorf("replaying from the beginning: %w", errors.Join(append([]error{err}, l.discarded...)...))
	}
	return nil
}

// at returns where the position of a snapshot's place is noted.
func (l *loader) at(c *candidate) *Position {
	if c.of == ofBook {
		return &l.bookAt
	}
	return &l.snapshotAt
}

// discards reports whether an error says that a snapshot is of no use, rather
// than that the journal is not.
func discards(err error) bool {
	if errors.Is(err, ErrDiverged) {
		return false
	}
	for _, useless := range [...]error{errUnconfirmed, ErrTrimmed, exchange.ErrSnapshotDamaged, exchange.ErrSnapshotForeign} {
		if errors.Is(err, useless) {
			return true
		}
	}
	return false
}

const (
	ofBook    = "book store"
	ofJournal = "journal"
)

// candidates returns the snapshots there are, the newest first. That the book
// store fails is noted and no more.
func (l *loader) candidates(ctx context.Context) ([]candidate, error) {
	var found []candidate
	if l.books != nil {
		snap, err := l.books.LoadBook(ctx, l.in.ID())
		switch {
		case err == nil:
			found = append(found, candidate{snap, ofBook})
		case !errors.Is(err, ErrNotFound):
			l.bookError = fmt.Errorf("loading the book: %w", err)
		}
	}
	snap, err := l.log.Journal().LoadSnapshot(ctx, l.in.ID())
	switch {
	case err == nil:
		found = append(found, candidate{snap, ofJournal})
	case !errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("loading the durable snapshot: %w", err)
	}
	if len(found) == 2 && found[1].Position > found[0].Position {
		found[0], found[1] = found[1], found[0]
	}
	return found, nil
}

// from restores a snapshot and replays what follows it. end is where the
// journal ended a moment ago.
func (l *loader) from(ctx context.Context, c *candidate, end Head) error {
	if c.Position > end.Position || c.Position == end.Position && c.Hash != end.Hash {
		return fmt.Errorf("%w: it ends at %d with hash %x, the snapshot is of %x", errUnconfirmed, end.Position, end.Hash[:4], c.Hash[:4])
	}
	engine, err := exchange.NewEngine(l.cfg)
	if err != nil {
		return err
	}
	if c.Position > 0 {
		if err := engine.Restore(c.Data); err != nil {
			return err
		}
	}
	l.engine, l.head, l.last = engine, c.Head, Committed{}
	for {
		items, err := l.log.Read(ctx, l.in.ID(), l.head.Position+1, replayPage)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			break
		}
		for _, item := range items {
			if HashOf(l.head.Hash, item.Data()) != item.Head().Hash {
				return fmt.Errorf("%w: item %d does not follow from its hash", errUnconfirmed, item.Position())
			}
			if err := l.replay(item); err != nil {
				return err
			}
		}
	}
	if l.head.Position < end.Position {
		return fmt.Errorf("%w: the journal ends at %d and gives no item %d", ErrGap, end.Position, l.head.Position+1)
	}
	return nil
}

// replay applies the commands of an item and compares the events.
func (l *loader) replay(item Committed) error {
	b := item.Batch()
	if b.Rules != CurrentRules {
		return fmt.Errorf("item %d: %w: %d, expected %d", item.Position(), ErrRules, b.Rules, CurrentRules)
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		var err error
		if l.events, err = applyCommand(l.engine, l.events[:0], &e.Command); err != nil {
			return fmt.Errorf("item %d, command %d (%s %x): %w: %w", item.Position(), i+1, e.Command.Kind, e.Command.ID, ErrDiverged, err)
		}
		if !slices.Equal(l.events, e.Events) {
			return fmt.Errorf("item %d, command %d (%s %x): %w", item.Position(), i+1, e.Command.Kind, e.Command.ID, ErrDiverged)
		}
	}
	l.head, l.last = item.Head(), item
	l.replayed++
	return nil
}
