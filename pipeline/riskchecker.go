package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/castlecloud/exchange"
)

// What the RiskChecker counts, by instrument.
const (
	MetricAdmitted    = "risk_admitted"     // commands that were held for and sent, each time they came
	MetricRefused     = "risk_refused"      // commands that were refused; the refusal was sent
	MetricRepeated    = "risk_repeated"     // commands that came again after their hold had ended, and were dropped
	MetricConflicts   = "risk_conflicts"    // commands under the key of another one, which were dropped
	MetricDepthFailed = "risk_depth_failed" // book store calls that failed
)

// Market protection: by how much, in millionths of the price it is measured
// from, the worst price of an order without one lies on the other side of it.
const (
	DefaultMarketProtection = 50_000
	MaxMarketProtection     = 1_000_000
)

// RiskCheckerConfig says what a RiskChecker works with.
type RiskCheckerConfig struct {
	Instruments []*exchange.Instrument // at least one; ids differ
	Balances    Balances
	Queue       CommandQueue
	Orders      TradeStore // finds the orders that amends and replaces mean
	Books       BookStore  // finds the price of orders without one
	Metrics     Metrics    // nil: none
	Logger      *slog.Logger
	// MarketProtection is in millionths, 1 to MaxMarketProtection; 0:
	// DefaultMarketProtection.
	MarketProtection int64
	// MaxFee is the highest rate that SetFees will ever set, when that is above
	// those the instruments were made with. With a rate above both, an order is
	// held for with too little, and the engine refuses it: InsufficientFunds.
	MaxFee exchange.FeeRate
}

// RiskChecker admits commands: it holds the funds for them in Balances, which
// refuses whom it must, and sends them to their instrument's queue. It may be
// used concurrently.
//
// # What is held
//
// A new order has what Instrument.Need says at its worst price and the highest
// fee. A market order, market-to-limit order, stop or take-profit without a
// price and without funds gets a worst price: the opposite best of the book as
// last seen, or the stop price, moved against the order by MarketProtection,
// within the instrument's price limits (CME calls it market protection). Where
// limits set by command, or a collar, are narrower, the engine may refuse that
// price; a client who knows better gives its own. No depth to look at is
// NoReferencePrice, an empty opposite side NoLiquidity; stops need neither.
//
// An amend or replace has a further hold of its own, enough for whatever is
// filled between the look at the order and its turn in the engine, which
// releases what it does not need. A replace is a whole new order, so that can
// be all it needs; an account that cannot afford it is held for what is needed
// if nothing is filled, and if something is, the engine refuses and the old
// order stays. So it does when the record of the order was older than another
// change of it. What a stop price alone changes, and an order nobody knows, is
// held for with 0: every new order, amend and replace has its hold, as the
// account's state, its kill switch and its limits are looked at in Balances.Hold.
// The holding limit (MaxHolding) is asked for what buys bring.
//
// Cancels, reduces and mass cancels hold nothing and always go through.
//
// # What becomes of a command
//
// Once: the first hold that Balances takes under an id is what counts. A
// command that comes again, from the bus or from its client, finds it, and is
// sent with the amount, the worst price and the Time it was first held with;
// the engine takes one of them and knows the others for duplicates. After an
// error nothing is undone: the hold stays, the next delivery sends, and if none
// comes the Sweeper ends it.
//
// Refused: an exchange.Reason, here or from Balances.Hold, is sent on as a
// KindVoid command of the same id with the reason as its Value, so that the
// journal has it, the id is used up, and the client hears of it as of any
// other. The other fields are those of the command it stands for (a Type other
// than 0 tells a new order); the engine ignores them. Should another delivery
// of the same request be held for meanwhile, the engine sees which of them came
// first, and settling the refusal ends that hold.
//
// Conflicting: a command under the id of another one, with other contents, is
// logged, counted and dropped: a refusal in the journal would speak of the
// first one's id. What is the same but for Time is no conflict. Without a hold
// (cancels and reduces) the queue and the engine drop what is second without
// looking at it.
//
// Ended: when the hold has ended nothing is sent.
type RiskChecker struct {
	balances Balances
	queue    CommandQueue
	orders   TradeStore
	books    BookStore
	metrics  Metrics
	logger   *slog.Logger
	listed   []*exchange.Instrument
	terms    map[exchange.InstrumentID]*terms
}

