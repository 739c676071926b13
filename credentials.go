package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Credentials are a person's: a refresh token and the access token that was last obtained
// with it. They refresh themselves, and are a [TokenSource] for [NewClient] and
// [Transport]. They come from a sign-in, from [NewCredentials], [ParseCredentials] or
// [LoadCredentials]. They are safe for concurrent use and must not be copied.
//
// Credentials that have a [Store], since they were saved or loaded, refresh through it: with
// other processes excluded, they take over what another one has obtained, and else
// refresh and store the result before they hand it out.
type Credentials struct {
	cache  tokenCache
	client *ClientSecrets
	scope  string                 // joined and shared, as there may be very many credentials
	rest   atomic.Pointer[stored] // nil where NewCredentials made them; what it points to does not change
}

// stored is what only some credentials have.
type stored struct {
	granted bool   // scopes are those of a sign-in: a refresh asks for what was granted then
	quota   string // the project that API calls are counted against
	unknown object // members of the file that this package does not know
	store   Store  // nil: none
	saved   *Token // what store has, as far as is known
}

func (c *Credentials) stored() stored {
	if rest := c.rest.Load(); rest != nil {
		return *rest
	}
	return stored{}
}

// NewCredentials returns the Credentials of a refresh token that the program has kept itself. Many
// of them can share one client. If scopes are given, each refresh asks for them;
// they must be among those that were granted (RFC 6749, Section 6). After a refresh the
// token's RefreshToken may be a new one, which replaces the one stored.
func NewCredentials(client *ClientSecrets, refreshToken Secret, scopes ...string) *Credentials {
	c := &Credentials{client: client, scope: joinScopes(scopes)}
	c.cache.current.Store(&Token{RefreshToken: refreshToken})
	return c
}

// signedIn returns the Credentials of a completed sign-in. It checks the claims of an ID token, which
// came straight from the token endpoint over TLS, and so needs no signature (OpenID
// Connect Core, Section 3.1.3.7).
func (c *ClientSecrets) signedIn(tok *Token, scopes []string, nonce string) (*Credentials, error) {
	if !tok.IDToken.empty() && c.Issuer != "" {
		if _, err := checkedClaims(tok.IDToken.Reveal(), expected{c.Issuer, c.ClientID, nonce, defaultLeeway}); err != nil {
			return nil, fmt.Errorf("oauth2: the ID token that came with the sign-in %w", err)
		}
	}
	creds := &Credentials{client: c, scope: joinScopes(scopes)}
	creds.rest.Store(&stored{granted: true})
	creds.cache.keep(tok)
	return creds, nil
}

// Token returns an access token that has not expired; it implements [TokenSource]. A
// token near its expiry is renewed in the background. The error is one that errors.Is finds to
// be [ErrLoginRequired] where the refresh token no longer works or there is none,
// an [*Error] for other failures of the refresh, or the reason why ctx ended.
func (c *Credentials) Token(ctx context.Context) (*Token, error) { return c.cache.token(ctx, c) }

// Refresh obtains a new access token though the current one may still be good. Its errors are
// those of Token, and where the new token could not be saved, it returns both: the token, which
// is in use, and the error. The save is tried again.
func (c *Credentials) Refresh(ctx context.Context) (*Token, error) { return c.cache.renew(ctx, c, nil) }

