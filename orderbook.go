package exchange

// Book is the state of one instrument's orders: the two sides, the orders
// that wait for a trigger, and the indexes over them. It holds no policy; the
// Matcher does. Its exported methods read. They allocate nothing when the
// caller's slice has room, and must not run while a command is applied.
type Book struct {
	inst   *Instrument
	chunks []*orderChunk
	unused []ref
	next   ref
	extras slab[extra]
	levels slab[level]

	sides      [Sell + 1]ladder // by Side
	rise, fall ladder           // waiting for a trade at or above, at or below

	ids    idIndex
	window *window // by CommandID
	expiry []ref   // a heap of GTD orders by (Expire, OrderID)

	live      int
	open      [Sell + 1]Qty // open quantity of the live orders, by side
	last      Price         // 0: none
	reference Price         // 0: none
}

// orderChunk keeps apart what is touched at different times: the links by the
// neighbours too, which are anywhere, so they lie close together.
type orderChunk struct {
	links [chunkSize]link
	nodes [chunkSize]node
	tails [chunkSize]tail
}

// link joins an order to its neighbours in the queue of its level.
type link struct{ prev, next ref }

// node is the part of an order that matching reads: one cache line.
type node struct {
	held    Amount // what is held for it now
	level   ref    // 0: in no queue
	extra   ref    // 0: an order without special features
	id      OrderID
	account AccountID
	leaves  Qty
	qty     Qty    // OrderQty: executed is qty - leaves
	seat    ref    // in an Engine
	group   uint32 // self-trade prevention, 0: none
	feeRem  int32  // FEE-001: what the booked fee exceeds the exact one by, in millionths of an atom
	side    Side
	kind    uint8 // OrderType and TimeInForce, four bits each
	flags   orderFlags
}

// tail is the rest of an order.
type tail struct {
	cmd      CommandID
	makerFee FeeRate
	takerFee FeeRate
}

// extra is what only special orders have.
type extra struct {
	display Qty // iceberg
	shown   Qty
	stop    Price  // trigger
	limit   Price  // once triggered; a worst price for market types, 0: none
	funds   Amount // what is left of a budget
	minQty  Qty    // until it has been looked at
	expire  Time
	heapPos int // in expiry, from 1
}

type orderFlags uint16

const (
	flagSelfTrade orderFlags = 7 // three bits: SelfTradePrevention
	flagHidden    orderFlags = 1 << 3
	flagIceberg   orderFlags = 1 << 4
	flagPending   orderFlags = 1 << 5  // waits for its trigger
	flagListed    orderFlags = 1 << 6  // in ids and window
	flagBudget    orderFlags = 1 << 7  // has funds
	flagUnsized   orderFlags = 1 << 8  // a market order by funds alone: qty is a bound nobody asked for
	flagTail      orderFlags = 1 << 9  // its tail is not all zero
	flagNamed     orderFlags = 1 << 10 // so is the CommandID in it
	flagPostOnly  orderFlags = 3 << flagPostOnlyShift

	flagPostOnlyShift = 11
)

func (n *node) typ() OrderType                 { return OrderType(n.kind & 15) }
func (n *node) tif() TimeInForce               { return TimeInForce(n.kind >> 4) }
func (n *node) selfTrade() SelfTradePrevention { return SelfTradePrevention(n.flags & flagSelfTrade) }
func (n *node) postOnly() PostOnly             { return PostOnly(n.flags & flagPostOnly >> flagPostOnlyShift) }

func kindOf(t OrderType, f TimeInForce) uint8 { return uint8(t) | uint8(f)<<4 }

func (b *Book) init(inst *Instrument, w *window) {
	b.inst, b.window = inst, w
	b.sides[Buy].init(b, -1)
	b.sides[Sell].init(b, +1)
	b.rise.init(b, +1)
	b.fall.init(b, -1)
}

func (b *Book) link(r ref) *link { return &b.chunks[r>>chunkBits].links[r&(chunkSize-1)] }
func (b *Book) node(r ref) *node { return &b.chunks[r>>chunkBits].nodes[r&(chunkSize-1)] }

// noTail is the tail of orders without flagTail, for reading: without ids and
// funds there is no second cache line to touch.
var noTail tail

