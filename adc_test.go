package oauth2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// metadataServer is a metadata server on loopback. What answers is answer, if that is set.
type metadataServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	answer   func(w http.ResponseWriter, r *http.Request) bool
}

// metadataIDToken is what the server hands out as an ID token.
func metadataIDToken() string {
	return signJWT(serverKey(), `{"alg":"RS256"}`, claimsJSON("aud", `"https://run.example"`))
}

func (s *metadataServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(context.Background()))
	answer := s.answer
	s.mu.Unlock()
	if r.Header.Get("Metadata-Flavor") != "Google" || r.Header.Get("X-Forwarded-For") != "" || r.Method != "GET" {
		w.WriteHeader(403)
		return
	}
	w.Header().Set("Metadata-Flavor", "Google")
	if answer != nil && answer(w, r) {
		return
	}
	account, ok := strings.CutPrefix(r.URL.EscapedPath(), "/computeMetadata/v1/instance/service-accounts/")
	account, leaf, _ := strings.Cut(account, "/")
	switch {
	case r.URL.EscapedPath() == "/computeMetadata/v1/project/project-id":
		io.WriteString(w, "project-1")
	case !ok || account != "default" && account != url.PathEscape(serviceAccountEmail):
		http.NotFound(w, r)
	case leaf == "token":
		writeJSON(w, 200, answerMembers{"access_token": "mt-" + account, "expires_in": 3599, "token_type": "Bearer"})
	case leaf == "email":
		io.WriteString(w, serviceAccountEmail)
	case leaf == "identity" && r.URL.Query().Get("format") == "full":
		io.WriteString(w, metadataIDToken())
	default:
		http.NotFound(w, r)
	}
}

func (s *metadataServer) uris() (uris []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		uris = append(uris, strings.TrimPrefix(r.RequestURI, "/computeMetadata/v1/"))
	}
	s.requests = nil
	return uris
}

// startMetadata clears the environment, but for a metadata server, which it starts.
func startMetadata(t *testing.T) *metadataServer {
	serverKey() // takes longer than the server may
	s := &metadataServer{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); metadataClient.CloseIdleConnections() })
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME":                           home,
		"APPDATA":                        home,
		"CLOUDSDK_CONFIG":                "",
		"GOOGLE_APPLICATION_CREDENTIALS": "",
		"GOOGLE_CLOUD_PROJECT":           "",
		"GOOGLE_CLOUD_QUOTA_PROJECT":     "",
		"NO_GCE_CHECK":                   "",
		"GCE_METADATA_HOST":              s.Listener.Addr().String(),
		"K_SERVICE":                      "",
		"FUNCTION_TARGET":                "",
		"GAE_SERVICE":                    "",
	} {
		t.Setenv(name, value)
	}
	return s
}

// setCredentialsFile writes a file of credentials and names it to GOOGLE_APPLICATION_CREDENTIALS.
func setCredentialsFile(t *testing.T, members any) string {
	t.Helper()
	data, ok := members.([]byte)
	if !ok {
		data, _ = json.Marshal(members)
	}
	name := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	return name
}

// TestMetadata: what is asked for, and what comes out. // G1 G6 G19 UP37
func TestMetadata(t *testing.T) {
	s := startMetadata(t)
	for _, tt := range []struct {
		name string
		get  func(ctx context.Context) (string, error)
		uri  string // "": no request
		want string // "": an error
	}{
		{
			name: "token",
			get:  tokenText(&ComputeCredentials{}),
			uri:  "instance/service-accounts/default/token",
			want: "mt-default",
		},
		{
			name: "scopes",
			get:  tokenText(&ComputeCredentials{Scopes: []string{"https://a/x", "b"}}),
			uri:  "instance/service-accounts/default/token?scopes=https%3A%2F%2Fa%2Fx%2Cb",
			want: "mt-default",
		},
		{
			name: "a scope with an ampersand", // G6
			get:  tokenText(&ComputeCredentials{Scopes: []string{"a&x=1#y"}}),
			uri:  "instance/service-accounts/default/token?scopes=a%26x%3D1%23y",
			want: "mt-default",
		},
		{
			name: "account",
			get:  tokenText(&ComputeCredentials{Account: serviceAccountEmail}),
			uri:  "instance/service-accounts/" + url.PathEscape(serviceAccountEmail) + "/token",
			want: "mt-" + serviceAccountEmail,
		},
		{
			name: "ID token",
			get:  tokenText((&ComputeCredentials{Scopes: []string{"a"}}).IDTokenSource("https://run.example/a?b=c&d")),
			uri: "instance/service-accounts/default/identity?format=full&" +
				"audience=https%3A%2F%2Frun.example%2Fa%3Fb%3Dc%26d",
			want: "JWT",
		},
		{
			name: "ID token for an injected audience", // G19
			get:  tokenText((&ComputeCredentials{}).IDTokenSource("aud&format=none#x")),
			uri:  "instance/service-accounts/default/identity?format=full&audience=aud%26format%3Dnone%23x",
			want: "JWT",
		},
		{
			name: "ID token of an account",
			get:  tokenText((&ComputeCredentials{Account: serviceAccountEmail}).IDTokenSource("x")),
			uri: "instance/service-accounts/" + url.PathEscape(serviceAccountEmail) +
				"/identity?format=full&audience=x",
			want: "JWT",
		},
		{name: "project", get: (&ComputeCredentials{}).ProjectID, uri: "project/project-id", want: "project-1"},
		{
			name: "e-mail",
			get:  (&ComputeCredentials{}).Email,
			uri:  "instance/service-accounts/default/email",
			want: serviceAccountEmail,
		},
		{
			name: "no such account", // M61
			get:  tokenText(&ComputeCredentials{Account: "nobody@example.com"}),
			uri:  "instance/service-accounts/nobody@example.com/token",
		},
		// G6
		{name: "account is a path", get: tokenText(&ComputeCredentials{Account: "default/../../x"})},
		{name: "account is above", get: tokenText(&ComputeCredentials{Account: ".."})},
		{name: "account above, ID token", get: tokenText((&ComputeCredentials{Account: ".."}).IDTokenSource("x"))},
		{name: "account is above, e-mail", get: (&ComputeCredentials{Account: ".."}).Email},
		{name: "account with a query", get: tokenText(&ComputeCredentials{Account: "default?x"})},
		{name: "account is encoded", get: tokenText(&ComputeCredentials{Account: "default%2f.."})},
		{name: "account with a line end", get: tokenText(&ComputeCredentials{Account: "x\r\nY: z"})},
	} {
		got, err := tt.get(t.Context())
		if tt.want == "JWT" {
			_, claims, err := verifiedParts(got, &serverKey().PublicKey)
			if err != nil || claims["aud"] != "https://run.example" {
				t.Error(tt.name, claims, err)
			}
		} else if got != tt.want {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
		if (err == nil) != (tt.want != "") ||
			err != nil && (!strings.HasPrefix(err.Error(), "oauth2: ") || strings.ContainsAny(err.Error(), "\r\n")) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if e := (*Error)(nil); errors.As(err, &e) && (e.StatusCode != 404 || e.Temporary()) { // M61
			t.Error(tt.name, err)
		}
		if uris := s.uris(); strings.Join(uris, " ") != tt.uri {
			t.Errorf("%s: asked for %q, want %q", tt.name, uris, tt.uri)
		}
	}
	src := &ComputeCredentials{}
	for range 3 {
		if tok, err := src.Token(t.Context()); err != nil || time.Until(tok.Expiry) < 3590*time.Second {
			t.Error(tok, err)
		}
	}
	if uris := s.uris(); len(uris) != 1 {
		t.Error("not cached:", uris)
	}
}

func tokenText(src TokenSource) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		tok, err := src.Token(ctx)
		if err != nil {
			return "", err
		}
		return tok.AccessToken.Reveal(), nil
	}
}

