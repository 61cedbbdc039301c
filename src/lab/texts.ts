/** Seeded texts from the model, and what is measured on them: how much they say, how close they are to others. */
import * as v from 'valibot';
import type { Fact } from '../data/fact.ts';
import { ModelError, UsageError } from '../errors.ts';
import { jsonFrom } from '../json.ts';
import { generate } from '../models/generate.ts';
import type { Model } from '../models/model.ts';
import { mean } from '../statistics.ts';

const TOP_K = 5;

/**
 * One text a prompt, the prompt included, each token drawn from the 5 most likely. The draws depend on the seed and the
 * prompt's place only, so that the texts of two methods differ by the methods alone.
 *
 * @param tokens of a text, its prompt included; published: 100
 * @returns undefined where the model has no finite logits any more
 */
export async function writeTexts(
  model: Model,
  prompts: readonly string[],
  { tokens, seed, signal }: { tokens: number; seed: number; signal?: AbortSignal | undefined },
): Promise<string[] | undefined> {
  if (prompts.length === 0) return [];
  const window = model.dims.context;
  const length = Math.min(tokens, window);
  const ids = prompts.map((prompt) => model.tokenizer.encode(prompt));
  const lengths = ids.map((row) => row.length);
  const wanted = Math.min(length - Math.min(...lengths), window - Math.max(...lengths));
  if (wanted <= 0) return [...prompts];
  try {
    const added = await generate(model, ids, { tokens: wanted, topK: TOP_K, seed, signal });
    return ids.map((row, b) => {
      const rest = (added[b] ?? []).slice(0, Math.max(0, length - row.length));
      return model.tokenizer.decode([...row, ...rest]);
    });
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

/**
 * GE × 100, as tables print it, and the normalised entropy of the words, 0 to 1. undefined where there are no texts; a model
 * without finite logits says nothing: 0.
 */
export function measureTexts(texts: readonly string[] | undefined) {
  if (!texts) return { GE: 0, entropy: 0 };
  const [ge, entropy] = [fluency(texts), normalisedEntropy(texts)];
  return ge === undefined || entropy === undefined ? undefined : { GE: 100 * ge, entropy };
}

/** H = −Σ p log₂ p over equal items, in bits; 0 for none. */
export function entropyBits(items: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / items.length) * Math.log2(count / items.length);
  return bits;
}

/**
 * GE, the fluency of texts: the mean over them of (2/3 · H₂ + 4/3 · H₃) / 2, where Hₙ is the entropy of the n-grams of
 * words. A text that repeats itself scores low.
 *
 * @returns undefined for no texts
 * @see Zhang et al. 2018; Meng et al. 2022, section 3.3; kmeng01/rome `n_gram_entropy`
 */
export function fluency(texts: readonly string[]): number | undefined {
  return mean(
    texts.map((text) => {
      const list = words(text);
      return ((2 / 3) * entropyBits(grams(list, 2)) + (4 / 3) * entropyBits(grams(list, 3))) / 2;
    }),
  );
}

/**
 * Entropy of the words of all texts together, over its greatest possible value log₂(distinct words): 0 to 1. The axis
 * of the paper's figures. Words here are cut at single blanks, lower case, without full stops, as published; the
 * published division by 0 at one distinct word is 0 here, since such a text says nothing.
 *
 * @see scalable-model-editing/rebuilding-rome `disable_edits_plots.py`
 */
export function normalisedEntropy(texts: readonly string[]): number | undefined {
  if (texts.length === 0) return undefined;
  const list = texts.flatMap((text) => text.toLowerCase().replaceAll('.', '').split(' '));
  const distinct = new Set(list).size;
  return distinct < 2 ? 0 : entropyBits(list) / Math.log2(distinct);
}

function grams(list: readonly string[], n: number): string[] {
  return list.slice(n - 1).map((_, i) => list.slice(i, i + n).join('\u0000'));
}

/** Words of two characters and more, lower case, as scikit-learn's vectoriser cuts them. */
function terms(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}_]{2,}/gu) ?? [];
}

/** idf of each term; terms that are not in it do not count. */
export type InverseFrequencies = ReadonlyMap<string, number>;

/** ln((1 + n) / (1 + df)) + 1 over n documents. */
export function inverseFrequencies(documents: readonly string[]): InverseFrequencies {
  const found = new Map<string, number>();
  for (const document of documents)
    for (const term of new Set(terms(document))) found.set(term, (found.get(term) ?? 0) + 1);
  return new Map([...found].map(([term, df]) => [term, Math.log((1 + documents.length) / (1 + df)) + 1]));
}

/**
 * RS, consistency: the cosine between the TF-IDF vectors of the joined generations and the joined reference texts.
 *
 * @returns 0 where they have no term in common, undefined where a side has no texts
 * @see Meng et al. 2022, section 3.3; kmeng01/rome `tfidf_similarity`
 */
