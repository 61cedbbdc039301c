/**
 * Single edits against float64: every log-probability of every prompt, before and after each method's edit.
 *
 * A few of the fixture's 40 records; `PALIMPSEST_RECORDS=40 npx tsx test/evaluate.test.ts` compares all of them.
 */
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readFacts } from '../src/data/read.ts';
import { METHODS } from '../src/edit/method.ts';
import type { Solver } from '../src/edit/covariance-solver.ts';
import { UsageError } from '../src/errors.ts';
import { generate } from '../src/models/generate.ts';
import { evaluate } from '../src/lab/evaluate.ts';
import type { CaseResult, EvaluateOptions, Measured } from '../src/lab/evaluate.ts';
import { missingMeasures } from '../src/lab/metrics.ts';
import type { PromptRow } from '../src/lab/probes.ts';
import { dangerousEdits, sideEffects, summariseBefore, summariseMethod } from '../src/lab/summary.ts';
import { writeTexts } from '../src/lab/texts.ts';
import { read } from '../src/tensor/tensor.ts';
import { goldenSolver } from './covariance.ts';
import { throws } from './folder.ts';
import { goldenEvaluation as fixture, type GoldenScores } from './golden.ts';
import { gpu } from './gpu.ts';
import { openFacts } from './model.ts';
import { goldenContexts as contexts } from './tokenizers.ts';

const LAYER = 1;
const NLL_BOUND = 5e-3;
/** Closer than this the reference itself is a tie, and the verdict is not compared. */
const TIE = 1e-2;
const METRIC = { rewrite: 'ES', paraphrase: 'PS', neighborhood: 'NS' } as const;

const test = suite('evaluate');
const facts = readFacts(JSON.stringify(fixture.records), 'evaluate.json');
// SwiftShader takes five times as long.
const count = Number(
  process.env['PALIMPSEST_RECORDS'] ?? (/swiftshader/i.test(gpu.adapter.description) ? 2 : 8),
);
let solver: Solver;
let worst = 0;

const options = (more: Partial<EvaluateOptions> = {}): EvaluateOptions => ({
  methods: METHODS,
  edit: { layer: LAYER, contexts, solver },
  seed: 0,
  textTokens: 0,
  ...more,
});

/** Where the numbers do not matter: few contexts and steps. */
const quick = (more: Partial<EvaluateOptions> = {}): EvaluateOptions =>
  options({ edit: { layer: LAYER, contexts: contexts.slice(0, 4), solver, steps: 3 }, ...more });

test.before(async () => {
  solver = await goldenSolver();
});

/** Every log-probability within the bound; every verdict equal, ties of the reference aside. */
function compare(got: Measured['logprobs'], want: GoldenScores, name: string): void {
  for (const key of ['rewrite', 'paraphrase', 'neighborhood'] as const) {
    const [news, trues] = want[key] ?? [[], []]; // a record without neighbours has none there
    const ours = { new: got[key].new, true: got[key].true ?? [] };
    assert.is(ours.new.length, news.length, `${name} ${key}`);
    news.forEach((nll, i) => {
      for (const [a, b] of [
        [-ours.new[i]!, nll],
        [-ours.true[i]!, trues[i]!],
      ] as const) {
        worst = Math.max(worst, Math.abs(a - b));
        assert.ok(Math.abs(a - b) <= NLL_BOUND, `${name} ${key} ${i}: ${a}, reference ${b}`);
      }
      if (Math.abs(nll - trues[i]!) < TIE) return;
      assert.is(ours.new[i]! > ours.true[i]!, nll < trues[i]!, `verdict of ${name} ${key} ${i}`);
    });
  }
}

test(`the first ${count} records, all three methods; weights bit-identical afterwards`, async () => {
  const model = await openFacts();
  const weight = model.editedWeight(LAYER).tensor;
  const [before, live] = [await read(gpu, weight), gpu.liveBytes];
  const start = performance.now();
  const cases = await evaluate(model, facts.slice(0, count), options());
  const seconds = (performance.now() - start) / 1000;
  assert.is(gpu.liveBytes, live, 'GPU bytes kept');
  assert.equal(new Uint8Array((await read(gpu, weight)).buffer), new Uint8Array(before.buffer), 'weights');

  cases.forEach((result, i) => {
    const want = fixture.results[i]!;
    assert.is(result.case_id, want.case_id);
    compare(result.before!.logprobs, want.before, `case ${i} before`);
    for (const method of METHODS) {
      const got = result.methods[method]!;
      compare(got.logprobs!, want[method].scores, `case ${i} ${method}`);
      assert.ok(
        Math.abs(got.update_norm / want[method].update_norm - 1) < 2e-3,
        `update norm, case ${i} ${method}`,
      );
      assert.ok(Math.abs(got.divisor / want[method].divisor - 1) < 1e-3, `divisor, case ${i} ${method}`);
    }
  });
  compareSummaries(cases);
  const [{ prompts, logprobs, metrics }] = cases.map(({ before }) => before!) as [Measured];
  const [fact] = facts as [(typeof facts)[0]];
  assert.equal(
    prompts.map(({ kind, prompt }) => [kind, prompt]),
    [
      ['rewrite', fact.prompt.replace('{}', fact.subject)],
      ...fact.paraphrases.map((prompt) => ['paraphrase', prompt]),
      ...fact.neighbours.map((prompt) => ['neighbourhood', prompt]),
    ],
  );
  const near = prompts.filter(({ kind }) => kind === 'neighbourhood');
  assert.equal(
    near.map((row) => row.true_logprob),
    logprobs.neighborhood.true,
  );
  assert.is(near.filter(({ won }) => won === 'true').length / near.length, metrics.NS);
  assert.is(prompts[0]!.says, ` ${fact.targetTrue}`, 'the model knows the first fact');
  console.log(
    `  ${count} records in ${seconds.toFixed(1)} s; worst log-probability off by ${worst.toExponential(1)}`,
  );
});

