package wire

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/adapters/cloudwatch"
	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testEnv(t *testing.T) *Env {
	metrics, err := cloudwatch.New(cloudwatch.Config{Output: t.Output()})
	require.NoError(t, err)
	return &Env{Config: &config.Config{Function: "test", Instruments: testInstruments(t)}, Logger: slog.New(slog.DiscardHandler), Metrics: metrics}
}

func record(id, group, body string) events.SQSMessage {
	m := events.SQSMessage{MessageId: id, Body: body, Attributes: map[string]string{}}
	if group != "" {
		m.Attributes[groupAttribute] = group
	}
	return m
}

func failures(out events.SQSEventResponse) (ids []string) {
	for _, f := range out.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	return ids
}

// What failed comes again soon, and not when the queue's visibility timeout is
// over.
func TestFailedMessagesComeAgainSoon(t *testing.T) {
	type call struct {
		QueueUrl string
		Entries  []struct {
			ReceiptHandle     string
			VisibilityTimeout int
		}
	}
	calls := make(chan call, 3)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c call
		assert.Equal(t, "AmazonSQS.ChangeMessageVisibilityBatch", r.Header.Get("X-Amz-Target"))
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&c))
		calls <- c
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = w.Write([]byte(`{"Successful": [], "Failed": []}`))
	}))
	defer server.Close()
	e := testEnv(t)
	e.aws = &aws.Config{Region: "eu-central-1", BaseEndpoint: &server.URL, Credentials: aws.AnonymousCredentials{}}
	handle := e.Batches(func(_ context.Context, group string, _ []events.SQSMessage) (int, error) {
		if group == "bad" {
			return 1, errors.New("as told")
		}
		return 2, nil
	})
	from := func(id, group, arn string) events.SQSMessage {
		m := record(id, group, "")
		m.ReceiptHandle, m.EventSourceARN, m.Attributes["ApproximateReceiveCount"] = "handle-"+id, arn, "3"
		return m
	}
	const arn = "arn:aws:sqs:eu-central-1:123456789012:venue-commands-000.fifo"
	out, err := handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{from("1", "bad", arn), from("2", "bad", arn), from("3", "good", arn), from("4", "bad", arn), from("5", "good", arn)}})
	require.NoError(t, err)
	assert.Equal(t, []string{"2", "4"}, failures(out))
	require.Len(t, calls, 1, "what is done is removed and need not be hidden")
	c := <-calls
	assert.Equal(t, "https://sqs.eu-central-1.amazonaws.com/123456789012/venue-commands-000.fifo", c.QueueUrl)
	require.Len(t, c.Entries, 2)
	assert.Equal(t, "handle-2", c.Entries[0].ReceiptHandle)
	assert.Equal(t, []int{4, 4}, []int{c.Entries[0].VisibilityTimeout, c.Entries[1].VisibilityTimeout}, "the third time")

	_, err = handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{from("1", "bad", ""), from("2", "bad", "")}})
	require.NoError(t, err)
	assert.Empty(t, calls, "a service hides its messages itself")
	assert.Equal(t, []time.Duration{time.Second, time.Second, 2 * time.Second, 30 * time.Second, 30 * time.Second},
		[]time.Duration{RetryAfter(""), RetryAfter("1"), RetryAfter("2"), RetryAfter("6"), RetryAfter("1000000")})
}

// Of a group the first failure is reported and everything behind it; the other
// groups are done, side by side.
func TestBatches(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]string{}
	together := make(chan struct{})
	handle := testEnv(t).Batches(func(_ context.Context, group string, records []events.SQSMessage) (int, error) {
		if group != "bad" {
			select { // neither goes on without the other
			case together <- struct{}{}:
			case <-together:
			case <-time.After(20 * time.Second):
				return 0, errors.New("alone")
			}
		}
		for i := range records {
			if records[i].Body == "bad" {
				return i, errors.New("as told")
			}
			mu.Lock()
			seen[group] += records[i].Body
			mu.Unlock()
		}
		return len(records), nil
	})
	out, err := handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{
		record("1", "a", "x"), record("2", "bad", "p"), record("3", "b", "1"), record("4", "bad", "bad"), record("5", "a", "y"), record("6", "bad", "q"), record("7", "b", "2"),
	}})
	require.NoError(t, err)
	assert.Equal(t, []string{"4", "6"}, failures(out))
	assert.Equal(t, map[string]string{"a": "xy", "b": "12", "bad": "p"}, seen)
	data, err := json.Marshal(out)
	require.NoError(t, err)
	assert.JSONEq(t, `{"batchItemFailures":[{"itemIdentifier":"4"},{"itemIdentifier":"6"}]}`, string(data))
	out, err = handle(t.Context(), events.SQSEvent{})
	require.NoError(t, err)
	data, err = json.Marshal(out)
	require.NoError(t, err)
	assert.JSONEq(t, `{"batchItemFailures":[]}`, string(data), "nothing failed")
}

