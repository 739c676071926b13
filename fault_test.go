package oauth2

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A fault is what goes wrong at the token endpoint, each time or the first time only: the dial fails, the connection
// breaks (accept), or the answer to a request is at fault.
type fault struct {
	dial   func(ctx context.Context) error
	accept func(c *faultConn)
	answer func(c *faultConn)
	h2     bool // accept speaks HTTP/2, and stays for the second attempt
}

// A faultServer is at the other end of every connection that its transport dials. All of it is in memory.
type faultServer struct {
	fault    fault
	ok       bool // from the second attempt on, there is no fault
	dials    atomic.Int32
	requests atomic.Int32
	running  sync.WaitGroup
}

// seen returns the number of attempts that the server got to see.
func (s *faultServer) seen() int { return int(max(s.dials.Load(), s.requests.Load())) }

func (s *faultServer) good() bool { return s.ok && s.seen() > 1 }

func (s *faultServer) dialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	s.dials.Add(1)
	if s.fault.dial != nil && !s.good() {
		return nil, s.fault.dial(ctx)
	}
	near, far := net.Pipe()
	end := &faultEnd{Conn: near}
	s.running.Go(func() { s.serve(&faultConn{Conn: far, r: bufio.NewReader(far), end: end, addr: addr, s: s}) })
	return end, nil
}

func (s *faultServer) serve(c *faultConn) {
	defer c.Close()
	if s.fault.accept != nil && (s.fault.h2 || !s.good()) {
		s.fault.accept(c)
		return
	}
	if strings.HasSuffix(c.addr, ":443") {
		c.startTLS(certificates().good)
	}
	for c.request() {
		if s.fault.answer != nil && !s.good() {
			s.fault.answer(c)
		} else {
			c.send(200, "Content-Type: application/json", tokenAnswer)
		}
	}
}

// A faultConn is the server's end of a connection.
type faultConn struct {
	net.Conn
	r    *bufio.Reader
	end  *faultEnd
	addr string
	s    *faultServer
	body string // of the last request
	h2   func(kind, flags byte, stream uint32, payload string)
}

// A faultEnd is the client's end; it can report errors of a kernel.
type faultEnd struct {
	net.Conn
	err atomic.Pointer[error]
}

func (e *faultEnd) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	return n, e.kernel(err)
}

func (e *faultEnd) Write(b []byte) (int, error) {
	n, err := e.Conn.Write(b)
	return n, e.kernel(err)
}

func (e *faultEnd) kernel(err error) error {
	if p := e.err.Load(); p != nil && err != nil {
		return *p
	}
	return err
}

// request reads the next request.
func (c *faultConn) request() bool {
	req, err := http.ReadRequest(c.r)
	if err != nil {
		return false
	}
	if req.Method == "CONNECT" { // c is the proxy
		if c.s.fault.answer != nil && !c.s.good() {
			c.s.fault.answer(c)
			return false
		}
		c.raw("HTTP/1.1 200 OK\r\n\r\n")
		return c.startTLS(certificates().good) && c.request()
	}
	body, err := io.ReadAll(req.Body)
	c.body = string(body)
	c.s.requests.Add(1)
	return err == nil
}

// echo is what the request said, with its encoding and without.
func (c *faultConn) echo() string {
	form, _ := url.ParseQuery(c.body)
	var text strings.Builder
	text.WriteString(c.body)
	for _, v := range form {
		text.WriteString(" " + v[0])
	}
	return text.String()
}

func (c *faultConn) raw(parts ...string) {
	for _, s := range parts {
		if _, err := io.WriteString(c.Conn, s); err != nil {
			return
		}
	}
}

// send sends a complete answer.
func (c *faultConn) send(status int, header, body string) {
	if header != "" {
		header += "\r\n"
	}
	c.raw(fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\n\r\n", status,
		strings.NewReplacer("\n", "", "\r", "").Replace(c.echo()), header, len(body)), body)
}

// slow sends s with a byte a second.
func (c *faultConn) slow(s string) {
	for _, b := range []byte(s) {
		time.Sleep(time.Second) // in a bubble
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
	}
}

// hang waits for the client to give up.
func (c *faultConn) hang() { io.Copy(io.Discard, c.r) }

