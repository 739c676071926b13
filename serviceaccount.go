package oauth2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	assertionLifetime   = time.Hour
	cloudPlatformScope  = "https://www.googleapis.com/auth/cloud-platform"
	impersonationSuffix = ":generateAccessToken"
)

var errNoAudience = errors.New("oauth2: an ID token needs an audience")

// ServiceAccountCredentials sign a server in with the key of a service account
// (RFC 7523, Section 2.1). They are a [TokenSource] and come from
// [ReadServiceAccountFile] or [ParseServiceAccount]. The fields must not be
// changed after the first call; the With methods return copies, each with a
// cache of its own. They are safe for concurrent use.
type ServiceAccountCredentials struct {
	// Email is the service account's address (client_email).
	Email string
	// KeyID names the key (private_key_id). It may be empty.
	KeyID string
	// TokenURI is the token endpoint (token_uri), and the audience of every
	// assertion: what another server is given is worth nothing elsewhere.
	TokenURI string
	// ProjectID is the project of the account (project_id). It may be empty.
	ProjectID string
	// QuotaProject is the project that API calls are counted against, sent as the
	// header X-Goog-User-Project (quota_project_id). If empty, it is the account's
	// own.
	QuotaProject string
	// Scopes are asked for.
	Scopes []string
	// Subject is the user on whose behalf the account acts, by domain-wide
	// delegation. If empty, the account acts for itself.
	Subject string
	// Claims are added to the assertions. They can't replace those that the package
	// sets. It may be nil.
	Claims map[string]any
	// HTTPClient sends the token requests, as [ClientSecrets.HTTPClient] does. If
	// nil, a client with timeouts is used.
	HTTPClient *http.Client

	signer     *signer
	selfSigned bool   // the token is a JWT of the account's own
	idToken    bool   // the assertion is exchanged for an ID token
	audience   string // of the self-signed token or the ID token
	cache      *tokenCache
}

// ReadServiceAccountFile reads the key file of a service account. See
// [ParseServiceAccount].
func ReadServiceAccountFile(name string, scopes ...string) (*ServiceAccountCredentials, error) {
	return parseFile(name, func(data []byte) (*ServiceAccountCredentials, error) {
		return ParseServiceAccount(data, scopes...)
	})
}

// ParseServiceAccount parses the key file of a service account, as Google's
// console offers it. Its type must be service_account, and its key an RSA key
// of 2048 bits or more, in PKCS #8 or PKCS #1. The key is tried: one that does
// not work is an error.
func ParseServiceAccount(data []byte, scopes ...string) (*ServiceAccountCredentials, error) {
	f := parseTyped(data, "service_account")
	s := &ServiceAccountCredentials{
		Email:        f.str("client_email"),
		KeyID:        f.str("private_key_id"),
		TokenURI:     f.endpoint("token_uri"),
		ProjectID:    f.str("project_id"),
		QuotaProject: f.project(),
		Scopes:       scopeList(scopes...),
		cache:        new(tokenCache),
	}
	if s.Email == "" {
		f.fail("has no client_email")
	}
	key, err := parsePrivateKey(f.str("private_key"))
	if err == nil {
		s.signer, err = newSigner(key, s.KeyID)
	}
	if err != nil {
		f.fail("can't be used: %w", err)
	}
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the service account file %w", f.err)
	}
	return s, nil
}

// clone returns a copy with a cache of its own.
func (s *ServiceAccountCredentials) clone() *ServiceAccountCredentials {
	c := *s
	c.Scopes = slices.Clone(s.Scopes)
	c.Claims = maps.Clone(s.Claims)
	c.cache = new(tokenCache)
	return &c
}

// WithScopes returns a copy that asks for scopes.
func (s *ServiceAccountCredentials) WithScopes(scopes ...string) *ServiceAccountCredentials {
	c := s.clone()
	c.Scopes = scopeList(scopes...)
	return c
}

