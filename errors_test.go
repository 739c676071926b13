package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Errors that meet the world: W60 to W65 of the threat model.

// Where the name of a file is wanted, its content is not quoted. // W60
func TestContentInPlaceOfName(t *testing.T) {
	startMetadata(t) // and an environment without credentials
	t.Chdir(t.TempDir())
	key := string(serviceAccountFile(nil))
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(key), "", "  "); err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{
		"a key":            key,
		"indented":         indented.String(),
		"with spaces":      "   " + key,
		"with a tab":       "\t" + key,
		"with a line end":  "\n" + key,
		"a user":           `{"client_id":"SENTINEL-ID","refresh_token":"SENTINEL-RT"}`,
		"a user, indented": "{\n  \"refresh_token\": \"SENTINEL-RT\"\n}\n",
		"half of it":       key[len(key)/2:],
		"its first letter": "{",
		"lines":            "SENTINEL-RT\nSENTINEL-RT",
		"Mac's lines":      "SENTINEL-RT\rSENTINEL-RT",
		"a line":           "SENTINEL-RT\n",
		"long":             strings.Repeat("SENTINEL-RT/", 86)[:1025],
	}
	secrets := []string{
		"SENTINEL-RT", "SENTINEL-ID", "BEGIN PRIVATE KEY", serviceAccountEmail, key[len(key)/2 : len(key)/2+20],
	}
	for name, call := range callsWithFileNames(t) {
		for kind, content := range contents {
			err := call(content)
			if want := "oauth2: the name of the file holds the JSON, not the name of a file"; err == nil ||
				err.Error() != want {
				t.Errorf("%s, %s: %.200v", name, kind, err)
			}
			noSecret(t, err, secrets...)
		}
		// A name is named, so that the user can find the file.
		for _, file := range []string{
			"a{b}.json", "no such.json", strings.Repeat("n", 200), "a/" + strings.Repeat("n/", 400),
		} {
			if err := call(file); !errorSays(err, fmt.Sprintf("%q", file)) || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s, %.20s: %.200v", name, file, err)
			}
		}
	}
	if made, err := os.ReadDir("."); err != nil || len(made) > 0 {
		t.Errorf("made %v, %v", made, err)
	}
}

var errNoNetwork = errors.New("no network")

// callsWithFileNames are the ways in which a program says which file to read or write.
func callsWithFileNames(t *testing.T) map[string]func(name string) error {
	return map[string]func(name string) error{
		"ReadClientSecretsFile":  func(name string) error { return errorOf(ReadClientSecretsFile(name)) },
		"ReadServiceAccountFile": func(name string) error { return errorOf(ReadServiceAccountFile(name)) },
		"GOOGLE_APPLICATION_CREDENTIALS": func(name string) error {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
			_, _, err := DefaultCredentials(t.Context())
			return err
		},
	}
}

