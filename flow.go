package oauth2

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Limits of an attempt to sign in.
const (
	maxCode         = 8 << 10   // bytes
	maxRedirect     = 64 << 10  // bytes of a redirected URL
	attemptLifetime = time.Hour // from AuthorizationURL to the exchange; a person may be slow, an authorization server gives a code 10 minutes at most
)

// A Flow signs a person in with the authorization code grant (RFC 6749, Section 4.1)
// and PKCE (RFC 7636). It holds one attempt at a time: AuthorizationURL begins one, with a new state,
// verifier and nonce, and FetchTokenFromRedirect or FetchToken completes it. A web application makes a
// Flow for each sign-in and keeps it between its two requests with [Flow.Marshal]; a program on a
// person's machine uses [InstalledAppFlow], which does the rest too.
//
// A Flow is safe for concurrent use once its fields are set.
type Flow struct {
	// RedirectURI is where the authorization server sends the browser afterwards. It
	// must be registered, to the letter. It is required, but InstalledAppFlow finds one.
	RedirectURI string
	// Params are added to the authorization request: prompt, login_hint, hd,
	// include_granted_scopes, audience, resource and what else the server knows. access_type is "offline"
	// unless it is set here, since Google issues no refresh token otherwise. audience and resource
	// (RFC 8707) are sent to the token endpoint too; several resources work only where the server issues
	// one token for all. The parameters that the package itself sets are refused.
	Params url.Values

	client *ClientSecrets
	scopes []string

	attempt atomic.Pointer[attempt] // nil before AuthorizationURL
}

// An attempt is all that has to stay the same between the authorization request and the
// exchange, so that nothing that is changed meanwhile, or that a redirect says, can
// send the code elsewhere (RFC 9700, Section 4.4).
type attempt struct {
	client                 ClientSecrets
	redirectURI            string
	scopes                 []string
	extra                  url.Values // for the token endpoint
	state, verifier, nonce Secret
	began                  time.Time
	used                   atomic.Bool // the code has been exchanged
}

// NewFlow returns a Flow that asks for scopes on behalf of client. A string with several
// scopes, separated by spaces, counts as several.
func NewFlow(client *ClientSecrets, scopes ...string) *Flow {
	return &Flow{client: client, scopes: scopeList(scopes...)}
}

// reservedParams are those that carry the protocol. Were they the caller's, a parameter that
// came from outside could replace them.
var reservedParams = []string{
	"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "request", "request_uri",
	"grant_type", "code", "code_verifier", "refresh_token", "assertion", "client_secret", "client_assertion", "client_assertion_type",
}

// AuthorizationURL begins an attempt and returns the URL to open in the person's browser
// (RFC 6749, Section 4.1.1). The URL contains the state; don't log it. Whatever redirect of an earlier
// attempt arrives after this is refused. It fails if the client, RedirectURI or Params
// can't be used.
func (f *Flow) AuthorizationURL() (string, error) {
	if f.client == nil || f.client.ClientID == "" {
		return "", errors.New("oauth2: the flow's client has no ClientID")
	}
	u, err := checkEndpoint(f.client.AuthURI)
	if err != nil {
		return "", fmt.Errorf("oauth2: the client's AuthURI %w", err)
	}
	if _, err := checkEndpoint(f.client.TokenURI); err != nil { // before a person has signed in for nothing
		return "", fmt.Errorf("oauth2: the client's TokenURI %w", err)
	}
	if err := f.client.authenticate(url.Values{}, http.Header{}); err != nil {
		return "", err
	}
	if _, err := f.client.checkRedirectURI(f.RedirectURI); err != nil {
		return "", err
	}
	for _, name := range reservedParams {
		if f.Params.Has(name) {
			return "", fmt.Errorf("oauth2: Params has %q, which the package sets itself", name)
		}
	}
	a := &attempt{client: *f.client, redirectURI: f.RedirectURI, scopes: f.scopes, extra: f.extra(), state: randomSecret(), verifier: randomSecret(), began: time.Now()}
	q := url.Values{"response_type": {"code"}, "client_id": {a.client.ClientID}, "redirect_uri": {a.redirectURI}, "state": {a.state.Reveal()},
		"code_challenge": {challenge(a.verifier.Reveal())}, "code_challenge_method": {"S256"}, "access_type": {"offline"}}
	if len(a.scopes) > 0 {
		q.Set("scope", strings.Join(a.scopes, " "))
	}
	if slices.Contains(a.scopes, "openid") { // without it there is no ID token, and some servers refuse a nonce
		a.nonce = randomSecret()
		q.Set("nonce", a.nonce.Reveal())
	}
	maps.Copy(q, f.Params)
	own, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", errors.New("oauth2: the client's AuthURI has a malformed query")
	}
	for name, values := range own {
		if q.Has(name) {
			return "", fmt.Errorf("oauth2: the client's AuthURI has the parameter %q in its query, which the request sets too", printable(name, 64))
		}
		q[name] = values
	}
	u.RawQuery = q.Encode()
	f.attempt.Store(a)
	return u.String(), nil
}

