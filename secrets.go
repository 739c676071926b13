package oauth2

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// googleTokenURI is Google's token endpoint, which files of credentials may
// leave out.
const googleTokenURI = "https://oauth2.googleapis.com/token"

// Methods of client authentication, by the names of RFC 7591, Section 2, and of
// OpenID Connect Core, Section 9.
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authKey   = "private_key_jwt"
	authNone  = "none"
)

// ClientSecrets are a client as it is registered with an authorization server,
// and that server's endpoints. They come from a client_secrets.json
// ([ReadClientSecretsFile]) or are filled in by hand. They must not be changed
// once they are in use, and are then safe for concurrent use.
type ClientSecrets struct {
	// Type is "installed" for a program on a user's machine, or "web" for a web
	// application. Empty means installed. It decides which redirect URI
	// [InstalledAppFlow] uses.
	Type string
	// ClientID is the client's identifier. It is required.
	ClientID string
	// ClientSecret authenticates the client. It is empty for a public client. In an
	// installed program it is no secret (RFC 8252, Section 8.5): what protects the
	// sign-in there is PKCE, which is always used.
	ClientSecret Secret
	// AuthURI is the authorization endpoint, where the user signs in. It is
	// required for a [Flow].
	AuthURI string
	// TokenURI is the token endpoint. It is required.
	TokenURI string
	// RedirectURIs are the registered redirect URIs. It may be empty.
	RedirectURIs []string
	// Issuer identifies the authorization server in ID tokens and in redirects (RFC
	// 9207). If empty, neither is checked.
	Issuer string
	// DeviceAuthURI is the device authorization endpoint (RFC 8628). It may be
	// empty.
	DeviceAuthURI string
	// RevocationURI is the revocation endpoint (RFC 7009). It may be empty.
	RevocationURI string
	// KeysURI is where the issuer publishes its keys. It may be empty.
	KeysURI string
	// AuthMethod is how the client authenticates at the token endpoint:
	// client_secret_basic, client_secret_post, private_key_jwt or none (RFC 7591,
	// Section 2). If empty, it is client_secret_basic where there is a
	// ClientSecret, private_key_jwt where there is a Key, and none otherwise. No
	// other method is tried when the server refuses this one.
	AuthMethod string
	// Key signs the client's assertions for private_key_jwt (RFC 7523, Section
	// 2.2). It is an RSA key of 2048 bits or more. It may be nil.
	Key *rsa.PrivateKey
	// KeyID names Key to the server (kid). It may be empty.
	KeyID string
	// HTTPClient sends the requests to the authorization server. Of the client,
	// only Transport and Timeout are used: no redirect is followed, and no cookie
	// is sent. If nil, a client with timeouts is used.
	HTTPClient *http.Client

	issRequired bool     // by Discover: every redirect names the issuer
	foreignAlgs []string // by Discover: what ID tokens are signed with, if nothing known
}

// ReadClientSecretsFile reads a client_secrets.json, as Google's console offers
// it for download. See [ParseClientSecrets].
func ReadClientSecretsFile(name string) (*ClientSecrets, error) {
	return parseFile(name, ParseClientSecrets)
}

