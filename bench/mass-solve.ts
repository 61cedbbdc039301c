/**
 * The update of many facts beside PyTorch: time and error against what bench/pytorch_mass.py left in a folder.
 *
 *   python bench/pytorch_mass.py FOLDER && node --import tsx bench/mass-solve.ts FOLDER
 *
 * Timed is what a batch costs (`massUpdate`, keys and residuals on the GPU); opening the metric, once a layer, stands beside it.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { massUpdate } from '../src/edit/mass-update.ts';
import { MASS_DEFAULTS } from '../src/edit/method.ts';
import { openMetric } from '../src/edit/metric.ts';
import { packSymmetric } from '../src/edit/panels.ts';
import { openGpu } from '../src/gpu/node.ts';
import { openSafetensors } from '../src/io/file.ts';
import { matmul } from '../src/tensor/matmul.ts';
import { read, upload } from '../src/tensor/tensor.ts';

const RUNS = 5;
const folder = process.argv[2] ?? '.';
const gpu = await openGpu();
console.log(gpu.adapter.description);
for (const name of readdirSync(folder).filter((file) => file.endsWith('.safetensors'))) {
  const file = await openSafetensors(join(folder, name));
  const [f, facts, d] = name.replace('.safetensors', '').split('-').map(Number) as [number, number, number];
  const options = { ...MASS_DEFAULTS, covarianceWeight: Number(file.metadata['lambda']) };
  const c = await file.readFloats('C');
  const start = performance.now();
  const covariance = { key: name, size: f, tokens: 100 * f, panels: packSymmetric(c, f) };
  const metric = await openMetric(gpu, { method: 'memit', options, covariance });
  await gpu.sync();
  const opened = performance.now() - start;
  const want = await file.readFloats('U');
  await gpu.scope(async (s) => {
    const K = upload(s, await file.readFloats('K'), [facts, f], 'K');
    const R = upload(s, await file.readFloats('R'), [facts, d], 'R');
    const times: number[] = [];
    let line = '';
    for (let run = 0; run < RUNS; run += 1)
      await gpu.scope(async (inner) => {
        await gpu.sync();
        const begin = performance.now();
        const { U, Lambda, correction, refinements } = await massUpdate(inner, metric, { K, R });
        times.push(performance.now() - begin);
        const got = await read(gpu, matmul(inner, U, Lambda));
        const [error, size] = [got.map((x, i) => x - (want[i] ?? NaN)), want];
        const off = Math.sqrt(sum(error) / sum(size));
        line = `error ${off.toExponential(1)}, said ${correction.toExponential(1)}, ${refinements} refinements`;
      });
    const best = Math.min(...times);
    const theirs = 1000 * Number(file.metadata['seconds']);
    console.log(
      `F ${f} N ${facts} D ${d}: ${best.toFixed(1)} ms a batch (opened in ${opened.toFixed(0)} ms); PyTorch float64 ` +
        `${theirs.toFixed(1)} ms, ${(theirs / best).toFixed(1)} times; ${line}`,
    );
  });
  metric.close();
}
gpu.destroy();

function sum(x: Float32Array): number {
  return x.reduce((total, value) => total + value * value, 0);
}
