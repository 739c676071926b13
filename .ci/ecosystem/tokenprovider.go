package ecosystem

import (
	"context"

	"cloud.google.com/go/auth"
	"google.golang.org/api/option"

	"example.com/oauth2"
)

// A tokenProvider is a TokenProvider of cloud.google.com/go/auth.
type tokenProvider struct{ src oauth2.TokenSource }

func (p tokenProvider) Token(ctx context.Context) (*auth.Token, error) {
	tok, err := p.src.Token(ctx)
	if err != nil {
		return nil, err
	}
	return &auth.Token{Value: tok.AccessToken.Reveal(), Type: "Bearer", Expiry: tok.Expiry}, nil
}

func withTokens(src oauth2.TokenSource) option.ClientOption {
	opts := &auth.CredentialsOptions{TokenProvider: tokenProvider{src}}
	return option.WithAuthCredentials(auth.NewCredentials(opts))
}
