package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/castlecloud/exchange"
)

// Errors of the ports, matched with errors.Is. An error that matches none of
// them, and is no exchange.Reason, means that nobody knows whether the call
// took effect: the caller asks, or does it again where the method says that it
// may.
var (
	// ErrFenced says that another writer has appended since: whatever was
	// computed on the old head is worth nothing.
	ErrFenced = errors.New("fenced: the journal has moved on")
	// ErrNotCommitted says that a Committed did not come from a journal.
	ErrNotCommitted = errors.New("not committed: no journal has it")
	// ErrNotFound says that there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrTrimmed says that the items asked for have been removed.
	ErrTrimmed = errors.New("trimmed: the journal begins later")
	// ErrGap says that an effect was offered before the one in front of it.
	ErrGap = errors.New("gap: an earlier journal item is missing")
	// ErrConflict says that the id is known with other contents.
	ErrConflict = errors.New("conflict: the id is known with other contents")
	// ErrHoldEnded says that the hold was there and has ended: it is never
	// placed again.
	ErrHoldEnded = errors.New("the hold has ended")
	// ErrTooLarge says that a value exceeds the bound the port names.
	ErrTooLarge = errors.New("too large")
	// ErrFull says that a bounded queue has no room now.
	ErrFull = errors.New("full")
	// ErrInvalid says that an argument is outside what the port allows.
	ErrInvalid = errors.New("invalid argument")
)

// Bounds that every port implementation keeps to and may rely on.
const (
	MaxItemBytes     = 256 << 20 // of a journal item's Data
	MaxSnapshotBytes = 1 << 30   // of a Snapshot's Data
	MaxMessageBytes  = 4 << 10   // of a QueueMessage's Body
	MaxSendMessages  = 1000      // of one CommandQueue.Send
	MaxReceive       = 1000      // messages of one CommandQueue.Receive
	MaxReadItems     = 1000      // of one Journal.Read
	MaxQueryRows     = 1000      // of one query of a TradeStore, of Holds and of Spanning
	MaxDepthLevels   = 1000      // of one side of a Depth
	MaxClientIDBytes = 64        // of a client's own id
	MaxNameBytes     = 256       // of an Archive object's name
	MaxObjectBytes   = 512 << 20 // of an Archive object
)

// Position is the number of an item in an instrument's journal: 1, 2, 3 ...
// without a gap. 0 stands before the first.
type Position uint64

// Hash is the running hash of a journal: the SHA-256 of the hash before and
// the item's Data. Before the first item it is zero.
type Hash [32]byte

// Head is where a journal ends, or where a state was taken: the position and
// the running hash of an item, that item included.
type Head struct {
	Position Position
	Hash     Hash
}

// Item is one entry of a journal: commands and their events, encoded. A store
// looks at no more than Head and the length of Data.
type Item struct {
	Head
	Data []byte
}

// Snapshot is the state of one instrument's engine after the item at Head.
type Snapshot struct {
	Head
	Data []byte
}

