package sns_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/sns"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

var number atomic.Int64

// stand is SNS and SQS.
type stand struct {
	sns *awssns.Client
	sqs *awssqs.Client
}

func newStand(t testing.TB) stand {
	t.Helper()
	url := standin.ForTest(t, standin.Fauxqs).URL()
	keys := credentials.NewStaticCredentialsProvider("local", "local", "")
	return stand{
		awssns.New(awssns.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: keys}),
		awssqs.New(awssqs.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: keys}),
	}
}

// topic makes a topic with so many queues that are subscribed to it.
func (s stand) topic(t testing.TB, fifo, raw bool, queues int, filter string) (arn string, urls []string) {
	t.Helper()
	suffix, attributes := "", map[string]string{}
	if fifo {
		suffix, attributes["FifoQueue"] = ".fifo", "true"
	}
	name := fmt.Sprintf("exchange-test-%d-%d", time.Now().UnixNano(), number.Add(1))
	in := &awssns.CreateTopicInput{Name: aws.String(name + suffix)}
	if fifo {
		in.Attributes = map[string]string{"FifoTopic": "true"}
	}
	topic, err := s.sns.CreateTopic(t.Context(), in)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := s.sns.DeleteTopic(context.Background(), &awssns.DeleteTopicInput{TopicArn: topic.TopicArn})
		require.NoError(t, err)
	})
	for i := range queues {
		queue, err := s.sqs.CreateQueue(t.Context(), &awssqs.CreateQueueInput{QueueName: aws.String(fmt.Sprintf("%s-%d%s", name, i, suffix)), Attributes: attributes})
		require.NoError(t, err)
		t.Cleanup(func() {
			_, err := s.sqs.DeleteQueue(context.Background(), &awssqs.DeleteQueueInput{QueueUrl: queue.QueueUrl})
			require.NoError(t, err)
		})
		of, err := s.sqs.GetQueueAttributes(t.Context(), &awssqs.GetQueueAttributesInput{QueueUrl: queue.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
		require.NoError(t, err)
		policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":%q,"Condition":{"ArnEquals":{"aws:SourceArn":%q}}}]}`, of.Attributes["QueueArn"], *topic.TopicArn)
		_, err = s.sqs.SetQueueAttributes(t.Context(), &awssqs.SetQueueAttributesInput{QueueUrl: queue.QueueUrl, Attributes: map[string]string{"Policy": policy}})
		require.NoError(t, err)
		subscription := map[string]string{"RawMessageDelivery": fmt.Sprint(raw)}
		if filter != "" {
			subscription["FilterPolicy"] = filter
		}
		_, err = s.sns.Subscribe(t.Context(), &awssns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(of.Attributes["QueueArn"]), Attributes: subscription})
		require.NoError(t, err)
		urls = append(urls, *queue.QueueUrl)
	}
	return *topic.TopicArn, urls
}

func (s stand) publisher(t testing.TB, arn string) *sns.Publisher {
	t.Helper()
	p, err := sns.NewPublisher(s.sns, sns.Config{TopicARN: arn})
	require.NoError(t, err)
	return p
}

func (s stand) notices(t testing.TB, url string) *sns.Notices {
	t.Helper()
	n, err := sns.NewNotices(s.sqs, sns.NoticesConfig{QueueURL: url})
	require.NoError(t, err)
	t.Cleanup(n.Close)
	return n
}

func (s stand) harness(fifo, raw bool) exchangetest.PublisherHarness {
	return exchangetest.PublisherHarness{
		Open: func(t testing.TB, consumers int) (pipeline.Publisher, []func(context.Context) (pipeline.Notice, error)) {
			arn, urls := s.topic(t, fifo, raw, consumers, "")
			next := make([]func(context.Context) (pipeline.Notice, error), consumers)
			for i := range next {
				next[i] = s.notices(t, urls[i]).Next
			}
			return s.publisher(t, arn), next
		},
		Patience: time.Minute,
	}
}

// The suite, on a FIFO topic with raw delivery and on a standard one with the
// envelope of SNS.
func TestPublisher(t *testing.T) {
	s := newStand(t)
	t.Run("fifo", func(t *testing.T) { exchangetest.TestPublisher(t, s.harness(true, true)) })
	t.Run("standard", func(t *testing.T) { exchangetest.TestPublisher(t, s.harness(false, false)) })
}

