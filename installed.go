package oauth2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
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
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// loopbackTimeout is how long a browser may take to send its request to the
// loopback server, and to take the answer.
const loopbackTimeout = 5 * time.Second

// Of RunDevice.
const (
	maxDeviceInterval = time.Minute
	slowDown          = 5 * time.Second // RFC 8628, Section 3.5; also the first interval (3.2)
)

// An InstalledAppFlow signs in the user who runs the program (RFC 8252). Set
// the fields before the sign-in.
type InstalledAppFlow struct {
	// RedirectURI is where the authorization server sends the browser afterwards.
	// If empty, it is one that the client's file registers; see RunLocalServer.
	RedirectURI string
	// Params are added to the authorization request, as [Flow.Params].
	Params url.Values
	// TokenParams are sent to the token endpoint, as [Flow.TokenParams] are.
	TokenParams url.Values
	// Store keeps the credentials for SignIn, which needs it, and for RunDevice,
	// which stores nothing if it is nil. RunLocalServer does not use it.
	Store Store
	// ListenAddr is the address to listen on, "host" or "host:port", if it is not
	// the one that the redirect URI names: in a container, "0.0.0.0" with a
	// published port. Whoever reaches that address can then send requests to the
	// server, which accepts only the one with the right state. If empty, only this
	// machine reaches the server.
	ListenAddr string
	// OpenBrowser opens the authorization URL. If nil, it is [OpenBrowser]. To open
	// no browser, use a function that does nothing. An error ends nothing, since
	// the URL has been printed. It is called on a goroutine of its own, and may
	// block.
	OpenBrowser func(url string) error
	// ShowDeviceCode shows the user where to sign in on another device, and with
	// which code (RFC 8628, Section 3.3): as a QR code, or in a window. If nil,
	// Prompt gets it as text. If set, SignIn signs the user in as RunDevice does,
	// not as RunLocalServer does. It is called on a goroutine of its own, which is
	// waited for no longer than a second.
	ShowDeviceCode func(DeviceCode)
	// Prompt is where the user is told which URL to open, and at the end as whom
	// they have signed in, if an ID token says so. If nil, it is os.Stderr. Use
	// io.Discard for silence. A sign-in goes on if it blocks.
	Prompt io.Writer
	// Input is where the user may paste the address that the browser ends at, or
	// its query, if the browser runs on another machine: os.Stdin. If nil, nothing
	// is read. Whichever comes first, the redirect or the pasted address, completes
	// the sign-in. What is typed after that is the program's, if Input is a
	// terminal or has a SetReadDeadline method; of another reader, the next line is
	// lost. So it is of a console and a pipe of Windows, and of a terminal of
	// macOS, whose reads can't be interrupted. Of any pipe, what came at once with
	// the address is lost too.
	Input io.Reader
	// SuccessPage is the HTML that the browser shows after a sign-in. If empty, it
	// is a plain page of this package. Styles in the page are allowed; scripts, and
	// whatever is loaded from elsewhere, are blocked.
	SuccessPage string
	// FailurePage is SuccessPage for a sign-in that failed.
	FailurePage string

	client *ClientSecrets
	scopes []string

	prompting chan struct{} // full while something is written to Prompt
	replaced  *Token        // what a sign-in with a Store replaces; nil without a Store
}

// A DeviceCode is what the user needs to sign in on another device (RFC 8628,
// Section 3.2). Its fields come from the authorization server, and are checked:
// they are short, and printable ASCII.
type DeviceCode struct {
	// UserCode is what the user enters at VerificationURI.
	UserCode string
	// VerificationURI is an https URL, or an http one on this machine.
	VerificationURI string
	// VerificationURIComplete is one that has the code in it, for a QR code. It is
	// empty if the server has none. Show UserCode too, so that the user can compare
	// it with the one that the page shows (Section 3.3.1).
	VerificationURIComplete string
	// Expiry is when the code expires.
	Expiry time.Time
}

