package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/castlecloud/exchange"
)

// testCase is one line of a file.
type testCase struct {
	Name       string     `json:"name"`
	Topic      string     `json:"topic"`
	Source     string     `json:"source"`
	Note       string     `json:"note"`
	Variant    string     `json:"variant"`
	Instrument instrument `json:"instrument"`
	Config     config     `json:"config"`
	Steps      []step     `json:"steps"`
	Expect     expect     `json:"expect"`

	unknown []string // fields the format does not have
}

type instrument struct {
	Tick     text `json:"tick"`
	Lot      text `json:"lot"`
	RefPrice text `json:"ref_price"`
	Last     text `json:"last"`
}

type config struct {
	Trigger string `json:"trigger"`
}

// step is one command; which fields mean something follows from Op.
type step struct {
	Op          string   `json:"op"`
	ID          text     `json:"id"`
	NewID       text     `json:"new_id"`
	User        text     `json:"user"`
	Side        string   `json:"side"`
	Type        string   `json:"type"`
	TIF         string   `json:"tif"`
	Price       text     `json:"price"`
	Qty         text     `json:"qty"`
	QtyMeans    string   `json:"qty_means"`
	STP         string   `json:"stp"`
	PostOnly    postOnly `json:"post_only"`
	Display     text     `json:"display"`
	MinQty      text     `json:"min_qty"`
	Stop        text     `json:"stop"`
	Expire      text     `json:"expire"`
	At          text     `json:"at"`
	Now         text     `json:"now"`
	Hidden      bool     `json:"hidden"`
	Peg         string   `json:"peg"`
	Offset      text     `json:"offset"`
	Limit       text     `json:"limit"`
	MaxSlippage text     `json:"max_slippage"`
	Phase       string   `json:"phase"`
	Note        string   `json:"note"`
}

// expect is what must hold after the last step. A field that is absent or
// null is not asserted.
type expect struct {
	Trades             *[]tradeRow     `json:"trades"`
	UnorderedTrades    bool            `json:"unordered_trades"`
	Book               *sides          `json:"book"`
	VisibleBook        *sides          `json:"visible_book"`
	Cancelled          *[]text         `json:"cancelled"`
	Rejected           *[]text         `json:"rejected"`
	Expired            *[]text         `json:"expired"`
	RemainingCancelled map[text]text   `json:"remaining_cancelled"`
	PendingStops       *[]text         `json:"pending_stops"`
	Queue              map[text][]text `json:"queue"`
	Orders             map[text]text   `json:"orders"`
	Filled             map[text]text   `json:"filled"`
	TotalTraded        text            `json:"total_traded"`
	UncrossPrice       text            `json:"uncross_price"`
	UncrossVolume      text            `json:"uncross_volume"`
	Pairs              json.RawMessage `json:"pairs"`
	Note               string          `json:"note"`
}

type tradeRow struct {
	Maker text `json:"maker"`
	Taker text `json:"taker"`
	Price text `json:"price"`
	Qty   text `json:"qty"`
}

// sides is an expected book. A side that is null is not asserted.
type sides struct {
	Bids *[]levelRow `json:"bids"`
	Asks *[]levelRow `json:"asks"`
}

// levelRow is [price, quantity, orders].
type levelRow struct {
	price, qty text
	orders     text
}

func (l *levelRow) UnmarshalJSON(data []byte) error {
	var cells []text
	if err := json.Unmarshal(data, &cells); err != nil {
		return err
	}
	if len(cells) != 3 {
		return fmt.Errorf("a level of %d values, expected [price, qty, orders]", len(cells))
	}
	l.price, l.qty, l.orders = cells[0], cells[1], cells[2]
	return nil
}

// text is a string or a number, kept as it is written: ids come as either.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '"':
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		*t = text(s)
	case 'n': // null is absent
	case '{', '[', 't', 'f':
		return fmt.Errorf("%s: expected a string or a number", data)
	default:
		*t = text(data)
	}
	return nil
}

// postOnly is false, true or "slide".
type postOnly string

func (p *postOnly) UnmarshalJSON(data []byte) error {
	switch value := string(data); value {
	case "true", `"reject"`:
		*p = "reject"
	case "false", "null":
		*p = ""
	case `"slide"`:
		*p = "slide"
	default:
		return fmt.Errorf("post_only %s: expected true, false or \"slide\"", value)
	}
	return nil
}

// parseCase reads a case. Fields it does not know are noted, not refused:
// such a case is skipped.
func parseCase(line []byte) (*testCase, error) {
	var c testCase
	dec := json.NewDecoder(bytes.NewReader(line))
	if err := dec.Decode(&c); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value in a line")
	}
	if c.Name == "" {
		return nil, errors.New("name is missing")
	}
	if len(c.Steps) == 0 {
		return nil, errors.New("steps are missing")
	}
	for i := range c.Steps {
		if c.Steps[i].Op == "" {
			return nil, fmt.Errorf("step %d: op is missing", i+1)
		}
	}
	c.unknown = unknownFields(line)
	return &c, nil
}

