package aws_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the tables of the README")

func functionsTable() string {
	var b strings.Builder
	b.WriteString("| function | invoked by | variables |\n|---|---|---|\n")
	for _, f := range config.Functions {
		var names []string
		for _, v := range config.VarsOf(f.Name) {
			names = append(names, "`"+v.Name+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Name, f.Trigger, strings.Join(names, " "))
	}
	return b.String()
}

func servicesTable() string {
	var b strings.Builder
	b.WriteString("| service | takes its work from | variables |\n|---|---|---|\n")
	for _, f := range config.Services {
		var names []string
		for _, v := range config.ServiceVarsOf(f.Name) {
			names = append(names, "`"+v.Name+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Name, f.Trigger, strings.Join(names, " "))
	}
	return b.String()
}

func variablesTable() string {
	var b strings.Builder
	b.WriteString("| variable | means | default |\n|---|---|---|\n")
	for _, v := range config.Vars {
		unset := "`" + v.Default + "`"
		switch {
		case v.Optional:
			unset = "absent"
		case v.Default == "":
			unset = "mandatory"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, v.Means, unset)
	}
	return b.String()
}

// The README has every function and every variable.
func TestREADME(t *testing.T) {
	const file = "README.md"
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	text := string(data)
	for name, table := range map[string]string{"functions": functionsTable(), "services": servicesTable(), "variables": variablesTable()} {
		from := "<!-- " + name + " -->\n"
		begin := strings.Index(text, from)
		require.Positive(t, begin, "%s has no %q", file, from)
		begin += len(from)
		size := strings.Index(text[begin:], "<!-- end -->")
		require.GreaterOrEqual(t, size, 0)
		if *rewrite {
			text = text[:begin] + table + text[begin+size:]
			continue
		}
		assert.Equal(t, table, text[begin:begin+size], "the table of %s: run go test ./examples/aws -rewrite", name)
	}
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
}

// Every row of what is made on AWS names what makes it and what checks it, and
// both are there.
func TestREADMEArchitecture(t *testing.T) {
	data, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(data), "\n## On AWS: ")
	require.True(t, ok)
	tests, rows := "", 0
	for _, dir := range []string{".", "../../adapters"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, "_test.go") {
				text, err := os.ReadFile(path)
				tests += path + "\n" + string(text)
				return err
			}
			return err
		}))
	}
	there := func(patterns ...string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { found, _ := filepath.Glob(p); return len(found) > 0 })
	}
	code, link := regexp.MustCompile("`([^` ]+)`"), regexp.MustCompile(`\]\(([^)]+)\)`)
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 4 || strings.Contains(cells[3], "checked by") {
			continue
		}
		rows++
		for _, cell := range cells[2:] {
			assert.Regexp(t, "`|\\]\\(", cell, "%s names nothing", line)
			for _, m := range link.FindAllStringSubmatch(cell, -1) {
				assert.True(t, there(m[1]), "%s: there is no %s", line, m[1])
			}
			for _, m := range code.FindAllStringSubmatch(cell, -1) {
				switch name := m[1]; {
				case strings.HasPrefix(name, "Test"):
					assert.Contains(t, tests, "func "+name+"(", line)
				case strings.HasSuffix(name, "_test.go"):
					assert.Contains(t, tests, "/"+name+"\n", line)
				default:
					assert.True(t, there("terraform/"+name, "terraform/modules/*/"+name, "terraform/tests/"+name, "terraform/*/*/tests/"+name), "%s: there is no %s", line, name)
				}
			}
		}
	}
	assert.Greater(t, rows, 25)
}

// Every function has a directory with a program, and there is no other.
func TestFunctionsAreComplete(t *testing.T) {
	entries, err := os.ReadDir("functions")
	require.NoError(t, err)
	var have, want []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	used := map[string]bool{}
	for _, f := range config.Functions {
		want = append(want, f.Name)
		main, err := os.ReadFile("functions/" + f.Name + "/main.go")
		require.NoError(t, err)
		assert.Contains(t, string(main), fmt.Sprintf("wire.Start(%q", f.Name), "it starts under its own name")
		for _, v := range config.VarsOf(f.Name) {
			used[v.Name] = true
		}
	}
	assert.ElementsMatch(t, want, have)
	for _, s := range config.Services {
		assert.Contains(t, want, s.Name)
		for _, v := range config.ServiceVarsOf(s.Name) {
			used[v.Name] = true
		}
	}
	for _, v := range config.Vars {
		assert.True(t, used[v.Name], "%s is nobody's", v.Name)
	}
}
