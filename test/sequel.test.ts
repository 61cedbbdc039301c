import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readFacts } from '../src/data/read.ts';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import { MASS_VALUE_DEFAULTS } from '../src/edit/mass.ts';
import { MASS_DEFAULTS } from '../src/edit/method.ts';
import { openMetric } from '../src/edit/metric.ts';
import { loadCovariance } from '../src/io/covariance-files.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import type { Writing } from '../src/edit/writing.ts';
import { makeReport } from '../src/lab/report/page.ts';
import { memoryJournal } from '../src/lab/run-journal.ts';
import { runSequel } from '../src/lab/sequel.ts';
import type { SequelInput, SequelLine } from '../src/lab/sequel.ts';
import { read } from '../src/tensor/tensor.ts';
import { throws } from './folder.ts';
import { gpu } from './gpu.ts';
import { FACTS, golden, openFacts } from './model.ts';

const test = suite('sequel');
const PLAN = { sizes: [1, 2, 4], batch: 2, judged: 3, anchored: 4, calibrated: 2 };

test('every method, way and size once; a study that was stopped goes on; the model stays as it was; its report', async () => {
  const model = await openFacts();
  const facts = readFacts(readFileSync(golden('data/counterfact.json'), 'utf8'), 'facts').slice(0, 4);
  const covariance = await loadCovariance(
    `${FACTS}/covariance-layer-1.safetensors`,
    await openCheckpoint(FACTS),
    1,
  );
  const options = { ...MASS_DEFAULTS, covarianceWeight: 100 };
  const metric = await openMetric(gpu, { method: 'memit', options, covariance });
  const solver = await covarianceSolver(gpu, covariance);
  const value = { ...MASS_VALUE_DEFAULTS, steps: 4 };
  const contexts = [['{}'], ['In short. {}']];
  const writings: Writing[] = [
    { kind: 'mass', method: 'memit', layers: [1], contexts, metrics: new Map([[1, metric]]), value },
    { kind: 'single', method: 'r-rome', edit: { layer: 1, solver, contexts: contexts.flat(), steps: 4 } },
  ];
  const before = await read(gpu, model.editedWeight(1).tensor);
  const results = memoryJournal<unknown, SequelLine>();
  const journals = new Map<string, unknown>();
  const opened = new Set<string>();
  const journalOf = async <Line>(name: string) => {
    assert.not(opened.has(name), `${name} is opened twice`);
    opened.add(name);
    const journal = (journals.get(name) ?? memoryJournal<unknown, Line>()) as ReturnType<
      typeof memoryJournal<unknown, Line>
    >;
    journals.set(name, journal);
    return journal;
  };
  const stopping = new AbortController();
  const input: SequelInput = {
    facts,
    documents: [model.tokenizer.encodeDocument('The capital of France is Paris, a large city.', 64)],
    ...{ writings, results, journalOf, signal: stopping.signal },
    onProgress: ({ step, done }) => {
      if (step.startsWith('r-ROME') && done === 3) stopping.abort();
    },
  };
  const stopped = await throws(() => runSequel(model, input, PLAN), Error);
  assert.is(stopped.name, 'AbortError');
  const half = results.lines.length;
  opened.clear();
  const shares: number[] = [];
  const onProgress: SequelInput['onProgress'] = ({ share, begun }) => void shares.push(share, begun);
  const lines = await runSequel(model, { ...input, signal: undefined, onProgress }, PLAN);
  assert.ok(Math.abs(shares.at(-2)! - 1) < 1e-9, `${shares.at(-2)} of the work is done at the end`);
  assert.ok(shares.at(-1)! > 0.2 && shares.at(-1)! < 0.6, `${shares.at(-1)} of it was done before`);
  const named = lines.map(({ method = 'unedited', way = '', anchored, facts: n }) =>
    [method, way, anchored ? 'anchored' : '', n].join(' '),
  );
  assert.is(new Set(named).size, named.length, 'nothing twice');
  for (const wanted of ['unedited   4', 'memit one batch  4', 'memit batches  4', 'r-rome one by one  4'])
    assert.ok(named.includes(wanted), `${wanted}: ${named.join('; ')}`);
  assert.is(lines.length, 1 + 2 * (3 + 1 + 3));
  assert.ok(half < lines.length && half > 4);
  assert.equal(await read(gpu, model.editedWeight(1).tensor), before);
  for (const { method, perplexity, seconds, moved, judged } of lines) {
    assert.ok(Number(perplexity) > 1 && judged <= 3);
    if (method) assert.ok(Number(seconds) > 0 && Number(moved) > 0);
  }
  const batches = journals.get('memit-batches-anchored') as { lines: { steps: number[] }[] };
  assert.equal(
    batches.lines.map(({ steps }) => steps.length),
    [0, 2],
    'values of the first batch were there',
  );
  const [one, two] = lines.filter(({ way, anchored }) => way === 'one batch' && !anchored);
  assert.ok(Number(two?.moved) > Number(one?.moved), 'more facts move W further');

  const files = await makeReport({ title: 'Many facts', about: [], command: 'palimpsest', sequel: lines });
  for (const name of ['facts-metrics', 'facts-cost', 'facts-anchored'])
    assert.match(files.get(`${name}.svg`) ?? '', /MEMIT/);
  assert.match(files.get('report.html') ?? '', /4 facts in the same weights, all asked at the end/);
  metric.close();
  solver.close();
});

test.run();
