package oauth2

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ID tokens as Google's services and other providers issue them, and what resembles them.

// Keys of other kinds than serverKey, generated once a process.
var (
	curveKey = sync.OnceValue(func() *ecdsa.PrivateKey { return generateCurveKey(elliptic.P256()) })

	edwardsKey = sync.OnceValue(func() ed25519.PrivateKey {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
)

func generateCurveKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// coordinates returns the two halves of a point.
func coordinates(key *ecdsa.PublicKey) (x, y []byte) {
	point, err := key.Bytes()
	if err != nil {
		panic(err)
	}
	size := len(point) / 2
	return point[1 : 1+size], point[1+size:]
}

// curveJWK is a key of a set; pairs change it as with jwkJSON.
func curveJWK(kid string, key *ecdsa.PublicKey, pairs ...string) string {
	x, y := coordinates(key)
	return jsonObject(map[string]string{
		"kty": `"EC"`,
		"crv": `"` + key.Params().Name + `"`,
		"kid": `"` + kid + `"`,
		"use": `"sig"`,
		"alg": `"ES256"`,
		"x":   quotedBase64(x),
		"y":   quotedBase64(y),
	}, pairs)
}

// okpJWK is a key of a set; pairs change it as with jwkJSON.
func okpJWK(kid string, key ed25519.PrivateKey, pairs ...string) string {
	return jsonObject(map[string]string{
		"kty": `"OKP"`,
		"crv": `"Ed25519"`,
		"kid": `"` + kid + `"`,
		"use": `"sig"`,
		"alg": `"EdDSA"`,
		"x":   quotedBase64(key.Public().(ed25519.PublicKey)),
	}, pairs)
}

func quotedBase64(data []byte) string { return `"` + rawBase64.EncodeToString(data) + `"` }

// signWith is signJWT with a key of any kind.
func signWith(key crypto.Signer, header, payload string) string {
	input := rawBase64.EncodeToString([]byte(header)) + "." + rawBase64.EncodeToString([]byte(payload))
	return input + "." + rawBase64.EncodeToString(signatureOf(key, input))
}

// signatureOf signs as RFC 7518 and RFC 8037 say for the kind of key.
func signatureOf(key crypto.Signer, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(input))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		return joined(r, s, (key.Params().BitSize+7)/8)
	}
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return signature
}

// joined returns two numbers of so many bytes each.
func joined(r, s *big.Int, size int) []byte {
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

// A serviceToken is an ID token in the shape that the documentation of a service shows.
type serviceToken struct {
	name    string
	issuer  string // of the verifier; "": Google
	keysURI string // where the keys are asked for
	key     crypto.Signer
	header  string
	claims  map[string]any // iat and exp are added
}

// Numbers and names in the documentation's shapes.
const (
	callerNumber = "113774264463038321964"
	callerEmail  = "caller@project-1.iam.gserviceaccount.com"
	webClient    = "1-web.apps.googleusercontent.com"
	appClient    = "1-android.apps.googleusercontent.com"
	iapAudience  = "/projects/123456789/global/backendServices/987654321"
)

// serviceTokens are what Google's services, and others like them, send to a server.
func serviceTokens() []serviceToken {
	const rsaHeader = `{"alg":"RS256","kid":"k1","typ":"JWT"}`
	const ecHeader = `{"alg":"ES256","typ":"JWT","kid":"e1"}`
	google := func(name, audience string, claims map[string]any) serviceToken {
		all := map[string]any{"iss": googleIssuer, "aud": audience, "sub": callerNumber, "email_verified": true}
		maps.Copy(all, claims)
		return serviceToken{name: name, keysURI: googleKeysURI, key: serverKey(), header: rsaHeader, claims: all}
	}
	return []serviceToken{
		google("Pub/Sub push", "https://app.example/push", map[string]any{
			"azp": callerNumber, "email": callerEmail,
		}),
		google("Cloud Run, called by a service", "https://run-1.a.run.app", map[string]any{
			"azp": callerNumber, "email": callerEmail,
		}),
		google("Cloud Run, called by a user of gcloud", "32555940559.apps.googleusercontent.com", map[string]any{
			"azp": "32555940559.apps.googleusercontent.com", "email": "ada@example.com", "at_hash": "x",
		}),
		google("Cloud Scheduler and Tasks", "https://app.example/cron", map[string]any{
			"azp": callerEmail, "email": callerEmail,
		}),
		google("generateIdToken, without e-mail", "https://app.example", map[string]any{"azp": callerNumber}),
		google("metadata server, full", "https://app.example", map[string]any{
			"azp": callerNumber, "email": callerEmail,
			"google": map[string]any{"compute_engine": map[string]any{
				"instance_id": "152986662232938449", "instance_name": "vm-1", "project_id": "project-1",
				"project_number": 123456789, "zone": "us-west1-a", "instance_creation_timestamp": 1775000000,
			}},
		}),
		google("Android, for the server", webClient, map[string]any{
			"azp": appClient, "email": "ada@example.com", "name": "Ada", "locale": "en",
		}),
		google("iOS, without azp", webClient, map[string]any{"email": "ada@example.com"}),
		google("Google's other name", webClient, map[string]any{"iss": "accounts.google.com", "azp": appClient}),
		google("Workspace", webClient, map[string]any{
			"azp": webClient, "email": "ada@example.com", "hd": "example.com", "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
		}),
		{
			name:    "IAP header",
			issuer:  "https://cloud.google.com/iap",
			keysURI: "https://www.gstatic.com/iap/verify/public_key-jwk",
			key:     curveKey(),
			header:  ecHeader,
			claims: map[string]any{
				"iss": "https://cloud.google.com/iap", "aud": iapAudience, "azp": iapAudience,
				"sub": "accounts.google.com:" + callerNumber, "email": "ada@example.com", "hd": "example.com",
				"google": map[string]any{"access_levels": []string{}},
			},
		},
		{
			name:    "Kanidm",
			issuer:  "https://idm.example/oauth2/openid/app",
			keysURI: "https://idm.example/oauth2/openid/app/public_key.jwk",
			key:     curveKey(),
			header:  ecHeader,
			claims: map[string]any{
				"iss": "https://idm.example/oauth2/openid/app", "sub": "b0bd5b0a-7ef5-4f1a-8c3b-0d4c2a2f3a11",
				"aud": "app", "azp": "app", "nbf": 1700000000, "auth_time": 0, "amr": nil,
			},
		},
		{
			name:    "better-auth",
			issuer:  "https://auth.example",
			keysURI: "https://auth.example/api/auth/jwks",
			key:     edwardsKey(),
			header:  `{"alg":"EdDSA","kid":"o1"}`,
			claims:  map[string]any{"iss": "https://auth.example", "aud": "app", "sub": "u1"},
		},
		{
			name:    "Keycloak, whose dates may be 0",
			issuer:  "https://sso.example/realms/r",
			keysURI: "https://sso.example/realms/r/protocol/openid-connect/certs",
			key:     serverKey(),
			header:  rsaHeader,
			claims: map[string]any{
				"iss": "https://sso.example/realms/r", "aud": "app", "azp": "app", "sub": "u1",
				"typ": "ID", "nbf": 0, "auth_time": 0,
			},
		},
	}
}

// servedKeys serves one key of each kind.
func servedKeys() *keyServer {
	return serveKeys(
		jwkJSON("k1", &serverKey().PublicKey),
		curveJWK("e1", &curveKey().PublicKey),
		okpJWK("o1", edwardsKey()),
	)
}

// TestServiceTokens: what Google's services send to a server is accepted by the keys that they publish, and says whose
// it is. For another server it is refused, whoever the caller. // W1 W9
func TestServiceTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range serviceTokens() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			claims := maps.Clone(tt.claims)
			claims["iat"], claims["exp"] = time.Now().Unix(), time.Now().Unix()+600
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			raw, keys := signWith(tt.key, tt.header, string(payload)), servedKeys()
			verifier := func(audience string) *IDTokenVerifier {
				v := &IDTokenVerifier{Audience: audience, HTTPClient: &http.Client{Transport: keys}}
				if tt.issuer != "" {
					v.Issuer, v.KeysURI = tt.issuer, tt.keysURI
				}
				return v
			}
			text := func(name string) string { s, _ := claims[name].(string); return s }
			audience, azp := text("aud"), text("azp")
			tok := checkVerify(t, verifier(audience), raw, "", "")
			if tok == nil {
				return
			}
			if tok.AuthorizedParty != azp || tok.Email != text("email") || tok.HostedDomain != text("hd") ||
				tok.Subject != claims["sub"] || !strings.HasSuffix(tok.Issuer, text("iss")) {
				t.Errorf("%+v", tok)
			}
			var google map[string]any
			if err := tok.Claim("google", &google); err != nil || (google == nil) != (claims["google"] == nil) {
				t.Error("the claim google is", google, err)
			}
			if !slices.Equal(keys.urls, []string{tt.keysURI}) {
				t.Errorf("asked for %q", keys.urls)
			}
			for _, other := range []string{"https://other.example", azp, audience + "/"} {
				if other != "" && other != audience { // else there is no caller, or it is the audience
					checkVerify(t, verifier(other), raw, "", "audience")
				}
			}
		})
	}
}

// TestIDTokenRoundTrip: what our own sources of ID tokens return in Google's shapes, our own verifier accepts for that
// audience and no other. // W1
func TestIDTokenRoundTrip(t *testing.T) {
	const audience = "https://run-1.a.run.app"
	check := func(t *testing.T, src TokenSource, v *IDTokenVerifier, party string) {
		t.Helper()
		tok, err := src.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v.Audience = audience
		raw := tok.AccessToken.Reveal()
		if got := checkVerify(t, v, raw, "", ""); got != nil && (got.AuthorizedParty != party || !got.EmailVerified) {
			t.Errorf("%+v", got)
		}
		other := &IDTokenVerifier{Issuer: v.Issuer, Audience: party, KeysURI: v.KeysURI, HTTPClient: v.HTTPClient}
		checkVerify(t, other, raw, "", "audience")
	}
	for _, party := range []string{callerNumber, callerEmail} {
		t.Run("service account, azp "+party, func(t *testing.T) {
			s, sa := serviceAccountServer(t)
			s.IDTokenClaims = func(c map[string]any) { c["azp"], c["sub"] = party, callerNumber }
			v := &IDTokenVerifier{Issuer: s.URL, KeysURI: s.URL + "/keys", HTTPClient: sa.HTTPClient}
			check(t, sa.IDTokenSource(audience), v, party)
		})
	}
	t.Run("metadata server", func(t *testing.T) {
		s := startMetadata(t)
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			io.WriteString(w, signJWT(serverKey(), `{"alg":"RS256","kid":"k1","typ":"JWT"}`,
				claimsJSON("iss", `"https://accounts.google.com"`, "aud", `"`+r.URL.Query().Get("audience")+`"`,
					"azp", `"`+callerNumber+`"`, "email", `"`+callerEmail+`"`, "email_verified", "true",
					"google", `{"compute_engine":{"instance_id":"1"}}`)))
			return true
		}
		v := &IDTokenVerifier{HTTPClient: &http.Client{Transport: servedKeys()}}
		check(t, (&ComputeCredentials{}).IDTokenSource(audience), v, callerNumber)
	})
}

