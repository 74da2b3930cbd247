package cloud

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/castlecloud/exchange/examples/aws/internal/config"
)

// Run is the program of examples/aws/local: it starts a cloud as the command line
// says, tells what runs where, and stops all of it when ctx ends.
func Run(ctx context.Context, args []string, out, errOut io.Writer) (err error) {
	var cfg Config
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "loopback `address` of page, REST and WebSocket")
	flags.StringVar(&cfg.Dir, "dir", "", "`directory` of logs and of what the parts keep, empty or absent; \"\": a temporary one, removed at the end")
	flags.StringVar(&cfg.Binaries, "binaries", "", "`directory` of the compiled functions; \"\": they are compiled")
	flags.IntVar(&cfg.Shards, "shards", DefaultShards, "command queues, topics, and functions that serve one each")
	flags.IntVar(&cfg.DemoAccounts, "demo-accounts", DefaultDemoAccounts, "how many there are")
	flags.DurationVar(&cfg.SweepEvery, "sweep", DefaultSweepEvery, "how often the sweeper runs")
	flags.BoolVar(&cfg.RiskInProcess, "risk-in-process", false, "let order-processor check risk itself, and invoke no risk-checker")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected %q", flags.Arg(0))
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "exchange-aws-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
		// PostgreSQL, which root runs as another user, must be able to come in.
		if err := os.Chmod(cfg.Dir, 0o755); err != nil {
			return err
		}
	}
	cfg.Logger = slog.New(slog.NewTextHandler(errOut, nil))
	fmt.Fprintln(out, "starting; the first time it compiles the functions")
	c, err := Start(ctx, cfg)
	if err != nil {
		return err
	}
	announce(out, c, &cfg)
	<-ctx.Done()
	fmt.Fprintln(out, "stopping")
	return c.Close()
}

// announce says what runs where.
func announce(out io.Writer, c *Cloud, cfg *Config) {
	fmt.Fprintf(out, "The exchange is open, on local AWS. Logs: %s\n\n", filepath.Join(cfg.Dir, LogDir))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range c.Parts() {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", p.Name, p.Where, p.For)
	}
	fmt.Fprintln(w)
	for _, f := range config.Functions {
		fmt.Fprintf(w, "  %s\t%s\n", f.Name, f.Trigger)
	}
	_ = w.Flush()
	fmt.Fprintf(out, "\n  accounts 1 to %d, in the page's login\n", cfg.DemoAccounts)
	fmt.Fprintf(out, "  go run ./examples/loadgen -url %s -rate 20 -mid %s\n\nCtrl-C stops it.\n", c.URL(), Mids())
}
