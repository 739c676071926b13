package oauth2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of the loopback server.
const (
	maxLoopbackHeader = 16 << 10 // bytes of a request
	maxLoopbackConns  = 64
	loopbackTimeout   = 5 * time.Second // to send a request, and to take the answer
	minPastedCode     = 16              // bytes, to tell a code from a word
)

// slowDown is added to the interval of RunDevice when the server asks for it
// (RFC 8628, Section 3.5).
const slowDown = 5 * time.Second

// An InstalledAppFlow signs in the user who runs the program (RFC 8252). Set
// the fields before the sign-in.
type InstalledAppFlow struct {
	// RedirectURI is where the authorization server sends the browser afterwards.
	// If empty, RunLocalServer finds one.
	RedirectURI string
	// Params are added to the authorization request, as [Flow.Params].
	Params url.Values
	// TokenParams are sent to the token endpoint, as [Flow.TokenParams] are.
	TokenParams url.Values
	// Store keeps the credentials for SignIn. The other methods do not use it.
	Store Store
	// ListenAddr is the address to listen on, "host" or "host:port", if it is not
	// the one that the redirect URI names: in a container, "0.0.0.0" with a
	// published port. Whoever reaches that address can then send requests to the
	// server, which accepts only the one with the right state. If empty, only this
	// machine reaches the server.
	ListenAddr string
	// OpenBrowser opens the authorization URL. If nil, it is [OpenBrowser]. To open
	// no browser, use a function that does nothing. An error ends nothing, since
	// the URL has been printed.
	OpenBrowser func(url string) error
	// Prompt is where the user is told which URL to open. If nil, it is os.Stderr.
	// Use io.Discard for silence.
	Prompt io.Writer
	// Input is where the user may paste the address that the browser ends at, or
	// the code in it, if the browser runs on another machine: os.Stdin. If nil,
	// nothing is read. Whichever comes first, the redirect or the pasted address,
	// completes the sign-in. What is typed after that is the program's, if Input is
	// a terminal or has a SetReadDeadline method; of another reader, the next line
	// is lost.
	Input io.Reader
	// SuccessPage is the HTML that the browser shows after a sign-in. If empty, it
	// is a plain page of this package. Style elements are allowed; scripts, and
	// whatever is loaded from elsewhere, are blocked.
	SuccessPage string
	// FailurePage is SuccessPage for a sign-in that failed.
	FailurePage string

	client *ClientSecrets
	scopes []string
}

// NewInstalledAppFlow returns an InstalledAppFlow that asks for scopes on
// behalf of client. A string with several scopes, separated by spaces, counts
// as several.
func NewInstalledAppFlow(client *ClientSecrets, scopes ...string) *InstalledAppFlow {
	return &InstalledAppFlow{client: client, scopes: scopeList(scopes...)}
}

// SignIn returns the stored credentials if they are this client's, were asked
// for the flow's scopes, and still yield a token; it refreshes them to find
// out. Otherwise it signs the user in, as RunLocalServer does, and stores the
// result. The parameter prompt is then "consent" unless Params has a prompt, so
// that a refresh token comes. The credentials have a token that has not
// expired, and refresh through the Store.
//
// If the sign-in worked but its result could not be stored, SignIn returns both
// the credentials, which work, and an error. A network that fails, or a stored
// file that is not understood, is an error and no reason to sign in again. So
// is a client that the server refuses (invalid_client). After any other lasting
// refusal of the stored credentials the user signs in anew.
func (f *InstalledAppFlow) SignIn(ctx context.Context) (*Credentials, error) {
	if f.client == nil {
		return nil, errNoClient
	}
	creds, err := LoadCredentials(ctx, f.client, f.Store)
	if err == nil && creds.stored().adopted {
		creds.scope = joinScopes(f.scopes) // which the file does not say
	}
	enough := err == nil && creds.covers(f.scopes)
	if enough {
		_, err = creds.Token(ctx)
	}
	switch {
	case err == errOtherClient || needsSignIn(err):
		// Only a new sign-in helps.
	case err != nil:
		return nil, err
	case enough:
		return creds, nil
	}
	signIn := *f
	signIn.Params = url.Values{"prompt": {"consent"}}
	maps.Copy(signIn.Params, f.Params)
	creds, err = signIn.RunLocalServer(ctx)
	if err != nil {
		return nil, err
	}
	return creds, creds.Save(ctx, f.Store)
}

