/**
 * Covariance files: safetensors whose metadata says what they are, with a checksum of the numbers.
 *
 *   a covariance   `C`                        C = S / tokens
 *   a part         `S.high`, `S.low`          a shard's sum S = high + low, for `covariance merge`
 *
 * Each tensor is F32 [64 n (n + 1) / 2, 64], n = ceil(F / 64): the lower panels of a symmetric matrix. Panel p holds
 * columns 64p ... 64p + 63 of rows 64p ... 64n - 1; what lies beyond F is zero.
 */
import { createHash } from 'node:crypto';
import { ModelError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import {
  COVARIANCE_VERSION,
  type CovarianceFacts,
  covarianceKey,
  fromMetadata,
  toMetadata,
} from './covariance-facts.ts';
import type { Safetensors, TensorToWrite } from '../formats/safetensors.ts';
import { writeSafetensors, type WriteOptions } from './atomic.ts';
import { openSafetensors } from './file.ts';

export const COVARIANCE_FORMAT = 'palimpsest covariance';

export type Matrices = Readonly<Record<string, Float32Array<ArrayBuffer>>>;

export interface CovarianceFile {
  readonly path: string;
  readonly key: string;
  readonly facts: CovarianceFacts;
  /** sha256 of the numbers. */
  readonly checksum: string;
  readonly file: Safetensors;
}

/** Rows of the panels of a matrix of order `size`. */
export function panelRows(size: number): number {
  const n = Math.ceil(size / 64);
  return 32 * n * (n + 1);
}

/** sha256 over the names and numbers of all matrices, in the order of their names. */
export function checksumOf(matrices: Matrices): string {
  const hash = createHash('sha256');
  for (const name of Object.keys(matrices).sort())
    hash.update(name).update(bytesOf(matrices[name] as Float32Array));
  return hash.digest('hex');
}

/** Writes a covariance (`C`) or a part (`S.high`, `S.low`), whole or not at all. */
export async function writeCovariance(
  path: string,
  facts: CovarianceFacts,
  matrices: Matrices,
  options: WriteOptions = {},
): Promise<void> {
  const metadata = {
    format: COVARIANCE_FORMAT,
    version: String(COVARIANCE_VERSION),
    key: covarianceKey(facts),
    ...toMetadata(facts),
    checksum: checksumOf(matrices),
  };
  await writeSafetensors(path, panelTensors(matrices, facts.size), { ...options, metadata });
}

export function panelTensors(matrices: Matrices, size: number): TensorToWrite[] {
  const shape = [panelRows(size), 64];
  return Object.entries(matrices).map(([name, data]) => ({ name, dtype: 'F32', shape, data: bytesOf(data) }));
}

/**
 * Opens a file and checks everything but its numbers: format, version, facts, key, shapes.
 *
 * @throws ModelError naming the file and what is wrong with it
 */
export async function openCovariance(path: string): Promise<CovarianceFile> {
  const fault = faultOf(path);
  if (path.endsWith('.npz'))
    throw fault('this is an archive of NumPy. Bring it in with: palimpsest covariance import');
  const file = await openSafetensors(path);
  const { metadata } = file;
  if (metadata['format'] !== COVARIANCE_FORMAT) {
    const tensors = file.names().slice(0, 4).join(', ');
    throw fault(
      `expected a file of \`palimpsest covariance build\`, this one is another (tensors ${tensors})`,
    );
  }
  if (metadata['version'] !== String(COVARIANCE_VERSION)) {
    throw fault(
      `expected version ${COVARIANCE_VERSION}, it has ${metadata['version']}. Build it anew with this version`,
    );
  }
  const facts = fromMetadata(metadata, fault);
  const key = covarianceKey(facts);
  if (metadata['key'] !== key) {
    throw fault(`its metadata was changed: they give the key ${key}, the file says ${metadata['key']}`);
  }
  checkTensors(file, facts, fault);
  return { path, key, facts, checksum: metadata['checksum'] ?? '', file };
}

function checkTensors(file: Safetensors, facts: CovarianceFacts, fault: (what: string) => Error): void {
  const expected = facts.shards ? 'S.high, S.low' : 'C';
  const names = file.names().sort().join(', ');
  if (names !== expected) throw fault(`expected the tensors ${expected}, it has ${names}`);
  for (const name of file.names()) {
    const { dtype, shape } = file.info(name);
    const wanted = [panelRows(facts.size), 64].join(', ');
    if (dtype === 'F32' && shape.join(', ') === wanted) continue;
    throw fault(
      `"${name}": expected F32 [${wanted}] for size ${facts.size}, it is ${dtype} [${shape.join(', ')}]`,
    );
  }
  if (facts.tokens === 0) throw fault('it holds no tokens');
}

/**
 * The numbers of an opened file, checked against its checksum.
 *
 * @throws ModelError when they are not those that were written
 */
export async function readMatrices({ path, file, checksum }: CovarianceFile): Promise<Matrices> {
  const matrices: Record<string, Float32Array<ArrayBuffer>> = {};
  for (const name of file.names()) matrices[name] = await file.readFloats(name);
  const actual = checksumOf(matrices);
  if (actual === checksum) return matrices;
  throw faultOf(path)(
    `its numbers are damaged: expected the checksum ${checksum || '(none)'}, they have ${actual}. Build or copy it again`,
  );
}

/** Messages about one file. */
export function faultOf(path: string): (what: string) => ModelError {
  return (what) => new ModelError(`covariance ${path}: ${what}.`, 'bad_covariance');
}
