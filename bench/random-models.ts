/**
 * Models of random shapes and settings beside transformers: logits against its float64 ones, and ten greedy tokens.
 *
 *   python bench/random_models.py FOLDER && npx tsx bench/random-models.ts FOLDER
 *
 * A line a model that strays further than float32 explains; ends with 1 where there is one.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { openGpu } from '../src/gpu/node.ts';
import { openSafetensors } from '../src/io/file.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import { generate } from '../src/models/generate.ts';
import { Model } from '../src/models/model.ts';
import { norm } from '../src/statistics.ts';
import { read } from '../src/tensor/tensor.ts';

/** Relative, of all logits together: as in test/architectures.test.ts. */
const BOUND = 1e-5;
/** Between the best two logits: nearer than this, float32 may choose the other. */
const TIE = 1e-4;

interface Wanted {
  readonly ids: number[];
  readonly texts: readonly {
    readonly prompt: number[];
    readonly added: readonly number[];
    readonly gap: number;
  }[];
}

const folder = process.argv[2] ?? '.';
const gpu = await openGpu();
let [strayed, largest] = [0, 0];
const names = readdirSync(folder);
for (const name of names) {
  const path = join(folder, name);
  try {
    const { ids, texts } = JSON.parse(readFileSync(join(path, 'want.json'), 'utf8')) as Wanted;
    const want = await (await openSafetensors(join(path, 'logits.st'))).readFloats('logits');
    const model = await Model.load(gpu, await openCheckpoint(path));
    const got = await gpu.scope((s) =>
      read(gpu, model.logits(s, model.forward(s, uploadBatch(s, packRows([ids]))))),
    );
    const error = norm(got.map((x, i) => x - (want[i] ?? NaN))) / norm(want);
    const prompts = texts.map(({ prompt }) => prompt);
    const tokens = texts[0]?.added.length ?? 0;
    const added = await generate(model, prompts, { tokens, topK: 1, seed: 0 });
    const isOther = texts.some((text, b) => text.gap > TIE && String(text.added) !== String(added[b]));
    model.destroy();
    largest = Math.max(largest, error);
    if (error <= BOUND && !isOther) continue;
    console.log(`${name}: logits ${error.toExponential(1)}${isOther ? ', other tokens' : ''}`);
  } catch (error) {
    console.log(`${name}: ${(error as Error).message}`);
  }
  strayed += 1;
}
gpu.destroy();
console.log(`${names.length} models, ${strayed} stray, largest error ${largest.toExponential(1)}`);
process.exitCode = strayed === 0 ? 0 : 1;
