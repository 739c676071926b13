package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// raceDetector reports whether the race detector is on, which allocates.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// checkSignature checks a signature.
func checkSignature(key crypto.PublicKey, signed string, signature []byte) error {
	if !(parsedJWT{signed: signed, signature: signature}).verify(key) {
		return errors.New("no match")
	}
	return nil
}

// verifyNonce verifies raw, and its nonce unless that is empty.
func verifyNonce(ctx context.Context, v *IDTokenVerifier, raw, nonce string) (*IDToken, error) {
	if nonce == "" {
		return v.Verify(ctx, raw)
	}
	return v.VerifyNonce(ctx, raw, nonce)
}

// checkVerify verifies raw and wants an error with a text, or none where that is empty. No claims may come with an
// error.
//
// J26
func checkVerify(t *testing.T, v *IDTokenVerifier, raw, nonce, want string) *IDToken {
	t.Helper()
	tok, err := verifyNonce(t.Context(), v, raw, nonce)
	switch {
	case want == "" && (err != nil || tok == nil):
		t.Errorf("refused: %v", err)
	case want != "" && (err == nil || tok != nil):
		t.Errorf("accepted, or claims beside an error: %v, %v", tok, err)
	case want != "" && (!strings.HasPrefix(err.Error(), "oauth2: the ID token ") ||
		!strings.Contains(err.Error(), want)):
		t.Errorf("%q, want %q", err, want)
	case want != "" && (len(err.Error()) > 500 || unprintable(err.Error())):
		t.Errorf("unsafe error: %q", err)
	}
	if parts := strings.Split(raw, "."); err != nil {
		for _, part := range parts {
			if len(part) > 20 && strings.Contains(err.Error(), part) {
				t.Errorf("the error quotes the token: %v", err)
			}
		}
	}
	return tok
}

// A tokenMaker builds a token when a subtest asks for it, and so with the times of its bubble.
type tokenMaker func() string

// goodToken makes a token that is accepted.
func goodToken() string { return goodJWT() }

// withHeader makes a token that is good but for members of its header, changed as by jwkJSON.
func withHeader(pairs ...string) tokenMaker {
	return func() string { return signJWT(serverKey(), headerJSON(pairs...), claimsJSON()) }
}

// withClaims makes a token that is good but for some claims, changed as by jwkJSON.
func withClaims(pairs ...string) tokenMaker {
	return func() string { return goodJWT(pairs...) }
}

// withTime makes a token in which one claim is a time, so far from now.
func withTime(claim string, fromNow time.Duration) tokenMaker {
	return func() string { return goodJWT(claim, fmt.Sprint(time.Now().Add(fromNow).Unix())) }
}

// withPayload makes a token of any text.
func withPayload(text string) tokenMaker {
	return func() string { return signJWT(serverKey(), headerJSON(), text) }
}

// withParts puts the parts of a good token together in another way.
func withParts(arrange func(header, payload, signature string) string) tokenMaker {
	return func() string {
		header, payload, signature := splitJWT(goodJWT())
		return arrange(header, payload, signature)
	}
}

// arranged is withParts by a text, which has {h}, {p} and {s} for the parts. {h1} is the first four letters of the
// header, and {h2} is the rest of it.
func arranged(text string) tokenMaker {
	return withParts(func(h, p, s string) string {
		return strings.NewReplacer("{h}", h, "{h1}", h[:4], "{h2}", h[4:], "{p}", p, "{p1}", p[:4], "{p2}", p[4:],
			"{s}", s, "{s1}", s[:4], "{s2}", s[4:]).Replace(text)
	})
}

// TestVerifyClaims: what an accepted token says, and what may be in one.
func TestVerifyClaims(t *testing.T) {
	t.Parallel()
	longestKeyID := strings.Repeat("k", 256)
	for _, tt := range []struct {
		name  string
		token tokenMaker
		nonce string
		ok    func(tok *IDToken) bool // nil: accepted is all
	}{
		{
			name: "all claims", // PY14 UP35: hd is there
			token: withClaims("email", `"p@example.com"`, "email_verified", "true",
				"hd", `"example.com"`, "nbf", "1"),
			ok: func(tok *IDToken) bool {
				return tok.Issuer == "https://as.example" && tok.Subject == "user-1" &&
					tok.Email == "p@example.com" && tok.EmailVerified && tok.HostedDomain == "example.com" &&
					slices.Equal(tok.Audience, []string{"client-1.example"}) &&
					tok.Expiry.Sub(tok.IssuedAt) == time.Hour
			},
		},
		{
			name:  "email_verified as a string",
			token: withClaims("email_verified", `"true"`),
			ok:    func(tok *IDToken) bool { return tok.EmailVerified },
		},
		{
			name:  "email_verified false",
			token: withClaims("email_verified", "false"),
			ok:    func(tok *IDToken) bool { return !tok.EmailVerified },
		},
		{name: "no type", token: withHeader("typ", "")},
		{name: "type in lower case", token: withHeader("typ", `"jwt"`)},
		{
			name: "another case is another member", // J7
			token: func() string {
				header := headerJSON("ALG", `"none"`, "Crit", `["x"]`)
				return signJWT(serverKey(), header, claimsJSON("AUD", `"evil"`, "Exp", "1"))
			},
		},
		{
			name: "escaped names are the same names",
			token: func() string {
				header := strings.Replace(headerJSON(), `"alg"`, `"\u0061lg"`, 1)
				return signJWT(serverKey(), header, claimsJSON())
			},
		},
		{
			name: "keys in the header are not looked at", // J5
			token: withHeader("jwk", jwkJSON("k1", &otherKey().PublicKey), "x5c", `["MIIB"]`,
				"jku", `"https://evil.example/"`, "x5u", `"https://evil.example/"`),
		},
		{name: "one audience in a list", token: withClaims("aud", `["client-1.example"]`)}, // J20
		{
			name:  "two audiences and azp", // J21
			token: withClaims("aud", `["b","client-1.example"]`, "azp", `"client-1.example"`),
			ok:    func(tok *IDToken) bool { return len(tok.Audience) == 2 },
		},
		{name: "azp", token: withClaims("azp", `"client-1.example"`)},
		{
			name:  "azp of another, who calls the one audience", // J21 W1
			token: withClaims("azp", `"b"`),
			ok:    func(tok *IDToken) bool { return tok.AuthorizedParty == "b" },
		},
		{name: "longest subject", token: withClaims("sub", `"`+strings.Repeat("s", 255)+`"`)}, // J23
		{name: "longest key ID is looked up", token: withHeader("kid", `"`+longestKeyID+`"`)}, // J6
		{name: "deepest claim", token: withClaims("x", nestedLists(maxDepth-1))},              // J25
		{name: "nonce", token: withClaims("nonce", `"n"`), nonce: "n"},                        // F29
		{name: "nonce not asked for", token: withClaims("nonce", `"n"`)},
		{name: "time with a fraction", token: func() string { // J17
			return goodJWT("iat", fmt.Sprintf("%d.75", time.Now().Unix()))
		}},
		{
			name:  "time with an exponent", // J17
			token: withClaims("exp", "4.0e9"),
			ok:    func(tok *IDToken) bool { return tok.Expiry.Unix() == 4e9 },
		},
		{name: "clock 50 s behind", token: func() string { // UP33 PY14 J18
			soon := fmt.Sprint(time.Now().Unix() + 50)
			return goodJWT("iat", soon, "nbf", soon)
		}},
		{name: "clock 30 s ahead", token: withTime("exp", -30*time.Second)}, // J17
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				key := &serverKey().PublicKey
				keys := serveKeys(jwkJSON("k1", key), jwkJSON(longestKeyID, key))
				tok := checkVerify(t, verifierWith(keys), tt.token(), tt.nonce, "")
				if tok != nil && tt.ok != nil && !tt.ok(tok) {
					t.Errorf("%+v", tok)
				}
				if !slices.Equal(keys.urls, []string{"https://as.example/keys"}) {
					t.Error(keys.urls)
				}
			})
		})
	}
	v := verifierWith(serveKeys(jwkJSON("k1", &serverKey().PublicKey)))
	tok := checkVerify(t, v, goodJWT("roles", `["a","b"]`, "n", "7"), "", "")
	var roles []string
	n := 5
	if err := tok.Claim("roles", &roles); err != nil || !slices.Equal(roles, []string{"a", "b"}) {
		t.Error("Claim", roles, err)
	}
	if err := tok.Claim("Roles", &n); err != nil || n != 5 { // not there: unchanged
		t.Error("Claim", n, err)
	}
	if tok.Claim("roles", &n) == nil {
		t.Error("Claim reads a list as a number")
	}
}

// nestedLists returns a JSON list in a list, and so on.
func nestedLists(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// A refusal is a token that is signed correctly, mostly, and not accepted.
type refusal struct {
	name    string
	token   tokenMaker
	nonce   string
	want    string // in the error
	fetches int    // of the key set, by a verifier that has none yet
}

// TestVerifyRefuses: a correct signature makes none of these good, and junk causes no request, whether the
// verifier has keys or not. // K2
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	for _, rows := range [][]refusal{
		refusedAlgorithms(), refusedHeaders(), refusedForms(), refusedTimes(), refusedAudiences(),
		refusedIssuersAndSubjects(), refusedTypesAndPayloads(), refusedNonces(), refusedSignatures(),
	} {
		for _, tt := range rows {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, tt.check)
			})
		}
	}
}

// unsigned is what Verify says when a signature is wrong, and so what it says of keys that it has.
const unsigned = "signature that does not match"

