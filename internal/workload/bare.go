package workload

import (
	"math/bits"
	"slices"

	"github.com/castlecloud/exchange"
)

// Bare is the yardstick: what no engine can leave out of a command. It reads
// the command, all of it, writes one full event in place, looks up one order
// by its id in a dense table and splices one list; an amend that keeps its place only
// looks up. It decides nothing: which order an aggressor fills it is told.
//
// It keeps as many lists as the book has prices, rounded up to a power of two,
// and an order is in that of its price modulo their number. So on a deep or a
// wide workload it touches as many lists, orders and ids as the book has, but
// finds a price's list without a search, in memory as small as can be: it is
// a lower bound also there. (With a list for each of the wide workload's eight
// million ticks it was four times slower.)
type Bare struct {
	// nodes begin with the heads of the lists, which are rings, so that an
	// order's neighbours lie as far apart in memory as they do in a book. Free
	// nodes are linked by next, last in first out.
	nodes  []node
	rings  uint32
	free   uint32
	byID   []uint32 // node by order id, 0: none
	lastID exchange.OrderID
	trades exchange.TradeID
	seq    uint64
	events []exchange.Event

	stream *Stream
	done   int // commands so far
	taken  int // aggressors so far
	more   int // of stream.fills.more
}

// Chunk is how many commands are run between two calls of Sweep.
const Chunk = 1 << 14

// A node is 64 bytes, a cache line, as orders in slabs are.
type node struct {
	id       exchange.OrderID
	account  exchange.AccountID
	price    exchange.Price
	leaves   exchange.Qty
	orderQty exchange.Qty
	time     exchange.Time
	prev     uint32
	next     uint32
	side     exchange.Side
	_        [7]byte
}

// NewBare returns a bare loop in the state that the stream's Prefill leads to.
func NewBare(s *Stream) *Bare {
	ids := 1
	for _, part := range [...][]exchange.Command{s.Prefill, s.Commands} {
		for i := range part {
			if part[i].Kind == exchange.KindNewOrder {
				ids++
			}
		}
	}
	rings := 1 << bits.Len(uint(s.Levels-1))
	b := &Bare{stream: s, rings: uint32(rings), nodes: make([]node, rings, rings+s.Resting*5/4), byID: make([]uint32, ids), events: make([]exchange.Event, 1)}
	for i := range b.nodes {
		b.nodes[i].prev, b.nodes[i].next = uint32(i), uint32(i)
	}
	for i := range b.byID { // the operating system hands out memory now, not later
		b.byID[i] = 1
	}
	clear(b.byID)
	for part := range slices.Chunk(s.Prefill, Chunk) {
		b.Run(part)
		b.Sweep()
	}
	return b
}

// Run takes the next commands of the stream.
func (b *Bare) Run(commands []exchange.Command) {
	for i := range commands {
		cmd := &commands[i]
		ev := &b.events[0]
		*ev = exchange.Event{}
		b.seq++
		ev.Command, ev.Instrument, ev.Seq, ev.Time = cmd.Kind, cmd.Instrument, b.seq, cmd.Time
		ev.ID, ev.Account = cmd.ID, cmd.Account
		ev.Limit, ev.AccountState, ev.InstrumentState, ev.Asset = cmd.Limit, cmd.AccountState, cmd.InstrumentState, cmd.Asset
		ev.StopPrice, ev.DisplayQty, ev.Release = cmd.StopPrice, cmd.DisplayQty, cmd.Held
		ev.Value, ev.MakerRate, ev.TakerRate = cmd.Value, cmd.MakerFee, cmd.TakerFee
		switch {
		case cmd.Kind == exchange.KindCancel:
			b.cancel(ev, cmd)
		case cmd.Kind == exchange.KindAmend:
			b.amend(ev, cmd)
		case cmd.Type == exchange.Limit && cmd.TimeInForce == exchange.GTC:
			b.add(ev, cmd)
		default:
			b.take(ev, cmd)
		}
	}
	b.done += len(commands)
}

