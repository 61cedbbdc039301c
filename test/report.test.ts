/** The report in a browser: nothing missing, nothing fetched, every figure drawn, in light and dark, on desk and phone. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from 'vega-lite';
import { makeReport } from '../src/lab/report/page.ts';
import { PALETTE, RAMP, svgOf } from '../src/lab/report/theme.ts';
import type { Study } from '../src/lab/report/study.ts';
import { bySize } from '../src/lab/report/wording.ts';
import { folderOf } from './folder.ts';
import { launch, openPage } from './browser.ts';
import type { Visit } from './browser.ts';
import { sampleStudy } from './study.ts';

const test = suite('report');
const folder = folderOf(test);
const study = withUnedited(sampleStudy());
const files = await makeReport(study);
for (const [name, text] of files) writeFileSync(join(folder, name), text);
const figures = [...files.keys()].filter((name) => name.endsWith('.svg')).map((name) => name.slice(0, -4));
const url = pathToFileURL(join(folder, 'report.html')).href;
let browser: Browser;

test.before(async () => {
  browser = await launch(['--disable-gpu']);
});
test.after(async () => {
  await browser?.close();
});

/** An address on a screen, by default that of a desk. */
async function open(address: string, width = 1280, height = 900, dark = false): Promise<Visit> {
  const colorScheme = dark ? 'dark' : 'light';
  const screen = { viewport: { width, height }, isMobile: width < 600, colorScheme } as const;
  return openPage(await browser.newContext(screen), address);
}

/** The table of single edits with all the columns that it can have. */
function withUnedited(sample: Study): Study {
  const { cases, seed } = sample.evaluation!;
  const metrics = { ES: 0.1, PS: 0.2, NS: 0.9, EM: 0, PM: 0.1, NM: 0.8 };
  const measured = cases.map((one, i) => ({ ...one, before: { metrics: { ...metrics, NS: i % 2 } } }));
  return { ...sample, evaluation: { cases: measured as unknown as typeof cases, seed } };
}

/** Shapes that a reader sees in each figure: drawn, inside its drawing, in a colour. */
const SEEN = `Object.fromEntries([...document.querySelectorAll('figure')].map((figure) => {
  const svg = [...figure.querySelectorAll('svg')].find((svg) => svg.checkVisibility());
  const frame = svg.getBoundingClientRect();
  const marks = [...svg.querySelectorAll('[class^="mark-"]:not(.role-axis-grid, [class*=role-axis], [class*=role-legend]) > path')];
  const seen = marks.filter((mark) => {
    const { width, height, left, right, top, bottom } = mark.getBoundingClientRect();
    const { fill, stroke, opacity } = getComputedStyle(mark);
    const inside = left >= frame.left - 2 && right <= frame.right + 2 && top >= frame.top - 2 && bottom <= frame.bottom + 2;
    return width + height > 0 && inside && opacity !== '0' && (fill !== 'none' || stroke !== 'none');
  });
  return [figure.id, { drawn: marks.length, seen: seen.length, width: frame.width }];
}))`;

/** Contrast of every text of the figures with the page, by WCAG 2: the least, and where. */
const CONTRAST = `(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255);
  const light = (colour) => numbers(colour).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)).reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const page = light(getComputedStyle(document.body).backgroundColor);
  let least = { ratio: 99 };
  for (const text of document.querySelectorAll('svg text, p, td, th, h1, h2, h3, li, dt, dd, a, small, span')) {
    if (!text.checkVisibility() || text.textContent === '') continue;
    const style = getComputedStyle(text);
    const own = light(text.closest('svg') ? style.fill : style.color);
    const ratio = (Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05);
    if (ratio < least.ratio) least = { ratio, text: text.textContent.slice(0, 60), tag: text.tagName };
  }
  return least;
})()`;

