package oauth2

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The tests of this file use processes and real time, since that is what they are about. They are short, unless
// OAUTH2_LONG is set.

// shortOrLong picks one of two values, for a short run or a long one.
func shortOrLong[T any](short, long T) T {
	if os.Getenv("OAUTH2_LONG") != "" {
		return long
	}
	return short
}

// A fleetJob is what a child process has to do. It travels in the environment variable OAUTH2_FLEET_JOB.
type fleetJob struct {
	Do     string        // a case of TestFleetChild
	Name   string        // of the FileStore
	API    string        // where a bearer token is tried
	For    time.Duration // how long
	Shell  string        // commands that come first, such as "umask 0"
	Padded int           // bytes of an unknown member, so that a write takes its time
}

// A fleetReport is what a child process says when it is done.
type fleetReport struct {
	Tokens  int      // calls of Token that returned a valid one
	Calls   int      // calls of the API that were answered with 200
	Refresh []string // the refresh tokens that were seen
	Faults  []string
}

// startChild starts a child process. It is this test binary.
func startChild(t *testing.T, job fleetJob) (child *exec.Cmd, stdout io.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{exe, "-test.run=^TestFleetChild$", "-test.count=1"}
	if job.Shell != "" {
		args = append([]string{"/bin/sh", "-c", job.Shell + ` && exec "$@"`, "sh"}, args...)
	}
	data, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	child = exec.CommandContext(t.Context(), args[0], args[1:]...)
	child.Env = append(os.Environ(), "OAUTH2_FLEET_JOB="+string(data))
	child.Stderr = os.Stderr
	stdout, err = child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child, stdout
}

// childReports returns what the children say that do job, n at a time.
func childReports(t *testing.T, n int, job fleetJob) []fleetReport {
	t.Helper()
	reports := make([]fleetReport, n)
	var running sync.WaitGroup
	for i := range reports {
		child, stdout := startChild(t, job)
		running.Go(func() {
			line, err := bufio.NewReader(stdout).ReadBytes('\n')
			if err == nil {
				err = json.Unmarshal(line, &reports[i])
			}
			rest, _ := io.ReadAll(stdout)
			if err = errors.Join(err, child.Wait()); err != nil {
				t.Errorf("child %d: %v: %s%s", i, err, line, rest)
			}
			for _, fault := range reports[i].Faults {
				t.Errorf("child %d: %s", i, fault)
			}
		})
	}
	running.Wait()
	return reports
}

// TestFleetChild is the main function of a child process, and nothing else.
func TestFleetChild(t *testing.T) {
	text, ok := os.LookupEnv("OAUTH2_FLEET_JOB")
	if !ok {
		return
	}
	var job fleetJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		t.Fatal(err)
	}
	switch job.Do {
	case "exit":
	case "save":
		if err := savedGeneration(1, job.Padded).Save(t.Context(), FileStore(job.Name)); err != nil {
			t.Fatal(err)
		}
	case "save for ever":
		store := FileStore(job.Name)
		for n := 1; ; n++ {
			if err := savedGeneration(n, job.Padded).Save(t.Context(), store); err != nil {
				t.Fatal(err)
			}
			fmt.Println(n)
		}
	case "refresh with a full disk":
		signal.Ignore(syscall.Signal(25)) // SIGXFSZ, which comes before the error
		var report fleetReport
		fault := func(format string, args ...any) {
			report.Faults = append(report.Faults, fmt.Sprintf(format, args...))
		}
		creds, err := LoadCredentials(t.Context(), nil, FileStore(job.Name))
		if err != nil {
			t.Fatal(err)
		}
		tok, err := creds.Refresh(t.Context())
		if !tok.Valid() || !errorSays(err, "could not be saved") {
			fault("Refresh with a full disk: %v, %v", tok, err)
		}
		again, err := creds.Token(t.Context())
		if err != nil || again.AccessToken.Reveal() != tok.AccessToken.Reveal() {
			fault("Token after that: %v, %v", again, err)
		}
		writeReport(report)
	case "use":
		writeReport(useCredentials(t.Context(), job))
	default:
		t.Fatalf("no job %q", job.Do)
	}
}

func writeReport(report fleetReport) { json.NewEncoder(os.Stdout).Encode(report) }

