package oauth2

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain fails where a test left a goroutine behind.
//
// X5
func TestMain(m *testing.M) {
	stop := keepEntropy()
	code := m.Run()
	stop()
	if fuzzing := flag.Lookup("test.fuzz"); code == 0 && (fuzzing == nil || fuzzing.Value.String() == "") {
		http.DefaultClient.CloseIdleConnections()
		defaultClient.CloseIdleConnections()
		if left := leftGoroutines(); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// keepEntropy keeps the generator of crypto/rand from being forgotten in FIPS mode. There, a new one takes its entropy from
// how long things take, which is no time at all where a test has a time of its own, and then the process ends.
func keepEntropy() (stop func()) {
	if !fips140.Enabled() {
		return func() {}
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			rand.Read(make([]byte, 1))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

// leftGoroutines returns the stacks of all goroutines but its own, once they had a moment to end.
func leftGoroutines() string {
	var left []string
	deadline, tick := time.After(30*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		buf := make([]byte, 1<<20)
		left = strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:]
		left = slices.DeleteFunc(left, func(g string) bool { return strings.Contains(g, "os/signal") })
		if len(left) == 0 {
			return ""
		}
		select {
		case <-tick.C:
		case <-deadline:
			return strings.Join(left, "\n\n")
		}
	}
}

// Fresh, stale and expired, to the nanosecond: what a caller gets at a time, how often the source was asked by then,
// and how often it has been when that call's background refresh is done. Nobody waits for one.
//
// C9 C13 XO17 XO39 CA23 UP28 UP44
func TestCacheWindows(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		name      string
		life, at  time.Duration
		want      string
		wantCalls int64
	}{
		{"at once", time.Hour, 0, "1", 1},
		{"fresh to the last", time.Hour, time.Hour - 225*time.Second - 1, "1", 1},
		{"stale at 225 s", time.Hour, time.Hour - 225*time.Second, "1", 2},
		{"stale to the last", time.Hour, time.Hour - 1, "1", 2},
		{"expired", time.Hour, time.Hour, "2", 2},
		{"long expired", time.Hour, year, "2", 2}, // C12: or the clock was put forward
		{"450 s: fresh", 450 * time.Second, 225*time.Second - 1, "1", 1},
		{"450 s: stale", 450 * time.Second, 225 * time.Second, "1", 2},
		{"452 s: fresh", 452 * time.Second, 227*time.Second - 1, "1", 1},
		{"half life: fresh", 10 * time.Second, 5*time.Second - 1, "1", 1},
		{"half life: stale", 10 * time.Second, 5 * time.Second, "1", 2},
		{"half life: expired", 10 * time.Second, 10 * time.Second, "2", 2},
		{"a second", time.Second, time.Second/2 - 1, "1", 1},
		{"unknown expiry", 0, 100 * year, "1", 1},
		{"absurd expiry", 200 * year, 199 * year, "1", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := numberedTokens(tt.life)
				cached := CachedTokenSource(src)
				tokenOrError(t.Context(), cached)
				time.Sleep(tt.at)
				began, slow := time.Now(), src.next
				src.next = func(ctx context.Context, n int64) (*Token, error) {
					time.Sleep(time.Second)
					return slow(ctx, n)
				}
				got := tokenOrError(t.Context(), cached)
				if waited := time.Since(began); got != tt.want || (waited > 0) != (tt.want == "2") {
					t.Errorf("got %s after %v, want %s", got, waited, tt.want)
				}
				time.Sleep(time.Second)
				if calls := src.calls.Load(); calls != tt.wantCalls {
					t.Errorf("%d calls, want %d", calls, tt.wantCalls)
				}
			})
		})
	}
}

// What a client obtains for itself is cached like anything else.
//
// XO39 CA23
func TestClientTokenSourceCaches(t *testing.T) {
	t.Parallel()
	s := NewMemoryServer()
	src := &ClientCredentials{Client: clientOf(s), Scopes: []string{"a"}}
	got := askAtOnce(t.Context(), 10, src)
	if len(got) != 1 || !strings.HasPrefix(got[0], "at-") || s.TokenRequests("client_credentials") != 1 {
		t.Errorf("%q, %d requests", got, s.TokenRequests(""))
	}
	if CachedTokenSource(src) != src {
		t.Error("a cache of a cache")
	}
}

