package oauth2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// When a cached token is renewed, and how failures are spaced.
const (
	// earlyRefresh is how long before its expiry a token is renewed. Google's
	// metadata server returns a new one from 4 minutes before.
	earlyRefresh   = 225 * time.Second
	firstBackoff   = time.Second
	longestBackoff = time.Minute
	rejectInterval = 10 * time.Second // between two refreshes that a 401 asked for
)

// A tokenCache holds one token and renews it. While the token is fresh, it is
// returned at once. Once it is stale, near its expiry, it is still returned at
// once and renewed in the background. When it has expired, all callers wait for
// one fetch, each no longer than its own context allows. The zero value is
// empty.
type tokenCache struct {
	current atomic.Pointer[Token] // the common path reads nothing else

	mu      sync.Mutex      // guards what follows; not held during a fetch
	flight  *flight[*Token] // nil if no fetch is under way
	trouble *trouble        // nil if there was none so far: there may be very many caches
}

// A trouble is what went wrong. Its times have a monotonic clock, so that
// setting the wall clock neither ends nor prolongs a pause.
type trouble struct {
	err        error         // of the last fetch, or nil
	pause      time.Duration // doubled for each further failure in a row
	retryAt    time.Time
	rejectedAt time.Time // when a resource server last rejected a token
}

// pending reports whether the last fetch failed, so that another one is due.
func (t *trouble) pending() bool {
	return t != nil && t.err != nil
}

// An ownSource is a TokenSource of this package.
type ownSource interface {
	TokenSource

	// owner returns the source itself, its cache, and the project that its API
	// calls are counted against, if any.
	owner() (self TokenSource, cache *tokenCache, quotaProject string)

	// fetch obtains a token in place of old, which is nil at first. It may return a
	// token together with an error: then the token is kept, Token hands it out if
	// it is valid, Refresh reports the error, and fetch is called again after a
	// while.
	fetch(ctx context.Context, old *Token) (*Token, error)
}

// cacheOf returns the cache of a source of this package, and its quota project.
// A type that embeds such a source has its methods too, but is not recognised:
// it may override Token.
func cacheOf(src TokenSource) (cache *tokenCache, quotaProject string) {
	if own, ok := src.(ownSource); ok {
		if self, cache, quotaProject := own.owner(); self == src {
			return cache, quotaProject
		}
	}
	return nil, ""
}

// token returns a token that has not expired.
func (c *tokenCache) token(ctx context.Context, src ownSource) (*Token, error) {
	t := c.current.Load()
	if t.fresh() && ctx != nil {
		return t, nil
	}
	t, err := c.renew(ctx, src, nil, false)
	if err != nil && !t.Valid() {
		return nil, err
	}
	return t, nil
}

func (t *Token) fresh() bool {
	return t != nil && time.Now().UnixNano() < t.freshUntil
}

