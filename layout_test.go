package exchange_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The modules of the repository and how they hang together: what each may
// require and import.

const (
	decimalModule = "github.com/shopspring/decimal"
	btreeModule   = "github.com/tidwall/btree"
	testifyModule = "github.com/stretchr/testify"
	rapidModule   = "pgregory.net/rapid"
)

// goMod is what the tests read of `go mod edit -json` and `go work edit -json`.
type goMod struct {
	Module    struct{ Path string }
	Go        string
	Toolchain string
	Use       []struct{ DiskPath string }
	Require   []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

func readGoMod(t *testing.T, dir, verb string) goMod {
	t.Helper()
	var mod goMod
	if err := json.Unmarshal([]byte(goTool(t, dir, nil, verb, "edit", "-json")), &mod); err != nil {
		t.Fatalf("%s of %s: %v", verb, dir, err)
	}
	return mod
}

// requirement returns the version at which mod requires path.
func (m goMod) requirement(t *testing.T, path string) string {
	t.Helper()
	for _, r := range m.Require {
		if r.Path == path {
			return r.Version
		}
	}
	t.Fatalf("%s does not require %s", m.Module.Path, path)
	return ""
}

func TestRootModule(t *testing.T) {
	mod := readGoMod(t, ".", "mod")
	assert.Equal(t, rootModule, mod.Module.Path)
	assert.Equal(t, "1.25.0", mod.Go)
	assert.Empty(t, mod.Toolchain)
	assert.Empty(t, mod.Replace)
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	assert.ElementsMatch(t, []string{decimalModule, testifyModule, btreeModule, rapidModule}, direct, "direct requirements")
}

// Nested modules require the root at the version tagged next, all the same
// one, and take it from the folder above; the workspace holds all three.
func TestNestedModules(t *testing.T) {
	needRepository(t)
	work := readGoMod(t, ".", "work")
	dirs := []string{".", "./adapters", "./examples"}
	var used []string
	for _, u := range work.Use {
		used = append(used, u.DiskPath)
	}
	assert.Equal(t, dirs, used, "go.work")
	highest := "0.0.0"
	version := readGoMod(t, "adapters", "mod").requirement(t, rootModule)
	for _, dir := range dirs {
		mod := readGoMod(t, dir, "mod")
		if olderGo(highest, mod.Go) {
			highest = mod.Go
		}
		if dir == "." {
			continue
		}
		assert.Equal(t, rootModule+strings.TrimPrefix(dir, "."), mod.Module.Path)
		assert.Equal(t, version, mod.requirement(t, rootModule), "%s and adapters require the root at one version", dir)
		assert.Regexp(t, `^\d+\.\d+\.0$`, mod.Go, dir)
		assert.Empty(t, mod.Toolchain, dir)
		var required, replaced []string // of this repository
		for _, r := range mod.Require {
			if r.Path == rootModule || strings.HasPrefix(r.Path, rootModule+"/") {
				required = append(required, r.Path)
				assert.Equal(t, version, r.Version, "%s requires %s", dir, r.Path)
			}
		}
		for _, r := range mod.Replace {
			replaced = append(replaced, r.Old.Path)
			assert.Equal(t, filepath.Join("..", strings.TrimPrefix(r.Old.Path, rootModule)), filepath.Clean(r.New.Path), dir)
		}
		assert.ElementsMatch(t, required, replaced, "%s replaces what it requires of this repository by the folder", dir)
	}
	assert.Equal(t, highest, work.Go, "go.work has the highest go line of the modules")
}

// olderGo reports whether go version a is older than b, both x.y.z.
func olderGo(a, b string) bool {
	return slices.Compare(goVersion(a), goVersion(b)) < 0
}

func goVersion(v string) []int {
	var parts []int
	for _, p := range strings.Split(v, ".") {
		n, _ := strconv.Atoi(p)
		parts = append(parts, n)
	}
	return parts
}

// importRule returns the rule that path breaks when the file imports it, or
// "". It sees only names, so it can be shown every case.
func importRule(file, path string) string {
	within := func(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	isTest := strings.HasSuffix(file, "_test.go")
	standard := !strings.Contains(strings.Split(path, "/")[0], ".")
	nested := within(file, "adapters") || within(file, "examples")
	switch {
	case nested && (within(path, rootModule+"/internal") || path == rootModule+"/internal"):
		return "adapters and examples use the public packages of the root only"
	case !nested && (within(path, rootModule+"/adapters") || within(path, rootModule+"/examples")):
		return "the root knows nothing of adapters and examples"
	case within(file, "adapters") && within(path, rootModule+"/examples"):
		return "adapters know nothing of examples"
	case within(path, rapidModule) && !isTest && !within(file, "exchangetest"):
		return "rapid is for _test files and exchangetest"
	case within(path, testifyModule) && !isTest && !within(file, "exchangetest"):
		return "testify is for _test files and exchangetest"
	case !strings.Contains(file, "/") && !isTest && !standard && path != decimalModule && path != btreeModule:
		return "the root package imports the standard library, decimal and btree"
	case !strings.Contains(file, "/") && !isTest && bannedImport(path):
		return "the root package has no clock, randomness, concurrency or I/O"
	}
	return ""
}

// bannedImports are the packages, each with all below it, through which the
// outside could reach the root package: a clock, randomness, concurrency,
// I/O, memory as it lies, and map order.
var bannedImports = []string{
	"C", "context", "crypto/rand", "embed", "expvar", "flag", "hash/maphash", "io/fs", "io/ioutil", "log", "maps",
	"math/rand", "net", "os", "path/filepath", "plugin", "reflect", "runtime", "sync", "syscall", "testing", "time",
	"unique", "unsafe", "weak",
}

func bannedImport(path string) bool {
	return slices.ContainsFunc(bannedImports, func(b string) bool {
		return path == b || strings.HasPrefix(path, b+"/")
	})
}

func TestImports(t *testing.T) {
	for _, f := range repositoryGo(t) {
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: %v", f.at(spec.Pos()), err)
			}
			if rule := importRule(f.path, path); rule != "" {
				t.Errorf("%s: import %q: %s", f.at(spec.Pos()), path, rule)
			}
		}
	}
}

