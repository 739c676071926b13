package oauth2

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What more than one test file uses. The authorization server has a file of its own, server_test.go, as have the
// processes that a test starts (fleet_test.go) and the certified server (interop_test.go).

// For how long keys are kept, whatever the issuer says.
const minKeysAge = 5 * time.Minute

// How a cache spaces its attempts after failures.
const (
	firstBackoff   = time.Second
	longestBackoff = time.Minute
)

// A roundTripFunc is an http.RoundTripper. Like any, it closes the request's body.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f(req)
	if req.Body != nil {
		req.Body.Close()
	}
	if resp != nil && resp.Request == nil {
		resp.Request = req
	}
	return resp, err
}

// response returns a response whose body is a *trackedBody. header has names and values in turn.
func response(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for pair := range slices.Chunk(header, 2) {
		h.Set(pair[0], pair[1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: newTrackedBody(body)}
}

// answering answers every request in the same way. header is "Name: value", or empty.
func answering(status int, header, body string) roundTripFunc {
	return func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			io.Copy(io.Discard, req.Body)
		}
		name, value, _ := strings.Cut(header, ": ")
		return response(status, body, name, value), nil
	}
}

// tokenAnswer is what a token endpoint says when all is well.
const tokenAnswer = `{"access_token":"at-1","token_type":"Bearer","expires_in":3600}`

// A requestRecorder keeps what was sent.
type requestRecorder struct {
	answer   roundTripFunc
	requests []*http.Request
	bodies   []string
}

func (r *requestRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.requests, r.bodies = append(r.requests, req), append(r.bodies, string(body))
	return r.answer.RoundTrip(req)
}

// A trackedBody counts how often it is closed, and how many bytes of it are read.
type trackedBody struct {
	io.Reader
	closed, read atomic.Int64
}

func (b *trackedBody) Close() error { b.closed.Add(1); return nil }

