// Package oauth2 obtains, refreshes and stores OAuth 2.0 tokens, at Google or
// at any other provider, and authorizes HTTP requests with them.
//
// A program on a user's machine reads its client_secrets.json and calls
// [InstalledAppFlow.SignIn], which signs the user in on the first run; later
// runs reuse the stored credentials. A web application makes one [Flow] for
// each sign-in and keeps it between its two handlers with [Flow.Marshal] and
// [ResumeFlow]. A server signs in as itself with [DefaultCredentials], the key
// of a service account ([ReadServiceAccountFile]), the identity of its machine
// ([ComputeCredentials]) or a client secret ([ClientCredentials]). Each of
// these is a [TokenSource]; [NewClient] and [Transport] put its tokens on
// requests. An [IDTokenVerifier] checks ID tokens.
//
// # Security defaults
//
// There are no switches. Every authorization request has PKCE (S256) and a
// state, and with the scope openid a nonce, of 256 random bits each. Tokens and
// client secrets travel over https only, except to this machine, in bodies and
// headers only, and no redirect of a token endpoint is followed. A [Transport]
// sends no token after a redirect to another origin. Answers are bounded and
// parsed strictly. Secrets are values of type [Secret], which no verb, logger
// or encoder prints, and no error contains one.
//
// # Storing credentials
//
// [FileStore] keeps credentials in a file that only its owner can read, in
// Google's authorized_user format. Processes can share it. A [Store] of your
// own, such as a row of a database, does the same for many machines.
//
// # Errors
//
// Every message begins with "oauth2: ". [ErrLoginRequired] means that only a
// new sign-in helps. With an [*Error], errors.As finds the authorization
// server's code, the HTTP status and whether to try again later. Causes such as
// context.DeadlineExceeded and syscall.ECONNREFUSED are found by errors.Is.
//
// # Notable divergences from the specifications
//
// A token response without token_type means Bearer, and its expires_in may be a
// string or have a fraction, since servers send these. A token type other than
// Bearer is refused. The claims of an ID token that comes with a refresh are
// not checked; an [IDTokenVerifier] checks them.
package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
	"unique"
)

// Limits of what is read from the network and from files.
const (
	maxBody       = 1 << 20  // bytes of an answer, after decompression, or of a file
	maxHeader     = 64 << 10 // bytes of an answer's header
	maxDepth      = 32       // nesting of JSON
	maxToken      = 16 << 10 // bytes of a token
	maxErrorCode  = 256      // bytes kept of an error code
	maxErrorText  = 1 << 10  // bytes kept of an error description or URI
	maxLifetime   = 10 * 365 * 24 * time.Hour
	maxRetryAfter = 5 * time.Minute
)

// Limits of the time that a request takes.
const (
	maxAttempts     = 3
	attemptTimeout  = 30 * time.Second // one exchange, body included
	metadataTimeout = 3 * time.Second  // the same at the metadata server, which is near
	flightTimeout   = 2 * time.Minute  // all attempts together
	dialTimeout     = 10 * time.Second
	headerTimeout   = 20 * time.Second
	firstRetry      = 500 * time.Millisecond // doubled for each further one
)

// A Secret holds a string that must not be seen. No fmt verb, logger or encoder
// prints it, wherever it is nested. Marshaling one is an error, so that it is
// neither stored nor lost by accident. The zero value is the empty secret. A
// Secret is safe for concurrent use. Compare what Reveal returns, not Secrets.
type Secret struct {
	// A function, since fmt prints the unexported fields of other types without
	// calling their methods, but can't look into a function.
	reveal func() string
}

// NewSecret returns a Secret that holds s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{func() string { return s }}
}

// Reveal returns the string. It is the only way to get it: an audit can search
// for the calls.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

func (s Secret) empty() bool {
	return s.reveal == nil
}

func (s Secret) equal(other Secret) bool {
	return s.Reveal() == other.Reveal()
}

