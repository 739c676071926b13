package oauth2

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// strangers are connections of other processes to the loopback server. They end with the test's attack.
type strangers struct {
	t     *testing.T
	addr  string
	ended chan struct{}
	all   sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// dial opens a connection, which end closes. It returns nil if the attack has ended.
func (s *strangers) dial() net.Conn {
	c, err := net.Dial("tcp", s.addr)
	if errors.Is(err, syscall.EMFILE) {
		s.t.Skip("RLIMIT_NOFILE allows too few connections")
	}
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	return c
}

func (s *strangers) end() {
	close(s.ended)
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

// idle opens connections and sends nothing.
func (s *strangers) idle(n int) {
	for range n {
		s.dial()
	}
}

// asking sends a request on each of n connections, and another one every 4 seconds, on a new connection if it must.
func (s *strangers) asking(n int) {
	var first sync.WaitGroup
	for range n {
		first.Add(1)
		s.all.Go(func() {
			answered := sync.OnceFunc(first.Done)
			defer answered()
			for {
				c := s.dial()
				if c == nil {
					return
				}
				io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err == nil && (resp.StatusCode != http.StatusMethodNotAllowed || !resp.Close) {
					s.t.Errorf("OPTIONS * was answered with %s, close %t", resp.Status, resp.Close)
				}
				answered()
				select {
				case <-s.ended:
					return
				case <-time.After(4 * time.Second):
				}
			}
		})
	}
	first.Wait()
}

// reconnecting keeps n connections open, each opened anew as soon as it is closed.
func (s *strangers) reconnecting(n int, request string) {
	var opened atomic.Int64
	ready := make(chan struct{})
	enough := sync.OnceFunc(func() { close(ready) })
	for range n {
		s.all.Go(func() {
			for {
				select {
				case <-s.ended:
					return
				default:
				}
				c, err := net.Dial("tcp", s.addr)
				if err != nil {
					continue
				}
				io.WriteString(c, request)
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				io.Copy(io.Discard, c)
				c.Close()
				if opened.Add(1) > int64(4*n) {
					enough()
				}
			}
		})
	}
	<-ready
	s.t.Logf("%d connections were opened before the redirect", opened.Load())
}

// redirectTime signs in while others use the port, and returns how long the user's browser waited for its page.
func redirectTime(t *testing.T, attack func(*strangers)) time.Duration {
	t.Helper()
	s := NewTestServer(t)
	f := NewInstalledAppFlow(fileClientOf(t, s, "installed"), "openid")
	f.Prompt = io.Discard
	urls := make(chan string, 1)
	f.OpenBrowser = func(authURL string) error { urls <- authURL; return nil }
	ended := make(chan error, 1)
	go func() { _, err := f.RunLocalServer(t.Context()); ended <- err }()
	redirected, err := s.Authorize(<-urls)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(redirected)
	if err != nil {
		t.Fatal(err)
	}
	others := &strangers{t: t, addr: u.Host, ended: make(chan struct{})}
	defer others.end()
	attack(others)
	browser := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	began := time.Now()
	resp, err := browser.Get(redirected)
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	began = time.Now()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if end := time.Since(began); end > 5*time.Second {
		t.Errorf("the end took %v", end)
	}
	return took
}

// However many connections other processes of this machine open, and whatever they do with them, the user's browser
// gets its page. The row says within a second; this machine may be busy.
//
// W40 W41
func TestLoopbackStrangers(t *testing.T) {
	t.Logf("undisturbed: %v", redirectTime(t, func(*strangers) {}))
	for _, tt := range []struct {
		name   string
		attack func(*strangers)
	}{
		{"1,000 idle", func(s *strangers) { s.idle(1000) }},
		{"4,000 idle", func(s *strangers) { s.idle(4000) }},
		{"64 with OPTIONS * every 4 s", func(s *strangers) { s.asking(64) }},
		{"32 that reconnect at once", func(s *strangers) { s.reconnecting(32, "GET / HTTP/1.1\r\n\r\n") }},
		{"300 that reconnect at once", func(s *strangers) { s.reconnecting(300, "GET /cb HTTP/1.1\r\n\r\n") }},
		{"1,000 with half a request", func(s *strangers) {
			s.idle(1000)
			for _, c := range s.conns {
				io.WriteString(c, "GET / HTTP/1.1\r\n")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			took := redirectTime(t, tt.attack)
			t.Logf("the redirect took %v", took)
			if took > 4*time.Second {
				t.Errorf("the redirect took %v", took)
			}
		})
	}
}

// Which connections give up their place, and when. W41
func TestLoopbackPlaces(t *testing.T) {
	t.Parallel()
	type stranger struct {
		net.Conn
		closed atomic.Bool
	}
	open := func(t *testing.T, r *loopbackRun, n int) (all []*stranger) {
		for range n {
			c, err := r.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			one := &stranger{Conn: c}
			go func() { io.Copy(io.Discard, c); one.closed.Store(true); c.Close() }()
			all = append(all, one)
		}
		return all
	}
	left := func(all []*stranger) (n int) {
		for _, one := range all {
			if !one.closed.Load() {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		name       string
		first      int           // connections
		pause      time.Duration // before the redirect and the second ones
		second     int
		leftFirst  int // once all have been accepted
		leftSecond int
		took       time.Duration // of the redirect, which comes between
	}{
		{name: "as many as there are places", first: 767, leftFirst: 767},
		{name: "one more, old", first: 768, pause: 100 * time.Millisecond, leftFirst: 767},
		{name: "old ones go first", first: 768, pause: time.Second, second: 100, leftFirst: 667, leftSecond: 100},
		{name: "one waits for its place", first: 768, leftFirst: 767, took: 100 * time.Millisecond},
		{name: "not old enough", first: 768, pause: 99 * time.Millisecond, leftFirst: 767, took: time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startLoopback(t.Context(), t, nil)
				first := open(t, r, tt.first)
				synctest.Wait()
				time.Sleep(tt.pause)
				began := time.Now()
				browser, err := r.dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				second := open(t, r, tt.second)
				synctest.Wait()
				if tt.took > 0 {
					time.Sleep(tt.took)
					synctest.Wait()
				}
				if n := left(first); n != tt.leftFirst {
					t.Errorf("%d of the first are left, want %d", n, tt.leftFirst)
				}
				if n := left(second); n != tt.leftSecond {
					t.Errorf("%d of the second are left, want %d", n, tt.leftSecond)
				}
				u, _ := url.Parse(r.redirected)
				go io.WriteString(browser, "GET "+u.RequestURI()+" HTTP/1.1\r\nHost: "+u.Host+"\r\n\r\n")
				answer, _ := io.ReadAll(browser)
				if !strings.HasPrefix(string(answer), "HTTP/1.1 200") || time.Since(began) > tt.took {
					t.Errorf("%.40q after %v", answer, time.Since(began))
				}
				<-r.done
			})
		})
	}
	t.Run("not while the code is exchanged", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := startLoopback(t.Context(), t, func(s *TestServer, _ *InstalledAppFlow) {
				s.Hook = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/token" {
						time.Sleep(20 * time.Second)
					}
					return false
				}
			})
			page := make(chan int)
			go func() { status, _, _ := r.get(r.redirected); page <- status }()
			synctest.Wait()
			for range 3 {
				time.Sleep(time.Second)
				open(t, r, 300)
			}
			if status := <-page; status != 200 {
				t.Error(status)
			}
			<-r.done
		})
	})
}