func (b *trackedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func newTrackedBody(s string) *trackedBody { return &trackedBody{Reader: strings.NewReader(s)} }

// endlessSpaces is a Reader without an end.
type endlessSpaces struct{}

func (endlessSpaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// certificates makes certificates, some of them bad, as of the time in a bubble.
var certificates = sync.OnceValue(func() *testCertificates {
	all := &testCertificates{roots: x509.NewCertPool()}
	make := func(host string, years int) tls.Certificate {
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		start := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: start, NotAfter: start.AddDate(years, 0, 0),
			DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			panic(err)
		}
		leaf, _ := x509.ParseCertificate(der)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	all.good, all.unknownCA = make("as.example", 110), make("as.example", 110)
	all.expired, all.wrongHost = make("as.example", 5), make("other.example", 110)
	for _, c := range []tls.Certificate{all.good, all.expired, all.wrongHost} {
		all.roots.AddCert(c.Leaf)
	}
	return all
})

type testCertificates struct {
	roots                               *x509.CertPool
	good, expired, wrongHost, unknownCA tls.Certificate
}

// clientOf returns the client that s has registered.
func clientOf(s *TestServer) *ClientSecrets {
	c := &ClientSecrets{ClientID: s.ClientID, ClientSecret: NewSecret(s.ClientSecret), AuthMethod: s.AuthMethod,
		AuthURI: s.URL + "/authorize", TokenURI: s.URL + "/token"}
	if s.server == nil {
		c.HTTPClient = &http.Client{Transport: s.Transport()}
	}
	return c
}

// fileClientOf returns the client that s has registered, as its client_secrets.json describes it, with the issuer.
func fileClientOf(t testing.TB, s *TestServer, kind string) *ClientSecrets {
	t.Helper()
	c, err := ParseClientSecrets(s.ClientSecretsJSON(kind))
	if err != nil {
		t.Fatal(err)
	}
	c.Issuer, c.HTTPClient = s.URL, clientOf(s).HTTPClient
	return c
}

// clientOver returns a client that reaches its endpoints through transport, and has a secret that no text may show.
func clientOver(transport http.RoundTripper) *ClientSecrets {
	return &ClientSecrets{
		ClientID:     "client",
		ClientSecret: NewSecret(canaryClientSecret),
		AuthMethod:   "client_secret_post",
		AuthURI:      "https://as.example/auth",
		TokenURI:     "https://as.example/token",
		HTTPClient:   &http.Client{Transport: transport},
	}
}

// credentialsOf returns the credentials of a user who has granted scopes to the client of s.
func credentialsOf(s *TestServer, scopes ...string) *Credentials {
	return NewCredentials(clientOf(s), NewSecret(s.IssueRefreshToken(scopes...)))
}

// startedFlow returns a flow whose user is about to sign in. No text may show its verifier.
func startedFlow(t testing.TB, client *ClientSecrets) *Flow {
	t.Helper()
	f := NewFlow(client)
	f.RedirectURI = "http://127.0.0.1/"
	if _, err := f.AuthorizationURL(); err != nil {
		t.Fatal(err)
	}
	f.attempt.Load().verifier = NewSecret(canaryVerifier)
	return f
}

// onlyExchange returns the form of the only code exchange that s has seen.
func onlyExchange(t testing.TB, s *TestServer) url.Values {
	t.Helper()
	if n := s.TokenRequests("authorization_code"); n != 1 {
		t.Fatalf("%d code exchanges, want 1", n)
	}
	isExchange := func(r RecordedRequest) bool { return r.Form.Get("grant_type") == "authorization_code" }
	requests := s.Requests()
	return requests[slices.IndexFunc(requests, isExchange)].Form
}

// staticSource is a TokenSource of a program that always has the same token.
type staticSource struct{ token *Token }

func (s staticSource) Token(context.Context) (*Token, error) { return s.token, nil }

func sourceOf(tok *Token) TokenSource { return staticSource{tok} }

// fixedSource always has the token "tok".
var fixedSource = sourceOf(&Token{AccessToken: NewSecret("tok")})

// countingSource is a token source as a program writes one, which caches nothing. next gets the number of the call,
// from 1.
type countingSource struct {
	calls atomic.Int64
	next  func(ctx context.Context, n int64) (*Token, error)
}

func (s *countingSource) Token(ctx context.Context) (*Token, error) {
	return s.next(ctx, s.calls.Add(1))
}

// numberedTokens is a source whose tokens, "1", "2" and so on, live for life; 0: for an unknown time.
func numberedTokens(life time.Duration) *countingSource {
	return &countingSource{next: func(_ context.Context, n int64) (*Token, error) {
		return numberedToken(n, life), nil
	}}
}

func numberedToken(n int64, life time.Duration) *Token {
	t := &Token{AccessToken: NewSecret(fmt.Sprint(n))}
	if life != 0 {
		t.Expiry = time.Now().Add(life)
	}
	return t
}

// tokenOrError returns the text of the token that src has, or of its error.
func tokenOrError(ctx context.Context, src TokenSource) string {
	t, err := src.Token(ctx)
	if err != nil {
		return err.Error()
	}
	return t.AccessToken.Reveal()
}

// askAtOnce asks src n times at once and returns what each caller was told, without repetitions.
func askAtOnce(ctx context.Context, n int, src TokenSource) []string {
	got := make([]string, n)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = tokenOrError(ctx, src) })
	}
	wg.Wait()
	slices.Sort(got)
	return slices.Compact(got)
}

// keepAsking asks src for a token every so often for d, within a bubble, and returns how often there was none.
func keepAsking(t testing.TB, src TokenSource, every, d time.Duration) (failed int) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		if _, err := src.Token(t.Context()); err != nil {
			failed++
		}
	}
	return failed
}

// What is planted in requests, and must show in no error. The characters are those that encodings change.
const (
	canaryRefreshToken = `SENTINEL-RT/+%&<"\`
	canaryCode         = `SENTINEL-CODE/+%&<"\`
	canaryVerifier     = `SENTINEL-VERIFIER-0123456789012345678901234`
	canaryClientSecret = `SENTINEL-SECRET/+%&<"\`
	canaryAccessToken  = `SENTINEL-AT/+%&<"\`
)

var canaries = []string{canaryRefreshToken, canaryCode, canaryVerifier, canaryClientSecret, canaryAccessToken}

