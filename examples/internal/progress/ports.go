package progress

import (
	"context"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// The ports as the venue uses them, each noting on the board what went
// through.

// Publisher returns next with the board told first: whoever waits for an
// outcome need not wait for the consumers.
func (b *Board) Publisher(next pipeline.Publisher) pipeline.Publisher { return &publisher{b, next} }

type publisher struct {
	board *Board
	next  pipeline.Publisher
}

func (p *publisher) Publish(ctx context.Context, items []pipeline.Committed) error {
	for _, c := range items {
		if err := c.Check(); err != nil {
			return err
		}
	}
	for _, c := range items {
		p.board.mark(c, StageCommitted)
		p.board.commit(c.Instrument(), Point{c.Position(), c.Batch().LastSeq()})
	}
	for _, c := range items {
		p.board.note(c.Batch(), c.Position())
	}
	return p.next.Publish(ctx, items)
}

// TradeStore returns next with the board told what was recorded.
func (b *Board) TradeStore(next pipeline.TradeStore) pipeline.TradeStore {
	return &tradeStore{next, b}
}

type tradeStore struct {
	pipeline.TradeStore
	board *Board
}

func (s *tradeStore) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if err := s.TradeStore.Record(ctx, c, r); err != nil {
		return err
	}
	s.board.mark(c, StageRecorded)
	s.board.recorded.advance(c.Instrument(), Point{c.Position(), c.Batch().LastSeq()})
	return nil
}

// Balances returns next with the board told what was settled.
func (b *Board) Balances(next pipeline.Balances) pipeline.Balances { return &balances{next, b} }

type balances struct {
	pipeline.Balances
	board *Board
}

func (s *balances) Settle(ctx context.Context, c pipeline.Committed, set *pipeline.Settlement) error {
	if err := s.Balances.Settle(ctx, c, set); err != nil {
		return err
	}
	s.board.mark(c, StageSettled)
	s.board.settled.advance(c.Instrument(), Point{c.Position(), c.Batch().LastSeq()})
	return nil
}

// CommandQueue returns next with the trace told what was sent.
func (b *Board) CommandQueue(next pipeline.CommandQueue) pipeline.CommandQueue {
	return &commandQueue{next, b}
}

type commandQueue struct {
	pipeline.CommandQueue
	board *Board
}

func (q *commandQueue) Send(ctx context.Context, messages []pipeline.QueueMessage) error {
	if q.board.trace != nil {
		for i := range messages {
			if m, err := pipeline.DecodeMessage(messages[i].Body); err == nil {
				q.board.trace.Mark(m.Command.ID, StageQueued)
			}
		}
	}
	return q.CommandQueue.Send(ctx, messages)
}

// Pushed tells the trace that an item was pushed.
func (b *Board) Pushed(ctx context.Context, log *pipeline.Log, inst exchange.InstrumentID, pos pipeline.Position) {
	if b.trace == nil {
		return
	}
	if items, err := log.Read(ctx, inst, pos, 1); err == nil && len(items) > 0 {
		b.mark(items[0], StagePushed)
	}
}

func (b *Board) mark(c pipeline.Committed, stage Stage) {
	if b.trace == nil {
		return
	}
	entries := c.Batch().Entries
	for i := range entries {
		b.trace.Mark(entries[i].Command.ID, stage)
	}
}
