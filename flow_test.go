package oauth2

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"go/ast"
	"go/types"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// signedInFlow returns a flow whose user has signed in. redirected is the right redirect.
func signedInFlow(t testing.TB, s *TestServer, scopes ...string) (f *Flow, sent url.Values, redirected string) {
	t.Helper()
	f = NewFlow(fileClientOf(t, s, "installed"), scopes...)
	f.RedirectURI = "http://127.0.0.1:8000/"
	sent, redirected = authorizeFlow(t, s, f)
	return f, sent, redirected
}

func authorizeFlow(t testing.TB, s *TestServer, f *Flow) (sent url.Values, redirected string) {
	t.Helper()
	authURL, err := f.AuthorizationURL()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	if redirected, err = s.Authorize(authURL); err != nil {
		t.Fatal(err)
	}
	return u.Query(), redirected
}

// The vector of RFC 7636, Appendix B: octets, verifier, challenge. F9, F12
func TestChallengeVector(t *testing.T) {
	t.Parallel()
	octets := []byte{
		116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105, 214, 191, 240,
		91, 88, 5, 88, 83, 132, 141, 121,
	}
	verifier := base64.RawURLEncoding.EncodeToString(octets)
	if verifier != "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" {
		t.Errorf("verifier %s", verifier)
	}
	if got := challenge(verifier); got != "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" {
		t.Errorf("challenge %s", got)
	}
	own := randomSecret().Reveal() // the same encoding of as many octets
	b, err := base64.RawURLEncoding.Strict().DecodeString(own)
	if err != nil || len(b) != 32 || !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(own) {
		t.Errorf("a verifier of %d octets, %d characters, %v", len(b), len(own), err)
	}
}

// State, verifier and nonce are 256 bits that do not repeat, and come from crypto/rand alone. F4
func TestRandomSecretsAreDistinct(t *testing.T) {
	t.Parallel()
	const n = 100_000
	seen, symbols := make(map[string]bool, n), map[byte]bool{}
	var zeros, ones [32]byte // the bits that were 0, and 1, in some secret
	for range n {
		s := randomSecret().Reveal()
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if len(s) != 43 || seen[s] || err != nil {
			t.Fatalf("length %d, repeated %t, %v", len(s), seen[s], err)
		}
		for i := range ones {
			zeros[i] |= ^b[i]
			ones[i] |= b[i]
		}
		seen[s] = true
		for i := range s {
			symbols[s[i]] = true
		}
	}
	if len(symbols) != 64 {
		t.Errorf("%d symbols of 64", len(symbols))
	}
	if all := [32]byte(bytes.Repeat([]byte{0xff}, 32)); zeros != all || ones != all {
		t.Errorf("bits that are always 1: %08b, or 0: %08b", zeros, ones)
	}
}

// What the sources of the package say, and don't.
func TestFlowSources(t *testing.T) {
	t.Parallel()
	for name, file := range sourceOfPackage(t).files {
		for _, spec := range file.Imports { // F4; PY16: it has nothing to log with
			if slices.Contains([]string{`"math/rand"`, `"math/rand/v2"`, `"log"`}, spec.Path.Value) {
				t.Errorf("%s imports %s", name, spec.Path.Value)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit: // F10: the method plain is not there to fall back to
				if n.Value == `"plain"` {
					t.Errorf("%s has %s", name, n.Value)
				}
			case *ast.FuncDecl: // F28: claims come from the verifier, or from a sign-in that has checked them
				if n.Type.Results == nil || !n.Name.IsExported() {
					return true
				}
				receiver := ""
				if n.Recv != nil {
					receiver = types.ExprString(n.Recv.List[0].Type)
				}
				for _, result := range n.Type.Results.List {
					isClaims := types.ExprString(result.Type) == "*IDToken"
					checked := receiver == "*IDTokenVerifier" || receiver == "*Credentials" && n.Name.Name == "IDToken"
					if isClaims && !checked {
						t.Errorf("%s returns claims that nobody has verified", n.Name)
					}
				}
			}
			return true
		})
	}
	secrets, err := os.ReadFile("secrets.go") // F30: an installed program's secret is none, and says so
	comment := regexp.MustCompile(`no secret \(RFC 8252, Section 8\.5\)[^}]*\n\tClientSecret Secret\n`)
	if err != nil || !comment.Match(secrets) {
		t.Error("the comment of ClientSecret does not say what it is worth", err)
	}
}

