/**
 * What is asked of a model about a fact, as continuations to score; the answers put back in their places, and listed; and
 * what it writes by itself.
 */
import type { Fact } from '../data/fact.ts';
import { generate } from '../models/generate.ts';
import type { Model } from '../models/model.ts';
import type { Tokenizer } from '../models/tokenizer.ts';
import { sentence } from '../edit/template.ts';
import { mean } from '../statistics.ts';
import { holds, logprobs, prefers, type FactScores, type Rivals, type TokenScore } from './metrics.ts';
import { checkContinuation, score, type Continuation, type Score } from './score.ts';

/**
 * Scores facts on the model's current weights, all of their prompts together.
 *
 * @throws UsageError when a prompt exceeds the context window
 */
export async function scoreFacts(model: Model, facts: readonly Fact[]): Promise<FactScores[]> {
  const items: Continuation[] = [];
  const readers = facts.map((fact) => ask(model.tokenizer, fact, (list) => items.push(...list)));
  const scores = await score(model, items);
  let at = 0;
  const take = (): Score => scores[at++] as Score;
  return readers.map((reader) => reader(take));
}

/** Both objects of each fact after its own prompt: whether it holds, and nothing else. */
export async function scoreRewrites(model: Model, facts: readonly Fact[]): Promise<Rivals[]> {
  const alone = facts.map((fact) => ({ ...fact, paraphrases: [], neighbours: [], locality: null }));
  return (await scoreFacts(model, alone)).map(({ rewrite }) => rewrite);
}

/** @throws UsageError naming the first prompt of a fact that is empty, or too long with its answer */
export function checkProbes({ tokenizer, dims }: Model, fact: Fact): void {
  const { targetNew, targetTrue, paraphrases, neighbours, locality } = fact;
  const answers = targetTrue === null ? [targetNew] : [targetNew, targetTrue];
  const check = (name: string, prompt: string, targets: readonly string[]): void => {
    for (const target of targets)
      checkContinuation(tokenizer.encodeTarget(prompt, target), dims.context, name);
  };
  check('the prompt', sentence(fact), answers);
  paraphrases.forEach((prompt, i) => check(`paraphrase ${i}`, prompt, answers));
  neighbours.forEach((prompt, i) => check(`neighbour ${i}`, prompt, answers));
  if (locality) check('the unrelated prompt', locality.prompt, [locality.answer]);
}

/** Adds a fact's items, and returns what reads their scores in the same order. */
function ask(
  tokenizer: Tokenizer,
  fact: Fact,
  add: (items: Continuation[]) => void,
): (take: () => Score) => FactScores {
  const { targetNew, targetTrue, paraphrases, neighbours, locality } = fact;
  const rivals = (prompt: string): ((take: () => Score) => Rivals) => {
    add([tokenizer.encodeTarget(prompt, targetNew)]);
    if (targetTrue !== null) add([tokenizer.encodeTarget(prompt, targetTrue)]);
    return (take) => ({ new: take(), true: targetTrue === null ? null : take() });
  };
  const tokens = (prompt: string, answer: string): ((take: () => Score) => TokenScore) => {
    const items = tokenByToken(tokenizer, prompt, answer);
    add(items);
    return (take) => {
      const scores = items.map(take);
      const hits = scores.reduce((sum, { hits }) => sum + hits, 0);
      return { hits, predicted: scores.flatMap(({ predicted }) => predicted) };
    };
  };
  const prompt = sentence(fact);
  const rewrite = rivals(prompt);
  const paraphrase = paraphrases.map(rivals);
  const neighborhood = neighbours.map(rivals);
  const rewriteTokens = tokens(prompt, targetNew);
  const paraphraseTokens = paraphrases.map((text) => tokens(text, targetNew));
  const local = locality && tokens(locality.prompt, locality.answer);
  return (take) => ({
    rewrite: rewrite(take),
    paraphrase: paraphrase.map((read) => read(take)),
    neighborhood: neighborhood.map((read) => read(take)),
    tokens: { rewrite: rewriteTokens(take), paraphrase: paraphraseTokens.map((read) => read(take)) },
    locality: local && local(take),
  });
}

