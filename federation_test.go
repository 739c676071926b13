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
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	poolAudience      = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
	workforceAudience = "//iam.googleapis.com/locations/global/workforcePools/p/providers/x"
	jwtTokenType      = "urn:ietf:params:oauth:token-type:jwt"
	robotURL          = iamAccounts + "robot@project-1.iam.gserviceaccount.com:generateAccessToken"
)

// externalMembers is a file of type external_account, with the members of change in it; nil drops one.
func externalMembers(change map[string]any) map[string]any {
	members := map[string]any{
		"type":               "external_account",
		"audience":           poolAudience,
		"subject_token_type": jwtTokenType,
		"token_url":          "https://sts.googleapis.com/v1/token",
		"token_info_url":     "https://evil.example/introspect", // nobody asks it
		"credential_source":  map[string]any{"url": "https://provider.example/token?audience=x"},
	}
	maps.Copy(members, change)
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	return members
}

func externalText(change map[string]any) []byte {
	data, _ := json.Marshal(externalMembers(change))
	return data
}

// externalOf returns the credentials of such a file.
func externalOf(t testing.TB, change map[string]any, scopes ...string) *ExternalAccountCredentials {
	t.Helper()
	src, err := parseDefaultFile(externalText(change), "", scopes, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src.(*ExternalAccountCredentials)
}

// A googleFake plays the hosts of a federation in memory: the provider of subject tokens, the token service, and the
// API that impersonates. What answers is answer, if that is set for the host.
type googleFake struct {
	mu       sync.Mutex
	subject  string // what the provider answers
	answer   map[string]func() (*http.Response, error)
	requests []*http.Request
	bodies   []string
}

func (g *googleFake) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	g.requests = append(g.requests, r)
	g.bodies = append(g.bodies, string(body))
	if answer := g.answer[r.URL.Host]; answer != nil {
		return answer()
	}
	switch {
	case r.URL.Host == "provider.example", r.URL.Host == "169.254.169.254" && r.Header.Get("Metadata") == "true":
		return response(200, g.subject), nil
	case strings.HasPrefix(r.URL.Host, "sts.") && r.URL.Path == "/v1/token":
		form, _ := url.ParseQuery(string(body))
		return response(200, fmt.Sprintf(`{"access_token":"sts-%s","expires_in":3599,"token_type":"Bearer",
			"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`, form.Get("subject_token"))), nil
	case strings.HasSuffix(r.URL.Path, ":generateAccessToken"):
		return response(200, `{"accessToken":"robot-token","expireTime":"`+
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`), nil
	case strings.HasSuffix(r.URL.Path, ":generateIdToken"):
		return response(200, `{"token":"`+metadataIDToken()+`"}`), nil
	}
	return response(404, ""), nil
}

func (g *googleFake) client() *http.Client { return &http.Client{Transport: g} }

// urls returns the URLs that were asked for.
func (g *googleFake) urls() (urls []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.requests {
		urls = append(urls, r.URL.String())
	}
	return urls
}

// form returns the form of request n.
func (g *googleFake) form(n int) url.Values {
	form, _ := url.ParseQuery(g.bodies[n])
	return form
}

func fakeAnswer(status int, body string, header ...string) func() (*http.Response, error) {
	return func() (*http.Response, error) { return response(status, body, header...), nil }
}

// W99: what is sent where, with and without impersonation, for a subject token in a text or a JSON field.
func TestExternalExchange(t *testing.T) {
	type m = map[string]any
	const cloud = "https://www.googleapis.com/auth/cloud-platform"
	const provider = "https://provider.example/token?audience=x"
	inFile := filepath.Join(t.TempDir(), "token file")
	if err := os.WriteFile(inFile, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	jsonFormat := m{"type": "json", "subject_token_field_name": "value"}
	for _, tt := range []struct {
		name    string
		change  m
		scopes  []string
		subject string // the provider's answer
		want    string // the access token
		urls    []string
		scope   string // at the token service
		options string // there
		iam     string // what the API is sent, as JSON
	}{
		{name: "text", subject: "a.b.c\n", want: "sts-a.b.c", scope: cloud,
			urls: []string{provider, "https://sts.googleapis.com/v1/token"}},
		{name: "scopes", subject: "s", scopes: []string{"a", "b"}, want: "sts-s", scope: "a b",
			urls: []string{provider, "https://sts.googleapis.com/v1/token"}},
		{name: "JSON", subject: `{"count":1,"value":"s-1"}`, want: "sts-s-1", scope: cloud,
			change: m{"credential_source": m{"url": provider, "format": jsonFormat}},
			urls:   []string{provider, "https://sts.googleapis.com/v1/token"}},
		{name: "JSON that has a member error", subject: `{"error":"","value":"s-1"}`, want: "sts-s-1",
			change: m{"credential_source": m{"url": provider, "format": jsonFormat}}, scope: cloud,
			urls: []string{provider, "https://sts.googleapis.com/v1/token"}},
		{name: "a metadata server", subject: "s", want: "sts-s", scope: cloud,
			change: m{"credential_source": m{"url": "http://169.254.169.254/metadata/identity?api-version=2018-02-01",
				"headers": m{"metadata": "true"}}},
			urls: []string{"http://169.254.169.254/metadata/identity?api-version=2018-02-01",
				"https://sts.googleapis.com/v1/token"}},
		{name: "file", change: m{"credential_source": m{"file": inFile, "format": m{"type": "text"}}},
			want: "sts-from-file", scope: cloud, urls: []string{"https://sts.googleapis.com/v1/token"}},
		{name: "a region", subject: "s", change: m{"token_url": "https://sts.europe-west3.rep.googleapis.com/v1/token"},
			want: "sts-s", scope: cloud,
			urls: []string{provider, "https://sts.europe-west3.rep.googleapis.com/v1/token"}},
		{name: "workforce", subject: "s", want: "sts-s", scope: cloud, options: `{"userProject":"project-9"}`,
			change: m{"audience": workforceAudience, "workforce_pool_user_project": "project-9"},
			urls:   []string{provider, "https://sts.googleapis.com/v1/token"}},
		{name: "impersonation", subject: "s", scopes: []string{"a"}, want: "robot-token", scope: cloud,
			change: m{"service_account_impersonation_url": robotURL},
			urls:   []string{provider, "https://sts.googleapis.com/v1/token", robotURL},
			iam:    `{"delegates":null,"lifetime":"3600s","scope":["a"]}`},
		{name: "impersonation for a while", subject: "s", want: "robot-token", scope: cloud,
			change: m{"service_account_impersonation_url": robotURL,
				"service_account_impersonation": m{"token_lifetime_seconds": 2800}},
			urls: []string{provider, "https://sts.googleapis.com/v1/token", robotURL},
			iam:  `{"delegates":null,"lifetime":"2800s","scope":["` + cloud + `"]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &googleFake{subject: tt.subject}
				src := externalOf(t, tt.change, tt.scopes...)
				src.HTTPClient = g.client()
				tok, err := src.Token(t.Context())
				if err != nil || tok.AccessToken.Reveal() != tt.want {
					t.Fatal(tok, err)
				}
				if urls := g.urls(); !slices.Equal(urls, tt.urls) {
					t.Errorf("asked %q, want %q", urls, tt.urls)
				}
				n := slices.IndexFunc(tt.urls, func(u string) bool { return strings.Contains(u, "sts.") })
				want := url.Values{
					"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
					"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
					"audience":             {poolAudience},
					"subject_token_type":   {jwtTokenType},
					"subject_token":        g.form(n)["subject_token"],
					"scope":                {tt.scope},
				}
				if tt.options != "" {
					want.Set("audience", workforceAudience)
					want.Set("options", tt.options)
				}
				if form := g.form(n); form.Encode() != want.Encode() {
					t.Errorf("sent %v, want %v", form, want)
				}
				if n == 1 && (g.requests[0].Method != "GET" || g.bodies[0] != "") {
					t.Error("the provider was sent", g.requests[0].Method, g.bodies[0])
				}
				if tt.iam != "" {
					auth := g.requests[2].Header.Get("Authorization")
					if g.bodies[2] != tt.iam || auth != "Bearer sts-s" {
						t.Error("the API was sent", g.bodies[2], auth)
					}
				}
				if _, err := src.Token(t.Context()); err != nil || len(g.urls()) != len(tt.urls) {
					t.Error("not cached:", err)
				}
				time.Sleep(2 * time.Hour)
				g.subject = strings.ReplaceAll(g.subject, "s", "t")
				if _, err := src.Token(t.Context()); err != nil || len(g.urls()) != 2*len(tt.urls) {
					t.Error("the subject token was not read anew:", err)
				}
			})
		})
	}
}

