package venue

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOrderLives(t *testing.T) {
	s := start(t, Config{})
	alice := s.as(1)
	got := alice.limit("buy", "60000.00", "0.5", "client_order_id", "mine/1?")
	assert.Equal(t, []string{"BTC-USD.1", "mine/1?", "BTC-USD", "open", ""}, []string{got.OrderID, got.ClientOrderID, got.Symbol, got.Status, got.Code})
	o := alice.order("BTC-USD.1")
	assert.Equal(t, order{ID: "BTC-USD.1", CommandID: got.CommandID, ClientOrderID: "mine/1?", Symbol: "BTC-USD", Side: "buy", Type: "limit",
		Status: "open", Price: "60000", Size: "0.5", Filled: "0", Remaining: "0.5", Cost: "0", Fee: "0", Created: got.Time}, o)
	assert.Equal(t, o, alice.order("client:mine%2F1%3F"))
	assert.Equal(t, map[string]string{"BTC": "20 0", "ETH": "300 0", "USD": "969970 30030"}, alice.balances(), "held with the fee")

	var changed ack
	alice.do("PATCH", "/orders/BTC-USD.1", `{"size":"0.4"}`).into(202, &changed)
	assert.Equal(t, []string{"amended", "BTC-USD.1", "mine/1?"}, []string{changed.Status, changed.OrderID, changed.ClientOrderID})
	alice.do("PATCH", "/orders/client:mine%2F1%3F", `{"price":"50000"}`).into(202, &changed)
	o = alice.order("BTC-USD.1")
	assert.Equal(t, []string{"0.4", "50000", "open"}, []string{o.Size, o.Price, o.Status})
	assert.Equal(t, "979980 20020", alice.balances()["USD"])

	alice.do("DELETE", "/orders/BTC-USD.1", "").into(202, &changed)
	assert.Equal(t, []string{"canceled", "requested", "requested"}, []string{changed.Status, changed.Code, changed.Reason})
	assert.Equal(t, "canceled", alice.order("BTC-USD.1").Status)
	assert.Equal(t, "1000000 0", alice.balances()["USD"])
	alice.do("DELETE", "/orders/BTC-USD.1", "").into(202, &changed)
	assert.Equal(t, []string{"rejected", "unknown_order"}, []string{changed.Status, changed.Code}, "it has ended")
	alice.do("PATCH", "/orders/BTC-USD.1", `{"size":"0.4"}`).into(202, &changed)
	assert.Equal(t, []string{"rejected", "unknown_order"}, []string{changed.Status, changed.Code})
}

// What an order is answered with is what it is found as.
func TestStatusOfOrders(t *testing.T) {
	s := start(t, Config{})
	alice, bob := s.as(1), s.as(2)
	bob.limit("sell", "64000", "1")
	bob.limit("buy", "63000", "1")
	for _, tc := range []struct{ fields, status, code string }{
		{"symbol BTC-USD side buy type limit price 62000 size 1", "open", ""},
		{"symbol BTC-USD side buy type limit price 64000 size 0.1", "filled", ""},
		{"symbol BTC-USD side buy type market size 0.1", "filled", ""},
		{"symbol BTC-USD side buy type market funds 100", "canceled", "funds_exhausted"},
		{"symbol BTC-USD side sell type market size 0.1", "filled", ""},
		{"symbol BTC-USD side sell type limit price 65000 size 0.1 time_in_force IOC", "canceled", "immediate_remainder"},
		{"symbol BTC-USD side buy type limit price 64000 size 5 time_in_force FOK", "canceled", "fill_or_kill"},
		{"symbol BTC-USD side buy type limit price 64000 size 1 post_only reject", "rejected", "post_only_would_take"},
		{"symbol BTC-USD side buy type limit price 64000 size 0.1 post_only slide", "open", ""},
		{"symbol BTC-USD side buy type stop stop_price 70000 size 0.1", "pending", ""},
		{"symbol BTC-USD side sell type take_profit_limit stop_price 70000 price 70000 size 0.1", "pending", ""},
		{"symbol BTC-USD side buy type limit price 63000 size 100", "rejected", "insufficient_funds"},
		{"symbol BTC-USD side sell type limit price 70000 size 1 display_size 0.3 time_in_force DAY", "open", ""},
		{"symbol BTC-USD side sell type limit price 70000 size 1 hidden true", "open", ""},
		{"symbol BTC-USD side buy type limit price 62000 size 1 time_in_force GTD expire_time 2200-01-01T00:00:00Z", "open", ""},
		{"symbol ETH-BTC side buy type market size 0.1", "rejected", "no_reference_price"},
		{"symbol BTC-USD side buy type market_to_limit size 0.1 min_size 0.1", "filled", ""},
		{"symbol BTC-USD side sell type limit price 60000 size 0.1 self_trade_prevention decrement", "", ""},
	} {
		t.Run(tc.fields, func(t *testing.T) {
			got := alice.place(strings.Fields(tc.fields)...)
			if tc.status != "" {
				assert.Equal(t, []string{tc.status, tc.code}, []string{got.Status, got.Code})
			}
			o := alice.order("client:" + got.ClientOrderID)
			assert.Equal(t, got.Status, o.Status)
			assert.Equal(t, []string{got.Code, got.Reason}, []string{o.Code, o.Reason})
			assert.Equal(t, got.OrderID, o.ID)
			assert.Equal(t, got.CommandID, o.CommandID)
		})
	}
}