// fetch refreshes the token. With a store it does so under the store's lock, or adopts what another process has stored.
func (c *Credentials) fetch(ctx context.Context, old *Token) (tok *Token, failed error) {
	if c.client == nil || old == nil {
		return nil, errNoClient
	}
	rest, used := c.rest.Load(), ""
	if rest == nil || rest.store == nil {
		tok, failed = c.exchange(ctx, old)
		if tok == nil || c.rest.Load() == rest {
			return tok, failed
		}
		return c.fetch(ctx, tok) // to save it in the store that has come meanwhile
	}
	unsaved := !rest.saved.same(old)
	update := func(data []byte) ([]byte, error) {
		now, unknown, err := c.storedToken(data, old)
		switch {
		case err != nil:
			return nil, err
		case c.cache.failure() == errRevoked:
			return nil, errRevoked
		case data != nil && now.RefreshToken.Reveal() != rest.saved.RefreshToken.Reveal():
			unsaved = false // the store has moved on, or has it after all
		}
		switch {
		case !unsaved && now.fresh() && now.AccessToken.Reveal() != old.AccessToken.Reveal() && !now.Expiry.Before(old.Expiry):
			tok, failed = now, nil
			return data, nil
		case unsaved && old.Valid():
			tok = old
			return c.marshal(tok, unknown)
		case unsaved && failed == nil:
			now.RefreshToken = old.RefreshToken
		case failed != nil && now.RefreshToken.Reveal() == used:
			return nil, failed
		}
		used = now.RefreshToken.Reveal()
		if tok, failed = c.exchange(ctx, now); tok == nil {
			return nil, failed
		}
		return c.marshal(tok, unknown)
	}
	err := rest.store.Update(ctx, update)
	if errors.Is(failed, ErrLoginRequired) { // a program that does not lock may have replaced the refresh token since it was read
		err = rest.store.Update(ctx, update)
	}
	if tok == nil {
		return nil, cmp.Or(failed, err)
	}
	if err != nil {
		return tok, fmt.Errorf("oauth2: the new token is in use, but could not be saved: %w", err)
	}
	next := *rest
	next.saved = tok
	if !c.rest.CompareAndSwap(rest, &next) && failed == nil { // Save has stored elsewhere what was used up here
		return c.fetch(ctx, tok)
	}
	return tok, failed
}

// same reports whether t and u would be stored alike.
func (t *Token) same(u *Token) bool {
	return t != nil && t.AccessToken.Reveal() == u.AccessToken.Reveal() && t.RefreshToken.Reveal() == u.RefreshToken.Reveal()
}

// inherit takes from old what t lacks and an answer, or the file of another program, need not repeat.
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
}

// storedToken returns the token in a file, with what it lacks from old, and the file's members that
// this package does not know. If nothing is stored, it returns old. Another client's file is refused: its refresh
// token would be sent to this one's server.
func (c *Credentials) storedToken(data []byte, old *Token) (*Token, object, error) {
	now := *old
	if data == nil {
		return &now, nil, nil
	}
	file, err := ParseCredentials(data)
	if err == nil && !c.client.same(file.client) {
		err = errors.New("oauth2: the store has the credentials of another client by now")
	}
	if err != nil {
		return nil, nil, err
	}
	now = *file.cache.current.Load()
	now.inherit(old)
	return &now, file.stored().unknown, nil
}

// exchange refreshes the token (RFC 6749, Section 6).
func (c *Credentials) exchange(ctx context.Context, old *Token) (*Token, error) {
	if old.RefreshToken.empty() {
		return nil, loginRequired("the access token has expired and there is no refresh token")
	}
	scope := c.scope
	if c.stored().granted {
		scope = "" // what was granted then
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.RefreshToken.Reveal()}, "scope": {scope}}
	ans := c.client.post(ctx, "refreshing the token", c.client.TokenURI, form, false)
	if e := (*Error)(nil); errors.As(ans.err, &e) && e.Code == "invalid_grant" {
		e.loginRequired = true
		e.text += "; the refresh token has expired or was revoked: sign in again"
	}
	tok, err := ans.token(scope)
	if err != nil { // a new refresh token is kept even so, since the old one may be gone
		f, kept := ans.fields(), *old
		kept.RefreshToken = f.secret("refresh_token")
		if f.secret("access_token").empty() || kept.RefreshToken.empty() || !isBearer(f.str("token_type")) || f.err != nil {
			return nil, err
		}
		return &kept, err
	}
	tok.inherit(old)
	return tok, nil
}

var errNoClient = errors.New("oauth2: there is no client")

var errRevoked error = loginRequired("the credentials were revoked")

func loginRequired(text string) *Error {
	return &Error{text: text + "; sign in again", loginRequired: true}
}