// W99: a hostile file is refused before anything is read or sent.
func TestExternalRefuses(t *testing.T) {
	type m = map[string]any
	source := func(change m) m {
		s := m{"url": "https://provider.example/token"}
		maps.Copy(s, change)
		maps.DeleteFunc(s, func(_ string, v any) bool { return v == nil })
		return m{"credential_source": s}
	}
	rows := []struct {
		name   string
		change m
		want   string // "": it is accepted
	}{
		{"good", nil, ""},
		{"AWS", source(m{"environment_id": "aws1", "regional_cred_verification_url": "https://x"}), `"`},
		{"AWS, one member", source(m{"environment_id": "aws1"}), `"environment_id"`},
		{"a program", source(m{"url": nil, "executable": m{"command": "/bin/evil"}}), `"executable"`},
		{"a certificate", source(m{"url": nil, "certificate": m{"certificate_config_location": "x"}}),
			`"certificate"`},
		{"something later", source(m{"later": true}), `"later"`},
		{"no source", m{"credential_source": nil}, "credential_source"},
		{"an empty source", m{"credential_source": m{}}, "credential_source that has a url"},
		{"source is a list", m{"credential_source": []string{"url"}}, "credential_source"},
		{"file is a number", source(m{"url": nil, "file": 7}), "file"},
		{"file steers terminals", source(m{"url": nil, "file": "a\x1b[2J"}), "file"},
		{"JSON without a field", source(m{"format": m{"type": "json"}}), "format"},
		{"a field without JSON", source(m{"format": m{"subject_token_field_name": "x"}}), "format"},
		{"no audience", m{"audience": nil}, "audience"},
		{"audience with a line end", m{"audience": "x\r\ny"}, "audience"},
		{"no token type", m{"subject_token_type": nil}, "subject_token_type"},
		{"token type is no URN", m{"subject_token_type": "jwt"}, "subject_token_type"},
		{"user project injects", m{"workforce_pool_user_project": `x","y":"z`}, "workforce_pool_user_project"},
		{"quota project injects", m{"quota_project_id": "x\r\nY: z"}, "quota_project_id"},
		{"another universe", m{"universe_domain": "other.example"}, "universe"},
		{"impersonation for signatures",
			m{"service_account_impersonation_url": iamAccounts + "r@p:signBlob"}, "service_account_impersonation_url"},
		{"impersonation elsewhere, by a port",
			m{"service_account_impersonation_url": "https://iamcredentials.googleapis.com:444/v1/projects/-/" +
				"serviceAccounts/r@p:generateAccessToken"}, "service_account_impersonation_url"},
		{"impersonation by another path",
			m{"service_account_impersonation_url": iamAccounts + "../x/r@p:generateAccessToken"},
			"service_account_impersonation_url"},
		{"impersonation of nobody",
			m{"service_account_impersonation_url": iamAccounts + ":generateAccessToken"},
			"service_account_impersonation_url"},
	}
	for _, host := range []string{
		"http://sts.googleapis.com/v1/token", "https://sts.googleapis.com.evil.example/v1/token",
		"https://sts.googleapis.com@evil.example/v1/token", "https://evil.example/v1/token",
		"https://evil-sts.googleapis.com/v1/token", "https://x.sts.googleapis.com/v1/token",
		"https://sts.a.b.rep.googleapis.com/v1/token", "https://sts.rep.googleapis.com/v1/token",
		"https://sts.A.rep.googleapis.com/v1/token", "https://sts.googleapis.com:8443/v1/token",
		"https://sts.googleapis.com/v1/token?x", "https://sts.googleapis.com/v1/token\n",
		"https://sts.googleapis.com/v1/introspect", "https://stsXgoogleapis.com/v1/token", "",
	} {
		rows = append(rows, struct {
			name   string
			change m
			want   string
		}{"token_url " + host, m{"token_url": host}, "token_url"})
	}
	for _, host := range []string{
		"https://evil.example", "http://iamcredentials.googleapis.com",
		"https://iamcredentials.googleapis.com.evil.example", "https://iamcredentialsXgoogleapis.com",
		"https://iamcredentials.googleapis.com@evil.example", "http://127.0.0.1",
	} {
		rows = append(rows, struct {
			name   string
			change m
			want   string
		}{"impersonation at " + host, m{"service_account_impersonation_url": host +
			"/v1/projects/-/serviceAccounts/r@p:generateAccessToken"}, "service_account_impersonation_url"})
	}
	for u, ok := range map[string]bool{
		"https://provider.example":                     true,
		"https://provider.example:8443/a%20b?c=d&e=f":  true,
		"http://localhost:8080/x":                      true,
		"http://127.0.0.1/x":                           true,
		"http://[::1]:80/x":                            true,
		"http://169.254.169.254/metadata/identity?a=b": true,
		"http://[fe80::1]/x":                           false, // which needs a zone
		"https://[:]/x?sig=SENTINEL":                   false,
		"https://[2001:db8::1]/x":                      false,
		"http://provider.example/x":                    false,
		"http://169.254.169.254.evil.example/x":        false,
		"http://169.254.169.254@evil.example/x":        false,
		"http://169.254.1/x":                           false,
		"http://10.0.0.1/x":                            false,
		"http://[fe80::1%25eth0]/x":                    false,
		"http://[2001:db8::1]/x":                       false,
		"http://localhost.evil.example/x":              false,
		"https://user@provider.example/x":              false,
		"https://provider.example/x#y":                 false,
		`https://provider.example\@evil.example/x`:     false,
		"https://provider.example/%zz":                 false,
		"https://provider.example/a b":                 false,
		"file:///etc/passwd":                           false,
		"gopher://provider.example/x":                  false,
	} {
		want := "url"
		if ok {
			want = ""
		}
		rows = append(rows, struct {
			name   string
			change m
			want   string
		}{"source " + u, source(m{"url": u}), want})
	}
	for _, tt := range rows {
		src, err := parseDefaultFile(externalText(tt.change), "", nil, nil)
		if (err == nil) != (tt.want == "") || (src == nil) != (err != nil) ||
			err != nil && (!strings.Contains(err.Error(), tt.want) || unprintable(err.Error())) {
			t.Errorf("%s: %v, %v, want %q", tt.name, src, err, tt.want)
		}
	}
}