// An idTokenSignIn is a sign-in whose ID token matters.
type idTokenSignIn struct {
	server   *TestServer
	scopes   []string // nil: openid
	params   url.Values
	resumed  bool                       // in another process, through Marshal and ResumeFlow
	client   func(*ClientSecrets)       // nil, or changes it
	redirect func(url.Values)           // nil, or changes the redirect
	answer   func(answer answerMembers) // nil, or changes the answer with the code
}

func (a *idTokenSignIn) run(t *testing.T) (*Credentials, error) {
	t.Helper()
	client, scopes := fileClientOf(t, a.server, "installed"), a.scopes
	if scopes == nil {
		scopes = []string{"openid"}
	}
	if a.client != nil {
		a.client(client)
	}
	if a.answer != nil {
		a.server.Answer = func(_ string, answer map[string]any) { a.answer(answer) }
	}
	f := NewFlow(client, scopes...)
	f.RedirectURI, f.Params = "http://127.0.0.1:8000/", a.params
	_, redirected := authorizeFlow(t, a.server, f)
	u, err := url.Parse(redirected)
	if err != nil {
		t.Fatal(err)
	}
	if a.redirect != nil {
		q := u.Query()
		a.redirect(q)
		u.RawQuery = q.Encode()
	}
	if a.resumed {
		data, err := f.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if f, err = ResumeFlow(client, data); err != nil {
			t.Fatal(err)
		}
	}
	return f.FetchTokenFromRedirect(t.Context(), u.String())
}

// check runs the sign-in and wants an error about the ID token with a text, or none where that is empty.
func (a *idTokenSignIn) check(t *testing.T, want string) *Credentials {
	t.Helper()
	creds, err := a.run(t)
	switch {
	case want == "" && err != nil:
		t.Fatalf("refused: %v", err)
	case want != "" && (creds != nil || !errorSays(err, want)):
		t.Fatalf("%v and %v, want an error with %q", creds, err, want)
	case want != "" && !strings.HasPrefix(err.Error(), "oauth2: the ID token that came with the sign-in "):
		t.Errorf("the error is %v", err)
	case want != "" && (len(err.Error()) > 500 || unprintable(err.Error())):
		t.Errorf("unsafe error: %q", err)
	}
	return creds
}

// A partiesRow is who a token is for, and who it was issued to.
type partiesRow struct {
	name     string
	aud      any
	azp      any // nil: none
	audience []string
	want     string // in the error of the sign-in; "": accepted
	verify   string // the same for a verifier
}

// TestParties: at a sign-in the token must be the client's, or for the one server that it named. A server takes what
// is for it alone from any caller. // W1 W2 W3 J21
func TestParties(t *testing.T) {
	t.Parallel()
	const us, api, other = "client-1.example", "https://api.example", "client-2.example"
	const party, audience = "another party", "audience"
	one := []string{api}
	for _, tt := range []partiesRow{
		{name: "ours", aud: us},
		{name: "ours, azp ours", aud: us, azp: us},
		{name: "ours, azp foreign", aud: us, azp: other, want: party},
		{name: "ours, azp empty", aud: us, azp: ""},
		{name: "ours, azp in another case", aud: us, azp: strings.ToUpper(us), want: party},
		{name: "one in a list, azp foreign", aud: []string{us}, azp: other, want: party},
		{name: "azp foreign, audience asked for", aud: us, azp: other, audience: one, want: party},

		{name: "two, azp ours", aud: []string{us, other}, azp: us}, // W2
		{name: "two, azp foreign", aud: []string{us, other}, azp: other, want: party, verify: party},
		{name: "two, no azp", aud: []string{us, other}, want: party, verify: party},
		{name: "ours twice, no azp", aud: []string{us, us}, want: party, verify: party},
		{name: "two, one empty", aud: []string{us, ""}, azp: us, want: audience, verify: audience},
		{name: "ours and the server, azp ours", aud: []string{us, api}, azp: us, audience: one},
		{name: "ours and the server, no azp", aud: []string{us, api}, audience: one, want: party, verify: party},

		// W3
		{name: "the server, azp ours", aud: api, azp: us, audience: one, verify: audience},
		{name: "the server in a list, azp ours", aud: one, azp: us, audience: one, verify: audience},
		{name: "ours though a server was named", aud: us, audience: one},
		{name: "the server, no azp", aud: api, audience: one, want: audience, verify: audience},
		{name: "the server, azp foreign", aud: api, azp: other, audience: one, want: audience, verify: audience},
		{name: "the server, azp the server", aud: api, azp: api, audience: one, want: audience, verify: audience},
		{name: "the server not asked for", aud: api, azp: us, want: audience, verify: audience},
		{name: "another server", aud: other, azp: us, audience: one, want: audience, verify: audience},
		{
			name:     "the server and another",
			aud:      []string{api, other},
			azp:      us,
			audience: one,
			want:     audience,
			verify:   audience,
		},
		{name: "the server twice", aud: []string{api, api}, azp: us, audience: one, want: audience, verify: audience},
		{name: "nobody", aud: []string{}, azp: us, audience: one, want: audience, verify: audience},
		{
			name:     "the server in another case",
			aud:      strings.ToUpper(api),
			azp:      us,
			audience: one,
			want:     audience,
			verify:   audience,
		},
	} {
		for _, resumed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resumed %v", tt.name, resumed), func(t *testing.T) {
				t.Parallel()
				s := NewMemoryServer()
				s.IDTokenClaims = func(c map[string]any) {
					c["aud"], c["azp"] = tt.aud, tt.azp
					if tt.azp == nil {
						delete(c, "azp")
					}
				}
				a := idTokenSignIn{server: s, params: url.Values{}, resumed: resumed}
				if tt.audience != nil {
					a.params["audience"] = tt.audience
				}
				a.check(t, tt.want)
			})
		}
		aud, _ := json.Marshal(tt.aud)
		azp, _ := json.Marshal(tt.azp)
		t.Run(tt.name+", at a server", func(t *testing.T) {
			t.Parallel()
			raw := goodJWT("aud", string(aud), "azp", string(azp))
			checkVerify(t, verifierWith(servedKeys()), raw, "", tt.verify)
		})
	}
	// One of two servers that were named is not the one.
	tok := &IDToken{Audience: one, AuthorizedParty: us}
	asked := &signInRequest{params: url.Values{"audience": {api, other}}}
	if err := tok.checkAudience(expected{audience: us, signIn: asked}); !errorSays(err, audience) {
		t.Error("two servers asked for:", err)
	}
}

// TestVerifyByKey: the key of the set decides how a signature is checked, and the header must say the same.
//
// W9 J1 J2 J5 J11
func TestVerifyByKey(t *testing.T) {
	t.Parallel()
	ec, ed := curveKey(), edwardsKey()
	set := []string{
		jwkJSON("k1", &serverKey().PublicKey), curveJWK("e1", &ec.PublicKey), okpJWK("o1", ed),
		jwkJSON("both", &serverKey().PublicKey), curveJWK("both", &ec.PublicKey, "alg", "", "use", ""),
	}
	signed := func(key crypto.Signer, alg, kid string, more ...string) tokenMaker {
		pairs := append([]string{"alg", `"` + alg + `"`, "kid", `"` + kid + `"`}, more...)
		if kid == absent {
			pairs[3] = ""
		}
		return func() string { return signWith(key, headerJSON(pairs...), claimsJSON()) }
	}
	changed := func() string { // claims under the signature of others
		h, _, s := splitJWT(signed(ec, "ES256", "e1")())
		return h + "." + rawBase64.EncodeToString([]byte(claimsJSON("sub", `"admin"`))) + "." + s
	}
	attacker := generateCurveKey(elliptic.P256())
	const other = "not with RS256, ES256 or EdDSA"
	rows := []struct {
		name  string
		token tokenMaker
		want  string
	}{
		{"RS256", signed(serverKey(), "RS256", "k1"), ""},
		{"ES256", signed(ec, "ES256", "e1"), ""},
		{"EdDSA", signed(ed, "EdDSA", "o1"), ""},
		{"ES256, the ID of two keys", signed(ec, "ES256", "both"), ""},
		{"RS256, the ID of two keys", signed(serverKey(), "RS256", "both"), ""},
		{"EdDSA without ID, one such key", signed(ed, "EdDSA", absent), ""},
		{"ES256 without ID, two such keys", signed(ec, "ES256", absent), noKey},

		{"RS256 with the ID of the EC key", signed(serverKey(), "RS256", "e1"), `no key "e1" for RS256`},
		{"RS256 with the ID of the Ed25519 key", signed(serverKey(), "RS256", "o1"), `no key "o1" for RS256`},
		{"ES256 with the ID of the RSA key", signed(ec, "ES256", "k1"), `no key "k1" for ES256`},
		{"ES256 with the ID of the Ed25519 key", signed(ec, "ES256", "o1"), `no key "o1" for ES256`},
		{"EdDSA with the ID of the EC key", signed(ed, "EdDSA", "e1"), `no key "e1" for EdDSA`},
		{"says ES256, signed by RSA", signed(serverKey(), "ES256", "e1"), unsigned},
		{"says ES256, signed by RSA, the ID of both", signed(serverKey(), "ES256", "both"), unsigned},
		{"says RS256, signed by EC, the ID of both", signed(ec, "RS256", "both"), unsigned},
		{"says ES256, signed by Ed25519", signed(ed, "ES256", "e1"), unsigned},
		{"says EdDSA, signed by EC", signed(ec, "EdDSA", "o1"), unsigned},
		{"another EC key", signed(attacker, "ES256", "e1"), unsigned},
		{"EC key in the header", signed(attacker, "ES256", "e1", "jwk", curveJWK("e1", &attacker.PublicKey)), unsigned},
		{"P-384 under ES256", signed(generateCurveKey(elliptic.P384()), "ES256", "e1"), unsigned},
		{"claims of another token", changed, unsigned},
		{"crit", signed(ec, "ES256", "e1", "crit", `["b64"]`, "b64", "true"), "critical"},
		{"access token", signed(ec, "ES256", "e1", "typ", `"at+jwt"`), "another type"},
	}
	for _, alg := range []string{
		"es256", "Es256", "ES256 ", "ES256K", "ES384", "ES512", "ESP256", "eddsa", "EDDSA", "Ed448", "ed25519", "none",
		"", "PS256", "RS384",
	} {
		rows = append(rows, struct {
			name  string
			token tokenMaker
			want  string
		}{"alg " + alg, signed(ec, alg, "e1"), other})
	}
	for name, secret := range publicTexts(t) { // J2
		rows = append(rows, struct {
			name  string
			token tokenMaker
			want  string
		}{"HS256 with the " + name, func() string { return symmetricJWT(secret) }, other})
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkVerify(t, verifierWith(serveKeys(set...)), tt.token(), "", tt.want)
		})
	}
}

