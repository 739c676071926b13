package oauth2

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLockModel explores every interleaving of two or three processes that take and release the lock of a FileStore,
// each operation on a file one step. The processes run the code of this package: the test copies it, with the
// operations of its lock exchanged for those of modelOS, and runs itself there. This file therefore uses nothing of
// other tests.
//
// The code decides by what the system answers, and by nothing else. So where a process is, is told by what it
// remembered when it last paused, and by the answers that it has had since; and what it does next is found out by
// running it once with these. A state of the model is that of the files, the time, and where each process is.
//
// A process may crash before and after each step, and start again with its old process ID. It may be stopped for any
// time. But one that holds the lock touches it whenever time passes: that is the one assumption. Time passes in hours,
// and some clocks are ten hours wrong. Somebody may remove the folder of the lock with all that is in it.
//
// In every state at most one process has a lock that it could save with, and whoever comes to hold the lock has its
// file there, which stays unless somebody removes the folder. From every state, with no further crash, somebody can
// come to hold it, if an attempt and three hours are left.
//
// That is shown for all that happens within one of these bounds, on each of three sets of machines, and not beyond:
//
//   - three processes that each put a file up to twice, no crash, and no time that passes;
//   - three processes that each put a file once, and one removal of the folder;
//   - three processes that each put a file once, one crash, two hours;
//   - two processes that each put a file up to twice, before or after a crash, two crashes, three hours.
//
// Every second attempt looks for the dead, in place of every 128th. Looks of a process that remembers a time are an
// hour apart. Two goroutines of one process are not in the model, nor is the pause before the first attempt.
//
// W70 W75 C7 P8 P15
func TestLockModel(t *testing.T) {
	if os.Getenv("OAUTH2_LOCK_MODEL") == "" {
		t.Parallel()
		out, err := runLockModel(t, "", "")
		t.Logf("%s", out)
		if err != nil {
			t.Error(err)
		}
		return
	}
	start := time.Now()
	one := [modelSize]modelSystem{{"a", 0}, {"a", 0}, {"a", 0}}
	containers := [modelSize]modelSystem{{"a", 0}, {"b", 10}, {"c", -10}}
	jumped := [modelSize]modelSystem{{"a", 0}, {"a", 10}, {"b", -10}}
	for name, systems := range map[string][modelSize]modelSystem{
		"one machine":                           one,
		"containers, whose clocks differ":       containers,
		"a machine whose clock jumped, another": jumped,
	} {
		for _, bounds := range []modelBounds{
			{processes: 3, lives: 2},
			{processes: 3, lives: 1, sweeps: 1},
			{processes: 3, lives: 1, crashes: 1, hours: 2},
			{processes: 2, lives: 2, crashes: 2, hours: 3},
		} {
			t.Run(fmt.Sprintf("%s %+v", name, bounds), func(t *testing.T) { exploreLock(t, systems, bounds) })
		}
	}
	fmt.Printf("together %v\n", time.Since(start).Round(10*time.Millisecond))
}

// The model sees it when the lock is taken, or taken away, in a way that is only nearly right.
func TestLockModelSees(t *testing.T) {
	if os.Getenv("OAUTH2_LONG") == "" {
		t.Skip("compiles the package once a row")
	}
	const (
		put   = "err = os.WriteFile(lock, nil, 0o600)\n"
		alone = "slices.Equal(locks(dir), []string{leaf})"
		soon  = "time.Since(start) < lockTouch"
		dead  = "touched.Equal(seen[leaf]) || processGone(leaf)"
	)
	for _, tt := range []struct{ name, code, wrong, want string }{
		{"alone, but its own file is missing", alone, "len(locks(dir)) <= 1", "its file is not there"},
		{"not alone", alone, "slices.Contains(locks(dir), leaf)", "two hold the lock"},
		{
			"looks before it puts only", put + "\tif " + alone,
			"all := locks(dir)\n" + put + "if len(all) == 0", "two hold the lock",
		},
		{"stopped after it has put", soon, "time.Since(start) < 1e6*lockTouch", "was removed"},
		{"one look", dead, "time.Since(touched).Abs() >= lockStale || processGone(leaf)", "was removed"},
		{"nobody is dead", dead, "false", "nobody can take the lock"},
		{"an empty folder is somebody's", "return true\n", "return len(locks(dir)) > 0\n", "nobody can take the lock"},
		{"IDs of other machines", "parts[0] != machineID()", "false", "was removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := runLockModel(t, tt.code, tt.wrong)
			if err == nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v: %.4000s", err, out)
			}
		})
	}
}

