package aurora

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
	"github.com/sethvargo/go-retry"
)

// How calls are repeated. An Aurora failover takes some 30 seconds, most of
// them less; a call goes on for RetryFor, and each attempt ends after
// AttemptTimeout, because a host that has vanished says nothing. Between two
// attempts lie MinPause, doubled each time up to MaxPause, give or take
// pauseJitter.
const (
	DefaultRetryFor       = 60 * time.Second
	DefaultAttemptTimeout = 15 * time.Second
	MinPause              = 20 * time.Millisecond
	MaxPause              = 2 * time.Second
	pauseJitter           = 50 // per cent
)

// SQLSTATEs that go away by themselves: those of a server that ends, starts or
// has become a reader, of too many connections, and of transactions that got in
// each other's way. Class 08 (connection exceptions) is one of them too.
const (
	tooManyConnections   = "53300"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"
	idleSessionTimeout   = "57P05"
	serializationFailure = "40001" // also a query that a replica's recovery has ended
	deadlockDetected     = "40P01"
	readOnly             = "25006" // the writer of before, a reader now
	checkViolation       = "23514"
)

// attempts calls f until it succeeds, its error is one that stays, or the time
// is over. f may have taken effect when it failed: it can be called again.
func (s tradeStore) attempts(ctx context.Context, pool *pgxpool.Pool, f func(ctx context.Context) error) error {
	backoff := retry.WithMaxDuration(s.cfg.RetryFor, retry.WithJitterPercent(pauseJitter, retry.WithCappedDuration(MaxPause, retry.NewExponential(MinPause))))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(ctx, s.cfg.AttemptTimeout)
		defer cancel()
		err := f(attempt)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, puddle.ErrClosedPool):
			return ErrClosed
		case ctx.Err() != nil || !transient(err):
			return plain(err)
		}
		if code(err) == readOnly {
			pool.Reset() // its other connections lead to the same server
		}
		return retry.RetryableError(plain(err))
	})
}

// code returns the SQLSTATE of an error, "" without one.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// noPartition reports whether a row has found no partition: no check that has a
// name is violated. It is made before the next attempt.
func noPartition(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == checkViolation && pg.ConstraintName == ""
}

// transient reports whether an error may go away by itself.
func transient(err error) bool {
	if noPartition(err) {
		return true
	}
	switch c := code(err); c {
	case "":
	case tooManyConnections, adminShutdown, crashShutdown, cannotConnectNow, idleSessionTimeout, serializationFailure, deadlockDetected, readOnly:
		return true
	default:
		return strings.HasPrefix(c, "08")
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err)
}

// plain returns an error without what a server's error may say of a row, in
// fields that Error leaves out and a logger of structs would not.
func plain(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	return &pgconn.PgError{Severity: pg.Severity, Code: pg.Code, Message: pg.Message, SchemaName: pg.SchemaName, TableName: pg.TableName, ConstraintName: pg.ConstraintName}
}