// TestMetadataIDToken: whoever asks for an ID token never gets an access token in its place.
func TestMetadataIDToken(t *testing.T) {
	s := startMetadata(t)
	if got, err := tokenText((&ComputeCredentials{}).IDTokenSource(""))(t.Context()); err == nil || len(s.uris()) != 0 {
		t.Errorf("no audience: %q, %v", got, err)
	}
	// G19
	for _, answer := range []string{
		"", "x", "a.b.c", `{"access_token":"SENTINEL"}`, "<html>", metadataIDToken() + "\nx",
		strings.Repeat("a", maxJWT) + ".b.c", signJWT(serverKey(), "{}", "{}"),
		"a\r\nX: y." + rawBase64.EncodeToString([]byte(claimsJSON())) + ".c",
	} {
		s.mu.Lock()
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, answer); return true }
		s.mu.Unlock()
		got, err := tokenText((&ComputeCredentials{}).IDTokenSource("x"))(t.Context())
		if err == nil || strings.Contains(err.Error(), "SENTINEL") {
			t.Errorf("%.40q: accepted %q, %v", answer, got, err)
		}
	}
}

// TestMetadataAnswers: an answer that is not marked, is a redirect, or has no sound token in it is an error at once.
func TestMetadataAnswers(t *testing.T) {
	s := startMetadata(t)
	const good = `{"access_token":"SENTINEL-t","expires_in":3599,"token_type":"Bearer"}`
	for _, tt := range []struct {
		name, flavor, body, want string
		status                   int
	}{
		// G2 M63 PY15
		{name: "no flavor", body: good, want: "metadata server", status: 200},
		{name: "another flavor", flavor: "google", body: good, want: "metadata server", status: 200},
		// G2 M63
		{name: "captive portal", body: "<html>", want: "metadata server", status: 200},
		{name: "refused without flavor", want: "metadata server", status: 404},
		// G4
		{name: "redirect", flavor: "Google", body: good, want: "302", status: 302},
		{name: "permanent redirect", flavor: "Google", body: good, want: "308", status: 308},
		// M61
		{name: "gone", flavor: "Google", want: "404", status: 404},
		{name: "forbidden", flavor: "Google", body: `{"error":"x"}`, want: "403", status: 403},
		// G18
		{name: "empty", flavor: "Google", want: "empty", status: 200},
		{name: "no token", flavor: "Google", body: `{}`, want: "access_token", status: 200},
		{name: "HTML", flavor: "Google", body: "<html>", want: "not a JSON object", status: 200},
		{
			name:   "a lifetime that is no number", // G18
			flavor: "Google",
			body:   `{"access_token":"SENTINEL-t","expires_in":"-"}`,
			want:   "expires_in",
			status: 200,
		},
		{
			name:   "another type", // G18
			flavor: "Google",
			body:   `{"access_token":"SENTINEL-t","token_type":"mac"}`,
			want:   "token_type",
			status: 200,
		},
		{
			name:   "line end in the token", // G18
			flavor: "Google",
			body:   `{"access_token":"SENTINEL\r\nX: y"}`,
			want:   "access_token",
			status: 200,
		},
		{
			name:   "two tokens", // G18
			flavor: "Google",
			body:   `{"access_token":"SENTINEL-t","access_token":"SENTINEL-u"}`,
			want:   "twice",
			status: 200,
		},
		{name: "more behind", flavor: "Google", body: good + good, want: "not valid JSON", status: 200}, // G18
		{
			name:   "error in a success", // G18
			flavor: "Google",
			body:   `{"access_token":"SENTINEL-t","error":"x"}`,
			want:   "answered x",
			status: 200,
		},
		{
			name:   "too large", // G18
			flavor: "Google",
			body:   `{"x":"` + strings.Repeat("a", 1<<20) + `"}`,
			want:   "1 MiB",
			status: 200,
		},
	} {
		evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error(tt.name, "was followed")
		}))
		s.mu.Lock()
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Metadata-Flavor", tt.flavor)
			w.Header().Set("Location", evil.URL)
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
			return true
		}
		s.mu.Unlock()
		got, err := tokenText(&ComputeCredentials{})(t.Context())
		if !errorSays(err, tt.want) || strings.Contains(err.Error(), "SENTINEL") ||
			strings.Contains(err.Error(), evil.URL) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
		if uris := s.uris(); len(uris) != 1 {
			t.Errorf("%s: %q", tt.name, uris)
		}
		evil.Close()
	}
	for _, answer := range []string{"", "project 1", "p\r\nX: y", strings.Repeat("p", maxErrorText), "<html>"} { // G16
		s.mu.Lock()
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, answer); return true }
		s.mu.Unlock()
		if got, err := (&ComputeCredentials{}).ProjectID(t.Context()); err == nil {
			t.Errorf("project %.20q: %q", answer, got)
		}
	}
}

