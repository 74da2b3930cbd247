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

// brokenTrades is a memory.TradeStore with some methods replaced.
type brokenTrades struct {
	pipeline.TradeStore
	mu         sync.Mutex // for what a fake remembers
	record     func(c pipeline.Committed, r *pipeline.Record) error
	recorded   func(inst exchange.InstrumentID) (pipeline.Position, error)
	byCommand  func(id exchange.CommandID) (pipeline.OrderRecord, error)
	byID       func(inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error)
	byClientID func(acct exchange.AccountID, clientID string) (pipeline.OrderRecord, error)
	orders     func(q pipeline.OrderQuery) ([]pipeline.OrderRecord, error)
	trades     func(q pipeline.TradeQuery) ([]pipeline.Trade, error)
	fills      func(q pipeline.FillQuery) ([]pipeline.Trade, error)
	candles    func(q pipeline.CandleQuery) ([]pipeline.Candle, error)
}

func (s *brokenTrades) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if s.record != nil {
		return s.record(c, r)
	}
	return s.TradeStore.Record(ctx, c, r)
}

func (s *brokenTrades) Recorded(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	if s.recorded != nil {
		return s.recorded(inst)
	}
	return s.TradeStore.Recorded(ctx, inst)
}

func (s *brokenTrades) OrderByCommand(ctx context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	if s.byCommand != nil {
		return s.byCommand(id)
	}
	return s.TradeStore.OrderByCommand(ctx, id)
}

func (s *brokenTrades) OrderByID(ctx context.Context, inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
	if s.byID != nil {
		return s.byID(inst, id)
	}
	return s.TradeStore.OrderByID(ctx, inst, id)
}

func (s *brokenTrades) OrderByClientID(ctx context.Context, acct exchange.AccountID, clientID string) (pipeline.OrderRecord, error) {
	if s.byClientID != nil {
		return s.byClientID(acct, clientID)
	}
	return s.TradeStore.OrderByClientID(ctx, acct, clientID)
}

func (s *brokenTrades) Orders(ctx context.Context, q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
	if s.orders != nil {
		return s.orders(q)
	}
	return s.TradeStore.Orders(ctx, q)
}

func (s *brokenTrades) Trades(ctx context.Context, q pipeline.TradeQuery) ([]pipeline.Trade, error) {
	if s.trades != nil {
		return s.trades(q)
	}
	return s.TradeStore.Trades(ctx, q)
}

func (s *brokenTrades) Fills(ctx context.Context, q pipeline.FillQuery) ([]pipeline.Trade, error) {
	if s.fills != nil {
		return s.fills(q)
	}
	return s.TradeStore.Fills(ctx, q)
}

func (s *brokenTrades) Candles(ctx context.Context, q pipeline.CandleQuery) ([]pipeline.Candle, error) {
	if s.candles != nil {
		return s.candles(q)
	}
	return s.TradeStore.Candles(ctx, q)
}

func breakTrades(how func(s *brokenTrades)) exchangetest.Open[pipeline.TradeStore] {
	return func(testing.TB) pipeline.TradeStore {
		s := &brokenTrades{TradeStore: memory.NewTradeStore()}
		how(s)
		return s
	}
}

// changed is a trade store that records something else than it is given.
func changed(change func(s *brokenTrades, r *pipeline.Record)) exchangetest.Open[pipeline.TradeStore] {
	return breakTrades(func(s *brokenTrades) {
		s.record = func(c pipeline.Committed, r *pipeline.Record) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			mine := &pipeline.Record{Orders: slices.Clone(r.Orders), Trades: slices.Clone(r.Trades)}
			change(s, mine)
			return s.TradeStore.Record(bg, c, mine)
		}
	})
}

// countsAgain adds to its candles what an item has that comes again.
func countsAgain(s *brokenTrades) {
	var again exchange.Qty
	s.record = func(c pipeline.Committed, r *pipeline.Record) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if had, _ := s.TradeStore.Recorded(bg, c.Instrument()); c.Position() <= had {
			again++
		}
		return s.TradeStore.Record(bg, c, r)
	}
	s.candles = func(q pipeline.CandleQuery) ([]pipeline.Candle, error) {
		list, err := s.TradeStore.Candles(bg, q)
		for i := range list {
			list[i].Volume += again
		}
		return list, err
	}
}

