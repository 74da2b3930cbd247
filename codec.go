package exchange

import "encoding/binary"

// encoder appends fixed-width little-endian fields.
type encoder struct{ buf []byte }

func (w *encoder) u8(v uint8)   { w.buf = append(w.buf, v) }
func (w *encoder) u16(v uint16) { w.buf = binary.LittleEndian.AppendUint16(w.buf, v) }
func (w *encoder) u32(v uint32) { w.buf = binary.LittleEndian.AppendUint32(w.buf, v) }
func (w *encoder) i64(v int64)  { w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(v)) }
func (w *encoder) u64(v uint64) { w.buf = binary.LittleEndian.AppendUint64(w.buf, v) }
func (w *encoder) id(v *CommandID) {
	w.buf = append(w.buf, v[:]...)
}

func (w *encoder) bool(v bool) {
	if v {
		w.u8(1)
	} else {
		w.u8(0)
	}
}

// text appends a text of at most 255 bytes.
func (w *encoder) text(s string) {
	w.u8(uint8(len(s)))
	w.buf = append(w.buf, s...)
}

// decoder reads what encoder wrote. After the first failure it returns zeros;
// the caller looks at bad once.
type decoder struct {
	buf []byte
	bad string // what was wrong first
}

func (r *decoder) fail(what string) {
	if r.bad == "" {
		r.bad = what
	}
	r.buf = nil
}

// check fails with what unless ok.
func (r *decoder) check(ok bool, what string) {
	if !ok {
		r.fail(what)
	}
}

var zeros [16]byte

func (r *decoder) take(n int) []byte {
	if len(r.buf) < n {
		r.fail("ends too early")
		return zeros[:min(n, len(zeros))]
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *decoder) u8() uint8   { return r.take(1)[0] }
func (r *decoder) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *decoder) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *decoder) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *decoder) i64() int64  { return int64(r.u64()) }

func (r *decoder) id() (id CommandID) {
	copy(id[:], r.take(16))
	return id
}

func (r *decoder) bool() bool {
	v := r.u8()
	r.check(v <= 1, "a boolean is neither 0 nor 1")
	return v == 1
}

func (r *decoder) text() string {
	n := int(r.u8())
	if len(r.buf) < n {
		r.fail("ends too early")
		return ""
	}
	return string(r.take(n))
}

// count reads how many records of at least size bytes follow.
func (r *decoder) count(size int) int {
	n := r.u64()
	if n > uint64(len(r.buf)/size) {
		r.fail("a count exceeds what follows")
		return 0
	}
	return int(n)
}

// within reads an integer and checks its range.
func (r *decoder) within(low, high int64, what string) int64 {
	v := r.i64()
	if v < low || v > high {
		r.fail(what)
		return low
	}
	return v
}
