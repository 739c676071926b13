// A real authorization server for the interop tests: the certified
// oidc-provider, set up as strictly as it can be. It listens on 127.0.0.1 only.
//
//   node provider.mjs --dir=DIR [--port=N] [--keys=1|2|2,1] [--ttl=SECONDS]
//
// When it is ready, one line of JSON with all that a test needs goes to stdout
// and to DIR/provider.json: issuer, endpoints, clients, log. Every request adds
// a line of JSON to DIR/requests.jsonl before it is answered, so a test that
// has an answer finds its line there. Nothing in that file is a secret:
// parameters are named and not shown, one-time values are hashed.
//
//   POST /control/keys?set=2,1   replaces the signing keys, keeping all state;
//                                the first one named signs, all are published
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTCPServer } from 'node:net';
import { join } from 'node:path';

// oidc-provider is written for Node 22; this is the one thing it uses that
// older ones may lack.
URL.parse ??= (url, base) => {
  try {
    return new URL(url, base);
  } catch {
    return null;
  }
};
const { Provider, errors } = await import('oidc-provider');

const options = { dir: '', port: '0', keys: '1', ttl: '5' };
for (const arg of process.argv.slice(2)) {
  const [, name, value] = /^--([a-z]+)=(.*)$/.exec(arg) ?? [];
  if (!(name in options)) throw new Error(`unknown argument ${arg}`);
  options[name] = value;
}
if (!options.dir) throw new Error('--dir is missing');
mkdirSync(options.dir, { recursive: true });

const hash = (value) => createHash('sha256').update(value).digest('hex').slice(0, 16);