// renew obtains a new token, unless the current one still serves: it does not
// if force is set, or if it is the one that a resource server has rejected.
// Unlike token, renew returns the error that came with a token.
func (c *tokenCache) renew(
	ctx context.Context, src ownSource, rejected *Token, force bool,
) (*Token, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	c.mu.Lock()
	t := c.current.Load()
	useless := force || c.replaceable(rejected)
	if t.fresh() && !useless {
		c.mu.Unlock()
		return t, nil
	}
	f, err := c.join(src, force)
	c.mu.Unlock()
	if t.Valid() && !useless {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	return f.wait(ctx)
}

// replaceable reports whether the current token is the one that was rejected
// and should be replaced. A server that rejects every token must not cause a
// fetch at each request. c.mu is held.
func (c *tokenCache) replaceable(rejected *Token) bool {
	if rejected == nil || c.current.Load() != rejected {
		return false
	}
	if c.flight != nil {
		return true
	}
	if c.trouble == nil {
		c.trouble = new(trouble)
	}
	if time.Since(c.trouble.rejectedAt) < rejectInterval {
		return false
	}
	c.trouble.rejectedAt = time.Now()
	return true
}

// join returns the fetch under way, or a new one. It returns the error of the
// last one if it is useless to try again, or too soon and force is not set.
// c.mu is held.
func (c *tokenCache) join(src ownSource, force bool) (*flight[*Token], error) {
	if c.flight != nil {
		return c.flight, nil
	}
	if c.trouble.pending() {
		tooSoon := !force && time.Now().Before(c.trouble.retryAt)
		if tooSoon || errors.Is(c.trouble.err, ErrLoginRequired) {
			return nil, c.trouble.err
		}
	}
	old := c.current.Load()
	c.flight = fly(func(ctx context.Context) (*Token, error) {
		return src.fetch(ctx, old)
	}, c.land)
	return c.flight, nil
}

// land takes the result of a fetch.
func (c *tokenCache) land(f *flight[*Token]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight != f { // end came first
		f.value = nil
		f.err = errRevoked
		return
	}
	c.flight = nil
	if f.err == nil && !f.value.Valid() {
		f.err = errors.New("oauth2: the token had expired when it came; check this machine's clock")
	}
	c.record(f.err)
	if f.value == nil {
		return
	}
	best := *f.value
	if old := c.current.Load(); !best.Valid() && old.Valid() {
		best = *old
		best.RefreshToken = f.value.RefreshToken // which may be new
	}
	f.value = c.keep(&best)
}

// record remembers how a fetch went. c.mu is held.
func (c *tokenCache) record(err error) {
	if c.trouble == nil {
		if err == nil {
			return
		}
		c.trouble = new(trouble)
	}
	t := c.trouble
	t.err = err
	if err == nil {
		t.pause = 0
		return
	}
	t.pause = max(firstBackoff, min(2*t.pause, longestBackoff))
	pause := t.pause
	var e *Error
	if errors.As(err, &e) {
		pause = max(pause, e.RetryAfter)
	}
	t.retryAt = time.Now().Add(pause)
}

// keep makes a copy of t, which may be shared, the current token. c.mu is held,
// or nobody else has c yet.
func (c *tokenCache) keep(t *Token) *Token {
	kept := *t
	kept.freshUntil = t.staleAt()
	if c.trouble.pending() { // fetch is to be called again then
		kept.freshUntil = min(kept.freshUntil, c.trouble.retryAt.UnixNano())
	}
	c.current.Store(&kept)
	return &kept
}

// staleAt returns when t is due to be renewed, in Unix nanoseconds: a while
// before its expiry, but not before half of the time that it has left, so that
// short lives cause no storm.
func (t *Token) staleAt() int64 {
	if !t.Valid() {
		return 0
	}
	left := time.Until(t.Expiry.Round(0))
	if t.Expiry.IsZero() || left > maxLifetime {
		return math.MaxInt64
	}
	return t.Expiry.Add(-min(earlyRefresh, left/2)).UnixNano()
}

// settle waits for the fetch under way, if any.
func (c *tokenCache) settle(ctx context.Context) {
	c.mu.Lock()
	f := c.flight
	c.mu.Unlock()
	if f != nil {
		f.wait(ctx)
	}
}

// end makes errRevoked the result of all further calls.
func (c *tokenCache) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flight = nil
	c.trouble = &trouble{err: errRevoked}
	c.current.Store(revoked)
}

// revoked is what a cache holds after end.
var revoked = new(Token)

// ended reports whether end was called.
func (c *tokenCache) ended() bool {
	return c.current.Load() == revoked
}

// CachedTokenSource returns a TokenSource that asks src for a token only when
// the last one is about to expire, once for all callers. It remembers failures
// for a moment, and for good that a new sign-in is required. All sources of
// this package use the same cache, and are returned unchanged. Callers wait no
// longer than their own context allows; src is called with another one, which
// ends after 2 minutes.
func CachedTokenSource(src TokenSource) TokenSource {
	if cache, _ := cacheOf(src); cache != nil {
		return src
	}
	s := &cachedSource{}
	if src != nil {
		s.get = src.Token
	}
	return s
}

// A cachedSource caches the tokens that get returns.
type cachedSource struct {
	get          func(ctx context.Context) (*Token, error) // nil if there is no source
	quotaProject string
	cache        tokenCache
}

func (s *cachedSource) Token(ctx context.Context) (*Token, error) {
	return s.cache.token(ctx, s)
}

func (s *cachedSource) owner() (TokenSource, *tokenCache, string) {
	return s, &s.cache, s.quotaProject
}

