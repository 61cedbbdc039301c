/**
 * The metric A of the formula (method.ts), ready for any number of keys: opened once a layer, used by every batch.
 *
 *   A = C, or C + (λₙ/λ) I    A = L Lᵀ, H = L⁻¹
 *   A⁻¹ = N                   H = Vᵀ, V the eigenvectors of C with eigenvalues below a threshold
 *
 * Either way A⁻¹ = HᵀH, and the formula needs nothing but products with H and its transpose.
 */
import { EditRefused } from '../errors.ts';
import type { Gpu } from '../gpu/context.ts';
import type { Scope } from '../gpu/scope.ts';
import { matmul } from '../tensor/matmul.ts';
import { type Tensor, read, upload } from '../tensor/tensor.ts';
import { factorise } from './cholesky.ts';
import { type Covariance, checkRank } from './covariance-solver.ts';
import { type Eigen, symmetricEigen } from './eigen.ts';
import { type MassMethod, type MassOptions, METHOD_TABLE } from './method.ts';
import { diagonalOf, unpackSymmetric, uploadPanels } from './panels.ts';
import { symmetricProducts } from './product.ts';
import { invertFactor, solveLower, solveUpper } from './triangular.ts';

export interface MetricRequest {
  readonly method: MassMethod;
  readonly options: MassOptions;
  /** C of the layer. */
  readonly covariance: Covariance;
  /** Where eigenvectors come from; absent: they are computed. A host that keeps them hands them in. */
  readonly eigen?: ((covariance: Covariance) => Promise<Eigen>) | undefined;
}

export interface Metric extends Pick<MetricRequest, 'method' | 'options'> {
  /** Which C: its cache key. Edit files carry it. */
  readonly key: string;
  /** F. */
  readonly size: number;
  /** Tokens that C was built from. */
  readonly tokens: number;
  /** What had to be added to the diagonal of A so that it has a factor; 0: nothing. */
  readonly ridge: number;
  /** In one line, for people. */
  readonly description: string;
  /** H of every row of q [n, F]: [n, F'] with F' = F, or the dimension of the null space. */
  half(s: Scope, q: Tensor): Tensor;
  /** Hᵀ of every row of y [n, F']: [n, F]. */
  back(s: Scope, y: Tensor): Tensor;
  /** t − A x for every pair, F numbers each, better than float32; for the null space N t − x. */
  residuals(
    s: Scope,
    ts: readonly Float64Array[],
    xs: readonly Float64Array[],
  ): Promise<Float64Array<ArrayBuffer>[]>;
  /** Gives its memory back. */
  close(): void;
}

/** Vectors that go through a product in two floats at once: bounds its memory. */
const TOGETHER = 64;

/**
 * Factors A, or finds the null space of C.
 *
 * @throws EditRefused when C was built from fewer than 2F tokens or cannot be factored, or has no eigenvalue below the
 *   threshold
 */
export async function openMetric(gpu: Gpu, request: MetricRequest): Promise<Metric> {
  const { covariance } = request;
  checkRank(covariance.key, diagonalOf(covariance.panels, covariance.size), covariance.tokens);
  const owner = gpu.open();
  try {
    return METHOD_TABLE[request.method].metric === 'null space'
      ? await nullSpace(owner, request)
      : await factored(owner, request);
  } catch (error) {
    owner.close();
    throw error;
  }
}

/** What a metric says of itself, whatever A is. */
function about(owner: Scope, { method, options, covariance }: MetricRequest) {
  const { key, size, tokens } = covariance;
  return { method, options, key, size, tokens, close: () => owner.close() };
}

async function factored(owner: Scope, request: MetricRequest): Promise<Metric> {
  const { gpu } = owner;
  const { method, options, covariance } = request;
  const wanted =
    METHOD_TABLE[method].metric === 'C + ridge' ? options.normWeight / options.covarianceWeight : 0;
  const c = uploadPanels(owner, covariance.panels, covariance.size);
  const [inverse, ridge] = await gpu.scope(async (s) => {
    const factor = await factorise(s, c, { ridge: wanted });
    return [invertFactor(owner, factor), factor.ridge - wanted] as const;
  });
  return {
    ...about(owner, request),
    ridge,
    description: wanted === 0 ? 'A = C' : `A = C + ${wanted.toPrecision(3)} I`,
    half: (s, q) => solveLower(s, inverse, q),
    back: (s, y) => solveUpper(s, inverse, y),
    residuals: async (s, ts, xs) => {
      const found: Float64Array<ArrayBuffer>[] = [];
      for (let from = 0; from < xs.length; from += TOGETHER) {
        const some = xs.slice(from, from + TOGETHER);
        const products = await symmetricProducts(s, c, some);
        some.forEach((x, i) => {
          const [t, ax] = [ts[from + i] as Float64Array, products[i] as Float64Array];
          found.push(t.map((value, f) => value - (ax[f] as number) - wanted * (x[f] as number)));
        });
      }
      return found;
    },
  };
}

async function nullSpace(owner: Scope, request: MetricRequest): Promise<Metric> {
  const { gpu } = owner;
  const { options, covariance, eigen } = request;
  const { key, size } = covariance;
  const threshold = options.nullSpaceThreshold;
  const { values, vectors } = eigen
    ? await eigen(covariance)
    : symmetricEigen(unpackSymmetric(covariance.panels, size), size);
  // What equals the threshold up to the rounding of an eigenvalue, F ε |C|, is not below it.
  const below = threshold - size * Number.EPSILON * (values.at(-1) as number);
  const rank = values.filter((value) => value < below).length;
  if (rank === 0) throw noNullSpace(key, threshold, values);
  const rows = upload(owner, vectors.slice(0, rank * size), [rank, size], 'null_space');
  return {
    ...about(owner, request),
    ridge: 0,
    description: `A⁻¹ = N, ${rank} of ${size} directions, where C is below ${threshold}`,
    half: (s, q) => matmul(s, q, rows, { transposeB: true }),
    back: (s, y) => matmul(s, y, rows),
    residuals: (s, ts, xs) =>
      s.gpu.scope(async (inner) => {
        const t = upload(inner, Float32Array.from(ts.flatMap((x) => [...x])), [ts.length, size], 't');
        const projected = await read(gpu, matmul(inner, matmul(inner, t, rows, { transposeB: true }), rows));
        return xs.map((x, i) => x.map((value, f) => (projected[i * size + f] as number) - value));
      }),
  };
}

function noNullSpace(key: string, threshold: number, values: Float64Array): EditRefused {
  const quantile = values[Math.floor(values.length / 2)] as number;
  return new EditRefused(
    `covariance ${key}: no eigenvalue of C lies below the threshold ${threshold}, so no direction is free for AlphaEdit: ` +
      `they go from ${(values[0] as number).toPrecision(3)} to ${(values.at(-1) as number).toPrecision(3)}, half of them below ` +
      `${quantile.toPrecision(3)}. Give a larger --null-space-threshold.`,
    'no_null_space',
  );
}