// reset ends the connection as a RST does.
func (c *faultConn) reset() {
	err := error(&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET})
	c.end.err.Store(&err)
	c.Close()
}

func (c *faultConn) startTLS(cert tls.Certificate) bool {
	conn := tls.Server(c.Conn, &tls.Config{Certificates: []tls.Certificate{cert}})
	c.Conn, c.r = conn, bufio.NewReader(conn)
	return conn.Handshake() == nil
}

// faultH2 speaks HTTP/2, just enough to break it.
func faultH2(react func(c *faultConn, stream uint32)) func(c *faultConn) {
	return func(c *faultConn) {
		io.ReadFull(c.r, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
		out := make(chan []byte, 64) // so that both ends may write at once
		done := make(chan bool)
		go func() {
			defer close(done)
			for b := range out {
				c.Write(b)
			}
		}()
		defer func() { close(out); c.Close(); <-done }()
		frame := func(kind, flags byte, stream uint32, payload string) {
			h := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, 0}
			binary.BigEndian.PutUint32(h[5:], stream)
			out <- append(h, payload...)
		}
		frame(4, 0, 0, "")
		for {
			h := make([]byte, 9)
			if _, err := io.ReadFull(c.r, h); err != nil {
				return
			}
			payload := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
			if _, err := io.ReadFull(c.r, payload); err != nil {
				return
			}
			switch stream := binary.BigEndian.Uint32(h[5:]); {
			case h[3] == 4 && h[4] == 0:
				frame(4, 1, 0, "")
			case h[3] == 0 && h[4]&1 == 1: // the request is complete
				c.body = string(payload)
				c.s.requests.Add(1)
				if c.s.good() {
					frame(1, 4, stream, "\x88") // :status: 200
					frame(0, 1, stream, tokenAnswer)
				} else {
					c.h2 = frame
					react(c, stream)
				}
			}
		}
	}
}

func h2Reset(code byte) func(c *faultConn, stream uint32) {
	return func(c *faultConn, stream uint32) { c.h2(3, 0, stream, "\x00\x00\x00"+string(rune(code))) }
}

func h2GoAway(c *faultConn, _ uint32) {
	c.h2(7, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"+c.echo())
	c.hang()
}

// A faultRow is one line of the fault matrix: what goes wrong, how many attempts each grant makes at most, and what
// the error says in the end.
type faultRow struct {
	name          string
	fault         fault
	code, refresh int  // attempts; 0: one
	succeeds      bool // it is no fault

	status    int
	errCode   string
	temporary bool
	login     bool // a refresh finds ErrLoginRequired
	is        []error
	as        func(err error) bool
	text      string // in the error

	each      time.Duration // that an attempt takes
	wait      time.Duration // exactly, between two; 0: with jitter
	url       string        // of the endpoint, if not http://127.0.0.1/token
	transport func(t *http.Transport)
	warm      bool // the connection has served a request before
}

func faultAnswer(status int, header, body string) fault {
	return fault{answer: func(c *faultConn) { c.send(status, header, strings.ReplaceAll(body, "ECHO", c.echo())) }}
}

func faultRaw(parts ...string) fault {
	return fault{answer: func(c *faultConn) {
		for _, s := range parts {
			c.raw(strings.ReplaceAll(s, "ECHO", c.echo()))
		}
		c.Close()
	}}
}

func faultDial(err error) fault {
	return fault{dial: func(context.Context) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }}
}

// faultError is an OAuth error that repeats what was asked.
func faultError(code string) string {
	return `{"error":"` + code + `","error_description":"not this: ECHOED","error_uri":"https://as.example/?ECHOED"}`
}

// faultOAuth answers with an error whose texts repeat the request.
func faultOAuth(status int, header, code string) fault {
	return fault{answer: func(c *faultConn) {
		quoted := fmt.Sprintf("%q", c.echo()) // no controls, so that it is JSON too
		c.send(status, header, strings.ReplaceAll(faultError(code), "ECHOED", quoted[1:len(quoted)-1]))
	}}
}

// gzipBomb returns size bytes of spaces and an answer, compressed.
func gzipBomb(size int) string {
	pack := func(r io.Reader) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.Copy(w, r)
		w.Close()
		return b.String()
	}
	return strings.Repeat(pack(io.LimitReader(endlessSpaces{}, 1<<20)), size>>20) + pack(strings.NewReader(tokenAnswer))
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func isDNS(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e)
}

