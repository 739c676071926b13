package oauth2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const storeFileName = "credentials.json"

// storeFile is a file with a token that is good for long, and something that this package does not know.
const storeFile = `{"type":"authorized_user","client_id":"client-1.example","client_secret":"cs-1-secret",
	"refresh_token":"rt","token":"at","expiry":"2140-01-02T03:04:05Z","token_uri":"https://as.example/token",
	"account":"person@example.com"}`

// memoryStore is a Store as simple as can be: its lock is held during Load too, and can't be taken twice.
type memoryStore struct {
	turn  chan struct{}
	data  []byte
	saves int                         // that succeeded
	enter func(context.Context) error // called with the lock held; nil: nothing
	write func() error                // called before each save; nil: nothing
}

func newMemoryStore() *memoryStore { return &memoryStore{turn: make(chan struct{}, 1)} }

func (s *memoryStore) Load(ctx context.Context) (data []byte, err error) {
	err = s.locked(ctx, func() error { data = slices.Clone(s.data); return nil })
	return data, err
}

func (s *memoryStore) Update(ctx context.Context, fn func([]byte) ([]byte, error)) error {
	return s.locked(ctx, func() error {
		data, err := fn(slices.Clone(s.data))
		if err == nil && s.write != nil {
			err = s.write()
		}
		if err == nil {
			s.data = data
			s.saves++
		}
		return err
	})
}

func (s *memoryStore) locked(ctx context.Context, fn func() error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.enter != nil {
		if err := s.enter(ctx); err != nil {
			return err
		}
	}
	return fn()
}

// set changes a member of what is stored, without the lock, as a program may that does not know of it.
func (s *memoryStore) set(name string, value any) {
	members := map[string]any{}
	json.Unmarshal(s.data, &members)
	members[name] = value
	s.data, _ = json.Marshal(members)
}

// rotatingServer is one that nobody may use a refresh token of twice.
func rotatingServer() *TestServer {
	s := NewMemoryServer()
	s.Rotate = true
	return s
}

// savedCredentials returns credentials that have no token yet and are in store.
func savedCredentials(t *testing.T, s *TestServer, store Store) *Credentials {
	t.Helper()
	c := credentialsOf(s, "a")
	if err := c.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	return c
}

// loadedCredentials returns the credentials in store, as another process has them.
func loadedCredentials(t *testing.T, s *TestServer, store Store) *Credentials {
	t.Helper()
	c, err := LoadCredentials(t.Context(), nil, store)
	if err != nil {
		t.Fatal(err)
	}
	c.client.HTTPClient = clientOf(s).HTTPClient
	return c
}

// storedMembers returns the members of what is stored.
func storedMembers(t *testing.T, store Store) (members map[string]any) {
	t.Helper()
	data, err := store.Load(t.Context())
	if err == nil && data != nil {
		err = json.Unmarshal(data, &members)
	}
	if err != nil {
		t.Fatal(err)
	}
	return members
}

// otherNames returns the names in the folder of a file, but not its own.
func otherNames(t *testing.T, name string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(name) {
			names = append(names, e.Name())
		}
	}
	return names
}

// neverCalled returns a function for Update that must not be called.
func neverCalled(t *testing.T) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) {
		t.Error("Update called its function")
		return nil, errors.New("called")
	}
}

// numberedFile is a file that has a number in it, and fileNumber returns it.
func numberedFile(n int) []byte {
	return fmt.Appendf(nil, `{"client_id":"c","refresh_token":"r","n":%d}`, n)
}

func fileNumber(data []byte) int {
	var file struct{ N int }
	json.Unmarshal(data, &file)
	return file.N
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever the umask, and whatever was there, the file and the folders that are made for it are the user's alone.
//
// P1 P2 P4
func TestFileStoreModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	t.Parallel()
	for _, tt := range []struct {
		name, umask string
		existing    fs.FileMode // of the file; 0: there is none
	}{
		{"umask 0", "000", 0},
		{"umask 022", "022", 0},
		{"umask 077", "077", 0},
		{"file that others can read", "022", 0o644},
		{"file that others can write", "000", 0o666},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			outer := filepath.Join(privateDir(t), "outer")
			name := filepath.Join(outer, "inner", storeFileName)
			if tt.existing != 0 {
				if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
					t.Fatal(err)
				}
				writeFile(t, name, storeFile)
				if err := os.Chmod(name, tt.existing); err != nil {
					t.Fatal(err)
				}
			}
			child, stdout := startChild(t, fleetJob{Do: "save", Name: name, Shell: "umask " + tt.umask, Padded: 8})
			said, _ := io.ReadAll(stdout)
			if err := child.Wait(); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			for path, want := range map[string]fs.FileMode{
				name:               0o600,
				filepath.Dir(name): 0o700 | fs.ModeDir,
				outer:              0o700 | fs.ModeDir,
			} {
				if info, err := os.Lstat(path); err != nil || info.Mode() != want {
					t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
				}
			}
			if storedGeneration(t, name) != 1 {
				t.Error("another file")
			}
		})
	}
}