// publicTexts are forms of the public keys that an attacker could use as a secret.
func publicTexts(t *testing.T) map[string][]byte {
	t.Helper()
	ec := &curveKey().PublicKey
	point, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string][]byte{
		"point":        point,
		"coordinate":   point[1:33],
		"JWK":          []byte(curveJWK("e1", ec)),
		"Ed25519 key":  edwardsKey().Public().(ed25519.PublicKey),
		"modulus":      serverKey().N.Bytes(),
		"empty secret": nil,
	}
	for name, key := range map[string]any{"EC": ec, "Ed25519": edwardsKey().Public(), "RSA": &serverKey().PublicKey} {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		texts["DER of the "+name+" key"] = der
		texts["PEM of the "+name+" key"] = []byte(pemText("PUBLIC KEY", der))
	}
	return texts
}

// symmetricJWT is a token whose signature is an HMAC.
func symmetricJWT(secret []byte) string {
	input := rawBase64.EncodeToString([]byte(headerJSON("alg", `"HS256"`, "kid", `"e1"`))) + "." +
		rawBase64.EncodeToString([]byte(claimsJSON()))
	return input + "." + rawBase64.EncodeToString(hmacSHA256(secret, input))
}

// TestCurveSignatures: the first stage alone, against what has passed for a signature elsewhere. // W9 J11 J12
func TestCurveSignatures(t *testing.T) {
	t.Parallel()
	const signed = "header.payload"
	ec, ed := curveKey(), edwardsKey()
	n := elliptic.P256().Params().N
	sum, wrong := sha256.Sum256([]byte(signed)), sha512.Sum512_256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, ec, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	r2, s2, _ := ecdsa.Sign(rand.Reader, ec, wrong[:])
	der, _ := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	zero, one, good := new(big.Int), big.NewInt(1), joined(r, s, 32)
	minus := func(x *big.Int) *big.Int { return new(big.Int).Sub(n, x) }
	goodEd := ed25519.Sign(ed, []byte(signed))
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10) // RFC 8032, Section 5.1
	order.SetBit(order, 252, 1)
	little := slices.Clone(goodEd[32:]) // S, little-endian
	slices.Reverse(little)
	plusOrder := new(big.Int).Add(new(big.Int).SetBytes(little), order).FillBytes(make([]byte, 32))
	slices.Reverse(plusOrder)
	digest := sha512.Sum512([]byte(signed))
	prehashed, _ := ed.Sign(rand.Reader, digest[:], &ed25519.Options{Hash: crypto.SHA512})
	inContext, _ := ed.Sign(rand.Reader, []byte(signed), &ed25519.Options{Context: "jwt"})
	_, otherEd, _ := ed25519.GenerateKey(rand.Reader)
	for _, tt := range []struct {
		name string
		key  crypto.PublicKey
		sig  []byte
		ok   bool
	}{
		{"ES256", &ec.PublicKey, good, true},
		{"ES256, s negated, which RFC 7518 allows", &ec.PublicKey, joined(r, minus(s), 32), true},
		{"63 bytes", &ec.PublicKey, good[:63], false},
		{"63 bytes, the first left out", &ec.PublicKey, good[1:], false},
		{"a zero behind", &ec.PublicKey, append(slices.Clone(good), 0), false},
		{"a zero before", &ec.PublicKey, append([]byte{0}, good...), false},
		{"a zero between", &ec.PublicKey, slices.Concat(good[:32], []byte{0}, good[32:]), false},
		{"96 bytes, as of P-384", &ec.PublicKey, joined(r, s, 48), false},
		{"128 bytes", &ec.PublicKey, joined(r, s, 64), false},
		{"twice", &ec.PublicKey, append(slices.Clone(good), good...), false},
		{"DER", &ec.PublicKey, der, false},
		{"DER of 64 bytes", &ec.PublicKey, append(slices.Clone(der), make([]byte, 64)...)[:64], false},
		{"nothing", &ec.PublicKey, nil, false},
		{"r and s 0", &ec.PublicKey, make([]byte, 64), false}, // CVE-2022-21449
		{"r 0", &ec.PublicKey, joined(zero, s, 32), false},
		{"s 0", &ec.PublicKey, joined(r, zero, 32), false},
		{"r the order", &ec.PublicKey, joined(n, s, 32), false},
		{"s the order", &ec.PublicKey, joined(r, n, 32), false},
		{"r and s the order", &ec.PublicKey, joined(n, n, 32), false},
		{"r and s 1", &ec.PublicKey, joined(one, one, 32), false},
		{"all ones", &ec.PublicKey, slices.Repeat([]byte{0xff}, 64), false},
		{"r negated", &ec.PublicKey, joined(minus(r), s, 32), false},
		{"r and s exchanged", &ec.PublicKey, joined(s, r, 32), false},
		{"digest of another hash", &ec.PublicKey, joined(r2, s2, 32), false},
		{"another EC key", &generateCurveKey(elliptic.P256()).PublicKey, good, false},

		{"EdDSA", ed.Public(), goodEd, true},
		{"EdDSA, 63 bytes", ed.Public(), goodEd[:63], false},
		{"EdDSA, 65 bytes", ed.Public(), append(slices.Clone(goodEd), 0), false},
		{"EdDSA, nothing", ed.Public(), nil, false},
		{"EdDSA, zero", ed.Public(), make([]byte, 64), false},
		{"EdDSA, S plus the order", ed.Public(), append(slices.Clone(goodEd[:32]), plusOrder...), false},
		{"EdDSA, prehashed", ed.Public(), prehashed, false},
		{"EdDSA, in a context", ed.Public(), inContext, false},
		{"EdDSA, another key", otherEd.Public(), goodEd, false},

		{"EC signature, Ed25519 key", ed.Public(), good, false},
		{"Ed25519 signature, EC key", &ec.PublicKey, goodEd, false},
		{"no key", nil, good, false},
		{"a secret in place of a key", []byte("secret"), good, false},
	} {
		if err := checkSignature(tt.key, signed, tt.sig); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if checkSignature(&ec.PublicKey, signed+" ", good) == nil {
		t.Error("ES256: accepted for other bytes")
	}
	if checkSignature(ed.Public(), signed+" ", goodEd) == nil {
		t.Error("EdDSA: accepted for other bytes")
	}
}

// A curveKeyRow is a key of a set, and what becomes of a token that curveKey or edwardsKey has signed.
type curveKeyRow struct{ name, key, want string }

// TestCurveKeys: which keys on curves serve. What is not right in all its parts is passed over. // W9 W10 J3 K7
func TestCurveKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range curveKeyRows() {
		t.Run("EC, "+tt.name, func(t *testing.T) {
			t.Parallel()
			raw := signWith(curveKey(), headerJSON("alg", `"ES256"`, "kid", `"e1"`), claimsJSON())
			checkVerify(t, verifierWith(serveKeys(tt.key)), raw, "", tt.want)
			if tt.want == unusable { // and does no harm to another
				checkVerify(t, verifierWith(serveKeys(tt.key, curveJWK("e1", &curveKey().PublicKey))), raw, "", "")
			}
		})
	}
	for _, tt := range edwardsKeyRows() {
		t.Run("OKP, "+tt.name, func(t *testing.T) {
			t.Parallel()
			raw := signWith(edwardsKey(), headerJSON("alg", `"EdDSA"`, "kid", `"o1"`), claimsJSON())
			checkVerify(t, verifierWith(serveKeys(tt.key)), raw, "", tt.want)
			if tt.want == unusable {
				checkVerify(t, verifierWith(serveKeys(tt.key, okpJWK("o1", edwardsKey()))), raw, "", "")
			}
		})
	}
	t.Run("a coordinate that is short by nature", func(t *testing.T) { // W10
		t.Parallel()
		key := generateCurveKey(elliptic.P256())
		x, y := coordinates(&key.PublicKey)
		for x[0] != 0 && y[0] != 0 {
			key = generateCurveKey(elliptic.P256())
			x, y = coordinates(&key.PublicKey)
		}
		short := func(b []byte) string { return quotedBase64(new(big.Int).SetBytes(b).Bytes()) }
		raw := signWith(key, headerJSON("alg", `"ES256"`, "kid", `"e1"`), claimsJSON())
		for _, jwk := range []string{
			curveJWK("e1", &key.PublicKey), curveJWK("e1", &key.PublicKey, "x", short(x), "y", short(y)),
		} {
			checkVerify(t, verifierWith(serveKeys(jwk)), raw, "", "")
		}
	})
}

