package oauth2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// deviceRun is a sign-in on another device, in a bubble, at a server in memory.
type deviceRun struct {
	*TestServer
	t      *testing.T
	flow   *InstalledAppFlow
	prompt strings.Builder
	edit   map[string]string                      // members of the device authorization answer, as JSON; "" removes
	fault  func(poll int) (*http.Response, error) // in place of the server's answer to a poll, unless both are nil
	begun  time.Time
	polls  []float64 // seconds since begun
	bodies atomic.Int64
}

func newDeviceRun(t *testing.T) *deviceRun {
	r := &deviceRun{TestServer: NewMemoryServer(), t: t, begun: time.Now()}
	client := clientOf(r.TestServer)
	client.DeviceAuthURI, client.Issuer, client.HTTPClient = r.URL+"/device", r.URL, &http.Client{Transport: r}
	r.flow = NewInstalledAppFlow(client, "openid", "email")
	r.flow.Prompt = &r.prompt
	// as asked for (RFC 6749, Section 5.1)
	r.Answer = func(_ string, answer map[string]any) { delete(answer, "scope") }
	r.flow.OpenBrowser = func(string) error { t.Error("a browser was opened"); return nil } // X2
	return r
}

// RoundTrip stands between the program and the server.
func (r *deviceRun) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/token" {
		r.polls = append(r.polls, time.Since(r.begun).Seconds())
		if r.fault != nil {
			if resp, err := r.fault(len(r.polls)); resp != nil || err != nil {
				return resp, err
			}
		}
	}
	resp, err := r.Transport().RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if req.URL.Path == "/device" && resp.StatusCode == 200 && r.edit != nil {
		var answer map[string]json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return nil, err
		}
		for name, text := range r.edit {
			if answer[name] = json.RawMessage(text); text == "" {
				delete(answer, name)
			}
		}
		body, err := json.Marshal(answer)
		if err != nil {
			return nil, err
		}
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	r.bodies.Add(1)
	resp.Body = &deviceBody{resp.Body, &r.bodies}
	return resp, nil
}

type deviceBody struct {
	io.ReadCloser
	open *atomic.Int64
}

func (b *deviceBody) Close() error { b.open.Add(-1); return b.ReadCloser.Close() }

// run signs in, and checks what has to hold however it ends.
func (r *deviceRun) run(ctx context.Context) (*Credentials, error) {
	r.t.Helper()
	creds, err := r.flow.RunDevice(ctx)
	if (creds == nil) == (err == nil) {
		r.t.Errorf("credentials %v and error %v", creds, err)
	}
	if r.bodies.Load() != 0 { // XO37
		r.t.Errorf("%d bodies were not closed", r.bodies.Load())
	}
	before := len(r.Requests())
	time.Sleep(2 * time.Hour)
	if n := len(r.Requests()); n != before || r.Count("/device") > 1 {
		r.t.Errorf("%d requests after the end, %d for a device code", n-before, r.Count("/device"))
	}
	if err != nil && (!strings.HasPrefix(err.Error(), "oauth2: ") || strings.Contains(err.Error(), "dc-")) {
		r.t.Errorf("the error is %v", err)
	}
	prompt := r.prompt.String()
	if unprintable(strings.ReplaceAll(prompt, "\n", "")) || strings.Contains(prompt, "dc-") {
		r.t.Errorf("the prompt is %q", prompt)
	}
	return creds, err
}

