package oauth2

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// smallestFile is the smallest file, with more members.
func smallestFile(more string) string {
	return `{"client_id":"c","client_secret":"s","refresh_token":"r"` + more + `}`
}

// Files of others are read, and what is written is read by them and here, to the same credentials.
//
// PY4 PY8 PY11 UP24 UP25 UP26 UP43 XO21
func TestParseCredentials(t *testing.T) {
	t.Parallel()
	const google = `"https://accounts.google.com" "https://oauth2.googleapis.com/revoke" "client_secret_post"`
	for _, tt := range []struct {
		name, file string
		want       []string // parts of credentialsText
	}{
		{
			name: "Python",
			file: pythonFile,
			want: []string{
				`client "1-made-up.apps.googleusercontent.com" "made-up-secret"`,
				`"made-up-secret" "https://oauth2.googleapis.com/token" ` + google,
				`token "ya29.made-up" "1//made-up" "" 2040-08-14 15:54:01.123456 +0000 UTC ["openid"`,
				`scopes ["openid" "https://www.googleapis.com/auth/drive"]; granted false`,
				`unknown ["account=\"\"" "universe_domain=\"googleapis.com\""]`,
			},
		},
		{
			name: "google-oauthlib-tool",
			file: toolFile,
			want: []string{`token "" "1//made-up"`, `scopes ["openid"]`, google},
		},
		{
			name: "gcloud",
			file: gcloudUserFile,
			want: []string{
				`"https://oauth2.googleapis.com/token"`, google, `quota "project-1"`, `scopes []`,
				`token "" "1//made-up" "" 0001-01-01`,
			},
		},
		{name: "smallest", file: smallestFile(``), want: []string{`client "c" "s"`, google}},
		{
			name: "public client",
			file: `{"client_id":"c","client_secret":"","refresh_token":"r"}`,
			want: []string{`client "c" ""`, `"none"`},
		},
		{
			name: "no client_secret",
			file: `{"client_id":"c","refresh_token":"r"}`,
			want: []string{`client "c" ""`, `"none"`},
		},
		{
			name: "nulls",
			file: smallestFile(`,"type":null,"token":null,"expiry":null,"scopes":null,"token_uri":null,` +
				`"id_token":null`),
			want: []string{`token "" "r" "" 0001-01-01`, `scopes []`},
		},
		{name: "access token alone", file: `{"client_id":"c","token":"a"}`, want: []string{`token "a" "" ""`}},
		{name: "token of unknown age", file: smallestFile(`,"token":"a"`), want: []string{`token "" "r"`}},
		{
			name: "private token_uri",
			file: smallestFile(`,"token_uri":"https://as.example/token"`),
			want: []string{`"https://as.example/token" "" "" "client_secret_post"`},
		},
		{
			name: "loopback token_uri",
			file: smallestFile(`,"token_uri":"http://127.0.0.1:8000/token"`),
			want: []string{`"http://127.0.0.1:8000/token" "" ""`},
		},
		{
			name: "another provider",
			file: smallestFile(`,"token_uri":"https://as.example/token","issuer":"https://as.example",` +
				`"revocation_uri":"https://as.example/revoke","token_endpoint_auth_method":"client_secret_basic"`),
			want: []string{`"https://as.example" "https://as.example/revoke" "client_secret_basic"`},
		},
		{name: "scopes as a string", file: smallestFile(`,"scopes":"a b"`), want: []string{`scopes ["a" "b"]`}},
		{name: "empty scopes", file: smallestFile(`,"scopes":""`), want: []string{`scopes []`}},
		{
			name: "scopes in one",
			file: smallestFile(`,"scopes":["a b",""," c"]`),
			want: []string{`scopes ["a" "b" "c"]`},
		},
		{
			name: "granted scopes",
			file: smallestFile(`,"scopes":["a","b"],"granted_scopes":["a"]`),
			want: []string{`["a"]; scopes ["a" "b"]; granted true`},
		},
		{
			name: "nothing granted",
			file: smallestFile(`,"scopes":["a"],"granted_scopes":[]`),
			want: []string{`[]; scopes ["a"]; granted true`},
		},
		{name: "ID token", file: smallestFile(`,"id_token":"i"`), want: []string{`token "" "r" "i"`}},
		{
			name: "expiry with Z",
			file: smallestFile(`,"token":"a","expiry":"2040-01-02T03:04:05Z"`),
			want: []string{`2040-01-02 03:04:05 +0000 UTC`},
		},
		{
			name: "naive expiry",
			file: smallestFile(`,"token":"a","expiry":"2040-01-02T03:04:05.5"`),
			want: []string{`2040-01-02 03:04:05.5 +0000 UTC`},
		},
		{
			name: "expiry at +00:00",
			file: smallestFile(`,"token":"a","expiry":"2040-01-02T03:04:05+00:00"`),
			want: []string{`2040-01-02 03:04:05 +0000 UTC`},
		},
		{
			name: "expiry elsewhere",
			file: smallestFile(`,"token":"a","expiry":"2040-01-02T03:04:05.123456+02:00"`),
			want: []string{`2040-01-02 01:04:05.123456 +0000 UTC`},
		},
		{
			name: "unknown members",
			file: smallestFile(`,"rapt_token":"x","n":12345678901234567890.10,"o":{"Token":[1,{"<":null}]},` +
				`"Token":"not ours"`),
			want: []string{`"n=12345678901234567890.10"`, `"rapt_token=\"x\""`, `"Token=\"not ours\""`, `null`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := ParseCredentials([]byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			got := credentialsText(c)
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s\nlacks %s", got, want)
				}
			}
			data, err := c.MarshalAuthorizedUser()
			if err != nil {
				t.Fatal(err)
			}
			checkPythonReads(t, data)
			again, err := ParseCredentials(data)
			if err != nil || credentialsText(again) != got {
				t.Errorf("read again, %v:\n%v\nnot\n%s", err, credentialsText(again), got)
			}
		})
	}
}

