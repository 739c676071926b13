package oauth2

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func signedClaims(t *testing.T, raw string) map[string]any {
	t.Helper()
	header, claims, err := verifiedParts(raw, &serverKey().PublicKey)
	if err != nil || !maps.Equal(header, map[string]any{"alg": "RS256", "typ": "JWT", "kid": "key-1"}) {
		t.Fatal(header, err)
	}
	return claims
}

// TestServiceAccountAssertion: what the token endpoint is sent, and what a self-signed token says, in each form.
// J33 T9 XO23 UP41 G10
func TestServiceAccountAssertion(t *testing.T) {
	const aud = "https://as.example/token"
	for _, tt := range []struct {
		name string
		make func(sa *ServiceAccountCredentials) TokenSource
		want map[string]any
		self bool
	}{
		{
			name: "scopes",
			make: func(sa *ServiceAccountCredentials) TokenSource { return sa },
			want: map[string]any{"aud": aud, "scope": "a b"},
		},
		{
			name: "other scopes",
			make: func(sa *ServiceAccountCredentials) TokenSource { return sa.WithScopes("c d", "e") },
			want: map[string]any{"aud": aud, "scope": "c d e"},
		},
		{
			name: "for a person",
			make: func(sa *ServiceAccountCredentials) TokenSource { return sa.WithSubject("p@example.com") },
			want: map[string]any{"aud": aud, "scope": "a b", "sub": "p@example.com"},
		},
		{
			name: "ID token",
			make: func(sa *ServiceAccountCredentials) TokenSource { return sa.IDTokenSource("https://run.example") },
			want: map[string]any{"aud": aud, "target_audience": "https://run.example"},
		},
		{
			name: "ID token for a person",
			make: func(sa *ServiceAccountCredentials) TokenSource {
				return sa.WithSubject("p").IDTokenSource("https://run.example")
			},
			want: map[string]any{"aud": aud, "target_audience": "https://run.example", "sub": "p"},
		},
		{
			name: "ID token from one that signs itself",
			make: func(sa *ServiceAccountCredentials) TokenSource {
				return sa.WithAudience("x").IDTokenSource("https://run.example")
			},
			want: map[string]any{"aud": aud, "target_audience": "https://run.example"},
		},
		{
			name: "self-signed for an API",
			make: func(sa *ServiceAccountCredentials) TokenSource { return sa.WithAudience("https://api.example/") },
			want: map[string]any{"aud": "https://api.example/", "sub": serviceAccountEmail},
			self: true,
		},
		{
			name: "self-signed for scopes",
			make: func(sa *ServiceAccountCredentials) TokenSource { return sa.WithAudience("") },
			want: map[string]any{"scope": "a b", "sub": serviceAccountEmail},
			self: true,
		},
		{
			name: "self-signed for scopes, after an audience", // W96
			make: func(sa *ServiceAccountCredentials) TokenSource { return sa.WithAudience("x").WithScopes("c") },
			want: map[string]any{"scope": "c", "sub": serviceAccountEmail},
			self: true,
		},
		{
			name: "more claims",
			make: func(sa *ServiceAccountCredentials) TokenSource {
				sa.Claims = map[string]any{"x": []int{1}, "y": "</script>\u2028"}
				return sa
			},
			want: map[string]any{"aud": aud, "scope": "a b", "x": []any{1.0}, "y": "</script>\u2028"},
		},
		{
			name: "more claims, self-signed",
			make: func(sa *ServiceAccountCredentials) TokenSource {
				sa.Claims = map[string]any{"x": 1}
				return sa.WithAudience("https://api.example/")
			},
			want: map[string]any{"aud": "https://api.example/", "sub": serviceAccountEmail, "x": 1.0},
			self: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, sa := serviceAccountServer(t, "a", "b")
				src := tt.make(sa)
				tok, err := src.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				raw, now := tok.AccessToken.Reveal(), time.Now()
				if !tt.self {
					r := s.Requests()[0]
					grant := "urn:ietf:params:oauth:grant-type:jwt-bearer" // RFC 7523, Section 4
					if len(s.Requests()) != 1 || r.Method != "POST" || r.Path != "/token" || len(r.Query) != 0 ||
						r.Header.Get("Authorization") != "" || len(r.Form) != 2 || r.Form.Get("grant_type") != grant {
						t.Errorf("%+v", s.Requests())
					}
					raw = r.Form.Get("assertion")
				} else if len(s.Requests()) != 0 || tok.Expiry != now.Add(time.Hour-backdate).Round(0) {
					t.Error(s.Requests(), tok.Expiry)
				}
				want := maps.Clone(tt.want)
				maps.Copy(want, map[string]any{
					"iss": serviceAccountEmail,
					"iat": float64(now.Unix() - 10),
					"exp": float64(now.Unix() + 3590),
				})
				if claims := signedClaims(t, raw); fmt.Sprint(claims) != fmt.Sprint(want) {
					t.Errorf("got %v, want %v", claims, want)
				}
				payload := decodePart(strings.Split(raw, ".")[1])
				if _, err := parseObject(payload); err != nil { // would refuse a claim that is there twice
					t.Error(err)
				}
				for range 5 { // cached, also where it costs no request // CA23
					again, err := src.Token(t.Context())
					if err != nil || again.AccessToken.Reveal() != tok.AccessToken.Reveal() {
						t.Error(again, err)
					}
				}
				time.Sleep(time.Hour)
				if again, err := src.Token(t.Context()); err != nil ||
					again.AccessToken.Reveal() == tok.AccessToken.Reveal() || !again.Valid() {
					t.Error("the next hour:", again, err)
				}
			})
		})
	}
}

