package oauth2

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// What discovery sets of a client, and what the client then does with it: the rows of the world's servers.

// wellKnownServer answers at the two paths of a server's metadata, and counts the requests to each.
type wellKnownServer struct {
	openID, oauth           roundTripFunc
	askedOpenID, askedOAuth int
}

func (s *wellKnownServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, oauthPath) {
		s.askedOAuth++
		return s.oauth.RoundTrip(r)
	}
	s.askedOpenID++
	return s.openID.RoundTrip(r)
}

// failing fails every request in the same way.
func failing(err error) roundTripFunc {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// W30: a path that is not there has any status of 4xx, or is some page; a server that is away is an outage.
func TestDiscoverNotHere(t *testing.T) {
	t.Parallel()
	const issuer, html = "https://as.example", "Content-Type: text/html; charset=utf-8"
	document := discoveryDocument(issuer, nil)
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	type row struct {
		name   string
		openID roundTripFunc
		says   string // of the error; empty: there is none, since the other path is asked
		tries  int    // requests to the first path; 0: one
	}
	rows := []row{
		{name: "404 with a page", openID: answering(404, html, "<html>"+document)},
		{name: "404 with an OAuth error", openID: answering(404, "", `{"error":"invalid_request"}`)},
		{name: "403 with another document", openID: answering(403, "", discoveryDocument("https://evil.example", nil))},
		{name: "page with status 200", openID: answering(200, html, "<!DOCTYPE html><title>Sign in</title>")},
		{name: "text with status 200", openID: answering(200, "", "Not found")},
		{name: "list with status 200", openID: answering(200, "", "["+document+"]")},
		{name: "string with status 200", openID: answering(200, "", `"`+issuer+`"`)},
		{name: "null with status 200", openID: answering(200, "", "null")},
		{name: "nothing with status 200", openID: answering(200, "", "")},
		{name: "nothing with status 204", openID: answering(204, "", "")},

		{name: "cut document", openID: answering(200, "", document[:len(document)-1])},
		{name: "another's document", openID: answering(200, "", discoveryDocument("https://evil.example", nil)),
			says: "another issuer"},
		{name: "error with status 200", openID: answering(200, "", `{"error":"access_denied"}`), says: "access_denied"},
		{name: "page that is a redirect", openID: answering(302, "Location: /login", ""), says: "redirect"},
		{name: "redirect for good", openID: answering(308, "Location: /login", ""), says: "redirect"},
		{name: "no connection", openID: failing(refused), says: "connection failed", tries: maxAttempts},
		{name: "connection reset", openID: failing(reset), says: "connection failed", tries: maxAttempts},
		{name: "connection ends", openID: failing(io.ErrUnexpectedEOF), says: "ended", tries: maxAttempts},
		{name: "time-out", openID: failing(context.DeadlineExceeded), says: "timed out", tries: maxAttempts},
		{name: "unknown host", openID: failing(&net.DNSError{IsNotFound: true}), says: "looked up"},
		{name: "wrong certificate", openID: failing(&tls.CertificateVerificationError{Err: errors.New("x")}),
			says: "certificate"},
		{name: "connection ends in the body", says: "ended", tries: maxAttempts,
			openID: func(*http.Request) (*http.Response, error) {
				resp := response(404, "")
				resp.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
				return resp, nil
			}},
	}
	for status := 400; status < 600; status++ {
		r := row{name: fmt.Sprint(status), openID: answering(status, html, "<html>")}
		switch {
		case slices.Contains([]int{408, 429, 500, 502, 503, 504}, status):
			r.says, r.tries = r.name, maxAttempts
		case status >= 500:
			r.says = r.name
		}
		rows = append(rows, r)
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &wellKnownServer{openID: tt.openID, oauth: answering(200, "", document)}
				c := filledClient(s)
				err := c.Discover(t.Context(), issuer)
				if s.askedOpenID != max(1, tt.tries) {
					t.Errorf("the first path was asked %d times", s.askedOpenID)
				}
				if tt.says == "" {
					if err != nil || s.askedOAuth != 1 || c.TokenURI != "https://as.example/t" {
						t.Errorf("%v, and %d requests to the other path", err, s.askedOAuth)
					}
					return
				}
				if !errorSays(err, tt.says) || s.askedOAuth != 0 || c.TokenURI != "https://old.example/t" {
					t.Errorf("%v, want %q; %d requests to the other path", err, tt.says, s.askedOAuth)
				}
			})
		})
	}
}

// W30: where neither path has a document, the error is that of the second, and nothing is changed.
func TestDiscoverNowhere(t *testing.T) {
	t.Parallel()
	const issuer = "https://as.example"
	tests := []struct {
		name          string
		openID, oauth roundTripFunc
		status        int // of the error
		says          string
	}{
		{"404 both", answering(404, "", ""), answering(404, "", ""), 404, "404"},
		{"401, then 403", answering(401, "", ""), answering(403, "", ""), 403, "403"},
		{"page, then 405", answering(200, "", "<html>"), answering(405, "", ""), 405, "405"},
		{"404, then a page", answering(404, "", ""), answering(200, "", "<html>"), 200, "not a JSON object"},
		{"404, then nothing", answering(404, "", ""), answering(200, "", ""), 200, "is empty"},
		{"404, then an outage", answering(404, "", ""), answering(503, "", ""), 503, "503"},
		{"404, then another's", answering(404, "", ""),
			answering(200, "", discoveryDocument("https://evil.example", nil)), 200, "another issuer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &wellKnownServer{openID: tt.openID, oauth: tt.oauth}
				c := filledClient(s)
				err := c.Discover(t.Context(), issuer)
				e := new(Error)
				if !errors.As(err, &e) || e.StatusCode != tt.status || !errorSays(err, tt.says) {
					t.Errorf("%v, status %d, want %d and %q", err, e.StatusCode, tt.status, tt.says)
				}
				if s.askedOpenID != 1 || s.askedOAuth == 0 {
					t.Errorf("asked %d and %d times", s.askedOpenID, s.askedOAuth)
				}
				want := filledClient(s)
				if c.Issuer != want.Issuer || c.TokenURI != want.TokenURI || c.KeysURI != want.KeysURI {
					t.Errorf("the client has become %+v", c)
				}
			})
		})
	}
}