// What is there and is not a file of credentials is an error, which says what it is. It is read in no time, is not
// overwritten, and is no reason to sign in.
//
// P3 P6 P7 P10 P11 P12
func TestFileStoreRefuses(t *testing.T) {
	t.Parallel()
	text := func(text string) func(*testing.T, string) {
		return func(t *testing.T, name string) { writeFile(t, name, text) }
	}
	link := func(target string) func(*testing.T, string) {
		return func(t *testing.T, name string) {
			if _, err := os.Stat(target); err != nil {
				t.Skip(err)
			}
			if err := os.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name, want string
		make       func(t *testing.T, name string)
	}{
		{"empty", "JSON", text("")},
		{"spaces", "JSON", text(" \n")},
		{"half", "JSON", text(storeFile[:len(storeFile)/2])},
		{"more than one", "JSON", text(storeFile + storeFile)},
		{"random", "UTF-8", text("\x93\x00\xff{}\x1b[31m")},
		{"null", "object", text("null")},
		{"no refresh token", "refresh_token", text(`{"client_id":"c"}`)},
		{"service account", `"service_account"`, text(`{"type":"service_account","private_key":"SENTINEL"}`)},
		{"client secrets", `"client_secrets"`, text(`{"installed":{"client_id":"c","client_secret":"SENTINEL"}}`)},
		{"external account", `"external_account"`,
			text(`{"type":"external_account","credential_source":{"executable":{"command":"SENTINEL"}}}`)},
		{"a byte too much", "1 MiB", text(storeFile + strings.Repeat(" ", maxBody+1-len(storeFile)))},
		{"folder", "regular", func(t *testing.T, name string) {
			if err := os.Mkdir(name, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"device", "regular", link("/dev/zero")},
		{"FIFO", "regular", func(t *testing.T, name string) {
			if out, err := exec.CommandContext(t.Context(), "mkfifo", name).CombinedOutput(); err != nil {
				t.Skipf("mkfifo: %v, %s", err, out)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(privateDir(t), storeFileName)
			tt.make(t, name)
			store, before := FileStore(name), pathState(t, name)
			_, loadErr := LoadCredentials(t.Context(), nil, store)
			s := NewMemoryServer()
			flow := NewInstalledAppFlow(clientOf(s), "a")
			flow.Store, flow.Prompt = store, io.Discard
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			flow.OpenBrowser = func(string) error { t.Error("a sign-in"); cancel(); return nil }
			_, flowErr := flow.SignIn(ctx)
			saveErr := credentialsOf(s).Save(t.Context(), store)
			for call, err := range map[string]error{
				"LoadCredentials":              loadErr,
				"InstalledAppFlow.Credentials": flowErr,
				"Save":                         saveErr,
			} {
				if err == nil || errors.Is(err, ErrLoginRequired) {
					t.Errorf("%s: %v", call, err)
				} else if text := err.Error(); !strings.Contains(text, tt.want) ||
					!strings.Contains(text, storeFileName) || strings.Contains(text, "SENTINEL") {
					t.Errorf("%s: %q, want %s and the name of the file", call, text, tt.want)
				}
			}
			if after := pathState(t, name); after != before || len(otherNames(t, name)) > 0 {
				t.Errorf("%s has become %s; beside it is %v", before, after, otherNames(t, name))
			}
		})
	}
	for name, file := range map[string]string{
		"readable by others": storeFile,
		"as large as may be": storeFile + strings.Repeat(" ", maxBody-len(storeFile)),
	} {
		path := filepath.Join(privateDir(t), storeFileName)
		writeFile(t, path, file)
		if err := os.Chmod(path, 0o444); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCredentials(t.Context(), nil, FileStore(path)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pathState is what is at a path, as a text to compare.
func pathState(t *testing.T, name string) string {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		return fmt.Sprint(errors.Is(err, fs.ErrNotExist))
	}
	text := fmt.Sprint(info.Mode(), info.ModTime())
	if info.Mode().IsRegular() {
		data, err := os.ReadFile(name)
		text += fmt.Sprintf("%q%v", data, err)
	}
	return text
}

// A save replaces a symbolic link, and does not write through it; what else is in the folder, such as the file of
// another FileStore and what was planted, is neither written to nor removed.
//
// P5 P6 P8
func TestFileStoreLinks(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	name, saved := filepath.Join(dir, storeFileName), filepath.Join(dir, "saved")
	writeFile(t, saved, storeFile)
	keep := []string{
		"saved", ".others.1.tmp", storeFileName + ".2.tmp", storeFileName + ".lock.json",
		"." + storeFileName + ".3.tmp", storeFileName + "~",
	}
	for _, leaf := range keep[1:] {
		writeFile(t, filepath.Join(dir, leaf), storeFile)
	}
	for _, leaf := range []string{
		storeFileName, "." + storeFileName + ".tmp", storeFileName + ".tmp", storeFileName + ".new",
	} {
		if err := os.Symlink(saved, filepath.Join(dir, leaf)); err != nil {
			t.Skip(err)
		}
		if leaf != storeFileName {
			keep = append(keep, leaf)
		}
	}
	for n := range 2 {
		if err := savedGeneration(n, 8).Save(t.Context(), FileStore(name)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() ||
			info.Mode().Perm()&0o177 != 0 && runtime.GOOS != "windows" || storedGeneration(t, name) != n {
			t.Errorf("the file: %v, %v", info.Mode(), err)
		}
		for _, leaf := range keep {
			if data, err := os.ReadFile(filepath.Join(dir, leaf)); string(data) != storeFile {
				t.Errorf("%s: %q, %v", leaf, data, err)
			}
		}
		slices.Sort(keep)
		if got := otherNames(t, name); !slices.Equal(got, keep) {
			t.Errorf("left: %q\nwant: %q", got, keep)
		}
	}
}

// A folder in which others can replace the file is refused, before anything is put there.
//
// W77 P4
func TestFileStoreFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	t.Parallel()
	for mode, ok := range map[fs.FileMode]bool{
		0o700: true, 0o755: true, 0o777 | fs.ModeSticky: false, 0o777: false, 0o775: false, 0o757: false, 0o722: false,
	} {
		dir := privateDir(t)
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, storeFileName)
		err := savedGeneration(1, 8).Save(t.Context(), FileStore(name))
		if left := otherNames(t, name); (err == nil) != ok || len(left) > 0 {
			t.Errorf("%v: %v; beside the file is %v", mode, err, left)
		} else if err != nil && (!errorSays(err, "chmod") || !errorSays(err, "/app/credentials.json") ||
			!errors.Is(err, fs.ErrPermission)) {
			t.Errorf("%v: %v does not say what to do", mode, err)
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) == ok {
			t.Errorf("%v: the file: %v", mode, err)
		}
	}
}

// A name is used as it is, whatever its form; there is no name that stands for another place. Nothing falls back to a
// folder that all share, and nothing relies on a containment that has had holes.
//
// P13 P14 P16
func TestFileStoreNames(t *testing.T) {
	t.Parallel()
	for _, leaf := range []string{
		"a b", "-rf", "..a", "%2e%2e", "~", "$HOME", "a.lock", "ü", ".hidden", "person@example.com",
	} {
		name := filepath.Join(privateDir(t), leaf)
		if err := savedGeneration(1, 8).Save(t.Context(), FileStore(name)); err != nil {
			t.Errorf("%q: %v", leaf, err)
		} else if storedGeneration(t, name) != 1 || len(otherNames(t, name)) > 0 {
			t.Errorf("%q: beside it is %v", leaf, otherNames(t, name))
		}
	}
	store := FileStore("")
	_, loadErr := store.Load(t.Context())
	if updateErr := store.Update(t.Context(), neverCalled(t)); loadErr == nil || updateErr == nil {
		t.Errorf("no name: %v, %v", loadErr, updateErr)
	}
	for file, syntax := range sourceOfPackage(t).files {
		ast.Inspect(syntax, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if ok && fmt.Sprint(s.X) == "os" &&
				slices.Contains([]string{"TempDir", "MkdirTemp", "OpenRoot", "Root", "OpenInRoot"}, s.Sel.Name) {
				t.Errorf("%s uses os.%s", file, s.Sel.Name)
			}
			return true
		})
	}
}

// A lock is respected while its holder may live, and no longer. What is no lock is left alone.
//
// W75 C7 P8 P15
func TestFileStoreLock(t *testing.T) {
	t.Parallel()
	child, stdout := startChild(t, fleetJob{Do: "exit"})
	io.Copy(io.Discard, stdout)
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	dead, alive, id := child.Process.Pid, os.Getpid(), strings.Repeat("r", 43)
	lock := func(machine string, pid any, nonce string) string {
		return fmt.Sprintf("%s.%v.%s.%s", machine, pid, nonce, id)
	}
	here, there, parent := machineID(), strings.Repeat("m", 43), os.Getppid()
	const soon, later, never = time.Second, 10 * time.Second, -1
	for _, tt := range []struct {
		name, leaf string
		age        time.Duration
		wait       time.Duration // at the most; never: until the context ends
		stays      bool
	}{
		{"dead process", lock(here, dead, "n"), 0, soon, false},
		{"dead process, in the future", lock(here, dead, "n"), -24 * time.Hour, soon, false},
		{"our ID, before us", lock(here, alive, "n"), 0, soon, false},
		{"our own", lock(here, alive, runID), 0, never, true},
		{"our own, for a while", lock(here, alive, runID), 15 * time.Second, never, true},
		{"our own, for long", lock(here, alive, runID), lockStale, later, false},
		{"live process", lock(here, parent, "n"), 0, never, true},
		{"live process, for a while", lock(here, parent, "n"), 15 * time.Second, never, true},
		{"live process, for long", lock(here, parent, "n"), lockStale, later, false},
		{"live process, in the future", lock(here, parent, "n"), -time.Hour, later, false},
		{"another machine", lock(there, dead, "n"), 0, never, true},
		{"another machine, for a while", lock(there, dead, "n"), 15 * time.Second, never, true},
		{"another machine, for long", lock(there, alive, "n"), lockStale, later, false},
		{"another machine, longer", lock(there, dead, "n"), 24 * time.Hour, later, false},
		{"another machine, its clock ahead", lock(there, dead, "n"), -15 * time.Second, never, true},
		{"another machine, in the future", lock(there, dead, "n"), -24 * time.Hour, later, false},
		{"foreign", ".DS_Store", 0, later, true},
		{"foreign and old", "desktop.ini", 24 * time.Hour, later, true},
		{"foreign folder", "folder/", 24 * time.Hour, later, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" && tt.leaf == lock(here, dead, "n") {
				t.Skip("found out by age there")
			}
			synctest.Test(t, func(t *testing.T) {
				name := filepath.Join(privateDir(t), storeFileName)
				writeFile(t, name, storeFile)
				path := filepath.Join(name+".lock", tt.leaf)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(tt.leaf, "/") {
					path = filepath.Join(path, "file")
					if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				writeFile(t, path, "")
				if err := os.Chtimes(path, time.Time{}, time.Now().Add(-tt.age)); err != nil {
					t.Fatal(err)
				}
				os.Chtimes(filepath.Dir(path), time.Time{}, time.Now().Add(-tt.age))
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), later)
				defer cancel()
				err := savedGeneration(1, 8).Save(ctx, FileStore(name))
				took := time.Since(start)
				if tt.wait == never && (!errors.Is(err, context.DeadlineExceeded) || took != later) ||
					tt.wait != never && (err != nil || took > tt.wait) {
					t.Errorf("after %v: %v", took, err)
				}
				if _, err := os.Lstat(path); (err == nil) != tt.stays {
					t.Errorf("the file in the lock folder: %v", err)
				}
				if left := otherNames(t, name); !tt.stays && len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		})
	}
}

// A lock folder that is a link, which others can plant in a folder like /tmp, has nothing done to what it points to.
//
// P5
func TestFileStoreLockLink(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	name, victim := filepath.Join(dir, storeFileName), filepath.Join(dir, "victim")
	if err := os.Mkdir(victim, 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-24 * time.Hour)
	for _, leaf := range []string{"letter", "a.1.b", machineID() + ".1.b"} {
		writeFile(t, filepath.Join(victim, leaf), leaf)
		os.Chtimes(filepath.Join(victim, leaf), old, old)
	}
	if err := os.Symlink(victim, name+".lock"); err != nil {
		t.Skip(err)
	}
	err := FileStore(name).Update(t.Context(), neverCalled(t))
	if left, _ := os.ReadDir(victim); err == nil || len(left) != 3 {
		t.Errorf("%v; left: %v", err, left)
	}
}

// One at a time has the file, however many FileStores of one name there are, and whoever waits has its turn.
//
// P15 C7
func TestFileStoreExcludes(t *testing.T) {
	t.Parallel()
	name := filepath.Join(privateDir(t), storeFileName)
	shared := FileStore(name)
	var inside, most atomic.Int32
	var savers, reader sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	reader.Go(func() {
		for ctx.Err() == nil {
			if data, err := shared.Load(ctx); err != nil || data != nil && !json.Valid(data) {
				t.Errorf("%.100q, %v", data, err)
			}
		}
	})
	for i := range 50 {
		savers.Go(func() {
			store := shared
			if i%5 == 0 {
				store = FileStore(name)
			}
			err := store.Update(ctx, func(old []byte) ([]byte, error) {
				most.Store(max(most.Load(), inside.Add(1)))
				defer inside.Add(-1)
				return numberedFile(fileNumber(old) + 1), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	savers.Wait()
	stop()
	reader.Wait()
	if data, err := shared.Load(t.Context()); fileNumber(data) != 50 || most.Load() != 1 || err != nil {
		t.Errorf("%d updates of 50, %d at a time: %v", fileNumber(data), most.Load(), err)
	}
	if left := otherNames(t, name); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Very many that wait at the same time all have their turn soon, and leave nothing open.
//
// W70 W71
func TestFileStoreContenders(t *testing.T) {
	name := filepath.Join(privateDir(t), storeFileName)
	open := func() int { files, _ := os.ReadDir("/proc/self/fd"); return len(files) }
	start, files, goroutines := time.Now(), open(), runtime.NumGoroutine()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			err := FileStore(name).Update(t.Context(), func(old []byte) ([]byte, error) { return old, nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	t.Logf("200 updates took %v", took)
	if took > 10*time.Second || len(otherNames(t, name)) > 0 {
		t.Errorf("after %v there is %v", took, otherNames(t, name))
	}
	if more := leftOver(t.Context(), goroutines); more > 0 || open() > files {
		t.Errorf("%d goroutines are left, and of %d files %d are open", more, files, open())
	}
}

// One file that is mounted can't be replaced, and is overwritten.
//
// W73
func TestFileStoreMountedFile(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("only root can mount a file, on Linux")
	}
	name, host := filepath.Join(privateDir(t), storeFileName), filepath.Join(privateDir(t), "host")
	writeFile(t, host, storeFile)
	writeFile(t, name, "")
	if out, err := exec.CommandContext(t.Context(), "mount", "--bind", host, name).CombinedOutput(); err != nil {
		t.Skipf("mount: %v, %s", err, out)
	}
	defer exec.CommandContext(context.Background(), "umount", name).Run()
	long := string(numberedFile(1)) + strings.Repeat(" ", 2000)
	for _, text := range []string{string(numberedFile(2)), long, string(numberedFile(3)), long + "\n"} {
		err := FileStore(name).Update(t.Context(), func([]byte) ([]byte, error) { return []byte(text), nil })
		data, _ := os.ReadFile(host)
		if err != nil || strings.TrimRight(string(data), " ") != strings.TrimRight(text, " ") ||
			len(otherNames(t, name)) > 0 {
			t.Errorf("%v; the file is %q, beside it is %v", err, data, otherNames(t, name))
		}
	}
	if info, err := os.Stat(host); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := FileStore(name).Update(t.Context(), func([]byte) ([]byte, error) { return nil, nil }); err == nil {
		t.Error("a mounted file was removed")
	}
}

// Who waits leaves when its context ends, and has its turn when the others are done, however long they take.
func TestFileStoreWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(privateDir(t), storeFileName)
		first, second := FileStore(name), FileStore(name)
		var all sync.WaitGroup
		all.Go(func() {
			if err := first.Update(t.Context(), func([]byte) ([]byte, error) {
				time.Sleep(5 * time.Second)
				return numberedFile(1), nil
			}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for name, store := range map[string]Store{"goroutine": first, "process": second} {
			all.Go(func() {
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("no longer"))
				defer cancel()
				start := time.Now()
				err := store.Update(ctx, neverCalled(t))
				if !errorSays(err, storeFileName) || !strings.Contains(err.Error(), "no longer") ||
					time.Since(start) != time.Second {
					t.Errorf("%s: after %v: %v", name, time.Since(start), err)
				}
			})
			all.Go(func() {
				start := time.Now()
				err := store.Update(t.Context(), func(old []byte) ([]byte, error) {
					return numberedFile(fileNumber(old) + 1), nil
				})
				if err != nil || time.Since(start).Round(time.Second) != 5*time.Second {
					t.Errorf("%s: after %v: %v", name, time.Since(start), err)
				}
			})
		}
		all.Wait()
		if data, err := first.Load(t.Context()); fileNumber(data) != 3 || err != nil {
			t.Errorf("%s, %v", data, err)
		}
	})
}

// An update that fails leaves the file as it was, and nothing beside it.
//
// P9 P15
func TestFileStoreFails(t *testing.T) {
	t.Parallel()
	own := errors.New("own")
	for _, tt := range []struct {
		name string
		fn   func(t *testing.T, name string) ([]byte, error)
		is   error  // errors.Is; nil: any
		want string // part of the error; "": there is none
		file string // afterwards; "": none
	}{
		{name: "saved", fn: func(*testing.T, string) ([]byte, error) { return []byte("new"), nil }, file: "new"},
		{
			name: "the same",
			fn:   func(*testing.T, string) ([]byte, error) { return []byte(storeFile), nil },
			file: storeFile,
		},
		{name: "erased", fn: func(*testing.T, string) ([]byte, error) { return nil, nil }},
		{name: "emptied", fn: func(*testing.T, string) ([]byte, error) { return []byte{}, nil }, file: "empty"},
		{
			name: "the function fails",
			fn:   func(*testing.T, string) ([]byte, error) { return []byte("new"), own },
			is:   own,
			want: "own",
			file: storeFile,
		},
		{
			name: "rename fails",
			fn:   func(t *testing.T, name string) ([]byte, error) { return []byte("new"), replaceByFolder(name) },
			want: "saving",
			file: "folder",
		},
		{
			name: "erasing fails",
			fn:   func(t *testing.T, name string) ([]byte, error) { return nil, replaceByFolder(name) },
			want: "saving",
			file: "folder",
		},
		{
			name: "lock taken over",
			fn: func(t *testing.T, name string) ([]byte, error) {
				return []byte("new"), os.RemoveAll(name + ".lock")
			},
			want: "saving",
			file: storeFile,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(privateDir(t), storeFileName)
			writeFile(t, name, storeFile)
			before, _ := os.Stat(name)
			err := FileStore(name).Update(t.Context(), func(old []byte) ([]byte, error) {
				if string(old) != storeFile {
					t.Errorf("old: %s", old)
				}
				return tt.fn(t, name)
			})
			if (err == nil) != (tt.want == "") || tt.is != nil && !errors.Is(err, tt.is) ||
				err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
			data, _ := os.ReadFile(name)
			info, statErr := os.Stat(name)
			switch {
			case tt.file == "" && !errors.Is(statErr, fs.ErrNotExist), tt.file == "folder" && !info.IsDir(),
				tt.file == "empty" && (len(data) > 0 || statErr != nil):
				t.Errorf("the file: %v, %v", info, statErr)
			case len(tt.file) > 0 && tt.file != "folder" && tt.file != "empty" && string(data) != tt.file:
				t.Errorf("the file: %s", data)
			case tt.file == storeFile && !os.SameFile(before, info):
				t.Error("written again")
			}
			if left := otherNames(t, name); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
	store := FileStore(filepath.Join(privateDir(t), storeFileName))
	if err := store.Update(t.Context(), func(old []byte) ([]byte, error) {
		if old != nil {
			t.Errorf("old: %q", old)
		}
		return nil, nil
	}); err != nil {
		t.Errorf("erasing nothing: %v", err)
	}
	if data, err := store.Load(t.Context()); data != nil || err != nil {
		t.Errorf("nothing: %q, %v", data, err)
	}
}

// replaceByFolder puts a folder, which can be neither replaced nor removed, in the place of a file.
func replaceByFolder(name string) error {
	return errors.Join(os.Remove(name), os.MkdirAll(filepath.Join(name, "full"), 0o700))
}

// Where the file can't be locked or written, the token of the store is handed out while it is good, and after that a new
// one, which Refresh returns together with the error. As soon as the folder is mended, it is saved.
//
// P7 P9 W72
func TestFileStoreUnwritable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		block func(name string) error // makes it so
		is    error
	}{
		{"the folder is a file", func(name string) error {
			dir := filepath.Dir(name)
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		}, syscall.ENOTDIR},
		{"the lock is a file", func(name string) error { return os.WriteFile(name+".lock", nil, 0o600) }, syscall.ENOTDIR},
		{"the lock is a link to nothing", func(name string) error {
			return os.Symlink("nowhere", name+".lock")
		}, syscall.ENOTDIR},
		{"others can write", func(name string) error { return os.Chmod(filepath.Dir(name), 0o777) }, fs.ErrPermission},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" {
				t.Skip("no modes")
			}
			synctest.Test(t, func(t *testing.T) {
				s, name := rotatingServer(), filepath.Join(privateDir(t), "folder", storeFileName)
				c := savedCredentials(t, s, FileStore(name))
				tok, err := c.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				file, err := os.ReadFile(name)
				if err == nil {
					err = tt.block(name)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := tokenOrError(t.Context(), c); got != tok.AccessToken.Reveal() || s.TokenRequests("") != 1 {
					t.Errorf("good: %s, %d requests", got, s.TokenRequests(""))
				}
				start := time.Now()
				refreshed, err := c.Refresh(t.Context())
				if !refreshed.Valid() || err == nil || tt.is != nil && !errors.Is(err, tt.is) ||
					time.Since(start) > time.Second {
					t.Errorf("Refresh, after %v: %v, %v", time.Since(start), refreshed, err)
				}
				time.Sleep(2 * time.Hour)
				if failed := keepAsking(t, c, time.Minute, time.Hour); failed > 0 {
					t.Errorf("expired: %d failures", failed)
				}
				synctest.Wait()
				dir := filepath.Dir(name)
				if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.WriteFile(name, file, 0o600)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(longestBackoff)
				tokenOrError(t.Context(), c)
				time.Sleep(time.Second) // to save
				again := tokenOrError(t.Context(), loadedCredentials(t, s, FileStore(name)))
				if again != tokenOrError(t.Context(), c) || s.Reuses() != 0 {
					t.Errorf("mended, another process: %s, %d reuses", again, s.Reuses())
				}
			})
		})
	}
}

// A program that has the file open for a moment is in nobody's way. Elsewhere than on Windows it never is.
//
// W76
func TestFileStoreSharing(t *testing.T) {
	t.Parallel()
	name := filepath.Join(privateDir(t), storeFileName)
	store := FileStore(name)
	writeFile(t, name, storeFile)
	done := make(chan struct{})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if f, err := os.Open(name); err == nil {
					io.Copy(io.Discard, f)
					f.Close()
				}
			}
		})
	}
	for n := range 50 {
		err := store.Update(t.Context(), func([]byte) ([]byte, error) { return numberedFile(n), nil })
		if err != nil {
			t.Errorf("update %d: %v", n, err)
		}
		data, err := store.Load(t.Context())
		if err != nil || fileNumber(data) != n {
			t.Errorf("update %d: loaded %s, %v", n, data, err)
		}
	}
	close(done)
	running.Wait()
}

// A folder in the file's place can't be read, so that nothing is known of what is stored: an error, and no request.
//
// P7 P9
func TestFileStoreIsAFolder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, name := rotatingServer(), filepath.Join(privateDir(t), "folder", storeFileName)
		c := savedCredentials(t, s, FileStore(name))
		tokenOrError(t.Context(), c)
		if err := replaceByFolder(name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if got, err := c.Token(t.Context()); err == nil || errors.Is(err, ErrLoginRequired) {
			t.Errorf("expired: %v, %v", got, err)
		}
		if n := s.TokenRequests(""); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// A folder that can't be written to is an error, at once.
//
// P7 P9
func TestFileStoreReadOnly(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("no folder that is known to be so")
	}
	dir := "/sys" // root too
	if os.Geteuid() != 0 {
		dir = privateDir(t)
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := FileStore(filepath.Join(dir, storeFileName)).Update(ctx, neverCalled(t))
	if err == nil || ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// On a disk that is full a refresh yields a token that is used, and an error that says that it could not be saved. The
// file stays as it was, whole.
//
// P9 C3 M60
func TestFileStoreFullDisk(t *testing.T) {
	if runtime.GOOS == "windows" || testing.CoverMode() != "" {
		t.Skip("no limit for a file's size, or a process that has to write its coverage")
	}
	t.Parallel()
	s := NewTestServer(t)
	name := filepath.Join(privateDir(t), storeFileName)
	client := clientOf(s)
	client.HTTPClient = nil
	err := NewCredentials(client, NewSecret(s.IssueRefreshToken("a"))).Save(t.Context(), FileStore(name))
	if err != nil {
		t.Fatal(err)
	}
	before := pathState(t, name)
	childReports(t, 1, fleetJob{Do: "refresh with a full disk", Name: name, Shell: "ulimit -f 0"})
	if after := pathState(t, name); after != before || len(otherNames(t, name)) > 0 {
		t.Errorf("%s became %s; beside it is %v", before, after, otherNames(t, name))
	}
	if n := s.TokenRequests("refresh_token"); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

// What one process has obtained another one takes over without a request, and each refresh token is used once.
//
// C7 XO5 XO6 UP21 UP22
func TestStoreAdopts(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(*testing.T) Store{
		"file":   func(t *testing.T) Store { return FileStore(filepath.Join(privateDir(t), storeFileName)) },
		"memory": func(*testing.T) Store { return newMemoryStore() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), store(t)
				all := []*Credentials{savedCredentials(t, s, store)}
				for len(all) < 5 {
					all = append(all, loadedCredentials(t, s, store))
				}
				for round := range 20 {
					for i := range all {
						got := askAtOnce(t.Context(), 3, all[(i+round)%len(all)])
						if !slices.Equal(got, askAtOnce(t.Context(), 1, all[round%len(all)])) {
							t.Fatalf("round %d, process %d: %v", round, i, got)
						}
						time.Sleep(time.Second)
					}
					if n := s.TokenRequests(""); n != round+1 {
						t.Fatalf("round %d: %d requests", round, n)
					}
					time.Sleep(time.Hour)
				}
				// Once more, with all of them at once; and a Refresh takes over what is fresher than its own.
				var got sync.Map
				var running sync.WaitGroup
				for _, c := range all {
					running.Go(func() { got.Store(tokenOrError(t.Context(), c), true) })
				}
				running.Wait()
				for _, c := range all {
					tok, err := c.Refresh(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					got.Store(tok.AccessToken.Reveal(), true)
				}
				different := 0
				got.Range(func(any, any) bool { different++; return true })
				if n := s.TokenRequests(""); n-20 != different || s.Reuses() != 0 {
					t.Errorf("%d requests, %d tokens, %d reuses", n, different, s.Reuses())
				}
				left := storedMembers(t, store)
				if left["refresh_token"] != all[4].cache.current.Load().RefreshToken.Reveal() {
					t.Errorf("stored: %v", left)
				}
			})
		})
	}
}

// What is in the file of another program, such as Python's, replaces what a process has. Of what the file lacks it keeps
// what belongs to the same refresh token, and nothing else: the file may be another user's.
//
// C4 PY5 XO21 W84 W85
func TestStoreAdoptsFromOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, members string
		want          string // access token, refresh token, ID token and scopes afterwards
		requests      int
	}{
		{
			name: "all of it",
			members: `"refresh_token":"rt-2","token":"at-2","expiry":"2000-01-01T03:00:00Z","id_token":"i-2",` +
				`"granted_scopes":["b"]`,
			want: "at-2 rt-2 i-2 [b]",
		},
		{
			name:    "as Python writes it",
			members: `"refresh_token":"rt-2","token":"at-2","expiry":"2000-01-01T03:00:00.123456Z","rapt_token":null`,
			want:    "at-2 rt-2  []",
		},
		{
			name:    "as Python writes it, with the same refresh token",
			members: `"refresh_token":"rt-1","token":"at-2","expiry":"2000-01-01T03:00:00.123456Z","scopes":["b"]`,
			want:    "at-2 rt-1 i-1 [b]",
		},
		{
			name:    "without a refresh token",
			members: `"token":"at-2","expiry":"2000-01-01T03:00:00Z"`,
			want:    "at-2   []",
		},
		{
			name:     "older than its own",
			members:  `"refresh_token":"rt-2","token":"at-0","expiry":"2000-01-01T00:30:00Z"`,
			want:     "at-3 rt-2  [a]",
			requests: 1,
		},
		{
			name:     "of unknown age",
			members:  `"refresh_token":"rt-2","token":"at-0"`,
			want:     "at-3 rt-2  [a]",
			requests: 1,
		},
		{
			name:     "fresh, but older than its own",
			members:  `"refresh_token":"rt-2","token":"at-0","expiry":"2000-01-01T00:59:00Z"`,
			want:     "at-3 rt-2  [a]",
			requests: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					r.ParseForm()
					fmt.Fprintf(w, `{"access_token":"at-3","token_type":"Bearer","expires_in":3600,"scope":"a"}`)
					return true
				}
				c := signedInAt(s, &Token{
					AccessToken:  NewSecret("at-1"),
					RefreshToken: NewSecret("rt-1"),
					IDToken:      NewSecret("i-1"),
					Scopes:       []string{"a"},
					Expiry:       time.Now().Add(time.Hour),
				}, "a", "b")
				if err := c.Save(t.Context(), store); err != nil {
					t.Fatal(err)
				}
				store.data = fmt.Appendf(nil, `{"client_id":%q,"client_secret":%q,"token_uri":%q,%s}`, s.ClientID,
					s.ClientSecret, s.URL+"/token", tt.members)
				if !strings.HasPrefix(tt.name, "fresh") {
					time.Sleep(time.Hour)
				}
				tok, err := c.Refresh(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got := fmt.Sprint(tok.AccessToken.Reveal(), " ", tok.RefreshToken.Reveal(), " ", tok.IDToken.Reveal(),
					" ", tok.Scopes)
				if got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if n := s.TokenRequests(""); n != tt.requests {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

// A new refresh token is in the store before anybody has the access token that came with it.
//
// C3 XO5 UP22
func TestStoreWritesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, store := rotatingServer(), newMemoryStore()
		c := savedCredentials(t, s, store)
		got := make(chan string, 1)
		blocked := true
		store.write = func() error {
			time.Sleep(time.Second)
			select {
			case tok := <-got:
				t.Errorf("handed out before it was written: %s", tok)
			default:
			}
			if tok := c.cache.current.Load(); !tok.AccessToken.empty() {
				t.Errorf("current before it was written: %s", tok.AccessToken.Reveal())
			}
			blocked = false
			return nil
		}
		go func() { got <- tokenOrError(t.Context(), c) }()
		tok := <-got
		stored := storedMembers(t, store)
		if blocked || stored["token"] != tok ||
			stored["refresh_token"] != c.cache.current.Load().RefreshToken.Reveal() {
			t.Errorf("%s; stored: %v", tok, stored)
		}
	})
}

// A store that can't save: the new token is in use, Refresh reports it, the save is tried again without a request, and
// then other processes find the new refresh token.
//
// C3 M60 XO5 UP22
func TestStoreSaveFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, store, full := rotatingServer(), newMemoryStore(), errors.New("disk full")
		c := savedCredentials(t, s, store)
		first := storedMembers(t, store)["refresh_token"]
		tries := 0
		synctest.Wait()
		store.write = func() error { tries++; return full }
		tok, err := c.Refresh(t.Context())
		if !tok.Valid() || !errors.Is(err, full) || errors.Is(err, ErrLoginRequired) ||
			!strings.Contains(err.Error(), "in use") {
			t.Fatalf("Refresh: %v, %v", tok, err)
		}
		if failed := keepAsking(t, c, time.Second, 30*time.Minute); failed > 0 {
			t.Errorf("Token failed %d times", failed)
		}
		if tries < 10 || tries > 40 { // once a minute, at last
			t.Errorf("%d tries to save", tries)
		}
		stored := storedMembers(t, store)
		if s.TokenRequests("") != 1 || stored["refresh_token"] != first ||
			tokenOrError(t.Context(), c) != tok.AccessToken.Reveal() {
			t.Errorf("%d requests; stored: %v", s.TokenRequests(""), stored)
		}
		synctest.Wait()
		store.write = nil
		if failed := keepAsking(t, c, time.Second, 2*longestBackoff); failed > 0 {
			t.Errorf("Token failed %d times", failed)
		}
		other := loadedCredentials(t, s, store)
		if got := tokenOrError(t.Context(), other); got != tok.AccessToken.Reveal() || s.TokenRequests("") != 1 {
			t.Errorf("another process: %s, %d requests", got, s.TokenRequests(""))
		}
		// Not saved until the token has expired: the refresh then uses the new refresh token, not the stored one.
		synctest.Wait()
		store.write = func() error { return full }
		if tok, err := c.Refresh(t.Context()); !tok.Valid() || !errors.Is(err, full) {
			t.Fatalf("Refresh: %v, %v", tok, err)
		}
		time.Sleep(time.Hour)
		if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") || s.Reuses() != 0 {
			t.Errorf("expired: %s, %d reuses", got, s.Reuses())
		}
	})
}

