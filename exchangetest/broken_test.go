package exchangetest_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
)

// trial is a testing.TB under which a case may fail without failing the test.
type trial struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *trial) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *trial) Helper()                           {}
func (r *trial) Error(args ...any)                 { r.note(fmt.Sprint(args...)) }
func (r *trial) Errorf(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }
func (r *trial) Fail()                             { r.note("failed") }
func (r *trial) FailNow()                          { r.Fail(); runtime.Goexit() }
func (r *trial) Fatal(args ...any)                 { r.Error(args...); runtime.Goexit() }
func (r *trial) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }
func (r *trial) Log(...any)                        {}
func (r *trial) Logf(string, ...any)               {}
func (r *trial) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

// fails reports whether a case fails, and with what.
func fails[H any](t *testing.T, c exchangetest.Case[H], h H) (string, bool) {
	r := &trial{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil { // a fake may well bring a case to panic
				r.Errorf("panic: %v", p)
			}
		}()
		c.Run(r, h)
	}()
	<-done
	if r.Failed() {
		return r.failures[0], true
	}
	return "", false
}

// A broken is a port that breaks its contract, and the case that must notice.
// Other cases may notice too; only this one is run, so that a suite cannot
// lose what finds a fault without a test that says so.
type broken[H any] struct {
	name string
	h    H
	by   string // the case
}

// mustFail asserts that each broken port is found out by the case it names,
// and that every case finds one: no case is there that cannot fail.
func mustFail[H any](t *testing.T, cases []exchangetest.Case[H], ports []broken[H]) {
	t.Helper()
	for _, c := range cases {
		if !slices.ContainsFunc(ports, func(b broken[H]) bool { return b.by == c.Name }) {
			t.Errorf("no broken port is there for %q to find", c.Name)
		}
	}
	for _, b := range ports {
		t.Run(b.name, func(t *testing.T) {
			i := slices.IndexFunc(cases, func(c exchangetest.Case[H]) bool { return c.Name == b.by })
			if i < 0 {
				t.Fatalf("no case is named %q", b.by)
			}
			why, failed := fails(t, cases[i], b.h)
			if !failed {
				t.Fatalf("a port that %s passes %q", b.name, b.by)
			}
			t.Logf("a port that %s fails %q: %s", b.name, b.by, why)
		})
	}
}