func (s *cachedSource) fetch(ctx context.Context, _ *Token) (*Token, error) {
	if s.get == nil {
		return nil, errNoSource
	}
	t, err := s.get(ctx)
	if err != nil {
		return nil, err // and no token: one that comes with an error would be kept
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

// A Transport is an [http.RoundTripper] that authorizes requests with the
// tokens of a source (RFC 6750, Section 2.1). It sends a token only over https,
// or to this machine, never after a redirect has left the origin of the first
// request, and only to Hosts where that is set. A request that already has an
// Authorization header, and one that this package sends to obtain a token,
// passes through unchanged.
//
// If the answer is 401 and the source caches, the token is renewed and the
// request is sent once more, unless its body can't be sent again (it has one
// and no GetBody) or the last such renewal was less than 10 seconds ago; then
// the 401 is returned. All other answers are the caller's. The fields must not
// be changed after the first request. A Transport is safe for concurrent use.
type Transport struct {
	// Source returns the tokens. It is asked for each request, so it should cache,
	// as all sources of this package do; see [CachedTokenSource].
	Source TokenSource
	// Base sends the requests. If nil, it is http.DefaultTransport.
	Base http.RoundTripper
	// Hosts are the hosts that may get a token: exact names, without a port, or
	// ".example.com" for all subdomains of example.com. A request to another host
	// is an error. Nil means all hosts.
	Hosts []string

	last atomic.Pointer[string] // the text for the last token, so that it is not built each time
}

var _ http.RoundTripper = (*Transport)(nil)

// NewClient returns an HTTP client that authorizes its requests with src, as a
// [Transport] with no other settings does. It has no timeout: API calls may
// take long, and the request's context bounds them.
func NewClient(src TokenSource) *http.Client {
	return &http.Client{Transport: &Transport{Source: src}}
}

// RoundTrip implements [http.RoundTripper]. It returns the error of the source,
// and an error for a request that must not carry a token; the request is then
// not sent.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := cmp.Or(t.Base, http.DefaultTransport)
	if passesThrough(req) {
		return base.RoundTrip(req)
	}
	tok, err := t.token(req)
	var authorized *http.Request
	if err == nil {
		authorized, err = t.withToken(req, tok)
	}
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // as RoundTripper demands
		}
		return nil, err
	}
	resp, err := base.RoundTrip(authorized)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	again := t.renewed(req, tok)
	if again == nil {
		return resp, nil
	}
	resp.Body.Close()
	return base.RoundTrip(again)
}

// passesThrough reports whether req must be sent unchanged: it has an
// authorization, it is one of the package's own, or it follows a redirect that
// left the origin of the first request, even if it has come back. Who redirects
// must not choose where a token goes.
func passesThrough(req *http.Request) bool {
	if req.Header["Authorization"] != nil || req.Context().Value(ownRequest{}) != nil {
		return true
	}
	for r := req; r.Response != nil; r = r.Response.Request {
		from := r.Response.Request
		if from == nil || origin(from.URL.String()) != origin(r.URL.String()) {
			return true
		}
	}
	return false
}

// token returns a token for req, or why req must have none.
func (t *Transport) token(req *http.Request) (*Token, error) {
	host := req.URL.Hostname()
	switch {
	case t.Source == nil:
		return nil, errNoSource
	case !isPrivate(req.URL): // anybody on the way could read the token
		return nil, fmt.Errorf("oauth2: a token is sent over https only, not to %s://%s",
			printable(req.URL.Scheme, 32), printable(host, 255))
	case !t.allows(host):
		return nil, fmt.Errorf("oauth2: %q is not among the hosts that may get a token",
			printable(host, 255))
	}
	return t.Source.Token(req.Context())
}

// allows reports whether host may get a token.
func (t *Transport) allows(host string) bool {
	for _, pattern := range t.Hosts {
		isSuffix := strings.HasPrefix(pattern, ".") &&
			strings.HasSuffix(strings.ToLower(host), strings.ToLower(pattern))
		if isSuffix || strings.EqualFold(pattern, host) {
			return true
		}
	}
	return t.Hosts == nil
}

// An authorizedRequest is a request and the value of its Authorization header.
// Each request has its own, since a RoundTripper may edit the header in place.
type authorizedRequest struct {
	http.Request
	value [1]string
}

// withToken returns req with the token. It leaves req itself alone.
func (t *Transport) withToken(req *http.Request, tok *Token) (*http.Request, error) {
	text, err := t.authorization(tok)
	if err != nil {
		return nil, err
	}
	r := &authorizedRequest{*req, [1]string{text}}
	r.Header = make(http.Header, len(req.Header)+1)
	maps.Copy(r.Header, req.Header)
	r.Header["Authorization"] = r.value[:]
	_, quotaProject := cacheOf(t.Source)
	if quotaProject != "" && req.Header["X-Goog-User-Project"] == nil {
		r.Header["X-Goog-User-Project"] = []string{quotaProject}
	}
	return &r.Request, nil
}

// authorization returns the text of the Authorization header for tok.
func (t *Transport) authorization(tok *Token) (string, error) {
	if last := t.last.Load(); last != nil && tok != nil {
		if strings.TrimPrefix(*last, "Bearer ") == tok.AccessToken.Reveal() {
			return *last, nil
		}
	}
	if err := tok.check(); err != nil {
		return "", err
	}
	text := "Bearer " + tok.AccessToken.Reveal()
	t.last.Store(&text)
	return text, nil
}

// renewed returns req with another token than tok, which the server has
// rejected. It returns nil if that can't be: the server's answer says more than
// an error could.
func (t *Transport) renewed(req *http.Request, tok *Token) *http.Request {
	cache, _ := cacheOf(t.Source)
	if cache == nil {
		return nil
	}
	// For the next request, even if this one can't be sent again.
	fresh, _ := cache.renew(req.Context(), t.Source.(ownSource), tok, false)
	if !fresh.Valid() || fresh.AccessToken.equal(tok.AccessToken) {
		return nil
	}
	again, err := t.withToken(req, fresh)
	if err != nil || req.Body == nil || req.Body == http.NoBody {
		return again
	}
	if req.GetBody == nil {
		return nil
	}
	again.Body, err = req.GetBody()
	if err != nil {
		return nil
	}
	return again
}

