package oauth2

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

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
			o = make(object, 16)
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

// fields reads the members of an object and remembers the first that is of
// another kind than it should be. A member that is absent or null reads as zero.
type fields struct {
	object
	err error
}

func (f *fields) fail(name, want string) {
	if f.err == nil {
		f.err = fmt.Errorf("has a member %q that is not %s", name, want)
	}
}

// has reports whether a member says something.
func (f *fields) has(name string) bool {
	text := f.object[name]
	return text != "" && text != "null" && text != `""`
}

func (f *fields) str(name string) string {
	if !f.has(name) {
		return ""
	}
	if text := f.object[name]; text[0] == '"' {
		return unquote(text)
	}
	f.fail(name, "a string")
	return ""
}

// secret reads a member that holds a token.
func (f *fields) secret(name string) Secret {
	s := f.str(name)
	if s != "" && !validToken(s) {
		f.fail(name, "a token: it is longer than 16 KiB or has characters that no token has")
		return Secret{}
	}
	return NewSecret(strings.Clone(s)) // not the whole text
}

// strs reads a list of strings.
func (f *fields) strs(name string) (list []string) {
	if f.has(name) && json.Unmarshal([]byte(f.object[name]), &list) != nil {
		f.fail(name, "a list of strings")
	}
	return list
}

// seconds reads a lifetime: a number or a string with one, floored and bounded; 0
// means unknown.
func (f *fields) seconds(name string) time.Duration {
	if !f.has(name) {
		return 0
	}
	text := strings.Trim(f.object[name], `"`)
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || strings.Trim(text, "0123456789.+-eE") != "" || n < 0 {
		f.fail(name, "a number of seconds")
		return 0
	}
	if n > maxLifetime.Seconds() {
		return maxLifetime
	}
	return time.Duration(n) * time.Second
}

// maxLeeway bounds what clocks may differ by when times are checked (RFC 7519,
// Section 4.1.4: "no more than a few minutes").
const (
	defaultLeeway = time.Minute
	maxLeeway     = 5 * time.Minute
	maxJWT        = 16 << 10 // bytes
)

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

	authorizedParty, nonce string
	notBefore              time.Time
	claims                 object
}

// splitJWT returns the parts of a compact JWS (RFC 7515, Section 3.1). It looks at the
// length first: what follows must not depend on how much junk somebody sends.
func splitJWT(raw string) (header, payload, signature string, err error) {
	header, rest, _ := strings.Cut(raw, ".")
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

// parseClaims parses the payload of an ID token.
func parseClaims(payload string) (*IDToken, error) {
	data, err := decodePart(payload)
	if err != nil {
		return nil, err
	}
	f := fields{}
	if f.object, err = parseObject(data); err != nil {
		return nil, fmt.Errorf("has claims that are %w", err)
	}
	t := &IDToken{
		Issuer: f.str("iss"), Subject: f.str("sub"), authorizedParty: f.str("azp"), nonce: f.str("nonce"),
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
	if err != nil || n <= 0 || n > 253402300799 { // the year 9999
		f.fail(name, "a time")
		return time.Time{}
	}
	return time.Unix(int64(n), 0)
}

// check checks the claims against what the client expects (OpenID Connect Core, Section
// 3.1.3.7). An empty nonce is not checked.
func (t *IDToken) check(issuer, audience, nonce string, leeway time.Duration, now time.Time) error {
	issuers := []string{issuer}
	if issuer == googleIssuer {
		issuers = append(issuers, "accounts.google.com") // as Google also writes it
	}
	switch {
	case !slices.Contains(issuers, t.Issuer):
		return fmt.Errorf("was issued by %q, not by %q", printable(t.Issuer, maxErrorText), issuer)
	case audience == "" || !slices.Contains(t.Audience, audience) || slices.Contains(t.Audience, ""):
		return fmt.Errorf("is not for the audience %q", audience)
	case t.authorizedParty != "" && t.authorizedParty != audience, len(t.Audience) > 1 && t.authorizedParty == "":
		return fmt.Errorf("was issued to another party than %q", audience)
	case t.Subject == "" || len(t.Subject) > 255:
		return errors.New("has no usable subject (sub)")
	case t.Expiry.IsZero() || t.IssuedAt.IsZero():
		return errors.New("lacks a time of issue or expiry (iat, exp)")
	case !now.Before(t.Expiry.Add(leeway)):
		return fmt.Errorf("expired at %v; if that is not past, check this machine's clock", t.Expiry.UTC())
	case now.Add(leeway).Before(t.IssuedAt) || now.Add(leeway).Before(t.notBefore):
		return fmt.Errorf("was issued at %v, which is in the future; check this machine's clock", t.IssuedAt.UTC())
	case nonce != "" && subtle.ConstantTimeCompare([]byte(t.nonce), []byte(nonce)) != 1:
		return errors.New("belongs to another sign-in: its nonce is not the one sent") // replay, or code injection
	}
	return nil
}
