package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/castlecloud/exchange"
)

// Settle says what a batch moves, from its events alone (docs/rules/funds.md).
// A hold is named by the id of its command.
//
//   - Of a trade the buyer pays the notional and its fee out of its hold, into
//     which a rebate goes; the seller gives the base out of its own, and gets
//     the notional less its fee. The fees go to the venue.
//   - What an event releases goes from the hold to available.
//   - An amend's Amount moves from the amend's hold to the order's; the amend's
//     hold ends with it. A replace's moves from the old order's hold to the
//     new one's.
//   - An order's hold ends with the order (EVENT-004).
//   - A command that was refused or voided is in Refused, whatever its hold is
//     by now: it may have come again after it had ended.
func Settle(in *exchange.Instrument, b *Batch) *Settlement {
	s := settling{base: in.Base().ID, quote: in.Quote().ID, in: in,
		accounts: map[exchange.AccountID]*accountSums{}, holds: map[holdName]*HoldChange{}}
	for i := range b.Entries {
		for j := range b.Entries[i].Events {
			if ev := &b.Entries[i].Events[j]; b.tells(ev) {
				s.event(ev)
			}
		}
	}
	return s.result()
}

// settling adds up what events move.
type settling struct {
	in          *exchange.Instrument
	base, quote exchange.AssetID
	accounts    map[exchange.AccountID]*accountSums
	holds       map[holdName]*HoldChange
	fees        exchange.Amount // in quote
}

type holdName struct {
	account exchange.AccountID
	id      exchange.CommandID
}

type accountSums struct {
	base, quote exchange.Balance
	holds       []*HoldChange
	refused     []exchange.CommandID
}

func (s *settling) account(id exchange.AccountID) *accountSums {
	a := s.accounts[id]
	if a == nil {
		a = &accountSums{}
		s.accounts[id] = a
	}
	return a
}

// sums returns what changes of the asset that an order of a side pays with.
func (a *accountSums) sums(side exchange.Side) *exchange.Balance {
	if side == exchange.Buy {
		return &a.quote
	}
	return &a.base
}

// hold returns the change of a hold, which pays for an order of a side.
func (s *settling) hold(acct exchange.AccountID, id exchange.CommandID, side exchange.Side) *HoldChange {
	name := holdName{acct, id}
	h := s.holds[name]
	if h == nil {
		h = &HoldChange{ID: id, Asset: s.base}
		if side == exchange.Buy {
			h.Asset = s.quote
		}
		s.holds[name] = h
		a := s.account(acct)
		a.holds = append(a.holds, h)
	}
	return h
}

// put adds to a hold.
func (s *settling) put(acct exchange.AccountID, id exchange.CommandID, side exchange.Side, n exchange.Amount) {
	if n != 0 {
		s.hold(acct, id, side).Delta += n
		s.account(acct).sums(side).Held += n
	}
}

// release moves an amount from a hold to available.
func (s *settling) release(acct exchange.AccountID, id exchange.CommandID, side exchange.Side, n exchange.Amount) {
	if n != 0 {
		s.put(acct, id, side, -n)
		s.account(acct).sums(side).Available += n
	}
}

// end says that a hold has no more to pay for.
func (s *settling) end(acct exchange.AccountID, id exchange.CommandID, side exchange.Side) *HoldChange {
	h := s.hold(acct, id, side)
	h.Ended = true
	return h
}

func (s *settling) event(ev *exchange.Event) {
	switch ev.Kind {
	case exchange.EventAccepted:
		s.hold(ev.Account, ev.ID, ev.Side).NewOrder = true
		s.release(ev.Account, ev.ID, ev.Side, ev.Release)
	case exchange.EventRejected:
		s.refused(ev)
	case exchange.EventTrade:
		s.trade(ev)
	case exchange.EventCanceled, exchange.EventExpired:
		s.put(ev.Account, ev.ID, ev.Side, -ev.Amount)
		s.put(ev.Account, ev.MakerID, ev.Side, ev.Amount)
		s.release(ev.Account, ev.ID, ev.Side, ev.Release)
		s.end(ev.Account, ev.ID, ev.Side).NewOrder = true
		s.own(ev)
	case exchange.EventAmended:
		s.put(ev.Account, ev.MakerID, ev.Side, -ev.Amount)
		s.put(ev.Account, ev.ID, ev.Side, ev.Amount)
		s.release(ev.Account, ev.ID, ev.Side, ev.Release)
		s.own(ev)
	case exchange.EventSelfTradePrevented:
		s.release(ev.Account, ev.ID, ev.Side, ev.Release)
		s.release(ev.MakerAccount, ev.MakerID, ev.Side.Opposite(), ev.MakerRelease)
	case exchange.EventTriggered, exchange.EventRepriced:
		s.release(ev.Account, ev.ID, ev.Side, ev.Release)
	}
}

// own ends the hold of the amend that an event names.
func (s *settling) own(ev *exchange.Event) {
	if ev.Command == exchange.KindAmend && ev.MakerID != (exchange.CommandID{}) {
		s.release(ev.Account, ev.MakerID, ev.Side, ev.MakerRelease)
		s.end(ev.Account, ev.MakerID, ev.Side)
	}
}

