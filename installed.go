package oauth2

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of the loopback server.
const (
	signInTimeout     = 5 * time.Minute // where the context has no deadline
	maxLoopbackHeader = 16 << 10        // bytes of a request
	maxLoopbackConns  = 64
	loopbackTimeout   = 5 * time.Second // to send a request, and to take the answer
	loopbackGrace     = 500 * time.Millisecond
	defaultInterval   = 5 * time.Second // between questions of RunDevice (RFC 8628, Section 3.2)
	slowDown          = 5 * time.Second // added when the server asks for it (Section 3.5)
	longestInterval   = time.Minute
	minPastedCode     = 16 // bytes, to tell a code from a word
	maxBinds          = 16 // to find a port that is free on both 127.0.0.1 and ::1
)

// An InstalledAppFlow signs in the person who runs the program (RFC 8252). RedirectURI and
// Params of the Flow it holds apply too. Set the fields before the sign-in.
type InstalledAppFlow struct {
	*Flow
	// Store keeps the credentials for [InstalledAppFlow.Credentials]. The other methods do not use it.
	Store Store
	// ListenAddr is the address to listen on, "host" or "host:port", where it is not the one
	// that the redirect URI names: in a container, "0.0.0.0" with a published port. Whoever
	// reaches that address can then send requests to the server, which heeds only
	// the one with the right state. If empty, only this machine reaches the server.
	ListenAddr string
	// OpenBrowser opens the authorization URL. If nil, [OpenBrowser] does; for none, use a
	// function that does nothing. An error of it ends nothing, since the URL has been printed.
	OpenBrowser func(url string) error
	// Prompt is where the person is told which URL to open. If nil, it is os.Stderr; io.Discard
	// silences it.
	Prompt io.Writer
	// Input is where the person may paste the address that the browser ends at, or the code
	// in it, if the browser runs on another machine: os.Stdin. If nil, nothing is read. Whichever comes
	// first, the redirect or the pasted address, completes the sign-in. What is typed after that is the
	// program's, if Input is a terminal or has a SetReadDeadline method; of another reader, the next line
	// is lost.
	Input io.Reader
	// SuccessPage and FailurePage are what the browser shows in the end, as HTML. If empty,
	// plain pages of this package are. Of their contents, style elements are allowed, and
	// scripts and whatever is loaded from elsewhere are blocked.
	SuccessPage, FailurePage string
}

// NewInstalledAppFlow returns an InstalledAppFlow that asks for scopes on behalf of client.
func NewInstalledAppFlow(client *ClientSecrets, scopes ...string) *InstalledAppFlow {
	return &InstalledAppFlow{Flow: NewFlow(client, scopes...)}
}

// Credentials returns the stored credentials if they are of this client, were asked for
// the flow's scopes, and still yield a token; it refreshes them to find out. Else it signs the
// person in as RunLocalServer does, with the parameter prompt=consent unless Params has a prompt, so that
// a refresh token comes, and stores the result. What it returns has a token that has not expired,
// and refreshes through the Store.
//
// If the sign-in worked and its result could not be stored, it returns both the credentials, which
// work, and an error. A network that fails, or a stored file that is not understood, is an error,
// and no reason to sign in again.
func (f *InstalledAppFlow) Credentials(ctx context.Context) (*Credentials, error) {
	if f.Store == nil || f.Flow == nil || f.client == nil {
		return nil, errors.New("oauth2: the flow needs a Store and a client")
	}
	creds, err := LoadCredentials(ctx, f.Store)
	fit := err == nil && creds.client.same(f.client) && creds.covers(f.scopes)
	if fit {
		creds.client = f.client
		_, err = creds.Token(ctx)
	}
	if fit && err == nil || err != nil && !errors.Is(err, ErrLoginRequired) {
		return creds, err
	}
	signIn := *f
	signIn.Flow = &Flow{RedirectURI: f.RedirectURI, Params: url.Values{"prompt": {"consent"}}, client: f.client, scopes: f.scopes}
	maps.Copy(signIn.Params, f.Params)
	if creds, err = signIn.RunLocalServer(ctx); err != nil {
		return nil, err
	}
	return creds, creds.Save(ctx, f.Store)
}

