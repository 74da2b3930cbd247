package sqs_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

var queueNumber atomic.Int64

// stand is a fauxqs of a test's own.
type stand struct{ url string }

func newStand(t testing.TB) stand {
	t.Helper()
	return stand{standin.ForTest(t, standin.Fauxqs).URL()}
}

// client returns a client whose requests go through transport.
func (s stand) client(transport http.RoundTripper) *awssqs.Client {
	return awssqs.New(awssqs.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.url), HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""), RetryMaxAttempts: 1})
}

// queues makes FIFO queues.
func (s stand) queues(t testing.TB, n int) []string {
	t.Helper()
	urls := make([]string, n)
	for i := range urls {
		made, err := s.client(http.DefaultTransport).CreateQueue(t.Context(), &awssqs.CreateQueueInput{
			QueueName: aws.String(fmt.Sprintf("commands-%d.fifo", queueNumber.Add(1))), Attributes: map[string]string{"FifoQueue": "true"}})
		require.NoError(t, err)
		urls[i] = *made.QueueUrl
	}
	return urls
}

func open(t testing.TB, client *awssqs.Client, cfg sqs.Config) *sqs.Queue {
	t.Helper()
	q, err := sqs.NewQueue(client, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // a test does not wait for the ends of long polls
		q.Close(ctx)
	})
	return q
}

// The suite, on one queue and on three.
func TestQueue(t *testing.T) {
	s := newStand(t)
	for _, shards := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d queues", shards), func(t *testing.T) {
			exchangetest.TestQueue(t, exchangetest.QueueHarness{
				Open: func(t testing.TB) pipeline.CommandQueue {
					return open(t, s.client(http.DefaultTransport), sqs.Config{QueueURLs: s.queues(t, shards)})
				},
				Expire:   func(t testing.TB, q pipeline.CommandQueue) { q.(*sqs.Queue).Expire(t) },
				Patience: time.Minute,
			})
		})
	}
}