// Journal is the truth of orders and trades: a sequence of items per
// instrument, with one writer at a time, and durable snapshots of what they
// lead to. Use it through a Log, which encodes, reads back after a doubtful
// answer, and mints Committed.
//
// All methods may be called concurrently. None keeps a slice it was given, and
// what they return belongs to the caller. What a method has confirmed survives
// a crash, but for MarkPublished.
type Journal interface {
	// Append adds item as the successor of the item at item.Position-1.
	// ErrFenced: the head is another one; nothing was written. ErrTooLarge:
	// Data is empty or longer than MaxItemBytes. A store whose records are
	// smaller writes parts that nobody reads first and commits them by one
	// record that names them. After any other error the caller reads back.
	// Of two calls with the same position one succeeds.
	Append(ctx context.Context, inst exchange.InstrumentID, item Item) error
	// Read returns items from position from on (1 or more, ErrInvalid), in
	// order and without a gap, at most limit (1 to MaxReadItems, ErrInvalid)
	// and at least one when there is one. None is no error. ErrTrimmed: from was removed.
	Read(ctx context.Context, inst exchange.InstrumentID, from Position, limit int) ([]Item, error)
	// Head returns the end of the journal, zero when it is empty. Trim does
	// not change it.
	Head(ctx context.Context, inst exchange.InstrumentID) (Head, error)
	// SaveSnapshot keeps snap, durably, unless a newer one is there; then it
	// does nothing. It may be repeated. ErrTooLarge above MaxSnapshotBytes.
	SaveSnapshot(ctx context.Context, inst exchange.InstrumentID, snap Snapshot) error
	// LoadSnapshot returns the newest snapshot, or ErrNotFound.
	LoadSnapshot(ctx context.Context, inst exchange.InstrumentID) (Snapshot, error)
	// MarkPublished notes that everything up to pos was published. A lower
	// pos than before is ignored. The mark may go back in a crash, never
	// forward: then something is published twice.
	MarkPublished(ctx context.Context, inst exchange.InstrumentID, pos Position) error
	// Published returns the mark, 0 at first.
	Published(ctx context.Context, inst exchange.InstrumentID) (Position, error)
	// Trim removes the items up to pos. It refuses (ErrInvalid) to remove
	// what lies above the durable snapshot or the head. The caller has made sure that
	// every consumer has read them and that they are archived.
	Trim(ctx context.Context, inst exchange.InstrumentID, pos Position) error
}

// EventBus carries requests from the edge to the OrderProcessor, in any order,
// at least once. How they are delivered is the platform's: the bus of package
// memory calls a function, EventBridge invokes one. A request whose handler
// fails is delivered again.
type EventBus interface {
	// Put hands over one request, which it does not keep. When it returns nil
	// the request will be delivered. It may be repeated: the request's key
	// makes the duplicate harmless. ErrFull: no room now. It may be called
	// concurrently.
	Put(ctx context.Context, req *Request) error
}

// QueueMessage is one command on its way to the matching engine.
type QueueMessage struct {
	Instrument exchange.InstrumentID
	DedupID    exchange.CommandID // a queue may drop a message whose id it has seen lately
	Body       []byte             // an encoded Message, at most MaxMessageBytes
}

// Delivery is what Receive hands out: messages of one instrument, in order.
// Until it is acknowledged, or the queue gives up waiting, nobody gets
// messages of that instrument.
type Delivery struct {
	Instrument exchange.InstrumentID
	Messages   []QueueMessage
	Receipt    string // the queue's own
}

// CommandQueue brings commands to the matching engine: in order per
// instrument, at least once.
type CommandQueue interface {
	// Send appends messages, each to its instrument's queue, in the order of
	// the slice (1 to MaxSendMessages, ErrInvalid; ErrTooLarge: a Body).
	// After an error some may have been sent: send all again. It may be
	// called concurrently and keeps no slice. ErrFull: no room now.
	Send(ctx context.Context, messages []QueueMessage) error
	// Receive waits until there are messages of an instrument that nobody
	// works on, or ctx ends (its error), and returns at most limit of them (1
	// to MaxReceive, ErrInvalid). The slices belong to the caller.
	Receive(ctx context.Context, limit int) (Delivery, error)
	// Ack removes the first done messages of a delivery; the others are
	// delivered again, in their old order. ErrInvalid: done is below 0 or above
	// what was delivered. It may be repeated, and then changes nothing,
	// whether it returns nil or ErrNotFound; one that comes after the queue
	// gave up waiting is ErrNotFound and changes nothing.
	Ack(ctx context.Context, d Delivery, done int) error
}

// BookOrder is one visible order of a public book (L3).
type BookOrder struct {
	ID    exchange.OrderID
	Price exchange.Price
	Qty   exchange.Qty
}

// Depth is the public book of an instrument after the event Seq.
type Depth struct {
	Instrument           exchange.InstrumentID
	Seq                  uint64
	Time                 exchange.Time
	LastPrice            exchange.Price // 0: no trade yet
	Bids, Asks           []exchange.Level
	BidOrders, AskOrders []BookOrder // nil unless the matching engine is set to give them
}

