package oauth2

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A provider is a row of TestProviders: what a program sets, what the provider demands and sends, and what comes of it.
// Nothing of a provider is asked: a fake in memory answers under the names of its hosts. Answers are written as
// "STATUS BODY", or as the body alone if the status is 200. In a body, ID_TOKEN stands for an ID token.
type provider struct {
	name string
	page string // what the row was written from, and its date

	// What the program sets, or what Discover finds.
	client      ClientSecrets // has an ID and, unless AuthMethod is none, a secret besides
	discover    string        // the issuer that is given to Discover; empty: all of client is set by hand
	methods     []string      // of client authentication, that the discovered document has
	setMethod   string        // the AuthMethod that is set before Discover
	redirectURI string
	scopes      string
	params      url.Values
	tokenParams url.Values

	// What the provider demands.
	demands []string   // those of params without which it refuses the authorization request
	offline string     // "NAME=VALUE", or a scope, without which no refresh token comes
	pkce    pkceUse    // what it makes of the code verifier
	secrets secretKind // what its client secret is

	// What it sends at a sign-in.
	answer      string
	formAnswers bool           // to a client that does not accept JSON
	redirect    string         // parameters of the redirect besides code and state
	claims      map[string]any // of the ID token
	declined    string         // parameters of the redirect after the user declined
	wrongClient rejection      // a wrong client secret
	oneMethod   bool           // another way of client authentication is a wrong client too
	useless     string         // an answer without a usable token

	// What comes of it.
	granted  []string
	lifetime time.Duration     // 0: unknown
	extra    map[string]string // members of the answer as JSON
	refused  *rejection        // the sign-in fails

	refresh refreshing
	dead    []rejection // of a refresh token
	revoke  revoking
	machine *machine
}

// A refreshing is what a provider does when a refresh token is used. Without an answer there are no refresh tokens.
type refreshing struct {
	answer   string
	rotates  bool // the answer has another refresh token, and the old one is dead
	lifetime time.Duration
	extra    map[string]string // that differ from those of the sign-in
}

// A revoking is the answer to a revocation (RFC 7009). Without one, RevocationURI is empty, since the provider has no
// endpoint, or one of its own kind.
type revoking struct {
	answer string
	method string // the AuthMethod, if not that of the client
	uri    string // an endpoint of its own kind, which can't be used
}

// A machine is a client that signs itself in.
type machine struct {
	scopes  string
	params  url.Values
	demands []string // scope, and those of params without which it is refused
	refused rejection

	answer   string
	granted  []string
	lifetime time.Duration
	extra    map[string]string
}

// A rejection is an answer that is an error, and what the package makes of it.
type rejection struct {
	answer        string
	code          string
	description   string // a part of it
	loginRequired bool   // otherwise SignIn signs the user in anew, but the error does not say so
}

// A pkceUse is what a provider makes of PKCE.
type pkceUse int

const (
	pkceChecked pkceUse = iota
	pkceIgnored         // it does not document it
	pkceRefused         // a code verifier makes the exchange fail
)

// A secretKind is what a client secret is.
type secretKind int

const (
	secretText secretKind = iota
	secretJWT             // a JWT that the program signs with its key, as Apple wants it
)

// entraTenant is where one tenant of Microsoft Entra ID has its endpoints.
const entraTenant = "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee"

