package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/adapters/cloudwatch"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	bus "github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/adapters/plainbody"
	"github.com/castlecloud/exchange/adapters/redis"
	"github.com/castlecloud/exchange/adapters/s3"
	"github.com/castlecloud/exchange/adapters/sharded"
	"github.com/castlecloud/exchange/adapters/sns"
	"github.com/castlecloud/exchange/adapters/sqs"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/internal/auth"
	"github.com/castlecloud/exchange/pipeline"
)

// Env has the ports that a function asks for, each made when it is first asked
// for. When one cannot be made it returns nil, and the function is not built.
// It is used by one goroutine, that which builds.
type Env struct {
	Config  *config.Config
	Logger  *slog.Logger
	Metrics *cloudwatch.Metrics
	failed  error
	aws     *aws.Config
	log     *pipeline.Log
	trades  *stores
	probes  map[string]func(ctx context.Context, inst exchange.InstrumentID) error // of the stores that were made
}

// NewEnv returns an Env that has made nothing yet.
func NewEnv(cfg *config.Config) (*Env, error) {
	e := &Env{Config: cfg, Logger: slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: cfg.LogLevel}))}
	var err error
	e.Metrics, err = cloudwatch.New(cloudwatch.Config{Namespace: cfg.Namespace, Instruments: cfg.Instruments})
	return e, err
}

// Failed returns why a port could not be made, nil when all were.
func (e *Env) Failed() error {
	err := e.failed
	e.failed = nil
	return err
}

// probe remembers how to find out whether a store answers.
func probe[T any](e *Env, store string, ask func(context.Context, exchange.InstrumentID) (T, error)) {
	if e.probes == nil {
		e.probes = map[string]func(context.Context, exchange.InstrumentID) error{}
	}
	e.probes[store] = func(ctx context.Context, inst exchange.InstrumentID) error {
		_, err := ask(ctx, inst)
		return err
	}
}

// Answers asks every store that was made, and returns which of them do not
// answer. The book store is none of them: the venue runs without it. It may be
// called concurrently once everything is built.
func (e *Env) Answers(ctx context.Context) error {
	var failed []error
	for store, ask := range e.probes {
		if err := ask(ctx, e.Config.Instruments[0].ID()); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", store, err))
		}
	}
	return errors.Join(failed...)
}

// Instruments returns what is traded.
func (e *Env) Instruments() []*exchange.Instrument { return e.Config.Instruments }

func (e *Env) fail(what string, err error) {
	if err != nil && e.failed == nil {
		e.failed = fmt.Errorf("%s: %w", what, err)
	}
}

// idleConns is how many connections to a service are kept: as many as the
// requests that are on their way at once. The SDK's own 10 would open and close
// the others.
const idleConns = 64

// sdk returns the SDK's settings: region, credentials and, when there are any,
// endpoints (AWS_ENDPOINT_URL_...) from the environment.
func (e *Env) sdk() aws.Config {
	if e.aws == nil {
		c, err := awsconfig.LoadDefaultConfig(context.Background())
		e.fail("settings of the SDK", err)
		c.HTTPClient = plainbody.Client(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = idleConns }))
		e.aws = &c
	}
	return *e.aws
}

// Log returns the way to the journal.
func (e *Env) Log() *pipeline.Log {
	if e.log == nil {
		cfg := dynamodb.JournalConfig{Table: e.Config.Journal}
		if e.Config.Archive != "" {
			cfg.Objects = e.Archive()
		}
		j, err := dynamodb.NewJournal(ddb.NewFromConfig(e.sdk()), cfg)
		e.fail("journal", err)
		if err == nil {
			probe(e, "journal", j.Head)
		}
		e.log = pipeline.NewLog(j)
	}
	return e.log
}

// Balances returns the truth of funds.
func (e *Env) Balances() pipeline.Balances {
	b, err := dynamodb.NewBalances(ddb.NewFromConfig(e.sdk()), dynamodb.BalancesConfig{Table: e.Config.Balances})
	e.fail("balances", err)
	if err == nil {
		probe(e, "balances", b.Settled)
	}
	return b
}

// Books returns the book store, which is connected to when it is first asked.
func (e *Env) Books() pipeline.BookStore {
	raw, cache, err := cut(e.Config.Redis, iamParameter)
	e.fail("REDIS_URL", err)
	opt, err := rueidis.ParseURL(raw)
	e.fail("REDIS_URL", err)
	opt.DisableCache = true // nothing is read twice that another writes in between
	if cache != "" {
		user, role := opt.Username, e.sdk()
		opt.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			password, err := cacheToken(context.Background(), role, cache, user, time.Now())
			return rueidis.AuthCredentials{Username: user, Password: password}, err
		}
	}
	return &lazyBooks{now: time.Now, connect: func() (pipeline.BookStore, error) {
		client, err := rueidis.NewClient(opt)
		if err != nil {
			return nil, fmt.Errorf("connecting to the book store: %w", err)
		}
		return redis.NewBookStore(client, redis.Config{})
	}}
}

// stores are the trade store as services see it, and as those who only ask do.
type stores struct {
	writer, reader pipeline.TradeStore
}

// Trades returns the trade store, on the writers.
func (e *Env) Trades(ctx context.Context) pipeline.TradeStore { return e.store(ctx).writer }

// Reader returns the trade store for queries, on the readers.
func (e *Env) Reader(ctx context.Context) pipeline.TradeStore { return e.store(ctx).reader }

