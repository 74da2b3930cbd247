package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/castlecloud/exchange"
)

// readPage is how many items a consumer reads at a time: no more than a Log
// keeps, so that a consumer close to the head reads no journal at all.
const readPage = DefaultLogCache

// consumer follows the journal: it brings the effects of a service, whose
// store remembers how far they are, up to what was committed, item by item.
// Handling a Notice twice, late, or out of order does no harm.
type consumer struct {
	name   string // of the service, for errors
	log    *Log
	gauge  string // the metric of the position, "": none
	met    Metrics
	logger *slog.Logger
	tracks map[exchange.InstrumentID]*track
	// begin returns how far the effects of an instrument are. It is called
	// before the first item and after every error.
	begin func(ctx context.Context, n Notice) (Position, error)
	// apply takes the next item and has its effect, all of it or none. What it
	// did before an error it may be asked to do again.
	apply func(ctx context.Context, c Committed) error
	// applyAll, which may be nil, is apply for several items: the first done of
	// them have had their effect.
	applyAll func(ctx context.Context, items []Committed) (done int, err error)
	// trimmed, which may be nil, says where to go on when the next item was
	// removed from the journal.
	trimmed func(ctx context.Context, n Notice) (Position, error)
	// after, which may be nil, does what is left to do besides, at the end of
	// every Notice. Its error changes nothing of the above.
	after func(ctx context.Context, inst exchange.InstrumentID) error
}

// track is a consumer on one instrument.
type track struct {
	turn chan struct{} // has something in it while somebody works
	at   Position      // how far the effects are; they may be further
	warm bool          // at means something
}

func newConsumer(name, gauge string, instruments []*exchange.Instrument, log *Log, met Metrics, logger *slog.Logger) consumer {
	c := consumer{name: name, gauge: gauge, log: log, met: met, logger: logger, tracks: map[exchange.InstrumentID]*track{}}
	for _, in := range instruments {
		c.tracks[in.ID()] = &track{turn: make(chan struct{}, 1)}
	}
	return c
}

// enter waits for the turn of an instrument, of which one works at a time.
func (f *consumer) enter(ctx context.Context, inst exchange.InstrumentID) (*track, error) {
	t := f.tracks[inst]
	if t == nil {
		return nil, fmt.Errorf("%s: instrument %d: %w", f.name, inst, exchange.UnknownInstrument)
	}
	select {
	case t.turn <- struct{}{}:
		return t, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: instrument %d: waiting for the one before: %w", f.name, inst, ctx.Err())
	}
}

func (t *track) leave() { <-t.turn }

// handle brings the effects at least up to the position of n.
func (f *consumer) handle(ctx context.Context, n Notice) error {
	t, err := f.enter(ctx, n.Instrument)
	if err != nil {
		return err
	}
	defer t.leave()
	if !t.warm || n.Position > t.at {
		if err = f.follow(ctx, t, n); err != nil {
			t.warm = false
		}
	}
	if f.after != nil {
		err = errors.Join(err, f.after(ctx, n.Instrument))
	}
	if err != nil {
		return fmt.Errorf("%s: instrument %d: %w", f.name, n.Instrument, err)
	}
	return nil
}

func (f *consumer) follow(ctx context.Context, t *track, n Notice) error {
	if !t.warm {
		at, err := f.begin(ctx, n)
		if err != nil {
			return err
		}
		t.at, t.warm = at, true
		f.logger.DebugContext(ctx, "starting", "service", f.name, "instrument", n.Instrument, "position", at, "noticed", n.Position)
	}
	defer func() {
		if f.gauge != "" {
			f.met.Gauge(f.gauge, n.Instrument, float64(t.at))
		}
	}()
	jumped := false
	for {
		items, err := f.log.Read(ctx, n.Instrument, t.at+1, readPage)
		if errors.Is(err, ErrTrimmed) {
			if f.trimmed == nil || jumped {
				return fmt.Errorf("item %d, which is next, was removed from the journal: %w", t.at+1, err)
			}
			jumped = true
			if t.at, err = f.trimmed(ctx, n); err != nil {
				return err
			}
			if t.at >= n.Position {
				return nil
			}
			continue
		}
		for rest := items; len(rest) > 0; { // those before a damaged one are good
			done, applyErr := f.some(ctx, rest)
			if done > 0 {
				t.at = rest[done-1].Position()
			}
			if applyErr != nil {
				return fmt.Errorf("item %d: %w", rest[done].Position(), applyErr)
			}
			rest = rest[done:]
		}
		switch {
		case err != nil:
			return err
		case len(items) == 0 && t.at < n.Position:
			return fmt.Errorf("the journal ends at %d, before the %d it was told of: %w", t.at, n.Position, ErrNotFound)
		case t.at >= n.Position && len(items) < readPage:
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// some applies the first of some items, or all.
func (f *consumer) some(ctx context.Context, items []Committed) (done int, err error) {
	if f.applyAll != nil {
		return f.applyAll(ctx, items)
	}
	if err := f.apply(ctx, items[0]); err != nil {
		return 0, err
	}
	return 1, nil
}

// checkConsumer checks what every consumer needs.
func checkConsumer(name string, instruments []*exchange.Instrument, log *Log) error {
	switch {
	case len(instruments) == 0:
		return fmt.Errorf("%s: %w: Instruments is empty, expected at least one", name, ErrInvalid)
	case slices.Contains(instruments, nil):
		return fmt.Errorf("%s: %w: Instruments has a nil", name, ErrInvalid)
	case log == nil:
		return fmt.Errorf("%s: %w: no Log", name, ErrInvalid)
	}
	return nil
}
