package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What was wrong once, or could have become wrong without a test that fails.

// Each of these embeds a source of this package and has a Token of its own.
type (
	embedsCredentials struct {
		*Credentials
		own *countingSource
	}
	embedsServiceAccount struct {
		*ServiceAccountCredentials
		own *countingSource
	}
	embedsSource struct {
		TokenSource
		own *countingSource
	}
)

func (s *embedsCredentials) Token(ctx context.Context) (*Token, error) { return s.own.Token(ctx) }

func (s *embedsServiceAccount) Token(ctx context.Context) (*Token, error) { return s.own.Token(ctx) }

func (s *embedsSource) Token(ctx context.Context) (*Token, error) { return s.own.Token(ctx) }

// A type that embeds a source of this package and overrides Token is a source of its own: its Token is called, it has
// no quota project, and a 401 does not refresh the source inside.
//
// C15
func TestEmbeddedSource(t *testing.T) {
	t.Parallel()
	type inner struct {
		creds *Credentials
		sa    *ServiceAccountCredentials
		own   *countingSource
	}
	for _, tt := range []struct {
		name string
		make func(inner) TokenSource
		ours bool // not embedded
	}{
		{"Credentials", func(in inner) TokenSource { return in.creds }, true},
		{"ServiceAccountCredentials", func(in inner) TokenSource { return in.sa }, true},
		{"embeds Credentials", func(in inner) TokenSource { return &embedsCredentials{in.creds, in.own} }, false},
		{"embeds ServiceAccountCredentials", func(in inner) TokenSource {
			return &embedsServiceAccount{in.sa, in.own}
		}, false},
		{"embeds a TokenSource", func(in inner) TokenSource { return &embedsSource{in.creds, in.own} }, false},
		{"embeds a cached TokenSource", func(in inner) TokenSource {
			return &embedsSource{CachedTokenSource(in.creds), in.own}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, sa := serviceAccountServer(t, "a")
				sa.QuotaProject = "project-1"
				creds := storedUser(t, s, `"quota_project_id":"project-1"`)
				in := inner{creds, sa, numberedTokens(time.Hour)}
				src := tt.make(in)
				cached := CachedTokenSource(src)
				if (cached == src) != tt.ours {
					t.Errorf("CachedTokenSource returns its argument: %v", cached == src)
				}
				if got := askAtOnce(t.Context(), 10, cached); len(got) != 1 || (got[0] == "1") == tt.ours {
					t.Errorf("CachedTokenSource: %q", got)
				}
				for through, src := range map[string]TokenSource{"itself": src, "a cache": cached} {
					want := "1 401" // requests, and the status of the last
					if through == "a cache" || tt.ours {
						want = "2 401"
					}
					time.Sleep(time.Minute)
					sent, status := unauthorized(t, src)
					if got := fmt.Sprint(len(sent), " ", status); got != want {
						t.Errorf("through %s: %s, want %s", through, got, want)
					}
					for _, r := range sent {
						token := strings.TrimPrefix(r.Get("Authorization"), "Bearer ")
						_, notOwn := strconv.Atoi(token)
						if (notOwn != nil) != tt.ours || r.Get("X-Goog-User-Project") == "project-1" != tt.ours {
							t.Errorf("through %s: %v", through, r)
						}
					}
				}
				if n := s.TokenRequests(""); (n > 0) != tt.ours {
					t.Errorf("%d requests for the source inside", n)
				}
			})
		})
	}
}

// storedUser returns the credentials of a user of s, from a file with these members besides.
func storedUser(t *testing.T, s *TestServer, members string) *Credentials {
	t.Helper()
	file := fmt.Sprintf(`{"client_id":%q,"client_secret":%q,"token_uri":%q,"refresh_token":%q,%s}`,
		s.ClientID, s.ClientSecret, s.URL+"/token", s.IssueRefreshToken("a"), members)
	c, err := ParseCredentials([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = &http.Client{Transport: s.Transport()}
	return c
}

// unauthorized sends a request through a Transport to a server that always says 401. It returns the headers that the
// server saw and the status that the caller got.
func unauthorized(t *testing.T, src TokenSource) (sent []http.Header, status int) {
	t.Helper()
	tr := &Transport{Source: src, Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Header.Clone())
		return response(401, ""), nil
	})}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://api.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return sent, resp.StatusCode
}

// A lossyStore saves and then reports a failure all the same, as a database does whose answer is lost.
type lossyStore struct {
	*memoryStore
	lost error
}

func (s *lossyStore) Update(ctx context.Context, fn func([]byte) ([]byte, error)) error {
	return cmp.Or(s.memoryStore.Update(ctx, fn), s.lost)
}

