package oauth2

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestThreatModel keeps testdata/threats.md true: every test that a row names exists, every id that a test names has a
// row, and every row has a test or a reason.
func TestThreatModel(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/threats.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	tests, named := threatTests(t, files)
	for _, fault := range threatFaults(string(text), tests, named) {
		t.Error(fault)
	}
	// The check itself can fail.
	for row, want := range map[string]string{
		"| F1 | a | b | c | `TestNowhere` |": "does not exist",
		"| F1 | a | b | c |  |":              "neither a test nor a reason",
		"| F1 | a | b |":                     "columns",
		"":                                   "has no row",
	} {
		got := threatFaults(row, map[string]bool{}, map[string]string{"F1": "x_test.go"})
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%q: %q, want %q", row, got, want)
		}
	}
}

var threatID = regexp.MustCompile(`\b(?:F|L|B|T|R|S|C|P|J|K|G|H|X|M|W|XO|CA|LB|PY|UP)[0-9]{1,2}\b`)

// threatFaults returns what is wrong with the rows of text.
func threatFaults(text string, tests map[string]bool, named map[string]string) (faults []string) {
	rows := map[string]bool{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.ReplaceAll(strings.Trim(strings.TrimSpace(line), "|"), `\|`, "¦"), "|")
		id := strings.TrimSpace(cells[0])
		if !strings.HasPrefix(line, "|") || threatID.FindString(id) != id || id == "" {
			continue
		}
		if rows[id] {
			faults = append(faults, id+" has two rows")
		}
		rows[id] = true
		if len(cells) != 5 {
			faults = append(faults, fmt.Sprintf("%s has %d columns, not 5", id, len(cells)))
			continue
		}
		proof := strings.TrimSpace(cells[4])
		functions := regexp.MustCompile("`((?:Test|Example|Fuzz|Benchmark)\\w*)").FindAllStringSubmatch(proof, -1)
		for _, f := range functions {
			if !tests[f[1]] {
				faults = append(faults, fmt.Sprintf("%s names %s, which does not exist", id, f[1]))
			}
		}
		reason, ok := strings.CutPrefix(proof, "—")
		if len(functions) == 0 && (!ok || len(strings.Trim(reason, ": ")) < 10) {
			faults = append(faults, id+" has neither a test nor a reason")
		}
	}
	for id, file := range named {
		if !rows[id] {
			faults = append(faults, fmt.Sprintf("%s, which %s names, has no row", id, file))
		}
	}
	return faults
}

// threatTests returns the test functions in files, and the ids that their comments and names have.
func threatTests(t *testing.T, files []string) (tests map[string]bool, named map[string]string) {
	t.Helper()
	tests, named = map[string]bool{}, map[string]string{}
	for _, name := range files {
		if name == "threats_test.go" {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				tests[fn.Name.Name] = true
			}
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				for _, id := range threatID.FindAllString(c.Text, -1) {
					named[id] = name
				}
			}
		}
	}
	return tests, named
}
