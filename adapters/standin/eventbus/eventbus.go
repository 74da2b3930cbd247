// Package eventbus is a small EventBridge on one machine: it answers PutEvents
// over HTTP as the SDK asks it, matches events with patterns, and hands them to
// targets, again until they succeed. On demand it refuses entries, delivers
// twice, and delays, which reorders. It keeps nothing when it ends.
//
//	bus := eventbus.New(eventbus.Config{})
//	defer bus.Close()
//	err := bus.AddRule(eventbus.Rule{Bus: "exchange", Pattern: pattern, Target: invoke})
//	server := httptest.NewServer(bus) // the client's BaseEndpoint
package eventbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/castlecloud/exchange/adapters/internal/join"
)

// Bounds of EventBridge, and defaults of a Config.
const (
	MaxEntries    = 10        // of one PutEvents
	MaxEntryBytes = 256 << 10 // of one entry

	DefaultRetryFirst = 10 * time.Millisecond
	DefaultRetryMost  = time.Second
	DefaultWorkers    = 64
	DefaultPending    = 1 << 16
	DefaultBus        = "default"
)

// Target takes an event, in EventBridge's envelope. It may be called
// concurrently. After an error it is called again.
type Target func(ctx context.Context, event json.RawMessage) error

// Together returns a Target that hands over several events in one call, at most
// most of them: those that come while such a call is under way. run returns the
// error of each.
func Together(most int, run func(ctx context.Context, events []json.RawMessage) []error) Target {
	return join.New(most, 1, run).Do
}

// Rule says which events of a bus a target gets.
type Rule struct {
	Bus     string // "": DefaultBus
	Pattern string // as Match has it
	Target  Target
}

// Faults says how the bus misbehaves. Shares are 0 to 1.
type Faults struct {
	Seed      uint64        // the same faults for the same calls
	Refuse    float64       // share of entries that fail with InternalFailure
	Throttle  float64       // share that fail with ThrottlingException
	Duplicate float64       // share that are delivered twice
	Delay     time.Duration // each delivery waits for up to so long
}

// Config says how a Bus behaves. The zero value is fine.
type Config struct {
	RetryFirst, RetryMost time.Duration // before a target is called again, twice as long each time
	Workers               int           // targets that work at once
	Pending               int           // deliveries that wait; then entries fail with ThrottlingException
}

// Bus is an http.Handler. Its methods may be called concurrently.
type Bus struct {
	cfg     Config
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	workers chan struct{}

	mu      sync.Mutex
	closed  bool
	rules   []Rule
	faults  Faults
	random  *mathrand.Rand
	pending int
}

