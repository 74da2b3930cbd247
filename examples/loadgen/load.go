package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of a run.
const (
	// defaultPatience is how long orders that are due are still sent after the
	// end of a run, and how long it waits for what the sockets have yet to tell.
	defaultPatience = 10 * time.Second
	// What is left at the end is looked for as often, with a pause between, when
	// the venue accepts orders before they rest.
	laterRounds = 15
	laterPause  = 200 * time.Millisecond
	// redials is how often in a row a socket is opened anew.
	redials = 5
)

// account is one of those that trade.
type account struct {
	name  string
	token string
}

// load is a venue, who trades on it and with what.
type load struct {
	client   *client.Client
	accounts []account
	flow     *flow
	conns    int
	mostOpen int
	patience time.Duration
	join     *joiner
	open     *openOrders
	later    atomic.Bool                           // the venue accepts before it knows an order's id
	show     func(r *results, since time.Duration) // progress; called now and then
}

// job is a request that is due.
type job struct {
	due    time.Time
	draft  *draft
	cancel *openOrder // instead of draft
}

// run sends orders at a fixed rate for a while, each when it is due, whatever
// has become of those before, and returns what it measured and how long
// sending took.
func (l *load) run(ctx context.Context, rate float64, duration time.Duration) (*results, time.Duration, error) {
	res := newResults()
	l.join.into(res)
	var workers sync.WaitGroup
	jobs := make(chan job, l.conns)
	for range l.conns {
		workers.Go(func() {
			for j := range jobs {
				if ctx.Err() == nil {
					// An interrupt does not break off what is on its way: it may rest.
					l.do(context.WithoutCancel(ctx), res, j)
				}
			}
		})
	}
	start := time.Now()
	shown := make(chan struct{})
	showing := make(chan struct{})
	go func() {
		defer close(showing)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.show(res, time.Since(start))
			case <-shown:
				return
			}
		}
	}()
	l.pace(ctx, res, jobs, start, rate, duration)
	took := time.Since(start)
	if ctx.Err() == nil {
		took = max(took, duration) // the last order is due a little before the end
	}
	close(jobs)
	workers.Wait()
	select {
	case <-l.join.settled():
	case <-time.After(l.patience):
	case <-ctx.Done():
	}
	close(shown)
	<-showing
	fills, trades := l.join.end()
	for range fills {
		res.fail("fill_never_told")
	}
	for range trades {
		res.fail("trade_never_pushed")
	}
	return res, took, ctx.Err()
}

