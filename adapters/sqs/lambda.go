package sqs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// Group is what an event of Lambda has of one message group, in order.
type Group struct {
	Instrument exchange.InstrumentID
	Messages   []pipeline.QueueMessage
	MessageIDs []string  // of SQS, of each message
	Sent       time.Time // when SQS took the first one; zero when the event does not say
}

// Groups parts the records of an event by instrument, the instruments in the
// order in which each first comes. Records that are of no instrument are
// returned by their message ids; err says what is wrong with them.
func Groups(event *events.SQSEvent) (groups []Group, bad []string, err error) {
	at := map[exchange.InstrumentID]int{}
	var errs []error
	for i := range event.Records {
		r := &event.Records[i]
		m, err := message(r.Attributes["MessageGroupId"], r.Attributes["MessageDeduplicationId"], r.Body)
		if err != nil {
			bad = append(bad, r.MessageId)
			errs = append(errs, fmt.Errorf("record %d (%s): %w", i, r.MessageId, err))
			continue
		}
		g, ok := at[m.Instrument]
		if !ok {
			g = len(groups)
			at[m.Instrument] = g
			groups = append(groups, Group{Instrument: m.Instrument})
			if age, ok := waited(r.Attributes["SentTimestamp"]); ok {
				groups[g].Sent = time.Now().Add(-age)
			}
		}
		groups[g].Messages = append(groups[g].Messages, m)
		groups[g].MessageIDs = append(groups[g].MessageIDs, r.MessageId)
	}
	return groups, bad, errors.Join(errs...)
}

// Failed returns what a function answers to say that of a group the first done
// messages are dealt with: the others fail, the first of them and all after it,
// so that SQS gives them again in their order.
func (g *Group) Failed(done int) []events.SQSBatchItemFailure {
	return itemFailures(g.MessageIDs[min(max(done, 0), len(g.MessageIDs)):])
}

func itemFailures(ids []string) []events.SQSBatchItemFailure {
	failures := make([]events.SQSBatchItemFailure, len(ids))
	for i, id := range ids {
		failures[i].ItemIdentifier = id
	}
	return failures
}

// HandleEvent lets handle work on each instrument's messages, one instrument
// after the other, as MatchingEngine.Handle does: it returns how many are dealt
// with, and what stopped it. The response names the others. It has to be the
// function's response even when there is an error, which is for the log: a
// function that fails as a whole gets all of the batch again.
//
// The event source mapping must have ReportBatchItemFailures, else Lambda does
// not read the response and takes what failed as done.
func HandleEvent(ctx context.Context, event *events.SQSEvent, handle func(ctx context.Context, inst exchange.InstrumentID, messages []pipeline.QueueMessage) (done int, err error)) (events.SQSEventResponse, error) {
	groups, bad, err := Groups(event)
	response := events.SQSEventResponse{BatchItemFailures: itemFailures(bad)}
	errs := []error{err}
	for i := range groups {
		g := &groups[i]
		done, err := handle(ctx, g.Instrument, g.Messages)
		if err != nil {
			errs = append(errs, fmt.Errorf("instrument %d: %w", g.Instrument, err))
		}
		response.BatchItemFailures = append(response.BatchItemFailures, g.Failed(done)...)
	}
	return response, errors.Join(errs...)
}