func TestBrokenTradeStores(t *testing.T) {
	mustFail(t, exchangetest.TradeStoreCases, []broken[exchangetest.Open[pipeline.TradeStore]]{
		{"makes up an order", breakTrades(func(s *brokenTrades) {
			s.byCommand = func(exchange.CommandID) (pipeline.OrderRecord, error) { return pipeline.OrderRecord{}, nil }
		}), "empty"},
		{"forgets when an order expires", changed(func(_ *brokenTrades, r *pipeline.Record) {
			for i := range r.Orders {
				r.Orders[i].Expire = 0
			}
		}), "orders and trades come back as they were recorded"},
		{"reorders", breakTrades(func(s *brokenTrades) {
			s.trades = func(q pipeline.TradeQuery) ([]pipeline.Trade, error) {
				list, err := s.TradeStore.Trades(bg, q)
				slices.Reverse(list)
				return list, err
			}
		}), "orders and trades come back as they were recorded"},
		{"keeps an order as it came first", changed(func(s *brokenTrades, r *pipeline.Record) {
			r.Orders = slices.DeleteFunc(r.Orders, func(o pipeline.OrderRecord) bool {
				_, err := s.TradeStore.OrderByCommand(bg, o.CommandID)
				return err == nil
			})
		}), "an order is as the last item left it"},
		{"duplicates what comes again", breakTrades(countsAgain), "an item is recorded once"},
		{"takes back what came later", breakTrades(func(s *brokenTrades) {
			first := map[pipeline.Position]*pipeline.Record{}
			s.record = func(c pipeline.Committed, r *pipeline.Record) error {
				first[c.Position()] = r
				return s.TradeStore.Record(bg, c, r)
			}
			s.byCommand = func(id exchange.CommandID) (pipeline.OrderRecord, error) {
				for _, o := range first[1].Orders {
					if o.CommandID == id {
						return o, nil
					}
				}
				return s.TradeStore.OrderByCommand(bg, id)
			}
		}), "an item is recorded once"},
		{"says yes to what is not committed", breakTrades(func(s *brokenTrades) {
			s.record = func(c pipeline.Committed, r *pipeline.Record) error {
				if c.Check() != nil {
					return nil
				}
				return s.TradeStore.Record(bg, c, r)
			}
		}), "a gap and what is not committed are refused"},
		{"loses an item and goes on", func(t testing.TB) pipeline.TradeStore {
			s := &brokenTrades{TradeStore: memory.NewTradeStore()}
			s.record = func(c pipeline.Committed, r *pipeline.Record) error {
				if c.Check() == nil {
					for _, lost := range exchangetest.Commit(t, c.Instrument(), int(c.Position())-1) {
						_ = s.TradeStore.Record(bg, lost, &pipeline.Record{})
					}
				}
				return s.TradeStore.Record(bg, c, r)
			}
			return s
		}, "a gap and what is not committed are refused"},
		{"finds rejected orders under id 0", breakTrades(func(s *brokenTrades) {
			s.byID = func(inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
				if id == 0 {
					return pipeline.OrderRecord{}, nil
				}
				return s.TradeStore.OrderByID(bg, inst, id)
			}
		}), "orders that were rejected have no id"},
		{"keeps the first order of a client's id", breakTrades(func(s *brokenTrades) {
			first := map[exchange.AccountID]exchange.CommandID{}
			s.record = func(c pipeline.Committed, r *pipeline.Record) error {
				for _, o := range r.Orders {
					if _, ok := first[o.Account]; !ok {
						first[o.Account] = o.CommandID
					}
				}
				return s.TradeStore.Record(bg, c, r)
			}
			s.byClientID = func(acct exchange.AccountID, _ string) (pipeline.OrderRecord, error) {
				return s.TradeStore.OrderByCommand(bg, first[acct])
			}
		}), "a client's id is the account's, and the newest counts"},
		{"keeps one position for all instruments", breakTrades(func(s *brokenTrades) {
			s.recorded = func(exchange.InstrumentID) (pipeline.Position, error) { return s.TradeStore.Recorded(bg, 1) }
		}), "instruments are apart"},
		{"turns pages by time alone", breakTrades(func(s *brokenTrades) {
			s.orders = func(q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
				list, err := s.TradeStore.Orders(bg, q)
				return slices.DeleteFunc(list, func(o pipeline.OrderRecord) bool { return q.Before != nil && o.Created == q.Before.Created }), err
			}
		}), "orders of one time are told apart by their command"},
		{"counts a trade with itself twice", breakTrades(func(s *brokenTrades) {
			s.fills = func(q pipeline.FillQuery) ([]pipeline.Trade, error) {
				list, err := s.TradeStore.Fills(bg, q)
				if i := slices.IndexFunc(list, func(t pipeline.Trade) bool { return t.Taker.Account == t.Maker.Account }); i >= 0 {
					list = slices.Insert(list, i, list[i])
				}
				return list, err
			}
		}), "a trade with itself is one fill"},
		{"opens a candle where it closed", breakTrades(func(s *brokenTrades) {
			s.candles = func(q pipeline.CandleQuery) ([]pipeline.Candle, error) {
				list, err := s.TradeStore.Candles(bg, q)
				for i := range list {
					list[i].Open = list[i].Close
				}
				return list, err
			}
		}), "candles of a minute"},
		{"has candles of a minute alone", breakTrades(func(s *brokenTrades) {
			s.candles = func(q pipeline.CandleQuery) ([]pipeline.Candle, error) {
				q.Interval = exchange.Time(60 * 1e9)
				return s.TradeStore.Candles(bg, q)
			}
		}), "candles of longer intervals"},
		{"takes any limit", breakTrades(func(s *brokenTrades) {
			s.orders = func(q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
				q.Limit = min(max(q.Limit, 1), pipeline.MaxQueryRows)
				return s.TradeStore.Orders(bg, q)
			}
		}), "limits and intervals are checked"},
		{"drops what is beyond a thousand orders of an item", changed(func(_ *brokenTrades, r *pipeline.Record) {
			r.Orders = r.Orders[:min(len(r.Orders), 1000)]
		}), "a big item"},
		{"does not know since when", breakTrades(func(s *brokenTrades) {
			s.trades = func(q pipeline.TradeQuery) ([]pipeline.Trade, error) {
				q.Since = 0
				return s.TradeStore.Trades(bg, q)
			}
		}), "every query agrees with a plain model"},
		{"finds the taker's fills alone", breakTrades(func(s *brokenTrades) {
			s.fills = func(q pipeline.FillQuery) ([]pipeline.Trade, error) {
				list, err := s.TradeStore.Fills(bg, q)
				return slices.DeleteFunc(list, func(t pipeline.Trade) bool { return t.Taker.Account != q.Account }), err
			}
		}), "every query agrees with a plain model"},
		{"counts what each of many writers brings", breakTrades(countsAgain), "an item recorded at the same time counts once"},
		{"shows an item before it is whole", breakTrades(func(s *brokenTrades) {
			s.trades = func(q pipeline.TradeQuery) ([]pipeline.Trade, error) {
				list, err := s.TradeStore.Trades(bg, q)
				return list[min(1, len(list)):], err
			}
		}), "an item is seen whole or not at all"},
		{"keeps the caller's slice", breakTrades(func(s *brokenTrades) {
			var kept *pipeline.Record
			s.record = func(c pipeline.Committed, r *pipeline.Record) error {
				kept = r
				return s.TradeStore.Record(bg, c, r)
			}
			s.byCommand = func(exchange.CommandID) (pipeline.OrderRecord, error) { return kept.Orders[0], nil }
		}), "no slice is kept"},
		{"hands out its own slices", breakTrades(func(s *brokenTrades) {
			var own []pipeline.Candle
			s.candles = func(q pipeline.CandleQuery) (_ []pipeline.Candle, err error) {
				if own == nil {
					own, err = s.TradeStore.Candles(bg, q)
				}
				return own, err
			}
		}), "what is returned belongs to the caller"},
	})
}

