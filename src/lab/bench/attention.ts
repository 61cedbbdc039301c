/** Attention and its gradient over packed rows, with and without keys and values of earlier tokens. */
import { attention, attentionBackward } from '../../models/attention.ts';
import type { AttentionOptions } from '../../models/attention.ts';
import { ATTENTION, ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q } from '../../models/attention-rungs.ts';
import type { AttentionRung } from '../../models/attention-rungs.ts';
import { packRows, uploadBatch } from '../../models/batch.ts';
import type { Gpu } from '../../gpu/context.ts';
import type { Scope } from '../../gpu/scope.ts';
import { upload } from '../../tensor/tensor.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { attentionReference } from './attention-reference.ts';
import type { BenchCase, Family } from './case.ts';
import { numbers, worstError } from './check.ts';

interface Rows {
  readonly name: string;
  readonly rows: number;
  /** Tokens of a row whose keys and values are there. */
  readonly cached: number;
  /** Tokens of a row that are computed. */
  readonly fresh: number;
  readonly backward: boolean;
}

/** What an edit runs once and in each step, a long document, and a step of generation. */
const CASES: readonly Rows[] = [
  { name: 'contexts', rows: 22, cached: 0, fresh: 20, backward: false },
  { name: 'suffix', rows: 22, cached: 17, fresh: 3, backward: false },
  { name: 'document', rows: 1, cached: 0, fresh: 1024, backward: false },
  { name: 'generate', rows: 8, cached: 512, fresh: 1, backward: false },
  { name: 'contexts', rows: 22, cached: 0, fresh: 20, backward: true },
  { name: 'suffix', rows: 22, cached: 17, fresh: 3, backward: true },
];

type Rungs = NonNullable<AttentionOptions['rungs']>;

const HEADS = 12;
const SIZE = 64;
const D = HEADS * SIZE;

/** The rungs of a pass that this adapter can run, from the definition on: one forward, or two backward. */
function rungsFor({ adapter }: Gpu, { backward, cached }: Rows): readonly Rungs[] {
  const stride = cached > 0 ? 3 * D : 0;
  const shape = {
    tokens: 1,
    heads: HEADS,
    size: SIZE,
    cached: cached > 0,
    cacheStride: stride,
    cacheKeys: stride / 3,
  };
  const fits = (rung: AttentionRung): boolean =>
    rung.fits({ ...shape, tiles: 1, tileSize: rung.tile ?? 2 }, adapter);
  if (!backward)
    return ATTENTION.filter(fits)
      .toReversed()
      .map((forward) => ({ forward }));
  const kvs = ATTENTION_BACKWARD_KV.filter(fits).toReversed();
  return ATTENTION_BACKWARD_Q.filter(fits)
    .toReversed()
    .flatMap((q, i) => kvs.slice(i, i + 1).map((kv) => ({ q, kv })));
}

function attentionCase(c: Rows, rungs: Rungs): BenchCase {
  const tokens = c.rows * c.fresh;
  // Query j of a row sees the cache and j + 1 keys of its own.
  const seen = c.rows * (c.fresh * c.cached + (c.fresh * (c.fresh + 1)) / 2);
  const kernels = Object.values(rungs).map((rung) => rung.kernel);
  return {
    name: kernels.map((name) => name.replace(/^.*\/(attention_)?/, '')).join(' + '),
    shape: `${c.name} ${c.rows}x${c.cached > 0 ? `(${c.cached})+` : ''}${c.fresh}`,
    kernels,
    flops: (c.backward ? 14 : 4) * seen * D,
    bytes: 4 * D * ((c.backward ? 8 : 4) * tokens + 2 * c.rows * c.cached),
    prepare: (s) => prepareAttention(s, c, rungs),
  };
}

async function prepareAttention(
  s: Scope,
  { rows, cached, fresh, backward }: Rows,
  rungs: Rungs,
): Promise<Awaited<ReturnType<BenchCase['prepare']>>> {
  const { gpu } = s;
  const length = cached + fresh;
  const lists = Array.from({ length: rows }, () => Array.from({ length }, () => 0));
  const batch = uploadBatch(s, packRows(lists, { from: lists.map(() => cached) }), rungs.forward?.tile);
  const tokens = rows * fresh;
  const own = numbers(tokens * 3 * D, 1);
  const earlier = numbers(Math.max(1, rows * cached) * 3 * D, 2);
  const slopes = numbers(tokens * D, 3);
  const qkv = upload(s, own, [tokens, 3 * D], 'qkv');
  const dout = upload(s, slopes, [tokens, D], 'dout');
  const cache = {
    rows: upload(s, earlier, [Math.max(1, rows * cached), 3 * D], 'cache'),
    stride: 3 * D,
    keys: D,
  };
  const options: AttentionOptions = { heads: HEADS, rungs, cache: cached > 0 ? cache : undefined };

  const reference = attentionReference({ own, earlier, slopes, heads: HEADS, size: SIZE, cached, fresh });
  if (!backward) {
    const run = (scope: Scope): Tensor => attention(scope, qkv, batch, options);
    const bound = { reduce: SIZE + length, scale: 6 };
    return { run, check: () => worstError(gpu, run(s), reference.out, bound) };
  }
  const logsumexps = Float32Array.from({ length: tokens * HEADS }, (_, e) =>
    reference.logsumexp(Math.floor(e / HEADS), e % HEADS),
  );
  const logsumexp = upload(s, logsumexps, [tokens, HEADS], 'logsumexp');
  const gradient = { out: attention(s, qkv, batch, options), logsumexp, dout };
  const run = (scope: Scope): Tensor => attentionBackward(scope, qkv, batch, options, gradient);
  return {
    run,
    check: () => worstError(gpu, run(s), reference.gradient, { reduce: SIZE + length, scale: 30 }),
  };
}

export const attentionFamily: Family = {
  name: 'attention',
  title: `rows x (cached) + tokens, ${HEADS} heads of ${SIZE}`,
  cases: (gpu) => CASES.flatMap((c) => rungsFor(gpu, c).map((rungs) => attentionCase(c, rungs))),
};
