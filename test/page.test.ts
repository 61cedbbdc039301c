/** The page, in a browser: its numbers are the command line's, nothing leaves it, and what goes wrong is told. */
import axe from 'axe-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { computeEdit, covarianceSolver, readBracketed, sampleContexts } from '../src/index.ts';
import type { Edit } from '../src/index.ts';
import { loadCovariance, loadModel, openGpu } from '../src/index.node.ts';
import type { EditReport } from '../page/engine/protocol.ts';
import { demo, openSite, ready, visit } from './page-browser.ts';
import type { Site, Visit } from './page-browser.ts';

const test = suite('page');
let site: Site;
let first: Visit;

test.before(async () => {
  site = await openSite();
  first = await visit(site);
});

test.after(async () => {
  await site?.close();
});

test('the first screen: a sentence, the answer of the model, one button', async () => {
  await ready(first.page);
  const hero = first.page.locator('.hero');
  assert.is(await hero.locator('.under').textContent(), 'French');
  assert.is(await hero.locator('button:visible').count(), 1);
  assert.match((await hero.locator('.status').textContent()) ?? '', /99\.0 % sure/);
});

test('the demo edit: the numbers of the page are the numbers of the engine under Node, bit for bit', async () => {
  const { page } = first;
  await page.evaluate(`
    globalThis.tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)))
      .observe({ type: 'longtask' })
  `);
  await demo(page);
  assert.is(await page.locator('.hero .over').textContent(), 'English');
  const longest = await page.evaluate<number>('Math.max(0, ...tasks)');
  assert.ok(longest <= 100, `the main thread was blocked for ${longest} ms`);

  const report = (await page.evaluate('palimpsest.report')) as EditReport;
  const edit = await editUnderNode();
  // One driver, one set of shaders, one order of sums: not one bit may differ.
  assert.equal(
    report.trace.map(({ loss }) => loss),
    edit.trace.map(({ loss }) => loss),
  );
  for (const { method, cosine, divisor, lambdaNorm, relativeUpdate, verdict } of report.outcomes) {
    const update = edit.updates.get(method);
    assert.equal(
      { cosine, divisor, lambdaNorm, relativeUpdate, verdict },
      {
        cosine: update?.cosine,
        divisor: update?.divisor,
        lambdaNorm: update?.lambdaNorm,
        relativeUpdate: update?.relativeUpdate,
        verdict: update?.verdict,
      },
    );
  }
  assert.equal(Object.values(report.vectors.lambda), [...(edit.updates.get('r-rome')?.Lambda ?? [])]);
});

async function editUnderNode(): Promise<Edit> {
  const gpu = await openGpu('swiftshader');
  try {
    const loaded = await loadModel(gpu, 'facts');
    const { model } = loaded;
    const solver = await covarianceSolver(gpu, await loadCovariance(loaded, { layer: 1 }));
    const request = readBracketed('The mother tongue of [Danielle Darrieux] is', 'English');
    const contexts = await sampleContexts(model, 0);
    return await computeEdit(model, request, {
      methods: ['r-rome', 'rome', 'p-rome'],
      layer: 1,
      contexts,
      solver,
    });
  } finally {
    gpu.destroy();
  }
}

test('every panel shows something, the console nothing, and no request leaves the origin', () => {
  assert.equal(first.problems, []);
  const { origin } = new URL(site.url);
  assert.equal(
    first.requests.filter(
      (url) => !url.startsWith(`${origin}/some/path/`) && !url.startsWith(`blob:${origin}/`),
    ),
    [],
  );
});

test('axe-core finds no violation, in light and dark, on desk and phone', async () => {
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
    }
});

test.run();
