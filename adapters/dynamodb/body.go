package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Kinds of a body.
const (
	kindItem     = "item#"
	kindSnapshot = "snapshot#"
)

// body is where the bytes of a journal item or a snapshot are: in the record
// itself, in parts, or in objects.
type body struct {
	kind   string
	id     string // of this writing of it
	size   int
	inline []byte
	parts  int    // items of the table
	name   string // of objects, ahead of their numbers
}

// write adds a body to its record.
func (b *body) write(record item) {
	record["size"] = num(int64(b.size))
	switch {
	case b.name != "":
		record["objects"] = str(b.name)
	case b.parts > 0:
		record["parts"], record["upload"] = num(int64(b.parts)), str(b.id)
	default:
		record["d"] = bin(b.inline)
	}
}

func readBody(f *fields, kind string) body {
	b := body{kind: kind, id: f.text("upload"), size: int(f.uint("size", 31)), parts: int(f.uint("parts", 16)), name: f.text("objects"), inline: f.bytes("d")}
	if b.name == "" && b.parts == 0 && len(b.inline) != b.size {
		f.fault("d", fmt.Errorf("%d bytes, expected %d", len(b.inline), b.size))
	}
	return b
}

// items are the parts, each in a partition of its own, so that they are
// written as fast as the table takes them.
func partKey(inst exchange.InstrumentID, id string, n int) key {
	return key{fmt.Sprintf("part#%d#%s#%d", inst, id, n), "part"}
}

// uploadKey notes, before the first part is written, that there may be parts.
func uploadKey(inst exchange.InstrumentID, kind string, pos pipeline.Position, id string) key {
	return journalKey(inst, sortUpload+kind+padded(pos)+"#"+id)
}

// upload writes data in parts, which nobody reads until a record names them.
func (j *Journal) upload(ctx context.Context, inst exchange.InstrumentID, kind string, pos pipeline.Position, data []byte) (body, error) {
	b := body{kind: kind, id: newToken(), size: len(data), parts: (len(data) + MaxInline - 1) / MaxInline}
	note := uploadKey(inst, kind, pos, b.id).item()
	note["n"] = num(int64(b.parts))
	if err := j.putItem(ctx, note); err != nil {
		return b, err
	}
	err := each(ctx, b.parts, func(ctx context.Context, i int) error {
		part := partKey(inst, b.id, i).item()
		part["d"] = bin(data[i*MaxInline : min((i+1)*MaxInline, len(data))])
		return j.putItem(ctx, part)
	})
	if err != nil {
		return b, fmt.Errorf("writing %d parts: %w", b.parts, err)
	}
	return b, nil
}

func (j *Journal) putItem(ctx context.Context, it item) error {
	return retry(ctx, func() error {
		_, err := j.client.PutItem(ctx, &ddb.PutItemInput{TableName: &j.table, Item: it})
		return err
	})
}

// errGone says that a body is no longer there.
var errGone = errors.New("its body is gone")

// download reads a body, which is the caller's.
func (j *Journal) download(ctx context.Context, inst exchange.InstrumentID, b *body) ([]byte, error) {
	switch {
	case b.name != "":
		return j.fetch(ctx, b)
	case b.parts == 0:
		return bytes.Clone(b.inline), nil // the client's own may have room behind it
	}
	data := make([]byte, b.size)
	err := each(ctx, b.parts, func(ctx context.Context, i int) error {
		it, err := j.get(ctx, partKey(inst, b.id, i))
		if err != nil {
			return err
		}
		f := fields{item: it}
		part, room := f.bytes("d"), data[min(i*MaxInline, b.size):min((i+1)*MaxInline, b.size)]
		if it == nil || f.err != nil || len(part) != len(room) {
			return fmt.Errorf("part %d of %d: %w", i, b.parts, errors.Join(errGone, f.err))
		}
		copy(room, part)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// discard removes a body that no record names.
func (j *Journal) discard(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position, b *body) error {
	return j.discardParts(ctx, inst, b.id, b.parts, uploadKey(inst, b.kind, pos, b.id))
}

func (j *Journal) discardParts(ctx context.Context, inst exchange.InstrumentID, id string, parts int, note key) error {
	keys := make([]key, parts)
	for i := range keys {
		keys[i] = partKey(inst, id, i)
	}
	if err := j.remove(ctx, keys); err != nil {
		return err
	}
	return j.remove(ctx, []key{note}) // last, or parts could be left that nobody knows of
}

// discardUpTo removes all bodies in parts up to a position, but one.
func (j *Journal) discardUpTo(ctx context.Context, inst exchange.InstrumentID, kind string, pos pipeline.Position, but string) error {
	from := journalKey(inst, sortUpload+kind)
	return j.query(ctx, from.partition, "", SortKey, from.sort, from.sort+padded(pos)+lastDigits, maxGet, func(page []item) (bool, error) {
		for _, it := range page {
			f := fields{item: it}
			note := key{from.partition, f.text(SortKey)}
			id, parts := note.sort[max(0, len(note.sort)-len(newToken())):], int(f.uint("n", 16))
			if f.err != nil {
				return false, f.err
			}
			if id == but {
				continue
			}
			if err := j.discardParts(ctx, inst, id, parts, note); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}