func isCertificate(err error) bool {
	var e *tls.CertificateVerificationError
	return errors.As(err, &e)
}

func h2Transport(t *http.Transport) {
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
}

func faultProxy(t *http.Transport) {
	t.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:3128",
		User: url.UserPassword("user", canaryAccessToken)})
}

func faultTLS(cert func(all *testCertificates) tls.Certificate) fault {
	return fault{accept: func(c *faultConn) {
		if c.startTLS(cert(certificates())) {
			c.request()
		}
	}}
}

const (
	faultHTTPS = "https://as.example/token"
	faultJSON  = "Content-Type: application/json"
	faultHead  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
)

// XO11 XO13 XO26 XO27 CA5 PY12 UP29 UP30 UP31 T6 T11 T13 B9 S6
func faultRows() []faultRow {
	return slices.Concat(faultsOfDialing(), faultsOfConnections(), faultsOfAnswers(), faultsOfStatuses())
}

func faultsOfDialing() []faultRow {
	return []faultRow{
		{name: "M1 refused", code: 3, refresh: 3, temporary: true, is: []error{syscall.ECONNREFUSED},
			fault: faultDial(syscall.ECONNREFUSED)},
		{name: "M2 no such host", as: isDNS,
			fault: faultDial(&net.DNSError{Err: "no such host", Name: "as.example", IsNotFound: true})},
		{name: "M3 DNS timeout", code: 3, refresh: 3, temporary: true, as: isTimeout,
			fault: faultDial(&net.DNSError{Err: "timeout", Name: "as.example", IsTimeout: true})},
		{name: "M3 SERVFAIL", code: 3, refresh: 3, temporary: true, as: isDNS,
			fault: faultDial(&net.DNSError{Err: "server misbehaving", Name: "as.example", IsTemporary: true})},
		{name: "M4 dial timeout", code: 3, refresh: 3, temporary: true, as: isTimeout, each: dialTimeout,
			fault: fault{dial: func(ctx context.Context) error {
				time.Sleep(dialTimeout) // in a bubble
				return &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
			}}},
		{name: "M5 no route", code: 3, refresh: 3, temporary: true, is: []error{syscall.ENETUNREACH},
			fault: faultDial(syscall.ENETUNREACH)},
		{name: "M6 unknown CA", url: faultHTTPS, as: isCertificate, text: "certificate",
			fault: faultTLS(func(all *testCertificates) tls.Certificate { return all.unknownCA })},
		{name: "M6 wrong host", url: faultHTTPS, as: isCertificate, text: "certificate",
			fault: faultTLS(func(all *testCertificates) tls.Certificate { return all.wrongHost })},
		{name: "M6 expired", url: faultHTTPS, as: isCertificate, text: "expired",
			fault: faultTLS(func(all *testCertificates) tls.Certificate { return all.expired })},
		{name: "M7 handshake cut", url: faultHTTPS, refresh: 3, temporary: true, is: []error{io.EOF},
			fault: fault{accept: func(c *faultConn) {
				c.r.Peek(1)
				c.r.Discard(c.r.Buffered())
			}}},
		{name: "M7 handshake silent", url: faultHTTPS, refresh: 3, temporary: true, as: isTimeout, each: dialTimeout,
			fault: fault{accept: (*faultConn).hang}},
		{name: "M7 handshake alert", url: faultHTTPS, refresh: 3, temporary: true,
			text: "the connection failed: remote error",
			fault: fault{accept: func(c *faultConn) {
				c.r.Peek(1)
				c.r.Discard(c.r.Buffered())
				c.raw("\x15\x03\x03\x00\x02\x02\x28")
				c.hang()
			}}},
		{name: "M8 plain http on the port", url: faultHTTPS,
			as: func(err error) bool { return errors.As(err, new(tls.RecordHeaderError)) },
			fault: fault{accept: func(c *faultConn) {
				c.r.Peek(1)
				c.raw("HTTP/1.1 400 Bad Request\r\n\r\n")
				c.hang()
			}}},
		{name: "M9 proxy 502", url: faultHTTPS, transport: faultProxy, refresh: 3, temporary: true, text: "HTTP client",
			fault: faultRaw("HTTP/1.1 502 Bad Gateway ", canaryAccessToken, "\r\n\r\n")},
		{name: "M9 proxy 407", url: faultHTTPS, transport: faultProxy, refresh: 3, temporary: true,
			text:  "HTTP client",
			fault: faultRaw("HTTP/1.1 407 Not with ", canaryAccessToken, "\r\n\r\n")},
	}
}

