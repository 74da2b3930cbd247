// Package rows encodes what the stores of this module keep: varints one after
// the other, in an order that is part of the format.
package rows

import (
	"encoding/binary"
	"errors"

	"github.com/castlecloud/exchange"
)

// ErrDamaged says that bytes are no row of this format.
var ErrDamaged = errors.New("damaged row")

// Uint appends v.
func Uint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](dst []byte, v T) []byte {
	return binary.AppendUvarint(dst, uint64(v))
}

// Int appends v.
func Int[T ~int64](dst []byte, v T) []byte { return binary.AppendVarint(dst, int64(v)) }

// Bool appends v.
func Bool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// ID appends v.
func ID(dst []byte, v *exchange.CommandID) []byte { return append(dst, v[:]...) }

// String appends a string with its length.
func String(dst []byte, v string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// Key32 appends v so that keys sort as numbers do.
func Key32[T ~uint32](dst []byte, v T) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }

// Key64 appends v so that keys sort as numbers do.
func Key64[T ~uint64](dst []byte, v T) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

// KeyTime appends v so that keys sort as times do.
func KeyTime(dst []byte, v exchange.Time) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^1<<63)
}

// Reader reads what the functions above have appended. After the first fault
// it gives zeros.
type Reader struct {
	buf []byte
	bad bool
}

// Read returns a Reader of buf.
func Read(buf []byte) Reader { return Reader{buf: buf} }

// End returns ErrDamaged unless everything was read and in order.
func (r *Reader) End() error {
	if r.bad || len(r.buf) != 0 {
		return ErrDamaged
	}
	return nil
}

func (r *Reader) fault() { r.bad, r.buf = true, nil }

// More reports whether anything is left to read.
func (r *Reader) More() bool { return len(r.buf) > 0 }

// Bytes reads n bytes, which are those of the buffer.
func (r *Reader) Bytes(n int) []byte {
	if n < 0 || n > len(r.buf) {
		r.fault()
		return nil
	}
	out := r.buf[:n:n]
	r.buf = r.buf[n:]
	return out
}

// Uint reads a number of at most most.
func (r *Reader) Uint(most uint64) uint64 {
	v, n := binary.Uvarint(r.buf)
	if n <= 0 || v > most {
		r.fault()
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// Uint8, Uint16, Uint32 and Uint64 read what Uint appended.
func (r *Reader) Uint8() uint8   { return uint8(r.Uint(1<<8 - 1)) }
func (r *Reader) Uint16() uint16 { return uint16(r.Uint(1<<16 - 1)) }
func (r *Reader) Uint32() uint32 { return uint32(r.Uint(1<<32 - 1)) }
func (r *Reader) Uint64() uint64 { return r.Uint(1<<64 - 1) }

// Int reads what Int appended.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.buf)
	if n <= 0 {
		r.fault()
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// Bool reads what Bool appended.
func (r *Reader) Bool() bool { return r.Uint(1) == 1 }

// ID reads what ID appended.
func (r *Reader) ID() (id exchange.CommandID) {
	copy(id[:], r.Bytes(len(id)))
	return id
}

// String reads what String appended.
func (r *Reader) String() string { return string(r.Bytes(int(r.Uint(uint64(len(r.buf)))))) }

// Key32 reads what Key32 appended.
func (r *Reader) Key32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Key64 reads what Key64 appended.
func (r *Reader) Key64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// KeyTime reads what KeyTime appended.
func (r *Reader) KeyTime() exchange.Time { return exchange.Time(r.Key64() ^ 1<<63) }