// A FileStore says so when it is used. // W60
func TestContentInPlaceOfStore(t *testing.T) {
	t.Chdir(t.TempDir())
	const want = "oauth2: the name of the file holds the JSON, not the name of a file"
	for _, content := range []string{
		`{"refresh_token":"SENTINEL-RT"}`, ` {"refresh_token":"SENTINEL-RT"}`, "SENTINEL-RT\n", `{a/b/SENTINEL-RT`,
		strings.Repeat("SENTINEL-RT/", 86)[:1025],
	} {
		store := FileStore(content)
		client := clientOver(nil)
		creds := NewCredentials(client, NewSecret("r"))
		opened, _, signInErr := startedSignIn(t, NewInstalledAppFlow(client), store)
		if opened {
			t.Error("the browser was opened")
		}
		for name, err := range map[string]error{
			"Load":            errorOf(store.Load(t.Context())),
			"Update":          store.Update(t.Context(), neverCalled(t)),
			"LoadCredentials": errorOf(LoadCredentials(t.Context(), client, store)),
			"Save":            creds.Save(t.Context(), store),
			"SignIn":          signInErr,
		} {
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v", name, err)
			}
			noSecret(t, err, "SENTINEL-RT")
		}
	}
	if made, err := os.ReadDir("."); err != nil || len(made) > 0 {
		t.Errorf("made %v, %v", made, err)
	}
	// A name that has a brace in it, or is as long as names get, is a name.
	for _, name := range []string{"a{}.json", strings.Repeat("n", 200)} {
		store := FileStore(filepath.Join(privateDir(t), name))
		if data, err := store.Load(t.Context()); data != nil || err != nil {
			t.Errorf("%s: %s, %v", name, data, err)
		}
		if err := NewCredentials(clientOver(nil), NewSecret("r")).Save(t.Context(), store); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// spelledSecret has runs of letters and digits, and what encodings change, in each half.
const spelledSecret = `Zq4Wx8Kp/2Lm6+Vt%9Rb&<3Hn5Gd"7Jc1\Fs0Ty=`

// everyByte returns s with each byte written by format.
func everyByte(format, s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// wrapped returns s in lines of n bytes.
func wrapped(s string, n int, end string) string {
	var lines []string
	for line := range slices.Chunk([]byte(s), n) {
		lines = append(lines, string(line))
	}
	return strings.Join(lines, end)
}

// spellings are the ways in which a server repeats a secret.
var spellings = map[string]func(s string) string{
	"as it is":            func(s string) string { return s },
	"in capitals":         strings.ToUpper,
	"in small letters":    strings.ToLower,
	"form-encoded":        url.QueryEscape,
	"path-encoded":        url.PathEscape,
	"small percent":       func(s string) string { return strings.ToLower(url.QueryEscape(s)) },
	"twice percent":       func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"three times percent": func(s string) string { return url.QueryEscape(url.QueryEscape(url.QueryEscape(s))) },
	"every byte percent":  func(s string) string { return everyByte("%%%02X", s) },
	"every byte small":    func(s string) string { return everyByte("%%%02x", s) },
	"every byte twice":    func(s string) string { return everyByte("%%25%02X", s) },
	"JSON":                func(s string) string { b, _ := json.Marshal(s); return string(b) },
	`\/`:                  func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
	`every byte \u00`:     func(s string) string { return everyByte(`\u%04x`, s) },
	`every byte \U00`:     func(s string) string { return everyByte(`\u%04X`, s) },
	`every byte \x`:       func(s string) string { return everyByte(`\x%02x`, s) },
	"Go":                  strconv.Quote,
	"HTML":                html.EscapeString,
	"&#x2f;": func(s string) string {
		return strings.NewReplacer("/", "&#x2f;", "+", "&#x2B;", "&", "&amp;").Replace(s)
	},
	"every byte &#x":        func(s string) string { return everyByte("&#x%x;", s) },
	"every byte &#":         func(s string) string { return everyByte("&#%d;", s) },
	"HTML of percent":       func(s string) string { return html.EscapeString(everyByte("%%%02x", s)) },
	"HTML twice":            func(s string) string { return html.EscapeString(everyByte("&#x%x;", s)) },
	"wrapped":               func(s string) string { return wrapped(s, 5, "\n") },
	"wrapped, indented":     func(s string) string { return wrapped(s, 7, "\r\n    ") },
	"hyphenated":            func(s string) string { return wrapped(s, 4, "-\n") },
	"spaced":                func(s string) string { return wrapped(s, 1, " ") },
	"dotted":                func(s string) string { return wrapped(s, 3, "…") },
	"its first half":        func(s string) string { return s[:len(s)/2] },
	"its second half":       func(s string) string { return s[len(s)/2:] },
	"its first half, upper": func(s string) string { return strings.ToUpper(s[:len(s)/2]) },
	"its beginning":         func(s string) string { return s[:10] + "..." },
	"base64":                func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64url":             func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 in lines": func(s string) string {
		return wrapped(base64.StdEncoding.EncodeToString([]byte(s)), 6, "\n")
	},
	"base64, percent": func(s string) string {
		return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s)))
	},
	"its beginning, base64":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s[:12])) },
	"its first half, base64": func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s[:len(s)/2])) },
}

// secretRequests are the requests that have a secret: how to send one, and where the secret is in it.
func secretRequests(t *testing.T) map[string]secretRequest {
	secret := NewSecret(spelledSecret)
	parameter := func(name string) func(url.Values, http.Header) string {
		return func(form url.Values, _ http.Header) string { return form.Get(name) }
	}
	refresh := func(token Secret) func(c *ClientSecrets) error {
		return func(c *ClientSecrets) error { return errorOf(NewCredentials(c, token).Refresh(t.Context())) }
	}
	method := func(name string) func(c *ClientSecrets) error {
		return func(c *ClientSecrets) error {
			c.ClientSecret = secret
			c.AuthMethod = name
			c.Key = serverKey()
			return refresh(NewSecret("r"))(c)
		}
	}
	code := func(code string, verifier Secret) func(c *ClientSecrets) error {
		return func(c *ClientSecrets) error {
			f := startedFlow(t, c)
			f.attempt.Load().verifier = verifier
			return errorOf(f.FetchToken(t.Context(), code))
		}
	}
	machine := func(params url.Values) func(c *ClientSecrets) error {
		return func(c *ClientSecrets) error {
			return errorOf((&ClientCredentials{Client: c, Params: params}).Token(t.Context()))
		}
	}
	return map[string]secretRequest{
		"refresh token": {refresh(secret), parameter("refresh_token")},
		"code":          {code(spelledSecret, NewSecret("v")), parameter("code")},
		"code verifier": {code("c", secret), parameter("code_verifier")},
		"client secret": {method(authPost), parameter("client_secret")},
		"basic":         {method(authBasic), func(_ url.Values, h http.Header) string { return password(h) }},
		"basic, as sent": {method(authBasic), func(_ url.Values, h http.Header) string {
			return strings.TrimPrefix(h.Get("Authorization"), "Basic ")
		}},
		"client assertion": {method(authKey), parameter("client_assertion")},
		"revoked token": {func(c *ClientSecrets) error {
			c.RevocationURI = c.TokenURI
			return NewCredentials(c, secret).Revoke(t.Context())
		}, parameter("token")},
		"assertion": {func(c *ClientSecrets) error {
			sa, err := ParseServiceAccount(serviceAccountFile(nil), "a")
			if err != nil {
				t.Fatal(err)
			}
			sa.HTTPClient = c.HTTPClient
			return errorOf(sa.Token(t.Context()))
		}, parameter("assertion")},
		"subject token": {machine(url.Values{"subject_token": {spelledSecret}}), parameter("subject_token")},
		"actor token":   {machine(url.Values{"actor_token": {spelledSecret}}), parameter("actor_token")},
		"access token": {func(c *ClientSecrets) error {
			return errorOf((&ImpersonatedCredentials{
				Source:     sourceOf(&Token{AccessToken: secret}),
				Account:    serviceAccountEmail,
				HTTPClient: c.HTTPClient,
			}).Token(t.Context()))
		}, func(_ url.Values, h http.Header) string { return strings.TrimPrefix(h.Get("Authorization"), "Bearer ") }},
		"device code": {func(c *ClientSecrets) error {
			form := url.Values{"device_code": {spelledSecret}}
			return errorOf(c.redeem(t.Context(), "testing", form, &signInRequest{}))
		}, parameter("device_code")},
	}
}