func TestDevicePolling(t *testing.T) {
	t.Parallel()
	const pending, slow = "authorization_pending", "slow_down"
	status := func(status int, body string, header ...string) func() (*http.Response, error) {
		return func() (*http.Response, error) { return response(status, body, header...), nil }
	}
	fails := func(err error) func() (*http.Response, error) {
		return func() (*http.Response, error) { return nil, err }
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	tests := []struct {
		name   string
		pace   time.Duration
		script []string // of the server, which also refuses whoever is too fast
		faults []func() (*http.Response, error)
		want   []float64 // when the program asks
	}{
		{name: "at once", want: []float64{5}},                                                       // UP45
		{name: "no interval", script: []string{pending, pending, "ok"}, want: []float64{5, 10, 15}}, // X1
		{
			name:   "interval", // LB2
			pace:   12 * time.Second,
			script: []string{pending, pending, "ok"},
			want:   []float64{12, 24, 36},
		},
		{
			name:   "interval of 1 s",
			pace:   time.Second,
			script: []string{pending, pending, "ok"},
			want:   []float64{1, 2, 3},
		},
		// X1
		{name: "slow_down", script: []string{pending, slow, slow, pending, "ok"}, want: []float64{5, 10, 20, 35, 50}},
		{
			name:   "slow_down with an interval",
			pace:   7 * time.Second,
			script: []string{slow, pending, "ok"},
			want:   []float64{7, 19, 31},
		},
		{
			name: "Google's status codes",
			faults: []func() (*http.Response, error){
				status(428, `{"error":"authorization_pending"}`), status(403, `{"error":"slow_down"}`),
			},
			want: []float64{5, 10, 20},
		},
		{
			name:   "error with status 200", // XO37
			faults: []func() (*http.Response, error){status(200, `{"error":"authorization_pending"}`)},
			want:   []float64{5, 10},
		},
		{
			name:   "one 502", // XO37
			faults: []func() (*http.Response, error){status(502, "<html>", "Content-Type", "text/html")},
			want:   []float64{5, 15},
		},
		{
			name:   "503 until a minute", // X1
			faults: slices.Repeat([]func() (*http.Response, error){status(503, "")}, 6),
			want:   []float64{5, 15, 35, 75, 135, 195, 255},
		},
		{
			name:   "503 with a long interval",
			pace:   2 * time.Minute,
			faults: []func() (*http.Response, error){status(503, ""), status(503, "")},
			want:   []float64{60, 120, 180}, // W51
		},
		{
			name:   "server_error",
			faults: []func() (*http.Response, error){status(400, `{"error":"server_error"}`)},
			want:   []float64{5, 15},
		},
		{
			name:   "Retry-After", // X4
			faults: []func() (*http.Response, error){status(429, "", "Retry-After", "40")},
			want:   []float64{5, 45},
		},
		{
			name:   "connection reset",
			faults: []func() (*http.Response, error){fails(syscall.ECONNRESET), fails(io.ErrUnexpectedEOF)},
			want:   []float64{5, 15, 35},
		},
		{
			name:   "time-out, then pending",
			script: []string{pending, "ok"},
			faults: []func() (*http.Response, error){fails(context.DeadlineExceeded)},
			want:   []float64{5, 15, 25},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newDeviceRun(t)
				r.DevicePace, r.DeviceScript = tt.pace, tt.script
				r.fault = func(poll int) (*http.Response, error) {
					if poll <= len(tt.faults) {
						return tt.faults[poll-1]()
					}
					return nil, nil
				}
				creds, err := r.run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(r.polls, tt.want) {
					t.Errorf("asked after %v, want %v", r.polls, tt.want)
				}
				tok, err := creds.Refresh(t.Context())
				if err != nil || !slices.Equal(tok.Scopes, []string{"openid", "email"}) {
					t.Errorf("refreshing: %v, %v", tok, err)
				}
			})
		})
	}
	t.Run("no connection", func(t *testing.T) { // which the package tries again, since the server has seen nothing
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newDeviceRun(t)
			r.fault = func(int) (*http.Response, error) {
				if time.Since(r.begun) < time.Minute {
					return nil, refused
				}
				return nil, nil
			}
			if _, err := r.run(t.Context()); err != nil || len(r.polls) < 4 || r.polls[len(r.polls)-1] > 90 {
				t.Errorf("asked after %v: %v", r.polls, err)
			}
		})
	})
}