// A short life makes no storm, with a server that gives 5 s and one that takes offence at a repeated refresh token.
//
// C13 XO17
func TestCacheShortLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		s.Rotate, s.ExpiresIn = true, 5*time.Second
		creds := credentialsOf(s)
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			tokenOrError(t.Context(), creds)
		}
		if n := s.TokenRequests(""); n != 1 {
			t.Errorf("%d requests in the first second, want 1", n)
		}
		failed := keepAsking(t, creds, 10*time.Millisecond, time.Minute)
		if failed > 0 || s.TokenRequests("") > 26 || s.Reuses() > 0 {
			t.Errorf("%d failures, %d requests in a minute, %d reuses", failed, s.TokenRequests(""), s.Reuses())
		}
	})
}

// Whatever the number of callers, one request is made: at the start, after expiry, while stale with forced refreshes
// among them; and no refresh token is sent twice.
//
// C1 XO4 XO6 CA2 UP27
func TestCacheSingleFlight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		age      time.Duration // of the token that is there; 0: none
		force    bool
		requests int
		tokens   int
	}{
		{"none yet", 0, false, 1, 1},
		{"expired", time.Hour, false, 2, 1},
		{"stale", time.Hour - time.Minute, false, 2, 1},
		{"stale, and forced", time.Hour - time.Minute, true, 2, 2},
		{"expired, and forced", time.Hour, true, 2, 1},
		{"fresh, and forced", time.Minute, true, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.Rotate = true
				s.Hook = func(http.ResponseWriter, *http.Request) bool { time.Sleep(time.Second); return false }
				creds := credentialsOf(s)
				if tt.age > 0 {
					tokenOrError(t.Context(), creds)
					time.Sleep(tt.age - time.Since(s.Requests()[0].Time))
				}
				var wg sync.WaitGroup
				for range 100 * map[bool]int{true: 1}[tt.force] {
					wg.Go(func() {
						if _, err := creds.Refresh(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
				got := askAtOnce(t.Context(), 1000, creds)
				wg.Wait()
				time.Sleep(time.Minute)
				if len(got) > tt.tokens || !strings.HasPrefix(got[0], "at-") || s.TokenRequests("") != tt.requests {
					t.Errorf("%d requests, want %d; callers were told %q", s.TokenRequests(""), tt.requests, got)
				}
				time.Sleep(time.Hour)
				if got := tokenOrError(t.Context(), creds); !strings.HasPrefix(got, "at-") || s.Reuses() > 0 {
					t.Errorf("later: %s; %d reuses", got, s.Reuses())
				}
			})
		})
	}
}

// A failure is one for all callers, and remembered: 100 callers, then one every 10 ms for a second.
//
// C14 XO4 CA4
func TestCacheFailureShared(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		status        int
		code          string
		first, second int // requests for 100 callers, and after a second more of calls
	}{
		{"overloaded", 503, "temporarily_unavailable", 3, 3}, // the attempts of one flight
		{"refused", 400, "invalid_client", 1, 1},
		{"revoked", 400, "invalid_grant", 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
					time.Sleep(100 * time.Millisecond)
					writeJSON(w, tt.status, answerMembers{"error": tt.code})
					return true
				}
				creds := credentialsOf(s)
				got := askAtOnce(t.Context(), 100, creds)
				if len(got) != 1 || !strings.Contains(got[0], tt.code) || s.TokenRequests("") != tt.first {
					t.Errorf("%d requests, want %d; callers were told %q", s.TokenRequests(""), tt.first, got)
				}
				failed := keepAsking(t, creds, 10*time.Millisecond, time.Second)
				if failed != 100 || s.TokenRequests("") != tt.second {
					t.Errorf("%d failures, want 100; %d requests, want %d", failed, s.TokenRequests(""), tt.second)
				}
			})
		})
	}
}