// WithSubject returns a copy that acts on behalf of user, an e-mail address, by
// domain-wide delegation.
func (s *ServiceAccountCredentials) WithSubject(user string) *ServiceAccountCredentials {
	c := s.clone()
	c.Subject = user
	return c
}

// WithAudience returns a copy whose access tokens are JWTs that it signs
// itself, without any request, for the API at audience, such as
// "https://pubsub.googleapis.com/". If audience is empty, they are for the
// Scopes instead. Such a token has no Subject.
func (s *ServiceAccountCredentials) WithAudience(audience string) *ServiceAccountCredentials {
	c := s.clone()
	c.selfSigned = true
	c.idToken = false
	c.audience = audience
	return c
}

// IDTokenSource returns a source of ID tokens for audience, such as the URL of
// a Cloud Run service, in place of access tokens.
func (s *ServiceAccountCredentials) IDTokenSource(audience string) TokenSource {
	c := s.clone()
	c.selfSigned = false
	c.idToken = true
	c.audience = audience
	return c
}

// Token returns an access token; it implements [TokenSource]. Its error is an
// [*Error] of the token endpoint, or the reason why ctx ended.
func (s *ServiceAccountCredentials) Token(ctx context.Context) (*Token, error) {
	if s.signer == nil {
		return nil, errors.New("oauth2: the account has no key; make it with ParseServiceAccount")
	}
	return s.cache.token(ctx, s)
}

func (s *ServiceAccountCredentials) owner() (TokenSource, *tokenCache, string) {
	return s, s.cache, s.QuotaProject
}

func (s *ServiceAccountCredentials) fetch(ctx context.Context, _ bool) (*Token, error) {
	now := time.Now()
	jwt, err := s.sign(now)
	if err != nil {
		return nil, err
	}
	if s.selfSigned {
		return &Token{
			AccessToken: NewSecret(jwt),
			Expiry:      now.Add(assertionLifetime - backdate).Round(0),
			Scopes:      s.Scopes,
		}, nil
	}
	r := &request{
		op:  "signing in as " + printable(s.Email, 256),
		url: s.TokenURI,
		form: url.Values{ // RFC 7523, Section 2.1
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
			"assertion":  {jwt},
		},
		client: s.HTTPClient,
	}
	ans, err := r.do(ctx)
	if err != nil {
		return nil, err
	}
	if s.idToken {
		return ans.idToken(ans.fields().str("id_token"))
	}
	return ans.token(joinScopes(s.Scopes))
}

// sign returns a JWT of the account: the access token if the account signs that
// itself, and otherwise the assertion to exchange.
func (s *ServiceAccountCredentials) sign(now time.Time) (string, error) {
	for name := range s.Claims {
		if isReservedClaim(name) {
			return "", fmt.Errorf("oauth2: Claims has %q, which the package sets itself", name)
		}
	}
	claims := &jwtClaims{
		Issuer:   s.Email,
		Subject:  s.Subject,
		Audience: s.TokenURI,
	}
	switch {
	case s.idToken && s.audience == "":
		return "", errNoAudience
	case s.idToken:
		claims.TargetAudience = s.audience
	case s.selfSigned && s.Subject != "":
		return "", errors.New("oauth2: a token WithAudience can't act for a Subject")
	case s.selfSigned:
		claims.Subject = s.Email
		claims.Audience = s.audience
	}
	if s.audience == "" { // a token has one or the other
		claims.Scope = strings.Join(s.Scopes, " ")
	}
	return s.signer.sign(now, assertionLifetime, claims, s.Claims)
}

// idToken returns an ID token that is to be used as an access token.
func (a *answer) idToken(raw string) (*Token, error) {
	claims, err := parseClaims(raw)
	if err != nil || !validToken(raw) || claims.Expiry.IsZero() {
		return nil, a.unusable("has no usable ID token")
	}
	return &Token{
		AccessToken: NewSecret(raw),
		Expiry:      claims.Expiry,
	}, nil
}