// BookStore keeps the book as last seen. It is disposable: losing it, or
// finding it older than it was, costs a replay and nothing else.
//
// All methods may be called concurrently, may be repeated, and keep no slice.
type BookStore interface {
	// SaveBook keeps the engine's snapshot as of c: data, c.Head() together.
	// One that is older than what is there is ignored. ErrNotCommitted for the
	// zero c, ErrTooLarge above MaxSnapshotBytes.
	SaveBook(ctx context.Context, c Committed, data []byte) error
	// LoadBook returns the snapshot of an instrument, or ErrNotFound.
	LoadBook(ctx context.Context, inst exchange.InstrumentID) (Snapshot, error)
	// SaveDepth keeps the depth as of c. One with a lower Seq than what is
	// there is ignored. ErrNotCommitted for the zero c, ErrInvalid when d is
	// of another instrument, ErrTooLarge above MaxDepthLevels a side.
	SaveDepth(ctx context.Context, c Committed, d *Depth) error
	// Depth returns the depth of an instrument, or ErrNotFound.
	Depth(ctx context.Context, inst exchange.InstrumentID) (*Depth, error)
}

// Transfer is a deposit or a withdrawal.
type Transfer struct {
	ID      exchange.CommandID // mandatory; the same id is booked once
	Account exchange.AccountID // not 0
	Asset   exchange.AssetID
	Amount  exchange.Amount // more than 0
	Time    exchange.Time
}

// Hold sets funds aside for one command, whose id is the hold's.
type Hold struct {
	ID         exchange.CommandID
	Account    exchange.AccountID
	Instrument exchange.InstrumentID
	Asset      exchange.AssetID
	Amount     exchange.Amount // 0 to exchange.MaxHeld
	Time       exchange.Time   // the command's
	// NewOrder: the command adds an order, which counts as open until its hold
	// ends. A replace does not: its order counts once it has the old one's place.
	NewOrder bool
	// Gain is what the order brings of the asset it buys when it fills, for
	// the limit on what an account may have of an asset. 0: nothing to check.
	GainAsset exchange.AssetID
	Gain      exchange.Amount
	// WorstPrice is the one chosen for an order that came without, 0: none.
	// Prices move; whoever finds the hold sends the command that was meant.
	WorstPrice exchange.Price
	// Request is a digest of what was asked for. It tells a request that comes
	// again, at another time or when prices have moved, from another one under
	// the same id.
	Request [16]byte
}

// HoldState says how far a hold is. The values are stored: never renumber.
type HoldState uint8

// The states of a hold.
const (
	HoldPlaced HoldState = 1 // the engine has not been heard of
	HoldOpen   HoldState = 2 // the engine has taken it over
	HoldEnded  HoldState = 3 // spent and released; never placed again
)

// HoldRecord is a hold as it stands.
type HoldRecord struct {
	Hold
	State     HoldState
	Remaining exchange.Amount // what is still set aside
}

// AssetBalance is what an account has of one asset.
type AssetBalance struct {
	Asset exchange.AssetID
	exchange.Balance
}

// AccountLimits are what the RiskChecker enforces over all instruments. 0 is
// no limit.
type AccountLimits struct {
	MaxOpenOrders int64         // orders that are open or on their way
	MaxMessages   int64         // holds per MessageWindow, counted from the first, by their Time
	MessageWindow exchange.Time // ns
	// MaxHolding is the most of any one asset that an order may bring an
	// account to: available + held + Gain. What other open orders may bring is
	// not counted; the engine's own position limit counts it exactly.
	MaxHolding exchange.Amount
}

// Account is an account as Balances sees it.
type Account struct {
	ID         exchange.AccountID
	State      exchange.AccountState // 0 counts as active
	Killed     bool
	Limits     AccountLimits
	OpenOrders int64
	Balances   []AssetBalance // by AssetID, those that ever were
	// Version rises with every change of Balances, so that of two readings the
	// newer is known. It never goes back; it may rise by more than 1.
	Version uint64
}

// AssetChange is what a settlement does to one asset of an account.
type AssetChange struct {
	Asset     exchange.AssetID
	Available exchange.Amount // added, may be negative
	Held      exchange.Amount // added, may be negative
}