func TestDeviceNumbers(t *testing.T) {
	t.Parallel()
	const bad = -1
	tests := []struct {
		name, text string  // JSON; empty: absent
		interval   float64 // seconds until the first poll, if the number is the interval
		lifetime   float64 // seconds until the end, if it is expires_in
	}{
		{"absent", "", 5, 3600},
		{"null", "null", 5, 3600},
		{"empty", `""`, 5, 3600},
		{"zero", "0", 5, 3600},
		{"integer", "7", 7, 7},
		{"string", `"7"`, 7, 7}, // XO37
		{"fraction", "7.9", 7, 7},
		{"below a second", "0.2", 5, 3600},
		{"exponent", "1e1", 10, 10},
		{"a minute", "60", 60, 60},
		{"an hour", "3600", 60, 3600}, // W51
		{"more than an hour", "3601", 60, 3600},
		{"ten years", "315360000", 60, 3600},                     // W51
		{"more than an int64", "18446744073709551617", 60, 3600}, // X3
		{"more than a float64", "1e400", 60, 3600},               // X3
		{"a duration that overflows", "9223372037", 60, 3600},    // X3
		{"negative", "-1", 5, 3600},                              // X3 XO37: unknown
		{"negative string", `"-1"`, 5, 3600},
		{"negative and huge", "-1e400", 5, 3600},
		{"NaN", `"NaN"`, bad, bad},
		{"Inf", `"Inf"`, bad, bad},
		{"hexadecimal", `"0x10"`, bad, bad},
		{"underscore", `"1_0"`, bad, bad},
		{"word", `"soon"`, bad, bad},
		{"space", `" 7"`, bad, bad},
		{"boolean", "true", bad, bad},
		{"list", "[7]", bad, bad},
		{"object", `{"s":7}`, bad, bad},
	}
	for _, tt := range tests {
		for _, name := range []string{"interval", "expires_in"} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newDeviceRun(t)
					r.edit = map[string]string{name: tt.text}
					want := tt.interval
					if name == "interval" {
						r.edit["expires_in"] = "315360000"
					} else {
						r.edit["interval"] = "60"
						want = tt.lifetime
					}
					word := map[string]string{"interval": "access_denied", "expires_in": "authorization_pending"}[name]
					end := map[string]string{"interval": "access_denied", "expires_in": "expired_token"}[name]
					r.fault = func(int) (*http.Response, error) { return response(400, `{"error":"`+word+`"}`), nil }
					_, err := r.flow.RunDevice(t.Context())
					took := time.Since(r.begun).Seconds()
					e := new(Error)
					switch {
					case want == bad:
						if took != 0 || len(r.polls) > 0 || !strings.Contains(err.Error(), name) || r.prompt.Len() > 0 {
							t.Errorf("after %v s and the polls %v: %v", took, r.polls, err)
						}
					case took != want:
						t.Errorf("after %v s, want %v: %v", took, want, err)
					case !errors.As(err, &e) || e.Code != end:
						t.Error(err)
					}
				})
			})
		}
	}
}

// X3 X4
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{
		"", "0", "5", "-1", "1e9", "1e400", "0x7", "2.5", "NaN", "-0", "Fri, 31 Dec 9999 23:59:59 GMT",
		"18446744073709551616", `"`, "5 5", "+5", "٣",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := waitAsked(s); d < 0 || d > maxRetryAfter {
			t.Errorf("Retry-After %q is %v", s, d)
		}
		text, _ := json.Marshal(s)
		for _, text := range []string{string(text), s} {
			o, err := parseObject([]byte(`{"n":` + text + `}`))
			if err != nil {
				continue
			}
			fields := &fields{object: o}
			d := fields.seconds("n")
			if d < 0 || d > maxLifetime || d%time.Second != 0 || fields.err != nil && d != 0 && d < time.Second {
				t.Errorf("%s is %v, %v", text, d, fields.err)
			}
		}
	})
}

func TestDeviceEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range deviceEndings() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newDeviceRun(t)
				tt.set(r)
				ctx := t.Context()
				if tt.limit > 0 {
					limited, cancel := context.WithTimeout(ctx, tt.limit)
					defer cancel()
					ctx = limited
				}
				_, err := r.flow.RunDevice(ctx)
				if took := time.Since(r.begun).Seconds(); took != tt.after {
					t.Errorf("took %v s, want %v", took, tt.after)
				}
				e := new(Error)
				errors.As(err, &e)
				if err == nil || e.Code != tt.code || !strings.Contains(err.Error(), tt.says) ||
					tt.is != nil && !errors.Is(err, tt.is) || !strings.HasPrefix(err.Error(), "oauth2: ") {
					t.Errorf("%v, want the code %q and %q", err, tt.code, tt.says)
				}
				time.Sleep(2 * time.Hour)
				if len(r.polls) != tt.polls || r.Count("/device") > 1 {
					t.Errorf("polls %v, %d requests for a code", r.polls, r.Count("/device"))
				}
			})
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newDeviceRun(t)
			r.DeviceScript = []string{"authorization_pending"}
			cause := errors.New("the person pressed a key")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(7*time.Second, func() { cancel(cause) })
			_, err := r.flow.RunDevice(ctx)
			if took := time.Since(r.begun); took != 7*time.Second || !errors.Is(err, cause) {
				t.Errorf("after %v: %v", took, err)
			}
		})
	})
	var noContext context.Context
	if _, err := newDeviceRun(t).flow.RunDevice(noContext); err == nil {
		t.Error("a nil context passed")
	}
}

