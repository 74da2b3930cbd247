package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/reference"
	"github.com/castlecloud/exchange/pipeline"
)

// feed is a client that listens to an instrument's public channels and keeps
// a book, as the feed's rules say.
type feed struct {
	in     *exchange.Instrument
	book   uint64 // sequence of the book; 0: none yet
	levels map[exchange.Side]map[string]string
	trades map[exchange.TradeID]pipeline.FeedTrade
	seq    uint64 // of the trades
	gaps   int
}

func newFeed(in *exchange.Instrument) *feed {
	return &feed{in: in, levels: map[exchange.Side]map[string]string{exchange.Buy: {}, exchange.Sell: {}}, trades: map[exchange.TradeID]pipeline.FeedTrade{}}
}

func (f *feed) receive(w *world, m *pipeline.Push) error {
	switch m.Channel {
	case pipeline.ChannelBook:
		if m.Seq <= f.book {
			return nil
		}
		if m.PrevSeq != f.book {
			f.gaps++
			return fmt.Errorf("the book jumps from %d to one after %d", f.book, m.PrevSeq)
		}
		var msg pipeline.FeedBook
		if err := json.Unmarshal(m.Data, &msg); err != nil {
			return err
		}
		f.apply(exchange.Buy, msg.Bids)
		f.apply(exchange.Sell, msg.Asks)
		f.book = m.Seq
	case pipeline.ChannelTrades:
		if m.Seq <= f.seq {
			return nil
		}
		var msg pipeline.FeedTrades
		if err := json.Unmarshal(m.Data, &msg); err != nil {
			return err
		}
		for _, tr := range msg.Trades {
			if _, twice := f.trades[tr.ID]; twice {
				return fmt.Errorf("trade %d comes twice", tr.ID)
			}
			f.trades[tr.ID] = tr
		}
		f.seq = m.Seq
	}
	return nil
}

func (f *feed) apply(side exchange.Side, levels []pipeline.FeedLevel) {
	for _, l := range levels {
		if l.Size == "0" {
			delete(f.levels[side], l.Price)
		} else {
			f.levels[side][l.Price] = l.Size
		}
	}
}

// check looks at everything once nothing moves any more.
func (w *world) check(ctx context.Context) error {
	if w.broken != nil {
		return w.broken
	}
	if n := len(w.bus.items); n > 0 {
		return fmt.Errorf("not drained: %d requests", n)
	}
	for _, name := range consumerNames {
		if n := len(w.wire.notices[name]); n > 0 {
			return fmt.Errorf("not drained: %d notices of %s", n, name)
		}
	}
	if d, ok := w.queue.TryReceive(receiveLimit); ok {
		return fmt.Errorf("not drained: %d messages of instrument %d", len(d.Messages), d.Instrument)
	}
	c := &checker{w: w, effects: map[exchange.CommandID]int{}, funds: map[accountAsset]*funds{}, holds: map[exchange.CommandID]exchange.Order{}}
	for a, assets := range w.clients.deposits {
		for asset, n := range assets {
			c.of(a, asset).total = n
		}
	}
	for _, in := range w.insts {
		if err := c.instrument(ctx, in); err != nil {
			return fmt.Errorf("instrument %d: %w", in.ID(), err)
		}
	}
	return errors.Join(c.requests(), c.balances(ctx))
}

type accountAsset struct {
	account exchange.AccountID
	asset   exchange.AssetID
}

// funds is what an account must have of an asset: what it deposited and
// traded, and what of it its open orders hold.
type funds struct{ total, held exchange.Amount }

type checker struct {
	w       *world
	effects map[exchange.CommandID]int // entries in the journals
	funds   map[accountAsset]*funds
	holds   map[exchange.CommandID]exchange.Order // of live orders
}

func (c *checker) of(a exchange.AccountID, asset exchange.AssetID) *funds {
	f := c.funds[accountAsset{a, asset}]
	if f == nil {
		f = &funds{}
		c.funds[accountAsset{a, asset}] = f
	}
	return f
}

