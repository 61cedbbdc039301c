/**
 * `tokenizer.json` taken apart and checked: byte-level BPE (GPT-2, GPT-J, NeoX, Llama 3, Qwen, SmolLM2) and SentencePiece's
 * BPE with bytes to fall back on (Llama 2, Mistral). A step of another kind would change ids or spans without a word.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { ModelError } from '../errors.ts';
import { isRecord } from '../json.ts';
import type { AddedToken } from './added-tokens.ts';
import { type Alphabet, LETTERS, VISIBLE_BYTES, byteToken } from './alphabet.ts';
import type { Merge } from './long-word.ts';
import { type Cut, cutAsGpt2, cutAtBlanks, cutBy, cutDigits, inTurn } from './words.ts';

type JsonObject = Record<string, unknown>;

/** What a tokenizer does, step by step. */
export interface TokenizerParts {
  readonly alphabet: Alphabet;
  readonly vocabulary: readonly (readonly [token: string, id: number])[];
  readonly added: readonly AddedToken[];
  /** Of a section between added tokens; `first` where the text begins with it. */
  readonly normalise: (section: string, first: boolean) => string;
  readonly cut: Cut;
  readonly merge: Merge;
  /** Tokens that stand before every text: BOS, or nothing. */
  readonly before: readonly string[];
  /** Normalisation puts a blank in front of a text, and decoding takes it away. */
  readonly blankInFront: boolean;
}

/** A longer token is no token: a word of 30 MB would make every later step as large. */
const LONGEST_TOKEN = 4096;

function refuse(where: string, expected: string, found: unknown): never {
  const shown = JSON.stringify(found) ?? 'nothing';
  throw new ModelError(
    `${where}: expected ${expected}, found ${shown.slice(0, 80)}. Use the model's own files, of a tokenizer as GPT-2, GPT-J, Pythia, Llama, Mistral or Qwen have it.`,
    'bad_tokenizer',
  );
}

/** @throws ModelError naming the field, what was expected and what came */
export function readTokenizerFile(file: unknown, config: unknown): TokenizerParts {
  if (!isRecord(file)) refuse('tokenizer.json', 'an object', file);
  if (!isRecord(config)) refuse('tokenizer_config.json', 'an object', config);
  const model = checkModel(file.model);
  const steps = preTokenizers(file.pre_tokenizer ?? null);
  const byteLevel = steps.some(({ type }) => type === 'ByteLevel');
  // Hugging Face lets this file overrule tokenizer.json.
  if (byteLevel && config.add_prefix_space === true)
    refuse('tokenizer_config.json: add_prefix_space', 'false', true);
  const vocabulary = Object.entries(model.vocab as JsonObject).map(
    ([token, id]) => [token, checkToken('tokenizer.json: model.vocab', token, id)] as const,
  );
  const added = readAdded(file.added_tokens ?? []);
  if (!byteLevel) checkFallback(model, vocabulary);
  const blankInFront = checkDecoder(file.decoder, byteLevel);
  const library = openLibrary({ ...file, model }, config);
  const { normalizer, model: bpe, post_processor: post } = library;
  if (!bpe) refuse('tokenizer.json: model', 'type BPE', null);

  const metaspace = steps.find(({ type }) => type === 'Metaspace');
  const words = new Set(vocabulary.map(([token]) => token));
  const wholeFirst = model.ignore_merges === true;
  return {
    alphabet: byteLevel ? VISIBLE_BYTES : LETTERS,
    vocabulary,
    added,
    blankInFront,
    normalise: (section, first) => {
      const text = normalizer ? normalizer.normalize(section) : section;
      return metaspace ? asMetaspace(text, metaspace, first) : text;
    },
    cut: readCut(steps, model.merges as Merges),
    // Not the library's `encode`, which falls back on bytes: tokens that join to the word are what spans are made of.
    merge: (word) => (wholeFirst && words.has(word) ? [word] : (bpe as unknown as { bpe: Merge }).bpe(word)),
    before: post ? specialTokens(post) : [],
  };
}