// The example of RFC 6749, Section 4.1.1, with PKCE (F9) and Google's access_type added. The redirect URI is sent as it
// was set, without a slash more. UP11, UP13
func TestAuthorizationURLGolden(t *testing.T) {
	t.Parallel()
	f := NewFlow(&ClientSecrets{
		ClientID: "s6BhdRkqt3",
		AuthURI:  "https://server.example.com/authorize",
		TokenURI: "https://server.example.com/token",
	})
	f.RedirectURI = "https://client.example.com/cb"
	got, err := f.AuthorizationURL()
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.current()
	if err != nil {
		t.Fatal(err)
	}
	want := "https://server.example.com/authorize?access_type=offline&client_id=s6BhdRkqt3&code_challenge=" +
		challenge(a.verifier.Reveal()) +
		"&code_challenge_method=S256&redirect_uri=https%3A%2F%2Fclient.example.com%2Fcb&response_type=code&state=" +
		a.params.Get("state")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAuthorizationURL(t *testing.T) {
	t.Parallel()
	const authURI = "https://as.example/authorize"
	has := func(name string, want ...string) func(url.Values) bool {
		return func(q url.Values) bool { return slices.Equal(q[name], want) }
	}
	params := func(pairs ...string) func(*Flow) {
		return func(f *Flow) {
			f.Params = url.Values{}
			for pair := range slices.Chunk(pairs, 2) {
				f.Params.Add(pair[0], pair[1])
			}
		}
	}
	auth := func(uri string) func(*Flow) { return func(f *Flow) { f.client.AuthURI = uri } }
	redirect := func(uri string) func(*Flow) { return func(f *Flow) { f.RedirectURI = uri } }
	type row struct {
		name string
		set  func(*Flow)
		err  string // part of the error; empty: none
		ok   func(url.Values) bool
	}
	rows := []row{
		{name: "scopes", ok: has("scope", "openid a&state=evil#x b")}, // F24
		{name: "nonce with openid", ok: func(q url.Values) bool { return len(q.Get("nonce")) == 43 }},
		{name: "no nonce without", set: func(f *Flow) { f.scopes = []string{"a"} }, ok: has("nonce")},
		{name: "S256", ok: has("code_challenge_method", "S256")}, // F9
		{name: "offline", ok: has("access_type", "offline")},     // UP14
		{name: "online", set: params("access_type", "online"), ok: has("access_type", "online")},
		// CA24
		{name: "extra", set: params("login_hint", "a&b=c", "hd", "example.com"), ok: has("login_hint", "a&b=c")},
		{name: "prompt", set: params("prompt", "consent"), ok: has("prompt", "consent")}, // UP14
		{
			name: "two resources", // XO30
			set:  params("resource", "https://a", "resource", "https://b"),
			ok:   has("resource", "https://a", "https://b"),
		},
		{name: "query of auth_uri", set: auth(authURI + "?tenant=t"), ok: has("tenant", "t")},       // XO30
		{name: "client_id in auth_uri", set: auth(authURI + "?client_id=evil"), err: `"client_id"`}, // F24, XO30
		{name: "state in auth_uri", set: auth(authURI + "?st%61te=evil"), err: `"state"`},           // F24
		{name: "nonce in auth_uri", set: auth(authURI + "?nonce=evil"), err: `"nonce"`},             // F24
		{
			name: "param in auth_uri", // F24
			set:  func(f *Flow) { auth(authURI + "?prompt=none")(f); params("prompt", "consent")(f) },
			err:  `"prompt"`,
		},
		// F24
		{name: "malformed auth_uri query", set: auth(authURI + "?a=%zz&b=c"), ok: has("b", "c")},
		// F24 XO30
		{name: "fragment", set: auth(authURI + "#f"), err: "fragment"},
		// F24
		{name: "empty fragment", set: auth(authURI + "#"), err: "fragment"},
		// B1
		{name: "file auth_uri", set: auth("file:///etc/passwd"), err: "not a valid URL"},
		{name: "javascript auth_uri", set: auth("javascript:alert(1)"), err: "not a valid URL"},
		{name: "smb auth_uri", set: auth("smb://evil.example/share"), err: `scheme "smb"`},
		{name: "search-ms auth_uri", set: auth("search-ms://query=x"), err: "not a valid URL"},
		{name: "http auth_uri", set: auth("http://as.example/authorize"), err: `scheme "http"`},
		// B2
		{name: "option auth_uri", set: auth("--help"), err: "not a valid URL"},
		{name: "no auth_uri", set: auth(""), err: "AuthURI is missing"},
		{
			name: "token_uri",
			set:  func(f *Flow) { f.client.TokenURI = "http://as.example/token" },
			err:  `TokenURI: the endpoint is a URL with scheme "http"`,
		},
		{
			name: "no redirect URI", // UP11
			set:  redirect(""),
			err:  "RedirectURI is not absolute",
		},
		{name: "relative redirect URI", set: redirect("/cb"), err: "absolute"},
		// RFC 6749, 3.1.2
		{name: "redirect URI with fragment", set: redirect("https://app.example/cb#"), err: "fragment"},
		{name: "http redirect URI", set: redirect("http://app.example/cb"), err: "https"},
		{
			name: "custom redirect URI", // UP13
			set:  redirect("https://tunnel.example/x?y=z"),
			ok:   has("redirect_uri", "https://tunnel.example/x?y=z"),
		},
		{
			name: "app redirect URI",
			set:  redirect("com.example.app:/cb"),
			ok:   has("redirect_uri", "com.example.app:/cb"),
		},
		{name: "no client", set: func(f *Flow) { f.client = nil }, err: "no client"},
		{name: "no client ID", set: func(f *Flow) { f.client.ClientID = "" }, err: "no ClientID"},
	}
	for _, name := range []string{ // F23, XO30
		"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "request", "request_uri", "grant_type", "code", "code_verifier", "refresh_token",
		"assertion", "client_secret", "client_assertion", "client_assertion_type", "device_code",
	} {
		rows = append(rows, row{"reserved " + name, params(name, "evil"), fmt.Sprintf("Params has %q", name), nil})
	}
	rows = append(rows, row{
		name: "reserved response_mode", // W33: some of its values are allowed
		set:  params("response_mode", "evil"),
		err:  "Params has a response_mode other than query and form_post",
	})
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := NewFlow(fileClientOf(t, NewMemoryServer(), "installed"), "openid", "a&state=evil#x b")
			f.RedirectURI = "http://127.0.0.1:8000/"
			if tt.set != nil {
				tt.set(f)
			}
			got, err := f.AuthorizationURL()
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") ||
					!strings.Contains(err.Error(), tt.err) || got != "" {
					t.Errorf("%q, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(got)
			q, err2 := url.ParseQuery(u.RawQuery)
			if err != nil || err2 != nil || !tt.ok(q) || u.Fragment != "" || strings.ContainsAny(got, "\"'`$\\^|<> ") {
				t.Error(got, err, err2)
			}
			for name, values := range q {
				if len(values) > 1 && name != "resource" {
					t.Errorf("%s occurs %d times", name, len(values))
				}
			}
		})
	}
}