type secretRequest struct {
	send   func(c *ClientSecrets) error
	secret func(form url.Values, header http.Header) string
}

func password(h http.Header) string {
	_, password, _ := (&http.Request{Header: h}).BasicAuth()
	password, _ = url.QueryUnescape(password)
	return password
}

// A description that repeats a secret is left out whole, however it is spelled. // W61
func TestSpellingsOfSecrets(t *testing.T) {
	t.Parallel()
	for name, r := range secretRequests(t) {
		for spelling, spell := range spellings {
			for _, member := range []string{"error_description", "error_uri", "message"} {
				echoed := ""
				c := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
					echoed = r.secret(formOf(t, req), req.Header)
					text, _ := json.Marshal("not good: '" + spell(echoed) + "', sorry")
					return answering(400, faultJSON, `{"error":"x","`+member+`":`+string(text)+`}`)(req)
				}))
				err := r.send(c)
				e := (*Error)(nil)
				if !errors.As(err, &e) || e.Code != "x" || e.Description != "" || e.URI != "" || echoed == "" ||
					errorSays(err, "sorry") {
					t.Errorf("%s, %s in %s: %#v", name, spelling, member, err)
				}
			}
		}
		// Without the secret, the same text stays.
		c := clientOver(answering(400, faultJSON, `{"error":"x","error_description":"not good: 'it', sorry"}`))
		e := (*Error)(nil)
		if err := r.send(c); !errors.As(err, &e) || e.Description != "not good: 'it', sorry" ||
			!errorSays(err, "sorry") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A secret that has escapes itself is found in each spelling too. // W61
func TestSpellingsOfEscapedSecrets(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{
		"ab%41cd%42ef%43gh%44", `ab\x41cd\x42ef\x43gh`, "ab&#65;cd&#66;ef&#67;gh", `ab\u0041cd\u0042ef`,
		"a&lt;b&gt;c&amp;d&quot;e",
		"%2525252525252525",
	} {
		for _, name := range []string{
			"as it is", "form-encoded", "twice percent", "every byte percent", "base64", "HTML",
		} {
			text := spellings[name](secret)
			if !repeats("no: "+text, []string{secret}) {
				t.Errorf("%q passes %s: %s", secret, name, text)
			}
		}
	}
}

// Ordinary texts stay, also where they name what is no secret: the client, scopes, URIs. // W61
func TestOrdinaryDescriptions(t *testing.T) {
	t.Parallel()
	const clientID = "11112222-bbbb-3333-cccc-4444dddd5555"
	const scope = "api://11112222-bbbb-3333-cccc-4444dddd5555/read offline_access"
	for _, text := range []string{
		"AADSTS70008: The provided authorization code or refresh token has expired due to inactivity. Send a new " +
			"interactive authorization request for this user and resource.\r\nTrace ID: " +
			"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9\r\nCorrelation ID: 11112222-3333-4444-5555-666677778888\r\n" +
			"Timestamp: 2026-11-26 12:34:56Z",
		"AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client " +
			"secret value, not the client secret ID, for a secret added to app '" + clientID + "'.",
		"AADSTS50011: The redirect URI 'https://app.example/signed-in' specified in the request does not match",
		"AADSTS65001: The user or administrator has not consented to use the application with ID '" + clientID + "'",
		"AADSTS90009: Application '" + clientID + "'(" + clientID + ") is requesting a token for itself. " + scope,
		"The refresh token is invalid or expired.",
		"PKCE verification failed.",
		"The 'redirect_uri' parameter must be a Login redirect URI in the client app settings: " +
			"https://example.okta.com/admin/app/oidc_client/instance/0oa1b2c3d4e5f6g7h8i9#tab-general",
		"Token has been expired or revoked.",
		"Code not valid", "Session not active", "Stale token", "Unknown or invalid refresh token.",
		"The code passed is incorrect or expired.",
		"client " + clientID + " may not have " + scope,
		"see https://app.example/signed-in and https://as.example/token",
		"100% wrong & <not> \"good\" \\x", "%41%42%43%44%45%46%47%48", "&lt;html&gt;",
	} {
		client := clientOver(nil)
		client.ClientID = clientID
		client.ClientSecret = NewSecret("abc8Q~Zq4Wx8Kp2Lm6Vt9Rb3Hn5Gd7Jc1Fs0Ty")
		body, _ := json.Marshal(map[string]string{"error": "x", "error_description": text})
		client.HTTPClient.Transport = answering(400, faultJSON, string(body))
		want := strings.NewReplacer("\r", "?", "\n", "?").Replace(text)
		const token = "1.AXoAq3Xn0YBcD_eF-gHiJkLmNoPqRsTuVwXyZ.AgABAwEAAADW6jl31mB3T7ugrWTT8"
		refreshed := NewCredentials(client, NewSecret(token), scope)
		flow := NewFlow(client, scope)
		flow.RedirectURI = "https://app.example/signed-in"
		if _, err := flow.AuthorizationURL(); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"refresh": errorOf(refreshed.Refresh(t.Context())),
			"code":    errorOf(flow.FetchToken(t.Context(), "1.AXoAq3Xn0YBcD_eF-gHiJkLmNoPqRsTuVwXyZ")),
			"machine": errorOf((&ClientCredentials{Client: client, Scopes: []string{scope}}).Token(t.Context())),
		} {
			e := (*Error)(nil)
			if !errors.As(err, &e) || e.Description != want || !errorSays(err, strconv.Quote(want)) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}

// Secrets under 8 characters are in every text, and are not looked for. // W63
func TestShortSecrets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		secret string
		stays  bool
	}{
		{"", true}, {"a", true}, {"e", true}, {"no", true}, {"Zq4Wx8K", true}, {"1234567", true}, {"invalid", true},
		{"Zq4Wx8Kp", false}, {"12345678", false}, {"a-b-c-d-", false}, {"!!!!!!!!", false}, {"Zq4Wx8Kp2", false},
	} {
		text := "the secret " + tt.secret + " is invalid"
		body, _ := json.Marshal(map[string]string{"error": "x", "error_description": text})
		client := clientOver(answering(400, faultJSON, string(body)))
		client.ClientSecret = NewSecret(tt.secret)
		if tt.secret == "" {
			client.AuthMethod = authNone
		}
		_, err := NewCredentials(client, NewSecret("r")).Refresh(t.Context())
		e := (*Error)(nil)
		if !errors.As(err, &e) || (e.Description == text) != tt.stays || (e.Description == "") == tt.stays {
			t.Errorf("%q: %v", tt.secret, err)
		}
	}
}