// commit makes items of an instrument, each with so many events.
func commit(t *testing.T, inst exchange.InstrumentID, sizes ...int) []pipeline.Committed {
	t.Helper()
	log := pipeline.NewLog(memory.NewJournal())
	var head pipeline.Head
	var items []pipeline.Committed
	seq := uint64(0)
	for i, size := range sizes {
		b := &pipeline.Batch{Instrument: inst, Rules: pipeline.CurrentRules, Entries: []pipeline.Entry{{Message: pipeline.Message{Command: exchange.AdvanceTime(inst, exchange.Time(i+1))}}}}
		for range size {
			seq++
			b.Entries[0].Events = append(b.Entries[0].Events, exchange.Event{Kind: exchange.EventTrade, Command: exchange.KindNewOrder, Side: exchange.Buy, Instrument: inst, Seq: seq, Time: 5,
				ID: exchangetest.IDOf(int(seq)), Account: 1<<64 - 1, OrderID: 7, MakerAccount: 3, TradeID: exchange.TradeID(seq), Price: 1<<62 + 1, Qty: 10, Fee: -3})
		}
		c, err := log.Append(t.Context(), head, b)
		require.NoError(t, err)
		items, head = append(items, c), c.Head()
	}
	return items
}

// bodies receives so many messages of a queue, in order.
func (s stand) bodies(t *testing.T, url string, n int) []string {
	t.Helper()
	var got []string
	for len(got) < n {
		answer, err := s.sqs.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 1, WaitTimeSeconds: 20})
		require.NoError(t, err)
		require.Len(t, answer.Messages, 1)
		got = append(got, *answer.Messages[0].Body)
		_, err = s.sqs.DeleteMessage(t.Context(), &awssqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: answer.Messages[0].ReceiptHandle})
		require.NoError(t, err)
	}
	return got
}

// Messages follow each other without a gap, each within the bound; an item that
// is too large for one is referred to.
func TestMessages(t *testing.T) {
	s := newStand(t)
	arn, urls := s.topic(t, true, true, 1, "")
	items := commit(t, 7, 1, 0, 300, 200, 2000, 2)
	require.NoError(t, s.publisher(t, arn).Publish(t.Context(), items))
	var got []string
	next, seq := pipeline.Position(1), uint64(1)
	for _, body := range s.bodies(t, urls[0], 4) {
		require.LessOrEqual(t, len(body), sns.MaxMessageBytes)
		m, err := sns.Decode(body)
		require.NoError(t, err)
		require.Equal(t, next, m.From)
		next = m.To + 1
		require.Equal(t, pipeline.Notice{Instrument: 7, Position: m.To}, m.Notice())
		got = append(got, fmt.Sprintf("%d-%d:%d", m.From, m.To, len(m.Items)))
		for i, item := range m.Items {
			require.Equal(t, m.From+pipeline.Position(i), item.Position)
			for _, ev := range item.Events {
				if ev.Seq > 501 {
					seq = max(seq, 2502)
				}
				require.Equal(t, seq, ev.Seq)
				seq++
				require.Equal(t, "traded", ev.Kind)
				require.Equal(t, "buy", ev.Side)
				require.EqualValues(t, uint64(1<<64-1), ev.Account)
				require.EqualValues(t, 1<<62+1, ev.Price)
				require.EqualValues(t, -3, ev.Fee)
			}
		}
	}
	require.Equal(t, []string{"1-3:3", "4-4:1", "5-5:0", "6-6:1"}, got)
	require.EqualValues(t, 2504, seq)

	// Items that do not follow each other are in messages of their own.
	require.NoError(t, s.publisher(t, arn).Publish(t.Context(), []pipeline.Committed{items[0], items[5]}))
	for i, body := range s.bodies(t, urls[0], 2) {
		m, err := sns.Decode(body)
		require.NoError(t, err)
		require.Equal(t, []pipeline.Position{1, 6}[i], m.From)
		require.Equal(t, m.From, m.To)
	}
}

// The JSON of a message, for those who read it without this package.
func TestMessageJSON(t *testing.T) {
	s := newStand(t)
	arn, urls := s.topic(t, true, true, 1, "")
	require.NoError(t, s.publisher(t, arn).Publish(t.Context(), commit(t, 7, 1)))
	require.JSONEq(t, `{"instrument":7,"from":"1","to":"1","items":[{"position":"1","events":[{"kind":"traded","command":"new order","seq":"1","time":"5",
		"id":"00000000000000010000000000000000","instrument":7,"account":"18446744073709551615","order_id":"7","side":"buy","maker_account":"3","trade_id":"1",
		"price":"4611686018427387905","qty":"10","fee":"-3"}]}]}`, s.bodies(t, urls[0], 1)[0])
}

