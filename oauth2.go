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
// A token response without token_type means Bearer, and so do some names that
// providers use for it. Its expires_in may be a string, have a fraction or be
// negative, and its scope may be a list or have commas. Of an ID token that
// comes with a refresh, issuer and subject are compared with those of the one
// that is held; an [IDTokenVerifier] checks the rest.
package oauth2

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"regexp"
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
	maxIDToken    = 256 << 10
	maxExtra      = 64 << 10 // bytes of the members that are kept for Token.Extra
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

	// extra returns the members of the answer that the package does not know. It is
	// nil if there are none. It is a function, since they may hold secrets.
	extra      func() object
	freshUntil int64 // Unix nanoseconds until which no refresh is due; set by tokenCache
}

// Extra decodes a member of the server's answer that this package does not
// know, such as Salesforce's instance_url, into v, as encoding/json does. It
// leaves v alone if there is no such member. Names are exact. Members are kept
// over refreshes that do not repeat them, and in a [Store], unless they are
// longer than 64 KiB together.
func (t *Token) Extra(name string, v any) error {
	if t == nil || t.extra == nil {
		return nil
	}
	return t.extra().decode(name, v)
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
	errNoReturn   = errors.New("oauth2: the source did not return")
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
	refused       bool         // by the server, which would do so again
	opaque        bool         // the text of cause may be somebody else's
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
	return e.cause != nil && !e.opaque && errors.As(e.cause(), target)
}

func loginRequired(text string) *Error {
	return &Error{text: text + "; sign in again", loginRequired: true}
}

