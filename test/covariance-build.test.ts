/** C = E[kkᵀ]: against float64 keys and the golden matrix, in one go, in pieces, in shards, of several layers at once. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { covarianceSolver } from '../src/edit/covariance-solver.ts';
import { CovarianceBuild, buildCovariance } from '../src/edit/covariance.ts';
import type { BuildOptions, BuildState } from '../src/edit/covariance.ts';
import { ConvergenceProbe } from '../src/edit/convergence.ts';
import type { Convergence } from '../src/edit/convergence.ts';
import { batchTokens, packDocuments } from '../src/edit/pack-documents.ts';
import type { DocumentBatch, Placed } from '../src/edit/pack-documents.ts';
import { unpackSymmetric } from '../src/edit/panels.ts';
import { EditRefused, Interrupted, UsageError } from '../src/errors.ts';
import type { Gpu } from '../src/gpu/context.ts';
import type { Scope } from '../src/gpu/scope.ts';
import type { Dimensions } from '../src/models/architecture.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import type { Model } from '../src/models/model.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { openCorpus } from '../src/io/corpus-files.ts';
import { documents } from '../src/io/corpus.ts';
import type { BuildEvent, BuildJob } from '../src/io/covariance-build.ts';
import { mergeCovariances } from '../src/io/covariance-merge.ts';
import { readMatrices } from '../src/formats/covariance-file.ts';
import { findCovariance, loadCovariance, openCovariance } from '../src/io/covariance-files.ts';
import { readManifest } from '../src/io/models.ts';
import { read, upload } from '../src/tensor/tensor.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';
import { bindingAtMost, gpu } from './gpu.ts';
import { FACTS, goldenTensors, openFacts } from './model.ts';
import { relativeError } from './reference/allclose.ts';
import { runBuild } from './run-build.ts';
import { tinyCheckpoint, tinyDocuments, tinyModel } from './tiny.ts';

const test = suite('covariance-build');
const DOCUMENTS = tinyDocuments(60);

async function* placed(texts: readonly string[], from = 0): AsyncGenerator<Placed<number>> {
  for (let i = from; i < texts.length; i += 1) yield { text: texts[i]!, index: i, next: i + 1 };
}

const from = (at: number | undefined): AsyncGenerator<Placed<number>> => placed(DOCUMENTS, at);

/** Splits at blanks: one token a word. */
const words = (text: string, limit: number): number[] =>
  text
    .split(' ')
    .slice(0, limit)
    .map((word) => word.length);

async function pack(
  texts: string[],
  options: Partial<Parameters<typeof packDocuments>[1]>,
): Promise<DocumentBatch<number>[]> {
  const batches: DocumentBatch<number>[] = [];
  const all = { encode: words, contextLength: 5, batchTokens: 8, ...options };
  for await (const batch of packDocuments(placed(texts), all)) batches.push(batch);
  return batches;
}

test('tokens of a batch: what a binding holds, what an adapter does in its time, within 256 and 4,096', () => {
  const small = { F: 3072, D: 768, H: 12, KV: 12, S: 64 } as Dimensions;
  const tokens = (kind: 'gpu' | 'software', maxBindingBytes: number, last: number): number =>
    batchTokens({ maxBindingBytes, adapter: { kind } } as Gpu, small, last);
  // 8 D² + 4 D F = 14,155,776 flops a layer, F² = 9,437,184 of C
  assert.is(tokens('software', 2 ** 27, 11), Math.floor(5e10 / (12 * 14_155_776 + 9_437_184)));
  assert.is(tokens('software', 2 ** 27, 1), Math.floor(5e10 / (2 * 14_155_776 + 9_437_184)));
  assert.is(tokens('gpu', 2 ** 30, 1), 4096);
  assert.is(tokens('gpu', 2 ** 25, 1), Math.floor(2 ** 25 / (4 * 2 * 3072)));
  assert.is(tokens('software', 2 ** 20, 1), 256);
});