// Format implements [fmt.Formatter]. Every verb prints [secret].
func (s Secret) Format(f fmt.State, verb rune) {
	io.WriteString(f, "[secret]")
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value {
	return slog.StringValue("[secret]")
}

var errMarshalSecret = errors.New(
	"oauth2: a Secret is not marshaled; store Credentials with MarshalAuthorizedUser")

// MarshalJSON returns an error, so that no file or log gets the secret or a
// redacted copy.
func (s Secret) MarshalJSON() ([]byte, error) {
	return nil, errMarshalSecret
}

// MarshalText returns an error, so that no file or log gets the secret or a
// redacted copy.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, errMarshalSecret
}

// randomSecret returns 256 random bits as 43 characters of base64url, as RFC
// 7636, Section 4.1 recommends for a verifier.
func randomSecret() Secret {
	b := make([]byte, 32)
	rand.Read(b)
	return NewSecret(base64.RawURLEncoding.EncodeToString(b))
}

// A Token is what an authorization server issues (RFC 6749, Section 5.1).
// Tokens are shared between callers: do not modify one that a [TokenSource]
// returned.
type Token struct {
	// AccessToken authorizes requests to the resource server. It is a Bearer token
	// (RFC 6750).
	AccessToken Secret
	// Expiry is when the access token expires, in wall time. The zero value means
	// that the server did not say: the token is used until it is refused.
	Expiry time.Time
	// Scopes are the scopes that were granted. They may differ from those that were
	// asked for (RFC 6749, Section 3.3).
	Scopes []string
	// RefreshToken obtains further access tokens. It is empty where none was
	// issued.
	RefreshToken Secret
	// IDToken is the OpenID Connect ID token. It is empty where there is none. Its
	// claims are meant for the client that signed the user in; anybody else must
	// verify it with an [IDTokenVerifier].
	IDToken Secret

	freshUntil int64 // Unix nanoseconds until which no refresh is due; set by tokenCache
}

// Valid reports whether t is not nil, has an access token and has not expired.
func (t *Token) Valid() bool {
	if t == nil || t.AccessToken.empty() {
		return false
	}
	// Round strips the monotonic clock, which stops while a machine sleeps.
	return t.Expiry.IsZero() || time.Now().Before(t.Expiry.Round(0))
}

// check returns an error for a token that can't be put on a request.
func (t *Token) check() error {
	if t == nil || !validToken(t.AccessToken.Reveal()) {
		return errors.New(
			"oauth2: the token source returned no usable access token (RFC 6750, Section 2.1)")
	}
	return nil
}

// A TokenSource returns access tokens. All sources of this package cache: they
// return the same token until shortly before it expires. An implementation must
// be safe for concurrent use, must not modify a token that it has returned, and
// should return soon after ctx is done. [CachedTokenSource] adds a cache to one
// that obtains a token at each call.
type TokenSource interface {
	Token(ctx context.Context) (*Token, error)
}

// ErrLoginRequired is found by errors.Is in an error after which only a new
// sign-in helps: the refresh token has expired, was revoked, or there is none.
var ErrLoginRequired = errors.New("oauth2: a new sign-in is required")

// Errors of a caller's mistake.
var (
	errNilContext = errors.New("oauth2: the context is nil")
	errNoClient   = errors.New("oauth2: there is no client")
	errNoSource   = errors.New("oauth2: there is no token source")
)

// An Error says why an authorization server, or another server that this
// package asks, did not give what was asked for: it answered with an error (RFC
// 6749, Sections 4.1.2.1 and 5.2), with something unusable, or not at all.
// Texts of the server are reduced to printable ASCII, shortened, and cleared of
// what was sent. errors.Is and errors.As find [ErrLoginRequired] and causes
// from context, net, crypto/tls and syscall.
type Error struct {
	// Code is the server's error code, such as "invalid_grant" or "access_denied".
	// It is empty where the answer had none.
	Code string
	// Description is the server's error_description, which is meant for developers.
	// It may be empty.
	Description string
	// URI is the server's error_uri, the address of a page about the error. It may
	// be empty. Do not open it unless the user asks for it.
	URI string
	// StatusCode is the HTTP status. It is 0 where there was no complete answer.
	StatusCode int
	// RetryAfter is how long the server asked to wait, at most 5 minutes. It is 0
	// where the server did not ask.
	RetryAfter time.Duration

	text          string
	temporary     bool
	loginRequired bool
	unsent        bool         // the server can't have seen the request
	cause         func() error // may be nil; a function hides its text from fmt
}

