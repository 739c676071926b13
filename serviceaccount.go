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
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	assertionLifetime  = time.Hour
	cloudPlatformScope = "https://www.googleapis.com/auth/cloud-platform"
	methodAccessToken  = ":generateAccessToken"
	iamAccounts        = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
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

// WithScopes returns a copy that asks for scopes, in place of an audience.
func (s *ServiceAccountCredentials) WithScopes(scopes ...string) *ServiceAccountCredentials {
	c := s.clone()
	c.Scopes = scopeList(scopes...)
	c.audience = ""
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
// "https://pubsub.googleapis.com/", and without Scopes. If audience is empty,
// they are for the Scopes instead. Such a token has no Subject.
func (s *ServiceAccountCredentials) WithAudience(audience string) *ServiceAccountCredentials {
	c := s.clone()
	c.selfSigned = true
	c.audience = audience
	if audience != "" {
		c.Scopes = nil
	}
	return c
}

// IDTokenSource returns a source of ID tokens for audience, such as the URL of
// a Cloud Run service, in place of access tokens.
func (s *ServiceAccountCredentials) IDTokenSource(audience string) TokenSource {
	c := s.clone()
	c.selfSigned = false
	c.idToken = true
	c.audience = audience
	c.Scopes = nil // the assertion has one or the other
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
		op: "signing in as " + printable(s.Email, 256),
		hint: "; to act for a Subject, the account needs domain-wide delegation: an " +
			"administrator of the domain has to grant its client ID all these scopes",
		url: s.TokenURI,
		form: url.Values{ // RFC 7523, Section 2.1
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
			"assertion":  {jwt},
		},
		client: s.HTTPClient,
	}
	if s.idToken {
		return idToken(r.do(ctx))
	}
	ans, err := r.do(ctx)
	if err != nil {
		return nil, err
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
		Scope:    strings.Join(s.Scopes, " "),
	}
	switch {
	case s.idToken && s.audience == "":
		return "", errNoAudience
	case s.idToken:
		claims.TargetAudience = s.audience
	case s.selfSigned && (s.Subject != "" || (s.audience == "") == (len(s.Scopes) == 0)):
		return "", errors.New("oauth2: a self-signed token needs either an audience or Scopes, " +
			"and can't act for a Subject")
	case s.selfSigned:
		claims.Subject = s.Email
		claims.Audience = s.audience
	}
	return s.signer.sign(now, assertionLifetime, claims, s.Claims)
}

// idToken returns the ID token in an answer, which is to be used as an access
// token: a member, or all of it.
func idToken(ans *answer, err error) (*Token, error) {
	if err != nil {
		return nil, err
	}
	f := ans.fields
	raw := cmp.Or(f.str("id_token"), f.str("token"), strings.TrimSpace(string(ans.body)))
	claims, err := parseClaims(raw)
	if err != nil || !validToken(raw) || claims.Expiry.IsZero() {
		return nil, ans.unusable("has no usable ID token")
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
		return idToken(c.get(ctx, "identity?format=full&audience="+url.QueryEscape(audience)))
	}
	return &cachedSource{get: get, quotaProject: c.QuotaProject}
}

// ProjectID returns the project of the machine.
func (c *ComputeCredentials) ProjectID(ctx context.Context) (string, error) {
	return answerText(metadata(ctx, "project/project-id"))
}

// Email returns the e-mail address of the service account.
func (c *ComputeCredentials) Email(ctx context.Context) (string, error) {
	return answerText(c.get(ctx, "email"))
}

// answerText returns an answer that is the name of a project or an account.
func answerText(ans *answer, err error) (string, error) {
	if err != nil {
		return "", err
	}
	s := string(ans.body)
	if !matches(`[a-zA-Z0-9@.:_-]{1,1000}`, s) {
		return "", ans.unusable("is not what was asked for")
	}
	return s, nil
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
	if !matches(`[a-zA-Z0-9@_-][a-zA-Z0-9@._-]*`, account) {
		return errors.New("oauth2: there is no service account to act as, or no address of one")
	}
	return nil
}

// matches reports whether all of s matches pattern.
func matches(pattern, s string) bool {
	ok, _ := regexp.MatchString("^(?:"+pattern+")$", s)
	return ok
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
	if !matches(`([a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[0-9]+)?`, host) {
		return nil, errors.New("oauth2: GCE_METADATA_HOST is not a host, or host:port")
	}
	r := &request{
		op:       "asking the metadata server",
		url:      "http://" + host + "/computeMetadata/v1/" + path,
		header:   http.Header{"Metadata-Flavor": {"Google"}},
		client:   metadataClient,
		patience: metadataPatience(),
		metadata: true,
	}
	return r.do(ctx)
}