// useCredentials is a program with 8 goroutines that use the stored credentials all the time.
func useCredentials(ctx context.Context, job fleetJob) (report fleetReport) {
	creds, err := LoadCredentials(ctx, nil, FileStore(job.Name))
	if err != nil {
		report.Faults = append(report.Faults, err.Error())
		return report
	}
	var mu sync.Mutex // guards report
	var running sync.WaitGroup
	end := time.Now().Add(job.For)
	for range 8 {
		running.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				var status int
				tok, err := creds.Token(ctx)
				valid := tok.Valid()
				if err == nil && n%32 == 0 {
					status, err = callWithToken(ctx, job.API, tok)
				}
				mu.Lock()
				report.Tokens++
				if status == http.StatusOK {
					report.Calls++
				}
				// On a slow machine a token may expire on its way.
				refused := status != 0 && status != http.StatusOK && tok.Valid()
				if err != nil || !valid || refused {
					fault := fmt.Sprintf("call %d: status %d, valid %v: %v", n, status, valid, err)
					report.Faults = append(report.Faults, fault)
				} else if rt := tok.RefreshToken.Reveal(); !slices.Contains(report.Refresh, rt) {
					report.Refresh = append(report.Refresh, rt)
				}
				mu.Unlock()
				sleep(ctx, 10*time.Millisecond)
			}
		})
	}
	running.Wait()
	return report
}

func callWithToken(ctx context.Context, api string, tok *Token) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", api, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+tok.AccessToken.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Body.Close()
}

// savedGeneration returns credentials whose every part says which they are, and which have size more bytes.
func savedGeneration(n, size int) *Credentials {
	client := &ClientSecrets{ClientID: "client-1.example", TokenURI: "https://as.example/token"}
	c := NewCredentials(client, NewSecret(fmt.Sprint("rt-", n)), "a")
	c.cache.keep(&Token{
		AccessToken:  NewSecret(fmt.Sprint("at-", n)),
		RefreshToken: NewSecret(fmt.Sprint("rt-", n)),
		Expiry:       time.Now().Add(time.Hour),
	})
	c.rest.Store(&stored{unknown: object{"pad": `"` + strings.Repeat(fmt.Sprintf("%7d.", n), size/8) + `"`}})
	return c
}

// storedGeneration returns the generation of the file called name, all of whose parts must be of one.
func storedGeneration(t *testing.T, name string) int {
	t.Helper()
	data, err := FileStore(name).Load(t.Context())
	if err != nil || data == nil {
		t.Fatalf("the file: %q, %v", data, err)
	}
	c, err := ParseCredentials(data)
	if err != nil {
		t.Fatal(err)
	}
	tok := c.cache.current.Load()
	var n int
	fmt.Sscanf(tok.RefreshToken.Reveal(), "rt-%d", &n)
	pad := strings.Trim(c.rest.Load().unknown["pad"], `"`)
	want := strings.Repeat(fmt.Sprintf("%7d.", n), len(pad)/8)
	if tok.AccessToken.Reveal() != fmt.Sprint("at-", n) || pad != want || pad == "" {
		t.Fatalf("a file of several saves: %q", data[:min(len(data), 400)])
	}
	return n
}

// A process that saves is killed, at any instruction: the file is what it was before the save, or what it was to be.
// Nothing that the process left behind can be read by others, or is in the way of the next save.
//
// P1 P8
func TestKilledWhileSaving(t *testing.T) {
	dir := privateDir(t)
	name := filepath.Join(dir, storeFileName)
	job := fleetJob{Do: "save for ever", Name: name, Padded: shortOrLong(64<<10, 256<<10)}
	if runtime.GOOS != "windows" {
		job.Shell = "umask 0"
	}
	// A kill hits where it may. Enough of them have to hit a save, and on a slow machine that takes more kills.
	least, enough := shortOrLong(10, 500), shortOrLong(3, 100)
	kills, hits, slowest := 0, 0, time.Duration(0)
	for kills < least || hits < enough && kills < 10*least {
		kills++
		saved := killWhileSaving(t, job)
		if got := storedGeneration(t, name); got != saved && got != saved+1 {
			t.Fatalf("kill %d: the file has save %d; the child had done %d", kills, got, saved)
		}
		if hit := checkLeftovers(t, name); hit {
			hits++
		}
		start := time.Now()
		if err := savedGeneration(kills, 8).Save(t.Context(), FileStore(name)); err != nil {
			t.Fatalf("the save after kill %d: %v", kills, err)
		}
		slowest = max(slowest, time.Since(start))
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Fatalf("after kill %d and a save there are %v, %v", kills, entries, err)
		}
	}
	t.Logf("%d kills, %d of them in the middle of a save; the slowest save after one took %v", kills, hits, slowest)
	if slowest > lockStale/2 {
		t.Errorf("the lock of a killed process kept a save waiting for %v", slowest)
	}
	if hits < enough {
		t.Errorf("%d of %d kills hit a save, want %d", hits, kills, enough)
	}
}