type Merges = readonly (string | readonly [string, string])[];

function openLibrary(file: JsonObject, config: JsonObject): HuggingFaceTokenizer {
  const { normalizer = null, post_processor = null, decoder = null } = file;
  try {
    // Neither added tokens nor words: of both it would build tables of its own.
    const parts = { normalizer, post_processor, decoder, pre_tokenizer: null, added_tokens: [] };
    return new HuggingFaceTokenizer({ model: file.model, ...parts }, config);
  } catch (error) {
    refuse('tokenizer.json', 'a normalizer and a post_processor that are known', (error as Error).message);
  }
}

function checkModel(model: unknown): JsonObject {
  const where = 'tokenizer.json: model';
  if (!isRecord(model) || (model.type ?? 'BPE') !== 'BPE')
    refuse(where, 'type BPE', isRecord(model) ? model.type : model);
  for (const field of ['continuing_subword_prefix', 'end_of_word_suffix'] as const)
    if ((model[field] ?? '') !== '') refuse(`${where}.${field}`, 'null', model[field]);
  if (!isRecord(model.vocab)) refuse(`${where}.vocab`, 'an object of token: id', model.vocab);
  if (!Array.isArray(model.merges)) refuse(`${where}.merges`, 'an array', model.merges);
  const isPair = (merge: unknown): boolean =>
    typeof merge === 'string'
      ? merge.includes(' ')
      : Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string');
  const at = model.merges.findIndex((merge: unknown) => !isPair(merge));
  if (at >= 0) refuse(`${where}.merges[${at}]`, 'two tokens', model.merges[at]);
  return { ...model, type: 'BPE' };
}

function checkToken(where: string, token: string, id: unknown): number {
  if (token.length > LONGEST_TOKEN)
    refuse(
      `${where}[${JSON.stringify(token.slice(0, 40))}…]`,
      `at most ${LONGEST_TOKEN} characters`,
      token.length,
    );
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < 2 ** 24) return id;
  refuse(`${where}[${JSON.stringify(token.slice(0, 40))}]`, 'an id from 0', id);
}

function readAdded(list: unknown): AddedToken[] {
  const where = 'tokenizer.json: added_tokens';
  if (!Array.isArray(list)) refuse(where, 'an array', list);
  return list.map((entry: unknown) => {
    if (!isRecord(entry) || typeof entry.content !== 'string' || entry.content === '')
      refuse(where, 'objects with content and id', entry);
    const { content, id, special = false, normalized = !special } = entry;
    const { lstrip = false, rstrip = false, single_word = false } = entry;
    const flags = { special, normalized, lstrip, rstrip, single_word };
    for (const [name, flag] of Object.entries(flags))
      if (typeof flag !== 'boolean')
        refuse(`${where}: ${content.slice(0, 40)}: ${name}`, 'true or false', flag);
    if (single_word === true) refuse(`${where}: ${content.slice(0, 40)}: single_word`, 'false', true);
    return { ...flags, content, id: checkToken(where, content, id) } as AddedToken;
  });
}

/** All 256 bytes, so that every text has ids. */
function checkFallback(model: JsonObject, vocabulary: readonly (readonly [string, number])[]): void {
  if (model.byte_fallback !== true)
    refuse(
      'tokenizer.json: pre_tokenizer or model.byte_fallback',
      'type ByteLevel, or true',
      model.byte_fallback,
    );
  const known = new Set(vocabulary.map(([token]) => token));
  const missing = Array.from({ length: 256 }, (_, byte) => byteToken(byte)).find(
    (token) => !known.has(token),
  );
  if (missing !== undefined) refuse('tokenizer.json: model.vocab', `the token ${missing}`, undefined);
}

/** The pre-tokenizers in order; none are an empty list. */
function preTokenizers(json: unknown): JsonObject[] {
  const where = 'tokenizer.json: pre_tokenizer';
  if (json === null) return [];
  if (!isRecord(json)) refuse(where, 'an object', json);
  if (json.type !== 'Sequence') return [json];
  const { pretokenizers: list } = json;
  if (!Array.isArray(list) || !list.every(isRecord))
    refuse(`${where}.pretokenizers`, 'a list of objects', list);
  return list;
}

