// Package oauth2 signs people and machines in with OAuth 2.0, at Google or any
// other provider, keeps their credentials fresh and authorizes HTTP requests.
//
// A program that a person runs reads its client_secrets.json and calls
// [InstalledAppFlow.Credentials], which signs the person in once and stores the result.
// A web application makes one [Flow] an attempt and keeps it between its two
// handlers with [Flow.Marshal] and [ResumeFlow]. A server signs itself in with
// [DefaultCredentials], a service account ([ReadServiceAccountFile]), the machine's identity
// ([ComputeCredentials]) or its client secret ([ClientSecrets.TokenSource]). All of
// these yield a [TokenSource]; [NewClient] and [Transport] put its tokens on
// requests. An [IDTokenVerifier] checks who somebody is.
//
// # Security defaults
//
// There are no switches. Every authorization request has PKCE (S256) and a state, with
// openid also a nonce, of 256 random bits; redirects are matched against them in
// constant time. Tokens and client secrets travel over https only (loopback excepted),
// in bodies or headers, and no redirect of a token endpoint is followed. A
// [Transport] does not send a token after a redirect to another origin. Answers
// are bounded and parsed strictly. Secrets are values of type [Secret], which no
// verb, logger or encoder prints, and no error carries one.
//
// # Storing credentials
//
// [FileStore] keeps them in a file that only its owner reads, in Google's authorized_user
// format, and that processes may share. A [Store] of your own, such as a row of a
// database, does the same for many machines.
//
// # Errors
//
// Every message begins with "oauth2: ". [ErrLoginRequired] says that only a new
// sign-in helps; errors.As with an [*Error] gives the authorization server's
// code, the HTTP status and whether to try again later. Causes such as
// context.DeadlineExceeded or syscall.ECONNREFUSED are found by errors.Is.
//
// # Notable divergences from the specifications
//
// A token response without token_type means Bearer, and its expires_in may be a
// string or have a fraction, since servers send these. A token type other than
// Bearer is refused. A refresh does not check the claims of an ID token that comes with
// it; an [IDTokenVerifier] does.
package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What the package takes from the network and from files at the most.
const (
	maxBody         = 1 << 20  // bytes of an answer, after decompression, or of a file
	maxHeader       = 64 << 10 // bytes of an answer's header
	maxDepth        = 32       // nesting of JSON
	maxToken        = 16 << 10 // bytes of a token
	maxErrorCode    = 256      // bytes kept of an error code
	maxErrorText    = 1 << 10  // bytes kept of an error description or URI
	maxLifetime     = 10 * 365 * 24 * time.Hour
	maxRetryAfter   = 5 * time.Minute
	maxAttempts     = 3
	attemptTimeout  = 30 * time.Second // one HTTP exchange, body included
	metadataTimeout = 3 * time.Second  // the same at the metadata server, which is near or not there
	dialTimeout     = 10 * time.Second
	headerTimeout   = 20 * time.Second
)

// When a cached token is renewed and how failures are spaced.
const (
	earlyRefresh   = 225 * time.Second // before expiry; Google's metadata server renews its tokens 4 minutes before
	flightTimeout  = 2 * time.Minute   // one refresh with its retries
	firstBackoff   = time.Second
	longestBackoff = time.Minute
	rejectInterval = 10 * time.Second // between two refreshes that a 401 asked for
)

// A Token is what an authorization server hands out (RFC 6749, Section 5.1).
// Tokens are shared between callers: do not modify one that a [TokenSource]
// returned.
type Token struct {
	// AccessToken authorizes requests to the resource server.
	AccessToken Secret
	// Type is the token's type. Empty means Bearer, the only one supported (RFC 6750).
	Type string
	// Expiry is when the access token expires, as wall time. The zero value means
	// that the server did not say: the token is used until it is refused.
	Expiry time.Time
	// Scopes are the scopes that were granted, which may differ from those that
	// were asked for (RFC 6749, Section 3.3).
	Scopes []string
	// RefreshToken obtains further access tokens. It is empty where none was issued.
	RefreshToken Secret
	// IDToken is the OpenID Connect ID token, empty where there is none. Its claims
	// are for the program that signed the person in; verify it before it is trusted
	// anywhere else.
	IDToken Secret

	freshUntil int64 // Unix nanoseconds until which no refresh is due; set by tokenCache
}

