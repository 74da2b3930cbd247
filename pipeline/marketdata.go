package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/castlecloud/exchange"
)

// Bounds of a MarketData.
const (
	// MaxFeedCatchUp is how many journal items are pushed at most when a
	// MarketData starts: with a Pusher that does not know how far it was, or
	// is further behind, the feed begins later, and clients see the gap.
	MaxFeedCatchUp = 1000
	// MaxFeedChains is of how many accounts of an instrument the Seq of the
	// last message is remembered, those that were the last to have one.
	MaxFeedChains = 1 << 16
	// feedChainItems is how many items before the first are read for them.
	feedChainItems = readPage
)

// MarketDataConfig is what a MarketData is made of. Instruments, Log, Pusher
// and Trades are mandatory.
type MarketDataConfig struct {
	Instruments []*exchange.Instrument
	Log         *Log
	Pusher      Pusher
	// Trades has the candles of the last 24 hours, and orders as they are. A
	// TradeRecorder that is behind does no harm.
	Trades TradeStore
	// TrackedOrders is how many live orders of an instrument are kept at hand;
	// 0: DefaultTrackedOrders. It may be twice as many while the TradeRecorder
	// is behind.
	TrackedOrders int
	Metrics       Metrics
	Logger        *slog.Logger
}

// MarketData pushes what happens in the book: its levels, trades, candles, the
// ticker, and to each account its own orders, fills and refusals. The types in
// feed.go say how. It keeps no book: the journal says which levels changed.
// Balances are the Settler's.
//
// What a Pusher with the method of Listener says nobody listens to is not made;
// the sequences are the same with or without.
//
// It is safe for concurrent use; of one instrument one call works at a time.
type MarketData struct {
	consumer
	cfg     MarketDataConfig
	markets map[exchange.InstrumentID]*feedState
}

// NewMarketData returns a MarketData; an error when something is missing or out
// of its bounds.
func NewMarketData(cfg MarketDataConfig) (*MarketData, error) {
	const name = "market data"
	if err := checkConsumer(name, cfg.Instruments, cfg.Log); err != nil {
		return nil, err
	}
	if cfg.TrackedOrders == 0 {
		cfg.TrackedOrders = DefaultTrackedOrders
	}
	switch {
	case cfg.Pusher == nil || cfg.Trades == nil:
		return nil, fmt.Errorf("%s: %w: Pusher and Trades are needed", name, ErrInvalid)
	case cfg.TrackedOrders < 1:
		return nil, fmt.Errorf("%s: %w: TrackedOrders %d, expected 1 or more", name, ErrInvalid, cfg.TrackedOrders)
	}
	cfg.Metrics, cfg.Logger = metricsOrNone(cfg.Metrics), loggerOrNone(cfg.Logger)
	d := &MarketData{cfg: cfg, markets: map[exchange.InstrumentID]*feedState{}}
	d.consumer = newConsumer(name, MetricPushedPosition, cfg.Instruments, cfg.Log, cfg.Metrics, cfg.Logger)
	d.begin, d.apply, d.trimmed = d.start, d.push, d.jump
	for _, in := range cfg.Instruments {
		m := &feedState{in: in, log: cfg.Log, store: cfg.Trades, write: newNumberTexts(in), orders: newTracker(in, cfg.Trades, cfg.TrackedOrders),
			chains: map[exchange.AccountID]*chain{}, broken: true}
		m.orders.ended = map[exchange.CommandID]bool{}
		m.listening = func(Channel, exchange.AccountID) bool { return true }
		if l, ok := cfg.Pusher.(Listener); ok {
			m.listening = func(ch Channel, acct exchange.AccountID) bool { return l.Listening(ch, m.in.ID(), acct) }
		}
		d.markets[in.ID()] = m
	}
	return d, nil
}

// Handle pushes an instrument's journal at least up to n. It may be repeated
// and called concurrently; an error means that n should be delivered again.
func (d *MarketData) Handle(ctx context.Context, n Notice) error { return d.handle(ctx, n) }

// start returns where to go on.
func (d *MarketData) start(ctx context.Context, n Notice) (Position, error) {
	m := d.markets[n.Instrument]
	at, err := d.cfg.Pusher.Pushed(ctx, n.Instrument)
	if err != nil {
		return 0, fmt.Errorf("asking how far it is pushed: %w", err)
	}
	if !m.broken && m.at() > 0 {
		at = max(at, m.at()-1) // a Pusher may have forgotten more than that
	}
	if n.Position > at+MaxFeedCatchUp {
		later := n.Position - MaxFeedCatchUp
		d.skipped(ctx, n, at, later)
		at = later
	}
	// What was made before an error is still right, whether or not it arrived.
	if m.broken || m.at() != at && m.at() != at+1 {
		err = m.reset(ctx, at)
	}
	return at, err
}