// HoldChange is what a settlement does to one hold. A hold that is not known
// is made (a replace without a hold of its own takes over the old order's);
// any hold that a settlement names is at least HoldOpen from then on.
type HoldChange struct {
	ID    exchange.CommandID
	Asset exchange.AssetID
	Delta exchange.Amount // added to what remains
	Ended bool            // from now on HoldEnded; Delta leaves nothing remaining
	// NewOrder is set when the hold belongs to an order, not to an amend.
	NewOrder bool
}

// AccountSettlement is what one journal item does to one account. Its deltas
// of Held over the assets equal its deltas over the holds.
type AccountSettlement struct {
	Account exchange.AccountID // not 0
	Assets  []AssetChange      // by AssetID, none twice
	Holds   []HoldChange       // by ID, none twice
	// Refused names commands that were refused or voided: what remains of such
	// a hold goes back to available, in the hold's asset, and the hold ends.
	// One that is not known (nothing was held) is remembered as ended: the
	// request may be delivered again, and must not be held for when the engine
	// will never look at it. One that has ended before (the command came again
	// and was stale), or that is another account's, is left alone. By ID, none
	// twice, none that is in Holds. It counts nowhere else: not in Assets, not
	// in what Check adds up.
	Refused []exchange.CommandID
}

// Settlement is what one journal item moves. The fees go to the venue's
// account of the instrument. It conserves: over accounts and fees the changes
// of every asset add up to 0.
// Check says whether all this is so.
type Settlement struct {
	Accounts []AccountSettlement // by Account, none twice
	Fees     []AssetChange       // Held is 0
}

// Balances is the truth of funds. No balance and no hold ever goes below zero,
// but for the venue's own accounts.
//
// All methods may be called concurrently and keep no slice; what they return
// belongs to the caller. What a method has confirmed survives a crash. A
// refusal is an exchange.Reason, which is an error.
type Balances interface {
	// Deposit adds to an account, once per ID; repeated with the same contents
	// it does nothing and returns nil. ErrConflict: the id is known with
	// others. AmountOverflow: the asset's total would pass 2^63-1.
	// UnknownAccount: account 0. InvalidFunds: Amount below 1. ErrInvalid: a
	// zero ID. A store that forgets old transfers refuses, as StaleCommand, an
	// unknown one that is not later than all it has forgotten, by their Time.
	Deposit(ctx context.Context, t Transfer) error
	// Withdraw takes from what is available, as Deposit does. Further
	// exchange.InsufficientFunds, which is not remembered.
	Withdraw(ctx context.Context, t Transfer) error
	// Hold moves h.Amount from available to held and remembers h under its id,
	// in one step with its checks. Repeated with the same contents it does
	// nothing and returns nil, whatever the account's state is now; with
	// others ErrConflict; when the hold has ended ErrHoldEnded. Refusals, in
	// this order: UnknownAccount (0), InvalidHeld, AccountNotActive,
	// KillSwitchEngaged, MessageRate, MaxOpenOrders (NewOrder only),
	// MaxPosition (MaxHolding), InsufficientFunds. A refusal leaves nothing
	// behind but the counted message; one for MessageRate is not counted.
	// ErrInvalid: a zero ID. A store may forget holds that have ended; from
	// then on it refuses, as StaleCommand (after InvalidHeld), an unknown hold
	// that is not later than all it has forgotten, by their Time.
	Hold(ctx context.Context, h Hold) error
	// HoldByID returns a hold as it stands, or ErrNotFound.
	HoldByID(ctx context.Context, acct exchange.AccountID, id exchange.CommandID) (HoldRecord, error)
	// Placed returns holds that are still HoldPlaced and whose Time lies
	// before the given one, oldest first by (Time, ID), those after the last
	// one of the page before (nil: from the oldest), at most limit (1 to
	// MaxQueryRows, ErrInvalid). The hold named by after need not be there.
	Placed(ctx context.Context, before exchange.Time, after *HoldRecord, limit int) ([]HoldRecord, error)
	// Settle books one journal item. It may be repeated: each account takes an
	// item once, guarded by the last position it took of the instrument. Items
	// come in order: ErrGap when c lies beyond Settled+1; at or below it
	// nothing happens. It is all or nothing per account, and Settled moves
	// when all is booked. ErrNotCommitted for the zero c. ErrInvalid, and
	// nothing is booked, when Check finds fault with s; ErrInvalid, and nothing
	// of that account is booked, when a change would take a balance or hold
	// below zero or past 2^63-1, leave something of a hold that ends, or change
	// one that has ended. Both are broken invariants. Refused comes after the
	// rest of its account and breaks none.
	Settle(ctx context.Context, c Committed, s *Settlement) error
	// Settled returns the position up to which an instrument is booked.
	Settled(ctx context.Context, inst exchange.InstrumentID) (Position, error)
	// Account returns an account; one that nobody has named is zero but for
	// its ID.
	Account(ctx context.Context, id exchange.AccountID) (Account, error)
	// Venue returns what an instrument's fees have come to.
	Venue(ctx context.Context, inst exchange.InstrumentID) ([]AssetBalance, error)
	// SetLimits sets an account's limits. UnknownAccount: account 0.
	// ErrInvalid: a limit below 0.
	SetLimits(ctx context.Context, id exchange.AccountID, limits AccountLimits) error
	// Span records a command that concerns an account in every instrument
	// (mass cancel, kill, lift kill, account state), by its ID, in one step
	// with what it does to the account: KindKill and KindLiftKill set Killed,
	// KindAccountState sets State. It may be repeated, also after Forget:
	// what has happened under an ID does not happen again. ErrConflict: the ID
	// is known with other contents. ErrInvalid: another kind, a zero ID,
	// account 0, or a state that is none.
	Span(ctx context.Context, cmd exchange.Command) error
	// Spanning returns recorded commands that were not forgotten, oldest
	// first, at most limit (1 to MaxQueryRows, ErrInvalid).
	Spanning(ctx context.Context, limit int) ([]exchange.Command, error)
	// Forget removes a recorded command: it was sent to every instrument. It
	// may be repeated.
	Forget(ctx context.Context, id exchange.CommandID) error
}