// The pauses between attempts, in seconds, while calls come every 10 ms: without a token, and while a stale one still
// serves. "ok" is an attempt that succeeds, after which the pauses begin anew.
//
// C9 C14 CA3 XO14 W86
func TestCacheBackoff(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for _, tt := range []struct {
		name string
		life time.Duration // of the tokens, which are stale after half of it
		ok   []int64       // attempts that succeed
		err  error
		want string
	}{
		{name: "no token", err: down, want: "1 2 4 8 16 32 60 60 60"},
		{name: "stale", life: 440 * time.Second, ok: []int64{1}, err: down, want: "220 1 2 4 8 16 32 60 60"},
		{name: "anew", life: 10 * time.Second, ok: []int64{1, 6}, err: down, want: "5 1 2 2 1 5 1 2 2 1"}, // to the expiry
		{name: "longer Retry-After", err: &Error{RetryAfter: 90 * time.Second}, want: "90 90 90"},
		{
			name: "shorter Retry-After",
			err:  fmt.Errorf("wrapped: %w", &Error{RetryAfter: 3 * time.Second}),
			want: "3 3 4 8 16 32 60 60 60",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked []time.Time
				cached := CachedTokenSource(&countingSource{next: func(_ context.Context, n int64) (*Token, error) {
					asked = append(asked, time.Now())
					if slices.Contains(tt.ok, n) {
						return numberedToken(n, tt.life), nil
					}
					return nil, tt.err
				}})
				want := strings.Fields(tt.want)
				for len(asked) <= len(want) {
					_, err := cached.Token(t.Context())
					if err != nil && len(tt.ok) > 0 && time.Since(asked[0]) < tt.life {
						t.Fatalf("the token that is still valid is not served: %v", err)
					}
					synctest.Wait() // until a refresh in the background is done
					time.Sleep(10 * time.Millisecond)
				}
				var pauses []string
				for i := range want {
					pauses = append(pauses, fmt.Sprint(asked[i+1].Sub(asked[i]).Round(100*time.Millisecond).Seconds()))
				}
				if got := strings.Join(pauses, " "); got != tt.want {
					t.Errorf("pauses %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// invalid_grant is the end: no further request, whatever is called, however often and when; and so is having no refresh
// token. Only then is it ErrLoginRequired.
//
// C6 XO4
func TestCacheTerminal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, code, refresh string
		login               bool
		want                int // requests for the first call, and for all after it
		wantLater           int
	}{
		{"revoked", "invalid_grant", "rt", true, 1, 0},
		{"no refresh token", "", "", true, 0, 0},
		{"another error", "invalid_client", "rt", false, 1, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
					writeJSON(w, 400, answerMembers{"error": tt.code})
					return true
				}
				creds := NewCredentials(clientOf(s), NewSecret(tt.refresh))
				_, err := creds.Token(t.Context())
				var e *Error
				if !errors.As(err, &e) || e.Code != tt.code || errors.Is(err, ErrLoginRequired) != tt.login ||
					s.TokenRequests("") != tt.want {
					t.Fatalf("%v after %d requests", err, s.TokenRequests(""))
				}
				for range 3 {
					time.Sleep(24 * time.Hour)
					askAtOnce(t.Context(), 100, creds)
					_, err := creds.Refresh(t.Context())
					_, err2 := creds.Token(t.Context())
					if errors.Is(err, ErrLoginRequired) != tt.login || errors.Is(err2, ErrLoginRequired) != tt.login {
						t.Errorf("later: %v, %v", err, err2)
					}
				}
				// twice: Refresh asks at once
				if n := s.TokenRequests("") - tt.want; n < tt.wantLater || n > 2*tt.wantLater {
					t.Errorf("%d more requests, want %d", n, tt.wantLater)
				}
			})
		})
	}
}

// Each caller waits no longer than its own context, be it the one that caused the refresh or not; the refresh is
// completed all the same, and the refresh token that the server has replaced is not lost. Nothing is kept of a
// context but its end.
//
// C2 C8 XO1 XO2 XO3 CA1 UP31 UP44
func TestCacheCallersLeave(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, tt := range []struct {
		name    string
		leave   func(context.Context) (context.Context, context.CancelFunc)
		leader  bool // the one who leaves came first
		want    error
		wantAt  time.Duration
		forced  bool
		nothing bool // nobody else waits
	}{
		{"leader, deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 100*time.Millisecond)
		}, true, context.DeadlineExceeded, 100 * time.Millisecond, false, false},
		{"waiter, deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 100*time.Millisecond)
		}, false, context.DeadlineExceeded, 100 * time.Millisecond, false, false},
		{"leader, canceled before", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, true, context.Canceled, 0, false, false},
		{"only caller", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Nanosecond)
		}, true, context.DeadlineExceeded, time.Nanosecond, false, true},
		{"forced, with a cause", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, 100*time.Millisecond, cause)
		}, true, cause, 100 * time.Millisecond, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.Rotate = true
				s.Answer = func(string, map[string]any) { time.Sleep(time.Second) } // after the rotation
				creds := credentialsOf(s)
				began := time.Now()
				leave := func() {
					ctx, cancel := tt.leave(t.Context())
					defer cancel()
					call := creds.Token
					if tt.forced {
						call = creds.Refresh
					}
					_, err := call(ctx)
					waited := time.Since(began)
					if !errors.Is(err, tt.want) || waited != tt.wantAt ||
						!strings.HasPrefix(fmt.Sprint(err), "oauth2: ") {
						t.Errorf("the one who left got %v after %v", err, waited)
					}
				}
				var wg sync.WaitGroup
				if tt.leader {
					wg.Go(leave)
					synctest.Wait()
				}
				stay := func() {
					if got := tokenOrError(t.Context(), creds); !strings.HasPrefix(got, "at-") {
						t.Errorf("one who stayed got %s", got)
					}
				}
				if !tt.nothing {
					for range 9 {
						wg.Go(stay)
					}
					synctest.Wait()
				}
				if !tt.leader {
					wg.Go(leave)
				}
				wg.Wait()
				time.Sleep(time.Second)
				stay() // from the cache
				if s.TokenRequests("") != 1 {
					t.Errorf("%d requests", s.TokenRequests(""))
				}
				time.Sleep(time.Hour)
				stay()
				if s.TokenRequests("") != 2 || s.Reuses() != 0 {
					t.Errorf("after expiry: %d requests, %d reuses", s.TokenRequests(""), s.Reuses())
				}
			})
		})
	}
}

