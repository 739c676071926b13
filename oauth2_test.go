package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// The harness itself: it must see a secret wherever one can show.
func TestNoSecretSees(t *testing.T) {
	t.Parallel()
	const secret = `SENTINEL-X/+%&<"\`
	type unexported struct{ s string }
	for name, v := range map[string]any{
		"string":     secret,
		"bytes":      []byte(secret),
		"unexported": unexported{secret},
		"pointer":    &unexported{secret},
		"map":        map[string]string{"k": secret},
		"key":        map[string]int{secret: 1},
		"error":      fmt.Errorf("x: %w", fmt.Errorf("%x", secret)),
		"query":      url.Values{"k": {secret}}.Encode(),
		"base64":     base64.StdEncoding.EncodeToString([]byte("id:" + secret + "!")),
		"base64url":  base64.RawURLEncoding.EncodeToString([]byte("abcd" + secret)),
		"quoted":     strconv.Quote(secret),
		"json":       json.RawMessage(`{"k":"SENTINEL-X/+%&\u003c\"\\"}`),
		"struct":     struct{ T struct{ Access string } }{struct{ Access string }{secret}},
	} {
		probe := &failureProbe{TB: t}
		noSecret(probe, v, secret)
		if !probe.failed {
			t.Errorf("%s: the secret was not seen", name)
		}
	}
	noSecret(t, "SENTINEL-Y", secret)
}

type failureProbe struct {
	testing.TB
	failed bool
}

func (p *failureProbe) Errorf(string, ...any) { p.failed = true }

// A tokenResponse is an answer of a token endpoint, with status 200, and what becomes of it.
type tokenResponse struct {
	name, body string
	access     string // token; "": "a"
	refresh    string // token that is kept; "": the one that there was
	expires    int    // in so many seconds; 0: never
	err        string // if it is refused
}

func goodTokenResponses() []tokenResponse {
	const most = 315360000 // ten years
	return []tokenResponse{
		{name: "R2 upper case", body: `{"access_token":"a","token_type":"BEARER"}`},
		{name: "R2 lower case", body: `{"access_token":"a","token_type":"bearer"}`},
		{name: "R2 absent", body: `{"access_token":"a"}`},
		{name: "R5 other case", body: `{"access_token":"a","ACCESS_TOKEN":"c","Expires_In":5}`},
		{
			name: "R8 just not too deep",
			body: `{"access_token":"a","x":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
		},
		{name: "R9 number", body: `{"access_token":"a","expires_in":3600}`, expires: 3600},
		{name: "R9 string", body: `{"access_token":"a","expires_in":"3600"}`, expires: 3600},
		{name: "R9 point", body: `{"access_token":"a","expires_in":3600.0}`, expires: 3600},
		{name: "R9 exponent", body: `{"access_token":"a","expires_in":3.6e3}`, expires: 3600},
		{name: "R9 fraction", body: `{"access_token":"a","expires_in":3599.5}`, expires: 3599},
		{name: "R9 fraction in a string", body: `{"access_token":"a","expires_in":"3600.5"}`, expires: 3600},
		{name: "R9 empty", body: `{"access_token":"a","expires_in":""}`},
		{name: "R9 null", body: `{"access_token":"a","expires_in":null}`},
		{name: "R10 zero", body: `{"access_token":"a","expires_in":0}`},
		{name: "R10 negative W22", body: `{"access_token":"a","expires_in":-1}`},
		{name: "R10 very negative W22", body: `{"access_token":"a","expires_in":-99999999999}`},
		{
			name:    "R10 new refresh token with a negative lifetime W22",
			body:    `{"access_token":"a","refresh_token":"rt-2","expires_in":-1}`,
			refresh: "rt-2",
		},
		{name: "R10 ten years", body: `{"access_token":"a","expires_in":315360000}`, expires: most},
		{name: "R10 more", body: `{"access_token":"a","expires_in":315360001}`, expires: most},
		{name: "R10 largest duration", body: `{"access_token":"a","expires_in":9223372036}`, expires: most},
		{name: "R10 beyond a duration X3", body: `{"access_token":"a","expires_in":9223372037}`, expires: most},
		{name: "R10 large in a string", body: `{"access_token":"a","expires_in":"9999999999999"}`, expires: most},
		{name: "R10 beyond int64", body: `{"access_token":"a","expires_in":99999999999999999999}`, expires: most},
		{name: "R10 1e30", body: `{"access_token":"a","expires_in":1e30}`, expires: most},
		{name: "R10 beyond float64", body: `{"access_token":"a","expires_in":1e400}`, expires: most},
		{name: "R11 no lifetime", body: `{"access_token":"a"}`},
		{name: "R17 scope is a list W20", body: `{"access_token":"a","scope":["x"]}`},
		{name: "R17 empty refresh token", body: `{"access_token":"a","refresh_token":""}`},
		{name: "R19 unknown members", body: `{"access_token":"a","x":[1,2],"y":{"access_token":"b"},"z":null}`},
		{name: "M50 new refresh token", body: `{"access_token":"a","refresh_token":"rt-2"}`, refresh: "rt-2"},
		{
			name:   "limit access",
			body:   `{"access_token":"` + strings.Repeat("a", maxToken) + `"}`,
			access: strings.Repeat("a", maxToken),
		},
		{
			name:    "limit refresh",
			body:    `{"access_token":"a","refresh_token":"` + strings.Repeat("a", maxToken) + `"}`,
			refresh: strings.Repeat("a", maxToken),
		},
		{name: "limit id token W8", body: `{"access_token":"a","id_token":"` + strings.Repeat("a", maxIDToken) + `"}`},
		{name: "limit body", body: strings.Repeat(" ", maxBody-len(`{"access_token":"a"}`)) + `{"access_token":"a"}`},
	}
}

