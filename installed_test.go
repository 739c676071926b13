package oauth2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener is a listener without sockets, for a bubble.
type pipeListener struct {
	backlog chan net.Conn
	closed  chan struct{}
	close   func()
	fail    chan error // what Accept then fails with
}

func newPipeListener() *pipeListener {
	l := &pipeListener{backlog: make(chan net.Conn, 1000), closed: make(chan struct{}), fail: make(chan error, 1)}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // first: a closed listener accepts nothing
		return l.drain()
	default:
	}
	select {
	case c := <-l.backlog:
		return c, nil
	case err := <-l.fail:
		return nil, err
	case <-l.closed:
		return l.drain()
	}
}

func (l *pipeListener) drain() (net.Conn, error) {
	for {
		select {
		case c := <-l.backlog:
			c.Close()
		default:
			return nil, net.ErrClosed
		}
	}
}

func (l *pipeListener) Close() error { l.close(); return nil }

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8000} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	default:
		here, there := net.Pipe()
		l.backlog <- there
		return here, nil
	}
}

// raw sends bytes and returns all that comes back before the connection ends.
func (l *pipeListener) raw(request string) string {
	c, err := l.dial(context.Background(), "", "")
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	go io.WriteString(c, request)
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// get is a browser that follows nothing.
func (l *pipeListener) get(target string) (status int, header http.Header, body string) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: l.dial},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(target)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return resp.StatusCode, resp.Header, string(b)
}

// An loopbackRun is a sign-in that waits for the redirect, within a bubble.
type loopbackRun struct {
	*pipeListener
	s          *TestServer
	sent       url.Values
	redirected string // the right one
	state      string
	done       chan struct{}
	creds      *Credentials // set before done is closed
	err        error
}

func startLoopback(ctx context.Context, t *testing.T, set func(*TestServer, *InstalledAppFlow)) *loopbackRun {
	t.Helper()
	s := NewMemoryServer()
	s.RedirectURIs = []string{"http://127.0.0.1/cb"}
	f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "openid")
	urls := make(chan string, 1)
	f.Prompt, f.OpenBrowser = io.Discard, func(u string) error { urls <- u; return errors.New("no browser") } // UP4
	if set != nil {
		set(s, f)
	}
	r := &loopbackRun{pipeListener: newPipeListener(), s: s, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.creds, r.err = f.run(ctx, []net.Listener{r.pipeListener},
			&url.URL{Scheme: "http", Host: "127.0.0.1:8000", Path: "/cb"})
	}()
	authURL := <-urls
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	if r.redirected, err = s.Authorize(authURL); err != nil {
		t.Fatal(err)
	}
	r.sent, r.state = u.Query(), u.Query().Get("state")
	return r
}

// waiting reports whether the flow is still open and no code has been sent.
func (r *loopbackRun) waiting() bool {
	time.Sleep(100 * time.Millisecond) // in which the server shuts down
	select {
	case <-r.done:
		return false
	default:
		return r.s.Count("/token") == 0
	}
}

// checkPageHeader checks what every answer of the server must have, and must not have. L17, F25, L18
func checkPageHeader(t *testing.T, name string, h http.Header) {
	t.Helper()
	for k, want := range map[string]string{
		"Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; " +
			"frame-ancestors 'none'; style-src 'unsafe-inline'", // styles, but no script
		"Referrer-Policy":              "no-referrer",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Content-Type":                 "text/html; charset=utf-8",
		"Location":                     "",
		"Access-Control-Allow-Origin":  "",
		"Access-Control-Allow-Methods": "",
		"Set-Cookie":                   "",
		"Refresh":                      "",
	} {
		if got := h.Get(k); got != want {
			t.Errorf("%s: %s is %q, want %q", name, k, got, want)
		}
	}
}

// A strayRequest is one that must not end a sign-in. {S} is the right state, {S1} is that without its last letter, and
// {C} is the right code.
type strayRequest struct {
	name, request string
	status        int // of the answer; 0: any that is no success
	body          string
}

// own is an answer of net/http itself.
const own = "own"

