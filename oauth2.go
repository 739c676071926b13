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
// context.DeadlineExceeded and syscall.ECONNREFUSED are found by errors.Is; on
// Windows, the numbers of such system errors are others than those of syscall.
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
	"crypto/sha256"
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
	"math"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
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

// MarshalJSON returns an error, so that no file or log gets the secret or a
// redacted copy.
func (s Secret) MarshalJSON() ([]byte, error) {
	return s.MarshalText()
}

// MarshalText returns an error, so that no file or log gets the secret or a
// redacted copy.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, errors.New(
		"oauth2: a Secret is not marshaled; store Credentials with MarshalAuthorizedUser")
}

// randomSecret returns 256 random bits as 43 characters of base64url, as RFC
// 7636, Section 4.1 recommends for a verifier.
func randomSecret() Secret {
	b := make([]byte, 32)
	rand.Read(b)
	return NewSecret(base64.RawURLEncoding.EncodeToString(b))
}

// challenge returns the S256 code challenge of a verifier (RFC 7636, Section
// 4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
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

// usable returns what a source has returned, or an error if the token can't be
// put on a request. No token comes with an error.
func usable(t *Token, err error) (*Token, error) {
	if err != nil {
		return nil, err
	}
	if t == nil || !validToken(t.AccessToken.Reveal()) {
		return nil, errors.New(
			"oauth2: the token source returned no usable access token (RFC 6750, Section 2.1)")
	}
	return t, nil
}

// fresh reports whether no refresh of t is due.
func (t *Token) fresh() bool {
	return t != nil && time.Now().UnixNano() < t.freshUntil
}

// staleAt returns when t is due to be renewed, in Unix nanoseconds: a while
// before its expiry, but not before half of the time that it has left, so that
// short lives cause no storm.
func (t *Token) staleAt() int64 {
	if !t.Valid() {
		return 0
	}
	left := time.Until(t.Expiry.Round(0))
	if t.Expiry.IsZero() || left > maxLifetime {
		return math.MaxInt64
	}
	// Google's metadata server returns a new token from 4 minutes before.
	return t.Expiry.Add(-min(225*time.Second, left/2)).UnixNano()
}

// withoutAccess returns a copy of t that has no access token.
func (t *Token) withoutAccess() *Token {
	rest := new(Token)
	rest.inherit(t)
	return rest
}

// laterThan reports whether t is another access token than old and does not
// expire before it.
func (t *Token) laterThan(old *Token) bool {
	if t.AccessToken.empty() || t.AccessToken.equal(old.AccessToken) {
		return false
	}
	return t.Expiry.IsZero() || !t.Expiry.Before(old.Expiry)
}

// same reports whether t and other would be stored alike.
func (t *Token) same(other *Token) bool {
	return t != nil && t.AccessToken.equal(other.AccessToken) &&
		t.RefreshToken.equal(other.RefreshToken)
}

