package aws_test

import (
	"flag"
	"fmt"
	"os"
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
