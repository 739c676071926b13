package oauth2

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of tokens, keys and clocks.
const (
	maxJWT        = 16 << 10 // bytes
	maxKeyID      = 256      // bytes
	maxKeys       = 100      // in a set
	minKeyBits    = 2048     // RFC 7518, Section 3.3
	maxKeyBits    = 8192     // so that a hostile key can't make a check expensive
	keyExponent   = 65537
	maxSubject    = 255 // bytes (OpenID Connect Core, Section 2)
	defaultLeeway = time.Minute
	maxLeeway     = 5 * time.Minute  // "no more than a few minutes" (RFC 7519, Section 4.1.4)
	backdate      = 10 * time.Second // of signed JWTs, for servers whose clock is behind
)

// How long keys are kept.
const (
	minKeysAge   = 5 * time.Minute
	maxKeysAge   = 24 * time.Hour
	keysGrace    = 24 * time.Hour   // in which old keys serve while new ones can't be fetched
	keysPatience = 3 * time.Second  // to wait for new keys where an old one serves
	keysInterval = 30 * time.Second // between fetches that unknown key IDs cause
	keysRetry    = time.Second      // after a failed fetch, where no keys are left
)

// Google's values for ID tokens.
const (
	googleIssuer  = "https://accounts.google.com"
	googleKeysURI = "https://www.googleapis.com/oauth2/v3/certs"
)

// An IDTokenVerifier verifies ID tokens that come from elsewhere than the token
// endpoint: from a browser, a phone or another service (OpenID Connect Core,
// Section 3.1.3.7). Only RS256 is accepted. The zero value with an Audience
// verifies Google's ID tokens. The fields must not be changed after the first
// call. A verifier is safe for concurrent use and should be kept, since it
// caches the issuer's keys.
type IDTokenVerifier struct {
	// Issuer is who must have issued the token. If empty, it is Google.
	Issuer string
	// Audience is the client ID that the token must be meant for. It is required:
	// without it, a token that was issued to any other application would pass.
	Audience string
	// KeysURI is where the issuer publishes its keys, as a JSON Web Key Set (RFC
	// 7517) or as Google's map of certificates. If empty, and the Issuer is Google,
	// it is Google's.
	KeysURI string
	// Leeway is how far this machine's clock and the issuer's may differ. If 0, it
	// is a minute. More than 5 minutes is an error.
	Leeway time.Duration
	// HTTPClient fetches the keys. If nil, a client with timeouts is used.
	HTTPClient *http.Client

	needsIssuer bool // an empty Issuer is an error, not Google
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
	jwt, err := parseJWT(raw)
	if err != nil {
		return nil, err
	}
	key := v.keys.find(jwt.keyID, 0)
	if key == nil {
		// Junk must not cause a fetch. Where the key is known, the signature is checked
		// first, so that nothing is said about the claims of a forged token.
		if _, err := checkedClaims(raw, want); err != nil {
			return nil, err
		}
		r := &request{op: "fetching the issuer's keys", url: v.KeysURI, client: v.HTTPClient}
		if r.url == "" && want.issuer == googleIssuer {
			r.url = googleKeysURI
		}
		key, err = v.keys.get(ctx, jwt.keyID, r)
		if err != nil {
			return nil, fmt.Errorf("can't be verified: %w", err)
		}
	}
	if err := jwt.verify(key); err != nil {
		return nil, err
	}
	return checkedClaims(raw, want)
}

// An IDToken is what an ID token says of a user (OpenID Connect Core, Section
// 2). It does not change, so it is safe for concurrent use.
type IDToken struct {
	// Issuer is who issued the token (iss).
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

	nonce     string
	notBefore time.Time
	claims    object
}

// Claim decodes the claim called name into v, as encoding/json does. It leaves
// v alone if there is no such claim. Names are exact.
func (t *IDToken) Claim(name string, v any) error {
	text, ok := t.claims[name]
	if !ok {
		return nil
	}
	if json.Unmarshal([]byte(text), v) != nil {
		return fmt.Errorf("oauth2: the claim %q is not of the kind asked for", name)
	}
	return nil
}