// ComputeCredentials are the identity of the machine that the program runs on,
// as the metadata server of Compute Engine, GKE, Cloud Run, Cloud Functions and
// App Engine hands it out. They are a [TokenSource]. The zero value is the
// default service account. The fields must not be changed after the first call.
// They are safe for concurrent use.
//
// The server is asked at 169.254.169.254, or where GCE_METADATA_HOST says (a
// host, or host:port), never through a proxy.
type ComputeCredentials struct {
	// Account is the e-mail address of the service account. If empty, it is the
	// default one.
	Account string
	// Scopes are asked for. If empty, the token has the scopes of the machine.
	Scopes []string
	// QuotaProject is the project that API calls are counted against, sent as the
	// header X-Goog-User-Project. If empty, it is the account's own.
	QuotaProject string

	cache tokenCache
}

// Token returns an access token; it implements [TokenSource]. Its error is an
// [*Error] of the metadata server, or the reason why ctx ended.
func (c *ComputeCredentials) Token(ctx context.Context) (*Token, error) {
	return c.cache.token(ctx, c)
}

func (c *ComputeCredentials) owner() (TokenSource, *tokenCache, string) {
	return c, &c.cache, c.QuotaProject
}

func (c *ComputeCredentials) fetch(ctx context.Context, _ bool) (*Token, error) {
	leaf := "token"
	if len(c.Scopes) > 0 {
		leaf += "?scopes=" + url.QueryEscape(strings.Join(c.Scopes, ","))
	}
	ans, err := c.get(ctx, leaf)
	if err != nil {
		return nil, err
	}
	return ans.token(joinScopes(c.Scopes))
}

// IDTokenSource returns a source of ID tokens for audience, such as the URL of
// a Cloud Run service, in place of access tokens.
func (c *ComputeCredentials) IDTokenSource(audience string) TokenSource {
	get := func(ctx context.Context) (*Token, error) {
		if audience == "" {
			return nil, errNoAudience
		}
		ans, err := c.get(ctx, "identity?format=full&audience="+url.QueryEscape(audience))
		if err != nil {
			return nil, err
		}
		return ans.idToken(strings.TrimSpace(string(ans.body)))
	}
	return &cachedSource{get: get, quotaProject: c.QuotaProject}
}

// ProjectID returns the project of the machine.
func (c *ComputeCredentials) ProjectID(ctx context.Context) (string, error) {
	return text(metadata(ctx, "project/project-id"))
}

// Email returns the e-mail address of the service account.
func (c *ComputeCredentials) Email(ctx context.Context) (string, error) {
	return text(c.get(ctx, "email"))
}

// get asks for something of the account.
func (c *ComputeCredentials) get(ctx context.Context, leaf string) (*answer, error) {
	account := cmp.Or(c.Account, "default")
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	return metadata(ctx, "instance/service-accounts/"+account+"/"+leaf)
}

// checkAccount returns an error if account can't be the address of a service
// account: it becomes part of a URL's path, and must not lead elsewhere.
func checkAccount(account string) error {
	isAddress, _ := regexp.MatchString(`^\w[\w@.-]*$`, account)
	if !isAddress {
		return errors.New("oauth2: Account is not the address of a service account")
	}
	return nil
}

// metadataClient uses no proxy, which could read the machine's tokens. Nothing
// changes it.
var metadataClient = &http.Client{
	Timeout: metadataTimeout,
	Transport: &http.Transport{
		DialContext:            (&net.Dialer{Timeout: metadataTimeout}).DialContext,
		MaxResponseHeaderBytes: maxHeader,
		IdleConnTimeout:        90 * time.Second,
	},
}

// metadata asks the metadata server.
func metadata(ctx context.Context, path string) (*answer, error) {
	host := cmp.Or(os.Getenv("GCE_METADATA_HOST"), "169.254.169.254")
	if !validHost.MatchString(host) { // no path, no user name and no query
		return nil, errors.New("oauth2: GCE_METADATA_HOST is not a host, or host:port")
	}
	r := &request{
		op:       "asking the metadata server",
		url:      "http://" + host + "/computeMetadata/v1/" + path,
		header:   http.Header{"Metadata-Flavor": {"Google"}},
		client:   metadataClient,
		metadata: true,
	}
	return r.do(ctx)
}

