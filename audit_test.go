package oauth2

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const auditFile = "testdata/audit.md"

var updateAudit = flag.Bool("update-audit", false, "TestAuditMap: write "+auditFile+" instead of comparing")

// TestAuditMap keeps testdata/audit.md true. By the types of the source, not by its text, it finds what each function
// uses of the network, the disk, the environment and other programs, each secret that is revealed, each goroutine, each
// call of the program's own code, and each variable of the package. All of it is on the page, and nothing else. A name
// of the standard library that the page does not know counts as such a use. X6, S8, T13
//
// README.md names each function that sends, listens, writes or starts something, no other function, and each variable
// of the environment.
func TestAuditMap(t *testing.T) {
	t.Parallel()
	parsed := sourceOfPackage(t)
	source := auditSource(t, parsed.fset, parsed.files)
	text, err := os.ReadFile(auditFile)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before := strings.ReplaceAll(string(text), "\r", "")
	after := readAuditPage(before).write(source)
	if *updateAudit {
		if err := os.WriteFile(auditFile, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := auditDiff(before, after); !*updateAudit && diff != "" {
		t.Errorf("The source is not as %s says. If that is meant, write the page anew with\n\n"+
			"\tgo test -run TestAuditMap -update-audit .\n\n"+
			"or change these lines of it, and say what each ? stands for:\n\n%s",
			auditFile, diff)
	}
	for _, fault := range slices.Concat(auditGaps(after), auditReadme(string(readme), readAuditPage(after), source)) {
		t.Error(fault)
	}
}

// A row of TestAuditMapSees is a change of the source that the map has to have a line for.
type auditMutation struct{ name, source, want string }

// TestAuditMapSees has a row for each way to reach out of the process that the map must not miss.
func TestAuditMapSees(t *testing.T) {
	t.Parallel()
	tests := []auditMutation{
		{"call", `import "os"; func f() { os.Remove("x") }`, `f: os.Remove(x)`},
		{"call under another name", `import o "os"; func f() { o.Remove(g()) }; func g() string { return "" }`,
			`f: os.Remove`},
		{"call without the package's name", `import . "os"; func f(s string) { Remove(s) }`, `f: os.Remove`},
		{"function value", `import "os"; var read = os.ReadFile`, `read: os.ReadFile`},
		{"function passed on", `import "os"; func f() { g(os.ReadFile) }; func g(any) {}`, `f: os.ReadFile`},
		{"environment", `import "os"; const c = "A"; func f() { os.Getenv(c + "B") }`, `f: os.Getenv(AB)`},
		{"environment by any name", `import "os"; func f(s string) { os.LookupEnv(s) }`, `f: os.LookupEnv`},
		{"arguments", `import "os"; func f() []string { return os.Args }`, `f: os.Args`},
		{"standard output as a value", `import "os"; func f() any { return os.Stdout }`, `f: os.Stdout`},
		{"standard error", `func f() { println("x"); print("y") }`, `f: print, println`},
		{"fmt", `import "fmt"; func f() { fmt.Printf("x") }`, `f: fmt.Printf`},
		{"log", `import "log"; func f() { log.Print("x") }`, `f: log.Print`},
		{"log of a logger", `import "log/slog"; func f(l *slog.Logger) { l.Info("x") }`,
			`f: slog.Logger, slog.Logger.Info`},
		{"client", `import "net/http"; func f(c *http.Client) { c.Get("x") }`, `f: http.Client, http.Client.Get`},
		{"client's method as a value", `import "net/http"; func f(c *http.Client) any { return c.Do }`,
			`f: http.Client, http.Client.Do`},
		{"client's method as an expression", `import "net/http"; var f = (*http.Client).Do`,
			`f: http.Client, http.Client.Do`},
		{"client in a struct", `import "net/http"; type t struct{ http.Client }; func f(v t) { v.Head("x") }`,
			`f: http.Client.Head; t: http.Client`},
		{"client by default", `import "net/http"; func f() { http.DefaultClient.PostForm("x", nil) }`,
			`f: http.Client.PostForm, http.DefaultClient`},
		{"client by default, in short", `import "net/http"; func f() { http.Post("x", "y", nil) }`, `f: http.Post`},
		{"round trip", `import "net/http"; func f(r http.RoundTripper) { r.RoundTrip(nil) }`,
			`f: http.RoundTripper.RoundTrip`},
		{"round trips", `import "net/http"; func f(r http.RoundTripper) { r.RoundTrip(nil); r.RoundTrip(nil) }`,
			`f: http.RoundTripper.RoundTrip ×2`},
		{"round trip behind an interface", `import "net/http"
			type doer interface{ Do(*http.Request) (*http.Response, error) }
			func f(d doer) { d.Do(nil) }`, `f: doer.Do`},
		{"round trip behind one without a name", `func f(d interface{ Do() }) { d.Do() }`, `f: interface.Do`},
		{"round trip behind a type parameter", `func f[T interface{ Do() }](d T) { d.Do() }`, `f: interface.Do`},
		{"transport", `import "net/http"; var t http.RoundTripper = &http.Transport{}`, `t: http.Transport`},
		{"dial", `import "net"; func f() { net.Dial("tcp", "x") }`, `f: net.Dial`},
		{"dialer", `import "net"; var f = (&net.Dialer{}).DialContext`, `f: net.Dialer, net.Dialer.DialContext`},
		{"dial with a transport", `import "net/http"; func f(t *http.Transport) { t.DialContext(nil, "", "") }`,
			`f: http.Transport, http.Transport.DialContext`},
		{"look up", `import "net"; func f() { net.LookupTXT("secret.example") }`, `f: net.LookupTXT`},
		{"dial with TLS", `import "crypto/tls"; func f() { tls.Dial("tcp", "x", nil) }`, `f: tls.Dial`},
		{"listen", `import "net"; func f() { func() { net.Listen("tcp", ":0") }() }`, `f: net.Listen`},
		{"listen with a config", `import "net"; func f() { new(net.ListenConfig).ListenPacket(nil, "", "") }`,
			`f: net.ListenConfig, net.ListenConfig.ListenPacket`},
		{"serve", `import "net/http"; func f() { http.ListenAndServe("", nil) }`, `f: http.ListenAndServe`},
		{"server", `import "net/http"; func f(s *http.Server) { s.Serve(nil) }`, `f: http.Server, http.Server.Serve`},
		{"connection", `import "net"; func f(c net.Conn) { c.Write(nil) }`, `f: net.Conn.Write`},
		{"page", `import "net/http"; func f(w http.ResponseWriter) { w.Write(nil) }`, `f: http.ResponseWriter.Write`},
		{"writer", `import "io"; func f(w io.Writer) { w.Write(nil) }`, `f: io.Writer.Write`},
		{"writer of a package that computes", `import ("bytes"; "io")
			func f(b *bytes.Buffer, w io.Writer) { b.WriteTo(w) }`,
			`f: bytes.Buffer.WriteTo`},
		{"writer within a package that computes", `import ("bytes"; "encoding/base64")
			func f(b *bytes.Buffer) { base64.NewEncoder(nil, b) }`, `f: base64.NewEncoder`},
		{"file", `import "os"; func f(f *os.File) { f.Write(nil) }`, `f: os.File, os.File.Write`},
		{"file system", `import "io/fs"; func f(f fs.FS) { fs.ReadFile(f, "x") }`, `f: fs.ReadFile`},
		{"folder", `import "path/filepath"; func f() { filepath.Glob("*") }`, `f: filepath.Glob`},
		{"program", `import "os/exec"; func f() { exec.Command("sh").Run() }`, `f: exec.Cmd.Run, exec.Command(sh)`},
		{"program without a function", `import "os/exec"; func f() any { return &exec.Cmd{Path: "sh"} }`,
			`f: exec.Cmd`},
		{"system call", `import "syscall"; func f() { syscall.Kill(1, 9) }`, `f: syscall.Kill`},
		{"package that nobody knows", `import "net/smtp"; func f() { smtp.SendMail("", nil, "", nil, nil) }`,
			`f: smtp.SendMail`},
		{"goroutine", `func f() { go f() }`, `f: go`},
		{"goroutine of a timer", `import "time"; func f() { time.AfterFunc(1, f) }`, `f: time.AfterFunc`},
		{"goroutine of a group", `import "sync"; func f(g *sync.WaitGroup) { g.Go(func() {}) }`,
			`f: sync.WaitGroup.Go`},
		{"secret", `func f(s Secret) { s.Reveal() }`, `f: Secret.Reveal`},
		{"secret by its method as a value", `func f(s Secret) any { return s.Reveal }`, `f: Secret.Reveal`},
		{"secret in a struct", `type t struct{ Secret }; func (v *t) f() { v.Reveal() }`, `t.f: Secret.Reveal`},
		{"secret by its field", `func f(s Secret) { s.reveal() }`, `f: Secret.reveal`},
		{"secret behind an interface", `func f(s interface{ Reveal() string }) { s.Reveal() }`, `f: interface.Reveal`},
		{"code of the program", `type T struct{ F func() }; func f(t T) { t.F() }`, `f: T.F`},
		{"variables", `var a, b = 1, map[string]int{}`, `var a int; var b map[string]int`},
		{"nothing", `import ("os"; "net/http"; "errors"; "strings")
			func f(err error, r http.RoundTripper, m os.FileMode) bool {
				return errors.Is(err, os.ErrNotExist) && strings.Contains("x", os.DevNull) && m == 0
			}`, ``},
	}
	const rest = "\ntype Secret struct{ reveal func() string }\nfunc (s Secret) Reveal() string { return \"\" }\n"
	page := readAuditPage("## Names\n\n| `http.Request` | nothing |\n| `http.Response` | nothing |\n" +
		"## Packages\n\n- `bytes`\n- `encoding/base64`\n- `errors`\n- `strings`\n- `sync`\n- `time`\n")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := auditText(t, tt.source+rest)
			var got []string
			for _, row := range source.rows {
				got = append(got, row.owner+": "+strings.Join(page.uses(row), ", "))
			}
			got = slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, ": ") })
			if len(got) == 0 {
				for _, v := range source.variables {
					got = append(got, "var "+v.name+" "+v.typ)
				}
			}
			slices.Sort(got)
			if text := strings.Join(got, "; "); text != tt.want {
				t.Errorf("found %q, want %q", text, tt.want)
			}
		})
	}
}

