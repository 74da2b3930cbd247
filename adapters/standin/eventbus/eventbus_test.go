package eventbus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/standin/eventbus"
)

const all = `{"source":["s"]}`

func TestMatch(t *testing.T) {
	const event = `{"source":"s","n":1,"on":true,"none":null,"tags":["a","b"],"detail":{"kind":"new","deep":{"x":"y"}}}`
	for pattern, want := range map[string]bool{
		`{"source":["s"]}`: true, `{"source":["t","s"]}`: true, `{"source":["t"]}`: false, `{"n":[1]}`: true, `{"n":["1"]}`: false,
		`{"on":[true]}`: true, `{"none":[null]}`: true, `{"absent":[null]}`: false, `{"tags":["b"]}`: true, `{"tags":["c"]}`: false,
		`{"detail":{"kind":["new"],"deep":{"x":["y"]}}}`: true, `{"detail":{"kind":["new"],"deep":{"x":["z"]}}}`: false, `{"source":{"x":["y"]}}`: false,
		`{"source":[{"prefix":"s"}]}`: true, `{"source":[{"prefix":"t"}]}`: false, `{"detail":{"kind":[{"anything-but":"new"}]}}`: false,
		`{"detail":{"kind":[{"anything-but":["old"]}]}}`: true, `{"absent":[{"anything-but":"x"}]}`: false, `{"absent":[{"exists":false}]}`: true, `{"n":[{"exists":false}]}`: false,
	} {
		got, err := eventbus.Match(pattern, json.RawMessage(event))
		require.NoError(t, err, pattern)
		require.Equal(t, want, got, pattern)
	}
	for _, pattern := range []string{"", "{}", `[]`, `{"a":"b"}`, `{"a":[]}`, `{"a":{}}`, `{"a":[["b"]]}`, `{"a":[{"suffix":"b"}]}`, `{"a":[{"prefix":1}]}`, `{"a":[{"prefix":"b","exists":true}]}`} {
		_, err := eventbus.Match(pattern, json.RawMessage(event))
		require.Error(t, err, pattern)
	}
}

type answer struct {
	Entries          []struct{ EventId, ErrorCode string }
	FailedEntryCount int
	Type             string `json:"__type"`
}

func put(t *testing.T, b *eventbus.Bus, body string) answer {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	req.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, req)
	var a answer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	return a
}

func entries(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"Source":"s","DetailType":"d","Detail":"{\"n\":%d}"}`, i)
	}
	return `{"Entries":[` + strings.Join(list, ",") + `]}`
}

// Each entry succeeds or fails by itself, and a target that fails is called
// again with the same event.
func TestDelivers(t *testing.T) {
	b := eventbus.New(eventbus.Config{RetryFirst: time.Millisecond})
	defer b.Close()
	got := make(chan string, 100)
	calls := 0
	require.NoError(t, b.AddRule(eventbus.Rule{Pattern: all, Target: func(_ context.Context, event json.RawMessage) error {
		got <- string(event)
		if calls++; calls == 1 {
			event[0] = '?'
			return errors.New("again")
		}
		return nil
	}}))
	require.NoError(t, b.AddRule(eventbus.Rule{Bus: "other", Pattern: all, Target: func(context.Context, json.RawMessage) error { t.Error("of another bus"); return nil }}))
	a := put(t, b, `{"Entries":[{"Source":"s","DetailType":"d","Detail":"{\"a\":1}"},{"Source":"s","DetailType":"d","Detail":"no"},{"DetailType":"d","Detail":"{}"},{"Source":"t","DetailType":"d","Detail":"{}"}]}`)
	require.Equal(t, 2, a.FailedEntryCount)
	require.NotEmpty(t, a.Entries[0].EventId)
	require.Equal(t, "MalformedDetail", a.Entries[1].ErrorCode)
	require.Equal(t, "InvalidArgument", a.Entries[2].ErrorCode)
	require.NotEmpty(t, a.Entries[3].EventId)
	first, again := <-got, <-got
	require.Equal(t, first, again)
	require.Contains(t, first, `"detail":{"a":1}`)
	require.Contains(t, first, `"detail-type":"d"`)

	require.Equal(t, "ValidationException", put(t, b, entries(11)).Type)
	require.Equal(t, "ValidationException", put(t, b, `{"Entries":[]}`).Type)
	require.Equal(t, "SerializationException", put(t, b, `?`).Type)
	require.Error(t, b.AddRule(eventbus.Rule{Pattern: "{}", Target: func(context.Context, json.RawMessage) error { return nil }}))
	require.Error(t, b.AddRule(eventbus.Rule{Pattern: all}))
}

func TestFaults(t *testing.T) {
	b := eventbus.New(eventbus.Config{Pending: 40})
	defer b.Close()
	got, gate := make(chan string, 100), make(chan struct{})
	require.NoError(t, b.AddRule(eventbus.Rule{Pattern: all, Target: func(_ context.Context, event json.RawMessage) error {
		<-gate
		got <- string(event)
		return nil
	}}))
	b.SetFaults(eventbus.Faults{Refuse: 1})
	require.Equal(t, "InternalFailure", put(t, b, entries(10)).Entries[9].ErrorCode)
	b.SetFaults(eventbus.Faults{Throttle: 1})
	require.Equal(t, "ThrottlingException", put(t, b, entries(10)).Entries[9].ErrorCode)
	b.SetFaults(eventbus.Faults{Seed: 7, Refuse: 0.5})
	failed := put(t, b, entries(10))
	b.SetFaults(eventbus.Faults{Seed: 7, Refuse: 0.5})
	for i, e := range put(t, b, entries(10)).Entries {
		require.Equal(t, failed.Entries[i].ErrorCode, e.ErrorCode, "the same seed, other faults")
	}
	taken := 2 * (10 - failed.FailedEntryCount)
	b.SetFaults(eventbus.Faults{Duplicate: 1, Delay: 5 * time.Millisecond})
	require.Zero(t, put(t, b, entries(10)).FailedEntryCount)
	taken += 20
	b.SetFaults(eventbus.Faults{})
	room := 40 - taken
	require.Equal(t, 10-min(room, 10), put(t, b, entries(10)).FailedEntryCount, "no more than Pending wait")
	close(gate)
	times := map[string]int{}
	for range taken + min(room, 10) {
		times[<-got]++
	}
	twice := 0
	for _, n := range times {
		if n == 2 {
			twice++
		}
	}
	require.Equal(t, 10, twice)
}