func curveKeyRows() []curveKeyRow {
	pub := &curveKey().PublicKey
	x, y := coordinates(pub)
	with := func(pairs ...string) string { return curveJWK("e1", pub, pairs...) }
	at := func(x, y []byte) string { return with("x", quotedBase64(x), "y", quotedBase64(y)) }
	before := func(b []byte, zeros int) []byte { return append(make([]byte, zeros), b...) }
	off := slices.Clone(y)
	off[31] ^= 1
	params := elliptic.P256().Params()
	negated := new(big.Int).Sub(params.P, new(big.Int).SetBytes(y)).FillBytes(make([]byte, 32))
	ofCurve := func(curve elliptic.Curve, pairs ...string) string {
		return curveJWK("e1", &generateCurveKey(curve).PublicKey, pairs...)
	}
	return []curveKeyRow{
		{"plain", with(), ""},
		{"nothing optional", with("alg", "", "use", ""), ""},
		{"for verifying", with("key_ops", `["verify"]`), ""},
		{"x5c beside", with("x5c", `["MIIB"]`, "x5t", `"x"`), ""},
		{"zeros before, as Java writes them", at(before(x, 1), before(y, 1)), ""}, // W10
		{"many zeros before", at(before(x, 100), y), ""},
		{"the mirrored point", at(x, negated), unsigned},
		{"another point", ofCurve(elliptic.P256()), unsigned},

		{"alg RS256", with("alg", `"RS256"`), unusable},
		{"alg ES384", with("alg", `"ES384"`), unusable},
		{"alg es256", with("alg", `"es256"`), unusable},
		{"alg EdDSA", with("alg", `"EdDSA"`), unusable},
		{"alg ECDH-ES", with("alg", `"ECDH-ES"`), unusable},
		{"alg is a list", with("alg", `["ES256"]`), unusable},
		{"for encryption", with("use", `"enc"`), unusable},
		{"for deriving", with("key_ops", `["deriveKey"]`), unusable},
		{"kty ec", with("kty", `"ec"`), unusable},
		{"kty RSA", with("kty", `"RSA"`), unusable},
		{"kty OKP", with("kty", `"OKP"`), unusable},
		{"no kty", with("kty", ""), unusable},
		{"no curve", with("crv", ""), unusable},
		{"curve in another case", with("crv", `"p-256"`), unusable},
		{"curve secp256k1", with("crv", `"secp256k1"`), unusable},
		{"curve is a list", with("crv", `["P-256"]`), unusable},
		{"P-384", ofCurve(elliptic.P384(), "alg", `"ES384"`), unusable},
		{"P-384 that says ES256", ofCurve(elliptic.P384()), unusable},
		{"P-384 that says P-256", ofCurve(elliptic.P384(), "crv", `"P-256"`), unusable},
		{"P-521", ofCurve(elliptic.P521(), "alg", `"ES512"`), unusable},
		{"P-224 that says P-256", ofCurve(elliptic.P224(), "crv", `"P-256"`), unusable},

		{"beside the curve", at(x, off), unusable},
		{"exchanged", at(y, x), unusable},
		{"0, 0", at([]byte{0}, []byte{0}), unusable},
		{"1, 1", at([]byte{1}, []byte{1}), unusable},
		{"x is the prime", at(params.P.Bytes(), y), unusable},
		{"x of 33 bytes", at(append([]byte{1}, x...), y), unusable},
		{"a zero behind", at(append(slices.Clone(x), 0), y), unusable},
		{"x cut", at(x[:31], y), unusable},
		{"no x", with("x", ""), unusable},
		{"no y", with("y", ""), unusable},
		{"y is a bit, as of a compressed point", with("y", "true"), unusable},
		{"x is a number", with("x", "1"), unusable},
		{"x is the whole point", at(slices.Concat([]byte{4}, x, y), nil), unusable},
		{"x is padded", with("x", `"`+base64.URLEncoding.EncodeToString(x)+`"`), unusable},
		{"x is not base64url", with("x", `"+/`+strings.Repeat("A", 41)+`"`), unusable},
		{"d is public", with("d", quotedBase64(x)), unusable}, // K7
		{"kid is a number", with("kid", "1"), unusable},
	}
}

func edwardsKeyRows() []curveKeyRow {
	pub := edwardsKey().Public().(ed25519.PublicKey)
	with := func(pairs ...string) string { return okpJWK("o1", edwardsKey(), pairs...) }
	at := func(x []byte) string { return with("x", quotedBase64(x)) }
	return []curveKeyRow{
		{"plain", with(), ""},
		{"nothing optional", with("alg", "", "use", ""), ""},
		{"all zeros", at(make([]byte, 32)), unsigned},
		{"no point", at(slices.Repeat([]byte{0xff}, 32)), unsigned},

		{"alg ES256", with("alg", `"ES256"`), unusable},
		{"alg RS256", with("alg", `"RS256"`), unusable},
		{"alg Ed448", with("alg", `"Ed448"`), unusable},
		{"for encryption", with("use", `"enc"`), unusable},
		{"for deriving", with("key_ops", `["deriveBits"]`), unusable},
		{"kty okp", with("kty", `"okp"`), unusable},
		{"kty EC", with("kty", `"EC"`), unusable},
		{"no curve", with("crv", ""), unusable},
		{"curve in another case", with("crv", `"ed25519"`), unusable},
		{"X25519", with("crv", `"X25519"`), unusable},
		{"Ed448", with("crv", `"Ed448"`, "x", quotedBase64(make([]byte, 57))), unusable},
		{"Ed448 of 32 bytes", with("crv", `"Ed448"`), unusable},
		{"31 bytes", at(pub[:31]), unusable},
		{"a zero before", at(append([]byte{0}, pub...)), unusable}, // it is no number
		{"a zero behind", at(append(slices.Clone(pub), 0)), unusable},
		{"no x", with("x", ""), unusable},
		{"x is padded", with("x", `"`+base64.URLEncoding.EncodeToString(pub)+`"`), unusable},
		{"d is public", with("d", quotedBase64(edwardsKey().Seed())), unusable}, // K7
	}
}

// TestLeadingZeros: Java issuers write numbers with zeros before them. No other spelling passes. // W10 J14
func TestLeadingZeros(t *testing.T) {
	t.Parallel()
	n := serverKey().N.Bytes()
	zeros := func(b []byte, count int) string { return quotedBase64(append(make([]byte, count), b...)) }
	f4 := []byte{1, 0, 1}
	for _, tt := range []struct{ name, n, e, want string }{
		{"none", zeros(n, 0), zeros(f4, 0), ""},
		{"one before n", zeros(n, 1), zeros(f4, 0), ""},
		{"one before e", zeros(n, 0), zeros(f4, 1), ""},
		{"several before both", zeros(n, 9), zeros(f4, 5), ""},
		{"8192 bits and zeros", zeros(append([]byte{0x80}, make([]byte, 1023)...), 1), zeros(f4, 0), unsigned},
		{"only zeros", zeros(nil, 256), zeros(f4, 0), unusable},
		{"short but for zeros", zeros(n[:128], 128), zeros(f4, 0), unusable},
		{"e is 3, with zeros", zeros(n, 0), zeros([]byte{3}, 2), unusable},
		{"e is zero", zeros(n, 0), zeros(nil, 3), unusable},
		{"e with a zero behind", zeros(n, 0), quotedBase64([]byte{1, 0, 1, 0}), unusable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey, "n", tt.n, "e", tt.e))
			checkVerify(t, verifierWith(keys), goodJWT(), "", tt.want)
		})
	}
}

// TestOtherTokens: what an issuer signs for other purposes is no ID token, though its issuer, audience and signature
// are right. // W4 J24
func TestOtherTokens(t *testing.T) {
	t.Parallel()
	const kind, lacks = "is not an ID token", "(iat, exp)"
	logout := `{"http://schemas.openid.net/event/backchannel-logout":{}}`
	for _, tt := range []struct {
		name  string
		pairs []string
		want  string
	}{
		{"Keycloak's ID token", []string{"typ", `"ID"`, "azp", `"client-1.example"`}, ""},
		{"typ in another case", []string{"typ", `"id"`}, ""},
		{"typ JWT", []string{"typ", `"JWT"`}, ""},
		{"a claim of another name", []string{"event", `{}`, "Events", `{}`, "type", `"Bearer"`, "Typ", `"Bearer"`}, ""},

		{"back-channel logout token", []string{"events", logout, "jti", `"1"`, "sid", `"s"`}, kind},
		{"security event token", []string{"events", `{"https://schemas.openid.net/secevent/risc":{"a":1}}`}, kind},
		{"no event", []string{"events", `{}`}, kind},
		{"events are null", []string{"events", `null`}, kind},
		{"events are text", []string{"events", `"x"`}, kind},
		{"Keycloak's access token", []string{"typ", `"Bearer"`, "azp", `"client-1.example"`}, kind},
		{"Keycloak's refresh token", []string{"typ", `"Refresh"`}, kind},
		{"Keycloak's offline token", []string{"typ", `"Offline"`}, kind},
		{"Keycloak's logout token", []string{"typ", `"Logout"`, "events", logout}, kind},
		{"DPoP-bound access token", []string{"typ", `"DPoP"`}, kind},
		{"access token by its media type", []string{"typ", `"at+jwt"`}, kind},
		{"typ with a space", []string{"typ", `"ID "`}, kind},
		{"typ empty", []string{"typ", `""`}, kind},
		{"typ null", []string{"typ", `null`}, kind},
		{"typ is a number", []string{"typ", `1`}, kind},
		{"typ is a list", []string{"typ", `["ID"]`}, kind},
		{"typ steers terminals", []string{"typ", `"\u001b[2J` + strings.Repeat("é", 99) + `"`}, kind},
		{"signed redirect", []string{"code", `"c"`, "sub", "", "iat", ""}, "no usable subject"},
		{"signed user info", []string{"exp", "", "iat", ""}, lacks},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkVerify(t, verifierWith(servedKeys()), goodJWT(tt.pairs...), "", tt.want)
		})
		t.Run(tt.name+", at a sign-in", func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			s.IDTokenClaims = func(c map[string]any) {
				for pair := range slices.Chunk(tt.pairs, 2) {
					if c[pair[0]] = json.RawMessage(pair[1]); pair[1] == "" {
						delete(c, pair[0])
					}
				}
			}
			a := idTokenSignIn{server: s}
			a.check(t, tt.want)
		})
	}
}

