package ecosystem

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/oauth2"
)

// An issuer is an authorization server that counts what it is asked, and whose refresh tokens serve once.
type issuer struct {
	client *oauth2.ClientSecrets

	mu      sync.Mutex // guards what follows
	asked   int        // token requests
	used    int        // requests of APIs with the token
	token   string     // the last one
	refresh string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{refresh: rand.Text()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", i.answer)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	i.client = &oauth2.ClientSecrets{
		ClientID:     "app",
		ClientSecret: oauth2.NewSecret("a secret"),
		TokenURI:     s.URL + "/token",
	}
	return i
}

func (i *issuer) answer(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	w.Header().Set("Content-Type", "application/json")
	id, secret, _ := r.BasicAuth()
	answer := map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": rand.Text()}
	switch {
	case id != "app" || secret != "a+secret":
		w.WriteHeader(http.StatusUnauthorized)
		answer = map[string]any{"error": "invalid_client"}
	case r.PostFormValue("grant_type") == "client_credentials":
		i.token = answer["access_token"].(string)
	case r.PostFormValue("refresh_token") != i.refresh:
		w.WriteHeader(http.StatusBadRequest)
		answer = map[string]any{"error": "invalid_grant"}
	default:
		i.token, i.refresh = answer["access_token"].(string), rand.Text()
		answer["refresh_token"] = i.refresh
	}
	json.NewEncoder(w).Encode(answer)
}

// credentials returns the credentials of a user who has signed in.
func (i *issuer) credentials() *oauth2.Credentials {
	return oauth2.NewCredentials(i.client, oauth2.NewSecret(i.refresh))
}

// accepts reports whether the token of authorization, as in a header, is the one that was issued.
func (i *issuer) accepts(authorization string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.token == "" || authorization != "Bearer "+i.token {
		return false
	}
	i.used++
	return true
}

// wantOnce fails the test unless one token request has served at least calls requests of APIs.
func (i *issuer) wantOnce(t *testing.T, calls int) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	t.Logf("%d requests with a token, %d token request", i.used, i.asked)
	if i.asked != 1 || i.used < calls {
		t.Errorf("%d token requests and %d calls, want 1 and at least %d", i.asked, i.used, calls)
	}
}

// guard is api for those who have the token.
func (i *issuer) guard(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !i.accepts(r.Header.Get("Authorization")) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// says answers with text, as JSON unless it is something else.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(text, "{") {
			w.Header().Set("Content-Type", "application/json")
		}
		fmt.Fprint(w, text)
	}
}

// cloud makes each https request of a test end at api, whatever its host, so that clients run as they are, with
// the addresses that they have. No test that calls it is parallel.
func cloud(t *testing.T, api http.Handler) {
	t.Helper()
	// Clients that look for credentials of the environment find at once that there are none.
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", t.TempDir()+"/none")
	certificate, roots := newCertificate(t, "*.googleapis.com", "*.vault.azure.net")
	s := httptest.NewUnstartedServer(api)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.StartTLS()
	t.Cleanup(s.Close)
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	transport := before.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}
	t.Cleanup(transport.CloseIdleConnections)
	http.DefaultTransport = transport
}

// newCertificate returns a certificate for names and 127.0.0.1, and a pool that trusts it.
func newCertificate(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// pemOf returns a certificate and its key as files have them.
func pemOf(t *testing.T, c tls.Certificate) (certificate, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// wantLogin fails the test unless err says through all layers of a client that the user must sign in again.
func wantLogin(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, oauth2.ErrLoginRequired) {
		t.Errorf("without a sign-in: %v", err)
	}
}

// signedOut returns credentials that no longer work.
func signedOut(t *testing.T) *oauth2.Credentials {
	t.Helper()
	return oauth2.NewCredentials(newIssuer(t).client, oauth2.NewSecret("old"))
}