// TestServiceAccountIDToken: the ID token is what comes out, as a token for requests, with its own expiry.
func TestServiceAccountIDToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sa := serviceAccountServer(t)
		src := sa.IDTokenSource("https://run.example")
		tok, err := src.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, claims, err := verifiedParts(tok.AccessToken.Reveal(), &serverKey().PublicKey)
		if err != nil || claims["aud"] != "https://run.example" || tok.Expiry.Unix() != time.Now().Unix()+3600 ||
			!tok.IDToken.empty() {
			t.Error(claims, err, tok.Expiry)
		}
		for _, answer := range []any{
			nil, "", "x", "a.b.c", "a.e30.c", 7, []string{"x"}, "a.e30\n.c",
			"a\r\nX: y." + rawBase64.EncodeToString([]byte(claimsJSON())) + ".c",
		} {
			s.Answer = func(_ string, m map[string]any) { m["id_token"] = answer }
			if tok, err := sa.IDTokenSource("https://run.example").Token(t.Context()); err == nil || tok != nil {
				t.Errorf("%v: accepted %v", answer, tok)
			}
		}
		before := len(s.Requests())
		if tok, err := sa.IDTokenSource("").Token(t.Context()); err == nil || tok != nil ||
			len(s.Requests()) != before {
			t.Error("an ID token for nobody:", tok)
		}
	})
}

