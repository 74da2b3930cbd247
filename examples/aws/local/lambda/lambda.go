// Package lambda stands in for AWS Lambda on one machine: a server of the
// Runtime API that runs compiled bootstrap binaries as processes, invokes them
// (from the process, or over the API that the SDK's client speaks), and feeds
// them from SQS queues as event source mappings do.
//
// As on AWS a function has any number of environments, each a process that
// handles one event at a time and is kept warm for the next. An environment
// that does not answer in time is killed; one that ends while it works fails
// its invocation. There is no memory limit, no freeze between events, and no
// idle time after which an environment ends.
//
// It misbehaves on demand: Config.Fault says of each invocation what goes
// wrong with it.
package lambda

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds.
const (
	MaxConcurrency = 64                    // environments of a function
	MaxTimeout     = 15 * time.Minute      // of an invocation
	MaxPayload     = 6 << 20               // of an event or an answer, bytes
	StartTimeout   = 10 * time.Second      // from the start of a process until it asks for an event
	DefaultTimeout = 10 * time.Second      // of an invocation
	MaxAsync       = 10_000                // asynchronous invocations that wait or run
	stopTimeout    = 2 * time.Second       // what an environment gets to end by itself
	apiVersion     = "/2018-06-01/runtime" // of the Runtime API
)

var (
	// ErrThrottled says that every environment of the function is busy and
	// there may be no more: nothing ran.
	ErrThrottled = errors.New("throttled: the function has no free environment")
	// ErrUnknown says that there is no such function.
	ErrUnknown = errors.New("there is no such function")
	// ErrClosed says that the server is closed.
	ErrClosed = errors.New("closed")
)

// FunctionError is an invocation that failed: the function said so, its
// process ended, or it took too long. Whether it had an effect is not known.
type FunctionError struct {
	Function string
	Type     string // as the function's runtime names it, or one of those below
	Message  string
}

// The types of errors that are not the function's own.
const (
	TypeTimeout = "Sandbox.Timedout"
	TypeExit    = "Runtime.ExitError"
	TypeLost    = "Local.AnswerLost" // it ran, and its answer was lost on demand
)

func (e *FunctionError) Error() string {
	return fmt.Sprintf("function %s: %s: %s", e.Function, e.Type, e.Message)
}

// Function is what runs.
type Function struct {
	Name        string
	Binary      string            // path of the bootstrap
	Env         map[string]string // its whole environment, but for what Lambda adds
	Concurrency int               // most environments at a time, 1 to MaxConcurrency
	Timeout     time.Duration     // of one invocation; 0: DefaultTimeout
	Output      io.Writer         // what it prints; nil: nowhere. Written to by several goroutines.
}

// Fault is what goes wrong with one invocation. The zero value: nothing.
type Fault struct {
	Throttle bool          // it is refused
	Delay    time.Duration // it begins later
	Twice    bool          // it runs, and then runs again
	Crash    bool          // the process is killed, After it has got the event
	TimeOut  bool          // the same, reported as having taken too long
	After    time.Duration
	Lose     bool // it runs, and the answer is lost
}

// Config says how a Server behaves.
type Config struct {
	// Fault is asked before every invocation; nil: nothing ever goes wrong. It
	// is called concurrently.
	Fault func(function string) Fault
	// Done is told of every invocation that ran; nil: nobody. It is called
	// concurrently, and keeps no time of anybody's.
	Done func(Invocation)
}

// Invocation is one that ran. Began is when the process was asked: its start is
// not counted.
type Invocation struct {
	Function     string
	Event        []byte // not to be changed
	Began, Ended time.Time
	Cold         bool
	Err          error
}

// Server runs functions. It is safe for concurrent use.
type Server struct {
	cfg      Config
	listener net.Listener
	http     *http.Server
	serving  sync.WaitGroup
	running  sync.WaitGroup // processes
	async    sync.WaitGroup // asynchronous invocations and mappings
	waiting  atomic.Int64   // asynchronous invocations
	ctx      context.Context
	cancel   context.CancelFunc

	mu        sync.Mutex
	functions map[string]*function
	envs      map[string]*environment // by id
	closed    bool
}

type function struct {
	Function
	mu    sync.Mutex
	idle  []*environment // the warmest last
	count int            // environments there are
}

