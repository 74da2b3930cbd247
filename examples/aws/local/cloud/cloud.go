// Package cloud is the pipeline on AWS, on this machine: the real binaries of
// the functions behind a local Lambda, with Redis, PostgreSQL, DynamoDB Local
// and fauxqs in place of ElastiCache, Aurora, DynamoDB, SQS and SNS, and small
// stand-ins of our own for API Gateway, EventBridge and S3.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	awseventbridge "github.com/aws/aws-sdk-go-v2/service/eventbridge"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/adapters/standin/eventbus"
	"github.com/castlecloud/exchange/adapters/standin/websocket"
	"github.com/castlecloud/exchange/examples/aws/internal/build"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/aws/local/lambda"
	"github.com/castlecloud/exchange/examples/exchange/web"
	"github.com/castlecloud/exchange/examples/internal/api"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/memory"
)

// Bounds and defaults.
const (
	DefaultShards       = 2
	MaxShards           = 16
	DefaultDemoAccounts = 10
	MaxDemoAccounts     = 100
	DefaultSweepEvery   = 5 * time.Second // EventBridge Scheduler's least is a minute
	startTimeout        = 2 * time.Minute
	stopTimeout         = 15 * time.Second
)

// Config says how the cloud runs. Dir is mandatory.
type Config struct {
	Dir          string // of logs and what the parts keep; it must be empty or absent
	Listen       string // loopback address of page, REST and WebSocket; "": a free port of 127.0.0.1
	Binaries     string // directory of the compiled functions; "": they are compiled into Dir
	Shards       int    // queues and topics, and functions that serve one each; 0: DefaultShards
	DemoAccounts int    // 0: DefaultDemoAccounts
	SweepEvery   time.Duration
	// RiskInProcess lets order-processor check risk itself, instead of invoking
	// risk-checker.
	RiskInProcess bool
	// Direct lets POST /orders go to the bus without a function, as Terraform
	// does. The answer then names the request: its hash, which is the command's
	// id, takes a function.
	Direct bool
	// Resident names services of config.Services that no function stands for:
	// the caller runs them as processes, with Environment.
	Resident   []string
	HandOver   time.Duration // of every queue: lambda.Mapping
	Visibility time.Duration // of the queues, whole seconds; 0: DefaultVisibility
	// OwnDynamoDB lets package adapters/standin/dynamo stand in for DynamoDB, in
	// this process, instead of DynamoDB Local.
	OwnDynamoDB bool
	Logger      *slog.Logger
	Faults      Faults
	// Done is told of every invocation; nil: nobody.
	Done func(lambda.Invocation)
}

// DefaultVisibility is short, so that what failed comes again soon. On AWS it
// is six times the timeout of the function.
const DefaultVisibility = 10 * time.Second

// Faults says what goes wrong, beside what the methods of Cloud break. nil:
// nothing. All are called concurrently.
type Faults struct {
	Invocation func(function string) lambda.Fault
	// Late is how much later a message to a consumer comes, 0: in its time.
	Late func(function string) time.Duration
	// Zombie: each instrument has a second matching engine, which gets every
	// command, too.
	Zombie bool
	// DynamoDB is asked before each request.
	DynamoDB func(DynamoRequest) ProxyFault
	// Post is asked for each call of the WebSocket API's management.
	Post func(method, connection string) websocket.Fault
}

// Cloud is a running cloud.
type Cloud struct {
	cfg     Config
	log     *slog.Logger
	keys    *auth.Keys
	parts   parts
	made    *made
	lambda  *lambda.Server
	gateway *gateway
	bus     *eventbus.Bus
	url     string
	closers []func() error // in the order of starting
	outputs []*os.File     // of the functions: closed last, as one may start until all is stopped
	once    sync.Once
	failed  error
}

// parts are the servers.
type parts struct {
	redis, postgres, dynamo, fauxqs *standin.Server // dynamo is nil with Config.OwnDynamoDB
	dynamoURL                       string
	s3, events, management          string // URLs
	proxyURL                        string // of the proxy in front of DynamoDB; "": there is none
}

