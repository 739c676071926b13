package oauth2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Credentials are a person's: a refresh token and the access token that was last obtained
// with it. They refresh themselves, and are a [TokenSource] for [NewClient] and
// [Transport]. They come from a sign-in, from [NewCredentials] or from
// [ParseCredentials]. They are safe for concurrent use and must not be copied.
type Credentials struct {
	cache  tokenCache
	client *ClientSecrets
	scopes []string
	rest   *stored // nil where NewCredentials made them
}

// stored is what only some credentials have.
type stored struct {
	granted bool   // scopes are those of a sign-in: a refresh asks for what was granted then
	quota   string // the project that API calls are counted against
	unknown object // members of the file that this package does not know
}

// NewCredentials returns the Credentials of a refresh token that the program has kept itself. Many
// of them can share one client. If scopes are given, each refresh asks for them;
// they must be among those that were granted (RFC 6749, Section 6). After a refresh the
// token's RefreshToken may be a new one, which replaces the one stored.
func NewCredentials(client *ClientSecrets, refreshToken Secret, scopes ...string) *Credentials {
	c := &Credentials{client: client, scopes: slices.Clone(scopes)}
	c.cache.current.Store(&Token{RefreshToken: refreshToken})
	return c
}

// signedIn returns the Credentials of a completed sign-in.
func signedIn(client *ClientSecrets, tok *Token, scopes []string) *Credentials {
	c := &Credentials{client: client, scopes: scopes, rest: &stored{granted: true}}
	c.cache.keep(tok)
	return c
}

// Token returns an access token that has not expired; it implements [TokenSource]. A
// token near its expiry is renewed in the background. The error is one that errors.Is finds to
// be [ErrLoginRequired] where the refresh token no longer works or there is none,
// an [*Error] for other failures of the refresh, or the reason why ctx ended.
func (c *Credentials) Token(ctx context.Context) (*Token, error) { return c.cache.token(ctx, c) }

// Refresh obtains a new access token though the current one may still be good. Its errors are
// those of Token.
func (c *Credentials) Refresh(ctx context.Context) (*Token, error) { return c.cache.refresh(ctx, c) }

func (c *Credentials) renew(ctx context.Context, rejected *Token) (*Token, error) {
	return c.cache.renew(ctx, c, rejected)
}

func (c *Credentials) quotaProject() string {
	if c.rest == nil {
		return ""
	}
	return c.rest.quota
}

// fetch refreshes the token (RFC 6749, Section 6).
func (c *Credentials) fetch(ctx context.Context, old *Token) (*Token, error) {
	if old.RefreshToken.empty() {
		return nil, &Error{text: "the access token has expired and there is no refresh token; sign in again", loginRequired: true}
	}
	if c.client == nil {
		return nil, errors.New("oauth2: the credentials have no client")
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.RefreshToken.Reveal()}}
	granted := old.Scopes
	if c.rest == nil || !c.rest.granted {
		granted = c.scopes
		if len(c.scopes) > 0 {
			form.Set("scope", strings.Join(c.scopes, " "))
		}
	}
	ans, err := c.client.post(ctx, "refreshing the token", c.client.TokenURI, form, false)
	if e := (*Error)(nil); errors.As(err, &e) && e.Code == "invalid_grant" {
		e.loginRequired = true
		e.text += "; the refresh token has expired or was revoked: sign in again"
	}
	if err != nil {
		return nil, err
	}
	tok, err := ans.token(granted)
	if tok == nil {
		return nil, err
	}
	if tok.RefreshToken.empty() {
		tok.RefreshToken = old.RefreshToken
	}
	if tok.IDToken.empty() {
		tok.IDToken = old.IDToken
	}
	if err != nil { // the answer is not used, but the old refresh token may be gone
		kept := *old
		kept.RefreshToken = tok.RefreshToken
		return &kept, err
	}
	return tok, nil
}

// userFile are the members of an authorized_user file that this package knows. granted_scopes and
// what follows is its own; others ignore it.
var userFile = []string{
	"type", "client_id", "client_secret", "refresh_token", "token_uri", "token", "expiry", "scopes",
	"id_token", "quota_project_id", "granted_scopes", "issuer", "revocation_uri", "token_endpoint_auth_method",
}

