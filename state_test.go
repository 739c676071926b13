package oauth2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// signedInCredentials returns the credentials of a new sign-in, which are in store.
func signedInCredentials(t *testing.T, s *TestServer, store Store, scopes ...string) *Credentials {
	t.Helper()
	c := newSignIn(t, s, scopes...)
	if err := c.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	return c
}

// newSignIn returns the credentials of a new sign-in, with an access token.
func newSignIn(t *testing.T, s *TestServer, scopes ...string) *Credentials {
	t.Helper()
	s.RedirectURIs = []string{"https://app.example/"}
	client := clientOf(s)
	client.RevocationURI = s.URL + "/revoke"
	client.Issuer = s.URL
	flow := NewFlow(client, scopes...)
	flow.RedirectURI = "https://app.example/"
	authURL, err := flow.AuthorizationURL()
	if err != nil {
		t.Fatal(err)
	}
	redirected, err := s.Authorize(authURL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := flow.FetchTokenFromRedirect(t.Context(), redirected)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// apiStatus returns the status of an API call with the tokens of c, or the error.
func apiStatus(t *testing.T, s *TestServer, c *Credentials) string {
	t.Helper()
	client := &http.Client{Transport: &Transport{Source: c, Base: s.Transport()}}
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return fmt.Sprint(resp.StatusCode)
}

// Another process has erased the store: the user has logged out. Credentials that were stored there ask for nothing
// more and do not write the file again.
//
// W69
func TestLoggedOutElsewhere(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, *Credentials, Store) error{
		"Token": func(ctx context.Context, c *Credentials, _ Store) error {
			time.Sleep(time.Hour)
			_, err := c.Token(ctx)
			return err
		},
		"Refresh": func(ctx context.Context, c *Credentials, _ Store) error {
			_, err := c.Refresh(ctx)
			return err
		},
		"Save": func(ctx context.Context, c *Credentials, store Store) error {
			return c.Save(ctx, store)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := signedInCredentials(t, s, store, "a")
				store.data = nil
				before := s.TokenRequests("")
				err := call(t.Context(), c, store)
				if !errors.Is(err, ErrLoginRequired) || s.TokenRequests("") != before || store.data != nil {
					t.Errorf("%v; %d requests; stored: %s", err, s.TokenRequests("")-before, store.data)
				}
			})
		})
	}
}

// unwritable is a Store that can be read, and whose locking or writing fails as an operating system says it.
type unwritable struct {
	*memoryStore
	lock, save error
}

func (s *unwritable) Update(ctx context.Context, fn func([]byte) ([]byte, error)) error {
	if s.lock != nil {
		return s.lock
	}
	s.write = func() error { return s.save }
	return s.memoryStore.Update(ctx, fn)
}

// What can't be saved can still be used: a stored token that is good is taken, another one is refreshed, and the save
// is tried again.
//
// W72 W83
func TestUnwritableStores(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{
		"EROFS":           &fs.PathError{Op: "mkdir", Path: "x", Err: syscall.EROFS},
		"EACCES":          &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES},
		"EPERM, bare":     syscall.EPERM,
		"ENOSPC, wrapped": fmt.Errorf("locking: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}),
		"EDQUOT, bare":    fmt.Errorf("writing: %w", syscall.EDQUOT),
		"permission":      fmt.Errorf("others can write: %w", syscall.EACCES),
		"a permission":    fmt.Errorf("read only: %w", fs.ErrPermission),
	} {
		for _, atLock := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " at the lock ", atLock), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := rotatingServer()
					store := &unwritable{memoryStore: newMemoryStore()}
					signedInCredentials(t, s, store, "a")
					if atLock {
						store.lock = fault
					}
					store.save = fault
					c := loadedCredentials(t, s, store)
					stored := tokenOrError(t.Context(), c)
					before := s.TokenRequests("")
					if again := tokenOrError(t.Context(), c); again != stored || s.TokenRequests("") != before {
						t.Errorf("a stored token that is good: %s, %s", stored, again)
					}
					time.Sleep(2 * time.Hour)
					fresh := tokenOrError(t.Context(), c)
					if !strings.HasPrefix(fresh, "at-") || fresh == stored {
						t.Errorf("expired: %s", fresh)
					}
					tok, err := c.Refresh(t.Context())
					if !tok.Valid() || tok.AccessToken.Reveal() == fresh || !errors.Is(err, fault) {
						t.Errorf("Refresh: %v, %v", tok, err)
					}
					// W83: the resource server rejects the token, which has not been saved.
					s.ExpireAccessTokens()
					time.Sleep(time.Minute)
					if got := apiStatus(t, s, c); got != "200" {
						t.Errorf("rejected: %s", got)
					}
					last := tokenOrError(t.Context(), c)
					synctest.Wait()
					store.lock, store.save = nil, nil
					time.Sleep(2 * longestBackoff)
					if got := tokenOrError(t.Context(), c); got != last {
						t.Errorf("mended: %s, not %s", got, last)
					}
					synctest.Wait()
					if members := storedMembers(t, store); members["token"] != last || s.Reuses() != 0 {
						t.Errorf("stored %v; %d reuses", members["token"], s.Reuses())
					}
				})
			})
		}
	}
}

