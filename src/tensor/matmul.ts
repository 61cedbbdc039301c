/** Matrix products. */
import { ShapeError } from '../errors.ts';
import { choose, gridOf } from '../gpu/rung.ts';
import type { Scope } from '../gpu/scope.ts';
import { gelu } from './activations.ts';
import { type MatmulRung, type Product, MATMUL } from './matmul-rungs.ts';
import { type Strips, isLasting, stripsOf } from './strips.ts';
import { type Tensor, empty, windows } from './tensor.ts';

export interface MatmulOptions {
  /** [N], added to every row. */
  readonly bias?: Tensor | undefined;
  /** b is [N, K] and its transpose is meant. */
  readonly transposeB?: boolean | undefined;
  /** [M, N] that the product is added to; it stays as it is. */
  readonly residual?: Tensor | undefined;
  /** [M, N] that receives the product; made when absent. */
  readonly out?: Tensor | undefined;
  /** Adds to what `out` holds. */
  readonly accumulate?: boolean | undefined;
  readonly label?: string | undefined;
  /** First column of `a` that is read, and of `out` that is written, where either is wider than the product. */
  readonly window?: { readonly a?: number; readonly out?: number } | undefined;
  /** GELU of the product, in one dispatch where the rung can and no gradient needs what GELU reads. Not with `out`. */
  readonly gelu?: boolean | undefined;
  /** Overrides the choice of kernel: for tests and benches. */
  readonly rung?: MatmulRung | undefined;
}

/** One dispatch: columns from `aFirst` of a, all of `b`, columns from `cFirst` of c. */
interface Part extends Product {
  readonly b: Tensor;
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
  const [aFirst, cFirst] = [options.window?.a ?? 0, options.window?.out ?? 0];
  const c = options.out ?? empty(s, [a.rows, n], label);
  const whole: Part = {
    ...{ m: a.rows, n, k, transposeB, dtype: b.dtype, aStride: a.cols, aFirst },
    ...{ strips: true, lasting: isLasting(b) },
    ...{ b, cFirst, accumulate },
  };
  const reads = rungFor(s, whole, options).reads;
  const strips = reads === 'strips' ? stripsOf(s, b, whole, options.rung && 'b') : undefined;
  let activated = false;
  if (strips) {
    const part = { ...whole, transposeB: transposeB !== strips.transposed };
    const rung = rungFor(s, part, options);
    activated = options.gelu === true && rung.gelu === true && !s.tape;
    dispatch(s, rung, { ...part, gelu: activated }, { a, b: strips, c, bias, residual });
  } else {
    if (residual) s.gpu.copy(residual, c);
    partsOf(s, whole).forEach((part, i) => {
      const once = transposeB || i === 0 ? bias : undefined; // a sum over parts of K adds it once
      dispatch(s, rungFor(s, part, options), part, { a, b: part.b, c, bias: once });
    });
  }
  s.tape?.record(c, residual ? [a, residual] : [a], (scope, dc) => [
    matmul(scope, dc, b, { transposeB: !transposeB, label: `d ${a.label}` }),
    dc,
  ]);
  return options.gelu && !activated ? gelu(s, c) : c;
}

function rungFor(s: Scope, product: Product, { rung }: MatmulOptions): MatmulRung {
  const { adapter } = s.gpu;
  if (!rung) return choose(MATMUL, product, adapter);
  if (rung.fits(product, adapter)) return rung;
  const { m, n, k, transposeB, dtype } = product;
  throw new ShapeError(
    `matmul: ${rung.kernel} does not fit [${m}, ${k}] · ${dtype} ${transposeB ? `[${n}, ${k}]ᵀ` : `[${k}, ${n}]`} on ${adapter.description}. Choose another rung.`,
  );
}

/** Row windows of b where one binding does not hold it: columns of c, or a sum over parts of K. */
function partsOf(s: Scope, whole: Part): Part[] {
  const { b, transposeB } = whole;
  return windows(s.gpu, b.rows, b.bytes / b.rows).map(([from, to], i): Part => {
    const part = { ...whole, b: b.slice(from, to), strips: false };
    if (transposeB) return { ...part, n: to - from, cFirst: whole.cFirst + from };
    return { ...part, k: to - from, aFirst: whole.aFirst + from, accumulate: whole.accumulate || i > 0 };
  });
}

interface Operands {
  readonly a: Tensor;
  readonly b: Tensor | Strips;
  readonly c: Tensor;
  readonly bias: Tensor | undefined;
  /** What rungs that read strips add to; the others find it in c. */
  readonly residual?: Tensor | undefined;
}

function dispatch(s: Scope, rung: MatmulRung, part: Part, { a, b, c, bias, residual }: Operands): void {
  const { m, n, k } = part;
  const params = {
    ...{ m, n, k },
    biased: bias ? 1 : 0,
    a_stride: part.aStride,
    a_first: part.aFirst,
    c_stride: c.cols,
    c_first: part.cFirst,
    accumulate: residual ? 2 : part.accumulate ? 1 : 0,
  };
  const operands = { a, bias: bias ?? a, c };
  const cost = { flops: 2 * m * n * k, bytes: part.b.bytes + 4 * m * (n + k), shape: `${m},${k},${n}` };
  const grid = gridOf<Product>(rung, part, s.gpu.adapter, cost);
  if ('view' in b) {
    const bind = { ...operands, a1: a, b: b.view, residual: residual ?? a };
    s.gpu.run(rung.kernel, bind, { ...params, b_strips: b.across }, grid);
  } else if (rung.reads === 'quads') s.gpu.run(rung.kernel, { ...operands, a1: a, b, b2: b }, params, grid);
  else s.gpu.run(rung.kernel, { ...operands, b }, params, grid);
}

function check(
  a: Tensor,
  b: Tensor,
  k: number,
  n: number,
  { bias, residual, out, accumulate, transposeB, gelu, window }: MatmulOptions,
): void {
  const name = (t: Tensor): string => `"${t.label}" ${t.dtype} [${t.shape.join(', ')}]`;
  const fail = (what: string): never => {
    throw new ShapeError(`matmul: ${what}`);
  };
  const fits = (t: Tensor, cols: number): boolean =>
    t.rows === a.rows && t.cols === cols && t.dtype === 'f32';
  if (a.dtype !== 'f32' || b.dtype === 'u32')
    fail(`a must be f32 and b f32, f16 or bf16: ${name(a)} · ${name(b)}.`);
  if (window) {
    const { a: aFirst = 0, out: cFirst = 0 } = window;
    const isWithin = aFirst + k <= a.cols && out && cFirst + n <= out.cols && fits(out, out.cols);
    if (!isWithin || bias || residual || gelu)
      fail(
        `the window [${aFirst}, ${cFirst}] of ${name(a)} · ${name(b)} is larger than an operand, or comes with more than \`out\`.`,
      );
    return;
  }
  if (a.cols !== k) {
    const other = a.cols === n ? ` Did you mean transposeB: ${transposeB ? 'false' : 'true'}?` : '';
    fail(`inner sizes differ: ${name(a)} · ${name(b)}${transposeB ? 'ᵀ' : ''}.${other}`);
  }
  if (bias && bias.size !== n) fail(`bias ${name(bias)} for ${n} columns.`);
  for (const t of [residual, out])
    if (t && !fits(t, n)) fail(`out or residual is ${name(t)}; the product is [${a.rows}, ${n}].`);
  if (residual && accumulate) fail('accumulate adds to `out`, residual to another tensor; pass one.');
  if (gelu && out) fail('gelu makes a tensor of its own; leave `out` away.');
  if (accumulate && !out) fail('accumulate adds to `out`; pass one.');
}
