package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/join"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// Sizes. DynamoDB's items have at most 400 KiB, names and keys included.
const (
	// MaxInline is the most bytes of a journal item or a snapshot that lie in
	// one item of the table; what is longer is cut into parts of so many.
	MaxInline = 399 << 10
	// readBytes is how many bytes Read collects before it stops short of its
	// limit.
	readBytes = 16 << 20
)

// The sort keys of an instrument's partition, and their attributes.
const (
	sortHead      = "head"      // p, h, m: published up to there, as an append has said by the way
	sortPublished = "published" // p: published up to there; the higher of the two counts
	sortSnapshot  = "snapshot"  // p, h, and a body
	sortTrimmed   = "trimmed"   // p: nothing up to it can be read; g: it is gone
	sortItem      = "item#"     // position: h, w (who wrote it), and a body
	sortUpload    = "upload#"   // kind, position, id: n (parts that may be there)
	lastDigits    = "~"         // sorts behind all digits
)

// JournalConfig says where a Journal keeps its items. Table is mandatory.
type JournalConfig struct {
	Table string
	// Objects keeps snapshots that are longer than MaxInline; nil: the table
	// does, in parts.
	Objects Objects
}

// Objects keeps the bodies of large snapshots. Every pipeline.Archive is one.
// One that has a method Delete(ctx, name) error is asked to remove those that a
// newer snapshot has replaced; otherwise they stay, under "snapshots/", and a
// rule of the bucket may remove them once they are older than the newest.
type Objects interface {
	Put(ctx context.Context, name string, data []byte) error
	Get(ctx context.Context, name string) ([]byte, error)
}

// Journal is a pipeline.Journal in a table of DynamoDB.
type Journal struct {
	store
	objects Objects
	commits *join.Batcher[*commit]

	mu    sync.Mutex
	marks map[exchange.InstrumentID]mark
}

// mark is what a Journal knows of an instrument's published mark.
type mark struct {
	published pipeline.Position
	appended  pipeline.Position // the last item that this Journal has added
}

// NewJournal returns a Journal. It does not ask whether the table is there.
func NewJournal(client *ddb.Client, cfg JournalConfig) (*Journal, error) {
	s, err := newStore("journal", client, cfg.Table)
	if err != nil {
		return nil, err
	}
	j := &Journal{store: s, objects: cfg.Objects, marks: map[exchange.InstrumentID]mark{}}
	j.commits = join.New(commitsTogether, commitBatches, j.commitAll)
	return j, nil
}

func wrap(inst exchange.InstrumentID, err error) error {
	if err != nil {
		return fmt.Errorf("journal of instrument %d: %w", inst, err)
	}
	return nil
}

func itemKey(inst exchange.InstrumentID, pos pipeline.Position) key {
	return journalKey(inst, sortItem+padded(pos))
}

// Append implements pipeline.Journal. When it was not able to find out whether
// the item is there it says so with an error that is not ErrFenced.
func (j *Journal) Append(ctx context.Context, inst exchange.InstrumentID, it pipeline.Item) error {
	if err := checkInstrument(inst); err != nil {
		return wrap(inst, err)
	}
	if n := len(it.Data); n == 0 || n > pipeline.MaxItemBytes {
		return wrap(inst, fmt.Errorf("%w: an item of %d bytes, expected 1 to %d", pipeline.ErrTooLarge, n, pipeline.MaxItemBytes))
	}
	return wrap(inst, j.append(ctx, inst, it))
}

func fenced(pos, head pipeline.Position) error {
	return fmt.Errorf("%w: item %d does not follow %d", pipeline.ErrFenced, pos, head)
}

