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
	"slices"
	"strings"
	"time"
)

// How long assertions are good for, and how far back they are dated for the sake of
// servers whose clock is behind.
const (
	assertionLifetime = time.Hour
	clientLifetime    = 5 * time.Minute // of a client's assertion, which is used at once
	backdate          = 10 * time.Second
)

const cloudPlatformScope = "https://www.googleapis.com/auth/cloud-platform"

// ServiceAccountCredentials sign a server in with the key of a service account (RFC 7523, Section
// 2.1). They are a [TokenSource]. Fields must not be changed after the first call; the With methods
// return copies with a cache of their own. They are safe for concurrent use.
type ServiceAccountCredentials struct {
	// Email is the service account's address (client_email).
	Email string
	// KeyID names the key (private_key_id). It may be empty.
	KeyID string
	// TokenURI is the token endpoint (token_uri), and the audience of every assertion: what
	// another server is given is worth nothing elsewhere.
	TokenURI string
	// ProjectID is the project of the account (project_id). It may be empty.
	ProjectID string
	// QuotaProject is the project that API calls are counted against, as the header
	// X-Goog-User-Project (quota_project_id). If empty, that is the account's own.
	QuotaProject string
	// Scopes are what is asked for.
	Scopes []string
	// Subject is the person on whose behalf the account acts, by domain-wide
	// delegation. If empty, it acts for itself.
	Subject string
	// Claims are added to the assertions. They can't replace those that the package sets.
	Claims map[string]any
	// HTTPClient sends the token requests. If nil, a client with timeouts is used.
	HTTPClient *http.Client

	signer     *signer
	selfSigned bool // else assertions are exchanged, for ID tokens if idToken
	idToken    bool
	audience   string // of a self-signed token, or of an ID token
	cache      tokenCache
}

// ReadServiceAccountFile reads the key file of a service account. See [ParseServiceAccount].
func ReadServiceAccountFile(name string, scopes ...string) (*ServiceAccountCredentials, error) {
	return parseFile(name, func(data []byte) (*ServiceAccountCredentials, error) { return ParseServiceAccount(data, scopes...) })
}

// ParseServiceAccount parses a service account's key file, as Google's console offers it. Its type must be
// service_account, and its key an RSA key of 2048 bits or more, in PKCS #8 or PKCS #1, that
// works: it is tried.
func ParseServiceAccount(data []byte, scopes ...string) (*ServiceAccountCredentials, error) {
	f := parseTyped(data, "service_account")
	s := &ServiceAccountCredentials{Email: f.str("client_email"), KeyID: f.str("private_key_id"), TokenURI: f.endpoint("token_uri"),
		ProjectID: f.str("project_id"), QuotaProject: f.project("quota_project_id"), Scopes: scopeList(scopes...)}
	f.require(s.Email != "", "has no client_email")
	key, err := parsePrivateKey(f.str("private_key"))
	if err == nil {
		s.signer, err = newSigner(key, s.KeyID)
	}
	f.require(err == nil, "can't be used: %w", err)
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the service account file %w", f.err)
	}
	return s, nil
}

// with returns a copy that has been changed, with a cache of its own.
func (s *ServiceAccountCredentials) with(change func(c *ServiceAccountCredentials)) *ServiceAccountCredentials {
	c := &ServiceAccountCredentials{Email: s.Email, KeyID: s.KeyID, TokenURI: s.TokenURI, ProjectID: s.ProjectID, QuotaProject: s.QuotaProject,
		Scopes: slices.Clone(s.Scopes), Subject: s.Subject, Claims: maps.Clone(s.Claims), HTTPClient: s.HTTPClient,
		signer: s.signer, selfSigned: s.selfSigned, audience: s.audience}
	change(c)
	return c
}

// WithScopes returns a copy that asks for scopes.
func (s *ServiceAccountCredentials) WithScopes(scopes ...string) *ServiceAccountCredentials {
	return s.with(func(c *ServiceAccountCredentials) { c.Scopes = scopeList(scopes...) })
}

