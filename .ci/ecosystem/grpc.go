package ecosystem

import (
	"context"

	"example.com/oauth2"
)

// rpcCredentials are the credentials of a gRPC client. They need TLS.
type rpcCredentials struct{ src oauth2.TokenSource }

func (c rpcCredentials) GetRequestMetadata(
	ctx context.Context, _ ...string,
) (map[string]string, error) {
	tok, err := c.src.Token(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + tok.AccessToken.Reveal()}, nil
}

func (rpcCredentials) RequireTransportSecurity() bool { return true }
