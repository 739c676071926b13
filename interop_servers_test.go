package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests of this file run against two more authorization servers that people use: glewlwyd, of Debian, and
// better-auth, of npm. They are skipped without them: see the section servers of .ci/run, which starts the two and
// names them in OAUTH2_INTEROP_GLEWLWYD and OAUTH2_INTEROP_BETTERAUTH.

// newGlewlwyd skips the test where glewlwyd does not run.
func newGlewlwyd(t *testing.T) *interop {
	t.Helper()
	i := readInterop(t, "OAUTH2_INTEROP_GLEWLWYD")
	i.redirect = i.Clients["native"].RedirectURIs[0]
	i.person = func(accept bool) *interopPerson {
		p := newInteropPerson(i, accept)
		p.visit = func(browser *http.Client, target string) (redirect *url.URL, err error) {
			login, err := i.next(browser, target)
			if err != nil {
				return nil, err
			}
			back, err := i.grant(browser, login, accept)
			if err != nil {
				return nil, err
			}
			return i.next(browser, back)
		}
		return p
	}
	return i
}

// grant is a user on glewlwyd's page, which is a script that calls the server. It returns where the page goes on.
func (i *interop) grant(browser *http.Client, page *url.URL, accept bool) (next string, err error) {
	q := page.Query()
	scopes := q.Get("scope")
	if !accept { // all that there is: to leave every scope unticked
		scopes = ""
	}
	user := map[string]any{"username": i.User.Login, "password": i.User.Password}
	if err := i.call(browser, "POST", "/api/auth/", user, nil); err != nil {
		return "", err
	}
	path, scope := "/api/auth/grant/"+q.Get("client_id"), map[string]any{"scope": scopes}
	return q.Get("callback_url") + "&g_continue", i.call(browser, "PUT", path, scope, nil)
}

// newBetterAuth skips the test where better-auth does not run.
func newBetterAuth(t *testing.T) *interop {
	t.Helper()
	i := readInterop(t, "OAUTH2_INTEROP_BETTERAUTH")
	i.redirect = "http://127.0.0.1:0/callback"
	i.person = func(accept bool) *interopPerson {
		p := newInteropPerson(i, accept)
		p.visit = func(browser *http.Client, target string) (redirect *url.URL, err error) {
			page, err := i.next(browser, target)
			if err != nil {
				return nil, err
			}
			var next struct{ URL string }
			user := map[string]any{"email": i.User.Login, "password": i.User.Password, "oauth_query": page.RawQuery}
			if err := i.call(browser, "POST", "/api/auth/sign-in/email", user, &next); err != nil {
				return nil, err
			}
			if page, err = url.Parse(next.URL); err != nil || page.Path != "/consent" {
				return nil, fmt.Errorf("not asked for consent, but sent to %s: %w", next.URL, err)
			}
			consent := map[string]any{"accept": accept, "oauth_query": page.RawQuery}
			if err := i.call(browser, "POST", "/api/auth/oauth2/consent", consent, &next); err != nil {
				return nil, err
			}
			return url.Parse(next.URL)
		}
		return p
	}
	return i
}

// next returns where the server sends the browser.
func (i *interop) next(browser *http.Client, target string) (*url.URL, error) {
	resp, err := browser.Get(target)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 3 {
		text, _ := io.ReadAll(resp.Body)
		return nil, fmt.Errorf("%s answered %s: %s", resp.Request.URL.Path, resp.Status, text)
	}
	return resp.Location()
}

// call sends a request as the server's pages do, and decodes the answer, unless answer is nil.
func (i *interop) call(browser *http.Client, method, path string, body map[string]any, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, i.Origin+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", i.Origin)
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %s", path, resp.Status, text)
	}
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// discovered returns a registered client that was told the issuer, and nothing else of the server.
func (i *interop) discovered(t *testing.T, name string) *ClientSecrets {
	t.Helper()
	registered := i.client(t, name)
	c := &ClientSecrets{
		ClientID:     registered.ClientID,
		ClientSecret: registered.ClientSecret,
		Key:          registered.Key,
		KeyID:        registered.KeyID,
	}
	if err := c.Discover(t.Context(), i.Issuer); err != nil {
		t.Fatal(err)
	}
	return c
}

