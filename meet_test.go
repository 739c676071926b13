package oauth2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Which program opens the URL, and whether there seems to be a browser at all. The environment is one for all tests:
// they are not parallel.
//
// W42 W43
func TestLauncher(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the rows are those of Linux")
	}
	const handler = "url.dll,FileProtocolHandler"
	windows := []string{"rundll32.exe"}
	for _, tt := range []struct {
		name     string
		browser  string // BROWSER
		display  string
		programs []string // in the PATH
		want     string   // the program and its arguments before the URL
		none     bool     // there seems to be no browser
	}{
		{name: "nothing", want: "xdg-open", none: true},
		{name: "display", display: ":0", want: "xdg-open"},
		{name: "BROWSER", browser: "firefox", want: "firefox"},
		{name: "BROWSER with its folder", browser: "/vscode/bin/browser.sh", want: "/vscode/bin/browser.sh"},
		{name: "BROWSER beside a display", browser: "firefox", display: ":0", want: "firefox"},
		{name: "several browsers", browser: "firefox:chromium", want: "xdg-open", none: true},
		{name: "an argument", browser: "firefox -P", want: "xdg-open", none: true},
		{name: "a place for the URL", browser: "firefox%s", want: "xdg-open", none: true},
		{name: "an argument, beside a display", browser: "sh -c", display: ":0", want: "xdg-open"},
		{name: "WSL", programs: windows, want: "rundll32.exe " + handler},
		{name: "WSL with wslview", programs: append(windows, "wslview"), want: "wslview"},
		{name: "WSL with wslview alone", programs: []string{"wslview"}, want: "wslview"},
		{name: "WSL with a display", programs: windows, display: ":0", want: "rundll32.exe " + handler},
		{name: "WSL with BROWSER", programs: windows, browser: "firefox", want: "firefox"},
		{name: "WSL without the programs of Windows", want: "xdg-open", none: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, program := range tt.programs {
				writeScript(t, filepath.Join(dir, program), "exit 1")
			}
			for name, value := range map[string]string{
				"BROWSER": tt.browser, "DISPLAY": tt.display, "WAYLAND_DISPLAY": "", "SSH_CONNECTION": "",
				"PATH": dir,
			} {
				t.Setenv(name, value)
			}
			name, args := launcher()
			if got := strings.Join(append([]string{name}, args...), " "); got != tt.want || noBrowser() != tt.none {
				t.Errorf("%q, and no browser: %t; want %q, %t", got, noBrowser(), tt.want, tt.none)
			}
		})
	}
}

// The program that BROWSER names gets the URL as its one argument, without a shell and without a display, and the user
// is not sent to another machine. So does what opens it under WSL. W42 W43
func TestSignInWithBrowserOfEnvironment(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the launchers are those of Linux")
	}
	for _, tt := range []struct{ name, program, variable, value, args string }{
		{"BROWSER", "browser.sh", "BROWSER", "{DIR}/browser.sh", "1 URL"},
		{"wslview", "wslview", "WSL_DISTRO_NAME", "Ubuntu", "1 URL"},
		{"rundll32.exe", "rundll32.exe", "WSL_DISTRO_NAME", "Ubuntu", "2 url.dll,FileProtocolHandler URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			fifo := filepath.Join(dir, "report")
			if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
				t.Skip(string(out), err)
			}
			writeScript(t, filepath.Join(dir, tt.program), `echo $# "$@" >"`+fifo+`"`)
			for _, name := range []string{"BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "WSL_INTEROP"} {
				t.Setenv(name, "")
			}
			t.Setenv("PATH", dir)
			t.Setenv(tt.variable, strings.ReplaceAll(tt.value, "{DIR}", dir))
			s := NewTestServer(t)
			f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "a")
			var prompt bytes.Buffer
			f.Prompt = &prompt
			calls := make(chan string, 1)
			go func() {
				called, err := os.ReadFile(fifo)
				if err != nil {
					t.Error(err)
				}
				calls <- strings.TrimSpace(string(called))
				words := strings.Fields(string(called))
				if err := s.Browser(words[len(words)-1]); err != nil {
					t.Error(err)
				}
			}()
			if _, err := f.RunLocalServer(t.Context()); err != nil {
				t.Fatal(err)
			}
			authURL := strings.TrimSpace(strings.SplitN(prompt.String(), "\n", 4)[2])
			if got, want := <-calls, strings.Replace(tt.args, "URL", authURL, 1); got != want {
				t.Errorf("called with %q, want %q", got, want)
			}
			if strings.Contains(prompt.String(), "ssh") {
				t.Errorf("the user reads %q", prompt.String())
			}
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// stubborn never returns what is read from it, and takes deadlines without obeying them.
type stubborn struct {
	forever  <-chan struct{}
	deadline bool // even setting one does not return
}