func TestTwoTrade(t *testing.T) {
	s := start(t, Config{})
	alice, bob := s.as(1), s.as(2)
	rests := alice.limit("buy", "60000", "0.5")
	takes := bob.limit("sell", "59000", "0.2")
	assert.Equal(t, "filled", takes.Status)
	// 0.2 × 60000 = 12000 at the maker's price; fees 6 and 12; the rest is held for at the higher rate.
	assert.Equal(t, map[string]string{"BTC": "20.2 0", "ETH": "300 0", "USD": "969976 18018"}, alice.balances())
	assert.Equal(t, map[string]string{"BTC": "19.8 0", "ETH": "300 0", "USD": "1011988 0"}, bob.balances())
	assert.Equal(t, []fill{{"1", "BTC-USD", rests.OrderID, "buy", "60000", "0.2", "6", "maker"}}, alice.fills("", 10))
	assert.Equal(t, []fill{{"1", "BTC-USD", takes.OrderID, "sell", "60000", "0.2", "12", "taker"}}, bob.fills("symbol=BTC-USD", 10))
	assert.Empty(t, bob.fills("symbol=ETH-USD", 10))
	o := alice.order(rests.OrderID)
	assert.Equal(t, []string{"open", "0.2", "0.3", "12000", "6"}, []string{o.Status, o.Filled, o.Remaining, o.Cost, o.Fee})

	own := alice.limit("sell", "60000", "0.1", "self_trade_prevention", "none")
	assert.Equal(t, "filled", own.Status, "a trade with oneself, as asked for")
	both := alice.fills("", 10)
	require.Len(t, both, 3)
	assert.Equal(t, []string{"taker", "maker"}, []string{both[0].Liquidity, both[1].Liquidity})
}

