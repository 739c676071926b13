package oauth2

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// documentServer answers with the documents that it has, and 404.
type documentServer struct {
	documents map[string]string // by URL
	asked     []string
}

func (s *documentServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, r.Method+" "+r.URL.String())
	body, ok := s.documents[r.URL.String()]
	resp := response(200, body)
	if status := 0; !ok {
		resp.StatusCode = 404
	} else if n, _ := fmt.Sscanf(body, "status %d", &status); n == 1 {
		resp.StatusCode = status
		resp.Header.Set("Location", "https://as.example/elsewhere")
	}
	return resp, nil
}

// discoveryDocument is what an authorization server says of itself, with some members changed; nil removes.
func discoveryDocument(issuer string, edit map[string]any) string {
	document := map[string]any{
		"issuer":                        issuer,
		"authorization_endpoint":        "https://as.example/a",
		"token_endpoint":                "https://as.example/t",
		"jwks_uri":                      "https://keys.example/k",
		"device_authorization_endpoint": "https://as.example/d",
		"revocation_endpoint":           "https://as.example/r",
		"authorization_response_iss_parameter_supported": true,
		"token_endpoint_auth_methods_supported":          []string{"client_secret_post", "client_secret_basic"},
		"mtls_endpoint_aliases":                          map[string]any{"token_endpoint": "https://mtls.example/t"},
	}
	maps.Copy(document, edit)
	maps.DeleteFunc(document, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return string(data)
}

const (
	openIDPath = "/.well-known/openid-configuration"
	oauthPath  = "/.well-known/oauth-authorization-server"
)

// filledClient has something in every field that discovery may fill in.
func filledClient(transport http.RoundTripper) ClientSecrets {
	return ClientSecrets{
		ClientID:      "client-1",
		Issuer:        "https://old.example",
		AuthURI:       "https://old.example/a",
		TokenURI:      "https://old.example/t",
		KeysURI:       "https://old.example/k",
		DeviceAuthURI: "https://old.example/d",
		RevocationURI: "https://old.example/r",
		AuthMethod:    "none",
		RedirectURIs:  []string{"http://127.0.0.1/"},
		HTTPClient:    &http.Client{Transport: transport},
	}
}

func discoveredClient(issuer string, transport http.RoundTripper) ClientSecrets {
	c := filledClient(transport)
	c.Issuer, c.issRequired = issuer, true
	c.AuthURI, c.TokenURI, c.KeysURI = "https://as.example/a", "https://as.example/t", "https://keys.example/k"
	c.DeviceAuthURI, c.RevocationURI = "https://as.example/d", "https://as.example/r"
	return c
}

func TestDiscoverAddress(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, issuer string
		at           string // where the document is
		asked        []string
	}{
		{
			name:   "host",
			issuer: "https://as.example",
			at:     "https://as.example" + openIDPath,
			asked:  []string{"https://as.example" + openIDPath},
		},
		{
			name:   "trailing slash",
			issuer: "https://as.example/",
			at:     "https://as.example" + openIDPath,
			asked:  []string{"https://as.example" + openIDPath},
		},
		{
			name:   "path",
			issuer: "https://as.example/t/1",
			at:     "https://as.example/t/1" + openIDPath,
			asked:  []string{"https://as.example/t/1" + openIDPath},
		},
		{
			name:   "path with a trailing slash",
			issuer: "https://as.example/t/1/",
			at:     "https://as.example/t/1" + openIDPath,
			asked:  []string{"https://as.example/t/1" + openIDPath},
		},
		{
			name:   "escaped path",
			issuer: "https://as.example/a%20b%2Fc",
			at:     "https://as.example/a%20b%2Fc" + openIDPath,
			asked:  []string{"https://as.example/a%20b%2Fc" + openIDPath},
		},
		{
			name:   "port",
			issuer: "https://as.example:8443",
			at:     "https://as.example:8443" + openIDPath,
			asked:  []string{"https://as.example:8443" + openIDPath},
		},
		{
			name:   "this machine",
			issuer: "http://127.0.0.1:8080",
			at:     "http://127.0.0.1:8080" + openIDPath,
			asked:  []string{"http://127.0.0.1:8080" + openIDPath},
		},
		{
			name:   "OAuth",
			issuer: "https://as.example",
			at:     "https://as.example" + oauthPath,
			asked:  []string{"https://as.example" + openIDPath, "https://as.example" + oauthPath},
		},
		{
			name:   "OAuth, path",
			issuer: "https://as.example/t/1",
			at:     "https://as.example" + oauthPath + "/t/1",
			asked:  []string{"https://as.example/t/1" + openIDPath, "https://as.example" + oauthPath + "/t/1"},
		},
		{
			name:   "OAuth, path with a trailing slash",
			issuer: "https://as.example/t/",
			at:     "https://as.example" + oauthPath + "/t",
			asked:  []string{"https://as.example/t" + openIDPath, "https://as.example" + oauthPath + "/t"},
		},
		{
			name:   "neither",
			issuer: "https://as.example/t",
			at:     "https://as.example" + oauthPath,
			asked:  []string{"https://as.example/t" + openIDPath, "https://as.example" + oauthPath + "/t"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &documentServer{documents: map[string]string{tt.at: discoveryDocument(tt.issuer, nil)}}
			c, want := filledClient(s), discoveredClient(tt.issuer, s)
			err := c.Discover(t.Context(), tt.issuer)
			if tt.name == "neither" {
				e := new(Error)
				if want = filledClient(s); !errors.As(err, &e) || e.StatusCode != 404 {
					t.Error(err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if !reflect.DeepEqual(c, want) {
				t.Errorf("got %+v, want %+v", c, want)
			}
			if want := strings.Split("GET "+strings.Join(tt.asked, "\nGET "), "\n"); !slices.Equal(s.asked, want) {
				t.Errorf("asked %q, want %q", s.asked, want)
			}
		})
	}
}

// What is refused changes nothing, and is asked for once, or once at each path.
func TestDiscoverRefused(t *testing.T) {
	t.Parallel()
	const issuer = "https://as.example/t"
	var deep strings.Builder
	for range maxDepth {
		deep.WriteString(`{"a":`)
	}
	document := discoveryDocument(issuer, nil)
	edited := func(member string, value any) string {
		return discoveryDocument(issuer, map[string]any{member: value})
	}
	issuers := []struct{ name, issuer, says string }{
		{"http", "http://as.example/t", "the issuer is a URL with scheme \"http\""},
		{"no scheme", "as.example/t", "the issuer is"},
		{"javascript", "javascript:alert(1)", "is not a valid URL"},
		{"empty", "", "the issuer is missing"},
		{"user name", "https://as.example@evil.example", "user name"},
		{"query", "https://as.example/t?a=b", "the issuer has a query"},
		{"empty query", "https://as.example/t?", "the issuer has a query"},
		{"fragment", "https://as.example/t#a", "fragment"},
		{"line end", "https://as.example/t\r\nX: y", "is not a valid URL"},
	}
	documents := []struct{ name, document, says string }{
		{"of another host", discoveryDocument("https://evil.example/t", nil),
			`another issuer, "https://evil.example/t"`},
		{"of another path", discoveryDocument("https://as.example/u", nil), "another issuer"},
		{"with a trailing slash", discoveryDocument("https://as.example/t/", nil), "another issuer"},
		{"in capitals", discoveryDocument("https://AS.example/t", nil), "another issuer"},
		{"with the port", discoveryDocument("https://as.example:443/t", nil), "another issuer"},
		{"of another scheme", discoveryDocument("http://as.example/t", nil), "another issuer"},
		{"longer", discoveryDocument("https://as.example/t.evil.example", nil), "another issuer"},
		{"of none", discoveryDocument("", map[string]any{"issuer": nil}), "another issuer"},
		{"issuer is a list", discoveryDocument("", map[string]any{"issuer": []string{issuer}}), "issuer"},
		{"escape sequence", discoveryDocument("https://as.example/\x1b[2J", nil),
			`another issuer, "https://as.example/\x1b[2J"`},

		{"authorization endpoint without TLS", edited("authorization_endpoint", "http://as.example/a"),
			"authorization_endpoint"},
		{"token endpoint without TLS", edited("token_endpoint", "http://as.example/t"), "token_endpoint"},
		{"device endpoint without TLS", edited("device_authorization_endpoint", "http://as.example/d"),
			"device_authorization_endpoint"},
		{"revocation endpoint without TLS", edited("revocation_endpoint", "http://as.example/r"),
			"revocation_endpoint"},
		{"keys without TLS", edited("jwks_uri", "http://as.example/k"), "jwks_uri"},
		{"endpoint that runs a program", edited("authorization_endpoint", "ms-msdt:/id"), "authorization_endpoint"},
		{"endpoint with a fragment", edited("token_endpoint", "https://as.example/t#x"), "token_endpoint"},
		{"endpoint with a user name", edited("token_endpoint", "https://as.example@evil.example/"), "token_endpoint"},
		{"relative endpoint", edited("token_endpoint", "/t"), "token_endpoint"},
		{"endpoint that is a number", edited("token_endpoint", 7), "token_endpoint"},
		{"endpoint that is a list", edited("jwks_uri", []string{"https://as.example/k"}), "jwks_uri"},
		{"methods are numbers", edited("token_endpoint_auth_methods_supported", []int{1}),
			"token_endpoint_auth_methods_supported"},

		{"redirect", "status 302", "redirect"},
		{"redirect that asks for the same", "status 307", "redirect"},
		{"error with status 200", `{"error":"invalid_request"}`, "invalid_request"},
		{"too large", document + strings.Repeat(" ", maxBody+1-len(document)), "larger"},
	}
	// W30: what is no document means that there is none here, and the next path is asked, which answers 404.
	pages := []struct{ name, document, says string }{
		{"forbidden", "status 403", "404"},
		{"nothing", " ", "404"},
		{"a page", "<!DOCTYPE html>", "404"},
		{"a list", "[" + document + "]", "404"},
		{"two documents", document + document, "404"},
		{"issuer twice", `{"issuer":"` + issuer + `",` + document[1:], "404"},
		{"too deep", deep.String() + "{}" + strings.Repeat("}", maxDepth), "404"},
	}
	// refused checks that nothing comes of a document, and that the client is left as it was.
	refused := func(t *testing.T, at, document, says string, asked int) {
		s := &documentServer{documents: map[string]string{issuer + openIDPath: document}}
		c, want := filledClient(s), filledClient(s)
		err := c.Discover(t.Context(), at)
		if err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("the client has become %+v", c)
		}
		if len(s.asked) != asked {
			t.Errorf("asked %q", s.asked)
		}
	}
	for _, tt := range issuers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			refused(t, tt.issuer, document, tt.says, 0)
		})
	}
	for _, tt := range documents {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			refused(t, issuer, tt.document, tt.says, 1)
		})
	}
	for _, tt := range pages {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			refused(t, issuer, tt.document, tt.says, 2)
		})
	}
	largest := document + strings.Repeat(" ", maxBody-len(document))
	s := &documentServer{documents: map[string]string{issuer + openIDPath: largest}}
	if c := filledClient(s); c.Discover(t.Context(), issuer) != nil {
		t.Error("a document of 1 MiB is refused")
	}
}

