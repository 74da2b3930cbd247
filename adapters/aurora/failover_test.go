package aurora_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// proxy stands between a store and the server, and can misbehave.
type proxy struct {
	addr string
	// cut, when it is not 0, cuts the connection on which the next Record comes:
	// before the server sees it, or after the server has answered it, which is
	// after the commit.
	cut  atomic.Int32
	cuts atomic.Int32 // how often it has
}

const (
	cutBefore = 1
	cutAfter  = 2
)

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: l.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			all.Go(func() { p.carry(client, server) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return p
}

// carry carries whole messages of the protocol from the client to the server,
// and what comes back. A Record is a message that binds values to the statement
// of an insert; its answer ends with ReadyForQuery.
func (p *proxy) carry(client, server net.Conn) {
	defer client.Close()
	var swallow atomic.Bool
	done := make(chan struct{})
	go func() { // answers
		defer close(done)
		defer client.Close()
		for {
			kind, body, err := message(server)
			if err != nil {
				return
			}
			if swallow.Load() {
				if kind[0] == 'Z' { // the transaction is over
					p.cuts.Add(1)
					return
				}
				continue
			}
			if _, err := client.Write(append(kind, body...)); err != nil {
				return
			}
		}
	}()
	defer func() { server.Close(); <-done }()
	// The first message of a connection has no kind.
	length := make([]byte, 4)
	if _, err := io.ReadFull(client, length); err != nil {
		return
	}
	if _, err := server.Write(length); err != nil {
		return
	}
	if _, err := io.CopyN(server, client, int64(binary.BigEndian.Uint32(length))-4); err != nil {
		return
	}
	for {
		kind, body, err := message(client)
		if err != nil {
			return
		}
		if kind[0] == 'B' && bytes.Contains(body, []byte("cut me")) { // the client's id of the order to record
			switch p.cut.Swap(0) {
			case cutBefore:
				p.cuts.Add(1)
				return
			case cutAfter:
				swallow.Store(true)
			}
		}
		if _, err := server.Write(append(kind, body...)); err != nil {
			return
		}
	}
}

// message reads one message: its kind and its length, and the rest.
func message(r io.Reader) (head, body []byte, err error) {
	head = make([]byte, 5)
	if _, err = io.ReadFull(r, head); err != nil {
		return nil, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err = io.ReadFull(r, body)
	return head, body, err
}

// one is an item with an order and a trade.
func one(n int) *pipeline.Record {
	o := order(n)
	o.ClientID = "cut me"
	return &pipeline.Record{Orders: []pipeline.OrderRecord{o}, Trades: []pipeline.Trade{trade(n, exchange.Time(n))}}
}

const inst exchange.InstrumentID = 7

func order(n int) pipeline.OrderRecord {
	return pipeline.OrderRecord{CommandID: exchangetest.IDOf(n), Instrument: inst, OrderID: exchange.OrderID(n), Account: 1001, Side: exchange.Buy, Type: exchange.Limit,
		TimeInForce: exchange.GTC, Status: pipeline.OrderOpen, Price: 100, OrderQty: 1, LeavesQty: 1, Created: exchange.Time(n), Updated: exchange.Time(n), Seq: uint64(n)}
}

func trade(n int, at exchange.Time) pipeline.Trade {
	return pipeline.Trade{Instrument: inst, ID: exchange.TradeID(n), Seq: uint64(n), Time: at, Price: 100, Qty: 1, Amount: 100, Side: exchange.Buy,
		Taker: pipeline.Party{CommandID: exchangetest.IDOf(n), OrderID: exchange.OrderID(n), Account: 1001}, Maker: pipeline.Party{OrderID: 1, Account: 1002}}
}

// once checks that items 1 to n, made by one, are there exactly once.
func once(t testing.TB, s pipeline.TradeStore, n int) {
	t.Helper()
	at, err := s.Recorded(t.Context(), inst)
	require.NoError(t, err)
	require.Equal(t, pipeline.Position(n), at)
	trades, err := s.Trades(t.Context(), pipeline.TradeQuery{Instrument: inst, Limit: pipeline.MaxQueryRows})
	require.NoError(t, err)
	require.Len(t, trades, n)
	for i := range trades {
		require.Equal(t, exchange.TradeID(n-i), trades[i].ID)
	}
	orders, err := s.Orders(t.Context(), pipeline.OrderQuery{Account: 1001, Limit: pipeline.MaxQueryRows})
	require.NoError(t, err)
	require.Len(t, orders, n)
	candles, err := s.Candles(t.Context(), pipeline.CandleQuery{Instrument: inst, Interval: 60e9, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, int64(n), candles[0].Trades, "each trade is in the candle once")
}

// A commit whose answer is lost, and one that never came to be, are each there
// once, and the caller does not notice.
func TestLostAnswer(t *testing.T) {
	url := newURL(t)
	p := newProxy(t, server.Addr)
	s := openAt(t, aurora.Config{URL: strings.Replace(url, server.Addr, p.addr, 1)})
	c := exchangetest.Commit(t, inst, 4)
	for i, how := range []int32{0, cutBefore, cutAfter, cutAfter} {
		p.cut.Store(how)
		require.NoError(t, s.Record(t.Context(), c[i], one(i+1)))
		once(t, s, i+1)
	}
	require.Equal(t, int32(3), p.cuts.Load(), "connections that were cut")
}

// The server is killed while two record, and starts again: the
// calls go on through it, and everything is there once.
func TestServerKilled(t *testing.T) {
	s := openAt(t, aurora.Config{URL: newURL(t)})
	const n, before, most = 60, 20, 40 // items: recorded before the server is killed, at least and at most
	c := exchangetest.Commit(t, inst, n)
	var at atomic.Int64
	moved, killing := make(chan struct{}, n), make(chan struct{})
	writers := make(chan error, 2)
	for range 2 { // both record everything
		go func() {
			for i := range c {
				if i == most {
					<-killing
				}
				if err := s.Record(t.Context(), c[i], one(i+1)); err != nil {
					writers <- err
					return
				}
				if at.CompareAndSwap(int64(i), int64(i+1)) {
					moved <- struct{}{}
				}
			}
			writers <- nil
		}()
	}
	for range before {
		select {
		case <-moved:
		case err := <-writers:
			require.NoError(t, err)
		}
	}
	close(killing)
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, <-writers)
	require.NoError(t, <-writers)
	once(t, s, n)
}

// A writer that has become a reader refuses to write until there is another;
// the calls go on.
func TestWriterBecomesReader(t *testing.T) {
	url := newURL(t)
	s := openAt(t, aurora.Config{URL: url})
	c := exchangetest.Commit(t, inst, 3)
	require.NoError(t, s.Record(t.Context(), c[0], one(1)))

	become := func(reader string) {
		admin(t, "ALTER SYSTEM SET default_transaction_read_only = "+reader, "SELECT pg_reload_conf()")
		// A session takes it over when it is idle; new ones have it.
		require.Eventually(t, func() bool { return admin(t, "SHOW default_transaction_read_only")[0] == reader }, patience, time.Millisecond)
	}
	become("on")
	defer become("off")
	brief, err := aurora.Open(t.Context(), aurora.Config{URL: url, RetryFor: 50 * time.Millisecond})
	require.ErrorContains(t, err, "read only", "no connection to a reader is taken")
	require.Nil(t, brief)

	done := make(chan error)
	go func() { done <- s.Record(t.Context(), c[1], one(2)) }()
	refused := make(chan struct{})
	go func() { // one with little patience is refused: so is the other
		defer close(refused)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := s.Record(ctx, c[1], one(2)); err == nil {
			t.Error("recorded by a reader")
		}
	}()
	<-refused
	become("off")
	require.NoError(t, <-done)
	once(t, s, 2)
}

// Retries end: with the time, with the context, and at once where it is no use.
func TestRetriesEnd(t *testing.T) {
	url := newURL(t)
	s := openAt(t, aurora.Config{URL: url, RetryFor: 100 * time.Millisecond})
	c := exchangetest.Commit(t, inst, 1)
	require.NoError(t, server.Kill())
	defer func() { require.NoError(t, server.Restart(context.Background())) }()
	require.Error(t, s.Record(t.Context(), c[0], one(1)), "RetryFor is over")
	_, err := s.Recorded(t.Context(), inst)
	require.Error(t, err)
	patient, err := aurora.Open(t.Context(), aurora.Config{URL: url, RetryFor: 100 * time.Millisecond})
	require.Error(t, err)
	require.Nil(t, patient)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Record(ctx, c[0], one(1)), context.Canceled)
}