// What is marked "from memory" was not found in a copy of the documentation.
var providers = []*provider{
	{
		name: "GitHub OAuth app",
		page: "https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps, as of the stored" +
			" copy; PKCE: https://github.blog/changelog/2025-07-14-pkce-support-for-oauth-and-github-app-" +
			"authentication",
		client: ClientSecrets{
			AuthURI:    "https://github.com/login/oauth/authorize",
			TokenURI:   "https://github.com/login/oauth/access_token",
			AuthMethod: authPost,
		},
		redirectURI: "http://127.0.0.1:8080/callback",
		scopes:      "repo gist",
		answer:      `{"access_token":"gho_1","scope":"repo,gist","token_type":"bearer"}`, // W20
		formAnswers: true,
		granted:     []string{"repo", "gist"},
		declined: "error=access_denied&error_description=The+user+has+denied+your+application+access." +
			"&error_uri=https%3A%2F%2Fdocs.github.com%2Fapps",
		// Seen by others: the status of errors of the code exchange.
		wrongClient: rejection{
			answer: `200 {"error":"incorrect_client_credentials",` +
				`"error_description":"The client_id and/or client_secret passed are incorrect."}`,
			code:        "incorrect_client_credentials",
			description: "passed are incorrect",
		},
		// Its tokens neither expire nor are refreshed. They are revoked with a DELETE to its API.
	},
	{
		name: "GitHub App",
		page: "https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/" +
			"refreshing-user-access-tokens, as of the stored copy",
		client: ClientSecrets{
			AuthURI:    "https://github.com/login/oauth/authorize",
			TokenURI:   "https://github.com/login/oauth/access_token",
			AuthMethod: authPost,
		},
		redirectURI: "http://127.0.0.1:8080/callback",
		answer: `{"access_token":"ghu_1","expires_in":28800,"refresh_token":"ghr_1",` +
			`"refresh_token_expires_in":15811200,"scope":"","token_type":"bearer"}`,
		formAnswers: true,
		declined:    "error=access_denied&error_description=The+user+has+denied+your+application+access.",
		wrongClient: rejection{
			answer: `200 {"error":"incorrect_client_credentials"}`,
			code:   "incorrect_client_credentials",
		},
		lifetime: 8 * time.Hour,
		extra:    map[string]string{"refresh_token_expires_in": "15811200"},
		refresh: refreshing{
			answer: `{"access_token":"ghu_2","expires_in":28800,"refresh_token":"ghr_2",` +
				`"refresh_token_expires_in":15897600,"scope":"","token_type":"bearer"}`,
			rotates:  true,
			lifetime: 8 * time.Hour,
			extra:    map[string]string{"refresh_token_expires_in": "15897600"},
		},
		// Seen by others: the status, and the second code.
		dead: []rejection{
			{
				answer: `200 {"error":"bad_refresh_token","error_description":` +
					`"The refresh token passed is incorrect or expired.","error_uri":"https://docs.github.com/apps"}`,
				code:          "bad_refresh_token", // W25
				description:   "incorrect or expired",
				loginRequired: true,
			},
			{answer: `200 {"error":"unauthorized_client"}`, code: "unauthorized_client"}, // W26
		},
	},
	{
		name: "GitLab",
		page: "https://docs.gitlab.com/api/oauth2/, stored copy of 18.5 or later",
		client: ClientSecrets{
			AuthURI:       "https://gitlab.com/oauth/authorize",
			TokenURI:      "https://gitlab.com/oauth/token",
			RevocationURI: "https://gitlab.com/oauth/revoke",
			AuthMethod:    authPost,
		},
		redirectURI: "http://127.0.0.1:8080/callback",
		scopes:      "read_user read_repository",
		answer: `{"access_token":"a1","token_type":"bearer","expires_in":7200,"refresh_token":"r1",` +
			`"created_at":1700000000}`,
		granted:  []string{"read_user", "read_repository"}, // as asked for: the answer does not say
		lifetime: 2 * time.Hour,
		extra:    map[string]string{"created_at": "1700000000"},
		declined: "error=access_denied&error_description=The+resource+owner+denied+the+request.", // from memory
		wrongClient: rejection{ // from memory
			answer:      `401 {"error":"invalid_client","error_description":"Client authentication failed."}`,
			code:        "invalid_client",
			description: "Client authentication failed",
		},
		refresh: refreshing{
			answer: `{"access_token":"a2","token_type":"Bearer","expires_in":7200,"refresh_token":"r2",` +
				`"scope":"read_user read_repository","created_at":1700007200}`,
			rotates:  true,
			lifetime: 2 * time.Hour,
			extra:    map[string]string{"created_at": "1700007200"},
		},
		dead: []rejection{{ // from memory
			answer: `400 {"error":"invalid_grant","error_description":` +
				`"The provided authorization grant is invalid, expired, revoked."}`,
			code:          "invalid_grant",
			description:   "expired, revoked",
			loginRequired: true,
		}},
		revoke: revoking{answer: `200 {}`},
	},
	{
		// The resource is the program's own API. From memory: such a refresh is refused without a scope (AADSTS90009).
		name: "Entra one tenant",
		page: "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow" +
			" and v2-oauth2-client-creds-grant-flow, as of the stored copy",
		client: ClientSecrets{
			Issuer:        entraTenant + "/v2.0",
			AuthURI:       entraTenant + "/oauth2/v2.0/authorize",
			TokenURI:      entraTenant + "/oauth2/v2.0/token",
			DeviceAuthURI: entraTenant + "/oauth2/v2.0/devicecode",
			KeysURI:       entraTenant + "/discovery/v2.0/keys",
			AuthMethod:    authBasic,
		},
		discover:    entraTenant + "/v2.0", // from memory
		methods:     []string{authPost, authKey, authBasic},
		redirectURI: "http://localhost:8080",
		scopes:      "openid offline_access api://1234567890/read",
		tokenParams: url.Values{"scope": {"openid offline_access api://1234567890/read"}}, // W28
		offline:     "offline_access",
		answer: `{"token_type":"Bearer","scope":"api://1234567890/read","expires_in":3599,"ext_expires_in":3599,` +
			`"access_token":"a1","refresh_token":"r1","id_token":"ID_TOKEN"}`,
		granted:  []string{"api://1234567890/read"},
		lifetime: 3599 * time.Second,
		extra:    map[string]string{"ext_expires_in": "3599"},
		declined: "error=access_denied&error_description=the+user+canceled+the+authentication",
		wrongClient: rejection{ // from memory
			answer: `401 {"error":"invalid_client","error_description":` +
				`"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1","error_codes":[7000215]}`,
			code:        "invalid_client",
			description: "AADSTS7000215",
		},
		refresh: refreshing{
			answer: `{"token_type":"Bearer","scope":"api://1234567890/read","expires_in":3599,"ext_expires_in":3599,` +
				`"access_token":"a2","refresh_token":"r2","id_token":"ID_TOKEN"}`,
			rotates:  true,
			lifetime: 3599 * time.Second,
		},
		dead: []rejection{
			{
				answer: `400 {"error":"invalid_grant","error_description":"AADSTS700082: The refresh token ` +
					`has expired due to inactivity.\r\nTrace ID: 1","error_codes":[700082],` +
					`"timestamp":"2026-01-02 03:04:05Z","trace_id":"00000000-0000-0000-0000-000000000001",` +
					`"correlation_id":"00000000-0000-0000-0000-000000000002"}`,
				code:          "invalid_grant",
				description:   "AADSTS700082",
				loginRequired: true,
			},
			{ // W25
				answer:        `400 {"error":"interaction_required","error_description":"AADSTS50076: Use a factor."}`,
				code:          "interaction_required",
				description:   "AADSTS50076",
				loginRequired: true,
			},
			{ // W25
				answer:        `400 {"error":"consent_required","error_description":"AADSTS65001: No consent."}`,
				code:          "consent_required",
				description:   "AADSTS65001",
				loginRequired: true,
			},
		},
		machine: &machine{
			scopes:  "https://graph.microsoft.com/.default",
			demands: []string{"scope"},
			refused: rejection{
				answer: `400 {"error":"invalid_scope","error_description":` +
					`"AADSTS70011: The provided value for the input parameter 'scope' is not valid."}`,
				code:        "invalid_scope",
				description: "AADSTS70011",
			},
			answer:   `{"token_type":"Bearer","expires_in":3599,"access_token":"a3"}`,
			granted:  []string{"https://graph.microsoft.com/.default"},
			lifetime: 3599 * time.Second,
		},
	},
	{
		name: "Entra common",
		page: "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow, as of the stored copy",
		client: ClientSecrets{
			Issuer:        "https://login.microsoftonline.com/{tenantid}/v2.0", // W11
			AuthURI:       "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
			TokenURI:      "https://login.microsoftonline.com/common/oauth2/v2.0/token",
			DeviceAuthURI: "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode",
			KeysURI:       "https://login.microsoftonline.com/common/discovery/v2.0/keys",
			AuthMethod:    authBasic,
		},
		discover:    "https://login.microsoftonline.com/common/v2.0", // from memory
		methods:     []string{authPost, authKey, authBasic},
		redirectURI: "http://localhost:8080",
		scopes:      "openid email offline_access User.Read",
		offline:     "offline_access",
		answer: `{"token_type":"Bearer","scope":"email https://graph.microsoft.com/User.Read","expires_in":3599,` +
			`"access_token":"a1","refresh_token":"r1","id_token":"ID_TOKEN"}`,
		claims: map[string]any{
			"iss": entraTenant + "/v2.0",
			"tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
		},
		granted:     []string{"email", "https://graph.microsoft.com/User.Read"}, // Graph's names come at full length
		lifetime:    3599 * time.Second,
		declined:    "error=access_denied&error_description=the+user+canceled+the+authentication",
		wrongClient: rejection{answer: `401 {"error":"invalid_client"}`, code: "invalid_client"}, // from memory
		refresh: refreshing{
			answer: `{"token_type":"Bearer","scope":"email https://graph.microsoft.com/User.Read","expires_in":3599,` +
				`"access_token":"a2","refresh_token":"r2","id_token":"ID_TOKEN"}`,
			rotates:  true,
			lifetime: 3599 * time.Second,
		},
		dead: []rejection{{
			answer:        `400 {"error":"invalid_grant","error_description":"AADSTS50173: The grant was revoked."}`,
			code:          "invalid_grant",
			description:   "AADSTS50173",
			loginRequired: true,
		}},
	},
	{
		name: "Okta",
		page: "https://developer.okta.com/docs/reference/api/oidc/, stored copy of about 2020",
		client: ClientSecrets{
			Issuer:        "https://ada.okta.com/oauth2/default",
			AuthURI:       "https://ada.okta.com/oauth2/default/v1/authorize",
			TokenURI:      "https://ada.okta.com/oauth2/default/v1/token",
			DeviceAuthURI: "https://ada.okta.com/oauth2/default/v1/device/authorize",
			RevocationURI: "https://ada.okta.com/oauth2/default/v1/revoke",
			KeysURI:       "https://ada.okta.com/oauth2/default/v1/keys",
			AuthMethod:    authBasic,
		},
		discover:    "https://ada.okta.com/oauth2/default",
		methods:     []string{authBasic, authPost, "client_secret_jwt", authKey, authNone},
		redirectURI: "http://127.0.0.1:8080/callback",
		scopes:      "openid offline_access",
		offline:     "offline_access",
		answer: `{"access_token":"a1","token_type":"Bearer","expires_in":3600,"scope":"openid offline_access",` +
			`"refresh_token":"r1","id_token":"ID_TOKEN"}`,
		granted:  []string{"openid", "offline_access"},
		lifetime: time.Hour,
		declined: "error=access_denied&error_description=The+resource+owner+denied+the+request",
		wrongClient: rejection{ // from memory
			answer:      `401 {"error":"invalid_client","error_description":"The client secret supplied is invalid."}`,
			code:        "invalid_client",
			description: "supplied is invalid",
		},
		refresh: refreshing{ // from memory: rotation is a setting, and off for web applications
			answer: `{"access_token":"a2","token_type":"Bearer","expires_in":3600,"scope":"openid offline_access",` +
				`"refresh_token":"r1","id_token":"ID_TOKEN"}`,
			lifetime: time.Hour,
		},
		dead: []rejection{{ // from memory: the text
			answer: `400 {"error":"invalid_grant",` +
				`"error_description":"The refresh token is invalid or expired."}`,
			code:          "invalid_grant",
			description:   "invalid or expired",
			loginRequired: true,
		}},
		revoke: revoking{answer: `200 `},
		machine: &machine{ // from memory: a custom server needs a scope
			scopes:  "read",
			demands: []string{"scope"},
			refused: rejection{
				answer:      `400 {"error":"invalid_scope","error_description":"Define one or more custom scopes."}`,
				code:        "invalid_scope",
				description: "custom scopes",
			},
			answer:   `{"access_token":"a3","token_type":"Bearer","expires_in":3600,"scope":"read"}`,
			granted:  []string{"read"},
			lifetime: time.Hour,
		},
	},
	{
		// From memory, but for the dead refresh token, whose status and text the makers' own libraries look for.
		name: "Auth0 sign-in",
		page: "https://auth0.com/docs/api/authentication, not read",
		client: ClientSecrets{
			Issuer:        "https://ada.auth0.com/",
			AuthURI:       "https://ada.auth0.com/authorize",
			TokenURI:      "https://ada.auth0.com/oauth/token",
			DeviceAuthURI: "https://ada.auth0.com/oauth/device/code",
			RevocationURI: "https://ada.auth0.com/oauth/revoke",
			KeysURI:       "https://ada.auth0.com/.well-known/jwks.json",
			AuthMethod:    authPost,
		},
		discover:    "https://ada.auth0.com/",
		methods:     []string{authBasic, authPost, authKey},
		setMethod:   authPost, // an application has one method; this is the default
		oneMethod:   true,
		redirectURI: "http://127.0.0.1:8080/callback",
		scopes:      "openid profile offline_access read:x",
		params:      url.Values{"audience": {"https://api.example"}},
		demands:     []string{"audience"}, // otherwise the token is for the user's profile alone
		offline:     "offline_access",
		answer: `{"access_token":"a1","refresh_token":"r1","id_token":"ID_TOKEN",` +
			`"scope":"openid profile read:x offline_access","expires_in":86400,"token_type":"Bearer"}`,
		granted:  []string{"openid", "profile", "read:x", "offline_access"},
		lifetime: 24 * time.Hour,
		declined: "error=access_denied&error_description=User+did+not+authorize+the+request",
		wrongClient: rejection{
			answer:      `401 {"error":"access_denied","error_description":"Unauthorized"}`,
			code:        "access_denied",
			description: "Unauthorized",
		},
		refresh: refreshing{ // with rotation, which is a setting
			answer: `{"access_token":"a2","refresh_token":"r2","id_token":"ID_TOKEN",` +
				`"scope":"openid profile read:x offline_access","expires_in":86400,"token_type":"Bearer"}`,
			rotates:  true,
			lifetime: 24 * time.Hour,
		},
		dead: []rejection{{
			answer:        `403 {"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`,
			code:          "invalid_grant",
			description:   "Unknown or invalid",
			loginRequired: true,
		}},
		revoke: revoking{answer: `200 `},
	},
	{
		name: "Auth0 machine to machine", // from memory
		page: "https://auth0.com/docs/api/authentication, not read",
		client: ClientSecrets{
			TokenURI:   "https://ada.auth0.com/oauth/token",
			AuthMethod: authPost,
		},
		machine: &machine{
			params:  url.Values{"audience": {"https://api.example"}}, // W29
			demands: []string{"audience"},
			refused: rejection{
				answer: `403 {"error":"access_denied","error_description":` +
					`"Client is not authorized to access resource server."}`,
				code:        "access_denied",
				description: "not authorized",
			},
			answer:   `{"access_token":"a1","token_type":"Bearer","expires_in":86400,"scope":"read:x"}`,
			granted:  []string{"read:x"},
			lifetime: 24 * time.Hour,
		},
	},
	{
		// From memory, but for the shape of the answer and the dead refresh token, which others quote.
		name: "Keycloak",
		page: "https://www.keycloak.org/securing-apps/oidc-layers, not read",
		client: ClientSecrets{
			Issuer:        "https://sso.example/realms/main",
			AuthURI:       "https://sso.example/realms/main/protocol/openid-connect/auth",
			TokenURI:      "https://sso.example/realms/main/protocol/openid-connect/token",
			DeviceAuthURI: "https://sso.example/realms/main/protocol/openid-connect/auth/device",
			RevocationURI: "https://sso.example/realms/main/protocol/openid-connect/revoke",
			KeysURI:       "https://sso.example/realms/main/protocol/openid-connect/certs",
			AuthMethod:    authBasic,
		},
		discover:    "https://sso.example/realms/main",
		methods:     []string{authKey, authBasic, authPost, "tls_client_auth", "client_secret_jwt"},
		redirectURI: "http://127.0.0.1:8080/callback",
		scopes:      "openid email",
		redirect:    "session_state=s1&iss=https%3A%2F%2Fsso.example%2Frealms%2Fmain",
		answer: `{"access_token":"a1","expires_in":300,"refresh_expires_in":1800,"refresh_token":"r1",` +
			`"token_type":"Bearer","id_token":"ID_TOKEN","not-before-policy":0,"session_state":"s1",` +
			`"scope":"openid profile email"}`,
		granted:  []string{"openid", "profile", "email"},
		lifetime: 5 * time.Minute,
		extra: map[string]string{
			"not-before-policy": "0", "session_state": `"s1"`, "refresh_expires_in": "1800",
		},
		declined: "error=access_denied&iss=https%3A%2F%2Fsso.example%2Frealms%2Fmain",
		wrongClient: rejection{
			answer: `401 {"error":"unauthorized_client",` +
				`"error_description":"Invalid client or Invalid client credentials"}`,
			code:        "unauthorized_client",
			description: "Invalid client credentials",
		},
		refresh: refreshing{
			answer: `{"access_token":"a2","expires_in":300,"refresh_expires_in":1500,"refresh_token":"r2",` +
				`"token_type":"Bearer","id_token":"ID_TOKEN","not-before-policy":0,"session_state":"s1",` +
				`"scope":"openid profile email"}`,
			rotates:  true,
			lifetime: 5 * time.Minute,
			extra:    map[string]string{"refresh_expires_in": "1500"},
		},
		dead: []rejection{{
			answer:        `400 {"error":"invalid_grant","error_description":"Token is not active"}`,
			code:          "invalid_grant",
			description:   "Token is not active",
			loginRequired: true,
		}},
		revoke: revoking{answer: `200 `},
		machine: &machine{
			answer: `{"access_token":"a3","expires_in":300,"refresh_expires_in":0,"token_type":"Bearer",` +
				`"not-before-policy":0,"scope":"profile email"}`,
			granted:  []string{"profile", "email"},
			lifetime: 5 * time.Minute,
			extra:    map[string]string{"refresh_expires_in": "0"},
		},
	},
	{
		// The app has PKCE switched on, which makes it a public client: no secret may be sent.
		name: "Slack",
		page: "https://docs.slack.dev/authentication/using-pkce, using-token-rotation and installing-with-oauth," +
			" as of the stored copy (2026)",
		client: ClientSecrets{
			AuthURI:    "https://slack.com/oauth/v2/authorize",
			TokenURI:   "https://slack.com/api/oauth.v2.access",
			AuthMethod: authNone,
		},
		redirectURI: "https://app.example/slack", // not this machine, where no bot scopes are given
		scopes:      "commands,chat:write",       // W20
		params:      url.Values{"user_scope": {"chat:write"}},
		demands:     []string{"user_scope"},
		answer: `{"ok":true,"access_token":"xoxe.xoxb-1","token_type":"bot","scope":"commands,chat:write",` + // W21
			`"bot_user_id":"U1","app_id":"A1","team":{"id":"T1","name":"Ada"},"enterprise":null,` +
			`"expires_in":43200,"refresh_token":"xoxe-1","authed_user":{"id":"U2","scope":"chat:write",` +
			`"access_token":"xoxe.xoxp-1","token_type":"user","expires_in":43200,"refresh_token":"xoxe-3"}}`,
		// Only a user token was asked for, which stands in authed_user alone.
		useless:  `{"ok":true,"app_id":"A1","authed_user":{"id":"U2","access_token":"xoxp-1","token_type":"user"}}`,
		granted:  []string{"commands", "chat:write"},
		lifetime: 12 * time.Hour,
		extra: map[string]string{ // W23
			"bot_user_id": `"U1"`,
			"team":        `{"id":"T1","name":"Ada"}`,
			"authed_user": `{"id":"U2","scope":"chat:write","access_token":"xoxe.xoxp-1","token_type":"user",` +
				`"expires_in":43200,"refresh_token":"xoxe-3"}`,
		},
		declined:    "error=access_denied", // from memory
		wrongClient: rejection{answer: `200 {"ok":false,"error":"pkce_not_allowed"}`, code: "pkce_not_allowed"},
		refresh: refreshing{
			answer: `{"ok":true,"access_token":"xoxe.xoxb-2","expires_in":43200,"refresh_token":"xoxe-2",` +
				`"token_type":"bot","scope":"commands,chat:write","bot_user_id":"U1","app_id":"A1",` +
				`"team":{"id":"T1","name":"Ada"},"enterprise":null}`,
			rotates:  true,
			lifetime: 12 * time.Hour,
		},
		dead: []rejection{ // seen by others: the status
			{ // W25
				answer:        `200 {"ok":false,"error":"invalid_refresh_token"}`,
				code:          "invalid_refresh_token",
				loginRequired: true,
			},
			{answer: `200 {"ok":false,"error":"token_revoked"}`, code: "token_revoked"}, // W26
		},
		// A token is revoked with auth.revoke, which takes an access token.
	},
	{
		name: "Slack user token",
		page: "https://docs.slack.dev/reference/methods/oauth.v2.user.access, as of the stored copy (2026)",
		client: ClientSecrets{
			AuthURI:    "https://slack.com/oauth/v2_user/authorize",
			TokenURI:   "https://slack.com/api/oauth.v2.user.access",
			AuthMethod: authNone,
		},
		redirectURI: "https://app.example/slack",
		scopes:      "chat:write,users:read",
		answer: `{"ok":true,"access_token":"xoxp-1","token_type":"user",` + // W21
			`"authed_user":{"id":"U2","scope":"chat:write,users:read"},"team":{"id":"T1"}}`,
		granted:  []string{"chat:write", "users:read"}, // as asked for: what was granted stands in authed_user
		extra:    map[string]string{"authed_user": `{"id":"U2","scope":"chat:write,users:read"}`},
		declined: "error=access_denied", // from memory
		// Without rotation, which is a setting, the token neither expires nor is refreshed.
	},
	{
		// From memory, but for token_access_type, the shape of the answer and the dead refresh token.
		name: "Dropbox",
		page: "https://www.dropbox.com/developers/documentation/http/documentation#oauth2-token, not read",
		client: ClientSecrets{
			AuthURI:    "https://www.dropbox.com/oauth2/authorize",
			TokenURI:   "https://api.dropboxapi.com/oauth2/token",
			AuthMethod: authBasic,
		},
		redirectURI: "http://127.0.0.1:8080/callback",
		scopes:      "account_info.read files.content.read",
		params:      url.Values{"token_access_type": {"offline"}},
		offline:     "token_access_type=offline",
		answer: `{"access_token":"sl.1","token_type":"bearer","expires_in":14400,` +
			`"scope":"account_info.read files.content.read","refresh_token":"r1","account_id":"dbid:A","uid":"12345"}`,
		granted:  []string{"account_info.read", "files.content.read"},
		lifetime: 4 * time.Hour,
		extra:    map[string]string{"account_id": `"dbid:A"`, "uid": `"12345"`},
		declined: "error=access_denied&error_description=The+user+chose+not+to+give+your+app+access",
		wrongClient: rejection{
			answer:      `400 {"error":"invalid_client","error_description":"Invalid client_id or client_secret"}`,
			code:        "invalid_client",
			description: "Invalid client_id",
		},
		refresh: refreshing{
			answer:   `{"access_token":"sl.2","token_type":"bearer","expires_in":14400}`,
			lifetime: 4 * time.Hour,
		},
		dead: []rejection{{
			answer:        `400 {"error":"invalid_grant","error_description":"refresh token is invalid or revoked"}`,
			code:          "invalid_grant",
			description:   "invalid or revoked",
			loginRequired: true,
		}},
		// The endpoint for revocation wants the access token as a bearer token, and no form.
	},
	{
		// From memory, but for the dead refresh token.
		name: "Spotify",
		page: "https://developer.spotify.com/documentation/web-api/tutorials/code-flow, not read",
		client: ClientSecrets{
			AuthURI:    "https://accounts.spotify.com/authorize",
			TokenURI:   "https://accounts.spotify.com/api/token",
			AuthMethod: authBasic,
		},
		redirectURI: "http://127.0.0.1:8080/callback", // localhost is refused
		scopes:      "user-read-private user-read-email",
		answer: `{"access_token":"a1","token_type":"Bearer","scope":"user-read-private user-read-email",` +
			`"expires_in":3600,"refresh_token":"r1"}`,
		granted:  []string{"user-read-private", "user-read-email"},
		lifetime: time.Hour,
		declined: "error=access_denied",
		wrongClient: rejection{
			answer:      `400 {"error":"invalid_client","error_description":"Invalid client secret"}`,
			code:        "invalid_client",
			description: "Invalid client",
		},
		refresh: refreshing{
			answer: `{"access_token":"a2","token_type":"Bearer","scope":"user-read-private user-read-email",` +
				`"expires_in":3600}`,
			lifetime: time.Hour,
		},
		dead: []rejection{{
			answer:        `400 {"error":"invalid_grant","error_description":"Refresh token revoked"}`,
			code:          "invalid_grant",
			description:   "revoked",
			loginRequired: true,
		}},
		machine: &machine{
			answer:   `{"access_token":"a3","token_type":"Bearer","expires_in":3600}`,
			lifetime: time.Hour,
		},
	},
	{
		name: "Zoom user",
		page: "https://developers.zoom.us/docs/integrations/oauth/, from a summary of it by others",
		client: ClientSecrets{
			AuthURI:    "https://zoom.us/oauth/authorize",
			TokenURI:   "https://zoom.us/oauth/token",
			AuthMethod: authBasic,
		},
		redirectURI: "https://app.example/zoom",
		scopes:      "user:read:user meeting:read:meeting",
		answer: `{"access_token":"e1","token_type":"bearer","refresh_token":"e2","expires_in":3599,` +
			`"scope":"user:read:user meeting:read:meeting","api_url":"https://api.zoom.us"}`,
		granted:  []string{"user:read:user", "meeting:read:meeting"},
		lifetime: 3599 * time.Second,
		extra:    map[string]string{"api_url": `"https://api.zoom.us"`}, // W23
		declined: "error=access_denied",                                 // from memory
		wrongClient: rejection{ // from memory: the status
			answer: `400 {"reason":"Invalid client_id or client_secret","error":"invalid_client"}`,
			code:   "invalid_client",
		},
		refresh: refreshing{
			answer: `{"access_token":"e3","token_type":"bearer","refresh_token":"e4","expires_in":3599,` +
				`"scope":"user:read:user meeting:read:meeting","api_url":"https://api.zoom.us"}`,
			rotates:  true,
			lifetime: 3599 * time.Second,
		},
		dead: []rejection{
			{
				answer:        `400 {"reason":"Invalid Token!","error":"invalid_grant"}`,
				code:          "invalid_grant",
				loginRequired: true,
			},
			{answer: `400 {"reason":"Invalid Token!","error":"invalid_request"}`, code: "invalid_request"}, // W26
		},
		// The endpoint for revocation is documented for access tokens.
	},
	{
		name: "Zoom account credentials",
		page: "https://developers.zoom.us/docs/internal-apps/s2s-oauth/, from a summary of it by others",
		client: ClientSecrets{
			TokenURI:   "https://zoom.us/oauth/token",
			AuthMethod: authBasic,
		},
		machine: &machine{
			params:  url.Values{"grant_type": {"account_credentials"}, "account_id": {"account-1"}}, // W29
			demands: []string{"account_id"},
			refused: rejection{ // from memory
				answer: `400 {"reason":"Bad Request","error":"invalid_request"}`,
				code:   "invalid_request",
			},
			answer: `{"access_token":"e1","token_type":"bearer","expires_in":3599,"scope":"user:read:user:admin",` +
				`"api_url":"https://api.zoom.us"}`,
			granted:  []string{"user:read:user:admin"},
			lifetime: 3599 * time.Second,
			extra:    map[string]string{"api_url": `"https://api.zoom.us"`},
		},
	},
	{
		// The shapes are quoted by others, the rest is from memory.
		name: "Salesforce",
		page: "https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_web_server_flow.htm, not read",
		client: ClientSecrets{
			AuthURI:       "https://ada.my.salesforce.com/services/oauth2/authorize",
			TokenURI:      "https://ada.my.salesforce.com/services/oauth2/token",
			RevocationURI: "https://ada.my.salesforce.com/services/oauth2/revoke",
			AuthMethod:    authPost,
		},
		redirectURI: "http://localhost:8080/callback",
		scopes:      "api refresh_token id",
		answer: `{"access_token":"00Dx!AQ..","refresh_token":"5Aep..","signature":"c2ln",` +
			`"scope":"api refresh_token id","instance_url":"https://ada.my.salesforce.com",` +
			`"id":"https://login.salesforce.com/id/00Dx/005x","token_type":"Bearer","issued_at":"1700000000000"}`,
		granted: []string{"api", "refresh_token", "id"}, // and no expiry: that is a setting of the organisation
		extra: map[string]string{ // W23
			"instance_url": `"https://ada.my.salesforce.com"`,
			"issued_at":    `"1700000000000"`,
		},
		declined: "error=access_denied&error_description=end-user+denied+authorization",
		wrongClient: rejection{
			answer:      `400 {"error":"invalid_client","error_description":"invalid client credentials"}`,
			code:        "invalid_client",
			description: "invalid client",
		},
		refresh: refreshing{
			answer: `{"id":"https://login.salesforce.com/id/00Dx/005x","issued_at":"1700003600000",` +
				`"instance_url":"https://moved.my.salesforce.com","signature":"c2ln","access_token":"00Dx!AR.."}`,
			extra: map[string]string{
				"instance_url": `"https://moved.my.salesforce.com"`,
				"issued_at":    `"1700003600000"`,
			},
		},
		dead: []rejection{
			{
				answer:        `400 {"error":"invalid_grant","error_description":"expired access/refresh token"}`,
				code:          "invalid_grant",
				description:   "expired",
				loginRequired: true,
			},
			{ // W26
				answer:      `400 {"error":"inactive_user","error_description":"user is inactive"}`,
				code:        "inactive_user",
				description: "inactive",
			},
		},
		revoke: revoking{answer: `200 `},
		machine: &machine{
			answer: `{"access_token":"00Dx!AS..","signature":"c2ln","scope":"api",` +
				`"instance_url":"https://ada.my.salesforce.com","token_type":"Bearer","issued_at":"1700000000000"}`,
			granted: []string{"api"},
			extra:   map[string]string{"instance_url": `"https://ada.my.salesforce.com"`},
		},
	},
	{
		name: "Atlassian",
		page: "https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/, quoted by others",
		client: ClientSecrets{
			AuthURI:    "https://auth.atlassian.com/authorize",
			TokenURI:   "https://auth.atlassian.com/oauth/token",
			AuthMethod: authPost,
		},
		redirectURI: "http://localhost:8080/callback",
		scopes:      "read:jira-work offline_access",
		params:      url.Values{"audience": {"api.atlassian.com"}, "prompt": {"consent"}},
		demands:     []string{"audience", "prompt"},
		offline:     "offline_access",
		pkce:        pkceIgnored,
		answer: `{"access_token":"ey1","refresh_token":"ey2","expires_in":3600,` +
			`"scope":"read:jira-work offline_access"}`,
		granted:  []string{"read:jira-work", "offline_access"},
		lifetime: time.Hour,
		declined: "error=access_denied&error_description=User+did+not+authorize+the+request", // from memory
		wrongClient: rejection{ // from memory
			answer:      `401 {"error":"access_denied","error_description":"Unauthorized"}`,
			code:        "access_denied",
			description: "Unauthorized",
		},
		refresh: refreshing{
			answer: `{"access_token":"ey3","refresh_token":"ey4","expires_in":3600,` +
				`"scope":"read:jira-work offline_access"}`,
			rotates:  true,
			lifetime: time.Hour,
		},
		dead: []rejection{
			{
				answer:        `403 {"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`,
				code:          "invalid_grant",
				description:   "Unknown or invalid",
				loginRequired: true,
			},
			{ // W26; seen by others, the status is from memory
				answer:      `403 {"error":"unauthorized_client","error_description":"refresh_token is invalid"}`,
				code:        "unauthorized_client",
				description: "is invalid",
			},
		},
	},
	{
		name: "Discord",
		page: "https://discord.com/developers/docs/topics/oauth2, stored copy of about 2021",
		client: ClientSecrets{
			AuthURI:       "https://discord.com/oauth2/authorize",
			TokenURI:      "https://discord.com/api/oauth2/token",
			RevocationURI: "https://discord.com/api/oauth2/token/revoke",
			AuthMethod:    authBasic,
		},
		redirectURI: "http://127.0.0.1:8080/callback",
		scopes:      "identify guilds",
		answer: `{"access_token":"a1","token_type":"Bearer","expires_in":604800,"refresh_token":"r1",` +
			`"scope":"identify guilds","guild":{"id":"G1","name":"Ada"}}`,
		granted:  []string{"identify", "guilds"},
		lifetime: 7 * 24 * time.Hour,
		extra:    map[string]string{"guild": `{"id":"G1","name":"Ada"}`}, // W23
		declined: "error=access_denied" + // from memory
			"&error_description=The+resource+owner+or+authorization+server+denied+the+request",
		wrongClient: rejection{answer: `401 {"error":"invalid_client"}`, code: "invalid_client"}, // from memory
		refresh: refreshing{ // from memory: the old refresh token is dead
			answer: `{"access_token":"a2","token_type":"Bearer","expires_in":604800,"refresh_token":"r2",` +
				`"scope":"identify guilds"}`,
			rotates:  true,
			lifetime: 7 * 24 * time.Hour,
		},
		dead: []rejection{{ // from memory
			answer:        `400 {"error":"invalid_grant","error_description":"Invalid \"refresh_token\" in request."}`,
			code:          "invalid_grant",
			description:   "in request",
			loginRequired: true,
		}},
		revoke: revoking{answer: `200 {}`},
		machine: &machine{
			scopes:   "identify",
			demands:  []string{"scope"},
			refused:  rejection{answer: `400 {"error":"invalid_scope"}`, code: "invalid_scope"}, // from memory
			answer:   `{"access_token":"a3","token_type":"Bearer","expires_in":604800,"scope":"identify"}`,
			granted:  []string{"identify"},
			lifetime: 7 * 24 * time.Hour,
		},
	},
	{
		name: "Twitch",
		page: "https://dev.twitch.tv/docs/authentication/revoke-tokens/, as of the stored copy;" +
			" getting-tokens-oauth and refresh-tokens, quoted by others",
		client: ClientSecrets{
			AuthURI:    "https://id.twitch.tv/oauth2/authorize",
			TokenURI:   "https://id.twitch.tv/oauth2/token",
			AuthMethod: authPost,
		},
		redirectURI: "http://localhost:3000",
		scopes:      "chat:read chat:edit",
		pkce:        pkceIgnored,
		answer: `{"access_token":"a1","expires_in":14124,"refresh_token":"r1",` +
			`"scope":["chat:read","chat:edit"],"token_type":"bearer"}`, // W20
		granted:  []string{"chat:read", "chat:edit"},
		lifetime: 14124 * time.Second,
		declined: "error=access_denied&error_description=The+user+denied+you+access",
		wrongClient: rejection{ // from memory; W24
			answer:      `403 {"status":403,"message":"invalid client secret"}`,
			description: "invalid client",
		},
		refresh: refreshing{ // without expires_in, as in the documentation's sample
			answer: `{"access_token":"a2","refresh_token":"r2","scope":["chat:read","chat:edit"],` +
				`"token_type":"bearer"}`,
			rotates: true,
		},
		dead: []rejection{{ // W24, W26
			answer:      `400 {"error":"Bad Request","status":400,"message":"Invalid refresh token"}`,
			code:        "Bad Request",
			description: "Invalid refresh",
		}},
		// Only an access token can be revoked there.
		revoke: revoking{
			uri:    "https://id.twitch.tv/oauth2/revoke",
			answer: `400 {"status":400,"message":"Invalid token"}`,
		},
		machine: &machine{
			answer:   `{"access_token":"a3","expires_in":5011271,"token_type":"bearer"}`,
			lifetime: 5011271 * time.Second,
		},
	},
	{
		name: "Strava",
		page: "https://developers.strava.com/docs/authentication/, from a summary by others of 2026-07-24",
		client: ClientSecrets{
			AuthURI:       "https://www.strava.com/oauth/authorize",
			TokenURI:      "https://www.strava.com/oauth/token",
			RevocationURI: "https://www.strava.com/oauth/revoke",
			AuthMethod:    authPost,
		},
		redirectURI: "http://localhost:8080/callback",
		scopes:      "read,activity:read_all", // W20
		pkce:        pkceIgnored,
		redirect:    "scope=read", // what was granted stands here, and not in the answer
		answer: `{"token_type":"Bearer","expires_at":1700000000,"expires_in":21600,"refresh_token":"r1",` +
			`"access_token":"a1","athlete":{"id":7,"firstname":"Ada"}}`,
		granted:  []string{"read", "activity:read_all"}, // as asked for
		lifetime: 6 * time.Hour,
		extra:    map[string]string{"expires_at": "1700000000", "athlete": `{"id":7,"firstname":"Ada"}`}, // W23
		declined: "error=access_denied",
		wrongClient: rejection{ // W24
			answer: `401 {"message":"Authorization Error",` +
				`"errors":[{"resource":"Application","field":"","code":"invalid"}]}`,
			description: "Authorization Error",
		},
		refresh: refreshing{
			answer: `{"token_type":"Bearer","access_token":"a2","expires_at":1700021600,"expires_in":20566,` +
				`"refresh_token":"r2"}`,
			rotates:  true,
			lifetime: 20566 * time.Second,
			extra:    map[string]string{"expires_at": "1700021600"},
		},
		dead: []rejection{{ // W24, W26
			answer: `400 {"message":"Bad Request",` +
				`"errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}`,
			description: "Bad Request",
		}},
		revoke: revoking{answer: `200 `, method: authBasic},
	},
	{
		name: "Notion",
		page: "https://developers.notion.com/reference/create-a-token, refresh-a-token; stored copy of 2026",
		client: ClientSecrets{
			AuthURI:    "https://api.notion.com/v1/oauth/authorize",
			TokenURI:   "https://api.notion.com/v1/oauth/token",
			AuthMethod: authBasic,
		},
		oneMethod:   true,
		redirectURI: "http://localhost:8080/callback",
		params:      url.Values{"owner": {"user"}},
		demands:     []string{"owner"},
		pkce:        pkceIgnored,
		// The documentation sends JSON; from memory: a form works.
		answer: `{"access_token":"ntn_1","token_type":"bearer","refresh_token":"nrt_1","bot_id":"B1",` +
			`"workspace_icon":null,"workspace_id":"W1","owner":{"type":"user"},"request_id":"R1"}`,
		extra: map[string]string{ // W23
			"bot_id": `"B1"`, "workspace_id": `"W1"`, "owner": `{"type":"user"}`,
		},
		declined:    "error=access_denied",                                                       // from memory
		wrongClient: rejection{answer: `401 {"error":"invalid_client"}`, code: "invalid_client"}, // from memory
		refresh: refreshing{
			answer: `{"access_token":"ntn_2","token_type":"bearer","refresh_token":"nrt_2","bot_id":"B1",` +
				`"workspace_icon":null,"workspace_id":"W1","owner":{"type":"user"},"request_id":"R2"}`,
			rotates: true,
		},
		dead: []rejection{{ // seen by others; from memory: the status
			answer:        `400 {"error":"invalid_grant","request_id":"R3"}`,
			code:          "invalid_grant",
			loginRequired: true,
		}},
		// The endpoint for revocation wants JSON.
	},
	{
		// Seen by others; from memory: the errors, the form in a POST, and the exchange for a token that lives longer.
		name: "Facebook",
		page: "https://developers.facebook.com/documentation/facebook-login/guides/advanced/manual-flow, of 2026-03-10",
		client: ClientSecrets{
			AuthURI:    "https://www.facebook.com/v25.0/dialog/oauth",
			TokenURI:   "https://graph.facebook.com/v25.0/oauth/access_token",
			AuthMethod: authPost,
		},
		redirectURI: "http://localhost:8080/callback",
		scopes:      "email,public_profile",
		pkce:        pkceIgnored,
		redirect:    "#_=_",
		answer:      `{"access_token":"EAA1","token_type":"bearer","expires_in":5183944}`,
		granted:     []string{"email", "public_profile"}, // as asked for: the answer does not say
		lifetime:    5183944 * time.Second,
		declined:    "error_reason=user_denied&error=access_denied&error_description=Permissions+error&error_code=200",
		wrongClient: rejection{ // W24
			answer: `400 {"error":{"message":"Error validating client secret.","type":"OAuthException","code":1,` +
				`"fbtrace_id":"A1"}}`,
			description: "Error validating client",
		},
		// There are no refresh tokens. An access token is exchanged for one that lives longer.
		machine: &machine{
			params:  url.Values{"grant_type": {"fb_exchange_token"}, "fb_exchange_token": {"EAA1"}}, // W29
			demands: []string{"fb_exchange_token"},
			refused: rejection{
				answer: `400 {"error":{"message":"Missing parameter.","type":"OAuthException","code":1,` +
					`"fbtrace_id":"A1"}}`,
				description: "Missing parameter",
			},
			answer:   `{"access_token":"EAA2","token_type":"bearer","expires_in":5183944}`,
			lifetime: 5183944 * time.Second,
		},
	},
	{
		// Documented are the parameters, the revocation and the codes of errors. The answers are quoted by others; from
		// memory: the rest, such as the discovery, the client secret and the form in place of a redirect.
		name: "Apple",
		page: "https://developer.apple.com/documentation/signinwithapplerestapi/generate-and-validate-tokens" +
			" and revoke-tokens, as of the stored copy (2026)",
		client: ClientSecrets{
			Issuer:        "https://appleid.apple.com",
			AuthURI:       "https://appleid.apple.com/auth/authorize",
			TokenURI:      "https://appleid.apple.com/auth/token",
			RevocationURI: "https://appleid.apple.com/auth/revoke",
			KeysURI:       "https://appleid.apple.com/auth/keys",
			AuthMethod:    authPost,
		},
		discover:    "https://appleid.apple.com",
		methods:     []string{authPost},
		redirectURI: "https://app.example/apple", // not this machine
		scopes:      "openid name email",
		params:      url.Values{"response_mode": {"form_post"}}, // W33
		demands:     []string{"response_mode"},
		pkce:        pkceIgnored,
		secrets:     secretJWT,
		redirect:    "user=%7B%22name%22%3A%7B%22firstName%22%3A%22Ada%22%7D%7D",
		answer: "{\n  \"access_token\": \"a1\",\n  \"token_type\": \"Bearer\",\n  \"expires_in\": 3600,\n" +
			"  \"refresh_token\": \"r1\",\n  \"id_token\": \"ID_TOKEN\"\n}",
		claims:   map[string]any{"email": "ada@example.com", "email_verified": "true", "is_private_email": "true"},
		granted:  []string{"openid", "name", "email"}, // as asked for: the answer does not say
		lifetime: time.Hour,
		declined: "error=user_cancelled_authorize", // W39
		wrongClient: rejection{
			answer: `400 {"error":"invalid_client"}`,
			code:   "invalid_client",
		},
		refresh: refreshing{
			answer:   `{"access_token":"a2","token_type":"Bearer","expires_in":3600}`,
			lifetime: time.Hour,
		},
		dead: []rejection{{
			answer: `400 {"error":"invalid_grant",` +
				`"error_description":"The token has expired or has been revoked."}`,
			code:          "invalid_grant",
			description:   "has been revoked",
			loginRequired: true,
		}},
		revoke: revoking{answer: `200 `},
	},
	{
		name: "LinkedIn",
		page: "https://learn.microsoft.com/linkedin/shared/authentication/authorization-code-flow, quoted by others" +
			" on 2026-09-19; the refusal of PKCE was seen on 2026-09-21",
		client: ClientSecrets{
			AuthURI:    "https://www.linkedin.com/oauth/v2/authorization",
			TokenURI:   "https://www.linkedin.com/oauth/v2/accessToken",
			AuthMethod: authPost,
		},
		redirectURI: "https://app.example/linkedin",
		scopes:      "openid profile w_member_social",
		pkce:        pkceRefused,
		answer:      `{"access_token":"AQ1","expires_in":5184000,"scope":"openid,profile,w_member_social"}`,
		declined:    "error=user_cancelled_login&error_description=The+user+cancelled+LinkedIn+login", // W39
		refused: &rejection{
			answer:      `401 {"error":"invalid_client","error_description":"Client authentication failed"}`,
			code:        "invalid_client",
			description: "Client authentication failed",
		},
	},
}