// ParseClientSecrets parses the text of a client_secrets.json: one object,
// "web" or "installed", with client_id, auth_uri, token_uri and, optionally,
// client_secret and redirect_uris. A file with Google's endpoints implies
// Google's issuer, key set, device and revocation endpoints. AuthMethod is
// client_secret_post, as in Google's tools, or none if there is no secret.
// Other members are ignored.
func ParseClientSecrets(data []byte) (*ClientSecrets, error) {
	file := parseFields(data)
	if typ := file.str("type"); typ != "" {
		file.fail("is of type %q; download the file of an OAuth client ID", printable(typ, 64))
	}
	if file.has("web") == file.has("installed") {
		file.fail(`has both or neither of "web" and "installed"; download it once more`)
	}
	section := "installed"
	if file.has("web") {
		section = "web"
	}
	f := file.nested(section)
	f.err = cmp.Or(file.err, f.err)
	c := &ClientSecrets{
		Type:         section,
		ClientID:     f.str("client_id"),
		ClientSecret: NewSecret(f.str("client_secret")),
		AuthURI:      f.endpoint("auth_uri"),
		TokenURI:     f.endpoint("token_uri"),
		RedirectURIs: f.strs("redirect_uris"),
		AuthMethod:   authPost,
	}
	if c.ClientID == "" {
		f.fail("has no client_id")
	}
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the client secrets file %w", f.err)
	}
	if c.ClientSecret.empty() {
		c.AuthMethod = authNone
	}
	if origin(c.AuthURI) == googleIssuer && isGoogle(c.TokenURI) {
		c.useGoogle()
	}
	return c, nil
}

// isGoogle reports whether a token endpoint is Google's.
func isGoogle(tokenURI string) bool {
	switch origin(tokenURI) {
	case "https://oauth2.googleapis.com", googleIssuer, "https://www.googleapis.com":
		return true
	}
	return false
}

// useGoogle sets what a file with Google's endpoints implies.
func (c *ClientSecrets) useGoogle() {
	c.Issuer = googleIssuer
	c.KeysURI = googleKeysURI
	c.DeviceAuthURI = "https://oauth2.googleapis.com/device/code"
	c.RevocationURI = "https://oauth2.googleapis.com/revoke"
}

// IDTokenVerifier returns a verifier for the ID tokens that the client's issuer
// issues to the client. Its HTTPClient is the client's. If the client has no
// Issuer, Verify returns an error. Keep the verifier: it caches the issuer's
// keys.
func (c *ClientSecrets) IDTokenVerifier() *IDTokenVerifier {
	return &IDTokenVerifier{
		Issuer:      c.Issuer,
		Audience:    c.ClientID,
		KeysURI:     c.KeysURI,
		HTTPClient:  c.HTTPClient,
		needsIssuer: true,
		foreignAlgs: c.foreignAlgs,
	}
}

// Discover sets Issuer and the endpoints to what the authorization server at
// issuer, an https URL, says of itself (OpenID Connect Discovery; RFC 8414). An
// endpoint that it does not mention is cleared. If AuthMethod is empty,
// Discover sets it to one that the server supports and the client can use. If
// the server promises to name itself in redirects (RFC 9207), a redirect that
// does not is refused from then on. For Microsoft Entra's issuers "common" and
// "organizations", Issuer becomes the one with {tenantid} in it. Call it before
// the client is in use. If it fails, nothing is changed.
func (c *ClientSecrets) Discover(ctx context.Context, issuer string) error {
	ans, err := c.fetchMetadata(ctx, issuer)
	if err != nil {
		return err
	}
	f := ans.fields()
	found := *c
	found.Issuer = f.str("issuer")
	if found.Issuer != documentIssuer(issuer) {
		// Anybody's document could name another server's endpoints (RFC 8414, Section
		// 3.3).
		f.fail("is of another issuer, %q", printable(found.Issuer, maxErrorText))
	}
	found.readMetadata(f)
	if f.err != nil {
		return ans.unusable(f.err)
	}
	*c = found
	return nil
}

// documentIssuer returns the issuer that the document of the server at issuer
// must name: the same, but for Microsoft Entra's users of all tenants.
func documentIssuer(issuer string) string {
	for _, host := range []string{
		"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn",
	} {
		switch issuer {
		case "https://" + host + "/common/v2.0", "https://" + host + "/organizations/v2.0":
			return "https://" + host + "/{tenantid}/v2.0"
		}
	}
	return issuer
}

