package aurora_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/aurora"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// Pages of the reader's view come from the reader endpoint, everything else
// from the writer. The reader here is another schema, that is far behind.
func TestReader(t *testing.T) {
	writerURL, readerURL := newURL(t), newURL(t)
	behind := openAt(t, aurora.Config{URL: readerURL})
	s := openAt(t, aurora.Config{URL: writerURL, ReaderURL: with(t, readerURL, "default_transaction_read_only", "on")})
	c := exchangetest.Commit(t, inst, 3)
	require.NoError(t, behind.Record(t.Context(), c[0], one(1)))
	r := s.Reader()
	for i := range c {
		require.NoError(t, r.Record(t.Context(), c[i], one(i+1)), "to the writer")
	}
	once(t, s, 3)
	at, err := r.Recorded(t.Context(), inst)
	require.NoError(t, err)
	require.Equal(t, pipeline.Position(3), at, "from the writer")
	_, err = r.OrderByCommand(t.Context(), exchangetest.IDOf(3))
	require.NoError(t, err, "from the writer")
	_, err = r.OrderByID(t.Context(), inst, 3)
	require.NoError(t, err, "from the writer")
	o, err := r.OrderByClientID(t.Context(), 1001, "cut me")
	require.NoError(t, err)
	require.Equal(t, exchange.OrderID(3), o.OrderID, "from the writer")
	orders, err1 := r.Orders(t.Context(), pipeline.OrderQuery{Account: 1001, Limit: 9})
	trades, err2 := r.Trades(t.Context(), pipeline.TradeQuery{Instrument: inst, Limit: 9})
	fills, err3 := r.Fills(t.Context(), pipeline.FillQuery{Account: 1002, Limit: 9})
	candles, err4 := r.Candles(t.Context(), pipeline.CandleQuery{Instrument: inst, Interval: 60e9, Limit: 9})
	require.NoError(t, errors.Join(err1, err2, err3, err4))
	require.Len(t, orders, 1)
	require.Len(t, trades, 1)
	require.Len(t, fills, 1)
	require.Equal(t, int64(1), candles[0].Trades)

	alone := openAt(t, aurora.Config{URL: writerURL}) // without a reader endpoint
	once(t, alone.Reader(), 3)
}

var roles atomic.Int64

// newRole names a role that nobody has yet.
func newRole() string { return fmt.Sprintf("role_%d", roles.Add(1)) }

// A password that rotates while connections come and go: each new one asks for
// the current one.
func TestBeforeConnect(t *testing.T) {
	url := newURL(t)
	role := newRole()
	require.NoError(t, aurora.Migrate(t.Context(), url))
	hba := admin(t, "SHOW hba_file")[0]
	before, err := os.ReadFile(hba)
	require.NoError(t, err)
	// WriteFile keeps the file's owner.
	require.NoError(t, os.WriteFile(hba, append([]byte("host all "+role+" 127.0.0.1/32 scram-sha-256\n"), before...), 0o600))
	defer func() { require.NoError(t, os.WriteFile(hba, before, 0o600)) }()
	admin(t, "CREATE ROLE "+role+" SUPERUSER LOGIN PASSWORD 'spring'", "SELECT pg_reload_conf()")

	url = strings.Replace(url, "postgres@", role+"@", 1)
	require.Eventually(t, func() bool { // the server has read it
		_, err := aurora.Open(t.Context(), aurora.Config{URL: url, RetryFor: time.Millisecond})
		return err != nil && strings.Contains(err.Error(), "password")
	}, patience, time.Millisecond)
	var password atomic.Value
	password.Store("spring")
	var asked atomic.Int64
	s, err := aurora.Open(t.Context(), aurora.Config{URL: url, BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
		asked.Add(1)
		c.Password = password.Load().(string)
		return nil
	}})
	require.NoError(t, err)
	defer s.Close()
	c := exchangetest.Commit(t, inst, 2)
	require.NoError(t, s.Record(t.Context(), c[0], one(1)))

	admin(t, "ALTER ROLE "+role+" PASSWORD 'summer'")
	password.Store("summer")
	n := asked.Load()
	admin(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+role+"'")
	require.NoError(t, s.Record(t.Context(), c[1], one(2)))
	once(t, s, 2)
	require.Greater(t, asked.Load(), n)

	_, err = aurora.Open(t.Context(), aurora.Config{URL: url, BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
		c.Password = "winter of 1709"
		return nil
	}})
	require.ErrorContains(t, err, "28P01", "at once: it does not go away by itself")
	require.NotContains(t, err.Error(), "winter")
	vault := errors.New("the vault is closed")
	_, err = aurora.Open(t.Context(), aurora.Config{URL: url, BeforeConnect: func(context.Context, *pgx.ConnConfig) error { return vault }})
	require.ErrorIs(t, err, vault)
}