// W99: what goes wrong at each step, and that no error shows what a hostile file may have had read.
func TestExternalFaults(t *testing.T) {
	type m = map[string]any
	const secret = "SENTINEL-that-is-long-enough"
	robot := m{"service_account_impersonation_url": robotURL}
	inJSON := m{"credential_source": m{"url": "https://provider.example/token",
		"format": m{"type": "json", "subject_token_field_name": "value"}}}
	refused := func() (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	for _, tt := range []struct {
		name      string
		change    m
		host      string // that is at fault
		answer    func() (*http.Response, error)
		want      string
		temporary bool
		asked     int
	}{
		{"provider is away", nil, "provider.example", refused, "connection failed: dial", true, 3},
		{"provider knows of none", nil, "provider.example", fakeAnswer(404, secret), "status 404", false, 1},
		{"provider explains", nil, "provider.example",
			fakeAnswer(400, `{"error":"SENTINEL-1","error_description":"`+secret+`"}`), "status 400", false, 1},
		{"provider overloaded", nil, "provider.example", fakeAnswer(503, secret), "status 503", true, 3},
		{"provider redirects", nil, "provider.example",
			fakeAnswer(302, "", "Location", "https://evil.example/"), "redirect", false, 1},
		{"captive portal", nil, "provider.example",
			fakeAnswer(200, "<html> "+secret+"</html>", "Content-Type", "text/html"),
			"no usable subject token", false, 1},
		{"empty", nil, "provider.example", fakeAnswer(200, " \n"), "no usable subject token", false, 1},
		{"two lines", nil, "provider.example", fakeAnswer(200, secret+"\n"+secret),
			"no usable subject token", false, 1},
		{"too large", nil, "provider.example", fakeAnswer(200, strings.Repeat("a", 1<<20+1)), "1 MiB", false, 1},
		{"not JSON", inJSON, "provider.example", fakeAnswer(200, secret), "no usable subject token", false, 1},
		{"another field", inJSON, "provider.example", fakeAnswer(200, `{"token":"`+secret+`"}`),
			"no usable subject token", false, 1},
		{"field is an object", inJSON, "provider.example", fakeAnswer(200, `{"value":{"x":"`+secret+`"}}`),
			"no usable subject token", false, 1},
		{"token service is away", nil, "sts.googleapis.com", refused, "connection failed: dial", true, 4},
		{"expired subject token", nil, "sts.googleapis.com",
			fakeAnswer(400, `{"error":"invalid_grant","error_description":"ID Token issued at 1 is stale."}`),
			"is stale", false, 2},
		{"no such provider", nil, "sts.googleapis.com",
			fakeAnswer(400, `{"error":"invalid_target","error_description":"The target service is invalid."}`),
			"invalid_target", false, 2},
		{"attribute condition", nil, "sts.googleapis.com",
			fakeAnswer(401, `{"error":"unauthorized_client","error_description":"rejected by the condition"}`),
			`condition" (status 401)`, false, 2},
		{"token service repeats the subject token", nil, "sts.googleapis.com",
			fakeAnswer(400, `{"error":"invalid_grant","error_description":"bad `+secret+`"}`),
			"invalid_grant", false, 2},
		{"nothing", nil, "sts.googleapis.com", fakeAnswer(200, "{}"), "access_token", false, 2},
		{"no access token", nil, "sts.googleapis.com",
			fakeAnswer(200, `{"access_token":"x","token_type":"N_A"}`), "token_type", false, 2},
		{"may not impersonate", robot, "iamcredentials.googleapis.com",
			fakeAnswer(403, `{"error":{"code":403,"status":"PERMISSION_DENIED","message":"denied"}}`),
			"roles/iam.workloadIdentityUser", false, 3},
		{"no expiry", robot, "iamcredentials.googleapis.com",
			fakeAnswer(200, `{"accessToken":"`+secret+`"}`), "expireTime", false, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &googleFake{subject: secret, answer: map[string]func() (*http.Response, error){tt.host: tt.answer}}
				src := externalOf(t, tt.change)
				src.HTTPClient = g.client()
				tok, err := src.Token(t.Context())
				e := (*Error)(nil)
				isError := errors.As(err, &e)
				if tok != nil || !errorSays(err, tt.want) || strings.Contains(err.Error(), "SENTINEL") ||
					!strings.HasPrefix(err.Error(), "oauth2: ") || errors.Is(err, ErrLoginRequired) ||
					tt.temporary != (isError && e.Temporary()) || len(g.urls()) != tt.asked {
					t.Error(tok, err, g.urls())
				}
				noSecret(t, err, secret)
				for _, u := range g.urls() {
					if strings.Contains(u, "evil.example") {
						t.Error("asked", u)
					}
				}
				g.answer = nil // it was passing, and is not remembered for long
				g.subject = cmp.Or(map[bool]string{true: `{"value":"s"}`}[tt.change["credential_source"] != nil], "s")
				time.Sleep(longestBackoff)
				if tok, err := src.Token(t.Context()); err != nil || !tok.Valid() {
					t.Error("afterwards:", tok, err)
				}
			})
		})
	}
}

