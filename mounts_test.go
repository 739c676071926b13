package oauth2

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What can't be saved can still be used: with real mounts, where the run is root's, and with stores that fail.

// A mountCase is a place where a file can't be written as usual.
type mountCase struct {
	name string
	// Shell commands of root, in a mount namespace of their own. B is a folder, D one in it, F the file in D.
	block, mend string
	nobody      bool  // whether the process runs as the user nobody
	is          error // what can be found in the errors; nil: not known
	saves       bool  // in some other way
}

func mountCases() []mountCase {
	const (
		inMemory = `cp -p "$F" "$B/copy" && mount -t tmpfs -o mode=700,%s tmpfs "$D" && cp -p "$B/copy" "$F" && `
		oneFile  = `cp -p "$F" "$B/real" && mount --bind "$B/real" "$F"`
		readOnly = `mount --bind "$D" "$D" && mount -o remount,bind,ro "$D"`
		writable = `mount -o remount,bind,rw "$D"`
		foreign  = `chmod 755 "$D" && chmod 644 "$F"`
		give     = `chown -R 65534:65534 "$D" && chmod 700 "$D"`
		// As a Secret is laid out.
		secret = `mkdir "$D/..1" && mv "$F" "$D/..1/" && ln -s ..1 "$D/..data" && ` +
			`ln -s ..data/` + storeFileName + ` "$F"`
	)
	return []mountCase{
		{name: "read-only folder", block: readOnly, mend: writable, is: syscall.EROFS},
		{
			name:  "full disk",
			block: fmt.Sprintf(inMemory, "size=64k") + `{ cat /dev/zero >"$D/fill" 2>/dev/null || true; }`,
			mend:  `rm "$D/fill"`,
			is:    syscall.ENOSPC,
		},
		{
			name:  "no inodes",
			block: fmt.Sprintf(inMemory, "nr_inodes=9") + `while mkdir "$D/$((n += 1))" 2>/dev/null; do :; done`,
			mend:  `rmdir "$D"/[1-9]`,
			is:    syscall.ENOSPC,
		},
		{name: "one file", block: oneFile, mend: ":", saves: true},
		{
			name:  "one file, read-only",
			block: oneFile + ` && mount -o remount,bind,ro "$F"`,
			mend:  `mount -o remount,bind,rw "$F"`, // renaming fails in one way, writing in another
		},
		{
			name:   "one file, in the folder of another owner",
			block:  foreign + ` && chown 65534 "$F" && chmod 600 "$F" && ` + oneFile,
			mend:   `umount "$F" && ` + give,
			nobody: true,
			is:     syscall.EACCES,
		},
		{name: "folder of another owner", block: foreign, mend: give, nobody: true, is: syscall.EACCES},
		{name: "mode 1777", block: `chmod 1777 "$D" && chmod 644 "$F"`, mend: `chmod 700 "$D"`},
		{name: "mode 1777, of another owner", block: foreign + ` && chmod 1777 "$D"`, mend: give, nobody: true},
		{
			name:  "mode 1777, read-only, behind links",
			block: secret + ` && chmod 1777 "$D" && ` + readOnly,
			mend:  writable + ` && chmod 700 "$D"`,
		},
	}
}

// A mountJob is what a child process has to do. It travels in the environment variable OAUTH2_MOUNT_JOB.
type mountJob struct {
	Case, State, Name, Server string
	Refresh                   string // the refresh token of another sign-in
}

