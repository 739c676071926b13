package oauth2

import (
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
	"io"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unique"
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
	uri := cmp.Or(v.KeysURI, map[string]string{googleIssuer: googleKeysURI}[want.issuer])
	kid, signed, signature, err := parseJWT(raw)
	if err != nil {
		return nil, err
	}
	key := v.keys.fresh(kid)
	if key == nil {
		if _, err := checkedClaims(raw, want); err != nil { // before the signature only here, as junk must not cause a fetch
			return nil, err
		}
		r := &request{op: "fetching the issuer's keys", url: uri, client: v.HTTPClient}
		if key, err = v.keys.get(ctx, kid, r); err != nil {
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
	header string // encoded, with the dot
}

// newSigner refuses a key that is weak or does not work, which is better known now than at the first token.
func newSigner(key *rsa.PrivateKey, keyID string) (*signer, error) {
	if key == nil || key.N == nil || !usableKey(&key.PublicKey) || key.Validate() != nil {
		return nil, errors.New("the private key is broken, or not an RSA key of 2048 to 8192 bits")
	}
	h := map[string]string{"alg": "RS256", "typ": "JWT"}
	if keyID != "" {
		h["kid"] = keyID
	}
	header, _ := json.Marshal(h)
	s := &signer{key, base64.RawURLEncoding.EncodeToString(header) + "."}
	jwt, err := s.sign(time.Now(), 0, &jwtClaims{}, nil)
	if err == nil {
		_, signed, signature, parseErr := parseJWT(jwt)
		err = cmp.Or(parseErr, verifyRS256(&key.PublicKey, signed, signature))
	}
	return s, err
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

// sign dates c, and returns the JWT of it and of more, which must have other names.
func (s *signer) sign(now time.Time, lifetime time.Duration, c *jwtClaims, more map[string]any) (string, error) {
	c.IssuedAt = now.Add(-backdate).Unix()
	c.Expiry = c.IssuedAt + int64(lifetime/time.Second)
	payload, _ := json.Marshal(c)
	if len(more) > 0 {
		rest, err := json.Marshal(more)
		if err != nil {
			return "", errors.New("oauth2: the claims can't be written as JSON")
		}
		payload = append(append(payload[:len(payload)-1], ','), rest[1:]...)
	}
	enc := base64.RawURLEncoding
	jwt := enc.AppendEncode([]byte(s.header), payload)
	sum := sha256.Sum256(jwt)
	sig, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("oauth2: the private key does not sign")
	}
	return string(enc.AppendEncode(append(jwt, '.'), sig)), nil
}

// parsePrivateKey parses the PEM of an RSA key, in PKCS #1 or PKCS #8. What is broken in it, or of another kind,
// is nil, which newSigner refuses. Its errors quote nothing but the block's type.
func parsePrivateKey(text string) (key *rsa.PrivateKey, err error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil && strings.Contains(text, `\n`):
		return nil, errors.New("the private key has \\n in place of line ends: it was escaped twice")
	case block == nil || !strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN ") || strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("the private key is not one block of PEM")
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "":
		return nil, errors.New("the private key is encrypted, which is not supported")
	case block.Type == "RSA PRIVATE KEY":
		key, _ = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "PRIVATE KEY":
		parsed, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
		key, _ = parsed.(*rsa.PrivateKey)
	default:
		return nil, fmt.Errorf("there is a PEM block of type %q in place of a private key", printable(block.Type, 64))
	}
	return key, nil
}

func usableKey(key *rsa.PublicKey) bool {
	return key.N.BitLen() >= minKeyBits && key.N.BitLen() <= maxKeyBits && key.E == keyExponent
}

// A keySet holds an issuer's keys.
type keySet struct {
	mu     sync.Mutex // guards what follows; not held during a fetch
	known  keys
	next   time.Time // before which there is no other fetch
	err    error     // of the last fetch
	flight *flight[keys]
}

// keys are by their ID, and serve until they expire, and a while longer where new ones can't be had.
type keys struct {
	byID    map[string]*rsa.PublicKey
	expires time.Time
}

// fresh returns the key kid if it is known and has not expired, or nil.
func (s *keySet) fresh(kid string) *rsa.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.known.expires) {
		return nil
	}
	return s.known.byID[kid]
}