// noSecret fails t if v shows one of secrets, by whatever a program may print, log or encode v with: alone, behind a
// pointer, in fields, maps and slices, and each error that v wraps. A secret may show as it is, in hex, base64
// (at any alignment), as numbers, or escaped for a URL, JSON or Go.
func noSecret(t testing.TB, v any, secrets ...string) {
	t.Helper()
	texts := printedForms(v)
	all := strings.Join(texts, "\n")
	for _, secret := range secrets {
		if len(secret) < 8 {
			t.Fatalf("%q is too short to be looked for", secret)
		}
		for _, form := range secretForms(secret) {
			if !strings.Contains(all, form) {
				continue
			}
			for _, text := range texts {
				if strings.Contains(text, form) {
					t.Errorf("%T shows %q as %q in: %.600s", v, secret, form, text)
					break
				}
			}
			break
		}
	}
}

func secretForms(secret string) []string {
	b := []byte(secret)
	goQuoted := strconv.Quote(secret)
	asJSON, _ := json.Marshal(secret)
	var plainJSON bytes.Buffer
	encoder := json.NewEncoder(&plainJSON)
	encoder.SetEscapeHTML(false)
	encoder.Encode(secret)
	var asXML bytes.Buffer
	xml.EscapeText(&asXML, b)
	forms := []string{
		secret, goQuoted[1 : len(goQuoted)-1], string(asJSON[1 : len(asJSON)-1]),
		strings.Trim(plainJSON.String(), "\"\n"), asXML.String(),
		url.QueryEscape(secret), url.PathEscape(secret), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"),
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), fmt.Sprintf("% x", b), fmt.Sprintf("% X", b),
		strings.Trim(fmt.Sprint(b), "[]"), strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}"),
		strings.Trim(fmt.Sprintf("%U", []rune(secret)), "[]"),
	}
	for shift := range 3 { // base64 of a text that has the secret somewhere
		padded := append(make([]byte, shift), b...)
		from, to := (8*shift+5)/6, len(padded)*8/6
		forms = append(forms, base64.StdEncoding.EncodeToString(padded)[from:to],
			base64.URLEncoding.EncodeToString(padded)[from:to])
	}
	return forms
}