// A callersError is an error of a program's own RoundTripper.
type callersError struct{ text string }

func (e *callersError) Error() string { return e.text }

// malformed begins the text of an error of an unknown kind.
const malformed = "the HTTP client failed, or the answer is malformed"

// Each kind of transport error has a text of the package's own, and its cause is found where that has nothing of the
// peer's. // W62
func TestTransportErrors(t *testing.T) {
	t.Parallel()
	const theirs = canaryRefreshToken
	own := &callersError{theirs}
	connect := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	read := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	notFound := &net.DNSError{Err: theirs, Name: theirs, Server: theirs, IsNotFound: true}
	untrusted := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	const noTLS = "there is no TLS, or the certificate is untrusted, expired or another host's"
	for _, tt := range []struct {
		name    string
		err     error
		text    string
		is      error
		as      any  // nil: nothing of its kind is found
		hidden  any  // is not found: it has a text of the peer's
		lasting bool // it would be so again
	}{
		{name: "dial", err: connect, text: "the connection failed: connect: connection refused",
			is: syscall.ECONNREFUSED, as: new(*net.OpError)},
		{name: "reset", err: read, text: "the connection failed: read: connection reset by peer",
			is: syscall.ECONNRESET, as: new(*os.SyscallError)},
		{name: "DNS", err: &net.OpError{Op: "dial", Err: notFound}, text: "the host could not be looked up",
			is: notFound, as: new(*net.DNSError), lasting: true},
		{name: "DNS, for now", err: &net.DNSError{Err: theirs, IsTemporary: true}, as: new(*net.DNSError),
			text: "the host could not be looked up"},
		{name: "DNS timeout", err: &net.DNSError{Err: theirs, IsTimeout: true}, text: "timed out", as: new(net.Error)},
		{name: "timeout", err: context.DeadlineExceeded, text: "timed out", is: context.DeadlineExceeded,
			as: new(net.Error)},
		{name: "timeout of a file", err: os.ErrDeadlineExceeded, text: "timed out", is: os.ErrDeadlineExceeded},
		{name: "canceled", err: context.Canceled, text: "the context was canceled", is: context.Canceled},
		{name: "certificate", err: untrusted, is: untrusted, as: new(x509.UnknownAuthorityError), lasting: true,
			text: noTLS},
		{name: "no TLS", err: tls.RecordHeaderError{Msg: theirs}, text: noTLS,
			as: new(tls.RecordHeaderError), lasting: true},
		{name: "end", err: io.EOF, text: "the connection ended before the answer did", is: io.EOF},
		{name: "early end", err: io.ErrUnexpectedEOF, text: "the connection ended before the answer did",
			is: io.ErrUnexpectedEOF},
		{name: "closed", err: &net.OpError{Op: "read", Err: net.ErrClosed}, text: "the connection failed: read",
			is: net.ErrClosed, as: new(*net.OpError)},

		{name: "the caller's", err: own, text: malformed + " (*oauth2.callersError)", is: own,
			hidden: new(*callersError)},
		{name: "wrapped", err: fmt.Errorf("%s: %w", theirs, own), is: own, hidden: new(*callersError),
			text: malformed + " (*fmt.wrapError)"},
		{name: "joined", err: errors.Join(own, errNoNetwork), is: errNoNetwork, hidden: new(*callersError),
			text: malformed + " (*errors.joinError)"},
		{name: "a text", err: errors.New(theirs), text: malformed + " (*errors.errorString)"},
		{name: "a URL", err: &url.Error{Op: "Post", URL: theirs, Err: own}, is: own, hidden: new(*url.Error),
			text: malformed + " (*url.Error)"},
		{name: "a protocol error", err: textproto.ProtocolError(theirs), hidden: new(textproto.ProtocolError),
			text: malformed + " (textproto.ProtocolError)"},
		{name: "a proxy", err: &net.OpError{Op: "proxyconnect", Err: errors.New(theirs)}, hidden: new(*net.OpError),
			text: malformed + " (*net.OpError)"},
		{name: "a proxy that can't be reached", err: &net.OpError{Op: "proxyconnect", Err: connect},
			text: "the connection failed: connect: connection refused", is: syscall.ECONNREFUSED},
		{name: "the caller's text about a known kind", err: fmt.Errorf("%s: %w", theirs, connect),
			text: "the connection failed: connect: connection refused", is: syscall.ECONNREFUSED,
			as: new(*net.OpError)},
		{name: "an error of this package", err: loginRequired(theirs),
			text: malformed + " (*oauth2.Error)"},
		{name: "nothing at all", text: malformed + " (<nil>)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				client := clientOver(roundTripFunc(func(*http.Request) (*http.Response, error) {
					n++
					return nil, tt.err
				}))
				_, err := NewCredentials(client, NewSecret(canaryRefreshToken)).Refresh(t.Context())
				e, ok := err.(*Error)
				if !ok || e.Temporary() == tt.lasting || e.StatusCode != 0 || e.Code != "" {
					t.Fatalf("%#v", err)
				}
				if want := "oauth2: refreshing the token: " + tt.text; err.Error() != want {
					t.Errorf("%v, want %s", err, want)
				}
				if tt.is != nil && !errors.Is(err, tt.is) || tt.err != nil && !errors.Is(err, tt.err) {
					t.Errorf("%v is not found", tt.is)
				}
				if tt.as != nil && !errors.As(err, tt.as) {
					t.Errorf("%T is not found", tt.as)
				}
				if tt.hidden != nil && errors.As(err, tt.hidden) {
					t.Errorf("%T is found", tt.hidden)
				}
				if want := map[bool]int{true: 1, false: 3}[tt.lasting]; n != want {
					t.Errorf("%d requests, want %d", n, want)
				}
				noSecret(t, err, canaries...)
			})
		})
	}
}

