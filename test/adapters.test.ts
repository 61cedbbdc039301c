/** Edits as LoRA adapters: what is written, what comes back, and what the adapter computes. */
import { createHash } from 'node:crypto';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gguf } from '@huggingface/gguf';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { adapterOf } from '../src/edit/adapter.ts';
import { readAnyEditFile, readEditFile } from '../src/edit/edit-file.ts';
import { isFactsRecord, requestsOf, targetsOf, updatesOf } from '../src/edit/facts-record.ts';
import { mergeEdits } from '../src/edit/merge.ts';
import { recordTensors } from '../src/edit/record.ts';
import type { EditRecord } from '../src/edit/record.ts';
import { ModelError, UsageError } from '../src/errors.ts';
import { sealed } from '../src/formats/checksum.ts';
import { readAdapter, writeEditFiles, writeGgufAdapter, writePeft } from '../src/io/adapters.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { openSafetensors, openSource } from '../src/io/file.ts';
import { holdsOnly, throws, withFolder } from './folder.ts';

const test = suite('adapters');
const [F, D] = [6, 4];
const LAYERS = [1, 3, 1, 1];
const RANKS = [1, 2, 1, 3];

/** Edit files of layers 1 and 3, of ranks 1 to 3. */
async function editFiles(folder: string): Promise<{ paths: string[]; records: EditRecord[] }> {
  let x = 0.5;
  const numbers = (n: number): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: n }, () => (x = (x * 3.7) % 2) - 1);
  const paths: string[] = [];
  for (const [i, layer] of LAYERS.entries()) {
    const rank = RANKS[i]!;
    const tensors = recordTensors({ U: numbers(F * rank), Lambda: numbers(D * rank), rank, layer });
    const metadata = {
      schema: 'palimpsest.edit/2',
      model: 'tiny',
      model_sha256: 'a'.repeat(64),
      layer: String(layer),
      tensor: `h.${layer}.mlp.c_proj.weight`,
      method: 'rome',
      request: JSON.stringify({ prompt: '{} is', subject: `Zoë ${i}`, target: 'y', target_ids: [i] }),
    };
    const path = join(folder, `${i}.safetensors`);
    await writeSafetensors(path, tensors, { metadata: await sealed(metadata, tensors) });
    paths.push(path);
  }
  const records = await Promise.all(paths.map(async (path) => readEditFile(await open(path))));
  return { paths, records };
}

const open = (path: string) => openSource(path, (what) => new Error(what));

const BASE = { id: 'someone/tiny', architecture: 'gpt2' };
const digest = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

/** Σ u λᵀ of a layer, [F, D] in float64. */
function change(records: readonly EditRecord[], layer: number): number[] {
  const sum = Array<number>(F * D).fill(0);
  for (const { U, Lambda, rank, layer: own } of records)
    if (own === layer)
      for (let f = 0; f < F; f += 1)
        for (let d = 0; d < D; d += 1)
          for (let j = 0; j < rank; j += 1) sum[f * D + d]! += U[f * rank + j]! * Lambda[j * D + d]!;
  return sum;
}

function product(A: Float32Array, B: Float32Array, rank: number): number[] {
  const sum = Array<number>(F * D).fill(0);
  for (let f = 0; f < F; f += 1)
    for (let d = 0; d < D; d += 1)
      for (let j = 0; j < rank; j += 1) sum[f * D + d]! += A[j * F + f]! * B[d * rank + j]!;
  return sum;
}

const near = (a: readonly number[], b: readonly number[]): void =>
  a.forEach((x, i) => assert.ok(Math.abs(x - b[i]!) <= 1e-15, `${i}: ${x}, ${b[i]}`));