// W99: the file is read anew at each exchange, through the symlinks of Kubernetes' projected volumes, whole, and only
// if it is a file. No error has anything of it.
func TestExternalFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "token")
	g := &googleFake{}
	get := func() (string, error) {
		src := externalOf(t, map[string]any{"credential_source": map[string]any{"file": name}})
		src.HTTPClient = g.client()
		return tokenText(src)(t.Context())
	}
	if _, err := get(); !errors.Is(err, os.ErrNotExist) {
		t.Error("missing:", err)
	}
	for n, day := range []string{"..day1", "..day2"} { // as the kubelet swaps them
		if err := os.Mkdir(filepath.Join(dir, day), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Appendf(nil, "token-%d", n)
		if err := os.WriteFile(filepath.Join(dir, day, "token"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(day, next); err != nil {
			t.Skip(err) // on Windows
		}
		if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if err := os.Symlink(filepath.Join("..data", "token"), name); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := get(); err != nil || got != "sts-"+string(text) {
			t.Error(got, err)
		}
	}
	for _, content := range []string{"", "\n", "SENTINEL-1 SENTINEL-2", "SENTINEL\x00", "root:x:0:0:SENTINEL:/root\nx",
		strings.Repeat("S", maxBody+1)} {
		name = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := get(); err == nil || strings.Contains(err.Error(), "SENTINEL") || len(err.Error()) > 500 {
			t.Errorf("%.30q: %q, %v", content, got, err)
		}
	}
	for _, other := range []string{dir, "/dev/zero"} {
		name = other
		if got, err := get(); err == nil {
			t.Errorf("%s: %q", other, got)
		}
	}
	if n := len(g.urls()); n != 2 {
		t.Error(n, "requests")
	}
}

// W99: a file that is replaced all the time is read whole, as one or the other.
func TestExternalFileReplaced(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "token")
	tokens := []string{strings.Repeat("a", 5000), strings.Repeat("b", 9000)}
	write := func(n int) {
		tmp := fmt.Sprint(name, n)
		if err := errors.Join(os.WriteFile(tmp, []byte(tokens[n%2]), 0o600), os.Rename(tmp, name)); err != nil {
			t.Error(err)
		}
	}
	write(0)
	c := externalOf(t, map[string]any{"credential_source": map[string]any{"file": name}})
	done := make(chan bool)
	go func() {
		defer close(done)
		for n := range 200 {
			write(n)
		}
	}()
	for isDone := false; !isDone; {
		select {
		case <-done:
			isDone = true
		default:
		}
		if got, err := c.subject(t.Context()); err != nil || !slices.Contains(tokens, got) {
			t.Fatal(len(got), err)
		}
	}
}

// W99: a context ends every step.
func TestExternalContext(t *testing.T) {
	for _, host := range []string{"provider.example", "sts.googleapis.com", "iamcredentials.googleapis.com"} {
		synctest.Test(t, func(t *testing.T) {
			g := &googleFake{subject: "s"}
			src := externalOf(t, map[string]any{"service_account_impersonation_url": robotURL})
			src.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host == host {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				return g.RoundTrip(r)
			})}
			if tok, err := tokenWithin(t, src, time.Second); err == nil || tok != nil {
				t.Error(host, tok, err)
			}
			time.Sleep(2 * flightTimeout)
		})
	}
}