// TestServiceAccountRefuses: what would be ignored or would replace the package's own claims is an error, before any
// request.
func TestServiceAccountRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(sa *ServiceAccountCredentials) *ServiceAccountCredentials
		want string
	}{
		{"person and audience", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			return sa.WithSubject("p").WithAudience("x")
		}, "Subject"}, // CA19 XO33
		{"audience and person", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			return sa.WithAudience("x").WithSubject("p")
		}, "Subject"},
		{"person, self-signed for scopes", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			return sa.WithAudience("").WithSubject("p")
		}, "Subject"}, // CA19
		{"neither audience nor scopes", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			return sa.WithScopes().WithAudience("")
		}, "either an audience or Scopes"}, // W96
		{"both audience and scopes", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			c := sa.WithAudience("x")
			c.Scopes = []string{"a"}
			return c
		}, "either an audience or Scopes"}, // W96
		{"an audience that was, and no scopes", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			return sa.WithAudience("x").WithScopes()
		}, "either an audience or Scopes"}, // W96
		// CA18
		{"no key", func(*ServiceAccountCredentials) *ServiceAccountCredentials {
			return new(ServiceAccountCredentials)
		}, "no key"},
		{"a copy without a key", func(*ServiceAccountCredentials) *ServiceAccountCredentials {
			return new(ServiceAccountCredentials).WithScopes("a")
		}, "no key"},
		{"not JSON", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			sa.Claims = map[string]any{"x": func() {}}
			return sa
		}, "JSON"},
		{"a secret", func(sa *ServiceAccountCredentials) *ServiceAccountCredentials {
			sa.Claims = map[string]any{"x": NewSecret("SENTINEL")}
			return sa
		}, "JSON"},
	} {
		s, sa := serviceAccountServer(t, "a")
		tok, err := tt.make(sa).Token(t.Context())
		if err == nil || tok != nil || !strings.Contains(err.Error(), tt.want) ||
			!strings.HasPrefix(err.Error(), "oauth2: ") || len(s.Requests()) != 0 ||
			strings.Contains(err.Error(), "SENTINEL") {
			t.Errorf("%s: %v, %v, %d requests", tt.name, tok, err, len(s.Requests()))
		}
	}
	for _, name := range []string{"iss", "sub", "aud", "iat", "exp", "scope", "target_audience"} { // XO23 T9
		for _, self := range []bool{false, true} {
			s, sa := serviceAccountServer(t, "a")
			sa.Claims = map[string]any{name: "evil"}
			if self {
				sa = sa.WithAudience("x")
			}
			tok, err := sa.Token(t.Context())
			if err == nil || tok != nil || !strings.Contains(err.Error(), name) || len(s.Requests()) != 0 {
				t.Errorf("%s: %v, %v", name, tok, err)
			}
		}
	}
}

// TestServiceAccountCopies: a With method never touches what it is called on, and its copy never gets the other's
// token.
//
// CA17 CA19
func TestServiceAccountCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sa := serviceAccountServer(t, "a")
		sa.Claims = map[string]any{"x": 1}
		one, _ := sa.Token(t.Context())
		for n, c := range []*ServiceAccountCredentials{
			sa.WithScopes("b"), sa.WithSubject("p"), sa.WithAudience("https://api.example/"),
		} {
			tok, err := c.Token(t.Context())
			if err != nil || tok.AccessToken.Reveal() == one.AccessToken.Reveal() || c.ProjectID != "project-1" ||
				c.HTTPClient != sa.HTTPClient {
				t.Error(n, err)
			}
			c.Claims["x"] = 2
			if len(c.Scopes) > 0 {
				c.Scopes[0] = "changed"
			}
		}
		again, err := sa.Token(t.Context())
		if err != nil || again.AccessToken.Reveal() != one.AccessToken.Reveal() || sa.Claims["x"] != 1 ||
			!slices.Equal(sa.Scopes, []string{"a"}) || sa.Subject != "" || s.TokenRequests("") != 3 {
			t.Error(again, err, sa.Claims, sa.Scopes, s.TokenRequests(""))
		}
		if CachedTokenSource(sa) != TokenSource(sa) { // CA17: nothing to lose
			t.Error("cached twice")
		}
	})
}

