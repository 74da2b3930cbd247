package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"

	"github.com/castlecloud/exchange/examples/aws/internal/wire"
)

// status prints how far each instrument is, wherever it is.
func status(ctx context.Context, t *task) error {
	log, balances, trades, connections, books, archived := t.Log(), t.Balances(), t.Trades(ctx), t.Connections(), t.Books(), t.Archived()
	if books == nil || trades == nil {
		return nil // Env says why
	}
	j := log.Journal()
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "symbol\thead\tpublished\tpushed\trecorded\tsettled\tarchived\tbook\t")
	var failed []error
	for _, in := range t.Instruments() {
		fmt.Fprint(w, in.Symbol())
		for _, at := range []struct {
			what string
			ask  func(context.Context, exchange.InstrumentID) (pipeline.Position, error)
		}{
			{"head", func(ctx context.Context, id exchange.InstrumentID) (pipeline.Position, error) {
				h, err := j.Head(ctx, id)
				return h.Position, err
			}},
			{"published", j.Published}, {"pushed", connections.Pushed}, {"recorded", trades.Recorded}, {"settled", balances.Settled}, {"archived", archived},
			{"book", func(ctx context.Context, id exchange.InstrumentID) (pipeline.Position, error) {
				b, err := books.LoadBook(ctx, id)
				if errors.Is(err, pipeline.ErrNotFound) {
					err = nil
				}
				return b.Position, err
			}},
		} {
			pos, err := at.ask(ctx, in.ID())
			if err != nil {
				failed = append(failed, fmt.Errorf("%s, %s: %w", in.Symbol(), at.what, err))
				fmt.Fprint(w, "\t?")
				continue
			}
			fmt.Fprintf(w, "\t%d", pos)
		}
		fmt.Fprintln(w, "\t")
	}
	return errors.Join(append(failed, w.Flush())...)
}

// whole is a journal from its first item on: what was trimmed is read from the
// archive. It has no snapshot, so that everything is replayed, and takes
// nothing.
type whole struct {
	pipeline.Journal
	in      *exchange.Instrument
	archive pipeline.Archive
}

func (j *whole) LoadSnapshot(context.Context, exchange.InstrumentID) (pipeline.Snapshot, error) {
	return pipeline.Snapshot{}, pipeline.ErrNotFound
}

func (j *whole) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	items, err := j.Journal.Read(ctx, inst, from, limit)
	if !errors.Is(err, pipeline.ErrTrimmed) {
		return items, err
	}
	items, err = pipeline.ReadArchive(ctx, j.archive, j.in, from, limit)
	if err == nil && len(items) == 0 {
		err = fmt.Errorf("item %d: %w, and it is not in the archive", from, pipeline.ErrTrimmed)
	}
	return items, err
}

// verify applies every command of a journal again, and compares every event,
// the chain of hashes and the state with the durable snapshot's.
func verify(ctx context.Context, t *task) error {
	in, err := t.instrument()
	if err != nil {
		return err
	}
	j, archive := t.Log().Journal(), t.Archive()
	replayed, head, err := pipeline.LoadEngine(ctx, pipeline.NewLog(&whole{j, in, archive}), nil, in, exchange.Config{})
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s: %d items replayed, every event is as it was; journal %x, state %x\n", in.Symbol(), head.Position, head.Hash[:8], hash8(replayed))
	loaded, at, err := pipeline.LoadEngine(ctx, pipeline.NewLog(j), nil, in, exchange.Config{})
	switch {
	case err != nil:
		return fmt.Errorf("from the durable snapshot: %w", err)
	case at != head:
		fmt.Fprintf(t.out, "%s: the journal went on to %d meanwhile: the snapshot was not compared\n", in.Symbol(), at.Position)
	case loaded.Hash() != replayed.Hash():
		return fmt.Errorf("%s at %d: the state from the durable snapshot is %x, replayed it is %x", in.Symbol(), at.Position, hash8(loaded), hash8(replayed))
	default:
		fmt.Fprintf(t.out, "%s: from the durable snapshot it is the same\n", in.Symbol())
	}
	return nil
}

func hash8(e *exchange.Engine) []byte {
	h := e.Hash()
	return h[:8]
}

// unread is a book store that gives no book, so that one is made.
type unread struct{ pipeline.BookStore }

func (unread) LoadBook(context.Context, exchange.InstrumentID) (pipeline.Snapshot, error) {
	return pipeline.Snapshot{}, pipeline.ErrNotFound
}

// rebuild writes book and depth anew from the journal.
func rebuild(ctx context.Context, t *task) error {
	in, err := t.instrument()
	if err != nil {
		return err
	}
	books := t.Books()
	if books == nil {
		return nil // Env says why
	}
	log := t.Log()
	m, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: []*exchange.Instrument{in}, Log: log, Books: unread{books},
		Publisher: memory.NewPublisher(), Now: wire.Now, BookEvery: 1, DepthLevels: wire.DepthLevels, DepthOrders: wire.DepthOrders, Metrics: t.Metrics, Logger: t.Logger})
	if err != nil {
		return err
	}
	head, err := log.Journal().Head(ctx, in.ID())
	if err == nil {
		err = m.Load(ctx, in.ID())
	}
	if err != nil {
		return err
	}
	if head.Position == 0 {
		fmt.Fprintf(t.out, "%s: its journal is empty, there is nothing to write\n", in.Symbol())
		return nil
	}
	book, err := books.LoadBook(ctx, in.ID())
	if err != nil {
		return fmt.Errorf("the book was not written: %w", err)
	}
	if book.Position < head.Position {
		return fmt.Errorf("the book store has the book of %d, expected that of %d or a later one", book.Position, head.Position)
	}
	fmt.Fprintf(t.out, "%s: the book store has the book of %d\n", in.Symbol(), book.Position)
	return nil
}

// migrate brings the database's schema to what this release needs.
func migrate(ctx context.Context, t *task) error {
	for i, url := range t.Config.Database {
		if err := aurora.Migrate(ctx, url); err != nil {
			return fmt.Errorf("entry %d of DATABASE_URL: %w", i+1, err)
		}
	}
	fmt.Fprintln(t.out, "the schema is what this release needs")
	return nil
}