// NewInstalledAppFlow returns an InstalledAppFlow that asks for scopes on
// behalf of client. A string with several scopes, separated by spaces, counts
// as several.
func NewInstalledAppFlow(client *ClientSecrets, scopes ...string) *InstalledAppFlow {
	return &InstalledAppFlow{
		client:    client,
		scopes:    scopeList(scopes...),
		prompting: make(chan struct{}, 1),
	}
}

// SignIn returns the stored credentials if they are this client's, were asked
// for the flow's scopes, and still yield a token; it refreshes them to find
// out. Otherwise it signs the user in, as RunLocalServer does, and stores the
// result. It does so as RunDevice does if ShowDeviceCode is set, or if the
// client has a DeviceAuthURI and no AuthURI. The sign-in asks for the flow's
// scopes and for those of the stored credentials. At Google, the parameter
// prompt is then "consent" unless Params has a prompt, so that a refresh token
// comes. The credentials have a token that has not expired, and refresh through
// the Store.
//
// Calls with the same Store share one sign-in: the others wait for the first
// one, each no longer than its own context, and then use what is stored. If it
// fails, so do they, unless its own context has ended. While the sign-in waits
// for its redirect, it takes what another process has stored meanwhile, if that
// serves. The Store is tried before the user has to do anything, and an error
// is returned. SignIn takes an hour at most.
//
// If the sign-in worked but its result could not be stored, SignIn returns both
// the credentials, which work, and an error; calls that waited for it get the
// error. If ctx ends while the result is being stored, SignIn returns an error,
// and the result is stored all the same. A network that fails, or a stored
// file that is not understood, is an error and no reason to sign in again. So
// is a client that the server refuses (invalid_client). After any other lasting
// refusal of the stored credentials the user signs in anew.
func (f *InstalledAppFlow) SignIn(ctx context.Context) (*Credentials, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case f.client == nil:
		return nil, errNoClient
	}
	own := new(sharedSignIn)
	own.done = make(chan struct{})
	own.err = errNoReturn
	var key any = f.Store             // may be nil, which load refuses
	if !sameStore(f.Store, f.Store) { // which can't be a key
		key = own
	}
	waiting, cancel := context.WithTimeout(ctx, attemptLifetime)
	defer cancel()
	flow := *f // which the caller may change after its return
	for {
		found, isShared := signIns.LoadOrStore(key, own)
		if !isShared {
			go func() { // the Store may never answer
				defer close(own.done)
				defer signIns.Delete(key)
				own.value, own.err = flow.signIn(ctx)
				own.isLeft = ctx.Err() != nil
			}()
			return own.wait(waiting)
		}
		s := found.(*sharedSignIn)
		_, err := s.wait(waiting)
		if err != nil && (waiting.Err() != nil || !s.isLeft) {
			return nil, err
		}
	}
}

// A sharedSignIn is one that is under way with a Store.
type sharedSignIn struct {
	flight[*Credentials]
	isLeft bool // by the call that began it, whose context ended
}

// signIns has a *sharedSignIn for each Store with which one is under way.
// Nothing else that two calls of SignIn have in common could hold it.
var signIns sync.Map

// signIn is SignIn for one call at a time. It changes f to the sign-in that it
// makes.
func (f *InstalledAppFlow) signIn(ctx context.Context) (*Credentials, error) {
	creds, err := f.load(ctx)
	if err == nil {
		return creds, nil
	}
	// Only where a new sign-in may help. A client that is refused would be so
	// again, after the user's work.
	e := asError(err)
	isRefusal := e.refused && e.Code != "invalid_client"
	if !isRefusal && err != errOtherClient && !errors.Is(err, ErrLoginRequired) {
		return nil, err
	}
	f.replaced = new(Token)
	if creds != nil {
		f.replaced = creds.current()
		f.scopes = append(scopeList(creds.scope), f.scopes...)
		slices.Sort(f.scopes)
		f.scopes = slices.Compact(f.scopes)
	}
	params := url.Values{}
	if f.client.Issuer == googleIssuer {
		params.Set("prompt", "consent")
	}
	maps.Copy(params, f.Params)
	f.Params = params
	onlyDevice := f.client.AuthURI == "" && f.client.DeviceAuthURI != ""
	if onlyDevice || f.ShowDeviceCode != nil {
		return f.RunDevice(ctx)
	}
	return f.keep(ctx, f.RunLocalServer)
}

