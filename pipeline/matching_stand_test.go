package pipeline_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

// Helpers of the tests of the matching engine, the sweeper and Resident.

var errInjected = errors.New("injected")

// hooks let a test fail any call of a port: before it has its effect, or after
// (a lost answer).
type hooks struct {
	mu  sync.Mutex
	hit func(op string, after bool) error // nil: nothing fails
}

func (h *hooks) set(hit func(op string, after bool) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hit = hit
}

func (h *hooks) at(op string, after bool) error {
	h.mu.Lock()
	hit := h.hit
	h.mu.Unlock()
	if hit == nil {
		return nil
	}
	return hit(op, after)
}

// once fails the n-th call of op, counted from 1.
func once(op string, n int, after bool) func(string, bool) error {
	seen := 0
	return func(o string, a bool) error {
		if o != op || a != after {
			return nil
		}
		if seen++; seen == n {
			return errInjected
		}
		return nil
	}
}

// always fails every call of op.
func always(op string) func(string, bool) error {
	return func(o string, after bool) error {
		if o == op && !after {
			return errInjected
		}
		return nil
	}
}

func hooked(h *hooks, op string, call func() error) error {
	if err := h.at(op, false); err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	return h.at(op, true)
}

type hookedJournal struct {
	pipeline.Journal
	h *hooks
}

func (j *hookedJournal) Append(ctx context.Context, inst exchange.InstrumentID, item pipeline.Item) error {
	return hooked(j.h, "Append", func() error { return j.Journal.Append(ctx, inst, item) })
}

func (j *hookedJournal) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) (items []pipeline.Item, err error) {
	err = hooked(j.h, "Read", func() error {
		items, err = j.Journal.Read(ctx, inst, from, limit)
		return err
	})
	return items, err
}

func (j *hookedJournal) Head(ctx context.Context, inst exchange.InstrumentID) (head pipeline.Head, err error) {
	err = hooked(j.h, "Head", func() error {
		head, err = j.Journal.Head(ctx, inst)
		return err
	})
	return head, err
}

func (j *hookedJournal) SaveSnapshot(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
	return hooked(j.h, "SaveSnapshot", func() error { return j.Journal.SaveSnapshot(ctx, inst, snap) })
}

func (j *hookedJournal) LoadSnapshot(ctx context.Context, inst exchange.InstrumentID) (snap pipeline.Snapshot, err error) {
	err = hooked(j.h, "LoadSnapshot", func() error {
		snap, err = j.Journal.LoadSnapshot(ctx, inst)
		return err
	})
	return snap, err
}

func (j *hookedJournal) MarkPublished(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	return hooked(j.h, "MarkPublished", func() error { return j.Journal.MarkPublished(ctx, inst, pos) })
}

func (j *hookedJournal) Published(ctx context.Context, inst exchange.InstrumentID) (pos pipeline.Position, err error) {
	err = hooked(j.h, "Published", func() error {
		pos, err = j.Journal.Published(ctx, inst)
		return err
	})
	return pos, err
}

func (j *hookedJournal) Trim(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	return hooked(j.h, "Trim", func() error { return j.Journal.Trim(ctx, inst, pos) })
}

type hookedBooks struct {
	pipeline.BookStore
	h *hooks
}

func (b *hookedBooks) SaveBook(ctx context.Context, c pipeline.Committed, data []byte) error {
	return hooked(b.h, "SaveBook", func() error { return b.BookStore.SaveBook(ctx, c, data) })
}

func (b *hookedBooks) SaveDepth(ctx context.Context, c pipeline.Committed, d *pipeline.Depth) error {
	return hooked(b.h, "SaveDepth", func() error { return b.BookStore.SaveDepth(ctx, c, d) })
}

func (b *hookedBooks) LoadBook(ctx context.Context, inst exchange.InstrumentID) (snap pipeline.Snapshot, err error) {
	err = hooked(b.h, "LoadBook", func() error {
		snap, err = b.BookStore.LoadBook(ctx, inst)
		return err
	})
	return snap, err
}

// published is a Publisher that remembers what it published, and checks that
// the journal has it.
type published struct {
	t       require.TestingT
	h       *hooks
	journal pipeline.Journal
	mu      sync.Mutex
	got     map[exchange.InstrumentID][]pipeline.Position
}