// NewRiskChecker returns a RiskChecker; ErrInvalid names what is wrong with
// cfg.
func NewRiskChecker(cfg RiskCheckerConfig) (*RiskChecker, error) {
	switch {
	case cfg.Balances == nil || cfg.Queue == nil || cfg.Orders == nil || cfg.Books == nil:
		return nil, fmt.Errorf("risk checker: %w: Balances, Queue, Orders and Books are needed", ErrInvalid)
	case cfg.MarketProtection < 0 || cfg.MarketProtection > MaxMarketProtection:
		return nil, fmt.Errorf("risk checker: %w: MarketProtection %d, expected 0 to %d", ErrInvalid, cfg.MarketProtection, MaxMarketProtection)
	case cfg.MaxFee < 0 || cfg.MaxFee >= exchange.FeeRateUnit:
		return nil, fmt.Errorf("risk checker: %w: MaxFee %d, expected 0 to %d", ErrInvalid, cfg.MaxFee, exchange.FeeRateUnit-1)
	}
	if cfg.MarketProtection == 0 {
		cfg.MarketProtection = DefaultMarketProtection
	}
	listed, err := byID(cfg.Instruments)
	if err != nil {
		return nil, fmt.Errorf("risk checker: %w", err)
	}
	c := &RiskChecker{balances: cfg.Balances, queue: cfg.Queue, orders: cfg.Orders, books: cfg.Books, metrics: metricsOrNone(cfg.Metrics),
		logger: loggerOrNone(cfg.Logger), listed: cfg.Instruments, terms: map[exchange.InstrumentID]*terms{}}
	for id, in := range listed {
		if c.terms[id], err = newTerms(in, cfg.MaxFee, cfg.MarketProtection); err != nil {
			return nil, fmt.Errorf("risk checker: instrument %d: %w", id, err)
		}
	}
	return c, nil
}

// byID returns the instruments by their ids.
func byID(instruments []*exchange.Instrument) (map[exchange.InstrumentID]*exchange.Instrument, error) {
	if len(instruments) == 0 {
		return nil, fmt.Errorf("%w: Instruments: expected at least one", ErrInvalid)
	}
	out := map[exchange.InstrumentID]*exchange.Instrument{}
	for _, in := range instruments {
		if in == nil {
			return nil, fmt.Errorf("%w: Instruments: one is nil", ErrInvalid)
		}
		if out[in.ID()] != nil {
			return nil, fmt.Errorf("%w: Instruments: id %d twice", ErrInvalid, in.ID())
		}
		out[in.ID()] = in
	}
	return out, nil
}

// Handle admits a command. nil: it is done for good, also when it was refused
// or dropped. An error: hand it over again; ErrInvalid and ErrTooLarge, which
// no Prepare leads to, would only come again.
//
// New orders, amends and replaces are held for. A command with Instrument 0
// spans instruments: it is recorded with the account (Balances.Span) and then
// sent as SpanCommands says. Every other kind goes to its instrument as it is.
func (c *RiskChecker) Handle(ctx context.Context, m Message) error {
	inst := m.Command.Instrument
	if inst == 0 {
		return c.span(ctx, &m)
	}
	t := c.terms[inst]
	if t == nil {
		return fmt.Errorf("risk checker: %w: instrument %d is not listed", ErrInvalid, inst)
	}
	var err error
	switch m.Command.Kind {
	case exchange.KindNewOrder, exchange.KindAmend, exchange.KindReplace:
		err = c.admit(ctx, t, &m)
	default:
		err = c.send(ctx, &m)
	}
	if err != nil {
		return fmt.Errorf("%s %x of instrument %d: %w", m.Command.Kind, m.Command.ID, inst, err)
	}
	return nil
}

// admit holds for a command and sends it, or its refusal.
func (c *RiskChecker) admit(ctx context.Context, t *terms, m *Message) error {
	p, err := c.plan(ctx, t, m)
	if err != nil {
		return err
	}
	if p.refused != 0 {
		// An earlier delivery may have got further, when there was a price.
		err = ErrConflict
	} else {
		err = c.hold(ctx, &p)
	}
	held := p.Hold
	var reason exchange.Reason
	switch {
	case err == nil:
	case errors.Is(err, ErrHoldEnded):
		return c.ended(ctx, m)
	case errors.Is(err, ErrConflict):
		known, err := c.balances.HoldByID(ctx, p.Account, p.ID)
		switch {
		case p.refused != 0 && errors.Is(err, ErrNotFound):
			return c.refuse(ctx, m, p.refused)
		case err != nil:
			return fmt.Errorf("reading its hold: %w", err)
		case known.State == HoldEnded:
			return c.ended(ctx, m)
		case known.Request != p.Request:
			return c.conflict(ctx, m)
		}
		held = known.Hold
	case errors.As(err, &reason):
		return c.refuse(ctx, m, reason)
	default:
		return fmt.Errorf("holding for it: %w", err)
	}
	admitted := *m
	admitted.Command.Held, admitted.Command.Time = held.Amount, held.Time
	if held.WorstPrice != 0 {
		admitted.Command.Price = held.WorstPrice
	}
	if err := c.send(ctx, &admitted); err != nil {
		return err
	}
	c.metrics.Count(MetricAdmitted, p.Instrument, 1)
	return nil
}