func (e *Env) store(ctx context.Context) *stores {
	if e.trades != nil {
		return e.trades
	}
	e.trades = &stores{}
	var writers, readers []pipeline.TradeStore
	for i, raw := range e.Config.Database {
		url, iam, err := cut(raw, iamParameter)
		e.fail("DATABASE_URL", err)
		cfg := aurora.Config{URL: pooled(url)}
		if len(e.Config.Reader) > 0 {
			reader, _, err := cut(e.Config.Reader[i], iamParameter)
			e.fail("DATABASE_READER_URL", err)
			cfg.ReaderURL = pooled(reader)
		}
		if iam != "" {
			role := e.sdk()
			cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) (err error) {
				c.Password, err = databaseToken(ctx, role, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), c.User, time.Now())
				return err
			}
		}
		s, err := aurora.Open(ctx, cfg)
		e.fail("trade store", err)
		if err != nil {
			return e.trades
		}
		writers, readers = append(writers, s), append(readers, s.Reader())
	}
	if len(writers) == 1 {
		e.trades = &stores{writers[0], readers[0]}
	} else {
		writer, err := sharded.NewTradeStore(writers)
		e.fail("trade store", err)
		reader, err := sharded.NewTradeStore(readers)
		e.fail("trade store", err)
		e.trades = &stores{writer, reader}
	}
	probe(e, "trade store", e.trades.writer.Recorded)
	return e.trades
}

// iamParameter is the parameter of a URL that says that the role signs in.
const iamParameter = "iam"

// cut takes a parameter out of a URL, as servers do not know it.
func cut(raw, name string) (rest, value string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", errors.New("expected a URL") // err repeats it, with its password
	}
	query := u.Query()
	if value = query.Get(name); value != "" {
		query.Del(name)
		u.RawQuery = query.Encode()
		raw = u.String()
	}
	return raw, value, nil
}

// poolConns is how many connections a function's environment keeps: it handles
// one event at a time, and of that several instruments.
const poolConns = "4"

// pooled bounds the pool, unless the URL does.
func pooled(url string) string {
	if url == "" || strings.Contains(url, "pool_max_conns=") {
		return url
	}
	if strings.Contains(url, "?") {
		return url + "&pool_max_conns=" + poolConns
	}
	return url + "?pool_max_conns=" + poolConns
}

// Queue returns the command queue, for sending.
func (e *Env) Queue() pipeline.CommandQueue {
	q, err := sqs.NewQueue(awssqs.NewFromConfig(e.sdk()), sqs.Config{QueueURLs: e.Config.Commands, Logger: e.Logger})
	e.fail("command queue", err)
	return q
}

// Publisher returns what tells the consumers.
func (e *Env) Publisher() pipeline.Publisher {
	var out shardedPublisher
	for _, arn := range e.Config.Topics {
		p, err := sns.NewPublisher(awssns.NewFromConfig(e.sdk()), sns.Config{TopicARN: arn})
		e.fail("publisher", err)
		out = append(out, p)
	}
	return out
}

// Bus returns the event bus.
func (e *Env) Bus() pipeline.EventBus {
	b, err := bus.NewBus(eventbridge.NewFromConfig(e.sdk()), bus.Config{BusName: e.Config.Bus})
	e.fail("event bus", err)
	return b
}

// Archive returns the archive, which keeps large snapshots too.
func (e *Env) Archive() *s3.Archive {
	a, err := s3.NewArchive(awss3.NewFromConfig(e.sdk(), func(o *awss3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil // a stand-in has no names for its buckets
	}), s3.Config{Bucket: e.Config.Archive})
	e.fail("archive", err)
	return a
}

// Connections returns the table of WebSocket connections.
func (e *Env) Connections() apigateway.Table {
	t := apigateway.NewDynamoTable(ddb.NewFromConfig(e.sdk()), e.Config.Sessions)
	probe(e, "connections", t.Pushed)
	return t
}

// Pusher returns what puts messages for clients into the push queue.
func (e *Env) Pusher() *apigateway.Pusher {
	p, err := apigateway.NewPusher(apigateway.PusherConfig{Instruments: e.Instruments(), Table: e.Connections(), Metrics: e.Metrics, Logger: e.Logger,
		Sender: &apigateway.SQS{Client: awssqs.NewFromConfig(e.sdk()), URL: e.Config.Push}})
	e.fail("pusher", err)
	return p
}

// Deliverer returns what posts to clients.
func (e *Env) Deliverer() *apigateway.Deliverer {
	client := apigatewaymanagementapi.NewFromConfig(e.sdk(), func(o *apigatewaymanagementapi.Options) { o.BaseEndpoint = &e.Config.WebSocket })
	d, err := apigateway.NewDeliverer(apigateway.DelivererConfig{Instruments: e.Instruments(), Table: e.Connections(), API: client, Metrics: e.Metrics, Logger: e.Logger})
	e.fail("deliverer", err)
	return d
}

// Verifier returns what checks tokens.
func (e *Env) Verifier() *auth.Verifier {
	v, err := auth.NewVerifier(e.Config.TokenKey, time.Now)
	e.fail("TOKEN_PUBLIC_KEY", err)
	return v
}

// Now is the time, as the pipeline counts it.
func Now() exchange.Time { return exchange.Time(time.Now().UnixNano()) }
