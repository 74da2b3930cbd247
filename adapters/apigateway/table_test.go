package apigateway_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	services "github.com/castlecloud/exchange/adapters/standin"
	standin "github.com/castlecloud/exchange/adapters/standin/websocket"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

var (
	bookA    = apigateway.Topic{Channel: pipeline.ChannelBook, Instrument: 1}
	bookB    = apigateway.Topic{Channel: pipeline.ChannelBook, Instrument: 2}
	orders7  = apigateway.Topic{Channel: pipeline.ChannelOrders, Instrument: 1, Account: 7}
	balance7 = apigateway.Topic{Channel: pipeline.ChannelBalances, Account: 7}
)

// tableCases are what every Table does.
var tableCases = []exchangetest.Case[exchangetest.Open[apigateway.Table]]{
	{Name: "connections", Run: tableConnections},
	{Name: "subscriptions", Run: tableSubscriptions},
	{Name: "versions", Run: tableVersions},
	{Name: "identities", Run: tableIdentities},
	{Name: "pages", Run: tablePages},
	{Name: "at the same time", Run: tableRace},
	{Name: "how far it is pushed", Run: tablePushed},
}

func TestMemoryTable(t *testing.T) {
	exchangetest.Run(t, tableCases, func(testing.TB) apigateway.Table { return apigateway.NewMemoryTable() })
}

// The same on DynamoDB Local, and the Pusher's suite but for the twenty thousand
// pushes of one case, which are the same code as with the other table.
func TestDynamoTable(t *testing.T) {
	server := services.ForTest(t, services.DynamoDB)
	client := dynamodb.New(dynamodb.Options{BaseEndpoint: aws.String(server.URL()), Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	var mu sync.Mutex
	n := 0
	open := func(t testing.TB) apigateway.Table {
		mu.Lock()
		n++
		table := apigateway.NewDynamoTable(client, fmt.Sprint("connections-", n))
		mu.Unlock()
		require.NoError(t, table.Create(t.Context()))
		require.NoError(t, table.Create(t.Context()), "again")
		return table
	}
	exchangetest.Run(t, tableCases, open)
	cases := slices.DeleteFunc(slices.Clone(exchangetest.PusherCases), func(c exchangetest.Case[exchangetest.PusherHarness]) bool {
		return c.Name == "nobody waits for a slow client"
	})
	require.Len(t, cases, len(exchangetest.PusherCases)-1)
	exchangetest.Run(t, cases, harness(open))
}

func tableConnections(t testing.TB, open exchangetest.Open[apigateway.Table]) {
	ctx, table := t.Context(), open(t)
	_, err := table.Connection(ctx, "a=")
	require.ErrorIs(t, err, pipeline.ErrNotFound)
	require.NoError(t, table.Remove(ctx, "a="))
	until := time.Unix(1_700_000_000, 123456789)
	require.NoError(t, table.Connect(ctx, "a=", apigateway.Identity{Account: 1<<64 - 1, Expires: until}))
	require.NoError(t, table.Connect(ctx, "a=", apigateway.Identity{}), "again: nothing changes")
	c, err := table.Connection(ctx, "a=")
	require.NoError(t, err)
	require.True(t, c.Expires.Equal(until))
	c.Expires = time.Time{}
	require.Equal(t, apigateway.Connection{ID: "a=", Identity: apigateway.Identity{Account: 1<<64 - 1}}, c)
	require.NoError(t, table.Subscribe(ctx, "a=", []apigateway.Topic{bookA, bookB}, 10))
	require.NoError(t, table.Remove(ctx, "a="))
	require.NoError(t, table.Remove(ctx, "a="), "again")
	for _, topic := range []apigateway.Topic{bookA, bookB} {
		subs, err := table.Subscribers(ctx, topic)
		require.NoError(t, err)
		require.Empty(t, subs)
	}
	require.ErrorIs(t, table.Subscribe(ctx, "a=", []apigateway.Topic{bookA}, 10), pipeline.ErrNotFound)
	require.ErrorIs(t, table.Identify(ctx, "a=", apigateway.Identity{Account: 7}), pipeline.ErrNotFound)
	gone, err := table.Unsubscribe(ctx, "a=", []apigateway.Topic{bookA})
	require.NoError(t, err)
	require.Zero(t, gone)
}

func subscribers(t testing.TB, table apigateway.Table, topic apigateway.Topic) (ids []string) {
	t.Helper()
	subs, err := table.Subscribers(t.Context(), topic)
	require.NoError(t, err)
	for _, s := range subs {
		ids = append(ids, s.Connection)
	}
	slices.Sort(ids)
	return ids
}

func tableSubscriptions(t testing.TB, open exchangetest.Open[apigateway.Table]) {
	ctx, table := t.Context(), open(t)
	for _, id := range []string{"a", "b"} {
		require.NoError(t, table.Connect(ctx, id, apigateway.Identity{Account: 7}))
	}
	require.NoError(t, table.Subscribe(ctx, "a", []apigateway.Topic{orders7, bookA}, 3))
	require.NoError(t, table.Subscribe(ctx, "a", []apigateway.Topic{bookA, bookB}, 3), "one of them again")
	require.ErrorIs(t, table.Subscribe(ctx, "a", []apigateway.Topic{balance7}, 3), pipeline.ErrFull)
	require.NoError(t, table.Subscribe(ctx, "b", []apigateway.Topic{bookA}, 3))
	require.Equal(t, []string{"a", "b"}, subscribers(t, table, bookA))
	require.Equal(t, []string{"a"}, subscribers(t, table, orders7))
	require.Empty(t, subscribers(t, table, balance7), "none of what was too much")
	c, err := table.Connection(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, []apigateway.Topic{bookA, bookB, orders7}, c.Topics)
	c.Topics[0] = balance7 // the caller's own
	n, err := table.Unsubscribe(ctx, "a", []apigateway.Topic{bookA, balance7})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"b"}, subscribers(t, table, bookA))
	for _, topic := range []apigateway.Topic{{Channel: pipeline.ChannelOrders, Instrument: 1, Account: 8}, {Channel: pipeline.ChannelOrders, Instrument: 1},
		{Channel: pipeline.ChannelBook, Instrument: 1, Account: 7}, {Channel: "x", Instrument: 1}} {
		require.ErrorIs(t, table.Subscribe(ctx, "a", []apigateway.Topic{topic}, 10), pipeline.ErrInvalid, "%+v", topic)
	}
	for _, limit := range []int{0, apigateway.MaxSubscriptions + 1} {
		require.ErrorIs(t, table.Subscribe(ctx, "a", []apigateway.Topic{bookA}, limit), pipeline.ErrInvalid)
	}
	var most []apigateway.Topic
	for i := range apigateway.MaxSubscriptions {
		most = append(most, apigateway.Topic{Channel: pipeline.ChannelTrades, Instrument: exchange.InstrumentID(i + 1)})
	}
	require.NoError(t, table.Connect(ctx, "most", apigateway.Identity{}))
	require.NoError(t, table.Subscribe(ctx, "most", most, apigateway.MaxSubscriptions))
	require.NoError(t, table.Remove(ctx, "most"))
	require.Empty(t, subscribers(t, table, most[0]))
}