// ParseCredentials parses a file in Google's authorized_user format, as MarshalAuthorizedUser, gcloud and the
// Python libraries write it. A missing type is accepted, as Python writes none; another one is refused by name.
// token_uri is Google's unless the file has one. A token without an expiry is not used, since it may be
// old.
func ParseCredentials(data []byte) (*Credentials, error) {
	f := parseTyped(data, "authorized_user")
	client := &ClientSecrets{ClientID: f.str("client_id"), ClientSecret: NewSecret(f.str("client_secret")), TokenURI: googleTokenURI,
		Issuer: f.str("issuer"), RevocationURI: f.str("revocation_uri"), AuthMethod: f.str("token_endpoint_auth_method")}
	if f.has("token_uri") {
		client.TokenURI = f.endpoint("token_uri")
	}
	tok := &Token{AccessToken: f.secret("token"), RefreshToken: f.secret("refresh_token"), IDToken: f.secret("id_token"),
		Type: "Bearer", Expiry: f.expiry("expiry"), Scopes: f.scopes("granted_scopes")}
	rest := &stored{granted: f.has("granted_scopes"), quota: f.str("quota_project_id"), unknown: maps.Clone(f.object)}
	c := &Credentials{client: client, scopes: f.scopes("scopes"), rest: rest}
	f.require(client.ClientID != "", "has no client_id")
	f.require(!tok.RefreshToken.empty() || !tok.AccessToken.empty(), "has no refresh_token")
	f.require(rest.quota == "" || validProject(rest.quota), "has a quota_project_id that is not a project")
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the credentials file %w", f.err)
	}
	if endpoint, _ := checkEndpoint(client.TokenURI); isGoogle(endpoint) {
		client.useGoogle()
	}
	if client.AuthMethod == "" {
		client.AuthMethod = "client_secret_post"
		if client.ClientSecret.empty() {
			client.AuthMethod = "none"
		}
	}
	if tok.Expiry.IsZero() && !tok.RefreshToken.empty() {
		tok.AccessToken = Secret{}
	}
	maps.DeleteFunc(rest.unknown, func(name, _ string) bool { return slices.Contains(userFile, name) })
	c.cache.keep(tok)
	return c, nil
}

// MarshalAuthorizedUser returns the credentials as a file in Google's authorized_user format,
// which ParseCredentials, gcloud, Python's google-auth and other libraries read. It contains the refresh
// token and the client secret: store it where nobody else can read it, with mode 0600. Members that
// this package does not know are those of the file that was parsed.
func (c *Credentials) MarshalAuthorizedUser() ([]byte, error) {
	if c.client == nil {
		return nil, errors.New("oauth2: the credentials have no client")
	}
	t := c.cache.current.Load()
	file := map[string]any{
		"type":          "authorized_user",
		"client_id":     c.client.ClientID,
		"client_secret": c.client.ClientSecret.Reveal(), // even if empty: Python demands it
		"refresh_token": t.RefreshToken.Reveal(),
		"token_uri":     c.client.TokenURI,
	}
	optional := func(name, value string) {
		if value != "" {
			file[name] = value
		}
	}
	optional("token", t.AccessToken.Reveal())
	optional("id_token", t.IDToken.Reveal())
	if !t.Expiry.IsZero() {
		file["expiry"] = t.Expiry.UTC().Format("2006-01-02T15:04:05.999999Z")
	}
	if len(c.scopes) > 0 {
		file["scopes"] = c.scopes
	}
	if c.client.Issuer != googleIssuer {
		optional("issuer", c.client.Issuer)
		optional("revocation_uri", c.client.RevocationURI)
		optional("token_endpoint_auth_method", c.client.AuthMethod)
	}
	if c.rest != nil {
		if c.rest.granted {
			file["granted_scopes"] = t.Scopes
		}
		optional("quota_project_id", c.rest.quota)
		for name, text := range c.rest.unknown {
			file[name] = json.RawMessage(text)
		}
	}
	return json.MarshalIndent(file, "", "  ")
}

// ComputeCredentials are the identity of the machine that the program runs on, as the
// metadata server of Compute Engine, GKE, Cloud Run, Cloud Functions and App Engine hands
// it out. They are a [TokenSource]; the zero value is the default service account. The fields must
// not be changed after the first call. They are safe for concurrent use.
//
// The server is asked at 169.254.169.254, or where GCE_METADATA_HOST says (a host, or
// host:port), never through a proxy.
type ComputeCredentials struct {
	// Account is the e-mail address of the service account. If empty, it is the default one.
	Account string
	// Scopes are asked for. If empty, the token has the scopes of the machine.
	Scopes []string
	// QuotaProject is the project that API calls are counted against, as the header
	// X-Goog-User-Project. If empty, that is the account's own.
	QuotaProject string

	audience string // of an ID token
	cache    tokenCache
}

