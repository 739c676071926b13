package oauth2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	signInFile = flag.String("client-secrets", "",
		"TestSignIn: a client_secrets.json, to sign in at its provider, with your browser")
	signInScopes = flag.String("scopes", "openid email", "TestSignIn: the scopes to ask for")
)

// TestSignIn does what the package is for, and prints each step:
//
//	go test -v -run '^TestSignIn$' .
//	go test -v -run '^TestSignIn$' . -args -client-secrets=client_secrets.json
//
// The first signs in at a server within the test, whose tokens live for two seconds. The second opens your browser at
// the provider of the file, and forces a refresh in place of waiting for an hour; the URL is on the standard error too,
// should no browser open. Neither prints a token, code or client secret.
func TestSignIn(t *testing.T) {
	t.Parallel()
	if *signInFile != "" {
		err := signIn(t.Context(), t.Output(), *signInFile, filepath.Join(privateDir(t), "credentials.json"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	s := NewTestServer(t)
	if err := signInAtTestServer(t, t.Output(), s, privateDir(t)); err != nil {
		t.Fatal(err)
	}
}

func signInAtTestServer(t *testing.T, out io.Writer, s *TestServer, dir string) error {
	s.ExpiresIn = 2 * time.Second
	name := filepath.Join(dir, "client_secrets.json")
	if err := os.WriteFile(name, s.ClientSecretsJSON("installed"), 0o600); err != nil {
		return err
	}
	return signIn(t.Context(), out, name, filepath.Join(dir, "credentials.json"), s)
}

// signIn signs in with the client of a file, at s or, where that is nil, at a real provider.
func signIn(ctx context.Context, out io.Writer, secretsFile, storeFile string, s *TestServer) error {
	step := 0
	say := func(format string, args ...any) {
		step++
		fmt.Fprintf(out, "%d. "+format+"\n", append([]any{step}, args...)...)
	}
	client, err := ReadClientSecretsFile(secretsFile)
	if err != nil {
		return err
	}
	token, _ := url.Parse(client.TokenURI)
	say("read %s: %s client %s of %s", filepath.Base(secretsFile), client.Type, client.ClientID, token.Host)

	flow := NewInstalledAppFlow(client, *signInScopes)
	flow.Store = FileStore(storeFile)
	redirect, userinfo, opened := "", "", make(chan struct{})
	open := OpenBrowser
	if s != nil {
		client.Issuer = s.URL
		flow.Prompt, open, userinfo = io.Discard, s.Browser, s.URL+"/userinfo"
	} else if client.Issuer == googleIssuer {
		userinfo = "https://openidconnect.googleapis.com/v1/userinfo"
	}
	flow.OpenBrowser = func(authURL string) error {
		defer close(opened)
		u, err := url.Parse(authURL)
		if err != nil {
			return err
		}
		redirect = u.Query().Get("redirect_uri")
		say("opened %s://%s%s, for %q, with PKCE (%s), to come back to %s", u.Scheme, u.Host, u.Path,
			u.Query().Get("scope"), u.Query().Get("code_challenge_method"), redirect)
		if err := open(authURL); err != nil {
			say("no browser opened: open the URL yourself (%v)", err)
		}
		return nil
	}
	creds, err := flow.SignIn(ctx)
	if err != nil {
		return err
	}
	<-opened
	say("the redirect came to %s, and its code was exchanged", redirect)
	show := func(what string) (*Token, error) {
		tok, err := creds.Token(ctx)
		if err == nil {
			say("%s: granted %q, expires in %v; refresh token: %t, ID token: %t", what, strings.Join(tok.Scopes, " "),
				time.Until(tok.Expiry).Round(time.Second), !tok.RefreshToken.empty(), !tok.IDToken.empty())
		}
		return tok, err
	}
	first, err := show("tokens")
	if err != nil {
		return err
	}
	call := func() error {
		if userinfo == "" {
			say("no API of this provider is known: none called")
			return nil
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, userinfo, nil)
		if err != nil {
			return err
		}
		resp, err := NewClient(creds).Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var person struct{ Sub, Email string }
		if err := json.NewDecoder(resp.Body).Decode(&person); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s, %v", userinfo, resp.Status, err)
		}
		say("called %s: %s, sub %s, email %s", userinfo, resp.Status, person.Sub, person.Email)
		return nil
	}
	if err := call(); err != nil {
		return err
	}
	if s == nil {
		_, err = creds.Refresh(ctx)
	} else if err = sleep(ctx, time.Until(first.Expiry)); err == nil {
		say("waited until %s: the token has expired", first.Expiry.Format(time.TimeOnly))
	}
	if err != nil {
		return err
	}
	second, err := show("refreshed")
	if err != nil {
		return err
	}
	if second.AccessToken.Reveal() == first.AccessToken.Reveal() {
		return errors.New("the token is the same")
	}
	if err := call(); err != nil {
		return err
	}
	again, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	flow.OpenBrowser = func(string) error { stop(errors.New("asked the person again")); return nil }
	if creds, err = flow.SignIn(again); err != nil {
		return err
	}
	say("a second run reads %s: nobody has to sign in", filepath.Base(storeFile))
	return call()
}

// What TestSignIn prints has each step, and no secret. What it stores is the refresh token in force, though the server
// replaces it at each refresh. UP21, UP22, XO5
func TestSignInPrintsNoSecret(t *testing.T) {
	t.Parallel()
	s := NewTestServer(t)
	s.Rotate = true
	var out bytes.Buffer
	dir := privateDir(t)
	if err := signInAtTestServer(t, &out, s, dir); err != nil {
		t.Fatal(err, out.String())
	}
	for _, want := range []string{
		"1. read client_secrets.json: installed client", "2. opened " + s.URL + "/authorize",
		"3. the redirect came to http://127.0.0.1:", `4. tokens: granted "openid email", expires in `,
		"; refresh token: true, ID token: true", "5. called ", "6. waited until ", "7. refreshed: ", "8. called ",
		"200 OK, sub user-1, email person@example.com", "9. a second run",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	secrets := []string{s.ClientSecret}
	s.mu.Lock()
	for token := range s.access {
		secrets = append(secrets, token)
	}
	for token := range s.refresh {
		secrets = append(secrets, token)
	}
	for code := range s.codes {
		secrets = append(secrets, code)
	}
	s.mu.Unlock()
	for _, r := range s.Requests() {
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if r.Query.Get(name) != "" {
				secrets = append(secrets, r.Query.Get(name))
			}
		}
		if v := r.Form.Get("code_verifier"); v != "" {
			secrets = append(secrets, v)
		}
	}
	if len(secrets) < 9 {
		t.Fatalf("%d secrets", len(secrets))
	}
	for _, secret := range secrets {
		if strings.Contains(out.String(), secret) {
			t.Errorf("printed %q", secret)
		}
	}
	if creds, err := LoadCredentials(t.Context(), nil, FileStore(filepath.Join(dir, "credentials.json"))); err != nil {
		t.Error(err)
	} else if _, err := creds.Refresh(t.Context()); err != nil || s.Reuses() != 0 ||
		s.TokenRequests("refresh_token") < 2 {
		t.Error(err, s.Reuses(), s.TokenRequests("refresh_token"))
	}
	if n := s.Count("/authorize"); n != 1 {
		t.Errorf("%d sign-ins", n)
	}
}