// Encryption is the URL's: a server with another certificate is refused, at
// once.
func TestTLS(t *testing.T) {
	url := newURL(t)
	role := newRole()
	require.NoError(t, aurora.Migrate(t.Context(), url))
	hba := admin(t, "SHOW hba_file")[0]
	before, err := os.ReadFile(hba)
	require.NoError(t, err)
	dir := filepath.Dir(hba)
	for name, data := range certificate(t) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		if os.Geteuid() == 0 { // then the server is another user, who must own its key
			u, err := user.Lookup("postgres")
			require.NoError(t, err)
			uid, err := strconv.Atoi(u.Uid)
			require.NoError(t, err)
			require.NoError(t, os.Chown(filepath.Join(dir, name), uid, -1))
		}
	}
	require.NoError(t, os.WriteFile(hba, append([]byte("hostssl all "+role+" 127.0.0.1/32 trust\nhost all "+role+" 127.0.0.1/32 reject\n"), before...), 0o600))
	defer func() {
		require.NoError(t, os.WriteFile(hba, before, 0o600))
		admin(t, "ALTER SYSTEM SET ssl = off", "SELECT pg_reload_conf()")
	}()
	admin(t, "CREATE ROLE "+role+" SUPERUSER LOGIN", "ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET ssl_cert_file = 'cert.pem'", "ALTER SYSTEM SET ssl_key_file = 'key.pem'", "SELECT pg_reload_conf()")
	require.Eventually(t, func() bool { return admin(t, "SHOW ssl")[0] == "on" }, patience, time.Millisecond)

	url = with(t, strings.Replace(url, "postgres@", role+"@", 1), "sslmode", "verify-full")
	s, err := aurora.Open(t.Context(), aurora.Config{URL: with(t, url, "sslrootcert", filepath.Join(dir, "cert.pem"))})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Record(t.Context(), exchangetest.Commit(t, inst, 1)[0], one(1)))
	once(t, s, 1)
	require.Equal(t, []string{"true"}, admin(t, "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '"+role+"'"))

	other := filepath.Join(t.TempDir(), "cert.pem")
	require.NoError(t, os.WriteFile(other, certificate(t)["cert.pem"], 0o600))
	_, err = aurora.Open(t.Context(), aurora.Config{URL: with(t, url, "sslrootcert", other)})
	var refused *tls.CertificateVerificationError
	require.ErrorAs(t, err, &refused)
	_, err = aurora.Open(t.Context(), aurora.Config{URL: with(t, url, "sslmode", "disable")})
	require.ErrorContains(t, err, "28000")
}