func TestRequestsThatAreWrong(t *testing.T) {
	s := start(t, Config{})
	alice := s.as(1)
	rests := alice.limit("buy", "60000", "0.5")
	const head = `"symbol":"BTC-USD","side":"buy","type":"limit"`
	for _, tc := range []struct {
		name, body  string
		code, field string
	}{
		{"nothing", ``, "invalid_json", ""},
		{"no JSON", `{`, "invalid_json", ""},
		{"null", `null`, "invalid_json", ""},
		{"a list", `[]`, "invalid_json", ""},
		{"a text", `"x"`, "invalid_json", ""},
		{"two", `{}{}`, "invalid_json", ""},
		{"not UTF-8", "{\"symbol\":\"\xff\"}", "invalid_json", ""},
		{"unknown field", `{` + head + `,"price":"1","size":"1","account":"2"}`, "invalid_json", ""},
		{"time", `{` + head + `,"price":"1","size":"1","time":1}`, "invalid_json", ""},
		{"a number for a price", `{` + head + `,"price":60000.1,"size":"1"}`, "invalid_json", "price"},
		{"a number for a size", `{` + head + `,"price":"1","size":1e-1}`, "invalid_json", "size"},
		{"a text for a flag", `{` + head + `,"price":"1","size":"1","hidden":"yes"}`, "invalid_json", "hidden"},
		{"empty", `{}`, "unknown_instrument", "symbol"},
		{"unknown symbol", `{"symbol":"DOGE-USD","side":"buy","type":"limit"}`, "unknown_instrument", "symbol"},
		{"no side", `{"symbol":"BTC-USD","type":"limit"}`, "invalid_side", "side"},
		{"no type", `{"symbol":"BTC-USD","side":"buy"}`, "invalid_type", "type"},
		{"no price", `{` + head + `,"size":"1"}`, "invalid_price", "price"},
		{"no size", `{` + head + `,"price":"60000"}`, "invalid_size", "size"},
		{"off the tick", `{` + head + `,"price":"60000.001","size":"1"}`, "off_tick", "price"},
		{"off the lot", `{` + head + `,"price":"60000","size":"0.00001"}`, "off_lot", "size"},
		{"negative", `{` + head + `,"price":"-1","size":"1"}`, "out_of_range", "price"},
		{"zero", `{` + head + `,"price":"0","size":"1"}`, "out_of_range", "price"},
		{"an exponent", `{` + head + `,"price":"1e9","size":"1"}`, "invalid_number", "price"},
		{"a float's error", `{` + head + `,"price":"1","size":"0.043000000000000003"}`, "off_lot", "size"},
		{"huge", `{` + head + `,"price":"99999999999999999999","size":"1"}`, "out_of_range", "price"},
		{"very long", `{` + head + `,"price":"` + strings.Repeat("1", 65) + `","size":"1"}`, "invalid_price", "price"},
		{"not a number", `{` + head + `,"price":"NaN","size":"1"}`, "invalid_number", "price"},
		{"funds of a limit order", `{` + head + `,"price":"1","size":"1","funds":"1"}`, "invalid_funds", "funds"},
		{"unknown time in force", `{` + head + `,"price":"1","size":"1","time_in_force":"NOW"}`, "invalid_time_in_force", "time_in_force"},
		{"past", `{` + head + `,"price":"1","size":"1","time_in_force":"GTD","expire_time":"2020-01-01T00:00:00Z"}`, "invalid_expire_time", "expire_time"},
		{"client id with a space", `{` + head + `,"price":"1","size":"1","client_order_id":"a b"}`, "invalid_id", "client_order_id"},
		{"client id too long", `{` + head + `,"price":"1","size":"1","client_order_id":"` + strings.Repeat("x", 65) + `"}`, "invalid_id", "client_order_id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.t, alice.s.t = t, t
			alice.do("POST", "/orders", tc.body).fails(400, tc.code, tc.field)
		})
	}
	s.t = t
	for _, tc := range []struct {
		method, path, body string
		status             int
		code, field        string
	}{
		{"PATCH", "/orders/" + rests.OrderID, `{}`, 400, "nothing_to_amend", "size"},
		{"PATCH", "/orders/" + rests.OrderID, `{"side":"sell"}`, 400, "invalid_json", ""},
		{"PATCH", "/orders/" + rests.OrderID, `{"price":"1.001"}`, 400, "off_tick", "price"},
		{"PATCH", "/orders/BTC-USD.2", `{"price":"1"}`, 404, "not_found", ""},
		{"DELETE", "/orders/BTC-USD.2", ``, 404, "not_found", ""},
		{"GET", "/orders/BTC-USD.2", ``, 404, "not_found", ""},
		{"GET", "/orders/BTC-USD.01", ``, 404, "not_found", ""},
		{"GET", "/orders/DOGE-USD.1", ``, 404, "not_found", ""},
		{"GET", "/orders/1", ``, 404, "not_found", ""},
		{"GET", "/orders/client:nope", ``, 404, "not_found", ""},
		{"GET", "/orders/client:", ``, 404, "not_found", ""},
		{"DELETE", "/orders?symbol=DOGE-USD", ``, 400, "unknown_instrument", "symbol"},
		{"DELETE", "/orders?side=left", ``, 400, "invalid_side", "side"},
		{"GET", "/orders?symbol=x", ``, 400, "invalid_field", "symbol"},
		{"GET", "/orders?status=done", ``, 400, "invalid_field", "status"},
		{"GET", "/orders?limit=0", ``, 400, "invalid_field", "limit"},
		{"GET", "/orders?limit=1001", ``, 400, "invalid_field", "limit"},
		{"GET", "/orders?limit=ten", ``, 400, "invalid_field", "limit"},
		{"GET", "/orders?limit=1&limit=2", ``, 400, "invalid_field", "limit"},
		{"GET", "/orders?cursor=x", ``, 400, "invalid_field", "cursor"},
		{"GET", "/orders?cursor=1-00", ``, 400, "invalid_field", "cursor"},
		{"GET", "/orders?cursor=+1-" + strings.Repeat("0", 32), ``, 400, "invalid_field", "cursor"},
		{"GET", "/orders?colour=red", ``, 400, "invalid_field", "query"},
		{"GET", "/orders?a=%zz", ``, 400, "invalid_field", "query"},
		{"GET", "/fills?cursor=1-2", ``, 400, "invalid_field", "cursor"},
		{"GET", "/fills?symbol=x", ``, 400, "invalid_field", "symbol"},
		{"GET", "/balances?asset=BTC", ``, 400, "invalid_field", "query"},
		{"PUT", "/orders", `{}`, 405, "method_not_allowed", ""},
		{"POST", "/balances", `{}`, 405, "method_not_allowed", ""},
		{"GET", "/nowhere", ``, 404, "not_found", ""},
		{"GET", "/orders/", ``, 404, "not_found", ""},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			s.t = t
			alice.do(tc.method, tc.path, tc.body).fails(tc.status, tc.code, tc.field)
		})
	}
	s.t = t
	alice.do("DELETE", "/orders/"+rests.OrderID, "", "Idempotency-Key", "a b").fails(400, "invalid_id", "Idempotency-Key")
	assert.Equal(t, "open", alice.order(rests.OrderID).Status, "nothing of all this has touched it")
}