// Credentials are a user's: a refresh token, and the access token that was last
// obtained with it. They refresh themselves, and are a [TokenSource] for
// [NewClient] and [Transport]. They come from a sign-in, from [NewCredentials],
// [ParseCredentials] or [LoadCredentials]. They are safe for concurrent use and
// must not be copied.
//
// Credentials that have a [Store], since they were saved or loaded, refresh
// through it: while other processes are excluded, they take a fresher token
// that another process has stored, or refresh and store the result before they
// hand it out.
type Credentials struct {
	// HTTPClient sends the requests to the authorization server, as
	// [ClientSecrets.HTTPClient] does. If nil, it is that of the client. It must
	// not be changed after the first call.
	HTTPClient *http.Client
	// TokenParams are sent with each refresh, as [Flow.TokenParams] are, and are
	// stored with the credentials. They must not be changed after the first call.
	// It may be nil.
	TokenParams url.Values

	client *ClientSecrets
	scope  string                 // joined and shared, as there may be very many credentials
	rest   atomic.Pointer[stored] // may be nil; what it points to does not change
	cache  tokenCache
}

// stored is what only some credentials have.
type stored struct {
	granted      bool   // the scopes are those of a sign-in: a refresh asks for what was granted
	adopted      bool   // from a file that does not say what was asked for
	quotaProject string // that API calls are counted against
	unknown      object // members of the file that this package does not know
	store        Store  // may be nil
	saved        *Token // what the store has, as far as is known
	idToken      *IDToken
}

// nothingStored is what most credentials share.
var nothingStored stored

// stored returns what must not be changed.
func (c *Credentials) stored() *stored {
	return cmp.Or(c.rest.Load(), &nothingStored)
}

// NewCredentials returns the Credentials of a refresh token that the program
// has kept itself. Very many of them can share one client. If there are scopes,
// each refresh asks for them; they must be among those that were granted (RFC
// 6749, Section 6). After a refresh, the token's RefreshToken may be a new one,
// which replaces the one that was kept.
func NewCredentials(client *ClientSecrets, refreshToken Secret, scopes ...string) *Credentials {
	c := &Credentials{client: client, scope: joinScopes(scopeList(scopes...))}
	c.cache.current.Store(&Token{RefreshToken: refreshToken})
	return c
}