// A store that fails every other time, at either end of an update, costs no token and no refresh token.
//
// C3 M60
func TestStoreFailsEveryOtherTime(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"enter", "write"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store, n := rotatingServer(), newMemoryStore(), 0
				s.ExpiresIn = 10 * time.Minute
				c := savedCredentials(t, s, store)
				moody := func() error {
					if n++; n%2 == 1 {
						return errors.New("moody")
					}
					return nil
				}
				if end == "write" {
					store.write = moody
				} else {
					store.enter = func(context.Context) error { return moody() }
				}
				tokenOrError(t.Context(), c)
				time.Sleep(firstBackoff)
				if failed := keepAsking(t, c, time.Second, 2*time.Hour); failed > 0 || n < 10 {
					t.Errorf("Token failed %d times; %d updates", failed, n)
				}
				if requests := s.TokenRequests(""); s.Reuses() != 0 || requests > 24 {
					t.Errorf("%d requests, %d reuses", requests, s.Reuses())
				}
				synctest.Wait()
				store.enter, store.write = nil, nil
				time.Sleep(longestBackoff)
				mine := tokenOrError(t.Context(), c)
				if mine != tokenOrError(t.Context(), loadedCredentials(t, s, store)) {
					t.Error("not saved in the end")
				}
			})
		})
	}
}