// oauthError returns the error that a server describes with the parameters
// error, error_description and error_uri, which param returns. A text that
// repeats one of the secrets is left out.
func oauthError(op string, param func(name string) string, secrets []string) *Error {
	text := func(name string, max int) string {
		s := printable(param(name), max)
		if repeats(s, secrets) {
			return ""
		}
		return s
	}
	e := &Error{
		Code:        printable(param("error"), maxErrorCode),
		Description: text("error_description", maxErrorText),
		URI:         text("error_uri", maxErrorText),
	}
	if strings.Trim(e.Code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		// What looks like a code is shown even if a weak secret is part of it.
		e.Code = text("error", maxErrorCode)
	}
	e.temporary = isOverload(e.Code) || isOverload(e.Description)
	e.text = op + ": the server answered " + cmp.Or(e.Code, "with no OAuth error")
	if e.Description != "" {
		e.text += fmt.Sprintf(": %q", e.Description)
	}
	return e
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
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, errors.New("is missing")
	case err != nil, !validText(raw), strings.Contains(raw, `\`), u.Hostname() == "":
		return nil, errors.New("is not a valid URL")
	case u.User != nil:
		return nil, errors.New("has a user name in its URL, which would hide the host")
	case strings.Contains(raw, "#"):
		return nil, errors.New("has a fragment in its URL (RFC 6749, Sections 3.1 and 3.2)")
	case strings.Contains(u.Host, "%"), strings.HasSuffix(u.Host, ":"), u.Port() == "0":
		return nil, errors.New("has no usable host and port in its URL")
	case !isPrivate(u):
		// Anybody on the way could read the secrets.
		return nil, fmt.Errorf(
			"is a URL with scheme %.32q: only https is allowed, and http to this machine", u.Scheme)
	}
	return u, nil
}

// isPrivate reports whether nobody on the way can read what is sent to u: it
// goes over https, or to this machine by its IP address or as localhost.
func isPrivate(u *url.URL) bool {
	if u.Scheme != "http" {
		return u.Scheme == "https"
	}
	host := u.Hostname()
	ip, _ := netip.ParseAddr(host)
	// Only this spelling of the name: net/http uses no proxy for it.
	return host == "localhost" || ip.IsLoopback() && !ip.Is4In6()
}

// An innerError is an error of this package as part of the text of another,
// which has the prefix already.
type innerError struct{ error }

func (e innerError) Error() string {
	return strings.TrimPrefix(e.error.Error(), "oauth2: ")
}

func (e innerError) Unwrap() error {
	return e.error
}

// An object is a JSON object: the JSON text of each value, by the exact name of
// its member.
type object map[string]string

// decode decodes a member into v, if it is there.
func (o object) decode(name string, v any) error {
	text, ok := o[name]
	if ok && json.Unmarshal([]byte(text), v) != nil {
		return fmt.Errorf("oauth2: %q is not of the kind asked for", name)
	}
	return nil
}

// parseObject is the package's one JSON parser. It refuses what encoding/json
// accepts: duplicate names, at any depth, of which another parser might use the
// other one; trailing data; invalid UTF-8; deep nesting. Its errors complete a
// sentence, and quote nothing, since the text may hold secrets.
func parseObject(data []byte) (object, error) {
	switch {
	case len(data) > maxBody:
		return nil, errTooLarge
	case !utf8.Valid(data):
		return nil, errors.New("is not valid UTF-8")
	case !json.Valid(data):
		return nil, errors.New("is not valid JSON")
	}
	r := jsonReader{text: string(data)}
	if r.next() != '{' {
		return nil, errors.New("is not a JSON object")
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
	for {
		switch c := r.text[r.pos]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			r.pos++
		default:
			return c
		}
	}
}

// object reads an object, whose brace is next.
func (r *jsonReader) object(depth int) object {
	members := object{}
	r.pos++
	for r.next() != '}' {
		name := unquote(r.value(depth))
		if _, twice := members[name]; twice {
			r.err = errors.New("is ambiguous: a member name occurs twice")
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
		r.err = errors.New("is nested too deeply")
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

// parseFields parses an object. Its first fault may be that it is none.
func parseFields(data []byte) *fields {
	members, err := parseObject(data)
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

// secret reads a token of at most max bytes.
func (f *fields) secret(name string, max int) Secret {
	s := f.str(name)
	if s != "" && (len(s) > max || !validText(s)) {
		f.fail("has a %s that is too long or has characters that no token has", name)
	}
	return NewSecret(strings.Clone(s)) // s would keep the whole text in memory
}

// project reads a project ID.
func (f *fields) project() string {
	s := f.str("quota_project_id")
	if s != "" && !validProject(s) {
		f.fail("has a quota_project_id that is not a project")
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
	for i, text := range list {
		if text[0] != '"' {
			list = nil
			break
		}
		list[i] = unquote(text)
	}
	if list == nil && f.has(name) {
		f.fail("has a %s that is not a list of strings", name)
	}
	return list
}

// nested reads an object. It has a fault, and no members, if there is none.
func (f *fields) nested(name string) *fields {
	r := jsonReader{text: f.object[name]}
	if !strings.HasPrefix(r.text, "{") {
		return &fields{err: errors.New("is not a JSON object")}
	}
	return &fields{object: r.object(1)} // can't fail: it has been read before
}

// params reads parameters: an object with lists of strings.
func (f *fields) params(name string) url.Values {
	var params url.Values
	if f.has(name) && f.decode(name, &params) != nil {
		f.fail("has %s that are not lists of strings", name)
	}
	return params
}

// list reads a list of strings, or one string as a list.
func (f *fields) list(name string) []string {
	if strings.HasPrefix(f.object[name], `"`) {
		return []string{f.str(name)}
	}
	return f.strs(name)
}

// expiry reads a time in RFC 3339. One without an offset, as Python writes it,
// is UTC.
func (f *fields) expiry(name string) time.Time {
	s := f.str(name)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s+"Z")
	}
	if err != nil && s != "" {
		f.fail("has a %s that is not a time (RFC 3339)", name)
	}
	return t
}

// seconds reads a lifetime: a number, or a string that holds one, rounded down
// and bounded. 0 means unknown. So does a negative number, by which some
// servers mean "never".
func (f *fields) seconds(name string) time.Duration {
	if !f.has(name) {
		return 0
	}
	text := strings.Trim(f.object[name], `"`)
	n, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrSyntax) || strings.Trim(text, "0123456789.+-eE") != "" {
		f.fail("has a %s that is not a number of seconds", name)
		return 0
	}
	return time.Duration(max(0, min(n, maxLifetime.Seconds()))) * time.Second
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

// grantedScopes is scopeList for what a server has granted. A comma separates
// where there is no space, as at GitHub and Strava.
func grantedScopes(ss ...string) []string {
	var scopes []string
	for _, s := range ss {
		if !strings.Contains(strings.TrimSpace(s), " ") {
			s = strings.ReplaceAll(s, ",", " ")
		}
		scopes = append(scopes, strings.Fields(s)...)
	}
	return scopes
}