// Revoke makes the server forget the grant (RFC 7009), and then erases the stored copy. After that,
// Token returns an error that errors.Is finds to be [ErrLoginRequired]. If the server does not
// confirm, nothing is erased, and Revoke can be called again.
func (c *Credentials) Revoke(ctx context.Context) error {
	if c.client == nil || c.client.RevocationURI == "" {
		return errors.New("oauth2: the client has no RevocationURI")
	}
	c.cache.settle(ctx)
	revoked := c.cache.failure() == errRevoked
	revoke := func(data []byte) ([]byte, error) {
		if revoked {
			return nil, nil // and only the store failed
		}
		t := c.cache.current.Load()
		if now, _, err := c.storedToken(data, t); err != nil {
			return nil, err
		} else if c.stored().saved.same(t) { // and another process may have replaced it
			t = now
		}
		form := url.Values{"token": {t.RefreshToken.Reveal()}, "token_type_hint": {"refresh_token"}}
		if t.RefreshToken.empty() {
			form = url.Values{"token": {t.AccessToken.Reveal()}, "token_type_hint": {"access_token"}}
		}
		if form.Get("token") == "" {
			return nil, loginRequired("the credentials have no token to revoke")
		}
		if err := c.client.post(ctx, "revoking the token", c.client.RevocationURI, form, false).err; err != nil {
			return nil, err
		}
		c.cache.end(errRevoked)
		return nil, nil
	}
	if store := c.stored().store; store != nil {
		return store.Update(ctx, revoke)
	}
	_, err := revoke(nil)
	return err
}

// covers reports whether scopes were asked for when the credentials were made. What a person then
// declined is not asked for at each start.
func (c *Credentials) covers(scopes []string) bool {
	have := slices.Concat(strings.Fields(c.scope), c.cache.current.Load().Scopes)
	return !slices.ContainsFunc(scopes, func(s string) bool {
		return !slices.Contains(have, s) && !slices.Contains(have, "https://www.googleapis.com/auth/userinfo."+s) // Google's name for email and profile
	})
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
		Issuer: f.str("issuer"), RevocationURI: f.str("revocation_uri"), AuthMethod: cmp.Or(f.str("token_endpoint_auth_method"), "client_secret_post")}
	if f.has("token_uri") {
		client.TokenURI = f.endpoint("token_uri")
	}
	tok := &Token{AccessToken: f.secret("token"), RefreshToken: f.secret("refresh_token"), IDToken: f.secret("id_token"),
		Type: "Bearer", Expiry: f.expiry("expiry"), Scopes: f.scopes("granted_scopes")}
	rest := &stored{granted: f.has("granted_scopes"), quota: f.project("quota_project_id"), unknown: maps.Clone(f.object)}
	c := &Credentials{client: client, scope: joinScopes(f.scopes("scopes"))}
	c.rest.Store(rest)
	f.require(client.ClientID != "", "has no client_id")
	f.require(!tok.RefreshToken.empty() || !tok.AccessToken.empty(), "has no refresh_token")
	if f.err != nil {
		return nil, fmt.Errorf("oauth2: the credentials file %w", f.err)
	}
	if endpoint, _ := checkEndpoint(client.TokenURI); isGoogle(endpoint) {
		client.useGoogle()
	}
	if client.AuthMethod == "client_secret_post" && client.ClientSecret.empty() {
		client.AuthMethod = "none"
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
	return c.marshal(c.cache.current.Load(), c.stored().unknown)
}

