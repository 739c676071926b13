package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestServer is a strict OAuth 2.0 authorization server, OpenID provider and resource server, written from the
// RFCs with nothing of the package under test, so that its acceptance is independent evidence. Endpoints: /authorize,
// /token, /device, /revoke, /keys, /userinfo (GET), /echo (any method, answers its body; both want a bearer token) and
// the two /.well-known documents. Fields are set before use, or between requests; methods are safe for concurrent
// use. Clocks are time.Now, so that a server made by NewMemoryServer lives in a testing/synctest bubble.
type TestServer struct {
	URL string // origin and issuer, without a trailing slash

	// The one registered client. AuthMethod is client_secret_basic, client_secret_post, private_key_jwt (whose
	// assertions ClientKey verifies) or none; no other is accepted. Redirect URIs match exactly, except that
	// http://127.0.0.1/… and http://[::1]/… registered without a port match any (RFC 8252, 7.3).
	ClientID, ClientSecret, AuthMethod string
	ClientKey                          *rsa.PublicKey
	RedirectURIs                       []string

	Subject, Email string        // the user who signs in
	Deny           string        // non-empty: the authorization endpoint redirects with this error code
	OmitIss        bool          // no iss in redirects, and metadata that says so
	ExpiresIn      time.Duration // lifetime of access tokens; zero: an hour
	Rotate         bool          // a refresh token serves once; an old one revokes the whole family
	OfflineOnly    bool          // no refresh token unless access_type=offline was asked for, as Google does

	DeviceScript []string      // what each poll answers: an error code or "ok"; the last one repeats; empty: ok
	DevicePace   time.Duration // interval between polls, enforced by slow_down; zero: 5 s, not announced
	DeviceGoogle bool          // verification_url, not verification_uri; /device wants client_id alone

	AssertionKey *rsa.PublicKey // verifies the assertions of the jwt-bearer grant
	AssertionKID string         // non-empty: the kid that they must name
	AssertionIss string         // non-empty: the iss that they must name

	// Hook sees every request first, in whatever goroutine; where it blocks, it must end with r.Context().
	// GrantScopes decides what is granted (nil: all); the others change what is about to be sent.
	Hook          func(w http.ResponseWriter, r *http.Request) (handled bool)
	GrantScopes   func(asked []string) []string
	IDTokenClaims func(claims map[string]any)
	Metadata      func(document map[string]any)
	Answer        func(grantType string, answer map[string]any) // of /token, where it succeeds

	server   *httptest.Server
	browsers sync.WaitGroup
	serial   atomic.Int64

	mu                 sync.Mutex // guards all below
	requests           []RecordedRequest
	reuses, codeReuses int
	codes              map[string]*issuedCode
	access             map[string]issuedAccess
	refresh            map[string]*tokenFamily
	devices            map[string]*issuedDevice
	jtis               map[string]bool
	page               *browserPage
}

// RecordedRequest is one request as it reached a TestServer. Form is the body's, never the query's.
type RecordedRequest struct {
	Method, Host, Path string
	Query, Form        url.Values
	Header             http.Header
	Time               time.Time
}

type (
	tokenFamily struct { // what one user or client was given: a family of tokens
		scopes           []string
		nonce            string
		current          string // the refresh token in force
		offline, revoked bool
	}
	issuedCode struct {
		*tokenFamily
		redirect, challenge string
		expiry              time.Time
		used                bool
	}
	issuedAccess struct {
		*tokenFamily
		expiry time.Time
	}
	issuedDevice struct {
		*tokenFamily
		polls        int
		pace         time.Duration
		last, expiry time.Time
	}
	browserPage struct {
		done   chan struct{}
		status int
		header http.Header
		body   string
	}
	answerMembers = map[string]any // of an endpoint, before it is written: an id_token is still its claims
	failureText   = string         // an error code of RFC 6749, 5.2, and after ": " its description; empty: none
)

var (
	verifierSyntax = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
	scopeSyntax    = regexp.MustCompile(`^[!#-\[\]-~]+( [!#-\[\]-~]+)*$`)
	bearerSyntax   = regexp.MustCompile(`^(?i:bearer) ([A-Za-z0-9._~+/-]+=*)$`)
	basicSyntax    = regexp.MustCompile(`^[A-Za-z0-9*._~+%-]*:[A-Za-z0-9*._~+%-]*$`)
	portSyntax     = regexp.MustCompile(`^[1-9][0-9]{0,4}$`)
	rawBase64      = base64.RawURLEncoding.Strict()
)

// serverKey signs the ID tokens of all servers of the process.
var serverKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