// needsSignIn reports whether a refresh failed in a way that a new sign-in may
// mend. A client that is refused would be so again, after the user's work.
func needsSignIn(err error) bool {
	var e *Error
	isRefusal := errors.As(err, &e) && e.refused && e.Code != "invalid_client"
	return isRefusal || errors.Is(err, ErrLoginRequired)
}

// covers reports whether scopes were asked for when the credentials were made,
// or granted. What the user then declined is not asked for at each start.
func (c *Credentials) covers(scopes []string) bool {
	have := grantedScopes(append(scopeList(c.scope), c.cache.current.Load().Scopes...)...)
	for _, scope := range grantedScopes(scopes...) {
		googleName := "https://www.googleapis.com/auth/userinfo." + scope // of email and profile
		if !slices.Contains(have, scope) && !slices.Contains(have, googleName) {
			return false
		}
	}
	return true
}

// RunLocalServer signs the user in with their browser and a server on this
// machine that takes the redirect (RFC 8252, Section 7.3):
//
//  1. It listens where RedirectURI says, with port 0 for any free port. If
//     that is empty, a web client uses the first loopback URI that its file
//     registers, to the letter, and an installed client 127.0.0.1 (or ::1), a
//     free port, and the path of the registered one.
//  2. It prints the authorization URL to Prompt and opens the browser.
//  3. It waits for the redirect with this sign-in's state. Any other request
//     is answered with an error and changes nothing.
//  4. It exchanges the code, and then shows in the browser how it went.
//
// The wait ends with ctx, or after 5 minutes if ctx has no deadline. The error
// is an [*Error] if the server refused, with Code "access_denied" if the user
// declined. errors.Is finds the cause if ctx ended or the address could not be
// used.
func (f *InstalledAppFlow) RunLocalServer(ctx context.Context) (*Credentials, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case f.client == nil:
		return nil, errNoClient
	case ctx.Err() != nil:
		return nil, fmt.Errorf("oauth2: signing in: %w", innerError{context.Cause(ctx)})
	case slices.Contains(f.Params["response_mode"], "form_post"):
		return nil, errors.New("oauth2: response_mode form_post is for web applications")
	}
	listeners, redirectURI, err := f.listen()
	if err != nil {
		return nil, err
	}
	return f.run(ctx, listeners, redirectURI)
}

// run is RunLocalServer from the listeners on, which it closes.
func (f *InstalledAppFlow) run(
	ctx context.Context, listeners []net.Listener, redirectURI *url.URL,
) (*Credentials, error) {
	timeout := 5 * time.Minute
	if _, ok := ctx.Deadline(); ok {
		timeout = maxLifetime // ctx ends before
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel() // also ends the launcher of the browser
	flow := NewFlow(f.client, f.scopes...)
	flow.RedirectURI = redirectURI.String()
	flow.Params = f.Params
	flow.TokenParams = f.TokenParams
	authURL, err := flow.AuthorizationURL()
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, err
	}
	srv := &loopbackServer{
		ctx:         ctx,
		flow:        f,
		redirectURI: redirectURI,
		attempt:     flow.attempt.Load(),
		done:        make(chan struct{}),
	}
	stop := srv.serve(listeners)
	defer stop()
	f.showURL(ctx, authURL, redirectURI)
	if f.Input != nil {
		f.prompt("If the browser can't connect in the end, " +
			"paste the address that it then shows here:\n")
		stopReading := srv.readPasted()
		defer stopReading()
	}
	select {
	case <-srv.done:
	case <-ctx.Done(): // an exchange that is under way ends too
		err = fmt.Errorf("oauth2: waiting for the sign-in in the browser: %w",
			innerError{context.Cause(ctx)})
		srv.complete("", err)
	}
	return srv.creds, srv.err
}

// showURL prints the authorization URL and opens it in the browser, if there
// seems to be one.
func (f *InstalledAppFlow) showURL(ctx context.Context, authURL string, redirectURI *url.URL) {
	if f.OpenBrowser == nil && noBrowser() {
		f.prompt("There seems to be no browser here. To sign in, open this URL "+
			"in a browser on your own machine:\n\n    %s\n\n", authURL)
		if f.ListenAddr == "" {
			f.prompt("%s", forwarding(redirectURI))
		}
		return
	}
	f.prompt("Open this URL in a browser to sign in:\n\n    %s\n\n", authURL)
	// Either may block.
	if f.OpenBrowser == nil {
		go launch(ctx, authURL)
		return
	}
	go f.OpenBrowser(authURL)
}

