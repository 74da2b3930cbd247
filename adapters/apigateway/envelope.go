package apigateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of what travels through the queue.
const (
	// EnvelopeBytes is how long the Body of an Envelope is at most: 256 KiB,
	// which every queue of AWS takes.
	EnvelopeBytes = 256 << 10
	// MaxUnpacked is how much a packed Body may have inside.
	MaxUnpacked = 64 << 20
	// BalanceGroups is how many groups the messages that belong to no
	// instrument are spread over, by account.
	BalanceGroups = 64
)

// Envelope is one message to a queue. Those of a group are delivered in order.
type Envelope struct {
	Group   string // letters, digits and '-'
	DedupID string // a queue may drop an envelope whose id it has seen lately
	Body    string // text, at most EnvelopeBytes
}

// Sender puts envelopes into a queue. It may be called concurrently; after an
// error some of them may have been sent, and all are sent again: a client
// ignores what it has.
type Sender interface {
	Send(ctx context.Context, envelopes []Envelope) error
}

// letter is the inside of an Envelope.
type letter struct {
	Pushes []push `json:"pushes"`
}

// push is a pipeline.Push on its way. To is the one connection it is for; "":
// all that have subscribed.
type push struct {
	Channel    pipeline.Channel      `json:"channel"`
	Instrument exchange.InstrumentID `json:"instrument,omitempty"`
	Account    exchange.AccountID    `json:"account,omitempty"`
	Seq        uint64                `json:"seq"`
	PrevSeq    uint64                `json:"prev,omitempty"`
	To         string                `json:"to,omitempty"`
	Data       json.RawMessage       `json:"data"`
}

func (p *push) topic() Topic { return Topic{p.Channel, p.Instrument, p.Account} }

// encode returns the Body of an envelope, packed when that is needed for it to
// fit; pipeline.ErrTooLarge when it does not.
func encode(pushes []push) (string, error) {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(letter{pushes}); err != nil {
		return "", fmt.Errorf("encoding a push: %w: its Data must be JSON: %w", pipeline.ErrInvalid, err)
	}
	if raw.Len() <= EnvelopeBytes {
		return strings.TrimSuffix(raw.String(), "\n"), nil
	}
	if raw.Len() > MaxUnpacked {
		return "", fmt.Errorf("encoding a push: %w: %d bytes, expected at most %d", pipeline.ErrTooLarge, raw.Len(), MaxUnpacked)
	}
	var packed bytes.Buffer
	packed.WriteByte('z')
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	w := gzip.NewWriter(text)
	_, _ = w.Write(raw.Bytes()) // into memory
	_, _ = w.Close(), text.Close()
	if packed.Len() > EnvelopeBytes {
		return "", fmt.Errorf("encoding a push: %w: %d bytes packed, expected at most %d", pipeline.ErrTooLarge, packed.Len(), EnvelopeBytes)
	}
	return packed.String(), nil
}

// decode reads the Body of an envelope.
func decode(body string) ([]push, error) {
	var r io.Reader = strings.NewReader(body)
	if packed, ok := strings.CutPrefix(body, "z"); ok {
		unpacked, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(packed)))
		if err != nil {
			return nil, fmt.Errorf("reading an envelope: %w: %w", pipeline.ErrEncoding, err)
		}
		r = io.LimitReader(unpacked, MaxUnpacked+1)
	}
	var l letter
	if err := json.NewDecoder(r).Decode(&l); err != nil {
		return nil, fmt.Errorf("reading an envelope: %w: %w", pipeline.ErrEncoding, err)
	}
	for i := range l.Pushes {
		if p := &l.Pushes[i]; !p.Channel.Valid() || len(p.Data) == 0 {
			return nil, fmt.Errorf("reading an envelope: %w: push %d has channel %q and %d bytes of data", pipeline.ErrEncoding, i, p.Channel, len(p.Data))
		}
	}
	return l.Pushes, nil
}

// group returns the group of an instrument's messages, or of an account's.
func group(inst exchange.InstrumentID, acct exchange.AccountID) string {
	if inst != 0 {
		return fmt.Sprintf("instrument-%d", inst)
	}
	return fmt.Sprintf("account-%d", acct%BalanceGroups)
}

// SnapshotRequest asks whoever runs MarketData for the first message of a
// subscription. It travels through the queue that MarketData's notices come
// by, in the group of the instrument, so that it is answered between two of
// them: then the snapshot has everything that was pushed before it, and
// everything after it is pushed to the new subscriber, too.
type SnapshotRequest struct {
	ID         string                `json:"id"` // random; for the queue, and to tell parts apart
	Connection string                `json:"connection"`
	Channel    pipeline.Channel      `json:"channel"`
	Instrument exchange.InstrumentID `json:"instrument,omitempty"` // 0 for ChannelBalances
	Account    exchange.AccountID    `json:"account,omitempty"`    // 0: public
}

// snapshotBody is a SnapshotRequest in a queue that carries other things.
type snapshotBody struct {
	Snapshot *SnapshotRequest `json:"snapshot_request"`
}

// Envelope returns r as a queue message.
func (r SnapshotRequest) Envelope() Envelope {
	body, err := json.Marshal(snapshotBody{&r})
	if err != nil {
		panic(err) // a plain struct
	}
	return Envelope{Group: group(r.Instrument, r.Account), DedupID: "snapshot-" + r.ID, Body: string(body)}
}

// ParseSnapshotRequest reads the body of a queue message. ok is false when it
// is something else.
func ParseSnapshotRequest(body string) (r SnapshotRequest, ok bool) {
	var b snapshotBody
	if json.Unmarshal([]byte(body), &b) != nil || b.Snapshot == nil {
		return SnapshotRequest{}, false
	}
	r = *b.Snapshot
	return r, r.Connection != "" && r.Channel.Valid() && r.Channel.Private() == (r.Account != 0) &&
		(r.Instrument == 0) == (r.Channel == pipeline.ChannelBalances)
}

func newID() string { return rand.Text() }
