/**
 * The metrics of an edited fact, from the likelihood of the new and the true object after each prompt, and their means
 * over many facts.
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
import type { Fact } from '../data/fact.ts';
import { Random } from '../models/random.ts';
import { bootstrap, harmonicMean, mean, type Interval } from '../statistics.ts';
import type { Score } from './score.ts';

/** Both objects after one prompt; the true one is null where the data set names none. */
export interface Rivals {
  readonly new: Score;
  readonly true: Score | null;
}

/** Token accuracy of zsRE: a locality prompt with an answer of its own. */
export type TokenScore = Pick<Score, 'hits' | 'predicted'>;

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
export const TOKEN_METRICS = ['rewrite_acc', 'paraphrase_acc', 'locality_acc', 'locality_agreement'] as const;

export type CaseMetric = (typeof COMPARED)[number] | (typeof TOKEN_METRICS)[number];
export type CaseMetrics = Readonly<Partial<Record<CaseMetric, number>>>;

/** Strictly less, and false for NaN: a destroyed model succeeds in nothing. */
export function prefers(rivals: Rivals, winner: 'new' | 'true'): boolean {
  if (!rivals.true) return false;
  return winner === 'new' ? rivals.new.nll < rivals.true.nll : rivals.true.nll < rivals.new.nll;
}

/** The fact is as it was edited: the new object beats the true one; without a true one, it is the arg-max. */
export function holds(rivals: Rivals): boolean {
  return rivals.true ? prefers(rivals, 'new') : allFirst(rivals.new);
}

/** Per token; the true one null where there is none. */
export function logprobs(rivals: Rivals) {
  return { target_logprob: -rivals.new.nll, true_logprob: rivals.true && -rivals.true.nll };
}

/** @param before the unedited model's scores, for the agreement of locality answers */
export function caseMetrics(after: FactScores, before?: FactScores): CaseMetrics {
  const { rewrite, paraphrase, neighborhood, tokens, locality } = after;
  const share = <T>(list: readonly T[], of: (one: T) => boolean | number): number | undefined =>
    mean(list.map((one) => Number(of(one))));
  const compared = {
    ES: Number(prefers(rewrite, 'new')),
    PS: share(paraphrase, (rivals) => prefers(rivals, 'new')),
    NS: share(neighborhood, (rivals) => prefers(rivals, 'true')),
    ES_diff: difference(rewrite),
    PS_diff: share(paraphrase, difference),
    NS_diff: share(neighborhood, (rivals) => -difference(rivals)),
    NM: share(neighborhood, (rivals) => allFirst(rivals.true)),
  };
  const found: Partial<Record<CaseMetric, number | undefined>> = {
    ...(rewrite.true && compared),
    EM: Number(allFirst(rewrite.new)),
    PM: share(paraphrase, (rivals) => allFirst(rivals.new)),
    rewrite_acc: accuracy(tokens.rewrite),
    paraphrase_acc: share(tokens.paraphrase, accuracy),
    locality_acc: locality ? accuracy(locality) : undefined,
    locality_agreement: locality && before?.locality ? agreement(locality, before.locality) : undefined,
  };
  return given(found);
}

/** Measures of a case as it is summarised: its metrics, and of generated texts GE, RS and entropy. */
type Measure = CaseMetric | 'GE' | 'RS' | 'entropy';
type Measures = Readonly<Partial<Record<Measure, number | undefined>>>;

const MEASURES: readonly Measure[] = [...COMPARED, ...TOKEN_METRICS, 'GE', 'RS', 'entropy'];
/** Shares become percentages; GE is × 100 already, entropy stays 0 to 1. */
const scale = (name: Measure): number => (name === 'GE' || name === 'entropy' ? 1 : 100);

/** Percent, 0..100 (differences −100..100); a measure that no case has is absent. */
export type Averages = Readonly<Partial<Record<Measure | 'S', number>>>;

/** Averages, and their 95 % bootstrap intervals over cases. */
export type Summary = Averages & {
  readonly n: number;
  readonly interval: Readonly<Partial<Record<Measure | 'S', Interval>>>;
};

/** Means over cases of the means within each, as published, in percent; S is the harmonic mean of ES, PS and NS. */
export function averages(cases: readonly Measures[]): Averages {
  const values: Partial<Record<Measure | 'S', number | undefined>> = {};
  for (const name of MEASURES) {
    const value = mean(cases.flatMap((measures) => measures[name] ?? []));
    if (value !== undefined) values[name] = scale(name) * value;
  }
  return given({ ...values, S: harmonicMean([values.ES, values.PS, values.NS]) });
}

export function summarise(cases: readonly Measures[], seed: number): Summary {
  const drawn = (indices: readonly number[]): Averages => averages(indices.map((i) => cases[i] as Measures));
  const random = new Random(seed);
  const interval = cases.length === 0 ? {} : bootstrap<Measure | 'S'>(cases.length, drawn, { random });
  return { n: cases.length, ...averages(cases), interval };
}

/** Which measures these facts cannot have, and why, a sentence each; [] where they have all. */
export function missingMeasures(
  facts: readonly Pick<Fact, 'targetTrue' | 'paraphrases' | 'neighbours'>[],
): string[] {
  const none = (has: (fact: (typeof facts)[number]) => boolean): boolean => !facts.some(has);
  const reasons: string[] = [];
  if (none(({ targetTrue }) => targetTrue !== null))
    reasons.push(
      'ES, PS, NS and S are missing: no record names a true object to compare with. EM says by arg-max how many edits took.',
    );
  if (none(({ paraphrases }) => paraphrases.length > 0))
    reasons.push('PS and PM are missing: no record has paraphrases.');
  if (none(({ neighbours }) => neighbours.length > 0))
    reasons.push(
      'NS and NM are missing: no record has neighbours, prompts on other subjects whose answer shall stay.',
    );
  return reasons;
}

function difference({ new: written, true: old }: Rivals): number {
  return old ? Math.exp(-written.nll) - Math.exp(-old.nll) : NaN;
}

function allFirst(score: Score | null): boolean {
  return score !== null && score.hits === score.predicted.length;
}

function accuracy({ hits, predicted }: TokenScore): number {
  return hits / predicted.length;
}

function agreement(after: TokenScore, before: TokenScore): number | undefined {
  return mean(after.predicted.map((id, t) => Number(id === before.predicted[t])));
}

function given<K extends string>(found: Partial<Record<K, number | undefined>>): Partial<Record<K, number>> {
  const entries = Object.entries<number | undefined>(found).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<Record<K, number>>;
}
