package oauth2

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// secretsFile is a client file with the members of "installed" replaced; an empty value is left out.
func secretsFile(kind string, pairs ...string) string {
	members := map[string]string{
		"client_id":     `"cid"`,
		"client_secret": `"cs"`,
		"auth_uri":      `"https://as.example/auth"`,
		"token_uri":     `"https://as.example/token"`,
	}
	return `{"` + kind + `":` + jsonObject(members, pairs) + `}`
}

// G12 XO31 PY6 UP42 UP17
func TestParseClientSecrets(t *testing.T) {
	t.Parallel()
	const auth, token = "https://as.example/auth", "https://as.example/token"
	google := []string{
		"auth_uri", `"https://accounts.google.com/o/oauth2/auth"`,
		"token_uri", `"https://oauth2.googleapis.com/token"`,
	}
	plain := ClientSecrets{
		Type:         "installed",
		ClientID:     "cid",
		ClientSecret: NewSecret("cs"),
		AuthURI:      auth,
		TokenURI:     token,
		AuthMethod:   "client_secret_post",
	}
	but := func(change func(c *ClientSecrets)) ClientSecrets {
		c := plain
		change(&c)
		return c
	}
	web, installed := secretsFile("web"), secretsFile("installed")
	public := but(func(c *ClientSecrets) { c.ClientSecret, c.AuthMethod = Secret{}, "none" })
	for _, row := range []struct {
		name, file string
		want       ClientSecrets
	}{
		{name: "installed", file: installed, want: plain},
		{name: "web", file: web, want: but(func(c *ClientSecrets) { c.Type = "web" })},
		{name: "no secret: a public client", file: secretsFile("installed", "client_secret", ""), want: public},
		{name: "null secret", file: secretsFile("installed", "client_secret", "null"), want: public},
		{name: "empty secret", file: secretsFile("installed", "client_secret", `""`), want: public},
		{
			name: "redirect URIs in order",
			file: secretsFile("web", "redirect_uris", `["https://a/","http://localhost:8080/x"]`),
			want: but(func(c *ClientSecrets) {
				c.Type, c.RedirectURIs = "web", []string{"https://a/", "http://localhost:8080/x"}
			}),
		},
		{
			name: "no redirect URIs",
			file: secretsFile("installed", "redirect_uris", "[]"),
			want: but(func(c *ClientSecrets) { c.RedirectURIs = []string{} }),
		},
		{
			name: "Google's",
			file: secretsFile("installed", google...),
			want: but(func(c *ClientSecrets) {
				c.AuthURI = "https://accounts.google.com/o/oauth2/auth"
				c.TokenURI = "https://oauth2.googleapis.com/token"
				c.Issuer = "https://accounts.google.com"
				c.KeysURI = "https://www.googleapis.com/oauth2/v3/certs"
				c.DeviceAuthURI = "https://oauth2.googleapis.com/device/code"
				c.RevocationURI = "https://oauth2.googleapis.com/revoke"
			}),
		},
		{
			name: "half Google's",
			file: secretsFile("installed", google[0], google[1]),
			want: but(func(c *ClientSecrets) { c.AuthURI = "https://accounts.google.com/o/oauth2/auth" }),
		},
		{
			name: "Google's name in another host",
			file: secretsFile("installed", google[0], google[1], "token_uri",
				`"https://oauth2.googleapis.com.evil.example/token"`),
			want: but(func(c *ClientSecrets) {
				c.AuthURI = "https://accounts.google.com/o/oauth2/auth"
				c.TokenURI = "https://oauth2.googleapis.com.evil.example/token"
			}),
		},
		{
			name: "http on this machine",
			file: secretsFile("installed", "token_uri", `"http://localhost:8080/token"`),
			want: but(func(c *ClientSecrets) { c.TokenURI = "http://localhost:8080/token" }),
		},
		{
			name: "another server's",
			file: secretsFile("installed", "issuer", `"https://as.example"`,
				"revocation_uri", `"https://as.example/revoke"`,
				"token_endpoint_auth_method", `"client_secret_basic"`),
			want: but(func(c *ClientSecrets) {
				c.Issuer, c.RevocationURI = "https://as.example", "https://as.example/revoke"
				c.AuthMethod = "client_secret_basic"
			}),
		},
		{name: "members of others", file: `{"x":1,` + secretsFile("installed", "project_id", "5")[1:], want: plain},
		{
			name: "other case",
			file: secretsFile("installed", "CLIENT_ID", `"evil"`, "Token_URI", `"https://evil.example/"`),
			want: plain,
		},
	} {
		got, err := ParseClientSecrets([]byte(row.file))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got.ClientSecret.Reveal() != row.want.ClientSecret.Reveal() {
			t.Errorf("%s: secret %q", row.name, got.ClientSecret.Reveal())
		}
		got.ClientSecret, row.want.ClientSecret = Secret{}, Secret{} // functions are not comparable
		if !reflect.DeepEqual(*got, row.want) {
			t.Errorf("%s: got %+v, want %+v", row.name, *got, row.want)
		}
	}
	for _, row := range []struct{ name, file, err string }{
		{"both kinds", web[:len(web)-1] + "," + installed[1:], "both"},
		{"neither kind", `{"other":{}}`, "neither"},
		{"empty object", `{}`, "neither"},
		{"a kind that is null", `{"installed":null}`, "neither"},
		{"a service account", `{"type":"service_account","client_id":"x"}`, `type "service_account"`},
		{"a person's credentials", `{"type":"authorized_user","installed":{}}`, `type "authorized_user"`},
		{"a program to run", `{"type":"external_account","credential_source":{"executable":{"command":"x"}}}`,
			`type "external_account"`},
		{"a list", `[]`, "not a JSON object"},
		{"nothing", ``, "not valid JSON"},
		{"cut", web[:40], "not valid JSON"},
		{"a kind that is a string", `{"installed":"x"}`, "not a JSON object"},
		{"a kind twice", web[:len(web)-1] + "," + web[1:], "twice"},
		{"client_id twice", secretsFile("web", "project_id", `1,"client_id":"evil"`), "twice"},
		{"no client_id", secretsFile("web", "client_id", ""), "client_id"},
		{"empty client_id", secretsFile("web", "client_id", `""`), "client_id"},
		{"client_id is a number", secretsFile("web", "client_id", "5"), "client_id"},
		{"client_secret is a list", secretsFile("web", "client_secret", `["x"]`), "client_secret"},
		{"redirect_uris is a number", secretsFile("web", "redirect_uris", `1`), "redirect_uris"},
		{"a redirect URI is a number", secretsFile("web", "redirect_uris", `[5]`), "redirect_uris"},
		{"no auth_uri", secretsFile("web", "auth_uri", ""), "auth_uri that is missing"},
		{"no token_uri", secretsFile("web", "token_uri", ""), "token_uri that is missing"},
		{"auth_uri over http", secretsFile("web", "auth_uri", `"http://as.example/auth"`), "auth_uri"},
		{"token_uri over http", secretsFile("web", "token_uri", `"http://as.example/token"`), "token_uri"},
		{"auth_uri runs a program", secretsFile("web", "auth_uri", `"file:///bin/sh"`), "auth_uri"},
		{"auth_uri is an option", secretsFile("web", "auth_uri", `"--help"`), "auth_uri"},
		{"auth_uri is a script", secretsFile("web", "auth_uri", `"javascript:alert(1)"`), "auth_uri"},
		{"limit + 1", web + strings.Repeat(" ", maxBody+1-len(web)), "larger than 1 MiB"},
	} {
		got, err := ParseClientSecrets([]byte(row.file))
		if err == nil || got != nil || !strings.HasPrefix(err.Error(), "oauth2: ") ||
			!strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: got %v, %v", row.name, got, err)
		}
	}
}

