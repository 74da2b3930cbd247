// Package client talks to the local venue of examples/exchange, its REST API
// and its feed, for programs that load it and tests that try it.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/castlecloud/exchange/pipeline"
)

// MaxAnswerBytes is the longest answer that is read.
const MaxAnswerBytes = 16 << 20

// Client sends requests to one venue. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
	feed *http.Client // without a bound: a feed keeps its connection
}

// New returns a client of the venue at base, such as http://127.0.0.1:8080,
// that uses at most conns connections at once and gives up on an answer after
// wait. The venue is one of this machine: any other host than a loopback
// address is refused.
func New(base string, conns int, wait time.Duration) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("venue %q: expected an address such as http://127.0.0.1:8080", base)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("venue %q: expected a loopback address: the venue listens on no other", base)
	}
	if conns < 1 {
		return nil, fmt.Errorf("%d connections: expected 1 or more", conns)
	}
	dial := (&net.Dialer{Timeout: wait}).DialContext
	return &Client{
		base: "http://" + u.Host,
		http: &http.Client{Timeout: wait, Transport: &http.Transport{
			DialContext: dial, MaxConnsPerHost: conns, MaxIdleConnsPerHost: conns, DisableCompression: true,
		}},
		feed: &http.Client{Timeout: wait, Transport: &http.Transport{DialContext: dial}},
	}, nil
}

// Close gives up the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is an answer other than 2xx.
type Error struct {
	Status    int    `json:"-"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	Field     string `json:"field"`
	CommandID string `json:"command_id"`
}

func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("the venue answered %d %s: %s: %s", e.Status, e.Code, e.Field, e.Message)
	}
	return fmt.Sprintf("the venue answered %d %s: %s", e.Status, e.Code, e.Message)
}

// ErrNoAnswer says that nobody knows whether a request took effect: the
// connection failed, or no answer came in time.
var ErrNoAnswer = errors.New("no answer")

// Call sends a request and reads the answer, JSON, into out (nil: it is not
// looked at). token and key may be empty. Errors: *Error, ErrNoAnswer.
func (c *Client) Call(ctx context.Context, method, path, token, key string, body []byte, out any) error {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswerBytes))
	if err != nil {
		return fmt.Errorf("%s %s: %w: %w", method, path, ErrNoAnswer, err)
	}
	if resp.StatusCode/100 != 2 {
		e := &Error{Status: resp.StatusCode}
		if json.Unmarshal(text, e) != nil || e.Code == "" {
			e.Code = "http"
			e.Message = strings.TrimSpace(string(text[:min(len(text), 200)]))
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return nil
}

func (c *Client) get(ctx context.Context, path, token string, out any) error {
	return c.Call(ctx, http.MethodGet, path, token, "", nil, out)
}

// Health returns nil when the venue says that it works.
func (c *Client) Health(ctx context.Context) error { return c.get(ctx, "/health", "", nil) }

// Accounts returns the demo accounts one may log in to.
func (c *Client) Accounts(ctx context.Context) ([]string, error) {
	var answer struct {
		Accounts []struct {
			Account string `json:"account"`
		} `json:"accounts"`
	}
	err := c.get(ctx, "/demo/accounts", "", &answer)
	var list []string
	for _, a := range answer.Accounts {
		list = append(list, a.Account)
	}
	return list, err
}

// Login returns a token of a demo account.
func (c *Client) Login(ctx context.Context, account string) (string, error) {
	body, _ := json.Marshal(map[string]string{"account": account}) // a text always can be
	var answer struct {
		Token string `json:"token"`
	}
	err := c.Call(ctx, http.MethodPost, "/demo/login", "", "", body, &answer)
	return answer.Token, err
}

// Product is an instrument, as far as an order needs to know it.
type Product struct {
	Symbol      string `json:"symbol"`
	Base        string `json:"base"`
	Quote       string `json:"quote"`
	TickSize    string `json:"tick_size"`
	SizeStep    string `json:"size_step"`
	MinSize     string `json:"min_size"`
	MinNotional string `json:"min_notional"`
}

// Products returns the instruments.
func (c *Client) Products(ctx context.Context) ([]Product, error) {
	var answer struct {
		Products []Product `json:"products"`
	}
	err := c.get(ctx, "/products", "", &answer)
	return answer.Products, err
}

// Top is the best level of each side, empty where there is none.
type Top struct {
	Bids []pipeline.FeedLevel `json:"bids"`
	Asks []pipeline.FeedLevel `json:"asks"`
}

// Top returns the best of an instrument's book.
func (c *Client) Top(ctx context.Context, symbol string) (Top, error) {
	var answer Top
	err := c.get(ctx, "/products/"+url.PathEscape(symbol)+"/book?level=1", "", &answer)
	return answer, err
}

// Last returns the price of an instrument's last trade, "" before the first.
func (c *Client) Last(ctx context.Context, symbol string) (string, error) {
	var answer struct {
		Price string `json:"price"`
	}
	err := c.get(ctx, "/products/"+url.PathEscape(symbol)+"/ticker", "", &answer)
	return answer.Price, err
}

// NewOrder is the body of POST /orders.
type NewOrder struct {
	ClientOrderID string `json:"client_order_id"`
	Symbol        string `json:"symbol"`
	Side          string `json:"side"`
	Type          string `json:"type"`
	TimeInForce   string `json:"time_in_force,omitempty"`
	Price         string `json:"price,omitempty"`
	Size          string `json:"size,omitempty"`
	PostOnly      string `json:"post_only,omitempty"`
	SelfTrade     string `json:"self_trade_prevention,omitempty"`
}

// Receipt is the 202: the command is in the journal, and this came of it; or,
// when Status is accepted, it is on its way there, and has no OrderID yet.
type Receipt struct {
	CommandID string `json:"command_id"`
	OrderID   string `json:"order_id"`
	Status    string `json:"status"`
	Code      string `json:"code"` // of one that is rejected or ended at once
}

// Place sends a new order. It may be repeated: the ClientOrderID makes the
// repetition harmless.
func (c *Client) Place(ctx context.Context, token string, o *NewOrder) (Receipt, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return Receipt{}, fmt.Errorf("encoding an order: %w", err)
	}
	var r Receipt
	err = c.Call(ctx, http.MethodPost, "/orders", token, "", body, &r)
	return r, err
}

// Cancel ends an order, named by its id or by "client:" and its client's own.
// With a key it may be repeated.
func (c *Client) Cancel(ctx context.Context, token, id, key string) (Receipt, error) {
	var r Receipt
	err := c.Call(ctx, http.MethodDelete, "/orders/"+url.PathEscape(id), token, key, nil, &r)
	return r, err
}

// Order returns one of the account's orders, named as in Cancel.
func (c *Client) Order(ctx context.Context, token, id string) (pipeline.FeedOrder, error) {
	var o pipeline.FeedOrder
	err := c.get(ctx, "/orders/"+url.PathEscape(id), token, &o)
	return o, err
}

// Balances returns what the account has.
func (c *Client) Balances(ctx context.Context, token string) ([]pipeline.FeedBalance, error) {
	var answer struct {
		Balances []pipeline.FeedBalance `json:"balances"`
	}
	err := c.get(ctx, "/balances", token, &answer)
	return answer.Balances, err
}
