package oauth2

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Answers of token endpoints as the world writes them: W20 to W29 of the threat model.

// obtained returns the token, asked for with scopes, that comes of an answer with status 200.
func obtained(t testing.TB, body string, scopes ...string) (*Token, error) {
	t.Helper()
	client := clientOver(answering(200, faultJSON, body))
	return (&ClientCredentials{Client: client, Scopes: scopes}).Token(t.Context())
}

// formOf returns the form that a request has. Its body can be read once more.
func formOf(t testing.TB, req *http.Request) url.Values {
	t.Helper()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Error(err)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		t.Error(err)
	}
	return form
}

// recordForms returns a client whose requests are answered with body, and the forms that it sends.
func recordForms(t testing.TB, body string) (*ClientSecrets, *[]url.Values) {
	forms := new([]url.Values)
	client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		*forms = append(*forms, formOf(t, req))
		return answering(200, faultJSON, body)(req)
	}))
	return client, forms
}

// One scope an entry, however the answer writes them. // W20
func TestScopesOfAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		text   string // the member scope as JSON; "": it is not there
		asked  string
		want   []string
		refuse bool
	}{
		{name: "spaces", text: `"a b"`, want: []string{"a", "b"}},
		{name: "several spaces", text: `"  a   b "`, want: []string{"a", "b"}},
		{name: "tabs and line ends", text: `"a\tb\r\nc"`, want: []string{"a", "b", "c"}},
		{name: "commas", text: `"a,b:c,d"`, want: []string{"a", "b:c", "d"}},
		{name: "commas around", text: `",a,,b,"`, want: []string{"a", "b"}},
		{name: "a comma where there is a space", text: `"a,b c"`, want: []string{"a,b", "c"}},
		{name: "a URI", text: `"https://as.example/a.b"`, want: []string{"https://as.example/a.b"}},
		{name: "list", text: `["a","b"]`, want: []string{"a", "b"}},
		{name: "list of one", text: `["a"]`, want: []string{"a"}},
		{name: "list with spaces", text: `["a b"," c "]`, want: []string{"a", "b", "c"}},
		{name: "list with commas", text: `["a,b","c"]`, want: []string{"a", "b", "c"}},
		{name: "list with white space", text: "[ \"a\" ,\n\t\"b\" ]", want: []string{"a", "b"}},
		{name: "escapes", text: `["\u0061","\"b"]`, want: []string{"a", `"b`}},
		{name: "empty list", text: `[]`, asked: "a", want: nil},
		{name: "list with null", text: `["a",null]`, want: []string{"a"}},
		{name: "list of nothing", text: `["",""]`, asked: "a", want: nil},
		{name: "not there", asked: "a b", want: []string{"a", "b"}},
		{name: "empty", text: `""`, asked: "a b", want: []string{"a", "b"}},
		{name: "null", text: `null`, asked: "a b", want: []string{"a", "b"}},
		{name: "asked for with a comma", asked: "read,activity:read", want: []string{"read", "activity:read"}},
		{name: "fewer than asked for", text: `"a"`, asked: "a b", want: []string{"a"}},

		{name: "number", text: `5`, refuse: true},
		{name: "true", text: `true`, refuse: true},
		{name: "object", text: `{"a":true}`, refuse: true},
		{name: "list of numbers", text: `["a",5]`, refuse: true},
		{name: "list of lists", text: `[["a"]]`, refuse: true},
	} {
		body := `{"access_token":"a"}`
		if tt.text != "" {
			body = `{"access_token":"a","scope":` + tt.text + `}`
		}
		tok, err := obtained(t, body, tt.asked)
		switch {
		case tt.refuse:
			if !errors.As(err, new(*Error)) || tok != nil || !errorSays(err, "has a scope that is not a list") {
				t.Errorf("%s: %v, %v", tt.name, tok, err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case !slices.Equal(tok.Scopes, tt.want):
			t.Errorf("%s: %q, want %q", tt.name, tok.Scopes, tt.want)
		}
	}
}

// A scope that was asked for with a comma counts as the two that were granted: the user does not sign in again. // W20
func TestCommaScopesSuffice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, stored string // stored: members of the file
		scopes       []string
		signIn       bool
	}{
		{name: "as asked for", stored: `"scopes":["read,activity:read"]`, scopes: []string{"read,activity:read"}},
		{name: "granted as a list", stored: `"scopes":["x"],"granted_scopes":["activity:read","read"]`,
			scopes: []string{"read,activity:read"}},
		{name: "fewer", stored: `"scopes":["read,activity:read"]`, scopes: []string{"activity:read"}},
		{name: "asked for one by one", stored: `"scopes":["read,activity:read"]`,
			scopes: []string{"read", "activity:read"}},
		{name: "stored one by one", stored: `"scopes":["read","activity:read"]`,
			scopes: []string{"read,activity:read"}},
		{name: "beside others", stored: `"scopes":["x,y","z"]`, scopes: []string{"x,y", "z"}},
		{name: "beside others, granted", stored: `"granted_scopes":["x,y","z"]`, scopes: []string{"z", "x,y"}},
		{name: "as a string", stored: `"scopes":"read,activity:read"`, scopes: []string{"read,activity:read"}},

		{name: "one is missing", stored: `"scopes":["read"]`, scopes: []string{"read,activity:read"}, signIn: true},
		{name: "a part of a name", stored: `"scopes":["read_all,x"]`, scopes: []string{"read"}, signIn: true},
		{name: "nothing was granted", stored: `"granted_scopes":[]`, scopes: []string{"read"}, signIn: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := clientOver(roundTripFunc(func(*http.Request) (*http.Response, error) {
				t.Error("a request was sent")
				return nil, errors.New("no network")
			}))
			store := newMemoryStore()
			store.data = []byte(`{"client_id":"client","token_uri":"https://as.example/token","refresh_token":"r",` +
				`"token":"at-stored","expiry":"2140-01-01T00:00:00Z",` + tt.stored + `}`)
			flow := NewInstalledAppFlow(client, tt.scopes...)
			opened, tok, err := startedSignIn(t, flow, store)
			if opened != tt.signIn || !opened && (err != nil || tok.AccessToken.Reveal() != "at-stored") {
				t.Errorf("signed in anew: %t; %v, %v", opened, tok, err)
			}
		})
	}
}

// startedSignIn calls SignIn until it opens a browser. It reports whether it did, and returns the token if not.
func startedSignIn(t testing.TB, flow *InstalledAppFlow, store Store) (opened bool, tok *Token, err error) {
	t.Helper()
	stop := errors.New("the browser was opened")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	flow.Store = store
	flow.Prompt = io.Discard
	flow.OpenBrowser = func(string) error { cancel(stop); return nil }
	creds, err := flow.SignIn(ctx)
	if err == nil {
		tok, err = creds.Token(ctx)
	}
	return errors.Is(err, stop), tok, err
}

// What was asked for with a comma is asked for in the same spelling after it was stored. // W20
func TestCommaScopesAreAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, asked := range []string{"read,activity:read", "x,y z", "a b"} {
		client, forms := recordForms(t, tokenAnswer)
		store := newMemoryStore()
		if err := NewCredentials(client, NewSecret("r"), asked).Save(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		creds, err := LoadCredentials(t.Context(), client, store)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := creds.Refresh(t.Context()); err != nil || (*forms)[0].Get("scope") != asked {
			t.Errorf("%q: %v, %v", asked, *forms, err)
		}
	}
}

