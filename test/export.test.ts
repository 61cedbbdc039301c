/** Exported checkpoints: shards stay shards, what does not change keeps its bytes, what changes is exact or rounded with a word. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bytesOf, narrow, widen } from '../src/floats.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { exportCheckpoint } from '../src/io/export.ts';
import { openSafetensors } from '../src/io/file.ts';
import { openWeights } from '../src/io/weights-files.ts';
import { holdsOnly, withFolder } from './folder.ts';

const test = suite('export');
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const A = Float32Array.of(1, -2, 0.5, 3);
/** 1 + 2⁻¹² needs more bits than BF16 has, 1.5 does not. */
const CHANGE = Float32Array.of(2 ** -12, 0.5, 0, 0);
const changed = A.map((x, i) => x + CHANGE[i]!);

async function writeSharded(folder: string): Promise<void> {
  const tensor = (name: string) => ({ name, dtype: 'BF16' as const, shape: [2, 2], data: narrow('BF16', A) });
  await writeSafetensors(join(folder, SHARDS[0]!), [tensor('a'), tensor('b')], {
    metadata: { format: 'pt' },
  });
  await writeSafetensors(join(folder, SHARDS[1]!), [tensor('c')]);
  const weight_map = { a: SHARDS[0], b: SHARDS[0], c: SHARDS[1] };
  const index = { metadata: { total_size: 24 }, weight_map };
  await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify(index));
  await writeFile(join(folder, 'config.json'), '{"dtype": "bfloat16"}');
  await writeFile(join(folder, 'other.bin'), 'not copied');
}

for (const dtype of ['f32', 'stored'] as const)
  test(`a sharded BF16 checkpoint, edited tensors ${dtype}`, async () => {
    await withFolder(async (root) => {
      const [from, to] = [join(root, 'from'), join(root, 'to')];
      await writeSharded(from);
      const { sha256, rounded } = await exportCheckpoint(from, to, {
        dtype,
        replace: (name) => name === 'b',
        change: async (_, __, values) => values.map((x, i) => x + CHANGE[i]!),
        metadata: { mine: 'yes' },
      });
      await holdsOnly(to, [...SHARDS, 'config.json', 'model.safetensors.index.json']);
      const [first, second] = await Promise.all(SHARDS.map((name) => openSafetensors(join(to, name))));
      assert.equal(first!.metadata, { format: 'pt', mine: 'yes' });
      assert.equal(await first!.read('a'), narrow('BF16', A));
      assert.equal(await second!.read('c'), narrow('BF16', A));
      assert.is(first!.info('b').dtype, dtype === 'f32' ? 'F32' : 'BF16');
      const want = dtype === 'f32' ? changed : widen('BF16', narrow('BF16', changed));
      assert.equal(bytesOf(await first!.readFloats('b')), bytesOf(want));
      const lost = 2 ** -12 / Math.hypot(2 ** -12, 0.5);
      assert.ok(Math.abs(rounded - (dtype === 'f32' ? 0 : lost)) < 1e-9, String(rounded));
      assert.is(
        JSON.parse(await readFile(join(to, 'config.json'), 'utf8')).dtype,
        dtype === 'f32' ? 'float32' : 'bfloat16',
      );
      const { metadata, weight_map } = JSON.parse(
        await readFile(join(to, 'model.safetensors.index.json'), 'utf8'),
      );
      assert.equal(weight_map, { a: SHARDS[0], b: SHARDS[0], c: SHARDS[1] });
      assert.is(metadata.total_size, dtype === 'f32' ? 32 : 24);
      assert.is(sha256, await (await openWeights(to, SHARDS)).sha256());
    });
  });

test('BF16 rounds to nearest, ties to even, as the upper half of an f32', () => {
  const bits = Uint32Array.of(
    0x3f808000,
    0x3f818000,
    0x3f808001,
    0x3f807fff,
    0xbf808000,
    0x7f800000,
    0x7fc00001,
    1,
  );
  const got = new Uint16Array(narrow('BF16', new Float32Array(bits.buffer)).slice().buffer);
  assert.equal([...got], [0x3f80, 0x3f82, 0x3f81, 0x3f80, 0xbf80, 0x7f80, 0x7fc0, 0]);
});

test.run();
