package ecosystem

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/client"

	"example.com/oauth2"
)

// Dovecot asks an authorization server about each token (RFC 7662).
const dovecotConf = `
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
auth_mechanisms = xoauth2
auth_failure_delay = 0
mail_location = maildir:~/mail
first_valid_uid = 1
service anvil {
  unix_listener anvil-auth-penalty { # which makes those wait whose sign-in failed
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = PORT
    ssl = yes
  }
}
passdb {
  driver = oauth2
  mechanisms = xoauth2
  args = DIR/oauth2.conf.ext
}
userdb {
  driver = static
  args = uid=dovecot gid=dovecot home=DIR/home/%u
}
`

const dovecotOAuth2Conf = `
introspection_mode = post
introspection_url = ISSUER/introspect
force_introspection = yes
username_attribute = username
active_attribute = active
active_value = true
`

// introspection says to whom the token of i belongs: to ada.
func introspection(t *testing.T, i *issuer) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := map[string]any{"active": false}
		if i.accepts("Bearer " + r.PostFormValue("token")) {
			answer = map[string]any{"active": true, "username": "ada"}
		}
		json.NewEncoder(w).Encode(answer)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// dovecot starts a Dovecot of the test's own, and returns its address and who vouches for it.
func dovecot(t *testing.T, issuer string) (address string, roots *x509.CertPool) {
	t.Helper()
	// The path of a socket is short, and Dovecot's processes run as users of their own.
	dir, err := os.MkdirTemp("", "dovecot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	certificate, roots := newCertificate(t)
	cert, key := pemOf(t, certificate)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close() // Dovecot takes the port
	_, port, _ := net.SplitHostPort(address)
	values := strings.NewReplacer("DIR", dir, "PORT", port, "ISSUER", issuer)
	for name, text := range map[string]string{
		"cert.pem":        string(cert),
		"key.pem":         string(key),
		"dovecot.conf":    values.Replace(dovecotConf),
		"oauth2.conf.ext": values.Replace(dovecotOAuth2Conf),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"": 0o755, "home": 0o777} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	server := exec.Command("dovecot", "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	server.Stdout, server.Stderr = os.Stderr, os.Stderr
	start(t, server)
	t.Cleanup(func() {
		if log, _ := os.ReadFile(filepath.Join(dir, "log")); t.Failed() {
			t.Logf("Dovecot says:\n%s", log)
		}
	})
	eventually(t, "Dovecot", func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return address, roots
}

// start starts a program that ends with the test.
func start(t *testing.T, program *exec.Cmd) {
	t.Helper()
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		program.Process.Signal(syscall.SIGTERM)
		program.Wait()
	})
}

// eventually waits until a server is ready.
func eventually(t *testing.T, name string, ready func() error) {
	t.Helper()
	var err error
	for range 200 {
		if err = ready(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s did not start: %v", name, err)
}

// A user reads mail with XOAUTH2; nobody does with another token, nor as another user.
func TestIMAP(t *testing.T) {
	i := newIssuer(t)
	address, roots := dovecot(t, introspection(t, i))
	signIn := func(user string, token oauth2.Secret) error {
		c, err := client.DialTLS(address, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Logout()
		if ok, err := c.Support("AUTH=XOAUTH2"); err != nil || !ok {
			t.Fatalf("no XOAUTH2: %v", err)
		}
		if err := c.Authenticate(xoauth2Client{user, token}); err != nil {
			return err
		}
		mailbox, err := c.Select("INBOX", true)
		if err == nil && mailbox.Name != "INBOX" {
			err = fmt.Errorf("mailbox %q", mailbox.Name)
		}
		return err
	}
	creds := i.credentials()
	for range 3 {
		tok, err := creds.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := signIn("ada", tok.AccessToken); err != nil {
			t.Errorf("the right token: %v", err)
		}
	}
	i.wantOnce(t, 3)

	tok, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another token": signIn("ada", oauth2.NewSecret("wrong")),
		"another user":  signIn("bob", tok.AccessToken),
	} {
		if err == nil || !strings.Contains(err.Error(), "Authentication failed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
