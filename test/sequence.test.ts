/**
 * One edit after another against float64: |Δ| of each of the first 18 edits, total change and likelihoods, with ROME and
 * r-ROME; ROME's 17th edit is known as disabling, and nothing of r-ROME's is.
 *
 * Fewer edits on SwiftShader, which takes five times as long; PALIMPSEST_EDITS=18 forces all, up to 100 are there.
 */
import process from 'node:process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readFacts } from '../src/data/read.ts';
import type { Method } from '../src/edit/method.ts';
import type { Solver } from '../src/edit/covariance-solver.ts';
import { heldOut, perplexity, spread } from '../src/lab/health.ts';
import { memoryJournal } from '../src/lab/run-journal.ts';
import { runSequence } from '../src/lab/sequence.ts';
import type { SequenceHead, SequenceLine, SequenceOptions } from '../src/lab/sequence.ts';
import { read } from '../src/tensor/tensor.ts';
import { goldenSolver } from './covariance.ts';
import { goldenSequence as fixture } from './golden.ts';
import { gpu } from './gpu.ts';
import { openFacts } from './model.ts';
import { goldenContexts as contexts, readText } from './tokenizers.ts';

const test = suite('sequence');
const LAYER = 1;
const corpus = readText('data/wikitext.txt').split('\n');
const slow = /swiftshader/i.test(gpu.adapter.description);
const count = Number(process.env['PALIMPSEST_EDITS'] ?? (slow ? 2 : 18));
const facts = readFacts(JSON.stringify(fixture.records), 'sequence.json').slice(0, count);
let solver: Solver;

const options = (
  method: Method,
  documents: number[][],
  more: Partial<SequenceOptions> = {},
): SequenceOptions => ({
  method,
  edit: { layer: LAYER, contexts, solver },
  onCollapse: 'warn',
  every: 10,
  documents,
  textTokens: 20,
  seed: 0,
  ...more,
});

test.before(async () => {
  solver = await goldenSolver();
});

const relative = (got: number, want: number, bound: number, what: string): void =>
  assert.ok(Math.abs(got / want - 1) <= bound, `${what}: ${got}, reference ${want}`);

for (const method of ['rome', 'r-rome'] as const)
  test(`${method}: the first ${count} edits, |Δ| within 0.5 %; the guard`, async () => {
    const model = await openFacts();
    const weight = model.editedWeight(LAYER).tensor;
    const [before, live] = [await read(gpu, weight), gpu.liveBytes];
    const documents = heldOut(model, corpus.slice(0, 12));
    const journal = memoryJournal<SequenceHead, SequenceLine>();
    const lives = new Set<number>();
    const onLine = (): void => void lives.add(gpu.liveBytes);
    await runSequence(model, facts, options(method, documents, { onLine }), journal);
    assert.is(gpu.liveBytes, live, 'GPU bytes kept');
    assert.is(lives.size, 1, 'live GPU bytes are the same after every edit');
    assert.equal(await read(gpu, weight), before, 'the weights are what they were');

    const { head, lines } = journal;
    relative(head!.weight_norm, fixture.weight_norm, 1e-6, '|W|');
    assert.is(head!.elements, fixture.elements);
    assert.is(lines.length, count);
    lines.forEach((line, i) => compare(line, i, method));

    const disabling = lines.filter(({ verdict }) => verdict === 'disabling').map(({ edit }) => edit);
    assert.equal(disabling, method === 'rome' && count >= 17 ? [17] : []);
    if (method === 'rome' && count >= 17) await refuse(journal.lines, journal.vectors);
  });

function compare(line: SequenceLine, i: number, method: 'rome' | 'r-rome'): void {
  const want = fixture.lines[method][i]!;
  const name = (what: string): string => `${what} of edit ${i + 1}`;
  assert.is(line.edit, i + 1);
  assert.is(line.case_id, want.case_id);
  assert.is(line.kept, true);
  relative(line.update_norm, want.update_norm, 5e-3, name('|Δ|'));
  relative(line.total_norm, want.total_norm, 5e-3, name('total'));
  relative(line.divisor, want.divisor, 5e-3, name('k · u'));
  relative(line.normalised_update, want.update_norm / fixture.elements, 5e-3, name('normalised |Δ|'));
  relative(line.relative_total, want.total_norm / fixture.weight_norm, 5e-3, name('relative total'));
  assert.ok(Math.abs(-line.target_logprob - want.nll[0]) < 0.05, name('NLL of the new object'));
  assert.ok(Math.abs(-line.true_logprob! - want.nll[1]) < 0.05, name('NLL of the true object'));
  if (want.perplexity === undefined) return;
  relative(line.perplexity!, want.perplexity, 5e-3, name('perplexity'));
  assert.ok(line.entropy! >= 0 && line.entropy! <= 1);
  assert.is(line.metrics!.recent.n, 10);
  assert.is(line.metrics!.earlier.n, i - 9);
}