// metadataInMemory answers metadata requests in memory, with the statuses in turn.
type metadataInMemory struct {
	statuses []int
	times    []time.Time
	header   http.Header
}

func (m *metadataInMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	m.times = append(m.times, time.Now())
	status := m.statuses[min(len(m.times), len(m.statuses))-1]
	if status == 0 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	resp := response(status, `{"access_token":"t"}`, "Metadata-Flavor", "Google")
	maps.Copy(resp.Header, m.header)
	return resp, nil
}

// TestMetadataRetries: a server that is still booting is asked again, within the caller's time; each attempt has 3 s.
//
// M62 UP37
func TestMetadataRetries(t *testing.T) {
	for _, tt := range []struct {
		name     string
		statuses []int
		header   http.Header
		timeout  time.Duration
		ok       bool
		attempts int
		least    time.Duration
		most     time.Duration
	}{
		{
			name:     "503, 429, 200",
			statuses: []int{503, 429, 200},
			timeout:  time.Hour,
			ok:       true,
			attempts: 3,
			most:     1500 * time.Millisecond,
		},
		{name: "503 for good", statuses: []int{503}, timeout: time.Hour, attempts: 3, most: 1500 * time.Millisecond},
		{name: "404", statuses: []int{404}, timeout: time.Hour, attempts: 1}, // M61
		{
			name:     "no flavor", // M63
			statuses: []int{200},
			header:   http.Header{"Metadata-Flavor": nil},
			timeout:  time.Hour,
			attempts: 1,
		},
		{
			name:     "Retry-After",
			statuses: []int{503, 200},
			header:   http.Header{"Retry-After": {"7"}},
			timeout:  time.Hour,
			ok:       true,
			attempts: 2,
			least:    7 * time.Second,
			most:     7 * time.Second,
		},
		{
			name:     "Retry-After past the end",
			statuses: []int{503, 200},
			header:   http.Header{"Retry-After": {"7"}},
			timeout:  5 * time.Second,
			attempts: 1,
		},
		{
			name:     "black hole", // G7
			statuses: []int{0},
			timeout:  time.Hour,
			attempts: 3,
			least:    9 * time.Second,
			most:     10500 * time.Millisecond,
		},
		{
			name:     "black hole and a deadline", // G7
			statuses: []int{0},
			timeout:  time.Second,
			attempts: 1,
			least:    time.Second,
			most:     time.Second,
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &metadataInMemory{statuses: tt.statuses, header: tt.header}
			r := &request{
				op:       "asking",
				url:      "http://metadata.example/token",
				client:   &http.Client{Transport: m, Timeout: metadataClient.Timeout},
				metadata: true,
			}
			ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
			defer cancel()
			began := time.Now()
			_, err := r.do(ctx)
			d := time.Since(began)
			if (err == nil) != tt.ok || len(m.times) != tt.attempts || d < tt.least || d > tt.most {
				t.Errorf("%s: %v, %d attempts, %v", tt.name, err, len(m.times), d)
			}
		})
	}
}

// TestMetadataHost: GCE_METADATA_HOST names a host and nothing else. // G5
func TestMetadataHost(t *testing.T) {
	s := startMetadata(t)
	addr := s.Listener.Addr().String()
	for _, host := range []string{
		"evil.example/x?", "a@b", "http://" + addr, "//" + addr, addr + "/", addr + "/x", addr + "?x", addr + "#x",
		"a@" + addr, " " + addr, addr + " ", addr + "\r\nX: y", ":80", "a:b", "[::1", "%31%32%37.0.0.1", "a\\b",
		"é.example",
	} {
		t.Setenv("GCE_METADATA_HOST", host)
		_, err := (&ComputeCredentials{}).ProjectID(t.Context())
		_, err2 := tokenText(&ComputeCredentials{})(t.Context())
		if err == nil || err2 == nil || !strings.Contains(err.Error(), "GCE_METADATA_HOST") ||
			strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q: %v, %v", host, err, err2)
		}
		if src, _, err := DefaultCredentials(t.Context()); err == nil || src != nil {
			t.Errorf("%q: default credentials", host)
		}
	}
	if uris := s.uris(); len(uris) != 0 {
		t.Error(uris)
	}
	_, port, _ := net.SplitHostPort(addr)
	t.Setenv("GCE_METADATA_HOST", "localhost:"+port)
	if id, err := (&ComputeCredentials{}).ProjectID(t.Context()); err != nil || id != "project-1" {
		t.Error(id, err)
	}
}

// TestMetadataAddress: without GCE_METADATA_HOST the address is a literal, which no DNS server can forge. Nothing is
// sent: the caller's context ends when a connection is about to be made.
//
// G8
func TestMetadataAddress(t *testing.T) {
	startMetadata(t)
	t.Setenv("GCE_METADATA_HOST", "")
	ctx, cancel := context.WithCancel(t.Context())
	var asked []string
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:  func(hostPort string) { asked = append(asked, hostPort); cancel() },
		DNSStart: func(info httptrace.DNSStartInfo) { t.Error("a name was looked up:", info.Host) },
	})
	_, err := (&ComputeCredentials{}).ProjectID(ctx)
	if !errors.Is(err, context.Canceled) || !slices.Equal(asked, []string{"169.254.169.254:80"}) {
		t.Error(err, asked)
	}
}