// killWhileSaving starts a child that saves for ever, kills it after a few saves, and returns how many it had done.
func killWhileSaving(t *testing.T, job fleetJob) (saved int) {
	t.Helper()
	child, stdout := startChild(t, job)
	lines := bufio.NewScanner(stdout)
	pace := time.Duration(0)
	for range 2 + rand.IntN(2) {
		start := time.Now()
		if lines.Scan() {
			saved, _ = strconv.Atoi(lines.Text())
		}
		pace = time.Since(start)
	}
	if saved == 0 {
		t.Fatal("the child did not save")
	}
	sleep(t.Context(), rand.N(pace+time.Millisecond))
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		saved, _ = strconv.Atoi(lines.Text())
	}
	child.Wait()
	return saved
}

// checkLeftovers checks that others can read nothing of what a killed process left in the folder of the file called
// name. It reports whether the process had the lock, and so was in the middle of a save.
func checkLeftovers(t *testing.T, name string) (locked bool) {
	t.Helper()
	dir := filepath.Dir(name)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		locked = locked || path == name+".lock"
		info, err := os.Lstat(path)
		if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return locked
}

// Many processes with many goroutines share a file and refresh tokens that serve once: the server sees each of them
// once, each process always has a token, and together they ask as often as one process would.
//
// C7 XO5 XO6 CA2 UP22
func TestFleet(t *testing.T) {
	s := NewTestServer(t)
	s.Rotate, s.ExpiresIn = true, shortOrLong(3*time.Second, 5*time.Second)
	job := fleetJob{
		Do:   "use",
		Name: filepath.Join(privateDir(t), "credentials.json"),
		API:  s.URL + "/userinfo",
		For:  shortOrLong(4*time.Second, 30*time.Second),
	}
	err := NewCredentials(clientOf(s), NewSecret(s.IssueRefreshToken("a")), "a").Save(t.Context(), FileStore(job.Name))
	if err != nil {
		t.Fatal(err)
	}
	reports := childReports(t, 8, job)
	var refreshes []time.Time
	for _, r := range s.Requests() {
		if r.Path == "/token" {
			refreshes = append(refreshes, r.Time)
		}
	}
	checkFleet(t, reports, refreshes, s.ExpiresIn, job.For)
	if s.Reuses() != 0 {
		t.Errorf("%d refresh tokens were used twice", s.Reuses())
	}
}

// checkFleet checks what a fleet did for a while, and when it asked for tokens of some lifetime.
func checkFleet(t *testing.T, reports []fleetReport, refreshes []time.Time, lifetime, used time.Duration) {
	t.Helper()
	tokens, calls, fewest := 0, 0, int(used/(50*time.Millisecond))
	for i, r := range reports {
		tokens, calls = tokens+r.Tokens, calls+r.Calls
		if r.Tokens < fewest || r.Calls == 0 {
			t.Errorf("child %d got %d tokens, and %d calls of the API succeeded", i, r.Tokens, r.Calls)
		}
	}
	if len(refreshes) < 2 {
		t.Fatalf("%d refreshes", len(refreshes))
	}
	// A process that is alone refreshes in the middle of a short life.
	window := refreshes[len(refreshes)-1].Sub(refreshes[0])
	one := int(window/(lifetime/2)) + 1
	t.Logf("%d tokens and %d calls of the API in %d processes: %d refreshes, where one process makes %d",
		tokens, calls, len(reports), len(refreshes), one)
	if len(refreshes) > one+1 || len(refreshes) < int(used/lifetime) {
		t.Errorf("%d refreshes in %v, where one process makes %d", len(refreshes), window, one)
	}
}

// TestInteropFleet is TestFleet with a certified server, which revokes the grant when a refresh token comes twice.
//
// C7 XO6
func TestInteropFleet(t *testing.T) {
	i := newInterop(t)
	creds := i.signIn(t, i.client(t, "native"), "openid email offline_access")
	job := fleetJob{
		Do:   "use",
		Name: filepath.Join(privateDir(t), "credentials.json"),
		API:  i.UserinfoURI,
		For:  shortOrLong(12*time.Second, 30*time.Second),
	}
	if err := creds.Save(t.Context(), FileStore(job.Name)); err != nil {
		t.Fatal(err)
	}
	ours := map[string]int{}
	reports := childReports(t, 8, job)
	for _, r := range reports {
		for _, rt := range r.Refresh {
			ours[i.hash(rt)] = 0
		}
	}
	data, err := os.ReadFile(i.Log)
	if err != nil {
		t.Fatal(err)
	}
	var refreshes []time.Time
	for line := range strings.Lines(string(data)) {
		var r struct {
			interopRequest
			Time time.Time
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", i.Log, err)
		}
		if _, ok := ours[r.RefreshTokenHash]; !ok {
			continue
		}
		refreshes = append(refreshes, r.Time)
		if ours[r.RefreshTokenHash]++; ours[r.RefreshTokenHash] > 1 || r.Status != http.StatusOK {
			t.Errorf("a refresh token came %d times: status %d, %s", ours[r.RefreshTokenHash], r.Status, r.Detail)
		}
	}
	if len(refreshes) < len(ours)-1 { // of the last one there may be no request yet
		t.Errorf("%d refresh tokens and %d refreshes", len(ours), len(refreshes))
	}
	checkFleet(t, reports, refreshes, time.Duration(i.AccessSeconds)*time.Second, job.For)
}