func (s stubborn) Read([]byte) (int, error) { <-s.forever; return 0, io.EOF }

func (s stubborn) SetReadDeadline(time.Time) error {
	if s.deadline {
		<-s.forever
	}
	return nil
}

// A sign-in waits for nothing that may never answer. W44, W50, B6
func TestSignInWaitsForNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(f *InstalledAppFlow, forever <-chan struct{})
	}{
		{"browser", func(f *InstalledAppFlow, forever <-chan struct{}) {
			open := f.OpenBrowser
			f.OpenBrowser = func(u string) error { open(u); <-forever; return nil }
		}},
		{"prompt", func(f *InstalledAppFlow, forever <-chan struct{}) {
			f.Prompt = writerFunc(func([]byte) (int, error) { <-forever; return 0, io.ErrClosedPipe })
		}},
		{"prompt, from the second time on", func(f *InstalledAppFlow, forever <-chan struct{}) {
			var writes atomic.Int64
			f.Prompt = writerFunc(func(b []byte) (int, error) {
				if writes.Add(1) > 1 {
					<-forever
				}
				return len(b), nil
			})
		}},
		{"reader", func(f *InstalledAppFlow, forever <-chan struct{}) {
			f.Input = readerFunc(func([]byte) (int, error) { <-forever; return 0, io.EOF })
		}},
		{"reader that ignores its deadline", func(f *InstalledAppFlow, forever <-chan struct{}) {
			f.Input = stubborn{forever: forever}
		}},
		{"reader whose deadline can't be set", func(f *InstalledAppFlow, forever <-chan struct{}) {
			f.Input = stubborn{forever: forever, deadline: true}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				forever := make(chan struct{})
				defer close(forever)
				r := newPasteRun()
				tt.set(r.flow, forever)
				began := time.Now()
				go func() {
					defer close(r.done)
					r.creds, r.err = r.flow.run(t.Context(), []net.Listener{r}, r.redirect)
				}()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				at, err := r.Authorize(r.authURL)
				if err != nil {
					t.Fatal(err)
				}
				r.browse(t, at)
				r.signedIn(t)
				if took := time.Since(began); took > 8*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
	for _, tt := range []struct {
		name string
		set  func(r *deviceRun, forever <-chan struct{})
	}{
		{"ShowDeviceCode", func(r *deviceRun, forever <-chan struct{}) {
			r.flow.ShowDeviceCode = func(DeviceCode) { <-forever }
		}},
		{"prompt of a device", func(r *deviceRun, forever <-chan struct{}) {
			r.flow.Prompt = writerFunc(func([]byte) (int, error) { <-forever; return 0, io.ErrClosedPipe })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				forever := make(chan struct{})
				defer close(forever)
				r := newDeviceRun(t)
				tt.set(r, forever)
				if _, err := r.flow.RunDevice(t.Context()); err != nil || time.Since(r.begun) > 8*time.Second {
					t.Errorf("%v after %v", err, time.Since(r.begun))
				}
			})
		})
	}
}

// A deafStore never answers, from its n-th call on.
type deafStore struct {
	*memoryStore
	after   int64
	obeys   bool // its context
	calls   atomic.Int64
	forever chan struct{}
}

