/**
 * Covariance files: safetensors whose metadata says what they are of, with a checksum of the numbers.
 *
 *   a covariance   `C`                        C = S / tokens
 *   a part         `S.high`, `S.low`          a shard's sum S = high + low, for `covariance merge`
 *
 * Each tensor is F32 [64 n (n + 1) / 2, 64], n = ceil(F / 64): the lower panels of a symmetric matrix. Panel p holds
 * columns 64p ... 64p + 63 of rows 64p ... 64n - 1; what lies beyond F is zero.
 *
 * The key of a file is the hash of all that is known before a build begins and changes the numbers. The counts of
 * tokens and documents follow from it.
 */
import { ModelError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import { checksumOf, type Matrices } from './checksum.ts';
import { sha256 } from './source.ts';
import type { Safetensors, TensorToWrite } from './safetensors.ts';

const FORMAT = 'palimpsest covariance';
/** Goes up whenever the same text through the same model would be summed differently. */
const VERSION = '1';

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

/** Names of the fields in the file, for people who read it with other tools. */
const TEXTS = {
  model: 'model',
  modelSha256: 'model_sha256',
  weights: 'weights_sha256',
  storage: 'weights_stored_as',
  tokenizer: 'tokenizer_sha256',
  corpusName: 'corpus',
  corpus: 'corpus_sha256',
} as const;
const COUNTS = {
  layer: 'layer',
  size: 'size',
  context: 'context_length',
  tokens: 'tokens',
  documents: 'documents',
  cut: 'documents_cut',
  empty: 'documents_empty',
  invalid: 'documents_invalid_utf8',
} as const;

/** Of `special_tokens`, where they are. */
const LEFT_OUT = 'left out';

type Metadata = Readonly<Record<string, string>>;
type Fault = (what: string) => Error;

function toMetadata(facts: CovarianceFacts): Metadata {
  const named = Object.entries({ ...TEXTS, ...COUNTS }) as [
    keyof typeof TEXTS | keyof typeof COUNTS,
    string,
  ][];
  return {
    ...Object.fromEntries(named.map(([field, name]) => [name, String(facts[field])])),
    tokens_wanted: String(facts.wanted ?? 'all'),
    shards: formatShards(facts.shards),
    ...(facts.skipSpecial ? { special_tokens: LEFT_OUT } : {}),
  };
}

function fromMetadata(metadata: Metadata, fault: Fault): CovarianceFacts {
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
  const all = <Field extends string, T>(
    names: Readonly<Record<Field, string>>,
    read: (name: string) => T,
  ): Record<Field, T> =>
    Object.fromEntries(Object.entries<string>(names).map(([field, name]) => [field, read(name)])) as Record<
      Field,
      T
    >;
  const shards = parseShards(text('shards'));
  if (shards === null)
    throw fault(`"shards": expected such as "0, 2 of 4", got ${JSON.stringify(text('shards'))}`);
  const wanted = text('tokens_wanted') === 'all' ? undefined : count('tokens_wanted');
  const skipped = metadata['special_tokens'] === LEFT_OUT ? { skipSpecial: true } : {};
  return { ...all(TEXTS, text), ...all(COUNTS, count), wanted, shards, ...skipped };
}

export function panelTensors(matrices: Matrices, size: number): TensorToWrite[] {
  const shape = panelShape(size);
  return Object.entries(matrices).map(([name, data]) => ({ name, dtype: 'F32', shape, data: bytesOf(data) }));
}

/** Of the panels of a matrix of order `size`. */
function panelShape(size: number): readonly [rows: number, columns: number] {
  const n = Math.ceil(size / 64);
  return [32 * n * (n + 1), 64];
}

/** What a covariance (`C`) or a part (`S.high`, `S.low`) is written from. */
export async function covarianceContent(
  facts: CovarianceFacts,
  matrices: Matrices,
): Promise<{ tensors: TensorToWrite[]; metadata: Metadata }> {
  const key = await covarianceKey(facts);
  const checksum = await checksumOf(matrices);
  const metadata = { format: FORMAT, version: VERSION, key, ...toMetadata(facts), checksum };
  return { tensors: panelTensors(matrices, facts.size), metadata };
}

/** A file of which everything but its numbers was checked. */
export interface CovarianceFile {
  readonly name: string;
  readonly key: string;
  readonly facts: CovarianceFacts;
  readonly file: Safetensors;
}

/** Messages about one file. */
export function covarianceFault(name: string): (what: string) => ModelError {
  return (what) => new ModelError(`covariance ${name}: ${what}.`, 'bad_covariance');
}

/**
 * Checks format, version, facts, key and shapes.
 *
 * @throws ModelError naming the file and what is wrong with it
 */
export async function checkCovariance(file: Safetensors): Promise<CovarianceFile> {
  const { name, metadata } = file;
  const fault = covarianceFault(name);
  if (metadata['format'] !== FORMAT) {
    const tensors = file.names().slice(0, 4).join(', ');
    throw fault(
      `expected a file of \`palimpsest covariance build\`, this one is another (tensors ${tensors})`,
    );
  }
  if (metadata['version'] !== VERSION)
    throw fault(
      `expected version ${VERSION}, it has ${metadata['version']}. Build it anew with this version`,
    );
  const facts = fromMetadata(metadata, fault);
  const key = await covarianceKey(facts);
  if (metadata['key'] !== key)
    throw fault(`its metadata was changed: they give the key ${key}, the file says ${metadata['key']}`);
  checkTensors(file, facts, fault);
  return { name, key, facts, file };
}

function checkTensors(file: Safetensors, facts: CovarianceFacts, fault: Fault): void {
  const expected = facts.shards ? 'S.high, S.low' : 'C';
  const names = file.names().sort().join(', ');
  if (names !== expected) throw fault(`expected the tensors ${expected}, it has ${names}`);
  for (const name of file.names()) {
    const { dtype, shape } = file.info(name);
    const wanted = panelShape(facts.size).join(', ');
    if (dtype === 'F32' && shape.join(', ') === wanted) continue;
    throw fault(
      `"${name}": expected F32 [${wanted}] for size ${facts.size}, it is ${dtype} [${shape.join(', ')}]`,
    );
  }
  if (facts.tokens === 0) throw fault('it holds no tokens');
}

/**
 * The numbers of a file, checked against its checksum.
 *
 * @throws ModelError when they are not those that were written
 */
export async function readMatrices({ name, file }: CovarianceFile): Promise<Matrices> {
  const matrices: Record<string, Float32Array<ArrayBuffer>> = {};
  for (const tensor of file.names()) matrices[tensor] = await file.readFloats(tensor);
  const expected = file.metadata['checksum'] ?? '(none)';
  const actual = await checksumOf(matrices);
  if (actual === expected) return matrices;
  throw covarianceFault(name)(
    `its numbers are damaged: expected the checksum ${expected}, they have ${actual}. Build or copy it again`,
  );
}

/**
 * The lower panels of C.
 *
 * @throws ModelError when the file is damaged, or a part
 */
export async function readC(file: CovarianceFile): Promise<Float32Array<ArrayBuffer>> {
  const { C } = await readMatrices(file);
  if (C) return C;
  throw covarianceFault(file.name)(
    `expected the covariance of a whole corpus, it is a part (shard ${formatShards(file.facts.shards)}). Bring all parts together with covariance merge first`,
  );
}