// No context is kept in a struct: the one that a constructor or a first call got must not rule later ones.
//
// XO2
func TestCacheKeepsNoContext(t *testing.T) {
	t.Parallel()
	files := sourceOfPackage(t).files
	for _, name := range []string{"oauth2.go", "credentials.go", "secrets.go", "flow.go"} {
		file := files[name]
		ast.Inspect(file, func(n ast.Node) bool {
			if st, ok := n.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					if sel, ok := f.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" {
						t.Errorf("%s: a struct has a field of type Context", name)
					}
				}
			}
			return true
		})
	}
}

// A token endpoint that never answers holds a caller without a deadline for the attempts of one flight, 30 s each,
// though the HTTP client has no timeout; and the next caller begins a new one.
//
// T13 UP31 C8
func TestCacheStuckRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		stuck := true
		s.Hook = func(_ http.ResponseWriter, r *http.Request) bool {
			if stuck {
				<-r.Context().Done()
			}
			return stuck
		}
		creds := credentialsOf(s)
		began := time.Now()
		_, err := creds.Token(context.Background())
		waited := time.Since(began)
		if !errors.Is(err, context.DeadlineExceeded) || waited < 90*time.Second || waited > 92*time.Second {
			t.Errorf("%v after %v", err, waited)
		}
		for i, r := range s.Requests() {
			at := r.Time.Sub(began)
			if at < time.Duration(i)*30*time.Second || at > time.Duration(i)*31*time.Second || i > 2 {
				t.Errorf("attempt %d after %v", i+1, at)
			}
		}
		stuck = false
		time.Sleep(time.Second)
		if got := tokenOrError(t.Context(), creds); !strings.HasPrefix(got, "at-") {
			t.Errorf("later: %s", got)
		}
	})
}

// What the clock of the machine does, as seen by the cache: it steps forward by a year (so sleeps a machine), steps
// back, or is so wrong that every token looks expired.
//
// C10 C11 C12
func TestCacheClock(t *testing.T) {
	t.Parallel()
	// with the real clock, which has a monotonic one too
	tok, err := credentialsOf(NewMemoryServer()).Token(t.Context())
	if err != nil || strings.Contains(tok.Expiry.String(), "m=") ||
		time.Until(tok.Expiry).Round(time.Minute) != time.Hour {
		t.Fatal("the expiry is not wall time in an hour", tok, err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		creds := credentialsOf(s)
		first, err := creds.Token(t.Context())
		if err != nil || !first.Expiry.Equal(time.Now().Add(time.Hour)) {
			t.Fatal("the expiry is not in an hour", first, err)
		}
		time.Sleep(365 * 24 * time.Hour)
		second, err := creds.Token(t.Context())
		if err != nil || second == nil || second == first || !second.Expiry.Equal(time.Now().Add(time.Hour)) {
			t.Fatal("forward: the new expiry does not come from the new clock", err)
		}
		// Back by a year: all that the cache has is in the future.
		back := *second
		back.Expiry, back.freshUntil = back.Expiry.AddDate(1, 0, 0), back.freshUntil+int64(365*24*time.Hour)
		creds.cache.current.Store(&back)
		if failed := keepAsking(t, creds, 10*time.Millisecond, 10*time.Second); failed > 0 || s.TokenRequests("") != 2 {
			t.Errorf("back: %d failures, %d requests", failed, s.TokenRequests("")-2)
		}

		src := numberedTokens(-time.Minute)
		cached := CachedTokenSource(src)
		if got := tokenOrError(t.Context(), cached); !strings.Contains(got, "clock") {
			t.Error("a token that has expired when it comes: ", got)
		}
		failed := keepAsking(t, cached, 10*time.Millisecond, 10*time.Second)
		if failed != 1000 || src.calls.Load() > 4 {
			t.Errorf("%d failures, %d calls in 10 s", failed, src.calls.Load())
		}
	})
}