// An endpoint that a document lacks is cleared. W31
func TestDiscoverAbsent(t *testing.T) {
	t.Parallel()
	const issuer = "https://as.example"
	fields := map[string]func(*ClientSecrets) *string{
		"authorization_endpoint":        func(c *ClientSecrets) *string { return &c.AuthURI },
		"token_endpoint":                func(c *ClientSecrets) *string { return &c.TokenURI },
		"jwks_uri":                      func(c *ClientSecrets) *string { return &c.KeysURI },
		"device_authorization_endpoint": func(c *ClientSecrets) *string { return &c.DeviceAuthURI },
		"revocation_endpoint":           func(c *ClientSecrets) *string { return &c.RevocationURI },
	}
	names := slices.Sorted(maps.Keys(fields))
	for set := range 1 << len(names) { // every mix of absent, null and empty ones
		edit := map[string]any{}
		s := &documentServer{}
		c, want := filledClient(s), discoveredClient(issuer, s)
		for n, name := range names {
			if set&(1<<n) != 0 {
				edit[name] = []any{nil, json.RawMessage("null"), ""}[(set+n)%3]
				*fields[name](&want) = "" // and not what it was at another server
			}
		}
		s.documents = map[string]string{issuer + openIDPath: discoveryDocument(issuer, edit)}
		if err := c.Discover(t.Context(), issuer); err != nil || !reflect.DeepEqual(c, want) {
			t.Errorf("%v: %v, got %+v, want %+v", edit, err, c, want)
		}
	}
}