// inherit takes from old what t lacks: what an answer, or the file of another
// program, need not repeat.
func (t *Token) inherit(old *Token) {
	if t.RefreshToken.empty() {
		t.RefreshToken = old.RefreshToken
	}
	if t.IDToken.empty() {
		t.IDToken = old.IDToken
	}
	if len(t.Scopes) == 0 {
		t.Scopes = old.Scopes
	}
	if t.extra == nil {
		t.extra = old.extra
	} else if old.extra != nil {
		members := maps.Clone(old.extra())
		maps.Copy(members, t.extra())
		t.extra = newExtra(members)
	}
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

// asError returns the Error in err, or one that says nothing if there is none.
func asError(err error) *Error {
	e := new(Error)
	errors.As(err, &e)
	return e
}

func loginRequired(text string) *Error {
	return &Error{text: text + "; sign in again", loginRequired: true}
}

// oauthError returns the error that a server describes with the parameters
// error, error_description and error_uri, which param returns. A text that
// repeats one of the secrets is left out.
func oauthError(op string, param func(name string) string, secrets []string) *Error {
	text := func(name string) string {
		s := printable(param(name), maxErrorText)
		// What looks like a code is shown even if a weak secret is part of it.
		isCode := name == "error" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
		if !isCode && repeats(s, secrets) {
			return ""
		}
		return s
	}
	e := &Error{
		Code: printable(text("error"), 256),
		// Those that don't follow RFC 6749 have a message.
		Description: cmp.Or(text("error_description"), text("message")),
		URI:         text("error_uri"),
	}
	e.temporary = isOverload(e.Code) || isOverload(e.Description)
	e.text = op + ": the server answered " + cmp.Or(e.Code, "with no OAuth error")
	if e.Description != "" {
		e.text += fmt.Sprintf(": %q", e.Description)
	}
	return e
}

// isOverload reports whether a code is that of a server that may do better
// later. Some write one as the description.
var isOverload = regexp.MustCompile(
	`^(server_error|temporarily_unavailable|internal_failure)$`).MatchString

// validHost matches a host with or without a port.
var validHost = regexp.MustCompile(`^([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]*)?$`)

// checkEndpoint parses the URL of an endpoint. A user name in it would hide the
// host, and so would a backslash, which browsers read as a slash. A fragment is
// not sent (RFC 6749, Sections 3.1 and 3.2). Without TLS, anybody on the way
// could read the secrets. The errors complete a sentence that begins with the
// endpoint's name. They don't quote the URL, whose query may hold a secret.
func checkEndpoint(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	isURL := err == nil && validText(raw) && !strings.ContainsAny(raw, `\#`)
	if !isURL || u.User != nil || !validHost.MatchString(u.Host) {
		return nil, errors.New(
			"is missing, or is not a valid URL without a user name and a fragment")
	}
	if !isPrivate(u) {
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
	text := o[name]
	if text != "" && json.Unmarshal([]byte(text), v) != nil {
		return fmt.Errorf("oauth2: %q is not of the kind asked for", name)
	}
	return nil
}

// parseObject is the package's one JSON parser. It refuses what encoding/json
// accepts: duplicate names, at any depth, of which another parser might use the
// other one; trailing data; invalid UTF-8; deep nesting. Its errors complete a
// sentence, and quote nothing, since the text may hold secrets.
func parseObject(data []byte) (object, error) {
	text := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxBody:
		return nil, errTooLarge
	case !utf8.Valid(data) || !json.Valid(data) || text[0] != '{':
		return nil, errors.New("is empty, not a JSON object, or not valid JSON in UTF-8")
	}
	r := jsonReader{text: text}
	members := r.members(maxDepth)
	if r.flaw != "" {
		return nil, errors.New(r.flaw)
	}
	return members, nil
}

// A jsonReader reads a JSON text that json.Valid has accepted, so that the next
// bracket, quote or separator tells how it goes on. It remembers a flaw, which
// the caller checks at the end.
type jsonReader struct {
	text string
	pos  int
	flaw string
}

// members reads an object, from its opening brace at pos to its closing one.
// depth is how deeply it may be nested. A list is read like an object that has
// no members, since there may be very many in a hostile text.
func (r *jsonReader) members(depth int) object {
	if depth == 0 {
		r.flaw = "is nested too deeply"
	}
	members := object{}
	isObject := r.text[r.pos] == '{'
	name := ""
	start := r.pos + 1 // of the next name or value
	inString := false
	isOpen := true
	for isOpen {
		r.pos++
		char := r.text[r.pos]
		if inString && char != '"' && char != '\\' {
			continue
		}
		switch char {
		case '"':
			inString = !inString
		case '\\':
			r.pos++ // the next one may be a quote that ends nothing
		case '{', '[':
			r.members(depth - 1)
		case ':':
			name = unquote(strings.TrimSpace(r.text[start:r.pos]))
			start = r.pos + 1
			if members[name] != "" {
				r.flaw = "is ambiguous: a member name occurs twice"
			}
		case ',', '}', ']':
			value := strings.TrimSpace(r.text[start:r.pos])
			start = r.pos + 1
			if isObject && value != "" { // which it is between empty brackets
				members[name] = value
			}
			isOpen = char == ','
		}
	}
	return members
}

// unquote returns the string that a JSON text stands for.
func unquote(text string) string {
	if !strings.Contains(text, `\`) {
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

// secret reads a token.
func (f *fields) secret(name string) Secret {
	s := f.str(name)
	limit := maxToken
	if name == "id_token" {
		limit = maxIDToken
	}
	if s != "" && (len(s) > limit || !validText(s)) {
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

// read decodes a member into v, if it is there. kind is what it must be.
func (f *fields) read(name string, v any, kind string) {
	if f.has(name) && f.decode(name, v) != nil {
		f.fail("has a %s that is not %s", name, kind)
	}
}

// nested reads an object. It has a fault, and no members, if there is none.
func (f *fields) nested(name string) *fields {
	return parseFields([]byte(f.object[name]))
}

// params reads parameters: an object with lists of strings.
func (f *fields) params(name string) (params url.Values) {
	f.read(name, &params, "an object with lists of strings")
	return params
}

// list reads a list of strings, or one string as a list. It returns nil if
// there is neither.
func (f *fields) list(name string) []string {
	if strings.HasPrefix(f.object[name], `"`) {
		return []string{f.str(name)}
	}
	var list []string
	f.read(name, &list, "a list of strings")
	return list
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
	var number json.Number
	f.read(name, &number, "a number of seconds")
	n, _ := number.Float64() // infinity if it is out of range
	return time.Duration(max(0, min(n, maxLifetime.Seconds()))) * time.Second
}

// validProject reports whether a text can be a project ID, which is sent in a
// header.
var validProject = regexp.MustCompile(`^[0-9A-Za-z.:-]+$`).MatchString

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
	var lists []string
	for _, s := range ss {
		if len(strings.Fields(s)) == 1 {
			s = strings.ReplaceAll(s, ",", " ")
		}
		lists = append(lists, s)
	}
	return scopeList(lists...)
}