// TestServiceAccountAnswers: the jwt-bearer grant has the same strict parser, error type and retries as all others.
func TestServiceAccountAnswers(t *testing.T) {
	skewed := time.Date(2000, 1, 1, 0, 7, 0, 0, time.UTC) // a bubble begins at midnight
	for _, tt := range []struct {
		name, body string
		status     int
		date       time.Time
		check      func(tok *Token, err error) bool
		requests   int // 0: one
	}{
		{
			name:   "invalid_grant", // XO22 CA11
			body:   `{"error":"invalid_grant","error_description":"account not found"}`,
			status: 400,
			check: func(_ *Token, err error) bool {
				e := (*Error)(nil)
				return errors.As(err, &e) && e.Code == "invalid_grant" && e.Description == "account not found" &&
					e.StatusCode == 400 && !e.Temporary() && !strings.Contains(err.Error(), "clock")
			},
		},
		{
			name:   "no delegation", // W97
			body:   `{"error":"unauthorized_client","error_description":"Client is unauthorized"}`,
			status: 401,
			check: func(_ *Token, err error) bool {
				return errorSays(err, "Client is unauthorized") && errorSays(err, "domain-wide delegation")
			},
		},
		{
			name:   "clock", // M49
			body:   `{"error":"invalid_grant","error_description":"Token must be a short-lived token"}`,
			status: 400,
			date:   skewed,
			check:  func(_ *Token, err error) bool { return errorSays(err, "clock is 7m0s off") },
		},
		{
			name:   "clock nearly right", // M49
			body:   `{"error":"invalid_grant"}`,
			status: 400,
			date:   skewed.Add(-3 * time.Minute),
			check: func(_ *Token, err error) bool {
				return err != nil && !strings.Contains(err.Error(), "clock")
			},
		},
		{
			name:   "nothing", // XO22 CA11
			body:   `{}`,
			status: 200,
			check:  func(_ *Token, err error) bool { return errorSays(err, "access_token") },
		},
		{
			name:   "error with 200", // XO22 CA11 XO40
			body:   `{"error":"invalid_scope"}`,
			status: 200,
			check:  func(_ *Token, err error) bool { return errorSays(err, "invalid_scope") },
		},
		{
			name:   "error and token",
			body:   `{"error":"invalid_scope","access_token":"t"}`,
			status: 200,
			check:  func(_ *Token, err error) bool { return err != nil },
		},
		{
			name:   "lifetime in quotes", // XO22
			body:   `{"access_token":"t","expires_in":"1800"}`,
			status: 200,
			check: func(tok *Token, err error) bool {
				return err == nil && time.Until(tok.Expiry) == 30*time.Minute
			},
		},
		{
			name:   "ID token of 1970", // XO22
			body:   `{"access_token":"t","expires_in":1800,"id_token":"e30.eyJleHAiOjF9.e30"}`,
			status: 200,
			check: func(tok *Token, err error) bool {
				return err == nil && tok.Valid() && time.Until(tok.Expiry) == 30*time.Minute
			},
		},
		{
			name:   "negative lifetime", // W22
			body:   `{"access_token":"t","expires_in":-1}`,
			status: 200,
			check:  func(tok *Token, err error) bool { return err == nil && tok.Valid() && tok.Expiry.IsZero() },
		},
		{
			name:   "echoes the assertion", // J32
			body:   `{"error":"invalid_grant","error_description":"ASSERTION"}`,
			status: 400,
			check: func(_ *Token, err error) bool {
				e := (*Error)(nil)
				return errors.As(err, &e) && e.Code == "invalid_grant" && e.Description == ""
			},
		},
		{
			name:     "overloaded",
			body:     `{}`,
			status:   503,
			check:    func(_ *Token, err error) bool { e := (*Error)(nil); return errors.As(err, &e) && e.Temporary() },
			requests: 3,
		},
		{
			name:   "redirect",
			status: 307,
			check:  func(_ *Token, err error) bool { return errorSays(err, "redirect") },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, sa := serviceAccountServer(t, "a")
				s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					if !tt.date.IsZero() {
						w.Header().Set("Date", tt.date.Format(http.TimeFormat))
					}
					w.Header().Set("Location", "https://evil.example/")
					w.WriteHeader(tt.status)
					w.Write([]byte(strings.Replace(tt.body, "ASSERTION", s.Requests()[0].Form.Get("assertion"), 1)))
					return true
				}
				tok, err := sa.Token(t.Context())
				if !tt.check(tok, err) || (tok != nil) == (err != nil) || s.TokenRequests("") != max(tt.requests, 1) {
					t.Error(tok, err, s.TokenRequests(""))
				}
				assertion := s.Requests()[0].Form.Get("assertion")
				if errorSays(err, assertion) || errorSays(err, "evil.example") {
					t.Error(err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a context is obeyed // XO34
		s, sa := serviceAccountServer(t, "a")
		s.Hook = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := sa.Token(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 50*time.Millisecond {
			t.Error(err, time.Since(began))
		}
		synctest.Wait()
		time.Sleep(flightTimeout)
	})
}

// TestServiceAccountKeys: a key is parsed and tried once, when the file is read; a bad one is an error then, which
// says what to do and quotes no key. // XO24 CA20 J32
func TestServiceAccountKeys(t *testing.T) {
	t.Parallel()
	key := rfc7515Key() // fixed
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	weak := weakKey()
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ecDER, _ := x509.MarshalECPrivateKey(ec)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	spki, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	// tampered is the key with one of its numbers changed, as PKCS #1.
	tampered := func(change func(k *rsa.PrivateKey)) string {
		k := rfc7515Key()
		change(k)
		k.Precomputed = rsa.PrecomputedValues{}
		return pemText("RSA PRIVATE KEY", rawPKCS1(k))
	}
	add := func(x *big.Int, n int64) *big.Int { return new(big.Int).Add(x, big.NewInt(n)) }
	good := pemText("PRIVATE KEY", pkcs8(key))
	const broken, one = "broken, encrypted, or not an RSA key", "not one block of PEM"
	for _, tt := range []struct{ name, text, want string }{
		{"PKCS #8", good, ""},                              // J28
		{"PKCS #1", pemText("RSA PRIVATE KEY", pkcs1), ""}, // J28
		{"line ends of Windows", strings.ReplaceAll(good, "\n", "\r\n"), ""},
		{"space around", " \n" + good + "\n \n", ""},
		// that the tampered ones are wrong for one reason
		{"as an asn.1 of our own", pemText("RSA PRIVATE KEY", rawPKCS1(rfc7515Key())), ""},
		{"PKCS #1 called PKCS #8", pemText("PRIVATE KEY", pkcs1), broken},          // J28
		{"PKCS #8 called PKCS #1", pemText("RSA PRIVATE KEY", pkcs8(key)), broken}, // J28
		{"1024 bits", pemText("PRIVATE KEY", pkcs8(weak)), "2048"},                 // J13
		{"1024 bits, PKCS #1", pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak)), "2048"},
		// J28 CA20
		{"EC", pemText("PRIVATE KEY", pkcs8(ec)), broken},
		// J28
		{"EC, its own form", pemText("EC PRIVATE KEY", ecDER), broken},
		{"Ed25519", pemText("PRIVATE KEY", pkcs8(ed)), broken},
		{"public key", pemText("PUBLIC KEY", spki), broken},
		{"certificate", pemText("CERTIFICATE", spki), broken},
		{"OpenSSH", pemText("OPENSSH PRIVATE KEY", pkcs1), broken},
		{"hostile type", pemText("X\x1b[2J", pkcs1), broken},
		// J29
		{"encrypted PKCS #8", pemText("ENCRYPTED PRIVATE KEY", pkcs1), broken},
		{"encrypted, old form", strings.Replace(pemText("RSA PRIVATE KEY", []byte(strings.Repeat("encrypted", 130))), "\n",
			"\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), broken},
		// J30
		{"D+2", tampered(func(k *rsa.PrivateKey) { k.D = add(k.D, 2) }), broken},
		{"N+2", tampered(func(k *rsa.PrivateKey) { k.N = add(k.N, 2) }), broken},
		{"P+2", tampered(func(k *rsa.PrivateKey) { k.Primes[0] = add(k.Primes[0], 2) }), broken},
		{"E is 3", tampered(func(k *rsa.PrivateKey) { k.E = 3 }), broken},
		{"cut", pemText("PRIVATE KEY", pkcs8(key)[:600]), broken},
		{"nothing inside", pemText("PRIVATE KEY", nil), broken},
		// J31
		{"two blocks", good + good, one},
		{"a certificate behind", good + pemText("CERTIFICATE", spki), one},
		{"text behind", good + "x", one},
		{"text before", "x\n" + good, one},
		{"no line ends", strings.ReplaceAll(good, "\n", ""), one},
		{"escaped line ends", strings.ReplaceAll(good, "\n", `\n`), "escaped twice"},
		{"no end", strings.TrimSuffix(good, "-----END PRIVATE KEY-----\n"), one},
		{"junk", "SENTINEL-PEM", one},
		{"empty", "", one},
		{"a great many beginnings", strings.Repeat("-----BEGIN ", 90_000), one},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			sa, err := ParseServiceAccount(serviceAccountFile(map[string]any{"private_key": tt.text}))
			want := tt.want
			if (err == nil) != (want == "") || (sa == nil) != (err != nil) ||
				err != nil && (!strings.Contains(err.Error(), want) ||
					!strings.HasPrefix(err.Error(), "oauth2: the service account")) {
				t.Errorf("%v, want %q", err, want)
			}
			if d := time.Since(began); d > 10*time.Second {
				t.Error("took", d)
			}
			for line := range strings.SplitSeq(tt.text, "\n") {
				text := fmt.Sprintf("%v %+v %#v %q", err, err, err, err)
				if err != nil && len(line) > 8 && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
					t.Error("quotes the key:", err)
				}
			}
			if sa != nil && strings.Contains(fmt.Sprintf("%v %+v %#v", sa, sa, sa), fmt.Sprint(key.D)) {
				t.Error("prints the key")
			}
		})
	}
}