/** Percentages are those that the reference's own NLLs give. */
function compareSummaries(cases: CaseResult[]): void {
  for (const method of METHODS) {
    const summary = summariseMethod(cases, method, 0);
    for (const [key, metric] of Object.entries(METRIC) as ['rewrite', 'ES'][]) {
      const shares = fixture.results.slice(0, count).flatMap((row) => {
        const [news, trues] = row[method].scores[key] ?? [[], []];
        const won = news.map((nll, i) => (metric === ('NS' as string) ? trues[i]! < nll : nll < trues[i]!));
        return won.length === 0 ? [] : [won.filter(Boolean).length / won.length];
      });
      const want = (100 * shares.reduce((a, b) => a + b, 0)) / shares.length;
      assert.ok(Math.abs(summary[metric]! - want) < 1e-9, `${method} ${metric}: ${summary[metric]}, ${want}`);
      if (count === fixture.results.length)
        assert.ok(Math.abs(want - fixture.summary[method][metric]) < 1e-9);
    }
    assert.is(summary.disabling, 0);
  }
  assert.is(summariseBefore(cases, 0).ES, 0, 'nothing is written before the edit');
}

test('one method alone gives the same numbers; texts are seeded and measured', async () => {
  const model = await openFacts();
  const all = await evaluate(model, facts.slice(0, 1), quick({ textTokens: 24 }));
  const [alone] = await evaluate(model, facts.slice(0, 1), quick({ methods: ['rome'], textTokens: 24 }));
  assert.equal(alone!.methods.rome, all[0]!.methods.rome);
  const { texts, GE, entropy } = alone!.methods.rome!;
  assert.is(texts!.length, facts[0]!.generationPrompts.length);
  assert.ok(texts![0]!.startsWith(facts[0]!.generationPrompts[0]!), 'the prompt is part of the text');
  const written = model.tokenizer.encode(texts![0]!).length;
  assert.ok(written > 20 && written <= 24, `24 tokens, the ends of texts left out: ${written}`);
  assert.ok(GE! > 100 && GE! < 1000 && entropy! > 0 && entropy! <= 1);
  // The draws hang on the seed: of the unedited model, to spare another edit.
  const write = (seed: number) => writeTexts(model, facts[0]!.generationPrompts, { tokens: 24, seed });
  assert.equal(await write(5), await write(5));
  assert.not.equal(await write(5), await write(6));
});

test('each prompt says what came of it; what an edit broke is listed, the worst first', () => {
  const row = (kind: PromptRow['kind'], prompt: string, target: number, old: number): PromptRow => {
    const won = target > old ? 'target' : target < old ? 'true' : null;
    return { kind, prompt, target_logprob: target, true_logprob: old, won, says: ' x' };
  };
  const measured = (prompts: PromptRow[]) => ({ prompts, metrics: {}, logprobs: {} }) as unknown as Measured;
  const before = [
    row('rewrite', 'r', -9, -1),
    row('paraphrase', 'p', -9, -1),
    row('neighbourhood', 'kept', -9, -1),
    row('neighbourhood', 'broken', -9, -1),
    row('neighbourhood', 'ruined', -9, -0.1),
    row('neighbourhood', 'never', -1, -2),
  ];
  const after = [
    row('rewrite', 'r', -0.1, -5),
    row('paraphrase', 'p', -7, -2),
    row('neighbourhood', 'kept', -5, -4),
    row('neighbourhood', 'broken', -1, -2),
    row('neighbourhood', 'ruined', -8, -8),
    row('neighbourhood', 'never', -1, -9),
  ];
  const one = { case_id: 7, before: measured(before), methods: { rome: measured(after) } };
  const list = sideEffects([one as unknown as CaseResult], 'rome');
  assert.equal(
    list.map((effect) => [effect.case_id, effect.after.prompt, Math.round(10 * effect.lost) / 10]),
    [
      [7, 'ruined', 7.9],
      [7, 'broken', 1],
      [7, 'p', 7],
    ],
  );
});

