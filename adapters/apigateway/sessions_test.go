package apigateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/pipeline"
)

func TestConversation(t *testing.T) {
	s, _ := queued(t)
	c := s.dial()
	for _, step := range []struct{ ask, want string }{
		{`{"op":"subscribe","channel":"book","symbol":"B1-USD"}`, `subscribed`},
		{`{"op":"subscribe","channel":"book","symbol":"B1-USD","seq":5}`, `subscribed`},
		{`{"op":"subscribe","channel":"book"}`, `unknown_symbol`},
		{`{"op":"subscribe","channel":"book","symbol":"X"}`, `unknown_symbol`},
		{`{"op":"subscribe","channel":"news","symbol":"B1-USD"}`, `unknown_channel`},
		{`{"op":"subscribe","channel":"orders"}`, `unauthorized`},
		{`{"op":"unsubscribe","channel":"trades","symbol":"B1-USD"}`, `not_subscribed`},
		{`{"op":"unsubscribe","channel":"book","symbol":"B1-USD"}`, `unsubscribed`},
		{`{"op":"unsubscribe","channel":"book","symbol":"B1-USD"}`, `not_subscribed`},
		{`{"op":"auth","token":"nobody"}`, `unauthorized`},
		{`{"op":"auth","token":"0"}`, `unauthorized`},
		{`{"op":"auth","token":"7"}`, `authenticated`},
		{`{"op":"auth","token":"8"}`, `unauthorized`},
		{`{"op":"subscribe","channel":"balances","symbol":"B1-USD"}`, `unknown_symbol`},
		{`{"op":"subscribe","channel":"balances"}`, `subscribed`},
		{`{"op":"subscribe","channel":"orders","seq":1}`, `invalid_message`},
		{`{"op":"subscribe","channel":"orders"}`, `subscribed`},
		{`{"op":"unsubscribe","channel":"orders","symbol":"B2-USD"}`, `unsubscribed`},
		{`{"op":"dance"}`, `invalid_message`},
		{`{"op":"ping"} more`, `invalid_message`},
		{`{"op":"ping","x":1}`, `invalid_message`},
		{`[`, `invalid_message`},
		{`{"op":"auth","token":"` + strings.Repeat("x", apigateway.RequestBytes) + `"}`, `invalid_message`},
		{`{"op":"ping"}`, `pong`},
	} {
		m := c.ask(step.ask)
		got := m["type"]
		if got == "error" {
			got = m["code"]
		}
		assert.Equal(t, step.want, got, "%s: %v", step.ask, m)
	}
	// What each subscription asked for.
	var asked []string
	for _, body := range s.asked.take() {
		r, ok := apigateway.ParseSnapshotRequest(body)
		require.True(t, ok, body)
		asked = append(asked, apigateway.Topic{Channel: r.Channel, Instrument: r.Instrument, Account: r.Account}.String())
	}
	want := []string{"book.1.0", "book.1.0", "balances.0.7"}
	for _, in := range instruments {
		want = append(want, fmt.Sprintf("orders.%d.7", in.ID()))
	}
	assert.Equal(t, want, asked)
	for _, body := range []string{`{"instrument":1,"position":5}`, `{}`, `x`, `{"snapshot_request":{"connection":"a","channel":"book","instrument":1,"account":7}}`,
		`{"snapshot_request":{"connection":"a","channel":"orders","instrument":1}}`, `{"snapshot_request":{"connection":"","channel":"book","instrument":1}}`,
		`{"snapshot_request":{"connection":"a","channel":"balances","instrument":1,"account":1}}`} {
		_, ok := apigateway.ParseSnapshotRequest(body)
		assert.False(t, ok, body)
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	s, _ := queued(t)
	var err error
	s.Sessions, err = apigateway.NewSessions(apigateway.SessionsConfig{Instruments: instruments, Table: s.table, Verify: s.verify, Ask: s.asked, Subscriptions: 8})
	require.NoError(t, err)
	c := s.dial()
	require.Equal(t, "authenticated", c.ask(`{"op":"auth","token":"7"}`)["type"])
	require.Equal(t, "subscribed", c.ask(`{"op":"subscribe","channel":"orders"}`)["type"], "seven")
	require.Equal(t, "subscribed", c.ask(`{"op":"subscribe","channel":"book","symbol":"B1-USD"}`)["type"], "eight")
	require.Equal(t, "subscribed", c.ask(`{"op":"subscribe","channel":"book","symbol":"B1-USD"}`)["type"], "again")
	require.Equal(t, "too_many_subscriptions", c.ask(`{"op":"subscribe","channel":"book","symbol":"B2-USD"}`)["code"], "nine")
	// A snapshot that cannot be asked for takes the subscription back.
	s.asked.refuse(errors.New("no queue"))
	require.Equal(t, "unsubscribed", c.ask(`{"op":"unsubscribe","channel":"book","symbol":"B1-USD"}`)["type"])
	require.Equal(t, "unavailable", c.ask(`{"op":"subscribe","channel":"book","symbol":"B1-USD"}`)["code"])
	require.Equal(t, "not_subscribed", c.ask(`{"op":"unsubscribe","channel":"book","symbol":"B1-USD"}`)["code"])
	// A connection that is not in the table gets no answer of ours.
	page, err := s.table.Connections(context.Background(), "", 1)
	require.NoError(t, err)
	require.NoError(t, s.Disconnect(context.Background(), page[0].ID))
	_, err = s.Message(context.Background(), page[0].ID, []byte(`{"op":"subscribe","channel":"book","symbol":"B1-USD"}`))
	assert.ErrorIs(t, err, pipeline.ErrNotFound)
	assert.ErrorIs(t, s.Connect(context.Background(), "", apigateway.Identity{}), pipeline.ErrInvalid)
	assert.ErrorIs(t, s.Connect(context.Background(), strings.Repeat("x", apigateway.MaxConnectionID+1), apigateway.Identity{}), pipeline.ErrInvalid)
}

// A snapshot comes in its place: what was pushed before it is not merged with
// what comes after, and nothing that it lacks is missing.
func TestSnapshotsComeInTheirPlace(t *testing.T) {
	s, q := queued(t)
	ctx := context.Background()
	old := s.subscribe(pipeline.ChannelTrades, 1, 0)
	s.asked.take()
	s.push(1, tell(pipeline.ChannelTrades, 1, 0, 0, 10, `,"trades":[{"trade_id":"1"}]`))
	c := s.subscribe(pipeline.ChannelTrades, 1, 0)
	s.push(2, tell(pipeline.ChannelTrades, 1, 0, 10, 20, `,"trades":[{"trade_id":"2"}]`))
	r, ok := apigateway.ParseSnapshotRequest(s.asked.take()[0])
	require.True(t, ok)
	require.NoError(t, s.Answer(ctx, r, func(_ context.Context, channel pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (uint64, []byte, error) {
		assert.Equal(t, []any{pipeline.ChannelTrades, "B1-USD", exchange.AccountID(0)}, []any{channel, in.Symbol(), acct})
		return 20, []byte(`{"type":"snapshot","channel":"trades","symbol":"B1-USD","seq":20}`), nil
	}))
	s.push(3, tell(pipeline.ChannelTrades, 1, 0, 20, 30, `,"trades":[{"trade_id":"3"}]`))
	s.push(4, tell(pipeline.ChannelTrades, 1, 0, 30, 40, `,"trades":[{"trade_id":"4"}]`))
	require.NoError(t, s.deliver(q))
	for _, want := range []string{"update 20", "snapshot 20", "update 40"} {
		m := c.must()
		assert.Equal(t, want, fmt.Sprint(m["type"], " ", m["seq"]))
	}
	for _, want := range []string{"update 20", "update 40"} {
		m := old.must()
		assert.Equal(t, want, fmt.Sprint(m["type"], " ", m["seq"]))
	}
	// One that cannot be made is told, so that the client asks again.
	require.NoError(t, s.Answer(ctx, r, func(context.Context, pipeline.Channel, *exchange.Instrument, exchange.AccountID) (uint64, []byte, error) {
		return 0, nil, errors.New("no store")
	}))
	require.NoError(t, s.deliver(q))
	m := c.must()
	assert.Equal(t, []any{"unavailable", "trades", "B1-USD"}, []any{m["code"], m["channel"], m["symbol"]})
	r.Instrument = 9
	assert.ErrorIs(t, s.Answer(ctx, r, nil), exchange.UnknownInstrument)
}

// Balances that change while their snapshot is on its way are sent once more.
func TestSnapshotOfBalances(t *testing.T) {
	s, q := queued(t)
	c := s.subscribe(pipeline.ChannelBalances, 0, 7)
	r, ok := apigateway.ParseSnapshotRequest(s.asked.take()[0])
	require.True(t, ok)
	versions := []uint64{5, 6, 6}
	require.NoError(t, s.Answer(context.Background(), r, func(_ context.Context, _ pipeline.Channel, in *exchange.Instrument, acct exchange.AccountID) (uint64, []byte, error) {
		assert.Nil(t, in)
		assert.Equal(t, exchange.AccountID(7), acct)
		seq := versions[0]
		versions = versions[1:]
		return seq, fmt.Appendf(nil, `{"type":"snapshot","channel":"balances","seq":%d}`, seq), nil
	}))
	assert.Empty(t, versions)
	require.NoError(t, s.deliver(q))
	assert.EqualValues(t, 5, c.must()["seq"])
	assert.EqualValues(t, 6, c.must()["seq"])
}

// A Pusher that begins again knows how far it was.
func TestPusherRemembers(t *testing.T) {
	s, q := queued(t)
	ctx := context.Background()
	for pos := range pipeline.Position(20) {
		s.push(pos+1, tell(pipeline.ChannelBook, 1, 0, uint64(pos), uint64(pos)+1, ""))
	}
	again, err := apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: q, Table: s.table})
	require.NoError(t, err)
	pos, err := again.Pushed(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, pipeline.Position(apigateway.DefaultMarkEvery), pos)
	require.NoError(t, s.Flush(ctx))
	again, err = apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: q, Table: s.table})
	require.NoError(t, err)
	pos, err = again.Pushed(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, pipeline.Position(20), pos)
	q.take()
	require.NoError(t, again.Push(ctx, 1, 20, []pipeline.Push{tell(pipeline.ChannelBook, 1, 0, 19, 20, "")}))
	assert.Empty(t, q.take())
	// What could not be sent is not pushed.
	q.refuse(errors.New("no queue"))
	assert.ErrorContains(t, again.Push(ctx, 1, 21, []pipeline.Push{tell(pipeline.ChannelBook, 1, 0, 20, 21, "")}), "no queue")
	pos, err = again.Pushed(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, pipeline.Position(20), pos)
	assert.ErrorContains(t, again.Notify(ctx, []pipeline.Push{{Channel: pipeline.ChannelBalances, Account: 7, Seq: 1, Data: []byte("{}")}}), "no queue")
	q.refuse(nil)
	assert.ErrorIs(t, again.Push(ctx, 99, 1, nil), exchange.UnknownInstrument)
	assert.ErrorIs(t, again.Push(ctx, 1, 22, []pipeline.Push{tell(pipeline.ChannelBook, 2, 0, 20, 21, "")}), pipeline.ErrInvalid)
	assert.ErrorIs(t, again.Push(ctx, 1, 22, []pipeline.Push{{Channel: pipeline.ChannelBook, Instrument: 1, Data: []byte("no json")}}), pipeline.ErrInvalid)
	assert.ErrorIs(t, again.Notify(ctx, []pipeline.Push{tell(pipeline.ChannelOrders, 1, 7, 0, 1, "")}), pipeline.ErrInvalid)
	require.NoError(t, again.Notify(ctx, []pipeline.Push{{Channel: pipeline.ChannelBalances, Account: 7, Seq: 1, Data: []byte("{}")}}), "what failed is sent")
	assert.Len(t, q.take(), 1)
}

func TestConfigs(t *testing.T) {
	s, q := queued(t)
	_, err := apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: q})
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = apigateway.NewPusher(apigateway.PusherConfig{Instruments: instruments, Sender: q, Table: s.table, MarkEvery: -1})
	assert.ErrorContains(t, err, "MarkEvery -1")
	_, err = apigateway.NewDeliverer(apigateway.DelivererConfig{Table: s.table})
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = apigateway.NewSessions(apigateway.SessionsConfig{Instruments: instruments, Table: s.table, Verify: s.verify, Ask: q, Subscriptions: apigateway.MaxSubscriptions + 1})
	assert.ErrorContains(t, err, "Subscriptions 65")
	_, err = apigateway.NewSessions(apigateway.SessionsConfig{})
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
}
