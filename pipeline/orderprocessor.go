package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
)

// MetricInvalid counts the requests that the OrderProcessor could make no
// command of.
const MetricInvalid = "processor_invalid"

// OrderProcessorConfig says what an OrderProcessor works with.
type OrderProcessorConfig struct {
	Instruments []*exchange.Instrument // at least one; ids and symbols differ
	Risk        Admission              // takes what Handle has prepared
	Metrics     Metrics                // nil: none
	Logger      *slog.Logger           // nil: none
}

// Admission takes prepared commands: a RiskChecker, or what brings them to one
// in another process. nil: the command is done for good, also when it was
// refused; an error: hand it over again. It is called concurrently.
type Admission interface {
	Handle(ctx context.Context, m Message) error
}

var _ Admission = (*RiskChecker)(nil)

// OrderProcessor makes commands of requests. It may be used concurrently.
//
// What a request may have, beside Kind, Account, Time and Key (! mandatory):
//
//	new         symbol! side! type! time_in_force price size funds stop_price display_size min_size expire_time post_only self_trade_prevention hidden
//	cancel      the order
//	reduce      the order, size! (what to take off)
//	amend       the order, one or more of price, size (the new total) and stop_price
//	replace     the order, price, size and stop_price of the new one, each as the old one's when absent
//	cancel_all  symbol (absent: every instrument), side (absent: both)
//
// The order is named by order_id (SYMBOL.number) or by symbol and
// client_order_id: the key it was entered with, by a new or by a replace.
// Another field is refused, so that nothing a client asked for is dropped in
// silence. Names may be in small or capital letters.
//
//   - time_in_force is IOC for market orders, which may be FOK, and GTC for all
//     others, when absent. GTD needs expire_time, which others must not have.
//   - type limit, stop_limit and take_profit_limit need a price; for the others
//     it is the worst price they may trade at, and without one (and without
//     funds) the RiskChecker chooses it. stop_price belongs to the types that
//     wait for it, and they need one.
//   - size is needed but for a market buy by funds. funds are for buys of a type
//     without a limit price.
//   - display_size, post_only and hidden are for orders with a limit price that
//     may rest, and a hidden order has no display_size. min_size is at most
//     size, and not post-only.
//   - self_trade_prevention is cancel_newest when absent, as on most venues:
//     what the newer order would have traded with its owner's older one is
//     canceled, and the older one keeps its place. "none" lets it trade.
//
// Limits that can be changed by command (of price, quantity, notional, the
// collar) are the engine's to check.
type OrderProcessor struct {
	risk     Admission
	metrics  Metrics
	logger   *slog.Logger
	bySymbol map[string]*exchange.Instrument
}

// NewOrderProcessor returns an OrderProcessor; ErrInvalid names what is wrong
// with cfg.
func NewOrderProcessor(cfg OrderProcessorConfig) (*OrderProcessor, error) {
	if cfg.Risk == nil {
		return nil, fmt.Errorf("order processor: %w: no Risk", ErrInvalid)
	}
	if _, err := byID(cfg.Instruments); err != nil {
		return nil, fmt.Errorf("order processor: %w", err)
	}
	p := &OrderProcessor{risk: cfg.Risk, metrics: metricsOrNone(cfg.Metrics), logger: loggerOrNone(cfg.Logger), bySymbol: map[string]*exchange.Instrument{}}
	for _, in := range cfg.Instruments {
		if p.bySymbol[in.Symbol()] != nil {
			return nil, fmt.Errorf("order processor: %w: Instruments: symbol %q twice", ErrInvalid, in.Symbol())
		}
		p.bySymbol[in.Symbol()] = in
	}
	return p, nil
}

// Handle makes a command of a request and hands it to the RiskChecker. nil: it
// is done for good, also when it was refused, or invalid, which is logged and
// counted. An error: deliver it again.
func (p *OrderProcessor) Handle(ctx context.Context, req *Request) error {
	m, err := p.Prepare(req)
	if err != nil {
		p.metrics.Count(MetricInvalid, 0, 1)
		var fe *exchange.FieldError
		if errors.As(err, &fe) { // the value may be anything, and is the client's
			p.logger.LogAttrs(ctx, slog.LevelWarn, "request is invalid",
				slog.String("field", fe.Field), slog.String("rule", fe.Rule), slog.String("reason", fe.Reason.String()))
		}
		return nil
	}
	return p.risk.Handle(ctx, m)
}

