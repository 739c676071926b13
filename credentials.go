package oauth2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
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
	rejectedAt time.Time // when a resource server last rejected a token

	// What follows is zero if the last fetch did not fail.
	err     error
	pause   time.Duration // doubled for each further failure in a row
	retryAt time.Time
}

// An ownSource is a TokenSource of this package.
type ownSource interface {
	// owner returns the source itself, its cache, and the project that its API
	// calls are counted against, if any.
	owner() (self TokenSource, cache *tokenCache, quotaProject string)

	// fetch obtains a token. useless says that the current one does not serve, even
	// if it is valid. fetch may return a token together with an error: then the
	// token is kept, Token hands it out if it is valid, Refresh reports the error,
	// and fetch is called again after a while.
	fetch(ctx context.Context, useless bool) (*Token, error)
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
	held := c.current.Load()
	useless := force || c.replaceable(held, rejected)
	if held.fresh() && !useless {
		c.mu.Unlock()
		return held, nil
	}
	f, err := c.join(src, useless)
	c.mu.Unlock()
	if held.Valid() && !useless {
		return held, nil
	}
	var t *Token
	if err == nil {
		t, err = f.wait(ctx)
	}
	isSame := rejected != nil && t.same(rejected)
	wasBusy := t == nil && err == nil // with a Save or a Revoke
	if wasBusy || isSame {            // what was waited for had begun for another reason
		return c.renew(ctx, src, rejected, force)
	}
	if useless && !force && errors.Is(err, ErrLoginRequired) {
		// It was rejected, can't be replaced, and would be refused until it expires.
		c.current.CompareAndSwap(held, held.withoutAccess())
	}
	return t, err
}

// replaceable reports whether held, the current token, is the one that was
// rejected and should be replaced. A server that rejects every token must not
// cause a fetch at each request. c.mu is held.
func (c *tokenCache) replaceable(held, rejected *Token) bool {
	if rejected == nil || !held.same(rejected) {
		return false
	}
	if c.flight != nil {
		return true
	}
	t := cmp.Or(c.trouble, new(trouble))
	c.trouble = t
	if time.Since(t.rejectedAt) < 10*time.Second {
		return false
	}
	t.rejectedAt = time.Now()
	return true
}

// join returns the fetch under way, or a new one, even if that is soon after a
// failure, if the current token is useless. It returns the last error if it is
// of no use to try again, or too soon. c.mu is held.
func (c *tokenCache) join(src ownSource, useless bool) (*flight[*Token], error) {
	if c.flight != nil {
		return c.flight, nil
	}
	if t := c.trouble; t != nil {
		// Another process may put a new sign-in into a store.
		creds, _ := src.(*Credentials)
		watches := creds != nil && creds.stored().store != nil && !creds.stored().ended
		isFinal := errors.Is(t.err, ErrLoginRequired)
		tooSoon := time.Now().Before(t.retryAt)
		if isFinal && !watches || tooSoon && (isFinal || !useless) {
			return nil, t.err
		}
	}
	c.flight = fly(func(ctx context.Context) (*Token, error) {
		return src.fetch(ctx, useless)
	}, c.land)
	return c.flight, nil
}

// land takes the result of a fetch.
func (c *tokenCache) land(f *flight[*Token]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flight = nil
	if f.err == nil && !f.value.Valid() {
		f.err = errExpired
		f.value = nil // the current one may be better
	}
	c.record(f.err)
	if f.value != nil {
		f.value = c.keep(f.value)
	}
}

// record remembers how a fetch went. c.mu is held.
func (c *tokenCache) record(err error) {
	t := cmp.Or(c.trouble, new(trouble))
	if err == nil {
		*t = trouble{rejectedAt: t.rejectedAt}
		return
	}
	c.trouble = t
	t.err = err
	t.pause = max(time.Second, min(2*t.pause, time.Minute))
	if errors.Is(err, ErrLoginRequired) {
		t.pause = time.Second // until the store is looked at again
	}
	pause := max(t.pause, asError(err).RetryAfter)
	if current := c.current.Load(); current != nil {
		// From the expiry on, callers wait, and a new pause begins.
		left := time.Until(current.Expiry.Round(0))
		if 0 < left && left < pause {
			pause = left
			t.pause = 0
		}
	}
	t.retryAt = time.Now().Add(pause)
}

