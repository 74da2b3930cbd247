package pipeline

import (
	"context"
	"strconv"
	"time"

	"github.com/castlecloud/exchange"
)

// market is one instrument of a MatchingEngine. Whoever has put something into
// turn has it to himself.
type market struct {
	cfg    *MatchingEngineConfig
	in     *exchange.Instrument
	id     exchange.InstrumentID
	config exchange.Config
	turn   chan struct{}

	engine *exchange.Engine // nil: to be loaded
	public *publicBook
	head   Head      // of the engine; without one, of what is known to be committed
	last   Committed // the item at head, zero when it is not at hand
	// published is how far everything is known to be published.
	published          Position
	bookAt, snapshotAt Position // where the latest snapshots were taken

	// The batch at hand. Its memory is used again.
	message Message // the one at hand
	entries []Entry
	ends    []int // where each entry's events end
	events  []exchange.Event
	encoded []byte // the entries
	trades  int64
	first   exchange.Time // of its first command
	voids   []int         // messages of the run that are to be voided

	orders []exchange.Order
	depth  Depth
	snap   []byte
}

// What scratch memory may keep from one batch to the next; a command with more
// events than usual gives it back.
const (
	keepEvents  = 1 << 15
	keepEncoded = 2 * MaxBatchBytes
)

const day = exchange.Time(24 * time.Hour)

// applyBatch applies messages from the given one on until the batch is full,
// and returns how many. After an error it is the number of the message that
// failed, counted from the given one.
func (s *market) applyBatch(msgs []QueueMessage, from int) (int, error) {
	s.reset()
	now := s.cfg.Now()
	for i := from; i < len(msgs); i++ {
		if s.full() {
			return i - from, nil
		}
		s.message = s.admit(&msgs[i], now)
		m := &s.message
		if end, due := s.endOfDay(m.Command.Time); due {
			if err := s.apply(&Message{Command: end}); err != nil {
				return i - from, err
			}
			if s.full() {
				return i - from, nil
			}
		}
		if s.voided(i) {
			void(&m.Command, s.id, exchange.Voided)
		}
		if s.first == 0 {
			s.first = m.Command.Time
			s.cfg.Metrics.Observe(MetricQueueAge, s.id, time.Duration(now-s.first))
		}
		if err := s.apply(m); err != nil {
			return i - from, err
		}
	}
	return len(msgs) - from, nil
}

// reset begins a batch.
func (s *market) reset() {
	clear(s.entries) // the ids of clients are the batch's alone
	s.entries, s.ends, s.events, s.encoded = s.entries[:0], s.ends[:0], s.events[:0], s.encoded[:0]
	if cap(s.events) > keepEvents {
		s.events = nil
	}
	if cap(s.encoded) > keepEncoded {
		s.encoded = nil
	}
	s.trades, s.first = 0, 0
}

func (s *market) full() bool {
	return len(s.entries) >= s.cfg.BatchCommands || len(s.encoded) >= s.cfg.BatchBytes
}

// admit makes a message the command that is applied: itself, or, when it is
// none that the engine would remember, a void with the reason. So a message
// that comes again is a duplicate, whatever was wrong with it.
func (s *market) admit(q *QueueMessage, now exchange.Time) Message {
	m, err := DecodeMessage(q.Body)
	c := &m.Command
	reason := exchange.Reason(0)
	switch {
	case err != nil:
		reason = exchange.InvalidKind
	case q.Instrument != s.id || c.Instrument != s.id && c.Instrument != 0:
		// It may hold funds; but its id and its hold belong to another
		// instrument, which may have applied it, and where the sweeper looks.
		reason = exchange.UnknownInstrument
	case c.ID == exchange.CommandID{}:
		reason = exchange.InvalidID
	}
	if reason != 0 {
		s.cfg.Metrics.Count(MetricMalformed, s.id, 1)
		s.cfg.Logger.Warn("a message is no command of the instrument", "instrument", s.id, "reason", reason.String())
		m = Message{Command: exchange.Void(s.id, 0, CommandIDOf(0, s.id, 0, string(q.Body)))}
		m.Command.Time, m.Command.Value = now, int64(reason)
		return m
	}
	if c.Time > now {
		c.Time = now
	}
	if reason := s.refuse(c); reason != 0 {
		void(c, s.id, reason)
		if c.Time < 1 {
			c.Time = now
		}
	}
	return m
}

