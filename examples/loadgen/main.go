// Command loadgen sends orders to a running venue at a fixed rate and prints
// how long they took to be accepted, matched and shown to everybody.
// README.md says how it measures.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/castlecloud/exchange/examples/internal/client"
	"github.com/shopspring/decimal"
)

// answerWait is how long an answer may take; the local venue gives up before.
const answerWait = 15 * time.Second

// Bounds of the command line.
const (
	mostRate  = 1_000_000
	mostConns = 400 // the local venue takes 512, and each account's socket is one
)

// options are what the command line says.
type options struct {
	url        string
	rate       float64
	duration   time.Duration
	accounts   int // 0: all there are
	symbols    []string
	weights    map[string]decimal.Decimal
	mids       map[string]decimal.Decimal
	open       int
	conns      int
	seed       uint64
	sweep      []float64
	svg        string
	tokensFile string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process around it. It returns the exit status: 1
// when the load could not be sent, 2 when the command line is at fault.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opt, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := generate(ctx, opt, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "loadgen: %v\n", err)
		return 1
	}
	return 0
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	opt := options{}
	flags := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opt.url, "url", "http://127.0.0.1:8080", "`address` of the venue")
	flags.Float64Var(&opt.rate, "rate", 500, "`orders` a second; the cancels that keep the book bounded come on top")
	flags.DurationVar(&opt.duration, "duration", 30*time.Second, "how long, of each rate of a sweep")
	flags.IntVar(&opt.accounts, "accounts", 0, "how `many` of the accounts trade (default all)")
	flags.Func("symbols", "the mix, such as `BTC-USD=3,ETH-USD=1` (default every product alike)", func(text string) (err error) {
		opt.symbols, opt.weights, err = parsePairs(text, true)
		return err
	})
	flags.Func("mid", "price to trade around, such as `BTC-USD=64000` (default the middle of the book, or the last trade's)", func(text string) (err error) {
		_, opt.mids, err = parsePairs(text, false)
		return err
	})
	flags.IntVar(&opt.open, "open", 500, "`orders` that rest at most, all accounts together")
	flags.IntVar(&opt.conns, "conns", mostConns, "HTTP `connections` at most")
	flags.Uint64Var(&opt.seed, "seed", 1, "decides every account, symbol, side, price and size")
	flags.Func("sweep", "`rates` to try, such as 500,1000,2000, until p99 of accepted passes "+strconv.Itoa(int(sweepLimit.Milliseconds()))+" ms; the rate where it does is then looked for", func(text string) error {
		for part := range strings.SplitSeq(text, ",") {
			rate, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
			if err != nil || !(rate > 0 && rate <= mostRate) || len(opt.sweep) > 0 && rate <= opt.sweep[len(opt.sweep)-1] {
				return fmt.Errorf("%q: expected rising rates above 0, at most %d", part, mostRate)
			}
			opt.sweep = append(opt.sweep, rate)
		}
		return nil
	})
	flags.StringVar(&opt.svg, "svg", "", "draw latency against rate into this `file`; with -sweep")
	flags.StringVar(&opt.tokensFile, "tokens", "", "`file` of bearer tokens, one a line, instead of the demo accounts")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if err := opt.check(flags.Args()); err != nil {
		fmt.Fprintf(stderr, "loadgen: %v\n", err)
		return options{}, err
	}
	return opt, nil
}

func (opt *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q: expected flags only", rest)
	case !(opt.rate > 0 && opt.rate <= mostRate):
		return fmt.Errorf("-rate %v: expected more than 0 and at most %d", opt.rate, mostRate)
	case opt.duration < 100*time.Millisecond || opt.duration > 24*time.Hour:
		return fmt.Errorf("-duration %v: expected 100ms to 24h", opt.duration)
	case opt.accounts < 0:
		return fmt.Errorf("-accounts %d: expected 0 or more", opt.accounts)
	case opt.open < 1 || opt.open > 1_000_000:
		return fmt.Errorf("-open %d: expected 1 to 1000000", opt.open)
	case opt.conns < 1 || opt.conns > mostConns:
		return fmt.Errorf("-conns %d: expected 1 to %d", opt.conns, mostConns)
	case opt.svg != "" && len(opt.sweep) == 0:
		return errors.New("-svg: expected a -sweep as well, which gives it several rates to draw")
	}
	return nil
}