test('all figures are there, each as .svg and .vl.json that vega-lite takes', () => {
  const names = [
    'update-by-edit',
    'total-by-edit',
    'language-by-edit',
    'metrics-by-edit',
    'forgetting',
    'downstream',
  ];
  names.push('entropy-by-update', 'styles', 'loss-curves', 'trace-average', 'trace-fact', 'sweep');
  assert.equal(figures, names);
  for (const name of names) {
    const spec = JSON.parse(files.get(`${name}.vl.json`)!) as Parameters<typeof compile>[0] & {
      $schema: string;
    };
    assert.match(spec.$schema, /vega-lite\/v6/);
    assert.ok(compile(spec).spec.marks);
    assert.match(
      files.get(`${name}.svg`)!,
      /^<svg [^>]*viewBox=.*<style>@media \(prefers-color-scheme:dark\)/,
    );
  }
});

test('every colour of a figure has a dark twin', () => {
  const known = new Set<string>([...Object.values(PALETTE), ...RAMP].map(([plain]) => plain));
  assert.is(known.size, Object.keys(PALETTE).length + RAMP.length, 'two light colours are equal');
  for (const name of figures)
    for (const [, colour = ''] of files.get(`${name}.svg`)!.matchAll(/(?:fill|stroke)="(#[^"]+|rgb[^"]+)"/g))
      assert.ok(known.has(colour), `${name}: ${colour}`);
});

for (const [screen, width, height] of [
  ['desk', 1280, 900],
  ['phone', 360, 740],
] as const) {
  for (const dark of [false, true]) {
    test(`${screen}, ${dark ? 'dark' : 'light'}: no error, nothing fetched, every figure drawn and legible`, async () => {
      const { page, problems, requests } = await open(url, width, height, dark);
      const seen = await page.evaluate<Record<string, { drawn: number; seen: number; width: number }>>(SEEN);
      assert.equal(Object.keys(seen), figures);
      for (const [name, figure] of Object.entries(seen)) {
        assert.ok(figure.drawn > 0 && figure.seen === figure.drawn, `${name}: ${JSON.stringify(figure)}`);
        assert.ok(figure.width > 0.8 * Math.min(width - 40, 712), `${name}: ${figure.width} px wide`);
      }
      await legible(page, width);
      const contrast = await page.evaluate<{ ratio: number }>(CONTRAST);
      assert.ok(contrast.ratio >= 4.5, JSON.stringify(contrast));
      assert.equal(problems, []);
      assert.equal(requests, [url]);
    });
  }
}

/** No sideways scrolling of the page, tables within the column, and letters of at least 10.5 px. */
async function legible(page: Page, width: number): Promise<void> {
  assert.is(await page.evaluate('document.documentElement.scrollWidth'), width);
  const tables = await page.evaluate<{ inside: number; room: number; width: number }[]>(
    `[...document.querySelectorAll('.table')].map((table) => ({
      inside: table.scrollWidth, room: table.clientWidth, width: document.querySelector('h1').clientWidth }))`,
  );
  for (const { inside, room, width: column } of tables)
    assert.ok(inside <= room && room <= column, `a table of ${inside} px in a column of ${column} px`);
  assert.is(tables.length, 4);
  const smallest = await page.evaluate<number>(`Math.min(...[...document.querySelectorAll('svg text')]
    .filter((text) => text.checkVisibility() && text.textContent)
    .map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))`);
  assert.ok(smallest >= 10.5, `letters of ${smallest} px`);
}

test('what comes from data is text, not markup', async () => {
  const { page } = await open(url);
  assert.is(await page.evaluate(`document.querySelectorAll('q b, td script').length`), 0);
  assert.match(
    await page.evaluate(`document.querySelector('q').textContent`),
    /^The <b>author<\/b> of "Rome" & others/,
  );
  const rows = await page.evaluate<string[]>(
    `[...document.querySelectorAll('tbody th')].map((th) => th.textContent)`,
  );
  assert.ok(
    rows.some((row) => row.startsWith('Bay, which is located in Italy')),
    rows.join('\n'),
  );
});

