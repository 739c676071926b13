package oauth2

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// activate is a user who enters a user code in the browser of another device.
func (i *interop) activate(page, userCode string, accept bool) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	input := regexp.MustCompile(`name="xsrf" value="([^"]*)"`)
	read := func(resp *http.Response, err error) (at, text string, _ error) {
		if err != nil {
			return "", "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return "", "", fmt.Errorf("%s answered %s: %s", resp.Request.URL.Path, resp.Status, body)
		}
		return resp.Request.URL.String(), string(body), err
	}
	at, text, err := read(browser.Get(page))
	answer := url.Values{"confirm": {"yes"}}
	if !accept {
		answer = url.Values{"abort": {"yes"}}
	}
	for _, form := range []url.Values{{}, answer} {
		if m := input.FindStringSubmatch(text); err == nil && m != nil {
			form.Set("xsrf", m[1])
			form.Set("user_code", userCode)
			at, text, err = read(browser.PostForm(page, form))
		} else if err == nil {
			err = fmt.Errorf("no form: %s", text)
		}
	}
	if err != nil || !accept {
		return err
	}
	for _, form := range []url.Values{
		{"prompt": {"login"}, "login": {"alice"}, "password": {"any"}}, {"prompt": {"consent"}},
	} {
		if at, text, err = read(browser.PostForm(at, form)); err != nil {
			return err
		}
	}
	if !strings.Contains(text, "Sign-in Success") {
		return fmt.Errorf("left at %s: %s", at, text)
	}
	return nil
}

// doubledPoll sends the first question about a device code twice.
type doubledPoll struct{ once sync.Once }

func (h *doubledPoll) RoundTrip(r *http.Request) (*http.Response, error) {
	var again *http.Request
	if strings.HasSuffix(r.URL.Path, "/token") {
		h.once.Do(func() {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			again = r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			r.Body = io.NopCloser(bytes.NewReader(body))
		})
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if again == nil || err != nil {
		return resp, err
	}
	resp.Body.Close()
	return http.DefaultTransport.RoundTrip(again)
}

func TestInteropDevice(t *testing.T) {
	i := newInterop(t)
	const all = "openid email profile offline_access"
	tests := []struct {
		name, client string
		accept       bool
		transport    http.RoundTripper
		auth, code   string
		pending      int // answers before the user has entered the code
	}{
		{"public", "device", true, nil, "none", "", 1}, // UP45
		{"with a secret", "devicesecret", true, nil, "client_secret_post", "", 1},
		{"too fast once", "device", true, new(doubledPoll), "none", "", 1},
		{"declined", "device", false, nil, "none", "access_denied", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			client := i.client(t, tt.client)
			var mu sync.Mutex
			var asked, slow []time.Time
			client.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				base := tt.transport
				if base == nil {
					base = http.DefaultTransport
				}
				resp, err := base.RoundTrip(r)
				if err == nil && strings.HasSuffix(r.URL.Path, "/token") {
					body, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					resp.Body = io.NopCloser(strings.NewReader(string(body)))
					mu.Lock()
					defer mu.Unlock()
					if asked = append(asked, time.Now()); strings.Contains(string(body), "slow_down") {
						slow = append(slow, time.Now())
					}
				}
				return resp, err
			})}
			f := NewInstalledAppFlow(client, all)
			screen, prompt := io.Pipe()
			f.Prompt = prompt
			person := make(chan error, 1)
			go func() {
				shown := regexp.MustCompile(`(?s)    (http\S+)\n.*    (\S+)\n\n$`)
				var text []byte
				for b := make([]byte, 512); !shown.Match(text); {
					n, err := screen.Read(b)
					if err != nil {
						person <- err
						return
					}
					text = append(text, b[:n]...)
				}
				m := shown.FindSubmatch(text)
				if string(m[1]) != i.DeviceURI {
					person <- fmt.Errorf("sent to %s", m[1])
					return
				}
				// a user is slower than the first poll
				for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
					mu.Lock()
					polls := len(asked)
					mu.Unlock()
					if polls >= tt.pending || ctx.Err() != nil {
						tick.Stop()
						break
					}
				}
				person <- i.activate(string(m[1]), string(m[2]), tt.accept)
			}()
			creds, err := f.RunDevice(ctx)
			prompt.Close()
			if err := <-person; err != nil {
				t.Fatalf("the person: %v", err)
			}
			e := new(Error)
			if errors.As(err, &e); e.Code != tt.code || (err == nil) != (tt.code == "") {
				t.Fatalf("%v, want the error %q", err, tt.code)
			}
			wantSlow := 0
			if tt.transport != nil {
				wantSlow = 1
			}
			if len(slow) != wantSlow || len(asked) < tt.pending+1 {
				t.Errorf("asked %d times, of which %d too early", len(asked), len(slow))
			}
			for n := 1; n < len(asked); n++ {
				pace := time.Duration(i.DeviceSeconds) * time.Second
				if len(slow) > 0 && !asked[n-1].Before(slow[0]) {
					pace += slowDown
				}
				if gap := asked[n].Sub(asked[n-1]); gap < pace-50*time.Millisecond {
					t.Errorf("question %d came %v after the one before, want %v", n, gap, pace)
				}
			}
			if err != nil {
				return
			}
			tok, err := creds.Token(ctx)
			if err != nil {
				t.Fatal(err)
			}
			i.checkPerson(t, client, creds, tok, true)
			if next, err := creds.Refresh(ctx); err != nil || next.AccessToken.Reveal() == tok.AccessToken.Reveal() {
				t.Errorf("refreshing: %v", err)
			}
		})
	}
}

