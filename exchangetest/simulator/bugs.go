package simulator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bug is a mistake that can be planted into a port: each is one that makers of
// pipelines are known to make. A schedule that meets it must be found faulty.
type Bug uint8

// The bugs.
const (
	BugPublishBeforeCommit Bug = 1 // the journal says yes before it has the item
	BugNoDedup             Bug = 2 // a message that comes again is a new one
	BugTwoWriters          Bug = 3 // the fence lets a second writer in
	BugSettleWithoutID     Bug = 4 // what was settled is not remembered with the settlement
	BugCursorFirst         Bug = 5 // the cursor is saved before the effect
	BugHoldKept            Bug = 6 // what an ended order held is not released
)

// Bugs lists them.
func Bugs() []Bug {
	return []Bug{BugPublishBeforeCommit, BugNoDedup, BugTwoWriters, BugSettleWithoutID, BugCursorFirst, BugHoldKept}
}

// String names the bug.
func (b Bug) String() string {
	names := []string{"none", "publish before commit", "no dedup", "a fence that lets two in", "settle without id",
		"cursor saved before the effect", "hold not released"}
	if int(b) < len(names) {
		return names[b]
	}
	return fmt.Sprintf("bug %d", uint8(b))
}

// planted is where the bugs live; without one it passes everything on.
type planted struct {
	bug       Bug
	early     map[exchange.InstrumentID]pipeline.Item // said to be appended
	delivered map[exchange.CommandID]int
	cursors   map[exchange.InstrumentID]pipeline.Position
	calmed    bool
}

func (b *planted) init(w *world) {
	b.bug = w.cfg.Plant
	b.early = map[exchange.InstrumentID]pipeline.Item{}
	b.delivered = map[exchange.CommandID]int{}
	b.cursors = map[exchange.InstrumentID]pipeline.Position{}
}

// calm ends what happens by chance alone.
func (b *planted) calm() { b.calmed = true }

func (b *planted) append(ctx context.Context, w *world, inst exchange.InstrumentID, item pipeline.Item) error {
	switch b.bug {
	case BugPublishBeforeCommit:
		if late, ok := b.early[inst]; ok {
			delete(b.early, inst)
			if err := w.journal.Append(ctx, inst, late); err != nil {
				return err
			}
		}
		head, err := w.journal.Head(ctx, inst)
		if err != nil {
			return err
		}
		if head.Position != item.Position-1 {
			return pipeline.ErrFenced
		}
		item.Data = slices.Clone(item.Data)
		b.early[inst] = item
		return nil
	case BugTwoWriters:
		err := w.journal.Append(ctx, inst, item)
		if errors.Is(err, pipeline.ErrFenced) {
			head, headErr := w.journal.Head(ctx, inst)
			if headErr != nil {
				return headErr
			}
			item.Head = pipeline.Head{Position: head.Position + 1, Hash: pipeline.HashOf(head.Hash, item.Data)}
			return w.journal.Append(ctx, inst, item)
		}
		return err
	}
	return w.journal.Append(ctx, inst, item)
}

func (b *planted) read(ctx context.Context, w *world, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	items, err := w.journal.Read(ctx, inst, from, limit)
	if late, ok := b.early[inst]; ok && err == nil && len(items) < limit && late.Position == from+pipeline.Position(len(items)) {
		items = append(items, late)
	}
	return items, err
}

// deliver changes messages on their way to the matching engine.
func (b *planted) deliver(messages []pipeline.QueueMessage) {
	if b.bug != BugNoDedup {
		return
	}
	for i := range messages {
		m, err := pipeline.DecodeMessage(messages[i].Body)
		if err != nil {
			continue
		}
		id := m.Command.ID
		n := b.delivered[id]
		b.delivered[id]++
		m.Command.ID[15] ^= byte(n)
		if body, err := pipeline.AppendMessage(nil, &m); err == nil {
			messages[i].Body = body
		}
	}
}

func (b *planted) settle(ctx context.Context, w *world, c pipeline.Committed, s *pipeline.Settlement) error {
	switch b.bug {
	case BugSettleWithoutID:
		had, err := w.balances.Settled(ctx, c.Instrument())
		if err != nil {
			return err
		}
		if c.Position() > had {
			if err := w.balances.Settle(ctx, c, s); err != nil {
				return err
			}
		} else if c.Position() > b.cursors[c.Instrument()] {
			b.again(ctx, w, c, s)
		}
		if !b.calmed && w.pick(100) == 0 {
			return fmt.Errorf("between the settlement and its mark: %w", errInjected)
		}
		b.cursors[c.Instrument()] = max(b.cursors[c.Instrument()], c.Position())
		return nil
	case BugHoldKept:
		return w.balances.Settle(ctx, c, keepHolds(s))
	}
	return w.balances.Settle(ctx, c, s)
}

// again credits a second time what a settlement brings.
func (b *planted) again(ctx context.Context, w *world, c pipeline.Committed, s *pipeline.Settlement) {
	for i := range s.Accounts {
		a := &s.Accounts[i]
		for _, ch := range a.Assets {
			if ch.Available > 0 {
				id := pipeline.CommandIDOf(a.Account, c.Instrument(), 0, fmt.Sprint("again ", c.Position(), " ", ch.Asset))
				err := w.balances.Deposit(ctx, pipeline.Transfer{ID: id, Account: a.Account, Asset: ch.Asset, Amount: ch.Available, Time: w.now})
				if err != nil {
					w.violated("planting %s: %w", b.bug, err)
				}
			}
		}
	}
}

func (b *planted) settled(ctx context.Context, w *world, inst exchange.InstrumentID) (pipeline.Position, error) {
	if b.bug == BugSettleWithoutID {
		return b.cursors[inst], nil
	}
	return w.balances.Settled(ctx, inst)
}

// keepHolds returns a settlement that leaves what an ended hold would release
// where it is.
func keepHolds(s *pipeline.Settlement) *pipeline.Settlement {
	kept := &pipeline.Settlement{Fees: s.Fees, Accounts: slices.Clone(s.Accounts)}
	for i := range kept.Accounts {
		a := &kept.Accounts[i]
		a.Assets, a.Holds = slices.Clone(a.Assets), slices.Clone(a.Holds)
		for j := range a.Holds {
			h := &a.Holds[j]
			for k := range a.Assets {
				if ch := &a.Assets[k]; h.Ended && ch.Asset == h.Asset {
					if n := min(ch.Available, -h.Delta); n > 0 {
						ch.Available, ch.Held, h.Delta, h.Ended = ch.Available-n, ch.Held+n, h.Delta+n, false
					}
				}
			}
		}
	}
	return kept
}

func (b *planted) record(ctx context.Context, w *world, p *process, c pipeline.Committed, r *pipeline.Record) error {
	if b.bug == BugCursorFirst && !b.calmed && len(r.Orders) > 0 && w.pick(50) == 0 {
		had, err := w.trades.Recorded(ctx, c.Instrument())
		if err != nil {
			return err
		}
		if c.Position() == had+1 {
			if err := w.trades.Record(ctx, c, &pipeline.Record{}); err != nil {
				return err
			}
			w.die(p, p.name+" TradeStore.Record between")
		}
	}
	return w.trades.Record(ctx, c, r)
}
