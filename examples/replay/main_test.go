package main

import (
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
	"github.com/shopspring/decimal"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden file in testdata")

// replayed runs the program and returns what it printed and its exit status.
func replayed(args ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	status = run(args, &out, &errs)
	return out.String(), errs.String(), status
}

// timings are the lines that differ from run to run.
var timings = regexp.MustCompile(`(?m)^(elapsed|commands per second|latency) .*\n`)

func TestSample(t *testing.T) {
	got, errs, status := replayed()
	if status != 0 || errs != "" {
		t.Fatalf("exit status %d, stderr %q", status, errs)
	}
	if n := len(timings.FindAllString(got, -1)); n != 3 {
		t.Errorf("%d lines of timings, want 3:\n%s", n, got)
	}
	got = timings.ReplaceAllString(got, "")
	const golden = "testdata/sample.golden"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Funds that are checked but ample change nothing.
func TestRiskChangesNothing(t *testing.T) {
	dir := t.TempDir()
	plain, checked := filepath.Join(dir, "plain.csv"), filepath.Join(dir, "checked.csv")
	without, _, _ := replayed("-trades", plain, "-depth", "1000")
	with, errs, status := replayed("-trades", checked, "-depth", "1000", "-risk")
	if status != 0 {
		t.Fatal(errs)
	}
	if timings.ReplaceAllString(with, "") != timings.ReplaceAllString(without, "") {
		t.Errorf("with risk\n%s\nwithout\n%s", with, without)
	}
	if !bytes.Equal(readFile(t, plain), readFile(t, checked)) {
		t.Error("the trades differ")
	}
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// write puts a command file into a directory of the test's own.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "flow.csv")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

const header = "op,id,side,type,tif,price,qty\n"

func TestTrades(t *testing.T) {
	flow := write(t, "\uFEFFid,op,type,side,tif,qty,price\r\n"+
		"ask-1,add,limit,sell,gtc,1.5,10.25\r\n"+
		"ask-2,ADD,Limit,SELL,day,2,10.50\r\n"+
		"ask-2,cancel,,,,,\r\n"+
		"ask-3,add,limit,sell,GFD,2,10.50\r\n"+
		"ask-3,reduce,,,,0.5,\r\n"+
		"ask-4,add,limit,sell,GTC,1,11\r\n"+
		"ask-4,amend,,,,0.25,10.25\r\n"+
		"\"a, b\",add,market,buy,IOC,5,\r\n"+
		"late,cancel,,,,,\r\n"+
		"ask-1,add,limit,sell,GTC,1,10\r\n")
	trades := filepath.Join(t.TempDir(), "trades.csv")
	got, errs, status := replayed("-tick", "0.25", "-lot", "0.25", "-trades", trades, flow)
	if status != 0 {
		t.Fatal(errs)
	}
	want := "seq,taker,maker,price,qty\n1,\"a, b\",ask-1,10.25,1.5\n2,\"a, b\",ask-4,10.25,0.25\n3,\"a, b\",ask-3,10.5,1.5\n"
	if text := string(readFile(t, trades)); text != want {
		t.Errorf("trades\n%s\nwant\n%s", text, want)
	}
	for _, line := range []string{
		"commands                          10\n", "accepted                          8\n", "rejected                          2\n",
		"  unknown order                   1\n", "  duplicate command               1\n", "trades                            3\n", "traded quantity                   3.25\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
}

// Accounts are those of the file, and of the order where a row names none.
func TestAccounts(t *testing.T) {
	flow := write(t, "op,id,side,type,tif,price,qty,account,stp\n"+
		"add,1,sell,limit,GTC,10,1,x,\n"+
		"add,2,buy,limit,GTC,10,1,x,cancel-newest\n"+
		"cancel,1,,,,,,y,\n"+
		"cancel,1,,,,,,,\n"+
		"add,3,sell,limit,GTC,10,1,,\n"+
		"add,4,buy,limit,GTC,10,1,,cancel-newest\n")
	got, errs, status := replayed(flow)
	if status != 0 {
		t.Fatal(errs)
	}
	for _, line := range []string{"trades                            1\n", "  unknown order                   1\n", "accepted                          5\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
}

// Every bad row is found before anything is replayed.
func TestBadFiles(t *testing.T) {
	good := header + "add,1,buy,limit,GTC,10,1\n"
	optional := "op,id,side,type,tif,price,qty,stop,display,min_qty,post_only,stp,expire,time,account\n"
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", ":1: empty: expected a header with the columns op,id,side,type,tif,price,qty"},
		{"column missing", "op,id,side,type,tif,price\n", ":1: column qty is missing: expected at least op,id,side,type,tif,price,qty"},
		{"column unknown", "op,id,side,type,tif,price,qty,colour\n", `:1: column 8: "colour": expected a column's name: op, id,`},
		{"column twice", "op,id,side,type,tif,price,qty,op\n", `:1: column 8: "op": expected each column once`},
		{"row too short", good + "cancel,1\n", `:3: column id: "1": the last of 2 cells, expected 7 as in the header`},
		{"row too long", good + "cancel,1,,,,,,x\n", `:3: column 8: "x": the last of 8 cells, expected 7 as in the header`},
		{"quote", good + "cancel,\"1,,,,,\n", `:3: character 16: extraneous or missing " in quoted-field: expected comma-separated values`},
		{"op", good + "buy,1,,,,,\n", `:3: column op: "buy": expected one of add, cancel, reduce, amend`},
		{"no op", good + ",1,,,,,\n", `:3: column op: "": expected one of add, cancel, reduce, amend`},
		{"no id", good + "cancel,,,,,,\n", `:3: column id: "": expected an order id`},
		{"long id", good + "cancel," + strings.Repeat("x", 65) + ",,,,,\n", `": expected at most 64 bytes`},
		{"side", header + "add,1,bid,limit,GTC,10,1\n", `:2: column side: "bid": expected one of buy, sell`},
		{"no side", header + "add,1,,limit,GTC,10,1\n", `:2: column side: "": expected one of buy, sell`},
		{"type", header + "add,1,buy,pegged,GTC,10,1\n", `:2: column type: "pegged": expected one of limit, market, market-to-limit, stop, stop-limit, take-profit, take-profit-limit`},
		{"no type", header + "add,1,buy,,GTC,10,1\n", `:2: column type: "": expected one of limit,`},
		{"tif", header + "add,1,buy,limit,GTX,10,1\n", `:2: column tif: "GTX": expected one of GTC, Day, GFD, GTD, IOC, FOK`},
		{"no tif", header + "add,1,buy,limit,,10,1\n", `:2: column tif: "": expected one of GTC,`},
		{"price off the tick", header + "add,1,buy,limit,GTC,10.005,1\n", `:2: column price: "10.005": expected a multiple of 0.01`},
		{"price no number", header + "add,1,buy,limit,GTC,ten,1\n", `:2: column price: "ten": expected a plain decimal number such as 12.50`},
		{"price with exponent", header + "add,1,buy,limit,GTC,1e3,1\n", `:2: column price: "1e3": expected a plain decimal number such as 12.50`},
		{"price negative", header + "add,1,buy,limit,GTC,-10,1\n", `:2: column price: "-10": expected more than zero`},
		{"price zero", header + "add,1,buy,limit,GTC,0.00,1\n", `:2: column price: "0.00": expected a price above zero`},
		{"price missing", header + "add,1,buy,limit,GTC,,1\n", `:2: column price: "": expected a price above zero`},
		{"price too large", header + "add,1,buy,limit,GTC,99999999999999999999,1\n", `:2: column price: "99999999999999999999": expected at most 1152921504606846976 steps of 0.01`},
		{"price absurdly long", header + "add,1,buy,limit,GTC," + strings.Repeat("9", 1000) + ",1\n", `...": longer than 64 characters`},
		{"qty off the lot", header + "add,1,buy,limit,GTC,10,0.000000001\n", `:2: column qty: "0.000000001": expected a multiple of 0.00000001`},
		{"qty zero", header + "add,1,buy,limit,GTC,10,0\n", `:2: column qty: "0": expected a quantity above zero`},
		{"qty missing", header + "add,1,buy,market,IOC,,\n", `:2: column qty: "": expected a quantity above zero`},
		{"qty of a cancel", header + "cancel,1,,,,,much\n", `:2: column qty: "much": expected a plain decimal number`},
		{"reduce by nothing", header + "reduce,1,,,,,\n", `:2: column qty: "": expected a quantity above zero`},
		{"amend of nothing", header + "amend,1,,,,,\n", `:2: column price: "": expected a new price, qty or stop`},
		{"stop without column", header + "add,1,buy,stop,GTC,,1\n", `:2: column stop: "": expected a trigger price above zero`},
		{"stop without value", optional + "add,1,buy,stop-limit,GTC,10,1,,,,,,,,\n", `:2: column stop: "": expected a trigger price above zero`},
		{"display", optional + "add,1,buy,limit,GTC,10,1,,x,,,,,,\n", `:2: column display: "x": expected a plain`},
		{"min_qty", optional + "add,1,buy,limit,GTC,10,1,,,-1,,,,,\n", `:2: column min_qty: "-1": expected more than zero`},
		{"post_only", optional + "add,1,buy,limit,GTC,10,1,,,,yes,,,,\n", `:2: column post_only: "yes": expected one of false, true, slide`},
		{"stp", optional + "add,1,buy,limit,GTC,10,1,,,,,split,,,\n", `:2: column stp: "split": expected one of none, cancel-newest, cancel-oldest, cancel-both, decrement`},
		{"expire", optional + "add,1,buy,limit,GTD,10,1,,,,,,noon,,\n", `:2: column expire: "noon": expected a whole number of nanoseconds, 0 or more`},
		{"time", optional + "add,1,buy,limit,GTC,10,1,,,,,,,-5,\n", `:2: column time: "-5": expected a whole number of nanoseconds, 0 or more`},
		{"account", optional + "add,1,buy,limit,GTC,10,1,,,,,,,," + strings.Repeat("a", 65) + "\n", `": expected at most 64 bytes`},
		{"a line of two", header + "\"add\",\"1\n1\",buy,limit,GTC,10,x\n", `:3: column qty: "x": expected a plain`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, tc.text)
			trades := filepath.Join(t.TempDir(), "trades.csv")
			got, errs, status := replayed("-trades", trades, file)
			if status != 1 || got != "" {
				t.Errorf("exit status %d, printed %q", status, got)
			}
			if !strings.HasPrefix(errs, "replay: "+file+":") || !strings.Contains(errs, tc.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("got  %s\nwant %s", errs, tc.want)
			}
			if _, err := os.Stat(trades); err == nil {
				t.Error("trades were written")
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	flow := write(t, header+"add,1,buy,limit,GTC,10,1\n")
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		stderr string
	}{
		{"help", []string{"-h"}, 0, "usage: replay"},
		{"two files", []string{flow, flow}, 2, "one file at most"},
		{"unknown flag", []string{"-x"}, 2, "not defined: -x"},
		{"tick no number", []string{"-tick", "x", flow}, 2, `expected a plain decimal number`},
		{"lot zero", []string{"-lot", "0", flow}, 2, `expected more than zero`},
		{"steps too small", []string{"-tick", "0.0000000001", "-lot", "0.0000000001", flow}, 1, "Quote.Scale 20: expected 0 to 18"},
		{"depth negative", []string{"-depth", "-1", flow}, 2, "expected a whole number, 0 or more"},
		{"absent file", []string{"none.csv"}, 1, "none.csv: no such file"},
		{"trades nowhere", []string{"-trades", filepath.Join(flow, "x"), flow}, 1, "not a directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, errs, status := replayed(tc.args...)
			if status != tc.status || !strings.Contains(errs, tc.stderr) {
				t.Errorf("exit status %d, want %d; stderr %q, want %q in it", status, tc.status, errs, tc.stderr)
			}
		})
	}
}

// A file of nothing but a header is a replay of nothing.
func TestNoCommands(t *testing.T) {
	got, errs, status := replayed("-risk", write(t, header))
	if status != 0 || !strings.HasPrefix(got, "commands                          0\n") {
		t.Errorf("exit status %d, %s%s", status, errs, got)
	}
}

// All orders together may need more than fits: only the open ones count.
func TestRiskOfMany(t *testing.T) {
	var flow strings.Builder
	flow.WriteString(header)
	for i := range 100 { // all buys together need 10^20 atoms of quote
		fmt.Fprintf(&flow, "add,s%d,sell,limit,GTC,0.01,5000000000\n", i)
		fmt.Fprintf(&flow, "add,b%d,buy,market,IOC,,5000000000\n", i)
	}
	got, errs, status := replayed("-risk", write(t, flow.String()))
	if status != 0 || !strings.Contains(got, "accepted                          200\n") {
		t.Errorf("exit status %d, %s%s", status, errs, got)
	}
}

// Real order flow: what every order of a stretch of Bitstamp's log executed.
func TestBitstamp(t *testing.T) {
	const flow = "../../../shared/data/bitstamp-btcusd-2015-05-01.csv"
	if _, err := os.Stat(flow); err != nil {
		exchangetest.Skip(t, exchangetest.SharedAbsent)
	}
	for _, risk := range []bool{false, true} {
		trades := filepath.Join(t.TempDir(), "trades.csv")
		args := []string{"-trades", trades, flow}
		if risk {
			args = append([]string{"-risk"}, args...)
		}
		got, errs, status := replayed(args...)
		if status != 0 {
			t.Fatal(errs)
		}
		t.Logf("risk %v\n%s", risk, got)
		executed := make(map[string]decimal.Decimal)
		for _, row := range rows(t, trades) {
			qty := decimal.RequireFromString(row[4])
			executed[row[1]] = executed[row[1]].Add(qty)
			executed[row[2]] = executed[row[2]].Add(qty)
		}
		want := rows(t, strings.TrimSuffix(flow, ".csv")+".executed.csv")
		if len(want) != 24_997 {
			t.Fatalf("%d rows to compare, want 24,997", len(want))
		}
		for _, row := range want {
			if qty := decimal.RequireFromString(row[1]); !executed[row[0]].Equal(qty) {
				t.Errorf("risk %v: order %s executed %s, want %s", risk, row[0], executed[row[0]], qty)
			}
		}
	}
}

// rows reads a CSV file without its header.
func rows(t *testing.T, file string) [][]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[1:]
}