// RunLocalServer signs the person in with their browser and a server on this machine
// that takes the redirect (RFC 8252, Section 7.3):
//
//  1. It listens where the flow's RedirectURI says, with port 0 for any free port. If that is
//     empty, a web client uses the first loopback URI that its file registers, to the letter,
//     and an installed client 127.0.0.1 (or ::1), a free port, and the path of the registered one.
//  2. It prints the authorization URL to Prompt and opens the browser.
//  3. It waits for the redirect with this sign-in's state. Any other request is
//     answered with an error and changes nothing.
//  4. It exchanges the code, and then shows in the browser how it went.
//
// The wait ends with ctx, or after 5 minutes if ctx has no deadline. The error is an
// [*Error] if the server refused, with Code "access_denied" when the person declined; errors.Is
// finds the cause if ctx ended or the address could not be used.
func (f *InstalledAppFlow) RunLocalServer(ctx context.Context) (*Credentials, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case f.Flow == nil || f.client == nil:
		return nil, errNoClient
	case ctx.Err() != nil:
		return nil, fmt.Errorf("oauth2: signing in: %w", context.Cause(ctx))
	}
	listeners, redirectURI, err := f.listen()
	if err != nil {
		return nil, err
	}
	return f.run(ctx, listeners, redirectURI)
}

// run is RunLocalServer from the listeners on, which it closes.
func (f *InstalledAppFlow) run(ctx context.Context, listeners []net.Listener, redirectURI *url.URL) (*Credentials, error) {
	timeout := signInTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout) // which also ends the launcher of the browser
	defer cancel()
	flow := &Flow{RedirectURI: redirectURI.String(), Params: f.Params, client: f.client, scopes: f.scopes}
	authURL, err := flow.AuthorizationURL()
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, err
	}
	srv := &loopbackServer{ctx: ctx, flow: f, redirectURI: redirectURI, attempt: flow.attempt.Load(), done: make(chan struct{})}
	defer srv.serve(listeners)()
	open := f.OpenBrowser
	if open == nil {
		open = func(target string) error { return launch(ctx, target) }
	}
	if f.OpenBrowser == nil && noBrowser() {
		f.prompt("There seems to be no browser here. To sign in, open this URL in a browser on your own machine:\n\n    %s\n\n", authURL)
		if f.ListenAddr == "" {
			f.prompt("%s", forwarding(redirectURI))
		}
	} else {
		f.prompt("Open this URL in a browser to sign in:\n\n    %s\n\n", authURL)
		go open(authURL) // it may block
	}
	if f.Input != nil {
		f.prompt("If the browser can't connect in the end, paste the address that it then shows here:\n")
		defer srv.readPasted()()
	}
	select {
	case <-srv.done:
	case <-ctx.Done(): // with which an exchange that is under way ends too
		srv.complete("", fmt.Errorf("oauth2: waiting for the sign-in in the browser: %w", context.Cause(ctx)))
	}
	return srv.creds, srv.err
}