// Nothing of what a peer or a proxy sends as HTTP is in a text. // W62
func TestMalformedAnswers(t *testing.T) {
	t.Parallel()
	certificates()
	row := func(name, text string, parts ...string) *faultRow {
		return &faultRow{name: name, text: text, fault: faultRaw(parts...)}
	}
	rows := []*faultRow{
		row("a status that is no number", malformed, "HTTP/1.1 ECHO\r\n\r\n"),
		row("a status of letters", malformed, "HTTP/1.1 2x0 ECHO\r\n\r\n"),
		row("a negative status", malformed, "HTTP/1.1 -20 ECHO\r\n\r\n"),
		row("a version that is none", malformed, "HTTP/x.y 200 ECHO\r\n\r\n"),
		row("no HTTP", malformed, "ECHO\r\n\r\n"),
		row("one line", malformed, "ECHO ECHO\n"),
		row("a header without a colon", malformed, faultHead, "ECHO\r\n\r\n"),
		row("a header that begins with a space", malformed, "HTTP/1.1 200 OK\r\n ECHO\r\n\r\n"),
		row("a name with a space", malformed, faultHead, "A ECHO: x\r\n\r\n"),
		row("a length that is no number", malformed, faultHead, "Content-Length: ECHO\r\n\r\n"),
		row("two lengths", malformed, faultHead, "Content-Length: 1\r\nContent-Length: 2\r\nX: ECHO\r\n\r\n"),
		row("an encoding that is unknown", malformed, faultHead, "Transfer-Encoding: ECHO\r\n\r\n"),
		row("chunks that are none", malformed, faultHead, "Transfer-Encoding: chunked\r\n\r\nECHO\r\n"),
		row("a body that is no gzip", malformed, faultHead, "Content-Encoding: gzip\r\n\r\nECHOECHOECHOECHO"),
	}
	location := row("a Location", "(status 302); redirects are not followed",
		"HTTP/1.1 302 ECHO\r\nLocation: ::%zzECHO\r\nContent-Length: 0\r\n\r\n")
	location.status = 302
	rows = append(rows, location)
	for _, status := range []string{"407 ECHO", "403 ECHO", "502 ECHO", "ECHO", "200OK ECHO"} {
		proxy := row("a proxy that says "+status, malformed, "HTTP/1.1 "+
			strings.ReplaceAll(status, "ECHO", canaryAccessToken)+"\r\nX: "+canaryAccessToken+"\r\n\r\n")
		proxy.url, proxy.transport, proxy.refresh, proxy.temporary = faultHTTPS, faultProxy, 3, true
		rows = append(rows, proxy)
	}
	for _, row := range rows {
		if row.text == malformed {
			row.refresh, row.temporary = 3, true
		}
		row.as = func(err error) bool {
			return !errors.As(err, new(textproto.ProtocolError)) && !errors.As(err, new(*net.OpError))
		}
		for _, grant := range []string{"code", "refresh"} {
			t.Run(row.name+"/"+grant, func(t *testing.T) {
				t.Parallel()
				attempts := 1
				if grant == "refresh" {
					attempts = max(1, row.refresh)
				}
				synctest.Test(t, func(t *testing.T) { row.run(t, grant, attempts, false) })
			})
		}
	}
}