// Prepare makes a command of a request, the same of the same one. The error is
// an *exchange.FieldError that names the JSON field, its value, and what was
// expected. A cancel_all without a symbol has Instrument 0. ClientID is Key.
func (p *OrderProcessor) Prepare(req *Request) (Message, error) {
	d := draft{req: req}
	d.common()
	d.fields()
	in := d.instrument(p.bySymbol)
	if d.err != nil {
		return Message{}, d.err
	}
	d.in = in
	switch req.Kind {
	case RequestNew:
		d.order()
	case RequestCancelAll:
		d.cmd.Kind = exchange.KindMassCancel
		if req.Side != "" {
			d.side()
		}
	default:
		d.change()
	}
	if d.err != nil {
		return Message{}, d.err
	}
	inst, kind := exchange.InstrumentID(0), d.cmd.Kind
	if in != nil {
		inst = in.ID()
	}
	if kind == exchange.KindReplace {
		kind = exchange.KindNewOrder
	}
	d.cmd.Instrument, d.cmd.Account, d.cmd.Time = inst, req.Account, req.Time
	d.cmd.ID = CommandIDOf(req.Account, inst, kind, req.Key)
	return Message{Command: d.cmd, ClientID: req.Key}, nil
}

// draft is a command in the making. The first thing that is wrong counts.
type draft struct {
	req *Request
	in  *exchange.Instrument
	cmd exchange.Command
	err error
}

// refuse notes that a field is wrong.
func (d *draft) refuse(field, value string, reason exchange.Reason, rule string, args ...any) {
	if d.err != nil {
		return
	}
	if len(value) > MaxFieldBytes {
		value = value[:MaxFieldBytes] + "..."
	}
	d.err = &exchange.FieldError{Field: field, Value: strconv.Quote(value), Rule: fmt.Sprintf(rule, args...), Reason: reason}
}

// took notes an error of the instrument under the name the client knows.
func (d *draft) took(field string, err error) {
	if err == nil || d.err != nil {
		return
	}
	var fe *exchange.FieldError
	if errors.As(err, &fe) {
		named := *fe
		named.Field = field
		err = &named
	}
	d.err = err
}

// common checks what every request has.
func (d *draft) common() {
	switch r := d.req; {
	case kindsOf(r.Kind) == 0:
		d.refuse("kind", r.Kind, exchange.InvalidKind, "expected new, cancel, reduce, amend, replace or cancel_all")
	case r.Account == 0:
		d.refuse("account", "0", exchange.UnknownAccount, "expected an account above 0")
	case r.Time < 1:
		d.refuse("time", strconv.FormatInt(int64(r.Time), 10), exchange.InvalidTime, "expected nanoseconds since 1970, above 0")
	case !validKey(r.Key):
		d.refuse("key", r.Key, exchange.InvalidID, "expected 1 to %d of the characters ! to ~", MaxClientIDBytes)
	}
}

// validKey reports whether a text may name a request: it stands in JSON, in
// addresses and in logs as it is.
func validKey(key string) bool {
	if len(key) < 1 || len(key) > MaxClientIDBytes {
		return false
	}
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return false
		}
	}
	return true
}

// kinds is a set of request kinds.
type kinds uint8

const (
	ofNew kinds = 1 << iota
	ofCancel
	ofReduce
	ofAmend
	ofReplace
	ofCancelAll
	ofChange = ofCancel | ofReduce | ofAmend | ofReplace
	ofAny    = ofNew | ofChange | ofCancelAll
)

func kindsOf(kind string) kinds {
	switch kind {
	case RequestNew:
		return ofNew
	case RequestCancel:
		return ofCancel
	case RequestReduce:
		return ofReduce
	case RequestAmend:
		return ofAmend
	case RequestReplace:
		return ofReplace
	case RequestCancelAll:
		return ofCancelAll
	}
	return 0
}