// tokenWithin asks for a token, and fails if that takes longer than the context.
func tokenWithin(t *testing.T, src TokenSource, limit time.Duration) (*Token, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	tok, err := src.Token(ctx)
	if d := time.Since(began); d > limit {
		t.Error("took", d)
	}
	return tok, err
}

// W97: impersonation in code, for access tokens and ID tokens.
func TestImpersonatedInCode(t *testing.T) {
	source := sourceOf(&Token{AccessToken: NewSecret("source-token"), Expiry: time.Now().Add(24 * time.Hour)})
	accessToken := func(c *ImpersonatedCredentials) TokenSource { return c }
	idToken := func(c *ImpersonatedCredentials) TokenSource { return c.IDTokenSource("https://run.example") }
	for _, tt := range []struct {
		name   string
		creds  *ImpersonatedCredentials
		make   func(c *ImpersonatedCredentials) TokenSource
		answer func() (*http.Response, error)
		sent   string
		want   string // an error
	}{
		{name: "plain", creds: &ImpersonatedCredentials{Source: source, Account: "a@b.example"}, make: accessToken,
			sent: `{"delegates":null,"lifetime":"3600s","scope":["https://www.googleapis.com/auth/cloud-platform"]}`},
		{name: "in full", make: accessToken, creds: &ImpersonatedCredentials{Source: source, Account: "a@b.example",
			Scopes: []string{"x", "y"}, Delegates: []string{"projects/-/serviceAccounts/d@e"},
			Lifetime: 12 * time.Hour},
			sent: `{"delegates":["projects/-/serviceAccounts/d@e"],"lifetime":"43200s","scope":["x","y"]}`},
		{name: "ID token", creds: &ImpersonatedCredentials{Source: source, Account: "a@b.example"}, make: idToken,
			sent: `{"audience":"https://run.example","delegates":null,"includeEmail":true}`},
		{name: "ID token through delegates", make: idToken, creds: &ImpersonatedCredentials{Source: source,
			Account: "a@b.example", Delegates: []string{"d"}},
			sent: `{"audience":"https://run.example","delegates":["d"],"includeEmail":true}`},
		{name: "ID token for nobody", creds: &ImpersonatedCredentials{Source: source, Account: "a@b.example"},
			make: func(c *ImpersonatedCredentials) TokenSource { return c.IDTokenSource("") }, want: "audience"},
		{name: "no account", creds: &ImpersonatedCredentials{Source: source}, make: accessToken,
			want: "service account"},
		{name: "an account that leads elsewhere", make: idToken, want: "service account",
			creds: &ImpersonatedCredentials{Source: source, Account: "../x"}},
		{name: "no source", creds: &ImpersonatedCredentials{Account: "a@b"}, make: idToken, want: "no token source"},
		{name: "13 hours", make: accessToken, want: "Lifetime",
			creds: &ImpersonatedCredentials{Source: source, Account: "a@b", Lifetime: 13 * time.Hour}},
		{name: "no role", creds: &ImpersonatedCredentials{Source: source, Account: "a@b.example"}, make: idToken,
			answer: fakeAnswer(403, `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`),
			want:   "roles/iam.serviceAccountTokenCreator"},
		{name: "no ID token", creds: &ImpersonatedCredentials{Source: source, Account: "a@b.example"}, make: idToken,
			answer: fakeAnswer(200, `{"accessToken":"SENTINEL"}`), want: "no usable ID token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &googleFake{answer: map[string]func() (*http.Response, error){
				"iamcredentials.googleapis.com": tt.answer,
			}}
			tt.creds.HTTPClient = g.client()
			tok, err := tt.make(tt.creds).Token(t.Context())
			if tt.want != "" {
				if tok != nil || !errorSays(err, tt.want) || strings.Contains(err.Error(), "SENTINEL") {
					t.Error(tok, err)
				}
				if (tt.answer == nil) != (len(g.requests) == 0) {
					t.Error(g.urls())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := iamAccounts + "a@b.example:generateAccessToken"
			if strings.HasPrefix(tt.name, "ID") {
				want = iamAccounts + "a@b.example:generateIdToken"
			}
			if urls := g.urls(); !slices.Equal(urls, []string{want}) || g.bodies[0] != tt.sent ||
				g.requests[0].Header.Get("Authorization") != "Bearer source-token" {
				t.Error(urls, g.bodies, g.requests[0].Header)
			}
		})
	}
}