// What the format has, level by level.
var (
	caseFields       = []string{"name", "topic", "source", "note", "variant", "instrument", "config", "steps", "expect"}
	instrumentFields = []string{"tick", "lot", "ref_price", "last"}
	configFields     = []string{"trigger"}
	stepFields       = []string{
		"op", "id", "new_id", "user", "side", "type", "tif", "price", "qty", "qty_means", "stp", "post_only", "display", "min_qty",
		"stop", "expire", "at", "now", "hidden", "peg", "offset", "limit", "max_slippage", "phase", "note",
	}
	expectFields = []string{
		"trades", "unordered_trades", "book", "visible_book", "cancelled", "rejected", "expired", "remaining_cancelled", "pending_stops",
		"queue", "orders", "filled", "total_traded", "uncross_price", "uncross_volume", "pairs", "note",
	}
)

// unknownFields lists what is in the line and not in the format. The line is
// known to be valid JSON of the right shape.
func unknownFields(line []byte) []string {
	var raw struct {
		Instrument map[string]json.RawMessage   `json:"instrument"`
		Config     map[string]json.RawMessage   `json:"config"`
		Steps      []map[string]json.RawMessage `json:"steps"`
		Expect     map[string]json.RawMessage   `json:"expect"`
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(line, &raw) != nil || json.Unmarshal(line, &top) != nil {
		return nil
	}
	var unknown []string
	note := func(kind string, got map[string]json.RawMessage, known []string) {
		for name := range got {
			if !slices.Contains(known, name) {
				unknown = append(unknown, kind+name)
			}
		}
	}
	note("field ", top, caseFields)
	note("instrument field ", raw.Instrument, instrumentFields)
	note("config field ", raw.Config, configFields)
	for _, s := range raw.Steps {
		note("step field ", s, stepFields)
	}
	note("expectation ", raw.Expect, expectFields)
	slices.Sort(unknown)
	return slices.Compact(unknown)
}

// needs names what the case uses and the engine does not have, or is "".
// What is known to be missing comes first, then what nobody has heard of.
func (c *testCase) needs() string {
	for _, s := range c.Steps {
		switch {
		case s.Op == "phase" || s.Op == "uncross" || s.Phase != "" || strings.EqualFold(s.TIF, "GFA"):
			return "auction"
		case s.Type == "pegged" || s.Peg != "" || s.Offset != "" || s.Limit != "":
			return "pegged"
		}
	}
	if c.Expect.UncrossPrice != "" || c.Expect.UncrossVolume != "" {
		return "auction"
	}
	if len(c.unknown) > 0 {
		return strings.Join(c.unknown, ", ")
	}
	if t := c.Config.Trigger; t != "" && t != "last-trade" {
		return "trigger " + t
	}
	for _, s := range c.Steps {
		if what := s.needs(); what != "" {
			return what
		}
	}
	return ""
}

// The words of the format and what they stand for.
var (
	orderTypes = map[string]exchange.OrderType{
		"limit": exchange.Limit, "market": exchange.Market, "market-to-limit": exchange.MarketToLimit, "stop": exchange.Stop,
		"stop-limit": exchange.StopLimit, "take-profit": exchange.TakeProfit, "take-profit-limit": exchange.TakeProfitLimit,
	}
	timesInForce = map[string]exchange.TimeInForce{
		"GTC": exchange.GTC, "DAY": exchange.Day, "GFD": exchange.Day, "GTD": exchange.GTD, "IOC": exchange.IOC, "FOK": exchange.FOK,
	}
	selfTrades = map[string]exchange.SelfTradePrevention{
		"": 0, "none": 0, "cancel-newest": exchange.CancelNewest, "cancel-oldest": exchange.CancelOldest,
		"cancel-both": exchange.CancelBoth, "decrement": exchange.Decrement,
	}
	bookSides = map[string]exchange.Side{"buy": exchange.Buy, "sell": exchange.Sell}
	postOnlys = map[postOnly]exchange.PostOnly{"": 0, "reject": exchange.PostOnlyReject, "slide": exchange.PostOnlySlide}
)

func (s *step) needs() string {
	if _, ok := ops[s.Op]; !ok {
		return "op " + s.Op
	}
	if _, ok := selfTrades[s.STP]; !ok {
		return "stp " + s.STP
	}
	if s.Op != "add" {
		return ""
	}
	if _, ok := orderTypes[s.Type]; !ok {
		return "type " + s.Type
	}
	if _, ok := timesInForce[s.timeInForce()]; !ok {
		return "tif " + s.TIF
	}
	return ""
}