func (p *published) Publish(ctx context.Context, items []pipeline.Committed) error {
	return hooked(p.h, "Publish", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range items {
			have, err := p.journal.Read(ctx, c.Instrument(), c.Position(), 1)
			require.NoError(p.t, err)
			require.Len(p.t, have, 1)
			require.Equal(p.t, have[0].Hash, c.Head().Hash, "published, but not what the journal has")
			p.got[c.Instrument()] = append(p.got[c.Instrument()], c.Position())
		}
		return nil
	})
}

// all returns every position that was published, each once.
func (p *published) all(inst exchange.InstrumentID) []pipeline.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := slices.Clone(p.got[inst])
	slices.Sort(got)
	return slices.Compact(got)
}

// stand is what a matching engine works with, in memory, and fails on demand.
type stand struct {
	t         require.TestingT
	in        *exchange.Instrument
	hooks     *hooks
	journal   *memory.Journal
	books     *memory.BookStore
	published *published
	metrics   *memory.Metrics
	now       exchange.Time
	cfg       pipeline.MatchingEngineConfig
}

const standTime = exchange.Time(1_800_000_000_000_000_000) // some day of 2027

func standInstrument(t require.TestingT, id exchange.InstrumentID) *exchange.Instrument {
	in, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: id, Symbol: fmt.Sprintf("T%d-USD", id),
		Base:  exchange.Asset{ID: exchange.AssetID(10 + id), Code: fmt.Sprintf("T%d", id), Scale: 3},
		Quote: exchange.Asset{ID: 1, Code: "USD", Scale: 4},
		Tick:  decimal.New(1, -2), Lot: decimal.New(1, -1), MaxPrice: decimal.New(100_000, 0), MaxQty: decimal.New(100_000, 0),
		MakerFee: decimal.New(1, -3), TakerFee: decimal.New(2, -3),
	})
	require.NoError(t, err)
	return in
}

func newStand(t require.TestingT) *stand {
	s := &stand{t: t, in: standInstrument(t, 1), hooks: &hooks{}, journal: memory.NewJournal(), books: memory.NewBookStore(),
		metrics: memory.NewMetrics(), now: standTime}
	s.published = &published{t: t, h: s.hooks, journal: s.journal, got: map[exchange.InstrumentID][]pipeline.Position{}}
	s.cfg = pipeline.MatchingEngineConfig{
		Instruments: []*exchange.Instrument{s.in}, Books: &hookedBooks{s.books, s.hooks}, Publisher: s.published, Metrics: s.metrics,
		Now: func() exchange.Time { return s.now }, DayEnd: exchange.Time(12 * time.Hour),
	}
	return s
}

// engine returns a fresh matching engine, as after a start of its process.
func (s *stand) engine() *pipeline.MatchingEngine {
	cfg := s.cfg
	cfg.Log = pipeline.NewLog(&hookedJournal{s.journal, s.hooks})
	m, err := pipeline.NewMatchingEngine(cfg)
	require.NoError(s.t, err)
	return m
}

// items returns the whole journal, decoded.
func (s *stand) items() []pipeline.Committed {
	items, err := pipeline.NewLog(s.journal).Read(context.Background(), s.in.ID(), 1, pipeline.MaxReadItems)
	require.NoError(s.t, err)
	return items
}

// entries returns the commands of the whole journal with their events.
func (s *stand) entries() (all []pipeline.Entry) {
	for _, c := range s.items() {
		all = append(all, c.Batch().Entries...)
	}
	return all
}

// plain returns an engine without anything around it.
func (s *stand) plain() *exchange.Engine {
	e, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsHeld, Instruments: []*exchange.Instrument{s.in},
		DedupSpan: s.cfg.DedupSpan, DedupCount: s.cfg.DedupCount, MaxOrders: cmp.Or(s.cfg.MaxOrders, pipeline.DefaultMaxOrders), Check: s.cfg.Check})
	require.NoError(s.t, err)
	return e
}

// load returns the engine as a reader finds it, and where.
func (s *stand) load(books pipeline.BookStore) (*exchange.Engine, pipeline.Head) {
	e, head, err := pipeline.LoadEngine(context.Background(), pipeline.NewLog(s.journal), books, s.in,
		exchange.Config{DedupSpan: s.cfg.DedupSpan, DedupCount: s.cfg.DedupCount, MaxOrders: s.cfg.MaxOrders, Check: s.cfg.Check})
	require.NoError(s.t, err)
	return e, head
}