// TestSignInWithoutIDToken: with openid, the server's ID token must come, or a stranger's code could pass. // W5
func TestSignInWithoutIDToken(t *testing.T) {
	t.Parallel()
	const missing = "is missing, although the scope openid was asked for"
	noIssuer := func(c *ClientSecrets) { c.Issuer = "" }
	domain := url.Values{"hd": {"example.com"}}
	for _, tt := range []struct {
		name   string
		scopes []string
		client func(*ClientSecrets)
		params url.Values
		token  any // in the answer
		want   string
	}{
		{name: "absent", want: missing},
		{name: "empty", token: "", want: missing},
		{name: "among other scopes", scopes: []string{"email", "openid"}, want: missing},
		{name: "in one string of scopes", scopes: []string{"email openid"}, want: missing},
		{name: "without openid", scopes: []string{"email"}},
		{name: "a scope like openid", scopes: []string{"OpenID", "openid2", "https://as.example/openid"}},
		{name: "no scope", scopes: []string{}},
		{name: "no issuer", client: noIssuer},
		{name: "no issuer, but hd", client: noIssuer, params: domain, want: missing},
		{name: "no issuer, but max_age", client: noIssuer, params: url.Values{"max_age": {"60"}}, want: missing},
		{name: "hd without openid", scopes: []string{"email"}, params: domain},
		{name: "not a JWT", token: "abc", want: "is not a signed JWT"},
		{name: "not a JWT, no issuer", client: noIssuer, token: "abc"},
	} {
		for _, resumed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resumed %v", tt.name, resumed), func(t *testing.T) {
				t.Parallel()
				a := idTokenSignIn{server: NewMemoryServer(), scopes: tt.scopes, client: tt.client, params: tt.params,
					resumed: resumed}
				a.answer = func(answer answerMembers) {
					if answer["id_token"] = tt.token; tt.token == nil {
						delete(answer, "id_token")
					}
				}
				a.check(t, tt.want)
			})
		}
	}
	// A device code binds the tokens to this sign-in, without a nonce: nobody else's code can come.
	t.Run("another device", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newDeviceRun(t)
			r.Answer = func(_ string, answer map[string]any) { delete(answer, "id_token") }
			if creds, err := r.run(t.Context()); err != nil || creds.IDToken() != nil {
				t.Error(err)
			}
		})
	})
	t.Run("another device, hd asked for", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newDeviceRun(t)
			r.flow.Params = domain
			r.Answer = func(_ string, answer map[string]any) { delete(answer, "id_token") }
			if _, err := r.run(t.Context()); !errorSays(err, missing) {
				t.Error(err)
			}
		})
	})
}

// An askedRow is what a sign-in asks for, and what the ID token says.
type askedRow struct {
	name   string
	params url.Values
	claims map[string]any // of which nil removes one
	want   string
}

// TestSignInAsked: the user's browser may strip or change what the request asks for, so that the answer is compared
// with it. // W6
func TestSignInAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range slices.Concat(domainRows(), maxAgeRows()) {
		for _, resumed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resumed %v", tt.name, resumed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := NewMemoryServer()
					s.IDTokenClaims = tt.change
					a := idTokenSignIn{server: s, params: tt.params, resumed: resumed}
					a.check(t, tt.want)
				})
			})
		}
		t.Run(tt.name+", without an issuer", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.IDTokenClaims = tt.change
				a := idTokenSignIn{server: s, params: tt.params, client: func(c *ClientSecrets) { c.Issuer = "" }}
				want := tt.want
				if tt.params == nil {
					want = "" // nothing is looked at
				}
				a.check(t, want)
			})
		})
		t.Run(tt.name+", on another device", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newDeviceRun(t)
				r.IDTokenClaims, r.flow.Params = tt.change, tt.params
				_, err := r.run(t.Context())
				if (err == nil) != (tt.want == "") || err != nil && !errorSays(err, tt.want) {
					t.Error(err)
				}
			})
		})
	}
}

// change makes the claims of the row. A number of seconds counts from now.
func (r *askedRow) change(claims map[string]any) {
	for name, value := range r.claims {
		if ago, ok := value.(time.Duration); ok {
			value = time.Now().Add(-ago).Unix()
		}
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
}

func domainRows() []askedRow {
	const other = `is not of the hosted domain "example.com" (hd)`
	asked := url.Values{"hd": {"example.com"}}
	hd := func(value any) map[string]any { return map[string]any{"hd": value} }
	return []askedRow{
		{name: "hd", params: asked, claims: hd("example.com")},
		{name: "hd in another case", params: asked, claims: hd("Example.COM")},
		{name: "hd asked for in another case", params: url.Values{"hd": {"EXAMPLE.com"}}, claims: hd("example.com")},
		{name: "another hd", params: asked, claims: hd("evil.example"), want: other},
		{name: "no hd, as of a private account", params: asked, want: other},
		{name: "hd empty", params: asked, claims: hd(""), want: other},
		{name: "hd of a subdomain", params: asked, claims: hd("a.example.com"), want: other},
		{name: "hd longer", params: asked, claims: hd("example.com.evil.example"), want: other},
		{name: "hd with a dot behind", params: asked, claims: hd("example.com."), want: other},
		{name: "hd of other letters", params: asked, claims: hd("еxample.com"), want: other}, // Cyrillic
		{name: "hd is a star", params: asked, claims: hd("*"), want: other},
		{name: "hd is a list", params: asked, claims: hd([]string{"example.com"}), want: "not a string"},
		{name: "e-mail, no hd", params: asked, claims: map[string]any{"email": "a@example.com"}, want: other},

		{name: "any hd", params: url.Values{"hd": {"*"}}, claims: hd("example.com")},
		{name: "any hd, but none", params: url.Values{"hd": {"*"}}, want: `domain "*"`},
		{name: "any hd, but empty", params: url.Values{"hd": {"*"}}, claims: hd(""), want: `domain "*"`},
		{name: "any of a part", params: url.Values{"hd": {"*.com"}}, claims: hd("example.com"), want: `domain "*.com"`},
		{name: "hd not asked for", claims: hd("evil.example")},
		{name: "an empty hd asked for", params: url.Values{"hd": {""}}, claims: hd("example.com")},
		{
			name:   "hd asked for steers terminals",
			params: url.Values{"hd": {"\x1b[2J" + strings.Repeat("ä", 300)}},
			claims: hd("example.com"),
			want:   `hosted domain "\x1b[2J`,
		},
	}
}

func maxAgeRows() []askedRow {
	const absent, old = "it does not say when", "signed in too long ago"
	age := func(seconds string) url.Values { return url.Values{"max_age": {seconds}} }
	at := func(value any) map[string]any { return map[string]any{"auth_time": value} }
	return []askedRow{
		{name: "max_age", params: age("300"), claims: at(5 * time.Minute)},
		{name: "max_age, within the leeway", params: age("300"), claims: at(6 * time.Minute)},
		{name: "max_age, beyond the leeway", params: age("300"), claims: at(6*time.Minute + time.Second), want: old},
		{name: "max_age 0", params: age("0"), claims: at(time.Duration(0))},
		{name: "max_age 0, of another sign-in", params: age("0"), claims: at(2 * time.Minute), want: old},
		{name: "max_age, no auth_time", params: age("300"), want: absent},
		{name: "max_age, auth_time 0", params: age("300"), claims: at(0), want: absent},
		{name: "max_age, auth_time null", params: age("300"), claims: at(json.RawMessage("null")), want: absent},
		{name: "max_age, auth_time is text", params: age("300"), claims: at("1700000000"), want: absent},
		{name: "max_age, auth_time negative", params: age("300"), claims: at(-1), want: absent},
		{name: "max_age, auth_time of last year", params: age("300"), claims: at(8760 * time.Hour), want: old},
		{name: "max_age is no number", params: age("5m"), claims: at(2 * time.Minute), want: old},
		{name: "max_age negative", params: age("-1"), claims: at(2 * time.Minute), want: old},
		{name: "max_age not asked for, auth_time old", claims: at(8760 * time.Hour)},
		{name: "max_age not asked for, auth_time 0", claims: at(0)},
		{name: "max_age not asked for, auth_time is text", claims: at("yesterday")},
		{
			name:   "hd and max_age, hd wrong",
			params: url.Values{"max_age": {"300"}, "hd": {"example.com"}},
			claims: map[string]any{"auth_time": time.Duration(0), "hd": "evil.example"},
			want:   "hosted domain",
		},
		{
			name:   "hd and max_age, auth_time old",
			params: url.Values{"max_age": {"300"}, "hd": {"example.com"}},
			claims: map[string]any{"auth_time": time.Hour, "hd": "example.com"},
			want:   old,
		},
		{
			name:   "hd and max_age",
			params: url.Values{"max_age": {"300"}, "hd": {"example.com"}},
			claims: map[string]any{"auth_time": time.Minute, "hd": "example.com"},
		},
	}
}

// TestRefreshOtherUser: a refresh must not turn one user into another. A new refresh token is kept even so, since the
// old one is gone. // W7
func TestRefreshOtherUser(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(answerMembers, map[string]any) {
		return func(answer answerMembers, claims map[string]any) {
			claims[name] = value
			answer["id_token"] = signClaims(serverKey(), map[string]any{"alg": "RS256"}, claims)
		}
	}
	raw := func(token any) func(answerMembers, map[string]any) {
		return func(answer answerMembers, _ map[string]any) {
			if answer["id_token"] = token; token == nil {
				delete(answer, "id_token")
			}
		}
	}
	for _, tt := range []struct {
		name    string
		issuer  any // of the ID token that is held; nil: the server
		answer  func(answer answerMembers, claims map[string]any)
		refused bool
	}{
		{name: "the same user", answer: claim("email", "new@example.com")},
		{name: "no ID token", answer: raw(nil)},
		{name: "empty ID token", answer: raw("")},
		{name: "another audience, which a verifier checks", answer: claim("aud", "other")},
		{name: "Google by its other name", issuer: googleIssuer, answer: claim("iss", "accounts.google.com")},
		{name: "Google by its full name", issuer: "accounts.google.com", answer: claim("iss", googleIssuer)},

		{name: "another subject", answer: claim("sub", "user-2"), refused: true},
		{name: "subject in another case", answer: claim("sub", "USER-1"), refused: true},
		{name: "no subject", answer: claim("sub", ""), refused: true},
		{name: "another issuer", answer: claim("iss", "https://other.example"), refused: true},
		{name: "issuer with a slash", answer: claim("iss", "https://as.example/"), refused: true},
		{name: "no issuer", answer: claim("iss", ""), refused: true},
		{name: "Google's name without Google", answer: claim("iss", "accounts.google.com"), refused: true},
		{name: "Google, then another", issuer: googleIssuer, answer: claim("iss", "https://as.example"), refused: true},
		{name: "not a JWT", answer: raw("abc"), refused: true},
		{name: "encrypted", answer: raw("a.b.c.d.e"), refused: true},
	} {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stored %v", tt.name, stored), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					run := otherUserRun{issuer: tt.issuer, answer: tt.answer, stored: stored}
					run.check(t, tt.refused)
				})
			})
		}
	}
}