func (s *settling) refused(ev *exchange.Event) {
	switch ev.Command {
	case exchange.KindNewOrder, exchange.KindAmend, exchange.KindReplace, exchange.KindVoid:
		if ev.Account != 0 && ev.ID != (exchange.CommandID{}) {
			a := s.account(ev.Account)
			a.refused = append(a.refused, ev.ID)
		}
	}
}

// trade is FUNDS-004.
func (s *settling) trade(ev *exchange.Event) {
	type party struct {
		account      exchange.AccountID
		id           exchange.CommandID
		fee, release exchange.Amount
		side         exchange.Side
	}
	buyer := party{ev.Account, ev.ID, ev.Fee, ev.Release, exchange.Buy}
	seller := party{ev.MakerAccount, ev.MakerID, ev.MakerFee, ev.MakerRelease, exchange.Sell}
	if ev.Side == exchange.Sell {
		buyer, seller = seller, buyer
		buyer.side, seller.side = exchange.Buy, exchange.Sell
	}
	base := s.in.BaseAmount(ev.Qty)
	s.put(buyer.account, buyer.id, exchange.Buy, -ev.Amount-buyer.fee)
	s.account(buyer.account).base.Available += base
	s.put(seller.account, seller.id, exchange.Sell, -base)
	s.account(seller.account).quote.Available += ev.Amount - seller.fee
	s.fees += buyer.fee + seller.fee
	for _, p := range []party{buyer, seller} {
		s.release(p.account, p.id, p.side, p.release)
	}
	// A taker that is a market order by funds alone has no quantity; it ends
	// by the cancel that follows in the same batch, so this is no lie.
	if ev.LeavesQty == 0 {
		s.end(ev.Account, ev.ID, ev.Side).NewOrder = true
	}
	if ev.MakerLeavesQty == 0 {
		s.end(ev.MakerAccount, ev.MakerID, ev.Side.Opposite()).NewOrder = true
	}
}

func compareIDs(a, b *exchange.CommandID) int { return bytes.Compare(a[:], b[:]) }

func (s *settling) result() *Settlement {
	out := &Settlement{Accounts: make([]AccountSettlement, 0, len(s.accounts))}
	for id, sums := range s.accounts {
		a := AccountSettlement{Account: id, Assets: s.assets(sums)}
		slices.SortFunc(sums.holds, func(a, b *HoldChange) int { return compareIDs(&a.ID, &b.ID) })
		for _, h := range sums.holds {
			a.Holds = append(a.Holds, *h)
		}
		slices.SortFunc(sums.refused, func(a, b exchange.CommandID) int { return compareIDs(&a, &b) })
		for _, id := range slices.Compact(sums.refused) {
			// An order that ended in this batch may have come again in it.
			if s.holds[holdName{a.Account, id}] == nil {
				a.Refused = append(a.Refused, id)
			}
		}
		out.Accounts = append(out.Accounts, a)
	}
	slices.SortFunc(out.Accounts, func(a, b AccountSettlement) int { return cmp.Compare(a.Account, b.Account) })
	if s.fees != 0 {
		out.Fees = []AssetChange{{Asset: s.quote, Available: s.fees}}
	}
	return out
}

func (s *settling) assets(sums *accountSums) []AssetChange {
	var out []AssetChange
	for _, c := range []AssetChange{
		{Asset: s.base, Available: sums.base.Available, Held: sums.base.Held},
		{Asset: s.quote, Available: sums.quote.Available, Held: sums.quote.Held},
	} {
		if c.Available != 0 || c.Held != 0 {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b AssetChange) int { return cmp.Compare(a.Asset, b.Asset) })
	return out
}

// MaxUntold is how many accounts a Settler remembers whose balances a Pusher
// would not take. Above it some are left with what they last heard of, until
// their next change.
const MaxUntold = 1 << 14

// SettlerConfig is what a Settler is made of. Instruments, Log and Balances are
// mandatory.
type SettlerConfig struct {
	Instruments []*exchange.Instrument
	Log         *Log
	Balances    Balances
	// Pusher gets the balances of the accounts an item has changed, once they
	// are booked; nil: nobody does.
	Pusher  Pusher
	Metrics Metrics
	Logger  *slog.Logger
}

// Settler brings trades, releases and ended holds to Balances, each once.
//
// It is also who pushes balances, because it alone knows when they are booked:
// after an item is, the accounts it has changed are read and pushed whole, with
// Account.Version as Seq. So what a client sees was true, and is never older
// than what it saw; two Settlers of two instruments may push in any order. A
// Settler that died between the two pushes again what the last item has
// changed, as soon as it hears of the instrument. A Pusher that fails keeps
// nothing from being booked; Handle reports it, and tries again with the next
// Notice.
//
// It is safe for concurrent use; of one instrument one call works at a time.
type Settler struct {
	consumer
	cfg         SettlerConfig
	instruments map[exchange.InstrumentID]*exchange.Instrument
	feed        *BalanceFeed // nil: none
	untold      map[exchange.InstrumentID]*untold
}