// text returns the text that an answer is, unless there is an error.
func text(ans *answer, err error) (string, error) {
	if err != nil {
		return "", err
	}
	s := string(ans.body)
	isText, _ := regexp.MatchString(`^[\w.:@-]{1,1000}$`, s)
	if !isText {
		return "", ans.unusable("is not what was asked for")
	}
	return s, nil
}

// ImpersonatedCredentials are a service account's, obtained by another identity
// that may act as it (roles/iam.serviceAccountTokenCreator), through Google's
// IAM Credentials API. They are a [TokenSource]. The fields must not be changed
// after the first call. They are safe for concurrent use.
type ImpersonatedCredentials struct {
	// Source returns the tokens of the identity that acts. It is required, and
	// needs the scope cloud-platform.
	Source TokenSource
	// Account is the e-mail address of the service account. It is required. Of
	// credentials from a file it is the account that the file names, and changing
	// it has no effect.
	Account string
	// Scopes are asked for. If empty, the scope is cloud-platform.
	Scopes []string
	// Delegates are the service accounts between the source and the account, each
	// of which may act as the next one. It may be empty.
	Delegates []string
	// Lifetime is how long a token is good for. If 0, it is an hour. More than 12
	// hours is an error.
	Lifetime time.Duration
	// QuotaProject is the project that API calls are counted against, sent as the
	// header X-Goog-User-Project. If empty, it is the account's own.
	QuotaProject string
	// HTTPClient sends the requests, as [ClientSecrets.HTTPClient] does, also those
	// of a Source that came from the same file. If nil, a client with timeouts is
	// used.
	HTTPClient *http.Client

	url   string    // of a file, from which the Source came too; else it is made from Account
	share sync.Once // of HTTPClient with such a Source
	cache tokenCache
}

// Token returns an access token; it implements [TokenSource]. Its error is one
// of the Source, an [*Error] of the API, or the reason why ctx ended.
func (c *ImpersonatedCredentials) Token(ctx context.Context) (*Token, error) {
	return c.cache.token(ctx, c)
}

func (c *ImpersonatedCredentials) owner() (TokenSource, *tokenCache, string) {
	return c, &c.cache, c.QuotaProject
}

func (c *ImpersonatedCredentials) fetch(ctx context.Context, _ bool) (*Token, error) {
	scopes := c.Scopes
	if len(scopes) == 0 {
		scopes = []string{cloudPlatformScope}
	}
	lifetime := cmp.Or(c.Lifetime, time.Hour)
	if lifetime < time.Second || lifetime > 12*time.Hour {
		return nil, errors.New("oauth2: Lifetime must be between 1 second and 12 hours")
	}
	body, _ := json.Marshal(map[string]any{ // can't fail: it has strings only
		"scope":     scopes,
		"delegates": c.Delegates,
		"lifetime":  fmt.Sprintf("%ds", lifetime/time.Second),
	})
	ans, err := c.generate(ctx, body)
	if err != nil {
		return nil, err
	}
	f := ans.fields()
	t := &Token{
		AccessToken: f.secret("accessToken", maxToken),
		Expiry:      f.expiry("expireTime"),
		Scopes:      scopes,
	}
	if f.err != nil || t.AccessToken.empty() || t.Expiry.IsZero() {
		return nil, ans.unusable("has no usable accessToken and expireTime")
	}
	return t, nil
}

// generate asks the API for a token.
func (c *ImpersonatedCredentials) generate(ctx context.Context, body []byte) (*answer, error) {
	endpoint := c.url
	if endpoint == "" {
		if err := checkAccount(c.Account); err != nil {
			return nil, err
		}
		endpoint = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" +
			c.Account + impersonationSuffix
	} else if c.HTTPClient != nil {
		c.share.Do(c.shareClient)
	}
	tok, err := CachedTokenSource(c.Source).Token(ctx) // and not unchecked
	if err != nil {
		return nil, err
	}
	r := &request{
		op:   "impersonating the service account",
		url:  endpoint,
		json: string(body),
		header: http.Header{
			"Authorization": {"Bearer " + tok.AccessToken.Reveal()},
			"Content-Type":  {"application/json"},
		},
		client: c.HTTPClient,
	}
	return r.do(ctx)
}

