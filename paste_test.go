package oauth2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

const (
	pasteOpen  = "Open this URL in a browser to sign in:\n\n    %s\n\n"
	pasteHere  = "If the browser can't connect in the end, paste the address that it then shows here:\n"
	pasteAgain = ". Paste the whole address that the browser ended at:\n"
	signedInAs = "Signed in as person@example.com.\n"
)

// pasteRun is a sign-in in a bubble, by a user at a keyboard, with a browser that may or may not reach the program.
type pasteRun struct {
	*TestServer
	flow     *InstalledAppFlow
	redirect *url.URL
	keyboard net.Conn
	screen   bytes.Buffer // read after synctest.Wait
	conns    chan net.Conn
	closed   chan struct{}
	authURL  string
	done     chan struct{}
	creds    *Credentials // after done
	err      error
}

func newPasteRun() *pasteRun {
	r := &pasteRun{
		TestServer: NewMemoryServer(),
		conns:      make(chan net.Conn),
		closed:     make(chan struct{}),
		done:       make(chan struct{}),
	}
	r.redirect = &url.URL{Scheme: "http", Host: "127.0.0.1:8000", Path: "/"}
	client := clientOf(r.TestServer)
	client.Issuer, client.issRequired = r.URL, true
	r.flow = NewInstalledAppFlow(client, "openid", "email")
	r.keyboard, r.flow.Input = net.Pipe()
	r.flow.Prompt = &r.screen
	r.flow.OpenBrowser = func(authURL string) error { r.authURL = authURL; return nil }
	return r
}

func (r *pasteRun) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

func (r *pasteRun) Close() error   { close(r.closed); return nil }
func (r *pasteRun) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8000} }

// start begins the sign-in and returns where the user's browser ends.
func (r *pasteRun) start(ctx context.Context, t *testing.T) (redirected *url.URL) {
	t.Helper()
	go func() {
		defer close(r.done)
		r.creds, r.err = r.flow.run(ctx, []net.Listener{r}, r.redirect)
	}()
	synctest.Wait()
	at, err := r.Authorize(r.authURL)
	if err != nil {
		t.Fatal(err)
	}
	if redirected, err = url.Parse(at); err != nil {
		t.Fatal(err)
	}
	return redirected
}

// types returns how much of what is typed was read.
func (r *pasteRun) types(text string) int {
	r.keyboard.SetWriteDeadline(time.Now().Add(time.Second))
	n, _ := io.WriteString(r.keyboard, text)
	synctest.Wait()
	return n
}

// browse returns the status of the page that a browser gets which reaches the program.
func (r *pasteRun) browse(t *testing.T, target string) int {
	t.Helper()
	browser := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			select {
			case r.conns <- theirs:
				return ours, nil
			case <-r.closed:
				return nil, net.ErrClosed
			}
		}}}
	resp, err := browser.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (r *pasteRun) ended() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// signedIn waits for the end and checks that it is a good one.
func (r *pasteRun) signedIn(t *testing.T) {
	t.Helper()
	<-r.done
	if r.err != nil {
		t.Fatal(r.err)
	}
	tok, err := r.creds.Token(t.Context())
	if err != nil || !r.valid(tok.AccessToken.Reveal()) || r.TokenRequests("authorization_code") != 1 {
		t.Errorf("%v after %d exchanges", err, r.TokenRequests(""))
	}
}