// fetchMetadata fetches the document in which the server at issuer describes
// itself.
func (c *ClientSecrets) fetchMetadata(ctx context.Context, issuer string) (*answer, error) {
	u, err := checkEndpoint(issuer)
	if err != nil {
		return nil, fmt.Errorf("oauth2: the issuer %w", err)
	}
	if strings.Contains(issuer, "?") {
		return nil, errors.New("oauth2: the issuer has a query (RFC 8414, Section 2)")
	}
	server := origin(issuer)
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	r := &request{
		op:     "discovering the authorization server",
		url:    server + path + "/.well-known/openid-configuration",
		client: c.HTTPClient,
	}
	ans, err := r.do(ctx)
	var e *Error
	// A path that is not there has any status of 4xx, or some page.
	isAbsent := errors.As(err, &e) && e.StatusCode/100 == 4 && !e.temporary
	if isAbsent || err == nil && ans.members == nil { // a server without OpenID
		r.url = server + "/.well-known/oauth-authorization-server" + path
		ans, err = r.do(ctx)
	}
	return ans, err
}

// readMetadata sets what a server's metadata mention (RFC 8414, Section 2).
func (c *ClientSecrets) readMetadata(f *fields) {
	c.issRequired = f.object["authorization_response_iss_parameter_supported"] == "true"
	isRemote := hasScheme(c.Issuer, "https")
	endpoint := func(name string) string {
		if !f.has(name) {
			return "" // and not another server's
		}
		uri := f.endpoint(name)
		if isRemote && hasScheme(uri, "http") {
			f.fail("has a %s on this machine, where another program may listen", name)
		}
		return uri
	}
	c.AuthURI = endpoint("authorization_endpoint")
	c.TokenURI = endpoint("token_endpoint")
	c.KeysURI = endpoint("jwks_uri")
	c.DeviceAuthURI = endpoint("device_authorization_endpoint")
	c.RevocationURI = endpoint("revocation_endpoint")
	c.foreignAlgs = f.strs("id_token_signing_alg_values_supported")
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		if slices.Contains(c.foreignAlgs, alg) {
			c.foreignAlgs = nil
		}
	}
	methods := f.strs("token_endpoint_auth_methods_supported")
	if methods == nil {
		methods = []string{authBasic} // the default
	}
	order := []string{authKey, authBasic, authPost}
	plain := c.ClientID + c.ClientSecret.Reveal()
	if url.QueryEscape(plain) != plain { // which not every server decodes for client_secret_basic
		slices.Reverse(order[1:])
	}
	for _, method := range order {
		if c.AuthMethod == "" && slices.Contains(methods, method) && c.canUse(method) {
			c.AuthMethod = method
		}
	}
}

// hasScheme reports whether a URL has a scheme, which may be in capitals.
func hasScheme(uri, scheme string) bool {
	before, _, _ := strings.Cut(uri, ":")
	return strings.EqualFold(before, scheme)
}

// canUse reports whether c has what a method of client authentication needs.
func (c *ClientSecrets) canUse(method string) bool {
	switch method {
	case authKey:
		return c.Key != nil
	case authBasic, authPost:
		return !c.ClientSecret.empty()
	}
	return true
}

// same reports whether other is the same client at the same server. Google's
// server has several addresses.
func (c *ClientSecrets) same(other *ClientSecrets) bool {
	bothGoogle := c.Issuer == googleIssuer && other.Issuer == googleIssuer
	sameServer := c.TokenURI == other.TokenURI || bothGoogle
	return c.ClientID == other.ClientID && sameServer
}

// request returns a request that posts form, with client authentication, to an
// endpoint. httpClient replaces the client's own, unless it is nil.
func (c *ClientSecrets) request(
	op, endpoint string, form url.Values, httpClient *http.Client,
) *request {
	return &request{
		op:   op,
		url:  endpoint,
		form: form,
		authenticate: func(form url.Values, header http.Header) error {
			return c.authenticate(endpoint, form, header)
		},
		client: cmp.Or(httpClient, c.HTTPClient),
	}
}

