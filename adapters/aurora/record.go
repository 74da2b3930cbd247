package aurora

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// MaxTradeID is the highest trade id that can be recorded; beyond it Record
// returns ErrTooLarge. Trade ids are sorted, and a bigint has a sign.
const MaxTradeID exchange.TradeID = math.MaxInt64

// maxRows is how many rows one statement of a Record writes.
const maxRows = 10_000

// What functions of the schema raise.
const (
	recordedBefore = "EX001"
	gap            = "EX002"
	notNew         = "EX003"
)

// Record implements pipeline.TradeStore. ErrInvalid: an order or a trade of
// another instrument, a trade whose ID is not above the one before, or a
// client's id that is no text (UTF-8 without a zero byte). ErrTooLarge: a
// client's id longer than MaxClientIDBytes, or a trade's ID above MaxTradeID.
//
// It relies on what makes an order never changing: of one CommandID, Created is
// always the same.
func (s tradeStore) Record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if err := s.record(ctx, c, r); err != nil {
		return fmt.Errorf("recording item %d of instrument %d: %w", c.Position(), c.Instrument(), err)
	}
	return nil
}

func (s tradeStore) record(ctx context.Context, c pipeline.Committed, r *pipeline.Record) error {
	if err := checkRecord(c.Instrument(), r); err != nil {
		// What is wrong counts only where it would be recorded.
		at, readErr := s.Recorded(ctx, c.Instrument())
		switch {
		case readErr != nil:
			return readErr
		case c.Position() <= at:
			return nil
		case c.Position() > at+1:
			return fmt.Errorf("%w: recorded up to %d", pipeline.ErrGap, at)
		}
		return err
	}
	months := monthsOf(r)
	return s.attempts(ctx, s.writer, func(ctx context.Context) error {
		if err := s.addPartitions(ctx, months); err != nil {
			return err
		}
		// The statements of a batch are one transaction and one round trip. When
		// its answer is lost nobody knows whether it was committed; the next
		// attempt finds the cursor where it is, after waiting for a transaction
		// that still runs in the server.
		err := s.writer.SendBatch(ctx, newBatch(c, r)).Close()
		switch code(err) {
		case recordedBefore:
			return nil
		case gap:
			return fmt.Errorf("%w: recorded up to %s", pipeline.ErrGap, detail(err))
		case notNew:
			return fmt.Errorf("%w: Trades[0] is %d, expected one after %s", pipeline.ErrInvalid, r.Trades[0].ID, detail(err))
		}
		if noPartition(err) {
			s.months.forget() // somebody has dropped one
		}
		return err
	})
}

func detail(err error) string {
	var pg *pgconn.PgError
	errors.As(err, &pg)
	return pg.Detail
}

// isText reports whether a text column takes s.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func checkRecord(inst exchange.InstrumentID, r *pipeline.Record) error {
	for i := range r.Orders {
		switch o := &r.Orders[i]; {
		case o.Instrument != inst:
			return fmt.Errorf("%w: Orders[%d] is of instrument %d", pipeline.ErrInvalid, i, o.Instrument)
		case len(o.ClientID) > pipeline.MaxClientIDBytes:
			return fmt.Errorf("%w: Orders[%d].ClientID has %d bytes, expected at most %d", pipeline.ErrTooLarge, i, len(o.ClientID), pipeline.MaxClientIDBytes)
		case !isText(o.ClientID):
			return fmt.Errorf("%w: Orders[%d].ClientID is %q, expected UTF-8 without a zero byte", pipeline.ErrInvalid, i, o.ClientID)
		}
	}
	last := exchange.TradeID(0)
	for i := range r.Trades {
		switch t := &r.Trades[i]; {
		case t.Instrument != inst || t.ID <= last:
			return fmt.Errorf("%w: Trades[%d] is %d of instrument %d, expected one after %d", pipeline.ErrInvalid, i, t.ID, t.Instrument, last)
		case t.ID > MaxTradeID:
			return fmt.Errorf("%w: Trades[%d].ID is %d, expected at most %d", pipeline.ErrTooLarge, i, t.ID, MaxTradeID)
		}
		last = r.Trades[i].ID
	}
	return nil
}