func (f *InstalledAppFlow) prompt(format string, args ...any) {
	w := f.Prompt
	if w == nil {
		w = os.Stderr
	}
	fmt.Fprintf(w, format, args...)
}

// noBrowser reports whether there is plainly no browser: on a system, such as a
// container, without a display, or in a session over SSH.
func noBrowser() bool {
	if os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "" {
		return false
	}
	switch runtime.GOOS {
	case "windows", "darwin": // they have a display without saying so
		return os.Getenv("SSH_CONNECTION") != ""
	}
	return true
}

// forwarding says how a browser on another machine reaches the redirect URI.
func forwarding(redirectURI *url.URL) string {
	target := "USER@THIS-MACHINE"
	// Address and port of the SSH client, then those of the server.
	if ssh := strings.Fields(os.Getenv("SSH_CONNECTION")); len(ssh) == 4 {
		target = cmp.Or(os.Getenv("USER"), "USER") + "@" + ssh[2]
		if ssh[3] != "22" {
			target = "-p " + ssh[3] + " " + target
		}
	}
	port := cmp.Or(redirectURI.Port(), "80")
	address := net.JoinHostPort(redirectURI.Hostname(), port)
	return fmt.Sprintf("For that browser to get back to this program, first run this on your own "+
		"machine, and leave it open:\n\n    ssh -L %s:%s %s\n\n", port, address, target)
}

// RunDevice signs the user in with a browser on any other device (RFC 8628). It
// prints a short address and a code to Prompt, and asks the server, as often as
// that allows, until the user has entered the code, ctx ends or the code
// expires. The client needs a DeviceAuthURI, and must be registered for
// devices. The error is an [*Error] with Code "access_denied" if the user
// declined, or "expired_token".
func (f *InstalledAppFlow) RunDevice(ctx context.Context) (*Credentials, error) {
	if f.client == nil || f.client.DeviceAuthURI == "" {
		return nil, errors.New("oauth2: the client has no DeviceAuthURI")
	}
	if err := checkTokenParams(f.TokenParams); err != nil {
		return nil, err
	}
	form := url.Values{
		"scope":    {strings.Join(f.scopes, " ")},
		"audience": f.Params["audience"],
		"resource": f.Params["resource"],
	}
	r := f.client.request("asking for a device code", f.client.DeviceAuthURI, form, nil)
	ans, err := r.do(ctx)
	if err != nil {
		return nil, err
	}
	d := ans.fields() // RFC 8628, Section 3.2
	page := "verification_uri"
	if !d.has(page) {
		page = "verification_url" // Google's name
	}
	address := d.endpoint(page)
	userCode := d.str("user_code")
	deviceCode := d.secret("device_code", maxToken)
	lifetime := cmp.Or(d.seconds("expires_in"), attemptLifetime)
	interval := cmp.Or(d.seconds("interval"), 5*time.Second)
	if deviceCode.empty() || userCode == "" || len(userCode) > maxErrorCode {
		d.fail("has no usable device_code and user_code")
	}
	if d.err != nil {
		return nil, ans.unusable(d.err)
	}
	f.prompt("To sign in, open this address in a browser on any device:\n\n    %s\n\n"+
		"and enter the code:\n\n    %s\n\n", address, printable(userCode, maxErrorCode))
	return f.awaitDevice(ctx, deviceCode, lifetime, interval)
}

// awaitDevice asks the server until the sign-in has ended.
func (f *InstalledAppFlow) awaitDevice(
	ctx context.Context, code Secret, lifetime, interval time.Duration,
) (*Credentials, error) {
	alive, cancel := context.WithTimeout(ctx, lifetime)
	defer cancel()
	asked := &signInRequest{
		scopes:      f.scopes,
		params:      f.Params,
		tokenParams: f.TokenParams,
	}
	form := url.Values{
		"grant_type":  {"urn:ietf:params:oauth:grant-type:device_code"},
		"device_code": {code.Reveal()},
	}
	wait := interval
	for sleep(alive, wait) == nil {
		creds, err := f.client.redeem(alive, "signing in on another device", form, asked)
		var e *Error
		if !errors.As(err, &e) {
			return creds, err
		}
		switch {
		case e.Code == "authorization_pending":
		case e.Code == "slow_down":
			interval += slowDown
		case e.temporary: // back off (RFC 8628, Section 3.5)
			interval = max(interval, min(2*interval, time.Minute))
		default:
			return nil, err
		}
		wait = max(interval, e.RetryAfter)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("oauth2: waiting for the sign-in on another device: %w",
			innerError{context.Cause(ctx)})
	}
	return nil, &Error{
		Code:  "expired_token",
		text:  "signing in on another device: the code has expired; sign in again",
		cause: alive.Err,
	}
}

