package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/castlecloud/exchange"
)

// ErrEncoding says that bytes are no message or batch of a version this
// release reads.
var ErrEncoding = errors.New("invalid encoding")

// The first byte of what this file encodes. Part of the journal format: never
// renumber.
const (
	messageVersion = 1
	batchVersion   = 1
)

// A record is written as a bit mask of the fields that are not zero, then
// those fields, each as a varint (signed ones zigzag); ids are 16 bytes. The
// order of the fields is part of the format: new ones go to the end.

type writer struct {
	buf  []byte
	mask uint64
	at   int // where the mask goes
	bit  int
}

func (w *writer) begin() {
	w.at, w.mask, w.bit = len(w.buf), 0, 0
	w.buf = append(w.buf, 0, 0, 0, 0, 0, 0, 0, 0)
}

func (w *writer) end() { binary.LittleEndian.PutUint64(w.buf[w.at:], w.mask) }

func (w *writer) uint(v uint64) {
	if v != 0 {
		w.mask |= 1 << w.bit
		w.buf = binary.AppendUvarint(w.buf, v)
	}
	w.bit++
}

func (w *writer) int(v int64) { w.uint(uint64(v)<<1 ^ uint64(v>>63)) }

func (w *writer) bool(v bool) {
	if v {
		w.mask |= 1 << w.bit
	}
	w.bit++
}

func (w *writer) id(v *exchange.CommandID) {
	if *v != (exchange.CommandID{}) {
		w.mask |= 1 << w.bit
		w.buf = append(w.buf, v[:]...)
	}
	w.bit++
}

