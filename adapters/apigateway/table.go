package apigateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of a Table.
const (
	MaxConnectionID = 128 // bytes
	// MaxSubscriptions is the most topics of a connection; orders of all
	// instruments are as many as there are instruments.
	MaxSubscriptions = 64
	// MaxKnown is how long a reading of Subscribers may be used.
	MaxKnown = time.Minute
)

// Topic is a sequence of messages that clients subscribe to.
type Topic struct {
	Channel    pipeline.Channel
	Instrument exchange.InstrumentID // 0 for ChannelBalances
	Account    exchange.AccountID    // 0: public
}

// String returns the topic as a table keeps it.
func (t Topic) String() string { return fmt.Sprintf("%s.%d.%d", t.Channel, t.Instrument, t.Account) }

// ParseTopic reads what String returns.
func ParseTopic(s string) (Topic, error) {
	parts := strings.Split(s, ".")
	if len(parts) == 3 {
		inst, errInst := strconv.ParseUint(parts[1], 10, 32)
		acct, errAcct := strconv.ParseUint(parts[2], 10, 64)
		t := Topic{pipeline.Channel(parts[0]), exchange.InstrumentID(inst), exchange.AccountID(acct)}
		if errInst == nil && errAcct == nil && t.Channel.Valid() {
			return t, nil
		}
	}
	return Topic{}, fmt.Errorf("topic %q: %w, expected CHANNEL.INSTRUMENT.ACCOUNT", s, pipeline.ErrInvalid)
}

func compareTopics(a, b Topic) int {
	return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Instrument, b.Instrument), cmp.Compare(a.Account, b.Account))
}

// Identity is who a connection belongs to.
type Identity struct {
	Account exchange.AccountID // 0: nobody has said so
	Expires time.Time          // of the token; zero: never
}

// Connection is one client. Topics are sorted.
type Connection struct {
	ID string
	Identity
	Topics []Topic
}

// Subscriber is a connection that has subscribed to a topic. After Expires
// (zero: never) it gets no more of it.
type Subscriber struct {
	Connection string
	Expires    time.Time
}

// Table knows the connections, what they have subscribed to, and how far each
// instrument was pushed. What a method has confirmed the next call of any
// method sees, whoever makes it.
//
// All methods may be called concurrently and may be repeated; they keep no
// slice, and what they return belongs to the caller.
type Table interface {
	// Connect adds a connection without subscriptions. One that is there
	// stays as it is. ErrInvalid: an empty id, or one of more than
	// MaxConnectionID bytes.
	Connect(ctx context.Context, id string, who Identity) error
	// Identify says who a connection belongs to, and until when; the private
	// subscriptions that it has last as long. pipeline.ErrNotFound: it is not
	// there. pipeline.ErrConflict: it belongs to another account.
	Identify(ctx context.Context, id string, who Identity) error
	// Subscribe adds topics to a connection, private ones only of its own
	// account (ErrInvalid). ErrNotFound: it is not there. pipeline.ErrFull: it
	// would have more than limit (at most MaxSubscriptions); none is added.
	Subscribe(ctx context.Context, id string, topics []Topic, limit int) error
	// Unsubscribe removes topics and returns how many there were.
	Unsubscribe(ctx context.Context, id string, topics []Topic) (int, error)
	// Remove removes a connection with all its subscriptions.
	Remove(ctx context.Context, id string) error
	// Connection returns one, or ErrNotFound.
	Connection(ctx context.Context, id string) (Connection, error)
	// Connections returns those after an id ("": from the first), in an order
	// of the table's own, at most limit (1 to pipeline.MaxQueryRows,
	// ErrInvalid). No more than none at all says that there are no others.
	Connections(ctx context.Context, after string, limit int) ([]Connection, error)
	// Subscribers returns who has subscribed to a topic.
	Subscribers(ctx context.Context, topic Topic) ([]Subscriber, error)
	// Versions returns a number for each topic. While it stays the same a
	// reading of Subscribers that was begun after it was known has everybody
	// who has subscribed, until when, and perhaps some who have left. 0: nobody
	// has subscribed. It may begin anew once nobody has for a while, so a
	// reading is good for no longer than MaxKnown.
	Versions(ctx context.Context, topics []Topic) ([]uint64, error)
	// Pushed returns the position up to which an instrument was pushed, 0 at
	// first. SetPushed moves it, never back.
	Pushed(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error)
	SetPushed(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error
}

func checkConnectionID(id string) error {
	if id == "" || len(id) > MaxConnectionID {
		return fmt.Errorf("%w: connection id of %d bytes, expected 1 to %d", pipeline.ErrInvalid, len(id), MaxConnectionID)
	}
	return nil
}

// checkTopics checks what c subscribes to and returns what it then has.
func checkTopics(c *Connection, topics []Topic, limit int) ([]Topic, error) {
	if limit < 1 || limit > MaxSubscriptions {
		return nil, fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, MaxSubscriptions)
	}
	all := slices.Clone(c.Topics)
	for _, t := range topics {
		if !t.Channel.Valid() || t.Channel.Private() && (t.Account == 0 || t.Account != c.Account) || !t.Channel.Private() && t.Account != 0 {
			return nil, fmt.Errorf("%w: channel %q of another account than the connection's", pipeline.ErrInvalid, t.Channel)
		}
		all = append(all, t)
	}
	slices.SortFunc(all, compareTopics)
	all = slices.Compact(all)
	if len(all) > limit {
		return nil, fmt.Errorf("%w: %d subscriptions, expected at most %d", pipeline.ErrFull, len(all), limit)
	}
	return all, nil
}

