/** What every k-th edit of a sequence measures: what the model still knows, can do and says. */
import type { Fact } from '../data/fact.ts';
import type { Model } from '../models/model.ts';
import { caseMetrics, averages } from './metrics.ts';
import type { Summary } from './metrics.ts';
import { perplexity } from './perplexity.ts';
import { scoreFacts } from './probes.ts';
import { measureTexts, writeTexts } from './texts.ts';

export interface HealthOptions {
  /** Metrics, perplexity and entropy after every so many edits; 0 for never. */
  readonly every: number;
  /** Ids of held-out documents. Their beginnings are what texts continue. */
  readonly documents: readonly (readonly number[])[];
  /** Tokens of these texts; 0 for none. Default 50. */
  readonly textTokens?: number;
  readonly seed: number;
  /** Earlier facts that are asked again at most, evenly spread. Default 200. */
  readonly mostEarlier?: number;
  /** Downstream tasks, and after how many edits; a multiple of `every` or not. */
  readonly downstream?: { readonly every: number; readonly run: (model: Model) => Promise<unknown> };
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
  readonly perplexity?: number;
  /** Normalised entropy of generated words, 0..1. */
  readonly entropy?: number;
  /** Weighted 2- and 3-gram entropy of the same texts, × 100. */
  readonly GE?: number;
  readonly downstream?: unknown;
}

/** Tokens of a held-out document that a text continues. */
const PROMPT_TOKENS = 8;
const MOST_TEXTS = 10;

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
      ...(downstream ? { downstream: await downstream.run(this.#model) } : {}),
    };
  }

  /** After edit `n`, from 1: what is due then. */
  async after(n: number): Promise<HealthNumbers> {
    const { every, downstream } = this.#options;
    const due = (k: number): boolean => k > 0 && n % k === 0;
    return {
      ...(due(every) ? { metrics: await this.#metrics(n - every, n), ...(await this.#language()) } : {}),
      ...(downstream && due(downstream.every) ? { downstream: await downstream.run(this.#model) } : {}),
    };
  }

  async #metrics(from: number, to: number): Promise<{ recent: FactMetrics; earlier: FactMetrics }> {
    const kept = (a: number, b: number): Fact[] =>
      this.#facts.slice(a, b).filter((_, i) => this.#kept[a + i]);
    const { mostEarlier = 200 } = this.#options;
    return {
      recent: await this.#ask(kept(from, to)),
      earlier: await this.#ask(spread(kept(0, from), mostEarlier)),
    };
  }

  async #ask(facts: readonly Fact[]): Promise<FactMetrics> {
    const scores = await scoreFacts(this.#model, facts);
    return { n: facts.length, values: averages(scores.map((score) => caseMetrics(score))) };
  }

  async #language(): Promise<HealthNumbers> {
    const { documents, textTokens = 50, seed, signal } = this.#options;
    const surprise = await perplexity(this.#model, documents);
    const texts =
      textTokens > 0
        ? await writeTexts(this.#model, this.#prompts, {
            tokens: textTokens,
            seed,
            ...(signal ? { signal } : {}),
          })
        : [];
    return {
      ...(surprise === undefined ? {} : { perplexity: surprise }),
      ...(measureTexts(texts) ?? {}),
    };
  }
}

/** At most `most` of a list, evenly spread, the first among them. */
export function spread<T>(list: readonly T[], most: number): readonly T[] {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)] as T);
}
