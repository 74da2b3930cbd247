package aurora

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaVersion is the migration this release needs, the newest.
const schemaVersion = 1

// schemaTable is where goose notes what has been applied.
const schemaTable = "trade_store_schema"

// Migrate brings the schema to the version of this release: in the first schema
// of the URL's search_path, else in public. What has been applied is left
// alone, so it may be repeated, also by several processes at once, which wait
// for one another. Each migration is a transaction. Go to the cluster endpoint
// itself with it, not through RDS Proxy, and as a role that may create tables.
func Migrate(ctx context.Context, url string) error {
	if err := migrate(ctx, url); err != nil {
		return fmt.Errorf("migrating the trade store: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, url string) error {
	// As Open reads it, which knows the settings of a pool.
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg.ConnConfig)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(sessionLock{}))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// sessionLock lets one process at a time migrate a database. Unlike goose's
// own it waits in the server rather than asks again after seconds.
type sessionLock struct{}

const migrationLock = 0x65786368616e6765 // any number that nobody else takes

func (sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock))
	return err
}

func (sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(migrationLock))
	return err
}