// joinScopes returns the scopes in ss as one string. Equal ones share their
// memory, as there may be very many credentials.
func joinScopes(ss []string) string {
	return unique.Make(strings.Join(ss, " ")).Value()
}

var errTooLarge = errors.New("is larger than 1 MiB")

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

	// authenticate adds client authentication to the form or to req. It is
	// called for each attempt, since an assertion must not be sent twice.
	authenticate func(form url.Values, req *http.Request) error

	client   *http.Client  // if nil, the package's
	patience time.Duration // for all attempts together; if 0, flightTimeout
	hint     string        // what an error should add if the server denies a permission
	once     bool          // holds a code, which is not sent twice (RFC 6749, Section 4.1.2)
	metadata bool          // to the metadata server, which speaks http and marks its answers
	opaque   bool          // to a URL that was checked, whose answer no error may quote
}

// An answer is complete, has a status of 2xx and is no error.
type answer struct {
	*request
	*http.Response
	body   []byte
	fields // of the body, or the fault of one that is not a JSON object; a copy is read
}

// do sends r, again after a fault that may pass, and returns the answer. If
// anything was sent, its error is an [*Error].
func (r *request) do(ctx context.Context) (*answer, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	r.client = cmp.Or(r.client, defaultClient)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.patience, flightTimeout))
	defer cancel()
	deadline, _ := ctx.Deadline()
	for attempt := 1; ; attempt++ {
		ans, err := r.attempt(ctx)
		e := asError(err)
		mayRepeat := e.temporary && (e.unsent || !r.once)
		if r.metadata && e.unsent {
			attempt = 1 // it is starting, as long as there is patience
		}
		if !mayRepeat || attempt == maxAttempts {
			return ans, err
		}
		// Else 0.5 s at most, and twice that for each further one.
		wait := cmp.Or(e.RetryAfter, jitter(500*time.Millisecond<<(attempt-1)))
		if time.Until(deadline) <= wait {
			return nil, err
		}
		if cause := sleep(ctx, wait); cause != nil {
			e.cause = func() error { return cause }
			return nil, err
		}
	}
}

// attempt sends r once.
func (r *request) attempt(ctx context.Context) (*answer, error) {
	req, err := r.compose()
	if err != nil {
		return nil, err
	}
	limit := min(attemptTimeout, cmp.Or(r.client.Timeout, attemptTimeout))
	r.sent = time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ctx = context.WithValue(ctx, ownRequest{}, true)
	// Directly, so that no redirect is followed, which would send the secrets of
	// the body to another origin, and no cookie is sent.
	transport := cmp.Or(r.client.Transport, http.DefaultTransport)
	resp, err := transport.RoundTrip(req.WithContext(ctx))
	if err != nil || resp == nil || resp.Body == nil { // some clients return neither
		return nil, broken(r.op, err)
	}
	defer resp.Body.Close()
	resp.Request = req
	return r.read(resp)
}

