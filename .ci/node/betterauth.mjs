// better-auth as an authorization server for the interop tests: its OAuth
// provider plugin with all that it can do, and everything in memory. It listens
// on 127.0.0.1 only.
//
//   node betterauth.mjs --dir=DIR
//
// When it is ready, one line of JSON goes to stdout and to DIR/provider.json,
// with the members that provider.mjs writes.
import { randomBytes } from 'node:crypto';

import { awkward, clientKey, directory, listen, ready } from './record.mjs';

// The plugin is written for Node 22.
URL.parse ??= (url, base) => {
  try {
    return new URL(url, base);
  } catch {
    return null;
  }
};
process.env.BETTER_AUTH_TELEMETRY = '0';
const { betterAuth } = await import('better-auth');
const { getAuthTables } = await import('better-auth/db');
const { memoryAdapter } = await import('better-auth/adapters/memory');
const { jwt } = await import('better-auth/plugins');
const { oauthProvider, oauthDeviceAuthorization } = await import('@better-auth/oauth-provider');

const dir = directory(process.argv.slice(2));
const key = clientKey(dir);
const server = await listen(dir);
const seconds = 600;

const tables = {};
const options = {
  baseURL: server.origin,
  secret: randomBytes(32).toString('hex'),
  database: memoryAdapter(tables),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { level: 'error' },
  plugins: [
    jwt(),
    oauthProvider({
      loginPage: '/login',
      consentPage: '/consent',
      scopes: ['openid', 'profile', 'email', 'offline_access', 'api:read', 'api:write'],
      grantTypes: ['authorization_code', 'refresh_token', 'client_credentials'],
      accessTokenExpiresIn: seconds,
      m2mAccessTokenExpiresIn: seconds,
      generateClientSecret: awkward,
      // Who registers the clients below may give them client_credentials_scopes.
      clientPrivileges: () => true,
      silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
    }),
    oauthDeviceAuthorization({ verificationUri: '/activate', interval: '1s' }),
  ],
};
for (const name of Object.keys(getAuthTables(options))) tables[name] = [];
const auth = betterAuth(options);

// The pages are the application's own, and the test plays the person: it posts
// what a page would.
const pages = new Set(['/login', '/consent', '/activate']);
server.answer = (request) => (pages.has(new URL(request.url).pathname)
  ? new Response('a page of the application')
  : auth.handler(request));

const { headers: signedUp, response: { user } } = await auth.api.signUpEmail({
  body: { name: 'alice', email: 'alice@example.com', password: 'correct horse battery' },
  returnHeaders: true,
});
const headers = new Headers({ cookie: signedUp.getSetCookie().map((line) => line.split(';')[0]).join('; ') });

const loopback = ['http://127.0.0.1/callback', 'http://[::1]/callback', 'http://localhost/callback'];
const interactive = {
  redirect_uris: loopback,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
};
const device = {
  grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
};
const machine = { grant_types: ['client_credentials'], client_credentials_scopes: ['api:read', 'api:write'] };
const jwks = { keys: [key.jwk] };
const registered = {
  native: { ...interactive, token_endpoint_auth_method: 'none' },
  basic: { ...interactive, token_endpoint_auth_method: 'client_secret_basic' },
  post: { ...interactive, token_endpoint_auth_method: 'client_secret_post' },
  jwt: { ...interactive, token_endpoint_auth_method: 'private_key_jwt', jwks },
  device: { ...device, token_endpoint_auth_method: 'none' },
  devicejwt: { ...device, token_endpoint_auth_method: 'private_key_jwt', jwks },
  machine: { ...machine, token_endpoint_auth_method: 'client_secret_post' },
  machinejwt: { ...machine, token_endpoint_auth_method: 'private_key_jwt', jwks },
};
const clients = {};
for (const [name, metadata] of Object.entries(registered)) {
  const client = await auth.api.adminCreateOAuthClient({
    headers,
    body: { client_name: name, application_type: 'native', response_types: [], ...metadata },
  });
  clients[name] = {
    client_id: client.client_id,
    client_secret: client.client_secret,
    auth_method: metadata.token_endpoint_auth_method,
    redirect_uris: loopback,
    ...(metadata.jwks && { key_file: key.file, key_id: key.id }),
  };
}

ready(dir, {
  issuer: `${server.origin}/api/auth`,
  origin: server.origin,
  user: { id: user.id, login: 'alice@example.com', password: 'correct horse battery' },
  userinfo_uri: `${server.origin}/api/auth/oauth2/userinfo`,
  access_token_seconds: seconds,
  log: server.log,
  clients,
});
