/** The forward pass of the bundled model against float64: logits within 2e-4 absolute, hidden states within 1e-4 relative. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Hook } from '../src/models/architecture.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import { read } from '../src/tensor/tensor.ts';
import { golden, goldenTensors, openFacts } from './model.ts';
import { gpu } from './gpu.ts';
import { relativeError } from './reference/allclose.ts';

const test = suite('forward');
const cases = JSON.parse(readFileSync(golden('fixtures/forward.json'), 'utf8')) as {
  text: string;
  ids: number[];
}[];

test('ids, every hidden state and the logits of six texts, packed into one batch', async () => {
  const model = await openFacts();
  const want = await goldenTensors('fixtures/forward.safetensors');
  for (const { text, ids } of cases) assert.equal(model.tokenizer.encode(text).slice(0, ids.length), ids);
  await gpu.scope(async (s) => {
    const batch = packRows(cases.map(({ ids }) => ids));
    const device = uploadBatch(s, batch);
    const states: Tensor[] = [model.embed(s, device)];
    const state: Hook = (_, layer, x) => void (states[layer + 1] = x);
    model.forward(s, device, { x: states[0], hooks: { state } });
    assert.is(states.length, model.dims.layers + 1);
    const logits = await read(gpu, model.logits(s, states.at(-1)!));
    const hidden = await Promise.all(states.map((state) => read(gpu, state)));
    const { D, V } = model.dims;
    cases.forEach(({ ids }, n) => {
      const [from, to] = [batch.rowStarts[n]!, batch.rowStarts[n]! + ids.length];
      const wantLogits = want.get(`logits.${n}`)!;
      const worst = logits
        .subarray(from * V, to * V)
        .reduce((most, x, i) => Math.max(most, Math.abs(x - wantLogits[i]!)), 0);
      assert.ok(worst <= 2e-4, `logits of text ${n}: ${worst}`);
      hidden.forEach((state, i) => {
        const error = relativeError(
          state.subarray(from * D, to * D),
          want.get(`hidden.${n}`)!.subarray(i * ids.length * D, (i + 1) * ids.length * D),
        );
        assert.ok(error <= 1e-4, `hidden state ${i} of text ${n}: ${error}`);
      });
    });
  });
});

test.run();
