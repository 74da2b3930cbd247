package exchange

import (
	"errors"
	"fmt"
	"math"
)

// Defaults of the bounds in Config.
const (
	DefaultDedupSpan   Time = 15 * 60 * 1_000_000_000 // 15 minutes
	DefaultDedupCount       = 1 << 16
	DefaultMaxOrders        = 1 << 26
	DefaultMaxAccounts      = 1 << 24
)

// Upper bounds of the bounds in Config.
const (
	MaxDedupCount  = 1 << 22
	MaxOrdersMax   = 1 << 31
	MaxAccountsMax = 1 << 31
)

// Config is what an Engine is made of. It does not change while the engine
// lives; engines that shall agree need the same.
type Config struct {
	Funds       Funds         // mandatory
	Instruments []*Instrument // at least one; their assets are the engine's

	DedupSpan   Time // how long a command id is remembered, in ns; 0: DefaultDedupSpan
	DedupCount  int  // how many ids per stream, 1 to MaxDedupCount; 0: DefaultDedupCount
	MaxOrders   int  // live orders per instrument, 1 to MaxOrdersMax; 0: DefaultMaxOrders
	MaxAccounts int  // 1 to MaxAccountsMax; 0: DefaultMaxAccounts

	// Check is a check of the user's own (RISK-004): 0, or a reason from
	// ReasonUser on. It sees every new order, amend and replace (as the new
	// order it makes) that has passed all other checks but that of funds. It
	// must be a pure function of its arguments, must not keep or change them,
	// and may call the engine's reading methods.
	Check func(e *Engine, cmd *Command) Reason
}

// ErrConfig is what every refusal of a Config or MatcherConfig matches.
var ErrConfig = errors.New("invalid config")

// Engine is a deterministic state machine over many instruments and accounts:
// commands in, events out. It is not safe for concurrent use: one goroutine
// applies; readers may run side by side between two commands.
type Engine struct {
	core
	stream  stream
	markets []*Matcher // by InstrumentID, nil where there is none
	risk    risk
	check   func(e *Engine, cmd *Command) Reason
	config  Config
	// nextExpiry is at or before the next Expire of any order.
	nextExpiry Time
}

// NewEngine returns an engine without orders and accounts.
func NewEngine(cfg Config) (*Engine, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Engine{check: cfg.Check, config: cfg, nextExpiry: math.MaxInt64}
	e.core.held = cfg.Funds == FundsHeld
	mc := cfg.matcher()
	e.risk = risk{mode: cfg.Funds, engine: e, maxAccounts: cfg.MaxAccounts, limits: newLimits()}
	if cfg.MaxAccounts == 0 {
		e.risk.maxAccounts = DefaultMaxAccounts
	}
	for _, in := range cfg.Instruments {
		if err := e.list(in, mc); err != nil {
			return nil, err
		}
	}
	e.stream.window.configure(cfg.DedupSpan, cfg.DedupCount)
	return e, nil
}

// matcher returns the settings of each instrument's Matcher.
func (cfg *Config) matcher() MatcherConfig {
	return MatcherConfig{DedupSpan: cfg.DedupSpan, DedupCount: cfg.DedupCount, MaxOrders: cfg.MaxOrders}
}

func (cfg *Config) validate() error {
	if cfg.Funds < FundsNone || cfg.Funds > FundsHeld {
		return fmt.Errorf("%w: Funds %d: expected FundsNone, FundsLedger or FundsHeld", ErrConfig, cfg.Funds)
	}
	if len(cfg.Instruments) == 0 {
		return fmt.Errorf("%w: Instruments: expected at least one", ErrConfig)
	}
	mc := cfg.matcher()
	return errors.Join(mc.validate(), within("MaxAccounts", int64(cfg.MaxAccounts), MaxAccountsMax))
}

// list adds an instrument and its assets.
func (e *Engine) list(in *Instrument, cfg MatcherConfig) error {
	if in == nil {
		return missing("Instruments")
	}
	for len(e.markets) <= int(in.ID()) {
		e.markets = append(e.markets, nil)
	}
	if e.markets[in.ID()] != nil {
		return fmt.Errorf("%w: Instruments: id %d twice", ErrConfig, in.ID())
	}
	for _, a := range [...]Asset{in.Base(), in.Quote()} {
		for len(e.risk.assets) <= int(a.ID) {
			e.risk.assets = append(e.risk.assets, assetTotal{})
		}
		if have := e.risk.assets[a.ID].asset; have.ID != 0 && have != a {
			return fmt.Errorf("%w: Instruments: asset id %d is %s with scale %d and %s with scale %d",
				ErrConfig, a.ID, have.Code, have.Scale, a.Code, a.Scale)
		}
		e.risk.assets[a.ID].asset = a
	}
	m := &Matcher{core: &e.core, risk: &e.risk}
	m.init(in, cfg)
	e.markets[in.ID()] = m
	return nil
}

