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
  /** Where b is read from: its strips, a buffer of quads (bound as b and b2), or a buffer of words. */
  readonly reads: 'strips' | 'quads' | 'words';
  /** The only layout of b that the kernel knows; absent: both, by the override TRANSPOSED. */
  readonly transposed?: boolean;
  /** A workgroup is one subgroup: the override WG is its size. */
  readonly oneSubgroup?: boolean;
  readonly fits: (p: Product, adapter: AdapterSummary) => boolean;
}

/** Rows of a are not made of whole, aligned quads: the override ODD. */
export function isOdd(p: Product): boolean {
  return p.k % 4 !== 0 || p.aStride % 4 !== 0 || p.aFirst % 4 !== 0;
}

/** A binding of quads must hold one. */
const fourOfA = (p: Product): boolean => p.m * p.aStride >= 4;

const quads = (p: Product): boolean => fourOfA(p) && (p.transposeB ? p.k : p.n) % 4 === 0;

const software = (adapter: AdapterSummary, subgroupSize: number): boolean =>
  adapter.kind === 'software' && adapter.subgroupSize === subgroupSize;

const aRow = (p: Product, adapter: AdapterSummary): boolean =>
  p.m === 1 && fourOfA(p) && (software(adapter, 4) || software(adapter, 8));

/** Fastest first; the first that fits is taken. The last fits everything. */
export const RUNGS: readonly Rung[] = [
  {
    kernel: 'tensor/matmul_8',
    tile: [1, 64],
    reads: 'strips',
    transposed: false,
    fits: (p, adapter) => aRow(p, adapter) && !p.transposeB,
  },
  {
    kernel: 'tensor/matmul_9',
    tile: [1, 32],
    reads: 'strips',
    transposed: true,
    oneSubgroup: true,
    fits: (p, adapter) => aRow(p, adapter) && p.transposeB,
  },
  {
    kernel: 'tensor/matmul_10',
    tile: [24, 64],
    reads: 'strips',
    fits: (p, adapter) => software(adapter, 8) && fourOfA(p) && p.m > 16 && p.m <= 24,
  },
  {
    kernel: 'tensor/matmul_7',
    tile: [8, 128],
    reads: 'strips',
    fits: (p, adapter) => software(adapter, 8) && fourOfA(p) && p.m <= 8,
  },
  {
    kernel: 'tensor/matmul_5',
    tile: [16, 96],
    reads: 'strips',
    fits: (p, adapter) => software(adapter, 8) && fourOfA(p),
  },
  {
    kernel: 'tensor/matmul_6',
    tile: [16, 64],
    reads: 'strips',
    fits: (p, adapter) => software(adapter, 4) && fourOfA(p),
  },
  {
    kernel: 'tensor/matmul_3',
    tile: [16, 128],
    reads: 'quads',
    fits: (p, adapter) => software(adapter, 8) && quads(p),
  },
  {
    kernel: 'tensor/matmul_4',
    tile: [16, 64],
    reads: 'quads',
    fits: (p, adapter) => software(adapter, 4) && quads(p),
  },
  { kernel: 'tensor/matmul_2', tile: [64, 64], reads: 'words', fits: () => true },
  { kernel: 'tensor/matmul_1', reads: 'words', fits: () => true },
];

/** The first rung that fits; `strips` says whether b has strips, where a rung asks for them. */
export function chooseRung(p: Product, adapter: AdapterSummary, strips: () => boolean = () => true): Rung {
  let found: boolean | undefined; // asked once: asking twice makes them
  const has = (rung: Rung): boolean => rung.reads !== 'strips' || (found ??= strips());
  return RUNGS.find((rung) => rung.fits(p, adapter) && has(rung)) as Rung;
}
