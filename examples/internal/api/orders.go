package api

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/edge"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/pipeline"
)

// orderBody is what POST /orders takes.
type orderBody struct {
	ClientOrderID string `json:"client_order_id"`
	Symbol        string `json:"symbol"`
	Side          string `json:"side"`
	Type          string `json:"type"`
	TimeInForce   string `json:"time_in_force"`
	Price         string `json:"price"`
	Size          string `json:"size"`
	Funds         string `json:"funds"`
	StopPrice     string `json:"stop_price"`
	DisplaySize   string `json:"display_size"`
	MinSize       string `json:"min_size"`
	ExpireTime    string `json:"expire_time"`
	PostOnly      string `json:"post_only"`
	SelfTrade     string `json:"self_trade_prevention"`
	Hidden        bool   `json:"hidden"`
}

// amendBody is what PATCH /orders/{id} takes.
type amendBody struct {
	Price     string `json:"price"`
	Size      string `json:"size"`
	StopPrice string `json:"stop_price"`
}

// Ack is the answer to a command: what came of it, as the journal has it.
type Ack struct {
	CommandID     string `json:"command_id"`
	OrderID       string `json:"order_id,omitempty"`
	ClientOrderID string `json:"client_order_id,omitempty"`
	Symbol        string `json:"symbol"`
	Status        string `json:"status"`
	Code          string `json:"code,omitempty"`
	Reason        string `json:"reason,omitempty"`
	Canceled      *int64 `json:"canceled,omitempty"` // of cancel all: how many orders
	Time          string `json:"time"`
}

func (a *api) ack(o *progress.Outcome) Ack {
	in := a.ids[o.Instrument]
	ack := Ack{CommandID: hex.EncodeToString(o.Command[:]), Symbol: in.Symbol(), Status: string(o.Status), Code: pipeline.ReasonCode(o.Reason), Time: pipeline.TimeText(o.Time)}
	if o.OrderID != 0 {
		ack.OrderID = pipeline.OrderIDText(in.Symbol(), o.OrderID)
	}
	if o.Reason != 0 {
		ack.Reason = o.Reason.String()
	}
	return ack
}

