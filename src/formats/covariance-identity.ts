/**
 * What a covariance is of, and what its file says of that.
 *
 * The key of a file is the hash of all that is known before a build begins and changes the numbers. The counts of
 * tokens and documents follow from it.
 */
import { sha256 } from './source.ts';

/** Goes up whenever the same text through the same model would be summed differently. */
export const VERSION = '1';

/** Shards `indices` of `of`, sorted; a whole corpus has none. */
export interface Shards {
  readonly indices: readonly number[];
  readonly of: number;
}

/** What is known before a build begins. */
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
  /** Tokens asked for; undefined: the whole corpus. With shards, those of this part. */
  readonly wanted: number | undefined;
  /** Documents are cut to so many tokens. */
  readonly context: number;
  /** Keys of special tokens, such as the BOS in front of every text, are left out; absent: they count as all others. */
  readonly skipSpecial?: boolean | undefined;
  readonly shards: Shards | undefined;
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
export async function covarianceKey(identity: CovarianceIdentity): Promise<string> {
  const { weights, storage, tokenizer, layer, size, corpus, wanted = null, context, shards } = identity;
  const part = shards ? [shards.indices, shards.of] : null;
  const fields = [Number(VERSION), weights, storage, tokenizer, layer, size, corpus, wanted, context, part];
  const more = identity.skipSpecial ? ['skip-special'] : [];
  return (await sha256(JSON.stringify([...fields, ...more]))).slice(0, 16);
}

/** `0, 2 of 4`, or the empty string for a whole corpus. */
export function formatShards(shards: Shards | undefined): string {
  return shards ? `${shards.indices.join(', ')} of ${shards.of}` : '';
}

/** The inverse of `formatShards`; null when the text is not one. */
export function parseShards(text: string): Shards | undefined | null {
  if (text === '') return undefined;
  const match = /^(\d+(?:, \d+)*) of (\d+)$/.exec(text);
  return match && { indices: (match[1] as string).split(', ').map(Number), of: Number(match[2]) };
}

/** `layer-1.KEY.safetensors`, or `layer-1.part-0-of-4.KEY.safetensors`. */
export async function covarianceFileName(identity: CovarianceIdentity): Promise<string> {
  const { shards, layer } = identity;
  const part = shards ? `part-${formatShards(shards).replaceAll(', ', '+').replaceAll(' ', '-')}.` : '';
  return `layer-${layer}.${part}${await covarianceKey(identity)}.safetensors`;
}

/** Names of the fields in the file, for people who read it with other tools; the counts among them are numbers. */
const NAMES = {
  model: 'model',
  modelSha256: 'model_sha256',
  weights: 'weights_sha256',
  storage: 'weights_stored_as',
  tokenizer: 'tokenizer_sha256',
  corpusName: 'corpus',
  corpus: 'corpus_sha256',
  layer: 'layer',
  size: 'size',
  context: 'context_length',
  tokens: 'tokens',
  documents: 'documents',
  cut: 'documents_cut',
  empty: 'documents_empty',
  invalid: 'documents_invalid_utf8',
} as const;
type Field = keyof typeof NAMES;
const FIELDS = Object.keys(NAMES) as Field[];
const COUNTS: readonly Field[] = FIELDS.slice(FIELDS.indexOf('layer'));

/** Of `special_tokens`, where they are. */
const LEFT_OUT = 'left out';

export type Metadata = Readonly<Record<string, string>>;
export type Fault = (what: string) => Error;

export function toMetadata(facts: CovarianceFacts): Metadata {
  return {
    ...Object.fromEntries(FIELDS.map((field) => [NAMES[field], String(facts[field])])),
    tokens_wanted: String(facts.wanted ?? 'all'),
    shards: formatShards(facts.shards),
    ...(facts.skipSpecial ? { special_tokens: LEFT_OUT } : {}),
  };
}

export function fromMetadata(metadata: Metadata, fault: Fault): CovarianceFacts {
  const text = (name: string): string => {
    const value = metadata[name];
    if (value === undefined) throw fault(`expected "${name}" in its metadata, it has none`);
    return value;
  };
  const count = (name: string): number => {
    const value = text(name);
    if (/^\d{1,15}$/.test(value)) return Number(value);
    throw fault(`"${name}": expected a whole number, got ${JSON.stringify(value)}`);
  };
  const named = FIELDS.map((field) => [field, (COUNTS.includes(field) ? count : text)(NAMES[field])]);
  const found = Object.fromEntries(named) as Pick<CovarianceFacts, Field>;
  const shards = parseShards(text('shards'));
  if (shards === null)
    throw fault(`"shards": expected such as "0, 2 of 4", got ${JSON.stringify(text('shards'))}`);
  const wanted = text('tokens_wanted') === 'all' ? undefined : count('tokens_wanted');
  const skipped = metadata['special_tokens'] === LEFT_OUT ? { skipSpecial: true } : {};
  return { ...found, wanted, shards, ...skipped };
}
