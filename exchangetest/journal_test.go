package exchangetest_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// brokenJournal is a memory.Journal with some methods replaced.
type brokenJournal struct {
	pipeline.Journal
	mu      sync.Mutex // for what a fake remembers
	memo    map[exchange.InstrumentID][]pipeline.Item
	marks   map[exchange.InstrumentID]pipeline.Position
	append  func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error
	read    func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error)
	head    func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Head, error)
	save    func(j *brokenJournal, inst exchange.InstrumentID, snap pipeline.Snapshot) error
	load    func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Snapshot, error)
	mark    func(j *brokenJournal, inst exchange.InstrumentID, pos pipeline.Position) error
	marked  func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Position, error)
	trim    func(j *brokenJournal, inst exchange.InstrumentID, pos pipeline.Position) error
	removed bool
}

var bg = context.Background()

func (j *brokenJournal) Append(ctx context.Context, inst exchange.InstrumentID, item pipeline.Item) error {
	if j.append != nil {
		return j.append(j, inst, item)
	}
	return j.Journal.Append(ctx, inst, item)
}

func (j *brokenJournal) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	if j.read != nil {
		return j.read(j, inst, from, limit)
	}
	return j.Journal.Read(ctx, inst, from, limit)
}

func (j *brokenJournal) Head(ctx context.Context, inst exchange.InstrumentID) (pipeline.Head, error) {
	if j.head != nil {
		return j.head(j, inst)
	}
	return j.Journal.Head(ctx, inst)
}

func (j *brokenJournal) SaveSnapshot(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
	if j.save != nil {
		return j.save(j, inst, snap)
	}
	return j.Journal.SaveSnapshot(ctx, inst, snap)
}

func (j *brokenJournal) LoadSnapshot(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	if j.load != nil {
		return j.load(j, inst)
	}
	return j.Journal.LoadSnapshot(ctx, inst)
}

func (j *brokenJournal) MarkPublished(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	if j.mark != nil {
		return j.mark(j, inst, pos)
	}
	return j.Journal.MarkPublished(ctx, inst, pos)
}

func (j *brokenJournal) Published(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	if j.marked != nil {
		return j.marked(j, inst)
	}
	return j.Journal.Published(ctx, inst)
}

func (j *brokenJournal) Trim(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	if j.trim != nil {
		return j.trim(j, inst, pos)
	}
	return j.Journal.Trim(ctx, inst, pos)
}

func breakJournal(how func(j *brokenJournal)) exchangetest.Open[pipeline.Journal] {
	return func(testing.TB) pipeline.Journal {
		j := &brokenJournal{Journal: memory.NewJournal(), memo: map[exchange.InstrumentID][]pipeline.Item{}, marks: map[exchange.InstrumentID]pipeline.Position{}}
		how(j)
		return j
	}
}

