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
	if w.has(h, &cmd.ID) || b != nil && w.forgot && b.named(&cmd.ID) != 0 {
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

// window remembers the ids of the last commands (DEDUP-002).
type window struct {
	span   Time
	count  int
	ring   []remembered // grows to count, then goes round
	first  int          // the oldest
	n      int
	ids    index // positions in ring, from 1
	forgot bool  // an id has been forgotten
	// bar is the highest Time of an id forgotten because of count.
	bar Time
}

type remembered struct {
	id CommandID
	at Time
}

func (w *window) has(h uint32, id *CommandID) bool {
	at := h
	for r := w.ids.next(h, &at); r != 0; r = w.ids.next(h, &at) {
		if w.ring[r-1].id == *id {
			return true
		}
	}
	return false
}

// prune forgets from the front what lies before the span.
func (w *window) prune(now Time) {
	for w.n > 0 && w.ring[w.first].at < now-w.span {
		w.forget()
	}
}

func (w *window) stale(t, now Time) bool { return t < now-w.span || t <= w.bar }

func (w *window) forget() {
	old := &w.ring[w.first]
	w.ids.remove(old.id.hash(), ref(w.first+1))
	if w.first++; w.first == len(w.ring) {
		w.first = 0
	}
	w.n--
	w.forgot = true
}

func (w *window) remember(h uint32, id CommandID, at Time) {
	if w.n == w.count {
		w.bar = max(w.bar, w.ring[w.first].at)
		w.forget()
	}
	pos := w.first + w.n
	switch {
	case w.n == len(w.ring) && len(w.ring) < w.count:
		w.grow()
		pos = w.n
	case pos >= len(w.ring):
		pos -= len(w.ring)
	}
	w.ring[pos] = remembered{id: id, at: at}
	w.n++
	w.ids.put(h, ref(pos+1))
}

// grow doubles the ring, the oldest id first, and numbers the ids anew.
func (w *window) grow() {
	ring := make([]remembered, min(w.count, max(2*len(w.ring), indexMinSlots)))
	n := copy(ring, w.ring[w.first:])
	copy(ring[n:], w.ring[:w.first])
	w.ring, w.first = ring, 0
	w.ids = index{}
	for i := range w.n {
		w.ids.put(ring[i].id.hash(), ref(i+1))
	}
}