func strayRequests() []strayRequest {
	get := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n" }
	with := func(header string) string {
		return "GET /cb?code={C}&state={S} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n" + header + "\r\n\r\n"
	}
	host := func(h string) string { return "GET /cb?code={C}&state={S} HTTP/1.1\r\nHost: " + h + "\r\n\r\n" }
	method := func(m string) string {
		return m + " /cb?code={C}&state={S} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 7\r\n\r\ncode={C}"
	}
	return []strayRequest{
		{name: "no state", request: get("/cb?code={C}"), status: 400, body: strayPage},                       // F1
		{name: "wrong state", request: get("/cb?code={C}&state=x"), status: 400, body: strayPage},            // F2
		{name: "state cut", request: get("/cb?code={C}&state={S1}"), status: 400, body: strayPage},           // F2
		{name: "no query", request: get("/cb"), status: 400, body: strayPage},                                // L8
		{name: "error without state", request: get("/cb?error=access_denied"), status: 400, body: strayPage}, // F19
		// F19
		{name: "error with wrong state", request: get("/cb?error=access_denied&state=x"), status: 400, body: strayPage},
		{name: "code twice", request: get("/cb?code={C}&code=b&state={S}"), status: 400, body: strayPage},      // F16
		{name: "malformed query", request: get("/cb?code={C}&state={S}&a=%zz"), status: 400, body: strayPage},  // F17
		{name: "semicolon", request: get("/cb?code={C};state={S}"), status: 400, body: strayPage},              // F17
		{name: "code and error", request: get("/cb?code={C}&error=e&state={S}"), status: 400, body: strayPage}, // F18
		{name: "bad code", request: get("/cb?code=%0d%0a&state={S}"), status: 400, body: strayPage},            // F21
		{name: "implicit", request: get("/cb?access_token=evil&state={S}"), status: 400, body: strayPage},      // F22
		{
			name:    "another issuer", // F6
			request: get("/cb?code={C}&state={S}&iss=https://evil.example"),
			status:  400,
			body:    strayPage,
		},
		{
			name:    "script", // L16
			request: get("/cb?error=x&error_description=<script>alert(1)</script>"),
			status:  400,
			body:    strayPage,
		},
		// L16
		{name: "image", request: get(`/cb?error="><img/src=x/onerror=alert(1)>&state=x`), status: 400, body: strayPage},
		{
			name:    "open redirect", // F25
			request: get("/cb?next=//evil.example&redirect_uri=https://evil.example"),
			status:  400,
			body:    strayPage,
		},
		// L8 PY2
		{name: "favicon", request: get("/favicon.ico"), status: 404},
		{name: "robots", request: get("/robots.txt"), status: 404},
		{name: "root", request: get("/?code={C}&state={S}"), status: 404},
		// L7
		{name: "two slashes", request: get("//cb?code={C}&state={S}"), status: 404},
		{name: "dots", request: get("/./cb?code={C}&state={S}"), status: 404},
		{name: "more dots", request: get("/cb/../cb?code={C}&state={S}"), status: 404},
		{name: "encoded path", request: get("/%63b?code={C}&state={S}"), status: 404},
		{name: "slash after", request: get("/cb/?code={C}&state={S}"), status: 404},
		{name: "encoded slash", request: get("/cb%2f?code={C}&state={S}"), status: 404},
		{name: "upper case path", request: get("/CB?code={C}&state={S}"), status: 404},
		{name: "path parameter", request: get("/cb;a?code={C}&state={S}"), status: 404},
		// L5 LB1
		{name: "evil host", request: host("evil.example:8000"), status: 421},
		{name: "evil host without port", request: host("evil.example"), status: 421},
		{name: "localhost", request: host("localhost:8000"), status: 421},
		{name: "no port", request: host("127.0.0.1"), status: 421},
		{name: "port 80", request: host("127.0.0.1:80"), status: 421},
		{name: "host with suffix", request: host("127.0.0.1:8000.evil"), status: 421},
		{name: "IPv6", request: host("[::1]:8000"), status: 421},
		{name: "empty host", request: host(""), status: 421},
		{name: "HTTP/1.0", request: "GET /cb?code={C}&state={S} HTTP/1.0\r\n\r\n", status: 421},
		{
			name:    "absolute form",
			request: "GET http://evil.example/cb?code={C}&state={S} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
			status:  421,
		},
		{name: "no host", request: "GET /cb?code={C}&state={S} HTTP/1.1\r\n\r\n", status: 400, body: own},
		{name: "two hosts", request: with("Host: evil.example"), status: 400, body: own},
		// L6 LB2
		{name: "HEAD", request: method("HEAD"), status: 405},
		{name: "POST", request: method("POST"), status: 405},
		{name: "PUT", request: method("PUT"), status: 405},
		{name: "OPTIONS", request: method("OPTIONS"), status: 405},
		{name: "lower case get", request: method("get"), status: 405},
		{name: "OPTIONS *", request: "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n", status: 405}, // W40
		{name: "OPTIONS * of any host", request: "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", status: 405},  // W40
		{
			name:    "OPTIONS * kept alive", // W40
			request: "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
			status:  405,
		},
		{name: "CONNECT", request: "CONNECT 127.0.0.1:8000 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n", status: 405},
		{name: "no-cors", request: with("Origin: https://evil.example\r\nSec-Fetch-Mode: no-cors"), status: 403}, // L18
		{name: "cors", request: with("Origin: https://evil.example\r\nSec-Fetch-Mode: cors"), status: 403},       // L18
		{
			name: "preflight", // L18
			request: "OPTIONS /cb HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nOrigin: https://evil.example\r\n" +
				"Access-Control-Request-Method: GET\r\n\r\n",
			status: 405,
		},
		{
			name:    "websocket", // L18
			request: with("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-Fetch-Mode: websocket"),
			status:  403,
		},
		{name: "huge header", request: with("X: " + strings.Repeat("x", 24<<10)), status: 431, body: own}, // L13
		{
			name:    "huge query", // L13
			request: get("/cb?code={C}&state={S}&x=" + strings.Repeat("x", 24<<10)),
			status:  431,
			body:    own,
		},
		{
			name:    "many parameters", // L13
			request: get("/cb?code={C}&state={S1}" + strings.Repeat("&a", 5000)),
			status:  400,
			body:    strayPage,
		},
		// L9
		{name: "TLS", request: "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n", status: 400, body: own},
		{name: "TLS without line end", request: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", body: own},
		{name: "SSH", request: "SSH-2.0-x\r\n", status: 400, body: own},
		{name: "HTTP/2", request: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", body: own},
		{name: "NUL", request: "\x00\x00\x00\x00\r\n\r\n", status: 400, body: own},
		{name: "nothing", body: own},
		{
			name:    "header never ends", // L12
			request: "GET /cb?code={C}&state={S} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n",
			body:    own,
		},
	}
}

// Whatever else reaches the port is answered with a constant, spends no code and ends nothing, five hundred times over.
// {S} is the right state and {C} the right code: what is wrong is only what the row says. L8, L10, LB1, LB2, UP19;
// DESIGN wins over L11: no number of requests ends the flow, and 256 bits of state are not guessed
func TestLoopbackSurvives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startLoopback(t.Context(), t, nil)
		u, _ := url.Parse(r.redirected)
		fill := strings.NewReplacer("{S}", r.state, "{C}", u.Query().Get("code"), "{S1}", r.state[:42])
		sent := 0
		for round := range 9 {
			for _, tt := range strayRequests() {
				raw := r.raw(fill.Replace(tt.request))
				if sent++; round > 0 {
					continue
				}
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)),
					&http.Request{Method: tt.request[:strings.IndexByte(tt.request+" ", ' ')]})
				switch {
				case tt.status == 0 && (err != nil || resp.StatusCode >= 400):
					continue // closed, or refused by net/http
				case err != nil || resp.StatusCode != tt.status:
					t.Errorf("%s: %.200q, want %d", tt.name, raw, tt.status)
					continue
				}
				body, _ := io.ReadAll(resp.Body)
				// F5, L16, LB2
				if strings.Contains(raw, r.state) || strings.Contains(raw, "evil") || strings.Contains(raw, "alert") {
					t.Errorf("%s: echoed in %q", tt.name, raw)
				}
				if tt.body == own {
					continue
				}
				want := cmp.Or(tt.body, strayPage) // W56: readable, whatever the status is
				if strings.HasPrefix(tt.request, "HEAD ") {
					want = ""
				}
				if checkPageHeader(t, tt.name, resp.Header); string(body) != want || !resp.Close {
					t.Errorf("%s: body %q, close %t", tt.name, body, resp.Close)
				}
				if allow := resp.Header.Get("Allow"); allow != "GET" {
					t.Errorf("%s: Allow %q", tt.name, allow)
				}
				if !r.waiting() {
					t.Fatalf("%s: the flow has ended: %v", tt.name, r.err)
				}
			}
		}
		if sent < 500 || !r.waiting() {
			t.Fatal(sent, r.err)
		}
		status, _, body := r.get(r.redirected)
		if <-r.done; r.err != nil || status != 200 || body != successPage || r.s.Count("/token") != 1 ||
			r.s.CodeReuses() != 0 {
			t.Error(status, r.err, r.s.Count("/token"))
		}
		if _, err := r.creds.Token(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// 100 connections that send a byte a second, and as many that send nothing, delay the sign-in by one timeout, and its
// end not by a second. What is left open is closed: the bubble ends only when every goroutine has.
//
// L12 L15
func TestLoopbackSlowLoris(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startLoopback(t.Context(), t, nil)
		attack := func(data string) {
			for range 100 {
				c, err := r.dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				go func() { io.Copy(io.Discard, c); c.Close() }() // until the server closes
				go func() {
					for i := 0; i < len(data); i++ {
						if _, err := io.WriteString(c, data[i:i+1]); err != nil {
							break
						}
						time.Sleep(time.Second)
					}
				}()
			}
		}
		attack("GET /cb HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n")
		synctest.Wait()
		began := time.Now()
		if status, _, _ := r.get(r.redirected); status != 200 || time.Since(began) > 6*time.Second {
			t.Errorf("status %d after %v", status, time.Since(began))
		}
		<-r.done
		if r.err != nil {
			t.Error(r.err)
		}

		r = startLoopback(t.Context(), t, nil)
		for range 384 { // half of the places
			c, _ := r.dial(t.Context(), "", "")
			go func() { io.Copy(io.Discard, c); c.Close() }()
		}
		synctest.Wait()
		began = time.Now()
		status, _, _ := r.get(r.redirected)
		<-r.done
		if status != 200 || r.err != nil || time.Since(began) > time.Second {
			t.Error(status, r.err, time.Since(began))
		}
		if _, err := r.dial(t.Context(), "", ""); err == nil { // UP9
			t.Error("still listening")
		}
	})
}