// An error that says nothing of the kind, as of a database that can't be reached, is no reason to refresh without the
// lock: another machine may do so at the same time.
//
// W72 XO5
func TestUnreachableStores(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{
		"refused":      refusedError(),
		"forbidden":    &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EACCES)},
		"unknown":      errors.New("lock timeout"),
		"deadline":     context.DeadlineExceeded,
		"over HTTP":    &url.Error{Op: "Put", URL: "https://db.example/1", Err: refusedError()},
		"cut off":      &url.Error{Op: "Put", URL: "https://db.example/1", Err: io.ErrUnexpectedEOF},
		"with context": fmt.Errorf("row 1: %w", &url.Error{Op: "Put", URL: "https://db.example/1", Err: io.EOF}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := rotatingServer()
				store := &unwritable{memoryStore: newMemoryStore()}
				c := signedInCredentials(t, s, store, "a")
				store.lock = fault
				before := s.TokenRequests("")
				time.Sleep(2 * time.Hour)
				_, err := c.Token(t.Context())
				if !errors.Is(err, fault) || s.TokenRequests("") != before {
					t.Errorf("%v; %d requests", err, s.TokenRequests("")-before)
				}
			})
		})
	}
}

// refusedError is an error as net has it, with a number of the operating system inside.
func refusedError() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}}
}

// The store is held by another process for long, and then the server answers slowly: the refresh has its own time from
// the moment the store is held.
//
// W74
func TestStoreHeldLate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		wait, answer time.Duration
		want         bool
	}{
		{118 * time.Second, 3 * time.Second, true},
		{119 * time.Second, 29 * time.Second, true},
		{121 * time.Second, time.Second, false}, // the wait itself is bounded
	} {
		t.Run(fmt.Sprint(tt.wait, tt.answer), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := signedInCredentials(t, s, store, "a")
				time.Sleep(2 * time.Hour)
				store.turn <- struct{}{}
				time.AfterFunc(tt.wait, func() { <-store.turn })
				s.Hook = func(http.ResponseWriter, *http.Request) bool { time.Sleep(tt.answer); return false }
				store.write = func() error { time.Sleep(time.Second); return nil }
				_, err := c.Token(t.Context())
				if (err == nil) != tt.want || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Token: %v", err)
				}
				time.Sleep(5 * time.Minute)
				if got := tokenOrError(t.Context(), loadedCredentials(t, s, store)); !strings.HasPrefix(got, "at-") {
					t.Errorf("another process: %s", got)
				}
				if s.Reuses() != 0 {
					t.Errorf("%d reuses", s.Reuses())
				}
			})
		})
	}
}

// The user removes the app at the provider: the API answers 401, and then the refresh is refused. The access token is
// used no more, here or at the next start.
//
// W78
func TestRejectedForGood(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		stored, noRefreshToken, early bool
	}{
		"memory":                         {},
		"stored":                         {stored: true},
		"stored, without refresh token":  {stored: true, noRefreshToken: true},
		"memory, without refresh token":  {noRefreshToken: true},
		"found out early, in memory":     {early: true},
		"found out early, with a store":  {early: true, stored: true},
		"without either, with no expiry": {noRefreshToken: true, stored: true, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				if tt.noRefreshToken {
					s.Answer = func(_ string, answer map[string]any) {
						delete(answer, "refresh_token")
						if tt.early {
							delete(answer, "expires_in")
						}
					}
				}
				c := newSignIn(t, s, "a")
				if tt.stored {
					if err := c.Save(t.Context(), store); err != nil {
						t.Fatal(err)
					}
				}
				s.RevokeAll()
				if tt.early {
					c.Refresh(t.Context())
				}
				first := apiStatus(t, s, c)
				before := s.TokenRequests("")
				for range 3 {
					if _, err := c.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
						t.Errorf("Token after %s: %v", first, err)
					}
					time.Sleep(time.Second)
				}
				if n := s.TokenRequests("") - before; n != 0 {
					t.Errorf("%d more requests", n)
				}
				if !tt.stored {
					return
				}
				next, err := LoadCredentials(t.Context(), c.client, store)
				if err == nil {
					_, err = next.Token(t.Context())
				}
				if !errors.Is(err, ErrLoginRequired) {
					t.Errorf("the next start: %v", err)
				}
			})
		})
	}
}

// Credentials with a store that need a new sign-in find the one of another process, at most a second later, and read
// the store no more often.
//
// W79
func TestSignedInElsewhere(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(*testing.T, *TestServer, *memoryStore, *Credentials){
		"revoked": func(t *testing.T, s *TestServer, _ *memoryStore, c *Credentials) {
			s.RevokeAll()
			time.Sleep(2 * time.Hour)
			c.Token(t.Context())
		},
		"logged out": func(t *testing.T, _ *TestServer, store *memoryStore, c *Credentials) {
			store.data = nil
			time.Sleep(2 * time.Hour)
			c.Token(t.Context())
		},
		"without refresh token": func(t *testing.T, s *TestServer, store *memoryStore, c *Credentials) {
			store.set("refresh_token", "")
			time.Sleep(2 * time.Hour)
			c.Token(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := signedInCredentials(t, s, store, "a")
				kill(t, s, store, c)
				time.Sleep(2 * time.Second)
				before, looks := s.TokenRequests(""), 0
				store.enter = func(context.Context) error { looks++; return nil }
				for range 100 { // for 10 seconds
					if _, err := c.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
						t.Fatalf("Token: %v", err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if looks > 11 || s.TokenRequests("") != before {
					t.Errorf("%d looks, %d requests", looks, s.TokenRequests("")-before)
				}
				store.enter = nil
				signedInCredentials(t, s, store, "a")
				time.Sleep(time.Second)
				want := storedMembers(t, store)["token"]
				if got := tokenOrError(t.Context(), c); got != want {
					t.Errorf("got %s", got)
				}
				time.Sleep(time.Hour)
				if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") || s.Reuses() != 0 {
					t.Errorf("an hour later: %s, %d reuses", got, s.Reuses())
				}
			})
		})
	}
	t.Run("after its own Revoke", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, store := rotatingServer(), newMemoryStore()
			c := signedInCredentials(t, s, store, "a")
			if err := c.Revoke(t.Context()); err != nil {
				t.Fatal(err)
			}
			signedInCredentials(t, s, store, "a")
			stored := string(store.data)
			time.Sleep(time.Minute)
			_, err := c.Token(t.Context())
			if !errors.Is(err, ErrLoginRequired) || !errors.Is(c.Save(t.Context(), store), ErrLoginRequired) {
				t.Errorf("Token: %v", err)
			}
			if err := c.Revoke(t.Context()); err != nil || string(store.data) != stored {
				t.Errorf("another Revoke: %v; stored: %s", err, store.data)
			}
		})
	})
}