// An expired token is never served, however odd its expiry.
//
// C9 C11
func TestCacheOddExpiries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for year := -300; year < 2000; year += 3 {
			c := new(tokenCache)
			c.keep(&Token{AccessToken: NewSecret("old"), Expiry: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)})
			if got, err := c.token(t.Context(), failingFetcher{}); err == nil {
				t.Fatalf("a token that expired in the year %d: %v", year, got.Expiry)
			}
		}
	})
}

type failingFetcher struct{}

func (failingFetcher) Token(context.Context) (*Token, error) { return nil, errors.New("down") }

func (f failingFetcher) owner() (TokenSource, *tokenCache, string) { return f, nil, "" }

func (failingFetcher) fetch(context.Context, bool) (*Token, error) { return nil, errors.New("down") }

// Where the refresh of a stale token brings one that is no good, the good one goes on being served.
//
// C9 XO14
func TestCacheKeepsTheBetterToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		next *Token
		err  error
	}{
		{"error", nil, errors.New("down")},
		{"nothing", nil, nil},
		{"empty", &Token{}, nil},
		{"expired", &Token{AccessToken: NewSecret("2"), Expiry: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
		{"bad", &Token{AccessToken: NewSecret("a b")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := &countingSource{next: func(_ context.Context, n int64) (*Token, error) {
					if n == 1 {
						return numberedToken(1, 100*time.Second), nil
					}
					return tt.next, tt.err
				}}
				cached := CachedTokenSource(src)
				failed := keepAsking(t, cached, 10*time.Millisecond, 100*time.Second)
				if failed > 0 || src.calls.Load() < 2 {
					t.Errorf("%d failures, %d calls", failed, src.calls.Load())
				}
				if _, err := cached.Token(t.Context()); err == nil {
					t.Error("served after its expiry")
				}
			})
		})
	}
}

// A source that misbehaves is an error, for every caller, and is not asked again at once.
//
// XO29 C14
func TestCacheBadSources(t *testing.T) {
	t.Parallel()
	goexit := &countingSource{next: func(context.Context, int64) (*Token, error) { runtime.Goexit(); return nil, nil }}
	for _, tt := range []struct {
		name string
		src  TokenSource
		want string
	}{
		{"none", nil, "no token source"},
		{"nil token", sourceOf(nil), "no usable"},
		{"empty token", sourceOf(&Token{}), "no usable"},
		{"line break", sourceOf(&Token{AccessToken: NewSecret("a\r\nX: y")}), "no usable"},
		{"too long", sourceOf(&Token{AccessToken: NewSecret(strings.Repeat("a", maxToken+1))}), "no usable"},
		{"expired", sourceOf(&Token{AccessToken: NewSecret("a"), Expiry: time.Unix(1, 0)}), "clock"},
		{"Goexit", goexit, "did not return"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cached := CachedTokenSource(tt.src)
				got := askAtOnce(t.Context(), 10, cached)
				if len(got) != 1 || !strings.HasPrefix(got[0], "oauth2: ") || !strings.Contains(got[0], tt.want) {
					t.Errorf("callers were told %.200q", got)
				}
				keepAsking(t, cached, 10*time.Millisecond, time.Second)
				if src, ok := tt.src.(*countingSource); ok && src.calls.Load() != 1 {
					t.Errorf("%d calls", src.calls.Load())
				}
			})
		})
	}
	_, err := CachedTokenSource(numberedTokens(0)).Token(*new(context.Context))
	if err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") {
		t.Errorf("nil context: %v", err)
	}
	for _, creds := range []*Credentials{new(Credentials), NewCredentials(nil, NewSecret("rt"))} {
		if got := tokenOrError(t.Context(), creds); !strings.HasPrefix(got, "oauth2: ") {
			t.Errorf("credentials without a client: %s", got)
		}
		if _, err := creds.MarshalAuthorizedUser(); err == nil {
			t.Error("credentials without a client were marshaled")
		}
	}
}