type reader struct {
	buf  []byte
	mask uint64
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || len(r.buf) < n {
		r.bad, r.buf = true, nil
		return nil
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *reader) begin() {
	r.mask = 0
	if b := r.take(8); b != nil {
		r.mask = binary.LittleEndian.Uint64(b)
	}
}

// end fails on fields of a later version.
func (r *reader) end() { r.bad = r.bad || r.mask != 0 }

func (r *reader) has() bool {
	bit := r.mask & 1
	r.mask >>= 1
	return bit != 0 && !r.bad
}

func (r *reader) varint() uint64 {
	v, n := binary.Uvarint(r.buf)
	// One value has one encoding, so that equal batches are equal bytes.
	if n <= 0 || n != max(1, (bits.Len64(v)+6)/7) {
		r.bad, r.buf = true, nil
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// number reads an unsigned field of at most most.
func (r *reader) number(most uint64) uint64 {
	if !r.has() {
		return 0
	}
	v := r.varint()
	r.bad = r.bad || v == 0 || v > most
	return v
}

func (r *reader) int() int64 {
	v := r.number(1<<64 - 1)
	return int64(v>>1) ^ -int64(v&1)
}

// rate reads a signed field of 32 bits.
func (r *reader) rate() exchange.FeeRate {
	v := r.int()
	r.bad = r.bad || v != int64(int32(v))
	return exchange.FeeRate(v)
}

func (r *reader) id() (id exchange.CommandID) {
	if r.has() {
		copy(id[:], r.take(16))
		r.bad = r.bad || id == (exchange.CommandID{})
	}
	return id
}

// count reads how many records of at least size bytes follow.
func (r *reader) count(size int) int {
	n := r.varint()
	if n > uint64(len(r.buf)/size) {
		r.bad, r.buf = true, nil
		return 0
	}
	return int(n)
}

const (
	most8  = 1<<8 - 1
	most16 = 1<<16 - 1
	most32 = 1<<32 - 1
	most64 = 1<<64 - 1
)

func (w *writer) command(c *exchange.Command) {
	w.begin()
	w.uint(uint64(c.Kind))
	w.uint(uint64(c.Side))
	w.uint(uint64(c.Type))
	w.uint(uint64(c.TimeInForce))
	w.uint(uint64(c.SelfTrade))
	w.uint(uint64(c.PostOnly))
	w.bool(c.Hidden)
	w.bool(c.PriceIsDistance)
	w.uint(uint64(c.Limit))
	w.uint(uint64(c.AccountState))
	w.uint(uint64(c.InstrumentState))
	w.uint(uint64(c.Instrument))
	w.uint(uint64(c.Asset))
	w.uint(uint64(c.Group))
	w.uint(uint64(c.Account))
	w.int(int64(c.Time))
	w.id(&c.ID)
	w.uint(uint64(c.OrderID))
	w.id(&c.OrigID)
	w.int(int64(c.Price))
	w.int(int64(c.StopPrice))
	w.int(int64(c.Qty))
	w.int(int64(c.DisplayQty))
	w.int(int64(c.MinQty))
	w.int(int64(c.Funds))
	w.int(int64(c.Held))
	w.int(int64(c.Expire))
	w.int(c.Value)
	w.int(int64(c.MakerFee))
	w.int(int64(c.TakerFee))
	w.end()
}

func (r *reader) command(c *exchange.Command) {
	r.begin()
	c.Kind = exchange.CommandKind(r.number(most8))
	c.Side = exchange.Side(r.number(most8))
	c.Type = exchange.OrderType(r.number(most8))
	c.TimeInForce = exchange.TimeInForce(r.number(most8))
	c.SelfTrade = exchange.SelfTradePrevention(r.number(most8))
	c.PostOnly = exchange.PostOnly(r.number(most8))
	c.Hidden = r.has()
	c.PriceIsDistance = r.has()
	c.Limit = exchange.LimitKind(r.number(most8))
	c.AccountState = exchange.AccountState(r.number(most8))
	c.InstrumentState = exchange.InstrumentState(r.number(most8))
	c.Instrument = exchange.InstrumentID(r.number(most32))
	c.Asset = exchange.AssetID(r.number(most32))
	c.Group = uint32(r.number(most32))
	c.Account = exchange.AccountID(r.number(most64))
	c.Time = exchange.Time(r.int())
	c.ID = r.id()
	c.OrderID = exchange.OrderID(r.number(most64))
	c.OrigID = r.id()
	c.Price = exchange.Price(r.int())
	c.StopPrice = exchange.Price(r.int())
	c.Qty = exchange.Qty(r.int())
	c.DisplayQty = exchange.Qty(r.int())
	c.MinQty = exchange.Qty(r.int())
	c.Funds = exchange.Amount(r.int())
	c.Held = exchange.Amount(r.int())
	c.Expire = exchange.Time(r.int())
	c.Value = r.int()
	c.MakerFee = r.rate()
	c.TakerFee = r.rate()
	r.end()
}

func (w *writer) event(e *exchange.Event) {
	w.begin()
	w.uint(uint64(e.Kind))
	w.uint(uint64(e.Command))
	w.uint(uint64(e.Side))
	w.uint(uint64(e.Type))
	w.uint(uint64(e.TimeInForce))
	w.uint(uint64(e.PostOnly))
	w.bool(e.Hidden)
	w.bool(e.LostPlace)
	w.uint(uint64(e.Limit))
	w.uint(uint64(e.AccountState))
	w.uint(uint64(e.InstrumentState))
	w.uint(uint64(e.Reason))
	w.uint(uint64(e.Instrument))
	w.uint(uint64(e.Asset))
	w.uint(e.Seq)
	w.int(int64(e.Time))
	w.id(&e.ID)
	w.uint(uint64(e.Account))
	w.uint(uint64(e.OrderID))
	w.id(&e.MakerID)
	w.uint(uint64(e.MakerAccount))
	w.uint(uint64(e.MakerOrderID))
	w.uint(uint64(e.TradeID))
	w.int(int64(e.Price))
	w.int(int64(e.StopPrice))
	w.int(int64(e.Qty))
	w.int(int64(e.OrderQty))
	w.int(int64(e.LeavesQty))
	w.int(int64(e.MakerLeavesQty))
	w.int(int64(e.DisplayQty))
	w.int(int64(e.Amount))
	w.int(int64(e.Fee))
	w.int(int64(e.MakerFee))
	w.int(int64(e.Release))
	w.int(int64(e.MakerRelease))
	w.int(e.Value)
	w.int(int64(e.MakerRate))
	w.int(int64(e.TakerRate))
	w.end()
}

func (r *reader) event(e *exchange.Event) {
	r.begin()
	e.Kind = exchange.EventKind(r.number(most8))
	e.Command = exchange.CommandKind(r.number(most8))
	e.Side = exchange.Side(r.number(most8))
	e.Type = exchange.OrderType(r.number(most8))
	e.TimeInForce = exchange.TimeInForce(r.number(most8))
	e.PostOnly = exchange.PostOnly(r.number(most8))
	e.Hidden = r.has()
	e.LostPlace = r.has()
	e.Limit = exchange.LimitKind(r.number(most8))
	e.AccountState = exchange.AccountState(r.number(most8))
	e.InstrumentState = exchange.InstrumentState(r.number(most8))
	e.Reason = exchange.Reason(r.number(most16))
	e.Instrument = exchange.InstrumentID(r.number(most32))
	e.Asset = exchange.AssetID(r.number(most32))
	e.Seq = r.number(most64)
	e.Time = exchange.Time(r.int())
	e.ID = r.id()
	e.Account = exchange.AccountID(r.number(most64))
	e.OrderID = exchange.OrderID(r.number(most64))
	e.MakerID = r.id()
	e.MakerAccount = exchange.AccountID(r.number(most64))
	e.MakerOrderID = exchange.OrderID(r.number(most64))
	e.TradeID = exchange.TradeID(r.number(most64))
	e.Price = exchange.Price(r.int())
	e.StopPrice = exchange.Price(r.int())
	e.Qty = exchange.Qty(r.int())
	e.OrderQty = exchange.Qty(r.int())
	e.LeavesQty = exchange.Qty(r.int())
	e.MakerLeavesQty = exchange.Qty(r.int())
	e.DisplayQty = exchange.Qty(r.int())
	e.Amount = exchange.Amount(r.int())
	e.Fee = exchange.Amount(r.int())
	e.MakerFee = exchange.Amount(r.int())
	e.Release = exchange.Amount(r.int())
	e.MakerRelease = exchange.Amount(r.int())
	e.Value = r.int()
	e.MakerRate = r.rate()
	e.TakerRate = r.rate()
	r.end()
}

func (w *writer) message(m *Message) {
	if len(m.ClientID) > MaxClientIDBytes {
		panic(fmt.Sprintf("pipeline: a client id of %d bytes on its way to the journal, at most %d were let in", len(m.ClientID), MaxClientIDBytes))
	}
	w.command(&m.Command)
	w.buf = append(w.buf, uint8(len(m.ClientID)))
	w.buf = append(w.buf, m.ClientID...)
}

func (r *reader) message(m *Message) {
	r.command(&m.Command)
	if n := r.take(1); n != nil {
		r.bad = r.bad || n[0] > MaxClientIDBytes
		m.ClientID = string(r.take(int(n[0])))
	}
}

// AppendMessage appends the encoding of m to dst. ErrTooLarge: ClientID is
// longer than MaxClientIDBytes.
func AppendMessage(dst []byte, m *Message) ([]byte, error) {
	if len(m.ClientID) > MaxClientIDBytes {
		return dst, fmt.Errorf("%w: a client id of %d bytes, expected at most %d", ErrTooLarge, len(m.ClientID), MaxClientIDBytes)
	}
	w := writer{buf: append(dst, messageVersion)}
	w.message(m)
	return w.buf, nil
}

// DecodeMessage reads what AppendMessage wrote; ErrEncoding for anything else.
func DecodeMessage(data []byte) (Message, error) {
	var m Message
	if len(data) == 0 || data[0] != messageVersion {
		return m, fmt.Errorf("%w: no message of version %d", ErrEncoding, messageVersion)
	}
	r := reader{buf: data[1:]}
	r.message(&m)
	if r.bad || len(r.buf) != 0 {
		return Message{}, fmt.Errorf("%w: damaged message", ErrEncoding)
	}
	return m, nil
}

// AppendBatch appends the encoding of b to dst. Equal batches have equal
// encodings; a slice without entries is the same as none. It panics when a
// client id is longer than MaxClientIDBytes, which AppendMessage refuses.
func AppendBatch(dst []byte, b *Batch) []byte {
	w := writer{buf: dst}
	w.batchHead(b)
	for i := range b.Entries {
		w.entry(&b.Entries[i])
	}
	w.batchTail(b)
	return w.buf
}

// encodeBatch is AppendBatch of a batch whose entries are encoded: the matching
// engine encodes them as it makes them, to know how large a batch has become.
func encodeBatch(b *Batch, entries []byte) []byte {
	const around = 3 + 3*binary.MaxVarintLen64 + 4
	w := writer{buf: make([]byte, 0, around+len(entries)+len(b.Levels)*levelBytes)}
	w.batchHead(b)
	w.buf = append(w.buf, entries...)
	w.batchTail(b)
	return w.buf
}

func (w *writer) batchHead(b *Batch) {
	w.buf = append(w.buf, batchVersion)
	w.buf = binary.LittleEndian.AppendUint16(w.buf, b.Rules)
	w.buf = binary.AppendUvarint(w.buf, uint64(b.Instrument))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(b.Entries)))
}

func (w *writer) entry(e *Entry) {
	w.message(&e.Message)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(e.Events)))
	for i := range e.Events {
		w.event(&e.Events[i])
	}
}