// expiry returns until when a connection gets a topic.
func (who Identity) expiry(t Topic) time.Time {
	if t.Channel.Private() {
		return who.Expires
	}
	return time.Time{}
}

// MemoryTable is a Table in this process, for tests and for venues of one
// process. The zero value is not usable.
type MemoryTable struct {
	mu       sync.RWMutex
	conns    map[string]*Connection
	topics   map[Topic]map[string]struct{}
	versions map[Topic]uint64
	version  uint64 // the last
	pushed   map[exchange.InstrumentID]pipeline.Position
}

// NewMemoryTable returns an empty table.
func NewMemoryTable() *MemoryTable {
	return &MemoryTable{conns: map[string]*Connection{}, topics: map[Topic]map[string]struct{}{}, versions: map[Topic]uint64{}, pushed: map[exchange.InstrumentID]pipeline.Position{}}
}

// Connect implements Table.
func (m *MemoryTable) Connect(_ context.Context, id string, who Identity) error {
	if err := checkConnectionID(id); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conns[id] == nil {
		m.conns[id] = &Connection{ID: id, Identity: who}
	}
	return nil
}

// Identify implements Table.
func (m *MemoryTable) Identify(_ context.Context, id string, who Identity) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.conns[id]
	switch {
	case c == nil:
		return fmt.Errorf("identifying a connection: %w", pipeline.ErrNotFound)
	case c.Account != 0 && c.Account != who.Account:
		return fmt.Errorf("identifying a connection: %w", pipeline.ErrConflict)
	}
	c.Identity = who
	for _, t := range c.Topics {
		if t.Channel.Private() {
			m.changed(t)
		}
	}
	return nil
}

// changed gives a topic another version, 0 when nobody has subscribed.
func (m *MemoryTable) changed(t Topic) {
	if m.version++; len(m.topics[t]) > 0 {
		m.versions[t] = m.version
	} else {
		delete(m.versions, t)
	}
}

// Subscribe implements Table.
func (m *MemoryTable) Subscribe(_ context.Context, id string, topics []Topic, limit int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.conns[id]
	if c == nil {
		return fmt.Errorf("subscribing: %w", pipeline.ErrNotFound)
	}
	all, err := checkTopics(c, topics, limit)
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	c.Topics = all
	for _, t := range topics {
		if m.topics[t] == nil {
			m.topics[t] = map[string]struct{}{}
		}
		m.topics[t][id] = struct{}{}
		m.changed(t)
	}
	return nil
}

// Unsubscribe implements Table.
func (m *MemoryTable) Unsubscribe(_ context.Context, id string, topics []Topic) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.conns[id]
	if c == nil {
		return 0, nil
	}
	before := len(c.Topics)
	c.Topics = slices.DeleteFunc(c.Topics, func(t Topic) bool { return slices.Contains(topics, t) })
	for _, t := range topics {
		m.drop(t, id)
	}
	return before - len(c.Topics), nil
}

func (m *MemoryTable) drop(t Topic, id string) {
	delete(m.topics[t], id)
	if len(m.topics[t]) == 0 {
		delete(m.topics, t)
	}
	m.changed(t)
}

// Remove implements Table.
func (m *MemoryTable) Remove(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.conns[id]; c != nil {
		for _, t := range c.Topics {
			m.drop(t, id)
		}
		delete(m.conns, id)
	}
	return nil
}

// Connection implements Table.
func (m *MemoryTable) Connection(_ context.Context, id string) (Connection, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.conns[id]
	if c == nil {
		return Connection{}, fmt.Errorf("reading a connection: %w", pipeline.ErrNotFound)
	}
	return Connection{c.ID, c.Identity, slices.Clone(c.Topics)}, nil
}

// Connections implements Table.
func (m *MemoryTable) Connections(_ context.Context, after string, limit int) ([]Connection, error) {
	if err := checkRows(limit); err != nil {
		return nil, fmt.Errorf("reading connections: %w", err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var ids []string
	for id := range m.conns {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var out []Connection
	for _, id := range ids[:min(limit, len(ids))] {
		c := m.conns[id]
		out = append(out, Connection{c.ID, c.Identity, slices.Clone(c.Topics)})
	}
	return out, nil
}

func checkRows(limit int) error {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	return nil
}

// Subscribers implements Table.
func (m *MemoryTable) Subscribers(_ context.Context, topic Topic) ([]Subscriber, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []Subscriber
	for id := range m.topics[topic] {
		out = append(out, Subscriber{id, m.conns[id].expiry(topic)})
	}
	slices.SortFunc(out, func(a, b Subscriber) int { return cmp.Compare(a.Connection, b.Connection) })
	return out, nil
}

// Versions implements Table.
func (m *MemoryTable) Versions(_ context.Context, topics []Topic) ([]uint64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]uint64, len(topics))
	for i, t := range topics {
		out[i] = m.versions[t]
	}
	return out, nil
}

// Pushed implements Table.
func (m *MemoryTable) Pushed(_ context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.pushed[inst], nil
}

// SetPushed implements Table.
func (m *MemoryTable) SetPushed(_ context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pushed[inst] = max(m.pushed[inst], pos)
	return nil
}