// Each AuthorizationURL is a new attempt; the redirect of the last one is refused. F13; UP19
func TestAttemptsShareNothing(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	f, first, old := signedInFlow(t, s, "openid")
	second, redirected := authorizeFlow(t, s, f)
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if first.Get(name) == "" || first.Get(name) == second.Get(name) {
			t.Errorf("%s was used twice", name)
		}
	}
	if _, err := f.FetchTokenFromRedirect(t.Context(), old); !errorSays(err, "state") {
		t.Errorf("a redirect of the last attempt: %v", err)
	}
	if _, err := f.FetchTokenFromRedirect(t.Context(), redirected); err != nil {
		t.Error(err)
	}
	if got := challenge(onlyExchange(t, s).Get("code_verifier")); got != second.Get("code_challenge") {
		t.Error("the verifier is not that of the attempt")
	}
}

// What is no answer to this attempt is refused without a word to the token endpoint, without showing the state or the
// code, and leaves the attempt open. {S} is the right state, {C} the right code, {I} the issuer, {LONG} 8193 bytes.
func TestRedirectRefused(t *testing.T) {
	t.Parallel()
	const (
		state     = "its state is not the one sent"
		twice     = "twice"
		malformed = "malformed"
		both      = "an error too"
		code      = "no usable code"
	)
	for _, tt := range []struct{ name, query, err string }{
		// F1 PY1
		{"no state", "code={C}", state},
		{"empty state", "code={C}&state=", state}, // F2
		// F2 F5 LB2
		{"wrong state", "code={C}&state=wrong", state},
		// F2
		{"state with suffix", "code={C}&state={S}A", state},
		{"state with prefix", "code={C}&state=A{S}", state},
		{"state cut", "code={C}&state={CUT}", state},
		{"state with a bit flipped", "code={C}&state={FLIP}", state},
		{"state in upper case", "code={C}&state={UPPER}", state},
		{"state under another name", "code={C}&State={S}", state},
		// F16
		{"state twice", "code={C}&state={S}&state={S}", twice},
		{"state and a wrong one", "code={C}&state={S}&state=x", twice},
		{"code twice", "code={C}&code=b&state={S}", twice},
		{"code twice, escaped", "code={C}&co%64e=b&state={S}", twice},
		{"iss twice", "code={C}&state={S}&iss={I}&iss={I}", twice},
		{"error twice", "error=a&error=b&state={S}", twice},
		{"error_description twice", "error=a&error_description=a&error_description=b&state={S}", twice},
		{"error_uri twice", "error=a&error_uri=a&error_uri=b&state={S}", twice},
		{"scope twice", "code={C}&state={S}&scope=a&scope=b", twice},
		// F17
		{"bad escape", "code=%zz&code={C}&state={S}", malformed},
		{"semicolon", "code={C}&state={S}&a;b", malformed},
		// F18
		{"code and error", "code={C}&error=access_denied&state={S}", both},
		{"code and empty error", "code={C}&error=&state={S}", both},
		{"neither code nor error", "state={S}", code},
		// F19
		{"error without state", "error=access_denied", state},
		// LB1
		{"error with wrong state", "error=access_denied&state=x", state},
		// F22
		{"access token", "access_token=evil&state={S}", code},
		{"ID token", "id_token=evil&state={S}", code},
		// F21
		{"empty code", "code=&state={S}", code},
		{"NUL in code", "code=%00&state={S}", code},
		{"line end in code", "code=a%0d%0ab&state={S}", code},
		{"space in code", "code=a+b&state={S}", code},
		{"code beyond ASCII", "code=%C3%A9&state={S}", code},
		{"code too long", "code={LONG}&state={S}", code},
		// F6
		{"another issuer", "code={C}&state={S}&iss=https://evil.example", "does not name its issuer"},
		{"issuer and slash", "code={C}&state={S}&iss={I}/", "does not name its issuer"},
		{"issuer in upper case", "code={C}&state={S}&iss=HTTPS://AS.example", "does not name its issuer"},
		{"empty issuer", "code={C}&state={S}&iss=", "does not name its issuer"},
		// F5
		{"issuer is the state", "code={C}&state={S}&iss={S}", "does not name its issuer"},
		// F6
		{"another issuer's error", "error=access_denied&state={S}&iss=https://evil.example",
			"does not name its issuer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			f, sent, redirected := signedInFlow(t, s, "a")
			u, _ := url.Parse(redirected)
			st := sent.Get("state")
			flip := st[:42] + string("AB"[strings.Count(st[42:], "A")])
			query := strings.NewReplacer("{S}", st, "{C}", u.Query().Get("code"), "{I}", s.URL,
				"{CUT}", st[:42], "{FLIP}", flip, "{UPPER}", strings.ToUpper(st),
				"{LONG}", strings.Repeat("c", maxCode+1)).Replace(tt.query)
			_, err := f.FetchTokenFromRedirect(t.Context(), "http://127.0.0.1:8000/?"+query)
			if err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") || !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got %v, want an error with %q", err, tt.err)
			}
			text := fmt.Sprintf("%+v %#v", err, err)
			if strings.Contains(text, st) || strings.Contains(text, u.Query().Get("code")) {
				t.Errorf("the error shows a secret: %s", text)
			}
			if e := (*Error)(nil); errors.As(err, &e) {
				t.Errorf("taken for the server's answer: %v", err)
			}
			if n := s.Count("/token"); n != 0 {
				t.Errorf("%d token requests", n)
			}
			if _, err := f.FetchTokenFromRedirect(t.Context(), redirected); err != nil { // UP19
				t.Errorf("the right redirect afterwards: %v", err)
			}
		})
	}
}

