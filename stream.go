package exchange

import "math/bits"

// core is what an Engine shares with its Matchers while a command is applied.
type core struct {
	now  Time // the clock: the highest Time applied
	held bool // FundsHeld: commands bring what is held for them
	kind CommandKind
	out  []Event // the caller's slice, for as long as Apply runs
}

// stream is an instrument, or the engine as a whole, as a sequence of events,
// with the ids of the commands it has applied.
type stream struct {
	id     InstrumentID
	seq    uint64
	window window
}

//go:noinline
func (c *core) grow() { c.out = append(c.out, Event{})[:len(c.out)] }

// brought returns what is held for a command itself; for a void, under its id.
func (c *core) brought(cmd *Command) Amount {
	if c.held && (cmd.Kind == KindNewOrder || cmd.Kind == KindAmend || cmd.Kind == KindReplace || cmd.Kind == KindVoid) && cmd.Held > 0 {
		return cmd.Held
	}
	return 0
}

// event appends an event and returns it to be filled in place. It is valid
// until the next one is appended.
func (s *stream) event(c *core, kind EventKind) *Event {
	n := len(c.out)
	if n == cap(c.out) {
		c.grow()
	}
	c.out = c.out[:n+1]
	ev := &c.out[n]
	*ev = Event{}
	s.seq++
	ev.Kind, ev.Command, ev.Instrument, ev.Seq, ev.Time = kind, c.kind, s.id, s.seq, c.now
	return ev
}

// reject says that a command was refused. In FundsHeld what it held is
// released (FUNDS-003).
func (s *stream) reject(c *core, cmd *Command, reason Reason) {
	ev := s.event(c, EventRejected)
	ev.Reason, ev.ID, ev.Account, ev.Release = reason, cmd.ID, cmd.Account, c.brought(cmd)
	if cmd.Kind >= KindCancel && cmd.Kind <= KindReplace {
		ev.OrderID = cmd.OrderID
	}
}

// begin checks a command with an id against the dedup window and remembers it. It
// reports false, having said why, for one that must not be applied. b is nil
// for the engine's own stream.
func (s *stream) begin(c *core, cmd *Command, b *Book) bool {
	w := &s.window
	w.prune(c.now)
	h := cmd.ID.hash()
	_, known := w.find(h, &cmd.ID)
	if known || b != nil && w.outlived.n > 0 && b.outlived(h, &cmd.ID) != 0 {
		ev := s.event(c, EventDuplicate)
		s.seq--
		ev.Seq, ev.Reason, ev.ID, ev.Account = 0, DuplicateCommand, cmd.ID, cmd.Account
		return false
	}
	if cmd.Time > 0 && w.stale(cmd.Time, c.now) {
		s.reject(c, cmd, StaleCommand)
		return false
	}
	w.remember(h, &cmd.ID, cmd.Time)
	return true
}

// window remembers the ids of the last commands (DEDUP-002), first in, first
// out, and which live orders they created. Ids with the same bucket are
// chained from the newest to the oldest, so a forgotten id needs no removal: a
// chain ends where the window does. A live order whose id is forgotten is
// found through outlived.
type window struct {
	span       Time
	count      int
	numberMask uint32       // the bits of a number that a head keeps: twice the count and more
	filterBits uint32       // the other bits of a head
	ring       []remembered // grows until it has room for count, then goes round
	added      uint32       // ids ever added, modulo 2^32; the next one's number
	n          int          // of them remembered
	heads      []head       // by bucket
	bound      []uint32     // by order: the number of its id, unbound, or isOutlived
	outlived   index        // live orders whose id is forgotten
	// bar is the highest Time of an id forgotten because of count.
	bar Time
}

type remembered struct {
	id    CommandID
	at    Time
	older uint32 // the number of the next older id of its bucket
	order ref    // the order it created, 0: none; bound says whether it lives
}

// configure sets the bounds; 0 stands for the default.
func (w *window) configure(span Time, count int) {
	if w.span = span; span <= 0 {
		w.span = DefaultDedupSpan
	}
	if w.count = count; count <= 0 {
		w.count = DefaultDedupCount
	}
	w.filterBits = uint32(31 - bits.Len(uint(w.count)))
	w.numberMask = ^uint32(0) >> w.filterBits
}

// head is where a bucket's chain begins: in its low bits those of its newest
// id's number, as many as the window needs, and each bit above them says of
// some hashes that one may be in the chain. So an id that is new is known to
// be new, nearly always, by a branch that the processor foresees, instead of
// by waiting for memory.
type head uint32

const (
	windowMinRing = 16 // a power of two, as all ring lengths
	headsPerID    = 2
)