// newBatch returns what writes an item, to send once: pgx notes in it what one
// connection has prepared.
func newBatch(c pipeline.Committed, r *pipeline.Record) *pgx.Batch {
	b := &pgx.Batch{}
	var first, last any // NULL without trades
	if n := len(r.Trades); n > 0 {
		first, last = int64(r.Trades[0].ID), int64(r.Trades[n-1].ID)
	}
	b.Queue("SELECT advance($1, $2, $3, $4)", int64(c.Instrument()), int64(c.Position()), first, last)
	for from := 0; from < len(r.Orders); from += maxRows {
		b.Queue(insertOrders, orderColumns.values(r.Orders[from:min(from+maxRows, len(r.Orders))])...)
	}
	for from := 0; from < len(r.Trades); from += maxRows {
		b.Queue(insertTrades, tradeColumns.values(r.Trades[from:min(from+maxRows, len(r.Trades))])...)
	}
	for _, w := range candleWidths {
		candles := candlesOf(r.Trades, w)
		for from := 0; from < len(candles); from += maxRows {
			part := candles[from:min(from+maxRows, len(candles))]
			b.Queue(insertCandles, append([]any{int64(c.Instrument()), int64(w)}, candleColumns.values(part)...)...)
		}
	}
	return b
}

var (
	insertOrders = "INSERT INTO orders (" + orderColumns.names() + ") SELECT * FROM unnest(" + orderColumns.arrays(1) + ")" +
		" ON CONFLICT (command_id, created) DO UPDATE SET " + orderColumns.updates("command_id", "created")
	insertTrades  = "INSERT INTO trades (" + tradeColumns.names() + ") SELECT * FROM unnest(" + tradeColumns.arrays(1) + ")"
	insertCandles = "INSERT INTO candles (instrument, width, " + candleColumns.names() + ") SELECT $1, $2, * FROM unnest(" + candleColumns.arrays(3) + ")" +
		" ON CONFLICT (instrument, width, start) DO UPDATE SET high = greatest(candles.high, excluded.high), low = least(candles.low, excluded.low), close = excluded.close," +
		" volume = least(candles.volume::numeric + excluded.volume, " + strconv.Itoa(math.MaxInt64) + ")::bigint, trades = candles.trades + excluded.trades"
)

// A month is a calendar month (UTC), counted from that of the year 0: what one
// partition holds.
type month int

func monthOf(t exchange.Time) month {
	year, m, _ := time.Unix(0, int64(t)).UTC().Date()
	return month(year*12 + int(m) - 1)
}

// start returns when a month begins.
func (m month) start() time.Time {
	return time.Date(int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, time.UTC)
}

// floor returns the first time of a month, or the first there is.
func (m month) floor() exchange.Time {
	if m <= monthOf(math.MinInt64) {
		return math.MinInt64
	}
	return exchange.Time(m.start().UnixNano())
}

// months are those whose partitions are known to be there, and that of the
// month behind each as well.
type months struct {
	mu    sync.Mutex
	known map[month]bool
}

func (m *months) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.known)
}

// monthsOf returns the months an item has rows in.
func monthsOf(r *pipeline.Record) []month {
	var out []month
	last := month(math.MinInt)
	seen := map[month]bool{}
	add := func(t exchange.Time) {
		if m := monthOf(t); m != last && !seen[m] {
			last, seen[m] = m, true
			out = append(out, m)
		}
	}
	for i := range r.Orders {
		add(r.Orders[i].Created)
	}
	for i := range r.Trades {
		add(r.Trades[i].Time)
	}
	return out
}

// addPartitions makes the partitions of months unless they are known, each with
// that of the month behind it, so that nobody waits for one when a month begins.
func (s tradeStore) addPartitions(ctx context.Context, all []month) error {
	for _, m := range all {
		s.months.mu.Lock()
		known := s.months.known[m]
		s.months.mu.Unlock()
		if known {
			continue
		}
		if _, err := s.writer.Exec(ctx, "SELECT add_partitions($1, 2)", m.start()); err != nil {
			return err
		}
		s.months.mu.Lock()
		s.months.known[m] = true
		s.months.mu.Unlock()
	}
	return nil
}
