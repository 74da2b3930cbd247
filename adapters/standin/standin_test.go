package standin_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/standin"
)

var parts = []struct {
	name  string
	start func(context.Context, string) (*standin.Server, error)
	// lasts is set when what was written is still there after a restart.
	lasts bool
	// write and read leave something behind and look for it.
	write func(t *testing.T, s *standin.Server)
	read  func(t *testing.T, s *standin.Server) bool
}{
	{"Redis", standin.Redis, false,
		func(t *testing.T, s *standin.Server) { require.Equal(t, "+OK", redis(t, s, "SET a 1")) },
		func(t *testing.T, s *standin.Server) bool { return redis(t, s, "EXISTS a") == ":1" }},
	{"Postgres", standin.Postgres, true,
		func(t *testing.T, s *standin.Server) {
			require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "data", "left"), nil, 0o600))
		},
		func(t *testing.T, s *standin.Server) bool {
			_, err := os.Stat(filepath.Join(s.Dir, "data", "left"))
			return err == nil
		}},
	{"DynamoDB", standin.DynamoDB, false,
		func(t *testing.T, s *standin.Server) {
			aws(t, s, "application/x-amz-json-1.0", "DynamoDB_20120810.CreateTable", `{"TableName":"left","BillingMode":"PAY_PER_REQUEST",
				"KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"a","AttributeType":"S"}]}`)
		},
		func(t *testing.T, s *standin.Server) bool {
			return strings.Contains(aws(t, s, "application/x-amz-json-1.0", "DynamoDB_20120810.ListTables", `{}`), "left")
		}},
	{"Fauxqs", standin.Fauxqs, false,
		func(t *testing.T, s *standin.Server) {
			aws(t, s, "application/x-amz-json-1.0", "AmazonSQS.CreateQueue", `{"QueueName":"left"}`)
		},
		func(t *testing.T, s *standin.Server) bool {
			return strings.Contains(aws(t, s, "application/x-amz-json-1.0", "AmazonSQS.ListQueues", `{}`), "left")
		}},
}

// Each answers when it is started, only on loopback, ends when it is told to,
// and comes back at the same address, also after a kill.
func TestParts(t *testing.T) {
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			s := standin.ForTest(t, p.start)
			host, _, err := net.SplitHostPort(s.Addr)
			require.NoError(t, err)
			require.Equal(t, "127.0.0.1", host)
			require.Contains(t, s.URL(), s.Addr)
			elsewhere(t, s)
			p.write(t, s)
			require.True(t, p.read(t, s))
			addr := s.Addr
			require.NoError(t, s.Kill())
			refused(t, s)
			require.NoError(t, s.Kill(), "again")
			require.NoError(t, s.Restart(t.Context()), "after a kill")
			require.Equal(t, addr, s.Addr)
			require.Equal(t, p.lasts, p.read(t, s), "what was there before")
			require.NoError(t, s.Restart(t.Context()), "while it runs")
			require.NoError(t, s.Stop())
			refused(t, s)
			require.NoError(t, s.Stop(), "again")
		})
	}
}

func refused(t *testing.T, s *standin.Server) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err == nil {
		conn.Close()
	}
	require.Error(t, err, "it has been ended and answers")
}

// elsewhere checks that no other address of this machine answers on its port.
func elsewhere(t *testing.T, s *standin.Server) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addrs {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), fmt.Sprint(s.Port())), time.Second)
			if err == nil {
				conn.Close()
			}
			require.Error(t, err, "it listens on %v", ip)
		}
	}
}

// redis sends one command and returns the first line of the answer.
func redis(t *testing.T, s *standin.Server, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, command+"\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func aws(t *testing.T, s *standin.Server, contentType, target, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL(), strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Amz-Target", target)
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
	return string(text)
}

func TestRedisWith(t *testing.T) {
	with := func(args ...string) *standin.Server {
		return standin.ForTest(t, func(ctx context.Context, dir string) (*standin.Server, error) {
			return standin.RedisWith(ctx, dir, args...)
		})
	}
	s := with("--requirepass", "secret")
	require.Contains(t, redis(t, s, "GET a"), "-NOAUTH")

	bus, err := standin.FreeAddr()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(bus)
	require.NoError(t, err)
	s = with("--cluster-enabled", "yes", "--cluster-port", port)
	require.Contains(t, redis(t, s, "GET a"), "-CLUSTERDOWN", "no slot is served yet")

	cert, key := certificate(t)
	s = with("--port", "0", "--tls-port", "{port}", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	require.Equal(t, "rediss://"+s.Addr, s.URL())
}

// certificate makes one that signs itself, and returns the files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	public, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

// What is missing is named, with the way to get it.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("EXCHANGE_SERVICES", t.TempDir())
	for _, p := range parts {
		if p.name == "Postgres" {
			continue // Debian's is found without PATH
		}
		_, err := p.start(t.Context(), t.TempDir())
		require.ErrorIs(t, err, standin.ErrMissing, p.name)
		require.ErrorContains(t, err, "make services")
	}
}

// One that cannot run says why: the end of its log is in the error.
func TestFails(t *testing.T) {
	dir := t.TempDir()
	_, err := standin.RedisWith(t.Context(), dir, "--no-such-setting", "1")
	if err != nil && strings.Contains(err.Error(), standin.ErrMissing.Error()) {
		return // TestParts skips, loudly
	}
	require.ErrorContains(t, err, "no-such-setting")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = standin.Redis(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
}

// The script installs the version that the package takes.
func TestServicesScript(t *testing.T) {
	script, err := os.ReadFile("../../scripts/services")
	require.NoError(t, err)
	require.Contains(t, string(script), "\nfauxqs="+standin.FauxqsVersion+" ")
}

const startsAndWaits = "STANDIN_STARTS_AND_WAITS"

// A part does not outlive the process that started it, even one that is killed.
func TestDiesWithItsParent(t *testing.T) {
	if dir := os.Getenv(startsAndWaits); dir != "" {
		s, err := standin.Redis(t.Context(), dir)
		require.NoError(t, err)
		fmt.Println("started", s.Addr)
		_, _ = io.ReadAll(os.Stdin) // until killed
		return
	}
	standin.ForTest(t, standin.Redis) // skips where there is none
	child := exec.Command(os.Args[0], "-test.run", "^TestDiesWithItsParent$")
	child.Env = append(os.Environ(), startsAndWaits+"="+t.TempDir())
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr := strings.TrimSpace(strings.TrimPrefix(line, "started "))
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, child.Process.Kill())
	_ = child.Wait() // killed
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the program still has its connection")
}