// What is pasted first, and what the user reads of it; then the right address is pasted.
func TestPaste(t *testing.T) {
	t.Parallel()
	const stranger = "the redirect does not belong to this sign-in: its state is not the one sent"
	tests := []struct{ name, first, says string }{ // says is empty where the first is right
		{"address", "URL", ""}, // UP2 UP3
		{"address in white space", " \t URL \r", ""},
		{"address with a fragment", "URL#_=_", ""},
		{"address of another scheme and host", "https://tunnel.example/x?QUERY", ""},
		{"from the question mark on", "?QUERY", ""},
		{"what follows the question mark", "QUERY", ""},
		{"code", "CODE", stranger},                                                                // W53
		{"another secret of the clipboard", "ghp_0123456789abcdefghijABCDEFGHIJ012345", stranger}, // W53
		{"secret in base64", "c2VjcmV0LXNlY3JldC1zZWNyZXQ==", stranger},                           // W53
		{"code and its name", "code=CODE", stranger},                                              // W53
		{"nothing", "", stranger},
		{"a word", "yes", stranger},
		{"words", "I have signed in, and now?", stranger},
		{"address without a query", "http://127.0.0.1:8000/", stranger},
		{"address with an empty query", "http://127.0.0.1:8000/?", stranger},
		{"address of a page", "https://www.example.com/accounts/signin/oauth/consent", stranger},
		{"address that was opened", "AUTH", `the redirect does not name its issuer as "ISS" (RFC 9207)`},
		{"address of another sign-in", // UP19
			"http://127.0.0.1:8000/?code=code-0123456789abcdef&iss=ISS&state=" + strings.Repeat("s", 43), stranger},
		{"address without the state", "http://127.0.0.1:8000/?code=CODE&iss=ISS", stranger},
		{"address without the issuer", // F7
			"http://127.0.0.1:8000/?code=CODE&state=STATE",
			`the redirect does not name its issuer as "ISS" (RFC 9207)`},
		{"address of another issuer", "http://127.0.0.1:8000/?code=CODE&state=STATE&iss=https://other.example",
			`the redirect does not name its issuer as "ISS" (RFC 9207)`},
		{"error of another sign-in", "http://127.0.0.1:8000/?error=access_denied&state=other", stranger},
		{"code twice", "URL&code=CODE", `the redirect has the parameter "code" twice (RFC 6749, Section 3.1)`},
		{"code and error", "URL&error=access_denied", "the redirect has no usable code, or an error too"},
		{"half an escape", "URL&x=%2", "the redirect is malformed"},
		{"code with a space", "http://127.0.0.1:8000/?code=a+b&state=STATE&iss=ISS",
			"the redirect has no usable code, or an error too"},
		{"short code", "abcdefghijklmno", stranger},
		{"code with a letter that no code has", "abcdefghijklmnopü", stranger},
		{"escape sequences", "\x1b[2Jhttp://x/?iss=\x1b]0;x\a&code=CODE&state=STATE",
			"the redirect is malformed"},
		{"code at the limit", strings.Repeat("a", maxCode+1), stranger},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newPasteRun()
				at := r.start(t.Context(), t)
				q := at.Query()
				fill := strings.NewReplacer("URL", at.String(), "QUERY", at.RawQuery, "AUTH", r.authURL,
					"CODE", q.Get("code"), "STATE", q.Get("state"), "ISS", q.Get("iss"))
				want := fmt.Sprintf(pasteOpen, r.authURL) + pasteHere
				if r.screen.String() != want {
					t.Fatalf("the screen has %q, want %q", r.screen.String(), want)
				}
				r.types(fill.Replace(tt.first) + "\n")
				if tt.says != "" {
					if r.ended() || r.TokenRequests("") > 0 {
						t.Fatalf("the wrong paste ended the sign-in: %v", r.err)
					}
					said := strings.TrimPrefix(r.screen.String(), want)
					if !strings.HasPrefix(said, fill.Replace(tt.says)) || !strings.HasSuffix(said, pasteAgain) ||
						strings.Count(said, "\n") != 1 {
						t.Errorf("the person reads %q", said)
					}
					if strings.ContainsFunc(said, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }) {
						t.Errorf("the person reads %q", said)
					}
					noSecret(t, said, q.Get("state"), q.Get("code"))
					r.types(at.String() + "\n")
				}
				r.signedIn(t)
			})
		})
	}
}