// Each place where a file can't be written, in each state in which a program may find itself: with a token that is
// good, with one that has expired, and with a new sign-in.
//
// W72 W73 W83 W88
func TestMounts(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("only root on Linux can mount")
	}
	probe := exec.CommandContext(t.Context(), "unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", t.TempDir())
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no mounts are allowed here: %v: %s", err, out)
	}
	type result struct {
		name   string
		faults []string
		done   chan struct{}
	}
	var results []*result
	for _, c := range mountCases() {
		for _, state := range []string{"good", "expired", "new sign-in"} {
			r := &result{name: c.name + "/" + state, done: make(chan struct{})}
			results = append(results, r)
			s := NewTestServer(t)
			base := filepath.Join(t.TempDir(), "base")
			go func() { // all at once, since they wait most of the time
				defer close(r.done)
				r.faults = mountChild(t.Context(), s, base, c, state)
			}()
		}
	}
	for _, r := range results {
		t.Run(r.name, func(t *testing.T) {
			<-r.done
			for _, fault := range r.faults {
				t.Error(fault)
			}
		})
	}
}

// mountChild runs a child process in a mount namespace of its own, and returns what went wrong.
func mountChild(ctx context.Context, s *TestServer, base string, c mountCase, state string) (faults []string) {
	dir := filepath.Join(base, "data")
	job := mountJob{
		Case:    c.name,
		State:   state,
		Name:    filepath.Join(dir, storeFileName),
		Server:  s.URL,
		Refresh: s.IssueRefreshToken("a"),
	}
	exe, err := os.Executable()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	for up := base; err == nil && up != filepath.Clean(os.TempDir()); up = filepath.Dir(up) {
		err = os.Chmod(up, 0o755) // nobody has to get there
	}
	if err == nil {
		err = saveForMount(ctx, s, job)
	}
	data, jsonErr := json.Marshal(job)
	if err = errors.Join(err, jsonErr); err != nil {
		return []string{err.Error()}
	}
	env := append(os.Environ(), "B="+base, "D="+dir, "F="+job.Name, "E="+exe, "OAUTH2_MOUNT_JOB="+string(data))
	script := `: >"$B/exe" && mount --bind "$E" "$B/exe" && ` + c.block + ` && exec `
	if c.nobody {
		script += `setpriv --reuid=65534 --regid=65534 --clear-groups `
	}
	child := exec.CommandContext(ctx, "unshare", "-m", "--propagation", "private", "sh", "-c",
		script+`"$B/exe" -test.run='^TestMountChild$' -test.count=1`)
	child.Env = env
	var stderr bytes.Buffer
	child.Stderr = &stderr
	stdin, inErr := child.StdinPipe()
	stdout, outErr := child.StdoutPipe()
	if err := errors.Join(inErr, outErr, child.Start()); err != nil {
		return []string{err.Error()}
	}
	lines := bufio.NewReader(stdout)
	for _, phase := range []string{"blocked", "mended"} {
		if phase == "mended" {
			enter := exec.CommandContext(ctx, "nsenter", "-m", "-t", fmt.Sprint(child.Process.Pid), "sh", "-c", c.mend)
			enter.Env = env
			if out, err := enter.CombinedOutput(); err != nil {
				faults = append(faults, fmt.Sprintf("%v: %s", err, out))
			}
			fmt.Fprintln(stdin, phase)
		}
		line, err := lines.ReadBytes('\n')
		var found []string
		if err = errors.Join(err, json.Unmarshal(line, &found)); err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v: %s%s", phase, err, line, stderr.String()))
			break
		}
		for _, fault := range found {
			faults = append(faults, phase+": "+fault)
		}
	}
	stdin.Close()
	if err := child.Wait(); err != nil {
		faults = append(faults, fmt.Sprintf("%v: %s", err, stderr.String()))
	}
	return faults
}

// saveForMount writes the file that the child process finds.
func saveForMount(ctx context.Context, s *TestServer, job mountJob) error {
	creds := NewCredentials(worstClient(s.URL, http.DefaultTransport), NewSecret(s.IssueRefreshToken("a")))
	if _, err := creds.Token(ctx); err != nil {
		return err
	}
	store := FileStore(job.Name)
	if err := creds.Save(ctx, store); err != nil || job.State == "good" {
		return err
	}
	data, err := store.Load(ctx)
	var members map[string]any
	if err = errors.Join(err, json.Unmarshal(data, &members)); err != nil {
		return err
	}
	members["expiry"] = "2020-01-02T03:04:05Z"
	data, err = json.Marshal(members)
	return errors.Join(err, os.WriteFile(job.Name, data, 0o600))
}

