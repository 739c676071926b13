package oauth2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"example.com/oauth2"
)

// A command-line program signs the user in the first time it runs, and from then on reads what it stored.
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
	flow.OpenBrowser = provider.Browser // a real program leaves this out,
	flow.Prompt = io.Discard            // and this
	creds, err := flow.SignIn(ctx)
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