func TestInteropPaste(t *testing.T) {
	i := newInterop(t)
	tests := []struct {
		name   string
		accept bool
		lines  []string // of which all but the last one are wrong
		code   string
	}{
		{name: "address", accept: true, lines: []string{"URL"}},                        // UP2
		{name: "code, then the address", accept: true, lines: []string{"CODE", "URL"}}, // W53
		{
			name:   "wrong ones first",
			accept: true,
			lines: []string{"", "hello", "http://127.0.0.1:1/callback", "AUTH",
				"http://127.0.0.1:1/callback?code=CODE&state=other&iss=ISS",
				"http://127.0.0.1:1/callback?code=CODE&state=STATE&iss=https%3A%2F%2Fissuer.example.com", "URL"},
		},
		{name: "declined", lines: []string{"URL"}, code: "access_denied"},
		{
			name:   "code that is none",
			accept: true,
			lines:  []string{"?code=CODEx&state=STATE&iss=ISS"},
			code:   "invalid_grant",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newInteropPerson(i, tt.accept)
			client := i.client(t, "native")
			f := i.flow(client, p, "openid email profile offline_access")
			f.RedirectURI, f.ListenAddr = "http://127.0.0.1:1/callback", "127.0.0.1:0"
			in, keyboard, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer keyboard.Close()
			screen := new(lockedText)
			f.Input, f.Prompt = in, screen
			opened := f.OpenBrowser
			f.OpenBrowser = func(authURL string) error {
				go func() {
					<-p.done
					q := p.redirect.Query()
					fill := strings.NewReplacer("URL", p.redirect.String(), "AUTH", authURL, "CODE", q.Get("code"),
						"STATE", q.Get("state"), "ISS", url.QueryEscape(i.Issuer))
					for _, line := range tt.lines {
						io.WriteString(keyboard, fill.Replace(line)+"\n")
					}
				}()
				return opened(authURL)
			}
			creds, err := f.RunLocalServer(t.Context())
			e := new(Error)
			if errors.As(err, &e); e.Code != tt.code || (err == nil) != (tt.code == "") {
				t.Fatalf("%v, want the error %q", err, tt.code)
			}
			if p.status != 0 || p.err == nil {
				t.Errorf("the browser reached the program: %d", p.status)
			}
			if n := strings.Count(screen.String(), "Paste the whole address"); n != len(tt.lines)-1 {
				t.Errorf("%d pastes were explained: %s", n, screen.String())
			}
			code := i.hash(p.redirect.Query().Get("code"))
			sent := i.requests(t, func(r interopRequest) bool { return r.CodeHash == code })
			if tt.code == "" && (len(sent) != 1 || sent[0].Status != 200) || tt.code != "" && len(sent) > 0 {
				t.Errorf("exchanges of the code: %+v", sent)
			}
			if err == nil {
				tok, err := creds.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				i.checkPerson(t, client, creds, tok, true)
			}
		})
	}
}

