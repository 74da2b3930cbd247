package simulator

import (
	"context"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// The ports of one process: those of the world, with faults at every call.

type journal struct {
	w *world
	p *process
}

// result runs a call that returns a value.
func result[T any](w *world, p *process, op string, fn func() (T, error)) (v T, err error) {
	err = w.call(p, op, false, func() error {
		v, err = fn()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

func (x *journal) Append(ctx context.Context, inst exchange.InstrumentID, item pipeline.Item) error {
	return x.w.call(x.p, "Journal.Append", true, func() error { return x.w.planted.append(ctx, x.w, inst, item) })
}

func (x *journal) Read(ctx context.Context, inst exchange.InstrumentID, from pipeline.Position, limit int) ([]pipeline.Item, error) {
	return result(x.w, x.p, "Journal.Read", func() ([]pipeline.Item, error) { return x.w.planted.read(ctx, x.w, inst, from, limit) })
}

func (x *journal) Head(ctx context.Context, inst exchange.InstrumentID) (pipeline.Head, error) {
	return result(x.w, x.p, "Journal.Head", func() (pipeline.Head, error) { return x.w.journal.Head(ctx, inst) })
}

func (x *journal) SaveSnapshot(ctx context.Context, inst exchange.InstrumentID, snap pipeline.Snapshot) error {
	return x.w.call(x.p, "Journal.SaveSnapshot", true, func() error { return x.w.journal.SaveSnapshot(ctx, inst, snap) })
}

func (x *journal) LoadSnapshot(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	return result(x.w, x.p, "Journal.LoadSnapshot", func() (pipeline.Snapshot, error) { return x.w.journal.LoadSnapshot(ctx, inst) })
}

func (x *journal) MarkPublished(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	return x.w.call(x.p, "Journal.MarkPublished", true, func() error { return x.w.journal.MarkPublished(ctx, inst, pos) })
}

func (x *journal) Published(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	return result(x.w, x.p, "Journal.Published", func() (pipeline.Position, error) { return x.w.journal.Published(ctx, inst) })
}

func (x *journal) Trim(ctx context.Context, inst exchange.InstrumentID, pos pipeline.Position) error {
	return x.w.call(x.p, "Journal.Trim", true, func() error { return x.w.trim(ctx, inst, pos) })
}

type books struct {
	w *world
	p *process
}

func (x *books) SaveBook(ctx context.Context, c pipeline.Committed, data []byte) error {
	return x.w.call(x.p, "BookStore.SaveBook", true, func() error {
		x.w.wire.saved(c, data)
		return x.w.books.SaveBook(ctx, c, data)
	})
}

func (x *books) LoadBook(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	return result(x.w, x.p, "BookStore.LoadBook", func() (pipeline.Snapshot, error) { return x.w.books.LoadBook(ctx, inst) })
}

func (x *books) SaveDepth(ctx context.Context, c pipeline.Committed, d *pipeline.Depth) error {
	return x.w.call(x.p, "BookStore.SaveDepth", true, func() error { return x.w.books.SaveDepth(ctx, c, d) })
}

func (x *books) Depth(ctx context.Context, inst exchange.InstrumentID) (*pipeline.Depth, error) {
	return result(x.w, x.p, "BookStore.Depth", func() (*pipeline.Depth, error) { return x.w.books.Depth(ctx, inst) })
}

type balances struct {
	w *world
	p *process
}

func (x *balances) Deposit(ctx context.Context, t pipeline.Transfer) error {
	return x.w.call(x.p, "Balances.Deposit", true, func() error { return x.w.balances.Deposit(ctx, t) })
}

func (x *balances) Withdraw(ctx context.Context, t pipeline.Transfer) error {
	return x.w.call(x.p, "Balances.Withdraw", true, func() error { return x.w.balances.Withdraw(ctx, t) })
}

func (x *balances) Hold(ctx context.Context, h pipeline.Hold) error {
	return x.w.call(x.p, "Balances.Hold", true, func() error { return x.w.balances.Hold(ctx, h) })
}

func (x *balances) HoldByID(ctx context.Context, acct exchange.AccountID, id exchange.CommandID) (pipeline.HoldRecord, error) {
	return result(x.w, x.p, "Balances.HoldByID", func() (pipeline.HoldRecord, error) { return x.w.balances.HoldByID(ctx, acct, id) })
}

func (x *balances) Placed(ctx context.Context, before exchange.Time, after *pipeline.HoldRecord, limit int) ([]pipeline.HoldRecord, error) {
	return result(x.w, x.p, "Balances.Placed", func() ([]pipeline.HoldRecord, error) { return x.w.balances.Placed(ctx, before, after, limit) })
}

func (x *balances) Settle(ctx context.Context, c pipeline.Committed, s *pipeline.Settlement) error {
	return x.w.call(x.p, "Balances.Settle", true, func() error { return x.w.planted.settle(ctx, x.w, c, s) })
}

func (x *balances) Settled(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	return result(x.w, x.p, "Balances.Settled", func() (pipeline.Position, error) { return x.w.planted.settled(ctx, x.w, inst) })
}

func (x *balances) Account(ctx context.Context, id exchange.AccountID) (pipeline.Account, error) {
	return result(x.w, x.p, "Balances.Account", func() (pipeline.Account, error) { return x.w.balances.Account(ctx, id) })
}

func (x *balances) Venue(ctx context.Context, inst exchange.InstrumentID) ([]pipeline.AssetBalance, error) {
	return result(x.w, x.p, "Balances.Venue", func() ([]pipeline.AssetBalance, error) { return x.w.balances.Venue(ctx, inst) })
}

func (x *balances) SetLimits(ctx context.Context, id exchange.AccountID, limits pipeline.AccountLimits) error {
	return x.w.call(x.p, "Balances.SetLimits", true, func() error { return x.w.balances.SetLimits(ctx, id, limits) })
}

func (x *balances) Span(ctx context.Context, cmd exchange.Command) error {
	return x.w.call(x.p, "Balances.Span", true, func() error { return x.w.balances.Span(ctx, cmd) })
}

func (x *balances) Spanning(ctx context.Context, limit int) ([]exchange.Command, error) {
	return result(x.w, x.p, "Balances.Spanning", func() ([]exchange.Command, error) { return x.w.balances.Spanning(ctx, limit) })
}

func (x *balances) Forget(ctx context.Context, id exchange.CommandID) error {
	return x.w.call(x.p, "Balances.Forget", true, func() error { return x.w.balances.Forget(ctx, id) })
}

type tradeStore struct {
	w *world
	p *process
}

func (x *tradeStore) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	return x.w.call(x.p, "TradeStore.Record", true, func() error { return x.w.planted.record(ctx, x.w, x.p, c, r) })
}

func (x *tradeStore) Recorded(ctx context.Context, inst exchange.InstrumentID) (pipeline.Position, error) {
	return result(x.w, x.p, "TradeStore.Recorded", func() (pipeline.Position, error) { return x.w.trades.Recorded(ctx, inst) })
}

func (x *tradeStore) OrderByCommand(ctx context.Context, id exchange.CommandID) (pipeline.OrderRecord, error) {
	return result(x.w, x.p, "TradeStore.OrderByCommand", func() (pipeline.OrderRecord, error) { return x.w.trades.OrderByCommand(ctx, id) })
}

func (x *tradeStore) OrderByID(ctx context.Context, inst exchange.InstrumentID, id exchange.OrderID) (pipeline.OrderRecord, error) {
	return result(x.w, x.p, "TradeStore.OrderByID", func() (pipeline.OrderRecord, error) { return x.w.trades.OrderByID(ctx, inst, id) })
}

func (x *tradeStore) OrderByClientID(ctx context.Context, acct exchange.AccountID, clientID string) (pipeline.OrderRecord, error) {
	return result(x.w, x.p, "TradeStore.OrderByClientID", func() (pipeline.OrderRecord, error) { return x.w.trades.OrderByClientID(ctx, acct, clientID) })
}

func (x *tradeStore) Orders(ctx context.Context, q pipeline.OrderQuery) ([]pipeline.OrderRecord, error) {
	return result(x.w, x.p, "TradeStore.Orders", func() ([]pipeline.OrderRecord, error) { return x.w.trades.Orders(ctx, q) })
}

func (x *tradeStore) Trades(ctx context.Context, q pipeline.TradeQuery) ([]pipeline.Trade, error) {
	return result(x.w, x.p, "TradeStore.Trades", func() ([]pipeline.Trade, error) { return x.w.trades.Trades(ctx, q) })
}

func (x *tradeStore) Fills(ctx context.Context, q pipeline.FillQuery) ([]pipeline.Trade, error) {
	return result(x.w, x.p, "TradeStore.Fills", func() ([]pipeline.Trade, error) { return x.w.trades.Fills(ctx, q) })
}

func (x *tradeStore) Candles(ctx context.Context, q pipeline.CandleQuery) ([]pipeline.Candle, error) {
	return result(x.w, x.p, "TradeStore.Candles", func() ([]pipeline.Candle, error) { return x.w.trades.Candles(ctx, q) })
}

type archive struct {
	w *world
	p *process
}

func (x *archive) Put(ctx context.Context, name string, data []byte) error {
	return x.w.call(x.p, "Archive.Put", true, func() error { return x.w.archive.Put(ctx, name, data) })
}

func (x *archive) Get(ctx context.Context, name string) ([]byte, error) {
	return result(x.w, x.p, "Archive.Get", func() ([]byte, error) { return x.w.archive.Get(ctx, name) })
}

func (x *archive) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return result(x.w, x.p, "Archive.List", func() ([]string, error) { return x.w.archive.List(ctx, prefix, after, limit) })
}