// The page is sent after the exchange, however long it takes, and tells how that went. A second redirect, before or
// after, is no second exchange.
//
// L14 L19 F3 UP20 PY2
func TestLoopbackPageTellsTheTruth(t *testing.T) {
	t.Parallel()
	const custom = "<title>x</title><style>p{color:red}</style><style>b{}</style><p>done"
	failed := func(s *TestServer, _ *InstalledAppFlow) {
		s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				writeJSON(w, 400, map[string]any{
					"error":             "invalid_grant",
					"error_description": "<script>alert(1)</script>",
				})
			}
			return r.URL.Path == "/token"
		}
	}
	for _, tt := range []struct {
		name   string
		set    func(*TestServer, *InstalledAppFlow)
		page   string
		status int
		took   time.Duration
		code   string // of the *Error
	}{
		{name: "success", page: successPage, status: 200},
		{
			name: "slow success",
			set: func(s *TestServer, _ *InstalledAppFlow) { // longer than the timeouts of the server
				s.Hook = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/token" {
						time.Sleep(20 * time.Second)
					}
					return false
				}
			},
			page:   successPage,
			status: 200,
			took:   20 * time.Second,
		},
		{
			name:   "custom success",
			set:    func(_ *TestServer, f *InstalledAppFlow) { f.SuccessPage, f.FailurePage = custom, "no" },
			page:   custom,
			status: 200,
		},
		{
			name:   "declined", // F19, UP7
			set:    func(s *TestServer, _ *InstalledAppFlow) { s.Deny = "access_denied" },
			page:   failurePage,
			status: 400,
			code:   "access_denied",
		},
		{name: "exchange refused", set: failed, page: failurePage, status: 400, code: "invalid_grant"}, // L16
		{
			name: "custom failure",
			set: func(s *TestServer, f *InstalledAppFlow) {
				failed(s, f)
				f.SuccessPage, f.FailurePage = "no", custom
			},
			page:   custom,
			status: 400,
			code:   "invalid_grant",
		},
		{
			name: "ID token refused", // F29
			set: func(s *TestServer, _ *InstalledAppFlow) {
				s.IDTokenClaims = func(c map[string]any) { c["nonce"] = "x" }
			},
			page:   failurePage,
			status: 400,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startLoopback(t.Context(), t, tt.set)
				began, browsers, hook := time.Now(), 2, r.s.Hook
				r.s.Hook = func(w http.ResponseWriter, r *http.Request) bool {
					time.Sleep(time.Second) // time for the second redirect
					return hook != nil && hook(w, r)
				}
				if r.s.Deny != "" { // no exchange, and so no time
					browsers = 1
				}
				var both sync.WaitGroup
				for range browsers {
					both.Go(func() {
						status, header, body := r.get(r.redirected)
						if status != tt.status || body != tt.page || time.Since(began) < tt.took {
							t.Errorf("status %d after %v: %s", status, time.Since(began), body)
						}
						checkPageHeader(t, tt.name, header)
					})
				}
				both.Wait()
				<-r.done
				var e *Error
				if errors.As(r.err, &e); (r.err == nil) != (tt.status == 200) || (r.creds == nil) != (r.err != nil) ||
					tt.code != "" && (e == nil || e.Code != tt.code) {
					t.Error(r.err)
				}
				if want := map[bool]int{true: 0, false: 1}[tt.code == "access_denied"]; r.s.Count("/token") != want {
					t.Errorf("%d token requests", r.s.Count("/token"))
				}
				if status, _, _ := r.get(r.redirected); status != 0 { // the server is gone
					t.Error(status)
				}
			})
		})
	}
	// L16, L17
	for name, page := range map[string]string{"success": successPage, "failure": failurePage, "stray": strayPage} {
		active := regexp.MustCompile(`(?i)<script|javascript:|https?://|url\(|@import|src=|href=|style=| on\w+=`)
		if active.MatchString(page) {
			t.Errorf("the %s page refers to something outside, or runs something", name)
		}
		if !strings.HasPrefix(page, "<!DOCTYPE html>") || strings.Count(page, "<title>") != 1 ||
			!strings.Contains(page, "prefers-color-scheme: dark") ||
			!strings.Contains(page, "width=device-width") || !strings.Contains(page, `<html lang="en">`) {
			t.Errorf("the %s page is incomplete", name)
		}
	}
	if successPage == failurePage || successPage == strayPage {
		t.Error("one page for two outcomes")
	}
}