// Valid reports whether t is not nil, has an access token and has not expired.
func (t *Token) Valid() bool {
	return t != nil && !t.AccessToken.empty() && (t.Expiry.IsZero() || time.Now().Before(t.Expiry.Round(0)))
}

// A TokenSource yields access tokens. All sources of this package cache: they
// return the same token until shortly before it expires. An implementation must
// be safe for concurrent use, must not modify a token it has returned, and should
// return soon after ctx is done. Wrap one that fetches a token at each call with
// [CachedTokenSource].
type TokenSource interface {
	Token(ctx context.Context) (*Token, error)
}

// CachedTokenSource returns a TokenSource that asks src for a token only when the last one is
// about to expire, once for all callers. It remembers failures for a moment, and for good that a
// new sign-in is required. It is the cache that every source of this package uses, and returns
// those unchanged. Callers wait no longer than their own context; src is called with another
// one, which ends after 2 minutes.
func CachedTokenSource(src TokenSource) TokenSource {
	if cache, _ := cacheOf(src); cache != nil {
		return src
	}
	if src == nil {
		return &source{get: func(context.Context) (*Token, error) { return nil, errNoSource }}
	}
	return &source{get: src.Token}
}

// cacheOf returns the cache of a source of this package, and the project that its API calls are counted against,
// if any. A type that embeds one has none, as its Token may be another.
func cacheOf(src TokenSource) (cache *tokenCache, quotaProject string) {
	switch s := src.(type) {
	case *source:
		return &s.cache, s.quota
	case *Credentials:
		return &s.cache, s.stored().quota
	case *ServiceAccountCredentials:
		return &s.cache, s.QuotaProject
	case *ComputeCredentials:
		return &s.cache, s.QuotaProject
	}
	return nil, ""
}

// A source caches the tokens that get returns. quota is the project that API calls are counted
// against, if any.
type source struct {
	get   func(ctx context.Context) (*Token, error)
	quota string
	cache tokenCache
}

func (s *source) Token(ctx context.Context) (*Token, error) { return s.cache.token(ctx, s) }

func (s *source) fetch(ctx context.Context, _ *Token) (*Token, error) {
	t, err := s.get(ctx)
	if err = cmp.Or(err, t.check()); err != nil {
		return nil, err // and no token, since one that comes with an error is kept
	}
	return t, nil
}

// check refuses a token that can't be put on a request.
func (t *Token) check() error {
	if t == nil || !validToken(t.AccessToken.Reveal()) || !isBearer(t.Type) {
		return errors.New("oauth2: the token source returned no usable Bearer token (RFC 6750, Section 2.1)")
	}
	return nil
}

func isBearer(typ string) bool { return typ == "" || strings.EqualFold(typ, "Bearer") }

// ErrLoginRequired is what errors.Is finds in an error that only a new sign-in
// can mend: the refresh token has expired, was revoked, or there is none.
var ErrLoginRequired = errors.New("oauth2: a new sign-in is required")

// An Error says why an authorization server, or another server that this package
// asks, did not give what was asked for: it answered with an error (RFC 6749,
// Sections 4.1.2.1 and 5.2), with something unusable, or not at all. Texts of the
// server are reduced to printable ASCII, cut, and cleared of what was sent. errors.Is
// and errors.As see [ErrLoginRequired] and the cause from context, net, crypto/tls
// or syscall.
type Error struct {
	// Code is the server's error code, such as "invalid_grant" or "access_denied".
	// It is empty where the answer had none.
	Code string
	// Description is the server's error_description, for developers. It may be empty.
	Description string
	// URI is the server's error_uri, a page about the error. It may be empty. Don't
	// open it unasked.
	URI string
	// StatusCode is the HTTP status, 0 where there was no complete answer.
	StatusCode int
	// RetryAfter is how long the server asked to wait, at most 5 minutes, or 0.
	RetryAfter time.Duration

	text                             string
	temporary, loginRequired, dialed bool         // dialed: the server can't have seen the request
	cause                            func() error // nil for none; out of fmt's reach, since its text may have what a server said
}