// runLockModel runs TestLockModel in a copy of the package, with wrong in place of code.
func runLockModel(t *testing.T, code, wrong string) (out []byte, err error) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	dir := t.TempDir()
	for _, name := range append(names, "lock_test.go", "go.mod") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		if name == "installed.go" {
			before, lock, found := strings.Cut(text, "func lockFile(")
			lock, after, foundEnd := strings.Cut(lock, "\nconst (")
			if !found || !foundEnd || code != "" && strings.Count(lock, code) != 1 {
				t.Fatal("the lock is not what it was")
			}
			if code != "" {
				lock = strings.Replace(lock, code, wrong, 1)
			}
			lock = strings.NewReplacer(
				// Who waits first is one that comes later.
				"time.Since(info.ModTime()).Abs() < lockPoll {\n\t\terr = sleep(ctx, jitter(lockPoll))\n", "false {\n",
				"os.", "modelOS.", "time.Since(", "modelOS.Since(",
				"time.Now()", "modelOS.Now()", "runID", "modelOS.nonce()", "rand.Text()", "modelOS.random()",
				// What a process remembers from one attempt to the next.
				"n := 0;", "n := modelOS.memory.attempt;", "lockLooks", "modelLooks",
				"seen := map[string]time.Time{}", "seen := modelOS.remembered()",
				"sleep(ctx, jitter(lockPoll))", "modelOS.pause(n, seen)",
			).Replace(lock)
			text = before + "func lockFile(" + lock + "\nconst (" + after
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=3m", "-vet=off",
		"-run=^TestLockModel$", "-v", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "OAUTH2_LOCK_MODEL=1", "GOFLAGS=", "GOWORK=off")
	return cmd.CombinedOutput()
}

const (
	modelSize   = 3    // processes at the most
	modelLives  = 3    // of each at the most
	modelLooks  = 2    // in place of lockLooks
	modelAbsent = -100 // the time of a file that is not there
)

// modelBounds make the model finite.
type modelBounds struct {
	processes int
	lives     int8 // attempts of each that come to putting a file, those after a crash included
	crashes   int8 // of all processes together
	hours     int8
	sweeps    int8 // removals of the folder
}

// Where a process is.
const (
	modelTakes = iota
	modelHolds
	modelReleases
	modelDone
	modelCrashed
)

// A modelSystem is the machine of a process, and how many hours its clock is ahead.
type modelSystem struct {
	machine string
	clock   int8
}

// A modelState has the states of the files and of the processes.
type modelState struct {
	dir     bool
	hours   int8
	crashes int8
	sweeps  int8
	files   [modelSize * modelLives]int8 // when each was touched
	nonces  [modelSize * modelLives]int8 // of the processes that made the files
	procs   [modelSize]modelProc
}

type modelProc struct {
	phase int8
	life  int8  // counts the locks that it takes
	nonce int8  // counts its crashes
	wrote bool  // a file of this life
	since int8  // the hour of its last look, if it remembers a time
	node  int32 // what it remembers, and the answers that it had
}

// A modelMemory is what a process remembers from one attempt to the next.
type modelMemory struct {
	attempt int                  // 0: the first one; else 1, which looks, and 2 in turn
	seen    map[string]time.Time // as in the code
}

// A modelNode is a list of answers, as the last one and those before.
type modelNode struct {
	memory  modelMemory
	answers []string
	next    string      // what the process does then
	after   modelMemory // if that is to try again
}

type modelEdge struct{ from, to int32 }

// A lockModel explores what its processes may do.
type lockModel struct {
	t        *testing.T
	systems  [modelSize]modelSystem
	bounds   modelBounds
	nodes    []modelNode
	children map[string]int32
	states   map[modelState]int32
	queue    []modelState
	edges    []modelEdge
	takes    []int32 // states from which somebody comes to hold the lock in a step
	bad      int
}