// Token returns an access token; it implements [TokenSource].
func (c *ComputeCredentials) Token(ctx context.Context) (*Token, error) { return c.cache.token(ctx, c) }

// IDTokenSource returns a source of ID tokens for audience, such as the URL of a Cloud Run service,
// in place of access tokens.
func (c *ComputeCredentials) IDTokenSource(audience string) TokenSource {
	return &ComputeCredentials{Account: c.Account, QuotaProject: c.QuotaProject, audience: audience}
}

// ProjectID returns the project of the machine.
func (c *ComputeCredentials) ProjectID(ctx context.Context) (string, error) {
	return metadataText(ctx, "project/project-id", validProject)
}

// Email returns the e-mail address of the service account.
func (c *ComputeCredentials) Email(ctx context.Context) (string, error) {
	return metadataText(ctx, c.path("email"), validText)
}

func (c *ComputeCredentials) renew(ctx context.Context, rejected *Token) (*Token, error) {
	return c.cache.renew(ctx, c, rejected)
}

func (c *ComputeCredentials) quotaProject() string { return c.QuotaProject }

func (c *ComputeCredentials) path(leaf string) string {
	return "instance/service-accounts/" + url.PathEscape(cmp.Or(c.Account, "default")) + "/" + leaf
}

func (c *ComputeCredentials) fetch(ctx context.Context, _ *Token) (*Token, error) {
	if strings.Trim(c.Account, letters+"@._-") != "" || strings.HasPrefix(c.Account, ".") { // it goes into a path
		return nil, fmt.Errorf("oauth2: %q is not the address of a service account", printable(c.Account, 256))
	}
	if c.audience != "" {
		ans, err := metadata(ctx, c.path("identity?format=full&audience="+url.QueryEscape(c.audience)))
		if err != nil {
			return nil, err
		}
		return ans.idToken(strings.TrimSpace(string(ans.body)))
	}
	path := c.path("token")
	if len(c.Scopes) > 0 {
		path += "?scopes=" + url.QueryEscape(strings.Join(c.Scopes, ","))
	}
	ans, err := metadata(ctx, path)
	if err != nil {
		return nil, err
	}
	return ans.token(c.Scopes)
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// validProject reports whether s can be a project ID, which goes into a header.
func validProject(s string) bool { return s != "" && strings.Trim(s, letters+".:-") == "" }

// metadataClient uses no proxy, which could read and give out the machine's tokens. Nothing
// changes it.
var metadataClient = &http.Client{Transport: &http.Transport{
	DialContext:            (&net.Dialer{Timeout: metadataTimeout}).DialContext,
	MaxResponseHeaderBytes: maxHeader,
	IdleConnTimeout:        90 * time.Second,
}}

// metadata asks the metadata server.
func metadata(ctx context.Context, path string) (*answer, error) {
	host := cmp.Or(os.Getenv("GCE_METADATA_HOST"), "169.254.169.254")
	if u, err := url.Parse("http://" + host); err != nil || u.Host != host || u.Hostname() == "" || strings.Trim(host, letters+".:-[]") != "" {
		return nil, errors.New("oauth2: GCE_METADATA_HOST is not a host, or host:port")
	}
	r := &request{op: "asking the metadata server", url: "http://" + host + "/" + path, client: metadataClient, metadata: true,
		header: http.Header{"Metadata-Flavor": {"Google"}}}
	if path != "" {
		r.url = "http://" + host + "/computeMetadata/v1/" + path
	}
	return r.do(ctx)
}

func metadataText(ctx context.Context, path string, valid func(string) bool) (string, error) {
	ans, err := metadata(ctx, path)
	if err != nil {
		return "", err
	}
	if s := string(ans.body); len(s) < maxErrorText && valid(s) {
		return s, nil
	}
	return "", ans.bad("is not what was asked for")
}

// DefaultCredentials returns the credentials that the environment has for a program (Google's
// Application Default Credentials), and the project that they or the environment name, which may
// be empty. It looks at
//
//  1. the file that GOOGLE_APPLICATION_CREDENTIALS names;
//  2. application_default_credentials.json, which "gcloud auth application-default login" writes, in
//     the folder CLOUDSDK_CONFIG or gcloud's usual one;
//  3. the metadata server of the machine, unless NO_GCE_CHECK is "true".
//
// A file must be of type service_account, authorized_user or impersonated_service_account. Others make
// requests to where they choose, or run programs, and are refused. A file that is there but can't be
// used is an error, and nothing else is tried. GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_QUOTA_PROJECT take
// precedence over what a file says. Nothing is remembered from one call to the next.
func DefaultCredentials(ctx context.Context, scopes ...string) (src TokenSource, projectID string, err error) {
	scopes = scopeList(scopes...)
	quota := os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT")
	if quota != "" && !validProject(quota) {
		return nil, "", errors.New("oauth2: GOOGLE_CLOUD_QUOTA_PROJECT is not a project")
	}
	name, err := credentialsFile()
	if err != nil {
		return nil, "", err
	}
	if name != "" {
		src, err = parseFile(name, func(data []byte) (TokenSource, error) { return defaultFile(data, quota, scopes) })
		if err != nil {
			return nil, "", err
		}
		if sa, ok := src.(*ServiceAccountCredentials); ok {
			projectID = sa.ProjectID
		}
		return src, cmp.Or(os.Getenv("GOOGLE_CLOUD_PROJECT"), projectID), nil
	}
	compute := &ComputeCredentials{Scopes: scopes, QuotaProject: quota}
	if os.Getenv("NO_GCE_CHECK") == "true" {
		err = errors.New("it was not looked for, as NO_GCE_CHECK says")
	} else if os.Getenv("GCE_METADATA_HOST") == "" {
		probe, cancel := context.WithTimeout(ctx, metadataTimeout)
		defer cancel()
		_, err = metadata(probe, "")
	}
	if ctx.Err() != nil {
		return nil, "", fmt.Errorf("oauth2: looking for default credentials: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, "", fmt.Errorf("oauth2: there are no default credentials: GOOGLE_APPLICATION_CREDENTIALS names no file, \"gcloud auth application-default login\" has not been run, and there is no metadata server (%v)", err)
	}
	if projectID = os.Getenv("GOOGLE_CLOUD_PROJECT"); projectID == "" {
		projectID, err = compute.ProjectID(ctx)
	}
	return compute, projectID, err
}

// credentialsFile returns the name of the file with default credentials, or "" if there is none.
func credentialsFile() (string, error) {
	if name := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); name != "" {
		return name, nil
	}
	dir := os.Getenv("CLOUDSDK_CONFIG")
	if dir == "" && runtime.GOOS == "windows" && os.Getenv("APPDATA") != "" {
		dir = filepath.Join(os.Getenv("APPDATA"), "gcloud")
	} else if home, err := os.UserHomeDir(); dir == "" && runtime.GOOS != "windows" && err == nil {
		dir = filepath.Join(home, ".config", "gcloud")
	}
	if dir == "" { // never a relative path
		return "", nil
	}
	name := filepath.Join(dir, "application_default_credentials.json")
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("oauth2: %w", err)
	}
	return name, nil
}

