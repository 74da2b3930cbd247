package pipeline

import "github.com/castlecloud/exchange"

// Message is a command on its way to the matching engine.
type Message struct {
	Command  exchange.Command
	ClientID string // the client's own id of it, at most MaxClientIDBytes
}

// Entry is one command of a Batch, as it was applied, with its events.
type Entry struct {
	Message
	Events []exchange.Event
}

// LevelChange is a level of the public book as it is after a Batch; Qty 0: it
// is gone.
type LevelChange struct {
	Side exchange.Side
	exchange.Level
}

// Batch is the contents of one journal item.
type Batch struct {
	Instrument exchange.InstrumentID
	// Rules is the version of the matching rules it was made under.
	Rules   uint16
	Entries []Entry
	// Levels are those the batch changed: bids before asks, by price.
	Levels []LevelChange
	// Checksum is BookChecksum of the book after it.
	Checksum uint32
}

// CurrentRules is the version of the matching rules of this release. An engine
// refuses to replay a batch of a version it does not know.
const CurrentRules uint16 = 1

// tells reports whether an event is of the batch's own sequence: a command for
// the venue as a whole, such as the state of an account, has events of stream
// 0, which has another.
func (b *Batch) tells(ev *exchange.Event) bool { return ev.Instrument == b.Instrument && ev.Seq != 0 }

// first and last return the first and the last event of the batch's own
// sequence, nil without one.
func (b *Batch) first() *exchange.Event {
	for i := range b.Entries {
		for j := range b.Entries[i].Events {
			if ev := &b.Entries[i].Events[j]; b.tells(ev) {
				return ev
			}
		}
	}
	return nil
}

func (b *Batch) last() *exchange.Event {
	for i := len(b.Entries) - 1; i >= 0; i-- {
		for j := len(b.Entries[i].Events) - 1; j >= 0; j-- {
			if ev := &b.Entries[i].Events[j]; b.tells(ev) {
				return ev
			}
		}
	}
	return nil
}

// LastSeq returns the sequence number of the last of the instrument's events,
// 0 without any.
func (b *Batch) LastSeq() uint64 {
	if ev := b.last(); ev != nil {
		return ev.Seq
	}
	return 0
}

// FirstSeq returns the sequence number of the first of the instrument's
// events, 0 without any.
func (b *Batch) FirstSeq() uint64 {
	if ev := b.first(); ev != nil {
		return ev.Seq
	}
	return 0
}

// LastTime returns the time of the last event, 0 without events.
func (b *Batch) LastTime() exchange.Time {
	for i := len(b.Entries) - 1; i >= 0; i-- {
		if n := len(b.Entries[i].Events); n > 0 {
			return b.Entries[i].Events[n-1].Time
		}
	}
	return 0
}