// TestAuditMapFails has a row for each way in which the source, the page and README.md can differ.
func TestAuditMapFails(t *testing.T) {
	t.Parallel()
	const (
		source = `import "os"; var v = 1; func f() { os.Remove("x") }; func g() { os.Getenv("HOME") }`
		page   = "# Map\n\n## x.go\n\n| function | what it does outside, and with which names | what for |\n" +
			"| --- | --- | --- |\n| `f` | writes `os.Remove(x)` | removes the file x |\n" +
			"| `g` | reads `os.Getenv(HOME)` | finds the user's home |\n\n" +
			"## Variables\n\n| variable | type | why it does not change |\n| --- | --- | --- |\n" +
			"| `v` | `int` | nothing writes to it |\n\n## Names\n\n| name | what it does |\n| --- | --- |\n" +
			"| `os.Getenv` | reads |\n| `os.Remove` | writes |\n\n## Packages\n\n"
		readme = "### What leaves the process, and where\n\n| Function | What |\n| `f` | a file |\n\n`HOME`\n" +
			"### Next\n`A`\n"
	)
	tests := []struct{ name, old, new, want string }{
		{name: "nothing"},
		{"a function more", `os.Remove("x") }`, `os.Remove("x") }; func h() { os.Remove("y") }`,
			"+ | `h` | writes `os.Remove(y)` | ? |"},
		{"a function less", `func g() { os.Getenv("HOME") }`, ``,
			"- | `g` | reads `os.Getenv(HOME)` | finds the user's home |"},
		{"a use more", `os.Remove("x")`, `os.Remove("x"); os.Remove("x")`,
			"+ | `f` | writes `os.Remove(x)` ×2 | removes the file x |"},
		{"another argument", `os.Remove("x")`, `os.Remove("y")`,
			"+ | `f` | writes `os.Remove(y)` | removes the file x |"},
		{"a name more", `os.Remove("x")`, `os.Remove("x"); os.Chdir("x")`, "+ | `os.Chdir` | ? |"},
		{"a name less", `os.Remove("x")`, ``, "- | `os.Remove` | writes |"},
		{"a variable more", `v = 1`, `v, w = 1, 2`, "+ | `w` | `int` | ? |"},
		{"a variable less", `var v = 1; `, ``, "- | `v` | `int` | nothing writes to it |"},
		{"a variable of another type", `v = 1`, `v = ""`, "+ | `v` | `string` | nothing writes to it |"},
		{"a row more", "| `g` | reads", "| `h` | reads `os.Getenv(A)` | finds the letter A |\n| `g` | reads",
			"- | `h` | reads `os.Getenv(A)` | finds the letter A |"},
		{"rows in another order", "| `os.Getenv` | reads |\n| `os.Remove` | writes |",
			"| `os.Remove` | writes |\n| `os.Getenv` | reads |", "the order of the lines"},
		{"a package that is not imported", "## Packages\n\n", "## Packages\n\n- `bytes`\n", "- - `bytes`"},
		{"no reason", "removes the file x", "?", "does not say all: | `f` | writes `os.Remove(x)` | ? |"},
		{"no reason for a variable", "nothing writes to it", "x", "does not say all: | `v` | `int` | x |"},
		{"no kind", "| `os.Remove` | writes |", "| `os.Remove` | ? |", "does not say all: | `os.Remove` | ? |"},
		{"an unknown kind", "| `os.Remove` | writes |", "| `os.Remove` | harmless |",
			"does not say all: | `os.Remove` | harmless |"},
		{"README.md without a section", "### What", "### Where", "README.md has no section"},
		{"README.md without a function", "| `f` | a file |", "", "README.md does not name f, which lets something out"},
		{"README.md with a function that is not there", "| `f` | a", "| `f`, `h` | a", "README.md names h, which"},
		{"README.md without a variable", "`HOME`\n###", "###", `README.md does not say that g looks at "HOME"`},
		{"README.md with a variable too many", "`HOME`\n###", "`HOME`, `PATH`\n###",
			"README.md names PATH, which is not looked at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			texts := []string{source, page, readme}
			changed := 0
			for i, text := range texts {
				if tt.old != "" && strings.Contains(text, tt.old) {
					texts[i] = strings.Replace(text, tt.old, tt.new, 1)
					changed++
				}
			}
			if changed != min(1, len(tt.old)) {
				t.Fatalf("%d texts were changed", changed)
			}
			read := readAuditPage(texts[1])
			audited := auditText(t, texts[0])
			after := read.write(audited)
			faults := slices.Concat(auditGaps(texts[1]), auditReadme(texts[2], read, audited))
			if diff := auditDiff(texts[1], after); diff != "" {
				faults = append(faults, diff)
			}
			got := strings.Join(faults, "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

// auditText returns what a text uses that is the source of a package.
func auditText(t testing.TB, text string) *auditedSource {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "x.go", "package oauth2; "+text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return auditSource(t, set, map[string]*ast.File{"x.go": file})
}

// An auditedSource is what the source of a package uses, in the order of the source.
type auditedSource struct {
	imports   []string // paths
	rows      []auditRow
	variables []auditVariable
}

// An auditRow has what one function uses, or the declaration of one variable or type.
type auditRow struct {
	file, owner string
	uses        []auditUse
}

type auditUse struct {
	name     string // such as os.Getenv(HOME), where the argument is a constant, or net.Listen
	path     string // of the package that has it
	isAlways bool   // also if that package is one that only computes
}

type auditVariable struct{ name, typ string }

// auditSource type-checks files and returns what they use.
func auditSource(t testing.TB, set *token.FileSet, files map[string]*ast.File) *auditedSource {
	t.Helper()
	if _, err := os.Stat(filepath.Join(build.Default.GOROOT, "src", "net", "http")); err != nil {
		t.Skip("the source of the standard library is not here:", err)
	}
	names := slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		return cmp.Or(cmp.Compare(auditOrder(a), auditOrder(b)), strings.Compare(a, b))
	})
	var syntax []*ast.File
	for _, name := range names {
		syntax = append(syntax, files[name])
	}
	a := &auditor{
		args: map[*ast.Ident]string{},
		info: types.Info{
			Uses:  map[*ast.Ident]types.Object{},
			Defs:  map[*ast.Ident]types.Object{},
			Types: map[ast.Expr]types.TypeAndValue{},
		},
	}
	conf := types.Config{Importer: auditImporter}
	var err error
	a.pkg, err = conf.Check("example.com/oauth2", set, syntax, &a.info)
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range syntax {
		for _, decl := range file.Decls {
			a.declaration(names[i], decl)
		}
	}
	for _, p := range a.pkg.Imports() {
		a.imports = append(a.imports, p.Path())
	}
	slices.Sort(a.imports)
	for _, selector := range a.unresolved {
		t.Errorf("%s: %s has no type", set.Position(selector.Pos()), selector.Name)
	}
	return &a.auditedSource
}

// auditOrder returns where a file stands in the order in which the package is read.
func auditOrder(name string) int {
	return slices.Index([]string{"oauth2.go", "jwt.go", "secrets.go", "credentials.go", "serviceaccount.go", "flow.go",
		"installed.go"}, name)
}

type auditor struct {
	auditedSource
	pkg        *types.Package
	info       types.Info
	args       map[*ast.Ident]string // by the name of the function that gets it: its first argument, a constant
	unresolved []*ast.Ident
}

// declaration adds what one declaration of the package uses, and the variables that it declares.
func (a *auditor) declaration(file string, decl ast.Decl) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		owner := decl.Name.Name
		if decl.Recv != nil {
			owner = apiReceiver(decl) + "." + owner
		}
		a.row(file, owner, decl)
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				a.row(file, spec.Name.Name, spec)
			case *ast.ValueSpec:
				a.row(file, spec.Names[0].Name, spec)
				for _, id := range spec.Names {
					if v, ok := a.info.Defs[id].(*types.Var); ok && id.Name != "_" {
						typ := types.TypeString(v.Type(), func(p *types.Package) string {
							return strings.TrimSuffix(p.Name(), a.pkg.Name())
						})
						a.variables = append(a.variables, auditVariable{id.Name, strings.ReplaceAll(typ, "|", `\|`)})
					}
				}
			}
		}
	}
}