// Credentials that were stored do not replace what came after them, whatever the object and the spelling of the store.
// A new sign-in does.
//
// W80
func TestOlderSave(t *testing.T) {
	t.Parallel()
	type cases struct {
		older func(t *testing.T, c *Credentials, name string) (*Credentials, Store)
		later func(t *testing.T, s *TestServer, store Store, c *Credentials)
		kept  bool
	}
	same := func(t *testing.T, c *Credentials, name string) (*Credentials, Store) { return c, FileStore(name) }
	spelled := func(t *testing.T, c *Credentials, name string) (*Credentials, Store) {
		return c, FileStore(filepath.Dir(name) + "/./" + filepath.Base(name))
	}
	parsed := func(t *testing.T, c *Credentials, name string) (*Credentials, Store) {
		data, err := c.MarshalAuthorizedUser()
		if err != nil {
			t.Fatal(err)
		}
		copied, err := ParseCredentials(data)
		if err != nil {
			t.Fatal(err)
		}
		return copied, FileStore(name)
	}
	refreshed := func(t *testing.T, s *TestServer, store Store, _ *Credentials) {
		other := loadedCredentials(t, s, store)
		for range 3 {
			if _, err := other.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	signedIn := func(t *testing.T, s *TestServer, store Store, _ *Credentials) {
		signedInCredentials(t, s, store, "a")
	}
	for name, tt := range map[string]cases{
		"the same store, refreshed since":       {same, refreshed, true},
		"another spelling, refreshed since":     {spelled, refreshed, true},
		"a copy, refreshed since":               {parsed, refreshed, true},
		"the same store, signed in since":       {same, signedIn, true},
		"another spelling, signed in since":     {spelled, signedIn, true},
		"a copy, signed in since":               {parsed, signedIn, true},
		"a new sign-in, the other one is older": {newer, refreshed, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, path := rotatingServer(), filepath.Join(privateDir(t), storeFileName)
				c := signedInCredentials(t, s, FileStore(path), "a")
				older, store := tt.older(t, c, path)
				tt.later(t, s, FileStore(path), c)
				if !tt.kept {
					older = newSignIn(t, s, "a")
				}
				want := storedMembers(t, store)["refresh_token"]
				if !tt.kept {
					want = older.current().RefreshToken.Reveal()
				}
				if err := older.Save(t.Context(), store); err != nil {
					t.Fatal(err)
				}
				if got := storedMembers(t, store)["refresh_token"]; got != want {
					t.Errorf("stored %s, want %s", got, want)
				}
				time.Sleep(2 * time.Hour)
				older.client.HTTPClient = clientOf(s).HTTPClient
				if got := tokenOrError(t.Context(), older); !strings.HasPrefix(got, "at-") || s.Reuses() != 0 {
					t.Errorf("afterwards: %s, %d reuses", got, s.Reuses())
				}
			})
		})
	}
}

func newer(_ *testing.T, c *Credentials, name string) (*Credentials, Store) {
	return c, FileStore(name)
}

// A grant that the server does not know any more counts as revoked.
//
// W81
func TestRevokeDeadGrant(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"invalid_token":         true,
		"invalid_grant":         true,
		"bad_refresh_token":     true,
		"invalid_client":        false,
		"temporarily_something": false,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := signedInCredentials(t, s, store, "a")
				s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					w.WriteHeader(400)
					io.WriteString(w, `{"error":"`+code+`"}`)
					return true
				}
				err := c.Revoke(t.Context())
				if (err == nil) != want || (store.data == nil) != want {
					t.Errorf("%v; stored: %s", err, store.data)
				}
			})
		})
	}
}