// Temporary reports whether the same request may succeed later: the network
// failed, or the server was overloaded.
func (e *Error) Temporary() bool {
	return e.temporary
}

// Error implements error.
func (e *Error) Error() string {
	return "oauth2: " + e.text
}

// Is reports whether target is a cause of e, or is [ErrLoginRequired] and a new
// sign-in is required.
func (e *Error) Is(target error) bool {
	if target == ErrLoginRequired && e.loginRequired {
		return true
	}
	return e.cause != nil && errors.Is(e.cause(), target)
}

// As finds a cause of the type that target points to, as errors.As does.
func (e *Error) As(target any) bool {
	return e.cause != nil && errors.As(e.cause(), target)
}

func loginRequired(text string) *Error {
	return &Error{text: text + "; sign in again", loginRequired: true}
}

// oauthError returns the error that a server describes with the parameters
// error, error_description and error_uri, which param returns. Texts are passed
// through clean.
func oauthError(op string, param func(name string) string, clean func(string) string) *Error {
	e := &Error{
		Code:        printable(param("error"), maxErrorCode),
		Description: printable(clean(param("error_description")), maxErrorText),
		URI:         printable(clean(param("error_uri")), maxErrorText),
	}
	if !isCode(e.Code) {
		e.Code = printable(clean(param("error")), maxErrorCode)
	}
	e.temporary = isOverload(e.Code) || isOverload(e.Description)
	e.text = op + ": the server answered " + e.Code
	if e.Description != "" {
		e.text += fmt.Sprintf(": %q", e.Description)
	}
	return e
}

