package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
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
	"unicode/utf8"
)

// Limits of tokens, keys and clocks.
const (
	maxJWT        = 16 << 10 // bytes
	maxKeyID      = 256      // bytes
	maxKeys       = 100      // in a set
	minKeyBits    = 2048     // RFC 7518, Section 3.3
	maxKeyBits    = 8192     // so that a hostile key can't make a check expensive
	keyExponent   = 65537
	defaultLeeway = time.Minute
	maxLeeway     = 5 * time.Minute // RFC 7519, Section 4.1.4: "no more than a few minutes"
	minKeysAge    = 5 * time.Minute
	maxKeysAge    = 24 * time.Hour
	keysGrace     = 24 * time.Hour   // in which old keys serve while new ones can't be fetched
	keysPatience  = 3 * time.Second  // to wait for new keys where an old one serves
	keysInterval  = 30 * time.Second // between fetches that unknown key IDs cause
)

// An IDTokenVerifier verifies ID tokens that come from elsewhere than the token endpoint: from
// a browser, a phone, another service (OpenID Connect Core, Section 3.1.3.7). Only RS256 is
// accepted. The zero value, with an Audience, verifies Google's. Its fields must not be
// changed after the first call; it is safe for concurrent use, and should be kept, since it caches
// the issuer's keys.
type IDTokenVerifier struct {
	// Issuer is who must have issued the token. If empty, it is Google.
	Issuer string
	// Audience is the client ID that the token must be for. It is required: without it, a
	// token that was issued to any other application would pass.
	Audience string
	// KeysURI is where the issuer publishes its keys, as a JSON Web Key Set (RFC 7517) or as
	// Google's map of certificates. If empty, and Issuer is Google, it is Google's.
	KeysURI string
	// Leeway is how far this machine's clock and the issuer's may differ. If 0, it is a
	// minute; more than 5 minutes is an error.
	Leeway time.Duration
	// HTTPClient fetches the keys. If nil, a client with timeouts is used.
	HTTPClient *http.Client

	keys keySet
}

// Verify checks the signature and the claims of an ID token and returns what it says. nonce
// must be the one that was sent with the authorization request; if it is empty, it is not
// checked. The keys are fetched when needed, once for all callers, and never for a token that
// could not pass. No error comes with an IDToken.
func (v *IDTokenVerifier) Verify(ctx context.Context, raw, nonce string) (*IDToken, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	t, err := v.verify(ctx, raw, nonce)
	if err != nil {
		return nil, fmt.Errorf("oauth2: the ID token %w", err)
	}
	return t, nil
}

func (v *IDTokenVerifier) verify(ctx context.Context, raw, nonce string) (*IDToken, error) {
	want := expected{cmp.Or(v.Issuer, googleIssuer), v.Audience, nonce, cmp.Or(v.Leeway, defaultLeeway)}
	keysURI := v.KeysURI
	if keysURI == "" && want.issuer == googleIssuer {
		keysURI = googleKeysURI
	}
	if v.Leeway < 0 || v.Leeway > maxLeeway {
		return nil, errors.New("can't be verified: the verifier has a Leeway of more than 5 minutes")
	}
	kid, signed, signature, err := parseJWT(raw)
	if err != nil {
		return nil, err
	}
	key := v.keys.get(kid)
	if key == nil {
		if _, err := checkedClaims(raw, want); err != nil { // junk must not cause a fetch
			return nil, err
		}
		if key, err = v.keys.fetch(ctx, kid, &request{op: "fetching the issuer's keys", url: keysURI, client: v.HTTPClient}); err != nil {
			return nil, fmt.Errorf("can't be verified: %w", err)
		}
	}
	if err := verifyRS256(key, signed, signature); err != nil {
		return nil, err
	}
	return checkedClaims(raw, want)
}