// After a save that failed, or seemed to, the store may get a token that is newer than the one in memory. Then the
// store's is used, and the refresh token in memory is not sent.
//
// C3 C7 M60 XO5
func TestStoreIsNewerThanMemory(t *testing.T) {
	t.Parallel()
	refresh := func(t *testing.T, s *TestServer, store Store) {
		if _, err := loadedCredentials(t, s, store).Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	signIn := func(t *testing.T, s *TestServer, store Store) {
		c := credentialsOf(s, "a")
		tokenOrError(t.Context(), c)
		if err := c.Save(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
	signInOnly := func(t *testing.T, s *TestServer, store Store) { savedCredentials(t, s, store) }
	for _, tt := range []struct {
		name     string
		saved    bool // although the store said that it failed
		other    func(t *testing.T, s *TestServer, store Store)
		later    time.Duration
		call     func(*Credentials, context.Context) (*Token, error)
		requests int
	}{
		{"refreshed", true, refresh, 0, (*Credentials).Refresh, 0},
		{"refreshed, found in the background", true, refresh, 0, (*Credentials).Token, 0},
		{"refreshed, and expired", true, refresh, time.Hour, (*Credentials).Token, 1},
		{"new sign-in", false, signIn, 0, (*Credentials).Refresh, 0},
		{"new sign-in, found in the background", false, signIn, 0, (*Credentials).Token, 0},
		{"new sign-in, and expired", false, signIn, time.Hour, (*Credentials).Token, 1},
		{"new sign-in without an access token", false, signInOnly, 0, (*Credentials).Refresh, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store, lost := rotatingServer(), &lossyStore{memoryStore: newMemoryStore()}, errors.New("lost")
				c := savedCredentials(t, s, store)
				if tt.saved {
					store.lost = lost
				} else {
					store.write = func() error { return lost }
				}
				held, err := c.Refresh(t.Context())
				if !held.Valid() || !errors.Is(err, lost) {
					t.Fatalf("Refresh: %v, %v", held, err)
				}
				store.lost, store.write = nil, nil
				time.Sleep(time.Minute)
				tt.other(t, s, store)
				newest, before := storedMembers(t, store)["refresh_token"], len(s.Requests())
				time.Sleep(tt.later)
				if _, err := tt.call(c, t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // for a refresh in the background
				requests := s.Requests()[before:]
				for _, r := range requests {
					if r.Form.Get("refresh_token") != newest {
						t.Errorf("sent %q, want %q", r.Form.Get("refresh_token"), newest)
					}
				}
				now, stored := tokenOrError(t.Context(), c), storedMembers(t, store)
				if len(requests) != tt.requests || now != stored["token"] || now == held.AccessToken.Reveal() {
					t.Errorf("%d requests; token %s; stored: %v", len(requests), now, stored)
				}
				if tt.requests == 0 && stored["refresh_token"] != newest {
					t.Errorf("stored: %v", stored)
				}
				checkAllRefresh(t, s, store, c)
			})
		})
	}
}

// checkAllRefresh checks that another process, which has what is in the store, and this one, which has c, can go on for
// two hours, whichever refreshes first.
func checkAllRefresh(t *testing.T, s *TestServer, store Store, c *Credentials) {
	t.Helper()
	for hour := range 2 {
		time.Sleep(time.Hour)
		other := loadedCredentials(t, s, store)
		order := []*Credentials{other, c}
		if hour == 1 {
			order = []*Credentials{c, other}
		}
		for _, c := range order {
			if got := tokenOrError(t.Context(), c); !strings.HasPrefix(got, "at-") {
				t.Errorf("after %d hours, another process %v: %s", hour+1, c == other, got)
			}
		}
	}
	if s.Reuses() != 0 {
		t.Errorf("%d reuses", s.Reuses())
	}
}

// setStored changes a member of what is stored, as another program does.
func setStored(t *testing.T, store Store, name string, value any) {
	t.Helper()
	err := store.Update(t.Context(), func(data []byte) ([]byte, error) {
		members := map[string]any{}
		if err := json.Unmarshal(data, &members); err != nil {
			return nil, err
		}
		members[name] = value
		return json.Marshal(members)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An uncomparableStore can't be compared with another one.
type uncomparableStore struct {
	*memoryStore
	_ []int
}

// Save to the store that the credentials have changes nothing that another process has changed there since. What the
// store lacks it gets.
//
// C3 C7 XO5 UP22
func TestSaveAgain(t *testing.T) {
	t.Parallel()
	stores := map[string]func(t *testing.T) (store, again Store){
		"memory": func(*testing.T) (store, again Store) { store = newMemoryStore(); return store, store },
		"file": func(t *testing.T) (store, again Store) {
			name := filepath.Join(privateDir(t), storeFileName)
			return FileStore(name), FileStore(name)
		},
	}
	for _, tt := range []struct {
		name    string
		change  func(t *testing.T, s *TestServer, store Store) // by another process
		refresh bool                                           // by this process
	}{
		{"the same", func(*testing.T, *TestServer, Store) {}, false},
		{"its own refresh", func(*testing.T, *TestServer, Store) {}, true},
		{"refreshed", func(t *testing.T, s *TestServer, store Store) {
			if _, err := loadedCredentials(t, s, store).Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"refresh token replaced", func(t *testing.T, s *TestServer, store Store) {
			setStored(t, store, "refresh_token", s.IssueRefreshToken("a"))
		}, false},
		{"member added", func(t *testing.T, _ *TestServer, store Store) {
			setStored(t, store, "account", "person@example.com")
		}, false},
	} {
		for kind, stores := range stores {
			for _, loaded := range []bool{false, true} {
				t.Run(fmt.Sprint(tt.name, ", ", kind, ", loaded ", loaded), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s := rotatingServer()
						store, again := stores(t)
						c := savedCredentials(t, s, store)
						tokenOrError(t.Context(), c)
						if loaded {
							c = loadedCredentials(t, s, store)
						}
						if tt.refresh {
							c.Refresh(t.Context())
						}
						tt.change(t, s, store)
						before, _ := store.Load(t.Context())
						for range 2 {
							if err := c.Save(t.Context(), again); err != nil {
								t.Fatal(err)
							}
						}
						if after, err := store.Load(t.Context()); err != nil || !bytes.Equal(after, before) {
							t.Errorf("stored: %s\nbefore: %s\n%v", after, before, err)
						}
						checkAllRefresh(t, s, store, c)
					})
				})
			}
		}
	}
	synctest.Test(t, func(t *testing.T) { // a save that failed is made up for
		s, store := rotatingServer(), newMemoryStore()
		c := savedCredentials(t, s, store)
		store.write = func() error { return errors.New("full") }
		tok, err := c.Refresh(t.Context())
		store.write = nil
		if err == nil {
			t.Fatal("no error")
		}
		if err := c.Save(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		if stored := storedMembers(t, store); stored["refresh_token"] != tok.RefreshToken.Reveal() {
			t.Errorf("not saved: %v", stored)
		}
		checkAllRefresh(t, s, store, c)
	})
	synctest.Test(t, func(t *testing.T) {
		s, store := rotatingServer(), uncomparableStore{memoryStore: newMemoryStore()}
		c := savedCredentials(t, s, store)
		if err := c.Save(t.Context(), store); err != nil {
			t.Error(err)
		}
		checkAllRefresh(t, s, store, c)
	})
}

// A Save that fails leaves the credentials as they were: they work, and refresh through the store that they had.
//
// C3 P10 UP22
func TestSaveElsewhereFails(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	for _, tt := range []struct {
		name  string
		other func() *memoryStore
		want  string
	}{
		{"can't be written", func() *memoryStore {
			store := newMemoryStore()
			store.write = func() error { return full }
			return store
		}, "full"},
		{"can't be locked", func() *memoryStore {
			store := newMemoryStore()
			store.enter = func(context.Context) error { return full }
			return store
		}, "full"},
		{"is broken", func() *memoryStore {
			store := newMemoryStore()
			store.data = []byte("{")
			return store
		}, "JSON"},
		{"has another type", func() *memoryStore {
			store := newMemoryStore()
			store.data = []byte(`{"type":"service_account"}`)
			return store
		}, "service_account"},
		{"is nil", func() *memoryStore { return nil }, "no Store"},
	} {
		for _, had := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.name, ", had a store ", had), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, old, c := rotatingServer(), newMemoryStore(), (*Credentials)(nil)
					if had {
						c = savedCredentials(t, s, old)
					} else {
						c = credentialsOf(s, "a")
					}
					first := tokenOrError(t.Context(), c)
					other := tt.other()
					var err error
					if other == nil {
						err = c.Save(t.Context(), nil)
					} else {
						before := other.data
						err = c.Save(t.Context(), other)
						defer func() {
							if !bytes.Equal(other.data, before) {
								t.Errorf("stored elsewhere: %s", other.data)
							}
						}()
					}
					if err == nil || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("Save: %v, want %s", err, tt.want)
					}
					if got := tokenOrError(t.Context(), c); got != first || s.TokenRequests("") != 1 {
						t.Errorf("Token: %s, %d requests", got, s.TokenRequests(""))
					}
					time.Sleep(time.Hour)
					second := tokenOrError(t.Context(), c)
					if !strings.HasPrefix(second, "at-") || second == first || s.TokenRequests("") != 2 {
						t.Errorf("expired: %s, %d requests", second, s.TokenRequests(""))
					}
					if !had {
						return
					}
					if stored := storedMembers(t, old); stored["token"] != second {
						t.Errorf("stored: %v", stored)
					}
					checkAllRefresh(t, s, old, c)
				})
			})
		}
	}
}