// body reads one JSON object with no fields but those of v.
func body(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return problem(codeBodyTooLarge, "expected at most %d bytes", tooLong.Limit)
	case err != nil:
		return problem(codeInvalidJSON, "the body did not come whole")
	case !utf8.Valid(data):
		return problem(codeInvalidJSON, "expected UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err = dec.Decode(v)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		e := problem(codeInvalidJSON, "%s: a %s, expected a %s", wrongType.Field, wrongType.Value, jsonName(wrongType.Type.Kind().String()))
		e.Field = wrongType.Field
		return e
	case err != nil:
		return problem(codeInvalidJSON, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return problem(codeInvalidJSON, "something follows the object")
	}
	if data = bytes.TrimLeft(data, " \t\r\n"); data[0] != '{' {
		return problem(codeInvalidJSON, "expected an object")
	}
	return nil
}

func jsonName(kind string) string {
	if kind == "bool" {
		return "boolean"
	}
	return kind
}

// keyField lets an error of the request's key name what the client sent.
func keyField(err error, name string) error {
	var fe *exchange.FieldError
	if errors.Is(err, edge.ErrReused) {
		e := problem(codeReused, "the key was used for another request")
		e.Field = name
		return e
	}
	if errors.As(err, &fe) && fe.Field == "key" {
		named := *fe
		named.Field = name
		return &named
	}
	return err
}

const keyHeader = "Idempotency-Key"

// idempotencyKey returns the request's key, or makes one.
func idempotencyKey(r *http.Request) string {
	if key := r.Header.Values(keyHeader); len(key) > 0 {
		return strings.Join(key, ",")
	}
	return edge.NewKey()
}

// submit sends a request through the pipeline.
func (a *api) submit(r *http.Request, req *pipeline.Request) ([]progress.Outcome, error) {
	began := a.cfg.Now()
	out, err := a.cfg.Edge.Submit(r.Context(), req)
	a.cfg.Metrics.Observe(MetricSubmit, 0, a.cfg.Now().Sub(began))
	return out, err
}

func (a *api) newOrder(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	var b orderBody
	if err := body(r, &b); err != nil {
		return err
	}
	if b.ClientOrderID == "" {
		b.ClientOrderID = edge.NewKey()
	}
	out, err := a.submit(r, &pipeline.Request{
		Kind: pipeline.RequestNew, Account: acct, Key: b.ClientOrderID, Symbol: b.Symbol, Side: b.Side, Type: b.Type,
		TimeInForce: b.TimeInForce, Price: b.Price, Size: b.Size, Funds: b.Funds, StopPrice: b.StopPrice, DisplaySize: b.DisplaySize,
		MinSize: b.MinSize, ExpireTime: b.ExpireTime, PostOnly: b.PostOnly, SelfTrade: b.SelfTrade, Hidden: b.Hidden,
	})
	if err != nil {
		return keyField(err, "client_order_id")
	}
	ack := a.ack(&out[0])
	ack.ClientOrderID = b.ClientOrderID
	writeJSON(w, http.StatusAccepted, ack)
	return nil
}

// find returns the order that a path names, when it is the account's own.
func (a *api) find(r *http.Request, acct exchange.AccountID) (*exchange.Instrument, pipeline.OrderRecord, error) {
	text := r.PathValue("id")
	none := problem(codeNotFound, "you have no order of this id")
	if clientID, ok := strings.CutPrefix(text, "client:"); ok {
		if err := a.caughtUp(r, a.cfg.Instruments...); err != nil {
			return nil, pipeline.OrderRecord{}, err
		}
		rec, err := a.cfg.Store.OrderByClientID(r.Context(), acct, clientID)
		switch {
		case errors.Is(err, pipeline.ErrNotFound), err == nil && rec.Account != acct:
			return nil, pipeline.OrderRecord{}, none
		case err != nil:
			return nil, pipeline.OrderRecord{}, fmt.Errorf("looking for an order: %w", err)
		}
		return a.ids[rec.Instrument], rec, nil
	}
	symbol, id, ok := pipeline.ParseOrderID(text)
	in := a.symbols[symbol]
	if !ok || in == nil {
		return nil, pipeline.OrderRecord{}, none
	}
	if err := a.caughtUp(r, in); err != nil {
		return nil, pipeline.OrderRecord{}, err
	}
	rec, err := a.cfg.Store.OrderByID(r.Context(), in.ID(), id)
	switch {
	case errors.Is(err, pipeline.ErrNotFound), err == nil && rec.Account != acct:
		return nil, pipeline.OrderRecord{}, none
	case err != nil:
		return nil, pipeline.OrderRecord{}, fmt.Errorf("looking for an order: %w", err)
	}
	return in, rec, nil
}

func (a *api) order(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	in, rec, err := a.find(r, acct)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, pipeline.FeedOrderOf(in, &rec))
	return nil
}

// meant returns the order that a change names. When nobody waits for what
// comes of a change it need not be known here: an order is in the book before
// it is in the trade store.
func (a *api) meant(r *http.Request, acct exchange.AccountID) (*exchange.Instrument, pipeline.OrderRecord, error) {
	if a.cfg.Accepts {
		symbol, id, ok := pipeline.ParseOrderID(r.PathValue("id"))
		if in := a.symbols[symbol]; ok && in != nil {
			return in, pipeline.OrderRecord{OrderID: id}, nil
		}
	}
	return a.find(r, acct)
}

// change sends a command that names an order.
func (a *api) change(w http.ResponseWriter, r *http.Request, acct exchange.AccountID, req pipeline.Request) error {
	in, rec, err := a.meant(r, acct)
	if err != nil {
		return err
	}
	req.Account, req.Key, req.Symbol = acct, idempotencyKey(r), in.Symbol()
	if rec.OrderID != 0 {
		req.OrderID = pipeline.OrderIDText(in.Symbol(), rec.OrderID)
	} else {
		req.OrigClientID = rec.ClientID // it was rejected, which the engine will say
	}
	out, err := a.submit(r, &req)
	if err != nil {
		return keyField(err, keyHeader)
	}
	ack := a.ack(&out[0])
	ack.OrderID, ack.ClientOrderID = req.OrderID, rec.ClientID
	writeJSON(w, http.StatusAccepted, ack)
	return nil
}