async function freePort(host) {
  const server = createTCPServer();
  await new Promise((resolve) => server.listen(0, host, resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// Keys. Two sets exist from the start, so that a rotation is a choice of one.
const rsa = (kid) => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const usage = { kid, alg: 'RS256', use: 'sig' };
  return {
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    private: { ...privateKey.export({ format: 'jwk' }), ...usage },
    public: { ...publicKey.export({ format: 'jwk' }), ...usage },
  };
};
const signing = { 1: rsa('set-1'), 2: rsa('set-2') };
const clientKey = rsa('client-key-1');
const clientKeyFile = join(options.dir, 'client-key.pem');
writeFileSync(clientKeyFile, clientKey.pem, { mode: 0o600 });

// The clients. Native ones may use any port of a registered loopback URI; the
// web one has two URIs that hold to the letter, on ports that were free now.
const loopback = ['http://127.0.0.1/callback', 'http://[::1]/callback', 'http://localhost/callback'];
const web = [
  `http://127.0.0.1:${await freePort('127.0.0.1')}/oauth/callback`,
  `http://localhost:${await freePort('127.0.0.1')}/oauth/callback`,
];
// All spellings of no path: the server compares strings.
const bare = ['http://localhost', 'http://127.0.0.1', 'http://[::1]'].flatMap((uri) => [uri, `${uri}/`]);
const interactive = ['authorization_code', 'refresh_token'];
const device = ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'];
// Characters that a client must form-encode before the Basic scheme's base64
// (RFC 6749, Section 2.3.1). Random, so that no test can spell it.
const awkward = () => `%41+ &=:/?${randomBytes(12).toString('base64')}~`;

const clients = {
  native: { application_type: 'native', redirect_uris: loopback, grant_types: interactive },
  bare: { application_type: 'native', redirect_uris: bare, grant_types: interactive },
  norefresh: { application_type: 'native', redirect_uris: loopback, grant_types: ['authorization_code'] },
  basic: { auth: 'client_secret_basic', application_type: 'native', redirect_uris: loopback, grant_types: interactive },
  post: { auth: 'client_secret_post', application_type: 'native', redirect_uris: loopback, grant_types: interactive },
  jwt: { auth: 'private_key_jwt', application_type: 'native', redirect_uris: loopback, grant_types: interactive },
  web: { auth: 'client_secret_basic', application_type: 'web', redirect_uris: web, grant_types: interactive },
  machine: { auth: 'client_secret_basic', grant_types: ['client_credentials'] },
  machinejwt: { auth: 'private_key_jwt', grant_types: ['client_credentials'] },
  device: { application_type: 'native', grant_types: device },
  devicesecret: { auth: 'client_secret_post', application_type: 'native', grant_types: device },
};

const registered = Object.entries(clients).map(([name, { auth = 'none', ...rest }]) => ({
  client_id: name,
  token_endpoint_auth_method: auth,
  redirect_uris: [],
  response_types: rest.redirect_uris ? ['code'] : [],
  ...(auth.startsWith('client_secret') && { client_secret: awkward() }),
  ...(auth === 'private_key_jwt' && {
    jwks: { keys: [clientKey.public] },
    token_endpoint_auth_signing_alg: 'RS256',
  }),
  ...rest,
}));

// All state in one map, so that it outlives the replacement of the keys. The
// library's own store forgets the oldest entries past a thousand.
const state = new Map();
class Adapter {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  live(test) {
    const now = Date.now();
    for (const [key, { payload, expiry }] of state) {
      if (expiry <= now) state.delete(key);
      else if (key.startsWith(this.key('')) && test(payload)) return payload;
    }
    return undefined;
  }

  async upsert(id, payload, expiresIn = Infinity) {
    state.set(this.key(id), { payload, expiry: Date.now() + expiresIn * 1000 });
  }

  async find(id) {
    const entry = state.get(this.key(id));
    return entry && entry.expiry > Date.now() ? entry.payload : undefined;
  }

  async findByUid(uid) {
    return this.live((payload) => payload.uid === uid);
  }

  async findByUserCode(userCode) {
    return this.live((payload) => payload.userCode === userCode);
  }

  async consume(id) {
    state.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    state.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of state) {
      if (payload.grantId === grantId && key.startsWith(this.key(''))) state.delete(key);
    }
  }
}

const resources = ['https://api.example.com/', 'https://files.example.com/'];
const ttl = Number(options.ttl);
const cookieKeys = [randomBytes(16).toString('hex')];

const configuration = {
  adapter: Adapter,
  clients: registered,
  cookies: { keys: cookieKeys },
  clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  responseTypes: ['code'],
  scopes: ['openid', 'offline_access', 'api:read', 'api:write'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  // Claims of the scopes are in the ID token too, as they are at Google.
  conformIdTokenClaims: false,
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, name: id, email: `${id}@example.com`, email_verified: true,
    }),
  }),
  pkce: { required: () => true },
  // The default of 15 s keeps expired access tokens alive, and then no test of
  // expiry would prove anything.
  clockTolerance: 0,
  ttl: {
    AccessToken: ttl, ClientCredentials: ttl, AuthorizationCode: 60, DeviceCode: 300, IdToken: 3600,
    RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600,
  },
  rotateRefreshToken: true,
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: () => false,
  features: {
    devInteractions: { enabled: true },
    userinfo: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => {
        if (!resources.includes(resource)) throw new errors.InvalidTarget();
        return {
          audience: resource, scope: 'api:read api:write', accessTokenTTL: ttl, accessTokenFormat: 'opaque',
        };
      },
    },
  },
};

const authenticated = new Set(['token', 'device_authorization', 'revocation', 'introspection']);

// How the client authenticated this request, and not how it is registered:
// oidc-provider takes a secret in the header and in the form for the same.
function authMethod(ctx, body) {
  if (/^basic /i.test(ctx.get('authorization'))) return 'client_secret_basic';
  if (body.client_assertion) return 'private_key_jwt';
  if (body.client_secret) return 'client_secret_post';
  return 'none';
}

const logFile = join(options.dir, 'requests.jsonl');
writeFileSync(logFile, '');

// The library sends no polling interval and never asks to slow down; RFC 8628,
// Section 3.5 lets a server do both, so here it does.
const interval = 1;
const polls = new Map();
function pace(ctx, body) {
  if (ctx.oidc?.route === 'device_authorization' && ctx.status === 200) {
    ctx.body = { ...ctx.body, interval };
  }
  if (ctx.body?.error === 'authorization_pending') {
    const id = hash(body.device_code);
    const poll = polls.get(id) ?? { last: 0, interval };
    const now = Date.now();
    // 50 ms for the way here: what counts is a client that does not wait.
    if (now - poll.last < poll.interval * 1000 - 50) {
      poll.interval += 5;
      ctx.body = { error: 'slow_down', error_description: 'polled too soon' };
      ctx.state.detail = undefined;
    }
    polls.set(id, { ...poll, last: now });
  }
}

