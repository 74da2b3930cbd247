// Command conformance runs cases, one JSON object a line, against the engine:
// commands in, trades and book out. README.md describes the format.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// maxLine bounds one case, in bytes.
const maxLine = 16 << 20

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// tally counts what became of the cases.
type tally struct{ passed, failed, skipped int }

// run is main without the process around it. It returns the exit status: 1
// when a case fails or makes no sense, 2 when a file cannot be read or the
// command line is at fault.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintln(stderr, "usage: conformance FILE.jsonl...") }
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2
	}
	var total tally
	unreadable := false
	for _, file := range flags.Args() {
		if err := runFile(file, stdout, &total); err != nil {
			fmt.Fprintf(stderr, "conformance: %v\n", err)
			unreadable = true
		}
	}
	fmt.Fprintf(stdout, "%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	switch {
	case unreadable:
		return 2
	case total.failed > 0:
		return 1
	}
	return 0
}

// runFile runs every case of a file. The error is about reading it.
func runFile(file string, stdout io.Writer, total *tally) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			runLine(fmt.Sprintf("%s:%d", file, number), line, stdout, total)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// runLine runs one case and prints what is to be said about it.
func runLine(place string, line []byte, stdout io.Writer, total *tally) {
	c, err := parseCase(line)
	if err != nil {
		total.failed++
		fmt.Fprintf(stdout, "FAIL %s: no valid case: %v\n", place, err)
		return
	}
	if what := c.needs(); what != "" {
		total.skipped++
		fmt.Fprintf(stdout, "SKIP %s: needs %s\n", c.Name, what)
		return
	}
	out, err := play(c)
	if err != nil {
		total.failed++
		fmt.Fprintf(stdout, "FAIL %s: no valid case: %v\n", place, err)
		return
	}
	faults := out.check(&c.Expect)
	if len(faults) == 0 {
		total.passed++
		return
	}
	total.failed++
	for _, fault := range faults {
		fmt.Fprintf(stdout, "FAIL %s: %s\n", c.Name, fault)
	}
}