// certificate makes a certificate of 127.0.0.1 that signs itself, and its key.
func certificate(t testing.TB) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// Errors of the server never show a row: neither printed nor in their fields.
func TestErrorsNameNobody(t *testing.T) {
	url := newURL(t)
	s := openAt(t, aurora.Config{URL: url})
	c := exchangetest.Commit(t, inst, 2)
	r := one(1)
	r.Orders[0].Account, r.Trades[0].Taker.Account, r.Trades[0].Maker.Account = 424242001, 424242002, 424242003
	require.NoError(t, s.Record(t.Context(), c[0], &pipeline.Record{}))
	for _, constraint := range []string{"orders ADD CONSTRAINT c CHECK (account < 10)", "trades ADD CONSTRAINT c CHECK (taker_account < 10)"} {
		table := strings.Fields(constraint)[0]
		on(t, url, "ALTER TABLE "+constraint)
		err := s.Record(t.Context(), c[1], r)
		require.ErrorContains(t, err, "violates check constraint")
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", errors.Unwrap(err))} {
			require.NotContains(t, text, "424242", table)
		}
		on(t, url, "ALTER TABLE "+table+" DROP CONSTRAINT c")
		at, err := s.Recorded(t.Context(), inst)
		require.NoError(t, err)
		require.Equal(t, pipeline.Position(1), at, "nothing of the item was recorded")
	}
	require.NoError(t, s.Record(t.Context(), c[1], r))
}

// What is refused is refused by name, and only where it would be recorded.
func TestRecordBounds(t *testing.T) {
	s := openNew(t)
	c := exchangetest.Commit(t, inst, 4)
	long, longest := order(1), order(2)
	long.ClientID, longest.ClientID = strings.Repeat("c", pipeline.MaxClientIDBytes+1), strings.Repeat("c", pipeline.MaxClientIDBytes)
	zero, latin, stray := order(1), order(1), order(1)
	zero.ClientID, latin.ClientID, stray.Instrument = "a\x00b", "caf\xe9", 9
	beyond, last := trade(1, 1), trade(1, 1)
	beyond.ID, last.ID = aurora.MaxTradeID+1, aurora.MaxTradeID
	refused := []struct {
		record pipeline.Record
		want   error
		says   string
	}{
		{pipeline.Record{Orders: []pipeline.OrderRecord{order(1), long}}, pipeline.ErrTooLarge, "Orders[1].ClientID has 65 bytes, expected at most 64"},
		{pipeline.Record{Orders: []pipeline.OrderRecord{zero}}, pipeline.ErrInvalid, "Orders[0].ClientID"},
		{pipeline.Record{Orders: []pipeline.OrderRecord{latin}}, pipeline.ErrInvalid, "Orders[0].ClientID"},
		{pipeline.Record{Orders: []pipeline.OrderRecord{stray}}, pipeline.ErrInvalid, "Orders[0] is of instrument 9"},
		{pipeline.Record{Trades: []pipeline.Trade{beyond}}, pipeline.ErrTooLarge, "Trades[0].ID is 9223372036854775808"},
		{pipeline.Record{Trades: []pipeline.Trade{trade(2, 1), trade(2, 1)}}, pipeline.ErrInvalid, "Trades[1] is 2"},
		{pipeline.Record{Trades: []pipeline.Trade{trade(0, 1)}}, pipeline.ErrInvalid, "expected one after 0"},
	}
	for i := range refused {
		err := s.Record(t.Context(), c[0], &refused[i].record)
		require.ErrorIs(t, err, refused[i].want)
		require.ErrorContains(t, err, refused[i].says)
		require.ErrorIs(t, s.Record(t.Context(), c[1], &refused[i].record), pipeline.ErrGap)
	}
	require.NoError(t, s.Record(t.Context(), c[0], &pipeline.Record{Orders: []pipeline.OrderRecord{longest}, Trades: []pipeline.Trade{trade(5, 1)}}))
	for i := range refused {
		require.NoError(t, s.Record(t.Context(), c[0], &refused[i].record), "a position that was recorded")
	}
	err := s.Record(t.Context(), c[1], &pipeline.Record{Trades: []pipeline.Trade{trade(5, 1)}})
	require.ErrorIs(t, err, pipeline.ErrInvalid)
	require.ErrorContains(t, err, "expected one after 5")
	require.NoError(t, s.Record(t.Context(), c[1], &pipeline.Record{Trades: []pipeline.Trade{last}}))

	// The ends of every page's range.
	trades, err := s.Trades(t.Context(), pipeline.TradeQuery{Instrument: inst, Limit: 9})
	require.NoError(t, err)
	require.Len(t, trades, 2)
	for before, n := range map[exchange.TradeID]int{1: 0, 5: 0, 6: 1, aurora.MaxTradeID: 1, aurora.MaxTradeID + 1: 2, math.MaxUint64: 2} {
		trades, err := s.Trades(t.Context(), pipeline.TradeQuery{Instrument: inst, Before: before, Limit: 9})
		require.NoError(t, err)
		require.Len(t, trades, n, "before trade %d", before)
		fills, err := s.Fills(t.Context(), pipeline.FillQuery{Account: 1001, Before: &pipeline.Trade{Instrument: inst, Time: 1, ID: before}, Limit: 9})
		require.NoError(t, err)
		require.Len(t, fills, n, "before trade %d", before)
	}
	for i, n := range map[exchange.InstrumentID]int{inst - 1: 0, inst + 1: 2, math.MaxUint32: 2} {
		for _, of := range []exchange.InstrumentID{0, inst} {
			fills, err := s.Fills(t.Context(), pipeline.FillQuery{Account: 1001, Instrument: of, Before: &pipeline.Trade{Instrument: i, Time: 1, ID: 3}, Limit: 9})
			require.NoError(t, err)
			require.Len(t, fills, n, "before instrument %d, of %d", i, of)
		}
	}
	for _, q := range []pipeline.CandleQuery{{Before: math.MaxInt64}, {Before: math.MinInt64}, {From: math.MaxInt64}, {From: math.MinInt64, Before: 1}} {
		q.Instrument, q.Interval, q.Limit = inst, 60e9, 9
		candles, err := s.Candles(t.Context(), q)
		require.NoError(t, err)
		want := 1
		if q.Before == math.MinInt64 || q.From == math.MaxInt64 {
			want = 0
		}
		require.Len(t, candles, want, "%+v", q)
	}
	o, err := s.OrderByClientID(t.Context(), 1001, longest.ClientID)
	require.NoError(t, err)
	require.Equal(t, longest, o)
	_, err = s.OrderByClientID(t.Context(), 1001, "caf\xe9")
	require.ErrorIs(t, err, pipeline.ErrNotFound)
}

