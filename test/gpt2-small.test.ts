/** GPT-2 small in its published shape, with random weights: written, opened, loaded, and asked for its next token. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Model } from '../src/models/model.ts';
import { GPT2_SIZES } from '../src/models/random-checkpoint.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { openSafetensors } from '../src/io/file.ts';
import { withFolder } from './folder.ts';
import { gpu } from './gpu.ts';
import { nextLogits } from './model.ts';
import { allclose } from './reference/allclose.ts';
import { finalStates } from './reference/gpt2.ts';
import { writeRandomModel } from './write-random-model.ts';

const test = suite('gpt2-small');

test('logits after a prompt are those of the float64 loop, and memory comes back', async () => {
  const live = gpu.liveBytes;
  await withFolder(async (folder) => {
    await writeRandomModel(folder, 'small');
    const checkpoint = await openCheckpoint(folder);
    const { D, V, layers } = checkpoint.architecture.dims;
    assert.equal([layers, D, V], [12, 768, 50_257]);
    const model = await Model.load(gpu, checkpoint);
    const ids = model.tokenizer.encode('The mother tongue');
    const [logits = new Float32Array()] = await nextLogits(model, [ids]);
    model.destroy();
    assert.is(logits.length, V);

    const file = await openSafetensors(`${folder}/model.safetensors`);
    const states = await finalStates(ids, GPT2_SIZES.small, (name) => file.readFloats(name));
    const last = states.subarray(-D);
    const wte = await file.readFloats('wte.weight');
    // Both ends, the seams of row windows of any size, and others between.
    const sampled = Array.from({ length: 400 }, (_, i) => Math.round((i * (V - 1)) / 399));
    const row = (id: number): Float32Array => wte.subarray(id * D, (id + 1) * D);
    const want = sampled.map((id) => row(id).reduce((sum, w, d) => sum + w * last[d]!, 0));
    const got = sampled.map((id) => logits[id]!);
    // A logit is a sum of D products. Its terms carry the rounding of the 4 layers products before it, of D to 4 D
    // terms each and added one after another: errors of independent sums grow as the root of their number.
    const most = (list: ArrayLike<number>): number =>
      Array.from(list).reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
    const scale = most(last) * most(sampled.map((id) => most(row(id))));
    allclose('logits', got, want, { reduce: D * (4 * layers + 1), scale });
  });
  assert.is(gpu.liveBytes, live, 'memory stays behind');
});

test.run();
