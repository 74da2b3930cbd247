package pipeline

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/castlecloud/exchange"
)

// Request kinds.
const (
	RequestNew       = "new"
	RequestCancel    = "cancel"
	RequestReduce    = "reduce"
	RequestAmend     = "amend"
	RequestReplace   = "replace"
	RequestCancelAll = "cancel_all"
)

// Request is what a client asks for, as the edge hands it to the EventBus:
// decimals and names as text, checked by the OrderProcessor. Account, Time and
// Key come from the authenticated request, never from its body.
type Request struct {
	Kind    string             `json:"kind"`
	Account exchange.AccountID `json:"account"`
	Time    exchange.Time      `json:"time"` // when it entered the venue, ns; kept across retries
	// Key names the request among those of its account, instrument and kind:
	// the client_order_id of a new order, else an idempotency key, which the
	// edge makes when the client sent none. 1 to MaxClientIDBytes bytes.
	Key string `json:"key"`

	Symbol       string `json:"symbol,omitempty"` // optional for cancel_all
	Side         string `json:"side,omitempty"`
	Type         string `json:"type,omitempty"`
	TimeInForce  string `json:"time_in_force,omitempty"`
	Price        string `json:"price,omitempty"`
	Size         string `json:"size,omitempty"` // amend: the new total; reduce: what to take off
	Funds        string `json:"funds,omitempty"`
	StopPrice    string `json:"stop_price,omitempty"`
	DisplaySize  string `json:"display_size,omitempty"`
	MinSize      string `json:"min_size,omitempty"`
	ExpireTime   string `json:"expire_time,omitempty"` // RFC 3339
	PostOnly     string `json:"post_only,omitempty"`   // "reject" or "slide"
	SelfTrade    string `json:"self_trade_prevention,omitempty"`
	Hidden       bool   `json:"hidden,omitempty"`
	OrderID      string `json:"order_id,omitempty"`        // of the order meant
	OrigClientID string `json:"client_order_id,omitempty"` // of the order meant, when there is no order_id
}

// CommandIDOf returns the id of the command a request becomes: the first 16
// bytes of the SHA-256 of who asks for what under which key. The same request
// sent again has the same id.
func CommandIDOf(acct exchange.AccountID, inst exchange.InstrumentID, kind exchange.CommandKind, key string) exchange.CommandID {
	var fixed [13]byte
	binary.LittleEndian.PutUint64(fixed[:], uint64(acct))
	binary.LittleEndian.PutUint32(fixed[8:], uint32(inst))
	fixed[12] = byte(kind)
	sum := sha256.Sum256(append(fixed[:], key...))
	return exchange.CommandID(sum[:16])
}

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

// LastSeq returns the sequence number of the batch's last event, 0 without
// events.
func (b *Batch) LastSeq() uint64 {
	for i := len(b.Entries) - 1; i >= 0; i-- {
		if n := len(b.Entries[i].Events); n > 0 {
			return b.Entries[i].Events[n-1].Seq
		}
	}
	return 0
}

// FirstSeq returns the sequence number of the batch's first event, 0 without
// events.
func (b *Batch) FirstSeq() uint64 {
	for i := range b.Entries {
		if evs := b.Entries[i].Events; len(evs) > 0 {
			return evs[0].Seq
		}
	}
	return 0
}
