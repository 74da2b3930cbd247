package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// Table is a kind of row. The values are stored: never renumber.
type Table uint8

// The tables, with their keys.
const (
	Accounts  Table = 1 // account
	Holds     Table = 2 // serial number, which rises with age
	Transfers Table = 3 // serial number
	Spans     Table = 4 // serial number
	Totals    Table = 5 // asset
	Venue     Table = 6 // instrument
	Settled   Table = 7 // instrument
	Marks     Table = 8 // one row, whose key is empty
)

// Tables are all of them.
var Tables = []Table{Accounts, Holds, Transfers, Spans, Totals, Venue, Settled, Marks}

// changes are the rows that differ from those the store has.
type changes struct {
	accounts  []*account
	holds     []slot
	transfers []*transfer
	spans     []*span
	totals    []exchange.AssetID
	venue     []exchange.InstrumentID
	settled   []exchange.InstrumentID
	marks     bool
	removed   []removal
	buf       []byte
	flushed   []pipeline.Account // to be seen once they are durable
}

type removal struct {
	table  Table
	serial uint64
}

func (l *Ledger) touch(a *account) {
	if !a.dirty {
		a.dirty = true
		l.dirty.accounts = append(l.dirty.accounts, a)
	}
}

func (l *Ledger) touchHold(at slot) {
	if h := &l.holds[at]; !h.dirty {
		h.dirty = true
		l.dirty.holds = append(l.dirty.holds, at)
	}
}

func (l *Ledger) touchSpan(s *span) {
	if !s.dirty {
		s.dirty = true
		l.dirty.spans = append(l.dirty.spans, s)
	}
}

func (d *changes) gone(t Table, serial uint64) { d.removed = append(d.removed, removal{t, serial}) }

func (d *changes) total(asset exchange.AssetID) { d.totals = once(d.totals, asset) }

func (d *changes) fees(inst exchange.InstrumentID) { d.venue = once(d.venue, inst) }

func (d *changes) settle(inst exchange.InstrumentID) { d.settled = once(d.settled, inst) }

