package oauth2_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"example.com/oauth2"
)

// Any OpenID provider: its address is enough, and the rest is what it says of itself.
func ExampleClientSecrets_Discover() {
	provider := oauth2.NewTestServer(nil) // in place of https://login.example.com
	defer provider.Close()
	ctx := context.Background()

	client := &oauth2.ClientSecrets{
		ClientID:     provider.ClientID,
		ClientSecret: oauth2.NewSecret(provider.ClientSecret), // empty for a public client
	}
	if err := client.Discover(ctx, provider.URL); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the client authenticates with", client.AuthMethod)

	flow := oauth2.NewInstalledAppFlow(client, "openid", "email", "offline_access")
	flow.OpenBrowser = provider.Browser // a real program leaves this out,
	flow.Prompt = io.Discard            // and this
	creds, err := flow.RunLocalServer(ctx)
	if err != nil {
		log.Fatal(err)
	}
	tok, err := creds.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	verifier := &oauth2.IDTokenVerifier{Issuer: client.Issuer, Audience: client.ClientID, KeysURI: client.KeysURI}
	person, err := verifier.Verify(ctx, tok.IDToken.Reveal())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in as", person.Email)
	// Output:
	// the client authenticates with client_secret_post
	// signed in as person@example.com
}

// OAuth without OpenID, as at GitHub: there is no discovery, no ID token, and, where the token does not expire, neither
// an expiry nor a refresh token.
func ExampleInstalledAppFlow_gitHub() {
	provider := newGitHub()
	defer provider.Close()
	ctx := context.Background()

	client := &oauth2.ClientSecrets{
		ClientID:     provider.ClientID,
		ClientSecret: oauth2.NewSecret(provider.ClientSecret),
		AuthMethod:   "client_secret_post",
		AuthURI:      provider.URL + "/authorize", // https://github.com/login/oauth/authorize
		TokenURI:     provider.URL + "/token",     // https://github.com/login/oauth/access_token
	}
	flow := oauth2.NewInstalledAppFlow(client, "read:user", "repo")
	flow.OpenBrowser = provider.Browser // a real program leaves this out,
	flow.Prompt = io.Discard            // and this
	creds, err := flow.RunLocalServer(ctx)
	if err != nil {
		log.Fatal(err)
	}
	tok, err := creds.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("expires:", !tok.Expiry.IsZero())
	fmt.Println("can be refreshed:", tok.RefreshToken.Reveal() != "")
	// GitHub separates scopes with commas, where the standard has spaces.
	fmt.Println("granted:", strings.Split(strings.Join(tok.Scopes, ","), ","))

	// The token is used until it is refused. Then the user has to sign in again.
	provider.RevokeAll()
	_, err = oauth2.NewClient(creds).Get(provider.URL + "/userinfo")
	if err == nil {
		_, err = creds.Refresh(ctx)
	}
	fmt.Println("sign in again:", errors.Is(err, oauth2.ErrLoginRequired))
	// Output:
	// expires: false
	// can be refreshed: false
	// granted: [read:user repo]
	// sign in again: true
}

// newGitHub returns a server that answers as GitHub does.
func newGitHub() *oauth2.TestServer {
	s := oauth2.NewTestServer(nil)
	s.OmitIss = true
	s.Answer = func(_ string, answer map[string]any) {
		delete(answer, "expires_in")
		delete(answer, "refresh_token")
		answer["token_type"] = "bearer"
		answer["scope"] = strings.ReplaceAll(answer["scope"].(string), " ", ",")
	}
	return s
}

