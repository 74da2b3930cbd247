// Command exchange runs a whole venue on this machine: pipeline, API, feed,
// page, metrics and a small market of bots, with its data in a directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/exchange/venue"
	"github.com/castlecloud/exchange/examples/internal/auth"
)

const defaultDir = "exchange-data"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "exchange:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	if len(args) > 0 && args[0] == "token" {
		return token(args[1:], out, errOut)
	}
	var cfg venue.Config
	var demo bool
	var level string
	flags := flag.NewFlagSet("exchange", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "loopback `address` of page, REST and WebSocket")
	flags.StringVar(&cfg.Metrics, "metrics", "127.0.0.1:9090", "loopback `address` of the metrics; off: none")
	flags.StringVar(&cfg.Dir, "data", defaultDir, "`directory` of all data, made when absent")
	flags.BoolVar(&cfg.Bots, "bots", true, "run the market makers and takers")
	flags.Float64Var(&cfg.BotRate, "bot-rate", 10, "steps a second of all bots together")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "of the bots' random walk")
	flags.BoolVar(&demo, "demo-login", true, "give tokens of demo accounts to whoever asks on this machine")
	flags.IntVar(&cfg.DemoAccounts, "demo-accounts", venue.DefaultDemoAccounts, "how many there are")
	flags.Float64Var(&cfg.Rate, "rate", 200, "requests a second of one account")
	flags.StringVar(&level, "log", "info", "debug, info, warn or error; debug logs every hop of every command")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected %q: the one subcommand is token", flags.Arg(0))
	}
	for _, f := range []struct {
		name  string
		value float64
	}{{"bot-rate", cfg.BotRate}, {"rate", cfg.Rate}} {
		if !(f.value >= 0.01 && f.value <= 1e6) {
			return fmt.Errorf("-%s %v: expected 0.01 to 1000000", f.name, f.value)
		}
	}
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("-log %q: expected debug, info, warn or error", level)
	}
	cfg.NoDemoLogin = !demo
	cfg.Logger = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: threshold}))
	v, err := venue.Start(ctx, cfg)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: -listen and -metrics take another address, such as 127.0.0.1:0 for a free port", err)
	case err != nil:
		return err
	}
	announce(out, v, &cfg)
	<-ctx.Done()
	fmt.Fprintln(out, "stopping")
	return v.Close()
}

// announce says where to go.
func announce(out io.Writer, v *venue.Venue, cfg *venue.Config) {
	var b strings.Builder
	fmt.Fprintf(&b, "The exchange is open. Data: %s\n\n", cfg.Dir)
	fmt.Fprintf(&b, "  page      %s/\n", v.URL())
	fmt.Fprintf(&b, "  REST      %s/products, described by %s/openapi.yaml\n", v.URL(), v.URL())
	fmt.Fprintf(&b, "  feed      %s/ws\n", strings.Replace(v.URL(), "http", "ws", 1))
	if v.MetricsURL() != "" {
		fmt.Fprintf(&b, "  metrics   %s\n", v.MetricsURL())
	}
	if cfg.NoDemoLogin {
		fmt.Fprintf(&b, "  accounts  1 to %d; the demo login is off\n", cfg.DemoAccounts)
	} else {
		fmt.Fprintf(&b, "  accounts  1 to %d, in the page's login\n", cfg.DemoAccounts)
	}
	fmt.Fprintf(&b, "  a token   go run ./examples/exchange token -data %s -account 1\n", cfg.Dir)
	if cfg.Bots {
		fmt.Fprintf(&b, "  bots      %v steps a second, seed %d\n", cfg.BotRate, cfg.Seed)
	}
	fmt.Fprintln(&b, "\nCtrl-C stops it.")
	fmt.Fprint(out, b.String())
}

// token prints a bearer token.
func token(args []string, out, errOut io.Writer) error {
	flags := flag.NewFlagSet("exchange token", flag.ContinueOnError)
	flags.SetOutput(errOut)
	dir := flags.String("data", defaultDir, "the venue's data `directory`")
	account := flags.Uint64("account", 1, "whose token")
	ttl := flags.Duration("ttl", auth.DefaultTTL, "how long it is good for, at most "+auth.MaxTTL.Round(time.Hour).String())
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("token: unexpected %q", flags.Arg(0))
	}
	text, err := venue.Token(*dir, exchange.AccountID(*account), *ttl)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