export function consistency(
  texts: readonly string[],
  references: readonly string[],
  idf: InverseFrequencies,
): number | undefined {
  if (texts.length === 0 || references.length === 0) return undefined;
  const vector = (list: readonly string[]): Map<string, number> => {
    const weights = new Map<string, number>();
    for (const term of terms(list.join(' '))) {
      const weight = idf.get(term);
      if (weight !== undefined) weights.set(term, (weights.get(term) ?? 0) + weight);
    }
    return weights;
  };
  const [a, b] = [vector(texts), vector(references)];
  const norm = (v: Map<string, number>): number => Math.hypot(...v.values());
  let dot = 0;
  for (const [term, weight] of a) dot += weight * (b.get(term) ?? 0);
  return dot === 0 ? 0 : dot / (norm(a) * norm(b));
}

/**
 * Words as the fluency metric counts them: those of the Penn Treebank, which NLTK's `word_tokenize` follows.
 *
 * Punctuation stands alone, clitics come off ("do n't", "he 's"), a full stop comes off only at the end of a sentence.
 * Two differences from NLTK. Sentences end where Unicode says so (UAX #29), not where the trained Punkt model does, so
 * that "Dr. Smith" counts as an end here: one token more. Quotes stay as they are written, not `` and ''.
 *
 * @see Marcus et al. 1993; Robert MacIntyre's tokenizer.sed; nltk `NLTKWordTokenizer`
 */
export function words(text: string): string[] {
  return [...sentences.segment(text)].flatMap(({ segment }) => sentenceWords(segment));
}

const sentences = new Intl.Segmenter('en', { granularity: 'sentence' });

/** Always a word of its own: signs, brackets, all kinds of dashes and quotes, and runs of stops, dashes or backticks. */
const ALONE = /\.{2,}|--|''|`+|[;@#$%&?!*"[\](){}<>«»“”‘’„\u2012-\u2015]/gu;
/** A comma or colon is part of a number before a digit: 1,000. */
const SEPARATOR = /([:,])(?!\d)/g;
/** The last full stop, with the quotes and brackets that close after it. */
const FINAL_STOP = /(?<!\.)\.(?=[\])}>"'»”’ ]*$)/;
/** An opening single quote, not the apostrophe of a clitic that stands alone. */
const OPENING = /^'(?!(?:re|ve|ll|m|t|s|d|n)(?![\p{L}\p{N}_]))(?=[\p{L}\p{N}_])/iu;
const CLITIC = /^(.*[^'])('[smd]|'ll|'re|'ve|n't)$/is;
const CLOSING = /^(.*[^'])(')$/s;
/** Two words written as one: here with a blank where they part. */
const FUSED = ['can not', "d 'ye", 'gim me', 'gon na', 'got ta', 'lem me', "more 'n", 'wan na'];

export function sentenceWords(sentence: string): string[] {
  return sentence
    .trim()
    .replace(FINAL_STOP, ' . ')
    .replace(SEPARATOR, ' $1 ')
    .replace(ALONE, ' $& ')
    .split(/\s+/)
    .filter((word) => word !== '')
    .flatMap(splitWord);
}

function splitWord(word: string): string[] {
  const parted = FUSED.find((two) => two.replace(' ', '') === word.toLowerCase())?.indexOf(' ');
  if (parted !== undefined) return [word.slice(0, parted), word.slice(parted)];
  if (OPENING.test(word)) return ["'", ...splitWord(word.slice(1))];
  const [, quoted, quote] = CLOSING.exec(word) ?? [];
  if (quoted !== undefined && quote !== undefined) return [...splitWord(quoted), quote];
  const [, stem, clitic] = CLITIC.exec(word) ?? [];
  return stem !== undefined && clitic !== undefined ? [stem, clitic] : [word];
}

const REFERENCES = v.record(
  v.string(),
  v.record(v.string(), v.array(v.object({ text: v.optional(v.string()) }))),
);

/** Reference texts of a fact, and the weights of their terms. */
export type References = ReturnType<typeof readReferences>;

/**
 * ROME's file of texts about the objects: relation, then object, then texts.
 *
 * @throws UsageError saying what was found instead, and in what
 */
export function readReferences(content: string, name: string) {
  const fault = (found: string): UsageError =>
    new UsageError(`${name}: expected {relation: {object: [{"text"}]}}, found ${found}.`);
  const json = jsonFrom(content, fault);
  const { success, output, issues } = v.safeParse(REFERENCES, json, { abortEarly: true });
  if (!success) throw fault(`${issues[0].received} at ${v.getDotPath(issues[0])}`);
  // Relations and objects are named by the file: a record of either has `constructor` without being given it.
  const texts = new Map(
    Object.entries(output).flatMap(([relation, objects]) =>
      Object.entries(objects).map(([object, list]) => [
        JSON.stringify([relation, object]),
        list.flatMap(({ text: one }) => one ?? []),
      ]),
    ),
  );
  const idf = inverseFrequencies([...texts.values()].map((list) => list.join(' ')));
  const of = ({ relationId, targetNewId }: Fact): readonly string[] =>
    texts.get(JSON.stringify([relationId, targetNewId])) ?? [];
  return { idf, of };
}
