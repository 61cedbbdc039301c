/** The forward pass of the bundled model against float64: logits within 2e-4 absolute, hidden states within 1e-4 relative. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
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
    for (let i = 0; i < model.config.n_layer; i += 1) states.push(model.block(s, i, states.at(-1)!, device)!);
    const logits = await read(gpu, model.logits(s, states.at(-1)!));
    const hidden = await Promise.all(states.map((state) => read(gpu, state)));
    const { n_embd: D, vocab_size: V } = model.config;
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