// TestImportRule shows that each rule can fail, and that it fails no more
// than it should.
func TestImportRule(t *testing.T) {
	allowed := []struct{ file, path string }{
		{"engine.go", "fmt"},
		{"engine.go", "math/bits"},
		{"engine.go", decimalModule},
		{"engine.go", btreeModule},
		{"engine_test.go", "time"},
		{"engine_test.go", testifyModule + "/require"},
		{"engine_test.go", rootModule + "/internal/slowbook"},
		{"internal/slowbook/book.go", rootModule},
		{"internal/slowbook/book.go", "time"},
		{"exchangetest/orders.go", rapidModule},
		{"adapters/bolt/bolt.go", "time"},
		{"adapters/bolt/bolt.go", rootModule},
		{"adapters/bolt/bolt_test.go", rootModule + "/exchangetest"},
		{"examples/replay/main.go", rootModule + "/adapters/bolt"},
		{"adapters/bolt/bolt.go", rootModule + "/adapters/internal/wire"},
	}
	for _, c := range allowed {
		if rule := importRule(c.file, c.path); rule != "" {
			t.Errorf("%s importing %s is refused: %s", c.file, c.path, rule)
		}
	}
	refused := []struct{ file, path string }{
		{"engine.go", rapidModule},
		{"engine.go", testifyModule + "/assert"},
		{"engine.go", "golang.org/x/exp/slices"},
		{"engine.go", rootModule + "/internal/slowbook"},
		{"engine.go", rootModule + "/exchangetest"},
		{"internal/slowbook/book.go", rapidModule},
		{"internal/slowbook/book.go", rootModule + "/adapters"},
		{"engine_test.go", rootModule + "/examples/replay"},
		{"adapters/bolt/bolt.go", rootModule + "/internal/slowbook"},
		{"adapters/bolt/bolt_test.go", rootModule + "/internal"},
		{"adapters/bolt/bolt.go", rootModule + "/examples/replay"},
		{"adapters/bolt/bolt.go", rapidModule},
		{"examples/replay/main.go", rootModule + "/internal/slowbook"},
		{"examples/replay/main_test.go", rootModule + "/internal/slowbook"},
	}
	for _, banned := range bannedImports {
		refused = append(refused, struct{ file, path string }{"engine.go", banned})
	}
	for _, below := range []string{"math/rand/v2", "net/http", "os/exec", "sync/atomic", "log/slog", "runtime/debug"} {
		refused = append(refused, struct{ file, path string }{"engine.go", below})
	}
	for _, c := range refused {
		if importRule(c.file, c.path) == "" {
			t.Errorf("%s importing %s is not refused", c.file, c.path)
		}
	}
}

// What a user of the root package compiles: decimal, btree, nothing else.
func TestRootDependencies(t *testing.T) {
	const format = "{{if and (not .Standard) .Module}}{{.Module.Path}}{{end}}"
	out := goTool(t, ".", []string{"GOWORK=off"}, "list", "-deps", "-f", format, ".")
	modules := strings.Fields(out)
	slices.Sort(modules)
	assert.ElementsMatch(t, []string{rootModule, decimalModule, btreeModule}, slices.Compact(modules))
}