// extra returns those of Params that the token endpoint gets too.
func (f *Flow) extra() url.Values {
	return url.Values{"audience": slices.Clone(f.Params["audience"]), "resource": slices.Clone(f.Params["resource"])}
}

func (c *ClientSecrets) checkRedirectURI(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	switch {
	case uri == "":
		err = fmt.Errorf("oauth2: the flow has no RedirectURI; registered are %q", c.RedirectURIs)
	case err != nil || u.Scheme == "" || strings.Contains(uri, "#"):
		err = errors.New("oauth2: RedirectURI is not an absolute URI without fragment (RFC 6749, Section 3.1.2)")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		err = errors.New("oauth2: RedirectURI is a plain http URL on another machine, where anybody on the way could read the code; use https")
	}
	return u, err
}

// challenge returns the S256 code challenge of a verifier (RFC 7636, Section 4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// FetchTokenFromRedirect completes the attempt with the URL that the authorization server
// redirected the browser to: whole, or from its "?" on, as a handler finds it in
// r.URL.String(). It refuses one that does not belong to the attempt, is malformed, or came
// from another issuer (RFC 9207), and exchanges the code for tokens.
//
// Where the server answered with an error, as when the person declined, the error is an
// [*Error] with its code, such as "access_denied". After any other refusal of the redirect
// the attempt is still open, since anybody can send one; a code is
// exchanged only once.
func (f *Flow) FetchTokenFromRedirect(ctx context.Context, redirected string) (*Credentials, error) {
	a, err := f.current()
	if err != nil {
		return nil, err
	}
	code, err := a.parseRedirect(redirected)
	if err != nil {
		return nil, err
	}
	return a.exchange(ctx, code)
}

// FetchToken completes the attempt with a bare authorization code, which a person copied or another
// transport delivered. Prefer [Flow.FetchTokenFromRedirect]: a bare code comes without state, so that only
// PKCE binds it to this attempt.
func (f *Flow) FetchToken(ctx context.Context, code string) (*Credentials, error) {
	a, err := f.current()
	if err != nil {
		return nil, err
	}
	if !validCode(code) {
		return nil, errBadCode
	}
	return a.exchange(ctx, code)
}

func (f *Flow) current() (*attempt, error) {
	switch a := f.attempt.Load(); {
	case a == nil:
		return nil, errors.New("oauth2: no sign-in is under way; call AuthorizationURL first, or ResumeFlow")
	case time.Since(a.began) > attemptLifetime:
		return nil, errors.New("oauth2: the sign-in was begun more than an hour ago; begin it anew")
	case a.used.Load():
		return nil, errUsed
	default:
		return a, nil
	}
}

var errUsed = errors.New("oauth2: this sign-in has been completed; a code is exchanged only once (RFC 6749, Section 4.1.2)")

var errBadCode = errors.New("oauth2: the redirect has no authorization code, or one with characters that no code has")

func validCode(code string) bool { return validText(code) && len(code) <= maxCode }

// parseRedirect checks where the browser was redirected to and returns the code.
func (a *attempt) parseRedirect(redirected string) (code string, err error) {
	_, query, ok := strings.Cut(redirected, "?")
	if !ok || len(redirected) > maxRedirect {
		return "", errors.New("oauth2: the redirect has no query; give the whole URL")
	}
	query, _, _ = strings.Cut(query, "#")
	q, err := url.ParseQuery(query) // URL.Query would drop what is malformed
	if err != nil {
		return "", errors.New("oauth2: the redirect's query is malformed")
	}
	for _, name := range []string{"code", "state", "iss", "error", "error_description", "error_uri", "scope"} {
		if len(q[name]) > 1 { // of which a proxy or a server may have seen the other one
			return "", fmt.Errorf("oauth2: the redirect has the parameter %q twice (RFC 6749, Section 3.1)", name)
		}
	}
	state, iss := a.state.Reveal(), q.Get("iss")
	clean := strings.NewReplacer(state, "[redacted]")
	switch {
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1:
		// Somebody else's sign-in, planted to be completed here (RFC 6749, Section 10.12), or an old tab.
		return "", errors.New("oauth2: the redirect does not belong to this sign-in: its state is not the one sent")
	case q.Has("iss") && a.client.Issuer != "" && subtle.ConstantTimeCompare([]byte(iss), []byte(a.client.Issuer)) != 1:
		// Mix-up: another server would get this one's code (RFC 9207).
		return "", fmt.Errorf("oauth2: the redirect comes from the issuer %q, not from %q", printable(clean.Replace(iss), maxErrorText), a.client.Issuer)
	case a.client.issRequired && !q.Has("iss"):
		return "", errors.New("oauth2: the redirect does not name its issuer, as this one's do (RFC 9207)")
	case q.Has("code") == q.Has("error"):
		return "", errors.New("oauth2: the redirect has both or neither of code and error")
	case q.Has("error"):
		e := serverError("signing in", q.Get, clean.Replace)
		e.text += advice(e.Code, a.redirectURI)
		return "", e
	case !validCode(q.Get("code")):
		return "", errBadCode
	}
	return q.Get("code"), nil
}

