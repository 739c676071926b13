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
	"sync/atomic"
	"time"
)

// Limits of an attempt to sign in.
const (
	maxCode = 8 << 10 // bytes
	// attemptLifetime is how long the user may take, from AuthorizationURL to the
	// exchange. An authorization server gives a code 10 minutes at most.
	attemptLifetime = time.Hour
)

// A Flow signs a user in with the authorization code grant (RFC 6749, Section
// 4.1) and PKCE (RFC 7636). It holds one attempt at a time: AuthorizationURL
// begins one, with a new state, verifier and nonce, and FetchTokenFromRedirect
// or FetchToken completes it. A web application makes a Flow for each sign-in
// and keeps it between its two requests with [Flow.Marshal]. A program on a
// user's machine uses [InstalledAppFlow], which does the rest too.
//
// A Flow is safe for concurrent use once its fields are set.
type Flow struct {
	// RedirectURI is where the authorization server sends the browser afterwards.
	// It must be registered, to the letter. It is required.
	RedirectURI string
	// Params are added to the authorization request: prompt, login_hint, hd,
	// include_granted_scopes, audience, resource and what else the server knows.
	// access_type is "offline" unless it is set here, since Google issues no
	// refresh token otherwise; a nil value removes it. audience and resource (RFC
	// 8707) are sent to the token endpoint too. With the scope openid, the ID token
	// must agree with hd and max_age. response_mode may be query, or form_post for
	// a web application. The parameters that the package itself sets are refused.
	// It may be nil.
	Params url.Values
	// TokenParams are sent to the token endpoint with the code, and with each
	// refresh of the credentials: resource, audience, scope and what else the
	// server needs there. Other parameters of the protocol are refused. It may be
	// nil.
	TokenParams url.Values

	client *ClientSecrets
	scopes []string

	attempt atomic.Pointer[attempt] // nil before AuthorizationURL
}

// An attempt is all that has to stay the same between the authorization request
// and the exchange, so that nothing that is changed meanwhile, or that a
// redirect says, can send the code elsewhere (RFC 9700, Section 4.4).
type attempt struct {
	signInRequest // its params are all that was sent, with the state and the nonce
	client        ClientSecrets
	verifier      Secret
	began         time.Time
	used          atomic.Bool // the code has been exchanged
}

// NewFlow returns a Flow that asks for scopes on behalf of client. A string
// with several scopes, separated by spaces, counts as several.
func NewFlow(client *ClientSecrets, scopes ...string) *Flow {
	return &Flow{client: client, scopes: scopeList(scopes...)}
}

// AuthorizationURL begins an attempt and returns the URL to open in the user's
// browser (RFC 6749, Section 4.1.1). The URL contains the state; don't log it.
// A redirect of an earlier attempt is refused from then on. It fails if the
// client, RedirectURI or Params can't be used.
func (f *Flow) AuthorizationURL() (string, error) {
	if f.client == nil {
		return "", errNoClient
	}
	u, err := checkEndpoint(f.client.AuthURI)
	if err != nil {
		return "", fmt.Errorf("oauth2: the client's AuthURI %w", err)
	}
	if err := f.check(); err != nil {
		return "", err
	}
	a := f.begin()
	for name, values := range u.Query() { // without what is malformed
		if a.params.Has(name) || isReserved(name) || name == "response_mode" {
			return "", fmt.Errorf("oauth2: AuthURI has the parameter %q, which the flow sets", name)
		}
		a.params[name] = values
	}
	u.RawQuery = a.params.Encode()
	f.attempt.Store(a)
	return u.String(), nil
}

// check refuses what would make the sign-in fail after the user has done their
// part.
func (f *Flow) check() error {
	// A request that is not sent.
	_, err := f.client.request("the client's TokenURI", url.Values{}, nil).compose()
	if err != nil {
		return err
	}
	if _, err := checkRedirectURI(f.RedirectURI); err != nil {
		return err
	}
	for name := range f.Params {
		if isReserved(name) {
			return fmt.Errorf("oauth2: Params has %q, which the package sets itself", name)
		}
	}
	for _, mode := range f.Params["response_mode"] {
		if mode != "query" && mode != "form_post" {
			// The code would not arrive, or where scripts can read it.
			return errors.New(
				"oauth2: Params has a response_mode other than query and form_post")
		}
	}
	return checkTokenParams(f.TokenParams)
}

// begin returns a new attempt.
func (f *Flow) begin() *attempt {
	a := &attempt{
		signInRequest: signInRequest{
			scopes:      f.scopes,
			tokenParams: maps.Clone(f.TokenParams),
		},
		client:   *f.client,
		verifier: randomSecret(),
		began:    time.Now(),
	}
	a.params = url.Values{
		"response_type":         {"code"},
		"client_id":             {f.client.ClientID},
		"redirect_uri":          {f.RedirectURI},
		"state":                 {randomSecret().Reveal()},
		"code_challenge":        {challenge(a.verifier.Reveal())},
		"code_challenge_method": {"S256"},
		"access_type":           {"offline"},
	}
	maps.Copy(a.params, f.Params) // which have been checked
	if len(f.scopes) > 0 {
		a.params.Set("scope", joinScopes(f.scopes))
	}
	if slices.Contains(f.scopes, "openid") { // without it, some servers refuse a nonce
		a.nonce = randomSecret()
		a.params.Set("nonce", a.nonce.Reveal())
	}
	return a
}

