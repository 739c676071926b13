package oauth2

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of tokens, keys and clocks.
const (
	maxJWT        = 16 << 10 // bytes
	keyExponent   = 65537
	defaultLeeway = time.Minute
	backdate      = 10 * time.Second // of signed JWTs, for servers whose clock is behind
)

// keysGrace is how long old keys serve while new ones can't be fetched.
const keysGrace = 24 * time.Hour

// Google's values for ID tokens.
const (
	googleIssuer  = "https://accounts.google.com"
	googleKeysURI = "https://www.googleapis.com/oauth2/v3/certs"
)

// An IDTokenVerifier verifies ID tokens that come from elsewhere than the token
// endpoint: from a browser, a phone or another service (OpenID Connect Core,
// Section 3.1.3.7). It accepts RS256, ES256 and EdDSA (Ed25519) signatures,
// each by a key for just that algorithm. The zero value with an Audience
// verifies Google's ID tokens. The fields must not be changed after the first
// call. A verifier is safe for concurrent use and should be kept, since it
// caches the issuer's keys.
type IDTokenVerifier struct {
	// Issuer is who must have issued the token. If empty, it is Google. It may hold
	// {tenantid}, as the issuer of Microsoft Entra's "common" endpoint does, which
	// stands for the tenant of the token's own tid claim. Google's full name is
	// https://accounts.google.com.
	Issuer string
	// Audience is the client ID that the token must be meant for. It is required:
	// without it, a token that was issued to any other application would pass.
	Audience string
	// KeysURI is where the issuer publishes its keys, as a JSON Web Key Set (RFC
	// 7517). If empty, and the Issuer is Google, it is Google's.
	KeysURI string
	// Leeway is how far this machine's clock and the issuer's may differ. If 0, it
	// is a minute. More than 5 minutes is an error.
	Leeway time.Duration
	// HTTPClient fetches the keys. If nil, a client with timeouts is used.
	HTTPClient *http.Client

	needsIssuer bool   // an empty Issuer is an error, not Google
	foreignAlgs string // what the issuer signs with, if that is nothing known
	keys        keySet
}

// Verify checks the signature and the claims of an ID token and returns what it
// says. The keys are fetched when they are needed, once for all callers, and
// never for a token that could not pass. It does not check a nonce: use
// VerifyNonce where one was sent.
func (v *IDTokenVerifier) Verify(ctx context.Context, raw string) (*IDToken, error) {
	return v.verify(ctx, raw, "")
}

// VerifyNonce is Verify for an ID token whose nonce must be the one that was
// sent with the authorization request (OpenID Connect Core, Section 3.1.2.1).
// An empty nonce is an error, since a lost session must not turn the check off.
func (v *IDTokenVerifier) VerifyNonce(ctx context.Context, raw, nonce string) (*IDToken, error) {
	if nonce == "" {
		return nil, errors.New("oauth2: the nonce to compare the ID token's with is empty")
	}
	return v.verify(ctx, raw, nonce)
}

func (v *IDTokenVerifier) verify(ctx context.Context, raw, nonce string) (*IDToken, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	want := expected{
		issuer:   cmp.Or(v.Issuer, googleIssuer),
		audience: v.Audience,
		nonce:    nonce,
		leeway:   cmp.Or(v.Leeway, defaultLeeway),
	}
	t, err := v.verified(ctx, raw, want)
	if err != nil {
		return nil, fmt.Errorf("oauth2: the ID token %w", err)
	}
	return t, nil
}

// verified returns the claims of an ID token if its signature and they are as
// expected. Its errors complete a sentence that begins with the ID token.
func (v *IDTokenVerifier) verified(
	ctx context.Context, raw string, want expected,
) (*IDToken, error) {
	if v.needsIssuer && v.Issuer == "" {
		return nil, errors.New("can't be verified: set the client's Issuer, or call Discover")
	}
	if v.foreignAlgs != "" {
		return nil, fmt.Errorf("can't be verified: the issuer signs with %+.128q, not with %s",
			v.foreignAlgs, knownAlgs)
	}
	jwt, err := parseJWT(raw, maxJWT)
	if err != nil {
		return nil, err
	}
	name, err := jwt.keyName()
	if err != nil {
		return nil, err
	}
	t, fault := jwt.idToken()
	if fault == nil {
		fault = t.check(want)
	}
	key := v.keys.find(name, 0)
	if key == nil {
		// Junk must not cause a fetch. Where the key is known, the signature is checked
		// first, so that nothing is said about the claims of a forged token.
		if fault != nil {
			return nil, fault
		}
		r := &request{op: "fetching the issuer's keys", url: v.KeysURI, client: v.HTTPClient}
		if r.url == "" && want.issuer == googleIssuer {
			r.url = googleKeysURI
		}
		key, err = v.keys.get(ctx, name, r)
		if err != nil {
			return nil, fmt.Errorf("can't be verified: %w", innerError{err})
		}
	}
	if !jwt.verify(key) {
		return nil, errors.New("has a signature that does not match")
	}
	return t, fault
}