// listen opens the listeners that take the redirect and returns the redirect
// URI.
func (f *InstalledAppFlow) listen() ([]net.Listener, *url.URL, error) {
	u, err := f.loopbackURI()
	if err != nil {
		return nil, nil, err
	}
	listeners, err := f.bindFor(u)
	if err != nil {
		return nil, nil, fmt.Errorf("oauth2: listening for the redirect: %w", err)
	}
	if u.Port() == "0" {
		_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
		u.Host = strings.TrimSuffix(u.Host, "0") + port
	}
	return listeners, u, nil
}

// bindFor listens for redirects to u. If there is no IPv4, it may change the
// host of u.
func (f *InstalledAppFlow) bindFor(u *url.URL) ([]net.Listener, error) {
	host, port := u.Hostname(), cmp.Or(u.Port(), "80")
	if addr := f.ListenAddr; addr != "" {
		if _, _, err := net.SplitHostPort(addr); err != nil { // a host alone
			addr = net.JoinHostPort(strings.Trim(addr, "[]"), port)
		}
		return bind(addr)
	}
	if u.Scheme != "http" {
		return nil, fmt.Errorf("%q is not on this machine: set ListenAddr to where it arrives", u)
	}
	if host == "localhost" {
		return bindBoth(port)
	}
	listeners, err := bind(net.JoinHostPort(host, port))
	if err != nil && f.RedirectURI == "" && f.client.Type != "web" {
		u.Host = "[::1]:0"
		return bind(u.Host)
	}
	return listeners, err
}

// loopbackURI returns the redirect URI, whose port may still be 0.
func (f *InstalledAppFlow) loopbackURI() (*url.URL, error) {
	if f.RedirectURI != "" {
		return f.client.checkRedirectURI(f.RedirectURI)
	}
	web := f.client.Type == "web"
	for _, raw := range f.client.RedirectURIs {
		u, err := f.client.checkRedirectURI(raw)
		if err != nil || u.Scheme != "http" {
			continue
		}
		if !web {
			// Any port will do (RFC 8252, Section 7.3), and an address is safer than a name
			// (Section 8.3).
			u.Host = "127.0.0.1:0"
		}
		return u, nil
	}
	if web {
		return nil, fmt.Errorf("oauth2: none of the redirect URIs %q is on this machine; "+
			"register one such as http://localhost:8080/", f.client.RedirectURIs)
	}
	return url.Parse("http://127.0.0.1:0/")
}

func bind(addr string) ([]net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// bindBoth listens on 127.0.0.1 and ::1. localhost may be either: if another
// process had one of them, it could get the code.
func bindBoth(port string) ([]net.Listener, error) {
	probe, err := net.Listen("tcp6", "[::1]:0")
	if err != nil { // there is no IPv6
		return bind("127.0.0.1:" + port)
	}
	probe.Close()
	for range 16 { // a free port may be free on one of them only
		v4, err4 := net.Listen("tcp4", "127.0.0.1:"+port)
		if err4 != nil {
			return nil, err4
		}
		_, bound, _ := net.SplitHostPort(v4.Addr().String())
		v6, err6 := net.Listen("tcp6", "[::1]:"+bound)
		if err6 == nil {
			return []net.Listener{v4, v6}, nil
		}
		v4.Close()
		err = err6
	}
	return nil, err
}

// A loopbackServer waits for the redirect of one attempt.
type loopbackServer struct {
	ctx         context.Context // of the flow: the exchange must not end with a request
	flow        *InstalledAppFlow
	redirectURI *url.URL
	attempt     *attempt

	claimed atomic.Bool // by the request that has the answer
	done    chan struct{}
	creds   *Credentials // set before done is closed
	err     error        // set before done is closed
}

// serve starts the server. stop ends it within a second and leaves nothing
// behind.
func (s *loopbackServer) serve(listeners []net.Listener) (stop func()) {
	slots := make(chan struct{}, maxLoopbackConns)
	server := &http.Server{
		Handler:        s,
		MaxHeaderBytes: maxLoopbackHeader,
		ReadTimeout:    loopbackTimeout, // also for the header, and for the next request
		WriteTimeout:   loopbackTimeout,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				// Holds up the next connection, so that idle ones do not use up what the
				// process can open.
				slots <- struct{}{}
			case http.StateClosed:
				<-slots
			}
		},
	}
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			err := server.Serve(l) // after stop, there is an outcome already
			s.complete("", fmt.Errorf("oauth2: the listener for the redirect failed: %w", err))
		})
	}
	return func() {
		// For the page to be sent.
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		server.Shutdown(ctx)
		server.Close()
		running.Wait()
	}
}

