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
	"regexp"
	"slices"
	"strings"
	"time"
)

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
	// required for a [Flow]. Parameters in its query count like those of
	// [Flow.Params].
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

	issRequired bool   // by Discover: every redirect names the issuer
	foreignAlgs string // by Discover: what ID tokens are signed with, if nothing known
}

// ReadClientSecretsFile reads a client_secrets.json, as Google's console offers
// it for download. See [ParseClientSecrets].
func ReadClientSecretsFile(name string) (*ClientSecrets, error) {
	return parseFile(name, ParseClientSecrets)
}

// ParseClientSecrets parses the text of a client_secrets.json: one object,
// "web" or "installed", with client_id, auth_uri, token_uri and, optionally,
// client_secret and redirect_uris. Google's token endpoint implies Google's
// issuer, key set, device and revocation endpoints. AuthMethod is
// client_secret_post, as in Google's tools, or none if there is no secret. For
// other servers, issuer, revocation_uri and token_endpoint_auth_method may be
// there too, as in the files of [Credentials]. Other members are ignored.
func ParseClientSecrets(data []byte) (*ClientSecrets, error) {
	file := parseTyped(data, "client_secrets")
	isWeb := file.has("web")
	if isWeb == file.has("installed") {
		file.fail(`has both or neither of "web" and "installed"; download it once more`)
	}
	section := "installed"
	if isWeb {
		section = "web"
	}
	f := file.nested(section)
	f.err = cmp.Or(file.err, f.err)
	c := f.client()
	c.Type = section
	c.AuthURI = f.endpoint("auth_uri")
	c.TokenURI = f.endpoint("token_uri") // which must be there in this file
	c.RedirectURIs = f.list("redirect_uris")
	if c.ClientID == "" {
		f.fail("has no client_id")
	}
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the client secrets file %w", f.err)
	}
	return c, nil
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

// client reads the client of a file, and sets what follows from the rest of it.
func (f *fields) client() *ClientSecrets {
	c := &ClientSecrets{
		ClientID:      f.str("client_id"),
		ClientSecret:  NewSecret(f.str("client_secret")),
		TokenURI:      "https://oauth2.googleapis.com/token", // if the file has none
		Issuer:        f.str("issuer"),
		RevocationURI: f.str("revocation_uri"),
		AuthMethod:    cmp.Or(f.str("token_endpoint_auth_method"), authPost),
	}
	if f.has("token_uri") {
		c.TokenURI = f.endpoint("token_uri")
	}
	if c.AuthMethod == authPost && c.ClientSecret.empty() {
		c.AuthMethod = authNone
	}
	switch origin(c.TokenURI) {
	case "https://oauth2.googleapis.com", googleIssuer, "https://www.googleapis.com":
		c.Issuer = googleIssuer
		c.KeysURI = googleKeysURI
		c.DeviceAuthURI = "https://oauth2.googleapis.com/device/code"
		c.RevocationURI = "https://oauth2.googleapis.com/revoke"
	}
	return c
}

// members returns what client reads, for a file of credentials.
func (c *ClientSecrets) members() map[string]any {
	file := map[string]any{
		"token_uri":     c.TokenURI,
		"client_id":     c.ClientID,
		"client_secret": c.ClientSecret.Reveal(),
	}
	if c.Issuer != googleIssuer {
		file["issuer"] = c.Issuer
		file["revocation_uri"] = c.RevocationURI
		file["token_endpoint_auth_method"] = c.authMethod()
	}
	return file
}

// Discover sets Issuer and the endpoints to what the authorization server at
// issuer, an https URL, says of itself (OpenID Connect Discovery; RFC 8414). An
// endpoint that it does not mention is cleared. If AuthMethod is empty,
// Discover sets it to one that the server supports and the client can use,
// unless the default will do. If the server promises to name itself in
// redirects (RFC 9207), a redirect that does not is refused from then on. For
// Microsoft Entra's issuers "common" and "organizations", Issuer becomes the
// one with {tenantid} in it. Call it before the client is in use. If it fails,
// nothing is changed.
func (c *ClientSecrets) Discover(ctx context.Context, issuer string) error {
	_, err := checkEndpoint(issuer)
	if err != nil {
		return fmt.Errorf("oauth2: the issuer %w", err)
	}
	if strings.Contains(issuer, "?") {
		return errors.New("oauth2: the issuer has a query (RFC 8414, Section 2)")
	}
	address := strings.TrimSuffix(issuer, "/")
	r := &request{
		op:     "discovering the authorization server",
		url:    address + "/.well-known/openid-configuration",
		client: c.HTTPClient,
	}
	ans, err := r.do(ctx)
	e := asError(err)
	// A path that is not there has any status of 4xx, or some page.
	isAbsent := e.StatusCode/100 == 4 && !e.temporary
	if isAbsent || err == nil && ans.object == nil { // a server without OpenID
		// Before the path.
		r.url = originPattern.ReplaceAllString(address, "$0/.well-known/oauth-authorization-server")
		ans, err = r.do(ctx)
	}
	if err != nil {
		return err
	}
	f := ans.fields
	found := *c
	found.Issuer = f.str("issuer")
	if found.Issuer != allTenants.ReplaceAllString(issuer, "$1{tenantid}/v2.0") {
		// Anybody's document could name another server's endpoints (RFC 8414, Section
		// 3.3).
		f.fail("is of another issuer, %+.256q", found.Issuer)
	}
	found.readMetadata(&f)
	if f.err != nil {
		return ans.unusable(f.err)
	}
	*c = found
	return nil
}

