package oauth2_test

import (
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
	"net/url"

	"example.com/oauth2"
)

// WebApp signs users in. Between its two requests it keeps the sign-in in a cookie that nobody else can read or make.
// So it needs no session yet, and any of its processes can answer.
type WebApp struct {
	// FormPost is for providers that answer with a form, such as Sign in with Apple.
	FormPost bool

	client *oauth2.ClientSecrets
	seal   cipher.AEAD
}

// NewWebApp makes a WebApp. All its processes need the same key: 32 random bytes, kept like a password.
func NewWebApp(client *oauth2.ClientSecrets, key []byte) (*WebApp, error) {
	if client.Issuer == "" || len(client.RedirectURIs) == 0 {
		return nil, errors.New("the client needs an Issuer, which says who the users are, and a redirect URI")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &WebApp{client: client, seal: seal}, nil
}

// pending is what the cookie holds.
type pending struct {
	Flow    []byte
	Consent bool // the user is asked again, for a refresh token
}

// Browsers take a cookie of such a name only over https, and from nobody but this host.
const cookieName = "__Host-sign-in"

func (a *WebApp) setCookie(w http.ResponseWriter, value string, maxAge int) {
	sameSite := http.SameSiteLaxMode // not Strict: the browser comes back from another site
	if a.FormPost {
		sameSite = http.SameSiteNoneMode // a form of another site gets no other cookie
	}
	http.SetCookie(w, &http.Cookie{
		Name:     cookieName,
		Value:    value,
		MaxAge:   maxAge,
		Path:     "/",
		Secure:   true,
		HttpOnly: true,
		SameSite: sameSite,
	})
}

// Login sends the browser to the authorization server.
func (a *WebApp) Login(w http.ResponseWriter, r *http.Request) {
	p := pending{Consent: r.URL.Query().Get("consent") != ""}
	flow := oauth2.NewFlow(a.client, "openid", "email")
	flow.RedirectURI = a.client.RedirectURIs[0]
	flow.Params = url.Values{}
	if p.Consent {
		flow.Params.Set("prompt", "consent")
	}
	if a.FormPost {
		flow.Params.Set("response_mode", "form_post")
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
	a.finish(w, r, r.URL.String())
}

// CallbackForm is where the browser posts the form with which some authorization servers answer.
func (a *WebApp) CallbackForm(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 32<<10))
	if err != nil {
		http.Error(w, "The form is too large, or was cut.", http.StatusBadRequest)
		return
	}
	a.finish(w, r, "?"+string(body)) // a form is written like a query
}

// finish completes the sign-in with what the authorization server answered.
func (a *WebApp) finish(w http.ResponseWriter, r *http.Request, redirected string) {
	w.Header().Set("Referrer-Policy", "no-referrer") // the code is in this page's URL
	flow, p, err := a.resume(r)
	if err != nil { // the cookie has expired, or the sign-in is over and the page was loaded again
		http.Error(w, "This sign-in has expired. Please sign in again.", http.StatusBadRequest)
		return
	}
	creds, err := flow.FetchTokenFromRedirect(r.Context(), redirected)
	var refused *oauth2.Error
	switch {
	case errors.As(err, &refused): // by the authorization server: the end of this sign-in
		a.setCookie(w, "", -1)
		switch refused.Code {
		case "access_denied", "user_cancelled_authorize": // the latter at Apple
			http.Error(w, "You have declined. Without your consent there is nothing to do here.", http.StatusForbidden)
		default:
			log.Print(err) // has neither tokens nor codes in it
			http.Error(w, "The sign-in failed. Please try again.", http.StatusBadGateway)
		}
		return
	case err != nil: // the redirect of an older tab, or somebody's forgery: the cookie is for another sign-in
		http.Error(w, "A newer sign-in was begun in this browser. Please go on in its tab, or sign in again.",
			http.StatusBadRequest)
		return
	}
	a.setCookie(w, "", -1)
	tok, err := creds.Token(r.Context())
	if err != nil {
		log.Print(err)
		http.Error(w, "The sign-in failed. Please try again.", http.StatusBadGateway)
		return
	}
	// Google gives a refresh token only the first time. If the one of then is lost, the user has to consent again.
	if tok.RefreshToken.Reveal() == "" && !p.Consent {
		http.Redirect(w, r, "/login?consent=again", http.StatusSeeOther)
		return
	}
	// Here the application stores creds (see Credentials.Save) under user.Subject, which never changes, and begins a
	// session with a cookie of its own.
	user := creds.IDToken() // the sign-in has checked it
	fmt.Fprintf(w, "Hello, %s! There is a refresh token: %t.\n", user.Email, tok.RefreshToken.Reveal() != "")
}

// A web application signs users in: two handlers, and the flow in a sealed cookie between them.
func ExampleFlow() {
	mux := http.NewServeMux()
	client, visit, done := exampleSite(mux) // https://app.example.com, its client, and its users
	defer done()

	key := make([]byte, 32)
	rand.Read(key) // where there are several processes, a secret that they share
	app, err := NewWebApp(client, key)
	if err != nil {
		log.Fatal(err)
	}
	mux.HandleFunc("GET /login", app.Login)
	mux.HandleFunc("GET /callback", app.Callback)
	mux.HandleFunc("POST /callback", app.CallbackForm)

	visit("signing in")
	visit("signing in, in two tabs")
	visit("signing in, without a refresh token at first")
	visit("declining")
	app.FormPost = true
	visit("signing in at Apple")
	visit("declining at Apple")

	// Output:
	// signing in: Hello, person@example.com! There is a refresh token: true.
	// the first tab: A newer sign-in was begun in this browser. Please go on in its tab, or sign in again.
	// the second tab: Hello, person@example.com! There is a refresh token: true.
	// the second tab, loaded again: This sign-in has expired. Please sign in again.
	// signing in, without a refresh token at first: Hello, person@example.com! There is a refresh token: true.
	// declining: You have declined. Without your consent there is nothing to do here.
	// signing in at Apple: Hello, person@example.com! There is a refresh token: true.
	// declining at Apple: You have declined. Without your consent there is nothing to do here.
}
