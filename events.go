package exchange

import "strconv"

// EventKind tells what an Event says. The values are part of the journal
// format: never renumber.
type EventKind uint8

// The kinds of events. Every event carries Kind, Command, Instrument, Seq and
// Time; the comments name the other fields that mean something. ID is the
// CommandID of the order where an order is meant, else of the command.
const (
	EventAccepted           EventKind = 1  // a new order: ID, Account, OrderID, Side, Type, TimeInForce, PostOnly, Hidden, Price (after a slide), StopPrice, Qty = OrderQty, LeavesQty, DisplayQty, Release
	EventRejected           EventKind = 2  // the command was refused and changed nothing: Reason, ID, Account, OrderID (when it named one), Release
	EventDuplicate          EventKind = 3  // the command was seen before and changed nothing: ID, Account, Reason; Seq is 0; never journaled or published
	EventTrade              EventKind = 4  // ID, Account, OrderID, LeavesQty, Fee, Release of the taker; MakerID and so on of the maker; Side of the taker, TradeID, Price, Qty, Amount: the notional
	EventCanceled           EventKind = 5  // an order ended with quantity open: ID, Account, OrderID, Side, Reason, Price, Qty: what was canceled, OrderQty, Release, MakerRelease, Amount: what moves to the replacing order, MakerID: the ID of the command that named it
	EventExpired            EventKind = 6  // as Canceled, by its time in force
	EventAmended            EventKind = 7  // ID, Account, OrderID, Side, Reason, Price, StopPrice, Qty: the quantity taken off, OrderQty, LeavesQty, LostPlace, Release, MakerRelease, Amount: what moves from the command's hold to the order's, MakerID: the command's ID
	EventTriggered          EventKind = 8  // a waiting order enters the market: ID, Account, OrderID, Side, Type, Price, StopPrice, OrderQty, LeavesQty, Release
	EventReplenished        EventKind = 9  // an iceberg shows its next slice and goes to the back of its level: ID, Account, OrderID, Side, Price, Qty: the slice, LeavesQty
	EventSelfTradePrevented EventKind = 10 // taker and maker as in EventTrade, Price, Qty: what both lose by Decrement, Release and MakerRelease
	EventRepriced           EventKind = 11 // a market-to-limit order becomes a limit order: ID, Account, OrderID, Side, Price, LeavesQty, Release
	EventMassCanceled       EventKind = 12 // after its cancels: ID, Account, Side, Qty: how many
	EventKilled             EventKind = 13 // after its cancels: ID, Account, Qty: how many
	EventKillLifted         EventKind = 14 // ID, Account
	EventTimeAdvanced       EventKind = 15 // after what expired: ID
	EventDayEnded           EventKind = 16 // after what expired: ID, Qty: how many
	EventReferencePriceSet  EventKind = 17 // ID, Price
	EventLastPriceSet       EventKind = 18 // before what it triggers: ID, Price
	EventDeposited          EventKind = 19 // ID, Account, Asset, Amount
	EventWithdrawn          EventKind = 20 // ID, Account, Asset, Amount
	EventLimitSet           EventKind = 21 // ID, Account, Limit, Value
	EventFeesSet            EventKind = 22 // ID, MakerRate, TakerRate
	EventAccountStateSet    EventKind = 23 // ID, Account, AccountState
	EventInstrumentStateSet EventKind = 24 // before what it triggers: ID, InstrumentState
)