// googleClientFile is a client_secrets.json of Google's console. The values are made up.
const googleClientFile = `{"installed":{"client_id":"1-made-up.apps.googleusercontent.com",
	"project_id":"made-up","auth_uri":"https://accounts.google.com/o/oauth2/auth",
	"token_uri":"https://oauth2.googleapis.com/token",
	"auth_provider_x509_cert_url":"https://www.googleapis.com/oauth2/v1/certs",
	"client_secret":"GOCSPX-made-up","redirect_uris":["http://localhost"]}}`

// W31: a client from Google's file that discovers another server has nothing of Google's left, and sends nothing there.
func TestDiscoverClears(t *testing.T) {
	t.Parallel()
	const issuer = "https://as.example"
	document := discoveryDocument(issuer, map[string]any{
		"jwks_uri": nil, "device_authorization_endpoint": nil, "revocation_endpoint": nil,
	})
	asked := map[string]bool{}
	transport := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		asked[r.URL.Host] = true
		if r.URL.Path == openIDPath {
			return response(200, document), nil
		}
		return response(200, tokenAnswer), nil
	})
	c, err := ParseClientSecrets([]byte(googleClientFile))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = &http.Client{Transport: transport}
	if c.Issuer != googleIssuer || c.RevocationURI == "" || c.DeviceAuthURI == "" || c.KeysURI != googleKeysURI {
		t.Fatalf("not a client of Google's: %+v", c)
	}
	if err := c.Discover(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	if c.KeysURI != "" || c.DeviceAuthURI != "" || c.RevocationURI != "" || c.Issuer != issuer {
		t.Errorf("the client is %+v", c)
	}
	creds := NewCredentials(c, NewSecret("refresh-token"))
	if _, err := creds.Token(t.Context()); err != nil {
		t.Error(err)
	}
	if err := creds.Revoke(t.Context()); !errorSays(err, "no RevocationURI") {
		t.Errorf("Revoke: %v", err)
	}
	file, err := creds.MarshalAuthorizedUser()
	if err != nil || strings.Contains(string(file), "googleapis") {
		t.Errorf("the file is %s: %v", file, err)
	}
	loaded, err := ParseCredentials(file)
	if err != nil {
		t.Fatal(err)
	}
	loaded.HTTPClient = c.HTTPClient
	if err := loaded.Revoke(t.Context()); !errorSays(err, "no RevocationURI") {
		t.Errorf("Revoke of loaded credentials: %v", err)
	}
	flow := NewInstalledAppFlow(c, "a")
	flow.Prompt = io.Discard
	if _, err := flow.RunDevice(t.Context()); !errorSays(err, "no DeviceAuthURI") {
		t.Errorf("RunDevice: %v", err)
	}
	now := time.Now().Unix()
	raw := signClaims(serverKey(), map[string]any{"alg": "RS256", "kid": serverKeyID},
		map[string]any{"iss": issuer, "aud": c.ClientID, "sub": "user-1", "iat": now, "exp": now + 60})
	if _, err := c.IDTokenVerifier().Verify(t.Context(), raw); !errorSays(err, "can't be verified") {
		t.Errorf("Verify: %v", err)
	}
	if !maps.Equal(asked, map[string]bool{"as.example": true}) {
		t.Errorf("asked %v", asked)
	}
	// What one server has promised does not hold for the next.
	document = discoveryDocument(issuer, map[string]any{"id_token_signing_alg_values_supported": []string{"ES512"}})
	if err := c.Discover(t.Context(), issuer); err != nil || !c.issRequired || c.foreignAlgs == "" {
		t.Errorf("%v, %+v", err, c)
	}
	document = discoveryDocument(issuer, map[string]any{"authorization_response_iss_parameter_supported": nil})
	if err := c.Discover(t.Context(), issuer); err != nil || c.issRequired || c.foreignAlgs != "" {
		t.Errorf("%v, %+v", err, c)
	}
}