// An IDToken is what an ID token says of a user (OpenID Connect Core, Section
// 2). It does not change, so it is safe for concurrent use.
type IDToken struct {
	// Issuer is who issued the token (iss). Google's is https://accounts.google.com,
	// also where the token names it without the scheme.
	Issuer string
	// Subject identifies the user at the issuer and never changes (sub).
	Subject string
	// Audience is who the token is meant for: client IDs (aud).
	Audience []string
	// AuthorizedParty is the client that the token was issued to (azp). It is empty
	// where the token does not say.
	AuthorizedParty string
	// Expiry is when the token expires (exp).
	Expiry time.Time
	// IssuedAt is when the token was issued (iat).
	IssuedAt time.Time
	// Email is the user's e-mail address (email). It may be empty, and may change.
	Email string
	// EmailVerified reports whether the issuer has verified Email (email_verified).
	EmailVerified bool
	// HostedDomain is the Google Workspace domain of the account (hd). It is empty
	// for other accounts.
	HostedDomain string

	notBefore time.Time
	claims    fields
}

// Claim decodes the claim called name into v, as encoding/json does. It leaves
// v alone if there is no such claim. Names are exact.
func (t *IDToken) Claim(name string, v any) error {
	if t == nil {
		return nil
	}
	return t.claims.decode(name, v)
}

// decodePart decodes base64url without padding, or returns nil. It accepts the
// one canonical form only, so that no second text passes for the same token.
func decodePart(part string) []byte {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || part == "" || strings.ContainsAny(part, "\r\n") { // DecodeString skips these
		return nil
	}
	return data
}

// A parsedJWT is a compact JWS (RFC 7515, Section 3.1). Nobody has vouched for
// what it says.
type parsedJWT struct {
	header    *fields
	claims    *fields
	signature []byte
	signed    string // header and claims, exactly as received
}

// parseJWT parses a JWT of at most max bytes. An encrypted one has five parts
// (RFC 7516). Faults of the header and of the claims are left to those who read
// these.
func parseJWT(raw string, max int) (jwt parsedJWT, err error) {
	if len(raw) > max || strings.Count(raw, ".") != 2 {
		return jwt, errors.New(
			"is too long, or is not a signed JWT of three parts; encrypted ones are not supported")
	}
	parts := strings.Split(raw, ".")
	header := decodePart(parts[0])
	claims := decodePart(parts[1])
	signature := decodePart(parts[2])
	if header == nil || claims == nil || signature == nil {
		return jwt, errors.New("has a part that is empty or not base64url")
	}
	signed := raw[:strings.LastIndex(raw, ".")]
	return parsedJWT{parseFields(header), parseFields(claims), signature, signed}, nil
}

// keyName returns the name of the key for the signature. The header can name a
// key and nothing else: the algorithm is not its choice, and the keys and URLs
// that it may hold (jwk, jku, x5c, x5u) are not looked at.
func (j parsedJWT) keyName() (keyName, error) {
	f := j.header
	name := keyName{alg: f.str("alg"), id: f.str("kid")}
	switch name.alg {
	case "RS256", "ES256", "EdDSA":
	default:
		f.fail("says that it is signed with %+.32q, not with %s", name.alg, knownAlgs)
	}
	// Other types are access or logout tokens, say (RFC 8725, Section 3.11).
	if !isIDTokenType(f.object["typ"]) {
		f.fail("says that it is of another type than JWT")
	}
	if f.object["crit"] != "" || len(name.id) > 256 { // RFC 7515, Section 4.1.11
		f.fail("has critical parameters, or a key ID of more than 256 bytes")
	}
	if f.err != nil {
		return name, fmt.Errorf("has a header that %w", f.err)
	}
	return name, nil
}

// isIDTokenType reports whether the JSON of a typ, if there is one, is that of
// an ID token.
var isIDTokenType = regexp.MustCompile(`(?i)^(|"(ID|JWT)")$`).MatchString