// environment is one process.
type environment struct {
	id   string
	fn   *function
	cmd  *exec.Cmd
	next chan *invocation // what it is to do; it has one at a time
	gone chan struct{}    // closed when the process has ended

	mu    sync.Mutex
	now   *invocation // what it works on
	ready bool        // it has asked for an event
	asked chan struct{}
	init  string // why it could not start
}

// invocation is one event on its way through an environment.
type invocation struct {
	id       string
	event    []byte
	deadline time.Time
	taken    chan struct{} // closed when the process has the event
	done     chan struct{}
	answer   []byte
	err      error
	once     sync.Once
}

func (i *invocation) finish(answer []byte, err error) {
	i.once.Do(func() {
		i.answer, i.err = answer, err
		close(i.done)
	})
}

// New starts a server on a free port of loopback.
func New(cfg Config) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("lambda: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, listener: l, ctx: ctx, cancel: cancel, functions: map[string]*function{}, envs: map[string]*environment{}}
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	s.serving.Go(func() { _ = s.http.Serve(l) })
	return s, nil
}

// URL returns where the Invoke API is: the BaseEndpoint of the SDK's client.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Add adds functions. Nothing of them runs before it is invoked.
func (s *Server) Add(functions ...Function) error {
	for _, f := range functions {
		if f.Timeout == 0 {
			f.Timeout = DefaultTimeout
		}
		switch _, err := os.Stat(f.Binary); {
		case f.Name == "":
			return errors.New("lambda: a function without a name")
		case err != nil:
			return fmt.Errorf("lambda: function %s: %w", f.Name, err)
		case f.Concurrency < 1 || f.Concurrency > MaxConcurrency:
			return fmt.Errorf("lambda: function %s: Concurrency %d, expected 1 to %d", f.Name, f.Concurrency, MaxConcurrency)
		case f.Timeout < 0 || f.Timeout > MaxTimeout:
			return fmt.Errorf("lambda: function %s: Timeout %v, expected up to %v", f.Name, f.Timeout, MaxTimeout)
		}
		f.Env = maps.Clone(f.Env)
		s.mu.Lock()
		if s.functions[f.Name] != nil {
			s.mu.Unlock()
			return fmt.Errorf("lambda: function %s: added twice", f.Name)
		}
		s.functions[f.Name] = &function{Function: f}
		s.mu.Unlock()
	}
	return nil
}

// Invoke runs a function on an event and returns its answer. Errors:
// ErrUnknown, ErrThrottled, *FunctionError, and those of ctx, which no longer
// counts once the function runs.
func (s *Server) Invoke(ctx context.Context, name string, event []byte) ([]byte, error) {
	s.mu.Lock()
	f := s.functions[name]
	s.mu.Unlock()
	if f == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	if len(event) > MaxPayload {
		return nil, fmt.Errorf("function %s: an event of %d bytes, expected at most %d", name, len(event), MaxPayload)
	}
	var fault Fault
	if s.cfg.Fault != nil {
		fault = s.cfg.Fault(name)
	}
	if fault.Throttle {
		return nil, fmt.Errorf("%w: %s, on demand", ErrThrottled, name)
	}
	if fault.Delay > 0 {
		if err := wait(ctx, fault.Delay); err != nil {
			return nil, err
		}
	}
	if fault.Twice {
		if _, err := s.run(ctx, f, event, Fault{}); err != nil {
			return nil, err
		}
	}
	answer, err := s.run(ctx, f, event, fault)
	if fault.Lose && err == nil {
		return nil, &FunctionError{name, TypeLost, "on demand"}
	}
	return answer, err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run runs a function once.
func (s *Server) run(ctx context.Context, f *function, event []byte, fault Fault) ([]byte, error) {
	e, cold, err := s.acquire(f)
	if err != nil {
		return nil, err
	}
	if cold {
		if err := s.warm(ctx, e); err != nil {
			e.kill()
			return nil, err
		}
	}
	inv := &invocation{id: newID(), event: event, deadline: time.Now().Add(f.Timeout), taken: make(chan struct{}), done: make(chan struct{})}
	began := time.Now()
	e.mu.Lock()
	e.now = inv
	e.mu.Unlock()
	e.next <- inv
	var crash <-chan struct{}
	if fault.Crash || fault.TimeOut {
		crash = inv.taken
	}
	late := time.NewTimer(f.Timeout)
	defer late.Stop()
	for done, killed := false, false; !done; {
		select {
		case <-inv.done:
			done = true
		case <-crash:
			crash = nil
			_ = wait(s.ctx, fault.After)
			if fault.TimeOut {
				inv.finish(nil, &FunctionError{f.Name, TypeTimeout, "on demand"})
			}
			e.kill()
			killed = true
		case <-late.C:
			inv.finish(nil, &FunctionError{f.Name, TypeTimeout, fmt.Sprintf("Task timed out after %v", f.Timeout)})
			e.kill()
			killed = true
		case <-e.gone:
			inv.finish(nil, &FunctionError{f.Name, TypeExit, "the process ended while it worked"})
		}
		if killed {
			<-e.gone
		}
	}
	if s.cfg.Done != nil {
		s.cfg.Done(Invocation{f.Name, event, began, time.Now(), cold, inv.err})
	}
	s.release(e)
	return inv.answer, inv.err
}

// acquire returns a free environment, or begins a new one.
func (s *Server) acquire(f *function) (e *environment, cold bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.idle) > 0 {
		e := f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		select {
		case <-e.gone:
		default:
			return e, false, nil
		}
	}
	if f.count >= f.Concurrency {
		return nil, false, fmt.Errorf("%w: %s", ErrThrottled, f.Name)
	}
	e, err = s.start(f)
	if err == nil {
		f.count++
	}
	return e, true, err
}