// load returns the stored credentials, and an error unless they serve.
func (f *InstalledAppFlow) load(ctx context.Context) (*Credentials, error) {
	creds, err := LoadCredentials(ctx, f.client, f.Store)
	if err != nil {
		return nil, err
	}
	if creds.stored().adopted {
		creds.scope = joinScopes(f.scopes) // which the file does not say
	}
	if f.replaced.same(creds.current()) || !creds.covers(f.scopes) {
		return creds, loginRequired("the stored credentials do not serve")
	}
	_, err = creds.Token(ctx)
	return creds, err
}

// keep signs the user in and stores the result, if there is a Store. It tries
// the Store before: the sign-in would be lost.
func (f *InstalledAppFlow) keep(
	ctx context.Context, signIn func(context.Context) (*Credentials, error),
) (*Credentials, error) {
	if f.Store == nil {
		return signIn(ctx)
	}
	err := f.Store.Update(ctx, func(old []byte) ([]byte, error) { return old, nil })
	if err != nil {
		return nil, err
	}
	creds, err := signIn(ctx)
	if err != nil {
		return nil, err
	}
	// The user has done their part: the end of ctx must not lose that.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
	defer cancel()
	return creds, creds.Save(ctx, f.Store)
}

// covers reports whether scopes were asked for when the credentials were made,
// or granted. What the user then declined is not asked for at each start.
func (c *Credentials) covers(scopes []string) bool {
	have := grantedScopes(append(scopeList(c.scope), c.current().Scopes...)...)
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
//     that is empty, it uses the first loopback URI that the client's file
//     registers: a web client to the letter; an installed client with a free
//     port if the URI has none. Google's installed clients, and those that
//     register none, use 127.0.0.1 (or ::1) and a free port.
//  2. It prints the authorization URL to Prompt and opens the browser.
//  3. It waits for the redirect with this sign-in's state. Any other request
//     is answered with an error and changes nothing.
//  4. It exchanges the code, and then shows in the browser how it went.
//
// The wait ends with ctx, or after 5 minutes if ctx has no deadline. It takes
// an hour at most. The error is an [*Error] if the server refused, with Code
// "access_denied" if the user declined. errors.Is finds the cause if ctx ended
// or the address could not be used.
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
	limit := 5 * time.Minute
	if _, ok := ctx.Deadline(); ok {
		limit = attemptLifetime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
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
		ctx:              ctx,
		redirectURI:      redirectURI,
		InstalledAppFlow: f,
		attempt:          flow.attempt.Load(),
		newest:           make(chan func(), 768),
	}
	srv.done = make(chan struct{})
	defer srv.serve(listeners)()
	f.showURL(authURL, redirectURI)
	if f.replaced != nil {
		go srv.watch()
	}
	if f.Input != nil {
		f.prompt("If the browser can't connect in the end, " +
			"paste the address that it then shows here:\n")
		defer srv.readPasted()()
	}
	_, err = srv.wait(ctx)
	srv.complete("", err) // if ctx ended; an exchange that is under way ends too
	f.greet(srv.value)
	return srv.value, srv.err
}

// showURL prints the authorization URL and opens it in the browser. If there
// seems to be none, it says how one on another machine reaches the redirect
// URI.
func (f *InstalledAppFlow) showURL(authURL string, redirectURI *url.URL) {
	f.prompt("Open this URL in a browser to sign in:\n\n    %s\n\n", authURL)
	switch {
	case f.OpenBrowser != nil:
		go f.OpenBrowser(authURL) // which may block
	case !noBrowser():
		go OpenBrowser(authURL)
	case f.ListenAddr == "" && redirectURI.Port() != "":
		f.prompt("There seems to be no browser here. For one on your own machine to get back to "+
			"this program, first run this there, and leave it open:\n\n"+
			"    ssh -L %s:%s USER@THIS-MACHINE\n\n", redirectURI.Port(), redirectURI.Host)
	}
}

