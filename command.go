package exchange

// CommandKind tells what a Command does. The values are part of the journal
// format: never renumber.
type CommandKind uint8

// The kinds of commands, with the fields each reads beside Instrument, ID and
// Time. Fields that a kind does not name are ignored.
const (
	KindNewOrder        CommandKind = 1  // Account, Side, Type, TimeInForce, Price, StopPrice, Qty, Funds, DisplayQty, MinQty, Expire, SelfTrade, Group, PostOnly, Hidden, PriceIsDistance, Held
	KindCancel          CommandKind = 2  // Account, OrderID or OrigID
	KindReduce          CommandKind = 3  // Account, OrderID or OrigID, Qty: the quantity to take off
	KindAmend           CommandKind = 4  // Account, OrderID or OrigID, Price, Qty: the new total, StopPrice, Held; zero keeps the old
	KindReplace         CommandKind = 5  // Account, OrderID or OrigID, Price, Qty, StopPrice, Held; the rest is taken from the old order
	KindMassCancel      CommandKind = 6  // Account (0: all), Side (0: both); Instrument 0: every instrument
	KindKill            CommandKind = 7  // Account (0: all); Instrument 0: every instrument
	KindLiftKill        CommandKind = 8  // as KindKill
	KindAdvanceTime     CommandKind = 9  // Time; Instrument may be 0
	KindEndDay          CommandKind = 10 // Instrument 0: every instrument
	KindReferencePrice  CommandKind = 11 // Price; 0 takes it away
	KindLastPrice       CommandKind = 12 // Price
	KindDeposit         CommandKind = 13 // Account, Asset, Funds; Instrument is 0
	KindWithdraw        CommandKind = 14 // Account, Asset, Funds; Instrument is 0
	KindLimit           CommandKind = 15 // Limit, Value, Account, Instrument
	KindFees            CommandKind = 16 // MakerFee, TakerFee
	KindAccountState    CommandKind = 17 // Account, AccountState; Instrument is 0
	KindInstrumentState CommandKind = 18 // InstrumentState
	KindVoid            CommandKind = 19 // Account, Held, Value: the Reason to give, 0: Voided; ID is that of the command it stands for
)

// LimitKind names a limit that KindLimit sets. Whose limit it is follows from
// the command: Account alone, Instrument alone, or both. Where several apply
// the tightest counts. A negative Value takes the limit away.
type LimitKind uint8

// The limits and their units.
const (
	LimitOpenOrders    LimitKind = 1 // live orders of an account in an instrument, stops included
	LimitPosition      LimitKind = 2 // lots: what |executed net + open on that side| of an account in an instrument may reach
	LimitOrderQty      LimitKind = 3 // lots of one order
	LimitOrderNotional LimitKind = 4 // quote atoms of one order; needs an Instrument
	LimitMessages      LimitKind = 5 // order messages per window, of an account over all instruments; Instrument must be 0
	LimitMessageWindow LimitKind = 6 // nanoseconds of that window; Instrument must be 0
	LimitMinPrice      LimitKind = 7 // ticks; of an Instrument alone, as the rest
	LimitMaxPrice      LimitKind = 8
	LimitCollarUp      LimitKind = 9  // millionths of the reference price above it
	LimitCollarDown    LimitKind = 10 // millionths of the reference price below it
)

// AccountState says what an account may do. Zero counts as AccountActive.
type AccountState uint8

// The states of an account.
const (
	AccountActive     AccountState = 1
	AccountCancelOnly AccountState = 2 // may cancel and reduce, not add or change
	AccountSuspended  AccountState = 3 // every order message is refused
)

// InstrumentState says what an instrument accepts. Zero counts as
// InstrumentTrading.
type InstrumentState uint8

// The states of an instrument.
const (
	InstrumentTrading    InstrumentState = 1
	InstrumentCancelOnly InstrumentState = 2 // orders may be canceled and reduced
	InstrumentHalted     InstrumentState = 3 // every order message is refused
)

