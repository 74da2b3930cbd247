package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/s3"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

// found is what a look at the venue gave.
type found struct {
	items, commands, orders, trades int
	violations                      []string
}

func (f *found) violation(format string, args ...any) {
	if len(f.violations) < 50 {
		f.violations = append(f.violations, fmt.Sprintf(format, args...))
	}
}

// mirror is the whole journal of every instrument, in this process: what was
// trimmed comes from the archive.
type mirror struct {
	from    *pipeline.Log
	archive pipeline.Archive
	journal *memory.Journal
	log     *pipeline.Log
	next    map[exchange.InstrumentID]pipeline.Position
}

func newMirror(t *testing.T, c *Cloud) *mirror {
	j, err := dynamodb.NewJournal(ddb.NewFromConfig(sdk(c.parts.dynamoURL)), dynamodb.JournalConfig{Table: journalTable})
	require.NoError(t, err)
	archive, err := s3.NewArchive(awss3.NewFromConfig(sdk(c.parts.s3), func(o *awss3.Options) { o.UsePathStyle = true }), s3.Config{Bucket: archiveBucket})
	require.NoError(t, err)
	copied := memory.NewJournal()
	return &mirror{pipeline.NewLog(j), archive, copied, pipeline.NewLog(copied), map[exchange.InstrumentID]pipeline.Position{}}
}

// refresh reads what an instrument's journal has by now.
func (m *mirror) refresh(ctx context.Context, in *exchange.Instrument) error {
	for {
		next := m.next[in.ID()] + 1
		var raw []pipeline.Item
		items, err := m.from.Read(ctx, in.ID(), next, pipeline.MaxReadItems)
		for _, item := range items {
			raw = append(raw, pipeline.Item{Head: item.Head(), Data: item.Data()})
		}
		if errors.Is(err, pipeline.ErrTrimmed) {
			raw, err = pipeline.ReadArchive(ctx, m.archive, in, next, pipeline.MaxReadItems)
		}
		if err != nil || len(raw) == 0 {
			return err
		}
		for i := range raw {
			if err := m.journal.Append(ctx, in.ID(), raw[i]); err != nil {
				return err
			}
			m.next[in.ID()] = raw[i].Position
		}
	}
}

// stores are the venue's own, looked at from outside.
type stores struct {
	journal  *mirror
	balances *dynamodb.Balances
	trades   *aurora.Store
}

// inspect waits until everything accepted has come to an end, and compares what
// the stores and the pages have with what the journal says they must: package
// memory, given the journal, is the measure.
func inspect(t *testing.T, c *Cloud, tr *traffic, patience time.Duration) *found {
	t.Helper()
	waiting, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx := t.Context()
	client := ddb.NewFromConfig(sdk(c.parts.dynamoURL))
	s := &stores{journal: newMirror(t, c)}
	var err error
	s.balances, err = dynamodb.NewBalances(client, dynamodb.BalancesConfig{Table: balancesTable})
	require.NoError(t, err)
	s.trades, err = aurora.Open(ctx, aurora.Config{URL: c.parts.postgres.URL()})
	require.NoError(t, err)
	defer s.trades.Close()

	out := &found{}
	lost := awaitCommands(waiting, s.journal, tr)
	for id, what := range lost {
		out.violation("accepted and lost: %s, command %x", what, id)
	}
	heads := map[exchange.InstrumentID]pipeline.Position{}
	for _, in := range tr.instruments {
		require.NoError(t, s.journal.refresh(ctx, in))
		heads[in.ID()] = s.journal.next[in.ID()]
	}
	awaitConsumers(waiting, s, heads, out)
	// Nobody sends anything any more but the sweeper, which moves no money.
	log := s.journal.log
	clear(tr.seen)
	for _, in := range tr.instruments {
		lookAtNumbers(ctx, t, log, in, out, tr)
	}
	compareBalances(ctx, t, c, s, log, tr.instruments, out)
	compareTrades(ctx, t, s, log, tr, out)
	compareBooks(waiting, t, s.journal, tr, out)
	compareReplay(ctx, log, tr.instruments, out)
	return out
}