// TestMetadataProxy: no proxy sees the machine's tokens, and the package prints nothing. net/http reads the environment
// once a process, so that this takes another one. 0.0.0.0 is this machine too, but no exception of HTTP_PROXY's.
//
// G3 UP39
func TestMetadataProxy(t *testing.T) {
	if os.Getenv("ADC_CHILD") != "" {
		src, project, err := DefaultCredentials(context.Background())
		if err != nil || project != "project-1" {
			t.Fatal(project, err)
		}
		tok, err := src.Token(context.Background())
		if err != nil || tok.AccessToken.Reveal() != "mt-default" {
			t.Fatal(tok, err)
		}
		metadataClient.CloseIdleConnections()
		return
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "js" {
		t.Skip("0.0.0.0 can't be dialed, or no process can be started")
	}
	s := startMetadata(t)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Error("the proxy was asked for", r.URL)
	}))
	defer proxy.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	t.Setenv("GCE_METADATA_HOST", "0.0.0.0:"+port)
	t.Setenv("ADC_CHILD", "1")
	out, err := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMetadataProxy$").CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil || text != "PASS" && !strings.HasPrefix(text, "PASS\ncoverage: ") {
		t.Errorf("%v\n%s", err, out)
	}
	if uris := s.uris(); len(uris) != 2 {
		t.Error(uris)
	}
}

// TestDefaultContext: looking for credentials ends with the context, and what was passing is forgotten.
//
// G7 XO34 CA22 UP37
func TestDefaultContext(t *testing.T) {
	s := startMetadata(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr := s.Listener.Addr().String()
	t.Setenv("GCE_METADATA_HOST", silent.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if src, _, err := DefaultCredentials(ctx); src != nil || !errors.Is(err, context.DeadlineExceeded) ||
		time.Since(began) >= metadataTimeout {
		t.Error(src, err, time.Since(began))
	}
	dead, stop := context.WithCancel(t.Context())
	stop()
	t.Setenv("GCE_METADATA_HOST", addr)
	if src, _, err := DefaultCredentials(dead); src != nil || !errors.Is(err, context.Canceled) {
		t.Error(src, err)
	}
	for _, failure := range []int{404, 403} {
		s.mu.Lock()
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(failure); return true }
		s.mu.Unlock()
		src, _, err := DefaultCredentials(t.Context())
		if src != nil || !errorSays(err, "gcloud auth application-default login") {
			t.Error(src, err)
		}
	}
	s.mu.Lock()
	s.answer = nil
	s.mu.Unlock()
	src, project, err := DefaultCredentials(t.Context()) // the same process, after all these failures
	if _, ok := src.(*ComputeCredentials); !ok || err != nil || project != "project-1" {
		t.Error(src, project, err)
	}
	s.uris()
	t.Setenv("GOOGLE_CLOUD_PROJECT", "project-env") // and GCE_METADATA_HOST: nothing is left to ask // UP37
	src, project, err = DefaultCredentials(t.Context(), "a b")
	if err != nil || project != "project-env" || len(s.uris()) != 0 {
		t.Error(src, project, err)
	}
	if c, ok := src.(*ComputeCredentials); !ok || !slices.Equal(c.Scopes, []string{"a", "b"}) {
		t.Error(src)
	}
	t.Setenv("NO_GCE_CHECK", "true")
	if src, _, err := DefaultCredentials(t.Context()); src != nil || !errorSays(err, "NO_GCE_CHECK") ||
		len(s.uris()) != 0 {
		t.Error(src, err)
	}
}

// TestNilContext: a nil context is an error, not a panic, and not in somebody else's goroutine. // CA18
func TestNilContext(t *testing.T) {
	startMetadata(t)
	var none context.Context
	_, sa := serviceAccountServer(t, "a")
	for name, call := range map[string]func() error{
		"DefaultCredentials": func() error { _, _, err := DefaultCredentials(none); return err },
		"Verify": func() error {
			_, err := verifierWith(serveKeys(jwkJSON("k1", &serverKey().PublicKey))).Verify(none, goodJWT())
			return err
		},
		"ProjectID":          func() error { _, err := new(ComputeCredentials).ProjectID(none); return err },
		"ComputeCredentials": func() error { _, err := new(ComputeCredentials).Token(none); return err },
		"service account":    func() error { _, err := sa.Token(none); return err },
		"client": func() error {
			_, err := (&ClientCredentials{Client: new(ClientSecrets)}).Token(none)
			return err
		},
	} {
		func() {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("%s: panic: %v", name, v)
				}
			}()
			if err := call(); err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") {
				t.Errorf("%s: %v", name, err)
			}
		}()
	}
}