func notice(to string) string { return `{"instrument":1,"from":"1","to":"` + to + `"}` }

// A consumer hears of the last position once; a snapshot is made in its place.
func TestFeed(t *testing.T) {
	e := testEnv(t)
	var said []string
	table := apigateway.NewMemoryTable()
	pusher, err := apigateway.NewPusher(apigateway.PusherConfig{Instruments: e.Instruments(), Table: table, Sender: senderFunc(func([]apigateway.Envelope) { said = append(said, "answer") })})
	require.NoError(t, err)
	var fail error
	handle := e.Feed(func(_ context.Context, n pipeline.Notice) error {
		said = append(said, "notice "+time.Duration(n.Position).String())
		return fail
	}, pusher, func(context.Context, pipeline.Channel, *exchange.Instrument, exchange.AccountID) (uint64, []byte, error) {
		said = append(said, "snapshot")
		return 1, []byte("{}"), nil
	})
	ask := apigateway.SnapshotRequest{ID: "i", Connection: "c", Channel: pipeline.ChannelBook, Instrument: 1}.Envelope().Body
	ev := events.SQSEvent{Records: []events.SQSMessage{record("1", "1", notice("3")), record("2", "1", notice("5")), record("3", "1", ask), record("4", "1", "no notice"), record("5", "1", notice("4")), record("6", "1", notice("9"))}}
	out, err := handle(t.Context(), ev)
	require.NoError(t, err)
	assert.Empty(t, failures(out))
	assert.Equal(t, []string{"notice 5ns", "snapshot", "answer", "notice 9ns"}, said)
	fail = errors.New("as told")
	out, err = handle(t.Context(), ev)
	require.NoError(t, err)
	assert.Len(t, failures(out), 6, "nothing is done")
	out, err = e.Notices(func(context.Context, pipeline.Notice) error { return nil })(t.Context(), events.SQSEvent{Records: []events.SQSMessage{
		record("1", "1", notice("3")), record("2", "1", `{"instrument":2,"from":"1","to":"1"}`)}})
	require.NoError(t, err)
	assert.Len(t, failures(out), 2, "of two instruments in one group")
}

type senderFunc func([]apigateway.Envelope)

func (f senderFunc) Send(_ context.Context, envelopes []apigateway.Envelope) error {
	f(envelopes)
	return nil
}

// Requests for snapshots go to the shard of their instrument, in the group of
// its notices.
func TestShardedSender(t *testing.T) {
	var got [2][]apigateway.Envelope
	s := &shardedSender{}
	for i := range got {
		s.shards = append(s.shards, senderFunc(func(e []apigateway.Envelope) { got[i] = append(got[i], e...) }))
	}
	require.NoError(t, s.Send(t.Context(), []apigateway.Envelope{{Group: "instrument-1"}, {Group: "instrument-2"}, {Group: "account-7"}}))
	assert.Equal(t, [2][]apigateway.Envelope{{{Group: "2"}, {Group: "account-7"}}, {{Group: "1"}}}, got)
	assert.ErrorIs(t, s.Send(t.Context(), []apigateway.Envelope{{Group: "instrument-x"}}), pipeline.ErrInvalid)
	p := shardedPublisher{memory.NewPublisher()}
	assert.ErrorIs(t, p.Publish(t.Context(), make([]pipeline.Committed, 1)), pipeline.ErrNotCommitted)
	assert.NoError(t, p.Publish(t.Context(), nil))
}

