// Bounds measures what an auditor of the package has to read, and fails where
// it is too much at once:
//
//	bounds FILE...          prints a table, then each bound that is passed
//	bounds -table FILE...   prints the size table of README.md
//
// The files are those of one package, without its tests. What is bounded first
// is tokens, not lines: packing more onto a line does not save any. Comments
// are no tokens, and neither are the semicolons that a line break stands for.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readingOrder lists the files as they are read: each uses only those before
// it.
var readingOrder = []string{
	"oauth2.go",
	"jwt.go",
	"secrets.go",
	"credentials.go",
	"serviceaccount.go",
	"flow.go",
	"installed.go",
}

// The bounds: each is the highest value that passes.
const (
	maxPackageTokens  = 30_000
	maxFileTokens     = 6_500
	maxFunctionTokens = 350
	maxFunctionLines  = 60
	maxComplexity     = 15  // of a function
	maxDensity        = 7.2 // tokens a line of code, in the package
	maxCodeWidth      = 100 // columns of a line of code
	maxCommentWidth   = 80  // columns of a line of comment, without its indentation
)

// tabWidth is the number of columns that a tab takes.
const tabWidth = 4

func main() {
	log.SetFlags(0)
	log.SetPrefix("bounds: ")
	table := flag.Bool("table", false, "print the size table of README.md, and check nothing")
	flag.Parse()
	// Types are all that is wanted of package net, and its C parts add none.
	build.Default.CgoEnabled = false

	sources := make(map[string]string)
	for _, name := range flag.Args() {
		text, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		sources[filepath.Base(name)] = string(text)
	}
	p, err := measure(sources)
	if err != nil {
		log.Fatal(err)
	}
	if *table {
		p.printMarkdown()
		return
	}
	p.print()
	faults := p.faults()
	for _, fault := range faults {
		fmt.Println("out of bounds:", fault)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}

// A pkg is a package with all that is measured of it.
type pkg struct {
	files     []*file // in the order of reading
	functions []function
	upward    map[reference]int // references to a later file, and how often each is made
}

// A file is a source file with its size.
type file struct {
	name   string
	syntax *ast.File

	tokens       []int // their offsets, ascending
	codeLines    int   // lines with a token
	commentLines int   // lines with nothing but a comment
	wideCode     []int // the numbers of the lines that are too wide
	wideComments []int
}

// A function is a function, a method, or a package-level variable with a
// function literal in it.
type function struct {
	file, name string
	tokens     int
	lines      int
	complexity int
}

// A reference says that a declaration of one file uses one of another.
type reference struct {
	fromFile, from string
	toFile, to     string
}

// measure parses the files of a package, whose text sources has by name, and
// measures them.
func measure(sources map[string]string) (*pkg, error) {
	if len(sources) == 0 {
		return nil, fmt.Errorf("there are no files to measure")
	}
	for name := range sources {
		if !slices.Contains(readingOrder, name) {
			return nil, fmt.Errorf("%s has no place in the order of reading", name)
		}
	}
	p := new(pkg)
	set := token.NewFileSet()
	for _, name := range readingOrder {
		text, ok := sources[name]
		if !ok {
			continue
		}
		syntax, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		f := &file{name: name, syntax: syntax}
		f.scan(text)
		p.files = append(p.files, f)
		p.functions = append(p.functions, functions(set, f)...)
	}
	var err error
	p.upward, err = upward(set, p.files)
	return p, err
}

// scan counts the tokens and the lines of a file, and finds the wide lines.
func (f *file) scan(text string) {
	kinds := f.scanTokens(text)
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		kind := kinds[number]
		switch {
		case kind.code:
			f.codeLines++
			// A literal that spans lines can't be broken elsewhere.
			if width(line) > maxCodeWidth && !kind.literal {
				f.wideCode = append(f.wideCode, number)
			}
		case kind.comment:
			f.commentLines++
			// Neither can a URL.
			line = strings.TrimLeft(line, "\t")
			if width(line) > maxCommentWidth && !strings.Contains(line, "://") {
				f.wideComments = append(f.wideComments, number)
			}
		}
	}
}

// A lineKind says what is on a line.
type lineKind struct {
	code    bool // a token
	comment bool
	literal bool // a part of a literal that spans lines
}

// scanTokens finds the tokens of a file, and returns what is on each line, by
// its number.
func (f *file) scanTokens(text string) map[int]lineKind {
	kinds := make(map[int]lineKind)
	source := token.NewFileSet().AddFile(f.name, -1, len(text))
	var s scanner.Scanner
	s.Init(source, []byte(text), nil, scanner.ScanComments)
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return kinds
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue
		}
		isComment := tok == token.COMMENT
		if !isComment {
			f.tokens = append(f.tokens, source.Offset(pos))
		}
		breaks := strings.Count(literal, "\n")
		first := source.Line(pos)
		for line := first; line <= first+breaks; line++ {
			kind := kinds[line]
			kind.code = kind.code || !isComment
			kind.comment = kind.comment || isComment
			kind.literal = kind.literal || !isComment && breaks > 0
			kinds[line] = kind
		}
	}
}