// A store that hangs holds nobody up who has a valid token, and others no longer than their context.
//
// M60
func TestStoreHangs(t *testing.T) {
	t.Parallel()
	for _, deaf := range []bool{false, true} { // to its context
		t.Run(fmt.Sprint(deaf), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := savedCredentials(t, s, store)
				tok := tokenOrError(t.Context(), c)
				mended := make(chan bool)
				synctest.Wait()
				store.enter = func(ctx context.Context) error {
					done := ctx.Done()
					if deaf {
						done = nil
					}
					select {
					case <-done:
						return ctx.Err()
					case <-mended:
						return nil
					}
				}
				time.Sleep(time.Hour - time.Minute)
				for range 59 {
					start := time.Now()
					if got := tokenOrError(t.Context(), c); got != tok || time.Since(start) > 0 {
						t.Fatalf("stale: %s after %v", got, time.Since(start))
					}
					time.Sleep(time.Second)
				}
				time.Sleep(time.Second)
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_, err := c.Token(ctx)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
					t.Errorf("expired: %v after %v", err, time.Since(start))
				}
				close(mended)
				time.Sleep(longestBackoff)
				got := tokenOrError(t.Context(), c)
				if !strings.HasPrefix(got, "at-") || got == tok || s.Reuses() != 0 {
					t.Errorf("mended: %s, %d reuses", got, s.Reuses())
				}
			})
		})
	}
}