// SettlerOfMany is what a Balances may do besides, found by type assertion:
// book several items at a lower price than one after the other.
type SettlerOfMany interface {
	// SettleAll books items of one instrument that follow each other
	// (ErrInvalid) with what each moves, as Settle does one after the other. The
	// first done of them are booked, also when there is an error, which is that
	// of the next.
	SettleAll(ctx context.Context, items []Committed, settlements []*Settlement) (done int, err error)
}

// Notice tells a consumer that an instrument's journal was published up to a
// position. It may come late, twice or not at all: the consumer reads the
// journal, and the Sweeper sees to it that one who is behind hears of it.
type Notice struct {
	Instrument exchange.InstrumentID
	Position   Position
}

// Publisher tells every consumer what was committed.
type Publisher interface {
	// Publish hands out committed items of one instrument, in order. When it
	// returns nil each consumer will get, at least once, a Notice of the last
	// of them, or of a later one. ErrNotCommitted when one is zero, ErrInvalid
	// when they are not of one instrument and in order. It may be repeated and
	// called concurrently, and keeps no slice.
	Publish(ctx context.Context, items []Committed) error
}

// OrderStatus says what has become of an order. The values are stored: never
// renumber.
type OrderStatus uint8

// The states of an order (FIX tag 39).
const (
	OrderOpen     OrderStatus = 1 // FIX 39=0, or 1 once CumQty is above 0
	OrderPending  OrderStatus = 2 // waits for its trigger
	OrderFilled   OrderStatus = 3 // FIX 39=2
	OrderCanceled OrderStatus = 4 // FIX 39=4
	OrderExpired  OrderStatus = 5 // FIX 39=C
	OrderRejected OrderStatus = 6 // FIX 39=8; OrderID is 0
)

// Live reports whether an order may still trade.
func (s OrderStatus) Live() bool { return s == OrderOpen || s == OrderPending }