// Advice about the clock is given where the clock may be wrong, and not where the server's is. // W64
func TestClockAdvice(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		date func(now time.Time) string
		want string // part of the error; "": no advice
	}{
		{"none", func(time.Time) string { return "" }, ""},
		{"the same", dateOff(0), ""},
		{"5 minutes off", dateOff(5 * time.Minute), ""},
		{"6 minutes off", dateOff(6 * time.Minute), "; this machine's clock is 6m0s off the server's"},
		{"10 minutes off", dateOff(10 * time.Minute), "clock is 10m0s off the server's"},
		{"10 minutes behind", dateOff(-10 * time.Minute), "clock is 10m0s off the server's"},
		{"364 days off", dateOff(364 * day), "clock is 8736h0m0s off the server's"},
		{"364 days behind", dateOff(-364 * day), "clock is 8736h0m0s off the server's"},
		{"366 days off", dateOff(366 * day), ""},
		{"2 years off", dateOff(2 * 365 * day), ""},
		{"2 years behind", dateOff(-2 * 365 * day), ""},
		{"the year 1", func(time.Time) string { return "Mon, 01 Jan 0001 00:00:00 GMT" }, ""},
		{"the year 1970", func(time.Time) string { return "Thu, 01 Jan 1970 00:00:00 GMT" }, ""},
		{"the year 9999", func(time.Time) string { return "Fri, 31 Dec 9999 23:59:59 GMT" }, ""},
		{"no date", func(time.Time) string { return "yesterday" }, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			date := tt.date(time.Now())
			for _, code := range []string{"invalid_grant", "invalid_request"} {
				client := clientOver(answering(400, "Date: "+date, `{"error":"`+code+`"}`))
				_, err := NewCredentials(client, NewSecret("r")).Refresh(t.Context())
				hasAdvice := errorSays(err, "clock")
				wantAdvice := tt.want != "" && code == "invalid_grant"
				if err == nil || hasAdvice != wantAdvice || wantAdvice && !errorSays(err, tt.want) ||
					errorSays(err, "2562047h") {
					t.Errorf("%s, %s: %v", tt.name, code, err)
				}
			}
		})
	}
}

func dateOff(d time.Duration) func(now time.Time) string {
	return func(now time.Time) string { return now.Add(d).UTC().Format(http.TimeFormat) }
}