// splitJWT returns the parts of a compact JWS (RFC 7515, Section 3.1). It looks
// at the length first, so that junk of any size costs nothing.
func splitJWT(raw string) (header, payload, signature string, err error) {
	if len(raw) > maxJWT || strings.Count(raw, ".") != 2 {
		return "", "", "", errors.New("is not a signed JWT of three parts")
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	return header, payload, signature, nil
}

// decodePart decodes base64url without padding. It accepts the one canonical
// form only, so that no second text passes for the same token.
func decodePart(part string) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || part == "" || strings.ContainsAny(part, "\r\n") { // DecodeString skips these
		return nil, errors.New("has a part that is not base64url")
	}
	return data, nil
}

// A signedJWT is what a signature is checked with.
type signedJWT struct {
	keyID     string
	signed    string // header and payload, exactly as received
	signature []byte
}

// parseJWT parses a JWT. Nobody has vouched for its header, so that it can name
// a key and nothing else: the algorithm is not its choice, and the keys and
// URLs that it may hold (jwk, jku, x5c, x5u) are not looked at.
func parseJWT(raw string) (jwt signedJWT, err error) {
	header, payload, signature, err := splitJWT(raw)
	if err != nil {
		return jwt, err
	}
	data, err := decodePart(header)
	if err != nil {
		return jwt, err
	}
	jwt.signed = raw[:len(header)+1+len(payload)]
	f := parseFields(data)
	jwt.keyID = f.str("kid")
	if alg := f.str("alg"); alg != "RS256" {
		f.fail("says that it is signed with %q; only RS256 is accepted", printable(alg, 32))
	}
	// Other types are access or logout tokens, say (RFC 8725, Section 3.11).
	if typ := f.str("typ"); typ != "" && !strings.EqualFold(typ, "JWT") {
		f.fail("says that it is of another type, %q", printable(typ, 32))
	}
	if _, ok := f.object["crit"]; ok {
		f.fail("has critical parameters, of which none is supported (RFC 7515, Section 4.1.11)")
	}
	if len(jwt.keyID) > maxKeyID {
		f.fail("has a key ID of more than 256 bytes")
	}
	if f.err != nil {
		return jwt, fmt.Errorf("has a header that %w", f.err)
	}
	jwt.signature, err = decodePart(signature)
	return jwt, err
}

// verify checks the signature with key.
func (j signedJWT) verify(key *rsa.PublicKey) error {
	sum := sha256.Sum256([]byte(j.signed))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], j.signature) != nil {
		return errors.New("has a signature that does not match")
	}
	return nil
}

// A signer makes RS256 signatures.
type signer struct {
	key    *rsa.PrivateKey
	header string // encoded, with the dot
}