func badTokenResponses() []tokenResponse {
	return []tokenResponse{
		{name: "R1 no access token", body: `{"refresh_token":"rt-2"}`, err: "no access_token"},
		{name: "R1 empty object", body: `{}`, err: "no access_token"},
		{name: "R1 empty", body: `{"access_token":"","refresh_token":"rt-2"}`, err: "no access_token"},
		{name: "R1 null", body: `{"access_token":null,"refresh_token":"rt-2"}`, err: "no access_token"},
		{
			name: "R1 number",
			body: `{"access_token":123,"refresh_token":"rt-2"}`,
			err:  "access_token that is not a string",
		},
		{name: "R1 document is null", body: `null`, err: "not a JSON object"},
		{name: "R1 document is a list", body: `["x"]`, err: "not a JSON object"},
		{name: "R1 document is a string", body: `"x"`, err: "not a JSON object"},
		{name: "R2 mac", body: `{"access_token":"a","token_type":"mac"}`, err: "other than Bearer"},
		{name: "R2 DPoP", body: `{"access_token":"a","token_type":"DPoP"}`, err: "other than Bearer"},
		{name: "R2 N_A", body: `{"access_token":"a","token_type":"N_A"}`, err: "other than Bearer"},
		{name: "R2 number", body: `{"access_token":"a","token_type":5}`, err: "token_type"},
		{name: "R3 header injection", body: `{"access_token":"a\r\nX: y"}`, err: "access_token that is too long"},
		{name: "R3 NUL", body: `{"access_token":"a\u0000b"}`, err: "access_token"},
		{name: "R3 tab", body: `{"access_token":"a\tb"}`, err: "access_token"},
		{name: "R3 letter", body: `{"access_token":"é"}`, err: "access_token"},
		{name: "R3 space", body: `{"access_token":"a b"}`, err: "access_token"},
		{name: "R3 space first", body: `{"access_token":" a"}`, err: "access_token"},
		{name: "R3 space last", body: `{"access_token":"a "}`, err: "access_token"},
		{name: "R3 DEL", body: `{"access_token":"a\u007f"}`, err: "access_token"},
		{name: "R3 refresh token", body: `{"access_token":"a","refresh_token":"b\n"}`, err: "refresh_token"},
		{name: "R4 twice", body: `{"access_token":"a","access_token":"b"}`, err: "twice"},
		{name: "R4 twice, escaped", body: `{"access_token":"a","access\u005ftoken":"b"}`, err: "twice"},
		{name: "R4 twice, inside", body: `{"access_token":"a","x":[{"y":1,"y":2}]}`, err: "twice"},
		{name: "R5 only in other case", body: `{"Access_Token":"a"}`, err: "no access_token"},
		{name: "R6 two documents", body: `{"access_token":"a"}{}`, err: "not valid JSON"},
		{name: "R6 trailing text", body: `{"access_token":"a"} x`, err: "not valid JSON"},
		{name: "R6 byte order mark", body: "\ufeff" + `{"access_token":"a"}`, err: "not a JSON object"},
		{name: "R7 invalid UTF-8", body: `{"access_token":"a","x":"` + "\xff" + `"}`, err: "not valid JSON in UTF-8"},
		{name: "R7 lone surrogate", body: `{"access_token":"a\ud800"}`, err: "access_token"},
		{
			name: "R8 deep",
			body: `{"access_token":"a","x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
			err:  "nested too deeply",
		},
		{name: "R9 word", body: `{"access_token":"a","expires_in":"abc"}`, err: "expires_in"},
		{name: "R9 true", body: `{"access_token":"a","expires_in":true}`, err: "expires_in"},
		{name: "R9 list", body: `{"access_token":"a","expires_in":[]}`, err: "expires_in"},
		{name: "R9 object", body: `{"access_token":"a","expires_in":{}}`, err: "expires_in"},
		{name: "R9 NaN", body: `{"access_token":"a","expires_in":"NaN"}`, err: "expires_in"},
		{name: "R9 infinity", body: `{"access_token":"a","expires_in":"inf"}`, err: "expires_in"},
		{name: "R9 hexadecimal", body: `{"access_token":"a","expires_in":"0x1p4"}`, err: "expires_in"},
		{name: "R9 spaces", body: `{"access_token":"a","expires_in":" 60"}`, err: "expires_in"},
		{
			name:    "R10 new refresh token with a bad lifetime",
			body:    `{"access_token":"a","refresh_token":"rt-2","expires_in":"-x"}`,
			refresh: "rt-2",
			err:     "expires_in",
		},
		{
			name: "R17 refresh token is an object",
			body: `{"access_token":"a","refresh_token":{}}`,
			err:  "refresh_token that is not a string",
		},
		{name: "R17 id token is a number", body: `{"access_token":"a","id_token":5}`, err: "id_token"},
		{name: "R17 scope is a number", body: `{"access_token":"a","scope":5}`, err: "scope"},
		{name: "R17 scope is an object", body: `{"access_token":"a","scope":{"x":true}}`, err: "scope"},
		{name: "R17 scope is a list of numbers", body: `{"access_token":"a","scope":["x",5]}`, err: "scope"},
		{
			name: "limit access + 1",
			body: `{"access_token":"` + strings.Repeat("a", maxToken+1) + `"}`,
			err:  "access_token that is too long",
		},
		{
			name: "limit refresh + 1",
			body: `{"access_token":"a","refresh_token":"` + strings.Repeat("a", maxToken+1) + `"}`,
			err:  "refresh_token that is too long",
		},
		{
			name: "limit id token + 1",
			body: `{"access_token":"a","id_token":"` + strings.Repeat("a", maxIDToken+1) + `"}`,
			err:  "id_token that is too long",
		},
		{
			name: "limit body + 1",
			body: strings.Repeat(" ", maxBody-len(`{"access_token":"a"}`)+1) + `{"access_token":"a"}`,
			err:  "larger than 1 MiB",
		},
	}
}

// Answers of a token endpoint: what is kept of them. // XO19 XO20 XO27 XO28 CA9 CA10 LB3 PY6 PY12
func TestTokenResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, row := range slices.Concat(goodTokenResponses(), badTokenResponses()) {
			// R13: any type will do for JSON
			creds := NewCredentials(clientOver(answering(200, "Content-Type: text/plain", row.body)),
				NewSecret(canaryRefreshToken))
			tok, err := creds.Refresh(t.Context())
			kept := creds.cache.current.Load()
			if got := kept.RefreshToken.Reveal(); got != cmp.Or(row.refresh, canaryRefreshToken) {
				t.Errorf("%s: refresh token %.40q, want %.40q", row.name, got, row.refresh)
			}
			if row.err != "" {
				var e *Error
				if !errors.As(err, &e) || e.StatusCode != 200 || e.Temporary() ||
					!strings.Contains(err.Error(), row.err) || kept.Valid() {
					t.Errorf("%s: got %v, kept %+v", row.name, err, kept)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", row.name, err)
				continue
			}
			want := time.Time{}
			if row.expires > 0 {
				want = time.Now().Add(time.Duration(row.expires) * time.Second).Round(0)
			}
			if tok.AccessToken.Reveal() != cmp.Or(row.access, "a") || !tok.Expiry.Equal(want) ||
				!tok.Valid() {
				t.Errorf("%s: got %+v, want %q until %v", row.name, tok, row.access, want)
			}
			file, err := creds.MarshalAuthorizedUser() // R12: whatever the lifetime, and without a made-up date
			if err != nil || bytes.Contains(file, []byte(`"expiry"`)) == want.IsZero() {
				t.Errorf("%s: %s %v", row.name, file, err)
			} else if _, err := ParseCredentials(file); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
	})
	var tok Token // XO20: a Token is not what a server sends
	if err := json.Unmarshal([]byte(`{"access_token":"a","expires_in":1}`), &tok); err == nil && tok.Valid() {
		t.Error("XO20: a Token was decoded from a server's JSON")
	}
}

// A tokenRefusal is an answer that is none, and what the error says.
type tokenRefusal struct {
	name         string
	status       int // 0: 400
	header, body string
	code, desc   string // of the Error
	text         string
}

func refusals() []tokenRefusal {
	hostile := "a\x1b[31m\n\x00\u202e\u009b\x7fé"
	quoted, _ := json.Marshal(hostile)
	longCode, longText := strings.Repeat("c", 256), strings.Repeat("c", maxErrorText)
	return []tokenRefusal{
		{
			name:   "R13 portal",
			status: 200,
			header: "Content-Type: text/html",
			body:   "<html>" + canaryRefreshToken,
			text:   "captive portal",
		},
		{
			name:   "R13 form",
			status: 200,
			header: "Content-Type: application/x-www-form-urlencoded",
			body:   "access_token=" + canaryRefreshToken,
			text:   "not a JSON object",
		},
		{
			name:   "R13 type is not JSON's",
			status: 200,
			header: "Content-Type: text/html",
			body:   `{"error":"x"}`,
			code:   "x",
			text:   "x",
		},
		{
			name:   "R14 error wins",
			status: 200,
			body:   `{"error":"invalid_scope","access_token":"` + "x" + `"}`,
			code:   "invalid_scope",
			text:   "invalid_scope",
		},
		{
			name:   "R15 no JSON",
			status: 500,
			header: "Content-Type: text/plain",
			body:   "no: " + canaryRefreshToken,
			text:   "no OAuth error",
		},
		{
			name:   "R15 HTML",
			status: 403,
			header: "Content-Type: Text/HTML",
			body:   "<b>" + canaryClientSecret,
			text:   "captive portal",
		},
		{
			name: "R16 echo",
			body: `{"error":"x","error_description":"bad token SENTINEL-RT/+%&<\"\\ of SENTINEL-SECRET/+%&<\"\\."}`,
			code: "x",
			text: "answered x (status 400)",
		},
		{
			name: "R16 echo, encoded",
			body: `{"error":"x","error_description":"bad token SENTINEL-RT%2F%2B%25%26%3C%22%5C"}`,
			code: "x",
			text: "answered x (status 400)",
		},
		{
			name: "R16 echo as the code",
			body: `{"error":"SENTINEL-RT/+%&<\"\\"}`,
			text: "no OAuth error",
		},
		{
			name: "R16 echo as the URI",
			body: `{"error":"x","error_uri":"https://as.example/SENTINEL-RT/+%&<\"\\"}`,
			code: "x",
			text: "x",
		},
		{
			name: "R16 echo beyond the cut",
			body: `{"error":"x","error_description":"` + strings.Repeat("y", maxErrorText-9) + `SENTINEL-RT/+%&<\"\\"}`,
			code: "x",
			text: "answered x (status 400)",
		},
		{
			name: "R16 echo, cut to less than what gives it away",
			body: `{"error":"x","error_description":"` + strings.Repeat("y", maxErrorText-7) + `SENTINEL-RT/+%&<\"\\"}`,
			code: "x",
			desc: strings.Repeat("y", maxErrorText-7) + "SENTINE",
			text: "yySENTINE",
		},
		{name: "R18 no content", status: 204, text: "empty"},
		{name: "R18 empty", status: 200, text: "empty"},
		{
			name:   "S5 literal in a string",
			status: 200,
			body:   `{"access_token":"a","expires_in":"SENTINEL-RT/"}`,
			text:   "expires_in",
		},
		{
			name:   "S5 literal number",
			status: 200,
			body:   `{"access_token":"a","refresh_token":12345678901234567890123}`,
			text:   "refresh_token",
		},
		{
			name: "S9 hostile text",
			body: `{"error":` + string(quoted) + `,"error_description":` + string(quoted) + `}`,
			code: "a?[31m??????",
			desc: "a?[31m??????",
			text: "a?[31m",
		},
		{
			name:   "S9 hostile type",
			status: 200,
			body:   `{"access_token":"a","token_type":` + string(quoted) + `}`,
			text:   "other than Bearer",
		},
		{name: "S9 hostile header", status: 200, header: "Content-Type: text/html;\x1b[31m", text: "captive portal"},
		{
			name: "XO26 error is an object",
			body: `{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"no"}}`,
			code: "INVALID_ARGUMENT",
			desc: "no",
			text: "INVALID_ARGUMENT",
		},
		{name: "XO26 error is a list", body: `{"error":["x"]}`, text: "no OAuth error"},
		{name: "XO26 error is a number", status: 200, body: `{"error":5,"access_token":"a"}`, text: "no OAuth error"},
		{name: "limit code", body: `{"error":"` + longCode + `"}`, code: longCode, text: "ccc"},
		{name: "limit code + 1", body: `{"error":"` + longCode + `d"}`, code: longCode, text: "ccc"},
		{
			name: "limit description",
			body: `{"error":"x","error_description":"` + longText + `"}`,
			code: "x",
			desc: longText,
			text: "ccc",
		},
		{
			name: "limit description + 1",
			body: `{"error":"x","error_description":"` + longText + `d"}`,
			code: "x",
			desc: longText,
			text: "ccc",
		},
		{name: "limit body + 1", body: `{"error":"x"}` + strings.Repeat(" ", maxBody), text: "larger than 1 MiB"},
	}
}

// Answers that are refusals. // R13 R14 R15 R16 R18 S5 S9 XO25 XO26 XO27 LB3
func TestTokenRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, row := range refusals() {
			status := cmp.Or(row.status, 400)
			creds := NewCredentials(clientOver(answering(status, row.header, row.body)), NewSecret(canaryRefreshToken))
			_, err := creds.Refresh(t.Context())
			var e *Error
			if !errors.As(err, &e) || e.StatusCode != status || e.Code != row.code || e.Description != row.desc ||
				!strings.Contains(err.Error(), row.text) {
				t.Errorf("%s: got %#v: %v", row.name, e, err)
				continue
			}
			for _, s := range []string{e.Error(), e.Code, e.Description, e.URI} {
				if unprintable(s) {
					t.Errorf("%s: not printable: %q", row.name, s)
				}
			}
			noSecret(t, err, append(canaries, "SENTINEL-RT", "12345678901234567890123")...)
		}
	})
}

// Whatever a server repeats of a request is cut out of the error, however the client authenticates. // R16 XO25
func TestErrorsRedactEcho(t *testing.T) {
	t.Parallel()
	key := serverKey()
	basic, post, assertion := clientOver(nil), clientOver(nil), clientOver(nil)
	basic.AuthMethod, assertion.AuthMethod, assertion.Key = "client_secret_basic", "private_key_jwt", key
	sa := &ServiceAccountCredentials{Email: "sa@example.com", TokenURI: "https://as.example/token", cache: new(tokenCache)}
	var err error
	if sa.signer, err = newSigner(key, ""); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(ctx context.Context, c *http.Client) error{
		"basic": func(ctx context.Context, c *http.Client) error {
			basic.HTTPClient = c
			return errorOf(NewCredentials(basic, NewSecret(canaryRefreshToken)).Refresh(ctx))
		},
		"post": func(ctx context.Context, c *http.Client) error {
			post.HTTPClient = c
			return errorOf(NewCredentials(post, NewSecret(canaryRefreshToken)).Refresh(ctx))
		},
		"assertion": func(ctx context.Context, c *http.Client) error {
			assertion.HTTPClient = c
			return errorOf(NewCredentials(assertion, NewSecret(canaryRefreshToken)).Refresh(ctx))
		},
		"client": func(ctx context.Context, c *http.Client) error {
			basic.HTTPClient = c
			return errorOf((&ClientCredentials{Client: basic, Scopes: []string{"x"}}).Token(ctx))
		},
		"account": func(ctx context.Context, c *http.Client) error { sa.HTTPClient = c; return errorOf(sa.Token(ctx)) },
		"bearer": func(ctx context.Context, c *http.Client) error {
			r := &request{
				op:     "testing",
				url:    "https://as.example/",
				json:   "{}",
				client: c,
				header: http.Header{"Authorization": {"Bearer " + canaryAccessToken}},
			}
			_, err := r.do(ctx)
			return err
		},
		"code": func(ctx context.Context, c *http.Client) error {
			client := *basic
			client.HTTPClient = c
			return errorOf(startedFlow(t, &client).FetchToken(ctx, canaryCode))
		},
	} {
		secrets := slices.Clone(canaries)
		rt := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			form, _ := url.ParseQuery(string(body))
			echo := []string{string(body), req.Header.Get("Authorization")}
			if id, secret, ok := req.BasicAuth(); ok {
				plain, _ := url.QueryUnescape(secret)
				echo = append(echo, id, secret, plain)
				secrets = append(secrets, strings.TrimPrefix(req.Header.Get("Authorization"), "Basic "))
			}
			for k, v := range form {
				if strings.Contains(k, "assertion") && k != "client_assertion_type" {
					secrets = append(secrets, v[0])
				}
				echo = append(echo, v[0])
			}
			answer, _ := json.Marshal(map[string]string{
				"error":             "invalid_client",
				"error_description": strings.Join(echo, " "),
				"error_uri":         strings.Join(echo, "&"),
			})
			return answering(401, "", string(answer))(req)
		})
		err := call(t.Context(), &http.Client{Transport: rt})
		e := (*Error)(nil)
		if !errors.As(err, &e) || e.Code != "invalid_client" || e.Description != "" || e.URI != "" {
			t.Errorf("%s: got %#v", name, err)
		}
		noSecret(t, err, secrets...)
	}
}

// What programs go by is not cut, however weak the secret.
func TestCodeSurvives(t *testing.T) {
	t.Parallel()
	c := clientOver(answering(400, "", `{"error":"invalid_grant"}`))
	c.ClientSecret = NewSecret("grant")
	_, err := NewCredentials(c, NewSecret("i")).Refresh(t.Context())
	if e := (*Error)(nil); !errors.As(err, &e) || e.Code != "invalid_grant" || !errors.Is(err, ErrLoginRequired) {
		t.Error(err)
	}
}

func errorOf(_ any, err error) error { return err }

// X4
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		for s, want := range map[string]time.Duration{
			"": 0, "0": 0, "-1": 0, "1.5": 0, "1e9": 0, "0x10": 0, " 5": 0, "soon": 0, "5, 6": 0,

			"1":          time.Second,
			"299":        299 * time.Second,
			"300":        maxRetryAfter,
			"301":        maxRetryAfter,
			"1000000000": maxRetryAfter,
			"9223372037": maxRetryAfter,

			"99999999999999999999":                        maxRetryAfter,
			now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
			now.Add(-time.Minute).Format(http.TimeFormat): 0,
			now.Add(time.Hour).Format(http.TimeFormat):    maxRetryAfter,
			"Fri, 31 Dec 9999 23:59:59 GMT":               maxRetryAfter,
			"Mon, 01 Jan 0001 00:00:00 GMT":               0,
		} {
			if got := waitAsked(s); got != want {
				t.Errorf("%q: %v, want %v", s, got, want)
			}
		}
	})
}

// What is sent, to the byte: RFC 6749, Sections 4.1.3, 4.4.2 and 6, and what Google's tools send.
//
// T4 T5 T7 T9 CA7 UP42
func TestTokenRequest(t *testing.T) {
	t.Parallel()
	const form, verifier = "application/x-www-form-urlencoded", "&code_verifier=" + canaryVerifier
	refresh := func(token string, scopes ...string) func(c *ClientSecrets) error {
		return func(c *ClientSecrets) error {
			return errorOf(NewCredentials(c, NewSecret(token), scopes...).Refresh(t.Context()))
		}
	}
	exchange := func(redirect, code string, params url.Values) func(c *ClientSecrets) error {
		return func(c *ClientSecrets) error {
			f := NewFlow(c)
			f.RedirectURI, f.Params = redirect, params
			if _, err := f.AuthorizationURL(); err != nil {
				return err
			}
			f.attempt.Load().verifier = NewSecret(canaryVerifier)
			return errorOf(f.FetchToken(t.Context(), code))
		}
	}
	for _, row := range []struct {
		name, method, id, secret string
		call                     func(c *ClientSecrets) error
		auth, body               string
	}{
		{
			name:   "RFC 6749, 4.1.3",
			id:     "s6BhdRkqt3",
			secret: "gX1fBat3bV",
			call:   exchange("https://client.example.com/cb", "SplxlOBeZQQYbYS6WxSbIA", nil),
			auth:   "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW",
			body: "code=SplxlOBeZQQYbYS6WxSbIA" + verifier +
				"&grant_type=authorization_code&redirect_uri=https%3A%2F%2Fclient.example.com%2Fcb",
		},
		{
			name:   "RFC 6749, 6",
			id:     "s6BhdRkqt3",
			secret: "gX1fBat3bV",
			call:   refresh("tGzv3JOkF0XG5Qx2TlKWIA"),
			auth:   "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW",
			body:   "grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA",
		},
		{
			name:   "RFC 6749, 4.4.2",
			method: "client_secret_basic",
			id:     "s6BhdRkqt3",
			secret: "gX1fBat3bV",
			call:   func(c *ClientSecrets) error { return errorOf((&ClientCredentials{Client: c}).Token(t.Context())) },
			auth:   "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW",
			body:   "grant_type=client_credentials",
		},
		{
			name:   "Google, code",
			method: "client_secret_post",
			id:     "cid",
			secret: "s3:cr/et",
			call:   exchange("http://localhost:8080/", "4/abc", url.Values{"audience": {"aud1"}}),
			body: "audience=aud1&client_id=cid&client_secret=s3%3Acr%2Fet&code=4%2Fabc" + verifier +
				"&grant_type=authorization_code&redirect_uri=http%3A%2F%2Flocalhost%3A8080%2F",
		},
		{
			name:   "Google, refresh",
			method: "client_secret_post",
			id:     "cid",
			secret: "s3:cr/et",
			call:   refresh("1//rt", "a", "b"),
			body: "client_id=cid&client_secret=s3%3Acr%2Fet&grant_type=refresh_token&refresh_token=1%2F%2Frt&" +
				"scope=a+b",
		},
		{
			name: "public, code",
			id:   "cid",
			call: exchange("http://127.0.0.1/", "c", nil),
			body: "client_id=cid&code=c" + verifier +
				"&grant_type=authorization_code&redirect_uri=http%3A%2F%2F127.0.0.1%2F",
		},
		{
			name:   "public, refresh",
			method: "none",
			id:     "cid",
			call:   refresh("rt"),
			body:   "client_id=cid&grant_type=refresh_token&refresh_token=rt",
		},
		{
			name:   "basic is encoded first",
			method: "client_secret_basic",
			id:     "a:b",
			secret: "p%+ ü",
			call:   refresh("rt"),
			auth:   "Basic YSUzQWI6cCUyNSUyQislQzMlQkM=",
			body:   "grant_type=refresh_token&refresh_token=rt",
		},
		{
			name:   "basic is encoded first, as Google does not",
			id:     "cid",
			secret: "s3:cr/et",
			call:   refresh("rt"),
			auth:   "Basic Y2lkOnMzJTNBY3IlMkZldA==",
			body:   "grant_type=refresh_token&refresh_token=rt",
		},
		{
			name:   "not after all",
			method: "none",
			id:     "cid",
			secret: "secret",
			call:   refresh("rt"),
			body:   "client_id=cid&grant_type=refresh_token&refresh_token=rt",
		},
	} {
		rec := &requestRecorder{answer: answering(200, "", tokenAnswer)}
		c := clientOver(rec)
		c.AuthMethod, c.ClientID, c.ClientSecret = row.method, row.id, NewSecret(row.secret)
		if err := row.call(c); err != nil || len(rec.requests) != 1 {
			t.Errorf("%s: %d requests, %v", row.name, len(rec.requests), err)
			continue
		}
		req, want := rec.requests[0], http.Header{"Accept": {"application/json"}, "Content-Type": {form}}
		if row.auth != "" {
			want.Set("Authorization", row.auth)
		}
		if req.Method != "POST" || req.URL.String() != "https://as.example/token" || rec.bodies[0] != row.body ||
			!reflect.DeepEqual(req.Header, want) || req.ContentLength != int64(len(row.body)) || req.GetBody != nil {
			t.Errorf("%s: %s %s %v %d\n%s\nwant\n%s %v", row.name,
				req.Method, req.URL, req.Header, req.ContentLength, rec.bodies[0], row.body, want)
		}
		noSecret(t, req.URL.String()+req.Referer(), canaryVerifier)
	}
	t.Run("assertions", checkAssertions)
}

// checkAssertions: each attempt has an assertion of its own, short-lived and for this endpoint.
func checkAssertions(t *testing.T) {
	rec := &requestRecorder{answer: answering(503, "Retry-After: 0", "")}
	c := clientOver(rec)
	c.AuthMethod, c.Key, c.KeyID = "private_key_jwt", serverKey(), "kid-1"
	synctest.Test(t, func(t *testing.T) {
		_, err := (&ClientCredentials{Client: c, Scopes: []string{"x"}}).Token(t.Context())
		if err == nil || len(rec.bodies) != maxAttempts {
			t.Errorf("%d requests, %v", len(rec.bodies), err)
		}
		ids := map[any]bool{}
		for _, body := range rec.bodies {
			form, _ := url.ParseQuery(body)
			header, claims, err := verifiedParts(form.Get("client_assertion"), &serverKey().PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			iat, exp, now := claims["iat"].(float64), claims["exp"].(float64), float64(time.Now().Unix())
			if claims["aud"] != "https://as.example/token" || claims["iss"] != "client" || claims["sub"] != "client" ||
				header["kid"] != "kid-1" || exp-iat > 600 || iat > now || iat < now-12 ||
				len(claims["jti"].(string)) < 22 || form.Get("client_secret") != "" {
				t.Errorf("assertion %v %v", header, claims)
			}
			ids[claims["jti"]] = true
		}
		if len(ids) != maxAttempts {
			t.Errorf("%d different assertions in %d requests", len(ids), maxAttempts)
		}
	})
}

// The caller's client is used as it is but for redirects and cookies, and left as it is. // T1 T2 T3 XO8 XO38 LB3
func TestCallersClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		endpoint := &url.URL{Scheme: "https", Host: "as.example", Path: "/token"}
		jar, _ := cookiejar.New(nil)
		jar.SetCookies(endpoint, []*http.Cookie{{Name: "mine", Value: "1", Path: "/"}})
		rec := &requestRecorder{answer: answering(200, "Set-Cookie: trap=1; Path=/", tokenAnswer)}
		followed := 0
		client := &http.Client{
			Transport:     rec,
			Jar:           jar,
			Timeout:       7 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { followed++; return nil },
		}
		before := *client
		creds := NewCredentials(clientOver(nil), NewSecret(canaryRefreshToken))
		creds.client.HTTPClient = client
		if _, err := creds.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rec.requests[0].Header.Get("Cookie") != "" || len(jar.Cookies(endpoint)) != 1 {
			t.Error("cookies were sent or kept")
		}
		rec.answer = answering(307, "Location: https://evil.example/", "")
		if _, err := creds.Refresh(t.Context()); err == nil || len(rec.requests) != 2 || followed != 0 {
			t.Errorf("%v after %d requests", err, len(rec.requests))
		} else if strings.Contains(err.Error(), "evil") {
			t.Errorf("the message has the Location: %v", err)
		}
		rec.answer = func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		start := time.Now()
		_, err := creds.Refresh(t.Context())
		if took := time.Since(start); err == nil || took < 21*time.Second || took > 23*time.Second {
			t.Errorf("%v after %v, want 3 times the client's timeout", err, took)
		}
		if client.Jar != before.Jar || client.Timeout != before.Timeout ||
			reflect.ValueOf(client.CheckRedirect).Pointer() != reflect.ValueOf(before.CheckRedirect).Pointer() {
			t.Error("the client was changed")
		}
		// A client that authorizes with the tokens that it is to fetch does not wait for itself.
		rec.answer = answering(200, "", tokenAnswer)
		creds = NewCredentials(clientOver(nil), NewSecret(canaryRefreshToken))
		creds.client.HTTPClient = &http.Client{Transport: &Transport{Source: creds, Base: rec}}
		if tok, err := creds.Token(t.Context()); err != nil || !tok.Valid() ||
			rec.requests[len(rec.requests)-1].Header.Get("Authorization") != "" {
			t.Errorf("recursion: %v, %v", tok, err)
		}
	})
}

// A body that never ends is left after 1 MiB, and every body is closed. // T11 T12 R8
func TestBodiesBounded(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 302, 400, 503} {
		body := &trackedBody{Reader: endlessSpaces{}}
		c := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: req}, nil
		}))
		_, err := NewCredentials(c, NewSecret(canaryRefreshToken)).Refresh(t.Context())
		if !errorSays(err, "larger than 1 MiB") {
			t.Errorf("%d: %v", status, err)
		}
		if body.read.Load() > maxBody+1 || body.closed.Load() == 0 {
			t.Errorf("%d: read %d bytes, closed %d times", status, body.read.Load(), body.closed.Load())
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var bodies []*trackedBody
		for n := range 1000 { // as many as there may be open files
			c := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
				resp, err := answering([]int{200, 301, 400, 401, 500}[n%5], "", "x")(req)
				bodies = append(bodies, resp.Body.(*trackedBody))
				return resp, err
			}))
			NewCredentials(c, NewSecret(canaryRefreshToken)).Refresh(t.Context())
		}
		closed := int64(0)
		for _, body := range bodies {
			closed += body.closed.Load()
		}
		if closed != 4*200+200*maxAttempts {
			t.Errorf("%d bodies closed", closed)
		}
	})
}

// Not parallel, since it looks at the whole program's memory. // T10
func TestBombMemory(t *testing.T) {
	bomb := gzipBomb(64 << 20)
	s := &faultServer{fault: faultAnswer(200, "Content-Encoding: gzip", bomb)}
	transport := &http.Transport{DialContext: s.dialContext}
	defer s.running.Wait()
	defer transport.CloseIdleConnections()
	c := clientOver(transport)
	c.TokenURI = "http://127.0.0.1/token"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := NewCredentials(c, NewSecret(canaryRefreshToken)).Refresh(t.Context())
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; err == nil || grown > 16<<20 {
		t.Errorf("%v after allocating %d KiB", err, grown>>10)
	}
}

// A proxy sees where a request goes, and nothing of it. // T8 M9
func TestProxySeesNothing(t *testing.T) {
	t.Parallel()
	shared := defaultClient.Transport.(*http.Transport)
	// which never sends loopback to a proxy
	if reflect.ValueOf(shared.Proxy).Pointer() != reflect.ValueOf(http.ProxyFromEnvironment).Pointer() {
		t.Error("the default client does not use ProxyFromEnvironment")
	}
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var seen bytes.Buffer
		done := make(chan bool)
		go func() {
			defer close(done)
			io.Copy(&seen, far)
		}()
		transport := shared.Clone()
		faultProxy(transport)
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return near, nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := startedFlow(t, clientOver(transport)).FetchToken(ctx, canaryCode)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		far.Close()
		<-done
		if !strings.HasPrefix(seen.String(), "CONNECT as.example:443 HTTP/1.1\r\n") ||
			strings.Count(seen.String(), "\r\n\r\n") != 1 || !strings.HasSuffix(seen.String(), "\r\n\r\n") {
			t.Errorf("the proxy saw %q", seen.String())
		}
		noSecret(t, seen.String(), canaryCode, canaryClientSecret, canaryVerifier)
		noSecret(t, err, canaryAccessToken)
	})
}

// Nothing but an error comes of nothing. // T14
func TestNothing(t *testing.T) {
	t.Parallel()
	client := clientOver(answering(200, "", tokenAnswer))
	get := httptest.NewRequest("GET", "https://api.example/", nil)
	var none context.Context
	for name, call := range map[string]func() error{
		"Refresh, nil context": func() error {
			return errorOf(NewCredentials(client, NewSecret("x")).Refresh(none))
		},
		"Token, nil context":       func() error { return errorOf(NewCredentials(client, NewSecret("x")).Token(none)) },
		"FetchToken, nil context":  func() error { return errorOf(startedFlow(t, client).FetchToken(none, "c")) },
		"TokenSource, nil context": func() error { return errorOf((&ClientCredentials{Client: client}).Token(none)) },
		"Credentials, nil client": func() error {
			return errorOf(NewCredentials(nil, NewSecret("x")).Token(t.Context()))
		},
		"Credentials, no client": func() error {
			return errorOf(NewCredentials(&ClientSecrets{}, NewSecret("x")).Token(t.Context()))
		},
		"Credentials, no token": func() error {
			return errorOf(NewCredentials(client, Secret{}).Token(t.Context()))
		},
		"Credentials, zero":        func() error { return errorOf(new(Credentials).Token(t.Context())) },
		"Credentials, zero, saved": func() error { return errorOf(new(Credentials).MarshalAuthorizedUser()) },
		"ClientSecrets, zero": func() error {
			return errorOf((&ClientCredentials{Client: new(ClientSecrets)}).Token(t.Context()))
		},
		"ClientSecrets, no ID": func() error {
			c := *client
			c.ClientID = ""
			return errorOf(NewCredentials(&c, NewSecret("x")).Token(t.Context()))
		},
		"ClientSecrets, no data": func() error { return errorOf(ParseClientSecrets(nil)) },
		"Flow, zero":             func() error { return errorOf(new(Flow).AuthorizationURL()) },
		"Flow, zero, code":       func() error { return errorOf(new(Flow).FetchToken(t.Context(), "c")) },
		"Flow, nil client":       func() error { return errorOf(NewFlow(nil).AuthorizationURL()) },
		"Flow, not begun": func() error {
			return errorOf(NewFlow(client).FetchTokenFromRedirect(t.Context(), "http://127.0.0.1/?code=c&state="))
		},
		"Flow, not begun, stored": func() error { return errorOf(NewFlow(client).Marshal()) },
		"ResumeFlow, nothing":     func() error { return errorOf(ResumeFlow(client, nil)) },
		"ResumeFlow, nil client": func() error {
			b, _ := startedFlow(t, client).Marshal()
			return errorOf(ResumeFlow(nil, b))
		},
		"RunLocalServer, nil": func() error { return errorOf(NewInstalledAppFlow(client).RunLocalServer(none)) },
		"RunLocalServer, no client": func() error {
			return errorOf(NewInstalledAppFlow(nil).RunLocalServer(t.Context()))
		},
		"Transport, zero":        func() error { return errorOf(new(Transport).RoundTrip(get)) },
		"NewClient, nil":         func() error { return errorOf(NewClient(nil).Transport.RoundTrip(get)) },
		"CachedTokenSource, nil": func() error { return errorOf(CachedTokenSource(nil).Token(t.Context())) },
		"CachedTokenSource, empty": func() error {
			return errorOf(CachedTokenSource(sourceOf(nil)).Token(t.Context()))
		},
		"ServiceAccount, zero":      func() error { return errorOf(new(ServiceAccountCredentials).Token(t.Context())) },
		"ServiceAccount, no data":   func() error { return errorOf(ParseServiceAccount(nil)) },
		"ParseCredentials, no data": func() error { return errorOf(ParseCredentials(nil)) },
		"IDTokenVerifier, zero":     func() error { return errorOf(new(IDTokenVerifier).Verify(t.Context(), "")) },
		"OpenBrowser, nothing":      func() error { return OpenBrowser("") },
		"Token, nil":                func() error { _, err := usable(nil, nil); return err },
	} {
		if err := call(); err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if (*Token)(nil).Valid() || new(Token).Valid() || (Secret{}).Reveal() != "" || NewSecret("").Reveal() != "" {
		t.Error("something came of nothing")
	}
}

// What is planted for the canary test.
const (
	canaryState   = "SENTINEL-STATE-012345678901234567890123456"
	canaryNonce   = "SENTINEL-NONCE-012345678901234567890123456"
	canaryIDToken = "SENTINEL-IDT.AAAA.BBBB"
)

func allCanaries() []string {
	key := serverKey()
	return append(slices.Clone(canaries), canaryState, canaryNonce, canaryIDToken, key.D.String(),
		string(key.D.Bytes()))
}

func canaryServiceAccount(t testing.TB) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(serverKey())
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{
		"type":           "service_account",
		"client_email":   "sa@example.com",
		"private_key_id": "kid",
		"token_uri":      "https://as.example/token",
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every exported type, whatever prints or encodes it, keeps its secrets. A new type needs a value here.
//
// S1 S2 XO25 CA9
func TestCanaryTypes(t *testing.T) {
	t.Parallel()
	tok := &Token{
		AccessToken:  NewSecret(canaryAccessToken),
		RefreshToken: NewSecret(canaryRefreshToken),
		IDToken:      NewSecret(canaryIDToken),
		Expiry:       time.Now().Add(time.Hour),
		Scopes:       []string{"x"},
	}
	client := clientOver(answering(200, "", `{"access_token":"SENTINEL-AT/+%&<\"\\",`+
		`"refresh_token":"SENTINEL-RT/+%&<\"\\","id_token":"SENTINEL-IDT.AAAA.BBBB"}`))
	client.Key = serverKey()
	flow := startedFlow(t, client)
	flow.attempt.Load().params.Set("state", canaryState)
	flow.attempt.Load().nonce = NewSecret(canaryNonce)
	installed := NewInstalledAppFlow(client)
	creds, err := flow.FetchToken(t.Context(), canaryCode)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := ParseCredentials([]byte(`{"client_id":"c","refresh_token":"SENTINEL-RT/+%&<\"\\",` +
		`"token":"SENTINEL-AT/+%&<\"\\","client_secret":"SENTINEL-SECRET/+%&<\"\\",` +
		`"id_token":"SENTINEL-IDT.AAAA.BBBB","own":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	sa, err := ParseServiceAccount(canaryServiceAccount(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	verifier := &IDTokenVerifier{Audience: "client"}
	cached := CachedTokenSource(sourceOf(tok))
	transport := &Transport{Source: cached, Base: answering(200, "", "")}
	for _, src := range []TokenSource{cached, sa.WithAudience("https://api.example/")} {
		if _, err := src.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := transport.RoundTrip(httptest.NewRequest("GET", "https://api.example/", nil)); err != nil {
		t.Fatal(err)
	}
	self, _ := sa.WithAudience("https://api.example/").Token(t.Context())
	values := map[string][]any{
		"Secret": {
			NewSecret(canaryClientSecret), []Secret{NewSecret(canaryClientSecret)},
			map[string]Secret{"k": NewSecret(canaryClientSecret)}, struct{ s *Secret }{},
		},
		"Token":                     {tok, *tok, []*Token{tok}, self},
		"Error":                     {&Error{Code: "x", Description: "y"}},
		"Transport":                 {transport, NewClient(cached), &http.Client{Transport: transport}},
		"ClientSecrets":             {client, *client},
		"Flow":                      {flow},
		"InstalledAppFlow":          {installed},
		"DeviceCode":                {DeviceCode{UserCode: "x"}},
		"Credentials":               {creds, loaded, NewCredentials(client, NewSecret(canaryRefreshToken))},
		"ServiceAccountCredentials": {sa, sa.WithSubject("x"), sa.WithAudience("y"), sa.IDTokenSource("z")},
		"ComputeCredentials":        {&ComputeCredentials{}},
		"IDTokenVerifier":           {verifier},
		"IDToken":                   {&IDToken{Subject: "x"}},
		"TokenSource":               {cached},
		"ClientCredentials":         {&ClientCredentials{Client: client, Scopes: []string{"x"}}},
		"ImpersonatedCredentials":   {&ImpersonatedCredentials{Source: cached, Account: "a@b.example"}},
		"Store":                     {FileStore(filepath.Join(privateDir(t), "x"))},
	}
	values["ExternalAccountCredentials"] = []any{externalOf(t, map[string]any{"credential_source": map[string]any{
		"url":     "https://as.example/?x=" + url.QueryEscape(canaryAccessToken),
		"headers": map[string]any{"X": canaryAccessToken},
	}})}
	for _, name := range sourceOfPackage(t).exportedTypes() {
		if len(values[name]) == 0 {
			t.Errorf("type %s has no value here", name)
		}
	}
	for _, all := range values {
		for _, v := range all {
			noSecret(t, v, append(allCanaries(), self.AccessToken.Reveal())...)
		}
	}
	// loudly, and not with something in its place
	for _, v := range []any{tok, *tok, client, NewSecret(canaryClientSecret)} {
		if b, err := json.Marshal(v); err == nil || b != nil {
			t.Errorf("%T was marshaled: %s", v, b)
		}
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, NewSecret(canaryClientSecret)); got != "[secret]" {
			t.Errorf("%s prints %q", format, got)
		}
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "key", NewSecret(canaryClientSecret))
	if !strings.Contains(logged.String(), `"key":"[secret]"`) {
		t.Errorf("logged: %s", logged.String())
	}
	if b, err := NewSecret(canaryClientSecret).MarshalText(); err == nil || b != nil {
		t.Errorf("a Secret was marshaled as text: %s", b)
	}
}

// Every error that can be caused from outside keeps its secrets. // S3 S4 S5 S7 S9 B5 B7 T2
func TestCanaryErrors(t *testing.T) {
	t.Parallel()
	client := clientOver(answering(200, "", `{"access_token":"a","id_token":"`+canaryIDToken+`"}`))
	client.Issuer = "https://as.example"
	with := func(change func(c *ClientSecrets)) *ClientSecrets {
		c := *client
		change(&c)
		return &c
	}
	redirect := func(format string, args ...any) func() error {
		return func() error {
			f := startedFlow(t, client)
			f.attempt.Load().params.Set("state", canaryState)
			f.attempt.Load().nonce = NewSecret(canaryNonce)
			return errorOf(f.FetchTokenFromRedirect(t.Context(), "http://127.0.0.1/?"+fmt.Sprintf(format, args...)))
		}
	}
	authorize := func(change func(c *ClientSecrets), params url.Values) func() error {
		return func() error {
			f := NewFlow(with(change))
			f.RedirectURI, f.Params = "http://127.0.0.1/", params
			return errorOf(f.AuthorizationURL())
		}
	}
	trip := func(method, target string, tr *Transport) func() error {
		return func() error {
			return errorOf(tr.RoundTrip(httptest.NewRequestWithContext(t.Context(), method, target, nil)))
		}
	}
	code := url.QueryEscape(canaryCode)
	source := sourceOf(&Token{AccessToken: NewSecret(canaryAccessToken + "\n")})
	rows := map[string]func() error{
		"S3 endpoint with a query": func() error {
			fails := roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, io.ErrNoProgress })
			c := clientOver(fails)
			c.TokenURI = "https://as.example/token?k=" + url.QueryEscape(canaryAccessToken)
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			defer cancel()
			_, err := startedFlow(t, c).FetchToken(ctx, canaryCode)
			return err
		},
		"S4 endpoint is no URL": authorize(func(c *ClientSecrets) {
			c.TokenURI = "https://as.example/?k=SENTINEL-SECRET/+%&<\"\\\x7f"
		}, nil),
		"endpoint with a password": authorize(func(c *ClientSecrets) {
			c.TokenURI = "https://u:" + url.QueryEscape(canaryClientSecret) + "@as.example/"
		}, nil),
		"endpoint over http": authorize(func(c *ClientSecrets) {
			c.AuthURI = "http://as.example/?k=" + url.QueryEscape(canaryClientSecret)
		}, nil),
		"endpoint with a parameter": authorize(func(c *ClientSecrets) {
			c.AuthURI = "https://as.example/?client_id=" + url.QueryEscape(canaryClientSecret)
		}, nil),
		"reserved parameter": authorize(func(*ClientSecrets) {}, url.Values{"client_secret": {canaryClientSecret}}),
		"no such method": func() error {
			c := with(func(c *ClientSecrets) { c.AuthMethod = "x" })
			return errorOf(NewCredentials(c, NewSecret(canaryRefreshToken)).Refresh(t.Context()))
		},
		"redirect, no query": func() error {
			return errorOf(startedFlow(t, client).FetchTokenFromRedirect(t.Context(), canaryCode))
		},
		"redirect, no state":       redirect("code=%s", code),
		"redirect, other state":    redirect("code=%s&state=%s", code, canaryNonce),
		"redirect, state twice":    redirect("code=%s&state=%s&state=%s", code, canaryState, canaryNonce),
		"redirect, code twice":     redirect("code=%s&code=%s&state=%s", code, code, canaryState),
		"redirect, malformed":      redirect("code=%%zz%s&state=%s", code, canaryState),
		"redirect, bad code":       redirect("code=%s%%00&state=%s", code, canaryState),
		"redirect, other issuer":   redirect("code=%s&state=%s&iss=https://evil/%s", code, canaryState, canaryState),
		"redirect, code and error": redirect("code=%s&error=x&state=%s", code, canaryState),
		"redirect, error": redirect("error=%[1]s&error_description=%[1]s&error_uri=%[1]s&state=%[1]s&"+
			"iss=https://as.example", canaryState),
		"redirect, bad ID token": redirect("code=%s&state=%s&iss=https://as.example", code, canaryState),
		"code, malformed": func() error {
			return errorOf(startedFlow(t, client).FetchToken(t.Context(), canaryCode+"\n"))
		},
		"stored, other client": func() error {
			b, _ := startedFlow(t, client).Marshal()
			other := clientOver(nil)
			other.ClientID = "other"
			return errorOf(ResumeFlow(other, b))
		},
		"stored, malformed": func() error {
			return errorOf(ResumeFlow(client, []byte(`{"code_verifier":"`+canaryVerifier+`","state":5}`)))
		},
		"stored, cut": func() error {
			b, _ := startedFlow(t, client).Marshal()
			return errorOf(ResumeFlow(client, b[:len(b)-1]))
		},
		"ID token": func() error {
			return errorOf((&IDTokenVerifier{Audience: "c"}).VerifyNonce(t.Context(), canaryIDToken, canaryNonce))
		},
		"source, malformed token": func() error { return errorOf(CachedTokenSource(source).Token(t.Context())) },
		"API, malformed token":    trip("GET", "https://api.example/", &Transport{Source: source}),
		"API over http": trip("GET", "http://api.example/?access_token="+canaryVerifier,
			&Transport{Source: source}),
		"API, other host": trip("GET", "https://u:SENTINEL-SECRET@api.example/?k="+canaryVerifier,
			&Transport{Source: source, Hosts: []string{"x"}}),
		"API, no source":  trip("GET", "https://api.example/?k="+canaryVerifier, &Transport{}),
		"browser, scheme": func() error { return OpenBrowser("file:///?state=" + canaryState) },
		"browser, metacharacters": func() error {
			return OpenBrowser("https://as.example/?state=" + canaryState + "$(x)")
		},
		"browser, no URL": func() error { return OpenBrowser("https://as.example/?state=" + canaryState + "\x7f") },
		"listening": func() error {
			f := &InstalledAppFlow{client: client, ListenAddr: "256.0.0.1:0"}
			return errorOf(f.RunLocalServer(t.Context()))
		},
	}
	maps.Copy(rows, canaryFiles(t))
	for name, call := range rows {
		err := call()
		if err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if unprintable(err.Error()) {
			t.Errorf("%s: not printable: %q", name, err)
		}
		noSecret(t, err, append(allCanaries(), "SENTINEL-SECRET")...)
		checkHoldsNoRequest(t, reflect.ValueOf(err), map[any]bool{})
	}
}

// canaryFiles reads files that are wrong where a secret is.
func canaryFiles(t *testing.T) map[string]func() error {
	client := func(file string) func() error {
		return func() error { return errorOf(ParseClientSecrets([]byte(file))) }
	}
	credentials := func(file string) func() error {
		return func() error { return errorOf(ParseCredentials([]byte(file))) }
	}
	account := func(file []byte) func() error {
		return func() error { return errorOf(ParseServiceAccount(file)) }
	}
	const source = `{"type":"authorized_user","refresh_token":["SENTINEL-SECRET/"]}`
	return map[string]func() error{
		"client file, cut":            client(`{"installed":{"client_secret":"SENTINEL-SECRET/`),
		"client file, kind of secret": client(`{"installed":{"client_id":"c","client_secret":["SENTINEL-SECRET/"]}}`),
		"client file, twice":          client(`{"installed":{"SENTINEL-SECRET/":1,"SENTINEL-SECRET/":2}}`),
		"client file, endpoint": client(`{"installed":{"client_id":"c",` +
			`"auth_uri":"http://h/?SENTINEL-SECRET/"}}`),
		"credentials, kind of token":   credentials(`{"refresh_token":{"a":"SENTINEL-SECRET/"}}`),
		"credentials, malformed token": credentials(`{"client_id":"c","refresh_token":"SENTINEL-SECRET/\n"}`),
		"credentials, expiry": credentials(`{"client_id":"c","refresh_token":"r",` +
			`"expiry":"SENTINEL-SECRET/"}`),
		"credentials, endpoint": credentials(`{"client_id":"c","refresh_token":"r",` +
			`"token_uri":"http://SENTINEL-SECRET:x@h/"}`),
		"credentials, no client": credentials(`{"refresh_token":"SENTINEL-SECRET/"}`),
		"service account, key":   account(bytes.Replace(canaryServiceAccount(t), []byte("MII"), []byte("MJJ"), 1)),
		"service account, key is short": account([]byte(`{"type":"service_account","client_email":"a",` +
			`"token_uri":"https://h/","private_key":"SENTINEL-SECRET/"}`)),
		"service account, kind of key": account([]byte(`{"type":"service_account",` +
			`"private_key":["SENTINEL-SECRET/"]}`)),
		"default, source": func() error {
			file := `{"type":"impersonated_service_account","source_credentials":` + source + `}`
			return errorOf(parseDefaultFile([]byte(file), "", nil, nil))
		},
	}
}

// What a sign-in leaves outside of the program: a page, its header, the terminal, the arguments and the environment
// of the launcher. // S11 S8 B4
func TestCanaryOutside(t *testing.T) {
	as := NewTestServer(t)
	as.ClientSecret = "SENTINEL-SECRET-0123456789"
	client, err := ParseClientSecrets(as.ClientSecretsJSON("installed"))
	if err != nil {
		t.Fatal(err)
	}
	for _, deny := range []string{"", "access_denied"} {
		as.Deny = deny
		var prompt bytes.Buffer
		flow := NewInstalledAppFlow(client, "openid")
		var secrets []string
		flow.Prompt, flow.OpenBrowser = &prompt, func(target string) error {
			u, _ := url.Parse(target)
			secrets = []string{
				as.ClientSecret, u.Query().Get("state"), u.Query().Get("nonce"), u.Query().Get("code_challenge"),
			}
			return as.Browser(target)
		}
		creds, err := flow.RunLocalServer(t.Context())
		if (err != nil) != (deny != "") {
			t.Fatal(err)
		}
		status, header, page := as.Page()
		requests := as.Requests()
		form := requests[len(requests)-1].Form
		if deny == "" {
			tok, _ := creds.Token(t.Context())
			secrets = append(secrets, form.Get("code"), form.Get("code_verifier"), tok.AccessToken.Reveal(),
				tok.RefreshToken.Reveal(), tok.IDToken.Reveal())
		}
		if status == 0 || len(secrets) < 4 {
			t.Fatal(status, page)
		}
		noSecret(t, page, secrets...)
		noSecret(t, header, secrets...)
		noSecret(t, prompt.String(), secrets[0]) // the URL with the state is what it is for
		if deny == "" {
			noSecret(t, prompt.String(), secrets[4:]...)
		}
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return // the launcher can't be replaced
	}
	// The launcher is a script that says what it was given.
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if out, err := exec.Command("mkfifo", pipe).CombinedOutput(); err != nil {
		t.Skipf("%s %v", out, err)
	}
	script := "#!/bin/sh\n{ echo \"$#\"; for a in \"$@\"; do echo \"$a\"; done; env; echo END; } > '" + pipe + "'\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	said, err := os.OpenFile(pipe, os.O_RDWR, 0) // both ends, so that opening does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	said.SetReadDeadline(time.Now().Add(time.Minute))
	flow := startedFlow(t, clientOver(nil))
	target, err := flow.AuthorizationURL()
	if err != nil {
		t.Fatal(err)
	}
	if err := OpenBrowser(target); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for b, line := make([]byte, 1), ""; len(lines) == 0 || lines[len(lines)-1] != "END"; {
		if _, err := said.Read(b); err != nil {
			t.Fatal(err, lines)
		}
		if line += string(b); b[0] == '\n' {
			lines, line = append(lines, strings.TrimSuffix(line, "\n")), ""
		}
	}
	if lines[0] != "1" || lines[1] != target {
		t.Errorf("arguments: %q", lines[:2])
	}
	noSecret(t, strings.Join(lines, "\n"), canaryClientSecret, flow.attempt.Load().verifier.Reveal())
	for _, v := range lines[2 : len(lines)-1] {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"PWD", "OLDPWD", "SHLVL", "_"}, name) && !slices.Contains(os.Environ(), v) &&
			!strings.Contains(strings.Join(os.Environ(), "\n"), v) {
			t.Errorf("the launcher has another environment: %q", v)
		}
	}
	noSecret(t, strings.Join(lines[2:], "\n"), flow.attempt.Load().params.Get("state"))
}