func (c *Credentials) marshal(t *Token, unknown object) ([]byte, error) {
	if c.client == nil || t == nil {
		return nil, errNoClient
	}
	if t.RefreshToken.empty() && t.AccessToken.empty() {
		return nil, loginRequired("the credentials have no token to keep")
	}
	file := map[string]any{"type": "authorized_user", "token_uri": c.client.TokenURI, "client_id": c.client.ClientID, "token": t.AccessToken.Reveal(),
		"id_token": t.IDToken.Reveal(), "quota_project_id": c.stored().quota}
	if !t.Expiry.IsZero() {
		file["expiry"] = t.Expiry.UTC().Format("2006-01-02T15:04:05.999999Z")
	}
	if c.client.Issuer != googleIssuer {
		file["issuer"], file["revocation_uri"], file["token_endpoint_auth_method"] = c.client.Issuer, c.client.RevocationURI, c.client.authMethod()
	}
	if c.scope != "" {
		file["scopes"] = strings.Fields(c.scope)
	}
	if c.stored().granted {
		file["granted_scopes"] = t.Scopes
	}
	maps.DeleteFunc(file, func(_ string, value any) bool { return value == "" })
	file["client_secret"], file["refresh_token"] = c.client.ClientSecret.Reveal(), t.RefreshToken.Reveal() // even if empty: Python demands them
	for name, text := range unknown {
		file[name] = json.RawMessage(text)
	}
	return json.MarshalIndent(file, "", "  ")
}

// A Store keeps one set of credentials between runs, and for several processes or machines at a time.
// [FileStore] is one; a row of a database is another, as the example shows. Its methods must be
// safe for concurrent use. What is stored contains secrets.
type Store interface {
	// Load returns what is stored, or nil if nothing is.
	Load(ctx context.Context) ([]byte, error)
	// Update replaces what is stored with what fn returns for it, while no other Update
	// runs, here or in any other process or machine that shares the Store. fn gets nil if nothing is stored,
	// and erases by returning nil. If fn fails, nothing changes, and Update returns its error. fn may take as
	// long as a refresh with its retries, and Update must call it once at the most.
	Update(ctx context.Context, fn func(old []byte) (new []byte, err error)) error
}

// Save stores the credentials, and makes them use store from then on. It replaces other credentials
// of a person that are stored there, but nothing else: a file that is not understood is an error.
func (c *Credentials) Save(ctx context.Context, store Store) error {
	c.cache.settle(ctx)
	for {
		t := c.cache.current.Load()
		err := store.Update(ctx, func(data []byte) ([]byte, error) {
			if data != nil {
				if _, err := ParseCredentials(data); err != nil {
					return nil, err
				}
				if rest := c.stored(); rest.saved.same(t) && sameStore(rest.store, store) { // it has this, or a later one
					return data, nil
				}
			}
			return c.marshal(t, c.stored().unknown)
		})
		if err != nil {
			return err
		}
		next := c.stored()
		next.store, next.saved = store, t
		c.rest.Store(&next)
		if c.cache.current.Load() == t { // else a refresh has come between
			return err
		}
	}
}

func sameStore(a, b Store) (same bool) {
	defer func() { recover() }() // not comparable: not known to be the same
	return a == b
}

// LoadCredentials returns the credentials in store. If there are none, errors.Is finds the error to be
// [ErrLoginRequired].
func LoadCredentials(ctx context.Context, store Store) (*Credentials, error) {
	data, err := store.Load(ctx)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, loginRequired("no credentials are stored")
	}
	c, err := ParseCredentials(data)
	if err != nil {
		return nil, err
	}
	c.rest.Load().store, c.rest.Load().saved = store, c.cache.current.Load()
	return c, nil
}

// How a lock of a FileStore is waited for, and found abandoned where its process can't be looked at.
const (
	lockRetry  = 20 * time.Millisecond
	lockStale  = flightTimeout + time.Minute
	lockReused = 15 * time.Minute
)

// FileStore returns a Store that is the file called name, which only the user who runs the
// program can read. Processes of one machine can share it; for several machines, which a network file
// system does not keep apart, use a database. A crash at any moment leaves the old or the new
// content. Folders are made as needed. While a process updates the file there is a folder of the
// same name with ".lock" at its end; a lock whose holder was killed is found out and ignored. If
// name is a symbolic link, a save replaces the link.
func FileStore(name string) Store { return fileStore(name) }

type fileStore string

