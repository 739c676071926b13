package oauth2

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Processes that wait for each other: for the one that refreshes, and for the one that has the lock.

// A wakeUpJob is what a child process has to do. It travels in the environment variable OAUTH2_WAKEUP_JOB.
type wakeUpJob struct {
	Do   string
	Name string // of the FileStore
}

// TestWakeUpChild is the main function of a child process, and nothing else. It says that it is ready, and does what it
// has to when its standard input ends.
func TestWakeUpChild(t *testing.T) {
	text, ok := os.LookupEnv("OAUTH2_WAKEUP_JOB")
	if !ok {
		return
	}
	var job wakeUpJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		t.Fatal(err)
	}
	switch job.Do {
	case "hold":
		err := FileStore(job.Name).Update(t.Context(), func(old []byte) ([]byte, error) {
			fmt.Println("ready")
			io.Copy(io.Discard, os.Stdin)
			return old, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	case "update":
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		start := time.Now()
		if err := FileStore(job.Name).Update(t.Context(), keepStored); err != nil {
			t.Fatal(err)
		}
		fmt.Println(time.Since(start))
	case "update all the time":
		fmt.Println("ready")
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		for n := 0; ; n++ {
			err := FileStore(job.Name).Update(t.Context(), func(old []byte) ([]byte, error) {
				time.Sleep(100 * time.Millisecond)
				return old, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if ctx.Err() != nil {
				fmt.Println(n)
				return
			}
		}
	case "token":
		creds, err := LoadCredentials(t.Context(), nil, FileStore(job.Name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		tok, err := creds.Token(t.Context())
		if err != nil || !tok.Valid() {
			t.Fatalf("valid %v, %v", tok.Valid(), err)
		}
		fmt.Println(tok.AccessToken.Reveal())
	}
}

// A sleeper is a child process that is ready.
type sleeper struct {
	child  *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
}

func startSleeper(t *testing.T, job wakeUpJob) (*sleeper, error) {
	data, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWakeUpChild$", "-test.count=1")
	child.Env = append(os.Environ(), "OAUTH2_WAKEUP_JOB="+string(data))
	child.Stderr = os.Stderr
	stdin, inErr := child.StdinPipe()
	stdout, outErr := child.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	s := &sleeper{child, stdin, bufio.NewReader(stdout)}
	if line, err := s.stdout.ReadString('\n'); line != "ready\n" {
		rest, _ := io.ReadAll(s.stdout)
		return nil, fmt.Errorf("%q, %w: %s", line, err, rest)
	}
	return s, nil
}

// wake lets the process do what it has to, and returns what it says first.
func (s *sleeper) wake() (line string, err error) {
	s.stdin.Close()
	line, _ = s.stdout.ReadString('\n')
	rest, _ := io.ReadAll(s.stdout)
	if err := s.child.Wait(); err != nil {
		return "", fmt.Errorf("%w: %s%s", err, line, rest)
	}
	return line, nil
}

// Processes wake up, all at once, with a token that has expired, and the server is slow: there is one refresh, and all
// have its token soon after.
//
// W70 W74
func TestHundredWakeUp(t *testing.T) {
	processes := shortOrLong(12, 100)
	slow, limit := shortOrLong(2*time.Second, 8*time.Second), shortOrLong(8*time.Second, 20*time.Second)
	s := NewTestServer(t)
	s.Rotate = true
	s.Answer = func(string, map[string]any) { sleep(t.Context(), slow) }
	name := filepath.Join(privateDir(t), storeFileName)
	err := NewCredentials(clientOf(s), NewSecret(s.IssueRefreshToken("a")), "a").Save(t.Context(), FileStore(name))
	if err != nil {
		t.Fatal(err)
	}
	sleepers := make([]*sleeper, processes)
	var starting, running sync.WaitGroup
	for i := range sleepers {
		starting.Go(func() {
			var err error
			if sleepers[i], err = startSleeper(t, wakeUpJob{"token", name}); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	took, tokens := make([]time.Duration, processes), make([]string, processes)
	start := time.Now()
	for i, one := range sleepers {
		running.Go(func() {
			var err error
			if tokens[i], err = one.wake(); err != nil {
				t.Errorf("process %d, after %v: %v", i, time.Since(start), err)
			}
			took[i] = time.Since(start)
		})
	}
	running.Wait()
	slices.Sort(took)
	t.Logf("%d processes, a server that takes %v: the first had a token after %v, half of them after %v, all after %v",
		processes, slow, took[0], took[processes/2], took[processes-1])
	if took[processes-1] > limit {
		t.Errorf("the last one had a token after %v", took[processes-1])
	}
	if n := s.TokenRequests(""); n != 1 || s.Reuses() != 0 {
		t.Errorf("%d requests, %d reuses", n, s.Reuses())
	}
	if different := slices.Compact(slices.Sorted(slices.Values(tokens))); len(different) != 1 {
		t.Errorf("%d different tokens", len(different))
	}
}

// keepStored is an update that changes nothing.
func keepStored(old []byte) ([]byte, error) { return old, nil }

// Processes want the same lock, all at once, while one more takes it again and again: each has its turn soon, and
// nothing is left of them.
//
// W70
func TestManyProcessesUpdate(t *testing.T) {
	processes := shortOrLong(10, 200)
	name := filepath.Join(privateDir(t), storeFileName)
	greedy, err := startSleeper(t, wakeUpJob{"update all the time", name})
	if err != nil {
		t.Fatal(err)
	}
	sleepers := make([]*sleeper, processes)
	var starting, running sync.WaitGroup
	for i := range sleepers {
		starting.Go(func() {
			var err error
			if sleepers[i], err = startSleeper(t, wakeUpJob{"update", name}); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	start, took := time.Now(), make([]string, processes)
	for i, one := range sleepers {
		running.Go(func() {
			var err error
			if took[i], err = one.wake(); err != nil {
				t.Errorf("process %d, after %v: %v", i, time.Since(start), err)
			}
		})
	}
	running.Wait()
	all, slowest := time.Since(start), time.Duration(0)
	for _, text := range took {
		d, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil {
			t.Error(err)
		}
		slowest = max(slowest, d)
	}
	times, err := greedy.wake()
	t.Logf("%d processes: all had their turn after %v, the slowest one waited %v; meanwhile another had it %s times",
		processes, all, slowest, strings.TrimSpace(times))
	if err != nil || slowest > 10*time.Second || len(otherNames(t, name)) > 0 {
		t.Errorf("%v; beside the file is %v", err, otherNames(t, name))
	}
}

// A lock that another process holds is waited for a thousand times: nothing is opened that stays open, neither while
// they wait nor after.
//
// W71
func TestLockWaitsLeaveNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("descriptors can't be counted")
	}
	name := filepath.Join(privateDir(t), storeFileName)
	store := FileStore(name)
	holder, err := startSleeper(t, wakeUpJob{"hold", name})
	if err != nil {
		t.Fatal(err)
	}
	var fault sync.Once // the first says enough
	wait := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := store.Update(ctx, neverCalled(t)); !errors.Is(err, context.DeadlineExceeded) {
			fault.Do(func() { t.Errorf("a lock that is held: %v", err) })
		}
	}
	wait()                                           // once, for what the runtime opens for good
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a finalizer may close what was left open
	descriptors, goroutines := openDescriptors(), runtime.NumGoroutine()
	const waits, together = 1000, 50
	var left, most atomic.Int64
	left.Store(waits)
	var running sync.WaitGroup
	for range together {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				wait()
				most.Store(max(most.Load(), int64(openDescriptors())))
			}
		})
	}
	running.Wait()
	more := openDescriptors() - descriptors
	idle := leftOver(t.Context(), goroutines)
	t.Logf("%d waits: %d descriptors and %d goroutines more than before, at most %d descriptors more meanwhile",
		waits, more, idle, int(most.Load())-descriptors)
	if more > 0 || idle > 0 {
		t.Errorf("%d descriptors and %d goroutines are left", more, idle)
	}
	if n := int(most.Load()) - descriptors; n > 4*together {
		t.Errorf("%d descriptors were open at a time, for %d waits", n, together)
	}
	if _, err := holder.wake(); err != nil {
		t.Errorf("the process that had the lock: %v", err)
	}
	err = store.Update(t.Context(), func(old []byte) ([]byte, error) { return old, nil })
	if err != nil {
		t.Errorf("after all: %v", err)
	}
}