// metadataPatience returns how long the metadata server is asked: long where
// there is one for sure, since it may start after the program.
func metadataPatience() time.Duration {
	names := os.Getenv("GCE_METADATA_HOST") + os.Getenv("K_SERVICE") +
		os.Getenv("FUNCTION_TARGET") + os.Getenv("GAE_SERVICE")
	product, _ := readFile("/sys/class/dmi/id/product_name")
	if names != "" || strings.HasPrefix(string(product), "Google") {
		return 10 * metadataTimeout
	}
	return metadataTimeout
}

// ImpersonatedCredentials are a service account's, obtained by another identity
// that may act as it (roles/iam.serviceAccountTokenCreator), through Google's
// IAM Credentials API. They are a [TokenSource]. The fields must not be changed
// after the first call. They are safe for concurrent use.
type ImpersonatedCredentials struct {
	// Source returns the tokens of the identity that acts. It is required, and
	// needs the scope cloud-platform.
	Source TokenSource
	// Account is the e-mail address of the service account. It is required.
	Account string
	// Scopes are asked for. If empty, the scope is cloud-platform.
	Scopes []string
	// Delegates are the service accounts between the source and the account, each
	// of which may act as the next one. It may be empty.
	Delegates []string
	// Lifetime is how long a token is good for. If 0, it is an hour. More than 12
	// hours is an error. ID tokens are always good for an hour.
	Lifetime time.Duration
	// QuotaProject is the project that API calls are counted against, sent as the
	// header X-Goog-User-Project. If empty, it is the account's own.
	QuotaProject string
	// HTTPClient sends the requests, as [ClientSecrets.HTTPClient] does. Its
	// Transport also sends those of a Source that came from the same file and has
	// no other one, unless that is an [ExternalAccountCredentials], which would be
	// asked through a proxy. If nil, a client with timeouts is used.
	HTTPClient *http.Client

	accounts string // the URL before Account, from a file; if empty, it is Google's
	cache    tokenCache
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
	scopes := scopeList(cmp.Or(joinScopes(c.Scopes), cloudPlatformScope))
	lifetime := cmp.Or(c.Lifetime, time.Hour)
	if lifetime < time.Second || lifetime > 12*time.Hour {
		return nil, errors.New("oauth2: Lifetime must be between 1 second and 12 hours")
	}
	ans, err := c.generate(ctx, methodAccessToken, map[string]any{
		"scope":    scopes,
		"lifetime": fmt.Sprintf("%ds", lifetime/time.Second),
	})
	if err != nil {
		return nil, err
	}
	f := ans.fields
	t := &Token{
		AccessToken: f.secret("accessToken"),
		Expiry:      f.expiry("expireTime"),
		Scopes:      scopes,
	}
	if f.err != nil || t.AccessToken.empty() || t.Expiry.IsZero() {
		return nil, ans.unusable("has no usable accessToken and expireTime")
	}
	return t, nil
}

// IDTokenSource returns a source of ID tokens for audience, such as the URL of
// a Cloud Run service, in place of access tokens. They name the account's
// e-mail address.
func (c *ImpersonatedCredentials) IDTokenSource(audience string) TokenSource {
	get := func(ctx context.Context) (*Token, error) {
		if audience == "" {
			return nil, errNoAudience
		}
		return idToken(c.generate(ctx, ":generateIdToken", map[string]any{
			"audience":     audience,
			"includeEmail": true,
		}))
	}
	return &cachedSource{get: get, quotaProject: c.QuotaProject}
}

// generate asks the API for a token.
func (c *ImpersonatedCredentials) generate(
	ctx context.Context, method string, params map[string]any,
) (*answer, error) {
	if err := checkAccount(c.Account); err != nil {
		return nil, err
	}
	tok, err := CachedTokenSource(c.Source).Token(ctx) // and not unchecked
	if err != nil {
		return nil, err
	}
	params["delegates"] = c.Delegates
	body, _ := json.Marshal(params) // can't fail
	r := &request{
		op: "impersonating the service account",
		hint: "; the identity that acts needs roles/iam.serviceAccountTokenCreator on the " +
			"service account (a federated one, roles/iam.workloadIdentityUser)",
		url:  cmp.Or(c.accounts, iamAccounts) + c.Account + method,
		json: string(body),
		header: http.Header{
			"Authorization": {"Bearer " + tok.AccessToken.Reveal()},
			"Content-Type":  {"application/json"},
		},
		client: c.HTTPClient,
	}
	return r.do(ctx)
}

