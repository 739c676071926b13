package oauth2

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// A Secret holds a string that must not be seen: no fmt verb, logger or encoder
// prints it, wherever it is nested, and marshaling one fails instead of losing or
// storing it by accident. The zero value is the empty secret. It is safe for
// concurrent use and is compared by what Reveal returns, not with ==.
type Secret struct {
	// A closure, since fmt can follow neither functions nor, in the unexported
	// field of somebody's struct, call methods.
	reveal func() string
}

// NewSecret returns a Secret that holds s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{func() string { return s }}
}

// Reveal returns the string. It is the only way out: search for it in an audit.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

func (s Secret) empty() bool { return s.reveal == nil }

// Format implements [fmt.Formatter]: every verb prints [secret].
func (s Secret) Format(f fmt.State, verb rune) { io.WriteString(f, "[secret]") }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

var errMarshalSecret = errors.New("oauth2: a Secret is not marshaled; store Credentials with MarshalAuthorizedUser")

// MarshalJSON fails, so that no file or log gets the secret or a redacted copy.
func (s Secret) MarshalJSON() ([]byte, error) { return nil, errMarshalSecret }

// MarshalText fails, so that no file or log gets the secret or a redacted copy.
func (s Secret) MarshalText() ([]byte, error) { return nil, errMarshalSecret }

// randomSecret returns 256 random bits as 43 characters of base64url, which is what RFC 7636,
// Section 4.1, recommends for a verifier.
func randomSecret() Secret {
	b := make([]byte, 32)
	rand.Read(b)
	return NewSecret(base64.RawURLEncoding.EncodeToString(b))
}

// Google's endpoints, which its client files imply or leave out.
const (
	googleIssuer    = "https://accounts.google.com"
	googleTokenURI  = "https://oauth2.googleapis.com/token"
	googleKeysURI   = "https://www.googleapis.com/oauth2/v3/certs"
	googleDeviceURI = "https://oauth2.googleapis.com/device/code"
	googleRevokeURI = "https://oauth2.googleapis.com/revoke"
)

// ClientSecrets is a client as it is registered with an authorization server, and
// that server's endpoints. It comes from a client_secrets.json
// ([ReadClientSecretsFile]) or is filled in by hand. It must not be changed once it is in use, and
// is then safe for concurrent use.
type ClientSecrets struct {
	// Type is "installed" for a program on a person's machine, "web" for a web
	// application. Empty means installed. It decides which redirect URI
	// [InstalledAppFlow] uses.
	Type string
	// ClientID is the client's identifier. It is required.
	ClientID string
	// ClientSecret authenticates the client. It is empty for a public client, and
	// in an installed program it is no secret (RFC 8252, Section 8.5): what
	// protects the sign-in there is PKCE, which is always used.
	ClientSecret Secret
	// AuthURI is the authorization endpoint, where the person signs in. It is
	// required for a [Flow].
	AuthURI string
	// TokenURI is the token endpoint. It is required.
	TokenURI string
	// RedirectURIs are the registered redirect URIs. It may be empty.
	RedirectURIs []string
	// Issuer identifies the authorization server in ID tokens and in redirects
	// (RFC 9207). If empty, neither is checked.
	Issuer string
	// DeviceAuthURI is the device authorization endpoint (RFC 8628). It may be empty.
	DeviceAuthURI string
	// RevocationURI is the revocation endpoint (RFC 7009). It may be empty.
	RevocationURI string
	// KeysURI is where the issuer publishes its keys, for [IDTokenVerifier]. It may be empty.
	KeysURI string
	// AuthMethod is how the client authenticates at the token endpoint, in the words of
	// RFC 7591: client_secret_basic, client_secret_post, private_key_jwt or none. If empty, it is
	// client_secret_basic where there is a secret, private_key_jwt where there is a Key, and
	// else none. No other method is tried when the server refuses this one.
	AuthMethod string
	// Key signs the client's assertions for private_key_jwt (RFC 7523, Section 2.2): an RSA key
	// of 2048 bits or more. It may be nil.
	Key *rsa.PrivateKey
	// KeyID names Key to the server (kid). It may be empty.
	KeyID string
	// HTTPClient sends the requests to the authorization server, but without
	// redirects and cookies. If nil, a client with timeouts is used.
	HTTPClient *http.Client

	issRequired bool // by Discover: every redirect names the issuer
}

// ReadClientSecretsFile reads a client_secrets.json, as Google's console offers it for
// download. See [ParseClientSecrets].
func ReadClientSecretsFile(name string) (*ClientSecrets, error) {
	return parseFile(name, ParseClientSecrets)
}

