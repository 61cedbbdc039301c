/**
 * Which layer to edit. Causal tracing over many facts gives the average indirect effect by kind of token and layer; a
 * sweep edits a few facts at each layer, and sees where that works and leaves the rest alone.
 *
 * Source: Meng et al. 2022, section 2.2 and figure 2.
 */
import type { Fact } from '../data/fact.ts';
import type { Method } from '../edit/method.ts';
import type { Model } from '../models/model.ts';
import { marginOfMean, mean, harmonicMean } from '../statistics.ts';
import { evaluate, type EvaluateOptions } from './evaluate.ts';
import { averages } from './metrics.ts';
import { sentence } from '../edit/template.ts';
import { score } from './score.ts';
import { NOISE_FACTOR, embeddingDeviation, type TraceSite } from './trace-runs.ts';
import { traceFact, type TraceOptions, type Tracing } from './trace.ts';

/** Kinds of tokens, in the order of a sentence. What stands before the subject is not corrupted and has no effect. */
export const TOKEN_KINDS = [
  'first subject token',
  'middle subject tokens',
  'last subject token',
  'first token after it',
  'further tokens',
  'last token',
] as const;
export type TokenKind = (typeof TOKEN_KINDS)[number];

export type AverageTracing = ReturnType<typeof averageTracings>;

/** undefined before the subject. A subject of one token is its last; the last token of a prompt is nothing else. */
export function tokenKind(
  tokens: number,
  [from, to]: readonly [number, number],
  token: number,
): TokenKind | undefined {
  if (token < from) return undefined;
  if (token === to - 1) return 'last subject token';
  if (token < to) return token === from ? 'first subject token' : 'middle subject tokens';
  if (token === tokens - 1) return 'last token';
  return token === to ? 'first token after it' : 'further tokens';
}

/** Of ten times as many facts, those whose true object the model puts first, token by token: only what it knows can be traced. */
export async function knownFacts(model: Model, facts: readonly Fact[], most: number): Promise<Fact[]> {
  const named = facts.slice(0, 10 * most).filter(({ targetTrue }) => targetTrue !== null);
  const items = named.map((fact) => model.tokenizer.encodeTarget(sentence(fact), fact.targetTrue ?? ''));
  const scores = await score(model, items);
  return named.filter((_, i) => scores[i]?.hits === items[i]?.target.length).slice(0, most);
}

/** Subjects whose embeddings say how wide the noise is, at most. */
const SUBJECTS = 1000;

/** How wide the noise is where nothing is said: 3 deviations of the embeddings of these subjects. */
export async function noiseOf(model: Model, subjects: readonly string[]): Promise<number> {
  return NOISE_FACTOR * (await embeddingDeviation(model, subjects.slice(0, SUBJECTS)));
}

/**
 * @param facts known ones, see `knownFacts`
 * @param onFact called with each tracing as it is done
 */
export async function traceFacts(
  model: Model,
  facts: readonly Fact[],
  options: TraceOptions,
  onFact?: (tracing: Tracing, done: number) => void,
): Promise<AverageTracing> {
  const tracings: Tracing[] = [];
  for (const { prompt, subject, targetTrue } of facts) {
    const tracing = await traceFact(model, { prompt, subject, object: targetTrue ?? undefined }, options);
    tracings.push(tracing); // not within the call: without onFact it would not be made
    onFact?.(tracing, tracings.length);
  }
  return averageTracings(tracings);
}

export function averageTracings(tracings: readonly Tracing[]) {
  const [first] = tracings;
  const sites = Object.keys(first?.effects ?? {}) as TraceSite[];
  type Effects = Partial<Record<TraceSite, Record<TokenKind, number[]>>>;
  return {
    /** Facts traced: those given whose object the model knows. */
    n: tracings.length,
    clean: mean(tracings.map(({ clean }) => clean)) ?? NaN,
    corrupted: mean(tracings.map(({ corrupted }) => corrupted)) ?? NaN,
    ...{ window: first?.window ?? 0, noise: first?.noise ?? 0, samples: first?.samples ?? 0 },
    /** Of each fact, [layers]: the effect of an MLP window at the subject's last token. What layers are compared by. */
    facts: tracings.map(({ effects, subject }) => effects.mlp?.[subject[1] - 1] ?? []),
    /** By kind of token, [layers]: the mean over facts of the mean over a fact's tokens of that kind; [] where no fact has any. */
    effects: Object.fromEntries(sites.map((site) => [site, byKind(tracings, site)])) as Effects,
  };
}