// allTenants matches the issuers of Microsoft Entra for users of all tenants.
// The document of such a server names the issuer with {tenantid} in it.
var allTenants = regexp.MustCompile(
	`^(https://login\.(partner\.)?microsoftonline\.(com|us|cn)/)(common|organizations)/v2\.0$`)

// readMetadata sets what a server's metadata mention (RFC 8414, Section 2).
func (c *ClientSecrets) readMetadata(f *fields) {
	c.issRequired = f.object["authorization_response_iss_parameter_supported"] == "true"
	isRemote := strings.HasPrefix(origin(c.Issuer), "https:")
	endpoint := func(name string) string {
		if !f.has(name) {
			return "" // and not another server's
		}
		uri := f.endpoint(name)
		if isRemote && strings.HasPrefix(origin(uri), "http:") {
			f.fail("has a %s on this machine, where another program may listen", name)
		}
		return uri
	}
	c.AuthURI = endpoint("authorization_endpoint")
	c.TokenURI = endpoint("token_endpoint")
	c.KeysURI = endpoint("jwks_uri")
	c.DeviceAuthURI = endpoint("device_authorization_endpoint")
	c.RevocationURI = endpoint("revocation_endpoint")
	c.foreignAlgs = strings.Join(f.list("id_token_signing_alg_values_supported"), " ")
	if regexp.MustCompile(`\b(RS256|ES256|EdDSA)\b`).MatchString(c.foreignAlgs) {
		c.foreignAlgs = ""
	}
	// Without a choice, client_secret_basic is left, which is the default.
	methods := f.list("token_endpoint_auth_methods_supported")
	choose := func(method string, canUse bool) {
		if canUse && c.AuthMethod == "" && slices.Contains(methods, method) {
			c.AuthMethod = method
		}
	}
	hasSecret := !c.ClientSecret.empty()
	plain := c.ClientID + c.ClientSecret.Reveal()
	choose(authKey, c.Key != nil)
	// Not every server decodes what client_secret_basic has to encode.
	choose(authBasic, hasSecret && url.QueryEscape(plain) == plain)
	choose(authPost, hasSecret)
}

// same reports whether other is the same client at the same server. Google's
// server has several addresses.
func (c *ClientSecrets) same(other *ClientSecrets) bool {
	sameServer := c.TokenURI == other.TokenURI ||
		c.Issuer == googleIssuer && other.Issuer == googleIssuer
	return c.ClientID == other.ClientID && sameServer
}

