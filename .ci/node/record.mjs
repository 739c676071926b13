// What the servers of the interop tests share that do not listen themselves: a
// port on 127.0.0.1, and the log of its requests.
//
// Every request adds a line of JSON to DIR/requests.jsonl before it is
// answered, in the form that provider.mjs describes. Nothing in that file is a
// secret.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

export function directory(args) {
  const [, dir] = /^--dir=(.+)$/.exec(args.join(' ')) ?? [];
  if (!dir) throw new Error('--dir is missing');
  mkdirSync(dir, { recursive: true });
  return dir;
}

// Characters that a client must form-encode before the Basic scheme's base64
// (RFC 6749, Section 2.3.1). Random, so that no test can spell it.
export const awkward = () => `%41+ &=:/?${randomBytes(12).toString('base64')}~`;

// The key of a client that authenticates with private_key_jwt.
export function clientKey(dir) {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const file = join(dir, 'client-key.pem');
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const id = 'client-key-1';
  return { file, id, jwk: { ...publicKey.export({ format: 'jwk' }), kid: id, alg: 'RS256', use: 'sig' } };
}

const hash = (value) => (value ?? undefined) && createHash('sha256').update(value).digest('hex').slice(0, 16);

function authMethod(request, form) {
  if (/^basic /i.test(request.headers.get('authorization') ?? '')) return 'client_secret_basic';
  if (form.has('client_assertion')) return 'private_key_jwt';
  return form.has('client_secret') ? 'client_secret_post' : 'none';
}

function member(body, name) {
  try {
    return JSON.parse(body)[name];
  } catch {
    return undefined;
  }
}

// listen calls handle.answer with a Request for each request, and sends the
// Response that it returns. The answer may be set once the origin is known.
export async function listen(dir) {
  const log = join(dir, 'requests.jsonl');
  writeFileSync(log, '');
  const handle = { log };
  const server = createServer(async (req, res) => {
    try {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const url = new URL(req.url, handle.origin);
      const request = new Request(url, {
        method: req.method,
        headers: Object.entries(req.headers).filter(([name]) => name !== 'connection'),
        body: body.length ? body : undefined,
      });
      const response = await handle.answer(request);
      const answer = Buffer.from(await response.arrayBuffer());

      const isForm = (req.headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded');
      const form = new URLSearchParams(isForm ? body.toString() : '');
      const location = response.headers.get('location') ?? '';
      const redirect = URL.canParse(location) ? new URL(location) : undefined;
      const line = {
        time: new Date().toISOString(),
        method: req.method,
        path: url.pathname,
        client: form.get('client_id') ?? url.searchParams.get('client_id') ?? undefined,
        grant: form.get('grant_type') ?? undefined,
        auth: isForm ? authMethod(request, form) : undefined,
        status: response.status,
        bytes: answer.length,
        error: member(answer, 'error') ?? redirect?.searchParams.get('error') ?? undefined,
        detail: member(answer, 'error_description'),
        params: [...new Set([...url.searchParams.keys(), ...form.keys()])].sort(),
        scope: form.get('scope') ?? url.searchParams.get('scope') ?? undefined,
        refresh_token_hash: hash(form.get('refresh_token')),
        code_hash: hash(form.get('code')),
      };
      appendFileSync(log, `${JSON.stringify(line)}\n`);

      res.statusCode = response.status;
      for (const [name, value] of response.headers) {
        if (!/^(set-cookie|content-(length|encoding)|transfer-encoding|connection|keep-alive)$/.test(name)) {
          res.setHeader(name, value);
        }
      }
      const cookies = response.headers.getSetCookie();
      if (cookies.length) res.setHeader('set-cookie', cookies);
      res.end(answer);
    } catch (err) {
      console.error(err);
      res.destroy();
    }
  });
  server.keepAliveTimeout = 120_000;
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  handle.origin = `http://127.0.0.1:${server.address().port}`;
  return handle;
}

// ready tells the tests what there is.
export function ready(dir, description) {
  const text = JSON.stringify(description);
  writeFileSync(join(dir, 'provider.json'), text, { mode: 0o600 });
  console.log(text);
}