// newSigner tries the key with a signature: one that is weak or does not work
// is better known now than at the first token.
func newSigner(key *rsa.PrivateKey, keyID string) (*signer, error) {
	errKey := errors.New("the private key is broken, or not an RSA key of 2048 to 8192 bits")
	if key == nil || !usableKey(&key.PublicKey) || key.Validate() != nil {
		return nil, errKey
	}
	fields := map[string]string{"alg": "RS256", "typ": "JWT"}
	if keyID != "" {
		fields["kid"] = keyID
	}
	header, _ := json.Marshal(fields)
	s := &signer{key, base64.RawURLEncoding.EncodeToString(header) + "."}
	raw, _ := s.sign(time.Now(), 0, &jwtClaims{}, nil)
	jwt, err := parseJWT(raw) // fails too if the key does not sign
	if err != nil || jwt.verify(&key.PublicKey) != nil {
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

func isReservedClaim(name string) bool {
	switch name {
	case "iss", "sub", "aud", "iat", "exp", "scope", "target_audience":
		return true
	}
	return false
}

// sign sets the times of c and returns a JWT with the claims of c and of more,
// which must have other names.
func (s *signer) sign(
	now time.Time, lifetime time.Duration, c *jwtClaims, more map[string]any,
) (string, error) {
	c.IssuedAt = now.Add(-backdate).Unix()
	c.Expiry = c.IssuedAt + int64(lifetime/time.Second)
	payload, _ := json.Marshal(c)
	if len(more) > 0 {
		rest, err := json.Marshal(more)
		if err != nil {
			return "", errors.New("oauth2: the claims can't be written as JSON")
		}
		payload[len(payload)-1] = ','
		payload = append(payload, rest[1:]...)
	}
	encoding := base64.RawURLEncoding
	jwt := encoding.AppendEncode([]byte(s.header), payload)
	sum := sha256.Sum256(jwt)
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("oauth2: the private key does not sign")
	}
	jwt = append(jwt, '.')
	return string(encoding.AppendEncode(jwt, signature)), nil
}

// parsePrivateKey parses the PEM of an RSA key, in PKCS #1 or PKCS #8. It
// returns nil for a key that is broken or of another kind, which newSigner
// refuses. Its errors quote nothing but the type of the block.
func parsePrivateKey(text string) (*rsa.PrivateKey, error) {
	text = strings.TrimSpace(text)
	block, rest := pem.Decode([]byte(text))
	if block == nil && strings.Contains(text, `\n`) {
		return nil, errors.New("the private key has \\n as line ends: it was escaped twice")
	}
	if block == nil || !strings.HasPrefix(text, "-----BEGIN ") || len(rest) > 0 {
		return nil, errors.New("the private key is not one block of PEM")
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "" {
		return nil, errors.New("the private key is encrypted, which is not supported")
	}
	var parsed any
	switch block.Type {
	case "RSA PRIVATE KEY":
		parsed, _ = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		parsed, _ = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("there is a PEM block of type %q in place of a private key",
			printable(block.Type, 64))
	}
	key, _ := parsed.(*rsa.PrivateKey)
	return key, nil
}

func usableKey(key *rsa.PublicKey) bool {
	if key == nil || key.N == nil {
		return false
	}
	bits := key.N.BitLen()
	return minKeyBits <= bits && bits <= maxKeyBits && key.E == keyExponent
}

// A keySet caches an issuer's keys.
type keySet struct {
	mu     sync.Mutex // guards what follows; not held during a fetch
	known  keys
	next   time.Time     // before this there is no other fetch
	err    error         // of the last fetch
	flight *flight[keys] // nil if none is under way
}

// keys serve until they expire, and a while longer where new ones can't be had.
type keys struct {
	byID    map[string]*rsa.PublicKey
	expires time.Time
}

// find returns the key with an ID if it is known and expired no longer ago than
// grace, or nil.
func (s *keySet) find(keyID string, grace time.Duration) *rsa.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.known.expires.Add(grace)) {
		return nil
	}
	return s.known.byID[keyID]
}

