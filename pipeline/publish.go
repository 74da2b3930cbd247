package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/castlecloud/exchange"
)

// publishPage is how many journal items are published at a time.
const publishPage = 32

// PublishPending publishes what an instrument's journal has beyond its
// published mark, and moves the mark. It may be called by anybody, at any time,
// concurrently and again: consumers ignore what they have.
func PublishPending(ctx context.Context, log *Log, publisher Publisher, inst exchange.InstrumentID) error {
	mark, err := log.Journal().Published(ctx, inst)
	if err != nil {
		return fmt.Errorf("publishing instrument %d: reading the mark: %w", inst, err)
	}
	head, err := log.Journal().Head(ctx, inst)
	if err != nil {
		return fmt.Errorf("publishing instrument %d: reading the head: %w", inst, err)
	}
	at, err := publishPages(ctx, log, publisher, inst, mark, head.Position)
	if at > mark {
		if markErr := log.Journal().MarkPublished(ctx, inst, at); markErr != nil {
			err = errors.Join(err, fmt.Errorf("marking %d as published: %w", at, markErr))
		}
	}
	if err != nil {
		return fmt.Errorf("publishing instrument %d: %w", inst, err)
	}
	return nil
}

// publishPages publishes the items beyond mark up to head, and returns how far
// it came.
func publishPages(ctx context.Context, log *Log, publisher Publisher, inst exchange.InstrumentID, mark, head Position) (Position, error) {
	for mark < head {
		items, err := log.Read(ctx, inst, mark+1, int(min(publishPage, head-mark)))
		if errors.Is(err, ErrTrimmed) {
			// The mark went back in a crash. What was removed every consumer
			// has read; of the rest it is enough that they hear of the last.
			if items, err = log.Read(ctx, inst, head, 1); errors.Is(err, ErrTrimmed) {
				return head, nil
			}
		}
		if err != nil {
			return mark, err
		}
		if len(items) == 0 {
			return mark, fmt.Errorf("%w: the journal ends at %d and gives no item %d", ErrGap, head, mark+1)
		}
		if err := publisher.Publish(ctx, items); err != nil {
			return mark, fmt.Errorf("publishing items %d to %d: %w", items[0].Position(), items[len(items)-1].Position(), err)
		}
		mark = items[len(items)-1].Position()
	}
	return mark, nil
}
