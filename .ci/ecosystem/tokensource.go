package ecosystem

import (
	"context"

	xoauth2 "golang.org/x/oauth2"

	"example.com/oauth2"
)

// A tokenSource is a TokenSource of golang.org/x/oauth2, whose method has no context. A refresh
// ends after two minutes at the latest.
type tokenSource struct{ src oauth2.TokenSource }

func (s tokenSource) Token() (*xoauth2.Token, error) {
	tok, err := s.src.Token(context.Background())
	if err != nil {
		return nil, err
	}
	return &xoauth2.Token{AccessToken: tok.AccessToken.Reveal(), Expiry: tok.Expiry}, nil
}