test('documents are cut to the window and packed in order, none split over two batches', async () => {
  const texts = ['a b c', 'a b c d', 'a', 'a b c d e f g', 'a b c d e', 'a b'];
  const batches = await pack(texts, {});
  assert.equal(
    batches.map(({ rows }) => rows.map((row) => row.length)),
    [[3, 4, 1], [5], [5, 2]],
  );
  assert.equal(
    batches.map(({ tokens }) => tokens),
    [8, 5, 7],
  );
  assert.equal(
    batches.map(({ cut }) => cut),
    [0, 1, 0],
  );
  assert.equal(
    batches.map(({ next }) => next),
    [3, 4, 6],
  );
  const first = await pack(['a b c d', 'a'], { batchTokens: 3 });
  assert.equal(first.map(({ rows }) => rows.length), [1, 1], 'no batch is empty'); // prettier-ignore
  const wide = await pack(texts, { contextLength: 20, batchTokens: 4 });
  assert.equal(
    wide.map(({ tokens }) => tokens),
    [3, 4, 1, 7, 5, 2],
    'a document beyond the batch has one to itself',
  );
});

test('a number of tokens comes out even, and the batches before the last are those without a limit', async () => {
  const texts = ['a b c', 'a b c d', 'a', 'a b c d e f g', 'a b c d e', 'a b'];
  for (let limit = 1; limit <= 22; limit += 1) {
    const batches = await pack(texts, { limit });
    assert.is(
      batches.reduce((sum, { tokens }) => sum + tokens, 0),
      Math.min(limit, 20),
    );
  }
  assert.equal(
    (await pack(texts, { limit: 9 })).map(({ rows }) => rows.map((row) => row.length)),
    [[3, 4, 1], [1]],
  );
  assert.equal(await pack(texts, { limit: 0 }), []);
});

test('shards take every document once', async () => {
  const texts = ['a b c', 'a b c d', 'a', 'a b', 'a b c d e', 'a a', 'a'];
  const parts = await Promise.all([0, 1, 2].map((index) => pack(texts, { shard: { index, of: 3 } })));
  const lengths = parts.map((batches) => batches.flatMap(({ rows }) => rows.map((row) => row.length)));
  assert.equal(lengths, [
    [3, 2, 1],
    [4, 5],
    [1, 2],
  ]);
});

test('C is the float64 mean of kkᵀ over every token, in layers 0 and 1 at once, for a width that is no multiple of 64', async () => {
  const model = await tinyModel(gpu);
  const live = gpu.liveBytes;
  const built = await build(model, { layers: [0, 1] });
  const rows = DOCUMENTS.map((text) => model.tokenizer.encodeDocument(text, 48));
  assert.is(built.tokens, rows.flat().length);
  assert.is(built.documents, 60);
  assert.ok(
    built.cut > 0 &&
      built.cut === DOCUMENTS.filter((text) => model.tokenizer.encode(text).length > 48).length,
  );
  for (const layer of [0, 1]) {
    const want = secondMoment(await keysOf(model, layer, rows), 96);
    const { covariance } = built.built.find((one) => one.layer === layer)!;
    const error = relativeError(unpackSymmetric(covariance, 96), want);
    assert.ok(error <= 1e-6, `layer ${layer}: ${error}`);
  }
  assert.is(gpu.liveBytes, live);
  model.destroy();
});

test('keys of the bundled model, 2,000 tokens of its corpus: within 1e-6 of the float64 sum', async () => {
  const model = await openFacts();
  const texts: string[] = [];
  const corpus = await openCorpus([join(FACTS, '../../data/wikitext.txt')], { spool: FACTS });
  for await (const { text } of documents(corpus.files)) if (texts.push(text) === 40) break;
  const built = await buildCovariance(model, {
    layers: [1],
    tokens: 2000,
    documents: (from: number | undefined) => placed(texts, from),
  });
  assert.is(built.tokens, 2000);
  let left = 2000;
  const rows = texts.map((text) => {
    const ids = model.tokenizer.encodeDocument(text, Math.min(256, left));
    left -= ids.length;
    return ids;
  });
  const want = secondMoment(
    await keysOf(
      model,
      1,
      rows.filter((row) => row.length > 0),
    ),
    1024,
  );
  const error = relativeError(unpackSymmetric(built.built[0]!.covariance, 1024), want);
  assert.ok(error <= 1e-6, String(error));
});