// width returns the number of columns that a line takes.
func width(line string) int {
	return utf8.RuneCountInString(line) + (tabWidth-1)*strings.Count(line, "\t")
}

// tokensIn returns the number of tokens between two offsets.
func (f *file) tokensIn(from, to int) int {
	first, _ := slices.BinarySearch(f.tokens, from)
	end, _ := slices.BinarySearch(f.tokens, to)
	return end - first
}

// functions measures the functions of a file.
func functions(set *token.FileSet, f *file) []function {
	var list []function
	for _, d := range declarations(f) {
		if !hasCode(d.node) {
			continue
		}
		from := set.Position(d.node.Pos())
		to := set.Position(d.node.End())
		list = append(list, function{
			file:       f.name,
			name:       d.name,
			tokens:     f.tokensIn(from.Offset, to.Offset),
			lines:      to.Line - from.Line + 1,
			complexity: complexity(d.node),
		})
	}
	return list
}

// hasCode reports whether a declaration has a block of statements in it.
func hasCode(n ast.Node) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		if _, ok := n.(*ast.BlockStmt); ok {
			found = true
		}
		return !found
	})
	return found
}

// A declaration is a function, a type, or the variables or constants that are
// declared together, at package level.
type declaration struct {
	file, name string
	node       ast.Node
}

// declarations returns the declarations of a file, in the order of the source.
func declarations(f *file) []declaration {
	var list []declaration
	add := func(name string, n ast.Node) {
		list = append(list, declaration{f.name, name, n})
	}
	for _, decl := range f.syntax.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			add(functionName(decl), decl)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					add(spec.Name.Name, spec)
				case *ast.ValueSpec:
					add(spec.Names[0].Name, spec)
				}
			}
		}
	}
	return list
}

// functionName returns the name of a function, with the type of its receiver.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return "(" + types.ExprString(f.Recv.List[0].Type) + ")." + f.Name.Name
}

// complexity returns the cognitive complexity of a function, as SonarSource
// defines it in its paper of that name, without the increment for recursion.
// It counts one for each break in the flow from top to bottom, and one more for
// each level that the break is nested in others.
func complexity(n ast.Node) int {
	sum := 0
	ast.Walk(cognition{sum: &sum}, n)
	return sum
}

// A cognition walks over a function and adds up its cognitive complexity.
type cognition struct {
	sum     *int
	parent  ast.Node // of the node that is visited, parentheses aside
	nesting int
}

// Visit implements ast.Visitor. It adds what n itself counts, and returns what
// visits the children of n.
func (c cognition) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return c
	case *ast.IfStmt:
		*c.sum++
		// "else if" reads on at the level of the first condition.
		if _, elseIf := c.parent.(*ast.IfStmt); !elseIf {
			*c.sum += c.nesting
		}
		if _, plainElse := n.Else.(*ast.BlockStmt); plainElse {
			*c.sum++
		}
	case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
		*c.sum += 1 + c.nesting
	case *ast.BlockStmt:
		if nests(c.parent) {
			c.nesting++
		}
	case *ast.BranchStmt:
		// A plain break or continue ends at once what is being read.
		if n.Label != nil {
			*c.sum++
		}
	case *ast.BinaryExpr:
		// "a && b && c" is as easy to read as "a && b". Only the outermost
		// operator counts, for all below it.
		if !logical(c.parent) {
			*c.sum += len(slices.Compact(logicalOperators(n)))
		}
	}
	c.parent = n
	return c
}

// nests reports whether the blocks of a node are a level deeper than it is. The
// block of a declaration is not, nor is a block that stands alone.
func nests(n ast.Node) bool {
	switch n.(type) {
	case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt,
		*ast.SelectStmt, *ast.FuncLit:
		return true
	}
	return false
}

// logical reports whether a node is an expression with && or ||.
func logical(n ast.Node) bool {
	b, ok := n.(*ast.BinaryExpr)
	return ok && (b.Op == token.LAND || b.Op == token.LOR)
}

// logicalOperators returns the && and || of an expression as they are read,
// from left to right, without those that stand inside of another operand.
func logicalOperators(e ast.Expr) []token.Token {
	b, ok := ast.Unparen(e).(*ast.BinaryExpr)
	if !ok || !logical(b) {
		return nil
	}
	return slices.Concat(logicalOperators(b.X), []token.Token{b.Op}, logicalOperators(b.Y))
}