// Temporary reports whether the same request may succeed later: the network
// failed, or the server was overloaded.
func (e *Error) Temporary() bool { return e.temporary }

// Error implements error.
func (e *Error) Error() string { return "oauth2: " + e.text }

// Is reports whether e has target as a cause, or is an error for which target,
// [ErrLoginRequired], is the remedy.
func (e *Error) Is(target error) bool {
	return e.loginRequired && target == ErrLoginRequired || e.cause != nil && errors.Is(e.cause(), target)
}

// As finds a cause of the type that target points to, as errors.As does.
func (e *Error) As(target any) bool { return e.cause != nil && errors.As(e.cause(), target) }

// serverError returns the error that a server describes with the parameters error, error_description
// and error_uri, as get has them, without what clean takes out.
func serverError(op string, get func(name string) string, clean func(string) string) *Error {
	text := func(name string, max int) string { return printable(clean(get(name)), max) }
	e := &Error{Code: printable(get("error"), maxErrorCode), Description: text("error_description", maxErrorText), URI: text("error_uri", maxErrorText)}
	if strings.Trim(e.Code, "abcdefghijklmnopqrstuvwxyz_") != "" { // else it is a code, even if a weak secret is part of it
		e.Code = text("error", maxErrorCode)
	}
	overloaded := []string{"server_error", "temporarily_unavailable", "internal_failure"}
	e.temporary = slices.Contains(overloaded, e.Code) || slices.Contains(overloaded, e.Description)
	e.text = op + ": the server answered " + e.Code
	if e.Description != "" {
		e.text += fmt.Sprintf(": %q", e.Description)
	}
	return e
}

// A request is something asked of an authorization server, or of another server that
// has tokens, keys or configuration. Everything the package sends, but for the API calls
// of Transport, goes through its do method.
type request struct {
	op     string // begins the error, such as "refreshing the token"
	url    string
	form   url.Values  // without what is empty; nil and no json: GET
	json   []byte      // a body in place of form
	header http.Header // besides the usual
	// authenticate adds client authentication to an attempt's form and header. It is
	// called for each attempt, since an assertion must not be sent twice.
	authenticate func(form url.Values, header http.Header) error
	client       *http.Client // nil: the package's
	once         bool         // holds an authorization code: never sent twice (RFC 6749, Section 4.1.2)
	metadata     bool         // for the metadata server, which speaks http and marks its answers
}

// An answer is a complete one, with a status of 2xx and no error in it, or none. Whoever reads it
// need not look at err first: fields, bad and what uses them return it.
type answer struct {
	err     error // why there is none; nothing else is set then
	op      string
	status  int
	header  http.Header
	body    []byte
	sent    time.Time
	members object // nil where the body is not a JSON object
}

// do sends r, again after a passing fault, and returns the answer. Its err is an *Error if anything was sent.
func (r *request) do(ctx context.Context) *answer {
	if ctx == nil {
		return &answer{err: errNilContext}
	}
	timeout := attemptTimeout
	u, err := checkEndpoint(r.url)
	if r.metadata {
		timeout = metadataTimeout
		u, err = url.Parse(r.url)
	}
	if err != nil {
		return &answer{err: fmt.Errorf("oauth2: %s: the endpoint %w", r.op, err)}
	}
	ctx, cancel := context.WithTimeout(ctx, flightTimeout) // which a Retry-After must not exceed
	defer cancel()
	for n := 1; ; n++ {
		ans := &answer{op: r.op, sent: time.Now()}
		if err := r.attempt(ctx, u, timeout, ans); err != nil {
			ans = &answer{err: err}
		}
		var e *Error
		if !errors.As(ans.err, &e) || n == maxAttempts || !e.temporary || r.once && !e.dialed {
			return ans
		}
		wait := cmp.Or(e.RetryAfter, jitter(500*time.Millisecond<<(n-1)))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return ans
		} else if err := sleep(ctx, wait); err != nil {
			e.cause = func() error { return err }
			return ans
		}
	}
}