// row adds a row of what node uses.
func (a *auditor) row(file, owner string, node ast.Node) {
	row := auditRow{file: file, owner: owner}
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			row.uses = append(row.uses, auditUse{name: "go", isAlways: true})
		case *ast.CallExpr:
			a.argument(n)
		case *ast.SelectorExpr:
			if a.info.Uses[n.Sel] == nil {
				a.unresolved = append(a.unresolved, n.Sel)
			}
		case *ast.Ident:
			if use := a.use(a.info.Uses[n]); use.name != "" {
				if arg := a.args[n]; arg != "" && (use.path == "os" || use.path == "os/exec") {
					use.name += "(" + arg + ")"
				}
				row.uses = append(row.uses, use)
			}
		}
		return true
	})
	a.rows = append(a.rows, row)
}

// argument notes the first argument of a call, if it is a constant text without a space.
func (a *auditor) argument(call *ast.CallExpr) {
	if len(call.Args) == 0 {
		return
	}
	value := a.info.Types[call.Args[0]].Value
	if value == nil || value.Kind() != constant.String || strings.ContainsAny(constant.StringVal(value), " `|") {
		return
	}
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		a.args[fun] = constant.StringVal(value)
	case *ast.SelectorExpr:
		a.args[fun.Sel] = constant.StringVal(value)
	}
}