// shareClient makes a Source from the same file use HTTPClient.
func (c *ImpersonatedCredentials) shareClient() {
	switch src := c.Source.(type) {
	case *Credentials:
		src.HTTPClient = c.HTTPClient
	case *ServiceAccountCredentials:
		src.HTTPClient = c.HTTPClient
	case *ImpersonatedCredentials:
		src.HTTPClient = c.HTTPClient
	}
}

// ClientCredentials sign a client in as itself, without a user: the client
// credentials grant (RFC 6749, Section 4.4). They are a [TokenSource]. The
// fields must not be changed after the first call. They are safe for concurrent
// use.
type ClientCredentials struct {
	// Client is the client, which also has the HTTP client that sends the requests.
	// It is required.
	Client *ClientSecrets
	// Scopes are asked for. It may be empty.
	Scopes []string
	// Params are added to the request: audience, resource, account_id and what else
	// the server needs. grant_type replaces "client_credentials". Those that
	// authenticate the client are refused. It may be nil.
	Params url.Values

	cache tokenCache
}

// Token returns an access token; it implements [TokenSource]. Its error is an
// [*Error] of the token endpoint, or the reason why ctx ended.
func (c *ClientCredentials) Token(ctx context.Context) (*Token, error) {
	return c.cache.token(ctx, c)
}

func (c *ClientCredentials) owner() (TokenSource, *tokenCache, string) {
	return c, &c.cache, ""
}

func (c *ClientCredentials) fetch(ctx context.Context, _ bool) (*Token, error) {
	if c.Client == nil {
		return nil, errNoClient
	}
	for name := range c.Params {
		switch name {
		case "client_id", "client_secret", "client_assertion", "client_assertion_type":
			return nil, fmt.Errorf("oauth2: Params has %q, which the package sets itself", name)
		}
	}
	form := url.Values{
		"grant_type": {"client_credentials"},
		"scope":      {joinScopes(c.Scopes)},
	}
	maps.Copy(form, c.Params)
	ans, err := c.Client.request("signing the client in", form, nil).do(ctx)
	if err != nil {
		return nil, err
	}
	return ans.token(form.Get("scope"))
}

// DefaultCredentials returns the credentials that the environment has for a
// program (Google's Application Default Credentials), and the project that they
// or the environment name, which may be empty. It looks at
//
//  1. the file that GOOGLE_APPLICATION_CREDENTIALS names;
//  2. application_default_credentials.json, which "gcloud auth
//     application-default login" writes, in the folder CLOUDSDK_CONFIG or
//     gcloud's usual one;
//  3. the metadata server of the machine, unless NO_GCE_CHECK is "true".
//
// The result is a *[ServiceAccountCredentials], *[Credentials],
// *[ImpersonatedCredentials] or *[ComputeCredentials]. A file of another type
// is refused, since it could make requests to an address of its choice, or run
// a program. A file that is there but can't be used is an error, and nothing
// else is tried. GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_QUOTA_PROJECT take
// precedence over what a file says. Nothing is remembered from one call to the
// next.
func DefaultCredentials(
	ctx context.Context, scopes ...string,
) (src TokenSource, projectID string, err error) {
	if ctx == nil {
		return nil, "", errNilContext
	}
	scopes = scopeList(scopes...)
	quotaProject := os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT")
	if quotaProject != "" && !validProject(quotaProject) {
		return nil, "", errors.New("oauth2: GOOGLE_CLOUD_QUOTA_PROJECT is not a project")
	}
	projectID = os.Getenv("GOOGLE_CLOUD_PROJECT")
	named := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	name := cmp.Or(named, gcloudFile())
	src, err = parseFile(name, func(data []byte) (TokenSource, error) {
		return parseDefaultFile(data, quotaProject, scopes)
	})
	if err == nil {
		if sa, ok := src.(*ServiceAccountCredentials); ok && projectID == "" {
			projectID = sa.ProjectID
		}
		return src, projectID, nil
	}
	if named != "" || !errors.Is(err, fs.ErrNotExist) { // gcloud need not have been used
		return nil, "", err
	}
	compute := &ComputeCredentials{Scopes: scopes, QuotaProject: quotaProject}
	found, err := compute.probe(ctx, projectID)
	if err != nil {
		return nil, "", fmt.Errorf(
			"oauth2: no default credentials: set GOOGLE_APPLICATION_CREDENTIALS, "+
				"or run gcloud auth application-default login (%w)", innerError{err})
	}
	return compute, found, nil
}

