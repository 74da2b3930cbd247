package main

import (
	"container/list"
	"sync"
	"time"
)

// mostTrades is how many trades are remembered that only one of the two
// sockets has told of; with one more the oldest is forgotten. Trades of others
// come over the public one alone.
const mostTrades = 1 << 16

// trade names a trade among all instruments.
type trade struct {
	symbol string
	id     string
}

// joiner brings together what is said of an order in three places: when it was
// due, when its owner heard of its fill, and when the public heard of that
// trade. The two sockets are read side by side, so either may be first. It is
// safe for concurrent use.
type joiner struct {
	mu     sync.Mutex
	res    *results
	orders map[string]time.Time // orders that take, by client_order_id: when they were due
	trades map[trade]sighting
	ring   []trade // the keys of trades, oldest at next once it is full
	next   int
	owed   int           // sightings that wait for the public socket
	bell   chan struct{} // closed when nothing is waited for
}

// sighting is what one socket has said of a trade.
type sighting struct {
	due  time.Time // of the order; zero: only the public socket has told
	seen time.Time // when the public socket did; zero: not yet
}

func newJoiner() *joiner {
	return &joiner{orders: map[string]time.Time{}, trades: map[trade]sighting{}, res: newResults()}
}

// into says where measurements go from now on, and forgets what was awaited.
func (j *joiner) into(res *results) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reset(res)
}

func (j *joiner) reset(res *results) {
	j.res, j.owed, j.ring, j.next = res, 0, j.ring[:0], 0
	clear(j.orders)
	clear(j.trades)
}

// expect tells of an order that takes, before it is sent.
func (j *joiner) expect(id string, due time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.orders[id] = due
}

// forget takes it back: nothing will be heard of the order, or it did not
// trade.
func (j *joiner) forget(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.orders, id)
	j.ringWhenDone()
}

// filled says that the owner of an order that takes heard of a trade of it.
func (j *joiner) filled(id string, t trade, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	due, ok := j.orders[id]
	if !ok {
		return
	}
	delete(j.orders, id)
	j.res.observe(stageMatched, now.Sub(due))
	j.res.count(&j.res.traded)
	if s, ok := j.trades[t]; ok {
		j.res.observe(stagePushed, s.seen.Sub(due))
		delete(j.trades, t)
	} else {
		j.owed++
		j.remember(t, sighting{due: due})
	}
	j.ringWhenDone()
}

// public says that the public socket told of a trade.
func (j *joiner) public(t trade, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.trades[t]
	switch {
	case !ok:
		j.remember(t, sighting{seen: now})
	case !s.due.IsZero():
		delete(j.trades, t)
		j.owed--
		j.res.observe(stagePushed, now.Sub(s.due))
		j.ringWhenDone()
	}
}

func (j *joiner) remember(t trade, s sighting) {
	if len(j.ring) < mostTrades {
		j.ring = append(j.ring, t)
	} else {
		old := j.ring[j.next]
		if s, ok := j.trades[old]; ok && s.seen.IsZero() {
			j.owed--
			j.ringWhenDone()
		}
		delete(j.trades, old)
		j.ring[j.next] = t
		j.next = (j.next + 1) % mostTrades
	}
	j.trades[t] = s
}

// ringWhenDone rings when nothing is awaited any more.
func (j *joiner) ringWhenDone() {
	if j.bell != nil && len(j.orders) == 0 && j.owed == 0 {
		close(j.bell)
		j.bell = nil
	}
}

// settled returns a channel that is closed once nothing is awaited.
func (j *joiner) settled() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	bell := make(chan struct{})
	j.bell = bell
	j.ringWhenDone()
	return bell
}

// end ends the measurements of a run, whose results do not change any more, and
// returns how many fills, and how many public trades, never came.
func (j *joiner) end() (fills, trades int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fills, trades = len(j.orders), j.owed
	j.reset(newResults())
	return fills, trades
}

// openOrders are the orders that rest, oldest first. It is safe for concurrent
// use.
type openOrders struct {
	mu   sync.Mutex
	list list.List // of openOrder
	byID map[string]*list.Element
}

type openOrder struct {
	id      string
	account int
}

func newOpenOrders() *openOrders { return &openOrders{byID: map[string]*list.Element{}} }

// add notes an order that rests.
func (o *openOrders) add(order openOrder) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byID[order.id] == nil {
		o.byID[order.id] = o.list.PushBack(order)
	}
}

// remove notes that an order has ended.
func (o *openOrders) remove(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.byID[id]; e != nil {
		o.list.Remove(e)
		delete(o.byID, id)
	}
}

// oldest takes out the oldest when there are more than most.
func (o *openOrders) oldest(most int) (openOrder, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.list.Len() <= most {
		return openOrder{}, false
	}
	order := o.list.Remove(o.list.Front()).(openOrder)
	delete(o.byID, order.id)
	return order, true
}

// len returns how many there are.
func (o *openOrders) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.list.Len()
}
