import { ModelError } from '../errors.ts';

type JsonObject = Record<string, unknown>;

/** What the tokenizer needs of `tokenizer.json`, once it is known to be a byte-level BPE. */
export interface TokenizerFile {
  readonly file: JsonObject;
  readonly config: JsonObject;
  readonly vocabulary: readonly (readonly [token: string, id: number])[];
  readonly added: readonly { readonly content: string; readonly id: number }[];
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(where: string, expected: string, found: unknown): never {
  const shown = JSON.stringify(found) ?? 'nothing';
  throw new ModelError(
    `${where}: expected ${expected}, found ${shown.slice(0, 80)}. Only GPT-2's byte-level BPE is supported.`,
  );
}

/**
 * Checks that a `tokenizer.json` is a byte-level BPE as GPT-2's: every step of another kind would change ids or
 * break the byte spans without a word.
 *
 * @throws ModelError naming the field
 */
export function checkTokenizerFile(file: unknown, config: unknown): TokenizerFile {
  if (!isObject(file)) refuse('tokenizer.json', 'an object', file);
  if (!isObject(config)) refuse('tokenizer_config.json', 'an object', config);
  if ((file.normalizer ?? null) !== null) refuse('tokenizer.json: normalizer', 'null', file.normalizer);
  if (!isObject(file.decoder) || file.decoder.type !== 'ByteLevel') {
    refuse('tokenizer.json: decoder', 'type ByteLevel', file.decoder);
  }
  checkPreTokenizer(file.pre_tokenizer, config);
  return { file, config, vocabulary: readVocabulary(file.model), added: readAdded(file.added_tokens) };
}

function checkPreTokenizer(pre: unknown, config: JsonObject): void {
  const where = 'tokenizer.json: pre_tokenizer';
  if (!isObject(pre) || pre.type !== 'ByteLevel') refuse(where, 'type ByteLevel', pre);
  if (pre.use_regex === false) refuse(`${where}.use_regex`, 'true', pre.use_regex);
  if (pre.add_prefix_space === true) refuse(`${where}.add_prefix_space`, 'false', true);
  // Hugging Face lets this file overrule tokenizer.json.
  if (config.add_prefix_space === true) refuse('tokenizer_config.json: add_prefix_space', 'false', true);
}

function readVocabulary(model: unknown): (readonly [string, number])[] {
  const where = 'tokenizer.json: model';
  if (!isObject(model) || (model.type ?? 'BPE') !== 'BPE') {
    refuse(where, 'type BPE', isObject(model) ? model.type : model);
  }
  for (const field of ['continuing_subword_prefix', 'end_of_word_suffix'] as const) {
    if ((model[field] ?? '') !== '') refuse(`${where}.${field}`, 'null', model[field]);
  }
  if (model.byte_fallback === true) refuse(`${where}.byte_fallback`, 'false', true);
  if (!Array.isArray(model.merges)) refuse(`${where}.merges`, 'an array', model.merges);
  if (!isObject(model.vocab)) refuse(`${where}.vocab`, 'an object of token: id', model.vocab);
  return Object.entries(model.vocab).map(([token, id]) => [token, readId(`${where}.vocab`, token, id)]);
}

function readAdded(list: unknown): { content: string; id: number }[] {
  if (list === undefined || list === null) return [];
  const where = 'tokenizer.json: added_tokens';
  if (!Array.isArray(list)) refuse(where, 'an array', list);
  return list.map((entry: unknown) => {
    if (!isObject(entry) || typeof entry.content !== 'string' || entry.content === '') {
      refuse(where, 'objects with content and id', entry);
    }
    for (const flag of ['lstrip', 'rstrip', 'single_word'] as const) {
      if (entry[flag] === true) refuse(`${where}: ${entry.content}: ${flag}`, 'false', true);
    }
    return { content: entry.content, id: readId(where, entry.content, entry.id) };
  });
}

function readId(where: string, token: string, id: unknown): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < 2 ** 24) return id;
  refuse(`${where}[${JSON.stringify(token)}]`, 'an id from 0', id);
}