// ServeHTTP checks that a request is the redirect and completes the attempt.
// Until then it does nothing but answer with an error.
func (s *loopbackServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status := s.refuse(r); status != 0 {
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodGet)
		}
		respond(w, status, "")
		return
	}
	code, err := s.attempt.parseRedirect("?" + r.URL.RawQuery)
	if !isAnswer(err) {
		respond(w, http.StatusBadRequest, strayPage)
		return
	}
	if s.complete(code, err) != nil { // which waits for the exchange
		respond(w, http.StatusBadRequest, cmp.Or(s.flow.FailurePage, failurePage))
		return
	}
	respond(w, http.StatusOK, cmp.Or(s.flow.SuccessPage, successPage))
}

// refuse returns the status for a request that can't be the redirect, or 0.
func (s *loopbackServer) refuse(r *http.Request) int {
	host := strings.TrimSuffix(r.Host, ":80")
	if !strings.EqualFold(host, strings.TrimSuffix(s.redirectURI.Host, ":80")) { // DNS rebinding
		return http.StatusMisdirectedRequest
	}
	if r.URL.EscapedPath() != cmp.Or(s.redirectURI.EscapedPath(), "/") {
		return http.StatusNotFound
	}
	if r.Method != http.MethodGet { // the HEAD of a link previewer must not use up the code
		return http.StatusMethodNotAllowed
	}
	mode := r.Header.Get("Sec-Fetch-Mode")
	if mode != "" && mode != "navigate" { // a script on some page, not the browser itself
		return http.StatusForbidden
	}
	return 0
}

// complete exchanges the code, or takes err for the outcome of the sign-in,
// unless there is one. It waits for the outcome, as long as the flow's context
// allows, and returns its error.
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

// respond sends a page. Pages are constants: nothing of a request is repeated.
// The headers keep the code, which is in the page's URL, from other sites,
// caches and frames.
func respond(w http.ResponseWriter, status int, page string) {
	var policy strings.Builder
	policy.WriteString("default-src 'none'; base-uri 'none'; form-action 'none'; " +
		"frame-ancestors 'none'; style-src")
	for _, part := range strings.Split(page, "<style>")[1:] {
		style, _, _ := strings.Cut(part, "</style>")
		sum := sha256.Sum256([]byte(style))
		policy.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
	}
	maps.Copy(w.Header(), http.Header{
		"Cache-Control":              {"no-store"},
		"Connection":                 {"close"},
		"Content-Security-Policy":    {policy.String()},
		"Content-Type":               {"text/html; charset=utf-8"},
		"Cross-Origin-Opener-Policy": {"same-origin"},
		"Referrer-Policy":            {"no-referrer"},
		"X-Content-Type-Options":     {"nosniff"},
		"X-Frame-Options":            {"DENY"},
	})
	// The exchange may have taken longer than the server allows.
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(loopbackTimeout))
	w.WriteHeader(status)
	io.WriteString(w, page)
}

// readPasted reads redirected URLs, or codes, that the user pastes. stop ends
// the reading, if the system can, so that what is typed next is the program's.
func (s *loopbackServer) readPasted() (stop func()) {
	in := s.flow.Input
	tty := openTerminal(in)
	if tty != nil {
		in = tty
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer tty.Close() // of nil, it does nothing
		s.readLines(in)
	}()
	return func() {
		d, ok := in.(interface{ SetReadDeadline(time.Time) error })
		if ok && d.SetReadDeadline(time.Unix(1, 0)) == nil {
			<-done
			d.SetReadDeadline(time.Time{})
		}
	}
}