// void makes of a command the void that stands for it. The rest of it stays,
// for those who read the journal.
func void(c *exchange.Command, inst exchange.InstrumentID, reason exchange.Reason) {
	c.Kind, c.Instrument, c.Value = exchange.KindVoid, inst, int64(reason)
}

// refuse returns why a command cannot be applied: because the engine would not
// remember it, or because its events would not be bounded.
func (s *market) refuse(c *exchange.Command) exchange.Reason {
	needs, none := true, false // an instrument
	switch c.Kind {
	case exchange.KindMassCancel, exchange.KindKill, exchange.KindLiftKill, exchange.KindAdvanceTime, exchange.KindEndDay, exchange.KindLimit:
		needs = false
	case exchange.KindDeposit, exchange.KindWithdraw, exchange.KindAccountState:
		needs, none = false, true
	}
	switch {
	case c.Kind < exchange.KindNewOrder || c.Kind > exchange.KindVoid:
		return exchange.InvalidKind
	case c.Time < 1: // it would be forgotten at once, and could come again
		return exchange.InvalidTime
	case needs && c.Instrument == 0 || none && c.Instrument != 0:
		return exchange.UnknownInstrument
	case s.tooManyParts(c):
		return exchange.IcebergParts
	}
	return 0
}

// tooManyParts reports whether a command makes an iceberg of more slices than
// are allowed.
func (s *market) tooManyParts(c *exchange.Command) bool {
	qty, display := c.Qty, c.DisplayQty
	if c.Kind == exchange.KindAmend || c.Kind == exchange.KindReplace {
		o, ok := s.meant(c)
		if !ok || o.Account != c.Account || o.DisplayQty == 0 {
			return false
		}
		switch display = o.DisplayQty; {
		case c.Kind == exchange.KindAmend:
			qty -= o.CumQty
		case qty == 0:
			qty = o.LeavesQty
		}
	} else if c.Kind != exchange.KindNewOrder {
		return false
	}
	return display > 0 && qty > 0 && (qty-1)/display >= exchange.Qty(s.cfg.IcebergParts)
}

// meant returns the live order that a command names.
func (s *market) meant(c *exchange.Command) (exchange.Order, bool) {
	if c.OrderID != 0 {
		return s.public.book.Order(c.OrderID)
	}
	return s.public.book.OrderByCommand(c.OrigID)
}

// endOfDay returns the command that ends the day, if one ended between the
// engine's clock and t. The command is the same whoever makes it, and once the
// engine has it the clock is at the day's end: it comes once.
func (s *market) endOfDay(t exchange.Time) (exchange.Command, bool) {
	clock := s.engine.Clock()
	if clock == 0 || t < s.cfg.DayEnd {
		return exchange.Command{}, false
	}
	end := t - (t-s.cfg.DayEnd)%day
	if clock >= end {
		return exchange.Command{}, false
	}
	c := exchange.EndDay(s.id)
	c.ID, c.Time = CommandIDOf(0, s.id, exchange.KindEndDay, strconv.FormatInt(int64(end), 10)), end
	return c, true
}

// voided reports whether a message of the run is to be voided.
func (s *market) voided(i int) bool {
	for _, v := range s.voids {
		if v == i {
			return true
		}
	}
	return false
}