// wire sees every call of SQS. answer sees it go out, and what it returns, unless
// that is nil, takes the place of SQS's answer; seen sees a call that SQS has
// answered. They are called from the goroutines that call SQS.
type wire struct {
	answer func(operation string, body []byte) any
	seen   func(operation string, body []byte)
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	operation := strings.TrimPrefix(req.Header.Get("X-Amz-Target"), "AmazonSQS.")
	if w.answer != nil {
		if a := w.answer(operation, body); a != nil {
			text, err := json.Marshal(a)
			status := http.StatusOK
			if _, fault := a.(fault); fault {
				status = http.StatusBadRequest
			}
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(bytes.NewReader(text)), Request: req}, err
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil && w.seen != nil {
		w.seen(operation, body)
	}
	return resp, err
}

// fault is an error answer of SQS.
type fault struct {
	Type string `json:"__type"`
}

func msg(inst exchange.InstrumentID, n int) pipeline.QueueMessage {
	return pipeline.QueueMessage{Instrument: inst, DedupID: exchangetest.IDOf(n), Body: fmt.Appendf(nil, "message %d", n)}
}

// take receives and acknowledges all that is there of so many messages.
func take(t *testing.T, q *sqs.Queue, n int) map[exchange.InstrumentID][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := map[exchange.InstrumentID][]string{}
	for n > 0 {
		d, err := q.Receive(ctx, pipeline.MaxReceive)
		require.NoError(t, err)
		for _, m := range d.Messages {
			got[d.Instrument] = append(got[d.Instrument], string(m.Body))
		}
		require.NoError(t, q.Ack(t.Context(), d, len(d.Messages)))
		n -= len(d.Messages)
	}
	return got
}

// An entry that fails is not overtaken by the ones after it, whatever came of
// the other instruments; sent again, all arrive once and in order.
func TestSendFailsInPart(t *testing.T) {
	s := newStand(t)
	w := &wire{}
	q := open(t, s.client(w), sqs.Config{QueueURLs: s.queues(t, 1)})
	sends := 0
	w.answer = func(operation string, body []byte) any {
		if operation != "SendMessageBatch" {
			return nil
		}
		if sends++; sends != 2 {
			return nil
		}
		var call struct{ Entries []struct{ Id string } }
		require.NoError(t, json.Unmarshal(body, &call))
		require.Len(t, call.Entries, 2, "one of each instrument")
		return map[string]any{"Successful": []any{}, "Failed": []any{
			map[string]any{"Id": call.Entries[0].Id, "Code": "InternalError", "Message": "try again", "SenderFault": false},
			map[string]any{"Id": call.Entries[1].Id, "Code": "RequestThrottled", "SenderFault": true}}}
	}
	all := []pipeline.QueueMessage{msg(1, 10), msg(2, 20), msg(1, 11), msg(2, 21), msg(1, 12)}
	err := q.Send(t.Context(), all)
	require.ErrorContains(t, err, "sending message 2: InternalError: try again")
	require.ErrorIs(t, err, pipeline.ErrFull)
	require.Equal(t, 2, sends, "nothing was sent after the failure")
	require.NoError(t, q.Send(t.Context(), all))
	require.Equal(t, map[exchange.InstrumentID][]string{1: {"message 10", "message 11", "message 12"}, 2: {"message 20", "message 21"}}, take(t, q, 5))
}

func TestThrottled(t *testing.T) {
	w := &wire{answer: func(string, []byte) any { return fault{"com.amazonaws.sqs#RequestThrottled"} }}
	q := open(t, stand{"http://127.0.0.1:1"}.client(w), sqs.Config{QueueURLs: []string{"http://q/1/a.fifo"}})
	require.ErrorIs(t, q.Send(t.Context(), []pipeline.QueueMessage{msg(1, 1)}), pipeline.ErrFull)
	w.answer = func(string, []byte) any { return fault{"com.amazonaws.sqs#QueueDoesNotExist"} }
	err := q.Send(t.Context(), []pipeline.QueueMessage{msg(1, 1)})
	require.ErrorContains(t, err, "QueueDoesNotExist")
	require.NotErrorIs(t, err, pipeline.ErrFull)
	_, err = q.Receive(t.Context(), 1)
	require.ErrorContains(t, err, "QueueDoesNotExist")
}

// One command that spans instruments, under one id, reaches all of them.
// Messages without an id are never duplicates.
func TestIDs(t *testing.T) {
	s := newStand(t)
	q := open(t, s.client(http.DefaultTransport), sqs.Config{QueueURLs: s.queues(t, 1)})
	require.NoError(t, q.Send(t.Context(), []pipeline.QueueMessage{msg(1, 7), msg(2, 7), msg(3, 7)}))
	require.Len(t, take(t, q, 3), 3)
	nameless := []pipeline.QueueMessage{{Instrument: 1, Body: []byte("a")}, {Instrument: 1}}
	require.NoError(t, q.Send(t.Context(), nameless))
	require.NoError(t, q.Send(t.Context(), nameless))
	require.Equal(t, map[exchange.InstrumentID][]string{1: {"a", "", "a", ""}}, take(t, q, 4))
}

// A delivery that is worked on is extended until it is done: every third of its
// time, and not a moment longer.
func TestExtends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		calls := make(chan string, 100)
		body := base64.StdEncoding.EncodeToString([]byte("message"))
		sum := md5.Sum([]byte(body))
		q := open(t, stand{"http://127.0.0.1:1"}.client(&wire{answer: func(operation string, request []byte) any {
			var call struct {
				Entries []struct{ VisibilityTimeout int }
			}
			assert.NoError(t, json.Unmarshal(request, &call))
			switch operation {
			case "ReceiveMessage":
				one := map[string]any{"MessageId": "m", "ReceiptHandle": "r", "Body": body, "MD5OfBody": hex.EncodeToString(sum[:]), "Attributes": map[string]string{"MessageGroupId": "1"}}
				return map[string]any{"Messages": []any{one, one}}
			case "ChangeMessageVisibilityBatch":
				calls <- fmt.Sprintf("%v: %d for %ds", time.Since(began), len(call.Entries), call.Entries[0].VisibilityTimeout)
			case "DeleteMessageBatch":
				calls <- fmt.Sprintf("%v: %d deleted", time.Since(began), len(call.Entries))
			}
			return map[string]any{"Successful": []any{}, "Failed": []any{}}
		}}), sqs.Config{QueueURLs: []string{"http://q/1/a.fifo"}, Visibility: 3 * time.Second})
		d, err := q.Receive(t.Context(), 10)
		require.NoError(t, err)
		for _, want := range []string{"1s: 2 for 3s", "2s: 2 for 3s", "3s: 2 for 3s", "4s: 2 for 3s"} {
			require.Equal(t, want, <-calls)
		}
		require.NoError(t, q.Ack(t.Context(), d, 1))
		require.Equal(t, "4s: 1 deleted", <-calls)
		require.Equal(t, "4s: 1 for 0s", <-calls)
		<-time.After(time.Hour)
		require.Empty(t, calls, "after it is done")
	})
}

