/** The runs of causal tracing: the clean one, the corrupted ones, and those in which something of the clean one is restored. */
import type { Scope } from '../gpu/scope.ts';
import type { Hook, Hooks } from '../models/architecture.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import type { Model } from '../models/model.ts';
import { nllAt } from '../models/pick.ts';
import { PrefixCache } from '../models/prefix-cache.ts';
import { restoreRows } from '../models/restore-rows.ts';
import { add } from '../tensor/elementwise.ts';
import { gatherRows } from '../tensor/gather.ts';
import { indices, read } from '../tensor/tensor.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { TraceText } from './trace-text.ts';

export const TRACE_SITES = ['state', 'mlp', 'attention'] as const;
export type TraceSite = (typeof TRACE_SITES)[number];

/** What every restoration starts from. */
export interface Runs {
  readonly text: TraceText;
  readonly samples: number;
  /** [layer] of the clean run, [T, D]: what the block puts out, and what its two parts add. */
  readonly clean: Readonly<Record<TraceSite, readonly Tensor[]>>;
  /** The corrupted runs, one after another: [layer] the stream that enters it (the last: that leaves the model), [samples · T, D]. */
  readonly states: readonly Tensor[];
  /** Their keys and values. */
  readonly cache: PrefixCache;
}

export function startRuns(
  s: Scope,
  model: Model,
  text: TraceText,
  samples: number,
  noise: (shape: { samples: number; tokens: number; width: number }) => Tensor,
): Runs {
  const clean: Record<TraceSite, Tensor[]> = { state: [], mlp: [], attention: [] };
  const keep = (list: Tensor[]): Hook => {
    return (inner, layer, t) => void (list[layer] = inner.keep(t, s));
  };
  model.forward(s, uploadBatch(s, packRows([text.ids])), {
    hooks: {
      attention: keep(clean.attention),
      mlp: keep(clean.mlp),
      state: (_, layer, t) => void (clean.state[layer] = t),
    },
  });

  const many = uploadBatch(s, packRows(Array.from({ length: samples }, () => text.ids)));
  const shape = { samples, tokens: text.ids.length, width: model.dims.D };
  const cache = new PrefixCache(model.dims);
  const x = add(s, model.embed(s, many), noise(shape), 'corrupted');
  const states = [x];
  model.forward(s, many, {
    x,
    hooks: { qkv: cache.keep(s), state: (_, layer, t) => void (states[layer + 1] = t) },
  });
  return { text, samples, clean, states, cache };
}

/** P[o] of the clean run, and of the corrupted ones on average. */
export async function baselines(
  model: Model,
  { text, samples, clean, states }: Runs,
): Promise<{ clean: number; corrupted: number }> {
  const T = text.ids.length;
  const starts = (rows: number): number[] => Array.from({ length: rows }, (_, r) => r * T);
  return model.gpu.scope(async (s) => ({
    clean: (await probabilities(s, model, clean.state.at(-1) as Tensor, text, starts(1)))[0] ?? NaN,
    corrupted: mean(await probabilities(s, model, states.at(-1) as Tensor, text, starts(samples))),
  }));
}

/** P*, clean h [o] for each of the tokens `cells`, restored in layers `from` up to but without `to`. */
export async function restore(
  model: Model,
  { text, samples, clean, states, cache }: Runs,
  cells: readonly number[],
  site: TraceSite,
  [from, to]: readonly [from: number, to: number],
): Promise<number[]> {
  const T = text.ids.length;
  const tokens = cells.flatMap((token) => Array<number>(samples).fill(token));
  const batch = packRows(
    tokens.map(() => text.ids),
    { from: tokens, cacheStart: tokens.map((_, r) => (r % samples) * T) },
  );
  const starts = [...batch.rowStarts.subarray(0, -1)];
  return model.gpu.scope(async (s) => {
    const device = uploadBatch(s, batch);
    const rows = indices(s, starts, 'restored');
    const sources = indices(s, tokens, 'sources');
    // A state is set after its block, so the pass begins with the next one.
    const first = site === 'state' ? to : from;
    const picked = tokens.flatMap((token, r) =>
      Array.from({ length: T - token }, (_, t) => (r % samples) * T + token + t),
    );
    const start = gatherRows(s, states[first] as Tensor, indices(s, picked, 'picked'));
    if (site === 'state') restoreRows(s, start, clean.state[from] as Tensor, rows, sources);
    const put: Hook = (inner, i, y) =>
      i < to ? restoreRows(inner, y, clean[site][i] as Tensor, rows, sources) : undefined;
    const hooks: Hooks = site === 'state' ? {} : { [site]: put };
    const x = model.forward(s, device, { x: start, from: first, cache, hooks });
    const p = await probabilities(
      s,
      model,
      x,
      text,
      starts.map((row, r) => row - (tokens[r] ?? 0)),
    );
    return cells.map((_, c) => mean(p.slice(c * samples, (c + 1) * samples)));
  });
}

/** P[o] of rows of x; `starts` are the rows of x that hold, or would hold, their first tokens. */
async function probabilities(
  s: Scope,
  model: Model,
  x: Tensor,
  { promptLength, object }: TraceText,
  starts: readonly number[],
): Promise<number[]> {
  const places = starts.flatMap((start) => object.map((_, t) => start + promptLength - 1 + t));
  const logits = model.logits(s, x, indices(s, places, 'places'));
  const all = indices(s, [...places.keys()], 'rows');
  const targets = indices(
    s,
    starts.flatMap(() => object),
    'targets',
  );
  const nll = await read(model.gpu, nllAt(s, logits, all, targets));
  const n = object.length;
  return starts.map((_, r) =>
    Math.exp(-nll.subarray(r * n, (r + 1) * n).reduce((sum, loss) => sum + loss, 0)),
  );
}

function mean(list: readonly number[]): number {
  return list.reduce((sum, x) => sum + x, 0) / list.length;
}