// requestFields are the fields that only some kinds have.
var requestFields = [...]struct {
	name   string
	text   func(*Request) string
	of     kinds
	reason exchange.Reason
}{
	{"symbol", func(r *Request) string { return r.Symbol }, ofAny, exchange.UnknownInstrument},
	{"side", func(r *Request) string { return r.Side }, ofNew | ofCancelAll, exchange.InvalidSide},
	{"type", func(r *Request) string { return r.Type }, ofNew, exchange.InvalidOrderType},
	{"time_in_force", func(r *Request) string { return r.TimeInForce }, ofNew, exchange.InvalidTimeInForce},
	{"price", func(r *Request) string { return r.Price }, ofNew | ofAmend | ofReplace, exchange.InvalidPrice},
	{"size", func(r *Request) string { return r.Size }, ofNew | ofReduce | ofAmend | ofReplace, exchange.InvalidQty},
	{"funds", func(r *Request) string { return r.Funds }, ofNew, exchange.InvalidFunds},
	{"stop_price", func(r *Request) string { return r.StopPrice }, ofNew | ofAmend | ofReplace, exchange.InvalidStopPrice},
	{"display_size", func(r *Request) string { return r.DisplaySize }, ofNew, exchange.InvalidDisplayQty},
	{"min_size", func(r *Request) string { return r.MinSize }, ofNew, exchange.InvalidMinQty},
	{"expire_time", func(r *Request) string { return r.ExpireTime }, ofNew, exchange.InvalidExpire},
	{"post_only", func(r *Request) string { return r.PostOnly }, ofNew, exchange.InvalidPostOnly},
	{"self_trade_prevention", func(r *Request) string { return r.SelfTrade }, ofNew, exchange.InvalidSelfTrade},
	{"order_id", func(r *Request) string { return r.OrderID }, ofChange, exchange.UnknownOrder},
	{"client_order_id", func(r *Request) string { return r.OrigClientID }, ofChange, exchange.UnknownOrder},
}

// fields refuses what is too long, and what the kind does not have.
func (d *draft) fields() {
	kind := kindsOf(d.req.Kind)
	for i := range requestFields {
		f := &requestFields[i]
		text := f.text(d.req)
		switch {
		case text == "":
		case len(text) > MaxFieldBytes:
			d.refuse(f.name, text, f.reason, "expected at most %d bytes", MaxFieldBytes)
		case f.of&kind == 0:
			d.refuse(f.name, text, f.reason, "expected none in a request of this kind")
		}
	}
	if d.req.Hidden && kind != ofNew {
		d.refuse("hidden", "true", exchange.InvalidHidden, "expected none in a request of this kind")
	}
}

// instrument returns whose request it is, nil for all of them, and reads the
// order_id, which may say so too.
func (d *draft) instrument(bySymbol map[string]*exchange.Instrument) *exchange.Instrument {
	symbol := d.req.Symbol
	if d.req.OrderID != "" {
		of, id, ok := ParseOrderID(d.req.OrderID)
		switch {
		case !ok:
			d.refuse("order_id", d.req.OrderID, exchange.UnknownOrder, "expected SYMBOL.number, as the venue gave it")
		case symbol != "" && symbol != of:
			d.refuse("order_id", d.req.OrderID, exchange.UnknownOrder, "expected one of symbol %q", symbol)
		case bySymbol[of] == nil:
			d.refuse("order_id", d.req.OrderID, exchange.UnknownInstrument, "expected one of an instrument that is listed")
		}
		symbol, d.cmd.OrderID = of, id
	}
	if symbol == "" {
		if d.req.Kind != RequestCancelAll {
			d.refuse("symbol", "", exchange.UnknownInstrument, "expected an instrument")
		}
		return nil
	}
	in := bySymbol[symbol]
	if in == nil {
		d.refuse("symbol", symbol, exchange.UnknownInstrument, "expected an instrument that is listed")
	}
	return in
}

// change is a cancel, reduce, amend or replace.
func (d *draft) change() {
	r := d.req
	switch {
	case r.OrderID != "" && r.OrigClientID != "":
		d.refuse("client_order_id", r.OrigClientID, exchange.UnknownOrder, "expected none beside order_id")
	case r.OrderID == "" && !validKey(r.OrigClientID):
		d.refuse("client_order_id", r.OrigClientID, exchange.UnknownOrder, "expected an order_id, or 1 to %d of the characters ! to ~ here", MaxClientIDBytes)
	case r.OrderID == "":
		d.cmd.OrigID = CommandIDOf(r.Account, d.in.ID(), exchange.KindNewOrder, r.OrigClientID)
	}
	switch r.Kind {
	case RequestCancel:
		d.cmd.Kind = exchange.KindCancel
	case RequestReduce:
		d.cmd.Kind = exchange.KindReduce
		d.cmd.Qty = d.qty("size", r.Size)
	case RequestAmend:
		d.cmd.Kind = exchange.KindAmend
		if r.Price == "" && r.Size == "" && r.StopPrice == "" {
			d.refuse("size", "", exchange.NothingToAmend, "expected a price, size or stop_price")
		}
		d.terms()
	case RequestReplace:
		d.cmd.Kind = exchange.KindReplace
		d.terms()
	}
}

