package oauth2_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"example.com/oauth2"
)

// A command-line program signs the person in the first time it runs, and from then on reads what it stored.
func ExampleInstalledAppFlow() {
	provider := oauth2.NewTestServer(nil) // in place of Google
	defer provider.Close()
	dir := exampleFolder(provider)
	defer os.RemoveAll(dir)

	ctx := context.Background()
	client, err := oauth2.ReadClientSecretsFile(filepath.Join(dir, "client_secrets.json"))
	if err != nil {
		log.Fatal(err)
	}
	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.Store = oauth2.FileStore(filepath.Join(dir, "credentials.json"))
	flow.OpenBrowser = provider.Browser // a program for people leaves this out,
	flow.Prompt = io.Discard            // and this
	creds, err := flow.Credentials(ctx)
	if err != nil {
		log.Fatal(err)
	}

	resp, err := oauth2.NewClient(creds).Get(provider.URL + "/userinfo")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var person struct{ Email string }
	if err := json.NewDecoder(resp.Body).Decode(&person); err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in as", person.Email)
	// Output: signed in as person@example.com
}

// A web application signs a person in with two handlers. Between them the attempt is in a cookie that only the
// application can read.
func ExampleFlow() {
	provider := oauth2.NewTestServer(nil) // in place of Google
	defer provider.Close()
	app := httptest.NewUnstartedServer(nil)
	app.StartTLS()
	defer app.Close()
	provider.RedirectURIs = []string{app.URL + "/callback"}

	client := &oauth2.ClientSecrets{
		Type:         "web",
		ClientID:     provider.ClientID,
		ClientSecret: oauth2.NewSecret(provider.ClientSecret),
		AuthMethod:   "client_secret_post",
	}
	if err := client.Discover(context.Background(), provider.URL); err != nil {
		log.Fatal(err)
	}

	const cookie = "__Host-sign-in"
	seal, open := exampleSealer()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		flow := oauth2.NewFlow(client, "openid", "email")
		flow.RedirectURI = app.URL + "/callback"
		authURL, err := flow.AuthorizationURL()
		if err != nil {
			log.Print(err)
			http.Error(w, "Signing in is not possible now.", http.StatusInternalServerError)
			return
		}
		attempt, err := flow.Marshal()
		if err != nil {
			log.Print(err)
			http.Error(w, "Signing in is not possible now.", http.StatusInternalServerError)
			return
		}
		// Lax, since the person comes back from another site.
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: seal(attempt), Path: "/", MaxAge: 600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, authURL, http.StatusFound)
	})
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: cookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}) // an attempt is resumed once
		sealed, err := r.Cookie(cookie)
		if err != nil {
			http.Error(w, "Begin at /login, in this browser.", http.StatusBadRequest)
			return
		}
		attempt, err := open(sealed.Value)
		if err != nil {
			http.Error(w, "Begin again at /login.", http.StatusBadRequest)
			return
		}
		flow, err := oauth2.ResumeFlow(client, attempt)
		if err != nil {
			http.Error(w, "Begin again at /login.", http.StatusBadRequest)
			return
		}
		creds, err := flow.FetchTokenFromRedirect(r.Context(), r.URL.String())
		if err != nil {
			log.Print(err)
			http.Error(w, "You are not signed in. Begin again at /login.", http.StatusForbidden)
			return
		}
		token, err := creds.Token(r.Context()) // and here the session begins; creds.Save keeps the credentials
		if err != nil {
			log.Print(err)
			http.Error(w, "You are not signed in. Begin again at /login.", http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, "signed in, granted", token.Scopes)
	})
	app.Config.Handler = mux

	browser := app.Client()
	browser.Jar, _ = cookiejar.New(nil)
	resp, err := browser.Get(app.URL + "/login")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(os.Stdout, resp.Body)
	// Output: signed in, granted [openid email]
}

// A program that keeps refresh tokens itself, one a user, calls an API for one of them.
func ExampleNewClient() {
	provider := oauth2.NewTestServer(nil) // in place of Google
	defer provider.Close()
	client, err := oauth2.ParseClientSecrets(provider.ClientSecretsJSON("web"))
	if err != nil {
		log.Fatal(err)
	}
	refreshToken := oauth2.NewSecret(provider.IssueRefreshToken("email")) // from the program's database

	api := oauth2.NewClient(oauth2.NewCredentials(client, refreshToken))
	for range 3 { // one refresh for all requests of the hour
		resp, err := api.Get(provider.URL + "/userinfo")
		if err != nil {
			log.Fatal(err) // errors.Is(err, oauth2.ErrLoginRequired): this user has to sign in again
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	fmt.Println("token requests:", provider.TokenRequests("refresh_token"))
	// Output:
	// 200 OK
	// 200 OK
	// 200 OK
	// token requests: 1
}

// A Transport with Hosts sends the token to these hosts only, whatever URL a program is made to ask for.
func ExampleTransport() {
	provider := oauth2.NewTestServer(nil) // in place of Google
	defer provider.Close()
	client, err := oauth2.ParseClientSecrets(provider.ClientSecretsJSON("web"))
	if err != nil {
		log.Fatal(err)
	}
	creds := oauth2.NewCredentials(client, oauth2.NewSecret(provider.IssueRefreshToken("email")))

	api := &http.Client{
		Timeout: 30 * time.Second,
		Transport: &oauth2.Transport{
			Source: creds,
			Hosts:  []string{"127.0.0.1", ".googleapis.com"}, // 127.0.0.1 is the provider of this example
		},
	}
	for _, url := range []string{provider.URL + "/userinfo", "https://files.example.net/"} {
		resp, err := api.Get(url)
		if err != nil {
			fmt.Println(err)
			continue
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	// Output:
	// 200 OK
	// Get "https://files.example.net/": oauth2: "files.example.net" is not among the hosts that may get a token
}

// exampleFolder makes a folder with a client_secrets.json, as the console of the provider offers it for download.
func exampleFolder(provider *oauth2.TestServer) string {
	dir, err := os.MkdirTemp("", "oauth2")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "client_secrets.json"), provider.ClientSecretsJSON("installed"), 0o600)
	}
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

// exampleSealer encrypts and authenticates the values of cookies. The key of an application that has several machines, or
// outlives its restarts, is stored.
func exampleSealer() (seal func([]byte) string, open func(string) ([]byte, error)) {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		log.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		log.Fatal(err)
	}
	seal = func(data []byte) string { return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, data, nil)) }
	open = func(s string) ([]byte, error) {
		data, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return nil, err
		}
		return aead.Open(nil, nil, data, nil)
	}
	return seal, open
}