// Only a regular file of at most 1 MiB is read. // G12
func TestReadClientSecretsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, data string, mode fs.FileMode) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := secretsFile("installed")
	for _, row := range []struct{ name, file, err string }{
		{"good", file("good", good, 0o600), ""},
		{"as a browser saves it", file("open", good, 0o644), ""},
		{"read-only", file("readonly", good, 0o444), ""},
		{"limit", file("limit", good+strings.Repeat(" ", maxBody-len(good)), 0o600), ""},
		{"limit + 1", file("large", good+strings.Repeat(" ", maxBody+1-len(good)), 0o600), "1 MiB"},
		{"empty", file("empty", "", 0o600), "not valid JSON"},
		{"folder", dir, "regular file"},
		{"device", os.DevNull, "regular file"},
		{"missing", filepath.Join(dir, "missing"), ""},
		{"pipe", filepath.Join(dir, "pipe"), "regular file"},
		{"endless", "/proc/self/pagemap", "not valid JSON"}, // whose size is 0
	} {
		if row.name == "endless" && runtime.GOOS != "linux" {
			continue
		}
		if row.name == "pipe" { // which must not block
			if runtime.GOOS == "windows" || exec.Command("mkfifo", row.file).Run() != nil {
				continue
			}
		}
		c, err := ReadClientSecretsFile(row.file)
		switch {
		case row.name == "missing":
			if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "oauth2: ") {
				t.Errorf("missing: %v", err)
			}
		case row.err == "":
			if err != nil || c.ClientID != "cid" {
				t.Errorf("%s: %v", row.name, err)
			}
		case err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") || !strings.Contains(err.Error(), row.err) ||
			!strings.Contains(err.Error(), filepath.Base(row.file)):
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// The URLs that get secrets, and those that don't, at the time of sending too. // B7 B8 XO9 UP17
func TestEndpoints(t *testing.T) {
	t.Parallel()
	good := []string{
		"https://as.example/token", "HTTPS://AS.example:8443/token?tenant=1", "https://[2001:db8::1]/t",
		"https://127.0.0.1/t", "http://127.0.0.1/t", "http://127.255.0.3:80/t", "http://[::1]:8080/t",
		"http://localhost:8080/t",
	}
	bad := []string{
		"http://LocalHost/t", // which net/http sends to a proxy

		"http://as.example/token", "http://127.0.0.1.evil.example/", "http://localhost.evil.example/",
		"http://localhost./", "http://127.1/", "http://0x7f.1/", "http://2130706433/", "http://0177.0.0.1/",
		"http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://[::]/", "http://10.0.0.1/",
		"http://169.254.169.254/", "http://[::1%25lo]/",

		"https://u:p@h/", "https://u@h/", "http://127.0.0.1@evil.example/", "https://h/#f", "https://h/#",

		"https:///t", "https://:443/t", "https:h/t", "https:\\\\h", "https://h\\@evil.example/", "https://h/a\\b",
		"https://h%00/", "https://h/\x00", "https://h/\n", "https://h/ x", " https://h/", "https://h/é",
		"https://[fe80::1%25eth0]/", "https://h:0/", "https://h:/", "https://h:-1/", "https://[::1/", "//h/t", "/t", "",

		"file:///etc/passwd", "javascript:alert(1)", "ftp://h/", "ws://h/", "smb://h/x", "search-ms:query=x", "--help",
		"data:,x",
	}
	for i, raw := range slices.Concat(good, bad) {
		ok := i < len(good)
		u, err := checkEndpoint(raw)
		if (err == nil) != ok || (u != nil) != ok {
			t.Errorf("%q: %v, %v", raw, u, err)
		}
		requests := 0
		c := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
			requests++
			return answering(200, "", tokenAnswer)(req)
		}))
		c.TokenURI = raw
		_, err = NewCredentials(c, NewSecret(canaryRefreshToken)).Refresh(t.Context())
		if (err == nil) != ok || (requests > 0) != ok {
			t.Errorf("refresh at %q: %d requests, %v", raw, requests, err)
		}
		if raw != "" {
			text, _ := url.QueryUnescape(raw)
			if err != nil && len(raw) > 12 &&
				(strings.Contains(err.Error(), raw) || strings.Contains(err.Error(), text)) {
				t.Errorf("%q: the error repeats it: %v", raw, err)
			}
		}
		c.TokenURI, c.AuthURI = "https://as.example/token", raw
		f := NewFlow(c)
		f.RedirectURI = "http://127.0.0.1/"
		if _, err := f.AuthorizationURL(); (err == nil) != ok {
			t.Errorf("authorization at %q: %v", raw, err)
		}
	}
}