// isCode reports whether s looks like an error code. One is shown even if a
// weak secret is part of it.
func isCode(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

func isOverload(code string) bool {
	switch code {
	case "server_error", "temporarily_unavailable", "internal_failure":
		return true
	}
	return false
}

// checkEndpoint parses the URL of an endpoint. Its errors complete a sentence
// that begins with the endpoint's name. They don't quote the URL, whose query
// may hold a secret.
func checkEndpoint(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("is missing")
	}
	u, err := url.Parse(raw)
	if err != nil || !validText(raw) || strings.Contains(raw, `\`) {
		return nil, errors.New("is not a valid URL")
	}
	switch {
	case u.Hostname() == "":
		return nil, errors.New("is not a valid URL")
	case u.User != nil:
		return nil, errors.New("has a user name in its URL, which would hide the host")
	case strings.Contains(raw, "#"):
		return nil, errors.New("has a fragment in its URL (RFC 6749, Sections 3.1 and 3.2)")
	case strings.Contains(u.Host, "%") || strings.HasSuffix(u.Host, ":") || u.Port() == "0":
		return nil, errors.New("has no usable host and port in its URL")
	case !isPrivate(u):
		// Anybody on the way could read the secrets.
		return nil, fmt.Errorf("is a URL with scheme %q: only https is allowed, "+
			"and http to this machine", printable(u.Scheme, 32))
	}
	return u, nil
}

// isPrivate reports whether nobody on the way can read what is sent to u.
func isPrivate(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

// isLoopback reports whether host is this machine: an IP address, or localhost.
func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() && !ip.Is4In6()
	}
	return host == "localhost" // in the spelling for which net/http uses no proxy
}

// An object is a JSON object: the JSON text of each value, by the exact name of
// its member.
type object map[string]string

// parseObject is the package's one JSON parser. It refuses what encoding/json
// accepts: duplicate names, at any depth, of which another parser might use the
// other one; trailing data; invalid UTF-8; deep nesting. Its errors quote
// nothing, since the text may hold secrets.
func parseObject(data []byte) (object, error) {
	switch {
	case len(data) > maxBody:
		return nil, errTooLarge
	case !utf8.Valid(data):
		return nil, errors.New("not valid UTF-8")
	case !json.Valid(data):
		return nil, errors.New("not valid JSON")
	}
	r := jsonReader{text: string(data)}
	if r.next() != '{' {
		return nil, errors.New("not a JSON object")
	}
	members := r.object(1)
	if r.err != nil {
		return nil, r.err
	}
	return members, nil
}

// A jsonReader reads a JSON text that json.Valid has accepted, so that the
// first byte of a value tells how it goes on. It remembers a fault, which the
// caller checks at the end.
type jsonReader struct {
	text string
	pos  int
	err  error
}

// next skips white space and separators, and returns the byte that follows.
func (r *jsonReader) next() byte {
	for strings.IndexByte(" \t\r\n,:", r.text[r.pos]) >= 0 {
		r.pos++
	}
	return r.text[r.pos]
}

// object reads an object, whose brace is next.
func (r *jsonReader) object(depth int) object {
	members := object{}
	r.pos++
	for r.next() != '}' {
		name := unquote(r.value(depth))
		if _, twice := members[name]; twice {
			r.err = errors.New("ambiguous: a member name occurs twice")
		}
		members[name] = r.value(depth)
	}
	r.pos++
	return members
}

// list reads a list, whose bracket is next.
func (r *jsonReader) list(depth int) []string {
	values := []string{}
	r.pos++
	for r.next() != ']' {
		values = append(values, r.value(depth))
	}
	r.pos++
	return values
}

// value reads a value and returns its text. depth is that of the object or list
// around it.
func (r *jsonReader) value(depth int) string {
	first := r.next()
	start := r.pos
	if (first == '{' || first == '[') && depth == maxDepth {
		r.err = errors.New("nested too deeply")
	}
	switch first {
	case '{':
		r.object(depth + 1)
	case '[':
		r.list(depth + 1)
	case '"':
		for r.pos++; r.text[r.pos] != '"'; r.pos++ {
			if r.text[r.pos] == '\\' {
				r.pos++
			}
		}
		r.pos++
	default: // a number, true, false or null
		r.pos += strings.IndexAny(r.text[r.pos:], ",]} \t\r\n")
	}
	return r.text[start:r.pos]
}

// unquote returns the string that a JSON text stands for.
func unquote(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var s string
	json.Unmarshal([]byte(text), &s) // can't fail: the text is valid, and a string
	return s
}

// fields reads the members of an object and remembers the first fault, which
// the caller checks at the end. A member that is absent or null reads as the
// zero value. Faults complete a sentence that begins with what the object is.
type fields struct {
	object
	err error
}

func parseFields(data []byte) *fields {
	members, err := parseObject(data)
	if err != nil {
		err = fmt.Errorf("is %w", err)
	}
	return &fields{object: members, err: err}
}

// fail remembers a fault, unless there is one already.
func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// has reports whether a member is there and is neither null nor the empty
// string.
func (o object) has(name string) bool {
	switch o[name] {
	case "", "null", `""`:
		return false
	}
	return true
}

// str reads a string.
func (f *fields) str(name string) string {
	text := f.object[name]
	if strings.HasPrefix(text, `"`) {
		return unquote(text)
	}
	if f.has(name) {
		f.fail("has a %s that is not a string", name)
	}
	return ""
}

// secret reads a token.
func (f *fields) secret(name string) Secret {
	s := f.str(name)
	if s != "" && !validToken(s) {
		f.fail("has a %s that is longer than 16 KiB or has characters that no token has", name)
	}
	return NewSecret(strings.Clone(s)) // s would keep the whole text in memory
}

// project reads a project ID.
func (f *fields) project(name string) string {
	s := f.str(name)
	if s != "" && !validProject(s) {
		f.fail("has a %s that is not a project", name)
	}
	return s
}

// endpoint reads a URL, which must be there.
func (f *fields) endpoint(name string) string {
	s := f.str(name)
	if _, err := checkEndpoint(s); err != nil {
		f.fail("has a %s that %w", name, err)
	}
	return s
}

// elements returns the texts of a list's elements. It returns nil if there is
// no list.
func (f *fields) elements(name string) []string {
	r := jsonReader{text: f.object[name]}
	if !strings.HasPrefix(r.text, "[") {
		return nil
	}
	return r.list(1)
}

// strs reads a list of strings. It returns nil if there is none.
func (f *fields) strs(name string) []string {
	list := f.elements(name)
	if list == nil && f.has(name) {
		f.fail("has a %s that is not a list of strings", name)
	}
	for i, text := range list {
		if text[0] != '"' {
			f.fail("has a %s that is not a list of strings", name)
			return nil
		}
		list[i] = unquote(text)
	}
	return list
}