// exchanges are calls that ask a server something through transport.
func exchanges(t *testing.T, transport http.RoundTripper) map[string]func(ctx context.Context) error {
	client := clientOver(transport)
	client.RevocationURI = "https://as.example/revoke"
	creds := func() *Credentials { return NewCredentials(client, NewSecret(canaryRefreshToken)) }
	return map[string]func(ctx context.Context) error{
		"Flow.FetchToken": func(ctx context.Context) error {
			_, err := startedFlow(t, client).FetchToken(ctx, canaryCode)
			return err
		},
		"Credentials.Token":   func(ctx context.Context) error { _, err := creds().Token(ctx); return err },
		"Credentials.Refresh": func(ctx context.Context) error { _, err := creds().Refresh(ctx); return err },
		"Credentials.Revoke":  func(ctx context.Context) error { return creds().Revoke(ctx) },
		"ClientCredentials.Token": func(ctx context.Context) error {
			_, err := (&ClientCredentials{Client: client}).Token(ctx)
			return err
		},
		"ServiceAccountCredentials.Token": func(ctx context.Context) error {
			sa, err := ParseServiceAccount(serviceAccountFile(nil), "a")
			if err != nil {
				t.Fatal(err)
			}
			sa.HTTPClient = client.HTTPClient
			_, err = sa.Token(ctx)
			return err
		},
		"ClientSecrets.Discover": func(ctx context.Context) error {
			return client.Discover(ctx, "https://as.example")
		},
		"IDTokenVerifier.Verify": func(ctx context.Context) error {
			_, err := verifierWith(transport).Verify(ctx, goodJWT())
			return err
		},
	}
}