// openTerminal opens the terminal anew if in is a terminal whose reads can't be
// interrupted. It returns nil otherwise.
func openTerminal(in io.Reader) *os.File {
	file, ok := in.(*os.File)
	if !ok || file.SetReadDeadline(time.Time{}) == nil {
		return nil
	}
	info, err := file.Stat()
	null, _ := os.Stat(os.DevNull)
	if err != nil || info.Mode()&os.ModeCharDevice == 0 || os.SameFile(info, null) {
		return nil
	}
	tty, _ := os.Open("/dev/tty")
	return tty
}

// readLines reads lines until one completes the sign-in. The end of the input
// ends nothing: the browser is left.
func (s *loopbackServer) readLines(in io.Reader) {
	lines := bufio.NewReader(byteReader{io.LimitReader(in, maxBody)})
	for {
		line, err := lines.ReadString('\n')
		if s.claimed.Load() || (err != nil && err != io.EOF) || line == "" {
			return
		}
		code, err := s.attempt.parsePasted(strings.TrimSpace(line))
		if isAnswer(err) {
			s.complete(code, err)
			return
		}
		s.flow.prompt("%s. Paste the whole address that the browser ended at:\n",
			strings.TrimPrefix(err.Error(), "oauth2: "))
	}
}

// A byteReader reads byte by byte, since what follows a line is the program's.
type byteReader struct{ io.Reader }

func (r byteReader) Read(b []byte) (int, error) { return r.Reader.Read(b[:1]) }

// parsePasted is parseRedirect for what a user pastes. A code alone has no
// state; PKCE binds it to this sign-in.
func (a *attempt) parsePasted(line string) (string, error) {
	isCode := len(line) >= minPastedCode && validCode(line) &&
		!strings.Contains(line, "://") && !strings.Contains(line, "&")
	_, query, ok := strings.Cut(line, "?")
	switch {
	case strings.Contains(query, "code_challenge="):
		return "", errors.New("oauth2: that is the address to open")
	case query != "":
		return a.parseRedirect(line)
	case ok: // nothing follows
	case strings.Contains(line, "code="): // the end of an address
		return a.parseRedirect("?" + line)
	case isCode:
		return line, nil
	}
	return "", errors.New("oauth2: that is neither an address with a code nor a code")
}

// OpenBrowser opens a URL in the user's browser, with xdg-open, open or
// rundll32 and without a shell. Only https URLs are opened, and http ones on
// this machine: URLs of other schemes run programs. It does not wait for the
// browser.
func OpenBrowser(url string) error { return launch(context.Background(), url) }

// launch is OpenBrowser with a launcher that does not outlive ctx.
func launch(ctx context.Context, target string) error {
	if _, err := checkEndpoint(target); err != nil {
		return fmt.Errorf("oauth2: the URL to open %w", err)
	}
	// A launcher that is a shell script could misread these.
	if strings.ContainsAny(target, "\"'`$^|<>") {
		return errors.New("oauth2: the URL to open has characters that must be percent-encoded")
	}
	name, args := "xdg-open", []string{target}
	switch runtime.GOOS {
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", target}
	case "darwin":
		name = "/usr/bin/open"
	}
	cmd := exec.CommandContext(ctx, name, args...) // refuses a program in the current directory
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("oauth2: starting the browser: %w", err)
	}
	go cmd.Wait()
	return nil
}

// FileStore returns a Store that is the file called name, which only the user
// who runs the program can read. Processes of one machine can share it; for
// several machines, which a network file system does not keep apart, use a
// database. A crash at any moment leaves the old or the new content, unless the
// file is a mount of its own, which can only be overwritten. Folders are made
// as needed. While a process updates the file, there is a folder of the same
// name with ".lock" at its end; a lock whose holder was killed is found out and
// ignored. If name is a symbolic link, a save replaces the link.
func FileStore(name string) Store {
	return fileStore(filepath.Clean(name))
}

// Of the lock of a FileStore.
const (
	lockPoll  = 50 * time.Millisecond // the longest pause before an attempt
	lockLooks = 128                   // attempts, about 3 s, between looks for the dead
	lockTouch = time.Second           // how often its holder touches it
	lockStale = 30 * time.Second      // how far off the time of a dead one's is
)

// runID tells this process from one that had its ID before, as that of a
// container is 1 at each start.
var runID = rand.Text()

type fileStore string

func (s fileStore) Load(ctx context.Context) (data []byte, err error) {
	err = retry(func() error {
		data, err = parseFile(string(s), func(data []byte) ([]byte, error) {
			// Here, so that the error names the file. Whose it is, it need not say.
			_, err := parseCredentials(data, new(ClientSecrets))
			return data, err
		})
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nor is there any data
		}
		return err
	})
	return data, err
}