func TestNobodyElsesOrders(t *testing.T) {
	s := start(t, Config{})
	alice, bob := s.as(1), s.as(2)
	mine := alice.limit("buy", "60000", "0.5", "client_order_id", "mine")
	for _, id := range []string{mine.OrderID, "client:mine"} {
		bob.get("/orders/"+id).fails(404, "not_found", "")
		bob.do("PATCH", "/orders/"+id, `{"size":"0.1"}`).fails(404, "not_found", "")
		bob.do("DELETE", "/orders/"+id, "").fails(404, "not_found", "")
	}
	assert.Empty(t, bob.orders("", 10))
	var all struct{ Commands []ack }
	bob.do("DELETE", "/orders", "").into(202, &all)
	assert.Equal(t, "open", alice.order(mine.OrderID).Status)
	theirs := bob.limit("buy", "60000", "0.1", "client_order_id", "mine")
	assert.NotEqual(t, mine.CommandID, theirs.CommandID, "the same name, another account")
	assert.Equal(t, mine.OrderID, alice.order("client:mine").ID)
	assert.Equal(t, theirs.OrderID, bob.order("client:mine").ID)
	assert.Equal(t, []string{theirs.OrderID}, ids(bob.orders("", 10)))
}

func TestWhoAsks(t *testing.T) {
	s := start(t, Config{})
	past, err := auth.Load(s.cfg.Dir+"/"+KeyFile, func() time.Time { return time.Now().Add(-time.Hour) })
	require.NoError(t, err)
	old, _, err := past.Token(1, time.Minute)
	require.NoError(t, err)
	for _, tc := range []struct{ name, header, code string }{
		{"none", "", "unauthorized"},
		{"not bearer", "Basic " + s.token(1), "unauthorized"},
		{"no scheme", s.token(1), "unauthorized"},
		{"empty", "Bearer ", "unauthorized"},
		{"nonsense", "Bearer x.y.z", "unauthorized"},
		{"one more character", "Bearer " + s.token(1) + "A", "unauthorized"},
		{"ended", "Bearer " + old, "token_expired"},
	} {
		for _, path := range []string{"GET /orders", "POST /orders", "DELETE /orders", "GET /orders/BTC-USD.1", "PATCH /orders/BTC-USD.1",
			"DELETE /orders/BTC-USD.1", "GET /fills", "GET /balances"} {
			method, path, _ := strings.Cut(path, " ")
			r := s.do(method, path, `{}`, "Authorization", tc.header)
			r.fails(401, tc.code, "")
			assert.Contains(t, r.header.Get("WWW-Authenticate"), "Bearer")
			assert.NotContains(t, string(r.body), "eyJ", "the answer repeats the token")
		}
	}
	s.do("GET", "/balances", "", "Authorization", "bearer "+s.token(1)).into(200, &struct{}{})
}