func (b *Bare) add(ev *exchange.Event, cmd *exchange.Command) {
	at := b.free
	if at != 0 {
		b.free = b.nodes[at].next
	} else {
		at = uint32(len(b.nodes))
		b.nodes = append(b.nodes, node{})
	}
	b.lastID++
	b.byID[b.lastID] = at
	n := &b.nodes[at]
	n.id, n.account, n.price, n.side, n.time = b.lastID, cmd.Account, cmd.Price, cmd.Side, cmd.Time
	n.leaves, n.orderQty = cmd.Qty, cmd.Qty
	b.link(at, n)
	ev.Kind = exchange.EventAccepted
	ev.OrderID = b.lastID
	ev.Side, ev.Type, ev.TimeInForce, ev.PostOnly, ev.Hidden = cmd.Side, cmd.Type, cmd.TimeInForce, cmd.PostOnly, cmd.Hidden
	ev.Price, ev.OrderQty, ev.LeavesQty = cmd.Price, cmd.Qty, cmd.Qty
}

func (b *Bare) cancel(ev *exchange.Event, cmd *exchange.Command) {
	at := b.byID[cmd.OrderID]
	n := &b.nodes[at]
	ev.Kind, ev.Reason = exchange.EventCanceled, exchange.ByRequest
	b.describe(ev, n)
	ev.Qty = n.leaves
	b.remove(at, n)
}

func (b *Bare) amend(ev *exchange.Event, cmd *exchange.Command) {
	at := b.byID[cmd.OrderID]
	n := &b.nodes[at]
	if cmd.Price != 0 {
		b.unlink(n)
		n.price = cmd.Price
		b.link(at, n)
		ev.LostPlace = true
	} else {
		ev.Qty = n.orderQty - cmd.Qty
		n.orderQty -= ev.Qty
		n.leaves -= ev.Qty
	}
	ev.Kind, ev.Reason = exchange.EventAmended, exchange.ByRequest
	b.describe(ev, n)
	ev.LeavesQty = n.leaves
}

func (b *Bare) take(ev *exchange.Event, cmd *exchange.Command) {
	maker := b.stream.fills.first[b.taken]
	at := b.byID[maker.order]
	b.taken++
	b.lastID++
	b.trades++
	n := &b.nodes[at]
	traded := min(cmd.Qty, n.leaves)
	n.leaves -= traded
	ev.Kind = exchange.EventTrade
	ev.OrderID, ev.MakerOrderID, ev.MakerAccount = b.lastID, n.id, n.account
	ev.TradeID, ev.Side, ev.Price, ev.Qty = b.trades, cmd.Side, n.price, traded
	ev.Amount = exchange.Amount(n.price) * exchange.Amount(traded)
	ev.LeavesQty, ev.MakerLeavesQty = cmd.Qty-traded, n.leaves
	if maker.full {
		b.remove(at, n)
	}
}

func (b *Bare) describe(ev *exchange.Event, n *node) {
	ev.OrderID, ev.Side, ev.Price, ev.OrderQty = n.id, n.side, n.price, n.orderQty
}

// link puts a node at the back of its ring.
func (b *Bare) link(at uint32, n *node) {
	head := uint32(n.price) & (b.rings - 1)
	last := b.nodes[head].prev
	n.prev, n.next = last, head
	b.nodes[last].next, b.nodes[head].prev = at, at
}

func (b *Bare) unlink(n *node) {
	b.nodes[n.prev].next, b.nodes[n.next].prev = n.next, n.prev
}

func (b *Bare) remove(at uint32, n *node) {
	b.byID[n.id] = 0
	b.unlink(n)
	n.next, b.free = b.free, at
}

// Sweep removes the orders that aggressors filled beyond the first, so that
// the bare loop keeps the orders an engine keeps. It is no part of the
// yardstick: call it between runs of some thousand commands, untimed.
func (b *Bare) Sweep() {
	more := b.stream.fills.more
	for ; b.more < len(more) && more[b.more].command < b.done; b.more++ {
		at := b.byID[more[b.more].order]
		b.remove(at, &b.nodes[at])
	}
}