func (c *ClientSecrets) authMethod() string {
	switch {
	case c.AuthMethod != "":
		return c.AuthMethod
	case !c.ClientSecret.empty():
		return authBasic
	case c.Key != nil:
		return authKey
	}
	return authNone
}

// authenticate adds the client's authentication to a request to an endpoint
// (RFC 6749, Section 2.3).
func (c *ClientSecrets) authenticate(endpoint string, form url.Values, header http.Header) error {
	if c.ClientID == "" {
		return errors.New("oauth2: the client has no ClientID")
	}
	method := c.authMethod()
	if !c.canUse(method) {
		return fmt.Errorf("oauth2: AuthMethod %s needs a ClientSecret, or else a Key", method)
	}
	switch method {
	case authBasic:
		// Both are encoded first, which many forget (RFC 6749, Section 2.3.1).
		r := &http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret.Reveal()))
		return nil
	case authPost:
		form.Set("client_secret", c.ClientSecret.Reveal())
	case authKey:
		if origin(endpoint) != origin(c.TokenURI) {
			// Who has the assertion could use it at the token endpoint.
			return errors.New("oauth2: private_key_jwt works at the origin of TokenURI only")
		}
		assertion, err := c.assertion()
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case authNone:
	default:
		return fmt.Errorf("oauth2: AuthMethod %q is not supported", printable(method, 64))
	}
	form.Set("client_id", c.ClientID)
	return nil
}

// origin returns the scheme, host and port of an endpoint's URL.
func origin(endpoint string) string {
	_, rest, _ := strings.Cut(endpoint, "//")
	end := strings.IndexAny(rest+"/", "/?")
	return strings.ToLower(strings.TrimSuffix(endpoint, rest[end:]))
}

// assertion returns a JWT that the client authenticates with (RFC 7523, Section
// 3).
func (c *ClientSecrets) assertion() (string, error) {
	signer, err := newSigner(c.Key, c.KeyID)
	if err != nil {
		return "", fmt.Errorf("oauth2: the client's Key: %w", err)
	}
	claims := &jwtClaims{
		Issuer:   c.ClientID,
		Subject:  c.ClientID,
		Audience: c.TokenURI,
		ID:       randomSecret().Reveal(),
	}
	return signer.sign(time.Now(), 5*time.Minute, claims, nil) // it is used at once
}

// parseFile parses a regular file of at most 1 MiB. A device or a pipe could
// block, or never end.
func parseFile[T any](name string, parse func([]byte) (T, error)) (T, error) {
	var none T
	if err := checkFileName(name); err != nil {
		return none, err
	}
	data, err := readFile(name)
	if err != nil {
		return none, fmt.Errorf("oauth2: reading %q: %w", name, err)
	}
	v, err := parse(data)
	if err != nil {
		return none, fmt.Errorf("%w (file %q)", err, name)
	}
	return v, nil
}

// checkFileName refuses the content of a file in place of its name, as CI
// systems pass a secret. It must not be quoted.
func checkFileName(name string) error {
	isContent := len(name) > 1<<10 || strings.ContainsAny(name, "\r\n")
	if isContent || strings.HasPrefix(strings.TrimSpace(name), "{") {
		return errors.New("oauth2: the name of the file holds the JSON, not the name of a file")
	}
	return nil
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name) // first, since opening a pipe could block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

// parseTyped parses a file of credentials whose type must be the one wanted. A
// file of another type would make another kind of request, to an address of its
// choice.
func parseTyped(data []byte, want string) *fields {
	f := parseFields(data)
	typ := f.str("type")
	if typ == "" && (f.has("web") || f.has("installed")) {
		typ = "client_secrets"
	}
	isUntyped := typ == "" && want == "authorized_user" // as Python writes it
	if typ != want && !isUntyped {
		f.fail("is of type %q, not %s", printable(typ, 64), want)
	}
	return f
}
