// Command service runs one of the pipeline's services as a process that stays:
//
//	service NAME [-health ADDRESS]
//
// It takes its work from its queues itself, keeps books and connections warm,
// and ends, when told to (SIGTERM), once what it has in hand is done. What it is
// told otherwise are environment variables; README.md lists them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
)

// How long things take at most, and how often they are done.
const (
	drainTimeout = 40 * time.Second // of what is in hand at the end: an orchestrator kills after 60
	workTimeout  = 30 * time.Second // of one group's messages
	staleAfter   = 90 * time.Second // of a loop that does not go round: longer than a poll and some work
	probeTimeout = 4 * time.Second
	flushEvery   = 5 * time.Second // of metrics
	sweepEvery   = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "service:", err)
		}
		os.Exit(1)
	}
}

// run runs a service until ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string) error {
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	health := flags.String("health", "127.0.0.1:8081", "`address` of /livez and /readyz")
	if len(args) == 0 || args[0] == "" || args[0][0] == '-' {
		return errors.New("expected the name of a service: service NAME [-health ADDRESS]")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected %q", flags.Arg(0))
	}
	cfg, err := config.LoadService(args[0], getenv)
	if err != nil {
		return err
	}
	env, err := wire.NewEnv(cfg)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *health)
	if err != nil {
		return fmt.Errorf("-health: %w", err)
	}
	env.Logger.InfoContext(ctx, "listening", "health", listener.Addr().String())
	p := &process{env: env, watch: newWatch()}
	srv := &http.Server{Handler: p.watch.handler(), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 8 << 10}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(listener) })
	err = p.run(ctx)
	_ = srv.Close()
	serving.Wait()
	return errors.Join(err, env.Metrics.Flush())
}

// process is one service with its loops.
type process struct {
	env   *wire.Env
	watch *watch
}

func (p *process) run(ctx context.Context) error {
	log, name := p.env.Logger, p.env.Config.Function
	s, err := p.build(ctx)
	if s == nil {
		return err
	}
	log.InfoContext(ctx, "working", "service", name, "queues", len(s.Queues))

	// What is in hand outlives ctx, for a while.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		log.Info("draining", "service", name)
		p.watch.drain()
		time.AfterFunc(drainTimeout, cancel)
	})
	defer stop()
	var loops, flushing sync.WaitGroup
	ended := make(chan struct{})
	flushing.Go(func() { p.flush(ended) })
	loops.Go(func() { p.load(ctx, work, s) })
	for _, url := range s.Queues {
		src := &source{client: s.Client, url: url, visibility: p.env.Config.Visibility, handle: s.Handle, log: log, beat: p.watch.loop(url)}
		loops.Go(func() { src.run(ctx, work) })
	}
	if s.Now != nil {
		beat := p.watch.loop(name)
		loops.Go(func() {
			for ctx.Err() == nil {
				beat()
				p.sweep(work, s.Now)
				pause(ctx, sweepEvery)
			}
		})
	}
	loops.Wait()
	close(ended)
	flushing.Wait()
	if work.Err() != nil {
		return fmt.Errorf("%s: what was in hand was not done within %v; it comes again elsewhere", name, drainTimeout)
	}
	log.Info("drained", "service", name)
	return nil
}

func (p *process) sweep(work context.Context, now func(context.Context) error) {
	ctx, cancel := context.WithTimeout(work, workTimeout)
	defer cancel()
	if err := now(ctx); err != nil {
		p.env.Logger.WarnContext(ctx, "a pass", "error", err)
	}
}

// build builds the service, as soon as what it connects to lets it; nil when ctx
// ends before, or when trying again changes nothing.
func (p *process) build(ctx context.Context) (*wire.Service, error) {
	for failures := 0; ctx.Err() == nil; failures++ {
		s, err := wire.NewService(ctx, p.env)
		if err == nil {
			return s, nil
		}
		if errors.Is(err, pipeline.ErrInvalid) {
			return nil, err
		}
		p.env.Logger.ErrorContext(ctx, "starting; it is tried again", "failures", failures+1, "error", err)
		pause(ctx, min(time.Second<<min(failures, 5), maxPause))
	}
	return nil, nil
}

// load loads what the service needs, and says then that it is ready. Its loops
// do not wait for that: an instrument that cannot be loaded holds up no other.
func (p *process) load(ctx, work context.Context, s *wire.Service) {
	for failures := 0; s.Load != nil && ctx.Err() == nil; failures++ {
		err := s.Load(work)
		if err == nil {
			break
		}
		p.env.Logger.ErrorContext(ctx, "loading; it is tried again", "failures", failures+1, "error", err)
		pause(ctx, min(time.Second<<min(failures, 5), maxPause))
	}
	p.watch.ready(p.env.Answers)
}

// flush writes metrics now and then.
func (p *process) flush(ended <-chan struct{}) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := p.env.Metrics.Flush(); err != nil {
				p.env.Logger.Warn("writing metrics", "error", err)
			}
		case <-ended:
			return
		}
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