// TestProviders shows for each provider what works: the sign-in, the scopes that were granted, the members of the
// answer that only this provider has, the expiry, the refresh, a refresh token that is dead, the revocation, and the
// sign-in of a machine. // W20, W21, W23, W24, W25, W26, W28, W29, XO21, XO26, UP32
func TestProviders(t *testing.T) {
	t.Parallel()
	steps := []struct {
		name string
		has  func(p *provider) bool
		run  func(t *testing.T, p *provider)
	}{
		{"discover", func(p *provider) bool { return p.discover != "" }, checkProviderDiscovery},
		{"sign in", func(p *provider) bool { return p.answer != "" }, checkProviderSignIn},
		{"refusals", func(p *provider) bool { return p.answer != "" }, checkProviderRefusals},
		{"refresh", func(p *provider) bool { return p.works() }, checkProviderRefresh},
		{"dead", func(p *provider) bool { return p.works() }, checkProviderDead},
		{"revoke", func(p *provider) bool { return p.works() }, checkProviderRevocation},
		{"machine", func(p *provider) bool { return p.machine != nil }, checkProviderMachine},
	}
	for _, p := range providers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			t.Log(p.page)
			for _, step := range steps {
				if step.has(p) {
					t.Run(step.name, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { step.run(t, p) })
					})
				}
			}
			if p.works() && p.params.Get("response_mode") == "" { // otherwise the redirect is no address to paste
				t.Run("sign in anew", func(t *testing.T) { checkProviderSignInAnew(t, p) })
			}
		})
	}
}