function readCut(steps: readonly JsonObject[], merges: Merges): Cut {
  const where = 'tokenizer.json: pre_tokenizer';
  const cuts = steps.flatMap((step): Cut[] => {
    const { type } = step;
    if (type === 'ByteLevel') {
      if (step.add_prefix_space === true) refuse(`${where}.add_prefix_space`, 'false', true);
      return step.use_regex === false ? [] : [cutAsGpt2()];
    }
    if (type === 'Digits') return [cutDigits(step.individual_digits === true)];
    if (type === 'Metaspace') return step.split === false ? [] : [cutAtBlanks()];
    if (type !== 'Split') return refuse(where, 'type ByteLevel, Split, Digits or Metaspace', type);
    const pattern = isRecord(step.pattern) ? step.pattern.Regex : undefined;
    if (typeof pattern !== 'string') refuse(`${where}.pattern`, 'a Regex', step.pattern);
    if (step.behavior !== 'Isolated') refuse(`${where}.behavior`, '"Isolated"', step.behavior);
    // A pattern that shall be inverted cuts out what it matches, and for isolated words that is the same.
    try {
      return [cutBy(pattern)];
    } catch (error) {
      return refuse(`${where}.pattern`, 'a pattern that is understood', (error as Error).message);
    }
  });
  // Where no merge goes from a letter over to a blank, words are what the whole text would be merged to, and are remembered.
  const crosses = (merge: Merges[number]): boolean => {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge;
    return !/^▁*$/.test(left ?? '') && (right ?? '').startsWith('▁');
  };
  if (cuts.length === 0 && steps.every(({ type }) => type !== 'ByteLevel') && !merges.some(crosses))
    cuts.push(cutAtBlanks());
  return inTurn(cuts);
}

function asMetaspace(
  text: string,
  { prepend_scheme: scheme = 'always' }: JsonObject,
  first: boolean,
): string {
  const written = text.replaceAll(' ', '▁');
  const prepends = scheme === 'always' || (scheme === 'first' && first);
  return prepends && written !== '' && !written.startsWith('▁') ? `▁${written}` : written;
}

/** Whether decoding drops a blank in front. */
function checkDecoder(decoder: unknown, byteLevel: boolean): boolean {
  const where = 'tokenizer.json: decoder';
  if (!isRecord(decoder)) refuse(where, 'an object', decoder);
  const steps = decoder.type === 'Sequence' && Array.isArray(decoder.decoders) ? decoder.decoders : [decoder];
  const known = byteLevel ? ['ByteLevel'] : ['Replace', 'ByteFallback', 'Fuse', 'Strip', 'Metaspace'];
  let strips = false;
  for (const step of steps as unknown[]) {
    const type = isRecord(step) ? step.type : step;
    if (!isRecord(step) || !known.includes(String(type))) refuse(where, `type ${known.join(', ')}`, type);
    strips ||=
      (type === 'Strip' && Number(step.start) > 0) ||
      (type === 'Metaspace' && step.prepend_scheme !== 'never');
  }
  return strips;
}

/** @throws ModelError when it puts tokens behind a text, or asks for what it cannot have */
function specialTokens(post: NonNullable<HuggingFaceTokenizer['post_processor']>): string[] {
  const where = 'tokenizer.json: post_processor';
  const TEXT = '\u0000text';
  let tokens: readonly string[] = [];
  try {
    ({ tokens } = post.post_process([TEXT]) as { tokens: readonly string[] });
  } catch (error) {
    refuse(where, 'a template of tokens', (error as Error).message);
  }
  const at = tokens.indexOf(TEXT);
  if (at !== tokens.length - 1)
    refuse(
      where,
      'tokens before a text alone',
      tokens.map((t) => (t === TEXT ? '$A' : t)),
    );
  return tokens.slice(0, at);
}
