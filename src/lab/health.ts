/**
 * What a model with edits in it still knows, can do and says: after every k-th edit of a sequence and the last, and for edits
 * that are put together.
 */
import type { Fact } from '../data/fact.ts';
import { applyEdits } from '../edit/apply.ts';
import { requestsOf, updatesOf, type FactsRecord } from '../edit/facts-record.ts';
import type { EditRecord } from '../edit/record.ts';
import { lookupSubject } from '../edit/rows.ts';
import { readTemplate } from '../edit/template.ts';
import type { Model } from '../models/model.ts';
import { caseMetrics, averages, type Averages, type FactScores } from './metrics.ts';
import { scoreFacts } from './probes.ts';
import { score, type Score } from './score.ts';
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
  /** How facts are asked; default `scoreFacts`. */
  readonly ask?: ((facts: readonly Fact[]) => Promise<readonly FactScores[]>) | undefined;
  /** Downstream tasks, and after how many edits, as `every`. */
  readonly downstream?:
    { readonly every: number; readonly run: (model: Model) => Promise<unknown> } | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FactMetrics {
  readonly n: number;
  readonly values: Averages;
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

/** Follows a model while it is edited. */
export function healthOf(model: Model, facts: readonly Fact[], options: HealthOptions) {
  const { every, documents, textTokens: tokens = 50, seed, downstream, signal } = options;
  const { ask = (some) => scoreFacts(model, some), mostEarlier = MOST_EARLIER } = options;
  const prompts = documents
    .filter((ids) => ids.length > PROMPT_TOKENS)
    .slice(0, MOST_TEXTS)
    .map((ids) => model.tokenizer.decode([...ids.slice(0, PROMPT_TOKENS)]));
  /** Of each edit so far. */
  const kept: boolean[] = [];
  /** How many there were before the step that was noted last, and when metrics were last due before it. */
  let [before, since] = [0, 0];

  /** Whether the last step reached another multiple of `period`, or the last edit. */
  const isDue = (period: number): boolean => {
    const isReached = period > 0 && Math.floor(kept.length / period) > Math.floor(before / period);
    return isReached || kept.length === facts.length;
  };
  const keptOf = (from: number, to: number): Fact[] => facts.slice(from, to).filter((_, i) => kept[from + i]);
  const metrics = async (some: readonly Fact[]): Promise<FactMetrics> => {
    const scores = await ask(some);
    return { n: some.length, values: averages(scores.map((score) => caseMetrics(score))) };
  };
  const language = async (): Promise<HealthNumbers> => {
    const texts = tokens > 0 ? await writeTexts(model, prompts, { tokens, seed, signal }) : [];
    return { perplexity: await perplexity(model, documents), ...measureTexts(texts) };
  };

  return {
    /** Another step is done: an edit, or a batch of them. */
    note: (...found: readonly boolean[]): void => {
      if (isDue(every)) since = kept.length;
      before = kept.length;
      kept.push(...found);
    },
    /** The unedited model: before the first edit, not after it. */
    before: async (): Promise<HealthNumbers> => ({
      ...(await language()),
      ...(downstream && { downstream: await downstream.run(model) }),
    }),
    /** After the step that was noted last: what is due then, and everything after the last edit. */
    after: async (): Promise<HealthNumbers> => ({
      ...(isDue(every) && {
        metrics: {
          recent: await metrics(keptOf(since, kept.length)),
          earlier: await metrics(spread(keptOf(0, since), mostEarlier)),
        },
        ...(await language()),
      }),
      ...(downstream && isDue(downstream.every) && { downstream: await downstream.run(model) }),
    }),
  };
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
export async function perplexity(model: Model, documents: readonly (readonly number[])[]) {
  const items = documents.map((ids) => ({ prompt: ids.slice(0, 1), target: ids.slice(1) }));
  const scores = await score(model, items);
  const tokens = items.reduce((sum, { target }) => sum + target.length, 0);
  const total = scores.reduce((sum, { nll }, i) => sum + nll * (items[i]?.target.length ?? 0), 0);
  return tokens === 0 ? undefined : Math.exp(total / tokens);
}

/** Of the facts of one file, so many may fall before it is told. */
const FALLEN_SHARE = 0.05;

/** It was the likeliest and no longer is, or has less than half of its probability. */
function hasFallen(then: Score, now: Score): boolean {
  const isFirst = ({ hits, predicted }: Score): boolean => hits === predicted.length;
  return (isFirst(then) && !isFirst(now)) || (then.nll - now.nll) * now.predicted.length < Math.log(0.5);
}

function meanLogprob(scores: readonly Score[]): number {
  return -scores.reduce((sum, { nll }) => sum + nll, 0) / scores.length;
}

/**
 * Puts the edits of files into the model one after another, and asks for every target before, then and at the end: the
 * mean log-probability per token of each file.
 *
 * @param timed measures a phase
 */
export async function checkEdits(
  model: Model,
  edits: readonly { readonly id: string; readonly record: EditRecord | FactsRecord }[],
  timed: <T>(phase: 'check' | 'apply', work: () => Promise<T>) => Promise<T>,
) {
  const ask = ({ record }: (typeof edits)[number]): Promise<Score[]> =>
    timed('check', () => {
      const items = requestsOf(record).map(({ prompt, subject, targetIds }) => {
        const template = readTemplate(prompt, 'prompt', 'Make the edit again.');
        return { prompt: lookupSubject(model.tokenizer, template, subject).ids, target: targetIds };
      });
      return score(model, items);
    });
  const before: Score[][] = [];
  for (const edit of edits) before.push(await ask(edit));
  const applied: Score[][] = [];
  for (const edit of edits) {
    await timed('apply', () => applyEdits(model, updatesOf(edit.record)));
    applied.push(await ask(edit));
  }
  const checked = [];
  for (const [i, edit] of edits.entries()) {
    const [was = [], then = [], now] = [before[i], applied[i], await ask(edit)];
    const fallen = then.filter((one, fact) => hasFallen(one, now[fact] as Score)).length;
    checked.push({
      id: edit.id,
      facts: now.length,
      before: meanLogprob(was),
      /** When this edit was the last one. */
      applied: meanLogprob(then),
      after: meanLogprob(now),
      /** Its target was the likeliest and no longer is, or has less than half of its probability; of many facts, more than 5 %. */
      fallen: fallen > FALLEN_SHARE * now.length,
      fallen_facts: fallen,
    });
  }
  return checked;
}
