package dynamodb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// objectBytes is how a large snapshot is cut into objects.
const objectBytes = 256 << 20

func objectName(name string, n int) string { return fmt.Sprintf("%s.%d", name, n) }

// SaveSnapshot implements pipeline.Journal. What an earlier one has left in
// parts goes away when it succeeds.
func (j *Journal) SaveSnapshot(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
	if err := checkInstrument(inst); err != nil {
		return wrap(inst, err)
	}
	if n := len(snap.Data); n > pipeline.MaxSnapshotBytes {
		return wrap(inst, fmt.Errorf("%w: a snapshot of %d bytes, expected at most %d", pipeline.ErrTooLarge, n, pipeline.MaxSnapshotBytes))
	}
	if err := j.saveSnapshot(ctx, inst, snap); err != nil {
		return wrap(inst, fmt.Errorf("saving the snapshot at %d: %w", snap.Position, err))
	}
	return nil
}

func (j *Journal) saveSnapshot(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
	it, err := j.get(ctx, journalKey(inst, sortSnapshot), "p")
	if f := (fields{item: it}); err != nil || it != nil && f.uint("p", 64) >= uint64(snap.Position) {
		return err
	}
	b := body{kind: kindSnapshot, size: len(snap.Data), inline: snap.Data}
	switch {
	case len(snap.Data) <= MaxInline:
	case j.objects == nil:
		if b, err = j.upload(ctx, inst, kindSnapshot, snap.Position, snap.Data); err != nil {
			return err
		}
	default:
		if b.name, err = j.putObjects(ctx, inst, snap); err != nil {
			return err
		}
	}
	record := journalKey(inst, sortSnapshot).item()
	record["p"], record["h"] = unum(snap.Position), bin(snap.Hash[:])
	b.write(record)
	var before item
	newer := false
	err = retry(ctx, func() error {
		out, err := j.client.PutItem(ctx, &ddb.PutItemInput{TableName: aws.String(j.table), Item: record, ReturnValues: types.ReturnValueAllOld,
			ConditionExpression: aws.String(absent + " OR p < :p"), ExpressionAttributeValues: item{":p": unum(snap.Position)}})
		if unmet(err) {
			newer = true
			return nil
		}
		if err == nil {
			before = out.Attributes
		}
		return err
	})
	if err != nil {
		return err
	}
	if newer {
		return j.superseded(ctx, inst, snap, &b)
	}
	// It is saved. What cannot be removed now goes with the next one.
	_ = j.discardUpTo(ctx, inst, kindSnapshot, snap.Position, b.id)
	if f := (fields{item: before}); before != nil {
		if old := readBody(&f, kindSnapshot); old.name != "" {
			j.forget(ctx, &old)
		}
	}
	return nil
}

// superseded removes the parts of a snapshot that is not the newest, unless it
// is: the answer of the try that saved it was lost.
func (j *Journal) superseded(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot, b *body) error {
	it, err := j.get(ctx, journalKey(inst, sortSnapshot), "p", "upload", "objects")
	if err != nil {
		return err
	}
	f := fields{item: it}
	if b.parts > 0 && f.text("upload") != b.id {
		_ = j.discard(ctx, inst, snap.Position, b)
	}
	if b.name != "" && f.text("objects") != b.name {
		j.forget(ctx, b)
	}
	return f.err
}

// putObjects puts a large snapshot into objects, whose names tell their contents,
// so that it may be repeated.
func (j *Journal) putObjects(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) (string, error) {
	sum := sha256.Sum256(snap.Data)
	name := fmt.Sprintf("snapshots/%d/%s-%x", inst, padded(snap.Position), sum[:16])
	for n := 0; n*objectBytes < len(snap.Data); n++ {
		part := snap.Data[n*objectBytes : min((n+1)*objectBytes, len(snap.Data))]
		if err := j.objects.Put(ctx, objectName(name, n), part); err != nil {
			return "", fmt.Errorf("object %s: %w", objectName(name, n), err)
		}
	}
	return name, nil
}

// fetch reads what putObjects has put.
func (j *Journal) fetch(ctx context.Context, b *body) ([]byte, error) {
	if j.objects == nil {
		return nil, fmt.Errorf("%w: it lies in object %s, and JournalConfig.Objects is nil", pipeline.ErrInvalid, objectName(b.name, 0))
	}
	data := make([]byte, 0, b.size)
	for n := 0; len(data) < b.size; n++ {
		part, err := j.objects.Get(ctx, objectName(b.name, n))
		if errors.Is(err, pipeline.ErrNotFound) {
			err = errors.Join(errGone, err)
		}
		if err == nil && len(part) != min(objectBytes, b.size-len(data)) {
			err = fmt.Errorf("%w: %d bytes", rows.ErrDamaged, len(part))
		}
		if err != nil {
			return nil, fmt.Errorf("object %s: %w", objectName(b.name, n), err)
		}
		if b.size == len(part) {
			return bytes.Clone(part), nil
		}
		data = append(data, part...)
	}
	return data, nil
}

// forget removes objects, where that can be done.
func (j *Journal) forget(ctx context.Context, b *body) {
	d, ok := j.objects.(interface {
		Delete(ctx context.Context, name string) error
	})
	for n := 0; ok && n*objectBytes < b.size; n++ {
		_ = d.Delete(ctx, objectName(b.name, n)) // they cost their room, and nothing else
	}
}

// LoadSnapshot implements pipeline.Journal.
func (j *Journal) LoadSnapshot(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	var snap pipeline.Snapshot
	var err error
	// The newest may be replaced, and its body removed, while it is read.
	for range MaxDoubts {
		snap, err = j.loadSnapshot(ctx, inst)
		if !errors.Is(err, errGone) {
			break
		}
	}
	if err != nil {
		return pipeline.Snapshot{}, wrap(inst, fmt.Errorf("snapshot: %w", err))
	}
	return snap, nil
}

func (j *Journal) loadSnapshot(ctx context.Context, inst exchange.InstrumentID) (snap pipeline.Snapshot, err error) {
	it, err := j.get(ctx, journalKey(inst, sortSnapshot))
	if err != nil {
		return snap, err
	}
	if it == nil {
		return snap, pipeline.ErrNotFound
	}
	f := fields{item: it}
	b := readBody(&f, kindSnapshot)
	if snap.Head, err = readHead(&f); err != nil {
		return snap, err
	}
	snap.Data, err = j.download(ctx, inst, &b)
	return snap, err
}