func exploreLock(t *testing.T, systems [modelSize]modelSystem, bounds modelBounds) {
	start := time.Now()
	m := &lockModel{t: t, systems: systems, bounds: bounds}
	m.children, m.states = map[string]int32{}, map[modelState]int32{}
	var first modelState
	for i := range first.files {
		first.files[i] = modelAbsent
	}
	for i := range first.procs {
		first.procs[i] = modelProc{phase: modelDone}
		if i < bounds.processes {
			first.procs[i] = m.enter(first, i, modelTakes, 0, 0)
		}
	}
	m.visit(first)
	for i := 0; i < len(m.queue) && m.bad == 0; i++ {
		if i > 1_500_000 {
			t.Fatal("too many states")
		}
		m.expand(int32(i), m.queue[i])
	}
	if m.bad == 0 {
		m.checkProgress()
	}
	fmt.Printf("%s: ", t.Name())
	fmt.Printf("%d states, %d steps, %d places in the code, %v\n",
		len(m.states), len(m.edges), len(m.nodes), time.Since(start).Round(10*time.Millisecond))
}

// visit returns the number of a state, and checks it if it is new.
func (m *lockModel) visit(s modelState) int32 {
	if n, ok := m.states[s]; ok {
		return n
	}
	n := int32(len(m.queue))
	m.states[s] = n
	m.queue = append(m.queue, s)
	holders := 0
	for i, p := range s.procs {
		if p.phase == modelHolds {
			holders++
			if s.files[i*modelLives+int(p.life)] == modelAbsent {
				holders-- // it can save nothing any more
				if s.sweeps == 0 {
					m.fail("the lock of a live holder was removed", s)
				}
			}
		}
	}
	if holders > 1 {
		m.fail("two hold the lock", s)
	}
	return n
}

func (m *lockModel) fail(what string, s modelState) {
	if m.bad++; m.bad > 1 {
		return
	}
	m.t.Errorf("%s: %+v", what, s)
	for i, p := range s.procs {
		m.t.Logf("process %d: %v, then %s", i, m.nodes[p.node].answers, m.nodes[p.node].next)
	}
}

// expand finds the states that follow one.
func (m *lockModel) expand(from int32, s modelState) {
	follow := func(next modelState) {
		to := m.visit(next)
		m.edges = append(m.edges, modelEdge{from, to})
		for i, p := range next.procs {
			if p.phase == modelHolds && s.procs[i].phase == modelTakes {
				m.takes = append(m.takes, from)
				if next.files[i*modelLives+int(next.procs[i].life)] == modelAbsent {
					m.fail("the lock is held, but its file is not there", next)
				}
			}
		}
	}
	for i, p := range s.procs {
		own := i*modelLives + int(p.life)
		switch p.phase {
		case modelTakes, modelReleases:
			if next, ok := m.step(s, i); ok {
				follow(next)
			}
		case modelHolds:
			next := s
			next.procs[i] = m.enter(next, i, modelReleases, p.life, p.nonce)
			follow(next) // nothing was to be saved
			next.files[own] = modelAbsent
			follow(next) // renamed
		case modelCrashed:
			if p.life+1 < m.bounds.lives {
				next := s
				next.procs[i] = m.enter(next, i, modelTakes, p.life+1, p.nonce)
				follow(next)
			}
		}
		if p.phase < modelDone && s.crashes < m.bounds.crashes {
			next := s
			next.crashes++
			next.procs[i] = modelProc{phase: modelCrashed, life: p.life, nonce: p.nonce + 1}
			m.visit(next) // no edge: nobody's progress may need it
		}
	}
	if s.sweeps < m.bounds.sweeps {
		next := s
		next.sweeps++
		next.dir, next.files = false, emptyModel
		m.visit(next) // no edge, as above
	}
	if s.hours < m.bounds.hours {
		next := s
		next.hours++
		for i, p := range s.procs {
			if own := i*modelLives + int(p.life); p.phase == modelHolds && s.files[own] != modelAbsent {
				next.files[own] = next.hours + m.systems[i].clock
			}
		}
		follow(next)
	}
}

// enter returns a process at the beginning of a phase.
func (m *lockModel) enter(s modelState, i int, phase, life, nonce int8) modelProc {
	return m.resume(i, modelProc{phase: phase, life: life, nonce: nonce}, modelMemory{})
}

