package exchange_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/doc"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Habits that no linter knows.

// lintGo lists what in f breaks a habit of this repository, one line each.
func lintGo(f *goFile) []string {
	var faults []string
	fault := func(n ast.Node, format string, args ...any) {
		faults = append(faults, f.at(n.Pos())+": "+fmt.Sprintf(format, args...))
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		receiver, _ := sel.X.(*ast.Ident)
		of := func(name string) bool { return receiver != nil && receiver.Name == name }
		switch sel.Sel.Name {
		case "Skip", "Skipf", "SkipNow":
			if f.isTest() && !of("exchangetest") {
				fault(n, "%s: skip with exchangetest.Skip, which is loud in a strict run", sel.Sel.Name)
			}
		case "Sleep":
			if of("time") {
				fault(n, "time.Sleep: wait for what is to happen, not for a while")
			}
		}
		return true
	})
	if !f.isTest() {
		return faults
	}
	raceless := builtWithoutRace(f.ast)
	for _, decl := range f.ast.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") || fn.Name.Name == "TestMain" {
			continue
		}
		if named := strings.HasPrefix(fn.Name.Name, "TestNoRace"); named != raceless {
			fault(fn, "%s: tests built with !race, and only they, are named TestNoRace: make test finds them by it", fn.Name.Name)
		}
	}
	for _, example := range doc.Examples(f.ast) {
		if example.Output == "" && !example.EmptyOutput {
			fault(example.Code, "Example%s has no // Output, so it is never run", example.Name)
		}
	}
	return faults
}

// builtWithoutRace reports whether a file is left out when the race detector
// is on, and is otherwise built.
func builtWithoutRace(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if c.Pos() > file.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			return err == nil && !expr.Eval(func(tag string) bool { return tag == "race" }) && expr.Eval(func(string) bool { return false })
		}
	}
	return false
}

func TestLint(t *testing.T) {
	for _, f := range repositoryGo(t) {
		if strings.HasPrefix(f.path, "exchangetest/skip") {
			continue // the one place that skips
		}
		for _, fault := range lintGo(f) {
			t.Error(fault)
		}
	}
}

// TestLintRules shows that each rule of lintGo can fail.
func TestLintRules(t *testing.T) {
	for _, tc := range []struct{ name, file, code, want string }{
		{"Skip", "a_test.go", `func TestA(t *testing.T) { t.Skip("why") }`, "Skip: skip with"},
		{"Skipf", "a_test.go", `func TestA(t *testing.T) { t.Skipf("why") }`, "Skipf: skip with"},
		{"SkipNow in a closure", "a_test.go", `func TestA(t *testing.T) { func() { t.SkipNow() }() }`, "SkipNow: skip with"},
		{"Skip by another name", "a_test.go", `func TestA(tt *testing.T) { skip := tt.Skip; skip() }`, "Skip: skip with"},
		{"exchangetest.Skip", "a_test.go", `func TestA(t *testing.T) { exchangetest.Skip(t, "why") }`, ""},
		{"Sleep in a test", "a_test.go", `func TestA(t *testing.T) { time.Sleep(1) }`, "time.Sleep"},
		{"Sleep in code", "a.go", `func a() { time.Sleep(1) }`, "time.Sleep"},
		{"Example without output", "a_test.go", `func ExampleCommand() { println() }`, "ExampleCommand has no // Output"},
		{"Example with output", "a_test.go", "func ExampleCommand() {\n\tprintln()\n\t// Output: x\n}", ""},
		{"NoRace without constraint", "a_test.go", `func TestNoRaceA(t *testing.T) {}`, "TestNoRaceA: tests built with !race"},
		{"constraint without NoRace", "a_test.go", "//go:build !race\n\npackage a\n\nfunc TestA(t *testing.T) {}", "TestA: tests built with !race"},
		{"NoRace", "a_test.go", "//go:build !race\n\npackage a\n\nfunc TestNoRaceA(t *testing.T) {}", ""},
		{"another constraint", "a_test.go", "//go:build live\n\npackage a\n\nfunc TestA(t *testing.T) {}", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code := tc.code
			if !strings.Contains(code, "package a\n") {
				code = "package a\n" + code
			}
			faults := lintGo(parseGo(t, tc.file, code))
			if tc.want == "" && len(faults) > 0 {
				t.Errorf("clean code is refused: %q", faults)
			}
			if tc.want != "" && !slices.ContainsFunc(faults, func(s string) bool { return strings.Contains(s, tc.want) }) {
				t.Errorf("not found: %s\nfound: %q", tc.want, faults)
			}
		})
	}
}

// What a reader sees must make sense in a public clone: only tests and CI may
// know of the data beside the maintainers' one.
func TestNoPrivatePaths(t *testing.T) {
	needRepository(t)
	private := [][]byte{[]byte("../" + "shared"), []byte("/work" + "/")}
	read := func(name string) bool {
		switch path.Ext(name) {
		case ".go", ".md", ".mod", ".work", ".txt", ".yml", ".yaml", ".sh", "":
			return !strings.HasSuffix(name, "_test.go")
		}
		return false
	}
	for _, file := range repositoryFiles(t, ".", read) {
		if strings.HasPrefix(file, ".ci/") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range private {
			if bytes.Contains(text, p) {
				t.Errorf("%s names %s, which a public clone does not have", file, p)
			}
		}
	}
}

// What a document links to in this repository is there.
func TestLinks(t *testing.T) {
	needRepository(t)
	link := regexp.MustCompile(`\]\(([^)#\s]+)`)
	for _, file := range repositoryFiles(t, ".", func(name string) bool { return path.Ext(name) == ".md" }) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(path.Join(path.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
			}
		}
	}
}

// Every program under examples has a README and a test that runs it: in its own
// directory, or, where programs belong together, in the nearest one above that
// has a README.
func TestExamplesAreComplete(t *testing.T) {
	needRepository(t)
	programs := map[string]bool{}
	tested := map[string]bool{}
	for _, f := range repositoryGo(t) {
		if strings.HasPrefix(f.path, "examples/") {
			if f.isTest() {
				tested[f.dir()] = true
			} else if f.ast.Name.Name == "main" {
				programs[f.dir()] = true
			}
		}
	}
	if len(programs) == 0 {
		t.Error("no program under examples")
	}
	for dir := range programs {
		home := dir
		for ; home != "examples"; home = path.Dir(home) {
			if _, err := os.Stat(path.Join(home, "README.md")); err == nil {
				break
			}
		}
		if home == "examples" {
			t.Errorf("neither %s nor a directory above it has a README.md", dir)
		}
		if !tested[dir] && !tested[home] {
			t.Errorf("neither %s nor %s has a test", dir, home)
		}
	}
}