func TestDiscoverAuthMethod(t *testing.T) {
	t.Parallel()
	const jwt, basic, post = "private_key_jwt", "client_secret_basic", "client_secret_post"
	tests := []struct {
		name        string
		secret, key bool
		set         string
		supported   []string
		used        string
	}{
		{name: "not said", secret: true, used: basic}, // the default of RFC 8414, Section 2
		{name: "nothing", secret: true, supported: []string{}, used: basic},
		{name: "Basic", secret: true, supported: []string{basic}, used: basic},
		{name: "body", secret: true, supported: []string{post}, used: post},
		{name: "both", secret: true, supported: []string{post, basic}, used: basic},
		{name: "key and secret", secret: true, key: true, supported: []string{post, basic, jwt}, used: jwt},
		{
			name:      "key and secret, of which one will do",
			secret:    true,
			key:       true,
			supported: []string{post},
			used:      post,
		},
		{name: "key", key: true, supported: []string{basic, jwt}, used: jwt},
		{name: "key that will not do", key: true, supported: []string{basic}, used: jwt},
		{
			name:      "secret, among what is not supported",
			secret:    true,
			supported: []string{"tls_client_auth", "client_secret_jwt", post},
			used:      post,
		},
		{
			name:      "secret that will not do",
			secret:    true,
			supported: []string{"tls_client_auth", "client_secret_jwt"},
			used:      basic,
		},
		{name: "public", supported: []string{"none", basic}, used: "none"},
		{name: "public, not said", used: "none"},
		{name: "set", secret: true, set: post, supported: []string{basic}, used: post},
		{name: "set to none", secret: true, set: "none", supported: []string{basic, post}, used: "none"},
		{name: "unknown one", secret: true, supported: []string{"\x1b[2J"}, used: basic},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := NewMemoryServer() // which refuses all other methods
			server.AuthMethod, server.ClientKey = tt.used, &serverKey().PublicKey
			server.Metadata = func(document map[string]any) {
				document["token_endpoint_auth_methods_supported"] = tt.supported
				if tt.supported == nil {
					delete(document, "token_endpoint_auth_methods_supported")
				}
			}
			c := &ClientSecrets{
				ClientID:   server.ClientID,
				AuthMethod: tt.set,
				HTTPClient: &http.Client{Transport: server.Transport()},
			}
			if tt.secret {
				c.ClientSecret = NewSecret(server.ClientSecret)
			}
			if tt.key {
				c.Key = serverKey()
			}
			if err := c.Discover(t.Context(), server.URL); err != nil || c.authMethod() != tt.used {
				t.Errorf("the method is %q, want %q: %v", c.authMethod(), tt.used, err)
			}
			if _, err := NewCredentials(c, NewSecret(server.IssueRefreshToken("a"))).Token(t.Context()); err != nil {
				t.Errorf("with %s: %v", tt.used, err)
			}
			server.AuthMethod = "another" // what is refused is not tried in another way
			_, err := NewCredentials(c, NewSecret(server.IssueRefreshToken("a"))).Token(t.Context())
			if e := new(Error); !errors.As(err, &e) || e.Code != "invalid_client" || server.TokenRequests("") != 2 {
				t.Errorf("%v, after %d requests", err, server.TokenRequests("")-1)
			}
		})
	}
}