// rawPKCS1 is a PKCS #1 key of exactly these numbers; crypto/x509 would correct some.
func rawPKCS1(k *rsa.PrivateKey) []byte {
	one, p, q := big.NewInt(1), k.Primes[0], k.Primes[1]
	mod := func(m *big.Int) *big.Int { return new(big.Int).Mod(k.D, new(big.Int).Sub(m, one)) }
	data, err := asn1.Marshal(struct {
		Version              int
		N                    *big.Int
		E                    int
		D, P, Q, Dp, Dq, Qin *big.Int
	}{0, k.N, k.E, k.D, p, q, mod(p), mod(q), new(big.Int).ModInverse(q, p)})
	if err != nil {
		panic(err)
	}
	return data
}

// TestServiceAccountFile: one loader, one type, and URLs that are safe.
func TestServiceAccountFile(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"good", serviceAccountFile(nil), ""},
		{"no key ID and project", serviceAccountFile(m{"private_key_id": nil, "project_id": nil}), ""},
		{"members of later years", serviceAccountFile(m{"later": m{"a": 1}}), ""},
		// G9
		{"external_account", serviceAccountFile(m{"type": "external_account"}), "external_account"},
		{"impersonated", serviceAccountFile(m{"type": "impersonated_service_account"}), "impersonated_service_account"},
		{"authorized_user", serviceAccountFile(m{"type": "authorized_user"}), "authorized_user"},
		{"no type", serviceAccountFile(m{"type": nil}), "type"},
		{"empty type", serviceAccountFile(m{"type": ""}), "type"},
		{"type in a list", serviceAccountFile(m{"type": []string{"service_account"}}), "type"},
		{"type in capitals", serviceAccountFile(m{"type": "SERVICE_ACCOUNT"}), "type"},
		{"type twice", []byte(strings.Replace(string(serviceAccountFile(nil)), "{", `{"type":"external_account",`, 1)),
			"twice"},
		{"client secrets", NewMemoryServer().ClientSecretsJSON("installed"), "type"}, // XO32
		// G10
		{"private token endpoint", serviceAccountFile(m{"token_uri": "https://oauth2.corp.example/token"}), ""}, // UP41
		{"token endpoint on this machine", serviceAccountFile(m{"token_uri": "http://127.0.0.1:1/token"}), ""},
		{"token endpoint over http", serviceAccountFile(m{"token_uri": "http://as.example/token"}), "token_uri"},
		{"token endpoint in a file", serviceAccountFile(m{"token_uri": "file:///tmp/token"}), "token_uri"},
		{"token endpoint hides its host",
			serviceAccountFile(m{"token_uri": "https://oauth2.googleapis.com@evil.example/token"}),
			"token_uri"},
		{"no token endpoint", serviceAccountFile(m{"token_uri": nil}), "token_uri"},
		{"no e-mail", serviceAccountFile(m{"client_email": nil}), "client_email"},
		{"e-mail is a number", serviceAccountFile(m{"client_email": 7}), "client_email"},
		{"no key", serviceAccountFile(m{"private_key": nil}), "private key"},
		{"key is a list", serviceAccountFile(m{"private_key": []string{"x"}}), "private_key"},
		{"quota project injects", serviceAccountFile(m{"quota_project_id": "x\r\nY: z"}), "quota_project_id"}, // G16
		{"quota project", serviceAccountFile(m{"quota_project_id": "example.com:project-2"}), ""},
		{"empty", nil, "JSON"}, // CA18
		{"null", []byte("null"), "object"},
		{"not JSON", []byte("SENTINEL{"), "JSON"},
		{"too large", append(serviceAccountFile(nil), make([]byte, 1<<20)...), "1 MiB"},
		{"one too many", slices.Concat(serviceAccountFile(nil), []byte("{}")), "JSON"},
	} {
		sa, err := ParseServiceAccount(tt.data)
		if (err == nil) != (tt.want == "") || (sa == nil) != (err != nil) ||
			err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "oauth2: ") ||
				strings.Contains(err.Error(), "SENTINEL")) {
			t.Errorf("%s: %v, %v, want %q", tt.name, sa, err, tt.want)
		}
	}
	name := filepath.Join(t.TempDir(), "sa.json")
	if err := os.WriteFile(name, serviceAccountFile(nil), 0o444); err != nil {
		t.Fatal(err)
	}
	if sa, err := ReadServiceAccountFile(name, "a b", "c"); err != nil || sa.Email != serviceAccountEmail ||
		sa.ProjectID != "project-1" || !slices.Equal(sa.Scopes, []string{"a", "b", "c"}) {
		t.Error(sa, err)
	}
	if sa, err := ReadServiceAccountFile(name + "x"); sa != nil || !errors.Is(err, os.ErrNotExist) {
		t.Error(sa, err)
	}
}