func (j *Journal) append(ctx context.Context, inst exchange.InstrumentID, it pipeline.Item) error {
	if it.Position == 0 {
		return fenced(0, 0)
	}
	b := body{kind: kindItem, id: newToken(), size: len(it.Data), inline: it.Data}
	if len(it.Data) > MaxInline {
		// A stale writer is told before it has written what nobody will read.
		head, err := j.head(ctx, inst)
		if err != nil {
			return err
		}
		if it.Position != head.Position+1 {
			return fenced(it.Position, head.Position)
		}
		if b, err = j.upload(ctx, inst, kindItem, it.Position, it.Data); err != nil {
			return err
		}
	}
	err := j.commit(ctx, inst, it.Head, &b)
	if errors.Is(err, pipeline.ErrFenced) && b.parts > 0 {
		// What is left of it goes away with Trim at the latest.
		_ = j.discard(ctx, inst, it.Position, &b)
	}
	return err
}

// commit writes the one item that counts and moves the head, both or none.
func (j *Journal) commit(ctx context.Context, inst exchange.InstrumentID, at pipeline.Head, b *body) error {
	record := itemKey(inst, at.Position).item()
	record["h"], record["w"] = bin(at.Hash[:]), str(b.id)
	b.write(record)
	j.mu.Lock()
	published := j.marks[inst].published
	j.mu.Unlock()
	// Together with the head goes the mark, which would cost a write of its own.
	move := types.TransactWriteItem{Update: &types.Update{TableName: aws.String(j.table), Key: journalKey(inst, sortHead).item(),
		UpdateExpression: aws.String("SET p = :p, h = :h, m = :m"), ConditionExpression: aws.String(absent),
		ExpressionAttributeValues: item{":p": unum(at.Position), ":h": bin(at.Hash[:]), ":m": unum(published)}}}
	if published == 0 {
		move.Update.UpdateExpression = aws.String("SET p = :p, h = :h")
		delete(move.Update.ExpressionAttributeValues, ":m")
	}
	if at.Position > 1 {
		move.Update.ConditionExpression = aws.String("p = :before")
		move.Update.ExpressionAttributeValues[":before"] = unum(at.Position - 1)
	}
	put := j.put(record, absent, nil, nil)
	err := errApart
	if b.size <= commitBytes && b.parts == 0 {
		err = j.commits.Do(ctx, &commit{put, move})
	}
	if errors.Is(err, errApart) {
		err = j.commitOnce(ctx, inst, at, b, put, move)
	}
	if err == nil {
		j.mu.Lock()
		m := j.marks[inst]
		m.appended = max(m.appended, at.Position)
		j.marks[inst] = m
		j.mu.Unlock()
	}
	return err
}

const (
	// commitsTogether is how many instruments' items are committed in one
	// transaction at most, each no longer than commitBytes.
	commitsTogether = 10
	commitBytes     = 32 << 10
	commitBatches   = 4 // such transactions on their way
	commitPatience  = 5 * time.Second
)

// commit is what commits an item.
type commit struct{ put, move types.TransactWriteItem }

// commitAll commits items of several instruments, appended at the same time, in
// one transaction. When it fails, or there is but one, each is errApart: it is
// committed by itself, which finds out whether it is there.
func (j *Journal) commitAll(ctx context.Context, commits []*commit) []error {
	apart := slices.Repeat([]error{errApart}, len(commits))
	heads := map[string]bool{}
	var writes []types.TransactWriteItem
	for _, c := range commits {
		head := fields{item: c.move.Update.Key}
		if name := head.text(PartitionKey); !heads[name] { // two of one instrument: one of them is fenced
			heads[name] = true
			writes = append(writes, c.put, c.move)
		}
	}
	if len(heads) < 2 || len(heads) < len(commits) {
		return apart
	}
	ctx, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	if err := j.write(ctx, newToken(), writes...); err != nil {
		return apart
	}
	return make([]error, len(commits))
}

