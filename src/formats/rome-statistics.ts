/**
 * The covariance files of ROME and MEMIT, so that what they computed serves here and the other way round.
 *
 * @see kmeng01/rome util/runningstats.py `SecondMoment.state_dict`, rome/layer_stats.py
 */
import { UsageError } from '../errors.ts';
import type { NpyArray } from './npy.ts';
import { npzBytes, openNpz } from './npz.ts';
import type { ByteSource } from './source.ts';

export interface RomeStatistics {
  /** C [F, F], row by row: the mean of kkᵀ. The file holds the sum S = tokens · C. */
  readonly covariance: Float32Array;
  /** F. */
  readonly size: number;
  /** `mom2.count`: keys in the sum. */
  readonly tokens: number;
  /** `sample_size`: documents read. ROME computes a file anew when it is not the number asked for. */
  readonly documents: number;
  /** What palimpsest adds to its own exports, and ROME's loaders ignore. */
  readonly origin?: RomeOrigin | undefined;
}

/** What statistics are of. */
export interface RomeOrigin {
  readonly layer: number;
  /** Hash of the weights that its keys depend on; undefined where it is not known. */
  readonly weights: string | undefined;
}

/** ROME names its files by the module, e.g. `transformer.h.17.mlp.c_proj_float32_mom2_100000.npz`. */
function originFromName(name: string): RomeOrigin | undefined {
  const layer = /\bh\.(\d+)\.mlp\.c_proj_[^/\\]*$/.exec(name)?.[1];
  return layer === undefined ? undefined : { layer: Number(layer), weights: undefined };
}

/** Bytes of a count, and of a text. */
const SMALL = 4096;
/** An array of the engine takes no more. */
const LARGE = 2 ** 33;

/**
 * Reads `{layer}_{dtype}_mom2_{n}.npz`, of which only the members that are used are unpacked.
 *
 * @param checkOrder throws for an F that is not wanted, before the matrix is unpacked
 * @throws UsageError naming the member: missing, of another shape or kind, not finite, not symmetric, an empty count
 */
export async function readRomeStatistics(
  source: ByteSource,
  { checkOrder, signal }: { checkOrder?: (size: number) => void; signal?: AbortSignal | undefined } = {},
): Promise<RomeStatistics> {
  const archive = await openNpz(source);
  const fault = (what: string): UsageError =>
    new UsageError(
      `ROME statistics ${source.name}: ${what}. Give a file that ROME's layer_stats wrote.`,
      'bad_statistics',
    );
  const has = (name: string): boolean => archive.names.includes(name);
  const checkThere = (name: string): void => {
    if (!has(name)) throw fault(`expected "${name}", the file has ${archive.names.join(', ') || 'nothing'}`);
  };
  const whole = async (name: string, least = 0): Promise<number> => {
    checkThere(name);
    const { dtype, data, shape } = await archive.read(name, SMALL);
    const value = shape.length === 0 && (dtype === '<i8' || dtype === '<i4') ? Number(data[0]) : NaN;
    if (Number.isSafeInteger(value) && value >= least) return value;
    throw fault(
      `"${name}": expected one whole number >= ${least}, got ${dtype} [${shape.join(', ')}] ${data[0]}`,
    );
  };
  const tokens = await whole('mom2.count', 1);
  const documents = await whole('sample_size', 1);
  checkThere('mom2.mom2');
  const { dtype, shape } = await archive.header('mom2.mom2');
  const [size = 0, columns] = shape;
  if ((dtype !== '<f4' && dtype !== '<f8') || shape.length !== 2 || size !== columns || size === 0) {
    throw fault(`"mom2.mom2": expected f4 or f8 [F, F], got ${dtype} [${shape.join(', ')}]`);
  }
  checkOrder?.(size);
  const { data } = (await archive.read('mom2.mom2', LARGE, signal)) as { data: Float32Array | Float64Array };
  const covariance = data instanceof Float32Array ? data : new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) covariance[i] = (data[i] as number) / tokens;
  const wrong = momentFault(covariance, size);
  if (wrong) throw fault(`"mom2.mom2": ${wrong}`);
  const weights = has('palimpsest.weights_sha256')
    ? String((await archive.read('palimpsest.weights_sha256', SMALL)).data[0])
    : undefined;
  const origin = has('palimpsest.layer')
    ? { layer: await whole('palimpsest.layer'), weights }
    : originFromName(source.name);
  return { covariance, size, tokens, documents, origin };
}

/**
 * A second moment is finite, has a diagonal >= 0, and is symmetric up to the rounding of a long f32 sum: 1e-3 of
 * √(C_ii C_jj) is far above that rounding and far below what another matrix would show.
 */
function momentFault(C: Float32Array, size: number): string | undefined {
  const at = (i: number, j: number): number => C[i * size + j] as number;
  for (let i = 0; i < size; i++) {
    if (!(at(i, i) >= 0)) return `expected a diagonal >= 0, element [${i}, ${i}] is ${at(i, i)}`;
    for (let j = 0; j <= i; j++) {
      const difference = Math.abs(at(i, j) - at(j, i));
      if (difference <= 1e-3 * Math.sqrt(at(i, i) * at(j, j))) continue;
      if (!Number.isFinite(difference))
        return `expected finite numbers, element [${i}, ${j}] or its mirror is not`;
      return `expected a symmetric matrix, element [${i}, ${j}] is ${at(i, j)}, its mirror ${at(j, i)}`;
    }
  }
  return undefined;
}

/** A file that ROME's, MEMIT's and EasyEdit's loaders read. */
export function romeStatisticsBytes(statistics: RomeStatistics): Uint8Array {
  const { covariance, size, tokens, documents, origin } = statistics;
  const sum = covariance.map((value) => value * tokens);
  return npzBytes({
    'mom2.constructor': text('util.runningstats.SecondMoment()'),
    'mom2.count': integer(tokens),
    'mom2.mom2': { dtype: '<f4', shape: [size, size], data: sum },
    sample_size: integer(documents),
    ...(origin && { 'palimpsest.layer': integer(origin.layer) }),
    ...(origin?.weights !== undefined && { 'palimpsest.weights_sha256': text(origin.weights) }),
  });
}

function integer(value: number): NpyArray {
  return { dtype: '<i8', shape: [], data: BigInt64Array.of(BigInt(value)) };
}

function text(value: string): NpyArray {
  return { dtype: '<U', shape: [], data: [value] };
}