// once appends v to a short list unless it is there.
func once[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// Changed reports whether Flush has anything to write.
func (l *Ledger) Changed() bool {
	d := &l.dirty
	return d.marks || len(d.accounts)+len(d.holds)+len(d.transfers)+len(d.spans)+len(d.totals)+len(d.venue)+len(d.settled)+len(d.removed) > 0
}

// Put writes a row; a nil value removes it. The value is valid until the next
// Flush or All, the key until Put returns.
type Put func(t Table, key, value []byte)

// Flush puts every row that has changed since the last Flush. When they are
// durable the store calls Committed.
func (l *Ledger) Flush(put Put) {
	d := &l.dirty
	w := rowWriter{put: put, buf: d.buf[:0]}
	for _, a := range d.accounts {
		a.dirty = false
		w.account(a)
		d.flushed = append(d.flushed, a.view())
	}
	for _, at := range d.holds {
		h := &l.holds[at]
		if h.dirty && h.serial != 0 {
			w.hold(h)
		}
		h.dirty = false
	}
	for _, t := range d.transfers {
		w.transfer(t)
	}
	for _, s := range d.spans {
		s.dirty = false
		w.span(s)
	}
	for _, asset := range d.totals {
		w.total(asset, l.totals[asset])
	}
	for _, inst := range d.venue {
		w.venue(inst, l.venue[inst])
	}
	for _, inst := range d.settled {
		w.settled(inst, l.settled[inst])
	}
	for _, r := range d.removed { // last: it may have changed before
		w.start(r.table)
		w.buf = rows.Key64(w.buf, r.serial)
		w.remove()
	}
	if d.marks {
		w.marks(&l.marks)
	}
	d.accounts, d.transfers, d.spans = reuse(d.accounts), reuse(d.transfers), reuse(d.spans)
	d.holds, d.totals, d.removed, d.marks, d.buf = d.holds[:0], d.totals[:0], d.removed[:0], false, w.buf
}

// Committed lets everybody see what Flush has put.
func (l *Ledger) Committed() {
	d := &l.dirty
	l.seen.mu.Lock()
	defer l.seen.mu.Unlock()
	for i := range d.flushed {
		l.seen.accounts[d.flushed[i].ID] = d.flushed[i]
	}
	for _, inst := range d.venue {
		l.seen.venue[inst] = l.venue[inst] // changes go to a copy
	}
	for _, inst := range d.settled {
		l.seen.settled[inst] = l.settled[inst]
	}
	d.flushed, d.venue, d.settled = reuse(d.flushed), d.venue[:0], d.settled[:0]
}

func reuse[T any](list []T) []T {
	clear(list)
	return list[:0]
}

// All puts every row there is. It changes nothing, not even what Flush puts
// next.
func (l *Ledger) All(put Put) {
	w := rowWriter{put: put, fresh: true}
	for _, a := range l.accounts {
		w.account(a)
	}
	for i := range l.holds {
		if h := &l.holds[i]; h.serial != 0 {
			w.hold(h)
		}
	}
	for _, t := range l.transfers {
		w.transfer(t)
	}
	for _, s := range l.spans {
		w.span(s)
	}
	for asset, n := range l.totals {
		w.total(asset, n)
	}
	for inst, v := range l.venue {
		w.venue(inst, v)
	}
	for inst, pos := range l.settled {
		w.settled(inst, pos)
	}
	w.marks(&l.marks)
}

// rowWriter writes rows one behind the other into a buffer.
type rowWriter struct {
	put   Put
	fresh bool // use the buffer again for each row
	buf   []byte
	table Table
	from  int // where the key begins
	mid   int // where the value begins
}

func (w *rowWriter) start(t Table) {
	if w.fresh {
		w.buf = w.buf[:0]
	}
	w.table, w.from = t, len(w.buf)
}

func (w *rowWriter) end() {
	w.put(w.table, w.buf[w.from:w.mid:w.mid], w.buf[w.mid:len(w.buf):len(w.buf)])
}

func (w *rowWriter) remove() { w.put(w.table, w.buf[w.from:len(w.buf):len(w.buf)], nil) }

func (w *rowWriter) account(a *account) {
	w.start(Accounts)
	b := rows.Key64(w.buf, a.id)
	w.mid = len(b)
	b = rows.Uint(b, a.state)
	b = rows.Bool(b, a.killed)
	b = rows.Int(b, exchange.Amount(a.limits.MaxOpenOrders))
	b = rows.Int(b, exchange.Amount(a.limits.MaxMessages))
	b = rows.Int(b, a.limits.MessageWindow)
	b = rows.Int(b, a.limits.MaxHolding)
	b = rows.Int(b, exchange.Amount(a.openOrders))
	b = rows.Int(b, a.windowStart)
	b = rows.Int(b, exchange.Amount(a.messages))
	b = rows.Uint(b, a.version)
	w.buf = appendBalances(b, a.balances)
	w.end()
}

func appendBalances(b []byte, balances []pipeline.AssetBalance) []byte {
	for i := range balances {
		b = rows.Uint(b, balances[i].Asset)
		b = rows.Int(b, balances[i].Available)
		b = rows.Int(b, balances[i].Held)
	}
	return b
}

func readBalances(r *rows.Reader) (out []pipeline.AssetBalance) {
	for r.More() {
		out = append(out, pipeline.AssetBalance{
			Asset:   exchange.AssetID(r.Uint32()),
			Balance: exchange.Balance{Available: exchange.Amount(r.Int()), Held: exchange.Amount(r.Int())},
		})
	}
	return out
}

func (w *rowWriter) hold(h *hold) {
	w.start(Holds)
	b := rows.Key64(w.buf, h.serial)
	w.mid = len(b)
	b = rows.Uint(b, uint8(h.state))
	b = rows.Uint(b, h.ending)
	b = rows.Int(b, h.remaining)
	b = rows.Uint(b, h.asset)
	b = rows.Bool(b, h.newOrder)
	b = rows.ID(b, &h.as.ID)
	b = rows.Uint(b, h.as.Account)
	b = rows.Uint(b, h.as.Instrument)
	b = rows.Uint(b, h.as.Asset)
	b = rows.Int(b, h.as.Amount)
	b = rows.Int(b, h.as.Time)
	b = rows.Bool(b, h.as.NewOrder)
	b = rows.Uint(b, h.as.GainAsset)
	b = rows.Int(b, h.as.Gain)
	b = rows.Int(b, h.as.WorstPrice)
	w.buf = append(b, h.as.Request[:]...)
	w.end()
}

func (w *rowWriter) transfer(t *transfer) {
	w.start(Transfers)
	b := rows.Key64(w.buf, t.serial)
	w.mid = len(b)
	b = rows.Bool(b, t.withdrawal)
	b = rows.ID(b, &t.ID)
	b = rows.Uint(b, t.Account)
	b = rows.Uint(b, t.Asset)
	b = rows.Int(b, t.Amount)
	w.buf = rows.Int(b, t.Time)
	w.end()
}

func (w *rowWriter) span(s *span) {
	w.start(Spans)
	b := rows.Key64(w.buf, s.serial)
	w.mid = len(b)
	b = rows.Bool(b, s.done)
	// Without a client's id there is nothing that could be too long.
	w.buf, _ = pipeline.AppendMessage(b, &pipeline.Message{Command: s.Command})
	w.end()
}

func (w *rowWriter) total(asset exchange.AssetID, n exchange.Amount) {
	w.start(Totals)
	b := rows.Key32(w.buf, asset)
	w.mid = len(b)
	w.buf = rows.Int(b, n)
	w.end()
}

func (w *rowWriter) venue(inst exchange.InstrumentID, fees []pipeline.AssetBalance) {
	w.start(Venue)
	b := rows.Key32(w.buf, inst)
	w.mid = len(b)
	w.buf = appendBalances(b, fees)
	w.end()
}

func (w *rowWriter) settled(inst exchange.InstrumentID, pos pipeline.Position) {
	w.start(Settled)
	b := rows.Key32(w.buf, inst)
	w.mid = len(b)
	w.buf = rows.Uint(b, pos)
	w.end()
}

func (w *rowWriter) marks(m *marks) {
	w.start(Marks)
	w.mid = w.from
	b := rows.Int(w.buf, m.now)
	b = rows.Int(b, m.forgotten)
	b = rows.Int(b, m.forgottenTransfer)
	w.buf = rows.Uint(b, m.serial)
	w.end()
}

// Load takes a row that Flush or All has put, into a Ledger that has taken no
// call; of each table in any order, each row once. rows.ErrDamaged: it is none.
func (l *Ledger) Load(t Table, key, value []byte) error {
	k, r := rows.Read(key), rows.Read(value)
	switch t {
	case Accounts:
		a := &account{id: exchange.AccountID(k.Key64())}
		a.state, a.killed = exchange.AccountState(r.Uint8()), r.Bool()
		a.limits = pipeline.AccountLimits{MaxOpenOrders: r.Int(), MaxMessages: r.Int(), MessageWindow: exchange.Time(r.Int()), MaxHolding: exchange.Amount(r.Int())}
		a.openOrders, a.windowStart, a.messages, a.version = r.Int(), exchange.Time(r.Int()), r.Int(), r.Uint64()
		a.balances = readBalances(&r)
		l.accounts[a.id] = a
	case Holds:
		h := hold{serial: k.Key64()}
		h.state, h.ending, h.remaining = pipeline.HoldState(r.Uint8()), r.Uint64(), exchange.Amount(r.Int())
		h.asset, h.newOrder = exchange.AssetID(r.Uint32()), r.Bool()
		h.as = pipeline.Hold{ID: r.ID(), Account: exchange.AccountID(r.Uint64()), Instrument: exchange.InstrumentID(r.Uint32()), Asset: exchange.AssetID(r.Uint32()),
			Amount: exchange.Amount(r.Int()), Time: exchange.Time(r.Int()), NewOrder: r.Bool(), GainAsset: exchange.AssetID(r.Uint32()), Gain: exchange.Amount(r.Int()), WorstPrice: exchange.Price(r.Int())}
		copy(h.as.Request[:], r.Bytes(len(h.as.Request)))
		l.loadHold(h)
	case Transfers:
		t := &transfer{serial: k.Key64(), withdrawal: r.Bool()}
		t.Transfer = pipeline.Transfer{ID: r.ID(), Account: exchange.AccountID(r.Uint64()), Asset: exchange.AssetID(r.Uint32()), Amount: exchange.Amount(r.Int()), Time: exchange.Time(r.Int())}
		l.transfers[t.ID] = t
		l.transferOrder.push(t)
	case Spans:
		s := &span{serial: k.Key64(), done: len(value) > 0 && value[0] == 1}
		if len(value) == 0 {
			return rows.ErrDamaged
		}
		m, err := pipeline.DecodeMessage(value[1:])
		if err != nil {
			return err
		}
		s.Command = m.Command
		l.spans[s.ID] = s
		l.spanOrder.push(s)
		return k.End()
	case Totals:
		l.totals[exchange.AssetID(k.Key32())] = exchange.Amount(r.Int())
	case Venue:
		l.venue[exchange.InstrumentID(k.Key32())] = readBalances(&r)
	case Settled:
		l.settled[exchange.InstrumentID(k.Key32())] = pipeline.Position(r.Uint64())
	case Marks:
		l.marks = marks{now: exchange.Time(r.Int()), forgotten: exchange.Time(r.Int()), forgottenTransfer: exchange.Time(r.Int()), serial: r.Uint64()}
		l.dirty.marks = false
	default:
		return fmt.Errorf("%w: table %d", rows.ErrDamaged, t)
	}
	if err := k.End(); err != nil {
		return err
	}
	return r.End()
}

func (l *Ledger) loadHold(h hold) {
	at := l.place(h)
	switch h.state {
	case pipeline.HoldEnded:
		l.ended.push(at)
		return
	case pipeline.HoldPlaced:
		l.placed.Set(l.placedAt(at))
	}
	l.unended++
}

// Ready ends the loading: it puts in order what was loaded.
func (l *Ledger) Ready() {
	for id, a := range l.accounts {
		l.seen.accounts[id] = a.view()
	}
	maps.Copy(l.seen.venue, l.venue)
	maps.Copy(l.seen.settled, l.settled)
	slices.SortFunc(l.ended.items, func(a, b slot) int { return cmp.Compare(l.holds[a].ending, l.holds[b].ending) })
	slices.SortFunc(l.transferOrder.items, func(a, b *transfer) int { return cmp.Compare(a.serial, b.serial) })
	slices.SortFunc(l.spanOrder.items, func(a, b *span) int { return cmp.Compare(a.serial, b.serial) })
	for _, s := range l.spanOrder.items {
		if !s.done {
			l.spanning = append(l.spanning, s)
		}
	}
}