// signedIn returns the Credentials of a completed sign-in, whose ID token must
// be as asked.
func (c *ClientSecrets) signedIn(tok *Token, asked *signInRequest) (*Credentials, error) {
	idToken, err := c.checkSignIn(tok.IDToken, asked)
	if err != nil {
		return nil, fmt.Errorf("oauth2: the ID token that came with the sign-in %w", err)
	}
	creds := &Credentials{
		TokenParams: asked.tokenParams,
		client:      c,
		scope:       joinScopes(asked.scopes),
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
	t, err := checkedClaims(idToken.Reveal(), expected{
		issuer:   c.Issuer,
		audience: c.ClientID,
		nonce:    asked.nonce.Reveal(),
		leeway:   defaultLeeway,
		signIn:   asked,
	})
	if err != nil || c.Issuer == "" {
		return nil, err
	}
	return t, nil
}

// IDToken returns what the ID token of the sign-in says of the user. Its claims
// were checked. It is nil if there was none, if the client has no Issuer, and
// for credentials that do not come from a sign-in of this process. It must not
// be changed.
func (c *Credentials) IDToken() *IDToken {
	return c.stored().idToken
}

// Token returns an access token that has not expired; it implements
// [TokenSource]. A token near its expiry is renewed in the background.
// errors.Is finds [ErrLoginRequired] in the error if the refresh token no
// longer works or there is none. Other errors are an [*Error] of the refresh,
// or the reason why ctx ended.
func (c *Credentials) Token(ctx context.Context) (*Token, error) {
	return c.cache.token(ctx, c)
}

// Refresh obtains a new access token although the current one may still be
// good. Its errors are those of Token. If the new token could not be saved, it
// returns both: the token, which is in use, and the error. The save is tried
// again later.
func (c *Credentials) Refresh(ctx context.Context) (*Token, error) {
	return c.cache.renew(ctx, c, nil, true)
}

func (c *Credentials) owner() (TokenSource, *tokenCache, string) {
	return c, &c.cache, c.stored().quotaProject
}

// fetch refreshes the token, through the store if there is one.
func (c *Credentials) fetch(ctx context.Context, old *Token) (*Token, error) {
	if c.client == nil {
		return nil, errNoClient
	}
	rest := c.stored()
	if rest.store == nil {
		return c.exchange(ctx, old)
	}
	r := &refresh{creds: c, held: old, saved: rest.saved}
	update := func(data []byte) ([]byte, error) { return r.update(ctx, data) }
	err := rest.store.Update(ctx, update)
	if errors.Is(r.failure, ErrLoginRequired) {
		// A program that does not lock may have replaced the refresh token after it was
		// read.
		err = rest.store.Update(ctx, update)
	}
	if r.tok == nil {
		return nil, cmp.Or(r.failure, err)
	}
	if err != nil {
		return r.tok, fmt.Errorf(
			"oauth2: the new token is in use, but could not be saved: %w", innerError{err})
	}
	next := *rest
	next.saved = r.tok
	c.rest.Store(&next) // Save changes it only between two fetches
	return r.tok, r.failure
}

// A refresh is one refresh through a store.
type refresh struct {
	creds   *Credentials
	held    *Token // what memory has
	saved   *Token // what the store had, as far as was known
	refused Secret // the refresh token that was tried last

	tok     *Token // the result; may come with a failure
	failure error  // of the exchange
}

// update is called with what is stored, while other processes are excluded. It
// sets the result and returns what is to be stored.
func (r *refresh) update(ctx context.Context, data []byte) ([]byte, error) {
	c := r.creds
	found, unknown, err := c.storedToken(data, r.held)
	if err != nil {
		return nil, err
	}
	if c.cache.ended() {
		return nil, errRevoked
	}
	// The store may have a later refresh token, or the unsaved one after all.
	isChanged := data != nil && !found.RefreshToken.equal(r.saved.RefreshToken)
	unsaved := !isChanged && !r.saved.same(r.held)
	switch {
	case !unsaved && found.fresh() && found.laterThan(r.held):
		r.tok = found
		r.failure = nil
		return data, nil
	case unsaved && r.held.Valid():
		r.tok = r.held
		return c.marshal(r.tok, unknown)
	case unsaved && r.failure == nil:
		found.RefreshToken = r.held.RefreshToken
	case r.failure != nil && found.RefreshToken.equal(r.refused):
		return nil, r.failure
	}
	r.refused = found.RefreshToken
	r.tok, r.failure = c.exchange(ctx, found)
	if r.tok == nil {
		return nil, r.failure
	}
	return c.marshal(r.tok, unknown)
}

// laterThan reports whether t is another access token than old and does not
// expire before it.
func (t *Token) laterThan(old *Token) bool {
	return !t.AccessToken.equal(old.AccessToken) && !t.Expiry.Before(old.Expiry)
}

// same reports whether t and other would be stored alike.
func (t *Token) same(other *Token) bool {
	return t != nil && t.AccessToken.equal(other.AccessToken) &&
		t.RefreshToken.equal(other.RefreshToken)
}

// inherit takes from old what t lacks: what an answer, or the file of another
// program, need not repeat.
func (t *Token) inherit(old *Token) {
	if t.RefreshToken.empty() {
		t.RefreshToken = old.RefreshToken
	}
	if t.IDToken.empty() {
		t.IDToken = old.IDToken
	}
	if len(t.Scopes) == 0 {
		t.Scopes = old.Scopes
	}
	if t.extra == nil {
		t.extra = old.extra
	} else if old.extra != nil {
		members := maps.Clone(old.extra())
		maps.Copy(members, t.extra())
		t.extra = newExtra(members)
	}
}

// storedToken returns the token in data, with what it lacks from old, and the
// members that this package does not know. If nothing is stored, it returns
// old. Another client's token is refused: it would be sent to this one's
// server.
func (c *Credentials) storedToken(data []byte, old *Token) (*Token, object, error) {
	if data == nil {
		found := *old
		return &found, nil, nil
	}
	file, err := parseCredentials(data, c.client)
	if err != nil {
		return nil, nil, err
	}
	if !c.client.same(file.client) {
		return nil, nil, errOtherClient
	}
	found := file.cache.current.Load()
	found.inherit(old)
	return found, file.stored().unknown, nil
}

// exchange refreshes a token (RFC 6749, Section 6). It may return a token that
// is old but for its refresh token, together with an error: a new refresh token
// is kept even from an answer that is refused, since the old one may be gone.
func (c *Credentials) exchange(ctx context.Context, old *Token) (*Token, error) {
	if old.RefreshToken.empty() {
		return nil, loginRequired("the access token has expired and there is no refresh token")
	}
	if err := checkTokenParams(c.TokenParams); err != nil {
		return nil, err
	}
	scope := c.scope
	if c.stored().granted {
		scope = "" // what was granted
	}
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {old.RefreshToken.Reveal()},
		"scope":         {scope},
	}
	maps.Copy(form, c.TokenParams) // which have been checked
	r := c.client.request("refreshing the token", c.client.TokenURI, form, c.HTTPClient)
	ans, err := r.do(ctx)
	var e *Error
	if errors.As(err, &e) && isDeadGrant(e.Code) {
		e.loginRequired = true
		e.text += "; the refresh token has expired or was revoked: sign in again"
	}
	if err != nil {
		return nil, err
	}
	tok, err := ans.token(form.Get("scope"))
	if err == nil && !sameUser(old.IDToken, tok.IDToken) {
		e = ans.unusable(errors.New("has the ID token of another user"))
		e.refused = true
		err = e
	}
	if err != nil {
		return ans.rotated(old), err
	}
	tok.inherit(old)
	return tok, nil
}