func TestSockets(t *testing.T) {
	e := testEnv(t)
	table := apigateway.NewMemoryTable()
	sessions, err := apigateway.NewSessions(apigateway.SessionsConfig{Instruments: e.Instruments(), Table: table, Ask: senderFunc(func([]apigateway.Envelope) {}),
		Verify: func(string) (apigateway.Identity, error) { return apigateway.Identity{}, errors.New("bad") }})
	require.NoError(t, err)
	call := func(kind, body string, authorizer any) (int, string) {
		var ev events.APIGatewayWebsocketProxyRequest
		ev.RequestContext.ConnectionID, ev.RequestContext.EventType, ev.RequestContext.Authorizer, ev.Body = "c", kind, authorizer, body
		out, err := e.Sockets(sessions)(t.Context(), ev)
		require.NoError(t, err)
		return out.StatusCode, out.Body
	}
	status, _ := call("MESSAGE", `{"op":"subscribe","channel":"book","symbol":"BTC-USD"}`, nil)
	assert.Equal(t, http.StatusGone, status, "nobody connected")
	status, _ = call("CONNECT", "", map[string]any{"account": "7", "expires": "4000000000"})
	assert.Equal(t, http.StatusOK, status)
	c, err := table.Connection(t.Context(), "c")
	require.NoError(t, err)
	assert.Equal(t, apigateway.Identity{Account: 7, Expires: time.Unix(4_000_000_000, 0)}, c.Identity)
	_, body := call("MESSAGE", `{"op":"subscribe","channel":"orders"}`, nil)
	assert.JSONEq(t, `{"type":"subscribed","channel":"orders"}`, body)
	status, _ = call("DISCONNECT", "", nil)
	assert.Equal(t, http.StatusOK, status)
	_, err = table.Connection(t.Context(), "c")
	assert.ErrorIs(t, err, pipeline.ErrNotFound)
	assert.Zero(t, identityOf(map[string]any{"expires": "4000000000"}), "nobody's token never ends")
}

// order-processor takes the rule's event as it is, or from the rule's queue.
func TestRequests(t *testing.T) {
	e := testEnv(t)
	var got []string
	handle := e.Requests(func(_ context.Context, r *pipeline.Request) error {
		got = append(got, r.Key)
		if r.Key == "bad" {
			return errors.New("as told")
		}
		return nil
	})
	event := func(key string) string {
		detail, err := pipeline.EncodeRequest(&pipeline.Request{Kind: pipeline.RequestNew, Account: 7, Time: 1, Key: key})
		require.NoError(t, err)
		data, err := json.Marshal(events.EventBridgeEvent{Source: eventbridge.Source, DetailType: eventbridge.DetailType, Detail: detail})
		require.NoError(t, err)
		return string(data)
	}
	_, err := handle(t.Context(), json.RawMessage(event("a")))
	require.NoError(t, err)
	_, err = handle(t.Context(), json.RawMessage(event("bad")))
	assert.ErrorContains(t, err, "as told", "the event fails, and comes again")
	queue, err := json.Marshal(events.SQSEvent{Records: []events.SQSMessage{record("1", "", event("b"))}})
	require.NoError(t, err)
	out, err := handle(t.Context(), queue)
	require.NoError(t, err)
	assert.Empty(t, failures(out.(events.SQSEventResponse)))
	queue, err = json.Marshal(events.SQSEvent{Records: []events.SQSMessage{record("1", "", event("bad"))}})
	require.NoError(t, err)
	out, err = handle(t.Context(), queue)
	require.NoError(t, err)
	assert.Equal(t, []string{"1"}, failures(out.(events.SQSEventResponse)))
	assert.Equal(t, []string{"a", "bad", "b", "bad"}, got)
	_, err = handle(t.Context(), json.RawMessage(`{"source":"aws.health","detail":{}}`))
	assert.NoError(t, err, "no request, and never will be")
	_, err = handle(t.Context(), json.RawMessage("[]"))
	assert.Error(t, err)
}

type admissionFunc func(pipeline.Message) error

func (f admissionFunc) Handle(_ context.Context, m pipeline.Message) error { return f(m) }

// What order-processor sends to risk-checker arrives, and so does its failure.
func TestRemoteRisk(t *testing.T) {
	var got pipeline.Message
	var fail error
	admit := Admit(admissionFunc(func(m pipeline.Message) error { got = m; return fail }))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a admission
		_ = json.NewDecoder(r.Body).Decode(&a)
		if err := admit(r.Context(), a); err != nil {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
		}
		_, _ = w.Write([]byte("null"))
	}))
	defer srv.Close()
	risk := newRemoteRisk(awslambda.New(awslambda.Options{Region: "r", BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1, Credentials: aws.AnonymousCredentials{}}), "risk-checker")
	m := pipeline.Message{Command: exchange.LimitOrder(1, 7, exchange.Buy, 100, 2), ClientID: "a"}
	m.Command.ID, m.Command.Time = exchange.CommandID{1}, 5
	require.NoError(t, risk.Handle(t.Context(), m))
	assert.Equal(t, m, got)
	fail = errors.New("as told")
	assert.ErrorContains(t, risk.Handle(t.Context(), m), "risk checker: Unhandled")
	srv.Close()
	assert.ErrorContains(t, risk.Handle(t.Context(), m), "asking the risk checker")
	assert.Error(t, admit(t.Context(), admission{[]byte{1}}), "no message")
}

