package oauth2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A token stays at the origin of the first request: the chain of hosts, each redirecting to the next, and which of them
// saw a token (YES).
//
// H2 XO7 CA12 M55
func TestTransportRedirects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, chain, want string }{
		{"same origin", "https://a.example/ /2 https://a.example/3", "YES YES YES"},
		{"other host", "https://a.example/ https://b.example/", "YES no"},
		{"and back", "https://a.example/ https://b.example/ https://a.example/2 /3", "YES no no no"},
		{"within the other", "https://a.example/ https://b.example/ /2", "YES no no"},
		{"subdomain", "https://a.example/ https://sub.a.example/", "YES no"},
		{"parent", "https://sub.a.example/ https://a.example/", "YES no"},
		{"other port", "https://a.example/ https://a.example:8443/", "YES no"},
		{"to http", "https://a.example/ http://a.example/", "YES no"},
		{"to http and back", "https://a.example/ http://a.example/ https://a.example/2", "YES no no"},
		{"user name", "https://a.example/ https://a.example@b.example/", "YES no"},
		{"network path", "https://a.example/ //b.example/a.example", "YES no"},
		{"other spelling", "https://a.example/ HTTPS://A.example/2", "YES YES"},
		{"query without a path", "https://a.example?x=1 https://a.example/2", "YES YES"},
		{"another host in the query", "https://a.example?//b.example/ https://b.example/", "YES no"},
		{"loopback to elsewhere", "http://127.0.0.1:8000/ https://a.example/", "YES no"},
		{"loopback, other port", "http://127.0.0.1:8000/ http://127.0.0.1:8001/", "YES no"},
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(tt.name, " ", status), func(t *testing.T) {
				t.Parallel()
				chain, seen := strings.Fields(tt.chain), []string{}
				client := &http.Client{Transport: &Transport{Source: fixedSource,
					Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
						word := "no"
						if strings.Contains(fmt.Sprint(r), "tok") { // anywhere
							word = "YES"
						}
						if seen = append(seen, word); len(seen) < len(chain) {
							return response(status, "the answer", "Location", chain[len(seen)]), nil
						}
						return response(200, "the answer"), nil
					})}}
				resp, err := client.Post(chain[0], "text/plain", strings.NewReader("body"))
				if err != nil || resp.StatusCode != 200 || strings.Join(seen, " ") != tt.want {
					t.Errorf("%v, %v; tokens seen: %v, want %s", resp, err, seen, tt.want)
				}
			})
		}
	}
}