// W32: a server elsewhere can't send its clients to a port of their own machine.
func TestDiscoverThisMachine(t *testing.T) {
	t.Parallel()
	members := []string{
		"authorization_endpoint", "token_endpoint", "jwks_uri", "device_authorization_endpoint", "revocation_endpoint",
	}
	tests := []struct {
		name, issuer, endpoint string
		accepted               bool
	}{
		{"an address", "https://as.example", "http://127.0.0.1:9200/x", false},
		{"another address", "https://as.example", "http://127.1.2.3/x", false},
		{"IPv6", "https://as.example", "http://[::1]:9200/x", false},
		{"a name", "https://as.example", "http://localhost:9200/x", false},
		{"in capitals", "https://as.example", "HTTP://127.0.0.1:9200/x", false},
		{"issuer in capitals", "HTTPS://as.example", "http://127.0.0.1:9200/x", false},
		{"both in capitals", "HTTPS://as.example", "HTTP://127.0.0.1:9200/x", false},
		{"issuer that looks near", "https://localhost.as.example", "http://127.0.0.1:9200/x", false},
		{"with TLS", "https://as.example", "https://127.0.0.1:9200/x", true},
		{"issuer at an address", "http://127.0.0.1:8080", "http://127.0.0.1:8080/x", true},
		{"issuer at IPv6", "http://[::1]:8080", "http://[::1]:8080/x", true},
		{"issuer at a name", "http://localhost:8080", "http://127.0.0.1:9200/x", true},
		{"issuer here, endpoint elsewhere", "http://127.0.0.1:8080", "https://as.example/x", true},
		{"issuer here, endpoint elsewhere without TLS", "http://127.0.0.1:8080", "http://as.example/x", false},
	}
	for _, tt := range tests {
		for _, member := range members {
			t.Run(tt.name+"/"+member, func(t *testing.T) {
				t.Parallel()
				document := discoveryDocument(tt.issuer, map[string]any{member: tt.endpoint})
				c := filledClient(answering(200, "", document))
				err := c.Discover(t.Context(), tt.issuer)
				if tt.accepted && err != nil {
					t.Error(err)
				}
				if !tt.accepted && (!errorSays(err, member) || c.Issuer != "https://old.example") {
					t.Errorf("%v, and the issuer is %s", err, c.Issuer)
				}
			})
		}
	}
}

// W33: what AuthURI's own query may have.
func TestAuthURIQuery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, query string
		scopes      []string
		params      url.Values
		refused     string // the parameter
	}{
		{name: "kept", query: "p=b2c_1_sign-in&tenant=t&ui_locales=de&prompt=login&audience=a&resource=b"},
		{name: "kept twice", query: "acr=1&acr=2"},
		{name: "kept without a value", query: "p"},
		{name: "scope of a flow without scopes", query: "scope=admin", refused: "scope"},
		{name: "nonce of a flow without openid", query: "nonce=x", refused: "nonce"},
		{name: "scope of a flow with scopes", query: "scope=admin", scopes: []string{"openid"}, refused: "scope"},
		{name: "empty state", query: "state=", refused: "state"},
		{name: "among others", query: "p=1&request_uri=https://evil.example/r&q=2", refused: "request_uri"},
		{name: "escaped", query: "p=1&request%5Furi=x", refused: "request_uri"},
		{name: "access type", query: "access_type=online", refused: "access_type"},
		{name: "access type that is removed", query: "access_type=online", params: url.Values{"access_type": nil},
			refused: "access_type"},
		{name: "what Params has", query: "prompt=none", params: url.Values{"prompt": {"login"}}, refused: "prompt"},
		{name: "fragment", query: "response_mode=fragment", refused: "response_mode"},
		{name: "form", query: "response_mode=form_post", refused: "response_mode"},
		{name: "form, which Params has too", query: "response_mode=form_post",
			params: url.Values{"response_mode": {"form_post"}}, refused: "response_mode"},
	}
	for _, name := range []string{
		"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "request", "request_uri", "grant_type", "code", "code_verifier", "device_code",
		"refresh_token", "assertion", "client_secret", "client_assertion", "client_assertion_type",
	} {
		row := tests[0]
		row.name, row.query, row.refused = "reserved "+name, name+"=evil", name
		tests = append(tests, row)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := clientOver(failing(io.EOF))
			c.AuthURI = "https://as.example/auth?" + tt.query
			f := NewFlow(c, tt.scopes...)
			f.RedirectURI, f.Params = "http://127.0.0.1:8000/", tt.params
			authURL, err := f.AuthorizationURL()
			if tt.refused != "" {
				if !errorSays(err, fmt.Sprintf("AuthURI has the parameter %q", tt.refused)) || authURL != "" {
					t.Errorf("%q, %v", authURL, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(authURL)
			if err != nil {
				t.Fatal(err)
			}
			own, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range own {
				if !slices.Equal(u.Query()[name], values) {
					t.Errorf("%s is %q in %s", name, u.Query()[name], authURL)
				}
			}
		})
	}
}

// W33: the answer may come in a query, or in a form to a web application; a fragment is for scripts.
func TestResponseMode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		modes                []string
		accepted, atLoopback bool
	}{
		{[]string{"query"}, true, true},
		{[]string{"form_post"}, true, false},
		{[]string{"fragment"}, false, false},
		{[]string{"jwt"}, false, false},
		{[]string{"query.jwt"}, false, false},
		{[]string{"form_post.jwt"}, false, false},
		{[]string{"web_message"}, false, false},
		{[]string{"Query"}, false, false},
		{[]string{""}, false, false},
		{[]string{"query", "fragment"}, false, false},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.modes, " and "), func(t *testing.T) {
			t.Parallel()
			s := NewTestServer(t)
			params := url.Values{"response_mode": tt.modes}
			f := NewFlow(fileClientOf(t, s, "installed"), "a")
			f.RedirectURI, f.Params = "http://127.0.0.1:8000/", params
			authURL, err := f.AuthorizationURL()
			if !tt.accepted {
				if !errorSays(err, "response_mode other than query and form_post") || authURL != "" {
					t.Errorf("%q, %v", authURL, err)
				}
			} else if u, _ := url.Parse(authURL); err != nil || !slices.Equal(u.Query()["response_mode"], tt.modes) {
				t.Errorf("%q, %v", authURL, err)
			}
			app := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "a")
			app.Params, app.Prompt, app.OpenBrowser = params, io.Discard, s.Browser
			_, err = app.RunLocalServer(t.Context())
			if tt.atLoopback != (err == nil) || !tt.atLoopback && !errorSays(err, "response_mode") {
				t.Errorf("RunLocalServer: %v", err)
			}
			if n := s.Count("/authorize"); !tt.atLoopback && n > 0 {
				t.Errorf("%d browsers were opened", n)
			}
		})
	}
}