// RunDevice signs the person in with a browser on any other device (RFC 8628): it prints a
// short address and a code to Prompt, and asks the server, as often as that allows, until the person has
// entered it, ctx ends or the code expires. The client needs a DeviceAuthURI, and must be registered for
// devices. The error is an [*Error] with Code "access_denied" if the person
// declined, or "expired_token".
func (f *InstalledAppFlow) RunDevice(ctx context.Context) (*Credentials, error) {
	if f.Flow == nil || f.client == nil || f.client.DeviceAuthURI == "" {
		return nil, errors.New("oauth2: the client has no DeviceAuthURI")
	}
	form := f.extra()
	form.Set("scope", strings.Join(f.scopes, " "))
	ans := f.client.post(ctx, "asking for a device code", f.client.DeviceAuthURI, form, false)
	d, page := ans.fields(), "verification_uri"
	if !d.has(page) {
		page = "verification_url" // Google's name
	}
	device, user, page := d.secret("device_code"), d.str("user_code"), d.endpoint(page)
	lifetime, interval := cmp.Or(d.seconds("expires_in"), attemptLifetime), cmp.Or(d.seconds("interval"), defaultInterval)
	d.require(!device.empty() && user != "" && len(user) <= maxErrorCode, "has no usable device_code and user_code")
	if d.err != nil {
		return nil, ans.bad(d.err.Error())
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, lifetime)
	defer cancel()
	f.prompt("To sign in, open this address in a browser on any device:\n\n    %s\n\nand enter the code:\n\n    %s\n\n", page, printable(user, maxErrorCode))
	form = f.extra()
	form.Set("grant_type", "urn:ietf:params:oauth:grant-type:device_code")
	form.Set("device_code", device.Reveal())
	for wait := interval; ; {
		if sleep(ctx, wait) != nil {
			err := context.Cause(ctx)
			if parent.Err() == nil {
				return nil, &Error{Code: "expired_token", text: "waiting for the sign-in on another device: the code has expired; sign in again", cause: func() error { return err }}
			}
			return nil, fmt.Errorf("oauth2: waiting for the sign-in on another device: %w", err)
		}
		creds, err := f.client.redeem(ctx, "signing in on another device", form, f.scopes, "")
		e := new(Error)
		switch errors.As(err, &e); {
		case e.Code == "authorization_pending":
		case e.Code == "slow_down":
			interval += slowDown
		case e.temporary: // RFC 8628, Section 3.5: back off
			interval = min(2*interval, max(interval, longestInterval))
		default:
			return creds, err
		}
		wait = max(interval, e.RetryAfter)
	}
}

func (f *InstalledAppFlow) prompt(format string, args ...any) {
	fmt.Fprintf(cmp.Or[io.Writer](f.Prompt, os.Stderr), format, args...)
}

// noBrowser reports whether there is plainly no browser: a system, such as a container, without a display, or a
// session over SSH.
func noBrowser() bool {
	desktop := runtime.GOOS == "windows" || runtime.GOOS == "darwin" // which has a display without saying so
	return cmp.Or(os.Getenv("DISPLAY"), os.Getenv("WAYLAND_DISPLAY")) == "" && (!desktop || os.Getenv("SSH_CONNECTION") != "")
}

// forwarding says how a browser on another machine reaches the redirect URI.
func forwarding(redirectURI *url.URL) string {
	target := "USER@THIS-MACHINE"
	if ssh := strings.Fields(os.Getenv("SSH_CONNECTION")); len(ssh) == 4 { // client and port, server and port
		target = cmp.Or(os.Getenv("USER"), "USER") + "@" + ssh[2]
		if ssh[3] != "22" {
			target = "-p " + ssh[3] + " " + target
		}
	}
	port := cmp.Or(redirectURI.Port(), "80")
	return fmt.Sprintf("For that browser to get back to this program, first run this on your own machine, and leave it open:\n\n    ssh -L %s:%s %s\n\n",
		port, net.JoinHostPort(redirectURI.Hostname(), port), target)
}

// readPasted reads redirected URLs, or codes, that the person pastes. stop ends the reading, if the system
// can, so that what is typed next is for the program.
func (s *loopbackServer) readPasted() (stop func()) {
	in, tty, done := s.flow.Input, (*os.File)(nil), make(chan struct{})
	if file, ok := in.(*os.File); ok && file.SetReadDeadline(time.Time{}) != nil { // a terminal that blocks: open one that does not
		info, err := file.Stat()
		null, _ := os.Stat(os.DevNull)
		if err == nil && info.Mode()&os.ModeCharDevice != 0 && !os.SameFile(info, null) {
			if tty, err = os.Open("/dev/tty"); err == nil {
				in = tty
			}
		}
	}
	go func() {
		defer close(done)
		defer tty.Close() // nil too
		lines := bufio.NewReader(byteReader{io.LimitReader(in, maxBody)})
		for {
			line, err := lines.ReadString('\n')
			if err != nil && (err != io.EOF || line == "") || s.claimed.Load() { // the end of the input leaves the browser
				return
			}
			code, err := s.attempt.parsePasted(strings.TrimSpace(line))
			if isAnswer(err) {
				s.complete(code, err)
				return
			}
			s.flow.prompt("%s. Paste the whole address that the browser ended at:\n", strings.TrimPrefix(err.Error(), "oauth2: "))
		}
	}()
	return func() {
		if d, ok := in.(interface{ SetReadDeadline(time.Time) error }); ok && d.SetReadDeadline(time.Unix(1, 0)) == nil {
			<-done
			d.SetReadDeadline(time.Time{})
		}
	}
}