func (s *deafStore) wait(ctx context.Context) error {
	if s.calls.Add(1) <= s.after {
		return nil
	}
	if !s.obeys {
		ctx = context.Background()
	}
	select {
	case <-s.forever:
		return errors.New("the store was closed")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *deafStore) Load(ctx context.Context) ([]byte, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.memoryStore.Load(ctx)
}

func (s *deafStore) Update(ctx context.Context, fn func([]byte) ([]byte, error)) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.memoryStore.Update(ctx, fn)
}

// A Store that never answers does not hold up SignIn for ever, whether it obeys its context or not. W48
func TestSignInStoreNeverAnswers(t *testing.T) {
	t.Parallel()
	for _, obeys := range []bool{true, false} {
		for after, what := range []string{"load", "trial", "save"} {
			for _, limit := range []time.Duration{0, time.Minute} {
				t.Run(fmt.Sprintf("%s, obeys %t, %v", what, obeys, limit), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						r := newDeviceRun(t)
						r.flow.ShowDeviceCode = func(DeviceCode) {}
						store := &deafStore{
							memoryStore: newMemoryStore(),
							after:       int64(after),
							obeys:       obeys,
							forever:     make(chan struct{}),
						}
						defer close(store.forever)
						r.flow.Store = store
						ctx, want := t.Context(), attemptLifetime
						if limit > 0 {
							limited, cancel := context.WithTimeout(ctx, limit)
							defer cancel()
							ctx, want = limited, limit
						}
						_, err := r.flow.SignIn(ctx)
						if took := time.Since(r.begun); took > want || !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("%v after %v", err, took)
						}
					})
				})
			}
		}
	}
}

// sharedRun is several calls of SignIn with one Store, in a bubble.
type sharedRun struct {
	*deviceRun
	store  *memoryStore
	shown  atomic.Int64
	scopes []string // of each call
}

func newSharedRun(t *testing.T) *sharedRun {
	r := &sharedRun{deviceRun: newDeviceRun(t), store: newMemoryStore(), scopes: slices.Repeat([]string{"email"}, 4)}
	return r
}

// flowOf returns a flow of its own for a call.
func (r *sharedRun) flowOf(scopes string) *InstalledAppFlow {
	f := NewInstalledAppFlow(r.flow.client, scopes)
	f.Prompt, f.Store = io.Discard, r.store
	f.ShowDeviceCode = func(DeviceCode) { r.shown.Add(1) }
	return f
}

