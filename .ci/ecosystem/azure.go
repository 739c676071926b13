package ecosystem

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"example.com/oauth2"
)

// An azureCredential is a TokenCredential of azcore. The tokens of src are for one scope. A client
// that needs another scope gets none of them.
type azureCredential struct {
	src   oauth2.TokenSource
	scope string
}

func (c azureCredential) GetToken(
	ctx context.Context, opts policy.TokenRequestOptions,
) (azcore.AccessToken, error) {
	if len(opts.Scopes) != 1 || opts.Scopes[0] != c.scope {
		return azcore.AccessToken{}, fmt.Errorf("no token for %q", opts.Scopes)
	}
	tok, err := c.src.Token(ctx)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: tok.AccessToken.Reveal(), ExpiresOn: tok.Expiry}, nil
}