// A mountProcess is a child process.
type mountProcess struct {
	mountCase
	job      mountJob
	ctx      context.Context
	store    Store
	client   *ClientSecrets
	requests atomic.Int32 // for tokens
	faults   []string
}

// TestMountChild is the main function of a child process of TestMounts, and nothing else.
func TestMountChild(t *testing.T) {
	text, ok := os.LookupEnv("OAUTH2_MOUNT_JOB")
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := &mountProcess{ctx: ctx}
	if err := json.Unmarshal([]byte(text), &p.job); err != nil {
		t.Fatal(err)
	}
	for _, c := range mountCases() {
		if c.name == p.job.Case {
			p.mountCase = c
		}
	}
	p.store = FileStore(p.job.Name)
	p.client = worstClient(p.job.Server, roundTripFunc(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/token" {
			p.requests.Add(1)
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	p.client.Issuer = ""
	var creds *Credentials
	switch p.job.State {
	case "good":
		creds = p.good()
	case "expired":
		creds = p.expired()
	default:
		creds = p.newSignIn()
	}
	json.NewEncoder(os.Stdout).Encode(append([]string{}, p.faults...))
	bufio.NewReader(os.Stdin).ReadString('\n') // mended
	p.faults = nil
	if creds != nil {
		p.savedLater(creds)
	}
	json.NewEncoder(os.Stdout).Encode(append([]string{}, p.faults...))
}

func (p *mountProcess) check(ok bool, format string, args ...any) {
	if !ok {
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
}

func (p *mountProcess) load() *Credentials {
	creds, err := LoadCredentials(p.ctx, p.client, p.store)
	p.check(err == nil, "LoadCredentials: %v", err)
	return creds
}

// stored returns what the file holds.
func (p *mountProcess) stored() *Token {
	data, err := p.store.Load(p.ctx)
	tok := fileToken(data)
	if err != nil || tok == nil {
		p.check(false, "the file: %v", err)
		return new(Token)
	}
	return tok
}

// token checks that Token returns a token after as many requests as there should have been.
func (p *mountProcess) token(what string, creds *Credentials, requests int32) *Token {
	tok, err := creds.Token(p.ctx)
	p.check(err == nil && tok.Valid(), "%s: Token: valid %v, %v", what, tok.Valid(), err)
	n := p.requests.Load()
	p.check(n == requests, "%s: %d requests, want %d", what, n, requests)
	if tok == nil {
		return new(Token)
	}
	return tok
}

// refresh checks that Refresh returns a token, and an error if it could not be saved.
func (p *mountProcess) refresh(creds *Credentials, before *Token, requests int32) {
	tok, err := creds.Refresh(p.ctx)
	p.check(tok.Valid() && !tok.AccessToken.equal(before.AccessToken), "Refresh: valid %v, %v", tok.Valid(), err)
	p.checkError("Refresh", err)
	again := p.token("after Refresh", creds, requests)
	p.check(tok != nil && again.AccessToken.equal(tok.AccessToken), "after Refresh: another token")
}

func (p *mountProcess) checkError(what string, err error) {
	isRight := err != nil && !errors.Is(err, ErrLoginRequired) && (p.is == nil || errors.Is(err, p.is))
	if p.saves {
		isRight = err == nil
	}
	p.check(isRight, "%s: error %v, want %v", what, err, p.is)
}

// good is a program that finds a token that is good.
func (p *mountProcess) good() *Credentials {
	creds := p.load()
	if creds == nil {
		return nil
	}
	first := p.token("good", creds, 0)
	p.check(first.AccessToken.equal(p.stored().AccessToken), "good: not the stored token")
	p.refresh(creds, first, 1)
	p.rejected(creds, 2)
	if next := p.load(); next != nil {
		tok := p.token("the next start", next, 2)
		p.check(tok.AccessToken.equal(p.stored().AccessToken), "the next start: not the stored token")
	}
	return creds
}

// rejected checks that another token is fetched when the resource server rejects one.
func (p *mountProcess) rejected(creds *Credentials, requests int32) {
	tok := p.token("to be rejected", creds, requests-1)
	resp, err := http.PostForm(p.client.RevocationURI, url.Values{
		"token":         {tok.AccessToken.Reveal()},
		"client_id":     {p.client.ClientID},
		"client_secret": {p.client.ClientSecret.Reveal()},
	})
	if err == nil {
		resp.Body.Close()
		resp, err = NewClient(creds).Get(p.job.Server + "/userinfo")
	}
	if err != nil {
		p.check(false, "a rejected token: %v", err)
		return
	}
	resp.Body.Close()
	p.check(resp.StatusCode == http.StatusOK, "a rejected token: %s", resp.Status)
	p.token("after a rejected token", creds, requests)
}

// expired is a program that finds a token that has expired.
func (p *mountProcess) expired() *Credentials {
	creds := p.load()
	if creds == nil {
		return nil
	}
	var tok *Token
	for n := 0; n < 15 && len(p.faults) == 0; n++ { // until the save is tried again, which needs no request
		tok = p.token("expired", creds, 1)
		time.Sleep(100 * time.Millisecond)
	}
	p.refresh(creds, tok, 2)
	if next := p.load(); next != nil {
		requests := int32(3)
		if p.saves {
			requests = 2
		}
		p.token("the next start", next, requests)
	}
	return creds
}

// newSignIn is a program that can't save a sign-in.
func (p *mountProcess) newSignIn() *Credentials {
	creds := NewCredentials(p.client, NewSecret(p.job.Refresh))
	p.checkError("Save", creds.Save(p.ctx, p.store))
	p.token("a new sign-in", creds, 1)
	return creds
}

// savedLater checks that what could not be saved is, some time after it can be, by asking for a token; and that the
// next start finds it.
func (p *mountProcess) savedLater(creds *Credentials) {
	requests := p.requests.Load()
	var tok *Token
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(100 * time.Millisecond) {
		tok = p.token("later", creds, requests)
		if len(p.faults) > 0 || tokensOf(p.stored()) == tokensOf(tok) {
			break
		}
	}
	stored := p.stored()
	p.check(tokensOf(stored) == tokensOf(tok), "not saved later: the file has %.9s and %.9s, want %.9s and %.9s",
		stored.AccessToken.Reveal(), stored.RefreshToken.Reveal(), tok.AccessToken.Reveal(), tok.RefreshToken.Reveal())
	if next := p.load(); next != nil {
		again := p.token("the start after that", next, requests)
		p.check(again.AccessToken.equal(tok.AccessToken), "the start after that: another token")
	}
	info, err := os.Stat(p.job.Name)
	if err == nil && p.saves {
		p.check(info.Mode().Perm() == 0o600, "the file has mode %v", info.Mode())
	}
}

// An unsavableStore fails before its function is called, or when it would write.
type unsavableStore struct {
	*memoryStore
	locking, writing error
}

func (s *unsavableStore) Update(ctx context.Context, fn func([]byte) ([]byte, error)) error {
	if s.locking != nil {
		return s.locking
	}
	return s.memoryStore.Update(ctx, func(old []byte) ([]byte, error) {
		data, err := fn(old)
		if err == nil && !bytes.Equal(data, old) {
			err = s.writing
		}
		return data, err
	})
}

// unsavable calls test, in a bubble of its own, with each error that a Store may report if it can't save, from locking
// and from writing.
func unsavable(t *testing.T, test func(t *testing.T, block func(*unsavableStore), is error)) {
	forms := map[string]func(error) error{
		"bare":    func(err error) error { return err },
		"path":    func(err error) error { return &fs.PathError{Op: "open", Path: "/secret/file", Err: err} },
		"link":    func(err error) error { return &os.LinkError{Op: "rename", Old: "a", New: "b", Err: err} },
		"syscall": func(err error) error { return os.NewSyscallError("write", err) },
		"wrapped": func(err error) error { return fmt.Errorf("keyring: %w", err) },
		"joined":  func(err error) error { return errors.Join(errors.New("keyring"), err) },
	}
	for name, is := range map[string]error{
		"EROFS":  syscall.EROFS,
		"EACCES": syscall.EACCES,
		"EPERM":  syscall.EPERM,
		"ENOSPC": syscall.ENOSPC,
		"EDQUOT": syscall.EDQUOT,
	} {
		for form, wrap := range forms {
			for _, where := range []string{"locking", "writing"} {
				t.Run(strings.Join([]string{name, form, where}, "/"), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						test(t, func(s *unsavableStore) {
							if where == "locking" {
								s.locking = wrap(is)
							} else {
								s.writing = wrap(is)
							}
						}, is)
					})
				})
			}
		}
	}
}