// Revoke logs out what is stored now, whoever has stored it, and not what another process has stored since then.
//
// W82
func TestRevokeWhatIsStored(t *testing.T) {
	t.Parallel()
	revoked := func(s *TestServer) (tokens []string) {
		for _, r := range s.Requests() {
			if r.Path == "/revoke" {
				tokens = append(tokens, r.Form.Get("token"))
			}
		}
		return tokens
	}
	t.Run("another sign-in", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, store := rotatingServer(), newMemoryStore()
			c := signedInCredentials(t, s, store, "a")
			signedInCredentials(t, s, store, "a")
			want := storedMembers(t, store)["refresh_token"]
			if err := c.Revoke(t.Context()); err != nil || store.data != nil {
				t.Errorf("%v; stored: %s", err, store.data)
			}
			if got := revoked(s); len(got) != 1 || got[0] != want {
				t.Errorf("revoked %v, not %s", got, want)
			}
		})
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, store := rotatingServer(), newMemoryStore()
			c := signedInCredentials(t, s, store, "a")
			s.Hook = func(http.ResponseWriter, *http.Request) bool { time.Sleep(time.Second); return false }
			errs := make(chan error, 8)
			for range cap(errs) {
				go func() { errs <- c.Revoke(t.Context()) }()
			}
			for range cap(errs) {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if n := len(revoked(s)); n != 1 || store.data != nil {
				t.Errorf("%d requests; stored: %s", n, store.data)
			}
		})
	})
	t.Run("the store fails, then another process signs in", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, store := rotatingServer(), newMemoryStore()
			c := signedInCredentials(t, s, store, "a")
			store.write = func() error { return errors.New("full") }
			if err := c.Revoke(t.Context()); err == nil {
				t.Error("no error")
			}
			store.write = nil
			if err := c.Revoke(t.Context()); err != nil || store.data != nil {
				t.Errorf("once more: %v; stored: %s", err, store.data)
			}
			signedInCredentials(t, s, store, "a")
			stored := string(store.data)
			if err := c.Revoke(t.Context()); err != nil || string(store.data) != stored || len(revoked(s)) != 1 {
				t.Errorf("after a new sign-in: %v, %v; stored: %s", err, revoked(s), store.data)
			}
		})
	})
	t.Run("never stored", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, store := rotatingServer(), newMemoryStore()
			signedInCredentials(t, s, store, "a")
			stored := string(store.data)
			c := newSignIn(t, s, "a")
			store.write = func() error { return errors.New("full") }
			c.Save(t.Context(), store)
			store.write = nil
			for range 2 { // the other one changes nothing
				if err := c.Revoke(t.Context()); err != nil || string(store.data) != stored {
					t.Errorf("%v; stored: %s", err, store.data)
				}
			}
		})
	})
}

// A refresh that waits for the store while Revoke has it sends nothing, and spoils nothing of what Revoke knows.
//
// W82
func TestRevokeBeforeRefresh(t *testing.T) {
	t.Parallel()
	for _, saved := range []bool{true, false} {
		t.Run(fmt.Sprint("saved ", saved), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				fault := func() error { return errors.New("full") }
				c := newSignIn(t, s, "a")
				if !saved {
					store.write = fault
				}
				if err := c.Save(t.Context(), store); (err == nil) != saved {
					t.Fatal(err)
				}
				store.write = nil
				if saved {
					signedInCredentials(t, s, store, "a")
				}
				store.write = fault
				s.Hook = func(http.ResponseWriter, *http.Request) bool { time.Sleep(time.Second); return false }
				sent := len(s.Requests())
				revoked := make(chan error)
				go func() { revoked <- c.Revoke(t.Context()) }()
				synctest.Wait()
				if _, err := c.Refresh(t.Context()); !errors.Is(err, ErrLoginRequired) {
					t.Errorf("Refresh: %v", err)
				}
				if err := <-revoked; err == nil {
					t.Error("Revoke: no error")
				}
				synctest.Wait()
				time.Sleep(time.Minute)
				store.write = nil
				if err := c.Revoke(t.Context()); err != nil || store.data != nil {
					t.Errorf("once more: %v; stored: %s", err, store.data)
				}
				if n := len(s.Requests()) - sent; n != 1 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

// The first Save has failed, and the refresh token dies, while the store has somebody's access token without a refresh
// token: the dead one is not sent once a second.
//
// W88 W79
func TestDeadBesideAnotherToken(t *testing.T) {
	t.Parallel()
	for _, valid := range []bool{true, false} {
		t.Run(fmt.Sprint("valid ", valid), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				signedInCredentials(t, s, store, "a")
				store.set("refresh_token", "")
				store.set("expiry", "2140-01-02T03:04:05Z")
				if !valid {
					store.set("expiry", "1999-01-02T03:04:05Z")
				}
				c := newSignIn(t, s, "a")
				store.write = func() error { return errors.New("full") }
				if err := c.Save(t.Context(), store); err == nil {
					t.Fatal("no error")
				}
				s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
					w.WriteHeader(400)
					io.WriteString(w, `{"error":"invalid_grant"}`)
					return true
				}
				sent := len(s.Requests())
				time.Sleep(2 * time.Hour)
				for range 100 {
					time.Sleep(time.Second)
					tokenOrError(t.Context(), c)
					synctest.Wait()
				}
				if n := len(s.Requests()) - sent; n != 1 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

// The first Save has failed, and the refresh token dies. Then another process signs in to the same store: that is used,
// and not replaced with what is dead.
//
// W79 W88
func TestSignedInBesideTheDead(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{57 * time.Minute, 2 * time.Hour} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := newSignIn(t, s, "openid", "a")
				store.write = func() error { return errors.New("full") }
				if err := c.Save(t.Context(), store); err == nil {
					t.Fatal("no error")
				}
				s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != "POST" {
						return false
					}
					w.WriteHeader(400)
					io.WriteString(w, `{"error":"invalid_grant"}`)
					return true
				}
				time.Sleep(after)
				if _, err := c.Refresh(t.Context()); !errors.Is(err, ErrLoginRequired) {
					t.Fatal(err)
				}
				s.Hook = nil
				store.write = nil
				s.Subject = "user-2"
				signedInCredentials(t, s, store, "a")
				want := storedMembers(t, store)
				for range 3 {
					time.Sleep(2 * time.Second)
					tokenOrError(t.Context(), c)
					synctest.Wait()
				}
				if got := tokenOrError(t.Context(), c); got != want["token"] || c.IDToken() != nil {
					t.Errorf("got %s, and claims %v", got, c.IDToken())
				}
				if got := storedMembers(t, store); got["refresh_token"] != want["refresh_token"] {
					t.Error("the new sign-in is lost")
				}
			})
		})
	}
}

