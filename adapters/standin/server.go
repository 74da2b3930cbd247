package standin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Bounds of what a start and a stop wait for.
const (
	StartTimeout = 2 * time.Minute // until it answers
	StopTimeout  = time.Minute     // until it has ended by itself
	probeTimeout = 2 * time.Second // for one answer
	probePause   = 10 * time.Millisecond
	portTries    = 5       // other ports, when somebody else took the free one
	logTail      = 2 << 10 // bytes of the log in an error
)

// ErrMissing says that a program is not installed. The error that wraps it
// names the program and how to get it.
var ErrMissing = errors.New("not installed")

// errEnded says that the program ended before it answered.
var errEnded = errors.New("it has ended")

// part is what the programs differ in.
type part struct {
	name   string // of the program, and of its log
	scheme string // of its URL
	suffix string // of its URL, after the address
	user   string // who is in its URL
	// command makes the command that serves at s.Addr.
	command func(s *Server) (*exec.Cmd, error)
	// probe asks once whether it answers at addr.
	probe func(ctx context.Context, addr string) error
	stop  os.Signal // ends it in good order
}

// Server is one running part. Its methods may be called concurrently.
type Server struct {
	Addr string // 127.0.0.1:port, the same for its whole life
	Dir  string // its log and its data

	part part
	mu   sync.Mutex
	port io.Closer // keeps Addr for this Server, also while nothing runs
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	gone chan struct{} // closed when all that it has started has, too
}

// URL returns the address as a URL: postgres://, redis:// or http://.
func (s *Server) URL() string {
	return s.part.scheme + "://" + s.part.user + s.Addr + s.part.suffix
}

// Port returns the port of Addr.
func (s *Server) Port() int {
	_, port, _ := net.SplitHostPort(s.Addr)
	n, _ := strconv.Atoi(port)
	return n
}

// begin starts a part in dir on a free port.
func begin(ctx context.Context, dir string, p part) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	s := &Server{Dir: dir, part: p}
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, StartTimeout)
	defer cancel()
	for try := 1; ; try++ {
		if s.Addr, s.port, err = reserve(); err != nil {
			return nil, fmt.Errorf("starting %s: %w", p.name, err)
		}
		if err = s.start(ctx); err == nil {
			return s, nil
		}
		if try == portTries || ctx.Err() != nil || !errors.Is(err, errEnded) {
			return nil, err
		}
	}
}

// FreeAddr returns an address of this machine, 127.0.0.1:port, that nobody
// listens on at the moment.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start runs the command and waits until it answers. s.mu is held.
func (s *Server) start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("starting %s: %w", s.part.name, err)
	}
	cmd, err := s.part.command(s)
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.part.name, err)
	}
	log, err := os.OpenFile(s.logName(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.part.name, err)
	}
	defer log.Close() // the program has its own
	cmd.Stdout, cmd.Stderr = log, log
	// Whatever it starts has this pipe as well: it is at its end when they all
	// have ended.
	alive, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.part.name, err)
	}
	if runtime.GOOS != "windows" { // which hands on no files
		cmd.ExtraFiles = []*os.File{theirs}
	}
	err = launch(cmd)
	theirs.Close()
	if err != nil {
		alive.Close()
		return fmt.Errorf("starting %s: %w", s.part.name, err)
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended stands in cmd.ProcessState
		close(done)
		_, _ = io.Copy(io.Discard, alive) // nobody writes
		alive.Close()
		close(gone)
	}()
	s.cmd, s.done, s.gone = cmd, done, gone
	if err := s.await(ctx); err != nil {
		_ = s.end(os.Kill)
		return fmt.Errorf("starting %s on %s: %w; the end of %s:\n%s", s.part.name, s.Addr, err, s.logName(), s.tail())
	}
	return nil
}

// await asks until the program answers, has ended, or ctx ends.
func (s *Server) await(ctx context.Context) error {
	for {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		err := s.part.probe(probe, s.Addr)
		cancel()
		select {
		case <-s.done: // also when another program answers on its port
			return fmt.Errorf("%w: %v", errEnded, s.cmd.ProcessState)
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
		case <-time.After(probePause):
		case <-ctx.Done():
			return fmt.Errorf("no answer yet: %w: %w", ctx.Err(), err)
		}
	}
}

func (s *Server) logName() string { return filepath.Join(s.Dir, s.part.name+".log") }

func (s *Server) tail() []byte {
	text, _ := os.ReadFile(s.logName()) // an unreadable log shows as empty
	return text[max(0, len(text)-logTail):]
}

// Stop ends the program in good order and waits until it has ended. One that
// has ended already is no error; one that takes longer than StopTimeout is
// killed, which is.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(s.part.stop)
}

// Kill ends the program as kill -9 does and waits until it has ended, and what
// it has started: a process of PostgreSQL may answer a last query before it
// notices.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(os.Kill)
}

// end sends a signal and waits for the end. s.mu is held.
func (s *Server) end(sig os.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stopping %s: %w", s.part.name, err)
	}
	timer := time.NewTimer(StopTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		_ = s.cmd.Process.Kill() // an error means that it has just ended
		<-s.done
		s.cmd = nil
		return fmt.Errorf("stopping %s: killed, it did not end within %v", s.part.name, StopTimeout)
	}
	s.cmd = nil
	select {
	case <-s.gone:
		return nil
	case <-timer.C:
		return fmt.Errorf("stopping %s: it has ended, and what it has started did not within %v", s.part.name, StopTimeout)
	}
}

// Restart ends the program, if it runs, and starts it again at the same
// address and in the same directory. It returns when it answers.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.end(s.part.stop); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, StartTimeout)
	defer cancel()
	for {
		err := s.start(ctx)
		if !errors.Is(err, errEnded) {
			return err
		}
		// Something of the one before may be left for a moment: a connection
		// on its port, PostgreSQL's shared memory.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * probePause):
		}
	}
}