// An IDToken is what an ID token says of a person (OpenID Connect Core, Section 2).
type IDToken struct {
	// Issuer is who issued the token (iss).
	Issuer string
	// Subject identifies the person at the issuer, and never changes (sub).
	Subject string
	// Audience are the client IDs that the token is for (aud).
	Audience []string
	// Expiry is when the token expires (exp).
	Expiry time.Time
	// IssuedAt is when the token was issued (iat).
	IssuedAt time.Time
	// Email is the person's address (email). It may be empty, and may change.
	Email string
	// EmailVerified reports whether the issuer has verified Email (email_verified).
	EmailVerified bool
	// HostedDomain is the Google Workspace domain that the account belongs to (hd). It is
	// empty for other accounts.
	HostedDomain string

	authorizedParty, nonce string
	notBefore              time.Time
	claims                 object
}

// Claim decodes the claim called name into v, as encoding/json does, and leaves v alone if
// there is none. Names are exact.
func (t *IDToken) Claim(name string, v any) error {
	if text, ok := t.claims[name]; ok && json.Unmarshal([]byte(text), v) != nil {
		return fmt.Errorf("oauth2: the claim %q is not of the kind asked for", name)
	}
	return nil
}

// splitJWT returns the parts of a compact JWS (RFC 7515, Section 3.1). It looks at the
// length first: what follows must not depend on how much junk somebody sends.
func splitJWT(raw string) (header, payload, signature string, err error) {
	header, rest, _ := strings.Cut(raw[:min(len(raw), maxJWT)], ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if len(raw) > maxJWT || !ok || strings.Contains(signature, ".") {
		return "", "", "", errors.New("is not a signed JWT of three parts")
	}
	return header, payload, signature, nil
}

// decodePart decodes base64url without padding, and only in its one canonical form, so
// that no second text passes for the same token.
func decodePart(part string) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || part == "" || strings.ContainsAny(part, "\r\n") { // which DecodeString skips
		return nil, errors.New("has a part that is not base64url")
	}
	return data, nil
}

// parseJWT returns what a signature is checked with: the ID of the key, the bytes that were signed, and the
// signature. Nobody has vouched for the header: it can name a key, and nothing else. The algorithm is not its
// choice, and the keys and URLs that it may hold (jwk, jku, x5c, x5u) are not looked at.
func parseJWT(raw string) (kid, signed string, signature []byte, err error) {
	header, payload, sig, err := splitJWT(raw)
	if err != nil {
		return "", "", nil, err
	}
	data, err := decodePart(header)
	if err != nil {
		return "", "", nil, err
	}
	f := parseFields(data)
	alg, typ, kid := f.str("alg"), f.str("typ"), f.str("kid")
	_, critical := f.object["crit"]
	f.require(alg == "RS256", "says that it is signed with %q; only RS256 is accepted", printable(alg, 32))
	f.require(typ == "" || strings.EqualFold(typ, "JWT"), "says that it is of another type, %q", printable(typ, 32)) // an access or logout token (RFC 8725, Section 3.11)
	f.require(!critical, "has critical parameters, of which none is supported (RFC 7515, Section 4.1.11)")
	f.require(len(kid) <= maxKeyID, "has a key ID of more than 256 bytes")
	if f.err != nil {
		return "", "", nil, fmt.Errorf("has a header that %w", f.err)
	}
	signature, err = decodePart(sig)
	return kid, raw[:len(header)+1+len(payload)], signature, err
}

// verifyRS256 checks the signature of exactly the bytes that were received.
func verifyRS256(key *rsa.PublicKey, signed string, signature []byte) error {
	sum := sha256.Sum256([]byte(signed))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
		return errors.New("has a signature that does not match")
	}
	return nil
}

// A signer makes RS256 signatures.
type signer struct {
	key    *rsa.PrivateKey
	header string // encoded
}

func newSigner(key *rsa.PrivateKey, keyID string) (*signer, error) {
	h := map[string]string{"alg": "RS256", "typ": "JWT"}
	if keyID != "" {
		h["kid"] = keyID
	}
	header, err := json.Marshal(h)
	return &signer{key, base64.RawURLEncoding.EncodeToString(header)}, cmp.Or(err, checkPrivateKey(key))
}

// jwtClaims are those of an assertion (RFC 7523, Section 3). Empty ones are left out.
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

var reservedClaims = []string{"iss", "sub", "aud", "iat", "exp", "scope", "target_audience"}