// get returns the key kid, from a set that was fetched with r for this or another caller.
func (s *keySet) get(ctx context.Context, kid string, r *request) (*rsa.PublicKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, old := time.Now(), s.known.byID[kid]
	if old != nil && now.Before(s.known.expires) {
		return old, nil
	}
	if s.flight == nil && !now.Before(s.next) {
		s.flight = fly(r.keys, s.land)
	}
	if f := s.flight; f != nil {
		wait := ctx
		if old != nil && now.Before(s.known.expires.Add(keysGrace)) { // it serves if new ones don't come soon
			var cancel context.CancelFunc
			wait, cancel = context.WithTimeout(ctx, keysPatience)
			defer cancel()
		}
		s.mu.Unlock()
		_, err := f.wait(wait)
		s.mu.Lock()
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	if key := s.known.byID[kid]; key != nil { // even an old one, if new ones can't be had
		return key, nil
	}
	return nil, cmp.Or(s.err, fmt.Errorf("oauth2: the issuer has no key %q", printable(kid, maxKeyID)))
}

// land takes over what a flight brought.
func (s *keySet) land(f *flight[keys]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.err, s.flight, s.next = f.err, nil, now.Add(keysInterval)
	if f.err == nil {
		s.known = f.value
	} else if now.After(s.known.expires.Add(keysGrace)) {
		s.known, s.next = keys{}, now.Add(firstBackoff)
	}
}

// keys fetches a key set.
func (r *request) keys(ctx context.Context) (keys, error) {
	ans, age := r.do(ctx), minKeysAge
	for directive := range strings.SplitSeq(ans.header.Get("Cache-Control"), ",") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age="); ok {
			n, _ := strconv.ParseUint(text, 10, 31)
			age = max(minKeysAge, min(time.Duration(n)*time.Second, maxKeysAge))
		}
	}
	byID := parseKeys(ans.members)
	if len(byID) == 0 {
		return keys{}, ans.bad("has no usable RS256 key")
	}
	all := slices.Collect(maps.Values(byID))
	if delete(byID, ""); len(all) == 1 { // which a token need not name
		byID[""] = all[0]
	}
	return keys{byID, time.Now().Add(age)}, nil
}

// parseKeys returns the usable keys of a JSON Web Key Set, or of Google's map of
// certificates. Others are passed over, so that a new kind does not make the known ones
// unusable; of two with one ID neither is used.
func parseKeys(set object) map[string]*rsa.PublicKey {
	keys := map[string]*rsa.PublicKey{}
	var list []json.RawMessage
	if text, ok := set["keys"]; ok && json.Unmarshal([]byte(text), &list) != nil || max(len(set), len(list)) > maxKeys {
		return nil
	} else if !ok {
		certificates := fields{object: set}
		for kid := range set {
			keys[kid] = parseCertificate(certificates.str(kid))
		}
	}
	for _, text := range list {
		f := parseFields(text)
		kid, key := f.str("kid"), parseJWK(f)
		if f.err != nil || key == nil || !usableKey(key) { // of another kind, which may have the same ID
			continue
		}
		if _, twice := keys[kid]; twice {
			key = nil
		}
		keys[kid] = key
	}
	maps.DeleteFunc(keys, func(kid string, key *rsa.PublicKey) bool { return len(kid) > maxKeyID || key == nil || !usableKey(key) })
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

func parseCertificate(text string) (key *rsa.PublicKey) {
	if block, _ := pem.Decode([]byte(text)); block != nil && block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if now := time.Now(); err == nil && !now.Before(cert.NotBefore) && !now.After(cert.NotAfter) {
			key, _ = cert.PublicKey.(*rsa.PublicKey)
		}
	}
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
		Expiry: f.date("exp"), IssuedAt: f.date("iat"), notBefore: f.date("nbf"), Audience: f.list("aud"), claims: f.object,
	}
	return t, f.err
}

// date reads a NumericDate (RFC 7519, Section 2).
func (f *fields) date(name string) (t time.Time) {
	if text, ok := f.object[name]; ok {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n <= 0 || n >= 253402300800 { // the year 10000
			f.require(false, "has a %s that is not a time", name)
		}
		t = time.Unix(int64(n), 0)
	}
	return t
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
	if err != nil {
		return nil, err
	}
	return t, t.check(want, time.Now())
}

