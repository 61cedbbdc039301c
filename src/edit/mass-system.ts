/**
 * The equations of an update of many facts, A U = QᵀT and μT + Q U = S, solved and refined.
 *
 * What float32 leaves over, E₁ = QᵀT − A U and E₂ = S − μT − Q U, is taken in more than float32, and (U, T) corrected by the
 * same formula with E₂ − Q A⁻¹E₁ for S:
 *
 *   dT = (μI + Q A⁻¹ Qᵀ)⁻¹ (E₂ − Q A⁻¹ E₁),   dU = A⁻¹ (E₁ + Qᵀ dT)
 *
 * The first solution is the correction of (0, 0). With few columns this goes on until U is good to 1e-6, as a single
 * key is; with many, random sums of them are looked at first each time, and the rest only where those ask for it.
 *
 * Source: Higham 2002, chapter 12 (iterative refinement).
 */
import { EditRefused } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { norm } from '../statistics.ts';
import { transpose } from '../tensor/gather.ts';
import { matmul } from '../tensor/matmul.ts';
import { type Tensor, read, upload, zeros } from '../tensor/tensor.ts';
import { factorise } from './cholesky.ts';
import type { Metric } from './metric.ts';
import { zeroPanels } from './panels.ts';
import { addOuterProducts } from './second-moment.ts';
import { type InverseRows, invertFactor, solveLower, solveUpper } from './triangular.ts';

/** Rows that are refined as a single key is; more of them are looked at in samples first. */
const FEW = 64;
/** Error of U at which it is good: 1e-6 where refinement costs one reading of C, else what K, R and float32 are good for. */
const TARGET = { few: 1e-6, many: 1e-5 };
/** Worse than this is refused. */
const WORST = 1e-3;
const MAX_REFINEMENTS = 8;
/** Random sums of rows that stand for all of them. */
const PROBES = 4;

/** A, Q and the factor of G, for any right-hand sides. */
export interface System {
  readonly metric: Metric;
  readonly mu: number;
  /** Rows of Q: M + N, and zeros up to a multiple of 4, which the kernels like. */
  readonly n: number;
  readonly q: Float32Array;
  /** [n, F'] */
  readonly Y: Tensor;
  /** −Yᵀ [F', n]; its sign is that of what is taken off, and makes no difference to Y Yᵀ. */
  readonly minusYt: Tensor;
  readonly g: InverseRows;
}

export async function openSystem(
  s: Scope,
  metric: Metric,
  mu: number,
  { K, past }: { readonly K: Tensor; readonly past?: Tensor | undefined },
): Promise<System> {
  const { gpu } = s;
  const [M, rows] = [past?.rows ?? 0, K.rows + (past?.rows ?? 0)];
  const n = mu > 0 ? Math.ceil(rows / 4) * 4 : rows;
  const Q = zeros(s, [n, K.cols], 'keys');
  if (past) gpu.copy(past, Q);
  gpu.copy(K, { block: Q.block, offset: Q.offset + 4 * M * K.cols, bytes: K.bytes });
  const q = await read(gpu, Q);
  if (!q.every(Number.isFinite))
    throw new EditRefused('mass update: a key holds a number that is not finite.', 'key_degenerate');
  const Y = metric.half(s, Q);
  const minusYt = transpose(s, Y, -1);
  const gram = zeroPanels(s, n, 'gram');
  addOuterProducts(s, gram, minusYt);
  const g = invertFactor(s, await factorise(s, gram, { ridge: mu }));
  return { metric, mu, n, q, Y, minusYt, g };
}

interface SolvedRows {
  /** Uᵀ [r, F], and Tᵀ [r, n]. */
  readonly x: Float64Array<ArrayBuffer>[];
  readonly t: Float64Array<ArrayBuffer>[];
  readonly residual: number;
  readonly correction: number;
  readonly refinements: number;
}

/** Uᵀ and Tᵀ for Sᵀ [r, n], refined as far as it takes. */
export async function solveSystem(
  s: Scope,
  system: System,
  S: Float32Array<ArrayBuffer>,
  rank: number,
): Promise<SolvedRows> {
  const { metric, n } = system;
  const first = await s.gpu.scope(async (inner) => {
    const found = correct(inner, system, upload(inner, S, [rank, n], 'S'));
    return { x: await read(s.gpu, found.x), t: await read(s.gpu, found.t) };
  });
  const start = { x: rowsOf(first.x, metric.size), t: rowsOf(first.t, n), S: rowsOf(S, n) };
  const target = rank <= FEW ? TARGET.few : TARGET.many;
  const probes = signs(PROBES, rank);
  const sums = (of: readonly Float64Array[]): Float64Array<ArrayBuffer>[] =>
    probes.map((sign) => combine(sign, of));
  let best = { ...start, residual: Infinity, correction: Infinity, refinements: 0 };
  let now = { x: start.x, t: start.t };
  for (let refinements = 0; ; refinements += 1) {
    if (rank > FEW) {
      const seen = await residualsOf(s, system, { x: sums(now.x), t: sums(now.t), S: sums(start.S) });
      if (seen.correction <= target) return { ...now, ...seen, refinements };
    }
    const seen = await residualsOf(s, system, { ...now, S: start.S });
    const better = seen.correction < best.correction;
    const slow = !(seen.correction <= best.correction / 2);
    if (better) best = { ...best, ...now, ...seen, refinements };
    if (seen.correction <= target || slow || refinements === MAX_REFINEMENTS) break;
    now = { x: add(now.x, seen.dx), t: add(now.t, seen.dt) };
  }
  if (!(best.correction <= WORST))
    throw new EditRefused(
      `mass update: the last correction is ${best.correction.toPrecision(2)} of U, the residual ${best.residual.toPrecision(2)}: ` +
        'the keys are too close to each other for C. Build C from more tokens, or give a larger --covariance-weight.',
      'key_degenerate',
    );
  return best;
}

