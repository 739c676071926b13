package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestBounds measures a package at each bound, which passes, and one just past
// it, which fails for that reason alone.
func TestBounds(t *testing.T) {
	t.Parallel()
	one := func(format string, args ...any) map[string]string {
		return map[string]string{"oauth2.go": "package p\n" + fmt.Sprintf(format, args...)}
	}
	repeat := strings.Repeat
	tests := []struct {
		name     string
		at, past map[string]string
		want     string
	}{
		{
			name: "tokens of the package",
			at:   spread(maxPackageTokens),
			past: spread(maxPackageTokens + 1),
			want: fmt.Sprintf("the package has %d tokens, at most %d", maxPackageTokens+1, maxPackageTokens),
		},
		{
			name: "tokens of a file",
			at:   map[string]string{"jwt.go": declare(6500)},
			past: map[string]string{"jwt.go": declare(6501)},
			want: "jwt.go has 6501 tokens, at most 6500",
		},
		{
			name: "tokens of a function", // six, and the empty statements
			at:   one("func f() {\n%s;;\n}\n", repeat(";;;;;;\n", 57)),
			past: one("func f() {\n%s;;;\n}\n", repeat(";;;;;;\n", 57)),
			want: "oauth2.go: f has 351 tokens, at most 350",
		},
		{
			name: "tokens of a method",
			at:   one("type T int\nfunc (T) f() {\n%s;;;;;\n}\n", repeat(";;;;;;\n", 56)),
			past: one("type T int\nfunc (T) f() {\n%s;;;;;;\n}\n", repeat(";;;;;;\n", 56)),
			want: "oauth2.go: (T).f has 351 tokens, at most 350",
		},
		{
			name: "lines of a function",
			at:   one("func f() {%s}\n", repeat("\n", 59)),
			past: one("func f() {%s}\n", repeat("\n", 60)),
			want: "oauth2.go: f has 61 lines, at most 60",
		},
		{
			name: "lines of a variable that is a function",
			at:   one("var v = func() {%s}\n", repeat("\n", 59)),
			past: one("var v = func() {%s}\n", repeat("\n", 60)),
			want: "oauth2.go: v has 61 lines, at most 60",
		},
		{
			name: "complexity of a function",
			at:   one("func f() {\n%s}\n", repeat("for {\n}\n", 15)),
			past: one("func f() {\n%s}\n", repeat("for {\n}\n", 16)),
			want: "oauth2.go: f has a cognitive complexity of 16, at most 15",
		},
		{
			name: "tokens a line",
			at:   one("func f() {\n%[1]s\n%[1]s\n}\n", repeat(";", 14)),
			past: one("func f() {\n%[1]s\n%[1]s;\n}\n", repeat(";", 14)),
			want: "the package has 7.400 tokens a line, at most 7.2",
		},
		{
			name: "width of code",
			at:   one("var (\n\ts = `%s`\n)\n", repeat("é", 90)),
			past: one("var (\n\ts = `%s`\n)\n", repeat("é", 91)),
			want: "oauth2.go has 1 lines of code over 100 columns: [3]",
		},
		{
			name: "width of code with a comment behind it",
			at:   one("var v int // %s\n", repeat("x", 87)),
			past: one("var v int // %s\n", repeat("x", 88)),
			want: "oauth2.go has 1 lines of code over 100 columns: [2]",
		},
		{
			name: "width of a comment",
			at:   one("func f() {\n\t\t// %s\n}\n", repeat("é", 77)),
			past: one("func f() {\n\t\t// %s\n}\n", repeat("é", 78)),
			want: "oauth2.go has 1 lines of comment over 80 columns: [3]",
		},
		{
			name: "order of reading",
			at:   map[string]string{"jwt.go": "package p\nvar a = 1\n", "secrets.go": "package p\nvar b = a + a\n"},
			past: map[string]string{"secrets.go": "package p\nvar a = 1\n", "jwt.go": "package p\nvar b = a + a\n"},
			want: "jwt.go: b uses a, which secrets.go declares later (references: 2)",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := faults(t, tt.at); len(got) != 0 {
				t.Errorf("at the bound: %q", got)
			}
			if got := faults(t, tt.past); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("past the bound: %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestNotCounted has what may be wide, since it can't be broken.
func TestNotCounted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	for _, text := range []string{
		"// https://example.com/" + long,
		"var s = `" + long + "\n" + long + "\n" + long + "`",
	} {
		got := faults(t, map[string]string{"oauth2.go": "package p\n\n" + text + "\n"})
		if len(got) != 0 {
			t.Errorf("%q", got)
		}
	}
}

// TestSizes compares what is counted in a file with what a reader counts.
func TestSizes(t *testing.T) {
	t.Parallel()
	text := "// Package p.\n" +
		"package p\n" +
		"\n" +
		"/* two lines,\nand no more */\n" +
		"var s = `a\n\nb` // behind code\n" +
		"func f() { return }\n"
	p, err := measure(map[string]string{"oauth2.go": text})
	if err != nil {
		t.Fatal(err)
	}
	f := p.files[0]
	if len(f.tokens) != 13 || f.codeLines != 5 || f.commentLines != 3 {
		t.Errorf("%d tokens, %d lines of code, %d of comments, want 13, 5, 3",
			len(f.tokens), f.codeLines, f.commentLines)
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 26041: "26,041"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

// TestComplexity has the rules of SonarSource's paper.
func TestComplexity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		want       int
	}{
		{"nothing", "", 0},
		{"if", "if a {\n}", 1},
		{"else", "if a {\n} else {\n}", 2},
		{"else if", "if a {\n} else if b {\n} else if c {\n} else {\n}", 4},
		{"if in else", "if a {\n} else {\nif b {\n}\n}", 4},
		{"else if in for", "for {\nif a {\n} else if b {\n}\n}", 4},
		{"if in else if", "if a {\n} else if b {\nif c {\n}\n}", 4},
		{"if in if in if", "if a {\nif b {\nif c {\n}\n}\n}", 6},
		{"if in for", "for a {\nif b {\n}\n}", 3},
		{"if in range", "for range 3 {\nif b {\n}\n}", 3},
		{"if in a block", "{\nif a {\n}\n}", 1},
		{"switch counts once", "switch {\ncase a:\ncase b:\ndefault:\n}", 1},
		{"if in switch", "switch n {\ncase 1:\nif a {\n}\n}", 3},
		{"if in type switch", "switch any(n).(type) {\ncase int:\nif a {\n}\n}", 3},
		{"if in select", "select {\ndefault:\nif a {\n}\n}", 3},
		{"if in a function literal", "func() {\nif a {\n}\n}()", 2},
		{"function literal alone", "func() {\n}()", 0},
		{"function literal in a condition", "if func() bool {\nif a {\n}\nreturn b\n}() {\n}", 3},
		{"return, break and continue", "for {\nbreak\ncontinue\nreturn\n}", 1},
		{"labels", "loop:\nfor {\nbreak loop\ncontinue loop\n}", 3},
		{"goto", "goto end\nend:", 1},
		{"like operators", "a = a && b && c", 1},
		{"operators that change", "a = a && b || c && d", 3},
		{"operators that change back", "a = a || b && c || d", 3},
		{"operators in parentheses", "a = a && (b && (c && d))", 1},
		{"other operators in parentheses", "a = a && (b || c)", 2},
		{"operators below a negation", "a = a && !(b && c)", 2},
		{"operators below a comparison", "a = a && (b == (c && d))", 2},
		{"operators of a condition", "if a && b || c {\n}", 3},
		{"operators of a case", "switch {\ncase a && b:\n}", 2},
		{"arithmetic", "n = n + n*n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := "package p\n\nfunc f(a, b, c, d bool, n int) {\n" + tt.body + "\n}\n"
			p, err := measure(map[string]string{"oauth2.go": text})
			if err != nil {
				t.Fatal(err)
			}
			if got := p.functions[0].complexity; got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestMeasureRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sources map[string]string
		want    string
	}{
		"no files":        {nil, "no files"},
		"an unknown file": {map[string]string{"more.go": "package p\n"}, "more.go has no place"},
		"no Go":           {map[string]string{"jwt.go": "pack p\n"}, "jwt.go:1:1"},
		"no such name":    {map[string]string{"jwt.go": "package p\nvar a = b\n"}, "undefined: b"},
	} {
		_, err := measure(tt.sources)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// faults returns what is out of bounds in a package.
func faults(t testing.TB, sources map[string]string) []string {
	t.Helper()
	p, err := measure(sources)
	if err != nil {
		t.Fatal(err)
	}
	return p.faults()
}

// declare returns a file with a number of tokens: two, then three to a
// declaration, or four where it ends in a semicolon.
func declare(tokens int) string {
	long := (tokens - 2) % 3
	short := (tokens - 2 - 4*long) / 3
	return "package p\n" + strings.Repeat("var _ int\n", short) + strings.Repeat("var _ int;\n", long)
}

// spread returns files with a number of tokens together, none of them too large.
func spread(tokens int) map[string]string {
	sources := make(map[string]string)
	rest := tokens
	for i, name := range readingOrder {
		n := rest / (len(readingOrder) - i)
		sources[name] = declare(n)
		rest -= n
	}
	return sources
}
