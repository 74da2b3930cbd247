// Package venue is the local venue as a whole: Start runs the pipeline, the
// API, the feed, the page and the bots in this process, on a directory.
package venue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/exchange/internal/bots"
	"github.com/castlecloud/exchange/examples/exchange/internal/hub"
	"github.com/castlecloud/exchange/examples/exchange/internal/prom"
	"github.com/castlecloud/exchange/examples/exchange/web"
	"github.com/castlecloud/exchange/examples/internal/api"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/examples/internal/progress"
	"github.com/castlecloud/exchange/pipeline"
)

// Names in the data directory.
const (
	DatabaseFile = "exchange.db"
	ArchiveDir   = "archive"
	KeyFile      = "token.key"
)

// Bounds of the HTTP servers.
const (
	MaxConnections    = 512
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	stopTimeout       = 15 * time.Second
	beginTimeout      = time.Minute
)

// Config says how the venue runs. Only Dir is mandatory.
type Config struct {
	Dir          string  // of all data; made when absent
	Listen       string  // loopback address, "": a free port of 127.0.0.1
	Metrics      string  // the same for metrics and traces, "off": none
	Bots         bool    // run the market makers and takers
	BotRate      float64 // their steps a second, 0: bots.DefaultRate
	Seed         uint64  // of their walk
	NoDemoLogin  bool    // do not give tokens to whoever asks on this machine
	DemoAccounts int     // how many, 0: DefaultDemoAccounts
	Rate         float64 // requests a second of an account, 0: api.DefaultRate
	Feed         hub.Limits
	Wait         time.Duration // how long a request waits for the journal, 0: edge.DefaultWait
	Logger       *slog.Logger  // nil: none
}

// Venue is a running venue.
type Venue struct {
	cfg     Config
	log     *slog.Logger
	keys    *auth.Keys
	hub     *hub.Hub
	trace   *progress.Trace
	metrics *prom.Metrics
	parts   *parts
	handler http.Handler // of clients
	url     string
	metered string
	closers []func() error // in the order of starting
	once    sync.Once
	failed  error
}

// Start starts a venue. ctx bounds the start alone; Close stops it.
func Start(ctx context.Context, cfg Config) (*Venue, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	v := &Venue{cfg: cfg}
	if err := v.start(ctx); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func (v *Venue) start(ctx context.Context) error {
	cfg := &v.cfg
	if v.log = cfg.Logger; v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if cfg.DemoAccounts == 0 {
		cfg.DemoAccounts = DefaultDemoAccounts
	}
	if cfg.DemoAccounts < 1 || cfg.DemoAccounts > MaxDemoAccounts {
		return fmt.Errorf("%d demo accounts, expected 1 to %d", cfg.DemoAccounts, MaxDemoAccounts)
	}
	if cfg.Dir == "" {
		return errors.New("no data directory")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	listener, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	v.closeLater(func() error { return ignoreClosed(listener.Close()) })
	if v.keys, err = auth.Load(filepath.Join(cfg.Dir, KeyFile), time.Now); err != nil {
		return err
	}
	instruments, err := Instruments()
	if err != nil {
		return err
	}
	v.metrics = prom.New(instruments)
	v.trace = progress.NewTrace(v.log, time.Now)
	p, err := v.startPipeline(ctx, instruments)
	if err != nil {
		return err
	}
	v.parts = p
	demo, err := v.endow(ctx, p.balances)
	if err != nil {
		return err
	}
	if err := v.serveMetrics(); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	v.url = "http://" + listener.Addr().String()
	v.handler = api.New(api.Config{
		Instruments: instruments, Edge: p.edge, Board: p.board, Store: p.trades, Books: p.books, Balances: p.balances,
		Snapshots: p.snapshots, Verify: v.keys.Verify, Keys: v.keys, Demo: demo, Feed: v.hub, Page: web.Files(), PagePolicy: web.Policy,
		Pushed: func(inst exchange.InstrumentID) pipeline.Position {
			pos, _ := v.hub.Pushed(context.Background(), inst)
			return pos
		},
		Healthy: p.healthy, Rate: cfg.Rate, Now: time.Now, Metrics: v.metrics, Logger: v.log,
		Hosts: hosts(listener.Addr().String(), port),
	})
	v.serve(limitListener(listener, MaxConnections), v.handler)
	if cfg.Bots {
		return v.startBots(p, instruments)
	}
	return nil
}

// endow gives demo accounts and bots what they begin with, and returns who may
// log in without a password.
func (v *Venue) endow(ctx context.Context, balances pipeline.Balances) (demo []exchange.AccountID, err error) {
	funds, err := atoms(demoFunds)
	if err != nil {
		return nil, err
	}
	for acct := exchange.AccountID(1); acct <= exchange.AccountID(v.cfg.DemoAccounts); acct++ {
		if err := endow(ctx, balances, acct, funds); err != nil {
			return nil, err
		}
		if !v.cfg.NoDemoLogin {
			demo = append(demo, acct)
		}
	}
	return demo, nil
}

func (v *Venue) startBots(p *parts, instruments []*exchange.Instrument) error {
	funds, err := atoms(botFunds)
	if err != nil {
		return err
	}
	for _, list := range [][]exchange.AccountID{makers, takers} {
		for _, acct := range list {
			if err := endow(context.Background(), p.balances, acct, funds); err != nil {
				return err
			}
		}
	}
	b := bots.New(bots.Config{Submit: p.edge.Submit, Instruments: instruments, Values: values, Makers: makers, Takers: takers,
		Store: p.trades, Balances: p.balances, Endowment: funds, Rate: v.cfg.BotRate, Seed: v.cfg.Seed, Now: time.Now, Logger: v.log})
	v.run(b.Run)
	return nil
}

// run runs f until the venue is closed.
func (v *Venue) run(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	v.closeLater(func() error {
		cancel()
		wg.Wait()
		return nil
	})
}

func (v *Venue) closeLater(f func() error) { v.closers = append(v.closers, f) }

// Close stops everything, the last thing started first: no request is taken
// any more, what is under way is finished, then the stores are closed. It may
// be repeated.
func (v *Venue) Close() error {
	v.once.Do(func() {
		for i := len(v.closers) - 1; i >= 0; i-- {
			v.failed = errors.Join(v.failed, v.closers[i]())
		}
	})
	return v.failed
}

// URL returns where the page and the API are, such as http://127.0.0.1:8080.
func (v *Venue) URL() string { return v.url }

// MetricsURL returns where Prometheus finds the metrics, "" when that is off.
// Next to it, /traces/COMMAND_ID tells the way of a command.
func (v *Venue) MetricsURL() string {
	if v.metered == "" {
		return ""
	}
	return v.metered + "/metrics"
}

// Token returns a bearer token of an account.
func (v *Venue) Token(acct exchange.AccountID) (string, error) {
	token, _, err := v.keys.Token(acct, auth.DefaultTTL)
	return token, err
}

// Disconnect cuts every WebSocket off at once, as a broken network would.
func (v *Venue) Disconnect() { v.hub.Disconnect() }

// Token returns a bearer token of an account of the venue in a directory,
// which need not run.
func Token(dir string, acct exchange.AccountID, ttl time.Duration) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the data directory: %w", err)
	}
	keys, err := auth.Load(filepath.Join(dir, KeyFile), time.Now)
	if err != nil {
		return "", err
	}
	token, _, err := keys.Token(acct, ttl)
	return token, err
}