// attempt sends r to u, once, and fills in ans.
func (r *request) attempt(ctx context.Context, u *url.URL, timeout time.Duration, ans *answer) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, tokenRequest{}, true), timeout)
	defer cancel()
	header := http.Header{"Accept": {"application/json"}}
	maps.Copy(header, r.header)
	form, body := maps.Clone(r.form), r.json
	maps.DeleteFunc(form, func(_ string, values []string) bool { return len(values) == 1 && values[0] == "" }) // RFC 6749, Section 3.1
	if r.authenticate != nil {
		if err := r.authenticate(form, header); err != nil {
			return err
		}
	}
	if form != nil {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		body = []byte(form.Encode())
	}
	var began atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { began.Store(true) }})
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: header}).WithContext(ctx)
	if body != nil { // without GetBody, so that nothing but do can send it again
		req.Method, req.Body, req.ContentLength = http.MethodPost, io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	clean := func(s string) string { return newCleaner(form, header).Replace(s) }
	resp, err := clientFor(r.client).Do(req)
	if err != nil {
		return broken(r.op, errors.Unwrap(err), clean, began.Load()) // without the text of url.Error, which has the whole URL
	}
	defer resp.Body.Close()
	ans.status, ans.header = resp.StatusCode, resp.Header
	if r.metadata && resp.Header.Get("Metadata-Flavor") != "Google" { // a captive portal, or whoever has that address here
		return ans.bad("did not come from a metadata server")
	}
	if resp.StatusCode >= 200 { // the body of 101 Switching Protocols never ends
		if ans.body, err = readAll(resp.Body); err == errTooLarge {
			return ans.bad("is larger than 1 MiB")
		} else if err != nil {
			return broken(r.op, err, clean, true)
		}
	}
	if ans.members, err = parseObject(ans.body); err != nil && ans.status/100 == 2 && bytes.HasPrefix(ans.body, []byte("{")) {
		return ans.bad("is " + err.Error())
	}
	return ans.refusal(clean)
}

// refusal returns the error that an answer stands for, or nil.
func (a *answer) refusal(clean func(string) string) error {
	f := fields{object: a.members}
	if !f.has("error") && a.status/100 == 2 {
		return nil
	}
	if inner, err := parseObject([]byte(f.object["error"])); err == nil { // as Google's APIs have it
		f.object = object{"error": inner["status"], "error_description": inner["message"]}
	}
	e := serverError(a.op, f.str, clean)
	e.StatusCode, e.RetryAfter = a.status, retryAfter(a.header)
	e.temporary = e.temporary || slices.Contains([]int{408, 429, 500, 502, 503, 504}, a.status)
	e.text += fmt.Sprintf(" (status %d)", a.status)
	date, dateErr := http.ParseTime(a.header.Get("Date"))
	switch skew := time.Since(date).Abs(); {
	case e.Code == "invalid_grant" && dateErr == nil && skew > 5*time.Minute: // the commonest cause with assertions, and one that servers do not name
		e.text += fmt.Sprintf("; this machine's clock is %v off the server's", skew.Round(time.Minute))
	case e.Code == "invalid_client":
		e.text += "; check the client ID, the client secret and how the client authenticates"
	case e.Code == "" && a.status/100 == 3:
		e.text = a.flaw("is a redirect, which is not followed, since it would send secrets elsewhere; check the endpoint's URL")
	case e.Code == "":
		e.text = a.flaw("has no OAuth error")
	}
	return e
}

// bad returns err, or the error for an answer that what says is wrong with it.
func (a *answer) bad(what string) error {
	return cmp.Or(a.err, error(&Error{text: a.flaw(what), StatusCode: a.status}))
}

func (a *answer) flaw(what string) string {
	if strings.HasPrefix(strings.ToLower(a.header.Get("Content-Type")), "text/html") {
		what += ", but an HTML page: a captive portal, proxy or firewall may have answered in its place"
	}
	return fmt.Sprintf("%s: the answer with status %d %s", a.op, a.status, what)
}