test('PEFT: two files as peft reads them, B A is the sum of the updates, edit files come back byte for byte', async () => {
  await withFolder(async (folder) => {
    const { paths, records } = await editFiles(folder);
    const out = join(folder, 'peft');
    await writePeft(out, adapterOf(records), BASE);
    await holdsOnly(out, ['adapter_config.json', 'adapter_model.safetensors']);
    const config = JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8'));
    const modules = [1, 3].map((layer) => `transformer.h.${layer}.mlp.c_proj`);
    assert.equal(
      [config.peft_type, config.r, config.lora_alpha, config.fan_in_fan_out, config.target_modules],
      ['LORA', 5, 5, true, modules],
    );
    const file = await openSafetensors(join(out, 'adapter_model.safetensors'));
    for (const [i, layer] of [1, 3].entries()) {
      const [a, b] = ['A', 'B'].map((which) => `base_model.model.${modules[i]}.lora_${which}.weight`);
      assert.equal(
        [file.info(a!).shape, file.info(b!).shape],
        [
          [5, F],
          [D, 5],
        ],
      );
      near(product(await file.readFloats(a!), await file.readFloats(b!), 5), change(records, layer));
    }
    await writeEditFiles(join(folder, 'back'), await readAdapter(out));
    const back = (await readdir(join(folder, 'back', 'edits'))).sort();
    assert.is(back.length, paths.length);
    for (const [i, name] of back.entries())
      assert.is(await digest(join(folder, 'back', 'edits', name)), await digest(paths[i]!));
    await throws(() => writeEditFiles(join(folder, 'back'), []), UsageError, 'there are edits in it');
  });
});

test("GGUF: read by Hugging Face's reader as llama.cpp wants it, and back byte for byte", async () => {
  await withFolder(async (folder) => {
    const { paths, records } = await editFiles(folder);
    const out = join(folder, 'gguf');
    await writeGgufAdapter(out, adapterOf(records), BASE);
    const path = join(out, 'adapter.gguf');
    const { metadata, tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
    const fields = metadata as unknown as Record<string, unknown>;
    assert.equal(
      ['general.architecture', 'general.type', 'adapter.type', 'adapter.lora.alpha', 'version'].map(
        (key) => fields[key],
      ),
      ['gpt2', 'adapter', 'lora', 5, 3],
    );
    assert.equal(
      tensorInfos.map(({ name, shape, dtype }) => [name, shape.map(Number), Number(dtype)]),
      [1, 3].flatMap((layer) => [
        [`blk.${layer}.ffn_down.weight.lora_a`, [F, 5], 0],
        [`blk.${layer}.ffn_down.weight.lora_b`, [5, D], 0],
      ]),
    );
    const bytes = await readFile(path);
    const values = (i: number, n: number): Float32Array => {
      const at = Number(tensorDataOffset + tensorInfos[i]!.offset);
      assert.is(at % 32, 0);
      return new Float32Array(bytes.buffer.slice(bytes.byteOffset + at, bytes.byteOffset + at + 4 * n));
    };
    near(product(values(0, 5 * F), values(1, 5 * D), 5), change(records, 1));
    near(product(values(2, 5 * F), values(3, 5 * D), 5), change(records, 3));
    await writeEditFiles(join(folder, 'back'), await readAdapter(path));
    for (const [i, file] of paths.entries())
      assert.is(await digest(join(folder, 'back', 'edits', `000${i + 1}.safetensors`)), await digest(file));
  });
});

test('an adapter whose matrices do not go together is refused', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'adapter_model.safetensors');
    for (const [shapes, said] of [
      [
        [
          [1, 0],
          [D, 1],
        ],
        '[1, 0] and [4, 1]',
      ],
      [
        [
          [2, F],
          [D, 1],
        ],
        '[2, 6] and [4, 1]',
      ],
      [[[F], [D]], '[6] and [4]'],
      [[[1, F]], '[1, 6] and none'],
    ] as const) {
      const tensors = shapes.map((shape, i) => ({
        name: `base_model.model.h.1.mlp.c_proj.lora_${i === 0 ? 'A' : 'B'}.weight`,
        ...({ dtype: 'F32', shape: [...shape] } as const),
        data: new Uint8Array(4 * shape.reduce((product: number, n: number) => product * n, 1)),
      }));
      await writeSafetensors(path, tensors);
      await throws(() => readAdapter(folder), UsageError, 'layer 1: expected A [r, F]', said);
    }
  });
});

