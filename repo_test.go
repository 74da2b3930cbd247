package exchange_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/castlecloud/exchange/exchangetest"
)

// What the tests of the repository itself share: layout_test.go,
// determinism_test.go, lint_test.go, rules_test.go and consumer_test.go.

const rootModule = "github.com/castlecloud/exchange"

// needRepository skips a test of the whole repository where only the root
// module is there, as in a module cache.
func needRepository(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("go.work"); err != nil {
		exchangetest.Skip(t, "needs the whole repository: run it from a clone")
	}
}

// repositoryFiles lists the regular files below dir whose base name keep
// accepts, as slash-separated paths relative to the working directory.
func repositoryFiles(t *testing.T, dir string, keep func(name string) bool) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == ".services"):
			return filepath.SkipDir
		case entry.Type().IsRegular() && keep(entry.Name()):
			files = append(files, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("listing %s: %v", dir, err)
	}
	if len(files) == 0 {
		t.Fatalf("nothing to look at below %s", dir)
	}
	return files
}

// goFile is a parsed file of one of the three modules.
type goFile struct {
	path string // slash-separated, relative to the root
	ast  *ast.File
}

// goPositions locates what is in any goFile.
var goPositions = token.NewFileSet()

func (f *goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// dir returns the directory of the file, "." for the root package.
func (f *goFile) dir() string { return filepath.ToSlash(filepath.Dir(f.path)) }

// at returns a position as file:line:column.
func (f *goFile) at(pos token.Pos) string { return goPositions.Position(pos).String() }

// repositoryGo parses every Go file of the repository, whatever its build
// constraints.
func repositoryGo(t *testing.T) []*goFile {
	t.Helper()
	needRepository(t)
	var files []*goFile
	for _, path := range repositoryFiles(t, ".", func(name string) bool { return strings.HasSuffix(name, ".go") }) {
		if !strings.Contains(path, "testdata/") {
			files = append(files, parseGo(t, path, nil))
		}
	}
	return files
}

// parseGo parses the file at path, or src under that name when it is not nil.
func parseGo(t *testing.T, path string, src any) *goFile {
	t.Helper()
	f := &goFile{path: path}
	var err error
	if f.ast, err = parser.ParseFile(goPositions, path, src, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	return f
}

// goTool runs the go command in dir, with env added to the environment, and
// returns what it printed to standard output.
func goTool(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("go %s in %s: %v\n%s%s", strings.Join(args, " "), dir, err, out.String(), errs.String())
	}
	return out.String()
}
