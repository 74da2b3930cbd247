package hub

import (
	"sync"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

var publicChannels = [...]pipeline.Channel{pipeline.ChannelBook, pipeline.ChannelTrades, pipeline.ChannelTicker, pipeline.ChannelCandles}

// market is one instrument's part of the hub, or what belongs to none. Its
// lock comes before that of a connection.
type market struct {
	limits  *Limits
	in      *exchange.Instrument // nil: none
	mu      sync.Mutex
	streams map[streamKey]*stream
	idle    []streamKey // private streams without subscribers, the longest idle first
	pushed  pipeline.Position
	seq     uint64 // the highest that was pushed, or that the journal had at the start
}

type streamKey struct {
	channel pipeline.Channel
	account exchange.AccountID
}

// stream is what carries one sequence: its subscribers, and its latest
// messages for those who come back. The ring holds every message with a Seq
// above floor.
type stream struct {
	ring     []pipeline.Push
	bytes    int
	ringSize int
	floor    uint64
	last     uint64
	subs     map[*sub]struct{}
}

func (m *market) newStream(ringBytes int) *stream {
	return &stream{ringSize: ringBytes, floor: m.seq, last: m.seq, subs: map[*sub]struct{}{}}
}

// push hands one item's messages to the subscribers; false when it had been
// pushed before.
func (m *market) push(pos pipeline.Position, messages []pipeline.Push) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pos <= m.pushed {
		return false
	}
	m.pushed = pos
	m.give(messages)
	return true
}

// give hands messages to the subscribers.
func (m *market) give(messages []pipeline.Push) {
	for i := range messages {
		p := &messages[i]
		m.seq = max(m.seq, p.Seq)
		s := m.streams[streamKey{p.Channel, p.Account}]
		if s == nil || p.Seq <= s.last {
			continue // nobody has ever listened, or it is from before this process
		}
		if s.last = p.Seq; !p.Channel.Whole() {
			s.add(p, m.limits.RingMessages)
		}
		for sub := range s.subs {
			sub.conn.offer(sub, p)
		}
	}
}

func (s *stream) add(p *pipeline.Push, most int) {
	s.ring = append(s.ring, *p)
	s.bytes += len(p.Data)
	drop := 0
	for len(s.ring)-drop > most || s.bytes > s.ringSize && drop < len(s.ring) {
		s.floor = s.ring[drop].Seq
		s.bytes -= len(s.ring[drop].Data)
		s.ring[drop] = pipeline.Push{}
		drop++
	}
	s.ring = s.ring[drop:] // append moves it to a new array before long
}

// after returns the messages that follow seq; ok is false when some of them
// are gone, or seq is none of this stream's.
func (s *stream) after(seq, highest uint64) (ring []pipeline.Push, ok bool) {
	if seq < s.floor || seq > highest {
		return nil, false
	}
	i := len(s.ring)
	for i > 0 && s.ring[i-1].Seq > seq {
		i--
	}
	return s.ring[i:], true
}

// join subscribes s. With a sequence to resume from, what followed is put into
// the connection's queue and the answer is true; else the caller asks for a
// snapshot. first is called in between, while nothing can be pushed.
func (m *market) join(s *sub, resume *uint64, first func(resumed bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.streams[s.key]
	if st == nil {
		st = m.newStream(m.limits.RingBytes / 8)
		st.floor++ // an item on its way now may lack what nobody listened to
		if m.in == nil {
			st.last = 0 // each account has a sequence of its own
		}
		m.streams[s.key] = st
	}
	st.subs[s] = struct{}{}
	m.forgetIdle(s.key)
	if resume != nil && !s.key.channel.Whole() {
		if ring, ok := st.after(*resume, m.seq); ok {
			first(true)
			s.conn.resume(s, *resume, ring)
			return
		}
	}
	first(false)
	s.conn.wantSnapshot(s)
}

func (m *market) remove(s *sub) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.streams[s.key]
	delete(st.subs, s)
	if len(st.subs) > 0 || !s.key.channel.Private() {
		return
	}
	m.idle = append(m.idle, s.key)
	if len(m.idle) > m.limits.IdleStreams {
		delete(m.streams, m.idle[0])
		m.idle = m.idle[1:]
	}
}

func (m *market) forgetIdle(key streamKey) {
	for i := range m.idle {
		if m.idle[i] == key {
			m.idle = append(m.idle[:i:i], m.idle[i+1:]...)
			return
		}
	}
}

// symbol returns the instrument's symbol, "" when there is none.
func (m *market) symbol() string {
	if m.in == nil {
		return ""
	}
	return m.in.Symbol()
}

// id returns the instrument, 0 when there is none.
func (m *market) id() exchange.InstrumentID {
	if m.in == nil {
		return 0
	}
	return m.in.ID()
}

func (m *market) highest() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seq
}