// More rows than one statement takes are still one step.
func TestManyRows(t *testing.T) {
	s := openNew(t)
	const n = 10_001
	r := &pipeline.Record{}
	for i := 1; i <= n; i++ {
		r.Orders = append(r.Orders, order(i))
		r.Trades = append(r.Trades, trade(i, exchange.Time(i)*60e9)) // a candle each
	}
	c := exchangetest.Commit(t, inst, 2)
	bad := *r
	bad.Trades = append(bad.Trades[:n:n], trade(n+1, 0)) // of a candle that is there
	require.NoError(t, s.Record(t.Context(), c[0], &bad))
	for table, want := range map[string]int{"orders": n, "trades": n + 1} {
		at := 0
		for page := 0; ; page++ {
			var got int
			if table == "orders" {
				q := pipeline.OrderQuery{Account: 1001, Limit: pipeline.MaxQueryRows}
				if at > 0 {
					last := order(n - at + 1)
					q.Before = &last
				}
				rows, err := s.Orders(t.Context(), q)
				require.NoError(t, err)
				got = len(rows)
			} else {
				q := pipeline.TradeQuery{Instrument: inst, Limit: pipeline.MaxQueryRows}
				if at > 0 {
					q.Before = exchange.TradeID(want - at + 1)
				}
				rows, err := s.Trades(t.Context(), q)
				require.NoError(t, err)
				got = len(rows)
			}
			if at += got; got < pipeline.MaxQueryRows {
				break
			}
		}
		require.Equal(t, want, at, table)
	}
	candles, err := s.Candles(t.Context(), pipeline.CandleQuery{Instrument: inst, Interval: 24 * 3600e9, Limit: 9})
	require.NoError(t, err)
	total := int64(0)
	for i := range candles {
		total += candles[i].Trades
	}
	require.Equal(t, int64(n+1), total)
}