// A deviceEnding is how a sign-in on another device fails, after so many seconds and polls.
type deviceEnding struct {
	name  string
	limit time.Duration // of the context; 0: none
	set   func(*deviceRun)
	is    error
	code  string
	says  string
	after float64 // seconds
	polls int
}

func deviceEndings() []deviceEnding {
	return []deviceEnding{
		{
			name:  "declined",
			set:   scripted("authorization_pending", "access_denied"),
			code:  "access_denied",
			says:  "declined",
			after: 10, polls: 2,
		},
		{
			name:  "expired, says the server",
			set:   scripted("authorization_pending", "expired_token"),
			code:  "expired_token",
			says:  "sign in again",
			after: 10, polls: 2,
		},
		{
			name:  "expired, says the clock", // X1
			set:   livesFor("22"),
			code:  "expired_token",
			says:  "expired; sign in again",
			after: 22, polls: 4,
		},
		{
			name:  "expires before the first poll",
			set:   livesFor("3"),
			code:  "expired_token",
			says:  "expired",
			after: 3,
		},
		{
			name:  "the context's deadline",
			limit: 12 * time.Second,
			set:   livesFor("1800"),
			is:    context.DeadlineExceeded,
			says:  "deadline",
			after: 12, polls: 2,
		},
		{
			name:  "the context's deadline while asking for a code", // XO37
			limit: 50 * time.Millisecond,
			set:   hangsAt("/device"),
			is:    context.DeadlineExceeded,
			after: 0.05,
		},
		{
			name:  "the context's deadline while polling", // XO37
			limit: 5500 * time.Millisecond,
			set:   hangsAt("/token"),
			is:    context.DeadlineExceeded,
			after: 5.5, polls: 1,
		},
		{
			name:  "unknown code",
			set:   pollsGet(400, `{"error":"invalid_grant"}`),
			code:  "invalid_grant",
			after: 5, polls: 1,
		},
		{
			name:  "client refused",
			set:   pollsGet(401, `{"error":"invalid_client"}`),
			code:  "invalid_client",
			says:  "client ID",
			after: 5, polls: 1,
		},
		{name: "unknown error", set: pollsGet(418, `{"error":"teapot"}`), code: "teapot", after: 5, polls: 1},
		{name: "no OAuth error", set: pollsGet(404, "not found"), says: "404", after: 5, polls: 1},
		{name: "neither token nor error", set: pollsGet(200, "{}"), says: "access_token", after: 5, polls: 1},
		{name: "not JSON", set: pollsGet(200, "<html>"), says: "JSON", after: 5, polls: 1},
		{
			name:  "token of another type",
			set:   pollsGet(200, `{"access_token":"at","token_type":"mac"}`),
			says:  "other than Bearer",
			after: 5, polls: 1,
		},
		{
			name: "no client",
			set:  func(r *deviceRun) { r.flow = &InstalledAppFlow{} },
			says: "DeviceAuthURI",
		},
		{name: "no endpoint", set: withClient(func(c *ClientSecrets) { c.DeviceAuthURI = "" }), says: "DeviceAuthURI"},
		{
			name: "endpoint without TLS",
			set:  withClient(func(c *ClientSecrets) { c.DeviceAuthURI = "http://as.example/device" }),
			says: "https",
		},
		{
			name:  "token endpoint without TLS",
			set:   withClient(func(c *ClientSecrets) { c.TokenURI = "http://as.example/token" }),
			says:  "https",
			after: 5,
		},
		{
			name:  "ID token for another client", // F28
			set:   withIDTokenClaims(func(c map[string]any) { c["aud"] = "client-2" }),
			says:  "ID token",
			after: 5, polls: 1,
		},
		{
			name:  "ID token of another issuer", // F28
			set:   withIDTokenClaims(func(c map[string]any) { c["iss"] = "https://x" }),
			says:  "ID token",
			after: 5, polls: 1,
		},
		{
			name:  "expired ID token", // F28
			set:   withIDTokenClaims(func(c map[string]any) { c["exp"] = c["iat"].(int64) - 3600 }),
			says:  "ID token",
			after: 5, polls: 1,
		},
	}
}