func (s fileStore) Load(ctx context.Context) ([]byte, error) {
	if s == "" {
		return nil, errNoFile
	}
	data, err := parseFile(string(s), func(data []byte) ([]byte, error) { // so that an error names the file
		_, err := ParseCredentials(data)
		return data, err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func (s fileStore) Update(ctx context.Context, fn func(old []byte) ([]byte, error)) error {
	lock, err := lockFile(ctx, string(s))
	if err != nil {
		return err
	}
	defer os.Remove(filepath.Dir(lock)) // unless others wait
	defer os.Remove(lock)
	old, err := s.Load(ctx)
	if err != nil {
		return err
	}
	data, err := fn(old)
	if err != nil || bytes.Equal(data, old) && (data == nil) == (old == nil) {
		return err
	}
	return replaceFile(string(s), lock, data)
}

// replaceFile writes data to the lock, which is a new file with mode 0600, and renames it, so that at any moment
// the old or the new content is there, whole; without data it removes the file. If another process took this one for
// dead, the lock is gone, and nothing is changed.
func replaceFile(name, lock string, data []byte) error {
	f, err := os.OpenFile(lock, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(data)
		err = cmp.Or(err, f.Sync(), f.Close()) // Sync, as the rename could get to the disk first
	}
	switch {
	case err == nil && data == nil:
		err = os.Remove(name)
	case err == nil:
		err = os.Rename(lock, name)
	}
	if err != nil {
		return fmt.Errorf("oauth2: saving: %w", err)
	}
	if d, err := os.Open(filepath.Dir(name)); err == nil { // so that the change is on the disk too, where the system can say so
		d.Sync()
		d.Close()
	}
	return nil
}

var errNoFile = errors.New("oauth2: the FileStore has no file name")

// lockFile excludes other processes from name, until the file it returns is removed or renamed. The standard
// library has no lock that ends with its process on all systems. So each contender puts a file into a folder; who
// then sees no other one has the lock, and since all do so before they look, never do two. Removing the file of a
// dead process by its unique name can't hit the lock of a live one.
func lockFile(ctx context.Context, name string) (lock string, err error) {
	if name == "" {
		return "", errNoFile
	}
	dir, parent := name+".lock", filepath.Dir(name)
	lock = filepath.Join(dir, fmt.Sprintf("%s.%d.%s", machineID(), os.Getpid(), randomSecret().Reveal()))
	err = os.MkdirAll(parent, 0o700)
	if info, statErr := os.Stat(parent); statErr == nil && runtime.GOOS != "windows" && info.Mode()&0o022 != 0 {
		return "", fmt.Errorf("oauth2: others can replace files in the folder %q; make it yours alone (chmod go-w)", parent)
	}
	for alone := false; err == nil; err = cmp.Or(err, sleep(ctx, jitter(lockRetry))) {
		if alone, err = tryLock(dir, lock); alone {
			return lock, nil
		}
		os.Remove(lock)
	}
	return "", fmt.Errorf("oauth2: locking %q: %w", name, err)
}

// tryLock puts a lock into its folder and reports whether it is alone there, after removing the dead: those of
// processes of this machine that are gone, and those that are older than any update takes. One that is old though there is
// a process with its ID may be that of a process that slept with its machine; much later, of another process.
func tryLock(dir, lock string) (alone bool, err error) {
	err = os.Mkdir(dir, 0o700)
	if info, statErr := os.Lstat(dir); err != nil && (!errors.Is(err, fs.ErrExist) || statErr == nil && !info.IsDir()) {
		return false, err // also for a link, which would have files removed elsewhere
	}
	err = os.WriteFile(lock, nil, 0o600)
	entries, readErr := os.ReadDir(dir)
	if err = cmp.Or(err, readErr); errors.Is(err, fs.ErrNotExist) { // somebody who unlocked has removed the folder
		return false, nil
	}
	alone = err == nil
	for _, e := range entries {
		info, err := e.Info()
		parts := strings.Split(e.Name(), ".")
		if e.Name() == filepath.Base(lock) || err != nil || len(parts) != 3 {
			continue
		}
		limit, gone := lockStale, false
		if parts[0] == machineID() {
			limit, gone = lockReused, processGone(parts[1])
		}
		if gone || time.Since(info.ModTime()) > limit {
			os.Remove(filepath.Join(dir, e.Name()))
		} else {
			alone = false
		}
	}
	return alone, err
}

// machineID tells apart the machines, and the containers, whose process IDs mean nothing to each
// other.
func machineID() string {
	host, _ := os.Hostname()
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return challenge(host + "\n" + namespace)
}

// processGone reports whether there is certainly no process with an ID.
func processGone(id string) bool {
	pid, err := strconv.Atoi(id)
	if err != nil || pid <= 0 {
		return false
	}
	p, err := os.FindProcess(pid)
	return err != nil || runtime.GOOS != "windows" && errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
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
	if ctx == nil {
		return nil, "", errNilContext
	}
	scopes = scopeList(scopes...)
	quota := os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT")
	if quota != "" && !validProject(quota) {
		return nil, "", errors.New("oauth2: GOOGLE_CLOUD_QUOTA_PROJECT is not a project")
	}
	name := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	if file := cmp.Or(name, gcloudFile()); file != "" {
		src, err = parseFile(file, func(data []byte) (TokenSource, error) { return defaultFile(data, quota, scopes) })
	}
	if name == "" && errors.Is(err, fs.ErrNotExist) {
		err = nil // gcloud need not have been used
	}
	if err != nil {
		return nil, "", err
	}
	projectID = os.Getenv("GOOGLE_CLOUD_PROJECT")
	if sa, ok := src.(*ServiceAccountCredentials); ok {
		projectID = cmp.Or(projectID, sa.ProjectID)
	}
	if src != nil {
		return src, projectID, nil
	}
	compute := &ComputeCredentials{Scopes: scopes, QuotaProject: quota}
	if os.Getenv("NO_GCE_CHECK") == "true" {
		err = errors.New("NO_GCE_CHECK says not to look for it")
	} else if projectID == "" || os.Getenv("GCE_METADATA_HOST") == "" {
		probe, cancel := context.WithTimeout(ctx, metadataTimeout)
		defer cancel()
		var found string
		found, err = compute.ProjectID(probe)
		projectID = cmp.Or(projectID, found)
	}
	if ctx.Err() != nil {
		return nil, "", fmt.Errorf("oauth2: looking for default credentials: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, "", fmt.Errorf("oauth2: there are no default credentials: GOOGLE_APPLICATION_CREDENTIALS names no file, \"gcloud auth application-default login\" has not been run, and there is no metadata server (%w)", err)
	}
	return compute, projectID, nil
}

// gcloudFile returns the name of the file in which gcloud keeps default credentials, or "" where there is no place for one.
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

// defaultFile parses a file with default credentials.
func defaultFile(data []byte, quota string, scopes []string) (TokenSource, error) {
	f := parseFields(data)
	switch typ := f.str("type"); typ {
	case "service_account":
		sa, err := ParseServiceAccount(data, scopes...)
		if err != nil {
			return nil, err
		}
		sa.QuotaProject = cmp.Or(quota, sa.QuotaProject)
		return sa, nil
	case "authorized_user":
		c, err := ParseCredentials(data)
		if err != nil {
			return nil, err
		}
		rest := c.rest.Load()
		rest.quota = cmp.Or(quota, rest.quota)
		if len(scopes) > 0 {
			c.scope, rest.granted = joinScopes(scopes), false
		}
		return c, nil
	case "impersonated_service_account":
		source, err := defaultFile([]byte(f.object["source_credentials"]), "", []string{cloudPlatformScope})
		f.require(err == nil, "has source_credentials that can't be used: %w", err)
		uri, delegates, project := f.endpoint("service_account_impersonation_url"), f.strs("delegates"), f.project("quota_project_id")
		f.require(strings.HasSuffix(uri, ":generateAccessToken"), "has a service_account_impersonation_url of another kind")
		if f.err == nil {
			return impersonate(source, uri, delegates, scopes, cmp.Or(quota, project)), nil
		}
	default:
		f.require(false, "is of type %q, which is not supported; service_account, authorized_user and impersonated_service_account are", printable(typ, 64))
	}
	return nil, fmt.Errorf("oauth2: the default credentials file %w", f.err)
}
