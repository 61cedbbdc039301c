/** The page where things go wrong: what visitors type and drop, a GPU that goes away, a browser that has or keeps nothing. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readEdit } from '../cli/edit-list.ts';
import { sealed } from '../src/formats/checksum.ts';
import { safetensorsBytes } from '../src/formats/safetensors.ts';
import type { TensorToWrite } from '../src/formats/safetensors.ts';
import { bytesOf } from '../src/floats.ts';
import { readManifest } from '../src/io/models.ts';
import { folderOf } from './folder.ts';
import { launch, openSite, ready, until, visit } from './browser.ts';
import type { Site, Visit } from './browser.ts';

const test = suite('page-faults');
const folder = folderOf(test);
const [F, D] = [1024, 256];
let site: Site;
let first: Visit;
let sha256: string;

/** Each sets `hit`, or leaves an element behind, where text becomes markup, a selector, a template or a pattern. */
const INJECTIONS = [
  '<script>hit=1</script>',
  '<img src=x onerror=hit=1>',
  '<svg onload=hit=1>',
  '"><iframe srcdoc="<script>parent.hit=1</script>">',
  "'><b id=marked>bold</b>",
  '</button><object data=x onerror=hit=1>',
  '<a href="javascript:hit=1">link</a>',
  'javascript:hit=1',
  '<math><mtext><img src=x onerror=hit=1></mtext></math>',
  '<style>*{display:none}</style>',
  '<!-- comment',
  '&lt;script&gt;hit=1&lt;/script&gt;',
  '&#60;img src=x onerror=hit=1&#62;',
  '${hit=1}',
  '{{constructor.constructor("hit=1")()}}',
  "$& $' $` $1",
  '\\u003cimg src=x onerror=hit=1\\u003e',
  '[onerror=hit=1] #marked .slot',
  '\u202Egnihtemos <img/src/onerror=hit=1>',
  '__proto__',
];

test.before(async () => {
  sha256 = (await readManifest()).models['facts']?.files?.['model.safetensors']?.sha256 ?? '';
  site = await openSite();
  first = await visit(site);
  await ready(first.page);
});

test.after(async () => {
  await site?.close();
});

interface Content {
  readonly subject?: string;
  readonly target?: string;
  readonly sha256?: string;
  readonly number?: number;
}

/** An edit file that is right but for what is asked for. */
async function editFile(name: string, content: Content = {}): Promise<string> {
  const { subject = 'Nobody', target = 'nothing', number = 0 } = content;
  const vector = (label: string, n: number): TensorToWrite => ({
    name: label,
    dtype: 'F32',
    shape: [n],
    data: bytesOf(new Float32Array(n).fill(1e-6 * (number + 1))),
  });
  const tensors = [vector('u', F), vector('lambda', D)];
  const metadata = {
    schema: 'palimpsest.edit/2',
    model: 'facts',
    model_sha256: content.sha256 ?? sha256,
    layer: '1',
    tensor: 'h.1.mlp.c_proj.weight',
    method: 'rome',
    request: JSON.stringify({ prompt: '{} is', subject, target, target_ids: [1] }),
  };
  const path = join(folder, name);
  const pieces: Uint8Array[] = [];
  for await (const piece of safetensorsBytes(name, tensors, await sealed(metadata, tensors)))
    pieces.push(piece);
  writeFileSync(path, Buffer.concat(pieces));
  return path;
}

async function drop(page: Page, path: string): Promise<string> {
  const status = page.locator('#change .piece .status').last();
  await status.evaluate((element) => (element.textContent = ''));
  await page.locator('#change input[type=file]').setInputFiles(path);
  await status.filter({ hasText: /\S/ }).waitFor();
  return (await status.textContent()) ?? '';
}

test('files that are no edits of this model are refused in the words of the command line', async () => {
  const right = await editFile('right.safetensors');
  const whole = readFileSync(right);
  const files: Readonly<Record<string, Uint8Array | string>> = {
    'text.safetensors': 'The mother tongue of Danielle Darrieux is English.\n',
    'list.safetensors': '{"schema":"palimpsest.edits/1"}',
    'archive.safetensors': 'PK\u0003\u0004 and so on',
    'empty.safetensors': '',
    'short.safetensors': 'short',
    'half.safetensors': whole.subarray(0, whole.length / 2),
    'cut.safetensors': whole.subarray(0, whole.length - 4),
    'huge.safetensors': '',
  };
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    writeFileSync(path, content);
    if (name.startsWith('huge')) truncateSync(path, 2 ** 30);
    const said = await readEdit(path).then(
      () => 'accepted',
      (error: Error) => error.message.replaceAll(path, basename(path)),
    );
    assert.is(await drop(first.page, path), said, name);
    assert.match(said, name);
  }
  const other = await editFile('other.safetensors', { sha256: '0'.repeat(64) });
  assert.match(
    await drop(first.page, other),
    /it edits facts \(sha256 000000000000\), but the model is facts/,
  );
  assert.is(await first.page.evaluate('palimpsest.applied.length'), 0);
});

/** Nothing ran, nothing was made. */
async function harmless(page: Page): Promise<void> {
  assert.is(await page.evaluate('typeof hit'), 'undefined');
  const made = 'img, iframe, object, #marked, #page script, #page style, #page a[href^="javascript"]';
  assert.is(await page.locator(made).count(), 0);
}