func pollsGet(status int, body string) func(*deviceRun) {
	return func(r *deviceRun) {
		r.fault = func(int) (*http.Response, error) { return response(status, body), nil }
	}
}

func hangsAt(path string) func(*deviceRun) {
	return func(r *deviceRun) {
		r.Hook = func(_ http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path == path {
				<-req.Context().Done()
			}
			return false
		}
	}
}

func scripted(words ...string) func(*deviceRun) { return func(r *deviceRun) { r.DeviceScript = words } }

func livesFor(seconds string) func(*deviceRun) {
	return func(r *deviceRun) {
		r.edit = map[string]string{"expires_in": seconds}
		r.DeviceScript = []string{"authorization_pending"}
	}
}

func withClient(change func(c *ClientSecrets)) func(*deviceRun) {
	return func(r *deviceRun) { change(r.flow.client) }
}

func withIDTokenClaims(change func(c map[string]any)) func(*deviceRun) {
	return func(r *deviceRun) { r.IDTokenClaims = change }
}

func TestDeviceAnswerRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, member, value, says string }{
		{"http", "verification_uri", `"http://as.example/activate"`, "http"},            // X2
		{"javascript", "verification_uri", `"javascript:alert(1)"`, "verification_uri"}, // X2
		{"data", "verification_uri", `"data:text/html,x"`, "verification_uri"},
		{"file", "verification_uri", `"file:///etc/passwd"`, "verification_uri"},
		{"an application's scheme", "verification_uri", `"ms-msdt:/id"`, "verification_uri"},
		{"no scheme", "verification_uri", `"//as.example/activate"`, "verification_uri"},
		{"user name", "verification_uri", `"https://as.example@evil.example/"`, "user name"},
		{"escape sequence", "verification_uri", `"https://as.example/\u001b[2J"`, "verification_uri"}, // X2
		{"new line", "verification_uri", `"https://as.example/\nrun this"`, "verification_uri"},
		{"space", "verification_uri", `"https://as.example/ and run this"`, "verification_uri"},
		{"look-alike letter", "verification_uri", `"https://аs.example/activate"`, "verification_uri"}, // Cyrillic
		{"right-to-left override", "verification_uri", `"https://as.example/\u202egro"`, "verification_uri"},
		{"backslash", "verification_uri", `"https://as.example\\@evil.example/"`, "verification_uri"},
		{"not a string", "verification_uri", `7`, "verification_uri"},
		{"no address", "verification_uri", "", "verification_ur"},
		{"Google's name, http", "verification_url", `"http://as.example/activate"`, "verification_url"},
		{"no user code", "user_code", "", "user_code"},
		{"empty user code", "user_code", `""`, "user_code"},
		{"long user code", "user_code", `"` + strings.Repeat("A", 33) + `"`, "user_code"},            // W51
		{"sentence as user code", "user_code", `"Please call 555-1234 now"`, "user_code"},            // W51
		{"user code of five groups", "user_code", `"A-B-C-D-E"`, "user_code"},                        // W51
		{"user code of dashes", "user_code", `"- -"`, "user_code"},                                   // W51
		{"escape sequences in user code", "user_code", `"A\u001b[2J\u001b]0;x\u0007B"`, "user_code"}, // X2
		{"line ends in user code", "user_code", `"A\r\nB"`, "user_code"},
		{"direction of user code", "user_code", `"A\u202eB"`, "user_code"},
		{"long address", "verification_uri", `"https://as.example/` + strings.Repeat("a", 2048) + `"`, "too long"},
		{"long complete address", "verification_uri_complete",
			`"https://as.example/` + strings.Repeat("a", 900<<10) + `"`, "too long"}, // W51
		{"script as complete address", "verification_uri_complete", `"javascript:alert(1)"`, "uri_complete"},
		{"number as user code", "user_code", `123456`, "user_code"},
		{"no device code", "device_code", "", "device_code"},
		{"device code with a line end", "device_code", `"dc-\r\nX"`, "device_code"},
		{"long device code", "device_code", `"` + strings.Repeat("A", maxToken+1) + `"`, "device_code"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newDeviceRun(t)
				r.edit = map[string]string{tt.member: tt.value}
				if tt.member == "verification_url" {
					r.edit["verification_uri"] = ""
				}
				_, err := r.run(t.Context())
				if !errorSays(err, tt.says) || strings.Contains(err.Error(), "evil") || len(r.polls) > 0 ||
					r.prompt.Len() > 0 {
					t.Errorf("%v, after the polls %v; the prompt is %q", err, r.polls, r.prompt.String())
				}
			})
		})
	}
}