// A byteReader reads byte by byte, since what follows a line is not for this package.
type byteReader struct{ io.Reader }

func (r byteReader) Read(b []byte) (int, error) { return r.Reader.Read(b[:1]) }

// parsePasted is parseRedirect for what a person pastes. A code alone has no state; PKCE
// binds it to this sign-in.
func (a *attempt) parsePasted(line string) (code string, err error) {
	_, query, ok := strings.Cut(line, "?")
	switch {
	case !ok && strings.Contains(line, "code="): // the end of an address
		return a.parseRedirect("?" + line)
	case !ok && len(line) >= minPastedCode && validCode(line) && !strings.Contains(line, "://") && !strings.Contains(line, "&"):
		return line, nil
	case query == "" || len(line) > maxRedirect:
		return "", errors.New("oauth2: that is neither an address with a code nor a code")
	case strings.Contains(query, "code_challenge="):
		return "", errors.New("oauth2: that is the address to open")
	}
	return a.parseRedirect(line)
}

// listen opens the listeners that take the redirect and returns the redirect URI.
func (f *InstalledAppFlow) listen() (listeners []net.Listener, u *url.URL, err error) {
	if u, err = f.loopbackURI(); err != nil {
		return nil, nil, err
	}
	addr, host, port := f.ListenAddr, u.Hostname(), cmp.Or(u.Port(), "80")
	switch _, _, portErr := net.SplitHostPort(addr); {
	case addr != "" && portErr != nil:
		listeners, err = bind(net.JoinHostPort(strings.Trim(addr, "[]"), port))
	case addr != "":
		listeners, err = bind(addr)
	case !isLoopback(host) || u.Scheme != "http":
		err = fmt.Errorf("the redirect URI %q is not on this machine: set ListenAddr to where it arrives", u)
	case strings.EqualFold(host, "localhost"):
		listeners, err = bindBoth(port)
	default:
		listeners, err = bind(net.JoinHostPort(host, port))
		if err != nil && f.RedirectURI == "" && f.client.Type != "web" {
			u.Host = "[::1]:0"
			listeners, err = bind(u.Host)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("oauth2: listening for the redirect: %w", err)
	}
	if u.Port() == "0" {
		_, port, _ = net.SplitHostPort(listeners[0].Addr().String())
		u.Host = strings.TrimSuffix(u.Host, "0") + port
	}
	return listeners, u, nil
}

// loopbackURI returns the redirect URI, whose port may still be 0.
func (f *InstalledAppFlow) loopbackURI() (*url.URL, error) {
	if f.RedirectURI != "" {
		return f.client.checkRedirectURI(f.RedirectURI)
	}
	web := f.client.Type == "web"
	for _, raw := range f.client.RedirectURIs {
		if u, err := url.Parse(raw); err == nil && u.Scheme == "http" && isLoopback(u.Hostname()) {
			if !web { // any port will do (RFC 8252, Section 7.3), and a literal address is safer (Section 8.3)
				u.Host = "127.0.0.1:0"
			}
			return u, nil
		}
	}
	if web {
		return nil, fmt.Errorf("oauth2: none of the redirect URIs %q is on this machine; register one such as http://localhost:8080/ and download the file again, or use a client of type installed", f.client.RedirectURIs)
	}
	return url.Parse("http://127.0.0.1:0/")
}

func bind(addr string) ([]net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	return []net.Listener{l}, err
}

// bindBoth listens on 127.0.0.1 and ::1: localhost may be either, and if another
// process had one of them, it could get the code.
func bindBoth(port string) ([]net.Listener, error) {
	v6, err := net.Listen("tcp6", "[::1]:0")
	if err != nil { // there is no IPv6
		return bind("127.0.0.1:" + port)
	}
	v6.Close()
	for range maxBinds { // a port may be free on one of them only
		v4, err4 := net.Listen("tcp4", "127.0.0.1:"+port)
		if err4 != nil {
			return nil, err4
		}
		_, same, _ := net.SplitHostPort(v4.Addr().String())
		if v6, err = net.Listen("tcp6", "[::1]:"+same); err == nil {
			return []net.Listener{v4, v6}, nil
		}
		v4.Close()
	}
	return nil, err
}

// A loopbackServer waits for the redirect of one attempt.
type loopbackServer struct {
	ctx         context.Context // of the flow: the exchange must not end with the browser's request
	flow        *InstalledAppFlow
	redirectURI *url.URL
	attempt     *attempt

	claimed atomic.Bool // by the request that has the answer
	done    chan struct{}
	creds   *Credentials // set before done is closed
	err     error
}

// serve starts the server; stop ends it within a second, leaving nothing behind.
func (s *loopbackServer) serve(listeners []net.Listener) (stop func()) {
	slots := make(chan struct{}, maxLoopbackConns)
	server := &http.Server{
		Handler: s, Protocols: new(http.Protocols), MaxHeaderBytes: maxLoopbackHeader, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ReadTimeout: loopbackTimeout, WriteTimeout: loopbackTimeout, // the first also for the header, and for the next request
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew: // which holds up the next one, so that idle ones do not use up what the process can open
				slots <- struct{}{}
			case http.StateClosed:
				<-slots
			}
		},
	}
	server.Protocols.SetHTTP1(true)
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			if err := server.Serve(l); err != http.ErrServerClosed {
				s.complete("", fmt.Errorf("oauth2: the listener for the redirect failed: %w", err))
			}
		})
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), loopbackGrace) // for the page to be sent
		defer cancel()
		server.Shutdown(ctx)
		server.Close()
		running.Wait()
	}
}