// WithSubject returns a copy that acts on behalf of user, an e-mail address (domain-wide delegation).
func (s *ServiceAccountCredentials) WithSubject(user string) *ServiceAccountCredentials {
	return s.with(func(c *ServiceAccountCredentials) { c.Subject = user })
}

// WithAudience returns a copy whose access tokens are JWTs that it signs itself, without any
// request, for the API at audience, such as "https://pubsub.googleapis.com/". If audience is
// empty, they are for the Scopes instead. Such a token has no Subject.
func (s *ServiceAccountCredentials) WithAudience(audience string) *ServiceAccountCredentials {
	return s.with(func(c *ServiceAccountCredentials) { c.selfSigned, c.audience = true, audience })
}

// IDTokenSource returns a source of ID tokens for audience, such as the URL of a Cloud
// Run service, in place of access tokens.
func (s *ServiceAccountCredentials) IDTokenSource(audience string) TokenSource {
	return s.with(func(c *ServiceAccountCredentials) { c.selfSigned, c.idToken, c.audience = false, true, audience })
}

// Token returns an access token; it implements [TokenSource]. Its errors are an [*Error] of the
// token endpoint, or the reason why ctx ended.
func (s *ServiceAccountCredentials) Token(ctx context.Context) (*Token, error) {
	return s.cache.token(ctx, s)
}

func (s *ServiceAccountCredentials) fetch(ctx context.Context, _ *Token) (*Token, error) {
	now := time.Now()
	assertion, err := s.assertion(now)
	if err != nil {
		return nil, err
	}
	if s.selfSigned {
		return &Token{AccessToken: NewSecret(assertion), Type: "Bearer", Scopes: s.Scopes, Expiry: now.Add(assertionLifetime - backdate).Round(0)}, nil
	}
	r := &request{op: "signing in as " + printable(s.Email, 256), url: s.TokenURI, client: s.HTTPClient, form: url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}}
	ans := r.do(ctx)
	if s.idToken {
		return ans.idToken(ans.fields().str("id_token"))
	}
	return ans.token(joinScopes(s.Scopes))
}

// idToken returns an ID token that is to be used as an access token.
func (a *answer) idToken(raw string) (*Token, error) {
	claims, err := parseClaims(raw)
	if err != nil || !validToken(raw) || claims.Expiry.IsZero() {
		return nil, a.bad("has no usable ID token")
	}
	return &Token{AccessToken: NewSecret(strings.Clone(raw)), Type: "Bearer", Expiry: claims.Expiry}, nil
}

var errNoAudience = errors.New("oauth2: an ID token needs an audience")

// assertion returns a JWT that the account signs: for the token endpoint (RFC 7523, Section 3), or as
// an access token of its own.
func (s *ServiceAccountCredentials) assertion(now time.Time) (string, error) {
	c := jwtClaims{Issuer: s.Email, Subject: s.Subject, Audience: s.TokenURI}
	switch {
	case s.signer == nil:
		return "", errors.New("oauth2: the service account has no key; make it with ParseServiceAccount")
	case s.selfSigned && s.Subject != "":
		return "", errors.New("oauth2: a self-signed token can't act for a Subject; use WithSubject without WithAudience")
	case s.idToken && s.audience == "":
		return "", errNoAudience
	case s.selfSigned:
		c.Subject, c.Audience = s.Email, s.audience
	}
	if s.idToken {
		c.TargetAudience = s.audience
	} else if !s.selfSigned || s.audience == "" {
		c.Scope = strings.Join(s.Scopes, " ")
	}
	for _, name := range reservedClaims {
		if _, ok := s.Claims[name]; ok {
			return "", fmt.Errorf("oauth2: Claims has %q, which the package sets itself", name)
		}
	}
	return s.signer.sign(now, assertionLifetime, &c, s.Claims)
}

