package memory

import (
	"context"
	"fmt"
	"sync"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Publisher is a pipeline.Publisher. A Subscription keeps one Notice per
// instrument, so it never fills up and nobody waits for it.
type Publisher struct {
	mu   sync.Mutex
	subs []*Subscription
}

// NewPublisher returns a publisher without subscriptions.
func NewPublisher() *Publisher { return &Publisher{} }

// Subscribe adds a consumer, which gets notices of what is published from now
// on.
func (p *Publisher) Subscribe() *Subscription {
	s := &Subscription{pending: map[exchange.InstrumentID]pipeline.Position{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs = append(p.subs[:len(p.subs):len(p.subs)], s) // Publish may be reading the old slice
	return s
}

// Publish implements pipeline.Publisher. Nothing to publish is no error.
func (p *Publisher) Publish(_ context.Context, items []pipeline.Committed) error {
	for i := range items {
		if err := items[i].Check(); err != nil {
			return fmt.Errorf("publishing item %d of %d: %w", i+1, len(items), err)
		}
		if i == 0 {
			continue
		}
		if a, b := items[i-1], items[i]; a.Instrument() != b.Instrument() || a.Position() >= b.Position() {
			return fmt.Errorf("publishing: %w: item %d of instrument %d after item %d of instrument %d",
				pipeline.ErrInvalid, b.Position(), b.Instrument(), a.Position(), a.Instrument())
		}
	}
	if len(items) == 0 {
		return nil
	}
	last := items[len(items)-1]
	p.mu.Lock()
	subs := p.subs
	p.mu.Unlock()
	for _, s := range subs {
		s.Notify(pipeline.Notice{Instrument: last.Instrument(), Position: last.Position()})
	}
	return nil
}

// Subscription is where one consumer gets its notices: of an instrument always
// the latest, the instruments in the order in which they became due.
type Subscription struct {
	mu      sync.Mutex
	bell    bell
	order   deque[exchange.InstrumentID]
	pending map[exchange.InstrumentID]pipeline.Position
}

// Notify adds a notice, as Publish does. A consumer that could not handle one
// puts it back with it; the sweeper wakes one that is behind.
func (s *Subscription) Notify(n pipeline.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.pending[n.Instrument]
	if !ok {
		s.order.push(n.Instrument)
		s.bell.ring()
	}
	s.pending[n.Instrument] = max(old, n.Position)
}

// TryNext takes a notice; ok is false when there is none.
func (s *Subscription) TryNext() (n pipeline.Notice, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take()
}

func (s *Subscription) take() (n pipeline.Notice, ok bool) {
	if s.order.len() == 0 {
		return n, false
	}
	n.Instrument = s.order.pop()
	n.Position = s.pending[n.Instrument]
	delete(s.pending, n.Instrument)
	return n, true
}

// Next waits for a notice, or until ctx ends (its error).
func (s *Subscription) Next(ctx context.Context) (pipeline.Notice, error) {
	err := ctx.Err()
	for err == nil {
		s.mu.Lock()
		n, ok := s.take()
		if ok {
			s.mu.Unlock()
			return n, nil
		}
		rung := s.bell.hear()
		s.mu.Unlock()
		err = await(ctx, rung, 0)
	}
	return pipeline.Notice{}, fmt.Errorf("waiting for a notice: %w", err)
}