// keep makes a copy of t, which may be shared, the current token. c.mu is held,
// or nobody else has c yet.
func (c *tokenCache) keep(t *Token) *Token {
	kept := *t
	kept.freshUntil = t.staleAt()
	if c.trouble != nil && c.trouble.err != nil { // fetch is to be called again then
		kept.freshUntil = min(kept.freshUntil, c.trouble.retryAt.UnixNano())
	}
	c.current.Store(&kept)
	return &kept
}

// alone calls work while no fetch and no other work is under way, and lets none
// begin: callers that need a new token wait until it is done.
func (c *tokenCache) alone(ctx context.Context, work func() error) error {
	if ctx == nil {
		return errNilContext
	}
	own := &flight[*Token]{done: make(chan struct{})} // has neither a token nor an error
	for {
		c.mu.Lock()
		f := cmp.Or(c.flight, own)
		c.flight = f
		c.mu.Unlock()
		if f == own {
			break
		}
		f.wait(ctx)
		if ctx.Err() != nil {
			_, err := own.wait(ctx)
			return err
		}
	}
	defer func() {
		c.mu.Lock()
		c.flight = nil
		c.mu.Unlock()
		close(own.done)
	}()
	return work()
}

// set makes t the current token, as if a fetch had returned it with err.
func (c *tokenCache) set(t *Token, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record(err)
	c.keep(t)
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

func (s *cachedSource) fetch(ctx context.Context, _ bool) (*Token, error) {
	if s.get == nil {
		return nil, errNoSource
	}
	return usable(s.get(ctx))
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
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // as RoundTripper demands
		}
		return nil, err
	}
	resp, err := base.RoundTrip(t.withToken(req, tok))
	if err != nil || resp == nil || resp.StatusCode != 401 {
		return resp, err
	}
	again := t.renewed(req, tok)
	if again == nil {
		return resp, nil
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
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
	switch {
	case t.Source == nil:
		return nil, errNoSource
	case req.URL == nil || !isPrivate(req.URL): // anybody on the way could read the token
		return nil, errors.New("oauth2: a token is sent over https only")
	case !t.allows(req.URL.Hostname()):
		return nil, fmt.Errorf("oauth2: %+.255q is not among the hosts that may get a token",
			req.URL.Hostname())
	}
	return usable(t.Source.Token(req.Context()))
}

// allows reports whether host may get a token.
func (t *Transport) allows(host string) bool {
	host = strings.ToLower(host)
	for _, pattern := range t.Hosts {
		pattern = strings.ToLower(pattern)
		isSuffix := strings.HasPrefix(pattern, ".") && strings.HasSuffix(host, pattern)
		if isSuffix || pattern == host {
			return true
		}
	}
	return t.Hosts == nil
}

// withToken returns req with the token. It leaves req itself alone.
func (t *Transport) withToken(req *http.Request, tok *Token) *http.Request {
	token := tok.AccessToken.Reveal()
	text := t.last.Load()
	if text == nil || strings.TrimPrefix(*text, "Bearer ") != token {
		built := "Bearer " + token
		text = &built
		t.last.Store(text)
	}
	// Each request has its own value, since a RoundTripper may edit it in place.
	// The two are one block of memory.
	r := &struct {
		http.Request
		value [1]string
	}{*req, [1]string{*text}}
	r.Header = http.Header{}
	maps.Copy(r.Header, req.Header)
	r.Header["Authorization"] = r.value[:]
	_, quotaProject := cacheOf(t.Source)
	if quotaProject != "" && req.Header["X-Goog-User-Project"] == nil {
		r.Header["X-Goog-User-Project"] = []string{quotaProject}
	}
	return &r.Request
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
	again := t.withToken(req, fresh)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil
		}
		again.Body = body
	} else if req.Body != nil && req.Body != http.NoBody {
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
// hand it out. If another user has signed in there, they go on as that user. If
// nothing is stored any more, they need a new sign-in. When they need one, they
// look at the store once a second, and use what another process stores.
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
	saved        *Token // what the store, or a file, has; nil if it never had any
	seen         *Token // what was there when it was first read, if saved is nil
	tried        Token  // what was last to be refreshed
	dead         error  // why that is of no use, if it is not
	ended        bool   // by Revoke
	idToken      *IDToken
}