/** The run again from its 17th edit on, as after a crash, now refusing: not kept, W as after the 16th. */
async function refuse(
  lines: readonly SequenceLine[],
  vectors: () => AsyncIterable<readonly Float32Array<ArrayBuffer>[]>,
): Promise<void> {
  const again = memoryJournal<SequenceHead, SequenceLine>();
  let i = 0;
  for await (const block of vectors()) {
    if (i === 16) break;
    await again.append(lines[i]!, block);
    i += 1;
  }
  await runSequence(
    await openFacts(),
    facts.slice(0, 17),
    options('rome', [], { onCollapse: 'refuse', every: 0 }),
    again,
  );
  const [last, sixteenth] = [again.lines[16]!, lines[15]!];
  assert.is(last.verdict, 'disabling');
  assert.is(last.kept, false);
  assert.is(last.update_norm, lines[16]!.update_norm, 'a resumed run computes the same bits');
  assert.is(last.total_norm, sixteenth.total_norm);
  let blocks = 0;
  for await (const block of again.vectors())
    if (++blocks === 17) assert.equal(block, [], 'no vectors of a refused edit');
}

test('a run is measured at its end, and every kept edit asked again: by arg-max without a true object', async () => {
  const model = await openFacts();
  const documents = heldOut(model, corpus.slice(5, 8)); // short ones
  const given = [facts[0]!, { ...facts[1]!, targetTrue: null }];
  const edit = { layer: LAYER, contexts: contexts.slice(0, 4), solver };
  for (const [every, recent] of [
    [0, 2],
    [10, 2],
    [1, 1],
  ] as const) {
    const journal = memoryJournal<SequenceHead, SequenceLine>();
    const kept: number[] = [];
    const survivors = await runSequence(
      model,
      given,
      options('r-rome', documents, {
        edit,
        every,
        onKept: async ({ number, update }) => void kept.push(number, update.U.length),
      }),
      journal,
    );
    const [first, last] = journal.lines;
    assert.is(first!.metrics === undefined, every !== 1);
    assert.is(last!.metrics!.recent.n, recent, `every ${every}: edits since the last measurement`);
    assert.ok(last!.perplexity! > 1 && last!.entropy! > 0);
    assert.equal(kept, [1, model.dims.F, 2, model.dims.F]);
    assert.equal(
      survivors.map(({ edit: number, by, holds }) => [number, by, holds]),
      [
        [1, 'comparison', true],
        [2, 'arg-max', true],
      ],
    );
    assert.equal([first!.took, last!.took, last!.true_logprob], [true, true, null]);
    // The last edit is asked on the same weights twice; the first has had another written over it.
    relative(survivors[1]!.target_logprob, last!.target_logprob, 1e-4, 'the last edit at the end');
    assert.is.not(survivors[0]!.target_logprob, first!.target_logprob);
  }
});

test('perplexity is the exponential of the mean over all predicted tokens, long documents cut', async () => {
  const model = await openFacts();
  const texts = ['Paris is the capital of France.', 'a', 'word '.repeat(400)];
  const documents = heldOut(model, texts);
  assert.equal(
    documents.map((ids) => ids.length).slice(1),
    [256],
    'one token predicts nothing; 256 is the window',
  );
  const each = await Promise.all(documents.map((ids) => perplexity(model, [ids])));
  const tokens = documents.map((ids) => ids.length - 1);
  const want = Math.exp(
    each.reduce<number>((sum, p, i) => sum + Math.log(p!) * tokens[i]!, 0) / tokens.reduce((a, b) => a + b),
  );
  relative((await perplexity(model, documents))!, want, 1e-5, 'perplexity');
  assert.is(await perplexity(model, []), undefined);
});

test('a spread keeps order and ends', () => {
  assert.equal(spread([1, 2, 3], 5), [1, 2, 3]);
  assert.equal(spread([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4), [0, 2, 5, 7]);
});

test.run();