// Calls with the same Store share one sign-in; the others use what it stored, or get its error. W47
func TestSignInShared(t *testing.T) {
	t.Parallel()
	t.Run("success", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newSharedRun(t)
			var all sync.WaitGroup
			for _, scopes := range r.scopes {
				all.Go(func() {
					creds, err := r.flowOf(scopes).SignIn(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := creds.Token(t.Context()); err != nil || creds.stored().store == nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if r.shown.Load() != 1 || len(r.polls) != 1 {
				t.Errorf("%d codes, polls %v", r.shown.Load(), r.polls)
			}
		})
	})
	t.Run("failure", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newSharedRun(t)
			r.DeviceScript = []string{"authorization_pending", "access_denied"}
			var all sync.WaitGroup
			for _, scopes := range r.scopes {
				all.Go(func() {
					creds, err := r.flowOf(scopes).SignIn(t.Context())
					if e := new(Error); creds != nil || !errors.As(err, &e) || e.Code != "access_denied" {
						t.Error(creds, err)
					}
				})
			}
			all.Wait()
			if r.shown.Load() != 1 {
				t.Errorf("%d codes", r.shown.Load())
			}
			r.DeviceScript = nil // a later call begins anew
			if _, err := r.flowOf("email").SignIn(t.Context()); err != nil || r.shown.Load() != 2 {
				t.Error(err, r.shown.Load())
			}
		})
	})
	t.Run("each waits no longer than its own context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newSharedRun(t)
			r.DeviceScript = []string{"authorization_pending", "authorization_pending", "ok"}
			var all sync.WaitGroup
			all.Go(func() {
				if _, err := r.flowOf("email").SignIn(t.Context()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := r.flowOf("email").SignIn(ctx); !errors.Is(err, context.DeadlineExceeded) ||
				time.Since(r.begun) != 2*time.Second {
				t.Errorf("%v after %v", err, time.Since(r.begun))
			}
			all.Wait()
		})
	})
	t.Run("the first one leaves", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newSharedRun(t)
			r.DeviceScript = []string{"authorization_pending", "ok"}
			var all sync.WaitGroup
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			all.Go(func() {
				if _, err := r.flowOf("email").SignIn(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
			synctest.Wait()
			for range 3 {
				all.Go(func() {
					if _, err := r.flowOf("email").SignIn(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if r.shown.Load() != 2 {
				t.Errorf("%d codes", r.shown.Load())
			}
		})
	})
	t.Run("other scopes", func(t *testing.T) { // W49
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newSharedRun(t)
			var all sync.WaitGroup
			for _, scopes := range []string{"email", "profile", "email", "profile"} {
				all.Go(func() {
					if _, err := r.flowOf(scopes).SignIn(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if r.shown.Load() != 2 {
				t.Errorf("%d codes", r.shown.Load())
			}
		})
	})
	t.Run("a Store that can't be compared", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newSharedRun(t)
			f := r.flowOf("email")
			f.Store = funcStore{r.store, []int{1}}
			if _, err := f.SignIn(t.Context()); err != nil {
				t.Error(err)
			}
		})
	})
}

// A funcStore can't be compared.
type funcStore struct {
	Store
	_ []int
}

// The second sign-in asks for what is stored too, so that two programs do not take the file from each other. W49
func TestSignInAsksForTheUnion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, stored, needed, want string }{
		{"disjoint", `"scopes":["a"]`, "b", "a b"},
		{"overlapping", `"scopes":["a","b"]`, "b c", "a b c"},
		{"nothing stored of it", `"refresh_token":"rt"`, "b", "b"},
		{"of another client", `"scopes":["a"],"client_id":"other"`, "b", "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewTestServer(t)
			client := clientOf(s)
			client.HTTPClient = nil
			store := newMemoryStore()
			store.data = fmt.Appendf(nil, `{"client_id":%q,"client_secret":%q,"token_uri":%q,"issuer":%q,`+
				`"refresh_token":"r","token":"at","expiry":"2140-01-01T00:00:00Z"}`,
				s.ClientID, s.ClientSecret, client.TokenURI, s.URL)
			for member := range strings.SplitSeq(tt.stored, `,"client`) {
				name, value, _ := strings.Cut(strings.Trim(member, `"`), `":`)
				if strings.HasPrefix(member, "_id") {
					store.set("client_id", "other")
				} else {
					store.set(name, rawText(value))
				}
			}
			flow := NewInstalledAppFlow(client, tt.needed)
			flow.Store, flow.Prompt, flow.OpenBrowser = store, io.Discard, s.Browser
			if _, err := flow.SignIn(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.Requests()[0].Query.Get("scope"); got != tt.want {
				t.Errorf("asked for %q, want %q", got, tt.want)
			}
			if _, err := flow.SignIn(t.Context()); err != nil || s.Count("/authorize") != 1 {
				t.Error(err, s.Count("/authorize"))
			}
		})
	}
}

type rawText string

func (r rawText) MarshalJSON() ([]byte, error) {
	if strings.HasSuffix(string(r), "]") {
		return []byte(r), nil
	}
	return []byte(`"` + r + `"`), nil
}

