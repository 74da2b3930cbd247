package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/coder/websocket"
)

// fakeVenue answers as the venue does: an order that takes is filled at once,
// any other rests.
type fakeVenue struct {
	*httptest.Server
	mu       sync.Mutex
	orders   map[string]client.NewOrder // by order id
	names    map[string]bool            // client_order_ids
	resting  map[string]bool
	mostOpen int
	canceled int
	trades   int
	empty    bool // no book, no last price
	sockets  map[*socket]bool

	// before, when set, is asked before the order of that number is answered;
	// "" lets it go, other texts are the code of a 503.
	before func(n int) string
	// reject, when set, gives the code of a refusal by the engine.
	reject func(n int) string
	// mute leaves the public socket without trades.
	mute bool
}

type socket struct {
	conn    *websocket.Conn
	account string
	public  bool
	write   sync.Mutex
}

func newFakeVenue(t *testing.T) *fakeVenue {
	v := &fakeVenue{orders: map[string]client.NewOrder{}, names: map[string]bool{}, resting: map[string]bool{}, sockets: map[*socket]bool{}}
	mux := http.NewServeMux()
	give := func(path, text string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, text) })
	}
	give("GET /health", `{"status":"ok"}`)
	give("GET /demo/accounts", `{"accounts":[{"account":"1","name":"Account 1"},{"account":"2","name":"Account 2"}]}`)
	give("GET /products", `{"products":[{"symbol":"BTC-USD","base":"BTC","quote":"USD","tick_size":"0.01","size_step":"0.0001","min_size":"0.0002","min_notional":"10"},
		{"symbol":"ETH-USD","base":"ETH","quote":"USD","tick_size":"0.01","size_step":"0.001"}]}`)
	mux.HandleFunc("GET /products/{symbol}/book", func(w http.ResponseWriter, r *http.Request) {
		if v.empty {
			fmt.Fprint(w, `{"bids":[],"asks":[]}`)
			return
		}
		fmt.Fprint(w, `{"bids":[{"price":"9999.99","size":"1","orders":1}],"asks":[{"price":"10000.02","size":"1","orders":1}]}`)
	})
	give("GET /products/{symbol}/ticker", `{"price":""}`)
	mux.HandleFunc("POST /demo/login", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Account string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("login: %v", err)
		}
		fmt.Fprintf(w, `{"token":"token-%s"}`, body.Account)
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) { v.place(t, w, r) })
	mux.HandleFunc("DELETE /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		defer v.mu.Unlock()
		id := r.PathValue("id")
		w.WriteHeader(http.StatusAccepted)
		if !v.resting[id] {
			fmt.Fprintf(w, `{"command_id":"c","order_id":%q,"status":"rejected","code":"unknown_order"}`, id)
			return
		}
		delete(v.resting, id)
		v.canceled++
		fmt.Fprintf(w, `{"command_id":"c","order_id":%q,"status":"canceled"}`, id)
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) { v.feed(t, w, r) })
	v.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		v.hangUp()
		v.Close()
	})
	return v
}

// hangUp ends every socket.
func (v *fakeVenue) hangUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for s := range v.sockets {
		_ = s.conn.CloseNow()
		delete(v.sockets, s)
	}
}

func (v *fakeVenue) place(t *testing.T, w http.ResponseWriter, r *http.Request) {
	var o client.NewOrder
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		t.Errorf("order: %v", err)
	}
	account := r.Header.Get("Authorization")[len("Bearer token-"):]
	v.mu.Lock()
	if v.names[o.ClientOrderID] {
		t.Errorf("client_order_id %s came twice", o.ClientOrderID)
	}
	v.names[o.ClientOrderID] = true
	n := len(v.names)
	v.mu.Unlock()
	if v.before != nil {
		if code := v.before(n); code != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, `{"code":%q,"message":"not now"}`, code)
			return
		}
	}
	id := fmt.Sprintf("%s.%d", o.Symbol, n)
	status, code := "open", ""
	if v.reject != nil {
		if code = v.reject(n); code != "" {
			status, id = "rejected", ""
		}
	}
	v.mu.Lock()
	if status == "open" && o.TimeInForce == "IOC" {
		status = "filled"
		v.trades++
		v.tell(account, fmt.Sprintf(`{"type":"update","channel":"orders","symbol":%q,"seq":%d,"prev_seq":0,"orders":[{"id":%q,"client_order_id":%q,"symbol":%q,"status":"filled"}],
			"fills":[{"trade_id":"%d","order_id":%q,"liquidity":"taker"}]}`, o.Symbol, n, id, o.ClientOrderID, o.Symbol, v.trades, id))
		if !v.mute {
			v.tell("", fmt.Sprintf(`{"type":"update","channel":"book","symbol":%q,"seq":%d,"prev_seq":0,"bids":[],"asks":[]}`, o.Symbol, n))
			v.tell("", fmt.Sprintf(`{"type":"update","channel":"trades","symbol":%q,"seq":%d,"prev_seq":0,"trades":[{"trade_id":"%d"}]}`, o.Symbol, n, v.trades))
		}
	}
	if status == "open" {
		v.resting[id] = true
		v.mostOpen = max(v.mostOpen, len(v.resting))
	}
	v.orders[id] = o
	v.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"command_id":"%032d","order_id":%q,"status":%q,"code":%q}`, n, id, status, code)
}

// tell writes to an account's sockets, or ("") to the public ones.
func (v *fakeVenue) tell(account, text string) {
	for s := range v.sockets {
		if s.account == account && s.public == (account == "") {
			s.write.Lock()
			_ = s.conn.Write(context.Background(), websocket.MessageText, []byte(text))
			s.write.Unlock()
		}
	}
}

func (v *fakeVenue) feed(t *testing.T, w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		t.Errorf("socket: %v", err)
		return
	}
	s := &socket{conn: conn}
	defer func() {
		v.mu.Lock()
		delete(v.sockets, s)
		v.mu.Unlock()
		_ = conn.CloseNow()
	}()
	for {
		_, data, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		var m struct{ Op, Token, Channel, Symbol string }
		if err := json.Unmarshal(data, &m); err != nil {
			t.Errorf("message %s: %v", data, err)
			return
		}
		answer := fmt.Sprintf(`{"type":"subscribed","channel":%q,"symbol":%q}`, m.Channel, m.Symbol)
		v.mu.Lock()
		switch {
		case m.Op == "auth":
			s.account = m.Token[len("token-"):]
			answer = `{"type":"authenticated"}`
		case m.Channel == "orders" && s.account == "":
			answer = `{"type":"error","code":"unauthorized","message":"authenticate first"}`
		case m.Op == "subscribe":
			s.public = m.Channel != "orders"
			v.sockets[s] = true
		}
		v.mu.Unlock()
		s.write.Lock()
		err = conn.Write(context.Background(), websocket.MessageText, []byte(answer))
		s.write.Unlock()
		if err != nil {
			return
		}
	}
}