// Whatever is asked of a server, errors.Is and errors.As find why there was no answer. Where the text of that reason
// has a secret in it, the secret is shown nowhere.
//
// M1 M6 M48 S3
func TestCauses(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443},
		Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	certificate := &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: certificates().wrongHost.Leaf,
		Host: "as.example"}}
	for _, tt := range []struct {
		name  string
		cause func(r *http.Request, sent []string) error // sent are the secrets in r
		found []func(error) bool
		after time.Duration // 0: whenever
		posts bool          // only what sends secrets
	}{
		{"refused", func(*http.Request, []string) error { return refused }, []func(error) bool{
			func(err error) bool { var e *net.OpError; return errors.As(err, &e) && e == refused },
			func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) },
			func(err error) bool { var e syscall.Errno; return errors.As(err, &e) && e == syscall.ECONNREFUSED },
			func(err error) bool { var e net.Error; return errors.As(err, &e) && !e.Timeout() },
		}, 0, false},
		{"certificate", func(*http.Request, []string) error { return certificate }, []func(error) bool{
			func(err error) bool {
				var e *tls.CertificateVerificationError
				return errors.As(err, &e) && e == certificate
			},
			func(err error) bool { var e x509.HostnameError; return errors.As(err, &e) && e.Host == "as.example" },
		}, 0, false},
		{"end of the context", func(r *http.Request, _ []string) error {
			<-r.Context().Done()
			return r.Context().Err()
		}, []func(error) bool{
			func(err error) bool { return errors.Is(err, context.DeadlineExceeded) },
			isTimeout,
		}, 5 * time.Second, false},
		{"secrets in its text", func(r *http.Request, sent []string) error {
			return fmt.Errorf("malformed HTTP response %s %q: %w", strings.Join(sent, " "), sent, refused)
		}, nil, 0, true},
		{"secrets in its text, encoded", func(r *http.Request, sent []string) error {
			return fmt.Errorf("malformed HTTP response %s: %w", url.QueryEscape(strings.Join(sent, "&")), refused)
		}, nil, 0, true},
	} {
		for name := range exchanges(t, nil) {
			if tt.posts && (name == "ClientSecrets.Discover" || name == "IDTokenVerifier.Verify") {
				continue
			}
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var all []string
					transport := roundTripFunc(func(r *http.Request) (*http.Response, error) {
						sent := secretsOf(r)
						all = append(all, sent...)
						return nil, tt.cause(r, sent)
					})
					ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(tt.after, time.Hour))
					defer cancel()
					start := time.Now()
					err := exchanges(t, transport)[name](ctx)
					if took := time.Since(start); err == nil || tt.after != 0 && took != tt.after {
						t.Fatalf("%v after %v", err, took)
					}
					for i, found := range tt.found {
						if !found(err) {
							t.Errorf("check %d of %v", i, err)
						}
					}
					if !strings.HasPrefix(err.Error(), "oauth2: ") || errors.Is(err, ErrLoginRequired) {
						t.Errorf("error %v", err)
					}
					time.Sleep(3 * time.Minute) // until nothing is on its way
					synctest.Wait()
					if tt.posts && len(all) == 0 {
						t.Error("nothing was sent")
					}
					noSecret(t, err, append(all, canaries...)...)
				})
			})
		}
	}
}

// secretsOf returns the secrets in the body of a request.
func secretsOf(r *http.Request) (secrets []string) {
	if r.Body == nil {
		return nil
	}
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	for _, name := range []string{"code", "code_verifier", "refresh_token", "token", "client_secret", "assertion"} {
		secrets = append(secrets, form[name]...)
	}
	return secrets
}