// W33: a program on the user's machine takes redirects only, and says so before it listens, prints or opens anything.
func TestFormPostAtLoopback(t *testing.T) {
	t.Parallel()
	for _, modes := range [][]string{{"form_post"}, {"query", "form_post"}} {
		for name, signIn := range map[string]func(*InstalledAppFlow, context.Context) (*Credentials, error){
			"RunLocalServer": (*InstalledAppFlow).RunLocalServer,
			"SignIn":         (*InstalledAppFlow).SignIn,
		} {
			t.Run(name+" "+strings.Join(modes, " and "), func(t *testing.T) {
				t.Parallel()
				var prompt strings.Builder
				f := NewInstalledAppFlow(clientOver(failing(io.EOF)), "a")
				f.Params, f.Prompt, f.Store = url.Values{"response_mode": modes}, &prompt, newMemoryStore()
				f.ListenAddr = "256.0.0.1:0" // to listen there is an error
				f.OpenBrowser = func(string) error { t.Error("a browser was opened"); return nil }
				_, err := signIn(f, t.Context())
				if !errorSays(err, "response_mode form_post is for web applications") || prompt.Len() > 0 {
					t.Errorf("%v; the prompt is %q", err, prompt.String())
				}
			})
		}
	}
}

// W33: the form that a browser posts is passed on as a query, and is checked like one.
func TestFormPost(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, more, says string }{
		{"with what Apple adds", "&user=%7B%22name%22%3A%7B%22firstName%22%3A%22Ada%22%7D%7D", ""},
		{"state twice", "&state=x", "twice"},
		{"error too", "&error=access_denied", "an error too"},
		{"malformed", "&a=%zz", "malformed"},
		{"large", "&user=" + strings.Repeat("a", 64<<10), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			f := NewFlow(fileClientOf(t, s, "web"), "openid")
			f.RedirectURI, f.Params = "http://127.0.0.1:8000/", url.Values{"response_mode": {"form_post"}}
			_, redirected := authorizeFlow(t, s, f)
			_, body, _ := strings.Cut(redirected, "?")
			creds, err := f.FetchTokenFromRedirect(t.Context(), "?"+body+tt.more)
			if tt.says != "" {
				if !errorSays(err, tt.says) || s.Count("/token") > 0 {
					t.Errorf("%v, want %q", err, tt.says)
				}
			} else if err != nil || creds.IDToken().Subject != s.Subject {
				t.Error(err)
			}
		})
	}
}

// keyedClient is a client that authenticates with its key, at the server that transport reaches.
func keyedClient(transport http.RoundTripper) *ClientSecrets {
	c := clientOver(transport)
	c.AuthMethod, c.Key, c.ClientSecret = "private_key_jwt", serverKey(), Secret{}
	return c
}

// W34: who has an assertion could use it at the token endpoint, so it goes to no other origin.
func TestAssertionOrigin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, tokenURI, endpoint string
		sent                     bool
	}{
		{"same origin", "https://as.example/token", "https://as.example/x?y=z", true},
		{"same origin, in capitals", "https://as.example/token", "https://AS.example/x", true},
		{"same origin with a port", "https://as.example:8443/token", "https://as.example:8443/x", true},
		{"this machine", "http://127.0.0.1:8080/token", "http://127.0.0.1:8080/x", true},
		{"another host", "https://as.example/token", "https://evil.example/x", false},
		{"a host below", "https://as.example/token", "https://x.as.example/x", false},
		{"the host above", "https://x.as.example/token", "https://as.example/x", false},
		{"a longer host", "https://as.example/token", "https://as.example.evil.example/x", false},
		{"another port", "https://as.example/token", "https://as.example:8443/x", false},
		{"another port here", "http://127.0.0.1:8080/token", "http://127.0.0.1:8081/x", false},
		{"without TLS", "https://127.0.0.1:8080/token", "http://127.0.0.1:8080/x", false},
		{"host in the path", "https://as.example/token", "https://evil.example/https://as.example/x", false},
		{"host in the query", "https://as.example/token", "https://evil.example?https://as.example/x", false},
	}
	for _, tt := range tests {
		endpoints := map[string]func(*ClientSecrets) error{
			"revocation": func(c *ClientSecrets) error {
				c.RevocationURI = tt.endpoint
				return NewCredentials(c, NewSecret("refresh-token")).Revoke(t.Context())
			},
			"device": func(c *ClientSecrets) error {
				c.DeviceAuthURI = tt.endpoint
				f := NewInstalledAppFlow(c, "a")
				f.Prompt = io.Discard
				_, err := f.RunDevice(t.Context())
				return err
			},
		}
		for name, call := range endpoints {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				refusal := answering(400, "", `{"error":"teapot"}`) // ends what got so far
				recorder := &requestRecorder{answer: refusal}
				c := keyedClient(recorder)
				c.TokenURI = tt.tokenURI
				err := call(c)
				if !tt.sent {
					if !errorSays(err, "the origin of TokenURI") || len(recorder.requests) > 0 {
						t.Errorf("%v, after %d requests", err, len(recorder.requests))
					}
					return
				}
				if !errorSays(err, "teapot") || len(recorder.requests) != 1 ||
					!strings.Contains(recorder.bodies[0], "client_assertion=") {
					t.Errorf("%v, after %q", err, recorder.bodies)
				}
				// Other ways to authenticate are of no use to others than the server, or are known to it.
				other := clientOver(recorder)
				other.TokenURI = "https://elsewhere.example/token"
				if err := call(other); !errorSays(err, "teapot") || len(recorder.requests) != 2 {
					t.Errorf("with a secret: %v", err)
				}
			})
		}
	}
}