// fields returns the members of the JSON object that the answer must be.
func (a *answer) fields() *fields {
	f := &fields{object: a.members, err: a.err}
	f.require(len(a.body) > 0, "is empty")
	f.require(a.members != nil, "is not a JSON object")
	return f
}

// broken returns the error for an exchange that did not come to its end. began says
// that an answer had begun: what fails then is passing only if the network did.
func broken(op string, err error, clean func(string) string, began bool) *Error {
	text := clean(err.Error())
	e := &Error{text: op + ": " + printable(text, maxErrorText)}
	if text == err.Error() { // else it holds what the server has sent back
		e.cause = func() error { return err }
	}
	var dns *net.DNSError
	var dial *net.OpError
	e.dialed = errors.As(err, &dial) && dial.Op == "dial"
	lasting := errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) ||
		errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &dns) && dns.IsNotFound
	e.temporary = !lasting && (!began || errors.As(err, new(net.Error)) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
	return e
}

// newCleaner returns a Replacer that cuts out of a server's text the secrets that
// were just sent to it, as they are or as they were encoded.
func newCleaner(form url.Values, header http.Header) *strings.Replacer {
	_, credentials, _ := strings.Cut(header.Get("Authorization"), " ")
	_, password, _ := (&http.Request{Header: header}).BasicAuth()
	plain, _ := url.QueryUnescape(password)
	secrets := slices.Concat([]string{credentials, plain}, form["code"], form["code_verifier"], form["refresh_token"], form["token"],
		form["device_code"], form["client_secret"], form["assertion"], form["client_assertion"])
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // else one that begins another would leave the rest of that
	var pairs []string
	for _, s := range slices.DeleteFunc(secrets, func(s string) bool { return s == "" }) {
		quoted := strconv.Quote(s) // as net/http quotes what is not HTTP
		pairs = append(pairs, s, "[redacted]", url.QueryEscape(s), "[redacted]", quoted[1:len(quoted)-1], "[redacted]")
	}
	return strings.NewReplacer(pairs...)
}

// tokenRequest marks the context of the package's own requests, which Transport
// lets pass: a token source whose HTTP client authorizes with its own tokens would
// wait for itself.
type tokenRequest struct{}

// defaultClient sends what a request has no client for. Nothing changes it.
var defaultClient = &http.Client{Transport: &http.Transport{
	Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, ForceAttemptHTTP2: true,
	TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout, MaxResponseHeaderBytes: maxHeader,
	MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
}}

