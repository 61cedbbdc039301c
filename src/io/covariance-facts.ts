/**
 * What a second moment is of: everything that changes its numbers, all of it readable in the file's metadata.
 *
 * The key of a file is the hash of the facts that are known before a build begins; tokens and documents follow from them.
 */
import { createHash } from 'node:crypto';

/** Goes up whenever the same text through the same model would be summed differently. */
export const COVARIANCE_VERSION = 1;

/** Shards `indices` of `of`, sorted; a whole corpus has none. */
export interface Shards {
  readonly indices: readonly number[];
  readonly of: number;
}

/** Known before a build begins. */
export interface CovarianceIdentity {
  /** Hash of the weights that the keys of this layer depend on, and of nothing else. */
  readonly weights: string;
  /** How the matrices were stored while it ran; arithmetic is f32 either way. */
  readonly storage: string;
  /** Hash of `tokenizer.json`. */
  readonly tokenizer: string;
  readonly layer: number;
  /** F. */
  readonly size: number;
  /** Hash of the corpus' content, and of how it is cut into documents. */
  readonly corpus: string;
  /** Tokens asked for; absent: the whole corpus. With shards, those of this part. */
  readonly wanted?: number | undefined;
  /** Documents are cut to so many tokens. */
  readonly context: number;
  readonly shards?: Shards | undefined;
}

/** What stands in the metadata of a file. */
export interface CovarianceFacts extends CovarianceIdentity {
  /** What the user called the model. */
  readonly model: string;
  /** sha256 of the model's weights file. */
  readonly modelSha256: string;
  /** What the user called the corpus. */
  readonly corpusName: string;
  readonly tokens: number;
  readonly documents: number;
  /** Documents cut to the context window, or at the last token wanted. */
  readonly cut: number;
  /** Empty documents, left out. */
  readonly empty: number;
  /** Documents with bytes that are no UTF-8. */
  readonly invalid: number;
}

/** The first 16 hex digits of the hash of all fields of the identity, in a fixed order. */
export function covarianceKey(identity: CovarianceIdentity): string {
  const { weights, storage, tokenizer, layer, size, corpus, wanted, context, shards } = identity;
  const part = shards ? [shards.indices, shards.of] : null;
  return shortHash([
    COVARIANCE_VERSION,
    weights,
    storage,
    tokenizer,
    layer,
    size,
    corpus,
    wanted ?? null,
    context,
    part,
  ]);
}

/** The key of an unfinished build: of all its layers, and whatever the number of tokens wanted. */
export function buildKey(identities: readonly CovarianceIdentity[]): string {
  return shortHash(identities.map((identity) => covarianceKey({ ...identity, wanted: undefined })));
}

function shortHash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

/** `0, 2 of 4`, or the empty string for a whole corpus. */
export function formatShards(shards: Shards | undefined): string {
  return shards ? `${shards.indices.join(', ')} of ${shards.of}` : '';
}

/** The inverse of `formatShards`; null when the text is not one. */
export function parseShards(text: string): Shards | undefined | null {
  if (text === '') return undefined;
  const match = /^(\d+(?:, \d+)*) of (\d+)$/.exec(text);
  if (!match) return null;
  return { indices: (match[1] as string).split(', ').map(Number), of: Number(match[2]) };
}

/** `layer-1.KEY.safetensors`, or `layer-1.part-0-of-4.KEY.safetensors`. */
export function covarianceFileName(identity: CovarianceIdentity): string {
  const { shards, layer } = identity;
  const part = shards ? `part-${formatShards(shards).replaceAll(', ', '+').replaceAll(' ', '-')}.` : '';
  return `layer-${layer}.${part}${covarianceKey(identity)}.safetensors`;
}

type Field = keyof CovarianceFacts;

const TEXTS = [
  'model',
  'modelSha256',
  'weights',
  'storage',
  'tokenizer',
  'corpusName',
  'corpus',
] as const satisfies readonly Field[];
const NUMBERS = [
  'layer',
  'size',
  'context',
  'tokens',
  'documents',
  'cut',
  'empty',
  'invalid',
] as const satisfies readonly Field[];

/** Names in the file, for people who read it with other tools. */
const NAMES: Readonly<Record<(typeof TEXTS)[number] | (typeof NUMBERS)[number], string>> = {
  model: 'model',
  modelSha256: 'model_sha256',
  weights: 'weights_sha256',
  storage: 'weights_stored_as',
  tokenizer: 'tokenizer_sha256',
  layer: 'layer',
  size: 'size',
  corpusName: 'corpus',
  corpus: 'corpus_sha256',
  context: 'context_length',
  tokens: 'tokens',
  documents: 'documents',
  cut: 'documents_cut',
  empty: 'documents_empty',
  invalid: 'documents_invalid_utf8',
};

export function toMetadata(facts: CovarianceFacts): Record<string, string> {
  const metadata: Record<string, string> = {};
  for (const field of [...TEXTS, ...NUMBERS]) metadata[NAMES[field]] = String(facts[field]);
  metadata['tokens_wanted'] = facts.wanted === undefined ? 'all' : String(facts.wanted);
  metadata['shards'] = formatShards(facts.shards);
  return metadata;
}

/** @throws whatever `fault` makes of the field that is missing or malformed */
export function fromMetadata(
  metadata: Readonly<Record<string, string>>,
  fault: (what: string) => Error,
): CovarianceFacts {
  const text = (name: string): string => {
    const value = metadata[name];
    if (value === undefined) throw fault(`expected "${name}" in its metadata, it has none`);
    return value;
  };
  const count = (name: string): number => {
    const value = text(name);
    if (!/^\d{1,15}$/.test(value))
      throw fault(`"${name}": expected a whole number, got ${JSON.stringify(value)}`);
    return Number(value);
  };
  const shards = parseShards(text('shards'));
  if (shards === null)
    throw fault(`"shards": expected such as "0, 2 of 4", got ${JSON.stringify(text('shards'))}`);
  return {
    ...(Object.fromEntries(TEXTS.map((field) => [field, text(NAMES[field])])) as Record<
      (typeof TEXTS)[number],
      string
    >),
    ...(Object.fromEntries(NUMBERS.map((field) => [field, count(NAMES[field])])) as Record<
      (typeof NUMBERS)[number],
      number
    >),
    wanted: text('tokens_wanted') === 'all' ? undefined : count('tokens_wanted'),
    shards,
  };
}
