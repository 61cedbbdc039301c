/** Matrix products. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { chooseRung } from './matmul-rungs.ts';
import type { Product, Rung } from './matmul-rungs.ts';
import { stripsOf } from './strips.ts';
import { empty, windows } from './tensor.ts';
import type { Tensor } from './tensor.ts';

export interface MatmulOptions {
  /** [N], added to every row. */
  readonly bias?: Tensor;
  /** b is [N, K] and its transpose is meant. */
  readonly transposeB?: boolean;
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
 * c = a·b, or a·bᵀ; f32 sums whatever b is stored as. Gradients flow to `a` only: weights never need them.
 *
 * @param a [M, K] f32
 * @param b [K, N], or [N, K] with `transposeB`; f32 or f16. May exceed what one binding holds
 * @returns [M, N]
 * @throws ShapeError naming both operands
 */
export function matmul(s: Scope, a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeB = false, bias, accumulate = false } = options;
  const [k, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols];
  check(a, b, k, n, options);
  const c = options.out ?? empty(s, [a.rows, n], options.label ?? `${a.label} · ${b.label}`);
  const parts = windows(s.gpu, b.rows, b.bytes / b.rows).map(([from, to], i): Part => {
    const window = b.slice(from, to);
    if (transposeB) return { b: window, n: to - from, k, aFirst: 0, cFirst: from, accumulate };
    return { b: window, n, k: to - from, aFirst: from, cFirst: 0, accumulate: accumulate || i > 0 };
  });
  parts.forEach((part, i) => {
    dispatch(s, a, part, c, transposeB || i === 0 ? bias : undefined, options);
  });
  s.tape?.record(c, [a], (scope, dc) => [
    matmul(scope, dc, b, { transposeB: !transposeB, label: `d ${a.label}` }),
  ]);
  return c;
}

function dispatch(
  s: Scope,
  a: Tensor,
  part: Part,
  c: Tensor,
  bias: Tensor | undefined,
  options: MatmulOptions,
): void {
  const { transposeB = false } = options;
  const { b, n, k, aFirst, cFirst } = part;
  const m = a.rows;
  const product: Product = { m, n, k, transposeB, dtype: b.dtype, aStride: a.cols, aFirst };
  let strips: GPUTextureView | undefined;
  const findStrips = (eager: boolean): boolean => (strips = stripsOf(s, b, eager)) !== undefined;
  const rung = options.rung ?? chooseRung(product, s.gpu.adapter, () => findStrips(false));
  if (options.rung?.strips) findStrips(true);
  const overrides: Record<string, number> = {
    TRANSPOSED: transposeB ? 1 : 0,
    ACCUMULATE: part.accumulate ? 1 : 0,
  };
  if (rung.halves) overrides['HALF'] = b.dtype === 'f16' ? 1 : 0;
  s.gpu.run(
    rung.kernel,
    { a, b: strips ?? b, bias: bias ?? a, c },
    { m, n, k, biased: bias ? 1 : 0, a_stride: a.cols, a_first: aFirst, c_stride: c.cols, c_first: cFirst },
    {
      ...(rung.tile
        ? { groups: [Math.ceil(m / rung.tile[0]), Math.ceil(n / rung.tile[1])] }
        : { threads: m * n }),
      overrides,
      cost: { flops: 2 * m * n * k, bytes: b.bytes + 4 * m * (n + k), shape: `${m},${k},${n}` },
    },
  );
}

function check(
  a: Tensor,
  b: Tensor,
  k: number,
  n: number,
  { bias, out, accumulate, transposeB }: MatmulOptions,
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
  if (accumulate && !out) fail('accumulate adds to `out`; pass one.');
  if (out && (out.rows !== a.rows || out.cols !== n || out.dtype !== 'f32'))
    fail(`out is ${name(out)}; the product is [${a.rows}, ${n}].`);
}
