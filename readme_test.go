package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A readmeBlock is code of README.md.
type readmeBlock struct{ section, code string }

// A readmeWrapper says what the code of one section lacks to be compiled. There is one for each block, in their order.
type readmeWrapper struct {
	section string
	given   string // parameters of the function around statements
	after   string // declarations
}

var readmeWrappers = []readmeWrapper{
	{section: "Quick start"},
	{section: "Any provider", given: "ctx context.Context, id, secret string"},
	{section: "Many machines", after: "var _ oauth2.Store = Store(nil)\nvar _ Store = oauth2.Store(nil)"},
	{section: "Servers", given: "ctx context.Context"},
	{section: "Servers", given: "client *oauth2.ClientSecrets, src oauth2.TokenSource, scope string"},
	{section: "ID tokens", given: "ctx context.Context, client *oauth2.ClientSecrets, raw string"},
	{section: "Errors, and what to do", given: "err error"},
}

// readmeElsewhere has the sections whose code needs other modules, and is copied from the files of a folder.
var readmeElsewhere = map[string]string{"With Google's clients and others": ".ci/ecosystem"}

// readmeImports has the packages that the code uses without importing them.
var readmeImports = map[string]string{"context": "context", "errors": "errors", "oauth2": "example.com/oauth2"}

// TestReadmeCode compiles all Go code of README.md in a module that has the package in its folder vendor, without a
// network, as a program that uses it is compiled. It runs the quick start three times: the first run signs in at a
// server within the test, the second one uses what is stored, and so does the third, whose access token the server
// refuses. UP21
func TestReadmeCode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks, faults := readmeBlocks(string(text))
	files, more := readmeFiles(blocks, readmeWrappers)
	for _, fault := range slices.Concat(faults, more) {
		t.Error(fault)
	}
	if t.Failed() {
		return
	}
	// The program's API is the server within the test. It is all that is not as README.md has it.
	const api = "https://openidconnect.googleapis.com/v1/userinfo"
	const name = "quick-start/main.go"
	s := NewTestServer(t)
	if strings.Count(files[name], api) != 1 {
		t.Fatalf("the quick start has to ask %s", api)
	}
	files[name] = strings.Replace(files[name], api, s.URL+"/userinfo", 1)
	dir := readmeModule(t, files)
	// With -o, only programs are compiled.
	if out, err := readmeGo(t, dir, "build", "-ldflags=-s -w", "-o", "quick-start.exe", "./quick-start"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	delete(files, name)
	if out := readmeCompile(t, dir, files); out != "" {
		t.Fatal(out)
	}
	readmeQuickStart(t, s, filepath.Join(dir, "quick-start.exe"))
	readmeFails(t, dir) // here, since the package is compiled already
}

// readmeQuickStart runs the program of the quick start at a server.
func readmeQuickStart(t *testing.T, s *TestServer, program string) {
	t.Helper()
	home := privateDir(t)
	config := filepath.Join(home, "config")
	client := s.ClientSecretsJSON("installed")
	if err := os.WriteFile(filepath.Join(home, "client_secrets.json"), client, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name            string
		refuses         bool // the server refuses the access token that was stored
		signIns, tokens int  // requests until then, for a sign-in and for tokens
	}{
		{"the first run signs in", false, 1, 1},
		{"the second run reads what is stored", false, 1, 1},
		{"the third run refreshes", true, 1, 2},
	} {
		if tt.refuses {
			s.ExpireAccessTokens()
		}
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Dir = home
		// No path, and so no browser but the one that the test plays.
		cmd.Env = []string{"PATH=", "SSH_CONNECTION=1", "HOME=" + home, "XDG_CONFIG_HOME=" + config,
			"AppData=" + config, "SystemRoot=" + os.Getenv("SystemRoot")}
		var stdout bytes.Buffer
		stderr := &browsingWriter{open: s.Browser}
		cmd.Stdout, cmd.Stderr = &stdout, stderr
		err := errors.Join(cmd.Run(), stderr.err)
		var person struct{ Sub, Email string }
		if err = errors.Join(err, json.Unmarshal(stdout.Bytes(), &person)); err != nil {
			t.Fatalf("%s: %v\n%s\n%s", tt.name, err, stdout.Bytes(), stderr.text)
		}
		if person.Sub != s.Subject || person.Email != s.Email {
			t.Errorf("%s: it printed %s", tt.name, stdout.Bytes())
		}
		if n := s.Count("/authorize"); n != tt.signIns {
			t.Errorf("%s: %d sign-ins until then, want %d", tt.name, n, tt.signIns)
		}
		if n := s.Count("/token"); n != tt.tokens {
			t.Errorf("%s: %d requests for tokens until then, want %d", tt.name, n, tt.tokens)
		}
		noSecret(t, stdout.String()+string(stderr.text), s.ClientSecret)
	}
	if status, _, body := s.Page(); status != http.StatusOK {
		t.Errorf("the browser got %d %s", status, body)
	}
	var stored []string
	filepath.WalkDir(home, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "credentials.json" {
			stored = append(stored, name)
		}
		return err
	})
	if len(stored) != 1 || filepath.Base(filepath.Dir(stored[0])) != "app" {
		t.Errorf("the credentials are stored in %q", stored)
	}
}

