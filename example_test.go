package oauth2_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/oauth2"
)

// A command-line program signs the user in the first time it runs. From then on it reads what it stored.
func ExampleInstalledAppFlow() {
	dir, api, browser, done := exampleFolder() // the program's folder, with the file from the provider's console
	defer done()

	ctx := context.Background()
	client, err := oauth2.ReadClientSecretsFile(filepath.Join(dir, "client_secrets.json"))
	if err != nil {
		log.Fatal(err)
	}
	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.Store = oauth2.FileStore(filepath.Join(dir, "credentials.json"))
	flow.OpenBrowser = browser // a real program leaves this out,
	flow.Prompt = io.Discard   // and this
	creds, err := flow.SignIn(ctx)
	if err != nil {
		log.Fatal(err)
	}

	resp, err := oauth2.NewClient(creds).Get(api)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var user struct{ Email string }
	if err := json.NewDecoder(resp.Body).Decode(&user); err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in as", user.Email)
	// Output: signed in as person@example.com
}

// A program that keeps refresh tokens itself, one for each user, calls an API for one of them.
func ExampleNewClient() {
	client, refreshToken, api, done := exampleUser() // the program's client, and a user from its database
	defer done()

	google := oauth2.NewClient(oauth2.NewCredentials(client, refreshToken))
	for range 3 { // one refresh for all requests of the hour
		resp, err := google.Get(api)
		if err != nil {
			log.Fatal(err) // errors.Is(err, oauth2.ErrLoginRequired): this user has to sign in again
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	// Output:
	// 200 OK
	// 200 OK
	// 200 OK
}

// A Transport with Hosts sends the token to these hosts only, whatever URL a program is made to ask for.
func ExampleTransport() {
	client, refreshToken, api, done := exampleUser() // the program's client, and a user from its database
	defer done()

	google := &http.Client{
		Timeout: 30 * time.Second,
		Transport: &oauth2.Transport{
			Source: oauth2.NewCredentials(client, refreshToken),
			Hosts:  []string{"127.0.0.1", ".googleapis.com"}, // 127.0.0.1 is the API of this example
		},
	}
	for _, url := range []string{api, "https://files.example.net/"} {
		resp, err := google.Get(url)
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

// The functions from here on stand for what is around a program: a provider with an API, a user with a browser, files.
// Each provider is a server on this machine, which done closes.

func exampleCheck(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// exampleFolder returns a new folder with a client_secrets.json, the URL of an API, and the browser of a user who
// consents to everything.
func exampleFolder() (dir, api string, browser func(url string) error, done func()) {
	provider := oauth2.NewTestServer(nil)
	dir, err := os.MkdirTemp("", "oauth2")
	exampleCheck(err)
	name := filepath.Join(dir, "client_secrets.json")
	exampleCheck(os.WriteFile(name, provider.ClientSecretsJSON("installed"), 0o600))
	return dir, provider.URL + "/userinfo", provider.Browser, func() {
		provider.Close()
		os.RemoveAll(dir)
	}
}

// exampleUser returns a client, the refresh token of a user who has signed in with it, and the URL of an API.
func exampleUser() (client *oauth2.ClientSecrets, refreshToken oauth2.Secret, api string, done func()) {
	provider := oauth2.NewTestServer(nil)
	client, err := oauth2.ParseClientSecrets(provider.ClientSecretsJSON("web"))
	exampleCheck(err)
	refreshToken = oauth2.NewSecret(provider.IssueRefreshToken("email"))
	return client, refreshToken, provider.URL + "/userinfo", provider.Close
}

// exampleIssuer returns the issuer of an OpenID provider, the secret of a client of it, and the browser of a user.
func exampleIssuer() (issuer string, secret oauth2.Secret, browser func(url string) error, done func()) {
	provider := oauth2.NewTestServer(nil)
	return provider.URL, oauth2.NewSecret(provider.ClientSecret), provider.Browser, provider.Close
}

// exampleGitHub returns the address of a server that answers as GitHub does, the secret of a client of it, the browser
// of a user, and a function by which the user removes the program from their account.
func exampleGitHub() (site string, secret oauth2.Secret, browser func(url string) error, remove, done func()) {
	provider := oauth2.NewTestServer(nil)
	provider.OmitIss = true
	provider.Answer = func(_ string, answer map[string]any) {
		delete(answer, "expires_in")
		delete(answer, "refresh_token")
		answer["token_type"] = "bearer"
		answer["scope"] = strings.ReplaceAll(answer["scope"].(string), " ", ",")
	}
	secret = oauth2.NewSecret(provider.ClientSecret)
	return provider.URL, secret, provider.Browser, provider.RevokeAll, provider.Close
}

// exampleTerminal returns a client, and a terminal into which its user pastes the address that their browser, on
// another machine, ends at.
func exampleTerminal() (
	client *oauth2.ClientSecrets, terminal io.Reader, browser func(url string) error, done func(),
) {
	provider := oauth2.NewTestServer(nil)
	client, err := oauth2.ParseClientSecrets(provider.ClientSecretsJSON("installed"))
	exampleCheck(err)
	terminal, user := io.Pipe()
	browser = func(authURL string) error {
		redirected, err := provider.Authorize(authURL)
		fmt.Fprintln(user, "what am I to paste?")
		fmt.Fprintln(user, redirected)
		return err
	}
	return client, terminal, browser, provider.Close
}

// exampleKeyFile makes the key file of a service account, as Google's console offers it.
func exampleKeyFile() (file, api string, done func()) {
	provider := oauth2.NewTestServer(nil)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	exampleCheck(err)
	provider.AssertionKey = &key.PublicKey
	der, err := x509.MarshalPKCS8PrivateKey(key)
	exampleCheck(err)
	data, err := json.Marshal(map[string]string{
		"type":           "service_account",
		"project_id":     "project-1",
		"private_key_id": "key-1",
		"client_email":   "robot@project-1.example",
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":      provider.URL + "/token",
	})
	exampleCheck(err)
	f, err := os.CreateTemp("", "service-account-*.json")
	exampleCheck(err)
	_, err = f.Write(data)
	exampleCheck(err)
	exampleCheck(f.Close())
	return f.Name(), provider.URL + "/userinfo", func() {
		provider.Close()
		os.Remove(f.Name())
	}
}

// exampleEnvironment sets the environment as whoever runs a program on their own machine does.
func exampleEnvironment() (api string, done func()) {
	file, api, remove := exampleKeyFile()
	os.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	os.Setenv("GOOGLE_CLOUD_PROJECT", "project-2")
	return api, func() {
		os.Unsetenv("GOOGLE_APPLICATION_CREDENTIALS")
		os.Unsetenv("GOOGLE_CLOUD_PROJECT")
		remove()
	}
}

// exampleActions sets the environment as google-github-actions/auth does, and returns a client that reaches hosts which
// are all in this process: GitHub's provider of tokens, Google's token service, IAM, an API and a service.
func exampleActions() (hosts *http.Client, done func()) {
	const account = "robot@project-1.iam.gserviceaccount.com"
	const pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/github"
	mux := http.NewServeMux()
	answer := func(pattern string, isRight func(r *http.Request) bool, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !isRight(r) {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
		})
	}
	has := func(authorization string) func(r *http.Request) bool {
		return func(r *http.Request) bool { return r.Header.Get("Authorization") == authorization }
	}
	now := time.Now()
	encode := base64.RawURLEncoding.EncodeToString
	idToken := encode([]byte(`{"alg":"RS256"}`)) + "." + encode(fmt.Appendf(nil,
		`{"aud":"https://service.example","email":"%s","exp":%d}`, account, now.Add(time.Hour).Unix())) + ".AA"
	answer("GET actions.example/token", func(r *http.Request) bool {
		return has("Bearer request-token")(r) && r.FormValue("audience") == "https:"+pool
	}, `{"count":1,"value":"github.id.token"}`)
	answer("POST sts.googleapis.com/v1/token", func(r *http.Request) bool {
		return r.PostFormValue("subject_token") == "github.id.token" && r.PostFormValue("audience") == pool &&
			r.PostFormValue("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange"
	}, `{"access_token":"federated","issued_token_type":"urn:ietf:params:oauth:token-type:access_token",`+
		`"token_type":"Bearer","expires_in":3599}`)
	robot := "POST iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + account
	answer(robot+":generateAccessToken", has("Bearer federated"), fmt.Sprintf(
		`{"accessToken":"robot","expireTime":"%s"}`, now.Add(time.Hour).UTC().Format(time.RFC3339)))
	answer(robot+":generateIdToken", has("Bearer federated"), `{"token":"`+idToken+`"}`)
	answer("GET storage.googleapis.com/", has("Bearer robot"), `{}`)
	answer("GET service.example/", has("Bearer "+idToken), `{}`)

	name := exampleFile(map[string]any{
		"type":               "external_account",
		"audience":           pool,
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url":          "https://sts.googleapis.com/v1/token",
		"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" +
			account + ":generateAccessToken",
		"credential_source": map[string]any{
			"url":     "https://actions.example/token?api-version=2.0&audience=" + url.QueryEscape("https:"+pool),
			"headers": map[string]string{"Authorization": "Bearer request-token"},
			"format":  map[string]string{"type": "json", "subject_token_field_name": "value"},
		},
	})
	os.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	return &http.Client{Transport: exampleTransport{mux}}, func() {
		os.Unsetenv("GOOGLE_APPLICATION_CREDENTIALS")
		os.Remove(name)
	}
}

// exampleCloudRun sets the environment to the key of a service account, and returns the address of a service which that
// account may call.
func exampleCloudRun() (service string, done func()) {
	name, _, remove := exampleKeyFile()
	os.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(strings.Split(r.Header.Get("Authorization"), ".")) != 3 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	return site.URL, func() {
		os.Unsetenv("GOOGLE_APPLICATION_CREDENTIALS")
		site.Close()
		remove()
	}
}

// exampleFile writes a file with members.
func exampleFile(members map[string]any) (name string) {
	data, err := json.Marshal(members)
	exampleCheck(err)
	f, err := os.CreateTemp("", "credentials-*.json")
	exampleCheck(err)
	_, err = f.Write(data)
	exampleCheck(err)
	exampleCheck(f.Close())
	return f.Name()
}

// exampleIDToken returns the issuer of an OpenID provider, and an ID token of it.
func exampleIDToken() (issuer, idToken string, done func()) {
	issuer, secret, browser, done := exampleIssuer()
	client := &oauth2.ClientSecrets{ClientID: "client-1.example", ClientSecret: secret}
	exampleCheck(client.Discover(context.Background(), issuer))
	flow := oauth2.NewInstalledAppFlow(client, "openid", "email")
	flow.OpenBrowser, flow.Prompt = browser, io.Discard
	creds, err := flow.RunLocalServer(context.Background())
	exampleCheck(err)
	tok, err := creds.Token(context.Background())
	exampleCheck(err)
	return issuer, tok.IDToken.Reveal(), done
}

// exampleIAP returns a header of Google's Identity-Aware Proxy, and a client for which that proxy has the key.
func exampleIAP() (assertion string, google *http.Client) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	exampleCheck(err)
	point, err := key.PublicKey.Bytes()
	exampleCheck(err)
	encode := base64.RawURLEncoding.EncodeToString
	keys := fmt.Sprintf(`{"keys":[{"alg":"ES256","crv":"P-256","kid":"k1","kty":"EC","use":"sig","x":"%s","y":"%s"}]}`,
		encode(point[1:33]), encode(point[33:]))
	now := time.Now().Unix()
	claims := fmt.Sprintf(`{"aud":"/projects/123456789012/global/backendServices/1234567890123456789",
		"azp":"/projects/123456789012/global/backendServices/1234567890123456789","email":"person@example.com",
		"exp":%d,"hd":"example.com","iat":%d,"iss":"https://cloud.google.com/iap","sub":"accounts.google.com:1"}`,
		now+600, now)
	signed := encode([]byte(`{"alg":"ES256","typ":"JWT","kid":"k1"}`)) + "." + encode([]byte(claims))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	exampleCheck(err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	mux := http.NewServeMux()
	mux.HandleFunc("GET www.gstatic.com/iap/verify/public_key-jwk", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, keys)
	})
	return signed + "." + encode(signature), &http.Client{Transport: exampleTransport{mux}}
}

// An exampleTransport answers requests with a handler.
type exampleTransport struct{ handler http.Handler }

func (t exampleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, req)
	return w.Result(), nil
}

// exampleSite serves a web application over https. It returns the client that the application is registered as at its
// provider, and a function by which users visit it, and which prints what they see.
func exampleSite(app http.Handler) (client *oauth2.ClientSecrets, visit func(what string), done func()) {
	provider := oauth2.NewTestServer(nil)
	server := httptest.NewTLSServer(app)
	provider.RedirectURIs = []string{server.URL + "/callback"}
	client, err := oauth2.ParseClientSecrets(provider.ClientSecretsJSON("web"))
	exampleCheck(err)
	exampleCheck(client.Discover(context.Background(), provider.URL))

	u := &exampleVisitor{provider: provider, site: server.URL, browser: server.Client()}
	u.browser.Jar, err = cookiejar.New(nil)
	exampleCheck(err)
	u.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, u.visit, func() {
		provider.Close()
		server.Close()
	}
}

// An exampleVisitor is a user of a web application, with a browser that does not follow redirects by itself.
type exampleVisitor struct {
	provider *oauth2.TestServer
	site     string
	browser  *http.Client
	sameSite http.SameSite // of the application's cookie
}

func (u *exampleVisitor) visit(what string) {
	var answer func(grantType string, answer map[string]any)
	deny := ""
	switch what {
	case "declining":
		deny = "access_denied"
	case "declining at Apple":
		deny = "user_cancelled_authorize"
	case "signing in, without a refresh token at first":
		answer = func(_ string, answer map[string]any) {
			requests := u.provider.Requests()
			if requests[len(requests)-2].Query.Get("prompt") != "consent" { // the last one is that of the token
				delete(answer, "refresh_token")
			}
		}
	}
	u.provider.Answer, u.provider.Deny = answer, deny
	first := u.begin()
	if what != "signing in, in two tabs" {
		fmt.Printf("%s: %s", what, u.open(first))
		return
	}
	second := u.begin()
	fmt.Printf("the first tab: %s", u.open(first))
	fmt.Printf("the second tab: %s", u.open(second))
	fmt.Printf("the second tab, loaded again: %s", u.open(second))
}

// begin returns where the application sends the user to sign in.
func (u *exampleVisitor) begin() (authURL string) {
	resp, err := u.browser.Get(u.site + "/login")
	exampleCheck(err)
	resp.Body.Close()
	u.sameSite = resp.Cookies()[0].SameSite
	return resp.Header.Get("Location")
}

// open returns the page at which a browser ends that begins at the provider.
func (u *exampleVisitor) open(authURL string) (page string) {
	redirected, err := u.provider.Authorize(authURL)
	exampleCheck(err)
	resp, err := u.goBack(authURL, redirected)
	exampleCheck(err)
	defer resp.Body.Close()
	if next := resp.Header.Get("Location"); strings.HasPrefix(next, "/login") {
		resp, err = u.browser.Get(u.site + next)
		exampleCheck(err)
		resp.Body.Close()
		return u.open(resp.Header.Get("Location"))
	}
	text, err := io.ReadAll(resp.Body)
	exampleCheck(err)
	return string(text)
}

// goBack follows the provider's redirect, or posts the form that the provider answers with in its place.
func (u *exampleVisitor) goBack(authURL, redirected string) (*http.Response, error) {
	auth, err := url.Parse(authURL)
	exampleCheck(err)
	if auth.Query().Get("response_mode") != "form_post" {
		return u.browser.Get(redirected)
	}
	if u.sameSite != http.SameSiteNoneMode {
		log.Fatal("the browser does not send the cookie with another site's form")
	}
	callback, form, _ := strings.Cut(redirected, "?")
	return u.browser.Post(callback, "application/x-www-form-urlencoded", strings.NewReader(form))
}