// ownRequest marks the context of the package's own requests, which Transport
// passes on unchanged. Otherwise a token source whose HTTP client authorizes
// with its own tokens would wait for itself.
type ownRequest struct{}

// compose returns what is sent.
func (r *request) compose() (*http.Request, error) {
	parse := checkEndpoint
	if r.metadata || r.opaque {
		parse = url.Parse
	}
	u, err := parse(r.url)
	if err != nil {
		return nil, fmt.Errorf("oauth2: %s: the endpoint %w", r.op, err)
	}
	req := &http.Request{
		Method: "GET",
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
			if err := r.authenticate(r.form, req); err != nil {
				return nil, err
			}
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		body = r.form.Encode()
	}
	if body != "" {
		req.Method = "POST"
		// Without GetBody, so that net/http can't send it a second time.
		req.Body = io.NopCloser(strings.NewReader(body))
		req.ContentLength = int64(len(body))
	}
	return req, nil
}

// defaultClient sends the requests that no client was given for. Nothing
// changes it.
var defaultClient = &http.Client{Transport: &http.Transport{
	Proxy:                  http.ProxyFromEnvironment,
	DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
	ForceAttemptHTTP2:      true,
	TLSHandshakeTimeout:    dialTimeout,
	ResponseHeaderTimeout:  headerTimeout,
	MaxResponseHeaderBytes: maxHeader,
	MaxIdleConnsPerHost:    16,
	IdleConnTimeout:        90 * time.Second,
}}

// read reads the answer.
func (r *request) read(resp *http.Response) (*answer, error) {
	a := &answer{request: r, Response: resp}
	if r.metadata && resp.Header.Get("Metadata-Flavor") != "Google" {
		// A captive portal, or whatever else has this address here.
		return nil, a.unusable("did not come from a metadata server")
	}
	var err error
	if a.StatusCode >= 200 { // the body of 101 Switching Protocols never ends
		a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	}
	if err != nil {
		return nil, broken(r.op, err)
	}
	if len(a.body) > maxBody { // and not cut: what was cut could parse
		return nil, a.unusable(errTooLarge)
	}
	if !r.opaque {
		a.fields = *parseFields(a.body)
	}
	if a.StatusCode/100 != 2 || a.has("error") {
		if r.metadata && a.object == nil {
			// The metadata server explains errors in plain text.
			text, _ := json.Marshal(string(a.body))
			a.object = object{"message": string(text)}
		}
		return nil, a.refusal()
	}
	return a, nil
}

// refusal returns the error that an answer stands for.
func (a *answer) refusal() *Error {
	f := a.fields
	inner := f.nested("error")
	if inner.err == nil { // as Google's APIs and Facebook write it
		f = *inner
		f.object["error"] = f.object["status"]
	}
	e := oauthError(a.op, f.str, a.secrets())
	e.StatusCode = a.StatusCode
	text := a.Header.Get("Retry-After") // seconds, or a date (RFC 9110, Section 10.2.3)
	date, _ := http.ParseTime(text)     // if it is none, the year 1
	e.RetryAfter = min(max(wholeSeconds(text), time.Until(date)), maxRetryAfter)
	switch a.StatusCode {
	case 408, 429, 500, 502, 503, 504:
		e.temporary = true
	}
	e.text += fmt.Sprintf(" (status %d)%s", a.StatusCode, a.advice(e.Code))
	// Not a captive portal's page. glewlwyd says nothing of a dead refresh token.
	isAnswer := a.object != nil || a.StatusCode == 400 && len(a.body) == 0
	e.refused = isAnswer && !e.temporary && a.StatusCode < 500
	return e
}

// advice returns what a text should add to an error code, or to an answer that
// has none.
func (a *answer) advice(code string) string {
	switch code {
	case "invalid_grant":
		// The commonest cause with assertions, which servers do not name.
		date, _ := http.ParseTime(a.Header.Get("Date")) // else, the year 1
		skew := time.Since(date).Abs()
		// By a year or more, it is the server that is wrong.
		if 5*time.Minute < skew && skew < 365*24*time.Hour {
			return fmt.Sprintf("; this machine's clock is %v off the server's",
				skew.Round(time.Minute))
		}
	case "invalid_client":
		return "; check the client ID, the client secret and how the client authenticates"
	case "unauthorized_client", "PERMISSION_DENIED":
		return a.hint
	case "":
		// A redirect would send the secrets elsewhere.
		if a.object == nil {
			return "; redirects are not followed; a captive portal, proxy or firewall may interfere"
		}
	}
	return ""
}