const (
	serverKeyID        = "as-key-1"
	jwtBearerGrant     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	deviceCodeGrant    = "urn:ietf:params:oauth:grant-type:device_code"
	jwtBearerAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// NewTestServer starts a server on a loopback listener, closed with t. With a nil t the caller calls Close.
func NewTestServer(t testing.TB) *TestServer {
	s := NewMemoryServer()
	s.server = httptest.NewServer(s)
	s.URL = s.server.URL
	if t != nil {
		t.Cleanup(s.Close)
	}
	return s
}

// NewMemoryServer makes a server, https://as.example, that only its Transport reaches.
func NewMemoryServer() *TestServer {
	return &TestServer{
		URL:          "https://as.example",
		ClientID:     "client-1.example",
		ClientSecret: "cs-1-secret",
		AuthMethod:   "client_secret_post",
		RedirectURIs: []string{"http://127.0.0.1/", "http://[::1]/"},
		Subject:      "user-1",
		Email:        "person@example.com",
		codes:        map[string]*issuedCode{},
		access:       map[string]issuedAccess{},
		refresh:      map[string]*tokenFamily{},
		devices:      map[string]*issuedDevice{},
		jtis:         map[string]bool{},
	}
}

// Close waits for the browsers and stops the listener, if there is one.
func (s *TestServer) Close() {
	s.browsers.Wait()
	if s.server != nil {
		s.server.Close()
	}
}

// Transport answers requests in the caller's goroutine, without sockets. A request whose context has ended when the
// handler returns fails with the context's error; one whose Hook panics with http.ErrAbortHandler, with
// io.ErrUnexpectedEOF.
func (s *TestServer) Transport() http.RoundTripper { return memoryTransport{s} }

type memoryTransport struct{ s *TestServer }

func (t memoryTransport) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	var body []byte
	if req.Body != nil {
		body, err = io.ReadAll(req.Body)
		if err = errors.Join(err, req.Body.Close()); err != nil {
			return nil, err
		}
	}
	if req.Context().Err() != nil {
		return nil, context.Cause(req.Context())
	}
	in := httptest.NewRequestWithContext(req.Context(), cmp.Or(req.Method, "GET"), req.URL.RequestURI(),
		bytes.NewReader(body))
	in.Header, in.Host = req.Header.Clone(), cmp.Or(req.Host, req.URL.Host)
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			resp, err = nil, io.ErrUnexpectedEOF
		} else if v != nil {
			panic(v)
		}
	}()
	w := httptest.NewRecorder()
	t.s.ServeHTTP(w, in)
	if req.Context().Err() != nil {
		return nil, context.Cause(req.Context())
	}
	resp = w.Result()
	resp.Request = req
	if resp.ContentLength < 0 {
		resp.ContentLength = int64(w.Body.Len())
	}
	return resp, nil
}