// pace hands out jobs when they are due. When nobody is free to take one it
// waits, and everything after it is late; that counts. What has not been taken
// long after the end counts with the time it has waited by then.
func (l *load) pace(ctx context.Context, res *results, jobs chan<- job, start time.Time, rate float64, duration time.Duration) {
	n := int(rate * duration.Seconds())
	end := time.NewTimer(duration + l.patience)
	defer end.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for i := range n {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			wake.Reset(wait)
			select {
			case <-wake.C:
			case <-ctx.Done():
				return
			}
		}
		next := []job{{due: due, draft: l.flow.next()}}
		if victim, ok := l.open.oldest(l.mostOpen); ok {
			next = append(next, job{due: due, cancel: &victim})
		}
		for _, j := range next {
			select {
			case jobs <- j:
			case <-end.C:
				for ; i < n; i++ {
					due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
					res.observe(stageAccepted, time.Since(due))
					res.fail("never_sent")
				}
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// do sends one request.
func (l *load) do(ctx context.Context, res *results, j job) {
	if j.cancel != nil {
		l.cancel(ctx, res, *j.cancel)
		return
	}
	d := j.draft
	id := d.body.ClientOrderID
	if d.takes {
		l.join.expect(id, j.due)
	}
	res.observe(stageSent, time.Since(j.due))
	res.count(&res.sent)
	receipt, err := l.client.Place(ctx, l.accounts[d.account].token, &d.body)
	if err != nil {
		l.join.forget(id)
		res.fail(codeOf(err))
		return
	}
	res.observe(stageAccepted, time.Since(j.due))
	res.count(&res.accepted)
	switch receipt.Status {
	case "open", "pending":
		l.open.add(openOrder{receipt.OrderID, d.account})
	case "accepted": // the feed will tell its id
		l.later.Store(true)
	case "rejected":
		l.join.forget(id)
		res.refused(receipt.Code)
	}
}

// cancel ends an order. One that was filled meanwhile is none.
func (l *load) cancel(ctx context.Context, res *results, o openOrder) {
	receipt, err := l.client.Cancel(ctx, l.accounts[o.account].token, o.id, "")
	if err != nil {
		res.fail("cancel:" + codeOf(err))
		l.open.add(o)
		return
	}
	res.count(&res.cancels)
	if receipt.Status == "rejected" && receipt.Code != "unknown_order" {
		res.refused("cancel:" + receipt.Code)
	}
}

func codeOf(err error) string {
	var refused *client.Error
	if errors.As(err, &refused) {
		return fmt.Sprintf("%d:%s", refused.Status, refused.Code)
	}
	return "no_answer"
}

// clean cancels what is still open and returns how much it could not.
func (l *load) clean(ctx context.Context) int {
	rounds := 3
	if l.later.Load() { // the feed may yet tell of orders that rest
		rounds = laterRounds
	}
	for i := range rounds {
		if i > 0 && l.later.Load() {
			select {
			case <-time.After(laterPause):
			case <-ctx.Done():
				return l.open.len()
			}
		}
		res := newResults()
		jobs := make(chan job)
		var workers sync.WaitGroup
		for range l.conns {
			workers.Go(func() {
				for j := range jobs {
					l.do(ctx, res, j)
				}
			})
		}
		for range l.open.len() {
			if o, ok := l.open.oldest(0); ok {
				jobs <- job{cancel: &o}
			}
		}
		close(jobs)
		workers.Wait()
	}
	return l.open.len()
}

// listen reads the sockets until ctx ends or one of them is lost for good:
// every account's own orders, and the public feed. ready is closed once all of
// them are open.
func (l *load) listen(ctx context.Context, ready chan<- struct{}) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var opening, reading sync.WaitGroup
	socket := func(connect func(ctx context.Context) (*client.Feed, error), take func(data []byte)) {
		opening.Add(1)
		reading.Go(func() {
			if err := l.read(ctx, connect, take, sync.OnceFunc(opening.Done)); err != nil {
				stop(err)
			}
		})
	}
	for i := range l.accounts {
		socket(func(ctx context.Context) (*client.Feed, error) {
			f, err := l.client.Dial(ctx)
			if err == nil {
				if err = f.Auth(ctx, l.accounts[i].token); err == nil {
					err = f.Subscribe(ctx, pipeline.ChannelOrders, "")
				}
			}
			return f, err
		}, func(data []byte) { l.own(i, data) })
	}
	socket(func(ctx context.Context) (*client.Feed, error) {
		f, err := l.client.Dial(ctx)
		// What a page shows of an instrument; only trades are looked at.
		for _, channel := range []pipeline.Channel{pipeline.ChannelTrades, pipeline.ChannelBook, pipeline.ChannelTicker} {
			for _, m := range l.flow.markets {
				if err == nil {
					err = f.Subscribe(ctx, channel, m.symbol)
				}
			}
		}
		return f, err
	}, l.public)
	opening.Wait()
	if ctx.Err() == nil {
		close(ready)
	}
	reading.Wait()
	return context.Cause(ctx)
}

// read takes the messages of one socket and opens it anew when it is lost.
func (l *load) read(ctx context.Context, connect func(context.Context) (*client.Feed, error), take func(data []byte), opened func()) error {
	defer opened()
	for failures := 0; ; {
		f, err := connect(ctx)
		for first := true; err == nil; first = false {
			if first {
				opened()
			}
			var data []byte
			if data, err = f.Read(ctx); err == nil {
				failures = 0
				take(data)
			}
		}
		if f != nil {
			f.Close()
		}
		if ctx.Err() != nil {
			return nil
		}
		if failures++; failures > redials {
			return fmt.Errorf("the feed is lost: %w", err)
		}
		l.fail("feed_lost")
		select {
		case <-time.After(time.Duration(failures) * 100 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *load) fail(code string) {
	l.join.mu.Lock()
	res := l.join.res
	l.join.mu.Unlock()
	res.fail(code)
}

// ownMessage is what is read of a message of ChannelOrders.
type ownMessage struct {
	client.Message
	Orders []struct {
		ID            string `json:"id"`
		ClientOrderID string `json:"client_order_id"`
		Symbol        string `json:"symbol"`
		Status        string `json:"status"`
	} `json:"orders"`
	Fills []struct {
		TradeID   string `json:"trade_id"`
		OrderID   string `json:"order_id"`
		Liquidity string `json:"liquidity"`
	} `json:"fills"`
}

// own takes a message of an account's own orders.
func (l *load) own(acct int, data []byte) {
	now := time.Now()
	var m ownMessage
	if err := json.Unmarshal(data, &m); err != nil {
		l.fail("feed_unreadable")
		return
	}
	if l.special(&m.Message) {
		return
	}
	for i := range m.Orders {
		o := &m.Orders[i]
		if o.Status == "open" || o.Status == "pending" {
			if l.later.Load() && m.Type == "update" {
				l.open.add(openOrder{o.ID, acct})
			}
			continue
		}
		l.open.remove(o.ID)
		for k := range m.Fills {
			if f := &m.Fills[k]; f.OrderID == o.ID && f.Liquidity == "taker" {
				l.join.filled(o.ClientOrderID, trade{o.Symbol, f.TradeID}, now)
				break
			}
		}
		l.join.forget(o.ClientOrderID)
	}
}

// publicMessage is what is read of a message of ChannelTrades.
type publicMessage struct {
	client.Message
	Trades []struct {
		TradeID string `json:"trade_id"`
	} `json:"trades"`
}

// public takes a message of the public feed. Most are no trades, and are told
// from them by how they begin.
func (l *load) public(data []byte) {
	now := time.Now()
	head := data[:min(len(data), 80)]
	if bytes.Contains(head, []byte(`"channel":"book"`)) || bytes.Contains(head, []byte(`"channel":"ticker"`)) {
		if bytes.Contains(head, []byte(`"type":"snapshot"`)) || bytes.Contains(head, []byte(`"type":"update"`)) {
			return
		}
	}
	var m publicMessage
	if err := json.Unmarshal(data, &m); err != nil {
		l.fail("feed_unreadable")
		return
	}
	if l.special(&m.Message) {
		return
	}
	for i := range m.Trades {
		l.join.public(trade{m.Symbol, m.Trades[i].TradeID}, now)
	}
}

// special counts what a healthy feed does not say, and reports whether a
// message has no news.
func (l *load) special(m *client.Message) bool {
	switch m.Type {
	case "update", "snapshot":
		return false
	case "gap", "error":
		l.fail("feed_" + m.Type + ":" + m.Code)
	}
	return true
}
