package exchange

// OrderID is given by the engine: 1, 2, 3 ... per instrument, in the order of
// acceptance. Outside the engine an order is always (InstrumentID, OrderID).
type OrderID uint64

// TradeID is given by the engine: 1, 2, 3 ... per instrument.
type TradeID uint64

// CommandID is the sender's own id of a command, unique per instrument within
// the dedup window, and from then on the name of the order it created. It
// should be spread evenly, as a hash or a random number is. The zero id takes
// no part in duplicate detection.
type CommandID [16]byte

// Side is FIX tag 54. The values are part of the snapshot format: never
// renumber.
type Side uint8

// The two sides.
const (
	Buy  Side = 1 // FIX 54=1
	Sell Side = 2 // FIX 54=2
)

// Opposite returns the other side.
func (s Side) Opposite() Side { return Buy + Sell - s }

func (s Side) valid() bool { return s-Buy <= Sell-Buy } // one branch: the side is anybody's guess

// OrderType is FIX tag 40. The values are part of the snapshot format: never
// renumber.
type OrderType uint8

// The order types. A stop is triggered by a price moving against the market
// it wants (a buy by a rise), a take-profit by one moving towards it (a buy
// by a fall). What may be combined with what is ORDER-001 and following in
// docs/rules.
const (
	Limit           OrderType = 1 // FIX 40=2
	Market          OrderType = 2 // FIX 40=1: never rests
	MarketToLimit   OrderType = 3 // FIX 40=K: trades at the best price, rests there
	Stop            OrderType = 4 // FIX 40=3: a market order once triggered
	StopLimit       OrderType = 5 // FIX 40=4: a limit order once triggered
	TakeProfit      OrderType = 6 // FIX 40=J: a market order once triggered
	TakeProfitLimit OrderType = 7 // a limit order once triggered
)

func (t OrderType) valid() bool { return t >= Limit && t <= TakeProfitLimit }

// limited reports whether the type has a limit price of its own.
func (t OrderType) limited() bool {
	const types = 1<<Limit | 1<<StopLimit | 1<<TakeProfitLimit
	return types>>t&1 != 0
}

// triggered reports whether the type waits for a trigger price.
func (t OrderType) triggered() bool { return t >= Stop && t <= TakeProfitLimit }

// TimeInForce is FIX tag 59. The values are part of the snapshot format:
// never renumber.
type TimeInForce uint8

// The times in force.
const (
	GTC TimeInForce = 1 // FIX 59=1: until canceled
	Day TimeInForce = 2 // FIX 59=0: until the end-of-day command
	GTD TimeInForce = 3 // FIX 59=6: until the clock reaches Expire
	IOC TimeInForce = 4 // FIX 59=3: what cannot trade at once is canceled
	FOK TimeInForce = 5 // FIX 59=4: all at once or nothing
)

func (t TimeInForce) valid() bool { return t >= GTC && t <= FOK }

// immediate reports whether an order of this kind can never rest.
func (t TimeInForce) immediate() bool { return t == IOC || t == FOK }

// SelfTradePrevention says what happens when an order would trade with one of
// the same account or group; the taker's mode decides. The zero value lets it
// trade. The values are part of the snapshot format: never renumber.
type SelfTradePrevention uint8

// The modes of self-trade prevention.
const (
	CancelNewest SelfTradePrevention = 1 // the taker's remainder is canceled
	CancelOldest SelfTradePrevention = 2 // the maker is canceled, matching goes on
	CancelBoth   SelfTradePrevention = 3 // both are canceled
	Decrement    SelfTradePrevention = 4 // both lose the smaller open quantity
)

func (m SelfTradePrevention) valid() bool { return m <= Decrement }

// PostOnly says what happens to an order that may only add to the book when
// it would take from it. The zero value is an ordinary order. The values are
// part of the snapshot format: never renumber.
type PostOnly uint8

// The modes of post-only orders.
const (
	PostOnlyReject PostOnly = 1 // the order is rejected
	PostOnlySlide  PostOnly = 2 // its price moves to one tick off the opposite best
)

func (p PostOnly) valid() bool { return p <= PostOnlySlide }

// Order is a live order as the engine sees it: resting in the book, or
// waiting for its trigger. OrderQty = CumQty + LeavesQty always holds.
type Order struct {
	ID           OrderID
	CommandID    CommandID // the id of the command that created it
	Account      AccountID
	Instrument   InstrumentID
	Group        uint32 // self-trade prevention group, 0: none
	Side         Side
	Type         OrderType
	TimeInForce  TimeInForce
	SelfTrade    SelfTradePrevention
	PostOnly     PostOnly
	Hidden       bool
	Pending      bool    // waiting for its trigger, not in the book
	Price        Price   // limit price; of a pending market type its worst price or 0
	StopPrice    Price   // trigger price of a pending order
	OrderQty     Qty     // total quantity, executed part included
	CumQty       Qty     // executed
	LeavesQty    Qty     // open
	ShownQty     Qty     // the part of LeavesQty the public sees
	DisplayQty   Qty     // size of an iceberg's slice, 0: no iceberg
	Expire       Time    // of a GTD order
	Funds        Amount  // what is left of a budget, 0: none
	Held         Amount  // funds held for it, in the asset it gives away
	MakerFee     FeeRate // the rates of its entry
	TakerFee     FeeRate
	FeeRemainder int32 // what the booked fee exceeds the exact one by, in millionths of an atom
}