async function record(ctx, next) {
  const start = Date.now();
  await next();
  const body = ctx.oidc?.body ?? {};
  pace(ctx, body);
  const location = ctx.status >= 300 && ctx.status < 400
    ? new URL(ctx.response.get('location'), ctx.href) : undefined;
  const line = {
    time: new Date(start).toISOString(),
    ms: Date.now() - start,
    method: ctx.method,
    path: ctx.path,
    route: ctx.oidc?.route,
    client: ctx.oidc?.client?.clientId ?? body.client_id ?? ctx.query.client_id,
    grant: body.grant_type,
    auth: authenticated.has(ctx.oidc?.route) ? authMethod(ctx, body) : undefined,
    status: ctx.status,
    error: ctx.body?.error ?? location?.searchParams.get('error') ?? undefined,
    // Why, in the server's own words, such as "refresh token already used".
    detail: ctx.state.detail,
    params: [...new Set([...Object.keys(ctx.query), ...Object.keys(body)])].sort(),
    scope: body.scope ?? ctx.query.scope,
    resource: body.resource ?? ctx.query.resource,
    // Equal hashes in two lines: a one-time value was sent twice.
    refresh_token_hash: body.refresh_token && hash(body.refresh_token),
    code_hash: body.code && hash(body.code),
    user_agent: ctx.get('user-agent'),
  };
  appendFileSync(logFile, `${JSON.stringify(line)}\n`);
}

let handle;
function start(issuer, keys) {
  const jwks = { keys: keys.split(',').map((name) => signing[name].private) };
  const provider = new Provider(issuer, { ...configuration, jwks });
  for (const event of ['grant.error', 'authorization.error', 'server_error', 'userinfo.error',
    'revocation.error', 'introspection.error', 'device_authorization.error']) {
    provider.on(event, (ctx, err) => {
      ctx.state.detail = err.error_detail ?? err.error_description ?? err.message;
      if (event === 'server_error') console.error(err);
    });
  }
  provider.use(record);
  handle = provider.callback();
}

const server = createServer((req, res) => {
  const url = new URL(req.url, 'http://127.0.0.1');
  if (url.pathname !== '/control/keys') {
    handle(req, res);
    return;
  }
  const keys = url.searchParams.get('set') ?? '';
  if (req.method !== 'POST' || !keys.split(',').every((name) => name in signing)) {
    res.writeHead(400).end();
    return;
  }
  start(issuer, keys);
  res.writeHead(204).end();
});
// Longer than an access token lives: a connection that the server closes just
// as the client uses it again would look like a fault of the client.
server.keepAliveTimeout = 120_000;
await new Promise((resolve) => server.listen(Number(options.port), '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
start(issuer, options.keys);

const described = {};
for (const client of registered) {
  const name = client.client_id;
  described[name] = {
    client_id: name,
    client_secret: client.client_secret,
    auth_method: client.token_endpoint_auth_method,
    redirect_uris: client.redirect_uris,
    ...(client.jwks && { key_file: clientKeyFile, key_id: clientKey.private.kid }),
  };
  if (client.redirect_uris.length && !client.jwks) {
    // The same in the form of Google's client file.
    const file = join(options.dir, `${name}.json`);
    writeFileSync(file, JSON.stringify({
      [client.application_type === 'web' ? 'web' : 'installed']: {
        client_id: name,
        client_secret: client.client_secret,
        auth_uri: `${issuer}/auth`,
        token_uri: `${issuer}/token`,
        redirect_uris: name === 'bare' ? ['http://localhost'] : client.redirect_uris,
      },
    }), { mode: 0o600 });
    described[name].secrets_file = file;
  }
}
const ready = JSON.stringify({
  issuer,
  auth_uri: `${issuer}/auth`,
  token_uri: `${issuer}/token`,
  device_auth_uri: `${issuer}/device/auth`,
  device_uri: `${issuer}/device`,
  revocation_uri: `${issuer}/token/revocation`,
  introspection_uri: `${issuer}/token/introspection`,
  userinfo_uri: `${issuer}/me`,
  keys_uri: `${issuer}/jwks`,
  control_keys_uri: `${issuer}/control/keys`,
  access_token_seconds: ttl,
  device_interval_seconds: interval,
  resources,
  log: logFile,
  clients: described,
});
writeFileSync(join(options.dir, 'provider.json'), ready, { mode: 0o600 });
console.log(ready);