func checkRedirectURI(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	isURI := err == nil && u.Scheme != "" && !strings.Contains(uri, "#")
	// Without TLS, anybody on the way could read the code.
	if !isURI || u.Scheme == "http" && !isPrivate(u) {
		return nil, errors.New(
			"oauth2: RedirectURI is not absolute, has a fragment, or needs https")
	}
	return u, nil
}

// FetchTokenFromRedirect completes the attempt with the URL that the
// authorization server redirected the browser to: whole, or from its "?" on, as
// a handler finds it in r.URL.String(). It refuses a redirect that does not
// belong to the attempt, is malformed, or came from another issuer (RFC 9207),
// and exchanges the code for tokens.
//
// If the server answered with an error, as when the user declined, the error is
// an [*Error] with its code, such as "access_denied". After any other refusal
// of the redirect the attempt is still open, since anybody can send one. A code
// is exchanged only once.
func (f *Flow) FetchTokenFromRedirect(
	ctx context.Context, redirected string,
) (*Credentials, error) {
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

// FetchToken completes the attempt with a bare authorization code, which the
// user copied or another transport delivered. Prefer
// [Flow.FetchTokenFromRedirect]: a bare code comes without a state, so that
// only PKCE binds it to this attempt.
func (f *Flow) FetchToken(ctx context.Context, code string) (*Credentials, error) {
	a, err := f.current()
	if err != nil {
		return nil, err
	}
	if len(code) > maxCode || !validText(code) {
		return nil, errBadCode
	}
	return a.exchange(ctx, code)
}

// Errors of an attempt.
var (
	errNotOpen = errors.New(
		"oauth2: no sign-in is under way: each works only once, and for an hour; begin it anew")
	errBadCode = errors.New("oauth2: the redirect has no usable code, or an error too")
)

// current returns the attempt under way.
func (f *Flow) current() (*attempt, error) {
	a := f.attempt.Load()
	if a == nil || a.used.Load() || time.Since(a.began) > attemptLifetime {
		return nil, errNotOpen
	}
	return a, nil
}

// parseRedirect checks that a redirect belongs to the attempt and comes from
// its server, and returns the code. If the server answered with an error, it
// returns an [*Error].
func (a *attempt) parseRedirect(redirected string) (string, error) {
	_, query, _ := strings.Cut(redirected, "?")
	query, _, _ = strings.Cut(query, "#")
	q, err := url.ParseQuery(query) // URL.Query would drop what is malformed
	if err != nil {
		return "", errors.New("oauth2: the redirect is malformed")
	}
	for name := range strings.FieldsSeq("code state iss error error_description error_uri scope") {
		if len(q[name]) > 1 { // a proxy or the server may have used the other one
			return "", fmt.Errorf(
				"oauth2: the redirect has the parameter %q twice (RFC 6749, Section 3.1)", name)
		}
	}
	if !sameText(q.Get("state"), a.params.Get("state")) {
		// Somebody else's sign-in, planted to be completed here (RFC 6749, Section
		// 10.12), or an old tab.
		return "", errors.New(
			"oauth2: the redirect does not belong to this sign-in: its state is not the one sent")
	}
	issuer := a.client.Issuer
	_, isOurs := matchIssuer(issuer, q.Get("iss"))
	mustMatch := q.Has("iss") || a.client.issRequired
	if mustMatch && issuer != "" && !isOurs {
		// Mix-up: another server would get this one's code (RFC 9207).
		return "", fmt.Errorf(
			"oauth2: the redirect does not name its issuer as %q (RFC 9207)", issuer)
	}
	if q.Has("error") && !q.Has("code") {
		secrets := []string{a.params.Get("state"), a.nonce.Reveal()}
		e := oauthError("signing in", q.Get, secrets)
		e.text += advice(e.Code, a.params)
		return "", e
	}
	code := q.Get("code")
	if q.Has("error") || len(code) > maxCode || !validText(code) {
		return "", errBadCode
	}
	return code, nil
}

// isAnswer reports whether what parseRedirect checked is the authorization
// server's answer to the attempt, be it an error. Anything else may come from
// anybody, and is no reason to give up.
func isAnswer(err error) bool {
	return err == nil || errors.As(err, new(*Error))
}

// advice returns what the text of a failed sign-in should add to an error code.
// form is what was sent.
func advice(code string, form url.Values) string {
	switch code {
	case "access_denied", "consent_required", "authorization_declined",
		"user_cancelled_login", "user_cancelled_authorize":
		// A code means that the user agreed. Some servers answer access_denied to a
		// wrong client secret.
		if !form.Has("code") {
			return "; the user, or an administrator, declined"
		}
	case "invalid_grant", "expired_token":
		return "; the code was used, has expired, or is of another redirect URI: sign in again"
	case "redirect_uri_mismatch":
		return fmt.Sprintf("; register the redirect URI %q for the client",
			form.Get("redirect_uri"))
	}
	return ""
}

// exchange sends the code (RFC 6749, Section 4.1.3), once.
func (a *attempt) exchange(ctx context.Context, code string) (*Credentials, error) {
	// Without a ctx nothing is sent.
	if ctx != nil && a.used.Swap(true) {
		return nil, errNotOpen
	}
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  a.params["redirect_uri"],
		"code_verifier": {a.verifier.Reveal()},
	}
	return a.client.redeem(ctx, "exchanging the code", form, &a.signInRequest)
}

