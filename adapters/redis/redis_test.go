package redis_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/redis"
	"github.com/castlecloud/exchange/adapters/standin"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

const (
	inst exchange.InstrumentID = 7
)

// start starts a redis-server with further arguments.
func start(t testing.TB, args ...string) *standin.Server {
	return standin.ForTest(t, func(ctx context.Context, dir string) (*standin.Server, error) {
		return standin.RedisWith(ctx, dir, args...)
	})
}

func connect(t testing.TB, opts rueidis.ClientOption) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(opts)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func newStore(t testing.TB, c rueidis.Client, cfg redis.Config) *redis.BookStore {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second // the tests' machine may be busy
	}
	s, err := redis.NewBookStore(c, cfg)
	require.NoError(t, err)
	return s
}

func command(t testing.TB, c rueidis.Client, words ...string) rueidis.RedisResult {
	t.Helper()
	r := c.Do(t.Context(), c.B().Arbitrary(words[0]).Keys(words[1]).Args(words[2:]...).Build())
	require.NoError(t, r.Error(), "%q", words)
	return r
}

func flush(t testing.TB, c rueidis.Client) {
	t.Helper()
	for _, node := range c.Nodes() {
		require.NoError(t, node.Do(t.Context(), node.B().Flushall().Build()).Error())
	}
}

// keys returns all keys there are, also when the test has ended.
func keys(t testing.TB, c rueidis.Client) (out []string) {
	t.Helper()
	for _, node := range c.Nodes() {
		some, err := node.Do(context.Background(), node.B().Keys().Pattern("*").Build()).AsStrSlice()
		require.NoError(t, err)
		out = append(out, some...)
	}
	return out
}

// suite runs the suite of the port, on a server that is flushed in between, and
// checks that nothing is left over.
func suite(t *testing.T, c rueidis.Client) {
	exchangetest.TestBookStore(t, func(t testing.TB) pipeline.BookStore {
		flush(t, c)
		t.Cleanup(func() {
			for _, key := range keys(t, c) {
				ttl, err := c.Do(context.Background(), c.B().Ttl().Key(key).Build()).AsInt64()
				require.NoError(t, err)
				require.Equal(t, int64(-1), ttl, "%s is part of a save that was not finished", key)
			}
		})
		return newStore(t, c, redis.Config{})
	})
}

func loaded(t testing.TB, s *redis.BookStore, c pipeline.Committed, data []byte) {
	t.Helper()
	snap, err := s.LoadBook(t.Context(), c.Instrument())
	require.NoError(t, err)
	require.Equal(t, c.Head(), snap.Head)
	require.True(t, bytes.Equal(data, snap.Data), "%d bytes, want %d", len(snap.Data), len(data))
}

func random(t testing.TB, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	_, err := rand.Read(data)
	require.NoError(t, err)
	return data
}

