package sns

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/join"
	"github.com/castlecloud/exchange/pipeline"
)

// The attributes of a message, for the filter policies of subscriptions.
const (
	AttributeInstrument = "instrument" // Number: its id
	AttributePosition   = "position"   // Number: of the last journal item
	AttributeKinds      = "kinds"      // String.Array: the kinds of the events, as "traded"
)

// Config says where to publish.
type Config struct {
	// TopicARN is the topic. One whose name ends with .fifo is a FIFO topic, and
	// an instrument is a message group of it; another is a standard one, whose
	// messages come in any order and more than once.
	TopicARN string
}

// Publisher is a pipeline.Publisher. Make it with NewPublisher.
type Publisher struct {
	client *sns.Client
	topic  string
	fifo   bool
	joined *join.Batcher[*sns.PublishInput]
}

// NewPublisher checks the settings. Nothing is called yet.
func NewPublisher(client *sns.Client, cfg Config) (*Publisher, error) {
	if client == nil {
		return nil, fmt.Errorf("sns: %w: no client", pipeline.ErrInvalid)
	}
	if parts := strings.Split(cfg.TopicARN, ":"); len(parts) != 6 || parts[0] != "arn" || parts[2] != "sns" || parts[5] == "" {
		return nil, fmt.Errorf("sns: %w: TopicARN %q: expected arn:PARTITION:sns:REGION:ACCOUNT:NAME", pipeline.ErrInvalid, cfg.TopicARN)
	}
	p := &Publisher{client: client, topic: cfg.TopicARN, fifo: strings.HasSuffix(cfg.TopicARN, ".fifo")}
	p.joined = join.New(batchPublish, publishBatches, p.publishAll)
	return p, nil
}

// Publish implements pipeline.Publisher. As many items as fit are one message,
// and the messages are sent one after the other, so that none overtakes another
// when one fails. Publishing again tells again: a consumer that has lost a
// notice gets another one.
func (p *Publisher) Publish(ctx context.Context, items []pipeline.Committed) error {
	for i := range items {
		if err := items[i].Check(); err != nil {
			return fmt.Errorf("publishing item %d of %d: %w", i+1, len(items), err)
		}
		if i == 0 {
			continue
		}
		if a, b := items[i-1], items[i]; a.Instrument() != b.Instrument() || a.Position() >= b.Position() {
			return fmt.Errorf("publishing: %w: item %d of instrument %d after item %d of instrument %d",
				pipeline.ErrInvalid, b.Position(), b.Instrument(), a.Position(), a.Instrument())
		}
	}
	for len(items) > 0 {
		out, n, err := pack(items)
		if err != nil {
			return err
		}
		if err := p.send(ctx, out); err != nil {
			return fmt.Errorf("publishing items %d to %d of instrument %d: %w", out.from, out.to, out.instrument, err)
		}
		items = items[n:]
	}
	return nil
}

// packed is a message as it is sent.
type packed struct {
	instrument exchange.InstrumentID
	from, to   pipeline.Position
	body       []byte
	kinds      []string // sorted, none twice
}

// pack makes a message of the first n items, as many as fit and follow each
// other, at least one.
func pack(items []pipeline.Committed) (out packed, n int, err error) {
	first := items[0]
	out = packed{instrument: first.Instrument(), from: first.Position(), to: first.Position()}
	body := fmt.Appendf(nil, `{"instrument":%d,"from":"%d"`, out.instrument, out.from)
	const room = 64 // of what closes the message
	var list []byte
	for n < len(items) && (n == 0 || items[n].Position() == out.to+1) {
		text, kinds, err := itemJSON(items[n])
		if err != nil {
			return out, 0, err
		}
		fits := len(body)+len(list)+len(text)+room <= MaxMessageBytes
		if !fits && n > 0 {
			break
		}
		out.kinds = append(out.kinds, kinds...)
		out.to = items[n].Position()
		n++
		if !fits { // it is referred to
			break
		}
		if len(list) > 0 {
			list = append(list, ',')
		}
		list = append(list, text...)
	}
	slices.Sort(out.kinds)
	out.kinds = slices.Compact(out.kinds)
	body = fmt.Appendf(body, `,"to":"%d"`, out.to)
	if len(list) > 0 {
		body = append(append(append(body, `,"items":[`...), list...), ']')
	}
	out.body = append(body, '}')
	return out, n, nil
}

