/** Scores of continuations: shared beginnings and packing change nothing, and single targets are what the logits say. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../src/errors.ts';
import { score } from '../src/lab/score.ts';
import { sharePrefixes } from '../src/models/shared-prefix.ts';
import { throws } from './folder.ts';
import { gpu } from './gpu.ts';
import { nextLogits, openFacts } from './model.ts';
import { logSoftmax } from './reference/losses.ts';

const test = suite('score');

test('the beginnings that save most are shared', () => {
  const limits = (rows: number[][]): number[] => rows.map((row) => row.length - 1);
  const none = sharePrefixes(
    [
      [1, 2],
      [3, 4],
    ],
    [1, 1],
  );
  assert.equal(none, { prefixes: [], from: [0, 0], cacheStart: [0, 0] });

  // Three rows with 2 tokens in common save 4; two of them with 5 in common save 5.
  const rows = [
    [1, 2, 9],
    [1, 2, 3, 4, 5, 6],
    [1, 2, 3, 4, 5, 7],
  ];
  assert.equal(sharePrefixes(rows, limits(rows)), {
    prefixes: [[1, 2, 3, 4, 5]],
    from: [0, 5, 5],
    cacheStart: [0, 0, 0],
  });
  // With a fourth row [1, 2, …] the short beginning saves 6.
  const more = [...rows, [1, 2, 8]];
  assert.equal(sharePrefixes(more, limits(more)).from, [2, 2, 2, 2]);
  // Two groups, one after the other in the cache; in the order of their tokens.
  const two = [
    [7, 7, 1],
    [5, 5, 5, 1],
    [7, 7, 2],
    [5, 5, 5, 2],
  ];
  assert.equal(sharePrefixes(two, limits(two)), {
    prefixes: [
      [5, 5, 5],
      [7, 7],
    ],
    from: [2, 3, 2, 3],
    cacheStart: [3, 0, 3, 0],
  });
  // A row that is the beginning of another keeps its last token.
  const nested = [
    [1, 2, 3],
    [1, 2, 3, 4],
  ];
  assert.equal(sharePrefixes(nested, [2, 2]).from, [2, 2]);
  // Equal rows end the search.
  assert.equal(
    sharePrefixes(
      [
        [1, 2],
        [1, 2],
      ],
      [1, 1],
    ).from,
    [1, 1],
  );
});

test('one token: the likelihood and the first choice are those of the logits', async () => {
  const model = await openFacts();
  const prompts = ['The mother tongue of Danielle Darrieux is', 'The mother tongue of', 'Paris'];
  const items = prompts.flatMap((prompt) =>
    ['French', 'English'].map((target) => model.tokenizer.encodeTarget(prompt, target)),
  );
  const live = gpu.liveBytes;
  const scores = await score(model, items);
  assert.is(gpu.liveBytes, live);
  const logits = await nextLogits(
    model,
    prompts.map((prompt) => model.tokenizer.encode(prompt)),
  );
  items.forEach(({ target }, i) => {
    assert.is(target.length, 1);
    const row = logits[i >> 1]!;
    const want = -logSoftmax(row)[target[0]!]!;
    assert.ok(Math.abs(scores[i]!.nll - want) < 1e-4, `item ${i}: ${scores[i]!.nll}, want ${want}`);
    const best = row.reduce((top, x, id) => (x > row[top]! ? id : top), 0);
    assert.equal(scores[i]!.predicted, [best]);
    assert.is(scores[i]!.hits, best === target[0] ? 1 : 0);
  });
});

test('many tokens: the mean over the target, the same alone and among others', async () => {
  const model = await openFacts();
  const { tokenizer } = model;
  const items = [
    tokenizer.encodeTarget('The mother tongue of Danielle Darrieux is', 'the Eiffel Tower in Paris'),
    tokenizer.encodeTarget('The mother tongue of Danielle Darrieux is', 'the Eiffel Tower in Rome'),
    tokenizer.encodeTarget('The mother tongue of Danielle Darrieux is', 'French'),
    tokenizer.encodeTarget('The mother tongue of Michel Rocard is', 'French'),
    tokenizer.encodeTarget('a', 'b'),
  ];
  const together = await score(model, items);
  for (const [i, item] of items.entries()) {
    const [alone] = await score(model, [item]);
    assert.ok(Math.abs(alone!.nll - together[i]!.nll) < 1e-4, `item ${i}`);
    assert.equal(alone!.predicted, together[i]!.predicted);
    // Token by token through the ordinary forward pass.
    let sum = 0;
    for (const [t, id] of item.target.entries()) {
      const [logits] = await nextLogits(model, [[...item.prompt, ...item.target.slice(0, t)]]);
      sum -= logSoftmax(logits!)[id]!;
    }
    assert.ok(Math.abs(sum / item.target.length - alone!.nll) < 1e-4, `item ${i}`);
  }
});

test('what cannot be scored is refused', async () => {
  const model = await openFacts();
  await throws(() => score(model, [{ prompt: [], target: [1] }]), UsageError, 'item 0', 'empty prompt');
  await throws(() => score(model, [{ prompt: [1], target: [] }]), UsageError, 'empty target');
  const long = Array<number>(257).fill(5);
  await throws(() => score(model, [{ prompt: long, target: [1] }]), UsageError, '257 tokens', '256');
});

test.run();