// Command is one input of the engine. It is a flat value without pointers:
// compare it with ==, copy it, journal it field by field. Constructors set
// what is mandatory; the rest is set on the value:
//
//	c := exchange.LimitOrder(inst, acct, exchange.Buy, px, qty)
//	c.TimeInForce = exchange.IOC
type Command struct {
	Kind            CommandKind
	Side            Side
	Type            OrderType
	TimeInForce     TimeInForce
	SelfTrade       SelfTradePrevention
	PostOnly        PostOnly
	Hidden          bool // the order is not shown in public depth
	PriceIsDistance bool // Price of a market type counts ticks from the opposite best
	Limit           LimitKind
	AccountState    AccountState
	InstrumentState InstrumentState
	Instrument      InstrumentID
	Asset           AssetID
	Group           uint32 // self-trade prevention group, 0: none
	Account         AccountID
	Time            Time // when the request entered the venue; 0: the engine's clock
	ID              CommandID
	OrderID         OrderID   // the order meant; 0: the one OrigID names
	OrigID          CommandID // the command that created the order meant
	Price           Price     // limit price; of market types the worst price, 0: none
	StopPrice       Price     // trigger price
	Qty             Qty
	DisplayQty      Qty    // an iceberg's slice, 0: all of it is shown
	MinQty          Qty    // least quantity that must trade at once, 0: none
	Funds           Amount // a budget in quote atoms, fee included; the amount of a deposit or withdrawal
	Held            Amount // FundsHeld only: what is held for this command
	Expire          Time   // of a GTD order
	Value           int64  // of a limit; of a void the Reason
	MakerFee        FeeRate
	TakerFee        FeeRate
}

func order(inst InstrumentID, acct AccountID, side Side, typ OrderType, tif TimeInForce) Command {
	return Command{Kind: KindNewOrder, Instrument: inst, Account: acct, Side: side, Type: typ, TimeInForce: tif}
}

// LimitOrder buys or sells qty at px or better and rests until canceled.
func LimitOrder(inst InstrumentID, acct AccountID, side Side, px Price, qty Qty) Command {
	c := order(inst, acct, side, Limit, GTC)
	c.Price, c.Qty = px, qty
	return c
}

// MarketOrder buys or sells qty at once at whatever the book offers. Set
// Price to bound it, absolutely or (PriceIsDistance) from the opposite best.
func MarketOrder(inst InstrumentID, acct AccountID, side Side, qty Qty) Command {
	c := order(inst, acct, side, Market, IOC)
	c.Qty = qty
	return c
}

// MarketOrderByFunds buys at once for at most funds, the fee included.
func MarketOrderByFunds(inst InstrumentID, acct AccountID, funds Amount) Command {
	c := order(inst, acct, Buy, Market, IOC)
	c.Funds = funds
	return c
}

// MarketToLimitOrder trades at the best opposite price and rests what is left
// there.
func MarketToLimitOrder(inst InstrumentID, acct AccountID, side Side, qty Qty) Command {
	c := order(inst, acct, side, MarketToLimit, GTC)
	c.Qty = qty
	return c
}

// StopOrder becomes a market order once a trade prints at stop or beyond: at
// or above it for a buy, at or below it for a sell.
func StopOrder(inst InstrumentID, acct AccountID, side Side, stop Price, qty Qty) Command {
	c := order(inst, acct, side, Stop, GTC)
	c.StopPrice, c.Qty = stop, qty
	return c
}

// StopLimitOrder becomes a limit order at px once a trade prints at stop or
// beyond.
func StopLimitOrder(inst InstrumentID, acct AccountID, side Side, stop, px Price, qty Qty) Command {
	c := order(inst, acct, side, StopLimit, GTC)
	c.StopPrice, c.Price, c.Qty = stop, px, qty
	return c
}

// TakeProfitOrder becomes a market order once a trade prints at stop or
// beyond: at or below it for a buy, at or above it for a sell.
func TakeProfitOrder(inst InstrumentID, acct AccountID, side Side, stop Price, qty Qty) Command {
	c := order(inst, acct, side, TakeProfit, GTC)
	c.StopPrice, c.Qty = stop, qty
	return c
}

// TakeProfitLimitOrder becomes a limit order at px once a trade prints at
// stop or beyond.
func TakeProfitLimitOrder(inst InstrumentID, acct AccountID, side Side, stop, px Price, qty Qty) Command {
	c := order(inst, acct, side, TakeProfitLimit, GTC)
	c.StopPrice, c.Price, c.Qty = stop, px, qty
	return c
}

// Cancel ends an order. To name it by the command that created it, leave id
// zero and set OrigID.
func Cancel(inst InstrumentID, acct AccountID, id OrderID) Command {
	return Command{Kind: KindCancel, Instrument: inst, Account: acct, OrderID: id}
}

// Reduce takes by off an order's open quantity and keeps its place; at least
// the open quantity cancels it.
func Reduce(inst InstrumentID, acct AccountID, id OrderID, by Qty) Command {
	return Command{Kind: KindReduce, Instrument: inst, Account: acct, OrderID: id, Qty: by}
}