// knownAlgs are the algorithms that are accepted.
const knownAlgs = "RS256, ES256 or EdDSA"

// A keyName names a key of an issuer, and the one algorithm that it is for. A
// token whose header names another algorithm finds no key.
type keyName struct {
	alg string
	id  string
}

// verify checks the signature with key, an *rsa.PublicKey, *ecdsa.PublicKey or
// ed25519.PublicKey.
func (j parsedJWT) verify(key crypto.PublicKey) bool {
	sum := sha256.Sum256([]byte(j.signed))
	switch key := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], j.signature) == nil
	case *ecdsa.PublicKey:
		if len(j.signature) != 64 { // two numbers of 32 bytes (RFC 7518, Section 3.4)
			return false
		}
		r := new(big.Int).SetBytes(j.signature[:32])
		s := new(big.Int).SetBytes(j.signature[32:])
		return ecdsa.Verify(key, sum[:], r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(key, []byte(j.signed), j.signature)
	}
	return false
}

// A signer makes RS256 signatures.
type signer struct {
	key    *rsa.PrivateKey
	header string // encoded, with the dot
}

// newSigner tries the key with a signature: one that is weak or does not work
// is better known now than at the first token.
func newSigner(key *rsa.PrivateKey, keyID string) (*signer, error) {
	errKey := errors.New(
		"the private key is broken, encrypted, or not an RSA key of 2048 to 8192 bits")
	if key == nil || key.Validate() != nil || !usableKey(&key.PublicKey) {
		return nil, errKey
	}
	header, _ := json.Marshal(struct {
		Alg string `json:"alg"`
		ID  string `json:"kid,omitempty"`
		Typ string `json:"typ"`
	}{"RS256", keyID, "JWT"})
	s := &signer{key, base64.RawURLEncoding.EncodeToString(header) + "."}
	// Signing fails unless the public key verifies the signature.
	if _, err := s.sign(time.Now(), 0, &jwtClaims{}, nil); err != nil {
		return nil, errKey
	}
	return s, nil
}

// jwtClaims are the claims of an assertion (RFC 7523, Section 3). Empty ones
// are left out.
type jwtClaims struct {
	Issuer         string `json:"iss"`
	Subject        string `json:"sub,omitempty"`
	Audience       string `json:"aud,omitempty"`
	IssuedAt       int64  `json:"iat"`
	Expiry         int64  `json:"exp"`
	ID             string `json:"jti,omitempty"`
	Scope          string `json:"scope,omitempty"`
	TargetAudience string `json:"target_audience,omitempty"`
}

// isReservedClaim reports whether a name is that of a claim that a caller can't
// add.
var isReservedClaim = regexp.MustCompile(
	`^(iss|sub|aud|iat|exp|scope|target_audience)$`).MatchString

// sign sets the times of c and returns a JWT with the claims of c and of more,
// which must have other names.
func (s *signer) sign(
	now time.Time, lifetime time.Duration, c *jwtClaims, more map[string]any,
) (string, error) {
	c.IssuedAt = now.Add(-backdate).Unix()
	c.Expiry = now.Add(lifetime - backdate).Unix()
	payload, _ := json.Marshal(c)
	if len(more) > 0 {
		rest, err := json.Marshal(more)
		if err != nil {
			return "", errors.New("oauth2: the claims can't be written as JSON")
		}
		payload[len(payload)-1] = ','
		payload = append(payload, rest[1:]...)
	}
	jwt := base64.RawURLEncoding.AppendEncode([]byte(s.header), payload)
	sum := sha256.Sum256(jwt)
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("oauth2: the private key does not sign")
	}
	jwt = append(jwt, '.')
	return string(base64.RawURLEncoding.AppendEncode(jwt, signature)), nil
}