type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *lockedText) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *lockedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestInteropDiscovery(t *testing.T) {
	i := newInterop(t)
	tests := []struct{ name, client, set, auth string }{
		{"public", "native", "", "none"},
		{"secret that changes when encoded", "basic", "", "client_secret_post"}, // W38
		{"secret, and a method that was set", "post", "client_secret_post", "client_secret_post"},
		{"key", "jwt", "", "private_key_jwt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			registered := i.client(t, tt.client)
			c := &ClientSecrets{
				ClientID:     registered.ClientID,
				ClientSecret: registered.ClientSecret,
				AuthMethod:   tt.set,
				RedirectURIs: registered.RedirectURIs,
			}
			if tt.auth == "private_key_jwt" {
				c.Key, c.KeyID = i.key(t, tt.client)
			}
			if err := c.Discover(t.Context(), i.Issuer+"/"); err == nil || c.TokenURI != "" {
				t.Errorf("another issuer: %v", err)
			}
			if err := c.Discover(t.Context(), i.Issuer); err != nil {
				t.Fatal(err)
			}
			got := []string{c.Issuer, c.AuthURI, c.TokenURI, c.KeysURI, c.DeviceAuthURI, c.RevocationURI}
			want := []string{i.Issuer, i.AuthURI, i.TokenURI, i.KeysURI, i.DeviceAuthURI, i.RevocationURI}
			if !slices.Equal(got, want) || !c.issRequired {
				t.Errorf("got %q, want %q; iss is demanded: %t", got, want, c.issRequired)
			}
			p := newInteropPerson(i, true)
			creds, err := i.flow(c, p, "openid email profile offline_access").RunLocalServer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.wait(t)
			tok, err := creds.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			i.checkPerson(t, c, creds, tok, true)
			sent := i.requests(t, func(r interopRequest) bool {
				return r.CodeHash == i.hash(p.redirect.Query().Get("code"))
			})
			if len(sent) != 1 || sent[0].Auth != tt.auth {
				t.Errorf("exchanges of the code: %+v, want one with %s", sent, tt.auth)
			}
			if _, err := creds.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			if err := creds.Revoke(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := creds.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
				t.Errorf("after Revoke: %v", err)
			}
		})
	}
}