// resume returns a process at the beginning of an attempt.
func (m *lockModel) resume(i int, p modelProc, memory modelMemory) modelProc {
	p.wrote = false
	p.node = m.child(i, p, fmt.Sprint(i, p.phase, p.life, p.nonce, memory), memory, nil)
	return p
}

// child returns the node of a list of answers, whose last one leads there.
func (m *lockModel) child(i int, p modelProc, key string, memory modelMemory, answers []string) int32 {
	if n, ok := m.children[key]; ok {
		return n
	}
	n := int32(len(m.nodes))
	m.children[key] = n
	next, after := m.run(i, p, memory, answers)
	m.nodes = append(m.nodes, modelNode{memory, answers, next, after})
	return n
}

// step does the next operation of a process that takes or releases the lock. It reports whether it can be done.
func (m *lockModel) step(s modelState, i int) (modelState, bool) {
	op, arg, _ := strings.Cut(m.nodes[s.procs[i].node].next, " ")
	answer := "ok"
	switch op {
	case "wait": // for the next look, until a live process has touched its lock
		if s.hours == s.procs[i].since {
			return s, false
		}
	case "mkdir":
		if s.dir {
			answer = "exists"
		}
		s.dir = true
	case "write":
		if !s.dir {
			answer = "absent"
		} else {
			s.files[m.file(arg)] = s.hours
			s.nonces[m.file(arg)] = s.procs[i].nonce
			s.procs[i].wrote = true
		}
	case "list":
		answer = "absent"
		if s.dir {
			var all []string
			for n, touched := range s.files {
				if touched != modelAbsent {
					all = append(all, m.name(n, s))
				}
			}
			slices.Sort(all)
			answer = "all " + strings.Join(all, " ")
		}
	case "stat":
		answer = "absent"
		if touched := s.files[m.file(arg)]; touched != modelAbsent {
			answer = fmt.Sprint(touched)
		}
	case "remove":
		if s.files[m.file(arg)] == modelAbsent {
			answer = "absent"
		}
		s.files[m.file(arg)] = modelAbsent
	case "rmdir":
		empty := s.files == emptyModel
		if !s.dir {
			answer = "absent"
		} else if !empty {
			answer = "exists"
		}
		s.dir = s.dir && !empty
	case "process":
		answer = "absent"
		for other, p := range s.procs {
			isHere := m.systems[other].machine == m.systems[i].machine
			if isHere && fmt.Sprint(m.pid(other)) == arg && p.phase != modelCrashed {
				answer = "ok"
			}
		}
	default:
		m.t.Fatalf("no operation %q", op)
	}
	m.answer(&s, i, answer)
	return s, true
}

var emptyModel = func() (files [modelSize * modelLives]int8) {
	for i := range files {
		files[i] = modelAbsent
	}
	return files
}()

// answer leads a process to its next operation on a file.
func (m *lockModel) answer(s *modelState, i int, answer string) {
	p := &s.procs[i]
	for {
		memory, answers := m.nodes[p.node].memory, append(slices.Clip(m.nodes[p.node].answers), answer)
		p.node = m.child(i, *p, fmt.Sprint(p.node, " ", answer), memory, answers)
		next := m.nodes[p.node].next
		own := m.own(i, *p)
		if p.phase == modelTakes && (next == "write "+own || next == "remove "+own) {
			// What led there does not matter any more.
			key := fmt.Sprint(i, " ", p.life, " ", p.nonce, " ", s.hours, next, memory)
			if _, ok := m.children[key]; !ok {
				m.children[key] = p.node
			}
			p.node = m.children[key]
		}
		switch next {
		case "clock":
			answer = fmt.Sprint(s.hours + m.systems[i].clock)
			continue
		case "again":
			memory := m.prune(m.nodes[p.node].after, *s)
			switch {
			case len(memory.seen) == 0:
				p.since = 0
			case memory.attempt == 2:
				p.since = s.hours
			}
			if p.wrote && p.life+1 == m.bounds.lives {
				*p = modelProc{phase: modelDone}
				return
			}
			if p.wrote {
				p.life++
			}
			*p = m.resume(i, *p, memory)
		case "held":
			*p = modelProc{phase: modelHolds, life: p.life, nonce: p.nonce}
		case "done":
			*p = modelProc{phase: modelDone}
		}
		return
	}
}