// impersonate returns the tokens of a service account that src may act as, from url (the IAM
// Credentials API, generateAccessToken).
func impersonate(src TokenSource, url string, delegates, scopes []string, quota string) TokenSource {
	if len(scopes) == 0 {
		scopes = []string{cloudPlatformScope}
	}
	return &source{quota: quota, get: func(ctx context.Context) (*Token, error) {
		tok, err := src.Token(ctx)
		if err != nil {
			return nil, err
		}
		body, _ := json.Marshal(map[string]any{"delegates": delegates, "scope": scopes, "lifetime": "3600s"})
		r := &request{op: "impersonating the service account", url: url, json: body, header: http.Header{
			"Authorization": {"Bearer " + tok.AccessToken.Reveal()}, "Content-Type": {"application/json"}}}
		ans := r.do(ctx)
		f := ans.fields()
		t := &Token{AccessToken: f.secret("accessToken"), Type: "Bearer", Scopes: scopes, Expiry: f.expiry("expireTime")}
		if f.err != nil || t.AccessToken.empty() || t.Expiry.IsZero() {
			return nil, ans.bad("has no usable accessToken and expireTime")
		}
		return t, nil
	}}
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

	cache tokenCache
}

// Token returns an access token; it implements [TokenSource].
func (c *ComputeCredentials) Token(ctx context.Context) (*Token, error) { return c.cache.token(ctx, c) }

// IDTokenSource returns a source of ID tokens for audience, such as the URL of a Cloud Run service,
// in place of access tokens.
func (c *ComputeCredentials) IDTokenSource(audience string) TokenSource {
	return &source{quota: c.QuotaProject, get: func(ctx context.Context) (*Token, error) {
		if audience == "" {
			return nil, errNoAudience
		}
		ans := c.get(ctx, "identity?format=full&audience="+url.QueryEscape(audience))
		return ans.idToken(strings.TrimSpace(string(ans.body)))
	}}
}

// ProjectID returns the project of the machine.
func (c *ComputeCredentials) ProjectID(ctx context.Context) (string, error) {
	return metadata(ctx, "project/project-id").text(validProject)
}

// Email returns the e-mail address of the service account.
func (c *ComputeCredentials) Email(ctx context.Context) (string, error) {
	return c.get(ctx, "email").text(validText)
}

// get asks for something of the account.
func (c *ComputeCredentials) get(ctx context.Context, leaf string) *answer {
	account := cmp.Or(c.Account, "default")
	if strings.Trim(account, letters+"@._-") != "" || strings.HasPrefix(account, ".") { // it goes into a path
		return &answer{err: fmt.Errorf("oauth2: %q is not the address of a service account", printable(account, 256))}
	}
	return metadata(ctx, "instance/service-accounts/"+account+"/"+leaf)
}

func (c *ComputeCredentials) fetch(ctx context.Context, _ *Token) (*Token, error) {
	leaf := "token"
	if len(c.Scopes) > 0 {
		leaf += "?scopes=" + url.QueryEscape(strings.Join(c.Scopes, ","))
	}
	return c.get(ctx, leaf).token(joinScopes(c.Scopes))
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// validProject reports whether s can be a project ID, which goes into a header.
func validProject(s string) bool { return s != "" && strings.Trim(s, letters+".:-") == "" }

// metadataClient uses no proxy, which could read and give out the machine's tokens. Nothing
// changes it.
var metadataClient = &http.Client{Transport: &http.Transport{
	DialContext: (&net.Dialer{Timeout: metadataTimeout}).DialContext, MaxResponseHeaderBytes: maxHeader, IdleConnTimeout: 90 * time.Second,
}}

// metadata asks the metadata server.
func metadata(ctx context.Context, path string) *answer {
	host := cmp.Or(os.Getenv("GCE_METADATA_HOST"), "169.254.169.254")
	if u, err := url.Parse("http://" + host); err != nil || u.Host != host || u.Hostname() == "" || strings.Trim(host, letters+".:-[]") != "" {
		return &answer{err: errors.New("oauth2: GCE_METADATA_HOST is not a host, or host:port")}
	}
	return (&request{op: "asking the metadata server", url: "http://" + host + "/computeMetadata/v1/" + path, client: metadataClient, metadata: true,
		header: http.Header{"Metadata-Flavor": {"Google"}}}).do(ctx)
}

// text returns an answer that is a text.
func (a *answer) text(valid func(string) bool) (string, error) {
	if s := string(a.body); len(s) < maxErrorText && valid(s) {
		return s, nil
	}
	return "", a.bad("is not what was asked for")
}