// clientFor returns c, or the package's client, without redirects and cookies: a
// redirect would send the secrets of a body to another origin.
func clientFor(c *http.Client) *http.Client {
	c = cmp.Or(c, defaultClient)
	return &http.Client{Transport: c.Transport, Timeout: c.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// retryAfter returns what a Retry-After header asks for (RFC 9110, Section
// 10.2.3), bounded, and 0 for none or garbage.
func retryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	n, _ := strconv.ParseUint(s, 10, 31)
	d := time.Duration(n) * time.Second
	if t, err := http.ParseTime(s); err == nil {
		d = time.Until(t)
	}
	return max(0, min(d, maxRetryAfter))
}

// jitter returns a random part of most, so that many who wait do not come back at once.
func jitter(most time.Duration) time.Duration {
	n, _ := rand.Int(rand.Reader, big.NewInt(int64(most)))
	return time.Duration(n.Int64())
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// token reads the answer of a token endpoint (RFC 6749, Section 5.1). requested are the scopes that were
// granted if the answer does not say.
func (a *answer) token(requested string) (*Token, error) {
	f := a.fields()
	t := &Token{AccessToken: f.secret("access_token"), Type: "Bearer", RefreshToken: f.secret("refresh_token"), IDToken: f.secret("id_token"),
		Scopes: scopeList(joinScopes([]string{cmp.Or(f.str("scope"), requested)}))}
	f.require(!t.AccessToken.empty(), "has no access_token")
	f.require(isBearer(f.str("token_type")), "has a token_type other than Bearer")
	if d := f.seconds("expires_in"); d > 0 {
		t.Expiry = a.sent.Add(d).Round(0) // without the monotonic clock, which stops while a machine sleeps
	}
	if f.err != nil {
		return nil, a.bad(f.err.Error())
	}
	return t, nil
}

// A tokenCache holds one token and renews it. Fresh: it is returned at once. Stale,
// near its expiry: it is returned at once, and renewed in the background. Expired: all
// callers wait for one fetch, each no longer than its own context.
type tokenCache struct {
	current atomic.Pointer[Token] // the hot path reads nothing else

	mu      sync.Mutex      // guards what follows; not held during a fetch
	flight  *flight[*Token] // nil: none under way
	trouble *trouble        // nil: none so far
}

// A fetcher obtains a token in place of old, which is nil at first. It may return a
// token together with an error: the token is kept and, if valid, handed out, the error
// is what Refresh reports, and fetch is called again after a while.
type fetcher interface {
	fetch(ctx context.Context, old *Token) (*Token, error)
}

// A flight is one fetch that several callers wait for. done is closed after the other fields are set.
type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// fly starts fetch in a context of its own: the caller that happened to come first may leave, but a refresh
// token that the server has replaced must not be lost with it. land has the result before any caller.
func fly[T any](fetch func(context.Context) (T, error), land func(*flight[T])) *flight[T] {
	f := &flight[T]{done: make(chan struct{}), err: errors.New("oauth2: the source did not return")}
	go func() {
		defer close(f.done)
		defer land(f) // also when fetch panics or calls runtime.Goexit
		ctx, cancel := context.WithTimeout(context.Background(), flightTimeout)
		defer cancel()
		f.value, f.err = fetch(ctx)
	}()
	return f
}

// wait returns what f brought, or the reason why ctx ended before.
func (f *flight[T]) wait(ctx context.Context) (none T, err error) {
	if ctx == nil {
		return none, errNilContext
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return none, fmt.Errorf("oauth2: waiting for a token or key: %w", context.Cause(ctx))
	}
}

// trouble is what went wrong. Its times have a monotonic clock: setting the wall clock
// neither ends nor prolongs a pause.
type trouble struct {
	err        error // of the last fetch, or nil
	failures   int   // in a row
	retryAt    time.Time
	rejectedAt time.Time
}

func (c *tokenCache) token(ctx context.Context, src fetcher) (*Token, error) {
	t := c.current.Load()
	if t.fresh() {
		return t, nil
	}
	c.mu.Lock()
	if c.current.Load() != t { // renewed meanwhile
		c.mu.Unlock()
		return c.token(ctx, src)
	}
	f, err := c.join(src, false)
	c.mu.Unlock()
	if err == nil && !t.Valid() {
		t, err = f.wait(ctx)
	}
	if err != nil && !t.Valid() {
		return nil, err
	}
	return t, nil
}

func (t *Token) fresh() bool { return t != nil && time.Now().UnixNano() < t.freshUntil }

// renew fetches a token in place of one that a resource server rejected, or, if that is nil, of the current one
// though it may be fresh. Unlike token it reports the error that came with a token. It may return the rejected token: a
// server that refuses every one must not cause a refresh at every request.
func (c *tokenCache) renew(ctx context.Context, src fetcher, rejected *Token) (*Token, error) {
	c.mu.Lock()
	tr := cmp.Or(c.trouble, new(trouble))
	if rejected != nil && (c.current.Load() != rejected || c.flight == nil && time.Since(tr.rejectedAt) < rejectInterval) {
		c.mu.Unlock()
		return c.token(ctx, src)
	}
	if rejected != nil && c.flight == nil {
		tr.rejectedAt, c.trouble = time.Now(), tr
	}
	f, err := c.join(src, rejected == nil)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.wait(ctx)
}

// settle waits for the flight under way, if any.
func (c *tokenCache) settle(ctx context.Context) {
	c.mu.Lock()
	f := c.flight
	c.mu.Unlock()
	if f != nil {
		f.wait(ctx)
	}
}

// join returns the flight under way or a new one, or why there must be none: the last
// one failed and it is too soon, or useless, to try again. c.mu is held.
func (c *tokenCache) join(src fetcher, force bool) (*flight[*Token], error) {
	if c.flight != nil {
		return c.flight, nil
	}
	if tr := c.trouble; tr != nil && tr.err != nil && (errors.Is(tr.err, ErrLoginRequired) || !force && time.Now().Before(tr.retryAt)) {
		return nil, tr.err
	}
	old := c.current.Load()
	c.flight = fly(func(ctx context.Context) (*Token, error) { return src.fetch(ctx, old) }, c.land)
	return c.flight, nil
}

// land takes over what a flight brought.
func (c *tokenCache) land(f *flight[*Token]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight != f { // end came first
		f.value, f.err = nil, c.trouble.err
		return
	}
	tr, old := cmp.Or(c.trouble, new(trouble)), c.current.Load()
	c.flight = nil
	if f.err == nil && !f.value.Valid() {
		f.err = errors.New("oauth2: the token had expired when it came; check this machine's clock")
	}
	if f.value != nil && !f.value.Valid() && old.Valid() { // but the refresh token may be new
		kept := *old
		kept.RefreshToken = f.value.RefreshToken
		f.value = &kept
	}
	if tr.err = f.err; f.err == nil {
		tr.failures = 0
	} else {
		pause := min(firstBackoff<<min(tr.failures, 10), longestBackoff)
		if e := (*Error)(nil); errors.As(f.err, &e) {
			pause = max(pause, e.RetryAfter)
		}
		tr.retryAt, tr.failures, c.trouble = time.Now().Add(pause), tr.failures+1, tr
	}
	if f.value != nil {
		f.value = c.keep(f.value)
	}
}

// failure returns the error of the last fetch, or that which end gave.
func (c *tokenCache) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil {
		return nil
	}
	return c.trouble.err
}

// end makes err the answer to all further calls.
func (c *tokenCache) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flight, c.trouble = nil, &trouble{err: err}
	c.current.Store(&Token{})
}