// The wait ends with its context, in each phase, after five minutes without one, and after an hour at most: errors.Is
// tells which. It leaves nothing.
//
// F27 UP1 UP6 UP7
func TestRunEnds(t *testing.T) {
	t.Parallel()
	exchanging := func(s *TestServer, f *InstalledAppFlow) {
		s.Hook = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				<-r.Context().Done()
			}
			return r.URL.Path == "/token"
		}
	}
	for _, tt := range []struct {
		name     string
		timeout  time.Duration // of the context; 0: none
		cancel   time.Duration // after which it is cancelled; 0: never
		redirect bool          // the redirect comes, and the exchange hangs
		err      error
		took     time.Duration
	}{
		{"no deadline", 0, 0, false, context.DeadlineExceeded, 5 * time.Minute},
		{"short deadline", time.Minute, 0, false, context.DeadlineExceeded, time.Minute},
		{"long deadline", time.Hour, 0, false, context.DeadlineExceeded, time.Hour},
		{"very long deadline", 2 * time.Hour, 0, false, context.DeadlineExceeded, time.Hour},
		{"cancelled before", 0, -1, false, context.Canceled, 0},
		{"cancelled while waiting", 0, time.Second, false, context.Canceled, time.Second},
		{"deadline in the exchange", 10 * time.Second, 0, true, context.DeadlineExceeded, 10 * time.Second},
		{"cancelled in the exchange", 0, 3 * time.Second, true, context.Canceled, 3 * time.Second},
		{"exchange hangs", 0, 0, true, context.DeadlineExceeded, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.timeout > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				if tt.cancel < 0 {
					cancel()
				}
				began := time.Now()
				r := startLoopback(ctx, t, exchanging)
				page := make(chan string, 1)
				if tt.redirect {
					go func() { _, _, body := r.get(r.redirected); page <- body }()
				}
				if tt.cancel > 0 {
					time.Sleep(tt.cancel)
					cancel()
				}
				<-r.done
				took := time.Since(began)
				if !errors.Is(r.err, tt.err) || r.creds != nil || !strings.HasPrefix(r.err.Error(), "oauth2: ") ||
					strings.Contains(r.err.Error(), r.state) {
					t.Error(r.err)
				}
				if took < tt.took || took > tt.took+time.Second {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if tt.redirect && <-page != failurePage {
					t.Error("the browser was not told")
				}
				if _, err := r.dial(ctx, "", ""); err == nil {
					t.Error("still listening")
				}
			})
		})
	}
	t.Run("listener dies", func(t *testing.T) { // L10
		synctest.Test(t, func(t *testing.T) {
			r := startLoopback(t.Context(), t, nil)
			r.fail <- syscall.ENOBUFS
			<-r.done
			if !errors.Is(r.err, syscall.ENOBUFS) || r.creds != nil {
				t.Error(r.err)
			}
		})
	})
}

// freePort returns a port that was free a moment ago on both loopback addresses.
func freePort(t *testing.T) string {
	t.Helper()
	listeners, _, err := bind("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		defer l.Close()
	}
	_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
	return port
}

func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		l.Close()
	}
	return err == nil
}