// A panic of a source is one of the program, with the source's own stack: it is neither swallowed nor does it leave
// callers waiting.
func TestCachePanic(t *testing.T) {
	if os.Getenv("CACHE_PANIC") != "" {
		src := &countingSource{next: func(context.Context, int64) (*Token, error) { panic("boom") }}
		CachedTokenSource(src).Token(t.Context())
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCachePanic$", "-test.timeout=10s")
	cmd.Env = append(os.Environ(), "CACHE_PANIC=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("panic: boom")) || bytes.Contains(out, []byte("timed out")) {
		t.Errorf("%v: %s", err, out)
	}
}

// A source that is asked through the HTTP client it authorizes itself waits for itself, but not for ever; the package's
// own sources just work there, since what they send needs no token.
//
// T3
func TestCacheRecursion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var client *http.Client
		cached := CachedTokenSource(&countingSource{next: func(ctx context.Context, n int64) (*Token, error) {
			req, _ := http.NewRequestWithContext(ctx, "GET", "https://as.example/", nil)
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			return numberedToken(n, time.Hour), err
		}})
		s := NewMemoryServer()
		client = &http.Client{Transport: &Transport{Source: cached, Base: s.Transport()}}
		began := time.Now()
		_, err := cached.Token(context.Background())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > flightTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}

		creds := credentialsOf(s)
		mine := &http.Client{
			Transport:     &Transport{Source: creds, Base: s.Transport()},
			CheckRedirect: func(*http.Request, []*http.Request) error { return nil },
		}
		check := reflect.ValueOf(mine.CheckRedirect).Pointer()
		creds.client.HTTPClient = mine
		resp, err := mine.Get(s.URL + "/userinfo")
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		if r := s.Requests()[0]; len(s.Requests()) != 2 || r.Path != "/token" || r.Header.Get("Authorization") != "" {
			t.Errorf("requests: %v", s.Requests())
		}
		if mine.Jar != nil || reflect.ValueOf(mine.CheckRedirect).Pointer() != check {
			t.Error("the caller's client was changed")
		}
	})
}

// Refresh asks though the token is fresh, and though a pause is due; all who ask at once share one request.
//
// C14 CA2
func TestCacheForcedRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		s.Rotate = true
		down := false
		s.Hook = func(w http.ResponseWriter, _ *http.Request) bool {
			time.Sleep(100 * time.Millisecond)
			if down {
				writeJSON(w, 400, answerMembers{"error": "invalid_scope"})
			}
			return down
		}
		creds := credentialsOf(s)
		first := tokenOrError(t.Context(), creds)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				tok, err := creds.Refresh(t.Context())
				if err != nil || tok == nil || tok.AccessToken.Reveal() == first ||
					tok.AccessToken.Reveal() != tokenOrError(t.Context(), creds) {
					t.Error("not renewed", err)
				}
			})
		}
		wg.Wait()
		if s.TokenRequests("") != 2 || s.Reuses() != 0 {
			t.Errorf("%d requests, %d reuses", s.TokenRequests(""), s.Reuses())
		}
		down = true
		_, err := creds.Refresh(t.Context())
		if current := tokenOrError(t.Context(), creds); err == nil || !strings.HasPrefix(current, "at-") {
			t.Errorf("while the server is down: %v, and %s", err, current)
		}
		down = false
		if _, err := creds.Refresh(t.Context()); err != nil || s.TokenRequests("") != 4 {
			t.Errorf("up again, within the pause: %v, %d requests", err, s.TokenRequests(""))
		}
	})
}