// isDead reports whether a stored token is the one that was tried in vain. With
// another access token since then, its refresh token works after all.
func (s *stored) isDead(found *Token) bool {
	isOld := !found.Valid() || found.same(&s.tried)
	return s.dead != nil && found.sameGrant(&s.tried) && isOld
}

// nothingStored is what most credentials share.
var nothingStored stored

// stored returns what must not be changed.
func (c *Credentials) stored() *stored {
	return cmp.Or(c.rest.Load(), &nothingStored)
}

// current returns the token that is held.
func (c *Credentials) current() *Token {
	return c.cache.current.Load()
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

// IDToken returns what the ID token of the sign-in says of the user. Its claims
// were checked. It is nil if there was none, if the client has no Issuer, for
// credentials that do not come from a sign-in of this process, and once they
// have taken over another user's from their store. It must not be changed.
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
// good. Its errors are those of Token. Without a refresh token it returns one,
// and changes nothing. If the new token could not be saved, Refresh returns
// both: the token, which is in use, and the error. The save is tried again
// later.
func (c *Credentials) Refresh(ctx context.Context) (*Token, error) {
	if t := c.current(); t.Valid() && t.RefreshToken.empty() {
		return nil, errNoRefresh // and the token that there is stays
	}
	return c.cache.renew(ctx, c, nil, true)
}

func (c *Credentials) owner() (TokenSource, *tokenCache, string) {
	return c, &c.cache, c.stored().quotaProject
}

// fetch refreshes the token, through the store if there is one.
func (c *Credentials) fetch(ctx context.Context, useless bool) (*Token, error) {
	if c.client == nil {
		return nil, errNoClient
	}
	r := c.newRefresh(useless)
	if r.store == nil {
		return c.exchange(ctx, r.held)
	}
	if r.dead == nil {
		tok, err := r.run(ctx)
		if r.dead == nil {
			return tok, err
		}
	}
	// Another process may have signed the user in again, or a program that does not
	// lock may have replaced the refresh token after it was read.
	file, err := c.storedFile(r.store.Load(ctx))
	if err != nil || file == c {
		return nil, r.dead
	}
	if found := file.current(); r.isDead(found) && !found.Valid() {
		return nil, r.dead
	}
	return c.newRefresh(useless).run(ctx)
}

// run updates the store, and returns the token that is in use from then on.
func (r *refresh) run(ctx context.Context) (*Token, error) {
	err := r.store.Update(ctx, func(data []byte) ([]byte, error) {
		// What was waited for the store must not be missing now: what the server has
		// replaced would be lost. A request is bounded anyway.
		return r.update(context.WithoutCancel(ctx), data)
	})
	isUntried := r.tok == nil && r.failure == nil
	if isUntried && (isUnwritable(err) || r.saved == nil) && err != nil {
		// What can't be saved can still be used.
		data, loadErr := r.store.Load(ctx)
		if loadErr != nil || r.saved == nil {
			r.use(ctx, r.creds, nil)
		} else if _, fault := r.update(ctx, data); fault != nil {
			err = fault
		}
	}
	r.dead = nil
	switch {
	case r.tok == nil:
		r.failure = cmp.Or(r.failure, err, errNoUpdate)
		if errors.Is(r.failure, ErrLoginRequired) {
			r.dead = r.failure
		}
	case err == nil:
		r.saved = r.tok
	case r.saving:
		r.failure = err
	case r.tok != r.saved:
		r.failure = fmt.Errorf(
			"oauth2: the new token is in use, but could not be saved: %w", innerError{err})
	}
	if !r.saving { // Save keeps what was before if it fails
		r.creds.rest.Store(&r.stored)
	}
	return r.tok, r.failure
}

// isUnwritable reports whether an error of a store means that it can't be
// locked or written, as on a disk that is full or read-only. The network of a
// database is another matter: it may come back.
func isUnwritable(err error) bool {
	var system interface { // as numbers of the operating system have it
		error
		Temporary() bool
	}
	isSystem := errors.As(err, &system) && !system.Temporary()
	isNetwork := errors.Unwrap(system) != nil // which says what it was doing
	return !isNetwork && (isSystem || errors.Is(err, fs.ErrPermission))
}

// A refresh is one refresh through a store, a Save or a Revoke.
type refresh struct {
	stored  // what is known afterwards
	creds   *Credentials
	held    *Token // what memory has
	useless bool   // held does not serve, even if it is valid
	saving  bool   // nothing is sent
	older   bool   // held was stored elsewhere, maybe by another name of this store

	tok     *Token // the result; may come with a failure
	failure error  // of the exchange
}

func (c *Credentials) newRefresh(useless bool) *refresh {
	return &refresh{
		stored:  *c.stored(),
		creds:   c,
		held:    c.current(),
		useless: useless,
	}
}

// update is called with what is stored, while other processes are excluded. It
// sets the result and returns what is to be stored.
func (r *refresh) update(ctx context.Context, data []byte) ([]byte, error) {
	if data == nil && r.saved != nil {
		r.tried = Token{} // which may come back, and work
		return nil, loginRequired("the stored credentials were removed")
	}
	file, err := r.creds.storedFile(data, nil)
	if err == errOtherClient && r.saved == nil {
		file, err = r.creds, nil // replaced, as by the Save that failed
	}
	if err != nil {
		return nil, err
	}
	r.seen = cmp.Or(r.seen, file.current())
	return r.use(ctx, file, data)
}

// use is update with the credentials that are stored as data, or those in
// memory if it is not known what is stored.
func (r *refresh) use(ctx context.Context, file *Credentials, data []byte) ([]byte, error) {
	c := r.creds
	found := file.current()
	if r.isDead(found) {
		r.failure = r.dead
		found = found.withoutAccess() // or else the next start takes it for good
		if found.RefreshToken.empty() {
			return nil, nil
		}
		return c.marshal(found, file)
	}
	isOther := r.isOther(file)
	isUnsaved := !isOther && (r.saving && file.stored().adopted || !r.saved.same(r.held))
	switch {
	case isOther && (found.IDToken.empty() || !sameUser(r.held.IDToken, found.IDToken)):
		r.idToken = nil // of somebody else
	case isOther:
	case r.saved == nil:
		file = c // nothing is kept of a file that is not theirs
	case file != c:
		found.inherit(r.held)
	}
	if isUnsaved {
		found = r.held
	}
	switch {
	case isUnsaved && (r.saving || found.Valid() && !r.useless):
		r.tok = found
		return c.marshal(found, file)
	case r.saving:
		r.tok = r.held
		return data, nil
	case found.fresh() && found.laterThan(r.held):
		r.tok = found
		r.saved = found
		return data, nil
	}
	r.tried = *found
	r.tok, r.failure = c.exchange(ctx, found)
	if r.tok == nil {
		return nil, r.failure
	}
	return c.marshal(r.tok, file)
}

// storedFile returns the credentials in data, which a Store has returned with
// err, or c if nothing is stored. Another client's are refused: they would be
// sent to this one's server.
func (c *Credentials) storedFile(data []byte, err error) (*Credentials, error) {
	if data == nil || err != nil {
		return c, err
	}
	file, err := parseCredentials(data, c.client)
	if err == nil && c.client != nil && !c.client.same(file.client) {
		err = errOtherClient
	}
	return file, err
}

// isOther reports whether what is stored in file came after what is held, as
// far as can be seen.
func (r *refresh) isOther(file *Credentials) bool {
	if r.dead != nil {
		return true // what is held is not worth saving over something else
	}
	found := file.current()
	if r.older && found.laterThan(r.held) {
		return true
	}
	return file != r.creds && !found.sameGrant(cmp.Or(r.saved, r.seen))
}

// sameGrant reports whether t and other come from the same sign-in, as far as
// can be seen. Without a refresh token, only the same token does.
func (t *Token) sameGrant(other *Token) bool {
	if t.RefreshToken.empty() {
		return t.same(other)
	}
	return t.RefreshToken.equal(other.RefreshToken)
}

// exchange refreshes a token (RFC 6749, Section 6). It may return a token that
// is old but for its refresh token, together with an error: a new refresh token
// is kept even from an answer that is refused, since the old one may be gone.
func (c *Credentials) exchange(ctx context.Context, old *Token) (*Token, error) {
	if old.RefreshToken.empty() {
		return nil, errNoRefresh
	}
	if err := checkTokenParams(c.TokenParams); err != nil {
		return nil, err
	}
	scope := c.wanted(old)
	if c.stored().granted {
		scope = "" // what was granted
	}
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {old.RefreshToken.Reveal()},
		"scope":         {scope},
	}
	maps.Copy(form, c.TokenParams) // which have been checked
	ans, err := c.client.request("refreshing the token", form, c.HTTPClient).do(ctx)
	e := asError(err)
	if isDeadGrant(e.Code) {
		e.loginRequired = true
		e.text += "; the refresh token has expired or was revoked: sign in again"
	}
	if err != nil {
		return nil, err
	}
	tok, err := ans.token(form.Get("scope"))
	switch {
	case err != nil:
	case !sameUser(old.IDToken, tok.IDToken):
		e = ans.unusable("has the ID token of another user")
		e.refused = true
		err = e
	case !tok.Valid():
		err = errExpired
	}
	if err != nil {
		return ans.rotated(old), err
	}
	tok.inherit(old)
	return tok, nil
}

