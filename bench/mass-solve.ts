/**
 * The update of many facts beside PyTorch: time and error against what bench/pytorch_mass.py left in a folder.
 *
 *   python bench/pytorch_mass.py FOLDER && npx tsx bench/mass-solve.ts FOLDER
 *
 * Timed is what a batch costs (`massUpdate`, keys and residuals on the GPU); opening the metric, once a layer, stands
 * beside it. With r = min(N, D), and without what is refined, a batch takes
 *
 *   ours       N F² + N² F + ⅔ N³ + 2 r N² + 2 r N F + r F²   flops in float32
 *   published  2 N F² + ⅔ F³ + 2 N F D + 2 F² D               flops in float64
 *
 * That is 6 times fewer of ours for 100 facts at F = 1,024, D = 256 and 38 times fewer at F = 6,400, D = 1,600; for 1,000
 * facts as many at F = 1,024 (4 GFLOP) and 4 times fewer at F = 6,400 (104 GFLOP). Two cores make 100 GFLOP/s of it in
 * PyTorch (38 ms and 3.7 s) and 50 in lavapipe's best products: 80 ms and 2.1 s at the least. Ten times as fast is for
 * batches that are small beside F. And with this C (condition 1e4) float32 errs by 2.4e-5 of U, more than the 1e-5
 * that is allowed: every column is refined once, in two floats and float64, which takes longer than all the rest.
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
import { norm } from '../src/statistics.ts';
import { matmul } from '../src/tensor/matmul.ts';
import { read, upload } from '../src/tensor/tensor.ts';

const RUNS = 3;
const folder = process.argv[2] ?? '.';
const gpu = await openGpu();
console.log(gpu.adapter.description);
for (const name of readdirSync(folder).filter((file) => file.endsWith('.safetensors'))) {
  const file = await openSafetensors(join(folder, name));
  const [f, n, d] = name.replace('.safetensors', '').split('-').map(Number) as [number, number, number];
  const options = { ...MASS_DEFAULTS, covarianceWeight: Number(file.metadata['lambda']) };
  const panels = packSymmetric(await file.readFloats('C'), f);
  const start = performance.now();
  const covariance = { key: name, size: f, tokens: 100 * f, panels };
  const metric = await openMetric(gpu, { method: 'memit', options, covariance });
  await gpu.sync();
  const opened = performance.now() - start;
  const want = await file.readFloats('U');
  await gpu.scope(async (s) => {
    const K = upload(s, await file.readFloats('K'), [n, f], 'K');
    const R = upload(s, await file.readFloats('R'), [n, d], 'R');
    const times: number[] = [];
    let error = NaN;
    for (let run = 0; run < RUNS; run += 1)
      await gpu.scope(async (inner) => {
        await gpu.sync();
        const begin = performance.now();
        const { U, Lambda } = await massUpdate(inner, metric, { K, R });
        times.push(performance.now() - begin);
        const got = await read(gpu, matmul(inner, U, Lambda));
        error = norm(got.map((x, i) => x - (want[i] ?? NaN))) / norm(want);
      });
    const [best, theirs] = [Math.min(...times), 1000 * Number(file.metadata['seconds'])];
    const r = Math.min(n, d);
    const flops = n * f * f + n * n * f + (2 / 3) * n ** 3 + 2 * r * n * n + 2 * r * n * f + r * f * f;
    console.log(
      `F ${f} N ${n} D ${d}: ${best.toFixed(0)} ms a batch, ${(flops / best / 1e6).toFixed(0)} GFLOP/s (opened in ${opened.toFixed(0)} ms); ` +
        `PyTorch ${theirs.toFixed(0)} ms, ${(theirs / best).toFixed(1)} times; error ${error.toExponential(1)}`,
    );
  });
  metric.close();
}
gpu.destroy();