// Bearer has other names, and nothing else counts as it. // W21
func TestTokenTypes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`"Bearer"`, `"bearer"`, `"BEARER"`, `"bot"`, `"Bot"`, `"user"`, `"USER"`, `"BearerToken"`, `"bearertoken"`,
		`""`, `null`, `"\u0042earer"`,
	} {
		tok, err := obtained(t, `{"access_token":"a","token_type":`+text+`}`)
		if err != nil || tok.AccessToken.Reveal() != "a" {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		`"mac"`, `"MAC"`, `"DPoP"`, `"dpop"`, `"N_A"`, `"pop"`, `"jwt"`, `"app"`, `"bots"`, `"users"`, `"Bearer "`,
		`" Bearer"`, `"Bearer,mac"`, `"Token"`, `"urn:ietf:params:oauth:token-type:access_token"`, `"ʙearer"`,
		`["Bearer"]`, `[]`, `{}`, `true`, `5`,
	} {
		tok, err := obtained(t, `{"access_token":"a","token_type":`+text+`}`)
		e := (*Error)(nil)
		if !errors.As(err, &e) || tok != nil || e.StatusCode != 200 || e.Temporary() || !errorSays(err, "token_type") {
			t.Errorf("%s: %v, %v", text, tok, err)
		}
	}
}

// A negative lifetime means that the server does not say: the token is used until it is refused. // W22
func TestNegativeLifetimes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"-1", `"-1"`, "-3600", "-1e400", "-0.5", `"-99999999999999999999"`, "-0"} {
		client, forms := recordForms(t, `{"access_token":"a","refresh_token":"r-2","expires_in":`+text+`}`)
		creds, err := startedFlow(t, client).FetchToken(t.Context(), "code")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, get := range []func(context.Context) (*Token, error){creds.Token, creds.Refresh, creds.Token} {
			if tok, err := get(t.Context()); err != nil || !tok.Valid() || !tok.Expiry.IsZero() {
				t.Errorf("%s: %v, %v", text, tok, err)
			}
		}
		if len(*forms) != 2 {
			t.Errorf("%s: %d requests, want those of the code and of Refresh", text, len(*forms))
		}
	}
	for _, text := range []string{`"-"`, `"--1"`, `"-1s"`, `"-Inf"`, `"- 1"`, `[-1]`, `"never"`} {
		tok, err := obtained(t, `{"access_token":"a","expires_in":`+text+`}`)
		if !errorSays(err, "has a expires_in that is not a number of seconds") {
			t.Errorf("%s: %v, %v", text, tok, err)
		}
	}
}

// W22
func TestMetadataNegativeLifetime(t *testing.T) {
	s := startMetadata(t)
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		io.WriteString(w, `{"access_token":"mt-1","expires_in":-1,"token_type":"Bearer"}`)
		return true
	}
	compute := &ComputeCredentials{}
	for range 2 {
		tok, err := compute.Token(t.Context())
		if err != nil || tok.AccessToken.Reveal() != "mt-1" || !tok.Expiry.IsZero() {
			t.Fatal(tok, err)
		}
	}
	if uris := s.uris(); len(uris) != 1 {
		t.Errorf("asked %q", uris)
	}
}

// The lifetime of a device code, and the pause between two polls, are those that are used where the server does not
// say. // W22
func TestDeviceNegativeLifetimes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"-1", `"-1"`, "-1e400"} {
		synctest.Test(t, func(t *testing.T) {
			r := newDeviceRun(t)
			r.edit = map[string]string{"expires_in": text, "interval": text}
			r.fault = func(int) (*http.Response, error) {
				return response(400, `{"error":"authorization_pending"}`), nil
			}
			_, err := r.flow.RunDevice(t.Context())
			e := (*Error)(nil)
			if took := time.Since(r.begun); !errors.As(err, &e) || e.Code != "expired_token" || took != time.Hour {
				t.Errorf("%s: %v after %v", text, err, took)
			}
			if len(r.polls) < 2 || r.polls[0] != 5 || r.polls[1] != 10 {
				t.Errorf("%s: polls %v", text, r.polls[:min(2, len(r.polls))])
			}
		})
	}
}

// extraText returns a member of a token as JSON, or "" if it is not there.
func extraText(t testing.TB, tok *Token, name string) string {
	t.Helper()
	var raw json.RawMessage
	if err := tok.Extra(name, &raw); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return string(raw)
}

