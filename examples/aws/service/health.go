package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// watch knows how the process is.
//
//	/livez   200 while every loop has gone round lately: else a restart helps
//	/readyz  200 once its books are loaded, while its stores answer and it takes work
type watch struct {
	mu       sync.Mutex
	loops    map[string]*atomic.Int64 // ns of the last time round
	answers  func(context.Context) error
	draining bool
	now      func() time.Time
}

func newWatch() *watch { return &watch{loops: map[string]*atomic.Int64{}, now: time.Now} }

// loop returns what a loop calls each time round.
func (w *watch) loop(name string) (beat func()) {
	at := &atomic.Int64{}
	beat = func() { at.Store(w.now().UnixNano()) }
	beat()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loops[name] = at
	return beat
}

func (w *watch) ready(answers func(context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers = answers
}

func (w *watch) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
}

func (w *watch) alive(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, at := range w.loops {
		if age := w.now().Sub(time.Unix(0, at.Load())); age > staleAfter && !w.draining {
			return fmt.Errorf("the loop of %s has not gone round for %v", name, age.Round(time.Second))
		}
	}
	return nil
}

func (w *watch) isReady(ctx context.Context) error {
	w.mu.Lock()
	answers, draining := w.answers, w.draining
	w.mu.Unlock()
	switch {
	case draining:
		return errors.New("draining")
	case answers == nil:
		return errors.New("starting")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return answers(ctx)
}

func (w *watch) handler() http.Handler {
	mux := http.NewServeMux()
	for path, ask := range map[string]func(context.Context) error{"GET /livez": w.alive, "GET /readyz": w.isReady} {
		mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
			if err := ask(r.Context()); err != nil {
				http.Error(rw, err.Error(), http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(rw, "ok")
		})
	}
	return mux
}