const serverScopes = "openid email profile offline_access api:read"

// run signs p in, and returns once the browser has its page. It fails the test if the browser was lost.
func (i *interop) run(t *testing.T, client *ClientSecrets, p *interopPerson, scopes string) (*Credentials, error) {
	t.Helper()
	f := i.flow(client, p, scopes)
	f.RedirectURI = i.redirect
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	creds, err := f.RunLocalServer(ctx)
	p.wait(t)
	return creds, err
}

// mustRun is run where nothing may fail.
func (i *interop) mustRun(t *testing.T, client *ClientSecrets) (*Credentials, *Token) {
	t.Helper()
	creds, err := i.run(t, client, i.person(true), serverScopes)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return creds, tok
}

// checkDiscovery checks what Discover makes of the server's document. iss is whether that promises one.
func (i *interop) checkDiscovery(t *testing.T, paths map[string]string, iss bool) {
	t.Helper()
	c := &ClientSecrets{ClientID: "native"}
	if err := c.Discover(t.Context(), i.Issuer+"/"); err == nil || c.TokenURI != "" {
		t.Errorf("another issuer: %v", err)
	}
	if err := c.Discover(t.Context(), i.Issuer); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"auth": c.AuthURI, "token": c.TokenURI, "keys": c.KeysURI, "device": c.DeviceAuthURI,
		"revocation": c.RevocationURI}
	for name, path := range paths {
		if got[name] != i.Issuer+path {
			t.Errorf("%s: got %s, want %s", name, got[name], i.Issuer+path)
		}
	}
	if c.Issuer != i.Issuer || c.issRequired != iss {
		t.Errorf("the issuer is %s; iss is demanded: %t, want %t", c.Issuer, c.issRequired, iss)
	}
}

// A serverClient is a client, and what is expected of a sign-in with it.
type serverClient struct {
	name, set string // set: AuthMethod, before Discover
	auth      string // as the server sees it
	status    int    // of the exchange of the code, if it is not 200
	code      string
}