// A token that a server rejected is renewed, but only that one, and at most once in 10 s.
//
// C15 XO18 M52
func TestCacheRenew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := numberedTokens(time.Hour)
		cached := CachedTokenSource(src).(*cachedSource)
		first, _ := cached.Token(t.Context())
		var rejected *Token
		for _, step := range []struct {
			name     string
			wait     time.Duration
			rejected func() *Token
			want     string
			calls    int64
		}{
			{"first", 0, func() *Token { return first }, "2", 2},
			{"an old one", 0, func() *Token { return first }, "2", 2},
			{"the new one too", 10*time.Second - 1, func() *Token { return rejected }, "2", 2},
			{"later", 1, func() *Token { return rejected }, "3", 3},
			{"in the next 10 s", 10*time.Second - 1, func() *Token { return rejected }, "3", 3},
			{"later still", 1, func() *Token { return rejected }, "4", 4},
		} {
			time.Sleep(step.wait)
			got, err := cached.cache.renew(t.Context(), cached, step.rejected(), false)
			if err != nil || got.AccessToken.Reveal() != step.want || src.calls.Load() != step.calls {
				t.Fatalf("%s: %v, %d calls; %v", step.name, got.AccessToken.Reveal(), src.calls.Load(), err)
			}
			rejected = got
		}
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				got, err := cached.cache.renew(t.Context(), cached, rejected, false)
				if err != nil || got.AccessToken.Reveal() != "5" {
					t.Error("at once: ", got, err)
				}
			})
		}
		wg.Wait()
		if src.calls.Load() != 5 {
			t.Errorf("100 at once: %d calls", src.calls.Load())
		}
		src.next = func(context.Context, int64) (*Token, error) { return nil, errors.New("down") }
		time.Sleep(time.Minute)
		current, _ := cached.Token(t.Context())
		_, err := cached.cache.renew(t.Context(), cached, current, false)
		if err == nil || tokenOrError(t.Context(), cached) != "5" {
			t.Errorf("a failure: %v; then %s", err, tokenOrError(t.Context(), cached))
		}
	})
}

// A cache of a cache is that cache, and a token that the source shares is left alone: two caches of one source.
//
// CA17 XO15 XO16
func TestCachedTokenSourceShares(t *testing.T) {
	t.Parallel()
	shared := &Token{AccessToken: NewSecret("a"), Expiry: time.Now().Add(time.Minute), Scopes: []string{"s"}}
	before, src := *shared, sourceOf(shared)
	var wg sync.WaitGroup
	for range 10 {
		cached := CachedTokenSource(src)
		if CachedTokenSource(cached) != cached {
			t.Error("a cache of a cache")
		}
		wg.Go(func() {
			if tok, err := cached.Token(t.Context()); err != nil || tok == shared || !shared.Valid() {
				t.Error("not a copy", err)
			}
		})
	}
	wg.Wait()
	if fmt.Sprintf("%#v", before.freshUntil) != fmt.Sprintf("%#v", shared.freshUntil) ||
		!before.Expiry.Equal(shared.Expiry) {
		t.Error("the caller's token was changed")
	}
	creds := NewCredentials(&ClientSecrets{}, NewSecret("rt"))
	if CachedTokenSource(creds) != TokenSource(creds) {
		t.Error("a cache of credentials")
	}
}

// What a refresh brings, and what survives one that does not bring it: the answer's members, and the refresh token,
// ID token and scopes after it.
//
// C3 C4 C5 PY5 F26
func TestRefreshAnswers(t *testing.T) {
	t.Parallel()
	const base = `"access_token":"a2","token_type":"Bearer"`
	for _, tt := range []struct {
		name, answer        string
		refresh, id, scopes string // afterwards
		access, err         string
	}{
		{
			name:    "rotation",
			answer:  `{` + base + `,"refresh_token":"r2"}`,
			refresh: "r2",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a2",
		},
		{name: "no refresh token", answer: `{` + base + `}`, refresh: "r1", id: "i1", scopes: "[a b]", access: "a2"},
		{
			name:    "empty refresh token",
			answer:  `{` + base + `,"refresh_token":""}`,
			refresh: "r1",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a2",
		},
		{
			name:    "null refresh token",
			answer:  `{` + base + `,"refresh_token":null}`,
			refresh: "r1",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a2",
		},
		{
			name:    "another ID token",
			answer:  `{` + base + `,"id_token":"i2"}`,
			refresh: "r1",
			id:      "i2",
			scopes:  "[a b]",
			access:  "a2",
		},
		{
			name:    "fewer scopes",
			answer:  `{` + base + `,"scope":"b"}`,
			refresh: "r1",
			id:      "i1",
			scopes:  "[b]",
			access:  "a2",
		},
		{
			name:    "empty scope",
			answer:  `{` + base + `,"scope":""}`,
			refresh: "r1",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a2",
		},
		{
			name:    "bad expires_in after rotation",
			answer:  `{` + base + `,"refresh_token":"r2","expires_in":"x"}`,
			refresh: "r2",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a1",
			err:     "expires_in",
		},
		{
			name:    "bad id_token after rotation",
			answer:  `{` + base + `,"refresh_token":"r2","id_token":7}`,
			refresh: "r2",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a1",
			err:     "id_token",
		},
		{
			name:    "bad refresh token",
			answer:  `{` + base + `,"refresh_token":7}`,
			refresh: "r1",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a1",
			err:     "refresh_token",
		},
		{
			name:    "another type",
			answer:  `{"access_token":"a2","token_type":"mac","refresh_token":"r2"}`,
			refresh: "r2",
			id:      "i1",
			scopes:  "[a b]",
			access:  "a1",
			err:     "other than Bearer",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := NewMemoryServer()
				s.Hook = func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, tt.answer); return true }
				creds := signedInAt(s, &Token{
					AccessToken:  NewSecret("a1"),
					RefreshToken: NewSecret("r1"),
					IDToken:      NewSecret("i1"),
					Scopes:       []string{"a", "b"},
					Expiry:       time.Now().Add(time.Hour),
				}, "a", "b", "c")
				_, err := creds.Refresh(t.Context())
				if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v", err)
				}
				tok, err := creds.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got := tok.RefreshToken.Reveal() + tok.IDToken.Reveal() + fmt.Sprint(tok.Scopes) +
					tok.AccessToken.Reveal()
				if got != tt.refresh+tt.id+tt.scopes+tt.access {
					t.Errorf("afterwards %s", got)
				}
				creds.Refresh(t.Context())
				if all := s.Requests(); len(all) != 2 || all[1].Form.Get("refresh_token") != tt.refresh {
					t.Errorf("sent next: %v", all)
				}
			})
		})
	}
}