// ParseClientSecrets parses the text of a client_secrets.json: one object, "web" or
// "installed", with client_id, auth_uri, token_uri and, optionally, client_secret
// and redirect_uris. A file with Google's endpoints implies Google's issuer, key set, device
// and revocation endpoints too. AuthMethod is client_secret_post, as Google's tools
// have it, or none without a secret. Other members are ignored.
func ParseClientSecrets(data []byte) (*ClientSecrets, error) {
	file := parseFields(data)
	c := &ClientSecrets{Type: "installed", AuthMethod: "none"}
	if file.has("web") {
		c.Type = "web"
	}
	typ := file.str("type")
	file.require(typ == "", "is of type %q; download the file of an OAuth client ID", printable(typ, 64))
	file.require(!file.has("web") || !file.has("installed"), "has both \"web\" and \"installed\"; keep the one that is registered")
	file.require(file.has(c.Type), "has neither \"web\" nor \"installed\"; download the file of an OAuth client ID")
	f := parseFields([]byte(file.object[c.Type]))
	c.ClientID, c.ClientSecret = f.str("client_id"), NewSecret(f.str("client_secret"))
	f.require(c.ClientID != "", "has no client_id")
	c.AuthURI, c.TokenURI, c.RedirectURIs = f.endpoint("auth_uri"), f.endpoint("token_uri"), f.strs("redirect_uris")
	if err := cmp.Or(file.err, f.err); err != nil {
		return nil, fmt.Errorf("oauth2: the client secrets file %w", err)
	}
	if !c.ClientSecret.empty() {
		c.AuthMethod = "client_secret_post"
	}
	auth, _ := checkEndpoint(c.AuthURI)
	if token, _ := checkEndpoint(c.TokenURI); auth.Host == "accounts.google.com" && isGoogle(token) {
		c.useGoogle()
	}
	return c, nil
}

// Discover fills in the endpoints, and Issuer, from what the authorization server at issuer, an https
// URL, says of itself (OpenID Connect Discovery; RFC 8414). What it does not mention is left as it is. If
// AuthMethod is empty, it becomes one that the server supports and the client can
// use. If the server promises to name itself in redirects (RFC 9207), one that does not is refused from then
// on. Call it before the client is in use.
func (c *ClientSecrets) Discover(ctx context.Context, issuer string) error {
	u, err := checkEndpoint(issuer)
	if err != nil {
		return fmt.Errorf("oauth2: the issuer %w", err)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return errors.New("oauth2: the issuer has a query (RFC 8414, Section 2)")
	}
	base, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	r := &request{op: "discovering the authorization server", url: base + path + "/.well-known/openid-configuration", client: c.HTTPClient}
	ans := r.do(ctx)
	if e := (*Error)(nil); errors.As(ans.err, &e) && e.StatusCode == http.StatusNotFound { // a server without OpenID
		r.url = base + "/.well-known/oauth-authorization-server" + path
		ans = r.do(ctx)
	}
	f := ans.fields()
	// Else anybody's document could name another server's endpoints (RFC 8414, Section 3.3).
	f.require(f.str("issuer") == issuer, "is of another issuer, %q", printable(f.str("issuer"), maxErrorText))
	found := *c
	found.Issuer, found.issRequired = issuer, f.object["authorization_response_iss_parameter_supported"] == "true"
	for name, to := range map[string]*string{"authorization_endpoint": &found.AuthURI, "token_endpoint": &found.TokenURI, "jwks_uri": &found.KeysURI,
		"device_authorization_endpoint": &found.DeviceAuthURI, "revocation_endpoint": &found.RevocationURI} {
		if f.has(name) {
			*to = f.endpoint(name)
		}
	}
	methods := f.strs("token_endpoint_auth_methods_supported") // by default client_secret_basic
	for _, method := range []string{"private_key_jwt", "client_secret_basic", "client_secret_post"} {
		supported := slices.Contains(methods, method) || methods == nil && method == "client_secret_basic"
		if found.AuthMethod == "" && supported && c.has(method) {
			found.AuthMethod = method
		}
	}
	if f.err != nil {
		return ans.bad(f.err.Error())
	}
	*c = found
	return nil
}

// isGoogle reports whether a token endpoint is Google's.
func isGoogle(token *url.URL) bool {
	return slices.Contains([]string{"oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"}, token.Host)
}

func (c *ClientSecrets) useGoogle() {
	c.Issuer, c.KeysURI, c.DeviceAuthURI, c.RevocationURI = googleIssuer, googleKeysURI, googleDeviceURI, googleRevokeURI
}

// parseFile parses a regular file of at most 1 MiB. A device or a pipe could block, or never end.
func parseFile[T any](name string, parse func([]byte) (T, error)) (v T, err error) {
	var f *os.File
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", name)
	} else if err == nil {
		f, err = os.Open(name)
	}
	if err != nil {
		return v, fmt.Errorf("oauth2: %w", err)
	}
	defer f.Close()
	data, err := readAll(f)
	if err == nil {
		v, err = parse(data)
	}
	if err != nil {
		return v, fmt.Errorf("%w (file %q)", err, name)
	}
	return v, nil
}

