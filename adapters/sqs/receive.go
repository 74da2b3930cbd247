package sqs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// receiver is a Receive that waits.
type receiver struct {
	limit int
	got   chan *delivery // takes one without waiting
	err   chan error     // takes one without waiting
}

// delivery is messages of one instrument that are hidden from others.
type delivery struct {
	pipeline.Delivery
	url     string
	handles []string
	end     time.Time     // of all work on it
	taken   chan struct{} // closed when a receiver has it
	done    chan struct{} // closed when there is nothing more to extend

	mu       sync.Mutex // held while SQS is asked about it
	deadline time.Time  // hidden until then
	acking   bool       // no longer extended
	lost     bool       // SQS has given up waiting
}

// Receive implements pipeline.CommandQueue. It asks every queue at the same
// time, and gets at most 10 messages, as SQS has it. A call of SQS that is cut
// off may have hidden messages that nobody knows of; so none is: it ends by
// itself, within Config.Wait, and what it brings is for the next Receive, or
// given back when none comes within a second.
func (q *Queue) Receive(ctx context.Context, limit int) (pipeline.Delivery, error) {
	if limit < 1 || limit > pipeline.MaxReceive {
		return pipeline.Delivery{}, fmt.Errorf("receiving: %w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxReceive)
	}
	if err := ctx.Err(); err != nil {
		return pipeline.Delivery{}, fmt.Errorf("receiving: %w", err)
	}
	r := &receiver{limit: limit, got: make(chan *delivery, 1), err: make(chan error, 1)}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return pipeline.Delivery{}, fmt.Errorf("receiving: %w", errClosed)
	}
	q.waiting = append(q.waiting, r)
	q.match()
	q.pollMore()
	q.mu.Unlock()
	select {
	case d := <-r.got:
		return d.Delivery, nil
	case err := <-r.err:
		return pipeline.Delivery{}, fmt.Errorf("receiving: %w", err)
	case <-ctx.Done():
	}
	q.mu.Lock()
	q.waiting = slices.DeleteFunc(q.waiting, func(other *receiver) bool { return other == r })
	q.mu.Unlock()
	select {
	case d := <-r.got: // it came at the same moment
		return d.Delivery, nil
	default:
		return pipeline.Delivery{}, fmt.Errorf("receiving: %w", ctx.Err())
	}
}

// match hands spare deliveries to receivers. q.mu is held.
func (q *Queue) match() {
	for len(q.waiting) > 0 && len(q.spare) > 0 {
		r, d := q.waiting[0], q.spare[0]
		q.waiting, q.spare = q.waiting[1:], q.spare[1:]
		if r.limit < len(d.handles) {
			// The group stays locked until all of it is done, so what is too
			// much is given back at once.
			rest := &delivery{url: d.url, handles: d.handles[r.limit:]}
			d.handles, d.Messages = d.handles[:r.limit:r.limit], d.Messages[:r.limit:r.limit]
			q.work.Go(func() { q.giveBack(rest) })
		}
		q.last++
		d.Receipt = strconv.FormatUint(q.last, 10)
		q.out[d.Receipt] = d
		close(d.taken)
		r.got <- d
	}
}

// pollMore sees to it that every queue is asked once for each receiver that
// waits. q.mu is held.
func (q *Queue) pollMore() {
	for i := range q.polls {
		for q.polls[i] < len(q.waiting) && !q.closed {
			q.polls[i]++
			q.polling.Go(func() { q.poll(i) })
		}
	}
}

// poll asks one queue once.
func (q *Queue) poll(i int) {
	answer, err := q.client.ReceiveMessage(q.ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.cfg.QueueURLs[i], MaxNumberOfMessages: batchEntries,
		VisibilityTimeout: int32(q.cfg.Visibility / time.Second), WaitTimeSeconds: int32(q.cfg.Wait / time.Second),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameMessageGroupId,
			types.MessageSystemAttributeNameMessageDeduplicationId, types.MessageSystemAttributeNameSentTimestamp},
	})
	now := time.Now()
	var late []*delivery
	defer func() {
		for _, d := range late {
			q.giveBack(d)
		}
	}()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.polls[i]--
	if err != nil {
		if len(q.waiting) > 0 {
			q.waiting[0].err <- full(err)
			q.waiting = q.waiting[1:]
		}
		q.pollMore()
		return
	}
	deliveries := q.deliveries(q.cfg.QueueURLs[i], now, answer.Messages)
	if q.closed {
		late = deliveries
		return
	}
	for _, d := range deliveries {
		q.spare = append(q.spare, d)
		q.work.Go(func() { q.keep(d) })
	}
	q.match()
	q.pollMore()
}