// check verifies the token with a verifier that has no keys yet, and with one that has.
func (r *refusal) check(t *testing.T) {
	key := &serverKey().PublicKey
	raw, set := r.token(), []string{jwkJSON("k1", key), jwkJSON("k2", key)}
	keys := serveKeys(set...)
	checkVerify(t, verifierWith(keys), raw, r.nonce, r.want)
	if keys.count() != r.fetches || r.fetches == 1 && keys.urls[0] != "https://as.example/keys" {
		t.Errorf("asked for %q", keys.urls)
	}
	warm := verifierWith(serveKeys(set...))
	checkVerify(t, warm, goodJWT(), "", "")
	// With keys at hand, the signature may be what is looked at first.
	if _, err := verifyNonce(t.Context(), warm, raw, r.nonce); !errorSays(err, unsigned) {
		checkVerify(t, warm, raw, r.nonce, r.want)
	}
}

// J1 J2
func refusedAlgorithms() []refusal {
	const want = "not with RS256"
	// symmetric uses something that is public as the secret of an HMAC.
	symmetric := func(secret []byte) tokenMaker {
		return withParts(func(_, payload, _ string) string {
			input := rawBase64.EncodeToString([]byte(headerJSON("alg", `"HS256"`))) + "." + payload
			return input + "." + rawBase64.EncodeToString(hmacSHA256(secret, input))
		})
	}
	pss := withParts(func(_, payload, _ string) string {
		input := rawBase64.EncodeToString([]byte(headerJSON("alg", `"PS256"`))) + "." + payload
		sum := sha256.Sum256([]byte(input))
		signature, _ := rsa.SignPSS(rand.Reader, serverKey(), crypto.SHA256, sum[:], nil)
		return input + "." + rawBase64.EncodeToString(signature)
	})
	es256 := withParts(func(_, payload, _ string) string {
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		input := rawBase64.EncodeToString([]byte(headerJSON("alg", `"ES256"`))) + "." + payload
		sum := sha256.Sum256([]byte(input))
		r, s, _ := ecdsa.Sign(rand.Reader, key, sum[:])
		signature := make([]byte, 64)
		signature = append(r.FillBytes(signature[:32]), s.FillBytes(signature[32:64])...)
		return input + "." + rawBase64.EncodeToString(signature)
	})
	unprotected := withParts(func(_, payload, _ string) string {
		return rawBase64.EncodeToString([]byte(`{"alg":"none"}`)) + "." + payload + "."
	})
	spki, _ := x509.MarshalPKIXPublicKey(&serverKey().PublicKey)
	pkcs1 := x509.MarshalPKCS1PublicKey(&serverKey().PublicKey)
	return []refusal{
		{name: "no algorithm, no signature", token: unprotected, want: "a part that is empty"},
		{name: "none", token: withHeader("alg", `"none"`), want: want},
		{name: "None", token: withHeader("alg", `"None"`), want: want},
		{name: "NONE", token: withHeader("alg", `"NONE"`), want: want},
		{name: "nOnE", token: withHeader("alg", `"nOnE"`), want: want},
		{name: "empty alg", token: withHeader("alg", `""`), want: want},
		{name: "null alg", token: withHeader("alg", `null`), want: want},
		{name: "missing alg", token: withHeader("alg", ""), want: want},
		{name: "alg in a list", token: withHeader("alg", `["RS256"]`), want: "alg that is not"},
		{name: "rs256", token: withHeader("alg", `"rs256"`), want: want},
		{name: "RS256 and a NUL", token: withHeader("alg", `"RS256\u0000"`), want: want},
		{name: "RS512", token: withHeader("alg", `"RS512"`), want: want},

		{name: "HS256 with the PEM", token: symmetric([]byte(pemText("PUBLIC KEY", spki))), want: want},
		{name: "HS256 with the PKCS #1 PEM", token: symmetric([]byte(pemText("RSA PUBLIC KEY", pkcs1))), want: want},
		{name: "HS256 with the SPKI", token: symmetric(spki), want: want},
		{name: "HS256 with the DER", token: symmetric(pkcs1), want: want},
		{name: "HS256 with the modulus", token: symmetric(serverKey().N.Bytes()), want: want},
		{name: "HS256 with nothing", token: symmetric(nil), want: want},
		{name: "PS256 of the right key", token: pss, want: want},
		// W9: an algorithm that is known, but not of this key
		{name: "ES256 of another key", token: es256, want: `no key "k1" for ES256`, fetches: 1},
		{name: "EdDSA", token: withHeader("alg", `"EdDSA"`), want: `no key "k1" for EdDSA`, fetches: 1},
	}
}

// J4 J5 J6 J7
func refusedHeaders() []refusal {
	// byOther is signed by the attacker's key.
	byOther := func(pairs ...string) tokenMaker {
		return func() string { return signJWT(otherKey(), headerJSON(pairs...), claimsJSON()) }
	}
	header := func(text string) tokenMaker {
		return func() string { return signJWT(serverKey(), text, claimsJSON()) }
	}
	longID := func(size int) tokenMaker { return withHeader("kid", `"`+strings.Repeat("k", size)+`"`) }
	return []refusal{
		{name: "crit", token: withHeader("crit", `["exp"]`, "exp", "1"), want: "critical"},
		{name: "crit of b64", token: withHeader("crit", `["b64"]`, "b64", "false"), want: "critical"},
		{name: "empty crit", token: withHeader("crit", `[]`), want: "critical"},
		{name: "crit is no list", token: withHeader("crit", `"exp"`), want: "critical"},
		{name: "null crit", token: withHeader("crit", `null`), want: "critical"},

		{
			name:    "key of the attacker in the header",
			token:   byOther("jwk", jwkJSON("k1", &otherKey().PublicKey)),
			want:    unsigned,
			fetches: 1,
		},
		{
			name:    "URL of the attacker in the header",
			token:   byOther("jku", `"https://evil.example/"`, "x5u", `"https://evil.example/"`),
			want:    unsigned,
			fetches: 1,
		},
		{name: "another key under the right ID", token: byOther(), want: unsigned, fetches: 1},

		{name: "kid is a number", token: withHeader("kid", "1"), want: "kid that is not"},
		{name: "kid is a path", token: withHeader("kid", `"../../x"`), want: `no key "../../x"`, fetches: 1},
		{name: "kid is a URL", token: withHeader("kid", `"https://evil.example/#"`), want: "no key", fetches: 1},
		{
			name:    "kid steers terminals",
			token:   withHeader("kid", `"\u001b[31m\r\n\u202e"`),
			want:    `no key "\x1b[31m\r\n`,
			fetches: 1,
		},
		{name: "kid of 257 bytes", token: longID(257), want: "256 bytes"},
		{name: "kid of 1 MiB", token: longID(1 << 20), want: "three parts"},

		{name: "alg twice", token: header(`{"alg":"none","alg":"RS256","kid":"k1"}`), want: "twice"},
		{
			name:  "alg twice, once escaped",
			token: header(`{"\u0061lg":"none","alg":"RS256","kid":"k1"}`),
			want:  "twice",
		},
		{name: "header is a list", token: header(`["RS256"]`), want: "header that is"},    // J25
		{name: "header is not JSON", token: header(`alg: RS256`), want: "header that is"}, // J25
	}
}

// J8 J9 J10
func refusedForms() []refusal {
	const parts, base64url = "three parts", "base64url"
	return []refusal{
		{name: "padding", token: arranged("{h}=.{p}.{s}"), want: base64url},
		{name: "padded signature", token: arranged("{h}.{p}.{s}=="), want: base64url},
		{name: "line end in the header", token: arranged("{h1}\n{h2}.{p}.{s}"), want: base64url},
		{name: "line end in the claims", token: arranged("{h}.{p1}\r\n{p2}.{s}"), want: base64url},
		{name: "line end in the signature", token: arranged("{h}.{p}.{s1}\n{s2}"), want: base64url},
		{name: "line end behind", token: arranged("{h}.{p}.{s}\n"), want: base64url},
		{name: "space before", token: arranged(" {h}.{p}.{s}"), want: base64url},
		{name: "plus", token: arranged("{h}.{p}.+AAA{s2}"), want: base64url},
		{name: "slash", token: arranged("{h}.{p}./AAA{s2}"), want: base64url},
		{
			name: "bits behind the signature",
			token: withParts(func(h, p, s string) string {
				return h + "." + p + "." + s[:len(s)-1] + string(s[len(s)-1]+1)
			}),
			want: base64url,
		},
		{name: "one letter more", token: arranged("{h}.{p}.{s}A"), want: unsigned, fetches: 1},

		{name: "empty", token: arranged(""), want: parts},
		{name: "one part", token: arranged("{h}"), want: parts},
		{name: "two parts", token: arranged("{h}.{p}"), want: parts},
		{name: "four parts", token: arranged("{h}.{p}.{s}.x"), want: parts},
		{name: "five parts, JWE", token: arranged("{h}.{s}.{s}.{p}.{s}"), want: "encrypted ones"}, // J10 W8
		{name: "dots", token: arranged(".."), want: base64url},
		{name: "no header", token: arranged(".{p}.{s}"), want: base64url},
		{name: "no claims, detached", token: arranged("{h}..{s}"), want: base64url}, // J10
		{name: "no signature", token: arranged("{h}.{p}."), want: base64url},
		{name: "10 MiB of dots", token: arranged(strings.Repeat(".", 10<<20)), want: parts},

		{
			name:  "JSON serialization",
			token: arranged(`{"payload":"{p}","protected":"{h}","signature":"{s}"}`),
			want:  parts,
		},
		{name: "JSON with dots", token: arranged(`{"payload":"{p}","x":"a.b.c"}`), want: base64url},
	}
}