// One method of client authentication, never another one after it. // T5 T6 XO10 XO11 CA7 UP42
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, method, secret string
		key                  bool
		want                 string // what is sent, or the error
	}{
		{"default with a secret", "", "cs", false, "header"},
		{"default with a secret and a key", "", "cs", true, "header"},
		{"default with a key", "", "", true, "assertion"},
		{"default with nothing", "", "", false, "id"},
		{"basic", "client_secret_basic", "cs", false, "header"},
		{"post", "client_secret_post", "cs", true, "body"},
		{"assertion", "private_key_jwt", "cs", true, "assertion"},
		{"none", "none", "cs", true, "id"},
		{"basic without a secret", "client_secret_basic", "", true, "header"},
		{"post without a secret", "client_secret_post", "", false, "body"},
		{"assertion without a key", "private_key_jwt", "cs", false, "Key"},
		{"other case", "CLIENT_SECRET_POST", "cs", false, "not supported"},
		{"unknown", "client_secret_jwt", "cs", false, "not supported"},
		{"hostile", "x\x1b[31m", "cs", false, "not supported"},
	} {
		for _, status := range []int{400, 401, 200} {
			answer := answering(status, "Www-Authenticate: Basic realm=x", `{"error":"invalid_client"}`)
			rec := &requestRecorder{answer: answer}
			c := clientOver(rec)
			c.AuthMethod, c.ClientID, c.ClientSecret = row.method, "a:b", NewSecret(row.secret)
			if row.key {
				c.Key = serverKey()
			}
			f := startedFlow(t, clientOver(rec)) // AuthorizationURL refuses some of these
			f.attempt.Load().client = *c
			_, err := f.FetchToken(t.Context(), "code-1")
			_, again := NewCredentials(c, NewSecret("rt-1")).Refresh(t.Context())
			if len(rec.requests) == 0 {
				if err == nil || again == nil || !strings.Contains(err.Error(), row.want) ||
					strings.ContainsRune(err.Error(), '\x1b') {
					t.Errorf("%s: %v, %v", row.name, err, again)
				}
				continue
			}
			if len(rec.requests) != 2 { // one for each grant
				t.Errorf("%s: %d requests", row.name, len(rec.requests))
			}
			for i, req := range rec.requests {
				form, _ := url.ParseQuery(rec.bodies[i])
				id, secret, header := req.BasicAuth()
				var got string
				switch {
				case header && id == "a%3Ab" && secret == row.secret && !form.Has("client_id"):
					got = "header"
				case form.Has("client_secret") && form.Get("client_secret") == row.secret && form.Get("client_id") == "a:b" && !header:
					got = "body"
				case form.Has("client_assertion") && form.Get("client_assertion_type") == jwtBearerAssertion &&
					!header && !form.Has("client_secret"):
					got = "assertion"
				case form.Get("client_id") == "a:b" && !header && !form.Has("client_secret"):
					got = "id"
				}
				if got != row.want || header && form.Has("client_secret") ||
					strings.Contains(rec.bodies[i], "client_assertion") != (got == "assertion") {
					t.Errorf("%s: %s: %v %s", row.name, got, req.Header, rec.bodies[i])
				}
			}
			e := (*Error)(nil)
			if !errors.As(err, &e) || e.Code != "invalid_client" || !strings.Contains(err.Error(), "client secret") {
				t.Errorf("%s: %v", row.name, err)
			}
		}
	}
}