// Event is one output of the engine, a flat value without pointers. Seq is
// dense per instrument: 1, 2, 3 ... without a gap. Amounts are in quote atoms
// but for Release and MakerRelease, which are in the asset the order gives
// away: quote for a buy, base for a sell.
type Event struct {
	Kind            EventKind
	Command         CommandKind // what caused it
	Side            Side
	Type            OrderType
	TimeInForce     TimeInForce
	PostOnly        PostOnly
	Hidden          bool
	LostPlace       bool
	Limit           LimitKind
	AccountState    AccountState
	InstrumentState InstrumentState
	Reason          Reason
	Instrument      InstrumentID
	Asset           AssetID
	Seq             uint64
	Time            Time // the engine's clock
	ID              CommandID
	Account         AccountID
	OrderID         OrderID
	MakerID         CommandID
	MakerAccount    AccountID
	MakerOrderID    OrderID
	TradeID         TradeID
	Price           Price
	StopPrice       Price
	Qty             Qty // FIX LastQty (32) of a trade
	OrderQty        Qty
	LeavesQty       Qty
	MakerLeavesQty  Qty
	DisplayQty      Qty
	Amount          Amount
	Fee             Amount // what the trade adds to the order's fee; negative: a rebate
	MakerFee        Amount
	Release         Amount // of the hold of the order, or of the command when it was rejected
	MakerRelease    Amount // of the maker's hold; of the command's own hold in EventAmended and EventCanceled
	Value           int64
	MakerRate       FeeRate
	TakerRate       FeeRate
}

// Handler receives events from Dispatch. The event belongs to the caller of
// Dispatch and is valid until HandleEvent returns.
type Handler interface {
	HandleEvent(ev *Event)
}

// HandlerFunc lets a function be a Handler.
type HandlerFunc func(ev *Event)

// HandleEvent calls f.
func (f HandlerFunc) HandleEvent(ev *Event) { f(ev) }

// Dispatch hands events to h one by one. The engine's state has changed
// before, so h may call the engine again, with another slice.
func Dispatch(events []Event, h Handler) {
	for i := range events {
		h.HandleEvent(&events[i])
	}
}

// Rejected returns the reason when a command was refused: the one of its
// EventRejected, or DuplicateCommand. Either is the last of a command's
// events.
func Rejected(events []Event) (Reason, bool) {
	if n := len(events); n > 0 {
		if ev := &events[n-1]; ev.Kind == EventRejected || ev.Kind == EventDuplicate {
			return ev.Reason, true
		}
	}
	return 0, false
}

// Reason says why a command was rejected or an order ended. It is an error,
// so that errors.Is(ev.Reason, exchange.InsufficientFunds) works. The values
// are part of the journal format: never renumber. Reasons from ReasonUser on
// are for checks of the user's own.
type Reason uint16

// Why a command is rejected. The name in brackets is what the field calls the
// check.
const (
	InvalidKind          Reason = 1
	UnknownInstrument    Reason = 2
	UnknownAccount       Reason = 3
	UnknownAsset         Reason = 4
	UnknownOrder         Reason = 5
	StaleCommand         Reason = 6
	TimeBackwards        Reason = 7
	InvalidTime          Reason = 8
	InvalidSide          Reason = 9
	InvalidOrderType     Reason = 10
	InvalidTimeInForce   Reason = 11
	InvalidSelfTrade     Reason = 12
	InvalidPostOnly      Reason = 13
	InvalidHidden        Reason = 14
	InvalidExpire        Reason = 15
	InvalidPrice         Reason = 16
	InvalidStopPrice     Reason = 17
	InvalidQty           Reason = 18
	InvalidDisplayQty    Reason = 19
	InvalidMinQty        Reason = 20
	InvalidFunds         Reason = 21
	InvalidHeld          Reason = 22
	InvalidLimit         Reason = 23
	InvalidValue         Reason = 24
	InvalidFee           Reason = 25
	InvalidState         Reason = 26
	PriceBelowMin        Reason = 27 // PRICE_FILTER
	PriceAboveMax        Reason = 28 // PRICE_FILTER
	QtyBelowMin          Reason = 29 // LOT_SIZE
	QtyAboveMax          Reason = 30 // LOT_SIZE, maximum order volume
	NotionalBelowMin     Reason = 31 // MIN_NOTIONAL
	NotionalAboveMax     Reason = 32 // NOTIONAL, maximum order value
	IcebergParts         Reason = 33 // ICEBERG_PARTS
	OutsideCollar        Reason = 34 // PERCENT_PRICE, fat finger
	NoReferencePrice     Reason = 35 // NO_REFERENCE_PRICE
	WorstPriceRequired   Reason = 36
	InsufficientFunds    Reason = 37 // RISK_NSF
	MaxOpenOrders        Reason = 38 // MAX_NUM_ORDERS
	MaxPosition          Reason = 39 // MAX_POSITION
	MessageRate          Reason = 40 // message throttle
	AccountNotActive     Reason = 41
	InstrumentNotTrading Reason = 42
	KillSwitchEngaged    Reason = 43
	PostOnlyWouldTake    Reason = 44
	NothingToAmend       Reason = 45
	BookFull             Reason = 46
	TooManyAccounts      Reason = 47
	AmountOverflow       Reason = 48
	FundsNotKept         Reason = 49
	OffTick              Reason = 50 // PRICE_FILTER tick size; at the decimal edge
	OffLot               Reason = 51 // LOT_SIZE step; at the decimal edge
	OffScale             Reason = 52
	OutOfRange           Reason = 53
	InvalidNumber        Reason = 54
	DuplicateCommand     Reason = 55 // duplicate ClOrdID
	Voided               Reason = 56 // what a void is answered with
	InvalidID            Reason = 57 // a void without one
)

