/** Which kernel computes a matrix product: by adapter, storage and shape, from measurements (`palimpsest bench matmul`). */
import type { AdapterSummary } from '../gpu/context.ts';
import type { Dtype } from './tensor.ts';

export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeB: boolean;
  readonly dtype: Dtype;
  /** Elements from a row of a to the next, and the first element of a. */
  readonly aStride: number;
  readonly aFirst: number;
}

export interface Rung {
  readonly kernel: string;
  /** Rows and columns of c that one workgroup makes; undefined: one thread an element. */
  readonly tile?: readonly [rows: number, columns: number];
  /** Reads b from its strips. */
  readonly strips?: boolean;
  /** Reads b stored as f16 too, under the override HALF. */
  readonly halves?: boolean;
  readonly fits: (p: Product, adapter: AdapterSummary) => boolean;
}

const quadsOfA = (p: Product): boolean => p.k % 4 === 0 && p.aStride % 4 === 0 && p.aFirst % 4 === 0;

const quads = (p: Product): boolean => quadsOfA(p) && (p.transposeB || p.n % 4 === 0);

const subgroups = (size: number, adapter: AdapterSummary): boolean =>
  adapter.kind === 'software' && adapter.subgroupSize === size;

/** Fastest first; the first that fits is taken. The last fits everything. */
export const RUNGS: readonly Rung[] = [
  {
    kernel: 'tensor/matmul_5',
    tile: [16, 256],
    strips: true,
    fits: (p, adapter) => subgroups(8, adapter) && quadsOfA(p),
  },
  {
    kernel: 'tensor/matmul_6',
    tile: [16, 64],
    strips: true,
    fits: (p, adapter) => subgroups(4, adapter) && quadsOfA(p),
  },
  {
    kernel: 'tensor/matmul_3',
    tile: [16, 128],
    fits: (p, adapter) => subgroups(8, adapter) && p.dtype === 'f32' && quads(p),
  },
  {
    kernel: 'tensor/matmul_4',
    tile: [16, 64],
    fits: (p, adapter) => subgroups(4, adapter) && p.dtype === 'f32' && quads(p),
  },
  { kernel: 'tensor/matmul_1', halves: true, fits: () => true },
];

/** The first rung that fits; `strips` says whether b has strips, where a rung asks for them. */
export function chooseRung(p: Product, adapter: AdapterSummary, strips: () => boolean = () => true): Rung {
  return RUNGS.find((rung) => rung.fits(p, adapter) && (!rung.strips || strips())) as Rung;
}