// Every error of the package says "oauth2: " once, at its beginning, whatever it wraps. // W65
func TestErrorPrefix(t *testing.T) {
	startMetadata(t)
	t.Chdir(privateDir(t))
	writeFile(t, "corrupt.json", `{"refresh_token":`)
	writeFile(t, "other.json", `{"type":"x"}`)
	writeFile(t, "key.json", string(serviceAccountFile(map[string]any{"private_key": "no"})))
	writeFile(t, "weak.json", string(serviceAccountFile(map[string]any{
		"private_key": pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weakKey())),
	})))
	writeFile(t, "large.json", strings.Repeat(" ", maxBody+1))
	if err := os.Mkdir("folder.json", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, call := range errorsThatWrap(t) {
		err := call()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		text := err.Error()
		if outer := (*url.Error)(nil); errors.As(err, &outer) { // of net/http, about ours
			text = outer.Err.Error()
		}
		if !strings.HasPrefix(text, "oauth2: ") || strings.Count(err.Error(), "oauth2: ") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// endedContext returns a context that has ended because of an error of this package, as errgroup ends one.
func endedContext() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(loginRequired("another call has failed"))
	return ctx
}

// errorsThatWrap are calls whose errors have others in them. The current folder has their files.
func errorsThatWrap(t *testing.T) map[string]func() error {
	refused := answering(400, faultJSON, `{"error":"invalid_grant","error_description":"no"}`)
	host := os.Getenv("GCE_METADATA_HOST")
	failing := func() *Credentials { return NewCredentials(clientOver(refused), NewSecret("r")) }
	calls := map[string]func() error{
		"GOOGLE_APPLICATION_CREDENTIALS, no such file": func() error { return defaultError(t, "nothing.json") },
		"GOOGLE_APPLICATION_CREDENTIALS, a folder":     func() error { return defaultError(t, "folder.json") },
		"impersonated, corrupt source": func() error {
			return defaultErrorOf(t, `{"type":"service_account","client_email":5}`)
		},
		"impersonated, nested source": func() error {
			return defaultErrorOf(t, `{"type":"impersonated_service_account","service_account_impersonation_url":"x"}`)
		},
		"impersonated, user without a client": func() error { return defaultErrorOf(t, `{"type":"authorized_user"}`) },
		"no default credentials": func() error {
			t.Setenv("NO_GCE_CHECK", "true")
			defer t.Setenv("NO_GCE_CHECK", "")
			return defaultError(t, "")
		},
		"a metadata server that is none": func() error {
			t.Setenv("GCE_METADATA_HOST", "not/a/host")
			defer t.Setenv("GCE_METADATA_HOST", host)
			return defaultError(t, "")
		},
		"looking for credentials": func() error {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
			_, _, err := DefaultCredentials(endedContext())
			return err
		},
		"a refresh": func() error { return errorOf(failing().Token(t.Context())) },
		"a refresh, again": func() error {
			c := failing()
			c.Token(t.Context())
			return errorOf(c.Token(t.Context()))
		},
		"a source of a source": func() error { return errorOf(CachedTokenSource(failing()).Token(t.Context())) },
		"a program's source": func() error {
			return errorOf(CachedTokenSource(wrappedSource{failing()}).Token(t.Context()))
		},
		"NewClient": func() error { return errorOf(NewClient(failing()).Get("https://api.example/")) },
		"a client of a client": func() error {
			return errorOf(refreshOver(NewClient(failing()).Transport).Token(t.Context()))
		},
		"impersonation": func() error {
			return errorOf((&ImpersonatedCredentials{Source: failing(), Account: "a@b"}).Token(t.Context()))
		},
		"a client's weak key": func() error { return errorOf(withKey(weakKey()).Token(t.Context())) },
		"an endpoint": func() error {
			return errorOf(NewCredentials(&ClientSecrets{ClientID: "c"}, NewSecret("r")).Token(t.Context()))
		},
		"an issuer":   func() error { return clientOver(nil).Discover(t.Context(), "http://as.example") },
		"discovery":   func() error { return clientOver(refused).Discover(t.Context(), "https://as.example") },
		"keys":        func() error { return errorOf(verifierWith(refused).Verify(t.Context(), goodJWT())) },
		"an ID token": func() error { return errorOf(verifierWith(serveKeys()).Verify(t.Context(), "a.b.c")) },
		"an ID token of a sign-in": func() error {
			client := clientOver(answering(200, faultJSON, `{"access_token":"a","id_token":"a.b.c"}`))
			client.Issuer = "https://as.example"
			return errorOf(startedFlow(t, client).FetchToken(t.Context(), "code"))
		},
		"a code": func() error {
			return errorOf(startedFlow(t, clientOver(refused)).FetchToken(t.Context(), "code"))
		},
		"a member": func() error {
			tok := &Token{extra: func() object { return object{"x": "5"} }}
			return tok.Extra("x", new(string))
		},
		"a sign-in that has ended": func() error {
			return errorOf(NewInstalledAppFlow(clientOver(nil)).RunLocalServer(endedContext()))
		},
		"a sign-in that ends": func() error {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			flow := NewInstalledAppFlow(clientOver(nil))
			flow.Prompt = io.Discard
			flow.OpenBrowser = func(string) error { cancel(loginRequired("another call has failed")); return nil }
			return errorOf(flow.RunLocalServer(ctx))
		},
		"a device that has ended": func() error { return errorOf(deviceFlow().RunDevice(endedContext())) },
		"waiting for a device": func() error {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			flow := deviceFlow()
			flow.client.HTTPClient.Transport = answering(200, faultJSON,
				`{"device_code":"d","user_code":"u","verification_uri":"https://as.example/d"}`)
			flow.ShowDeviceCode = func(DeviceCode) { cancel(loginRequired("another call has failed")) }
			return errorOf(flow.RunDevice(ctx))
		},
		"waiting for a token": func() error {
			return errorOf((&flight[*Token]{done: make(chan struct{})}).wait(endedContext()))
		},
		"a store that fails": func() error {
			store := newMemoryStore()
			c := NewCredentials(clientOver(answering(200, faultJSON, tokenAnswer)), NewSecret("r"))
			if err := c.Save(t.Context(), store); err != nil {
				return nil
			}
			store.write = func() error { return errNoStore }
			return errorOf(c.Refresh(t.Context()))
		},
		"a lock": func() error {
			if err := os.MkdirAll("locked.json.lock", 0o700); err != nil {
				return nil
			}
			writeFile(t, fmt.Sprintf("locked.json.lock/%s.%d.%s.x", machineID(), os.Getpid(), runID), "")
			return FileStore("locked.json").Update(endedContext(), neverCalled(t))
		},
		"a listener": func() error {
			flow := NewInstalledAppFlow(clientOver(nil))
			flow.ListenAddr = "256.256.256.256"
			return errorOf(flow.RunLocalServer(t.Context()))
		},
	}
	for _, name := range []string{
		"corrupt.json", "other.json", "key.json", "weak.json", "large.json", "folder.json", "nothing.json",
	} {
		calls["client "+name] = func() error { return errorOf(ReadClientSecretsFile(name)) }
		calls["account "+name] = func() error { return errorOf(ReadServiceAccountFile(name)) }
		calls["default "+name] = func() error { return defaultError(t, name) }
		if name != "nothing.json" {
			calls["store "+name] = func() error {
				return errorOf(LoadCredentials(t.Context(), nil, FileStore(name)))
			}
			calls["update "+name] = func() error { return FileStore(name).Update(t.Context(), neverCalled(t)) }
			calls["save "+name] = func() error { return failing().Save(t.Context(), FileStore(name)) }
		}
	}
	return calls
}

// A wrappedSource is a source of a program, which adds nothing to the errors.
type wrappedSource struct{ TokenSource }

func deviceFlow() *InstalledAppFlow {
	client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return nil, cmp.Or(context.Cause(req.Context()), errNoNetwork)
	}))
	client.DeviceAuthURI = "https://as.example/device"
	flow := NewInstalledAppFlow(client)
	flow.Prompt = io.Discard
	return flow
}

// refreshOver returns credentials whose requests transport sends.
func refreshOver(transport http.RoundTripper) *Credentials {
	return NewCredentials(clientOver(transport), NewSecret("r"))
}

// withKey returns a machine's credentials that authenticate with key.
func withKey(key *rsa.PrivateKey) *ClientCredentials {
	client := clientOver(nil)
	client.AuthMethod = authKey
	client.Key = key
	return &ClientCredentials{Client: client}
}

