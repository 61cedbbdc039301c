/** Tokens a second: of a covariance (the forward pass up to the key of one layer, and its second moment) and of generation. */
import { CovarianceBuild } from '../../edit/covariance.ts';
import { batchTokens } from '../../edit/pack-documents.ts';
import type { Architecture } from '../../models/architecture.ts';
import { generate } from '../../models/generate.ts';
import type { Model } from '../../models/model.ts';
import { kernelTime, profileOf } from '../profile.ts';
import { timingOf } from './measure.ts';

/** One traced run: its ms, and its dispatches by kernel and shape. */
export type Trace = NonNullable<Awaited<ReturnType<typeof traced>>>;

/** Runs once more, dispatch by dispatch; undefined where the adapter has no timestamps. */
export async function traced({ gpu }: Model, once: () => Promise<number>) {
  if (!gpu.timer.available) return undefined;
  gpu.timer.start();
  const wall = await once();
  const rows = profileOf(await gpu.times());
  gpu.timer.stop();
  return { wall, kernels: kernelTime(rows), rows };
}

const DOCUMENT_TOKENS = 256;
const MOST_TOKENS = 2048;

/** Batches as a build makes them, of whole documents. */
export async function benchCovariance(
  model: Model,
  options: { layer: number; runs?: number | undefined; end?: number; signal: AbortSignal },
) {
  const { layer, runs = 3, end = Infinity, signal } = options;
  const { gpu, dims } = model;
  const documents = Math.max(
    1,
    Math.floor(Math.min(MOST_TOKENS, batchTokens(gpu, dims, layer)) / DOCUMENT_TOKENS),
  );
  const length = Math.min(DOCUMENT_TOKENS, dims.context);
  const ids = Math.min(dims.V, 8192);
  const rows = Array.from({ length: documents }, (_, d) =>
    Array.from({ length }, (__, i) => (d * 7919 + i * 104_729) % ids),
  );
  return gpu.scope(async (s) => {
    const build = new CovarianceBuild(s, model, { layers: [layer] });
    const once = async (): Promise<number> => {
      signal.throwIfAborted();
      const start = performance.now();
      build.add(rows);
      await gpu.sync();
      return performance.now() - start;
    };
    await once();
    const walls: number[] = [];
    for (let run = 0; run < runs && (run === 0 || performance.now() < end); run += 1)
      walls.push(await once());
    const batch = timingOf(walls);
    const tokensPerSecond = (documents * length) / (batch.median / 1000);
    const flopsPerToken = usefulFlops(model.architecture, layer, length);
    return {
      tokens: documents * length,
      documents,
      /** ms of a batch */
      batch,
      tokensPerSecond,
      /** Useful flops of a token: forward up to the key, and half of F²; and of a second. */
      flopsPerToken,
      rate: flopsPerToken * tokensPerSecond,
      trace: performance.now() < end ? await traced(model, once) : undefined,
    };
  });
}

/**
 * Per token: the products of every block below `layer`, those of `layer` up to its key, causal attention over documents
 * of `length` tokens (a query sees half of them), and the lower triangle of k kᵀ. An add and a multiply are two.
 */
function usefulFlops({ tensors, dims, editedWeight }: Architecture, layer: number, length: number): number {
  const { H, S, F } = dims;
  let weights = 0;
  for (const [name, { use, shape }] of tensors) {
    if (name === editedWeight(layer).name) break;
    if (use === 'products') weights += shape.reduce((product, n) => product * n, 1);
  }
  return 2 * weights + (layer + 1) * 4 * H * S * ((length + 1) / 2) + F * F;
}

const PROMPT_TOKENS = 16;
const NEW_TOKENS = 14;
const ROUNDS = 4;

/**
 * Greedy, for each number of prompts in turns, so that a slow minute of the machine slows them alike. The first two
 * tokens of a run, which compute the prompts and compile, are not counted.
 *
 * @returns of each number ms of a step that adds one token to every prompt, and the bytes of weights read in it, and a second
 */
export async function benchGenerate(
  model: Model,
  { prompts, end = Infinity, signal }: { prompts: readonly number[]; end?: number; signal: AbortSignal },
) {
  const steps = prompts.map((): number[] => []);
  for (let round = 0; round < ROUNDS && (round === 0 || performance.now() < end); round += 1)
    for (const [i, count] of prompts.entries()) steps[i]?.push(...(await stepsOf(model, count, signal)));
  const bytes = stepBytes(model);
  return prompts.map((count, i) => {
    const step = timingOf(steps[i] ?? []);
    const seconds = step.median / 1000;
    return { prompts: count, step, bytes, tokensPerSecond: count / seconds, rate: bytes / seconds };
  });
}

async function stepsOf(model: Model, prompts: number, signal: AbortSignal): Promise<number[]> {
  const texts = Array.from({ length: prompts }, (_, b) =>
    Array.from({ length: PROMPT_TOKENS }, (__, i) => (b * 31 + i * 7) % Math.min(8192, model.dims.V)),
  );
  const ends: number[] = [];
  const onToken = (row: number): void => {
    if (row === prompts - 1) ends.push(performance.now());
  };
  await generate(model, texts, { tokens: NEW_TOKENS, topK: 1, seed: 0, onToken, signal });
  return ends.slice(2).map((end, i) => end - (ends[i + 1] ?? NaN));
}

/** Everything but tables of which a step reads one row a prompt. */
function stepBytes({ architecture, weights }: Model): number {
  let sum = 0;
  for (const [name, { use }] of architecture.tensors) if (use !== 'rows') sum += weights(name).bytes;
  return sum;
}