// OrderRecord is an order as queries see it. CommandID is its key.
type OrderRecord struct {
	CommandID   exchange.CommandID
	ClientID    string // the client's own id, "" without one
	Instrument  exchange.InstrumentID
	OrderID     exchange.OrderID
	Account     exchange.AccountID
	Side        exchange.Side
	Type        exchange.OrderType
	TimeInForce exchange.TimeInForce
	SelfTrade   exchange.SelfTradePrevention
	PostOnly    exchange.PostOnly
	Hidden      bool
	Status      OrderStatus
	Reason      exchange.Reason // why it was rejected, canceled or expired
	Price       exchange.Price
	StopPrice   exchange.Price
	OrderQty    exchange.Qty
	CumQty      exchange.Qty
	LeavesQty   exchange.Qty
	DisplayQty  exchange.Qty
	Funds       exchange.Amount // the budget it came with
	Notional    exchange.Amount // executed: CumQty at the trade prices
	Fee         exchange.Amount // so far
	Expire      exchange.Time
	Created     exchange.Time // Time of the command that made it
	Updated     exchange.Time
	Seq         uint64 // of the last event that changed it
}

// Trade is one trade as queries see it.
type Trade struct {
	Instrument   exchange.InstrumentID
	ID           exchange.TradeID
	Seq          uint64
	Time         exchange.Time
	Price        exchange.Price
	Qty          exchange.Qty
	Amount       exchange.Amount // notional
	Side         exchange.Side   // the taker's
	Taker, Maker Party
}

// Party is one side of a Trade.
type Party struct {
	CommandID exchange.CommandID
	OrderID   exchange.OrderID
	Account   exchange.AccountID
	Fee       exchange.Amount
}

// Record is what one journal item adds to a TradeStore.
type Record struct {
	Orders []OrderRecord // as they are after the item, none twice
	Trades []Trade       // in order
}

// OrderQuery asks for orders of an account, the newest first by (Created,
// CommandID).
type OrderQuery struct {
	Account    exchange.AccountID
	Instrument exchange.InstrumentID // 0: any
	LiveOnly   bool
	Before     *OrderRecord // the last one of the page before; nil: from the newest
	Limit      int          // 1 to MaxQueryRows
}

// TradeQuery asks for trades of an instrument, the newest first by ID.
type TradeQuery struct {
	Instrument exchange.InstrumentID
	Before     exchange.TradeID // 0: from the newest
	Since      exchange.Time    // 0: any
	Limit      int
}

// FillQuery asks for trades an account took part in, the newest first by
// (Time, Instrument, ID).
type FillQuery struct {
	Account    exchange.AccountID
	Instrument exchange.InstrumentID // 0: any
	Before     *Trade
	Limit      int
}

// Candle is what traded in one interval.
type Candle struct {
	Start                  exchange.Time // a multiple of the interval
	Open, High, Low, Close exchange.Price
	Volume                 exchange.Qty
	Trades                 int64
}

// CandleQuery asks for candles of an instrument, the newest first by Start.
// Intervals in which nothing traded are left out.
type CandleQuery struct {
	Instrument exchange.InstrumentID
	Interval   exchange.Time // a multiple of one minute up to one day that divides a day, else ErrInvalid
	From       exchange.Time // Start at or after it
	Before     exchange.Time // Start before it; 0: to the newest
	Limit      int           // 1 to MaxQueryRows
}

// TradeStore answers queries of trades and orders.
//
// All methods may be called concurrently and keep no slice; what they return
// belongs to the caller. A Limit outside 1 to MaxQueryRows is ErrInvalid.
type TradeStore interface {
	// Record adds one journal item, all of it in one step with the position.
	// It may be repeated: at or below Recorded it does nothing. ErrGap beyond
	// Recorded+1. ErrNotCommitted for the zero c.
	Record(ctx context.Context, c Committed, r *Record) error
	// Recorded returns the position up to which an instrument is recorded.
	Recorded(ctx context.Context, inst exchange.InstrumentID) (Position, error)
	// OrderByCommand, OrderByID and OrderByClientID return one order, or
	// ErrNotFound. A client's id may have come again: the newest counts.
	OrderByCommand(ctx context.Context, id exchange.CommandID) (OrderRecord, error)
	OrderByID(ctx context.Context, inst exchange.InstrumentID, id exchange.OrderID) (OrderRecord, error)
	OrderByClientID(ctx context.Context, acct exchange.AccountID, clientID string) (OrderRecord, error)
	Orders(ctx context.Context, q OrderQuery) ([]OrderRecord, error)
	Trades(ctx context.Context, q TradeQuery) ([]Trade, error)
	Fills(ctx context.Context, q FillQuery) ([]Trade, error)
	Candles(ctx context.Context, q CandleQuery) ([]Candle, error)
}