// works reports whether users can sign in.
func (p *provider) works() bool { return p.answer != "" && p.refused == nil }

// checkProviderDiscovery checks that Discover finds what the row says that a program could also set.
func checkProviderDiscovery(t *testing.T, p *provider) {
	text := func(c *ClientSecrets) string {
		return fmt.Sprintf("%q", []string{
			c.Issuer, c.AuthURI, c.TokenURI, c.DeviceAuthURI, c.RevocationURI, c.KeysURI, c.AuthMethod,
		})
	}
	if got, want := text(newFakeProvider(t, p).client()), text(&p.client); got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}

// checkProviderSignIn signs a user in and checks what the program then has.
func checkProviderSignIn(t *testing.T, p *provider) {
	f := newFakeProvider(t, p)
	client := f.client()
	creds, err := f.signIn(client, nil)
	if p.refused != nil {
		p.refused.check(t, err)
		if status := f.exchangeWithoutVerifier(client); status != 200 {
			t.Errorf("without a verifier: status %d", status)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	tok, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkProviderToken(t, tok, p.granted, p.lifetime, p.extra)
	if got := tok.RefreshToken.Reveal(); got != f.refreshToken {
		t.Errorf("the refresh token is %q, want %q", got, f.refreshToken)
	}
	if claims := creds.IDToken(); strings.Contains(p.answer, "ID_TOKEN") && client.Issuer != "" {
		if claims == nil || claims.Subject != "user-1" {
			t.Errorf("the claims of the ID token are %v", claims)
		}
	} else if claims != nil {
		t.Errorf("there are claims that were not checked: %v", claims)
	}
	if p.offline != "" {
		checkProviderOnline(t, p)
	}
	if p.useless != "" {
		f.answer = p.useless
		if creds, err := f.signIn(client, nil); err == nil || creds != nil {
			t.Errorf("an answer without a usable token signs in: %s", p.useless)
		}
	}
}

// checkProviderOnline signs in without asking for a refresh token.
func checkProviderOnline(t *testing.T, p *provider) {
	t.Helper()
	f := newFakeProvider(t, p)
	creds, err := f.signIn(f.client(), func(flow *Flow) {
		if name, _, ok := strings.Cut(p.offline, "="); ok {
			flow.Params.Del(name)
			return
		}
		flow.scopes = slices.DeleteFunc(flow.scopes, func(scope string) bool { return scope == p.offline })
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := creds.Refresh(t.Context()); !errors.Is(err, ErrLoginRequired) {
		t.Errorf("without %s: %v, want ErrLoginRequired", p.offline, err)
	}
}

// checkProviderRefusals checks that the provider refuses what lacks something, and that the errors say why.
func checkProviderRefusals(t *testing.T, p *provider) {
	for _, name := range p.demands {
		f := newFakeProvider(t, p)
		if _, err := f.signIn(f.client(), func(flow *Flow) { flow.Params.Del(name) }); err == nil || f.codes > 0 {
			t.Errorf("the sign-in works without %s: %v", name, err)
		}
	}
	f := newFakeProvider(t, p)
	_, err := f.signInDeclined(f.client())
	declined, _ := url.ParseQuery(p.declined)
	e := new(Error)
	if !errors.As(err, &e) || e.Code != declined.Get("error") || !strings.Contains(e.Error(), "declined") {
		t.Errorf("after the user declined: %v", err)
	}
	if p.wrongClient.answer == "" {
		return
	}
	wrong := map[string]func(c *ClientSecrets){
		"a wrong secret": func(c *ClientSecrets) { c.ClientSecret = NewSecret("wrong-secret") },
	}
	if p.oneMethod {
		for _, method := range []string{authBasic, authPost, authNone} {
			wrong[method] = func(c *ClientSecrets) { c.AuthMethod = method }
		}
		delete(wrong, p.client.AuthMethod)
	}
	if p.client.AuthMethod == authNone {
		wrong = map[string]func(c *ClientSecrets){"a secret": func(c *ClientSecrets) {
			c.AuthMethod = authPost
			c.ClientSecret = NewSecret("any-secret")
		}}
	}
	for name, change := range wrong {
		client := f.client()
		change(client)
		_, err := f.signIn(client, nil)
		p.wrongClient.check(t, err)
		if err != nil && strings.Contains(err.Error(), "declined") { // some answer access_denied to a wrong client
			t.Errorf("with %s, nobody declined: %v", name, err)
		}
	}
}

// checkProviderRefresh refreshes when the token has expired, again with what came of that, and once more from a store.
func checkProviderRefresh(t *testing.T, p *provider) {
	f := newFakeProvider(t, p)
	client := f.client()
	creds, err := f.signIn(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := creds.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p.refresh.answer == "" {
		if _, err := creds.Refresh(t.Context()); !errors.Is(err, ErrLoginRequired) || f.refreshes > 0 {
			t.Errorf("without a refresh token: %v, after %d requests", err, f.refreshes)
		}
		return
	}
	extra := maps.Clone(p.extra)
	maps.Copy(extra, p.refresh.extra)
	refresh := creds.Refresh
	if p.lifetime > 0 {
		time.Sleep(p.lifetime)
		refresh = creds.Token
	}
	second, err := refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkProviderToken(t, second, p.granted, p.refresh.lifetime, extra)
	rotated := second.RefreshToken.Reveal() != first.RefreshToken.Reveal()
	if rotated != p.refresh.rotates || second.RefreshToken.Reveal() != f.refreshToken {
		t.Errorf("the refresh token is %q after %q", second.RefreshToken.Reveal(), first.RefreshToken.Reveal())
	}
	store := newMemoryStore()
	if err := creds.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if creds, err = LoadCredentials(t.Context(), client, store); err != nil {
		t.Fatal(err)
	}
	third, err := creds.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkProviderToken(t, third, p.granted, p.refresh.lifetime, extra)
	if f.refreshes != 2 {
		t.Errorf("%d refreshes, want 2", f.refreshes)
	}
}

// checkProviderDead uses a refresh token that has ended.
func checkProviderDead(t *testing.T, p *provider) {
	for _, dead := range p.dead {
		f := newFakeProvider(t, p)
		creds, err := f.signIn(f.client(), nil)
		if err != nil {
			t.Fatal(err)
		}
		f.ended = dead.answer
		_, err = creds.Refresh(t.Context())
		dead.check(t, err)
		if got := errors.Is(err, ErrLoginRequired); got != dead.loginRequired {
			t.Errorf("ErrLoginRequired is %t, want %t, in: %v", got, dead.loginRequired, err)
		}
		if f.refreshes != 1 {
			t.Errorf("%d refreshes, want 1", f.refreshes)
		}
	}
}

// checkProviderSignInAnew starts a program whose stored credentials no longer work. Its user signs in again, once.
func checkProviderSignInAnew(t *testing.T, p *provider) {
	t.Parallel()
	endings := p.dead
	if len(endings) == 0 {
		endings = []rejection{{}}
	}
	for _, dead := range endings {
		f := newFakeProvider(t, p)
		client := f.client()
		creds, err := f.signIn(client, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := 2
		if p.lifetime == 0 && p.refresh.answer == "" {
			want = 1 // the access token is used until it is refused
		}
		f.ended = dead.answer
		flow := NewInstalledAppFlow(client, p.scopes)
		flow.RedirectURI = p.redirectURI
		flow.Params = p.params
		flow.TokenParams = p.tokenParams
		flow.Prompt = io.Discard
		flow.ListenAddr = "127.0.0.1:0" // no redirect comes there: the user pastes the address
		store := newMemoryStore()
		flow.Store = store
		store.data, err = creds.MarshalAuthorizedUser()
		if err != nil {
			t.Fatal(err)
		}
		if p.lifetime > 0 {
			store.set("expiry", "2001-02-03T04:05:06Z")
		}
		keyboard, fingers := io.Pipe()
		flow.Input = keyboard
		flow.OpenBrowser = func(authURL string) error {
			redirected, err := f.authorize(authURL)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintln(fingers, redirected)
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		creds, err = flow.SignIn(ctx)
		cancel()
		fingers.Close()
		if err != nil {
			t.Errorf("after %s: %v", dead.answer, err)
			continue
		}
		if tok, err := creds.Token(t.Context()); err != nil || !tok.Valid() {
			t.Errorf("after %s: %v", dead.answer, err)
		}
		if f.codes != want {
			t.Errorf("after %s, the user signed in %d times, want %d", dead.answer, f.codes, want)
		}
	}
}

// checkProviderRevocation revokes the credentials.
func checkProviderRevocation(t *testing.T, p *provider) {
	f := newFakeProvider(t, p)
	client := f.client()
	if p.revoke.uri != "" {
		client.RevocationURI = p.revoke.uri
	}
	creds, err := f.signIn(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case p.revoke.uri != "":
		err := creds.Revoke(t.Context())
		if e := new(Error); !errors.As(err, &e) {
			t.Errorf("at an endpoint that is not one of RFC 7009: %v", err)
		}
		if tok, err := creds.Token(t.Context()); err != nil || !tok.Valid() {
			t.Errorf("after a revocation that failed: %v", err)
		}
		return
	case p.revoke.answer == "":
		if err := creds.Revoke(t.Context()); err == nil || errors.As(err, new(*Error)) { // nothing is sent
			t.Errorf("without an endpoint: %v", err)
		}
		return
	}
	if p.revoke.method != "" {
		other := *client
		other.AuthMethod = p.revoke.method
		creds = NewCredentials(&other, NewSecret(f.refreshToken))
	}
	if err := creds.Revoke(t.Context()); err != nil || f.revoked != 1 {
		t.Fatalf("%v, after %d requests", err, f.revoked)
	}
	if _, err := creds.Token(t.Context()); !errors.Is(err, ErrLoginRequired) {
		t.Errorf("after the revocation: %v", err)
	}
}

// checkProviderMachine signs a client in as itself.
func checkProviderMachine(t *testing.T, p *provider) {
	f := newFakeProvider(t, p)
	source := func() *ClientCredentials {
		return &ClientCredentials{
			Client: f.client(), Scopes: scopeList(p.machine.scopes), Params: maps.Clone(p.machine.params),
		}
	}
	tok, err := source().Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkProviderToken(t, tok, p.machine.granted, p.machine.lifetime, p.machine.extra)
	for _, name := range p.machine.demands {
		lacking := source()
		if name == "scope" {
			lacking.Scopes = nil
		} else {
			lacking.Params.Del(name)
		}
		_, err := lacking.Token(t.Context())
		p.machine.refused.check(t, err)
		if err != nil && strings.Contains(err.Error(), "declined") { // no user took part
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// checkProviderToken checks a token that has just been obtained.
func checkProviderToken(
	t *testing.T, tok *Token, granted []string, lifetime time.Duration, extra map[string]string,
) {
	t.Helper()
	if !slices.Equal(tok.Scopes, granted) {
		t.Errorf("granted are %q, want %q", tok.Scopes, granted)
	}
	want := time.Time{}
	if lifetime > 0 {
		want = time.Now().Add(lifetime)
	}
	if !tok.Expiry.Equal(want) {
		t.Errorf("the expiry is %v, want %v", tok.Expiry, want)
	}
	for name, text := range extra {
		var raw json.RawMessage
		var got bytes.Buffer
		if err := tok.Extra(name, &raw); err != nil || json.Compact(&got, raw) != nil || got.String() != text {
			t.Errorf("the member %s is %s, want %s (%v)", name, raw, text, err)
		}
	}
	got := json.RawMessage("untouched")
	if err := tok.Extra("no_such_member", &got); err != nil || string(got) != "untouched" {
		t.Errorf("a member that is not there is %s (%v)", got, err)
	}
}

// check checks the error that came of a refusal.
func (r rejection) check(t *testing.T, err error) {
	t.Helper()
	e := new(Error)
	if !errors.As(err, &e) {
		t.Errorf("%v, want the refusal %s", err, r.answer)
		return
	}
	status, _ := splitAnswer(r.answer)
	if e.StatusCode != status || e.Code != r.code || !strings.Contains(e.Description, r.description) {
		t.Errorf("status %d, code %q, description %q of the refusal %s", e.StatusCode, e.Code, e.Description, r.answer)
	}
	text := e.Error()
	if !strings.Contains(text, r.description) || strings.Count(text, "oauth2: ") != 1 || e.Temporary() {
		t.Errorf("temporary %t, text %q", e.Temporary(), text)
	}
}

// A fakeProvider answers in place of a provider, in memory.
type fakeProvider struct {
	*provider
	t      testing.TB
	id     string
	secret string
	answer string // to a code

	mu           sync.Mutex            // guards what follows
	asked        map[string]url.Values // the authorization requests, by the code that was issued
	codes        int
	refreshToken string // the one in force
	ended        string // if not empty, the answer to every refresh
	refreshes    int
	revoked      int
}

func newFakeProvider(t testing.TB, p *provider) *fakeProvider {
	f := &fakeProvider{
		provider: p, t: t, id: "1234567890", secret: "made-up~secret-1", answer: p.answer,
		asked: map[string]url.Values{},
	}
	if p.secrets == secretJWT {
		f.secret = appleSecret(t, f.id)
	}
	return f
}

// client returns the client of a program, discovered where the row says so.
func (f *fakeProvider) client() *ClientSecrets {
	f.t.Helper()
	c := f.provider.client
	if f.discover != "" {
		c = ClientSecrets{AuthMethod: f.setMethod}
	}
	c.ClientID = f.id
	if f.provider.client.AuthMethod != authNone {
		c.ClientSecret = NewSecret(f.secret)
	}
	c.HTTPClient = &http.Client{Transport: f}
	if f.discover != "" {
		if err := c.Discover(f.t.Context(), f.discover); err != nil {
			f.t.Fatal(err)
		}
	}
	return &c
}

// signIn signs a user in with a Flow, which change may change before.
func (f *fakeProvider) signIn(client *ClientSecrets, change func(flow *Flow)) (*Credentials, error) {
	f.t.Helper()
	flow := f.flow(client)
	if change != nil {
		change(flow)
	}
	authURL, err := flow.AuthorizationURL()
	if err != nil {
		f.t.Fatal(err)
	}
	redirected, err := f.authorize(authURL)
	if err != nil {
		return nil, err
	}
	return flow.FetchTokenFromRedirect(f.t.Context(), redirected)
}

// signInDeclined is a sign-in that the user declines.
func (f *fakeProvider) signInDeclined(client *ClientSecrets) (*Credentials, error) {
	f.t.Helper()
	flow := f.flow(client)
	if _, err := flow.AuthorizationURL(); err != nil {
		f.t.Fatal(err)
	}
	state := url.Values{"state": flow.attempt.Load().params["state"]}
	return flow.FetchTokenFromRedirect(f.t.Context(), "/callback?"+f.declined+"&"+state.Encode())
}

// exchangeWithoutVerifier exchanges a code as no Flow does, and returns the status.
func (f *fakeProvider) exchangeWithoutVerifier(client *ClientSecrets) (status int) {
	f.t.Helper()
	authURL, err := f.flow(client).AuthorizationURL()
	if err != nil {
		f.t.Fatal(err)
	}
	redirected, err := f.authorize(authURL)
	if err != nil {
		f.t.Fatal(err)
	}
	u, err := url.Parse(redirected)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := client.HTTPClient.PostForm(client.TokenURI, url.Values{
		"grant_type": {"authorization_code"}, "code": {u.Query().Get("code")}, "redirect_uri": {f.redirectURI},
		"client_id": {f.id}, "client_secret": {f.secret},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (f *fakeProvider) flow(client *ClientSecrets) *Flow {
	flow := NewFlow(client, f.scopes)
	flow.RedirectURI = f.redirectURI
	flow.Params = maps.Clone(f.params)
	flow.TokenParams = f.tokenParams
	return flow
}

// authorize is the authorization endpoint with a user who agrees. It returns the address of the redirect or, if that is
// a POST, the form as a handler passes it on.
func (f *fakeProvider) authorize(authURL string) (redirected string, err error) {
	u, err := url.Parse(authURL)
	if err != nil {
		return "", err
	}
	q := u.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": f.id, "redirect_uri": f.redirectURI, "code_challenge_method": "S256",
	} {
		if q.Get(name) != want {
			return "", fmt.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	if endpoint := u.Scheme + "://" + u.Host + u.Path; endpoint != f.provider.client.AuthURI {
		return "", fmt.Errorf("the authorization endpoint is not %s", endpoint)
	}
	for _, name := range f.demands {
		if q.Get(name) != f.params.Get(name) {
			return "", fmt.Errorf("%s is missing", name)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.codes++
	code := fmt.Sprintf("code-%d", f.codes)
	f.asked[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
	if f.redirect != "" {
		back += "&" + f.redirect
	}
	if q.Get("response_mode") == "form_post" {
		return "?" + back, nil
	}
	return f.redirectURI + "?" + back, nil
}

// RoundTrip implements [http.RoundTripper].
func (f *fakeProvider) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodGet {
		return f.document(r), nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body.Close()
	form, err := url.ParseQuery(string(body))
	contentType := r.Header.Get("Content-Type")
	if err != nil || contentType != "application/x-www-form-urlencoded" || r.Method != http.MethodPost {
		f.t.Errorf("%s with the Content-Type %s (%v)", r.Method, contentType, err)
	}
	method, ok := f.authenticated(r, form)
	var answer string
	switch r.URL.String() {
	case f.provider.client.TokenURI:
		if !ok || method != f.provider.client.AuthMethod {
			answer = f.wrongClient.answer
		} else {
			answer = f.token(form)
		}
	case f.provider.client.RevocationURI, f.provider.revoke.uri:
		answer = f.revocation(form, method)
	default:
		f.t.Errorf("there is no endpoint %s", r.URL)
		answer = "404"
	}
	return f.response(r, answer), nil
}

// document answers a request for the metadata (OpenID Connect Discovery).
func (f *fakeProvider) document(r *http.Request) *http.Response {
	if r.URL.String() != strings.TrimSuffix(f.discover, "/")+openIDPath {
		return response(404, "")
	}
	c := f.provider.client
	data, err := json.Marshal(map[string]any{
		"issuer":                                c.Issuer,
		"authorization_endpoint":                c.AuthURI,
		"token_endpoint":                        c.TokenURI,
		"jwks_uri":                              c.KeysURI,
		"device_authorization_endpoint":         c.DeviceAuthURI,
		"revocation_endpoint":                   c.RevocationURI,
		"token_endpoint_auth_methods_supported": f.methods,
		"id_token_signing_alg_values_supported": []string{"RS256"},
	})
	if err != nil {
		f.t.Error(err)
	}
	return response(200, string(data), "Content-Type", "application/json")
}

// authenticated returns how a client has authenticated, and whether it has.
func (f *fakeProvider) authenticated(r *http.Request, form url.Values) (method string, ok bool) {
	id, secret, basic := r.BasicAuth()
	switch {
	case basic && (form.Has("client_secret") || form.Has("client_id")):
		f.t.Error("the client has authenticated twice")
		return "", false
	case basic:
		method = authBasic
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	case form.Has("client_secret"):
		method = authPost
		id = form.Get("client_id")
		secret = form.Get("client_secret")
	default:
		return authNone, form.Get("client_id") == f.id
	}
	if f.secrets == secretJWT {
		return method, id == f.id && isAppleSecret(secret, id)
	}
	return method, id == f.id && secret == f.secret
}

// token is the token endpoint, for an authenticated client.
func (f *fakeProvider) token(form url.Values) (answer string) {
	grant := form.Get("grant_type")
	switch {
	case grant == "authorization_code":
		return f.exchange(form)
	case grant == "refresh_token" && f.provider.refresh.answer != "":
		f.refreshes++
		f.checkNames(form, "refresh_token")
		switch {
		case f.ended != "":
			return f.ended
		case form.Get("refresh_token") != f.refreshToken:
			f.t.Errorf("refreshed with %q", form.Get("refresh_token"))
			return `400 {"error":"invalid_grant"}`
		}
		return f.issue(f.provider.refresh.answer, nil)
	case f.provider.machine == nil:
		return `400 {"error":"unsupported_grant_type"}`
	}
	m := f.provider.machine
	want := url.Values{"grant_type": {"client_credentials"}, "scope": {m.scopes}}
	maps.Copy(want, m.params)
	for _, name := range m.demands {
		if form.Get(name) != want.Get(name) {
			return m.refused.answer
		}
	}
	for name := range want {
		if form.Get(name) != want.Get(name) {
			f.t.Errorf("%s is %q, want %q", name, form.Get(name), want.Get(name))
		}
	}
	return m.answer
}

// exchange redeems a code.
func (f *fakeProvider) exchange(form url.Values) (answer string) {
	f.checkNames(form, "code", "redirect_uri", "code_verifier", "audience")
	asked := f.asked[form.Get("code")]
	delete(f.asked, form.Get("code"))
	if asked == nil || form.Get("redirect_uri") != asked.Get("redirect_uri") {
		f.t.Errorf("exchanged %q for %q", form.Get("code"), form.Get("redirect_uri"))
		return `400 {"error":"invalid_grant"}`
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	proven := rawBase64.EncodeToString(sum[:]) == asked.Get("code_challenge")
	switch {
	case f.pkce == pkceRefused && form.Has("code_verifier"):
		return f.refused.answer
	case f.pkce == pkceChecked && !proven:
		return `400 {"error":"invalid_grant","error_description":"code_verifier"}`
	}
	f.ended = "" // a new grant
	return f.issue(f.answer, asked)
}

// checkNames checks that a form has no parameters but names, those of the flow and those of client authentication.
func (f *fakeProvider) checkNames(form url.Values, names ...string) {
	names = append(names, "grant_type", "client_id", "client_secret")
	for name := range form {
		if !slices.Contains(names, name) && !f.tokenParams.Has(name) {
			f.t.Errorf("%s was sent", name)
		}
	}
	for name := range f.tokenParams {
		if form.Get(name) != f.tokenParams.Get(name) {
			f.t.Errorf("%s is %q, want %q", name, form.Get(name), f.tokenParams.Get(name))
		}
	}
}

// issue completes an answer to a code, whose authorization request asked for it, or to a refresh token.
func (f *fakeProvider) issue(answer string, asked url.Values) string {
	now := time.Now()
	claims := map[string]any{
		"iss": f.provider.client.Issuer, "aud": f.id, "sub": "user-1",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	if asked.Has("nonce") {
		claims["nonce"] = asked.Get("nonce")
	}
	maps.Copy(claims, f.claims)
	if strings.Contains(answer, "ID_TOKEN") {
		signed := signClaims(serverKey(), map[string]any{"alg": "RS256", "kid": serverKeyID}, claims)
		answer = strings.Replace(answer, "ID_TOKEN", signed, 1)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(answer), &members); err != nil {
		f.t.Errorf("%v in %s", err, answer)
	}
	name, value, isParam := strings.Cut(f.offline, "=")
	isOffline := isParam && asked.Get(name) == value || slices.Contains(strings.Fields(asked.Get("scope")), name)
	if asked != nil && f.offline != "" && !isOffline {
		delete(members, "refresh_token")
		without, err := json.Marshal(members)
		if err != nil {
			f.t.Error(err)
		}
		answer = string(without)
	}
	var issued string
	if err := json.Unmarshal(members["refresh_token"], &issued); err == nil || asked != nil {
		f.refreshToken = issued
	}
	return answer
}

// revocation is the revocation endpoint.
func (f *fakeProvider) revocation(form url.Values, method string) (answer string) {
	want := f.provider.revoke.method
	if want == "" {
		want = f.provider.client.AuthMethod
	}
	if method != want || form.Get("token") != f.refreshToken {
		f.t.Errorf("revoked %q with %s", form.Get("token"), method)
		return "401"
	}
	f.revoked++
	return f.provider.revoke.answer
}

// response returns an answer as the provider sends it.
func (f *fakeProvider) response(r *http.Request, answer string) *http.Response {
	status, body := splitAnswer(answer)
	contentType := "application/json; charset=utf-8"
	if f.formAnswers && r.Header.Get("Accept") != "application/json" {
		var members map[string]any
		if err := json.Unmarshal([]byte(body), &members); err != nil {
			f.t.Error(err)
		}
		form := url.Values{}
		for name, value := range members {
			form.Set(name, fmt.Sprint(value))
		}
		contentType = "application/x-www-form-urlencoded; charset=utf-8"
		body = form.Encode()
	}
	return response(status, body, "Content-Type", contentType)
}

// splitAnswer returns the status and the body of an answer in a row.
func splitAnswer(answer string) (status int, body string) {
	first, rest, _ := strings.Cut(answer, " ")
	if status, err := strconv.Atoi(first); err == nil {
		return status, rest
	}
	return 200, answer
}

// appleKey is the key of a developer, whose public part Apple knows.
var appleKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

// appleSecret returns a client secret as a program makes it for Apple: a JWT with ES256 that is good for half a year.
func appleSecret(t testing.TB, clientID string) string {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": "TEAM123456", "sub": clientID, "aud": "https://appleid.apple.com",
		"iat": now.Unix(), "exp": now.Add(180 * 24 * time.Hour).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"alg":"ES256","kid":"KEY1234567"}`
	input := rawBase64.EncodeToString([]byte(header)) + "." + rawBase64.EncodeToString(claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, appleKey(), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return input + "." + rawBase64.EncodeToString(signature)
}

// isAppleSecret is Apple's check of a client secret.
func isAppleSecret(secret, clientID string) bool {
	i := strings.LastIndex(secret, ".")
	parts := strings.Split(secret, ".")
	if len(parts) != 3 {
		return false
	}
	claims, err1 := rawBase64.DecodeString(parts[1])
	signature, err2 := rawBase64.DecodeString(parts[2])
	var c struct {
		Sub, Aud string
		Exp      int64
	}
	if err1 != nil || err2 != nil || len(signature) != 64 || json.Unmarshal(claims, &c) != nil {
		return false
	}
	sum := sha256.Sum256([]byte(secret[:i]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(&appleKey().PublicKey, sum[:], r, s) &&
		c.Sub == clientID && c.Aud == "https://appleid.apple.com" && time.Now().Unix() < c.Exp
}