func faultsOfConnections() []faultRow {
	return []faultRow{
		{name: "M10 reset at once", refresh: 3, temporary: true, is: []error{syscall.ECONNRESET},
			fault: fault{accept: (*faultConn).reset}},
		{name: "M11 idle connection closed", warm: true, refresh: 3, temporary: true, is: []error{io.EOF},
			fault: fault{answer: func(c *faultConn) { c.Close() }}},
		{name: "M12 EOF", refresh: 3, temporary: true, is: []error{io.EOF},
			fault: fault{answer: func(c *faultConn) { c.Close() }}},
		{name: "M12 reset", refresh: 3, temporary: true, is: []error{syscall.ECONNRESET},
			fault: fault{answer: (*faultConn).reset}},
		{name: "M13 no answer", refresh: 3, temporary: true, as: isTimeout, is: []error{context.DeadlineExceeded},
			each:  headerTimeout,
			fault: fault{answer: (*faultConn).hang}},
		{name: "M13 no answer, caller's transport", refresh: 3, temporary: true, as: isTimeout,
			is: []error{context.DeadlineExceeded}, each: attemptTimeout,
			transport: func(t *http.Transport) { t.ResponseHeaderTimeout = 0 },
			fault:     fault{answer: (*faultConn).hang}},
		{name: "M14 slow header", refresh: 3, temporary: true, as: isTimeout, each: headerTimeout,
			fault: fault{answer: func(c *faultConn) { c.slow(faultHead) }}},
		{name: "M15 slow body", refresh: 3, temporary: true, as: isTimeout, is: []error{context.DeadlineExceeded},
			each: attemptTimeout,
			fault: fault{answer: func(c *faultConn) {
				c.raw(faultHead, "Content-Length: 100\r\n\r\n")
				c.slow(tokenAnswer)
			}}},
		{name: "M16 body cut", refresh: 3, temporary: true, is: []error{io.ErrUnexpectedEOF},
			fault: faultRaw(faultHead, "Content-Length: 500\r\n\r\n", tokenAnswer)},
		{name: "M17 chunks cut", refresh: 3, temporary: true, is: []error{io.ErrUnexpectedEOF},
			fault: faultRaw(faultHead, "Transfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("%x\r\n", len(tokenAnswer)),
				tokenAnswer, "\r\n")},
		{name: "M18 JSON cut", status: 200, text: "not valid JSON",
			fault: faultAnswer(200, faultJSON, tokenAnswer[:len(tokenAnswer)-1])},
		{name: "M19 bad gzip", refresh: 3, temporary: true, text: "malformed", is: []error{gzip.ErrHeader},
			fault: faultAnswer(200, "Content-Encoding: gzip", tokenAnswer)},
		{name: "M20 large", status: 200, text: "larger than 1 MiB",
			fault: faultAnswer(200, faultJSON, strings.Repeat(" ", maxBody)+tokenAnswer)},
		{name: "M20 gzip bomb T10", status: 200, text: "larger than 1 MiB",
			fault: faultAnswer(200, "Content-Encoding: gzip", gzipBomb(16<<20))},
		{name: "M21 large header", refresh: 3, temporary: true, text: "malformed",
			fault: faultRaw("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", maxHeader), "\r\n\r\n", tokenAnswer)},
		{name: "M22 not HTTP", refresh: 3, temporary: true, text: "malformed",
			fault: faultRaw("SSH-2.0-ECHO\x1b[2J\r\n")},
		{name: "M22 bad header line", refresh: 3, temporary: true, text: "malformed",
			fault: faultRaw("HTTP/1.1 200 OK\r\nECHO\r\n\r\n")},
		{name: "M23 two lengths", refresh: 3, temporary: true, text: "malformed",
			fault: faultRaw(faultHead, "Content-Length: 61\r\nContent-Length: 62\r\n\r\n", tokenAnswer)},
		{name: "M23 negative length", refresh: 3, temporary: true, text: "malformed",
			fault: faultRaw(faultHead, "Content-Length: -1\r\n\r\n", tokenAnswer)},
		{name: "M24 many 1xx", succeeds: true,
			fault: faultRaw("HTTP/1.1 100 Continue\r\n\r\n",
				strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 200), faultHead,
				"Connection: close\r\n\r\n", tokenAnswer)},
		{name: "M24 endless 1xx", refresh: 3, temporary: true, text: "malformed", fault: fault{answer: func(c *faultConn) {
			for _, err := c.Write(nil); err == nil; {
				_, err = io.WriteString(c.Conn, "HTTP/1.1 103 Early Hints\r\nLink: <ECHO>\r\n\r\n")
			}
		}}},
		{name: "M25 switching protocols", status: 101, fault: fault{answer: func(c *faultConn) {
			c.raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", tokenAnswer)
			c.hang()
		}}},
	}
}