func (s fileStore) Update(ctx context.Context, fn func(old []byte) ([]byte, error)) error {
	name := string(s)
	if ctx == nil {
		return errNilContext
	}
	if err := checkFileName(name); err != nil {
		return err
	}
	lock, err := lockFile(ctx, name)
	if err != nil {
		return fmt.Errorf("oauth2: locking %q: %w", name, innerError{err})
	}
	defer unlock(lock)
	held, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		for sleep(held, lockTouch) == nil {
			os.Chtimes(lock, time.Time{}, time.Now())
		}
	}()
	old, err := s.Load(ctx)
	if err != nil {
		return err
	}
	data, err := fn(old)
	if err != nil || bytes.Equal(data, old) {
		return err
	}
	if err := replaceFile(name, lock, old, data); err != nil {
		return fmt.Errorf("oauth2: saving: %w", err)
	}
	return nil
}

// replaceFile writes data to the lock, which is a new file with mode 0600, and
// renames it, so that at any moment the old or the new content is there, whole.
// Without data it removes the file. If another process took this one for dead,
// the lock is gone, and nothing is changed.
func replaceFile(name, lock string, old, data []byte) error {
	if len(data) > maxBody {
		return errTooLarge // and could not be read again
	}
	err := overwrite(lock, data, 0)
	if err != nil {
		return err
	}
	err = retry(func() error {
		if data == nil {
			return os.Remove(name)
		}
		return os.Rename(lock, name)
	})
	if errors.Is(err, syscall.EBUSY) && data != nil {
		// The file is a mount of its own, and can only be overwritten. First the old
		// content gets the length of the new one, by spaces, which mean nothing in
		// JSON: a disk that is full fails here, and nothing is lost. The file does
		// not get shorter.
		err = overwrite(name, old, len(data))
		if err == nil {
			err = overwrite(name, data, len(old))
		}
	}
	// So that the change is on the disk too, on systems that can say so.
	dir, _ := os.Open(filepath.Dir(name))
	dir.Sync() // of nil, this does nothing
	dir.Close()
	return err
}

// overwrite writes data, and spaces up to a size, over the beginning of a file.
func overwrite(name string, data []byte, size int) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	f.Chmod(0o600) // a mounted file may have another mode, or another owner, who keeps it
	spaces := bytes.Repeat([]byte(" "), max(0, size-len(data)))
	_, err = f.Write(append(slices.Clip(data), spaces...))
	if err == nil {
		err = f.Sync() // without it, a rename could reach the disk before the data
	}
	f.Close() // has no fault left to report
	return err
}