// What the source must not have. // X3 X6 X7 S8 S12 S13 B9 PY16 CA8 XO38
func TestSource(t *testing.T) {
	t.Parallel()
	s := sourceOfPackage(t)
	mod, err := os.ReadFile("go.mod")
	if err != nil || regexp.MustCompile(`(?m)^(require|replace|toolchain|tool)\b`).Match(mod) {
		t.Errorf("X7: go.mod: %v\n%s", err, mod)
	}
	slogAllowed := []string{"Value", "StringValue", "NewLogLogger", "DiscardHandler", "LevelError"}
	secretName := regexp.MustCompile(`(?i)(^|\.|\()(state|nonce|verifier|secret|at_?hash|signature|sig)\b`)
	constant := regexp.MustCompile(`^("[^"]*"|nil|[0-9]+|http\.\w+)$`)
	for name, f := range s.files {
		for pattern, id := range map[string]string{
			`//go:(build|linkname|embed|generate)`: "X6",
			`// \+build`:                           "X6",
			`InsecureSkipVerify`:                   "B9",
			`tls\.Config\b`:                        "B9",
		} {
			if regexp.MustCompile(pattern).MatchString(s.text[name]) {
				t.Errorf("%s: %s has %s", id, name, pattern)
			}
		}
		for _, imp := range f.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") || imp.Name != nil {
				t.Errorf("X7: %s imports %s", name, imp.Path.Value)
			}
			if slices.Contains([]string{
				"unsafe", "C", "reflect", "log", "math/rand", "math/rand/v2", "plugin", "encoding/gob", "html/template",
				"text/template", "expvar", "net/http/pprof",
			}, path) {
				t.Errorf("X6 S8 S13: %s imports %s", name, path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			at := func(id, what string) { t.Helper(); t.Errorf("%s: %s: %s", id, s.fset.Position(n.Pos()), what) }
			root := func(e ast.Expr) types.Object {
				for {
					switch x := e.(type) {
					case *ast.IndexExpr:
						e = x.X
					case *ast.SelectorExpr:
						e = x.X
					case *ast.StarExpr:
						e = x.X
					case *ast.ParenExpr:
						e = x.X
					case *ast.Ident:
						return s.info.Uses[x]
					default:
						return nil
					}
				}
			}
			global := func(e ast.Expr) bool {
				v, ok := root(e).(*types.Var)
				return ok && !v.IsField() && v.Pkg() != nil && v.Parent() == v.Pkg().Scope()
			}
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && (n.Name.Name == "init" || n.Name.Name == "main") {
					at("X6", "func "+n.Name.Name)
				}
			case *ast.AssignStmt:
				if slices.ContainsFunc(n.Lhs, global) {
					at("X6", "a variable of the package is written")
				}
			case *ast.IncDecStmt:
				if global(n.X) {
					at("X6", "a variable of the package is written")
				}
			case *ast.SelectorExpr:
				pkg, _ := n.X.(*ast.Ident)
				if pkg == nil || s.info.Uses[pkg] == nil {
					break
				}
				if _, ok := s.info.Uses[pkg].(*types.PkgName); !ok {
					break
				}
				switch full := pkg.Name + "." + n.Sel.Name; {
				case pkg.Name == "slog" && !slices.Contains(slogAllowed, n.Sel.Name),
					strings.HasPrefix(full, "fmt.Print"), full == "os.Stdout":
					at("S8", full)
				case full == "fmt.Sscan", full == "fmt.Sscanf": // which stop at what they can't read
					at("X3", full)
				case full == "http.DefaultClient", full == "http.Get", full == "http.PostForm", full == "http.Post":
					at("T13", full)
				}
			case *ast.CallExpr:
				id, ok := n.Fun.(*ast.Ident)
				if ok && (id.Name == "print" || id.Name == "println") && s.info.Uses[id] != nil &&
					s.info.Uses[id].Pkg() == nil {
					at("S8", id.Name)
				}
			case *ast.BinaryExpr:
				x, y := types.ExprString(n.X), types.ExprString(n.Y)
				if (n.Op == token.EQL || n.Op == token.NEQ) &&
					(secretName.MatchString(x) && !constant.MatchString(y) ||
						secretName.MatchString(y) && !constant.MatchString(x)) {
					at("S12", x+" "+n.Op.String()+" "+y)
				}
			}
			return true
		})
	}
}