func TestSameAgain(t *testing.T) {
	s := start(t, Config{})
	alice := s.as(1)
	first := alice.limit("buy", "60000", "0.5", "client_order_id", "one")
	refused := alice.limit("buy", "60000", "100", "client_order_id", "two")
	require.Equal(t, "insufficient_funds", refused.Code)
	var amended, canceled ack
	alice.do("PATCH", "/orders/"+first.OrderID, `{"size":"0.4"}`, "Idempotency-Key", "k1").into(202, &amended)
	alice.do("DELETE", "/orders/"+first.OrderID, "", "Idempotency-Key", "k2").into(202, &canceled)

	for _, when := range []string{"at once", "after a restart"} {
		assert.Equal(t, first, alice.limit("buy", "60000", "0.5", "client_order_id", "one"), when)
		assert.Equal(t, refused, alice.limit("buy", "60000", "100", "client_order_id", "two"), when)
		var again ack
		alice.do("PATCH", "/orders/"+first.OrderID, `{"size":"0.4"}`, "Idempotency-Key", "k1").into(202, &again)
		assert.Equal(t, amended, again, when)
		alice.do("DELETE", "/orders/"+first.OrderID, "", "Idempotency-Key", "k2").into(202, &again)
		assert.Equal(t, canceled, again, when)

		another := object("client_order_id", "one", "symbol", "BTC-USD", "side", "buy", "type", "limit", "price", "60001", "size", "0.5")
		alice.do("POST", "/orders", another).fails(409, "duplicate_key", "client_order_id")
		alice.do("PATCH", "/orders/"+first.OrderID, `{"size":"0.3"}`, "Idempotency-Key", "k1").fails(409, "duplicate_key", "Idempotency-Key")
		other := alice.limit("buy", "50000", "0.1")
		alice.do("DELETE", "/orders/"+other.OrderID, "", "Idempotency-Key", "k2").fails(409, "duplicate_key", "Idempotency-Key")
		assert.Equal(t, "1000000 0", alice.cancelAll().balances()["USD"], when)
		s.reopen()
	}
}

// cancelAll cancels everything.
func (a *as) cancelAll() *as {
	a.s.t.Helper()
	var all struct{ Commands []ack }
	a.do("DELETE", "/orders", "").into(202, &all)
	require.Len(a.s.t, all.Commands, 3)
	return a
}

// However many send the same at the same time, it has one effect, and all hear
// of it.
func TestSameAtOnce(t *testing.T) {
	s := start(t, Config{})
	alice := s.as(1)
	got := make([]ack, 8)
	for round := range 10 {
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				alice.do("POST", "/orders", object("client_order_id", fmt.Sprint(round), "symbol", "BTC-USD", "side", "buy", "type", "limit", "price", "60000", "size", "0.1")).into(202, &got[i])
			})
		}
		wg.Wait()
		for i := range got {
			assert.Equal(t, got[0], got[i])
		}
	}
	assert.Len(t, alice.orders("", 100), 10)
}

// With no time to wait nobody knows at first, unless everything was even
// faster. Sent again, the same request finds what came of it.
func TestTimeout(t *testing.T) {
	s := start(t, Config{Wait: 1})
	alice := s.as(1)
	var body string
	var r reply
	placed := 0
	for r.status != 504 {
		placed++
		body = object("client_order_id", fmt.Sprint(placed), "symbol", "BTC-USD", "side", "buy", "type", "limit", "price", "60000", "size", "0.0001")
		r = alice.do("POST", "/orders", body)
		require.Contains(t, []int{202, 504}, r.status, "%s", r.body)
		require.Less(t, placed, 1000, "it always waits")
	}
	r.fails(504, "timeout", "")
	var first struct {
		CommandID string `json:"command_id"`
	}
	r.into(504, &first)
	var got ack
	require.Eventually(t, func() bool {
		r = alice.do("POST", "/orders", body)
		return r.status == 202
	}, patience, time.Millisecond)
	r.into(202, &got)
	assert.Equal(t, first.CommandID, got.CommandID)
	all := ids(alice.orders("", 1000))
	assert.Len(t, all, placed)
	assert.Equal(t, got.OrderID, all[0])
}