// Members of an answer that the package does not know. // W23
func TestTokenExtra(t *testing.T) {
	t.Parallel()
	tok, err := obtained(t, `{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r",`+
		`"id_token":"","scope":"s","instance_url":"https://my.example/","team":{"id":"T1","name":"\u0054eam"},`+
		`"refresh_token_expires_in":604799,"ok":true,"bots":["a","b"],"nothing":null,"escap\u0065d":1}`)
	if err != nil {
		t.Fatal(err)
	}
	type team struct{ ID, Name string }
	var got struct {
		instance string
		team     team
		lifetime int
		ok       bool
		bots     []string
		escaped  int
	}
	for name, v := range map[string]any{
		"instance_url":             &got.instance,
		"team":                     &got.team,
		"refresh_token_expires_in": &got.lifetime,
		"ok":                       &got.ok,
		"bots":                     &got.bots,
		"escaped":                  &got.escaped,
	} {
		if err := tok.Extra(name, v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got.instance != "https://my.example/" || got.team != (team{"T1", "Team"}) || got.lifetime != 604799 || !got.ok ||
		!slices.Equal(got.bots, []string{"a", "b"}) || got.escaped != 1 {
		t.Errorf("got %+v", got)
	}
	// Names are exact, and what the package knows is not among them.
	for _, name := range []string{
		"Instance_URL", "instance_url ", "instance", "Team", "id", "", "nothing",
		"access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope",
	} {
		v := "untouched"
		if err := tok.Extra(name, &v); err != nil || v != "untouched" {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
	// The wrong kind is an error that quotes nothing of the value.
	for name, v := range map[string]any{
		"instance_url":             new(int),
		"team":                     new(string),
		"refresh_token_expires_in": new(string),
		"bots":                     new([]int),
		"ok":                       nil,
	} {
		err := tok.Extra(name, v)
		if want := fmt.Sprintf("oauth2: %q is not of the kind asked for", name); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := tok.Extra("instance_url", got.instance); err == nil {
		t.Error("a value that is no pointer was taken")
	}
	for _, none := range []*Token{nil, {}} {
		v := "untouched"
		if err := none.Extra("x", &v); err != nil || v != "untouched" {
			t.Errorf("%v: %q, %v", none, v, err)
		}
	}
}

// Members survive a refresh that does not repeat them, and the store. // W23
func TestTokenExtraIsKept(t *testing.T) {
	t.Parallel()
	answers := []string{
		`{"access_token":"a1","refresh_token":"r1","instance_url":"https://one.example/","n":1,"gone":{"x":[1]}}`,
		`{"access_token":"a2"}`,
		`{"access_token":"a3","n":3}`,
		`{"access_token":"a4","instance_url":"https://four.example/","new":"\u2028<&>","gone":null}`,
	}
	want := []map[string]string{
		{"instance_url": `"https://one.example/"`, "n": "1", "gone": `{"x":[1]}`, "new": ""},
		{"instance_url": `"https://one.example/"`, "n": "1", "gone": `{"x":[1]}`, "new": ""},
		{"instance_url": `"https://one.example/"`, "n": "3", "gone": `{"x":[1]}`, "new": ""},
		{"instance_url": `"https://four.example/"`, "n": "3", "gone": "null", "new": `"\u2028<&>"`},
	}
	next := 0
	client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		next++
		return answering(200, faultJSON, answers[next-1])(req)
	}))
	store := FileStore(filepath.Join(privateDir(t), "credentials.json"))
	creds, err := startedFlow(t, client).FetchToken(t.Context(), "code")
	if err != nil {
		t.Fatal(err)
	}
	if err := creds.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	for i := range answers {
		if i > 0 {
			_, err = creds.Refresh(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := LoadCredentials(t.Context(), client, store)
		if err != nil {
			t.Fatal(err)
		}
		file, err := creds.MarshalAuthorizedUser()
		if err != nil {
			t.Fatal(err)
		}
		checkPythonReads(t, file)
		parsed, err := ParseCredentials(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range want[i] {
			for kind, c := range map[string]*Credentials{"held": creds, "loaded": loaded, "parsed": parsed} {
				if got := extraText(t, c.cache.current.Load(), name); got != text {
					t.Errorf("answer %d, %s: %s is %s, want %s", i+1, kind, name, got, text)
				}
			}
		}
		creds = loaded // so that each refresh begins with what was stored
	}
}

// What another process has stored is taken with its members. // W23
func TestTokenExtraOfOthers(t *testing.T) {
	t.Parallel()
	store := newMemoryStore()
	body := `{"access_token":"a1","expires_in":3600,"n":1}`
	client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return answering(200, faultJSON, body)(req)
	}))
	if err := NewCredentials(client, NewSecret("r")).Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	var both [2]*Credentials
	for i := range both {
		var err error
		if both[i], err = LoadCredentials(t.Context(), client, store); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range both {
		tok, err := c.Token(t.Context())
		if err != nil || tok.AccessToken.Reveal() != "a1" || extraText(t, tok, "n") != "1" {
			t.Errorf("%v, %v", tok, err)
		}
		body = `{"error":"must_not_be_asked"}`
	}
}

// Values of any depth and size that an answer can have are stored so that the file stays readable, and no more than
// 64 KiB are kept. // W23
func TestTokenExtraLimits(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)
	objects := strings.Repeat(`{"a":`, maxDepth-1) + "0" + strings.Repeat("}", maxDepth-1)
	long := func(n int) string { return `"` + strings.Repeat("<", n-2) + `"` } // n bytes, which JSON may write as 6n
	for _, tt := range []struct {
		name, text string
		more       string // members besides
		kept       bool
	}{
		{name: "lists in lists", text: nested, kept: true},
		{name: "objects in objects", text: objects, kept: true},
		{name: "64 KiB", text: long(maxExtra - 1), kept: true},
		{name: "64 KiB and 1", text: long(maxExtra)},
		{name: "64 KiB together", text: long(maxExtra - 4), more: `,"y":12`, kept: true},
		{name: "64 KiB and 1 together", text: long(maxExtra - 4), more: `,"y":123`},
		{name: "a long name", text: "1", more: `,"` + strings.Repeat("n", maxExtra) + `":1`},
		{name: "long tokens do not count", text: "1", kept: true,
			more: `,"id_token":"` + strings.Repeat("i", maxIDToken) + `"`},
	} {
		client := clientOver(answering(200, faultJSON, `{"access_token":"a","x":`+tt.text+tt.more+`}`))
		creds := NewCredentials(client, NewSecret("r"))
		tok, err := creds.Refresh(t.Context())
		if err != nil || tok.AccessToken.Reveal() != "a" {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		file, err := creds.MarshalAuthorizedUser()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		loaded, err := ParseCredentials(file)
		if err != nil {
			t.Errorf("%s: the file of %d bytes: %v", tt.name, len(file), err)
			continue
		}
		want := tt.text
		if !tt.kept {
			want = ""
		}
		for _, tok := range []*Token{tok, loaded.cache.current.Load()} {
			if got := extraText(t, tok, "x"); got != want {
				t.Errorf("%s: %.40s, want %.40s", tt.name, got, want)
			}
			if got := extraText(t, tok, "y"); (got != "") != (tt.kept && tt.more != "" && tt.text != "1") {
				t.Errorf("%s: y is %s", tt.name, got)
			}
		}
	}
	// What is held and what is new count together.
	n := 0
	client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		n++
		return answering(200, faultJSON, fmt.Sprintf(`{"access_token":"a","x%d":%s}`, n, long(maxExtra/2-1)))(req)
	}))
	creds := NewCredentials(client, NewSecret("r"))
	for range 5 {
		tok, err := creds.Refresh(t.Context())
		if err != nil || tok.extra != nil && len(fmt.Sprint(tok.extra())) > 2*maxExtra {
			t.Fatal(err)
		}
	}
	if file, err := creds.MarshalAuthorizedUser(); err != nil || len(file) > 7*maxExtra {
		t.Errorf("the file has %d bytes: %v", len(file), err)
	}
}