// FuzzTokenResponse: whatever a token endpoint answers, there is a token or an error, and the error does not have what
// was sent.
func FuzzTokenResponse(f *testing.F) {
	for _, body := range []string{tokenAnswer,
		`{"error":"invalid_grant","error_description":"bad ` + canaryVerifier + `"}`,
		`{"access_token":"a","expires_in":"3600.5","scope":"a b"}`,
		`{"access_token":"a","refresh_token":"b","expires_in":-1}`,
		`{"error":{"status":"` + canaryVerifier + `","message":"x"}}`, `{"access_token":"a","x":[{"y":1e400}]}`,
		`<html>`, ``, `null`, `[]`, `{`, `"\ud800"`, `{"access_token":"\u0061","access\u005ftoken":"b"}`,
		`{"error":"` + canaryVerifier[:20] + canaryVerifier + `"}`} {
		f.Add(200, "", body)
		f.Add(400, "Content-Type: text/html", body)
		f.Add(503, "Retry-After: 7", body)
	}
	f.Fuzz(func(t *testing.T, status int, header, body string) {
		if status < 100 || status > 999 {
			return
		}
		c := clientOver(answering(status, header, body))
		form := url.Values{"refresh_token": {canaryVerifier}}
		r := c.request("testing", form, nil)
		r.once = true
		ans, err := r.do(t.Context())
		if (ans == nil) != (err != nil) || err == nil && status/100 != 2 {
			t.Fatalf("status %d: neither an answer nor an error: %v", status, err)
		}
		var tok *Token
		if err == nil {
			tok, err = ans.token("x")
		}
		if err == nil && (!tok.Valid() || !validToken(tok.AccessToken.Reveal()) ||
			!tok.RefreshToken.empty() && !validToken(tok.RefreshToken.Reveal()) ||
			tok.Expiry.After(time.Now().Add(maxLifetime+time.Hour))) {
			t.Fatalf("unusable token %+v", tok)
		}
		if err == nil {
			return
		}
		var e *Error
		if !errors.As(err, &e) || e.StatusCode != status || len(e.Description) > maxErrorText ||
			len(e.Code) > 256 || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Fatalf("unusable error %#v", err)
		}
		for _, s := range []string{err.Error(), e.Code, e.Description, e.URI} {
			if strings.Contains(s, canaryVerifier) || strings.Contains(s, "SENTINEL-SECRET/+%&<") || unprintable(s) {
				t.Fatalf("error %q", s)
			}
		}
	})
}