func TestBrokenJournals(t *testing.T) {
	mustFail(t, exchangetest.JournalCases, []broken[exchangetest.Open[pipeline.Journal]]{
		{"says yes to a stale writer", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				if head, _ := j.Journal.Head(bg, inst); item.Position <= head.Position {
					return nil
				}
				return j.Journal.Append(bg, inst, item)
			}
		}), "an item at another position is fenced and not written"},
		{"appends wherever the writer was", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				j.mu.Lock()
				defer j.mu.Unlock()
				head, _ := j.Journal.Head(bg, inst)
				item.Position = head.Position + 1
				return j.Journal.Append(bg, inst, item)
			}
		}), "an item at another position is fenced and not written"},
		{"lets a second writer in at the position of the first", breakJournal(func(j *brokenJournal) {
			second := map[pipeline.Position]bool{}
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				j.mu.Lock()
				defer j.mu.Unlock()
				if head, _ := j.Journal.Head(bg, inst); item.Position == head.Position && !second[item.Position] {
					second[item.Position] = true
					return nil
				}
				return j.Journal.Append(bg, inst, item)
			}
		}), "of two appends at one position one succeeds"},
		{"drops every seventh item and says yes", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				if item.Position%7 == 0 {
					return nil
				}
				return j.Journal.Append(bg, inst, item)
			}
		}), "reads begin anywhere and stop at their limit"},
		{"cuts items at 400 KB", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				item.Data = item.Data[:min(len(item.Data), 400<<10)]
				return j.Journal.Append(bg, inst, item)
			}
		}), "items above the limits of stores"},
		{"takes empty items", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				if len(item.Data) == 0 {
					item.Data = []byte{0}
				}
				return j.Journal.Append(bg, inst, item)
			}
		}), "an item without data or beyond the bound is refused"},
		{"loses the hash", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				item.Hash = pipeline.Hash{}
				return j.Journal.Append(bg, inst, item)
			}
		}), "items come back as they were appended"},
		{"returns an item twice", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				items, err := j.Journal.Read(bg, inst, from, limit)
				if len(items) > 1 && len(items) < limit {
					items = slices.Insert(items, 1, items[0])
				}
				return items, err
			}
		}), "items come back as they were appended"},
		{"returns items in another order", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				items, err := j.Journal.Read(bg, inst, from, limit)
				slices.Reverse(items)
				return items, err
			}
		}), "items come back as they were appended"},
		{"leaves big items out", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				items, err := j.Journal.Read(bg, inst, from, limit)
				return slices.DeleteFunc(items, func(i pipeline.Item) bool { return len(i.Data) > 400<<10 }), err
			}
		}), "items above the limits of stores"},
		{"returns more than the limit", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				if limit == 7 {
					limit++
				}
				return j.Journal.Read(bg, inst, from, limit)
			}
		}), "reads begin anywhere and stop at their limit"},
		{"takes any limit", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				return j.Journal.Read(bg, inst, from, min(max(limit, 1), pipeline.MaxReadItems))
			}
		}), "a read's position and limit are checked"},
		{"reads on from the first item that is left", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				for {
					items, err := j.Journal.Read(bg, inst, from, limit)
					if err == nil || from > 20 {
						return items, err
					}
					from++
				}
			}
		}), "trimmed items are gone, the rest and the head stay"},
		{"keeps one journal for all instruments", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, _ exchange.InstrumentID, item pipeline.Item) error {
				return j.Journal.Append(bg, 1, item)
			}
			j.read = func(j *brokenJournal, _ exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				return j.Journal.Read(bg, 1, from, limit)
			}
			j.head = func(j *brokenJournal, _ exchange.InstrumentID) (pipeline.Head, error) { return j.Journal.Head(bg, 1) }
		}), "instruments are apart"},
		{"keeps the caller's slice", breakJournal(func(j *brokenJournal) {
			j.append = func(j *brokenJournal, inst exchange.InstrumentID, item pipeline.Item) error {
				err := j.Journal.Append(bg, inst, item)
				if err == nil {
					j.memo[inst] = append(j.memo[inst], item)
				}
				return err
			}
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				items, err := j.Journal.Read(bg, inst, from, limit)
				for i := range items {
					items[i] = j.memo[inst][items[i].Position-1]
				}
				return items, err
			}
		}), "no slice is kept"},
		{"keeps the caller's snapshot", breakJournal(func(j *brokenJournal) {
			var data []byte
			j.save = func(j *brokenJournal, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
				data = snap.Data
				return j.Journal.SaveSnapshot(bg, inst, snap)
			}
			j.load = func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
				snap, err := j.Journal.LoadSnapshot(bg, inst)
				snap.Data = data
				return snap, err
			}
		}), "no slice is kept"},
		{"hands out its own slices", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				if j.memo[inst] == nil {
					j.memo[inst], _ = j.Journal.Read(bg, inst, 1, pipeline.MaxReadItems)
				}
				return j.memo[inst], nil
			}
		}), "what is returned belongs to the caller"},
		{"hands out slices of one page", breakJournal(func(j *brokenJournal) {
			var page []byte
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				items, err := j.Journal.Read(bg, inst, from, limit)
				if page == nil {
					for i := range items {
						page = append(page, items[i].Data...)
					}
				}
				at := 0
				for i := range items {
					items[i].Data = page[at : at+len(items[i].Data)]
					at += len(items[i].Data)
				}
				return items, err
			}
		}), "what is returned belongs to the caller"},
		{"lets an older snapshot overwrite", breakJournal(func(j *brokenJournal) {
			snaps := map[exchange.InstrumentID]pipeline.Snapshot{}
			j.save = func(j *brokenJournal, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
				j.mu.Lock()
				defer j.mu.Unlock()
				snaps[inst] = snap
				return nil
			}
			j.load = func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Snapshot, error) { return snaps[inst], nil }
		}), "the newest snapshot stays"},
		{"cuts snapshots at 400 KB", breakJournal(func(j *brokenJournal) {
			j.save = func(j *brokenJournal, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
				snap.Data = snap.Data[:min(len(snap.Data), 400<<10)]
				return j.Journal.SaveSnapshot(bg, inst, snap)
			}
		}), "a snapshot above the limits of stores"},
		{"forgets the snapshot's position", breakJournal(func(j *brokenJournal) {
			j.load = func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
				snap, err := j.Journal.LoadSnapshot(bg, inst)
				snap.Hash = pipeline.Hash{}
				return snap, err
			}
		}), "the newest snapshot stays"},
		{"lets the published mark go back", breakJournal(func(j *brokenJournal) {
			j.mark = func(j *brokenJournal, inst exchange.InstrumentID, pos pipeline.Position) error {
				j.mu.Lock()
				defer j.mu.Unlock()
				j.marks[inst] = pos
				return nil
			}
			j.marked = func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Position, error) {
				return j.marks[inst], nil
			}
		}), "the published mark never goes back"},
		{"trims what no snapshot covers", breakJournal(func(j *brokenJournal) {
			j.trim = func(j *brokenJournal, inst exchange.InstrumentID, pos pipeline.Position) error {
				if head, _ := j.Journal.Head(bg, inst); pos <= head.Position {
					_ = j.Journal.SaveSnapshot(bg, inst, pipeline.Snapshot{Head: pipeline.Head{Position: pos}})
				}
				return j.Journal.Trim(bg, inst, pos)
			}
		}), "what lies above the snapshot is not trimmed"},
		{"never trims", breakJournal(func(j *brokenJournal) {
			j.trim = func(*brokenJournal, exchange.InstrumentID, pipeline.Position) error { return nil }
		}), "trimmed items are gone, the rest and the head stay"},
		{"does not know an empty journal", breakJournal(func(j *brokenJournal) {
			j.head = func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Head, error) {
				head, err := j.Journal.Head(bg, inst)
				if head.Position == 0 {
					return head, pipeline.ErrNotFound
				}
				return head, err
			}
		}), "empty"},
		{"skips an item", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				items, err := j.Journal.Read(bg, inst, from, limit)
				if len(items) > 20 {
					items = slices.Delete(items, 9, 10)
				}
				return items, err
			}
		}), "a reader sees no gap while items are appended"},
		{"cannot read back what it has just refused", breakJournal(func(j *brokenJournal) {
			j.read = func(j *brokenJournal, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
				if limit == 1 {
					return nil, nil
				}
				return j.Journal.Read(bg, inst, from, limit)
			}
		}), "a Log over it commits, reads back and is fenced"},
		{"takes the head from what is left", breakJournal(func(j *brokenJournal) {
			j.trim = func(j *brokenJournal, inst exchange.InstrumentID, pos pipeline.Position) error {
				if head, _ := j.Journal.Head(bg, inst); pos == head.Position {
					j.removed = true
				}
				return j.Journal.Trim(bg, inst, pos)
			}
			j.head = func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Head, error) {
				if j.removed {
					return pipeline.Head{}, nil
				}
				return j.Journal.Head(bg, inst)
			}
		}), "a journal trimmed to its head goes on"},
	})
}