// defaultError returns the error of the default credentials in a file.
func defaultError(t *testing.T, name string) error {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	_, _, err := DefaultCredentials(t.Context())
	return err
}

// defaultErrorOf returns the error of impersonation by source.
func defaultErrorOf(t *testing.T, source string) error {
	writeFile(t, "impersonated.json", `{"type":"impersonated_service_account","service_account_impersonation_url":"`+
		`https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/`+serviceAccountEmail+
		`:generateAccessToken","source_credentials":`+source+`}`)
	return defaultError(t, "impersonated.json")
}

// FuzzDescription: a secret is found in a text, in any spelling of its characters, and a text that has no 8 letters or
// digits in a row of it passes unchanged. // W61 W63
func FuzzDescription(f *testing.F) {
	f.Add("Zq4Wx8Kp2Lm6Vt9", []byte{0}, "bad token ", " of the user")
	f.Add("12345678", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, "", "")
	f.Add("Zq4Wx8Kp2Lm6Vt9Rb3Hn5Gd7Jc1Fs0Ty", []byte{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}, "code=", "&x")
	f.Add("x41x42x43x44", []byte{255, 254, 253, 128, 127}, `\`, `%`)
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAA", []byte("spelled"), "QUFBQUFB", "AADSTS70008: expired")
	f.Add("secret", []byte{1}, "the secret", "is secret")
	f.Fuzz(func(t *testing.T, secret string, choices []byte, before, after string) {
		secret = strings.Map(func(r rune) rune {
			if r > '~' || notAlphanumeric.MatchString(strings.ToLower(string(r))) {
				return -1
			}
			return r
		}, secret)
		secret = secret[:min(len(secret), 40)]
		if secret == "" {
			return
		}
		plain := strings.NewReplacer("%", "", "&", "", `\`, "", "#", "").Replace
		before, after = plain(before), plain(after)
		before, after = before[:min(len(before), 100)], after[:min(len(after), 100)]

		text := before + after
		want := printable(text, maxErrorText)
		if len(secret) >= minSecret && haveRun(want, secret) {
			want = ""
		}
		if got := describe(t, secret, text); got != want {
			t.Fatalf("%q with the secret %q is %q, want %q", text, secret, got, want)
		}
		if len(secret) < minSecret {
			return
		}
		text = before + spellBy(secret, choices) + after
		if got := describe(t, secret, text); got != "" {
			t.Fatalf("%q with the secret %q is %q", text, secret, got)
		}
	})
}

// describe returns the description of an answer to a refresh token, where a server sends text.
func describe(t *testing.T, secret, text string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"error": "x", "error_description": text})
	if err != nil {
		t.Fatal(err)
	}
	client := &ClientSecrets{ClientID: "client", TokenURI: "https://as.example/token",
		HTTPClient: &http.Client{Transport: answering(400, "", string(body))}}
	creds := NewCredentials(client, NewSecret(secret))
	_, err = creds.fetch(t.Context(), false)
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	return e.Description
}

// haveRun reports whether a text without escapes has 8 letters or digits in a row of a secret or of its base64, with
// nothing of the package under test.
func haveRun(text, secret string) bool {
	reduce := func(s string) string {
		var kept []byte
		for _, b := range []byte(strings.ToUpper(s)) {
			if b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' {
				kept = append(kept, b)
			}
		}
		return string(kept)
	}
	text = reduce(text)
	for _, form := range []string{secret, base64.RawStdEncoding.EncodeToString([]byte(secret))} {
		form = reduce(form)
		for i := 0; i+8 <= len(form); i++ {
			if strings.Contains(text, form[i:i+8]) {
				return true
			}
		}
	}
	return false
}

// spellBy spells a secret, or a half of it that is long enough, or its base64, each character as choices say.
func spellBy(secret string, choices []byte) string {
	next := func() byte {
		if len(choices) == 0 {
			return 0
		}
		c := choices[0]
		choices = choices[1:]
		return c
	}
	how := next()
	if half := len(secret) / 2; half >= minSecret {
		switch how & 3 {
		case 1:
			secret = secret[:half]
		case 2:
			secret = secret[half:]
		}
	}
	if how&7 == 4 {
		secret = base64.RawURLEncoding.EncodeToString([]byte(secret))
	}
	var b strings.Builder
	for i := range len(secret) {
		c := next()
		char := string(secret[i])
		switch c & 15 {
		case 1:
			char = strings.ToUpper(char)
		case 2:
			char = strings.ToLower(char)
		case 3:
			char = everyByte("%%%02X", char)
		case 4:
			char = everyByte("%%%02x", char)
		case 5:
			char = everyByte("%%25%02X", char)
		case 6:
			char = everyByte("%%2525%02x", char)
		case 7:
			char = everyByte(`\u%04x`, char)
		case 8:
			char = everyByte(`\x%02X`, char)
		case 9:
			char = everyByte("&#x%X;", char)
		case 10:
			char = everyByte("&#%d;", char)
		case 11:
			char = everyByte("&amp;#x%x;", char)
		case 12:
			char = everyByte("&amp;amp;#%d;", char)
		}
		b.WriteString(char)
		b.WriteString([]string{"", "", "", "", " ", "\n", "\r\n  ", "-"}[c>>4&7])
	}
	return b.String()
}