// What a later answer does not say of scopes was refused stays refused, and Token.Scopes survives a store.
//
// W85 W87
func TestScopesSurvive(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		asked   []string
		granted []string // by the first refresh; later ones do not say
		want    string   // of Token.Scopes
		sent    string   // with the last refresh
	}{
		"all":           {[]string{"a", "b"}, []string{"a", "b"}, "[a b]", "a b"},
		"one refused":   {[]string{"a", "b"}, []string{"a"}, "[a]", "a"},
		"none asked":    {nil, []string{"a", "c"}, "[a c]", ""},
		"never said":    {nil, nil, "[]", ""},
		"asked, unsaid": {[]string{"a", "b"}, nil, "[a b]", "a b"},
	} {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " stored ", stored), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, store := rotatingServer(), newMemoryStore()
					n := 0
					s.Answer = func(_ string, answer map[string]any) {
						delete(answer, "scope")
						if n++; n == 1 && tt.granted != nil {
							answer["scope"] = strings.Join(tt.granted, " ")
						}
					}
					c := NewCredentials(clientOf(s), NewSecret(s.IssueRefreshToken("a", "b", "c")), tt.asked...)
					if stored {
						if err := c.Save(t.Context(), store); err != nil {
							t.Fatal(err)
						}
					}
					for round := range 3 {
						tok, err := c.Refresh(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						if got := fmt.Sprint(tok.Scopes); got != tt.want {
							t.Errorf("round %d: Scopes %s, want %s", round, got, tt.want)
						}
						if stored {
							c = loadedCredentials(t, s, store)
							tok, err := c.Token(t.Context())
							if err != nil || fmt.Sprint(tok.Scopes) != tt.want {
								t.Errorf("round %d, loaded: %v, %v", round, tok.Scopes, err)
							}
						}
					}
					all := s.Requests()
					if got := all[len(all)-1].Form.Get("scope"); got != tt.sent {
						t.Errorf("sent scope %q, want %q", got, tt.sent)
					}
				})
			})
		}
	}
}

// A program that asks for fewer scopes refreshes in the same file: its token has its scopes, and what the sign-in was
// for is not forgotten.
//
// W85
func TestNarrowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, store := rotatingServer(), newMemoryStore()
		c := signedInCredentials(t, s, store, "a", "b")
		time.Sleep(time.Hour)
		store.set("granted_scopes", nil)
		store.set("scopes", []string{"a"})
		store.set("token", "narrow")
		store.set("expiry", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		tok, err := c.Token(t.Context())
		if err != nil || tok.AccessToken.Reveal() != "narrow" || fmt.Sprint(tok.Scopes) != "[a]" {
			t.Fatalf("adopted: %v, %v", tok.Scopes, err)
		}
		if _, err = c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := storedMembers(t, store)["scopes"]; fmt.Sprint(got) != "[a b]" || !c.covers([]string{"a", "b"}) {
			t.Errorf("stored scopes: %v", got)
		}
	})
}

// A store has another user's credentials by now: nothing of the two is mixed.
//
// W84
func TestStoreOfAnotherUser(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]any{
		"all of it":               {},
		"without a refresh token": {"refresh_token": ""},
		"without an ID token":     {"id_token": ""},
		"without scopes":          {"granted_scopes": nil, "scopes": nil},
		"with an access token only": {
			"refresh_token": "", "id_token": "", "granted_scopes": nil, "scopes": nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				ada := signedInCredentials(t, s, store, "openid", "a")
				if ada.IDToken() == nil || ada.IDToken().Subject != s.Subject {
					t.Fatal("no claims")
				}
				before := ada.current()
				s.Subject = "user-2"
				time.Sleep(time.Minute)
				signedInCredentials(t, s, store, "openid", "b")
				for name, value := range change {
					store.set(name, value)
				}
				bob := storedMembers(t, store)
				tok, err := ada.Refresh(t.Context())
				if err != nil || tok.AccessToken.Reveal() != bob["token"] {
					t.Fatalf("%v, %v", tok, err)
				}
				if tok.RefreshToken.equal(before.RefreshToken) || tok.IDToken.equal(before.IDToken) ||
					strings.Contains(fmt.Sprint(tok.Scopes), "a") {
					t.Errorf("mixed: %v", tok.Scopes)
				}
				if got := ada.IDToken(); got != nil {
					t.Errorf("claims of %s", got.Subject)
				}
			})
		})
	}
}