// What is not such a file is refused, and the error says which member it is, or which kind of file, and no value.
//
// PY8
func TestParseCredentialsRefuses(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, file, want string }{
		{"empty", ``, "JSON"},
		{"no object", `["SENTINEL"]`, "object"},
		{"trailing", smallestFile(``) + `{"a":"SENTINEL"}`, "JSON"},
		{"twice", smallestFile(`,"client_id":"SENTINEL"`), "twice"},
		{"too large", smallestFile(`,"x":"` + strings.Repeat("x", maxBody) + `"`), "1 MiB"},
		{"a key", `{"type":"service_account","private_key":"SENTINEL"}`, `"service_account"`},
		{"an external account", `{"type":"external_account","token":"SENTINEL"}`, `"external_account"`},
		{"a type with escapes", `{"type":"a\u001b[31m\n"}`, `"a\x1b[31m\n"`},
		{"client secrets", `{"installed":{"client_id":"c","client_secret":"SENTINEL"}}`, `"client_secrets"`},
		{"no client_id", `{"client_secret":"SENTINEL","refresh_token":"r"}`, "client_id"},
		{"no refresh_token", `{"client_id":"c","client_secret":"SENTINEL"}`, "refresh_token"},
		{"http token_uri", smallestFile(`,"token_uri":"http://as.example/SENTINEL"`), "token_uri"},
		{"no URL", smallestFile(`,"token_uri":"SENTINEL"`), "token_uri"},
		{"user in token_uri", smallestFile(`,"token_uri":"https://oauth2.googleapis.com@as.example/SENTINEL"`),
			"token_uri"},
		{"expiry in words", smallestFile(`,"expiry":"SENTINEL"`), "a expiry that"},
		{"expiry without a time", smallestFile(`,"expiry":"2040-01-02"`), "a expiry that"},
		{"line break in a token", `{"client_id":"c","refresh_token":"SENTINEL\r\n"}`, "a refresh_token that"},
		{"space in a token", smallestFile(`,"token":"SENTINEL SENTINEL"`), "a token that"},
		{"long token", smallestFile(`,"token":"` + strings.Repeat("a", maxToken+1) + `"`), "a token that"},
		{"scopes of numbers", smallestFile(`,"scopes":[1234567]`), "a scopes that"},
		{"scopes in scopes", smallestFile(`,"scopes":[["SENTINEL"]]`), "a scopes that"},
		{"another case", `{"Client_id":"c","refresh_token":"SENTINEL"}`, "client_id"},
	}
	for _, name := range []string{
		"type", "client_id", "client_secret", "refresh_token", "token_uri", "token", "expiry", "scopes",
		"id_token", "quota_project_id", "granted_scopes", "issuer", "revocation_uri", "token_endpoint_auth_method",
	} {
		if !slices.Contains(userMembers, name) {
			t.Errorf("%s is unknown", name)
		}
		for _, value := range []string{`1234567`, `{"x":"SENTINEL"}`, `true`, `["SENTINEL",1]`} {
			rows = append(rows, struct{ name, file, want string }{
				name + " as " + value, `{"` + name + `":` + value + `}`, "a " + name + " that",
			})
		}
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := ParseCredentials([]byte(tt.file))
			if c != nil || err == nil {
				t.Fatal("accepted")
			}
			text := err.Error()
			if !strings.HasPrefix(text, "oauth2: ") || !strings.Contains(text, tt.want) ||
				strings.Contains(text, "SENTINEL") || strings.Contains(text, "1234567") {
				t.Errorf("%.300s; want %s", text, tt.want)
			}
		})
	}
}