// maybe returns the bit of a hash in a head.
func (w *window) maybe(h uint32) head {
	return 1 << (31 - (h>>16)*w.filterBits>>16)
}

func (w *window) slot(number uint32) *remembered { return &w.ring[number&uint32(len(w.ring)-1)] }

func (w *window) head(h uint32) *head { return &w.heads[h&uint32(len(w.heads)-1)] }

// newest returns the number of a head's id. A head that nothing has touched for
// long may name another's id; keys are compared.
func (w *window) newest(of head) uint32 { return w.before(w.added, of) }

// before returns the last number before another that ends in a head's bits.
func (w *window) before(number uint32, of head) uint32 {
	return number - 1 - (number-1-uint32(of))&w.numberMask
}

// live reports whether the id with a number is still remembered.
func (w *window) live(number uint32) bool { return w.added-1-number < uint32(w.n) }

// find returns the number of an id; ok is false when it is not remembered.
func (w *window) find(h uint32, id *CommandID) (number uint32, ok bool) {
	if w.n == 0 {
		return 0, false
	}
	if first := *w.head(h); first&w.maybe(h) != 0 {
		for number := w.newest(first); w.live(number); {
			e := w.slot(number)
			if e.id == *id {
				return number, true
			}
			number = e.older
		}
	}
	return 0, false
}

// prune forgets from the front what lies before the span.
func (w *window) prune(now Time) {
	for w.n > 0 && w.slot(w.added-uint32(w.n)).at < now-w.span {
		w.forget()
	}
}

func (w *window) forget() {
	number := w.added - uint32(w.n)
	if r := w.orderOf(number); r != 0 {
		w.outlive(w.slot(number).id.hash(), r)
	}
	w.n--
}

func (w *window) stale(t, now Time) bool { return t < now-w.span || t <= w.bar }

func (w *window) remember(h uint32, id *CommandID, at Time) {
	if w.n == w.count {
		w.bar = max(w.bar, w.slot(w.added-uint32(w.n)).at)
		w.forget()
	}
	if w.n == len(w.ring) {
		w.grow()
	}
	e := w.slot(w.added)
	e.id, e.at, e.order = *id, at, 0
	w.chain(h, e, w.added)
	w.added++
	w.n++
}

// chain puts an id with a number, which comes after all of its bucket, before
// the others. Whether one of them is still remembered is anybody's guess, so
// there is no branch: the chain goes on to whatever it was, and find sees that
// it is forgotten.
func (w *window) chain(h uint32, e *remembered, number uint32) {
	at := w.head(h)
	first := *at
	e.older = w.before(number, first)
	filter := first &^ head(w.numberMask)
	if !w.live(e.older) {
		filter = 0
	}
	*at = filter | w.maybe(h) | head(number&w.numberMask)
}

// grow doubles the ring; numbers stay.
func (w *window) grow() {
	old := *w
	w.ring = make([]remembered, max(2*len(old.ring), windowMinRing))
	w.heads = make([]head, headsPerID*len(w.ring))
	for i := range w.heads { // further back than the window reaches
		w.heads[i] = head((w.added - w.numberMask/2 - 1) & w.numberMask)
	}
	for i := range uint32(w.n) {
		number := w.added - uint32(w.n) + i
		e := w.slot(number)
		*e = *old.slot(number)
		w.chain(e.id.hash(), e, number)
	}
}

// Beside numbers, which have 31 bits here, bound holds these.
const (
	boundBits  = 1<<31 - 1
	unbound    = 1 << 31
	isOutlived = 1<<31 + 1
)

// bind notes that the id with a number created a live order.
func (w *window) bind(number uint32, r ref) {
	w.slot(number).order = r
	w.bound[r] = number & boundBits
}

// outlive notes that a live order's id is forgotten.
func (w *window) outlive(h uint32, r ref) {
	w.outlived.put(h, r)
	w.bound[r] = isOutlived
}

// reserve makes room for orders up to a reference.
func (w *window) reserve(r ref) {
	for int(r) >= len(w.bound) {
		w.bound = append(w.bound, unbound)
	}
}

// orderOf returns the live order that the id with a number created, 0: none.
func (w *window) orderOf(number uint32) ref {
	r := w.slot(number).order // none, 0, is never bound
	if int(r) < len(w.bound) && w.bound[r] == number&boundBits {
		return r
	}
	return 0
}

// unbind notes that the order an id created has ended. It touches nothing of
// the window itself, which is large.
func (w *window) unbind(id *CommandID, r ref) {
	if w.bound[r] == isOutlived {
		w.outlived.remove(id.hash(), r)
	}
	w.bound[r] = unbound
}
