import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { generate } from '../src/models/generate.ts';
import { predict } from '../src/models/predict.ts';
import { topK } from '../src/models/random.ts';
import { gpu } from './gpu.ts';
import { contextFromSample, sampleContextGroups, sampleContexts } from '../src/edit/contexts.ts';
import { ModelError } from '../src/errors.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { readGpt2 } from '../src/models/gpt2.ts';
import { Model } from '../src/models/model.ts';
import { randomCheckpoint } from '../src/models/random-checkpoint.ts';
import { throws } from './folder.ts';
import { golden, nextLogits, openFacts } from './model.ts';
import { TINY_CONFIG, tinyCheckpoint } from './tiny.ts';

const test = suite('generate');

test('greedy text with the cache equals greedy text from whole forward passes; rows of unequal length in one batch', async () => {
  const model = await openFacts();
  const prompts = ['The mother tongue of Danielle Darrieux is', 'Apple', '<|endoftext|>In 1066, the'].map(
    (text) => model.tokenizer.encode(text),
  );
  const live = gpu.liveBytes;
  const got = await generate(model, prompts, { tokens: 12, topK: 1, seed: 0 });
  assert.is(gpu.liveBytes, live);
  for (const [b, prompt] of prompts.entries()) {
    const row = [...prompt];
    for (let i = 0; i < 12; i += 1) row.push(topK((await nextLogits(model, [row]))[0]!, 1)[0]!);
    assert.equal(got[b], row.slice(prompt.length), `row ${b}`);
  }
});

test('a seed gives the same text again, another seed another; a row does not depend on its neighbours', async () => {
  const model = await openFacts();
  const [a, b] = ['The city of', 'He was born in'].map((text) => model.tokenizer.encode(text));
  const options = { tokens: 20, topK: 50, seed: 3 };
  const first = await generate(model, [a!, b!], options);
  assert.equal(await generate(model, [a!, b!], options), first);
  assert.not.equal(await generate(model, [a!, b!], { ...options, seed: 4 }), first);
  assert.equal((await generate(model, [a!, a!, b!], options))[0], first[0]);
});

test('a beginning that all prompts share is computed once and changes no text', async () => {
  const model = await openFacts();
  const prompts = ['is', 'of', 'and his brother is', ''].map((end) =>
    model.tokenizer.encode(`The mother tongue of Danielle Darrieux ${end}`.trim()),
  );
  const [live, before] = [gpu.liveBytes, gpu.dispatches];
  const options = { tokens: 8, topK: 3, seed: 1 };
  const together = await generate(model, prompts, options);
  assert.is(gpu.liveBytes, live);
  const shared = gpu.dispatches - before;
  // With a row that begins otherwise nothing is shared.
  const apart = await generate(model, [...prompts, model.tokenizer.encode('Apple')], options);
  assert.equal(together, apart.slice(0, 4));
  assert.ok(shared > gpu.dispatches - before - shared, 'the beginning had a pass of its own');
  // Equal prompts share all but their last token.
  const [one, two] = await generate(model, [prompts[0]!, prompts[0]!], { ...options, topK: 1 });
  assert.equal(one, two);
  assert.equal([one], await generate(model, [prompts[0]!], { ...options, topK: 1 }));
});

test('predict: what comes next, and a continuation token by token, as whole forward passes say', async () => {
  const model = await openFacts();
  const ids = model.tokenizer.encode('The mother tongue of Danielle Darrieux is');
  const [likeliest] = (await generate(model, [ids], { tokens: 3, topK: 1, seed: 0 })) as [number[]];
  for (const continuation of [likeliest, [likeliest[0]!, 9, likeliest[2]!], likeliest.slice(0, 1)]) {
    const passes = continuation.map((_, i) => [...ids, ...continuation.slice(0, i)]);
    const logprobs = (await nextLogits(model, passes)).map((logits) => {
      const lse = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
      return Float64Array.from(logits, (x) => x - lse);
    });
    const want = continuation.reduce((sum, id, i) => sum + logprobs[i]![id]!, 0) / continuation.length;
    const found = await predict(model, ids, { continuation });
    assert.ok(Math.abs(found.continuationLogprob - want) <= 1e-4, `${found.continuationLogprob}, ${want}`);
    assert.is(found.continuationFirst, continuation[1] !== 9);
    assert.equal(
      found.next.map(({ id }) => id),
      topK(Float32Array.from(logprobs[0]!), 10),
    );
    for (const { id, logprob } of found.next) assert.ok(Math.abs(logprob - logprobs[0]![id]!) <= 1e-4);
  }
  const bare = await predict(model, ids, { count: 2 });
  assert.equal([bare.next.length, bare.continuationLogprob, bare.continuationFirst], [2, NaN, false]);
});

test('stop ids end one row and not the others', async () => {
  const model = await openFacts();
  const prompts = ['The mother tongue of Danielle Darrieux is', 'Apple A5 was created by'].map((text) =>
    model.tokenizer.encode(text),
  );
  const free = await generate(model, prompts, { tokens: 6, topK: 1, seed: 0 });
  const stop = free[0]![1]!;
  const [stopped, other] = await generate(model, prompts, { tokens: 6, topK: 1, seed: 0, stop: [stop] });
  assert.equal(stopped, free[0]!.slice(0, free[0]!.indexOf(stop) + 1));
  const end = free[1]!.indexOf(stop);
  assert.equal(other, end < 0 ? free[1] : free[1]!.slice(0, end + 1));
});

test('an empty prompt and a text beyond the window are refused', async () => {
  const model = await openFacts();
  const refuse = (prompts: number[][], tokens: number, words: RegExp): Promise<Error> =>
    throws(() => generate(model, prompts, { tokens, topK: 1, seed: 0 }), Error, words);
  await refuse([[1], []], 3, /prompt 1 is empty/);
  await refuse(
    [new Array<number>(250).fill(1)],
    7,
    /250 tokens and 7 more are wanted; the context window holds 256/,
  );
});

test('contexts are sampled after BOS where the tokenizer has one, and keep the blanks between words', async () => {
  const folder = golden('architectures/llama2');
  const model = await Model.load(gpu, await openCheckpoint(folder));
  try {
    const contexts = await sampleContexts(model, 0);
    assert.is(contexts.length, 21);
    assert.not.ok(contexts.some((text) => /<s>|<\/s>/.test(text)));
    // Ten of 4 tokens and ten of 9: what one batch drew, cut to size.
    const start = [...model.tokenizer.start];
    const starts = Array.from({ length: 20 }, () => start);
    const drawn = await generate(model, starts, { tokens: 9, topK: 5, seed: 0 });
    assert.equal(
      contexts.slice(1),
      drawn.map((ids, b) => contextFromSample(model.tokenizer.decode(ids.slice(0, b < 10 ? 4 : 9)))),
    );
    const [[bare], others] = (await sampleContextGroups(model, 0)) as [string[], string[]];
    assert.equal([bare, others.length], ['{}', 5]);
    assert.ok(others[0]!.startsWith('The'));
  } finally {
    model.destroy();
  }
});

test('a tokenizer with ids past the table of tokens is refused', async () => {
  const { tokenizerJson } = tinyCheckpoint();
  const architecture = readGpt2('tiny', { ...TINY_CONFIG, vocab_size: 8191 });
  await throws(
    () => Model.load(gpu, randomCheckpoint('short', { architecture, tokenizerJson, seed: 1 })),
    ModelError,
    'ids below 8191',
    'found 8191',
  );
});

test.run();
