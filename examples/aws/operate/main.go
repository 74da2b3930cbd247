// Command operate is the operator's: funds, halts, kills, limits, and what the
// runbook needs to look, verify and rebuild. README.md says how each is used.
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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/aws/internal/wire"
	"github.com/castlecloud/exchange/pipeline"
	"github.com/shopspring/decimal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "operate:", err)
		os.Exit(1)
	}
}

// task is what a command does it with.
type task struct {
	*wire.Env
	out  io.Writer
	args []string
	id   string
}

// command is one of the commands.
type command struct {
	name, args string
	vars       []string
	do         func(ctx context.Context, t *task) error
}

var commands = []command{
	{"deposit", "ACCOUNT ASSET AMOUNT", []string{"BALANCES_TABLE"}, deposit},
	{"withdraw", "ACCOUNT ASSET AMOUNT", []string{"BALANCES_TABLE"}, withdraw},
	{"halt", "SYMBOL", []string{"COMMAND_QUEUES"}, halt},
	{"resume", "SYMBOL", []string{"COMMAND_QUEUES"}, resume},
	{"kill", "ACCOUNT", []string{"BALANCES_TABLE", "COMMAND_QUEUES"}, kill},
	{"lift", "ACCOUNT", []string{"BALANCES_TABLE", "COMMAND_QUEUES"}, lift},
	{"limits", "ACCOUNT OPEN_ORDERS MESSAGES WINDOW HOLDING", []string{"BALANCES_TABLE"}, limits},
	{"status", "", []string{"JOURNAL_TABLE", "BALANCES_TABLE", "CONNECTIONS_TABLE", "ARCHIVE_BUCKET", "DATABASE_URL", "REDIS_URL"}, status},
	{"verify", "SYMBOL", []string{"JOURNAL_TABLE", "ARCHIVE_BUCKET"}, verify},
	{"rebuild", "SYMBOL", []string{"JOURNAL_TABLE", "ARCHIVE_BUCKET", "REDIS_URL"}, rebuild},
	{"migrate", "", []string{"DATABASE_URL"}, migrate},
}

func usage() string {
	var b strings.Builder
	b.WriteString("expected operate [-id ID] COMMAND, one of:")
	for _, c := range commands {
		b.WriteString("\n  " + strings.TrimSpace(c.name+" "+c.args))
	}
	return b.String()
}

