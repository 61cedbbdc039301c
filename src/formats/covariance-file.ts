/**
 * Covariance files: safetensors whose metadata says what they are of, with a checksum of the numbers.
 *
 *   a covariance   `C`                        C = S / tokens
 *   a part         `S.high`, `S.low`          a shard's sum S = high + low, for `covariance merge`
 *
 * Each tensor is F32 [64 n (n + 1) / 2, 64], n = ceil(F / 64): the lower panels of a symmetric matrix. Panel p holds
 * columns 64p ... 64p + 63 of rows 64p ... 64n - 1; what lies beyond F is zero.
 */
import { ModelError } from '../errors.ts';
import { bytesOf } from '../floats.ts';
import { checksumOf, type Matrices } from './checksum.ts';
import { VERSION, covarianceKey, formatShards, fromMetadata, toMetadata } from './covariance-identity.ts';
import type { CovarianceFacts, Fault, Metadata } from './covariance-identity.ts';
import type { Safetensors, TensorToWrite } from './safetensors.ts';

const FORMAT = 'palimpsest covariance';

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
