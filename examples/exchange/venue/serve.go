package venue

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/api"
)

// listen opens a loopback address, and no other.
func listen(address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: expected host and port, such as 127.0.0.1:8080: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("listening on %q: expected a loopback address, such as 127.0.0.1:8080: the venue speaks no TLS", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	if ip := l.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("listening on %q: it is %v, expected a loopback address", address, ip), l.Close())
	}
	return l, nil
}

// hosts are the names that a loopback address is called by.
func hosts(address, port string) []string {
	names := []string{"127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port}
	if !slices.Contains(names, address) {
		names = append(names, address)
	}
	return names
}

// serve answers on l until the venue is closed.
func (v *Venue) serve(l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: api.MaxHeaderBytes, ErrorLog: slog.NewLogLogger(v.log.Handler(), slog.LevelDebug),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			v.log.Error("serving", "error", err)
		}
	})
	v.closeLater(func() error {
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

// serveMetrics serves what is for the operator alone.
func (v *Venue) serveMetrics() error {
	if v.cfg.Metrics == "off" {
		return nil
	}
	l, err := listen(v.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	v.metered = "http://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", v.metrics.Handler())
	mux.HandleFunc("GET /traces/{id}", v.traces)
	v.serve(limitListener(l, maxMetricsConnections), mux)
	return nil
}

const maxMetricsConnections = 16

// traces tells the way of a command: its hops, and how long after the first
// each was.
func (v *Venue) traces(w http.ResponseWriter, r *http.Request) {
	var id exchange.CommandID
	raw, err := hex.DecodeString(r.PathValue("id"))
	if err != nil || len(raw) != len(id) {
		http.Error(w, "expected a command_id: 32 hexadecimal digits", http.StatusBadRequest)
		return
	}
	copy(id[:], raw)
	hops := v.trace.Hops(id)
	if len(hops) == 0 {
		http.Error(w, "nothing is known of this command any more", http.StatusNotFound)
		return
	}
	type hop struct {
		Stage string `json:"stage"`
		Time  string `json:"time"`
		Took  string `json:"took"`
	}
	out := struct {
		CommandID string `json:"command_id"`
		Hops      []hop  `json:"hops"`
	}{CommandID: r.PathValue("id")}
	for _, h := range hops {
		out.Hops = append(out.Hops, hop{string(h.Stage), h.At.UTC().Format(time.RFC3339Nano), h.Took.String()})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// limitListener accepts at most n connections at a time; the others wait in
// the operating system's queue.
func limitListener(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, room: make(chan struct{}, n), done: make(chan struct{})}
}

type limited struct {
	net.Listener
	room chan struct{}
	once sync.Once
	done chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