// gcloudFile returns the name of the file in which gcloud keeps default
// credentials, or "" if there is no place for one.
func gcloudFile() string {
	dir := os.Getenv("CLOUDSDK_CONFIG")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".config", "gcloud")
		if runtime.GOOS == "windows" {
			dir = filepath.Join(os.Getenv("APPDATA"), "gcloud")
		}
		if !filepath.IsAbs(dir) {
			return ""
		}
	}
	return filepath.Join(dir, "application_default_credentials.json")
}

// parseDefaultFile parses a file of default credentials.
func parseDefaultFile(data []byte, quotaProject string, scopes []string) (TokenSource, error) {
	f := parseFields(data)
	switch typ := f.str("type"); typ {
	case "service_account":
		sa, err := ParseServiceAccount(data, scopes...)
		if err != nil {
			return nil, err
		}
		sa.QuotaProject = cmp.Or(quotaProject, sa.QuotaProject)
		return sa, nil
	case "authorized_user":
		c, err := ParseCredentials(data)
		if err != nil {
			return nil, err
		}
		rest := c.rest.Load()
		rest.quotaProject = cmp.Or(quotaProject, rest.quotaProject)
		if len(scopes) > 0 {
			c.scope = joinScopes(scopes)
			rest.granted = false
		}
		return c, nil
	case "impersonated_service_account":
		c := f.impersonated(scopes)
		c.QuotaProject = cmp.Or(quotaProject, c.QuotaProject)
		if f.err == nil {
			return c, nil
		}
	default:
		f.fail("is of type %+.64q, which is not supported", typ)
	}
	return nil, fmt.Errorf("oauth2: the default credentials file %w", f.err)
}

// impersonated reads a file of type impersonated_service_account.
func (f *fields) impersonated(scopes []string) *ImpersonatedCredentials {
	c := &ImpersonatedCredentials{
		Scopes:       scopes,
		Delegates:    f.strs("delegates"),
		QuotaProject: f.project(),
		url:          f.endpoint("service_account_impersonation_url"),
	}
	path, ok := strings.CutSuffix(c.url, impersonationSuffix)
	if !ok {
		f.fail("has a service_account_impersonation_url of another kind")
	}
	c.Account = filepath.Base(path)
	source := []byte(f.object["source_credentials"])
	src, err := parseDefaultFile(source, "", []string{cloudPlatformScope})
	if err != nil {
		f.fail("has source_credentials that can't be used: %w", innerError{err})
	}
	c.Source = src
	return c
}

// probe returns the project of the machine, unless the environment has named
// one, if there is a metadata server.
func (c *ComputeCredentials) probe(ctx context.Context, projectID string) (string, error) {
	if os.Getenv("NO_GCE_CHECK") == "true" {
		return "", errors.New("NO_GCE_CHECK says not to look for it")
	}
	if projectID != "" && os.Getenv("GCE_METADATA_HOST") != "" {
		return projectID, nil // the environment has named both
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	found, err := c.ProjectID(ctx)
	return cmp.Or(projectID, found), err
}
