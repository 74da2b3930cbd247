package exchange_test

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The bans that keep the root package a deterministic state machine: beside
// the imports of layout_test.go, no concurrency, no float, no map order, no
// output.

// printing are the functions of fmt that reach standard input and output.
var printing = []string{"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"}

// nondeterminism lists what in f could make two runs differ, one line each.
// info holds the types of f's expressions; a range over something without a
// type counts as one over a map.
func nondeterminism(f *goFile, info *types.Info) []string {
	var faults []string
	fault := func(n ast.Node, what string) {
		line := fmt.Sprintf("%s:%d: %s", f.path, goPositions.Position(n.Pos()).Line, what)
		if !slices.Contains(faults, line) {
			faults = append(faults, line)
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			fault(n, "go statement")
		case *ast.SelectStmt:
			fault(n, "select")
		case *ast.ChanType:
			fault(n, "channel")
		case *ast.SendStmt:
			fault(n, "channel send")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				fault(n, "channel receive")
			}
		case *ast.RangeStmt:
			if what := unorderedRange(info.TypeOf(n.X)); what != "" {
				fault(n, what)
			}
		case *ast.BasicLit:
			if n.Kind == token.FLOAT || n.Kind == token.IMAG {
				fault(n, "float")
			}
		case *ast.Ident:
			if n.Name == "float32" || n.Name == "float64" || n.Name == "complex64" || n.Name == "complex128" {
				fault(n, "float")
			}
		case *ast.CallExpr:
			if what := outputCall(n, info); what != "" {
				fault(n, what)
			}
		}
		if x, ok := n.(ast.Expr); ok && isFloat(info.TypeOf(x)) {
			fault(n, "float")
		}
		return true
	})
	return faults
}

// unorderedRange says what is wrong with a range over a value of type t, or "".
func unorderedRange(t types.Type) string {
	if t == nil {
		return "range over a value of unknown type"
	}
	switch t.Underlying().(type) {
	case *types.Map:
		return "range over a map"
	case *types.Chan:
		return "range over a channel"
	case *types.Interface: // a type parameter, which may stand for a map
		return "range over a type parameter"
	}
	return ""
}

func isFloat(t types.Type) bool {
	if t == nil {
		return false
	}
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&(types.IsFloat|types.IsComplex) != 0
}

// outputCall says how call reaches the standard streams, or "".
func outputCall(call *ast.CallExpr, info *types.Info) string {
	switch fn := call.Fun.(type) {
	case *ast.Ident:
		if fn.Name == "print" || fn.Name == "println" {
			return "builtin " + fn.Name
		}
	case *ast.SelectorExpr:
		if used := info.Uses[fn.Sel]; used != nil && used.Pkg() != nil && used.Pkg().Path() == "fmt" && slices.Contains(printing, fn.Sel.Name) {
			return "fmt." + fn.Sel.Name
		}
	}
	return ""
}

// typesOf type-checks files as one package. Errors do not stop it: what has no
// type counts against the code in nondeterminism.
func typesOf(files []*goFile, imports types.Importer) (*types.Info, []error) {
	var errs []error
	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{},
		Defs:  map[*ast.Ident]types.Object{},
		Uses:  map[*ast.Ident]types.Object{},
	}
	conf := types.Config{Importer: imports, Error: func(err error) { errs = append(errs, err) }}
	trees := make([]*ast.File, len(files))
	for i, f := range files {
		trees[i] = f.ast
	}
	// The error is the first of errs.
	_, _ = conf.Check(rootModule, goPositions, trees, info)
	return info, errs
}

// compiledImports imports packages, and all they depend on, from what the go
// command has compiled.
func compiledImports(t *testing.T, packages ...string) types.Importer {
	t.Helper()
	args := append([]string{"list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}}\t{{.Export}}{{end}}"}, packages...)
	compiled := map[string]string{}
	for _, line := range strings.Split(goTool(t, ".", nil, args...), "\n") {
		if path, file, ok := strings.Cut(line, "\t"); ok {
			compiled[path] = file
		}
	}
	return importer.ForCompiler(goPositions, "gc", func(path string) (io.ReadCloser, error) {
		file, ok := compiled[path]
		if !ok {
			return nil, fmt.Errorf("package %s is not compiled", path)
		}
		return os.Open(file)
	})
}