// W97 W36: what may be set on credentials from a file has an effect: Account, and the client, at any time, without a
// data race. A source that is federation has a client of its own: a shared one would take its subject token through a
// proxy.
func TestImpersonatedFromFile(t *testing.T) {
	src, err := parseDefaultFile([]byte(impersonatedFile(string(externalText(nil)))), "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := src.(*ImpersonatedCredentials)
	g := &googleFake{subject: "s"}
	c.HTTPClient = g.client()
	c.Source.(*ExternalAccountCredentials).HTTPClient = g.client()
	c.Account = "other@b.example"
	var running sync.WaitGroup
	for _, src := range []TokenSource{c, c.Source, c.IDTokenSource("https://run.example"), c, c.Source} {
		running.Go(func() {
			if _, err := src.Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	for _, u := range g.urls() {
		if strings.Contains(u, "serviceAccounts/") && !strings.Contains(u, "serviceAccounts/other@b.example:") {
			t.Error("asked", u)
		}
	}
	nested := []byte(impersonatedFile(string(externalText(nil))))
	src, _ = parseDefaultFile(nested, "", nil, &http.Client{Transport: sharedTransport{c}})
	if c := src.(*ImpersonatedCredentials).Source.(*ExternalAccountCredentials).HTTPClient; c != nil {
		t.Error("federation has the client of what it is for:", c)
	}
	own := &googleFake{subject: "s"} // a source with a client of its own keeps it
	src, _ = parseDefaultFile([]byte(impersonatedFile(string(externalText(nil)))), "", nil, nil)
	c = src.(*ImpersonatedCredentials)
	c.HTTPClient = g.client()
	c.Source.(*ExternalAccountCredentials).HTTPClient = own.client()
	if _, err := c.Token(t.Context()); err != nil || len(own.urls()) != 2 {
		t.Error(err, own.urls())
	}
}

// W98: an ID token from whatever the environment has.
func TestDefaultIDTokenSource(t *testing.T) {
	s := startMetadata(t)
	type m = map[string]any
	const audience = "https://run.example"
	use := func(src TokenSource, g *googleFake) {
		switch src := src.(type) {
		case *ExternalAccountCredentials:
			src.HTTPClient = g.client()
		case *ImpersonatedCredentials:
			src.HTTPClient = g.client()
			src.Source.(*ExternalAccountCredentials).HTTPClient = g.client()
		}
	}
	if _, err := DefaultIDTokenSource(t.Context(), ""); !errorSays(err, "audience") || len(s.uris()) != 0 {
		t.Error("no audience:", err)
	}
	src, err := DefaultIDTokenSource(t.Context(), audience)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tokenText(src)(t.Context()); err != nil || got != metadataIDToken() && !strings.Contains(got, ".") {
		t.Error("the machine:", got, err)
	}
	server := NewTestServer(t)
	server.AssertionKey = &serverKey().PublicKey
	setCredentialsFile(t, serviceAccountFile(m{"token_uri": server.URL + "/token"}))
	src, err = DefaultIDTokenSource(t.Context(), audience)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tokenText(src)(t.Context()); err != nil || strings.Count(got, ".") != 2 {
		t.Error("a key:", got, err)
	}
	for name, members := range map[string]any{
		"a user":                               []byte(userFile),
		"federation without a service account": externalText(nil),
	} {
		setCredentialsFile(t, members)
		src, err := DefaultIDTokenSource(t.Context(), audience)
		if src != nil || !errorSays(err, "can't get an ID token") {
			t.Errorf("%s: %v, %v", name, src, err)
		}
	}
	for name, members := range map[string]any{
		"impersonation":                []byte(impersonatedFile(string(externalText(nil)))),
		"federation that impersonates": externalText(m{"service_account_impersonation_url": robotURL}),
	} {
		setCredentialsFile(t, members)
		if src, err := DefaultIDTokenSource(t.Context(), audience); src == nil || err != nil {
			t.Errorf("%s: %v, %v", name, src, err)
		}
		creds, _, err := DefaultCredentials(t.Context())
		if err != nil {
			t.Fatal(name, err)
		}
		g := &googleFake{subject: "s"}
		use(creds, g)
		src := creds.(interface{ IDTokenSource(string) TokenSource }).IDTokenSource(audience)
		if got, err := tokenText(src)(t.Context()); err != nil || strings.Count(got, ".") != 2 {
			t.Errorf("%s: %q, %v, %q", name, got, err, g.urls())
		}
	}
	if tok, err := externalOf(t, nil).IDTokenSource(audience).Token(t.Context()); err == nil {
		t.Error("no service account:", tok)
	}
	if tok, err := new(ExternalAccountCredentials).Token(t.Context()); err == nil { // CA18
		t.Error("the zero value:", tok)
	}
}

// W91: a metadata server that refuses connections at first is asked for 30 seconds where there is one for sure, and
// for 3 elsewhere, by DefaultCredentials and by each token.
func TestMetadataStarts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		env   string        // that says that the machine is Google's
		ready time.Duration // when the server accepts connections; 0: never
		limit time.Duration // of the caller; 0: none
		ok    bool
		least time.Duration
		most  time.Duration
	}{
		{name: "GKE", env: "GCE_METADATA_HOST", ready: 8 * time.Second, ok: true, most: 10 * time.Second},
		{name: "Cloud Run", env: "K_SERVICE", ready: 8 * time.Second, ok: true, most: 10 * time.Second},
		{name: "Functions", env: "FUNCTION_TARGET", ready: 29 * time.Second, ok: true, most: 30 * time.Second},
		{name: "App Engine", env: "GAE_SERVICE", ready: 8 * time.Second, ok: true, most: 10 * time.Second},
		{name: "at Google, for ever", env: "K_SERVICE", least: 28 * time.Second, most: 30 * time.Second},
		{name: "at Google, within the caller's time", env: "K_SERVICE", limit: 5 * time.Second, most: 5 * time.Second},
		{name: "elsewhere, for ever", most: 3 * time.Second, least: time.Second},
		{name: "elsewhere, ready too late", ready: 8 * time.Second, most: 3 * time.Second},
		{name: "elsewhere, ready soon", ready: time.Second, ok: true, most: 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"GCE_METADATA_HOST", "K_SERVICE", "FUNCTION_TARGET", "GAE_SERVICE"} {
				t.Setenv(name, "")
			}
			if tt.env != "" {
				t.Setenv(tt.env, "metadata.example")
			} else if metadataPatience() > metadataTimeout {
				t.Skip("this machine is Google's")
			}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				calls := 0
				dial := roundTripFunc(func(r *http.Request) (*http.Response, error) {
					calls++
					if tt.ready == 0 || time.Since(began) < tt.ready {
						return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
					}
					return response(200, `{"access_token":"t","expires_in":3600}`, "Metadata-Flavor", "Google"), nil
				})
				limit := cmp.Or(tt.limit, time.Hour)
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				r := &request{
					op:       "asking the metadata server",
					url:      "http://metadata.example/token",
					client:   &http.Client{Transport: dial},
					metadata: true,
					patience: metadataPatience(),
				}
				_, err := r.do(ctx)
				d := time.Since(began)
				isRefused := errors.Is(err, syscall.ECONNREFUSED)
				if isRefused == tt.ok || (err == nil) != tt.ok || d < tt.least || d > tt.most {
					t.Errorf("%v after %v and %d calls", err, d, calls)
				}
				if d > 8*time.Second && calls < 8 {
					t.Error("a long pause:", calls, "calls in", d)
				}
			})
		})
	}
}