func TestCancelAll(t *testing.T) {
	s := start(t, Config{})
	alice := s.as(1)
	place := func() (out []string) {
		for _, symbol := range []string{"BTC-USD", "BTC-USD", "ETH-USD"} {
			for side, price := range map[string]string{"buy": "1000", "sell": "90000"} {
				out = append(out, alice.place("symbol", symbol, "type", "limit", "side", side, "price", price, "size", "0.1").OrderID)
			}
		}
		return out
	}
	cancel := func(query string, header ...string) (out []string) {
		var all struct{ Commands []ack }
		alice.do("DELETE", "/orders"+query, "", header...).into(202, &all)
		for _, a := range all.Commands {
			out = append(out, fmt.Sprintf("%s %s %d", a.Symbol, a.Status, a.Canceled))
		}
		return out
	}
	place()
	assert.Equal(t, []string{"BTC-USD canceled 2"}, cancel("?symbol=BTC-USD&side=buy"))
	assert.Equal(t, []string{"BTC-USD canceled 2"}, cancel("?symbol=BTC-USD"))
	everything := []string{"BTC-USD canceled 0", "ETH-USD canceled 2", "ETH-BTC canceled 0"}
	assert.Equal(t, everything, cancel("", "Idempotency-Key", "all"))
	assert.Empty(t, alice.orders("status=open", 100))
	left := place()
	assert.Equal(t, everything, cancel("", "Idempotency-Key", "all"), "the same as before")
	assert.Len(t, alice.orders("status=open", 100), len(left), "and no other effect")
	var e struct{ Code string }
	alice.do("DELETE", "/orders?side=buy", "", "Idempotency-Key", "all").into(409, &e)
	assert.Equal(t, []string{"BTC-USD canceled 4", "ETH-USD canceled 2", "ETH-BTC canceled 0"}, cancel(""))
	assert.Equal(t, map[string]string{"BTC": "20 0", "ETH": "300 0", "USD": "1000000 0"}, alice.balances())
}

func TestPages(t *testing.T) {
	s := start(t, Config{})
	alice, bob := s.as(1), s.as(2)
	var placed []string
	for i := range 7 {
		symbol := []string{"BTC-USD", "ETH-USD"}[i%2]
		placed = append(placed, alice.place("symbol", symbol, "type", "limit", "side", "buy", "price", "2000", "size", fmt.Sprintf("0.%d", i+1)).OrderID)
	}
	newest := reversed(placed)
	for limit := 1; limit <= 9; limit++ {
		assert.Equal(t, newest, ids(alice.orders("", limit)), "%d a page", limit)
	}
	assert.Equal(t, []string{placed[5], placed[3], placed[1]}, ids(alice.orders("symbol=ETH-USD", 2)))
	bob.place("symbol", "ETH-USD", "type", "limit", "side", "sell", "price", "2000", "size", "1.2")
	assert.Equal(t, []string{placed[6], placed[4], placed[2], placed[0]}, ids(alice.orders("status=open", 3)))
	bob.place("symbol", "BTC-USD", "type", "limit", "side", "sell", "price", "2000", "size", "1.6")
	assert.Empty(t, alice.orders("status=open", 3))
	all := alice.fills("", 100)
	require.Len(t, all, 7)
	for limit := 1; limit <= 8; limit++ {
		assert.Equal(t, all, alice.fills("", limit), "%d a page", limit)
	}
	assert.Len(t, alice.fills("symbol=ETH-USD", 2), 3)

	var trades struct {
		Trades []struct {
			ID string `json:"trade_id"`
		}
	}
	s.get("/products/BTC-USD/trades?limit=2").into(200, &trades)
	require.Len(t, trades.Trades, 2)
	assert.Equal(t, "4", trades.Trades[0].ID)
	s.get("/products/BTC-USD/trades?limit=9&before="+trades.Trades[1].ID).into(200, &trades)
	require.Len(t, trades.Trades, 2)
	assert.Equal(t, "2", trades.Trades[0].ID)
}