// release keeps an environment warm.
func (s *Server) release(e *environment) {
	e.mu.Lock()
	e.now = nil
	e.mu.Unlock()
	e.fn.mu.Lock()
	defer e.fn.mu.Unlock()
	select {
	case <-e.gone:
	default:
		e.fn.idle = append(e.fn.idle, e)
	}
}

// start begins a process.
func (s *Server) start(f *function) (*environment, error) {
	e := &environment{id: newID(), fn: f, next: make(chan *invocation, 1), gone: make(chan struct{}), asked: make(chan struct{})}
	e.cmd = exec.Command(f.Binary)
	e.cmd.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + s.listener.Addr().String() + "/" + e.id,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512",
		"_HANDLER=bootstrap", "LAMBDA_TASK_ROOT=/var/task", "TZ=:UTC",
	}
	for name, value := range f.Env {
		e.cmd.Env = append(e.cmd.Env, name+"="+value)
	}
	e.cmd.Stdout, e.cmd.Stderr = f.Output, f.Output
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if err := e.cmd.Start(); err != nil {
		return nil, fmt.Errorf("function %s: starting its process: %w", f.Name, err)
	}
	s.envs[e.id] = e
	s.running.Go(func() {
		_ = e.cmd.Wait() // how it ended is in its output
		s.mu.Lock()
		delete(s.envs, e.id)
		s.mu.Unlock()
		f.mu.Lock()
		f.count--
		f.mu.Unlock()
		close(e.gone)
	})
	return e, nil
}

// warm waits until a new process asks for its first event.
func (s *Server) warm(ctx context.Context, e *environment) error {
	timer := time.NewTimer(StartTimeout)
	defer timer.Stop()
	select {
	case <-e.asked:
		return nil
	case <-e.gone:
		e.mu.Lock()
		why := e.init
		e.mu.Unlock()
		if why == "" {
			why = "the process ended before it asked for an event; what it printed says why"
		}
		return &FunctionError{e.fn.Name, TypeExit, why}
	case <-timer.C:
		return &FunctionError{e.fn.Name, TypeTimeout, fmt.Sprintf("it did not start within %v", StartTimeout)}
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *environment) kill() { _ = e.cmd.Process.Kill() }

// Kill kills the environments of a function, whatever they do, and returns how
// many worked on something.
func (s *Server) Kill(name string) (busy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.envs {
		if e.fn.Name == name {
			e.mu.Lock()
			if e.now != nil {
				busy++
			}
			e.mu.Unlock()
			e.kill()
		}
	}
	return busy
}

// Environments returns how many processes a function has.
func (s *Server) Environments(name string) int {
	s.mu.Lock()
	f := s.functions[name]
	s.mu.Unlock()
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Close ends every process and the server.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	for _, e := range s.envs {
		_ = e.cmd.Process.Signal(os.Interrupt)
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		s.mu.Lock()
		for _, e := range s.envs {
			e.kill()
		}
		s.mu.Unlock()
		<-ended
	}
	s.async.Wait()
	err := s.http.Close()
	s.serving.Wait()
	return err
}

var lastID atomic.Uint64

// newID returns a request id in the form of AWS.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] = byte(lastID.Add(1))
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