// deliveries parts messages by instrument, in order.
func (q *Queue) deliveries(url string, now time.Time, messages []types.Message) []*delivery {
	var out []*delivery
	byInstrument := map[exchange.InstrumentID]*delivery{}
	for i := range messages {
		m := &messages[i]
		msg, err := message(m.Attributes["MessageGroupId"], m.Attributes["MessageDeduplicationId"], aws.ToString(m.Body))
		if err != nil { // its own group alone waits for it
			q.cfg.Logger.Error("a message that no instrument has is left in the queue", "message", aws.ToString(m.MessageId), "error", err)
			continue
		}
		d := byInstrument[msg.Instrument]
		if d == nil {
			d = &delivery{url: url, end: now.Add(q.cfg.MaxWork), taken: make(chan struct{}), done: make(chan struct{}), deadline: now.Add(q.cfg.Visibility)}
			d.Instrument = msg.Instrument
			byInstrument[msg.Instrument] = d
			out = append(out, d)
			if age, ok := waited(m.Attributes["SentTimestamp"]); ok && q.cfg.Metrics != nil {
				q.cfg.Metrics.Observe(pipeline.MetricQueueWait, msg.Instrument, age)
			}
		}
		d.Messages = append(d.Messages, msg)
		d.handles = append(d.handles, aws.ToString(m.ReceiptHandle))
	}
	return out
}

// waited returns how long ago SQS took a message, by its SentTimestamp.
func waited(sent string) (time.Duration, bool) {
	ms, err := strconv.ParseInt(sent, 10, 64)
	if err != nil {
		return 0, false
	}
	return max(0, time.Since(time.UnixMilli(ms))), true
}

// keep gives a delivery back that no receiver takes, and keeps one hidden that
// somebody works on.
func (q *Queue) keep(d *delivery) {
	spare := time.NewTimer(spareTime)
	defer spare.Stop()
	select {
	case <-d.taken:
	case <-q.ctx.Done():
		return
	case <-spare.C:
		if q.unspare(d) {
			q.giveBack(d)
			return
		}
		select {
		case <-d.taken: // at the same moment
		case <-q.ctx.Done(): // Close has given it back
			return
		}
	}
	tick := time.NewTicker(q.cfg.Visibility / 3)
	defer tick.Stop()
	for {
		select {
		case <-d.done:
			return
		case <-q.ctx.Done():
			return
		case <-tick.C:
			if !q.extend(d) {
				q.mu.Lock()
				delete(q.out, d.Receipt)
				q.mu.Unlock()
				return
			}
		}
	}
}

// unspare takes a delivery from the spare ones; false: a receiver has it.
func (q *Queue) unspare(d *delivery) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.spare)
	q.spare = slices.DeleteFunc(q.spare, func(other *delivery) bool { return other == d })
	return len(q.spare) < n
}

// extend keeps a delivery hidden for another while, unless its time is up. It
// returns false once it is no longer hidden.
func (q *Queue) extend(d *delivery) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.lost || !now.Before(d.deadline) {
		return false
	}
	if d.acking || now.Add(q.cfg.Visibility).After(d.end) {
		return true
	}
	gone, err := q.changeVisibility(q.ctx, d.url, d.handles, q.cfg.Visibility)
	switch {
	case gone:
		d.lost = true
		return false
	case err != nil: // it is tried again at the next tick
		q.cfg.Logger.Warn("extending the visibility of a delivery", "instrument", d.Instrument, "error", err)
	default:
		d.deadline = now.Add(q.cfg.Visibility)
	}
	return true
}

// giveBack lets others have messages again at once. When it fails they do when
// their time is up.
func (q *Queue) giveBack(d *delivery) {
	if gone, err := q.changeVisibility(q.ctx, d.url, d.handles, 0); err != nil && !gone {
		q.cfg.Logger.Warn("giving messages back", "error", err)
	}
}