func (a *api) amend(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	var b amendBody
	if err := body(r, &b); err != nil {
		return err
	}
	return a.change(w, r, acct, pipeline.Request{Kind: pipeline.RequestAmend, Price: b.Price, Size: b.Size, StopPrice: b.StopPrice})
}

func (a *api) cancel(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	return a.change(w, r, acct, pipeline.Request{Kind: pipeline.RequestCancel})
}

func (a *api) cancelAll(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	q, err := readQuery(r, "symbol", "side")
	if err != nil {
		return err
	}
	out, err := a.submit(r, &pipeline.Request{Kind: pipeline.RequestCancelAll, Account: acct, Key: idempotencyKey(r),
		Symbol: q.text("symbol", ""), Side: q.text("side", "")})
	if err != nil {
		return keyField(err, keyHeader)
	}
	acks := []Ack{}
	for i := range out {
		ack := a.ack(&out[i])
		if out[i].Status != progress.Accepted {
			ack.Canceled = &out[i].Orders
		}
		acks = append(acks, ack)
	}
	writeJSON(w, http.StatusAccepted, map[string]any{"commands": acks})
	return nil
}

// instruments returns those a query's symbol names: one, or all.
func (a *api) instruments(q query) ([]*exchange.Instrument, error) {
	symbol := q.text("symbol", "")
	if symbol == "" {
		return a.cfg.Instruments, nil
	}
	in := a.symbols[symbol]
	if in == nil {
		return nil, badField("symbol", "%.64q: expected that of a product", symbol)
	}
	return []*exchange.Instrument{in}, nil
}

func (a *api) listOrders(w http.ResponseWriter, r *http.Request, acct exchange.AccountID) error {
	q, err := readQuery(r, "symbol", "status", "limit", "cursor")
	if err != nil {
		return err
	}
	instruments, err := a.instruments(q)
	if err != nil {
		return err
	}
	find := pipeline.OrderQuery{Account: acct}
	if len(instruments) == 1 {
		find.Instrument = instruments[0].ID()
	}
	switch status := q.text("status", "all"); status {
	case "all":
	case "open":
		find.LiveOnly = true
	default:
		return badField("status", "%.64q: expected open or all", status)
	}
	if find.Limit, err = q.limit(); err != nil {
		return err
	}
	if cursor := q.text("cursor", ""); cursor != "" {
		var before pipeline.OrderRecord
		var id []byte
		n, err := fmt.Sscanf(cursor, "%d-%x", &before.Created, &id)
		if err != nil || n != 2 || len(id) != len(before.CommandID) || orderCursor(before.Created, id) != cursor {
			return badField("cursor", "%.64q: expected what next_cursor said", cursor)
		}
		copy(before.CommandID[:], id)
		find.Before = &before
	}
	if err := a.caughtUp(r, instruments...); err != nil {
		return err
	}
	records, err := a.cfg.Store.Orders(r.Context(), find)
	if err != nil {
		return fmt.Errorf("listing orders: %w", err)
	}
	out := struct {
		Orders     []pipeline.FeedOrder `json:"orders"`
		NextCursor string               `json:"next_cursor,omitempty"`
	}{Orders: []pipeline.FeedOrder{}}
	for i := range records {
		out.Orders = append(out.Orders, pipeline.FeedOrderOf(a.ids[records[i].Instrument], &records[i]))
	}
	if n := len(records); n == find.Limit {
		out.NextCursor = orderCursor(records[n-1].Created, records[n-1].CommandID[:])
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func orderCursor(created exchange.Time, id []byte) string { return fmt.Sprintf("%d-%x", created, id) }
