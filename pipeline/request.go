package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

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

// Bounds on what a client sends.
const (
	// MaxFieldBytes is the length of the longest text in a Request. It is
	// enough for every valid one.
	MaxFieldBytes = 64
	// MaxRequestBytes is the length of the longest JSON that DecodeRequest
	// reads. It is enough for every valid Request.
	MaxRequestBytes = 4 << 10
)

// Request is what a client asks for, as the edge hands it to the EventBus:
// decimals and names as text, checked by the OrderProcessor, which says what
// each kind needs and what it may have. Account, Time and Key come from the
// authenticated request, never from its body.
type Request struct {
	Kind    string             `json:"kind"`
	Account exchange.AccountID `json:"account"`
	Time    exchange.Time      `json:"time"` // when it entered the venue, ns; kept across retries
	// Key names the request among those of its account, instrument and kind:
	// the client_order_id of an order, also of one that a replace makes, else
	// an idempotency key, which the edge makes when the client sent none. 1 to
	// MaxClientIDBytes of the characters '!' to '~'.
	Key string `json:"key"`

	Symbol       string `json:"symbol,omitempty"` // not needed with OrderID; of cancel_all, "": all instruments
	Side         string `json:"side,omitempty"`   // of cancel_all, "": both
	Type         string `json:"type,omitempty"`
	TimeInForce  string `json:"time_in_force,omitempty"`
	Price        string `json:"price,omitempty"` // limit price; of a market type the worst price
	Size         string `json:"size,omitempty"`  // amend: the new total; reduce: what to take off
	Funds        string `json:"funds,omitempty"` // a buy's budget in quote, fee included
	StopPrice    string `json:"stop_price,omitempty"`
	DisplaySize  string `json:"display_size,omitempty"`
	MinSize      string `json:"min_size,omitempty"`
	ExpireTime   string `json:"expire_time,omitempty"` // RFC 3339
	PostOnly     string `json:"post_only,omitempty"`   // "reject" or "slide"
	SelfTrade    string `json:"self_trade_prevention,omitempty"`
	Hidden       bool   `json:"hidden,omitempty"`
	OrderID      string `json:"order_id,omitempty"`        // of the order meant: SYMBOL.number
	OrigClientID string `json:"client_order_id,omitempty"` // of the order meant, when there is no order_id
}

// CommandIDOf returns the id of the command a request becomes: the first 16
// bytes of the SHA-256 of who asks for what under which key. The same request
// sent again has the same id. A replace counts as KindNewOrder here, so that
// one client_order_id names one order, however it was made.
func CommandIDOf(acct exchange.AccountID, inst exchange.InstrumentID, kind exchange.CommandKind, key string) exchange.CommandID {
	var fixed [13]byte
	binary.LittleEndian.PutUint64(fixed[:], uint64(acct))
	binary.LittleEndian.PutUint32(fixed[8:], uint32(inst))
	fixed[12] = byte(kind)
	sum := sha256.Sum256(append(fixed[:], key...))
	return exchange.CommandID(sum[:16])
}

// EncodeRequest returns a Request as JSON. ErrTooLarge: it is longer than
// MaxRequestBytes. Text that is not UTF-8 is spoiled, and no request that has
// it is valid.
func EncodeRequest(req *Request) ([]byte, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encoding a request: %w", err)
	}
	if len(data) > MaxRequestBytes {
		return nil, fmt.Errorf("encoding a request: %w: %d bytes, expected at most %d", ErrTooLarge, len(data), MaxRequestBytes)
	}
	return data, nil
}

