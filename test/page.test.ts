/** The page, in a browser: its numbers are the engine's under Node, every part shows something, nothing leaves it. */
import axe from 'axe-core';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { computeEdit, covarianceSolver, readBracketed, sampleContexts } from '../src/index.ts';
import type { Edit } from '../src/index.ts';
import { loadCovariance, loadModel, openGpu, writeEdit } from '../src/index.node.ts';
import { STAGES } from '../page/sections/stages.ts';
import type { EditReport } from '../page/engine/protocol.ts';
import { folderOf } from './folder.ts';
import { demo, openPage, openSite, ready, until, visit, within } from './browser.ts';
import type { Site, Visit } from './browser.ts';
import { cli } from './process.ts';

const test = suite('page');
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = folderOf(test);
const PROMPT = 'The mother tongue of Danielle Darrieux is';
let site: Site;
let first: Visit;
let start: number;

test.before(async () => {
  site = await openSite();
  start = performance.now();
  first = await visit(site);
});

test.after(async () => {
  await site?.close();
});

test('the first screen: a sentence, the answer of the model, one button; within 15 s of the address', async () => {
  await ready(first.page);
  within(15, performance.now() - start, 'from the address to the first prediction');
  const hero = first.page.locator('.hero');
  assert.is(await hero.locator('.under').textContent(), 'French');
  assert.is(await hero.locator('button:visible').count(), 1);
  assert.match((await hero.locator('.status').textContent()) ?? '', /99\.0 % sure/);
});

test('the demo edit takes at most 30 s, and never blocks the page for 100 ms', async () => {
  const { page } = first;
  await page.evaluate(`
    globalThis.tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)))
      .observe({ type: 'longtask' })
  `);
  const begin = performance.now();
  await demo(page);
  within(30, performance.now() - begin, 'the demo edit');
  const longest = await page.evaluate<number>('Math.max(0, ...tasks)');
  within(0.1, longest, 'the longest task of the main thread');
  assert.is(await page.locator('.hero .over').textContent(), 'English');
});

/** ROME's edit in a file, and r-ROME's to be compared; on the driver that Chromium has. */
async function editUnderNode(file: string): Promise<Edit> {
  const gpu = await openGpu('swiftshader');
  try {
    const loaded = await loadModel(gpu, 'facts');
    const { model } = loaded;
    const solver = await covarianceSolver(gpu, await loadCovariance(loaded, { layer: 1 }));
    const request = readBracketed('The mother tongue of [Danielle Darrieux] is', 'English');
    const contexts = await sampleContexts(model, 0);
    const methods = ['r-rome', 'rome', 'p-rome'] as const;
    const edit = await computeEdit(model, request, { methods, layer: 1, contexts, solver });
    const update = edit.updates.get('rome');
    if (update) await writeEdit(file, { model, edit, update, covariance: solver.key, seed: 0 });
    return edit;
  } finally {
    gpu.destroy();
  }
}

test('its numbers are those of the engine under Node on SwiftShader, bit for bit; files go both ways', async () => {
  const { page } = first;
  const report = await page.evaluate<EditReport>('palimpsest.report');
  const theirs = join(folder, 'node.safetensors');
  const edit = await editUnderNode(theirs);
  // One driver, one set of shaders, one order of sums: not one bit may differ.
  assert.equal(report.trace, edit.trace);
  const names = ['cosine', 'divisor', 'lambdaNorm', 'relativeUpdate', 'normalisedUpdate', 'verdict'] as const;
  assert.is(report.outcomes.length, 3);
  for (const outcome of report.outcomes)
    for (const name of names) assert.is(outcome[name], edit.updates.get(outcome.method)?.[name], name);
  assert.equal(Object.values(report.vectors.lambda), [...(edit.updates.get('r-rome')?.Lambda ?? [])]);
  assert.equal(Object.values(report.vectors.kMean), [...edit.vectors.k_mean]);

  const download = page.waitForEvent('download');
  await page.locator('#change .edits button', { hasText: 'Download' }).click();
  const ours = join(folder, 'page.safetensors');
  await (await download).saveAs(ours);
  const list = join(folder, 'edits.json');
  const { code, stderr } = await cli(['apply', ours, '--list', list, '--no-check']);
  assert.is(code, 0, stderr);
  await page.locator('#change input[type=file]').setInputFiles(theirs);
  await page.locator('#change .edits li').nth(1).waitFor();
  for (let left = 2; left > 0; left -= 1) {
    await page.locator('#change .edits button', { hasText: 'Undo' }).first().click();
    await until(page, `palimpsest.applied.length === ${left - 1}`);
  }
  // Undone: the base, to the last bit.
  const answer = await page.evaluate<{ next: { token: string; logprob: number }[] }>(
    `palimpsest.engine.predict(${JSON.stringify(PROMPT)}, 10)`,
  );
  assert.equal(answer.next, report.before.next);
});