// TestServiceAccountEmail: an e-mail address can't add claims to an assertion, nor steer a terminal. // G17
func TestServiceAccountEmail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const evil = "a\",\"aud\":\"https://evil.example\",\"x\":\"\r\n\x1b[2J"
		s, _ := serviceAccountServer(t)
		s.AssertionIss = ""
		sa, err := ParseServiceAccount(serviceAccountFile(map[string]any{"client_email": evil}), "a")
		if err != nil {
			return // refused is as good
		}
		sa.HTTPClient = &http.Client{Transport: s.Transport()}
		if _, err := sa.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		claims := signedClaims(t, s.Requests()[0].Form.Get("assertion"))
		if claims["iss"] != evil || claims["aud"] != "https://as.example/token" || len(claims) != 5 {
			t.Error(claims)
		}
		s.AssertionIss = "b"
		if _, err := sa.WithScopes("b").Token(t.Context()); err == nil || strings.ContainsAny(err.Error(), "\r\n\x1b") {
			t.Errorf("%q", err)
		}
	})
}

// TestClientAssertion: private_key_jwt, and the client's own tokens.
// T9 XO39 CA23
func TestClientAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		s.AuthMethod, s.ClientKey, s.ClientSecret = "private_key_jwt", &serverKey().PublicKey, ""
		c := &ClientSecrets{
			ClientID:   s.ClientID,
			TokenURI:   s.URL + "/token",
			Key:        serverKey(),
			KeyID:      "key-1",
			HTTPClient: &http.Client{Transport: s.Transport()},
		}
		src := (&ClientCredentials{Client: c, Scopes: []string{"a b", "c"}})
		var first string
		for range 5 {
			tok, err := src.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = tok.AccessToken.Reveal()
			}
			if tok.AccessToken.Reveal() != first || !slices.Equal(tok.Scopes, []string{"a", "b", "c"}) {
				t.Error(tok)
			}
		}
		if n := s.TokenRequests("client_credentials"); n != 1 {
			t.Error(n, "requests")
		}
		r := s.Requests()[0]
		claims := signedClaims(t, r.Form.Get("client_assertion"))
		now := float64(time.Now().Unix())
		iat, exp := claims["iat"].(float64), claims["exp"].(float64)
		jti, _ := claims["jti"].(string)
		if claims["aud"] != "https://as.example/token" || claims["iss"] != s.ClientID ||
			claims["sub"] != s.ClientID || len(claims) != 6 ||
			now-iat != 10 || exp <= now || exp-iat > 600 || len(jti) != 43 {
			t.Error(claims)
		}
		// RFC 7523, Sections 4 and 2.2: the names
		want := url.Values{
			"grant_type":            {"client_credentials"},
			"client_id":             {s.ClientID},
			"scope":                 {"a b c"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      r.Form["client_assertion"],
		}
		if r.Form.Encode() != want.Encode() || r.Header.Get("Authorization") != "" || len(r.Query) != 0 {
			t.Error(r.Form)
		}

		// Each attempt has an assertion of its own.
		failures := 2
		s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
			if failures--; failures >= 0 {
				w.WriteHeader(503)
			}
			return failures >= 0
		}
		if _, err := (&ClientCredentials{Client: c}).Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, r := range s.Requests() {
			seen[signedClaims(t, r.Form.Get("client_assertion"))["jti"].(string)] = true
		}
		if len(seen) != 4 {
			t.Error(len(seen), "different jti in 4 requests")
		}
	})
	for name, change := range map[string]func(c *ClientSecrets){ // what can't work is an error before any request
		"no key":        func(c *ClientSecrets) { c.AuthMethod, c.Key = "private_key_jwt", nil },
		"empty key":     func(c *ClientSecrets) { c.Key = new(rsa.PrivateKey) },
		"weak key":      func(c *ClientSecrets) { c.Key = weakKey() },
		"no client ID":  func(c *ClientSecrets) { c.ClientID = "" },
		"http endpoint": func(c *ClientSecrets) { c.TokenURI = "http://as.example/token" },
	} {
		s := NewMemoryServer()
		c := &ClientSecrets{
			ClientID:   s.ClientID,
			TokenURI:   s.URL + "/token",
			Key:        serverKey(),
			HTTPClient: &http.Client{Transport: s.Transport()},
		}
		change(c)
		tok, err := (&ClientCredentials{Client: c}).Token(t.Context())
		if err == nil || tok != nil || len(s.Requests()) != 0 {
			t.Error(name, tok, err, s.Requests())
		}
	}
}