// parsePrivateKey parses the PEM of an RSA key, in PKCS #1 or PKCS #8. It
// returns nil for a key that is broken, encrypted or of another kind, which
// newSigner refuses.
func parsePrivateKey(text string) (*rsa.PrivateKey, error) {
	text = strings.TrimSpace(text)
	block, rest := pem.Decode([]byte(text))
	isPEM := block != nil && strings.HasPrefix(text, "-----BEGIN ") && len(rest) == 0
	if !isPEM || len(text) > maxToken { // with a longer key, computing takes for ever
		return nil, errors.New(
			"the private key is not one block of PEM; with \\n as line ends it was escaped twice")
	}
	var parsed any
	switch block.Type {
	case "RSA PRIVATE KEY":
		parsed, _ = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		parsed, _ = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	key, _ := parsed.(*rsa.PrivateKey)
	return key, nil
}

// usableKey reports whether an RSA key is strong enough (RFC 7518, Section
// 3.3), and not so long that a hostile one makes a check expensive.
func usableKey(key *rsa.PublicKey) bool {
	bits := key.N.BitLen()
	return 2048 <= bits && bits <= 8192 && key.E == keyExponent
}

// A keySet caches an issuer's keys.
type keySet struct {
	mu     sync.Mutex    // guards what follows; not held during a fetch
	keys                 // the last that were fetched
	flight *flight[keys] // the last fetch, or nil if there was none so far
	next   time.Time     // before this there is no other fetch
}

// keys serve until they expire, and a while longer where new ones can't be had.
type keys struct {
	byName  map[keyName]crypto.PublicKey
	expires time.Time // wall time: a machine may sleep
}

// find returns the key with a name, or nil if it is not known or expired longer
// ago than grace.
func (s *keySet) find(name keyName, grace time.Duration) crypto.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.expires) >= grace {
		return nil
	}
	return s.byName[name]
}

// get returns the key with a name, from a set that r fetched for this or
// another caller. Where it is too soon for a fetch, the last one counts.
func (s *keySet) get(ctx context.Context, name keyName, r *request) (crypto.PublicKey, error) {
	s.mu.Lock()
	if time.Until(s.next) <= 0 {
		s.next = time.Now().Add(maxLifetime) // that is, until land sets it
		s.flight = fly(r.keys, s.land)
	}
	f := s.flight
	s.mu.Unlock()
	if s.find(name, keysGrace) != nil {
		// The old key serves if new ones don't come soon.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
	}
	_, err := f.wait(ctx)
	if key := s.find(name, keysGrace); key != nil {
		return key, nil
	}
	if err == nil {
		err = fmt.Errorf("oauth2: the issuer has no key %+.64q for %s", name.id, name.alg)
	}
	return nil, err
}

// land takes the result of a fetch.
func (s *keySet) land(f *flight[keys]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.err == nil {
		s.keys = f.value
	}
	pause := 30 * time.Second // between fetches that unknown key IDs cause
	if time.Since(s.expires) > keysGrace {
		pause = time.Second
	}
	s.next = time.Now().Add(pause)
}

// keys fetches a key set.
func (r *request) keys(ctx context.Context) (keys, error) {
	ans, err := r.do(ctx)
	if err != nil {
		return keys{}, err
	}
	byName := parseKeys(ans.object)
	if len(byName) == 0 {
		return keys{}, ans.unusable("has no usable key for " + knownAlgs)
	}
	// The answer may be kept as long as Cache-Control says, less the time for which
	// others have kept it (RFC 9111, Section 4.2).
	text := maxAge.ReplaceAllString(ans.Header.Get("Cache-Control"), "$1")
	age := wholeSeconds(text) - wholeSeconds(ans.Header.Get("Age"))
	age = max(5*time.Minute, min(age, 24*time.Hour))
	return keys{byName, ans.sent.Add(age).Round(0)}, nil
}

// maxAge matches a Cache-Control header, with what max-age is.
var maxAge = regexp.MustCompile(`^.*?max-age=\s*([^,\s]*).*$`)

// parseKeys returns the usable keys of a JSON Web Key Set. It passes over
// others, so that a new kind of key does not make the known ones unusable. A
// token need not name the only key for its algorithm, which therefore has the
// empty ID too. Of several keys with one name, none can be preferred: the name
// stands for nil.
func parseKeys(set object) map[keyName]crypto.PublicKey {
	var list []json.RawMessage
	if set.decode("keys", &list) != nil || len(list) > 100 {
		return nil
	}
	keys := map[keyName]crypto.PublicKey{}
	for _, text := range list {
		name, key := parseJWK(parseFields(text))
		if key == nil {
			continue // of another kind, which may have the same ID
		}
		names := []keyName{name, {alg: name.alg}}
		for _, name := range slices.Compact(names) {
			if _, twice := keys[name]; twice {
				key = nil
			}
			keys[name] = key
		}
	}
	return keys
}

