package apigateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/castlecloud/exchange/pipeline"
)

// Bounds of the Senders.
const (
	sqsEntries = 10 // of one SendMessageBatch
	// DirectBuffer is how many envelopes of a group wait in a Direct; Send
	// waits when there are as many.
	DirectBuffer = 256
	// directRetry is how long a Direct waits before it delivers again what
	// could not be delivered.
	directRetry = 100 * time.Millisecond
)

// SQSSending is what SQS needs: *sqs.Client has it.
type SQSSending interface {
	SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, options ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// SQS is a Sender to a queue. With a FIFO queue (its URL ends in .fifo) the
// group is the message group, and the envelope's id the deduplication id.
type SQS struct {
	Client SQSSending
	URL    string
}

// Send implements Sender. A part of a batch that SQS refuses is an error.
func (s *SQS) Send(ctx context.Context, envelopes []Envelope) error {
	fifo := strings.HasSuffix(s.URL, ".fifo")
	for len(envelopes) > 0 {
		var entries []types.SendMessageBatchRequestEntry
		bytes := 0
		for i := 0; i < len(envelopes) && i < sqsEntries && (i == 0 || bytes+len(envelopes[i].Body) <= EnvelopeBytes); i++ {
			e := &envelopes[i]
			bytes += len(e.Body)
			entry := types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(e.Body)}
			if fifo {
				entry.MessageGroupId, entry.MessageDeduplicationId = aws.String(e.Group), aws.String(e.DedupID)
			}
			entries = append(entries, entry)
		}
		out, err := s.Client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(s.URL), Entries: entries})
		if err != nil {
			return fmt.Errorf("sending to the push queue: %w", err)
		}
		if len(out.Failed) > 0 {
			f := &out.Failed[0]
			return fmt.Errorf("sending to the push queue: %d of %d refused: %s: %s", len(out.Failed), len(entries), aws.ToString(f.Code), aws.ToString(f.Message))
		}
		envelopes = envelopes[len(entries):]
	}
	return nil
}

// Direct is a Sender to a Deliverer of the same process, without a queue: for a
// venue that runs in one place and still serves its clients by API Gateway.
// What waits in it is lost with the process; clients see the gap. Make one with
// NewDirect.
type Direct struct {
	deliver func(ctx context.Context, bodies ...string) error
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	groups map[string]chan string
}

// NewDirect returns a Direct, whose goroutines end with Close.
func NewDirect(d *Deliverer) *Direct {
	ctx, cancel := context.WithCancel(context.Background())
	return &Direct{deliver: d.Deliver, ctx: ctx, cancel: cancel, groups: map[string]chan string{}}
}

// Send implements Sender. It waits for room, never for a client: those that are
// slow are closed. After Close it is an error.
func (d *Direct) Send(ctx context.Context, envelopes []Envelope) error {
	for i := range envelopes {
		to, err := d.group(envelopes[i].Group)
		if err != nil {
			return err
		}
		select {
		case to <- envelopes[i].Body:
		case <-ctx.Done():
			return fmt.Errorf("handing over to the deliverer: %w", ctx.Err())
		case <-d.ctx.Done():
			return errDirectClosed
		}
	}
	return nil
}

var errDirectClosed = errors.New("handing over to the deliverer: closed")

func (d *Direct) group(name string) (chan string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return nil, errDirectClosed
	}
	to := d.groups[name]
	if to == nil {
		to = make(chan string, DirectBuffer)
		d.groups[name] = to
		d.wg.Go(func() { d.run(to) })
	}
	return to, nil
}

// run delivers what comes of one group, all that waits at a time.
func (d *Direct) run(from chan string) {
	for {
		var bodies []string
		select {
		case body := <-from:
			bodies = append(bodies, body)
		case <-d.ctx.Done():
			return
		}
		for more := true; more && len(bodies) < DirectBuffer; {
			select {
			case body := <-from:
				bodies = append(bodies, body)
			default:
				more = false
			}
		}
		for {
			err := d.deliver(d.ctx, bodies...)
			if err == nil || errors.Is(err, pipeline.ErrEncoding) || d.ctx.Err() != nil {
				break // an envelope that cannot be read never will be
			}
			select {
			case <-time.After(directRetry):
			case <-d.ctx.Done():
			}
		}
	}
}

// Close ends the goroutines and waits for them. What waits is not delivered.
func (d *Direct) Close() {
	d.mu.Lock()
	d.cancel()
	d.mu.Unlock()
	d.wg.Wait()
}