/** dUᵀ and dTᵀ for what is left over: E₂ᵀ [r, n], and E₁ᵀ [r, F] where U is not new. */
function correct(
  s: Scope,
  { metric, Y, minusYt, g }: System,
  e2: Tensor,
  e1?: Tensor,
): { x: Tensor; t: Tensor } {
  const h = e1 && metric.half(s, e1);
  const right = h ? matmul(s, h, minusYt, { residual: e2 }) : e2;
  const t = solveUpper(s, g, solveLower(s, g, right));
  return { x: metric.back(s, matmul(s, t, Y, { residual: h })), t };
}

interface Left {
  readonly residual: number;
  readonly correction: number;
  readonly dx: Float64Array<ArrayBuffer>[];
  readonly dt: Float64Array<ArrayBuffer>[];
}

/** What rows of U and T leave over, and the correction that it asks for. */
async function residualsOf(
  s: Scope,
  system: System,
  { x, t, S }: Record<'x' | 't' | 'S', readonly Float64Array<ArrayBuffer>[]>,
): Promise<Left> {
  const { metric, mu, n, q } = system;
  const F = metric.size;
  const e2 = S.map((row, i) => row.map((value, k) => value - mu * (t[i]?.[k] ?? NaN)));
  const qt = x.map((xi, i) => {
    const sum = new Float64Array(F);
    const [ti, e2i] = [t[i] as Float64Array, e2[i] as Float64Array];
    for (let k = 0; k < n; k += 1) {
      const tk = ti[k] as number;
      let product = 0;
      for (let f = 0, at = k * F; f < F; f += 1, at += 1) {
        const key = q[at] as number;
        product += key * (xi[f] as number);
        sum[f] = (sum[f] as number) + key * tk;
      }
      e2i[k] = (e2i[k] as number) - product;
    }
    return sum;
  });
  const e1 = await metric.residuals(s, qt, x);
  // Brought to size 1, so that nothing is flushed to zero.
  const scale =
    [...e1, ...e2].reduce((most, row) => row.reduce((m, v) => Math.max(m, Math.abs(v)), most), 0) || 1;
  const [dx, dt] = await s.gpu.scope(async (inner) => {
    const all = (rows: readonly Float64Array[], cols: number, label: string): Tensor =>
      upload(
        inner,
        Float32Array.from(flat(rows), (value) => value / scale),
        [rows.length, cols],
        label,
      );
    const found = correct(inner, system, all(e2, n, 'e2'), all(e1, F, 'e1'));
    const back = async (tensor: Tensor): Promise<Float64Array<ArrayBuffer>[]> =>
      rowsOf(await read(s.gpu, tensor), tensor.cols).map((row) => row.map((value) => value * scale));
    return [await back(found.x), await back(found.t)] as const;
  });
  return {
    residual: norm(flat(e1)) / norm(flat(qt)),
    correction: norm(flat(dx)) / norm(flat(x)),
    dx,
    dt,
  };
}

function rowsOf(all: Float32Array, cols: number): Float64Array<ArrayBuffer>[] {
  return Array.from({ length: all.length / cols }, (_, i) =>
    Float64Array.from(all.subarray(i * cols, (i + 1) * cols)),
  );
}

function flat(rows: readonly Float64Array[]): Float64Array {
  const cols = rows[0]?.length ?? 0;
  const all = new Float64Array(rows.length * cols);
  rows.forEach((row, i) => all.set(row, i * cols));
  return all;
}

function add(
  a: readonly Float64Array<ArrayBuffer>[],
  b: readonly Float64Array[],
): Float64Array<ArrayBuffer>[] {
  return a.map((row, i) => row.map((value, k) => value + (b[i]?.[k] ?? NaN)));
}

/** Σ_i sign_i row_i */
function combine(sign: readonly number[], rows: readonly Float64Array[]): Float64Array<ArrayBuffer> {
  const sum = new Float64Array(rows[0]?.length ?? 0);
  rows.forEach((row, i) => {
    const factor = sign[i] as number;
    for (let k = 0; k < row.length; k += 1) sum[k] = (sum[k] as number) + factor * (row[k] as number);
  });
  return sum;
}

/** ±1 without a pattern, the same every time. */
function signs(probes: number, length: number): number[][] {
  let state = 1;
  return Array.from({ length: probes }, () =>
    Array.from({ length }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >= 2 ** 31 ? 1 : -1;
    }),
  );
}