// While a sign-in waits for its redirect, another process stores its own: if that serves, it is taken within a second,
// and no code is sent. W47
func TestSignInTakesWhatOthersStore(t *testing.T) {
	t.Parallel()
	const good = `"refresh_token":"r","token":"at-other","expiry":"2140-01-01T00:00:00Z","scopes":["openid","email"]`
	for _, tt := range []struct {
		name   string
		before string // what is stored first
		after  string // what another process stores after ten seconds; "": the same
		taken  bool
	}{
		{name: "nothing was stored", after: good, taken: true},
		{name: "nothing is stored"},
		{name: "it stays", before: good},
		{name: "it replaces", before: strings.Replace(good, "at-other", "at-old", 1), after: good, taken: true},
		{name: "fewer scopes", after: strings.Replace(good, `,"email"`, "", 1)},
		{name: "another client", after: good + `,"client_id":"other"`},
		{name: "it yields no token", after: `"refresh_token":"dead","scopes":["openid","email"]`},
		{name: "not understood", after: `"x":`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newPasteRun()
				store := newMemoryStore()
				file := func(members string) []byte {
					head := fmt.Sprintf(`{"token_uri":%q,"issuer":%q,"client_secret":%q,`,
						r.flow.client.TokenURI, r.URL, r.ClientSecret)
					if !strings.Contains(members, "client_id") {
						head += fmt.Sprintf(`"client_id":%q,`, r.ClientID)
					}
					return []byte(head + members + "}")
				}
				r.flow.Store, r.flow.replaced = store, new(Token)
				if tt.before != "" {
					store.data = file(tt.before)
					old, err := LoadCredentials(t.Context(), r.flow.client, store)
					if err != nil {
						t.Fatal(err)
					}
					r.flow.replaced = old.cache.current.Load()
				}
				at := r.start(t.Context(), t)
				time.Sleep(10 * time.Second)
				if tt.after != "" {
					store.Update(t.Context(), func([]byte) ([]byte, error) { return file(tt.after), nil })
				}
				time.Sleep(1500 * time.Millisecond)
				if r.ended() != tt.taken {
					t.Fatalf("ended: %v", r.err)
				}
				if !tt.taken {
					r.browse(t, at.String())
					r.signedIn(t)
					return
				}
				tok, err := r.creds.Token(t.Context())
				if err != nil || tok.AccessToken.Reveal() != "at-other" || r.TokenRequests("") != 0 {
					t.Error(tok, err, r.TokenRequests(""))
				}
			})
		})
	}
}

// The terminal says as whom the user has signed in: another user of the machine, who reads the launcher's argv, may
// have been faster. W55
func TestSignedInAs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		email any
		want  string
	}{
		{name: "address", email: "ada@example.com", want: "Signed in as ada@example.com.\n"},
		{name: "none"},
		{name: "empty", email: ""},
		{name: "escape sequence", email: "ada\x1b[2J@example.com"},
		{name: "line end", email: "ada@example.com\nSigned in as bob"},
		{name: "a sentence", email: "ada@example.com. Now run this"},
		{name: "look-alike letter", email: "аda@example.com"}, // Cyrillic
		{name: "very long", email: strings.Repeat("a", 20<<10) + "@x.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				claims := func(c map[string]any) {
					if c["email"] = tt.email; tt.email == nil {
						delete(c, "email")
					}
				}
				r := newPasteRun()
				r.IDTokenClaims = claims
				at := r.start(t.Context(), t)
				r.types(at.String() + "\n")
				<-r.done
				if r.err != nil || !strings.HasSuffix(r.screen.String(), pasteHere+tt.want) {
					t.Errorf("%v; the screen has %q", r.err, r.screen.String())
				}
				d := newDeviceRun(t)
				d.IDTokenClaims = claims
				if _, err := d.run(t.Context()); err != nil || !strings.HasSuffix(d.prompt.String(), "\n\n"+tt.want) {
					t.Errorf("%v; the screen has %q", err, d.prompt.String())
				}
			})
		})
	}
}

