/**
 * The metrics of an edited fact, from the likelihood of the new and the true object after each prompt.
 *
 *   by comparison   ES, PS: NLL(new) < NLL(true) after the prompt, after its paraphrases; NS: the reverse after the
 *                   neighbours. S: their harmonic mean. *_diff: exp(−NLL(new)) − exp(−NLL(true)), the reverse for NS
 *   by arg-max      EM, PM: the model puts every token of the new object first; NM: of the true one, after neighbours
 *
 * NLL is the mean over an object's tokens, so that long objects compare with short ones. Equal is not less: a tie is
 * no success. The two families cannot be compared with each other, and every output says which is which.
 *
 * Source: Meng et al. 2022, section 3.3; kmeng01/rome `eval_utils_counterfact`; the arg-max family as in
 * scalable-model-editing/unified-model-editing.
 */
import { Random } from '../models/random.ts';
import { bootstrap, harmonicMean, mean } from '../statistics.ts';
import type { Interval } from '../statistics.ts';
import type { Score } from './score.ts';

/** Both objects after one prompt; the true one is null where the data set names none. */
export interface Rivals {
  readonly new: Score;
  readonly true: Score | null;
}

/** Token accuracy of zsRE: a locality prompt with an answer of its own. */
export interface TokenScore {
  readonly hits: number;
  readonly tokens: number;
  readonly predicted: readonly number[];
}

export interface FactScores {
  readonly rewrite: Rivals;
  readonly paraphrase: readonly Rivals[];
  readonly neighborhood: readonly Rivals[];
  /** Tokens of the new object predicted after the prompt, and after its paraphrases. */
  readonly tokens: { readonly rewrite: TokenScore; readonly paraphrase: readonly TokenScore[] };
  readonly locality: TokenScore | null;
}

/** By comparison, by probability difference, by arg-max; each 0..1 a case, undefined where the record gives none. */
const COMPARED = ['ES', 'PS', 'NS', 'ES_diff', 'PS_diff', 'NS_diff', 'EM', 'PM', 'NM'] as const;
/** Of zsRE: share of target tokens predicted; `locality_agreement`: of those predicted as before the edit. */
const TOKEN_METRICS = ['rewrite_acc', 'paraphrase_acc', 'locality_acc', 'locality_agreement'] as const;

const NAMES = [...COMPARED, ...TOKEN_METRICS];

export type CaseMetric = (typeof COMPARED)[number] | (typeof TOKEN_METRICS)[number];
export type CaseMetrics = Readonly<Partial<Record<CaseMetric, number>>>;

/** Strictly less, and false for NaN: a destroyed model succeeds in nothing. */
export function prefers(rivals: Rivals, winner: 'new' | 'true'): boolean {
  if (!rivals.true) return false;
  return winner === 'new' ? rivals.new.nll < rivals.true.nll : rivals.true.nll < rivals.new.nll;
}

/** @param before the unedited model's scores, for the agreement of locality answers */
export function caseMetrics(after: FactScores, before?: FactScores): CaseMetrics {
  const { rewrite, paraphrase, neighborhood, tokens, locality } = after;
  const compared = rewrite.true !== null;
  const found: Partial<Record<CaseMetric, number | undefined>> = {
    ...(compared
      ? {
          ES: Number(prefers(rewrite, 'new')),
          PS: mean(paraphrase.map((rivals) => Number(prefers(rivals, 'new')))),
          NS: mean(neighborhood.map((rivals) => Number(prefers(rivals, 'true')))),
          ES_diff: difference(rewrite),
          PS_diff: mean(paraphrase.map(difference)),
          NS_diff: mean(neighborhood.map((rivals) => -difference(rivals))),
          NM: mean(neighborhood.map((rivals) => Number(allFirst(rivals.true)))),
        }
      : {}),
    EM: Number(allFirst(rewrite.new)),
    PM: mean(paraphrase.map((rivals) => Number(allFirst(rivals.new)))),
    rewrite_acc: accuracy(tokens.rewrite),
    paraphrase_acc: mean(tokens.paraphrase.map(accuracy)),
    ...(locality
      ? { locality_acc: accuracy(locality), locality_agreement: agreement(locality, before?.locality) }
      : {}),
  };
  const given = Object.entries(found).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as CaseMetrics;
}

export interface Summary {
  readonly n: number;
  /** Percent, 0..100 (differences −100..100); a metric that no case has is absent. */
  readonly values: Readonly<Partial<Record<CaseMetric | 'S', number>>>;
  /** 95 % bootstrap intervals over cases. */
  readonly interval: Readonly<Partial<Record<CaseMetric | 'S', Interval>>>;
}

/** Means over cases of the means within each, as published, in percent; S is the harmonic mean of ES, PS and NS. */
export function averages(cases: readonly CaseMetrics[]): Summary['values'] {
  const values: Partial<Record<CaseMetric | 'S', number>> = {};
  for (const name of NAMES) {
    const value = mean(cases.flatMap((metrics) => metrics[name] ?? []));
    if (value !== undefined) values[name] = 100 * value;
  }
  const S = harmonicMean([values.ES, values.PS, values.NS]);
  return S === undefined ? values : { ...values, S };
}

/** Averages with their bootstrap intervals. */
export function summarise(cases: readonly CaseMetrics[], seed: number): Summary {
  if (cases.length === 0) return { n: 0, values: {}, interval: {} };
  const drawn = (indices: readonly number[]): Summary['values'] =>
    averages(indices.map((i) => cases[i] as CaseMetrics));
  return {
    n: cases.length,
    values: averages(cases),
    interval: bootstrap<CaseMetric | 'S'>(cases.length, drawn, { random: new Random(seed) }),
  };
}

function difference({ new: written, true: old }: Rivals): number {
  return old ? Math.exp(-written.nll) - Math.exp(-old.nll) : NaN;
}

function allFirst(score: Score | null): boolean {
  return score !== null && score.hits === score.predicted.length;
}

function accuracy({ hits, tokens }: TokenScore): number {
  return hits / tokens;
}

function agreement(after: TokenScore, before: TokenScore | null | undefined): number | undefined {
  if (!before) return undefined;
  return mean(after.predicted.map((id, t) => Number(id === before.predicted[t])));
}