// nested reads an object. It has no members if there is none.
func (f *fields) nested(name string) *fields {
	return nestedFields(f.object[name])
}

// nestedFields reads the object in a text that is part of one that was read
// before, and so has no fault.
func nestedFields(text string) *fields {
	if !strings.HasPrefix(text, "{") {
		return &fields{err: errors.New("is not a JSON object")}
	}
	r := jsonReader{text: text}
	return &fields{object: r.object(1)}
}

// list reads a list of strings, or one string as a list.
func (f *fields) list(name string) []string {
	if strings.HasPrefix(f.object[name], `"`) {
		return []string{f.str(name)}
	}
	return f.strs(name)
}

// scopes reads a list of scopes, or a string of them.
func (f *fields) scopes(name string) []string {
	return scopeList(f.list(name)...)
}

// expiry reads a time in RFC 3339. One without an offset, as Python writes it,
// is UTC.
func (f *fields) expiry(name string) time.Time {
	s := f.str(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s+"Z")
	}
	if err != nil {
		f.fail("has a %s that is not a time (RFC 3339)", name)
	}
	return t
}

// seconds reads a lifetime: a number, or a string that holds one, rounded down
// and bounded. 0 means unknown.
func (f *fields) seconds(name string) time.Duration {
	if !f.has(name) {
		return 0
	}
	text := strings.Trim(f.object[name], `"`)
	n, err := strconv.ParseFloat(text, 64)
	overflow := errors.Is(err, strconv.ErrRange)
	isNumber := strings.Trim(text, "0123456789.+-eE") == "" && (err == nil || overflow)
	if !isNumber || n < 0 {
		f.fail("has a %s that is not a number of seconds", name)
		return 0
	}
	return time.Duration(min(n, maxLifetime.Seconds())) * time.Second
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// validProject reports whether s can be a project ID, which is sent in a
// header.
func validProject(s string) bool {
	return s != "" && strings.Trim(s, letters+".:-") == ""
}

// validToken reports whether s can be a token. One has visible characters only,
// so that it can't end a header line (RFC 6749, Appendix A.12).
func validToken(s string) bool {
	return len(s) <= maxToken && validText(s)
}

// validText reports whether s is visible ASCII and not empty.
func validText(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// sameText reports whether a and b are equal, in constant time.
func sameText(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// printable returns s as printable ASCII, at most max bytes of it, so that what
// a server sent can neither steer a terminal nor forge log lines.
func printable(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), max)])
	return strings.Clone(s) // s would keep the whole text in memory
}

// scopeList returns the scopes in ss, each of which may be several (RFC 6749,
// Section 3.3).
func scopeList(ss ...string) []string {
	return strings.Fields(strings.Join(ss, " "))
}

// joinScopes returns the scopes in ss as one string. Equal ones share their
// memory, as there may be very many credentials.
func joinScopes(ss []string) string {
	return unique.Make(strings.Join(scopeList(ss...), " ")).Value()
}

var errTooLarge = errors.New("larger than 1 MiB")

// readAll reads to the end of r. It fails instead of cutting: what was cut
// could parse.
func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if len(data) > maxBody {
		return nil, errTooLarge
	}
	return data, err
}

// A request is sent to an authorization server, or to another server that has
// tokens, keys or configuration. Its do method sends everything that this
// package sends, except for the API calls of a Transport.
type request struct {
	op     string      // what is attempted, such as "refreshing the token"; errors begin with it
	url    string      // an endpoint
	form   url.Values  // without what is empty; if nil and there is no json, this is a GET
	json   []byte      // a body in place of form
	header http.Header // besides the usual

	// authenticate adds client authentication to the form and the header. It is
	// called for each attempt, since an assertion must not be sent twice.
	authenticate func(form url.Values, header http.Header) error

	client   *http.Client // if nil, the package's
	once     bool         // holds a code, which is not sent twice (RFC 6749, Section 4.1.2)
	metadata bool         // to the metadata server, which speaks http and marks its answers
}

