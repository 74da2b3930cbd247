package exchange_test

import (
	"fmt"
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every rule of docs/rules has a test, and every test cites a rule there is.

var (
	ruleID         = regexp.MustCompile(`\b[A-Z]+-\d{3}\b`)
	ruleDefinition = regexp.MustCompile(`(?m)^\*\*([A-Z]+-\d{3})\*\*`)
)

// notRules look like rule ids and are none.
var notRules = []string{"SHA-256", "SHA-512"}

// ruleSource is a named text.
type ruleSource struct{ name, text string }

// ruleFaults compares the rules that docs define with those that tests cite.
func ruleFaults(docs, tests []ruleSource) []string {
	var faults []string
	defined := map[string]string{}
	var rules []string
	for _, doc := range docs {
		for _, match := range ruleDefinition.FindAllStringSubmatch(doc.text, -1) {
			id := match[1]
			if first, twice := defined[id]; twice {
				faults = append(faults, fmt.Sprintf("%s: %s is already defined in %s", doc.name, id, first))
				continue
			}
			defined[id] = doc.name
			rules = append(rules, id)
		}
	}
	if len(rules) == 0 {
		faults = append(faults, "no rule is defined")
	}
	cited := map[string]bool{}
	cite := func(s ruleSource, by string) {
		for _, id := range ruleID.FindAllString(s.text, -1) {
			if _, ok := defined[id]; !ok && !slices.Contains(notRules, id) {
				faults = append(faults, fmt.Sprintf("%s: %s %s, which docs/rules does not define", s.name, by, id))
			}
		}
	}
	for _, doc := range docs {
		cite(doc, "refers to")
	}
	for _, test := range tests {
		cite(test, "cites")
		for _, id := range ruleID.FindAllString(test.text, -1) {
			cited[id] = true
		}
	}
	for _, id := range rules {
		if !cited[id] {
			faults = append(faults, fmt.Sprintf("%s: no test cites %s", defined[id], id))
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

func TestRules(t *testing.T) {
	needRepository(t)
	docs := readSources(t, "docs/rules", func(file string) bool { return strings.HasSuffix(file, ".md") })
	tests := readSources(t, ".", func(file string) bool {
		switch {
		case file == "rules_test.go", strings.HasPrefix(file, "adapters/"), strings.HasPrefix(file, "examples/"),
			strings.Contains(file, "testdata/fuzz/"), strings.Contains(file, "testdata/rapid/"):
			return false
		}
		return strings.HasSuffix(file, "_test.go") || strings.Contains(file, "testdata/")
	})
	for _, fault := range ruleFaults(docs, tests) {
		t.Error(fault)
	}
}

// Each value that an order, a report or a refusal can have is in docs/fix.md.
func TestRulesOfFIX(t *testing.T) {
	needRepository(t)
	text, err := os.ReadFile("docs/fix.md")
	require.NoError(t, err)
	enums := []string{"Side", "OrderType", "TimeInForce", "SelfTradePrevention", "PostOnly", "EventKind", "Reason"}
	named := 0
	for _, file := range []string{"order.go", "events.go"} {
		ast.Inspect(parseGo(t, file, nil).ast, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				if typ, ok := spec.Type.(*ast.Ident); ok && slices.Contains(enums, typ.Name) {
					named++
					assert.Contains(t, string(text), "`"+spec.Names[0].Name+"`", typ.Name)
				}
			}
			return true
		})
	}
	assert.Greater(t, named, 100)
}

func readSources(t *testing.T, dir string, keep func(file string) bool) []ruleSource {
	t.Helper()
	var sources []ruleSource
	for _, file := range repositoryFiles(t, dir, func(string) bool { return true }) {
		if !keep(file) {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		sources = append(sources, ruleSource{file, string(text)})
	}
	return sources
}

// TestRuleFaults shows that each fault is found.
func TestRuleFaults(t *testing.T) {
	docs := []ruleSource{{"matching.md", "# Matching\n**MATCH-001** A trade prints at the maker's price.\n\n**MATCH-002** See MATCH-001.\n"}}
	tests := []ruleSource{{"a_test.go", "// MATCH-001\n"}, {"testdata/b.txt", "# MATCH-002, SHA-256\n"}}
	with := func(sources []ruleSource, more ruleSource) []ruleSource { return append(slices.Clip(sources), more) }
	for _, tc := range []struct {
		name        string
		docs, tests []ruleSource
		want        []string
	}{
		{"all is well", docs, tests, nil},
		{"a rule without a test", docs, tests[:1], []string{"matching.md: no test cites MATCH-002"}},
		{"a test of an unknown rule", docs, with(tests, ruleSource{"c_test.go", "MATCH-003"}),
			[]string{"c_test.go: cites MATCH-003, which docs/rules does not define"}},
		{"a mistyped family", docs, with(tests, ruleSource{"c_test.go", "MATHC-001"}),
			[]string{"c_test.go: cites MATHC-001, which docs/rules does not define"}},
		{"a reference to an unknown rule", with(docs, ruleSource{"stops.md", "as STOP-009 says"}), tests,
			[]string{"stops.md: refers to STOP-009, which docs/rules does not define"}},
		{"a rule defined twice", with(docs, ruleSource{"stops.md", "**MATCH-001** Again."}), tests,
			[]string{"stops.md: MATCH-001 is already defined in matching.md"}},
		{"a definition inside a line defines nothing", with(docs, ruleSource{"stops.md", "x **STOP-001** x"}), tests,
			[]string{"stops.md: refers to STOP-001, which docs/rules does not define"}},
		{"no rules", nil, nil, []string{"no rule is defined"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, ruleFaults(tc.docs, tc.tests))
		})
	}
}