// use returns the use that a mention of obj is, or none, if obj does not act, or is the package's own. Constants,
// errors and types other than structs do not act. Neither do interfaces, but their methods do. Of the package's own,
// the secrets, the methods of interfaces and the functions that the program gives it are uses.
func (a *auditor) use(obj types.Object) auditUse {
	if obj == nil {
		return auditUse{}
	}
	if b, ok := obj.(*types.Builtin); ok && (b.Name() == "print" || b.Name() == "println") {
		return auditUse{name: b.Name(), isAlways: true}
	}
	if obj.Pkg() == nil {
		return auditUse{}
	}
	isOwn := obj.Pkg() == a.pkg
	use := auditUse{name: obj.Pkg().Name() + "." + obj.Name(), path: obj.Pkg().Path(), isAlways: isOwn}
	switch obj := obj.(type) {
	case *types.TypeName:
		_, isStruct := obj.Type().Underlying().(*types.Struct)
		if isOwn || !isStruct || auditIsError(obj.Type()) {
			return auditUse{}
		}
	case *types.Var:
		switch {
		case obj.IsField():
			owner := auditFieldOwner(obj)
			_, isFunc := obj.Type().Underlying().(*types.Signature)
			isGiven := obj.Exported() || owner == "Secret"
			if !isFunc || isOwn && !isGiven {
				return auditUse{}
			}
			use.name = auditQualified(obj, owner, isOwn)
		case isOwn || obj.Parent() != obj.Pkg().Scope() || auditIsError(obj.Type()):
			return auditUse{}
		}
	case *types.Func:
		signature := obj.Origin().Signature()
		if recv := signature.Recv(); recv != nil {
			owner := auditReceiver(recv.Type())
			if isOwn && !types.IsInterface(recv.Type()) && owner+"."+obj.Name() != "Secret.Reveal" {
				return auditUse{}
			}
			use.name = auditQualified(obj, owner, isOwn)
		} else if isOwn {
			return auditUse{}
		}
		for v := range signature.Params().Variables() {
			// What writes to it, or may call it on a goroutine, does not only compute.
			typ := types.TypeString(v.Type(), nil)
			use.isAlways = use.isAlways || typ == "io.Writer" || typ == "func()"
		}
	default:
		return auditUse{}
	}
	return use
}