// checkUnsaved checks that Refresh returns a token, which is in use, together with the error.
func checkUnsaved(t *testing.T, c *Credentials, is error) {
	t.Helper()
	tok, err := c.Refresh(t.Context())
	if !tok.Valid() || !errors.Is(err, is) || errors.Is(err, ErrLoginRequired) {
		t.Errorf("Refresh: valid %v, error %v, want %v", tok.Valid(), err, is)
	}
	again, err := c.Token(t.Context())
	if err != nil || tok == nil || again.AccessToken.Reveal() != tok.AccessToken.Reveal() {
		t.Errorf("Token after Refresh: %v, %v", again, err)
	}
}

// checkMended checks that, once the store can save, asking for a token saves, without a request for the token.
func checkMended(t *testing.T, s *TestServer, c *Credentials, store Store) {
	t.Helper()
	requests := s.TokenRequests("")
	var tok *Token
	for range 2 * 60 {
		time.Sleep(time.Second)
		var err error
		tok, err = c.Token(t.Context())
		if err != nil {
			t.Fatalf("mended: %v", err)
		}
		data, _ := store.Load(t.Context())
		if stored := fileToken(data); stored != nil && tokensOf(stored) == tokensOf(tok) {
			break
		}
	}
	next := loadedCredentials(t, s, store)
	got, err := next.Token(t.Context())
	if err != nil || got.AccessToken.Reveal() != tok.AccessToken.Reveal() ||
		got.RefreshToken.Reveal() != tok.RefreshToken.Reveal() {
		t.Errorf("mended: the next start has %v, %v", got, err)
	}
	if n := s.TokenRequests("") - requests; n != 0 || s.Reuses() != 0 {
		t.Errorf("mended: %d requests, %d reuses", n, s.Reuses())
	}
}

