package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"image/png"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests of this file run against a certified authorization server, in real time, and are skipped without one:
// see the section interop of .ci/run, which starts the server and names it in OAUTH2_INTEROP.

// interop is what the server says of itself and of the clients that are registered there.
type interop struct {
	Issuer           string   `json:"issuer"`
	AuthURI          string   `json:"auth_uri"`
	TokenURI         string   `json:"token_uri"`
	DeviceAuthURI    string   `json:"device_auth_uri"`
	DeviceURI        string   `json:"device_uri"`
	RevocationURI    string   `json:"revocation_uri"`
	IntrospectionURI string   `json:"introspection_uri"`
	UserinfoURI      string   `json:"userinfo_uri"`
	KeysURI          string   `json:"keys_uri"`
	ControlKeysURI   string   `json:"control_keys_uri"`
	AccessSeconds    int      `json:"access_token_seconds"`
	DeviceSeconds    int      `json:"device_interval_seconds"`
	Resources        []string `json:"resources"`
	Log              string   `json:"log"`
	Origin           string   `json:"origin"`
	User             struct{ ID, Login, Password string }
	Clients          map[string]struct {
		ClientID     string   `json:"client_id"`
		ClientSecret string   `json:"client_secret"`
		AuthMethod   string   `json:"auth_method"`
		RedirectURIs []string `json:"redirect_uris"`
		SecretsFile  string   `json:"secrets_file"`
		KeyFile      string   `json:"key_file"`
		KeyID        string   `json:"key_id"`
	} `json:"clients"`

	// These two are of the servers of interop_servers_test.go.
	person   func(accept bool) *interopPerson
	redirect string
}

// newInterop skips the test where there is no server.
func newInterop(t *testing.T) *interop {
	t.Helper()
	return readInterop(t, "OAUTH2_INTEROP")
}

// readInterop reads the file that an environment variable names, and skips the test where it names none.
func readInterop(t *testing.T, variable string) *interop {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		t.Skip(variable + " names no server")
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	i := new(interop)
	if err := json.Unmarshal(data, i); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return i
}

// client returns the registered client as a program would fill it in by hand.
func (i *interop) client(t *testing.T, name string) *ClientSecrets {
	t.Helper()
	c, ok := i.Clients[name]
	if !ok {
		t.Fatalf("no client %q", name)
	}
	client := &ClientSecrets{ClientID: c.ClientID, ClientSecret: NewSecret(c.ClientSecret), AuthMethod: c.AuthMethod,
		AuthURI: i.AuthURI, TokenURI: i.TokenURI, RedirectURIs: c.RedirectURIs, Issuer: i.Issuer,
		DeviceAuthURI: i.DeviceAuthURI, RevocationURI: i.RevocationURI, KeysURI: i.KeysURI, KeyID: c.KeyID}
	if c.KeyFile != "" {
		data, err := os.ReadFile(c.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		client.Key = key.(*rsa.PrivateKey)
	}
	return client
}

// file returns the registered client as its file in Google's format has it, and the issuer, which the format lacks.
func (i *interop) file(t *testing.T, name string) *ClientSecrets {
	t.Helper()
	c, err := ReadClientSecretsFile(i.Clients[name].SecretsFile)
	if err != nil {
		t.Fatal(err)
	}
	c.Issuer = i.Issuer
	return c
}

// flow returns a sign-in that p carries out. Without the prompt, the server drops offline_access (OpenID Connect
// Core, Section 11).
func (i *interop) flow(client *ClientSecrets, p *interopPerson, scopes ...string) *InstalledAppFlow {
	f := NewInstalledAppFlow(client, scopes...)
	f.Params = url.Values{"prompt": {"consent"}}
	f.Prompt = io.Discard
	f.OpenBrowser = p.open
	return f
}

// signIn returns the credentials of a sign-in that has to succeed.
func (i *interop) signIn(t *testing.T, client *ClientSecrets, scopes ...string) *Credentials {
	t.Helper()
	creds, err := i.flow(client, newInteropPerson(i, true), scopes...).RunLocalServer(t.Context())
	if err != nil {
		t.Fatalf("signing in: %v", err)
	}
	return creds
}

// userinfo calls the server's API, as a program would, and returns the status and the claims.
func (i *interop) userinfo(ctx context.Context, client *http.Client) (status int, claims map[string]any, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", i.UserinfoURI, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, claims, json.NewDecoder(resp.Body).Decode(&claims)
}

// interopRequest is a line of the server's log. A hash that occurs twice is of a one-time value that was sent twice.
type interopRequest struct {
	Method, Path, Route, Client, Grant, Auth, Error, Detail, Scope string

	Status           int
	Params           []string
	RefreshTokenHash string `json:"refresh_token_hash"`
	CodeHash         string `json:"code_hash"`
}

// requests returns the logged requests that keep is true of. A request is logged before it is answered.
func (i *interop) requests(t *testing.T, keep func(interopRequest) bool) (kept []interopRequest) {
	t.Helper()
	data, err := os.ReadFile(i.Log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var r interopRequest
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // not written yet
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v", i.Log, err)
		}
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// hash is how the log shows a secret.
func (i *interop) hash(secret string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(secret)))[:16]
}

