package sqs

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/internal/join"
	"github.com/castlecloud/exchange/adapters/plainbody"
	"github.com/castlecloud/exchange/pipeline"
)

// Bounds and defaults of a Config.
const (
	MaxQueues = 256
	// SQS counts in whole seconds and lets a message be invisible for twelve
	// hours in all.
	MinVisibility     = time.Second
	MaxVisibility     = 12 * time.Hour
	DefaultVisibility = 30 * time.Second
	DefaultMaxWork    = 5 * time.Minute
	MaxWait           = 20 * time.Second // of one long poll; also the default

	batchEntries = 10               // of one call, as SQS has it
	sendBatches  = 4                // calls on their way that join messages of several Sends, of each queue
	sendPatience = 10 * time.Second // of such a call, which does not end with the Send that has begun it
	spareTime    = time.Second      // how long a delivery waits for a receiver
)

// Config says which queues there are. QueueURLs is mandatory; anything else
// that is zero stands for its default.
type Config struct {
	// QueueURLs are the FIFO queues, 1 to MaxQueues. An instrument has the one
	// at its id modulo their number: all processes list the same ones in the
	// same order, and adding one is done while all are empty.
	QueueURLs []string
	// Visibility is for how long a message that was received is hidden, in
	// whole seconds, MinVisibility to MaxVisibility. While the receiver works
	// it is extended, every third of it; when the process dies, the messages
	// come again after it.
	Visibility time.Duration
	// MaxWork is how long a delivery may be worked on in all; then it is no
	// longer extended and comes again. At least Visibility, at most
	// MaxVisibility.
	MaxWork time.Duration
	// Wait is how long one call waits for messages, in whole seconds, 1 s to
	// MaxWait.
	Wait    time.Duration
	Metrics pipeline.Metrics // of pipeline.MetricQueueWait; nil: none
	Logger  *slog.Logger     // nil: none
}