// history returns the whole journal of an instrument, what was trimmed
// included.
func (w *world) history(ctx context.Context, inst exchange.InstrumentID) ([]pipeline.Item, error) {
	items := slices.Clone(w.trimmed[inst])
	for {
		more, err := w.journal.Read(ctx, inst, pipeline.Position(len(items)+1), pipeline.MaxReadItems)
		if err != nil {
			return nil, err
		}
		if len(more) == 0 {
			return items, nil
		}
		items = append(items, more...)
	}
}

// instrument checks a journal and what was made of it.
func (c *checker) instrument(ctx context.Context, in *exchange.Instrument) error {
	items, err := c.w.history(ctx, in.ID())
	if err != nil {
		return err
	}
	c.w.report.Items += len(items)
	engine, err := exchange.NewEngine(exchange.Config{Funds: exchange.FundsHeld, Instruments: []*exchange.Instrument{in}, DedupCount: dedupCount, MaxOrders: maxOrders})
	if err != nil {
		return err
	}
	oracle := reference.New(reference.Config{Funds: reference.FundsHeld, Instruments: []*exchange.Instrument{in}, DedupCount: dedupCount, MaxOrders: maxOrders})
	var hash pipeline.Hash
	var seq uint64
	var trades []exchange.Event
	var got []exchange.Event
	for i := range items {
		if items[i].Position != pipeline.Position(i+1) {
			return fmt.Errorf("item %d says it is %d", i+1, items[i].Position)
		}
		if hash = pipeline.HashOf(hash, items[i].Data); hash != items[i].Hash {
			return fmt.Errorf("item %d: the hashes do not chain", i+1)
		}
		b, err := pipeline.DecodeBatch(items[i].Data)
		if err != nil {
			return err
		}
		for j := range b.Entries {
			e := &b.Entries[j]
			c.w.report.Commands++
			stale := len(e.Events) > 0 && e.Events[len(e.Events)-1].Reason == exchange.StaleCommand
			if !stale {
				c.effects[e.Command.ID]++
			}
			if got = engine.Apply(got[:0], &e.Command); !slices.Equal(got, e.Events) {
				return fmt.Errorf("item %d, command %d %s: the engine gives %+v, the journal has %+v", i+1, j, e.Command.Kind, got, e.Events)
			}
			if want := oracle.Apply(nil, &e.Command); !slices.Equal(want, e.Events) {
				return fmt.Errorf("item %d, command %d %s: the reference gives %+v, the journal has %+v", i+1, j, e.Command.Kind, want, e.Events)
			}
			for k := range e.Events {
				ev := &e.Events[k]
				if seq++; ev.Seq != seq {
					return fmt.Errorf("sequence %d follows %d", ev.Seq, seq-1)
				}
				if ev.Kind == exchange.EventTrade {
					trades = append(trades, *ev)
					c.trade(in, ev)
				}
			}
		}
	}
	c.w.report.Trades += len(trades)
	c.open(in, engine.Book(in.ID()))
	return errors.Join(c.replayed(ctx, in, engine), c.stored(ctx, in, trades), c.fed(in, engine.Book(in.ID()), trades), c.archived(ctx, in, items))
}

func (c *checker) trade(in *exchange.Instrument, ev *exchange.Event) {
	base, quote := in.Base().ID, in.Quote().ID
	sign := exchange.Amount(1)
	if ev.Side == exchange.Sell {
		sign = -1
	}
	n := in.BaseAmount(ev.Qty)
	c.of(ev.Account, base).total += sign * n
	c.of(ev.MakerAccount, base).total -= sign * n
	c.of(ev.Account, quote).total -= sign*ev.Amount + ev.Fee
	c.of(ev.MakerAccount, quote).total += sign*ev.Amount - ev.MakerFee
	c.of(0, quote).total += ev.Fee + ev.MakerFee
}

// open adds what the live orders hold.
func (c *checker) open(in *exchange.Instrument, book *exchange.Book) {
	var orders []exchange.Order
	orders = book.Orders(orders, exchange.Buy, 0)
	orders = book.Orders(orders, exchange.Sell, 0)
	orders = book.Pending(orders)
	for _, o := range orders {
		asset := in.Base().ID
		if o.Side == exchange.Buy {
			asset = in.Quote().ID
		}
		c.of(o.Account, asset).held += o.Held
		c.holds[o.CommandID] = o
	}
}