// greet tells the user as whom they have signed in, if an ID token says so.
// Another user of this machine, who can see the URL among the arguments of the
// browser, may have been faster.
func (f *InstalledAppFlow) greet(creds *Credentials) {
	if creds == nil || creds.IDToken() == nil {
		return
	}
	email := creds.IDToken().Email
	if validToken(email) {
		f.prompt("Signed in as %s.\n", email)
	}
}

// prompt writes to Prompt, after what was written to it before.
func (f *InstalledAppFlow) prompt(format string, args ...any) {
	w := f.Prompt
	if w == nil {
		w = os.Stderr
	}
	call(func() {
		f.prompting <- struct{}{}
		fmt.Fprintf(w, format, args...)
		<-f.prompting
	})
}

// call calls a function that may never return, and waits for it for a second.
func call(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

// RunDevice signs the user in with a browser on any other device (RFC 8628). It
// shows a short address and a code, with ShowDeviceCode or on Prompt, and asks
// the server, as often as that allows, until the user has entered the code, ctx
// ends or the code expires, after an hour at most. The client needs a
// DeviceAuthURI, and must be registered for devices. The error is an [*Error]
// with Code "access_denied" if the user declined, or "expired_token".
//
// If there is a Store, it is tried before, and the credentials are stored there
// and refresh through it. If they could not be stored, RunDevice returns both
// the credentials and an error.
func (f *InstalledAppFlow) RunDevice(ctx context.Context) (*Credentials, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	if f.client == nil || f.client.DeviceAuthURI == "" {
		return nil, errors.New("oauth2: the client has no DeviceAuthURI")
	}
	if err := checkTokenParams(f.TokenParams); err != nil {
		return nil, err
	}
	return f.keep(ctx, f.runDevice)
}

// runDevice is RunDevice without the Store.
func (f *InstalledAppFlow) runDevice(ctx context.Context) (*Credentials, error) {
	form := url.Values{
		"scope":    {joinScopes(f.scopes)},
		"audience": f.Params["audience"],
		"resource": f.Params["resource"],
	}
	r := f.client.request("asking for a device code", form, nil)
	r.url = f.client.DeviceAuthURI
	ans, err := r.do(ctx)
	if err != nil {
		return nil, err
	}
	members := ans.fields
	shown, form, interval := members.device()
	if members.err != nil {
		return nil, ans.unusable(members.err)
	}
	f.showDevice(shown)
	expired := &Error{
		Code: "expired_token",
		text: "the code has expired; sign in again",
	}
	ctx, cancel := context.WithDeadlineCause(ctx, shown.Expiry, expired)
	defer cancel()
	asked := &signInRequest{
		scopes:      f.scopes,
		params:      f.Params,
		tokenParams: f.TokenParams,
	}
	wait := interval
	for sleep(ctx, wait) == nil {
		creds, err := f.client.redeem(ctx, "signing in on another device", form, asked)
		e := asError(err)
		switch {
		case e.Code == "authorization_pending":
		case e.Code == "slow_down":
			interval += slowDown
		case e.temporary: // back off (RFC 8628, Section 3.5)
			interval = max(interval, min(2*interval, maxDeviceInterval))
		default:
			f.greet(creds)
			return creds, err
		}
		wait = max(interval, e.RetryAfter)
	}
	return nil, fmt.Errorf("oauth2: waiting for the sign-in on another device: %w",
		innerError{context.Cause(ctx)})
}

// device reads the answer of a device authorization endpoint (RFC 8628, Section
// 3.2): what the user needs, what the program then asks the token endpoint for,
// and how long to wait before each request.
func (f *fields) device() (shown DeviceCode, form url.Values, interval time.Duration) {
	page := "verification_uri"
	if !f.has(page) {
		page = "verification_url" // Google's name
	}
	shown.VerificationURI = f.endpoint(page)
	if f.has("verification_uri_complete") {
		shown.VerificationURIComplete = f.endpoint("verification_uri_complete")
	}
	if max(len(shown.VerificationURI), len(shown.VerificationURIComplete)) > 2<<10 {
		f.fail("has a verification URI that is too long")
	}
	shown.UserCode = f.str("user_code")
	if !validUserCode(shown.UserCode) || len(shown.UserCode) > 32 {
		f.fail("has no usable user_code")
	}
	lifetime := cmp.Or(f.seconds("expires_in"), attemptLifetime)
	shown.Expiry = time.Now().Add(min(lifetime, attemptLifetime))
	interval = min(cmp.Or(f.seconds("interval"), slowDown), maxDeviceInterval)
	code := f.secret("device_code")
	if code.empty() {
		f.fail("has no usable device_code")
	}
	form = url.Values{
		"grant_type":  {"urn:ietf:params:oauth:grant-type:device_code"},
		"device_code": {code.Reveal()},
	}
	return shown, form, interval
}

// validUserCode reports whether a text is printable ASCII, so that it can't
// steer a terminal, and has 1 to 4 groups: a sentence has more.
var validUserCode = regexp.MustCompile("^[ -]*([!-,.-~]+[ -]*){1,4}$").MatchString

// showDevice tells the user where to sign in.
func (f *InstalledAppFlow) showDevice(d DeviceCode) {
	if f.ShowDeviceCode != nil {
		call(func() { f.ShowDeviceCode(d) })
		return
	}
	text := "To sign in, open this address in a browser on any device:\n\n    %s\n\n"
	if d.VerificationURIComplete != "" {
		text += "or this one, which has the code in it, to compare:\n\n    %[3]s\n\n"
	}
	text += "and enter the code:\n\n    %[2]s\n\n"
	f.prompt(text, d.VerificationURI, d.UserCode, d.VerificationURIComplete)
}

// listen opens the listeners that take the redirect and returns the redirect
// URI.
func (f *InstalledAppFlow) listen() ([]net.Listener, *url.URL, error) {
	u, err := f.loopbackURI()
	if err != nil {
		return nil, nil, err
	}
	if f.ListenAddr == "" && u.Scheme != "http" {
		return nil, nil, fmt.Errorf(
			"oauth2: the redirect URI %q is not on this machine: set ListenAddr", u)
	}
	addr := cmp.Or(f.ListenAddr, u.Host)
	if _, _, err := net.SplitHostPort(addr); err != nil { // a host alone
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), cmp.Or(u.Port(), "80"))
	}
	listeners, port, err := bind(addr)
	if err != nil && addr == anyPort && f.RedirectURI == "" { // there is no IPv4
		u.Host = "[::1]:0"
		listeners, port, err = bind(u.Host)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("oauth2: listening for the redirect: %w", err)
	}
	if u.Port() == "0" {
		u.Host = strings.TrimSuffix(u.Host, "0") + port
	}
	return listeners, u, nil
}