// Where the server's metadata promise an iss, a redirect without one is refused, also after ResumeFlow. F7, F6
func TestIssuerPromised(t *testing.T) {
	t.Parallel()
	for _, promised := range []bool{true, false} {
		s := NewMemoryServer()
		s.OmitIss = !promised
		client := &ClientSecrets{
			ClientID:     s.ClientID,
			ClientSecret: NewSecret(s.ClientSecret),
			AuthMethod:   s.AuthMethod,
			HTTPClient:   &http.Client{Transport: s.Transport()},
		}
		if err := client.Discover(t.Context(), s.URL); err != nil {
			t.Fatal(err)
		}
		f := NewFlow(client, "openid")
		f.RedirectURI = "http://127.0.0.1:8000/"
		s.OmitIss = true
		for _, redirected := range []func() string{
			func() string { _, redirected := authorizeFlow(t, s, f); return redirected },
			func() string {
				s.Deny = "access_denied"
				_, redirected := authorizeFlow(t, s, f)
				s.Deny = ""
				return redirected
			},
		} {
			r := redirected()
			data, err := f.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			resumed, err := ResumeFlow(client, data)
			if err != nil {
				t.Fatal(err)
			}
			_, err = resumed.FetchTokenFromRedirect(t.Context(), r)
			if got := err != nil && strings.Contains(err.Error(), "does not name its issuer"); got != promised {
				t.Errorf("promised %t: %v", promised, err)
			}
		}
		if promised && s.Count("/token") != 0 {
			t.Error("the code was sent")
		}
	}
}

// What is accepted, though it looks odd.
func TestRedirectAccepted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(u *url.URL, q url.Values) string
		set  func(s *TestServer, f *Flow)
	}{
		{name: "whole URL", edit: func(u *url.URL, q url.Values) string { return u.String() }},
		{name: "query alone", edit: func(u *url.URL, q url.Values) string { return "?" + u.RawQuery }},
		{name: "path and query", edit: func(u *url.URL, q url.Values) string { return u.RequestURI() }},
		{name: "fragment", edit: func(u *url.URL, q url.Values) string { return u.String() + "#_=_" }},
		{
			name: "unknown parameters",
			edit: func(u *url.URL, q url.Values) string { return u.String() + "&session_state=a&authuser=0&hd=b&hd=c" },
		},
		{name: "scope", edit: func(u *url.URL, q url.Values) string { return u.String() + "&scope=other" }},
		{
			name: "injected token is ignored", // F22
			edit: func(u *url.URL, q url.Values) string {
				return u.String() + "&access_token=evil&id_token=evil&refresh_token=evil"
			},
		},
		{
			name: "open redirect parameters", // F25
			edit: func(u *url.URL, q url.Values) string {
				return u.String() + "&next=//evil.example&redirect_uri=https://evil.example/"
			},
		},
		{
			name: "no iss", // F7: where it is not announced
			edit: func(u *url.URL, q url.Values) string { q.Del("iss"); return "?" + q.Encode() },
		},
		{
			name: "longest code",
			edit: func(u *url.URL, q url.Values) string {
				q.Set("code", strings.Repeat("c", maxCode))
				return "?" + q.Encode()
			},
			set: func(s *TestServer, f *Flow) {
				s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/token" {
						writeJSON(w, 200, map[string]any{"access_token": "long"})
					}
					return r.URL.Path == "/token"
				}
			},
		},
		{
			name: "no issuer known",
			edit: func(u *url.URL, q url.Values) string {
				q.Set("iss", "https://other.example")
				return "?" + q.Encode()
			},
			set: func(s *TestServer, f *Flow) { f.client.Issuer = "" },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			f := NewFlow(fileClientOf(t, s, "installed"), "a")
			f.RedirectURI = "http://127.0.0.1:8000/cb"
			s.RedirectURIs = []string{"http://127.0.0.1/cb"}
			if tt.set != nil {
				tt.set(s, f)
			}
			_, redirected := authorizeFlow(t, s, f)
			u, _ := url.Parse(redirected)
			creds, err := f.FetchTokenFromRedirect(t.Context(), tt.edit(u, u.Query()))
			if err != nil {
				t.Fatal(err)
			}
			tok, err := creds.Token(t.Context())
			secrets := tok.AccessToken.Reveal() + tok.IDToken.Reveal() + tok.RefreshToken.Reveal()
			if err != nil || strings.Contains(secrets, "evil") || !slices.Equal(tok.Scopes, []string{"a"}) {
				t.Error(tok, err)
			}
			if form := onlyExchange(t, s); form.Get("redirect_uri") != f.RedirectURI { // F25
				t.Errorf("redirect_uri %q", form.Get("redirect_uri"))
			}
		})
	}

	f := NewFlow(&ClientSecrets{})
	for name, redirected := range map[string]string{ // PY1
		"no sign-in under way": "?code=c&state=",
		"no state sent":        "?code=c",
	} {
		if _, err := f.FetchTokenFromRedirect(t.Context(), redirected); !errorSays(err, "no sign-in is under way") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.FetchToken(t.Context(), "c"); !errorSays(err, "no sign-in is under way") {
		t.Error(err)
	}
	f, _, _ = signedInFlow(t, NewMemoryServer())
	for _, bad := range []string{"", "code", "http://127.0.0.1/", "?" + strings.Repeat("a", 64<<10)} {
		if _, err := f.FetchTokenFromRedirect(t.Context(), bad); !errorSays(err, "oauth2: the redirect") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "a b", "a\r\nb", strings.Repeat("c", maxCode+1)} { // F21
		if _, err := f.FetchToken(t.Context(), bad); err != errBadCode {
			t.Errorf("FetchToken(%.20q): %v", bad, err)
		}
	}
}

