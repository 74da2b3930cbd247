package exchange

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

// brought returns what is held for a command itself.
func (c *core) brought(cmd *Command) Amount {
	if c.held && (cmd.Kind == KindNewOrder || cmd.Kind == KindAmend || cmd.Kind == KindReplace) && cmd.Held > 0 {
		return cmd.Held
	}
	return 0
}

// event appends an event and returns it to be filled in place. It is valid
// until the next one is appended.
func (s *stream) event(c *core, kind EventKind) *Event {
	n := len(c.out)
	if n < cap(c.out) {
		c.out = c.out[:n+1]
	} else {
		c.out = append(c.out, Event{})
	}
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

// begin checks a command against the dedup window and remembers it. It
// reports false, having said why, for one that must not be applied. b is nil
// for the engine's own stream.
func (s *stream) begin(c *core, cmd *Command, b *Book) bool {
	if cmd.ID == (CommandID{}) {
		return true
	}
	w := &s.window
	w.prune(c.now)
	h := cmd.ID.hash()
	e, _ := w.find(h, &cmd.ID)
	if e != nil || b != nil && w.outlived.n > 0 && b.outlived(h, &cmd.ID) != 0 {
		ev := s.event(c, EventDuplicate)
		s.seq--
		ev.Seq, ev.Reason, ev.ID, ev.Account = 0, DuplicateCommand, cmd.ID, cmd.Account
		return false
	}
	if cmd.Time > 0 && w.stale(cmd.Time, c.now) {
		s.reject(c, cmd, StaleCommand)
		return false
	}
	w.remember(h, cmd.ID, cmd.Time)
	return true
}

// window remembers the ids of the last commands (DEDUP-002), first in, first
// out, and which live orders they created. Ids with the same bucket are
// chained from the newest to the oldest, so a forgotten id needs no removal: a
// chain ends where the window does. A live order whose id is forgotten is
// found through outlived.
type window struct {
	span     Time
	count    int
	ring     []remembered // grows until it has room for count, then goes round
	added    uint32       // ids ever added, modulo 2^32; the next one's number
	n        int          // of them remembered
	heads    []uint32     // by bucket: one more than the number of the newest id
	outlived index        // live orders whose id is forgotten
	// bar is the highest Time of an id forgotten because of count.
	bar Time
}

type remembered struct {
	id    CommandID
	at    Time
	older uint32 // as in heads
	order ref    // the live order it created, 0: none
}

const (
	windowMinRing = 16 // a power of two, as all ring lengths
	headsPerID    = 2
	// dead is how far back a head points that ends a chain: further than any
	// window reaches, however the numbers wrap.
	dead = 1 << 31
)

func (w *window) slot(number uint32) *remembered { return &w.ring[number&uint32(len(w.ring)-1)] }

func (w *window) head(h uint32) *uint32 { return &w.heads[h&uint32(len(w.heads)-1)] }

// live reports whether a head's id is still remembered. A head that nothing
// touched for 2^32 ids may point at another's id; keys are compared.
func (w *window) live(head uint32) bool { return w.added-head < uint32(w.n) }

// find returns the id and its number if it is remembered, else nil.
func (w *window) find(h uint32, id *CommandID) (*remembered, uint32) {
	if w.n == 0 {
		return nil, 0
	}
	for head := *w.head(h); w.live(head); {
		e := w.slot(head - 1)
		if e.id == *id {
			return e, head - 1
		}
		head = e.older
	}
	return nil, 0
}

// prune forgets from the front what lies before the span.
func (w *window) prune(now Time) {
	for w.n > 0 && w.slot(w.added-uint32(w.n)).at < now-w.span {
		w.forget()
	}
}

func (w *window) forget() {
	if e := w.slot(w.added - uint32(w.n)); e.order != 0 {
		w.outlived.put(e.id.hash(), e.order)
		e.order = 0
	}
	w.n--
}

func (w *window) stale(t, now Time) bool { return t < now-w.span || t <= w.bar }

func (w *window) remember(h uint32, id CommandID, at Time) {
	if w.n == w.count {
		w.bar = max(w.bar, w.slot(w.added-uint32(w.n)).at)
		w.forget()
	}
	if w.n == len(w.ring) {
		w.grow()
	}
	e := w.slot(w.added)
	e.id, e.at, e.order = id, at, 0
	w.chain(h, e, w.added)
	w.added++
	w.n++
}

// chain puts an id with a number before the others of its bucket.
func (w *window) chain(h uint32, e *remembered, number uint32) {
	head := w.head(h)
	if e.older = *head; number-e.older >= uint32(w.n) {
		e.older = number - dead
	}
	*head = number + 1
}

// grow doubles the ring; numbers stay.
func (w *window) grow() {
	old := *w
	w.ring = make([]remembered, max(2*len(old.ring), windowMinRing))
	w.heads = make([]uint32, headsPerID*len(w.ring))
	for i := range w.heads {
		w.heads[i] = w.added - dead
	}
	for i := range uint32(w.n) {
		number := w.added - uint32(w.n) + i
		e := w.slot(number)
		*e = *old.slot(number)
		w.chain(e.id.hash(), e, number)
	}
}

// bind notes that the newest id created a live order and returns its number.
func (w *window) bind(r ref) uint32 {
	w.slot(w.added - 1).order = r
	return w.added - 1
}

// unbind notes that the order an id created has ended.
func (w *window) unbind(number uint32, id *CommandID, r ref) {
	// The comparison holds however long the order lived: no other id has r.
	if len(w.ring) > 0 && w.slot(number).order == r {
		w.slot(number).order = 0
	} else {
		w.outlived.remove(id.hash(), r)
	}
}