// sign returns the JWT of claims and more, which must have other names.
func (s *signer) sign(c *jwtClaims, more map[string]any) (string, error) {
	payload, err := json.Marshal(c)
	if err == nil && len(more) > 0 {
		var rest []byte
		if rest, err = json.Marshal(more); err == nil {
			payload = append(append(payload[:len(payload)-1], ','), rest[1:]...)
		}
	}
	if err != nil {
		return "", errors.New("oauth2: the claims can't be written as JSON")
	}
	enc := base64.RawURLEncoding
	jwt := make([]byte, 0, len(s.header)+enc.EncodedLen(len(payload))+enc.EncodedLen(s.key.Size())+2)
	jwt = append(append(jwt, s.header...), '.')
	jwt = enc.AppendEncode(jwt, payload)
	sum := sha256.Sum256(jwt)
	sig, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("oauth2: the private key does not sign")
	}
	return string(enc.AppendEncode(append(jwt, '.'), sig)), nil
}

// parsePrivateKey parses the PEM of an RSA key, in PKCS #1 or PKCS #8. Its errors quote nothing
// but the block's type.
func parsePrivateKey(text string) (*rsa.PrivateKey, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil && strings.Contains(text, `\n`):
		return nil, errors.New("the private key has \\n in place of line ends: it was escaped twice")
	case block == nil || !strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN ") || len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("the private key is not one block of PEM")
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "":
		return nil, errors.New("the private key is encrypted, which is not supported")
	}
	parse := map[string]func([]byte) (any, error){
		"PRIVATE KEY":     x509.ParsePKCS8PrivateKey,
		"RSA PRIVATE KEY": func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
	}[block.Type]
	if parse == nil {
		return nil, fmt.Errorf("there is a PEM block of type %q in place of a private key", printable(block.Type, 64))
	}
	parsed, err := parse(block.Bytes)
	if key, ok := parsed.(*rsa.PrivateKey); ok && err == nil {
		return key, nil
	}
	return nil, errors.New("the private key is broken, or not an RSA key")
}

// checkPrivateKey refuses a key that is weak or does not work, which is better known now than at the
// first token.
func checkPrivateKey(key *rsa.PrivateKey) error {
	if key == nil || key.N == nil || !usableKey(&key.PublicKey) || key.Validate() != nil {
		return errors.New("the private key is broken, or not an RSA key of 2048 to 8192 bits")
	}
	var sum [sha256.Size]byte
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil || rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return errors.New("the private key does not sign")
	}
	return nil
}

func usableKey(key *rsa.PublicKey) bool {
	return key.N.BitLen() >= minKeyBits && key.N.BitLen() <= maxKeyBits && key.E == keyExponent
}

// A keySet holds an issuer's keys by their ID.
type keySet struct {
	mu      sync.Mutex // guards what follows; not held during a fetch
	current map[string]*rsa.PublicKey
	expires time.Time // of current
	next    time.Time // before which there is no other fetch
	err     error     // of the last fetch
	flight  *flight[keys]
}

// keys are by their ID, and may be kept for age.
type keys struct {
	byID map[string]*rsa.PublicKey
	age  time.Duration
}

// get returns the key that a token names, or nil if keys must be fetched first.
func (s *keySet) get(kid string) *rsa.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.expires) {
		return nil
	}
	return s.find(kid)
}

func (s *keySet) find(kid string) *rsa.PublicKey {
	if kid != "" {
		return s.current[kid]
	}
	if len(s.current) == 1 { // the only one there is
		for _, key := range s.current {
			return key
		}
	}
	return nil
}