// An otherUserRun is a sign-in, and then a refresh that brings another ID token.
type otherUserRun struct {
	issuer any
	answer func(answer answerMembers, claims map[string]any)
	stored bool
}

func (r *otherUserRun) check(t *testing.T, refused bool) {
	t.Helper()
	s, store := rotatingServer(), newMemoryStore()
	base := map[string]any{"aud": s.ClientID, "sub": s.Subject, "iat": time.Now().Unix(),
		"exp": time.Now().Unix() + 3600, "iss": s.URL}
	if r.issuer != nil {
		base["iss"] = r.issuer
	}
	s.IDTokenClaims = func(c map[string]any) { c["iss"] = base["iss"] }
	a := idTokenSignIn{server: s, client: func(c *ClientSecrets) { c.Issuer = base["iss"].(string) }}
	if base["iss"] == "accounts.google.com" {
		a.client = func(c *ClientSecrets) { c.Issuer = googleIssuer }
	}
	a.redirect = func(q url.Values) { q.Del("iss") }
	creds := a.check(t, "")
	if r.stored {
		if err := creds.Save(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
	before, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Answer = func(_ string, answer map[string]any) { r.answer(answer, maps.Clone(base)) }
	after, err := creds.Refresh(t.Context())
	if !refused {
		if err != nil || after.AccessToken.equal(before.AccessToken) {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var e *Error
	if !errors.As(err, &e) || e.Temporary() || errors.Is(err, ErrLoginRequired) ||
		!errorSays(err, "has the ID token of another user") {
		t.Errorf("accepted, or %v", err)
	}
	kept, err := creds.Token(t.Context())
	if err != nil || !kept.AccessToken.equal(before.AccessToken) || !kept.IDToken.equal(before.IDToken) {
		t.Errorf("the token in use is not the old one: %v", err)
	}
	if kept.RefreshToken.equal(before.RefreshToken) {
		t.Error("the new refresh token is lost")
	}
	if r.stored && storedMembers(t, store)["refresh_token"] != kept.RefreshToken.Reveal() {
		t.Error("the new refresh token is not stored")
	}
	s.Answer = nil
	if _, err := creds.Refresh(t.Context()); err != nil || s.Reuses() != 0 {
		t.Errorf("afterwards: %v, %d old refresh tokens", err, s.Reuses())
	}
}

// TestRefreshFirstIDToken: where no ID token is held, the first one is taken, and from then on it is the measure. // W7
func TestRefreshFirstIDToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		creds := credentialsOf(s, "openid")
		s.Subject = "user-2"
		if _, err := creds.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Subject = "user-3"
		if _, err := creds.Refresh(t.Context()); !errorSays(err, "another user") {
			t.Error(err)
		}
	})
}

// TestSignInAfterOtherUser: the one-call sign-in asks the user again, once, when the stored refresh token is suddenly
// somebody else's. // W7 W26
func TestSignInAfterOtherUser(t *testing.T) {
	t.Parallel()
	s, store := NewTestServer(t), newMemoryStore()
	browsers := 0
	signIn := func() (*Credentials, error) {
		flow := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "openid")
		flow.Store, flow.Prompt = store, io.Discard
		flow.OpenBrowser = func(u string) error { browsers++; return s.Browser(u) }
		return flow.SignIn(t.Context())
	}
	if _, err := signIn(); err != nil {
		t.Fatal(err)
	}
	store.set("expiry", "2001-01-01T00:00:00Z")
	s.Subject = "user-2"
	creds, err := signIn()
	if err != nil || browsers != 2 {
		t.Fatalf("%d browsers: %v", browsers, err)
	}
	if tok := creds.IDToken(); tok == nil || tok.Subject != "user-2" {
		t.Errorf("signed in as %+v", tok)
	}
	if creds, err = signIn(); err != nil || browsers != 2 || creds.IDToken() != nil { // W14: loaded
		t.Errorf("%d browsers: %v", browsers, err)
	}
}

// TestLargeIDToken: the ID token of a sign-in may be large, since it comes from the token endpoint. // W8 J9 J10
func TestLargeIDToken(t *testing.T) {
	t.Parallel()
	const encrypted, parts = "encrypted ones are not supported", "is not a signed JWT of three parts"
	for _, tt := range []struct {
		name   string
		groups int // bytes
		size   int // 0: as it comes
		raw    string
		want   string // in the error; "": accepted
	}{
		{name: "30 KB of groups", groups: 30_000},
		{name: "200 KB of groups", groups: 200_000 * 3 / 4},
		{name: "256 KiB", size: 256 << 10},
		{name: "256 KiB and a byte", size: 256<<10 + 1, want: "has a id_token that is too long"},
		{name: "900 KB", size: 900_000, want: "has a id_token that is too long"},
		{name: "encrypted", raw: "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d", want: encrypted},
		{name: "encrypted, for the client directly", raw: "eyJhbGciOiJkaXIifQ..a.b.c", want: encrypted},
		{name: "encrypted, large", raw: "a.b.c.d." + strings.Repeat("e", 100_000), want: encrypted},
		{name: "four parts", raw: "a.b.c.d", want: parts},
		{name: "six parts", raw: "a.b.c.d.e.f", want: parts},
		{name: "two parts", raw: "a.b", want: parts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			groups := strings.Repeat("group-01,", tt.groups/9)
			s.IDTokenClaims = func(c map[string]any) { c["groups"] = groups }
			a := idTokenSignIn{server: s}
			a.answer = func(answer answerMembers) {
				token := answer["id_token"].(string)
				token += strings.Repeat("A", max(0, tt.size-len(token))) // to the signature, which is not looked at
				answer["id_token"] = token
				if tt.raw != "" {
					answer["id_token"] = tt.raw
				}
			}
			creds, err := a.run(t)
			if tt.want != "" {
				if creds != nil || !errorSays(err, tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := creds.IDToken().Claim("groups", &got); err != nil || got != groups {
				t.Errorf("%d bytes of groups, %v", len(got), err)
			}
			store := newMemoryStore()
			if err := creds.Save(t.Context(), store); err != nil {
				t.Fatal(err)
			}
			raw := creds.cache.current.Load().IDToken
			if !loadedCredentials(t, s, store).cache.current.Load().IDToken.equal(raw) {
				t.Error("the ID token is not what was stored")
			}
			// From elsewhere, it is refused unseen.
			checkVerify(t, verifierWith(servedKeys()), raw.Reveal(), "", "is too long")
		})
	}
}

const (
	entraAny    = "https://login.microsoftonline.com/{tenantid}/v2.0"
	someTenant  = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
	otherTenant = "11112222-bbbb-3333-cccc-4444dddd5555"
)

// entraIssuer is the issuer of a tenant.
func entraIssuer(tenant string) string {
	return "https://login.microsoftonline.com/" + tenant + "/v2.0"
}

// A tenantRow is an ID token for an Issuer with {tenantid}.
type tenantRow struct {
	name string
	iss  string
	tid  any // nil: none
	want string
}

// tenantRows are Microsoft's tenants, and what may be passed off as one.
func tenantRows() []tenantRow {
	const by, tenant = "was not issued by", "another tenant than its tid says"
	row := func(name, iss string, tid any, want string) tenantRow { return tenantRow{name, iss, tid, want} }
	return []tenantRow{
		row("a tenant", entraIssuer(someTenant), someTenant, ""),
		row("another tenant", entraIssuer(otherTenant), otherTenant, ""),
		row("private accounts", entraIssuer("9188040d-6c67-4c5b-b112-36a304b66dad"),
			"9188040d-6c67-4c5b-b112-36a304b66dad", ""),
		row("a tenant in capitals", entraIssuer(strings.ToUpper(someTenant)), strings.ToUpper(someTenant), ""),

		row("no tid", entraIssuer(someTenant), nil, tenant),
		row("tid of another", entraIssuer(someTenant), otherTenant, tenant),
		row("tid in another case", entraIssuer(someTenant), strings.ToUpper(someTenant), tenant),
		row("tid empty", entraIssuer(someTenant), "", tenant),
		row("tid null", entraIssuer(someTenant), json.RawMessage("null"), tenant),
		row("tid in a list", entraIssuer(someTenant), []string{someTenant}, tenant),
		row("tid with a space", entraIssuer(someTenant), someTenant+" ", tenant),
		row("tid and more", entraIssuer(someTenant), someTenant+"/v2.0", tenant),

		row("common", entraIssuer("common"), "common", by),
		row("organizations", entraIssuer("organizations"), "organizations", by),
		row("the word itself", entraAny, "{tenantid}", by),
		row("no tenant", entraIssuer(""), "", by),
		row("a domain", entraIssuer("contoso.onmicrosoft.com"), "contoso.onmicrosoft.com", by),
		row("a GUID in braces", entraIssuer("{"+someTenant+"}"), "{"+someTenant+"}", by),
		row("a GUID without dashes", entraIssuer(strings.ReplaceAll(someTenant, "-", "")),
			strings.ReplaceAll(someTenant, "-", ""), by),
		row("a GUID and a letter", entraIssuer(someTenant+"0"), someTenant+"0", by),
		row("a GUID with a g", entraIssuer("g"+someTenant[1:]), "g"+someTenant[1:], by),
		row("a GUID and a line end", entraIssuer(someTenant+"\n"), someTenant+"\n", by),
		row("a slash", entraIssuer(someTenant+"/x"), someTenant+"/x", by),
		row("a slash before", entraIssuer("evil/"+someTenant), "evil/"+someTenant, by),
		row("dots", entraIssuer("../"+someTenant), "../"+someTenant, by),
		row("a query", entraIssuer(someTenant+"?"), someTenant+"?", by),
		row("an escape", entraIssuer("%61"+someTenant[1:]), "%61"+someTenant[1:], by),
		row("a quote", entraIssuer(someTenant+`"`), someTenant+`"`, by),
		row("another host", "https://login.microsoftonline.us/"+someTenant+"/v2.0", someTenant, by),
		row("a longer host", "https://login.microsoftonline.com.evil.example/"+someTenant+"/v2.0", someTenant, by),
		row("a shorter host", "https://login.microsoftonline.com"+someTenant+"/v2.0", someTenant, by),
		row("http", "http://login.microsoftonline.com/"+someTenant+"/v2.0", someTenant, by),
		row("version 1", "https://sts.windows.net/"+someTenant+"/", someTenant, by),
		row("a slash behind", entraIssuer(someTenant)+"/", someTenant, by),
		row("nothing behind", "https://login.microsoftonline.com/"+someTenant, someTenant, by),
		row("nothing before", someTenant+"/v2.0", someTenant, by),
		row("a bare tenant", someTenant, someTenant, by),
		row("Google", googleIssuer, someTenant, by),
	}
}

// TestTenants: an Issuer with {tenantid} stands for the tenant of the token's own tid, and nothing else. // W11 J22
func TestTenants(t *testing.T) {
	t.Parallel()
	for _, tt := range tenantRows() {
		claims := map[string]any{"iss": tt.iss, "tid": tt.tid}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := verifierWith(servedKeys())
			v.Issuer = entraAny
			iss, _ := json.Marshal(tt.iss)
			tid, _ := json.Marshal(tt.tid)
			if tt.tid == nil {
				tid = nil
			}
			checkVerify(t, v, goodJWT("iss", string(iss), "tid", string(tid)), "", tt.want)
		})
		t.Run(tt.name+", at a sign-in", func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			s.OmitIss = true
			row := askedRow{claims: claims}
			s.IDTokenClaims = row.change
			a := idTokenSignIn{server: s, client: func(c *ClientSecrets) { c.Issuer = entraAny }}
			if creds := a.check(t, tt.want); creds != nil && creds.IDToken().Issuer != tt.iss {
				t.Error(creds.IDToken().Issuer)
			}
		})
	}
	// No other template exists, and without one tid is a claim like others.
	for issuer, iss := range map[string]string{
		"https://login.microsoftonline.com/{tenant}/v2.0":              entraIssuer(someTenant),
		"https://login.microsoftonline.com/{TENANTID}/v2.0":            entraIssuer(someTenant),
		"https://login.microsoftonline.com/{tenantid/v2.0":             entraIssuer(someTenant),
		"https://login.microsoftonline.com/common/v2.0":                entraIssuer(someTenant),
		"https://login.microsoftonline.com/*/v2.0":                     entraIssuer(someTenant),
		"https://login.microsoftonline.com/{tenantid}/{tenantid}/v2.0": entraIssuer(someTenant + "/" + someTenant),
	} {
		v := verifierWith(servedKeys())
		v.Issuer = issuer
		raw := goodJWT("iss", `"`+iss+`"`, "tid", `"`+someTenant+`"`)
		checkVerify(t, v, raw, "", "was not issued by")
	}
	v := verifierWith(servedKeys())
	v.Issuer = entraIssuer(someTenant)
	checkVerify(t, v, goodJWT("iss", `"`+v.Issuer+`"`, "tid", `"`+otherTenant+`"`), "", "")
}