func (b *Book) tail(r ref, n *node) *tail {
	if n.flags&flagTail == 0 {
		return &noTail
	}
	return &b.chunks[r>>chunkBits].tails[r&(chunkSize-1)]
}

func (b *Book) ladder(s Side) *ladder { return &b.sides[s] }

func (b *Book) ladders() [4]*ladder {
	return [...]*ladder{&b.sides[Buy], &b.sides[Sell], &b.rise, &b.fall}
}

// triggers returns the ladder in which a waiting order of this kind stands.
func (b *Book) triggers(s Side, t OrderType) *ladder {
	if (s == Buy) == (t == Stop || t == StopLimit) {
		return &b.rise
	}
	return &b.fall
}

// alloc returns a slot for an order; its fields are what they were.
func (b *Book) alloc() ref {
	if n := len(b.unused); n > 0 {
		r := b.unused[n-1]
		b.unused = b.unused[:n-1]
		return r
	}
	return b.extend()
}

// extend returns a slot that was never used.
//
//go:noinline
func (b *Book) extend() ref {
	if b.next == 0 {
		b.next = 1
	}
	if int(b.next>>chunkBits) == len(b.chunks) {
		b.chunks = append(b.chunks, new(orderChunk))
		b.window.reserve(ref(len(b.chunks))<<chunkBits - 1)
	}
	b.next++
	return b.next - 1
}

// shown returns the part of an order's open quantity that trades next: a
// slice of an iceberg, else all of it.
func (b *Book) shown(n *node) Qty {
	if n.flags&flagIceberg != 0 {
		return b.extras.at(n.extra).shown
	}
	return n.leaves
}

// append puts an order at the back of a price.
func (b *Book) append(l *ladder, r ref, n *node, p Price) {
	lr, lv := l.level(p)
	n.level = lr
	b.push(r, b.link(r), lv)
	lv.orders++
	lv.total += n.leaves
	if n.flags&flagHidden == 0 {
		lv.shown++
		lv.visible += b.shown(n)
	}
}

// push links an order behind the last of a level.
func (b *Book) push(r ref, own *link, lv *level) {
	tail, head := lv.tail, lv.head
	*own = link{prev: tail}
	b.link(tail).next = r // slot 0 takes it when there is none
	if tail == 0 {
		head = r
	}
	lv.head, lv.tail = head, r
}

// pull takes an order out of the queue of a level. Where in the queue it
// stands is anybody's guess, the processor's too: no branches. Slot 0 takes
// what has no neighbour to go to.
func (b *Book) pull(own *link, lv *level) {
	prev, next, head, tail := own.prev, own.next, lv.head, lv.tail
	b.link(prev).next = next
	b.link(next).prev = prev
	if prev == 0 {
		head = next
	}
	if next == 0 {
		tail = prev
	}
	lv.head, lv.tail = head, tail
}

// unlink takes an order out of its queue, and its level away when it was the
// last. The level's quantities must count the order as it is.
func (b *Book) unlink(l *ladder, r ref, n *node) {
	lv := b.levels.at(n.level)
	lv.total -= n.leaves
	if n.flags&flagHidden == 0 {
		lv.shown--
		lv.visible -= b.shown(n)
	}
	b.pull(b.link(r), lv)
	if lv.orders--; lv.orders == 0 {
		l.remove(n.level, lv)
	}
	n.level = 0
}

// takeBoth takes q lots off an aggressor and a maker of the level.
func (b *Book) takeBoth(n, mk *node, lv *level, q Qty) {
	n.leaves -= q
	mk.leaves -= q
	lv.total -= q
	if mk.flags&flagHidden == 0 {
		lv.visible -= q
	}
	b.open[mk.side] -= q
	if n.flags&flagUnsized == 0 {
		b.open[n.side] -= q
	}
}

// toBack moves an order, which is in a queue, behind the others of its price.
func (b *Book) toBack(r ref, n *node) {
	lv := b.levels.at(n.level)
	if lv.tail == r {
		return
	}
	own := b.link(r)
	b.link(own.next).prev = own.prev
	if own.prev != 0 {
		b.link(own.prev).next = own.next
	} else {
		lv.head = own.next
	}
	own.prev, own.next = lv.tail, 0
	b.link(lv.tail).next = r
	lv.tail = r
}