test('findings name the worst edit, and how often an edit was judged dangerous', () => {
  const html = files.get('report.html')!;
  const { lines } = study.sequences![0]!;
  const bad = lines.filter(({ verdict }) => verdict !== 'ok');
  const worst = lines.reduce((a, b) => (b.normalised_update > a.normalised_update ? b : a));
  assert.equal([worst.edit, bad[0]!.edit], [17, 17]);
  assert.ok(
    html.includes(
      `<b>ROME</b>, 100 edits in sequence: ${bad.length} of them suspect or disabling, the first at edit 17`,
    ),
  );
  assert.match(html, /<b>r-ROME<\/b>, 100 edits in sequence: none of them suspect or disabling/);
  const digits = worst.normalised_update.toExponential(1).split('e')[0];
  assert.ok(
    html.includes(`The largest <span class="nw">|Δ|</span> is ${digits}×10⁻³, at edit 17: 9.1 times`),
  );
});

/** The table after a heading: its rows by name, cells from left to right. */
async function rowsOf(html: string): Promise<Record<string, string[]>> {
  const path = join(folder, 'table.html');
  writeFileSync(path, html);
  const { page } = await open(pathToFileURL(path).href);
  return page.evaluate(`Object.fromEntries([...document.querySelector('table').rows].map((row) =>
    [row.cells[0].textContent, [...row.cells].slice(1).map((cell) => cell.textContent)]))`);
}

test('the table of sequences: each number is that of its method', async () => {
  // Everything differs between the two methods, and between recent and earlier edits.
  const sequences = study.sequences!.map((run, m) => ({
    ...run,
    lines: run.lines.map(({ metrics, ...line }) => ({
      ...line,
      ...(metrics && {
        metrics: {
          recent: { n: 10, values: { ...metrics.recent.values, S: 61 + m } },
          earlier: { n: 10, values: { ...metrics.earlier.values, S: 31 + m } },
        },
      }),
    })),
  }));
  const made = await makeReport({ title: 'x', about: [], command: 'x', sequences });
  const table = await rowsOf(made.get('report.html')!);
  const number = (m: number, verdict: string): string =>
    String(sequences[m]!.lines.filter((line) => line.verdict === verdict).length);
  const total = sequences.map(({ lines }) => lines.at(-1)!.relative_total.toFixed(2));
  assert.equal(table[''], ['ROME', 'r-ROME']);
  assert.equal(table['edits'], ['100', '100']);
  assert.equal(table['disabling'], [number(0, 'disabling'), number(1, 'disabling')]);
  assert.equal(table['suspect'], [number(0, 'suspect'), number(1, 'suspect')]);
  assert.equal(table['median |Δ|'], ['1.1×10⁻⁴', '5.6×10⁻⁵']);
  assert.equal(table['largest |Δ|'], ['1.0×10⁻³edit 17', '1.3×10⁻⁴edit 90']);
  assert.equal(table['‖W − W₀‖/‖W₀‖'], total);
  assert.equal(table['perplexity'], ['8.2 → 2,048', '8.2 → 328.1']);
  assert.equal(table['S, last edits'], ['61.0', '62.0']);
  assert.equal(table['S, earlier edits'], ['31.0', '32.0']);
});

test('the table of single edits: scores with their intervals, sizes, and what disables', async () => {
  const { cases, seed } = study.evaluation!;
  const changed = cases.map((one, i) => ({
    ...one,
    methods: {
      ...one.methods,
      rome: { ...one.methods.rome!, verdict: i < 3 ? ('disabling' as const) : ('suspect' as const) },
    },
  }));
  const evaluation = { cases: changed, seed };
  const made = await makeReport({ title: 'x', about: [], command: 'x', evaluation });
  const table = await rowsOf(made.get('report.html')!);
  assert.equal(table[''], ['ROME', 'p-ROME', 'r-ROME', 'unedited']);
  assert.match(table['NSneighbourhood']![3]!, /^50\.0\d\d\.\d–\d\d\.\d$/);
  const percent = (of: (metrics: { ES?: number; NS?: number }) => number | undefined): number =>
    (100 * cases.reduce((sum, { methods }) => sum + of(methods.rome!.metrics!)!, 0)) / cases.length;
  assert.is(table['ESefficacy']![0], percent(({ ES }) => ES).toFixed(1)); // all of them: no interval
  assert.match(
    table['NSneighbourhood']![0]!,
    new RegExp(`^${percent(({ NS }) => NS).toFixed(1)}\\d\\d\\.\\d–\\d\\d\\.\\d$`),
  );
  const sizes = cases.map(({ methods }) => methods['p-rome']!.normalised_update).toSorted((a, b) => a - b);
  const exponent = (x: number): string => x.toExponential(1).replace('e-5', '×10⁻⁵').replace('e-6', '×10⁻⁶');
  assert.is(table['largest |Δ|']![1], exponent(sizes.at(-1)!));
  assert.is(table['median |Δ|']![1], exponent((sizes[19]! + sizes[20]!) / 2));
  assert.equal(table['disabling'], ['3', '0', '0', '']);
});