// A soakServer answers refreshes as a server with one-time refresh tokens does, but costs nearly nothing. Its tokens
// have the lengths of Google's.
type soakServer struct {
	used  []atomic.Int32 // how often the first refresh token of each user came
	wrong atomic.Int32
}

func paddedToken(kind string, user, size int) string {
	s := fmt.Sprintf("%s-%d-", kind, user)
	return s + strings.Repeat("x", size-len(s))
}

func (s *soakServer) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	user := -1
	if _, form, ok := strings.Cut(string(body), "refresh_token=first-"); ok {
		number, _, _ := strings.Cut(form, "-")
		user, _ = strconv.Atoi(number)
	}
	if user < 0 {
		s.wrong.Add(1)
		return nil, errors.New("not the refresh token of a user")
	}
	s.used[user].Add(1)
	answer := fmt.Sprintf(`{"access_token":%q,"expires_in":3599,"refresh_token":%q,`+
		`"scope":"openid https://www.googleapis.com/auth/userinfo.email","token_type":"Bearer"}`,
		paddedToken("access", user, 220), paddedToken("second", user, 103))
	return response(200, answer, "Content-Type", "application/json"), nil
}

// Many users in one process, all of whose tokens have expired: each costs one request and little memory, and none a
// goroutine.
func TestSoak(t *testing.T) {
	var last time.Duration
	for round, users := range shortOrLong([]int{1000, 10_000}, []int{1000, 1000, 10_000, 100_000}) {
		s := &soakServer{used: make([]atomic.Int32, users)}
		client := clientOver(s)
		all := make([]*Credentials, users)
		goroutines, before := runtime.NumGoroutine(), liveHeap()
		for i := range all {
			all[i] = NewCredentials(client, NewSecret(paddedToken("first", i, 103)), "openid",
				"https://www.googleapis.com/auth/userinfo.email")
		}
		start := time.Now()
		var next, failed atomic.Int32
		var workers sync.WaitGroup
		for range 64 {
			workers.Go(func() {
				for i := int(next.Add(1)) - 1; i < users; i = int(next.Add(1)) - 1 {
					tok, err := all[i].Token(t.Context())
					if err != nil || !strings.HasPrefix(tok.AccessToken.Reveal(), fmt.Sprintf("access-%d-", i)) ||
						!strings.HasPrefix(tok.RefreshToken.Reveal(), "second-") {
						failed.Add(1)
					}
				}
			})
		}
		workers.Wait()
		took := time.Since(start)
		idle := leftOver(t.Context(), goroutines)
		bytes := float64(liveHeap()-before) / float64(users)
		runtime.KeepAlive(all)
		t.Logf("%7d users: %v, %.0f bytes each, %d goroutines more than before",
			users, took.Round(time.Millisecond), bytes, idle)
		if failed.Load() != 0 || s.wrong.Load() != 0 {
			t.Errorf("%d users: %d got no token, %d wrong requests", users, failed.Load(), s.wrong.Load())
		}
		for i := range s.used {
			if n := s.used[i].Load(); n != 1 {
				t.Fatalf("user %d: %d requests", i, n)
			}
		}
		if round == 0 {
			continue // which had to pay for what exists once
		}
		if bytes > 600 && users > 1000 { // with fewer, what the runtime needs for itself counts
			t.Errorf("%d users: %.0f bytes each", users, bytes)
		}
		if idle > 0 {
			t.Errorf("%d users: %d goroutines are left", users, idle)
		}
		// Ten times the users; a square would be a hundred times the time.
		if last > 0 && took > 40*last {
			t.Errorf("%d users took %v, and a tenth of them %v", users, took, last)
		}
		last = took
	}
}

// liveHeap returns the bytes of live memory.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// leftOver returns how many goroutines there are more than before, when those that are ending have ended.
func leftOver(ctx context.Context, before int) (more int) {
	for range 200 {
		if more = runtime.NumGoroutine() - before; more <= 0 {
			return 0
		}
		sleep(ctx, 10*time.Millisecond)
	}
	return more
}