// hold places a hold, or a smaller one where the account cannot afford it.
func (c *RiskChecker) hold(ctx context.Context, p *plan) error {
	err := c.balances.Hold(ctx, p.Hold)
	if p.least < p.Amount && errors.Is(err, exchange.InsufficientFunds) {
		p.Amount = p.least
		err = c.balances.Hold(ctx, p.Hold)
	}
	return err
}

func (c *RiskChecker) ended(ctx context.Context, m *Message) error {
	c.note(ctx, slog.LevelDebug, "command came again after its hold had ended", MetricRepeated, m)
	return nil
}

func (c *RiskChecker) conflict(ctx context.Context, m *Message) error {
	c.note(ctx, slog.LevelWarn, "another command under the key of an earlier one is dropped", MetricConflicts, m)
	return nil
}

// refuse sends what the engine journals as the refusal of a command.
func (c *RiskChecker) refuse(ctx context.Context, m *Message, reason exchange.Reason) error {
	refusal := *m
	refusal.Command.Kind, refusal.Command.Held, refusal.Command.Value = exchange.KindVoid, 0, int64(reason)
	if err := c.send(ctx, &refusal); err != nil {
		return fmt.Errorf("refusing it, %s: %w", reason, err)
	}
	c.note(ctx, slog.LevelDebug, "command is refused", MetricRefused, m, slog.String("reason", reason.String()))
	return nil
}

func (c *RiskChecker) note(ctx context.Context, level slog.Level, text, metric string, m *Message, more ...slog.Attr) {
	inst := m.Command.Instrument
	c.metrics.Count(metric, inst, 1)
	if c.logger.Enabled(ctx, level) {
		c.logger.LogAttrs(ctx, level, text, append(more, slog.String("command", fmt.Sprintf("%x", m.Command.ID)),
			slog.String("kind", m.Command.Kind.String()), slog.Uint64("instrument", uint64(inst)))...)
	}
}

func (c *RiskChecker) send(ctx context.Context, m *Message) error {
	body, err := AppendMessage(make([]byte, 0, 128), m)
	if err != nil {
		return err
	}
	q := QueueMessage{Instrument: m.Command.Instrument, DedupID: m.Command.ID, Body: body}
	if err := c.queue.Send(ctx, []QueueMessage{q}); err != nil {
		return fmt.Errorf("sending it: %w", err)
	}
	return nil
}

// span records a command that spans instruments, sends its parts, and crosses
// it off. Whatever stops it half way, the Sweeper finds what was recorded.
func (c *RiskChecker) span(ctx context.Context, m *Message) error {
	id := m.Command.ID
	var reason exchange.Reason
	switch err := c.balances.Span(ctx, m.Command); {
	case err == nil:
	case errors.Is(err, ErrConflict):
		// The first one is recorded, and takes its way.
		return c.conflict(ctx, m)
	case errors.As(err, &reason):
		// There is no stream to journal it in, and no order of such an account.
		c.note(ctx, slog.LevelWarn, "spanning command is refused", MetricRefused, m, slog.String("reason", reason.String()))
		return nil
	default:
		return fmt.Errorf("recording the spanning %s %x: %w", m.Command.Kind, id, err)
	}
	if err := sendAll(ctx, c.queue, SpanCommands(m.Command, c.listed)); err != nil {
		return fmt.Errorf("sending the spanning %s %x: %w", m.Command.Kind, id, err)
	}
	if err := c.balances.Forget(ctx, id); err != nil {
		return fmt.Errorf("crossing off the spanning %s %x: %w", m.Command.Kind, id, err)
	}
	return nil
}

// sendAll sends any number of messages, as many at a time as a queue takes.
func sendAll(ctx context.Context, q CommandQueue, messages []QueueMessage) error {
	for len(messages) > 0 {
		n := min(len(messages), MaxSendMessages)
		if err := q.Send(ctx, messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// SpanCommands returns what a command that spans instruments becomes for each
// of them: the command with the instrument and an id derived from both, which
// is the same every time. An account's state (KindAccountState) becomes
// nothing: Balances, which has it, is asked about whatever adds to a book.
func SpanCommands(cmd exchange.Command, instruments []*exchange.Instrument) []QueueMessage {
	if cmd.Kind == exchange.KindAccountState {
		return nil
	}
	out := make([]QueueMessage, 0, len(instruments))
	for _, in := range instruments {
		part := Message{Command: cmd}
		part.Command.Instrument, part.Command.ID = in.ID(), partID(cmd.ID, in.ID())
		body, err := AppendMessage(nil, &part)
		if err != nil {
			panic("pipeline: a message without a client id is too long: " + err.Error())
		}
		out = append(out, QueueMessage{Instrument: in.ID(), DedupID: part.Command.ID, Body: body})
	}
	return out
}

// partID returns the id of what a spanning command becomes for an instrument.
func partID(id exchange.CommandID, inst exchange.InstrumentID) exchange.CommandID {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint32(id[:], uint32(inst)))
	return exchange.CommandID(sum[:16])
}