// list makes an order findable by its ids.
func (b *Book) list(r ref, n *node) {
	n.flags |= flagListed
	b.ids.put(n.id, r)
	if n.flags&flagNamed != 0 {
		b.window.bind(b.window.added-1, r) // the command at hand
	}
	if n.tif() == GTD {
		b.pushExpiry(r)
	}
}

// relist does the same for an order of a snapshot, whose command may be
// anywhere in the window or forgotten.
func (b *Book) relist(r ref, n *node, t *tail) {
	b.ids.put(n.id, r)
	if t.cmd != (CommandID{}) {
		w, h := b.window, t.cmd.hash()
		if number, ok := w.find(h, &t.cmd); ok {
			w.bind(number, r)
		} else {
			w.outlive(h, r)
		}
	}
	if n.tif() == GTD {
		b.pushExpiry(r)
	}
}

// release forgets an order that is in no queue and frees its slot.
func (b *Book) release(r ref, n *node) {
	if n.flags&flagListed != 0 {
		b.ids.remove(n.id)
		if n.flags&flagNamed != 0 {
			b.window.unbind(&b.tail(r, n).cmd, r)
		}
		if n.tif() == GTD {
			b.popExpiry(r)
		}
	}
	if n.extra != 0 {
		b.extras.free(n.extra)
	}
	b.live--
	b.unused = append(b.unused, r)
}

// named returns the live order that a command created, 0 when there is none.
func (b *Book) named(id *CommandID) ref {
	h := id.hash()
	if number, ok := b.window.find(h, id); ok {
		return b.window.orderOf(number)
	}
	return b.outlived(h, id)
}

// outlived returns the live order whose command is forgotten, 0 when there is
// none.
func (b *Book) outlived(h uint32, id *CommandID) ref {
	at := h
	for r := b.window.outlived.next(h, &at); r != 0; r = b.window.outlived.next(h, &at) {
		if b.tail(r, b.node(r)).cmd == *id {
			return r
		}
	}
	return 0
}

// ladderOf returns the ladder an order in a queue stands in.
func (b *Book) ladderOf(n *node) *ladder {
	if n.flags&flagPending != 0 {
		return b.triggers(n.side, n.typ())
	}
	return b.ladder(n.side)
}

// The expiry heap is a binary heap whose orders know their place, so that one
// that ends early leaves no trace.

func (b *Book) expiresBefore(x, y ref) bool {
	nx, ny := b.node(x), b.node(y)
	ex, ey := b.extras.at(nx.extra).expire, b.extras.at(ny.extra).expire
	return ex < ey || ex == ey && nx.id < ny.id
}

func (b *Book) setExpiry(i int, r ref) {
	b.expiry[i] = r
	b.extras.at(b.node(r).extra).heapPos = i + 1
}

func (b *Book) pushExpiry(r ref) {
	b.expiry = append(b.expiry, r)
	b.siftUp(len(b.expiry)-1, r)
}

func (b *Book) popExpiry(r ref) {
	i := b.extras.at(b.node(r).extra).heapPos - 1
	n := len(b.expiry) - 1
	moved := b.expiry[n]
	b.expiry = b.expiry[:n]
	if i == n {
		return
	}
	b.siftUp(i, moved)
	b.siftDown(b.extras.at(b.node(moved).extra).heapPos-1, moved)
}

func (b *Book) siftUp(i int, r ref) {
	for i > 0 {
		parent := (i - 1) / 2
		if !b.expiresBefore(r, b.expiry[parent]) {
			break
		}
		b.setExpiry(i, b.expiry[parent])
		i = parent
	}
	b.setExpiry(i, r)
}

func (b *Book) siftDown(i int, r ref) {
	for {
		child := 2*i + 1
		if child >= len(b.expiry) {
			break
		}
		if child+1 < len(b.expiry) && b.expiresBefore(b.expiry[child+1], b.expiry[child]) {
			child++
		}
		if !b.expiresBefore(b.expiry[child], r) {
			break
		}
		b.setExpiry(i, b.expiry[child])
		i = child
	}
	b.setExpiry(i, r)
}

// nextExpiry returns when the next GTD order expires; ok is false without one.
func (b *Book) nextExpiry() (Time, bool) {
	if len(b.expiry) == 0 {
		return 0, false
	}
	return b.extras.at(b.node(b.expiry[0]).extra).expire, true
}