// Why an order is canceled, expired or amended.
const (
	ByRequest          Reason = 80 // Cancel or Amend
	ByReplace          Reason = 81
	ByMassCancel       Reason = 82
	ByKillSwitch       Reason = 83
	ByReduce           Reason = 84 // Reduce; one of at least the open quantity cancels
	ByAmend            Reason = 85 // amended to at most the executed quantity
	ImmediateRemainder Reason = 86 // what IOC or a market order could not trade
	FillOrKill         Reason = 87 // FOK could not trade in full
	MinQtyNotMet       Reason = 88
	NoLiquidity        Reason = 89 // nothing to take a price from
	FundsExhausted     Reason = 90 // the budget buys no further lot
	BySelfTrade        Reason = 91
	PostOnlyOnTrigger  Reason = 92 // would take when triggered
	ByExpire           Reason = 93 // GTD
	ByEndOfDay         Reason = 94 // Day
	ReasonUser         Reason = 1000
)

// maxReason is the highest Reason there can be.
const maxReason = 1<<16 - 1

var reasonNames = map[Reason]string{
	InvalidKind: "invalid command kind", UnknownInstrument: "unknown instrument", UnknownAccount: "unknown account",
	UnknownAsset: "unknown asset", UnknownOrder: "unknown order", StaleCommand: "stale command", TimeBackwards: "time goes backwards",
	InvalidTime: "invalid time", InvalidSide: "invalid side", InvalidOrderType: "invalid order type",
	InvalidTimeInForce: "invalid time in force", InvalidSelfTrade: "invalid self-trade prevention", InvalidPostOnly: "invalid post-only",
	InvalidHidden: "invalid hidden", InvalidExpire: "invalid expire", InvalidPrice: "invalid price", InvalidStopPrice: "invalid stop price",
	InvalidQty: "invalid quantity", InvalidDisplayQty: "invalid display quantity", InvalidMinQty: "invalid minimum quantity",
	InvalidFunds: "invalid funds", InvalidHeld: "invalid held amount", InvalidLimit: "invalid limit", InvalidValue: "invalid value",
	InvalidFee: "invalid fee", InvalidState: "invalid state", PriceBelowMin: "price below minimum", PriceAboveMax: "price above maximum",
	QtyBelowMin: "quantity below minimum", QtyAboveMax: "quantity above maximum", NotionalBelowMin: "notional below minimum",
	NotionalAboveMax: "notional above maximum", IcebergParts: "too many iceberg parts", OutsideCollar: "price outside collar",
	NoReferencePrice: "no reference price", WorstPriceRequired: "worst price or funds required", InsufficientFunds: "insufficient funds",
	MaxOpenOrders: "too many open orders", MaxPosition: "position limit", MessageRate: "message rate", AccountNotActive: "account not active",
	InstrumentNotTrading: "instrument not trading", KillSwitchEngaged: "kill switch engaged", PostOnlyWouldTake: "post-only order would take",
	NothingToAmend: "nothing to amend", BookFull: "book full", TooManyAccounts: "too many accounts", AmountOverflow: "amount overflow",
	FundsNotKept: "engine keeps no funds", OffTick: "off the tick", OffLot: "off the lot", OffScale: "too many decimals",
	OutOfRange: "out of range", InvalidNumber: "invalid number", DuplicateCommand: "duplicate command",
	Voided: "voided", InvalidID: "invalid command id",
	ByRequest: "requested", ByReplace: "replaced", ByMassCancel: "mass cancel", ByKillSwitch: "kill switch", ByReduce: "reduced",
	ByAmend: "amended to nothing", ImmediateRemainder: "immediate remainder", FillOrKill: "fill or kill", MinQtyNotMet: "minimum quantity not met",
	NoLiquidity: "no liquidity", FundsExhausted: "funds exhausted", BySelfTrade: "self-trade prevention",
	PostOnlyOnTrigger: "post-only order would take when triggered", ByExpire: "expired", ByEndOfDay: "end of day",
}

