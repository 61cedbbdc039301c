/** The plain way to an edit layer: edit a few facts at each layer, and see where it works and leaves the rest alone. */
import type { Fact } from '../data/fact.ts';
import type { Method } from '../edit/method.ts';
import type { Model } from '../models/model.ts';
import { evaluate } from './evaluate.ts';
import type { EvaluateOptions } from './evaluate.ts';
import { summarise } from './metrics.ts';
import { harmonicMean } from '../statistics.ts';

export interface LayerScore {
  readonly layer: number;
  /** Facts edited. */
  readonly n: number;
  /** Percent, 0..100. */
  readonly ES: number;
  readonly NS: number;
  /** Absent where the facts have no paraphrases. */
  readonly PS?: number;
  /** Harmonic mean of those there are. */
  readonly score: number;
}

export interface SweepOptions {
  readonly layers: readonly number[];
  readonly method: Method;
  /** What an edit at a layer takes: each layer has its own C. */
  readonly editAt: (layer: number) => Promise<EvaluateOptions['edit']>;
  readonly seed: number;
  readonly onLayer?: (score: LayerScore, done: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** @param facts with both objects and neighbours, else the scores are 0 */
export async function sweepLayers(
  model: Model,
  facts: readonly Fact[],
  { layers, method, editAt, seed, onLayer, signal }: SweepOptions,
): Promise<LayerScore[]> {
  const scores: LayerScore[] = [];
  for (const layer of layers) {
    const cases = await evaluate(model, facts, {
      methods: [method],
      edit: await editAt(layer),
      seed,
      textTokens: 0,
      ...(signal ? { signal } : {}),
    });
    const { values } = summarise(
      cases.flatMap(({ methods }) => methods[method]?.metrics ?? []),
      seed,
    );
    const { ES = 0, NS = 0, PS } = values;
    const found: LayerScore = {
      layer,
      n: cases.length,
      ES,
      NS,
      ...(PS === undefined ? {} : { PS }),
      score: harmonicMean([ES, NS, ...(PS === undefined ? [] : [PS])]) ?? 0,
    };
    scores.push(found);
    onLayer?.(found, scores.length);
  }
  return scores;
}

/** The layer with the best score, the lower one among equals. */
export function bestLayer(scores: readonly LayerScore[]): number | undefined {
  let best: LayerScore | undefined;
  for (const candidate of scores) if (!best || candidate.score > best.score) best = candidate;
  return best?.layer;
}