// retry calls do until it succeeds, for a second, on Windows. What another
// process has open there, if only to read it, can't be replaced, and what is
// being replaced can't be opened.
func retry(do func() error) (err error) {
	for range 50 {
		err = do()
		if err == nil || errors.Is(err, fs.ErrExist) || runtime.GOOS != "windows" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// lockFile excludes other processes from name until the file it returns is
// removed or renamed. The standard library has no lock that ends with its
// process on all systems. So there is a folder that only one of them can make.
// The others leave it alone, but now and then look whether its maker is dead.
//
// It refuses a folder in which others can replace files, and a lock that is
// another program's file, or a link, through which files would be removed
// elsewhere.
func lockFile(ctx context.Context, name string) (lock string, err error) {
	parent, dir := filepath.Dir(name), name+".lock"
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(parent)
	if err != nil {
		return "", err
	}
	if runtime.GOOS != "windows" && info.Mode()&0o022 != 0 {
		return "", fmt.Errorf("others can write to its folder (%w): chmod go-w it, or name a "+
			"folder of its own, as in .../app/credentials.json, which is then made with mode 0700",
			fs.ErrPermission)
	}
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return "", &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	// Something has just happened here. One that had the lock and wants it again
	// comes after those that wait for it.
	if time.Since(info.ModTime()).Abs() < lockPoll {
		err = sleep(ctx, jitter(lockPoll))
	}
	seen := map[string]time.Time{}
	for n := 0; err == nil; n++ {
		err = retry(func() error { return os.Mkdir(dir, 0o700) })
		// If the folder can't be made for another reason, the next attempt tells.
		if err == nil || n%lockLooks == 1 && removeDead(dir, seen) {
			lock, err = claim(dir)
		}
		if !errors.Is(err, fs.ErrExist) {
			return lock, err
		}
		err = sleep(ctx, jitter(lockPoll))
	}
	return "", err
}

// claim puts a lock into its folder, each time with another name: one that was
// taken for dead may be removed at any time. The lock is held if it is then
// there, and no other is: since all put theirs before they look, never do two
// hold it, however they came to try. Otherwise the error is an fs.ErrExist.
//
// Who was stopped in between gives up, since another may be about to take it
// for dead: a lock that is held is touched from when it is put.
func claim(dir string) (lock string, err error) {
	leaf := fmt.Sprintf("%s.%d.%s.%s", machineID(), os.Getpid(), runID, rand.Text())
	lock = filepath.Join(dir, leaf)
	start := time.Now()
	err = os.WriteFile(lock, nil, 0o600)
	if slices.Equal(locks(dir), []string{leaf}) && time.Since(start) < lockTouch {
		return lock, nil
	}
	unlock(lock)
	if err == nil || errors.Is(err, fs.ErrNotExist) { // another removed the empty folder
		err = fs.ErrExist
	}
	return "", err
}

func unlock(lock string) {
	os.Remove(lock)
	os.Remove(filepath.Dir(lock)) // fails while another lock is there
}

// locks returns the names of the locks in their folder. What else is there
// stays. If the folder can't be read, none is seen, and so none is held.
func locks(dir string) []string {
	all, _ := fs.Glob(os.DirFS(dir), "*.*.*.*")
	return all
}

// removeDead removes the locks of dead processes. Their names are unique, so
// this can't hit one of a process that lives. It reports whether none is left.
//
// A process is dead if it has ended, or does not touch its lock. Clocks differ,
// and jump when a machine wakes up: so a time that is too far off counts only
// if it is still the same at the next look, since a living process has touched
// its lock twice until then. seen has the times that were too far off.
//
// So a process that was killed but is still listed is found out too, and one
// that now has the ID of the dead one. But a process that was stopped, as by a
// debugger, loses its lock. When it goes on, it finds no file to rename and
// reports that; nothing is overwritten. Its refresh token may have been used
// twice, but otherwise nobody would have a token until it goes on.
func removeDead(dir string, seen map[string]time.Time) bool {
	for _, leaf := range locks(dir) {
		lock := filepath.Join(dir, leaf)
		info, err := os.Lstat(lock)
		if err != nil {
			return false // it was given up just now
		}
		touched := info.ModTime()
		if touched.Equal(seen[leaf]) || processGone(leaf) {
			os.Remove(lock)
			continue
		}
		if time.Since(touched).Abs() >= lockStale {
			seen[leaf] = touched
		}
		return false
	}
	return true
}

// processGone reports whether the process that made a lock has certainly ended.
// Of those of other machines nothing is known. On Windows, a process that can't
// be opened is there, and so is one that has ended while others have it open.
func processGone(leaf string) bool {
	parts := strings.Split(leaf, ".")
	pid, _ := strconv.Atoi(parts[1])
	if parts[0] != machineID() {
		return false
	}
	if pid == os.Getpid() {
		return parts[2] != runID
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return !errors.Is(err, fs.ErrPermission)
	}
	defer p.Release()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// machineID tells apart the machines, and the containers, whose process IDs
// mean nothing to each other.
func machineID() string {
	host, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return challenge(fmt.Sprint(host, boot, namespace))
}

const (
	successPage = pageHead + "<title>Signed in</title></head><body><main>" +
		`<svg class="ok" viewBox="0 0 24 24" aria-hidden="true"><path d="M7 12.5l3.5 3.5L17 9"/>` +
		"</svg><h1>You are signed in</h1>" +
		"<p>You can close this window and return to the application.</p></main></body></html>\n"
	failurePage = pageHead + "<title>Not signed in</title></head><body><main>" +
		`<svg class="bad" viewBox="0 0 24 24" aria-hidden="true"><path d="M12 7v6m0 3.5v.01"/>` +
		"</svg><h1>You are not signed in</h1><p>The sign-in could not be completed. " +
		"Return to the application to see why and to try again.</p></main></body></html>\n"
	strayPage = pageHead + "<title>Nothing to sign in to</title></head><body><main>" +
		`<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7.5 12h9"/>` +
		"</svg><h1>Nothing to do here</h1><p>This page belongs to another sign-in, or to none. " +
		"Use the window that the application opened last.</p></main></body></html>\n"
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