// Subscriptions can filter by instrument, and by kind of event: fauxqs knows no
// String.Array, so of the kinds only the attribute is looked at here.
func TestFilter(t *testing.T) {
	s := newStand(t)
	arn, urls := s.topic(t, true, true, 1, `{"instrument":[{"numeric":["=",8]}]}`)
	p := s.publisher(t, arn)
	require.NoError(t, p.Publish(t.Context(), commit(t, 7, 1)))
	require.NoError(t, p.Publish(t.Context(), commit(t, 8, 1, 1)))
	answer, err := s.sqs.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: &urls[0], MaxNumberOfMessages: 10, WaitTimeSeconds: 20, MessageAttributeNames: []string{"All"}})
	require.NoError(t, err)
	require.Len(t, answer.Messages, 1)
	got := map[string]string{}
	for name, a := range answer.Messages[0].MessageAttributes {
		got[name] = *a.DataType + " " + *a.StringValue
	}
	require.Equal(t, map[string]string{"instrument": "Number 8", "position": "Number 2", "kinds": `String.Array ["traded"]`}, got)
}

func TestFails(t *testing.T) {
	p, err := sns.NewPublisher(awssns.New(awssns.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://127.0.0.1:1"), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), HTTPClient: http.DefaultClient}), sns.Config{TopicARN: "arn:aws:sns:us-east-1:1:a"})
	require.NoError(t, err)
	require.ErrorContains(t, p.Publish(t.Context(), commit(t, 7, 1, 1)), "publishing items 1 to 2 of instrument 7")
	require.NoError(t, p.Publish(t.Context(), nil))
	for _, arn := range []string{"", "arn:aws:sqs:us-east-1:1:a", "arn:aws:sns:us-east-1:1:", "topic"} {
		_, err := sns.NewPublisher(&awssns.Client{}, sns.Config{TopicARN: arn})
		require.ErrorIs(t, err, pipeline.ErrInvalid)
		require.ErrorContains(t, err, fmt.Sprintf("TopicARN %q", arn))
	}
	for _, cfg := range []sns.NoticesConfig{{}, {QueueURL: "q", Wait: time.Millisecond}, {QueueURL: "q", Wait: 21 * time.Second}, {QueueURL: "q", Wait: 1500 * time.Millisecond}} {
		_, err := sns.NewNotices(awssqs.New(awssqs.Options{}), cfg)
		require.ErrorIs(t, err, pipeline.ErrInvalid)
	}
	for _, body := range []string{"", "{}", `{"Type":"Notification","Message":"no"}`, `{"instrument":1,"from":"2","to":"1"}`, `{"instrument":1,"from":2,"to":3}`} {
		_, err := sns.Decode(body)
		require.ErrorIs(t, err, sns.ErrMessage, "%q", body)
	}
}

func text(inst, to int) string {
	return fmt.Sprintf(`{"instrument":%d,"from":"1","to":"%d"}`, inst, to)
}

func enveloped(t *testing.T, message string) string {
	body, err := json.Marshal(map[string]string{"Type": "Notification", "Message": message})
	require.NoError(t, err)
	return string(body)
}

// A function on a consumer's queue handles the latest notice of each
// instrument; one that fails gets all its records again.
func TestHandleEvent(t *testing.T) {
	event := &events.SQSEvent{Records: []events.SQSMessage{
		{MessageId: "a", Body: text(1, 3)}, {MessageId: "b", Body: enveloped(t, text(2, 5))}, {MessageId: "c", Body: text(1, 9)}, {MessageId: "d", Body: text(1, 4)}, {MessageId: "e", Body: "?"},
	}}
	var got []pipeline.Notice
	response, err := sns.HandleEvent(t.Context(), event, func(_ context.Context, n pipeline.Notice) error {
		got = append(got, n)
		if n.Instrument == 1 {
			return errors.New("not now")
		}
		return nil
	})
	require.Equal(t, []pipeline.Notice{{Instrument: 1, Position: 9}, {Instrument: 2, Position: 5}}, got)
	var failed []string
	for _, f := range response.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	require.Equal(t, "a c d", strings.Join(failed, " "))
	require.ErrorContains(t, err, "instrument 1: not now")
	require.ErrorContains(t, err, "record 4 (e) is dropped")
}

func TestOfSNS(t *testing.T) {
	event := &events.SNSEvent{}
	for _, message := range []string{text(1, 3), text(2, 5), "?", text(1, 2)} {
		event.Records = append(event.Records, events.SNSEventRecord{SNS: events.SNSEntity{Message: message}})
	}
	notices, err := sns.OfSNS(event)
	require.Equal(t, []pipeline.Notice{{Instrument: 1, Position: 3}, {Instrument: 2, Position: 5}}, notices)
	require.ErrorContains(t, err, "record 2")
}
