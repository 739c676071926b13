// Debian's glewlwyd as an authorization server for the interop tests, with a
// database and a configuration of its own. It listens on 127.0.0.1 only.
//
//   node glewlwyd.mjs --dir=DIR
//
// When it is ready, one line of JSON goes to stdout and to DIR/provider.json,
// with the members that provider.mjs writes. The requests are logged on their
// way to the server, and nothing else is done to them.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { awkward, clientKey, directory, listen, ready } from './record.mjs';

const dir = directory(process.argv.slice(2));
const key = clientKey(dir);
const proxy = await listen(dir);
const issuer = `${proxy.origin}/api/oidc`;
const seconds = 600;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// The tables as the package makes them, with the user admin.
const database = join(dir, 'glewlwyd.db');
rmSync(database, { force: true });
execFileSync('sqlite3', ['-bail', database], {
  input: `PRAGMA synchronous=OFF;\n${readFileSync('/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3')}`,
});
const port = await freePort();
const configuration = join(dir, 'glewlwyd.conf');
writeFileSync(configuration, `
port=${port}
bind_address="127.0.0.1"
external_url="${proxy.origin}"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="WARNING"
cookie_secure=0
session_key="GLEWLWYD2_SESSION_ID"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database = { type = "sqlite3"; path = "${database}"; };
`);
const output = openSync(join(dir, 'glewlwyd.log'), 'w');
const glewlwyd = spawn('glewlwyd', [`--config-file=${configuration}`], { stdio: ['ignore', output, output] });
glewlwyd.on('exit', (code, signal) => {
  console.error(`glewlwyd ended: ${code ?? signal}; see ${dir}/glewlwyd.log`);
  process.exit(1);
});
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    glewlwyd.removeAllListeners('exit');
    glewlwyd.on('exit', () => process.exit(0));
    glewlwyd.kill();
  });
}
process.on('exit', () => glewlwyd.kill());

// What cookie a browser has is its own matter: fetch keeps none.
const backend = `http://127.0.0.1:${port}`;
async function forward(request) {
  const { pathname, search } = new URL(request.url);
  if (pathname === '/login.html') return new Response('the page of the package, which is a script');
  const headers = new Headers(request.headers);
  headers.delete('content-length');
  return fetch(`${backend}${pathname}${search}`, {
    method: request.method,
    headers,
    body: request.body && await request.arrayBuffer(),
    redirect: 'manual',
  });
}

// The person who sets the server up does it through its API.
let cookie;
async function call(method, path, body) {
  const response = await fetch(`${backend}/api${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...(cookie && { cookie }) },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response;
}
for (let tries = 1; !cookie; tries += 1) {
  try {
    const response = await call('POST', '/auth/', { username: 'admin', password: 'password' });
    cookie = response.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ');
  } catch (err) {
    if (tries === 100) throw err;
    await sleep(50);
  }
}

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
await call('POST', '/mod/plugin/', {
  module: 'oidc',
  name: 'oidc',
  display_name: 'OpenID Connect',
  enabled: true,
  parameters: {
    iss: issuer,
    'subject-type': 'public',
    'jwt-type': 'ecdsa',
    'jwt-key-size': '256',
    key: privateKey.export({ type: 'sec1', format: 'pem' }),
    cert: publicKey.export({ type: 'spki', format: 'pem' }),
    'jwks-show': true,
    'access-token-duration': seconds,
    'refresh-token-duration': 86400,
    'code-duration': 60,
    'refresh-token-rolling': true,
    'refresh-token-one-use': 'always',
    'allow-non-oidc': true,
    'auth-type-code-enabled': true,
    'auth-type-code-revoke-replayed': true,
    'auth-type-client-enabled': true,
    'auth-type-device-enabled': true,
    'auth-type-refresh-enabled': true,
    'device-authorization-expiration': 300,
    'device-authorization-interval': 1,
    'pkce-allowed': true,
    'pkce-required': true,
    'oauth-as-iss-id': true,
    'introspection-revocation-allowed': true,
    'introspection-revocation-allow-target-client': true,
    'client-jwks-parameter': 'jwks',
    'request-parameter-allow': true,
    'request-maximum-exp': 3600,
    'email-claim': 'mandatory',
    'name-claim': 'mandatory',
  },
});
const scopes = ['email', 'profile', 'offline_access', 'api:read', 'api:write'];
for (const name of scopes) {
  await call('POST', '/scope/', { name, display_name: name, password_required: true, scheme: {} });
}
const user = { login: 'alice', password: randomBytes(16).toString('hex') };
await call('POST', '/user/', {
  username: user.login,
  name: 'alice',
  email: 'alice@example.com',
  password: user.password,
  scope: ['openid', ...scopes],
  enabled: true,
});

// It compares ports too, so the tests take turns.
const redirects = [`http://127.0.0.1:${await freePort()}/callback`, 'http://127.0.0.1/callback'];
const interactive = { redirect_uri: redirects, authorization_type: ['code', 'refresh_token'] };
const device = { authorization_type: ['device_authorization', 'refresh_token'] };
const machine = { authorization_type: ['client_credentials'], scope: ['api:read', 'api:write'] };
const jwks = { keys: [key.jwk] };
const registered = {
  native: { ...interactive, confidential: false, token_endpoint_auth_method: ['none'] },
  plain: {
    ...interactive,
    token_endpoint_auth_method: ['client_secret_basic'],
    client_secret: randomBytes(16).toString('hex'),
  },
  both: { ...interactive, token_endpoint_auth_method: ['client_secret_basic', 'client_secret_post'] },
  jwt: { ...interactive, token_endpoint_auth_method: ['private_key_jwt'], jwks },
  device: { ...device, confidential: false, token_endpoint_auth_method: ['none'] },
  devicejwt: { ...device, token_endpoint_auth_method: ['private_key_jwt'], jwks },
  machine: { ...machine, token_endpoint_auth_method: ['client_secret_post'] },
  machinejwt: { ...machine, token_endpoint_auth_method: ['private_key_jwt'], jwks },
};
const clients = {};
for (const [name, metadata] of Object.entries(registered)) {
  const hasSecret = metadata.token_endpoint_auth_method[0].startsWith('client_secret');
  const client = {
    client_id: name,
    name,
    enabled: true,
    confidential: true,
    ...(hasSecret && { client_secret: awkward() }),
    ...metadata,
  };
  await call('POST', '/client/', client);
  clients[name] = {
    client_id: name,
    client_secret: client.client_secret,
    auth_method: client.token_endpoint_auth_method[0],
    redirect_uris: client.redirect_uri,
    ...(client.jwks && { key_file: key.file, key_id: key.id }),
  };
}

proxy.answer = forward;
ready(dir, {
  issuer,
  origin: proxy.origin,
  user,
  userinfo_uri: `${issuer}/userinfo`,
  access_token_seconds: seconds,
  log: proxy.log,
  clients,
});