// wanted returns the scopes that the credentials are for. What the server has
// not granted to a refresh is not asked for again.
func (c *Credentials) wanted(t *Token) string {
	if c.scope == "" || c.stored().granted || len(t.Scopes) == 0 {
		return c.scope
	}
	return joinScopes(t.Scopes)
}

// Errors of tokens that are fetched, and of credentials.
var (
	errExpired = errors.New(
		"oauth2: the token had expired when it came; check this machine's clock")
	errNoStore     = errors.New("oauth2: there is no Store")
	errOtherClient = errors.New("oauth2: the stored credentials are those of another client")
	errRevoked     = loginRequired("the credentials were revoked")
	errNoRefresh   = loginRequired("there is no refresh token")
	errNoUpdate    = errors.New("oauth2: the Store did not call the function that Update got")
)

// Revoke makes the server forget the grant (RFC 7009), and then erases the
// stored copy. If another process has stored other credentials by now, it is
// these that are revoked and erased. After that, errors.Is finds
// [ErrLoginRequired] in the error of Token, and another Revoke changes nothing.
// If the server does not confirm, by its status, nothing is erased, and Revoke
// can be called again. A grant that the server does not know any more counts as
// revoked.
func (c *Credentials) Revoke(ctx context.Context) error {
	if c.client == nil || c.client.RevocationURI == "" {
		return errors.New("oauth2: the client has no RevocationURI")
	}
	return c.cache.alone(ctx, func() error {
		r := c.newRefresh(false)
		if r.store == nil {
			_, err := r.revoke(ctx, nil)
			return err
		}
		err := r.store.Update(ctx, func(data []byte) ([]byte, error) {
			return r.revoke(ctx, data)
		})
		if err == nil && !r.ended {
			return errNoUpdate
		}
		return err
	})
}

