/** Rotary positions (RoPE): frequencies and angles in float64, their cosines and sines rounded once. */
import { ShapeError } from '../errors.ts';
import type { Scope } from '../gpu/scope.ts';
import { sameShape } from '../tensor/elementwise.ts';
import { type Tensor, copy } from '../tensor/tensor.ts';
import type { RopeSettings } from './config.ts';
import { type HeadLayout, checkHeads, qkvWidth } from './heads.ts';

/**
 * θ^(−2j/R) for j = 0 ... R/2 − 1, R = `dimensions`; scaled as the model was trained.
 *
 * `llama3`, with w = 2π/f the wavelength: f/factor where w > old/low, f where w < old/high, between them
 * (1 − s) f/factor + s f with s = (old/w − low)/(high − low).
 *
 * @see Su et al. 2021, eq. 15; Chen et al. 2023 (linear); Grattafiori et al. 2024 (Llama 3)
 */
export function ropeFrequencies({ dimensions, theta, scaling }: RopeSettings): Float64Array {
  return Float64Array.from({ length: dimensions / 2 }, (_, j) => {
    const f = theta ** ((-2 * j) / dimensions);
    if (!scaling) return f;
    if (scaling.type === 'linear') return f / scaling.factor;
    if (scaling.type === 'divisors') return f / (scaling.divisors[j] ?? NaN);
    const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext: old } = scaling;
    const wavelength = (2 * Math.PI) / f;
    if (wavelength > old / low) return f / factor;
    if (wavelength < old / high) return f;
    const part = (old / wavelength - low) / (high - low);
    return ((1 - part) * f) / factor + part * f;
  });
}

/** [positions, R/2, 2] cos and sin of position · frequency, from position 0 on: what `rope` reads as `table`. */
export function ropeTable(frequencies: Float64Array, positions: number): Float32Array<ArrayBuffer> {
  const pairs = frequencies.length;
  const table = new Float32Array(positions * pairs * 2);
  for (let position = 0; position < positions; position += 1)
    for (let j = 0; j < pairs; j += 1) {
      const angle = position * (frequencies[j] ?? NaN);
      table[(position * pairs + j) * 2] = Math.cos(angle);
      table[(position * pairs + j) * 2 + 1] = Math.sin(angle);
    }
  return table;
}

/** Which components of a head turn together: 2j and 2j + 1, or j and j + R/2. */
export type RopePairs = 'interleaved' | 'halves';

/**
 * Turns the first R components of every head of q and k by the angles of its token's position; all else stays.
 *
 * @param qkv       [T, (H + 2 KV) S], laid out as `heads` says; it stays as it is
 * @param positions u32 [T], cached tokens counted: `batch.positions`
 * @param table     [P, R] or [P, R/2, 2] as `ropeTable` makes it; tokens beyond it are not turned
 * @throws ShapeError when qkv is not as wide as its heads, or R is odd or more than S
 */
export function rope(
  s: Scope,
  qkv: Tensor,
  { positions, table }: { readonly positions: Tensor; readonly table: Tensor },
  heads: HeadLayout,
  pairing: RopePairs,
): Tensor {
  checkHeads('rope', qkv, heads);
  const rows = table.shape[0] ?? 0;
  const R = table.size / rows;
  if (R % 2 !== 0 || R > heads.S || positions.size !== qkv.rows)
    throw new ShapeError(
      `rope: a table of ${R} components and ${positions.size} positions for ${qkv.rows} tokens with heads of ${heads.S}.`,
    );
  const turned = (scope: Scope, x: Tensor, label: string, back: 0 | 1): Tensor => {
    const y = copy(scope, x, label);
    const [tokens, all, pairs] = [x.rows, heads.H + heads.KV, R / 2];
    const layout = { row: qkvWidth(heads), head: heads.stride, q: heads.q, k: heads.k };
    const params = { tokens, queries: heads.H, all, pairs, ...layout, positions: rows };
    const threads = tokens * all * pairs;
    scope.gpu.run('models/rope', { positions, table, qkv: y }, params, {
      threads,
      overrides: { INTERLEAVED: pairing === 'interleaved' ? 1 : 0, BACK: back },
      cost: { flops: 6 * threads, bytes: 16 * threads },
    });
    return y;
  };
  const y = turned(s, qkv, 'rotated qkv', 0);
  s.tape?.record(y, [qkv], (scope, dy) => {
    sameShape('rope backward', qkv, dy);
    return [turned(scope, dy, `d ${qkv.label}`, 1)];
  });
  return y;
}
