package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/castlecloud/exchange"
)

// Defaults and bounds of a SweeperConfig.
const (
	DefaultTimeEvery   = exchange.Time(time.Second)
	DefaultOrphanAfter = exchange.Time(5 * time.Minute)
	DefaultTrimEvery   = 1024

	// MaxTimeWait is the longest between two messages that bring the time to an
	// instrument which does not take them.
	MaxTimeWait = exchange.Time(time.Minute)
	// MaxVoidPages is how many pages of MaxQueryRows holds one pass looks at;
	// the next pass goes on where it ended.
	MaxVoidPages = 16
)

// voidLooks is how often the holds are gone through in OrphanAfter.
const voidLooks = 4

// Consumer is a service that follows the journal, as the Sweeper sees it.
type Consumer struct {
	Name string // for errors
	// Recorded returns how far it is with an instrument: TradeStore.Recorded,
	// Balances.Settled, Pusher.Pushed.
	Recorded func(ctx context.Context, inst exchange.InstrumentID) (Position, error)
	// Handle lets it go on. It may only wake it and not wait.
	Handle func(ctx context.Context, n Notice) error
}

// SweeperConfig says what a Sweeper works with. All but Consumers, Archived,
// Metrics and Logger is mandatory; a number that is zero stands for its
// default.
type SweeperConfig struct {
	Instruments []*exchange.Instrument // all of the venue: a spanning command goes to each of them
	Log         *Log
	Publisher   Publisher
	Queue       CommandQueue
	Balances    Balances
	Consumers   []Consumer
	// Archived returns how far an instrument's journal is archived
	// (TradeRecorder.Archived). nil: no journal is trimmed.
	Archived func(ctx context.Context, inst exchange.InstrumentID) (Position, error)
	Now      func() exchange.Time // may be called concurrently

	// TimeEvery is how old the last event of an instrument is when it gets the
	// time.
	TimeEvery exchange.Time
	// OrphanAfter is how old a hold is that no engine has heard of when it is
	// voided, or up to a quarter more: longer than the bus and the queue may
	// take for a command. One that comes after its void is refused as a
	// duplicate.
	OrphanAfter exchange.Time
	// TrimEvery is how many journal items go by between two looks at whether
	// the journal can be trimmed.
	TrimEvery int

	Metrics Metrics
	Logger  *slog.Logger
}

// Sweeper does what nobody else does when the venue is quiet or a part of it
// died half way: see Handle. What it keeps in memory only saves work.
type Sweeper struct {
	cfg   SweeperConfig
	turn  chan struct{} // has something in it while a pass runs
	state map[exchange.InstrumentID]*swept
	// The next look at holds: not before voidsDue, from after on (nil: from the
	// oldest).
	voidsDue exchange.Time
	after    *HoldRecord
}

// swept is what a Sweeper remembers of an instrument.
type swept struct {
	timeHead   Position      // the head when it last got the time
	timeSent   exchange.Time // when that was
	timeWait   exchange.Time // until it gets it again, should the head not move
	trimLookAt Position      // the next look is due when everybody is here
}

// NewSweeper checks the settings.
func NewSweeper(cfg SweeperConfig) (*Sweeper, error) {
	cfg.Metrics, cfg.Logger = metricsOrNone(cfg.Metrics), loggerOrNone(cfg.Logger)
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("sweeper: %w", err)
	}
	s := &Sweeper{cfg: cfg, turn: make(chan struct{}, 1), state: map[exchange.InstrumentID]*swept{}}
	for _, in := range cfg.Instruments {
		s.state[in.ID()] = &swept{}
	}
	return s, nil
}

func (cfg *SweeperConfig) complete() error {
	for _, given := range [...]struct {
		field string
		ok    bool
	}{{"Instruments", len(cfg.Instruments) > 0}, {"Log", cfg.Log != nil}, {"Publisher", cfg.Publisher != nil},
		{"Queue", cfg.Queue != nil}, {"Balances", cfg.Balances != nil}, {"Now", cfg.Now != nil}} {
		if !given.ok {
			return fmt.Errorf("%w: %s is missing", ErrInvalid, given.field)
		}
	}
	for i, in := range cfg.Instruments {
		if in == nil {
			return fmt.Errorf("%w: Instruments[%d] is nil", ErrInvalid, i)
		}
	}
	for i := range cfg.Consumers {
		if c := &cfg.Consumers[i]; c.Recorded == nil || c.Handle == nil {
			return fmt.Errorf("%w: Consumers[%d] (%s): Recorded or Handle is missing", ErrInvalid, i, c.Name)
		}
	}
	if cfg.TimeEvery < 0 || cfg.OrphanAfter < 0 || cfg.TrimEvery < 0 {
		return fmt.Errorf("%w: TimeEvery %d, OrphanAfter %d, TrimEvery %d: expected 0 or more", ErrInvalid, cfg.TimeEvery, cfg.OrphanAfter, cfg.TrimEvery)
	}
	if cfg.TimeEvery == 0 {
		cfg.TimeEvery = DefaultTimeEvery
	}
	if cfg.OrphanAfter == 0 {
		cfg.OrphanAfter = DefaultOrphanAfter
	}
	if cfg.TrimEvery == 0 {
		cfg.TrimEvery = DefaultTrimEvery
	}
	return nil
}