// J17 J18
func refusedTimes() []refusal {
	return []refusal{
		{name: "no exp", token: withClaims("exp", ""), want: "(iat, exp)"},
		{name: "exp is a string", token: withClaims("exp", `"4000000000"`), want: "exp that is not a time"},
		{name: "exp overflows", token: withClaims("exp", "1e400"), want: "not a time"},
		{name: "exp beyond all calendars", token: withClaims("exp", "253402300800"), want: "not a time"},
		{name: "exp negative", token: withClaims("exp", "-1"), want: "not a time"},
		{name: "exp zero", token: withClaims("exp", "0"), want: "(iat, exp)"},
		{name: "exp null", token: withClaims("exp", "null"), want: "(iat, exp)"},
		{name: "exp true", token: withClaims("exp", "true"), want: "not a time"},
		{name: "exp NaN", token: withClaims("exp", "NaN"), want: "not valid JSON"},
		{name: "exp as text NaN", token: withClaims("exp", `"NaN"`), want: "not a time"},
		{name: "expired long ago", token: withClaims("exp", "1.5e8", "iat", "1.4e8"), want: "expires at"},
		{name: "expired", token: withTime("exp", -61*time.Second), want: "expires at"},

		{name: "no iat", token: withClaims("iat", ""), want: "(iat, exp)"},
		{name: "iat in the future", token: withTime("iat", 61*time.Second), want: "clock says"},
		{name: "iat is a string", token: withClaims("iat", `"1"`), want: "not a time"},
		{name: "nbf in the future", token: withTime("nbf", 61*time.Second), want: "clock says"},
		{name: "nbf is a string", token: withClaims("nbf", `"1"`), want: "not a time"},
	}
}

// J20 J21 PY14 UP35
func refusedAudiences() []refusal {
	const two = `["b","client-1.example"]`
	return []refusal{
		{name: "no aud", token: withClaims("aud", ""), want: "audience"},
		{name: "aud of another client", token: withClaims("aud", `"client-2.example"`), want: "audience"},
		{name: "aud is longer", token: withClaims("aud", `"client-1.example2"`), want: "audience"},
		{name: "aud is a prefix", token: withClaims("aud", `"client-1"`), want: "audience"},
		{name: "aud in another case", token: withClaims("aud", `"CLIENT-1.example"`), want: "audience"},
		{name: "aud empty", token: withClaims("aud", `""`), want: "audience"},
		{name: "aud empty list", token: withClaims("aud", `[]`), want: "audience"},
		{name: "aud list of nothing", token: withClaims("aud", `[""]`), want: "audience"},
		{name: "aud null", token: withClaims("aud", `null`), want: "audience"},
		{name: "aud with a number", token: withClaims("aud", `["client-1.example",1]`), want: "list of strings"},
		{
			name:  "aud with null",
			token: withClaims("aud", `["client-1.example",null]`, "azp", `"client-1.example"`),
			want:  "not for the audience",
		},
		{name: "aud is an object", token: withClaims("aud", `{"client-1.example":1}`), want: "list of strings"},
		{name: "aud is a number", token: withClaims("aud", `1`), want: "list of strings"},

		{name: "two audiences, no azp", token: withClaims("aud", two), want: "another party"},
		{name: "two audiences, azp of the other", token: withClaims("aud", two, "azp", `"b"`), want: "another party"},
		{name: "two audiences, azp of a third", token: withClaims("aud", two, "azp", `"c"`), want: "another party"},
		{name: "azp is a list", token: withClaims("azp", `["client-1.example"]`), want: "not a string"},
	}
}

// J22 J23 PY14 UP35
func refusedIssuersAndSubjects() []refusal {
	const by = "issued by"
	return []refusal{
		{name: "no iss", token: withClaims("iss", ""), want: by},
		{name: "iss of another", token: withClaims("iss", `"https://evil.example"`), want: by},
		{name: "iss with a slash", token: withClaims("iss", `"https://as.example/"`), want: by},
		{name: "iss in capitals", token: withClaims("iss", `"HTTPS://AS.EXAMPLE"`), want: by},
		{name: "iss without scheme, which is Google's alone", token: withClaims("iss", `"as.example"`), want: by},
		{name: "iss is Google without scheme", token: withClaims("iss", `"accounts.google.com"`), want: by},
		{name: "iss is Google", token: withClaims("iss", `"https://accounts.google.com"`), want: by},
		{name: "iss is a list", token: withClaims("iss", `["https://as.example"]`), want: "not a string"},
		{name: "iss steers terminals", token: withClaims("iss", `"\u001b[2J\u202e"`), want: by},

		{name: "no sub", token: withClaims("sub", ""), want: "subject"},
		{name: "empty sub", token: withClaims("sub", `""`), want: "subject"},
		{name: "sub of 256 bytes", token: withClaims("sub", `"`+strings.Repeat("s", 256)+`"`), want: "subject"},
		{name: "sub is a number", token: withClaims("sub", `1`), want: "not a string"},
	}
}

// J24 J25
func refusedTypesAndPayloads() []refusal {
	const typ = "of another type"
	notUTF8 := func() string {
		return signJWT(serverKey(), headerJSON(), strings.Replace(claimsJSON(), "user-1", "user-\xff", 1))
	}
	twoObjects := func() string { return signJWT(serverKey(), headerJSON(), claimsJSON()+claimsJSON()) }
	return []refusal{
		{name: "access token", token: withHeader("typ", `"at+jwt"`), want: typ},
		{name: "access token, long form", token: withHeader("typ", `"application/at+jwt"`), want: typ},
		{name: "logout token", token: withHeader("typ", `"logout+jwt"`), want: typ},
		{name: "type is a number", token: withHeader("typ", `1`), want: typ},

		{name: "claims are a list", token: withPayload(`[]`), want: "not a JSON object"},
		{name: "claims are a string", token: withPayload(`"x"`), want: "not a JSON object"},
		{name: "claims are null", token: withPayload(`null`), want: "not a JSON object"},
		{name: "claims are text", token: withPayload(`hello`), want: "not valid JSON"},
		{name: "claims are two objects", token: twoObjects, want: "not valid JSON"},
		{name: "claims are not UTF-8", token: notUTF8, want: "UTF-8"},
		{name: "claims too deep", token: withClaims("x", nestedLists(maxDepth)), want: "too deep"},
		{name: "aud twice", want: "twice", token: func() string { // J7
			return signJWT(serverKey(), headerJSON(), strings.Replace(claimsJSON(), `{`, `{"aud":"x",`, 1))
		}},
		{name: "a name twice, deep", token: withClaims("x", `[{"a":1,"a":2}]`), want: "twice"}, // J7
	}
}

// F29 PY14 UP35
func refusedNonces() []refusal {
	return []refusal{
		{name: "no nonce", token: goodToken, nonce: "n", want: "another sign-in"},
		{name: "another nonce", token: withClaims("nonce", `"m"`), nonce: "n", want: "another sign-in"},
		{name: "a longer nonce", token: withClaims("nonce", `"nn"`), nonce: "n", want: "another sign-in"},
		{name: "nonce is a list", token: withClaims("nonce", `["n"]`), nonce: "n", want: "nonce is not the one"},
	}
}

// J11
func refusedSignatures() []refusal {
	// otherClaims puts claims under the signature of others.
	otherClaims := func(claims func() string) tokenMaker {
		return withParts(func(h, _, s string) string {
			return h + "." + rawBase64.EncodeToString([]byte(claims())) + "." + s
		})
	}
	return []refusal{
		{
			name:    "claims of another token",
			token:   otherClaims(func() string { return claimsJSON("sub", `"admin"`) }),
			want:    unsigned,
			fetches: 1,
		},
		{
			name:    "claims written otherwise",
			token:   otherClaims(func() string { return " " + claimsJSON() }),
			want:    unsigned,
			fetches: 1,
		},
		{
			name: "signature too short",
			token: withParts(func(h, p, s string) string {
				signature, _ := rawBase64.DecodeString(s)
				return h + "." + p + "." + rawBase64.EncodeToString(signature[:255])
			}),
			want:    unsigned,
			fetches: 1,
		},
	}
}

// TestVerifierSettings: what a caller can set, and can't.
func TestVerifierSettings(t *testing.T) {
	t.Parallel()
	key := jwkJSON("k1", &serverKey().PublicKey)
	google := func(v *IDTokenVerifier) { v.Issuer, v.KeysURI = "", "" }
	leeway := func(d time.Duration) func(*IDTokenVerifier) { return func(v *IDTokenVerifier) { v.Leeway = d } }
	keysAt := func(uri string) func(*IDTokenVerifier) { return func(v *IDTokenVerifier) { v.KeysURI = uri } }
	issuedBy := func(issuer string) tokenMaker { return withClaims("iss", `"`+issuer+`"`) }
	const asKeys = "https://as.example/keys"
	for _, tt := range []struct {
		name   string
		set    func(v *IDTokenVerifier)
		token  tokenMaker
		want   string
		url    string // "": no request
		issuer string // "": as set
	}{
		{
			name:  "no audience", // J20
			set:   func(v *IDTokenVerifier) { v.Audience = "" },
			token: withClaims("aud", `""`),
			want:  "needs an Audience",
		},
		{
			name:  "leeway of 5 minutes",
			set:   leeway(5 * time.Minute),
			token: withTime("exp", -299*time.Second),
			url:   asKeys,
		},
		{name: "leeway of more", set: leeway(5*time.Minute + 1), token: goodToken, want: "Leeway"}, // J19
		{name: "leeway of 6 minutes", set: leeway(6 * time.Minute), token: goodToken, want: "Leeway"},
		{name: "negative leeway", set: leeway(-1), token: goodToken, want: "Leeway"}, // J19
		{name: "leeway of 1 s", set: leeway(time.Second), token: withTime("exp", -2*time.Second), want: "expires at"},
		{
			name:   "Google",
			set:    google,
			token:  issuedBy("https://accounts.google.com"),
			url:    googleKeysURI,
			issuer: "https://accounts.google.com",
		},
		{
			name:   "Google without scheme", // J22
			set:    google,
			token:  issuedBy("accounts.google.com"),
			url:    googleKeysURI,
			issuer: googleIssuer,
		},
		{
			name:  "Google by name",
			set:   func(v *IDTokenVerifier) { v.Issuer, v.KeysURI = googleIssuer, "" },
			token: issuedBy("accounts.google.com"),
			url:   googleKeysURI,
		},
		{name: "not Google", set: google, token: issuedBy("http://accounts.google.com"), want: "issued by"},
		{
			name:  "Firebase is not Google", // PY14
			set:   google,
			token: issuedBy("https://securetoken.google.com/p"),
			want:  "issued by",
		},
		{name: "no key set", set: keysAt(""), token: goodToken, want: "missing"},
		{name: "keys over http", set: keysAt("http://as.example/keys"), token: goodToken, want: "only https"}, // K9
		{name: "keys from a file", set: keysAt("file:///etc/keys"), token: goodToken, want: "valid URL"},      // K9
		{
			name:  "keys on this machine",
			set:   keysAt("http://127.0.0.1:1/keys"),
			token: goodToken,
			url:   "http://127.0.0.1:1/keys",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				keys := serveKeys(key)
				v := verifierWith(keys)
				tt.set(v)
				tok := checkVerify(t, v, tt.token(), "", tt.want)
				if tt.issuer != "" && tok != nil && tok.Issuer != tt.issuer {
					t.Error(tok.Issuer)
				}
				if strings.Join(keys.urls, " ") != tt.url {
					t.Errorf("asked for %q", keys.urls)
				}
			})
		})
	}
}