// A server chooses how long to wait, but Error.RetryAfter says no more than 5 minutes, and nobody waits longer than 2
// minutes in all or than the context allows: a wait that would end too late is not begun.
//
// X4 M38 M42
func TestRetryAfterBounds(t *testing.T) {
	t.Parallel()
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	text := func(s string) func() string { return func() string { return s } }
	for _, tt := range []struct {
		name     string
		header   func() string
		timeout  time.Duration // of the caller; 0: none
		want     time.Duration // Error.RetryAfter
		requests int
		took     time.Duration
	}{
		{"less than the bound", text("299"), 0, 299 * time.Second, 1, 0},
		{"the bound", text("300"), 0, 5 * time.Minute, 1, 0},
		{"more", text("301"), 0, 5 * time.Minute, 1, 0},
		{"a year", text("31536000"), 0, 5 * time.Minute, 1, 0},
		{"more than a number holds", text("9223372036854775808000"), 0, 5 * time.Minute, 1, 0},
		{"a date within the bound", func() string { return date(4 * time.Minute) }, 0, 4 * time.Minute, 1, 0},
		{"a date beyond it", func() string { return date(time.Hour) }, 0, 5 * time.Minute, 1, 0},
		{"in all less than 2 minutes", text("50"), 0, 50 * time.Second, 3, 100 * time.Second},
		{"the second wait is too long", text("70"), 0, 70 * time.Second, 2, 70 * time.Second},
		{"the first wait is too long", text("121"), 0, 121 * time.Second, 1, 0},
		{"within the caller's time", text("4"), 10 * time.Second, 4 * time.Second, 3, 8 * time.Second},
		{"the caller leaves before the third", text("6"), 10 * time.Second, 6 * time.Second, 2, 6 * time.Second},
		{"the caller leaves before the second", text("11"), 10 * time.Second, 11 * time.Second, 1, 0},
		{"a caller with more time", text("70"), time.Hour, 70 * time.Second, 2, 70 * time.Second},
	} {
		for _, status := range []int{429, 503} {
			t.Run(fmt.Sprint(tt.name, ", ", status), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					requests := 0
					transport := roundTripFunc(func(*http.Request) (*http.Response, error) {
						requests++
						return response(status, "", "Retry-After", tt.header()), nil
					})
					ctx, cancel := context.WithCancel(t.Context())
					if tt.timeout > 0 {
						ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					}
					defer cancel()
					start := time.Now()
					err := clientOver(transport).Discover(ctx, "https://as.example")
					took := time.Since(start)
					var e *Error
					if !errors.As(err, &e) || e.StatusCode != status || !e.Temporary() || e.RetryAfter != tt.want {
						t.Errorf("%v; RetryAfter is not %v", err, tt.want)
					}
					if requests != tt.requests || took != tt.took {
						t.Errorf("%d requests in %v", requests, took)
					}
					if tt.timeout > 0 {
						return
					}
					start = time.Now()
					_, err = NewCredentials(clientOver(transport), NewSecret("rt")).Refresh(t.Context())
					if took := time.Since(start); !errors.As(err, &e) || e.RetryAfter != tt.want || took != tt.took {
						t.Errorf("a refresh: %v after %v", err, took)
					}
				})
			})
		}
	}
}

// Only an RSA key that could verify counts as a second one with the same ID.
//
// K5 K8 J3
func TestKeysOfOneID(t *testing.T) {
	t.Parallel()
	const (
		ec = `{"kty":"EC","kid":"k1","use":"sig","alg":"ES256","crv":"P-256",` +
			`"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
		okp = `{"kty":"OKP","kid":"k1","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	)
	const noRSA = `no key "k1" for RS256` // the other one is left
	for _, tt := range []struct {
		name  string
		other func() string
		twice string // what is said where there are two RSA keys
	}{
		{"EC", func() string { return ec }, noRSA},
		{"Ed25519", func() string { return okp }, noRSA},
		{"RSA for encryption", func() string { return jwkJSON("k1", &otherKey().PublicKey, "use", `"enc"`) }, ambiguous},
		{"RSA for RS512", func() string { return jwkJSON("k1", &otherKey().PublicKey, "alg", `"RS512"`) }, ambiguous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key, other := jwkJSON("k1", &serverKey().PublicKey), tt.other()
			for _, set := range [][]string{{other, key}, {key, other}, {other, key, other}} {
				checkVerify(t, verifierWith(serveKeys(set...)), goodJWT(), "", "")
			}
			twice := serveKeys(key, other, key)
			checkVerify(t, verifierWith(twice), goodJWT(), "", tt.twice)
		})
	}
}

// A refresh that comes while Save writes makes what it writes worthless. In the end the store has the newest refresh
// token.
//
// C3 XO5 UP22
func TestRefreshDuringSave(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		had       bool // the credentials had another store
		refreshes int  // one in each of the first writes
	}{
		{"first store", false, 1},
		{"first store, three times", false, 3},
		{"another store", true, 1},
		{"another store, three times", true, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := credentialsOf(s, "a")
				if tt.had {
					c = savedCredentials(t, s, newMemoryStore())
				}
				tokenOrError(t.Context(), c)
				writes := 0
				var running sync.WaitGroup
				store.write = func() error {
					if writes++; writes <= tt.refreshes {
						running.Go(func() {
							if _, err := c.Refresh(t.Context()); err != nil {
								t.Error(err)
							}
						})
						time.Sleep(time.Second)
					}
					return nil
				}
				if err := c.Save(t.Context(), store); err != nil {
					t.Fatal(err)
				}
				running.Wait()
				store.write = nil
				tok, err := c.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				stored := storedMembers(t, store)
				if stored["refresh_token"] != tok.RefreshToken.Reveal() || stored["token"] != tok.AccessToken.Reveal() {
					t.Errorf("%d writes; stored: %v, want %s", writes, stored, tok.RefreshToken.Reveal())
				}
				checkAllRefresh(t, s, store, c)
			})
		})
	}
}