// A store that can't save, with a token in it that is good: it is taken without a request. A new one is used, and saved
// when that can be.
//
// W72 W83
func TestUnsavableGood(t *testing.T) {
	t.Parallel()
	unsavable(t, func(t *testing.T, block func(*unsavableStore), is error) {
		s, store := rotatingServer(), &unsavableStore{memoryStore: newMemoryStore()}
		first, err := savedCredentials(t, s, store).Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		block(store)
		c := loadedCredentials(t, s, store)
		if got := tokenOrError(t.Context(), c); got != first.AccessToken.Reveal() || s.TokenRequests("") != 1 {
			t.Errorf("good: %s, %d requests", got, s.TokenRequests(""))
		}
		checkUnsaved(t, c, is)
		// The resource server rejects it.
		tok, err := c.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.revoke(tok.AccessToken.Reveal())
		client := &http.Client{Transport: &Transport{Source: c, Base: s.Transport()}}
		resp, err := client.Get(s.URL + "/userinfo")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("a rejected token: %v, %v", resp, err)
		}
		time.Sleep(time.Hour + time.Minute) // expired, and what the store has is used up
		if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
			t.Errorf("expired: %s", got)
		}
		if s.Reuses() != 0 {
			t.Errorf("%d reuses", s.Reuses())
		}
		store.locking, store.writing = nil, nil
		checkMended(t, s, c, store)
	})
}