// A browsingWriter opens the first URL that is written to it, as the user would.
type browsingWriter struct {
	open func(url string) error
	text []byte
	done bool
	err  error
}

func (w *browsingWriter) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	if m := regexp.MustCompile(`(?m)^ +(http\S+)\n`).FindSubmatch(w.text); m != nil && !w.done {
		w.done = true
		w.err = w.open(string(m[1]))
	}
	return len(p), nil
}

// readmeFails has a row for each way in which code of README.md could be wrong, or escape TestReadmeCode. It compiles
// all of them in the module in dir.
func readmeFails(t *testing.T, dir string) {
	t.Helper()
	wrapper := readmeWrapper{section: "A", given: "ctx context.Context, client *oauth2.ClientSecrets"}
	const good = "## A\n\n```go\nerr := client.Discover(ctx, \"\")\n```\n"
	tests := []struct{ name, text, want string }{
		{"nothing is wrong", good, ""},
		{"declarations", "## A\n\n```go\nfunc f(client *oauth2.ClientSecrets) { client.Type = \"\" }\n```\n", ""},
		{"a program", "## A\n\n```go\npackage main\n\nfunc main() {\n}\n```\n", ""},
		{"a diagram", good + "```mermaid\nA->>B: oauth2.NewClient\n```\n", ""},
		{"a method that does not exist", strings.Replace(good, "Discover", "Find", 1), "client.Find undefined"},
		{"a name that nobody declares", strings.Replace(good, "ctx,", "c,", 1), "undefined: c"},
		{"too few results", strings.Replace(good, "err :=", "err, x :=", 1), "assignment mismatch"},
		{"a syntax error", strings.Replace(good, "\"\")", "\"\"", 1), "syntax error"},
		{"a declaration that is wrong", "## A\n\n```go\nvar x oauth2.Tokens\n```\n", "undefined: oauth2.Tokens"},
		{"a block more", good + good, "section A has more Go blocks"},
		{"a block less", "## A\n", "section A has no Go block"},
		{"another section", strings.Replace(good, "## A", "## B", 1), "section B has more Go blocks"},
		{"another spelling", good + "```Go\nx\n```\n", "line 6: a block of an unknown language: ```Go"},
		{"no language", good + "```\noauth2.X\n```\n", "line 6: a block of an unknown language: ```"},
		{"other fences", good + "~~~go\nx\n~~~\n", "line 6: a block of an unknown language: ~~~go"},
		{"an indented fence", good + "  ```go\n  x\n  ```\n", "line 6: a block of an unknown language: ```go"},
		{"indented code", good + "\n    oauth2.NewClient(creds)\n", "line 7: indented code"},
		{"a block without an end", good + "```go\nx\n", "the last block has no end"},
	}
	all, files := map[string]string{}, map[int]string{}
	faults := make([][]string, len(tests))
	for i, tt := range tests {
		blocks, found := readmeBlocks(tt.text)
		wrapped, more := readmeFiles(blocks, []readmeWrapper{wrapper})
		faults[i] = slices.Concat(found, more)
		for _, code := range wrapped {
			files[i] = fmt.Sprintf("wrong/row%d/main.go", i)
			all[files[i]] = code
		}
	}
	writeFiles(t, dir, all)
	out := readmeCompile(t, dir, all)
	for i, tt := range tests {
		for line := range strings.Lines(filepath.ToSlash(out)) {
			if files[i] != "" && strings.Contains(line, files[i]+":") {
				faults[i] = append(faults[i], strings.TrimSpace(line))
			}
		}
		got := strings.Join(faults[i], "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
}

// readmeBlocks returns the Go code of a text, and what could be code that nobody compiles.
func readmeBlocks(text string) (blocks []readmeBlock, faults []string) {
	section, language, n := "", "", 0
	var code strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(text, "\r", "")) {
		n++
		trimmed := strings.TrimSpace(line)
		isFence := strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~")
		switch {
		case language != "" && line == "```\n":
			if language == "go" {
				blocks = append(blocks, readmeBlock{section, code.String()})
			}
			language = ""
			code.Reset()
		case language != "":
			code.WriteString(line)
		case line == "```go\n" || line == "```mermaid\n":
			language = strings.TrimPrefix(trimmed, "```")
		case isFence:
			faults = append(faults, fmt.Sprintf("README.md, line %d: a block of an unknown language: %s", n, trimmed))
			language = "unknown"
		case strings.HasPrefix(line, "#"):
			section = strings.TrimLeft(trimmed, "# ")
		case strings.HasPrefix(line, "    ") && strings.Contains(line, "oauth2."):
			faults = append(faults, fmt.Sprintf("README.md, line %d: indented code: %s", n, trimmed))
		}
	}
	if language != "" {
		faults = append(faults, "README.md: the last block has no end")
	}
	return blocks, faults
}

// readmeFiles returns the source files that blocks become, by their names. Blocks and wrappers have to match, one by
// one.
func readmeFiles(blocks []readmeBlock, wrappers []readmeWrapper) (files map[string]string, faults []string) {
	files = map[string]string{}
	for _, b := range blocks {
		if folder := readmeElsewhere[b.section]; folder != "" {
			faults = append(faults, readmeCopied(b, folder)...)
			continue
		}
		if len(wrappers) == 0 || wrappers[0].section != b.section {
			faults = append(faults, "README.md: section "+b.section+" has more Go blocks than readmeWrappers")
			continue
		}
		name := strings.ToLower(regexp.MustCompile(`\W+`).ReplaceAllString(b.section, "-"))
		for files[name+"/main.go"] != "" {
			name += "x"
		}
		files[name+"/main.go"] = wrappers[0].wrap(b.code)
		wrappers = wrappers[1:]
	}
	for _, w := range wrappers {
		faults = append(faults, "README.md: section "+w.section+" has no Go block for readmeWrappers")
	}
	return files, faults
}

// wrap returns a source file that has code in it: a program, declarations, or statements. Each variable that statements
// declare counts as used.
func (w readmeWrapper) wrap(code string) string {
	parse := func(text string) (*ast.File, error) {
		return parser.ParseFile(token.NewFileSet(), "", text, parser.SkipObjectResolution)
	}
	if _, err := parse(code); err == nil {
		return code
	}
	body := code + w.after
	if _, err := parse("package p\n" + code); err != nil {
		body = "func _(" + w.given + ") {\n" + code
		if file, err := parse("package p\n" + body + "}\n"); err == nil {
			for _, stmt := range file.Decls[0].(*ast.FuncDecl).Body.List {
				if assign, ok := stmt.(*ast.AssignStmt); ok && assign.Tok == token.DEFINE {
					for _, x := range assign.Lhs {
						body += "_ = " + x.(*ast.Ident).Name + "\n"
					}
				}
			}
		}
		body += "}\n"
	}
	var head strings.Builder
	head.WriteString("package p\n\n")
	for name, imported := range readmeImports {
		if regexp.MustCompile(`\b` + name + `\.`).MatchString(body) {
			head.WriteString("import " + name + " \"" + imported + "\"\n")
		}
	}
	return head.String() + body + "\n"
}

// readmeCopied returns the paragraphs of a block that no Go file of a folder has, to the letter.
func readmeCopied(b readmeBlock, folder string) (faults []string) {
	names, _ := filepath.Glob(filepath.Join(folder, "*.go"))
	var sources strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			faults = append(faults, err.Error())
		}
		sources.Write(text)
	}
	source := strings.ReplaceAll(sources.String(), "\r", "")
	for part := range strings.SplitSeq(strings.TrimSpace(b.code), "\n\n") {
		if !strings.Contains(source, "\n"+part+"\n") {
			faults = append(faults, fmt.Sprintf("README.md, %s: not in %s:\n%s", b.section, folder, part))
		}
	}
	return faults
}

