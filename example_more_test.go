package oauth2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"example.com/oauth2"
)

// Any OpenID provider: its address is enough, and the rest is what it says of itself.
func ExampleClientSecrets_Discover() {
	issuer, secret, browser, done := exampleIssuer() // such as https://login.example.com
	defer done()
	ctx := context.Background()

	client := &oauth2.ClientSecrets{
		ClientID:     "client-1.example",
		ClientSecret: secret, // empty for a public client
	}
	if err := client.Discover(ctx, issuer); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the client authenticates with", client.AuthMethod)

	flow := oauth2.NewInstalledAppFlow(client, "openid", "email", "offline_access")
	flow.OpenBrowser = browser // a real program leaves this out,
	flow.Prompt = io.Discard   // and this
	creds, err := flow.RunLocalServer(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in as", creds.IDToken().Email)
	// Output:
	// the client authenticates with client_secret_post
	// signed in as person@example.com
}

// OAuth without OpenID, as at GitHub. There is no discovery and no ID token. Where the token does not expire, there is
// neither an expiry nor a refresh token.
func ExampleInstalledAppFlow_gitHub() {
	site, secret, browser, remove, done := exampleGitHub() // https://github.com/login/oauth, and its user
	defer done()
	ctx := context.Background()

	client := &oauth2.ClientSecrets{
		ClientID:     "client-1.example",
		ClientSecret: secret,
		AuthMethod:   "client_secret_post",
		AuthURI:      site + "/authorize",
		TokenURI:     site + "/token", // at GitHub, it ends in /access_token
	}
	flow := oauth2.NewInstalledAppFlow(client, "read:user", "repo")
	flow.OpenBrowser = browser // a real program leaves this out,
	flow.Prompt = io.Discard   // and this
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
	fmt.Printf("granted: %q\n", tok.Scopes)

	// The token is used until it is refused. Then the user has to sign in again.
	remove()
	resp, err := oauth2.NewClient(creds).Get(site + "/userinfo") // at GitHub, https://api.github.com/user
	if err == nil {
		resp.Body.Close()
		fmt.Println(resp.Status)
		_, err = creds.Refresh(ctx)
	}
	fmt.Println("sign in again:", errors.Is(err, oauth2.ErrLoginRequired))
	// Output:
	// expires: false
	// can be refreshed: false
	// granted: ["read:user" "repo"]
	// 401 Unauthorized
	// sign in again: true
}

// On a machine without a browser, over SSH or in a container, the user opens the printed URL elsewhere. Their browser
// ends at an address of that other machine, which they paste into the terminal.
func ExampleInstalledAppFlow_headless() {
	client, terminal, browser, done := exampleTerminal() // the user pastes into it
	defer done()
	ctx := context.Background()

	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.Input = terminal      // os.Stdin
	flow.OpenBrowser = browser // a real program leaves this out,
	flow.Prompt = io.Discard   // and this
	creds, err := flow.RunLocalServer(ctx)
	if err != nil {
		log.Fatal(err)
	}
	tok, err := creds.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in, granted", tok.Scopes)
	// Output: signed in, granted [openid email]
}

// A device without a browser or a keyboard shows a short address and a code, which the user enters on another one.
// The client must be registered for devices: at Google, as "TVs and Limited Input devices".
func ExampleInstalledAppFlow_RunDevice() {
	ctx := context.Background()
	client, err := oauth2.ReadClientSecretsFile("client_secrets.json")
	if err != nil {
		log.Fatal(err)
	}
	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.Prompt = os.Stdout
	flow.Store = oauth2.FileStore("credentials.json")
	creds, err := flow.RunDevice(ctx)
	if err != nil {
		log.Fatal(err) // if the user declined, or was too slow, the error says so
	}
	fmt.Println("signed in as", creds.IDToken().Email)
}

// What a device shows is data: the address goes into a QR code, for a telephone to open, and the user code below it, for
// the user to compare. With ShowDeviceCode, SignIn signs the user in on another device, and only if nothing is stored
// that serves. A graphical program hands the code to its event loop, and closes the window when SignIn returns.
func ExampleInstalledAppFlow_showDeviceCode() {
	ctx := context.Background()
	client, err := oauth2.ReadClientSecretsFile("client_secrets.json")
	if err != nil {
		log.Fatal(err)
	}
	drawQR := func(text string) string { return text } // a library of your choice
	window := make(chan string, 1)                     // to the event loop of a graphical program

	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.Store = oauth2.FileStore("credentials.json")
	flow.ShowDeviceCode = func(code oauth2.DeviceCode) {
		address := code.VerificationURIComplete
		if address == "" { // then the user has to enter the code
			address = code.VerificationURI
		}
		window <- fmt.Sprintf("%s\n\nOpen %s, and enter or compare the code %s until %s.",
			drawQR(address), code.VerificationURI, code.UserCode, code.Expiry.Format(time.Kitchen))
	}
	creds, err := flow.SignIn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	close(window)
	fmt.Println(oauth2.NewClient(creds).Get("https://openidconnect.googleapis.com/v1/userinfo"))
}

// A service account that an administrator has given domain-wide delegation acts on behalf of each user of the domain.
func ExampleServiceAccountCredentials() {
	file, api, done := exampleKeyFile() // from Google's console
	defer done()

	account, err := oauth2.ReadServiceAccountFile(file, "https://www.googleapis.com/auth/calendar.readonly")
	if err != nil {
		log.Fatal(err)
	}
	for _, user := range []string{"ann@example.com", "bob@example.com"} {
		calendar := oauth2.NewClient(account.WithSubject(user)) // keep one for each user: it caches the token
		resp, err := calendar.Get(api)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(user, resp.Status)
	}
	// Output:
	// ann@example.com 200 OK
	// bob@example.com 200 OK
}

// A program that runs on a developer's machine and in Google's cloud takes the credentials that it finds there.
func ExampleDefaultCredentials() {
	api, done := exampleEnvironment() // GOOGLE_APPLICATION_CREDENTIALS; in the cloud, nothing has to be set
	defer done()

	creds, project, err := oauth2.DefaultCredentials(context.Background(),
		"https://www.googleapis.com/auth/devstorage.read_only")
	if err != nil {
		log.Fatal(err)
	}
	resp, err := oauth2.NewClient(creds).Get(api)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(project, resp.Status)
	// Output: project-2 200 OK
}

// GitHub Actions call a service at Google without a key. The workflow has the permission "id-token: write", and
// the step google-github-actions/auth, which writes the file that GOOGLE_APPLICATION_CREDENTIALS names. GitHub's token
// for the job is exchanged for one of Google's, and that for one of the service account.
func ExampleExternalAccountCredentials() {
	github, done := exampleActions() // sets the environment; plays GitHub's and Google's hosts
	defer done()

	ctx := context.Background()
	src, _, err := oauth2.DefaultCredentials(ctx, "https://www.googleapis.com/auth/devstorage.read_only")
	if err != nil {
		log.Fatal(err)
	}
	creds, ok := src.(*oauth2.ExternalAccountCredentials)
	if !ok {
		log.Fatalf("the environment has %T", src)
	}
	creds.HTTPClient = github // not needed at GitHub

	// An API takes the access token, and Cloud Run an ID token.
	call := func(url string, src oauth2.TokenSource) {
		client := &http.Client{Transport: &oauth2.Transport{Source: src, Base: github.Transport}}
		resp, err := client.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(url, resp.Status)
	}
	call("https://storage.googleapis.com/storage/v1/b/bucket", creds)
	call("https://service.example/", creds.IDTokenSource("https://service.example"))
	// Output:
	// https://storage.googleapis.com/storage/v1/b/bucket 200 OK
	// https://service.example/ 200 OK
}

// A service calls another one at Cloud Run, with what the machine, a key or an impersonation gives it.
func ExampleDefaultIDTokenSource() {
	service, done := exampleCloudRun()
	defer done()

	src, err := oauth2.DefaultIDTokenSource(context.Background(), service)
	if err != nil {
		log.Fatal(err) // a user's own credentials have no such tokens, for one
	}
	resp, err := oauth2.NewClient(src).Get(service)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// A server verifies the ID tokens with which users, or other services, call it.
func ExampleIDTokenVerifier() {
	issuer, idToken, done := exampleIDToken() // a provider, and a token of a user
	defer done()

	verifier := &oauth2.IDTokenVerifier{ // one for all requests: it keeps the issuer's keys
		Issuer:   issuer,             // leave these out
		KeysURI:  issuer + "/keys",   // for Google
		Audience: "client-1.example", // never leave this out
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "Sign in first.", http.StatusUnauthorized)
			return
		}
		caller, err := verifier.Verify(r.Context(), raw)
		if err != nil { // it may be logged: it has nothing secret of the token
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

	for _, token := range []string{idToken, "eyJhbGciOiJub25lIn0.e30."} {
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

// Google's Identity-Aware Proxy adds a header to each request, which says who the user is. A request that did not come
// through the proxy could have such a header too, so the server verifies it.
func ExampleIDTokenVerifier_identityAwareProxy() {
	assertion, google := exampleIAP() // what the proxy adds to a request, and its keys
	verifier := &oauth2.IDTokenVerifier{
		Issuer:  "https://cloud.google.com/iap",
		KeysURI: "https://www.gstatic.com/iap/verify/public_key-jwk",
		// That of the backend service, as the console shows it. For App Engine, it is
		// "/projects/PROJECT_NUMBER/apps/PROJECT_ID".
		Audience:   "/projects/123456789012/global/backendServices/1234567890123456789",
		HTTPClient: google, // a real program leaves this out
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := verifier.Verify(r.Context(), r.Header.Get("X-Goog-IAP-JWT-Assertion"))
		if err != nil {
			http.Error(w, "Come through the proxy.", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "Hello, %s!\n", user.Email)
	})

	for _, header := range []string{assertion, ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Goog-IAP-JWT-Assertion", header)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 Hello, person@example.com!
	// 403 Come through the proxy.
}