// defaultFile parses a file with default credentials.
func defaultFile(data []byte, quota string, scopes []string) (TokenSource, error) {
	f := parseFields(data)
	switch typ := f.str("type"); typ {
	case "service_account":
		sa, err := ParseServiceAccount(data, scopes...)
		if err == nil {
			sa.QuotaProject = cmp.Or(quota, sa.QuotaProject)
		}
		return sa, err
	case "authorized_user":
		c, err := ParseCredentials(data)
		if err == nil {
			c.rest.quota = cmp.Or(quota, c.rest.quota)
			if len(scopes) > 0 {
				c.scopes, c.rest.granted = scopes, false
			}
		}
		return c, err
	case "impersonated_service_account":
		source, err := defaultFile([]byte(f.object["source_credentials"]), "", []string{cloudPlatformScope})
		if _, nested := source.(*impersonated); err != nil || nested {
			return nil, fmt.Errorf("oauth2: the default credentials: source_credentials can't be used: %w", err)
		}
		s := &impersonated{source: source, url: f.endpoint("service_account_impersonation_url"), delegates: f.strs("delegates"),
			scopes: scopes, quota: cmp.Or(quota, f.str("quota_project_id"))}
		if len(scopes) == 0 {
			s.scopes = []string{cloudPlatformScope}
		}
		f.require(strings.HasSuffix(s.url, ":generateAccessToken"), "has a service_account_impersonation_url of another kind")
		f.require(s.quota == "" || validProject(s.quota), "has a quota_project_id that is not a project")
		if f.err != nil {
			return nil, fmt.Errorf("oauth2: the default credentials file %w", f.err)
		}
		return s, nil
	default:
		if f.err != nil {
			return nil, fmt.Errorf("oauth2: the default credentials file %w", f.err)
		}
		return nil, fmt.Errorf("oauth2: default credentials of type %q are not supported; service_account, authorized_user and impersonated_service_account are", printable(typ, 64))
	}
}