// key reads the key of a client.
func (i *interop) key(t *testing.T, name string) (key *rsa.PrivateKey, id string) {
	t.Helper()
	data, err := os.ReadFile(i.Clients[name].KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = parsePrivateKey(string(data)); err != nil {
		t.Fatal(err)
	}
	return key, i.Clients[name].KeyID
}

// A web application whose two handlers keep the flow in a session. It listens where its client is registered, as
// TestInteropSignIn does, so it is not parallel.
func TestInteropWeb(t *testing.T) {
	i := newInterop(t)
	redirect, err := url.Parse(i.Clients["web"].RedirectURIs[0])
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sessions := map[string][]byte{}
	begun := func(w http.ResponseWriter, r *http.Request) (authURL string, err error) {
		f := NewFlow(i.client(t, "web"), "openid email profile offline_access")
		f.RedirectURI, f.Params = redirect.String(), url.Values{"prompt": {"consent"}}
		if authURL, err = f.AuthorizationURL(); err != nil {
			return "", err
		}
		data, err := f.Marshal()
		if err != nil {
			return "", err
		}
		mu.Lock()
		defer mu.Unlock()
		id := randomSecret().Reveal()
		sessions[id] = data
		http.SetCookie(w, &http.Cookie{
			Name:     "session",
			Value:    id,
			Path:     "/",
			HttpOnly: true,
			SameSite: http.SameSiteLaxMode,
		})
		return authURL, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		authURL, err := begun(w, r)
		if err == nil && r.URL.Query().Has("twice") { // a second tab has taken the session over
			_, err = begun(w, r)
		}
		if err != nil {
			t.Error(err)
		}
		http.Redirect(w, r, authURL, http.StatusFound)
	})
	client := i.client(t, "web")
	mux.HandleFunc("GET "+redirect.Path, func(w http.ResponseWriter, r *http.Request) {
		fail := func(err error) { http.Error(w, err.Error(), http.StatusBadRequest) }
		cookies := r.CookiesNamed("session")
		if len(cookies) != 1 {
			fail(errors.New("no session"))
			return
		}
		mu.Lock()
		data := sessions[cookies[0].Value]
		mu.Unlock()
		f, err := ResumeFlow(client, data)
		if err != nil {
			fail(err)
			return
		}
		creds, err := f.FetchTokenFromRedirect(r.Context(), r.URL.String())
		if err != nil {
			fail(err)
			return
		}
		tok, err := creds.Token(r.Context())
		if err != nil {
			fail(err)
			return
		}
		i.checkPerson(t, client, creds, tok, true)
		fmt.Fprint(w, "welcome; refresh token: ", !tok.RefreshToken.empty())
	})
	l, err := net.Listen("tcp", redirect.Host)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	defer server.Close()
	tests := []struct {
		name, login string
		accept      bool
		status      int
		page        string
	}{
		{"signed in", "/login", true, 200, "welcome; refresh token: true"}, // UP18
		{"declined", "/login", false, 400, "access_denied"},
		{"first of two tabs", "/login?twice", true, 400, "does not belong to this sign-in"}, // UP19
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newInteropPerson(i, tt.accept)
			p.open("http://" + redirect.Host + tt.login)
			p.wait(t)
			if p.status != tt.status || !strings.Contains(p.page, tt.page) {
				t.Errorf("the page has status %d: %s", p.status, p.page)
			}
		})
	}
}

func TestInteropMachine(t *testing.T) {
	i := newInterop(t)
	for _, tt := range []struct{ client, auth string }{
		{"machine", "client_secret_basic"}, {"machinejwt", "private_key_jwt"},
	} {
		t.Run(tt.auth, func(t *testing.T) {
			t.Parallel()
			c := i.client(t, tt.client)
			if tt.auth == "private_key_jwt" {
				c.Key, c.KeyID = i.key(t, tt.client)
			}
			requests := func() []interopRequest {
				return i.requests(t, func(r interopRequest) bool {
					return r.Client == tt.client && r.Grant == "client_credentials"
				})
			}
			before := len(requests())
			for range 3 { // each with an assertion of its own, where there is one
				src := (&ClientCredentials{Client: c, Scopes: []string{"api:read", "api:write"}})
				tok, err := src.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				again, err := src.Token(t.Context())
				if err != nil || again != tok || !tok.Valid() || !tok.RefreshToken.empty() ||
					!slices.Equal(tok.Scopes, []string{"api:read", "api:write"}) ||
					time.Until(tok.Expiry) > time.Duration(i.AccessSeconds)*time.Second {
					t.Errorf("%+v, then %+v, %v", tok, again, err)
				}
				if active := i.active(t, tok.AccessToken.Reveal()); !active {
					t.Error("the server does not know the token")
				}
			}
			sent := requests()[before:]
			wrong := func(r interopRequest) bool { return r.Status != 200 || r.Auth != tt.auth }
			if len(sent) != 3 || slices.ContainsFunc(sent, wrong) {
				t.Errorf("requests: %+v, want three with %s", sent, tt.auth)
			}
			c.ClientSecret, c.Key = NewSecret("wrong"), serverKey()
			_, err := (&ClientCredentials{Client: c, Scopes: []string{"api:read"}}).Token(t.Context())
			if e := new(Error); !errors.As(err, &e) || e.Code != "invalid_client" {
				t.Errorf("with a wrong secret or key: %v", err)
			}
		})
	}
}

// active asks the server about a token, as a resource server would.
func (i *interop) active(t *testing.T, token string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", i.IntrospectionURI,
		strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape("machine"), url.QueryEscape(i.Clients["machine"].ClientSecret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Active bool }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != 200 {
		t.Fatalf("introspection: %s, %v", resp.Status, err)
	}
	return answer.Active
}