// A version changes with whoever comes, goes, or stays longer, and with nobody
// else.
func tableVersions(t testing.TB, open exchangetest.Open[apigateway.Table]) {
	ctx, table := t.Context(), open(t)
	versions := func() [3]uint64 {
		got, err := table.Versions(ctx, []apigateway.Topic{bookA, orders7, bookB, bookA})
		require.NoError(t, err)
		require.Len(t, got, 4)
		require.Equal(t, got[0], got[3], "a topic twice")
		return [3]uint64(got)
	}
	require.Zero(t, versions())
	none, err := table.Versions(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, none)
	who := apigateway.Identity{Account: 7, Expires: time.Unix(1_700_000_000, 0)}
	require.NoError(t, table.Connect(ctx, "a", who))
	require.NoError(t, table.Connect(ctx, "b", who))
	require.Zero(t, versions())
	require.NoError(t, table.Subscribe(ctx, "a", []apigateway.Topic{bookA, orders7}, 3))
	first := versions()
	require.NotZero(t, first[0])
	require.NotZero(t, first[1])
	require.Zero(t, first[2])
	require.Equal(t, first, versions())
	require.NoError(t, table.Subscribe(ctx, "b", []apigateway.Topic{bookA}, 3))
	second := versions()
	require.NotEqual(t, first[0], second[0])
	require.Equal(t, first[1], second[1])
	who.Expires = who.Expires.Add(time.Hour)
	require.NoError(t, table.Identify(ctx, "a", who))
	third := versions()
	require.Equal(t, second[0], third[0])
	require.NotEqual(t, second[1], third[1], "its private topics last longer")
	_, err = table.Unsubscribe(ctx, "b", []apigateway.Topic{bookA})
	require.NoError(t, err)
	require.NotEqual(t, third[0], versions()[0])
	// More than one request reads.
	many := make([]apigateway.Topic, 250)
	for i := range many {
		many[i] = apigateway.Topic{Channel: pipeline.ChannelTicker, Instrument: exchange.InstrumentID(i + 1)}
	}
	many[200] = bookA
	got, err := table.Versions(ctx, many)
	require.NoError(t, err)
	for i, v := range got {
		require.Equal(t, i == 200, v != 0, "%d", i)
	}
}