// itemJSON returns an Item as JSON, and the kinds of its events.
func itemJSON(c pipeline.Committed) (text []byte, kinds []string, err error) {
	item := Item{Position: c.Position(), Events: []Event{}}
	entries := c.Batch().Entries
	for i := range entries {
		for j := range entries[i].Events {
			ev := &entries[i].Events[j]
			item.Events = append(item.Events, eventOf(ev))
			if kind := ev.Kind.String(); !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	if text, err = json.Marshal(&item); err != nil {
		return nil, nil, fmt.Errorf("publishing item %d of instrument %d: %w", c.Position(), c.Instrument(), err)
	}
	return text, kinds, nil
}

func (p *Publisher) send(ctx context.Context, m packed) error {
	kinds := make([]byte, 0, 64)
	kinds = append(kinds, '[')
	for i, kind := range m.kinds {
		if i > 0 {
			kinds = append(kinds, ',')
		}
		kinds = strconv.AppendQuote(kinds, kind)
	}
	kinds = append(kinds, ']')
	instrument := strconv.FormatUint(uint64(m.instrument), 10)
	in := &sns.PublishInput{TopicArn: &p.topic, Message: aws.String(string(m.body)), MessageAttributes: map[string]types.MessageAttributeValue{
		AttributeInstrument: {DataType: aws.String("Number"), StringValue: aws.String(instrument)},
		AttributePosition:   {DataType: aws.String("Number"), StringValue: aws.String(strconv.FormatUint(uint64(m.to), 10))},
		AttributeKinds:      {DataType: aws.String("String.Array"), StringValue: aws.String(string(kinds))},
	}}
	if p.fifo {
		in.MessageGroupId = &instrument
		// A call that the client repeats has one id; publishing again has
		// another, or SNS would drop what a consumer waits for.
		in.MessageDeduplicationId = aws.String(rand.Text())
	}
	if len(m.body) > joinBytes {
		_, err := p.client.Publish(ctx, in)
		return err
	}
	return p.joined.Do(ctx, in)
}

const (
	batchPublish    = 10       // messages of one call, as SNS has it
	joinBytes       = 20 << 10 // longer messages go by themselves: a call takes 256 KB
	publishBatches  = 4        // calls on their way that join messages of several
	publishPatience = 10 * time.Second
)

// publishAll sends what several calls of Publish have to say at the same time.
func (p *Publisher) publishAll(ctx context.Context, messages []*sns.PublishInput) []error {
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	if len(messages) == 1 {
		_, err := p.client.Publish(ctx, messages[0])
		return []error{err}
	}
	in, errs := &sns.PublishBatchInput{TopicArn: &p.topic}, make([]error, len(messages))
	for i, m := range messages {
		errs[i] = join.ErrUnanswered
		in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries, types.PublishBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), Message: m.Message,
			MessageAttributes: m.MessageAttributes, MessageGroupId: m.MessageGroupId, MessageDeduplicationId: m.MessageDeduplicationId})
	}
	out, err := p.client.PublishBatch(ctx, in)
	if err != nil {
		return slices.Repeat([]error{err}, len(messages))
	}
	for i := range out.Successful {
		join.Named(errs, out.Successful[i].Id, nil)
	}
	for i := range out.Failed {
		f := &out.Failed[i]
		join.Named(errs, f.Id, fmt.Errorf("%s: %s", aws.ToString(f.Code), aws.ToString(f.Message)))
	}
	return errs
}