// The server's refusal is an *Error whose text can neither steer a terminal nor carry secrets.
func TestRedirectError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, query, code, description, uri string }{
		{name: "access_denied", query: "error=access_denied", code: "access_denied"}, // F19, UP7
		{
			name:        "description",
			query:       "error=invalid_scope&error_description=no+such+scope&error_uri=https://as.example/e",
			code:        "invalid_scope",
			description: "no such scope",
			uri:         "https://as.example/e",
		},
		{
			name:        "escape sequences", // F20
			query:       "error=a%1b[31m&error_description=%1b[31m%0aX%00%7f%c2%9b&error_uri=%0d%0a",
			code:        "a?[31m",
			description: "?[31m?X????",
			uri:         "??",
		},
		{
			name:        "right-to-left override", // F20
			query:       "error=x&error_description=%e2%80%aeX%ff",
			code:        "x",
			description: "???X?",
		},
		{
			name:        "too long", // F20
			query:       "error=" + strings.Repeat("e", 300) + "&error_description=" + strings.Repeat("d", 2000),
			code:        strings.Repeat("e", 256),
			description: strings.Repeat("d", 1024),
		},
		{
			name:  "state echoed", // F5: each text with it is left out
			query: "error=x{S}&error_description=your+state+{S}&error_uri=https://e/?{S}",
		},
		{
			name:  "state echoed in the description alone", // F5
			query: "error=invalid_request&error_description=your+state+{S}&error_uri=https://as.example/e",
			code:  "invalid_request",
			uri:   "https://as.example/e",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			f, sent, _ := signedInFlow(t, s, "a")
			query := strings.ReplaceAll(tt.query, "{S}", sent.Get("state")) + "&state=" + sent.Get("state")
			_, err := f.FetchTokenFromRedirect(t.Context(), "?"+query)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			// A byte that is not ASCII may be one "?" or, with the others of its rune, one.
			squeeze := func(s string) string { return regexp.MustCompile(`\?+`).ReplaceAllString(s, "?") }
			if e.Code != tt.code || squeeze(e.Description) != squeeze(tt.description) || e.URI != tt.uri ||
				e.StatusCode != 0 {
				t.Errorf("%q %q %q", e.Code, e.Description, e.URI)
			}
			if unprintable(err.Error()) || strings.Contains(err.Error(), sent.Get("state")) {
				t.Errorf("%q", err)
			}
			if e.Temporary() || !strings.HasPrefix(err.Error(), "oauth2: signing in: ") || s.Count("/token") != 0 {
				t.Error(err, s.Count("/token"))
			}
		})
	}
	s := NewMemoryServer()
	s.Deny = "temporarily_unavailable"
	f, _, redirected := signedInFlow(t, s, "a")
	var e *Error
	if _, err := f.FetchTokenFromRedirect(t.Context(), redirected); !errors.As(err, &e) || !e.Temporary() {
		t.Error(err)
	}
}

// The exchange is what RFC 6749, Section 4.1.3, and RFC 7636, Section 4.5, say, and nothing that changed since
// AuthorizationURL changes it. F8, F9, F11, F30; L2
func TestExchangeIsFrozen(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"client_secret_post", "none"} {
		s := NewMemoryServer()
		s.AuthMethod = method
		f := NewFlow(fileClientOf(t, s, "installed"), "a", "b")
		f.RedirectURI = "http://127.0.0.1:8000/"
		f.Params = url.Values{"resource": {"https://api.example"}, "login_hint": {"x"}}
		sent, redirected := authorizeFlow(t, s, f)
		u, _ := url.Parse(redirected)
		f.RedirectURI = "https://evil.example/"
		f.Params.Set("resource", "https://evil.example")
		f.client.TokenURI, f.client.Issuer = "https://evil.example/token", "https://evil.example"
		f.client.ClientID = "evil"
		if _, err := f.FetchTokenFromRedirect(t.Context(), redirected); err != nil {
			t.Fatal(err)
		}
		form := onlyExchange(t, s)
		want := url.Values{
			"grant_type":    {"authorization_code"},
			"code":          {u.Query().Get("code")},
			"redirect_uri":  sent["redirect_uri"],
			"client_id":     {s.ClientID},
			"code_verifier": form["code_verifier"],
			"resource":      {"https://api.example"},
		}
		if method == "client_secret_post" {
			want.Set("client_secret", s.ClientSecret) // F30: and PKCE too
		}
		if !maps.EqualFunc(form, want, slices.Equal) ||
			challenge(form.Get("code_verifier")) != sent.Get("code_challenge") {
			t.Errorf("%s: sent %v", method, form)
		}
		r := s.Requests()
		if r[len(r)-1].Path != "/token" || r[len(r)-1].Method != "POST" || len(r[len(r)-1].Query) != 0 {
			t.Error(r[len(r)-1])
		}
	}
}