// The member extra of a hostile file is neither a panic nor an answer to what the package asks. // W23
func TestTokenExtraOfFiles(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"x":"{"}`, `{"x":""}`, `{"x":"\u0000"}`, `{"x":5}`, `{"x":null}`, `{"x":{"y":1}}`, `5`, `"x"`, `["x"]`,
		`null`,
		`{"access_token":"\"evil\"","refresh_token":"\"evil\"","scope":"\"evil\""}`,
	} {
		creds, err := ParseCredentials([]byte(`{"client_id":"c","refresh_token":"r","extra":` + text + `}`))
		if err != nil {
			continue // a file that is not understood
		}
		tok := creds.cache.current.Load()
		var raw json.RawMessage
		if err := tok.Extra("x", &raw); err == nil && raw != nil && !json.Valid(raw) {
			t.Errorf("%s: %s", text, raw)
		}
		if tok.RefreshToken.Reveal() != "r" || !tok.AccessToken.empty() || len(tok.Scopes) > 0 ||
			extraText(t, tok, "access_token") != "" {
			t.Errorf("%s: %v", text, tok)
		}
		file, err := creds.MarshalAuthorizedUser()
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if _, err := ParseCredentials(file); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Members may be secrets: Slack's authed_user has a token. Nothing prints them. // W23
func TestTokenExtraIsNotPrinted(t *testing.T) {
	t.Parallel()
	const secret = `xoxp-SENTINEL/+%&<`
	client := clientOver(answering(200, faultJSON, `{"ok":true,"access_token":"xoxb-1","token_type":"bot",`+
		`"authed_user":{"id":"U1","access_token":"`+secret+`","token_type":"user"},"`+secret+`":1}`))
	creds := NewCredentials(client, NewSecret("r"))
	tok, err := creds.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var user struct {
		AccessToken string `json:"access_token"`
	}
	if err := tok.Extra("authed_user", &user); err != nil || user.AccessToken != secret {
		t.Fatalf("%q, %v", user.AccessToken, err)
	}
	noSecret(t, tok, secret)
	noSecret(t, CachedTokenSource(sourceOf(tok)), secret)
	noSecret(t, errorOf(nil, tok.Extra("authed_user", new(int))), secret)
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} { // noSecret would copy its lock
		texts = append(texts, fmt.Sprintf(verb, creds))
	}
	noSecret(t, texts, secret)
}

// Where an answer has no members that the package does not know, they cost nothing. // W23
func TestTokenExtraCostsNothing(t *testing.T) {
	tok, err := obtained(t, `{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r",`+
		`"id_token":"i","scope":"s"}`)
	if err != nil || tok.extra != nil {
		t.Fatal(err)
	}
	members := object{"access_token": `"a"`, "expires_in": "1", "scope": `"s"`}
	var v string
	if n := testing.AllocsPerRun(100, func() {
		if newExtra(members) != nil || tok.Extra("x", &v) != nil {
			t.Error("there is something")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Errors without an OAuth code have their message as the description, where it can be shown. // W24
func TestErrorMessages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		status     int // 0: 400
		code, desc string
	}{
		{name: "Facebook", desc: "Error validating access token",
			body: `{"error":{"message":"Error validating access token","type":"OAuthException","code":190}}`},
		{name: "Google's APIs", code: "PERMISSION_DENIED", desc: "The caller may not do this", status: 403,
			body: `{"error":{"code":403,"status":"PERMISSION_DENIED","message":"The caller may not do this"}}`},
		{name: "Strava", desc: "Bad Request",
			body: `{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"code","code":"invalid"}]}`},
		{name: "Twitch", desc: "Invalid refresh token", body: `{"status":400,"message":"Invalid refresh token"}`},
		{name: "beside a code", code: "x", desc: "no", body: `{"error":"x","message":"no"}`},
		{name: "beside a description", code: "x", desc: "yes",
			body: `{"error":"x","error_description":"yes","message":"no"}`},
		{name: "beside an empty description", code: "x", desc: "no",
			body: `{"error":"x","error_description":"","message":"no"}`},
		{name: "with status 200", desc: "no", status: 200, body: `{"error":{"message":"no"},"access_token":"a"}`},
		{name: "not printable", desc: "no? ?[2Jline?line", body: `{"message":"no\u0000 \u001b[2Jline\nline"}`},
		{name: "long", desc: strings.Repeat("n", maxErrorText),
			body: `{"message":"` + strings.Repeat("n", 2000) + `"}`},

		{name: "repeats a secret", body: `{"message":"no such token: SENTINEL-RT/+%&<\"\\"}`},
		{name: "repeats a secret inside", code: "X",
			body: `{"error":{"message":"SENTINEL-SECRET/+%&<\"\\","status":"X"}}`},
		{name: "a number", body: `{"message":5}`},
		{name: "a list", body: `{"message":["no"]}`},
		{name: "another name", body: `{"msg":"no","detail":"no","Message":"no"}`},
		{name: "plain text", body: `no such token`},
		{name: "a page", body: `<html>no</html>`},
		{name: "a string", body: `"no"`},
	} {
		status := cmp.Or(tt.status, 400)
		creds := NewCredentials(clientOver(answering(status, "", tt.body)), NewSecret(canaryRefreshToken))
		_, err := creds.Refresh(t.Context())
		e := (*Error)(nil)
		if !errors.As(err, &e) || e.Code != tt.code || e.Description != tt.desc || e.StatusCode != status ||
			e.Temporary() || errors.Is(err, ErrLoginRequired) {
			t.Errorf("%s: %#v", tt.name, err)
			continue
		}
		text := "oauth2: refreshing the token: the server answered " + cmp.Or(tt.code, "with no OAuth error")
		if tt.desc != "" {
			text += fmt.Sprintf(": %q", tt.desc)
		}
		text += fmt.Sprintf(" (status %d)", status)
		if advice := strings.TrimPrefix(err.Error(), text); advice != "" && advice != "; redirects are not followed; "+
			"a captive portal, proxy or firewall may interfere" {
			t.Errorf("%s: %q, want %q", tt.name, err, text)
		}
		noSecret(t, err, canaries...)
	}
}

// The metadata server explains its errors in plain text. // W24
func TestMetadataMessages(t *testing.T) {
	s := startMetadata(t)
	for _, tt := range []struct {
		flavor, body, code, desc string
	}{
		{"Google", "Your default service account has no scope for this.", "", "Your default service account has no " +
			"scope for this."},
		{"Google", "two\nlines", "", "two?lines"},
		{"Google", strings.Repeat("n", 2*maxErrorText), "", strings.Repeat("n", maxErrorText)},
		{"Google", "", "", ""},
		{"Google", `{"error":"invalid_scope","error_description":"no"}`, "invalid_scope", "no"},
		{"Google", `{"message":"no"}`, "", "no"},
		{"Google", "\xff{", "", "?{"},
		{"", "Log in to this network", "", ""},
	} {
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Metadata-Flavor", tt.flavor)
			w.WriteHeader(404)
			io.WriteString(w, tt.body)
			return true
		}
		_, err := (&ComputeCredentials{}).Token(t.Context())
		e := (*Error)(nil)
		if !errors.As(err, &e) || e.Code != tt.code || e.Description != tt.desc || e.StatusCode != 404 ||
			!errorSays(err, tt.desc) || tt.flavor == "" && errorSays(err, "Log in") || unprintable(err.Error()) {
			t.Errorf("%.40q: %v", tt.body, err)
		}
	}
	// What is no error is not shown.
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, "mt-SENTINEL"); return true }
	if _, err := (&ComputeCredentials{}).Token(t.Context()); err == nil || errorSays(err, "SENTINEL") {
		t.Error(err)
	}
}

// A dead refresh token by any of its names. // W25
func TestDeadRefreshTokens(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"invalid_grant", "bad_refresh_token", "invalid_refresh_token", "interaction_required", "login_required",
		"consent_required", "account_selection_required",
	} {
		for _, status := range []int{200, 400, 401, 403} {
			for _, stored := range []bool{false, true} {
				n := 0
				creds := refusedCredentials(t, stored, func(req *http.Request) (*http.Response, error) {
					n++
					return answering(status, faultJSON, `{"error":"`+code+`","error_description":"it is dead"}`)(req)
				})
				for _, get := range []func(context.Context) (*Token, error){creds.Token, creds.Token, creds.Refresh} {
					tok, err := get(t.Context())
					e := (*Error)(nil)
					if tok != nil || !errors.Is(err, ErrLoginRequired) || !errors.As(err, &e) || e.Code != code ||
						e.StatusCode != status || e.Temporary() || !errorSays(err, "sign in again") ||
						!errorSays(err, "it is dead") || errorSays(err, "declined") {
						t.Errorf("%s with %d: %v, %v", code, status, tok, err)
					}
				}
				if n != 1 {
					t.Errorf("%s with %d: %d requests", code, status, n)
				}
			}
		}
	}
	for _, code := range []string{
		"INVALID_GRANT", "invalid_grant ", "invalid_grants", "bad_refresh", "invalid_token", "unauthorized_client",
		"invalid_client", "invalid_request", "invalid_scope", "access_denied", "expired_token", "unmet_authentication",
	} {
		creds := refusedCredentials(t, false, answering(400, faultJSON, `{"error":"`+code+`"}`))
		if _, err := creds.Token(t.Context()); err == nil || errors.Is(err, ErrLoginRequired) {
			t.Errorf("%s: %v", code, err)
		}
	}
	// Of a code, it says nothing about a refresh token.
	client := clientOver(answering(400, faultJSON, `{"error":"interaction_required"}`))
	_, err := startedFlow(t, client).FetchToken(t.Context(), "code")
	if err == nil || errors.Is(err, ErrLoginRequired) {
		t.Error(err)
	}
}