// joinScopes returns the scopes in ss as one string. Equal ones share their
// memory, as there may be very many credentials.
func joinScopes(ss []string) string {
	return unique.Make(strings.Join(ss, " ")).Value()
}

var errTooLarge = errors.New("is larger than 1 MiB")

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
	json   string      // a body in place of form
	header http.Header // besides the usual
	sent   time.Time   // the last time

	// authenticate adds client authentication to the form or the header. It is
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
	r.client = cmp.Or(r.client, defaultClient)
	deadline := time.Now().Add(flightTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	for attempt := 1; ; attempt++ {
		ans, err := r.attempt(ctx, deadline)
		var e *Error
		mayRepeat := errors.As(err, &e) && e.temporary && (e.unsent || !r.once)
		if !mayRepeat || attempt == maxAttempts {
			return ans, err
		}
		wait := cmp.Or(e.RetryAfter, jitter(firstRetry<<(attempt-1)))
		if time.Until(deadline) < wait {
			return nil, err
		}
		if cause := sleep(ctx, wait); cause != nil {
			e.cause = func() error { return cause }
			return nil, err
		}
	}
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
	req, err := r.compose(u)
	if err != nil {
		return nil, err
	}
	r.sent = time.Now()
	limit := min(attemptTimeout, deadline.Sub(r.sent))
	if r.metadata {
		limit = min(limit, metadataTimeout)
	}
	if r.client.Timeout > 0 {
		limit = min(limit, r.client.Timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := r.send(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return r.read(resp, req.Header)
}

// compose returns what is sent to u.
func (r *request) compose(u *url.URL) (*http.Request, error) {
	req := &http.Request{
		Method: http.MethodGet,
		URL:    u,
		Host:   u.Host,
		Header: http.Header{"Accept": {"application/json"}},
	}
	maps.Copy(req.Header, r.header)
	body := r.json
	if r.form != nil {
		for name, values := range r.form {
			if strings.Join(values, "") == "" { // as if omitted (RFC 6749, Section 3.1)
				delete(r.form, name)
			}
		}
		if r.authenticate != nil {
			if err := r.authenticate(r.form, req.Header); err != nil {
				return nil, err
			}
		}
		req.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
		body = r.form.Encode()
	}
	if body != "" {
		req.Method = http.MethodPost
		// Without GetBody, so that net/http can't send it a second time.
		req.Body = io.NopCloser(strings.NewReader(body))
		req.ContentLength = int64(len(body))
	}
	return req, nil
}

// ownRequest marks the context of the package's own requests, which Transport
// passes on unchanged. Otherwise a token source whose HTTP client authorizes
// with its own tokens would wait for itself.
type ownRequest struct{}

// send sends req and returns the response, whose body the caller closes. It
// uses the client's RoundTripper directly, so that no redirect is followed,
// which would send the secrets of the body to another origin, and no cookie is
// sent.
func (r *request) send(ctx context.Context, req *http.Request) (*http.Response, error) {
	var began atomic.Bool
	ctx = context.WithValue(ctx, ownRequest{}, true)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { began.Store(true) },
	})
	transport := cmp.Or(r.client.Transport, http.DefaultTransport)
	resp, err := transport.RoundTrip(req.WithContext(ctx))
	if err != nil || resp == nil { // some clients return neither
		return nil, broken(r.op, err, began.Load())
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

// read reads the answer to what was sent with a header.
func (r *request) read(resp *http.Response, sent http.Header) (*answer, error) {
	a := &answer{op: r.op, status: resp.StatusCode, header: resp.Header, sent: r.sent}
	if r.metadata && resp.Header.Get("Metadata-Flavor") != "Google" {
		// A captive portal, or whatever else has this address here.
		return nil, a.unusable(errors.New("did not come from a metadata server"))
	}
	var err error
	if a.status >= 200 { // the body of 101 Switching Protocols never ends
		a.body, err = readAll(resp.Body)
	}
	if err == errTooLarge {
		return nil, a.unusable(err)
	}
	if err != nil {
		return nil, broken(r.op, err, true)
	}
	a.members, err = parseObject(a.body)
	if r.metadata && a.members == nil && a.status/100 != 2 {
		// The metadata server explains errors in plain text.
		text, _ := json.Marshal(string(a.body))
		a.members = object{"message": string(text)}
	}
	if a.status/100 != 2 || a.members.has("error") {
		return nil, a.refusal(r.secrets(sent))
	}
	if err != nil && strings.HasPrefix(string(a.body), "{") {
		return nil, a.unusable(err)
	}
	return a, nil
}

// refusal returns the error that an answer stands for.
func (a *answer) refusal(secrets []string) *Error {
	f := &fields{object: a.members}
	if inner := f.nested("error"); inner.err == nil { // as Google's APIs and Facebook write it
		f = inner
		f.object["error"] = f.object["status"]
	}
	param := func(name string) string {
		if name == "error_description" && !f.has(name) {
			name = "message" // as those write it that don't follow RFC 6749
		}
		return f.str(name)
	}
	e := oauthError(a.op, param, secrets)
	e.StatusCode = a.status
	e.RetryAfter = retryAfter(a.header)
	switch a.status {
	case 408, 429, 500, 502, 503, 504:
		e.temporary = true
	}
	e.text += fmt.Sprintf(" (status %d)%s", a.status, a.advice(e.Code))
	// Not a captive portal's page. glewlwyd says nothing of a dead refresh token.
	isAnswer := a.members != nil || a.status == 400 && len(a.body) == 0
	kind := a.status / 100
	e.refused = isAnswer && !e.temporary && (kind == 2 || kind == 4)
	return e
}

// advice returns what a text should add to an error code.
func (a *answer) advice(code string) string {
	switch code {
	case "invalid_grant":
		// The commonest cause with assertions, which servers do not name.
		date, err := http.ParseTime(a.header.Get("Date"))
		skew := time.Since(date).Abs()
		isLikely := err == nil && skew < 365*24*time.Hour // else, the server is wrong
		if isLikely && skew > 5*time.Minute {
			return fmt.Sprintf("; this machine's clock is %v off the server's",
				skew.Round(time.Minute))
		}
	case "invalid_client":
		return "; check the client ID, the client secret and how the client authenticates"
	case "":
		if a.status/100 == 3 { // it would send the secrets elsewhere
			return "; a redirect is not followed: check the endpoint's URL"
		}
		return a.pageAdvice()
	}
	return ""
}

// unusable returns the error for an answer with a flaw, which completes a
// sentence that begins with the answer.
func (a *answer) unusable(flaw error) *Error {
	return &Error{
		text: fmt.Sprintf("%s: the answer with status %d %v%s",
			a.op, a.status, flaw, a.pageAdvice()),
		StatusCode: a.status,
	}
}

// pageAdvice returns what a text should add if the answer is for a browser.
func (a *answer) pageAdvice() string {
	if strings.HasPrefix(strings.ToLower(a.header.Get("Content-Type")), "text/html") {
		return "; it is an HTML page: a captive portal, proxy or firewall may have answered"
	}
	return ""
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
	scopes := grantedScopes(f.list("scope")...)
	if !f.has("scope") {
		scopes = grantedScopes(requested)
	}
	t := &Token{
		AccessToken:  f.secret("access_token", maxToken),
		RefreshToken: f.secret("refresh_token", maxToken),
		IDToken:      f.secret("id_token", maxIDToken),
		Scopes:       strings.Fields(joinScopes(scopes)),
		extra:        newExtra(f.object),
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

// isBearer reports whether a token type is Bearer, by one of the names that
// providers have for it.
func isBearer(tokenType string) bool {
	switch strings.ToLower(tokenType) {
	case "", "bearer", "bearertoken", "bot", "user":
		return true
	}
	return false
}

// newExtra returns what Token.Extra needs of an answer's members.
func newExtra(members object) func() object {
	var extra object
	size := 0
	for name, text := range members {
		switch name {
		case "access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope":
			continue
		}
		if extra == nil {
			extra = object{}
		}
		// The parts would keep the whole answer in memory.
		extra[strings.Clone(name)] = strings.Clone(text)
		size += len(name) + len(text)
	}
	if extra == nil || size > maxExtra {
		return nil
	}
	return func() object { return extra }
}

// broken returns the error for an exchange that did not come to its end. began
// says that the answer had begun. The text follows from the type of err: that
// of err itself may have what the network or a proxy sent.
func broken(op string, err error, began bool) *Error {
	var (
		network     net.Error
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		system      *os.SyscallError
		operation   *net.OpError
	)
	e := &Error{temporary: true, cause: func() error { return err }}
	e.unsent = errors.As(err, &operation) && operation.Op == "dial"
	what := "the connection failed"
	switch {
	case errors.Is(err, context.Canceled):
		what = "the context was canceled"
	case errors.As(err, &network) && network.Timeout():
		what = "timed out"
	case errors.As(err, &dns):
		what = "the host could not be looked up"
		e.temporary = !dns.IsNotFound
	case errors.As(err, &certificate):
		what = "the server's certificate is not trusted, has expired, or is another host's"
		e.temporary = false
	case errors.As(err, &record):
		what = "the server does not speak TLS"
		e.temporary = false
	case errors.As(err, &system):
		what = "the connection failed: " + system.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = "the connection ended before the answer did"
	case operation != nil && operation.Op == "remote error": // an alert of TLS, which is a number
		what = "the server refused the TLS connection: " + operation.Err.Error()
	case operation != nil && operation.Op != "proxyconnect":
		what += " (" + operation.Op + ")"
	case began:
		what = "the answer is malformed or too large"
		e.temporary = false
		e.opaque = true
	default:
		what = fmt.Sprintf("the HTTP client failed with a %T", err)
		e.opaque = true
	}
	e.text = op + ": " + what
	return e
}

// minSecret is how many characters in a row give a secret away. Shorter secrets
// are not looked for: every text has them.
const minSecret = 8

// secrets returns what was sent and no text may repeat.
func (r *request) secrets(header http.Header) []string {
	_, credentials, _ := strings.Cut(header.Get("Authorization"), " ")
	_, password, _ := (&http.Request{Header: header}).BasicAuth()
	password, _ = url.QueryUnescape(password)
	secrets := []string{credentials, password}
	for _, name := range []string{
		"code", "code_verifier", "refresh_token", "token", "device_code",
		"client_secret", "password",
		"assertion", "client_assertion", "subject_token", "actor_token",
	} {
		secrets = append(secrets, r.form[name]...)
	}
	return secrets
}

// repeats reports whether a server's text has part of a secret in it, in any
// spelling: escaped, also several times, encoded, wrapped, in capitals.
func repeats(text string, secrets []string) bool {
	for range 4 {
		for _, secret := range secrets {
			if len(secret) < minSecret {
				continue
			}
			encoded := base64.StdEncoding.EncodeToString([]byte(secret))
			if strings.Contains(text, secret) || overlap(text, secret) || overlap(text, encoded) {
				return true
			}
		}
		text = unescape(text)
	}
	return false
}

// escapes are those of a byte in URLs, JSON and Go.
var escapes = regexp.MustCompile(`(?:%|\\x|\\u00)[0-9a-fA-F]{2}`)

// unescape undoes the escapes of URLs, HTML, JSON and Go once.
func unescape(text string) string {
	return escapes.ReplaceAllStringFunc(html.UnescapeString(text), func(escape string) string {
		char, _ := url.PathUnescape("%" + escape[len(escape)-2:])
		return char
	})
}

var notAlphanumeric = regexp.MustCompile(`[^a-z0-9]+`)

// overlap reports whether the letters and digits of two texts have a run in
// common that gives a secret away.
func overlap(a, b string) bool {
	a = notAlphanumeric.ReplaceAllString(strings.ToLower(a), "")
	b = notAlphanumeric.ReplaceAllString(strings.ToLower(b), "")
	for i := range len(a) - minSecret + 1 {
		if strings.Contains(b, a[i:i+minSecret]) {
			return true
		}
	}
	return false
}

// retryAfter returns what a Retry-After header asks for (RFC 9110, Section
// 10.2.3), bounded. It is 0 if there is none.
func retryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	wait := wholeSeconds(s)
	if t, err := http.ParseTime(s); err == nil {
		wait = time.Until(t)
	}
	return max(0, min(wait, maxRetryAfter))
}

// wholeSeconds reads a number of seconds. It returns 0 for anything else, and
// 68 years for one that is out of range.
func wholeSeconds(text string) time.Duration {
	n, _ := strconv.ParseUint(text, 10, 31)
	return time.Duration(n) * time.Second
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
	f := &flight[T]{done: make(chan struct{}), err: errNoReturn}
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
func (f *flight[T]) wait(ctx context.Context) (value T, err error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return value, fmt.Errorf("oauth2: waiting for a token or key: %w",
			innerError{context.Cause(ctx)})
	}
}