// fetch returns the key kid from a set that was fetched for this or another caller.
func (s *keySet) fetch(ctx context.Context, kid string, r *request) (*rsa.PublicKey, error) {
	s.mu.Lock()
	if s.flight == nil && !time.Now().Before(s.next) {
		s.flight = fly(func(ctx context.Context) (keys, error) { return fetchKeys(ctx, r) }, s.land)
	}
	f, wait := s.flight, ctx
	if s.find(kid) != nil && time.Now().Before(s.expires.Add(keysGrace)) { // an old key serves if new ones don't come soon
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, keysPatience)
		defer cancel()
	}
	s.mu.Unlock()
	if f != nil {
		if _, err := f.wait(wait); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := s.find(kid); key != nil { // even an old one, if new ones can't be had
		return key, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, fmt.Errorf("oauth2: the issuer has no key %q", printable(kid, maxKeyID))
}

// land takes over what a flight brought.
func (s *keySet) land(f *flight[keys]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.err, s.flight, s.next = f.err, nil, now.Add(keysInterval)
	switch {
	case f.err == nil:
		s.current, s.expires = f.value.byID, now.Add(f.value.age)
	case now.After(s.expires.Add(keysGrace)):
		s.current, s.next = nil, now.Add(firstBackoff)
	}
}

// fetchKeys fetches a key set.
func fetchKeys(ctx context.Context, r *request) (keys, error) {
	ans, err := r.do(ctx)
	if err != nil {
		return keys{}, err
	}
	age := minKeysAge
	for _, directive := range strings.Split(ans.header.Get("Cache-Control"), ",") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age="); ok {
			n, _ := strconv.ParseUint(text, 10, 31)
			age = max(minKeysAge, min(time.Duration(n)*time.Second, maxKeysAge))
		}
	}
	set := keys{parseKeys(ans.members), age}
	if len(set.byID) == 0 {
		return set, ans.bad("has no usable RS256 key")
	}
	return set, nil
}

// parseKeys returns the usable keys of a JSON Web Key Set, or of Google's map of
// certificates. Others are passed over, so that a new kind does not make the known ones
// unusable; of two with one ID neither is used.
func parseKeys(set object) map[string]*rsa.PublicKey {
	keys := map[string]*rsa.PublicKey{}
	add := func(kid string, key *rsa.PublicKey) {
		if _, twice := keys[kid]; twice || key == nil || !usableKey(key) {
			key = nil
		}
		keys[kid] = key
	}
	var list []json.RawMessage
	if text, ok := set["keys"]; ok {
		if json.Unmarshal([]byte(text), &list) != nil || len(list) > maxKeys {
			return nil
		}
		for _, text := range list {
			f := parseFields(text)
			if kid, key := f.str("kid"), parseJWK(f); f.err == nil && len(kid) <= maxKeyID {
				add(kid, key)
			}
		}
	} else if len(set) <= maxKeys {
		f := fields{object: set}
		for kid := range set {
			add(kid, parseCertificate(f.str(kid)))
		}
	}
	maps.DeleteFunc(keys, func(_ string, key *rsa.PublicKey) bool { return key == nil })
	return keys
}

// parseJWK returns an RSA key that is for checking RS256 signatures (RFC 7517, RFC 7518, Section 6.3.1), or
// nil.
func parseJWK(f *fields) *rsa.PublicKey {
	private := slices.ContainsFunc([]string{"d", "p", "q", "dp", "dq", "qi", "oth"}, func(m string) bool { return f.has(m) })
	ops := f.strs("key_ops")
	if f.str("kty") != "RSA" || private || ops != nil && !slices.Contains(ops, "verify") ||
		f.has("alg") && f.str("alg") != "RS256" || f.has("use") && f.str("use") != "sig" {
		return nil
	}
	n, err := decodePart(f.str("n"))
	e, err2 := decodePart(f.str("e"))
	if err != nil || err2 != nil || n[0] == 0 || e[0] == 0 || len(e) > 4 {
		return nil
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
}

func parseCertificate(text string) *rsa.PublicKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || time.Now().After(cert.NotAfter) || time.Now().Before(cert.NotBefore) {
		return nil
	}
	key, _ := cert.PublicKey.(*rsa.PublicKey)
	return key
}

// parseClaims parses the claims of an ID token whose signature nobody has checked yet, or need check.
func parseClaims(raw string) (*IDToken, error) {
	_, payload, _, err := splitJWT(raw)
	data, decodeErr := decodePart(payload)
	if err = cmp.Or(err, decodeErr); err != nil {
		return nil, err
	}
	f := parseFields(data)
	t := &IDToken{
		Issuer: f.str("iss"), Subject: f.str("sub"), authorizedParty: f.str("azp"), nonce: f.str("nonce"),
		Email: f.str("email"), EmailVerified: strings.Trim(f.object["email_verified"], `"`) == "true", HostedDomain: f.str("hd"),
		Expiry: f.date("exp"), IssuedAt: f.date("iat"), notBefore: f.date("nbf"), claims: f.object,
	}
	if aud := f.object["aud"]; strings.HasPrefix(aud, `"`) {
		t.Audience = []string{unquote(aud)}
	} else {
		t.Audience = f.strs("aud")
	}
	return t, f.err
}

