package cloud

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/require"
)

// traffic is clients that trade and clients that watch.
type traffic struct {
	client      *client.Client
	instruments []*exchange.Instrument
	tokens      []string // of the accounts 1, 2 ...
	seed        uint64

	mu       sync.Mutex
	accepted map[exchange.CommandID]string // by command: what it was
	orders   []ownOrder                    // those that a socket has shown
	sent     int
	failed   int
	books    map[string]*watchedBook

	gaps, redials atomic.Int64
	seen          map[exchange.CommandID]bool
}

type ownOrder struct {
	account int
	id      string
	size    string
}

// watchedBook is a book as a page keeps it.
type watchedBook struct {
	ready  bool
	asked  time.Time
	last   uint64
	levels map[string]map[string]string // by side, by price: size
}

func newTraffic(t *testing.T, c *Cloud, seed uint64) *traffic {
	t.Helper()
	instruments, err := config.Instruments()
	require.NoError(t, err)
	cl, err := client.New(c.URL(), 64, 35*time.Second)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	tr := &traffic{client: cl, instruments: instruments, seed: seed, accepted: map[exchange.CommandID]string{}, books: map[string]*watchedBook{}, seen: map[exchange.CommandID]bool{}}
	for acct := range c.cfg.DemoAccounts {
		token, err := c.Token(exchange.AccountID(acct + 1))
		require.NoError(t, err)
		tr.tokens = append(tr.tokens, token)
	}
	for _, in := range instruments {
		tr.books[in.Symbol()] = &watchedBook{levels: map[string]map[string]string{}}
	}
	return tr
}

func (tr *traffic) figures() (sent, accepted, unanswered int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.sent, len(tr.accepted), tr.failed
}

// call sends a request until it is answered, under the same key every time, or
// until ctx ends.
func (tr *traffic) call(ctx context.Context, account int, method, path, key string, body any) (json.RawMessage, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	for {
		var answer json.RawMessage
		err := tr.client.Call(ctx, method, path, tr.tokens[account], key, data, &answer)
		var refused *client.Error
		if err == nil || errors.As(err, &refused) && refused.Status < 500 && refused.Status != http.StatusTooManyRequests || ctx.Err() != nil {
			return answer, err
		}
		select {
		case <-time.After(30 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// send sends a request and notes the commands that were accepted.
func (tr *traffic) send(ctx context.Context, account int, method, path, key string, body any) {
	tr.mu.Lock()
	tr.sent++
	tr.mu.Unlock()
	answer, err := tr.call(ctx, account, method, path, key, body)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if err != nil {
		tr.failed++
		return
	}
	var said struct {
		CommandID string `json:"command_id"`
		Commands  []struct {
			CommandID string `json:"command_id"`
		} `json:"commands"`
	}
	_ = json.Unmarshal(answer, &said) // it was JSON a moment ago
	for _, c := range append(said.Commands, struct {
		CommandID string `json:"command_id"`
	}{said.CommandID}) {
		var id exchange.CommandID
		if raw, err := hex.DecodeString(c.CommandID); err == nil && len(raw) == len(id) {
			copy(id[:], raw)
			tr.accepted[id] = method + " " + path
		}
	}
}

// trade sends a mix of requests at a rate until ctx ends, and waits for the
// answers. Half of the orders rest a few ticks from the middle, the other half
// reach across it.
func (tr *traffic) trade(ctx context.Context, rate float64) {
	rng := rand.New(rand.NewPCG(tr.seed, 2))
	var working sync.WaitGroup
	answers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() { time.AfterFunc(patience, cancel) }) // those that are sent by then
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			working.Wait()
			return
		}
		account, key := rng.IntN(len(tr.tokens)), fmt.Sprintf("f%d-%d", tr.seed, n)
		switch dice := rng.IntN(20); {
		case dice < 14:
			body := tr.order(rng, key)
			working.Go(func() { tr.send(answers, account, "POST", "/orders", "", body) })
		case dice < 17, dice == 17:
			o, ok := tr.pick(rng)
			if !ok {
				continue
			}
			if dice == 17 { // half of it, which needs no further funds
				in := tr.symbol(o.id)
				if q, err := in.ParseQty(o.size); err == nil && q > 1 {
					body := map[string]string{"size": in.QtyDecimal(q / 2).String()}
					working.Go(func() { tr.send(answers, o.account, "PATCH", "/orders/"+o.id, key, body) })
				}
				continue
			}
			working.Go(func() { tr.send(answers, o.account, "DELETE", "/orders/"+o.id, key, nil) })
		case dice == 18:
			symbol := tr.instruments[rng.IntN(len(tr.instruments))].Symbol()
			working.Go(func() { tr.send(answers, account, "DELETE", "/orders?symbol="+symbol, key, nil) })
		default:
			working.Go(func() { tr.send(answers, account, "DELETE", "/orders", key, nil) })
		}
	}
}

func (tr *traffic) symbol(orderID string) *exchange.Instrument {
	symbol, _, _ := pipeline.ParseOrderID(orderID)
	for _, in := range tr.instruments {
		if in.Symbol() == symbol {
			return in
		}
	}
	return tr.instruments[0]
}

func (tr *traffic) order(rng *rand.Rand, key string) map[string]string {
	in := tr.instruments[rng.IntN(len(tr.instruments))]
	side, sign := "buy", int64(-1)
	if rng.IntN(2) == 0 {
		side, sign = "sell", 1
	}
	away := int64(1 + rng.IntN(6))
	if rng.IntN(2) == 0 {
		away = -away
	}
	mid, err := in.ParsePrice(mids[in.Symbol()])
	if err != nil {
		panic(err)
	}
	body := map[string]string{
		"client_order_id": key, "symbol": in.Symbol(), "side": side, "type": "limit", "self_trade_prevention": "cancel_oldest",
		"price": in.PriceDecimal(mid + exchange.Price(sign*away)).String(), "size": in.QtyDecimal(exchange.Qty(1000 + rng.Int64N(4000))).String(),
	}
	if away < 0 && rng.IntN(2) == 0 {
		body["time_in_force"] = "IOC"
	}
	return body
}

func (tr *traffic) pick(rng *rand.Rand) (ownOrder, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.orders) == 0 {
		return ownOrder{}, false
	}
	i := rng.IntN(len(tr.orders))
	o := tr.orders[i]
	tr.orders[i] = tr.orders[len(tr.orders)-1]
	tr.orders = tr.orders[:len(tr.orders)-1]
	return o, true
}