// A code of another attempt, delivered with the state of this one, meets this one's verifier. F14
func TestInjectedCode(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	_, _, theirs := signedInFlow(t, s, "a")
	f, sent, _ := signedInFlow(t, s, "a")
	u, _ := url.Parse(theirs)
	_, err := f.FetchTokenFromRedirect(t.Context(),
		"?"+url.Values{"code": u.Query()["code"], "state": sent["state"]}.Encode())
	var e *Error
	if !errors.As(err, &e) || e.Code != "invalid_grant" {
		t.Error(err)
	}
	if got := challenge(onlyExchange(t, s).Get("code_verifier")); got != sent.Get("code_challenge") {
		t.Error("sent with another attempt's verifier")
	}
}

// A code reaches the server once, whatever happens then, and the first error is the one reported. F15, XO10, XO11
func TestCodeIsSentOnce(t *testing.T) {
	t.Parallel()
	status := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter)
		err    string
	}{
		{
			name:   "connection reset",
			answer: func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
			err:    "exchanging the code",
		},
		{name: "503", answer: status(503, `{}`), err: "status 503"},
		{
			name:   "503 with Retry-After",
			answer: func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1"); w.WriteHeader(503) },
			err:    "status 503",
		},
		{name: "401", answer: status(401, `{"error":"invalid_client"}`), err: "invalid_client"},
		{
			name:   "PKCE refused", // F10
			answer: status(400, `{"error":"invalid_request","error_description":"code challenge"}`),
			err:    "code challenge",
		},
		{
			name:   "PKCE unknown", // F11
			answer: status(400, `{"error":"invalid_grant","error_description":"verifier without challenge"}`),
			err:    "sign in again",
		},
		{
			name:   "redirect_uri_mismatch", // UP11
			answer: status(400, `{"error":"redirect_uri_mismatch"}`),
			err:    `register the redirect URI "http://127.0.0.1:8000/"`,
		},
		{name: "unusable answer", answer: status(200, `{"token_type":"Bearer"}`), err: "no access_token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				f, sent, redirected := signedInFlow(t, s, "a")
				s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/token" {
						tt.answer(w)
					}
					return r.URL.Path == "/token"
				}
				_, err := f.FetchTokenFromRedirect(t.Context(), redirected)
				if !errorSays(err, tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				if challenge(onlyExchange(t, s).Get("code_verifier")) != sent.Get("code_challenge") {
					t.Error("sent without PKCE")
				}
				s.Hook = nil
				for _, again := range []func() error{
					func() error { _, err := f.FetchTokenFromRedirect(t.Context(), redirected); return err },
					func() error { _, err := f.FetchToken(t.Context(), "another"); return err },
				} {
					if err := again(); !errorSays(err, "only once") || s.Count("/token") != 1 {
						t.Error("a second exchange", err, s.Count("/token"))
					}
				}
			})
		})
	}
}

// Two identical redirects at once are one exchange. F3
func TestRedirectTwice(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	f, _, redirected := signedInFlow(t, s, "a")
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		both.Go(func() { _, errs[i] = f.FetchTokenFromRedirect(t.Context(), redirected) })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || s.Count("/token") != 1 || s.CodeReuses() != 0 {
		t.Error(errs, s.Count("/token"))
	}
}

// The scopes that were granted are what the Token says, none is lost and no refresh asks for more. The refresh token is
// kept for that.
//
// F26 PY7 UP15 UP16 CA6
func TestGrantedScopes(t *testing.T) {
	t.Parallel()
	const openID = "openid email"
	for _, tt := range []struct {
		name, asked string
		granted     []string // nil: the answer has no scope
		want        string
	}{
		{"as requested", openID, []string{"openid", "email"}, "openid email"},
		{"fewer", openID, []string{"openid"}, "openid"},
		{"fewer, without OpenID", "a b", []string{"b"}, "b"},
		{"more", openID, []string{"openid", "email", "profile"}, "openid email profile"},
		{"renamed", openID, []string{"openid", "https://www.googleapis.com/auth/userinfo.email"},
			"openid https://www.googleapis.com/auth/userinfo.email"},
		{"another order", openID, []string{"email", "openid"}, "email openid"},
		{"absent", "a b", nil, "a b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			s.GrantScopes = func([]string) []string { return tt.granted }
			f, _, redirected := signedInFlow(t, s, tt.asked)
			creds, err := f.FetchTokenFromRedirect(t.Context(), redirected)
			if err != nil {
				t.Fatal(err)
			}
			for _, get := range []func(context.Context) (*Token, error){creds.Token, creds.Refresh} {
				tok, err := get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(tok.Scopes, " "); got != tt.want {
					t.Errorf("granted %q, want %q", got, tt.want)
				}
			}
			if r := s.Requests(); r[len(r)-1].Form.Has("scope") || r[len(r)-1].Form.Get("refresh_token") == "" {
				t.Error("the refresh asked for", r[len(r)-1].Form)
			}
		})
	}
}

