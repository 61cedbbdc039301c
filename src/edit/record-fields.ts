/**
 * What edit files of one fact and of many have in common: the model, the circumstances, pairs of u and λ, a checksum. Here
 * they become tensors and strings, and back, checked.
 */
import { UsageError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import { isSealed } from '../formats/checksum.ts';
import type { TensorToWrite } from '../formats/safetensors.ts';
import type { EditRequest } from './request.ts';
import type { LowRankUpdate } from './update.ts';

/** Its metadata hold a checksum. */
export const RECORD_SCHEMA = 'palimpsest.edit/2';

/** A fact with the ids of its target. */
export type RecordedRequest = EditRequest & { readonly targetIds: readonly number[] };

/** What the edit itself does not know. */
export interface Circumstances {
  /** Seed that the contexts were sampled with; undefined when they were handed in. */
  readonly seed: number | undefined;
  /** As `Solver.key`. */
  readonly covariance: string;
  /** Ids of the edits that were in the model already, in order. */
  readonly earlier: readonly string[];
  /** Of palimpsest and what it runs on. */
  readonly versions: Readonly<Record<string, string>>;
}

/** What a host hands in: an opened safetensors file. */
export interface RecordFile {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  names(): string[];
  info(name: string): { readonly dtype: string; readonly shape: readonly number[] };
  readFloats(name: string): Promise<Float32Array<ArrayBuffer>>;
}

/** `u` [F, r] and `lambda` [r, D]. @param end of their names */
export function pairTensors({ U, Lambda, rank }: LowRankUpdate, end = ''): TensorToWrite[] {
  return [
    { name: `u${end}`, dtype: 'F32', shape: [U.length / rank, rank], data: bytesOf(U) },
    { name: `lambda${end}`, dtype: 'F32', shape: [rank, Lambda.length / rank], data: bytesOf(Lambda) },
  ];
}

/** What metadata need of a model. */
export interface RecordModel {
  readonly id: string;
  readonly sha256: string;
  /** Adapter and storage that the numbers were computed with. */
  readonly adapter: string;
  readonly storage: string;
}

/** What files of one edit and of many say alike. */
export function commonMetadata(
  { id, sha256, adapter, storage }: RecordModel,
  method: string,
  { seed, earlier, versions }: Pick<Circumstances, 'seed' | 'earlier' | 'versions'>,
): Record<string, string> {
  return {
    ...{ schema: RECORD_SCHEMA, model: id, model_sha256: sha256, method },
    seed: seed === undefined ? 'none' : String(seed),
    earlier: JSON.stringify(earlier),
    ...{ adapter, weights: storage, versions: JSON.stringify(versions) },
  };
}

/** A request as files have it. */
export function requestFields({ prompt, subject, target, targetIds }: RecordedRequest) {
  return { prompt, subject, target, target_ids: targetIds };
}

type Fault = (what: string) => UsageError;

/** What every edit file says of itself, and how what is wrong with it is told. */
export interface RecordFields<M> {
  readonly model: Pick<RecordModel, 'id' | 'sha256'>;
  readonly method: M;
  /** @throws UsageError where there is no such field */
  readonly field: (name: string) => string;
  readonly fault: Fault;
  /** `u` [F, r] and `lambda` [r, D], or [F] and [D]. @param end of their names */
  readonly pair: (end?: string) => Promise<Pick<LowRankUpdate, 'U' | 'Lambda' | 'rank'>>;
  /** Whether the checksum is there and right. @throws UsageError where it is wrong */
  readonly verify: () => Promise<boolean>;
}

/**
 * @param command that wrote the file
 * @param schemas and methods that are read
 * @throws UsageError naming the file and the field: another schema, no checksum where the schema has one, a model without
 *   a hash, another method
 */
export function readFields<M extends string>(
  file: RecordFile,
  command: string,
  { schemas, methods }: { readonly schemas: readonly string[]; readonly methods: readonly M[] },
): RecordFields<M> {
  const fault: Fault = (what) =>
    new UsageError(`edit file ${file.name}: ${what}. Write it again with ${command}.`, 'bad_edit_file');
  const field = (name: string): string => {
    const value = file.metadata[name];
    if (value === undefined) throw fault(`expected "${name}" in its metadata, there is none`);
    return value;
  };
  const { schema } = file.metadata;
  if (schema === undefined || !schemas.includes(schema)) {
    const found = schema === undefined ? 'none' : `"${schema}"`;
    throw fault(`expected schema "${RECORD_SCHEMA}" in its metadata, found ${found}: this is no edit file`);
  }
  if (schema === RECORD_SCHEMA) field('checksum');
  const sha256 = field('model_sha256');
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw fault(`model_sha256: expected 64 hexadecimal digits, found "${sha256}"`);
  const method = methods.find((known) => known === field('method'));
  if (!method) throw fault(`method: expected ${methods.join(', ')}, found "${field('method')}"`);
  return {
    ...{ model: { id: field('model'), sha256 }, method, field, fault },
    pair: (end = '') => readPair(file, fault, end),
    verify: () => verify(file, fault),
  };
}

async function readPair(
  file: RecordFile,
  fault: Fault,
  end: string,
): Promise<Pick<LowRankUpdate, 'U' | 'Lambda' | 'rank'>> {
  const matrix = async (name: string) => {
    if (!file.names().includes(name)) throw fault(`expected a tensor "${name}", there is none`);
    const { dtype, shape } = file.info(name);
    if (dtype !== 'F32' || shape.length < 1 || shape.length > 2)
      throw fault(`${name}: expected F32 with one dimension or two, found ${dtype} [${shape.join(', ')}]`);
    const values = await file.readFloats(name);
    const at = values.findIndex((x) => !Number.isFinite(x));
    if (at >= 0) throw fault(`${name}: expected finite numbers, found ${values[at]} at ${at}`);
    return { shape, values };
  };
  const [u, lambda] = [await matrix(`u${end}`), await matrix(`lambda${end}`)];
  const rank = u.shape[1] ?? 1;
  if (u.shape.length !== lambda.shape.length || (lambda.shape.length === 2 && lambda.shape[0] !== rank))
    throw fault(
      `expected u [F, r] and lambda [r, D], found u [${u.shape.join(', ')}] and lambda [${lambda.shape.join(', ')}]`,
    );
  return { U: u.values, Lambda: lambda.values, rank };
}

async function verify(file: RecordFile, fault: Fault): Promise<boolean> {
  const right = await isSealed(file);
  if (right === false)
    throw fault(
      'its numbers or its metadata were changed after it was written: they do not give its checksum',
    );
  return right === true;
}

export function parseRequest(found: unknown): RecordedRequest | undefined {
  if (typeof found !== 'object' || found === null) return undefined;
  const { prompt, subject, target, target_ids: targetIds } = found as Record<string, unknown>;
  if (typeof prompt !== 'string' || typeof subject !== 'string' || typeof target !== 'string')
    return undefined;
  if (prompt.split('{}').length !== 2) return undefined;
  if (!Array.isArray(targetIds) || !targetIds.every((id) => Number.isSafeInteger(id) && id >= 0))
    return undefined;
  return { prompt, subject, target, targetIds: targetIds as number[] };
}