// String names the reason in lower case.
func (r Reason) String() string {
	if s, ok := reasonNames[r]; ok {
		return s
	}
	return "reason " + strconv.Itoa(int(r))
}

// Error is String, so that a Reason is an error.
func (r Reason) Error() string { return r.String() }

var eventNames = [...]string{"", "accepted", "rejected", "duplicate", "traded", "canceled", "expired", "amended", "triggered", "replenished",
	"self-trade prevented", "repriced", "mass canceled", "killed", "kill lifted", "time advanced", "day ended", "reference price set",
	"last price set", "deposited", "withdrawn", "limit set", "fees set", "account state set", "instrument state set"}

// String names the kind in lower case.
func (k EventKind) String() string { return nameOf(int(k), eventNames[:]) }

var commandNames = [...]string{"", "new order", "cancel", "reduce", "amend", "replace", "mass cancel", "kill", "lift kill", "advance time",
	"end day", "reference price", "last price", "deposit", "withdraw", "limit", "fees", "account state", "instrument state", "void"}

// String names the kind in lower case.
func (k CommandKind) String() string { return nameOf(int(k), commandNames[:]) }

// String returns "buy" or "sell".
func (s Side) String() string { return nameOf(int(s), []string{"", "buy", "sell"}) }

// String names the type in lower case.
func (t OrderType) String() string {
	return nameOf(int(t), []string{"", "limit", "market", "market-to-limit", "stop", "stop-limit", "take-profit", "take-profit-limit"})
}

// String returns the usual abbreviation.
func (t TimeInForce) String() string {
	return nameOf(int(t), []string{"", "GTC", "Day", "GTD", "IOC", "FOK"})
}

// String names the mode in lower case.
func (m SelfTradePrevention) String() string {
	if m == 0 {
		return "none"
	}
	return nameOf(int(m), []string{"", "cancel-newest", "cancel-oldest", "cancel-both", "decrement"})
}

// String names the mode in lower case.
func (p PostOnly) String() string {
	if p == 0 {
		return "none"
	}
	return nameOf(int(p), []string{"", "reject", "slide"})
}

// String names the limit in lower case.
func (k LimitKind) String() string {
	return nameOf(int(k), []string{"", "open orders", "position", "order quantity", "order notional", "messages", "message window",
		"minimum price", "maximum price", "collar up", "collar down"})
}

// String names the state in lower case.
func (s AccountState) String() string {
	return nameOf(int(s), []string{"", "active", "cancel only", "suspended"})
}

// String names the state in lower case.
func (s InstrumentState) String() string {
	return nameOf(int(s), []string{"", "trading", "cancel only", "halted"})
}

// String names the mode in lower case.
func (f Funds) String() string { return nameOf(int(f), []string{"", "none", "ledger", "held"}) }

func nameOf(i int, names []string) string {
	if i > 0 && i < len(names) {
		return names[i]
	}
	return "invalid " + strconv.Itoa(i)
}