// jump goes on with the item of the notice when older ones are gone.
func (d *MarketData) jump(ctx context.Context, n Notice) (Position, error) {
	m := d.markets[n.Instrument]
	at := max(n.Position, 1) - 1
	items, err := d.log.Read(ctx, n.Instrument, n.Position, 1)
	if err != nil || len(items) == 0 { // gone too: clients see a gap with the next
		at = n.Position
	}
	d.skipped(ctx, n, m.at(), at)
	if err := m.reset(ctx, at); err != nil || at < n.Position {
		return at, err
	}
	if err := d.cfg.Pusher.Push(ctx, n.Instrument, at, nil); err != nil {
		return at, fmt.Errorf("pushing: %w", err)
	}
	return at, nil
}

func (d *MarketData) skipped(ctx context.Context, n Notice, from, to Position) {
	if to > from {
		d.cfg.Metrics.Count(MetricFeedSkipped, n.Instrument, int64(to-from))
		d.cfg.Logger.InfoContext(ctx, "the feed begins later", "instrument", n.Instrument, "after", to, "skipped", to-from)
	}
}

func (d *MarketData) push(ctx context.Context, c Committed) error {
	m := d.markets[c.Instrument()]
	if c.Position() != m.at() {
		if err := m.take(ctx, c); err != nil {
			return err
		}
	}
	if err := d.cfg.Pusher.Push(ctx, c.Instrument(), c.Position(), m.messages); err != nil {
		return fmt.Errorf("pushing: %w", err)
	}
	d.cfg.Metrics.Count(MetricFeedMessages, c.Instrument(), int64(len(m.messages)))
	return nil
}

// feedState is what a MarketData knows of an instrument. It is used under the turn
// of its instrument.
type feedState struct {
	in        *exchange.Instrument
	log       *Log
	store     TradeStore
	write     *numberTexts
	listening func(ch Channel, acct exchange.AccountID) bool

	orders    *tracker
	day       dayWindow
	tickerDue bool  // the 24 hours are others than the last ticker said
	lastTrade Trade // the last one seen
	chains    map[exchange.AccountID]*chain
	chainAge  []exchange.AccountID
	// floor is where knowledge begins: an account that is not in chains had no
	// message with a Seq above it.
	floor    uint64
	floored  bool   // floor is one
	broken   bool   // reset is needed
	messages []Push // of the last item
}

// chain is an account's sequence of messages in an instrument.
type chain struct {
	seq   uint64   // of the last one
	again bool     // a message came since forgetChains has seen it
	item  Position // the last item with a message
	prev  uint64   // in it: the Seq before
	mine  int      // in it: the place among the messages, or one of those below
}

// For whom there is no message.
const (
	undecided = -1
	unheard   = -2 // nobody listens
)

// at returns the last item taken.
func (m *feedState) at() Position { return m.orders.at }

// reset forgets everything and learns what there was at a position.
func (m *feedState) reset(ctx context.Context, at Position) error {
	m.broken = true
	m.messages, m.lastTrade = nil, Trade{}
	clear(m.chains)
	m.chainAge, m.floored = m.chainAge[:0], false
	recorded, err := m.store.Recorded(ctx, m.in.ID())
	if err != nil {
		return fmt.Errorf("asking how far it is recorded: %w", err)
	}
	if err := m.loadDay(ctx, at); err != nil {
		return err
	}
	// What the store does not have yet comes from the journal. Older items say
	// who had which message last; without them (they may be gone) it is not
	// known, and nothing else is.
	m.orders.reset(min(recorded, at))
	from := m.orders.at
	if back := max(at, feedChainItems) - feedChainItems; back < from {
		if items, err := m.log.Read(ctx, m.in.ID(), back+1, 1); err == nil && len(items) > 0 {
			from = back
		}
	}
	for from < at {
		items, err := m.log.Read(ctx, m.in.ID(), from+1, readPage)
		if err != nil {
			return fmt.Errorf("reading what came before: %w", err)
		}
		if len(items) == 0 {
			return fmt.Errorf("reading what came before: %w: item %d", ErrNotFound, from+1)
		}
		for _, c := range items {
			if c.Position() > at {
				break
			}
			if err := m.learn(ctx, c); err != nil {
				return fmt.Errorf("learning item %d: %w", c.Position(), err)
			}
			from = c.Position()
		}
	}
	m.broken = false
	return nil
}

