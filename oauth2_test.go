package oauth2

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// noSecret fails t if v shows one of secrets, by whatever a program may print, log or encode v with: alone, behind a
// pointer, in fields, maps and slices, and each error that v wraps. A secret may show as it is, in hex, base64
// (at any alignment), as numbers, or escaped for a URL, JSON or Go.
func noSecret(t testing.TB, v any, secrets ...string) {
	t.Helper()
	texts := noSecretTexts(v)
	all := strings.Join(texts, "\n")
	for _, secret := range secrets {
		if len(secret) < 8 {
			t.Fatalf("%q is too short to be looked for", secret)
		}
		for _, form := range noSecretForms(secret) {
			if !strings.Contains(all, form) {
				continue
			}
			for _, text := range texts {
				if strings.Contains(text, form) {
					t.Errorf("%T shows %q as %q in: %.600s", v, secret, form, text)
					break
				}
			}
			break
		}
	}
}

func noSecretForms(secret string) []string {
	b := []byte(secret)
	goQuoted := strconv.Quote(secret)
	asJSON, _ := json.Marshal(secret)
	var plainJSON bytes.Buffer
	encoder := json.NewEncoder(&plainJSON)
	encoder.SetEscapeHTML(false)
	encoder.Encode(secret)
	var asXML bytes.Buffer
	xml.EscapeText(&asXML, b)
	forms := []string{
		secret, goQuoted[1 : len(goQuoted)-1], string(asJSON[1 : len(asJSON)-1]), strings.Trim(plainJSON.String(), "\"\n"), asXML.String(),
		url.QueryEscape(secret), url.PathEscape(secret), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"),
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), fmt.Sprintf("% x", b), fmt.Sprintf("% X", b),
		strings.Trim(fmt.Sprint(b), "[]"), strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}"), strings.Trim(fmt.Sprintf("%U", []rune(secret)), "[]"),
	}
	for shift := range 3 { // base64 of a text that has the secret somewhere
		padded := append(make([]byte, shift), b...)
		from, to := (8*shift+5)/6, len(padded)*8/6
		forms = append(forms, base64.StdEncoding.EncodeToString(padded)[from:to], base64.URLEncoding.EncodeToString(padded)[from:to])
	}
	return forms
}

func noSecretTexts(v any) (texts []string) {
	type exported struct{ V any }
	type unexported struct{ v any }
	values := []any{v, exported{v}, unexported{v}, &exported{v}, &unexported{v}, map[string]any{"k": v}, []any{v}, [1]any{v}, &v}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() { // reflection copies what vet would not
		e := r.Elem().Interface()
		values = append(values, e, exported{e}, unexported{e}, map[string]any{"k": e}, []any{e})
	} else if r.IsValid() && r.Kind() != reflect.Pointer {
		p := reflect.New(r.Type())
		p.Elem().Set(r)
		values = append(values, p.Interface(), unexported{p.Interface()})
	}
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%c", "%U", "%o", "%b", "%e", "%g", "%p", "%T", "%20.9v", "%#q"}
	for _, x := range values {
		for _, verb := range verbs {
			texts = append(texts, fmt.Sprintf(verb, x))
		}
		switch p := x.(type) { // what the runtime prints of a panic
		case error:
			texts = append(texts, p.Error())
		case fmt.Stringer:
			texts = append(texts, p.String())
		}
		var logged bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
			slog.New(h).With("with", x).WithGroup("group").Info("message", "key", x, slog.Group("inner", "key", x))
		}
		texts = append(texts, logged.String())
		for _, encode := range []func(any) ([]byte, error){json.Marshal, xml.Marshal, noSecretGob} {
			b, err := encode(x)
			texts = append(texts, string(b), fmt.Sprint(err))
		}
	}
	switch w := v.(type) {
	case interface{ Unwrap() error }:
		if inner := w.Unwrap(); inner != nil {
			texts = append(texts, noSecretTexts(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range w.Unwrap() {
			texts = append(texts, noSecretTexts(inner)...)
		}
	}
	return texts
}

func noSecretGob(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// The harness itself: it must see a secret wherever one can show.
func TestNoSecretSees(t *testing.T) {
	t.Parallel()
	const secret = `SENTINEL-X/+%&<"\`
	type unexported struct{ s string }
	for name, v := range map[string]any{
		"string": secret, "bytes": []byte(secret), "unexported": unexported{secret}, "pointer": &unexported{secret}, "map": map[string]string{"k": secret},
		"key": map[string]int{secret: 1}, "error": fmt.Errorf("x: %w", fmt.Errorf("%x", secret)), "query": url.Values{"k": {secret}}.Encode(),
		"base64": base64.StdEncoding.EncodeToString([]byte("id:" + secret + "!")), "base64url": base64.RawURLEncoding.EncodeToString([]byte("abcd" + secret)),
		"quoted": strconv.Quote(secret), "json": json.RawMessage(`{"k":"SENTINEL-X/+%&\u003c\"\\"}`), "struct": struct{ T struct{ Access string } }{struct{ Access string }{secret}},
	} {
		probe := &noSecretProbe{TB: t}
		noSecret(probe, v, secret)
		if !probe.failed {
			t.Errorf("%s: the secret was not seen", name)
		}
	}
	noSecret(t, "SENTINEL-Y", secret)
}

type noSecretProbe struct {
	testing.TB
	failed bool
}

func (p *noSecretProbe) Errorf(string, ...any) { p.failed = true }