// anyPort is where an installed client listens. Any port will do (RFC 8252,
// Section 7.3), and an address is safer than a name (Section 8.3).
const anyPort = "127.0.0.1:0"

// loopbackURI returns the redirect URI, whose port may still be 0.
func (f *InstalledAppFlow) loopbackURI() (*url.URL, error) {
	if f.RedirectURI != "" {
		return checkRedirectURI(f.RedirectURI)
	}
	web := f.client.Type == "web"
	for _, raw := range f.client.RedirectURIs {
		u, err := checkRedirectURI(raw)
		if err != nil || u.Scheme != "http" {
			continue
		}
		switch {
		case web: // to the letter
		case f.client.Issuer == googleIssuer:
			u.Host = anyPort
		case u.Port() == "":
			u.Host += ":0"
		}
		return u, nil
	}
	if web {
		return nil, fmt.Errorf(
			"oauth2: no redirect URI of %q is on this machine; register http://localhost:8080/",
			f.client.RedirectURIs)
	}
	return &url.URL{Scheme: "http", Host: anyPort, Path: "/"}, nil
}

// bind listens at an address and returns its port: for localhost, at both
// 127.0.0.1 and ::1. The browser may take either, and if another process had
// it, that would get the code.
func bind(addr string) (listeners []net.Listener, port string, err error) {
	port, isName := strings.CutPrefix(addr, "localhost:")
	if isName {
		addr = "127.0.0.1:" + port
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", err
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	listeners = []net.Listener{l}
	if isName {
		other, err := net.Listen("tcp", "[::1]:"+port)
		if err == nil {
			return append(listeners, other), port, nil
		}
		probe, noIPv6 := net.Listen("tcp", "[::1]:0")
		if noIPv6 == nil {
			probe.Close()
			l.Close()
			return nil, "", err
		}
	}
	return listeners, port, nil
}

// A loopbackServer waits for the redirect of one attempt.
type loopbackServer struct {
	ctx         context.Context // of the flow: the exchange must not end with a request
	redirectURI *url.URL
	*InstalledAppFlow
	*attempt

	claimed atomic.Bool // by the request that has the answer
	flight[*Credentials]

	// newest has what closes each of the newest connections.
	newest chan func()
}

// serve starts the server. stop ends it within a second and leaves nothing
// behind.
func (s *loopbackServer) serve(listeners []net.Listener) (stop func()) {
	server := &http.Server{
		Handler:                      s,
		DisableGeneralOptionsHandler: true, // which would answer "OPTIONS *" itself
		MaxHeaderBytes:               16 << 10,
		ReadTimeout:                  loopbackTimeout, // also for the header
		ErrorLog:                     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ConnState:                    s.track,
	}
	server.SetKeepAlivesEnabled(false)
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

// track lets only the newest connections stay open: any process of this machine
// can open some that it never uses, and the user's browser must not wait for
// them. The time that each one has is the browser's to send its request; the
// next one waits for it. Once the redirect is there, nothing is closed to make
// room.
func (s *loopbackServer) track(conn net.Conn, state http.ConnState) {
	if state != http.StateNew {
		return
	}
	began := time.Now()
	end := func() {
		time.Sleep(100*time.Millisecond - time.Since(began))
		conn.Close()
	}
	for {
		select {
		case s.newest <- end:
			return
		default:
		}
		if s.claimed.Load() {
			conn.Close()
			return
		}
		endOldest := <-s.newest
		endOldest()
	}
}

// ServeHTTP checks that a request is the redirect and completes the attempt.
// Until then it does nothing but answer with an error. Pages are constants:
// nothing of a request is repeated. The headers keep the code, which is in the
// page's URL, from other sites, caches and frames.
func (s *loopbackServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, page := 400, strayPage
	host := strings.TrimSuffix(r.Host, ":80")
	mode := r.Header.Get("Sec-Fetch-Mode")
	switch {
	case r.Method != "GET": // the HEAD of a link previewer must not use up the code
		status = 405
	case !strings.EqualFold(host, strings.TrimSuffix(s.redirectURI.Host, ":80")): // DNS rebinding
		status = 421
	case r.URL.EscapedPath() != cmp.Or(s.redirectURI.EscapedPath(), "/"):
		status = 404
	case mode != "" && mode != "navigate": // a script on some page, not the browser itself
		status = 403
	default:
		code, err := s.parseRedirect("?" + r.URL.RawQuery)
		if !isAnswer(err) {
			break
		}
		page = cmp.Or(s.FailurePage, failurePage)
		if s.complete(code, err) == nil { // which waits for the exchange
			status = 200
			page = cmp.Or(s.SuccessPage, successPage)
		}
	}
	maps.Copy(w.Header(), http.Header{
		"Allow":         {"GET"}, // for a 405
		"Cache-Control": {"no-store"},
		"Content-Security-Policy": {"default-src 'none'; base-uri 'none'; form-action 'none'; " +
			"frame-ancestors 'none'; style-src 'unsafe-inline'"}, // a page has its own styles
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

// complete exchanges the code, or takes err for the outcome of the sign-in,
// unless there is one. It waits for the outcome, as long as the flow's context
// allows, and returns its error.
func (s *loopbackServer) complete(code string, err error) error {
	if !s.claimed.CompareAndSwap(false, true) {
		<-s.done
		return s.err
	}
	defer close(s.done) // also if the HTTP client panics
	s.err = errNoReturn
	if err == nil {
		s.value, err = s.exchange(s.ctx, code)
	}
	s.err = err
	return err
}

// watch takes the credentials that another process stores meanwhile. It looks
// once a second.
func (s *loopbackServer) watch() {
	f := *s.InstalledAppFlow
	for sleep(s.ctx, time.Second) == nil {
		creds, err := f.load(s.ctx)
		if err == nil && s.claimed.CompareAndSwap(false, true) {
			s.value = creds
			close(s.done)
			return
		}
		if creds != nil && !asError(err).temporary {
			f.replaced = creds.current() // is not tried again
		}
	}
}

// readPasted reads addresses that the user pastes. stop ends the reading, if
// the system can, so that what is typed next is the program's.
func (s *loopbackServer) readPasted() (stop func()) {
	in, isTerminal := openTerminal(s.Input)
	var reading sync.WaitGroup
	reading.Go(func() { s.readLines(in, isTerminal) })
	return func() {
		call(func() {
			d, ok := in.(interface{ SetReadDeadline(time.Time) error })
			if ok && d.SetReadDeadline(time.Unix(1, 0)) == nil {
				reading.Wait()
				d.SetReadDeadline(time.Time{})
			}
		})
	}
}

// openTerminal reports whether in is a terminal, and opens it anew if its reads
// can't be interrupted; but not on Windows, where the name would be that of a
// file that any user could make. The garbage collector closes it.
func openTerminal(in io.Reader) (terminal io.Reader, isTerminal bool) {
	file, _ := in.(*os.File)
	info, err := file.Stat() // of nil, an error
	null, _ := os.Stat(os.DevNull)
	if err != nil || info.Mode()&os.ModeCharDevice == 0 || os.SameFile(info, null) {
		return in, false
	}
	if runtime.GOOS != "windows" && file.SetReadDeadline(time.Time{}) != nil {
		if tty, err := os.Open("/dev/tty"); err == nil {
			return tty, true
		}
	}
	return in, true
}

// readLines reads lines until one completes the sign-in: an address that the
// user pastes, or its query. A code alone has no state, and is refused. So is
// the next word in the clipboard, which may be another secret: it is not sent
// anywhere. The end of the input ends nothing: the browser is left.
func (s *loopbackServer) readLines(in io.Reader, isTerminal bool) {
	lines := bufio.NewScanner(io.LimitReader(in, maxBody)) // it may have no end
	lines.Buffer(nil, maxBody)
	for lines.Scan() && lines.Err() == nil && !s.claimed.Load() {
		line := lines.Text()
		isCut := len(line) == 4095 || len(line) == 1023
		if !strings.Contains(line, "?") {
			line = "?" + line
		}
		code, err := s.parseRedirect(strings.TrimSpace(line))
		if isTerminal && isCut { // to what a terminal of Linux, or of another system, takes
			err = errors.New(
				"the terminal has cut that line; open the address with curl, on this machine")
		}
		if isAnswer(err) {
			s.complete(code, err)
			return
		}
		s.prompt("%v. Paste the whole address that the browser ended at:\n", innerError{err})
	}
}

// OpenBrowser opens a URL in the user's browser, without a shell: with the
// program that the environment variable BROWSER names, except on Windows, or
// else with xdg-open, open or rundll32; under WSL, with wslview or Windows' own
// rundll32.exe. A value of BROWSER with a colon, a space or a percent sign is
// not a program's name and is ignored. Only https URLs are opened, and http
// ones on this machine: URLs of other schemes run programs. OpenBrowser neither
// waits for the browser nor ends it. It is safe for concurrent use.
func OpenBrowser(url string) error {
	if _, err := checkEndpoint(url); err != nil {
		return fmt.Errorf("oauth2: the URL to open %w", err)
	}
	// A launcher that is a shell script could misread these.
	if strings.ContainsAny(url, "\"'`$^|<>") {
		return errors.New("oauth2: the URL to open has characters that must be percent-encoded")
	}
	name, args := launcher()
	cmd := exec.Command(name, append(args, url)...) // refuses a program in the current directory
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("oauth2: starting the browser: %w", err)
	}
	go cmd.Wait() // it may become the browser, which is the user's
	return nil
}

// launcher returns the program that opens a URL, and the arguments before it.
func launcher() (name string, args []string) {
	browser := os.Getenv("BROWSER")
	handler := []string{"url.dll,FileProtocolHandler"}
	switch {
	case runtime.GOOS == "windows":
		return "rundll32", handler
	case browser != "" && !strings.ContainsAny(browser, ": %"):
		return browser, nil
	case runtime.GOOS == "darwin":
		return "/usr/bin/open", nil
	}
	// Linux within Windows (WSL) can run its programs.
	if _, err := exec.LookPath("wslview"); err == nil {
		return "wslview", nil
	}
	if _, err := exec.LookPath("rundll32.exe"); err == nil {
		return "rundll32.exe", handler
	}
	return "xdg-open", nil
}

// noBrowser reports whether there is plainly no browser: on a system, such as a
// container, without a display, or in a session over SSH.
func noBrowser() bool {
	if os.Getenv("DISPLAY")+os.Getenv("WAYLAND_DISPLAY") != "" {
		return false
	}
	switch name, _ := launcher(); name {
	case "xdg-open":
		return true
	case "rundll32", "/usr/bin/open": // these systems have a display without saying so
		return os.Getenv("SSH_CONNECTION") != ""
	}
	return false
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
	_, err = f.WriteString(string(data) + strings.Repeat(" ", max(0, size-len(data))))
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
		return "", fmt.Errorf(
			"others can write to its folder (%w): chmod go-w it, or name a folder of its own, "+
				"as in .../app/credentials.json, which is then made with mode 0700",
			syscall.EACCES)
	}
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return "", fmt.Errorf("%q: %w", dir, syscall.ENOTDIR)
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
	return errors.Is(p.Signal(noSignal(syscall.SIGTERM)), os.ErrProcessDone)
}

// noSignal returns the zero value of the type that this system's signals have.
// At signal 0, a system only looks whether the process is there. Plan 9 has no
// such signal, and sends nothing.
func noSignal[T any](T) (none T) { return none }

// machineID tells apart the machines, and the containers, whose process IDs
// mean nothing to each other.
func machineID() string {
	host, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return challenge(fmt.Sprint(host, boot, namespace))
}

const (
	successPage = pageHead + `<title>Signed in</title></head><body><main><svg class="ok" viewBox="0 0 24 24" aria-hidden="true"><path d="M7 12.5l3.5 3.5L17 9"/></svg><h1>You are signed in</h1><p>You can close this window and return to the application.</p></main></body></html>
`
	failurePage = pageHead + `<title>Not signed in</title></head><body><main><svg class="bad" viewBox="0 0 24 24" aria-hidden="true"><path d="M12 7v6m0 3.5v.01"/></svg><h1>You are not signed in</h1><p>The <span>sign-in</span> could not be completed. Return to the application to see why and to try again.</p></main></body></html>
`
	strayPage = pageHead + `<title>Nothing to sign in to</title></head><body><main><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7.5 12h9"/></svg><h1>Nothing to do here</h1><p>This page belongs to another <span>sign-in</span>, or to none. Use the window that the application opened last.</p></main></body></html>
`
	pageHead = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark } * { box-sizing: border-box; margin: 0 } span { white-space: nowrap }
body { min-height: 100vh; min-height: 100svh; display: grid; place-items: center; padding: min(1.5rem, 4vw); background: #f3f5f8; color: #1d2430; font: 1.0625rem/1.55 system-ui, sans-serif }
main { width: 100%; max-width: 27rem; padding: min(2.75rem, 10vw) min(2rem, 7vw); border: 1px solid transparent; border-radius: 1rem; background: #fff; text-align: center; text-wrap: balance; box-shadow: 0 1px 2px #1018281a, 0 8px 28px #10182814 }
svg { display: block; width: 3.5rem; margin: 0 auto 1.25rem; border-radius: 50%; background: #667085; fill: none; stroke: #fff; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; forced-color-adjust: none }
.ok { background: #078550 } .bad { background: #d92d20 } p { color: #4a5568 }
h1 { margin-bottom: .625rem; font-size: 1.5rem; line-height: 1.25 }
@media (prefers-color-scheme: dark) {
body { background: #10141b; color: #eef1f6 } p { color: #aab4c4 } main { background: #1a202b; border-color: #2c3442; box-shadow: none }
}
</style>`
)