// What a GUI gets of the code of a device, and that a sign-in that keeps its credentials serves devices too: stored
// ones first, then the code, then the store. W50 W52
func TestSignInOnDevice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(f *InstalledAppFlow)
		text bool // the code is printed
	}{
		{"ShowDeviceCode", func(*InstalledAppFlow) {}, false},
		{"no AuthURI", func(f *InstalledAppFlow) { f.ShowDeviceCode, f.client.AuthURI = nil, "" }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newDeviceRun(t)
				const complete = "https://as.example/activate?user_code=WDJB-MJHT"
				r.edit = map[string]string{"expires_in": "900", "verification_uri_complete": `"` + complete + `"`}
				store := newMemoryStore()
				var shown []DeviceCode
				r.flow.Store = store
				r.flow.ShowDeviceCode = func(d DeviceCode) { shown = append(shown, d) }
				tt.set(r.flow)
				creds, err := r.flow.SignIn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want := DeviceCode{"WDJB-MJHT", "https://as.example/activate", complete, r.begun.Add(15 * time.Minute)}
				if tt.text != strings.Contains(r.prompt.String(), complete) ||
					!tt.text && (len(shown) != 1 || shown[0] != want) {
					t.Errorf("shown %+v, want %+v; printed %q", shown, want, r.prompt.String())
				}
				tok, err := creds.Token(t.Context())
				stored, storeErr := LoadCredentials(t.Context(), nil, store)
				if err != nil || storeErr != nil || !stored.cache.current.Load().same(tok) {
					t.Errorf("%v, %v; stored: %s", err, storeErr, store.data)
				}
				polls := len(r.polls)
				_, err = r.flow.SignIn(t.Context())
				if err != nil || len(r.polls) != polls || r.Count("/device") != 1 {
					t.Errorf("the second time: %v, polls %v", err, r.polls)
				}
				if _, err := r.flow.RunDevice(t.Context()); err != nil || r.Count("/device") != 2 { // always anew
					t.Error(err, r.Count("/device"))
				}
				if now, _ := LoadCredentials(t.Context(), nil, store); now == nil ||
					now.cache.current.Load().same(tok) {
					t.Errorf("stored: %s", store.data)
				}
			})
		})
	}
	t.Run("a Store that can't be written", func(t *testing.T) { // W48
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			full := errors.New("disk full")
			for _, sign := range []func(*InstalledAppFlow) error{
				func(f *InstalledAppFlow) error { return errorOf(f.RunDevice(t.Context())) },
				func(f *InstalledAppFlow) error { return errorOf(f.SignIn(t.Context())) },
			} {
				r := newDeviceRun(t)
				store := newMemoryStore()
				store.write = func() error { return full }
				r.flow.Store = store
				r.flow.ShowDeviceCode = func(DeviceCode) { t.Error("a code was shown") }
				if err := sign(r.flow); !errors.Is(err, full) || r.Count("/device") != 0 {
					t.Error(err, r.Count("/device"))
				}
			}
		})
	})
	var none context.Context
	if _, err := new(InstalledAppFlow).RunDevice(none); err != errNilContext {
		t.Error(err)
	}
	if _, err := new(InstalledAppFlow).SignIn(none); err != errNilContext {
		t.Error(err)
	}
}

// A line that is as long as a terminal takes was cut. From a pipe it is whole. W54
func TestPasteCutLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		length   int
		terminal bool
		cut      bool
	}{
		{4095, true, true},
		{1023, true, true},
		{4094, true, false},
		{4096, true, false},
		{1022, true, false},
		{1024, true, false},
		{4095, false, false},
		{1023, false, false},
	} {
		t.Run(fmt.Sprint(tt.length, tt.terminal), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newPasteRun()
				r.flow.Input = nil
				at := r.start(t.Context(), t)
				f := NewFlow(r.flow.client, "openid")
				f.RedirectURI = r.redirect.String()
				if _, err := f.AuthorizationURL(); err != nil {
					t.Fatal(err)
				}
				s := &loopbackServer{ctx: t.Context(), InstalledAppFlow: r.flow, attempt: f.attempt.Load()}
				s.done = make(chan struct{})
				line := "http://127.0.0.1:8000/?error=access_denied&iss=" + r.URL
				line += "&state=" + s.attempt.params.Get("state")
				line += "&x=" + strings.Repeat("a", tt.length-len(line)-3)
				r.screen.Reset()
				s.readLines(strings.NewReader(line+"\n"), tt.terminal)
				if cut := strings.Contains(r.screen.String(), "the terminal has cut that line"); cut != tt.cut ||
					s.claimed.Load() == tt.cut {
					t.Errorf("%d bytes: the screen has %q", len(line), r.screen.String())
				}
				r.browse(t, at.String())
				r.signedIn(t)
			})
		})
	}
	if reader, isTerminal := openTerminal(strings.NewReader("")); isTerminal || reader == nil {
		t.Error("a string is a terminal")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, isTerminal := openTerminal(null); isTerminal {
		t.Error(os.DevNull + " is a terminal")
	}
}