// The answer to a refresh of another user's stored credentials can't be used but for its refresh token: that is stored,
// and without the access token that memory has.
//
// W84
func TestRefusedAnswerToAnotherUser(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]map[string]any{
		"malformed": {"expires_in": "soon"},
		"expired":   {"expires_in": 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				ada := signedInCredentials(t, s, store, "openid", "a")
				s.Subject = "user-2"
				signedInCredentials(t, s, store, "openid", "a")
				store.set("expiry", time.Now().Add(-time.Minute).Format(time.RFC3339))
				bob := storedMembers(t, store)
				held := ada.current()
				s.Answer = func(_ string, answer map[string]any) {
					maps.Copy(answer, spoil)
					time.Sleep(2 * time.Second)
				}
				if _, err := ada.Refresh(t.Context()); err == nil {
					t.Fatal("no error")
				}
				for range 10 {
					time.Sleep(time.Minute)
					ada.Token(t.Context())
					synctest.Wait()
				}
				got := storedMembers(t, store)
				if got["refresh_token"] == bob["refresh_token"] || s.Reuses() != 0 {
					t.Errorf("the new refresh token is not stored; %d reuses", s.Reuses())
				}
				if got["token"] == held.AccessToken.Reveal() || got["id_token"] == held.IDToken.Reveal() {
					t.Error("stored: the tokens of two users")
				}
			})
		})
	}
}

// The server is down for the last minutes of a token's life, and comes back before its end: nobody waits longer.
//
// W86
func TestPauseEndsAtExpiry(t *testing.T) {
	t.Parallel()
	for _, retryAfter := range []string{"", "120"} {
		t.Run(retryAfter, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := rotatingServer()
				c := newSignIn(t, s, "a")
				expiry := c.current().Expiry
				down := true
				s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
					if down {
						w.Header().Set("Retry-After", retryAfter)
						w.WriteHeader(503)
					}
					return down
				}
				for time.Until(expiry) > time.Second {
					tokenOrError(t.Context(), c)
					time.Sleep(time.Second)
				}
				synctest.Wait()
				down = false
				time.Sleep(time.Until(expiry))
				if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
					t.Errorf("at the expiry: %s", got)
				}
			})
		})
	}
	t.Run("still down", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := rotatingServer()
			c := newSignIn(t, s, "a")
			expiry := c.current().Expiry
			down := true
			s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
				if down {
					w.WriteHeader(503)
				}
				return down
			}
			for time.Since(expiry) < 0 {
				tokenOrError(t.Context(), c)
				time.Sleep(time.Second)
			}
			if got := tokenOrError(t.Context(), c); strings.HasPrefix(got, "at-") {
				t.Errorf("got %s", got)
			}
			down = false
			time.Sleep(firstBackoff)
			if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
				t.Errorf("a moment later: %s", got)
			}
		})
	})
}

// The first Save fails: the credentials work, and are saved later.
//
// W88 W72
func TestFirstSaveFails(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{
		"full":    &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC},
		"unknown": errors.New("the database is away"),
	} {
		for _, atLock := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " at the lock ", atLock), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := rotatingServer()
					store := &unwritable{memoryStore: newMemoryStore(), save: fault}
					if atLock {
						store.lock = fault
					}
					c := newSignIn(t, s, "a")
					if err := c.Save(t.Context(), store); !errors.Is(err, fault) {
						t.Fatalf("Save: %v", err)
					}
					if failed := keepAsking(t, c, time.Minute, 3*time.Hour); failed > 0 {
						t.Errorf("Token failed %d times", failed)
					}
					synctest.Wait()
					store.lock, store.save = nil, nil
					time.Sleep(longestBackoff)
					mine := tokenOrError(t.Context(), c)
					synctest.Wait()
					if got := tokenOrError(t.Context(), loadedCredentials(t, s, store)); got != mine || s.Reuses() != 0 {
						t.Errorf("another process: %s, not %s; %d reuses", got, mine, s.Reuses())
					}
				})
			})
		}
	}
}

// noStore is a Store that does nothing of what it should.
type noStore struct{}

func (noStore) Load(context.Context) ([]byte, error) { return nil, nil }

func (noStore) Update(context.Context, func([]byte) ([]byte, error)) error { return nil }