// What cannot be built fails the event, and is built with the next one.
func TestFunction(t *testing.T) {
	e := testEnv(t)
	builds := 0
	f := newFunction(e, func(context.Context, *Env) (any, error) {
		if builds++; builds == 1 {
			e.fail("table", errors.New("not there"))
			return nil, errors.New("no journal")
		}
		return func(_ context.Context, n int) (int, error) { return n + 1, nil }, nil
	})
	_, err := f.Invoke(t.Context(), []byte("1"))
	assert.EqualError(t, err, "test: table: not there", "the cause, not what came of it")
	for range 2 {
		out, err := f.Invoke(t.Context(), []byte("1"))
		require.NoError(t, err)
		assert.Equal(t, "2", string(out))
	}
	assert.Equal(t, 2, builds)
}

// The sweeper tells consumers again, but not in every pass.
func TestWaker(t *testing.T) {
	in := testInstruments(t)[0]
	log := pipeline.NewLog(memory.NewJournal())
	item, err := log.Append(t.Context(), pipeline.Head{}, &pipeline.Batch{Instrument: in.ID(), Rules: pipeline.CurrentRules})
	require.NoError(t, err)
	p := memory.NewPublisher()
	notices := p.Subscribe()
	w := &waker{log: log, publisher: p, told: map[exchange.InstrumentID]told{}}
	n := pipeline.Notice{Instrument: in.ID(), Position: item.Position()}
	for range 3 {
		require.NoError(t, w.tell(t.Context(), n))
	}
	got, err := notices.Next(t.Context())
	require.NoError(t, err)
	assert.Equal(t, n, got)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = notices.Next(ctx)
	assert.ErrorIs(t, err, context.Canceled, "told once")
}

// A read has what was committed when it came, and waits for it.
func TestPositions(t *testing.T) {
	in := testInstruments(t)[0]
	log := pipeline.NewLog(memory.NewJournal())
	trades := memory.NewTradeStore()
	p := &Positions{Log: log, Trades: trades, Balances: memory.NewBalances(memory.BalancesConfig{})}
	at, err := p.Recorded(t.Context(), in.ID())
	require.NoError(t, err)
	assert.Zero(t, at, "nothing has happened yet")
	event := exchange.Event{Kind: exchange.EventRejected, Instrument: in.ID(), Seq: 4, Reason: exchange.UnknownOrder}
	item, err := log.Append(t.Context(), pipeline.Head{}, &pipeline.Batch{Instrument: in.ID(), Rules: pipeline.CurrentRules,
		Entries: []pipeline.Entry{{Message: pipeline.Message{Command: exchange.Cancel(in.ID(), 7, 1)}, Events: []exchange.Event{event}}}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = p.Recorded(ctx, in.ID())
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, trades.Record(t.Context(), item, &pipeline.Record{}))
	at, err = p.Recorded(t.Context(), in.ID())
	require.NoError(t, err)
	assert.EqualValues(t, 1, at.Position)
	assert.EqualValues(t, 4, at.Seq)
	committed, recorded, settled, err := p.Stages(t.Context(), in.ID())
	require.NoError(t, err)
	assert.EqualValues(t, 4, committed.Seq)
	assert.EqualValues(t, 1, recorded.Position)
	assert.Zero(t, settled)
}

func TestPooled(t *testing.T) {
	assert.Equal(t, "postgres://db/x?pool_max_conns=4", pooled("postgres://db/x"))
	assert.Equal(t, "postgres://db/x?sslmode=require&pool_max_conns=4", pooled("postgres://db/x?sslmode=require"))
	assert.Equal(t, "postgres://db/x?pool_max_conns=9", pooled("postgres://db/x?pool_max_conns=9"))
	assert.Empty(t, pooled(""))
}