// A sign-in that fails is shared by those who wait for it, although the call that began it cancels its context as it
// returns; and nobody gets the credentials of another call that could not be saved.
//
// W47
func TestSharedFailures(t *testing.T) {
	t.Parallel()
	for name, script := range map[string][]string{"declined": {"access_denied"}, "not saved": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := NewMemoryServer(), newMemoryStore()
				s.DeviceScript = script
				updates := 0
				store.write = func() error { // the trial works
					if updates++; updates > 1 && name == "not saved" {
						return errors.New("full")
					}
					return nil
				}
				var shown, withCredentials atomic.Int32
				var running sync.WaitGroup
				for range 4 {
					running.Go(func() {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						client := clientOf(s)
						client.DeviceAuthURI = s.URL + "/device"
						flow := NewInstalledAppFlow(client, "a")
						flow.Store, flow.Prompt = store, io.Discard
						flow.ShowDeviceCode = func(DeviceCode) { shown.Add(1) }
						creds, err := flow.SignIn(ctx)
						if err == nil {
							t.Error("no error")
						}
						if creds != nil {
							withCredentials.Add(1)
						}
					})
				}
				running.Wait()
				want := map[string]int32{"declined": 0, "not saved": 1}[name]
				if shown.Load() != 1 || withCredentials.Load() != want {
					t.Errorf("%d codes were shown, %d got credentials", shown.Load(), withCredentials.Load())
				}
			})
		})
	}
}

// A context that ends while the credentials are being saved loses nothing: they are stored all the same.
//
// W48
func TestSaveOutlivesContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, store := NewMemoryServer(), newMemoryStore()
		ctx, cancel := context.WithCancel(t.Context())
		store.enter = func(ctx context.Context) error {
			if s.TokenRequests("") > 0 {
				cancel()
			}
			return ctx.Err()
		}
		client := clientOf(s)
		client.DeviceAuthURI = s.URL + "/device"
		flow := NewInstalledAppFlow(client, "a")
		flow.Store, flow.Prompt, flow.ShowDeviceCode = store, io.Discard, func(DeviceCode) {}
		flow.SignIn(ctx)
		synctest.Wait()
		if store.data == nil {
			t.Error("nothing is stored")
		}
	})
}

// An HTTP client that panics while the code is exchanged is an error of the sign-in, which then ends.
//
// W47
func TestExchangePanics(t *testing.T) {
	t.Parallel()
	s := NewTestServer(t)
	client := clientOf(s)
	client.HTTPClient = &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
		panic("broken")
	})}
	flow := NewInstalledAppFlow(client, "a")
	flow.Store, flow.Prompt, flow.OpenBrowser = newMemoryStore(), io.Discard, s.Browser
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if creds, err := flow.SignIn(ctx); err == nil || creds != nil || ctx.Err() != nil {
		t.Errorf("%v, %v", creds, err)
	}
}

// Stored credentials whose refresh fails for a moment are no result: what is returned with an error works.
//
// W26
func TestSignInWithoutTheNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, store := NewMemoryServer(), newMemoryStore()
		signedInCredentials(t, s, store, "a")
		time.Sleep(2 * time.Hour)
		s.Hook = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true }
		flow := NewInstalledAppFlow(clientOf(s), "a")
		flow.Store, flow.Prompt = store, io.Discard
		if creds, err := flow.SignIn(t.Context()); err == nil || creds != nil {
			t.Errorf("%v, %v", creds, err)
		}
	})
}