// The claims of an ID token that comes with the sign-in are checked before anybody gets it. F28, F29
func TestSignInIDToken(t *testing.T) {
	t.Parallel()
	set := func(name string, value any) func(map[string]any) { return func(c map[string]any) { c[name] = value } }
	at := func(name string, fromNow time.Duration) func(map[string]any) {
		return func(c map[string]any) { c[name] = time.Now().Add(fromNow).Unix() }
	}
	for _, tt := range []struct {
		name   string
		claims func(map[string]any)
		raw    string // in place of the token
		err    string // empty: accepted
	}{
		{name: "right", claims: func(map[string]any) {}},
		{
			name: "several audiences",
			claims: func(c map[string]any) {
				c["aud"], c["azp"] = []string{"client-1.example", "other"}, "client-1.example"
			},
		},
		{name: "issued a moment ahead", claims: at("iat", 30*time.Second)},
		{name: "wrong nonce", claims: set("nonce", "wrong"), err: "nonce"},                      // F29, F14
		{name: "no nonce", claims: func(c map[string]any) { delete(c, "nonce") }, err: "nonce"}, // F29
		{name: "empty nonce", claims: set("nonce", ""), err: "nonce"},                           // F29
		{name: "nonce is no string", claims: set("nonce", 1), err: "nonce"},                     // F29
		{name: "another issuer", claims: set("iss", "https://evil.example"), err: `not issued by "https://as.example"`},
		{name: "no issuer", claims: func(c map[string]any) { delete(c, "iss") }, err: "issued by"},
		{name: "another audience", claims: set("aud", "other"), err: "audience"},
		{name: "no audience", claims: func(c map[string]any) { delete(c, "aud") }, err: "audience"},
		{
			name:   "audiences without azp",
			claims: set("aud", []string{"client-1.example", "other"}),
			err:    "another party",
		},
		{name: "another azp", claims: set("azp", "other"), err: "another party"},
		{name: "expired", claims: at("exp", -2*time.Minute), err: "expires at"},
		{name: "no expiry", claims: func(c map[string]any) { delete(c, "exp") }, err: "iat, exp"},
		{name: "from the future", claims: at("iat", 10*time.Minute), err: "clock says"},
		{name: "no subject", claims: set("sub", ""), err: "sub"},
		{name: "no JWT", raw: "abc", err: "JWT"},
		{name: "no JSON", raw: "e30.YWJj.c2ln", err: "JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			s.IDTokenClaims = tt.claims
			if tt.raw != "" {
				s.Answer = func(_ string, answer map[string]any) { answer["id_token"] = tt.raw }
			}
			f, sent, redirected := signedInFlow(t, s, "openid")
			creds, err := f.FetchTokenFromRedirect(t.Context(), redirected)
			if tt.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				tok, err := creds.Token(t.Context())
				if err != nil || strings.Count(tok.IDToken.Reveal(), ".") != 2 {
					t.Error(err)
				}
				return
			}
			if creds != nil || err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") ||
				!strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
			if strings.Contains(err.Error(), sent.Get("nonce")) {
				t.Error("the error shows the nonce")
			}
		})
	}
	// Whoever knows no issuer has nothing to check them against, and still gets the raw token.
	s := NewMemoryServer()
	s.IDTokenClaims = set("iss", "https://other.example")
	f := NewFlow(fileClientOf(t, s, "installed"), "openid")
	f.client.Issuer, f.RedirectURI = "", "http://127.0.0.1:8000/"
	_, redirected := authorizeFlow(t, s, f)
	if _, err := f.FetchTokenFromRedirect(t.Context(), redirected); err != nil {
		t.Error(err)
	}
}