// unusable returns the error for an answer with a flaw, an error or a text that
// completes a sentence that begins with the answer.
func (a *answer) unusable(flaw any) *Error {
	return &Error{
		text: fmt.Sprintf("%s: the answer with status %d %v%s",
			a.op, a.StatusCode, flaw, a.advice("")),
		StatusCode: a.StatusCode,
	}
}

// token reads the answer of a token endpoint (RFC 6749, Section 5.1). requested
// are the scopes that were granted if the answer does not say.
func (a *answer) token(requested string) (*Token, error) {
	f := a.fields
	scopes := grantedScopes(f.list("scope")...)
	if !f.has("scope") {
		scopes = grantedScopes(requested)
	}
	t := &Token{
		AccessToken:  f.secret("access_token"),
		RefreshToken: f.secret("refresh_token"),
		IDToken:      f.secret("id_token"),
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

// rotated returns old with the refresh token of a refused answer, or nil if
// that has none.
func (a *answer) rotated(old *Token) *Token {
	f := a.fields
	kept := *old
	kept.RefreshToken = f.secret("refresh_token")
	if f.secret("access_token").empty() || kept.RefreshToken.empty() || f.err != nil {
		return nil
	}
	return &kept
}

// isBearer reports whether a token type is Bearer, by the names that providers
// have for it.
var isBearer = regexp.MustCompile(`(?i)^(|bearer|bearertoken|bot|user)$`).MatchString

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
	if size == 0 || size > maxExtra {
		return nil
	}
	return func() object { return extra }
}

// broken returns the error for an exchange that did not come to its end. The
// text follows from the type of err: that of err itself may have what the
// network or a proxy sent.
func broken(op string, err error) *Error {
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
	what := ""
	switch {
	case errors.Is(err, context.Canceled):
		what = "the context was canceled"
	case errors.As(err, &network) && network.Timeout():
		what = "timed out"
	case errors.As(err, &dns):
		what = "the host could not be looked up"
		e.temporary = !dns.IsNotFound
	case errors.As(err, &certificate), errors.As(err, &record):
		what = "there is no TLS, or the certificate is untrusted, expired or another host's"
		e.temporary = false
	case errors.As(err, &system):
		what = "the connection failed: " + system.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = "the connection ended before the answer did"
	case operation != nil && operation.Op != "proxyconnect": // whose text is the proxy's
		what = "the connection failed: " + operation.Op
	default:
		what = fmt.Sprintf("the HTTP client failed, or the answer is malformed (%T)", err)
		e.opaque = true
	}
	e.text = op + ": " + what
	return e
}

// minSecret is how many characters in a row give a secret away. Shorter secrets
// are not looked for: every text has them.
const minSecret = 8

// secrets returns what was sent and no text may repeat.
func (a *answer) secrets() []string {
	_, credentials, _ := strings.Cut(a.Request.Header.Get("Authorization"), " ")
	_, password, _ := a.Request.BasicAuth()
	password, _ = url.QueryUnescape(password)
	secrets := []string{credentials, password}
	for name := range strings.FieldsSeq(`
		code code_verifier refresh_token token device_code client_secret password
		assertion client_assertion subject_token actor_token`) {
		secrets = append(secrets, a.form[name]...)
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
		// Undo the escapes of URLs, HTML, JSON and Go once.
		text = html.UnescapeString(text)
		text = escapes.ReplaceAllStringFunc(text, func(escape string) string {
			char, _ := url.PathUnescape("%" + escape[len(escape)-2:])
			return char
		})
	}
	return false
}

// escapes are those of a byte in URLs, JSON and Go.
var escapes = regexp.MustCompile(`(?:%|\\x|\\u00)[0-9a-fA-F]{2}`)

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
		return value, fmt.Errorf("oauth2: waiting for a token, a key or a sign-in: %w",
			innerError{context.Cause(ctx)})
	}
}