// Nothing panics, is sent or is started where there is nothing to work with.
//
// W89
func TestNothingToWorkWith(t *testing.T) {
	t.Parallel()
	var none context.Context
	s := NewMemoryServer()
	sent := 0
	base := roundTripFunc(func(r *http.Request) (*http.Response, error) { sent++; return nil, nil })
	client := clientOf(s)
	client.HTTPClient = &http.Client{Transport: base}
	client.RevocationURI = s.URL + "/revoke"
	creds := func() *Credentials { return NewCredentials(client, NewSecret("r"), "a") }
	good := sourceOf(&Token{AccessToken: NewSecret("at")})
	for name, call := range map[string]func() error{
		"Token without context":     func() error { _, err := creds().Token(none); return err },
		"Refresh without context":   func() error { _, err := creds().Refresh(none); return err },
		"Revoke without context":    func() error { return creds().Revoke(none) },
		"Save without context":      func() error { return creds().Save(none, newMemoryStore()) },
		"Save without store":        func() error { return creds().Save(t.Context(), nil) },
		"Load without context":      func() error { _, err := LoadCredentials(none, nil, newMemoryStore()); return err },
		"Load without store":        func() error { _, err := LoadCredentials(t.Context(), nil, nil); return err },
		"zero Credentials, Token":   func() error { _, err := new(Credentials).Token(t.Context()); return err },
		"zero Credentials, Refresh": func() error { _, err := new(Credentials).Refresh(t.Context()); return err },
		"zero Credentials, Revoke":  func() error { return new(Credentials).Revoke(t.Context()) },
		"zero Credentials, Save":    func() error { return new(Credentials).Save(t.Context(), newMemoryStore()) },
		"zero Credentials, file":    func() error { _, err := new(Credentials).MarshalAuthorizedUser(); return err },
		"zero ServiceAccount":       func() error { _, err := new(ServiceAccountCredentials).Token(t.Context()); return err },
		"zero ClientCredentials":    func() error { _, err := new(ClientCredentials).Token(t.Context()); return err },
		"zero Impersonated":         func() error { _, err := new(ImpersonatedCredentials).Token(t.Context()); return err },
		"nil source":                func() error { _, err := CachedTokenSource(nil).Token(t.Context()); return err },
		"no URL": func() error {
			_, err := (&Transport{Source: good, Base: base}).RoundTrip(&http.Request{Header: http.Header{}})
			return err
		},
		"zero Transport": func() error {
			req, _ := http.NewRequest("GET", "https://api.example/", nil)
			_, err := new(Transport).RoundTrip(req)
			return err
		},
		"a Store that does nothing": func() error {
			c := creds()
			c.rest.Store(&stored{store: noStore{}})
			_, err := c.Token(t.Context())
			return err
		},
	} {
		if err := call(); err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sent != 0 {
		t.Errorf("%d requests", sent)
	}
}

// An HTTP client that returns no response, or one without a body, is an error.
//
// W89
func TestNoResponse(t *testing.T) {
	t.Parallel()
	for name, resp := range map[string]*http.Response{"nil": nil, "no body": {StatusCode: 401}} {
		base := roundTripFunc(func(*http.Request) (*http.Response, error) { return resp, nil })
		synctest.Test(t, func(t *testing.T) {
			client := clientOver(base)
			if _, err := NewCredentials(client, NewSecret("r")).Token(t.Context()); err == nil {
				t.Errorf("%s: a token", name)
			}
			src := CachedTokenSource(sourceOf(&Token{AccessToken: NewSecret("at")}))
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://api.example/", nil)
			if got, err := (&Transport{Source: src, Base: base}).RoundTrip(req); got != resp || err != nil {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		})
	}
}

// lostCommit is a Store that says that it failed when it had not.
type lostCommit struct {
	*memoryStore
	lost error
}

func (s *lostCommit) Update(ctx context.Context, fn func([]byte) ([]byte, error)) error {
	return cmp.Or(s.memoryStore.Update(ctx, fn), s.lost)
}

// A first Save that failed may have stored the credentials all the same. What another process has made of them since
// then is neither used twice nor replaced.
//
// W80 W88 XO5
func TestSaveThatOnlySaysItFailed(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"refresh": false, "another Save": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := rotatingServer()
				store := &lostCommit{newMemoryStore(), errors.New("connection lost")}
				c := newSignIn(t, s, "a")
				if err := c.Save(t.Context(), store); !errors.Is(err, store.lost) {
					t.Fatalf("Save: %v", err)
				}
				store.lost = nil
				time.Sleep(2 * time.Hour)
				other := loadedCredentials(t, s, store)
				tokenOrError(t.Context(), other)
				if again {
					if err := c.Save(t.Context(), store); err != nil {
						t.Errorf("another Save: %v", err)
					}
				}
				for range 3 {
					for _, c := range []*Credentials{c, other} {
						if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
							t.Errorf("got %s", got)
						}
					}
					time.Sleep(2 * time.Hour)
				}
				if s.Reuses() != 0 {
					t.Errorf("%d reuses", s.Reuses())
				}
			})
		})
	}
}

// What seemed to be dead may work after all: the file was away for a moment, or the server was wrong.
//
// W69 W78 W79
func TestNotDeadAfterAll(t *testing.T) {
	t.Parallel()
	t.Run("the same file comes back", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, store := NewMemoryServer(), newMemoryStore()
			signedInCredentials(t, s, store, "a")
			c := loadedCredentials(t, s, store)
			time.Sleep(2 * time.Hour)
			tokenOrError(t.Context(), c)
			data := store.data
			time.Sleep(2 * time.Hour)
			store.data = nil
			if _, err := c.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
				t.Errorf("away: %v", err)
			}
			store.data = data
			time.Sleep(time.Second)
			if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
				t.Errorf("back: %s", got)
			}
		})
	})
	t.Run("another process refreshes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, store := NewMemoryServer(), newMemoryStore()
			signedInCredentials(t, s, store, "a")
			c := loadedCredentials(t, s, store)
			time.Sleep(2 * time.Hour)
			wrong := true
			s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
				if wrong {
					w.WriteHeader(400)
					io.WriteString(w, `{"error":"invalid_grant"}`)
				}
				return wrong
			}
			if _, err := c.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
				t.Errorf("refused: %v", err)
			}
			wrong = false
			other := tokenOrError(t.Context(), loadedCredentials(t, s, store))
			time.Sleep(time.Second)
			if got := tokenOrError(t.Context(), c); got != other || storedMembers(t, store)["token"] != other {
				t.Errorf("got %s, not %s; stored: %v", got, other, storedMembers(t, store)["token"])
			}
		})
	})
}

// A Refresh without a refresh token changes nothing: the token that there is goes on being used, and stays stored.
//
// W78
func TestRefreshWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, store := NewMemoryServer(), newMemoryStore()
		s.Answer = func(_ string, answer map[string]any) {
			delete(answer, "refresh_token")
			delete(answer, "expires_in")
		}
		signedInCredentials(t, s, store, "a")
		c, stored := loadedCredentials(t, s, store), string(store.data)
		if _, err := c.Refresh(t.Context()); !errors.Is(err, ErrLoginRequired) {
			t.Errorf("Refresh: %v", err)
		}
		if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") || string(store.data) != stored {
			t.Errorf("afterwards: %s; stored: %s", got, store.data)
		}
	})
}