// A web application's attempt survives between two requests, and between two processes, and serves only the session
// and the client that began it. UP18, PY10; F8
func TestMarshalAndResume(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	s.RedirectURIs = []string{"https://app.example/callback"}
	begin := func() ([]byte, url.Values, string) {
		f := NewFlow(fileClientOf(t, s, "web"), "openid", "email")
		f.RedirectURI = "https://app.example/callback"
		f.Params = url.Values{"audience": {"https://api.example"}}
		sent, redirected := authorizeFlow(t, s, f)
		data, err := f.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return data, sent, redirected
	}
	data, sent, redirected := begin()
	_, _, theirs := begin()

	f, err := ResumeFlow(fileClientOf(t, s, "web"), data)
	if err != nil {
		t.Fatal(err)
	}
	if authURL, err := f.AuthorizationURL(); err == nil {
		t.Errorf("a resumed Flow began another attempt: %s", authURL)
	}
	if again, err := f.Marshal(); err != nil || string(again) != string(data) {
		t.Errorf("%s, %v, want %s", again, err, data)
	}
	// of another session
	if _, err := f.FetchTokenFromRedirect(t.Context(), theirs); err == nil || s.Count("/token") != 0 {
		t.Error(err)
	}
	creds, err := f.FetchTokenFromRedirect(t.Context(), redirected)
	if err != nil {
		t.Fatal(err)
	}
	if tok, err := creds.Token(t.Context()); err != nil || !slices.Equal(tok.Scopes, []string{"openid", "email"}) ||
		tok.IDToken.empty() {
		t.Error(tok, err)
	}
	form := onlyExchange(t, s)
	if challenge(form.Get("code_verifier")) != sent.Get("code_challenge") ||
		form.Get("audience") != "https://api.example" ||
		form.Get("redirect_uri") != "https://app.example/callback" {
		t.Error(form)
	}

	for _, tt := range []struct {
		name, data string
		client     func(c *ClientSecrets) *ClientSecrets
		err        string
	}{
		{name: "empty", err: "no stored sign-in"},
		{name: "not JSON", data: "x", err: "no stored sign-in"},
		{name: "cut", data: string(data[:len(data)-1]), err: "no stored sign-in"},
		{name: "two", data: string(data) + string(data), err: "no stored sign-in"},
		{name: "no state", data: strings.Replace(string(data), `"state":[`, `"x":[`, 1), err: "no stored sign-in"},
		{
			name: "no verifier",
			data: strings.Replace(string(data), `"code_verifier":"`, `"x":"`, 1),
			err:  "no stored sign-in",
		},
		{
			name: "wrong type",
			data: strings.Replace(string(data), `"began":"`, `"began":"x`, 1),
			err:  "no stored sign-in",
		},
		{
			name:   "another client",
			data:   string(data),
			client: func(c *ClientSecrets) *ClientSecrets { c.ClientID = "x"; return c },
			err:    "another client",
		},
		{
			name:   "another server",
			data:   string(data),
			client: func(c *ClientSecrets) *ClientSecrets { c.TokenURI = "https://evil.example/token"; return c },
			err:    "another client",
		},
		{
			name:   "no client",
			data:   string(data),
			client: func(*ClientSecrets) *ClientSecrets { return nil },
			err:    "another client",
		},
	} {
		c := fileClientOf(t, s, "web")
		if tt.client != nil {
			c = tt.client(c)
		}
		_, err := ResumeFlow(c, []byte(tt.data))
		if !errorSays(err, tt.err) || strings.Contains(err.Error(), sent.Get("state")) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := NewFlow(fileClientOf(t, s, "web")).Marshal(); !errorSays(err, "no sign-in is under way") {
		t.Error(err)
	}
}

// An attempt that nobody completes ends. F27
func TestAttemptEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, _, redirected := signedInFlow(t, NewMemoryServer(), "a")
		data, err := f.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(attemptLifetime + 1)
		resumed, err := ResumeFlow(f.client, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []*Flow{f, resumed} {
			_, err := f.FetchTokenFromRedirect(t.Context(), redirected)
			_, err2 := f.FetchToken(t.Context(), "c")
			_, err3 := f.Marshal()
			for _, err := range []error{err, err2, err3} {
				if !errorSays(err, "for an hour") {
					t.Error(err)
				}
			}
		}
	})
}

// Who wants no refresh gives a source that has none: the server's 401 is then the caller's. UP23
func TestStaticTokenSource(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	f, _, redirected := signedInFlow(t, s, "a")
	creds, err := f.FetchTokenFromRedirect(t.Context(), redirected)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	api := &http.Client{Transport: &Transport{Source: sourceOf(tok), Base: s.Transport()}}
	for _, want := range []int{200, 401, 401} {
		resp, err := api.Get(s.URL + "/userinfo")
		if err != nil || resp.StatusCode != want {
			t.Error(resp, err)
		}
		s.ExpireAccessTokens()
	}
	if s.TokenRequests("refresh_token") != 0 {
		t.Error("refreshed")
	}
}

// FuzzRedirect shows that no query panics or completes an attempt without its state. The state is of 43 characters of
// random, which no input has unless the target puts it in for "{S}".
func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{
		"", "code=c", "code=c&state={S}", "state={S}", "code=c&state={S}&state={S}", "error=access_denied&state={S}",
		"code=%zz&state={S}", "code=c;state={S}", "co%64e=c&code=d&state={S}",
		"code=c&state={S}&iss=https://as.example", "code=c&state={S}&iss=x", "code=%00&state={S}",
		"error=%1b[31m&error_description={S}&state={S}", "code=c&error=e&state={S}", "{S}", "code={S}&state=",
		"st%61te={S}&code=c", "code=c&state={S}#", "%7BS%7D",
	} {
		f.Add(seed)
	}
	var requests int
	client := clientOver(roundTripFunc(func(*http.Request) (*http.Response, error) {
		requests++
		return response(200, `{"access_token":"a"}`), nil
	}))
	client.Issuer = "https://as.example"
	f.Fuzz(func(t *testing.T, query string) {
		flow := NewFlow(client)
		flow.RedirectURI = "http://127.0.0.1:8000/"
		if _, err := flow.AuthorizationURL(); err != nil {
			t.Fatal(err)
		}
		a, _ := flow.current()
		state := a.params.Get("state")
		query = strings.ReplaceAll(query, "{S}", state)
		requests = 0
		creds, err := flow.FetchTokenFromRedirect(t.Context(), "?"+query)
		part, _, _ := strings.Cut(query, "#")
		q, qerr := url.ParseQuery(part)
		right := qerr == nil && len(q["state"]) == 1 && q.Get("state") == state
		var e *Error
		switch {
		case (creds == nil) == (err == nil):
			t.Fatal(creds, err)
		case err == nil && (!right || len(q["code"]) != 1 || q.Has("error") || requests != 1):
			t.Fatalf("completed by %q", query)
		case err != nil && requests != 0:
			t.Fatalf("%d token requests for %q", requests, query)
		case errors.As(err, &e) && (!right || len(q["error"]) != 1 || q.Has("code")):
			t.Fatalf("ended by %q", query)
		case err != nil && (strings.Contains(err.Error(), state) || unprintable(err.Error())):
			t.Fatalf("%q", err)
		}
	})
}