// The server's keys change while a verifier is in use. Not parallel, since they are everybody's.
func TestInteropIDToken(t *testing.T) {
	i := newInterop(t)
	rotate := func(set string) {
		t.Helper()
		resp, err := http.Post(i.ControlKeysURI+"?set="+set, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 204 {
			t.Fatal(resp.Status)
		}
	}
	defer rotate("1")
	client := i.client(t, "native")
	issue := func() string {
		t.Helper()
		tok, err := i.signIn(t, client, "openid", "email").Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tok.IDToken.Reveal()
	}
	fetches := func() int {
		return len(i.requests(t, func(r interopRequest) bool { return r.Route == "jwks" }))
	}
	newVerifier := func() *IDTokenVerifier {
		return &IDTokenVerifier{Issuer: i.Issuer, Audience: client.ClientID, KeysURI: i.KeysURI}
	}
	v := newVerifier()
	verify := func(v *IDTokenVerifier, raw, kid string, ok bool, fetched int) {
		t.Helper()
		header, _, _ := strings.Cut(raw, ".")
		data, err := base64.RawURLEncoding.DecodeString(header)
		var signed struct{ Kid string }
		if err := errors.Join(err, json.Unmarshal(data, &signed)); err != nil || signed.Kid != kid {
			t.Errorf("signed with %q, want %q: %v", signed.Kid, kid, err)
		}
		before := fetches()
		claims, err := v.Verify(t.Context(), raw)
		if ok != (err == nil) ||
			ok && (claims.Subject != "alice" || claims.Email != "alice@example.com" || !claims.EmailVerified) {
			t.Errorf("%s: %+v, %v", kid, claims, err)
		}
		if n := fetches() - before; n != fetched {
			t.Errorf("%s: the keys were fetched %d times, want %d", kid, n, fetched)
		}
	}
	rotate("1")
	first := issue()
	verify(v, first, "set-1", true, 1)
	verify(v, first, "set-1", true, 0)
	verify(v, issue(), "set-1", true, 0)
	for _, bad := range []string{first[:len(first)-4] + "AAAA", strings.Replace(first, ".", ".e30", 1)} {
		if claims, err := v.Verify(t.Context(), bad); err == nil || claims != nil {
			t.Errorf("%s passed", bad)
		}
	}
	if claims, err := v.VerifyNonce(t.Context(), first, "another nonce"); err == nil || claims != nil {
		t.Error("a wrong nonce passed")
	}

	rotate("2,1") // signed with the new key; both are published
	second := issue()
	verify(v, second, "set-2", false, 0) // for half a minute, no unknown key is looked for
	v.keys.mu.Lock()
	v.keys.next = time.Now()
	v.keys.mu.Unlock()
	verify(v, second, "set-2", true, 1)
	verify(v, first, "set-1", true, 0)
	verify(newVerifier(), first, "set-1", true, 1)

	rotate("2") // the old key is gone
	verify(v, issue(), "set-2", true, 0)
	verify(newVerifier(), second, "set-2", true, 1)
	verify(newVerifier(), first, "set-1", false, 1)
}

// This server issues a token for one resource at a time, and says so where several were asked for.
func TestInteropResource(t *testing.T) {
	i := newInterop(t)
	for n, code := range map[int]string{1: "", 2: "invalid_target"} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			p := newInteropPerson(i, true)
			f := i.flow(i.client(t, "native"), p, "offline_access api:read api:write")
			f.Params["resource"] = i.Resources[:n]
			creds, err := f.RunLocalServer(t.Context())
			p.wait(t)
			e := new(Error)
			if errors.As(err, &e); e.Code != code || (err == nil) != (code == "") {
				t.Fatalf("%v, want the error %q", err, code)
			}
			if err != nil {
				return
			}
			for range 2 {
				tok, err := creds.Refresh(t.Context())
				if err != nil || !slices.Contains(tok.Scopes, "api:read") ||
					!slices.Contains(tok.Scopes, "api:write") || !i.active(t, tok.AccessToken.Reveal()) {
					t.Errorf("%+v, %v", tok, err)
				}
			}
		})
	}
}
