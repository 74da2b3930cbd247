package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Bounds of a Mapping.
const (
	MaxBatch   = 10 // messages of a receive, and of a FIFO batch on AWS
	MaxPollers = 64
	pollWait   = 2 // s, of a receive that finds nothing
	pollPause  = 100 * time.Millisecond
)

// Mapping is an event source mapping: it takes messages from a queue, invokes
// a function on them, and removes those the function did not name as failed
// (ReportBatchItemFailures). What failed is delivered again when the queue's
// visibility timeout ends; until then a FIFO queue gives out no other message
// of its group.
type Mapping struct {
	Function string
	Queue    string // URL
	Batch    int    // messages of an invocation, 1 to MaxBatch
	Pollers  int    // batches at a time, 1 to MaxPollers
	// HandOver is how long a poller rests after a batch, during which messages
	// gather, as they do on AWS, where it takes tens of milliseconds until the
	// next one is handed over. 0: none.
	HandOver time.Duration
	// Shadow is a function that gets every batch too, at the same time; nobody
	// looks at its answer. "": none. It makes the zombie of a single writer.
	Shadow string
	// Late is asked for each message: above 0 it is taken away and comes that
	// much later, after messages that were behind it, as from a topic that
	// delivers late. Until then nobody but this process has it. nil: none is. It
	// is called concurrently.
	Late func() time.Duration
}

// Map adds a mapping, which runs until the server is closed.
func (s *Server) Map(client *sqs.Client, m Mapping) error {
	switch {
	case m.Batch < 1 || m.Batch > MaxBatch:
		return fmt.Errorf("lambda: mapping of %s: Batch %d, expected 1 to %d", m.Function, m.Batch, MaxBatch)
	case m.Pollers < 1 || m.Pollers > MaxPollers:
		return fmt.Errorf("lambda: mapping of %s: Pollers %d, expected 1 to %d", m.Function, m.Pollers, MaxPollers)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.functions[m.Function] == nil, m.Shadow != "" && s.functions[m.Shadow] == nil:
		return fmt.Errorf("%w: mapping of %q, shadow %q", ErrUnknown, m.Function, m.Shadow)
	}
	p := &poller{server: s, client: client, m: m}
	for range m.Pollers {
		s.async.Go(p.run)
	}
	return nil
}

type poller struct {
	server *Server
	client *sqs.Client
	m      Mapping
}

func (p *poller) run() {
	ctx := p.server.ctx
	for ctx.Err() == nil {
		out, err := p.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &p.m.Queue, MaxNumberOfMessages: int32(p.m.Batch), WaitTimeSeconds: pollWait,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}, MessageAttributeNames: []string{"All"},
		})
		if err != nil {
			_ = wait(ctx, pollPause) // the queue is down, or ctx has ended
			continue
		}
		messages := out.Messages
		if p.m.Late != nil {
			messages = p.postpone(ctx, messages)
		}
		if len(messages) > 0 {
			p.deliver(ctx, messages)
			if p.m.HandOver > 0 {
				_ = wait(ctx, p.m.HandOver)
			}
		}
	}
}

// deliver invokes the function until it is not throttled, and removes what it
// has done.
func (p *poller) deliver(ctx context.Context, messages []types.Message) {
	event, err := json.Marshal(p.event(messages))
	if err != nil {
		panic(err) // plain structs of texts
	}
	if p.m.Shadow != "" {
		p.server.async.Go(func() { _, _ = p.server.Invoke(ctx, p.m.Shadow, event) })
	}
	answer, err := p.server.Invoke(ctx, p.m.Function, event)
	for errors.Is(err, ErrThrottled) && wait(ctx, asyncThrottle) == nil {
		answer, err = p.server.Invoke(ctx, p.m.Function, event)
	}
	var said events.SQSEventResponse
	if err != nil || json.Unmarshal(answer, &said) != nil {
		return // all of it has failed
	}
	failed := map[string]bool{}
	for _, f := range said.BatchItemFailures {
		failed[f.ItemIdentifier] = true
	}
	if failed[""] {
		return
	}
	var done []types.DeleteMessageBatchRequestEntry
	for i := range messages {
		if !failed[*messages[i].MessageId] {
			done = append(done, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: messages[i].ReceiptHandle})
		}
	}
	if len(done) > 0 {
		// What is not removed comes again, which is what at least once means.
		_, _ = p.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &p.m.Queue, Entries: done})
	}
}

func (p *poller) event(messages []types.Message) events.SQSEvent {
	var out events.SQSEvent
	for i := range messages {
		m := &messages[i]
		rec := events.SQSMessage{
			MessageId: aws.ToString(m.MessageId), ReceiptHandle: aws.ToString(m.ReceiptHandle), Body: aws.ToString(m.Body),
			Md5OfBody: aws.ToString(m.MD5OfBody), Attributes: maps.Clone(m.Attributes), MessageAttributes: map[string]events.SQSMessageAttribute{},
			EventSourceARN: "arn:aws:sqs:us-east-1:000000000000:" + p.m.Queue[1+lastSlash(p.m.Queue):], EventSource: "aws:sqs", AWSRegion: "us-east-1",
		}
		for name, v := range m.MessageAttributes {
			rec.MessageAttributes[name] = events.SQSMessageAttribute{StringValue: v.StringValue, BinaryValue: v.BinaryValue, DataType: aws.ToString(v.DataType)}
		}
		out.Records = append(out.Records, rec)
	}
	return out
}

func lastSlash(text string) int {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '/' {
			return i
		}
	}
	return -1
}

// postpone takes out the messages that are to be late.
func (p *poller) postpone(ctx context.Context, messages []types.Message) []types.Message {
	var now []types.Message
	for i := range messages {
		m := messages[i]
		late := p.m.Late()
		if late <= 0 {
			now = append(now, m)
			continue
		}
		if _, err := p.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &p.m.Queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
			continue // it comes again by itself
		}
		p.server.async.Go(func() {
			again := &sqs.SendMessageInput{QueueUrl: &p.m.Queue, MessageBody: m.Body, MessageAttributes: m.MessageAttributes}
			if group, ok := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]; ok {
				again.MessageGroupId, again.MessageDeduplicationId = &group, aws.String(newID())
			}
			for err := wait(ctx, late); err == nil; err = wait(ctx, pollPause) {
				if _, err := p.client.SendMessage(ctx, again); err == nil {
					return
				}
			}
		})
	}
	return now
}