// TestVerifyClock: the second stage alone, to the nanosecond. // J17 J18 J19
func TestVerifyClock(t *testing.T) {
	t.Parallel()
	const iat, exp = 1_700_000_000, 1_700_003_600
	for _, tt := range []struct {
		name   string
		nbf    int64
		leeway time.Duration
		now    time.Time
		want   string
	}{
		{"last moment", 0, time.Minute, time.Unix(exp+60, -1), ""},
		{"expired", 0, time.Minute, time.Unix(exp+60, 0), "expires at"},
		{"first moment", 0, time.Minute, time.Unix(iat-60, 0), ""},
		{"too early", 0, time.Minute, time.Unix(iat-60, -1), "clock says"},
		{"first moment of nbf", iat + 100, time.Minute, time.Unix(iat+40, 0), ""},
		{"before nbf", iat + 100, time.Minute, time.Unix(iat+40, -1), "clock says"},
		{"no leeway", 0, 0, time.Unix(exp, 0), "expires at"},
		{"no leeway, in time", 0, 0, time.Unix(exp, -1), ""},
	} {
		claims := claimsJSON("iat", fmt.Sprint(iat), "exp", fmt.Sprint(exp))
		if tt.nbf != 0 {
			claims = claimsJSON("iat", fmt.Sprint(iat), "exp", fmt.Sprint(exp), "nbf", fmt.Sprint(tt.nbf))
		}
		tok, err := parseClaims(rfc7515Header + "." + rawBase64.EncodeToString([]byte(claims)) + ".AAAA")
		if err != nil {
			t.Fatal(err)
		}
		want := expected{issuer: "https://as.example", audience: "client-1.example", leeway: tt.leeway}
		err = checkAt(t, tok, want, tt.now)
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// checkAt checks the claims of an ID token at a time.
func checkAt(t *testing.T, tok *IDToken, want expected, now time.Time) (err error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		time.Sleep(time.Until(now))
		err = tok.check(want)
	})
	return err
}

// TestVerifySize: a token of 16 KiB passes, one more byte does not, and the size is looked at before anything is
// allocated.
//
// J9 XO40
func TestVerifySize(t *testing.T) {
	keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
	v := verifierWith(keys)
	sized := func(size int) string {
		base := len(goodJWT("x", `""`))
		for extra := range 4 {
			for pad := (size-base)*3/4 - 8; pad < (size-base)*3/4+8; pad++ {
				h := rawBase64.EncodeToString([]byte(headerJSON("x", `"`+strings.Repeat("a", extra)+`"`)))
				n := len(h) + 2 + rawBase64.EncodedLen(len(claimsJSON("x", `""`))+pad) + rawBase64.EncodedLen(256)
				if n == size {
					header := headerJSON("x", `"`+strings.Repeat("a", extra)+`"`)
					return signJWT(serverKey(), header, claimsJSON("x", `"`+strings.Repeat("a", pad)+`"`))
				}
			}
		}
		t.Fatal("no token of that size")
		return ""
	}
	checkVerify(t, v, sized(maxJWT), "", "")
	if checkVerify(t, v, sized(maxJWT+1), "", "three parts"); keys.count() != 1 {
		t.Error(keys.count())
	}
	if raceDetector() {
		return
	}
	for name, raw := range map[string]string{
		"dots":    strings.Repeat(".", 10<<20),
		"letters": strings.Repeat("A", 10<<20),
	} {
		if n := testing.AllocsPerRun(10, func() { parseJWT(raw, maxJWT) }); n > 2 {
			t.Errorf("%s: %v allocations", name, n)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v.Verify(t.Context(), raw)
		// other tests run meanwhile; 10 MiB would show
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 512<<10 {
			t.Errorf("%s: %d bytes", name, after.TotalAlloc-before.TotalAlloc)
		}
	}
}

// TestVerifyEveryBit: of a good token, every change of one bit is refused, and all of them together cause one request.
//
// J11 J8
func TestVerifyEveryBit(t *testing.T) {
	t.Parallel()
	keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
	v := verifierWith(keys)
	good := goodJWT()
	checkVerify(t, v, good, "", "")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for bit := worker; bit < len(good)*8; bit += 4 {
				raw := []byte(good)
				raw[bit/8] ^= 1 << (bit % 8)
				if tok, err := v.Verify(t.Context(), string(raw)); err == nil || tok != nil {
					t.Errorf("bit %d: accepted %q", bit, raw)
				}
			}
			for cut := worker; cut < len(good); cut += 4 {
				if _, err := v.Verify(t.Context(), good[:cut]); err == nil {
					t.Errorf("accepted when cut to %d bytes", cut)
				}
			}
		})
	}
	wg.Wait()
	checkVerify(t, v, good, "", "")
	if keys.count() != 1 { // a changed kid may ask, but not within 30 s of the last time
		t.Error(keys.count(), "requests")
	}
}

// TestVerifySignature: the first stage alone, against every way of padding wrongly that has fooled a library.
//
// J12 J11
func TestVerifySignature(t *testing.T) {
	t.Parallel()
	key := serverKey()
	const signed = "header.payload"
	sum := sha256.Sum256([]byte(signed))
	wrong := sha512.Sum512_256([]byte(signed))
	null := []byte{
		0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
		0x20,
	}
	noNull := []byte{
		0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20,
	}
	long := []byte{
		0x30, 0x81, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
		0x04, 0x20,
	}
	indefinite := []byte{
		0x30, 0x80, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
		0x20,
	}
	params := []byte{
		0x30, 0x33, 0x30, 0x0f, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x02, 0x41,
		0x41, 0x04, 0x20,
	}
	sha1ID := []byte{0x30, 0x29, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x20}
	sha512ID := slices.Concat(null[:14], []byte{0x03}, null[15:])
	pad := func(first, second, fill byte, info ...[]byte) []byte { // 00 01 ff… 00 info
		tail := slices.Concat(info...)
		em := append([]byte{first, second}, bytes.Repeat([]byte{fill}, key.Size()-3-len(tail))...)
		return append(append(em, 0), tail...)
	}
	raw := func(em []byte) []byte {
		m := new(big.Int).Mod(new(big.Int).SetBytes(em), key.N)
		return m.Exp(m, key.D, key.N).FillBytes(make([]byte, key.Size()))
	}
	short := func(fills int, parts ...[]byte) []byte { // few ff, then something behind (Bleichenbacher 2006)
		em := slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xff}, fills), []byte{0}, slices.Concat(parts...))
		return append(em, bytes.Repeat([]byte{0x41}, key.Size()-len(em))...)
	}
	good := raw(pad(0, 1, 0xff, null, sum[:]))
	plusN := new(big.Int).Add(new(big.Int).SetBytes(good), key.N).Bytes()
	pss, _ := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], nil)
	other, _ := rsa.SignPKCS1v15(nil, otherKey(), crypto.SHA256, sum[:])
	for _, tt := range []struct {
		name string
		sig  []byte
		ok   bool
	}{
		{"good", good, true},
		{"no NULL", raw(pad(0, 1, 0xff, noNull, sum[:])), false},
		{"length in long form", raw(pad(0, 1, 0xff, long, sum[:])), false},
		{"indefinite length", raw(pad(0, 1, 0xff, indefinite, sum[:], []byte{0, 0})), false},
		{"parameters in place of NULL", raw(pad(0, 1, 0xff, params, sum[:])), false},
		{"SHA-1's name", raw(pad(0, 1, 0xff, sha1ID, sum[:])), false},
		{"SHA-512's name", raw(pad(0, 1, 0xff, sha512ID, sum[:])), false},
		{"digest of another hash", raw(pad(0, 1, 0xff, null, wrong[:])), false},
		{"bare digest", raw(pad(0, 1, 0xff, sum[:])), false},
		{"digest cut", raw(pad(0, 1, 0xff, null, sum[:31])), false},
		{"garbage behind", raw(short(8, null, sum[:])), false},
		{"garbage behind, no padding", raw(short(0, null, sum[:])), false},
		{"garbage behind, all padding", raw(pad(0, 1, 0xff, null, sum[:], []byte{0x41})), false},
		{"garbage before", raw(pad(0, 1, 0xff, []byte{0x41}, null, sum[:])), false},
		{"padding of zeros", raw(pad(0, 1, 0x00, null, sum[:])), false},
		{"padding of 0xfe", raw(pad(0, 1, 0xfe, null, sum[:])), false},
		{"block type 0", raw(pad(0, 0, 0xff, null, sum[:])), false},
		{"block type 2", raw(pad(0, 2, 0xff, null, sum[:])), false},
		{"first byte", raw(pad(1, 1, 0xff, null, sum[:])), false},
		{"PSS", pss, false},
		{"another key", other, false},
		{"plus the modulus", plusN, false},
		{"a zero before", append([]byte{0}, good...), false},
		{"a zero behind", append(slices.Clone(good), 0), false},
		{"a byte less", good[:len(good)-1], false},
		{"zero", make([]byte, key.Size()), false},
		{"one", append(make([]byte, key.Size()-1), 1), false},
		{"minus one", new(big.Int).Sub(key.N, big.NewInt(1)).Bytes(), false},
		{"the modulus", key.N.Bytes(), false},
		{"all ones", bytes.Repeat([]byte{0xff}, key.Size()), false},
		{"empty", nil, false},
	} {
		if err := checkSignature(&key.PublicKey, signed, tt.sig); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if checkSignature(&key.PublicKey, signed+" ", good) == nil || checkSignature(&key.PublicKey, "", good) == nil {
		t.Error("accepted for other bytes")
	}
}