// revoke revokes the token in data, or the one that is held if that is of the
// same sign-in or never was stored. It returns what is to be stored.
func (r *refresh) revoke(ctx context.Context, data []byte) ([]byte, error) {
	c := r.creds
	file, err := c.storedFile(data, nil)
	if err != nil {
		return nil, err
	}
	found := file.current()
	if !r.ended { // or else, only the store had failed, or there is nothing to do
		tok := r.held
		if r.saved != nil && !found.sameGrant(r.saved) {
			tok = found
		}
		err := c.client.revoke(ctx, tok, c.HTTPClient)
		if err != nil {
			return nil, err
		}
		if r.saved != nil {
			r.saved = found
		}
		r.ended = true
		c.rest.Store(&r.stored)
		c.cache.set(new(Token), errRevoked)
	}
	if r.saved.same(found) {
		return nil, nil
	}
	return data, nil // which another process has stored since, or these never were
}

// userMembers are the members of an authorized_user file that this package
// knows. The third line is of a token.json; what follows is the package's own,
// which other programs ignore.
var userMembers = strings.Fields(`
	type client_id client_secret refresh_token token_uri
	token expiry scopes id_token quota_project_id
	access_token token_type expires_in
	granted_scopes issuer revocation_uri token_endpoint_auth_method
	token_params extra
`)

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
	hasToken := f.object["access_token"] != "" // which is a text, if only an empty one
	adopted := client != nil && hasToken && !f.has("client_id")
	if adopted {
		f.object["token"] = f.object["access_token"]
	} else {
		client = f.client()
	}
	scopes := scopeList(f.list("scopes")...)
	c := &Credentials{
		TokenParams: f.params("token_params"),
		client:      client,
		scope:       joinScopes(scopes), // as they were asked for, and will be again
	}
	tok := f.storedToken()
	rest := &stored{
		granted:      adopted || f.has("granted_scopes"),
		adopted:      adopted,
		quotaProject: f.project(),
		unknown:      f.object,
	}
	if !rest.granted && !tok.AccessToken.empty() {
		tok.Scopes = scopes // of another program's refresh
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
	rest.saved = c.cache.keep(tok)
	c.rest.Store(rest)
	return c, nil
}