// terms are what an amend or replace may change.
func (d *draft) terms() {
	if d.req.Price != "" {
		d.cmd.Price = d.price("price", d.req.Price)
	}
	if d.req.Size != "" {
		d.cmd.Qty = d.qty("size", d.req.Size)
	}
	if d.req.StopPrice != "" {
		d.cmd.StopPrice = d.price("stop_price", d.req.StopPrice)
	}
}

// order is a new order.
func (d *draft) order() {
	d.cmd.Kind = exchange.KindNewOrder
	d.side()
	d.cmd.Type = named(d, "type", d.req.Type, typeTexts, exchange.InvalidOrderType)
	if d.err != nil {
		return // all else depends on these
	}
	d.timeInForce()
	d.cmd.SelfTrade = exchange.CancelNewest
	if d.req.SelfTrade != "" {
		d.cmd.SelfTrade = named(d, "self_trade_prevention", d.req.SelfTrade, selfTradeTexts, exchange.InvalidSelfTrade)
	}
	d.prices()
	d.amounts()
	d.showing()
}

func (d *draft) side() { d.cmd.Side = named(d, "side", d.req.Side, sideTexts, exchange.InvalidSide) }

func (d *draft) timeInForce() {
	r, c := d.req, &d.cmd
	switch {
	case r.TimeInForce != "":
		c.TimeInForce = named(d, "time_in_force", r.TimeInForce, timeInForceTexts, exchange.InvalidTimeInForce)
		if c.Type == exchange.Market && c.TimeInForce != exchange.IOC && c.TimeInForce != exchange.FOK {
			d.refuse("time_in_force", r.TimeInForce, exchange.InvalidTimeInForce, "expected IOC or FOK for a market order, which never rests")
		}
	case c.Type == exchange.Market:
		c.TimeInForce = exchange.IOC
	default:
		c.TimeInForce = exchange.GTC
	}
	switch {
	case c.TimeInForce == exchange.GTD:
		c.Expire = d.expire()
	case r.ExpireTime != "":
		d.refuse("expire_time", r.ExpireTime, exchange.InvalidExpire, "expected none without time_in_force GTD")
	}
}

// The years of which every nanosecond is an exchange.Time above 0.
const firstYear, lastYear = 1970, 2261

func (d *draft) expire() exchange.Time {
	text := d.req.ExpireTime
	t, err := time.Parse(time.RFC3339Nano, text)
	// Parse takes hours of one digit and commas, which RFC 3339 does not know.
	if err != nil || t.Format("2006-01-02T15:04:05") != text[:19] || strings.Contains(text, ",") ||
		t.UTC().Year() < firstYear || t.UTC().Year() > lastYear {
		d.refuse("expire_time", text, exchange.InvalidExpire, "expected a time such as 2030-01-31T12:00:00Z")
		return 0
	}
	at := exchange.Time(t.UnixNano())
	if at <= d.req.Time {
		d.refuse("expire_time", text, exchange.InvalidExpire, "expected a time that is yet to come")
	}
	return at
}

// limited reports whether a type has a limit price of its own.
func limited(t exchange.OrderType) bool {
	return t == exchange.Limit || t == exchange.StopLimit || t == exchange.TakeProfitLimit
}

// waits reports whether a type waits for a stop price.
func waits(t exchange.OrderType) bool { return t >= exchange.Stop && t <= exchange.TakeProfitLimit }

func (d *draft) prices() {
	r, c := d.req, &d.cmd
	if r.Price != "" {
		c.Price = d.price("price", r.Price)
	} else if limited(c.Type) {
		d.refuse("price", "", exchange.InvalidPrice, "expected one for type %s", OrderTypeText(c.Type))
	}
	switch {
	case waits(c.Type) && r.StopPrice == "":
		d.refuse("stop_price", "", exchange.InvalidStopPrice, "expected one for type %s", OrderTypeText(c.Type))
	case waits(c.Type):
		c.StopPrice = d.price("stop_price", r.StopPrice)
	case r.StopPrice != "":
		d.refuse("stop_price", r.StopPrice, exchange.InvalidStopPrice, "expected none for type %s", OrderTypeText(c.Type))
	}
}