// Where a token may go: over https, or http to this machine, and to the hosts that are set. A request that may not have
// one is not sent, costs no token, and its body is closed.
//
// H1 H3 XO9
func TestTransportHosts(t *testing.T) {
	t.Parallel()
	const plain, other = "https only", "not among the hosts"
	for _, tt := range []struct {
		name, url string
		hosts     []string
		want      string // of the error
	}{
		{"https", "https://api.example/?q=SENTINEL", nil, ""},
		{"http", "http://api.example/?q=SENTINEL", nil, plain},
		{"http, private network", "http://10.0.0.1/?q=SENTINEL", nil, plain},
		{"http, any address", "http://0.0.0.0/", nil, plain},
		{"http, looks local", "http://127.0.0.1.api.example/", nil, plain},
		{"http, looks local too", "http://localhost.api.example/", nil, plain},
		{"http, mapped", "http://[::ffff:127.0.0.1]/", nil, plain},
		{"http, user name", "http://localhost@api.example/", nil, plain},
		{"http, 127.0.0.1", "http://127.0.0.1:8000/", nil, ""},
		{"http, ::1", "http://[::1]:8000/", nil, ""},
		{"http, localhost", "http://localhost/", nil, ""},
		{"ftp", "ftp://127.0.0.1/", nil, plain},
		{"exact", "https://api.example:8443/", []string{"x.example", "api.example"}, ""},
		{"any case", "https://API.example/", []string{"Api.Example"}, ""},
		{"another", "https://evil.example/?q=SENTINEL", []string{"api.example"}, other},
		{"suffix", "https://evilapi.example/", []string{"api.example"}, other},
		{"prefix", "https://api.example.evil.example/", []string{"api.example"}, other},
		{"user name", "https://api.example@evil.example/", []string{"api.example"}, other},
		{"subdomain", "https://a.b.api.example/", []string{".api.example"}, ""},
		{"subdomain, any case", "https://A.API.example/", []string{".api.Example"}, ""},
		{"no subdomain", "https://api.example/", []string{".api.example"}, other},
		{"no subdomain either", "https://evilapi.example/", []string{".api.example"}, other},
		{"subdomain of an exact one", "https://a.api.example/", []string{"api.example"}, other},
		{"none", "https://api.example/", []string{}, other},
		{"IPv6", "https://[2001:db8::1]/", []string{"2001:db8::1"}, ""},
		{"allowed, but http", "http://api.example/", []string{"api.example"}, plain},
		{"loopback not allowed", "http://127.0.0.1/", []string{"api.example"}, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src, sent, body := numberedTokens(time.Hour), 0, newTrackedBody("body")
			tr := &Transport{Source: src, Hosts: tt.hosts,
				Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
					if r.Header.Get("Authorization") == "Bearer 1" {
						sent++
					}
					return response(200, "the answer"), nil
				})}
			req, err := http.NewRequest("POST", tt.url, body)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tr.RoundTrip(req)
			if tt.want == "" {
				if err != nil || sent != 1 || body.closed.Load() != 1 {
					t.Errorf("%v; sent %d times, closed %d times", err, sent, body.closed.Load())
				}
				return
			}
			if !errorSays(err, tt.want) || strings.Contains(err.Error(), "SENTINEL") || sent != 0 {
				t.Errorf("%v; sent %d times", err, sent)
			}
			if src.calls.Load() != 0 || body.closed.Load() != 1 {
				t.Errorf("%d tokens obtained, body closed %d times", src.calls.Load(), body.closed.Load())
			}
		})
	}
}

// What the caller has is left as it was, and what is sent is the caller's with one more header; one that brings its
// own authorization passes untouched, and costs no token.
//
// H4 H5 H6 H11 XO29 CA13
func TestTransportLeavesRequestsAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header http.Header
		want   []string // Authorization
		calls  int64
	}{
		{"nil header", nil, []string{"Bearer 1"}, 1},
		{"header", http.Header{"Accept": {"a", "b"}, "X-Goog-User-Project": {"p"}}, []string{"Bearer 1"}, 1},
		{"own authorization", http.Header{"Authorization": {"Basic xyz"}}, []string{"Basic xyz"}, 0},
		{"own empty one", http.Header{"Authorization": {}}, []string{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src, sent := numberedTokens(time.Hour), (*http.Request)(nil)
			tr := &Transport{Source: src, Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				sent = r.Clone(context.Background())
				if tt.calls > 0 {
					r.Header.Set("Mine", "x") // a Base that is careless
				}
				return response(401, "the answer"), nil
			})}
			u, _ := url.Parse("https://api.example/path?q=1#f")
			body := newTrackedBody("body")
			req := (&http.Request{
				Method:        "POST",
				URL:           u,
				Header:        tt.header,
				Body:          body,
				ContentLength: 4,
				Host:          "virtual.example",
			}).WithContext(t.Context())
			before := req.Clone(t.Context())
			if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 401 {
				t.Fatal(resp, err)
			}
			if !maps.EqualFunc(req.Header, before.Header, slices.Equal) || req.URL != u || *u != *before.URL ||
				req.Body != body || req.Method != before.Method {
				t.Errorf("the request was changed: %v", req)
			}
			wanted := before.Header.Clone()
			if wanted == nil {
				wanted = http.Header{}
			}
			wanted["Authorization"] = tt.want
			if !maps.EqualFunc(sent.Header, wanted, slices.Equal) || *sent.URL != *u || sent.Host != req.Host ||
				sent.ContentLength != 4 {
				t.Errorf("sent %v, %v, %s", sent.Header, sent.URL, sent.Host)
			}
			if src.calls.Load() != tt.calls || body.closed.Load() != 1 {
				t.Errorf("%d tokens, body closed %d times", src.calls.Load(), body.closed.Load())
			}
		})
	}
}