// TestClientCredentials: the grant with a secret; a refusal is an Error and not an empty token. // XO39 CA11 XO40
func TestClientCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		c := clientOf(s)
		c.AuthMethod = "client_secret_post"
		src := (&ClientCredentials{Client: c, Scopes: []string{"a"}})
		for range 3 {
			if _, err := src.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if s.TokenRequests("") != 1 {
			t.Error(s.TokenRequests(""), "requests")
		}
		e := (*Error)(nil)
		s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
			writeJSON(w, 400, answerMembers{"error": "invalid_scope"})
			return true
		}
		tok, err := (&ClientCredentials{Client: c, Scopes: []string{"x"}}).Token(t.Context())
		if tok != nil || !errors.As(err, &e) || e.Code != "invalid_scope" || e.StatusCode != 400 {
			t.Error(tok, err)
		}
		for _, body := range []answerMembers{{}, {"error": "invalid_scope"}} {
			s.Hook = func(w http.ResponseWriter, _ *http.Request) bool { writeJSON(w, 200, body); return true }
			tok, err := (&ClientCredentials{Client: c, Scopes: []string{"x"}}).Token(t.Context())
			if tok != nil || err == nil {
				t.Error(body, tok, err)
			}
		}
		if new(Error).Error() == "" || new(Error).Temporary() { // CA18
			t.Error("zero Error")
		}
	})
}

// FuzzServiceAccount: a file is refused, or makes credentials whose assertions verify.
func FuzzServiceAccount(f *testing.F) {
	text := pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rfc7515Key()))
	for _, change := range []map[string]any{
		nil, {"type": "external_account"},
		{"private_key": "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"}, {"token_uri": "http://x"},
		{"client_email": "\x00"},
	} {
		members := map[string]any{"private_key": text} // not a random one, so that the corpus stays what it is
		maps.Copy(members, change)
		f.Add(serviceAccountFile(members))
	}
	f.Add([]byte(`{"type":"service_account","private_key":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		sa, err := ParseServiceAccount(data, "a")
		if err != nil {
			if sa != nil || !strings.HasPrefix(err.Error(), "oauth2: ") {
				t.Error(sa, err)
			}
			return
		}
		if _, err := checkEndpoint(sa.TokenURI); err != nil || sa.Email == "" {
			t.Error(sa.TokenURI, err)
		}
		tok, err := sa.WithAudience("x").Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, claims, err := verifiedParts(tok.AccessToken.Reveal(), &sa.signer.key.PublicKey); err != nil ||
			claims["aud"] != "x" {
			t.Error(claims, err)
		}
	})
}