// A Save to another store that ends while a refresh is on its way has stored what the refresh uses up. In the end that
// store has the new refresh token.
//
// C3 XO5 UP22
func TestSaveElsewhereDuringRefresh(t *testing.T) {
	t.Parallel()
	for _, had := range []bool{false, true} {
		t.Run(fmt.Sprint("had a store ", had), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, store := rotatingServer(), newMemoryStore()
				c := credentialsOf(s, "a")
				if had {
					c = savedCredentials(t, s, newMemoryStore())
				}
				saved, answered := make(chan bool), make(chan bool)
				store.write = func() error { <-saved; return nil }
				s.Hook = func(http.ResponseWriter, *http.Request) bool { <-answered; return false }
				var running sync.WaitGroup
				running.Go(func() {
					if err := c.Save(t.Context(), store); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait() // until Save writes
				running.Go(func() {
					if _, err := c.Refresh(t.Context()); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait() // until the server has been asked
				close(saved)
				synctest.Wait() // until Save is done
				store.write = nil
				close(answered)
				running.Wait()
				tok, err := c.Token(t.Context())
				if err != nil || s.TokenRequests("") != 1 {
					t.Fatalf("%v, %d requests", err, s.TokenRequests(""))
				}
				if stored := storedMembers(t, store); stored["refresh_token"] != tok.RefreshToken.Reveal() {
					t.Errorf("stored: %v, want %s", stored, tok.RefreshToken.Reveal())
				}
				checkAllRefresh(t, s, store, c)
			})
		})
	}
}

// How long a lock is respected whose holder may live: 15 minutes if its process can be seen, 30 seconds if not. After
// that the process can't be the one that made it, if it does not touch it.
//
// C7 P8
func TestFileStoreLockAge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		other bool // another machine
		limit time.Duration
	}{
		{"this machine", false, 15 * time.Minute},
		{"another machine", true, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				name := filepath.Join(privateDir(t), storeFileName)
				store, dir := FileStore(name), name+".lock"
				var parts []string // of a lock's name: machine, process, its nonce, a random text
				err := store.Update(t.Context(), func([]byte) ([]byte, error) {
					entries, err := os.ReadDir(dir)
					if err == nil && len(entries) == 1 {
						parts = strings.Split(entries[0].Name(), ".")
					}
					return numberedFile(1), err
				})
				if err != nil || len(parts) != 4 || parts[1] != strconv.Itoa(os.Getpid()) {
					t.Fatalf("%q, %v", parts, err)
				}
				parts[1] = strconv.Itoa(os.Getppid())
				if tt.other {
					parts[0] = strings.Repeat("m", len(parts[0]))
				}
				lock := filepath.Join(dir, strings.Join(parts, "."))
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				writeFile(t, lock, "")
				made := time.Now().Add(time.Second - tt.limit)
				if err := os.Chtimes(lock, time.Time{}, made); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				err = store.Update(ctx, func([]byte) ([]byte, error) { return numberedFile(2), nil })
				age := time.Since(made)
				if err != nil || age <= tt.limit || age > tt.limit+9*time.Second {
					t.Errorf("%v; broken at %v, want %v", err, age, tt.limit)
				}
				if _, err := os.Lstat(lock); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the lock: %v", err)
				}
			})
		})
	}
}

// What a FileStore has written is on the disk before it replaces the file, and that it replaces the file, or removes
// it, is on the disk before Update returns.
//
// P8
func TestFileStoreSyncs(t *testing.T) {
	const variable = "OAUTH2_SYNCED_FILE"
	if name, ok := os.LookupEnv(variable); ok { // the child process
		for _, data := range [][]byte{numberedFile(1), nil} {
			put := func([]byte) ([]byte, error) { return data, nil }
			if err := FileStore(name).Update(t.Context(), put); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("system calls are looked at on Linux alone")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: ", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := privateDir(t)
	trace, name := filepath.Join(t.TempDir(), "trace"), filepath.Join(dir, storeFileName)
	traced := func(test string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), strace, "-f", "-y", "-s", "4096", "-o", trace,
			"-e", "trace=fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat", self, "-test.run="+test)
		cmd.Env = append(os.Environ(), variable+"="+name)
		return cmd.CombinedOutput()
	}
	if out, err := traced("^$"); err != nil {
		t.Skipf("strace can't trace here: %v, %s", err, out)
	}
	if out, err := traced("^TestFileStoreSyncs$"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	calls := tracedCalls(string(text))
	temporary := "" // what becomes the file
	for _, call := range calls {
		if from, ok := strings.CutSuffix(call, " "+name); ok && strings.HasPrefix(call, "rename ") {
			temporary = strings.TrimPrefix(from, "rename ")
		}
	}
	saved := []string{"fsync " + temporary, "rename " + temporary + " " + name, "fsync " + dir}
	want := slices.Concat(saved, []string{"unlink " + name, "fsync " + dir})
	got := slices.DeleteFunc(calls, func(call string) bool { return !slices.Contains(want, call) })
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q\ntrace:\n%s", got, want, text)
	}
}

// tracedCalls returns the calls that succeeded in the output of strace, in the order in which they ended: "fsync",
// "rename" or "unlink", and the paths.
func tracedCalls(trace string) (calls []string) {
	var (
		begun   = regexp.MustCompile(`^(\d+) +(.*) <unfinished \.\.\.>$`)
		resumed = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
		whole   = regexp.MustCompile(`^\d+ +(fsync|fdatasync|rename|unlink)\w*\((.*)\) += 0$`)
		paths   = regexp.MustCompile(`"([^"]*)"|\d<([^>]*)>`) // of an argument, or of a descriptor
	)
	open := map[string]string{} // the beginning of a call, by thread
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		if m := begun.FindStringSubmatch(line); m != nil {
			open[m[1]] = m[1] + " " + m[2]
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = open[m[1]] + m[2]
		}
		m := whole.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var call strings.Builder
		call.WriteString(strings.Replace(m[1], "fdatasync", "fsync", 1))
		for _, path := range paths.FindAllStringSubmatch(m[2], -1) {
			call.WriteString(" " + path[1] + path[2])
		}
		calls = append(calls, call.String())
	}
	return calls
}