func TestDeterminism(t *testing.T) {
	paths, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	var files []*goFile
	variants := false
	for _, path := range paths {
		switch {
		case slices.Contains([]string{".s", ".S", ".c", ".h", ".syso"}, filepath.Ext(path)):
			t.Errorf("%s: the root package is Go alone", path)
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			// Whatever its build constraints: the bans hold in every build.
			files = append(files, parseGo(t, path, nil))
			built, err := build.Default.MatchFile(".", path)
			if err != nil {
				t.Fatal(err)
			}
			variants = variants || !built
		}
	}
	info, errs := typesOf(files, compiledImports(t, "."))
	for _, f := range files {
		for _, fault := range nondeterminism(f, info) {
			t.Error(fault)
		}
	}
	// Files of different builds may declare the same names.
	if len(errs) > 0 && !variants {
		t.Errorf("type-checking the root package: %v", errs)
	}
}

// TestDeterminismBans shows that each ban can fail: the same checker, on code
// that breaks one ban or none.
func TestDeterminismBans(t *testing.T) {
	imports := compiledImports(t, "fmt", "math", "math/bits", "maps", decimalModule)
	for _, tc := range []struct{ name, code, want string }{
		{"go statement", "func f() { go f() }", "go statement"},
		{"channel type", "type t struct{ c chan int }", "channel"},
		{"channel send", "func f(c chan<- int) { c <- 1 }", "channel send"},
		{"channel receive", "func f(c <-chan int) int { return <-c }", "channel receive"},
		{"range over a channel", "func f(c chan int) { for range c {} }", "range over a channel"},
		{"select", "func f() { select {} }", "select"},
		{"range over a map", "func f(m map[int]int) { for range m {} }", "range over a map"},
		{"range over a named map", "type t map[int]int\nfunc f(m t) { for k := range m { _ = k } }", "range over a map"},
		{"range over a map in a struct", "type t struct{ m map[string]bool }\nfunc (x *t) f() { for range x.m {} }", "range over a map"},
		{"range over a type parameter", "func f[M ~map[int]int](m M) { for range m {} }", "range over a type parameter"},
		{"range over the unknown", "func f() { for range nowhere() {} }", "range over a value of unknown type"},
		{"float64", "var x float64", "float"},
		{"float32", "func f(x int) int { return int(float32(x)) }", "float"},
		{"complex", "var x complex128", "float"},
		{"float literal", "const x = 1.5", "float"},
		{"exponent", "const x int = 1e6", "float"},
		{"imaginary", "const x = 2i", "float"},
		{"float without its name", "import \"math\"\nfunc f(a int) bool { return math.Signbit(math.Inf(a)) }", "float"},
		{"float out of decimal", "import \"" + decimalModule + "\"\nfunc f(d decimal.Decimal) bool { return d.InexactFloat64() > 0 }", "float"},
		{"println", "func f() { println() }", "builtin println"},
		{"fmt.Println", "import \"fmt\"\nfunc f() { fmt.Println() }", "fmt.Println"},
		{"fmt.Printf by another name", "import p \"fmt\"\nfunc f() { p.Printf(\"\") }", "fmt.Printf"},

		{"range over a slice", "func f(s []int) { for range s {} }", ""},
		{"range over a number", "func f() { for range 3 {} }", ""},
		{"range over a string", "func f(s string) { for range s {} }", ""},
		{"range over an array by pointer", "func f(s *[3]int) { for range s {} }", ""},
		{"range over a function", "func f(s func(func(int) bool)) { for range s {} }", ""},
		{"map without order", "func f(m map[int]int) int { m[1]++; delete(m, 2); return len(m) }", ""},
		{"integers", "import \"math/bits\"\nfunc f(x uint64) int { return bits.Len64(x) / 2 }", ""},
		{"largest integer", "import \"math\"\nconst x = math.MaxInt64", ""},
		{"fmt.Errorf", "import \"fmt\"\nfunc f() error { return fmt.Errorf(\"\") }", ""},
		{"decimal", "import \"" + decimalModule + "\"\nfunc f(d decimal.Decimal) decimal.Decimal { return d.Add(d) }", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := parseGo(t, "snippet.go", "package snippet\n"+tc.code)
			info, errs := typesOf([]*goFile{f}, imports)
			faults := nondeterminism(f, info)
			switch {
			case tc.want == "" && (len(faults) > 0 || len(errs) > 0):
				t.Errorf("clean code is refused: %q, %v", faults, errs)
			case tc.want != "" && !slices.ContainsFunc(faults, func(s string) bool { return strings.HasSuffix(s, ": "+tc.want) }):
				t.Errorf("not found: %s\nfound: %q", tc.want, faults)
			}
		})
	}
}