// refusedCredentials returns credentials whose access token has expired, from a store if stored is set.
func refusedCredentials(t testing.TB, stored bool, answer roundTripFunc) *Credentials {
	t.Helper()
	client := clientOver(answer)
	if !stored {
		return NewCredentials(client, NewSecret(canaryRefreshToken))
	}
	store := newMemoryStore()
	if err := NewCredentials(client, NewSecret(canaryRefreshToken)).Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	creds, err := LoadCredentials(t.Context(), client, store)
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

// A refusal of a stored refresh token, and what comes of it.
type storedRefusal struct {
	name     string
	status   int
	header   string
	body     string
	fails    error // in place of an answer
	requests int   // of each call, if it is not signed in anew; 0: one
	login    bool  // ErrLoginRequired
}

// refusalsThatLast are those after which the user signs in anew.
func refusalsThatLast() []storedRefusal {
	return []storedRefusal{
		{name: "invalid_grant", status: 400, body: `{"error":"invalid_grant"}`, login: true},
		{name: "bad_refresh_token at 200", status: 200, body: `{"error":"bad_refresh_token"}`, login: true},
		{name: "invalid_request", status: 400, body: `{"error":"invalid_request"}`},
		{name: "unauthorized_client", status: 401, body: `{"error":"unauthorized_client"}`},
		{name: "unsupported_grant_type", status: 400, body: `{"error":"unsupported_grant_type"}`},
		{name: "invalid_scope", status: 400, body: `{"error":"invalid_scope"}`},
		{name: "invalid_token", status: 401, body: `{"error":"invalid_token"}`},
		{name: "access_denied", status: 403, body: `{"error":"access_denied"}`},
		{name: "a code of its own", status: 422, body: `{"error":"refresh_token_reused"}`},
		{name: "an error at 200", status: 200, body: `{"ok":false,"error":"token_revoked"}`},
		{name: "a message", status: 400, body: `{"status":400,"message":"Invalid refresh token"}`},
		{name: "an object", status: 400, body: `{"error":{"message":"no","code":190}}`},
		{name: "a redirect with an error", status: 307, body: `{"error":"x"}`},
		{name: "JSON of a page's type", status: 400, header: "Content-Type: text/html", body: `{"error":"x"}`},
		{name: "nothing known", status: 400, body: `{}`},
		{name: "empty, as glewlwyd says it", status: 400},
	}
}

// refusalsThatPass are errors: they may pass, no sign-in would help, or they are no answer of the server.
func refusalsThatPass() []storedRefusal {
	const page = "Content-Type: text/html"
	return []storedRefusal{
		{name: "network", fails: io.ErrUnexpectedEOF, requests: 3},
		{name: "500", status: 500, requests: 3},
		{name: "500 with an error", status: 500, body: `{"error":"x"}`, requests: 3},
		{name: "501", status: 501, body: `{"error":"x"}`},
		{name: "503", status: 503, requests: 3},
		{name: "503 with an error", status: 503, body: `{"error":"x"}`, requests: 3},
		{name: "599", status: 599, body: `{}`},
		{name: "429", status: 429, body: `{"error":"slow_down"}`, requests: 3},
		{name: "429 without a body", status: 429, requests: 3},
		{name: "408", status: 408, body: `{}`, requests: 3},
		{name: "server_error", status: 400, body: `{"error":"server_error"}`, requests: 3},
		{name: "temporarily_unavailable", status: 200, body: `{"error":"temporarily_unavailable"}`, requests: 3},
		{name: "a page at 200", status: 200, header: page, body: "<html>Log in to this network</html>"},
		{name: "a page at 400", status: 400, header: page, body: "<html>Log in to this network</html>"},
		{name: "a page at 403", status: 403, header: page, body: "<html>Blocked</html>"},
		{name: "a page at 511", status: 511, header: page, body: "<html>Log in to this network</html>"},
		{name: "empty at 401", status: 401},
		{name: "empty at 403", status: 403},
		{name: "empty at 404", status: 404},
		{name: "text at 400", status: 400, body: "Bad Request"},
		{name: "a list at 400", status: 400, body: `["x"]`},
		{name: "half an answer at 400", status: 400, body: `{"error":"inv`},
		{name: "a redirect", status: 302, header: "Location: https://portal.example/"},
		{name: "invalid_client at 401", status: 401, body: `{"error":"invalid_client"}`},
		{name: "invalid_client at 400", status: 400, body: `{"error":"invalid_client"}`},
		{name: "invalid_client at 200", status: 200, body: `{"error":"invalid_client"}`},
		{name: "no token", status: 200, body: `{}`},
		{name: "nothing at 200", status: 200},
		{name: "another type of token", status: 200, body: `{"access_token":"a","token_type":"mac"}`},
	}
}

// answer answers a refresh.
func (r *storedRefusal) answer(req *http.Request) (*http.Response, error) {
	if r.fails != nil {
		return nil, r.fails
	}
	return answering(r.status, r.header, r.body)(req)
}

// After a lasting refusal the user signs in anew, once, and the new credentials are stored. // W25 W26
func TestSignInAfterRefusal(t *testing.T) {
	t.Parallel()
	for _, row := range refusalsThatLast() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := NewTestServer(t)
			client := clientOf(s)
			refreshes := 0
			client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				if formOf(t, req).Get("grant_type") != "refresh_token" {
					return http.DefaultTransport.RoundTrip(req)
				}
				refreshes++
				return row.answer(req)
			})}
			store := newMemoryStore()
			if err := NewCredentials(client, NewSecret("dead"), "a").Save(t.Context(), store); err != nil {
				t.Fatal(err)
			}
			flow := NewInstalledAppFlow(client, "a")
			flow.Store, flow.Prompt, flow.OpenBrowser = store, io.Discard, s.Browser
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				creds, err := flow.SignIn(ctx)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				if tok, err := creds.Token(t.Context()); err != nil || !tok.Valid() {
					t.Error(tok, err)
				}
				if s.Count("/authorize") != 1 || refreshes != 1 || s.TokenRequests("") != 1 {
					t.Errorf("%d sign-ins, %d refreshes", s.Count("/authorize"), refreshes)
				}
				if got := storedMembers(t, store)["refresh_token"]; got == "dead" || got == "" {
					t.Errorf("%v is stored", got)
				}
			}
		})
	}
}

// After any other failure there is an error, no browser, and what is stored stays. // W26
func TestSignInAfterFailure(t *testing.T) {
	t.Parallel()
	for _, row := range refusalsThatPass() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
					n++
					return row.answer(req)
				}))
				store := newMemoryStore()
				if err := NewCredentials(client, NewSecret("r"), "a").Save(t.Context(), store); err != nil {
					t.Fatal(err)
				}
				before := string(store.data)
				opened, tok, err := startedSignIn(t, NewInstalledAppFlow(client, "a"), store)
				if opened || tok != nil || err == nil || errors.Is(err, ErrLoginRequired) {
					t.Errorf("signed in anew: %t; %v, %v", opened, tok, err)
				}
				if n != max(row.requests, 1) {
					t.Errorf("%d requests", n)
				}
				if string(store.data) != before {
					t.Errorf("stored: %s", store.data)
				}
			})
		})
	}
}

// Token tells its caller of a lasting refusal at once, after one request, and asks no browser and no server until the
// pause is over. // W26
func TestTokenAfterRefusal(t *testing.T) {
	t.Parallel()
	for _, row := range refusalsThatLast() {
		for _, stored := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				creds := refusedCredentials(t, stored, func(req *http.Request) (*http.Response, error) {
					n++
					return row.answer(req)
				})
				start := time.Now()
				for range 3 {
					tok, err := creds.Token(t.Context())
					e := (*Error)(nil)
					if tok != nil || !errors.As(err, &e) || e.StatusCode != row.status || e.Temporary() ||
						errors.Is(err, ErrLoginRequired) != row.login {
						t.Errorf("%s: %v, %v", row.name, tok, err)
					}
				}
				if n != 1 || time.Since(start) != 0 {
					t.Errorf("%s: %d requests in %v", row.name, n, time.Since(start))
				}
				time.Sleep(time.Minute)
				creds.Token(t.Context())
				if want := map[bool]int{false: 2, true: 1}[row.login]; n != want {
					t.Errorf("%s: %d requests after a minute, want %d", row.name, n, want)
				}
			})
		}
	}
}

// A file that is not understood is an error, and one of another client makes way for a sign-in. // W26
func TestSignInOverFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file string
		signIn     bool
	}{
		{name: "another client", signIn: true,
			file: `{"client_id":"other","token_uri":"https://as.example/token","refresh_token":"r"}`},
		{name: "another server", signIn: true,
			file: `{"client_id":"client","token_uri":"https://other.example/token","refresh_token":"r"}`},
		{name: "nothing", signIn: true},
		{name: "corrupt", file: `{`},
		{name: "empty object", file: `{}`},
		{name: "a list", file: `[]`},
		{name: "another type", file: `{"type":"service_account","client_email":"a@b"}`},
		{name: "a client file", file: `{"installed":{"client_id":"client"}}`},
		{name: "no tokens", file: `{"client_id":"client","token_uri":"https://as.example/token"}`},
		{name: "bad parameters", file: `{"client_id":"client","token_uri":"https://as.example/token",` +
			`"refresh_token":"r","token_params":{"x":5}}`},
	} {
		client := clientOver(roundTripFunc(func(*http.Request) (*http.Response, error) {
			t.Errorf("%s: a request was sent", tt.name)
			return nil, errors.New("no network")
		}))
		store := newMemoryStore()
		if tt.file != "" {
			store.data = []byte(tt.file)
		}
		opened, _, err := startedSignIn(t, NewInstalledAppFlow(client, "a"), store)
		if opened != tt.signIn || err == nil {
			t.Errorf("%s: signed in anew: %t; %v", tt.name, opened, err)
		}
		if string(store.data) != tt.file {
			t.Errorf("%s: stored: %s", tt.name, store.data)
		}
	}
}