// replayed: what the pipeline loads is what the journal says, by hash.
func (c *checker) replayed(ctx context.Context, in *exchange.Instrument, engine *exchange.Engine) error {
	loaded, _, err := pipeline.LoadEngine(ctx, pipeline.NewLog(c.w.journal), c.w.books, in, exchange.Config{DedupCount: dedupCount, MaxOrders: maxOrders})
	if err != nil {
		return fmt.Errorf("loading: %w", err)
	}
	if loaded.Hash() != engine.Hash() {
		return errors.New("what is loaded has another hash than the journal replayed")
	}
	return nil
}

// stored: the trade store has each trade and each order once, as they are.
func (c *checker) stored(ctx context.Context, in *exchange.Instrument, trades []exchange.Event) error {
	var got []pipeline.Trade
	q := pipeline.TradeQuery{Instrument: in.ID(), Limit: pipeline.MaxQueryRows}
	for {
		page, err := c.w.trades.Trades(ctx, q)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		q.Before = page[len(page)-1].ID
	}
	slices.Reverse(got)
	if len(got) != len(trades) {
		return fmt.Errorf("the trade store has %d trades of %d", len(got), len(trades))
	}
	for i := range got {
		if g, ev := &got[i], &trades[i]; g.ID != ev.TradeID || g.Price != ev.Price || g.Qty != ev.Qty || g.Amount != ev.Amount || g.Side != ev.Side ||
			g.Taker != (pipeline.Party{CommandID: ev.ID, OrderID: ev.OrderID, Account: ev.Account, Fee: ev.Fee}) ||
			g.Maker != (pipeline.Party{CommandID: ev.MakerID, OrderID: ev.MakerOrderID, Account: ev.MakerAccount, Fee: ev.MakerFee}) {
			return fmt.Errorf("the trade store has %+v for %+v", *g, *ev)
		}
	}
	live := 0
	for a := exchange.AccountID(1); a <= accounts; a++ {
		orders, err := c.w.trades.Orders(ctx, pipeline.OrderQuery{Account: a, Instrument: in.ID(), LiveOnly: true, Limit: pipeline.MaxQueryRows})
		if err != nil {
			return err
		}
		for i := range orders {
			o, ok := c.holds[orders[i].CommandID]
			if !ok || o.LeavesQty != orders[i].LeavesQty || o.CumQty != orders[i].CumQty || o.OrderQty != orders[i].OrderQty || o.Price != orders[i].Price {
				return fmt.Errorf("the trade store has the live order %+v for %+v", orders[i], o)
			}
			live++
		}
	}
	for _, o := range c.holds {
		if o.Instrument == in.ID() {
			live--
		}
	}
	if live != 0 {
		return fmt.Errorf("the trade store has %+d live orders more than the book", live)
	}
	return nil
}

// fed: the feed's trades are the journal's, and its levels the book's.
func (c *checker) fed(in *exchange.Instrument, book *exchange.Book, trades []exchange.Event) error {
	f := c.w.wire.feeds[in.ID()]
	if len(f.trades) != len(trades) {
		return fmt.Errorf("the feed has %d trades of %d", len(f.trades), len(trades))
	}
	for i := range trades {
		ev := &trades[i]
		tr := f.trades[ev.TradeID]
		if tr.Price != in.PriceDecimal(ev.Price).String() || tr.Size != in.QtyDecimal(ev.Qty).String() || tr.Side != ev.Side.String() {
			return fmt.Errorf("the feed has %+v for %+v", tr, *ev)
		}
	}
	for _, side := range []exchange.Side{exchange.Buy, exchange.Sell} {
		levels := book.Levels(nil, side, 0)
		if len(levels) != len(f.levels[side]) {
			return fmt.Errorf("the feed has %d levels to %s, the book %d", len(f.levels[side]), side, len(levels))
		}
		for _, l := range levels {
			if got := f.levels[side][in.PriceDecimal(l.Price).String()]; got != in.QtyDecimal(l.Qty).String() {
				return fmt.Errorf("the feed has %q at a level to %s of %+v", got, side, l)
			}
		}
	}
	return nil
}

