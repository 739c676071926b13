package oauth2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
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
	"id_token", "granted_scopes", "issuer", "revocation_uri", "token_endpoint_auth_method",
}

// ParseCredentials parses a file in Google's authorized_user format, as MarshalAuthorizedUser, gcloud and the
// Python libraries write it. A missing type is accepted, as Python writes none; another one is refused by name.
// token_uri is Google's unless the file has one. A token without an expiry is not used, since it may be
// old.
func ParseCredentials(data []byte) (*Credentials, error) {
	f, err := parseTyped(data, "the credentials", "authorized_user")
	if err != nil {
		return nil, err
	}
	client := &ClientSecrets{ClientID: f.str("client_id"), ClientSecret: NewSecret(f.str("client_secret")), TokenURI: f.str("token_uri"),
		Issuer: f.str("issuer"), RevocationURI: f.str("revocation_uri"), AuthMethod: f.str("token_endpoint_auth_method")}
	tok := &Token{AccessToken: f.secret("token"), RefreshToken: f.secret("refresh_token"), IDToken: f.secret("id_token"),
		Type: "Bearer", Expiry: f.expiry("expiry"), Scopes: f.scopes("granted_scopes")}
	rest := &stored{granted: f.has("granted_scopes"), unknown: maps.Clone(f.object)}
	scopes := f.scopes("scopes")
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the credentials: the file %w", f.err)
	}
	if client.ClientID == "" || tok.RefreshToken.empty() && tok.AccessToken.empty() {
		return nil, errors.New("oauth2: the credentials lack a client_id or a refresh_token")
	}
	if client.TokenURI == "" {
		client.TokenURI = googleTokenURI
	}
	endpoint, err := checkEndpoint(client.TokenURI)
	if err != nil {
		return nil, fmt.Errorf("oauth2: the credentials: token_uri %w", err)
	}
	if isGoogle(endpoint) {
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
	c := &Credentials{client: client, scopes: scopes, rest: rest}
	c.cache.keep(tok)
	return c, nil
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
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		if t, err = time.Parse(time.RFC3339, s+"Z"); err != nil {
			f.fail(name, "a time (RFC 3339)")
		}
	}
	return t
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
		for name, text := range c.rest.unknown {
			file[name] = json.RawMessage(text)
		}
	}
	return json.MarshalIndent(file, "", "  ")
}