// request returns a request that posts form, with client authentication, to the
// token endpoint. httpClient replaces the client's own, unless it is nil.
func (c *ClientSecrets) request(op string, form url.Values, httpClient *http.Client) *request {
	return &request{
		op:           op,
		url:          c.TokenURI,
		form:         form,
		authenticate: c.authenticate,
		client:       cmp.Or(httpClient, c.HTTPClient),
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

// authenticate adds the client's authentication to req, or to the form that it
// will have as its body (RFC 6749, Section 2.3).
func (c *ClientSecrets) authenticate(form url.Values, req *http.Request) error {
	if c.ClientID == "" {
		return errors.New("oauth2: the client has no ClientID")
	}
	secret := c.ClientSecret.Reveal()
	switch c.authMethod() {
	case authBasic:
		// Both are encoded first, which many forget (RFC 6749, Section 2.3.1).
		req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(secret))
		return nil
	case authPost:
		form.Set("client_secret", secret)
	case authKey:
		if origin(req.URL.String()) != origin(c.TokenURI) {
			// Who has the assertion could use it at the token endpoint.
			return errors.New("oauth2: private_key_jwt works at the origin of TokenURI only")
		}
		signer, err := newSigner(c.Key, c.KeyID)
		if err != nil {
			return fmt.Errorf("oauth2: the client's Key: %w", err)
		}
		// RFC 7523, Section 3. It is used at once. newSigner has tried the key.
		assertion, _ := signer.sign(time.Now(), 5*time.Minute, &jwtClaims{
			Issuer:   c.ClientID,
			Subject:  c.ClientID,
			Audience: c.TokenURI,
			ID:       randomSecret().Reveal(),
		}, nil)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case authNone:
	default:
		return fmt.Errorf("oauth2: AuthMethod %+.64q is not supported", c.AuthMethod)
	}
	form.Set("client_id", c.ClientID)
	return nil
}

// origin returns the scheme, host and port of an endpoint's URL.
func origin(endpoint string) string {
	return strings.ToLower(originPattern.FindString(endpoint))
}

var originPattern = regexp.MustCompile("^.*?//[^/?]*")

// revoke makes the server forget the grant of a token.
func (c *ClientSecrets) revoke(
	ctx context.Context, t *Token, httpClient *http.Client,
) error {
	token := cmp.Or(t.RefreshToken.Reveal(), t.AccessToken.Reveal())
	if token == "" {
		return loginRequired("the credentials have no token to revoke")
	}
	// Without a hint, which servers need not know (RFC 7009, Section 2.1).
	form := url.Values{"token": {token}}
	r := c.request("revoking the token", form, httpClient)
	r.url = c.RevocationURI
	_, err := r.do(ctx)
	code := asError(err).Code
	if code == "invalid_token" || isDeadGrant(code) {
		return nil // it is forgotten already
	}
	return err
}

// isDeadGrant reports whether an error code means that a refresh token no
// longer works (RFC 6749, Section 5.2; OpenID Connect Core, Section 3.1.2.6),
// by one of the names that providers have for it.
var isDeadGrant = regexp.MustCompile("^(invalid_grant|(bad|invalid)_refresh_token|" +
	"(interaction|login|consent|account_selection)_required)$").MatchString

// isReserved reports whether a parameter carries the protocol. If callers could
// set these, a value that came from outside could replace the package's own.
var isReserved = regexp.MustCompile("^(response_type|client_id|redirect_uri|scope|state|nonce|" +
	"code|code_(verifier|challenge|challenge_method)|request|request_uri|grant_type|device_code|" +
	"refresh_token|assertion|client_(secret|assertion|assertion_type))$").MatchString

// checkTokenParams allows scope, which the package does not need there.
func checkTokenParams(params url.Values) error {
	for name := range params {
		if isReserved(name) && name != "scope" {
			return fmt.Errorf("oauth2: TokenParams has %q, which the package sets itself", name)
		}
	}
	return nil
}

// parseFile parses a regular file of at most 1 MiB. A device or a pipe could
// block, or never end.
func parseFile[T any](name string, parse func([]byte) (T, error)) (v T, err error) {
	if err := checkFileName(name); err != nil {
		return v, err
	}
	data, err := readFile(name)
	if err != nil {
		return v, fmt.Errorf("oauth2: reading %q: %w", name, err)
	}
	v, err = parse(data)
	if err != nil {
		err = fmt.Errorf("%w (file %q)", err, name)
	}
	return v, err
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name) // first, since opening a pipe could block
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() == 0: // also one of /proc, which may block, or never end
		return nil, nil
	case info.Size() > maxBody:
		return nil, errTooLarge
	}
	return os.ReadFile(name)
}

// checkFileName refuses the content of a file in place of its name, as CI
// systems pass a secret. It must not be quoted.
func checkFileName(name string) error {
	isContent, _ := regexp.MatchString(`^\s*\{|[\r\n]`, name)
	if isContent || len(name) > 1<<10 {
		return errors.New("oauth2: the name of the file holds the JSON, not the name of a file")
	}
	return nil
}

// parseTyped parses a file of credentials whose type must be the one wanted. A
// file of another type would make another kind of request, to an address of its
// choice.
func parseTyped(data []byte, want string) *fields {
	f := parseFields(data)
	typ := f.str("type")
	if typ == "" && (f.has("web") || f.has("installed")) {
		typ = "client_secrets" // which has none
	}
	isUntyped := typ == "" && want != "service_account" // as Python writes users' files
	if typ != want && !isUntyped {
		f.fail("is of type %+.64q, not %s", typ, want)
	}
	if universe := f.str("universe_domain"); universe != "" && universe != "googleapis.com" {
		f.fail("is of the universe %+.255q, whose endpoints are elsewhere", universe)
	}
	return f
}