// A long address is not cut.
func TestPasteLongLine(t *testing.T) {
	t.Parallel()
	for _, length := range []int{4096, 64 << 10, 512 << 10} {
		synctest.Test(t, func(t *testing.T) {
			r := newPasteRun()
			ready, line := make(chan struct{}), io.Reader(nil)
			r.flow.Input = readerFunc(func(b []byte) (int, error) { <-ready; return line.Read(b) })
			at := r.start(t.Context(), t).String() + "&x="
			line = strings.NewReader(at + strings.Repeat("a", length-len(at)) + "\n")
			close(ready)
			if !r.ended() {
				t.Fatalf("%d bytes: %v; the screen has %q", length, r.err, r.screen.String())
			}
			r.signedIn(t)
		})
	}
}

// Many wrong ones, and then the browser after all.
func TestPasteManyThenBrowser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newPasteRun()
		at := r.start(t.Context(), t)
		for n := range 100 {
			r.types(fmt.Sprintf("wrong %d\n", n))
		}
		if strings.Count(r.screen.String(), pasteAgain) != 100 || r.ended() {
			t.Errorf("the screen has %q", r.screen.String())
		}
		if status := r.browse(t, at.String()); status != 200 {
			t.Error(status)
		}
		r.signedIn(t)
	})
}

func TestPasteEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line, code, says string
		set                    func(*TestServer)
	}{
		{
			name: "declined", // UP2
			line: "URL",
			code: "access_denied",
			says: "declined",
			set:  func(s *TestServer) { s.Deny = "access_denied" },
		},
		{
			name: "refused by the server",
			line: "URL",
			code: "invalid_scope",
			says: "invalid_scope",
			set:  func(s *TestServer) { s.Deny = "invalid_scope" },
		},
		{name: "wrong code", line: "?code=other&state=STATE&iss=ISS", code: "invalid_grant", says: "sign in again"},
		{
			name: "ID token without the nonce", // F29
			line: "URL",
			says: "nonce",
			set:  func(s *TestServer) { s.IDTokenClaims = func(c map[string]any) { delete(c, "nonce") } },
		},
		{
			name: "ID token with another nonce", // F29
			line: "URL",
			says: "nonce",
			set: func(s *TestServer) {
				s.IDTokenClaims = func(c map[string]any) { c["nonce"] = strings.Repeat("n", 43) }
			},
		},
		{
			name: "ID token for another client", // F28
			line: "URL",
			says: "audience",
			set:  func(s *TestServer) { s.IDTokenClaims = func(c map[string]any) { c["aud"] = "client-2" } },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newPasteRun()
				if tt.set != nil {
					tt.set(r.TestServer)
				}
				at := r.start(t.Context(), t)
				fill := strings.NewReplacer("URL", at.String(), "STATE", at.Query().Get("state"), "ISS", r.URL)
				r.types(fill.Replace(tt.line) + "\n")
				<-r.done
				e := new(Error)
				if errors.As(r.err, &e); r.creds != nil || r.err == nil || e.Code != tt.code ||
					!strings.Contains(r.err.Error(), tt.says) {
					t.Errorf("%v, want the code %q and %q", r.err, tt.code, tt.says)
				}
				noSecret(t, r.err, at.Query().Get("state"))
				if !strings.HasSuffix(r.screen.String(), pasteHere) {
					t.Errorf("the screen has %q", r.screen.String())
				}
			})
		})
	}
}