// With real sockets: where it listens, which redirect URI it uses, to the letter in both requests, and that nothing is
// left.
func TestRunLocalServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, kind       string
		google           bool     // it is Google's client
		registered       []string // in the file
		redirect, listen string   // RedirectURI and ListenAddr
		want             string   // the redirect URI, where {P} is a port
		listens          string   // hosts
	}{
		// L1, L2, CA21, UP8
		{name: "nothing registered", kind: "installed", want: "http://127.0.0.1:{P}/", listens: "127.0.0.1"},
		{
			name:       "Google's file", // L2, UP10, UP11, W45
			google:     true,
			kind:       "installed",
			registered: []string{"http://localhost"},
			want:       "http://127.0.0.1:{P}",
			listens:    "127.0.0.1",
		},
		{
			name:       "a path at Google", // UP11, W45
			google:     true,
			kind:       "installed",
			registered: []string{"urn:ietf:wg:oauth:2.0:oob", "http://localhost:1/a/b?c=d"},
			want:       "http://127.0.0.1:{P}/a/b?c=d",
			listens:    "127.0.0.1",
		},
		{
			name:       "localhost and a port", // W45
			kind:       "installed",
			registered: []string{"urn:ietf:wg:oauth:2.0:oob", "http://localhost:{F}/a/b?c=d"},
			want:       "http://localhost:{F}/a/b?c=d",
			listens:    "127.0.0.1 [::1]",
		},
		{
			name:       "localhost", // W45
			kind:       "installed",
			registered: []string{"http://localhost"},
			want:       "http://localhost:{P}",
			listens:    "127.0.0.1 [::1]",
		},
		{
			name:       "localhost and a path", // W45
			kind:       "installed",
			registered: []string{"com.example.app:/cb", "http://localhost/signin"},
			want:       "http://localhost:{P}/signin",
			listens:    "127.0.0.1 [::1]",
		},
		{
			name:       "an address and a port", // W45
			kind:       "installed",
			registered: []string{"http://127.0.0.1:{F}/"},
			want:       "http://127.0.0.1:{F}/",
			listens:    "127.0.0.1",
		},
		{
			name:       "IPv6", // W45
			kind:       "installed",
			registered: []string{"http://[::1]/cb"},
			want:       "http://[::1]:{P}/cb",
			listens:    "[::1]",
		},
		{
			name:       "escaped path",
			kind:       "installed",
			registered: []string{"http://127.0.0.1/a%2Fb"},
			want:       "http://127.0.0.1:{P}/a%2Fb",
			listens:    "127.0.0.1",
		},
		{
			name:       "web", // L2, UP10, UP12
			kind:       "web",
			registered: []string{"https://app.example/cb", "http://localhost:{F}/cb"},
			want:       "http://localhost:{F}/cb",
			listens:    "127.0.0.1 [::1]",
		},
		{
			name:       "web, literal", // UP12
			kind:       "web",
			registered: []string{"http://127.0.0.1:{F}"},
			want:       "http://127.0.0.1:{F}",
			listens:    "127.0.0.1",
		},
		{
			name:       "RedirectURI", // UP13
			kind:       "web",
			registered: []string{"http://localhost:1/"},
			redirect:   "http://127.0.0.1:0/x",
			want:       "http://127.0.0.1:{P}/x",
			listens:    "127.0.0.1",
		},
		{
			name:     "RedirectURI localhost", // UP10
			kind:     "installed",
			redirect: "http://localhost:0/",
			want:     "http://localhost:{P}/",
			listens:  "127.0.0.1 [::1]",
		},
		{
			name:     "RedirectURI IPv6", // L2
			kind:     "installed",
			redirect: "http://[::1]:0/",
			want:     "http://[::1]:{P}/",
			listens:  "[::1]",
		},
		{
			name:    "ListenAddr", // UP1
			kind:    "installed",
			listen:  "0.0.0.0",
			want:    "http://127.0.0.1:{P}/",
			listens: "127.0.0.1",
		},
		{
			name:       "ListenAddr with port", // UP1, UP13
			kind:       "web",
			registered: []string{"http://localhost:{F}/"},
			listen:     "127.0.0.1:{F}",
			want:       "http://localhost:{F}/",
			listens:    "127.0.0.1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(tt.listens, "[::1]") && !hasIPv6() {
				t.Skip("no IPv6")
			}
			free := freePort(t)
			fill := func(s string) string { return strings.ReplaceAll(s, "{F}", free) }
			s := NewTestServer(t)
			s.RedirectURIs = nil
			for _, uri := range tt.registered {
				s.RedirectURIs = append(s.RedirectURIs, fill(uri))
			}
			client := fileClientOf(t, s, tt.kind)
			scope := "openid"
			if tt.google { // whose ID tokens, and issuer in the redirect, the server does not have
				client.Issuer = googleIssuer
				scope = "a"
				s.OmitIss = true
			}
			f := NewInstalledAppFlow(client, scope)
			var prompt bytes.Buffer
			f.Prompt = &prompt
			f.RedirectURI, f.ListenAddr = cmp.Or(tt.redirect, f.RedirectURI), fill(tt.listen)
			var redirectURI string
			f.OpenBrowser = func(authURL string) error {
				// UP4: printed first
				if prompt.String() != "Open this URL in a browser to sign in:\n\n    "+authURL+"\n\n" {
					t.Errorf("prompt %q", prompt.String())
				}
				u, err := url.Parse(authURL)
				if err != nil {
					t.Error(err)
				}
				redirectURI = u.Query().Get("redirect_uri")
				want := "^" + strings.ReplaceAll(regexp.QuoteMeta(fill(tt.want)), `\{P\}`, "[1-9][0-9]*") + "$"
				if !regexp.MustCompile(want).MatchString(redirectURI) {
					t.Errorf("redirect URI %q, want %q", redirectURI, want)
				}
				r, _ := url.Parse(redirectURI)
				checkListens(t, r.Port(), tt.listens)
				if f.ListenAddr == "" { // L1
					checkLoopbackOnly(t, r.Port())
				}
				s.mu.Lock()
				s.RedirectURIs = []string{redirectURI}
				s.mu.Unlock()
				return s.Browser(authURL)
			}
			creds, err := f.RunLocalServer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if status, _, body := s.Page(); status != 200 || body != successPage {
				t.Error(status, body)
			}
			if got := onlyExchange(t, s).Get("redirect_uri"); got != redirectURI { // L2: byte for byte
				t.Errorf("exchanged with %q, not %q", got, redirectURI)
			}
			u, _ := url.Parse(redirectURI)
			l, err := net.Listen("tcp", cmp.Or(u.Host, ":0")) // L15, UP9: the port is free at once
			if err != nil {
				t.Error(err)
			} else {
				l.Close()
			}
			// CA6: what came with the sign-in refreshes without the user.
			if tok, err := creds.Refresh(t.Context()); err != nil || !tok.Valid() || s.Count("/authorize") != 1 {
				t.Error(tok, err)
			}
		})
	}
}