// keep makes a copy of t, which may be shared, the current token. It gets stale 225 s before its expiry, or in
// the middle of the life it has left if that is later, so that short lives cause no storm. c.mu is held, or nobody else
// has c yet.
func (c *tokenCache) keep(t *Token) *Token {
	kept, left := *t, t.Expiry.Round(0).Sub(time.Now().Round(0))
	switch {
	case t.AccessToken.empty() || left <= 0 && !t.Expiry.IsZero():
		kept.freshUntil = 0
	case t.Expiry.IsZero() || left > maxLifetime:
		kept.freshUntil = math.MaxInt64
	default:
		kept.freshUntil = t.Expiry.Add(-min(earlyRefresh, left/2)).UnixNano()
	}
	if c.trouble != nil && c.trouble.err != nil { // so that the hot path comes by again
		kept.freshUntil = min(kept.freshUntil, c.trouble.retryAt.UnixNano())
	}
	c.current.Store(&kept)
	return &kept
}

var errNoSource = errors.New("oauth2: there is no token source")

var errNilContext = errors.New("oauth2: the context is nil")

// A Transport is an [http.RoundTripper] that authorizes requests with the tokens of
// a source (RFC 6750, Section 2.1). It sends a token only over https, or to this
// machine, never after a redirect has left the origin of the first request, and only
// to Hosts where that is set. A request that already has an Authorization header, and
// one that this package sends to obtain a token, passes through untouched.
//
// When the answer is 401 and the source caches, the token is renewed and the request
// sent once more, unless its body can't be sent again (it has one and no GetBody) or the
// last such renewal was less than 10 seconds ago; then the 401 is returned. All other answers are the
// caller's. The fields must not be changed after the first request; a Transport is safe
// for concurrent use.
type Transport struct {
	// Source supplies the tokens. It is asked for each request, so it should cache,
	// as all sources of this package do; see [CachedTokenSource].
	Source TokenSource
	// Base sends the requests. Nil means http.DefaultTransport.
	Base http.RoundTripper
	// Hosts are the hosts that may get a token: exact names, without a port, or
	// ".example.com" for all subdomains of example.com. A request to another host is an
	// error. Nil means all hosts.
	Hosts []string

	header atomic.Pointer[[]string] // for the last token, so that it is not built anew for each request
}

var _ http.RoundTripper = (*Transport)(nil)