// storedToken reads the token of a file of credentials.
func (f *fields) storedToken() *Token {
	t := &Token{
		AccessToken:  f.secret("token"),
		Expiry:       f.expiry("expiry"),
		Scopes:       scopeList(f.list("granted_scopes")...),
		RefreshToken: f.secret("refresh_token"),
		IDToken:      f.secret("id_token"),
	}
	var extra object
	f.decode("extra", &extra) // leaves out what is not a text
	t.extra = newExtra(extra)
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
	return c.marshal(c.current(), c)
}

// marshal returns a file with t in place of one with the credentials in old.
func (c *Credentials) marshal(t *Token, old *Credentials) ([]byte, error) {
	if c.client == nil {
		return nil, errNoClient
	}
	if t.RefreshToken.empty() && t.AccessToken.empty() {
		return nil, errNoRefresh
	}
	rest := c.stored()
	file := c.client.members()
	file["type"] = "authorized_user"
	file["token"] = t.AccessToken.Reveal()
	file["id_token"] = t.IDToken.Reveal()
	file["quota_project_id"] = rest.quotaProject
	maps.DeleteFunc(file, func(name string, value any) bool {
		return value == "" && name != "client_secret" // which Python demands
	})
	file["refresh_token"] = t.RefreshToken.Reveal() // also if it is empty, for Python
	if !t.Expiry.IsZero() {
		file["expiry"] = t.Expiry.UTC().Format("2006-01-02T15:04:05.999999Z")
	}
	if scope := c.wanted(t); scope != "" {
		file["scopes"] = strings.Fields(scope)
	}
	if rest.granted || c.scope == "" && len(t.Scopes) > 0 {
		file["granted_scopes"] = scopeList(t.Scopes...) // null would mean not granted
	}
	if c.TokenParams != nil {
		file["token_params"] = c.TokenParams
	}
	if t.extra != nil {
		file["extra"] = t.extra() // as texts, which nest no deeper
	}
	for name, text := range old.stored().unknown {
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
	// refresh with its retries. Update calls it once at the most, in the same
	// goroutine, and ends its own waiting when ctx is done. It must not ask the
	// credentials that are stored for a token, which may wait for Update.
	Update(ctx context.Context, fn func(old []byte) (new []byte, err error)) error
}

// Save stores the credentials, and makes them use store from then on. It
// replaces other credentials of a user that are stored there, but not what came
// after these: if they were stored there before and other ones are by now, Save
// keeps those and returns nil. A file that is not understood is an error. If
// credentials without a store can't be saved, they keep this one, and the save
// is tried again later. Save waits for a refresh that is under way, and those
// that begin meanwhile wait for Save.
func (c *Credentials) Save(ctx context.Context, store Store) error {
	if store == nil {
		return errNoStore
	}
	return c.cache.alone(ctx, func() error {
		r := c.newRefresh(false)
		if r.ended {
			return errRevoked
		}
		r.saving = true
		had := r.store
		if !sameStore(had, store) {
			r.older = r.saved != nil && !r.held.AccessToken.empty()
			r.store = store
			r.saved = nil
			r.seen = nil
			r.dead = nil // which is of the other store
		}
		tok, err := r.run(ctx)
		if err != nil && had != nil {
			return err
		}
		c.rest.Store(&r.stored)
		if err != nil && tok.Valid() {
			c.cache.set(tok, err)
		}
		return err
	})
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
	none := &Credentials{client: client}
	c, err := none.storedFile(store.Load(ctx))
	switch {
	case err != nil:
		return nil, err
	case c == none:
		return nil, loginRequired("no credentials are stored")
	case client != nil:
		c.client = client
	}
	c.rest.Load().store = store
	return c, nil
}