test('the bundled covariance: C of the fixture within 1e-5, u of every fixture edit within 1e-5', async () => {
  const manifest = await readManifest();
  const entry = manifest.models['facts'];
  const checkpoint = await openCheckpoint(FACTS, { id: 'facts', files: entry?.files });
  const path = await findCovariance(checkpoint, 1, entry, { cache: join(FACTS, 'no-cache') });
  const covariance = await loadCovariance(path, checkpoint, 1);
  assert.is(covariance.tokens, 240041);
  const want = (await goldenTensors('fixtures/covariance.safetensors')).get('C')!;
  const error = relativeError(unpackSymmetric(covariance.panels, 1024), want);
  assert.ok(error <= 1e-5, `C: ${error}`);

  const live = gpu.liveBytes;
  const solver = await covarianceSolver(gpu, covariance);
  for (let n = 0; n < 12; n += 1) {
    const vectors = await goldenTensors(`fixtures/edits/${String(n).padStart(2, '0')}.safetensors`);
    await gpu.scope(async (s) => {
      const key = upload(s, Float32Array.from(vectors.get('k_mean')!), [1024], 'k');
      const { u, solved } = await solver.direction(s, key);
      const off = relativeError(await read(gpu, u), vectors.get('u')!);
      assert.ok(off <= 1e-5, `u of edit ${n}: ${off}`);
      assert.ok(solved.residual <= 1e-6);
      assert.is(solved.tokens, 240041);
    });
  }
  solver.close();
  assert.is(gpu.liveBytes, live);
});

test('fewer tokens than twice the width are refused, with both numbers', async () => {
  const panels = new Float32Array(64 * 64);
  const error = await throws(
    () => covarianceSolver(gpu, { key: 'x', size: 64, tokens: 127, panels }),
    EditRefused,
    '128',
    '127',
  );
  assert.is((error as EditRefused).code, 'too_few_tokens');
});

test('interrupted at every third batch and resumed, the sums in two pieces: the same bits as in one go', async () => {
  const model = await tinyModel(gpu);
  const whole = await build(model, { layers: [1], batch: 80 });
  // 96 numbers a key: a panel of two blocks of 16 KiB, and one of one.
  const inPieces = <T>(fn: (s: Scope) => Promise<T>): Promise<T> =>
    bindingAtMost(2 ** 15, () => gpu.scope(fn));
  let state: BuildState<number> | undefined;
  let runs = 0;
  for (; runs < 100; runs += 1) {
    const { counts, next, finished } = await inPieces(async (s) => {
      const part = new CovarianceBuild<number>(s, model, { layers: [1], resume: state });
      assert.is(part.moments.get(1)!.high.pieces.length, 2);
      const stop = new AbortController();
      let batches = 0;
      for await (const _ of part.run({ batch: 80, documents: from, signal: stop.signal }))
        if ((batches += 1) === 3) stop.abort();
      assert.ok(batches <= 3, 'it goes on after the signal');
      const ended = batches < 3;
      return {
        counts: part.counts,
        next: await part.state(),
        finished: ended ? await part.finish() : undefined,
      };
    });
    if (finished) {
      const { tokens, documents: count, cut } = whole;
      assert.equal(counts, { tokens, skipped: 0, documents: count, cut });
      assert.equal(finished.built, whole.built);
      break;
    }
    state = next;
  }
  assert.ok(runs >= 3, `${runs} interruptions`);
  model.destroy();
});