// checkListens checks that a port is listened on at these hosts, and can be taken by nobody else.
func checkListens(t *testing.T, port, hosts string) {
	t.Helper()
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		if !strings.Contains(hosts, host) {
			continue
		}
		addr := host + ":" + port
		if c, err := net.Dial("tcp", addr); err != nil {
			t.Errorf("not listening on %s: %v", addr, err)
		} else {
			c.Close()
		}
		if l, err := net.Listen("tcp", addr); err == nil { // UP46: bound before the URL is known, and kept
			l.Close()
			t.Errorf("%s could be taken", addr)
		}
	}
}

// checkLoopbackOnly checks that a port can't be reached at the addresses of the machine's other interfaces.
func checkLoopbackOnly(t *testing.T, port string) {
	t.Helper()
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		ip := a.(*net.IPNet).IP
		if ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), port), time.Second); err == nil {
			c.Close()
			t.Errorf("%v is listened on", ip)
		}
	}
}

// Where there is no 127.0.0.1, it listens on ::1, at one port. A network without it takes privileges: the test is
// skipped where there are none.
//
// L3
func TestRunLocalServerIPv6Only(t *testing.T) {
	const child = "OAUTH2_TEST_IPV6_ONLY"
	if os.Getenv(child) == "" {
		probe := "ip link set lo up && ip addr del 127.0.0.1/8 dev lo"
		if out, err := exec.Command("unshare", "-rn", "sh", "-c", probe).CombinedOutput(); err != nil {
			t.Skip("no network of its own:", string(out), err)
		}
		t.Setenv(child, "1")
		out, err := exec.Command("unshare", "-rn", "sh", "-c",
			probe+` && exec "$0" -test.v -test.run "^TestRunLocalServerIPv6Only$"`, os.Args[0]).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := NewTestServer(t)
	f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "a")
	f.Prompt, f.OpenBrowser = io.Discard, s.Browser
	if _, err := f.RunLocalServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if form := onlyExchange(t, s); !strings.HasPrefix(form.Get("redirect_uri"), "http://[::1]:") {
		t.Error(form.Get("redirect_uri"))
	}
	f = NewInstalledAppFlow(fileClientOf(t, s, "installed"), "a") // an address of one's own choice has no fallback: L4
	f.Prompt, f.RedirectURI = io.Discard, "http://127.0.0.1:0/"
	f.OpenBrowser = func(string) error { t.Error("opened"); return nil }
	if _, err := f.RunLocalServer(t.Context()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Error(err)
	}
}

// What can't work is an error before any browser opens, and says what to do.
func TestRunLocalServerRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	addressInUse := syscall.EADDRINUSE
	if runtime.GOOS == "windows" {
		addressInUse = 10048 // WSAEADDRINUSE
	}
	for _, tt := range []struct {
		name, kind string
		set        func(f *InstalledAppFlow)
		err        string
		is         error
	}{
		{
			name: "port taken", // L4, UP8
			kind: "installed",
			set:  func(f *InstalledAppFlow) { f.RedirectURI = "http://127.0.0.1:" + port + "/" },
			err:  "listening for the redirect",
			is:   addressInUse,
		},
		{
			name: "web client's port taken", // L4
			kind: "web",
			set:  func(f *InstalledAppFlow) { f.client.RedirectURIs = []string{"http://localhost:" + port} },
			err:  "listening",
			is:   addressInUse,
		},
		{
			name: "ListenAddr taken", // L4
			kind: "installed",
			set:  func(f *InstalledAppFlow) { f.ListenAddr = taken.Addr().String() },
			err:  "listening",
			is:   addressInUse,
		},
		{
			name: "web without loopback", // UP12
			kind: "web",
			set:  func(f *InstalledAppFlow) { f.client.RedirectURIs = []string{"https://app.example/cb"} },
			err:  `["https://app.example/cb"]`,
		},
		{
			name: "web without any", // UP12
			kind: "web",
			set:  func(f *InstalledAppFlow) { f.client.RedirectURIs = nil },
			err:  "http://localhost:8080/",
		},
		{
			name: "not this machine", // L1
			kind: "web",
			set:  func(f *InstalledAppFlow) { f.RedirectURI = "https://app.example/cb" },
			err:  "ListenAddr",
		},
		{
			name: "http on another machine", // L1
			kind: "installed",
			set:  func(f *InstalledAppFlow) { f.RedirectURI = "http://192.0.2.1:1/" },
			err:  "https",
		},
		{
			name: "reserved parameter", // F23
			kind: "installed",
			set:  func(f *InstalledAppFlow) { f.Params = url.Values{"state": {"x"}} },
			err:  `"state"`,
		},
		{
			name: "auth_uri", // B1
			kind: "installed",
			set:  func(f *InstalledAppFlow) { f.client.AuthURI = "file:///bin/sh" },
			err:  "AuthURI",
		},
		{name: "no client", kind: "installed", set: func(f *InstalledAppFlow) { f.client = nil }, err: "client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := NewMemoryServer()
			f := NewInstalledAppFlow(fileClientOf(t, s, tt.kind), "a")
			f.Prompt, f.OpenBrowser = io.Discard, func(string) error { t.Error("opened"); return nil }
			tt.set(f)
			creds, err := f.RunLocalServer(t.Context())
			if creds != nil || err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") ||
				!strings.Contains(err.Error(), tt.err) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v, want %q", err, tt.err)
			}
		})
	}
	var none context.Context
	if _, err := NewInstalledAppFlow(&ClientSecrets{}).RunLocalServer(none); err != errNilContext {
		t.Error(err)
	}
	if hasIPv6() { // UP10: where another process has ::1, the redirect could go there
		l, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if listeners, _, err := bind("localhost:" + port); !errors.Is(err, addressInUse) || listeners != nil {
			t.Error(listeners, err)
		}
	}
}