func printedForms(v any) (texts []string) {
	type exported struct{ V any }
	type unexported struct{ v any }
	values := []any{
		v, exported{v}, unexported{v}, &exported{v}, &unexported{v}, map[string]any{"k": v}, []any{v}, [1]any{v}, &v,
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() { // reflection copies what vet would not
		e := r.Elem().Interface()
		values = append(values, e, exported{e}, unexported{e}, map[string]any{"k": e}, []any{e})
	} else if r.IsValid() && r.Kind() != reflect.Pointer {
		p := reflect.New(r.Type())
		p.Elem().Set(r)
		values = append(values, p.Interface(), unexported{p.Interface()})
	}
	verbs := []string{
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%c", "%U", "%o", "%b", "%e", "%g", "%p", "%T",
		"%20.9v", "%#q",
	}
	for _, x := range values {
		for _, verb := range verbs {
			texts = append(texts, fmt.Sprintf(verb, x))
		}
		switch p := x.(type) { // what the runtime prints of a panic
		case error:
			texts = append(texts, p.Error())
		case fmt.Stringer:
			texts = append(texts, p.String())
		}
		var logged bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
			slog.New(h).With("with", x).WithGroup("group").Info("message", "key", x, slog.Group("inner", "key", x))
		}
		texts = append(texts, logged.String())
		for _, encode := range []func(any) ([]byte, error){json.Marshal, xml.Marshal, encodeGob} {
			b, err := encode(x)
			texts = append(texts, string(b), fmt.Sprint(err))
		}
	}
	switch w := v.(type) {
	case interface{ Unwrap() error }:
		if inner := w.Unwrap(); inner != nil {
			texts = append(texts, printedForms(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range w.Unwrap() {
			texts = append(texts, printedForms(inner)...)
		}
	}
	return texts
}

func encodeGob(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// checkHoldsNoRequest fails t if v leads to a request or an answer, which have secrets. // S6
func checkHoldsNoRequest(t *testing.T, v reflect.Value, been map[any]bool) {
	if !v.IsValid() {
		return
	}
	switch v.Type() {
	case reflect.TypeFor[http.Request](), reflect.TypeFor[http.Response](), reflect.TypeFor[http.Header](),
		reflect.TypeFor[url.Values](), reflect.TypeFor[url.URL]():
		t.Errorf("the error holds a %v", v.Type())
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.Kind() == reflect.Pointer && been[v.Pointer()] {
			return
		} else if v.Kind() == reflect.Pointer {
			been[v.Pointer()] = true
		}
		checkHoldsNoRequest(t, v.Elem(), been)
	case reflect.Struct:
		for i := range v.NumField() {
			checkHoldsNoRequest(t, v.Field(i), been)
		}
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k == reflect.Uint8 || k == reflect.Uint {
			return
		}
		for i := range v.Len() {
			checkHoldsNoRequest(t, v.Index(i), been)
		}
	}
}

// errorSays reports whether err is an error with this text in it.
func errorSays(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// unprintable reports whether s has anything but letters, digits and signs of ASCII, and spaces.
func unprintable(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// privateDir returns a new folder that only the user may read and write, whatever the umask. A store accepts no other.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Files as others write them. The values are made up.
const (
	// google-auth 2.48, Credentials.to_json().
	pythonFile = `{"token": "ya29.made-up", "refresh_token": "1//made-up",
		"token_uri": "https://oauth2.googleapis.com/token",
		"client_id": "1-made-up.apps.googleusercontent.com", "client_secret": "made-up-secret",
		"scopes": ["openid", "https://www.googleapis.com/auth/drive"],
		"universe_domain": "googleapis.com", "account": "", "expiry": "2040-08-14T15:54:01.123456Z"}`
	// google-oauthlib-tool --save.
	toolFile = `{"refresh_token": "1//made-up", "token_uri": "https://oauth2.googleapis.com/token",
		"client_id": "1-made-up.apps.googleusercontent.com", "client_secret": "made-up-secret", "scopes": ["openid"]}`
	// gcloud auth application-default login.
	gcloudUserFile = `{
  "account": "",
  "client_id": "1-made-up.apps.googleusercontent.com",
  "client_secret": "made-up-secret",
  "quota_project_id": "project-1",
  "refresh_token": "1//made-up",
  "type": "authorized_user",
  "universe_domain": "googleapis.com"
}`
)

// credentialsText is all that there is to know of credentials, as a text to compare.
func credentialsText(c *Credentials) string {
	t := c.cache.current.Load()
	client := *c.client
	rest := stored{}
	if p := c.rest.Load(); p != nil {
		rest = *p
	}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(rest.unknown)) {
		var text bytes.Buffer
		json.Compact(&text, []byte(rest.unknown[name]))
		var escaped bytes.Buffer
		json.HTMLEscape(&escaped, text.Bytes())
		unknown = append(unknown, name+"="+escaped.String())
	}
	return fmt.Sprintf("client %q %q %q %q %q %q; token %q %q %q %v %q; scopes %q; granted %v, quota %q, unknown %q",
		client.ClientID, client.ClientSecret.Reveal(), client.TokenURI,
		client.Issuer, client.RevocationURI, client.AuthMethod,
		t.AccessToken.Reveal(), t.RefreshToken.Reveal(), t.IDToken.Reveal(), t.Expiry.UTC(), t.Scopes,
		strings.Fields(c.scope), rest.granted, rest.quotaProject, unknown)
}

// checkPythonReads checks a file by the rules of google-auth's from_authorized_user_info, which gcloud has too.
func checkPythonReads(t *testing.T, data []byte) {
	t.Helper()
	var file map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"refresh_token", "client_id", "client_secret"} {
		if _, ok := file[name].(string); !ok {
			t.Errorf("%s is not there, or no string", name)
		}
	}
	if file["type"] != "authorized_user" {
		t.Errorf("type is %v", file["type"])
	}
	utc := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$`)
	if expiry, ok := file["expiry"]; ok && !utc.MatchString(fmt.Sprint(expiry)) {
		t.Errorf("expiry is %v", expiry)
	}
	if scopes, ok := file["scopes"]; ok && reflect.TypeOf(scopes) != reflect.TypeFor[[]any]() {
		t.Errorf("scopes is %v", scopes)
	}
}

// otherKey is a second key, generated once a process.
var otherKey = sync.OnceValue(func() *rsa.PrivateKey { return generateKey(2048) })

func generateKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

// hmacSHA256 is the HMAC of a text. A short secret gets the zeros that HMAC gives it anyway: in FIPS mode, Go refuses to.
func hmacSHA256(secret []byte, text string) []byte {
	if missing := sha256.BlockSize - len(secret); missing > 0 {
		secret = append(slices.Clip(secret), make([]byte, missing)...)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// weakKey returns a key of 1024 bits, which is too short for the package. Go no longer makes such a key in FIPS mode.
func weakKey() *rsa.PrivateKey {
	number := func(text string) *big.Int {
		n, _ := new(big.Int).SetString(text, 16)
		return n
	}
	p := number("ea6e97ff81b140b92ba57d0f4b9b0ea0b2aff4120cdefdf4aaf45a0516815485" +
		"72c84b96b08591082ac2f11b14e4bf19854a2ba0b6aa9be9e124b2176834feb5")
	q := number("e3ee0492f1a1ed67891f64ebf6f82126ef8321c366ae07b48b4a079e6bd5f90b" +
		"d23bda63b0dbae88924c93acc69036f71eaf898208351905952925f20ead5ce5")
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{Primes: []*big.Int{p, q}}
	key.N, key.E = new(big.Int).Mul(p, q), 65537
	key.D = new(big.Int).ModInverse(big.NewInt(65537), phi)
	key.Precompute()
	return key
}

// keyServer serves a key set in memory and records what is asked for.
type keyServer struct {
	mu     sync.Mutex
	body   string
	cache  string // Cache-Control
	status int    // zero: 200
	err    error
	block  chan struct{} // nil, or what answers wait for
	urls   []string
}

func (k *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	block := k.block
	k.urls = append(k.urls, r.URL.String())
	k.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	resp := response(200, k.body)
	if k.status != 0 {
		resp.StatusCode = k.status
		resp.Header.Set("Location", "https://evil.example/keys")
	}
	if k.cache != "" {
		resp.Header.Set("Cache-Control", k.cache)
	}
	return resp, nil
}

// set changes what is served.
func (k *keyServer) set(change func()) { k.mu.Lock(); defer k.mu.Unlock(); change() }

func (k *keyServer) count() int { k.mu.Lock(); defer k.mu.Unlock(); return len(k.urls) }

func serveKeys(keys ...string) *keyServer { return &keyServer{body: keySetJSON(keys...)} }

func keySetJSON(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func verifierWith(keys http.RoundTripper) *IDTokenVerifier {
	return &IDTokenVerifier{
		Issuer:     "https://as.example",
		Audience:   "client-1.example",
		KeysURI:    "https://as.example/keys",
		HTTPClient: &http.Client{Transport: keys},
	}
}

// claimsJSON are good claims, changed as by jwkJSON.
func claimsJSON(pairs ...string) string {
	now := time.Now().Unix()
	return jsonObject(map[string]string{"iss": `"https://as.example"`, "aud": `"client-1.example"`, "sub": `"user-1"`,
		"iat": fmt.Sprint(now), "exp": fmt.Sprint(now + 3600)}, pairs)
}

func headerJSON(pairs ...string) string {
	return jsonObject(map[string]string{"alg": `"RS256"`, "typ": `"JWT"`, "kid": `"k1"`}, pairs)
}

// jwkJSON is a key of a set; pairs replace or add members, as JSON, and "" drops one.
func jwkJSON(kid string, key *rsa.PublicKey, pairs ...string) string {
	return jsonObject(map[string]string{"kty": `"RSA"`, "kid": `"` + kid + `"`, "use": `"sig"`, "alg": `"RS256"`,
		"n": `"` + rawBase64.EncodeToString(key.N.Bytes()) + `"`, "e": `"AQAB"`}, pairs)
}

func jsonObject(members map[string]string, pairs []string) string {
	for pair := range slices.Chunk(pairs, 2) {
		members[pair[0]] = pair[1]
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] != "" {
			texts = append(texts, `"`+name+`":`+members[name])
		}
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// signJWT signs any two texts as they are.
func signJWT(key *rsa.PrivateKey, header, payload string) string {
	input := rawBase64.EncodeToString([]byte(header)) + "." + rawBase64.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + rawBase64.EncodeToString(sig)
}

func goodJWT(pairs ...string) string { return signJWT(serverKey(), headerJSON(), claimsJSON(pairs...)) }

const serviceAccountEmail = "robot@project-1.iam.gserviceaccount.com"

// serviceAccountFile is the file of a service account of as.example, with the members of change in it; nil drops one.
func serviceAccountFile(change map[string]any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(serverKey())
	if err != nil {
		panic(err)
	}
	members := map[string]any{
		"type":                        "service_account",
		"project_id":                  "project-1",
		"private_key_id":              "key-1",
		"private_key":                 pemText("PRIVATE KEY", der),
		"client_email":                serviceAccountEmail,
		"client_id":                   "1",
		"auth_uri":                    "https://as.example/authorize",
		"token_uri":                   "https://as.example/token",
		"auth_provider_x509_cert_url": "https://as.example/certs",
		"universe_domain":             "googleapis.com",
	}
	maps.Copy(members, change)
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return data
}

// serviceAccountServer is a server in memory, and an account of it.
func serviceAccountServer(t *testing.T, scopes ...string) (*TestServer, *ServiceAccountCredentials) {
	t.Helper()
	s := NewMemoryServer()
	s.AssertionKey, s.AssertionKID, s.AssertionIss = &serverKey().PublicKey, "key-1", serviceAccountEmail
	sa, err := ParseServiceAccount(serviceAccountFile(nil), scopes...)
	if err != nil {
		t.Fatal(err)
	}
	sa.HTTPClient = &http.Client{Transport: s.Transport()}
	return s, sa
}

func pemText(typ string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

// A packageSource is the source of the package, without its tests.
type packageSource struct {
	fset  *token.FileSet
	files map[string]*ast.File
	text  map[string]string
	info  *types.Info
}

func (s *packageSource) exportedTypes() (names []string) {
	for id, obj := range s.info.Defs {
		if _, ok := obj.(*types.TypeName); ok && id.IsExported() && obj.Parent() == obj.Pkg().Scope() {
			names = append(names, id.Name)
		}
	}
	return names
}

// sourceOfPackage returns the source of the package, for tests of what it must not have.
func sourceOfPackage(t testing.TB) *packageSource {
	t.Helper()
	s, err := parsePackage()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signedInAt returns Credentials as a sign-in at s that asked for scopes leaves them, with tok.
func signedInAt(s *TestServer, tok *Token, scopes ...string) *Credentials {
	creds := &Credentials{client: clientOf(s), scope: joinScopes(scopes)}
	creds.rest.Store(&stored{granted: true})
	creds.cache.keep(tok)
	return creds
}

var parsePackage = sync.OnceValues(func() (*packageSource, error) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		return nil, err
	}
	s := &packageSource{fset: token.NewFileSet(), files: map[string]*ast.File{}, text: map[string]string{},
		info: &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s.text[name] = string(data)
		s.files[name], err = parser.ParseFile(s.fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
	}
	if len(s.files) < 7 {
		return nil, fmt.Errorf("the source is not here: %q", names)
	}
	conf := types.Config{Error: func(error) {}} // imports are not resolved, which is enough for names
	conf.Check("oauth2", s.fset, slices.Collect(maps.Values(s.files)), s.info)
	return s, nil
})

// waitAsked returns the RetryAfter of a refusal with the header Retry-After.
func waitAsked(header string) time.Duration {
	resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {header}}, Request: new(http.Request)}
	a := &answer{request: new(request), Response: resp}
	return a.refusal().RetryAfter
}