func auditQualified(obj types.Object, owner string, isOwn bool) string {
	if isOwn {
		return owner + "." + obj.Name()
	}
	return obj.Pkg().Name() + "." + owner + "." + obj.Name()
}

// auditReceiver returns the name of the type that a method belongs to.
func auditReceiver(typ types.Type) string {
	if p, ok := typ.(*types.Pointer); ok {
		typ = p.Elem()
	}
	if named, ok := typ.(*types.Named); ok {
		return named.Obj().Name()
	}
	return "interface"
}

// auditFieldOwner returns the name of the type that declares a field.
func auditFieldOwner(field *types.Var) string {
	scope := field.Pkg().Scope()
	for _, name := range scope.Names() {
		if typ, ok := scope.Lookup(name).(*types.TypeName); ok {
			if s, ok := typ.Type().Underlying().(*types.Struct); ok {
				for f := range s.Fields() {
					if f.Origin() == field.Origin() {
						return name
					}
				}
			}
		}
	}
	return "struct"
}

func auditIsError(typ types.Type) bool {
	universe := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	return types.Implements(typ, universe) || types.Implements(types.NewPointer(typ), universe)
}

// auditImporter imports packages of the standard library from their source, all for one system, so that the map is the
// same everywhere. What is internal to it is left out, which is three quarters of the time: the names that others use
// are there all the same, and a selector of the package that got no type is a fault.
var auditImporter = &sourceImporter{set: token.NewFileSet(), packages: map[string]*types.Package{}}