// changeVisibility hides messages for d from now on. gone: SQS no longer takes
// one of their receipts.
func (q *Queue) changeVisibility(ctx context.Context, url string, handles []string, d time.Duration) (gone bool, err error) {
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(handles))
	for i := range handles {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &handles[i], VisibilityTimeout: int32(d / time.Second)}
	}
	answer, err := q.client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: entries})
	if err != nil {
		return false, full(err)
	}
	return failures(answer.Failed)
}

// failures makes an error of the entries of a batch that failed.
func failures(failed []types.BatchResultErrorEntry) (gone bool, err error) {
	var errs []error
	for i := range failed {
		code := aws.ToString(failed[i].Code)
		gone = gone || expired(code)
		errs = append(errs, fmt.Errorf("message %s: %s: %s", aws.ToString(failed[i].Id), code, aws.ToString(failed[i].Message)))
	}
	return gone, errors.Join(errs...)
}

// expired reports whether an error of SQS says that a receipt is worth nothing
// any more. Of a FIFO queue an expired one is an InvalidParameterValue.
func expired(code string) bool {
	switch code {
	case "ReceiptHandleIsInvalid", "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", "InvalidParameterValue":
		return true
	}
	return false
}

// Ack implements pipeline.CommandQueue. Whatever comes of it, the delivery is
// no longer extended: what could not be removed comes again.
func (q *Queue) Ack(ctx context.Context, d pipeline.Delivery, done int) error {
	q.mu.Lock()
	own := q.out[d.Receipt]
	q.mu.Unlock()
	if own == nil {
		return fmt.Errorf("acknowledging: %w: receipt %.40q", pipeline.ErrNotFound, d.Receipt)
	}
	if done < 0 || done > len(own.handles) {
		return fmt.Errorf("acknowledging a delivery of instrument %d: %w: %d messages, expected 0 to %d", own.Instrument, pipeline.ErrInvalid, done, len(own.handles))
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	own.acking = true
	if own.lost || !time.Now().Before(own.deadline) {
		return fmt.Errorf("acknowledging a delivery of instrument %d: %w: its time was up", own.Instrument, pipeline.ErrNotFound)
	}
	gone, err := q.finish(ctx, own, done)
	if gone {
		own.lost = true
		return fmt.Errorf("acknowledging a delivery of instrument %d: %w: %w", own.Instrument, pipeline.ErrNotFound, err)
	}
	if err != nil {
		return fmt.Errorf("acknowledging a delivery of instrument %d: %w", own.Instrument, err)
	}
	own.lost = true
	q.mu.Lock()
	delete(q.out, own.Receipt)
	q.mu.Unlock()
	close(own.done)
	return nil
}

// finish removes the first done messages of a delivery and then gives the
// others back.
func (q *Queue) finish(ctx context.Context, d *delivery, done int) (gone bool, err error) {
	if done > 0 {
		entries := make([]types.DeleteMessageBatchRequestEntry, done)
		for i := range entries {
			entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &d.handles[i]}
		}
		answer, err := q.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &d.url, Entries: entries})
		if err != nil {
			return false, full(err)
		}
		if gone, err := failures(answer.Failed); err != nil {
			return gone, err
		}
	}
	if done == len(d.handles) {
		return false, nil
	}
	return q.changeVisibility(ctx, d.url, d.handles[done:], 0)
}

// Close ends every Receive, gives back what nobody works on, and waits until no
// call of SQS is under way: at most Config.Wait, or until ctx ends, which cuts
// them off. Deliveries that are worked on are no longer extended. Send goes on
// working.
func (q *Queue) Close(ctx context.Context) {
	q.mu.Lock()
	q.closed = true
	waiting, spare := q.waiting, q.spare
	q.waiting, q.spare = nil, nil
	q.mu.Unlock()
	for _, r := range waiting {
		r.err <- errClosed
	}
	for _, d := range spare {
		q.giveBack(d)
	}
	stop := context.AfterFunc(ctx, q.cancel)
	defer stop()
	q.polling.Wait()
	q.cancel()
	q.work.Wait()
}

var errClosed = errors.New("the queue is closed")
