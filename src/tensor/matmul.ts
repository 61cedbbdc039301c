/** Matrix products. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { chooseRung, isOdd } from './matmul-rungs.ts';
import type { Product, Rung } from './matmul-rungs.ts';
import { stripsAcross, stripsOf } from './strips.ts';
import { empty, windows } from './tensor.ts';
import type { Tensor } from './tensor.ts';

export interface MatmulOptions {
  /** [N], added to every row. */
  readonly bias?: Tensor;
  /** b is [N, K] and its transpose is meant. */
  readonly transposeB?: boolean;
  /** [M, N] that the product is added to; it stays as it is. */
  readonly residual?: Tensor;
  /** [M, N] that receives the product; made when absent. */
  readonly out?: Tensor;
  /** Adds to what `out` holds. */
  readonly accumulate?: boolean;
  readonly label?: string;
  /** Overrides the choice of kernel: for tests and benches. */
  readonly rung?: Rung;
}

/** One dispatch: columns from `aFirst` of a, all of `b`, columns from `cFirst` of c. */
interface Part {
  readonly b: Tensor;
  readonly n: number;
  readonly k: number;
  readonly aFirst: number;
  readonly cFirst: number;
  readonly accumulate: boolean;
}

/**
 * c = a·b, or a·bᵀ; f32 sums whatever b is stored as. Gradients flow to `a` and `residual`: weights never need them.
 *
 * @param a [M, K] f32
 * @param b [K, N], or [N, K] with `transposeB`; f32 or f16. May exceed what one binding holds
 * @returns [M, N]
 * @throws ShapeError naming both operands
 */
export function matmul(s: Scope, a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeB = false, bias, residual, accumulate = residual !== undefined } = options;
  const [k, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols];
  check(a, b, k, n, options);
  const label = options.label ?? `${a.label} · ${b.label}`;
  const c = options.out ?? empty(s, [a.rows, n], label);
  if (residual) s.gpu.copy(residual, c);
  const whole: Part = { b, n, k, aFirst: 0, cFirst: 0, accumulate };
  if (!dispatch(s, a, whole, c, bias, options, 'strips')) {
    partsOf(s, whole, transposeB).forEach((part, i) => {
      dispatch(s, a, part, c, transposeB || i === 0 ? bias : undefined, options);
    });
  }
  s.tape?.record(c, residual ? [a, residual] : [a], (scope, dc) => [
    matmul(scope, dc, b, { transposeB: !transposeB, label: `d ${a.label}` }),
    dc,
  ]);
  return c;
}

/** Row windows of b where one binding does not hold it: columns of c, or a sum over parts of K. */
function partsOf(s: Scope, whole: Part, transposeB: boolean): Part[] {
  const { b } = whole;
  return windows(s.gpu, b.rows, b.bytes / b.rows).map(([from, to], i): Part => {
    const part = { ...whole, b: b.slice(from, to) };
    if (transposeB) return { ...part, n: to - from, cFirst: from };
    return { ...part, k: to - from, aFirst: from, accumulate: whole.accumulate || i > 0 };
  });
}

/** Records one part. With `only`, false and nothing if the rung to take reads b otherwise. */
function dispatch(
  s: Scope,
  a: Tensor,
  { b, n, k, aFirst, cFirst, accumulate }: Part,
  c: Tensor,
  bias: Tensor | undefined,
  { transposeB = false, rung: forced }: MatmulOptions,
  only?: Rung['reads'],
): boolean {
  const m = a.rows;
  const product: Product = { m, n, k, transposeB, dtype: b.dtype, aStride: a.cols, aFirst };
  let strips: GPUTextureView | undefined;
  const findStrips = (): boolean => only === 'strips' && (strips ??= stripsOf(s, b, !!forced)) !== undefined;
  const rung = forced ?? chooseRung(product, s.gpu.adapter, findStrips);
  if (only && rung.reads !== only) return false;
  if (rung.transposed !== undefined && rung.transposed !== transposeB)
    throw new ShapeError(`matmul: ${rung.kernel} needs transposeB: ${rung.transposed}.`);
  const params = {
    m,
    n,
    k,
    biased: bias ? 1 : 0,
    a_stride: a.cols,
    a_first: aFirst,
    c_stride: c.cols,
    c_first: cFirst,
    accumulate: accumulate ? 1 : 0,
  };
  const overrides = {
    ...(rung.transposed === undefined ? { TRANSPOSED: transposeB ? 1 : 0 } : {}),
    ...(rung.oneSubgroup ? { WG: s.gpu.adapter.subgroupSize } : {}),
  };
  const ODD = isOdd(product) ? 1 : 0;
  const HALF = b.dtype === 'f16' ? 1 : 0;
  const operands = { a, bias: bias ?? a, c };
  const grid = {
    ...(rung.tile
      ? { groups: [Math.ceil(m / rung.tile[0]), Math.ceil(n / rung.tile[1])] as const }
      : { threads: m * n }),
    cost: { flops: 2 * m * n * k, bytes: b.bytes + 4 * m * (n + k), shape: `${m},${k},${n}` },
  };
  const { kernel } = rung;
  if (rung.reads === 'strips') {
    if (!strips && !findStrips())
      throw new ShapeError(`matmul: no texture holds "${b.label}" [${b.shape.join(', ')}].`);
    const b_strips = stripsAcross(b.cols);
    const bind = { ...operands, a1: a, b: strips as GPUTextureView };
    s.gpu.run(kernel, bind, { ...params, b_strips }, { ...grid, overrides: { ...overrides, ODD } });
  } else if (rung.reads === 'quads') {
    s.gpu.run(kernel, { ...operands, a1: a, b, b2: b }, params, {
      ...grid,
      overrides: { ...overrides, ODD, HALF },
    });
  } else {
    s.gpu.run(kernel, { ...operands, b }, params, { ...grid, overrides: { ...overrides, HALF } });
  }
  return true;
}

function check(
  a: Tensor,
  b: Tensor,
  k: number,
  n: number,
  { bias, residual, out, accumulate, transposeB }: MatmulOptions,
): void {
  const name = (t: Tensor): string => `"${t.label}" ${t.dtype} [${t.shape.join(', ')}]`;
  const fail = (what: string): never => {
    throw new ShapeError(`matmul: ${what}`);
  };
  if (a.dtype !== 'f32' || b.dtype === 'u32')
    fail(`a must be f32 and b f32 or f16: ${name(a)} · ${name(b)}.`);
  if (a.cols !== k) {
    const other = a.cols === n ? ` Did you mean transposeB: ${transposeB ? 'false' : 'true'}?` : '';
    fail(`inner sizes differ: ${name(a)} · ${name(b)}${transposeB ? 'ᵀ' : ''}.${other}`);
  }
  if (bias && bias.size !== n) fail(`bias ${name(bias)} for ${n} columns.`);
  if (residual && (residual.rows !== a.rows || residual.cols !== n || residual.dtype !== 'f32'))
    fail(`residual is ${name(residual)}; the product is [${a.rows}, ${n}].`);
  if (residual && accumulate) fail('accumulate adds to `out`, residual to another tensor; pass one.');
  if (accumulate && !out) fail('accumulate adds to `out`; pass one.');
  if (out && (out.rows !== a.rows || out.cols !== n || out.dtype !== 'f32'))
    fail(`out is ${name(out)}; the product is [${a.rows}, ${n}].`);
}