// run does what args say.
func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	flags := flag.NewFlagSet("operate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	id := flags.String("id", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
		return errors.New(usage())
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == flags.Arg(0) })
	if i < 0 {
		return fmt.Errorf("there is no command %q; %s", flags.Arg(0), usage())
	}
	c := &commands[i]
	if n := flags.NArg() - 1; n != len(strings.Fields(c.args)) {
		return fmt.Errorf("%s: %d arguments, expected %s", c.name, n, strings.TrimSpace(c.name+" "+c.args))
	}
	if *id != "" && !idForm.MatchString(*id) {
		return fmt.Errorf("-id %.80q: expected one that was printed, SECONDS-TEXT", *id)
	}
	cfg, err := config.LoadVars("operate "+c.name, c.vars, getenv)
	if err != nil {
		return err
	}
	env, err := wire.NewEnv(cfg)
	if err != nil {
		return err
	}
	t := &task{Env: env, out: out, args: flags.Args()[1:], id: *id}
	err = c.do(ctx, t)
	if failed := env.Failed(); failed != nil { // it is why the command could not do better
		err = failed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// idForm is that of an id: it has the time in it, in s since 1970, so that what
// is tried again is the same in all respects.
var idForm = regexp.MustCompile(`^([1-9][0-9]{9})-[A-Za-z0-9]{1,40}$`)

// command returns the id and the time of what is about to be done: the same -id
// gives the same, and is done once.
func (t *task) command(acct exchange.AccountID, inst exchange.InstrumentID, kind exchange.CommandKind) (exchange.CommandID, exchange.Time) {
	if t.id == "" {
		t.id = fmt.Sprintf("%d-%s", time.Now().Unix(), rand.Text())
	}
	fmt.Fprintf(t.out, "to try the same again: -id %s\n", t.id)
	seconds, _ := strconv.ParseInt(idForm.FindStringSubmatch(t.id)[1], 10, 64) // ten digits
	return pipeline.CommandIDOf(acct, inst, kind, "operate "+t.id), exchange.Time(seconds) * exchange.Time(time.Second)
}

func (t *task) account() (exchange.AccountID, error) {
	n, err := strconv.ParseUint(t.args[0], 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("ACCOUNT %q: expected a number of 1 or more", t.args[0])
	}
	return exchange.AccountID(n), nil
}

func (t *task) instrument() (*exchange.Instrument, error) {
	var known []string
	for _, in := range t.Instruments() {
		if in.Symbol() == t.args[0] {
			return in, nil
		}
		known = append(known, in.Symbol())
	}
	return nil, fmt.Errorf("SYMBOL %q: expected one of %s", t.args[0], strings.Join(known, ", "))
}

func deposit(ctx context.Context, t *task) error {
	return t.transfer(ctx, exchange.KindDeposit, pipeline.Balances.Deposit)
}

func withdraw(ctx context.Context, t *task) error {
	return t.transfer(ctx, exchange.KindWithdraw, pipeline.Balances.Withdraw)
}

func (t *task) transfer(ctx context.Context, kind exchange.CommandKind, book func(pipeline.Balances, context.Context, pipeline.Transfer) error) error {
	acct, err := t.account()
	if err != nil {
		return err
	}
	assets := pipeline.AssetsOf(t.Instruments())
	asset, codes := exchange.Asset{}, []string{}
	for _, a := range assets {
		if codes = append(codes, a.Code); a.Code == t.args[1] {
			asset = a
		}
	}
	if asset.ID == 0 {
		slices.Sort(codes)
		return fmt.Errorf("ASSET %q: expected one of %s", t.args[1], strings.Join(codes, ", "))
	}
	amount, err := decimal.NewFromString(t.args[2])
	if err != nil {
		return fmt.Errorf("AMOUNT %q: expected a decimal", t.args[2])
	}
	atoms, err := asset.Amount(amount)
	if err != nil {
		return fmt.Errorf("AMOUNT %q: %w", t.args[2], err)
	}
	balances := t.Balances()
	id, at := t.command(acct, 0, kind)
	if err := book(balances, ctx, pipeline.Transfer{ID: id, Account: acct, Asset: asset.ID, Amount: atoms, Time: at}); err != nil {
		return fmt.Errorf("%s %s of account %d: %w", t.args[2], t.args[1], acct, err)
	}
	a, err := balances.Account(ctx, acct)
	if err != nil {
		return err
	}
	for _, b := range a.Balances {
		if b.Asset == asset.ID {
			fmt.Fprintf(t.out, "account %d has %s %s available, %s held\n", acct, asset.Decimal(b.Available), asset.Code, asset.Decimal(b.Held))
		}
	}
	return nil
}

func halt(ctx context.Context, t *task) error { return t.state(ctx, exchange.InstrumentCancelOnly) }
func resume(ctx context.Context, t *task) error {
	return t.state(ctx, exchange.InstrumentTrading)
}

// state sends the state of an instrument through its queue, as any command.
func (t *task) state(ctx context.Context, to exchange.InstrumentState) error {
	in, err := t.instrument()
	if err != nil {
		return err
	}
	c := exchange.SetInstrumentState(in.ID(), to)
	c.ID, c.Time = t.command(0, in.ID(), c.Kind)
	body, err := pipeline.AppendMessage(nil, &pipeline.Message{Command: c})
	if err != nil {
		return err
	}
	if err := t.Queue().Send(ctx, []pipeline.QueueMessage{{Instrument: in.ID(), DedupID: c.ID, Body: body}}); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s: sent; what was sent before it is still matched\n", in.Symbol())
	return nil
}

func kill(ctx context.Context, t *task) error { return t.span(ctx, exchange.Kill) }
func lift(ctx context.Context, t *task) error { return t.span(ctx, exchange.LiftKill) }

// span records a command that concerns an account everywhere and sends it to
// every instrument; the sweeper does the rest of one that gets stuck.
func (t *task) span(ctx context.Context, of func(exchange.InstrumentID, exchange.AccountID) exchange.Command) error {
	acct, err := t.account()
	if err != nil {
		return err
	}
	c := of(0, acct)
	c.ID, c.Time = t.command(acct, 0, c.Kind)
	balances := t.Balances()
	if err := balances.Span(ctx, c); err != nil {
		return err
	}
	if err := t.Queue().Send(ctx, pipeline.SpanCommands(c, t.Instruments())); err != nil {
		return fmt.Errorf("it is recorded, and the sweeper sends it: %w", err)
	}
	if err := balances.Forget(ctx, c.ID); err != nil {
		return fmt.Errorf("it is sent, and the sweeper crosses it off: %w", err)
	}
	fmt.Fprintf(t.out, "account %d: recorded, and sent to %d instruments\n", acct, len(t.Instruments()))
	return nil
}

// limits replaces an account's limits; what is 0 is none.
func limits(ctx context.Context, t *task) error {
	acct, err := t.account()
	if err != nil {
		return err
	}
	var l pipeline.AccountLimits
	for i, to := range map[int]*int64{1: &l.MaxOpenOrders, 2: &l.MaxMessages, 4: (*int64)(&l.MaxHolding)} {
		if *to, err = strconv.ParseInt(t.args[i], 10, 64); err != nil || *to < 0 {
			return fmt.Errorf("%s %q: expected a number of 0 or more, 0 for no limit", []string{"", "OPEN_ORDERS", "MESSAGES", "", "HOLDING"}[i], t.args[i])
		}
	}
	window, err := time.ParseDuration(t.args[3])
	if err != nil || window < 0 || (window == 0) != (l.MaxMessages == 0) {
		return fmt.Errorf("WINDOW %q: expected a duration such as 1s, and 0s where MESSAGES is 0", t.args[3])
	}
	l.MessageWindow = exchange.Time(window)
	balances := t.Balances()
	before, err := balances.Account(ctx, acct)
	if err != nil {
		return err
	}
	if err := balances.SetLimits(ctx, acct, l); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "account %d: before %+v\naccount %d: now    %+v\n", acct, before.Limits, acct, l)
	return nil
}