test('20 injections stay text: in files', async () => {
  const { page } = first;
  assert.is(INJECTIONS.length, 20);
  for (const [number, text] of INJECTIONS.entries()) {
    const path = await editFile(`${number}.safetensors`, { subject: text, target: text, number });
    await drop(page, path);
    const told = await page.locator('#change .edits .told').last().textContent();
    assert.is(told?.replace(/\\u202e/g, '\u202e'), `${text} is → ${text}`);
  }
  await harmless(page);
  await page.evaluate('Promise.all(palimpsest.applied.map(({ id }) => palimpsest.undo(id)))');
});

test('20 injections stay text: typed, and one of them edited in, while the tab sleeps', async () => {
  const { page } = first;
  const [sentence, target] = [page.locator('#change .picker input'), page.locator('#change .form > input')];
  const own = page.locator('#change .row input');
  for (const text of INJECTIONS) {
    await sentence.fill(`The mother tongue of ${text} is`);
    await target.fill(text);
    await own.fill(text);
    await own.press('Enter');
  }
  assert.equal(
    await page.locator('#change .own span').allTextContents(),
    INJECTIONS.map((text) => text.trim()),
  );
  await harmless(page);
  for (let left = INJECTIONS.length; left > 1; left -= 1)
    await page.locator('#change .own button').last().click();

  // A short target, since each of its tokens makes every step longer.
  const [word, bold] = ['<script>hit=1</script>', '<b>'];
  await sentence.fill(`The mother tongue of ${word} is`);
  await page.locator('#change .word', { hasText: word }).click();
  await target.fill(bold);
  await page.locator('#change .form .primary').click();
  await until(page, 'palimpsest.busy');
  const session = await first.context.newCDPSession(page);
  await session.send('Page.enable');
  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  await until(page, `palimpsest.report && palimpsest.report.request.target === ${JSON.stringify(bold)}`);
  await page.locator('#break .method').first().waitFor();
  assert.ok(
    (await page.locator('#change .results').innerText()).includes('<'),
    "the model's tokens are shown",
  );
  await harmless(page);
  assert.equal(first.problems, []);
});

test('a sentence without a subject is refused with what to do', async () => {
  const { page } = first;
  await page.locator('#change .picker input').fill('No subject here is');
  await page.locator('#change .form .primary').click();
  await page.locator('#change .form .status', { hasText: 'subject: expected' }).waitFor();
});

test('the device is lost in the middle of an edit: what was kept comes back', async () => {
  const { page } = first;
  await drop(page, await editFile('kept.safetensors', { number: 30 }));
  const kept = await page.evaluate<string[]>('palimpsest.applied.map(({ id }) => id)');
  assert.is(kept.length, 1);
  await page.locator('.hero .primary').click();
  await until(page, 'palimpsest.busy');
  await page.evaluate('void palimpsest.engine.loseDevice()');
  await page.locator('.notice', { hasText: 'The graphics device was lost' }).waitFor();
  await page.locator('.notice .primary').click();
  await page.locator('.notice', { hasText: 'Back again' }).waitFor();
  assert.equal(await page.evaluate('palimpsest.applied.map(({ id }) => id)'), kept);
  await ready(page);
  assert.is(await page.locator('.hero .under').textContent(), 'French');
});

test('a browser that keeps nothing: the page works, and says so', async () => {
  const { page, context } = await visit({ ...site, url: 'about:blank' });
  const session = await context.newCDPSession(page);
  await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(site.url).origin, quotaSize: 1e6 });
  await page.goto(site.url);
  await ready(page);
  await page.locator('.notice', { hasText: 'This browser keeps nothing' }).waitFor();
  await context.close();
});

test('without WebGPU: the recorded run tells the same story, by the keyboard alone', async () => {
  const browser = await launch([]);
  try {
    const { page, problems } = await visit({ ...site, browser }, { reducedMotion: 'reduce' });
    await page.locator('.notice', { hasText: 'What you can still do' }).waitFor();
    await page.locator('.hero .under', { hasText: 'French' }).waitFor();

    const wanted = await page.evaluate<number>(`
      globalThis.reached = new Set();
      addEventListener('focusin', ({ target }) => reached.add(target));
      globalThis.all = [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
        .filter((one) => !one.disabled && one.checkVisibility() && (one.type !== 'radio' || one.checked));
      all.length
    `);
    for (let press = 0; press < 2 * wanted; press += 1) await page.keyboard.press('Tab');
    const missed = await page.evaluate(
      'all.filter((one) => !reached.has(one)).map((one) => one.outerHTML.slice(0, 200))',
    );
    assert.equal(missed, []);

    await page.locator('.hero .primary').focus();
    await page.keyboard.press('Enter');
    await page.locator('.hero .primary', { hasText: 'Put it back' }).waitFor();
    assert.is(await page.locator('.hero .over').textContent(), 'English');
    for (const selector of [
      '#watch .grid .cell',
      '#watch .vectors canvas',
      '#break .method',
      '#break .curve circle',
    ])
      assert.ok((await page.locator(selector).count()) > 2, selector);
    await page.locator('#watch button', { hasText: 'Trace' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('#watch .cell.trace').first().waitFor();
    await page.locator('#break form .primary').focus();
    await page.keyboard.press('Enter');
    await page.locator('#break .said.rome', { hasText: /Italy Italy/ }).waitFor();
    assert.match((await page.locator('#break .said.rome').textContent()) ?? '', /27\d/);
    assert.equal(problems, []);
  } finally {
    await browser.close();
  }
});

test.run();