// xoauth2File is what a program with golang.org/x/oauth2 writes: json.Marshal of its Token.
func xoauth2File(members ...string) string {
	return jsonObject(map[string]string{
		"access_token":  `"ya29.old"`,
		"token_type":    `"Bearer"`,
		"refresh_token": `"1//old"`,
		"expiry":        `"2140-01-02T03:04:05.123456789+01:00"`,
	}, members)
}

// The token.json of golang.org/x/oauth2 is taken over, as this client's. // W27
func TestTokenFileOfXOAuth2(t *testing.T) {
	t.Parallel()
	const zero = `"0001-01-01T00:00:00Z"` // what a Token without an expiry is written with
	for _, tt := range []struct {
		name, file string
		expiry     string // of the token that is used; "": there is a refresh
		none       bool   // it has no expiry
		signIn     bool
	}{
		{name: "in use", file: xoauth2File(), expiry: "2140-01-02T02:04:05.123456789Z"},
		{name: "no fraction", file: xoauth2File("expiry", `"2140-01-01T00:00:00Z"`), expiry: "2140-01-01T00:00:00Z"},
		{name: "offset", file: xoauth2File("expiry", `"2140-01-01T00:00:00-05:30"`), expiry: "2140-01-01T05:30:00Z"},
		{name: "expires_in beside it", file: xoauth2File("expires_in", "3599"),
			expiry: "2140-01-02T02:04:05.123456789Z"},
		{name: "no refresh token", file: xoauth2File("refresh_token", ""), expiry: "2140-01-02T02:04:05.123456789Z"},
		{name: "neither refresh token nor expiry", file: xoauth2File("refresh_token", "", "expiry", zero), none: true},
		{name: "no type", file: xoauth2File("token_type", ""), expiry: "2140-01-02T02:04:05.123456789Z"},

		{name: "expired", file: xoauth2File("expiry", `"2000-01-01T00:00:00Z"`)},
		{name: "no expiry", file: xoauth2File("expiry", "")}, // it may be old
		{name: "zero expiry", file: xoauth2File("expiry", zero)},
		{name: "empty access token", // which makes that library refresh
			file: xoauth2File("access_token", `""`, "token_type", `""`, "expiry", zero)},
		{name: "expired, no refresh token", signIn: true,
			file: xoauth2File("refresh_token", "", "expiry", `"2000-01-01T00:00:00Z"`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := ParseCredentials([]byte(tt.file)); !errorSays(err, "has no client_id") {
				t.Errorf("ParseCredentials: %v", err)
			}
			client, forms := recordForms(t, tokenAnswer)
			name := filepath.Join(privateDir(t), "token.json")
			writeFile(t, name, tt.file)
			store := FileStore(name)
			if _, err := LoadCredentials(t.Context(), nil, store); !errorSays(err, "has no client_id") {
				t.Errorf("LoadCredentials without a client: %v", err)
			}
			opened, tok, err := startedSignIn(t, NewInstalledAppFlow(client, "a", "b"), store)
			if opened != tt.signIn || (err != nil) != tt.signIn {
				t.Fatalf("signed in anew: %t; %v", opened, err)
			}
			if err != nil {
				return
			}
			want := "at-1"
			if tt.expiry != "" || tt.none {
				want = "ya29.old"
			}
			if tok.AccessToken.Reveal() != want || len(*forms) != map[string]int{"at-1": 1, "ya29.old": 0}[want] {
				t.Errorf("the token is %q after %d requests", tok.AccessToken.Reveal(), len(*forms))
			}
			if got := tok.Expiry.UTC().Format(time.RFC3339Nano); tt.expiry != "" && got != tt.expiry {
				t.Errorf("the expiry is %s", got)
			}
			if tt.none != tok.Expiry.IsZero() {
				t.Errorf("the expiry is %v", tok.Expiry)
			}
			if want == "at-1" && ((*forms)[0].Get("refresh_token") != "1//old" || (*forms)[0].Has("scope")) {
				t.Errorf("sent: %v", *forms)
			}
			creds, err := LoadCredentials(t.Context(), client, store)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := creds.Token(t.Context()); err != nil || again.AccessToken.Reveal() != want {
				t.Errorf("loaded: %v, %v", again, err)
			}
		})
	}
}

// The next save of a token.json writes the package's format, which everybody reads. // W27
func TestTokenFileIsWrittenAnew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		save func(ctx context.Context, c *Credentials, store Store) error
		want string
	}{
		{"a refresh", func(ctx context.Context, c *Credentials, _ Store) error {
			return errorOf(c.Refresh(ctx))
		}, "at-1"},
		{"Save", func(ctx context.Context, c *Credentials, store Store) error {
			return c.Save(ctx, store)
		}, "ya29.old"},
		{"Save elsewhere and back", func(ctx context.Context, c *Credentials, store Store) error {
			return errors.Join(c.Save(ctx, newMemoryStore()), c.Save(ctx, store))
		}, "ya29.old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, forms := recordForms(t, tokenAnswer)
			name := filepath.Join(privateDir(t), "token.json")
			// Where the tokens go is the client's to say.
			writeFile(t, name, xoauth2File("expires_in", "3599", "token_uri", `"https://evil.example/token"`,
				"client_secret", `"evil"`, "issuer", `"https://evil.example"`, "mine", `{"a":[1]}`))
			store := FileStore(name)
			creds, err := LoadCredentials(t.Context(), client, store)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.save(t.Context(), creds, store); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			checkPythonReads(t, data)
			members := storedMembers(t, store)
			for _, gone := range []string{"access_token", "token_type", "expires_in"} {
				if _, ok := members[gone]; ok {
					t.Errorf("%s is still there", gone)
				}
			}
			for member, value := range map[string]any{
				"type": "authorized_user", "client_id": "client", "client_secret": canaryClientSecret,
				"token_uri": "https://as.example/token", "token": tt.want, "refresh_token": "1//old", "issuer": nil,
			} {
				if members[member] != value {
					t.Errorf("%s is %v, want %v", member, members[member], value)
				}
			}
			if _, ok := members["mine"]; !ok {
				t.Error("a member that the package does not know is lost")
			}
			if _, err := ParseCredentials(data); err != nil {
				t.Error(err)
			}
			loaded, err := LoadCredentials(t.Context(), nil, store)
			if err != nil || tokenOrError(t.Context(), loaded) != tt.want {
				t.Error(err)
			}
			for _, form := range *forms {
				if form.Get("client_id") != "client" || form.Get("client_secret") != canaryClientSecret {
					t.Errorf("sent: %v", form)
				}
			}
		})
	}
}

// An old program that still writes its token.json does not lose a later token to Save. // W27
func TestTokenFileOfOldProgram(t *testing.T) {
	t.Parallel()
	client, _ := recordForms(t, tokenAnswer)
	store := newMemoryStore()
	store.data = []byte(xoauth2File())
	creds, err := LoadCredentials(t.Context(), client, store)
	if err != nil {
		t.Fatal(err)
	}
	later := xoauth2File("access_token", `"ya29.later"`, "refresh_token", `"1//later"`)
	store.data = []byte(later)
	if err := creds.Save(t.Context(), store); err != nil || string(store.data) != later {
		t.Errorf("%v; stored: %s", err, store.data)
	}
}