test('every panel shows something', async () => {
  const { page } = first;
  await page.locator('#break .slide input:enabled').waitFor();
  const least: Readonly<Record<string, number>> = {
    '#change .results .bar': 12,
    '#change .around tbody tr': 4,
    '#watch .strip li': 11,
    '#watch .curve circle': 40,
    '#watch .grid .cell': 88,
    '#watch .vectors canvas': 7,
    '#watch figure canvas': 9,
    '#watch .numbers tbody tr': 7,
    '#read details': 5,
    '#read .picture canvas': 8,
    '#break .method': 3,
    '#break .curve circle': 20,
    '#shader option': 10,
    '#measure .limits dt': 8,
  };
  for (const [selector, count] of Object.entries(least)) {
    const found = await page.locator(selector).count();
    assert.ok(found >= count, `${selector}: ${found}, expected ${count}`);
  }
  const plain = await page.evaluate<string[]>(`[...document.querySelectorAll('canvas')].flatMap((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size > 8 ? [] : [canvas.getAttribute('aria-label')];
  })`);
  assert.equal(plain, [], 'canvases of one colour');
});

test('read: every step has its equation and its shaders, with the formula marked; a symbol lights its vector', async () => {
  const { page } = first;
  for (const [i, { shaders, equations }] of STAGES.entries()) {
    const stage = page.locator('#read details').nth(i);
    await stage.locator('summary').click();
    await stage
      .locator('math')
      .nth(equations.length - 1)
      .waitFor();
    for (const [j, { name, mark }] of shaders.entries()) {
      await stage.locator('.chip').nth(j).click();
      await stage.locator(`.wgsl[aria-label="${name}.wgsl"]`).waitFor();
      const marked = (await stage.locator('.marked').allTextContents()).join('\n');
      assert.ok(marked.includes(mark) && /^\/\/ /m.test(marked), `${name}: ${mark}`);
    }
  }
  await page.locator('#read details[open] .symbol').first().focus();
  assert.ok((await page.locator('#read .picture .lit').count()) > 0);
});

test('the slider: ROME explodes, r-ROME stays', async () => {
  const { page } = first;
  await page.locator('#break .slide input').fill('89.5');
  const lines = await page.locator('#break .reading-line').allTextContents();
  assert.match(lines[0] ?? '', /disabling/);
  assert.match(lines[1] ?? '', /0\.28.*ok/);
  await page
    .locator('#break .written')
    .nth(1)
    .filter({ hasText: /English/ })
    .waitFor();
});

test('a shader: an error with its line, a wrong result and how wrong, a right one and its time', async () => {
  const { page } = first;
  await page.locator('#shader button', { hasText: 'Open the editor' }).click();
  const content = page.locator('#shader .cm-content');
  await content.waitFor();
  const code = readFileSync(join(root, 'shaders/tensor/gelu.wgsl'), 'utf8');
  const attempt = async (text: string): Promise<string> => {
    await content.click();
    await page.keyboard.press('ControlOrMeta+a');
    await page.evaluate(`{
      const clipboardData = new DataTransfer();
      clipboardData.setData('text/plain', ${JSON.stringify(text)});
      const content = document.querySelector('#shader .editor').shadowRoot.querySelector('.cm-content');
      content.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    }`);
    await page.locator('#shader .primary').click();
    await page.locator('#shader .primary:enabled').waitFor();
    return page.locator('#shader .result').innerText();
  };
  const line = code.split('\n').findIndex((one) => one.includes('let twice_z')) + 1;
  assert.match(
    await attempt(code.replace('let twice_z', 'lett twice_z')),
    new RegExp(`Line ${line}, column \\d+: `),
  );
  assert.match(
    await attempt(code.replaceAll('0.044715', '0.044')),
    /wrong.*element \d+ is .*times what rounding/s,
  );
  assert.match(await attempt(code), /Right.*yours.*ms.*in use: gelu.*ms/s);
});