/**
 * The two layers whose MLP windows at the subject's last token restore most, and how far they lie apart.
 *
 * @returns also the mean over the facts of the effect at `layer` minus that at `next`, and half the width of its 95 %
 *   interval, NaN for fewer than 3 facts
 */
export function layerContrast(average: AverageTracing) {
  const { effects, facts } = average;
  const row = effects.mlp?.['last subject token'] ?? [];
  const [layer, next] = [...row.keys()].sort((a, b) => (row[b] ?? NaN) - (row[a] ?? NaN));
  if (layer === undefined || next === undefined) return undefined;
  const differences = facts.map((effect) => (effect[layer] ?? NaN) - (effect[next] ?? NaN));
  return { layer, next, difference: mean(differences) ?? NaN, margin: marginOfMean(differences) };
}

/** The layer that restores most, where ROME edits; undefined where the facts do not tell it from the next. */
export function recommendedLayer(average: AverageTracing): number | undefined {
  const found = layerContrast(average);
  return found && found.difference > found.margin ? found.layer : undefined;
}

function byKind(tracings: readonly Tracing[], site: TraceSite): Record<TokenKind, number[]> {
  const rows = TOKEN_KINDS.map((kind) => {
    const ofFacts = tracings.flatMap(({ tokens, subject, effects }) => {
      const mine = (effects[site] ?? []).filter((_, t) => tokenKind(tokens.length, subject, t) === kind);
      return mine.length === 0 ? [] : [columnMeans(mine)];
    });
    return [kind, columnMeans(ofFacts)] as const;
  });
  return Object.fromEntries(rows) as Record<TokenKind, number[]>;
}

function columnMeans(rows: readonly (readonly number[])[]): number[] {
  return (rows[0] ?? []).map((_, c) => mean(rows.map((row) => row[c] ?? NaN)) ?? NaN);
}

export type LayerScore = Awaited<ReturnType<typeof sweepLayers>>[number];
type Scored = Pick<LayerScore, 'layer' | 'n' | 'score'>;

export interface SweepOptions {
  readonly layers: readonly number[];
  readonly method: Method;
  /** What an edit at a layer takes: each layer has its own C. */
  readonly editAt: (layer: number) => Promise<EvaluateOptions['edit']>;
  readonly seed: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * @param facts with both objects and neighbours, else the scores are 0
 * @returns percent, 0..100; no PS where the facts have no paraphrases; `score` is the harmonic mean of those there are
 */
export async function sweepLayers(
  model: Model,
  facts: readonly Fact[],
  { layers, method, editAt, seed, onProgress, signal }: SweepOptions,
) {
  const scores = [];
  for (const layer of layers) {
    const cases = await evaluate(model, facts, {
      methods: [method],
      edit: await editAt(layer),
      seed,
      textTokens: 0,
      signal,
    });
    const measured = cases.flatMap(({ methods }) => methods[method]?.metrics ?? []);
    const { ES = 0, NS = 0, PS } = averages(measured);
    const score = harmonicMean([ES, NS, ...(PS === undefined ? [] : [PS])]) ?? 0;
    scores.push({ layer, n: cases.length, ES, NS, PS, score });
    onProgress?.(scores.length, layers.length);
  }
  return scores;
}

/** The layer that a sweep names, and how sure that is. */
export type SweepChoice = NonNullable<ReturnType<typeof chooseLayer>>;

/** @returns undefined where no layer takes any edit; `alike`: others that one fact more could bring past it */
export function chooseLayer(scores: readonly Scored[]) {
  const best = bestOf(scores);
  if (!best || !(best.score > 0)) return undefined;
  const oneFact = 100 / best.n;
  const alike = scores.filter((one) => one !== best && best.score - one.score <= oneFact);
  return { layer: best.layer, score: best.score, alike: alike.map((one) => one.layer), n: best.n };
}

/** Layers enough to see where edits work: all of a small model, of a deep one eight, over its lower two thirds. */
export function layersToSweep(layers: number, also?: number): number[] {
  const most = 8;
  if (layers - 1 <= 12) return Array.from({ length: layers - 1 }, (_, i) => i);
  const top = Math.floor((2 * layers) / 3);
  const spread = Array.from({ length: most }, (_, i) => Math.round(1 + (i * (top - 1)) / (most - 1)));
  return [...new Set(also === undefined ? spread : [...spread, also])].sort((a, b) => a - b);
}

/** The layer with the best score, the lower one among equals. */
export function bestLayer(scores: readonly Scored[]): number | undefined {
  return bestOf(scores)?.layer;
}

function bestOf(scores: readonly Scored[]): Scored | undefined {
  const most = Math.max(...scores.map(({ score }) => score));
  return scores.find(({ score }) => score === most);
}