func (d *draft) amounts() {
	r, c := d.req, &d.cmd
	if r.Funds != "" {
		switch {
		case c.Side != exchange.Buy:
			d.refuse("funds", r.Funds, exchange.InvalidFunds, "expected none for a sell, which has a size")
		case limited(c.Type):
			d.refuse("funds", r.Funds, exchange.InvalidFunds, "expected none for type %s, which has a price and a size", OrderTypeText(c.Type))
		}
		c.Funds = d.funds()
	}
	switch {
	case r.Size != "":
		c.Qty = d.qty("size", r.Size)
	case c.Type != exchange.Market:
		d.refuse("size", "", exchange.InvalidQty, "expected one for type %s", OrderTypeText(c.Type))
	case c.Side == exchange.Sell:
		d.refuse("size", "", exchange.InvalidQty, "expected one for a sell")
	case r.Funds == "":
		d.refuse("size", "", exchange.InvalidQty, "expected size or funds")
	case c.TimeInForce == exchange.FOK:
		d.refuse("time_in_force", r.TimeInForce, exchange.InvalidTimeInForce, "expected IOC for an order by funds alone, of which nobody knows what all of it is")
	}
	if r.MinSize != "" {
		c.MinQty = d.qty("min_size", r.MinSize)
		if c.Qty != 0 && c.MinQty > c.Qty {
			d.refuse("min_size", r.MinSize, exchange.InvalidMinQty, "expected at most size, %s", r.Size)
		}
		if r.PostOnly != "" {
			d.refuse("min_size", r.MinSize, exchange.InvalidMinQty, "expected none for a post-only order, which never trades at once")
		}
	}
}

// showing is how an order rests.
func (d *draft) showing() {
	r, c := d.req, &d.cmd
	rests := limited(c.Type) && c.TimeInForce != exchange.IOC && c.TimeInForce != exchange.FOK
	const rule = "expected none for an order without a limit price, or one that never rests"
	if r.PostOnly != "" {
		c.PostOnly = named(d, "post_only", r.PostOnly, postOnlyTexts, exchange.InvalidPostOnly)
		if !rests {
			d.refuse("post_only", r.PostOnly, exchange.InvalidPostOnly, rule)
		}
	}
	if c.Hidden = r.Hidden; c.Hidden && !rests {
		d.refuse("hidden", "true", exchange.InvalidHidden, rule)
	}
	if r.DisplaySize == "" {
		return
	}
	c.DisplayQty = d.qty("display_size", r.DisplaySize)
	switch {
	case !rests:
		d.refuse("display_size", r.DisplaySize, exchange.InvalidDisplayQty, rule)
	case c.Hidden:
		d.refuse("display_size", r.DisplaySize, exchange.InvalidDisplayQty, "expected none for a hidden order")
	case d.err == nil && c.DisplayQty > c.Qty:
		d.refuse("display_size", r.DisplaySize, exchange.InvalidDisplayQty, "expected at most size, %s", r.Size)
	case d.err == nil && (c.Qty-1)/c.DisplayQty >= exchange.MaxIcebergParts:
		d.refuse("display_size", r.DisplaySize, exchange.IcebergParts, "expected at least 1/%d of size", exchange.MaxIcebergParts)
	}
}

func (d *draft) price(field, text string) exchange.Price {
	p, err := d.in.ParsePrice(text)
	d.took(field, err)
	return p
}

func (d *draft) qty(field, text string) exchange.Qty {
	q, err := d.in.ParseQty(text)
	d.took(field, err)
	return q
}

func (d *draft) funds() exchange.Amount {
	x, err := exchange.ParseDecimal("funds", d.req.Funds)
	if err != nil {
		d.took("funds", err)
		return 0
	}
	n, err := d.in.Quote().Amount(x)
	d.took("funds", err)
	if err == nil && (n < 1 || n > exchange.MaxAmount) {
		d.refuse("funds", d.req.Funds, exchange.OutOfRange, "expected more than zero and at most %s", d.in.Quote().Decimal(exchange.MaxAmount))
	}
	return n
}

// named reads the name of an enum's value.
func named[T comparable](d *draft, field, text string, of texts[T], reason exchange.Reason) T {
	v, ok := of.parse(text)
	if !ok {
		d.refuse(field, text, reason, "expected %s", of)
	}
	return v
}