test('measure: the ladder and the copy, as a figure and as JSON', async () => {
  const { page } = first;
  await page.locator('#measure .primary').click();
  await page.locator('#measure .json:visible').waitFor();
  const found = JSON.parse((await page.locator('#measure .json').textContent()) ?? '') as {
    adapter: { description: string };
    measured: {
      family: string;
      name: string;
      gflops?: number;
      gigabytes_per_second?: number;
      chosen: boolean;
    }[];
  };
  assert.match(found.adapter.description, /swiftshader/);
  const products = found.measured.filter(({ family }) => family === 'matmul');
  assert.ok(products.length >= 4 && products.every(({ gflops }) => (gflops ?? 0) > 0));
  assert.is(products.filter(({ chosen }) => chosen).length, 1);
  assert.ok(
    found.measured.some(({ family, gigabytes_per_second: rate }) => family === 'copy' && (rate ?? 0) > 0),
  );
  assert.is(await page.locator('#measure .bar').count(), found.measured.length);
});

test('a second tab takes the model from the store, within 5 s, and both are told of each other', async () => {
  const begin = performance.now();
  const second = await openPage(first.context, site.url);
  await ready(second.page);
  within(5, performance.now() - begin, 'the second visit');
  assert.equal(
    second.requests.filter((url) => url.includes('/weights/')),
    [],
  );
  await first.page.locator('.notice', { hasText: 'Another tab' }).waitFor();
  await second.page.locator('.notice', { hasText: 'Another tab' }).waitFor();
  assert.equal(second.problems, []);
  await second.page.close();
});

test('the console stays empty, no request leaves the folder, and 21 MB are enough', () => {
  assert.equal(first.problems, []);
  const { origin } = new URL(site.url);
  const inside = [`${origin}/some/path/`, `blob:${origin}/`];
  assert.equal(
    first.requests.filter((url) => !inside.some((begin) => url.startsWith(begin))),
    [],
  );
  assert.ok(
    first.requests.some((url) => url.endsWith('model.safetensors')),
    'requests of the worker are seen',
  );

  const assets = readdirSync(join(site.folder, 'assets')).map((name) => join(site.folder, 'assets', name));
  const packed = (path: string): number => gzipSync(readFileSync(path)).length;
  const shell = assets
    .filter((path) => !path.includes('/editor-'))
    .reduce((sum, path) => sum + packed(path), 0);
  assert.ok(shell <= 400_000, `script and style: ${shell} bytes`);
  const weights = join(root, 'weights/facts');
  const model = [
    'config.json',
    'tokenizer_config.json',
    'model.safetensors',
    'covariance-layer-1.safetensors',
    'tokenizer.json',
  ]
    .map((name) => statSync(join(weights, name)).size)
    .reduce((sum, bytes) => sum + bytes, 0);
  const rest = ['recorded.json', 'sequence.safetensors', 'index.html'].map(
    (name) => statSync(join(site.folder, name)).size,
  );
  const total =
    model + rest.reduce((sum, bytes) => sum + bytes, 0) + assets.reduce((sum, path) => sum + packed(path), 0);
  assert.ok(total <= 21e6, `in all: ${total} bytes`);
});

test('axe-core finds no violation, in light and dark, on desk and phone; nothing is wider than a phone', async () => {
  const { page } = first;
  await page.evaluate(axe.source);
  for (const colorScheme of ['light', 'dark'] as const)
    for (const width of [1280, 390]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      const found = await page.evaluate<string[]>(
        `axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.map((node) => node.html).join(' ').slice(0, 600)))`,
      );
      assert.equal(found, [], `${colorScheme}, ${width} px`);
      assert.ok(
        (await page.evaluate<number>('document.documentElement.scrollWidth')) <= width,
        `${width} px`,
      );
      // The pictures in docs/ were taken so, and looked at.
      const shots = process.env['PALIMPSEST_SCREENSHOTS'];
      const path = `${shots}/page-${width}-${colorScheme}.jpg`;
      if (shots) await page.screenshot({ path, fullPage: true, type: 'jpeg', quality: 60 });
    }
});

test.run();