// parseJWK returns a key that verifies signatures (RFC 7517), and its name. The
// algorithm follows from the kind of key. It returns nil for any other key.
func parseJWK(f *fields) (name keyName, key crypto.PublicKey) {
	name.id = f.str("kid")
	switch f.str("kty") + " " + f.str("crv") {
	case "RSA ": // RFC 7518, Section 6.3.1
		name.alg = "RS256"
		rsaKey := &rsa.PublicKey{N: f.number("n"), E: keyExponent}
		if usableKey(rsaKey) && f.number("e").String() == "65537" {
			key = rsaKey
		}
	case "EC P-256":
		name.alg = "ES256"
		// An uncompressed point is a 4 and two numbers of 32 bytes (RFC 7518, Section
		// 6.2.1). Longer numbers make it too long.
		text := fmt.Sprintf("04%064x%064x", f.number("x"), f.number("y"))
		point, _ := hex.DecodeString(text)
		ecKey, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err == nil {
			key = ecKey
		}
	case "OKP Ed25519": // RFC 8037, Section 2
		name.alg = "EdDSA"
		if x := decodePart(f.str("x")); len(x) == ed25519.PublicKeySize {
			key = ed25519.PublicKey(x)
		}
	}
	if !f.verifies(name.alg) || f.err != nil {
		return name, nil
	}
	return name, key
}

// verifies reports whether a key is a public one and meant for the signatures
// of alg, as far as it says.
func (f *fields) verifies(alg string) bool {
	isSecret := f.has("d") || f.has("p") || f.has("q") // without which there are no others
	ops := f.list("key_ops")
	mayVerify := ops == nil || slices.Contains(ops, "verify")
	isFor := cmp.Or(f.str("use"), "sig") == "sig" && cmp.Or(f.str("alg"), alg) == alg
	return isFor && mayVerify && !isSecret
}

// number reads a number in base64url. It may have leading zeros, as Java writes
// them.
func (f *fields) number(name string) *big.Int {
	return new(big.Int).SetBytes(decodePart(f.str(name)))
}

// parseClaims parses the claims of an ID token without checking its signature.
func parseClaims(raw string) (*IDToken, error) {
	jwt, err := parseJWT(raw, maxIDToken)
	if err != nil {
		return nil, err
	}
	return jwt.idToken()
}

// idToken returns what the claims say.
func (j parsedJWT) idToken() (*IDToken, error) {
	f := j.claims
	t := &IDToken{
		Issuer:          f.str("iss"),
		Subject:         f.str("sub"),
		Audience:        f.list("aud"),
		AuthorizedParty: f.str("azp"),
		Expiry:          f.date("exp"),
		IssuedAt:        f.date("iat"),
		Email:           f.str("email"),
		EmailVerified:   strings.Trim(f.object["email_verified"], `"`) == "true", // or "true"
		HostedDomain:    f.str("hd"),
		notBefore:       f.date("nbf"),
		claims:          *f,
	}
	if t.Issuer == "accounts.google.com" { // as Google also writes it
		t.Issuer = googleIssuer
	}
	return t, f.err
}

// date reads a NumericDate (RFC 7519, Section 2). 0, which some issuers write
// for none, reads as the zero value.
func (f *fields) date(name string) (t time.Time) {
	if !f.has(name) {
		return t
	}
	n, err := strconv.ParseFloat(f.object[name], 64)
	switch {
	case err != nil || n < 0 || n >= 253402300800: // the year 10000
		f.fail("has a %s that is not a time", name)
	case n > 0:
		t = time.Unix(int64(n), 0)
	}
	return t
}

// expected is what an ID token must say.
type expected struct {
	issuer   string // not checked if empty
	audience string
	nonce    string // not checked if empty
	leeway   time.Duration
	signIn   *signInRequest // nil if the token did not come with a sign-in
}

// A signInRequest is what was asked for with a sign-in. The answer is compared
// with it.
type signInRequest struct {
	scopes      []string
	nonce       Secret     // empty if none was sent
	params      url.Values // those of the Flow
	tokenParams url.Values // for the token endpoint
}

// check checks the claims (OpenID Connect Core, Section 3.1.3.7). It returns
// the first fault.
func (t *IDToken) check(want expected) error {
	isLeeway := 0 <= want.leeway && want.leeway <= 5*time.Minute
	if !isLeeway || want.audience == "" { // a token for any application would pass
		return errors.New(
			"can't be verified: the verifier needs an Audience, and a Leeway of at most 5 minutes")
	}
	// Other JWTs of the issuer: a logout token, whose holder has just signed out
	// (RFC 8417), or an access or refresh token, which others hold.
	if !isIDTokenType(t.claims.object["typ"]) || t.claims.object["events"] != "" {
		return errors.New("is not an ID token, but an access or logout token, say (typ, events)")
	}
	return cmp.Or(
		t.checkIssuer(want),
		t.checkAudience(want),
		t.checkUser(want),
		t.checkTimes(want.leeway),
	)
}