// A store that can't save, with a token in it that has expired: a new one is used. So it is at the next start, unless
// another process has managed to store one meanwhile.
//
// W69 W72
func TestUnsavableExpired(t *testing.T) {
	t.Parallel()
	unsavable(t, func(t *testing.T, block func(*unsavableStore), is error) {
		s, store := NewMemoryServer(), &unsavableStore{memoryStore: newMemoryStore()}
		c := savedCredentials(t, s, store)
		if _, err := c.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		block(store)
		time.Sleep(2 * time.Hour)
		for start := range 3 { // starts of a program
			c = loadedCredentials(t, s, store)
			for range 5 {
				tok, err := c.Token(t.Context())
				if err != nil || !tok.Valid() {
					t.Fatalf("start %d: %v, %v", start, tok, err)
				}
				time.Sleep(10 * time.Second)
			}
			if n := s.TokenRequests(""); n != 2+start {
				t.Errorf("start %d: %d requests, want %d", start, n, 2+start)
			}
		}
		checkUnsaved(t, c, is)
		// Another process can save, and has.
		if _, err := loadedCredentials(t, s, store.memoryStore).Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		idle := loadedCredentials(t, s, store)
		time.Sleep(50 * time.Minute)
		other, err := loadedCredentials(t, s, store.memoryStore).Refresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute) // idle's token has expired, other's has not
		requests := s.TokenRequests("")
		got := tokenOrError(t.Context(), idle)
		if n := s.TokenRequests("") - requests; got != other.AccessToken.Reveal() || n != 0 {
			t.Errorf("a token that is good: %s after %d requests", got, n)
		}
		// Another process has logged out.
		store.data = nil
		time.Sleep(2 * time.Hour)
		if tok, err := idle.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
			t.Errorf("logged out: %v, %v", tok, err)
		}
		if n := s.TokenRequests("") - requests; n != 0 {
			t.Errorf("logged out: %d requests", n)
		}
	})
}

// A new sign-in that can't be saved is used, and saved when that can be.
//
// W72 W88
func TestUnsavableSignIn(t *testing.T) {
	t.Parallel()
	unsavable(t, func(t *testing.T, block func(*unsavableStore), is error) {
		for _, isEmpty := range []bool{true, false} {
			s, store := rotatingServer(), &unsavableStore{memoryStore: newMemoryStore()}
			if !isEmpty {
				savedCredentials(t, s, store)
			}
			block(store)
			c := credentialsOf(s, "a")
			if err := c.Save(t.Context(), store); !errors.Is(err, is) {
				t.Errorf("Save: %v", err)
			}
			if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
				t.Errorf("a sign-in that was not saved: %s", got)
			}
			checkUnsaved(t, c, is)
			store.locking, store.writing = nil, nil
			checkMended(t, s, c, store)
		}
	})
}

// Any other error of a Store says nothing about what it can save: then nothing is asked of the server that could not
// be kept.
//
// W72
func TestUnsavableOtherwise(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{
		"of its own": errors.New("keyring: locked"),
		"deadline":   context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), &unsavableStore{memoryStore: newMemoryStore()}
				savedCredentials(t, s, store)
				c := loadedCredentials(t, s, store)
				store.locking = fault
				tok, err := c.Token(t.Context())
				if err == nil || errors.Is(err, ErrLoginRequired) || s.TokenRequests("") != 0 {
					t.Errorf("%v, %v, %d requests", tok, err, s.TokenRequests(""))
				}
				store.locking = nil
				time.Sleep(time.Minute)
				if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
					t.Errorf("mended: %s", got)
				}
			})
		})
	}
}
