/** Tokens a second of a covariance: the forward pass up to the key of one layer, and its second moment. */
import { CovarianceBuild } from '../../edit/covariance.ts';
import { batchTokens } from '../../edit/pack-documents.ts';
import type { Dimensions } from '../../models/architecture.ts';
import type { Model } from '../../models/model.ts';
import { kernelTime, profileOf } from '../profile.ts';
import type { KernelTime, ProfileRow } from '../profile.ts';
import { timingOf } from './statistics.ts';
import type { Timing } from './statistics.ts';

export interface CovarianceBench {
  readonly tokens: number;
  readonly documents: number;
  /** ms of a batch */
  readonly batch: Timing;
  readonly tokensPerSecond: number;
  /** Useful flops of a token: forward up to the key, and half of F². */
  readonly flopsPerToken: number;
  /** Useful flops a second. */
  readonly rate: number;
  readonly trace?: {
    readonly wall: number;
    readonly kernels: KernelTime;
    readonly rows: readonly ProfileRow[];
  };
}

const DOCUMENT_TOKENS = 256;

/** Batches as a build makes them, at most `most` tokens, of documents of 256 tokens. */
export async function benchCovariance(
  model: Model,
  {
    layer,
    runs = 3,
    most = 2048,
    signal,
  }: { layer: number; runs?: number; most?: number; signal?: AbortSignal },
): Promise<CovarianceBench> {
  const { gpu, dims } = model;
  const documents = Math.max(1, Math.floor(Math.min(most, batchTokens(gpu, dims, layer)) / DOCUMENT_TOKENS));
  const length = Math.min(DOCUMENT_TOKENS, dims.context);
  const ids = Math.min(dims.V, 8192);
  const rows = Array.from({ length: documents }, (_, d) =>
    Array.from({ length }, (__, i) => (d * 7919 + i * 104_729) % ids),
  );
  return gpu.scope(async (s) => {
    const build = new CovarianceBuild(s, model, { layers: [layer] });
    const once = async (): Promise<number> => {
      signal?.throwIfAborted();
      const start = performance.now();
      build.add(rows);
      await gpu.sync();
      return performance.now() - start;
    };
    await once();
    const walls: number[] = [];
    for (let run = 0; run < runs; run += 1) walls.push(await once());
    const batch = timingOf(walls);
    const tokensPerSecond = (documents * length) / (batch.median / 1000);
    const flopsPerToken = usefulFlops(dims, layer, length);
    const result = {
      ...{ tokens: documents * length, documents, batch, tokensPerSecond, flopsPerToken },
      rate: flopsPerToken * tokensPerSecond,
    };
    if (!gpu.timer.available) return result;
    gpu.timer.start();
    const wall = await once();
    const profile = profileOf(await gpu.times());
    gpu.timer.stop();
    return { ...result, trace: { wall, kernels: kernelTime(profile), rows: profile } };
  });
}

/**
 * Per token: the products of every block below `layer`, those of `layer` up to its key, causal attention over documents
 * of `length` tokens (a query sees half of them), and the lower triangle of k kᵀ. An add and a multiply are two.
 */
function usefulFlops({ D, F }: Dimensions, layer: number, length: number): number {
  const attention = 2 * 4 * D * D + 4 * D * ((length + 1) / 2);
  const below = attention + 2 * 2 * D * F;
  return layer * below + attention + 2 * D * F + F * F;
}