func faultsOfAnswers() []faultRow {
	return []faultRow{
		{name: "M26 ok", succeeds: true, fault: faultAnswer(200, faultJSON, tokenAnswer)},
		{name: "M26 created PY12", succeeds: true, fault: faultAnswer(201, faultJSON, tokenAnswer)},
		{name: "M27 error in 200", status: 200, errCode: "invalid_grant", login: true,
			fault: faultAnswer(200, faultJSON, `{"error":"invalid_grant","access_token":"x"}`)},
		{name: "M28 HTML in 200", status: 200, text: "captive portal",
			fault: faultAnswer(200, "Content-Type: text/html; charset=utf-8", "<html>ECHO</html>")},
		{name: "M29 no content", status: 204, text: "empty", fault: faultRaw("HTTP/1.1 204 No Content\r\n\r\n")},
		{name: "M29 empty", status: 200, text: "empty", fault: faultAnswer(200, faultJSON, "")},
		{name: "M31 invalid_grant", status: 400, errCode: "invalid_grant", login: true,
			fault: faultOAuth(400, faultJSON, "invalid_grant")},
		{name: "M33 invalid_client", status: 401, errCode: "invalid_client", text: "client secret",
			fault: faultOAuth(401, "WWW-Authenticate: Basic realm=x\r\n"+faultJSON, "invalid_client")},
		{name: "M34 internal_failure in the description", status: 400, errCode: "x", refresh: 3, temporary: true,
			fault: faultAnswer(400, faultJSON, `{"error":"x","error_description":"internal_failure"}`)},
		{name: "M35 forbidden", status: 403, text: "captive portal, proxy or firewall",
			fault: faultAnswer(403, "Content-Type: text/html", "<h1>ECHO</h1>")},
		{name: "M38 seconds", status: 429, refresh: 3, temporary: true, wait: 7 * time.Second,
			fault: faultAnswer(429, "Retry-After: 7", "ECHO")},
		{name: "M38 date", status: 429, refresh: 3, temporary: true, wait: 9 * time.Second,
			fault: fault{answer: func(c *faultConn) {
				c.send(429, "Retry-After: "+time.Now().Add(9*time.Second).UTC().Format(http.TimeFormat), "")
			}}},
		{name: "M38 garbage", status: 429, refresh: 3, temporary: true,
			fault: faultAnswer(429, "Retry-After: soon", "ECHO")},
		{name: "M38 huge", status: 429, refresh: 1, temporary: true, wait: maxRetryAfter,
			fault: faultAnswer(429, "Retry-After: 999999999", "ECHO")},
		{name: "M42 with Retry-After XO13", status: 503, errCode: "overloaded", refresh: 3, temporary: true,
			wait:  4 * time.Second,
			fault: faultOAuth(503, "Retry-After: 4\r\n"+faultJSON, "overloaded")},
		{name: "M44 GOAWAY", transport: h2Transport, refresh: 3, temporary: true,
			fault: fault{h2: true, accept: faultH2(h2GoAway)}},
		{name: "M45 REFUSED_STREAM", transport: h2Transport, refresh: 3, temporary: true,
			fault: fault{h2: true, accept: faultH2(h2Reset(7))}},
		{name: "M46 INTERNAL_ERROR", transport: h2Transport, refresh: 3, temporary: true,
			fault: fault{h2: true, accept: faultH2(h2Reset(2))}},
		{name: "M46 CANCEL", transport: h2Transport, refresh: 3, temporary: true,
			fault: fault{h2: true, accept: faultH2(h2Reset(8))}},
		{name: "M46 PROTOCOL_ERROR T7", transport: h2Transport, refresh: 3, temporary: true,
			fault: fault{h2: true, accept: faultH2(h2Reset(1))}},
	}
}