// W91: the same over real connections: DefaultCredentials waits for the port to open, and forgets that it was closed.
func TestMetadataStartsReal(t *testing.T) {
	s := startMetadata(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	t.Setenv("GCE_METADATA_HOST", addr)
	late := &http.Server{Handler: s}
	defer late.Close()
	go func() {
		time.Sleep(1700 * time.Millisecond)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return // somebody else has the port
		}
		late.Serve(l)
	}()
	src, project, err := DefaultCredentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tokenText(src)(t.Context()); err != nil || got != "mt-default" || project != "project-1" {
		t.Error(got, project, err)
	}
}

// W99: no proxy is asked for a subject token of this machine or link.
func TestExternalNoProxy(t *testing.T) {
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata") != "true" {
			w.WriteHeader(400)
		}
		io.WriteString(w, "subject")
	}))
	defer metadata.Close()
	defer metadataClient.CloseIdleConnections()
	c := externalOf(t, map[string]any{"credential_source": map[string]any{
		"url": metadata.URL + "/token", "headers": map[string]any{"metadata": "true"}}})
	if got, err := c.subject(t.Context()); err != nil || got != "subject" {
		t.Error(got, err)
	}
	if metadataClient.Transport.(*http.Transport).Proxy != nil {
		t.Error("the client for this machine has a proxy")
	}
}

