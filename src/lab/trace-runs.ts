/**
 * The runs of causal tracing: the clean one, the corrupted ones, and those in which something of the clean one is restored;
 * the text they read, and the noise on its subject.
 */
import { checkLength } from '../edit/request.ts';
import { lookupSubject } from '../edit/rows.ts';
import { readTemplate, sentence } from '../edit/template.ts';
import { UsageError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import type { Hook, Hooks } from '../models/architecture.ts';
import { packRows, uploadBatch } from '../models/batch.ts';
import { embed } from '../models/embed.ts';
import { nll } from '../models/losses.ts';
import type { Model } from '../models/model.ts';
import { predict } from '../models/predict.ts';
import { PrefixCache } from '../models/prefix-cache.ts';
import { Random } from '../models/random.ts';
import { deviation, mean } from '../statistics.ts';
import { add } from '../tensor/elementwise.ts';
import { gatherRows, putRows } from '../tensor/gather.ts';
import { indices, read, type Tensor } from '../tensor/tensor.ts';

export const TRACE_SITES = ['state', 'mlp', 'attention'] as const;
export type TraceSite = (typeof TRACE_SITES)[number];

/** What every restoration starts from. */
export type Runs = ReturnType<typeof startRuns>;

export function startRuns(s: Scope, model: Model, text: TraceText, samples: number, noise: Tensor) {
  /** [layer] of the clean run, [T, D]: what the block puts out, and what its two parts add. */
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

  /** The corrupted runs, one after another, with their keys and values. */
  const many = uploadBatch(s, packRows(Array.from({ length: samples }, () => text.ids)));
  const cache = new PrefixCache(model.architecture);
  const x = add(s, model.embed(s, many), noise, 'corrupted');
  /** [layer] the stream that enters it (the last: that leaves the model), [samples · T, D]. */
  const states = [x];
  model.forward(s, many, {
    x,
    hooks: { qkv: cache.keep(s), state: (_, layer, t) => void (states[layer + 1] = t) },
  });
  return { text, samples, clean, states, cache };
}

/** P[o] of the clean run, and of the corrupted ones on average. */
export async function baselines(model: Model, { text, samples, clean, states }: Runs) {
  const T = text.ids.length;
  const starts = (rows: number): number[] => Array.from({ length: rows }, (_, r) => r * T);
  return model.gpu.scope(async (s) => ({
    clean: (await probabilities(s, model, clean.state.at(-1) as Tensor, text, starts(1)))[0] ?? NaN,
    corrupted: mean(await probabilities(s, model, states.at(-1) as Tensor, text, starts(samples))) ?? NaN,
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
  const lists = tokens.map(() => text.ids);
  const batch = packRows(lists, { from: tokens, cacheStart: tokens.map((_, r) => (r % samples) * T) });
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
    if (site === 'state') putRows(s, start, clean.state[from] as Tensor, rows, sources);
    const put: Hook = (inner, i, y) =>
      i < to ? putRows(inner, y, clean[site][i] as Tensor, rows, sources) : undefined;
    const hooks: Hooks = site === 'state' ? {} : { [site]: put };
    const x = model.forward(s, device, { x: start, from: first, cache, hooks });
    const firsts = starts.map((row, r) => row - (tokens[r] ?? 0));
    const p = await probabilities(s, model, x, text, firsts);
    return cells.map((_, c) => mean(p.slice(c * samples, (c + 1) * samples)) ?? NaN);
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
  const wanted = starts.flatMap(() => object);
  const targets = indices(s, wanted, 'targets');
  const losses = await read(model.gpu, nll(s, logits, all, targets));
  const n = object.length;
  return starts.map((_, r) =>
    Math.exp(-losses.subarray(r * n, (r + 1) * n).reduce((sum, loss) => sum + loss, 0)),
  );
}

export interface TraceRequest {
  /** Text with one `{}` where the subject goes. */
  readonly prompt: string;
  readonly subject: string;
  /** What the model is to recall, without the blank in front; absent: the token it finds likeliest. */
  readonly object?: string | undefined;
}

export type TraceText = Awaited<ReturnType<typeof traceText>>;

/** @throws UsageError when the prompt has no `{}`, or the text exceeds the context window */
export async function traceText(model: Model, request: TraceRequest) {
  const { tokenizer, dims } = model;
  const template = readTemplate(request.prompt, 'prompt', 'Write {} where the subject goes, once.');
  if (request.subject.trim() === '') throw new UsageError('subject: expected a name, found nothing.');
  const { ids, lookup } = lookupSubject(tokenizer, template, request.subject);
  checkLength('the prompt', ids.length, dims);
  const { ends } = tokenizer.encodeWithSpans(sentence(request));
  const begin = tokenizer.encodeWithSpans(template.before).ends.at(-1) ?? 0;
  const first = ends.findIndex((end) => end > begin);
  const object =
    request.object === undefined
      ? (await predict(model, ids, { count: 1 })).next.map(({ id }) => id)
      : tokenizer.encodeTarget(sentence(request), request.object).target;
  checkLength('the prompt with its object', ids.length + object.length - 1, dims);
  return {
    /** The prompt, then all object tokens but the last. */
    ids: [...ids, ...object.slice(0, -1)],
    /** Tokens of the prompt. */
    promptLength: ids.length,
    /** First token of the subject, and the one after its last. */
    subject: [first, lookup + 1] as const,
    object,
  };
}

/** How many deviations of the embeddings the noise is wide, as published ("s3"). */
export const NOISE_FACTOR = 3;

/**
 * The standard deviation over all numbers of the token embeddings of subjects: each subject tokenised alone, without a
 * blank in front, all its rows of wte laid together.
 *
 * @throws UsageError when there are no subjects
 * @see kmeng01/rome, `collect_embedding_std` of experiments/causal_trace.py
 */
export async function embeddingDeviation(model: Model, subjects: readonly string[]): Promise<number> {
  const ids = subjects.flatMap((subject) => model.tokenizer.encode(subject));
  if (ids.length === 0)
    throw new UsageError('trace: expected at least one subject for the width of the noise.');
  return model.gpu.scope(async (s) => {
    const batch = uploadBatch(s, packRows(ids.map((id) => [id])));
    const rows = embed(s, model.weights(model.architecture.embedding), undefined, batch);
    return deviation(await read(model.gpu, rows));
  });
}

/**
 * Noise for the subject's tokens in `samples` copies of a row, zero everywhere else.
 *
 * Sample j draws from stream j of the seed, so that more samples repeat the first ones.
 *
 * @returns [samples, tokens, D]
 */
export function subjectNoise(
  shape: {
    readonly samples: number;
    readonly tokens: number;
    readonly width: number;
    /** Of the samples of an earlier part. Default 0. */
    readonly from?: number;
  },
  subject: readonly [from: number, to: number],
  deviation: number,
  seed: number,
): Float32Array<ArrayBuffer> {
  const { samples, tokens, width, from = 0 } = shape;
  const noise = new Float32Array(samples * tokens * width);
  for (let j = 0; j < samples; j += 1) {
    const draw = normal(new Random(seed, from + j));
    const start = (j * tokens + subject[0]) * width;
    const end = (j * tokens + subject[1]) * width;
    for (let i = start; i < end; i += 1) noise[i] = deviation * draw.next().value;
  }
  return noise;
}

/** Standard normal numbers, two from each pair of uniform ones. Source: Box and Muller 1958. */
function* normal(random: Random): Generator<number, never> {
  for (;;) {
    const radius = Math.sqrt(-2 * Math.log(1 - random.uniform()));
    const angle = 2 * Math.PI * random.uniform();
    yield radius * Math.cos(angle);
    yield radius * Math.sin(angle);
  }
}
