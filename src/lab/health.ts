/** What every k-th edit of a sequence measures, and the last: what the model still knows, can do and says. */
import type { Fact } from '../data/fact.ts';
import type { Model } from '../models/model.ts';
import { caseMetrics, averages } from './metrics.ts';
import type { Summary } from './metrics.ts';
import { scoreFacts } from './probes.ts';
import { score } from './score.ts';
import { measureTexts, writeTexts } from './texts.ts';

export interface HealthOptions {
  /** Metrics, perplexity and entropy after every so many edits, and after the last; 0 for after the last alone. */
  readonly every: number;
  /** Ids of held-out documents. Their beginnings are what texts continue. */
  readonly documents: readonly (readonly number[])[];
  /** Tokens of these texts; 0 for none. Default 50. */
  readonly textTokens?: number | undefined;
  readonly seed: number;
  /** Earlier facts that are asked again at most, evenly spread. Default 200. */
  readonly mostEarlier?: number | undefined;
  /** Downstream tasks, and after how many edits, as `every`. */
  readonly downstream?:
    { readonly every: number; readonly run: (model: Model) => Promise<unknown> } | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FactMetrics {
  /** Facts that were asked. */
  readonly n: number;
  readonly values: Summary['values'];
}

export interface HealthNumbers {
  /** Of the edits since the last such line, and of those before: what is forgotten shows there. Kept edits only. */
  readonly metrics?: { readonly recent: FactMetrics; readonly earlier: FactMetrics };
  readonly perplexity?: number | undefined;
  /** Normalised entropy of generated words, 0..1. */
  readonly entropy?: number;
  /** Weighted 2- and 3-gram entropy of the same texts, × 100. */
  readonly GE?: number;
  readonly downstream?: unknown;
}

/** Tokens of a held-out document that a text continues. */
const PROMPT_TOKENS = 8;
const MOST_TEXTS = 10;
const MOST_EARLIER = 200;

export class Health {
  readonly #model: Model;
  readonly #facts: readonly Fact[];
  readonly #options: HealthOptions;
  readonly #prompts: readonly string[];
  /** Of each edit so far. */
  readonly #kept: boolean[] = [];

  constructor(model: Model, facts: readonly Fact[], options: HealthOptions) {
    this.#model = model;
    this.#facts = facts;
    this.#options = options;
    this.#prompts = options.documents
      .filter((ids) => ids.length > PROMPT_TOKENS)
      .slice(0, MOST_TEXTS)
      .map((ids) => model.tokenizer.decode([...ids.slice(0, PROMPT_TOKENS)]));
  }

  /** Another edit is done. */
  note(kept: boolean): void {
    this.#kept.push(kept);
  }

  /** The unedited model: before the first edit, not after it. */
  async before(): Promise<HealthNumbers> {
    const { downstream } = this.#options;
    return {
      ...(await this.#language()),
      ...(downstream && { downstream: await downstream.run(this.#model) }),
    };
  }

  /** After edit `n`, from 1: what is due then, and everything after the last. */
  async after(n: number): Promise<HealthNumbers> {
    const { every, downstream } = this.#options;
    const due = (k: number): boolean => n === this.#facts.length || (k > 0 && n % k === 0);
    const since = every > 0 ? Math.floor((n - 1) / every) * every : 0;
    return {
      ...(due(every) && { metrics: await this.#metrics(since, n), ...(await this.#language()) }),
      ...(downstream && due(downstream.every) && { downstream: await downstream.run(this.#model) }),
    };
  }

  async #metrics(from: number, to: number): Promise<{ recent: FactMetrics; earlier: FactMetrics }> {
    const kept = (a: number, b: number): Fact[] =>
      this.#facts.slice(a, b).filter((_, i) => this.#kept[a + i]);
    const earlier = spread(kept(0, from), this.#options.mostEarlier ?? MOST_EARLIER);
    return { recent: await this.#ask(kept(from, to)), earlier: await this.#ask(earlier) };
  }

  async #ask(facts: readonly Fact[]): Promise<FactMetrics> {
    const scores = await scoreFacts(this.#model, facts);
    return { n: facts.length, values: averages(scores.map((score) => caseMetrics(score))) };
  }

  async #language(): Promise<HealthNumbers> {
    const { documents, textTokens: tokens = 50, seed, signal } = this.#options;
    const texts = tokens > 0 ? await writeTexts(this.#model, this.#prompts, { tokens, seed, signal }) : [];
    return { perplexity: await perplexity(this.#model, documents), ...measureTexts(texts) };
  }
}

/** At most `most` of a list, evenly spread, the first among them. */
export function spread<T>(list: readonly T[], most: number): readonly T[] {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)] as T);
}

/** Ids of documents, each cut to the context window; those of one token are left out, since nothing of them is predicted. */
export function heldOut(model: Model, texts: readonly string[]): number[][] {
  return texts
    .map((text) => model.tokenizer.encodeDocument(text, model.dims.context))
    .filter((ids) => ids.length > 1);
}

/** exp of the mean −ln p over all tokens of all documents but the first of each. @returns undefined for no documents */
export async function perplexity(
  model: Model,
  documents: readonly (readonly number[])[],
): Promise<number | undefined> {
  const items = documents.map((ids) => ({ prompt: ids.slice(0, 1), target: ids.slice(1) }));
  const scores = await score(model, items);
  const tokens = items.reduce((sum, { target }) => sum + target.length, 0);
  const total = scores.reduce((sum, { nll }, i) => sum + nll * (items[i]?.target.length ?? 0), 0);
  return tokens === 0 ? undefined : Math.exp(total / tokens);
}