// W35: one client, one verifier.
func TestClientVerifier(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		client func(c *ClientSecrets)
		claims map[string]any // in place of what is right
		says   string         // empty: accepted
		asked  int            // requests for keys
	}{
		{name: "right", asked: 1},
		{name: "another audience", claims: map[string]any{"aud": "client-2"}, says: "audience"},
		{name: "another issuer", claims: map[string]any{"iss": "https://evil.example"}, says: "not issued by"},
		{name: "Google's", claims: map[string]any{"iss": googleIssuer}, says: "not issued by"},
		{name: "no issuer", client: func(c *ClientSecrets) { c.Issuer = "" }, says: "set the client's Issuer"},
		{name: "no issuer, Google's token", client: func(c *ClientSecrets) { c.Issuer = "" },
			claims: map[string]any{"iss": googleIssuer}, says: "set the client's Issuer"},
		{name: "no keys", client: func(c *ClientSecrets) { c.KeysURI = "" }, says: "the endpoint is missing"},
		{name: "no client ID", client: func(c *ClientSecrets) { c.ClientID = "" }, says: "udience"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			c := clientOf(s)
			if err := c.Discover(t.Context(), s.URL); err != nil {
				t.Fatal(err)
			}
			if tt.client != nil {
				tt.client(c)
			}
			now := time.Now().Unix()
			claims := map[string]any{"iss": s.URL, "aud": s.ClientID, "sub": "user-1", "iat": now, "exp": now + 60}
			maps.Copy(claims, tt.claims)
			raw := signClaims(serverKey(), map[string]any{"alg": "RS256", "kid": serverKeyID}, claims)
			verifier := c.IDTokenVerifier()
			for range 2 { // the keys are kept
				person, err := verifier.Verify(t.Context(), raw)
				accepted := err == nil && person.Subject == "user-1"
				if accepted != (tt.says == "") || !accepted && !errorSays(err, tt.says) {
					t.Errorf("%v, %v, want %q", person, err, tt.says)
				}
			}
			if n := s.Count("/keys"); n != tt.asked {
				t.Errorf("%d requests for keys, want %d", n, tt.asked)
			}
		})
	}
	c, err := ParseClientSecrets([]byte(googleClientFile))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = &http.Client{} // W36
	v := c.IDTokenVerifier()
	if v.Issuer != googleIssuer || v.KeysURI != googleKeysURI || v.Audience != c.ClientID ||
		v.HTTPClient != c.HTTPClient {
		t.Errorf("the verifier of Google's client is %+v", v)
	}
}