func (w *writer) batchTail(b *Batch) {
	w.buf = binary.AppendUvarint(w.buf, uint64(len(b.Levels)))
	for i := range b.Levels {
		w.level(&b.Levels[i])
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf, b.Checksum)
}

func (w *writer) level(l *LevelChange) {
	w.begin()
	w.uint(uint64(l.Side))
	w.int(int64(l.Price))
	w.int(int64(l.Qty))
	w.int(int64(l.Orders))
	w.end()
}

// DecodeBatch reads what AppendBatch wrote; ErrEncoding for anything else.
func DecodeBatch(data []byte) (*Batch, error) {
	if len(data) < 3 || data[0] != batchVersion {
		return nil, fmt.Errorf("%w: no batch of version %d", ErrEncoding, batchVersion)
	}
	b := &Batch{Rules: binary.LittleEndian.Uint16(data[1:])}
	r := reader{buf: data[3:]}
	inst := r.varint()
	r.bad = r.bad || inst > most32
	b.Instrument = exchange.InstrumentID(inst)
	const least = 8 + 1 + 1 // bytes of an entry
	if n := r.count(least); n > 0 {
		b.Entries = make([]Entry, n)
	}
	for i := range b.Entries {
		if r.bad {
			break
		}
		e := &b.Entries[i]
		r.message(&e.Message)
		if n := r.count(8); n > 0 {
			e.Events = make([]exchange.Event, n)
		}
		for j := range e.Events {
			r.event(&e.Events[j])
		}
	}
	if n := r.count(8); n > 0 {
		b.Levels = make([]LevelChange, n)
	}
	for i := range b.Levels {
		l := &b.Levels[i]
		r.begin()
		l.Side = exchange.Side(r.number(most8))
		l.Price = exchange.Price(r.int())
		l.Qty = exchange.Qty(r.int())
		l.Orders = int(r.int())
		r.end()
	}
	if sum := r.take(4); sum != nil {
		b.Checksum = binary.LittleEndian.Uint32(sum)
	}
	if r.bad || len(r.buf) != 0 {
		return nil, fmt.Errorf("%w: damaged batch", ErrEncoding)
	}
	return b, nil
}