// A file that is destroyed while credentials are in use costs no request, is not overwritten, and does no harm once it
// is mended.
//
// P10
func TestStoreCorrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, store := rotatingServer(), newMemoryStore()
		c := savedCredentials(t, s, store)
		tok := tokenOrError(t.Context(), c)
		c.client.RevocationURI = s.URL + "/revoke"
		good, bad := store.data, []byte(`{"refresh_token":`)
		synctest.Wait()
		store.data = bad
		time.Sleep(time.Hour - time.Minute)
		if failed := keepAsking(t, c, time.Second, 50*time.Second); failed > 0 || tokenOrError(t.Context(), c) != tok {
			t.Errorf("stale: %d failures", failed)
		}
		if _, err := c.Refresh(t.Context()); err == nil || errors.Is(err, ErrLoginRequired) ||
			!strings.Contains(err.Error(), "JSON") {
			t.Errorf("Refresh: %v", err)
		}
		time.Sleep(time.Minute)
		if got, err := c.Token(t.Context()); err == nil || errors.Is(err, ErrLoginRequired) {
			t.Errorf("expired: %v, %v", got, err)
		}
		for _, err := range []error{c.Save(t.Context(), store), c.Revoke(t.Context())} {
			if err == nil {
				t.Error("Save or Revoke: no error")
			}
		}
		if n := s.TokenRequests("") + s.Count("/revoke"); n != 1 || !bytes.Equal(store.data, bad) {
			t.Errorf("%d requests; stored: %s", n, store.data)
		}
		synctest.Wait()
		store.data = good
		time.Sleep(longestBackoff)
		if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") || s.Reuses() != 0 {
			t.Errorf("mended: %s", got)
		}
	})
}