// interopPerson is a person and their browser, in HTTP.
type interopPerson struct {
	i      *interop
	accept bool
	visit  func(browser *http.Client, target string) (redirect *url.URL, err error)
	done   chan struct{} // closed when the browser is back at the program, or lost; the rest is set before

	redirect *url.URL // where the server sent the browser in the end
	status   int      // of the program's page
	page     string
	err      error
}

func newInteropPerson(i *interop, accept bool) *interopPerson {
	p := &interopPerson{i: i, accept: accept, done: make(chan struct{})}
	p.visit = p.fillIn
	return p
}

// open is an OpenBrowser. Like a real one it does not wait for the user.
func (p *interopPerson) open(target string) error {
	go func() {
		defer close(p.done)
		p.err = p.browse(target)
	}()
	return nil
}

// wait returns when the program has answered the browser.
func (p *interopPerson) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the browser did not come back")
	}
	if p.err != nil {
		t.Fatalf("the browser: %v", p.err)
	}
}

func (p *interopPerson) browse(target string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{
		Jar:           jar,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if p.redirect, err = p.visit(browser, target); err != nil {
		return err
	}
	resp, err := browser.Get(p.redirect.String())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	p.status, p.page = resp.StatusCode, string(page)
	return err
}

// fillIn is a visit of the server's forms.
func (p *interopPerson) fillIn(browser *http.Client, target string) (redirect *url.URL, err error) {
	// follow returns the last page of the server, or the address outside of it.
	follow := func(resp *http.Response, err error) (at *url.URL, home bool, _ error) {
		for range 10 {
			if err != nil {
				return nil, false, err
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode/100 != 3 {
				if resp.StatusCode != http.StatusOK {
					return nil, false, fmt.Errorf("%s answered %d: %s", resp.Request.URL.Path, resp.StatusCode, body)
				}
				return resp.Request.URL, false, nil
			}
			next, bad := resp.Location()
			if bad != nil {
				return nil, false, bad
			}
			if !strings.HasPrefix(next.String(), p.i.Issuer+"/") {
				return next, true, nil
			}
			resp, err = browser.Get(next.String())
		}
		return nil, false, errors.New("too many redirects")
	}
	at, home, err := follow(browser.Get(target))
	steps := []url.Values{{"prompt": {"login"}, "login": {"alice"}, "password": {"any"}}, {"prompt": {"consent"}}}
	if err == nil && !home && !p.accept {
		steps = nil
		at, home, err = follow(browser.Get(at.String() + "/abort"))
	}
	for _, form := range steps {
		if err == nil && !home {
			at, home, err = follow(browser.PostForm(at.String(), form))
		}
	}
	if err == nil && !home {
		err = fmt.Errorf("left at %s", at.Path)
	}
	return at, err
}

func TestInteropSignIn(t *testing.T) {
	i := newInterop(t)
	const all = "openid email profile offline_access api:read api:write"
	tests := []struct {
		name     string
		client   *ClientSecrets
		redirect string // RedirectURI
		scopes   string // "": all
		auth     string // as the server saw it
		at       string // the redirect URI that the browser came back to, a regular expression; "": on 127.0.0.1
		final    bool   // there is no refresh token
	}{
		{name: "public", client: i.client(t, "native"), auth: "none"},
		{
			name:     "public on ::1",
			client:   i.client(t, "native"),
			redirect: "http://[::1]:0/callback",
			auth:     "none",
			at:       `http://\[::1\]:\d+/callback`,
		},
		{
			name:     "public on localhost",
			client:   i.client(t, "native"),
			redirect: "http://localhost:0/callback",
			auth:     "none",
			at:       `http://localhost:\d+/callback`,
		},
		{name: "Basic, and a secret that must be encoded", client: i.client(t, "basic"), auth: "client_secret_basic"},
		{name: "secret in the body", client: i.client(t, "post"), auth: "client_secret_post"},
		{name: "key", client: i.client(t, "jwt"), auth: "private_key_jwt"},
		{name: "file of a public client", client: i.file(t, "native"), auth: "none"},
		{
			name:   "file with http://localhost only",
			client: i.file(t, "bare"),
			auth:   "none",
			at:     `http://localhost:\d+/?`, // W45
		},
		{name: "file with a secret", client: i.file(t, "post"), auth: "client_secret_post"},
		{
			name:   "file of a web client",
			client: i.file(t, "web"),
			auth:   "client_secret_post",
			at:     regexp.QuoteMeta(i.Clients["web"].RedirectURIs[0]),
		},
		{
			name:     "web client on localhost",
			client:   i.client(t, "web"),
			redirect: i.Clients["web"].RedirectURIs[1],
			auth:     "client_secret_basic",
			at:       regexp.QuoteMeta(i.Clients["web"].RedirectURIs[1]),
		},
		{
			name:   "no refresh token",
			client: i.client(t, "norefresh"),
			scopes: "openid email profile",
			auth:   "none",
			final:  true,
		},
		{name: "no OpenID", client: i.client(t, "native"), scopes: "api:read", auth: "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newInteropPerson(i, true)
			scopes := cmp.Or(tt.scopes, all)
			f := i.flow(tt.client, p, scopes)
			f.RedirectURI = tt.redirect
			creds, err := f.RunLocalServer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.wait(t)
			if p.status != http.StatusOK || !strings.Contains(p.page, "You are signed in") {
				t.Errorf("the page has status %d: %s", p.status, p.page)
			}
			want := "^" + cmp.Or(tt.at, `http://127\.0\.0\.1:\d+/callback`) + "$"
			if at, _, _ := strings.Cut(p.redirect.String(), "?"); !regexp.MustCompile(want).MatchString(at) {
				t.Errorf("back at %s, want %s", at, want)
			}
			tok, err := creds.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			granted := slices.Sorted(slices.Values(tok.Scopes))
			asked := slices.Sorted(slices.Values(strings.Fields(scopes)))
			if !slices.Equal(granted, asked) {
				t.Errorf("granted %q, want %q", granted, asked)
			}
			if left := time.Until(tok.Expiry); left <= 0 || left > time.Duration(i.AccessSeconds)*time.Second {
				t.Errorf("the token lives for another %v", left)
			}
			openid := slices.Contains(asked, "openid")
			i.checkPerson(t, tt.client, creds, tok, openid)

			exchange := i.requests(t, func(r interopRequest) bool {
				return r.CodeHash == i.hash(p.redirect.Query().Get("code"))
			})
			if len(exchange) != 1 || exchange[0].Status != 200 || exchange[0].Auth != tt.auth ||
				!slices.Contains(exchange[0].Params, "code_verifier") {
				t.Errorf("exchanges of the code: %+v, want one with %s", exchange, tt.auth)
			}

			next, err := creds.Refresh(t.Context())
			if tt.final {
				if !errors.Is(err, ErrLoginRequired) || !tok.RefreshToken.empty() {
					t.Errorf("Refresh without a refresh token: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if next.AccessToken.Reveal() == tok.AccessToken.Reveal() ||
				next.RefreshToken.Reveal() == tok.RefreshToken.Reveal() {
				t.Error("the refresh brought no new tokens")
			}
			if again := slices.Sorted(slices.Values(next.Scopes)); !slices.Equal(again, asked) {
				t.Errorf("granted after the refresh: %q, want %q", again, asked)
			}
			i.checkPerson(t, tt.client, creds, next, openid)
			refresh := i.requests(t, func(r interopRequest) bool {
				return r.RefreshTokenHash == i.hash(tok.RefreshToken.Reveal())
			})
			if len(refresh) != 1 || refresh[0].Status != 200 || refresh[0].Auth != tt.auth {
				t.Errorf("refreshes: %+v, want one with %s", refresh, tt.auth)
			}
		})
	}
}

// checkPerson checks that tok is alice's, by its ID token and by the API.
func (i *interop) checkPerson(t *testing.T, client *ClientSecrets, creds *Credentials, tok *Token, openid bool) {
	t.Helper()
	status, claims, err := i.userinfo(t.Context(), NewClient(creds))
	if err != nil {
		t.Fatalf("userinfo: %v", err)
	}
	if !openid {
		if status != http.StatusForbidden || !tok.IDToken.empty() {
			t.Errorf("userinfo answered %d without openid, or there is an ID token", status)
		}
		return
	}
	person := map[string]any{"sub": "alice", "name": "alice", "email": "alice@example.com", "email_verified": true}
	for name, want := range person {
		if status != http.StatusOK || claims[name] != want {
			t.Errorf("userinfo answered %d, %s: %v, want %v", status, name, claims[name], want)
		}
	}
	parts := strings.Split(tok.IDToken.Reveal(), ".")
	if len(parts) != 3 {
		t.Fatalf("the ID token has %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	clear(claims)
	if err := errors.Join(err, json.Unmarshal(payload, &claims)); err != nil {
		t.Fatalf("the ID token: %v", err)
	}
	person["iss"], person["aud"] = i.Issuer, client.ClientID
	for name, want := range person {
		if claims[name] != want {
			t.Errorf("the ID token has %s %v, want %v", name, claims[name], want)
		}
	}
}

// Two renewals while the token is stale, and one after it has expired, each under fifty callers at once.
func TestInteropRotation(t *testing.T) {
	i := newInterop(t)
	t.Parallel()
	const callers, renewals = 50, 3
	creds := i.signIn(t, i.client(t, "native"), "openid email profile offline_access")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first, err := creds.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}

	var (
		mu   sync.Mutex
		seen = map[string]*Token{first.AccessToken.Reveal(): first}
	)
	// call takes a token as a program does, and returns how many there were so far.
	call := func() (*Token, int) {
		tok, err := creds.Token(ctx)
		if err != nil {
			t.Errorf("Token: %v", err)
			cancel()
			return first, 0
		}
		if !tok.Valid() {
			t.Errorf("a token that expired %v ago was handed out", time.Since(tok.Expiry))
		}
		mu.Lock()
		defer mu.Unlock()
		seen[tok.AccessToken.Reveal()] = tok
		return tok, len(seen)
	}
	var running sync.WaitGroup
	for n := range callers {
		running.Go(func() {
			client := NewClient(creds)
			pause := time.NewTicker(10 * time.Millisecond)
			defer pause.Stop()
			for round := 0; ctx.Err() == nil; round++ {
				if _, n := call(); n == renewals { // the first token and two more
					return
				}
				if round%callers == n {
					if status, _, err := i.userinfo(ctx, client); err != nil || status != http.StatusOK {
						t.Errorf("userinfo answered %d, %v", status, err)
					}
				}
				<-pause.C
			}
		})
	}
	running.Wait()

	last, _ := call()
	<-time.After(time.Until(last.Expiry) + 10*time.Millisecond)
	barrier := make(chan struct{})
	after := make([]*Token, callers)
	for n := range callers {
		running.Go(func() {
			<-barrier
			after[n], _ = call()
		})
	}
	close(barrier)
	running.Wait()
	for _, tok := range after {
		if tok != after[0] || tok == last {
			t.Fatal("the callers that waited for one refresh did not get one new token")
		}
	}

	tokens := slices.SortedFunc(maps.Values(seen), func(a, b *Token) int { return a.Expiry.Compare(b.Expiry) })
	var hashes []string
	life := time.Duration(i.AccessSeconds) * time.Second
	for n, tok := range tokens {
		hashes = append(hashes, i.hash(tok.RefreshToken.Reveal()))
		if n == 0 {
			continue
		}
		if after := tok.Expiry.Sub(tokens[n-1].Expiry); after < life/2 || after >= life != (n == renewals) {
			t.Errorf("renewal %d came %v after the one before; tokens live for %v", n, after, life)
		}
	}
	// The server's own detection of reuse is not atomic: two requests with one token, close together, can both succeed.
	refreshes := i.requests(t, func(r interopRequest) bool { return slices.Contains(hashes, r.RefreshTokenHash) })
	sent := map[string]bool{}
	for _, r := range refreshes {
		if r.Status != http.StatusOK || sent[r.RefreshTokenHash] {
			t.Errorf("a refresh failed or repeated a token: %+v", r)
		}
		sent[r.RefreshTokenHash] = true
	}
	if len(refreshes) != renewals || len(tokens) != renewals+1 {
		t.Errorf("%d refreshes brought %d tokens; %d were due", len(refreshes), len(tokens)-1, renewals)
	}
	if t.Failed() {
		return
	}

	// That the server does detect reuse, and what the program is told then.
	resp, err := http.PostForm(i.TokenURI, url.Values{
		"grant_type":    {"refresh_token"},
		"client_id":     {"native"},
		"refresh_token": {first.RefreshToken.Reveal()},
	})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	reused := i.requests(t, func(r interopRequest) bool {
		return r.RefreshTokenHash == i.hash(first.RefreshToken.Reveal()) && r.Error != ""
	})
	if len(reused) != 1 || reused[0].Detail != "refresh token already used" {
		t.Errorf("the server took a used refresh token: %+v", reused)
	}
	for range 3 {
		if _, err := creds.Refresh(ctx); !errors.Is(err, ErrLoginRequired) {
			t.Errorf("Refresh after all tokens were revoked: %v", err)
		}
	}
	ended := i.requests(t, func(r interopRequest) bool {
		return r.RefreshTokenHash == i.hash(after[0].RefreshToken.Reveal())
	})
	if len(ended) != 1 || ended[0].Error != "invalid_grant" {
		t.Errorf("requests with the revoked refresh token: %+v, want one", ended)
	}
}

func TestInteropDeny(t *testing.T) {
	i := newInterop(t)
	tests := []struct {
		name, issuer, page string
		accept, waits      bool // waits: for another redirect
	}{
		{"declined", i.Issuer, "You are not signed in", false, false},
		{"declined at another issuer", "https://issuer.example.com", "Nothing to do here", false, true},
		{"accepted at another issuer", "https://issuer.example.com", "Nothing to do here", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := i.client(t, "native")
			client.Issuer = tt.issuer
			p := newInteropPerson(i, tt.accept)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var ended sync.WaitGroup
			if tt.waits {
				ended.Go(func() { <-p.done; cancel() })
			}
			creds, err := i.flow(client, p, "openid", "offline_access").RunLocalServer(ctx)
			p.wait(t)
			ended.Wait()
			if p.status != http.StatusBadRequest || !strings.Contains(p.page, tt.page) {
				t.Errorf("the page has status %d: %s", p.status, p.page)
			}
			if iss := p.redirect.Query()["iss"]; !slices.Equal(iss, []string{i.Issuer}) {
				t.Errorf("the server named the issuer %q", iss)
			}
			e := new(Error)
			switch {
			case creds != nil:
				t.Error("there are credentials")
			case tt.waits && (!errors.Is(err, context.Canceled) || errors.As(err, &e)):
				t.Errorf("%v, want that the wait went on", err)
			case !tt.waits && (!errors.As(err, &e) || e.Code != "access_denied" || e.Temporary()):
				t.Errorf("%v, want access_denied", err)
			}
			code := i.hash(p.redirect.Query().Get("code"))
			if sent := i.requests(t, func(r interopRequest) bool { return r.CodeHash == code }); len(sent) != 0 {
				t.Errorf("the code was sent: %+v", sent)
			}
		})
	}
}

// A real browser, opened by what stands in for xdg-open, and the pages that a user is left with.
//
// W56
func TestInteropBrowser(t *testing.T) {
	i := newInterop(t)
	driver := os.Getenv("OAUTH2_INTEROP_BROWSER")
	if driver == "" {
		t.Skip("OAUTH2_INTEROP_BROWSER names no browser")
	}
	shots := cmp.Or(os.Getenv("OAUTH2_INTEROP_SHOTS"), t.TempDir())
	tests := []struct{ name, action, title, text, code string }{
		{"success", "accept", "Signed in", "You are signed in", ""},
		{"failure", "deny", "Not signed in", "You are not signed in", "access_denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			browser := exec.CommandContext(t.Context(), "node", driver)
			browser.Env = append(os.Environ(), "NAME="+tt.name, "OUT="+shots, "ACTION="+tt.action)
			var output bytes.Buffer
			browser.Stdout, browser.Stderr = &output, &output
			ended := make(chan error, 1)
			f := i.flow(i.client(t, "native"), nil, "openid", "email", "profile", "offline_access")
			f.OpenBrowser = func(target string) error {
				browser.Args = append(browser.Args, target)
				go func() { ended <- browser.Run() }()
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			_, err := f.RunLocalServer(ctx)
			if browserErr := <-ended; browserErr != nil {
				t.Fatalf("the browser: %v\n%s", browserErr, output.String())
			}
			e := new(Error)
			if errors.As(err, &e); e.Code != tt.code || (err == nil) != (tt.code == "") {
				t.Errorf("RunLocalServer: %v, want the error %q", err, tt.code)
			}

			checkShots(t, shots, tt.name, shot{at: "/callback", title: tt.title, text: tt.text})
		})
	}
}

// A shot is a page that a browser has left pictures of: a regular expression of its path, its title and a part of it.
type shot struct{ at, title, text string }

// checkShots checks the pictures of a page, and what the browser had to say of it.
func checkShots(t *testing.T, shots, name string, want shot) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(shots, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var page struct {
		URL, Title, Text    string
		Overflow            *int
		Complaints, Refused []string
	}
	if err := json.Unmarshal(data, &page); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+`+want.at+"$").MatchString(page.URL) ||
		page.Title != want.title || !strings.Contains(page.Text, want.text) {
		t.Errorf("the person is left at %+v", page)
	}
	if page.Overflow == nil || *page.Overflow > 0 || len(page.Complaints) > 0 {
		t.Errorf("the page is wider than a phone, or the browser complained: %s", data)
	}
	for shape, size := range map[string][2]int{"phone": {390, 844}, "desktop": {1280, 800}} {
		var pictures [2]string
		for n, scheme := range []string{"light", "dark"} {
			data, err := os.ReadFile(filepath.Join(shots, name+"-"+shape+"-"+scheme+".png"))
			if err != nil {
				t.Fatal(err)
			}
			picture, err := png.DecodeConfig(bytes.NewReader(data))
			if got := [2]int{picture.Width, picture.Height}; err != nil || got != size {
				t.Errorf("%s, %s: %v, %v", shape, scheme, got, err)
			}
			pictures[n] = string(data)
		}
		if pictures[0] == pictures[1] {
			t.Errorf("%s: dark is as light", shape)
		}
	}
}

// The pages of requests that are not the redirect, in a real browser: a person who opens an old tab, or types the
// address, has to read something. None of them ends the sign-in. W56
func TestInteropBrowserStray(t *testing.T) {
	driver := os.Getenv("OAUTH2_INTEROP_BROWSER")
	if driver == "" {
		t.Skip("OAUTH2_INTEROP_BROWSER names no browser")
	}
	shots := cmp.Or(os.Getenv("OAUTH2_INTEROP_SHOTS"), t.TempDir())
	for _, tt := range []struct{ name, action, target, at string }{
		{"stray-redirect", "visit", "/?code=x&state=of-another-sign-in", "/"},
		{"not-found", "visit", "/nothing/here", "/nothing/here"},
		{"wrong-method", "post", "/", "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewTestServer(t)
			f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "a")
			f.Prompt, f.RedirectURI = io.Discard, "http://127.0.0.1:0/"
			urls := make(chan string, 1)
			f.OpenBrowser = func(authURL string) error { urls <- authURL; return nil }
			ended := make(chan error, 1)
			go func() { _, err := f.RunLocalServer(t.Context()); ended <- err }()
			redirected, err := s.Authorize(<-urls)
			if err != nil {
				t.Fatal(err)
			}
			base, _, _ := strings.Cut(redirected, "/?")
			browser := exec.CommandContext(t.Context(), "node", driver, base+tt.target)
			browser.Env = append(os.Environ(), "NAME="+tt.name, "OUT="+shots, "ACTION="+tt.action)
			if output, err := browser.CombinedOutput(); err != nil {
				t.Fatalf("the browser: %v\n%s", err, output)
			}
			checkShots(t, shots, tt.name, shot{tt.at, "Nothing to sign in to", "Nothing to do here"})
			resp, err := http.Get(redirected)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if err := <-ended; err != nil || resp.StatusCode != http.StatusOK {
				t.Error(resp.Status, err)
			}
		})
	}
}