// TestDiscoverTenants: the document for the users of all tenants has {tenantid} in place of the word that was asked
// for. That is Microsoft's way, and is taken from Microsoft's hosts alone. // W11
func TestDiscoverTenants(t *testing.T) {
	t.Parallel()
	const com, us, cn = "https://login.microsoftonline.com/", "https://login.microsoftonline.us/",
		"https://login.partner.microsoftonline.cn/"
	const private = "9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"
	for _, tt := range []struct{ asked, document, want string }{
		{com + "common/v2.0", com + "{tenantid}/v2.0", ""},
		{com + "organizations/v2.0", com + "{tenantid}/v2.0", ""},
		{us + "common/v2.0", us + "{tenantid}/v2.0", ""},
		{us + "organizations/v2.0", us + "{tenantid}/v2.0", ""},
		{cn + "common/v2.0", cn + "{tenantid}/v2.0", ""},
		{cn + "organizations/v2.0", cn + "{tenantid}/v2.0", ""},
		{com + someTenant + "/v2.0", com + someTenant + "/v2.0", ""},
		{com + private, com + private, ""},

		{com + "consumers/v2.0", com + private, `another issuer, "` + com + private + `"`},
		{com + "consumers/v2.0", com + "{tenantid}/v2.0", "another issuer"},
		{com + someTenant + "/v2.0", com + "{tenantid}/v2.0", "another issuer"},
		{com + someTenant + "/v2.0", com + otherTenant + "/v2.0", "another issuer"},
		{com + "contoso.com/v2.0", com + someTenant + "/v2.0", someTenant}, // named, to be asked for
		{com + "common/v2.0", com + someTenant + "/v2.0", "another issuer"},
		{com + "common/v2.0", us + "{tenantid}/v2.0", "another issuer"},
		{com + "common/v2.0", com + "{tenantid}/v2.0/", "another issuer"},
		{com + "common/v2.0", com + "{tenantid}", "another issuer"},
		{com + "common/v2.0", com + "{tenant}/v2.0", "another issuer"},
		{com + "common/v2.0", com + "{tenantid}/{tenantid}", "another issuer"},
		{com + "common/v2.0", "https://evil.example/{tenantid}/v2.0", "another issuer"},
		{com + "common/v2.0", "{tenantid}", "another issuer"},
		{com + "common/v2.0", "", "another issuer"},
		{com + "common/v2.0/", com + "{tenantid}/v2.0", "another issuer"},
		{com + "Common/v2.0", com + "{tenantid}/v2.0", "another issuer"},
		{com + "common", com + "{tenantid}/v2.0", "another issuer"},
		{com + "common/v1.0", com + "{tenantid}/v1.0", "another issuer"},
		{"https://as.example/common/v2.0", "https://as.example/{tenantid}/v2.0", "another issuer"},
		{"https://as.example/common/v2.0", com + "{tenantid}/v2.0", "another issuer"},
		{"https://as.example/common/v2.0", "", "another issuer"},
		{"https://as.example", "", "another issuer"},
		{"https://login.microsoftonline.com.evil.example/common/v2.0",
			"https://login.microsoftonline.com.evil.example/{tenantid}/v2.0", "another issuer"},
		{"https://login.microsoftonline.com:8443/common/v2.0",
			"https://login.microsoftonline.com:8443/{tenantid}/v2.0", "another issuer"},
		{"https://login.microsoftonline.de/common/v2.0",
			"https://login.microsoftonline.de/{tenantid}/v2.0", "another issuer"},
		{"http://login.microsoftonline.com/common/v2.0", com + "{tenantid}/v2.0", "only https"},
	} {
		t.Run(tt.asked+" says "+tt.document, func(t *testing.T) {
			t.Parallel()
			document := discoveryDocument(tt.document, nil)
			s := &documentServer{documents: map[string]string{strings.TrimSuffix(tt.asked, "/") + openIDPath: document}}
			c := filledClient(s)
			err := c.Discover(t.Context(), tt.asked)
			if tt.want != "" {
				if !errorSays(err, tt.want) || c.Issuer != "https://old.example" {
					t.Errorf("issuer %q, %v", c.Issuer, err)
				}
				return
			}
			if err != nil || c.Issuer != tt.document || c.IDTokenVerifier().Issuer != tt.document {
				t.Errorf("issuer %q, %v", c.Issuer, err)
			}
		})
	}
}

// TestRedirectTenants: iss in a redirect is matched as in a token. // W11 F7
func TestRedirectTenants(t *testing.T) {
	t.Parallel()
	const refused = "does not name its issuer"
	for _, tt := range []struct {
		name, iss string
		promised  bool
		want      string
	}{
		{name: "a tenant", iss: entraIssuer(someTenant)},
		{name: "a tenant, promised", iss: entraIssuer(someTenant), promised: true},
		{name: "none"},
		{name: "none, promised", promised: true, want: "does not name its issuer"},
		{name: "the word itself", iss: entraAny, want: refused},
		{name: "common", iss: entraIssuer("common"), want: refused},
		{name: "another host", iss: "https://evil.example/" + someTenant + "/v2.0", want: refused},
		{name: "a slash", iss: entraIssuer(someTenant + "/x"), want: refused},
		{name: "a line end", iss: entraIssuer(someTenant + "\n"), want: refused},
		{name: "no GUID", iss: entraIssuer("x"), want: refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			row := askedRow{claims: map[string]any{"iss": entraIssuer(someTenant), "tid": someTenant}}
			s.IDTokenClaims = row.change
			a := idTokenSignIn{server: s}
			a.client = func(c *ClientSecrets) { c.Issuer, c.issRequired = entraAny, tt.promised }
			a.redirect = func(q url.Values) {
				if q.Set("iss", tt.iss); tt.iss == "" {
					q.Del("iss")
				}
			}
			creds, err := a.run(t)
			if (creds != nil) != (tt.want == "") || tt.want != "" && !errorSays(err, tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if tt.want != "" && s.TokenRequests("") != 0 {
				t.Error("the code was sent")
			}
		})
	}
}

