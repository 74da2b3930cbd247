// Command replay runs a file of orders through the engine and prints what
// came of it: trades, refusals by reason, the time each command took, and the
// book that is left. README.md describes the file.
package main

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

//go:generate go run ./gen -o sample.csv

//go:embed sample.csv
var sample string

const sampleName = "sample.csv (built in)"

// options are what the command line says.
type options struct {
	file, tradesFile string // "": the built-in sample, none
	tick, lot        decimal.Decimal
	depth            int
	risk             bool
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process around it. It returns the exit status: 1
// when the file or its replay is at fault, 2 when the command line is.
func run(args []string, stdout, stderr io.Writer) int {
	opt, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := replayFile(opt, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "replay: %v\n", err)
		return 1
	}
	return 0
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	opt := options{tick: decimal.New(1, -2), lot: decimal.New(1, -8), depth: 5}
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: replay [-tick D -lot D] [-trades FILE] [-depth N] [-risk] [FILE.csv]\nWithout a file it replays a sample of its own.")
		flags.PrintDefaults()
	}
	flags.Func("tick", "price `step` of the instrument (default 0.01)", stepFlag("tick", &opt.tick))
	flags.Func("lot", "quantity `step` of the instrument (default 0.00000001)", stepFlag("lot", &opt.lot))
	flags.Func("depth", "`levels` of the final book to print on each side (default 5)", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return errors.New("expected a whole number, 0 or more")
		}
		opt.depth = n
		return nil
	})
	flags.StringVar(&opt.tradesFile, "trades", "", "write the trades as CSV to this `file`")
	flags.BoolVar(&opt.risk, "risk", false, "check and settle funds too; every account has enough")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 1 {
		fmt.Fprintf(stderr, "replay: one file at most, got %q\n", flags.Args())
		flags.Usage()
		return options{}, errors.New("too many files")
	}
	opt.file = flags.Arg(0)
	return opt, nil
}

func stepFlag(name string, into *decimal.Decimal) func(string) error {
	return func(text string) error {
		d, err := exchange.ParseDecimal(name, text)
		if err == nil && d.Sign() <= 0 {
			err = errors.New("expected more than zero")
		}
		*into = d
		return err
	}
}

// replayFile reads everything before it replays anything, so that a bad row
// leaves no half a result behind.
func replayFile(opt options, stdout, stderr io.Writer) error {
	inst, err := newInstrument(opt, 0)
	if err != nil {
		return err
	}
	flow, err := readFlow(opt.file, inst)
	if err != nil {
		return err
	}
	if opt.risk {
		// Where funds are checked a market buy needs a worst price, and takes
		// the instrument's highest for it.
		if inst, err = newInstrument(opt, flow.worstPrice()); err != nil {
			return err
		}
	}
	engine, err := newEngine(inst, flow, opt.risk)
	if err != nil {
		return err
	}
	var funds *funder
	if opt.risk {
		funds = &funder{engine: engine, inst: inst, worst: flow.worstPrice()}
	}
	res := replay(engine, flow.commands, funds, newProgress(stderr, len(flow.commands)))
	report(stdout, inst, res)
	printDepth(stdout, inst, engine.Book(instrumentID), opt.depth)
	if opt.tradesFile == "" {
		return nil
	}
	return writeTrades(opt.tradesFile, inst, flow, res.trades)
}

func readFlow(file string, inst *exchange.Instrument) (*flow, error) {
	if file == "" {
		return parseFlow(sampleName, strings.NewReader(sample), inst)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseFlow(file, f, inst)
}

// writeTrades writes one row a trade, with the file's own order ids.
func writeTrades(file string, inst *exchange.Instrument, flow *flow, trades []trade) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	if err := w.Write([]string{"seq", "taker", "maker", "price", "qty"}); err != nil {
		return err
	}
	for i, t := range trades {
		row := []string{strconv.Itoa(i + 1), flow.ids[t.taker], flow.ids[t.maker], inst.PriceDecimal(t.price).String(), inst.QtyDecimal(t.qty).String()}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