// An answer is complete, has a status of 2xx and is no error.
type answer struct {
	op      string
	status  int
	header  http.Header
	body    []byte
	members object // nil where the body is not a JSON object
	sent    time.Time
}

// do sends r, again after a fault that may pass, and returns the answer. If
// anything was sent, its error is an [*Error].
func (r *request) do(ctx context.Context) (*answer, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	if r.client == nil {
		r.client = defaultClient
	}
	deadline := time.Now().Add(flightTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	for attempt := 1; ; attempt++ {
		ans, err := r.attempt(ctx, deadline)
		var e *Error
		if !errors.As(err, &e) || !r.repeatable(e) || attempt == maxAttempts {
			return ans, err
		}
		wait := e.RetryAfter
		if wait == 0 {
			wait = jitter(firstRetry << (attempt - 1))
		}
		if time.Until(deadline) < wait {
			return nil, err
		}
		if cause := sleep(ctx, wait); cause != nil {
			e.cause = func() error { return cause }
			return nil, err
		}
	}
}

// repeatable reports whether r may be sent again after e.
func (r *request) repeatable(e *Error) bool {
	return e.temporary && (e.unsent || !r.once)
}

// attempt sends r once.
func (r *request) attempt(ctx context.Context, deadline time.Time) (*answer, error) {
	parse := checkEndpoint
	if r.metadata {
		parse = url.Parse
	}
	u, err := parse(r.url)
	if err != nil {
		return nil, fmt.Errorf("oauth2: %s: the endpoint %w", r.op, err)
	}
	m, err := r.compose()
	if err != nil {
		return nil, err
	}
	limit := min(attemptTimeout, time.Until(deadline))
	if r.metadata {
		limit = min(limit, metadataTimeout)
	}
	if r.client.Timeout > 0 {
		limit = min(limit, r.client.Timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := r.send(ctx, u, m)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return r.read(resp, m)
}

// A message is what one attempt sends.
type message struct {
	form   url.Values
	header http.Header
	body   []byte // nil for a GET
	sent   time.Time
}

// compose returns what is sent.
func (r *request) compose() (*message, error) {
	m := &message{
		form:   make(url.Values, len(r.form)+3), // room for client authentication
		header: http.Header{"Accept": {"application/json"}},
		body:   r.json,
		sent:   time.Now(),
	}
	maps.Copy(m.header, r.header)
	for name, values := range r.form {
		if !slices.Equal(values, []string{""}) { // as if omitted (RFC 6749, Section 3.1)
			m.form[name] = values
		}
	}
	if r.authenticate != nil {
		if err := r.authenticate(m.form, m.header); err != nil {
			return nil, err
		}
	}
	if r.form != nil {
		m.header.Set("Content-Type", "application/x-www-form-urlencoded")
		m.body = []byte(m.form.Encode())
	}
	return m, nil
}

// ownRequest marks the context of the package's own requests, which Transport
// passes on unchanged. Otherwise a token source whose HTTP client authorizes
// with its own tokens would wait for itself.
type ownRequest struct{}

// send sends m and returns the response, whose body the caller closes. It uses
// the client's RoundTripper directly, so that no redirect is followed, which
// would send the secrets of the body to another origin, and no cookie is sent.
func (r *request) send(ctx context.Context, u *url.URL, m *message) (*http.Response, error) {
	var began atomic.Bool
	ctx = context.WithValue(ctx, ownRequest{}, true)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { began.Store(true) },
	})
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: m.header}
	if m.body != nil {
		req.Method = http.MethodPost
		// Without GetBody, so that net/http can't send it a second time.
		req.Body = io.NopCloser(bytes.NewReader(m.body))
		req.ContentLength = int64(len(m.body))
	}
	transport := cmp.Or(r.client.Transport, http.DefaultTransport)
	resp, err := transport.RoundTrip(req.WithContext(ctx))
	if err == nil && resp == nil {
		err = errors.New("the HTTP client returned neither a response nor an error")
	}
	if err != nil {
		return nil, broken(r.op, err, m.clean, began.Load())
	}
	return resp, nil
}