// get returns the key with an ID, from a set that r fetched for this or another
// caller.
func (s *keySet) get(ctx context.Context, keyID string, r *request) (*rsa.PublicKey, error) {
	if f := s.join(r); f != nil {
		wait := ctx
		if s.find(keyID, keysGrace) != nil { // the old key serves if new ones don't come soon
			var cancel context.CancelFunc
			wait, cancel = context.WithTimeout(ctx, keysPatience)
			defer cancel()
		}
		_, err := f.wait(wait)
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := s.known.byID[keyID]; key != nil {
		return key, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, fmt.Errorf("oauth2: the issuer has no key %q", printable(keyID, maxKeyID))
}

// join returns the fetch under way, or a new one, or nil if it is too soon for
// one.
func (s *keySet) join(r *request) *flight[keys] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil && !time.Now().Before(s.next) {
		s.flight = fly(r.keys, s.land)
	}
	return s.flight
}

// land takes the result of a fetch.
func (s *keySet) land(f *flight[keys]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.flight = nil
	s.err = f.err
	s.next = now.Add(keysInterval)
	if f.err == nil {
		s.known = f.value
		return
	}
	if now.After(s.known.expires.Add(keysGrace)) {
		s.known = keys{}
		s.next = now.Add(keysRetry)
	}
}

// keys fetches a key set.
func (r *request) keys(ctx context.Context) (keys, error) {
	ans, err := r.do(ctx)
	if err != nil {
		return keys{}, err
	}
	byID := parseKeys(ans.members)
	if len(byID) == 0 {
		return keys{}, ans.unusable(errors.New("has no usable RS256 key"))
	}
	all := slices.Collect(maps.Values(byID))
	delete(byID, "")
	if len(all) == 1 { // a token need not name the only key
		byID[""] = all[0]
	}
	return keys{byID, time.Now().Add(keysAge(ans.header))}, nil
}

// keysAge returns how long an answer may be kept (RFC 9111, Section 5.2.2.1).
func keysAge(h http.Header) time.Duration {
	_, rest, _ := strings.Cut(h.Get("Cache-Control"), "max-age=")
	text, _, _ := strings.Cut(rest, ",")
	seconds, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
	age := time.Duration(seconds) * time.Second
	return max(minKeysAge, min(age, maxKeysAge))
}

// parseKeys returns the usable keys of a JSON Web Key Set, or of Google's map
// of certificates, by their ID. It passes over others, so that a new kind of
// key does not make the known ones unusable.
func parseKeys(set object) map[string]*rsa.PublicKey {
	f := fields{object: set}
	list := f.elements("keys")
	if max(len(set), len(list)) > maxKeys {
		return nil
	}
	keys := map[string]*rsa.PublicKey{}
	if _, ok := set["keys"]; !ok {
		for keyID := range set {
			key := parseCertificate(f.str(keyID))
			if key != nil && len(keyID) <= maxKeyID {
				keys[keyID] = key
			}
		}
		return keys
	}
	count := map[string]int{}
	for _, text := range list {
		keyID, key := parseJWK(nestedFields(text))
		if key == nil {
			continue // of another kind, which may have the same ID
		}
		keys[keyID] = key
		count[keyID]++
	}
	for keyID := range keys {
		if count[keyID] > 1 { // neither can be preferred
			delete(keys, keyID)
		}
	}
	return keys
}

// parseJWK returns the ID of an RSA key that checks RS256 signatures (RFC 7517;
// RFC 7518, Section 6.3.1), and the key. It returns nil for any other key.
func parseJWK(f *fields) (keyID string, key *rsa.PublicKey) {
	keyID = f.str("kid")
	n, err := decodePart(f.str("n"))
	if err != nil || n[0] == 0 || len(keyID) > maxKeyID {
		return "", nil
	}
	key = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: keyExponent}
	isRSA := f.str("kty") == "RSA" && f.str("e") == "AQAB" && usableKey(key)
	if !isRSA || !isVerificationKey(f) || f.err != nil {
		return "", nil
	}
	return keyID, key
}

// isVerificationKey reports whether a key is meant for RS256 signatures, as far
// as it says.
func isVerificationKey(f *fields) bool {
	alg := cmp.Or(f.str("alg"), "RS256")
	use := cmp.Or(f.str("use"), "sig")
	ops := f.strs("key_ops")
	mayVerify := ops == nil || slices.Contains(ops, "verify")
	// A private key that was published is worth nothing.
	private := []string{"d", "p", "q", "dp", "dq", "qi", "oth"}
	if slices.ContainsFunc(private, f.has) {
		return false
	}
	return alg == "RS256" && use == "sig" && mayVerify
}

// parseCertificate returns the RSA key of a certificate in PEM that is valid
// now, or nil.
func parseCertificate(text string) *rsa.PublicKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	now := time.Now()
	if err != nil || now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return nil
	}
	key, _ := cert.PublicKey.(*rsa.PublicKey)
	if !usableKey(key) {
		return nil
	}
	return key
}