// A durable memory.Journal, as far as a test is concerned: it outlives its
// Reopen.
func reopened(how func(t testing.TB, j pipeline.Journal) pipeline.Journal) exchangetest.Durable[pipeline.Journal] {
	return exchangetest.Durable[pipeline.Journal]{Open: func(testing.TB) pipeline.Journal { return memory.NewJournal() }, Reopen: how}
}

func TestDurableJournals(t *testing.T) {
	exchangetest.TestDurableJournal(t, reopened(func(_ testing.TB, j pipeline.Journal) pipeline.Journal { return j }))
	mustFail(t, exchangetest.DurableJournalCases, []broken[exchangetest.Durable[pipeline.Journal]]{
		{"forgets everything", reopened(func(testing.TB, pipeline.Journal) pipeline.Journal { return memory.NewJournal() }), "a writer of before is fenced"},
		{"loses its last item", reopened(func(t testing.TB, j pipeline.Journal) pipeline.Journal {
			next := memory.NewJournal()
			for _, inst := range []exchange.InstrumentID{1, exchange.MaxID} {
				items, _ := j.Read(bg, inst, 1, pipeline.MaxReadItems)
				for i := range max(0, len(items)-1) {
					_ = next.Append(bg, inst, items[i])
				}
			}
			return next
		}), "a writer of before is fenced"},
		{"forgets its snapshot", reopened(func(t testing.TB, j pipeline.Journal) pipeline.Journal {
			return &brokenJournal{Journal: j, load: func(*brokenJournal, exchange.InstrumentID) (pipeline.Snapshot, error) {
				return pipeline.Snapshot{}, pipeline.ErrNotFound
			}}
		}), "items, snapshot and trim survive"},
		{"puts its published mark at the head", reopened(func(t testing.TB, j pipeline.Journal) pipeline.Journal {
			return &brokenJournal{Journal: j, marked: func(j *brokenJournal, inst exchange.InstrumentID) (pipeline.Position, error) {
				head, err := j.Journal.Head(bg, inst)
				return head.Position, err
			}}
		}), "items, snapshot and trim survive"},
	})
}