// Where there is no token there is no request, and the body is closed, once.
//
// H6 M58 XO29
func TestTransportWithoutToken(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for _, tt := range []struct {
		name string
		src  TokenSource
		want string
	}{
		{"no source", nil, "no token source"},
		{"error", &countingSource{next: func(context.Context, int64) (*Token, error) { return nil, down }}, "down"},
		{"nil token", sourceOf(nil), "no usable"},
		{"empty token", sourceOf(&Token{}), "no usable"},
		{"line break", sourceOf(&Token{AccessToken: NewSecret("tok\r\nX-Evil: SENTINEL")}), "no usable"},
		{"credentials without refresh token", NewCredentials(&ClientSecrets{}, Secret{}), "sign in again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := &Transport{Source: tt.src, Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
				t.Error("a request was sent")
				return response(200, "the answer"), nil
			})}
			body := newTrackedBody("body")
			req, _ := http.NewRequest("POST", "https://api.example/", body)
			resp, err := tr.RoundTrip(req)
			if resp != nil || !errorSays(err, tt.want) || strings.Contains(err.Error(), "SENTINEL") ||
				body.closed.Load() != 1 {
				t.Errorf("%v, %v; body closed %d times", resp, err, body.closed.Load())
			}
			if req, _ := http.NewRequest("GET", "https://api.example/", nil); req != nil {
				if _, err := tr.RoundTrip(req); err == nil {
					t.Error("without a body: no error")
				}
			}
			if tt.name == "error" && !errors.Is(err, down) {
				t.Error("the source's error is lost")
			}
		})
	}
}