// The bubble ends only when no goroutine is left.
func TestPasteLeavesInputAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // half a line was typed when the browser came
		r := newPasteRun()
		at := r.start(t.Context(), t)
		r.types("half a line, quite a long one")
		if status := r.browse(t, at.String()); status != 200 {
			t.Error(status)
		}
		r.signedIn(t)
		if n := r.types("next\n"); n != 0 || !strings.HasSuffix(r.screen.String(), pasteHere+signedInAs) {
			t.Errorf("%d bytes read after the end; the screen has %q", n, r.screen.String())
		}
		next := make(chan string)
		go func() { line, _ := bufio.NewReader(r.flow.Input).ReadString('\n'); next <- line }()
		if r.types("next\n"); <-next != "next\n" {
			t.Error("the program can't read its input")
		}
	})
	synctest.Test(t, func(t *testing.T) { // a paste, and then the next line
		r := newPasteRun()
		at := r.start(t.Context(), t)
		if n := r.types(at.String() + "\n"); n != len(at.String())+1 {
			t.Errorf("read to %d of %d bytes", n, len(at.String())+1)
		}
		r.signedIn(t)
		if n := r.types("next\n"); n != 0 {
			t.Errorf("%d bytes read after the end", n)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nobody came
		r := newPasteRun()
		r.start(t.Context(), t)
		<-r.done
		if !errors.Is(r.err, context.DeadlineExceeded) || r.types("next\n") != 0 {
			t.Error(r.err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a reader that can't be interrupted takes no more than the line it waits for
		r := newPasteRun()
		in, keyboard := io.Pipe()
		r.flow.Input = in
		at := r.start(t.Context(), t)
		r.browse(t, at.String())
		r.signedIn(t)
		io.WriteString(keyboard, "lost\n")
		synctest.Wait()
		next := make(chan string)
		go func() { line, _ := bufio.NewReader(in).ReadString('\n'); next <- line }()
		io.WriteString(keyboard, "next\n")
		if <-next != "next\n" || !strings.HasSuffix(r.screen.String(), pasteHere+signedInAs) {
			t.Errorf("the screen has %q", r.screen.String())
		}
	})
}

func TestPasteInputEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		input   func(redirected string) io.Reader
		browser bool // else the input completes the sign-in
	}{
		{name: "empty", input: func(string) io.Reader { return strings.NewReader("") }, browser: true},
		{name: "a wrong line", input: func(string) io.Reader { return strings.NewReader("yes\nno") }, browser: true},
		{
			name:    "a fault",
			input:   func(string) io.Reader { return iotest.ErrReader(errors.New("hung up")) },
			browser: true,
		},
		{
			name: "a fault in a line",
			input: func(at string) io.Reader {
				return iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(at)))
			},
			browser: true,
		},
		{
			name: "a fault in the code", // half of it must not be sent
			input: func(at string) io.Reader {
				before, rest, _ := strings.Cut(at, "code=")
				code, after, _ := strings.Cut(rest, "&")
				cut := strings.NewReader(before + after + "&code=" + code[:len(code)/2])
				return io.MultiReader(cut, iotest.ErrReader(errors.New("hung up")))
			},
			browser: true,
		},
		{name: "no line end", input: func(at string) io.Reader { return strings.NewReader("yes\n" + at) }},
		{
			name:  "last byte with the end",
			input: func(at string) io.Reader { return iotest.DataErrReader(strings.NewReader(at)) },
		},
		{
			name:  "last line with the end",
			input: func(at string) io.Reader { return iotest.DataErrReader(strings.NewReader(at + "\n")) },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newPasteRun()
				redirected, in := "", io.Reader(nil)
				r.flow.Input = readerFunc(func(b []byte) (int, error) {
					if in == nil { // after the browser was opened
						redirected, _ = r.Authorize(r.authURL)
						in = tt.input(redirected)
					}
					return in.Read(b)
				})
				opened := r.flow.OpenBrowser
				ready := make(chan struct{})
				r.flow.OpenBrowser = func(authURL string) error { opened(authURL); close(ready); return nil }
				waits := readerFunc(func([]byte) (int, error) { <-ready; return 0, io.EOF })
				r.flow.Input = io.MultiReader(waits, r.flow.Input)
				at := r.start(t.Context(), t)
				if tt.browser == r.ended() {
					t.Fatalf("ended: %v", r.err)
				}
				if tt.browser {
					r.browse(t, at.String())
				}
				r.signedIn(t)
			})
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// The same with a file of the system, as os.Stdin is one, and a listener of it.
func TestPasteOSPipe(t *testing.T) {
	t.Parallel()
	s := NewTestServer(t)
	client, err := ParseClientSecrets(s.ClientSecretsJSON("installed"))
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"browser", "paste"} {
		if how == "browser" && runtime.GOOS == "windows" {
			continue // a pipe's reads can't be interrupted there
		}
		in, keyboard, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		defer keyboard.Close()
		f := NewInstalledAppFlow(client, "email")
		f.Input, f.Prompt, f.OpenBrowser = in, io.Discard, s.Browser
		if how == "paste" {
			f.OpenBrowser = func(authURL string) error {
				at, err := s.Authorize(authURL)
				io.WriteString(keyboard, "wrong\n"+at+"\n")
				return err
			}
		}
		if _, err := f.RunLocalServer(t.Context()); err != nil {
			t.Fatal(how, err)
		}
		io.WriteString(keyboard, "next\n")
		// so that a program that takes the line fails, and does not hang
		in.SetReadDeadline(time.Now().Add(time.Minute))
		if line, err := bufio.NewReader(in).ReadString('\n'); line != "next\n" || err != nil {
			t.Errorf("%s: the program reads %q, %v", how, line, err)
		}
	}
}