// prune forgets the files that are not there any more: their names do not come again.
func (m *lockModel) prune(memory modelMemory, s modelState) modelMemory {
	memory.seen = maps.Clone(memory.seen)
	maps.DeleteFunc(memory.seen, func(name string, _ time.Time) bool { return s.files[m.file(name)] == modelAbsent })
	return memory
}

// checkProgress checks that somebody can come to hold the lock from wherever somebody wants it. That takes an attempt
// and three hours, in which two dead processes are found out; where the bounds leave less, nothing is known.
func (m *lockModel) checkProgress() {
	before := make([][]int32, len(m.queue))
	for _, e := range m.edges {
		before[e.to] = append(before[e.to], e.from)
	}
	good := make([]bool, len(m.queue))
	todo := m.takes
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !good[n] {
			good[n] = true
			todo = append(todo, before[n]...)
		}
	}
	for n, s := range m.queue {
		wanted := slices.ContainsFunc(s.procs[:], func(p modelProc) bool {
			return p.phase == modelTakes && p.life+1 < m.bounds.lives
		})
		if wanted && !good[n] && s.hours <= m.bounds.hours-3 {
			m.fail("nobody can take the lock", s)
		}
	}
}

// pid returns the ID of a process. In each container, it is 1.
func (m *lockModel) pid(i int) int {
	if m.systems[0].machine == m.systems[i].machine {
		return i + 1
	}
	return 1
}

// file returns the number of the file that the code calls name.
func (m *lockModel) file(name string) int {
	parts := strings.Split(filepath.Base(name), ".")
	var n int
	fmt.Sscan(parts[len(parts)-1], &n)
	return n
}

func (m *lockModel) own(i int, p modelProc) string {
	return modelNames[i*modelLives+int(p.life)][p.nonce]
}

// name returns what the code calls a file.
func (m *lockModel) name(n int, s modelState) string { return modelNames[n][s.nonces[n]] }

// modelNames are the names of the files, as the code has made them, by the crashes before.
var modelNames [modelSize * modelLives][modelLives]string

// modelOS stands for package os in the code of the lock. It has the answers that the process has had so far, and ends
// the process when there is no further one.
var modelOS modelSystemCalls

// What only the copied code calls.
var _ = []any{
	(*modelSystemCalls).remembered, (*modelSystemCalls).pause, (*modelSystemCalls).nonce, (*modelSystemCalls).random,
}

type modelSystemCalls struct {
	ErrProcessDone error
	m              *lockModel
	i              int
	p              modelProc
	memory         modelMemory
	answers        []string
}

// A modelOp is what a process does next.
type modelOp string

// run returns what a process does when it has had some answers.
func (m *lockModel) run(i int, p modelProc, memory modelMemory, answers []string) (next string, after modelMemory) {
	modelOS = modelSystemCalls{os.ErrProcessDone, m, i, p, memory, answers}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case modelOp:
			next = string(r)
		case modelMemory:
			next, after = "again", r
		default:
			panic(r)
		}
	}()
	if p.phase == modelReleases {
		unlock(filepath.Join("f.lock", m.own(i, p)))
		return "done", after
	}
	_, err := lockFile(context.Background(), "f")
	if err != nil {
		m.t.Fatalf("process %d, %v: %v", i, answers, err)
	}
	return "held", after
}

// answer returns the next answer.
func (o *modelSystemCalls) answer(op, arg string) string {
	if len(o.answers) == 0 {
		panic(modelOp(strings.TrimSpace(op + " " + arg)))
	}
	a := o.answers[0]
	o.answers = o.answers[1:]
	return a
}

func (o *modelSystemCalls) errorOf(op, arg string) error {
	switch o.answer(op, arg) {
	case "exists":
		return fs.ErrExist
	case "absent":
		return fs.ErrNotExist
	}
	return nil
}

func (o *modelSystemCalls) Mkdir(string, fs.FileMode) error { return o.errorOf("mkdir", "") }