// apply applies a command and adds it to the batch, unless it is a duplicate.
func (s *market) apply(m *Message) error {
	c := &m.Command
	had := len(s.events)
	if c.Kind == exchange.KindAmend { // it alone moves an order without saying from where
		if o, ok := s.meant(c); ok && !o.Pending {
			s.public.touchLevel(o.Side, o.Price)
		}
	}
	var err error
	if s.events, err = applyCommand(s.engine, s.events, c); err != nil {
		return err
	}
	events := s.events[had:]
	if events[0].Kind == exchange.EventDuplicate {
		s.events = s.events[:had]
		s.cfg.Metrics.Count(MetricDuplicates, s.id, 1)
		return nil
	}
	s.trades += s.public.touch(events)
	s.entries = append(s.entries, Entry{Message: *m, Events: events})
	s.ends = append(s.ends, len(s.events))
	w := writer{buf: s.encoded}
	w.entry(&s.entries[len(s.entries)-1])
	s.encoded = w.buf
	return nil
}

// batch makes a Batch of what was applied, in memory of its own, and its
// encoding.
func (s *market) batch() (*Batch, []byte) {
	b := &Batch{Instrument: s.id, Rules: CurrentRules, Levels: s.public.changes(), Checksum: s.public.sum()}
	b.Entries = append(make([]Entry, 0, len(s.entries)), s.entries...)
	events := append(make([]exchange.Event, 0, len(s.events)), s.events...)
	from := 0
	for i, end := range s.ends {
		b.Entries[i].Events = events[from:end:end]
		from = end
	}
	return b, encodeBatch(b, s.encoded)
}

// saveDepth saves the public book as of c. A book store that fails stops
// nothing.
func (s *market) saveDepth(ctx context.Context, c Committed) {
	d, book := &s.depth, s.public.book
	d.Instrument, d.Seq, d.Time = s.id, s.engine.Seq(s.id), s.engine.Clock()
	d.LastPrice, _ = book.LastPrice()
	d.Bids = book.Levels(d.Bids[:0], exchange.Buy, s.cfg.DepthLevels)
	d.Asks = book.Levels(d.Asks[:0], exchange.Sell, s.cfg.DepthLevels)
	if s.cfg.DepthOrders > 0 {
		d.BidOrders = s.visibleOrders(d.BidOrders[:0], exchange.Buy)
		d.AskOrders = s.visibleOrders(d.AskOrders[:0], exchange.Sell)
	}
	s.bookStore("the depth was not saved", s.cfg.Books.SaveDepth(ctx, c, d))
}

// visibleOrders appends what the public sees of the orders of a side.
func (s *market) visibleOrders(dst []BookOrder, side exchange.Side) []BookOrder {
	s.orders = s.public.book.Orders(s.orders[:0], side, s.cfg.DepthOrders)
	for i := range s.orders {
		if o := &s.orders[i]; !o.Hidden {
			dst = append(dst, BookOrder{ID: o.ID, Price: o.Price, Qty: o.ShownQty})
		}
	}
	if dst == nil {
		dst = []BookOrder{}
	}
	return dst
}

// bookStore notes that the book store has failed.
func (s *market) bookStore(what string, err error) {
	if err != nil {
		s.cfg.Metrics.Count(MetricBookFailed, s.id, 1)
		s.cfg.Logger.Warn(what, "instrument", s.id, "error", err)
	}
}

// save saves the snapshots that are due. What fails is tried again when the
// next one is due: a store that is down must not slow everything down.
func (s *market) save(ctx context.Context) {
	book := s.head.Position-s.bookAt >= Position(s.cfg.BookEvery)
	durable := s.head.Position-s.snapshotAt >= Position(s.cfg.SnapshotEvery)
	if s.engine == nil || s.last.Check() != nil || !book && !durable {
		return
	}
	s.snap = s.engine.AppendSnapshot(s.snap[:0])
	if book {
		s.bookAt = s.head.Position
		s.bookStore("the book was not saved", s.cfg.Books.SaveBook(ctx, s.last, s.snap))
	}
	if durable {
		s.snapshotAt = s.head.Position
		if err := s.cfg.Log.Journal().SaveSnapshot(ctx, s.id, Snapshot{Head: s.head, Data: s.snap}); err != nil {
			s.cfg.Metrics.Count(MetricSnapshotFailed, s.id, 1)
			s.cfg.Logger.Warn("the durable snapshot was not saved", "instrument", s.id, "error", err)
		}
	}
}