// isDeadGrant reports whether an error code means that a refresh token no
// longer works (RFC 6749, Section 5.2; OpenID Connect Core, Section 3.1.2.6),
// by one of the names that providers have for it.
func isDeadGrant(code string) bool {
	switch code {
	case "invalid_grant", "bad_refresh_token", "invalid_refresh_token",
		"interaction_required", "login_required", "consent_required",
		"account_selection_required":
		return true
	}
	return false
}

// sameUser reports whether the ID token that came with a refresh is of the user
// of the one that is held, if there are both (OpenID Connect Core, Section
// 12.2).
func sameUser(held, fresh Secret) bool {
	before, err := parseClaims(held.Reveal())
	if err != nil || fresh.empty() {
		return true
	}
	after, err := parseClaims(fresh.Reveal())
	return err == nil && after.Subject == before.Subject &&
		fullIssuer(after.Issuer) == fullIssuer(before.Issuer)
}

// isReserved reports whether a parameter carries the protocol. If callers could
// set these, a value that came from outside could replace the package's own.
func isReserved(name string) bool {
	switch name {
	case "response_type", "client_id", "redirect_uri", "scope", "state", "nonce",
		"code_challenge", "code_challenge_method", "request", "request_uri",
		"grant_type", "code", "code_verifier", "device_code", "refresh_token",
		"assertion", "client_secret", "client_assertion", "client_assertion_type":
		return true
	}
	return false
}

// checkTokenParams allows scope, which the package does not need there.
func checkTokenParams(params url.Values) error {
	for name := range params {
		if isReserved(name) && name != "scope" {
			return fmt.Errorf("oauth2: TokenParams has %q, which the package sets itself", name)
		}
	}
	return nil
}

// rotated returns old with the refresh token of a refused answer, or nil if
// that has none.
func (a *answer) rotated(old *Token) *Token {
	f := a.fields()
	kept := *old
	kept.RefreshToken = f.secret("refresh_token", maxToken)
	isTokens := !f.secret("access_token", maxToken).empty() && isBearer(f.str("token_type"))
	if !isTokens || kept.RefreshToken.empty() || f.err != nil {
		return nil
	}
	return &kept
}

// Errors of credentials.
var (
	errNoStore     = errors.New("oauth2: there is no Store")
	errOtherClient = errors.New("oauth2: the stored credentials are those of another client")
	errRevoked     = loginRequired("the credentials were revoked")
)

// Revoke makes the server forget the grant (RFC 7009), and then erases the
// stored copy. After that, errors.Is finds [ErrLoginRequired] in the error of
// Token. If the server does not confirm, nothing is erased, and Revoke can be
// called again.
func (c *Credentials) Revoke(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	if c.client == nil || c.client.RevocationURI == "" {
		return errors.New("oauth2: the client has no RevocationURI")
	}
	c.cache.settle(ctx)
	store := c.stored().store
	if store == nil {
		return c.revoke(ctx, nil)
	}
	return store.Update(ctx, func(data []byte) ([]byte, error) {
		return nil, c.revoke(ctx, data)
	})
}

// revoke revokes the token that is held, or the one in data if another process
// may have replaced it there.
func (c *Credentials) revoke(ctx context.Context, data []byte) error {
	if c.cache.ended() { // and only the store failed
		return nil
	}
	held := c.cache.current.Load()
	found, _, err := c.storedToken(data, held)
	if err != nil {
		return err
	}
	if !c.stored().saved.same(held) {
		found = held // the store lacks it
	}
	token, hint := found.RefreshToken, "refresh_token"
	if token.empty() {
		token, hint = found.AccessToken, "access_token"
	}
	if token.empty() {
		return loginRequired("the credentials have no token to revoke")
	}
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {hint}}
	r := c.client.request("revoking the token", c.client.RevocationURI, form, c.HTTPClient)
	if _, err := r.do(ctx); err != nil {
		return err
	}
	c.cache.end()
	return nil
}

