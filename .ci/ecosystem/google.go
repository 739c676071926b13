// Package ecosystem lets clients that people use work with the package. What is in its files,
// other than the tests, is for a program to copy. It is a module of its own, since the clients are
// outside the standard library: see the section ecosystem of .ci/run.
package ecosystem

import (
	"context"

	"cloud.google.com/go/storage"
	"google.golang.org/api/calendar/v3"
	"google.golang.org/api/drive/v3"
	"google.golang.org/api/option"

	"example.com/oauth2"
)

func newCalendar(ctx context.Context, creds oauth2.TokenSource) (*calendar.Service, error) {
	return calendar.NewService(ctx, option.WithHTTPClient(oauth2.NewClient(creds)))
}

func newDrive(ctx context.Context, creds oauth2.TokenSource) (*drive.Service, error) {
	return drive.NewService(ctx, option.WithHTTPClient(oauth2.NewClient(creds)))
}

// newStorage takes a while where there are no credentials in the environment, since the client
// looks for some of its own even so. It doesn't with a tokenProvider.
func newStorage(ctx context.Context, creds oauth2.TokenSource) (*storage.Client, error) {
	return storage.NewClient(ctx, option.WithHTTPClient(oauth2.NewClient(creds)))
}