func (cfg *Config) complete() error {
	if n := len(cfg.QueueURLs); n < 1 || n > MaxQueues {
		return fmt.Errorf("%w: %d QueueURLs, expected 1 to %d", pipeline.ErrInvalid, n, MaxQueues)
	}
	seen := map[string]bool{}
	for i, url := range cfg.QueueURLs {
		if !strings.HasSuffix(url, ".fifo") {
			return fmt.Errorf("%w: QueueURLs[%d] %q: expected a FIFO queue, whose name ends with .fifo", pipeline.ErrInvalid, i, url)
		}
		if seen[url] {
			return fmt.Errorf("%w: QueueURLs[%d] %q is there twice", pipeline.ErrInvalid, i, url)
		}
		seen[url] = true
	}
	if cfg.Visibility == 0 {
		cfg.Visibility = DefaultVisibility
	}
	if cfg.MaxWork == 0 {
		cfg.MaxWork = max(DefaultMaxWork, cfg.Visibility)
	}
	if cfg.Wait == 0 {
		cfg.Wait = MaxWait
	}
	for _, d := range [...]struct {
		field       string
		v, min, max time.Duration
	}{{"Visibility", cfg.Visibility, MinVisibility, MaxVisibility}, {"MaxWork", cfg.MaxWork, cfg.Visibility, MaxVisibility}, {"Wait", cfg.Wait, time.Second, MaxWait}} {
		if d.v < d.min || d.v > d.max {
			return fmt.Errorf("%w: %s %v: expected %v to %v", pipeline.ErrInvalid, d.field, d.v, d.min, d.max)
		}
		if d.field != "MaxWork" && d.v%time.Second != 0 {
			return fmt.Errorf("%w: %s %v: expected whole seconds", pipeline.ErrInvalid, d.field, d.v)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Queue is a pipeline.CommandQueue. Make it with NewQueue, and Close it.
type Queue struct {
	client  *sqs.Client
	cfg     Config
	sending map[string]*join.Batcher[*types.SendMessageBatchRequestEntry] // by queue
	// What outlives a call: polls, and what keeps deliveries hidden.
	ctx           context.Context
	cancel        context.CancelFunc
	polling, work sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	polls   []int       // of each queue, how many are under way
	waiting []*receiver // in the order they came
	spare   []*delivery // received, and nobody was waiting
	out     map[string]*delivery
	last    uint64 // receipt
}

// NewQueue checks the settings. Nothing is called yet.
func NewQueue(client *sqs.Client, cfg Config) (*Queue, error) {
	if client == nil {
		return nil, fmt.Errorf("sqs: %w: no client", pipeline.ErrInvalid)
	}
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("sqs: %w", err)
	}
	client = sqs.New(client.Options(), func(o *sqs.Options) { o.HTTPClient = plainbody.Client(o.HTTPClient) })
	q := &Queue{client: client, cfg: cfg, polls: make([]int, len(cfg.QueueURLs)), out: map[string]*delivery{}}
	q.sending = map[string]*join.Batcher[*types.SendMessageBatchRequestEntry]{}
	for _, url := range cfg.QueueURLs {
		q.sending[url] = join.New(batchEntries, sendBatches, func(ctx context.Context, singles []*types.SendMessageBatchRequestEntry) []error {
			return q.sendSingles(ctx, url, singles)
		})
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q, nil
}

// shard returns which of the queues an instrument has.
func (q *Queue) shard(inst exchange.InstrumentID) int {
	return int(uint64(inst) % uint64(len(q.cfg.QueueURLs)))
}

// Send implements pipeline.CommandQueue. It checks all before it sends any. A
// call of SQS takes at most one message of an instrument: entries of a call
// fail one by one, and a message must not overtake the one before it. So n
// messages of one instrument take n calls, one after the other, and those of n
// instruments take n/10. Nothing is tried again here beyond what the client
// does; on an error the messages of an instrument were sent up to one of them.
func (q *Queue) Send(ctx context.Context, messages []pipeline.QueueMessage) error {
	if n := len(messages); n < 1 || n > pipeline.MaxSendMessages {
		return fmt.Errorf("sending: %w: %d messages, expected 1 to %d", pipeline.ErrInvalid, n, pipeline.MaxSendMessages)
	}
	var rounds [][]int // those of a round are of different instruments
	nth := map[exchange.InstrumentID]int{}
	for i := range messages {
		m := &messages[i]
		if m.Instrument == 0 {
			return fmt.Errorf("sending message %d: %w: no instrument", i, pipeline.ErrInvalid)
		}
		if n := len(m.Body); n > pipeline.MaxMessageBytes {
			return fmt.Errorf("sending message %d: %w: a body of %d bytes, expected at most %d", i, pipeline.ErrTooLarge, n, pipeline.MaxMessageBytes)
		}
		round := nth[m.Instrument]
		nth[m.Instrument]++
		if round == len(rounds) {
			rounds = append(rounds, nil)
		}
		rounds[round] = append(rounds[round], i)
	}
	for _, round := range rounds {
		if err := q.sendRound(ctx, messages, round); err != nil {
			return err
		}
	}
	return nil
}

// sendRound sends messages of different instruments.
func (q *Queue) sendRound(ctx context.Context, messages []pipeline.QueueMessage, round []int) error {
	byShard := make([][]int, len(q.cfg.QueueURLs))
	for _, i := range round {
		s := q.shard(messages[i].Instrument)
		byShard[s] = append(byShard[s], i)
	}
	for s, indexes := range byShard {
		for len(indexes) > 0 {
			n := min(len(indexes), batchEntries)
			if err := q.sendBatch(ctx, q.cfg.QueueURLs[s], messages, indexes[:n]); err != nil {
				return err
			}
			indexes = indexes[n:]
		}
	}
	return nil
}

func (q *Queue) sendBatch(ctx context.Context, url string, messages []pipeline.QueueMessage, indexes []int) error {
	entries := make([]types.SendMessageBatchRequestEntry, len(indexes))
	for at, i := range indexes {
		m := &messages[i]
		body := base64.StdEncoding.EncodeToString(m.Body)
		if body == "" {
			body = emptyBody // SQS takes no empty body
		}
		entries[at] = types.SendMessageBatchRequestEntry{
			Id:                     aws.String(strconv.Itoa(i)),
			MessageBody:            aws.String(body),
			MessageGroupId:         aws.String(groupID(m.Instrument)),
			MessageDeduplicationId: aws.String(dedupID(m)),
		}
	}
	if len(entries) == 1 { // others may send one, too
		if err := q.sending[url].Do(ctx, &entries[0]); err != nil {
			return fmt.Errorf("sending message %d: %w", indexes[0], err)
		}
		return nil
	}
	answer, err := q.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries})
	if err != nil {
		return fmt.Errorf("sending %d messages: %w", len(entries), full(err))
	}
	var errs []error
	for i := range answer.Failed {
		f := &answer.Failed[i]
		errs = append(errs, fmt.Errorf("sending message %s: %w", aws.ToString(f.Id), refusal(f)))
	}
	if len(errs) == 0 && len(answer.Successful) != len(entries) {
		return fmt.Errorf("sending %d messages: the answer names %d", len(entries), len(answer.Successful))
	}
	return errors.Join(errs...)
}

// sendSingles sends messages that several calls have sent at the same time, and
// returns what has become of each.
func (q *Queue) sendSingles(ctx context.Context, url string, singles []*types.SendMessageBatchRequestEntry) []error {
	ctx, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	errs := make([]error, len(singles))
	entries := make([]types.SendMessageBatchRequestEntry, len(singles))
	for i, e := range singles {
		entries[i] = *e
		entries[i].Id = aws.String(strconv.Itoa(i))
		errs[i] = join.ErrUnanswered
	}
	answer, err := q.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries})
	if err != nil {
		return slices.Repeat([]error{full(err)}, len(singles))
	}
	for i := range answer.Successful {
		join.Named(errs, answer.Successful[i].Id, nil)
	}
	for i := range answer.Failed {
		join.Named(errs, answer.Failed[i].Id, refusal(&answer.Failed[i]))
	}
	return errs
}

