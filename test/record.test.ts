/** Edit files and edit lists: what they hold, what is refused, and a model that is put back to the last bit. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readEditList, writeEditList } from '../cli/edit-list.ts';
import { applyEdits, withUpdate } from '../src/edit/apply.ts';
import { checkRecord, readRecord, recordTensors } from '../src/edit/record.ts';
import { sealed } from '../src/formats/checksum.ts';
import type { TensorToWrite } from '../src/formats/safetensors.ts';
import type { RecordFile } from '../src/edit/record-fields.ts';
import { UsageError } from '../src/errors.ts';
import { bytesOf } from '../src/floats.ts';
import { read } from '../src/tensor/tensor.ts';
import { throws, withFolder } from './folder.ts';
import { gpu, noise } from './gpu.ts';
import { openFacts } from './model.ts';

const test = suite('record');
const LAYER = 1;

const metadata = {
  schema: 'palimpsest.edit/1',
  model: 'facts',
  model_sha256: 'ab'.repeat(32),
  layer: '1',
  tensor: 'h.1.mlp.c_proj.weight',
  method: 'rome',
  request: JSON.stringify({ prompt: 'The {} is', subject: 'moon', target: 'made', target_ids: [3, 4] }),
};

function fakeFile(
  changes: Record<string, string | undefined> = {},
  tensors: Readonly<Record<string, Float32Array<ArrayBuffer>>> = { u: noise(8, 1), lambda: noise(4, 2) },
): RecordFile {
  const all: Record<string, string | undefined> = { ...metadata, ...changes };
  const kept = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const found = new Map<string, Float32Array<ArrayBuffer>>(Object.entries(tensors));
  return {
    name: 'some.safetensors',
    metadata: Object.fromEntries(kept),
    names: () => [...found.keys()],
    info: (name) => ({ dtype: 'F32', shape: [found.get(name)?.length ?? 0] }),
    readFloats: async (name) => found.get(name) ?? new Float32Array(),
  };
}

test('a record comes back as it was written', async () => {
  const record = await readRecord(fakeFile());
  assert.equal(record.U, noise(8, 1));
  assert.equal(record.Lambda, noise(4, 2));
  assert.is(record.layer, 1);
  assert.is(record.method, 'rome');
  assert.equal(record.request, { prompt: 'The {} is', subject: 'moon', target: 'made', targetIds: [3, 4] });
});

test('of rank 1 an edit file holds vectors, of a higher rank matrices; shapes that do not go together are refused', async () => {
  const file = (tensors: readonly TensorToWrite[]): RecordFile => {
    const found = new Map(tensors.map((t) => [t.name, t]));
    return {
      ...fakeFile(),
      info: (name) => ({ dtype: 'F32', shape: found.get(name)!.shape }),
      readFloats: async (name) => new Float32Array((found.get(name)!.data as Uint8Array).slice().buffer),
    };
  };
  for (const rank of [1, 3]) {
    const made = { layer: 1, U: noise(8 * rank, 1), Lambda: noise(4 * rank, 2), rank };
    const tensors = recordTensors(made);
    assert.equal(
      tensors.map(({ shape }) => shape),
      rank === 1
        ? [[8], [4]]
        : [
            [8, 3],
            [3, 4],
          ],
    );
    const { U, Lambda, rank: found } = await readRecord(file(tensors));
    assert.equal({ layer: 1, U, Lambda, rank: found }, made);
  }
  const [u] = recordTensors({ layer: 1, U: noise(24, 1), Lambda: noise(12, 2), rank: 3 });
  const [, lambda] = recordTensors({ layer: 1, U: noise(16, 1), Lambda: noise(8, 2), rank: 2 });
  await throws(() => readRecord(file([u!, lambda!])), UsageError, 'u [8, 3]', 'lambda [2, 4]');
});

test('a file that is no edit is refused, naming the file and the field', async () => {
  const cases: [changes: Record<string, string | undefined>, ...words: string[]][] = [
    [{ schema: undefined }, 'expected schema', 'found none'],
    [{ schema: 'palimpsest.edit/9' }, 'found "palimpsest.edit/9"'],
    [{ model_sha256: 'abc' }, 'model_sha256'],
    [{ layer: '-1' }, 'layer', '"-1"'],
    [{ method: 'memit' }, 'r-rome, rome, p-rome', '"memit"'],
    [{ request: '{' }, 'request'],
    [{ request: '{"prompt": "a {}", "subject": "b", "target": "c", "target_ids": [1.5]}' }, 'request'],
    [{ model: undefined }, '"model"'],
  ];
  for (const [changes, ...words] of cases)
    await throws(() => readRecord(fakeFile(changes)), UsageError, 'some.safetensors', ...words);
  for (const [values, said] of [
    [[1, NaN], 'NaN at 1'],
    [[Infinity, 1], 'Infinity at 0'],
  ] as const) {
    const bad = fakeFile({}, { u: noise(8, 1), lambda: Float32Array.from(values) });
    await throws(() => readRecord(bad), UsageError, 'lambda', said);
  }
  await throws(
    () => readRecord({ ...fakeFile(), names: () => ['u'] }),
    UsageError,
    'expected a tensor "lambda"',
  );
  const half = { ...fakeFile(), info: () => ({ dtype: 'F16', shape: [8] }) };
  await throws(() => readRecord(half), UsageError, 'u: expected F32', 'F16');
});

test('an edit of another model, layer or size does not go into this one', async () => {
  const { id, architecture } = await openFacts();
  const here = { id, architecture, sha256: metadata.model_sha256 };
  const { F, D } = architecture.dims;
  const right = { u: noise(F, 1), lambda: noise(D, 2) };
  checkRecord(await readRecord(fakeFile({}, right)), 'a', here);
  const two = { rank: 2, U: noise(2 * F, 1), Lambda: noise(2 * D, 2) };
  checkRecord({ ...(await readRecord(fakeFile({}, right))), ...two }, 'a', here);
  const record = async (changes: Record<string, string>, tensors = right) =>
    readRecord(fakeFile(changes, tensors));
  const other = await record({ model_sha256: 'cd'.repeat(32) });
  await throws(() => checkRecord(other, 'a', here), UsageError, 'cdcdcdcdcdcd', 'abababababab', '--model');
  const high = await record({ layer: '8', tensor: 'h.8.mlp.c_proj.weight' });
  await throws(() => checkRecord(high, 'a', here), UsageError, 'layers 0 to 7');
  const elsewhere = await record({ tensor: 'h.1.mlp.c_fc.weight' });
  await throws(() => checkRecord(elsewhere, 'a', here), UsageError, 'h.1.mlp.c_proj.weight', 'c_fc');
  const small = await record({}, { u: noise(F - 1, 1), lambda: noise(D, 2) });
  await throws(() => checkRecord(small, 'a', here), UsageError, `u [${F}]`, `u [${F - 1}]`);
});

test('W is put back to the last bit, whatever ran in between, and no memory stays behind', async () => {
  const model = await openFacts();
  const w = model.editedWeight(LAYER).tensor;
  assert.ok(w);
  const before = await read(gpu, w);
  const live = gpu.liveBytes;
  const change = { layer: LAYER, U: noise(w.rows, 3), Lambda: noise(w.cols, 4, 0, 1e-3), rank: 1 };
  const during = await withUpdate(model, change, () => read(gpu, w));
  assert.not.equal(bytesOf(during), bytesOf(before));
  // W + u lambda^T, rounded once per product and sum or fused: within two roundings of either.
  const at = 5 * w.cols + 7;
  const want = (before[at] as number) + (change.U[5] as number) * (change.Lambda[7] as number);
  assert.ok(
    Math.abs((during[at] as number) - want) <= 2 ** -23 * (Math.abs(want) + Math.abs(before[at] as number)),
  );
  assert.equal(bytesOf(await read(gpu, w)), bytesOf(before));

  await throws(() => withUpdate(model, change, () => Promise.reject(new Error('inside'))), Error, 'inside');
  assert.equal(bytesOf(await read(gpu, w)), bytesOf(before));
  assert.is(gpu.liveBytes, live);
});

test('edits applied in one order are one model: base and the rest again is exact, subtracting would not be', async () => {
  const model = await openFacts();
  const w = model.editedWeight(LAYER).tensor;
  assert.ok(w);
  const edits = [5, 6, 7].map((seed) => ({
    layer: LAYER,
    U: noise(w.rows, seed),
    Lambda: noise(w.cols, seed + 9),
    rank: 1,
  }));
  const [a, b, c] = edits as [(typeof edits)[0], (typeof edits)[0], (typeof edits)[0]];
  const nothing = { layer: LAYER, U: new Float32Array(w.rows), Lambda: new Float32Array(w.cols), rank: 1 };
  const with_ = (list: typeof edits) =>
    withUpdate(model, nothing, async () => {
      await applyEdits(model, list);
      return read(gpu, w);
    });
  const rebuilt = await with_([a, c]);
  assert.equal(bytesOf(await with_([a, c])), bytesOf(rebuilt));
  const minus = { ...b, Lambda: b.Lambda.map((x) => -x) };
  assert.not.equal(bytesOf(await with_([a, b, c, minus])), bytesOf(rebuilt));
});

test('an edit file is what was written: a changed number, word or name is found; one of 0.1.0 cannot be checked', async () => {
  const tensors = recordTensors({ layer: 1, U: noise(8, 1), Lambda: noise(4, 2), rank: 1 });
  const seal = (await sealed({ ...metadata, schema: 'palimpsest.edit/2' }, tensors))['checksum'];
  const right = { schema: 'palimpsest.edit/2', checksum: seal };
  assert.is((await readRecord(fakeFile(right))).verified, true);
  assert.is((await readRecord(fakeFile())).verified, false);
  const wrong: RecordFile[] = [
    fakeFile(right, { u: noise(8, 1), lambda: noise(4, 3) }),
    fakeFile({ ...right, layer: '2' }),
    fakeFile({ ...right, note: 'added' }),
    fakeFile(right, { u: noise(8, 1), lambda: noise(4, 2), more: noise(4, 2) }),
  ];
  for (const file of wrong) await throws(() => readRecord(file), UsageError, 'some.safetensors', 'checksum');
  const without = fakeFile({ schema: 'palimpsest.edit/2' });
  await throws(() => readRecord(without), UsageError, 'expected "checksum" in its metadata');
});

test('edit lists are read strictly and written whole', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'edits.json');
    const list = {
      model: { id: 'facts', sha256: 'ab'.repeat(32) },
      edits: [{ file: 'a.safetensors', sha256: 'cd'.repeat(32) }],
    };
    await writeEditList(path, list);
    assert.equal(await readEditList(path), list);
    assert.is(JSON.parse(await readFile(path, 'utf8')).schema, 'palimpsest.edits/1');
    for (const [text, word] of [
      ['{', 'expected JSON'],
      ['[]', 'schema: expected'],
      ['{"schema": "palimpsest.edits/1"}', 'model: expected'],
      [
        `{"schema": "palimpsest.edits/1", "model": ${JSON.stringify(list.model)}, "edits": [{}]}`,
        'edits.0.file: expected',
      ],
      [
        JSON.stringify({
          schema: 'palimpsest.edits/1',
          ...list,
          edits: [{ ...list.edits[0], file: 'a\u0000b' }],
        }),
        'edits.0.file: expected',
      ],
      ['['.repeat(200_000), 'expected JSON, found more than 64 levels'],
      [
        JSON.stringify({ schema: 'palimpsest.edits/1', ...list, edits: [...list.edits, ...list.edits] }),
        'twice',
      ],
    ] as const) {
      await writeFile(path, text);
      await throws(() => readEditList(path), UsageError, path, word);
    }
    await throws(() => readEditList(join(folder, 'none.json')), UsageError, 'ENOENT');
  });
});

test.run();
