// Package wire is what the functions on AWS have in common: it makes the ports
// of package pipeline out of what a function is told (package config), and the
// events of Lambda out of its services and back.
package wire

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
)

// Build makes a function's handler: func(context.Context, Event) (Answer,
// error), where the answer may be left out.
type Build func(ctx context.Context, e *Env) (any, error)

// Start runs a function. Its configuration is checked at once, and all that is
// wrong with it printed; whatever connects to something is made with the first
// event, so that a start costs next to nothing and an outage is an error of an
// event, which is delivered again, and not of the start.
func Start(name string, build Build) {
	cfg, err := config.Load(name, os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	e, err := NewEnv(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tuneMemory(os.Getenv)
	lambda.Start(newFunction(e, build))
}

// gcPercent is GOGC of a function, unless it says so itself. Its heap is a few
// MB, of which the default would collect garbage several times a second under
// load, and there are hundreds of MB.
const gcPercent = 400

// tuneMemory lets the collector rest while there is memory.
func tuneMemory(getenv func(string) string) {
	if getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	if mb, err := strconv.ParseInt(getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), 10, 64); err == nil && mb > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(mb << 20 / 10 * 8) // what is not the heap's needs room, too
	}
}

// function is a lambda.Handler that is built when it is first needed.
type function struct {
	env   *Env
	build Build
	mu    sync.Mutex
	inner lambda.Handler
}

func newFunction(e *Env, build Build) *function { return &function{env: e, build: build} }

// Invoke implements lambda.Handler.
func (f *function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	h, err := f.handler(ctx)
	if err != nil {
		f.env.Logger.ErrorContext(ctx, "starting", "error", err)
		return nil, err
	}
	answer, err := h.Invoke(ctx, payload)
	if flushErr := f.env.Metrics.Flush(); flushErr != nil {
		f.env.Logger.WarnContext(ctx, "writing metrics", "error", flushErr)
	}
	return answer, err
}

func (f *function) handler(ctx context.Context) (lambda.Handler, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inner != nil {
		return f.inner, nil
	}
	h, err := f.build(ctx, f.env)
	if f.env.failed != nil { // it is why build could not do better
		err, f.env.failed = f.env.failed, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.env.Config.Function, err)
	}
	f.inner = lambda.NewHandler(h)
	return f.inner, nil
}