func (t *IDToken) check(want expected, now time.Time) error {
	switch {
	case want.leeway < 0 || want.leeway > maxLeeway:
		return errors.New("can't be verified: the verifier has a Leeway of more than 5 minutes")
	case want.audience == "":
		return errors.New("can't be verified: the verifier needs an Audience") // it would pass for any application
	case t.Issuer != want.issuer && (want.issuer != googleIssuer || t.Issuer != "accounts.google.com"): // as Google also writes it
		return fmt.Errorf("was not issued by %q", want.issuer)
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
	text := string(data)
	switch {
	case len(text) > maxBody:
		return nil, errTooLarge
	case !utf8.ValidString(text):
		return nil, errors.New("not valid UTF-8")
	case !json.Valid(data):
		return nil, errors.New("not valid JSON")
	case strings.TrimSpace(text)[0] != '{':
		return nil, errors.New("not a JSON object")
	}
	first := make(object, min(len(text)/24, 32))
	around := append(make([]object, 0, maxDepth), first) // the objects that are not closed yet; a list's stays empty
	var str, name string                                 // the last string; the name of the last member of first
	var value int                                        // where its value begins
	for i := strings.IndexByte(text, '{') + 1; len(around) > 0; i++ {
		inner := len(around) - 1
		switch c := text[i]; c {
		case '"':
			start := i
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			str = text[start : i+1]
		case ':':
			key := unquote(str)
			if _, ok := around[inner][key]; ok {
				return nil, errors.New("ambiguous: a member name occurs twice")
			}
			around[inner][key] = ""
			if inner == 0 {
				name, value = key, i+1
			}
		case '{', '[':
			if len(around) == maxDepth {
				return nil, errors.New("nested too deeply")
			}
			around = append(around, object{})
		case ',', '}', ']':
			if inner == 0 && value > 0 {
				first[name] = strings.TrimSpace(text[value:i])
			}
			if c != ',' {
				around = around[:inner]
			}
		}
	}
	return first, nil
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
	if text := f.object[name]; strings.HasPrefix(text, `"`) {
		return unquote(text)
	}
	f.require(!f.has(name), "has a %s that is not a string", name)
	return ""
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

// list reads a list of strings, or a string alone.
func (f *fields) list(name string) []string {
	if strings.HasPrefix(f.object[name], `"`) {
		return []string{f.str(name)}
	}
	return f.strs(name)
}

// scopes reads a list of scopes, or a string of them.
func (f *fields) scopes(name string) []string { return scopeList(f.list(name)...) }

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
	text := strings.Trim(f.object[name], `"`)
	n, err := strconv.ParseFloat(text, 64)
	ok := (err == nil || errors.Is(err, strconv.ErrRange)) && strings.Trim(text, "0123456789.+-eE") == "" && n >= 0
	f.require(ok || !f.has(name), "has a %s that is not a number of seconds", name)
	return time.Duration(max(0, min(n, maxLifetime.Seconds()))) * time.Second
}

// validToken reports whether s can be a token: visible ASCII, so that it can't end a
// header line (RFC 6749, Appendix A.12).
func validToken(s string) bool { return validText(s) && len(s) <= maxToken }

func validText(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// printable returns s as printable ASCII, cut to max bytes, so that what a server
// sent can neither steer a terminal nor forge log lines.
func printable(s string, max int) string {
	return strings.Clone(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), max)]))
}

// joinScopes is the opposite of scopeList.
func joinScopes(scopes []string) string {
	return unique.Make(strings.Join(scopeList(scopes...), " ")).Value()
}

// scopeList returns the scopes in ss, each of which may be several (RFC 6749,
// Section 3.3).
func scopeList(ss ...string) []string { return strings.Fields(strings.Join(ss, " ")) }

var errTooLarge = errors.New("oauth2: larger than 1 MiB")

// readAll reads to the end of r, or fails: what was cut could parse.
func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err == nil && len(data) > maxBody {
		return nil, errTooLarge
	}
	return data, err
}