// W99: whatever a file of type external_account has in it, it is refused, or asks nobody but Google and its source.
func FuzzExternalAccount(f *testing.F) {
	type m = map[string]any
	for _, change := range []m{
		nil, {"token_url": "https://sts.googleapis.com@evil.example/v1/token"},
		{"token_url": "https://sts.europe-west3.rep.googleapis.com/v1/token"},
		{"service_account_impersonation_url": robotURL,
			"service_account_impersonation": m{"token_lifetime_seconds": 600}},
		{"service_account_impersonation_url": "https://evil.example/r@p:generateAccessToken"},
		{"credential_source": m{"url": "http://169.254.169.254/x", "headers": m{"Metadata": "true"}}},
		{"credential_source": m{"url": "https://provider.example/x",
			"format": m{"type": "json", "subject_token_field_name": "value"}}},
		{"credential_source": m{"executable": m{"command": "x"}}},
		{"audience": workforceAudience, "workforce_pool_user_project": "p"},
	} {
		f.Add(externalText(change))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "file") {
			return // which could be any
		}
		src, err := parseDefaultFile(data, "", nil, nil)
		if err != nil {
			if src != nil || !strings.HasPrefix(err.Error(), "oauth2: ") || unprintable(err.Error()) {
				t.Errorf("%v, %q", src, err)
			}
			return
		}
		c, ok := src.(*ExternalAccountCredentials)
		if !ok {
			return
		}
		u, err := url.Parse(parseFields(data).nested("credential_source").str("url"))
		if err != nil || u.User != nil {
			t.Fatal(err)
		}
		ip := net.ParseIP(u.Hostname())
		isNear := u.Hostname() == "localhost" || ip.IsLoopback() || ip.IsLinkLocalUnicast()
		if u.Scheme != "https" && !(u.Scheme == "http" && isNear) && ip != nil {
			t.Errorf("the source is %q", u)
		}
		g := &googleFake{subject: `{"value":"s"}`}
		c.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == u.Host && r.Body == nil {
				return response(200, `{"value":"s"}`), nil
			}
			isGoogle := r.URL.Host == "sts.googleapis.com" || r.URL.Host == "iamcredentials.googleapis.com" ||
				strings.HasPrefix(r.URL.Host, "sts.") && strings.HasSuffix(r.URL.Host, ".rep.googleapis.com")
			if !isGoogle || r.URL.Scheme != "https" {
				t.Errorf("asked %q", r.URL)
			}
			return g.RoundTrip(r)
		})}
		if tok, err := c.Token(t.Context()); err == nil && !validToken(tok.AccessToken.Reveal()) {
			t.Error(tok)
		}
	})
}

// W99: whatever the token service answers, the result is a token that can be put on a request, or an error without the
// subject token.
func FuzzTokenServiceAnswer(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"t","issued_token_type":"urn:ietf:params:oauth:token-type:access_token",` +
			`"token_type":"Bearer","expires_in":3599}`,
		`{"error":"invalid_grant","error_description":"ID Token issued at 1 is stale to sign-in."}`,
		`{"error":"invalid_target"}`, `{"access_token":"t","token_type":"N_A"}`, `{"error":{"status":"X"}}`,
		"", "<html>",
		`{"error":"invalid_grant","error_description":"SUBJECT-token-of-the-fuzzer"}`,
	} {
		f.Add(200, body)
		f.Add(400, body)
	}
	const subject = "SUBJECT-token-of-the-fuzzer"
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 || slices.Contains([]int{408, 429, 500, 502, 503, 504}, status) ||
			strings.Contains(body, "error") && strings.Contains(body, `\u`) ||
			strings.Contains(body, "server_error") || strings.Contains(body, "temporarily_unavailable") ||
			strings.Contains(body, "internal_failure") || strings.Contains(body, "INTERNAL") {
			return // these are asked again, in real time
		}
		g := &googleFake{subject: subject, answer: map[string]func() (*http.Response, error){
			"sts.googleapis.com": fakeAnswer(status, body)}}
		c := externalOf(t, nil)
		c.HTTPClient = g.client()
		tok, err := c.Token(t.Context())
		if err != nil {
			if !strings.HasPrefix(err.Error(), "oauth2: ") || unprintable(err.Error()) ||
				strings.Contains(err.Error(), subject) {
				t.Errorf("%q", err)
			}
			return
		}
		if !validToken(tok.AccessToken.Reveal()) || status >= 300 {
			t.Errorf("%d %q: %+v", status, body, tok)
		}
	})
}