// generate connects to the venue, sends the load and prints what came of it.
func generate(ctx context.Context, opt options, stdout, stderr io.Writer) error {
	c, err := client.New(opt.url, opt.conns, answerWait)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Health(ctx); err != nil {
		if errors.Is(err, client.ErrNoAnswer) {
			return fmt.Errorf("no venue at %s, start one with: go run ./examples/exchange (%w)", opt.url, err)
		}
		return fmt.Errorf("the venue at %s does not work: %w", opt.url, err)
	}
	accounts, err := signIn(ctx, c, opt)
	if err != nil {
		return err
	}
	markets, err := findMarkets(ctx, c, opt)
	if err != nil {
		return err
	}
	// Another run must not repeat the names of this one.
	prefix := "load-" + strings.ToLower(rand.Text()[:10])
	l := &load{
		client: c, accounts: accounts, conns: opt.conns, mostOpen: opt.open, patience: defaultPatience, join: newJoiner(), open: newOpenOrders(),
		flow: newFlow(opt.seed, markets, len(accounts), prefix), show: newProgress(stderr),
	}
	fmt.Fprintf(stdout, "%d accounts, %d instruments, seed %d\n", len(accounts), len(markets), opt.seed)

	listening, hangUp := context.WithCancel(ctx)
	defer hangUp()
	ready, lost := make(chan struct{}), make(chan error, 1)
	ctx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	go func() {
		err := l.listen(listening, ready)
		if listening.Err() == nil {
			abandon(err)
		}
		lost <- err
	}()
	select {
	case <-ready:
	case err := <-lost:
		return err
	}
	if len(opt.sweep) > 0 {
		err = l.sweep(ctx, opt, stdout)
	} else {
		err = l.once(ctx, opt, stdout)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	// Also after an interrupt: the orders are ours.
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWait)
	defer cancel()
	if left := l.clean(cleaning); left > 0 {
		fmt.Fprintf(stdout, "%d orders may still rest: they could not be canceled\n", left)
	}
	return err
}

func (l *load) once(ctx context.Context, opt options, stdout io.Writer) error {
	res, took, err := l.run(ctx, opt.rate, opt.duration)
	l.show(nil, 0)
	res.print(stdout, opt.rate, took)
	return err
}

// signIn returns who trades.
func signIn(ctx context.Context, c *client.Client, opt options) ([]account, error) {
	if opt.tokensFile != "" {
		text, err := os.ReadFile(opt.tokensFile)
		if err != nil {
			return nil, fmt.Errorf("reading tokens: %w", err)
		}
		var list []account
		for token := range strings.FieldsSeq(string(text)) {
			list = append(list, account{fmt.Sprintf("token %d", len(list)+1), token})
		}
		return firstOf(list, opt.accounts, "tokens in "+opt.tokensFile)
	}
	names, err := c.Accounts(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for demo accounts: %w: give tokens with -tokens", err)
	}
	var list []account
	for _, name := range names {
		list = append(list, account{name: name})
	}
	if list, err = firstOf(list, opt.accounts, "demo accounts"); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].token, err = c.Login(ctx, list[i].name); err != nil {
			return nil, fmt.Errorf("logging in to a demo account: %w", err)
		}
	}
	return list, nil
}

func firstOf(list []account, n int, what string) ([]account, error) {
	switch {
	case len(list) == 0:
		return nil, fmt.Errorf("no %s", what)
	case n > len(list):
		return nil, fmt.Errorf("-accounts %d: expected at most %d, the number of %s", n, len(list), what)
	case n > 0:
		list = list[:n]
	}
	return list, nil
}

func findMarkets(ctx context.Context, c *client.Client, opt options) ([]*market, error) {
	products, err := c.Products(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the products: %w", err)
	}
	symbols := opt.symbols
	var all []string
	for _, p := range products {
		all = append(all, p.Symbol)
	}
	if symbols == nil {
		symbols = all
	}
	var markets []*market
	for _, symbol := range symbols {
		i := slices.Index(all, symbol)
		if i < 0 {
			return nil, fmt.Errorf("-symbols %s: expected one of %s", symbol, strings.Join(all, ", "))
		}
		weight := 1.0
		if w, ok := opt.weights[symbol]; ok {
			weight = w.InexactFloat64()
		}
		m, err := newMarket(ctx, c, &products[i], weight, opt.mids)
		if err != nil {
			return nil, err
		}
		markets = append(markets, m)
	}
	if len(markets) == 0 {
		return nil, errors.New("the venue has no products")
	}
	return markets, nil
}

// newProgress returns what shows how far a run is: a line that is written over
// on a terminal, nothing elsewhere. nil results end it.
func newProgress(w io.Writer) func(r *results, since time.Duration) {
	f, ok := w.(*os.File)
	if !ok {
		return func(*results, time.Duration) {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(*results, time.Duration) {}
	}
	return progressTo(w)
}

func progressTo(w io.Writer) func(r *results, since time.Duration) {
	return func(r *results, since time.Duration) {
		if r == nil {
			fmt.Fprint(w, "\r\x1b[K")
			return
		}
		sent, accepted, _, traded, failed := r.counts()
		fmt.Fprintf(w, "\r\x1b[K%4.0fs  %d sent  %d accepted  %d traded  accepted p99 %s ms  %d errors",
			since.Seconds(), sent, accepted, traded, millis(r.percentile(stageAccepted, 99).Microseconds()), failed)
	}
}
