package ecosystem

import "example.com/oauth2"

// An xoauth2Client signs a user in at a mail server. It is a sasl.Client of
// github.com/emersion/go-sasl, which github.com/emersion/go-imap uses.
type xoauth2Client struct {
	user  string
	token oauth2.Secret
}

func (c xoauth2Client) Start() (mechanism string, response []byte, err error) {
	response = []byte("user=" + c.user + "\x01auth=Bearer " + c.token.Reveal() + "\x01\x01")
	return "XOAUTH2", response, nil
}

// Next answers the reason that a server gives before it refuses.
func (c xoauth2Client) Next([]byte) ([]byte, error) { return []byte{}, nil }