// What is worked on for longer than MaxWork comes again, by SQS's own clock,
// and whoever had it is refused.
func TestMaxWork(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	q := open(t, s.client(http.DefaultTransport), sqs.Config{QueueURLs: s.queues(t, 1), Visibility: time.Second, MaxWork: time.Second})
	require.NoError(t, q.Send(t.Context(), []pipeline.QueueMessage{msg(1, 1)}))
	d, err := q.Receive(t.Context(), 10)
	require.NoError(t, err)
	again, err := q.Receive(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, d.Messages, again.Messages)
	q.AwaitDeadline(d) // fauxqs takes a receipt that has expired, and SQS refuses it
	require.ErrorIs(t, q.Ack(t.Context(), d, 1), pipeline.ErrNotFound)
}

// What a poll brings when nobody waits any more is for the next Receive, or
// given back.
func TestSpare(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	urls := s.queues(t, 2)
	asked, given := make(chan struct{}, 100), make(chan struct{}, 100)
	q := open(t, s.client(&wire{answer: func(operation string, _ []byte) any {
		if operation == "ReceiveMessage" {
			asked <- struct{}{}
		}
		return nil
	}, seen: func(operation string, body []byte) {
		if operation == "ChangeMessageVisibilityBatch" && strings.Contains(string(body), `"VisibilityTimeout":0`) {
			given <- struct{}{}
		}
	}}), sqs.Config{QueueURLs: urls})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for range urls {
			<-asked
		}
		cancel()
	}()
	_, err := q.Receive(ctx, 10)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, q.Send(t.Context(), []pipeline.QueueMessage{msg(1, 1), msg(2, 2)}))
	<-given
	<-given
	other := open(t, s.client(http.DefaultTransport), sqs.Config{QueueURLs: urls})
	require.Len(t, take(t, other, 2), 2)
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	urls := s.queues(t, 1)
	q := open(t, s.client(http.DefaultTransport), sqs.Config{QueueURLs: urls, Wait: time.Second})
	ended := make(chan error, 1)
	go func() {
		_, err := q.Receive(t.Context(), 10)
		ended <- err
	}()
	_, err := q.Receive(canceled(t), 10)
	require.ErrorIs(t, err, context.Canceled)
	q.Close(t.Context())
	require.ErrorContains(t, <-ended, "closed")
	_, err = q.Receive(t.Context(), 10)
	require.ErrorContains(t, err, "closed")
	require.NoError(t, q.Send(t.Context(), []pipeline.QueueMessage{msg(1, 1)}))
	other := open(t, s.client(http.DefaultTransport), sqs.Config{QueueURLs: urls})
	require.Len(t, take(t, other, 1), 1)
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestAge(t *testing.T) {
	s := newStand(t)
	met := memory.NewMetrics()
	q := open(t, s.client(http.DefaultTransport), sqs.Config{QueueURLs: s.queues(t, 3), Metrics: met})
	require.NoError(t, q.Send(t.Context(), []pipeline.QueueMessage{msg(1, 1), msg(2, 2), msg(3, 3)}))
	b, err := q.Backlog(t.Context())
	require.NoError(t, err)
	require.Equal(t, sqs.Backlog{Waiting: 3}, b)
	d, err := q.Receive(t.Context(), 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, met.Read(pipeline.MetricQueueWait, d.Instrument).Count)
}

func TestConfig(t *testing.T) {
	s := stand{"http://127.0.0.1:1"}
	client := s.client(http.DefaultTransport)
	good := []string{"http://q/1/a.fifo"}
	many := make([]string, sqs.MaxQueues+1)
	for _, c := range []struct {
		cfg  sqs.Config
		want string
	}{
		{sqs.Config{}, "0 QueueURLs, expected 1 to 256"},
		{sqs.Config{QueueURLs: many}, "257 QueueURLs"},
		{sqs.Config{QueueURLs: []string{"http://q/1/a"}}, "QueueURLs[0] \"http://q/1/a\": expected a FIFO queue"},
		{sqs.Config{QueueURLs: []string{good[0], good[0]}}, "is there twice"},
		{sqs.Config{QueueURLs: good, Visibility: time.Millisecond}, "Visibility 1ms: expected 1s to 12h"},
		{sqs.Config{QueueURLs: good, Visibility: 1500 * time.Millisecond}, "Visibility 1.5s: expected whole seconds"},
		{sqs.Config{QueueURLs: good, Visibility: 13 * time.Hour}, "Visibility 13h0m0s"},
		{sqs.Config{QueueURLs: good, MaxWork: time.Second}, "MaxWork 1s: expected 30s to 12h"},
		{sqs.Config{QueueURLs: good, Wait: 21 * time.Second}, "Wait 21s: expected 1s to 20s"},
	} {
		_, err := sqs.NewQueue(client, c.cfg)
		require.ErrorIs(t, err, pipeline.ErrInvalid)
		require.ErrorContains(t, err, c.want)
	}
	_, err := sqs.NewQueue(nil, sqs.Config{QueueURLs: good})
	require.ErrorIs(t, err, pipeline.ErrInvalid)
}