func faultsOfStatuses() (rows []faultRow) {
	// M30
	for _, n := range []int{300, 301, 302, 303, 305, 307, 308} {
		rows = append(rows, faultRow{name: fmt.Sprint("M30 ", n), status: n, text: "redirect",
			fault: faultAnswer(n, "Location: http://127.0.0.2/?ECHO", "")})
	}
	// M32
	for _, code := range []string{"invalid_request", "invalid_scope", "unsupported_grant_type", "unauthorized_client"} {
		rows = append(rows, faultRow{name: "M32 " + code, status: 400, errCode: code,
			fault: faultOAuth(400, faultJSON, code)})
	}
	// M34
	for _, code := range []string{"temporarily_unavailable", "server_error", "internal_failure"} {
		rows = append(rows, faultRow{name: "M34 " + code, status: 400, errCode: code, refresh: 3, temporary: true,
			fault: faultOAuth(400, faultJSON, code)})
	}
	for status, id := range map[int]string{
		404: "M36", 405: "M36", 410: "M36", 501: "M40", 505: "M40", 599: "M43", 999: "M43",
	} {
		rows = append(rows, faultRow{name: fmt.Sprint(id, " ", status), status: status,
			fault: faultAnswer(status, "Content-Type: text/plain", "ECHO")})
	}
	for status, id := range map[int]string{408: "M37", 500: "M39", 502: "M41", 504: "M41", 503: "M42"} {
		rows = append(rows, faultRow{name: fmt.Sprint(id, " ", status), status: status, refresh: 3, temporary: true,
			fault: faultAnswer(status, "Content-Type: text/html", "ECHO")})
	}
	return rows
}

// The whole matrix, without sockets and in no time.
func TestFaults(t *testing.T) {
	t.Parallel()
	certificates()
	for _, row := range faultRows() {
		for _, grant := range []string{"code", "refresh"} {
			t.Run(row.name+"/"+grant, func(t *testing.T) {
				t.Parallel()
				attempts := max(1, row.refresh)
				if grant == "code" {
					attempts = max(1, row.code)
				}
				synctest.Test(t, func(t *testing.T) { row.run(t, grant, attempts, false) })
				if attempts > 1 {
					synctest.Test(t, func(t *testing.T) { row.run(t, grant, 2, true) })
				}
			})
		}
	}
}

// run runs a row in a bubble, whose end shows that no goroutine is left.
func (row *faultRow) run(t *testing.T, grant string, attempts int, ok bool) {
	s := &faultServer{}
	transport := defaultClient.Transport.(*http.Transport).Clone()
	transport.Proxy, transport.DialContext, transport.TLSClientConfig = nil, s.dialContext,
		&tls.Config{RootCAs: certificates().roots}
	if row.transport != nil {
		row.transport(transport)
	}
	defer s.running.Wait()
	defer transport.CloseIdleConnections()
	client := clientOver(transport)
	client.TokenURI = cmp.Or(row.url, "http://127.0.0.1/token")
	if row.warm {
		if _, err := NewCredentials(client, NewSecret(canaryRefreshToken)).Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.dials.Store(0)
		s.requests.Store(0)
	}
	s.fault, s.ok = row.fault, ok
	creds := NewCredentials(client, NewSecret(canaryRefreshToken))
	start := time.Now()
	var err error
	if grant == "code" {
		if creds, err = startedFlow(t, client).FetchToken(t.Context(), canaryCode); err != nil && creds != nil {
			t.Error("there are credentials in spite of the error")
		}
	} else {
		_, err = creds.Refresh(t.Context())
	}
	took := time.Since(start)
	if n := s.seen(); n != attempts {
		t.Errorf("the server saw %d attempts, want %d", n, attempts)
	}
	longest := time.Duration(attempts) * row.each
	if row.wait > 0 && took != longest+time.Duration(attempts-1)*row.wait || took < longest-row.each ||
		row.wait == 0 && took >
			longest+[]time.Duration{0, 0, 500 * time.Millisecond, 1500 * time.Millisecond}[attempts] {
		t.Errorf("it took %v", took)
	}
	if creds != nil {
		if kept := creds.cache.current.Load().RefreshToken.Reveal(); grant == "refresh" && kept != canaryRefreshToken {
			t.Errorf("the refresh token is now %q", kept)
		}
	}
	if ok || row.succeeds {
		if err != nil {
			t.Fatal(err)
		}
		if tok, err := creds.Token(t.Context()); err != nil || tok.AccessToken.Reveal() != "at-1" {
			t.Errorf("got %v, %v", tok, err)
		}
		return
	}
	row.check(t, err, grant)
}