// W35: a server that signs with nothing that is verified signs users in all the same, and Verify says why it can't.
func TestForeignAlgorithms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		supported any // nil: absent
		foreign   bool
	}{
		{"ES512", []string{"ES512"}, true},
		{"several", []string{"ES512", "HS256", "none"}, true},
		{"in another case", []string{"rs256"}, true},
		{"RS256", []string{"ES512", "RS256"}, false},
		{"ES256", []string{"ES256", "ES512"}, false},
		{"EdDSA", []string{"EdDSA"}, false},
		{"not said", nil, false},
		{"none are named", []string{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			s.Metadata = func(document map[string]any) {
				const name = "id_token_signing_alg_values_supported"
				if document[name] = tt.supported; tt.supported == nil {
					delete(document, name)
				}
			}
			alg := "RS256"
			if tt.foreign {
				alg = tt.supported.([]string)[0]
				s.Answer = func(_ string, answer map[string]any) {
					_, rest, _ := strings.Cut(answer["id_token"].(string), ".")
					header := rawBase64.EncodeToString([]byte(`{"alg":"` + alg + `"}`))
					answer["id_token"] = header + "." + rest
				}
			}
			c := clientOf(s)
			if err := c.Discover(t.Context(), s.URL); err != nil {
				t.Fatal(err)
			}
			f := NewFlow(c, "openid")
			f.RedirectURI = "http://127.0.0.1:8000/"
			_, redirected := authorizeFlow(t, s, f)
			creds, err := f.FetchTokenFromRedirect(t.Context(), redirected)
			if err != nil || creds.IDToken().Subject != s.Subject {
				t.Fatal("the sign-in failed: ", err)
			}
			tok, err := creds.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.IDTokenVerifier().Verify(t.Context(), tok.IDToken.Reveal())
			if tt.foreign {
				says := fmt.Sprintf("the issuer signs with %q, not with RS256, ES256 or EdDSA",
					strings.Join(tt.supported.([]string), " "))
				if !errorSays(err, says) || s.Count("/keys") > 0 {
					t.Errorf("Verify: %v", err)
				}
			} else if err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

const (
	userFile = `{"type":"authorized_user","client_id":"client","client_secret":"the-secret",
		"refresh_token":"refresh-token","token_uri":"https://as.example/token",
		"revocation_uri":"https://as.example/revoke"}`
	impersonationPath = "/v1/projects/-/serviceAccounts/a@b.example:generateAccessToken"
)

// impersonatedFile is a file of credentials whose source is another one.
func impersonatedFile(source string) string {
	return `{"type":"impersonated_service_account","source_credentials":` + source + `,
		"service_account_impersonation_url":"https://iamcredentials.googleapis.com` + impersonationPath + `"}`
}

// defaultCredentials returns the credentials of a file, as DefaultCredentials does.
func defaultCredentials(t *testing.T, file string) TokenSource {
	t.Helper()
	src, err := parseDefaultFile([]byte(file), "", []string{"a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// unused is the transport of an HTTP client that must not be used.
func unused(t *testing.T) http.RoundTripper {
	return roundTripFunc(func(r *http.Request) (*http.Response, error) {
		t.Errorf("another client was used for %s", r.URL)
		return nil, io.EOF
	})
}

// An httpClientUse sends requests with own, to the hosts and paths asked.
type httpClientUse struct {
	name  string
	asked []string
	call  func(t *testing.T, own *http.Client) error
}

func httpClientUses() []httpClientUse {
	const iam = "iamcredentials.googleapis.com" + impersonationPath
	account := string(serviceAccountFile(nil))
	token := []string{"as.example/token"}
	return []httpClientUse{
		{"ClientSecrets", token, func(t *testing.T, own *http.Client) error {
			_, err := startedFlow(t, clientOver(own.Transport)).FetchToken(t.Context(), "code")
			return err
		}},
		{"ClientCredentials", token, func(t *testing.T, own *http.Client) error {
			_, err := (&ClientCredentials{Client: clientOver(own.Transport)}).Token(t.Context())
			return err
		}},
		{"Credentials without one", token, func(t *testing.T, own *http.Client) error {
			_, err := NewCredentials(clientOver(own.Transport), NewSecret("refresh-token")).Token(t.Context())
			return err
		}},
		{"Credentials, over the client's", []string{"as.example/token", "as.example/revoke"},
			func(t *testing.T, own *http.Client) error {
				c := clientOver(unused(t))
				c.RevocationURI = "https://as.example/revoke"
				creds := NewCredentials(c, NewSecret("refresh-token"))
				creds.HTTPClient = own
				_, err := creds.Token(t.Context())
				return errors.Join(err, creds.Revoke(t.Context()))
			}},
		{"parsed Credentials", []string{"as.example/token", "as.example/revoke"},
			func(t *testing.T, own *http.Client) error {
				creds, err := ParseCredentials([]byte(userFile))
				if err != nil {
					return err
				}
				creds.HTTPClient = own
				_, err = creds.Token(t.Context())
				return errors.Join(err, creds.Revoke(t.Context()))
			}},
		{"loaded Credentials", token, func(t *testing.T, own *http.Client) error {
			store := newMemoryStore()
			store.data = []byte(userFile)
			creds, err := LoadCredentials(t.Context(), clientOver(unused(t)), store)
			if err != nil {
				return err
			}
			creds.HTTPClient = own
			_, err = creds.Token(t.Context())
			return err
		}},
		{"default Credentials", token, func(t *testing.T, own *http.Client) error {
			creds := defaultCredentials(t, userFile).(*Credentials)
			creds.HTTPClient = own
			_, err := creds.Token(t.Context())
			return err
		}},
		{"service account", slices.Repeat(token, 4),
			func(t *testing.T, own *http.Client) error {
				sa := defaultCredentials(t, account).(*ServiceAccountCredentials)
				sa.HTTPClient = own
				var errs []error
				for _, src := range []TokenSource{
					sa, sa.WithSubject("ada@example.com"), sa.WithScopes("b"), sa.IDTokenSource("https://run.example"),
				} {
					_, err := src.Token(t.Context())
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			}},
		{"impersonated, by a user of the same file",
			[]string{"as.example/token", iam},
			func(t *testing.T, own *http.Client) error {
				c := defaultCredentials(t, impersonatedFile(userFile)).(*ImpersonatedCredentials)
				c.HTTPClient = own
				_, err := c.Token(t.Context())
				return err
			}},
		{"impersonated, by a service account of the same file",
			[]string{"as.example/token", iam},
			func(t *testing.T, own *http.Client) error {
				c := defaultCredentials(t, impersonatedFile(account)).(*ImpersonatedCredentials)
				c.HTTPClient = own
				_, err := c.Token(t.Context())
				return err
			}},
		{"impersonated, by an impersonated one of the same file",
			[]string{
				"as.example/token", iam,
				iam,
			},
			func(t *testing.T, own *http.Client) error {
				c := defaultCredentials(t, impersonatedFile(impersonatedFile(userFile))).(*ImpersonatedCredentials)
				c.HTTPClient = own
				_, err := c.Token(t.Context())
				return err
			}},
		{"impersonated, by a source of the program's", []string{iam},
			func(t *testing.T, own *http.Client) error {
				theirs := &requestRecorder{answer: answering(200, "", tokenAnswer)}
				source := NewCredentials(clientOver(theirs), NewSecret("refresh-token"))
				c := &ImpersonatedCredentials{Source: source, Account: "a@b.example", HTTPClient: own}
				_, err := c.Token(t.Context())
				if len(theirs.requests) != 1 || source.HTTPClient != nil {
					t.Errorf("the source's own client was asked %d times", len(theirs.requests))
				}
				return err
			}},
		{"Discover and the verifier", []string{"as.example" + openIDPath, "keys.example/k"},
			func(t *testing.T, own *http.Client) error {
				c := &ClientSecrets{ClientID: "client", HTTPClient: own}
				if err := c.Discover(t.Context(), "https://as.example"); err != nil {
					return err
				}
				now := time.Now().Unix()
				raw := signClaims(serverKey(), map[string]any{"alg": "RS256"},
					map[string]any{"iss": c.Issuer, "aud": "client", "sub": "user-1", "iat": now, "exp": now + 60})
				_, err := c.IDTokenVerifier().Verify(t.Context(), raw)
				if !errorSays(err, "no usable key") { // which is what the server has
					t.Error(err)
				}
				return nil
			}},
	}
}

// W36: the HTTP client of credentials sends all that they send, and no other does.
func TestHTTPClients(t *testing.T) {
	t.Parallel()
	for _, tt := range httpClientUses() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			all, err := json.Marshal(map[string]any{ // an answer for all who ask
				"access_token": "at-1", "expires_in": 3600,
				"id_token":    signClaims(serverKey(), nil, map[string]any{"exp": now.Unix() + 3600}),
				"accessToken": "at-2", "expireTime": now.Add(time.Hour).Format(time.RFC3339),
				"keys": []string{},
			})
			if err != nil {
				t.Fatal(err)
			}
			var asked []string
			own := roundTripFunc(func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.URL.Host+r.URL.Path)
				if r.URL.Path == openIDPath {
					return response(200, discoveryDocument("https://as.example", nil)), nil
				}
				return response(200, string(all)), nil
			})
			if err := tt.call(t, &http.Client{Transport: own}); err != nil {
				t.Error(err)
			}
			if !slices.Equal(asked, tt.asked) {
				t.Errorf("asked %q, want %q", asked, tt.asked)
			}
		})
	}
}

// W37: a secret that was rotated while it stands in a file.
func TestRotatedSecret(t *testing.T) {
	t.Parallel()
	const google = "https://oauth2.googleapis.com/token"
	file := func(changes string) string {
		return `{"type":"authorized_user","client_id":"client","client_secret":"the-old-secret",` + changes +
			`"refresh_token":"refresh-token","token_uri":"https://as.example/token"}`
	}
	atGoogle := strings.ReplaceAll(file(""), "https://as.example/token", google)
	tests := []struct {
		name, file string
		client     *ClientSecrets // nil: the file's own
		used       string         // secret; empty: refused
		says       string
	}{
		{"the client's", file(""), &ClientSecrets{ClientSecret: NewSecret("the-new-secret")}, "the-new-secret", ""},
		{"the file's", file(""), nil, "the-old-secret", ""},
		{"other method", file(`"token_endpoint_auth_method":"client_secret_basic",`),
			&ClientSecrets{ClientSecret: NewSecret("the-new-secret"), AuthMethod: "client_secret_post"},
			"the-new-secret", ""},
		{"another client", file(""), &ClientSecrets{ClientID: "other", ClientSecret: NewSecret("the-new-secret")}, "",
			"those of another client"},
		{"another server", file(""), &ClientSecrets{TokenURI: "https://other.example/token"}, "",
			"those of another client"},
		{"another server, which says that it is Google's", file(""), &ClientSecrets{Issuer: googleIssuer,
			TokenURI: "https://other.example/token"}, "", "those of another client"},
		{"Google's other address", atGoogle, &ClientSecrets{TokenURI: "https://accounts.google.com/o/oauth2/token",
			Issuer: googleIssuer, ClientSecret: NewSecret("the-new-secret")}, "the-new-secret", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			recorder := &requestRecorder{answer: answering(200, "", tokenAnswer)}
			c := tt.client
			if c != nil {
				filled := clientOver(recorder)
				filled.ClientID, filled.TokenURI = cmp.Or(c.ClientID, "client"), cmp.Or(c.TokenURI, filled.TokenURI)
				filled.ClientSecret, filled.Issuer = c.ClientSecret, c.Issuer
				c = filled
			}
			store := newMemoryStore()
			store.data = []byte(tt.file)
			creds, err := LoadCredentials(t.Context(), c, store)
			if tt.used == "" {
				if err != errOtherClient || !errorSays(err, tt.says) || string(store.data) != tt.file {
					t.Errorf("%v; stored is now %s", err, store.data)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			creds.HTTPClient = &http.Client{Transport: recorder}
			if _, err := creds.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			form, err := url.ParseQuery(recorder.bodies[0])
			if err != nil || form.Get("client_secret") != tt.used || len(recorder.bodies) != 1 {
				t.Errorf("sent %q", recorder.bodies)
			}
			var stored map[string]any
			if err := json.Unmarshal(store.data, &stored); err != nil || stored["client_secret"] != tt.used {
				t.Errorf("stored %s, %v", store.data, err)
			}
			// A file that was another client's by the next refresh is left alone.
			other := strings.ReplaceAll(tt.file, `"client_id":"client"`, `"client_id":"other"`)
			store.data = []byte(other)
			_, err = creds.Refresh(t.Context())
			if !errors.Is(err, errOtherClient) || len(recorder.bodies) != 1 || string(store.data) != other {
				t.Errorf("%v; stored is now %s", err, store.data)
			}
		})
	}
}

// W38: not every server undoes the form encoding of Basic. It is used where there is none to undo, or no choice.
func TestFormEncodedSecret(t *testing.T) {
	t.Parallel()
	const basic, post, jwt = "client_secret_basic", "client_secret_post", "private_key_jwt"
	both := []string{basic, post}
	tests := []struct {
		name, id, secret string
		set              string
		key              bool
		supported        []string
		want             string
	}{
		{name: "plain", id: "client-1.example", secret: "aB3-._~", supported: both, want: basic},
		{name: "plain, other order", id: "client-1", secret: "aB3", supported: []string{post, basic}, want: basic},
		{name: "slash in the secret", id: "client-1", secret: "a/b", supported: both, want: post},
		{name: "plus in the secret", id: "client-1", secret: "a+b", supported: both, want: post},
		{name: "equals sign in the secret", id: "client-1", secret: "ab==", supported: both, want: post},
		{name: "percent sign in the secret", id: "client-1", secret: "a%2Fb", supported: both, want: post},
		{name: "space in the secret", id: "client-1", secret: "a b", supported: both, want: post},
		{name: "letter beyond ASCII", id: "client-1", secret: "straße", supported: both, want: post},
		{name: "colon in the ID", id: "urn:client", secret: "aB3", supported: both, want: post},
		{name: "URL as the ID", id: "https://app.example/", secret: "aB3", supported: both, want: post},
		{name: "only basic", id: "client-1", secret: "a/b", supported: []string{basic}, want: basic},
		{name: "only basic, by default", id: "client-1", secret: "a/b", want: basic},
		{name: "only post", id: "client-1", secret: "aB3", supported: []string{post}, want: post},
		{name: "key", id: "client-1", secret: "a/b", key: true, supported: []string{basic, post, jwt}, want: jwt},
		{name: "set by the program", id: "client-1", secret: "a/b", set: basic, supported: both, want: basic},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			s.ClientID, s.ClientSecret, s.AuthMethod = tt.id, tt.secret, tt.want
			s.ClientKey = &serverKey().PublicKey
			s.Metadata = func(document map[string]any) {
				const name = "token_endpoint_auth_methods_supported"
				if document[name] = tt.supported; tt.supported == nil {
					delete(document, name)
				}
			}
			c := clientOf(s)
			c.AuthMethod = tt.set
			if tt.key {
				c.Key = serverKey()
			}
			if err := c.Discover(t.Context(), s.URL); err != nil || c.authMethod() != tt.want {
				t.Fatalf("the method is %q, want %q: %v", c.authMethod(), tt.want, err)
			}
			if _, err := NewCredentials(c, NewSecret(s.IssueRefreshToken("a"))).Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// W39: a decline has many names. In a redirect and on another device, they mean the same.
func TestDeclined(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code     string
		declined bool
	}{
		{"access_denied", true},
		{"consent_required", true},
		{"authorization_declined", true},
		{"user_cancelled_login", true},
		{"user_cancelled_authorize", true},
		{"login_required", false},
		{"interaction_required", false},
		{"invalid_scope", false},
		{"unauthorized_client", false},
		{"Access_Denied", false},
		{"access_denied_by_policy", false},
		{"user_cancelled", false},
	}
	// check looks at the error of a sign-in that has ended with a code.
	check := func(t *testing.T, err error, code string, declined bool) {
		t.Helper()
		e := new(Error)
		if !errors.As(err, &e) || e.Code != code || e.Temporary() || errors.Is(err, ErrLoginRequired) {
			t.Fatalf("%#v", err)
		}
		if got := strings.HasSuffix(err.Error(), "; the user, or an administrator, declined"); got != declined {
			t.Errorf("%v", err)
		}
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.Deny = tt.code
				f, _, redirected := signedInFlow(t, s, "a")
				_, err := f.FetchTokenFromRedirect(t.Context(), redirected)
				check(t, err, tt.code, tt.declined)

				r := newDeviceRun(t)
				r.DeviceScript = []string{"authorization_pending", tt.code}
				_, err = r.run(t.Context())
				check(t, err, tt.code, tt.declined)
				if len(r.polls) != 2 {
					t.Errorf("asked after %v", r.polls)
				}

				// Once there is a code, the user has agreed.
				s.Deny = ""
				f, _, redirected = signedInFlow(t, s, "a")
				s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					writeJSON(w, 400, map[string]any{"error": tt.code})
					return true
				}
				_, err = f.FetchTokenFromRedirect(t.Context(), redirected)
				check(t, err, tt.code, false)

				// Nobody declines a refresh.
				_, err = NewCredentials(clientOf(s), NewSecret("refresh-token")).Token(t.Context())
				if !errorSays(err, "the server answered "+tt.code) || strings.Contains(err.Error(), "the user") {
					t.Errorf("refreshing: %v", err)
				}
			})
		})
	}
}