func tableIdentities(t testing.TB, open exchangetest.Open[apigateway.Table]) {
	ctx, table := t.Context(), open(t)
	require.NoError(t, table.Connect(ctx, "a", apigateway.Identity{}))
	require.ErrorIs(t, table.Subscribe(ctx, "a", []apigateway.Topic{orders7}, 10), pipeline.ErrInvalid, "nobody's")
	first, later := time.Unix(1000, 0), time.Unix(2000, 0)
	require.NoError(t, table.Identify(ctx, "a", apigateway.Identity{Account: 7, Expires: first}))
	require.ErrorIs(t, table.Identify(ctx, "a", apigateway.Identity{Account: 8, Expires: later}), pipeline.ErrConflict)
	require.NoError(t, table.Subscribe(ctx, "a", []apigateway.Topic{orders7, balance7, bookA}, 10))
	expiry := func(topic apigateway.Topic) time.Time {
		subs, err := table.Subscribers(ctx, topic)
		require.NoError(t, err)
		require.Len(t, subs, 1)
		return subs[0].Expires
	}
	require.True(t, expiry(orders7).Equal(first))
	require.True(t, expiry(bookA).IsZero(), "public ones last")
	require.NoError(t, table.Identify(ctx, "a", apigateway.Identity{Account: 7, Expires: later}))
	require.True(t, expiry(orders7).Equal(later))
	require.True(t, expiry(balance7).Equal(later))
	c, err := table.Connection(ctx, "a")
	require.NoError(t, err)
	require.True(t, c.Expires.Equal(later))
}

func tablePages(t testing.TB, open exchangetest.Open[apigateway.Table]) {
	ctx, table := t.Context(), open(t)
	want := map[string]bool{}
	for i := range 50 {
		id := fmt.Sprint("connection-", i)
		want[id] = true
		require.NoError(t, table.Connect(ctx, id, apigateway.Identity{}))
	}
	for _, limit := range []int{1, 7, pipeline.MaxQueryRows} {
		seen := map[string]bool{}
		for after := ""; ; {
			page, err := table.Connections(ctx, after, limit)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			require.LessOrEqual(t, len(page), limit)
			for _, c := range page {
				require.False(t, seen[c.ID], "twice")
				seen[c.ID], after = true, c.ID
			}
		}
		require.Equal(t, want, seen)
	}
	for _, limit := range []int{0, pipeline.MaxQueryRows + 1} {
		_, err := table.Connections(ctx, "", limit)
		require.ErrorIs(t, err, pipeline.ErrInvalid)
	}
}

// Two changes of one connection at the same time both count; a subscription
// never outlives its connection.
func tableRace(t testing.TB, open exchangetest.Open[apigateway.Table]) {
	ctx, table := t.Context(), open(t)
	require.NoError(t, table.Connect(ctx, "a", apigateway.Identity{}))
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			errs[i] = table.Subscribe(ctx, "a", []apigateway.Topic{{Channel: pipeline.ChannelBook, Instrument: exchange.InstrumentID(i + 1)}}, 10)
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	c, err := table.Connection(ctx, "a")
	require.NoError(t, err)
	require.Len(t, c.Topics, len(errs))
	for round := range 10 {
		id := fmt.Sprint("c", round)
		require.NoError(t, table.Connect(ctx, id, apigateway.Identity{}))
		wg.Go(func() {
			if err := table.Subscribe(ctx, id, []apigateway.Topic{bookA, bookB}, 10); err != nil {
				assert.ErrorIs(t, err, pipeline.ErrNotFound)
			}
		})
		wg.Go(func() { assert.NoError(t, table.Remove(ctx, id)) })
		wg.Wait()
		require.NoError(t, table.Remove(ctx, id))
		require.Equal(t, []string{"a"}, subscribers(t, table, bookA))
	}
}

