package oauth2

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const apiFile = "testdata/api.txt"

var updateAPI = flag.Bool("update-api", false, "TestPublicPage: write "+apiFile+" instead of comparing")

// TestPublicPage compares all that the package exports with testdata/api.txt, so that whoever reviews a change sees
// what it does to the programs that use the package.
func TestPublicPage(t *testing.T) {
	t.Parallel()
	page := publicPage(apiSources(t))
	if *updateAPI {
		if err := os.WriteFile(apiFile, []byte(strings.Join(page, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(apiFile)
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.FieldsFunc(string(text), apiLineEnd)
	if !slices.Equal(listed, page) {
		t.Errorf("The public page is not the one of %s. If that is meant, write it anew with\n\n"+
			"\tgo test -run TestPublicPage -update-api .\n\nand have the change reviewed:\n\n%s",
			apiFile, strings.Join(apiDiff(listed, page), "\n"))
	}
}

// TestDocumented holds that everything exported says what it is.
func TestDocumented(t *testing.T) {
	t.Parallel()
	for _, fault := range undocumented(apiSources(t)) {
		t.Error(fault)
	}
}

// TestPublicPageSees has a row for each kind of declaration, and for what is not on the page.
func TestPublicPageSees(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, source string
		want         []string
	}{
		{"constant", "const A, b = 1, 2", []string{"const A = 1"}},
		{"constant with a type", "const (\n\tA int = iota\n\tB\n)", []string{"const A int = iota", "const B"}},
		{"variable", "var A, b = f()", []string{"var A"}},
		{"variable with a type", "var A map[string]int", []string{"var A map[string]int"}},
		{"function", "func F(a, b string, c ...int) (d T, err error) { return }",
			[]string{"func F(a, b string, c ...int) (d T, err error)"}},
		{"function over several lines", "func F(\n\ta string, // a\n\tb func(\n\t\tint,\n\t) error,\n) {\n}",
			[]string{"func F(a string, b func(int) error)"}},
		{"function with type parameters", "func F[T any](t T) {}", []string{"func F[T any](t T)"}},
		{"method of a pointer", "func (t *T) F() int { return 0 }\ntype T int",
			[]string{"method (*T) F() int", "type T int"}},
		{"method of a value", "func (T) F() {}\ntype T func(int)", []string{"method (T) F()", "type T func(int)"}},
		{"struct", "type T struct {\n\tA, b, C string // c\n\n" +
			"\t// d\n\tD struct {\n\t\tE int\n\t\tf int\n\t}\n\te int\n}",
			[]string{"field T.A string", "field T.C string", "field T.D struct { E int f int }", "type T struct"}},
		{"struct that embeds", "type T struct {\n\t*U\n\tio.Reader\n}\ntype U int",
			[]string{"embedded T *U", "embedded T io.Reader", "type T struct", "type U int"}},
		{"struct that embeds what is not exported", "type T struct {\n\tu\n}\n" +
			"type u struct {\n\tA, b int\n\tv[int]\n}\ntype v[X any] struct{}\nfunc (u) F() {}\nfunc (*v[X]) G() {}",
			[]string{"embedded T u", "embedded u v[int]", "field u.A int", "method (*v[X]) G()", "method (u) F()",
				"type T struct", "type u struct", "type v[X any] struct"}},
		{"interface", "type T interface {\n\tF(a int) error\n\tg()\n\terror\n}",
			[]string{"embedded T error", "method (T) F(a int) error", "method (T) g()", "type T interface"}},
		{"alias", "type T = []byte", []string{"type T = []byte"}},
		{"not exported", "const a = 1\nvar b = 1\nfunc c() {}\ntype d struct {\n\tE int\n}\nfunc (d) F() {}\n" +
			"type T int\nfunc (T) g() {}", []string{"type T int"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := publicPage(apiParse(t, "package oauth2\n\n"+tt.source)); !slices.Equal(got, tt.want) {
				t.Errorf("\n%s", strings.Join(apiDiff(tt.want, got), "\n"))
			}
		})
	}
	got := apiDiff([]string{"a", "b", "d"}, []string{"b", "c", "d", "e"})
	if want := []string{"- a", "+ c", "+ e"}; !slices.Equal(got, want) {
		t.Errorf("the difference is %q, want %q", got, want)
	}
}

// TestDocumentedSees has a row for each comment that can be missing.
func TestDocumentedSees(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, source, want string }{
		{"package", "package oauth2", "the package"},
		{"function", "func F() {}", "F"},
		{"function with another's comment", "// G does it.\nfunc F() {}", "F"},
		{"function with the name as part of a word", "// Fs does it.\nfunc F() {}", "F"},
		{"method", "// T is t.\ntype T int\n\nfunc (T) F() {}", "T.F"},
		{"type", "type T int", "T"},
		{"field", "// T is t.\ntype T struct {\n\tA int\n}", "T.A"},
		{"method of an interface", "// T is t.\ntype T interface {\n\tF()\n\t// G is g.\n\tG()\n}", "T.F"},
		{"constant", "const A = 1", "A"},
		{"variable", "var A = 1", "A"},
		{"variable of a group", "// B and C are variables.\nvar (\n\t// B is one.\n\tB = 1\n\tC = 2\n)", "C"},
		{"everything has one", "// A T is t.\ntype T struct {\n\t// A and B are fields.\n" +
			"\tA, B int\n\tC int // is one, too\n\td int\n}\n\n" +
			"// F does it.\nfunc (t *T) F() {}\n\n// U is u.\ntype U interface {\n\tF()\n}\n\n" +
			"// The E is a variable.\nvar E, b = 1, 2", ""},
		{"nothing is exported", "func c() {}\n\ntype e struct {\n\tE int\n}\n\nfunc (e) F() {}\n\nconst d = 1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := tt.source
			if tt.name != "package" {
				source = "// Package oauth2 is a package.\npackage oauth2\n\n" + source
			}
			var want []string
			if tt.want != "" {
				want = []string{tt.want + " has no comment that says what it is"}
			}
			if got := undocumented(apiParse(t, source)); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// apiSources returns the files of the package, without the tests.
func apiSources(t testing.TB) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, string(text))
	}
	if len(sources) != 7 {
		t.Fatalf("%d files have the package, want 7", len(sources))
	}
	return apiParse(t, sources...)
}

// apiParse returns the syntax of sources.
func apiParse(t testing.TB, sources ...string) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// apiLineEnd reports whether a character ends a line, here or on Windows.
func apiLineEnd(r rune) bool {
	return r == '\n' || r == '\r'
}

// apiDiff returns the lines that only one of two sorted pages has: of the old one after a minus, of the new one after a
// plus.
func apiDiff(before, after []string) []string {
	var diff []string
	for _, line := range before {
		if !slices.Contains(after, line) {
			diff = append(diff, "- "+line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			diff = append(diff, "+ "+line)
		}
	}
	// By what follows the sign, so that what was changed stands together.
	slices.SortStableFunc(diff, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return diff
}

// An apiPage collects the lines of a public page.
type apiPage struct {
	types map[string]*ast.TypeSpec // of the package, exported or not
	shown map[string]bool          // the types whose methods are on the page
	lines []string
}

// publicPage returns a line for each exported constant, variable, function, type, field and method, sorted. What a type
// embeds is on the page even if its name is not exported, since its methods and fields are those of the type as well.
// So are all methods of an interface, since one that is not exported decides who can implement it.
func publicPage(files []*ast.File) []string {
	specs, functions := apiDeclarations(files)
	p := &apiPage{types: map[string]*ast.TypeSpec{}, shown: map[string]bool{}}
	for _, s := range specs {
		if spec, ok := s.spec.(*ast.TypeSpec); ok {
			p.types[spec.Name.Name] = spec
		}
	}
	for _, s := range specs {
		switch spec := s.spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() {
				p.addType(spec)
			}
		case *ast.ValueSpec:
			p.addValues(s.decl.Tok, spec)
		}
	}
	for _, f := range functions {
		switch {
		case !f.Name.IsExported():
		case f.Recv == nil:
			p.add("%s", apiText(&ast.FuncDecl{Name: f.Name, Type: f.Type}))
		case p.shown[apiReceiver(f)]:
			p.add("method (%s) %s%s", apiText(f.Recv.List[0].Type), f.Name, apiSignature(f.Type))
		}
	}
	slices.Sort(p.lines)
	return p.lines
}

func (p *apiPage) add(format string, args ...any) {
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

// addType adds a type, its fields or the methods of an interface, and the types of the package that it embeds.
func (p *apiPage) addType(spec *ast.TypeSpec) {
	name := spec.Name.Name
	if p.shown[name] {
		return
	}
	p.shown[name] = true
	head := &ast.TypeSpec{Name: spec.Name, TypeParams: spec.TypeParams, Assign: spec.Assign, Type: spec.Type}
	kind := "field"
	switch spec.Type.(type) {
	case *ast.StructType:
		head.Type = ast.NewIdent("struct")
	case *ast.InterfaceType:
		head.Type = ast.NewIdent("interface")
		kind = "method"
	}
	p.add("type %s", apiText(head))
	for _, member := range apiMembers(spec) {
		if len(member.Names) == 0 {
			p.add("embedded %s %s", name, apiText(member.Type))
			if embedded := p.types[apiBaseName(member.Type)]; embedded != nil {
				p.addType(embedded)
			}
		}
		for _, id := range member.Names {
			switch {
			case kind == "method":
				p.add("method (%s) %s%s", name, id, apiSignature(member.Type))
			case id.IsExported():
				p.add("field %s.%s %s", name, id, apiText(member.Type))
			}
		}
	}
}

// addValues adds constants with their values, since those are compiled into programs, and variables.
func (p *apiPage) addValues(tok token.Token, spec *ast.ValueSpec) {
	for i, id := range spec.Names {
		if !id.IsExported() {
			continue
		}
		line := tok.String() + " " + id.Name
		if spec.Type != nil {
			line += " " + apiText(spec.Type)
		}
		if tok == token.CONST && i < len(spec.Values) {
			line += " = " + apiText(spec.Values[i])
		}
		p.add("%s", line)
	}
}

// undocumented returns what is exported without a comment that says what it is. The comment of a function, a type, a
// constant or a variable starts with its name. That of an interface with one method is about the method too.
func undocumented(files []*ast.File) []string {
	var faults []string
	check := func(ok bool, name string) {
		if !ok {
			faults = append(faults, name+" has no comment that says what it is")
		}
	}
	check(slices.ContainsFunc(files, func(f *ast.File) bool { return f.Doc.Text() != "" }), "the package")
	specs, functions := apiDeclarations(files)
	for _, s := range specs {
		switch spec := s.spec.(type) {
		case *ast.TypeSpec:
			if !spec.Name.IsExported() {
				continue
			}
			check(apiDocumented(spec.Name.Name, s.decl.Doc, spec.Doc), spec.Name.Name)
			members := apiMembers(spec)
			if _, ok := spec.Type.(*ast.InterfaceType); ok && len(members) == 1 {
				continue
			}
			for _, member := range members {
				for _, id := range member.Names {
					ok := !id.IsExported() || member.Doc.Text() != "" || member.Comment.Text() != ""
					check(ok, spec.Name.Name+"."+id.Name)
				}
			}
		case *ast.ValueSpec:
			for _, id := range spec.Names {
				check(!id.IsExported() || apiDocumented(id.Name, s.decl.Doc, spec.Doc), id.Name)
			}
		}
	}
	for _, f := range functions {
		name, shown := f.Name.Name, f.Name.IsExported()
		if f.Recv != nil {
			name = apiReceiver(f) + "." + name
			shown = shown && ast.IsExported(name)
		}
		check(!shown || apiDocumented(f.Name.Name, f.Doc), name)
	}
	return faults
}

// apiDocumented reports whether one of the comments starts with name, after an article if need be.
func apiDocumented(name string, comments ...*ast.CommentGroup) bool {
	return slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool {
		words := strings.Fields(c.Text())
		if len(words) > 0 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
			words = words[1:]
		}
		return len(words) > 1 && words[0] == name
	})
}

// An apiSpec is a type, or constants or variables, with the declaration it is a part of.
type apiSpec struct {
	decl *ast.GenDecl
	spec ast.Spec
}

// apiDeclarations returns what files declare.
func apiDeclarations(files []*ast.File) (specs []apiSpec, functions []*ast.FuncDecl) {
	for _, file := range files {
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					specs = append(specs, apiSpec{decl, spec})
				}
			case *ast.FuncDecl:
				functions = append(functions, decl)
			}
		}
	}
	return specs, functions
}

// apiMembers returns the fields of a struct or the methods of an interface.
func apiMembers(spec *ast.TypeSpec) []*ast.Field {
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		return typ.Fields.List
	case *ast.InterfaceType:
		return typ.Methods.List
	}
	return nil
}

// apiText prints a node on one line.
func apiText(node ast.Node) string {
	var b strings.Builder
	// A set without files has no positions, and so no line breaks of the source.
	if err := printer.Fprint(&b, token.NewFileSet(), node); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// apiSignature prints what follows the name of a function, given its type.
func apiSignature(f ast.Expr) string {
	return strings.TrimPrefix(apiText(f), "func")
}

// apiReceiver returns the name of the type that a method belongs to.
func apiReceiver(f *ast.FuncDecl) string {
	return apiBaseName(f.Recv.List[0].Type)
}

// apiBaseName returns the name of a type, without pointer and type arguments. It is empty for one of another package.
func apiBaseName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return apiBaseName(e.X)
	case *ast.IndexExpr:
		return apiBaseName(e.X)
	case *ast.IndexListExpr:
		return apiBaseName(e.X)
	}
	return ""
}