// covers reports whether scopes were asked for when the credentials were made,
// or granted. What the user then declined is not asked for at each start.
func (c *Credentials) covers(scopes []string) bool {
	have := grantedScopes(append(scopeList(c.scope), c.cache.current.Load().Scopes...)...)
	for _, scope := range grantedScopes(scopes...) {
		googleName := "https://www.googleapis.com/auth/userinfo." + scope // of email and profile
		if !slices.Contains(have, scope) && !slices.Contains(have, googleName) {
			return false
		}
	}
	return true
}

// userMembers are the members of an authorized_user file that this package
// knows. The last six are its own; other programs ignore them.
var userMembers = []string{
	"type", "client_id", "client_secret", "refresh_token", "token_uri",
	"token", "expiry", "scopes", "id_token", "quota_project_id",
	"granted_scopes", "issuer", "revocation_uri", "token_endpoint_auth_method",
	"token_params", "extra",
}

// ParseCredentials parses a file in Google's authorized_user format, as
// MarshalAuthorizedUser, gcloud and the Python libraries write it. A file
// without a type is accepted, as Python writes none; one of another type is
// refused. token_uri is Google's unless the file has one. An access token
// without an expiry is not used, since it may be old.
func ParseCredentials(data []byte) (*Credentials, error) {
	return parseCredentials(data, nil)
}

// parseCredentials is ParseCredentials for a file that may be the token.json of
// golang.org/x/oauth2. That does not say whose it is: it is taken for client's,
// unless that is nil.
func parseCredentials(data []byte, client *ClientSecrets) (*Credentials, error) {
	f := parseTyped(data, "authorized_user")
	_, hasToken := f.object["access_token"] // which may be empty there
	adopted := client != nil && hasToken && !f.has("client_id")
	if adopted {
		f.object["token"] = f.object["access_token"]
		delete(f.object, "access_token")
		delete(f.object, "token_type")
		delete(f.object, "expires_in")
	} else {
		client = f.client()
	}
	c := &Credentials{
		TokenParams: f.params("token_params"),
		client:      client,
		// As they were asked for, and will be again.
		scope: joinScopes(scopeList(f.list("scopes")...)),
	}
	tok := f.storedToken()
	rest := &stored{
		granted:      adopted || f.has("granted_scopes"),
		adopted:      adopted,
		quotaProject: f.project(),
		unknown:      f.object,
	}
	if client.ClientID == "" && !adopted {
		f.fail("has no client_id")
	}
	if tok.RefreshToken.empty() && !f.has("token") {
		f.fail("has no refresh_token")
	}
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the credentials file %w", f.err)
	}
	for _, name := range userMembers {
		delete(rest.unknown, name)
	}
	c.rest.Store(rest)
	c.cache.keep(tok)
	return c, nil
}

// client reads the client of a file of credentials.
func (f *fields) client() *ClientSecrets {
	c := &ClientSecrets{
		ClientID:      f.str("client_id"),
		ClientSecret:  NewSecret(f.str("client_secret")),
		TokenURI:      googleTokenURI,
		Issuer:        f.str("issuer"),
		RevocationURI: f.str("revocation_uri"),
		AuthMethod:    cmp.Or(f.str("token_endpoint_auth_method"), authPost),
	}
	if f.has("token_uri") {
		c.TokenURI = f.endpoint("token_uri")
	}
	if isGoogle(c.TokenURI) {
		c.useGoogle()
	}
	if c.AuthMethod == authPost && c.ClientSecret.empty() {
		c.AuthMethod = authNone
	}
	return c
}

// storedToken reads the token of a file of credentials.
func (f *fields) storedToken() *Token {
	t := &Token{
		AccessToken:  f.secret("token", maxToken),
		Expiry:       f.expiry("expiry"),
		Scopes:       grantedScopes(f.list("granted_scopes")...),
		RefreshToken: f.secret("refresh_token", maxToken),
		IDToken:      f.secret("id_token", maxIDToken),
	}
	extra := f.nested("extra")
	for name := range extra.object {
		extra.object[name] = extra.str(name)
	}
	t.extra = newExtra(extra.object)
	if t.Expiry.IsZero() && !t.RefreshToken.empty() {
		t.AccessToken = Secret{}
	}
	return t
}

// MarshalAuthorizedUser returns the credentials as a file in Google's
// authorized_user format, which ParseCredentials, gcloud, Python's google-auth
// and other libraries read. It contains the refresh token and the client
// secret: store it where nobody else can read it, with mode 0600. Members of a
// parsed file that this package does not know are kept.
func (c *Credentials) MarshalAuthorizedUser() ([]byte, error) {
	return c.marshal(c.cache.current.Load(), c.stored().unknown)
}

