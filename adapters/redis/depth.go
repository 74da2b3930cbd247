package redis

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/rows"
	"github.com/castlecloud/exchange/pipeline"
)

// saveDepth takes the name of the sequence's field, the sequence and the data.
var saveDepth = rueidis.NewLuaScriptRetryable(isNewer + `
redis.call('HSET', KEYS[1], 'v', '` + version + `', 'seq', ARGV[2], 'data', ARGV[3])
return {'saved'}
`)

// SaveDepth implements pipeline.BookStore. ErrTooLarge also when it takes more
// than MaxDepthBytes; ErrFormat when the key holds something else.
func (s *BookStore) SaveDepth(ctx context.Context, c pipeline.Committed, d *pipeline.Depth) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("saving a depth: %w", err)
	}
	if err := s.saveDepth(ctx, c, d); err != nil {
		return fmt.Errorf("saving the depth of instrument %d: %w", c.Instrument(), err)
	}
	return nil
}

func (s *BookStore) saveDepth(ctx context.Context, c pipeline.Committed, d *pipeline.Depth) error {
	if d.Instrument != c.Instrument() {
		return fmt.Errorf("%w: it is of instrument %d", pipeline.ErrInvalid, d.Instrument)
	}
	if n := max(len(d.Bids), len(d.Asks)); n > pipeline.MaxDepthLevels {
		return fmt.Errorf("%w: %d levels, expected at most %d a side", pipeline.ErrTooLarge, n, pipeline.MaxDepthLevels)
	}
	data := appendDepth(nil, d)
	if len(data) > MaxDepthBytes {
		return fmt.Errorf("%w: %d bytes, expected at most %d", pipeline.ErrTooLarge, len(data), MaxDepthBytes)
	}
	_, err := s.exec(ctx, saveDepth, []string{s.key(d.Instrument, "depth")}, []string{"seq", digits(d.Seq), string(data)})
	return err // what it said is the same to the caller: a newer one stays
}

// Depth implements pipeline.BookStore. ErrFormat when the key holds something
// else.
func (s *BookStore) Depth(ctx context.Context, inst exchange.InstrumentID) (*pipeline.Depth, error) {
	d, err := s.depth(ctx, inst)
	if err != nil {
		return nil, fmt.Errorf("depth of instrument %d: %w", inst, err)
	}
	return d, nil
}

func (s *BookStore) depth(ctx context.Context, inst exchange.InstrumentID) (*pipeline.Depth, error) {
	f, err := s.fields(ctx, s.key(inst, "depth"))
	if err != nil {
		return nil, err
	}
	seq, err := fromDigits(f["seq"])
	if err != nil {
		return nil, err
	}
	d, err := decodeDepth([]byte(f["data"]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if d.Seq != seq || d.Instrument != inst {
		return nil, fmt.Errorf("%w: depth %d of instrument %d under the number %d", ErrFormat, d.Seq, d.Instrument, seq)
	}
	return d, nil
}

func appendDepth(b []byte, d *pipeline.Depth) []byte {
	b = rows.Uint(b, d.Instrument)
	b = rows.Uint(b, d.Seq)
	b = rows.Int(b, d.Time)
	b = rows.Int(b, d.LastPrice)
	for _, levels := range [...][]exchange.Level{d.Bids, d.Asks} {
		b = rows.Uint(b, uint64(len(levels)))
		for i := range levels {
			b = rows.Int(b, levels[i].Price)
			b = rows.Int(b, levels[i].Qty)
			b = rows.Int(b, int64(levels[i].Orders))
		}
	}
	for _, orders := range [...][]pipeline.BookOrder{d.BidOrders, d.AskOrders} {
		b = rows.Uint(b, uint64(len(orders)))
		for i := range orders {
			b = rows.Uint(b, orders[i].ID)
			b = rows.Int(b, orders[i].Price)
			b = rows.Int(b, orders[i].Qty)
		}
	}
	return b
}

// decodeDepth reads what appendDepth has written. It makes no more room than
// data can fill.
func decodeDepth(data []byte) (*pipeline.Depth, error) {
	const least = 3 // bytes of a level, and of an order
	r := rows.Read(data)
	d := &pipeline.Depth{Instrument: exchange.InstrumentID(r.Uint32()), Seq: r.Uint64(), Time: exchange.Time(r.Int()), LastPrice: exchange.Price(r.Int())}
	for _, side := range [...]*[]exchange.Level{&d.Bids, &d.Asks} {
		if n := r.Uint(uint64(min(pipeline.MaxDepthLevels, len(data)/least))); n > 0 {
			*side = make([]exchange.Level, n)
		}
		for i := range *side {
			(*side)[i] = exchange.Level{Price: exchange.Price(r.Int()), Qty: exchange.Qty(r.Int()), Orders: int(r.Int())}
		}
	}
	for _, side := range [...]*[]pipeline.BookOrder{&d.BidOrders, &d.AskOrders} {
		if n := r.Uint(uint64(len(data) / least)); n > 0 {
			*side = make([]pipeline.BookOrder, n)
		}
		for i := range *side {
			(*side)[i] = pipeline.BookOrder{ID: exchange.OrderID(r.Uint64()), Price: exchange.Price(r.Int()), Qty: exchange.Qty(r.Int())}
		}
	}
	return d, r.End()
}