// loadDay reads the candles that the item after a position needs.
func (m *feedState) loadDay(ctx context.Context, at Position) error {
	m.tickerDue = true
	now := exchange.Time(0)
	for pos := at + 1; pos >= max(at, 1) && now == 0; pos-- {
		items, err := m.log.Read(ctx, m.in.ID(), pos, 1)
		if err != nil && !errors.Is(err, ErrTrimmed) {
			return fmt.Errorf("reading when it was: %w", err)
		}
		if len(items) > 0 {
			b := items[0].Batch()
			if now = b.LastTime(); b.first() != nil {
				now = b.first().Time // its first trade is no older
			}
		}
	}
	return m.day.load(ctx, m.store, m.in.ID(), now)
}

// learn takes an item from before the first that is pushed.
func (m *feedState) learn(ctx context.Context, c Committed) error {
	b := c.Batch()
	m.begin(b)
	if c.Position() > m.orders.at {
		item, err := m.orders.take(ctx, c)
		if err != nil {
			return err
		}
		for i := range item.Trades {
			m.day.add(&item.Trades[i])
		}
		if err := m.room(ctx); err != nil {
			return err
		}
	}
	for i := range b.Entries {
		for j := range b.Entries[i].Events {
			ev := &b.Entries[i].Events[j]
			if !b.tells(ev) {
				continue
			}
			if ev.Kind == exchange.EventTrade {
				m.lastTrade = tradeOf(ev)
			}
			for _, acct := range accountsOf(&b.Entries[i], ev) {
				m.chain(acct, c.Position(), b.LastSeq())
			}
		}
	}
	m.forgetChains()
	return nil
}

// room makes room among the orders at hand.
func (m *feedState) room(ctx context.Context) error {
	if !m.orders.full() {
		return nil
	}
	recorded, err := m.store.Recorded(ctx, m.in.ID())
	if err != nil {
		return fmt.Errorf("asking how far it is recorded: %w", err)
	}
	m.orders.forget(recorded)
	if n := len(m.orders.orders); n > 2*m.orders.max {
		m.broken = true
		return fmt.Errorf("the trade store is behind, at item %d: %d orders since: %w", recorded, n, ErrFull)
	}
	return nil
}

// accountsOf returns who hears of an event: 0 or an account, twice.
func accountsOf(e *Entry, ev *exchange.Event) [2]exchange.AccountID {
	switch ev.Kind {
	case exchange.EventAccepted, exchange.EventCanceled, exchange.EventExpired, exchange.EventAmended, exchange.EventTriggered,
		exchange.EventRepriced, exchange.EventTrade, exchange.EventSelfTradePrevented, exchange.EventRejected:
		if ev.ID == (exchange.CommandID{}) {
			return [2]exchange.AccountID{0, ev.MakerAccount}
		}
		return [2]exchange.AccountID{ev.Account, ev.MakerAccount}
	}
	return [2]exchange.AccountID{}
}

// begin notes where knowledge begins.
func (m *feedState) begin(b *Batch) {
	if first := b.FirstSeq(); first != 0 && !m.floored {
		m.floor, m.floored = first-1, true
	}
}

// chain notes that an account has a message with a Seq in an item.
func (m *feedState) chain(acct exchange.AccountID, pos Position, seq uint64) *chain {
	if acct == 0 {
		return nil
	}
	ch := m.chains[acct]
	again := ch != nil
	if !again {
		ch = &chain{seq: m.floor}
		m.chains[acct] = ch
		m.chainAge = append(m.chainAge, acct)
	}
	if ch.item != pos {
		ch.prev, ch.seq, ch.item, ch.mine, ch.again = ch.seq, seq, pos, undecided, again
	}
	return ch
}

// forgetChains keeps their number within MaxFeedChains: in the order they came
// it drops those that have had no message since it last came by.
func (m *feedState) forgetChains() {
	for len(m.chains) > MaxFeedChains {
		acct := m.chainAge[0]
		m.chainAge = m.chainAge[1:]
		if ch := m.chains[acct]; ch.again {
			ch.again = false
			m.chainAge = append(m.chainAge, acct)
		} else {
			m.floor = max(m.floor, ch.seq)
			delete(m.chains, acct)
		}
	}
}

// take applies the next item and makes its messages.
func (m *feedState) take(ctx context.Context, c Committed) error {
	m.broken = true
	item, err := m.orders.take(ctx, c)
	if err != nil {
		return err
	}
	b := c.Batch()
	m.begin(b)
	f := feeding{feedState: m, b: b, seq: b.LastSeq(), time: TimeText(b.LastTime())}
	m.day.unchanged()
	for i := range item.Trades {
		m.day.add(&item.Trades[i])
		m.tickerDue = true
	}
	if f.seq != 0 {
		err = f.public(ctx, item)
		if err == nil {
			err = f.private(item, c.Position())
		}
	}
	if err != nil {
		return err
	}
	m.messages = f.messages
	m.forgetChains()
	m.broken = false
	return m.room(ctx)
}