// refusal is why SQS has not taken a message.
func refusal(f *types.BatchResultErrorEntry) error {
	err := fmt.Errorf("%s: %s", aws.ToString(f.Code), aws.ToString(f.Message))
	if throttled(aws.ToString(f.Code)) {
		err = fmt.Errorf("%w: %w", pipeline.ErrFull, err)
	}
	return err
}

// full returns an error that is pipeline.ErrFull besides when SQS has refused
// the call for want of room: it has taken nothing then.
func full(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && throttled(api.ErrorCode()) {
		return fmt.Errorf("%w: %w", pipeline.ErrFull, err)
	}
	return err
}

func throttled(code string) bool {
	switch strings.TrimPrefix(code, "AWS.SimpleQueueService.") {
	case "RequestThrottled", "ThrottlingException", "Throttling", "OverLimit", "KmsThrottled", "KMS.ThrottlingException":
		return true
	}
	return false
}

// emptyBody stands for a body without bytes. It is no base64.
const emptyBody = "-"

func groupID(inst exchange.InstrumentID) string { return strconv.FormatUint(uint64(inst), 10) }

// unnamed begins the deduplication id of a message without a DedupID, which is
// never a duplicate.
const unnamed = "unnamed-"

// dedupID names the instrument, too: a command that spans instruments has one
// id, and SQS looks for duplicates in the whole queue unless its
// DeduplicationScope is messageGroup.
func dedupID(m *pipeline.QueueMessage) string {
	if m.DedupID == (exchange.CommandID{}) {
		return unnamed + rand.Text()
	}
	return groupID(m.Instrument) + "-" + hex.EncodeToString(m.DedupID[:])
}

// message reads back what sendBatch wrote. A body that is not ours is handed
// over as it is: the matching engine counts it and drops it, where a message
// that nobody takes would hold up its instrument for days.
func message(group, dedup, body string) (pipeline.QueueMessage, error) {
	inst, err := strconv.ParseUint(group, 10, 32)
	if err != nil || inst == 0 {
		return pipeline.QueueMessage{}, fmt.Errorf("%w: message group %.40q, expected the id of an instrument", pipeline.ErrInvalid, group)
	}
	m := pipeline.QueueMessage{Instrument: exchange.InstrumentID(inst)}
	if _, id, ok := strings.Cut(dedup, "-"); ok && len(id) == 2*len(m.DedupID) && !strings.HasPrefix(dedup, unnamed) {
		if _, err := hex.Decode(m.DedupID[:], []byte(id)); err != nil {
			m.DedupID = exchange.CommandID{}
		}
	}
	if body == emptyBody {
		m.Body = []byte{}
	} else if m.Body, err = base64.StdEncoding.DecodeString(body); err != nil {
		m.Body = []byte(body[:min(len(body), pipeline.MaxMessageBytes)])
	}
	return m, nil
}

// Backlog is what waits in the queues, as SQS counts it: approximately.
type Backlog struct {
	Waiting  int64 // visible
	InFlight int64 // received and not yet deleted
}

// Backlog asks every queue. The age of the oldest message that waits is told
// by CloudWatch alone (ApproximateAgeOfOldestMessage); that of those handed
// out is pipeline.MetricQueueWait.
func (q *Queue) Backlog(ctx context.Context) (Backlog, error) {
	var sum Backlog
	for i := range q.cfg.QueueURLs {
		answer, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.cfg.QueueURLs[i], AttributeNames: []types.QueueAttributeName{
			types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible}})
		if err != nil {
			return Backlog{}, fmt.Errorf("asking queue %d for its backlog: %w", i, err)
		}
		for name, to := range map[types.QueueAttributeName]*int64{types.QueueAttributeNameApproximateNumberOfMessages: &sum.Waiting, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible: &sum.InFlight} {
			n, err := strconv.ParseInt(answer.Attributes[string(name)], 10, 64)
			if err != nil {
				return Backlog{}, fmt.Errorf("asking queue %d for its backlog: %s: %w", i, name, err)
			}
			*to += n
		}
	}
	return sum, nil
}
