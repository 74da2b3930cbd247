package exchangetest_test

import (
	"context"
	"sync"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

// brokenBookStore is a memory.BookStore with some methods replaced.
type brokenBookStore struct {
	*memory.BookStore
	saveBook  func(c pipeline.Committed, data []byte) error
	loadBook  func(inst exchange.InstrumentID) (pipeline.Snapshot, error)
	saveDepth func(c pipeline.Committed, d *pipeline.Depth) error
	depth     func(inst exchange.InstrumentID) (*pipeline.Depth, error)
}

func (s *brokenBookStore) SaveBook(ctx context.Context, c pipeline.Committed, data []byte) error {
	if s.saveBook != nil {
		return s.saveBook(c, data)
	}
	return s.BookStore.SaveBook(ctx, c, data)
}

func (s *brokenBookStore) LoadBook(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	if s.loadBook != nil {
		return s.loadBook(inst)
	}
	return s.BookStore.LoadBook(ctx, inst)
}

func (s *brokenBookStore) SaveDepth(ctx context.Context, c pipeline.Committed, d *pipeline.Depth) error {
	if s.saveDepth != nil {
		return s.saveDepth(c, d)
	}
	return s.BookStore.SaveDepth(ctx, c, d)
}

func (s *brokenBookStore) Depth(ctx context.Context, inst exchange.InstrumentID) (*pipeline.Depth, error) {
	if s.depth != nil {
		return s.depth(inst)
	}
	return s.BookStore.Depth(ctx, inst)
}

func breakBookStore(how func(s *brokenBookStore)) exchangetest.Open[pipeline.BookStore] {
	return func(testing.TB) pipeline.BookStore {
		s := &brokenBookStore{BookStore: memory.NewBookStore()}
		how(s)
		return s
	}
}

// carelessBooks keeps the book it was given last, whatever it is.
func carelessBooks(s *brokenBookStore) {
	var mu sync.Mutex
	books := map[exchange.InstrumentID]pipeline.Snapshot{}
	s.saveBook = func(c pipeline.Committed, data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		books[c.Instrument()] = pipeline.Snapshot{Head: c.Head(), Data: data}
		return nil
	}
	s.loadBook = func(inst exchange.InstrumentID) (pipeline.Snapshot, error) {
		mu.Lock()
		defer mu.Unlock()
		snap, ok := books[inst]
		if !ok {
			return snap, pipeline.ErrNotFound
		}
		return snap, nil
	}
}

// carelessDepths keeps the depth it was given last, and hands it out.
func carelessDepths(s *brokenBookStore) {
	depths := map[exchange.InstrumentID]*pipeline.Depth{}
	s.saveDepth = func(_ pipeline.Committed, d *pipeline.Depth) error {
		depths[d.Instrument] = d
		return nil
	}
	s.depth = func(inst exchange.InstrumentID) (*pipeline.Depth, error) { return depths[inst], nil }
}

func TestBrokenBookStores(t *testing.T) {
	mustFail(t, exchangetest.BookStoreCases, []broken[exchangetest.Open[pipeline.BookStore]]{
		{"makes up a book", breakBookStore(func(s *brokenBookStore) {
			s.loadBook = func(inst exchange.InstrumentID) (pipeline.Snapshot, error) {
				snap, _ := s.BookStore.LoadBook(bg, inst)
				return snap, nil
			}
		}), "empty"},
		{"lets an older book overwrite", breakBookStore(carelessBooks), "the newest book stays"},
		{"keeps the caller's slice", breakBookStore(carelessBooks), "no slice is kept"},
		{"cuts books at 400 KB", breakBookStore(func(s *brokenBookStore) {
			s.saveBook = func(c pipeline.Committed, data []byte) error {
				return s.BookStore.SaveBook(bg, c, data[:min(len(data), 400<<10)])
			}
		}), "a book above the limits of stores, and one beyond the bound"},
		{"says yes to what is not committed", breakBookStore(func(s *brokenBookStore) {
			s.saveDepth = func(c pipeline.Committed, d *pipeline.Depth) error {
				if c.Check() != nil {
					return nil
				}
				return s.BookStore.SaveDepth(bg, c, d)
			}
		}), "what is not committed is refused"},
		{"forgets single orders", breakBookStore(func(s *brokenBookStore) {
			s.depth = func(inst exchange.InstrumentID) (*pipeline.Depth, error) {
				d, err := s.BookStore.Depth(bg, inst)
				if d != nil {
					d.AskOrders = nil
				}
				return d, err
			}
		}), "a depth comes back as it was saved"},
		{"lets an older depth overwrite", breakBookStore(carelessDepths), "the newest depth stays"},
		{"hands out its own depth", breakBookStore(carelessDepths), "what is returned belongs to the caller"},
		{"takes a depth of any instrument", breakBookStore(func(s *brokenBookStore) {
			s.saveDepth = func(c pipeline.Committed, d *pipeline.Depth) error {
				mine := *d
				mine.Instrument = c.Instrument()
				return s.BookStore.SaveDepth(bg, c, &mine)
			}
		}), "a depth's instrument and levels are checked"},
		{"cuts a depth to its bound", breakBookStore(func(s *brokenBookStore) {
			s.saveDepth = func(c pipeline.Committed, d *pipeline.Depth) error {
				mine := *d
				mine.Bids, mine.Asks = mine.Bids[:min(len(mine.Bids), pipeline.MaxDepthLevels)], mine.Asks[:min(len(mine.Asks), pipeline.MaxDepthLevels)]
				return s.BookStore.SaveDepth(bg, c, &mine)
			}
		}), "a depth's instrument and levels are checked"},
		{"keeps one book for all instruments", breakBookStore(func(s *brokenBookStore) {
			s.loadBook = func(exchange.InstrumentID) (pipeline.Snapshot, error) { return s.BookStore.LoadBook(bg, 1) }
		}), "instruments are apart"},
		{"compares positions before it takes the lock", breakBookStore(func(s *brokenBookStore) {
			carelessBooks(s)
			save, newest := s.saveBook, make(chan struct{})
			s.saveBook = func(c pipeline.Committed, data []byte) error {
				switch c.Position() {
				case 24:
					defer close(newest)
					return save(c, data)
				case 3: // found that it was the newest, and was slow then
					<-newest
					return save(c, data)
				}
				return nil
			}
		}), "a book saved at the same time as newer ones never wins"},
	})
}