// A sharedTransport sends the requests of a Source with the HTTPClient of the
// credentials that it is for. It looks there each time, since that field may be
// set after the file has been read.
type sharedTransport struct{ *ImpersonatedCredentials }

// RoundTrip implements [http.RoundTripper].
func (t sharedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	client := cmp.Or(t.HTTPClient, defaultClient)
	return cmp.Or(client.Transport, http.DefaultTransport).RoundTrip(req)
}

// ExternalAccountCredentials are a workload's or a user's at another identity
// provider that Google trusts (workload or workforce identity federation): a
// token of that provider, the subject token, is exchanged at Google's Security
// Token Service (RFC 8693), and the result may be used to impersonate a service
// account. They are a [TokenSource], and come from a file of type
// external_account, which [DefaultCredentials] reads. The fields must not be
// changed after the first call. They are safe for concurrent use.
//
// The subject token is read anew for each exchange, from a file or a URL.
type ExternalAccountCredentials struct {
	// Scopes are asked for. If empty, the scope is cloud-platform.
	Scopes []string
	// QuotaProject is the project that API calls are counted against, sent as the
	// header X-Goog-User-Project. It may be empty.
	QuotaProject string
	// HTTPClient sends the requests, as [ClientSecrets.HTTPClient] does, also the
	// one for the subject token. If nil, a client with timeouts is used, and no
	// proxy for a URL on this machine or its link.
	HTTPClient *http.Client

	tokenURL string
	form     url.Values    // what all exchanges have in common
	account  string        // that is impersonated, if any
	lifetime time.Duration // of its tokens; if 0, it is an hour
	// subject reads the subject token. It is a function, since the header that is
	// sent for it may have a secret. It is nil if there was no file.
	subject func(context.Context) (string, error)
	cache   tokenCache
}

// Token returns an access token; it implements [TokenSource]. Its error is an
// [*Error] of a server, why there is no subject token, or the reason why ctx
// ended.
func (c *ExternalAccountCredentials) Token(ctx context.Context) (*Token, error) {
	return c.cache.token(ctx, c)
}

func (c *ExternalAccountCredentials) owner() (TokenSource, *tokenCache, string) {
	return c, &c.cache, c.QuotaProject
}

func (c *ExternalAccountCredentials) fetch(ctx context.Context, _ bool) (*Token, error) {
	if c.account == "" {
		return c.exchange(ctx)
	}
	return c.impersonated().fetch(ctx, true)
}

// IDTokenSource returns a source of ID tokens for audience, such as the URL of
// a Cloud Run service, in place of access tokens. It works only if the file
// names a service account to impersonate.
func (c *ExternalAccountCredentials) IDTokenSource(audience string) TokenSource {
	return c.impersonated().IDTokenSource(audience)
}

// impersonated returns the service account. The token that acts for it is
// exchanged anew each time, since it lives no longer than the account's.
func (c *ExternalAccountCredentials) impersonated() *ImpersonatedCredentials {
	return &ImpersonatedCredentials{
		Source:       &cachedSource{get: c.exchange},
		Account:      c.account,
		Scopes:       c.Scopes,
		Lifetime:     c.lifetime,
		QuotaProject: c.QuotaProject,
		HTTPClient:   c.HTTPClient,
	}
}