// NewClient returns an HTTP client that authorizes its requests with src, as a
// [Transport] with no other settings does. It has no timeout: API calls may take long,
// and the request's context bounds them.
func NewClient(src TokenSource) *http.Client { return &http.Client{Transport: &Transport{Source: src}} }

// RoundTrip implements [http.RoundTripper]. It fails with the error of the source, and
// with one of its own for a request that must not carry a token; the request is then not sent.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := cmp.Or(t.Base, http.DefaultTransport)
	if req.Header["Authorization"] != nil || req.Context().Value(tokenRequest{}) != nil || redirectedAway(req) {
		return base.RoundTrip(req)
	}
	tok, err := t.token(req)
	var authorized *http.Request
	if err == nil {
		authorized, err = t.withToken(req, tok, req.Body)
	}
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // as the contract of RoundTripper demands
		}
		return nil, err
	}
	resp, err := base.RoundTrip(authorized)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		if again := t.renewed(req, tok); again != nil {
			resp.Body.Close()
			return base.RoundTrip(again)
		}
	}
	return resp, err
}

// token returns the token for req, or why it must have none.
func (t *Transport) token(req *http.Request) (*Token, error) {
	host := req.URL.Hostname()
	switch {
	case t.Source == nil:
		return nil, errNoSource
	case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || !isLoopback(host)):
		return nil, fmt.Errorf("oauth2: a token is sent over https only, not to %s://%s, where anybody on the way could read it", printable(req.URL.Scheme, 32), printable(host, 255))
	case t.Hosts != nil && !slices.ContainsFunc(t.Hosts, func(h string) bool {
		return strings.EqualFold(h, host) || strings.HasPrefix(h, ".") && strings.HasSuffix(strings.ToLower(host), strings.ToLower(h))
	}):
		return nil, fmt.Errorf("oauth2: %q is not among the hosts that may get a token", printable(host, 255))
	}
	return t.Source.Token(req.Context())
}

// withToken returns req with the token and body, leaving req itself alone.
func (t *Transport) withToken(req *http.Request, tok *Token, body io.ReadCloser) (*http.Request, error) {
	auth := t.header.Load()
	if auth == nil || tok == nil || strings.TrimPrefix((*auth)[0], "Bearer ") != tok.AccessToken.Reveal() {
		if err := tok.check(); err != nil {
			return nil, err
		}
		auth = &[]string{"Bearer " + tok.AccessToken.Reveal()}
		t.header.Store(auth)
	}
	r := req.WithContext(req.Context())
	r.Header = make(http.Header, len(req.Header)+1)
	maps.Copy(r.Header, req.Header)
	r.Header["Authorization"] = *auth
	if _, quota := cacheOf(t.Source); quota != "" && r.Header["X-Goog-User-Project"] == nil {
		r.Header["X-Goog-User-Project"] = []string{quota}
	}
	r.Body = body
	return r, nil
}

// renewed returns req with another token than tok, which the server refused, or nil: what
// it answered to tok then says more than an error could.
func (t *Transport) renewed(req *http.Request, tok *Token) *http.Request {
	cache, _ := cacheOf(t.Source)
	if cache == nil {
		return nil
	}
	fresh, err := cache.renew(req.Context(), t.Source.(fetcher), tok) // for the next request, even if this one can't be sent again
	body := req.Body
	if err != nil || fresh.AccessToken.Reveal() == tok.AccessToken.Reveal() || body != nil && body != http.NoBody && req.GetBody == nil {
		return nil
	}
	if body != nil && body != http.NoBody {
		if body, err = req.GetBody(); err != nil {
			return nil
		}
	}
	again, _ := t.withToken(req, fresh, body)
	return again
}

// redirectedAway reports whether req follows a redirect that left the origin of the
// first request, even if it has come back: whoever redirects must not choose where a token goes.
func redirectedAway(req *http.Request) bool {
	for r := req; r.Response != nil; r = r.Response.Request {
		if from := r.Response.Request; from == nil || from.URL.Scheme != r.URL.Scheme || !strings.EqualFold(from.URL.Host, r.URL.Host) {
			return true
		}
	}
	return false
}