func tablePushed(t testing.TB, open exchangetest.Open[apigateway.Table]) {
	ctx, table := t.Context(), open(t)
	for _, step := range []struct{ set, want pipeline.Position }{{5, 5}, {4, 5}, {5, 5}, {1<<64 - 1, 1<<64 - 1}} {
		require.NoError(t, table.SetPushed(ctx, 1, step.set))
		got, err := table.Pushed(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, step.want, got)
	}
	got, err := table.Pushed(ctx, 2)
	require.NoError(t, err)
	require.Zero(t, got)
}

func TestTopics(t *testing.T) {
	for _, topic := range []apigateway.Topic{bookA, orders7, balance7, {Channel: pipeline.ChannelOrders, Instrument: 0xffff, Account: 1<<64 - 1}} {
		got, err := apigateway.ParseTopic(topic.String())
		require.NoError(t, err)
		assert.Equal(t, topic, got)
	}
	for _, bad := range []string{"", "book", "book.1", "book.1.0.0", "news.1.0", "book.x.0", "book.1.x", "book.-1.0"} {
		_, err := apigateway.ParseTopic(bad)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, bad)
	}
}

// batches is an SQS client that keeps what it is sent, and may refuse.
type batches struct {
	sent   []*sqs.SendMessageBatchInput
	refuse string // the body that is refused
	fail   error
}

func (b *batches) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	if b.fail != nil {
		return nil, b.fail
	}
	b.sent = append(b.sent, in)
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		if *e.MessageBody == b.refuse {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError"), Message: aws.String("try again")})
		}
	}
	return out, nil
}

func TestSQS(t *testing.T) {
	ctx := context.Background()
	client := &batches{}
	q := &apigateway.SQS{Client: client, URL: "https://sqs/push.fifo"}
	require.NoError(t, q.Send(ctx, nil))
	require.Empty(t, client.sent)
	var envelopes []apigateway.Envelope
	for i := range 23 {
		envelopes = append(envelopes, apigateway.Envelope{Group: "instrument-1", DedupID: fmt.Sprint("d", i), Body: fmt.Sprint("body", i)})
	}
	envelopes[11].Body = noise(apigateway.EnvelopeBytes) // the most there may be in a batch
	require.NoError(t, q.Send(ctx, envelopes))
	var got []apigateway.Envelope
	var sizes []int
	for _, b := range client.sent {
		sizes = append(sizes, len(b.Entries))
		total := 0
		for _, e := range b.Entries {
			total += len(*e.MessageBody)
			got = append(got, apigateway.Envelope{Group: *e.MessageGroupId, DedupID: *e.MessageDeduplicationId, Body: *e.MessageBody})
		}
		assert.LessOrEqual(t, total, apigateway.EnvelopeBytes)
	}
	assert.Equal(t, envelopes, got, "in order")
	assert.Equal(t, []int{10, 1, 1, 10, 1}, sizes)
	client.refuse = "body3"
	assert.ErrorContains(t, q.Send(ctx, envelopes), "1 of 10 refused: InternalError: try again")
	client.fail = errors.New("no network")
	assert.ErrorContains(t, q.Send(ctx, envelopes), "no network")
	client.fail, client.sent = nil, nil
	q.URL = "https://sqs/push"
	require.NoError(t, q.Send(ctx, envelopes[:1]))
	assert.Nil(t, client.sent[0].Entries[0].MessageGroupId, "a standard queue has no groups")
}

// A Direct delivers again what could not be delivered, and ends with Close.
func TestDirect(t *testing.T) {
	s := newStand(t, options{})
	c := s.subscribe(pipeline.ChannelTrades, 1, 0)
	s.set(func(s *stand) { s.fault = refuseOnce() })
	s.push(1, tell(pipeline.ChannelTrades, 1, 0, 0, 1, ""))
	assert.EqualValues(t, 1, c.must()["seq"])
	direct := apigateway.NewDirect(s.deliverer)
	require.NoError(t, direct.Send(context.Background(), []apigateway.Envelope{{Group: "g", Body: "no envelope"}}), "what cannot be read is dropped")
	direct.Close()
	direct.Close()
	assert.ErrorContains(t, direct.Send(context.Background(), []apigateway.Envelope{{Group: "g", Body: "x"}}), "closed")
}

// refuseOnce forbids the first post and the closing that follows it.
func refuseOnce() func(string, string) standin.Fault {
	n := 0
	return func(string, string) standin.Fault {
		if n++; n <= 2 {
			return standin.Fault{Status: 403}
		}
		return standin.Fault{}
	}
}