// FuzzObject: parseObject sees what encoding/json sees, and refuses what has two meanings.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[{"c":null}],"d":"\"}"}`,
		` { "a" : { "b" : [ 1 , 2e-5 , true ] } , "" : "" } `, `{"a":1,"\u0061":2}`, `{"a":{"x":1,"x":2}}`, `[]`, `5`,
		`{"a":"\ud800","\\":"\/"}`, "{\"\xff\":1}", `{"a":1}{}`, "\ufeff{}",
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, `{"a":1,"A":2}`, "{\"k\":\t1}\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseObject(data)
		if (got == nil) != (err != nil) {
			t.Fatalf("an object, or an error: %v %v", got, err)
		}
		refused := len(data) > maxBody || !utf8.Valid(data) || !json.Valid(data) ||
			!strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "{")
		if !refused {
			refused = ambiguousJSON(json.NewDecoder(bytes.NewReader(data)))
		}
		if refused != (err != nil) {
			t.Fatalf("%q: refused %v, got %v", data, refused, err)
		}
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil || len(want) != len(got) {
			t.Fatalf("%q: %v, want %v, %v", data, got, want, err)
		}
		for name, raw := range want {
			if got[name] != string(raw) {
				t.Fatalf("%q: member %q is %q, want %q", data, name, got[name], raw)
			}
			var s string
			read := &fields{object: got}
			if raw[0] == '"' && (json.Unmarshal(raw, &s) != nil || read.str(name) != s || read.err != nil) {
				t.Fatalf("%q: %q reads %q, want %q", data, name, read.str(name), s)
			}
		}
	})
}

// ambiguousJSON reports whether valid JSON has a name twice in an object, or is nested too deeply.
func ambiguousJSON(d *json.Decoder) bool {
	type level struct {
		names map[string]bool // nil for an array
		key   bool            // a name is next
	}
	var stack []level
	d.UseNumber()
	for {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		if top := len(stack) - 1; top >= 0 && stack[top].names != nil && tok != json.Delim('}') {
			if name, ok := tok.(string); stack[top].key && ok {
				if stack[top].names[name] {
					return true
				}
				stack[top].names[name], stack[top].key = true, false
				continue
			}
			stack[top].key = true
		}
		switch tok {
		case json.Delim('{'):
			stack = append(stack, level{names: map[string]bool{}, key: true})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > maxDepth {
			return true
		}
	}
}