func (o *modelSystemCalls) WriteFile(name string, _ []byte, _ fs.FileMode) error {
	modelNames[o.i*modelLives+int(o.p.life)][o.p.nonce] = filepath.Base(name)
	return o.errorOf("write", filepath.Base(name))
}

func (o *modelSystemCalls) Remove(name string) error {
	if name == "f.lock" {
		return o.errorOf("rmdir", "")
	}
	return o.errorOf("remove", filepath.Base(name))
}

func (o *modelSystemCalls) DirFS(string) fs.FS { return modelDir{o} }

// A modelDir is the folder of the lock.
type modelDir struct{ o *modelSystemCalls }

func (modelDir) Open(string) (fs.File, error) { return nil, fs.ErrInvalid }

func (d modelDir) ReadDir(string) ([]fs.DirEntry, error) {
	text, ok := strings.CutPrefix(d.o.answer("list", ""), "all")
	if !ok {
		return nil, fs.ErrNotExist
	}
	var entries []fs.DirEntry
	for name := range strings.FieldsSeq(text) {
		entries = append(entries, modelFile{name: name})
	}
	return entries, nil
}

func (o *modelSystemCalls) Lstat(name string) (fs.FileInfo, error) {
	if name == "f.lock" {
		return nil, fs.ErrNotExist // it is never a file
	}
	text := o.answer("stat", filepath.Base(name))
	if text == "absent" {
		return nil, fs.ErrNotExist
	}
	var touched int
	fmt.Sscan(text, &touched)
	return modelFile{name: name, touched: modelTimeOf(touched)}, nil
}

func modelTimeOf(hours int) time.Time { return time.Unix(int64(hours)*3600, 0) }

func (o *modelSystemCalls) Now() time.Time {
	var now int
	fmt.Sscan(o.answer("clock", ""), &now)
	return modelTimeOf(now)
}

func (o *modelSystemCalls) Since(t time.Time) time.Duration {
	return o.Now().Sub(t)
}

// remembered is called when an attempt begins. If it looks, and the process remembers what it saw, the last look was
// some time ago.
func (o *modelSystemCalls) remembered() map[string]time.Time {
	if o.memory.attempt == 1 && len(o.memory.seen) > 0 {
		o.answer("wait", "")
	}
	seen := map[string]time.Time{}
	maps.Copy(seen, o.memory.seen)
	return seen
}

// pause is called when an attempt has ended.
func (o *modelSystemCalls) pause(attempt int, seen map[string]time.Time) error {
	panic(modelMemory{attempt%modelLooks + 1, maps.Clone(seen)})
}

func (o *modelSystemCalls) FindProcess(pid int) (modelProcess, error) {
	return modelProcess{o.errorOf("process", fmt.Sprint(pid))}, nil
}

type modelProcess struct{ err error }

func (p modelProcess) Release() error { return nil }

func (p modelProcess) Signal(os.Signal) error {
	if p.err != nil {
		return os.ErrProcessDone
	}
	return nil
}

func (o *modelSystemCalls) MkdirAll(string, fs.FileMode) error { return nil }

func (o *modelSystemCalls) Stat(string) (fs.FileInfo, error) { return modelFile{}, nil }

func (o *modelSystemCalls) Readlink(string) (string, error) { return "", fs.ErrInvalid }

func (o *modelSystemCalls) Hostname() (string, error) { return o.m.systems[o.i].machine, nil }

func (o *modelSystemCalls) ReadFile(string) ([]byte, error) { return nil, fs.ErrNotExist }

func (o *modelSystemCalls) Getpid() int { return o.m.pid(o.i) }

func (o *modelSystemCalls) nonce() string { return fmt.Sprintf("nonce%d-%d", o.i, o.p.nonce) }

func (o *modelSystemCalls) random() string { return fmt.Sprint(o.i*modelLives + int(o.p.life)) }

// A modelFile is a file in the folder of the lock.
type modelFile struct {
	fs.FileInfo
	name    string
	touched time.Time
}

func (f modelFile) Name() string { return f.name }

func (f modelFile) Mode() fs.FileMode { return 0o700 }

func (f modelFile) ModTime() time.Time { return f.touched }

func (f modelFile) Type() fs.FileMode { return 0 }

func (f modelFile) Info() (fs.FileInfo, error) { return f, nil }

func (f modelFile) IsDir() bool { return false }