// After invalid_grant the store is read once more, since a program that does not lock may have replaced the refresh
// token; then it is final, and nothing is erased.
//
// C6 C7
func TestStoreInvalidGrant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		replaced func(s *TestServer, store *memoryStore) // in the middle of the first refresh
		want     string                                  // part of the error; "": there is none
		requests int
	}{
		{
			name:     "nothing else is stored",
			replaced: func(*TestServer, *memoryStore) {},
			want:     "invalid_grant",
			requests: 1,
		},
		{
			name: "replaced",
			replaced: func(s *TestServer, store *memoryStore) {
				store.set("refresh_token", s.IssueRefreshToken("a"))
			},
			requests: 2,
		},
		{
			name:     "replaced by another bad one",
			replaced: func(_ *TestServer, store *memoryStore) { store.set("refresh_token", "bad") },
			want:     "invalid_grant",
			requests: 2,
		},
		{
			name:     "erased",
			replaced: func(_ *TestServer, store *memoryStore) { store.data = nil },
			want:     "invalid_grant",
			requests: 1,
		},
		{
			name:     "destroyed",
			replaced: func(_ *TestServer, store *memoryStore) { store.data = []byte("{") },
			want:     "invalid_grant",
			requests: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := savedCredentials(t, s, store)
				s.RevokeAll()
				var after []byte
				s.Hook = func(_ http.ResponseWriter, r *http.Request) bool {
					s.Hook = nil
					tt.replaced(s, store)
					after = store.data
					return false
				}
				_, err := c.Token(t.Context())
				if (err == nil) != (tt.want == "") ||
					err != nil && (!strings.Contains(err.Error(), tt.want) ||
						errors.Is(err, ErrLoginRequired) != (tt.want == "invalid_grant")) {
					t.Errorf("error %v", err)
				}
				if n := s.TokenRequests(""); n != tt.requests || s.Reuses() != 0 {
					t.Errorf("%d requests, %d reuses", n, s.Reuses())
				}
				if err == nil {
					return
				}
				time.Sleep(24 * time.Hour)
				_, again := c.Token(t.Context())
				_, refresh := c.Refresh(t.Context())
				n := s.TokenRequests("")
				if again == nil || refresh == nil ||
					errors.Is(again, ErrLoginRequired) != errors.Is(err, ErrLoginRequired) || n != tt.requests {
					t.Errorf("afterwards: %v, %v, %d requests", again, refresh, n)
				}
				if !bytes.Equal(store.data, after) {
					t.Errorf("stored: %s", store.data)
				}
			})
		})
	}
}

// A Save in the middle of a refresh stores, in the end, the refresh token that works.
//
// C3 P15 XO5 UP22
func TestSaveDuringRefresh(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		before        bool // the credentials had another store
		save, refresh time.Duration
	}{
		{"first store, saved during the request", false, 0, time.Second},
		{"first store, saved after the request", false, 2 * time.Second, time.Second},
		{"another store, saved during the request", true, 0, time.Second},
		{"another store, saved after the request", true, 2 * time.Second, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := credentialsOf(s, "a")
				if tt.before {
					c = savedCredentials(t, s, newMemoryStore())
				}
				s.Hook = func(http.ResponseWriter, *http.Request) bool { time.Sleep(tt.refresh); return false }
				store.write = func() error { time.Sleep(tt.save); return nil }
				var running sync.WaitGroup
				running.Go(func() { tokenOrError(t.Context(), c) })
				synctest.Wait()
				if err := c.Save(t.Context(), store); err != nil {
					t.Fatal(err)
				}
				running.Wait()
				synctest.Wait()
				store.write = nil
				// Another process refreshes, and then this one, and both again.
				for range 2 {
					time.Sleep(time.Hour)
					for _, c := range []*Credentials{loadedCredentials(t, s, store), c} {
						if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
							t.Errorf("got %s", got)
						}
					}
				}
				if s.Reuses() != 0 {
					t.Errorf("%d reuses", s.Reuses())
				}
			})
		})
	}
}

// Credentials of another client that are stored by now are not touched: their refresh token is for another server's
// eyes.
//
// C7
func TestStoreOfAnotherClient(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"client_id": "client-2.example",
		"token_uri": "https://other.example/token",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := savedCredentials(t, s, store)
				c.client.RevocationURI = s.URL + "/revoke"
				store.set(name, value)
				store.set("refresh_token", "SENTINEL")
				store.set("token", "SENTINEL")
				store.set("expiry", "2100-01-01T00:00:00Z")
				before := store.data
				tok, err := c.Token(t.Context())
				revokeErr := c.Revoke(t.Context())
				if err == nil || revokeErr == nil {
					t.Errorf("Token: %v, %v; Revoke: %v", tok, err, revokeErr)
				}
				for _, r := range s.Requests() {
					if strings.Contains(fmt.Sprint(r.Form), "SENTINEL") {
						t.Errorf("sent to %s: %v", r.Path, r.Form)
					}
				}
				if !bytes.Equal(store.data, before) {
					t.Errorf("stored: %s", store.data)
				}
			})
		})
	}
}

// Save replaces a user's credentials, and has all that LoadCredentials then needs: a program that is started again
// asks for nothing.
//
// UP21 UP24 PY13 XO21 UP43
func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	for file, text := range map[string]string{
		"nothing":              "",
		"Python":               pythonFile,
		"google-oauthlib-tool": toolFile,
		"gcloud":               gcloudUserFile,
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), FileStore(filepath.Join(privateDir(t), "folder", storeFileName))
				if _, err := LoadCredentials(t.Context(), nil, store); !errors.Is(err, ErrLoginRequired) {
					t.Errorf("nothing stored: %v", err)
				}
				if text != "" {
					err := store.Update(t.Context(), func([]byte) ([]byte, error) { return []byte(text), nil })
					if err != nil {
						t.Fatal(err)
					}
				}
				c := signedInAt(s, &Token{
					AccessToken:  NewSecret("at"),
					RefreshToken: NewSecret(s.IssueRefreshToken("openid")),
					IDToken:      NewSecret("i.d.t"),
					Scopes:       []string{"openid"},
					Expiry:       time.Now().Add(time.Hour),
				}, "openid", "email")
				if err := c.Save(t.Context(), store); err != nil {
					t.Fatal(err)
				}
				data, _ := store.Load(t.Context())
				checkPythonReads(t, data)
				loaded := loadedCredentials(t, s, store)
				if got, want := credentialsText(loaded), credentialsText(c); got != want {
					t.Errorf("loaded %s\nsaved  %s", got, want)
				}
				if got := tokenOrError(t.Context(), loaded); got != "at" || len(s.Requests()) > 0 {
					t.Errorf("got %s with %d requests", got, len(s.Requests()))
				}
				time.Sleep(time.Hour)
				got := tokenOrError(t.Context(), loaded)
				if got != tokenOrError(t.Context(), c) || s.TokenRequests("") != 1 {
					t.Errorf("expired: %s, %d requests", got, s.TokenRequests(""))
				}
			})
		})
	}
}