// What is no token.json is not taken for one. // W27
func TestTokenFileRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, want string }{
		{`{"refresh_token":"1//old"}`, "has no client_id"},
		{`{"token":"ya29.old"}`, "has no client_id"},
		{`{}`, "has no client_id"},
		{xoauth2File("access_token", `""`, "refresh_token", ""), "has no refresh_token"},
		{xoauth2File("access_token", "5"), "token that is not a string"},
		{xoauth2File("access_token", "{}"), "token that is not a string"},
		{xoauth2File("refresh_token", "[]"), "refresh_token that is not a string"},
		{xoauth2File("expiry", `"soon"`), "expiry that is not a time"},
		{xoauth2File("type", `"service_account"`), "of type"},
		{xoauth2File("access_token", `"a\nb"`), "characters that no token has"},
		{xoauth2File("client_id", `"other"`), "another client"},
	} {
		client, _ := recordForms(t, tokenAnswer)
		store := newMemoryStore()
		store.data = []byte(tt.file)
		if _, err := LoadCredentials(t.Context(), client, store); !errorSays(err, tt.want) {
			t.Errorf("%s: %v", tt.file, err)
		}
	}
}

// reservedNames are the parameters that carry the protocol.
var reservedNames = []string{
	"response_type", "client_id", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method",
	"request", "request_uri", "grant_type", "code", "code_verifier", "device_code", "refresh_token", "assertion",
	"client_secret",
	"client_assertion", "client_assertion_type",
}

// TokenParams go to the token endpoint with the code, the device code and each refresh, and into the store. // W28
func TestTokenParams(t *testing.T) {
	t.Parallel()
	params := url.Values{
		"resource": {"https://mcp.example/", "https://api.example/"},
		"audience": {"https://api.example/"},
		"scope":    {"openid api://1/read"},
		"x":        {"<&\u2028>"},
		"empty":    {""},
	}
	sent := maps.Clone(params)
	delete(sent, "empty") // as if it were not there (RFC 6749, Section 3.1)
	check := func(what string, form url.Values, grant string) {
		t.Helper()
		for name, values := range sent {
			if !slices.Equal(form[name], values) {
				t.Errorf("%s: %s is %q, want %q", what, name, form[name], values)
			}
		}
		if form.Get("grant_type") != grant || form.Has("empty") {
			t.Errorf("%s: sent %v", what, form)
		}
	}
	answer := `{"access_token":"a","refresh_token":"r","expires_in":3600}`
	client, forms := recordForms(t, answer)
	flow := NewFlow(client, "openid")
	flow.RedirectURI = "http://127.0.0.1/"
	flow.TokenParams = maps.Clone(params)
	flow.Params = url.Values{"audience": {"https://replaced.example/"}, "prompt": {"login"}}
	authURL, err := flow.AuthorizationURL()
	if err != nil {
		t.Fatal(err)
	}
	if u, _ := url.Parse(authURL); u.Query().Has("x") || u.Query().Get("audience") != "https://replaced.example/" ||
		u.Query().Get("scope") != "openid" {
		t.Errorf("the authorization request is %s", authURL)
	}
	data, err := flow.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	clear(flow.TokenParams) // the attempt has its own
	resumed, err := ResumeFlow(client, data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flow.FetchToken(t.Context(), "code"); err != nil {
		t.Fatal(err)
	}
	check("the code", (*forms)[0], "authorization_code")
	creds, err := resumed.FetchToken(t.Context(), "code")
	if err != nil {
		t.Fatal(err)
	}
	check("the code after ResumeFlow", (*forms)[1], "authorization_code")
	store := newMemoryStore()
	refresh := func(what string, c *Credentials) {
		t.Helper()
		if _, err := c.Refresh(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		check(what, (*forms)[len(*forms)-1], "refresh_token")
	}
	refresh("a refresh", creds)
	if err := creds.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	refresh("a refresh through the store", creds)
	loaded, err := LoadCredentials(t.Context(), client, store)
	if err != nil {
		t.Fatal(err)
	}
	refresh("a refresh after a load", loaded)
	set := NewCredentials(client, NewSecret("r"), "asked")
	set.TokenParams = params
	refresh("a refresh of credentials that a program made", set)
	set = NewCredentials(client, NewSecret("r"), "asked")
	if _, err := set.Refresh(t.Context()); err != nil || (*forms)[len(*forms)-1].Get("scope") != "asked" {
		t.Errorf("without TokenParams: %v, %v", (*forms)[len(*forms)-1], err)
	}
}

// W28
func TestDeviceTokenParams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var forms []url.Values
		client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
			forms = append(forms, formOf(t, req))
			if req.URL.Path == "/device" {
				return answering(200, faultJSON, `{"device_code":"d","user_code":"u",`+
					`"verification_uri":"https://as.example/d","expires_in":600}`)(req)
			}
			return answering(200, faultJSON, tokenAnswer)(req)
		}))
		client.DeviceAuthURI = "https://as.example/device"
		flow := NewInstalledAppFlow(client, "a")
		flow.Prompt = io.Discard
		flow.TokenParams = url.Values{"resource": {"x", "y"}, "scope": {"b"}}
		creds, err := flow.RunDevice(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(forms) != 2 || forms[0].Has("resource") || forms[0].Get("scope") != "a" ||
			!slices.Equal(forms[1]["resource"], []string{"x", "y"}) || forms[1].Get("scope") != "b" {
			t.Errorf("sent %v", forms)
		}
		if creds.TokenParams.Get("scope") != "b" {
			t.Errorf("kept %v", creds.TokenParams)
		}
	})
}

// Parameters that carry the protocol are refused before anything is sent, wherever they come from: code, a stored
// sign-in, a hostile file. scope is not one of them. // W28
func TestTokenParamsRefused(t *testing.T) {
	t.Parallel()
	var sent []string
	client := clientOver(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		sent = append(sent, formOf(t, req).Encode())
		return answering(200, faultJSON, tokenAnswer)(req)
	}))
	client.DeviceAuthURI = "https://as.example/device"
	for _, name := range reservedNames {
		for _, values := range [][]string{{"evil"}, {""}, {}} {
			params := url.Values{name: values}
			want := fmt.Sprintf("TokenParams has %q", name)
			flow := NewFlow(client, "a")
			flow.RedirectURI, flow.TokenParams = "http://127.0.0.1/", params
			if _, err := flow.AuthorizationURL(); !errorSays(err, want) {
				t.Errorf("Flow, %s: %v", name, err)
			}
			installed := NewInstalledAppFlow(client, "a")
			installed.Prompt, installed.TokenParams = io.Discard, params
			if _, err := installed.RunDevice(t.Context()); !errorSays(err, want) {
				t.Errorf("RunDevice, %s: %v", name, err)
			}
			if _, _, err := startedSignIn(t, installed, newMemoryStore()); !errorSays(err, want) {
				t.Errorf("SignIn, %s: %v", name, err)
			}
			creds := NewCredentials(client, NewSecret("r"))
			creds.TokenParams = params
			if _, err := creds.Refresh(t.Context()); !errorSays(err, want) {
				t.Errorf("Credentials, %s: %v", name, err)
			}
			text, _ := json.Marshal(params)
			store := newMemoryStore()
			store.data = fmt.Appendf(nil, `{"client_id":"client","token_uri":"https://as.example/token",`+
				`"refresh_token":"r","token_params":%s}`, text)
			loaded, err := LoadCredentials(t.Context(), client, store)
			if err == nil {
				_, err = loaded.Token(t.Context())
			}
			if !errorSays(err, want) {
				t.Errorf("a file, %s: %v", name, err)
			}
		}
	}
	if len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
	for _, text := range []string{`5`, `[]`, `"x"`, `{"x":"y"}`, `{"x":[5]}`, `{"x":{}}`, `{"x":[["y"]]}`} {
		data := []byte(`{"client_id":"client","refresh_token":"r","token_params":` + text + `}`)
		if _, err := ParseCredentials(data); !errorSays(err, "token_params that is not an object with lists of strings") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A stored sign-in whose parameters were changed is no way around. // W28
func TestTokenParamsOfStoredSignIn(t *testing.T) {
	t.Parallel()
	client, forms := recordForms(t, tokenAnswer)
	data, err := startedFlow(t, client).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"code_verifier", "client_secret", "code", "grant_type", "redirect_uri", "client_id"} {
		changed := bytes.Replace(data, []byte(`"token_params":null`), []byte(`"token_params":{"`+name+`":["evil"]}`), 1)
		flow, err := ResumeFlow(client, changed)
		if err == nil {
			flow.FetchToken(t.Context(), "code")
		}
		for _, form := range *forms {
			if strings.Contains(form.Encode(), "evil") {
				t.Errorf("%s: sent %v", name, form)
			}
		}
	}
}