// sameAs fails unless the journal is what one engine makes of the commands,
// everything is published, and readers find that engine.
func (s *stand) sameAs(commands []exchange.Command) {
	want := s.plain()
	var events []exchange.Event
	for i := range commands {
		had := len(events)
		events = want.Apply(events, &commands[i])
		if events[had].Kind == exchange.EventDuplicate {
			events = events[:had]
		}
	}
	var got []exchange.Event
	for _, e := range s.entries() {
		got = append(got, e.Events...)
	}
	require.Equal(s.t, len(events), len(got), "events")
	for i := range events {
		require.Equal(s.t, events[i], got[i], "event %d", i)
	}
	for _, books := range []pipeline.BookStore{nil, s.books} {
		e, head := s.load(books)
		require.Equal(s.t, want.Hash(), e.Hash(), "hash of the state")
		end, err := s.journal.Head(context.Background(), s.in.ID())
		require.NoError(s.t, err)
		require.Equal(s.t, end, head)
		all := s.published.all(s.in.ID())
		require.Len(s.t, all, int(end.Position), "published")
		mark, err := s.journal.Published(context.Background(), s.in.ID())
		require.NoError(s.t, err)
		require.Equal(s.t, end.Position, mark, "published mark")
	}
}

// commandID returns an id that a hash could be.
func commandID(n int) (id exchange.CommandID) {
	binary.BigEndian.PutUint64(id[:], uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// message encodes a command as the RiskChecker sends it.
func message(t require.TestingT, c exchange.Command) pipeline.QueueMessage {
	body, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: c, ClientID: "c"})
	require.NoError(t, err)
	return pipeline.QueueMessage{Instrument: c.Instrument, DedupID: c.ID, Body: body}
}

func messages(t require.TestingT, commands []exchange.Command) (all []pipeline.QueueMessage) {
	for _, c := range commands {
		all = append(all, message(t, c))
	}
	return all
}

// limitOrder is a limit order with all it needs.
func (s *stand) limitOrder(n int, acct exchange.AccountID, side exchange.Side, px exchange.Price, qty exchange.Qty) exchange.Command {
	c := exchange.LimitOrder(s.in.ID(), acct, side, px, qty)
	c.ID, c.Time = commandID(n), s.now+exchange.Time(n)-1_000_000
	c.Held = s.need(&c)
	return c
}

func (s *stand) need(c *exchange.Command) exchange.Amount {
	need, ok := s.in.Need(&exchange.Terms{Side: c.Side, Price: c.Price, LeavesQty: c.Qty, Funds: c.Funds, MakerFee: 1000, TakerFee: 2000})
	require.True(s.t, ok)
	return need
}

// simple returns n commands that rest, trade, cancel and amend.
func (s *stand) simple(n int) (all []exchange.Command) {
	for i := 1; i <= n; i++ {
		var c exchange.Command
		switch i % 8 {
		case 6:
			c = exchange.Cancel(s.in.ID(), 1, 0)
			c.ID, c.OrigID, c.Time = commandID(i), commandID(i-3), s.now+exchange.Time(i)-1_000_000
		case 7:
			c = exchange.Amend(s.in.ID(), 2, 0, 0, 1)
			c.ID, c.OrigID, c.Time = commandID(i), commandID(i-3), s.now+exchange.Time(i)-1_000_000
		default:
			side := exchange.Side(1 + i%2)
			c = s.limitOrder(i, exchange.AccountID(1+(i+1)%2), side, exchange.Price(10_000+i%5-2), exchange.Qty(2+i%3))
		}
		all = append(all, c)
	}
	return all
}

// deliver hands messages to an engine until all are done, as a queue does, a
// new one after every error; it gives up after some tries.
func (s *stand) deliver(m *pipeline.MatchingEngine, msgs []pipeline.QueueMessage, limit int) {
	for tries := 0; len(msgs) > 0; {
		done, err := m.Handle(context.Background(), s.in.ID(), msgs[:min(limit, len(msgs))])
		if err != nil {
			require.Less(s.t, tries, 20, "still fails: %v", err)
			tries++
		} else {
			require.Equal(s.t, min(limit, len(msgs)), done)
		}
		msgs = msgs[done:]
	}
}