// The files of others are used where they are, and stay readable for them: what they have that is unknown here survives
// a refresh, a default-credentials file remains one, and another process finds the new refresh token.
//
// PY8 PY13 UP24 UP25 UP43
func TestStoreOfOthers(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"Python":               pythonFile,
		"google-oauthlib-tool": toolFile,
		"gcloud":               gcloudUserFile,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(privateDir(t), storeFileName)
				writeFile(t, path, file)
				store, n := FileStore(path), 0
				before := storedMembers(t, store)
				c, err := LoadCredentials(t.Context(), nil, store)
				if err != nil {
					t.Fatal(err)
				}
				google := roundTripFunc(func(r *http.Request) (*http.Response, error) {
					r.ParseForm()
					if r.URL.String() != "https://oauth2.googleapis.com/token" ||
						r.Form.Get("refresh_token") != "1//made-up" || r.Form.Get("client_secret") != "made-up-secret" {
						t.Errorf("%s: %v", r.URL, r.Form)
					}
					n++
					return response(200, `{"access_token":"at-new","token_type":"Bearer","expires_in":3599,`+
						`"refresh_token":"1//new"}`), nil
				})
				c.client.HTTPClient = &http.Client{Transport: google}
				if _, err := c.Refresh(t.Context()); err != nil || n != 1 {
					t.Fatalf("%v, %d requests", err, n)
				}
				data, _ := store.Load(t.Context())
				checkPythonReads(t, data)
				after := storedMembers(t, store)
				for name, value := range before {
					want := map[string]string{
						"refresh_token": "1//new",
						"token":         "at-new",
						"expiry":        fmt.Sprint(after["expiry"]),
					}[name]
					if want != "" {
						value = want
					}
					if fmt.Sprint(after[name]) != fmt.Sprint(value) {
						t.Errorf("%s was %v and is %v", name, value, after[name])
					}
				}
				if after["type"] != "authorized_user" || after["token"] != "at-new" ||
					after["expiry"] != "2000-01-01T00:59:59Z" {
					t.Errorf("after: %v", after)
				}
				src, err := parseDefaultFile(data, "", nil, nil)
				if err != nil || tokenOrError(t.Context(), src) != "at-new" {
					t.Errorf("as default credentials: %v, %v", src, err)
				}
			})
		})
	}
}

// Credentials are forgotten here only after the server has forgotten them. Then they ask for nothing any more.
//
// C16 UP36
func TestRevoke(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) func(*TestServer) {
		return func(s *TestServer) {
			s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/revoke" {
					w.WriteHeader(status)
					io.WriteString(w, body)
				}
				return r.URL.Path == "/revoke"
			}
		}
	}
	for _, tt := range []struct {
		name     string
		with     func(*TestServer)
		requests int // to /revoke
		want     string
	}{
		{"200", func(*TestServer) {}, 1, ""},
		{"200, though the server knew of nothing", answer(200, ""), 1, ""},
		{"200 with a text", answer(200, "ok"), 1, ""},
		{"already revoked", (*TestServer).RevokeAll, 1, ""},
		{"503", answer(503, ""), 3, "503"},
		{"400", answer(400, `{"error":"unsupported_token_type"}`), 1, "unsupported_token_type"},
		{"302", answer(302, ""), 1, "redirect"},
		{"error with 200", answer(200, `{"error":"server_error"}`), 3, "server_error"},
	} {
		for _, stored := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.name, " stored ", stored), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, store := rotatingServer(), newMemoryStore()
					c := credentialsOf(s, "a")
					if stored {
						c = savedCredentials(t, s, store)
					}
					c.client.RevocationURI = s.URL + "/revoke"
					tok, err := c.Token(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					tt.with(s)
					err = c.Revoke(t.Context())
					if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) ||
						errors.Is(err, ErrLoginRequired) {
						t.Fatalf("error %v", err)
					}
					noSecret(t, err, tok.RefreshToken.Reveal(), tok.AccessToken.Reveal(), s.ClientSecret)
					if n := s.Count("/revoke"); n != tt.requests {
						t.Errorf("%d requests", n)
					}
					all := s.Requests()
					last := all[len(all)-1]
					if last.Method != "POST" || last.Form.Get("token") != tok.RefreshToken.Reveal() ||
						len(last.Query) > 0 {
						t.Errorf("sent %v", last.Form)
					}
					if erased := store.data == nil; stored && erased != (err == nil) {
						t.Errorf("stored: %s", store.data)
					}
					if err == nil {
						checkEnded(t, s, c, store)
						return
					}
					if got := tokenOrError(t.Context(), c); got != tok.AccessToken.Reveal() {
						t.Errorf("afterwards: %s", got)
					}
					s.Hook = nil
					if err := c.Revoke(t.Context()); err != nil {
						t.Errorf("once more: %v", err)
					}
					checkEnded(t, s, c, store)
				})
			})
		}
	}
}

// checkEnded checks that credentials are no more: no token, no request, no way back into the store.
func checkEnded(t *testing.T, s *TestServer, c *Credentials, store *memoryStore) {
	t.Helper()
	before := len(s.Requests())
	_, tokenErr := c.Token(t.Context())
	_, refreshErr := c.Refresh(t.Context())
	time.Sleep(24 * time.Hour)
	_, laterErr := c.Token(t.Context())
	for call, err := range map[string]error{
		"Token":        tokenErr,
		"Refresh":      refreshErr,
		"Token, later": laterErr,
		"Save":         c.Save(t.Context(), store),
	} {
		if !errors.Is(err, ErrLoginRequired) {
			t.Errorf("%s after Revoke: %v", call, err)
		}
	}
	if n := len(s.Requests()) - before; n > 0 || store.data != nil {
		t.Errorf("%d requests after Revoke; stored: %s", n, store.data)
	}
}

