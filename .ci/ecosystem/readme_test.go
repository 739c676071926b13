package ecosystem

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

// What README.md says of these clients is the code of this module, letter for letter, and its length. .ci/run
// copies the page here.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources[name] = string(source)
	}
	for _, fault := range readmeFaults(t, string(page), sources) {
		t.Error(fault)
	}
	// The check itself can fail.
	source := map[string]string{"a.go": "package p\n\ntype a struct{}\n\n// F is\n// nothing.\nfunc (a) F() {\n\n}\n"}
	const title, block, row = readmeTitle + "\n\n", "```go\nfunc (a) F() {\n\n}\n```\n", "| A | `a` | 3 |\n"
	for text, want := range map[string]string{
		title + block + row:                 "",
		block + row:                         "no section",
		title + row:                         "no code",
		title + block:                       "not in the table: `a` | 3 |",
		title + block + "| A | `a` | 4 |\n": "not in the table: `a` | 3 |",
		title + block + row + "| B | `b` | 3 |\n":           "not in the module: `b` | 3 |",
		title + strings.Replace(block, "F", "G", 1) + row:   "no code of the module: func (a) G() {",
		title + strings.Replace(block, "F()", "F", 1) + row: "no code of the module: func (a) F {",
		title + row + "### Next\n" + block:                  "no code",
	} {
		got := strings.Join(readmeFaults(t, text, source), "; ")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

const readmeTitle = "### With Google's clients and others"

var (
	readmeBlock = regexp.MustCompile("(?s)```go\n(.*?)```")
	readmeRow   = regexp.MustCompile("(?m)^\\|.*\\| (`\\w+` \\| [0-9]+ \\|)$")
)

// readmeFaults returns what the section of page says that the sources don't.
func readmeFaults(t *testing.T, page string, sources map[string]string) (faults []string) {
	t.Helper()
	_, section, ok := strings.Cut(page, readmeTitle+"\n")
	if !ok {
		return []string{"there is no section: " + readmeTitle}
	}
	section, _, _ = strings.Cut(section, "\n### ")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []string
	all := ""
	for _, source := range sources {
		all += source
		rows = append(rows, adapters(t, source)...)
	}
	blocks := readmeBlock.FindAllStringSubmatch(section, -1)
	if len(blocks) == 0 {
		faults = append(faults, "there is no code")
	}
	for _, block := range blocks {
		if !strings.Contains(all, "\n"+block[1]) {
			first, _, _ := strings.Cut(block[1], "\n")
			faults = append(faults, "no code of the module: "+first)
		}
	}
	for _, row := range readmeRow.FindAllStringSubmatch(section, -1) {
		n := slices.Index(rows, row[1])
		if n < 0 {
			faults = append(faults, "not in the module: "+row[1])
			continue
		}
		rows = slices.Delete(rows, n, n+1)
	}
	for _, row := range rows {
		faults = append(faults, "not in the table: "+row)
	}
	return faults
}

// adapters returns the end of a row for the type that source declares, if it does: its name, and how many lines a
// program copies, without comments and empty lines.
func adapters(t *testing.T, source string) (rows []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	name, lines := "", 0
	for _, decl := range file.Decls {
		if general, ok := decl.(*ast.GenDecl); ok {
			if general.Tok == token.IMPORT {
				continue
			}
			if spec, ok := general.Specs[0].(*ast.TypeSpec); ok {
				name = spec.Name.Name
			}
		}
		text := source[files.Position(decl.Pos()).Offset:files.Position(decl.End()).Offset]
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "//") {
				lines++
			}
		}
	}
	if name == "" {
		return nil
	}
	return []string{fmt.Sprintf("`%s` | %d |", name, lines)}
}
