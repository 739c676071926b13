// Stands in for xdg-open: signs in as a person would, in Debian's Chromium, and
// takes a picture of the page that the person is left with.
//
//   NAME=success ACTION=accept|deny|visit|post OUT=DIR node browser.mjs URL
//
// DIR gets NAME-{phone,desktop}-{light,dark}.png and NAME.json with the final
// address (without its query), the title, the page's text and every address
// outside this machine that a page asked for. It exits 0 when the person is
// back at a loopback page of the program. To visit is to open URL and do
// nothing, to post is to get there by a form.
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [url] = process.argv.slice(2);
const { NAME = 'page', ACTION = 'accept', OUT = '.' } = process.env;
const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium';
if (!url || !['accept', 'deny', 'visit', 'post'].includes(ACTION)) {
  console.error('usage: NAME=success ACTION=accept|deny|visit|post OUT=DIR node browser.mjs URL');
  process.exit(2);
}
mkdirSync(OUT, { recursive: true });

const server = new URL(url).origin;
const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: CHROMIUM,
  headless: true,
  timeout: 60_000,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    // Nothing outside is asked, whatever a page says.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE [::1]',
  ],
});

try {
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(30_000);
  const refused = [];
  // The login page imports a web font, and would wait for it.
  await context.route((address) => !['127.0.0.1', 'localhost', '[::1]'].includes(address.hostname), (route) => {
    refused.push(new URL(route.request().url()).hostname);
    return route.abort();
  });
  const complaints = [];
  page.on('console', (message) => {
    // What a page of the program asks for in vain is a fault of that page; that
    // a page of failure has a status to match is none.
    const own = message.location().url === page.url() && /^Failed to load resource: .* status of 4\d\d /.test(message.text());
    if (message.type() === 'error' && !own && (ACTION === 'visit' || ACTION === 'post' || !page.url().startsWith(server))) complaints.push(message.text());
  });

  if (ACTION === 'post') {
    await page.setContent(`<form method="post" action="${url}"><input name="code" value="x"><button>Go</button></form>`);
    await page.locator('button').click();
    await page.waitForURL((address) => address.origin === server, { waitUntil: 'load' });
  } else {
    await page.goto(url, { waitUntil: 'domcontentloaded' });
  }
  if (['accept', 'deny'].includes(ACTION) && new URL(page.url()).origin === server) {
    if (ACTION === 'deny') {
      await page.getByText('[ Cancel ]').click();
    } else {
      await page.locator('input[name=login]').fill('alice');
      await page.locator('input[name=password]').fill('any');
      await page.locator('button[type=submit]').click();
      await page.locator('input[name=prompt][value=consent]').waitFor({ state: 'attached' });
      await page.locator('button[type=submit]').click();
    }
    await page.waitForURL((address) => address.origin !== server, { waitUntil: 'load' });
  }
  const final = new URL(page.url());
  if (!['127.0.0.1', 'localhost', '[::1]'].includes(final.hostname)) {
    throw new Error(`left at ${final.origin}${final.pathname}`);
  }

  // One loaded page in four shapes: the program's server is gone by now.
  for (const [shape, width, height] of [['phone', 390, 844], ['desktop', 1280, 800]]) {
    for (const colorScheme of ['light', 'dark']) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(OUT, `${NAME}-${shape}-${colorScheme}.png`) });
    }
  }
  writeFileSync(join(OUT, `${NAME}.json`), JSON.stringify({
    url: `${final.origin}${final.pathname}`,
    title: await page.title(),
    text: await page.locator('body').innerText(),
    // Wider than the phone means that a person has to scroll sideways.
    overflow: await (async () => {
      await page.setViewportSize({ width: 390, height: 844 });
      return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    })(),
    complaints,
    refused: [...new Set(refused)],
  }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