// readmeModule returns the folder of a module that has files, and the package in its folder vendor, as "go mod vendor"
// leaves it there.
func readmeModule(t testing.TB, files map[string]string) string {
	t.Helper()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)`).FindSubmatch(mod)[1]
	const module = "example.com/oauth2"
	all := map[string]string{
		"go.mod":             fmt.Sprintf("module readme.example\n\ngo %s\n\nrequire %s v0.0.0\n", version, module),
		"vendor/modules.txt": fmt.Sprintf("# %s v0.0.0\n## explicit; go %s\n%[1]s\n", module, version),
	}
	for name, text := range sourceOfPackage(t).text {
		all["vendor/example.com/oauth2/"+name] = text
	}
	dir := t.TempDir()
	writeFiles(t, dir, all)
	writeFiles(t, dir, files)
	return dir
}

// writeFiles writes files, given by their names in a folder, and makes the folders.
func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// readmeCompile compiles the packages that files are in, in a module, and returns what is wrong with them.
func readmeCompile(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	args := []string{"build"}
	for name := range files {
		args = append(args, "./"+path.Dir(name))
	}
	out, err := readmeGo(t, dir, args...)
	if err != nil {
		return fmt.Sprintf("%v\n%s", err, out)
	}
	return ""
}

// readmeGo runs the go command in a module, without a network.
func readmeGo(t testing.TB, dir string, args ...string) (out string, err error) {
	t.Helper()
	command, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command:", err)
	}
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=vendor", "GOPROXY=off", "GOWORK=off", "GOTOOLCHAIN=local")
	text, err := cmd.CombinedOutput()
	return string(text), err
}