func TestDurableTradeStores(t *testing.T) {
	durable := func(reopen func(t testing.TB, s pipeline.TradeStore) pipeline.TradeStore) exchangetest.Durable[pipeline.TradeStore] {
		return exchangetest.Durable[pipeline.TradeStore]{Open: func(testing.TB) pipeline.TradeStore { return memory.NewTradeStore() }, Reopen: reopen}
	}
	exchangetest.TestDurableTradeStore(t, durable(func(_ testing.TB, s pipeline.TradeStore) pipeline.TradeStore { return s }))
	mustFail(t, exchangetest.DurableTradeStoreCases, []broken[exchangetest.Durable[pipeline.TradeStore]]{
		{"forgets everything", durable(func(testing.TB, pipeline.TradeStore) pipeline.TradeStore { return memory.NewTradeStore() }), "everything recorded survives"},
		{"forgets which orders are live", durable(func(_ testing.TB, s pipeline.TradeStore) pipeline.TradeStore {
			b := &brokenTrades{TradeStore: s}
			b.orders = func(q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
				q.LiveOnly = false
				return s.Orders(bg, q)
			}
			return b
		}), "everything recorded survives"},
		{"duplicates what comes again after a restart", durable(func(_ testing.TB, s pipeline.TradeStore) pipeline.TradeStore {
			b := &brokenTrades{TradeStore: s}
			countsAgain(b)
			return b
		}), "everything recorded survives"},
	})
}