// market returns the instrument's Matcher, nil when there is none.
func (e *Engine) market(id InstrumentID) *Matcher {
	if int(id) < len(e.markets) {
		return e.markets[id]
	}
	return nil
}

// Apply applies a command and appends its events to dst. cmd is neither kept
// nor changed. It never fails: a refusal is an event (CMD-004).
func (e *Engine) Apply(dst []Event, cmd *Command) []Event {
	e.out, e.kind = dst, cmd.Kind
	e.apply(cmd)
	dst, e.out = e.out, nil
	return dst
}

func (e *Engine) apply(cmd *Command) {
	m := e.market(cmd.Instrument)
	if m == nil || !cmd.Kind.aboutOrder() || cmd.Time < 0 {
		e.applyOther(m, cmd)
		return
	}
	if cmd.ID.zero() || m.begin(&e.core, cmd, &m.book) {
		e.applyTo(m, cmd)
	}
}

// applyOther applies a command that is not plainly about an order of m, the
// instrument it names, nil for none.
func (e *Engine) applyOther(m *Matcher, cmd *Command) {
	s, b := &e.stream, (*Book)(nil)
	if m != nil {
		s, b = &m.stream, &m.book
	}
	reason := Reason(0)
	switch {
	case !cmd.Kind.valid():
		reason = InvalidKind
	case cmd.Time < 0:
		reason = InvalidTime
	case m == nil && (cmd.Instrument != 0 || cmd.Kind.needs() == needsInstrument),
		m != nil && cmd.Kind.needs() == needsNone:
		reason = UnknownInstrument
	}
	if reason != 0 {
		s.reject(&e.core, cmd, reason)
		return
	}
	if !cmd.ID.zero() && !s.begin(&e.core, cmd, b) {
		return
	}
	if m != nil {
		e.applyTo(m, cmd)
		return
	}
	before := e.advance(cmd)
	if reason := e.applyAll(cmd, before); reason != 0 {
		s.reject(&e.core, cmd, reason)
	}
}

// applyTo applies a command of an instrument that is neither duplicate nor
// stale.
func (e *Engine) applyTo(m *Matcher, cmd *Command) {
	m.apply(cmd, e.advance(cmd))
	if len(m.book.expiry) > 0 {
		at, _ := m.book.nextExpiry()
		e.nextExpiry = min(e.nextExpiry, at)
	}
}

// advance moves the clock, lets orders expire, and returns the clock as it was.
func (e *Engine) advance(cmd *Command) Time {
	before := e.now
	if cmd.Time > before {
		e.now = cmd.Time
		if e.now >= e.nextExpiry {
			e.expire()
		}
	}
	return before
}

// expire ends the GTD orders that are due, instrument by instrument.
func (e *Engine) expire() {
	e.nextExpiry = math.MaxInt64
	for _, m := range e.markets {
		if m == nil {
			continue
		}
		m.expire()
		if at, ok := m.book.nextExpiry(); ok && at < e.nextExpiry {
			e.nextExpiry = at
		}
	}
}

// applyAll applies a command without an instrument.
func (e *Engine) applyAll(cmd *Command, before Time) Reason {
	switch cmd.Kind {
	case KindMassCancel:
		return e.massCancel(cmd)
	case KindKill, KindLiftKill:
		return e.killAll(cmd)
	case KindAdvanceTime:
		if reason := checkTime(cmd, before); reason != 0 {
			return reason
		}
		e.stream.event(&e.core, EventTimeAdvanced).ID = cmd.ID
	case KindEndDay:
		n := Qty(0)
		for _, m := range e.markets {
			if m != nil {
				n += m.endDayOrders()
			}
		}
		dayEnded(&e.core, &e.stream, cmd, n)
	case KindDeposit, KindWithdraw:
		return e.move(cmd)
	case KindLimit:
		reason := checkLimit(cmd)
		if reason == 0 {
			reason = e.risk.setLimit(cmd)
		}
		if reason == 0 {
			limitSet(&e.core, &e.stream, cmd)
		}
		return reason
	case KindAccountState:
		return e.setAccountState(cmd)
	}
	return 0
}

