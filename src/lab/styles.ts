/**
 * Why CounterFact has disabling edits and zsRE has none: the same facts written in other ways, and the size of each edit.
 *
 *   style    completion ("{} was created by") or question ("Who is the maker of {}?")
 *   target   new: the false object, unlikely before the edit; true: the one that the model holds already
 *
 * Rows are tidy, one a variant and method, with what else may matter beside: how many tokens the target has, how likely
 * it was, and whether the subject comes first, without the blank that it has in every context.
 */
import type { Fact } from '../data/fact.ts';
import { computeEdit } from '../edit/edit.ts';
import type { EditOptions } from '../edit/edit.ts';
import { THRESHOLDS, judge } from '../edit/guard.ts';
import type { Thresholds, Verdict } from '../edit/guard.ts';
import type { Method } from '../edit/method.ts';
import type { Model } from '../models/model.ts';
import { factPrompt } from './probes.ts';
import { questionOf } from './questions.ts';
import { continuation, score } from './score.ts';
import { quantile } from '../statistics.ts';

export type Style = 'completion' | 'question';

export interface StyleRow {
  readonly case_id: number;
  readonly source: Fact['source'];
  readonly style: Style;
  readonly target: 'new' | 'true';
  readonly prompt: string;
  readonly subject: string;
  readonly target_text: string;
  readonly target_tokens: number;
  /** Per token, before the edit: exp of the mean log-probability. */
  readonly probability: number;
  readonly subject_first: boolean;
  readonly method: Method;
  readonly update_norm: number;
  readonly normalised_update: number;
  readonly relative_update: number;
  readonly divisor: number;
  readonly cosine: number;
  readonly verdict: Verdict;
}

export interface StyleOptions {
  readonly methods: readonly Method[];
  readonly edit: Omit<EditOptions, 'methods' | 'signal'>;
  /** Which targets to write. Default new alone. */
  readonly targets?: readonly ('new' | 'true')[];
  readonly thresholds?: Thresholds;
  readonly onRow?: (row: StyleRow) => void;
  readonly signal?: AbortSignal;
}

interface Variant {
  readonly style: Style;
  readonly target: 'new' | 'true';
  readonly fact: Fact;
}

/** All ways in which a fact can be written: as it is, as a question where one is known, with either object. */
export function variantsOf(fact: Fact, targets: readonly ('new' | 'true')[] = ['new']): Variant[] {
  const asIs: Style = fact.prompt.trimEnd().endsWith('?') ? 'question' : 'completion';
  const question = asIs === 'completion' ? questionOf(fact.prompt) : undefined;
  const styles: [Style, string][] = [[asIs, fact.prompt]];
  if (question !== undefined) styles.push(['question', question]);
  return styles.flatMap(([style, prompt]) =>
    targets.flatMap((target): Variant[] => {
      const text = target === 'new' ? fact.targetNew : fact.targetTrue;
      return text === null ? [] : [{ style, target, fact: { ...fact, prompt, targetNew: text } }];
    }),
  );
}

/** Edits every variant of every fact on the unedited model; nothing is written to it. */
export async function compareStyles(
  model: Model,
  facts: readonly Fact[],
  { methods, edit, targets, thresholds = THRESHOLDS, onRow, signal }: StyleOptions,
): Promise<StyleRow[]> {
  const rows: StyleRow[] = [];
  for (const { style, target, fact } of facts.flatMap((one) => variantsOf(one, targets))) {
    const { prompt, subject, targetNew } = fact;
    const item = continuation(model.tokenizer, factPrompt(fact), targetNew);
    const [before] = await score(model, [item]);
    const request = { prompt, subject, target: targetNew };
    const { updates } = await computeEdit(model, request, {
      ...edit,
      methods,
      ...(signal ? { signal } : {}),
    });
    for (const update of updates.values()) {
      const row: StyleRow = {
        case_id: fact.caseId,
        source: fact.source,
        style,
        target,
        prompt,
        subject,
        target_text: targetNew,
        target_tokens: item.target.length,
        probability: Math.exp(-(before?.nll ?? NaN)),
        subject_first: prompt.startsWith('{}'),
        method: update.method,
        update_norm: update.updateNorm,
        normalised_update: update.normalisedUpdate,
        relative_update: update.relativeUpdate,
        divisor: update.divisor,
        cosine: update.cosine,
        verdict: judge(update.cosine, update.relativeUpdate, thresholds),
      };
      rows.push(row);
      onRow?.(row);
    }
  }
  return rows;
}

export interface StyleGroup {
  readonly group: string;
  readonly method: Method;
  readonly n: number;
  /** Of the paper's |Δ|. */
  readonly median: number;
  readonly p95: number;
  readonly most: number;
  /** Edits that are not `ok`. */
  readonly flagged: number;
  readonly disabling: number;
}

/** The paper's questions, each splitting the rows in two. */
export const SPLITS: Readonly<Record<string, (row: StyleRow) => string>> = {
  style: ({ style }) => style,
  tokens: ({ target_tokens }) => (target_tokens === 1 ? 'single-token target' : 'multi-token target'),
  // Below 1 %, the model would not have said it.
  probability: ({ probability }) => (probability < 0.01 ? 'unlikely target' : 'likely target'),
  subject: ({ subject_first }) => (subject_first ? 'subject first' : 'subject later'),
};

/** The distribution of |Δ| in each group, method by method. */
export function groupStyles(rows: readonly StyleRow[], split: (row: StyleRow) => string): StyleGroup[] {
  const groups = new Map<string, StyleRow[]>();
  for (const row of rows) {
    const key = `${row.method}\n${split(row)}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map((list) => {
    const [first] = list as [StyleRow];
    const sizes = list.map((row) => row.normalised_update).sort((a, b) => a - b);
    return {
      group: split(first),
      method: first.method,
      n: list.length,
      median: quantile(sizes, 0.5),
      p95: quantile(sizes, 0.95),
      most: sizes.at(-1) ?? NaN,
      flagged: list.filter(({ verdict }) => verdict !== 'ok').length,
      disabling: list.filter(({ verdict }) => verdict === 'disabling').length,
    };
  });
}