// Which URLs are never given to a launcher. B1, B2, B3
func TestOpenBrowserRefuses(t *testing.T) {
	dir := t.TempDir()
	writeScript(t, filepath.Join(dir, "xdg-open"), "touch "+filepath.Join(dir, "ran"))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for name, target := range map[string]string{
		// B1
		"file":        "file:///etc/passwd",
		"javascript":  "javascript:alert(1)",
		"data":        "data:text/html,x",
		"smb":         "smb://evil.example/x",
		"search-ms":   "search-ms:query=x",
		"ms-settings": "ms-settings:",
		"http":        "http://as.example/",
		"ftp":         "ftp://as.example/",
		"upper case":  "FILE:///etc/passwd",
		"no scheme":   "as.example/x",
		"UNC":         `\\evil.example\share`,
		"path":        "/bin/sh",
		"empty":       "",

		// B2
		"option":         "--help",
		"option and URL": "-e https://as.example/",
		"leading space":  " https://as.example/",

		// B3
		"double quote": `https://as.example/"&calc&"`,
		"single quote": "https://as.example/'",
		"backtick":     "https://as.example/`id`",
		"dollar":       "https://as.example/$(id)",
		"backslash":    `https://as.example\x`,
		"caret":        "https://as.example/^",
		"pipe":         "https://as.example/|id",
		"redirection":  "https://as.example/>x",
		"less":         "https://as.example/<x",
		"space":        "https://as.example/ x",
		"line end":     "https://as.example/\nid",
		"NUL":          "https://as.example/\x00",
		"not ASCII":    "https://as.example/\u202e",
		"user":         "https://as.example@evil.example/",
	} {
		err := OpenBrowser(target)
		if err == nil || !strings.HasPrefix(err.Error(), "oauth2: ") ||
			target != "" && strings.Contains(err.Error(), target) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("the launcher was called")
	}
}

func writeScript(t *testing.T, name, script string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the launcher is xdg-open on Linux")
	}
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// fakeLauncher puts an xdg-open in the PATH that says its process ID and what it was called with, on called, and then
// waits for a minute, as one that becomes the browser. ended gets something when it is gone.
func fakeLauncher(t *testing.T) (called, ended <-chan string) {
	t.Helper()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "report")
	writeScript(t, filepath.Join(dir, "xdg-open"), `exec 3>"`+fifo+`"
echo SENTINEL-OUT; echo SENTINEL-ERR >&2
echo $$ $# "$@" $(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2) >&3
exec sleep 60`)
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Skip(string(out), err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	first, last := make(chan string, 1), make(chan string, 1)
	go func() {
		f, err := os.Open(fifo)
		if err != nil {
			first <- err.Error()
			return
		}
		defer f.Close()
		r := bufio.NewReader(f)
		line, _ := r.ReadString('\n')
		first <- line
		rest, err := io.ReadAll(r)
		last <- fmt.Sprint(string(rest), err)
	}()
	return first, last
}

// The launcher gets the URL as its only argument, and neither input nor output. One that blocks holds up neither the
// flow nor its end, and is left alone: it may have become the browser. A goroutine waits for it.
//
// B3 B5 B6 UP4 W44
func TestOpenBrowserLauncher(t *testing.T) {
	called, ended := fakeLauncher(t)
	t.Setenv("DISPLAY", ":0") // there seems to be a browser
	s := NewTestServer(t)
	f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), `a"&calc&"`, "$(id)")
	s.GrantScopes = func([]string) []string { return []string{"a"} }
	s.Hook = func(w http.ResponseWriter, r *http.Request) bool { // the strict server refuses such scopes
		if q := r.URL.Query(); r.URL.Path == "/authorize" && q.Has("scope") {
			q.Del("scope")
			r.URL.RawQuery = q.Encode()
		}
		return false
	}
	var prompt bytes.Buffer
	f.Prompt = &prompt
	calls := make(chan string, 2)
	go func() {
		call := <-called
		process, call, _ := strings.Cut(call, " ")
		_, authURL, _ := strings.Cut(strings.TrimSpace(call), " ")
		authURL, _, _ = strings.Cut(authURL, " ")
		calls <- process
		calls <- call
		if err := s.Browser(authURL); err != nil { // the user's own doing: the launcher does nothing
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := f.RunLocalServer(ctx); err != nil {
		t.Fatal(err)
	}
	authURL := strings.TrimSpace(strings.SplitN(prompt.String(), "\n", 4)[2])
	id, err := strconv.Atoi(<-calls)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := <-calls, "1 "+authURL+" /dev/null /dev/null /dev/null\n"; got != want {
		t.Errorf("called with %q, want %q", got, want)
	}
	browser, err := os.FindProcess(id)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case rest := <-ended:
		t.Error("the launcher is gone:", rest)
	case <-time.After(200 * time.Millisecond): // in which it would have been killed
	}
	if err := browser.Signal(syscall.SIGTERM); err != nil { // the user closes it
		t.Error(err)
	}
	<-ended
	if !strings.Contains(authURL, "scope=a%22%26calc%26%22+%24%28id%29") {
		t.Error(authURL)
	}
	// The goroutine that waits for the launcher ends a moment after it.
	for range 6000 {
		buf := make([]byte, 1<<20)
		if !bytes.Contains(buf[:runtime.Stack(buf, true)], []byte("oauth2.OpenBrowser")) {
			return
		}
		sleep(t.Context(), 10*time.Millisecond)
	}
	t.Error("a goroutine is left")
}

