package sns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/plainbody"
	"github.com/castlecloud/exchange/pipeline"
)

const (
	maxWait      = 20 * time.Second // of one long poll, as SQS has it; the default
	batchEntries = 10               // of one call, as SQS has it
)

// NoticesConfig says where a consumer's notices come from.
type NoticesConfig struct {
	// QueueURL is the consumer's queue, FIFO or standard, that is subscribed to
	// the topic, with or without raw message delivery.
	QueueURL string
	Wait     time.Duration // of one call, in whole seconds, 1 s to 20 s; 0: 20 s
	Logger   *slog.Logger  // nil: none
}

// Notices is a consumer's pipeline.NoticeSource, for a process that stays. Of
// several notices of an instrument it gives the latest. A message is removed
// when it has been read, before the consumer has done anything: one that dies
// then starts from the journal, and the Sweeper wakes one that is behind.
type Notices struct {
	client  *sqs.Client
	cfg     NoticesConfig
	ctx     context.Context
	cancel  context.CancelFunc
	pending map[exchange.InstrumentID]pipeline.Position
	order   []exchange.InstrumentID
	polling chan polled // nil: no call is under way
}

type polled struct {
	messages []types.Message
	err      error
}

// NewNotices checks the settings. Nothing is called yet.
func NewNotices(client *sqs.Client, cfg NoticesConfig) (*Notices, error) {
	if cfg.Wait == 0 {
		cfg.Wait = maxWait
	}
	switch {
	case client == nil:
		return nil, fmt.Errorf("sns: %w: no client", pipeline.ErrInvalid)
	case cfg.QueueURL == "":
		return nil, fmt.Errorf("sns: %w: QueueURL is missing", pipeline.ErrInvalid)
	case cfg.Wait < time.Second || cfg.Wait > maxWait || cfg.Wait%time.Second != 0:
		return nil, fmt.Errorf("sns: %w: Wait %v: expected whole seconds, 1s to %v", pipeline.ErrInvalid, cfg.Wait, maxWait)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	client = sqs.New(client.Options(), func(o *sqs.Options) { o.HTTPClient = plainbody.Client(o.HTTPClient) })
	n := &Notices{client: client, cfg: cfg, pending: map[exchange.InstrumentID]pipeline.Position{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n, nil
}

// Next implements pipeline.NoticeSource. A call of SQS that is under way when
// ctx ends goes on, and what it brings is for the next Next.
func (n *Notices) Next(ctx context.Context) (pipeline.Notice, error) {
	for {
		if err := ctx.Err(); err != nil {
			return pipeline.Notice{}, fmt.Errorf("waiting for a notice: %w", err)
		}
		if len(n.order) > 0 {
			inst := n.order[0]
			n.order = n.order[1:]
			notice := pipeline.Notice{Instrument: inst, Position: n.pending[inst]}
			delete(n.pending, inst)
			return notice, nil
		}
		if n.polling == nil {
			n.polling = make(chan polled, 1)
			go n.poll(n.polling)
		}
		select {
		case p := <-n.polling:
			n.polling = nil
			if p.err != nil {
				return pipeline.Notice{}, fmt.Errorf("waiting for a notice: %w", p.err)
			}
			n.take(p.messages)
		case <-ctx.Done():
		}
	}
}

func (n *Notices) poll(to chan<- polled) {
	answer, err := n.client.ReceiveMessage(n.ctx, &sqs.ReceiveMessageInput{QueueUrl: &n.cfg.QueueURL, MaxNumberOfMessages: batchEntries, WaitTimeSeconds: int32(n.cfg.Wait / time.Second)})
	if err != nil || len(answer.Messages) == 0 {
		to <- polled{err: err}
		return
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(answer.Messages))
	for i := range answer.Messages {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: answer.Messages[i].ReceiptHandle}
	}
	// What is not removed comes again, and does no harm.
	removed, err := n.client.DeleteMessageBatch(n.ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &n.cfg.QueueURL, Entries: entries})
	if err != nil {
		n.cfg.Logger.Warn("removing notices that were read", "error", err)
	} else if len(removed.Failed) > 0 {
		n.cfg.Logger.Warn("removing notices that were read", "failed", len(removed.Failed), "code", aws.ToString(removed.Failed[0].Code))
	}
	to <- polled{messages: answer.Messages}
}

func (n *Notices) take(messages []types.Message) {
	for i := range messages {
		m, err := Decode(aws.ToString(messages[i].Body))
		if err != nil {
			n.cfg.Logger.Error("a message that is no notice is dropped", "message", aws.ToString(messages[i].MessageId), "error", err)
			continue
		}
		old, ok := n.pending[m.Instrument]
		if !ok {
			n.order = append(n.order, m.Instrument)
		}
		n.pending[m.Instrument] = max(old, m.To)
	}
}

// Close ends the call of SQS that is under way.
func (n *Notices) Close() { n.cancel() }

// HandleEvent lets a consumer handle what an event of its queue tells: of each
// instrument the latest notice, one instrument after the other. The response
// names the records of the instruments that failed, so that SQS gives those
// again; it has to be the function's response even when there is an error, which
// is for the log. A record that is no message is reported as done: it would
// hold up its group for ever.
func HandleEvent(ctx context.Context, event *events.SQSEvent, handle func(context.Context, pipeline.Notice) error) (events.SQSEventResponse, error) {
	var errs []error
	var order []exchange.InstrumentID
	records := map[exchange.InstrumentID][]string{}
	latest := map[exchange.InstrumentID]pipeline.Position{}
	for i := range event.Records {
		r := &event.Records[i]
		m, err := Decode(r.Body)
		if err != nil {
			errs = append(errs, fmt.Errorf("record %d (%s) is dropped: %w", i, r.MessageId, err))
			continue
		}
		if records[m.Instrument] == nil {
			order = append(order, m.Instrument)
		}
		records[m.Instrument] = append(records[m.Instrument], r.MessageId)
		latest[m.Instrument] = max(latest[m.Instrument], m.To)
	}
	var response events.SQSEventResponse
	for _, inst := range order {
		if err := handle(ctx, pipeline.Notice{Instrument: inst, Position: latest[inst]}); err != nil {
			errs = append(errs, fmt.Errorf("instrument %d: %w", inst, err))
			for _, id := range records[inst] {
				response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: id})
			}
		}
	}
	return response, errors.Join(errs...)
}

// OfSNS returns the notices of an event of a standard topic that invokes a
// function itself, the latest of each instrument. Records that are no message
// are left out; err says what is wrong with them.
func OfSNS(event *events.SNSEvent) (notices []pipeline.Notice, err error) {
	at := map[exchange.InstrumentID]int{}
	var errs []error
	for i := range event.Records {
		m, err := Decode(event.Records[i].SNS.Message)
		if err != nil {
			errs = append(errs, fmt.Errorf("record %d: %w", i, err))
			continue
		}
		j, ok := at[m.Instrument]
		if !ok {
			j = len(notices)
			at[m.Instrument] = j
			notices = append(notices, m.Notice())
		}
		notices[j].Position = max(notices[j].Position, m.To)
	}
	return notices, errors.Join(errs...)
}
