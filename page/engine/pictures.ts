/** Numbers for pictures: what an edit changes on its way up through the layers, and where in W it writes. */
import type { Update } from '../../src/edit/edit.ts';
import { packRows, uploadBatch } from '../../src/models/batch.ts';
import type { Model } from '../../src/models/model.ts';
import { traceFact } from '../../src/lab/trace.ts';
import { NOISE_FACTOR, embeddingDeviation } from '../../src/lab/trace-runs.ts';
import { norm } from '../../src/statistics.ts';
import { read } from '../../src/tensor/tensor.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import type { Matrix, Vector } from './protocol.ts';

const TRACE_SAMPLES = 6;
/** Numbers of W that one pixel stands for, along F and along D. */
const BLOCK = [8, 4] as const;

/** The residual stream after every block, [layers][T, D]. */
export async function statesOf(model: Model, ids: readonly number[]): Promise<Vector[]> {
  return model.gpu.scope(async (s) => {
    const states: Tensor[] = [];
    model.forward(s, uploadBatch(s, packRows([[...ids]])), {
      hooks: { state: (_, layer, t) => void (states[layer] = t) },
    });
    const read_: Vector[] = [];
    for (const state of states) read_.push(await read(model.gpu, state));
    return read_;
  });
}

/** |h′ − h| / |h| at every token and layer: [T, layers]. */
export function flowBetween(before: readonly Vector[], after: readonly Vector[], D: number): Matrix {
  const layers = before.length;
  const T = (before[0]?.length ?? 0) / D;
  const values = new Float32Array(T * layers);
  for (let layer = 0; layer < layers; layer += 1) {
    for (let t = 0; t < T; t += 1) {
      const h = (before[layer] as Vector).subarray(t * D, (t + 1) * D);
      const changed = (after[layer] as Vector).subarray(t * D, (t + 1) * D);
      values[t * layers + layer] = norm(changed.map((x, i) => x - (h[i] ?? NaN))) / norm(h);
    }
  }
  return { rows: T, cols: layers, values };
}

/** Root mean squares of blocks of W, D down and F across, whichever way it is stored. */
export async function weightBlocks(model: Model, layer: number): Promise<Matrix> {
  const { tensor, layout } = model.editedWeight(layer);
  const { D, F } = model.dims;
  const w = await read(model.gpu, tensor);
  return blocks(D, F, (f, d) => w[layout === 'in-out' ? f * D + d : d * F + f] ?? NaN);
}

/** The same of u Λᵀ. */
export function changeBlocks({ U, Lambda }: Pick<Update, 'U' | 'Lambda'>): Matrix {
  return blocks(Lambda.length, U.length, (f, d) => (U[f] ?? NaN) * (Lambda[d] ?? NaN));
}

function blocks(D: number, F: number, at: (f: number, d: number) => number): Matrix {
  const [across, down] = BLOCK;
  const [rows, cols] = [Math.ceil(D / down), Math.ceil(F / across)];
  const values = new Float32Array(rows * cols);
  for (let f = 0; f < F; f += 1)
    for (let d = 0; d < D; d += 1) {
      const cell = Math.floor(d / down) * cols + Math.floor(f / across);
      values[cell] = (values[cell] ?? 0) + at(f, d) ** 2 / (across * down);
    }
  return { rows, cols, values: values.map(Math.sqrt) };
}

/** Causal tracing of the last edit's prompt: indirect effects of the residual stream, tokens by layers. */
export async function traceStates(
  model: Model,
  request: { readonly prompt: string; readonly subject: string },
  onProgress: (done: number, total: number) => void,
  signal?: AbortSignal,
): Promise<Matrix> {
  const noise = NOISE_FACTOR * (await embeddingDeviation(model, [request.subject]));
  const { effects } = await traceFact(model, request, {
    noise,
    samples: TRACE_SAMPLES,
    sites: ['state'],
    onProgress,
    signal,
  });
  const rows = effects.state ?? [];
  return {
    rows: rows.length,
    cols: model.dims.layers,
    values: Float32Array.from(rows.flatMap((row) => [...row])),
  };
}