// UP32: what Testing mode at Google does every 7 days.
func TestPasteSignInAgain(t *testing.T) {
	t.Parallel()
	s := NewTestServer(t)
	client, err := ParseClientSecrets(s.ClientSecretsJSON("installed"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(privateDir(t), "credentials.json")
	var last string
	for n := range 3 {
		f := NewInstalledAppFlow(client, "email")
		in, keyboard := io.Pipe()
		signIns := 0
		f.Input, f.Prompt, f.Store = in, io.Discard, FileStore(name)
		f.OpenBrowser = func(authURL string) error {
			signIns++
			at, err := s.Authorize(authURL)
			io.WriteString(keyboard, at+"\n")
			return err
		}
		creds, err := f.SignIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tok, err := creds.Token(t.Context())
		if err != nil || !s.valid(tok.AccessToken.Reveal()) || tok.RefreshToken.Reveal() == last || signIns != 1 {
			t.Errorf("sign-in %d: %v, %d sign-ins", n, err, signIns)
		}
		last = tok.RefreshToken.Reveal()
		s.RevokeAll()
		if _, err := creds.Refresh(t.Context()); !errors.Is(err, ErrLoginRequired) ||
			!strings.Contains(err.Error(), "sign in again") {
			t.Errorf("sign-in %d: %v", n, err)
		}
		if stored, err := LoadCredentials(t.Context(), nil, FileStore(name)); err != nil ||
			stored.cache.current.Load().RefreshToken.Reveal() != last {
			t.Errorf("sign-in %d: stored: %v", n, err)
		}
		// The next run knows: the stored access token is gone. // W78
		if members := storedMembers(t, FileStore(name)); members["token"] != nil {
			t.Errorf("sign-in %d: stored: %v", n, members["token"])
		}
	}
}

// UP13: the redirect arrives through a tunnel.
func TestPasteTunnel(t *testing.T) {
	t.Parallel()
	const tunnel = "https://tunnel.example/sign-in?via=tunnel"
	synctest.Test(t, func(t *testing.T) {
		r := newPasteRun()
		r.RedirectURIs = []string{tunnel}
		r.redirect, _ = url.Parse(tunnel)
		at := r.start(t.Context(), t)
		if !strings.HasPrefix(at.String(), tunnel+"&") {
			t.Errorf("sent to %s", at)
		}
		at.Scheme = "http" // the tunnel ends TLS
		if status := r.browse(t, at.String()); status != 200 {
			t.Error(status)
		}
		r.signedIn(t)
	})
	f := NewInstalledAppFlow(&ClientSecrets{ClientID: "client-1"})
	f.RedirectURI, f.ListenAddr = tunnel, "127.0.0.1:0"
	listeners, redirect, err := f.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer listeners[0].Close()
	if redirect.String() != tunnel || len(listeners) != 1 || !listeners[0].Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("listens at %v for %v", listeners[0].Addr(), redirect)
	}
}

// The environment is one for all tests: these are not parallel.
func TestPasteHeadless(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a system without a display can still have a browser")
	}
	const session, none = "203.0.113.9 50000 198.51.100.7 22", ""
	const forward = "There seems to be no browser here. For one on your own machine to get back to this program," +
		" first run this there, and leave it open:\n\n    %s\n\n"
	tests := []struct {
		name, display, wayland, ssh string
		redirect                    string // "": http://127.0.0.1:8000/
		listen                      string
		want                        string // the command; none: there is a browser, or ListenAddr
	}{
		{name: "display", display: ":0"},
		{name: "Wayland", wayland: "wayland-0"},
		{name: "SSH with a display", display: "localhost:10.0", ssh: session},
		{
			name:     "SSH", // UP2
			ssh:      session,
			redirect: "http://127.0.0.1:41234/",
			want:     "ssh -L 41234:127.0.0.1:41234 USER@THIS-MACHINE",
		},
		{
			name:     "SSH, ::1",
			ssh:      session,
			redirect: "http://[::1]:41234/cb",
			want:     "ssh -L 41234:[::1]:41234 USER@THIS-MACHINE",
		},
		{
			name:     "SSH, localhost",
			ssh:      session,
			redirect: "http://localhost:8080/cb",
			want:     "ssh -L 8080:localhost:8080 USER@THIS-MACHINE",
		},
		{
			name:     "SSH, no port",
			ssh:      session,
			redirect: "http://localhost/cb", // port 80 is root's: there is no use in a command
		},
		{name: "no SSH", want: "ssh -L 8000:127.0.0.1:8000 USER@THIS-MACHINE"},
		// UP13
		{name: "published port", redirect: "http://localhost:8000/", listen: "0.0.0.0:8000"},
		{
			name:     "tunnel", // UP13
			ssh:      session,
			redirect: "https://tunnel.example/cb",
			listen:   "127.0.0.1:8000",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range map[string]string{
				"DISPLAY":         tt.display,
				"WAYLAND_DISPLAY": tt.wayland,
				"SSH_CONNECTION":  tt.ssh,
				"PATH":            t.TempDir(),
			} {
				t.Setenv(name, value)
			}
			for _, input := range []io.Reader{nil, strings.NewReader("")} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s := NewMemoryServer()
				f := NewInstalledAppFlow(&ClientSecrets{
					ClientID: "client-1",
					AuthURI:  s.URL + "/authorize",
					TokenURI: s.URL + "/token",
				})
				var screen bytes.Buffer
				f.Prompt, f.Input, f.ListenAddr = &screen, input, tt.listen
				redirect, _ := url.Parse(cmp.Or(tt.redirect, "http://127.0.0.1:8000/"))
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := f.run(ctx, []net.Listener{l}, redirect); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				_, authURL, _ := strings.Cut(screen.String(), "\n\n    ")
				authURL, _, _ = strings.Cut(authURL, "\n")
				if !strings.HasPrefix(authURL, s.URL+"/authorize?") {
					t.Errorf("the URL to open is %q", authURL)
				}
				want := fmt.Sprintf(pasteOpen, authURL)
				if tt.want != none {
					want += fmt.Sprintf(forward, tt.want)
				}
				if input != nil {
					want += pasteHere
				}
				if screen.String() != want {
					t.Errorf("the screen has %q, want %q", screen.String(), want)
				}
			}
		})
	}
	t.Run("browser of the program's own", func(t *testing.T) {
		for _, name := range []string{"DISPLAY", "WAYLAND_DISPLAY", "PATH"} {
			t.Setenv(name, "")
		}
		synctest.Test(t, func(t *testing.T) {
			r := newPasteRun()
			at := r.start(t.Context(), t)
			if !strings.HasPrefix(r.screen.String(), fmt.Sprintf(pasteOpen, r.authURL)) {
				t.Errorf("the screen has %q", r.screen.String())
			}
			r.types(at.String() + "\n")
			r.signedIn(t)
		})
	})
}