// After a 401: what the caller gets, what was sent, and how many tokens that took (the first included). A body is sent
// again whole, or not at all; the token is renewed either way, for the next request.
//
// C15 H6 H8 H9 M51 M52 M53 M54 XO18 CA16 PY3 UP40
func TestTransportUnauthorized(t *testing.T) {
	t.Parallel()
	const body = "the whole body"
	bytesBody := func(r *http.Request) { // as http.NewRequest sets it
		b, _ := http.NewRequest("POST", "https://x.example", strings.NewReader(body))
		r.Body, r.GetBody, r.ContentLength = b.Body, b.GetBody, b.ContentLength
	}
	streamBody := func(r *http.Request) { r.Body = newTrackedBody(body) }
	for _, tt := range []struct {
		name   string
		body   func(*http.Request)
		answer string // statuses; the last one repeats
		fetch  func(ctx context.Context, n int64) (*Token, error)
		want   int
		sent   string // token and length of the body of each request
		calls  int64
	}{
		{name: "no body", answer: "401 200", want: 200, sent: "1:0 2:0", calls: 2},
		{
			name:   "empty body",
			body:   func(r *http.Request) { r.Body = http.NoBody },
			answer: "401 200",
			want:   200,
			sent:   "1:0 2:0",
			calls:  2,
		},
		{name: "body with GetBody", body: bytesBody, answer: "401 200", want: 200, sent: "1:14 2:14", calls: 2},
		{name: "body without", body: streamBody, answer: "401 200", want: 401, sent: "1:14", calls: 2},
		{
			name: "GetBody fails",
			body: func(r *http.Request) {
				streamBody(r)
				r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
			},
			answer: "401 200",
			want:   401,
			sent:   "1:14",
			calls:  2,
		},
		{name: "always 401", body: bytesBody, answer: "401", want: 401, sent: "1:14 2:14", calls: 2},
		{name: "then 500", answer: "401 500", want: 500, sent: "1:0 2:0", calls: 2},
		{name: "200", body: bytesBody, answer: "200", want: 200, sent: "1:14", calls: 1},
		{name: "403", body: bytesBody, answer: "403", want: 403, sent: "1:14", calls: 1},
		{name: "429", body: bytesBody, answer: "429", want: 429, sent: "1:14", calls: 1},
		{name: "500", body: bytesBody, answer: "500", want: 500, sent: "1:14", calls: 1},
		{name: "503", body: bytesBody, answer: "503", want: 503, sent: "1:14", calls: 1},
		{
			name:   "renewal fails",
			body:   bytesBody,
			answer: "401 200",
			fetch: func(_ context.Context, n int64) (*Token, error) {
				if n > 1 {
					return nil, errors.New("down")
				}
				return numberedToken(n, time.Hour), nil
			},
			want:  401,
			sent:  "1:14",
			calls: 2,
		},
		{
			name:   "renewal brings garbage",
			body:   bytesBody,
			answer: "401 200",
			fetch: func(_ context.Context, n int64) (*Token, error) {
				return &Token{AccessToken: NewSecret(map[bool]string{true: "1", false: "a b"}[n == 1])}, nil
			},
			want:  401,
			sent:  "1:14",
			calls: 2,
		},
		{
			name:   "the same token again",
			body:   bytesBody,
			answer: "401 200",
			fetch:  func(context.Context, int64) (*Token, error) { return numberedToken(1, time.Hour), nil },
			want:   401,
			sent:   "1:14",
			calls:  2,
		},
		{
			name:   "caller leaves during the renewal",
			body:   bytesBody,
			answer: "401 200",
			fetch: func(ctx context.Context, n int64) (*Token, error) {
				if n > 1 {
					time.Sleep(time.Hour)
				}
				return numberedToken(n, 0), nil
			},
			want:  401,
			sent:  "1:14",
			calls: 2,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := numberedTokens(time.Hour)
				if tt.fetch != nil {
					src.next = tt.fetch
				}
				var sent []string
				var answers []*http.Response
				tr := &Transport{Source: CachedTokenSource(src),
					Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
						var got []byte
						if r.Body != nil {
							got, _ = io.ReadAll(r.Body)
						}
						sent = append(sent, fmt.Sprint(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
							":", len(got)))
						status, statuses := 0, strings.Fields(tt.answer)
						fmt.Sscan(statuses[min(len(sent), len(statuses))-1], &status)
						answers = append(answers,
							response(status, "the answer", "WWW-Authenticate", `Bearer error="insufficient_scope"`))
						return answers[len(answers)-1], nil
					})}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, "POST", "https://api.example/", nil)
				if tt.body != nil {
					tt.body(req)
				}
				resp, err := tr.RoundTrip(req)
				if err != nil || resp.StatusCode != tt.want || strings.Join(sent, " ") != tt.sent ||
					src.calls.Load() != tt.calls {
					t.Fatalf("%v, %v; sent %q, want %q; %d tokens, want %d",
						resp, err, sent, tt.sent, src.calls.Load(), tt.calls)
				}
				for i, a := range answers { // the ones that nobody sees are closed, and not read, which could take long
					b := a.Body.(*trackedBody)
					last := i == len(answers)-1
					if last && (b.closed.Load() != 0 || b.read.Load() != 0) || !last && b.closed.Load() != 1 {
						t.Errorf("answer %d: read %d bytes, closed %d times", i+1, b.read.Load(), b.closed.Load())
					}
				}
				if got, err := io.ReadAll(resp.Body); string(got) != "the answer" || err != nil {
					t.Errorf("the answer's body: %q, %v", got, err)
				}
				time.Sleep(2 * time.Hour) // lets all flights land
			})
		})
	}
}