// Handle makes one pass:
//
//   - It publishes what is committed and not published.
//   - It wakes consumers that are behind.
//   - It brings the time to instruments on which nothing happens, so that
//     orders expire and days end there too.
//   - It voids holds whose command never arrived at an engine.
//   - It sends commands that span instruments and were recorded, but perhaps
//     not sent to all of them.
//   - It removes journal items that are below a durable snapshot, archived,
//     published, and read by every consumer.
//
// What fails keeps nothing else from being done; the errors are joined. It may
// be called concurrently, by any number of Sweepers; passes of one take turns.
// Everything may be repeated.
func (s *Sweeper) Handle(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("sweeping: waiting for the pass before: %w", ctx.Err())
	}
	var failed []error
	note := func(what string, err error) {
		if err != nil {
			s.cfg.Metrics.Count(MetricSweepFailed, 0, 1)
			failed = append(failed, fmt.Errorf("%s: %w", what, err))
		}
	}
	now := s.cfg.Now()
	for _, in := range s.cfg.Instruments {
		if ctx.Err() != nil {
			break
		}
		id, of := in.ID(), fmt.Sprintf(" of instrument %d", in.ID())
		note("publishing what is pending", PublishPending(ctx, s.cfg.Log, s.cfg.Publisher, id))
		head, err := s.cfg.Log.Journal().Head(ctx, id)
		if err != nil {
			note("reading the head"+of, err)
			continue
		}
		behind, err := s.wake(ctx, id, head.Position)
		note("waking consumers"+of, err)
		note("bringing the time"+of, s.bringTime(ctx, id, head.Position, now))
		note("trimming the journal"+of, s.trim(ctx, id, behind))
	}
	note("voiding holds", s.voidOrphans(ctx, now))
	note("sending spanning commands", s.resend(ctx))
	note("the pass ended early", ctx.Err())
	if len(failed) > 0 {
		return fmt.Errorf("sweeping: %w", errors.Join(failed...))
	}
	return nil
}

// wake wakes the consumers that are behind the head, and returns the position
// that all of them have reached, 0 when that is not known.
func (s *Sweeper) wake(ctx context.Context, inst exchange.InstrumentID, head Position) (Position, error) {
	var failed []error
	reached := head
	for i := range s.cfg.Consumers {
		c := &s.cfg.Consumers[i]
		at, err := c.Recorded(ctx, inst)
		if err != nil {
			reached = 0
			failed = append(failed, fmt.Errorf("asking the %s how far it is: %w", c.Name, err))
			continue
		}
		if reached = min(reached, at); at >= head {
			continue
		}
		s.cfg.Metrics.Count(MetricWoken, inst, 1)
		if err := c.Handle(ctx, Notice{Instrument: inst, Position: head}); err != nil {
			failed = append(failed, fmt.Errorf("the %s: %w", c.Name, err))
		}
	}
	return reached, errors.Join(failed...)
}

// bringTime sends the time to an instrument that has not heard of it for a
// while. One without a journal has nothing that could expire.
func (s *Sweeper) bringTime(ctx context.Context, inst exchange.InstrumentID, head Position, now exchange.Time) error {
	st := s.state[inst]
	if head == 0 {
		return nil
	}
	if head != st.timeHead {
		items, err := s.cfg.Log.Read(ctx, inst, head, 1)
		switch {
		case errors.Is(err, ErrTrimmed):
		case err != nil:
			return err
		case len(items) > 0 && now-items[0].Batch().LastTime() < s.cfg.TimeEvery:
			return nil
		}
		st.timeWait = s.cfg.TimeEvery
	} else if now-st.timeSent < st.timeWait {
		return nil // it is on its way, or the instrument stands still
	}
	c := exchange.AdvanceTime(inst, now)
	c.ID = CommandIDOf(0, inst, exchange.KindAdvanceTime, strconv.FormatInt(int64(now), 10))
	if err := s.send(ctx, c, c.ID); err != nil {
		return err
	}
	st.timeHead, st.timeSent, st.timeWait = head, now, min(2*st.timeWait, max(MaxTimeWait, s.cfg.TimeEvery))
	return nil
}