// checkSignIn signs in, uses the token, and refreshes it. Where newIDToken is set, a refresh brings an ID token.
func (i *interop) checkSignIn(t *testing.T, tt serverClient, newIDToken bool) {
	t.Helper()
	client := i.discovered(t, tt.name)
	if tt.set != "" {
		client.AuthMethod = tt.set
	}
	p := i.person(true)
	creds, err := i.run(t, client, p, serverScopes)
	q := p.redirect.Query()
	if !slices.Equal(q["iss"], []string{i.Issuer}) {
		t.Errorf("the server named the issuer %q", q["iss"])
	}
	exchange := i.requests(t, func(r interopRequest) bool { return r.CodeHash == i.hash(q.Get("code")) })
	status := cmp.Or(tt.status, 200)
	if len(exchange) != 1 || exchange[0].Status != status || exchange[0].Auth != tt.auth ||
		!slices.Contains(exchange[0].Params, "code_verifier") {
		t.Errorf("exchanges of the code: %+v, want one with %s and %d", exchange, tt.auth, status)
	}
	if tt.status != 0 {
		if e := new(Error); !errors.As(err, &e) || e.StatusCode != tt.status || e.Code != tt.code {
			t.Errorf("%v, want %d, %q", err, tt.status, tt.code)
		}
		return
	}
	if err != nil || p.status != 200 || !strings.Contains(p.page, "You are signed in") {
		t.Fatalf("%v; the page has status %d: %s", err, p.status, p.page)
	}

	tok, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i.checkGrant(t, tok)
	claims, err := client.IDTokenVerifier().Verify(t.Context(), tok.IDToken.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if id := creds.IDToken(); id == nil || id.Subject != claims.Subject || claims.Subject == "" {
		t.Errorf("signed in as %+v, verified %+v", id, claims)
	}
	status, person, err := i.userinfo(t.Context(), NewClient(creds))
	if status != 200 || person["sub"] != claims.Subject || person["email"] != "alice@example.com" {
		t.Errorf("userinfo: %d, %v, %v", status, person, err)
	}

	again, err := creds.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i.checkGrant(t, again)
	if again.AccessToken.Reveal() == tok.AccessToken.Reveal() ||
		again.RefreshToken.Reveal() == tok.RefreshToken.Reveal() {
		t.Error("the refresh brought no new tokens")
	}
	if isNew := again.IDToken.Reveal() != tok.IDToken.Reveal(); again.IDToken.empty() || isNew != newIDToken {
		t.Errorf("the refresh brought an ID token: %t, want %t", isNew, newIDToken)
	}
	refreshes := i.refreshes(t, tok)
	if len(refreshes) != 1 || refreshes[0].Status != 200 || refreshes[0].Auth != tt.auth {
		t.Errorf("refreshes: %+v, want one with %s", refreshes, tt.auth)
	}
}

// checkGrant checks what a token is good for.
func (i *interop) checkGrant(t *testing.T, tok *Token) {
	t.Helper()
	got, want := slices.Sorted(slices.Values(tok.Scopes)), slices.Sorted(strings.FieldsSeq(serverScopes))
	left, life := time.Until(tok.Expiry), time.Duration(i.AccessSeconds)*time.Second
	if !slices.Equal(got, want) || left > life || left < life-time.Minute {
		t.Errorf("granted %q for %v, want %q for %v", got, left, want, life)
	}
}

// refreshes returns the requests that had a token's refresh token.
func (i *interop) refreshes(t *testing.T, tok *Token) []interopRequest {
	t.Helper()
	return i.requests(t, func(r interopRequest) bool {
		return r.RefreshTokenHash == i.hash(tok.RefreshToken.Reveal())
	})
}

// checkRotation has twenty callers ask at once for what only a refresh can bring, three times over. Then it uses a
// refresh token again, which ends the whole grant. dead is what the server says of it.
func (i *interop) checkRotation(t *testing.T, dead func(error) bool) {
	t.Helper()
	client := i.discovered(t, "native")
	_, first := i.mustRun(t, client)
	tok := first
	for range 3 {
		creds := NewCredentials(client, tok.RefreshToken, tok.Scopes...)
		var tokens [20]*Token
		var running sync.WaitGroup
		barrier := make(chan struct{})
		for n := range tokens {
			running.Go(func() {
				<-barrier
				var err error
				if tokens[n], err = creds.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		close(barrier)
		running.Wait()
		for _, other := range tokens {
			if other == nil || other != tokens[0] || other.RefreshToken.Reveal() == tok.RefreshToken.Reveal() {
				t.Fatal("the callers did not get one new token")
			}
		}
		if sent := i.refreshes(t, tok); len(sent) != 1 || sent[0].Status != 200 {
			t.Fatalf("%d callers made the requests %+v, want one", len(tokens), sent)
		}
		tok = tokens[0]
	}
	for _, used := range []*Token{first, tok} {
		_, err := NewCredentials(client, used.RefreshToken).Token(t.Context())
		if !dead(err) {
			t.Errorf("after a refresh token was used again: %v", err)
		}
	}
	if sent := i.refreshes(t, tok); len(sent) != 1 || sent[0].Status != 400 {
		t.Errorf("requests with the last refresh token: %+v, want one that is refused", sent)
	}

	// What a program has stored is of no use any more, and the user is asked again.
	p := i.person(true)
	f := i.flow(client, p, serverScopes)
	f.RedirectURI = i.redirect
	f.Store = FileStore(filepath.Join(t.TempDir(), "credentials.json"))
	if err := NewCredentials(client, tok.RefreshToken).Save(t.Context(), f.Store); err != nil {
		t.Fatal(err)
	}
	creds, err := f.SignIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	if last, err := creds.Token(t.Context()); err != nil || last.RefreshToken.Reveal() == tok.RefreshToken.Reveal() {
		t.Errorf("signed in again: %v", err)
	}
}

// checkMachine signs a client in as itself, and then with a wrong secret or key.
func (i *interop) checkMachine(t *testing.T, name, auth string, wrong Error) {
	t.Helper()
	c := i.discovered(t, name)
	requests := func() []interopRequest {
		return i.requests(t, func(r interopRequest) bool { return r.Grant == "client_credentials" })
	}
	before := len(requests())
	for range 2 { // each with an assertion of its own, where there is one
		source := &ClientCredentials{Client: c, Scopes: []string{"api:read", "api:write"}}
		tok, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		again, err := source.Token(t.Context())
		if err != nil || again != tok || !tok.Valid() || !tok.RefreshToken.empty() ||
			!slices.Equal(tok.Scopes, []string{"api:read", "api:write"}) {
			t.Errorf("%+v, then %+v, %v", tok, again, err)
		}
	}
	sent := requests()[before:]
	isWrong := func(r interopRequest) bool { return r.Status != 200 || r.Auth != auth }
	if len(sent) != 2 || slices.ContainsFunc(sent, isWrong) {
		t.Errorf("requests: %+v, want two with %s", sent, auth)
	}
	if c.Key != nil {
		c.Key = serverKey()
	} else {
		c.ClientSecret = NewSecret("wrong")
	}
	_, err := (&ClientCredentials{Client: c, Scopes: []string{"api:read"}}).Token(t.Context())
	if e := new(Error); !errors.As(err, &e) || e.StatusCode != wrong.StatusCode || e.Code != wrong.Code {
		t.Errorf("with a wrong secret or key: %v", err)
	}
}

// checkRevoke revokes what a sign-in brought. If wrong has a status, the server refuses that.
func (i *interop) checkRevoke(t *testing.T, name string, wrong Error, dead func(error) bool) {
	t.Helper()
	client := i.discovered(t, name)
	creds, tok := i.mustRun(t, client)
	err := creds.Revoke(t.Context())
	if wrong.StatusCode != 0 {
		if e := new(Error); !errors.As(err, &e) || e.StatusCode != wrong.StatusCode || e.Code != wrong.Code {
			t.Errorf("%v, want %v", err, &wrong)
		}
		if _, err := creds.Refresh(t.Context()); err != nil { // nothing was forgotten
			t.Error(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := creds.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
		t.Errorf("after Revoke: %v", err)
	}
	if _, err := NewCredentials(client, tok.RefreshToken).Token(t.Context()); !dead(err) {
		t.Errorf("the server on the revoked token: %v", err)
	}
}

// checkDevice signs in on another device, where answer is what the user does with the code.
func (i *interop) checkDevice(t *testing.T, name, code string, answer func(*http.Client, DeviceCode) error) {
	t.Helper()
	client := i.discovered(t, name)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	f := NewInstalledAppFlow(client, serverScopes)
	f.Prompt = io.Discard
	person := make(chan error, 1)
	f.ShowDeviceCode = func(d DeviceCode) { person <- answer(browser, d) }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	creds, err := f.RunDevice(ctx)
	select {
	case lost := <-person:
		if lost != nil {
			t.Fatalf("the person: %v", lost)
		}
	default: // the server refused the client, and there was no code to show
	}
	e := new(Error)
	if errors.As(err, &e); e.Code != code || (err == nil) != (code == "") {
		t.Fatalf("%v, want the error %q", err, code)
	}
	if err != nil {
		return
	}
	tok, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i.checkGrant(t, tok)
	if next, err := creds.Refresh(t.Context()); err != nil || next.AccessToken.Reveal() == tok.AccessToken.Reveal() {
		t.Errorf("refreshing: %v", err)
	}
}

// W9, W38
func TestInteropGlewlwydSignIn(t *testing.T) {
	i := newGlewlwyd(t)
	for _, tt := range []serverClient{
		{name: "native", auth: "none"},
		{name: "both", auth: "client_secret_post"},
		// It does not decode what RFC 6749, Section 2.3.1 has a client encode.
		{
			name:   "both",
			set:    "client_secret_basic",
			auth:   "client_secret_basic",
			status: 403,
			code:   "unauthorized_client",
		},
		{name: "plain", auth: "client_secret_basic"},
		{name: "jwt", auth: "private_key_jwt"},
	} {
		t.Run(tt.name+" "+tt.auth, func(t *testing.T) { i.checkSignIn(t, tt, false) })
	}
}

// W9
func TestInteropBetterAuthSignIn(t *testing.T) {
	i := newBetterAuth(t)
	for _, tt := range []serverClient{
		{name: "native", auth: "none"},
		{name: "post", auth: "client_secret_post"},
		{name: "basic", set: "client_secret_basic", auth: "client_secret_basic"},
		// It allows a client one method, and the one that Discover chooses for such a secret is another.
		{name: "basic", auth: "client_secret_post", status: 400, code: "invalid_client"},
		{name: "jwt", auth: "private_key_jwt"},
	} {
		t.Run(tt.name+" "+tt.auth, func(t *testing.T) { i.checkSignIn(t, tt, true) })
	}
}

func TestInteropGlewlwydDiscovery(t *testing.T) {
	i := newGlewlwyd(t)
	i.checkDiscovery(t, map[string]string{
		"auth": "/auth", "token": "/token", "keys": "/jwks", "device": "/device_authorization", "revocation": "/revoke",
	}, false) // it names itself in each redirect, and does not say that it will
}

func TestInteropBetterAuthDiscovery(t *testing.T) {
	i := newBetterAuth(t)
	i.checkDiscovery(t, map[string]string{
		"auth": "/oauth2/authorize", "token": "/oauth2/token", "keys": "/jwks", "device": "/device/code",
		"revocation": "/oauth2/revoke",
	}, true)
}

// W26
func TestInteropGlewlwydRotation(t *testing.T) { newGlewlwyd(t).checkRotation(t, glewlwydDead) }

func TestInteropBetterAuthRotation(t *testing.T) { newBetterAuth(t).checkRotation(t, betterAuthDead) }

// glewlwydDead reports whether err is of a dead refresh token: 400, and an empty body.
func glewlwydDead(err error) bool {
	e := new(Error)
	return errors.As(err, &e) && e.StatusCode == 400 && e.Code == "" && !e.Temporary() &&
		!errors.Is(err, ErrLoginRequired)
}

func betterAuthDead(err error) bool {
	e := new(Error)
	return errors.As(err, &e) && e.Code == "invalid_grant" && errors.Is(err, ErrLoginRequired)
}

func TestInteropGlewlwydMachine(t *testing.T) {
	i := newGlewlwyd(t)
	i.checkMachine(t, "machine", "client_secret_post", Error{StatusCode: 403})
	i.checkMachine(t, "machinejwt", "private_key_jwt", Error{StatusCode: 403})
}

func TestInteropBetterAuthMachine(t *testing.T) {
	i := newBetterAuth(t)
	i.checkMachine(t, "machine", "client_secret_post", Error{StatusCode: 400, Code: "invalid_client"})
	i.checkMachine(t, "machinejwt", "private_key_jwt", Error{StatusCode: 401, Code: "invalid_client"})
}

func TestInteropGlewlwydRevoke(t *testing.T) {
	i := newGlewlwyd(t)
	i.checkRevoke(t, "both", Error{}, glewlwydDead)
	// Public clients can't revoke there: only who authenticates, or has a token with a scope for it, may.
	i.checkRevoke(t, "native", Error{StatusCode: 401}, nil)
	i.checkRevoke(t, "jwt", Error{StatusCode: 401}, nil) // as in TestInteropGlewlwydDevice
}

func TestInteropBetterAuthRevoke(t *testing.T) {
	i := newBetterAuth(t)
	i.checkRevoke(t, "native", Error{}, betterAuthDead)
	i.checkRevoke(t, "post", Error{}, betterAuthDead)
	i.checkRevoke(t, "jwt", Error{StatusCode: 401, Code: "invalid_client"}, nil) // as in TestInteropBetterAuthDevice

	// A token that it does not know is an error there, and not, as in RFC 7009, Section 2.2, a success.
	client := i.discovered(t, "native")
	err := NewCredentials(client, NewSecret("unknown")).Revoke(t.Context())
	if e := new(Error); !errors.As(err, &e) || e.StatusCode != 400 || e.Code != "invalid_request" {
		t.Errorf("revoking an unknown token: %v", err)
	}
}

func TestInteropGlewlwydDevice(t *testing.T) {
	i := newGlewlwyd(t)
	for _, tt := range []struct{ client, code string }{
		{"device", ""},
		// An assertion must be for the endpoint that gets it, and this one is for the token endpoint.
		{"devicejwt", "unauthorized_client"},
	} {
		t.Run(tt.client, func(t *testing.T) {
			t.Parallel()
			i.checkDevice(t, tt.client, tt.code, func(browser *http.Client, d DeviceCode) error {
				page, err := i.next(browser, d.VerificationURIComplete)
				if err != nil {
					return err
				}
				back, err := i.grant(browser, page, true)
				if err != nil {
					return err
				}
				if page, err = i.next(browser, back); err == nil && page.Query().Get("prompt") != "deviceComplete" {
					err = fmt.Errorf("sent to %s", page)
				}
				return err
			})
		})
	}
}

func TestInteropBetterAuthDevice(t *testing.T) {
	i := newBetterAuth(t)
	for _, tt := range []struct{ name, client, answer, code string }{
		{"public", "device", "approve", ""},
		// As at glewlwyd, but that the issuer's name would do as well.
		{"key", "devicejwt", "approve", "invalid_client"},
		{"declined", "device", "deny", "access_denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i.checkDevice(t, tt.client, tt.code, func(browser *http.Client, d DeviceCode) error {
				user := map[string]any{"email": i.User.Login, "password": i.User.Password}
				err := i.call(browser, "POST", "/api/auth/sign-in/email", user, nil)
				if err != nil {
					return err
				}
				resp, err := browser.Get(i.Issuer + "/device?user_code=" + url.QueryEscape(d.UserCode))
				if err != nil {
					return err
				}
				resp.Body.Close()
				code := map[string]any{"userCode": d.UserCode}
				return i.call(browser, "POST", "/api/auth/device/"+tt.answer, code, nil)
			})
		})
	}
}

// glewlwyd's page has no way to decline, and its code for authorization requests no access_denied. A user can only
// leave all scopes unticked, which still grants openid, or leads back to the page.
func TestInteropGlewlwydDeny(t *testing.T) {
	i := newGlewlwyd(t)
	creds, err := i.run(t, i.discovered(t, "native"), i.person(false), serverScopes)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := creds.Token(t.Context())
	if err != nil || !slices.Equal(tok.Scopes, []string{"openid"}) {
		t.Errorf("granted %+v, %v", tok, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := i.person(false)
	f := i.flow(i.discovered(t, "native"), p, "api:read")
	f.RedirectURI = i.redirect
	go func() { <-p.done; cancel() }()
	_, err = f.RunLocalServer(ctx)
	p.wait(t)
	if !errors.Is(err, context.Canceled) || p.redirect.Path != "/login.html" {
		t.Errorf("%v; the browser is at %s", err, p.redirect)
	}

	// A port that is not registered is refused before the user is asked, on loopback too, whatever RFC 8252, Section
	// 7.3 says: a program needs a port of its own there.
	p = i.person(true)
	f = i.flow(i.discovered(t, "native"), p, serverScopes)
	f.RedirectURI = "http://127.0.0.1:0/callback"
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	go func() { <-p.done; cancel() }()
	if _, err := f.RunLocalServer(ctx); !errors.Is(err, context.Canceled) ||
		!strings.Contains(fmt.Sprint(p.err), "/auth answered 403") {
		t.Errorf("%v; the browser: %v", err, p.err)
	}
}

func TestInteropBetterAuthDeny(t *testing.T) {
	i := newBetterAuth(t)
	p := i.person(false)
	_, err := i.run(t, i.discovered(t, "native"), p, serverScopes)
	e := new(Error)
	if !errors.As(err, &e) || e.Code != "access_denied" || e.Temporary() {
		t.Errorf("%v, want access_denied", err)
	}
	q := p.redirect.Query()
	if p.status != 400 || !strings.Contains(p.page, "You are not signed in") ||
		!slices.Equal(q["iss"], []string{i.Issuer}) || q.Has("code") {
		t.Errorf("back at %s; the page has status %d: %s", p.redirect, p.status, p.page)
	}
}