type sourceImporter struct {
	mu       sync.Mutex
	set      *token.FileSet
	packages map[string]*types.Package
}

// Import implements types.Importer.
func (s *sourceImporter) Import(name string) (*types.Package, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return importFunc(s.load).Import(name)
}

type importFunc func(name string) (*types.Package, error)

func (f importFunc) Import(name string) (*types.Package, error) { return f(name) }

func (s *sourceImporter) load(name string) (*types.Package, error) {
	if name == "unsafe" {
		return types.Unsafe, nil
	}
	if p := s.packages[name]; p != nil {
		return p, nil
	}
	if strings.Contains(name, "internal") || strings.HasPrefix(name, "golang.org/") {
		s.packages[name] = types.NewPackage(name, path.Base(name))
		s.packages[name].MarkComplete()
		return s.packages[name], nil
	}
	system := build.Default
	system.GOOS, system.GOARCH, system.CgoEnabled = "linux", "amd64", false
	dir := filepath.Join(system.GOROOT, "src", name)
	found, err := system.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, name := range found.GoFiles {
		file, err := parser.ParseFile(s.set, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	conf := types.Config{Importer: importFunc(s.load), IgnoreFuncBodies: true, Error: func(error) {}}
	s.packages[name], _ = conf.Check(name, s.set, files, nil)
	return s.packages[name], nil
}

// auditKinds are what a name can do, in the order in which a row has them.
var auditKinds = []string{"sends", "listens", "starts", "signals", "writes", "reads", "calls", "begins", "reveals", "?"}

// auditLeaving is how many of the kinds have to be in README.md: what goes out, not what comes in.
const auditLeaving = 5

// auditNothing is the kind of a name that has no effect outside.
const auditNothing = "nothing"

// An auditPage is what people have written on testdata/audit.md.
type auditPage struct {
	intro    string
	packages []string          // that only compute
	kinds    map[string]string // of names
	why      map[string]string // of functions, and after "var " of variables
}

var (
	auditTitle = regexp.MustCompile(`^## (.*)$`)
	auditCode  = regexp.MustCompile("`([^`]+)`")
)

// readAuditPage reads a page.
func readAuditPage(text string) *auditPage {
	p := &auditPage{kinds: map[string]string{}, why: map[string]string{}}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		code := ""
		if m := auditCode.FindStringSubmatch(cells[0]); m != nil && strings.HasPrefix(line, "| ") {
			code = m[1]
		}
		last := cells[len(cells)-1]
		switch title := auditTitle.FindStringSubmatch(line); {
		case title != nil:
			section = title[1]
		case section == "":
			p.intro += line + "\n"
		case section == "Packages":
			for _, m := range auditCode.FindAllStringSubmatch(line, -1) {
				p.packages = append(p.packages, m[1])
			}
		case code == "":
		case section == "Names":
			p.kinds[code] = last
		case section == "Variables":
			p.why["var "+code] = last
		default:
			p.why[code] = last
		}
	}
	return p
}

// kind returns what a use does.
func (p *auditPage) kind(use auditUse) string {
	name, _, _ := strings.Cut(use.name, "(")
	if !use.isAlways && slices.Contains(p.packages, use.path) {
		return auditNothing
	}
	return cmp.Or(p.kinds[name], "?")
}

// uses returns the names that a row has, sorted, and how often each.
func (p *auditPage) uses(row auditRow) (names []string) {
	return p.usesOf(row, auditKinds...)
}

func (p *auditPage) usesOf(row auditRow, kinds ...string) (names []string) {
	count := map[string]int{}
	for _, use := range row.uses {
		if slices.Contains(kinds, p.kind(use)) {
			count[use.name]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if count[name] > 1 {
			name = fmt.Sprintf("%s ×%d", name, count[name])
		}
		names = append(names, name)
	}
	return names
}

// write returns the page that fits source, with a ? for what nobody has said yet.
func (p *auditPage) write(source *auditedSource) string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(p.intro) + "\n")
	file, kinds := "", map[string]string{}
	for _, row := range source.rows {
		for _, use := range row.uses {
			name, _, _ := strings.Cut(use.name, "(")
			if use.isAlways || !slices.Contains(p.packages, use.path) {
				kinds[name] = p.kind(use)
			}
		}
		var parts []string
		for _, kind := range auditKinds {
			if names := p.usesOf(row, kind); names != nil {
				part := kind + " `" + strings.Join(names, "`, `") + "`"
				parts = append(parts, regexp.MustCompile("( ×[0-9]+)`").ReplaceAllString(part, "`$1"))
			}
		}
		if parts == nil {
			continue
		}
		if row.file != file {
			file = row.file
			fmt.Fprintf(&b, "\n## %s\n\n| function | what it does outside, and with which names | what for |\n"+
				"| --- | --- | --- |\n", file)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", row.owner, strings.Join(parts, "; "), cmp.Or(p.why[row.owner], "?"))
	}
	b.WriteString("\n## Variables\n\n| variable | type | why it does not change |\n| --- | --- | --- |\n")
	for _, v := range source.variables {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.name, v.typ, cmp.Or(p.why["var "+v.name], "?"))
	}
	b.WriteString("\n## Names\n\n| name | what it does |\n| --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, kinds[name])
	}
	b.WriteString("\n## Packages\n\n")
	for _, name := range source.imports {
		if slices.Contains(p.packages, name) {
			fmt.Fprintf(&b, "- `%s`\n", name)
		}
	}
	return b.String()
}