test('probe keys: none while tokens are few, then u settles as they grow', async () => {
  const model = await tinyModel(gpu);
  const live = gpu.liveBytes;
  const probe = new ConvergenceProbe(gpu);
  const looks: (Convergence | undefined)[] = [];
  await gpu.scope(async (s) => {
    const sums = new CovarianceBuild<number>(s, model, { layers: [1] });
    const wanted = [100, 1500, 3000, 6000, 12000];
    for await (const _ of sums.run({ documents: (at) => placed(tinyDocuments(600), at), batch: 100 })) {
      const { tokens } = sums.counts;
      if (!wanted.some((at) => tokens >= at && tokens < at + 100)) continue;
      assert.is(sums.probes.get(1)!.cols, 96);
      looks.push(await probe.look(1, sums.moments.get(1)!, sums.probes.get(1)!));
    }
  });
  const [few, first, ...later] = looks;
  assert.is(few, undefined);
  assert.is(first!.change, undefined);
  const changes = later.map((look) => look!.change!);
  assert.ok(changes.length >= 3 && changes.every((change) => change > 0 && change < 2), changes.join(', '));
  assert.ok(changes.at(-1)! < changes[0]!, changes.join(', '));
  assert.is(gpu.liveBytes, live);
  model.destroy();
});

test('layers that are not there and a corpus without text are refused', async () => {
  const model = await tinyModel(gpu);
  await throws(() => build(model, { layers: [2] }), UsageError, 'covariance: layer 2');
  await throws(() => build(model, { documents: () => placed([]) }), UsageError, 'at least one document');
  model.destroy();
});

test('4 shards merged, in any order and grouping: C of one go within 1e-6, each other within 1e-7', async () => {
  const model = await tinyModel(gpu);
  await withFolder(async (folder) => {
    const job = await jobIn(folder, model);
    const whole = await runBuild(job);
    const parts: string[] = [];
    for (const index of [0, 1, 2, 3]) {
      const out = join(folder, `part-${index}.safetensors`);
      const [part] = await runBuild({ ...job, shard: { index, of: 4 }, out });
      assert.equal(part!.facts.shards, { indices: [index], of: 4 });
      parts.push(out);
    }
    const merge = async (name: string, ...files: string[]): Promise<string> =>
      (await mergeCovariances(files, join(folder, name))).path;
    const [a, b, c, d] = parts as [string, string, string, string];
    const merged = await merge('abcd', a, b, c, d);
    const others = [
      await merge('dbca', d, b, c, a),
      await merge('(ca)(bd)', await merge('ca', c, a), await merge('bd', b, d)),
      await merge('a(b(cd))', a, await merge('b(cd)', b, await merge('cd', c, d))),
    ];
    const want = await matrix(whole[0]!.path);
    const found = await matrix(merged);
    assert.ok(relativeError(found, want) <= 1e-6);
    for (const other of others) assert.ok(relativeError(await matrix(other), found) <= 1e-7, other);

    // It is the file that a build in one go would have made, by its key and its counts.
    const [file, one] = [await openCovariance(merged), await openCovariance(whole[0]!.path)];
    assert.is(file.key, one.key);
    assert.equal(file.facts, one.facts);

    const partial = await mergeCovariances([c, a], join(folder, 'ca'));
    assert.equal(partial.missing, [1, 3]);
    await throws(() => merge('x', a, b, a), UsageError, 'shard 0', 'Its text would weigh double');
    await throws(() => merge('x', partial.path, c), UsageError, 'shard 2');
    await throws(() => merge('x', a, merged), UsageError, 'abcd', 'whole corpus');
    await throws(() => merge('x'), UsageError, 'got none');
    const foreign: [Partial<BuildJob>, string][] = [
      [{ layers: [0] }, 'layer (1 and 0)'],
      [{ shard: { index: 2, of: 5 } }, 'number of shards (4 and 5)'],
      [{ tokens: 50 }, 'tokens asked for'],
      [{ corpus: await corpusOf(folder, 'other.txt', tinyDocuments(9, 5)) }, 'corpus (corpus.txt'],
    ];
    for (const [change, words] of foreign) {
      const out = join(folder, 'foreign.safetensors');
      await runBuild({ ...job, shard: { index: 1, of: 4 }, out, restart: true, ...change });
      await throws(() => merge('x', a, out), UsageError, 'foreign.safetensors', words);
    }
    const second = tinyCheckpoint(2);
    const other = await tinyModel(gpu, second);
    const out = join(folder, 'foreign.safetensors');
    await runBuild({
      ...job,
      model: other,
      checkpoint: second,
      shard: { index: 1, of: 4 },
      out,
      restart: true,
    });
    await throws(() => merge('x', a, out), UsageError, 'differ in model');
    other.destroy();
  });
  model.destroy();
});