// A keySetRow is a key set, and what becomes of a token that k1 has signed.
type keySetRow struct {
	name, set string
	want      string // in the error; "": accepted
	kid       string // in the token, as JSON; "": "k1"
}

// absent is the kid of a token that has none. It is not "", which stands for the usual one.
const absent = "absent"

const (
	unusable  = "no usable key"
	ambiguous = `no key "k1" for RS256`
	noKey     = "no key"
)

// Keys of other kinds.
const (
	ellipticJWK = `{"kty":"EC","kid":"ec","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",` +
		`"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	edwardsJWK   = `{"kty":"OKP","kid":"okp","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	symmetricJWK = `{"kty":"oct","kid":"k1",` +
		`"k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`
)

// TestKeySet: which keys of a set serve. The token is signed by the key k1 with each key that the set could mean, so
// that a key which is used by mistake shows. // K8
func TestKeySet(t *testing.T) {
	t.Parallel()
	for _, tt := range slices.Concat(keyRows(), keyIDRows(), setRows(), certificateRows(t)) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys := &keyServer{body: tt.set}
			kid := cmp.Or(tt.kid, `"k1"`)
			if kid == absent {
				kid = ""
			}
			raw := signJWT(serverKey(), headerJSON("kid", kid), claimsJSON())
			checkVerify(t, verifierWith(keys), raw, "", tt.want)
			if !slices.Equal(keys.urls, []string{"https://as.example/keys"}) {
				t.Errorf("asked for %q", keys.urls)
			}
		})
	}
}

// only is a set of one key, k1, with some of its members changed.
func only(pairs ...string) string { return keySetJSON(jwkJSON("k1", &serverKey().PublicKey, pairs...)) }

// J3 J13 J14 J16 K7
func keyRows() []keySetRow {
	pub := &serverKey().PublicKey
	number := func(b []byte) string { return `"` + rawBase64.EncodeToString(b) + `"` }
	e := func(b ...byte) string { return only("e", number(b)) }
	bits := func(size int) string { // a modulus; what it is the product of does not matter
		x := new(big.Int).SetBit(new(big.Int), size-1, 1)
		return only("n", number(x.Or(x, big.NewInt(12345)).Bytes()))
	}
	even := new(big.Int).Lsh(big.NewInt(3), 2047)
	return []keySetRow{
		{name: "plain", set: only()},
		{name: "nothing optional", set: only("use", "", "alg", "")},
		{name: "for verifying", set: only("key_ops", `["verify"]`, "use", "")},
		{
			name: "unknown members",
			set:  only("x5c", `["MIIB"]`, "x5u", `"https://evil.example/"`, "later", `{"a":[1]}`),
		},

		// J3: what contradicts the use is passed over
		{name: "alg PS512", set: only("alg", `"PS512"`), want: unusable},
		{name: "alg RS384", set: only("alg", `"RS384"`), want: unusable},
		{name: "alg is a list", set: only("alg", `["RS256"]`), want: unusable},
		{name: "for encryption", set: only("use", `"enc"`), want: unusable},
		{name: "for other operations", set: only("key_ops", `["sign","encrypt"]`), want: unusable},
		{name: "for no operation", set: only("key_ops", `[]`), want: unusable},
		{name: "operations are a string", set: only("key_ops", `"sign"`), want: unusable},
		{name: "kty EC", set: only("kty", `"EC"`), want: unusable},
		{name: "kty rsa", set: only("kty", `"rsa"`), want: unusable},
		{name: "no kty", set: only("kty", ""), want: unusable},

		// J13 J16
		{name: "1024 bits", set: keySetJSON(jwkJSON("k1", &weakKey().PublicKey)), want: unusable},
		{name: "2047 bits", set: bits(2047), want: unusable},
		{name: "2048 bits", set: bits(2048), want: unsigned},
		{name: "8192 bits", set: bits(8192), want: unsigned},
		{name: "8193 bits", set: bits(8193), want: unusable},
		{name: "16384 bits", set: bits(16384), want: unusable},

		// J14
		{name: "e is 1", set: e(1), want: unusable},
		{name: "e is 3", set: e(3), want: unusable},
		{name: "e is even", set: e(1, 0, 0), want: unusable},
		{name: "e is 65539", set: e(1, 0, 3), want: unusable},
		{name: "e is 2^32+1", set: only("e", `"AQAAAAE"`), want: unusable},
		{name: "e is 2^32+65537", set: e(1, 0, 1, 0, 1), want: unusable},
		{name: "e is 2^64+65537", set: e(1, 0, 0, 0, 0, 0, 1, 0, 1), want: unusable},
		{name: "e with a zero before", set: e(0, 1, 0, 1)}, // W10
		{name: "e with a zero behind", set: e(1, 0, 1, 0), want: unusable},
		{name: "e is empty", set: only("e", `""`), want: unusable},
		{name: "e is missing", set: only("e", ""), want: unusable},
		{name: "e is a number", set: only("e", "65537"), want: unusable},
		{name: "n with a zero before", set: only("n", number(append([]byte{0}, pub.N.Bytes()...)))}, // W10
		{name: "n with a zero behind", set: only("n", number(append(pub.N.Bytes(), 0))), want: unsigned},
		{
			name: "n is padded",
			set:  only("n", `"`+base64.URLEncoding.EncodeToString(pub.N.Bytes())+`"`),
			want: unusable,
		},
		{name: "n is empty", set: only("n", `""`), want: unusable},
		{name: "n is missing", set: only("n", ""), want: unusable},
		{name: "n is even", set: only("n", number(even.Bytes())), want: "k"},

		// K7
		{name: "a secret in the set", set: keySetJSON(symmetricJWK), want: unusable},
		{name: "a secret beside", kid: `"k9"`, set: keySetJSON(symmetricJWK, jwkJSON("k9", pub))},
		{name: "d is public", set: only("d", `"AQAB"`), want: unusable},
		{name: "p is public", set: only("p", `"AQAB"`), want: unusable},
		{name: "q is public", set: only("q", `"AQAB"`), want: unusable},
	}
}

// K5 K6
func keyIDRows() []keySetRow {
	key := func(kid string) string { return jwkJSON(kid, &serverKey().PublicKey) }
	other := jwkJSON("k1", &otherKey().PublicKey)
	forEncryption := jwkJSON("k2", &serverKey().PublicKey, "use", `"enc"`)
	return []keySetRow{
		{name: "another kid", kid: `"k2"`, set: only(), want: noKey},
		{name: "kid in another case", kid: `"K1"`, set: only(), want: noKey},
		{name: "kid twice", set: keySetJSON(key("k1"), other), want: ambiguous},
		{name: "kid three times", set: keySetJSON(other, other, key("k1")), want: ambiguous},
		{name: "the same key twice", set: keySetJSON(key("k1"), key("k1")), want: ambiguous},
		{name: "another kid twice", set: keySetJSON(key("k2"), key("k1"), key("k2"))},

		// K6
		{name: "no kid, one key", kid: absent, set: only()},
		{
			name: "no kid, one usable key",
			kid:  absent,
			set:  keySetJSON(ellipticJWK, symmetricJWK, forEncryption, key("k3")),
		},
		{name: "no kid, one key without", kid: absent, set: keySetJSON(key(""))},
		{name: "no kid, two keys", kid: absent, set: keySetJSON(key("k1"), key("k2")), want: noKey},
		{name: "no kid, two keys, one without", kid: absent, set: keySetJSON(key(""), key("k2")), want: noKey},
		{name: "kid, but the key has none", set: only("kid", ""), want: noKey},
		{name: "empty kid, two keys", kid: `""`, set: keySetJSON(key("k1"), key("k2")), want: noKey},
	}
}

// K8
func setRows() []keySetRow {
	pub := &serverKey().PublicKey
	many := func(count int) string {
		list := []string{jwkJSON("k1", pub)}
		for i := len(list); i < count; i++ {
			list = append(list, fmt.Sprintf(`{"kty":"EC","kid":"x%d"}`, i))
		}
		return keySetJSON(list...)
	}
	return []keySetRow{
		{
			name: "bad neighbours",
			set: keySetJSON(ellipticJWK, edwardsJWK, `{}`, `[]`, `1`, `null`, `{"kty":1}`,
				jwkJSON("b", pub, "n", `"!"`), `{"kty":"RSA","kid":"c"}`, jwkJSON("k1", pub)),
		},
		{
			name: "ambiguous neighbour", // the one parser's rule goes before K8
			set:  keySetJSON(`{"kty":"RSA","kty":"RSA","kid":"d"}`, jwkJSON("k1", pub)),
			want: unusable,
		},
		{name: "no keys", set: `{"keys":[]}`, want: unusable},
		{name: "keys are an object", set: `{"keys":{}}`, want: unusable},
		{name: "keys are null", set: `{"keys":null}`, want: unusable},
		{name: "empty object", set: `{}`, want: unusable},
		{name: "a list", set: "[" + jwkJSON("k1", pub) + "]", want: unusable},
		{name: "keys twice", set: `{"keys":[],"keys":[` + jwkJSON("k1", pub) + `]}`, want: unusable},
		{name: "100 keys", set: many(100)},
		{name: "101 keys", set: many(101), want: unusable},
		{
			name: "1 MiB",
			set:  strings.TrimSuffix(only(), "]}") + strings.Repeat(" ", 1<<20) + "]}",
			want: "larger than 1 MiB",
		},
		{name: "HTML", set: "<html>", want: unusable},
		{name: "empty", want: unusable},
	}
}