// send sends commands without a client's id to their instrument.
func (s *Sweeper) send(ctx context.Context, c exchange.Command, dedup exchange.CommandID) error {
	m, err := queued(c, dedup)
	if err != nil {
		return err
	}
	return s.cfg.Queue.Send(ctx, []QueueMessage{m})
}

// queued makes a command that no client sent a message.
func queued(c exchange.Command, dedup exchange.CommandID) (QueueMessage, error) {
	body, err := AppendMessage(nil, &Message{Command: c})
	return QueueMessage{Instrument: c.Instrument, DedupID: dedup, Body: body}, err
}

// voidOrphans sends a void for every hold that no engine has heard of in time.
// A queue may drop one that it has seen lately; an engine that knows the
// command by now takes it for a duplicate.
func (s *Sweeper) voidOrphans(ctx context.Context, now exchange.Time) error {
	if now < s.voidsDue {
		return nil
	}
	var failed []error
	full := map[exchange.InstrumentID]bool{} // queues that took no more
	for range MaxVoidPages {
		holds, err := s.cfg.Balances.Placed(ctx, now-s.cfg.OrphanAfter, s.after, MaxQueryRows)
		if err != nil {
			return errors.Join(append(failed, fmt.Errorf("looking for holds: %w", err))...)
		}
		voids := map[exchange.InstrumentID][]QueueMessage{}
		for i := range holds {
			h := &holds[i]
			if s.state[h.Instrument] == nil || full[h.Instrument] {
				continue
			}
			c := exchange.Void(h.Instrument, h.Account, h.ID)
			c.Time, c.Asset, c.Held = now, h.Asset, h.Remaining
			m, err := queued(c, CommandIDOf(0, h.Instrument, exchange.KindVoid, string(h.ID[:])))
			if err != nil {
				return errors.Join(append(failed, err)...)
			}
			voids[h.Instrument] = append(voids[h.Instrument], m)
		}
		for _, in := range s.cfg.Instruments { // each on its own: one queue may be full
			messages := voids[in.ID()]
			if err := sendAll(ctx, s.cfg.Queue, messages); err != nil {
				full[in.ID()] = true
				failed = append(failed, fmt.Errorf("instrument %d: %w", in.ID(), err))
			} else if len(messages) > 0 {
				s.cfg.Metrics.Count(MetricVoids, in.ID(), int64(len(messages)))
				s.cfg.Logger.WarnContext(ctx, "holds without an order are voided", "instrument", in.ID(), "holds", len(messages))
			}
		}
		if len(holds) < MaxQueryRows {
			s.after, s.voidsDue = nil, now+s.cfg.OrphanAfter/voidLooks
			break
		}
		s.after = &holds[len(holds)-1]
	}
	return errors.Join(failed...)
}

// resend sends what spans instruments and was recorded, and crosses it off.
func (s *Sweeper) resend(ctx context.Context) error {
	commands, err := s.cfg.Balances.Spanning(ctx, MaxQueryRows)
	if err != nil {
		return err
	}
	var failed []error
	for i := range commands {
		c := &commands[i]
		err := sendAll(ctx, s.cfg.Queue, SpanCommands(*c, s.cfg.Instruments))
		if err == nil {
			s.cfg.Metrics.Count(MetricResent, 0, 1)
			err = s.cfg.Balances.Forget(ctx, c.ID)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %x: %w", c.Kind, c.ID, err))
		}
	}
	return errors.Join(failed...)
}

// trim removes what nobody needs any more. reached is what every consumer has
// reached.
func (s *Sweeper) trim(ctx context.Context, inst exchange.InstrumentID, reached Position) error {
	st := s.state[inst]
	if s.cfg.Archived == nil || reached == 0 || reached < st.trimLookAt {
		return nil
	}
	archived, err := s.cfg.Archived(ctx, inst)
	if err != nil {
		return fmt.Errorf("asking how far it is archived: %w", err)
	}
	published, err := s.cfg.Log.Journal().Published(ctx, inst)
	if err != nil {
		return fmt.Errorf("reading the published mark: %w", err)
	}
	// The snapshot is large: look at it no more often than it is worth.
	snap, err := s.cfg.Log.Journal().LoadSnapshot(ctx, inst)
	if errors.Is(err, ErrNotFound) {
		st.trimLookAt = reached + Position(s.cfg.TrimEvery)
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the durable snapshot: %w", err)
	}
	if pos := min(reached, archived, published, snap.Position); pos > 0 {
		if err := s.cfg.Log.Journal().Trim(ctx, inst, pos); err != nil {
			return err
		}
		s.cfg.Metrics.Gauge(MetricTrimmed, inst, float64(pos))
	}
	st.trimLookAt = reached + Position(s.cfg.TrimEvery)
	return nil
}
