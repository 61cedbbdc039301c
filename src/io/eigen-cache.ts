/**
 * Eigenvectors of a covariance on the disk: they cost about 10 F³ operations, and AlphaEdit wants them of every layer.
 * A file is named by the hash of C itself, so it fits whatever C came from, and a C that changed has none.
 */
import { join } from 'node:path';
import type { Covariance } from '../edit/covariance-solver.ts';
import { type Eigen, symmetricEigen } from '../edit/eigen.ts';
import { unpackSymmetric } from '../edit/panels.ts';
import { bytesOf } from '../floats.ts';
import { sha256 } from '../formats/source.ts';
import { writeSafetensors } from './atomic.ts';
import { cacheFolder } from './cache.ts';
import { openSafetensors } from './file.ts';

/** Goes up when the same C would get other vectors. */
const VERSION = '1';

/** Those in the cache; else they are computed, and kept for the next time where the cache can be written. */
export async function cachedEigen({ panels, size }: Covariance, cache = cacheFolder()): Promise<Eigen> {
  const path = join(
    cache,
    'eigenvectors',
    `${(await sha256(VERSION, bytesOf(panels))).slice(0, 32)}.safetensors`,
  );
  const kept = await readEigen(path, size).catch(() => undefined); // none, or not whole: computed again
  if (kept) return kept;
  const found = symmetricEigen(unpackSymmetric(panels, size), size);
  const values = Float32Array.from({ length: 2 * size }, (_, i) => {
    const value = found.values[i % size] as number;
    return i < size ? value : value - Math.fround(value);
  });
  const tensors = [
    { name: 'values', dtype: 'F32', shape: [2, size], data: bytesOf(values) }, // high and low parts
    { name: 'vectors', dtype: 'F32', shape: [size, size], data: bytesOf(found.vectors) },
  ] as const;
  await writeSafetensors(path, [...tensors], { metadata: { format: 'palimpsest eigenvectors' } }).catch(
    () => undefined,
  );
  return found;
}

async function readEigen(path: string, size: number): Promise<Eigen | undefined> {
  const file = await openSafetensors(path);
  const [values, vectors] = [await file.readFloats('values'), await file.readFloats('vectors')];
  if (values.length !== 2 * size || vectors.length !== size * size) return undefined;
  return {
    values: Float64Array.from(
      { length: size },
      (_, i) => (values[i] as number) + (values[size + i] as number),
    ),
    vectors,
  };
}