// defaultTransport sends the requests that no client was given for. Nothing
// changes it.
var defaultTransport = &http.Transport{
	Proxy:                  http.ProxyFromEnvironment,
	DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
	ForceAttemptHTTP2:      true,
	TLSHandshakeTimeout:    dialTimeout,
	ResponseHeaderTimeout:  headerTimeout,
	MaxResponseHeaderBytes: maxHeader,
	MaxIdleConnsPerHost:    16,
	IdleConnTimeout:        90 * time.Second,
}

var defaultClient = &http.Client{Transport: defaultTransport}

// read reads the answer to m.
func (r *request) read(resp *http.Response, m *message) (*answer, error) {
	a := &answer{op: r.op, status: resp.StatusCode, header: resp.Header, sent: m.sent}
	if r.metadata && resp.Header.Get("Metadata-Flavor") != "Google" {
		// A captive portal, or whatever else has this address here.
		return nil, a.unusable(errors.New("did not come from a metadata server"))
	}
	var err error
	if a.status >= 200 { // the body of 101 Switching Protocols never ends
		a.body, err = readAll(resp.Body)
	}
	if err == errTooLarge {
		return nil, a.unusable(errors.New("is larger than 1 MiB"))
	}
	if err != nil {
		return nil, broken(r.op, err, m.clean, true)
	}
	a.members, err = parseObject(a.body)
	if a.status/100 != 2 || a.members.has("error") {
		return nil, a.refusal(m.clean)
	}
	if err != nil && bytes.HasPrefix(a.body, []byte("{")) {
		return nil, a.unusable(fmt.Errorf("is %w", err))
	}
	return a, nil
}

// refusal returns the error that an answer stands for.
func (a *answer) refusal(clean func(string) string) *Error {
	f := &fields{object: a.members}
	if inner := f.nested("error"); inner.err == nil { // as Google's APIs write it
		f.object = object{
			"error":             inner.object["status"],
			"error_description": inner.object["message"],
		}
	}
	e := oauthError(a.op, f.str, clean)
	e.StatusCode = a.status
	e.RetryAfter = retryAfter(a.header)
	switch a.status {
	case 408, 429, 500, 502, 503, 504:
		e.temporary = true
	}
	switch {
	case e.Code != "":
		e.text += fmt.Sprintf(" (status %d)%s", a.status, a.advice(e.Code))
	case a.status/100 == 3:
		// It would send the secrets elsewhere.
		e.text = a.flaw("is a redirect, which is not followed; check the endpoint's URL")
	default:
		e.text = a.flaw("has no OAuth error")
	}
	return e
}

// advice returns what a text should add to an error code.
func (a *answer) advice(code string) string {
	switch code {
	case "invalid_grant":
		// The commonest cause with assertions, which servers do not name.
		date, err := http.ParseTime(a.header.Get("Date"))
		if skew := time.Since(date).Abs(); err == nil && skew > 5*time.Minute {
			return fmt.Sprintf("; this machine's clock is %v off the server's",
				skew.Round(time.Minute))
		}
	case "invalid_client":
		return "; check the client ID, the client secret and how the client authenticates"
	}
	return ""
}

// unusable returns the error for an answer with a flaw, which completes a
// sentence that begins with the answer.
func (a *answer) unusable(flaw error) *Error {
	return &Error{text: a.flaw(flaw.Error()), StatusCode: a.status}
}

func (a *answer) flaw(what string) string {
	contentType := strings.ToLower(a.header.Get("Content-Type"))
	if strings.HasPrefix(contentType, "text/html") {
		what += ", but an HTML page: a captive portal, proxy or firewall may have answered"
	}
	return fmt.Sprintf("%s: the answer with status %d %s", a.op, a.status, what)
}

// fields returns the members of the JSON object that the answer must be.
func (a *answer) fields() *fields {
	f := &fields{object: a.members}
	switch {
	case len(a.body) == 0:
		f.fail("is empty")
	case a.members == nil:
		f.fail("is not a JSON object")
	}
	return f
}