// untold is whom a Pusher has not heard of yet. It belongs to whoever has the
// instrument's turn.
type untold struct {
	accounts map[exchange.AccountID]bool
	now      exchange.Time // of the last item
}

// NewSettler returns a Settler; an error when something is missing.
func NewSettler(cfg SettlerConfig) (*Settler, error) {
	if err := checkConsumer("settler", cfg.Instruments, cfg.Log); err != nil {
		return nil, err
	}
	if cfg.Balances == nil {
		return nil, fmt.Errorf("settler: %w: no Balances", ErrInvalid)
	}
	cfg.Metrics, cfg.Logger = metricsOrNone(cfg.Metrics), loggerOrNone(cfg.Logger)
	s := &Settler{cfg: cfg, instruments: map[exchange.InstrumentID]*exchange.Instrument{}, untold: map[exchange.InstrumentID]*untold{}}
	s.consumer = newConsumer("settler", MetricSettledPosition, cfg.Instruments, cfg.Log, cfg.Metrics, cfg.Logger)
	s.begin, s.apply = s.start, s.settle
	if many, ok := cfg.Balances.(SettlerOfMany); ok {
		s.applyAll = func(ctx context.Context, items []Committed) (int, error) { return s.settleAll(ctx, many, items) }
	}
	for _, in := range cfg.Instruments {
		s.instruments[in.ID()] = in
		s.untold[in.ID()] = &untold{accounts: map[exchange.AccountID]bool{}}
	}
	if cfg.Pusher != nil {
		s.feed = NewBalanceFeed(cfg.Instruments, cfg.Balances, cfg.Pusher)
		s.after = s.tell
	}
	return s, nil
}

// Handle books an instrument's journal at least up to n. It may be repeated
// and called concurrently; an error means that n should be delivered again.
func (s *Settler) Handle(ctx context.Context, n Notice) error { return s.handle(ctx, n) }

// start returns how far the instrument is booked, and sees to it that the
// accounts of the last item hear of it.
func (s *Settler) start(ctx context.Context, n Notice) (Position, error) {
	at, err := s.cfg.Balances.Settled(ctx, n.Instrument)
	if err != nil {
		return 0, fmt.Errorf("asking how far it is booked: %w", err)
	}
	if s.feed == nil || at == 0 {
		return at, nil
	}
	items, err := s.log.Read(ctx, n.Instrument, at, 1)
	switch {
	case errors.Is(err, ErrTrimmed): // long told
	case err != nil:
		return 0, err
	case len(items) > 0:
		s.remember(items[0], Settle(s.instruments[n.Instrument], items[0].Batch()))
	}
	return at, nil
}

func (s *Settler) settle(ctx context.Context, c Committed) error {
	settlement := Settle(s.instruments[c.Instrument()], c.Batch())
	if err := s.cfg.Balances.Settle(ctx, c, settlement); err != nil {
		return fmt.Errorf("booking: %w", err)
	}
	s.booked(ctx, []Committed{c}, []*Settlement{settlement})
	return nil
}

// settleAll is settle for several items.
func (s *Settler) settleAll(ctx context.Context, many SettlerOfMany, items []Committed) (int, error) {
	settlements := make([]*Settlement, len(items))
	for i, c := range items {
		settlements[i] = Settle(s.instruments[c.Instrument()], c.Batch())
	}
	done, err := many.SettleAll(ctx, items, settlements)
	s.booked(ctx, items[:done], settlements[:done])
	if err != nil {
		err = fmt.Errorf("booking: %w", err)
	}
	return done, err
}

// booked tells whom items have changed.
func (s *Settler) booked(ctx context.Context, items []Committed, settlements []*Settlement) {
	if s.feed == nil || len(items) == 0 {
		return
	}
	for i := range items {
		s.remember(items[i], settlements[i])
	}
	// after says so when it still does not work at the end.
	_ = s.tell(ctx, items[0].Instrument())
}

// remember notes who is to hear of an item.
func (s *Settler) remember(c Committed, settlement *Settlement) {
	u := s.untold[c.Instrument()]
	u.now = max(u.now, c.Batch().LastTime())
	for i := range settlement.Accounts {
		acct := settlement.Accounts[i].Account
		if s.feed.listens(acct) && (u.accounts[acct] || len(u.accounts) < MaxUntold) {
			u.accounts[acct] = true
		}
	}
}

// tell pushes the balances of those who have not heard of them. What cannot be
// pushed now is tried again with every item and Notice.
func (s *Settler) tell(ctx context.Context, inst exchange.InstrumentID) error {
	u := s.untold[inst]
	if len(u.accounts) == 0 {
		return nil
	}
	accounts := make([]exchange.AccountID, 0, len(u.accounts))
	for acct := range u.accounts {
		accounts = append(accounts, acct)
	}
	slices.Sort(accounts)
	if err := s.feed.Push(ctx, u.now, accounts...); err != nil {
		s.cfg.Metrics.Count(MetricBalancesUntold, inst, 1)
		return fmt.Errorf("pushing the balances of %d accounts: %w", len(accounts), err)
	}
	clear(u.accounts)
	return nil
}
