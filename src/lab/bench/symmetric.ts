/** Symmetric matrices in lower panels whose elements can be named one by one. */
import type { Scope } from '../../gpu/scope.ts';
import { upload } from '../../tensor/tensor.ts';
import { BLOCK, panelRow } from '../../edit/panels.ts';
import type { Panels } from '../../edit/panels.ts';

/** Row and column of element e of the packed panels of order f. */
export function placeOf(e: number, f: number): readonly [i: number, j: number] {
  const n = Math.ceil(f / BLOCK);
  const row = Math.floor(e / BLOCK);
  let p = 0;
  while (panelRow(p + 1, n) <= row) p += 1;
  return [BLOCK * p + row - panelRow(p, n), BLOCK * p + (e % BLOCK)];
}

/**
 * Element (i, j) of a symmetric matrix of order f: 3 on the diagonal, elsewhere random on ±1/√f. Its eigenvalues lie
 * between 1.8 and 4.2.
 */
export function element(i: number, j: number, f: number): number {
  if (i === j) return 3;
  const [low, high] = i < j ? [i, j] : [j, i];
  let h = Math.imul(low + 1, 0x9e3779b1) ^ Math.imul(high + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return Math.fround((h ^ (h >>> 15)) / 2 ** 31 / Math.sqrt(f));
}

/** That matrix on the adapter; f is a multiple of 64. */
export function positiveDefinite(s: Scope, f: number): Panels {
  const n = f / BLOCK;
  const data = new Float32Array(panelRow(n, n) * BLOCK);
  let at = 0;
  for (let p = 0; p < n; p += 1)
    for (let i = BLOCK * p; i < f; i += 1)
      for (let j = BLOCK * p; j < BLOCK * (p + 1); j += 1) data[at++] = element(i, j, f);
  return { f, n, data: upload(s, data, [panelRow(n, n), BLOCK], 'positive_definite') };
}
