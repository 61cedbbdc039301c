/** Rotary positions in float64, a head at a time. */
import type { HeadLayout } from '../../src/models/heads.ts';

/** One head's first 2 · angles.length components, turned by the angles (backwards with sign −1). */
function turn(head: Float64Array, angles: number[], interleaved: boolean, sign: 1 | -1): void {
  angles.forEach((angle, j) => {
    const [a, b] = interleaved ? [2 * j, 2 * j + 1] : [j, j + angles.length];
    const [x, y] = [head[a]!, head[b]!];
    head[a] = x * Math.cos(angle) - sign * y * Math.sin(angle);
    head[b] = y * Math.cos(angle) + sign * x * Math.sin(angle);
  });
}

export function rope(
  qkv: ArrayLike<number>,
  positions: readonly number[],
  frequencies: readonly number[],
  { H, KV, S, stride, q, k }: HeadLayout,
  { interleaved, sign = 1 }: { interleaved: boolean; sign?: 1 | -1 },
): Float64Array {
  const out = Float64Array.from(qkv);
  const width = out.length / positions.length;
  positions.forEach((position, t) => {
    const angles = frequencies.map((f) => position * f);
    for (let h = 0; h < H; h += 1) {
      const at = t * width + q + h * stride;
      turn(out.subarray(at, at + S), angles, interleaved, sign);
    }
    for (let g = 0; g < KV; g += 1) {
      const at = t * width + k + g * stride;
      turn(out.subarray(at, at + S), angles, interleaved, sign);
    }
  });
  return out;
}