/** One prompt with what came of it, as people and scripts read it; log-probabilities are per token. */
export interface PromptRow {
  readonly kind: 'rewrite' | 'paraphrase' | 'neighbourhood';
  readonly prompt: string;
  readonly target_logprob: number;
  /** null where the record names no true object. */
  readonly true_logprob: number | null;
  /** Which of both is likelier; without a true object, whether the new one is the arg-max; null for neither. */
  readonly won: 'target' | 'true' | null;
  /** The token that the model puts first. */
  readonly says: string;
}

/** A row a prompt of the fact: the rewrite, its paraphrases, its neighbours. */
export function promptRows(model: Model, fact: Fact, scores: FactScores): PromptRow[] {
  const row =
    (kind: PromptRow['kind'], prompts: readonly string[]) =>
    (rivals: Rivals, i: number): PromptRow => ({
      kind,
      prompt: prompts[i] ?? '',
      ...logprobs(rivals),
      won: holds(rivals) ? 'target' : prefers(rivals, 'true') ? 'true' : null,
      says: model.tokenizer.decodeAfter(rivals.new.predicted.slice(0, 1)),
    });
  return [
    ...[scores.rewrite].map(row('rewrite', [sentence(fact)])),
    ...scores.paraphrase.map(row('paraphrase', fact.paraphrases)),
    ...scores.neighborhood.map(row('neighbourhood', fact.neighbours)),
  ];
}

/**
 * zsRE's way to ask: after the prompt and the first i tokens of " answer", decoded and tokenised anew, which token comes
 * first? Nearly always the tokens of the whole; where a cut word has other tokens, this is what was published.
 *
 * @see kmeng01/rome `eval_utils_zsre`
 */
function tokenByToken(tokenizer: Tokenizer, prompt: string, answer: string): Continuation[] {
  const ids = tokenizer.encodeTarget(prompt, answer).target;
  return ids.map((id, i) => ({
    prompt: tokenizer.encode(prompt + tokenizer.decodeAfter(ids.slice(0, i))),
    target: [id],
  }));
}

/** Rows that write at a time. */
const WRITERS = 64;

/** Of each fact the share of its prompt and paraphrases whose greedy continuation names the new object first. */
export async function writeFreely(
  model: Model,
  facts: readonly Fact[],
  tokens: number,
  signal?: AbortSignal,
): Promise<number[]> {
  const { tokenizer, dims } = model;
  const rows = facts.flatMap((fact, i) =>
    [sentence(fact), ...fact.paraphrases].flatMap((text) => {
      const ids = tokenizer.encode(text);
      return ids.length + tokens <= dims.context ? [{ fact, i, ids }] : []; // no room to write
    }),
  );
  const hits = facts.map(() => [] as number[]);
  for (let from = 0; from < rows.length; from += WRITERS) {
    const group = rows.slice(from, from + WRITERS);
    const prompts = group.map(({ ids }) => ids);
    const added = await generate(model, prompts, { tokens, topK: 1, seed: 0, signal });
    group.forEach(({ fact, i }, b) => hits[i]?.push(Number(names(tokenizer.decode(added[b] ?? []), fact))));
  }
  return hits.map((list) => mean(list) ?? NaN);
}

/** The new object stands in the text as a word, and the true one not before it. */
export function names(text: string, { targetNew, targetTrue }: Pick<Fact, 'targetNew' | 'targetTrue'>) {
  const at = placeOf(text, targetNew);
  const rival = targetTrue === null ? -1 : placeOf(text, targetTrue);
  return at >= 0 && (rival < 0 || at <= rival);
}

function placeOf(text: string, word: string): number {
  const escaped = word.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return text.search(new RegExp(`(?<![\\p{L}\\p{N}])${escaped}(?![\\p{L}\\p{N}])`, 'iu'));
}