// An access token that has expired when it comes is an error, but the refresh token that came with it is kept: the
// server has replaced the old one.
//
// C3 C5 C11
func TestExpiredAnswerRotates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		held time.Duration // age of the token that is there; 0: none
		then string        // what is left for callers
	}{
		{"no token", 0, "clock"},
		{"a valid token", time.Minute, "at-"},
		{"an expired token", time.Hour, "clock"},
	} {
		for _, next := range []string{"no store", "this process", "another process"} {
			t.Run(tt.name+", "+next, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, store := rotatingServer(), newMemoryStore()
					c := credentialsOf(s, "a")
					if next != "no store" {
						c = savedCredentials(t, s, store)
					}
					if tt.held > 0 {
						tokenOrError(t.Context(), c)
						time.Sleep(tt.held)
					}
					s.ExpiresIn = time.Second
					s.Answer = func(string, map[string]any) { time.Sleep(2 * time.Second) } // after the rotation
					if _, err := c.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "clock") {
						t.Errorf("Refresh: %v", err)
					}
					s.ExpiresIn, s.Answer = 0, nil
					if got := tokenOrError(t.Context(), c); !strings.Contains(got, tt.then) {
						t.Errorf("then: %s, want %s", got, tt.then)
					}
					time.Sleep(time.Minute)
					if next == "another process" {
						other := loadedCredentials(t, s, store)
						if _, err := other.Refresh(t.Context()); err != nil {
							t.Error(err)
						}
					}
					if _, err := c.Refresh(t.Context()); err != nil || s.Reuses() != 0 {
						t.Errorf("the next refresh: %v, %d reuses", err, s.Reuses())
					}
					if next != "no store" {
						checkAllRefresh(t, s, store, c)
					}
				})
			})
		}
	}
}

// A fetch that ends by runtime.Goexit is an error for those who wait for it, and the next one is a new fetch.
//
// C14
func TestGoexit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// source returns a source that calls fault in each fetch.
		source func(t *testing.T, fault func()) TokenSource
	}{
		{"caller's source", func(_ *testing.T, fault func()) TokenSource {
			return CachedTokenSource(&countingSource{next: func(_ context.Context, n int64) (*Token, error) {
				fault()
				return numberedToken(n, time.Hour), nil
			}})
		}},
		{"HTTP client", func(_ *testing.T, fault func()) TokenSource {
			s := NewMemoryServer()
			c := credentialsOf(s, "a")
			c.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				fault()
				return s.Transport().RoundTrip(r)
			})}
			return c
		}},
		{"store", func(t *testing.T, fault func()) TokenSource {
			s, store := rotatingServer(), newMemoryStore()
			c := savedCredentials(t, s, store)
			store.enter = func(context.Context) error { fault(); return nil }
			return c
		}},
		{"key set", func(_ *testing.T, fault func()) TokenSource {
			keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
			v := verifierWith(roundTripFunc(func(r *http.Request) (*http.Response, error) {
				fault()
				return keys.RoundTrip(r)
			}))
			return &countingSource{next: func(ctx context.Context, n int64) (*Token, error) {
				_, err := v.Verify(ctx, goodJWT())
				return numberedToken(n, time.Hour), err
			}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ends := true
				src := tt.source(t, func() {
					time.Sleep(time.Second) // until all callers wait
					if ends {
						runtime.Goexit()
					}
				})
				for range 2 {
					got := askAtOnce(t.Context(), 10, src)
					if len(got) != 1 || !strings.Contains(got[0], "did not return") {
						t.Errorf("callers were told %q", got)
					}
					time.Sleep(2 * time.Second)
				}
				ends = false
				if tok, err := src.Token(t.Context()); err != nil || !tok.Valid() {
					t.Errorf("afterwards: %v, %v", tok, err)
				}
			})
		})
	}
}

// While a token is fresh, Token waits for nobody, whatever the cache is busy with.
//
// C9 XO1
func TestFreshTokenTakesNoLock(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	creds := credentialsOf(s, "a")
	want := tokenOrError(t.Context(), creds)
	tr := &Transport{Source: creds, Base: s.Transport()}
	creds.cache.mu.Lock()
	defer creds.cache.mu.Unlock()
	done := make(chan string, 2)
	go func() {
		done <- tokenOrError(t.Context(), creds)
		req, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/userinfo", nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			done <- err.Error()
			return
		}
		done <- resp.Status
	}()
	for _, want := range []string{want, "200 OK"} {
		select {
		case got := <-done:
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no %s: the lock is waited for", want)
		}
	}
}