// A map of certificates, as Google also publishes, is no key set: KeysURI is that of the JSON Web Key Set. // K10
func certificateRows(t *testing.T) []keySetRow {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &serverKey().PublicKey, serverKey())
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(pemText("CERTIFICATE", der))
	return []keySetRow{{name: "certificates", set: `{"k1":` + string(text) + `}`, want: unusable}}
}

// TestKeySetStatus: only a plain 200 from the configured URL is a key set. // K9
func TestKeySetStatus(t *testing.T) {
	for _, tt := range []struct{ status, requests int }{
		{301, 1}, {302, 1}, {307, 1}, {308, 1}, {404, 1}, {403, 1}, {500, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
			keys.status = tt.status
			checkVerify(t, verifierWith(keys), goodJWT(), "", "can't be verified")
			if keys.count() != tt.requests || keys.urls[0] != "https://as.example/keys" {
				t.Error(tt.status, keys.urls)
			}
		})
	}
}

// TestKeySetMaxAge: the server says how long keys serve, from 5 minutes to 24 hours. // K4 UP34 PY14
func TestKeySetMaxAge(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":              minKeysAge,
		"no-store":      minKeysAge,
		"max-age=0":     minKeysAge,
		"max-age=299":   minKeysAge,
		"max-age=301":   301 * time.Second,
		"max-age=-5":    minKeysAge,
		"max-age=86401": 24 * time.Hour,
		"max-age=":      minKeysAge,
		"max-age=1e9":   minKeysAge,
		"s-maxage=9999": minKeysAge,

		"max-age=3600;x":                         minKeysAge,
		"max-age=2147483647":                     24 * time.Hour,
		"max-age=99999999999999999999":           24 * time.Hour,
		"public, max-age=21600, must-revalidate": 6 * time.Hour,
		"max-age= 400 , max-age=9":               400 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
			keys.cache = header
			v := verifierWith(keys)
			for range 3 {
				checkVerify(t, v, goodJWT(), "", "")
			}
			time.Sleep(want - 1)
			if checkVerify(t, v, goodJWT(), "", ""); keys.count() != 1 {
				t.Errorf("%q: fetched early", header)
			}
			time.Sleep(time.Nanosecond)
			if checkVerify(t, v, goodJWT(), "", ""); keys.count() != 2 {
				t.Errorf("%q: kept too long", header)
			}
		})
	}
}

// TestKeyRotation: a new key is learnt at once, an old one is forgotten with the set. // K3
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := jwkJSON("k1", &serverKey().PublicKey), jwkJSON("k2", &otherKey().PublicKey)
		keys := serveKeys(one)
		keys.cache = "max-age=3600"
		v := verifierWith(keys)
		old := func() string { return goodJWT() }
		fresh := func() string { return signJWT(otherKey(), headerJSON("kid", `"k2"`), claimsJSON()) }
		checkVerify(t, v, old(), "", "")
		time.Sleep(time.Minute)
		keys.set(func() { keys.body = keySetJSON(one, two) })
		checkVerify(t, v, fresh(), "", "")
		checkVerify(t, v, old(), "", "")
		if keys.count() != 2 {
			t.Error(keys.count(), "requests after the new key")
		}
		keys.set(func() { keys.body = keySetJSON(two) })
		time.Sleep(time.Hour - 1)
		checkVerify(t, v, old(), "", "")
		time.Sleep(time.Nanosecond)
		checkVerify(t, v, old(), "", `no key "k1"`)
		checkVerify(t, v, fresh(), "", "")
		if keys.count() != 3 {
			t.Error(keys.count(), "requests in the end")
		}
	})
}

// TestKeySetUnknownKeys: who sends tokens with invented key IDs causes one request in 30 s, and holds nobody up.
//
// K1 UP34
func TestKeySetUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
		keys.cache = "max-age=86400"
		v := verifierWith(keys)
		good := goodJWT()
		checkVerify(t, v, good, "", "")
		time.Sleep(30 * time.Second)
		payload := rawBase64.EncodeToString([]byte(claimsJSON()))
		flood := func() {
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 10_000 / 64 {
						header := headerJSON("kid", fmt.Sprintf(`"%x"`, mathrand.Uint64()))
						raw := rawBase64.EncodeToString([]byte(header)) + "." + payload + "." + strings.Repeat("A", 342)
						if _, err := v.Verify(t.Context(), raw); !errorSays(err, "no key") {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		}
		block := make(chan struct{})
		keys.set(func() { keys.block = block })
		go flood()
		synctest.Wait() // all 64 wait for the one request
		checkVerify(t, v, good, "", "")
		if keys.count() != 2 {
			t.Error(keys.count(), "requests at once")
		}
		keys.set(func() { keys.block = nil })
		close(block)
		synctest.Wait()
		flood()
		time.Sleep(30*time.Second - 1)
		if flood(); keys.count() != 2 {
			t.Error(keys.count(), "requests within 30 s")
		}
		time.Sleep(time.Nanosecond)
		if flood(); keys.count() != 3 {
			t.Error(keys.count(), "requests after 30 s")
		}
		checkVerify(t, v, good, "", "")
	})
}

// TestKeySetDown: old keys serve for 24 hours while new ones can't be had, and then no longer. // M64 UP34
func TestKeySetDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
		keys.cache = "max-age=3600"
		v := verifierWith(keys)
		checkVerify(t, v, goodJWT(), "", "")
		keys.set(func() { keys.status = 503 })
		time.Sleep(59 * time.Minute)
		if checkVerify(t, v, goodJWT(), "", ""); keys.count() != 1 {
			t.Error("asked while the keys are fresh")
		}
		for range 24 {
			time.Sleep(time.Hour)
			checkVerify(t, v, goodJWT(), "", "")
		}
		if n := keys.count(); n != 1+24*maxAttempts {
			t.Error(n, "requests in a day")
		}
		time.Sleep(time.Hour)
		_, err := v.Verify(t.Context(), goodJWT())
		if e := (*Error)(nil); !errors.As(err, &e) || !e.Temporary() || e.StatusCode != 503 {
			t.Error("after the grace:", err)
		}
		keys.set(func() { keys.status = 0 })
		time.Sleep(firstBackoff)
		checkVerify(t, v, goodJWT(), "", "") // nothing is spoilt for good
	})
}

// TestKeySetHangs: a key server that does not answer holds nobody up who could be served. // M64
func TestKeySetHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
		v := verifierWith(keys)
		checkVerify(t, v, goodJWT(), "", "")
		time.Sleep(time.Hour)
		keys.set(func() { keys.block = make(chan struct{}) })
		raw, began := goodJWT(), time.Now()
		checkVerify(t, v, raw, "", "")
		if d := time.Since(began); d > 5*time.Second {
			t.Error("a token whose key is known waited for", d)
		}
		time.Sleep(flightTimeout)
	})
}

// TestKeySetStart: a first failure is an error, the next call after a moment tries again, and all share one request.
//
// K11
func TestKeySetStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
		keys.status = 503
		v := verifierWith(keys)
		checkVerify(t, v, goodJWT(), "", "503")
		for range 10 {
			checkVerify(t, v, goodJWT(), "", "503")
		}
		if keys.count() != maxAttempts {
			t.Error(keys.count(), "requests")
		}
		keys.set(func() { keys.status, keys.block = 0, make(chan struct{}) })
		time.Sleep(firstBackoff)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { checkVerify(t, v, goodJWT(), "", "") })
		}
		synctest.Wait()
		if keys.count() != maxAttempts+1 {
			t.Error(keys.count(), "requests for 20 callers")
		}
		close(keys.block)
		wg.Wait()
	})
	synctest.Test(t, func(t *testing.T) { // a caller leaves when its context says so, and takes nothing with it
		keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
		keys.block = make(chan struct{})
		v := verifierWith(keys)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := v.Verify(ctx, goodJWT())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 50*time.Millisecond {
			t.Error(err, time.Since(began))
		}
		close(keys.block)
		synctest.Wait()
		if checkVerify(t, v, goodJWT(), "", ""); keys.count() != 1 {
			t.Error(keys.count())
		}
	})
}

// Vectors of the RFCs. The signature of RFC 7515, A.2, was made again, and found equal, with "openssl dgst -sha256
// -sign" and the key of the text; the HS256 ones with Python's hmac.
const (
	rfc7515Header    = "eyJhbGciOiJSUzI1NiJ9"
	rfc7515Payload   = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	rfc7515Signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp" +
		"5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZ" +
		"RmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5" +
		"AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	rfc7515N = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-y" +
		"RT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-" +
		"UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFk" +
		"MLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
	// TESTING KEY, published in RFC 7515, Appendix A.2.1
	rfc7515D = "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46s" +
		"ui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGc" +
		"opV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_R" +
		"QyGWSeWjnczT0QU91p1DhOVRuOopznQ"
	rfc7515P = "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY" +
		"8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc"
	rfc7515Q = "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66" +
		"t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc"

	// signed by ellipticJWK, and by edwardsJWK
	rfc7515ES256 = "eyJhbGciOiJFUzI1NiJ9." + rfc7515Payload +
		".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	rfc8037EdDSA = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc" +
		".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

	rfc7520N = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_A" +
		"JmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M" +
		"1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_q" +
		"ixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"
	rfc7520KeyID   = "bilbo.baggins@hobbiton.example"
	rfc7520Payload = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb" +
		"250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1" +
		"pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
	rfc7520Header    = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9"
	rfc7520Signature = "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83x" +
		"uglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4" +
		"QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJus" +
		"hZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"
	rfc7520Signature48 = "MIsjqtVlOpa71KE-Mss8_Nq2YH4FGhiocsqrgi5NvyG53uoimic1tcMdSg-qptrzZc7CG6Svw2Y13TDIqHzTUrL_l" +
		"R2ZFcryNFiHkSw129EghGpwkpxaTn_THJTCglNbADko1MZBCdwzJxwqZc-1RlpO2HibUYyXSwO97BSe0_evZKdjvvKSgsIqjytKSeAMbhM" +
		"BdMma622_BG5t4sdbuCHtFjp9iJmkio47AIwqkZV1aIZsv33uPUqBBCXbYoQJwt7mxPftHmNlGoOSMxR_3thmXTCm4US-xiNOyhbm8afKK" +
		"64jU6_TPtQHiJeQJxz9G3Tx-083B745_AfYOnlC9w"
)