test('what is no adapter of ours, and one whose numbers were changed', async () => {
  await withFolder(async (folder) => {
    const { records } = await editFiles(folder);
    await throws(() => readAdapter(folder), UsageError, folder, 'adapter_model.safetensors');
    await writeFile(join(folder, 'x.gguf'), 'GGUF and no more of it than this, which is not enough');
    await throws(() => readAdapter(join(folder, 'x.gguf')), ModelError, 'x.gguf', 'GGUF');
    const out = join(folder, 'peft');
    const adapter = adapterOf(records);
    await writePeft(out, { ...adapter, edits: '{}' }, BASE);
    await throws(() => readAdapter(out), UsageError, 'schema', 'palimpsest export wrote');
    const edits = adapter.edits!.replace('"first":0', '"first":4');
    await writePeft(out, { ...adapter, edits: edits.replace('"rank":1', '"rank":3') }, BASE);
    await throws(() => readAdapter(out), UsageError, 'ranks 5 to 7');
    adapter.modules[0]!.A[0]! += 1;
    await writePeft(out, adapter, BASE);
    await writeEditFiles(join(folder, 'changed'), await readAdapter(out));
    const source = await openSource(
      join(folder, 'changed/edits/0001.safetensors'),
      (what) => new Error(what),
    );
    await throws(() => readEditFile(source), UsageError, 'were changed');
  });
});

test('merged: one file of all edits, read back in their order; it travels as an adapter, too', async () => {
  await withFolder(async (folder) => {
    const { paths, records } = await editFiles(folder);
    const edits = records.map((record, i) => ({ file: paths[i]!, id: String(i).repeat(64), record }));
    const { tensors, metadata } = mergeEdits(edits, { palimpsest: '0' });
    const path = join(folder, 'merged.safetensors');
    await writeSafetensors(path, tensors, { metadata: await sealed(metadata, tensors) });
    const merged = await readAnyEditFile(await open(path));
    assert.ok(isFactsRecord(merged) && merged.verified);
    assert.equal(
      updatesOf(merged).map(({ layer, rank, U, Lambda }) => ({ layer, rank, U, Lambda })),
      records.map(({ layer, rank, U, Lambda }) => ({ layer, rank, U, Lambda })),
    );
    assert.equal(
      requestsOf(merged).map(({ subject }) => subject),
      records.map(({ request }) => request.subject),
    );
    assert.equal(
      targetsOf(merged).map(({ layer }) => layer),
      [1, 3],
    );

    await writeGgufAdapter(join(folder, 'gguf'), adapterOf([merged, records[1]!]), BASE);
    await writeEditFiles(join(folder, 'back'), await readAdapter(join(folder, 'gguf')));
    assert.is(await digest(join(folder, 'back/edits/0001.safetensors')), await digest(path));
    assert.is(await digest(join(folder, 'back/edits/0002.safetensors')), await digest(paths[1]!));

    const other = { ...records[0]!, model: { id: 'other', sha256: 'b'.repeat(64) } };
    await throws(
      () => mergeEdits([...edits, { file: 'o', id: '', record: other }], {}),
      UsageError,
      'merge o',
      'other',
    );
    for (const earlier of ['1', '{}', '[1]', 'x']) {
      const made = { ...records[0]!, metadata: { ...records[0]!.metadata, earlier } };
      await throws(
        () => mergeEdits([{ file: 'e', id: '', record: made }], {}),
        UsageError,
        'merge e: earlier',
      );
    }
    const method = { ...records[0]!, method: 'r-rome' as const };
    await throws(
      () => mergeEdits([...edits, { file: 'm', id: '', record: method }], {}),
      UsageError,
      'merge m',
      'r-rome',
    );
    const [first] = records;
    const short = { ...first!, Lambda: first!.Lambda.slice(0, -first!.rank) };
    await throws(
      () => mergeEdits([...edits, { file: 's', id: '', record: short }], {}),
      UsageError,
      'merge s',
      `layer ${first!.layer}`,
    );
  });
});

test.run();