test('what records lack is said; with true objects, paraphrases and neighbours nothing is', () => {
  const whole = { targetTrue: 'a', paraphrases: ['b'], neighbours: ['c'] };
  const bare = { targetTrue: null, paraphrases: [], neighbours: [] };
  assert.equal(missingMeasures([bare, whole]), []);
  const reasons = missingMeasures([bare]);
  assert.is(reasons.length, 3);
  assert.match(reasons[0]!, /^ES, PS, NS and S .* true object .* EM/);
  assert.match(missingMeasures([{ ...whole, paraphrases: [] }]).join(), /^PS and PM/);
  assert.match(missingMeasures([{ ...whole, neighbours: [] }]).join(), /^NS and NM/);
});

test('zsRE: token accuracies, no comparison without a true object', async () => {
  const model = await openFacts();
  const { tokenizer } = model;
  // An answer that the unedited model gives word for word.
  const question = 'The mother tongue of Danielle Darrieux is';
  const [answer] = await generate(model, [tokenizer.encode(`${question}?`)], { tokens: 3, topK: 1, seed: 0 });
  const record = {
    subject: 'Louis Jouvet',
    src: 'What language does Louis Jouvet speak?',
    rephrase: 'Louis Jouvet speaks what?',
    answers: ['Catalan'],
    alt: 'x',
    loc: question,
    loc_ans: tokenizer.decode(answer!).trim(),
  };
  const [result] = await evaluate(
    model,
    readFacts(JSON.stringify([record]), 'zsre'),
    quick({ methods: ['rome'] }),
  );
  const [before, after] = [result!.before!.metrics, result!.methods.rome!.metrics!];
  assert.is(after.ES, undefined);
  assert.is(before.locality_acc, 1);
  assert.is(after.locality_acc, after.locality_agreement, 'all answers were right, so right is unchanged');
  assert.is(before.rewrite_acc, 0);
  assert.is(after.rewrite_acc, after.EM, 'one token');
  assert.is(before.locality_agreement, undefined);
  assert.is(summariseMethod([result!], 'rome', 0).S, undefined);
});

test('dangerous edits are listed without measuring, the largest first', async () => {
  const model = await openFacts();
  const loose = { suspectCosine: 2, disablingCosine: 0.05, suspectUpdate: 4, disablingUpdate: 10 };
  const cases = await evaluate(
    model,
    facts.slice(0, 2),
    quick({ methods: ['rome', 'r-rome'], measure: false, thresholds: loose }),
  );
  assert.is(cases[0]!.before, undefined);
  const list = dangerousEdits(cases);
  assert.is(list.length, 4, 'no cosine reaches 2');
  assert.ok(list.every(({ verdict }) => verdict === 'suspect'));
  const sizes = list.map(({ relative_update }) => relative_update);
  assert.equal(
    sizes,
    sizes.toSorted((a, b) => b - a),
  );
});

test('every case is kept as it ends, and a kept one is not edited again', async () => {
  const model = await openFacts();
  const given = facts.slice(0, 2);
  const kept: CaseResult[] = [];
  const append = async (result: CaseResult): Promise<void> => void kept.push(result);
  const plan = quick({ methods: ['rome'], measure: false });
  const cases = await evaluate(model, given, { ...plan, journal: { lines: [], append } });
  assert.equal(kept, cases);
  kept.length = 0;
  const first = { ...cases[0]!, prompt: 'kept' };
  const again = await evaluate(model, given, { ...plan, journal: { lines: [first], append } });
  assert.is(again[0], first);
  assert.equal(
    kept.map(({ case_id }) => case_id),
    [cases[1]!.case_id],
  );
});

test('a fact that does not fit is named before any edit; an interrupt leaves the weights alone', async () => {
  const model = await openFacts();
  const before = await read(gpu, model.editedWeight(LAYER).tensor);
  const long = { ...facts[0]!, subject: 'Louis Jouvet '.repeat(100).trim() };
  let ran = 0;
  await throws(
    () => evaluate(model, [facts[0]!, long], quick({ onCase: () => (ran += 1) })),
    UsageError,
    '256 tokens',
  );
  assert.is(ran, 0);
  const controller = new AbortController();
  const stop = (): void => controller.abort(new Error('stopped'));
  await throws(
    () =>
      evaluate(
        model,
        facts.slice(0, 2),
        quick({ methods: ['rome'], onCase: stop, signal: controller.signal }),
      ),
    Error,
    'stopped',
  );
  assert.equal(await read(gpu, model.editedWeight(LAYER).tensor), before);
});

test.run();
