package aurora

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/castlecloud/exchange/pipeline"
)

// ErrSchema says that the schema is not there, or older than this release
// needs: call Migrate.
var ErrSchema = errors.New("the schema is not up to date")

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("the store is closed")

// connectTimeout is how long one connection may take to be made, unless the URL
// says (connect_timeout).
const connectTimeout = 5 * time.Second

// Config says where the database is. URL is mandatory.
type Config struct {
	// URL is the writer: Aurora's cluster endpoint, as
	// postgres://user@host/db?sslmode=verify-full&sslrootcert=rds-ca.pem. TLS,
	// the pool (pool_max_conns ...) and search_path are settings of it. A
	// password in it never shows in an error.
	URL string
	// ReaderURL is Aurora's reader endpoint, for what Store.Reader returns;
	// "": there is none, and Reader reads from the writer.
	ReaderURL string
	// BeforeConnect, unless nil, may change what a new connection is made with,
	// each time: a password that Secrets Manager rotates, or a token of IAM,
	// goes into ConnConfig.Password. An error is that of the connection.
	BeforeConnect func(ctx context.Context, c *pgx.ConnConfig) error
	// RetryFor is how long a call goes on through a failover, AttemptTimeout
	// what one attempt of it may take, a Record as well as a query; 0:
	// DefaultRetryFor, DefaultAttemptTimeout. A context that ends earlier ends
	// the call.
	RetryFor       time.Duration
	AttemptTimeout time.Duration
}

// Store is a pipeline.TradeStore in a PostgreSQL database. All its methods may
// be called concurrently.
type Store struct {
	tradeStore
	reader *pgxpool.Pool // the writer's, or one of its own
}

// tradeStore is a store that reads pages from one of the two pools.
type tradeStore struct {
	cfg    Config
	writer *pgxpool.Pool
	pages  *pgxpool.Pool
	months *months
}

// Open connects to a database that Migrate has prepared. It makes a first
// connection and looks at the version of the schema: ErrSchema when it is older
// than this release needs.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the trade store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	for name, d := range map[string]time.Duration{"RetryFor": cfg.RetryFor, "AttemptTimeout": cfg.AttemptTimeout} {
		if d < 0 {
			return nil, fmt.Errorf("%w: %s %v, expected 0 or more", pipeline.ErrInvalid, name, d)
		}
	}
	if cfg.URL == "" {
		return nil, fmt.Errorf("%w: URL is empty, expected postgres://host/database", pipeline.ErrInvalid)
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = DefaultRetryFor
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = DefaultAttemptTimeout
	}
	writer, err := newPool(cfg, cfg.URL, true)
	if err != nil {
		return nil, fmt.Errorf("%w: URL: %w", pipeline.ErrInvalid, err)
	}
	s := &Store{tradeStore: tradeStore{cfg: cfg, writer: writer, pages: writer, months: &months{known: map[month]bool{}}}, reader: writer}
	if cfg.ReaderURL != "" {
		if s.reader, err = newPool(cfg, cfg.ReaderURL, false); err != nil {
			writer.Close()
			return nil, fmt.Errorf("%w: ReaderURL: %w", pipeline.ErrInvalid, err)
		}
	}
	if err := s.checkSchema(ctx); err != nil {
		_ = s.Close() // never fails
		return nil, err
	}
	return s, nil
}

// newPool makes a pool without connecting.
func newPool(cfg Config, url string, writes bool) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if c.ConnConfig.ConnectTimeout == 0 || c.ConnConfig.ConnectTimeout == 2*time.Minute { // what pgx takes without one
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	c.BeforeConnect = cfg.BeforeConnect
	if writes && c.ConnConfig.ValidateConnect == nil {
		// After a failover the old writer comes back as a reader, and names may
		// lead to it for some seconds.
		c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return pgxpool.NewWithConfig(context.Background(), c) // the context is that of connections made ahead
}

func (s *Store) checkSchema(ctx context.Context) error {
	var version int64
	err := s.attempts(ctx, s.writer, func(ctx context.Context) error {
		return s.writer.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+schemaTable+" WHERE is_applied").Scan(&version)
	})
	const undefinedTable = "42P01"
	switch {
	case code(err) == undefinedTable:
		return fmt.Errorf("%w: it is not there: call Migrate", ErrSchema)
	case err != nil:
		return err
	case version < schemaVersion:
		return fmt.Errorf("%w: it is of version %d, this release needs %d: call Migrate", ErrSchema, version, schemaVersion)
	}
	return nil
}

// Reader returns the same store, which takes the pages it gives (Orders,
// Trades, Fills, Candles) from the reader endpoint. They may be older than what
// Recorded says, and of two the later may be older than the first, because a
// reader lags behind the writer, each by its own time: good for people who look
// at lists, not for services of the pipeline, which read their own writes. All
// else, single orders too, still goes to the writer.
func (s *Store) Reader() pipeline.TradeStore {
	r := s.tradeStore
	r.pages = s.reader
	return r
}

// Close waits for the calls that are running and closes all connections. Later
// calls fail with ErrClosed. It may be repeated. The error is always nil.
func (s *Store) Close() error {
	if s.reader != s.writer {
		s.reader.Close()
	}
	s.writer.Close()
	return nil
}