// ServeHTTP checks that a request is the redirect and completes the attempt. Until then
// it does nothing but answer with an error.
func (s *loopbackServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code, err := s.attempt.parseRedirect("?" + r.URL.RawQuery)
	switch mode := r.Header.Get("Sec-Fetch-Mode"); {
	case !strings.EqualFold(strings.TrimSuffix(r.Host, ":80"), strings.TrimSuffix(s.redirectURI.Host, ":80")): // DNS rebinding
		respond(w, http.StatusMisdirectedRequest, "")
	case r.URL.EscapedPath() != cmp.Or(s.redirectURI.EscapedPath(), "/"):
		respond(w, http.StatusNotFound, "")
	case r.Method != http.MethodGet: // a link previewer's HEAD must not use up the code
		w.Header().Set("Allow", http.MethodGet)
		respond(w, http.StatusMethodNotAllowed, "")
	case mode != "" && mode != "navigate": // a script on some page, not the person's browser itself
		respond(w, http.StatusForbidden, "")
	case !isAnswer(err):
		respond(w, http.StatusBadRequest, strayPage)
	case s.complete(code, err) != nil: // which has waited for the exchange
		respond(w, http.StatusBadRequest, cmp.Or(s.flow.FailurePage, failurePage))
	default:
		respond(w, http.StatusOK, cmp.Or(s.flow.SuccessPage, successPage))
	}
}

// complete exchanges the code, or takes err for the outcome, unless there is one. It returns
// that of the sign-in, for which it waits; the flow's context bounds that.
func (s *loopbackServer) complete(code string, err error) error {
	if s.claimed.CompareAndSwap(false, true) {
		if err == nil {
			s.creds, err = s.attempt.exchange(s.ctx, code)
		}
		s.err = err
		close(s.done)
	}
	<-s.done
	return s.err
}