// An expiry is wall time, also if it was made with time.Now, whose monotonic clock stops while a machine sleeps. No
// test can put the machine to sleep, so the source is looked at too: an expiry is compared with the time only after
// Round(0).
//
// C10
func TestExpiryIsWallTime(t *testing.T) {
	t.Parallel()
	for life, valid := range map[time.Duration]bool{time.Hour: true, -time.Hour: false} {
		tok := &Token{AccessToken: NewSecret("1"), Expiry: time.Now().Add(life)}
		if !strings.Contains(tok.Expiry.String(), "m=") {
			t.Fatal("no monotonic clock: ", tok.Expiry)
		}
		if tok.Valid() != valid {
			t.Errorf("%v: valid is %v", life, tok.Valid())
		}
		src := &countingSource{next: func(context.Context, int64) (*Token, error) { return tok, nil }}
		cached := CachedTokenSource(src)
		for range 3 {
			got, err := cached.Token(t.Context())
			if (err == nil) != valid || valid && !got.Expiry.Equal(tok.Expiry) {
				t.Errorf("%v: %v, %v", life, got, err)
			}
		}
		if n := src.calls.Load(); n != 1 {
			t.Errorf("%v: %d calls", life, n)
		}
	}
	source := sourceOfPackage(t)
	for _, name := range []string{"oauth2.go", "credentials.go"} {
		ast.Inspect(source.files[name], func(n ast.Node) bool {
			if comparesMonotonic(n) {
				t.Errorf("%s: an expiry is compared without Round(0)", source.fset.Position(n.Pos()))
			}
			return true
		})
	}
	for text, want := range map[string]bool{ // the check itself
		"time.Now().Before(t.Expiry)":             true,
		"t.Expiry.After(now)":                     true,
		"time.Until(t.Expiry)":                    true,
		"time.Since(t.Expiry.Add(-early))":        true,
		"t.Expiry.Add(-early).Sub(now)":           true,
		"time.Now().Before(t.Expiry.Round(0))":    false,
		"time.Until(t.Expiry.Round(0))":           false,
		"t.Expiry.Before(old.Expiry)":             false,
		"now < t.Expiry.Add(-early).UnixNano()":   false,
		"t.Expiry.Round(0).Add(-early).Sub(time)": false,
	} {
		expr, err := parser.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := comparesMonotonic(expr); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// comparesMonotonic reports whether n is a call that compares an expiry, as it is, with another time.
func comparesMonotonic(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Before", "After", "Compare", "Sub", "Until", "Since"}, fun.Sel.Name) {
		return false
	}
	bare := 0
	for _, operand := range append(slices.Clone(call.Args), fun.X) {
		if isBareExpiry(operand) {
			bare++
		}
	}
	return bare == 1 // two are compared with each other, and not with the time
}

// isBareExpiry reports whether an expression is x.Expiry, or a sum with it, which has its monotonic clock.
func isBareExpiry(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok {
		sum, ok := call.Fun.(*ast.SelectorExpr)
		return ok && sum.Sel.Name == "Add" && isBareExpiry(sum.X)
	}
	field, ok := e.(*ast.SelectorExpr)
	return ok && field.Sel.Name == "Expiry"
}

// An unknown key ID causes a fetch at most every 30 s, whether the last fetch went well or not, and a known key serves
// all the while without one.
//
// K1
func TestUnknownKeyPause(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*keyServer)
		each   int    // requests of one fetch
		want   string // part of the error for an unknown key
	}{
		{"it goes well", func(*keyServer) {}, 1, "no key"},
		{"it is refused", func(k *keyServer) { k.status = 403 }, 1, "403"},
		{"it brings nothing", func(k *keyServer) { k.body = `{"keys":[]}` }, 1, "no usable key"},
		{"it is no JSON", func(k *keyServer) { k.body = "<html>" }, 1, "no usable key"},
		{"the server is down", func(k *keyServer) { k.status = 503 }, 3, "503"},
		{"the network is down", func(k *keyServer) { k.err = errors.New("down") }, 3, "the HTTP client failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				keys := serveKeys(jwkJSON("k1", &serverKey().PublicKey))
				keys.cache = "max-age=86400"
				v, good, known := verifierWith(keys), goodJWT(), 0
				verify := func() { known++; checkVerify(t, v, good, "", "") }
				unknown := func(want string) {
					header := headerJSON("kid", fmt.Sprintf(`"unknown-%d"`, known))
					checkVerify(t, v, signJWT(otherKey(), header, claimsJSON()), "", want)
				}
				verify()
				unknown("no key") // too soon for a fetch
				if n := keys.count(); n != 1 {
					t.Fatalf("%d requests at the start", n)
				}
				keys.set(func() { tt.change(keys) })
				before := "no key"
				for fetches := range 4 {
					time.Sleep(30*time.Second - 1)
					verify()
					unknown(before)
					if n := keys.count(); n != 1+fetches*tt.each {
						t.Fatalf("%d requests after %d fetches and 30 s less 1 ns", n, fetches)
					}
					time.Sleep(time.Nanosecond)
					verify()
					for range 3 {
						unknown(tt.want)
						verify()
					}
					if n := keys.count(); n != 1+(fetches+1)*tt.each {
						t.Fatalf("%d requests after %d fetches and 30 s", n, fetches)
					}
					before = tt.want
				}
			})
		})
	}
}