// On a machine without a browser, over SSH or in a container, the user opens the printed URL elsewhere. Their browser
// ends at an address of that other machine, which they paste into the terminal.
func ExampleInstalledAppFlow_headless() {
	provider := oauth2.NewTestServer(nil) // in place of Google
	defer provider.Close()
	client, err := oauth2.ParseClientSecrets(provider.ClientSecretsJSON("installed"))
	if err != nil {
		log.Fatal(err)
	}
	terminal, person := io.Pipe()

	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.Input = terminal // os.Stdin
	// A real program leaves out what follows: who is here opens the URL on a phone, and types what it shows.
	flow.Prompt = io.Discard
	flow.OpenBrowser = func(authURL string) error {
		redirected, err := provider.Authorize(authURL)
		fmt.Fprintln(person, "what am I to paste?")
		fmt.Fprintln(person, redirected)
		return err
	}
	creds, err := flow.RunLocalServer(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	tok, err := creds.Token(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in, granted", tok.Scopes)
	// Output: signed in, granted [openid email]
}

// A device without a browser or a keyboard shows a short address and a code, which the user enters on another one.
// The client must be registered for devices: at Google, as "TVs and Limited Input devices".
func ExampleInstalledAppFlow_RunDevice() {
	client, err := oauth2.ReadClientSecretsFile("client_secrets.json")
	if err != nil {
		log.Fatal(err)
	}
	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.Prompt = os.Stdout
	creds, err := flow.RunDevice(context.Background())
	var refused *oauth2.Error
	switch {
	case errors.As(err, &refused) && refused.Code == "access_denied":
		log.Fatal("declined")
	case err != nil:
		log.Fatal(err)
	}
	if err := creds.Save(context.Background(), oauth2.FileStore("credentials.json")); err != nil {
		log.Fatal(err)
	}
}

// A service account that an administrator has given domain-wide delegation acts on behalf of each user of the domain.
func ExampleServiceAccountCredentials() {
	provider := oauth2.NewTestServer(nil) // in place of Google
	defer provider.Close()
	name, remove := serviceAccountFile(provider)
	defer remove()

	account, err := oauth2.ReadServiceAccountFile(name, "https://www.googleapis.com/auth/calendar.readonly")
	if err != nil {
		log.Fatal(err)
	}
	for _, person := range []string{"ann@example.com", "bob@example.com"} {
		api := oauth2.NewClient(account.WithSubject(person)) // keep one for each user: it caches the token
		resp, err := api.Get(provider.URL + "/userinfo")
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(person, resp.Status)
	}
	// Output:
	// ann@example.com 200 OK
	// bob@example.com 200 OK
}

// A program that runs on a developer's machine and in Google's cloud takes the credentials that it finds there.
func ExampleDefaultCredentials() {
	provider := oauth2.NewTestServer(nil) // in place of Google
	defer provider.Close()
	name, remove := serviceAccountFile(provider)
	defer remove()
	// Whoever runs the program sets these; in the cloud, nobody has to.
	os.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	defer os.Unsetenv("GOOGLE_APPLICATION_CREDENTIALS")
	os.Setenv("GOOGLE_CLOUD_PROJECT", "project-2")
	defer os.Unsetenv("GOOGLE_CLOUD_PROJECT")

	creds, project, err := oauth2.DefaultCredentials(context.Background(),
		"https://www.googleapis.com/auth/devstorage.read_only")
	if err != nil {
		log.Fatal(err)
	}
	resp, err := oauth2.NewClient(creds).Get(provider.URL + "/userinfo")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(project, resp.Status)
	// Output: project-2 200 OK
}

// A server verifies the ID tokens with which users, or other services, call it.
func ExampleIDTokenVerifier() {
	provider := oauth2.NewTestServer(nil) // in place of Google, which is what an empty Issuer and KeysURI mean
	defer provider.Close()
	verifier := &oauth2.IDTokenVerifier{ // one for all requests: it keeps the issuer's keys
		Issuer:   provider.URL,
		KeysURI:  provider.URL + "/keys",
		Audience: provider.ClientID,
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "Sign in first.", http.StatusUnauthorized)
			return
		}
		caller, err := verifier.Verify(r.Context(), raw)
		if err != nil {
			log.Print(err) // has nothing of the token's that is secret
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "Sign in again.", http.StatusUnauthorized)
			return
		}
		if !caller.EmailVerified || caller.Email != "person@example.com" {
			http.Error(w, "This is not for you.", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "Hello, %s!\n", caller.Email)
	})

	log.SetOutput(io.Discard)
	defer log.SetOutput(os.Stderr)
	for _, token := range []string{idToken(provider), "eyJhbGciOiJub25lIn0.e30."} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 Hello, person@example.com!
	// 401 Sign in again.
}

// idToken returns one that the provider has issued.
func idToken(provider *oauth2.TestServer) string {
	client, err := oauth2.ParseClientSecrets(provider.ClientSecretsJSON("installed"))
	if err != nil {
		log.Fatal(err)
	}
	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.OpenBrowser, flow.Prompt = provider.Browser, io.Discard
	creds, err := flow.RunLocalServer(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	tok, err := creds.Token(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	return tok.IDToken.Reveal()
}

// serviceAccountFile makes the key file of an account that the provider knows, as Google's console offers it.
func serviceAccountFile(provider *oauth2.TestServer) (name string, remove func()) {
	dir, err := os.MkdirTemp("", "oauth2")
	if err != nil {
		log.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	provider.AssertionKey = &key.PublicKey
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		log.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{
		"type":           "service_account",
		"project_id":     "project-1",
		"private_key_id": "key-1",
		"client_email":   "robot@project-1.example",
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":      provider.URL + "/token",
	})
	if err != nil {
		log.Fatal(err)
	}
	name = filepath.Join(dir, "service-account.json")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		log.Fatal(err)
	}
	return name, func() { os.RemoveAll(dir) }
}