// Archive keeps objects for good, each written once.
//
// All methods may be called concurrently and keep no slice.
type Archive interface {
	// Put writes an object whole or not at all. Repeated with the same bytes
	// it does nothing and returns nil; with others ErrConflict. Names are
	// slash-separated, of letters, digits, '.', '_', '-' (ErrInvalid), at most
	// MaxNameBytes; no part is empty, "." or "..": CheckObjectName. ErrTooLarge
	// above MaxObjectBytes.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns an object, or ErrNotFound.
	Get(ctx context.Context, name string) ([]byte, error)
	// List returns the names with a prefix that come after a name, sorted, at
	// most limit (1 to MaxQueryRows, ErrInvalid).
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// Push is one message to the clients that have subscribed to its channel. Of
// one (Channel, Instrument, Account) they carry Seq in rising order: a client
// ignores one whose Seq it has. Whoever has seen all up to PrevSeq has missed
// nothing: it is the Seq of the one before, and a client whose last one is
// below it asks again. Feed.go says what Seq is in each channel.
type Push struct {
	Channel    Channel
	Instrument exchange.InstrumentID
	Account    exchange.AccountID // of a private channel; 0: public
	Seq        uint64
	PrevSeq    uint64
	Data       []byte // JSON
}

// Pusher brings messages to connected clients.
type Pusher interface {
	// Push hands over the messages of one journal item of an instrument, in
	// order, and then remembers its position. It never waits for a client: one
	// that is too slow is conflated or dropped. It may be repeated: at or
	// below Pushed it does nothing, and a client ignores what it has. It may
	// be called concurrently for different instruments, and keeps no slice but
	// Data, which nobody changes.
	Push(ctx context.Context, inst exchange.InstrumentID, pos Position, messages []Push) error
	// Pushed returns the position up to which an instrument was pushed; 0 when
	// it does not know. It may be lost with the connections: clients see the
	// gap and ask again.
	Pushed(ctx context.Context, inst exchange.InstrumentID) (Position, error)
	// Notify hands over messages that belong to no journal item: those of
	// ChannelBalances, each of which is whole. Of one account the highest Seq
	// counts: one that is not above the last is dropped (a Pusher that no
	// longer knows the last sends it, and the client ignores it). Like Push it
	// waits for no client, may be repeated, and keeps no slice but Data. It may
	// be called concurrently.
	Notify(ctx context.Context, messages []Push) error
}

// Listener is what a Pusher may do besides, found by type assertion: most
// messages have nobody who would get them, and need not be made then.
type Listener interface {
	// Listening reports whether anybody may get a message of a channel, an
	// instrument (0 for ChannelBalances) and an account (0 for a public
	// channel). When in doubt it says yes. It must be cheap, and may be called
	// concurrently. Whoever subscribes gets a snapshot made after it.
	Listening(channel Channel, inst exchange.InstrumentID, acct exchange.AccountID) bool
}

// BalanceListeners is what a Pusher may do besides, found by type assertion,
// when it has to ask elsewhere who listens.
type BalanceListeners interface {
	// BalanceListeners returns those of some accounts whose ChannelBalances
	// somebody may listen to. Whoever subscribes after it gets a snapshot made
	// after it. It may be called concurrently and keeps no slice.
	BalanceListeners(ctx context.Context, accounts []exchange.AccountID) ([]exchange.AccountID, error)
}

// Metrics takes measurements. A call must be cheap, must not block and cannot
// fail. It may be called concurrently. Names are constants of this package; the
// instrument is the only label, 0: none. An account never is one.
type Metrics interface {
	Count(name string, inst exchange.InstrumentID, n int64)
	Gauge(name string, inst exchange.InstrumentID, v float64)
	Observe(name string, inst exchange.InstrumentID, d time.Duration)
}