// Amend changes an order's price or total quantity, executed part included.
// Zero keeps the old value. A smaller quantity keeps the place in the queue,
// any other change loses it.
func Amend(inst InstrumentID, acct AccountID, id OrderID, px Price, total Qty) Command {
	return Command{Kind: KindAmend, Instrument: inst, Account: acct, OrderID: id, Price: px, Qty: total}
}

// Replace cancels an order and enters another in its stead, of the same side
// and kind, with a new id, price and quantity. If the new one is refused the
// old one stays.
func Replace(inst InstrumentID, acct AccountID, id OrderID, px Price, qty Qty) Command {
	return Command{Kind: KindReplace, Instrument: inst, Account: acct, OrderID: id, Price: px, Qty: qty}
}

// MassCancel ends all orders of an account (0: of everyone) in an instrument
// (0: in all of them). Set Side to confine it to one.
func MassCancel(inst InstrumentID, acct AccountID) Command {
	return Command{Kind: KindMassCancel, Instrument: inst, Account: acct}
}

// Kill ends all orders of an account (0: of everyone) in an instrument (0: in
// all of them), and refuses new ones until LiftKill.
func Kill(inst InstrumentID, acct AccountID) Command {
	return Command{Kind: KindKill, Instrument: inst, Account: acct}
}

// LiftKill ends what a Kill of the same account and instrument began.
func LiftKill(inst InstrumentID, acct AccountID) Command {
	return Command{Kind: KindLiftKill, Instrument: inst, Account: acct}
}

// AdvanceTime brings the time, so that orders expire on a quiet book. The
// clock is the engine's; the instrument says which stream the event goes to.
func AdvanceTime(inst InstrumentID, now Time) Command {
	return Command{Kind: KindAdvanceTime, Instrument: inst, Time: now}
}

// EndDay expires the Day orders of an instrument (0: of all of them).
func EndDay(inst InstrumentID) Command {
	return Command{Kind: KindEndDay, Instrument: inst}
}

// SetReferencePrice sets the price the collar is measured from.
func SetReferencePrice(inst InstrumentID, px Price) Command {
	return Command{Kind: KindReferencePrice, Instrument: inst, Price: px}
}

// SetLastPrice sets the last trade price, which stops are triggered by.
func SetLastPrice(inst InstrumentID, px Price) Command {
	return Command{Kind: KindLastPrice, Instrument: inst, Price: px}
}

// Deposit adds to an account's available amount. FundsLedger only.
func Deposit(acct AccountID, asset AssetID, n Amount) Command {
	return Command{Kind: KindDeposit, Account: acct, Asset: asset, Funds: n}
}

// Withdraw takes from an account's available amount. FundsLedger only.
func Withdraw(acct AccountID, asset AssetID, n Amount) Command {
	return Command{Kind: KindWithdraw, Account: acct, Asset: asset, Funds: n}
}

// SetLimit sets a limit of an account (0: of every account), of an instrument
// (0: of every instrument), or of the pair.
func SetLimit(inst InstrumentID, acct AccountID, limit LimitKind, value int64) Command {
	return Command{Kind: KindLimit, Instrument: inst, Account: acct, Limit: limit, Value: value}
}

// SetFees sets the fees of orders that enter from now on.
func SetFees(inst InstrumentID, maker, taker FeeRate) Command {
	return Command{Kind: KindFees, Instrument: inst, MakerFee: maker, TakerFee: taker}
}

// SetAccountState sets what an account may do.
func SetAccountState(acct AccountID, state AccountState) Command {
	return Command{Kind: KindAccountState, Account: acct, AccountState: state}
}

// SetInstrumentState sets what an instrument accepts.
func SetInstrumentState(inst InstrumentID, state InstrumentState) Command {
	return Command{Kind: KindInstrumentState, Instrument: inst, InstrumentState: state}
}

// Void stands for a command of this id that funds are held for and that never
// arrived. Set Held to what is held for it. Unless the id is known it is used
// up, and the rejection, Voided, releases Held; should the command arrive
// after all, it is a duplicate. Set Time, and not before that of the command:
// then this holds however late it comes (VOID-004). Whoever has refused the
// command before the engine saw it sets Value to the Reason (VOID-005).
func Void(inst InstrumentID, acct AccountID, id CommandID) Command {
	return Command{Kind: KindVoid, Instrument: inst, Account: acct, ID: id}
}
