/**
 * What summing loses over many tokens: S in two floats against the float64 sum of the same keys.
 *
 *   npx tsx bench/covariance-drift.ts [tokens = 1000000] [layer = 1]
 *
 * The bundled corpus is read as often as needed; its keys are computed once a batch and added as many times, since
 * they are the same ones. Every 16th row of S is summed in float64 on the CPU. Also shown is a plain float32 sum of the
 * same batches, which is what the published code keeps.
 */
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { packDocuments } from '../src/edit/pack-documents.ts';
import { readPanels, unpackSymmetric, zeroPanels } from '../src/edit/panels.ts';
import { SecondMoment, addOuterProducts } from '../src/edit/second-moment.ts';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import { Model } from '../src/models/model.ts';
import { openGpu } from '../src/gpu/node.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { openCorpus } from '../src/io/corpus-files.ts';
import { documents } from '../src/io/corpus.ts';
import { read } from '../src/tensor/tensor.ts';

const EACH = 16;
const root = fileURLToPath(new URL('..', import.meta.url));
const wanted = Number(process.argv[2] ?? 1e6);
const layer = Number(process.argv[3] ?? 1);

const gpu = await openGpu();
const model = await Model.load(gpu, await openCheckpoint(`${root}weights/facts`));
const f = model.dims.F;
const corpus = await openCorpus([`${root}data/wikitext.txt`], { spool: root });
const pack = (limit?: number): ReturnType<typeof packDocuments> =>
  packDocuments(documents(corpus.files), {
    encode: (text, most) => model.tokenizer.encodeDocument(text, most),
    contextLength: model.dims.context,
    batchTokens: 4096,
    limit,
  });

let once = 0;
for await (const { tokens } of pack()) once += tokens;
const rounds = Math.floor(wanted / once);
const rest = wanted - rounds * once;
console.log(
  `# ${wanted} tokens: ${rounds} times the corpus of ${once} and ${rest} more, on ${gpu.adapter.description}`,
);

const want = new Float64Array((f / EACH) * f);
const owner = gpu.open();
const moment = new SecondMoment(owner, f);
const plain = zeroPanels(owner, f, 'plain');
let seen = 0;
const start = performance.now();
for await (const batch of pack()) {
  // The last, partial round takes the first `rest` tokens of the corpus.
  const last = Math.max(0, Math.min(batch.tokens, rest - seen));
  seen += batch.tokens;
  const times = (token: number): number => rounds + (token < last ? 1 : 0);
  const keys = await gpu.scope(async (s) => {
    const device = uploadBatch(s, packRows(batch.rows));
    const k = model.forward(s, device, { to: layer + 1, stop: 'key' });
    for (let round = 0; round <= rounds; round += 1) {
      const tokens = round < rounds ? batch.tokens : last;
      if (tokens === 0) continue;
      moment.add(s, k.slice(0, tokens));
      moment.fold(s);
      addOuterProducts(s, plain, k, 0, tokens);
    }
    return read(gpu, k);
  });
  for (let t = 0; t < batch.tokens; t += 1) {
    const key = keys.subarray(t * f, (t + 1) * f);
    for (let i = 0; i < f; i += EACH) {
      const x = times(t) * (key[i] ?? NaN);
      const at = (i / EACH) * f;
      for (let j = 0; j < f; j += 1) want[at + j] = (want[at + j] ?? NaN) + x * (key[j] ?? NaN);
    }
  }
}

const high = unpackSymmetric(await readPanels(gpu, moment.high), f);
const low = unpackSymmetric(await readPanels(gpu, moment.low), f);
const single = unpackSymmetric(await readPanels(gpu, plain), f);
const covariance = await gpu.scope(async (s) =>
  unpackSymmetric(await readPanels(gpu, moment.covariance(s)), f),
);
const off = (got: (at: number) => number): string => {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < f; i += EACH) {
    for (let j = 0; j < f; j += 1) {
      const sum = want[(i / EACH) * f + j] ?? NaN;
      difference += (got(i * f + j) - sum) ** 2;
      norm += sum ** 2;
    }
  }
  return Math.sqrt(difference / norm).toExponential(2);
};
console.log(`tokens summed          ${moment.count}`);
console.log(
  `S in two floats        ${off((at) => (high[at] ?? NaN) + (low[at] ?? NaN))} relative (Frobenius) to float64`,
);
console.log(`C = S / tokens in f32  ${off((at) => (covariance[at] ?? NaN) * moment.count)}`);
console.log(`S in one float         ${off((at) => single[at] ?? NaN)}`);
console.log(`${((performance.now() - start) / 1000).toFixed(0)} s`);
owner.close();
model.destroy();
gpu.destroy();