// redeem sends the grant that ends a sign-in, which form is, with what else the
// token endpoint gets. It returns the Credentials, whose ID token must be as
// asked.
func (c *ClientSecrets) redeem(
	ctx context.Context, op string, form url.Values, asked *signInRequest,
) (*Credentials, error) {
	sent := url.Values{
		"audience": asked.params["audience"],
		"resource": asked.params["resource"],
	}
	maps.Copy(sent, asked.tokenParams)
	maps.Copy(sent, form) // last, so that nothing replaces it
	r := c.request(op, sent, nil)
	r.once = true
	ans, err := r.do(ctx)
	if err != nil {
		e := asError(err)
		e.text += advice(e.Code, form)
		return nil, err
	}
	scope := joinScopes(asked.scopes)
	tok, err := ans.token(scope)
	if err != nil {
		return nil, err
	}
	idToken, err := c.checkSignIn(tok.IDToken, asked)
	if err != nil {
		return nil, fmt.Errorf("oauth2: the ID token that came with the sign-in %w", err)
	}
	creds := &Credentials{
		TokenParams: asked.tokenParams,
		client:      c,
		scope:       scope,
	}
	creds.rest.Store(&stored{granted: true, idToken: idToken})
	creds.cache.keep(tok)
	return creds, nil
}

// checkSignIn checks the claims of the ID token of a sign-in and returns them.
// The signature need not be checked, since the token came straight from the
// token endpoint (OpenID Connect Core, Section 3.1.3.7).
func (c *ClientSecrets) checkSignIn(idToken Secret, asked *signInRequest) (*IDToken, error) {
	compares := asked.params.Get("hd") != "" || asked.params.Get("max_age") != ""
	if c.Issuer == "" && !compares {
		return nil, nil
	}
	if idToken.empty() {
		isAsked := slices.Contains(asked.scopes, "openid")
		if isAsked && (compares || !asked.nonce.empty()) {
			// Its nonce can't be compared: the code may be of somebody else's sign-in.
			return nil, errors.New("is missing, although the scope openid was asked for")
		}
		return nil, nil
	}
	t, err := parseClaims(idToken.Reveal())
	if err == nil {
		err = t.check(expected{
			issuer:   c.Issuer,
			audience: c.ClientID,
			nonce:    asked.nonce.Reveal(),
			leeway:   defaultLeeway,
			signIn:   asked,
		})
	}
	if c.Issuer == "" {
		return nil, err
	}
	return t, err
}

// Marshal returns the attempt, for a web application to keep until the
// redirect: in its session store, or sealed in a cookie. It contains secrets,
// and must be readable neither by the user's browser nor by anybody else. It
// fails if no sign-in is under way.
func (f *Flow) Marshal() ([]byte, error) {
	a, err := f.current()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"client_id":     a.client.ClientID,
		"token_uri":     a.client.TokenURI,
		"request":       a.params,
		"token_params":  a.tokenParams,
		"code_verifier": a.verifier.Reveal(),
		"began":         a.began,
	})
}

// ResumeFlow returns the Flow that Marshal stored. client must be the one with
// which the sign-in was begun. data must come from where it was stored, and
// from the session of the same browser: this protects the user from completing
// somebody else's sign-in. A Flow is resumed once; drop data when it is. It can
// only complete that sign-in: its fields are not set.
func ResumeFlow(client *ClientSecrets, data []byte) (*Flow, error) {
	f := parseFields(data)
	sent := f.params("request")
	a := &attempt{
		signInRequest: signInRequest{
			scopes:      scopeList(sent["scope"]...),
			nonce:       NewSecret(sent.Get("nonce")),
			params:      sent,
			tokenParams: f.params("token_params"),
		},
		verifier: f.secret("code_verifier"),
		began:    f.expiry("began"),
	}
	isOurs := client != nil && client.same(f.client())
	isWhole := f.err == nil && sent.Get("state") != "" && !a.verifier.empty()
	if !isOurs || !isWhole {
		return nil, errors.New("oauth2: this is no stored sign-in, or another client's")
	}
	a.client = *client
	flow := NewFlow(client)
	flow.attempt.Store(a)
	return flow, nil
}