// upward returns the references from a file to one that is read later.
func upward(set *token.FileSet, files []*file) (map[reference]int, error) {
	var syntax []*ast.File
	var all []declaration
	for _, f := range files {
		syntax = append(syntax, f.syntax)
		all = append(all, declarations(f)...)
	}
	// Positions ascend from file to file, as the files were parsed in order.
	declared := func(pos token.Pos) (declaration, bool) {
		i, _ := slices.BinarySearchFunc(all, pos, func(d declaration, pos token.Pos) int {
			return cmp.Compare(d.node.End(), pos+1)
		})
		if i == len(all) || pos < all[i].node.Pos() {
			return declaration{}, false
		}
		return all[i], true
	}

	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	conf := types.Config{Importer: importer.ForCompiler(set, "source", nil)}
	checked, err := conf.Check("p", set, syntax, info)
	if err != nil {
		return nil, err
	}
	found := make(map[reference]int)
	for id, object := range info.Uses {
		if object.Pkg() != checked {
			continue
		}
		from, ok := declared(id.Pos())
		if !ok {
			continue
		}
		to, ok := declared(object.Pos())
		if ok && slices.Index(readingOrder, to.file) > slices.Index(readingOrder, from.file) {
			found[reference{from.file, from.name, to.file, to.name}]++
		}
	}
	return found, nil
}

// total returns the number of tokens and of lines of code in all files.
func (p *pkg) total() (tokens, codeLines int) {
	for _, f := range p.files {
		tokens += len(f.tokens)
		codeLines += f.codeLines
	}
	return tokens, codeLines
}

// density returns the number of tokens a line of code.
func density(tokens, codeLines int) float64 {
	return float64(tokens) / float64(max(1, codeLines))
}

// print prints a row for each file, and one for the package.
func (p *pkg) print() {
	row := func(tokens, codeLines, commentLines int, name string) {
		share := 100 * float64(commentLines) / float64(max(1, commentLines+codeLines))
		fmt.Printf("%6d  %5d  %11.2f  %7.0f%%  %s\n",
			tokens, codeLines, density(tokens, codeLines), share, name)
	}
	fmt.Println("tokens   code  tokens/line  comments  file")
	commentLines := 0
	for _, f := range p.files {
		row(len(f.tokens), f.codeLines, f.commentLines, f.name)
		commentLines += f.commentLines
	}
	tokens, codeLines := p.total()
	row(tokens, codeLines, commentLines, "together")
}

// printMarkdown prints the table of README.md.
func (p *pkg) printMarkdown() {
	row := func(name string, tokens, codeLines int) {
		fmt.Printf("| %s | %s | %s |\n", name, grouped(tokens), grouped(codeLines))
	}
	fmt.Println("| file | tokens | lines of code |")
	fmt.Println("| --- | --- | --- |")
	for _, f := range p.files {
		row("`"+f.name+"`", len(f.tokens), f.codeLines)
	}
	tokens, codeLines := p.total()
	row("together", tokens, codeLines)
}

// grouped returns a number below a million with a comma before its last three
// digits.
func grouped(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// faults returns a line of text for each bound that is passed.
func (p *pkg) faults() []string {
	var list faultList
	tokens, codeLines := p.total()
	list.check("the package has %d tokens, at most %d", tokens, maxPackageTokens)
	if d := density(tokens, codeLines); d > maxDensity {
		list.add("the package has %.3f tokens a line, at most %.1f", d, maxDensity)
	}
	for _, f := range p.files {
		list.check(f.name+" has %d tokens, at most %d", len(f.tokens), maxFileTokens)
		if n := len(f.wideCode); n > 0 {
			list.add("%s has %d lines of code over %d columns: %v",
				f.name, n, maxCodeWidth, f.wideCode)
		}
		if n := len(f.wideComments); n > 0 {
			list.add("%s has %d lines of comment over %d columns: %v",
				f.name, n, maxCommentWidth, f.wideComments)
		}
	}
	for _, f := range p.functions {
		name := f.file + ": " + f.name
		list.check(name+" has %d tokens, at most %d", f.tokens, maxFunctionTokens)
		list.check(name+" has %d lines, at most %d", f.lines, maxFunctionLines)
		list.check(name+" has a cognitive complexity of %d, at most %d",
			f.complexity, maxComplexity)
	}
	for _, r := range slices.SortedFunc(maps.Keys(p.upward), compareReferences) {
		list.add("%s: %s uses %s, which %s declares later (references: %d)",
			r.fromFile, r.from, r.to, r.toFile, p.upward[r])
	}
	return list
}

// A faultList collects the bounds that are passed.
type faultList []string

// add adds a fault.
func (l *faultList) add(format string, args ...any) {
	*l = append(*l, fmt.Sprintf(format, args...))
}

// check adds a fault if n is more than its bound. The format has a place for
// each of them.
func (l *faultList) check(format string, n, bound int) {
	if n > bound {
		l.add(format, n, bound)
	}
}

// compareReferences orders references by where they are made.
func compareReferences(a, b reference) int {
	return cmp.Or(
		cmp.Compare(slices.Index(readingOrder, a.fromFile), slices.Index(readingOrder, b.fromFile)),
		strings.Compare(a.from, b.from),
		strings.Compare(a.toFile, b.toFile),
		strings.Compare(a.to, b.to),
	)
}