// Credentials whose first Save failed replace those of another client later, as that Save would have.
//
// W88
func TestSaveLaterOverAnotherClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := rotatingServer()
		store := &unwritable{memoryStore: newMemoryStore()}
		signedInCredentials(t, s, store, "a")
		store.set("client_id", "another")
		c := newSignIn(t, s, "a")
		store.save = errors.New("full")
		if err := c.Save(t.Context(), store); err == nil {
			t.Fatal("no error")
		}
		store.save = nil
		if failed := keepAsking(t, c, time.Minute, 3*time.Hour); failed > 0 {
			t.Errorf("%d failures", failed)
		}
		if got := storedMembers(t, store)["client_id"]; got != s.ClientID {
			t.Errorf("stored are those of %v", got)
		}
	})
}

// A first Save that fails needs no request to be tried again, and takes over nothing of what it replaces.
//
// W88 W84
func TestSaveLaterAsItWas(t *testing.T) {
	t.Parallel()
	for _, isEmpty := range []bool{true, false} {
		t.Run(fmt.Sprint("empty ", isEmpty), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := rotatingServer()
				store := &unwritable{memoryStore: newMemoryStore()}
				if !isEmpty {
					signedInCredentials(t, s, store, "a")
					store.set("account", "bob@example.com")
				}
				c := newSignIn(t, s, "a")
				store.save = errors.New("full")
				if err := c.Save(t.Context(), store); !errors.Is(err, store.save) {
					t.Fatal(err)
				}
				store.save = nil
				time.Sleep(longestBackoff)
				before := s.TokenRequests("")
				mine := tokenOrError(t.Context(), c)
				synctest.Wait()
				got := storedMembers(t, store)
				if n := s.TokenRequests("") - before; got["token"] != mine || got["account"] != nil || n != 0 {
					t.Errorf("stored %v of %v; %d requests", got["token"], got["account"], n)
				}
			})
		})
	}
}

// Save and Revoke wait for a refresh no longer than their context allows, and then have changed nothing.
//
// W82 W88
func TestSaveAndRevokeWait(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, *Credentials, Store) error{
		"Save":   func(ctx context.Context, c *Credentials, store Store) error { return c.Save(ctx, store) },
		"Revoke": func(ctx context.Context, c *Credentials, _ Store) error { return c.Revoke(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := newSignIn(t, s, "a")
				s.Hook = func(http.ResponseWriter, *http.Request) bool { time.Sleep(10 * time.Second); return false }
				go c.Refresh(t.Context())
				synctest.Wait()
				for _, limit := range []time.Duration{0, time.Second} {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					err := call(ctx, c, store)
					cancel()
					if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "oauth2: ") {
						t.Errorf("after %v: %v", limit, err)
					}
				}
				if store.data != nil || s.Count("/revoke") != 0 {
					t.Errorf("%d requests; stored: %s", s.Count("/revoke"), store.data)
				}
				if err := call(t.Context(), c, store); err != nil {
					t.Error(err)
				}
				if (store.data != nil) != (name == "Save") || (s.Count("/revoke") == 1) != (name == "Revoke") {
					t.Errorf("in the end: %d requests; stored: %s", s.Count("/revoke"), store.data)
				}
			})
		})
	}
}

// A Store that does not call its function revokes nothing, and says so.
//
// W89
func TestRevokeThroughNothing(t *testing.T) {
	t.Parallel()
	c := newSignIn(t, rotatingServer(), "a")
	c.rest.Store(&stored{store: noStore{}})
	if err := c.Revoke(t.Context()); err == nil {
		t.Error("no error")
	}
	var none context.Context
	err := FileStore(filepath.Join(privateDir(t), "file")).Update(none, neverCalled(t))
	if err == nil {
		t.Error("no context: no error")
	}
}

// Where a file is overwritten in place, what is longer is padded by its bytes, however many.
//
// W73
func TestOverwritePads(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 40, 1 << 20} {
		name := filepath.Join(privateDir(t), "file")
		writeFile(t, name, strings.Repeat("x", size))
		text := `{"name":"é漢字"}`
		if err := overwrite(name, []byte(text), size); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || strings.TrimRight(string(got), " ") != text || len(got) != max(size, len(text)) {
			t.Errorf("%d bytes: %d bytes, %.40q, %v", size, len(got), got, err)
		}
	}
}

// What was removed from one store is not lost with it: another store gets it. Those that were signed in then stay. // W80
func TestSaveAfterRemoved(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	dir := privateDir(t)
	first, second := filepath.Join(dir, "first.json"), filepath.Join(dir, "second.json")
	c := savedCredentials(t, s, FileStore(first))
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Refresh(t.Context()); !errors.Is(err, ErrLoginRequired) {
		t.Fatal("refreshed what was removed:", err)
	}
	if err := c.Save(t.Context(), FileStore(second)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(second); err != nil {
		t.Error("Save returned nil, and stored nothing:", err)
	}
}

// A Save leaves the time at which a stale token is renewed as it was.
func TestSaveOfStaleToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		store := newMemoryStore()
		c := savedCredentials(t, s, store)
		first, err := c.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(first.Expiry) - 220*time.Second)
		before := s.TokenRequests("")
		if err := c.Save(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		c.Token(t.Context())
		synctest.Wait()
		if n := s.TokenRequests(""); n != before+1 {
			t.Errorf("%d requests, want one", n-before)
		}
	})
}