// F7: an issuer that promises to name itself has to, also in another process of a web application.
func TestDiscoverIssuerParameter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		promise  any // nil: absent
		iss      bool
		accepted bool
	}{
		{"promised and kept", true, true, true},
		{"promised and not kept", true, false, false},   // F7
		{"not promised, not given", false, false, true}, // F7
		{"not promised and given", false, true, true},
		{"nothing said", nil, false, true},
		{"not a boolean", "true", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			s.OmitIss = !tt.iss
			s.Metadata = func(document map[string]any) {
				const name = "authorization_response_iss_parameter_supported"
				if document[name] = tt.promise; tt.promise == nil {
					delete(document, name)
				}
			}
			client := func() *ClientSecrets {
				c := &ClientSecrets{
					ClientID:     s.ClientID,
					ClientSecret: NewSecret(s.ClientSecret),
					HTTPClient:   &http.Client{Transport: s.Transport()},
				}
				if err := c.Discover(t.Context(), s.URL); err != nil {
					t.Fatal(err)
				}
				return c
			}
			f := NewFlow(client(), "openid")
			f.RedirectURI = "http://127.0.0.1:8000/"
			authURL, err := f.AuthorizationURL()
			if err != nil {
				t.Fatal(err)
			}
			redirected, err := s.Authorize(authURL)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := f.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			resumed, err := ResumeFlow(client(), stored)
			if err != nil {
				t.Fatal(err)
			}
			_, err = resumed.FetchTokenFromRedirect(t.Context(), redirected)
			if (err == nil) != tt.accepted ||
				err != nil && (!strings.Contains(err.Error(), "issuer") || s.TokenRequests("") > 0) {
				t.Errorf("resumed: %v", err)
			}
			if !tt.accepted {
				_, err = f.FetchTokenFromRedirect(t.Context(), redirected)
				if !errorSays(err, "RFC 9207") || s.TokenRequests("") > 0 {
					t.Error(err)
				}
			}
		})
	}
}