interface Saved {
  concat: {
    title: string;
    data: { values: Record<string, number | string>[] };
    encoding: { color: { scale: { domain: number[] } } };
  }[];
  data: { values: Record<string, number | string>[] };
  layer: { data: { values: Record<string, number | string>[] } }[];
}
const saved = (name: string): Saved => JSON.parse(files.get(`${name}.vl.json`)!) as Saved;

test('figures hold the numbers of the study, each panel its own', () => {
  const last = study.sequences![0]!.lines.at(-1)!;
  for (const [name, which] of [
    ['metrics-by-edit', 'recent'],
    ['forgetting', 'earlier'],
  ] as const) {
    const { concat } = saved(name);
    assert.equal(
      concat.map(({ title }) => title),
      ['Efficacy, ES', 'Paraphrase, PS', 'Neighbourhood, NS', 'Score, S'],
    );
    for (const [i, metric] of (['ES', 'PS', 'NS', 'S'] as const).entries()) {
      const { values } = concat[i]!.data;
      assert.is(values.length, 20, 'ten measurements of two methods');
      const found = values.find(({ edit, method }) => edit === 100 && method === 'ROME')!;
      assert.is(found['value'], last.metrics![which].values[metric]);
    }
  }
  const [perplexity, entropy] = saved('language-by-edit').concat;
  assert.equal(perplexity!.data.values[0], { edit: 0, value: 8.2, method: 'ROME' });
  assert.equal(entropy!.data.values[0], { edit: 0, value: 0.9, method: 'ROME' });
  const [, threshold, ringed] = saved('update-by-edit').layer;
  const { weight_norm, elements } = study.sequences![0]!.head;
  assert.equal(threshold!.data.values, [{ update: (10 * weight_norm) / elements }]);
  const bad = study.sequences!.flatMap(({ lines }) => lines.filter(({ verdict }) => verdict !== 'ok'));
  assert.equal(
    ringed!.data.values.map(({ edit }) => edit),
    bad.map(({ edit }) => edit),
  );
  const [constants, points] = saved('downstream').layer;
  assert.is(constants!.data.values[0]!['f1'], 100 / 3);
  assert.equal(points!.data.values.slice(0, 3), [
    { task: 'SST-2', state: 'unedited', f1: 40 },
    { task: 'SST-2', state: 'ROME', f1: 5 },
    { task: 'SST-2', state: 'r-ROME', f1: 38 },
  ]);
  const [state, mlp] = saved('trace-average').concat;
  const cell = ({ data }: Saved['concat'][0]) =>
    data.values.find(({ row, layer }) => row === 'last subject token' && layer === 2)!['effect'];
  assert.is(cell(state!), study.average!.effects.state!['last subject token'][2]);
  assert.is(cell(mlp!), study.average!.effects.mlp!['last subject token'][2]);
  const tokens = new Set(saved('trace-fact').concat[0]!.data.values.map(({ row }) => String(row)));
  assert.equal(
    [...tokens].map((token) => token.endsWith('*')),
    [false, false, false, false, true, true, true, true, false],
  );
  // The darkest colour is the panel's own largest effect.
  const largest = Math.max(...study.trace!.effects.mlp!.flat());
  assert.is(saved('trace-fact').concat[1]!.encoding.color.scale.domain[1], largest);
});