func (row *faultRow) check(t *testing.T, err error, grant string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want an *Error", err, err)
	}
	if e.StatusCode != row.status || e.Code != row.errCode || e.Temporary() != row.temporary ||
		e.RetryAfter != row.wait {
		t.Errorf("status %d, code %q, temporary %v, retry after %v: %v", e.StatusCode, e.Code, e.Temporary(),
			e.RetryAfter, err)
	}
	if login := errors.Is(err, ErrLoginRequired); login != (row.login && grant == "refresh") {
		t.Errorf("ErrLoginRequired: %v", login)
	}
	for _, target := range row.is {
		if !errors.Is(err, target) {
			t.Errorf("%v is not %v", err, target)
		}
	}
	if row.as != nil && !row.as(err) {
		t.Errorf("the cause of %v can't be found", err)
	}
	op := map[string]string{"code": "exchanging the code", "refresh": "refreshing the token"}[grant]
	if !strings.HasPrefix(err.Error(), "oauth2: "+op+": ") || !strings.Contains(err.Error(), row.text) {
		t.Errorf("message: %v", err)
	}
	if unprintable(err.Error()) {
		t.Errorf("not printable: %q", err)
	}
	noSecret(t, err, canaries...)
	checkHoldsNoRequest(t, reflect.ValueOf(err), map[any]bool{})
}

// A context that ends while a code is exchanged is found in the error; a refresh goes on without its caller.
//
// M48 UP31
func TestCancelled(t *testing.T) {
	t.Parallel()
	late := func(c *faultConn) { time.Sleep(8 * time.Second); c.send(200, faultJSON, tokenAnswer) } // in a bubble
	for _, row := range []struct {
		name  string
		after time.Duration
		fault fault
	}{
		{"before", 0, fault{}},
		{"dial", 5 * time.Second, fault{dial: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}},
		{"handshake", 5 * time.Second, fault{accept: (*faultConn).hang}},
		{"request", 5 * time.Second, fault{accept: func(c *faultConn) { time.Sleep(time.Minute) }}}, // in a bubble
		{"header", 5 * time.Second, fault{answer: late}},
		{"body", 5 * time.Second, fault{answer: func(c *faultConn) {
			c.raw(faultHead, "Content-Length: 100\r\n\r\n")
			c.slow(tokenAnswer)
		}}},
		{"between two dials", time.Nanosecond, faultDial(syscall.ECONNREFUSED)},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			certificates()
			synctest.Test(t, func(t *testing.T) {
				s := &faultServer{fault: row.fault}
				defer s.running.Wait()
				c := clientOver(&http.Transport{DialContext: s.dialContext,
					TLSClientConfig: &tls.Config{RootCAs: certificates().roots}})
				if row.name != "handshake" {
					c.TokenURI = "http://127.0.0.1/token"
				}
				defer c.HTTPClient.CloseIdleConnections()
				ctx, cancel := context.WithCancel(t.Context())
				if row.after == 0 {
					cancel()
				}
				time.AfterFunc(row.after, cancel)
				start := time.Now()
				_, err := startedFlow(t, c).FetchToken(ctx, canaryCode)
				if !errors.Is(err, context.Canceled) || time.Since(start) != row.after || s.seen() > 1 {
					t.Errorf("%v after %v and %d attempts", err, time.Since(start), s.seen())
				}
				noSecret(t, err, canaries...)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &faultServer{fault: fault{answer: late}}
		defer s.running.Wait()
		c := clientOver(&http.Transport{DialContext: s.dialContext})
		c.TokenURI = "http://127.0.0.1/token"
		defer c.HTTPClient.CloseIdleConnections()
		creds := NewCredentials(c, NewSecret(canaryRefreshToken))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := creds.Refresh(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if tok, err := creds.Token(t.Context()); err != nil || tok.AccessToken.Reveal() != "at-1" || s.seen() != 1 ||
			time.Since(start) != 8*time.Second {
			t.Errorf("%v, %v after %v and %d attempts", tok, err, time.Since(start), s.seen())
		}
	})
}

// The last answer's refresh token is the one that counts, and no two requests overlap. // M50 PY12
func TestRefreshTokensInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int32
		n := 0
		rec := &requestRecorder{}
		rec.answer = func(req *http.Request) (*http.Response, error) {
			if running.Add(1) > 1 {
				t.Error("two requests at once")
			}
			defer running.Add(-1)
			time.Sleep(time.Second) // in a bubble
			n++
			return answering(200, "", fmt.Sprintf(`{"access_token":"at-%d","refresh_token":"rt-%d"}`, n, n))(req)
		}
		creds := NewCredentials(clientOver(rec), NewSecret("rt-0"))
		for range 3 {
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() { creds.Refresh(t.Context()) })
			}
			all.Wait()
		}
		for i, body := range rec.bodies {
			if form, _ := url.ParseQuery(body); form.Get("refresh_token") != fmt.Sprint("rt-", i) {
				t.Errorf("request %d has %q", i, form.Get("refresh_token"))
			}
		}
		kept := creds.cache.current.Load()
		if len(rec.bodies) != 3 || kept.RefreshToken.Reveal() != "rt-3" || kept.AccessToken.Reveal() != "at-3" {
			t.Errorf("%d requests", len(rec.bodies))
		}
	})
}