// exchange exchanges the subject token (RFC 8693, Section 2).
func (c *ExternalAccountCredentials) exchange(ctx context.Context) (*Token, error) {
	if c.subject == nil {
		return nil, errNoSource
	}
	subject, err := c.subject(ctx)
	if err != nil {
		return nil, err
	}
	scope := joinScopes(c.Scopes)
	if scope == "" || c.account != "" {
		scope = cloudPlatformScope
	}
	form := maps.Clone(c.form)
	form.Set("scope", scope)
	form.Set("subject_token", subject)
	r := &request{
		op:     "exchanging the subject token",
		url:    c.tokenURL,
		form:   form,
		client: c.HTTPClient,
	}
	ans, err := r.do(ctx)
	if err != nil {
		return nil, err
	}
	return ans.token(scope)
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
		if matches("client_(id|secret|assertion|assertion_type)", name) {
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
// *[ImpersonatedCredentials], *[ExternalAccountCredentials] or
// *[ComputeCredentials]. Credentials of a user have the scopes that the user
// granted, whatever scopes are. A file of another type is refused, since it
// could make requests to an address of its choice, or run a program. A file
// that is there but can't be used is an error, and nothing else is tried.
// GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_QUOTA_PROJECT take precedence over what
// a file says. Nothing is remembered from one call to the next.
//
// The metadata server is asked for up to 3 seconds, or 30 where there is one
// for sure, since it may start after the program.
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
		return parseDefaultFile(data, quotaProject, scopes, nil)
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
	if os.Getenv("NO_GCE_CHECK") == "true" {
		return nil, "", errors.New("oauth2: no default credentials in a file, " +
			"and NO_GCE_CHECK says not to ask the metadata server")
	}
	if projectID != "" && os.Getenv("GCE_METADATA_HOST") != "" {
		return compute, projectID, nil // there is nothing left to ask
	}
	found, err := compute.ProjectID(ctx)
	if err != nil {
		return nil, "", fmt.Errorf(
			"oauth2: no default credentials: set GOOGLE_APPLICATION_CREDENTIALS, "+
				"or run gcloud auth application-default login (%w)", innerError{err})
	}
	return compute, cmp.Or(projectID, found), nil
}

// DefaultIDTokenSource returns a source of ID tokens for audience, such as the
// URL of a Cloud Run service, from the [DefaultCredentials]. Those of a user,
// and federation without a service account to impersonate, have no such tokens.
func DefaultIDTokenSource(ctx context.Context, audience string) (TokenSource, error) {
	if audience == "" {
		return nil, errNoAudience
	}
	src, _, err := DefaultCredentials(ctx)
	if err != nil {
		return nil, err
	}
	able, ok := src.(interface{ IDTokenSource(string) TokenSource })
	external, isExternal := src.(*ExternalAccountCredentials)
	if !ok || isExternal && external.account == "" {
		return nil, errors.New("oauth2: the default credentials can't get an ID token: " +
			"those of a user, and of federation without a service account, have none")
	}
	return able.IDTokenSource(audience), nil
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
		// The home may be none, or that of somebody else.
		if _, err := os.Stat(dir); err != nil || !filepath.IsAbs(dir) {
			return ""
		}
	}
	return filepath.Join(dir, "application_default_credentials.json")
}

// parseDefaultFile parses a file of credentials of any type. Requests are sent
// by client, which may be nil.
func parseDefaultFile(
	data []byte, quotaProject string, scopes []string, client *http.Client,
) (src TokenSource, err error) {
	typ := parseFields(data).str("type")
	f := parseTyped(data, typ)
	switch typ {
	case "service_account":
		sa, err := ParseServiceAccount(data, scopes...)
		if err != nil {
			return nil, err
		}
		sa.QuotaProject = cmp.Or(quotaProject, sa.QuotaProject)
		sa.HTTPClient = client
		return sa, nil
	case "authorized_user":
		c, err := ParseCredentials(data)
		if err != nil {
			return nil, err
		}
		rest := c.rest.Load()
		rest.quotaProject = cmp.Or(quotaProject, rest.quotaProject)
		c.HTTPClient = client
		return c, nil
	case "impersonated_service_account":
		src = f.impersonated(quotaProject, scopes, client)
	case "external_account":
		src = f.external(quotaProject, scopes)
	default:
		f.fail("is of type %+.64q, which is not supported", typ)
	}
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the default credentials file %w", f.err)
	}
	return src, nil
}

// impersonated reads a file of type impersonated_service_account.
func (f *fields) impersonated(
	quotaProject string, scopes []string, client *http.Client,
) *ImpersonatedCredentials {
	if len(scopes) == 0 {
		scopes = scopeList(f.list("scopes")...)
	}
	c := &ImpersonatedCredentials{
		Scopes:       scopes,
		Delegates:    f.list("delegates"),
		QuotaProject: cmp.Or(quotaProject, f.project()),
		HTTPClient:   client,
	}
	c.accounts, c.Account = f.impersonation()
	source := []byte(f.object["source_credentials"])
	shared := &http.Client{Transport: sharedTransport{c}}
	src, err := parseDefaultFile(source, "", []string{cloudPlatformScope}, shared)
	if err != nil {
		f.fail("has source_credentials that can't be used: %w", innerError{err})
	}
	switch src.(type) {
	case *ExternalAccountCredentials, *ImpersonatedCredentials:
		f.googleOnly(c.accounts)
	}
	c.Source = src
	return c
}