// isAnswer reports whether what parseRedirect checked is the authorization server's answer to the attempt, be
// it an error; anything else may come from anybody, and is no reason to give up.
func isAnswer(err error) bool { return err == nil || errors.As(err, new(*Error)) }

// advice returns what to add to an error of the server.
func advice(code, redirectURI string) string {
	return map[string]string{
		"access_denied":         "; the person, or an administrator, declined",
		"expired_token":         "; the code has expired: sign in again",
		"invalid_grant":         "; the code was used before, has expired, or was issued for another redirect URI: sign in again",
		"redirect_uri_mismatch": fmt.Sprintf("; register the redirect URI %q for the client", redirectURI),
	}[code]
}

// exchange sends the code (RFC 6749, Section 4.1.3), once.
func (a *attempt) exchange(ctx context.Context, code string) (*Credentials, error) {
	if a.used.Swap(true) {
		return nil, errUsed
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {a.redirectURI}, "code_verifier": {a.verifier.Reveal()}}
	maps.Copy(form, a.extra)
	return a.client.redeem(ctx, "exchanging the code", form, a.scopes, a.nonce.Reveal())
}

// redeem sends the grant that ends a sign-in.
func (c *ClientSecrets) redeem(ctx context.Context, op string, form url.Values, scopes []string, nonce string) (*Credentials, error) {
	tok, err := c.post(ctx, op, c.TokenURI, form, true).token(joinScopes(scopes))
	if e := (*Error)(nil); errors.As(err, &e) {
		e.text += advice(e.Code, form.Get("redirect_uri"))
	}
	if err != nil {
		return nil, err
	}
	return c.signedIn(tok, scopes, nonce)
}

// Marshal returns the attempt, for a web application to keep until the redirect: in its
// session store, or sealed in a cookie. It contains secrets, and must be readable neither by
// the person's browser nor by anybody else. It fails if no sign-in is under way.
func (f *Flow) Marshal() ([]byte, error) {
	a, err := f.current()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"client_id": a.client.ClientID, "token_uri": a.client.TokenURI, "redirect_uri": a.redirectURI, "scopes": a.scopes,
		"extra": a.extra, "state": a.state.Reveal(), "code_verifier": a.verifier.Reveal(), "nonce": a.nonce.Reveal(), "began": a.began})
}

// ResumeFlow returns the Flow that Marshal stored. client must be the one with which the
// sign-in was begun. data must come from where it was stored, and from the session
// of the same browser: this is what protects the person from completing somebody
// else's sign-in. A Flow is resumed once; drop data when it is.
func ResumeFlow(client *ClientSecrets, data []byte) (*Flow, error) {
	s := parseFields(data)
	a := &attempt{redirectURI: s.str("redirect_uri"), scopes: s.strs("scopes"), state: s.secret("state"), verifier: s.secret("code_verifier"),
		nonce: s.secret("nonce"), began: s.expiry("began")}
	if s.err != nil || json.Unmarshal([]byte(s.object["extra"]), &a.extra) != nil || a.state.empty() || a.verifier.empty() {
		return nil, errors.New("oauth2: this is no stored sign-in")
	}
	if client == nil || s.str("client_id") != client.ClientID || s.str("token_uri") != client.TokenURI {
		return nil, errors.New("oauth2: the stored sign-in was begun with another client or authorization server")
	}
	a.client = *client
	f := &Flow{RedirectURI: a.redirectURI, client: client, scopes: a.scopes}
	f.attempt.Store(a)
	return f, nil
}