func TestDiscoverOverTLS(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	s.URL = server.URL
	c := &ClientSecrets{ClientID: s.ClientID, ClientSecret: NewSecret(s.ClientSecret), RedirectURIs: s.RedirectURIs}
	cert := (*tls.CertificateVerificationError)(nil)
	if err := c.Discover(t.Context(), s.URL); !errors.As(err, &cert) || len(s.Requests()) > 0 {
		t.Errorf("an unknown certificate: %v", err)
	}
	c.HTTPClient = server.Client()
	if err := c.Discover(t.Context(), s.URL); err != nil || c.AuthMethod != "client_secret_post" {
		t.Fatal(c.AuthMethod, err)
	}
	f := NewFlow(c, "openid", "email")
	f.RedirectURI = "http://127.0.0.1:8000/"
	authURL, err := f.AuthorizationURL()
	if err != nil {
		t.Fatal(err)
	}
	redirected, err := s.Authorize(authURL)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := f.FetchTokenFromRedirect(t.Context(), redirected)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verifier := &IDTokenVerifier{Issuer: c.Issuer, Audience: c.ClientID, KeysURI: c.KeysURI, HTTPClient: c.HTTPClient}
	if claims, err := verifier.Verify(t.Context(), tok.IDToken.Reveal()); err != nil || claims.Email != s.Email {
		t.Error(claims, err)
	}
	if err := creds.Revoke(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDiscoverEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		var waits bool
		s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
			if waits {
				<-r.Context().Done()
			}
			w.WriteHeader(503)
			return true
		}
		c := filledClient(s.Transport())
		var noContext context.Context
		if err := c.Discover(noContext, s.URL); err == nil || len(s.Requests()) > 0 {
			t.Errorf("a nil context: %v", err)
		}
		err := c.Discover(t.Context(), s.URL)
		if !errorSays(err, "503") || len(s.Requests()) != maxAttempts {
			t.Errorf("a server that is away: %v, asked %d times", err, len(s.Requests()))
		}
		waits = true
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err = c.Discover(ctx, s.URL)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// XO30: several values of a parameter, in all requests that are to have them.
func TestSeveralResources(t *testing.T) {
	t.Parallel()
	resources := []string{"https://api.example/", "https://files.example/"}
	synctest.Test(t, func(t *testing.T) {
		var forms []url.Values
		s := NewMemoryServer()
		s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != "POST" {
				return false
			}
			body, _ := io.ReadAll(r.Body)
			form, err := url.ParseQuery(string(body))
			if err != nil {
				t.Error(err)
			}
			forms = append(forms, form) // the test server itself refuses repeated parameters
			io.WriteString(w, `{"access_token":"at","expires_in":60,"device_code":"dc","user_code":"uc",`+
				`"verification_uri":"https://as.example/"}`)
			return true
		}
		c := &ClientSecrets{
			ClientID:      s.ClientID,
			AuthURI:       s.URL + "/authorize?kept=1",
			TokenURI:      s.URL + "/token",
			DeviceAuthURI: s.URL + "/device",
			HTTPClient:    &http.Client{Transport: s.Transport()},
		}
		device := NewInstalledAppFlow(c, "api")
		device.Params, device.Prompt = url.Values{"resource": resources}, io.Discard
		f := NewFlow(c, "api")
		f.RedirectURI, f.Params = "http://127.0.0.1:8000/", url.Values{"resource": resources}
		authURL, err := f.AuthorizationURL()
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(authURL)
		if err != nil || !slices.Equal(u.Query()["resource"], resources) || u.Query().Get("kept") != "1" ||
			u.Fragment != "" || len(u.Query()["client_id"]) != 1 {
			t.Error(authURL, err)
		}
		stored, err := f.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.FetchToken(t.Context(), "code"); err != nil {
			t.Error(err)
		}
		resumed, err := ResumeFlow(c, stored)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resumed.FetchToken(t.Context(), "code"); err != nil {
			t.Error(err)
		}
		if _, err := device.RunDevice(t.Context()); err != nil {
			t.Error(err)
		}
		if len(forms) != 4 {
			t.Errorf("%d requests", len(forms))
		}
		for n, form := range forms {
			if !slices.Equal(form["resource"], resources) {
				t.Errorf("request %d has %q", n, form["resource"])
			}
		}
	})
}