// Start starts everything. ctx bounds the start alone; Close stops it.
func Start(ctx context.Context, cfg Config) (*Cloud, error) {
	c := &Cloud{cfg: cfg}
	err := c.cfg.complete()
	if err == nil {
		err = c.compile(ctx) // which takes minutes the first time
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		err = c.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (cfg *Config) complete() error {
	for _, n := range []struct {
		field       string
		v           *int
		unset, most int
	}{{"Shards", &cfg.Shards, DefaultShards, MaxShards}, {"DemoAccounts", &cfg.DemoAccounts, DefaultDemoAccounts, MaxDemoAccounts}} {
		if *n.v < 0 || *n.v > n.most {
			return fmt.Errorf("%s %d, expected 0 to %d", n.field, *n.v, n.most)
		}
		if *n.v == 0 {
			*n.v = n.unset
		}
	}
	if cfg.SweepEvery == 0 {
		cfg.SweepEvery = DefaultSweepEvery
	}
	if cfg.Visibility == 0 {
		cfg.Visibility = DefaultVisibility
	}
	if cfg.SweepEvery < 0 || cfg.Visibility < time.Second || cfg.Visibility%time.Second != 0 {
		return fmt.Errorf("SweepEvery %v, Visibility %v: expected more than 0, and whole seconds", cfg.SweepEvery, cfg.Visibility)
	}
	if cfg.Dir == "" {
		return errors.New("no directory")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (c *Cloud) start(ctx context.Context) error {
	c.log = c.cfg.Logger
	instruments, err := config.Instruments()
	if err != nil {
		return err
	}
	listener, err := listen(c.cfg.Listen)
	if err != nil {
		return err
	}
	c.closeLater(func() error { return ignoreClosed(listener.Close()) })
	c.url = "http://" + listener.Addr().String()
	if c.keys, err = auth.Load(filepath.Join(c.cfg.Dir, "token.key"), time.Now); err != nil {
		return err
	}
	if err := c.startParts(ctx); err != nil {
		return err
	}
	if c.made, err = c.create(ctx); err != nil {
		return err
	}
	if err := c.endow(ctx, instruments); err != nil {
		return err
	}
	if err := c.startBus(c.made.requests); err != nil {
		return err
	}
	if c.lambda, err = lambda.New(lambda.Config{Fault: c.cfg.Faults.Invocation, Done: c.cfg.Done}); err != nil {
		return err
	}
	c.closeLater(c.lambda.Close)
	if err := c.startGateway(listener, instruments); err != nil {
		return err
	}
	if err := c.startFunctions(); err != nil {
		return err
	}
	c.serve(listener, c.gateway)
	return nil
}

// compile compiles the functions, unless somebody has.
func (c *Cloud) compile(ctx context.Context) error {
	// PostgreSQL may run as another user, who must be able to come in.
	if err := os.MkdirAll(c.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("local cloud: %w", err)
	}
	if c.cfg.Binaries != "" {
		return nil
	}
	c.cfg.Binaries = filepath.Join(c.cfg.Dir, "functions")
	var names []string
	for _, f := range config.Functions {
		names = append(names, f.Name)
	}
	return build.Compile(ctx, c.cfg.Binaries, "", names...)
}

// startParts starts the servers.
func (c *Cloud) startParts(ctx context.Context) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	together := func(what string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for _, p := range []struct {
		name  string
		into  **standin.Server
		start func(context.Context, string) (*standin.Server, error)
	}{{"redis", &c.parts.redis, standin.Redis}, {"postgres", &c.parts.postgres, standin.Postgres}, {"dynamodb", &c.parts.dynamo, standin.DynamoDB}, {"fauxqs", &c.parts.fauxqs, standin.Fauxqs}} {
		if p.into == &c.parts.dynamo && c.cfg.OwnDynamoDB {
			continue
		}
		together(p.name, func() error {
			dir := filepath.Join(c.cfg.Dir, p.name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			s, err := p.start(ctx, dir)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			*p.into = s
			c.closeLater(s.Stop)
			return nil
		})
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	if err := c.startS3(); err != nil {
		return err
	}
	if err := c.startDynamoDB(); err != nil {
		return err
	}
	return c.startProxy()
}

// startGateway prepares what clients talk to.
func (c *Cloud) startGateway(l net.Listener, instruments []*exchange.Instrument) error {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	hosts := []string{l.Addr().String(), "127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port}
	var demo []exchange.AccountID
	for acct := range c.cfg.DemoAccounts {
		demo = append(demo, exchange.AccountID(acct+1))
	}
	c.gateway = &gateway{functions: c.lambda, hosts: hosts, authorized: map[string]authorization{}, room: make(chan struct{}, apiConcurrency), page: api.New(api.Config{
		Instruments: instruments, Keys: c.keys, Verify: c.keys.Verify, Demo: demo, Page: web.Files(), PagePolicy: web.Policy,
		Hosts: slices.Clone(hosts), Now: time.Now, Metrics: memory.NewMetrics(), Logger: c.log,
	})}
	if c.cfg.Direct {
		bus, err := eventbridge.NewBus(awseventbridge.NewFromConfig(sdk(c.parts.events)), eventbridge.Config{BusName: busName})
		if err != nil {
			return err
		}
		c.gateway.bus = bus
	}
	c.gateway.sockets = websocket.New(websocket.Config{Handle: c.gateway.socket, Fault: c.cfg.Faults.Post})
	c.closeLater(func() error { c.gateway.sockets.Close(); return nil })
	// Clients cannot reach the management, which on AWS asks for a signature.
	management, err := listen("")
	if err != nil {
		return err
	}
	c.parts.management = "http://" + management.Addr().String()
	c.serve(management, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/@connections/") {
			http.NotFound(w, r)
			return
		}
		c.gateway.sockets.ServeHTTP(w, r)
	}))
	return nil
}

func (c *Cloud) closeLater(f func() error) { c.closers = append(c.closers, f) }

// run runs f until the cloud is closed.
func (c *Cloud) run(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	c.closeLater(func() error {
		cancel()
		wg.Wait()
		return nil
	})
}

// Close stops everything, the last thing started first. It may be repeated.
func (c *Cloud) Close() error {
	c.once.Do(func() {
		for i := len(c.closers) - 1; i >= 0; i-- {
			c.failed = errors.Join(c.failed, c.closers[i]())
		}
		for _, output := range c.outputs {
			c.failed = errors.Join(c.failed, output.Close())
		}
	})
	return c.failed
}

// URL returns where page, API and feed are.
func (c *Cloud) URL() string { return c.url }

// Token returns a bearer token of an account.
func (c *Cloud) Token(acct exchange.AccountID) (string, error) {
	token, _, err := c.keys.Token(acct, auth.DefaultTTL)
	return token, err
}

// Part is something that runs.
type Part struct{ Name, For, Where string }

// Parts says what runs where.
func (c *Cloud) Parts() []Part {
	out := []Part{
		{"page, REST", "CloudFront, S3, API Gateway", c.url + "/"},
		{"feed", "API Gateway WebSocket", strings.Replace(c.url, "http", "ws", 1) + "/ws"},
		{"connections", "API Gateway WebSocket: its management", c.parts.management},
		{"event bus", "EventBridge", c.parts.events},
		{"Lambda", fmt.Sprintf("%d functions, %d shards", len(config.Functions), c.cfg.Shards), c.lambda.URL()},
		{"fauxqs", "SQS, SNS", c.parts.fauxqs.URL()},
		{"DynamoDB Local", "DynamoDB: journal, balances, connections", c.parts.dynamoURL},
		{"redis-server", "ElastiCache: books", c.parts.redis.URL()},
		{"PostgreSQL", "Aurora: trades, orders", c.parts.postgres.URL()},
		{"gofakes3", "S3: archive", c.parts.s3},
	}
	if c.cfg.OwnDynamoDB {
		i := slices.IndexFunc(out, func(p Part) bool { return p.Name == "DynamoDB Local" })
		out[i].Name = "standin/dynamo"
	}
	return out
}

// serve answers on l until the cloud is closed.
func (c *Cloud) serve(l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("serving", "error", err)
		}
	})
	c.closeLater(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		err := srv.Shutdown(ctx)
		if err != nil {
			err = errors.Join(fmt.Errorf("stopping: %w", err), srv.Close())
		}
		wg.Wait()
		return err
	})
}

// listen opens a loopback address, and no other.
func listen(address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("listening on %q: expected a loopback address and a port, such as 127.0.0.1:8080: nothing here speaks TLS", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