// A launcher in the current directory is not called, and one that is missing or fails ends nothing: the URL has been
// printed. B4, B5, UP4, UP5
func TestOpenBrowserMissing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("bin", 0o700); err != nil {
		t.Fatal(err)
	}
	writeScript(t, "xdg-open", "touch "+filepath.Join(dir, "ran"))
	writeScript(t, filepath.Join("bin", "xdg-open"), "touch "+filepath.Join(dir, "ran"))
	for _, path := range []string{
		".", "." + string(os.PathListSeparator) + os.Getenv("PATH"), "", "bin", filepath.Join(dir, "nowhere"),
	} {
		t.Setenv("PATH", path)
		err := OpenBrowser("https://as.example/authorize?state=SENTINEL")
		if err == nil || strings.Contains(err.Error(), "SENTINEL") || !strings.Contains(err.Error(), "xdg-open") {
			t.Errorf("PATH=%s: %v", path, err)
		}
	}
	if err := os.WriteFile(filepath.Join("bin", "xdg-open"), []byte("no program SENTINEL"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	err := OpenBrowser("https://as.example/authorize?state=SENTINEL")
	if !errors.Is(err, syscall.ENOEXEC) || strings.Contains(err.Error(), "SENTINEL") {
		t.Error(err)
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("a launcher of the current directory was called")
	}

	t.Setenv("DISPLAY", ":0")
	s := NewTestServer(t)
	f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "a")
	prompt, in := io.Pipe()
	f.Prompt = in
	go func() {
		lines := bufio.NewScanner(prompt)
		for lines.Scan() {
			if u, ok := strings.CutPrefix(lines.Text(), "    "); ok {
				s.Browser(u)
			}
		}
	}()
	if _, err := f.RunLocalServer(t.Context()); err != nil {
		t.Error(err)
	}
	in.Close()
}

// A sign-in with stray requests logs nothing, and what it prints is the URL. L9, PY16, LB1
func TestSignInLogsNothing(t *testing.T) {
	var logged bytes.Buffer
	defer func(l *slog.Logger, w io.Writer, flags int) {
		slog.SetDefault(l)
		log.SetOutput(w)
		log.SetFlags(flags)
	}(slog.Default(), log.Writer(), log.Flags())
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	log.SetOutput(&logged)
	s := NewTestServer(t)
	f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "openid")
	var prompt bytes.Buffer
	f.Prompt = &prompt
	f.OpenBrowser = func(authURL string) error {
		u, _ := url.Parse(authURL)
		r, _ := url.Parse(u.Query().Get("redirect_uri"))
		for _, request := range []string{
			"\x16\x03\x01\r\n\r\n", "SSH-2.0-x\r\n", "GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n",
		} {
			c, err := net.Dial("tcp", r.Host)
			if err != nil {
				t.Error(err)
				continue
			}
			io.WriteString(c, request)
			io.Copy(io.Discard, c)
			c.Close()
		}
		return s.Browser(authURL)
	}
	creds, err := f.RunLocalServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := creds.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	s.Page()
	synctest.Test(t, func(t *testing.T) { // what net/http has to say of its own
		r := startLoopback(t.Context(), t, nil)
		r.fail <- syscall.EMFILE // passes
		if status, _, _ := r.get(r.redirected); status != 200 {
			t.Error(status)
		}
		<-r.done
	})
	if logged.Len() > 0 {
		t.Errorf("logged: %s", logged.String())
	}
	if n := strings.Count(prompt.String(), "\n"); n != 5 { // the last says as whom
		t.Errorf("printed: %s", prompt.String())
	}
}

// FuzzLoopbackRequest shows that no bytes on a connection make the server panic, and none without the state, in a GET,
// complete the sign-in, end it or send a code. "{S}" stands for the state, which no input can have. F1, L5, L6, L20
func FuzzLoopbackRequest(f *testing.F) {
	const line = " HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
	for _, seed := range []string{
		"",
		"GET /cb?code=c&state={S}" + line + "\r\n",
		"GET /cb?code=c&state=x" + line + "\r\n",
		"HEAD /cb?code=c&state={S}" + line + "\r\n",
		"GET http://127.0.0.1:8000/cb?code=c&state={S} HTTP/1.1\r\n\r\n",
		"GET /cb?code=c&state={S} HTTP/1.0\r\n\r\n",
		"POST /cb" + line + "Content-Length: 3\r\n\r\nabc",
		"GET /cb?error=access_denied&state={S}" + line + "\r\n",
		"GET /cb?error=access_denied" + line + "\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /%63b?code=c&state={S}" + line + "\r\n",
		"GET /cb?code=c" + line + "\r\nGET /cb?code=c&state={S}" + line + "\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /cb?code=c&state={S}" + line + "Sec-Fetch-Mode: no-cors\r\n\r\n",
		"\x16\x03\x01\x00\x05\x01\r\n\r\n",
		"GET /cb?a=%zz;b" + line + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		synctest.Test(t, func(t *testing.T) {
			r := startLoopback(t.Context(), t, nil)
			sent := bytes.ReplaceAll(request, []byte("{S}"), []byte(r.state))
			answer := r.raw(string(sent))
			completes := bytes.Contains(sent, []byte(r.state)) && bytes.Contains(sent, []byte("GET "))
			switch open := r.waiting(); {
			case !open && !completes:
				t.Errorf("%q ended the flow: %v", sent, r.err)
			case strings.Contains(answer, r.state) || strings.Contains(answer, "\r\nLocation:"):
				t.Errorf("%q answered %q", sent, answer)
			case strings.HasPrefix(answer, "HTTP/1.1 200") && open:
				t.Errorf("%q answered %q", sent, answer)
			case open:
				if status, _, _ := r.get(r.redirected); status != 200 {
					t.Errorf("after %q the redirect got %d", sent, status)
				}
			}
			if <-r.done; r.s.Count("/token") > 1 {
				t.Errorf("%d token requests", r.s.Count("/token"))
			}
		})
	})
}