test('a finished build is there at once; more tokens go on from the saved state; fewer than it holds are refused', async () => {
  const model = await tinyModel(gpu);
  await withFolder(async (folder) => {
    const job = await jobIn(folder, model);
    const [first] = await runBuild({ ...job, tokens: 500 });
    assert.is(first!.facts.tokens, 500);
    assert.is((await runBuild({ ...job, tokens: 500 }))[0]!.reused, true);

    const stop = new AbortController();
    const interrupted = { ...job, tokens: 1000, signal: stop.signal };
    const stopAt600 = (event: BuildEvent): void => {
      if (event.kind === 'batch' && event.tokens >= 600) stop.abort(new Interrupted());
    };
    await throws(() => runBuild(interrupted, stopAt600), Interrupted, 'tokens are kept', '--tokens');
    const resumed: number[] = [];
    const onResume = (event: BuildEvent): void => {
      if (event.kind === 'resumed') resumed.push(event.tokens);
    };
    await throws(() => runBuild({ ...job, tokens: 550 }, onResume), UsageError, '550', '--restart');
    // The number of tokens may change: the sums so far serve any that is larger.
    const [more] = await runBuild({ ...job, tokens: 900 }, onResume);
    assert.is(more!.facts.tokens, 900);
    assert.ok(resumed.length === 1 && resumed[0]! >= 600);
    assert.equal(
      await matrix(more!.path),
      await matrix((await runBuild({ ...job, tokens: 900, restart: true }))[0]!.path),
    );

    const layers = await runBuild({ ...job, layers: [1, 0] });
    assert.equal(
      layers.map(({ facts }) => facts.layer),
      [1, 0],
    );
    assert.equal(
      await matrix(layers[0]!.path),
      await matrix((await runBuild({ ...job, restart: true }))[0]!.path),
    );
    await holdsOnly(join(folder, 'covariance', 'tiny', 'random-tiny-'), [
      ...[first!, more!, ...layers].map(({ path }) => path.split('/').at(-1)!),
    ]);
  });
  model.destroy();
});

/** Keys [T, F] of these rows, read back. */
async function keysOf(
  model: Model,
  layer: number,
  rows: readonly (readonly number[])[],
): Promise<Float32Array> {
  return gpu.scope(async (s) => {
    const batch = uploadBatch(s, packRows(rows));
    return read(gpu, model.forward(s, batch, { to: layer + 1, stop: 'key' }));
  });
}

/** E[kkᵀ] in float64, rows [F, F]. */
function secondMoment(keys: Float32Array, f: number): Float64Array {
  const sum = new Float64Array(f * f);
  for (let at = 0; at < keys.length; at += f) {
    for (let i = 0; i < f; i += 1) {
      const x = keys[at + i]!;
      for (let j = 0; j <= i; j += 1) sum[i * f + j]! += x * keys[at + j]!;
    }
  }
  for (let i = 0; i < f; i += 1) for (let j = 0; j < i; j += 1) sum[j * f + i] = sum[i * f + j]!;
  return sum.map((value) => value / (keys.length / f));
}

function build(
  model: Model,
  options: Partial<BuildOptions<number>>,
): ReturnType<typeof buildCovariance<number>> {
  return buildCovariance(model, { layers: [1], documents: from, ...options });
}

async function corpusOf(folder: string, name: string, texts: readonly string[]): Promise<BuildJob['corpus']> {
  await writeFile(join(folder, name), texts.join('\n'));
  return openCorpus([join(folder, name)], { spool: folder });
}

async function jobIn(folder: string, model: Model): Promise<BuildJob> {
  const corpus = await corpusOf(folder, 'corpus.txt', DOCUMENTS);
  return {
    model,
    checkpoint: tinyCheckpoint(),
    corpus,
    layers: [1],
    batch: 100,
    cache: folder,
    saveMs: 1e9,
  };
}

async function matrix(path: string): Promise<Float32Array> {
  const file = await openCovariance(path);
  return unpackSymmetric((await readMatrices(file))['C']!, file.facts.size);
}

test.run();
