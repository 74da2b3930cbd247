package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// PushBuffer is how many messages a PushSubscription holds for a reader that
// is behind; one more and it is dropped.
const PushBuffer = 4096

// MaxNotified is of how many accounts a Pusher knows what it sent them by
// Notify; with one more it forgets all, and may send something again.
const MaxNotified = 1 << 20

// What ends a PushSubscription.
var (
	// ErrSlow: the reader was more than PushBuffer messages behind.
	ErrSlow = errors.New("dropped: too slow")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("closed")
)

// Pusher is a pipeline.Pusher that hands messages to subscriptions in this
// process.
type Pusher struct {
	mu       sync.Mutex
	pushed   map[exchange.InstrumentID]pipeline.Position
	notified map[exchange.AccountID]uint64 // the last Seq
	subs     map[pushKey][]*PushSubscription
}

type pushKey struct {
	channel    pipeline.Channel
	instrument exchange.InstrumentID
	account    exchange.AccountID
}

// NewPusher returns a pusher that has pushed nothing.
func NewPusher() *Pusher {
	return &Pusher{pushed: map[exchange.InstrumentID]pipeline.Position{}, notified: map[exchange.AccountID]uint64{}, subs: map[pushKey][]*PushSubscription{}}
}

// Subscribe asks for the messages of a channel from now on: of one instrument
// or (0) of all, public ones (account 0) or an account's. The channel ""
// stands for everything; then the others are ignored.
func (p *Pusher) Subscribe(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) *PushSubscription {
	key := pushKey{channel, inst, acct}
	if channel == "" {
		key = pushKey{}
	}
	s := &PushSubscription{pusher: p, key: key}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs[key] = append(p.subs[key], s)
	return s
}

// Push implements pipeline.Pusher.
func (p *Pusher) Push(_ context.Context, inst exchange.InstrumentID, pos pipeline.Position, messages []pipeline.Push) error {
	if err := checkInstrument(inst); err != nil {
		return fmt.Errorf("pushing: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pos <= p.pushed[inst] {
		return nil
	}
	for i := range messages {
		p.give(&messages[i])
	}
	p.pushed[inst] = pos
	return nil
}

// Notify implements pipeline.Pusher.
func (p *Pusher) Notify(_ context.Context, messages []pipeline.Push) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range messages {
		m := &messages[i]
		last, known := p.notified[m.Account]
		if known && m.Seq <= last {
			continue
		}
		if !known && len(p.notified) >= MaxNotified {
			clear(p.notified)
		}
		p.notified[m.Account] = m.Seq
		p.give(m)
	}
	return nil
}

// Listening implements pipeline.Listener.
func (p *Pusher) Listening(channel pipeline.Channel, inst exchange.InstrumentID, acct exchange.AccountID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.subs[pushKey{}]) > 0 || len(p.subs[pushKey{channel, inst, acct}]) > 0 || len(p.subs[pushKey{channel, 0, acct}]) > 0
}

func (p *Pusher) give(m *pipeline.Push) {
	p.giveTo(pushKey{m.Channel, m.Instrument, m.Account}, m)
	if m.Instrument != 0 {
		p.giveTo(pushKey{m.Channel, 0, m.Account}, m)
	}
	p.giveTo(pushKey{}, m)
}

func (p *Pusher) giveTo(key pushKey, m *pipeline.Push) {
	for _, s := range p.subs[key] {
		s.put(m)
	}
}

// Pushed implements pipeline.Pusher.
func (p *Pusher) Pushed(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pushed[inst], nil
}

// PushSubscription is where one client gets its messages, in order.
type PushSubscription struct {
	pusher  *Pusher
	key     pushKey
	mu      sync.Mutex
	bell    bell
	waiting deque[pipeline.Push]
	ended   error
}

func (s *PushSubscription) put(m *pipeline.Push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
	case s.waiting.len() >= PushBuffer:
		s.ended, s.waiting = ErrSlow, deque[pipeline.Push]{}
	default:
		s.waiting.push(*m)
	}
	s.bell.ring()
}

// TryNext takes a message; ok is false when there is none. Then err says
// whether any can come: ErrSlow, ErrClosed, or nil.
func (s *PushSubscription) TryNext() (m pipeline.Push, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting.len() > 0 {
		return s.waiting.pop(), true, nil
	}
	return m, false, s.ended
}

// Next waits for a message, until ctx ends (its error), or until the
// subscription does (ErrSlow, ErrClosed).
func (s *PushSubscription) Next(ctx context.Context) (pipeline.Push, error) {
	err := ctx.Err()
	for err == nil {
		s.mu.Lock()
		if s.waiting.len() > 0 {
			m := s.waiting.pop()
			s.mu.Unlock()
			return m, nil
		}
		if err = s.ended; err != nil {
			s.mu.Unlock()
			break
		}
		rung := s.bell.hear()
		s.mu.Unlock()
		err = await(ctx, rung, 0)
	}
	return pipeline.Push{}, fmt.Errorf("waiting for a push: %w", err)
}

// Close ends the subscription. It may be repeated. What was not read is lost.
func (s *PushSubscription) Close() {
	p := s.pusher
	p.mu.Lock()
	if left := slices.DeleteFunc(p.subs[s.key], func(o *PushSubscription) bool { return o == s }); len(left) > 0 {
		p.subs[s.key] = left
	} else {
		delete(p.subs, s.key)
	}
	p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = deque[pipeline.Push]{}
	if s.ended == nil {
		s.ended = ErrClosed
	}
	s.bell.ring()
}