// parseClaims parses the claims of an ID token without checking its signature.
func parseClaims(raw string) (*IDToken, error) {
	_, payload, _, err := splitJWT(raw)
	if err != nil {
		return nil, err
	}
	data, err := decodePart(payload)
	if err != nil {
		return nil, err
	}
	f := parseFields(data)
	t := &IDToken{
		Issuer:          f.str("iss"),
		Subject:         f.str("sub"),
		Audience:        f.list("aud"),
		AuthorizedParty: f.str("azp"),
		Expiry:          f.date("exp"),
		IssuedAt:        f.date("iat"),
		Email:           f.str("email"),
		EmailVerified:   f.isTrue("email_verified"),
		HostedDomain:    f.str("hd"),
		nonce:           f.str("nonce"),
		notBefore:       f.date("nbf"),
		claims:          f.object,
	}
	return t, f.err
}

// isTrue reads a boolean, which some issuers write as a string.
func (f *fields) isTrue(name string) bool {
	return strings.Trim(f.object[name], `"`) == "true"
}

// date reads a NumericDate (RFC 7519, Section 2).
func (f *fields) date(name string) time.Time {
	text, ok := f.object[name]
	if !ok {
		return time.Time{}
	}
	const year10000 = 253402300800
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n <= 0 || n >= year10000 {
		f.fail("has a %s that is not a time", name)
		return time.Time{}
	}
	return time.Unix(int64(n), 0)
}

// expected is what an ID token must say.
type expected struct {
	issuer   string
	audience string
	nonce    string // not checked if empty
	leeway   time.Duration
}

// checkedClaims returns the claims of an ID token if they are as expected. Its
// errors complete a sentence that begins with the ID token.
func checkedClaims(raw string, want expected) (*IDToken, error) {
	t, err := parseClaims(raw)
	if err == nil {
		err = t.check(want, time.Now())
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// check checks the claims (OpenID Connect Core, Section 3.1.3.7).
func (t *IDToken) check(want expected, now time.Time) error {
	if want.leeway < 0 || want.leeway > maxLeeway {
		return errors.New("can't be verified: the verifier has a Leeway of more than 5 minutes")
	}
	if want.audience == "" { // a token for any application would pass
		return errors.New("can't be verified: the verifier needs an Audience")
	}
	if err := t.checkParties(want); err != nil {
		return err
	}
	if err := t.checkTimes(now, want.leeway); err != nil {
		return err
	}
	if want.nonce != "" && !sameText(t.nonce, want.nonce) { // replay, or code injection
		return errors.New("belongs to another sign-in: its nonce is not the one sent")
	}
	return nil
}

// checkParties checks who issued t, to whom, for whom and about whom.
func (t *IDToken) checkParties(want expected) error {
	// Google writes its name in two ways.
	isAlias := want.issuer == googleIssuer && t.Issuer == "accounts.google.com"
	if t.Issuer != want.issuer && !isAlias {
		return fmt.Errorf("was not issued by %q", want.issuer)
	}
	if !slices.Contains(t.Audience, want.audience) || slices.Contains(t.Audience, "") {
		return fmt.Errorf("is not for the audience %q", want.audience)
	}
	party := t.AuthorizedParty
	if party == "" && len(t.Audience) == 1 {
		party = want.audience
	}
	if party != want.audience {
		return fmt.Errorf("was issued to another party than %q", want.audience)
	}
	if t.Subject == "" || len(t.Subject) > maxSubject {
		return errors.New("has no usable subject (sub)")
	}
	return nil
}

func (t *IDToken) checkTimes(now time.Time, leeway time.Duration) error {
	if t.Expiry.IsZero() || t.IssuedAt.IsZero() {
		return errors.New("lacks a time of issue or expiry (iat, exp)")
	}
	if !now.Before(t.Expiry.Add(leeway)) {
		return fmt.Errorf("expired at %v; if that is not past, check this machine's clock",
			t.Expiry.UTC())
	}
	latest := now.Add(leeway)
	if latest.Before(t.IssuedAt) || latest.Before(t.notBefore) {
		return fmt.Errorf("was issued at %v, which is in the future; check this machine's clock",
			t.IssuedAt.UTC())
	}
	return nil
}