// The scopes that a token is said to have are those that were granted, and a refresh asks for no more: after a sign-in
// for nothing but what was granted, and with NewCredentials for what the program said.
//
// F26 CA6
func TestRefreshScopes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		s.Rotate = true
		s.GrantScopes = func([]string) []string { return []string{"a"} }
		flow := NewFlow(clientOf(s), "a b")
		flow.RedirectURI = "http://127.0.0.1:8000/"
		authURL, err := flow.AuthorizationURL()
		redirected, err2 := s.Authorize(authURL)
		creds, err3 := flow.FetchTokenFromRedirect(t.Context(), redirected)
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		for range 3 { // and no further sign-in
			tok, err := creds.Token(t.Context())
			if err != nil || fmt.Sprint(tok.Scopes) != "[a]" {
				t.Fatal(tok, err)
			}
			time.Sleep(time.Hour)
		}
		if s.Count("/authorize") != 1 || s.TokenRequests("refresh_token") != 2 || s.Reuses() != 0 {
			t.Errorf("requests %v", s.Requests())
		}
		for _, r := range s.Requests() {
			if r.Path == "/token" && r.Form.Has("scope") {
				t.Errorf("asked for %q", r.Form["scope"])
			}
		}

		for _, scopes := range [][]string{nil, {"a"}, {"a", "b"}} {
			creds := NewCredentials(clientOf(s), NewSecret(s.IssueRefreshToken("a", "b", "c")), scopes...)
			s.Answer = func(_ string, answer map[string]any) { delete(answer, "scope") } // as asked for
			tok, err := creds.Token(t.Context())
			all := s.Requests()
			form := all[len(all)-1].Form
			if err != nil || tok == nil || fmt.Sprint(tok.Scopes) != fmt.Sprint(scopes) ||
				form.Get("scope") != strings.Join(scopes, " ") {
				t.Errorf("%q: %v, asked for %q: %v", scopes, tok, form["scope"], err)
			}
		}
	})
}

// A token endpoint's redirect takes no refresh token elsewhere.
//
// CA12
func TestRefreshRedirected(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s, other := NewMemoryServer(), 0
		s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Host != "as.example" {
				other++
				return true
			}
			http.Redirect(w, r, "https://other.example/token", status)
			return true
		}
		if got := tokenOrError(t.Context(), credentialsOf(s)); !strings.Contains(got, "redirect") || other > 0 {
			t.Errorf("%d: %s, %d requests elsewhere", status, got, other)
		}
	}
}

// go vet reports a copy of what would then refresh with a refresh token of the past.
//
// C17
func TestNoCopies(t *testing.T) {
	t.Parallel()
	var locked func(reflect.Type) bool
	locked = func(typ reflect.Type) bool {
		if typ.Kind() != reflect.Struct {
			return false
		}
		if m, ok := reflect.PointerTo(typ).MethodByName("Lock"); ok && m.Type.NumIn() == 1 {
			return true
		}
		for i := range typ.NumField() {
			if locked(typ.Field(i).Type) {
				return true
			}
		}
		return false
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Credentials](), reflect.TypeFor[cachedSource](), reflect.TypeFor[Transport](),
	} {
		if !locked(typ) {
			t.Errorf("a %v can be copied", typ)
		}
	}
}