func (c *Credentials) marshal(t *Token, unknown object) ([]byte, error) {
	client := c.client
	if client == nil {
		return nil, errNoClient
	}
	if t.RefreshToken.empty() && t.AccessToken.empty() {
		return nil, loginRequired("the credentials have no token to keep")
	}
	rest := c.stored()
	file := map[string]any{
		"type":             "authorized_user",
		"token_uri":        client.TokenURI,
		"client_id":        client.ClientID,
		"token":            t.AccessToken.Reveal(),
		"id_token":         t.IDToken.Reveal(),
		"quota_project_id": rest.quotaProject,
	}
	if client.Issuer != googleIssuer {
		file["issuer"] = client.Issuer
		file["revocation_uri"] = client.RevocationURI
		file["token_endpoint_auth_method"] = client.authMethod()
	}
	maps.DeleteFunc(file, func(_ string, value any) bool { return value == "" })
	// Even if empty: Python demands them.
	file["client_secret"] = client.ClientSecret.Reveal()
	file["refresh_token"] = t.RefreshToken.Reveal()
	if !t.Expiry.IsZero() {
		file["expiry"] = t.Expiry.UTC().Format("2006-01-02T15:04:05.999999Z")
	}
	if c.scope != "" {
		file["scopes"] = strings.Fields(c.scope)
	}
	if rest.granted {
		file["granted_scopes"] = append([]string{}, t.Scopes...) // null would mean not granted
	}
	if len(c.TokenParams) > 0 {
		file["token_params"] = c.TokenParams
	}
	if t.extra != nil {
		file["extra"] = t.extra() // as texts, which nest no deeper
	}
	for name, text := range unknown {
		file[name] = json.RawMessage(text)
	}
	return json.MarshalIndent(file, "", "  ")
}

// A Store keeps one set of credentials between runs, and for several processes
// or machines at a time. [FileStore] is one; a row of a database is another, as
// the example shows. Its methods must be safe for concurrent use. What is
// stored contains secrets.
type Store interface {
	// Load returns what is stored, or nil if nothing is.
	Load(ctx context.Context) ([]byte, error)
	// Update replaces what is stored with what fn returns for it, while no other
	// Update runs, here or in any other process or machine that shares the Store.
	// fn gets nil if nothing is stored, and erases by returning nil. If fn fails,
	// nothing changes, and Update returns its error. fn may take as long as a
	// refresh with its retries, and Update must call it once at the most.
	Update(ctx context.Context, fn func(old []byte) (new []byte, err error)) error
}

// Save stores the credentials, and makes them use store from then on. It
// replaces other credentials of a user that are stored there, but nothing else:
// a file that is not understood is an error.
func (c *Credentials) Save(ctx context.Context, store Store) error {
	switch {
	case ctx == nil:
		return errNilContext
	case store == nil:
		return errNoStore
	}
	for {
		c.cache.settle(ctx)
		held := c.cache.current.Load()
		err := store.Update(ctx, func(data []byte) ([]byte, error) {
			return c.saveOver(data, held, store)
		})
		if err != nil {
			return err
		}
		if c.use(store, held) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("oauth2: saving: %w", context.Cause(ctx))
		}
	}
}

// use makes the credentials refresh through store, which has what is held. It
// does nothing and returns false if a refresh came between or is under way: it
// may have used up what was saved.
func (c *Credentials) use(store Store, held *Token) bool {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	if c.cache.flight != nil || c.cache.current.Load() != held {
		return false
	}
	next := *c.stored()
	next.store = store
	next.saved = held
	c.rest.Store(&next)
	return true
}

// saveOver returns what is to be stored in place of data.
func (c *Credentials) saveOver(data []byte, held *Token, store Store) ([]byte, error) {
	rest := c.stored()
	if data != nil {
		file, err := parseCredentials(data, c.client)
		if err != nil {
			return nil, err
		}
		isKnown := rest.saved.same(held) && sameStore(rest.store, store)
		isLater := !file.cache.current.Load().same(held)
		if isKnown && (isLater || !file.stored().adopted) {
			return data, nil // the store has this token, or a later one
		}
	}
	return c.marshal(held, rest.unknown)
}

func sameStore(a, b Store) (same bool) {
	defer func() { recover() }() // they can't be compared: not known to be the same
	return a == b
}

// LoadCredentials returns the credentials in store. They must be those of
// client, which they then use; if it is nil, they use the client that is stored
// with them. A token.json of golang.org/x/oauth2, which has no client, is taken
// for client's; the next save writes it anew. If nothing is stored, errors.Is
// finds [ErrLoginRequired] in the error.
func LoadCredentials(
	ctx context.Context, client *ClientSecrets, store Store,
) (*Credentials, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case store == nil:
		return nil, errNoStore
	}
	data, err := store.Load(ctx)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, loginRequired("no credentials are stored")
	}
	c, err := parseCredentials(data, client)
	if err != nil {
		return nil, err
	}
	if client != nil {
		if !client.same(c.client) {
			return nil, errOtherClient
		}
		c.client = client
	}
	rest := c.rest.Load()
	rest.store = store
	rest.saved = c.cache.current.Load()
	return c, nil
}