// Client credentials with parameters: Zoom's other grant, Auth0's audience. // W29
func TestClientCredentialsParams(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params url.Values
		scopes []string
		want   url.Values
	}{
		{name: "none", want: url.Values{"grant_type": {"client_credentials"}}},
		{name: "scopes", scopes: []string{"a", "b"},
			want: url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}}},
		{name: "Zoom", params: url.Values{"grant_type": {"account_credentials"}, "account_id": {"A1"}},
			want: url.Values{"grant_type": {"account_credentials"}, "account_id": {"A1"}}},
		{name: "Auth0", params: url.Values{"audience": {"https://api.example/"}},
			want: url.Values{"grant_type": {"client_credentials"}, "audience": {"https://api.example/"}}},
		{name: "Entra v1", params: url.Values{"resource": {"https://graph.example/"}}, scopes: []string{"a"},
			want: url.Values{
				"grant_type": {"client_credentials"}, "resource": {"https://graph.example/"}, "scope": {"a"},
			}},
		{name: "an exchange", params: url.Values{
			"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token": {canaryAccessToken}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
		}, want: url.Values{
			"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token": {canaryAccessToken}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
		}},
		{name: "scope", params: url.Values{"scope": {"c"}}, scopes: []string{"a"},
			want: url.Values{"grant_type": {"client_credentials"}, "scope": {"c"}}},
		{name: "several values", params: url.Values{"resource": {"x", "y"}, "empty": {""}},
			want: url.Values{"grant_type": {"client_credentials"}, "resource": {"x", "y"}}},
	} {
		client, forms := recordForms(t, tokenAnswer)
		source := &ClientCredentials{Client: client, Scopes: tt.scopes, Params: tt.params}
		before := fmt.Sprint(tt.params)
		tok, err := source.Token(t.Context())
		if err != nil || tok.AccessToken.Reveal() != "at-1" {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		tt.want.Set("client_id", "client")
		tt.want.Set("client_secret", canaryClientSecret)
		if got := (*forms)[0].Encode(); got != tt.want.Encode() {
			t.Errorf("%s: sent %s, want %s", tt.name, got, tt.want.Encode())
		}
		if fmt.Sprint(tt.params) != before {
			t.Errorf("%s: the caller's parameters are now %v", tt.name, tt.params)
		}
	}
	for _, name := range []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		for _, values := range [][]string{{"evil"}, {""}, {}} {
			client, forms := recordForms(t, tokenAnswer)
			_, err := (&ClientCredentials{Client: client, Params: url.Values{name: values}}).Token(t.Context())
			if !errorSays(err, fmt.Sprintf("Params has %q", name)) || len(*forms) > 0 {
				t.Errorf("%s: %v; sent %v", name, err, *forms)
			}
		}
	}
	// What a parameter holds is a secret too.
	client := clientOver(answering(400, faultJSON, `{"error":"invalid_request","error_description":"SENTINEL-AT"}`))
	_, err := (&ClientCredentials{Client: client, Params: url.Values{"subject_token": {canaryAccessToken}}}).
		Token(t.Context())
	if e := (*Error)(nil); !errors.As(err, &e) || e.Code != "invalid_request" || e.Description != "" {
		t.Error(err)
	}
}

// FuzzTokenAnswer: whatever members a token answer has, there is a token or an error, and what is stored of the token
// is read back as it was. // W20 W21 W22 W23
func FuzzTokenAnswer(f *testing.F) {
	for _, row := range [][6]string{
		{`"Bearer"`, `3600`, `"a b"`, `"r"`, `"https://x.example/"`, `{"a":[1,2]}`},
		{`"bot"`, `-1`, `["a","b c"]`, `null`, `{"access_token":"xoxp-1"}`, `null`},
		{`"mac"`, `"60"`, `"a,b"`, `""`, `[[[[]]]]`, `"\ud800"`},
		{`null`, `1e400`, `[]`, `{}`, `"\u0000<&>\u2028"`, `5e-9`},
		{`["Bearer"]`, `"x"`, `5`, `"r\n"`, `true`, `"]}"`},
	} {
		f.Add(row[0], row[1], row[2], row[3], row[4], row[5], "instance_url", "team")
	}
	f.Add(`"user"`, `0`, `"\t\n,"`, `"r"`, `1`, `2`, "extra", "token")
	f.Add(`""`, `""`, `[""]`, `"r"`, `1`, `2`, "a", "A")
	f.Fuzz(func(t *testing.T, tokenType, lifetime, scope, refresh, first, second, firstName, secondName string) {
		names := make([]string, 2)
		for i, name := range []string{firstName, secondName} {
			text, _ := json.Marshal(name)
			names[i] = string(text)
		}
		body := `{"access_token":"a","token_type":` + tokenType + `,"expires_in":` + lifetime + `,"scope":` + scope +
			`,"refresh_token":` + refresh + `,` + names[0] + `:` + first + `,` + names[1] + `:` + second + `}`
		creds := NewCredentials(clientOver(answering(200, faultJSON, body)), NewSecret("old"))
		tok, err := creds.fetch(t.Context(), false)
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || unprintable(err.Error()) {
				t.Fatalf("%s: %v", body, err)
			}
			if tok != nil && !tok.AccessToken.empty() {
				t.Fatalf("%s: a token and the error %v", body, err)
			}
			return
		}
		if !validToken(tok.AccessToken.Reveal()) || tok.RefreshToken.empty() ||
			tok.Expiry.After(time.Now().Add(maxLifetime+time.Hour)) ||
			slices.ContainsFunc(tok.Scopes, func(s string) bool { return s == "" || len(strings.Fields(s)) != 1 }) {
			t.Fatalf("%s: %+v", body, tok)
		}
		creds.cache.keep(tok)
		file, err := creds.MarshalAuthorizedUser()
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		again, err := ParseCredentials(file)
		if err != nil {
			t.Fatalf("%s, stored as %s: %v", body, file, err)
		}
		got := again.cache.current.Load()
		isSame := got.RefreshToken.equal(tok.RefreshToken) && got.Expiry.Sub(tok.Expiry).Abs() < time.Microsecond &&
			(got.AccessToken.equal(tok.AccessToken) || tok.Expiry.IsZero())
		if !isSame {
			t.Fatalf("%s: %+v, want %+v", file, got, tok)
		}
		if (got.extra == nil) != (tok.extra == nil) || tok.extra != nil && !maps.Equal(got.extra(), tok.extra()) {
			t.Fatalf("%s: the members of %s are not as before", file, body)
		}
		if fileAgain, err := again.MarshalAuthorizedUser(); err != nil || !tok.Expiry.IsZero() &&
			!bytes.Equal(fileAgain, file) {
			t.Fatalf("%s, and then %s: %v", file, fileAgain, err)
		}
	})
}

// Very many lists in an answer take little memory: their items have no names that could occur twice.
func TestManyListsTakeLittle(t *testing.T) {
	text := []byte(`{"a":[` + strings.Repeat("[1],", maxBody/5) + "1]}")
	if n := testing.AllocsPerRun(1, func() {
		if _, err := parseObject(text); err != nil {
			t.Error(err)
		}
	}); n > maxBody/4 {
		t.Errorf("%v allocations", n)
	}
}
