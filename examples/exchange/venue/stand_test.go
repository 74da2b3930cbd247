package venue

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// stand is a venue, and clients of it. Whatever it answers is checked against
// the document that it serves.
type stand struct {
	t      *testing.T
	v      *Venue
	cfg    Config
	doc    *openapi3.T
	router routers.Router // nil: nothing is checked
}

func start(t *testing.T, cfg Config) *stand {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Rate == 0 {
		cfg.Rate = 1e6
	}
	s := &stand{t: t, cfg: cfg}
	s.open()
	doc, err := openapi3.NewLoader().LoadFromData(s.get("/openapi.yaml").body)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(context.Background()))
	require.True(t, strings.HasPrefix(doc.OpenAPI, "3.0."), doc.OpenAPI)
	s.doc = doc
	s.router, err = legacy.NewRouter(doc)
	require.NoError(t, err)
	return s
}

func (s *stand) open() {
	s.t.Helper()
	v, err := Start(context.Background(), s.cfg)
	require.NoError(s.t, err)
	s.v = v
	s.t.Cleanup(func() { assert.NoError(s.t, v.Close()) })
}

// reopen stops the venue and starts another one on the same data.
func (s *stand) reopen() {
	s.t.Helper()
	require.NoError(s.t, s.v.Close())
	s.open()
}

func (s *stand) token(acct exchange.AccountID) string {
	s.t.Helper()
	token, err := s.v.Token(acct)
	require.NoError(s.t, err)
	return token
}

// reply is an answer.
type reply struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// into decodes the body, which must be of the given status.
func (r reply) into(status int, v any) {
	r.t.Helper()
	require.Equal(r.t, status, r.status, "%s", r.body)
	require.NoError(r.t, json.Unmarshal(r.body, v), "%s", r.body)
}

// fails checks that the answer is an error.
func (r reply) fails(status int, code, field string) {
	r.t.Helper()
	var e struct{ Code, Message, Field string }
	r.into(status, &e)
	assert.Equal(r.t, code, e.Code, e.Message)
	assert.Equal(r.t, field, e.Field, e.Message)
	assert.NotEmpty(r.t, e.Message)
}

func (s *stand) get(path string) reply { s.t.Helper(); return s.do("GET", path, "", "") }

// as is an account's way to the venue.
type as struct {
	s     *stand
	acct  exchange.AccountID
	token string
}

func (s *stand) as(acct exchange.AccountID) *as { return &as{s, acct, s.token(acct)} }

func (a *as) do(method, path, body string, header ...string) reply {
	a.s.t.Helper()
	return a.s.do(method, path, body, append([]string{"Authorization", "Bearer " + a.token}, header...)...)
}

func (a *as) get(path string) reply { a.s.t.Helper(); return a.do("GET", path, "") }

// do sends a request, the header given as names and values in turn.
func (s *stand) do(method, path, body string, header ...string) reply {
	s.t.Helper()
	req, err := http.NewRequest(method, s.v.URL()+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	r := reply{s.t, resp.StatusCode, resp.Header, data}
	if s.router != nil {
		s.check(req, body, r)
	}
	return r
}

// check compares an exchange with the document: the answer in any case, the
// request when it was taken.
func (s *stand) check(req *http.Request, body string, r reply) {
	s.t.Helper()
	options := &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: func(context.Context, *openapi3filter.AuthenticationInput) error { return nil }}
	at := *req
	u := *req.URL
	u.Scheme, u.Host = "", ""
	at.URL = &u
	route, params, err := s.router.FindRoute(&at)
	if err != nil {
		require.Contains(s.t, []int{404, 405, 421, 403}, r.status, "%s %s is not in the document: %v", req.Method, req.URL.Path, err)
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: &at, PathParams: params, Route: route, Options: options}
	if r.status < 300 {
		at.Body = io.NopCloser(strings.NewReader(body))
		require.NoError(s.t, openapi3filter.ValidateRequest(context.Background(), in), "the venue takes what its document refuses")
	}
	require.NoError(s.t, openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: r.status, Header: r.header, Body: io.NopCloser(bytes.NewReader(r.body)), Options: options,
	}), "%s %s: %d %s", req.Method, req.URL.Path, r.status, r.body)
}

// ack is what a command is answered with.
type ack struct {
	CommandID     string `json:"command_id"`
	OrderID       string `json:"order_id"`
	ClientOrderID string `json:"client_order_id"`
	Symbol        string
	Status        string
	Code          string
	Reason        string
	Canceled      int
	Time          string
}

type order struct {
	ID            string
	CommandID     string `json:"command_id"`
	ClientOrderID string `json:"client_order_id"`
	Symbol        string
	Side          string
	Type          string
	Status        string
	Code          string
	Reason        string
	Price         string
	Size          string
	Filled        string
	Remaining     string
	Cost          string
	Fee           string
	Created       string `json:"created_at"`
}

type fill struct {
	TradeID   string `json:"trade_id"`
	Symbol    string
	OrderID   string `json:"order_id"`
	Side      string
	Price     string
	Size      string
	Fee       string
	Liquidity string
}

// place sends an order, its fields as names and values in turn, and expects
// that it is taken.
func (a *as) place(fields ...string) ack {
	a.s.t.Helper()
	var got ack
	a.do("POST", "/orders", object(fields...)).into(202, &got)
	return got
}

// limit places a limit order on BTC-USD.
func (a *as) limit(side, price, size string, more ...string) ack {
	a.s.t.Helper()
	return a.place(append([]string{"symbol", "BTC-USD", "type", "limit", "side", side, "price", price, "size", size}, more...)...)
}

// object makes a JSON object of texts; true stands for itself.
func object(fields ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(fields); i += 2 {
		value := fmt.Sprintf("%q", fields[i+1])
		if fields[i+1] == "true" {
			value = "true"
		}
		fmt.Fprintf(&b, ",%q:%s", fields[i], value)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

func (a *as) order(id string) order {
	a.s.t.Helper()
	var o order
	a.get("/orders/"+id).into(200, &o)
	return o
}

// orders lists orders, page by page.
func (a *as) orders(query string, limit int) (all []order) {
	a.s.t.Helper()
	cursor := ""
	for {
		var page struct {
			Orders     []order
			NextCursor string `json:"next_cursor"`
		}
		a.get(fmt.Sprintf("/orders?limit=%d&%s%s", limit, query, cursor)).into(200, &page)
		require.LessOrEqual(a.s.t, len(page.Orders), limit)
		all = append(all, page.Orders...)
		if page.NextCursor == "" {
			return all
		}
		cursor = "&cursor=" + page.NextCursor
	}
}

func (a *as) fills(query string, limit int) (all []fill) {
	a.s.t.Helper()
	cursor := ""
	for {
		var page struct {
			Fills      []fill
			NextCursor string `json:"next_cursor"`
		}
		a.get(fmt.Sprintf("/fills?limit=%d&%s%s", limit, query, cursor)).into(200, &page)
		all = append(all, page.Fills...)
		if page.NextCursor == "" {
			return all
		}
		cursor = "&cursor=" + page.NextCursor
	}
}

// balances returns "available held" by asset.
func (a *as) balances() map[string]string {
	a.s.t.Helper()
	var got struct {
		Balances []struct{ Asset, Available, Held string }
	}
	a.get("/balances").into(200, &got)
	out := map[string]string{}
	for _, b := range got.Balances {
		out[b.Asset] = b.Available + " " + b.Held
	}
	return out
}

func ids(orders []order) (out []string) {
	for _, o := range orders {
		out = append(out, o.ID)
	}
	return out
}

func reversed[T any](list []T) []T {
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}