// What a server says with a 401 is not followed, its endless body is not read to the end, and it can't make the client
// ask for tokens without end. A source that does not cache can't renew.
//
// H10 H9 M52 C15
func TestTransportHostile401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, endless := numberedTokens(time.Hour), &trackedBody{Reader: endlessSpaces{}}
		tr := &Transport{Source: CachedTokenSource(src)}
		for _, challenge := range []string{
			`Bearer resource_metadata="https://evil.example/meta", error="invalid_token"`,
			`Bearer realm="` + strings.Repeat(`\"`, 1<<16),
			"", "\x00", `Basic realm="x", Bearer error=invalid_token`,
			`Bearer authorization_uri="http://evil.example/"`, strings.Repeat("Bearer ", 1<<15), `Bearer "`,
		} {
			tr.Base = roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host != "api.example" {
					t.Errorf("a request to %s", r.URL.Host)
				}
				return &http.Response{
					StatusCode: 401,
					Header:     http.Header{"Www-Authenticate": {challenge, challenge}},
					Body:       endless,
				}, nil
			})
			for range 100 {
				req, _ := http.NewRequest("GET", "https://api.example/", nil)
				if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 401 {
					t.Fatal(resp, err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		if src.calls.Load() != 2 || endless.read.Load() > 2*maxHeader {
			t.Errorf("%d tokens in 8 s, %d bytes read", src.calls.Load(), endless.read.Load())
		}
		plain := numberedTokens(time.Hour)
		tr.Source = plain
		req, _ := http.NewRequest("GET", "https://api.example/", nil)
		if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 401 || plain.calls.Load() != 1 {
			t.Errorf("a source that does not cache: %v, %v, %d tokens", resp, err, plain.calls.Load())
		}
	})
}

// While a refresh hangs, a request waits no longer than its own context or its client's timeout, whoever began it.
//
// H7 M59 XO1 XO3 CA1 UP31
func TestTransportContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		s.Rotate = true
		s.Answer = func(string, map[string]any) { time.Sleep(1500 * time.Millisecond) }
		creds := credentialsOf(s)
		do := func(timeout time.Duration, ctx context.Context) (time.Duration, error) {
			began := time.Now()
			req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+"/echo", newTrackedBody("x"))
			client := &http.Client{Timeout: timeout, Transport: &Transport{Source: creds, Base: s.Transport()}}
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			if closed := req.Body.(*trackedBody).closed.Load(); closed != 1 {
				t.Errorf("body closed %d times", closed)
			}
			return time.Since(began), err
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				waited, err := do(0, short)
				if !errors.Is(err, context.DeadlineExceeded) || waited != 100*time.Millisecond {
					t.Errorf("%v after %v", err, waited)
				}
			})
		}
		wg.Go(func() {
			waited, err := do(50*time.Millisecond, t.Context())
			if !errors.Is(err, context.DeadlineExceeded) || waited != 50*time.Millisecond {
				t.Errorf("with a Timeout: %v after %v", err, waited)
			}
		})
		wg.Wait()
		waited, err := do(0, t.Context())
		if err != nil || waited != 1400*time.Millisecond || s.TokenRequests("") != 1 {
			t.Errorf("the next: %v after %v, %d token requests", err, waited, s.TokenRequests(""))
		}
	})
}

// A failing refresh holds no request back while the token is valid, and sends none when it has expired.
//
// M57 M58 UP28 XO14
func TestTransportStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		creds := credentialsOf(s)
		client := &http.Client{Transport: &Transport{Source: creds, Base: s.Transport()}}
		get := func() (int, time.Duration, error) {
			began := time.Now()
			resp, err := client.Get(s.URL + "/userinfo")
			if err != nil {
				return 0, time.Since(began), err
			}
			return resp.StatusCode, time.Since(began), resp.Body.Close()
		}
		get()
		s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				time.Sleep(time.Second)
				w.WriteHeader(503)
			}
			return r.URL.Path == "/token"
		}
		time.Sleep(time.Hour - 3*time.Minute)
		for time.Until(creds.cache.current.Load().Expiry) > 0 {
			if status, waited, err := get(); status != 200 || waited > 0 {
				left := time.Until(creds.cache.current.Load().Expiry)
				t.Fatalf("%v before the expiry: %d after %v, %v", left, status, waited, err)
			}
			time.Sleep(time.Second)
		}
		before := s.Count("/userinfo")
		if status, _, err := get(); err == nil || s.Count("/userinfo") != before {
			t.Errorf("expired: %d, %v", status, err)
		}
	})
}