// date reads a NumericDate (RFC 7519, Section 2).
func (f *fields) date(name string) time.Time {
	text, ok := f.object[name]
	if !ok {
		return time.Time{}
	}
	n, err := strconv.ParseFloat(text, 64)
	if ok = err == nil && n > 0 && n < 253402300800; !ok { // the year 10000
		n = 0
	}
	f.require(ok, "has a %s that is not a time", name)
	return time.Unix(int64(n), 0)
}

// expected is what an ID token must say. An empty nonce is not checked.
type expected struct {
	issuer, audience, nonce string
	leeway                  time.Duration
}

// checkedClaims returns the claims of an ID token if they are what is expected (OpenID Connect Core, Section
// 3.1.3.7).
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

func (t *IDToken) check(want expected, now time.Time) error {
	issuers := []string{want.issuer}
	if want.issuer == googleIssuer {
		issuers = append(issuers, "accounts.google.com") // as Google also writes it
	}
	switch {
	case want.audience == "":
		return errors.New("can't be verified: the verifier needs an Audience") // it would pass for any application
	case !slices.Contains(issuers, t.Issuer):
		return fmt.Errorf("was issued by %q, not by %q", printable(t.Issuer, maxErrorText), want.issuer)
	case !slices.Contains(t.Audience, want.audience) || slices.Contains(t.Audience, ""):
		return fmt.Errorf("is not for the audience %q", want.audience)
	case t.authorizedParty != "" && t.authorizedParty != want.audience, len(t.Audience) > 1 && t.authorizedParty == "":
		return fmt.Errorf("was issued to another party than %q", want.audience)
	case t.Subject == "" || len(t.Subject) > 255:
		return errors.New("has no usable subject (sub)")
	case t.Expiry.IsZero() || t.IssuedAt.IsZero():
		return errors.New("lacks a time of issue or expiry (iat, exp)")
	case !now.Before(t.Expiry.Add(want.leeway)):
		return fmt.Errorf("expired at %v; if that is not past, check this machine's clock", t.Expiry.UTC())
	case now.Add(want.leeway).Before(t.IssuedAt) || now.Add(want.leeway).Before(t.notBefore):
		return fmt.Errorf("was issued at %v, which is in the future; check this machine's clock", t.IssuedAt.UTC())
	case want.nonce != "" && subtle.ConstantTimeCompare([]byte(t.nonce), []byte(want.nonce)) != 1:
		return errors.New("belongs to another sign-in: its nonce is not the one sent") // replay, or code injection
	}
	return nil
}

// An object is a JSON object, by the exact names of its members; the values are
// JSON texts.
type object map[string]string

// parseObject is the package's one JSON parser. It refuses what encoding/json lets
// pass: duplicate names, at any depth, of which another parser might see the other
// one; names that differ in case; trailing data; invalid UTF-8; deep nesting. Its
// errors quote nothing, since the text may hold secrets.
func parseObject(data []byte) (object, error) {
	switch {
	case len(data) > maxBody:
		return nil, errTooLarge
	case !utf8.Valid(data):
		return nil, errors.New("not valid UTF-8")
	case !json.Valid(data):
		return nil, errors.New("not valid JSON")
	}
	s := splitter{text: string(data)}
	o, err := s.value(1)
	if o == nil && err == nil {
		err = errors.New("not a JSON object")
	}
	return o, err
}

// A splitter takes valid JSON apart.
type splitter struct {
	text string
	pos  int
}