// impersonation reads the URL at which an access token of a service account is
// generated. It returns the part before the account's address, and the address.
func (f *fields) impersonation() (accounts, account string) {
	endpoint := f.endpoint("service_account_impersonation_url")
	endpoint, ok := strings.CutSuffix(endpoint, methodAccessToken)
	accounts, account = path.Split(endpoint)
	if !ok || checkAccount(account) != nil {
		f.fail("has a service_account_impersonation_url of another kind")
	}
	return accounts, account
}

// googleOnly refuses another URL for impersonation than Google's. A file could
// send what is not its own, a token that this machine is given, to anybody.
func (f *fields) googleOnly(accounts string) {
	if accounts != iamAccounts {
		f.fail("has a service_account_impersonation_url that is not Google's")
	}
}

// match reads a string that matches the pattern of what it must be.
func (f *fields) match(name, pattern, what string) string {
	s := f.str(name)
	if !matches(pattern, s) {
		f.fail("has a %s that is missing or is not %s", name, what)
	}
	return s
}

// stsURL is an endpoint of Google's Security Token Service.
const stsURL = `https://sts\.([a-z0-9-]+\.rep\.)?googleapis\.com/v1/token`

// sourceURL is a URL on whose way nobody can read or replace the subject token:
// plain http is for this machine and its link, where the metadata servers of
// clouds are, by their IP addresses. What matches can be parsed, so that no
// error quotes it.
const sourceURL = `(https://[a-zA-Z0-9._-]+` +
	`|http://(localhost|127(\.[0-9]{1,3}){3}|169\.254(\.[0-9]{1,3}){2}|\[::1\]))` +
	`(:[0-9]+)?(/([a-zA-Z0-9/._~!$&'()*+,;=:@?-]|%[0-9a-fA-F]{2})*)?`

// external reads a file of type external_account. A hostile one must not be
// able to send a token of this machine anywhere but to Google.
func (f *fields) external(quotaProject string, scopes []string) *ExternalAccountCredentials {
	c := &ExternalAccountCredentials{
		Scopes:       scopes,
		QuotaProject: cmp.Or(quotaProject, f.project()),
		tokenURL:     f.match("token_url", stsURL, "Google's https://sts.googleapis.com/v1/token"),
		form: url.Values{
			"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			"audience":             {f.match("audience", "[!-~]+", "a pool's")},
			"subject_token_type":   {f.match("subject_token_type", "urn:[!-~]+", "a URN")},
		},
	}
	project := f.match("workforce_pool_user_project", "[a-zA-Z0-9.:-]*", "a project")
	if project != "" {
		c.form.Set("options", `{"userProject":"`+project+`"}`)
	}
	if f.has("service_account_impersonation_url") {
		accounts, account := f.impersonation()
		f.googleOnly(accounts)
		c.account = account
		c.lifetime = f.nested("service_account_impersonation").seconds("token_lifetime_seconds")
	}
	source := f.nested("credential_source")
	c.readSource(source)
	if source.err != nil {
		f.fail("has a credential_source that %w", source.err)
	}
	return c
}

// readSource reads where the subject token is. No error quotes what is there,
// since the file may name any file or URL.
func (c *ExternalAccountCredentials) readSource(f *fields) {
	for name := range f.object {
		if !matches("file|url|headers|format", name) { // of AWS, a program, a certificate
			f.fail("has %+.64q, which is not supported", name)
		}
	}
	format := f.nested("format")
	field := format.str("subject_token_field_name") // of JSON; if empty, it is plain text
	if (format.str("type") == "json") != (field != "") {
		f.fail("has a format that is neither text, nor json with a subject_token_field_name")
	}
	parse := func(data []byte) (string, error) {
		token := strings.TrimSpace(string(data))
		if field != "" {
			token = parseFields(data).str(field)
		}
		if !validText(token) {
			return "", errors.New("oauth2: there is no usable subject token")
		}
		return token, nil
	}
	if f.has("file") {
		name := f.match("file", `[^\pC]+`, "the name of a file")
		c.subject = func(context.Context) (string, error) { return parseFile(name, parse) }
		return
	}
	endpoint := f.match("url", sourceURL, "an https URL, or one on this machine or its link")
	header := http.Header{}
	headers := f.nested("headers")
	for name := range headers.object {
		header.Set(name, headers.str(name))
	}
	c.subject = func(ctx context.Context) (string, error) {
		r := &request{
			op:     "fetching the subject token",
			url:    endpoint,
			header: header,
			client: c.HTTPClient,
			opaque: true,
		}
		if r.client == nil && strings.HasPrefix(endpoint, "http:") {
			r.client = metadataClient
		}
		ans, err := r.do(ctx)
		if err != nil {
			return "", err
		}
		return parse(ans.body)
	}
}