func TestDevicePrompt(t *testing.T) {
	t.Parallel()
	const prompt = "To sign in, open this address in a browser on any device:\n\n    %s\n\nand enter the code:\n\n" +
		"    %s\n\n"
	const page = "https://as.example/activate"
	tests := []struct {
		name       string
		google     bool
		edit       map[string]string
		page, code string
		complete   string // the address with the code in it
	}{
		{name: "RFC 8628", page: page, code: "WDJB-MJHT"},
		{name: "Google", google: true, page: page, code: "WDJB-MJHT"}, // UP45
		{
			name:   "both names",
			google: true,
			edit:   map[string]string{"verification_uri": `"https://as.example/right"`},
			page:   "https://as.example/right",
			code:   "WDJB-MJHT",
		},
		{
			name:     "complete address", // W50
			edit:     map[string]string{"verification_uri_complete": `"https://as.example/d?user_code=WDJB-MJHT"`},
			page:     page,
			code:     "WDJB-MJHT",
			complete: "https://as.example/d?user_code=WDJB-MJHT",
		},
		{
			name: "empty complete address",
			edit: map[string]string{"verification_uri_complete": `""`},
			page: page,
			code: "WDJB-MJHT",
		},
		{
			name: "four groups", // W51
			edit: map[string]string{"user_code": `"ABCD EFGH-IJKL-MNOP"`},
			page: page,
			code: "ABCD EFGH-IJKL-MNOP",
		},
		{
			name: "this machine",
			edit: map[string]string{"verification_uri": `"http://127.0.0.1:8000/d"`},
			page: "http://127.0.0.1:8000/d",
			code: "WDJB-MJHT",
		},
		{
			name: "as long as may be",
			edit: map[string]string{"user_code": `"` + strings.Repeat("A", 32) + `"`},
			page: page,
			code: strings.Repeat("A", 32),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newDeviceRun(t)
				r.DeviceGoogle, r.edit = tt.google, tt.edit
				if _, err := r.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf(prompt, tt.page, tt.code) + signedInAs // W55
				if tt.complete != "" {
					want = strings.Replace(want, "and enter", "or this one, which has the code in it, to compare:\n\n    "+
						tt.complete+"\n\nand enter", 1)
				}
				if got := r.prompt.String(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		})
	}
}

func TestDeviceRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newDeviceRun(t)
		r.DeviceScript = []string{"authorization_pending", "ok"}
		r.flow.Params = url.Values{"audience": {"https://api.example"}, "prompt": {"consent"}}
		creds, err := r.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var code string
		for n, req := range r.Requests() {
			want := url.Values{
				"client_id":     {r.ClientID},
				"client_secret": {r.ClientSecret},
				"scope":         {"openid email"},
				"audience":      {"https://api.example"},
			}
			if n > 0 {
				code = req.Form.Get("device_code")
				want = url.Values{
					"client_id":     {r.ClientID},
					"client_secret": {r.ClientSecret},
					"grant_type":    {deviceCodeGrant},
					"device_code":   {code},
					"audience":      {"https://api.example"},
				}
			}
			if got := req.Form; got.Encode() != want.Encode() || len(req.Query) > 0 {
				t.Errorf("request %d is %v, want %v", n, got, want)
			}
		}
		tok, err := creds.Token(t.Context())
		if err != nil || tok.RefreshToken.Reveal() == "" || tok.IDToken.Reveal() == "" {
			t.Errorf("%+v, %v", tok, err)
		}
		// What the server says of the code must not come back in an error.
		r = newDeviceRun(t)
		r.Hook = func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != "/token" {
				return false
			}
			req.ParseForm()
			code = req.PostForm.Get("device_code")
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"no %s here",`+
				`"error_uri":"https://as.example/e"}`, code)
			return true
		}
		_, err = r.run(t.Context())
		noSecret(t, err, code)
		e := new(Error)
		if !errors.As(err, &e) || e.Code != "invalid_grant" || e.Description != "" || e.URI != "https://as.example/e" {
			t.Errorf("%v, with the description %q and the page %q", err, e.Description, e.URI)
		}
	})
}