// New returns a bus without rules and faults.
func New(cfg Config) *Bus {
	if cfg.RetryFirst <= 0 {
		cfg.RetryFirst = DefaultRetryFirst
	}
	if cfg.RetryMost <= 0 {
		cfg.RetryMost = DefaultRetryMost
	}
	if cfg.Workers <= 0 {
		cfg.Workers = DefaultWorkers
	}
	if cfg.Pending <= 0 {
		cfg.Pending = DefaultPending
	}
	b := &Bus{cfg: cfg, workers: make(chan struct{}, cfg.Workers)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.SetFaults(Faults{})
	return b
}

// AddRule adds a rule for events that come from now on. A pattern that Match
// does not understand is an error.
func (b *Bus) AddRule(r Rule) error {
	if _, err := Match(r.Pattern, json.RawMessage("{}")); err != nil {
		return fmt.Errorf("adding a rule: %w", err)
	}
	if r.Target == nil {
		return fmt.Errorf("adding a rule: no target")
	}
	if r.Bus == "" {
		r.Bus = DefaultBus
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules = append(b.rules, r)
	return nil
}

// SetFaults says how the bus misbehaves from now on.
func (b *Bus) SetFaults(f Faults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults, b.random = f, mathrand.New(mathrand.NewPCG(f.Seed, 0))
}

// Close ends deliveries, those that wait too, and returns when the last target
// has returned.
func (b *Bus) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.work.Wait()
}

type putEvents struct {
	Entries []entry
}

type entry struct {
	EventBusName, Source, DetailType, Detail string
	Resources                                []string
	Time                                     float64
}

type result struct {
	EventId      string `json:",omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

// ServeHTTP answers PutEvents.
func (b *Bus) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	fail := func(code, message string) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message}) // the client is gone
	}
	if target := req.Header.Get("X-Amz-Target"); target != "AWSEvents.PutEvents" {
		fail("UnknownOperationException", "only AWSEvents.PutEvents is known here, not "+target)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, MaxEntries*MaxEntryBytes))
	if err != nil {
		fail("ValidationException", err.Error())
		return
	}
	var in putEvents
	if err := json.Unmarshal(body, &in); err != nil {
		fail("SerializationException", err.Error())
		return
	}
	if n := len(in.Entries); n < 1 || n > MaxEntries {
		fail("ValidationException", fmt.Sprintf("%d entries, expected 1 to %d", n, MaxEntries))
		return
	}
	out := struct {
		Entries          []result
		FailedEntryCount int
	}{}
	for i := range in.Entries {
		r := b.put(&in.Entries[i])
		if r.ErrorCode != "" {
			out.FailedEntryCount++
		}
		out.Entries = append(out.Entries, r)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out) // the client is gone
}

// put takes one entry.
func (b *Bus) put(e *entry) result {
	var detail map[string]any
	switch err := json.Unmarshal([]byte(e.Detail), &detail); {
	case e.Source == "" || e.DetailType == "":
		return result{ErrorCode: "InvalidArgument", ErrorMessage: "Source and DetailType are mandatory"}
	case err != nil:
		return result{ErrorCode: "MalformedDetail", ErrorMessage: "Detail is no JSON object"}
	case len(e.Detail)+len(e.Source)+len(e.DetailType) > MaxEntryBytes:
		return result{ErrorCode: "InvalidArgument", ErrorMessage: "the entry is too large"}
	}
	// A bus may be named by its ARN.
	name := e.EventBusName[strings.LastIndexByte(e.EventBusName, '/')+1:]
	if name == "" {
		name = DefaultBus
	}
	resources := e.Resources
	if resources == nil {
		resources = []string{}
	}
	id := rand.Text()
	event, err := json.Marshal(map[string]any{"version": "0", "id": id, "detail-type": e.DetailType, "source": e.Source, "account": "000000000000",
		"time": time.Now().UTC().Format(time.RFC3339), "region": "us-east-1", "resources": resources, "detail": json.RawMessage(e.Detail)})
	if err != nil {
		return result{ErrorCode: "InternalFailure", ErrorMessage: err.Error()}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	refuse, throttle, times := b.random.Float64() < b.faults.Refuse, b.random.Float64() < b.faults.Throttle, 1
	if b.random.Float64() < b.faults.Duplicate {
		times = 2
	}
	switch {
	case b.closed || refuse:
		return result{ErrorCode: "InternalFailure", ErrorMessage: "refused"}
	case throttle || b.pending+times*len(b.rules) > b.cfg.Pending:
		return result{ErrorCode: "ThrottlingException", ErrorMessage: "too much at once"}
	}
	for _, r := range b.rules {
		if ok, _ := Match(r.Pattern, event); !ok || r.Bus != name { // AddRule has looked at the pattern
			continue
		}
		for range times {
			var delay time.Duration
			if b.faults.Delay > 0 {
				delay = time.Duration(b.random.Int64N(int64(b.faults.Delay)))
			}
			b.pending++
			b.work.Go(func() { b.deliver(r.Target, event, delay) })
		}
	}
	return result{EventId: id}
}

// deliver calls a target until it succeeds or the bus is closed.
func (b *Bus) deliver(target Target, event json.RawMessage, delay time.Duration) {
	defer func() {
		b.mu.Lock()
		b.pending--
		b.mu.Unlock()
	}()
	for wait := b.cfg.RetryFirst; ; wait = min(2*wait, b.cfg.RetryMost) {
		if !b.pause(delay) {
			return
		}
		select {
		case b.workers <- struct{}{}:
		case <-b.ctx.Done():
			return
		}
		err := target(b.ctx, append(json.RawMessage(nil), event...))
		<-b.workers
		if err == nil {
			return
		}
		delay = wait
	}
}

// pause waits, and returns false when the bus is closed meanwhile.
func (b *Bus) pause(d time.Duration) bool {
	if d <= 0 {
		return b.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-b.ctx.Done():
		return false
	}
}