func TestBookStore(t *testing.T) {
	server := start(t)
	c := connect(t, rueidis.ClientOption{InitAddress: []string{server.Addr}})
	suite(t, c)

	t.Run("sizes", func(t *testing.T) {
		flush(t, c)
		s := newStore(t, c, redis.Config{MaxBytes: 3*redis.ChunkBytes + 5})
		sizes := []int{0, 1, redis.InlineBytes, redis.InlineBytes + 1, redis.ChunkBytes, redis.ChunkBytes + 1, 2 * redis.ChunkBytes, 3*redis.ChunkBytes + 5, 7, redis.ChunkBytes - 1}
		chunks := []int{0, 0, 0, 1, 1, 2, 2, 4, 0, 1}
		items := exchangetest.Commit(t, inst, len(sizes)+1)
		for i, n := range sizes {
			data := random(t, n)
			require.NoError(t, s.SaveBook(t.Context(), items[i], data))
			loaded(t, s, items[i], data)
			require.Len(t, keys(t, c), 1+chunks[i], "%d bytes: the book and its chunks, none of the one before", n)
		}
		require.ErrorIs(t, s.SaveBook(t.Context(), items[len(sizes)], make([]byte, 3*redis.ChunkBytes+6)), pipeline.ErrTooLarge)
	})

	t.Run("an older writer changes nothing", func(t *testing.T) {
		flush(t, c)
		s, items := newStore(t, c, redis.Config{}), exchangetest.Commit(t, inst, 12)
		newest := random(t, 2*redis.ChunkBytes)
		require.NoError(t, s.SaveBook(t.Context(), items[10], newest)) // 11 against 9: compared as numbers
		for _, n := range []int{3, redis.ChunkBytes * 2} {
			require.NoError(t, s.SaveBook(t.Context(), items[8], random(t, n)))
			loaded(t, s, items[10], newest)
			require.Len(t, keys(t, c), 3)
		}
		require.NoError(t, s.SaveBook(t.Context(), items[10], newest), "repeated")
		loaded(t, s, items[10], newest)
		require.NoError(t, s.SaveBook(t.Context(), items[11], nil))
		loaded(t, s, items[11], []byte{})
	})

	// Large books at the same time, which take turns in naming their chunks.
	t.Run("large books at the same time", func(t *testing.T) {
		flush(t, c)
		s := newStore(t, c, redis.Config{})
		const n = 12
		items, data := exchangetest.Commit(t, inst, n), make([][]byte, n)
		for i := range data {
			data[i] = random(t, redis.InlineBytes+redis.ChunkBytes*(i%3)+1)
		}
		errs := make(chan error, n+1)
		for i := range n {
			go func() { errs <- s.SaveBook(t.Context(), items[i], data[i]) }()
		}
		go func() {
			for last := pipeline.Position(0); last < n; {
				snap, err := s.LoadBook(t.Context(), inst)
				switch {
				case errors.Is(err, pipeline.ErrNotFound) && last == 0:
					continue
				case err != nil:
					errs <- err
					return
				case snap.Position < last || !bytes.Equal(snap.Data, data[snap.Position-1]):
					errs <- fmt.Errorf("book %d of %d bytes after book %d", snap.Position, len(snap.Data), last)
					return
				}
				last = snap.Position
			}
			errs <- nil
		}()
		for range n + 1 {
			require.NoError(t, <-errs)
		}
		loaded(t, s, items[n-1], data[n-1])
		require.Len(t, keys(t, c), 1+3, "the book and its chunks, none of another")
	})

	t.Run("a flush, an eviction and a restart cost a reload", func(t *testing.T) {
		flush(t, c)
		s, items := newStore(t, c, redis.Config{}), exchangetest.Commit(t, inst, 9)
		data := random(t, redis.ChunkBytes+9)
		depth := &pipeline.Depth{Instrument: inst, Seq: 5, Bids: []exchange.Level{{Price: 1, Qty: 2, Orders: 3}}}
		lose := map[string]func(){
			"flush":   func() { flush(t, c) },
			"restart": func() { require.NoError(t, server.Restart(t.Context())) },
			"kill": func() {
				require.NoError(t, server.Kill())
				require.NoError(t, server.Restart(t.Context()))
			},
			"eviction": func() {
				command(t, c, "DEL", "exchange:{7}:depth")
				for _, key := range keys(t, c) {
					if strings.HasSuffix(key, ":1") {
						command(t, c, "DEL", key)
					}
				}
			},
			"scripts": func() { // these come back by themselves, and so may the data
				command(t, c, "SCRIPT", "FLUSH")
				flush(t, c)
			},
		}
		for _, how := range []string{"flush", "restart", "kill", "eviction", "scripts"} {
			require.NoError(t, s.SaveBook(t.Context(), items[8], data), how)
			require.NoError(t, s.SaveDepth(t.Context(), items[8], depth), how)
			loaded(t, s, items[8], data)
			lose[how]()
			_, err := s.LoadBook(t.Context(), inst)
			require.ErrorIs(t, err, pipeline.ErrNotFound, how)
			_, err = s.Depth(t.Context(), inst)
			require.ErrorIs(t, err, pipeline.ErrNotFound, how)
			next := items[2] // what is gone holds nobody back
			if how == "eviction" {
				next = items[8] // its position is still there
			}
			require.NoError(t, s.SaveBook(t.Context(), next, data), how)
			loaded(t, s, next, data)
			flush(t, c)
		}
	})

	t.Run("what is not ours is an error and stays", func(t *testing.T) {
		s, items := newStore(t, c, redis.Config{}), exchangetest.Commit(t, inst, 3)
		data := random(t, redis.ChunkBytes+9)
		book, depth := "exchange:{7}:book", "exchange:{7}:depth"
		hash, token := strings.Repeat("h", 32), strings.Repeat("A", 26)
		for name, words := range map[string][]string{
			"a string":               {"SET", book, "x"},
			"a list":                 {"LPUSH", book, "x"},
			"another hash":           {"HSET", book, "name", "x"},
			"a later version":        {"HSET", book, "v", "2", "pos", "00000000000000000001"},
			"no position":            {"HSET", book, "v", "1"},
			"a position of letters":  {"HSET", book, "v", "1", "pos", "abcdefghijklmnopqrst"},
			"a short position":       {"HSET", book, "v", "1", "pos", "1"},
			"a position beyond":      {"HSET", book, "v", "1", "pos", "99999999999999999999"},
			"a signed position":      {"HSET", book, "v", "1", "pos", "-0000000000000000001"},
			"depth is a string":      {"SET", depth, "x"},
			"depth of a set":         {"SADD", depth, "x"},
			"depth of a later one":   {"HSET", depth, "v", "2", "seq", "00000000000000000001", "data", "x"},
			"depth without a number": {"HSET", depth, "v", "1", "data", "x"},
		} {
			flush(t, c)
			command(t, c, words...)
			kind, err := command(t, c, "TYPE", words[1]).ToString()
			require.NoError(t, err)
			if words[1] == book {
				_, err := s.LoadBook(t.Context(), inst)
				require.ErrorIs(t, err, redis.ErrFormat, name)
				require.ErrorContains(t, err, "instrument 7", name)
				if name != "a position beyond" { // to the script it is as good as any
					require.ErrorIs(t, s.SaveBook(t.Context(), items[1], []byte("book")), redis.ErrFormat, name)
				}
				require.ErrorIs(t, s.SaveBook(t.Context(), items[1], data), redis.ErrFormat, name)
			} else {
				_, err := s.Depth(t.Context(), inst)
				require.ErrorIs(t, err, redis.ErrFormat, name)
				require.ErrorIs(t, s.SaveDepth(t.Context(), items[1], &pipeline.Depth{Instrument: inst, Seq: 1}), redis.ErrFormat, name)
			}
			still, err := command(t, c, "TYPE", words[1]).ToString()
			require.NoError(t, err)
			require.Equal(t, kind, still, name)
		}
		// A header of ours whose contents are not.
		for name, fields := range map[string]map[string]string{
			"no hash":                 {"hash": ""},
			"a long hash":             {"hash": hash + "h"},
			"no size":                 {"size": ""},
			"a size of letters":       {"size": "many"},
			"a negative size":         {"size": "-4"},
			"another size":            {"size": "5"},
			"a size beyond the bound": {"size": strconv.Itoa(pipeline.MaxSnapshotBytes + 1), "token": token, "chunks": "1025"},
			"chunks without a name":   {"chunks": "3"},
			"a name without chunks":   {"token": token},
			"a name of other letters": {"size": "2000000", "token": strings.Repeat("*", 26), "chunks": "2"},
			"too few chunks":          {"size": "2000000", "token": token, "chunks": "1"},
			"endless chunks":          {"size": "2000000", "token": token, "chunks": "4000000000"},
		} {
			flush(t, c)
			command(t, c, "HSET", book, "v", "1", "pos", "00000000000000000001", "hash", hash, "size", "4", "data", "book")
			_, err := s.LoadBook(t.Context(), inst)
			require.NoError(t, err)
			for field, value := range fields {
				command(t, c, "HSET", book, field, value)
			}
			_, err = s.LoadBook(t.Context(), inst)
			require.ErrorIs(t, err, redis.ErrFormat, name)
		}
		// Chunks that are not.
		for name, words := range map[string][]string{"a short one": {"SET", "x"}, "a list": {"LPUSH", "x"}} {
			flush(t, c)
			require.NoError(t, s.SaveBook(t.Context(), items[1], data))
			for _, key := range keys(t, c) {
				if strings.HasSuffix(key, ":1") {
					command(t, c, "DEL", key)
					command(t, c, words[0], key, words[1])
				}
			}
			_, err := s.LoadBook(t.Context(), inst)
			require.ErrorIs(t, err, redis.ErrFormat, name)
		}
		// A depth that was cut off anywhere, or has another's number.
		flush(t, c)
		require.NoError(t, s.SaveDepth(t.Context(), items[1], &pipeline.Depth{Instrument: inst, Seq: 300, Bids: []exchange.Level{{Price: 1, Qty: 2, Orders: 3}}, AskOrders: []pipeline.BookOrder{{ID: 1, Price: 2, Qty: 3}}}))
		whole, err := command(t, c, "HGET", depth, "data").ToString()
		require.NoError(t, err)
		for n := range whole {
			command(t, c, "HSET", depth, "data", whole[:n])
			_, err := s.Depth(t.Context(), inst)
			require.ErrorIs(t, err, redis.ErrFormat, "%d of %d bytes", n, len(whole))
		}
		command(t, c, "HSET", depth, "data", whole, "seq", "00000000000000000301")
		_, err = s.Depth(t.Context(), inst)
		require.ErrorIs(t, err, redis.ErrFormat)
	})

	t.Run("a server that is away costs no more than the timeout", func(t *testing.T) {
		flush(t, c)
		s, items := newStore(t, c, redis.Config{Timeout: 100 * time.Millisecond}), exchangetest.Commit(t, inst, 1)
		require.NoError(t, server.Kill())
		require.Error(t, s.SaveBook(t.Context(), items[0], []byte("book")))
		require.Error(t, s.SaveBook(t.Context(), items[0], random(t, redis.ChunkBytes)))
		_, err := s.LoadBook(t.Context(), inst)
		require.Error(t, err)
		require.NotErrorIs(t, err, pipeline.ErrNotFound, "nobody knows")
		require.NoError(t, server.Restart(t.Context()))
		s = newStore(t, c, redis.Config{})
		require.NoError(t, s.SaveBook(t.Context(), items[0], []byte("book")), "the client finds it again")
		loaded(t, s, items[0], []byte("book"))
	})

	t.Run("venues are apart", func(t *testing.T) {
		flush(t, c)
		a, b, items := newStore(t, c, redis.Config{Prefix: "a"}), newStore(t, c, redis.Config{Prefix: "b"}), exchangetest.Commit(t, inst, 1)
		require.NoError(t, a.SaveBook(t.Context(), items[0], []byte("book")))
		_, err := b.LoadBook(t.Context(), inst)
		require.ErrorIs(t, err, pipeline.ErrNotFound)
		loaded(t, a, items[0], []byte("book"))
	})

	t.Run("settings", func(t *testing.T) {
		for _, cfg := range []redis.Config{{Prefix: "a{b"}, {Prefix: "}"}, {Prefix: strings.Repeat("p", redis.MaxPrefixBytes+1)}, {MaxBytes: -1}, {MaxBytes: pipeline.MaxSnapshotBytes + 1}, {Timeout: -1}} {
			_, err := redis.NewBookStore(c, cfg)
			require.ErrorIs(t, err, pipeline.ErrInvalid, "%+v", cfg)
		}
		_, err := redis.NewBookStore(nil, redis.Config{})
		require.ErrorIs(t, err, pipeline.ErrInvalid)
		_, err = redis.NewBookStore(c, redis.Config{Prefix: strings.Repeat("p", redis.MaxPrefixBytes), MaxBytes: pipeline.MaxSnapshotBytes})
		require.NoError(t, err)
	})
}

