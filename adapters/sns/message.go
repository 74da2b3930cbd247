package sns

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// MaxMessageBytes is the most of a message's JSON: SNS takes 256 KiB, with the
// attributes, and SQS as much with the quotes of the envelope escaped.
const MaxMessageBytes = 120 << 10

// ErrMessage says that a text is no message of this package.
var ErrMessage = errors.New("no message of committed events")

// Message is what is published, as JSON: the events of journal items From to
// To of an instrument, without a gap; the next message begins at To+1, unless
// something is published again. Integers of 64 bits are strings. Prices are in
// ticks, quantities in lots, amounts in atoms, times in nanoseconds since 1970.
type Message struct {
	Instrument exchange.InstrumentID `json:"instrument"`
	From       pipeline.Position     `json:"from,string"`
	To         pipeline.Position     `json:"to,string"`
	// Items are in order. Of an item that alone exceeds MaxMessageBytes there
	// are none: it is read from the journal, or from the archive.
	Items []Item `json:"items,omitempty"`
}

// Item is the events of one journal item, in order.
type Item struct {
	Position pipeline.Position `json:"position,string"`
	Events   []Event           `json:"events"`
}

// Event is an exchange.Event: what exchange.EventKind says of a kind's fields
// holds here too. What is zero or false is left out.
type Event struct {
	Kind            string                `json:"kind"`
	Command         string                `json:"command"`
	Seq             uint64                `json:"seq,string"`
	Time            exchange.Time         `json:"time,string"`
	ID              string                `json:"id,omitempty"` // hexadecimal
	Instrument      exchange.InstrumentID `json:"instrument,omitempty"`
	Account         exchange.AccountID    `json:"account,omitempty,string"`
	OrderID         exchange.OrderID      `json:"order_id,omitempty,string"`
	Side            string                `json:"side,omitempty"`
	Type            string                `json:"type,omitempty"`
	TimeInForce     string                `json:"time_in_force,omitempty"`
	PostOnly        string                `json:"post_only,omitempty"`
	Hidden          bool                  `json:"hidden,omitempty"`
	LostPlace       bool                  `json:"lost_place,omitempty"`
	Reason          string                `json:"reason,omitempty"`
	MakerID         string                `json:"maker_id,omitempty"` // hexadecimal
	MakerAccount    exchange.AccountID    `json:"maker_account,omitempty,string"`
	MakerOrderID    exchange.OrderID      `json:"maker_order_id,omitempty,string"`
	TradeID         exchange.TradeID      `json:"trade_id,omitempty,string"`
	Price           exchange.Price        `json:"price,omitempty,string"`
	StopPrice       exchange.Price        `json:"stop_price,omitempty,string"`
	Qty             exchange.Qty          `json:"qty,omitempty,string"`
	OrderQty        exchange.Qty          `json:"order_qty,omitempty,string"`
	LeavesQty       exchange.Qty          `json:"leaves_qty,omitempty,string"`
	MakerLeavesQty  exchange.Qty          `json:"maker_leaves_qty,omitempty,string"`
	DisplayQty      exchange.Qty          `json:"display_qty,omitempty,string"`
	Amount          exchange.Amount       `json:"amount,omitempty,string"`
	Fee             exchange.Amount       `json:"fee,omitempty,string"`
	MakerFee        exchange.Amount       `json:"maker_fee,omitempty,string"`
	Release         exchange.Amount       `json:"release,omitempty,string"`
	MakerRelease    exchange.Amount       `json:"maker_release,omitempty,string"`
	Asset           exchange.AssetID      `json:"asset,omitempty"`
	Limit           string                `json:"limit,omitempty"`
	Value           int64                 `json:"value,omitempty,string"`
	AccountState    string                `json:"account_state,omitempty"`
	InstrumentState string                `json:"instrument_state,omitempty"`
	MakerRate       exchange.FeeRate      `json:"maker_rate,omitempty"`
	TakerRate       exchange.FeeRate      `json:"taker_rate,omitempty"`
}

func eventOf(ev *exchange.Event) Event {
	e := Event{
		Kind: ev.Kind.String(), Command: ev.Command.String(), Seq: ev.Seq, Time: ev.Time, ID: idText(ev.ID), Instrument: ev.Instrument,
		Account: ev.Account, OrderID: ev.OrderID, Hidden: ev.Hidden, LostPlace: ev.LostPlace,
		MakerID: idText(ev.MakerID), MakerAccount: ev.MakerAccount, MakerOrderID: ev.MakerOrderID, TradeID: ev.TradeID,
		Price: ev.Price, StopPrice: ev.StopPrice, Qty: ev.Qty, OrderQty: ev.OrderQty, LeavesQty: ev.LeavesQty, MakerLeavesQty: ev.MakerLeavesQty,
		DisplayQty: ev.DisplayQty, Amount: ev.Amount, Fee: ev.Fee, MakerFee: ev.MakerFee, Release: ev.Release, MakerRelease: ev.MakerRelease,
		Asset: ev.Asset, Value: ev.Value, MakerRate: ev.MakerRate, TakerRate: ev.TakerRate,
	}
	// Their zero values have texts that mean nothing here.
	if ev.Side != 0 {
		e.Side = ev.Side.String()
	}
	if ev.Type != 0 {
		e.Type = ev.Type.String()
	}
	if ev.TimeInForce != 0 {
		e.TimeInForce = ev.TimeInForce.String()
	}
	if ev.PostOnly != 0 {
		e.PostOnly = ev.PostOnly.String()
	}
	if ev.Reason != 0 {
		e.Reason = ev.Reason.String()
	}
	if ev.Limit != 0 {
		e.Limit = ev.Limit.String()
	}
	if ev.AccountState != 0 {
		e.AccountState = ev.AccountState.String()
	}
	if ev.InstrumentState != 0 {
		e.InstrumentState = ev.InstrumentState.String()
	}
	return e
}

func idText(id exchange.CommandID) string {
	if id == (exchange.CommandID{}) {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// Notice returns what a consumer of this venue needs of a message: it reads the
// journal.
func (m *Message) Notice() pipeline.Notice {
	return pipeline.Notice{Instrument: m.Instrument, Position: m.To}
}

// Decode reads the body of an SQS message that a topic has sent, raw or in the
// envelope of SNS, or the message of an SNS record. ErrMessage: it is neither.
func Decode(body string) (*Message, error) {
	var envelope struct {
		Type, Message string
	}
	if err := json.Unmarshal([]byte(body), &envelope); err != nil {
		return nil, fmt.Errorf("decoding: %w: %w", ErrMessage, err)
	}
	if envelope.Type == "Notification" {
		body = envelope.Message
	}
	m := &Message{}
	if err := json.Unmarshal([]byte(body), m); err != nil {
		return nil, fmt.Errorf("decoding: %w: %w", ErrMessage, err)
	}
	if m.Instrument == 0 || m.From < 1 || m.To < m.From {
		return nil, fmt.Errorf("decoding: %w: instrument %d, from %d to %d", ErrMessage, m.Instrument, m.From, m.To)
	}
	return m, nil
}