// The flow ends within a second however many strangers there are. L15, W41
func TestLoopbackEndsAmongStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := startLoopback(ctx, t, nil)
		for range 1000 { // more than there may be: accepting waits
			c, _ := r.dial(t.Context(), "", "")
			go func() { io.Copy(io.Discard, c); c.Close() }()
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		<-r.done
		if took := time.Since(began); took > time.Second || !errors.Is(r.err, context.Canceled) {
			t.Errorf("%v after %v", r.err, took)
		}
	})
}

// What can be seen of the pages without a browser; TestInteropBrowser has one. W56
func TestLoopbackPages(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]string{"success": successPage, "failure": failurePage, "stray": strayPage} {
		_, body, _ := strings.Cut(page, "<body>")
		text := regexp.MustCompile(`<span>[^<]*</span>|<[^>]*>`).ReplaceAllString(body, "") // but what is kept together
		if word := regexp.MustCompile(`\S+-\S+`).FindString(text); word != "" {
			t.Errorf("the %s page can break the line within %q", name, word)
		}
		if !strings.Contains(page, "border: 1px solid transparent") { // which forced colours show
			t.Errorf("the %s page has no edge in forced colours", name)
		}
	}
	if !strings.Contains(pageHead, "span { white-space: nowrap }") {
		t.Error("words with a hyphen can be broken")
	}
	dark := regexp.MustCompile(`dark\) \{\n.*main \{ background: (#[0-9a-f]{6})`).FindStringSubmatch(pageHead)
	circle := regexp.MustCompile(`(?:svg \{.*|\.ok \{ |\.bad \{ )background: (#[0-9a-f]{6})`)
	circles := circle.FindAllStringSubmatch(pageHead, -1)
	if len(dark) != 2 || len(circles) != 3 {
		t.Fatalf("the page has the colours %q and %q", dark, circles)
	}
	for _, circle := range circles {
		for _, background := range []string{dark[1], "#ffffff"} {
			if ratio := contrast(t, circle[1], background); ratio < 3 { // WCAG 2.2, 1.4.11
				t.Errorf("%s on %s has a contrast of %.2f", circle[1], background, ratio)
			}
		}
	}
}

// contrast returns the contrast ratio of two colours (WCAG 2.2).
func contrast(t *testing.T, a, b string) float64 {
	luminance := func(colour string) (sum float64) {
		for n, weight := range []float64{0.2126, 0.7152, 0.0722} {
			level, err := strconv.ParseUint(colour[1+2*n:3+2*n], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			c := float64(level) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	light, dark := luminance(a), luminance(b)
	if light < dark {
		light, dark = dark, light
	}
	return (light + 0.05) / (dark + 0.05)
}