// TestSubjects: two subjects must not become one, nor steer what they are printed to. // W12 J23
func TestSubjects(t *testing.T) {
	t.Parallel()
	const refused = "no usable subject"
	for _, tt := range []struct{ name, sub, want string }{
		{"a number as text", `"113774264463038321964"`, ""},
		{"a GUID", `"b0bd5b0a-7ef5-4f1a-8c3b-0d4c2a2f3a11"`, ""},
		{"a name with signs", `"auth0|6254'\"\\#/:@=+ ~"`, ""},
		{"a service account of Kubernetes", `"system:serviceaccount:default:app"`, ""},
		{"a question mark", `"?"`, ""},
		{"one space", `" "`, ""},
		{"255 bytes", `"` + strings.Repeat("~", 255) + `"`, ""},

		{"256 bytes", `"` + strings.Repeat("~", 256) + `"`, refused},
		{"empty", `""`, refused},
		{"null", `null`, refused},
		{"a lone surrogate", `"\ud800"`, refused},
		{"another lone surrogate", `"user-\udfff"`, refused},
		{"the character that stands for them", `"\ufffd"`, refused},
		{"a pair of surrogates", `"\ud83d\ude00"`, refused},
		{"a letter with an accent", `"é"`, refused},
		{"Cyrillic", `"аdmin"`, refused},
		{"a letter of full width", `"ａ"`, refused},
		{"NUL", `"user-1\u0000"`, refused},
		{"a line end", `"user-1\n"`, refused},
		{"a tab", `"a\tb"`, refused},
		{"an escape", `"\u001b[31m"`, refused},
		{"delete", `"user-1\u007f"`, refused},
		{"next line", `"\u0085"`, refused},
		{"right to left", `"\u202euser"`, refused},
		{"no width", `"user\u200b-1"`, refused},
		{"a mark of byte order", `"\ufeffuser-1"`, refused},
		{"a list", `["user-1"]`, "not a string"},
		{"true", `true`, "not a string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkVerify(t, verifierWith(servedKeys()), goodJWT("sub", tt.sub), "", tt.want)
		})
		t.Run(tt.name+", at a sign-in", func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			row := askedRow{claims: map[string]any{"sub": json.RawMessage(tt.sub)}}
			s.IDTokenClaims = row.change
			a := idTokenSignIn{server: s}
			a.check(t, tt.want)
		})
	}
}

// TestKeySetAge: the time for which a cache has kept a key set counts. // W13 K4
func TestKeySetAge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, maxAge, age string
		want              time.Duration
	}{
		{"no Age", "max-age=3600", "", time.Hour},
		{"Age 0", "max-age=3600", "0", time.Hour},
		{"half", "public, max-age=3600, must-revalidate", "1800", 30 * time.Minute},
		{"nearly all", "max-age=3600", "3299", 301 * time.Second},
		{"all", "max-age=3600", "3600", minKeysAge},
		{"more than all", "max-age=3600", "7200", minKeysAge},
		{"far more", "max-age=3600", "99999999999999999999", minKeysAge},
		{"negative", "max-age=3600", "-1800", time.Hour},
		{"with a sign", "max-age=3600", "+1800", time.Hour},
		{"no number", "max-age=3600", "1800 s", time.Hour},
		{"a fraction", "max-age=3600", "1800.5", time.Hour},
		{"without max-age", "no-store", "1800", minKeysAge},
		{"of a week, before the limit", "max-age=604800", "86400", 24 * time.Hour},
		{"of a week, nearly over", "max-age=604800", "597600", 2 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				keys := servedKeys()
				keys.cache = tt.maxAge
				v := verifierWith(roundTripFunc(func(r *http.Request) (*http.Response, error) {
					resp, err := keys.RoundTrip(r)
					if tt.age != "" {
						resp.Header.Set("Age", tt.age)
					}
					return resp, err
				}))
				checkVerify(t, v, goodJWT(), "", "")
				time.Sleep(tt.want - 1)
				if checkVerify(t, v, goodJWT(), "", ""); keys.count() != 1 {
					t.Error("fetched early")
				}
				time.Sleep(time.Nanosecond)
				if checkVerify(t, v, goodJWT(), "", ""); keys.count() != 2 {
					t.Error("kept too long")
				}
			})
		})
	}
	// The monotonic clock, which a bubble does not have, stops while a laptop sleeps.
	v := verifierWith(servedKeys())
	checkVerify(t, v, goodJWT(), "", "")
	if expires := v.keys.expires; expires != expires.Round(0) {
		t.Error("the keys expire by the monotonic clock:", expires)
	}
}

// TestSignInClaims: what the sign-in has checked can be asked for, and nothing else. // W14 F28 J27
func TestSignInClaims(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	s.IDTokenClaims = func(c map[string]any) { c["hd"], c["roles"] = "example.com", []string{"a"} }
	a := idTokenSignIn{server: s}
	creds := a.check(t, "")
	check := func(when string) {
		t.Helper()
		tok := creds.IDToken()
		if tok == nil || tok.Issuer != s.URL || tok.Subject != "user-1" || !tok.EmailVerified ||
			tok.Email != "person@example.com" || tok.HostedDomain != "example.com" ||
			!slices.Equal(tok.Audience, []string{s.ClientID}) {
			t.Fatalf("%s: %+v", when, tok)
		}
		var roles []string
		if err := tok.Claim("roles", &roles); err != nil || !slices.Equal(roles, []string{"a"}) {
			t.Errorf("%s: roles %q, %v", when, roles, err)
		}
	}
	check("after the sign-in")
	store := newMemoryStore()
	if err := creds.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	check("after Save")
	s.IDTokenClaims = func(c map[string]any) { c["hd"] = "other.example" }
	if _, err := creds.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("after a refresh, whose claims nobody has checked")
	if err := creds.Save(t.Context(), newMemoryStore()); err != nil {
		t.Fatal(err)
	}
	check("after Save elsewhere")

	loaded := loadedCredentials(t, s, store)
	if _, err := loaded.Refresh(t.Context()); err != nil || loaded.IDToken() != nil {
		t.Error("loaded credentials:", loaded.IDToken(), err)
	}
	data, err := creds.MarshalAuthorizedUser()
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := ParseCredentials(data); err != nil || parsed.IDToken() != nil {
		t.Error("parsed credentials:", err)
	}
	made := credentialsOf(s, "openid")
	if _, err := made.Refresh(t.Context()); err != nil || made.IDToken() != nil {
		t.Error("credentials of a refresh token:", err)
	}
	if new(Credentials).IDToken() != nil {
		t.Error("the zero value has claims")
	}
	checkNoClaims(t)
}

// checkNoClaims checks the sign-ins that have no claims to tell.
func checkNoClaims(t *testing.T) {
	t.Helper()
	noIssuer := func(c *ClientSecrets) { c.Issuer = "" }
	domain := url.Values{"hd": {"example.com"}}
	for name, a := range map[string]idTokenSignIn{
		"no issuer":         {client: noIssuer},
		"no issuer, but hd": {client: noIssuer, params: domain},
		"no openid":         {scopes: []string{"email"}},
		"no ID token":       {scopes: []string{"email"}, params: domain},
	} {
		a.server = NewMemoryServer()
		a.server.IDTokenClaims = func(c map[string]any) { c["hd"] = "example.com" }
		if creds := a.check(t, ""); creds.IDToken() != nil {
			t.Errorf("%s: %+v", name, creds.IDToken())
		}
	}
	a := idTokenSignIn{server: NewMemoryServer(), resumed: true}
	if creds := a.check(t, ""); creds.IDToken() == nil {
		t.Error("a resumed sign-in has no claims")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newDeviceRun(t)
		if creds, err := r.run(t.Context()); err != nil || creds.IDToken() == nil {
			t.Error("a sign-in on another device has no claims:", err)
		}
	})
}

// TestEmptyNonce: a session that was lost must not turn the check of the nonce off. // W15 F29
func TestEmptyNonce(t *testing.T) {
	t.Parallel()
	const empty, another = "the nonce to compare the ID token's with is empty", "another sign-in"
	for _, tt := range []struct {
		name, claim, nonce, want string
	}{
		{"the same", `"n-1"`, "n-1", ""},
		{"empty, none in the token", "", "", empty},
		{"empty, one in the token", `"n-1"`, "", empty},
		{"empty in both", `""`, "", empty},
		{"none in the token", "", "n-1", another},
		{"empty in the token", `""`, "n-1", another},
		{"null in the token", `null`, "n-1", another},
		{"in another case", `"N-1"`, "n-1", another},
		{"with a space", `"n-1"`, "n-1 ", another},
		{"a space", `" "`, "  ", another},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys := servedKeys()
			tok, err := verifierWith(keys).VerifyNonce(t.Context(), goodJWT("nonce", tt.claim), tt.nonce)
			if (tok != nil) != (tt.want == "") || tt.want != "" && !errorSays(err, tt.want) {
				t.Errorf("%v, %v", tok, err)
			}
			if tt.want == empty && keys.count() != 0 {
				t.Error("asked for keys")
			}
			// Verify has no nonce to compare.
			checkVerify(t, verifierWith(servedKeys()), goodJWT("nonce", tt.claim), "", "")
		})
	}
	var none context.Context
	if _, err := verifierWith(servedKeys()).VerifyNonce(none, goodJWT(), "n"); err != errNilContext {
		t.Error("nil context:", err)
	}
}

// TestVerifierOfForeignAlgorithms: a server that signs with nothing known says so in its document, and Verify repeats
// it. // W9
func TestVerifierOfForeignAlgorithms(t *testing.T) {
	t.Parallel()
	serving := func(document string) http.RoundTripper {
		return &documentServer{documents: map[string]string{"https://as.example" + openIDPath: document}}
	}
	for _, tt := range []struct {
		name string
		algs any    // in the document; nil: absent
		want string // in the error of Verify
	}{
		{"absent", nil, ""},
		{"RS256", []string{"RS256"}, ""},
		{"ES256 among others", []string{"PS256", "ES256", "none"}, ""},
		{"EdDSA", []string{"EdDSA"}, ""},
		{"one other", []string{"PS256"}, `signs with "PS256", not with RS256, ES256 or EdDSA`},
		{"others", []string{"HS256", "ES384", "none"}, `signs with "HS256 ES384 none", not with`},
		{"another case", []string{"rs256"}, `signs with "rs256"`},
		{"very many", slices.Repeat([]string{"PS256\x1b[2J"}, 1000), `signs with "PS256\x1b[2J PS256`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			document := discoveryDocument("https://as.example", map[string]any{
				"id_token_signing_alg_values_supported": tt.algs,
			})
			c := filledClient(serving(document))
			c.ClientID = "client-1.example"
			if err := c.Discover(t.Context(), "https://as.example"); err != nil {
				t.Fatal(err)
			}
			keys := servedKeys()
			c.HTTPClient = &http.Client{Transport: keys}
			checkVerify(t, c.IDTokenVerifier(), goodJWT(), "", tt.want)
			if tt.want != "" && keys.count() != 0 {
				t.Error("asked for keys")
			}
			// Another server's document replaces it.
			c.HTTPClient.Transport = serving(discoveryDocument("https://as.example", nil))
			if err := c.Discover(t.Context(), "https://as.example"); err != nil {
				t.Fatal(err)
			}
			c.HTTPClient.Transport = servedKeys()
			checkVerify(t, c.IDTokenVerifier(), goodJWT(), "", "")
		})
	}
}