// TestDefaultFiles: the file that is named decides. It is used, or an error says why it can't be, and nothing else is
// tried: no metadata server, no program.
//
// G14 G9 G11
func TestDefaultFiles(t *testing.T) {
	s := startMetadata(t)
	trap := t.TempDir() // XO36 UP38 PY15: every program is a trap
	for _, name := range []string{"gcloud", "gcloud.cmd", "evil", "sh"} {
		script := "#!/bin/sh\n: > " + filepath.Join(trap, "sprung") + "\n"
		if err := os.WriteFile(filepath.Join(trap, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mkfifo, _ := exec.LookPath("mkfifo")
	t.Setenv("PATH", trap)
	t.Setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
	type m = map[string]any
	user := m{
		"type":          "authorized_user",
		"client_id":     "client-1.example",
		"client_secret": "cs",
		"refresh_token": "rt",
		"token_uri":     "https://as.example/token",
	}
	with := func(base m, change m) m { base = maps.Clone(base); maps.Copy(base, change); return base }
	impersonated := m{"type": "impersonated_service_account", "source_credentials": user,
		"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/" +
			"serviceAccounts/x@y:generateAccessToken"}
	executable := m{
		"type":               "external_account",
		"audience":           "x",
		"subject_token_type": "urn:y",
		"token_url":          "https://sts.googleapis.com/v1/token",
		"credential_source":  m{"executable": m{"command": filepath.Join(trap, "evil"), "timeout_millis": 5000}},
	}
	for _, tt := range []struct {
		name    string
		members any
		want    string
	}{
		{name: "service account", members: serviceAccountFile(nil)},
		{name: "authorized user", members: user},
		{name: "impersonated", members: impersonated},
		{name: "external account with a program", members: executable, want: `"executable"`}, // G11 XO36
		{
			name: "external account that sends what it read elsewhere", // G11 XO36
			members: with(executable, m{
				"token_url":         "https://sts.evil.example/v1/token",
				"credential_source": m{"url": "https://evil.example/"},
			}),
			want: "token_url",
		},
		{
			name:    "external account with a file", // G11: that of FuzzExternalAccount and TestExternalRefuses
			members: with(executable, m{"credential_source": m{"file": "/etc/passwd"}}),
		},
		{
			name:    "external user",
			members: with(executable, m{"type": "external_account_authorized_user"}),
			want:    "external_account_authorized_user",
		},
		{
			name:    "program as the source of impersonation", // G11
			members: with(impersonated, m{"source_credentials": executable}),
			want:    `"executable"`,
		},
		{name: "another type", members: m{"type": "gdch_service_account"}, want: "gdch_service_account"},
		{name: "client secrets", members: NewMemoryServer().ClientSecretsJSON("installed"), want: "type"}, // XO32
		{name: "client secrets, web", members: NewMemoryServer().ClientSecretsJSON("web"), want: "type"},  // XO32
		{name: "no type", members: with(user, m{"type": nil}), want: "type"},                              // G9
		{name: "type in a list", members: with(user, m{"type": []string{"authorized_user"}}), want: "type"},
		{name: "type steers terminals", members: m{"type": "\x1b[2J"}, want: "type"},
		// G13 PY8
		{name: "user at another server", members: with(user, m{"token_uri": "https://oauth2.corp.example/token"})},
		// G13
		{name: "user over http", members: with(user, m{"token_uri": "http://evil.example/token"}), want: "token_uri"},
		{
			name:    "quota project injects", // G16
			members: with(user, m{"quota_project_id": "x\r\nY: z"}),
			want:    "quota_project_id",
		},
		{
			name:    "quota project injects, impersonated", // G16
			members: with(impersonated, m{"quota_project_id": "x\r\nY: z"}),
			want:    "quota_project_id",
		},
		{name: "user of the universe", members: with(user, m{"universe_domain": "googleapis.com"})}, // W95
		{
			name:    "user of another universe", // W95
			members: with(user, m{"universe_domain": "other.example"}),
			want:    `the universe "other.example"`,
		},
		{
			name:    "service account of another universe", // W95
			members: serviceAccountFile(m{"universe_domain": "other.example"}),
			want:    `the universe "other.example"`,
		},
		{
			name:    "impersonation in another universe", // W95
			members: with(impersonated, m{"universe_domain": "other.example"}),
			want:    `the universe "other.example"`,
		},
		{
			name:    "federation in another universe", // W95
			members: with(executable, m{"universe_domain": "other.example", "credential_source": m{"file": "x"}}),
			want:    `the universe "other.example"`,
		},
		{
			name: "source of another universe", // W95
			members: with(impersonated,
				m{"source_credentials": with(user, m{"universe_domain": "other.example"})}),
			want: `the universe "other.example"`,
		},
		{name: "universe is a number", members: with(user, m{"universe_domain": 7}), want: "universe_domain"},
		{name: "no source", members: with(impersonated, m{"source_credentials": nil}), want: "source_credentials"},
		{
			name:    "source is a list",
			members: with(impersonated, m{"source_credentials": []m{user}}),
			want:    "source_credentials",
		},
		{
			name: "impersonation over http",
			members: with(impersonated,
				m{"service_account_impersonation_url": "http://evil.example/x:generateAccessToken"}),
			want: "service_account_impersonation_url",
		},
		{
			name: "impersonation for signatures",
			members: with(impersonated,
				m{"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/x:signBlob"}),
			want: "service_account_impersonation_url",
		},
		{name: "delegates are a number", members: with(impersonated, m{"delegates": 1}), want: "delegates"},
		{name: "empty", members: []byte{}, want: "JSON"},
		{name: "not JSON", members: []byte("SENTINEL{"), want: "JSON"},
		{name: "a list", members: []byte("[]"), want: "object"},
		{
			name:    "too large", // G14
			members: append([]byte(`{"type":"authorized_user"}`), make([]byte, 1<<20)...),
			want:    "1 MiB",
		},
	} {
		setCredentialsFile(t, tt.members)
		src, _, err := DefaultCredentials(t.Context(), "a")
		if (err == nil) != (tt.want == "") || (src == nil) != (err != nil) ||
			err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "oauth2: ") ||
				strings.ContainsAny(err.Error(), "\r\n\x1b") || strings.Contains(err.Error(), "SENTINEL")) {
			t.Errorf("%s: %T, %v, want %q", tt.name, src, err, tt.want)
		}
	}
	dir := t.TempDir() // G14
	places := map[string]string{
		"missing":         filepath.Join(dir, "missing.json"),
		"a folder":        dir,
		"below a file":    filepath.Join(setCredentialsFile(t, user), "x"),
		"a name too long": strings.Repeat("x", 5000),
	}
	if mkfifo != "" {
		places["a pipe"] = filepath.Join(dir, "pipe")
		if err := exec.CommandContext(t.Context(), mkfifo, places["a pipe"]).Run(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		places["endless"] = "/dev/zero"
	}
	for name, place := range places {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", place)
		src, _, err := DefaultCredentials(t.Context(), "a")
		if src != nil || err == nil || name == "missing" && !errors.Is(err, os.ErrNotExist) {
			t.Error(name, src, err)
		}
	}
	if uris := s.uris(); len(uris) != 0 { // fails closed
		t.Error("the metadata server was asked for", uris)
	}
	if _, err := os.Stat(filepath.Join(trap, "sprung")); err == nil {
		t.Error("a program was run")
	}
}

// TestDefaultOrder: first the variable, then gcloud's file, then the metadata server, and nothing relative to where the
// program happens to be. // G15
func TestDefaultOrder(t *testing.T) {
	s := startMetadata(t)
	const leaf = "application_default_credentials.json"
	write := func(dir, email string) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		file := serviceAccountFile(map[string]any{"client_email": email, "project_id": "of-" + email})
		if err := os.WriteFile(filepath.Join(dir, leaf), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	who := func() string {
		src, project, err := DefaultCredentials(t.Context(), "a")
		switch src := src.(type) {
		case *ServiceAccountCredentials:
			return src.Email + " " + project
		case *ComputeCredentials:
			return "compute " + project
		}
		return fmt.Sprint("error ", err)
	}
	home, config, cwd := t.TempDir(), t.TempDir(), t.TempDir()
	gcloud := filepath.Join(home, ".config", "gcloud")
	if runtime.GOOS == "windows" {
		gcloud = filepath.Join(home, "gcloud")
	}
	t.Setenv("HOME", home)
	t.Setenv("APPDATA", home)
	t.Chdir(cwd)
	write(cwd, "cwd")
	write(filepath.Join(cwd, ".config", "gcloud"), "cwd2")
	write(filepath.Join(cwd, "gcloud"), "cwd3")
	if got := who(); got != "compute project-1" {
		t.Error("no file:", got)
	}
	write(gcloud, "home")
	if got := who(); got != "home of-home" {
		t.Error("gcloud's file:", got)
	}
	t.Setenv("CLOUDSDK_CONFIG", config)
	if got := who(); got != "compute project-1" {
		t.Error("CLOUDSDK_CONFIG without a file:", got)
	}
	write(config, "config")
	if got := who(); got != "config of-config" {
		t.Error("CLOUDSDK_CONFIG:", got)
	}
	t.Setenv("GOOGLE_CLOUD_PROJECT", "project-env")
	if got := who(); got != "config project-env" {
		t.Error("GOOGLE_CLOUD_PROJECT:", got)
	}
	setCredentialsFile(t, serviceAccountFile(map[string]any{"client_email": "named", "project_id": nil}))
	if got := who(); got != "named project-env" {
		t.Error("GOOGLE_APPLICATION_CREDENTIALS:", got)
	}
	t.Setenv("GOOGLE_CLOUD_PROJECT", "")
	if got := who(); got != "named " {
		t.Error("no project:", got)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	s.uris()
	if err := os.Remove(filepath.Join(config, leaf)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(config, leaf), 0o700); err != nil { // XO35 CA22: there, and not readable
		t.Fatal(err)
	}
	if got := who(); !strings.HasPrefix(got, "error ") || len(s.uris()) != 0 {
		t.Error("a folder in place of the file:", got)
	}
	if runtime.GOOS != "windows" { // where it counts as missing
		t.Setenv("CLOUDSDK_CONFIG", filepath.Join(gcloud, leaf)) // XO35: can't be looked at
		if got := who(); !strings.HasPrefix(got, "error ") || len(s.uris()) != 0 {
			t.Error("a file in place of the folder:", got)
		}
	}
	t.Setenv("CLOUDSDK_CONFIG", "")
	locked := t.TempDir() // W92: a home that can't be entered, is a file, or a device
	if err := os.Chmod(locked, 0); err != nil {
		t.Fatal(err)
	}
	file := setCredentialsFile(t, []byte("x"))
	for _, none := range []string{locked, file, os.DevNull, filepath.Join(home, "missing")} {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
		for _, name := range []string{"HOME", "APPDATA", "USERPROFILE"} {
			t.Setenv(name, none)
		}
		if got := who(); got != "compute project-1" {
			t.Errorf("home %s: %s", none, got)
		}
	}
	for _, name := range []string{"CLOUDSDK_CONFIG", "HOME", "APPDATA", "USERPROFILE", "home"} { // G15
		t.Setenv(name, "")
	}
	if got := who(); got != "compute project-1" {
		t.Error("no home:", got)
	}
}

// TestDefaultUser: gcloud's own sign-in. Scopes are not asked for, since the user may not have granted them; the token
// endpoint is the file's, the quota project goes on API calls.
// W94 XO33 PY8 CA14 G13
func TestDefaultUser(t *testing.T) {
	startMetadata(t)
	s := NewTestServer(t)
	members := map[string]any{
		"type":             "authorized_user",
		"client_id":        s.ClientID,
		"client_secret":    s.ClientSecret,
		"token_uri":        s.URL + "/token",
		"refresh_token":    s.IssueRefreshToken("a", "b"),
		"quota_project_id": "project-file",
		"scopes":           "",
		"expiry":           "2001-01-01T00:00:00.5+00:00",
		"token":            "old",
	}
	setCredentialsFile(t, members)
	for _, tt := range []struct{ env, own, want string }{
		{"", "", "project-file"}, {"project-env", "", "project-env"}, {"", "project-own", "project-own"},
	} {
		t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", tt.env)
		src, project, err := DefaultCredentials(t.Context(), "b")
		if err != nil || project != "" {
			t.Fatal(project, err)
		}
		var own http.Header
		if tt.own != "" {
			own = http.Header{"X-Goog-User-Project": {tt.own}}
		}
		callAPI(t, src, s, own)
		requests := s.Requests()
		if r := requests[len(requests)-1]; strings.Join(r.Header["X-Goog-User-Project"], " ") != tt.want { // CA14
			t.Errorf("%+v: %q", tt, r.Header["X-Goog-User-Project"])
		}
		if len(own) > 1 {
			t.Error("the caller's header was changed") // CA14
		}
		r := requests[len(requests)-2]
		// XO33
		if r.Path != "/token" || r.Form.Has("scope") || r.Form.Get("grant_type") != "refresh_token" ||
			r.Header["X-Goog-User-Project"] != nil {
			t.Error(r)
		}
	}
	src, _, err := DefaultCredentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	callAPI(t, src, s, nil)
	if requests := s.Requests(); requests[len(requests)-2].Form.Has("scope") { // PY8: scopes "" is none
		t.Error(requests[len(requests)-2].Form)
	}
	for _, project := range []string{"x\r\nY: z", "x y", "é", "x/y", "x,y"} { // G16
		t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", project)
		src, _, err := DefaultCredentials(t.Context())
		if src != nil || !errorSays(err, "GOOGLE_CLOUD_QUOTA_PROJECT") || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q: %v", project, err)
		}
	}
}

// callAPI calls an API with src.
func callAPI(t *testing.T, src TokenSource, s *TestServer, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := NewClient(src).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
}

// TestDefaultQuota: the quota project of a service account and of a machine. // CA14
func TestDefaultQuota(t *testing.T) {
	startMetadata(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Goog-User-Project")+" "+
			strings.ToLower(fmt.Sprint(strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "))))
	}))
	defer api.Close()
	call := func(src TokenSource) string {
		resp, err := NewClient(src).Get(api.URL)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	sa, err := ParseServiceAccount(serviceAccountFile(map[string]any{"quota_project_id": "project-sa"}))
	if err != nil {
		t.Fatal(err)
	}
	for want, src := range map[string]TokenSource{
		"project-sa true":  sa.WithAudience("x"),
		"project-sa  true": sa.WithAudience("").WithAudience("y"),
		"project-gce true": &ComputeCredentials{QuotaProject: "project-gce"},
		" true":            &ComputeCredentials{},
	} {
		if got := call(src); got != strings.ReplaceAll(want, "  ", " ") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "project-env")
	src, _, err := DefaultCredentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := call(src); got != "project-env true" {
		t.Error(got)
	}
	setCredentialsFile(t, serviceAccountFile(map[string]any{"quota_project_id": "project-sa"}))
	src, _, err = DefaultCredentials(t.Context(), "a")
	if sa, ok := src.(*ServiceAccountCredentials); !ok || err != nil || sa.QuotaProject != "project-env" {
		t.Error(src, err)
	}
}

// TestDefaultImpersonation: what "gcloud auth application-default login --impersonate-service-account" writes. // PY9
func TestDefaultImpersonation(t *testing.T) {
	startMetadata(t)
	s := NewTestServer(t)
	s.AssertionKey = &serverKey().PublicKey
	type m = map[string]any
	const cloud = "https://www.googleapis.com/auth/cloud-platform"
	userWith := func(refreshToken string) m {
		return m{"type": "authorized_user", "client_id": s.ClientID, "client_secret": s.ClientSecret,
			"token_uri": s.URL + "/token", "refresh_token": refreshToken}
	}
	user := userWith(s.IssueRefreshToken(cloud))
	account := json.RawMessage(serviceAccountFile(m{"token_uri": s.URL + "/token"}))
	inTwoHours := time.Now().Add(2 * time.Hour).Truncate(time.Microsecond)
	tokenUntil := func(expireTime string) m { return m{"accessToken": "imp", "expireTime": expireTime} }
	good := tokenUntil(inTwoHours.Format(time.RFC3339))
	kolkata := time.FixedZone("", 5*3600+1800)
	for _, tt := range []struct {
		name      string
		source    any
		delegates []string
		scopes    []string // nil: "a"
		file      any      // its scopes
		answer    m
		status    int    // 0: 200
		want      string // an error
		sent      string // as JSON
	}{
		{
			name:   "of a person",
			source: user,
			scopes: []string{"a", "b"},
			answer: good,
			sent:   `{"delegates":null,"lifetime":"3600s","scope":["a","b"]}`,
		},
		{
			name:   "of a service account",
			source: account,
			answer: tokenUntil(inTwoHours.UTC().Format(time.RFC3339)),
			sent:   `{"delegates":null,"lifetime":"3600s","scope":["a"]}`,
		},
		{
			name:      "through delegates",
			source:    user,
			delegates: []string{"projects/-/serviceAccounts/d@e"},
			answer:    good,
			sent:      `{"delegates":["projects/-/serviceAccounts/d@e"],"lifetime":"3600s","scope":["a"]}`,
		},
		{
			name:   "no scopes",
			source: user,
			scopes: []string{},
			answer: good,
			sent:   `{"delegates":null,"lifetime":"3600s","scope":["` + cloud + `"]}`,
		},
		{
			name:   "no scopes but the file's", // W93
			source: user,
			scopes: []string{},
			file:   []string{"f", "g h"},
			answer: good,
			sent:   `{"delegates":null,"lifetime":"3600s","scope":["f","g","h"]}`,
		},
		{
			name:   "scopes, and the file's", // W93
			source: user,
			file:   []string{"f"},
			answer: good,
			sent:   `{"delegates":null,"lifetime":"3600s","scope":["a"]}`,
		},
		{
			name:   "fraction and offset", // PY9
			source: user,
			answer: tokenUntil(inTwoHours.In(kolkata).Format("2006-01-02T15:04:05.999999999Z07:00")),
		},
		{
			name:   "nanoseconds", // PY9
			source: user,
			answer: tokenUntil(inTwoHours.UTC().Format("2006-01-02T15:04:05.000000000Z")),
		},
		{name: "no time", source: user, answer: m{"accessToken": "imp"}, want: "expireTime"},
		{name: "no token", source: user, answer: m{"expireTime": inTwoHours.Format(time.RFC3339)}, want: "accessToken"},
		{name: "time is a number", source: user, answer: m{"accessToken": "imp", "expireTime": 7}, want: "expireTime"},
		{
			name:   "token with a line end",
			source: user,
			answer: m{"accessToken": "SENTINEL\r\nX: y", "expireTime": inTwoHours.Format(time.RFC3339)},
			want:   "accessToken",
		},
		{
			name:   "forbidden",
			source: user,
			answer: m{"error": m{
				"code":    403,
				"status":  "PERMISSION_DENIED",
				"message": "iam.serviceAccounts.getAccessToken denied",
			}},
			status: 403,
			want:   "roles/iam.serviceAccountTokenCreator", // W97
		},
		{name: "source is dead", source: userWith("dead"), want: "sign in again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sent, authorization string
			calls := 0
			iam := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				sent, authorization = string(body), r.Header.Get("Authorization")
				calls++
				if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" || r.URL.RawQuery != "" {
					t.Error(r.Method, r.Header, r.URL)
				}
				writeJSON(w, cmp.Or(tt.status, 200), tt.answer)
			}))
			defer iam.Close()
			members := m{
				"type":                              "impersonated_service_account",
				"source_credentials":                tt.source,
				"service_account_impersonation_url": iam.URL + "/v1/projects/-/serviceAccounts/x@y:generateAccessToken",
			}
			if tt.delegates != nil {
				members["delegates"] = tt.delegates
			}
			if tt.file != nil {
				members["scopes"] = tt.file
			}
			setCredentialsFile(t, members)
			if tt.scopes == nil {
				tt.scopes = []string{"a"}
			}
			src, _, err := DefaultCredentials(t.Context(), tt.scopes...)
			if err != nil {
				t.Fatal(err)
			}
			tok, err := src.Token(t.Context())
			if tt.want != "" {
				if tok != nil || !errorSays(err, tt.want) || strings.Contains(err.Error(), "SENTINEL") ||
					authorization != "" && strings.Contains(err.Error(), strings.TrimPrefix(authorization, "Bearer ")) {
					t.Error(tok, err)
				}
				if (tt.name == "source is dead") != errors.Is(err, ErrLoginRequired) {
					t.Error(err)
				}
				return
			}
			if err != nil || tok.AccessToken.Reveal() != "imp" || tt.sent == "" && !tok.Expiry.Equal(inTwoHours) ||
				!strings.HasPrefix(authorization, "Bearer at-") {
				t.Fatal(tok, err, authorization)
			}
			if _, err := src.Token(t.Context()); err != nil || calls != 1 {
				t.Error(calls, "calls", err)
			}
			var got, want any
			json.Unmarshal([]byte(sent), &got)
			if tt.sent == "" {
				return
			}
			if json.Unmarshal([]byte(tt.sent), &want); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("sent %s, want %s", sent, tt.sent)
			}
			requests := s.Requests()
			if tt.name == "of a person" && requests[len(requests)-1].Form.Has("scope") { // W94
				t.Error(requests[len(requests)-1].Form)
			}
		})
	}
}