// archived: the archive's files hold the journal from the first item on, each
// item once, in whole ranges.
func (c *checker) archived(ctx context.Context, in *exchange.Instrument, items []pipeline.Item) error {
	got, err := pipeline.ReadArchive(ctx, c.w.archive, in, 1, len(items))
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	if want := len(items) / archiveEvery * archiveEvery; len(got) != want {
		return fmt.Errorf("the archive has %d items, expected %d", len(got), want)
	}
	for i := range got {
		if got[i].Head != items[i].Head || !slices.Equal(got[i].Data, items[i].Data) {
			return fmt.Errorf("item %d of the archive is another one than the journal's", i+1)
		}
	}
	return nil
}

// requests: each that could be understood has exactly one effect.
func (c *checker) requests() error {
	processor, err := c.w.newProcessor(c.w.balances, c.w.queue, c.w.trades, c.w.books)
	if err != nil {
		return err
	}
	expected := map[exchange.CommandID]bool{}
	for i := range c.w.clients.requests {
		req := c.w.clients.requests[i]
		m, err := processor.Prepare(&req)
		if err != nil {
			continue
		}
		ids := []exchange.CommandID{m.Command.ID}
		if m.Command.Instrument == 0 {
			ids = ids[:0]
			for _, q := range pipeline.SpanCommands(m.Command, c.w.insts) {
				ids = append(ids, q.DedupID)
			}
		}
		for _, id := range ids {
			expected[id] = true
			if n := c.effects[id]; n != 1 {
				return fmt.Errorf("request %s (%s %s) has %d effects", req.Key, req.Kind, req.Symbol, n)
			}
		}
	}
	for id, n := range c.effects {
		if n != 1 {
			return fmt.Errorf("command %x has %d effects", id[:4], n)
		}
	}
	return nil
}

// balances: each account has what it deposited and traded, and what is held is
// what its open orders hold.
func (c *checker) balances(ctx context.Context) error {
	venue := map[exchange.AssetID]exchange.Amount{}
	for _, in := range c.w.insts {
		fees, err := c.w.balances.Venue(ctx, in.ID())
		if err != nil {
			return err
		}
		for _, f := range fees {
			venue[f.Asset] += f.Available
		}
	}
	for asset, n := range venue {
		if want := c.of(0, asset).total; n != want {
			return fmt.Errorf("the venue has %d of asset %d, expected %d", n, asset, want)
		}
	}
	for a := exchange.AccountID(1); a <= accounts; a++ {
		account, err := c.w.balances.Account(ctx, a)
		if err != nil {
			return err
		}
		for _, b := range account.Balances {
			want := c.of(a, b.Asset)
			if b.Available < 0 || b.Held < 0 {
				return fmt.Errorf("account %d has %+v", a, b)
			}
			if b.Held != want.held || b.Available+b.Held != want.total {
				return fmt.Errorf("account %d has %d available and %d held of asset %d, expected %d and %d",
					a, b.Available, b.Held, b.Asset, want.total-want.held, want.held)
			}
		}
	}
	open := map[exchange.AccountID]int64{}
	for id, o := range c.holds {
		h, err := c.w.balances.HoldByID(ctx, o.Account, id)
		if err != nil {
			return fmt.Errorf("the hold of order %d of instrument %d: %w", o.ID, o.Instrument, err)
		}
		if h.State != pipeline.HoldOpen || h.Remaining != o.Held {
			return fmt.Errorf("the hold of order %d of instrument %d is %+v, the engine has %d", o.ID, o.Instrument, h, o.Held)
		}
		open[o.Account]++
	}
	for a := exchange.AccountID(1); a <= accounts; a++ {
		account, err := c.w.balances.Account(ctx, a)
		if err != nil {
			return err
		}
		if account.OpenOrders != open[a] {
			return fmt.Errorf("account %d has %d open orders, the books %d", a, account.OpenOrders, open[a])
		}
	}
	placed, err := c.w.balances.Placed(ctx, c.w.now+1, nil, 10)
	if err != nil {
		return err
	}
	if len(placed) > 0 {
		return fmt.Errorf("%d holds were never heard of again, the first: %+v", len(placed), placed[0])
	}
	return nil
}