func (e *Engine) massCancel(cmd *Command) Reason {
	if cmd.Side != 0 && !cmd.Side.valid() {
		return InvalidSide
	}
	n := Qty(0)
	for _, m := range e.markets {
		if m != nil {
			n += m.cancelAll(cmd.Account, cmd.Side, ByMassCancel)
		}
	}
	massCanceled(&e.core, &e.stream, cmd, n)
	return 0
}

// killAll engages or lifts the kill switch of an account, or of everything
// (KILL-001).
func (e *Engine) killAll(cmd *Command) Reason {
	on, kind := cmd.Kind == KindKill, EventKillLifted
	if cmd.Account == 0 {
		e.risk.killed = on
		e.risk.resolve(0, 0)
	} else if r := e.risk.account(cmd.Account); r != 0 || on {
		if r = e.risk.openAccount(cmd.Account); r == 0 {
			return TooManyAccounts
		}
		e.risk.accounts.at(r).killed = on
		e.risk.resolve(0, cmd.Account)
	}
	n := Qty(0)
	if on {
		kind = EventKilled
		for _, m := range e.markets {
			if m != nil {
				n += m.cancelAll(cmd.Account, 0, ByKillSwitch)
			}
		}
	}
	killed(&e.core, &e.stream, cmd, kind, n)
	return 0
}

func (e *Engine) setAccountState(cmd *Command) Reason {
	switch {
	case cmd.Account == 0:
		return UnknownAccount
	case cmd.AccountState < AccountActive || cmd.AccountState > AccountSuspended:
		return InvalidState
	}
	a := e.risk.openAccount(cmd.Account)
	if a == 0 {
		return TooManyAccounts
	}
	e.risk.setState(e.risk.accounts.at(a), cmd.AccountState)
	e.risk.resolve(0, cmd.Account)
	ev := e.stream.event(&e.core, EventAccountStateSet)
	ev.ID, ev.Account, ev.AccountState = cmd.ID, cmd.Account, cmd.AccountState
	return 0
}

// move is a deposit or a withdrawal (FUNDS-008).
func (e *Engine) move(cmd *Command) Reason {
	k := &e.risk
	switch {
	case k.mode != FundsLedger:
		return FundsNotKept
	case int(cmd.Asset) >= len(k.assets) || k.assets[cmd.Asset].asset.ID == 0:
		return UnknownAsset
	case cmd.Funds <= 0:
		return InvalidFunds
	}
	total := &k.assets[cmd.Asset]
	kind, n := EventDeposited, cmd.Funds
	if cmd.Kind == KindWithdraw {
		kind, n = EventWithdrawn, -n
		if r := k.balance(cmd.Account, cmd.Asset); r == 0 || k.balances.at(r).Available < cmd.Funds {
			return InsufficientFunds
		}
	} else {
		if total.total > maxTotal-n || cmd.Account != 0 && total.users > maxTotal-n {
			return AmountOverflow
		}
		if cmd.Account != 0 && k.openAccount(cmd.Account) == 0 {
			return TooManyAccounts
		}
	}
	total.total += n
	if cmd.Account != 0 {
		total.users += n
	}
	k.balances.at(k.openBalance(cmd.Account, cmd.Asset)).Available += n
	ev := e.stream.event(&e.core, kind)
	ev.ID, ev.Account, ev.Asset, ev.Amount = cmd.ID, cmd.Account, cmd.Asset, cmd.Funds
	return 0
}

// Book returns the order book of an instrument for reading, nil when the
// engine has none. It stays good for the engine's life, also across Restore.
func (e *Engine) Book(id InstrumentID) *Book {
	if m := e.market(id); m != nil {
		return &m.book
	}
	return nil
}

// Balance returns what an account has of an asset; zero outside FundsLedger.
func (e *Engine) Balance(acct AccountID, asset AssetID) Balance {
	if r := e.risk.balance(acct, asset); r != 0 {
		return e.risk.balances.at(r).Balance
	}
	return Balance{}
}

// Position returns an account's part in an instrument.
func (e *Engine) Position(acct AccountID, id InstrumentID) Position {
	m := e.market(id)
	if m == nil {
		return Position{}
	}
	r, s := m.seats.find(acct)
	if r == 0 {
		return Position{}
	}
	return Position{Net: s.net, OpenBuy: s.open[Buy.index()], OpenSell: s.open[Sell.index()], Orders: int(s.orders)}
}

// Clock returns the highest Time applied.
func (e *Engine) Clock() Time { return e.now }

// Seq returns the sequence number of the last event of a stream: of an
// instrument, or of the engine itself for 0.
func (e *Engine) Seq(id InstrumentID) uint64 {
	if m := e.market(id); m != nil {
		return m.seq
	}
	if id == 0 {
		return e.stream.seq
	}
	return 0
}