// TestDefaultClientFile: a hostile client_secrets.json. // G12 CA21
func TestDefaultClientFile(t *testing.T) {
	t.Parallel()
	const good = `{"installed":{"client_id":"c","auth_uri":"https://as.example/a","token_uri":"https://as.example/t"}}`
	for _, tt := range []struct{ name, data, want string }{
		{"no redirect URIs, no secret", good, ""}, // CA21
		{"both kinds", `{"web":{"client_id":"c"},"installed":{"client_id":"c"}}`, "both"},
		{"script", strings.Replace(good, "https://as.example/a", "javascript:alert(1)", 1), "auth_uri"},
		{"file", strings.Replace(good, "https://as.example/a", "file:///bin/sh", 1), "auth_uri"},
		{"http", strings.Replace(good, "https://as.example/t", "http://as.example/t", 1), "token_uri"},
		{"hidden host", strings.Replace(good, "as.example/t", "as.example@evil.example/t", 1), "token_uri"},
		{"no client ID", strings.Replace(good, `"c"`, `""`, 1), "client_id"},
	} {
		c, err := ParseClientSecrets([]byte(tt.data))
		if (err == nil) != (tt.want == "") || (c == nil) != (err != nil) ||
			err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// FuzzMetadata: whatever answers, the result is a token that can be put on a request, or an error.
func FuzzMetadata(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"t","expires_in":3599,"token_type":"Bearer"}`, `{"access_token":"t","expires_in":"1e400"}`, "",
		"<html>", `{"error":{"status":"X"}}`, metadataIDToken(),
	} {
		f.Add(200, "Google", body)
	}
	f.Add(302, "Google", "")
	f.Add(200, "", `{"access_token":"t"}`)
	f.Fuzz(func(t *testing.T, status int, flavor, body string) {
		if status < 200 || status > 599 || slices.Contains([]int{408, 429, 500, 502, 503, 504}, status) ||
			strings.Contains(body, "server_error") || strings.Contains(body, "temporarily_unavailable") ||
			strings.Contains(body, "internal_failure") {
			return // these are asked again, in real time
		}
		r := &request{op: "asking", url: "http://metadata.example/token", metadata: true,
			client: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
				return response(status, body, "Metadata-Flavor", flavor), nil
			})}}
		ans, err := r.do(t.Context())
		if err != nil {
			if !strings.HasPrefix(err.Error(), "oauth2: ") || unprintable(err.Error()) {
				t.Errorf("%q", err)
			}
			return
		}
		if flavor != "Google" || status >= 300 {
			t.Error("accepted", status, flavor)
		}
		for _, get := range []func() (*Token, error){
			func() (*Token, error) { return ans.token("") },
			func() (*Token, error) { return idToken(ans, nil) },
		} {
			tok, err := get()
			if err == nil && (!validToken(tok.AccessToken.Reveal()) ||
				tok.Expiry.Before(time.Unix(0, 0)) && !tok.Expiry.IsZero()) {
				t.Errorf("%q: %+v", body, tok)
			}
		}
	})
}
