package ecosystem

import (
	"bytes"
	"context"
	"errors"

	"github.com/zalando/go-keyring"

	"example.com/oauth2"
)

// A keyringStore is an oauth2.Store in the user's keyring. A keyring has no lock, so that of a
// FileStore is used, in which nothing is stored.
type keyringStore struct {
	service, user string
	lock          oauth2.Store
}

func (s *keyringStore) Load(context.Context) ([]byte, error) {
	text, err := keyring.Get(s.service, s.user)
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []byte(text), nil
}

func (s *keyringStore) Update(ctx context.Context, fn func([]byte) ([]byte, error)) error {
	return s.lock.Update(ctx, func([]byte) ([]byte, error) {
		old, err := s.Load(ctx)
		if err != nil {
			return nil, err
		}
		data, err := fn(old)
		if err != nil || bytes.Equal(data, old) {
			return nil, err
		}
		if data == nil {
			return nil, keyring.Delete(s.service, s.user)
		}
		return nil, keyring.Set(s.service, s.user, string(data))
	})
}