// The two halves of a sign-in on a web site, which different processes may do. The first returns what the site keeps,
// and where the browser ends.
type (
	beginFunc  func(params url.Values) (cookie []byte, redirected string)
	resumeFunc func(cookie []byte, redirected string) (*Credentials, error)
)

// A web application's two requests, which may be answered by two processes.
func TestPasteWeb(t *testing.T) {
	t.Parallel()
	const callback = "https://app.example/callback"
	tests := []struct {
		name string
		try  func(t *testing.T, s *TestServer, begin beginFunc, resume resumeFunc) error
		says string
	}{
		{
			name: "verifier kept between requests", // UP18
			try: func(t *testing.T, s *TestServer, begin beginFunc, resume resumeFunc) error {
				_, err := resume(begin(nil))
				return err
			},
		},
		{
			name: "second tab", // UP19
			try: func(t *testing.T, s *TestServer, begin beginFunc, resume resumeFunc) error {
				_, first := begin(nil)
				cookie, second := begin(nil)
				if _, err := resume(cookie, first); !errorSays(err, "does not belong") || s.TokenRequests("") > 0 {
					t.Errorf("the first tab: %v", err)
				}
				_, err := resume(cookie, second)
				return err
			},
		},
		{
			name: "declined",
			try: func(t *testing.T, s *TestServer, begin beginFunc, resume resumeFunc) error {
				s.Deny = "access_denied"
				_, err := resume(begin(nil))
				if e := new(Error); !errors.As(err, &e) || e.Code != "access_denied" {
					t.Errorf("%v is not access_denied", err)
				}
				return err
			},
			says: "declined",
		},
		{
			name: "after an hour",
			try: func(t *testing.T, s *TestServer, begin beginFunc, resume resumeFunc) error {
				cookie, redirected := begin(nil)
				time.Sleep(time.Hour + time.Second)
				_, err := resume(cookie, redirected)
				return err
			},
			says: "begin it anew",
		},
		{
			name: "no refresh token the second time", // UP14
			try: func(t *testing.T, s *TestServer, begin beginFunc, resume resumeFunc) error {
				s.Answer = func(_ string, answer map[string]any) { // as Google does
					for _, r := range s.Requests() {
						if r.Path == "/authorize" && r.Query.Get("prompt") == "consent" {
							return
						}
					}
					delete(answer, "refresh_token")
				}
				creds, err := resume(begin(nil))
				if err != nil {
					return err
				}
				tok, err := creds.Token(t.Context())
				_, again := creds.Refresh(t.Context())
				if err != nil || tok.RefreshToken.Reveal() != "" || !errors.Is(again, ErrLoginRequired) {
					t.Errorf("without a refresh token: %v, %v", err, again)
				}
				if creds, err = resume(begin(url.Values{"prompt": {"consent"}})); err != nil {
					return err
				}
				tok, err = creds.Refresh(t.Context())
				if err == nil && tok.RefreshToken.Reveal() == "" {
					t.Error("no refresh token with prompt=consent")
				}
				return err
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.RedirectURIs = []string{callback}
				client := func() *ClientSecrets { // of each process
					c, err := ParseClientSecrets(s.ClientSecretsJSON("web"))
					if err != nil {
						t.Fatal(err)
					}
					c.Issuer, c.HTTPClient = s.URL, &http.Client{Transport: s.Transport()}
					return c
				}
				err := tt.try(t, s, func(params url.Values) ([]byte, string) {
					f := NewFlow(client(), "openid", "email")
					f.RedirectURI, f.Params = callback, params
					authURL, err := f.AuthorizationURL()
					if err != nil {
						t.Fatal(err)
					}
					cookie, err := f.Marshal()
					if err != nil {
						t.Fatal(err)
					}
					redirected, err := s.Authorize(authURL)
					if err != nil {
						t.Fatal(err)
					}
					return cookie, redirected
				}, func(cookie []byte, redirected string) (*Credentials, error) {
					f, err := ResumeFlow(client(), cookie)
					if err != nil {
						t.Fatal(err)
					}
					return f.FetchTokenFromRedirect(t.Context(), redirected)
				})
				if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, want %q", err, tt.says)
				}
			})
		})
	}
}