// value moves past the next value and returns the members of an object.
func (s *splitter) value(depth int) (object, error) {
	s.skip(" \t\r\n:,")
	switch c := s.text[s.pos]; c {
	case '"':
		s.string()
	case '{', '[':
		if depth > maxDepth {
			return nil, errors.New("nested too deeply")
		}
		var o object
		if c == '{' {
			o = make(object, min(16, len(s.text)/16))
		}
		for s.pos++; ; {
			s.skip(" \t\r\n,")
			if s.text[s.pos] == '}' || s.text[s.pos] == ']' {
				s.pos++
				return o, nil
			}
			var name string
			if o != nil {
				name = unquote(s.string())
				if _, ok := o[name]; ok {
					return nil, errors.New("ambiguous: a member name occurs twice")
				}
				s.skip(" \t\r\n:")
			}
			start := s.pos
			if _, err := s.value(depth + 1); err != nil {
				return nil, err
			}
			if o != nil {
				o[name] = s.text[start:s.pos]
			}
		}
	default: // a number or a name, up to what ends it
		for s.pos < len(s.text) && strings.IndexByte(",]} \t\r\n", s.text[s.pos]) < 0 {
			s.pos++
		}
	}
	return nil, nil
}

func (s *splitter) skip(chars string) {
	for strings.IndexByte(chars, s.text[s.pos]) >= 0 {
		s.pos++
	}
}

// string moves past a string and returns its JSON text.
func (s *splitter) string() string {
	start := s.pos
	for s.pos++; s.text[s.pos] != '"'; s.pos++ {
		if s.text[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return s.text[start:s.pos]
}

// unquote returns the string that a JSON text is.
func unquote(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var v string
	json.Unmarshal([]byte(text), &v) // valid, and a string
	return v
}

// fields reads the members of an object and remembers what is wrong first. A member that is
// absent or null reads as zero.
type fields struct {
	object
	err error
}

func parseFields(data []byte) *fields {
	o, err := parseObject(data)
	f := &fields{object: o}
	f.require(err == nil, "is %w", err)
	return f
}

// require remembers what is wrong unless ok.
func (f *fields) require(ok bool, format string, args ...any) {
	if !ok && f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// has reports whether a member says something.
func (f *fields) has(name string) bool {
	text := f.object[name]
	return text != "" && text != "null" && text != `""`
}

func (f *fields) str(name string) string {
	text := f.object[name]
	if !f.has(name) || text[0] != '"' {
		f.require(!f.has(name), "has a %s that is not a string", name)
		return ""
	}
	return unquote(text)
}

// secret reads a member that holds a token.
func (f *fields) secret(name string) Secret {
	s := f.str(name)
	f.require(s == "" || validToken(s), "has a %s that is longer than 16 KiB or has characters that no token has", name)
	return NewSecret(strings.Clone(s)) // not the whole text
}

// project reads a project ID.
func (f *fields) project(name string) string {
	s := f.str(name)
	f.require(s == "" || validProject(s), "has a %s that is not a project", name)
	return s
}

// endpoint reads a URL.
func (f *fields) endpoint(name string) string {
	s := f.str(name)
	_, err := checkEndpoint(s)
	f.require(err == nil, "has a %s that %w", name, err)
	return s
}

// strs reads a list of strings.
func (f *fields) strs(name string) (list []string) {
	f.require(!f.has(name) || json.Unmarshal([]byte(f.object[name]), &list) == nil, "has a %s that is not a list of strings", name)
	return list
}

// scopes reads a list of scopes, or a string of them.
func (f *fields) scopes(name string) []string {
	if strings.HasPrefix(f.object[name], `"`) {
		return scopeList(f.str(name))
	}
	return scopeList(f.strs(name)...)
}

// expiry reads a time in RFC 3339; one without an offset, as Python's, is UTC.
func (f *fields) expiry(name string) time.Time {
	s := f.str(name)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s+"Z")
	}
	f.require(err == nil || s == "", "has a %s that is not a time (RFC 3339)", name)
	return t
}

// seconds reads a lifetime: a number or a string with one, floored and bounded; 0
// means unknown.
func (f *fields) seconds(name string) time.Duration {
	if !f.has(name) {
		return 0
	}
	text := strings.Trim(f.object[name], `"`)
	n, err := strconv.ParseFloat(text, 64)
	ok := (err == nil || errors.Is(err, strconv.ErrRange)) && strings.Trim(text, "0123456789.+-eE") == "" && n >= 0
	f.require(ok, "has a %s that is not a number of seconds", name)
	return time.Duration(max(0, min(n, maxLifetime.Seconds()))) * time.Second
}