// startNode starts a node of a cluster, and returns the port of its bus too.
func startNode(t testing.TB) (server *standin.Server, busPort string) {
	server = standin.ForTest(t, func(ctx context.Context, dir string) (s *standin.Server, err error) {
		for range 3 { // somebody may take the free port before it does
			var bus string
			if bus, err = standin.FreeAddr(); err != nil {
				return nil, err
			}
			_, busPort, _ = net.SplitHostPort(bus)
			if s, err = standin.RedisWith(ctx, dir, "--cluster-enabled", "yes", "--cluster-port", busPort, "--cluster-node-timeout", "60000"); err == nil || errors.Is(err, standin.ErrMissing) {
				break
			}
		}
		return s, err
	})
	return server, busPort
}

// A cluster of three, whose instruments lie on different nodes.
func TestBookStoreCluster(t *testing.T) {
	var addrs []string
	var nodes []rueidis.Client
	for range 3 {
		server, busPort := startNode(t)
		addrs = append(addrs, server.Addr)
		nodes = append(nodes, connect(t, rueidis.ClientOption{InitAddress: []string{server.Addr}, ForceSingleClient: true}))
		n := len(addrs) - 1
		first, last := 16384*n/3, 16384*(n+1)/3-1
		command(t, nodes[n], "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last))
		command(t, nodes[n], "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(n+1))
		if n > 0 {
			host, port, err := net.SplitHostPort(server.Addr)
			require.NoError(t, err)
			command(t, nodes[0], "CLUSTER", "MEET", host, port, busPort)
		}
	}
	require.Eventually(t, func() bool {
		for _, node := range nodes {
			info, err := node.Do(t.Context(), node.B().ClusterInfo().Build()).ToString()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") || !strings.Contains(info, "cluster_slots_ok:16384") {
				return false
			}
		}
		return true
	}, time.Minute, 20*time.Millisecond, "the nodes find one another")
	c := connect(t, rueidis.ClientOption{InitAddress: addrs[:1], ShuffleInit: true})
	require.Equal(t, rueidis.ClientModeCluster, c.Mode())
	suite(t, c)

	flush(t, c)
	s := newStore(t, c, redis.Config{})
	var items []pipeline.Committed
	for i := range exchange.InstrumentID(9) {
		items = append(items, exchangetest.Commit(t, i+1, 1)...)
		require.NoError(t, s.SaveBook(t.Context(), items[i], fmt.Append(bytes.Repeat([]byte("."), redis.ChunkBytes), "book ", i)))
		require.NoError(t, s.SaveDepth(t.Context(), items[i], &pipeline.Depth{Instrument: i + 1, Seq: 1}))
	}
	for i := range items {
		loaded(t, s, items[i], fmt.Append(bytes.Repeat([]byte("."), redis.ChunkBytes), "book ", i))
	}
	slots := map[string]map[string]bool{} // of an instrument
	for _, key := range keys(t, c) {
		slot, err := nodes[0].Do(t.Context(), nodes[0].B().ClusterKeyslot().Key(key).Build()).AsInt64()
		require.NoError(t, err)
		tag := key[strings.Index(key, "{"):strings.Index(key, "}")]
		if slots[tag] == nil {
			slots[tag] = map[string]bool{}
		}
		slots[tag][strconv.FormatInt(slot, 10)] = true
	}
	require.Len(t, slots, len(items))
	for tag, of := range slots {
		require.Len(t, of, 1, "slots of %s}", tag)
	}
	for _, node := range nodes {
		n, err := node.Do(t.Context(), node.B().Dbsize().Build()).AsInt64()
		require.NoError(t, err)
		require.Positive(t, n, "every node has some")
	}
}

// Encryption in transit and a password, as ElastiCache asks for them.
func TestBookStoreTLS(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	server := start(t, "--port", "0", "--tls-port", "{port}", "--tls-cert-file", filepath.Join(dir, "cert.pem"), "--tls-key-file", filepath.Join(dir, "key.pem"),
		"--tls-ca-cert-file", filepath.Join(dir, "cert.pem"), "--tls-auth-clients", "no", "--requirepass", "not a secret")
	opts := func(password string, roots *x509.CertPool) rueidis.ClientOption {
		return rueidis.ClientOption{InitAddress: []string{server.Addr}, Password: password, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	}
	suite(t, connect(t, opts("not a secret", pool)))

	_, err := rueidis.NewClient(opts("another", pool))
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "another")
	_, err = rueidis.NewClient(opts("not a secret", x509.NewCertPool()))
	var unknown *tls.CertificateVerificationError
	require.ErrorAs(t, err, &unknown)
	_, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, Password: "not a secret", ForceSingleClient: true})
	require.Error(t, err, "without encryption")
}

// certificate makes a certificate of 127.0.0.1 that signs itself, in dir.
func certificate(t testing.TB, dir string) *x509.CertPool {
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
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(cert)
	return pool
}