// cancelEverything ends all orders of all accounts, once everything works
// again.
func (tr *traffic) cancelEverything(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for account := range tr.tokens {
		tr.send(ctx, account, "DELETE", "/orders?side=buy", fmt.Sprintf("end-%d", account), nil)
	}
}

// watch keeps the books of all instruments as a page does, and the open orders
// of all accounts, until the test ends.
func (tr *traffic) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	t.Cleanup(func() { cancel(); watching.Wait() })
	watching.Go(func() {
		tr.listen(ctx, "", func(ctx context.Context, f *client.Feed) error {
			for _, in := range tr.instruments {
				tr.mu.Lock()
				tr.books[in.Symbol()].ready = false
				tr.mu.Unlock()
				if err := f.Send(ctx, map[string]string{"op": "subscribe", "channel": "book", "symbol": in.Symbol()}); err != nil {
					return err
				}
			}
			return nil
		}, tr.book)
	})
	for account, token := range tr.tokens {
		watching.Go(func() {
			tr.listen(ctx, token, func(ctx context.Context, f *client.Feed) error {
				return f.Send(ctx, map[string]string{"op": "subscribe", "channel": "orders"})
			}, func(_ context.Context, _ *client.Feed, data []byte) error { return tr.own(account, data) })
		})
	}
}

// listen keeps a connection to the feed.
func (tr *traffic) listen(ctx context.Context, token string, begin func(context.Context, *client.Feed) error, take func(context.Context, *client.Feed, []byte) error) {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			tr.redials.Add(1)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
		f, err := tr.client.Dial(ctx)
		if err != nil {
			continue
		}
		done := make(chan struct{})
		go func() { // a page pings, and gives up on silence
			tick := time.NewTicker(2 * time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					if f.Send(ctx, map[string]string{"op": "ping"}) != nil {
						f.Close()
					}
				case <-done:
					return
				}
			}
		}()
		if token != "" {
			err = f.Auth(ctx, token)
		}
		if err == nil {
			err = begin(ctx, f)
		}
		for err == nil {
			var data []byte
			read, cancel := context.WithTimeout(ctx, 10*time.Second)
			if data, err = f.Read(read); err == nil {
				err = take(ctx, f, data)
			}
			cancel()
		}
		close(done)
		f.Close()
	}
}

// resubscribeAfter is how often a broken book is asked for.
const resubscribeAfter = time.Second

// book takes a message of a book.
func (tr *traffic) book(ctx context.Context, f *client.Feed, data []byte) error {
	var m struct {
		pipeline.FeedBook
		Code string `json:"code"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	b := tr.books[m.Symbol]
	again := func(b *watchedBook, symbol string) error {
		b.ready, b.asked = false, time.Now()
		return f.Send(ctx, map[string]string{"op": "subscribe", "channel": "book", "symbol": symbol})
	}
	switch {
	case m.Type == "pong": // what was asked for may have been lost on the way
		for symbol, b := range tr.books {
			if !b.ready && time.Since(b.asked) > resubscribeAfter {
				if err := again(b, symbol); err != nil {
					return err
				}
			}
		}
		return nil
	case b == nil, m.Channel != pipeline.ChannelBook, m.Type == "subscribed", m.Type == "error":
		return nil
	case m.Type == "snapshot":
		b.levels, b.ready = map[string]map[string]string{"bid": {}, "ask": {}}, true
	case !b.ready || m.Seq <= b.last:
		return nil
	case m.PrevSeq > b.last:
		tr.gaps.Add(1)
		return again(b, m.Symbol)
	}
	b.last = m.Seq
	for side, levels := range map[string][]pipeline.FeedLevel{"bid": m.Bids, "ask": m.Asks} {
		for _, l := range levels {
			if b.levels[side][l.Price] = l.Size; l.Size == "0" {
				delete(b.levels[side], l.Price)
			}
		}
	}
	return nil
}

// own takes a message of an account's orders.
func (tr *traffic) own(account int, data []byte) error {
	var m pipeline.FeedOrders
	if err := json.Unmarshal(data, &m); err != nil || m.Channel != pipeline.ChannelOrders {
		return err
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i := range m.Orders {
		if o := &m.Orders[i]; o.Status == "open" {
			tr.orders = append(tr.orders, ownOrder{account, o.ID, o.Size})
		}
	}
	return nil
}