// token reads the answer of a token endpoint (RFC 6749, Section 5.1). requested
// are the scopes that were granted if the answer does not say.
func (a *answer) token(requested string) (*Token, error) {
	f := a.fields()
	scope := cmp.Or(f.str("scope"), requested)
	t := &Token{
		AccessToken:  f.secret("access_token"),
		RefreshToken: f.secret("refresh_token"),
		IDToken:      f.secret("id_token"),
		Scopes:       strings.Fields(joinScopes([]string{scope})),
	}
	if t.AccessToken.empty() {
		f.fail("has no access_token")
	}
	if !isBearer(f.str("token_type")) {
		f.fail("has a token_type other than Bearer")
	}
	if lifetime := f.seconds("expires_in"); lifetime > 0 {
		t.Expiry = a.sent.Add(lifetime).Round(0)
	}
	if f.err != nil {
		return nil, a.unusable(f.err)
	}
	return t, nil
}

func isBearer(tokenType string) bool {
	return tokenType == "" || strings.EqualFold(tokenType, "Bearer")
}

// broken returns the error for an exchange that did not come to its end. began
// says that the answer had begun.
func broken(op string, err error, clean func(string) string, began bool) *Error {
	text := clean(err.Error())
	e := &Error{text: op + ": " + printable(text, maxErrorText)}
	if text == err.Error() { // otherwise it repeats a secret
		e.cause = func() error { return err }
	}
	var dial *net.OpError
	e.unsent = errors.As(err, &dial) && dial.Op == "dial"
	e.temporary = !isLasting(err) && (!began || isNetwork(err))
	return e
}

// isLasting reports whether the next attempt would fail in the same way.
func isLasting(err error) bool {
	var dns *net.DNSError
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return true
	case errors.As(err, new(tls.RecordHeaderError)):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	}
	return false
}

// isNetwork reports whether the network failed, and not what the server sent.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// clean returns a server's text without the secrets of m, as they are or as
// they were encoded.
func (m *message) clean(text string) string {
	_, credentials, _ := strings.Cut(m.header.Get("Authorization"), " ")
	_, password, _ := (&http.Request{Header: m.header}).BasicAuth()
	plain, _ := url.QueryUnescape(password)
	secrets := []string{credentials, plain}
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token",
		"device_code", "client_secret", "assertion", "client_assertion"} {
		secrets = append(secrets, m.form[name]...)
	}
	// The longest first: of one that begins with another, the rest would be left.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		quoted := strconv.Quote(secret) // as net/http quotes what is not HTTP
		for _, s := range []string{secret, url.QueryEscape(secret), quoted[1 : len(quoted)-1]} {
			text = strings.ReplaceAll(text, s, "[redacted]")
		}
	}
	return text
}

// retryAfter returns what a Retry-After header asks for (RFC 9110, Section
// 10.2.3), bounded. It is 0 if there is none.
func retryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	seconds, _ := strconv.ParseUint(s, 10, 31) // the largest value if s is out of range
	wait := time.Duration(seconds) * time.Second
	if t, err := http.ParseTime(s); err == nil {
		wait = time.Until(t)
	}
	return max(0, min(wait, maxRetryAfter))
}

// jitter returns a random part of most, so that many who wait do not come back
// at once.
func jitter(most time.Duration) time.Duration {
	n, _ := rand.Int(rand.Reader, big.NewInt(int64(most)))
	return time.Duration(n.Int64())
}

// sleep waits for d. It returns an error if ctx is done before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// A flight is one piece of work that several callers wait for.
type flight[T any] struct {
	done  chan struct{} // closed after value and err have been set
	value T
	err   error
}

// fly starts work in a context of its own: the caller that came first may
// leave, but a refresh token that the server has replaced must not be lost with
// it. land gets the result before any caller does.
func fly[T any](work func(context.Context) (T, error), land func(*flight[T])) *flight[T] {
	f := &flight[T]{
		done: make(chan struct{}),
		err:  errors.New("oauth2: the source did not return"),
	}
	go func() {
		defer close(f.done)
		defer land(f) // also when work panics or calls runtime.Goexit
		ctx, cancel := context.WithTimeout(context.Background(), flightTimeout)
		defer cancel()
		f.value, f.err = work(ctx)
	}()
	return f
}

// wait returns the result of f, or an error if ctx is done before.
func (f *flight[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("oauth2: waiting for a token or key: %w", context.Cause(ctx))
	}
}
