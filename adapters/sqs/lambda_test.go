package sqs_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

func record(id, group, dedup, body string) events.SQSMessage {
	return events.SQSMessage{MessageId: id, Body: body, Attributes: map[string]string{"MessageGroupId": group, "MessageDeduplicationId": dedup, "SentTimestamp": "1700000000000"}}
}

var text = base64.StdEncoding.EncodeToString

// Of each instrument the first failure and all after it are reported, and no
// instrument's failure is another's.
func TestHandleEvent(t *testing.T) {
	event := &events.SQSEvent{Records: []events.SQSMessage{
		record("a1", "1", "1-00000000000000010000000000000000", text([]byte("one"))),
		record("b1", "2", "unnamed-x", text([]byte("two"))),
		record("a2", "1", "1-00000000000000020000000000000000", text([]byte("three"))),
		record("x", "no instrument", "", text([]byte("?"))),
		record("a3", "1", "", "no base64!"),
		record("c1", "3", "", "-"),
	}}
	got := map[exchange.InstrumentID][]pipeline.QueueMessage{}
	response, err := sqs.HandleEvent(t.Context(), event, func(_ context.Context, inst exchange.InstrumentID, messages []pipeline.QueueMessage) (int, error) {
		got[inst] = messages
		switch inst {
		case 1:
			return 1, errors.New("the second fails")
		case 2:
			return 0, errors.New("all fail")
		}
		return len(messages), nil
	})
	require.Equal(t, map[exchange.InstrumentID][]pipeline.QueueMessage{
		1: {{Instrument: 1, DedupID: exchangetest.IDOf(1), Body: []byte("one")}, {Instrument: 1, DedupID: exchangetest.IDOf(2), Body: []byte("three")}, {Instrument: 1, Body: []byte("no base64!")}},
		2: {{Instrument: 2, Body: []byte("two")}},
		3: {{Instrument: 3, Body: []byte{}}},
	}, got)
	var failed []string
	for _, f := range response.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	require.Equal(t, []string{"x", "a2", "a3", "b1"}, failed)
	require.ErrorContains(t, err, `record 3 (x): invalid argument: message group "no instrument"`)
	require.ErrorContains(t, err, "instrument 1: the second fails")
	require.ErrorContains(t, err, "instrument 2: all fail")

	groups, _, _ := sqs.Groups(event)
	require.Equal(t, []string{"a1", "a2", "a3"}, groups[0].MessageIDs)
	require.WithinDuration(t, time.UnixMilli(1700000000000), groups[0].Sent, time.Minute)
	require.Len(t, groups[0].Failed(-1), 3)
	require.Empty(t, groups[0].Failed(4))
}