test('marks under the pointer say what they are', async () => {
  const { page } = await open(url);
  const said = await page.evaluate<string>(`(() => {
    const mark = document.querySelector('#update-by-edit .wide path[aria-label]');
    mark.scrollIntoView({ block: 'center' });
    const { left, top } = mark.getBoundingClientRect();
    mark.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, clientX: left, clientY: top }));
    return document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent;
  })()`);
  assert.match(said, /edit: 1/);
});

test('a report of little has only what there is; one of nothing still opens', async () => {
  const few = await makeReport({
    title: 'a < b',
    about: [],
    command: 'x',
    sequences: study.sequences!.slice(1),
  });
  assert.ok(few.has('update-by-edit.svg') && !few.has('styles.svg'));
  const none = await makeReport({ title: 'a < b', about: [], command: 'x' });
  assert.equal([...none.keys()], ['report.html']);
  assert.match(none.get('report.html')!, /<h1>a &#60; b<\/h1>/);
});

test('numbers that are no longer finite do not reach a figure', async () => {
  const [run] = study.sequences!;
  const lines = run!.lines.map((line) =>
    line.edit < 50
      ? line
      : { ...line, normalised_update: NaN, relative_total: NaN, perplexity: Infinity, cosine: NaN },
  );
  // Nor what has no logarithm: a run's head may say anything.
  const head = { ...run!.head, before: { ...run!.head.before, perplexity: 0 } };
  const sequences = [{ ...run!, head, lines }];
  const broken = await makeReport({ title: 'x', about: [], command: 'x', sequences });
  for (const [name, text] of broken) if (name.endsWith('.svg')) assert.not.match(text, /NaN|Infinity/, name);
  assert.match(broken.get('report.html')!, /not finite/);
});

test('a specification that vega-lite warns about is an error', async () => {
  const bad = {
    data: { values: [] },
    mark: 'bar',
    encoding: {
      x: { field: 'a', type: 'quantitative', sort: 'q' },
      y: { aggregate: 'nonsense', field: 'b' },
    },
  };
  const failure = await svgOf(bad as never).then(
    () => '',
    (error: Error) => error.message,
  );
  assert.match(failure, /\w/);
});

test('a subject is text wherever a sentence is filled with it', async () => {
  const subject = "$& of {} $'";
  const line = { ...study.sequences![0]!.lines[0]!, prompt: 'Who is {}?', subject };
  const trace = { ...study.trace!, request: { prompt: 'Who is {}?', subject } };
  const sequences = [{ ...study.sequences![0]!, lines: [line] }];
  const files = await makeReport({ title: 'x', about: [], command: 'x', trace, sequences });
  const html = files.get('report.html')!;
  assert.ok(html.includes('“Who is $&#38; of {} $&#39;?”: the model gives French 97.0 %'));
  assert.ok(html.includes('Who is <u>$&#38; of {} $&#39;</u>?'));
});

test('tasks that the model never did are not drawn; the reason stands in their place', async () => {
  const about = { title: 'x', about: [], command: 'x' };
  const rows = study.downstream!.map((row) => ({ ...row, result: { ...row.result, f1: 0, invalid: 98 } }));
  const silent = await makeReport({ ...about, downstream: rows });
  assert.equal([...silent.keys()], ['report.html']);
  assert.match(
    silent.get('report.html')!,
    /before the first edit the model answers none.*SST-2 98 %, MRPC 98 %/,
  );
  // Answers to one task are enough for a figure, and so are those that only an edit has spoilt.
  const spoilt = rows.map((row, i) => ({ ...row, result: { ...row.result, invalid: i === 0 ? 90 : 98 } }));
  const drawn = await makeReport({ ...about, downstream: spoilt });
  assert.ok(drawn.has('downstream.svg'));
});

test('the last measurement of a task counts, wherever it stands', async () => {
  const [first] = study.downstream!;
  const row = (edit: number, f1: number) => ({
    method: 'rome' as const,
    edit,
    result: { ...first!.result, f1 },
  });
  const downstream = [first!, row(30, 7), row(20, 9), row(10, 8)];
  const made = await makeReport({ title: 'x', about: [], command: 'x', downstream });
  const { layer } = JSON.parse(made.get('downstream.vl.json')!) as Saved;
  assert.equal(
    layer[1]!.data.values.map(({ f1 }) => f1),
    [40, 7],
  );
});

test('a search that stopped early keeps its last loss', async () => {
  const [one, two] = study.evaluation!.cases;
  const cases = [
    { ...one!, case_id: 1, loss: [8, 4, 2, 1] },
    { ...two!, case_id: 2, loss: [6, 3] },
  ];
  const made = await makeReport({ title: 'x', about: [], command: 'x', evaluation: { cases, seed: 0 } });
  const { data } = JSON.parse(made.get('loss-curves.vl.json')!) as Saved;
  const losses = data.values.filter((value) => value['case'] === 2).map(({ loss }) => loss);
  assert.equal(losses, [6, 3, 3, 3]);
});

test('tracing and sweep: said where they point to two layers, and only there', async () => {
  const { sweep } = study;
  // Six facts that agree to a hundredth: enough to tell layers apart.
  const facts = [0, 1, 2, 3, 4, 5].map((i) =>
    study.average!.facts[0]!.map((effect) => effect + 0.01 * effect * i),
  );
  const average = { ...study.average!, facts };
  const told = async (layer: number): Promise<string> => {
    const scores = sweep!.map((one) => ({ ...one, score: one.layer === layer ? 99 : 50 }));
    const files = await makeReport({ title: 'x', about: [], command: 'x', average, sweep: scores });
    return files.get('report.html')!;
  };
  assert.match(await told(4), /Tracing and edits disagree: layer 2 against layer 4/);
  assert.not.match(await told(2), /disagree/);
});

test('the bold line is the median of the losses, not their mean', async () => {
  const [one] = study.evaluation!.cases;
  const cases = [8, 4, 1].map((loss, case_id) => ({ ...one!, case_id, loss: [loss, loss] }));
  const made = await makeReport({ title: 'x', about: [], command: 'x', evaluation: { cases, seed: 0 } });
  const paths = (colour: string): string[] =>
    [...made.get('loss-curves.svg')!.matchAll(/<path [^>]*>/g)]
      .filter(([path]) => path.includes(`stroke="${colour}"`) && path.includes('line mark'))
      .map(([path]) => / d="([^"]+)"/.exec(path)![1]!);
  const [bold] = paths(PALETTE.ink[0]);
  assert.is(bold, paths(PALETTE['r-rome'][0])[1]);
});

