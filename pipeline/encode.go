package pipeline

import (
	"encoding/binary"
)

// The matching engine encodes entries as it makes them, so that it knows how
// large a batch has become: AppendBatch in two steps.

// appendEntry appends the encoding of an entry.
func appendEntry(dst []byte, e *Entry) []byte {
	w := writer{buf: dst}
	w.message(&e.Message)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(e.Events)))
	for i := range e.Events {
		w.event(&e.Events[i])
	}
	return w.buf
}

// appendBatch appends the encoding of a batch whose entries are encoded.
func appendBatch(dst []byte, b *Batch, entries []byte) []byte {
	if dst == nil {
		const around = 3 + 2*binary.MaxVarintLen64 + binary.MaxVarintLen64 + 4
		dst = make([]byte, 0, around+len(entries)+len(b.Levels)*levelBytes)
	}
	w := writer{buf: append(dst, batchVersion)}
	w.buf = binary.LittleEndian.AppendUint16(w.buf, b.Rules)
	w.buf = binary.AppendUvarint(w.buf, uint64(b.Instrument))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(b.Entries)))
	w.buf = append(w.buf, entries...)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(b.Levels)))
	for i := range b.Levels {
		w.level(&b.Levels[i])
	}
	return binary.LittleEndian.AppendUint32(w.buf, b.Checksum)
}

func (w *writer) level(l *LevelChange) {
	w.begin()
	w.uint(uint64(l.Side))
	w.int(int64(l.Price))
	w.int(int64(l.Qty))
	w.int(int64(l.Orders))
	w.end()
}