// The client that is used by default has the limits that Go's has not. // T13 XO12 UP31
func TestDefaultClientLimits(t *testing.T) {
	t.Parallel()
	certificates()
	head := "HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(tokenAnswer)) + "\r\nX: "
	large := head + strings.Repeat("x", maxHeader-len(head)-4)
	for _, row := range []faultRow{
		{name: "header bytes", succeeds: true, fault: faultRaw(large, "\r\n\r\n", tokenAnswer)},
		{name: "header bytes + 1", text: "malformed", refresh: 3, temporary: true,
			fault: faultRaw(large, "x\r\n\r\n", tokenAnswer)},
		{name: "header time", succeeds: true, each: headerTimeout - 1, fault: fault{answer: func(c *faultConn) {
			time.Sleep(headerTimeout - 1) // in a bubble
			c.send(200, faultJSON, tokenAnswer)
		}}},
		{name: "attempt time", succeeds: true, each: attemptTimeout - 1, fault: fault{answer: func(c *faultConn) {
			c.raw(faultHead, "Content-Length: ", fmt.Sprint(len(tokenAnswer)), "\r\n\r\n")
			time.Sleep(attemptTimeout - 1) // in a bubble
			c.raw(tokenAnswer)
		}}},
		{name: "handshake time", succeeds: true, url: faultHTTPS, each: dialTimeout - 1,
			fault: fault{accept: func(c *faultConn) {
				time.Sleep(dialTimeout - 1) // in a bubble
				if c.startTLS(certificates().good) && c.request() {
					c.send(200, faultJSON, tokenAnswer)
				}
			}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { row.run(t, "refresh", max(1, row.refresh), false) })
		})
	}
	for name, ok := range map[string]bool{
		"1 MiB": maxBody == 1<<20, "64 KiB": maxHeader == 64<<10, "32": maxDepth == 32,
		"16 KiB": maxToken == 16<<10 && maxJWT == 16<<10, "8 KiB": maxCode == 8<<10,
		"1 KiB": maxErrorText == 1<<10, "10 years": maxLifetime == 3650*24*time.Hour,
		"5 minutes": maxRetryAfter == 5*time.Minute,
		"30 s":      attemptTimeout == 30*time.Second, "10 s": dialTimeout == 10*time.Second,
		"20 s": headerTimeout == 20*time.Second, "3 attempts": maxAttempts == 3,
		"3 s": metadataTimeout == 3*time.Second,
	} {
		if !ok {
			t.Errorf("the limit %s is another", name)
		}
	}
}