test('an edit whose norm is no number is the worst', () => {
  const sizes = [1, NaN, 3, 2].map((normalised_update) => ({ normalised_update }));
  assert.equal(
    bySize(sizes).map(({ normalised_update: x }) => x),
    [NaN, 3, 2, 1],
  );
});

test('captions claim nothing of the model: what it was trained on is not known here', () => {
  assert.not.match(files.get('report.html')!, /trained on|held-out/);
});

/** Texts of a figure at their places, from left or from above. */
function labels(svg: string): string[] {
  return [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map(([, text = '']) => text);
}

test('ticks of small numbers: powers of ten, and 2, 3 and 5 of them', async () => {
  const [run] = study.sequences!;
  const lines = run!.lines.slice(0, 3).map((line, i) => ({
    ...line,
    normalised_update: [1.1e-7, 1e-6, 9e-6][i]!,
  }));
  const drawn = await makeReport({ title: 'x', about: [], command: 'x', sequences: [{ ...run!, lines }] });
  const ticks = labels(drawn.get('update-by-edit.svg')!).filter((text) => text.includes('10⁻'));
  assert.equal(ticks.toSorted(), [
    '10⁻⁵',
    '10⁻⁶',
    '10⁻⁷',
    '2×10⁻⁶',
    '2×10⁻⁷',
    '3×10⁻⁶',
    '3×10⁻⁷',
    '5×10⁻⁶',
    '5×10⁻⁷',
  ]);
});

test.run();