func bigInt(text string) *big.Int {
	data, err := rawBase64.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return new(big.Int).SetBytes(data)
}

// rfc7515Key is the key of RFC 7515, Appendix A.2.
func rfc7515Key() *rsa.PrivateKey {
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: bigInt(rfc7515N), E: 65537},
		D:         bigInt(rfc7515D),
		Primes:    []*big.Int{bigInt(rfc7515P), bigInt(rfc7515Q)},
	}
	key.Precompute()
	return key
}

// TestRFCVectors: RFC 7515, Appendices A, C, E and F; RFC 7519, Sections 3.1 and 6.1; RFC 7520, Sections 3 and 4. RFC
// 8037, Appendix A.4. What is signed with a known algorithm passes the first stage and fails in the second; all else
// fails before it.
//
// J1 J2 J4 J10 J25 W9
func TestRFCVectors(t *testing.T) {
	t.Parallel()
	set := keySetJSON(`{"kty":"RSA","n":"`+rfc7515N+`","e":"AQAB"}`,
		`{"kty":"RSA","kid":"`+rfc7520KeyID+`","use":"sig","n":"`+rfc7520N+`","e":"AQAB"}`, ellipticJWK, edwardsJWK)
	object, err := parseObject([]byte(set))
	if err != nil {
		t.Fatal(err)
	}
	keys := parseKeys(object)
	object, _ = parseObject([]byte(keySetJSON(`{"kty":"RSA","n":"` + rfc7515N + `","e":"AQAB"}`)))
	maps.Copy(keys, parseKeys(object)) // alone, since it has no name
	for _, tt := range []struct {
		name string
		key  keyName
		raw  string
	}{
		{"RFC 7515, A.2", keyName{"RS256", ""}, rfc7515Header + "." + rfc7515Payload + "." + rfc7515Signature},
		{
			"RFC 7520, 4.1, Figure 13",
			keyName{"RS256", rfc7520KeyID},
			rfc7520Header + "." + rfc7520Payload + "." + rfc7520Signature,
		},
		{
			"RFC 7520, 4.8, first signature",
			keyName{"RS256", rfc7520KeyID},
			rfc7515Header + "." + rfc7520Payload + "." + rfc7520Signature48,
		},
		{"RFC 7515, A.3", keyName{"ES256", "ec"}, rfc7515ES256}, // W9
		{"RFC 8037, A.4", keyName{"EdDSA", "okp"}, rfc8037EdDSA},
	} {
		i := strings.LastIndexByte(tt.raw, '.')
		sig := decodePart(tt.raw[i+1:])
		if sig == nil || checkSignature(keys[tt.key], tt.raw[:i], sig) != nil ||
			checkSignature(keys[tt.key], tt.raw[1:i], sig) == nil {
			t.Error(tt.name)
		}
	}

	checkRFCClaims(t)
	for _, tt := range rfcTokens() {
		server := &keyServer{body: set}
		if checkVerify(t, verifierWith(server), tt.raw, "", tt.want); server.count() != 0 || t.Failed() {
			t.Errorf("%s, %d requests", tt.name, server.count())
		}
	}
	v := verifierWith(&keyServer{body: set}) // A.2 through the front door, by an issuer named joe
	v.Issuer, v.Audience = "joe", "client"
	checkVerify(t, v, rfc7515Header+"."+rfc7515Payload+"."+rfc7515Signature, "", "audience")

	// Appendix C, and what RFC 4648 would let pass. // J8
	if data := decodePart("A-z_4ME"); !bytes.Equal(data, []byte{3, 236, 255, 224, 193}) {
		t.Error("RFC 7515, C:", data)
	}
	for _, text := range []string{
		"", "A", "AB", "AA==", "AA=", "A\nA", "AA\n", "\r\nAA", " AA", "AA+A", "AA/A", "A-z_4MF", "AAA.", "AAA\x00",
		"ÀÀ",
	} {
		if data := decodePart(text); data != nil {
			t.Errorf("%q: %v", text, data)
		}
	}
}

// splitJWT returns the parts of a JWT.
func splitJWT(raw string) (header, payload, signature string) {
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	return header, payload, signature
}

// checkRFCClaims: RFC 7515, A.2, is signed, and meant for nobody; with an audience it would be good until its time.
func checkRFCClaims(t *testing.T) {
	t.Helper()
	tok, err := parseClaims(rfc7515Header + "." + rfc7515Payload + ".AAAA")
	root := false
	if err != nil || tok.Issuer != "joe" || tok.Expiry.Unix() != 1300819380 ||
		tok.Claim("http://example.com/is_root", &root) != nil || !root {
		t.Fatal("RFC 7515, A.2:", tok, err)
	}
	want := expected{issuer: "joe", audience: "client", leeway: time.Minute}
	if err := checkAt(t, tok, want, time.Unix(1300819379, 0)); !errorSays(err, "audience") {
		t.Error("RFC 7515, A.2:", err)
	}
	tok.Audience, tok.Subject, tok.IssuedAt = []string{"client"}, "joe", time.Unix(1300819300, 0)
	if err := checkAt(t, tok, want, time.Unix(1300819439, 0)); err != nil {
		t.Error("RFC 7515, A.2:", err)
	}
	if err := checkAt(t, tok, want, time.Unix(1300819440, 0)); !errorSays(err, "expires at") {
		t.Error("RFC 7515, A.2:", err)
	}
	if _, err := parseClaims(rfc7515Header + "." + rfc7520Payload + ".AAAA"); !errorSays(err, "not valid JSON") {
		t.Error("RFC 7520, 4.1:", err)
	}
}

// An rfcToken is an example of an RFC, and what Verify says of it.
type rfcToken struct{ name, raw, want string }

func rfcTokens() []rfcToken {
	const crit = "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtc" +
		"GxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0"
	const known, other, shape, b64 = "issued by", "not with RS256", "three parts", "base64url"
	general := `{"payload":"` + rfc7515Payload + `","signatures":[{"protected":"` + rfc7515Header +
		`","header":{"kid":"2010-12-29"},"signature":"` + rfc7515Signature + `"}]}`
	return []rfcToken{
		{
			name: "RFC 7515, A.1, HS256", // also RFC 7519, 3.1
			raw: "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfc7515Payload +
				".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
			want: other,
		},
		{name: "RFC 7515, A.2, RS256", raw: rfc7515Header + "." + rfc7515Payload + "." + rfc7515Signature, want: known},
		{
			name: "RFC 7515, A.3, ES256",
			raw:  rfc7515ES256,
			want: known,
		},
		{name: "RFC 8037, A.4, EdDSA", raw: rfc8037EdDSA, want: "not valid JSON"},
		{
			name: "RFC 7515, A.4, ES512",
			raw: "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZq" +
				"wqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERB" +
				"XukOXolLzeO_Jn",
			want: other,
		},
		// also RFC 7519, 6.1
		{name: "RFC 7515, A.5, none", raw: "eyJhbGciOiJub25lIn0." + rfc7515Payload + ".", want: b64},
		{name: "RFC 7515, A.6, general JSON", raw: general, want: shape},
		{
			name: "RFC 7515, A.7, flattened JSON",
			raw: `{"payload":"` + rfc7515Payload + `","protected":"` + rfc7515Header +
				`","header":{"kid":"2010-12-29"},"signature":"` + rfc7515Signature + `"}`,
			want: shape,
		},
		{name: "RFC 7515, E, crit", raw: crit + ".RkFJTA.", want: b64},
		{
			name: "RFC 7515, E, crit with RS256",
			raw: signJWT(serverKey(), headerJSON("crit", `["http://example.com/UNDEFINED"]`,
				"http://example.com/UNDEFINED", "true"), claimsJSON()),
			want: "critical",
		},
		{name: "RFC 7515, F, detached", raw: rfc7515Header + ".." + rfc7515Signature, want: b64},
		{
			name: "RFC 7520, 4.1, RS256",
			raw:  rfc7520Header + "." + rfc7520Payload + "." + rfc7520Signature,
			want: "not valid JSON",
		},
		{
			name: "RFC 7520, 4.2, PS384",
			raw: "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." + rfc7520Payload +
				".cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDD" +
				"ItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p" +
				"8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbB" +
				"yi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
			want: other,
		},
		{
			name: "RFC 7520, 4.3, ES512",
			raw: "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." + rfc7520Payload +
				".AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu" +
				"_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
			want: other,
		},
		{
			name: "RFC 7520, 4.4, HS256",
			raw: "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9." + rfc7520Payload +
				".s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
			want: other,
		},
		{
			name: "RFC 7520, 4.5, detached",
			raw: "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9..s0h6KThzkfBBBk" +
				"LspW1h84VsJZFTsPPqMDA7g1Md7p0",
			want: b64,
		},
		{
			name: "RFC 7520, 4.6, unprotected header",
			raw: `{"payload":"` + rfc7520Payload +
				`","protected":"eyJhbGciOiJIUzI1NiJ9","header":{"kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037"},` +
				`"signature":"bWUSVaxorn7bEF1djytBd0kHv70Ly5pvbomzMWSOr20"}`,
			want: shape,
		},
		{
			name: "RFC 7520, 4.7, nothing protected",
			raw: `{"payload":"` + rfc7520Payload +
				`","header":{"alg":"HS256","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037"},` +
				`"signature":"xuLifqLGiblpv9zBpuZczWhNj1gARaLV3UxvxhJxZuk"}`,
			want: shape,
		},
		{
			name: "RFC 7520, 4.8, many signatures",
			raw: `{"payload":"` + rfc7520Payload +
				`","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9",` +
				`"header":{"kid":"bilbo.baggins@hobbiton.example"},"signature":"` + rfc7520Signature48 + `"}]}`,
			want: b64,
		},
	}
}