// checkIssuer checks who issued t.
func (t *IDToken) checkIssuer(want expected) error {
	tenant, ok := matchIssuer(want.issuer, t.Issuer)
	if !ok && want.issuer != "" {
		return fmt.Errorf("was not issued by %q", want.issuer)
	}
	if tenant != "" && t.claims.object["tid"] != strconv.Quote(tenant) {
		return errors.New("was issued by another tenant than its tid says")
	}
	return nil
}

// sameUser reports whether the ID token that came with a refresh is of the user
// of the one that is held, if there are both (OpenID Connect Core, Section
// 12.2).
func sameUser(held, fresh Secret) bool {
	before, err := parseClaims(held.Reveal())
	if err != nil || fresh.empty() {
		return true
	}
	after, err := parseClaims(fresh.Reveal())
	return err == nil && after.Subject == before.Subject && after.Issuer == before.Issuer
}

// guid matches the ID of a tenant of Microsoft Entra.
var guid = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)

// matchIssuer reports whether an issuer is the one that is wanted. If that has
// {tenantid} in it, which is Microsoft's name for any tenant, it returns the
// tenant.
func matchIssuer(want, issuer string) (tenant string, ok bool) {
	if strings.Contains(want, "{tenantid}") {
		tenant = cmp.Or(guid.FindString(issuer), "\x00") // which no issuer has
	}
	return tenant, issuer == strings.Replace(want, "{tenantid}", tenant, 1)
}

// checkAudience checks aud and azp. azp is the client that the token was issued
// to. At a server that is some caller, as for tokens of Google's services, if
// the server is the only audience.
func (t *IDToken) checkAudience(want expected) error {
	party := t.AuthorizedParty
	isOurs := party == want.audience
	mayDiffer := len(t.Audience) == 1
	if want.signIn != nil {
		asked := want.signIn.params["audience"]
		if isOurs && len(asked) == 1 && slices.Equal(t.Audience, asked) {
			return nil // issued to the client, for the one server that it named
		}
		mayDiffer = mayDiffer && party == ""
	}
	isFor := slices.Contains(t.Audience, want.audience) && !slices.Contains(t.Audience, "")
	if !isFor || !isOurs && !mayDiffer {
		return fmt.Errorf("is not for the audience %q, or was issued to another party",
			want.audience)
	}
	return nil
}

// checkUser checks whose t is, and compares it with what was asked for. The
// token may belong to another sign-in, and the user's browser may have changed
// the request.
func (t *IDToken) checkUser(want expected) error {
	// At most 255 bytes of ASCII (OpenID Connect Core, Section 2).
	if t.Subject == "" || printable(t.Subject, 255) != t.Subject {
		return errors.New("has no usable subject (sub)")
	}
	// Replay, or code injection.
	if want.nonce != "" && !sameText(t.claims.str("nonce"), want.nonce) {
		return errors.New("belongs to another sign-in: its nonce is not the one sent")
	}
	if want.signIn == nil {
		return nil
	}
	domain := want.signIn.params.Get("hd")
	matches := strings.EqualFold(t.HostedDomain, domain) || domain == "*" && t.HostedDomain != ""
	if domain != "" && !matches {
		return fmt.Errorf("is not of the hosted domain %+.64q (hd)", domain)
	}
	maxAge := want.signIn.params.Get("max_age")
	// If the token does not say when, that was in the year 1.
	age := time.Since(t.claims.date("auth_time"))
	if maxAge != "" && age > wholeSeconds(maxAge)+want.leeway {
		return errors.New(
			"is of a user who signed in too long ago, or it does not say when (max_age, auth_time)")
	}
	return nil
}

// checkTimes checks iat, nbf and exp.
func (t *IDToken) checkTimes(leeway time.Duration) error {
	now := time.Now()
	latest := now.Add(leeway)
	isEarly := latest.Before(t.IssuedAt) || latest.Before(t.notBefore)
	if isEarly || t.IssuedAt.IsZero() || now.Sub(t.Expiry) >= leeway {
		return fmt.Errorf(
			"was issued at %v and expires at %v (iat, exp); this machine's clock says %v",
			t.IssuedAt.UTC(), t.Expiry.UTC(), now.UTC())
	}
	return nil
}
