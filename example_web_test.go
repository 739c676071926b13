package oauth2_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"example.com/oauth2"
)

// WebApp signs users in. Between its two requests it keeps the sign-in in a cookie that nobody else can read or make,
// so that it needs no session yet and any of its processes can answer.
type WebApp struct {
	client      *oauth2.ClientSecrets
	redirectURI string                  // of callback, as it is registered
	verifier    *oauth2.IDTokenVerifier // keeps the issuer's keys
	seal        cipher.AEAD
}

// NewWebApp makes a WebApp. All its processes need the same key: 32 random bytes, kept like a password.
func NewWebApp(client *oauth2.ClientSecrets, redirectURI string, key []byte) (*WebApp, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	verifier := &oauth2.IDTokenVerifier{Issuer: client.Issuer, Audience: client.ClientID, KeysURI: client.KeysURI}
	return &WebApp{client, redirectURI, verifier, seal}, nil
}

// pending is what the cookie holds.
type pending struct {
	Flow    []byte
	Consent bool // the user is asked again, for a refresh token
}

// Browsers take a cookie of such a name only over https, and from nobody but this host.
const cookieName = "__Host-sign-in"

func (a *WebApp) setCookie(w http.ResponseWriter, value string, maxAge int) {
	// Lax, not Strict: the browser comes back from another site.
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, MaxAge: maxAge, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// Login sends the browser to the authorization server.
func (a *WebApp) Login(w http.ResponseWriter, r *http.Request) {
	p := pending{Consent: r.URL.Query().Get("consent") != ""}
	flow := oauth2.NewFlow(a.client, "openid", "email")
	flow.RedirectURI = a.redirectURI
	if p.Consent {
		flow.Params = map[string][]string{"prompt": {"consent"}}
	}
	authURL, err := flow.AuthorizationURL()
	if err == nil {
		p.Flow, err = flow.Marshal()
	}
	var data []byte
	if err == nil {
		data, err = json.Marshal(p)
	}
	if err != nil {
		log.Print(err) // the client is set up wrongly
		http.Error(w, "Signing in is not possible at the moment.", http.StatusInternalServerError)
		return
	}
	sealed := a.seal.Seal(nil, nil, data, []byte(cookieName))
	a.setCookie(w, base64.RawURLEncoding.EncodeToString(sealed), 600)
	http.Redirect(w, r, authURL, http.StatusFound)
}

// resume returns the sign-in that this browser has begun.
func (a *WebApp) resume(r *http.Request) (flow *oauth2.Flow, p pending, err error) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil, p, err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return nil, p, err
	}
	data, err := a.seal.Open(nil, nil, sealed, []byte(cookieName))
	if err != nil {
		return nil, p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, p, err
	}
	flow, err = oauth2.ResumeFlow(a.client, p.Flow)
	return flow, p, err
}

// Callback is where the authorization server sends the browser back to.
func (a *WebApp) Callback(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Referrer-Policy", "no-referrer") // the code is in this page's URL
	flow, p, err := a.resume(r)
	if err != nil { // the cookie has expired, or the sign-in is over and the page was loaded again
		http.Error(w, "This sign-in has expired. Please sign in again.", http.StatusBadRequest)
		return
	}
	creds, err := flow.FetchTokenFromRedirect(r.Context(), r.URL.String())
	var refused *oauth2.Error
	switch {
	case errors.As(err, &refused): // by the authorization server: the end of this sign-in
		a.setCookie(w, "", -1)
		if refused.Code == "access_denied" {
			http.Error(w, "You have declined. Without your consent there is nothing to do here.", http.StatusForbidden)
			return
		}
		log.Print(err) // has neither tokens nor codes in it
		http.Error(w, "The sign-in failed. Please try again.", http.StatusBadGateway)
		return
	case err != nil: // the redirect of an older tab, or somebody's forgery: the cookie is for another sign-in
		http.Error(w, "A newer sign-in was begun in this browser. Please go on in its tab, or sign in again.",
			http.StatusBadRequest)
		return
	}
	a.setCookie(w, "", -1)
	tok, err := creds.Token(r.Context())
	var person *oauth2.IDToken
	if err == nil {
		// FetchTokenFromRedirect has checked the nonce
		person, err = a.verifier.Verify(r.Context(), tok.IDToken.Reveal())
	}
	if err != nil {
		log.Print(err)
		http.Error(w, "The sign-in failed. Please try again.", http.StatusBadGateway)
		return
	}
	// Google gives a refresh token only the first time. If the one of then is lost, the user has to consent again.
	if tok.RefreshToken.Reveal() == "" && !p.Consent {
		http.Redirect(w, r, "/login?consent=again", http.StatusFound)
		return
	}
	// Here the application stores creds (see Credentials.Save) under person.Subject, which never changes, and begins
	// a session with a cookie of its own.
	fmt.Fprintf(w, "Hello, %s! There is a refresh token: %t.\n", person.Email, tok.RefreshToken.Reveal() != "")
}

// A web application signs users in: two handlers, and the flow in a sealed cookie between them.
func ExampleFlow() {
	provider := oauth2.NewTestServer(nil) // in place of https://accounts.google.com
	defer provider.Close()
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux) // in place of https://app.example.com
	defer server.Close()
	callback := server.URL + "/callback"
	provider.RedirectURIs = []string{callback}

	client := &oauth2.ClientSecrets{
		Type:         "web",
		ClientID:     provider.ClientID,
		ClientSecret: oauth2.NewSecret(provider.ClientSecret),
	}
	if err := client.Discover(context.Background(), provider.URL); err != nil {
		log.Fatal(err)
	}
	key := make([]byte, 32)
	rand.Read(key)
	app, err := NewWebApp(client, callback, key)
	if err != nil {
		log.Fatal(err)
	}
	mux.HandleFunc("GET /login", app.Login)
	mux.HandleFunc("GET /callback", app.Callback)

	// What follows is a browser.
	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	open := func(what, url string, follow func(*http.Request, []*http.Request) error) (next string) {
		browser.CheckRedirect = follow
		resp, err := browser.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		page, _ := io.ReadAll(resp.Body)
		if follow == nil {
			fmt.Printf("%s: %s", what, page)
		}
		return resp.Header.Get("Location")
	}
	open("signing in", server.URL+"/login", nil)

	first := open("a tab", server.URL+"/login", stay)
	second := open("another tab", server.URL+"/login", stay)
	open("the first tab", first, nil)
	open("the second tab", second, nil)
	open("the second tab, loaded again", second, nil)

	provider.Deny = "access_denied"
	open("declining", server.URL+"/login", nil)
	provider.Deny = ""

	provider.Answer = func(_ string, answer map[string]any) { // no refresh token without consent, as at Google
		consents := 0
		for _, r := range provider.Requests() {
			if r.Query.Get("prompt") == "consent" {
				consents++
			}
		}
		if consents == 0 {
			delete(answer, "refresh_token")
		}
	}
	open("when no refresh token comes", server.URL+"/login", nil)

	// Output:
	// signing in: Hello, person@example.com! There is a refresh token: true.
	// the first tab: A newer sign-in was begun in this browser. Please go on in its tab, or sign in again.
	// the second tab: Hello, person@example.com! There is a refresh token: true.
	// the second tab, loaded again: This sign-in has expired. Please sign in again.
	// declining: You have declined. Without your consent there is nothing to do here.
	// when no refresh token comes: Hello, person@example.com! There is a refresh token: true.
}