// parseTyped parses a file of credentials whose type is the one wanted. A file of another type is
// refused, since it would make another kind of request, to an address of its own choice.
func parseTyped(data []byte, want string) *fields {
	f := parseFields(data)
	typ := f.str("type")
	if typ == "" && (f.has("web") || f.has("installed")) {
		typ = "client_secrets"
	}
	f.require(typ == want || typ == "" && want == "authorized_user", "is of type %q, not %s", printable(typ, 64), want) // Python writes no type
	return f
}

// TokenSource returns a source of tokens for the client itself, without a person: the client
// credentials grant (RFC 6749, Section 4.4). It caches, and is safe for concurrent use.
func (c *ClientSecrets) TokenSource(scopes ...string) TokenSource {
	scope := joinScopes(scopes)
	return &source{get: func(ctx context.Context) (*Token, error) {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
		return c.post(ctx, "signing the client in", c.TokenURI, form, false).token(scope)
	}}
}

// post sends form, with client authentication, to the endpoint uri.
func (c *ClientSecrets) post(ctx context.Context, op, uri string, form url.Values, once bool) *answer {
	if c == nil {
		return &answer{err: errNoClient}
	}
	r := &request{op: op, url: uri, form: form, authenticate: c.authenticate, client: c.HTTPClient, once: once}
	return r.do(ctx)
}

func (c *ClientSecrets) authMethod() string {
	usual := []string{"client_secret_basic", "private_key_jwt", "none"}
	return cmp.Or(c.AuthMethod, usual[slices.IndexFunc(usual, c.has)])
}

// has reports whether c has what an authentication method needs.
func (c *ClientSecrets) has(method string) bool {
	return (c.Key != nil || method != "private_key_jwt") && (!c.ClientSecret.empty() || !strings.HasPrefix(method, "client_secret"))
}

// same reports whether o is the same client at the same server. Google's has several addresses.
func (c *ClientSecrets) same(o *ClientSecrets) bool {
	return c.ClientID == o.ClientID && (c.TokenURI == o.TokenURI || c.Issuer == googleIssuer && o.Issuer == googleIssuer)
}

// authenticate adds the client's authentication to a request (RFC 6749, Section 2.3).
func (c *ClientSecrets) authenticate(form url.Values, header http.Header) error {
	switch method := c.authMethod(); {
	case c.ClientID == "":
		return errors.New("oauth2: the client has no ClientID")
	case c.ClientSecret.empty() && strings.HasPrefix(method, "client_secret"):
		return fmt.Errorf("oauth2: AuthMethod %s needs a ClientSecret", method)
	case method == "client_secret_basic":
		r := &http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret.Reveal())) // encoded first, which many forget (Section 2.3.1)
		return nil
	case method == "client_secret_post":
		form.Set("client_secret", c.ClientSecret.Reveal())
	case method == "private_key_jwt":
		signer, err := newSigner(c.Key, c.KeyID)
		if err != nil {
			return fmt.Errorf("oauth2: the client's Key: %w", err)
		}
		claims := jwtClaims{Issuer: c.ClientID, Subject: c.ClientID, Audience: c.TokenURI, ID: randomSecret().Reveal()}
		assertion, err := signer.sign(time.Now(), clientLifetime, &claims, nil)
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case method != "none":
		return fmt.Errorf("oauth2: AuthMethod %q is not supported", printable(method, 64))
	}
	form.Set("client_id", c.ClientID)
	return nil
}

// checkEndpoint parses the URL of an endpoint. Its errors complete a sentence that
// begins with the endpoint's name, and don't quote the URL, whose query may hold a
// secret.
func checkEndpoint(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("is missing")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		return nil, errors.New("is not a valid URL")
	case u.User != nil:
		return nil, errors.New("has a user name in its URL, which would hide the host")
	case strings.Contains(raw, "#"):
		return nil, errors.New("has a fragment in its URL (RFC 6749, Sections 3.1 and 3.2)")
	case strings.Contains(u.Host, "%") || u.Port() == "0" || strings.HasSuffix(u.Host, ":"):
		return nil, errors.New("has no usable host and port in its URL")
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("is a URL with scheme %q: only https is allowed, and http for 127.0.0.1, [::1] and localhost, since anybody on the way could read the secrets", printable(u.Scheme, 32))
}

// isLoopback reports whether host is this machine: an IP literal, or localhost.
func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() && !ip.Is4In6()
	}
	return host == "localhost" // as net/http spells it where it decides that no proxy is asked
}