// An answer that breaks off is the caller's to see, and costs no token.
//
// M56
func TestTransportReset(t *testing.T) {
	t.Parallel()
	src := numberedTokens(time.Hour)
	cut := errors.New("connection reset")
	client := &http.Client{Transport: &Transport{Source: CachedTokenSource(src),
		Base: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/refused" {
				return nil, cut
			}
			resp := response(200, "the answer")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), brokenReader{cut}))
			return resp, nil
		})}}
	resp, err := client.Get("https://api.example/")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); string(got) != "half" || !errors.Is(err, cut) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := client.Get("https://api.example/refused"); !errors.Is(err, cut) || src.calls.Load() != 1 {
		t.Errorf("%v, %d tokens", err, src.calls.Load())
	}
}

type brokenReader struct{ error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.error }

// One set of credentials in many clients at once, while tokens expire and are revoked under them: every request
// succeeds, and no refresh token is used twice.
//
// C1 C15 CA2 CA15 XO6 UP27
func TestTransportConcurrent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryServer()
		s.Rotate, s.ExpiresIn = true, time.Minute
		s.Hook = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				time.Sleep(30 * time.Millisecond)
			}
			return false
		}
		creds := credentialsOf(s)
		var wg sync.WaitGroup
		for i := range 16 {
			client := NewClient(creds)
			client.Transport.(*Transport).Base = s.Transport()
			wg.Go(func() {
				for n := range 100 {
					body := fmt.Sprint("request ", i, " ", n)
					resp, err := client.Post(s.URL+"/echo", "text/plain", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					if got, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(got) != body {
						t.Errorf("request %d: %d %q", n, resp.StatusCode, got)
					}
					time.Sleep(time.Duration(1+i%3) * time.Second)
				}
			})
		}
		for range 5 {
			time.Sleep(15 * time.Second)
			s.ExpireAccessTokens()
		}
		wg.Wait()
		if n := s.TokenRequests(""); s.Reuses() != 0 || n > 20 {
			t.Errorf("%d token requests, %d reuses", n, s.Reuses())
		}
	})
}

// NewClient is a Transport with net/http's default one, and nothing more.
func TestNewClient(t *testing.T) {
	t.Parallel()
	s := NewTestServer(t)
	c := NewClient(credentialsOf(s, "a"))
	if c.Timeout != 0 || c.Jar != nil || c.CheckRedirect != nil {
		t.Error("NewClient sets more than the Transport")
	}
	resp, err := c.Get(s.URL + "/userinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !bytes.Contains(got, []byte(s.Email)) || err != nil {
		t.Errorf("%d %s %v", resp.StatusCode, got, err)
	}
}

// A RoundTripper that edits a header in place changes its own request only, at most 3 allocations each. // W90
func TestTransportOwnHeader(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		values := r.Header["Authorization"]
		mu.Lock()
		seen[strings.Join(values, "\n")]++
		mu.Unlock()
		values[0] = "edited"
		r.Header["Accept"][0] = "edited"
		return response(200, ""), nil
	})
	transport := &Transport{Source: sourceOf(&Token{AccessToken: NewSecret("at")}), Base: base}
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://api.example/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Accept", "text/plain")
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if req.Header.Get("Authorization") != "" {
				t.Error("the caller's request has a token")
			}
		})
	}
	running.Wait()
	if len(seen) != 1 || seen["Bearer at"] != 16 {
		t.Errorf("sent %v", seen)
	}
}