// commitOnce writes the two items.
func (j *Journal) commitOnce(ctx context.Context, inst exchange.InstrumentID, at pipeline.Head, b *body, put, move types.TransactWriteItem) error {
	return retry(ctx, func() error {
		// One token for all tries: the second of two that both arrive is
		// answered as the first was.
		err := j.write(ctx, b.id, put, move)
		if !failed(err, 0) && !failed(err, 1) {
			return err
		}
		// Somebody was here before, perhaps a try of this call whose answer
		// nobody got.
		mine, readErr := j.get(ctx, itemKey(inst, at.Position), "w")
		if readErr != nil {
			return errors.Join(err, readErr)
		}
		if f := (fields{item: mine}); f.text("w") == b.id {
			return nil
		}
		return fmt.Errorf("%w: item %d does not follow the head", pipeline.ErrFenced, at.Position)
	})
}

// Read implements pipeline.Journal. It returns fewer items than it may when
// they are large.
func (j *Journal) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	if limit < 1 || limit > pipeline.MaxReadItems {
		return nil, wrap(inst, fmt.Errorf("%w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxReadItems))
	}
	if from < 1 {
		return nil, wrap(inst, fmt.Errorf("%w: position 0, expected at least 1", pipeline.ErrInvalid))
	}
	items, err := j.read(ctx, inst, from, limit)
	return items, wrap(inst, err)
}

func (j *Journal) read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	for range MaxDoubts {
		items, later, err := j.readOnce(ctx, inst, from, limit)
		if err == nil && len(items) > 0 {
			return items, nil
		}
		if err != nil && !errors.Is(err, errGone) {
			return nil, err
		}
		// Either it was trimmed, or a page was read while items were appended
		// and has a later one without the first.
		trimmed, readErr := j.position(ctx, inst, sortTrimmed)
		if readErr != nil {
			return nil, readErr
		}
		if from <= trimmed {
			return nil, fmt.Errorf("%w: item %d, the first is %d", pipeline.ErrTrimmed, from, trimmed+1)
		}
		if err == nil && !later {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("item %d: %w", from, rows.ErrDamaged)
}

// readOnce returns the items there are without a gap; none, and later, when the
// first is not there but one behind it.
func (j *Journal) readOnce(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) (items []pipeline.Item, later bool, err error) {
	var bodies []body
	pos, size := from, 0
	first := itemKey(inst, from)
	err = j.query(ctx, first.partition, "", SortKey, first.sort, sortItem+lastDigits, limit, func(page []item) (bool, error) {
		for _, it := range page {
			f := fields{item: it}
			if f.text(SortKey) != sortItem+padded(pos) {
				later = pos == from
				return false, nil
			}
			if size >= readBytes || len(bodies) == limit {
				return false, nil
			}
			one := pipeline.Item{Head: pipeline.Head{Position: pos}}
			f.exactly("h", one.Hash[:])
			b := readBody(&f, kindItem)
			if f.err != nil {
				return false, fmt.Errorf("item %d: %w", pos, f.err)
			}
			items, bodies = append(items, one), append(bodies, b)
			size += b.size
			pos++
		}
		return len(bodies) < limit && size < readBytes, nil
	})
	if err != nil {
		return nil, false, err
	}
	for i := range bodies {
		if items[i].Data, err = j.download(ctx, inst, &bodies[i]); err != nil {
			if i > 0 && errors.Is(err, errGone) {
				return items[:i], false, nil
			}
			return nil, false, fmt.Errorf("item %d: %w", items[i].Position, err)
		}
	}
	return items, later, nil
}

// Head implements pipeline.Journal.
func (j *Journal) Head(ctx context.Context, inst exchange.InstrumentID) (pipeline.Head, error) {
	head, err := j.head(ctx, inst)
	return head, wrap(inst, err)
}

func (j *Journal) head(ctx context.Context, inst exchange.InstrumentID) (pipeline.Head, error) {
	it, err := j.get(ctx, journalKey(inst, sortHead))
	if err != nil || it == nil {
		return pipeline.Head{}, err
	}
	return readHead(&fields{item: it})
}

func readHead(f *fields) (h pipeline.Head, err error) {
	h.Position = pipeline.Position(f.uint("p", 64))
	f.exactly("h", h.Hash[:])
	return h, f.err
}

// position reads the number of a record that has one, 0 when it is not there.
func (j *Journal) position(ctx context.Context, inst exchange.InstrumentID, sort string) (pipeline.Position, error) {
	it, err := j.get(ctx, journalKey(inst, sort), "p")
	f := fields{item: it}
	pos := pipeline.Position(f.uint("p", 64))
	return pos, errors.Join(err, f.err)
}

// raise sets a number of a record unless it is there already, or higher.
func (j *Journal) raise(ctx context.Context, inst exchange.InstrumentID, sort, name string, pos pipeline.Position) error {
	_, err := j.update(ctx, journalKey(inst, sort), "SET #n = :n", "attribute_not_exists(#n) OR #n < :n", map[string]string{"#n": name}, item{":n": unum(pos)})
	return err
}

// MarkPublished implements pipeline.Journal. Up to the item that this Journal
// has added last the mark goes with the next one, and would be lost with the
// process: then the Sweeper publishes that item again, once. Any other is
// durable.
func (j *Journal) MarkPublished(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	if err := checkInstrument(inst); err != nil {
		return wrap(inst, err)
	}
	j.mu.Lock()
	m := j.marks[inst]
	mine := pos == m.appended
	if mine {
		m.published = max(m.published, pos)
		j.marks[inst] = m
	}
	j.mu.Unlock()
	if mine && pos > 0 {
		return nil
	}
	return wrap(inst, j.raise(ctx, inst, sortPublished, "p", pos))
}

// Published implements pipeline.Journal.
func (j *Journal) Published(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	alone, head := journalKey(inst, sortPublished), journalKey(inst, sortHead)
	got, err := j.getAll(ctx, []key{alone, head})
	if err != nil {
		return 0, wrap(inst, err)
	}
	marked, moved := fields{item: got[alone]}, fields{item: got[head]}
	pos := max(pipeline.Position(marked.uint("p", 64)), pipeline.Position(moved.uint("m", 64)))
	if err := errors.Join(marked.err, moved.err); err != nil {
		return 0, wrap(inst, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	m := j.marks[inst]
	m.published = max(m.published, pos)
	j.marks[inst] = m
	return m.published, nil
}

// Trim implements pipeline.Journal. Should it end early, another one with the
// same position, or a later one, goes on.
func (j *Journal) Trim(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	return wrap(inst, j.trim(ctx, inst, pos))
}

func (j *Journal) trim(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	if pos == 0 {
		return nil
	}
	snap, err := j.position(ctx, inst, sortSnapshot)
	if err != nil {
		return err
	}
	head, err := j.position(ctx, inst, sortHead)
	if err != nil {
		return err
	}
	if pos > snap || pos > head {
		return fmt.Errorf("%w: trimming up to %d, expected at most the snapshot at %d and the head at %d", pipeline.ErrInvalid, pos, snap, head)
	}
	it, err := j.get(ctx, journalKey(inst, sortTrimmed))
	if err != nil {
		return err
	}
	f := fields{item: it}
	gone := pipeline.Position(f.uint("g", 64))
	if f.err != nil || pos <= gone {
		return f.err
	}
	// First nobody is told any more that they are there, then they go.
	if err := j.raise(ctx, inst, sortTrimmed, "p", pos); err != nil {
		return err
	}
	var keys []key
	for gone < pos {
		keys = keys[:0]
		for ; gone < pos && len(keys) < maxWrite*MaxParallel; gone++ {
			keys = append(keys, itemKey(inst, gone+1))
		}
		if err := j.remove(ctx, keys); err != nil {
			return err
		}
	}
	if err := j.discardUpTo(ctx, inst, kindItem, pos, ""); err != nil {
		return err
	}
	return j.raise(ctx, inst, sortTrimmed, "g", pos)
}

var _ pipeline.Journal = (*Journal)(nil)