// auditDiff returns the lines to remove from a page, and those to add.
func auditDiff(before, after string) string {
	diff := apiDiff(strings.Split(before, "\n"), strings.Split(after, "\n"))
	if diff == nil && before != after {
		return "the order of the lines"
	}
	return strings.Join(diff, "\n")
}

// auditGaps returns the lines of a page that do not say what a name does, what a function uses it for, or why a
// variable does not change.
func auditGaps(page string) (faults []string) {
	kinds := append(slices.Clone(auditKinds), auditNothing)
	section := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if title := auditTitle.FindStringSubmatch(line); title != nil {
			section = title[1]
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		last := cells[len(cells)-1]
		isGap := len(last) < 10 || strings.Contains(line, " ? ")
		if section == "Names" {
			isGap = last == "?" || !slices.Contains(kinds, last)
		}
		if strings.HasPrefix(line, "| `") && isGap {
			faults = append(faults, auditFile+" does not say all: "+line)
		}
	}
	return faults
}

// auditReadme returns what is wrong with what README.md says leaves the process: a function that does not exist or lets
// nothing out, one that is missing, and a variable of the environment that is not looked at, or is missing.
func auditReadme(readme string, page *auditPage, source *auditedSource) (faults []string) {
	const title = "### What leaves the process, and where\n"
	_, section, found := strings.Cut(strings.ReplaceAll(readme, "\r", ""), title)
	if !found {
		return []string{"README.md has no section " + title}
	}
	section, _, _ = strings.Cut(section, "\n### ")
	named, variables := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(section) {
		cell, isRow := strings.CutPrefix(line, "| ")
		cell, _, _ = strings.Cut(cell, "|")
		for _, m := range auditCode.FindAllStringSubmatch(cell, -1) {
			named[m[1]] = isRow || named[m[1]]
			if !isRow && regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`).MatchString(m[1]) {
				variables[m[1]] = true
			}
		}
	}
	for _, row := range source.rows {
		if row.uses == nil {
			continue
		}
		isEgress := page.usesOf(row, auditKinds[:slices.Index(auditKinds, "begins")]...) != nil
		if page.usesOf(row, auditKinds[:auditLeaving]...) != nil && !named[row.owner] {
			faults = append(faults, "README.md does not name "+row.owner+", which lets something out of the process")
		}
		if isEgress {
			delete(named, row.owner)
		}
		for _, use := range row.uses {
			function, name, _ := strings.Cut(strings.TrimSuffix(use.name, ")"), "(")
			isLookUp := function == "os.Getenv" || function == "os.LookupEnv"
			if function == "exec.LookPath" {
				name, isLookUp = "PATH", true
			}
			if _, ok := variables[name]; isLookUp && !ok {
				faults = append(faults, fmt.Sprintf("README.md does not say that %s looks at %q in the environment",
					row.owner, name))
			}
			if isLookUp {
				variables[name] = false
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if named[name] {
			faults = append(faults, "README.md names "+name+", which does not exist or lets nothing out")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if variables[name] {
			faults = append(faults, "README.md names "+name+", which is not looked at in the environment")
		}
	}
	return faults
}