// respond sends one of the pages, which are constants: nothing of a request is
// echoed. The headers keep the code, which is in the page's URL, from other sites, caches and
// frames.
func respond(w http.ResponseWriter, status int, page string) {
	csp := "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src"
	for _, part := range strings.Split(page, "<style>")[1:] {
		style, _, _ := strings.Cut(part, "</style>")
		sum := sha256.Sum256([]byte(style))
		csp += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	maps.Copy(w.Header(), http.Header{
		"Cache-Control": {"no-store"}, "Connection": {"close"}, "Content-Security-Policy": {csp}, "Content-Type": {"text/html; charset=utf-8"},
		"Cross-Origin-Opener-Policy": {"same-origin"}, "Referrer-Policy": {"no-referrer"}, "X-Content-Type-Options": {"nosniff"}, "X-Frame-Options": {"DENY"},
	})
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(loopbackTimeout)) // the exchange may have taken longer
	w.WriteHeader(status)
	io.WriteString(w, page)
}

// OpenBrowser opens a URL in the person's browser, with xdg-open, open or rundll32 and without a
// shell. Only https URLs are opened, and http ones on this machine: those of other
// schemes run programs. It does not wait for the browser.
func OpenBrowser(url string) error { return launch(context.Background(), url) }

// launch is OpenBrowser with a launcher that does not outlive ctx.
func launch(ctx context.Context, target string) error {
	if _, err := checkEndpoint(target); err != nil {
		return fmt.Errorf("oauth2: the URL to open %w", err)
	}
	if strings.ContainsAny(target, "\"'`$^|<>") { // which a launcher that is a shell script could misread
		return errors.New("oauth2: the URL to open has characters that must be percent-encoded")
	}
	args := map[string][]string{"windows": {"rundll32", "url.dll,FileProtocolHandler"}, "darwin": {"/usr/bin/open"}}[runtime.GOOS]
	if args == nil {
		args = []string{"xdg-open"}
	}
	path, err := exec.LookPath(args[0])
	if err != nil || !filepath.IsAbs(path) { // a program in the current directory is not the launcher
		return fmt.Errorf("oauth2: %s was not found, so that no browser can be opened", args[0])
	}
	cmd := exec.CommandContext(ctx, path, append(args[1:], target)...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("oauth2: starting %s: %w", args[0], err)
	}
	go cmd.Wait()
	return nil
}

const (
	successPage = pageHead + `<title>Signed in</title></head><body><main><svg class="ok" viewBox="0 0 24 24" aria-hidden="true"><path d="M7 12.5l3.5 3.5L17 9"/></svg>` +
		"<h1>You are signed in</h1><p>You can close this window and return to the application.</p></main></body></html>\n"
	failurePage = pageHead + `<title>Not signed in</title></head><body><main><svg class="bad" viewBox="0 0 24 24" aria-hidden="true"><path d="M12 7v6m0 3.5v.01"/></svg>` +
		"<h1>You are not signed in</h1><p>The sign-in could not be completed. Return to the application to see why and to try again.</p></main></body></html>\n"
	strayPage = pageHead + `<title>Nothing to sign in to</title></head><body><main><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7.5 12h9"/></svg>` +
		"<h1>Nothing to do here</h1><p>This page belongs to another sign-in, or to none. Use the window that the application opened last.</p></main></body></html>\n"
	pageHead = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark } * { box-sizing: border-box; margin: 0 }
body { min-height: 100vh; min-height: 100svh; display: grid; place-items: center; padding: 1.5rem; background: #f3f5f8; color: #1d2430; font: 1.0625rem/1.55 system-ui, sans-serif }
main { width: 100%; max-width: 27rem; padding: 2.75rem 2rem; border-radius: 1rem; background: #fff; text-align: center; text-wrap: balance; box-shadow: 0 1px 2px #1018281a, 0 8px 28px #10182814 }
svg { display: block; width: 3.5rem; margin: 0 auto 1.25rem; border-radius: 50%; background: #5b6676; fill: none; stroke: #fff; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.ok { background: #067647 } .bad { background: #b42318 } p { color: #4a5568 }
h1 { margin-bottom: .625rem; font-size: 1.5rem; line-height: 1.25 }
@media (prefers-color-scheme: dark) {
body { background: #10141b; color: #eef1f6 } p { color: #aab4c4 } main { background: #1a202b; box-shadow: none; outline: 1px solid #2c3442 }
}
</style>`
)