// DecodeRequest reads what EncodeRequest wrote, and any other JSON object with
// no fields but those of a Request; ErrEncoding for anything else, ErrTooLarge
// above MaxRequestBytes.
func DecodeRequest(data []byte) (*Request, error) {
	if len(data) > MaxRequestBytes {
		return nil, fmt.Errorf("decoding a request: %w: %d bytes, expected at most %d", ErrTooLarge, len(data), MaxRequestBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var req *Request // stays nil for null
	if err := dec.Decode(&req); err != nil {
		return nil, fmt.Errorf("decoding a request: %w: %w", ErrEncoding, err)
	}
	if _, err := dec.Token(); req == nil || err != io.EOF {
		return nil, fmt.Errorf("decoding a request: %w: expected one JSON object", ErrEncoding)
	}
	return req, nil
}

// OrderIDText returns an order's id as clients see it: SYMBOL.number.
func OrderIDText(symbol string, id exchange.OrderID) string {
	return symbol + "." + strconv.FormatUint(uint64(id), 10)
}

// ParseOrderID reads what OrderIDText wrote; ok is false for anything else.
// Whether there is such a symbol is not looked at.
func ParseOrderID(text string) (symbol string, id exchange.OrderID, ok bool) {
	dot := strings.LastIndexByte(text, '.')
	if dot < 1 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text[dot+1:], 10, 64)
	if err != nil || n == 0 || OrderIDText(text[:dot], exchange.OrderID(n)) != text {
		return "", 0, false
	}
	return text[:dot], exchange.OrderID(n), true
}

// The texts of enums, in requests and in the feed. Capital letters do not
// matter in a request.
var (
	sideTexts = texts[exchange.Side]{{exchange.Buy, "buy"}, {exchange.Sell, "sell"}}
	typeTexts = texts[exchange.OrderType]{
		{exchange.Limit, "limit"}, {exchange.Market, "market"}, {exchange.MarketToLimit, "market_to_limit"},
		{exchange.Stop, "stop"}, {exchange.StopLimit, "stop_limit"},
		{exchange.TakeProfit, "take_profit"}, {exchange.TakeProfitLimit, "take_profit_limit"},
	}
	timeInForceTexts = texts[exchange.TimeInForce]{
		{exchange.GTC, "GTC"}, {exchange.Day, "DAY"}, {exchange.GTD, "GTD"}, {exchange.IOC, "IOC"}, {exchange.FOK, "FOK"},
	}
	selfTradeTexts = texts[exchange.SelfTradePrevention]{
		{exchange.CancelNewest, "cancel_newest"}, {exchange.CancelOldest, "cancel_oldest"}, {exchange.CancelBoth, "cancel_both"},
		{exchange.Decrement, "decrement"}, {0, "none"},
	}
	postOnlyTexts = texts[exchange.PostOnly]{{exchange.PostOnlyReject, "reject"}, {exchange.PostOnlySlide, "slide"}}
)

// SideText, OrderTypeText, TimeInForceText, SelfTradeText and PostOnlyText
// return what requests and the feed call a value, "" for one that has no name.
func SideText(s exchange.Side) string { return sideTexts.of(s) }

// OrderTypeText is as SideText.
func OrderTypeText(t exchange.OrderType) string { return typeTexts.of(t) }

// TimeInForceText is as SideText.
func TimeInForceText(t exchange.TimeInForce) string { return timeInForceTexts.of(t) }

// SelfTradeText is as SideText; no prevention is "none".
func SelfTradeText(m exchange.SelfTradePrevention) string { return selfTradeTexts.of(m) }

// PostOnlyText is as SideText.
func PostOnlyText(p exchange.PostOnly) string { return postOnlyTexts.of(p) }

// texts are the values of an enum with their names.
type texts[T comparable] []struct {
	value T
	text  string
}

func (t texts[T]) of(v T) string {
	for i := range t {
		if t[i].value == v {
			return t[i].text
		}
	}
	return ""
}

func (t texts[T]) parse(text string) (v T, ok bool) {
	for i := range t {
		// Of the same length nothing but capital letters can differ.
		if len(t[i].text) == len(text) && strings.EqualFold(t[i].text, text) {
			return t[i].value, true
		}
	}
	return v, false
}

// String lists the names: "buy or sell".
func (t texts[T]) String() string {
	var b strings.Builder
	for i := range t {
		switch {
		case i > 0 && i == len(t)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(t[i].text)
	}
	return b.String()
}