// ServeHTTP is the server itself, for a test that wants another listener (it then sets URL).
func (s *TestServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return
	}
	rec := RecordedRequest{r.Method, r.Host, r.URL.Path, r.URL.Query(), url.Values{}, r.Header.Clone(), time.Now()}
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isForm := mediaType == "application/x-www-form-urlencoded"
	var formErr error
	if isForm {
		rec.Form, formErr = url.ParseQuery(string(body))
	}
	unlock := s.lock()
	s.requests = append(s.requests, rec)
	unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if s.Hook != nil && s.Hook(w, r) {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if _, host, _ := strings.Cut(s.URL, "://"); r.Host != host {
		http.Error(w, "this is "+s.URL, http.StatusMisdirectedRequest)
		return
	}
	switch r.URL.Path {
	case "/authorize":
		s.authorize(w, r)
	case "/token", "/device", "/revoke":
		w.Header().Set("Set-Cookie", "trap=1; Path=/") // a client with a cookie jar gives itself away
		var answer answerMembers
		var fail failureText
		form := maps.Clone(rec.Form)
		switch {
		case r.Method != "POST":
			fail = "invalid_request: not a POST"
		case !isForm || formErr != nil || hasDuplicates(form):
			fail = "invalid_request: body is not a form with each parameter once"
		case r.URL.RawQuery != "" || r.URL.ForceQuery || r.Header.Get("Cookie") != "":
			fail = "invalid_request: query or cookie"
		default:
			// RFC 6749, 3.1: empty is omitted
			maps.DeleteFunc(form, func(_ string, v []string) bool { return v[0] == "" })
			answer, fail = s.post(r, form)
		}
		status := 200
		if code, description, _ := strings.Cut(fail, ": "); fail != "" {
			status, answer = 400, answerMembers{"error": code, "error_description": description}
			w.Header().Set("Pragma", "no-cache")
			if r.Method != "POST" {
				status = http.StatusMethodNotAllowed
				w.Header().Set("Allow", "POST")
			} else if code == "invalid_client" {
				status = http.StatusUnauthorized
				w.Header().Set("WWW-Authenticate", `Basic realm="as"`)
			}
		}
		if answer != nil {
			writeJSON(w, status, answer)
		}
	case "/keys":
		w.Header().Set("Cache-Control", "public, max-age=3600")
		e := big.NewInt(int64(serverKey().E)).Bytes()
		writeJSON(w, 200, map[string]any{"keys": []any{map[string]any{
			"kty": "RSA",
			"use": "sig",
			"alg": "RS256",
			"kid": serverKeyID,
			"n":   rawBase64.EncodeToString(serverKey().N.Bytes()),
			"e":   rawBase64.EncodeToString(e),
		}}})
	case "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server":
		document := map[string]any{
			"issuer":                        s.URL,
			"authorization_endpoint":        s.URL + "/authorize",
			"token_endpoint":                s.URL + "/token",
			"device_authorization_endpoint": s.URL + "/device",
			"revocation_endpoint":           s.URL + "/revoke",
			"jwks_uri":                      s.URL + "/keys",
			"userinfo_endpoint":             s.URL + "/userinfo",
			"grant_types_supported": []string{
				"authorization_code", "refresh_token", "client_credentials", jwtBearerGrant, deviceCodeGrant,
			},
			"response_types_supported":                       []string{"code"},
			"subject_types_supported":                        []string{"public"},
			"id_token_signing_alg_values_supported":          []string{"RS256"},
			"token_endpoint_auth_methods_supported":          []string{s.AuthMethod},
			"code_challenge_methods_supported":               []string{"S256"},
			"authorization_response_iss_parameter_supported": !s.OmitIss,
		}
		if s.Metadata != nil {
			s.Metadata(document)
		}
		writeJSON(w, 200, document)
	case "/userinfo", "/echo":
		authorization := r.Header.Values("Authorization")
		m := bearerSyntax.FindStringSubmatch(strings.Join(authorization, "\n"))
		switch {
		case r.URL.Path == "/userinfo" && r.Method != "GET":
			w.Header().Set("Allow", "GET")
			w.WriteHeader(http.StatusMethodNotAllowed)
		case len(authorization) == 0: // RFC 6750, 3.1: no error code where nothing was tried
			w.Header().Set("WWW-Authenticate", `Bearer realm="as"`)
			w.WriteHeader(http.StatusUnauthorized)
		case m == nil || rec.Query.Has("access_token") || rec.Form.Has("access_token") || !s.valid(m[1]):
			w.Header().Set("WWW-Authenticate", `Bearer realm="as", error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/echo":
			w.Write(body)
		default:
			writeJSON(w, 200, map[string]any{"sub": s.Subject, "email": s.Email, "email_verified": true})
		}
	default:
		http.NotFound(w, r)
	}
}

// authorize is the authorization endpoint: a user who always agrees, unless Deny.
func (s *TestServer) authorize(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	redirect := q.Get("redirect_uri")
	secret := slices.ContainsFunc([]string{"client_secret", "code_verifier", "access_token", "refresh_token"}, q.Has)
	if r.Method != "GET" || err != nil || secret || q.Get("client_id") != s.ClientID || len(q["client_id"]) != 1 ||
		len(q["redirect_uri"]) != 1 || !s.registered(redirect) { // never a redirect to a URI that may be an attacker's
		http.Error(w, "bad method, query, client_id or redirect_uri", http.StatusBadRequest)
		return
	}
	out := url.Values{}
	if !s.OmitIss {
		out.Set("iss", s.URL)
	}
	if len(q["state"]) == 1 && q.Get("state") != "" {
		out.Set("state", q.Get("state"))
	}
	challenge, challengeErr := rawBase64.DecodeString(q.Get("code_challenge"))
	switch {
	case hasDuplicates(q) || !out.Has("state") || !q.Has("response_type"):
		out.Set("error", "invalid_request")
	case q.Get("response_type") != "code":
		out.Set("error", "unsupported_response_type")
	case q.Get("code_challenge_method") != "S256" || challengeErr != nil || len(challenge) != sha256.Size:
		out.Set("error", "invalid_request")
		out.Set("error_description", "PKCE with S256 is required")
	case q.Get("scope") != "" && !scopeSyntax.MatchString(q.Get("scope")):
		out.Set("error", "invalid_scope")
	case s.Deny != "":
		out.Set("error", s.Deny)
	default:
		g := &tokenFamily{
			scopes:  s.grant(q.Get("scope")),
			nonce:   q.Get("nonce"),
			offline: !s.OfflineOnly || q.Get("access_type") == "offline",
		}
		out.Set("code", s.mint("code"))
		defer s.lock()()
		s.codes[out.Get("code")] = &issuedCode{
			tokenFamily: g,
			redirect:    redirect,
			challenge:   q.Get("code_challenge"),
			expiry:      time.Now().Add(10 * time.Minute),
		}
	}
	separator := "?"
	if strings.Contains(redirect, "?") {
		separator = "&"
	}
	w.Header().Set("Location", redirect+separator+out.Encode())
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}

// registered compares redirect URIs as strings; only a loopback literal's port is free.
func (s *TestServer) registered(redirect string) bool {
	return slices.ContainsFunc(s.RedirectURIs, func(known string) bool {
		for _, origin := range []string{"http://127.0.0.1", "http://[::1]"} {
			path, ok := strings.CutPrefix(known, origin)
			port, ok2 := strings.CutPrefix(redirect, origin+":")
			port, ok3 := strings.CutSuffix(port, path)
			if ok && ok2 && ok3 && !strings.HasPrefix(path, ":") && portSyntax.MatchString(port) {
				return true
			}
		}
		return known == redirect
	})
}

// post answers a well-formed request to /token, /device or /revoke; nil is an empty body.
func (s *TestServer) post(r *http.Request, form url.Values) (answer answerMembers, fail failureText) {
	grantType := form.Get("grant_type")
	// such an assertion is all the authentication there is
	bearer := r.URL.Path == "/token" && grantType == jwtBearerGrant
	google := r.URL.Path == "/device" && s.DeviceGoogle && form.Has("client_id")
	if fail := s.authenticate(r, form, bearer || google); fail != "" {
		return nil, fail
	}
	if scope := form.Get("scope"); scope != "" && !scopeSyntax.MatchString(scope) {
		return nil, "invalid_scope: malformed"
	}
	switch {
	case r.URL.Path == "/revoke":
		return nil, s.revoke(form.Get("token"))
	case r.URL.Path == "/device":
		return s.device(form), ""
	case grantType == "authorization_code":
		answer, fail = s.exchange(form)
	case grantType == "refresh_token":
		answer, fail = s.renew(form)
	case grantType == deviceCodeGrant:
		answer, fail = s.poll(form)
	case grantType == jwtBearerGrant:
		answer, fail = s.assert(form.Get("assertion"))
	case grantType == "client_credentials" && s.AuthMethod == "none":
		fail = "unauthorized_client: a public client has no credentials"
	case grantType == "client_credentials":
		granted := s.grant(form.Get("scope"))
		defer s.lock()()
		answer = s.issue(&tokenFamily{}, granted)
	default:
		fail = "unsupported_grant_type: " + grantType
	}
	if fail != "" {
		return nil, fail
	}
	if claims, ok := answer["id_token"].(map[string]any); ok {
		if s.IDTokenClaims != nil {
			s.IDTokenClaims(claims)
		}
		header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": serverKeyID}
		answer["id_token"] = signClaims(serverKey(), header, claims)
	}
	if s.Answer != nil {
		s.Answer(grantType, answer)
	}
	return answer, ""
}

// authenticate wants the configured method, alone. Where it is optional it may be absent, but not wrong.
func (s *TestServer) authenticate(r *http.Request, form url.Values, optional bool) failureText {
	var used []string
	header := r.Header.Values("Authorization")
	if len(header) > 0 {
		used = append(used, "client_secret_basic")
	}
	if form.Has("client_secret") {
		used = append(used, "client_secret_post")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		used = append(used, "private_key_jwt")
	}
	method := strings.Join(used, " ")
	if method == "" && form.Has("client_id") {
		method = "none"
	}
	ok := false
	switch {
	case len(used) > 1 || len(header) > 1:
		return "invalid_request: more than one client authentication"
	case form.Has("client_id") && form.Get("client_id") != s.ClientID:
		return "invalid_client: unknown client_id"
	case len(used) == 0 && optional:
		return ""
	case method != s.AuthMethod:
		return "invalid_client: client authentication must be " + s.AuthMethod
	case method == "client_secret_basic": // RFC 6749, 2.3.1: both halves are form-encoded
		scheme, value, _ := strings.Cut(header[0], " ")
		pair, err := base64.StdEncoding.Strict().DecodeString(value)
		id, secret, _ := strings.Cut(string(pair), ":")
		id, idErr := url.QueryUnescape(id)
		secret, secretErr := url.QueryUnescape(secret)
		ok = strings.EqualFold(scheme, "Basic") && basicSyntax.Match(pair) &&
			err == nil && idErr == nil && secretErr == nil && id == s.ClientID && secret == s.ClientSecret
	case method == "client_secret_post":
		ok = form.Has("client_id") && form.Get("client_secret") == s.ClientSecret
	case method == "private_key_jwt": // RFC 7523, 3
		_, c, err := verifiedParts(form.Get("client_assertion"), s.ClientKey)
		jti, _ := c["jti"].(string)
		exp, _ := c["exp"].(float64)
		now := float64(time.Now().Unix())
		defer s.lock()()
		ok = err == nil && form.Get("client_assertion_type") == jwtBearerAssertion &&
			c["iss"] == s.ClientID && c["sub"] == s.ClientID &&
			(c["aud"] == s.URL+"/token" || c["aud"] == s.URL) &&
			exp > now && exp <= now+3600 && jti != "" && !s.jtis[jti]
		s.jtis[jti] = true
	case method == "none":
		ok = true
	}
	if !ok {
		return "invalid_client: wrong credentials"
	}
	return ""
}

// exchange is the authorization_code grant. A code is used up by the first attempt, right or wrong.
func (s *TestServer) exchange(form url.Values) (answerMembers, failureText) {
	defer s.lock()()
	c, sum := s.codes[form.Get("code")], sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case !form.Has("code") || !form.Has("redirect_uri") || !verifierSyntax.MatchString(form.Get("code_verifier")):
		return nil, "invalid_request: code, redirect_uri and a well-formed code_verifier are required"
	case c == nil:
		return nil, "invalid_grant: unknown code"
	case c.used: // RFC 6749, 4.1.2: and what it gave is revoked
		s.codeReuses++
		c.revoked = true
		return nil, "invalid_grant: code was used before"
	}
	c.used = true
	switch {
	case c.revoked || !time.Now().Before(c.expiry):
		return nil, "invalid_grant: code expired"
	case form.Get("redirect_uri") != c.redirect:
		return nil, "invalid_grant: redirect_uri differs"
	case rawBase64.EncodeToString(sum[:]) != c.challenge:
		return nil, "invalid_grant: code_verifier does not match"
	}
	return s.issuePerson(c.tokenFamily, c.scopes), ""
}

// renew is the refresh_token grant.
func (s *TestServer) renew(form url.Values) (answerMembers, failureText) {
	defer s.lock()()
	token := form.Get("refresh_token")
	g := s.refresh[token]
	switch {
	case token == "":
		return nil, "invalid_request: refresh_token is required"
	case g == nil:
		return nil, "invalid_grant: unknown refresh token"
	case token != g.current: // RFC 9700, 4.14.2
		s.reuses++
		g.revoked = true
		return nil, "invalid_grant: refresh token was used before"
	case g.revoked:
		return nil, "invalid_grant: revoked"
	}
	scopes := g.scopes
	if form.Has("scope") {
		scopes = strings.Fields(form.Get("scope"))
	}
	if slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(g.scopes, scope) }) {
		return nil, "invalid_scope: more than was granted"
	}
	if s.Rotate {
		g.current = ""
	}
	g.nonce = "" // OpenID Connect Core, 12.2: not repeated
	return s.issuePerson(g, scopes), ""
}

// device is the device authorization endpoint (RFC 8628, 3.2).
func (s *TestServer) device(form url.Values) answerMembers {
	g, code := &tokenFamily{scopes: s.grant(form.Get("scope")), offline: true}, s.mint("dc")
	defer s.lock()()
	s.devices[code] = &issuedDevice{
		tokenFamily: g,
		pace:        cmp.Or(s.DevicePace, 5*time.Second),
		expiry:      time.Now().Add(30 * time.Minute),
	}
	answer := answerMembers{"device_code": code, "user_code": "WDJB-MJHT", "expires_in": 1800}
	answer[map[bool]string{false: "verification_uri", true: "verification_url"}[s.DeviceGoogle]] = s.URL + "/activate"
	if s.DevicePace > 0 {
		answer["interval"] = int(s.DevicePace.Seconds())
	}
	return answer
}

// poll is the device_code grant: the script, for a client that keeps the pace.
func (s *TestServer) poll(form url.Values) (answerMembers, failureText) {
	defer s.lock()()
	d, now, word := s.devices[form.Get("device_code")], time.Now(), "ok"
	switch {
	case d == nil:
		return nil, "invalid_grant: unknown device_code"
	case !now.Before(d.expiry):
		word = "expired_token"
	case now.Sub(d.last) < d.pace:
		word = "slow_down"
	case len(s.DeviceScript) > 0:
		word = s.DeviceScript[min(d.polls, len(s.DeviceScript)-1)]
		d.polls++
	}
	d.last = now
	switch word {
	case "ok":
		delete(s.devices, form.Get("device_code"))
		return s.issuePerson(d.tokenFamily, d.scopes), ""
	case "slow_down": // RFC 8628, 3.5: for this and all later polls
		d.pace += 5 * time.Second
	}
	return nil, word
}

// assert is the jwt-bearer grant, as Google's service accounts use it.
func (s *TestServer) assert(assertion string) (answerMembers, failureText) {
	h, c, err := verifiedParts(assertion, s.AssertionKey)
	iat, ok := c["iat"].(float64)
	exp, _ := c["exp"].(float64)
	iss, _ := c["iss"].(string)
	scope, _ := c["scope"].(string)
	audience, _ := c["target_audience"].(string)
	now := float64(time.Now().Unix())
	switch {
	case err != nil:
		return nil, "invalid_grant: " + err.Error()
	case !ok || iat > now || exp <= now || exp-iat > 3600:
		return nil, "invalid_grant: iat or exp"
	case iss == "" || s.AssertionIss != "" && iss != s.AssertionIss ||
		s.AssertionKID != "" && h["kid"] != s.AssertionKID:
		return nil, "invalid_grant: iss or kid"
	case c["aud"] != s.URL+"/token":
		return nil, "invalid_grant: aud"
	case audience != "":
		return answerMembers{"id_token": s.claims(audience, iss, iss)}, ""
	case !scopeSyntax.MatchString(scope):
		return nil, "invalid_scope: neither scope nor target_audience"
	}
	defer s.lock()()
	return s.issue(&tokenFamily{}, strings.Fields(scope)), ""
}

// revoke is RFC 7009: an access token alone, or a refresh token with its family; an unknown one is no error.
func (s *TestServer) revoke(token string) failureText {
	defer s.lock()()
	if token == "" {
		return "invalid_request: token is required"
	}
	delete(s.access, token)
	if g := s.refresh[token]; g != nil {
		g.revoked = true
	}
	return ""
}

// issue makes an access token; mu is held.
func (s *TestServer) issue(g *tokenFamily, scopes []string) answerMembers {
	lifetime, token := cmp.Or(s.ExpiresIn, time.Hour), s.mint("at")
	s.access[token] = issuedAccess{g, time.Now().Add(lifetime)}
	answer := answerMembers{"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime.Seconds())}
	if len(scopes) > 0 {
		answer["scope"] = strings.Join(scopes, " ")
	}
	return answer
}

// issuePerson adds an ID token, and a refresh token where the grant has none in force; mu is held.
func (s *TestServer) issuePerson(g *tokenFamily, scopes []string) answerMembers {
	answer := s.issue(g, scopes)
	if g.current == "" && g.offline {
		g.current = s.mint("rt")
		s.refresh[g.current] = g
		answer["refresh_token"] = g.current
	}
	if slices.Contains(scopes, "openid") {
		claims := s.claims(s.ClientID, s.Subject, s.Email)
		sum := sha256.Sum256([]byte(answer["access_token"].(string)))
		claims["at_hash"] = rawBase64.EncodeToString(sum[:16])
		if g.nonce != "" {
			claims["nonce"] = g.nonce
		}
		answer["id_token"] = claims
	}
	return answer
}

func (s *TestServer) claims(aud, sub, email string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": s.URL, "aud": aud, "sub": sub, "email": email, "email_verified": true, "iat": now, "exp": now + 3600,
	}
}

func (s *TestServer) grant(scope string) []string {
	if s.GrantScopes == nil {
		return strings.Fields(scope)
	}
	return s.GrantScopes(strings.Fields(scope))
}

func (s *TestServer) mint(kind string) string {
	return fmt.Sprintf("%s-%d-%s", kind, s.serial.Add(1), rand.Text())
}

func (s *TestServer) valid(access string) bool {
	defer s.lock()()
	a, ok := s.access[access]
	return ok && !a.revoked && time.Now().Before(a.expiry)
}

func (s *TestServer) lock() (unlock func()) { s.mu.Lock(); return s.mu.Unlock }

// Requests is every request so far, in order of arrival.
func (s *TestServer) Requests() []RecordedRequest { defer s.lock()(); return slices.Clone(s.requests) }

// Count is the number of requests to a path.
func (s *TestServer) Count(path string) int { return s.count(path, "") }

// TokenRequests is the number of requests to /token with a grant type, or with any where that is empty.
func (s *TestServer) TokenRequests(grantType string) int { return s.count("/token", grantType) }

func (s *TestServer) count(path, grantType string) (n int) {
	for _, r := range s.Requests() {
		if r.Path == path && (grantType == "" || r.Form.Get("grant_type") == grantType) {
			n++
		}
	}
	return n
}

// Reuses is the number of times that a refresh token came after its successor was issued.
func (s *TestServer) Reuses() int { defer s.lock()(); return s.reuses }

// CodeReuses is the number of times that a code came again.
func (s *TestServer) CodeReuses() int { defer s.lock()(); return s.codeReuses }

// ClientSecretsJSON is a client_secrets.json in Google's format, of kind "installed" or "web", that points here.
func (s *TestServer) ClientSecretsJSON(kind string) []byte {
	client := map[string]any{
		"client_id":                   s.ClientID,
		"project_id":                  "project-1",
		"auth_uri":                    s.URL + "/authorize",
		"token_uri":                   s.URL + "/token",
		"auth_provider_x509_cert_url": s.URL + "/certs",
		"redirect_uris":               s.RedirectURIs,
	}
	if s.ClientSecret != "" && s.AuthMethod != "none" {
		client["client_secret"] = s.ClientSecret
	}
	data, err := json.Marshal(map[string]any{kind: client})
	if err != nil {
		panic(err)
	}
	return data
}

// Authorize plays the browser and the user: it opens the authorization URL and returns where that redirects, without
// following.
func (s *TestServer) Authorize(authURL string) (redirected string, err error) {
	client := plainBrowser()
	if s.server == nil {
		client.Transport = s.Transport()
	}
	resp, err := client.Get(authURL)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		return "", fmt.Errorf("the authorization endpoint answered %s", resp.Status)
	}
	return resp.Header.Get("Location"), nil
}

// Browser is an OpenBrowser function: Authorize, and then the redirect is opened in the background; see Page.
func (s *TestServer) Browser(authURL string) error {
	redirected, err := s.Authorize(authURL)
	if err != nil {
		return err
	}
	p := &browserPage{done: make(chan struct{})}
	s.mu.Lock()
	s.page = p
	s.mu.Unlock()
	s.browsers.Go(func() {
		defer close(p.done)
		resp, err := plainBrowser().Get(redirected)
		if err != nil {
			p.body = err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		p.status, p.header, p.body = resp.StatusCode, resp.Header, string(body)
	})
	return nil
}

// Page waits for what the last Browser was shown. Status zero: nothing, and body says why.
func (s *TestServer) Page() (status int, header http.Header, body string) {
	s.mu.Lock()
	p := s.page
	s.mu.Unlock()
	if p == nil {
		return 0, nil, "no browser was opened"
	}
	<-p.done
	return p.status, p.header, p.body
}

// IssueRefreshToken is a sign-in without a browser.
func (s *TestServer) IssueRefreshToken(scopes ...string) string {
	defer s.lock()()
	return s.issuePerson(&tokenFamily{scopes: scopes, offline: true}, scopes)["refresh_token"].(string)
}

// RevokeAll makes every token and code worthless: refreshing answers invalid_grant.
func (s *TestServer) RevokeAll() {
	defer s.lock()()
	clear(s.access)
	for _, g := range s.refresh {
		g.revoked = true
	}
	for _, c := range s.codes {
		c.revoked = true
	}
}

// ExpireAccessTokens makes every access token worthless, before its time: a resource answers 401.
func (s *TestServer) ExpireAccessTokens() { defer s.lock()(); clear(s.access) }

// plainBrowser has no jar, keeps nothing open and follows nothing.
func plainBrowser() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func hasDuplicates(v url.Values) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(v)), func(values []string) bool { return len(values) != 1 })
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// signClaims makes a compact RS256 JWS.
func signClaims(key *rsa.PrivateKey, header, claims map[string]any) string {
	h, err1 := json.Marshal(header)
	c, err2 := json.Marshal(claims)
	input := rawBase64.EncodeToString(h) + "." + rawBase64.EncodeToString(c)
	sum := sha256.Sum256([]byte(input))
	signature, err3 := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err := errors.Join(err1, err2, err3); err != nil {
		panic(err)
	}
	return input + "." + rawBase64.EncodeToString(signature)
}

// verifiedParts checks the form and the signature of a compact RS256 JWS.
func verifiedParts(raw string, key *rsa.PublicKey) (header, claims map[string]any, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || key == nil {
		return nil, nil, errors.New("not a JWT, or no key registered")
	}
	h, err1 := rawBase64.DecodeString(parts[0])
	c, err2 := rawBase64.DecodeString(parts[1])
	signature, err3 := rawBase64.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err1 != nil || err2 != nil || err3 != nil || json.Unmarshal(h, &header) != nil ||
		json.Unmarshal(c, &claims) != nil {
		return nil, nil, errors.New("not a JWT")
	}
	typ := header["typ"]
	if header["alg"] != "RS256" || header["crit"] != nil ||
		typ != nil && typ != "JWT" && typ != "client-authentication+jwt" {
		return nil, nil, errors.New("header of the JWT")
	}
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
		return nil, nil, errors.New("signature of the JWT")
	}
	return header, claims, nil
}

// plainClient is a plain client of a memory server, for the server's own test.
type plainClient struct {
	*TestServer
	t    *testing.T
	auth []string // pairs added to every form
}

var (
	clientInForm   = []string{"client_id", "client-1.example", "client_secret", "cs-1-secret"}
	clientInHeader = []string{
		"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("client-1.example:cs-1-secret")),
	}
)

// post sends a form of pairs, of which "Authorization" is the header, and checks the shape of the answer.
func (c *plainClient) post(path string, pairs ...string) (answer map[string]any) {
	form := url.Values{}
	for pair := range slices.Chunk(slices.Concat(pairs, c.auth), 2) {
		form.Add(pair[0], pair[1])
	}
	authorization := form.Get("Authorization")
	form.Del("Authorization")
	r := httptest.NewRequest("POST", c.URL+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	resp, err := c.Transport().RoundTrip(r)
	if err != nil {
		c.t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(body, &answer); err != nil && len(body) > 0 ||
		(resp.StatusCode == 200) == (answer["error"] != nil) || resp.Header.Get("Cache-Control") != "no-store" {
		c.t.Fatalf("%s: %s, %s", path, resp.Status, body)
	}
	return answer
}

// code plays a sign-in and returns the form of its exchange.
func (c *plainClient) code(verifier, redirect string) []string {
	location, err := c.Authorize(c.URL + "/authorize?" + authorizeQuery().Encode())
	u, err2 := url.Parse(location)
	if err != nil || err2 != nil || u.Query().Get("state") != "s" || u.Query().Get("iss") != c.URL {
		c.t.Fatal(location, err, err2)
	}
	return []string{
		"grant_type", "authorization_code", "code", u.Query().Get("code"),
		"redirect_uri", redirect, "code_verifier", verifier,
	}
}

func (c *plainClient) exchange(verifier, redirect string) any {
	return c.post("/token", c.code(verifier, redirect)...)["error"]
}

func (c *plainClient) refresh(token any, more ...string) map[string]any {
	return c.post("/token", append(more, "grant_type", "refresh_token", "refresh_token", fmt.Sprint(token))...)
}

// userinfo is the status of a request with the access token of an answer.
func (c *plainClient) userinfo(answer map[string]any) int {
	r := httptest.NewRequest("GET", c.URL+"/userinfo", nil)
	r.Header.Set("Authorization", fmt.Sprint("Bearer ", answer["access_token"]))
	resp, err := c.Transport().RoundTrip(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode
}

// assertion is one with one claim changed, for either use.
func (c *plainClient) assertion(claim string, value any) string {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": c.ClientID, "sub": c.ClientID, "aud": c.URL + "/token", "iat": now, "exp": now + 3600, "jti": "j",
		"scope": "a",
	}
	claims[claim] = value
	return signClaims(serverKey(), map[string]any{"alg": "RS256"}, claims)
}

func (c *plainClient) bearer(claim string, value any) any {
	c.auth = nil
	return c.post("/token", "grant_type", jwtBearerGrant, "assertion", c.assertion(claim, value))["error"]
}

func authorizeQuery() url.Values {
	sum := sha256.Sum256([]byte(strings.Repeat("v", 43)))
	return url.Values{
		"response_type":         {"code"},
		"client_id":             {"client-1.example"},
		"redirect_uri":          {"http://127.0.0.1:8000/"},
		"state":                 {"s"},
		"scope":                 {"openid"},
		"nonce":                 {"n"},
		"code_challenge":        {rawBase64.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"},
	}
}

// TestServerIsStrict shows that the server, on which all other tests rely, refuses what it should, and no more.
func TestServerIsStrict(t *testing.T) {
	for _, tt := range slices.Concat(strictCodes(), strictClients()) {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &plainClient{NewMemoryServer(), t, clientInForm}
				c.ClientKey, c.AssertionKey = &serverKey().PublicKey, &serverKey().PublicKey
				if got := tt.try(c); got != tt.want {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
	checkAuthorizeIsStrict(t)
}

// A strictness is something that a client does, and what comes of it: mostly an error code, or nil.
type strictness struct {
	name string
	want any
	try  func(c *plainClient) any
}

// Codes and the tokens that come of them.
func strictCodes() []strictness {
	const redirect = "http://127.0.0.1:8000/"
	verifier, wrong := strings.Repeat("v", 43), strings.Repeat("w", 43)
	return []strictness{
		{"right code", nil, func(c *plainClient) any { return c.exchange(verifier, redirect) }},
		{"wrong verifier", "invalid_grant", func(c *plainClient) any { return c.exchange(wrong, redirect) }},
		{"short verifier", "invalid_request", func(c *plainClient) any { return c.exchange("v", redirect) }},
		{"wrong redirect", "invalid_grant", func(c *plainClient) any { return c.exchange(verifier, redirect+"x") }},
		{"expired code", "invalid_grant", func(c *plainClient) any {
			form := c.code(verifier, redirect)
			time.Sleep(10 * time.Minute)
			return c.post("/token", form...)["error"]
		}},
		{"reused code", "200 invalid_grant 401 1", func(c *plainClient) any {
			form := c.code(verifier, redirect)
			first := c.post("/token", form...)
			before, again := c.userinfo(first), c.post("/token", form...)["error"]
			return fmt.Sprint(before, " ", again, " ", c.userinfo(first), c.CodeReuses())
		}},
		{"right refresh token", "200 invalid_grant", func(c *plainClient) any {
			token := c.IssueRefreshToken("a")
			status := c.userinfo(c.refresh(token))
			c.RevokeAll()
			return fmt.Sprint(status, " ", c.refresh(token)["error"])
		}},
		{"reused refresh token", "invalid_grant, and its family: invalid_grant 1", func(c *plainClient) any {
			c.Rotate = true
			first := c.IssueRefreshToken("a")
			second := c.refresh(first)["refresh_token"]
			again, family := c.refresh(first)["error"], c.refresh(second)["error"]
			return fmt.Sprint(again, ", and its family: ", family, " ", c.Reuses())
		}},
		{"revoked refresh token", "invalid_grant", func(c *plainClient) any {
			token := c.IssueRefreshToken("a")
			c.post("/revoke", "token", token)
			return c.refresh(token)["error"]
		}},
		{"more scopes", "invalid_scope", func(c *plainClient) any {
			return c.refresh(c.IssueRefreshToken("a"), "scope", "a b")["error"]
		}},
		{"expired token", "200 401", func(c *plainClient) any {
			answer := c.refresh(c.IssueRefreshToken("a"))
			time.Sleep(time.Hour - 1)
			before := c.userinfo(answer)
			time.Sleep(time.Nanosecond)
			return fmt.Sprint(before, c.userinfo(answer))
		}},
	}
}

// Ways to authenticate, and grants without a user or on another device.
func strictClients() []strictness {
	const redirect = "http://127.0.0.1:8000/"
	verifier := strings.Repeat("v", 43)
	return []strictness{
		{
			name: "two authentications",
			want: "invalid_request",
			try: func(c *plainClient) any {
				c.auth = slices.Concat(clientInForm, clientInHeader)
				return c.exchange(verifier, redirect)
			},
		},
		{
			name: "another authentication",
			want: "invalid_client",
			try:  func(c *plainClient) any { c.auth = clientInHeader; return c.exchange(verifier, redirect) },
		},
		{
			name: "no authentication",
			want: "invalid_client",
			try:  func(c *plainClient) any { c.auth = clientInForm[:2]; return c.exchange(verifier, redirect) },
		},
		{
			name: "right basic",
			try: func(c *plainClient) any {
				c.AuthMethod, c.auth = "client_secret_basic", clientInHeader
				return c.exchange(verifier, redirect)
			},
		},
		{
			name: "basic, not form-encoded",
			want: "invalid_client",
			try: func(c *plainClient) any {
				c.AuthMethod, c.ClientSecret = "client_secret_basic", "p/w"
				pair := base64.StdEncoding.EncodeToString([]byte("client-1.example:p/w"))
				c.auth = []string{"Authorization", "Basic " + pair}
				return c.exchange(verifier, redirect)
			},
		},
		{
			name: "reused client assertion",
			want: "<nil> invalid_client",
			try: func(c *plainClient) any {
				c.AuthMethod = "private_key_jwt"
				c.auth = []string{
					"client_assertion_type", jwtBearerAssertion, "client_assertion", c.assertion("x", 1),
				}
				first := c.post("/token", "grant_type", "client_credentials")["error"]
				return fmt.Sprint(first, " ", c.post("/token", "grant_type", "client_credentials")["error"])
			},
		},
		{
			name: "public client alone",
			want: "unauthorized_client",
			try: func(c *plainClient) any {
				c.AuthMethod, c.auth = "none", clientInForm[:2]
				return c.post("/token", "grant_type", "client_credentials")["error"]
			},
		},
		{
			name: "duplicate",
			want: "invalid_request",
			try:  func(c *plainClient) any { return c.post("/token", clientInForm...)["error"] },
		},
		{
			name: "query",
			want: "invalid_request",
			try:  func(c *plainClient) any { return c.post("/token?a=b")["error"] },
		},
		{name: "right bearer", try: func(c *plainClient) any { return c.bearer("x", 1) }},
		{
			name: "bearer for another",
			want: "invalid_grant",
			try:  func(c *plainClient) any { return c.bearer("aud", "https://evil.example/token") },
		},
		{
			name: "bearer for too long",
			want: "invalid_grant",
			try:  func(c *plainClient) any { return c.bearer("exp", time.Now().Unix()+3601) },
		},
		{
			name: "bearer with another key",
			want: "invalid_grant",
			try:  func(c *plainClient) any { c.AssertionKey = nil; return c.bearer("x", 1) },
		},
		{
			name: "device",
			want: "authorization_pending slow_down authorization_pending <nil> ",
			try: func(c *plainClient) any {
				c.DeviceScript = []string{"authorization_pending", "authorization_pending", "ok"}
				code := fmt.Sprint(c.post("/device")["device_code"])
				form, words := []string{"grant_type", deviceCodeGrant, "device_code", code}, ""
				for _, wait := range []time.Duration{0, 5*time.Second - 1, 10 * time.Second, 10 * time.Second} {
					time.Sleep(wait)
					words += fmt.Sprint(c.post("/token", form...)["error"], " ")
				}
				return words
			},
		},
	}
}

// checkAuthorizeIsStrict asks the authorization endpoint, over a socket, for what it must not do.
func checkAuthorizeIsStrict(t *testing.T) {
	t.Helper()
	const page = "the authorization endpoint answered 400 Bad Request"
	s := NewTestServer(t)
	for change, want := range map[string]string{
		"nonce=m":                              "",
		"state=":                               "invalid_request",
		"code_challenge=":                      "invalid_request",
		"code_challenge_method=plain":          "invalid_request",
		"response_type=token":                  "unsupported_response_type",
		"scope=a  b":                           "invalid_scope",
		"client_id=other":                      page,
		"redirect_uri=http://localhost:8000/":  page,
		"redirect_uri=http://127.0.0.1:8000/x": page,
		"redirect_uri=http://127.0.0.1:8000@evil.example/": page,
	} {
		q := authorizeQuery()
		name, value, _ := strings.Cut(change, "=")
		q.Set(name, value)
		location, err := s.Authorize(s.URL + "/authorize?" + q.Encode())
		u, _ := url.Parse(location)
		got := u.Query().Get("error")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", change, got, want)
		}
	}
}