// What is marshaled is all of it, whatever the credentials come from, and works afterwards as before.
//
// PY4 PY5 PY11 XO21 UP24 UP42
func TestMarshalAuthorizedUser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method string // of the server
		client       func(*ClientSecrets)
	}{
		{"as in Google's files", "client_secret_post", func(*ClientSecrets) {}},
		{"default method", "client_secret_basic", func(c *ClientSecrets) { c.AuthMethod = "" }},
		{"basic", "client_secret_basic", func(*ClientSecrets) {}},
		{"public", "none", func(c *ClientSecrets) { c.ClientSecret, c.AuthMethod = Secret{}, "" }},
		{"public, and said so", "none", func(c *ClientSecrets) { c.ClientSecret = Secret{} }},
		{"issuer and revocation", "client_secret_post", func(c *ClientSecrets) {
			c.Issuer, c.RevocationURI = "https://as.example", "https://as.example/revoke"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(123456789 * time.Nanosecond) // an expiry finer than a microsecond
				s := NewMemoryServer()
				s.AuthMethod, s.Rotate = tt.method, true
				client := clientOf(s)
				tt.client(client)
				s.GrantScopes = func([]string) []string { return []string{"openid", "a"} }
				flow := NewFlow(client, "openid", "a", "b")
				flow.RedirectURI = "http://127.0.0.1:8000/"
				authURL, err := flow.AuthorizationURL()
				if err != nil {
					t.Fatal(err)
				}
				redirected, _ := s.Authorize(authURL)
				signed, err := flow.FetchTokenFromRedirect(t.Context(), redirected)
				if err != nil {
					t.Fatal(err)
				}
				other := NewCredentials(client, NewSecret(s.IssueRefreshToken("openid", "a")), "a")
				for _, creds := range []*Credentials{signed, other} {
					for round := range 3 {
						tok, err := creds.Token(t.Context())
						if err != nil {
							t.Fatal(round, err)
						}
						data, err := creds.MarshalAuthorizedUser()
						if err != nil {
							t.Fatal(round, err)
						}
						checkPythonReads(t, data)
						loaded, err := ParseCredentials(data)
						if err != nil {
							t.Fatal(round, err)
						}
						loaded.client.HTTPClient = client.HTTPClient
						before := s.TokenRequests("")
						got, err := loaded.Token(t.Context())
						if err != nil || got.AccessToken.Reveal() != tok.AccessToken.Reveal() ||
							!got.Expiry.Equal(tok.Expiry.Truncate(time.Microsecond)) ||
							got.IDToken.Reveal() != tok.IDToken.Reveal() || s.TokenRequests("") != before {
							t.Errorf("round %d: %v, %v; expires %v, not %v; %d requests", round, got, err, got.Expiry,
								tok.Expiry, s.TokenRequests("")-before)
						}
						if creds == signed && (fmt.Sprint(got.Scopes) != "[openid a]" || got.IDToken.empty()) {
							t.Errorf("round %d: scopes %v, ID token %v", round, got.Scopes, got.IDToken)
						}
						creds = loaded
						time.Sleep(time.Hour) // the next round refreshes
					}
				}
				if s.Reuses() != 0 {
					t.Errorf("%d reuses", s.Reuses())
				}
			})
		})
	}
	client := &ClientSecrets{ClientID: "c", TokenURI: "https://oauth2.googleapis.com/token"}
	data, err := NewCredentials(client, NewSecret("r")).MarshalAuthorizedUser()
	if err != nil || bytes.Contains(data, []byte("expiry")) || bytes.Contains(data, []byte("0001")) ||
		!bytes.Contains(data, []byte(`"client_secret": ""`)) {
		t.Errorf("%s, %v", data, err)
	}
}

