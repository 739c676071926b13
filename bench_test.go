package oauth2

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// benchAnswer is a token endpoint without a network: an answer of Google's size.
type benchAnswer struct{}

func (b *benchAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
	const start, end = `{"access_token":"ya29.`,
		`","expires_in":3599,"scope":"https://www.googleapis.com/auth/drive.readonly","token_type":"Bearer"}`
	body := io.MultiReader(bytes.NewReader([]byte(start)), bytes.NewReader(bytes.Repeat([]byte("a"), 215)),
		bytes.NewReader([]byte(end)))
	return &http.Response{
		StatusCode: 200,
		Header:     http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		Body:       io.NopCloser(body),
		Request:    r,
	}, nil
}

func benchCredentials(tb testing.TB) *Credentials {
	tb.Helper()
	creds := NewCredentials(clientOver(&benchAnswer{}), NewSecret("1//made-up"))
	if _, err := creds.Token(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return creds
}

// benchRequest is one as API clients make it, and a Base that answers at once.
func benchRequest() (*http.Request, http.RoundTripper) {
	req, _ := http.NewRequest("GET", "https://api.example/v1/things", nil)
	req.Header = http.Header{
		"User-Agent":        {"bench/1"},
		"Accept":            {"application/json"},
		"X-Goog-Api-Client": {"gl-go/1"},
	}
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	return req, sameAnswer{resp}
}

type sameAnswer struct{ resp *http.Response }

func (s sameAnswer) RoundTrip(*http.Request) (*http.Response, error) { return s.resp, nil }

// A token from the cache costs nothing, and a header with it at most three allocations: the request's copy and its
// header.
func TestAllocations(t *testing.T) {
	creds, ctx := benchCredentials(t), t.Context()
	if n := testing.AllocsPerRun(1000, func() { creds.Token(ctx) }); n != 0 {
		t.Errorf("a cached token: %v allocations", n)
	}
	cached := CachedTokenSource(fixedSource)
	cached.Token(ctx)
	if n := testing.AllocsPerRun(1000, func() { cached.Token(ctx) }); n != 0 {
		t.Errorf("a cached token of CachedTokenSource: %v allocations", n)
	}
	req, base := benchRequest()
	for name, tr := range map[string]*Transport{
		"any host": {Source: creds, Base: base},
		"Hosts":    {Source: creds, Base: base, Hosts: []string{"x.example", ".api.example", "api.example"}},
	} {
		tr.RoundTrip(req)
		if n := testing.AllocsPerRun(1000, func() { tr.RoundTrip(req) }); n > 3 {
			t.Errorf("Transport, %s: %v allocations", name, n)
		}
	}
}

func BenchmarkCachedToken(b *testing.B) {
	creds, ctx := benchCredentials(b), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := creds.Token(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCachedTokenParallel(b *testing.B) {
	creds, ctx := benchCredentials(b), b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := creds.Token(ctx); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkTransport(b *testing.B) {
	req, base := benchRequest()
	tr := &Transport{Source: benchCredentials(b), Base: base}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	creds, ctx := benchCredentials(b), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := creds.Refresh(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	client, ctx := clientOver(&benchAnswer{}), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		flow := NewFlow(client, "https://www.googleapis.com/auth/drive.readonly")
		flow.RedirectURI = "http://127.0.0.1:8000/"
		if _, err := flow.AuthorizationURL(); err != nil {
			b.Fatal(err)
		}
		if _, err := flow.FetchToken(ctx, "4/made-up"); err != nil {
			b.Fatal(err)
		}
	}
}

// benchHerd lets callers ask at once for a token that an endpoint takes 5 ms to answer for, and counts its requests.
func benchHerd(b *testing.B, callers, status int) {
	var requests int
	for b.Loop() {
		b.StopTimer()
		client, fetch := clientOver(&benchAnswer{}), &benchAnswer{}
		client.HTTPClient.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			requests++
			<-time.After(5 * time.Millisecond)
			if status != 200 {
				return response(status, "the answer"), nil
			}
			return fetch.RoundTrip(r)
		})
		creds := NewCredentials(client, NewSecret("1//made-up"))
		creds.cache.keep(&Token{
			AccessToken:  NewSecret("old"),
			RefreshToken: NewSecret("1//made-up"),
			Expiry:       time.Unix(1, 0),
		})
		start, wg := make(chan struct{}), sync.WaitGroup{}
		for range callers {
			wg.Go(func() {
				<-start
				if _, err := creds.Token(context.Background()); (err == nil) != (status == 200) {
					b.Error(err)
				}
			})
		}
		b.StartTimer()
		close(start)
		wg.Wait()
	}
	b.ReportMetric(float64(requests)/float64(b.N), "requests/herd")
}

func BenchmarkExpiredHerd(b *testing.B) { benchHerd(b, 1000, 200) }

func BenchmarkFailingHerd(b *testing.B) { benchHerd(b, 100, 403) }