// The first error is the one that is reported, and the code is not spent on a second try. // XO10 T6
func TestFirstErrorIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		as := NewMemoryServer()
		as.RedirectURIs = []string{"https://app.example/cb"}
		c, err := ParseClientSecrets(as.ClientSecretsJSON("web"))
		if err != nil {
			t.Fatal(err)
		}
		c.HTTPClient = &http.Client{Transport: as.Transport()}
		f := NewFlow(c)
		f.RedirectURI = "https://app.example/cb"
		authURL, err := f.AuthorizationURL()
		if err != nil {
			t.Fatal(err)
		}
		redirected, err := as.Authorize(authURL)
		if err != nil {
			t.Fatal(err)
		}
		as.Hook = func(w http.ResponseWriter, r *http.Request) bool {
			writeJSON(w, 400, map[string]string{"error": "redirect_uri_mismatch", "error_description": "first"})
			return true
		}
		_, err = f.FetchTokenFromRedirect(t.Context(), redirected)
		e := (*Error)(nil)
		if !errors.As(err, &e) || e.Code != "redirect_uri_mismatch" || e.Description != "first" ||
			!strings.Contains(err.Error(), `"https://app.example/cb"`) {
			t.Errorf("%v", err)
		}
		if n := as.TokenRequests("authorization_code"); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// FuzzClientSecrets: a file gives a usable client or an error that repeats nothing of it that could be a secret.
func FuzzClientSecrets(f *testing.F) {
	for _, s := range []string{
		secretsFile("installed"), secretsFile("web", "redirect_uris", `["http://localhost/"]`), `{"type":"x"}`,
		`{"web":{},"installed":{}}`, `{"installed":"` + canaryVerifier + `"}`,
		secretsFile("web", "client_secret", `["`+canaryVerifier+`"]`),
		secretsFile("web", "auth_uri", `"http://h/?`+canaryVerifier+`"`), secretsFile("web", "x", `1,"x":2`), ``, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseClientSecrets(data)
		if (c == nil) != (err != nil) {
			t.Fatalf("a client, or an error: %v %v", c, err)
		}
		if err != nil {
			text := err.Error()
			if !strings.HasPrefix(text, "oauth2: ") ||
				!strings.HasPrefix(string(data), `{"type":`) && strings.Contains(text, canaryVerifier) ||
				unprintable(text) {
				t.Fatalf("%q: error %q", data, text)
			}
			return
		}
		if c.ClientID == "" || c.Type != "web" && c.Type != "installed" ||
			c.ClientSecret.empty() != (c.AuthMethod == "none") {
			t.Fatalf("%q: %+v", data, c)
		}
		for _, raw := range []string{c.AuthURI, c.TokenURI} {
			if _, err := checkEndpoint(raw); err != nil {
				t.Fatalf("%q: %q %v", data, raw, err)
			}
		}
		f := NewFlow(c)
		f.RedirectURI = "http://127.0.0.1/"
		f.AuthorizationURL()
	})
}