// TestSignVectors: signing with the key of RFC 7515, A.2, gives its signature; a token that openssl made with it
// ("openssl dgst -sha256 -sign a2.pem" over the first two parts) verifies; keys that can't sign make no signer.
func TestSignVectors(t *testing.T) {
	t.Parallel()
	key, err := parsePrivateKey(pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rfc7515Key())))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(rfc7515Header + "." + rfc7515Payload))
	made, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil || rawBase64.EncodeToString(made) != rfc7515Signature {
		t.Error("RFC 7515, A.2:", err)
	}
	const signed = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEyIn0.eyJleHAiOjEzMDA4MTkzODAsImlzcyI6ImpvZSJ9"
	sig := decodePart("CYIOBelQJnZyY_9wiwwtA4epfLjsPbYa11pBUGHkntNKSixCpUoWZ9WvlpFPR6BVuNpqGMFDGXkkQa0Wwz56jL0" +
		"FFI7MT9DKYPlQ5y52rHFJbyDEvTi9qh32wfHe3AxeZ3xJ62pNF5A_5TaWiDAJfJYNxo3Vnh2-w7FteDy3A2cP5B_tbVANlEQdOCWqT-eoz" +
		"BT-65XaAK7xdSta6NBS67y5xHxfAFghBBGtLltxbWOWZzjbaofdsv0zOKgr4dqljOYCAlqlwEc0eRPgfnIljbE2lEdIpyTrSfBcuBVtT6L" +
		"09WIuG_zAHAabSQnOD6BZG7UJU4-qJNurDgDl4GKuCw")
	if sig == nil || checkSignature(&key.PublicKey, signed, sig) != nil {
		t.Error("openssl")
	}
	if _, err := newSigner(key, "a2"); err != nil {
		t.Error(err)
	}
	// J13 J30
	for name, broken := range map[string]*rsa.PrivateKey{
		"nil":        nil,
		"empty":      {},
		"weak":       weakKey(),
		"no modulus": {D: key.D},
	} {
		if _, err := newSigner(broken, ""); err == nil {
			t.Error(name, "key signs")
		}
	}
}

// TestNoClaimsUnchecked reads the package's source: the exported functions that return an IDToken are a verifier's,
// which has keys, and that of a sign-in; JOSE's symmetric half is not there, nor is a weak random source.
//
// F28 J27 J2
func TestNoClaimsUnchecked(t *testing.T) {
	t.Parallel()
	var returns []string
	for name, file := range sourceOfPackage(t).files {
		for _, spec := range file.Imports {
			switch path := strings.Trim(spec.Path.Value, `"`); path {
			case "crypto/hmac", "crypto/md5", "crypto/sha1", "math/rand", "math/rand/v2", "unsafe", "reflect":
				t.Errorf("%s imports %s", name, path)
			case "os/exec":
				if name != "installed.go" {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || f.Type.Results == nil {
				continue
			}
			for _, result := range f.Type.Results.List {
				ast.Inspect(result.Type, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok && id.Name == "IDToken" {
						returns = append(returns, f.Name.Name)
					}
					return true
				})
			}
		}
	}
	slices.Sort(returns) // Credentials.IDToken returns what the sign-in has checked: see TestSignInClaims
	if !slices.Equal(returns, []string{"IDToken", "Verify", "VerifyNonce"}) {
		t.Errorf("functions that return an IDToken: %q", returns)
	}
	if err := new(IDToken).check(expected{issuer: googleIssuer}); err == nil {
		t.Error("the zero IDToken passes")
	}
}

// FuzzJWT: nothing but the one token that was signed is accepted, whatever the bytes.
func FuzzJWT(f *testing.F) {
	key := rfc7515Key() // fixed, so that the corpus stays what it is
	good := signJWT(key, `{"alg":"RS256","kid":"k1"}`,
		`{"iss":"https://as.example","aud":"client-1.example","sub":"user-1","iat":946684800,"exp":4102444800}`)
	h, p, s := splitJWT(good)
	for _, seed := range []string{
		good, h + "." + p + ".", h + ".." + s, "..", "", good + "\n",
		rfc7515Header + "." + p + "." + s, rfc7520Header + "." + rfc7520Payload + "." + rfc7520Signature,
		rawBase64.EncodeToString([]byte(`{"alg":"RS256","alg":"none"}`)) + "." + p + "." + s,
		h + "." + rawBase64.EncodeToString([]byte(`{"a":[[[[]]]],"exp":1e400}`)) + "." + s,
	} {
		f.Add(seed, "")
	}
	v := verifierWith(serveKeys(jwkJSON("k1", &key.PublicKey), jwkJSON("k2", &serverKey().PublicKey)))
	f.Fuzz(func(t *testing.T, raw, nonce string) {
		tok, err := verifyNonce(t.Context(), v, raw, nonce)
		if accepted := err == nil; accepted != (raw == good && nonce == "") || accepted != (tok != nil) {
			t.Errorf("%q: %v, %v", raw, tok, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "oauth2: the ID token ") {
			t.Error(err)
		}
	})
}

// FuzzKeySet: a set yields only keys that are strong enough, at most 100, and none that occurs twice.
func FuzzKeySet(f *testing.F) {
	for _, seed := range []string{
		keySetJSON(jwkJSON("k1", &rfc7515Key().PublicKey)), keySetJSON(), `{}`, `{"keys":1}`,
		`{"k1":"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"}`,
		keySetJSON(`{"kty":"RSA","kid":"a","n":"AQ","e":"AQAB"}`, `{"kty":"EC"}`, `null`),
		`{"keys":[{"kty":"RSA","n":"` + rfc7515N + `","e":"AQAAAAE"}]}`,
		keySetJSON(ellipticJWK, edwardsJWK, symmetricJWK), keySetJSON(edwardsJWK, edwardsJWK),
		keySetJSON(`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`, `{"kty":"EC","crv":"P-256","x":"","y":""}`),
		keySetJSON(`{"kty":"EC","crv":"P-384","kid":"ec","x":"AA","y":"AA"}`, `{"kty":"OKP","crv":"Ed25519","x":"AA"}`),
		keySetJSON(`{"kty":"OKP","crv":"Ed448","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := parseObject(data)
		if err != nil {
			return
		}
		keys := parseKeys(object)
		if len(keys) > 100+3 { // the empty ID of each algorithm
			t.Error(len(keys), "keys")
		}
		for name, key := range keys {
			ok := true
			switch key := key.(type) {
			case *rsa.PublicKey:
				bits := key.N.BitLen()
				ok = ok && name.alg == "RS256" && key.E == 65537 && bits >= 2048 && bits <= 8192
			case *ecdsa.PublicKey:
				_, err := key.ECDH() // fails for a point that is not on the curve
				ok = ok && name.alg == "ES256" && err == nil && key.Curve == elliptic.P256()
			case ed25519.PublicKey:
				ok = ok && name.alg == "EdDSA" && len(key) == ed25519.PublicKeySize
			case nil: // of two keys
			default:
				ok = false
			}
			if !ok {
				t.Errorf("key %q: %v", name, key)
			}
		}
	})
}

// typicalJWT is a token as Google issues them, and a verifier that has its key.
func typicalJWT(tb testing.TB) (*IDTokenVerifier, string) {
	v := verifierWith(serveKeys(jwkJSON("k1", &serverKey().PublicKey), jwkJSON("k2", &otherKey().PublicKey)))
	raw := goodJWT("azp", `"client-1.example"`, "hd", `"example.com"`, "email", `"person@example.com"`,
		"email_verified", "true", "nonce", `"0394852-3190485-2490358"`,
		"at_hash", `"HK6E_P6Dh8Y93mRNtsDB1Q"`, "name", `"A Person"`, "picture", `"https://example.com/a/picture"`,
		"given_name", `"A"`, "family_name", `"Person"`)
	if _, err := v.Verify(tb.Context(), raw); err != nil {
		tb.Fatal(err)
	}
	return v, raw
}

// BenchmarkVerify shows what verifying an ID token costs beside the RSA operation that it can't do without.
func BenchmarkVerify(b *testing.B) {
	v, raw := typicalJWT(b)
	b.Run("bare", func(b *testing.B) {
		i := strings.LastIndexByte(raw, '.')
		sig, _ := rawBase64.DecodeString(raw[i+1:])
		sum := sha256.Sum256([]byte(raw[:i]))
		b.ReportAllocs()
		for b.Loop() {
			if rsa.VerifyPKCS1v15(&serverKey().PublicKey, crypto.SHA256, sum[:], sig) != nil {
				b.Fatal("bare")
			}
		}
	})
	b.Run("token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSignAssertion shows what signing an assertion costs beside the RSA operation.
func BenchmarkSignAssertion(b *testing.B) {
	sa, err := ParseServiceAccount(serviceAccountFile(nil), "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("bare", func(b *testing.B) {
		sum := sha256.Sum256(nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rsa.SignPKCS1v15(nil, serverKey(), crypto.SHA256, sum[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("assertion", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sa.sign(time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestJOSEAllocations holds the cost of both in bounds.
func TestJOSEAllocations(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates")
	}
	v, raw := typicalJWT(t)
	if n := testing.AllocsPerRun(100, func() { v.Verify(t.Context(), raw) }); n > 30 {
		t.Errorf("%v allocations verify a token, want 30 at most", n)
	}
	sa, err := ParseServiceAccount(serviceAccountFile(nil), "a")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() { sa.sign(time.Now()) }); n > 10 {
		t.Errorf("%v allocations sign an assertion, want 10 at most", n)
	}
}