// awaitCommands waits until the journal has every command that was accepted,
// and returns those it never got.
func awaitCommands(ctx context.Context, j *mirror, tr *traffic) map[exchange.CommandID]string {
	tr.mu.Lock()
	missing := maps.Clone(tr.accepted)
	tr.mu.Unlock()
	next := map[exchange.InstrumentID]pipeline.Position{}
	for len(missing) > 0 && ctx.Err() == nil {
		for _, in := range tr.instruments {
			if j.refresh(ctx, in) != nil {
				break
			}
			items, _ := j.log.Read(ctx, in.ID(), next[in.ID()]+1, pipeline.MaxReadItems)
			for _, item := range items {
				for i := range item.Batch().Entries {
					delete(missing, item.Batch().Entries[i].Command.ID)
				}
				next[in.ID()] = item.Position()
			}
		}
		if len(missing) > 0 {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	return missing
}

func awaitConsumers(ctx context.Context, s *stores, heads map[exchange.InstrumentID]pipeline.Position, out *found) {
	for inst, head := range heads {
		for name, at := range map[string]func(context.Context, exchange.InstrumentID) (pipeline.Position, error){"recorder": s.trades.Recorded, "settler": s.balances.Settled} {
			for {
				pos, err := at(ctx, inst)
				if err == nil && pos >= head {
					break
				}
				if ctx.Err() != nil {
					out.violation("the %s of instrument %d stands at %d (%v), and the journal is at %d", name, inst, pos, err, head)
					return
				}
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
	}
}

// lookAtNumbers looks at an instrument's commands and sequence, and counts.
func lookAtNumbers(ctx context.Context, t *testing.T, log *pipeline.Log, in *exchange.Instrument, out *found, tr *traffic) {
	seq := uint64(0)
	eachItem(ctx, t, log, in, func(item pipeline.Committed) {
		out.items++
		for i := range item.Batch().Entries {
			e := &item.Batch().Entries[i]
			out.commands++
			if e.Command.ID != (exchange.CommandID{}) && tr.seen[e.Command.ID] {
				out.violation("%s: command %x is in the journal twice", in.Symbol(), e.Command.ID)
			}
			tr.seen[e.Command.ID] = true
			for k := range e.Events {
				ev := &e.Events[k]
				if ev.Instrument != in.ID() || ev.Seq == 0 {
					continue
				}
				if ev.Seq != seq+1 {
					out.violation("%s: event %d follows %d", in.Symbol(), ev.Seq, seq)
				}
				seq = ev.Seq
				switch ev.Kind {
				case exchange.EventAccepted:
					out.orders++
				case exchange.EventTrade:
					out.trades++
				}
			}
		}
	})
}

// compareBalances settles the journal on empty balances of package memory, and
// compares every account with what the venue has.
func compareBalances(ctx context.Context, t *testing.T, c *Cloud, s *stores, log *pipeline.Log, instruments []*exchange.Instrument, out *found) {
	want := memory.NewBalances(memory.BalancesConfig{})
	assets := pipeline.AssetsOf(instruments)
	total := map[exchange.AssetID]exchange.Amount{}
	for acct := range exchange.AccountID(c.cfg.DemoAccounts) {
		for _, a := range assets {
			units := int64(demoFunds)
			if a.Code == "USD" {
				units = demoUSD
			}
			n, err := a.Amount(decimal.NewFromInt(units))
			require.NoError(t, err)
			total[a.ID] += n
			require.NoError(t, want.Deposit(ctx, pipeline.Transfer{ID: pipeline.CommandIDOf(acct+1, 0, exchange.KindDeposit, a.Code), Account: acct + 1, Asset: a.ID, Amount: n, Time: 1}))
		}
	}
	for _, in := range instruments {
		eachItem(ctx, t, log, in, func(item pipeline.Committed) {
			for i := range item.Batch().Entries {
				cmd := &item.Batch().Entries[i].Command
				if cmd.Held == 0 || cmd.Kind != exchange.KindNewOrder {
					continue
				}
				asset := in.Base().ID
				if cmd.Side == exchange.Buy {
					asset = in.Quote().ID
				}
				if err := want.Hold(ctx, pipeline.Hold{ID: cmd.ID, Account: cmd.Account, Instrument: in.ID(), Asset: asset, Amount: cmd.Held, Time: cmd.Time, NewOrder: true}); err != nil {
					out.violation("%s: hold of command %x: %v", in.Symbol(), cmd.ID, err)
				}
			}
			if err := want.Settle(ctx, item, pipeline.Settle(in, item.Batch())); err != nil {
				out.violation("%s: settling item %d: %v", in.Symbol(), item.Position(), err)
			}
		})
	}
	for acct := range exchange.AccountID(c.cfg.DemoAccounts) {
		acct++
		has, err := s.balances.Account(ctx, acct)
		require.NoError(t, err)
		should, err := want.Account(ctx, acct)
		require.NoError(t, err)
		for i := range should.Balances {
			total[should.Balances[i].Asset] -= should.Balances[i].Available + should.Balances[i].Held
		}
		if !slices.Equal(nonzero(has.Balances), nonzero(should.Balances)) {
			out.violation("account %d has %+v, and by the journal %+v", acct, has.Balances, should.Balances)
		}
		if has.OpenOrders != should.OpenOrders {
			out.violation("account %d has %d open orders, and by the journal %d", acct, has.OpenOrders, should.OpenOrders)
		}
	}
	for _, in := range instruments {
		has, err := s.balances.Venue(ctx, in.ID())
		require.NoError(t, err)
		should, err := want.Venue(ctx, in.ID())
		require.NoError(t, err)
		if !slices.Equal(nonzero(has), nonzero(should)) {
			out.violation("%s: fees of %+v, and by the journal %+v", in.Symbol(), has, should)
		}
		for i := range should {
			total[should[i].Asset] -= should[i].Available + should[i].Held
		}
	}
	for asset, n := range total {
		if n != 0 {
			out.violation("asset %d: %d atoms more were paid in than are there", asset, n)
		}
	}
}

// plant does to the venue what a fault would, and returns what inspect must
// find, one violation for each.
func plant(t *testing.T, c *Cloud, tr *traffic) []string {
	ctx := t.Context()
	tr.mu.Lock()
	tr.accepted[exchange.CommandID{1, 2, 3}] = "POST /orders"
	symbol := tr.instruments[0].Symbol()
	tr.books[symbol].levels["bid"]["0.01"] = "1"
	tr.mu.Unlock()
	b, err := dynamodb.NewBalances(ddb.NewFromConfig(sdk(c.parts.dynamoURL)), dynamodb.BalancesConfig{Table: balancesTable})
	require.NoError(t, err)
	require.NoError(t, b.Deposit(ctx, pipeline.Transfer{ID: exchange.CommandID{9}, Account: 1, Asset: 1, Amount: 1, Time: exchange.Time(time.Now().UnixNano())}))
	db, err := pgx.Connect(ctx, c.parts.postgres.URL())
	require.NoError(t, err)
	defer db.Close(ctx)
	tag, err := db.Exec(ctx, "DELETE FROM trades WHERE (instrument, id) = (SELECT instrument, max(id) FROM trades GROUP BY instrument ORDER BY 1 LIMIT 1)")
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	tag, err = db.Exec(ctx, "UPDATE orders SET updated = updated + 1 WHERE command_id = (SELECT command_id FROM orders WHERE account = 2 LIMIT 1)")
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	return []string{"accepted and lost: POST /orders", "account 1 has", "trades recorded before 0", "account 2: order", symbol + ": at event"}
}

func nonzero(list []pipeline.AssetBalance) (out []pipeline.AssetBalance) {
	for _, b := range list {
		if b.Balance != (exchange.Balance{}) {
			out = append(out, b)
		}
	}
	return out
}

func eachItem(ctx context.Context, t *testing.T, log *pipeline.Log, in *exchange.Instrument, f func(pipeline.Committed)) {
	for pos := pipeline.Position(1); ; {
		items, err := log.Read(ctx, in.ID(), pos, pipeline.MaxReadItems)
		require.NoError(t, err)
		if len(items) == 0 {
			return
		}
		for _, item := range items {
			f(item)
			pos = item.Position() + 1
		}
	}
}

// compareTrades records the journal in a trade store of package memory, and
// compares every trade and every order.
func compareTrades(ctx context.Context, t *testing.T, s *stores, log *pipeline.Log, tr *traffic, out *found) {
	want := memory.NewTradeStore()
	rec, err := pipeline.NewTradeRecorder(pipeline.TradeRecorderConfig{Instruments: tr.instruments, Log: log, Trades: want, Archive: memory.NewArchive()})
	require.NoError(t, err)
	for _, in := range tr.instruments {
		head, err := log.Journal().Head(ctx, in.ID())
		require.NoError(t, err)
		if head.Position == 0 {
			continue
		}
		require.NoError(t, rec.Handle(ctx, pipeline.Notice{Instrument: in.ID(), Position: head.Position}))
		q := pipeline.TradeQuery{Instrument: in.ID(), Limit: pipeline.MaxQueryRows}
		for {
			has, err := s.trades.Trades(ctx, q)
			require.NoError(t, err)
			should, err := want.Trades(ctx, q)
			require.NoError(t, err)
			if !slices.Equal(has, should) {
				out.violation("%s: %d trades recorded before %d, and by the journal %d, or others", in.Symbol(), len(has), q.Before, len(should))
			}
			if len(should) < q.Limit {
				break
			}
			q.Before = should[len(should)-1].ID
		}
	}
	for acct := range tr.tokens {
		q := pipeline.OrderQuery{Account: exchange.AccountID(acct + 1), Limit: pipeline.MaxQueryRows}
		for {
			has, err := s.trades.Orders(ctx, q)
			require.NoError(t, err)
			should, err := want.Orders(ctx, q)
			require.NoError(t, err)
			for i := range should {
				if i >= len(has) || has[i] != should[i] {
					out.violation("account %d: order %x is not as the journal has it", acct+1, should[i].CommandID)
				}
			}
			if len(has) > len(should) {
				out.violation("account %d: %d orders recorded, and by the journal %d", acct+1, len(has), len(should))
			}
			if len(should) < q.Limit {
				break
			}
			q.Before = &should[len(should)-1]
		}
	}
}

// compareBooks compares the books that a page has kept, and those that the API
// gives, with the journal's, each at the sequence number it says.
func compareBooks(ctx context.Context, t *testing.T, j *mirror, tr *traffic, out *found) {
	for _, in := range tr.instruments {
		if j.next[in.ID()] == 0 {
			continue
		}
		items, err := j.log.Read(t.Context(), in.ID(), j.next[in.ID()], 1)
		require.NoError(t, err)
		target := items[0].Batch().LastSeq()
		for {
			tr.mu.Lock()
			b := tr.books[in.Symbol()]
			last, levels := b.last, map[string]map[string]string{}
			for side := range b.levels {
				levels[side] = maps.Clone(b.levels[side])
			}
			ready := b.ready
			tr.mu.Unlock()
			if ready && last >= target {
				compareBook(t.Context(), t, j, in, "the page", last, levels, out)
				break
			}
			if ctx.Err() != nil {
				out.violation("%s: the page has the book of event %d (ready: %v), and the engine's is of %d", in.Symbol(), last, ready, target)
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		// A flushed Redis has no depth until the next command, which the sweeper
		// brings.
		for ctx.Err() == nil {
			var book pipeline.FeedBook
			data, err := tr.call(t.Context(), 0, "GET", "/products/"+in.Symbol()+"/book?limit=1000", "", nil)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(data, &book))
			if book.Seq >= target {
				levels := map[string]map[string]string{"bid": {}, "ask": {}}
				for _, l := range book.Bids {
					levels["bid"][l.Price] = l.Size
				}
				for _, l := range book.Asks {
					levels["ask"][l.Price] = l.Size
				}
				compareBook(t.Context(), t, j, in, "the API", book.Seq, levels, out)
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// compareBook compares a book with the journal's at an event.
func compareBook(ctx context.Context, t *testing.T, j *mirror, in *exchange.Instrument, whose string, seq uint64, has map[string]map[string]string, out *found) {
	want := map[string]map[string]string{"bid": {}, "ask": {}}
	at := uint64(0)
	require.NoError(t, j.refresh(ctx, in))
	eachItem(ctx, t, j.log, in, func(item pipeline.Committed) {
		b := item.Batch()
		if last := b.LastSeq(); last > seq {
			return
		} else if last != 0 {
			at = last
		}
		for _, l := range b.Levels {
			side, price := "bid", in.PriceDecimal(l.Price).String()
			if l.Side == exchange.Sell {
				side = "ask"
			}
			if l.Qty == 0 {
				delete(want[side], price)
			} else {
				want[side][price] = in.QtyDecimal(l.Qty).String()
			}
		}
	})
	if at != seq {
		out.violation("%s: %s has a book of event %d, which no item ends with", in.Symbol(), whose, seq)
	}
	for side := range want {
		if !maps.Equal(want[side], has[side]) {
			out.violation("%s: at event %d %s has the %ss %v, and the engine %v", in.Symbol(), seq, whose, side, has[side], want[side])
		}
	}
}

// compareReplay lets a new engine replay the journal from its beginning, which
// compares every event with the journal's.
func compareReplay(ctx context.Context, log *pipeline.Log, instruments []*exchange.Instrument, out *found) {
	now := func() exchange.Time { return exchange.Time(time.Now().UnixNano()) }
	m, err := pipeline.NewMatchingEngine(pipeline.MatchingEngineConfig{Instruments: instruments, Log: log, Books: memory.NewBookStore(), Publisher: memory.NewPublisher(), Now: now})
	if err != nil {
		out.violation("an engine to replay with: %v", err)
		return
	}
	for _, in := range instruments {
		c := exchange.AdvanceTime(in.ID(), now())
		c.ID = pipeline.CommandIDOf(0, in.ID(), exchange.KindAdvanceTime, "inspection")
		body, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: c})
		if err == nil {
			_, err = m.Handle(ctx, in.ID(), []pipeline.QueueMessage{{Instrument: in.ID(), DedupID: c.ID, Body: body}})
		}
		if err != nil {
			out.violation("%s: replaying the journal: %v", in.Symbol(), errors.Unwrap(err))
		}
	}
}
