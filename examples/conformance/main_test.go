package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// conform runs the program and returns what it printed and its exit status.
func conform(args ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	status = run(args, &out, &errs)
	return out.String(), errs.String(), status
}

func TestOwnCases(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
	}{{"pass", 0}, {"fail", 1}, {"skip", 0}} {
		t.Run(tc.name, func(t *testing.T) {
			got, errs, status := conform("testdata/" + tc.name + ".jsonl")
			if status != tc.status || errs != "" {
				t.Errorf("exit status %d, want %d; stderr %q", status, tc.status, errs)
			}
			golden := "testdata/" + tc.name + ".golden"
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
		})
	}
}

// Several files make one count.
func TestFilesAddUp(t *testing.T) {
	got, _, status := conform("testdata/pass.jsonl", "testdata/skip.jsonl", "testdata/pass.jsonl")
	if !strings.HasSuffix(got, "\n24 passed, 0 failed, 9 skipped\n") || status != 0 {
		t.Errorf("exit status %d:\n%s", status, got)
	}
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		stderr string
	}{
		{"no file", nil, 2, "usage: conformance FILE.jsonl..."},
		{"unknown flag", []string{"-x"}, 2, "flag provided but not defined: -x"},
		{"help", []string{"-h"}, 0, "usage: conformance FILE.jsonl..."},
		{"absent file", []string{"testdata/none.jsonl", "testdata/pass.jsonl"}, 2, "testdata/none.jsonl: no such file"},
		{"a directory", []string{"testdata"}, 2, "conformance: testdata: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, errs, status := conform(tc.args...)
			if status != tc.status || !strings.Contains(errs, tc.stderr) {
				t.Errorf("exit status %d, want %d; stderr %q, want %q in it", status, tc.status, errs, tc.stderr)
			}
		})
	}
}

// The maintainers' cases: nothing fails, and only what is not built is
// skipped.
func TestSharedCases(t *testing.T) {
	files, err := filepath.Glob("../../../shared/cases/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		exchangetest.Skip(t, exchangetest.SharedAbsent)
	}
	got, errs, status := conform(files...)
	if status != 0 || errs != "" {
		t.Errorf("exit status %d, stderr %q\n%s", status, errs, got)
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasSuffix(line, ": needs auction") && !strings.HasSuffix(line, ": needs pegged") {
			t.Error(line)
		}
	}
	t.Log(lines[len(lines)-1])
}