// A stored token that has expired is not used, and one that lives on is, near its end too.
//
// PY4 UP26
func TestParsedExpiry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		left  time.Duration
		zone  int // seconds east of UTC
		fresh bool
	}{
		{"an hour", time.Hour, 0, true},
		{"an hour, elsewhere", time.Hour, 7200, true},
		{"an hour, in the west", time.Hour, -39600, true},
		{"a second", time.Second, 0, true},
		{"over", 0, 0, false},
		{"long over, elsewhere", -time.Hour, 7200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				expiry := time.Now().Add(tt.left).In(time.FixedZone("", tt.zone)).Format(time.RFC3339)
				file := fmt.Appendf(nil, `{"client_id":%q,"client_secret":%q,"refresh_token":%q,"token_uri":%q,`+
					`"token":"stored","expiry":%q}`,
					s.ClientID, s.ClientSecret, s.IssueRefreshToken("a"), s.URL+"/token", expiry)
				c, err := ParseCredentials(file)
				if err != nil {
					t.Fatal(err)
				}
				c.client.HTTPClient = clientOf(s).HTTPClient
				got := tokenOrError(t.Context(), c)
				if (got == "stored") != tt.fresh || !tt.fresh && !strings.HasPrefix(got, "at-") {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

// Whatever a file has, it is refused or read; what is read is written so that Python reads it, and read again as the
// same.
func FuzzCredentials(f *testing.F) {
	for _, file := range []string{
		pythonFile, toolFile, gcloudUserFile, smallestFile(``),
		smallestFile(`,"scopes":"a b","expiry":"2040-01-02T03:04:05+02:00"`),
		smallestFile(`,"granted_scopes":["a"],"id_token":"i.j.k","x":{"y":[1e400,"<\u2028>"]}`),
		`{"client_id":"c","token":"a"}`,
	} {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCredentials(data)
		if (c == nil) == (err == nil) {
			t.Fatal("neither or both of credentials and error")
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "oauth2: ") {
				t.Error(err)
			}
			return
		}
		if tok := c.cache.current.Load(); time.Now().UnixNano() < tok.freshUntil && !tok.Valid() {
			t.Errorf("an expired token is fresh: %v", tok.Expiry)
		}
		out, err := c.MarshalAuthorizedUser()
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > maxBody {
			t.Skip("more indented than a file may be")
		}
		checkPythonReads(t, out)
		again, err := ParseCredentials(out)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		before := credentialsText(c)
		c.cache.current.Load().Expiry = c.cache.current.Load().Expiry.Truncate(time.Microsecond)
		if got := credentialsText(again); got != credentialsText(c) && got != before {
			t.Errorf("read again:\n%s\nnot\n%s", got, before)
		}
	})
}