// What is revoked is what works by now, whoever has refreshed it, and how far a refresh has come.
//
// C16 C7
func TestRevokeTheCurrent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		try  func(t *testing.T, s *TestServer, store *memoryStore, c *Credentials)
	}{
		{"refreshed by another process", func(t *testing.T, s *TestServer, store *memoryStore, c *Credentials) {
			loadedCredentials(t, s, store).Refresh(t.Context())
		}},
		{"not saved", func(t *testing.T, s *TestServer, store *memoryStore, c *Credentials) {
			store.write = func() error { store.write = nil; return errors.New("full") }
			c.Refresh(t.Context())
		}},
		{"during a refresh", func(t *testing.T, s *TestServer, store *memoryStore, c *Credentials) {
			s.Hook = func(http.ResponseWriter, *http.Request) bool { time.Sleep(time.Second); return false }
			go c.Refresh(t.Context())
			synctest.Wait()
		}},
		{"a refresh waits", func(t *testing.T, s *TestServer, store *memoryStore, c *Credentials) {
			store.enter = func(context.Context) error {
				store.enter = nil
				go c.Refresh(t.Context())
				synctest.Wait()
				return nil
			}
		}},
		{"no refresh token", func(t *testing.T, s *TestServer, store *memoryStore, c *Credentials) {
			store.set("refresh_token", "")
			c.cache.current.Store(&Token{
				AccessToken: c.cache.current.Load().AccessToken,
				Expiry:      time.Now().Add(time.Hour),
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := savedCredentials(t, s, store)
				c.client.RevocationURI = s.URL + "/revoke"
				access := tokenOrError(t.Context(), c)
				tt.try(t, s, store, c)
				if err := c.Revoke(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				s.Hook = nil
				checkEnded(t, s, c, store)
				// Of all that the server has issued, nothing works.
				var sent string
				for _, r := range s.Requests() {
					if r.Path == "/revoke" {
						sent = r.Form.Get("token")
					}
				}
				s.mu.Lock()
				if g := s.refresh[sent]; tt.name != "no refresh token" && (g == nil || g.current != sent) {
					t.Errorf("sent %s, which had been replaced", sent)
				}
				for token, g := range s.refresh {
					if token == g.current && !g.revoked && tt.name != "no refresh token" {
						t.Errorf("%s works", token)
					}
				}
				s.mu.Unlock()
				if tt.name == "no refresh token" && s.valid(access) {
					t.Error("the access token works")
				}
				if s.Reuses() != 0 {
					t.Errorf("%d reuses", s.Reuses())
				}
			})
		})
	}
	revokedAt := func(uri string) *ClientSecrets { return &ClientSecrets{ClientID: "c", RevocationURI: uri} }
	for name, c := range map[string]*Credentials{
		"no RevocationURI":   NewCredentials(clientOver(nil), NewSecret("r")),
		"no client":          NewCredentials(nil, NewSecret("r")),
		"http RevocationURI": NewCredentials(revokedAt("http://as.example/revoke"), NewSecret("r")),
		"no token":           NewCredentials(revokedAt("https://as.example/revoke"), Secret{}),
	} {
		if err := c.Revoke(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Credentials with nothing in them are not stored: what could not be loaded again would be in the way of a sign-in.
func TestSaveNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*Credentials{
		"no token":  NewCredentials(clientOf(NewMemoryServer()), Secret{}),
		"no client": NewCredentials(nil, NewSecret("r")),
		"zero":      {},
	} {
		store := newMemoryStore()
		if err := c.Save(t.Context(), store); err == nil || store.data != nil {
			t.Errorf("%s: %v; stored: %s", name, err, store.data)
		}
	}
}

// The stored credentials serve if they are the client's, were asked for the scopes and still yield a token. If a
// sign-in helps, there is one; if not, there is an error, and what is stored stays.
//
// UP21 M60 C6 P10
func TestInstalledAppCredentials(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	for _, tt := range []struct {
		name    string
		scopes  string
		stored  string // members besides the client's; "": nothing is stored
		with    func(*TestServer, *memoryStore, *InstalledAppFlow)
		signIns int
		asks    int    // of the token endpoint
		want    string // part of the error
	}{
		{name: "nothing stored", scopes: "a", signIns: 1, asks: 1},
		{name: "all of them", scopes: "a b", stored: `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["b","a"]`},
		{
			name:   "fewer are enough",
			scopes: "a",
			stored: `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["b","a"]`,
		},
		{name: "none are enough", scopes: "", stored: `"token":"at","expiry":"2140-01-01T00:00:00Z"`},
		{
			name:   "scopes as Python has them",
			scopes: "a b",
			stored: `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":"a b"`,
		},
		{
			name:   "declined, and not asked for again",
			scopes: "a b",
			stored: `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["a","b"],"granted_scopes":["a"]`,
		},
		{
			name:   "granted, though not asked for",
			scopes: "a b",
			stored: `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["a"],"granted_scopes":["a","b"]`,
		},
		{
			name:   "email by its long name",
			scopes: "openid email",
			stored: `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["openid",` +
				`"https://www.googleapis.com/auth/userinfo.email"]`,
		},
		{name: "expired", scopes: "a", stored: `"token":"at","expiry":"1999-01-01T00:00:00Z","scopes":["a"]`, asks: 1},
		{name: "no token", scopes: "a", stored: `"scopes":["a"]`, asks: 1},
		{
			name:    "one scope missing",
			scopes:  "a b",
			stored:  `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["a"]`,
			signIns: 1,
			asks:    1,
		},
		{name: "revoked", scopes: "a", stored: `"scopes":["a"]`, signIns: 1, asks: 2,
			with: func(s *TestServer, _ *memoryStore, _ *InstalledAppFlow) { s.RevokeAll() }},
		{
			name:    "another client",
			scopes:  "a",
			stored:  `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["a"]`,
			signIns: 1,
			asks:    1,
			with:    func(_ *TestServer, store *memoryStore, _ *InstalledAppFlow) { store.set("client_id", "other") },
		},
		{name: "another server", scopes: "a", stored: `"token":"at","expiry":"2140-01-01T00:00:00Z","scopes":["a"]`,
			signIns: 1, asks: 1,
			with: func(_ *TestServer, store *memoryStore, _ *InstalledAppFlow) {
				store.set("token_uri", "https://other.example/token")
			}},
		{name: "server out of order", scopes: "a", stored: `"scopes":["a"]`, asks: 1, want: "403",
			with: func(s *TestServer, _ *memoryStore, _ *InstalledAppFlow) {
				s.Hook = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(403); return true }
			}},
		{name: "corrupt", scopes: "a", want: "JSON",
			with: func(_ *TestServer, store *memoryStore, _ *InstalledAppFlow) { store.data = []byte("{") }},
		{name: "store can't be read", scopes: "a", want: "full",
			with: func(_ *TestServer, store *memoryStore, _ *InstalledAppFlow) {
				store.enter = func(context.Context) error { return full }
			}},
		{name: "store can't be written", scopes: "a", want: "full", // W48: found out before
			with: func(_ *TestServer, store *memoryStore, _ *InstalledAppFlow) {
				store.write = func() error { return full }
			}},
		{name: "store full in the end", scopes: "a", signIns: 1, asks: 1, want: "full",
			with: func(_ *TestServer, store *memoryStore, _ *InstalledAppFlow) {
				writes := 0
				store.write = func() error {
					if writes++; writes == 1 { // the trial
						return nil
					}
					return full
				}
			}},
		{name: "declined", scopes: "a", signIns: 1, want: "access_denied",
			with: func(s *TestServer, _ *memoryStore, _ *InstalledAppFlow) { s.Deny = "access_denied" }},
		{name: "no store", scopes: "a", want: "Store",
			with: func(_ *TestServer, _ *memoryStore, f *InstalledAppFlow) { f.Store = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, store := NewTestServer(t), newMemoryStore()
			s.Rotate = true
			client := clientOf(s)
			client.HTTPClient = nil
			if tt.stored != "" {
				store.data = fmt.Appendf(nil,
					`{"client_id":%q,"client_secret":%q,"token_uri":%q,"issuer":%q,"refresh_token":%q,%s}`,
					s.ClientID, s.ClientSecret, client.TokenURI, s.URL, s.IssueRefreshToken("a", "b"), tt.stored)
			}
			flow := NewInstalledAppFlow(client, tt.scopes)
			flow.Store, flow.Prompt, flow.OpenBrowser = store, io.Discard, s.Browser
			if tt.with != nil {
				tt.with(s, store, flow)
			}
			before := store.data
			c, err := flow.SignIn(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
			if signIns := s.Count("/authorize"); signIns != tt.signIns || s.TokenRequests("") != tt.asks {
				t.Errorf("%d sign-ins, %d token requests", signIns, s.TokenRequests(""))
			}
			store.enter = nil
			switch {
			case err == nil: // what is returned is what is stored, and a program that is started again asks for nothing
				tok, err := c.Token(t.Context())
				data, _ := store.Load(t.Context())
				loaded, parseErr := ParseCredentials(data)
				if err != nil || parseErr != nil ||
					loaded.cache.current.Load().RefreshToken.Reveal() != tok.RefreshToken.Reveal() ||
					tok.AccessToken.Reveal() != tokenOrError(t.Context(), loaded) || s.TokenRequests("") != tt.asks {
					t.Errorf("%v, %v, %v; stored: %s", tok, err, parseErr, data)
				}
				again, err := flow.SignIn(t.Context())
				if err != nil || tokenOrError(t.Context(), again) != tok.AccessToken.Reveal() ||
					s.Count("/authorize") != tt.signIns || s.TokenRequests("") != tt.asks {
					t.Errorf("again: %v; %d sign-ins, %d token requests", err, s.Count("/authorize"),
						s.TokenRequests(""))
				}
			case errors.Is(err, full) && tt.signIns > 0: // the work of the user is not lost
				if c == nil || !strings.HasPrefix(tokenOrError(t.Context(), c), "at-") ||
					s.TokenRequests("") != tt.asks {
					t.Errorf("no credentials: %v", err)
				}
			case !bytes.Equal(store.data, before):
				t.Errorf("stored: %s", store.data)
			}
		})
	}
}

// A sign-in at Google whose result is kept asks for consent, so that a refresh token comes, unless the program asks for
// something else.
//
// UP21, W46
func TestInstalledAppCredentialsPrompt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		issuer string
		params map[string][]string
		want   string
	}{
		{name: "Google", issuer: googleIssuer, want: "consent"},
		{
			name:   "Google, another prompt",
			issuer: googleIssuer,
			params: map[string][]string{"prompt": {"select_account"}},
			want:   "select_account",
		},
		{name: "Google, no prompt", issuer: googleIssuer, params: map[string][]string{"prompt": {""}}},
		{name: "another provider", issuer: "https://login.example"}, // W46
		{name: "no issuer"}, // W46
		{name: "another provider, asked for", params: map[string][]string{"prompt": {"consent"}}, want: "consent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewTestServer(t)
			client := clientOf(s)
			client.HTTPClient = nil
			flow := NewInstalledAppFlow(client, "a")
			client.Issuer = tt.issuer
			s.OmitIss = true
			flow.Store, flow.Prompt, flow.OpenBrowser, flow.Params = newMemoryStore(), io.Discard, s.Browser, tt.params
			if _, err := flow.SignIn(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.Requests()[0].Query.Get("prompt"); got != tt.want {
				t.Errorf("prompt=%s", got)
			}
			if len(flow.Params) != len(tt.params) {
				t.Errorf("the flow's own parameters are now %v", flow.Params)
			}
		})
	}
}
